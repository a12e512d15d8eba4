//! Redis servers of the tests' own: on free ports of the loopback, without a disk, in a folder that goes with them. A shell
//! beside each waits for the test program's end, however it ends, and ends the server then.

#![allow(dead_code, unreachable_pub)] // every test program uses its part

use imscript::cli::network::free_address;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

/// Says whether there is a Redis; a test returns early when there is none. `IMSCRIPT_FOREIGN=required` makes that a failure.
pub fn installed() -> bool {
    let found = |program: &str| {
        Command::new(program).arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok()
    };
    let installed = found("redis-server") && found("redis-cli");
    if !installed {
        let required = std::env::var("IMSCRIPT_FOREIGN").is_ok_and(|value| value == "required");
        assert!(!required, "redis-server is not installed, and IMSCRIPT_FOREIGN=required");
        println!("skipped: redis-server is not installed");
    }
    installed
}

fn free_port() -> u16 {
    free_address(Ipv4Addr::LOCALHOST.into()).unwrap().port()
}

/// Ends the server when its own input ends, and takes its folder away unless it was told to keep it.
const SHELL: &str = r#"dir=$1; shift
trap '' INT HUP TERM
"$@" </dev/null >"$dir/log" 2>&1 &
echo $!
read keep
kill -9 $! 2>/dev/null
wait 2>/dev/null
[ "$keep" = keep ] || rm -rf "$dir""#;

pub struct Server {
    pub port: u16,
    dir: PathBuf,
    args: Vec<String>,
    /// The shell, its input and the server's process id, while it runs.
    running: Option<(Child, ChildStdin, u32)>,
}

impl Server {
    /// One that answers.
    pub fn start(args: &[&str]) -> Server {
        Server::start_in(|_, _| args.iter().map(|arg| arg.to_string()).collect())
    }

    /// The same with arguments that need its port and its folder, where files for it may be put.
    pub fn start_in(args: impl FnOnce(u16, &Path) -> Vec<String>) -> Server {
        let (port, dir) = (free_port(), tempfile::tempdir().unwrap().keep());
        let args = args(port, &dir);
        let mut server = Server { port, dir, args, running: None };
        server.run();
        server
    }

    /// Starts it again at the same port, empty.
    pub fn run(&mut self) {
        let port = self.port.to_string();
        let mut command = Command::new("sh");
        command.arg("-c").arg(SHELL).arg("sh").arg(&self.dir).arg("redis-server");
        if !self.args.iter().any(|arg| arg == "--port") {
            command.args(["--port", &port]);
        }
        command.args(["--bind", "127.0.0.1", "--save", "", "--appendonly", "no", "--dir"]).arg(&self.dir);
        command.args(&self.args).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut shell = command.spawn().unwrap();
        let mut line = String::new();
        BufReader::new(shell.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let input = shell.stdin.take().unwrap();
        self.running = Some((shell, input, line.trim().parse().unwrap()));
        let end = Instant::now() + Duration::from_secs(60);
        while TcpStream::connect(("127.0.0.1", self.port)).is_err() {
            let log = || std::fs::read_to_string(self.dir.join("log")).unwrap_or_default();
            assert!(Instant::now() < end, "redis-server does not come up:\n{}", log());
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    pub fn is_running(&self) -> bool {
        self.running.is_some()
    }

    pub fn signal(&self, signal: &str) {
        if let Some((_, _, pid)) = &self.running {
            Command::new("kill").args(["-s", signal, &pid.to_string()]).status().unwrap();
        }
    }

    /// kill -9: nothing is said to anybody.
    pub fn kill(&mut self) {
        self.signal("KILL");
        if let Some((mut shell, mut input, _)) = self.running.take() {
            let _ = input.write_all(b"keep\n");
            shell.wait().unwrap();
        }
    }

    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    /// What redis-cli prints.
    pub fn cli(&self, args: &[&str]) -> String {
        cli(self.port, args)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.signal("CONT");
        if let Some((mut shell, input, _)) = self.running.take() {
            drop(input);
            let _ = shell.wait();
        } else {
            let _ = std::fs::remove_dir_all(&self.dir);
        }
    }
}

pub fn cli(port: u16, args: &[&str]) -> String {
    let output = Command::new("redis-cli").args(["-p", &port.to_string()]).args(args).output().unwrap();
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

/// Three masters with a replica each.
pub struct Cluster {
    pub servers: Vec<Server>,
}

/// The cluster of this test program. One test at a time has it; it gets it whole and empty.
pub fn cluster() -> MutexGuard<'static, Cluster> {
    static CLUSTER: OnceLock<Mutex<Cluster>> = OnceLock::new();
    let cluster = CLUSTER.get_or_init(|| Mutex::new(Cluster::start()));
    let mut cluster = cluster.lock().unwrap_or_else(PoisonError::into_inner);
    cluster.heal();
    for port in cluster.masters() {
        cli(port, &["FLUSHALL"]);
    }
    cluster
}

impl Cluster {
    /// With the settings that docs/deployment.md recommends, apart from the disk.
    pub fn start() -> Cluster {
        let server = |_| {
            let bus = free_port().to_string();
            let settings = [
                ("--cluster-enabled", "yes"),
                ("--cluster-port", &*bus),
                ("--cluster-config-file", "nodes.conf"),
                ("--cluster-node-timeout", "1000"),
                ("--cluster-require-full-coverage", "no"),
                ("--cluster-replica-validity-factor", "0"),
                ("--repl-diskless-sync", "yes"),
                ("--repl-diskless-sync-delay", "0"),
            ];
            Server::start(&settings.map(|(name, value)| [name, value]).concat())
        };
        let servers: Vec<_> = (0..6).map(server).collect();
        let mut command = Command::new("redis-cli");
        command.args(["--cluster", "create"]);
        command.args(servers.iter().map(|server| format!("127.0.0.1:{}", server.port)));
        let made = command.args(["--cluster-replicas", "1", "--cluster-yes"]).output().unwrap();
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stdout));
        Cluster { servers }
    }

    pub fn urls(&self) -> Vec<String> {
        self.servers.iter().map(Server::url).collect()
    }

    pub fn server(&mut self, port: u16) -> &mut Server {
        self.servers.iter_mut().find(|server| server.port == port).unwrap()
    }

    /// Ports of those that are masters and run, as most of the nodes see it.
    pub fn masters(&self) -> Vec<u16> {
        let master = |server: &&Server| server.is_running() && server.cli(&["ROLE"]).starts_with("master");
        self.servers.iter().filter(master).map(|server| server.port).collect()
    }

    /// Starts what does not run, and waits until each master has its replica.
    pub fn heal(&mut self) {
        for server in &mut self.servers {
            server.signal("CONT");
            if !server.is_running() {
                server.run();
            }
            let nodes = server.cli(&["CLUSTER", "NODES"]);
            let moving = nodes.split('[').skip(1).filter_map(|rest| rest.split('-').next());
            moving.for_each(|slot| _ = server.cli(&["CLUSTER", "SETSLOT", slot, "STABLE"]));
        }
        let end = Instant::now() + Duration::from_secs(60);
        while !self.is_whole() {
            assert!(Instant::now() < end, "the cluster does not heal:\n{}", self.servers[0].cli(&["CLUSTER", "NODES"]));
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    fn is_whole(&self) -> bool {
        self.servers.iter().all(|server| {
            let nodes = server.cli(&["CLUSTER", "NODES"]);
            let well = nodes.lines().count() == 6 && !nodes.contains("fail") && !nodes.contains("disconnected");
            let synced = match server.cli(&["INFO", "replication"]) {
                text if text.contains("role:master") => text.contains("state=online"),
                text => text.contains("master_link_status:up"),
            };
            let info = server.cli(&["CLUSTER", "INFO"]);
            well && synced && info.contains("cluster_state:ok") && info.contains("cluster_slots_ok:16384")
        }) && self.masters().len() == 3
    }

    /// The replica of a master.
    pub fn replica(&self, master: u16) -> u16 {
        let of = |server: &&Server| {
            let role = server.cli(&["ROLE"]);
            role.starts_with("slave") && role.lines().nth(2) == Some(&*master.to_string())
        };
        self.servers.iter().find(of).unwrap().port
    }
}

/// A wire to a server that can be cut: then what is sent goes nowhere, and nobody is told.
pub struct Wire {
    pub port: u16,
    cut: Arc<AtomicBool>,
}

impl Wire {
    pub fn to(port: u16) -> Wire {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let wire = Wire { port: listener.local_addr().unwrap().port(), cut: Arc::default() };
        let cut = wire.cut.clone();
        std::thread::spawn(move || {
            for here in listener.incoming() {
                let Ok(here) = here else { return };
                let Ok(there) = TcpStream::connect(("127.0.0.1", port)) else { continue };
                let (here2, there2) = (here.try_clone().unwrap(), there.try_clone().unwrap());
                for (from, to) in [(here, there2), (there, here2)] {
                    let cut = cut.clone();
                    std::thread::spawn(move || copy(from, to, &cut));
                }
            }
        });
        wire
    }

    pub fn cut(&self, cut: bool) {
        self.cut.store(cut, Ordering::SeqCst);
    }

    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }
}

fn copy(mut from: TcpStream, mut to: TcpStream, cut: &AtomicBool) {
    let mut buffer = [0; 65536];
    while let Ok(count @ 1..) = from.read(&mut buffer) {
        while cut.load(Ordering::SeqCst) {
            std::thread::sleep(Duration::from_millis(1));
        }
        if to.write_all(&buffer[..count]).is_err() {
            break;
        }
    }
    let _ = to.shutdown(std::net::Shutdown::Both);
}
