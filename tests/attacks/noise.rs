//! Octets that are no messages, or hardly: over UDP, TCP and TLS.

use crate::support::*;
use std::net::TcpStream;
use std::time::{Duration, Instant};

const SPICE: [&[u8]; 16] = [
    b"\0",
    b"\r",
    b"\n",
    b"\r\n",
    b"\r\n\r\n",
    b"\"",
    b"\\",
    b"<",
    b">",
    b",",
    b";",
    b":",
    b"=",
    b"\xff",
    b"99999999999999999999",
    b"%00",
];

/// A REGISTER with credentials, a portion and more, then a few wounds.
fn mutant(random: &mut Random) -> Vec<u8> {
    let fields = "Authorization: Digest username=\"u1@home1.net\", realm=\"home1.net\", nonce=\"bm9uY2U=\", uri=\"sip:home1.net\", \
                  response=\"0123456789abcdef0123456789abcdef\", qop=auth, nc=00000001, cnonce=\"x\", auts=\"AAAA\"\r\n\
                  Bcast-Ext: profile=\"1.0\";naf-id=\"bsm.home1.net\";ua-id=0100000001\r\nPath: <sip:p.home1.net;lr>\r\n\
                  Require: bcast_ext_profile=1.0; bcast_ext_scard=\"bsm.home1.net\"\r\nSupported: path\r\nExpires: 600\r\n";
    let mut bytes = register("u1", fields);
    for _ in 0..1 + random.below(6) {
        let at = random.below(bytes.len());
        match random.below(6) {
            0 => bytes[at] ^= 1 << random.below(8),
            1 => drop(bytes.remove(at)),
            2 => drop(bytes.splice(at..at, SPICE[random.below(SPICE.len())].iter().copied())),
            3 => bytes.truncate(at.max(20)),
            4 => {
                let piece = bytes[at..(at + random.below(80)).min(bytes.len())].to_vec();
                bytes.splice(at..at, piece);
            }
            _ => {
                let end = (at + random.below(40)).min(bytes.len());
                bytes.drain(at..end);
            }
        }
        if bytes.is_empty() {
            bytes.push(b'R');
        }
    }
    bytes
}

#[test]
fn noise_in_datagrams() {
    let mut server = Server::plain();
    let stranger = Stranger::new(server.udp);
    let mut random = Random(0x1234_5678_9abc_def1);
    for n in 0..20_000 {
        let bytes = if n % 4 == 0 {
            let length = random.below(1500);
            random.octets(length)
        } else {
            mutant(&mut random)
        };
        stranger.send(&bytes);
        if n % 100 == 99 {
            stranger.settle();
        }
    }
    server.is_well(200);
}

#[test]
fn noise_on_streams() {
    let mut server = Server::plain();
    let mut random = Random(0xfeed_f00d_1234_5671);
    for n in 0..1_000 {
        let mut stream = TcpStream::connect(server.tcp).unwrap();
        let mut bytes = Vec::new();
        for _ in 0..10 {
            match n % 4 {
                0 => bytes.extend(random.octets(300)),
                _ => bytes.extend(mutant(&mut random)),
            }
        }
        pour(&mut stream, &bytes);
        // Half of them read; the others leave at once.
        if n % 50 == 0 {
            read_stream(&mut stream, Duration::from_millis(50));
        }
    }
    server.is_well(250);
}

/// What a message may be at most, and what is said about more.
#[test]
fn beyond_the_limits() {
    let mut server = Server::plain();
    let stranger = Stranger::new(server.udp);
    let filler = |n: usize| format!("X-Filler: {}\r\n", "a".repeat(100)).repeat(n);
    assert_eq!(stranger.ask(&register("u1", &filler(100))).status(), 401, "12 KB are no fault");
    assert_eq!(stranger.ask(&register("u1", &filler(500))).status(), 400, "500 fields");
    assert_eq!(stranger.ask(&register("u1", &"X:\r\n".repeat(10_000))).status(), 400, "10 000 fields");
    assert_eq!(
        stranger.ask(&register("u1", &format!("X: {}\r\n", "a".repeat(60_000)))).status(),
        400,
        "60 KB in one field"
    );
    let contacts = vec!["<sip:a@b.example>"; 400].join(",");
    assert_eq!(stranger.ask(&register("u1", &format!("Contact: {contacts}\r\n"))).status(), 403, "400 contacts");
    let contacts = format!("Contact: {}\r\n", ["<sip:a@b.example>"; 300].join(",")).repeat(10);
    assert_eq!(stranger.ask(&register("u1", &contacts)).status(), 403, "3000 contacts");
    for junk in [
        "\"".repeat(7_001),
        format!("\"{}", "\\".repeat(7_000)),
        "<".repeat(7_000),
        "(".repeat(7_000),
        format!("<sip:{}", "[".repeat(7_000)),
        format!("<sip:a@b{}>", ";x".repeat(3_000)),
        format!("<sip:a@b>{}", ";x=\"\\\"\"".repeat(900)),
        ",".repeat(7_000),
        "%".repeat(7_000),
    ] {
        for field in ["Contact", "Authorization", "Bcast-Ext", "Require", "Path", "Content-Type", "P-Asserted-Identity"]
        {
            let answer = stranger.ask(&register("u1", &format!("{field}: {junk}\r\n")));
            let fine = [200, 400, 401, 403, 420, 421].contains(&answer.status());
            assert!(fine, "{field}: {}: {}", &junk[..20], answer.status());
        }
    }
    // Content-Length that is not so.
    let whole = String::from_utf8(register("u1", "")).unwrap();
    for (lie, status) in [
        ("9", 400),
        ("65536", 400),
        ("4294967296", 400),
        ("18446744073709551616", 400),
        ("-1", 400),
        ("+0", 400),
        ("0x0", 400),
        ("", 400),
        ("0, 5", 400),
        ("0\r\nContent-Length: 1", 400),
        ("0\r\nl: 0", 401),
        ("00", 401),
    ] {
        let bytes = whole
            .replace("Content-Length: 0", &format!("Content-Length: {lie}"))
            .replace("attack", &format!("{}x", fresh()));
        let answer = stranger.ask(bytes.as_bytes());
        assert_eq!(answer.status(), status, "{lie}");
        if lie.is_empty() || !lie.bytes().all(|b| b.is_ascii_digit()) && !lie.contains("l:") {
            let mut stream = TcpStream::connect(server.tcp).unwrap();
            pour(&mut stream, bytes.as_bytes());
            assert_eq!(read_stream(&mut stream, PATIENCE), (vec![400], true), "{lie}");
        }
    }
    // More than a message may be, on a stream: refused when that is known, and closed.
    for bytes in [
        register("u1", &filler(2_000)),
        register("u1", &format!("X: {}\r\n", "a".repeat(200_000))),
        whole.replace("Content-Length: 0", "Content-Length: 70000").into_bytes(),
    ] {
        let mut stream = TcpStream::connect(server.tcp).unwrap();
        pour(&mut stream, &bytes);
        let (statuses, closed) = read_stream(&mut stream, PATIENCE);
        assert!(closed && statuses.iter().all(|status| matches!(status, 400 | 513)), "{statuses:?}");
    }
    let largest = Stranger::new(server.udp);
    largest.send(&[b'A'; 65_507]);
    largest.settle();
    server.is_well(150);
}

#[test]
fn connections_that_say_nothing_and_slow_ones() {
    let mut server = Server::plain();
    let before = server.memory();
    let mut idle = Vec::new();
    // The test's own limit of descriptors may be 1024.
    for n in 0..700 {
        let mut stream = TcpStream::connect(server.tcp).unwrap();
        match n % 3 {
            0 => {}
            1 => pour(&mut stream, b"REGISTER sip:home1.net SIP/2.0\r\nVia: SIP/2.0/TCP x"),
            _ => pour(&mut stream, &register("u2", "X: y\r\n")[..200]),
        }
        idle.push(stream);
    }
    server.is_well(before + 60);
    // Octet by octet, many lines: no quadratic work, and others are served meanwhile.
    let started = Instant::now();
    let slow = register("u2", &"X-Filler: aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\r\n".repeat(100));
    let mut stream = TcpStream::connect(server.tcp).unwrap();
    stream.set_nodelay(true).unwrap();
    for octet in &slow {
        pour(&mut stream, &[*octet]);
    }
    let body = request(
        "REGISTER",
        "sip:home1.net",
        "sip:u2@home1.net",
        "Content-Type: text/plain\r\nContent-Disposition: x;handling=optional\r\n",
        &[b'\n'; 3_000],
    );
    for octet in &body {
        pour(&mut stream, &[*octet]);
    }
    assert_eq!(read_stream(&mut stream, Duration::from_secs(4)).0, [401, 401]);
    assert!(started.elapsed() < PATIENCE, "{:?}", started.elapsed());
    server.is_well(before + 60);
    drop(idle);
    server.is_well(before + 60);
}

#[test]
fn noise_at_a_tls_listener() {
    let key = rcgen::KeyPair::generate().unwrap();
    let params = rcgen::CertificateParams::new(["ims.home1.net".to_owned()]).unwrap();
    let certificate = params.self_signed(&key).unwrap();
    let files = tempfile::tempdir().unwrap();
    let [cert, private] = ["cert.pem", "key.pem"].map(|name| files.path().join(name));
    std::fs::write(&cert, certificate.pem()).unwrap();
    std::fs::write(&private, key.serialize_pem()).unwrap();
    let listen = "listen = [\"udp:127.0.0.1:0\", \"tcp:127.0.0.1:0\", \"tls:127.0.0.1:0\"]\n";
    let mut server = Server::start(3, listen, &format!("[tls]\ncertificate = {cert:?}\nkey = {private:?}\n"), &[]);
    let mut random = Random(0xabcd_ef01_2345_6789);
    let mut open = Vec::new();
    for n in 0..300 {
        let mut stream = TcpStream::connect(server.tls.unwrap()).unwrap();
        let length = random.below(2000);
        match n % 4 {
            0 => pour(&mut stream, &random.octets(length)),
            // A record header that promises much.
            1 => pour(&mut stream, &[&[0x16, 3, 1, 0x40, 0][..], &random.octets(100)].concat()),
            2 => pour(&mut stream, &register("u1", "")),
            _ => {}
        }
        open.push(stream);
    }
    server.is_well(200);
}

/// The port that the node's own requests leave from is open on all addresses; nobody is served there.
#[test]
fn a_port_that_is_nobodys_to_ask() {
    let mut server = Server::plain();
    let ports = server.egress_ports();
    assert!(!ports.is_empty());
    for port in ports {
        let stranger = Stranger::new(([127, 0, 0, 1], port).into());
        stranger.send(&request("OPTIONS", "sip:home1.net", "sip:x@y.example", "", b""));
        stranger.send(&register("u1", ""));
        assert!(stranger.receive(Duration::from_millis(200)).is_none());
    }
    server.is_well(150);
}

#[test]
fn noise_at_the_http_side() {
    let mut server = Server::start(3, "", "[bsm]\nhttp = \"127.0.0.1:0\"\n", &[]);
    let http = server.http.unwrap();
    let mut random = Random(0x0dd_ba11_cafe_f00d);
    let mut open = Vec::new();
    for n in 0..400 {
        let mut stream = TcpStream::connect(http).unwrap();
        let length = random.below(3000);
        match n % 5 {
            0 => pour(&mut stream, &random.octets(length)),
            1 => pour(&mut stream, b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999999\r\n\r\nabc"),
            2 => pour(&mut stream, format!("POST / HTTP/1.1\r\nHost: x\r\n{}", "X: y\r\n".repeat(3_000)).as_bytes()),
            3 => pour(&mut stream, b"GET / HTTP/1.1\r\nHost: bsm"),
            _ => pour(
                &mut stream,
                format!(
                    "POST /{} HTTP/1.1\r\nHost: bsm.home1.net\r\nAuthorization: Digest username=\"{}\"\r\n\r\n",
                    "a".repeat(length),
                    "\\".repeat(length)
                )
                .as_bytes(),
            ),
        }
        open.push(stream);
    }
    let mut stream = TcpStream::connect(http).unwrap();
    pour(&mut stream, b"POST / HTTP/1.1\r\nHost: bsm.home1.net\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
    let mut answer = String::new();
    std::io::Read::read_to_string(&mut stream, &mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 4"), "{answer}");
    server.is_well(200);
}
