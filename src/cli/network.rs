//! A test network of child processes on loopback: an IMS node, a broadcast node, terminals.
//! The demo and the tests of the figures run on it.

use crate::observe::event::Event;
use anyhow::{Context, bail};
use std::fs;
use std::hash::{BuildHasher, RandomState};
use std::io::{BufRead, BufReader};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, UdpSocket};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// The home domain of the test network.
pub const DOMAIN: &str = "home1.net";
pub const NAF: &str = "bsm.home1.net";

/// What to start.
#[derive(Debug, Clone)]
pub struct Plan {
    /// Policy of both nodes: a file, or None for the default.
    pub policy: Option<PathBuf>,
    /// "udp" or "tcp", between IMS and broadcast server.
    pub between: &'static str,
    /// Lines added to the IMS node's configuration, before its tables.
    pub ims_lines: String,
    /// Further tables of the IMS node's configuration.
    pub ims_tables: String,
    /// Whether the broadcast node is started with the IMS node; [`Network::start_bsm`] does it later.
    pub with_bsm: bool,
    /// Where all nodes listen.
    pub host: IpAddr,
    /// The NAF that the IMS node's configuration gives to the broadcast server.
    pub naf: String,
}

impl Default for Plan {
    fn default() -> Self {
        Plan {
            policy: None,
            between: "tcp",
            ims_lines: String::new(),
            ims_tables: String::new(),
            with_bsm: true,
            host: Ipv4Addr::LOCALHOST.into(),
            naf: NAF.into(),
        }
    }
}

/// A running network; its processes end with it.
pub struct Network {
    binary: PathBuf,
    pub dir: PathBuf,
    pub ims: SocketAddr,
    pub bsm: SocketAddr,
    pub bsm_http: SocketAddr,
    bsm_config: String,
    nodes: Vec<Running>,
}

struct Running {
    name: String,
    process: Child,
}

/// A node does not outlive the network that it belongs to.
impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

impl Network {
    /// Free addresses on `host`, no node yet: they are started one by one with [`Network::start_node`].
    pub fn empty(binary: &Path, dir: &Path, host: IpAddr) -> anyhow::Result<Self> {
        let [ims, bsm, bsm_http] = [free_address(host)?, free_address(host)?, free_address(host)?];
        let (binary, dir) = (binary.into(), dir.into());
        Ok(Network { binary, dir, ims, bsm, bsm_http, bsm_config: String::new(), nodes: Vec::new() })
    }

    /// Starts the nodes of `plan` with their files in `dir`; `binary` is the program `imscript`.
    pub fn start(binary: &Path, dir: &Path, plan: &Plan) -> anyhow::Result<Self> {
        let mut network = Self::empty(binary, dir, plan.host)?;
        let Network { ims, bsm, bsm_http, .. } = network;
        let policy = match &plan.policy {
            Some(file) => format!("policy = {:?}\n", fs::canonicalize(file)?),
            None => String::new(),
        };
        let lines = &plan.ims_lines;
        let tables = &plan.ims_tables;
        let ims_config = format!(
            "domain = \"{DOMAIN}\"\nroles = [\"scscf\", \"bsf\", \"hss\"]\nlisten = [\"udp:{ims}\", \"tcp:{ims}\"]\n\
             data_dir = \"ims-data\"\ntrace = \"ims.jsonl\"\nworkers = 2\n{policy}{lines}\n\
             [[broadcast_server]]\nname = \"bsm\"\nnaf = [\"{}\"]\naddress = \"{}:{bsm}\"\n{tables}\n",
            plan.naf, plan.between,
        );
        network.bsm_config = format!(
            "domain = \"{DOMAIN}\"\nroles = [\"bsm\"]\nlisten = [\"udp:{bsm}\", \"tcp:{bsm}\"]\n\
             data_dir = \"bsm-data\"\ntrace = \"bsm.jsonl\"\nworkers = 2\n{policy}\n\
             [bsm]\nnaf = \"{NAF}\"\nims = \"{}:{ims}\"\nhttp = \"{bsm_http}\"\n",
            plan.between,
        );
        if plan.with_bsm {
            network.start_bsm()?;
        }
        network.start_node("ims", &ims_config)?;
        Ok(network)
    }

    /// Starts the broadcast node of the plan.
    pub fn start_bsm(&mut self) -> anyhow::Result<()> {
        let config = self.bsm_config.clone();
        self.start_node("bsm", &config)
    }

    /// Starts a node with this configuration and waits until it listens.
    pub fn start_node(&mut self, name: &str, config: &str) -> anyhow::Result<()> {
        let path = self.dir.join(format!("{name}.toml"));
        fs::write(&path, config)?;
        let log = fs::File::create(self.dir.join(format!("{name}.log")))?;
        let mut process = Command::new(&self.binary)
            .args(["run", "--config"])
            .arg(&path)
            .env("IMSCRIPT_LOG", "imscript=debug")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(log)
            .spawn()
            .with_context(|| format!("cannot start {}", self.binary.display()))?;
        let stdout = process.stdout.take().context("no standard output")?;
        self.nodes.push(Running { name: name.into(), process });
        let mut ready = String::new();
        BufReader::new(stdout).read_line(&mut ready)?;
        if !ready.starts_with("listening") {
            let log = fs::read_to_string(self.dir.join(format!("{name}.log"))).unwrap_or_default();
            bail!("the node {name} did not start:\n{log}");
        }
        Ok(())
    }

    /// The process of a node that was started.
    pub fn process(&mut self, name: &str) -> anyhow::Result<&mut Child> {
        let running = self.nodes.iter_mut().rfind(|node| node.name == name);
        Ok(&mut running.with_context(|| format!("no node {name}"))?.process)
    }

    /// Process ids of the nodes, in the order in which they were started.
    pub fn process_ids(&self) -> Vec<u32> {
        self.nodes.iter().map(|node| node.process.id()).collect()
    }

    /// Ends a node without warning.
    pub fn kill(&mut self, name: &str) {
        self.nodes.retain(|node| node.name != name);
    }

    /// Runs `imscript` with `args` to its end.
    pub fn imscript(&self, args: &[&str]) -> anyhow::Result<Output> {
        Ok(Command::new(&self.binary).args(args).current_dir(&self.dir).stdin(Stdio::null()).output()?)
    }

    /// Adds a subscriber to the embedded HSS.
    pub fn add_subscriber(&self, card: &Card, broadcast: &str) -> anyhow::Result<()> {
        let mut args = vec!["subscriber", "add", "--data-dir", "ims-data", "--impi", &card.impi, "--impu", &card.impu];
        args.extend(["--algorithm", "milenage", "--k", &card.k, "--opc", &card.opc, "--broadcast", broadcast]);
        let output = self.imscript(&args)?;
        if !output.status.success() {
            bail!("subscriber add: {}", String::from_utf8_lossy(&output.stderr));
        }
        Ok(())
    }

    /// Runs `imscript terminal VERB` for `card` over UDP; its JSON result.
    pub fn terminal(&self, verb: &str, card: &Card, more: &[&str]) -> anyhow::Result<serde_json::Value> {
        self.terminal_at(&format!("udp:{}", self.ims), verb, card, more)
    }

    /// As [`Network::terminal`], by way of `server`.
    pub fn terminal_at(
        &self,
        server: &str,
        verb: &str,
        card: &Card,
        more: &[&str],
    ) -> anyhow::Result<serde_json::Value> {
        let mut args = vec!["terminal", verb, "--server", server, "--impi", &card.impi, "--impu", &card.impu];
        args.extend(["--k", &card.k, "--opc", &card.opc, "--domain", DOMAIN, "--json", "--trace", "ue.jsonl"]);
        args.extend_from_slice(more);
        let output = self.imscript(&args)?;
        let text = String::from_utf8_lossy(&output.stdout);
        serde_json::from_str(text.trim())
            .with_context(|| format!("terminal {verb}: {text}{}", String::from_utf8_lossy(&output.stderr)))
    }

    /// What the HSS holds of a subscriber (`subscriber show --json`).
    pub fn subscriber(&self, impi: &str) -> anyhow::Result<serde_json::Value> {
        let output = self.imscript(&["subscriber", "show", impi, "--data-dir", "ims-data", "--json"])?;
        serde_json::from_slice(&output.stdout)
            .with_context(|| format!("subscriber show: {}", String::from_utf8_lossy(&output.stderr)))
    }

    /// Waits until the HSS holds these states of the two registrations.
    pub fn wait_for_states(&self, impi: &str, ims: &str, broadcast: &str) -> anyhow::Result<serde_json::Value> {
        let end = Instant::now() + Duration::from_secs(60);
        loop {
            let shown = self.subscriber(impi)?;
            if shown["ims"]["state"] == ims && shown["broadcast_registration"]["state"] == broadcast {
                return Ok(shown);
            }
            if Instant::now() > end {
                bail!("the HSS does not come to ims={ims}, broadcast={broadcast}: {shown}");
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Everything that the nodes and terminals traced so far.
    pub fn events(&self) -> anyhow::Result<Vec<Event>> {
        let mut events = Vec::new();
        for name in ["ue.jsonl", "ims.jsonl", "bsm.jsonl"] {
            let Ok(text) = fs::read_to_string(self.dir.join(name)) else { continue };
            // The last line may be one that is just written.
            for line in text.split_inclusive('\n').filter(|line| line.ends_with('\n')) {
                events.push(serde_json::from_str(line).with_context(|| format!("{name}: {line}"))?);
            }
        }
        Ok(events)
    }
}

/// A subscriber's card.
#[derive(Debug, Clone)]
pub struct Card {
    pub impi: String,
    pub impu: String,
    pub k: String,
    pub opc: String,
}

impl Card {
    /// Card number `n` of the test network: TS 35.207's set 1 with `n` in the key.
    pub fn number(n: u8) -> Self {
        Card {
            impi: format!("user{n}_private@{DOMAIN}"),
            impu: format!("sip:user{n}_public1@{DOMAIN}"),
            k: format!("465b5ce8b199b49faa5f0a2ee238a6{n:02x}"),
            opc: "cd63cb71954a9f4e48a5994e37a02baf".into(),
        }
    }
}

/// The ports that [`free_address`] gives: below those that systems give to sockets that ask for any.
const PORTS: Range<u16> = 12_000..28_000;

/// An address of `host` with a port that is free for UDP and TCP, and still will be when a process that is yet to be started
/// binds it: nobody gets it by chance, and this process gives none twice.
pub fn free_address(host: IpAddr) -> anyhow::Result<SocketAddr> {
    static NEXT: LazyLock<AtomicU64> = LazyLock::new(|| AtomicU64::new(RandomState::new().hash_one(())));
    for _ in PORTS {
        let nth = NEXT.fetch_add(1, Ordering::Relaxed) % PORTS.len() as u64;
        let addr = SocketAddr::new(host, PORTS.start + nth as u16);
        if UdpSocket::bind(addr).is_ok() && TcpListener::bind(addr).is_ok() {
            return Ok(addr);
        }
    }
    bail!("no free port on {host}")
}
