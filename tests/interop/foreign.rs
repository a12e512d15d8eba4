//! Programs that no one here wrote: whether they are there, and running them. Each is ended by its process id, with what it
//! started itself.

use super::support::{Bed, wait_for};
use imscript::cli::network::Card;
use imscript::sip::Message;
use serde_json::Value;
use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

pub const LOCALHOST: std::net::IpAddr = std::net::IpAddr::V4(Ipv4Addr::LOCALHOST);

/// Says whether the program is there; a test returns early when it is not.
pub fn installed(program: &str, version: &str) -> bool {
    let found = Command::new(program).arg(version).stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok();
    if !found {
        skipped(&format!("{program} is not installed"));
    }
    found
}

pub fn skipped(why: &str) {
    let required = std::env::var("IMSCRIPT_FOREIGN").is_ok_and(|value| value == "required");
    assert!(!required, "{why}, and IMSCRIPT_FOREIGN=required");
    println!("skipped: {why}");
}

/// A file of this folder.
pub fn file(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/interop").join(name)
}

/// Copies a file of this folder with `@NAME@` replaced.
pub fn fill(name: &str, into: &Path, values: &[(&str, String)]) {
    let text = std::fs::read_to_string(file(name)).unwrap();
    let text = values.iter().fold(text, |text, (name, value)| text.replace(&format!("@{name}@"), value));
    std::fs::create_dir_all(into.parent().unwrap()).unwrap();
    std::fs::write(into, text).unwrap();
}

pub fn free_port() -> u16 {
    imscript::cli::network::free_address(LOCALHOST).unwrap().port()
}

/// A foreign program while it runs; its log is shown when the test fails.
pub struct Program {
    child: Child,
    log: PathBuf,
}

impl Program {
    pub fn start(mut command: Command, log: PathBuf) -> Program {
        let file = File::create(&log).unwrap();
        command.stdin(Stdio::null()).stdout(file.try_clone().unwrap()).stderr(file);
        // A group of its own, so that its end is the end of its children.
        let child = command.process_group(0).spawn().unwrap();
        Program { child, log }
    }

    pub fn log(&self) -> String {
        String::from_utf8_lossy(&std::fs::read(&self.log).unwrap_or_default()).into_owned()
    }

    pub fn has_ended(&mut self) -> bool {
        self.child.try_wait().unwrap().is_some()
    }

    pub fn signal(&self, signal: &str) {
        let status = Command::new("kill").args(["-s", signal, &self.child.id().to_string()]).status();
        assert!(status.unwrap().success());
    }

    /// Ends it as its operator would.
    pub fn stop(&mut self) {
        self.signal("TERM");
        wait_for(|| self.has_ended().then_some(()));
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let group = format!("-{}", self.child.id());
        let _ = Command::new("kill").args(["-s", "KILL", "--", &group]).stderr(Stdio::null()).status();
        let _ = self.child.wait();
        if std::thread::panicking() {
            let log = self.log();
            let lines: Vec<&str> = log.lines().collect();
            eprintln!("--- {}\n{}", self.log.display(), lines[lines.len().saturating_sub(80)..].join("\n"));
        }
    }
}

/// A Diameter peer on python-diameter (`diameter/*.py`): it says what happens to it as JSON, a line each, and does what it is
/// told in the same way.
pub struct Script {
    child: Child,
    input: Option<ChildStdin>,
    said: Arc<Mutex<Vec<Value>>>,
    name: String,
    pub port: u16,
}

/// The Python that has python-diameter: that of tests/run's virtual environment.
pub fn python() -> Option<PathBuf> {
    let venv = std::env::var_os("IMSCRIPT_PYTHON_DIAMETER").map(PathBuf::from);
    let python = venv.unwrap_or_else(|| {
        let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| "target".into(), PathBuf::from);
        Path::new(env!("CARGO_MANIFEST_DIR")).join(target).join("python-diameter")
    });
    let python = python.join("bin/python");
    let found = python.exists();
    if !found {
        skipped("python-diameter is not installed (tests/run does it)");
    }
    found.then_some(python)
}

impl Script {
    pub fn start(python: &Path, script: &str, args: &[&str]) -> Script {
        let mut command = Command::new(python);
        command.arg(file("diameter").join(script)).args(args).env("PYTHONDONTWRITEBYTECODE", "1");
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        let (said, output) = (Arc::new(Mutex::new(Vec::new())), child.stdout.take().unwrap());
        let mut script =
            Script { input: child.stdin.take(), child, said: Arc::clone(&said), name: script.into(), port: 0 };
        std::thread::spawn(move || {
            for line in BufReader::new(output).lines().map_while(Result::ok) {
                said.lock().unwrap().push(serde_json::from_str(&line).unwrap_or(Value::String(line)));
            }
        });
        script.port = script.wait_for("ready", |_| true)["ready"].as_u64().unwrap() as u16;
        script
    }

    /// Everything that it said.
    pub fn said(&self) -> Vec<Value> {
        self.said.lock().unwrap().clone()
    }

    /// Waits for something that has `key` and is `wanted`.
    pub fn wait_for(&self, key: &str, wanted: impl Fn(&Value) -> bool) -> Value {
        wait_for(|| self.said().into_iter().find(|one| one.get(key).is_some() && wanted(one)))
    }

    /// The requests of this name that it got.
    pub fn got(&self, name: &str) -> Vec<Value> {
        self.said().into_iter().filter(|one| one["got"] == name).collect()
    }

    /// Waits for the `n`th request (from 1) of this name.
    pub fn wait_got(&self, name: &str, n: usize) -> Value {
        wait_for(|| self.got(name).into_iter().nth(n - 1))
    }

    /// A fault is in place when this returns: what comes next meets it.
    pub fn order(&mut self, order: Value) {
        let before = self.said().len();
        writeln!(self.input.as_mut().unwrap(), "{order}").unwrap();
        if order["do"] == "fault" {
            wait_for(|| self.said().iter().skip(before).any(|one| one["done"] == "fault").then_some(()));
        }
    }

    /// Has it send a request; what came of it.
    pub fn ask(&mut self, order: Value) -> Value {
        let before = self.said().len();
        self.order(order);
        wait_for(|| {
            let said = self.said();
            said.into_iter().skip(before).find(|one| {
                (one.get("answered").is_some() || one.get("unanswered").is_some()) && one["answered"] != "CER"
            })
        })
    }
}

impl Drop for Script {
    fn drop(&mut self) {
        drop(self.input.take());
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            eprintln!("--- {}", self.name);
            self.said().iter().for_each(|one| eprintln!("{one}"));
        }
    }
}

/// The first value of an AVP in what a script said of a message, by a path of names.
pub fn avp<'a>(said: &'a Value, path: &[&str]) -> Option<&'a Value> {
    let (name, rest) = path.split_first()?;
    let list = if said.is_array() { said } else { &said["avps"] };
    let found = list.as_array()?.iter().find(|one| one[0] == *name)?;
    if rest.is_empty() { Some(&found[1]) } else { avp(&found[1], rest) }
}

/// The status of the answer to an OPTIONS; None: none came.
pub fn options(port: u16) -> Option<u16> {
    options_for(port, &format!("sip:127.0.0.1:{port}"))
}

/// The same of one that is for somebody.
pub fn options_for(port: u16, uri: &str) -> Option<u16> {
    let socket = UdpSocket::bind((LOCALHOST, 0)).unwrap();
    socket.set_read_timeout(Some(Duration::from_millis(200))).unwrap();
    let (to, local) = (SocketAddr::new(LOCALHOST, port), socket.local_addr().unwrap());
    let request = format!(
        "OPTIONS {uri} SIP/2.0\r\nVia: SIP/2.0/UDP {local};branch=z9hG4bKo{port}x{}\r\nMax-Forwards: 5\r\n\
         From: <sip:test@home1.net>;tag=1\r\nTo: <{uri}>\r\nCall-ID: options-{local}\r\nCSeq: 1 OPTIONS\r\n\
         Content-Length: 0\r\n\r\n",
        local.port()
    );
    socket.send_to(request.as_bytes(), to).ok()?;
    let mut buffer = vec![0; 65536];
    let (length, _) = socket.recv_from(&mut buffer).ok()?;
    Some(Message::parse(&buffer[..length]).ok()?.status())
}

/// What a node of ours says of a Diameter peer, once it is as wanted.
pub fn wait_for_peer(bed: &Bed, data_dir: &str, wanted: impl Fn(&Value) -> bool) -> Value {
    wait_for(|| {
        let output = bed.imscript(&["diameter", "peers", "--data-dir", data_dir, "--json"]).unwrap();
        let peers: Value = serde_json::from_slice(&output.stdout).ok()?;
        peers["done"]["peers"].as_array()?.iter().find(|peer| wanted(peer)).cloned()
    })
}

/// A card file with SQNs that no HSS here comes to by itself.
pub fn advanced_card(bed: &Bed, card: &Card) -> String {
    let file = bed.path("advanced.card");
    let text = serde_json::json!({"impi": card.impi, "seq": vec![1_u64 << 41; 32]});
    std::fs::write(&file, text.to_string()).unwrap();
    file.display().to_string()
}

/// `imscript terminal bootstrap` with a card; its JSON result.
pub fn bootstrap(bed: &Bed, bsf: &str, card: &Card, more: &[&str]) -> Value {
    let mut args = vec!["terminal", "bootstrap", "--bsf", bsf, "--impi", &card.impi, "--json"];
    args.extend(["--k", &card.k, "--opc", &card.opc]);
    args.extend_from_slice(more);
    let output = bed.imscript(&args).unwrap();
    serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{}", String::from_utf8_lossy(&output.stderr)))
}
