//! Claims that are not true: to be another user, a trusted proxy, the broadcast server, the BSF.

use crate::digest;
use crate::support::*;
use imscript::auth::digest::Algorithm;
use imscript::sip::{HeaderName, Message};
use std::net::{TcpListener, UdpSocket};
use std::time::{Duration, Instant};

const SPROV: &str = "application/vnd.oma.bcast.sprov+xml";
const NAF_KEY: &str = "application/vnd.imscript.naf-key+xml";
const BCAST_REG: &str = "application/vnd.imscript.bcast-reg+xml";

fn to_user(from: &str, to: &str, fields: &str) -> Vec<u8> {
    let bytes = register(from, fields);
    let text = String::from_utf8(bytes).unwrap();
    text.replace(&format!("To: <sip:{from}@"), &format!("To: <sip:{to}@")).into_bytes()
}

fn is_registered(server: &Server, user: &str) -> bool {
    server.subscriber(&format!("{user}@{DOMAIN}"))["ims"]["state"] == "registered"
}

#[test]
fn another_users_identity() {
    let mut server = Server::plain();
    let mut victim = User::new(server.udp, "u0");
    assert_eq!(victim.register().status(), 200);
    let thief = User::new(server.udp, "u2");
    // His own credentials for the other's address of record, from the start and after the challenge.
    let empty = format!(
        "Authorization: Digest username=\"{}\",realm=\"{DOMAIN}\",nonce=\"\",uri=\"sip:{DOMAIN}\",response=\"\"\r\n",
        thief.impi()
    );
    assert_eq!(thief.line.ask(&to_user("u2", "u0", &empty)).status(), 403);
    for fields in ["", "Contact: *\r\nExpires: 0\r\n", "Contact: <sip:u0@127.0.0.9>;expires=0\r\n"] {
        let answered = format!("Authorization: {}\r\n{fields}", thief.authorization());
        assert_eq!(thief.line.ask(&to_user("u2", "u0", &answered)).status(), 403, "{fields}");
    }
    // The other's name without his password.
    let challenge = thief.line.ask(&register("u0", ""));
    let guess = digest::authorization(Algorithm::Sha256, "u0@home1.net", b"guess", DOMAIN, &digest::nonce(&challenge));
    let answer = thief.line.ask(&register("u0", &format!("Authorization: {guess}\r\nContact: *\r\nExpires: 0\r\n")));
    assert_eq!(answer.status(), 403);
    // One's challenge, answered for another.
    let challenge = thief.line.ask(&register("u0", ""));
    let own = digest::authorization(
        Algorithm::Sha256,
        &thief.impi(),
        PASSWORD.as_bytes(),
        DOMAIN,
        &digest::nonce(&challenge),
    );
    assert_eq!(thief.line.ask(&register("u2", &format!("Authorization: {own}\r\n"))).status(), 401);
    // Without credentials at all.
    for fields in ["Contact: *\r\nExpires: 0\r\n", "Contact: <sip:evil@127.0.0.9>\r\n", "Expires: 0\r\n"] {
        assert_eq!(thief.line.ask(&register("u0", fields)).status(), 401, "{fields}");
    }
    let contacts = victim.register_with("Expires: 600\r\n");
    assert_eq!(contacts.list(HeaderName::Contact).count(), 1, "nobody else's contact: {contacts:?}");
    assert!(is_registered(&server, "u0"));
    server.is_well(150);
}

#[test]
fn credentials_used_twice_or_bent() {
    let mut server = Server::plain();
    let user = User::new(server.udp, "u0");
    let good = user.authorization();
    let first = register("u0", &format!("Authorization: {good}\r\n"));
    assert_eq!(user.line.ask(&first).status(), 200);
    // The same octets are a retransmission; the same credentials in a new request are a replay.
    assert_eq!(user.line.ask(&first).status(), 200);
    let replay = user.line.ask(&register("u0", &format!("Authorization: {good}\r\nContact: *\r\nExpires: 0\r\n")));
    assert_eq!(replay.status(), 401);
    let elsewhere = Stranger::at([127, 0, 0, 7], server.udp);
    assert_eq!(elsewhere.ask(&first).status(), 401, "the same octets from elsewhere");

    let bent = |bend: &dyn Fn(String) -> String| {
        let authorization = bend(user.authorization());
        user.line.ask(&register("u0", &format!("Authorization: {authorization}\r\n"))).status()
    };
    let swap = |from: &'static str, to: &'static str| move |text: String| text.replace(from, to);
    assert_eq!(bent(&swap("SHA-256", "AKAv1-MD5")), 403);
    assert_eq!(bent(&swap("SHA-256", "MD5")), 403);
    assert_eq!(bent(&swap("SHA-256", "nonesuch")), 403);
    for nc in ["00000000", "1", "000000001", "0000000g", "+0000001", "\"\"", "-0000001", "ffffffffffffffff"] {
        let status = bent(&|text| text.replace("nc=00000001", &format!("nc={nc}")));
        assert!(matches!(status, 400 | 403), "{nc}: {status}");
    }
    assert_eq!(bent(&swap("qop=auth,", "qop=auth-conf,")), 400);
    assert_eq!(bent(&swap(", nc=00000001", "")), 400);
    assert_eq!(bent(&swap("uri=\"sip:home1.net\"", "uri=\"sip:evil.example\"")), 400);
    assert_eq!(bent(&swap("cnonce=\"c0ffee\"", "cnonce=\"other\"")), 403);
    assert_eq!(bent(&swap("response=\"", "response=\"x")), 403);
    assert_eq!(bent(&swap("realm=\"home1.net\"", "realm=\"HOME1.NET\"")), 403);
    assert_eq!(bent(&swap("realm=\"home1.net\"", "realm=\"other.net\"")), 401, "another realm's are not ours");
    assert_eq!(bent(&swap("nonce=\"", "nonce=\"x")), 401);
    assert_eq!(bent(&swap("Digest ", "Basic ")), 401);
    for user_name in
        ["u0\\\0@home1.net".to_owned(), "u".repeat(4096), "\u{fffd}\u{202e}".to_owned(), "'; drop table".to_owned()]
    {
        let status = bent(&|text| text.replace("username=\"u0@home1.net\"", &format!("username=\"{user_name}\"")));
        assert!(matches!(status, 400 | 401 | 403), "{user_name:?}: {status}");
    }
    let mut raw = register(
        "u0",
        "Authorization: Digest username=\"USER\",realm=\"home1.net\",nonce=\"\",uri=\"sip:home1.net\",response=\"\"\r\n",
    );
    let at = raw.windows(4).position(|w| w == b"USER").unwrap();
    raw.splice(at..at + 4, [0xff, 0xfe, 0xc0, 0x80, 0x00]);
    assert!(matches!(user.line.ask(&raw).status(), 400 | 403));
    server.is_well(150);
}

#[test]
fn auts_of_nobodys_card() {
    let mut server = Server::plain();
    let card = User::new(server.udp, "card");
    let long = "A".repeat(5000);
    for auts in [
        "=",
        "AAAA",
        "AAAAAAAAAAAAAAAAAAA=",
        "AAAAAAAAAAAAAAAAAAAA",
        "AAAAAAAAAAAAAAAAAAA",
        "!!!!",
        &long,
        "AAAAAAAAAAAAAAAAAAA==",
    ] {
        let bent = card.authorization().replace("response=", &format!("auts=\"{auts}\", response="));
        let status = card.line.ask(&register("card", &format!("Authorization: {bent}\r\n"))).status();
        assert!(matches!(status, 400 | 401 | 403), "{auts}: {status}");
    }
    // A password's user has no card.
    let user = User::new(server.udp, "u0");
    let bent = user.authorization().replace("response=\"", "auts=\"AAAAAAAAAAAAAAAAAAA=\", response=\"0");
    assert_eq!(user.line.ask(&register("u0", &format!("Authorization: {bent}\r\n"))).status(), 403);
    assert_eq!(server.terminal("register", &[])["result"], "registered");
    server.is_well(150);
}

#[test]
fn a_trusted_proxy_that_is_none() {
    let server = Server::start(3, "", "[trusted]\npeers = [\"127.0.0.50\"]\nsend_ck_ik = true\n", &[]);
    let mut user = User::new(server.udp, "u0");
    assert_eq!(user.register().status(), 200);
    for value in ["yes", "tls-yes", "ip-assoc-yes", "auth-done"] {
        let fields = format!(
            "Authorization: Digest username=\"u0@{DOMAIN}\",realm=\"{DOMAIN}\",nonce=\"\",uri=\"sip:{DOMAIN}\",response=\"\",\
             integrity-protected=\"{value}\"\r\nContact: *\r\nExpires: 0\r\nP-Asserted-Identity: <sip:u0@{DOMAIN}>\r\n"
        );
        assert_eq!(user.line.ask(&register("u0", &fields)).status(), 401, "{value}");
    }
    // Keys go into a challenge for the trusted proxy alone.
    let keys = |answer: &Message<'_>| String::from_utf8_lossy(answer.bytes()).contains("ck=");
    assert!(!keys(&user.line.ask(&register("card", ""))));
    assert!(keys(&Stranger::at([127, 0, 0, 50], server.udp).ask(&register("card", ""))));
    // A registered user's name on a MESSAGE that comes from elsewhere.
    let fields = format!("P-Asserted-Identity: <sip:u0@{DOMAIN}>\r\nContent-Type: {SPROV}\r\n");
    let bytes = request("MESSAGE", "sip:bsm.home1.net", &format!("sip:u0@{DOMAIN}"), &fields, b"<ServiceRequest/>");
    assert_eq!(Stranger::at([127, 0, 0, 8], server.udp).ask(&bytes).status(), 403);
}

/// A broadcast server that takes everything; what it is sent is looked at.
struct Broadcast {
    socket: UdpSocket,
}

impl Broadcast {
    fn open() -> Broadcast {
        Broadcast { socket: UdpSocket::bind("127.0.0.3:0").unwrap() }
    }

    fn table(&self) -> String {
        let at = self.socket.local_addr().unwrap();
        format!("[[broadcast_server]]\nname = \"bsm\"\nnaf = [\"bsm.home1.net\"]\naddress = \"udp:{at}\"\n")
    }

    /// The next request, answered with 200.
    fn take(&self, within: Duration) -> Option<Message<'static>> {
        self.socket.set_read_timeout(Some(within)).unwrap();
        let mut buffer = vec![0; 65_536];
        let (length, from) = self.socket.recv_from(&mut buffer).ok()?;
        buffer.truncate(length);
        let request = Message::parse_owned(buffer).unwrap();
        let mut answer = imscript::sip::ResponseWriter::new(&request, 200, from, "bsm");
        answer.header(HeaderName::BcastExt, "state=registered");
        self.socket.send_to(&answer.finish(), from).unwrap();
        Some(request)
    }

    fn is_quiet(&self) -> bool {
        self.take(Duration::from_millis(250)).is_none()
    }
}

/// Registers the card with `fields` in the second REGISTER while the broadcast server answers; what it was sent.
fn card_registers(
    server: &Server,
    bsm: &Broadcast,
    fields: &str,
) -> (User, Message<'static>, Option<Message<'static>>) {
    let card = User::new(server.udp, "card");
    let authorization = card.authorization();
    card.line.send(&register("card", &format!("Authorization: {authorization}\r\n{fields}")));
    let (answer, forwarded) = served(&card, bsm);
    (card, answer, forwarded.into_iter().next())
}

/// The answer to what the card has asked, and what the broadcast server was sent for it.
fn served(card: &User, bsm: &Broadcast) -> (Message<'static>, Vec<Message<'static>>) {
    let (begun, mut forwarded) = (Instant::now(), Vec::new());
    let answer = loop {
        forwarded.extend(bsm.take(Duration::from_millis(1)));
        if let Some(answer) = card.line.receive(Duration::from_millis(20)) {
            break answer;
        }
        assert!(begun.elapsed() < PATIENCE, "no answer");
    };
    // What was to be sent before the answer has arrived.
    forwarded.extend(std::iter::from_fn(|| bsm.take(Duration::from_millis(1))));
    (Message::parse_owned(answer).unwrap(), forwarded)
}

const PORTION: &str = "Bcast-Ext: profile=\"1.0\";naf-id=\"bsm.home1.net\"\r\n";

#[test]
fn the_broadcast_server_that_is_none() {
    let bsm = Broadcast::open();
    let mut server = Server::start(3, "roles = [\"scscf\", \"bsf\", \"hss\"]\n", &bsm.table(), &[]);
    let (card, answer, forwarded) = card_registers(&server, &bsm, PORTION);
    assert_eq!(answer.status(), 200);
    let forwarded = forwarded.expect("a third-party REGISTER");
    let ext = String::from_utf8(forwarded.header(HeaderName::BcastExt).unwrap().to_vec()).unwrap();
    let btid = ext.split("btid=\"").nth(1).unwrap().split('"').next().unwrap();
    let state = || server.subscriber("card@home1.net")["broadcast_registration"]["state"].clone();
    let begun = Instant::now();
    while state() != "registered" && begun.elapsed() < PATIENCE {
        std::thread::sleep(Duration::from_millis(50));
    }
    assert_eq!(state(), "registered");
    while bsm.take(Duration::from_millis(100)).is_some() {}

    let impostor = Stranger::at([127, 0, 0, 2], server.udp);
    let from = "sip:bsm.home1.net";
    // A key, for itself or to have it sent again.
    let fields = format!("Bcast-Ext: request=key;naf-id=\"bsm.home1.net\";btid=\"{btid}\"\r\n");
    assert_eq!(impostor.ask(&request("MESSAGE", "sip:bsf.home1.net", from, &fields, b"")).status(), 403);
    assert!(bsm.is_quiet());
    // The end of a registration.
    let naf = "naf=\"bsm.home1.net\" expires=\"0\" cause=\"x\"";
    for told in ["terminated", "failed", "pending", "active"] {
        let body = format!(
            "<bcast-registration xmlns=\"urn:imscript:broadcast:1.0\" state=\"{told}\" btid=\"{btid}\" {naf} impu=\"sip:card@home1.net\"/>"
        );
        let fields = format!("Content-Type: {BCAST_REG}\r\nP-Asserted-Identity: <{from}>\r\n");
        let bytes = request("MESSAGE", "sip:home1.net", from, &fields, body.as_bytes());
        assert_eq!(impostor.ask(&bytes).status(), 403, "{told}");
        assert_eq!(card.line.ask(&bytes).status(), 403, "a registered terminal is none either");
    }
    // A word to a terminal.
    let bytes =
        request("MESSAGE", "sip:card@home1.net", from, &format!("Content-Type: {SPROV}\r\n"), b"<ServiceResponse/>");
    assert_eq!(impostor.ask(&bytes).status(), 404);
    // A registered terminal has the IMS vouch for it, but not for a key.
    let key = b"<mbmsAuthorizedSecurityRegister><muk>AAAA</muk></mbmsAuthorizedSecurityRegister>";
    for kind in [NAF_KEY, "application/vnd.imscript.naf-key-error+xml", "multipart/mixed;boundary=x", "text/plain"] {
        let fields = format!("Content-Type: {kind}\r\nBcast-Ext: naf-id=\"bsm.home1.net\"\r\n");
        let bytes = request("MESSAGE", "sip:bsm.home1.net", "sip:card@home1.net", &fields, key);
        assert_eq!(card.line.ask(&bytes).status(), 415, "{kind}");
        let fields = format!("{fields}Content-Disposition: render;handling=optional\r\n");
        let bytes = request("MESSAGE", "sip:bsm.home1.net", "sip:card@home1.net", &fields, key);
        assert_eq!(card.line.ask(&bytes).status(), 415, "{kind}, optional");
    }
    assert!(bsm.is_quiet());
    assert_eq!(state(), "registered");
    // Another user's B-TID in a registered terminal's request.
    let mut user = User::new(server.udp, "u2");
    assert_eq!(user.register().status(), 200);
    while bsm.take(Duration::from_millis(100)).is_some() {}
    let fields = format!("Content-Type: {SPROV}\r\nBcast-Ext: naf-id=\"bsm.home1.net\";btid=\"{btid}\"\r\n");
    let bytes = request("MESSAGE", "sip:bsm.home1.net", "sip:u2@home1.net", &fields, b"<ServiceRequest/>");
    assert_eq!(user.line.ask(&bytes).status(), 403);
    assert!(bsm.is_quiet());
    server.is_well(150);
}

#[test]
fn the_ims_that_is_none() {
    let server = Server::start(
        1,
        "roles = [\"bsm\"]\n",
        "[bsm]\nnaf = \"bsm.home1.net\"\nims = \"udp:127.0.0.3:5999\"\nlisten = [\"udp:127.0.0.1:0\", \"tcp:127.0.0.1:0\"]\n",
        &[],
    );
    let impostor = Stranger::at([127, 0, 0, 2], server.udp);
    let key = "<mbmsAuthorizedSecurityRegister xmlns=\"urn:3GPP:metadata:2005:MBMS:nafKeyInfo\">\
               <muk>AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=</muk><mukLifeTime>2099-01-01T00:00:00Z</mukLifeTime>\
               <btid>AAAAAAAAAAAAAAAAAAAAAA==@bsf.home1.net</btid><nafFqdn>YnNtLmhvbWUxLm5ldA==</nafFqdn>\
               </mbmsAuthorizedSecurityRegister>";
    for kind in [NAF_KEY, "application/vnd.imscript.naf-key-error+xml", SPROV] {
        let fields = format!(
            "Content-Type: {kind}\r\nP-Asserted-Identity: <sip:u1@home1.net>\r\nBcast-Ext: naf-id=\"bsm.home1.net\";\
             btid=\"AAAAAAAAAAAAAAAAAAAAAA==@bsf.home1.net\"\r\n"
        );
        let bytes = request("MESSAGE", "sip:bsm.home1.net", "sip:bsf.home1.net", &fields, key.as_bytes());
        assert_eq!(impostor.ask(&bytes).status(), 403, "{kind}");
    }
    let fields = format!(
        "Content-Type: {NAF_KEY}\r\nBcast-Ext: naf-id=\"bsm.home1.net\";key=included;btid=\"AAAAAAAAAAAAAAAAAAAAAA==@bsf.home1.net\"\r\n"
    );
    for expires in ["", "Expires: 0\r\n"] {
        let bytes =
            request("REGISTER", "sip:bsm.home1.net", "sip:u1@home1.net", &format!("{fields}{expires}"), key.as_bytes());
        assert_eq!(impostor.ask(&bytes).status(), 403);
    }
    for (method, status) in [("INVITE", 405), ("WHAT", 501), ("OPTIONS", 200)] {
        let answer = impostor.ask(&request(method, "sip:bsm.home1.net", "sip:u1@home1.net", "", b""));
        assert_eq!(answer.status(), status, "{method}");
        assert!(answer.header(HeaderName::Allow).is_some());
    }
    assert!(server.memory() < 150 && !server.log().contains("panic"));
}

/// Whether any line of `message`, whichever way lines are ended, is the one that was smuggled.
fn is_smuggled(message: &Message<'_>) -> bool {
    message.bytes().split(|octet| matches!(octet, b'\r' | b'\n')).any(|line| line.starts_with(b"Evil"))
}

#[test]
fn lines_smuggled_into_what_is_sent_on() {
    let bsm = Broadcast::open();
    let mut server = Server::start(3, "roles = [\"scscf\", \"bsf\", \"hss\"]\n", &bsm.table(), &[]);
    for end in ["\r", "\n", "\r\n ", "\n\t", "\r\r\n ", "\0", "%0d%0a", "\\\r\n ", "\u{b}", "\u{85}", "\u{2028}"] {
        let evil = format!("{end}Evil: x");
        for fields in [
            format!("{PORTION}Contact: <sip:card@127.0.0.9>;x=\"a{evil}\"\r\n"),
            format!("{PORTION}Contact: <sip:card{evil}@127.0.0.9>\r\n"),
            format!("{PORTION}Contact: \"a{evil}\" <sip:card@127.0.0.9>;+sip.instance=\"<urn:{evil}>\"\r\n"),
            format!("Bcast-Ext: profile=\"1.0{evil}\";naf-id=\"bsm.home1.net\"\r\n"),
            format!("Bcast-Ext: naf-id=\"bsm.home1.net{evil}\"\r\n"),
            format!("Bcast-Ext: naf-id=\"bsm.home1.net\";btid=\"AAAAAAAAAAAAAAAAAAAAAA==@bsf{evil}\"\r\n"),
            format!("Require: bcast_ext_scard=\"bsm.home1.net{evil}\"\r\n"),
            format!("{PORTION}Path: <sip:p{evil}@home1.net>\r\nSupported: path\r\n"),
            format!("{PORTION}P-Access-Network-Info: 3GPP{evil}\r\nP-Visited-Network-ID: \"a{evil}\"\r\n"),
            format!("{PORTION}Require: no-such{evil}\r\n"),
        ] {
            let card = User::new(server.udp, "card");
            let authorization = card.authorization();
            card.line.send(&register("card", &format!("Authorization: {authorization}\r\n{fields}")));
            let (answer, forwarded) = served(&card, &bsm);
            assert!(!is_smuggled(&answer), "{fields:?}: {}", shown(answer.bytes()));
            for request in &forwarded {
                assert!(!is_smuggled(request), "{fields:?}: {}", shown(request.bytes()));
                assert_eq!(request.check(), Ok(()), "{fields:?}: {}", shown(request.bytes()));
            }
        }
        // In what only comes back.
        let card = User::new(server.udp, "card");
        for (from, to) in [
            ("username=\"card@", format!("username=\"card{evil}@")),
            ("cnonce=\"c0ffee", format!("cnonce=\"c0ffee{evil}")),
            ("nonce=\"", format!("nonce=\"{evil}")),
        ] {
            let authorization = card.authorization().replacen(from, &to, 1);
            let answer = card.line.ask(&register("card", &format!("Authorization: {authorization}\r\n")));
            assert!(!is_smuggled(&answer), "{to:?}: {}", shown(answer.bytes()));
        }
        while bsm.take(Duration::from_millis(1)).is_some() {}
    }
    server.is_well(150);
}

#[test]
fn a_naf_of_the_attackers() {
    let bsm = Broadcast::open();
    let mut server = Server::start(3, "roles = [\"scscf\", \"bsf\", \"hss\"]\n", &bsm.table(), &[]);
    let host = own_address();
    let attacker = UdpSocket::bind((host, 5060)).unwrap();
    attacker.set_read_timeout(Some(Duration::from_millis(200))).unwrap();
    let listener = TcpListener::bind((host, 5060)).unwrap();
    listener.set_nonblocking(true).unwrap();
    for naf in [
        host.to_string(),
        "evil.example".to_owned(),
        "bsm.home1.net.evil.example".to_owned(),
        format!("bsm.home1.net@{host}"),
        format!("{host}:5060"),
        "localhost".to_owned(),
    ] {
        let (_, answer, forwarded) = card_registers(&server, &bsm, &format!("Bcast-Ext: naf-id=\"{naf}\"\r\n"));
        assert!(matches!(answer.status(), 200 | 400), "{naf}: {}", answer.status());
        let told = forwarded.map(|m| shown(m.bytes())).unwrap_or_default();
        assert!(!told.contains("muk") && !told.contains("multipart"), "{naf}: {told}");
    }
    // Nor does a Contact, a Path or a Route draw anything.
    let aside =
        format!("Path: <sip:{host};lr>\r\nRoute: <sip:{host};lr>\r\nSupported: path\r\nContact: <sip:card@{host}>\r\n");
    let (_, answer, _) = card_registers(&server, &bsm, &format!("{PORTION}{aside}"));
    assert_eq!(answer.status(), 200);
    assert!(attacker.recv(&mut [0; 1]).is_err() && listener.accept().is_err(), "something went to the attacker's host");
    for long in [255, 256, 300, 4000] {
        let (_, answer, _) = card_registers(&server, &bsm, &format!("Bcast-Ext: naf-id=\"{}\"\r\n", "a".repeat(long)));
        assert!(matches!(answer.status(), 200 | 400), "{long}");
        let profile = format!("Bcast-Ext: profile=\"{}\";naf-id=\"bsm.home1.net\"\r\n", "1".repeat(long));
        let (_, answer, _) = card_registers(&server, &bsm, &profile);
        assert_eq!(answer.status(), if long > 255 { 400 } else { 200 }, "{long}");
    }
    server.is_well(150);
}

#[test]
fn xml_that_explodes() {
    let mut server = Server::plain();
    let laughs: String =
        (1..12).map(|n| format!("<!ENTITY l{n} \"{}\">", format!("&l{};", n - 1).repeat(10))).collect();
    let deep = format!("{}</a>", "<a>".repeat(15_000));
    let wide = format!("<ServiceRequest>{}</ServiceRequest>", "<PurchaseItem globalIDRef=\"x\"/>".repeat(1_500));
    for xml in [
        format!("<!DOCTYPE a [<!ENTITY l0 \"ha\">{laughs}]><ServiceRequest>&l11;</ServiceRequest>"),
        "<!DOCTYPE a SYSTEM \"file:///etc/passwd\"><ServiceRequest/>".to_owned(),
        "<!DOCTYPE a [<!ENTITY x SYSTEM \"http://127.0.0.2/x\">]><ServiceRequest requestID=\"&x;\"/>".to_owned(),
        format!("<ServiceRequest requestID=\"{}\"/>", "&#65;".repeat(9_000)),
        format!("<ServiceRequest {}/>", (0..3_000).map(|n| format!("a{n}='' ")).collect::<String>()),
        deep,
        wide,
        "<ServiceRequest".to_owned(),
        "\u{feff}<ServiceRequest/>".to_owned(),
    ] {
        let card = User::new(server.udp, "card");
        let fields = format!(
            "Authorization: {}\r\n{PORTION}Content-Type: {SPROV}\r\nContact: <sip:card@127.0.0.9>\r\n",
            card.authorization()
        );
        let bytes = request("REGISTER", "sip:home1.net", "sip:card@home1.net", &fields, xml.as_bytes());
        let answer = card.line.ask(&bytes);
        assert_eq!(answer.status(), 200, "the IMS registration does not hang on it: {}", &xml[..30]);
        assert!(!String::from_utf8_lossy(answer.bytes()).contains("root:"));
    }
    server.is_well(150);
}
