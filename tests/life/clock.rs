//! A machine whose wall clock is set, by an hour and by a day, ahead and back, while a whole node runs and while it does not:
//! registrations of both systems live as long as was said, no longer and no shorter, and no SQN comes twice.

use crate::support::hand::{Hand, NAMES_NAF};
use crate::support::{BINARY, wait_for};
use imscript::cli::network::{Card, DOMAIN, free_address};
use imscript::clock::{Clock, Wall};
use imscript::config::Config;
use imscript::server::{Node, StartError};
use imscript::sip::HeaderName;
use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

const HOUR: i64 = 3600;
const DAY: i64 = 24 * HOUR;

static WALL: Wall = Wall::new();

fn imscript(dir: &Path, args: &[&str]) -> String {
    let output = Command::new(BINARY).args(args).args(["--data-dir", "data"]).current_dir(dir).output().unwrap();
    assert!(output.status.success(), "imscript {args:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// At addresses of its own each time: sockets of the one before may linger in this same process. One that was free a moment
/// ago may be another's by now.
fn start(dir: &Path) -> (Node, SocketAddr) {
    let started = (0..5)
        .map(|_| try_start(dir))
        .find(|started| !started.as_ref().is_err_and(|why| why.to_string().contains("in use")));
    started.expect("a free address").unwrap()
}

fn try_start(dir: &Path) -> Result<(Node, SocketAddr), StartError> {
    let [ims, bsm] = [(); 2].map(|()| free_address([127, 0, 0, 1].into()).unwrap());
    let text = format!(
        "domain = \"{DOMAIN}\"\nroles = [\"scscf\", \"bsf\", \"hss\", \"bsm\"]\nlisten = [\"udp:{ims}\"]\nworkers = 1\n\
         data_dir = \"data\"\n[registrar]\nmin_expires = 1\nmax_contacts = 100\n[[broadcast_server]]\nname = \"bsm\"\nnaf = [\"bsm.home1.net\"]\n\
         [bsm]\nlisten = [\"udp:{bsm}\"]\nnaf = \"bsm.home1.net\"\n"
    );
    let config = Config::parse(&text, &dir.join("node.toml")).unwrap();
    Ok((Node::builder(config).clock(Clock::with_wall(&WALL)).start()?, ims))
}

/// A user with telephones; the one card would notice an SQN that it has had.
struct User {
    card: Hand,
    /// Those that are registered for long.
    contacts: Vec<String>,
}

impl User {
    fn telephone(&mut self, ims: SocketAddr, more: &str) -> (String, Vec<String>) {
        let mut hand = Hand::new(&self.card.card, ims);
        std::mem::swap(&mut hand.usim, &mut self.card.usim);
        let challenge = Hand::challenge(&hand.insist(&hand.unanswered(), NAMES_NAF, 4).unwrap());
        let answer = hand.answer(&challenge);
        assert!(!answer.contains("auts="), "the card has met an SQN that it had had");
        let last = hand.insist(&answer, &format!("{NAMES_NAF}{more}"), 4).unwrap();
        assert_eq!(last.status(), 200, "{}", String::from_utf8_lossy(last.bytes()));
        let ext = last.header(HeaderName::BcastExt).map(String::from_utf8_lossy);
        assert!(ext.as_ref().is_some_and(|ext| ext.contains("state=registered")), "{ext:?}");
        std::mem::swap(&mut hand.usim, &mut self.card.usim);
        let text = |c: &[u8]| String::from_utf8_lossy(c).into_owned();
        (format!("<{}>", hand.contact()), last.headers(HeaderName::Contact).map(text).collect())
    }

    /// One telephone more; all that are there have about their time left.
    fn add(&mut self, ims: SocketAddr) {
        let (contact, told) = self.telephone(ims, "");
        self.contacts.push(contact);
        for contact in &self.contacts {
            let line = told.iter().find(|line| line.contains(contact));
            let left = line.and_then(|line| line.rsplit_once("expires=")?.1.parse().ok());
            assert!(left.is_some_and(|left: u32| (400..=600).contains(&left)), "{contact}: {told:?}");
        }
    }

    /// One that is to end soon does, and is not the last.
    fn add_for_a_moment(&mut self, ims: SocketAddr) {
        let (short, told) = self.telephone(ims, "Expires: 1\r\n");
        assert!(told.iter().any(|line| line.contains(&short)));
        std::thread::sleep(Duration::from_millis(1600)); // its time, and two rounds of the node's timers
        let (contact, told) = self.telephone(ims, "");
        assert!(!told.iter().any(|line| line.contains(&short)), "{told:?}");
        self.contacts.push(contact);
    }
}

#[test]
fn a_wall_clock_that_is_set_ends_nobody_and_repeats_no_sqn() {
    let folder = tempfile::tempdir().unwrap();
    let (mut node, mut at) = start(folder.path());
    let mut users: Vec<User> = (1..=3)
        .map(|number| {
            let card = Card::number(number);
            let mut args = vec!["subscriber", "add", "--impi", &card.impi, "--impu", &card.impu];
            args.extend(["--algorithm", "milenage", "--k", &card.k, "--opc", &card.opc, "--broadcast", "yes"]);
            imscript(folder.path(), &args);
            User { card: Hand::new(&card, at), contacts: Vec::new() }
        })
        .collect();
    let both_registered = |user: &User| {
        let shown = imscript(folder.path(), &["subscriber", "show", &user.card.card.impi, "--json"]);
        let shown: serde_json::Value = serde_json::from_str(&shown).unwrap();
        (shown["ims"]["state"] == "registered" && shown["broadcast_registration"]["state"] == "registered")
            .then_some(())
    };
    users.iter_mut().for_each(|user| user.add(at));
    for step in [HOUR, -HOUR, DAY, -DAY] {
        // While it runs: the timers go round twice before anything is asked.
        WALL.set(step);
        users[0].add_for_a_moment(at);
        users.iter_mut().for_each(|user| user.add(at));
        // While it does not run, back and forth.
        for wrong_by in [0, step] {
            node.stop(Duration::from_secs(2));
            WALL.set(wrong_by);
            (node, at) = start(folder.path());
            users.iter().for_each(|user| wait_for(|| both_registered(user)));
            users.iter_mut().for_each(|user| user.add(at));
        }
    }
}
