//! A registrar of a few lines: challenges with Milenage vectors, checks digests, and misbehaves when told to.

use imscript::aka::resync;
use imscript::aka::sqn::Sqn;
use imscript::aka::vector::{AkaVector, Amf, Rand};
use imscript::aka::{Algorithm as Card, KeySet};
use imscript::auth::digest::{Algorithm, Digest, Password, Qop, QopKind};
use imscript::auth::nonce;
use imscript::cli::network::free_address;
use imscript::gba::btid::Btid;
use imscript::gba::kdf::{self, Ks};
use imscript::gba::naf_id::NafId;
use imscript::sip::{Contacts, HeaderName, Message, RequestWriter, ResponseWriter, frame, print};
use std::collections::HashMap;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, UdpSocket};
use std::sync::{Arc, Mutex};

pub(crate) const K: &str = "465b5ce8b199b49faa5f0a2ee238a6bc";
pub(crate) const OPC: &str = "cd63cb71954a9f4e48a5994e37a02baf";
pub(crate) const IMPI: &str = "alice_private@home1.net";

pub(crate) struct Registrar {
    pub(crate) keys: KeySet,
    pub(crate) password: Option<Password>,
    pub(crate) algorithm: Algorithm,
    pub(crate) qop: Option<&'static str>,
    /// SQN of the next vector; 32 more after each.
    pub(crate) sqn: u64,
    pub(crate) least_expires: u32,
    /// What the 200 says of the broadcast registration.
    pub(crate) broadcast: Option<&'static str>,
    /// Leave this many requests without an answer.
    pub(crate) deaf: usize,
    /// The first good response is called stale.
    pub(crate) stale_once: bool,
    /// Challenges that come before ours and that no terminal can answer.
    pub(crate) decoys: Vec<&'static str>,
    pub(crate) naf: Option<NafId>,
    pub(crate) ks_naf: Option<String>,
    /// Every request, as it came.
    pub(crate) log: Vec<Vec<u8>>,
    /// The next vector is as stale as the last, whatever the card said.
    pub(crate) ignores_auts: bool,
    /// `auts` arrived and was right.
    pub(crate) resynchronised: bool,
    /// By user name.
    pub(crate) outstanding: HashMap<Vec<u8>, (String, Option<AkaVector>)>,
    /// Keys of further subscribers.
    pub(crate) subscribers: HashMap<Vec<u8>, KeySet>,
    pub(crate) issued: u8,
}

impl Registrar {
    pub(crate) fn new() -> Registrar {
        Registrar {
            keys: KeySet::from_opc(Card::Milenage, &unhex(K), &unhex(OPC)).unwrap(),
            password: None,
            algorithm: Algorithm::Akav1Md5,
            qop: Some("auth,auth-int"),
            sqn: 0x20,
            least_expires: 0,
            broadcast: None,
            deaf: 0,
            stale_once: false,
            decoys: Vec::new(),
            naf: None,
            ks_naf: None,
            log: Vec::new(),
            ignores_auts: false,
            resynchronised: false,
            outstanding: HashMap::new(),
            subscribers: HashMap::new(),
            issued: 0,
        }
    }

    pub(crate) fn request(&self, index: usize) -> Message<'static> {
        Message::parse_owned(self.log[index].clone()).unwrap()
    }

    /// The answer, and a request of our own that follows it.
    fn answer(&mut self, bytes: &[u8], source: SocketAddr) -> Vec<Vec<u8>> {
        let request = Message::parse(bytes).unwrap();
        if !request.is_request() {
            return Vec::new();
        }
        request.check().unwrap();
        self.log.push(bytes.to_vec());
        if self.deaf > 0 {
            self.deaf -= 1;
            return Vec::new();
        }
        let respond = |status| ResponseWriter::new(&request, status, source, "registrar").finish();
        if request.method() == b"MESSAGE" {
            return vec![respond(202), service_response(request.body(), source)];
        }
        let authorization = request.authorizations().next().unwrap().unwrap();
        let get = |name: &str| authorization.get(name).map(|value| value.into_owned()).unwrap_or_default();
        let user = get("username");
        let keys = self.subscribers.get(&user).unwrap_or(&self.keys).clone();
        if get("nonce").is_empty() {
            return vec![self.challenge(&request, &user, &keys, source, false)];
        }
        let Some((issued, vector)) =
            self.outstanding.remove(&user).filter(|(issued, _)| issued.as_bytes() == get("nonce"))
        else {
            return vec![respond(403)];
        };
        if !get("auts").is_empty() {
            let vector = vector.unwrap();
            let auts = nonce::decode_auts(&get("auts")).unwrap();
            let sqn_ms = resync::sqn_ms(&keys, &vector.rand, &auts).unwrap().value();
            self.sqn = if self.ignores_auts { 0x20 } else { sqn_ms + 32 };
            self.resynchronised = true;
            return vec![self.challenge(&request, &user, &keys, source, false)];
        }
        if get("response").is_empty() {
            return vec![respond(403)];
        }
        let password = match &vector {
            Some(vector) => Password::from_aka(self.algorithm, &vector.xres, &vector.ik, &vector.ck),
            None => self.password.clone().unwrap(),
        };
        let (nc, cnonce, kind) = (get("nc"), get("cnonce"), get("qop"));
        let digest = Digest {
            algorithm: self.algorithm,
            username: &user,
            realm: b"home1.net",
            method: b"REGISTER",
            uri: b"sip:home1.net",
            nonce: issued.as_bytes(),
            qop: QopKind::from_bytes(&kind).map(|kind| Qop { kind, nc: &nc, cnonce: &cnonce, body: request.body() }),
        };
        assert_eq!(self.qop.is_some(), digest.qop.is_some(), "qop is used when it is offered");
        if !digest.verify(&password, &get("response")) {
            return vec![respond(403)];
        }
        if std::mem::take(&mut self.stale_once) {
            return vec![self.challenge(&request, &user, &keys, source, true)];
        }
        if request.expires().is_some_and(|expires| expires > 0 && expires < self.least_expires) {
            let mut answer = ResponseWriter::new(&request, 423, source, "registrar");
            answer.header(HeaderName::MinExpires, self.least_expires.to_string());
            return vec![answer.finish()];
        }
        vec![self.ok(&request, source, vector.as_ref(), &digest, &password)]
    }

    fn challenge(
        &mut self,
        request: &Message<'_>,
        user: &[u8],
        keys: &KeySet,
        source: SocketAddr,
        stale: bool,
    ) -> Vec<u8> {
        self.issued = self.issued.wrapping_add(1);
        let (nonce, vector) = if self.password.is_some() {
            (format!("nonce{}", self.issued), None)
        } else {
            let vector = keys.generate(Rand([self.issued; 16]), Sqn::new(self.sqn).unwrap(), Amf::IMS);
            self.sqn += 32;
            (nonce::encode(&vector.rand, &vector.autn), Some(vector))
        };
        let mut answer = ResponseWriter::new(request, 401, source, "registrar");
        for decoy in &self.decoys {
            answer.header(HeaderName::WwwAuthenticate, decoy);
        }
        let mut value = format!("Digest realm=\"home1.net\", nonce=\"{nonce}\", algorithm={}", self.algorithm.as_str());
        if let Some(qop) = self.qop {
            value.push_str(&format!(", qop=\"{qop}\", opaque=\"o\""));
        }
        if stale {
            value.push_str(", stale=true");
        }
        self.outstanding.insert(user.to_vec(), (nonce, vector));
        answer.header(HeaderName::WwwAuthenticate, value);
        answer.finish()
    }

    fn ok(
        &mut self,
        request: &Message<'_>,
        source: SocketAddr,
        vector: Option<&AkaVector>,
        digest: &Digest<'_>,
        password: &Password,
    ) -> Vec<u8> {
        let mut answer = ResponseWriter::new(request, 200, source, "registrar");
        let expires = request.expires().unwrap_or_default();
        if expires > 0 || matches!(request.contacts(), Ok(Contacts::None)) {
            let contact = self.log.iter().rev().find_map(|logged| {
                let logged = Message::parse(logged).ok()?;
                if logged.from().ok()?.uri_raw != request.from().ok()?.uri_raw {
                    return None;
                }
                let value = logged.header(HeaderName::Contact)?;
                String::from_utf8_lossy(value).contains("+sip.instance").then(|| value.to_vec())
            });
            answer.header(HeaderName::Contact, contact.unwrap());
        }
        answer
            .header(HeaderName::ServiceRoute, "<sip:orig@scscf.home1.net;lr>, <sip:second.home1.net;lr>")
            .header(HeaderName::PAssociatedUri, "<sip:alice@home1.net>, <tel:+15551234>");
        if let Some(qop) = digest.qop.filter(|_| vector.is_some()) {
            let empty = Digest { qop: Some(Qop { kind: QopKind::Auth, body: b"", ..qop }), ..*digest };
            answer.header(HeaderName::AuthenticationInfo, format!("qop=auth, rspauth=\"{}\"", empty.rspauth(password)));
        }
        if let (Some(naf), Some(vector)) = (&self.naf, vector) {
            let user = std::str::from_utf8(digest.username).unwrap();
            let key = kdf::ks_naf(&Ks::new(&vector.ck, &vector.ik), &vector.rand, user, naf);
            self.ks_naf = Some(key.0.iter().map(|octet| format!("{octet:02x}")).collect());
            if let Some(state) = self.broadcast {
                let btid = Btid::new(&vector.rand, "bsf.home1.net");
                answer.header(HeaderName::BcastExt, format!("state={state};btid=\"{}\"", btid.text()));
            }
        }
        answer.finish()
    }
}

fn service_response(request: &[u8], to: SocketAddr) -> Vec<u8> {
    let text = String::from_utf8_lossy(request).into_owned();
    let id = text.split("requestID=\"").nth(1).and_then(|rest| rest.split('"').next()).unwrap();
    let mut message = RequestWriter::new("MESSAGE", &format!("sip:alice@{to}"));
    message
        .header(HeaderName::MaxForwards, "70")
        .header(HeaderName::From, "<sip:bsm.home1.net>;tag=b")
        .header(HeaderName::To, "<sip:alice@home1.net>")
        .header(HeaderName::CallId, "bsm-1")
        .header(HeaderName::CSeq, "1 MESSAGE");
    let body = format!("<ServiceResponse requestID=\"{id}\" globalStatusCode=\"000\"/>");
    let message = message.body("application/vnd.oma.bcast.sprov+xml", body.as_bytes());
    print::insert_via(&message, "SIP/2.0/UDP 127.0.0.1:5060;branch=z9hG4bKbsm1")
}

pub(crate) type Shared = Arc<Mutex<Registrar>>;

/// Serves until the test ends.
pub(crate) fn udp(registrar: Registrar) -> (String, Shared) {
    udp_at("127.0.0.1:0", registrar)
}

/// An address at which nobody else serves, by UDP or TCP.
pub(crate) fn own_address() -> String {
    free_address(Ipv4Addr::LOCALHOST.into()).unwrap().to_string()
}

pub(crate) fn udp_at(address: &str, registrar: Registrar) -> (String, Shared) {
    let socket = UdpSocket::bind(address).unwrap();
    let server = format!("udp:{}", socket.local_addr().unwrap());
    let shared = Arc::new(Mutex::new(registrar));
    let registrar = shared.clone();
    std::thread::spawn(move || {
        let mut buffer = vec![0; 65536];
        while let Ok((length, source)) = socket.recv_from(&mut buffer) {
            for message in registrar.lock().unwrap().answer(&buffer[..length], source) {
                socket.send_to(&message, source).unwrap();
            }
        }
    });
    (server, shared)
}

pub(crate) fn tcp(address: &str, shared: Shared) -> String {
    let listener = TcpListener::bind(address).unwrap();
    let server = format!("tcp:{}", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        while let Ok((stream, source)) = listener.accept() {
            serve(stream, source, &shared);
        }
    });
    server
}

pub(crate) fn tls(config: Arc<rustls::ServerConfig>, shared: Shared) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let server = format!("tls:{}", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        while let Ok((stream, source)) = listener.accept() {
            let session = rustls::ServerConnection::new(config.clone()).unwrap();
            serve(rustls::StreamOwned::new(session, stream), source, &shared);
        }
    });
    server
}

fn serve(mut stream: impl Read + Write, source: SocketAddr, shared: &Shared) {
    let mut buffer = Vec::new();
    let mut chunk = [0; 700];
    while let Ok(length @ 1..) = stream.read(&mut chunk) {
        buffer.extend_from_slice(&chunk[..length]);
        while let Ok(frame::Frame::Message { len }) = frame::next(&buffer) {
            let rest = buffer.split_off(len);
            for message in shared.lock().unwrap().answer(&std::mem::replace(&mut buffer, rest), source) {
                stream.write_all(&message).unwrap();
            }
        }
    }
}

pub(crate) fn unhex(text: &str) -> Vec<u8> {
    (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap()).collect()
}
