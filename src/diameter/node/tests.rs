//! Nodes over loopback, and a peer made of a plain socket that does what a node would not.

use super::*;
use crate::diameter::dictionary::application::{CX, SH, ZH};
use crate::diameter::dictionary::{DESTINATION_HOST, DESTINATION_REALM, REDIRECT_HOST, USER_NAME, command};
use crate::diameter::exchange::Request;
use crate::diameter::fault::{ResultCode, base};
use crate::diameter::message::{ERROR, REQUEST, RETRANSMITTED};
use crate::diameter::{Header, Message, answer_to, frame_len, request};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Instant;

fn origin(host: &str) -> Origin {
    Origin { host: host.into(), realm: "home1.net".into() }
}

/// Answers 2001 with the User-Name, after as many milliseconds as that says, if it is a number.
struct Echo {
    origin: Origin,
    applications: Vec<u32>,
    code: ResultCode,
    served: AtomicU32,
}

impl Echo {
    fn new(host: &str) -> Arc<Echo> {
        Self::with(host, &[CX], base::SUCCESS)
    }

    fn with(host: &str, applications: &[u32], code: ResultCode) -> Arc<Echo> {
        Arc::new(Echo { origin: origin(host), applications: applications.to_vec(), code, served: AtomicU32::new(0) })
    }
}

impl Serve for Echo {
    fn applications(&self) -> Vec<u32> {
        self.applications.clone()
    }

    fn serve(self: Arc<Self>, request: Request) -> Answer<'static, Option<Writer>> {
        self.served.fetch_add(1, Ordering::Relaxed);
        let message = request.message().unwrap();
        if message.header().command == 999 {
            return Answer::now(None);
        }
        let name = message.avps().text(&USER_NAME).unwrap().unwrap_or_default().to_owned();
        let mut answer = answer_to(&message, self.code, &self.origin);
        answer.text(&USER_NAME, &name);
        match name.parse() {
            Ok(wait) => Answer::later(async move {
                tokio::time::sleep(Duration::from_millis(wait)).await;
                Some(answer)
            }),
            Err(_) => Answer::now(Some(answer)),
        }
    }
}

fn quick(host: &str) -> Settings {
    let mut settings = Settings::new(origin(host));
    settings.request_within = Duration::from_secs(5);
    settings.timing.retry = Duration::from_millis(20);
    settings.timing.retry_longest = Duration::from_millis(100);
    settings
}

fn server_with(settings: Settings, serve: &Arc<Echo>) -> Node {
    let settings = Settings { listen: vec!["tcp:127.0.0.1:0".parse().unwrap()], ..settings };
    let mut prepared = Prepared::new(settings, Tls::default(), Arc::default()).unwrap();
    prepared.serve(serve.clone());
    prepared.start().unwrap()
}

fn server(host: &str) -> (Node, Arc<Echo>) {
    let echo = Echo::new(host);
    (server_with(quick(host), &echo), echo)
}

fn to_peers(endpoints: &[&Endpoint], settings: Settings) -> Settings {
    let peer = |endpoint: &&Endpoint| PeerSettings { endpoint: (*endpoint).clone(), applications: vec![], host: None };
    Settings { peers: endpoints.iter().map(peer).collect(), applications: vec![CX], ..settings }
}

/// A node with these peers, once as many of them as there are listening are up.
fn client(endpoints: &[&Endpoint]) -> Node {
    client_with(to_peers(endpoints, quick("scscf.home1.net")))
}

fn client_with(settings: Settings) -> Node {
    let peers = settings.peers.len();
    let node = Prepared::new(settings, Tls::default(), Arc::default()).unwrap().start().unwrap();
    until(|| node.peers().iter().filter(|peer| peer.standing == "up").count() >= peers);
    node
}

fn until(mut so: impl FnMut() -> bool) {
    let end = Instant::now() + Duration::from_secs(10);
    while !so() {
        assert!(Instant::now() < end, "it does not come to that");
        std::thread::sleep(Duration::from_millis(2));
    }
}

fn mar(name: &str) -> Writer {
    let mut writer =
        request(CX, command::MULTIMEDIA_AUTH, &format!("scscf.home1.net;1;{name}"), &origin("scscf.home1.net"));
    writer.text(&USER_NAME, name);
    writer
}

fn ask(node: &Node, to: Destination, name: &str) -> Result<String, Failure> {
    node.exchange().send(to, mar(name)).wait().map(|reply| said(&reply))
}

/// Who answered what.
fn said(reply: &Reply) -> String {
    let message = reply.message().unwrap();
    let host = message.identity(&crate::diameter::dictionary::ORIGIN_HOST).unwrap();
    format!("{host} {} {}", message.result().unwrap().number(), message.avps().text(&USER_NAME).unwrap().unwrap_or("-"))
}

#[test]
fn a_request_is_answered_over_tcp() {
    let (server, echo) = server("hss.home1.net");
    let client = client(&[&server.listening()[0]]);
    assert_eq!(ask(&client, Destination::any(CX), "alice"), Ok("hss.home1.net 2001 alice".into()));
    assert_eq!(ask(&client, Destination::any(SH), "alice"), Err(Failure::NoPeer));
    assert_eq!(echo.served.load(Ordering::Relaxed), 1);
    let view = &client.peers()[0];
    assert_eq!((view.name.as_str(), view.sent, view.answered, view.waiting), ("hss.home1.net", 1, 1, 0));
    assert_eq!((view.applications.as_slice(), view.state, view.configured), (&[CX][..], "open", true));
    client.stop(Duration::from_secs(1));
    assert_eq!(ask(&client, Destination::any(CX), "alice"), Err(Failure::Stopped));
    until(|| server.peers().is_empty());
}

/// A peer by hand.
struct Raw(TcpStream);

impl Raw {
    /// One that listens, and takes one connection.
    fn listening() -> (std::net::TcpListener, Endpoint) {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let addr = listener.local_addr().unwrap();
        (listener, Endpoint::tcp(addr))
    }

    /// Answers the CER of the next who connects.
    fn accept(listener: &std::net::TcpListener, host: &str) -> Raw {
        let mut raw = Raw::of(listener.accept().unwrap().0);
        let cer = raw.read().unwrap();
        let mut cea = answer_to(&Message::parse(&cer).unwrap(), base::SUCCESS, &origin(host));
        cea.application(CX);
        raw.write(cea);
        raw
    }

    /// Connects and says who it is.
    fn greet(endpoint: &Endpoint, host: &str) -> Raw {
        let mut raw = Raw::of(TcpStream::connect(endpoint.addr).unwrap());
        raw.write(cer(host));
        assert_eq!(raw.result(), 2001);
        raw
    }

    fn of(stream: TcpStream) -> Raw {
        stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        Raw(stream)
    }

    fn write(&mut self, message: Writer) {
        self.0.write_all(&message.finish().unwrap()).unwrap();
    }

    /// None: it has been closed.
    fn read(&mut self) -> Option<Vec<u8>> {
        let mut octets = Vec::new();
        while frame_len(&octets).unwrap() != Some(octets.len()) {
            let mut one = [0];
            match self.0.read(&mut one) {
                Ok(1..) => octets.extend(one),
                Ok(0) => return None,
                Err(why) if why.kind() == std::io::ErrorKind::ConnectionReset => return None,
                Err(why) => panic!("{why}"),
            }
        }
        Some(octets)
    }

    fn result(&mut self) -> u32 {
        let octets = self.read().unwrap();
        Message::parse(&octets).unwrap().result().unwrap().number()
    }

    fn answer(&mut self, octets: &[u8]) {
        self.write(answer_to(&Message::parse(octets).unwrap(), base::SUCCESS, &origin("raw.home1.net")));
    }
}

fn base_request(command: u32, host: &str) -> Writer {
    let mut writer = Writer::new(Header { flags: REQUEST, command, application: 0, hop_by_hop: 1, end_to_end: 1 });
    writer.text(&crate::diameter::dictionary::ORIGIN_HOST, host);
    writer.text(&crate::diameter::dictionary::ORIGIN_REALM, "home1.net");
    writer
}

fn cer(host: &str) -> Writer {
    let mut writer = base_request(command::CAPABILITIES_EXCHANGE, host);
    writer.application(CX);
    writer
}

/// A request with these identifiers.
fn numbered(flags: u8, command: u32, hop_by_hop: u32, end_to_end: u32, name: &str) -> Writer {
    let mut writer = Writer::new(Header { flags, command, application: CX, hop_by_hop, end_to_end });
    writer
        .text(&crate::diameter::dictionary::SESSION_ID, "raw;1;1")
        .text(&crate::diameter::dictionary::ORIGIN_HOST, "raw.home1.net")
        .text(&crate::diameter::dictionary::ORIGIN_REALM, "home1.net")
        .text(&USER_NAME, name);
    writer
}

#[test]
fn one_that_takes_long_holds_up_no_other() {
    let (server, _) = server("hss.home1.net");
    let client = client(&[&server.listening()[0]]);
    let slow = client.exchange().send(Destination::any(CX), mar("400"));
    let begun = Instant::now();
    assert_eq!(ask(&client, Destination::any(CX), "quick"), Ok("hss.home1.net 2001 quick".into()));
    assert!(begun.elapsed() < Duration::from_millis(300), "{:?}", begun.elapsed());
    assert_eq!(slow.wait().map(|reply| said(&reply)), Ok("hss.home1.net 2001 400".into()));
}

#[test]
fn many_threads_get_each_its_own_answer() {
    let (server, echo) = server("hss.home1.net");
    let client = client(&[&server.listening()[0]]);
    std::thread::scope(|scope| {
        for thread in 0..8 {
            let client = &client;
            scope.spawn(move || {
                // Many at once, answered in the order of their waits.
                let names: Vec<String> = (0..200).map(|n| format!("{}", (thread * 7 + n * 13) % 40)).collect();
                let sent: Vec<_> =
                    names.iter().map(|name| client.exchange().send(Destination::any(CX), mar(name))).collect();
                for (name, answer) in names.iter().zip(sent) {
                    assert_eq!(answer.wait().map(|reply| said(&reply)), Ok(format!("hss.home1.net 2001 {name}")));
                }
            });
        }
    });
    assert_eq!(echo.served.load(Ordering::Relaxed), 1600);
    assert_eq!((client.peers()[0].answered, client.peers()[0].waiting), (1600, 0));
}

#[test]
fn what_a_broken_connection_owes_goes_to_the_next_peer_with_the_t_flag() {
    let (listener, first) = Raw::listening();
    let (second, _) = server("hss.home1.net");
    let greeted = std::thread::spawn(move || (Raw::accept(&listener, "raw.home1.net"), listener));
    // By its name.
    let first = format!("tcp:localhost:{}", first.addr.port()).parse().unwrap();
    let client = client(&[&first, &second.listening()[0]]);
    let (mut raw, _listener) = greeted.join().unwrap();
    let sent = client.exchange().send(Destination::any(CX), mar("alice"));
    let octets = raw.read().unwrap();
    let asked = Message::parse(&octets).unwrap();
    assert_eq!(asked.header().flags & RETRANSMITTED, 0);
    assert_eq!(asked.identity(&DESTINATION_REALM), Ok("home1.net"));
    drop(raw);
    assert_eq!(sent.wait().map(|reply| said(&reply)), Ok("hss.home1.net 2001 alice".into()));
    until(|| client.peers()[0].state != "open");
}

#[test]
fn what_is_sent_again_keeps_its_end_to_end_identifier() {
    let ((one, first), (two, second)) = (Raw::listening(), Raw::listening());
    let greeted = std::thread::spawn(move || (Raw::accept(&one, "one.home1.net"), Raw::accept(&two, "two.home1.net")));
    let client = client(&[&first, &second]);
    let (mut one, mut two) = greeted.join().unwrap();
    let sent = client.exchange().send(Destination::any(CX), mar("alice"));
    let before = one.read().unwrap();
    drop(one);
    let after = two.read().unwrap();
    let (before, then) = (*Message::parse(&before).unwrap().header(), *Message::parse(&after).unwrap().header());
    assert_eq!((before.end_to_end, then.flags), (then.end_to_end, before.flags | RETRANSMITTED));
    // An answer to nothing, one with another end-to-end identifier, and the right one.
    let wrong = Message::parse(&after).unwrap();
    let other = |hop_by_hop: u32, end_to_end: u32| {
        let mut writer = Writer::new(Header { flags: 0, hop_by_hop, end_to_end, ..*wrong.header() });
        writer.result(base::UNABLE_TO_COMPLY);
        writer
    };
    two.write(other(then.hop_by_hop.wrapping_add(9), then.end_to_end));
    two.write(other(then.hop_by_hop, then.end_to_end.wrapping_add(9)));
    two.answer(&after);
    assert_eq!(sent.wait().map(|reply| said(&reply)), Ok("raw.home1.net 2001 -".into()));
}

#[test]
fn a_broken_connection_fails_at_once_where_there_is_no_other_peer() {
    let (listener, first) = Raw::listening();
    let greeted = std::thread::spawn(move || Raw::accept(&listener, "raw.home1.net"));
    let client = client(&[&first]);
    let mut raw = greeted.join().unwrap();
    let sent = client.exchange().send(Destination::any(CX), mar("alice"));
    raw.read().unwrap();
    drop(raw);
    let begun = Instant::now();
    assert_eq!(sent.wait().map(|_| ()), Err(Failure::Lost));
    assert!(begun.elapsed() < Duration::from_secs(2), "{:?}", begun.elapsed());
    assert_eq!(ask(&client, Destination::any(CX), "bob"), Err(Failure::NoPeer));
}

#[test]
fn who_sends_sees_whether_anybody_is_there_who_is_to_be_asked() {
    let (server, _) = server("hss.home1.net");
    let mut settings = to_peers(&[&server.listening()[0]], quick("scscf.home1.net"));
    settings.peers[0].applications = vec![CX, SH];
    let prepared = Prepared::new(settings, Tls::default(), Arc::default()).unwrap();
    let exchange = prepared.exchange();
    assert!(exchange.is_cut_off(CX), "nobody is connected yet");
    let client = prepared.start().unwrap();
    until(|| !exchange.is_cut_off(CX));
    assert!(exchange.is_cut_off(SH), "which it does not speak");
    assert!(!exchange.is_cut_off(ZH), "for which nobody is configured");
    server.stop(Duration::from_secs(1));
    until(|| exchange.is_cut_off(CX));
    drop(client);
}

#[test]
fn one_that_is_silent_has_half_of_the_time_and_is_asked_last_afterwards() {
    let (listener, first) = Raw::listening();
    let (second, echo) = server("hss.home1.net");
    let greeted = std::thread::spawn(move || Raw::accept(&listener, "raw.home1.net"));
    let mut settings = to_peers(&[&first, &second.listening()[0]], quick("scscf.home1.net"));
    settings.request_within = Duration::from_millis(400);
    let client = client_with(settings);
    let _raw = greeted.join().unwrap();
    let begun = Instant::now();
    assert_eq!(ask(&client, Destination::any(CX), "alice"), Ok("hss.home1.net 2001 alice".into()));
    assert!((200..380).contains(&begun.elapsed().as_millis()), "{:?}", begun.elapsed());
    let begun = Instant::now();
    assert_eq!(ask(&client, Destination::any(CX), "bob"), Ok("hss.home1.net 2001 bob".into()));
    assert!(begun.elapsed() < Duration::from_millis(150), "{:?}", begun.elapsed());
    assert_eq!(echo.served.load(Ordering::Relaxed), 2);
    assert_eq!(client.peers()[0].timeouts, 1);
}

#[test]
fn times_and_numbers_are_bounded() {
    let (listener, first) = Raw::listening();
    let greeted = std::thread::spawn(move || Raw::accept(&listener, "raw.home1.net"));
    let mut settings = to_peers(&[&first], quick("scscf.home1.net"));
    settings.request_within = Duration::from_millis(200);
    (settings.max_waiting, settings.max_waiting_peer) = (3, 2);
    let client = client_with(settings);
    let _raw = greeted.join().unwrap();
    let exchange = client.exchange();
    let sent: Vec<_> = (0..4).map(|_| exchange.send(Destination::any(CX), mar("alice"))).collect();
    let outcomes: Vec<_> = sent.into_iter().map(|one| one.wait().map(drop).unwrap_err()).collect();
    assert_eq!(outcomes, [Failure::Timeout, Failure::Timeout, Failure::Busy, Failure::Busy]);
    // The places are free again.
    assert_eq!(ask(&client, Destination::any(CX), "alice"), Err(Failure::Timeout));
    let mut long = mar("alice");
    long.octets(&USER_NAME, &vec![0; crate::diameter::MAX_MESSAGE]);
    assert_eq!(exchange.send(Destination::any(CX), long).wait().map(drop), Err(Failure::TooLong));
}

#[test]
fn a_peer_that_is_busy_or_cannot_deliver_leads_to_the_next() {
    for code in [base::TOO_BUSY, base::UNABLE_TO_DELIVER] {
        let busy = server_with(quick("busy.home1.net"), &Echo::with("busy.home1.net", &[CX], code));
        let (second, _) = server("hss.home1.net");
        let both = client(&[&busy.listening()[0], &second.listening()[0]]);
        assert_eq!(ask(&both, Destination::any(CX), "alice"), Ok("hss.home1.net 2001 alice".into()));
        both.stop(Duration::from_secs(1));
        let alone = client(&[&busy.listening()[0]]);
        let answer = format!("busy.home1.net {} alice", code.number());
        assert_eq!(ask(&alone, Destination::any(CX), "alice"), Ok(answer));
    }
}

#[test]
fn after_a_refusal_there_is_no_t_flag_since_nobody_has_acted() {
    let ((one, first), (two, second), (three, third)) = (Raw::listening(), Raw::listening(), Raw::listening());
    let greeted = std::thread::spawn(move || {
        [(&one, "one.home1.net"), (&two, "two.home1.net"), (&three, "three.home1.net")]
            .map(|(listener, host)| Raw::accept(listener, host))
    });
    let client = client(&[&first, &second, &third]);
    let [mut one, mut two, mut three] = greeted.join().unwrap();
    for code in [base::UNABLE_TO_DELIVER, base::TOO_BUSY, base::REDIRECT_INDICATION] {
        let sent = client.exchange().send(Destination::any(CX), mar("alice"));
        let before = one.read().unwrap();
        let mut refusal = answer_to(&Message::parse(&before).unwrap(), code, &origin("one.home1.net"));
        refusal.text(&REDIRECT_HOST, "aaa://two.home1.net");
        one.write(refusal);
        let after = two.read().unwrap();
        let (before, then) = (*Message::parse(&before).unwrap().header(), *Message::parse(&after).unwrap().header());
        assert_eq!((before.end_to_end, before.flags), (then.end_to_end, then.flags), "{code}");
        two.answer(&after);
        assert!(sent.wait().is_ok());
    }
    // Where one has not answered, a refusal by the next does not take the flag away.
    let sent = client.exchange().send(Destination::any(CX), mar("alice"));
    one.read().unwrap();
    drop(one);
    let octets = two.read().unwrap();
    two.write(answer_to(&Message::parse(&octets).unwrap(), base::TOO_BUSY, &origin("two.home1.net")));
    let octets = three.read().unwrap();
    assert_ne!(Message::parse(&octets).unwrap().header().flags & RETRANSMITTED, 0);
    three.answer(&octets);
    assert!(sent.wait().is_ok());
}

#[test]
fn one_that_redirects_leads_to_whom_it_names() {
    let (listener, agent) = Raw::listening();
    let greeted = std::thread::spawn(move || Raw::accept(&listener, "slf.home1.net"));
    let ((first, echo), (second, _)) = (server("hss1.home1.net"), server("hss2.home1.net"));
    let client = client(&[&agent, &first.listening()[0], &second.listening()[0]]);
    let mut agent = greeted.join().unwrap();
    let asked = |agent: &mut Raw, uris: &[&str]| {
        let exchange = client.exchange();
        let sent = std::thread::spawn(move || exchange.send(Destination::any(CX), mar("alice")).wait());
        let octets = agent.read().unwrap();
        let request = Message::parse(&octets).unwrap();
        let mut answer = answer_to(&request, base::REDIRECT_INDICATION, &origin("slf.home1.net"));
        uris.iter().for_each(|uri| _ = answer.text(&REDIRECT_HOST, uri));
        agent.write(answer);
        sent.join().unwrap().map(|reply| said(&reply))
    };
    let there = asked(&mut agent, &["aaa://gone.home1.net", "aaa://HSS2.home1.net:3868;transport=tcp"]);
    assert_eq!(there, Ok("hss2.home1.net 2001 alice".into()));
    for uris in [&["aaa://gone.home1.net"][..], &["aaa://slf.home1.net"], &["hss2.home1.net", "aaa://;x"], &[]] {
        assert_eq!(asked(&mut agent, uris), Ok("slf.home1.net 3006 -".into()), "{uris:?}");
    }
    assert_eq!(echo.served.load(Ordering::Relaxed), 0);
}

#[test]
fn one_that_has_connected_is_asked_by_its_name() {
    let (server, _) = server("hss.home1.net");
    let echo = Echo::new("scscf.home1.net");
    let mut prepared =
        Prepared::new(to_peers(&[&server.listening()[0]], quick("scscf.home1.net")), Tls::default(), Arc::default())
            .unwrap();
    prepared.serve(echo);
    let client = prepared.start().unwrap();
    until(|| server.peers().iter().any(|peer| peer.standing == "up"));
    let to = |host: &str| Destination { host: Some(host.into()), ..Destination::any(CX) };
    assert_eq!(ask(&server, to("SCSCF.home1.net"), "rtr"), Ok("scscf.home1.net 2001 rtr".into()));
    assert_eq!(ask(&server, to("other.home1.net"), "rtr"), Err(Failure::NoPeer));
    let (before, view) = (server.peers().len(), server.peers().remove(0));
    assert_eq!((before, view.configured, view.name.as_str()), (1, false, "scscf.home1.net"));
    client.stop(Duration::from_secs(1));
    until(|| server.peers().is_empty());
}

#[test]
fn one_that_has_connected_stands_in_for_no_configured_peer() {
    let (listener, first) = Raw::listening();
    let greeted = std::thread::spawn(move || Raw::accept(&listener, "raw.home1.net"));
    let mut settings = to_peers(&[&first], quick("scscf.home1.net"));
    settings.request_within = Duration::from_millis(200);
    settings.listen = vec!["tcp:127.0.0.1:0".parse().unwrap()];
    let client = client_with(settings);
    let _silent = greeted.join().unwrap();
    let mut other = Raw::greet(&client.listening()[0], "other.home1.net");
    assert_eq!(ask(&client, Destination::any(CX), "alice"), Err(Failure::Timeout));
    let to = Destination { host: Some("other.home1.net".into()), ..Destination::any(CX) };
    let sent = client.exchange().send(to, mar("bob"));
    let octets = other.read().unwrap();
    assert_eq!(Message::parse(&octets).unwrap().avps().text(&USER_NAME), Ok(Some("bob")));
    other.answer(&octets);
    assert!(sent.wait().is_ok());
}

#[test]
fn two_that_connect_at_once_keep_one_connection() {
    for _ in 0..5 {
        // Each must know where the other will be.
        let free = || Raw::listening().1;
        let (at_a, at_b) = (free(), free());
        let start = |own: &str, listen: &Endpoint, other: &str, at: &Endpoint| {
            let peer = PeerSettings { endpoint: at.clone(), applications: vec![], host: Some(other.into()) };
            let settings = Settings { listen: vec![listen.clone()], peers: vec![peer], ..quick(own) };
            let mut prepared = Prepared::new(settings, Tls::default(), Arc::default()).unwrap();
            prepared.serve(Echo::new(own));
            prepared.start().unwrap()
        };
        let a = start("a.home1.net", &at_a, "b.home1.net", &at_b);
        let b = start("b.home1.net", &at_b, "a.home1.net", &at_a);
        let up = |node: &Node| node.peers().iter().map(|peer| peer.standing).collect::<Vec<_>>() == ["up"];
        until(|| up(&a) && up(&b));
        for _ in 0..20 {
            assert_eq!(ask(&a, Destination::any(CX), "x"), Ok("b.home1.net 2001 x".into()));
            assert_eq!(ask(&b, Destination::any(CX), "x"), Ok("a.home1.net 2001 x".into()));
        }
        assert!(up(&a) && up(&b), "{:?} {:?}", a.peers(), b.peers());
    }
}

#[test]
fn a_peer_that_restarts_is_used_again_at_once_if_it_is_the_only_one() {
    let (first, _) = server("hss.home1.net");
    let at = first.listening()[0].clone();
    let client = client(&[&at]);
    assert!(ask(&client, Destination::any(CX), "alice").is_ok());
    first.stop(Duration::from_secs(1));
    until(|| client.peers()[0].state != "open");
    assert_eq!(ask(&client, Destination::any(CX), "alice"), Err(Failure::NoPeer));
    assert_eq!(client.peers()[0].ended.as_deref(), Some("the peer disconnects: REBOOTING"));
    let echo = Echo::new("hss.home1.net");
    let again = || {
        let mut prepared = Prepared::new(
            Settings { listen: vec![at.clone()], ..quick("hss.home1.net") },
            Tls::default(),
            Arc::default(),
        )?;
        prepared.serve(echo.clone());
        prepared.start()
    };
    let second = again().unwrap();
    until(|| ask(&client, Destination::any(CX), "alice").is_ok());
    assert_eq!(client.peers()[0].standing, "up", "it said goodbye");
    drop(second);
}

#[test]
fn octets_may_come_one_by_one_and_end_anywhere() {
    let (server, echo) = server("hss.home1.net");
    let at = &server.listening()[0];
    let mut raw = Raw::of(TcpStream::connect(at.addr).unwrap());
    raw.0.set_nodelay(true).unwrap();
    for octet in cer("raw.home1.net").finish().unwrap() {
        raw.0.write_all(&[octet]).unwrap();
    }
    assert_eq!(raw.result(), 2001);
    // Two at once, and half of a third.
    let mut octets = numbered(REQUEST, 303, 1, 1, "a").finish().unwrap();
    octets.extend(numbered(REQUEST, 303, 2, 2, "b").finish().unwrap());
    let third = numbered(REQUEST, 303, 3, 3, "c").finish().unwrap();
    octets.extend(&third[..30]);
    raw.0.write_all(&octets).unwrap();
    assert_eq!((raw.result(), raw.result()), (2001, 2001));
    drop(raw);
    until(|| server.peers().is_empty());
    assert_eq!(echo.served.load(Ordering::Relaxed), 2);
    // What is no Diameter, and what says nothing, is closed.
    for octets in [&b"GET / HTTP/1.1\r\n\r\n"[..], &[1, 0, 0, 19], &[1, 0xff, 0xff, 0xfc]] {
        let mut raw = Raw::of(TcpStream::connect(at.addr).unwrap());
        raw.0.write_all(octets).unwrap();
        assert_eq!(raw.read(), None);
    }
    let mut raw = Raw::of(TcpStream::connect(at.addr).unwrap());
    raw.write(base_request(command::DEVICE_WATCHDOG, "raw.home1.net"));
    assert_eq!(raw.read(), None, "anything but a CER");
}

#[test]
fn one_who_asks_again_gets_the_same_answer_and_is_served_once() {
    let (server, echo) = server("hss.home1.net");
    let mut raw = Raw::greet(&server.listening()[0], "raw.home1.net");
    raw.write(numbered(REQUEST, 303, 7, 70, "100"));
    raw.write(numbered(REQUEST | RETRANSMITTED, 303, 8, 70, "100"));
    let (first, second) = (raw.read().unwrap(), raw.read().unwrap());
    raw.write(numbered(REQUEST | RETRANSMITTED, 303, 9, 70, "100"));
    let third = raw.read().unwrap();
    let mut hops: Vec<_> =
        [&first, &second, &third].map(|octets| Message::parse(octets).unwrap().header().hop_by_hop).into();
    hops.sort_unstable();
    assert_eq!(hops, [7, 8, 9]);
    assert_eq!((&first[16..], &first[16..]), (&second[16..], &third[16..]));
    assert_eq!(echo.served.load(Ordering::Relaxed), 1);
    raw.write(numbered(REQUEST, 303, 10, 70, "100"));
    raw.read().unwrap();
    assert_eq!(echo.served.load(Ordering::Relaxed), 2, "it does not say that it asks again");
}

#[test]
fn what_is_not_for_us_or_too_much_is_refused() {
    let echo = Echo::new("hss.home1.net");
    let server = server_with(Settings { max_serving: 1, ..quick("hss.home1.net") }, &echo);
    let mut raw = Raw::greet(&server.listening()[0], "raw.home1.net");
    let to = |def, text: &str| {
        let mut writer = numbered(REQUEST, 303, 1, 1, "a");
        writer.text(def, text);
        writer
    };
    raw.write(to(&DESTINATION_HOST, "other.home1.net"));
    assert_eq!(raw.result(), 3002);
    raw.write(to(&DESTINATION_REALM, "home2.net"));
    assert_eq!(raw.result(), 3003);
    raw.write(to(&DESTINATION_HOST, "HSS.home1.NET"));
    assert_eq!(raw.result(), 2001);
    raw.write(numbered(REQUEST, 999, 1, 2, "a"));
    let octets = raw.read().unwrap();
    let refused = Message::parse(&octets).unwrap();
    assert_eq!((refused.result(), refused.header().flags & ERROR), (Ok(base::COMMAND_UNSUPPORTED), ERROR));
    raw.write(numbered(REQUEST, 303, 1, 3, "200"));
    raw.write(numbered(REQUEST, 303, 2, 4, "b"));
    assert_eq!((raw.result(), raw.result()), (3004, 2001));
    raw.write(numbered(REQUEST, 303, 3, 5, "c"));
    assert_eq!(raw.result(), 2001);
    assert_eq!(server.peers()[0].served, 7);
}

#[test]
fn who_may_connect_is_configured() {
    let echo = Echo::new("hss.home1.net");
    let greet = |accept: Accept, host: &str| {
        let server = server_with(Settings { accept, ..quick("hss.home1.net") }, &echo);
        let mut raw = Raw::of(TcpStream::connect(server.listening()[0].addr).unwrap());
        raw.write(cer(host));
        let code = raw.result();
        if code != 2001 {
            assert_eq!(raw.read(), None, "and closed");
        }
        code
    };
    let only = |host: &str| Accept { hosts: vec![host.into()], ..Accept::default() };
    assert_eq!(greet(Accept::default(), "raw.home1.net"), 2001);
    assert_eq!(greet(only("RAW.home1.net"), "raw.home1.net"), 2001);
    assert_eq!(greet(only("scscf.home1.net"), "raw.home1.net"), 3010);
    assert_eq!(greet(Accept { addresses: vec![], hosts: vec![] }, "raw.home1.net"), 3010);
    assert_eq!(greet(Accept::default(), "hss.home1.net"), 3010, "that is us");
    let server = server_with(Settings { connections: 1, ..quick("hss.home1.net") }, &echo);
    let _first = Raw::greet(&server.listening()[0], "one.home1.net");
    let mut second = Raw::of(TcpStream::connect(server.listening()[0].addr).unwrap());
    assert_eq!(second.read(), None, "one connection is enough");
}

#[test]
fn those_who_connect_and_say_nothing_keep_nobody_out() {
    let echo = Echo::new("hss.home1.net");
    let server = server_with(Settings { connections: 3, ..quick("hss.home1.net") }, &echo);
    let at = &server.listening()[0];
    let mut first = Raw::greet(at, "one.home1.net");
    let mut silent: Vec<_> = (0..8).map(|_| Raw::of(TcpStream::connect(at.addr).unwrap())).collect();
    let mut second = Raw::greet(at, "two.home1.net");
    assert_eq!(silent[0].read(), None, "it made way");
    // Who has said who he is stays.
    for (raw, name) in [(&mut first, "one.home1.net"), (&mut second, "two.home1.net")] {
        raw.write(base_request(command::DEVICE_WATCHDOG, name));
        assert_eq!(raw.result(), 2001, "{name}");
    }
}

#[test]
fn a_peer_that_does_not_read_is_given_up() {
    let (listener, first) = Raw::listening();
    let greeted = std::thread::spawn(move || Raw::accept(&listener, "raw.home1.net"));
    let settings = Settings { unsent: 1 << 20, ..to_peers(&[&first], quick("scscf.home1.net")) };
    let client = client_with(settings);
    let _raw = greeted.join().unwrap();
    let long = "x".repeat(100_000);
    let sent: Vec<_> = (0..200).map(|_| client.exchange().send(Destination::any(CX), mar(&long))).collect();
    let outcomes: Vec<_> = sent.into_iter().map(|one| one.wait().map(drop).unwrap_err()).collect();
    assert!(outcomes.contains(&Failure::Lost), "{outcomes:?}");
}

#[test]
fn watchdogs_go_to_and_fro_and_a_silent_peer_is_closed() {
    let (listener, first) = Raw::listening();
    let greeted = std::thread::spawn(move || (Raw::accept(&listener, "raw.home1.net"), listener));
    let mut settings = to_peers(&[&first], quick("scscf.home1.net"));
    settings.timing.tw = Duration::from_millis(100);
    let client = client_with(settings);
    let (mut raw, listener) = greeted.join().unwrap();
    for _ in 0..2 {
        let dwr = raw.read().unwrap();
        assert_eq!(Message::parse(&dwr).unwrap().header().command, command::DEVICE_WATCHDOG);
        raw.answer(&dwr);
    }
    raw.write(base_request(command::DEVICE_WATCHDOG, "raw.home1.net"));
    while raw.read().is_some() {}
    let mut raw = Raw::accept(&listener, "raw.home1.net");
    until(|| client.peers()[0].standing == "probation");
    // There is no other.
    let sent = client.exchange().send(Destination::any(CX), mar("alice"));
    let octets = loop {
        let octets = raw.read().unwrap();
        if Message::parse(&octets).unwrap().header().application == CX {
            break octets;
        }
        raw.answer(&octets);
    };
    raw.answer(&octets);
    assert!(sent.wait().is_ok());
    assert_eq!(client.peers()[0].ended.as_deref(), Some("the watchdog was not answered"));
    while client.peers()[0].standing != "up" {
        let dwr = raw.read().unwrap();
        raw.answer(&dwr);
        std::thread::sleep(Duration::from_millis(5));
    }
    assert_eq!(client.peers()[0].connects, 2);
}

#[test]
fn stopping_waits_for_what_is_outstanding_and_says_goodbye() {
    let (server, _) = server("hss.home1.net");
    let client = client(&[&server.listening()[0]]);
    let sent = client.exchange().send(Destination::any(CX), mar("200"));
    until(|| client.peers()[0].waiting == 1);
    client.stop(Duration::from_secs(5));
    assert_eq!(sent.wait().map(|reply| said(&reply)), Ok("hss.home1.net 2001 200".into()));
    let mut raw = Raw::greet(&server.listening()[0], "raw.home1.net");
    let reader = std::thread::spawn(move || {
        let dpr = raw.read().unwrap();
        raw.answer(&dpr);
        (Message::parse(&dpr).unwrap().header().command, raw.read())
    });
    let begun = Instant::now();
    server.stop(Duration::from_secs(5));
    assert!(begun.elapsed() < Duration::from_secs(2), "{:?}", begun.elapsed());
    assert_eq!(reader.join().unwrap(), (command::DISCONNECT_PEER, None));
}

/// Certificates under one authority.
struct Authority {
    dir: tempfile::TempDir,
    issuer: rcgen::Issuer<'static, rcgen::KeyPair>,
}

impl Authority {
    fn new() -> Authority {
        let mut params = rcgen::CertificateParams::new(Vec::<String>::new()).unwrap();
        params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        let key = rcgen::KeyPair::generate().unwrap();
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("ca.pem"), params.self_signed(&key).unwrap().pem()).unwrap();
        Authority { dir, issuer: rcgen::Issuer::new(params, key) }
    }

    /// As a node has it that shows the same certificate either way.
    fn tls(&self, name: &str) -> Tls {
        let key = rcgen::KeyPair::generate().unwrap();
        let path = |kind: &str| self.dir.path().join(format!("{name}.{kind}"));
        let params = rcgen::CertificateParams::new(vec![name.to_owned()]).unwrap();
        std::fs::write(path("pem"), params.signed_by(&key, &self.issuer).unwrap().pem()).unwrap();
        std::fs::write(path("key"), key.serialize_pem()).unwrap();
        let own = crate::sip::transport::Identity { certificate: path("pem"), key: path("key") };
        let ca = Some(self.dir.path().join("ca.pem"));
        Tls::load(&crate::sip::transport::TlsFiles {
            server: Some(own.clone()),
            client: Some(own),
            client_ca: ca.clone(),
            roots: ca,
            require_client_certificate: false,
        })
        .unwrap()
    }
}

#[test]
fn over_tls_a_peer_is_who_its_certificate_says() {
    let authority = Authority::new();
    // Nobody may come by his address alone.
    let accept = Accept { addresses: vec![], hosts: vec![] };
    let listen = vec!["tls:127.0.0.1:0".parse().unwrap()];
    let settings = Settings { listen, accept, ..quick("hss.home1.net") };
    let mut prepared = Prepared::new(settings, authority.tls("hss.home1.net"), Arc::default()).unwrap();
    prepared.serve(Echo::new("hss.home1.net"));
    let server = prepared.start().unwrap();
    let at = |name: &str| Endpoint { tls_name: Some(name.into()), ..server.listening()[0].clone() };
    let connect = |name: &str, own: &str| {
        let settings = to_peers(&[&at(name)], quick(own));
        Prepared::new(settings, authority.tls(own), Arc::default()).unwrap().start().unwrap()
    };
    let client = connect("hss.home1.net", "scscf.home1.net");
    until(|| client.peers()[0].standing == "up");
    assert_eq!(ask(&client, Destination::any(CX), "alice"), Ok("hss.home1.net 2001 alice".into()));
    let wrong = connect("other.home1.net", "scscf2.home1.net");
    until(|| wrong.peers()[0].ended.is_some());
    assert_eq!(wrong.peers()[0].ended.as_deref(), Some("cannot connect"), "it shows another name");
    // The certificate is of another host.
    let settings = to_peers(&[&at("hss.home1.net")], quick("liar.home1.net"));
    let liar = Prepared::new(settings, authority.tls("honest.home1.net"), Arc::default()).unwrap().start().unwrap();
    until(|| liar.peers()[0].ended.is_some());
    assert_eq!(liar.peers()[0].ended.as_deref(), Some("CEA 3010 UNKNOWN_PEER"));
    let none = |listen: &str, peers: &[&Endpoint]| {
        let listen = listen.parse().into_iter().collect();
        Prepared::new(Settings { listen, ..to_peers(peers, quick("a")) }, Tls::default(), Arc::default()).err()
    };
    assert!(matches!(none("tls:127.0.0.1:0", &[]), Some(NodeError::NoCertificate(_))));
    assert!(matches!(none("", &[&at("hss.home1.net")]), Some(NodeError::NoAuthority(_))));
}

#[test]
fn whom_we_ask_over_tls_nobody_becomes_by_his_address() {
    let authority = Authority::new();
    let (_listener, away) = Raw::listening();
    let away = Endpoint { tls_name: Some("diameter.home1.net".into()), ..away };
    let mut settings = to_peers(&[&away], quick("scscf.home1.net"));
    settings.peers[0].host = Some("hss.home1.net".into());
    settings.listen = vec!["tcp:127.0.0.1:0".parse().unwrap(), "tls:127.0.0.1:0".parse().unwrap()];
    let node = Prepared::new(settings, authority.tls("scscf.home1.net"), Arc::default()).unwrap().start().unwrap();
    let (plain, secured) = (node.listening()[0].clone(), node.listening()[1].clone());
    let mut raw = Raw::of(TcpStream::connect(plain.addr).unwrap());
    raw.write(cer("HSS.home1.net"));
    assert_eq!(raw.result(), 3010);
    Raw::greet(&plain, "as.home1.net");
    // By its certificate it may come itself.
    let echo = Echo::new("hss.home1.net");
    let at = Endpoint { tls_name: Some("scscf.home1.net".into()), ..secured };
    let settings = to_peers(&[&at], quick("hss.home1.net"));
    let mut hss = Prepared::new(settings, authority.tls("diameter.home1.net"), Arc::default()).unwrap();
    hss.serve(echo);
    let _hss = hss.start().unwrap();
    until(|| node.peers()[0].standing == "up");
    assert_eq!(ask(&node, Destination::any(CX), "alice"), Ok("hss.home1.net 2001 alice".into()));
    // One whose name is not configured, and that has not been reached yet, is whom its certificate is to name.
    let (_listener, away) = Raw::listening();
    let away = Endpoint { tls_name: Some("hss.home1.net".into()), ..away };
    let settings =
        Settings { listen: vec!["tcp:127.0.0.1:0".parse().unwrap()], ..to_peers(&[&away], quick("other.home1.net")) };
    let node = Prepared::new(settings, authority.tls("other.home1.net"), Arc::default()).unwrap().start().unwrap();
    let mut raw = Raw::of(TcpStream::connect(node.listening()[0].addr).unwrap());
    raw.write(cer("hss.home1.net"));
    assert_eq!(raw.result(), 3010);
}

#[test]
fn what_happens_is_counted() {
    let metrics: Arc<Metrics> = Arc::default();
    let (server, _) = server("hss.home1.net");
    let settings = to_peers(&[&server.listening()[0]], quick("scscf.home1.net"));
    let client = Prepared::new(settings, Tls::default(), metrics.clone()).unwrap().start().unwrap();
    until(|| client.peers()[0].standing == "up");
    assert!(ask(&client, Destination::any(CX), "alice").is_ok());
    let text = metrics.exposition();
    let peer = server.listening()[0].to_string();
    for line in [
        format!("imscript_diameter_requests_total{{peer=\"{peer}\",command=\"Cx-MA\"}} 1"),
        format!("imscript_diameter_answers_total{{peer=\"{peer}\",command=\"Cx-MA\",result=\"2001\"}} 1"),
        format!("imscript_diameter_answer_seconds_count{{peer=\"{peer}\",command=\"Cx-MA\"}} 1"),
        format!("imscript_diameter_peer_standing{{peer=\"{peer}\"}} 3"),
        format!("imscript_diameter_connects_total{{peer=\"{peer}\"}} 1"),
        format!("imscript_diameter_waiting{{peer=\"{peer}\"}} 0"),
    ] {
        assert!(text.contains(&line), "{line} in\n{text}");
    }
}
