//! What the tests of the running program share: a network of child processes in a folder of its own, what it traced as
//! one list of messages, a broadcast server that only records, and a terminal made by hand.

#![allow(dead_code, unreachable_pub)] // every test program uses its part

pub mod fake_bsm;
pub mod flow;
pub mod hand;

use imscript::cli::network::{Card, Network, Plan};
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use std::ops::{Deref, DerefMut};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use tempfile::TempDir;

pub const BINARY: &str = env!("CARGO_BIN_EXE_imscript");

/// A network with its folder; the processes end before the folder goes.
pub struct Bed {
    network: Network,
    dir: TempDir,
}

impl Deref for Bed {
    type Target = Network;
    fn deref(&self) -> &Network {
        &self.network
    }
}

impl DerefMut for Bed {
    fn deref_mut(&mut self) -> &mut Network {
        &mut self.network
    }
}

impl Bed {
    pub fn start(plan: &Plan) -> Bed {
        let dir = tempfile::tempdir().unwrap();
        let network = Network::start(Path::new(BINARY), dir.path(), plan).unwrap();
        Bed { network, dir }
    }

    /// A folder and addresses, no node yet.
    pub fn empty(host: &str) -> Bed {
        let dir = tempfile::tempdir().unwrap();
        let network = Network::empty(Path::new(BINARY), dir.path(), host.parse().unwrap()).unwrap();
        Bed { network, dir }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// A card whose subscriber may receive broadcasts.
    pub fn subscriber_with(&self, broadcast: &str) -> Card {
        let card = Card::number(1);
        self.add_subscriber(&card, broadcast).unwrap();
        card
    }

    pub fn imscript_ok(&self, args: &[&str]) -> String {
        let output = self.imscript(args).unwrap();
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "imscript {args:?}: {error}");
        String::from_utf8(output.stdout).unwrap()
    }

    /// The states of the two registrations in the HSS, once they are these: what the node has answered is on disk a
    /// little later.
    pub fn assert_states(&self, impi: &str, ims: &str, broadcast: &str) {
        self.wait_for_states(impi, ims, broadcast).unwrap();
    }

    /// The same of the IMS registration alone; gives the state of the broadcast registration.
    pub fn assert_ims_state(&self, impi: &str, ims: &str) -> String {
        wait_for(|| {
            let shown = self.subscriber(impi).unwrap();
            let broadcast = shown["broadcast_registration"]["state"].as_str().unwrap();
            (shown["ims"]["state"] == ims).then(|| broadcast.to_owned())
        })
    }

    /// Sends the node a signal, waits for its end, and says how it ended and how long that took.
    pub fn signal(&mut self, node: &str, signal: &str) -> (std::process::ExitStatus, Duration) {
        let process = self.network.process(node).unwrap();
        let started = Instant::now();
        assert!(Command::new("kill").args(["-s", signal, &process.id().to_string()]).status().unwrap().success());
        let status = wait_for(|| process.try_wait().unwrap());
        (status, started.elapsed())
    }
}

/// What the nodes said, when a test has failed.
impl Drop for Bed {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            return;
        }
        for file in std::fs::read_dir(self.dir.path()).into_iter().flatten().flatten() {
            let name = file.file_name().to_string_lossy().into_owned();
            if !name.ends_with(".log") {
                continue;
            }
            let log = std::fs::read_to_string(file.path()).unwrap_or_default();
            let lines: Vec<&str> = log.lines().collect();
            eprintln!("--- {name}\n{}", lines[lines.len().saturating_sub(60)..].join("\n"));
        }
        if let Ok(flow) = flow::Flow::of(&self.network) {
            eprintln!("--- messages\n{flow}");
        }
    }
}

/// Certificates of one authority: `NAME.pem` and `NAME.key` for each name, `ca.pem`.
pub fn certificates(bed: &Bed, names: &[&str]) {
    let mut params = CertificateParams::new(Vec::<String>::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let key = KeyPair::generate().unwrap();
    std::fs::write(bed.path("ca.pem"), params.self_signed(&key).unwrap().pem()).unwrap();
    let issuer = Issuer::new(params, key);
    for name in names {
        let key = KeyPair::generate().unwrap();
        let own = CertificateParams::new(vec![(*name).to_owned()]).unwrap().signed_by(&key, &issuer).unwrap();
        std::fs::write(bed.path(&format!("{name}.pem")), own.pem()).unwrap();
        std::fs::write(bed.path(&format!("{name}.key")), key.serialize_pem()).unwrap();
    }
}

/// A key file for several nodes.
pub fn key_file(path: &Path) {
    use std::os::unix::fs::OpenOptionsExt;
    let mut file = std::fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path).unwrap();
    std::io::Write::write_all(&mut file, "5a".repeat(32).as_bytes()).unwrap();
}

/// Tells the other threads that the test is over, also when it fails: a scope waits for them.
pub struct Over<'a>(pub &'a AtomicBool);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}

/// Polls until there is an outcome.
#[track_caller]
pub fn wait_for<T>(mut look: impl FnMut() -> Option<T>) -> T {
    let end = Instant::now() + Duration::from_secs(60);
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(Instant::now() < end, "what was waited for did not happen within a minute");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// The policy of one of the patent's figures.
pub fn figure_policy(figure: u8) -> PathBuf {
    let name = format!("lua/policy/figures/figure_{figure}.lua");
    Path::new(env!("CARGO_MANIFEST_DIR")).join(name)
}

pub fn hex(octets: &[u8]) -> String {
    octets.iter().map(|octet| format!("{octet:02x}")).collect()
}

pub fn contains(all: &[u8], part: &[u8]) -> bool {
    all.windows(part.len()).any(|window| window == part)
}
