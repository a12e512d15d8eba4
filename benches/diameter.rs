//! What the node's HSS answers foreign nodes: requests a second, and the CPU of the thread that has the connections, over one
//! TCP connection with some requests outstanding at a time. The client is a plain socket with requests made beforehand.
//!
//! `cargo bench --bench diameter` · `diameter SUBSCRIBERS SECONDS` for others than 20 000 subscribers and 3 s a line.

use imscript::clock::Clock;
use imscript::diameter::cx::{Authorization, Lir, Mar, Sar, Scheme, ServerAssignment, Uar};
use imscript::diameter::dictionary::{ORIGIN_HOST, ORIGIN_REALM, application, command};
use imscript::diameter::node::{Prepared, Settings};
use imscript::diameter::sh::{DataReference, User, UserDataRequest};
use imscript::diameter::zh::MultimediaAuthRequest;
use imscript::diameter::{Header, Message, Origin, Writer, frame_len, request};
use imscript::hss::embedded::EmbeddedHss;
use imscript::hss::embedded::field::Fields;
use imscript::hss::serve::{self, HssServer};
use std::collections::HashMap;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

const K: &str = "465b5ce8b199b49faa5f0a2ee238a6bc";
const OPC: &str = "cd63cb71954a9f4e48a5994e37a02baf";

fn main() {
    let mut numbers = std::env::args().skip(1).filter_map(|argument| argument.parse::<u64>().ok());
    let (subscribers, seconds) = (numbers.next().unwrap_or(20_000), numbers.next().unwrap_or(3));
    let clock = Clock::new();
    let hss = EmbeddedHss::in_memory(clock.now()).expect("an HSS");
    let all: Vec<_> = (0..subscribers)
        .map(|user| {
            let (impi, impu) = (impi(user), impu(user));
            let fields = Fields { impi: &impi, impu: &impu, k: K, opc: OPC, ..Fields::default() };
            Fields { algorithm: "milenage", broadcast: "yes", ..fields }.subscriber().expect("a subscriber")
        })
        .collect();
    all.into_iter().for_each(|subscriber| hss.add(subscriber).expect("a place"));
    let origin = Origin { host: "hss.home1.net".into(), realm: "home1.net".into() };
    let mut settings = Settings::new(origin.clone());
    settings.listen = vec!["tcp:127.0.0.1:0".parse().expect("an address")];
    let mut prepared = Prepared::new(settings, Default::default(), Default::default()).expect("a listener");
    let settings = serve::Settings {
        origin,
        digest_realm: "home1.net".into(),
        scscf: None,
        broadcast_server: Some("sip:bsm.home1.net".into()),
        services: HashMap::new(),
        clients: serve::Clients::default(),
    };
    prepared.serve(HssServer::start(hss.clone(), settings, prepared.exchange(), clock).expect("a thread"));
    let node = prepared.start().expect("a node");
    let mut stream = TcpStream::connect(node.listening()[0].addr).expect("a connection");
    stream.set_nodelay(true).expect("a socket option");
    greet(&mut stream);

    println!("{subscribers} subscribers, store in memory");
    println!("request                      outstanding   answers/s   CPU µs of the HSS   octets of an answer");
    for (name, make) in REQUESTS {
        let requests: Vec<Vec<u8>> = (0..subscribers).map(|user| make(&impi(user), &impu(user))).collect();
        for outstanding in [1, 64] {
            measure(&mut stream, name, &requests, outstanding, Duration::from_secs(seconds));
        }
    }
    node.stop(Duration::from_secs(1));
}

fn impi(user: u64) -> String {
    format!("user{user}_private@ims.mnc001.mcc001.3gppnetwork.org")
}

fn impu(user: u64) -> String {
    format!("sip:user{user}@ims.mnc001.mcc001.3gppnetwork.org")
}

type Make = fn(&str, &str) -> Vec<u8>;

const REQUESTS: [(&str, Make); 7] = [
    ("Cx UAR", |impi, impu| {
        let kind = Authorization::Registration;
        let uar = Uar { impi, impu, visited_network: b"home1.net", kind, emergency: false };
        made(application::CX, command::USER_AUTHORIZATION, |to| uar.write(to))
    }),
    ("Cx MAR, 1 vector", |impi, impu| mar(impi, impu, 1)),
    ("Cx MAR, 5 vectors", |impi, impu| mar(impi, impu, 5)),
    ("Cx SAR, profile", |impi, impu| {
        let sar = Sar {
            impi: Some(impi),
            impus: vec![impu],
            wildcard: None,
            server: "sip:scscf.home1.net",
            kind: ServerAssignment::Registration,
            has_profile: false,
            restoration: None,
            multiple: false,
        };
        made(application::CX, command::SERVER_ASSIGNMENT, |to| sar.write(to))
    }),
    ("Cx LIR", |_, impu| {
        let lir = Lir { impu, originating: false, kind: None };
        made(application::CX, command::LOCATION_INFO, |to| lir.write(to))
    }),
    ("Sh UDR, state and S-CSCF", |_, impu| {
        let udr = UserDataRequest {
            user: User::Public(impu.into()),
            data: vec![DataReference::UserState, DataReference::ScscfName],
            services: Vec::new(),
            sets: Vec::new(),
            server: None,
            impi: None,
        };
        made(application::SH, command::USER_DATA, |to| udr.write(to))
    }),
    ("Zh MAR, vector and GUSS", |impi, _| {
        let mar = MultimediaAuthRequest { impi: impi.into(), impu: None, resync: None, guss_timestamp: None };
        made(application::ZH, command::MULTIMEDIA_AUTH, |to| mar.write(to))
    }),
];

fn mar(impi: &str, impu: &str, items: u32) -> Vec<u8> {
    let mar = Mar { impi, impu, items, scheme: Scheme::Aka, resync: None, server: "sip:scscf.home1.net" };
    made(application::CX, command::MULTIMEDIA_AUTH, |to| mar.write(to))
}

fn made(application: u32, command: u32, write: impl FnOnce(&mut Writer)) -> Vec<u8> {
    let origin = Origin { host: "client.home1.net".into(), realm: "home1.net".into() };
    let mut writer = request(application, command, "client.home1.net;1;1", &origin);
    write(&mut writer);
    writer.finish().expect("a short message")
}

fn greet(stream: &mut TcpStream) {
    let command = command::CAPABILITIES_EXCHANGE;
    let mut cer = Writer::new(Header { flags: 0x80, command, application: 0, hop_by_hop: 1, end_to_end: 1 });
    cer.text(&ORIGIN_HOST, "client.home1.net").text(&ORIGIN_REALM, "home1.net");
    [application::CX, application::SH, application::ZH].into_iter().for_each(|id| _ = cer.application(id));
    stream.write_all(&cer.finish().expect("a short message")).expect("an open connection");
    let mut answers = Answers::default();
    answers.next(stream);
}

/// What has been read and not looked at yet.
#[derive(Default)]
struct Answers {
    octets: Vec<u8>,
    at: usize,
}

impl Answers {
    /// The length of the next answer, which is a success.
    fn next(&mut self, stream: &mut TcpStream) -> usize {
        loop {
            let rest = &self.octets[self.at..];
            if let Some(length) = frame_len(rest).expect("a message").filter(|length| rest.len() >= *length) {
                let answer = Message::parse(&rest[..length]).expect("a message");
                // The node's own watchdog is left unanswered: it does not come in so short a time.
                assert!(answer.result().is_ok_and(|code| code.is_success()), "{:?}", answer.result());
                self.at += length;
                return length;
            }
            self.octets.drain(..self.at);
            self.at = 0;
            let mut more = [0; 64 * 1024];
            let read = stream.read(&mut more).expect("an open connection");
            assert!(read > 0, "closed");
            self.octets.extend_from_slice(&more[..read]);
        }
    }
}

static NUMBER: AtomicU32 = AtomicU32::new(2);

fn measure(stream: &mut TcpStream, name: &str, requests: &[Vec<u8>], outstanding: usize, time: Duration) {
    let mut answers = Answers::default();
    let (mut sent, mut done, mut octets) = (0_u32, 0_u32, 0);
    let (cpu, began) = (cpu(), Instant::now());
    let mut batch = Vec::new();
    loop {
        let over = began.elapsed() >= time;
        while !over && ((sent - done) as usize) < outstanding {
            let request = &requests[sent as usize % requests.len()];
            let at = batch.len();
            batch.extend_from_slice(request);
            // So that none is taken for one that came before.
            let number = NUMBER.fetch_add(1, Ordering::Relaxed).to_be_bytes();
            batch[at + 12..at + 16].copy_from_slice(&number);
            batch[at + 16..at + 20].copy_from_slice(&number);
            sent += 1;
        }
        stream.write_all(&batch).expect("an open connection");
        batch.clear();
        if sent == done {
            break;
        }
        octets += answers.next(stream);
        done += 1;
    }
    let (elapsed, cpu) = (began.elapsed().as_secs_f64(), self::cpu() - cpu);
    let each = f64::from(done.max(1));
    println!(
        "{name:28} {outstanding:11} {:11.0} {:19.1} {:21.0}",
        each / elapsed,
        cpu * 1e6 / each,
        octets as f64 / each
    );
}

/// Seconds of the thread that has the connections; the kernel counts in hundredths.
fn cpu() -> f64 {
    let tasks = std::fs::read_dir("/proc/self/task").into_iter().flatten().flatten();
    let stats = tasks.filter_map(|task| std::fs::read_to_string(task.path().join("stat")).ok());
    let of = |stat: String| {
        let (head, after) = stat.rsplit_once(") ")?;
        let ours = head.ends_with("(diameter");
        ours.then(|| after.split(' ').skip(11).take(2).filter_map(|ticks| ticks.parse::<f64>().ok()).sum::<f64>())
    };
    stats.filter_map(of).sum::<f64>() / 100.0
}
