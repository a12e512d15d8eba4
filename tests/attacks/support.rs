//! A node as a child process, and a stranger with sockets.

use crate::digest;
use base64::Engine;
use imscript::aka::key_set::SessionKeys;
use imscript::aka::vector::Rand;
use imscript::aka::{Algorithm as Card, KeySet};
use imscript::auth::digest::Algorithm;
use imscript::sip::{Message, frame};
use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream, UdpSocket};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};
use tempfile::TempDir;

pub(crate) const DOMAIN: &str = "home1.net";
pub(crate) const PASSWORD: &str = "correct horse";
pub(crate) const K: &str = "465b5ce8b199b49faa5f0a2ee238a6bc";
pub(crate) const OPC: &str = "cd63cb71954a9f4e48a5994e37a02baf";

/// Nothing takes that long, but the machine may be busy.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

pub(crate) struct Server {
    child: Child,
    pub(crate) dir: TempDir,
    /// Where the IMS role listens.
    pub(crate) udp: SocketAddr,
    pub(crate) tcp: SocketAddr,
    pub(crate) tls: Option<SocketAddr>,
    pub(crate) http: Option<SocketAddr>,
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// `impi,impu,algorithm,k,opc,password,broadcast`: u0 to u(n-1) with a password, "card" with a USIM.
fn subscribers(digest: usize) -> String {
    let mut text = String::from("impi,impu,algorithm,k,opc,password,broadcast\n");
    for n in 0..digest {
        text += &format!("u{n}@{DOMAIN},sip:u{n}@{DOMAIN},digest,,,{PASSWORD},yes\n");
    }
    text + &format!("card@{DOMAIN},sip:card@{DOMAIN},milenage,{K},{OPC},,yes\n")
}

impl Server {
    /// One worker, so that what is measured is one worker's. `keys`: top-level lines of the configuration;
    /// `tables`: further tables; `options`: of the command line.
    pub(crate) fn start(digest_users: usize, keys: &str, tables: &str, options: &[&str]) -> Server {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("s.csv"), subscribers(digest_users)).unwrap();
        let binary = env!("CARGO_BIN_EXE_imscript");
        let import = ["subscriber", "import", "s.csv", "--data-dir", "data"];
        let imported = Command::new(binary).args(import).current_dir(dir.path()).output().unwrap();
        assert!(imported.status.success(), "{}", String::from_utf8_lossy(&imported.stderr));
        let listen = if keys.contains("listen") { "" } else { "listen = [\"udp:127.0.0.1:0\", \"tcp:127.0.0.1:0\"]\n" };
        let text = format!("domain = \"{DOMAIN}\"\ndata_dir = \"data\"\nworkers = 1\n{listen}{keys}\n{tables}\n");
        std::fs::write(dir.path().join("node.toml"), text).unwrap();
        let mut child = Command::new(binary)
            .args(["run", "--config", "node.toml"])
            .args(options)
            .current_dir(dir.path())
            .env_remove("IMSCRIPT_LOG")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(std::fs::File::create(dir.path().join("log")).unwrap())
            .spawn()
            .unwrap();
        let mut ready = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut ready).unwrap();
        let log = std::fs::read_to_string(dir.path().join("log")).unwrap();
        assert!(ready.starts_with("listening"), "{ready}{log}");
        let (ims, bsm) = ready.split_once(" bsm ").unwrap_or((&ready, ""));
        let ims = if ims == "listening" { bsm } else { ims };
        let at = |words: &str, transport: &str| {
            let mut words = words.split_whitespace().skip_while(|word| *word != transport);
            words.nth(1).map(|addr| addr.parse::<SocketAddr>().unwrap())
        };
        let [udp, tcp] = ["udp", "tcp"].map(|transport| at(ims, transport).unwrap());
        Server { child, dir, udp, tcp, tls: at(ims, "tls"), http: at(&ready, "http") }
    }

    pub(crate) fn plain() -> Server {
        Server::start(3, "", "", &[])
    }

    /// UDP ports of this process on all addresses: those that its own requests leave from.
    pub(crate) fn egress_ports(&self) -> Vec<u16> {
        let sockets = std::fs::read_to_string(format!("/proc/{}/net/udp", self.id())).unwrap();
        let own: Vec<String> = std::fs::read_dir(format!("/proc/{}/fd", self.id()))
            .unwrap()
            .filter_map(|entry| std::fs::read_link(entry.unwrap().path()).ok()?.to_str().map(str::to_owned))
            .collect();
        let rows = sockets.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
        rows.filter(|row| row.len() > 9 && own.contains(&format!("socket:[{}]", row[9])))
            .filter_map(|row| row[1].strip_prefix("00000000:").map(|port| u16::from_str_radix(port, 16).unwrap()))
            .collect()
    }

    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    fn status(&self, field: &str) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.id())).expect("the server lives");
        let line = status.lines().find(|line| line.starts_with(field)).unwrap_or_else(|| panic!("{field}: {status}"));
        line.split_whitespace().nth(1).unwrap().parse().unwrap()
    }

    /// Resident memory, MiB.
    pub(crate) fn memory(&self) -> u64 {
        self.status("VmRSS:") / 1024
    }

    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(self.dir.path().join("log")).unwrap()
    }

    /// The server is what it was: alive, no panic, memory below `mebibytes`, and a registration takes no time.
    pub(crate) fn is_well(&mut self, mebibytes: u64) {
        assert!(self.child.try_wait().unwrap().is_none(), "the server has ended: {}", self.log());
        let started = Instant::now();
        let mut user = User::new(self.udp, "u1");
        // What the attack left in the sockets may name the same user and replace his challenge: he asks again.
        let mut status = user.register().status();
        for _ in 0..20 {
            if status == 401 {
                status = user.register().status();
            }
        }
        assert_eq!(status, 200);
        let took = started.elapsed();
        assert!(took < Duration::from_secs(10), "a registration takes {took:?}");
        let memory = self.memory();
        println!("after the attack: {memory} MiB, a registration in {took:?}");
        assert!(memory < mebibytes, "{memory} MiB");
        let log = self.log();
        assert!(!log.contains("panic") && !log.contains("handling of a message failed"), "{log}");
    }

    /// Runs `imscript subscriber show`; the JSON text.
    pub(crate) fn subscriber(&self, impi: &str) -> serde_json::Value {
        let output = Command::new(env!("CARGO_BIN_EXE_imscript"))
            .args(["subscriber", "show", impi, "--data-dir", "data", "--json"])
            .current_dir(self.dir.path())
            .output()
            .unwrap();
        serde_json::from_slice(&output.stdout).unwrap()
    }

    /// Runs `imscript terminal VERB` with the card; the JSON result.
    pub(crate) fn terminal(&self, verb: &str, more: &[&str]) -> serde_json::Value {
        let (impi, impu) = (format!("card@{DOMAIN}"), format!("sip:card@{DOMAIN}"));
        let server = format!("tcp:{}", self.tcp);
        let output = Command::new(env!("CARGO_BIN_EXE_imscript"))
            .args(["terminal", verb, "--server", &server, "--impi", &impi, "--impu", &impu, "--k", K, "--opc", OPC])
            .args(["--domain", DOMAIN, "--json", "--secrets", "--timeout", "30"])
            .args(more)
            .current_dir(self.dir.path())
            .output()
            .unwrap();
        let text = String::from_utf8_lossy(&output.stdout);
        serde_json::from_str(text.trim())
            .unwrap_or_else(|_| panic!("{text}{}", String::from_utf8_lossy(&output.stderr)))
    }
}

static COUNT: AtomicU32 = AtomicU32::new(0);

/// A number that no other message of this process has.
pub(crate) fn fresh() -> u32 {
    COUNT.fetch_add(1, Ordering::Relaxed)
}

/// A request of a stranger: everything may be replaced by text operations.
pub(crate) fn request(method: &str, uri: &str, aor: &str, fields: &str, body: &[u8]) -> Vec<u8> {
    let n = fresh();
    let head = format!(
        "{method} {uri} SIP/2.0\r\nVia: SIP/2.0/UDP 127.0.0.9;rport;branch=z9hG4bKattack{n}\r\nMax-Forwards: 70\r\n\
         From: <{aor}>;tag=t{n}\r\nTo: <{aor}>\r\nCall-ID: call{n}\r\nCSeq: {} {method}\r\n{fields}Content-Length: {}\r\n\r\n",
        n + 1,
        body.len()
    );
    [head.as_bytes(), body].concat()
}

pub(crate) fn register(user: &str, fields: &str) -> Vec<u8> {
    let contact =
        if fields.contains("Contact:") { String::new() } else { format!("Contact: <sip:{user}@127.0.0.9>\r\n") };
    request("REGISTER", &format!("sip:{DOMAIN}"), &format!("sip:{user}@{DOMAIN}"), &format!("{contact}{fields}"), b"")
}

/// A UDP socket of an address on loopback that is nobody's.
pub(crate) struct Stranger {
    pub(crate) socket: UdpSocket,
    pub(crate) server: SocketAddr,
}

impl Stranger {
    pub(crate) fn new(server: SocketAddr) -> Stranger {
        Stranger::at([127, 0, 0, 9], server)
    }

    pub(crate) fn at(ip: [u8; 4], server: SocketAddr) -> Stranger {
        let socket = UdpSocket::bind((IpAddr::V4(Ipv4Addr::from(ip)), 0)).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        Stranger { socket, server }
    }

    pub(crate) fn send(&self, bytes: &[u8]) {
        // A datagram too large for the system is one that cannot harm.
        let _ = self.socket.send_to(bytes, self.server);
    }

    pub(crate) fn receive(&self, within: Duration) -> Option<Vec<u8>> {
        self.socket.set_read_timeout(Some(within)).unwrap();
        let mut buffer = vec![0; 65_536];
        let length = self.socket.recv(&mut buffer).ok()?;
        buffer.truncate(length);
        Some(buffer)
    }

    /// The answer, which must be one message whole.
    pub(crate) fn ask(&self, bytes: &[u8]) -> Message<'static> {
        self.send(bytes);
        let answer = self.receive(PATIENCE).unwrap_or_else(|| panic!("no answer: {}", shown(bytes)));
        Message::parse_owned(answer).unwrap()
    }

    /// Waits until the server has worked off what was sent; drops every answer.
    pub(crate) fn settle(&self) {
        let ping = request("OPTIONS", &format!("sip:{DOMAIN}"), "sip:x@y.example", "", b"");
        let call_id = Message::parse(&ping).unwrap().call_id().unwrap().to_vec();
        for _ in 0..20 {
            self.send(&ping);
            let end = Instant::now() + Duration::from_millis(500);
            while let Some(answer) = self.receive((end - Instant::now()).max(Duration::from_millis(1))) {
                if Message::parse(&answer).is_ok_and(|m| m.call_id() == Ok(&call_id[..])) {
                    return;
                }
                if Instant::now() > end {
                    break;
                }
            }
        }
        panic!("the server does not answer any more");
    }
}

pub(crate) fn shown(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes.get(..600).unwrap_or(bytes)).into_owned()
}

/// A subscriber with a password, over UDP.
pub(crate) struct User {
    pub(crate) line: Stranger,
    pub(crate) name: String,
}

impl User {
    pub(crate) fn new(server: SocketAddr, name: &str) -> User {
        User { line: Stranger::new(server), name: name.into() }
    }

    pub(crate) fn impi(&self) -> String {
        format!("{}@{DOMAIN}", self.name)
    }

    /// The Authorization for a fresh challenge.
    pub(crate) fn authorization(&self) -> String {
        let challenge = self.line.ask(&register(&self.name, ""));
        assert_eq!(challenge.status(), 401);
        self.answer(&digest::nonce(&challenge))
    }

    fn answer(&self, nonce: &str) -> String {
        if self.name != "card" {
            return digest::authorization(Algorithm::Sha256, &self.impi(), PASSWORD.as_bytes(), DOMAIN, nonce);
        }
        let keys = session_keys(nonce);
        digest::authorization(Algorithm::Akav1Md5, &self.impi(), keys.res.as_bytes(), DOMAIN, nonce)
    }

    /// Registers with further header fields in the second REGISTER.
    pub(crate) fn register_with(&mut self, fields: &str) -> Message<'static> {
        let authorization = self.authorization();
        self.line.ask(&register(&self.name, &format!("Authorization: {authorization}\r\n{fields}")))
    }

    pub(crate) fn register(&mut self) -> Message<'static> {
        self.register_with("")
    }
}

/// RES, CK and IK of the card for the RAND in a nonce.
pub(crate) fn session_keys(nonce: &str) -> SessionKeys {
    let octets = base64::engine::general_purpose::STANDARD.decode(nonce).unwrap();
    let unhex = |text: &str| -> Vec<u8> {
        (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap()).collect()
    };
    let keys = KeySet::from_opc(Card::Milenage, &unhex(K), &unhex(OPC)).unwrap();
    keys.f2345(&Rand(octets[..16].try_into().unwrap()))
}

/// An address on loopback that is this process's alone.
pub(crate) fn own_address() -> Ipv4Addr {
    let [.., high, low] = std::process::id().to_be_bytes();
    Ipv4Addr::new(127, 0x80 | high, low, 1)
}

/// What a stream gives until it is closed (true) or quiet for `within`.
pub(crate) fn read_stream(stream: &mut TcpStream, within: Duration) -> (Vec<u16>, bool) {
    let (mut buffer, mut chunk, mut statuses) = (Vec::new(), vec![0; 65_536], Vec::new());
    stream.set_read_timeout(Some(within)).unwrap();
    let closed = loop {
        match stream.read(&mut chunk) {
            Ok(0) => break true,
            Ok(length) => buffer.extend_from_slice(&chunk[..length]),
            Err(e) if matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => break false,
            Err(_) => break true,
        }
    };
    while let Ok(frame::Frame::Message { len }) = frame::next(&buffer) {
        statuses.extend(Message::parse(&buffer[..len]).ok().map(|m| m.status()));
        buffer.drain(..len);
    }
    (statuses, closed)
}

/// Sends what it can: a server that has had enough closes.
pub(crate) fn pour(stream: &mut TcpStream, bytes: &[u8]) {
    let _ = stream.set_write_timeout(Some(PATIENCE));
    let _ = stream.write_all(bytes);
}

/// Deterministic, so that a failure comes back.
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    pub(crate) fn below(&mut self, n: usize) -> usize {
        (self.next() % n.max(1) as u64) as usize
    }

    pub(crate) fn octets(&mut self, n: usize) -> Vec<u8> {
        (0..n).map(|_| self.next() as u8).collect()
    }
}
