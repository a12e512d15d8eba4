//! Three nodes on one cluster: what one begins another finishes, the death of a node or of a master costs what is on it and
//! nothing else, and who has to wait is told so at once.

use crate::servers;
use crate::support::hand::{Hand, NAMES_NAF};
use crate::support::{Bed, key_file, wait_for};
use imscript::cli::network::{Card, DOMAIN, free_address};
use imscript::sip::HeaderName;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

const NAMES: [&str; 3] = ["one", "two", "three"];
const CARDS: u8 = 12;
/// Between two REGISTERs of a user. A card has ten SQNs a second: who asks for more soon has the node move its mark on, and
/// that may lie on a master that is away.
const PACE: Duration = Duration::from_millis(150);

/// Three nodes and their subscribers.
fn nodes(bed: &mut Bed, urls: &[String]) -> ([SocketAddr; 3], Vec<Card>) {
    key_file(&bed.path("key"));
    let at = NAMES.map(|_| free_address([127, 0, 0, 1].into()).unwrap());
    for (name, at) in NAMES.into_iter().zip(at) {
        bed.start_node(name, &config(name, at, urls)).unwrap();
    }
    let cards: Vec<Card> = (1..=CARDS).map(Card::number).collect();
    for card in &cards {
        let mut args = vec!["subscriber", "add", "--config", "one.toml", "--impi", &card.impi, "--impu", &card.impu];
        args.extend(["--algorithm", "milenage", "--k", &card.k, "--opc", &card.opc, "--broadcast", "yes"]);
        bed.imscript_ok(&args);
    }
    (at, cards)
}

fn config(name: &str, at: SocketAddr, urls: &[String]) -> String {
    format!(
        "domain = \"{DOMAIN}\"\nroles = [\"scscf\", \"bsf\", \"hss\"]\nlisten = [\"udp:{at}\"]\ndata_dir = \"{name}\"\n\
         workers = 1\n[store]\nkind = \"redis\"\nkey_file = \"key\"\nurls = {urls:?}\n"
    )
}

/// Status of the last answer, and the longest that one took. REGISTER goes to one node and its answer to the other.
fn register(hand: &mut Hand, first: SocketAddr, second: SocketAddr) -> (u16, Duration) {
    ask(hand, first, second, "")
}

fn ask(hand: &mut Hand, first: SocketAddr, second: SocketAddr, more: &str) -> (u16, Duration) {
    let mut longest = Duration::ZERO;
    let mut once = |hand: &mut Hand, at: SocketAddr, authorization: &str| {
        let begun = Instant::now();
        hand.ims = at;
        let answer = hand.insist(authorization, more, 6).expect("an answer");
        longest = longest.max(begun.elapsed());
        answer
    };
    let mut authorization = hand.unanswered();
    let mut at = first;
    for _ in 0..3 {
        let answer = once(hand, at, &authorization);
        if answer.status() != 401 {
            assert!(answer.status() != 503 || answer.header(HeaderName::RetryAfter).is_some());
            return (answer.status(), longest);
        }
        authorization = hand.answer(&Hand::challenge(&answer));
        at = second;
    }
    panic!("challenged again and again");
}

#[test]
fn what_one_node_begins_another_finishes_and_no_node_is_missed() {
    if !servers::installed() {
        return;
    }
    let cluster = servers::cluster();
    let mut bed = Bed::empty("127.0.0.1");
    let (at, cards) = nodes(&mut bed, &cluster.urls());
    let mut hands: Vec<Hand> = cards.iter().map(|card| Hand::new(card, at[0])).collect();
    for (i, hand) in hands.iter_mut().enumerate() {
        assert_eq!(register(hand, at[i % 3], at[(i + 1) % 3]).0, 200);
    }
    // The HSS is told of a state when it has been answered for: one change after the other.
    let until = |bed: &Bed, registered: bool| {
        wait_for(|| {
            let shown = bed.imscript_ok(&["subscriber", "list", "--registered", "--config", "two.toml"]);
            cards.iter().all(|card| shown.contains(&card.impi) == registered).then_some(())
        });
    };
    until(&bed, true);
    // One node dies; the others have all that it had.
    bed.kill("one");
    for hand in &mut hands {
        assert_eq!(ask(hand, at[2], at[1], "Expires: 0\r\n").0, 200);
    }
    until(&bed, false);
    for hand in &mut hands {
        assert_eq!(register(hand, at[1], at[2]).0, 200);
    }
    until(&bed, true);
}

#[test]
fn a_dead_master_costs_its_own_users_a_moment_and_the_others_nothing() {
    if !servers::installed() {
        return;
    }
    let mut cluster = servers::cluster();
    let mut bed = Bed::empty("127.0.0.1");
    let (at, cards) = nodes(&mut bed, &cluster.urls());
    let mut hands: Vec<Hand> = cards.iter().map(|card| Hand::new(card, at[0])).collect();
    for hand in &mut hands {
        assert_eq!(register(hand, at[0], at[1]).0, 200);
    }
    // Whose entities lie where.
    let victim = cluster.masters()[0];
    let keys = cluster.server(victim).cli(&["KEYS", "*:user:*"]);
    let on_victim = |card: &Card| keys.contains(&format!(":user:{}", card.impi));
    let affected = cards.iter().filter(|card| on_victim(card)).count();
    assert!(affected > 0 && affected < cards.len(), "{affected} of {}: {keys}", cards.len());
    cluster.server(victim).kill();
    let begun = Instant::now();
    let (mut refused, mut longest) = (0, Duration::ZERO);
    let mut back = vec![false; cards.len()];
    while !back.iter().all(|back| *back) {
        assert!(begun.elapsed() < Duration::from_secs(60), "not back: {back:?}");
        for (i, hand) in hands.iter_mut().enumerate() {
            let (status, took) = register(hand, at[i % 3], at[(i + 1) % 3]);
            longest = longest.max(took);
            match status {
                200 => back[i] = true,
                _ => {
                    refused += 1;
                    assert!(on_victim(&cards[i]), "{status} to a user of a master that lives");
                }
            }
        }
        std::thread::sleep(PACE);
    }
    println!(
        "{affected} users affected, {refused} refused, all back after {:?}, longest answer {longest:?}",
        begun.elapsed()
    );
    assert!(longest < Duration::from_secs(3), "who has to wait is told so at once: {longest:?}");
    cluster.heal();
}

#[test]
fn when_the_whole_store_is_away_that_is_said_at_once_and_what_was_acknowledged_is_there_when_it_is_back() {
    if !servers::installed() {
        return;
    }
    let cluster = servers::cluster();
    let mut bed = Bed::empty("127.0.0.1");
    let (at, cards) = nodes(&mut bed, &cluster.urls());
    let mut hand = Hand::new(&cards[0], at[0]);
    hand.ims = at[0];
    let challenge = Hand::challenge(&hand.register(&hand.unanswered(), NAMES_NAF, b""));
    let answer = hand.answer(&challenge);
    assert_eq!(hand.register(&answer, "", b"").status(), 200);
    let mut other = Hand::new(&cards[1], at[0]);
    let status = |bed: &Bed| {
        let output = bed.imscript(&["status", "--config", "one.toml"]).unwrap();
        (output.status.success(), String::from_utf8(output.stdout).unwrap())
    };
    assert!(status(&bed).0, "ready");
    cluster.servers.iter().for_each(|server| server.signal("STOP"));
    // The first finds out; from then on it is known.
    wait_for(|| (register(&mut other, at[0], at[0]).0 == 503).then_some(()));
    let took = (0..5).map(|_| register(&mut other, at[0], at[0])).map(|(status, took)| {
        assert_eq!(status, 503);
        took
    });
    let fastest = took.min().unwrap();
    assert!(fastest < Duration::from_millis(200), "{fastest:?}");
    // Nobody waits for a server that is slow; a moment later it is taken for dead.
    let said = wait_for(|| Some(status(&bed)).filter(|(ready, _)| !ready)).1;
    assert!(said.starts_with("degraded") && said.contains("is away"), "{said}");
    let metrics = bed.imscript_ok(&["metrics", "--config", "one.toml"]);
    let ill = |line: &&str| line.starts_with("imscript_store_well{") && line.ends_with(" 0");
    assert!(metrics.lines().any(|line| ill(&line)), "{metrics}");
    cluster.servers.iter().for_each(|server| server.signal("CONT"));
    wait_for(|| status(&bed).0.then_some(()));
    wait_for(|| (register(&mut other, at[0], at[1]).0 == 200).then_some(()));
    let (status, _) = register(&mut hand, at[2], at[1]);
    assert_eq!(status, 200);
    let shown = bed.imscript_ok(&["subscriber", "show", &cards[0].impi, "--config", "two.toml"]);
    assert!(shown.contains("registered"), "{shown}");
}
