//! kill -9 at random moments under load: no registration that was acknowledged is lost, none that was acknowledged as ended
//! comes back, and no card meets a sequence number that it has had.
//!
//! 10 rounds; `IMSCRIPT_KILLS` says how many otherwise.

use crate::support::hand::Hand;
use crate::support::{Bed, Over, wait_for};
use imscript::cli::network::{Card, DOMAIN, free_address};
use imscript::sip::HeaderName;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::{Duration, Instant};

const CARDS: u8 = 4;
/// Contacts of a card at once; the registrar's limit is above it.
const CONTACTS: usize = 40;

/// A user with one card and many telephones.
struct User {
    card: Card,
    /// Acknowledged as registered.
    bound: Vec<Hand>,
    /// Acknowledged as gone.
    gone: Vec<String>,
    /// Whether the last REGISTER was answered; if not, what it was about is open.
    open: Option<Hand>,
    resynchronised: u32,
}

enum Outcome {
    Acknowledged(Vec<String>),
    Nothing,
}

impl User {
    /// One REGISTER with its challenge; the contacts that the 200 tells.
    fn register(&mut self, hand: &mut Hand, more: &str) -> Outcome {
        let mut authorization = hand.unanswered();
        for _ in 0..3 {
            match hand.insist(&authorization, more, 1) {
                Some(answer) if answer.status() == 200 => {
                    let text = |c: &[u8]| String::from_utf8_lossy(c).into_owned();
                    return Outcome::Acknowledged(answer.headers(HeaderName::Contact).map(text).collect());
                }
                Some(answer) if answer.status() == 401 => {
                    authorization = hand.answer(&Hand::challenge(&answer));
                    self.resynchronised += u32::from(authorization.contains("auts="));
                }
                // The one before is still worked on, though nobody waits for it any more.
                Some(answer) if answer.status() == 500 && answer.header(HeaderName::RetryAfter).is_some() => {
                    return Outcome::Nothing;
                }
                Some(answer) => panic!("{}", String::from_utf8_lossy(answer.bytes())),
                None => return Outcome::Nothing,
            }
        }
        panic!("challenged again and again");
    }

    /// A telephone with the user's one card in it.
    fn telephone(&self, ims: SocketAddr, card_of: Option<&mut Hand>) -> Hand {
        let mut hand = Hand::new(&self.card, ims);
        if let Some(before) = card_of {
            std::mem::swap(&mut hand.usim, &mut before.usim);
        }
        hand
    }

    fn check(&self, told: &[String]) {
        for hand in &self.bound {
            let contact = format!("<{}>", hand.contact());
            assert!(told.iter().any(|c| c.contains(&contact)), "{contact} was acknowledged and is lost: {told:?}");
        }
        for contact in &self.gone {
            assert!(!told.iter().any(|c| c.contains(&format!("<{contact}>"))), "{contact} has come back: {told:?}");
        }
    }

    /// What a user does between two deaths of the node.
    fn live(&mut self, ims: SocketAddr, died: &AtomicBool, acknowledged: &AtomicU32) {
        // The card goes from telephone to telephone: it would notice an SQN that it has had.
        let mut card = self.open.take().unwrap_or_else(|| Hand::new(&self.card, ims));
        while !died.load(Ordering::Relaxed) {
            if self.bound.len() >= CONTACTS {
                let mut hand = self.bound.remove(0);
                std::mem::swap(&mut hand.usim, &mut card.usim);
                let outcome = self.register(&mut hand, "Expires: 0\r\n");
                std::mem::swap(&mut hand.usim, &mut card.usim);
                match outcome {
                    Outcome::Acknowledged(told) => {
                        self.gone.push(hand.contact());
                        self.check(&told);
                    }
                    Outcome::Nothing => {}
                }
                continue;
            }
            let mut hand = self.telephone(ims, Some(&mut card));
            // The system may give it a port that another one has had.
            let contact = hand.contact();
            self.gone.retain(|gone| *gone != contact);
            let outcome = self.register(&mut hand, "");
            std::mem::swap(&mut hand.usim, &mut card.usim);
            match outcome {
                Outcome::Acknowledged(told) => {
                    self.bound.push(hand);
                    self.check(&told);
                    acknowledged.fetch_add(1, Ordering::Relaxed);
                }
                Outcome::Nothing => {}
            }
        }
        self.open = Some(card);
    }
}

#[test]
fn nothing_acknowledged_is_lost_and_no_sqn_comes_twice() {
    let rounds: u32 = std::env::var("IMSCRIPT_KILLS").ok().and_then(|n| n.parse().ok()).unwrap_or(10);
    let mut bed = Bed::empty("127.0.0.1");
    let at = free_address([127, 0, 0, 1].into()).unwrap();
    let config = format!(
        "domain = \"{DOMAIN}\"\nroles = [\"scscf\", \"bsf\", \"hss\"]\nlisten = [\"udp:{at}\"]\ndata_dir = \"ims-data\"\n\
         workers = 2\n[registrar]\nmax_contacts = 100\n"
    );
    bed.start_node("ims", &config).unwrap();
    let mut users: Vec<User> = (1..=CARDS)
        .map(|n| {
            let card = Card::number(n);
            bed.add_subscriber(&card, "yes").unwrap();
            User { card, bound: Vec::new(), gone: Vec::new(), open: None, resynchronised: 0 }
        })
        .collect();
    let acknowledged = AtomicU32::new(0);
    let (mut slowest, mut seed) = (Duration::ZERO, u64::from(std::process::id()) | 1);
    for round in 0..=rounds {
        let died = AtomicBool::new(false);
        std::thread::scope(|scope| {
            let over = Over(&died);
            for user in &mut users {
                let (died, acknowledged) = (&died, &acknowledged);
                scope.spawn(move || user.live(at, died, acknowledged));
            }
            let before = acknowledged.load(Ordering::Relaxed);
            wait_for(|| (acknowledged.load(Ordering::Relaxed) >= before + 12).then_some(()));
            seed ^= seed << 13;
            seed ^= seed >> 7;
            seed ^= seed << 17;
            std::thread::sleep(Duration::from_micros(seed % 50_000)); // the moment is to be any
            if round < rounds {
                bed.kill("ims");
            }
            drop(over);
        });
        if round < rounds {
            let begun = Instant::now();
            bed.start_node("ims", &config).unwrap();
            slowest = slowest.max(begun.elapsed());
        }
    }
    let resynchronised: u32 = users.iter().map(|user| user.resynchronised).sum();
    println!("{rounds} kills, {} acknowledged, ready again within {slowest:?}", acknowledged.load(Ordering::Relaxed));
    assert_eq!(resynchronised, 0, "a card has met an SQN that it had had");
    assert!(users.iter().any(|user| !user.gone.is_empty()) || rounds < 10, "nobody was deregistered");
}
