//! SIGTERM: what is in progress is finished, what is new is sent elsewhere, nothing that was answered is lost.

use crate::support::fake_bsm::{Conduct, FakeBsm};
use crate::support::hand::{Hand, NAMES_NAF};
use crate::support::{Bed, Over, wait_for};
use imscript::cli::network::{Card, Plan};
use imscript::config::Config;
use imscript::policy::{Context, Decide, verdict};
use imscript::server::Node;
use imscript::sip::{HeaderName, Message};
use std::net::UdpSocket;
use std::process::{Command, ExitStatus};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::{Duration, Instant};

fn send_signal(bed: &mut Bed, signal: &str) {
    let process = bed.process("ims").unwrap().id().to_string();
    assert!(Command::new("kill").args(["-s", signal, &process]).status().unwrap().success());
}

fn end(bed: &mut Bed) -> ExitStatus {
    let process = bed.process("ims").unwrap();
    wait_for(|| process.try_wait().unwrap())
}

/// A REGISTER of somebody else, until it is refused as a node that drains refuses it; seconds of its Retry-After.
fn wait_until_refused(bed: &Bed) -> u64 {
    wait_for(|| {
        let mut hand = Hand::new(&Card::number(9), bed.ims);
        let answer = hand.register(&hand.unanswered(), "", b"");
        (answer.status() == 503).then(|| {
            let seconds = answer.header(HeaderName::RetryAfter).unwrap();
            std::str::from_utf8(seconds).unwrap().parse().unwrap()
        })
    })
}

#[test]
fn a_registration_in_progress_is_finished_and_a_new_one_is_sent_elsewhere() {
    let mut bed = Bed::start(&Plan { ims_tables: "[shutdown]\ndrain = \"60s\"\n".into(), ..Plan::default() });
    let card = bed.subscriber_with("yes");
    let mut hand = Hand::new(&card, bed.ims);
    let challenge = Hand::challenge(&hand.register(&hand.unanswered(), NAMES_NAF, b""));
    let begun = Instant::now();
    send_signal(&mut bed, "TERM");
    let later = wait_until_refused(&bed);
    assert!((3..8).contains(&later), "{later}");
    let answer = hand.answer(&challenge);
    assert_eq!(hand.register(&answer, "", b"").status(), 200);
    assert!(end(&mut bed).success());
    assert!(begun.elapsed() < Duration::from_secs(30), "{:?}", begun.elapsed());
    bed.assert_states(&card.impi, "registered", "registered");
}

#[test]
fn it_says_that_it_is_ready_and_that_it_drains_and_ends_at_once_on_a_second_signal() {
    let ims_tables = "[broadcast]\ntimeout = 30\n[shutdown]\ndrain = \"60s\"\n".into();
    let mut bed = Bed::start(&Plan { with_bsm: false, ims_tables, ..Plan::default() });
    let bsm = FakeBsm::bind(bed.bsm, Conduct::Silent);
    let card = bed.subscriber_with("yes");
    let status = |bed: &Bed| {
        let output = bed.imscript(&["status", "--data-dir", "ims-data"]).unwrap();
        (output.status.success(), String::from_utf8(output.stdout).unwrap())
    };
    let (ready, said) = status(&bed);
    assert!(ready && said.starts_with("ready, 0 in flight, generation 1"), "{said}");
    let mut hand = Hand::new(&card, bed.ims);
    let challenge = Hand::challenge(&hand.register(&hand.unanswered(), NAMES_NAF, b""));
    let answer = hand.answer(&challenge);
    hand.send(&answer, "", b"");
    bsm.request(0, |request| request.method() == b"REGISTER");
    send_signal(&mut bed, "TERM");
    wait_until_refused(&bed);
    let (ready, said) = status(&bed);
    assert!(!ready && said.starts_with("draining, "), "{said}");
    assert!(bed.process("ims").unwrap().try_wait().unwrap().is_none());
    let begun = Instant::now();
    send_signal(&mut bed, "TERM");
    assert!(end(&mut bed).success());
    assert!(begun.elapsed() < Duration::from_secs(20), "{:?}", begun.elapsed());
}

#[test]
fn a_node_with_nothing_to_finish_does_not_wait() {
    let mut bed = Bed::start(&Plan { ims_tables: "[shutdown]\ndrain = \"60s\"\n".into(), ..Plan::default() });
    let (status, took) = bed.signal("ims", "TERM");
    assert!(status.success() && took < Duration::from_secs(30), "{status} after {took:?}");
}

#[test]
fn under_load_nothing_that_was_answered_is_lost() {
    let mut bed = Bed::start(&Plan::default());
    let cards: Vec<Card> = (1..=6).map(Card::number).collect();
    cards.iter().for_each(|card| bed.add_subscriber(card, "yes").unwrap());
    let (ended, answered) = (AtomicBool::new(false), AtomicU32::new(0));
    let ims = bed.ims;
    std::thread::scope(|scope| {
        let over = Over(&ended);
        // Each registers again and again; whether its last REGISTER with credentials was answered 200, and whether that ended it.
        let terminals: Vec<_> = cards
            .iter()
            .map(|card| {
                let (ended, answered) = (&ended, &answered);
                scope.spawn(move || {
                    let mut hand = Hand::new(card, ims);
                    let mut registered = false;
                    while !ended.load(Ordering::Relaxed) {
                        let Some(first) = hand.insist(&hand.unanswered(), NAMES_NAF, 3) else { break };
                        if first.status() == 503 {
                            assert!(first.header(HeaderName::RetryAfter).is_some());
                            break;
                        }
                        let challenge = Hand::challenge(&first);
                        let authorization = hand.answer(&challenge);
                        // In progress: it is answered, whatever the node has been told meanwhile.
                        let last = hand.insist(&authorization, "", 4).expect("a registration in progress is answered");
                        assert_eq!(last.status(), 200);
                        registered = true;
                        answered.fetch_add(1, Ordering::Relaxed);
                    }
                    registered
                })
            })
            .collect();
        wait_for(|| (answered.load(Ordering::Relaxed) >= 60).then_some(()));
        let (status, took) = bed.signal("ims", "TERM");
        drop(over);
        assert!(status.success() && took < Duration::from_secs(30), "{status} after {took:?}");
        for (card, terminal) in cards.iter().zip(terminals) {
            if terminal.join().unwrap() {
                bed.assert_states(&card.impi, "registered", "registered");
            }
        }
    });
}

/// Holds its worker up at every REGISTER.
struct Blocks;

impl Decide for Blocks {
    fn register(&self, _request: &Message<'_>, _ctx: &Context<'_>) -> verdict::Register {
        std::thread::sleep(Duration::from_secs(3));
        verdict::Register::Challenge { algorithms: None }
    }
}

#[test]
fn a_worker_that_is_stuck_is_no_secret() {
    let folder = tempfile::tempdir().unwrap();
    let config = Config {
        data_dir: folder.path().into(),
        listen: vec!["udp:127.0.0.1:0".parse().unwrap()],
        workers: 2,
        ..Config::all_on_loopback()
    };
    let mut node = Node::builder(config).policy(|| Blocks).start().unwrap();
    assert!(node.life().silent(Duration::from_secs(10)).is_empty());
    let peer = UdpSocket::bind("127.0.0.1:0").unwrap();
    let request = format!(
        "REGISTER sip:home1.net SIP/2.0\r\nVia: SIP/2.0/UDP {};branch=z9hG4bK1\r\nMax-Forwards: 70\r\n\
         From: <sip:a@home1.net>;tag=1\r\nTo: <sip:a@home1.net>\r\nCall-ID: 1\r\nCSeq: 1 REGISTER\r\n\
         Authorization: Digest username=\"a@home1.net\",realm=\"home1.net\",nonce=\"\",uri=\"sip:home1.net\",response=\"\"\r\n\
         Content-Length: 0\r\n\r\n",
        peer.local_addr().unwrap()
    );
    peer.send_to(request.as_bytes(), node.listening()[0].addr).unwrap();
    let silent = wait_for(|| Some(node.life().silent(Duration::from_millis(1000))).filter(|silent| !silent.is_empty()));
    assert_eq!(silent.len(), 1);
    node.drain(Duration::from_secs(5), |pause| {
        std::thread::sleep(pause);
        false
    });
}
