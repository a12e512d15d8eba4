use super::*;
use crate::hss::RegState;
use crate::policy::lua::{PolicySource, Unit};
use crate::policy::{Kind, System};
use crate::sip::transaction::{Source, Transport};
use std::time::Duration;

fn generation(id: u64, text: &str) -> Generation {
    let program = PolicySource::new(format!("gen{id}.lua"), text).compile().unwrap();
    Generation::new(id, [Arc::new(Unit::policy(program))])
}

/// A policy that grants so many seconds, so that its answers tell the generations apart.
fn granting(id: u64, seconds: u32) -> Generation {
    generation(id, &format!("return {{ authorized = function() return ims.accept {{ expires = {seconds} }} end }}"))
}

fn source() -> Source {
    let addr = "127.0.0.1:5060".parse().unwrap();
    Source { transport: Transport::Udp, addr, local: addr, peer_names: Arc::new([]) }
}

const REGISTER: &[u8] = b"REGISTER sip:home1.net SIP/2.0\r\nCall-ID: 1\r\nCSeq: 1 REGISTER\r\n\r\n";

fn granted(decide: &dyn Decide, impi: &str) -> Option<u32> {
    let (message, source) = (Message::parse(REGISTER).unwrap(), source());
    let ctx = Context { kind: Kind::Initial, impi, ..Context::arrival(&source, &[], 1) };
    match decide.authorized(&message, &ctx) {
        verdict::Authorized::Accept { expires } => expires,
        verdict::Authorized::Reject(_) => panic!("refused"),
    }
}

fn seat(first: &Generation) -> (Seat, Env) {
    let env = Env::detached(&[]);
    (Seat::new(first, &env).unwrap(), env)
}

#[test]
fn a_pinned_chain_outlives_the_switch_and_its_generation_ends_with_it() {
    let (first, second) = (granting(1, 100), granting(2, 200));
    let (seat, env) = seat(&first);
    let pinned = seat.pin("alice").unwrap();
    seat.prepare(&second, &env).unwrap();
    assert_eq!(granted(&seat, "alice"), Some(100), "prepared is not switched");
    assert!(seat.switch(None));
    assert_eq!((granted(&seat, "alice"), granted(&*pinned, "alice")), (Some(200), Some(100)));
    assert_eq!((first.chains(), second.chains(), seat.serving()), (1, 1, 2));
    drop(pinned);
    assert_eq!((first.chains(), second.chains()), (0, 1));
}

#[test]
fn what_cannot_be_built_changes_nothing() {
    let (seat, env) = seat(&granting(1, 100));
    assert!(seat.prepare(&generation(2, "error('no')"), &env).is_err());
    assert!(!seat.switch(None));
    assert_eq!(granted(&seat, "alice"), Some(100));
    let third = granting(3, 300);
    seat.prepare(&third, &env).unwrap();
    seat.forget();
    assert!(!seat.switch(None) && third.chains() == 0);
}

#[test]
fn a_canary_has_its_share_of_the_users_and_keeps_them() {
    let (seat, env) = seat(&granting(1, 100));
    seat.prepare(&granting(2, 200), &env).unwrap();
    assert!(seat.switch(Some(20)));
    let users: Vec<String> = (0..2000).map(|n| format!("user{n}_private@home1.net")).collect();
    let with_the_new = || users.iter().filter(|impi| granted(&seat, impi) == Some(200)).cloned().collect::<Vec<_>>();
    let share = with_the_new();
    assert!((320..480).contains(&share.len()), "{} of 2000", share.len());
    assert_eq!(with_the_new(), share, "a user stays where he is");
    assert_eq!(granted(&seat, ""), Some(100), "a stranger is nobody's canary");
    for impi in &users {
        assert_eq!(granted(&*seat.pin(impi).unwrap(), impi), granted(&seat, impi));
    }
    // A larger share has the smaller one's users in it.
    assert!(share.iter().all(|impi| is_in_share(impi, 50)));
    seat.dismiss();
    assert!(with_the_new().is_empty() && seat.serving() == 1);
    assert!(!seat.promote());
    seat.prepare(&granting(3, 200), &env).unwrap();
    seat.switch(Some(20));
    assert!(seat.promote());
    assert_eq!((with_the_new().len(), seat.serving()), (2000, 3));
}

#[test]
fn what_was_asked_can_be_asked_of_another_generation() {
    let (seat, env) = seat(&granting(1, 100));
    granted(&seat, "alice");
    let source = source();
    let event = StatusEvent {
        system: System::Ims,
        previous: RegState::NotRegistered,
        state: RegState::Registered,
        cause: "registered",
        impi: "alice",
        impu: "sip:alice@home1.net",
        btid: None,
        naf_fqdn: None,
        servers: &["bsm"],
        expires: 60,
        unix: 1,
    };
    seat.status(&event);
    let message = Message::parse(REGISTER).unwrap();
    let portion = PortionView {
        naf_fqdn: "bsm.home1.net",
        ua_id: [1; 5],
        profile: None,
        payload: Some(b"<x/>"),
        payload_type: Some("application/xml"),
    };
    let ctx = Context { impi: "bob", ..Context::arrival(&source, &[], 1) };
    seat.broadcast(&message, &portion, &ctx);
    let text = "return { authorized = function() return ims.accept { expires = 200 } end,
                         broadcast = function(req, portion) return ims.skip(portion.payload) end }";
    let chain = generation(2, text).chain(&env).unwrap();
    let asked: Vec<_> = seat
        .tap()
        .last(10)
        .iter()
        .map(|record| (record.stage(), record.impi().to_owned(), record.ask(&chain, &[]).unwrap() == record.answer))
        .collect();
    let expected =
        [(Stage::Authorized, "alice", false), (Stage::Status, "alice", true), (Stage::Broadcast, "bob", false)];
    assert_eq!(asked, expected.map(|(stage, impi, same)| (stage, impi.to_owned(), same)));
    let record = &seat.tap().last(1)[0];
    let skipped = verdict::Broadcast::Skip { reason: "<x/>".into() };
    assert_eq!(record.ask(&chain, &[]), Some(Opinion::Broadcast(skipped)));
}

/// Run by hand, for the figure in docs/reload.md.
#[test]
#[ignore = "a measurement"]
fn what_recording_costs() {
    let (seat, _env) = seat(&generation(1, "return {}"));
    let message = [REGISTER, b"", &[b'x'; 900]].concat();
    let (message, source) = (Message::parse(&message).unwrap(), source());
    let time = |unix: &dyn Fn(u64) -> u64| {
        let start = std::time::Instant::now();
        for n in 0..100_000 {
            let ctx = Context { impi: "alice", ..Context::arrival(&source, &[], unix(n)) };
            seat.verify(&message, &ctx);
        }
        start.elapsed() / 100_000
    };
    let (all, sixty_four) = (time(&|n| n), time(&|_| 7));
    println!("recorded {all:?}, beyond the second's share {sixty_four:?}");
    assert!(sixty_four < Duration::from_micros(5));
}

#[test]
fn who_is_replaced_or_stopped_is_told_once_why() {
    // What the teardown of each wrote is read by the next through what all share.
    let told = |id: u64| {
        let text = "local said = shared.get('said') or 'nothing'
            return { authorized = function() return ims.accept { expires = #said } end,
                     teardown = function(reason) shared.set('said', (shared.get('said') or '') .. reason) end }";
        generation(id, text)
    };
    let (seat, env) = seat(&told(1));
    assert_eq!(granted(&seat, "alice"), Some(7));
    seat.prepare(&told(2), &env).unwrap();
    assert!(seat.switch(None));
    seat.prepare(&told(3), &env).unwrap();
    assert_eq!(granted(&seat, "alice"), Some(7), "the second was built before the first ended");
    seat.end();
    seat.end();
    let after = Seat::new(&told(4), &env).unwrap();
    assert_eq!(granted(&after, "alice"), Some("replacedstopped".len() as u32));
}
