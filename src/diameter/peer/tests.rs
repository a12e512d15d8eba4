//! Every transition of RFC 6733 §5.6 and RFC 3539 in virtual time, and any inputs in any order.

use super::*;
use crate::diameter::dictionary::application::{CX, RELAY, SH};
use crate::diameter::dictionary::{
    DESTINATION_HOST, DESTINATION_REALM, FAILED_AVP, HOST_IP_ADDRESS, INBAND_SECURITY_ID, ORIGIN_HOST, ORIGIN_REALM,
    ORIGIN_STATE_ID, SESSION_ID, USER_NAME,
};
use crate::diameter::message::{ERROR, REQUEST};
use crate::diameter::{Def, Header, Origin, Writer};
use proptest::prelude::*;

const LOCAL: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);

fn local(host: &str, applications: &[u32]) -> Arc<Local> {
    let origin = Origin { host: host.into(), realm: "home1.net".into() };
    let mut local = Local::new(origin, 10415, "imscript".into(), 1_700_000_000, 7);
    local.applications = applications.to_vec();
    local.served = applications.to_vec();
    Arc::new(local)
}

struct Bench {
    peer: Peer,
    now: Duration,
}

/// A peer `them` that we, `b.home1.net`, connect to.
fn dialling() -> Bench {
    Bench {
        peer: Peer::dialled(local("b.home1.net", &[CX]), Timing::default(), None, 1),
        now: Duration::from_secs(100),
    }
}

fn accepting() -> Bench {
    let peer = Peer::accepted(local("b.home1.net", &[CX]), Timing::default(), None, 1);
    Bench { peer, now: Duration::from_secs(100) }
}

impl Bench {
    fn put(&mut self, input: Input<'_>) -> Vec<String> {
        let mut out = Vec::new();
        self.peer.handle(self.now, input, &mut out);
        out.iter().map(shown).collect()
    }

    fn outputs(&mut self, input: Input<'_>) -> Vec<Output> {
        let mut out = Vec::new();
        self.peer.handle(self.now, input, &mut out);
        out
    }

    /// Until something is due; what comes of it.
    fn wait(&mut self) -> Vec<String> {
        self.now = self.peer.due().expect("something is due").max(self.now);
        self.put(Input::Time)
    }

    fn from(&mut self, side: Side, octets: &[u8]) -> Vec<String> {
        self.put(Input::Received(side, octets))
    }

    fn connected(&mut self) -> Vec<String> {
        self.put(Input::Connected { local: LOCAL })
    }

    fn cer(&mut self, octets: &[u8]) -> Vec<String> {
        self.put(Input::Accepted { local: LOCAL, cer: octets })
    }
}

fn shown(output: &Output) -> String {
    match output {
        Output::Connect => "connect".into(),
        Output::Accept => "accept".into(),
        Output::Reject(octets) => format!("reject {}", name(octets)),
        Output::Send(side, octets) => format!("{side:?} {}", name(octets)),
        Output::Close(side) => format!("close {side:?}"),
        Output::Request => "request".into(),
        Output::Answer => "answer".into(),
        Output::Standing(standing) => standing.as_str().into(),
    }
}

fn name(octets: &[u8]) -> String {
    let message = Message::parse(octets).unwrap();
    message.check().unwrap();
    let header = message.header();
    let short = command::name(header.application, header.command).map_or("??", |(_, short)| short);
    match message.result() {
        Ok(code) => format!("{short}A {}", code.number()),
        Err(_) => format!("{short}R"),
    }
}

fn cer_of(host: &str, applications: &[u32]) -> Vec<u8> {
    local(host, applications).cer(1, LOCAL).finish().unwrap()
}

fn cea_of(host: &str, applications: &[u32], code: ResultCode) -> Vec<u8> {
    let cer = cer_of("b.home1.net", &[CX]);
    local(host, applications).cea(&Message::parse(&cer).unwrap(), code, LOCAL).finish().unwrap()
}

fn plain(flags: u8, application: u32, command: u32) -> Writer {
    let mut writer = Writer::new(Header { flags, application, command, hop_by_hop: 5, end_to_end: 6 });
    if application != 0 {
        writer.text(&SESSION_ID, "a.home1.net;1;1");
    }
    writer.text(&ORIGIN_HOST, "a.home1.net").text(&ORIGIN_REALM, "home1.net");
    writer
}

fn base_request(command: u32) -> Vec<u8> {
    plain(REQUEST, 0, command).finish().unwrap()
}

fn base_answer(command: u32) -> Vec<u8> {
    let mut writer = plain(0, 0, command);
    writer.result(base::SUCCESS);
    writer.finish().unwrap()
}

fn dwa() -> Vec<u8> {
    base_answer(command::DEVICE_WATCHDOG)
}

fn i_open() -> Bench {
    let mut bench = dialling();
    assert_eq!(bench.put(Input::Time), ["connect"]);
    assert_eq!(bench.connected(), ["Initiator CER"]);
    let cea = cea_of("a.home1.net", &[CX], base::SUCCESS);
    assert_eq!(bench.from(Side::Initiator, &cea), ["up"]);
    bench
}

fn r_open() -> Bench {
    let mut bench = accepting();
    let cer = cer_of("a.home1.net", &[CX, SH]);
    assert_eq!(bench.cer(&cer), ["accept", "Responder CEA 2001", "up"]);
    bench
}

#[test]
fn capabilities_are_exchanged_by_the_one_who_connects() {
    let bench = i_open();
    assert_eq!((bench.peer.state(), bench.peer.active()), (State::IOpen, Some(Side::Initiator)));
    let remote = bench.peer.remote().unwrap();
    assert_eq!(
        (&*remote.host, &*remote.realm, remote.applications.as_slice()),
        ("a.home1.net", "home1.net", &[CX][..])
    );
    assert_eq!(bench.peer.host().map(|host| &**host), Some("a.home1.net"), "it is learned");
}

#[test]
fn a_cer_and_a_cea_hold_what_they_must() {
    let mut bench = dialling();
    bench.put(Input::Time);
    let out = bench.outputs(Input::Connected { local: LOCAL });
    let [Output::Send(Side::Initiator, cer)] = out.as_slice() else { panic!("{out:?}") };
    let cer = Message::parse(cer).unwrap();
    let read = Capabilities::of(&cer).unwrap();
    assert_eq!((read.product.as_deref(), read.state_id), (Some("imscript"), Some(1_700_000_000)));
    assert_eq!(cer.avps().require(&HOST_IP_ADDRESS).unwrap().address(), Ok(LOCAL));
    assert_eq!(cer.header().flags, REQUEST, "it is not proxiable");
    let mut bench = accepting();
    let out = bench.outputs(Input::Accepted { local: LOCAL, cer: cer.octets() });
    let [Output::Accept, Output::Send(Side::Responder, cea), Output::Standing(Standing::Up)] = out.as_slice() else {
        panic!("{out:?}")
    };
    let cea = Message::parse(cea).unwrap();
    assert_eq!((cea.header().hop_by_hop, cea.header().end_to_end), (cer.header().hop_by_hop, cer.header().end_to_end));
    assert_eq!(cea.avps().number(&ORIGIN_STATE_ID), Ok(Some(1_700_000_000)));
}

#[test]
fn connecting_goes_on_for_ever() {
    let mut bench = dialling();
    assert_eq!(bench.put(Input::Time), ["connect"]);
    let mut waits = Vec::new();
    for _ in 0..30 {
        assert!(bench.put(Input::NotConnected).contains(&"close Initiator".into()));
        let since = bench.now;
        assert_eq!(bench.wait(), ["connect"]);
        waits.push(bench.now - since);
    }
    assert!(waits[0] < Duration::from_millis(400), "{waits:?}");
    assert!(waits[10..].iter().all(|wait| (22..=38).contains(&wait.as_secs())), "{waits:?}");
    assert_eq!(bench.peer.ended(), Some(&Ended::NotConnected));
    // Nobody says what became of it, either.
    assert_eq!(bench.wait(), ["close Initiator"]);
    assert_eq!(bench.wait(), ["connect"]);
}

#[test]
fn a_cea_that_does_not_come_or_does_not_fit_closes() {
    let waiting = || {
        let mut bench = dialling();
        bench.put(Input::Time);
        bench.connected();
        bench
    };
    let mut bench = waiting();
    assert_eq!(bench.wait(), ["close Initiator"]);
    assert_eq!(bench.peer.ended(), Some(&Ended::NoCea));
    for (octets, why) in [
        (cea_of("a.home1.net", &[CX], base::NO_COMMON_APPLICATION), Ended::Refused(base::NO_COMMON_APPLICATION)),
        (cea_of("a.home1.net", &[SH], base::SUCCESS), Ended::NoCommonApplication),
        (base_request(command::DEVICE_WATCHDOG), Ended::OutOfPlace),
        (dwa(), Ended::OutOfPlace),
        (cer_of("a.home1.net", &[CX]), Ended::OutOfPlace),
    ] {
        let mut bench = waiting();
        assert_eq!(bench.from(Side::Initiator, &octets), ["close Initiator"], "{why}");
        assert_eq!((bench.peer.state(), bench.peer.ended()), (State::Closed, Some(&why)));
        assert_eq!(bench.wait(), ["connect"], "it is tried again");
    }
    let mut bench = waiting();
    bench.peer.host = Some("hss.home1.net".into());
    assert_eq!(bench.from(Side::Initiator, &cea_of("a.home1.net", &[CX], base::SUCCESS)), ["close Initiator"]);
    assert_eq!(bench.peer.ended(), Some(&Ended::OtherHost("a.home1.net".into())));
    let mut bench = waiting();
    bench.peer.host = Some("A.Home1.net".into());
    assert_eq!(bench.from(Side::Initiator, &cea_of("a.home1.net", &[RELAY], base::SUCCESS)), ["up"]);
    let mut bench = waiting();
    assert_eq!(bench.put(Input::Broken(Side::Initiator)), ["close Initiator"]);
}

#[test]
fn a_cer_that_does_not_fit_is_told_why_and_closed() {
    let nameless = Writer::new(Header { flags: REQUEST, application: 0, command: 257, hop_by_hop: 1, end_to_end: 1 });
    for (octets, answer) in [
        (cer_of("a.home1.net", &[SH]), "reject CEA 5010"),
        (cer_of("a.home1.net", &[]), "reject CEA 5010"),
        (nameless.finish().unwrap(), "reject CEA 5005"),
        (cer_of("a home1.net", &[CX]), "reject CEA 5004"),
        (cer_of("a\n.home1.net", &[CX]), "reject CEA 5004"),
        (cer_of(&"a".repeat(256), &[CX]), "reject CEA 5004"),
    ] {
        assert_eq!(accepting().cer(&octets), [answer]);
    }
    // Who wants TLS after CER and CEA gets none; who would do without it may.
    let secured = |ids: &[u32]| {
        let mut cer = local("a.home1.net", &[CX]).cer(1, LOCAL);
        ids.iter().for_each(|id| _ = cer.number(&INBAND_SECURITY_ID, *id));
        cer.finish().unwrap()
    };
    assert_eq!(accepting().cer(&secured(&[1])), ["reject CEA 5017"]);
    assert_eq!(accepting().cer(&secured(&[1, 0])), ["accept", "Responder CEA 2001", "up"]);
    let mut bench = accepting();
    bench.peer.host = Some("hss.home1.net".into());
    assert_eq!(bench.cer(&cer_of("a.home1.net", &[CX])), ["reject CEA 3010"]);
    assert_eq!(r_open().cer(&cer_of("a.home1.net", &[CX])), ["reject CEA 4003"], "it is here already");
    assert_eq!(i_open().cer(&cer_of("a.home1.net", &[CX])), ["reject CEA 4003"]);
}

#[test]
fn of_two_connections_that_stays_which_the_smaller_name_opened() {
    // Ours is b: against a we win, and the one that a opened stays.
    let waiting_cea = |host: &str| {
        let mut bench = dialling();
        bench.put(Input::Time);
        bench.connected();
        let out = bench.cer(&cer_of(host, &[CX]));
        (bench, out)
    };
    let (bench, out) = waiting_cea("a.home1.net");
    assert_eq!(out, ["accept", "close Initiator", "Responder CEA 2001", "up"]);
    assert_eq!(bench.peer.state(), State::ROpen);
    let (bench, out) = waiting_cea("A.home1.net");
    assert_eq!((bench.peer.state(), out.len()), (State::ROpen, 4), "whatever the case");
    // Against c we lose: it sends its CEA on ours.
    let (mut bench, out) = waiting_cea("c.home1.net");
    assert_eq!((bench.peer.state(), out), (State::WaitReturns, vec!["accept".to_owned()]));
    let cea = cea_of("c.home1.net", &[CX], base::SUCCESS);
    assert_eq!(bench.from(Side::Initiator, &cea), ["close Responder", "up"]);
    assert_eq!(bench.peer.state(), State::IOpen);
    // Or it closes ours, or refuses it, and then its own is the one.
    let (mut bench, _) = waiting_cea("c.home1.net");
    assert_eq!(bench.put(Input::Broken(Side::Initiator)), ["close Initiator", "Responder CEA 2001", "up"]);
    let (mut bench, _) = waiting_cea("c.home1.net");
    let refused = cea_of("c.home1.net", &[CX], base::ELECTION_LOST);
    assert_eq!(bench.from(Side::Initiator, &refused), ["close Initiator", "Responder CEA 2001", "up"]);
    // It loses its own: the CEA is still to come.
    let (mut bench, _) = waiting_cea("c.home1.net");
    assert_eq!(bench.put(Input::Broken(Side::Responder)), ["close Responder"]);
    assert_eq!(bench.peer.state(), State::WaitICea);
    let (mut bench, _) = waiting_cea("c.home1.net");
    assert_eq!(bench.cer(&cer_of("c.home1.net", &[CX])), ["reject CEA 4003"]);
    assert_eq!(bench.from(Side::Responder, &dwa()), ["close Responder"], "nothing may come before the CEA");
    let (mut bench, _) = waiting_cea("c.home1.net");
    assert_eq!(bench.wait(), ["close Initiator", "close Responder"]);
}

#[test]
fn an_election_waits_for_the_connection_that_is_being_opened() {
    let electing = |host: &str| {
        let mut bench = dialling();
        bench.put(Input::Time);
        assert_eq!(bench.cer(&cer_of(host, &[CX])), ["accept"]);
        assert_eq!(bench.peer.state(), State::WaitConnAckElect);
        bench
    };
    let mut bench = electing("a.home1.net");
    assert_eq!(bench.connected(), ["Initiator CER", "close Initiator", "Responder CEA 2001", "up"]);
    let mut bench = electing("c.home1.net");
    assert_eq!(bench.connected(), ["Initiator CER"]);
    assert_eq!(bench.peer.state(), State::WaitReturns);
    let mut bench = electing("c.home1.net");
    assert_eq!(bench.put(Input::NotConnected), ["close Initiator", "Responder CEA 2001", "up"]);
    let mut bench = electing("c.home1.net");
    assert_eq!(bench.wait(), ["close Initiator", "Responder CEA 2001", "up"], "no answer either");
    let mut bench = electing("c.home1.net");
    assert_eq!(bench.put(Input::Broken(Side::Responder)), ["close Responder"]);
    assert_eq!(bench.peer.state(), State::WaitConnAck);
    let mut bench = electing("c.home1.net");
    assert_eq!(bench.cer(&cer_of("c.home1.net", &[CX])), ["reject CEA 4003"]);
}

#[test]
fn a_silent_peer_is_asked_then_suspect_then_closed() {
    let mut bench = i_open();
    let opened = bench.now;
    assert_eq!(bench.wait(), ["Initiator DWR"]);
    assert!((28..=32).contains(&(bench.now - opened).as_secs()));
    assert_eq!(bench.wait(), ["suspect"]);
    let suspected = bench.now;
    assert_eq!(bench.wait(), ["close Initiator", "down"]);
    assert!((28..=32).contains(&(bench.now - suspected).as_secs()));
    assert_eq!(bench.peer.ended(), Some(&Ended::Silent));
    assert_eq!(bench.wait(), ["connect"]);
}

#[test]
fn any_message_is_a_sign_of_life() {
    let mut bench = i_open();
    for _ in 0..10 {
        bench.now += Duration::from_secs(20);
        assert_eq!(bench.put(Input::Time), [""; 0]);
        assert_eq!(bench.from(Side::Initiator, &plain(REQUEST, CX, 304).finish().unwrap()), ["request"]);
    }
    assert_eq!(bench.wait(), ["Initiator DWR"]);
    assert_eq!(bench.from(Side::Initiator, &dwa()), [""; 0]);
    assert_eq!(bench.wait(), ["Initiator DWR"]);
    assert_eq!(bench.wait(), ["suspect"]);
    assert_eq!(bench.from(Side::Initiator, &dwa()), ["up"], "it was slow");
    assert_eq!(bench.wait(), ["Initiator DWR"]);
}

/// Broken once, and connected again.
fn reopened() -> Bench {
    let mut bench = i_open();
    assert_eq!(bench.put(Input::Broken(Side::Initiator)), ["close Initiator", "down"]);
    assert_eq!(bench.wait(), ["connect"]);
    bench.connected();
    let cea = cea_of("a.home1.net", &[CX], base::SUCCESS);
    assert_eq!(bench.from(Side::Initiator, &cea), ["Initiator DWR", "probation"]);
    bench
}

#[test]
fn after_a_failure_three_watchdogs_in_order_are_needed() {
    let mut bench = reopened();
    assert_eq!(bench.from(Side::Initiator, &dwa()), [""; 0]);
    assert_eq!(bench.from(Side::Initiator, &dwa()), [""; 0], "one that was not asked for counts for nothing");
    assert_eq!(bench.wait(), ["Initiator DWR"]);
    assert_eq!(bench.from(Side::Initiator, &dwa()), [""; 0]);
    assert_eq!(bench.wait(), ["Initiator DWR"]);
    assert_eq!(bench.from(Side::Initiator, &dwa()), ["up"]);
    // One that is not answered, and the next one neither.
    let mut bench = reopened();
    assert_eq!(bench.wait(), [""; 0]);
    assert_eq!(bench.wait(), ["close Initiator", "down"]);
    // One that comes late begins anew, and counts for nothing itself.
    let mut bench = reopened();
    assert_eq!(bench.wait(), [""; 0]);
    for _ in 0..3 {
        assert_eq!(bench.from(Side::Initiator, &dwa()), [""; 0]);
        assert_eq!(bench.wait(), ["Initiator DWR"]);
    }
    assert_eq!(bench.from(Side::Initiator, &dwa()), ["up"]);
}

#[test]
fn watchdogs_and_goodbyes_of_the_peer_are_answered() {
    for (mut bench, side) in [(i_open(), Side::Initiator), (r_open(), Side::Responder)] {
        let dwr = base_request(command::DEVICE_WATCHDOG);
        assert_eq!(bench.from(side, &dwr), [format!("{side:?} DWA 2001")]);
        let mut dpr = plain(REQUEST, 0, command::DISCONNECT_PEER);
        dpr.enumerated(&DISCONNECT_CAUSE, 0);
        let dpr = dpr.finish().unwrap();
        assert_eq!(bench.from(side, &dpr), [format!("{side:?} DPA 2001"), "down".into()]);
        assert_eq!(bench.peer.state(), State::Closing);
        // What it owes may still come, what it asks now is for another.
        let answer = plain(0, CX, 303).finish().unwrap();
        assert_eq!(bench.from(side, &answer), ["answer"]);
        let asked = plain(REQUEST, CX, 304).finish().unwrap();
        assert_eq!(bench.from(side, &asked), [format!("{side:?} RTA 3004")]);
        assert_eq!(bench.put(Input::Broken(side)), [format!("close {side:?}")]);
        assert_eq!(bench.peer.ended(), Some(&Ended::Disconnects("REBOOTING")));
    }
    // One that does not close is closed; it comes back in good standing.
    let mut bench = i_open();
    let mut dpr = plain(REQUEST, 0, command::DISCONNECT_PEER);
    dpr.enumerated(&DISCONNECT_CAUSE, 2);
    bench.from(Side::Initiator, &dpr.finish().unwrap());
    assert_eq!(bench.wait(), ["close Initiator"]);
    let closed = bench.now;
    assert_eq!(bench.wait(), ["connect"]);
    assert!((bench.now - closed).as_secs() >= 22, "it did not want to be asked soon");
    bench.connected();
    assert_eq!(bench.from(Side::Initiator, &cea_of("a.home1.net", &[CX], base::SUCCESS)), ["up"]);
}

#[test]
fn our_own_goodbye_waits_for_its_answer() {
    for (mut bench, side) in [(i_open(), Side::Initiator), (r_open(), Side::Responder)] {
        let out = bench.outputs(Input::Stop);
        let [Output::Send(to, dpr), Output::Standing(Standing::Down)] = out.as_slice() else { panic!("{out:?}") };
        assert_eq!(*to, side);
        assert_eq!(Message::parse(dpr).unwrap().avps().enumerated(&DISCONNECT_CAUSE), Ok(Some(0)));
        assert_eq!(bench.cer(&cer_of("a.home1.net", &[CX])), ["reject CEA 3004"]);
        let dpa = base_answer(command::DISCONNECT_PEER);
        assert_eq!(bench.from(side, &dpa), [format!("close {side:?}")]);
        assert_eq!((bench.peer.state(), bench.peer.due()), (State::Closed, None), "it stays so");
    }
    let mut bench = i_open();
    bench.put(Input::Stop);
    assert_eq!(bench.wait(), ["close Initiator"], "no answer comes");
    let mut bench = dialling();
    bench.put(Input::Time);
    assert_eq!(bench.put(Input::Stop), ["close Initiator"]);
    assert_eq!(bench.peer.due(), None);
}

#[test]
fn what_cannot_be_served_is_answered_here() {
    let mut bench = r_open();
    let mut answered = |octets: &[u8]| {
        let out = bench.outputs(Input::Received(Side::Responder, octets));
        let [Output::Send(Side::Responder, answer)] = out.as_slice() else { panic!("{out:?}") };
        let answer = Message::parse(answer).unwrap();
        answer.check().unwrap();
        let failed = answer.avps().get(&FAILED_AVP).and_then(|failed| failed.group().next().map(|avp| avp.code));
        (answer.result().unwrap().number(), answer.header().flags & ERROR != 0, failed)
    };
    assert_eq!(answered(&plain(REQUEST, 0, 275).finish().unwrap()), (3001, true, None));
    assert_eq!(answered(&plain(REQUEST, SH, 306).finish().unwrap()), (3007, true, None));
    assert_eq!(answered(&plain(REQUEST | ERROR, CX, 303).finish().unwrap()), (3008, true, None));
    let with = |code: u32, flags: u8, data: &[u8]| {
        let mut octets = plain(REQUEST, CX, 303).finish().unwrap();
        octets.extend_from_slice(&code.to_be_bytes());
        octets.extend_from_slice(&[flags, 0, 0, 8 + data.len() as u8]);
        octets.extend_from_slice(data);
        let length = (octets.len() as u32).to_be_bytes();
        octets[1..4].copy_from_slice(&length[1..]);
        octets
    };
    assert_eq!(answered(&with(9999, 0x40, &[0; 4])), (5001, false, Some(9999)));
    assert_eq!(answered(&with(USER_NAME.code, 0x40, &[0xff; 4])), (5004, false, Some(1)));
    let mut short = with(USER_NAME.code, 0x40, &[0; 4]);
    let at = short.len() - 5;
    short[at] = 99;
    assert_eq!(answered(&short), (5014, false, Some(1)));
    // What it is and whom it is for comes before what is in it.
    let mut bad = with(9999, 0x40, &[0; 4]);
    bad[5..8].copy_from_slice(&[0, 3, 231]);
    assert_eq!(answered(&bad), (3001, true, None));
    let to = |def: &Def, text: &str| {
        let mut writer =
            Writer::new(Header { flags: REQUEST, application: CX, command: 303, hop_by_hop: 1, end_to_end: 1 });
        writer.text(def, text).octets(&Def { code: 9999, ..USER_NAME }, b"");
        writer.finish().unwrap()
    };
    assert_eq!(answered(&to(&DESTINATION_REALM, "home2.net")), (3003, true, None));
    assert_eq!(answered(&to(&DESTINATION_HOST, "c.home1.net")), (3002, true, None));
    assert_eq!(answered(&to(&DESTINATION_HOST, "B.HOME1.net")), (5001, false, Some(9999)));
    // What every request has is missed in this one.
    for (application, code, def) in [
        (CX, 303, &SESSION_ID),
        (CX, 303, &ORIGIN_HOST),
        (CX, 303, &ORIGIN_REALM),
        (0, command::DEVICE_WATCHDOG, &ORIGIN_HOST),
        (0, command::DISCONNECT_PEER, &ORIGIN_REALM),
    ] {
        let whole = plain(REQUEST, application, code).finish().unwrap();
        let whole = Message::parse(&whole).unwrap();
        let mut without = Writer::new(*whole.header());
        whole.avps().filter(|avp| !avp.is(def)).for_each(|avp| _ = without.copy(&avp));
        assert_eq!(answered(&without.finish().unwrap()), (5005, false, Some(def.code)));
    }
    assert_eq!(bench.from(Side::Responder, &plain(REQUEST, CX, 303).finish().unwrap()), ["request"]);
}

#[test]
fn a_second_cer_or_no_message_at_all_closes() {
    let mut bench = r_open();
    assert_eq!(bench.from(Side::Responder, &cer_of("a.home1.net", &[CX])), ["close Responder", "down"]);
    let mut bench = r_open();
    assert_eq!(bench.from(Side::Responder, b"GET / HTTP/1.1\r\n\r\n"), ["close Responder", "down"]);
    assert_eq!(bench.peer.due(), None, "it has to come by itself");
    let mut bench = r_open();
    assert_eq!(bench.from(Side::Initiator, &dwa()), [""; 0], "there is no such connection");
}

#[test]
fn one_that_is_suspect_may_come_anew() {
    let mut bench = r_open();
    bench.wait();
    assert_eq!(bench.wait(), ["suspect"]);
    let cer = cer_of("a.home1.net", &[CX]);
    assert_eq!(bench.cer(&cer), ["close Responder", "accept", "Responder CEA 2001", "Responder DWR", "probation"],);
}

#[test]
fn identifiers_are_not_used_twice() {
    let local = local("b.home1.net", &[CX]);
    let (first, second) = (local.next_end_to_end(), local.next_end_to_end());
    assert_eq!(second, first.wrapping_add(1));
    assert_eq!(first >> 20, 1_700_000_000 & 0xfff, "the upper bits are of the time");
    let mut bench = i_open();
    assert_ne!(bench.peer.next_hop_by_hop(), bench.peer.next_hop_by_hop());
}

type ToInput = fn(&[u8]) -> Input<'_>;

/// Inputs by number; those that make no sense are what is of interest.
fn any_input(number: u8) -> (Vec<u8>, ToInput) {
    let octets = match number % 13 {
        0 => cer_of("a.home1.net", &[CX]),
        1 => cer_of("c.home1.net", &[CX]),
        2 => cea_of("a.home1.net", &[CX], base::SUCCESS),
        3 => cea_of("c.home1.net", &[SH], base::SUCCESS),
        4 => cea_of("c.home1.net", &[CX], base::ELECTION_LOST),
        5 => base_request(command::DEVICE_WATCHDOG),
        6 => dwa(),
        7 => base_request(command::DISCONNECT_PEER),
        8 => base_answer(command::DISCONNECT_PEER),
        9 => plain(REQUEST, CX, 303).finish().unwrap(),
        10 => plain(0, CX, 303).finish().unwrap(),
        11 => vec![1, 2, 3],
        _ => Vec::new(),
    };
    let input: ToInput = match number / 13 % 8 {
        0 | 1 => |octets| Input::Received(Side::Initiator, octets),
        2 | 3 => |octets| Input::Received(Side::Responder, octets),
        4 => |octets| Input::Accepted { local: LOCAL, cer: octets },
        5 => |_| Input::Connected { local: LOCAL },
        6 => |octets| match octets.len() % 3 {
            0 => Input::NotConnected,
            1 => Input::Broken(Side::Initiator),
            _ => Input::Broken(Side::Responder),
        },
        _ => |_| Input::Time,
    };
    (octets, input)
}

proptest! {
    /// Whatever happens, it only uses connections that are there, and in the end it connects again.
    #[test]
    fn any_inputs_leave_it_consistent(
        steps in proptest::collection::vec((any::<u8>(), 0u64..40_000), 0..120),
        seed in any::<u64>(),
    ) {
        let mut bench = dialling();
        bench.peer = Peer::dialled(local("b.home1.net", &[CX]), Timing::default(), None, seed);
        let (mut initiated, mut accepted) = (false, false);
        let mut check = |outputs: &[Output], peer: &Peer| {
            for output in outputs {
                match output {
                    Output::Connect => assert!(!std::mem::replace(&mut initiated, true)),
                    Output::Accept => assert!(!std::mem::replace(&mut accepted, true)),
                    Output::Close(Side::Initiator) => assert!(std::mem::take(&mut initiated)),
                    Output::Close(Side::Responder) => assert!(std::mem::take(&mut accepted)),
                    Output::Send(Side::Initiator, _) => assert!(initiated),
                    Output::Send(Side::Responder, _) => assert!(accepted),
                    _ => {}
                }
            }
            assert_eq!(peer.active().is_some(), matches!(peer.state(), State::IOpen | State::ROpen | State::Closing));
            assert!(peer.due().is_some(), "{:?} waits for nothing", peer.state());
            assert!(initiated || accepted || peer.state() == State::Closed);
        };
        for (number, later) in steps {
            bench.now += Duration::from_millis(later);
            let (octets, input) = any_input(number);
            let outputs = bench.outputs(input(&octets));
            check(&outputs, &bench.peer);
        }
        for _ in 0..12 {
            bench.now = bench.peer.due().unwrap().max(bench.now);
            let outputs = bench.outputs(Input::Time);
            check(&outputs, &bench.peer);
            if outputs.contains(&Output::Connect) {
                return Ok(());
            }
        }
        prop_assert!(bench.peer.state() == State::WaitConnAck, "{:?}", bench.peer);
    }
}
