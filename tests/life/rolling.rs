//! Three nodes are started anew one after the other under load: a terminal that goes on to the next node when one refuses or
//! says nothing always gets its registration.
//!
//! Once each node has a store of its own; once all three are on one Redis server, and a challenge of one node may be answered
//! at another.

use crate::servers;
use crate::support::hand::Hand;
use crate::support::{Bed, Over};
use imscript::cli::network::{Card, DOMAIN, free_address};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

const TERMINALS: u8 = 6;
const NAMES: [&str; 3] = ["one", "two", "three"];

fn config(name: &str, at: SocketAddr, shared: Option<&str>) -> String {
    let store = match shared {
        Some(url) => format!("[store]\nkind = \"redis\"\nurls = [{url:?}]\nkey_file = \"key\"\n"),
        None => String::new(),
    };
    format!(
        "domain = \"{DOMAIN}\"\nroles = [\"scscf\", \"bsf\", \"hss\"]\nlisten = [\"udp:{at}\"]\ndata_dir = \"{name}\"\n\
         workers = 2\n{store}"
    )
}

/// One registration, at the node `at` or, where that refuses or is silent, at the next; the node that took it.
fn register(hand: &mut Hand, nodes: &[SocketAddr], at: usize) -> Option<usize> {
    for turn in 0..2 * nodes.len() {
        let node = (at + turn) % nodes.len();
        hand.ims = nodes[node];
        // A challenge, one more if the card is out of step with this node, and the 200.
        let mut authorization = hand.unanswered();
        for _ in 0..4 {
            match hand.insist(&authorization, "", 2) {
                Some(answer) if answer.status() == 200 => return Some(node),
                Some(answer) if answer.status() == 401 => authorization = hand.answer(&Hand::challenge(&answer)),
                // 503: the node drains. Silence: it is gone.
                _ => break,
            }
        }
    }
    None
}

#[test]
fn three_nodes_started_anew_one_after_the_other_fail_no_registration() {
    rolling_restart(None);
}

#[test]
fn nor_do_three_nodes_on_one_store() {
    if servers::installed() {
        rolling_restart(Some(&servers::Server::start(&[]).url()));
    }
}

fn rolling_restart(shared: Option<&str>) {
    let mut bed = Bed::empty("127.0.0.1");
    let nodes = NAMES.map(|_| free_address([127, 0, 0, 1].into()).unwrap());
    let cards: Vec<Card> = (1..=TERMINALS).map(Card::number).collect();
    crate::support::key_file(&bed.path("key"));
    for (name, at) in NAMES.into_iter().zip(nodes) {
        bed.start_node(name, &config(name, at, shared)).unwrap();
        if shared.is_some() && name != NAMES[0] {
            continue; // they have the same subscribers
        }
        let file = format!("{name}.toml");
        for card in &cards {
            let mut args = vec!["subscriber", "add", "--config", &file, "--impi", &card.impi, "--impu", &card.impu];
            args.extend(["--algorithm", "milenage", "--k", &card.k, "--opc", &card.opc]);
            bed.imscript_ok(&args);
        }
    }
    let (ended, registered) = (AtomicBool::new(false), AtomicU32::new(0));
    let failed = AtomicU32::new(0);
    std::thread::scope(|scope| {
        let _over = Over(&ended);
        for (index, card) in cards.iter().enumerate() {
            let (ended, registered, failed) = (&ended, &registered, &failed);
            scope.spawn(move || {
                let mut hand = Hand::new(card, nodes[0]);
                let mut at = index % nodes.len();
                while !ended.load(Ordering::Relaxed) {
                    match register(&mut hand, &nodes, at) {
                        Some(node) => {
                            registered.fetch_add(1, Ordering::Relaxed);
                            at = node + 1;
                        }
                        None => _ = failed.fetch_add(1, Ordering::Relaxed),
                    }
                }
            });
        }
        for (name, at) in NAMES.into_iter().zip(nodes) {
            let before = registered.load(Ordering::Relaxed);
            crate::support::wait_for(|| (registered.load(Ordering::Relaxed) >= before + 30).then_some(()));
            let (status, took) = bed.signal(name, "TERM");
            assert!(status.success() && took < Duration::from_secs(30), "{name}: {status} after {took:?}");
            bed.kill(name);
            bed.start_node(name, &config(name, at, shared)).unwrap();
        }
    });
    assert_eq!(failed.load(Ordering::Relaxed), 0, "of {}", registered.load(Ordering::Relaxed));
}
