//! The messages of RFC 4475 against a running node of the domain example.com, over UDP and TCP: what each is answered
//! with, and that the node goes on after it.

#[path = "attacks/digest.rs"]
mod digest;

use imscript::auth::digest::{Algorithm, Password};
use imscript::clock::Clock;
use imscript::config::Config;
use imscript::hss::BroadcastSubscription;
use imscript::hss::embedded::{Credentials, EmbeddedHss, Subscriber};
use imscript::identity::{Impi, Impu};
use imscript::server::Node;
use imscript::sip::transaction::Transport;
use imscript::sip::{Contacts, HeaderName, Message, frame};
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream, UdpSocket};
use std::path::Path;
use std::time::{Duration, Instant};

const DOMAIN: &str = "example.com";
const PASSWORD: &[u8] = b"a password";
/// How long silence is listened to.
const QUIET: Duration = Duration::from_millis(150);

struct Running {
    _node: Node,
    udp: SocketAddr,
    tcp: SocketAddr,
}

/// Subscribers by password: those that the messages register.
fn start() -> Running {
    let clock = Clock::new();
    let hss = EmbeddedHss::in_memory(clock.now()).unwrap();
    for user in ["user", "j.user", "watson", "null-%00-null"] {
        let subscriber = Subscriber {
            impi: Impi::new(format!("{}_private@{DOMAIN}", user.replace('%', ""))),
            impus: [Impu::new(format!("sip:{user}@{DOMAIN}"))].into(),
            credentials: Credentials::Digest(Password::new(PASSWORD)),
            amf: Default::default(),
            sqn: None,
            broadcast: BroadcastSubscription::None,
            service: "".into(),
        };
        hss.add(subscriber).unwrap();
    }
    let text = format!(
        "domain = \"{DOMAIN}\"\nworkers = 1\nlisten = [\"udp:127.0.0.1:0\", \"tcp:127.0.0.1:0\"]\n[store]\nkind = \"memory\"\n"
    );
    let config = Config::parse(&text, Path::new("imscript.toml")).unwrap();
    let node = Node::builder(config).hss(hss).start().unwrap();
    let at = |transport| node.listening().iter().find(|l| l.transport == transport).unwrap().addr;
    Running { udp: at(Transport::Udp), tcp: at(Transport::Tcp), _node: node }
}

fn octets(name: &str) -> Vec<u8> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/torture").join(format!("{name}.dat"));
    std::fs::read(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

/// Name, status over UDP, statuses over TCP (another may follow on a stream), and whether the server then closes it.
/// None and an empty list: silence.
type Row = (&'static str, Option<u16>, &'static [u16], bool);

const EXPECTED: [Row; 49] = [
    ("wsinv", Some(405), &[405], false),
    ("intmeth", Some(501), &[501], false),
    ("esc01", Some(405), &[405], false),
    ("escnull", Some(401), &[401], false),
    ("esc02", Some(501), &[501], false),
    ("lwsdisp", Some(200), &[200], false),
    ("longreq", Some(405), &[405], false),
    // The second request is no part of the datagram's message; on a stream it is the next message, and what its
    // Content-Length leaves over is none.
    ("dblreq", Some(401), &[401, 405], true),
    ("semiuri", Some(200), &[200], false),
    ("transports", Some(200), &[200], false),
    ("mpart01", Some(404), &[404], false),
    ("unreason", None, &[], false),
    ("noreason", None, &[], false),
    ("badinv01", Some(400), &[400], false),
    // On a stream the rest may still come.
    ("clerr", Some(400), &[], false),
    ("ncl", Some(400), &[400], true),
    ("scalar02", Some(400), &[400], false),
    ("scalarlg", None, &[], false),
    ("quotbal", Some(400), &[400], false),
    ("ltgtruri", Some(400), &[400], false),
    ("lwsruri", Some(400), &[400], false),
    ("lwsstart", Some(400), &[400], false),
    ("trws", Some(400), &[400], false),
    ("escruri", Some(400), &[400], false),
    ("baddate", Some(400), &[400], false),
    ("regbadct", Some(400), &[400], false),
    ("badaspec", Some(400), &[400], false),
    // The file ends without the empty line.
    ("baddn", Some(400), &[], false),
    ("badvers", Some(505), &[505], false),
    ("mismatch01", Some(400), &[400], false),
    ("mismatch02", Some(400), &[400], false),
    ("bigcode", None, &[], false),
    ("badbranch", Some(200), &[200], false),
    ("insuf", Some(400), &[400], false),
    ("unkscm", Some(416), &[416], false),
    ("novelsc", Some(416), &[416], false),
    ("unksm2", Some(400), &[400], false),
    ("bext01", Some(420), &[420], false),
    // An INVITE is refused for its method before its content is looked at (§8.2), here and in sdp01.
    ("invut", Some(405), &[405], false),
    ("regaut01", Some(401), &[401], false),
    ("multi01", Some(400), &[400], false),
    ("mcl01", Some(400), &[400], true),
    ("bcast", None, &[], false),
    // For a UAS, Max-Forwards 0 is as good as any.
    ("zeromf", Some(200), &[200], false),
    ("cparam01", Some(401), &[401], false),
    ("cparam02", Some(401), &[401], false),
    ("regescrt", Some(401), &[401], false),
    ("sdp01", Some(405), &[405], false),
    // Without Content-Length a stream has no frame.
    ("inv2543", Some(405), &[400], true),
];

/// Checks what holds for every answer.
fn check(name: &str, answer: &Message<'_>) {
    assert!(!answer.is_request(), "{name}");
    // What a faulty request had wrong stands in its answer too.
    if !matches!(answer.status(), 400 | 505) {
        assert_eq!(answer.check(), Ok(()), "{name}");
    }
    match answer.status() {
        405 | 501 => assert!(answer.header(HeaderName::Allow).is_some(), "{name}: no Allow"),
        401 => {
            let digest = answer.challenges().all(|challenge| challenge.unwrap().is_digest());
            assert!(digest && answer.header(HeaderName::WwwAuthenticate).is_some(), "{name}");
        }
        420 => {
            let tags: Vec<_> = answer.list(HeaderName::Unsupported).collect();
            assert_eq!(tags, [&b"nothingSupportsThis"[..], b"nothingSupportsThisEither"]);
        }
        _ => {}
    }
}

/// Datagrams go to the port in Via (no message here has rport), so each is sent from that port of an address of our own:
/// of this process alone.
fn source_of(message: &[u8], last: u8) -> UdpSocket {
    let port = Message::parse(message).ok().and_then(|m| m.top_via().ok().and_then(|via| via.port)).unwrap_or(5060);
    let [.., high, low] = std::process::id().to_be_bytes();
    let socket = UdpSocket::bind(SocketAddr::from(([127, high | 0x40, low, last], port))).unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    socket
}

#[test]
fn each_message_in_a_datagram() {
    let node = start();
    assert_eq!(
        EXPECTED.len(),
        std::fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/torture")).unwrap().count() - 1
    );
    let mut wrong = Vec::new();
    for (n, (name, status, ..)) in EXPECTED.into_iter().enumerate() {
        let bytes = octets(name);
        let socket = source_of(&bytes, n as u8 + 1);
        socket.send_to(&bytes, node.udp).unwrap();
        let mut buffer = [0; 65_536];
        if status.is_none() {
            socket.set_read_timeout(Some(QUIET)).unwrap();
        }
        let got = socket.recv(&mut buffer).ok().map(|length| {
            let answer = Message::parse(&buffer[..length]).unwrap();
            check(name, &answer);
            answer.status()
        });
        if got != status {
            wrong.push(format!("{name}: {got:?}, not {status:?}"));
        }
        if name == "dblreq" {
            socket.set_read_timeout(Some(QUIET)).unwrap();
            assert!(socket.recv(&mut buffer).is_err(), "what follows the message was processed");
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

/// Reads messages until `enough` have come, the peer closes (true) or it is quiet.
fn answers(stream: &mut TcpStream, enough: usize, closing: bool) -> (Vec<Vec<u8>>, bool) {
    let (mut buffer, mut found, mut chunk) = (Vec::new(), Vec::new(), [0; 65_536]);
    let end = Instant::now() + Duration::from_secs(60);
    loop {
        while let Ok(frame::Frame::Message { len }) = frame::next(&buffer) {
            found.push(buffer.drain(..len).collect());
        }
        let wait = if found.len() < enough || closing { end - Instant::now() } else { QUIET };
        stream.set_read_timeout(Some(wait.max(Duration::from_millis(1)))).unwrap();
        match stream.read(&mut chunk) {
            Ok(0) => return (found, true),
            Ok(length) => buffer.extend_from_slice(&chunk[..length]),
            Err(e) if matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => return (found, false),
            Err(_) => return (found, true),
        }
    }
}

#[test]
fn each_message_on_a_stream() {
    let node = start();
    let mut wrong = Vec::new();
    for (name, _, statuses, closed) in EXPECTED {
        let mut stream = TcpStream::connect(node.tcp).unwrap();
        stream.write_all(&octets(name)).unwrap();
        let (found, ended) = answers(&mut stream, statuses.len(), closed);
        let got: Vec<u16> = found
            .iter()
            .map(|bytes| {
                let answer = Message::parse(bytes).unwrap();
                check(name, &answer);
                answer.status()
            })
            .collect();
        if got != statuses || ended != closed {
            wrong.push(format!("{name}: {got:?} closed: {ended}, not {statuses:?} closed: {closed}"));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

/// Sends a REGISTER of the collection, answers the challenge, and gives the final answer.
fn register(node: &Running, name: &str, user: &str, last: u8) -> Message<'static> {
    let text = String::from_utf8(octets(name)).unwrap();
    let socket = source_of(text.as_bytes(), last);
    let ask = |text: &str| {
        socket.send_to(text.as_bytes(), node.udp).unwrap();
        let mut buffer = vec![0; 65_536];
        let length = socket.recv(&mut buffer).unwrap();
        buffer.truncate(length);
        Message::parse_owned(buffer).unwrap()
    };
    let challenge = ask(&text);
    assert_eq!(challenge.status(), 401, "{name}");
    let cseq = Message::parse(text.as_bytes()).unwrap().cseq().unwrap().number;
    let user = format!("{user}_private@{DOMAIN}");
    let authorization = digest::authorization(Algorithm::Sha256, &user, PASSWORD, DOMAIN, &digest::nonce(&challenge));
    let second = text
        .replacen("SIP/2.0\r\n", &format!("SIP/2.0\r\nAuthorization: {authorization}\r\n"), 1)
        .replacen(&format!("{cseq} REGISTER"), &format!("{} REGISTER", cseq + 1), 1)
        .replacen("branch=z9hG4bK", "branch=z9hG4bKsecond", 1);
    let done = ask(&second);
    assert_eq!(done.status(), 200, "{name}: {done:?}");
    done
}

#[test]
fn registered_contacts_come_back_as_they_were() {
    let node = start();
    let uris = |message: &Message<'_>| -> Vec<(String, bool)> {
        let Contacts::List(list) = message.contacts().unwrap() else { panic!("no contacts: {message:?}") };
        list.iter().map(|c| (String::from_utf8_lossy(c.uri_raw).into_owned(), c.params.has("unknownparam"))).collect()
    };
    let found = uris(&register(&node, "cparam01", "watson", 201));
    assert_eq!(found, [("sip:+19725552222@gw1.example.net".to_owned(), true)]);
    let found = uris(&register(&node, "cparam02", "watson", 201));
    assert!(found.contains(&("sip:+19725552222@gw1.example.net;unknownparam".to_owned(), false)), "{found:?}");
    let found = uris(&register(&node, "regescrt", "user", 202));
    assert_eq!(found, [("sip:user@example.com?Route=%3Csip:sip.example.com%3E".to_owned(), false)]);
    let found = uris(&register(&node, "escnull", "null-00-null", 203));
    let expected =
        [("sip:%00@host5.example.com".to_owned(), false), ("sip:%00%00@host5.example.com".to_owned(), false)];
    assert_eq!(found, expected);
    // A scheme that nobody knows is passed over, beside an answer to the challenge too. This is a query.
    let done = register(&node, "regaut01", "j.user", 204);
    assert!(matches!(done.contacts(), Ok(Contacts::None)), "{done:?}");
}

#[test]
fn contents_that_are_not_taken() {
    let node = start();
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    let mut n = 0;
    let mut ask = |fields: &str, body: &str| {
        n += 1;
        let text = format!(
            "REGISTER sip:{DOMAIN} SIP/2.0\r\nVia: SIP/2.0/UDP a.example;rport;branch=z9hG4bK-{n}\r\nFrom: <sip:user@{DOMAIN}>\
             ;tag=1\r\nTo: <sip:user@{DOMAIN}>\r\nCall-ID: contents\r\nCSeq: {n} REGISTER\r\nMax-Forwards: 70\r\n{fields}\
             Content-Length: {}\r\n\r\n{body}",
            body.len()
        );
        socket.send_to(text.as_bytes(), node.udp).unwrap();
        let mut buffer = vec![0; 65_536];
        let length = socket.recv(&mut buffer).unwrap();
        buffer.truncate(length);
        Message::parse_owned(buffer).unwrap()
    };
    let answer = ask("Content-Type: application/unknownformat\r\n", "<audio/>");
    assert_eq!(answer.status(), 415);
    assert!(answer.list(HeaderName::Accept).any(|kind| kind == b"application/vnd.oma.bcast.sprov+xml"));
    let answer =
        ask("Content-Type: multipart/mixed;boundary=x\r\nContent-Encoding: gzip\r\n", "--x\r\n\r\nx\r\n--x--\r\n");
    assert_eq!((answer.status(), answer.header(HeaderName::AcceptEncoding)), (415, Some(&b"identity"[..])));
    assert_eq!(ask("c: text/plain\r\nContent-Disposition: session ; Handling = optional\r\n", "x").status(), 401);
    assert_eq!(ask("Content-Type: application/unknownformat\r\n", "").status(), 401);
    let multipart = "--x\r\nContent-Type: text/plain\r\n\r\nx\r\n--x--\r\n";
    assert_eq!(ask("Content-Type: Multipart/mixed;boundary=x\r\n", multipart).status(), 401);
}
