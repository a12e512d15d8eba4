//! Two nodes on one store under load: both are asked about the same users at the same time. No binding that was
//! acknowledged is lost, none that was taken out comes back, and each end of a registration is told once.
//!
//! 8 rounds for each of 16 users; `IMSCRIPT_ROUNDS` says how many otherwise.

use crate::servers;
use crate::support::fake_bsm::{Conduct, FakeBsm};
use crate::support::hand::{Hand, NAMES_NAF};
use crate::support::{Bed, key_file, wait_for};
use imscript::cli::network::{Card, DOMAIN, free_address};
use imscript::sip::{HeaderName, Message};
use std::collections::{HashMap, HashSet};
use std::fs;
use std::net::SocketAddr;
use std::sync::Mutex;
use std::time::{Duration, Instant};

const USERS: u8 = 16;
/// Both servers are told of all that becomes of an IMS registration.
const POLICY: &str = r#"
local policy = {}
local BOTH = ims.notify { to = { "bsm", "other" }, by = "third_party_register" }
function policy.status(event, ctx)
  if event.system == "ims" then return BOTH end
  return ims.silent()
end
return policy
"#;

/// One subscriber with two telephones behind P-CSCFs that the nodes trust.
struct User<'a> {
    told: [&'a Told; 2],
    /// What he did, for when the test fails.
    did: Vec<&'static str>,
    telephones: [Hand; 2],
    bound: [bool; 2],
    /// Ends of the registration, at least and at most: where two REGISTERs cross, either may have been first.
    ends: (usize, usize),
    /// If he ended for a moment, the broadcast registration has ended with that.
    crossed: bool,
    chance: u64,
}

#[derive(Clone, Copy, PartialEq)]
enum Ask {
    Bind,
    Soon,
    Remove,
}

impl<'a> User<'a> {
    fn new(number: u8, ims: SocketAddr, told: [&'a Told; 2]) -> Self {
        let card = Card::number(number);
        let telephones = [Hand::new(&card, ims), Hand::new(&card, ims)];
        let chance = u64::from(std::process::id()) << 8 | u64::from(number);
        User { told, did: Vec::new(), telephones, bound: [false; 2], ends: (0, 0), crossed: false, chance }
    }

    fn chance(&mut self, of: u64) -> u64 {
        self.chance ^= self.chance << 13;
        self.chance ^= self.chance >> 7;
        self.chance ^= self.chance << 17;
        self.chance % of
    }

    /// With a challenge, which one node gives and the other takes; with a key for the broadcast server.
    fn authenticate(&mut self, which: usize, nodes: [SocketAddr; 2]) {
        let hand = &mut self.telephones[which];
        let mut authorization = hand.unanswered();
        for turn in 0..4 {
            hand.ims = nodes[turn % 2];
            let answer = hand.insist(&authorization, NAMES_NAF, 5).expect("an answer");
            match answer.status() {
                200 => {
                    self.bound[which] = true;
                    return;
                }
                401 => authorization = hand.answer(&Hand::challenge(&answer)),
                status => panic!("{status}: {}", String::from_utf8_lossy(answer.bytes())),
            }
        }
        panic!("challenged again and again");
    }

    /// Both telephones at the same time, each at its node; what was acknowledged.
    fn both(&mut self, asks: [Ask; 2], nodes: [SocketAddr; 2]) -> [bool; 2] {
        for ((hand, ask), node) in self.telephones.iter_mut().zip(asks).zip(nodes) {
            hand.ims = node;
            let more = match ask {
                Ask::Bind => "",
                Ask::Soon => "Expires: 1\r\n",
                Ask::Remove => "Expires: 0\r\n",
            };
            hand.send(&hand.vouched(), more, b"");
        }
        let mut done = [false; 2];
        for ((hand, ask), done) in self.telephones.iter_mut().zip(asks).zip(&mut done) {
            let answer = hand.await_answer(5).expect("an answer");
            *done = match answer.status() {
                200 => true,
                // Nobody is registered at this moment, so that there is no security association.
                401 => false,
                status => panic!("{status} to {}: {}", ask as u8, String::from_utf8_lossy(answer.bytes())),
            };
        }
        for (which, ask) in asks.into_iter().enumerate().filter(|(which, _)| done[*which]) {
            self.bound[which] = ask != Ask::Remove;
        }
        done
    }

    fn remove_all(&mut self, node: SocketAddr) {
        let hand = &mut self.telephones[0];
        hand.ims = node;
        hand.send_with("Contact: *\r\n", &hand.vouched(), "Expires: 0\r\n", b"");
        assert_eq!(hand.await_answer(5).expect("an answer").status(), 200);
        self.bound = [false; 2];
    }

    /// The contacts that a node tells; None: it knows of no registration.
    fn told(&mut self, node: SocketAddr) -> Option<Vec<String>> {
        let hand = &mut self.telephones[0];
        hand.ims = node;
        hand.send_with("", &hand.vouched(), "", b"");
        let answer = hand.await_answer(5).expect("an answer");
        let text = |c: &[u8]| String::from_utf8_lossy(c).into_owned();
        (answer.status() == 200).then(|| answer.headers(HeaderName::Contact).map(text).collect())
    }

    /// Both nodes tell what was acknowledged and nothing else.
    fn check(&mut self, nodes: [SocketAddr; 2], after: &'static str) {
        self.did.push(after);
        for node in nodes {
            let told = self.told(node).unwrap_or_default();
            for (hand, bound) in self.telephones.iter().zip(self.bound) {
                let contact = format!("<{}>", hand.contact());
                let there = told.iter().any(|c| c.contains(&contact));
                let impi = &hand.card.impi;
                assert_eq!(there, bound, "{impi}: {contact} at {node}: {told:?} after {:?}", self.did);
            }
        }
    }

    /// Nothing is left of him, and both servers hear of it.
    fn ended(&mut self, nodes: [SocketAddr; 2], after: &'static str) {
        self.bound = [false; 2];
        self.check(nodes, after);
        self.ends = (self.ends.0 + usize::from(!self.crossed), self.ends.1 + 1);
        self.crossed = false;
        self.check_told();
    }

    /// The servers were told of as many ends as there were, and last of what is so.
    fn check_told(&self) {
        let impu = &self.telephones[0].card.impu;
        for told in self.told {
            let right = |word: &Word| {
                let over = word.expires.last().is_none_or(|expires| *expires == 0);
                (self.ends.0..=self.ends.1).contains(&word.ends.len())
                    && (self.crossed || over == (self.bound == [false; 2]))
            };
            let end = Instant::now() + Duration::from_secs(10);
            while !right(&told.of(impu)) {
                let word = told.of(impu);
                assert!(
                    Instant::now() < end,
                    "{impu} ended {:?} times, told {} times: {:?} after {:?}",
                    self.ends,
                    word.ends.len(),
                    word.expires,
                    self.did
                );
                std::thread::sleep(Duration::from_millis(20));
            }
        }
    }

    /// One thing that a user does, at both nodes.
    fn live(&mut self, at: [SocketAddr; 2]) {
        let nodes = if self.chance(2) == 0 { at } else { [at[1], at[0]] };
        if self.bound == [false; 2] {
            let which = self.chance(2) as usize;
            self.authenticate(which, nodes);
            return self.check(at, "a challenge");
        }
        let fresh = self.bound != [true; 2];
        match self.chance(6) {
            0 | 1 => {
                assert_eq!(self.both([Ask::Bind, Ask::Bind], nodes), [true; 2]);
                self.check(at, "two REGISTERs");
            }
            // One goes. If it was the only one, the other, who comes, may be first or last.
            2 => {
                let (alone, before) = (fresh, self.bound);
                let asks = if self.chance(2) == 0 { [Ask::Bind, Ask::Remove] } else { [Ask::Remove, Ask::Bind] };
                self.both(asks, nodes);
                // Then he has ended for a moment, or not.
                let crossed = alone && before.iter().zip(asks).any(|(bound, ask)| *bound && ask == Ask::Remove);
                if self.bound == [false; 2] {
                    return self.ended(at, "one that went");
                }
                self.crossed |= crossed;
                self.ends.1 += usize::from(crossed);
                self.check(at, "one that came and one that went");
            }
            3 => {
                self.both([Ask::Remove, Ask::Remove], nodes);
                self.ended(at, "two that went");
            }
            4 => {
                self.remove_all(nodes[0]);
                self.ended(at, "all that went");
            }
            _ => {
                assert_eq!(self.both([Ask::Soon, Ask::Soon], nodes), [true; 2]);
                for node in at {
                    let end = Instant::now() + Duration::from_secs(10);
                    while let Some(told) = self.told(node).filter(|told| !told.is_empty()) {
                        assert!(Instant::now() < end, "still there: {told:?} after {:?}", self.did);
                        std::thread::sleep(Duration::from_millis(100));
                    }
                }
                self.ended(at, "time that passed");
            }
        }
    }
}

fn config(name: &str, at: SocketAddr, url: &str, bsm: SocketAddr, other: SocketAddr) -> String {
    format!(
        "domain = \"{DOMAIN}\"\nroles = [\"scscf\", \"bsf\", \"hss\"]\nlisten = [\"udp:{at}\"]\ndata_dir = \"{name}\"\n\
         workers = 2\npolicy = \"policy.lua\"\n[store]\nkind = \"redis\"\nkey_file = \"key\"\nurls = [{url:?}]\n\
         [trusted]\npeers = [\"127.0.0.1\"]\n[registrar]\nmin_expires = 1\n[reload]\nwatch = false\n\
         [[broadcast_server]]\nname = \"bsm\"\nnaf = [\"bsm.home1.net\"]\naddress = \"udp:{bsm}\"\n\
         [[broadcast_server]]\nname = \"other\"\nnaf = [\"other.home1.net\"]\naddress = \"udp:{other}\"\n"
    )
}

/// A broadcast server, and what it was told of whom.
struct Told {
    server: FakeBsm,
    seen: Mutex<(usize, HashMap<String, Word>)>,
}

#[derive(Default, Clone)]
struct Word {
    /// Call-ID and CSeq of what said that this user is no more.
    ends: HashSet<(Vec<u8>, u32)>,
    /// All of it, in order.
    expires: Vec<u32>,
}

impl Told {
    fn new(server: FakeBsm) -> Told {
        Told { server, seen: Mutex::default() }
    }

    fn of(&self, impu: &str) -> Word {
        let mut seen = self.seen.lock().unwrap();
        for octets in self.server.received_since(seen.0) {
            seen.0 += 1;
            let request = Message::parse_owned(octets).unwrap();
            let to = request.to().unwrap().uri.aor().to_string();
            let word = seen.1.entry(to).or_default();
            word.expires.push(request.expires().unwrap());
            if request.expires() == Some(0) {
                word.ends.insert((request.call_id().unwrap().to_vec(), request.cseq().unwrap().number));
            }
        }
        seen.1.get(impu).cloned().unwrap_or_default()
    }
}

#[test]
fn two_nodes_that_are_asked_at_once_lose_no_binding_and_tell_each_end_once() {
    if !servers::installed() {
        return;
    }
    let rounds: u32 = std::env::var("IMSCRIPT_ROUNDS").ok().and_then(|n| n.parse().ok()).unwrap_or(8);
    let redis = servers::Server::start(&[]);
    let mut bed = Bed::empty("127.0.0.1");
    key_file(&bed.path("key"));
    fs::write(bed.path("policy.lua"), POLICY).unwrap();
    let (first, second) = (bed.bsm, bed.bsm_http);
    let [bsm, other] = [first, second].map(|at| Told::new(FakeBsm::bind(at, Conduct::Registers)));
    let at = [(); 2].map(|()| free_address([127, 0, 0, 1].into()).unwrap());
    for (name, at) in ["one", "two"].into_iter().zip(at) {
        bed.start_node(name, &config(name, at, &redis.url(), first, second)).unwrap();
    }
    let mut users: Vec<User> = (1..=USERS).map(|number| User::new(number, at[0], [&bsm, &other])).collect();
    for user in &users {
        let card = &user.telephones[0].card;
        let mut args = vec!["subscriber", "add", "--config", "one.toml", "--impi", &card.impi, "--impu", &card.impu];
        args.extend(["--algorithm", "milenage", "--k", &card.k, "--opc", &card.opc, "--broadcast", "yes"]);
        bed.imscript_ok(&args);
    }
    std::thread::scope(|scope| {
        for user in &mut users {
            scope.spawn(move || (0..rounds).for_each(|_| user.live(at)));
        }
    });
    // In the store lies what was acknowledged.
    let stored = bed.imscript_ok(&["store", "export", "-", "--config", "one.toml"]);
    let shown = |impi: &str| {
        let shown = bed.imscript_ok(&["subscriber", "show", impi, "--config", "two.toml", "--json"]);
        let shown: serde_json::Value = serde_json::from_str(&shown).unwrap();
        shown["ims"]["state"].as_str().unwrap().to_owned()
    };
    for user in &users {
        let card = &user.telephones[0].card;
        let entity = stored.lines().find(|line| line.contains("\"user\"") && line.contains(&card.impi));
        for (hand, bound) in user.telephones.iter().zip(user.bound) {
            let contact = hand.contact();
            let contacts = entity.and_then(|entity| entity.split("gone").next());
            assert_eq!(contacts.is_some_and(|c| c.contains(&contact)), bound, "{contact}: {entity:?}");
        }
        let registered = user.bound != [false; 2];
        let expected = if registered { "registered" } else { "not_registered" };
        wait_for(|| (shown(&card.impi) == expected).then_some(()));
        user.check_told();
    }
    let all: usize = users.iter().map(|user| user.ends.1).sum();
    println!("{} users, {rounds} rounds, at most {all} ends", users.len());
    assert!(all > 0);
}
