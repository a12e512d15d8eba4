//! A node whose policy tells by its answers which one it is.

use crate::support::fake_bsm::exchange_from;
use crate::support::{Bed, wait_for};
use imscript::cli::network::DOMAIN;
use serde_json::Value;
use std::fs;
use std::net::UdpSocket;
use std::ops::{Deref, DerefMut};
use std::path::Path;
use std::process::Output;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

pub struct Node {
    pub bed: Bed,
}

impl Deref for Node {
    type Target = Bed;
    fn deref(&self) -> &Bed {
        &self.bed
    }
}

impl DerefMut for Node {
    fn deref_mut(&mut self) -> &mut Bed {
        &mut self.bed
    }
}

/// A policy that refuses every REGISTER with this word.
pub fn says(word: &str) -> String {
    format!(
        "local policy = {{}}\nfunction policy.register(req)\n  return ims.reject(480, {word:?})\nend\nreturn policy\n"
    )
}

/// A policy that fails at every REGISTER: the default applies, a challenge.
pub const FAILS: &str =
    "local policy = {}\nfunction policy.register(req)\n  error('as it happens')\nend\nreturn policy\n";

impl Node {
    /// With the policy "one" in policy.lua.
    pub fn start(reload: &str) -> Node {
        Node::with(&says("one"), "", reload)
    }

    /// `tables` are added to the configuration, `reload` to its table of that name.
    pub fn with(policy: &str, tables: &str, reload: &str) -> Node {
        Node::prepared(|_| {}, policy, tables, reload)
    }

    /// `prepare` puts further files into the folder first.
    pub fn prepared(prepare: impl FnOnce(&Path), policy: &str, tables: &str, reload: &str) -> Node {
        let mut bed = Bed::empty("127.0.0.1");
        prepare(&bed.dir);
        fs::write(bed.path("policy.lua"), policy).unwrap();
        let config = format!(
            "domain = \"{DOMAIN}\"\nlisten = [\"udp:{0}\", \"tcp:{0}\"]\ndata_dir = \"ims-data\"\nworkers = 2\n\
             policy = \"policy.lua\"\n{tables}\n[reload]\n{reload}\n",
            bed.ims
        );
        bed.start_node("ims", &config).unwrap();
        Node { bed }
    }

    pub fn write(&self, text: &str) {
        fs::write(self.path("policy.lua"), text).unwrap();
    }

    /// Runs a verb against this node.
    pub fn verb(&self, args: &[&str]) -> Output {
        let output = self.imscript(&[args, &["--data-dir", "ims-data"]].concat()).unwrap();
        assert!(output.status.code().is_some(), "{args:?} was killed");
        output
    }

    /// A verb that must succeed; its final line as JSON.
    pub fn done(&self, args: &[&str]) -> Value {
        let output = self.verb(&[args, &["--json"]].concat());
        let text = String::from_utf8(output.stdout).unwrap();
        assert!(output.status.success(), "{args:?}: {text}{}", String::from_utf8_lossy(&output.stderr));
        let last: Value = serde_json::from_str(text.lines().last().unwrap()).unwrap();
        assert_eq!(last["v"], 1, "{last}");
        last["done"].clone()
    }

    /// A verb that must fail with exit code 1; what it says.
    pub fn refused(&self, args: &[&str]) -> String {
        let output = self.verb(args);
        let error = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1), "{args:?}: {error}");
        assert!(output.stdout.is_empty(), "{}", String::from_utf8_lossy(&output.stdout));
        error
    }

    /// The word that the policy has for this user; "challenge" where it has none.
    pub fn word_for(&self, user: &str) -> String {
        let socket = UdpSocket::bind((self.ims.ip(), 0)).unwrap();
        let answer = exchange_from(&socket, &register(user, &socket), self.ims);
        match answer.status() {
            480 => String::from_utf8(answer.reason().to_vec()).unwrap(),
            401 => "challenge".into(),
            // Nobody is provisioned: where the policy lets the REGISTER pass, the HSS ends it.
            403 | 404 => "unknown".into(),
            status => panic!("{status} {}", String::from_utf8_lossy(answer.reason())),
        }
    }

    /// Asked often enough to meet every worker.
    fn words(&self) -> Vec<String> {
        (0..12).map(|n| self.word_for(&format!("user{n}"))).collect()
    }

    /// What every worker says.
    pub fn word(&self) -> String {
        let words = self.words();
        assert!(words.iter().all(|word| *word == words[0]), "workers differ: {words:?}");
        words[0].clone()
    }

    /// Until every worker says this: they take a generation one after the other.
    pub fn wait_for_word(&self, word: &str) {
        wait_for(|| self.words().iter().all(|said| said == word).then_some(()));
    }

    pub fn log(&self) -> String {
        fs::read_to_string(self.path("ims.log")).unwrap()
    }

    pub fn wait_for_log(&self, part: &str) {
        wait_for(|| self.log().contains(part).then_some(()));
    }

    /// What has the number and state of a generation in `imscript generations`.
    pub fn generations(&self) -> Vec<(u64, String)> {
        let listed = self.done(&["generations"]);
        let kept = listed["generations"].as_array().unwrap().iter();
        kept.map(|kept| (kept["generation"].as_u64().unwrap(), kept["state"].as_str().unwrap().to_owned())).collect()
    }

    /// What `imscript metrics` prints.
    pub fn metrics(&self) -> String {
        String::from_utf8(self.verb(&["metrics"]).stdout).unwrap()
    }

    /// The sum of a family, or of those of its samples that have this label, `family{label="value"}`.
    pub fn metric(&self, name: &str) -> u64 {
        let text = self.metrics();
        let (family, label) = name.split_once('{').unwrap_or((name, ""));
        let label = label.trim_end_matches('}');
        assert!(text.contains(&format!("# TYPE {family} ")), "no {family} in\n{text}");
        let value = |line: &str| line.rsplit(' ').next().unwrap().parse::<u64>().unwrap();
        text.lines().filter(|line| line.starts_with(family) && line.contains(label)).map(value).sum()
    }
}

/// As [`Node::generations`] gives it.
pub fn states(states: &[(u64, &str)]) -> Vec<(u64, String)> {
    states.iter().map(|(id, state)| (*id, (*state).to_owned())).collect()
}

/// A REGISTER that names its private identity.
fn register(user: &str, socket: &UdpSocket) -> String {
    static NUMBER: AtomicU32 = AtomicU32::new(0);
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    let local = socket.local_addr().unwrap();
    format!(
        "REGISTER sip:{DOMAIN} SIP/2.0\r\nVia: SIP/2.0/UDP {local};branch=z9hG4bKr{number};rport\r\nMax-Forwards: 70\r\n\
         From: <sip:{user}@{DOMAIN}>;tag=1\r\nTo: <sip:{user}@{DOMAIN}>\r\nCall-ID: r{number}\r\nCSeq: 1 REGISTER\r\n\
         Contact: <sip:{user}@{local}>\r\nExpires: 600\r\nAuthorization: Digest username=\"{user}_private@{DOMAIN}\", \
         realm=\"{DOMAIN}\", uri=\"sip:{DOMAIN}\", nonce=\"\", response=\"\"\r\nContent-Length: 0\r\n\r\n"
    )
}

/// Fails if it takes longer than this.
pub fn within<T>(limit: Duration, act: impl FnOnce() -> T) -> T {
    let start = Instant::now();
    let outcome = act();
    assert!(start.elapsed() < limit, "{:?}", start.elapsed());
    outcome
}
