//! A terminal made by hand: REGISTERs over one UDP socket, each as the test wants it, every octet received kept.

use imscript::aka::{Key128, KeySet};
use imscript::auth::digest::{Password, QopKind};
use imscript::cli::network::{Card, DOMAIN};
use imscript::gba::kdf::{Ks, ks_naf};
use imscript::gba::naf_id::NafId;
use imscript::sip::Message;
use imscript::terminal::challenge::{self, Challenge, Protected, SecretKind};
use imscript::terminal::usim::{Failure, SqnArray, Usim};
use std::net::{SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

/// Nothing takes that long, but the machine may be busy.
const PATIENCE: Duration = Duration::from_secs(60);

pub struct Hand {
    pub card: Card,
    pub usim: Usim,
    pub ims: SocketAddr,
    socket: UdpSocket,
    call_id: String,
    cseq: u32,
    last: Vec<u8>,
    /// All that came from the network, one after the other.
    pub heard: Vec<u8>,
    /// Ks_NAF of the last run towards the broadcast server.
    pub ks_naf: Option<[u8; 32]>,
}

impl Hand {
    pub fn new(card: &Card, ims: SocketAddr) -> Hand {
        let keys = KeySet::Milenage { k: key(&card.k), opc: key(&card.opc) };
        let socket = UdpSocket::bind((ims.ip(), 0)).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        // The system gives a port again that was let go; a Call-ID is never used twice.
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let call_id = format!("hand-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        Hand {
            card: card.clone(),
            usim: Usim::new(keys, SqnArray::fresh()),
            ims,
            socket,
            call_id,
            cseq: 0,
            last: Vec::new(),
            heard: Vec::new(),
            ks_naf: None,
        }
    }

    /// Its contact URI.
    pub fn contact(&self) -> String {
        format!("sip:hand@{}", self.socket.local_addr().unwrap())
    }

    /// Sends a REGISTER with these further header lines (each ended by CRLF) and body; its final answer.
    pub fn register(&mut self, authorization: &str, more: &str, body: &[u8]) -> Message<'static> {
        self.send(authorization, more, body);
        self.receive()
    }

    pub fn send(&mut self, authorization: &str, more: &str, body: &[u8]) {
        let contact = format!("Contact: <{}>\r\n", self.contact());
        self.send_with(&contact, authorization, more, body);
    }

    /// The same with these in place of its Contact line.
    pub fn send_with(&mut self, contact: &str, authorization: &str, more: &str, body: &[u8]) {
        self.cseq += 1;
        let local = self.socket.local_addr().unwrap();
        let Card { impu, .. } = &self.card;
        let (call_id, cseq) = (&self.call_id, self.cseq);
        let expires = if more.contains("Expires:") { "" } else { "Expires: 600\r\n" };
        let head = format!(
            "REGISTER sip:{DOMAIN} SIP/2.0\r\nVia: SIP/2.0/UDP {local};branch=z9hG4bK{call_id}{cseq};rport\r\n\
             Max-Forwards: 70\r\nFrom: <{impu}>;tag=hand\r\nTo: <{impu}>\r\nCall-ID: {call_id}\r\n\
             CSeq: {cseq} REGISTER\r\n{contact}{expires}Authorization: {authorization}\r\n{more}\
             Content-Length: {}\r\n\r\n",
            body.len()
        );
        self.last = [head.as_bytes(), body].concat();
        self.repeat();
    }

    /// Sends the last request again.
    pub fn repeat(&self) {
        self.socket.send_to(&self.last, self.ims).unwrap();
    }

    pub fn receive(&mut self) -> Message<'static> {
        let mut buffer = vec![0; 65536];
        let (length, _) = self.socket.recv_from(&mut buffer).expect("an answer within a minute");
        self.heard.extend_from_slice(&buffer[..length]);
        Message::parse_owned(buffer[..length].to_vec()).unwrap()
    }

    /// Sends a REGISTER, again and again as RFC 3261 §17.1.2.2 has it; its final answer, or None after `turns` in vain.
    pub fn insist(&mut self, authorization: &str, more: &str, turns: u32) -> Option<Message<'static>> {
        self.send(authorization, more, b"");
        self.await_answer(turns)
    }

    /// The final answer to what was sent last, which is sent again meanwhile.
    pub fn await_answer(&mut self, turns: u32) -> Option<Message<'static>> {
        let branch = self.cseq;
        let mut pause = Duration::from_millis(500);
        let mut buffer = vec![0; 65536];
        for _ in 0..turns {
            self.socket.set_read_timeout(Some(pause)).unwrap();
            while let Ok((length, _)) = self.socket.recv_from(&mut buffer) {
                let answer = Message::parse_owned(buffer[..length].to_vec()).unwrap();
                if answer.cseq().is_ok_and(|cseq| cseq.number == branch) {
                    return Some(answer);
                }
            }
            self.repeat();
            pause = (pause * 2).min(Duration::from_secs(4));
        }
        None
    }

    pub fn unanswered(&self) -> String {
        let none = challenge::unanswered(&self.card.impi, DOMAIN.as_bytes(), b"", &format!("sip:{DOMAIN}"));
        String::from_utf8(none).unwrap()
    }

    /// What a trusted P-CSCF says of a request that came over its security association (TS 24.229 §5.2.2).
    pub fn vouched(&self) -> String {
        format!("{}, integrity-protected=\"yes\"", self.unanswered())
    }

    pub fn challenge(response: &Message<'_>) -> Challenge {
        assert_eq!(response.status(), 401);
        Challenge::choose(response.challenges(), SecretKind::Card).unwrap()
    }

    /// The credentials with which the card answers a challenge.
    pub fn answer(&mut self, challenge: &Challenge) -> String {
        let (rand, autn) = challenge.rand_autn().unwrap();
        match self.usim.authenticate(&rand, &autn) {
            Ok(run) => {
                let naf = NafId::parse(imscript::cli::network::NAF).unwrap();
                self.ks_naf = Some(ks_naf(&Ks::new(&run.ck, &run.ik), &rand, &self.card.impi, &naf).0);
                let password = Password::from_aka(challenge.algorithm, &run.res, &run.ik, &run.ck);
                self.credentials(challenge, &password, None)
            }
            Err(Failure::SyncFailure(auts)) => self.credentials(challenge, &Password::empty(), Some(&auts)),
            Err(failure) => panic!("{failure}"),
        }
    }

    pub fn credentials(
        &self,
        challenge: &Challenge,
        password: &Password,
        auts: Option<&imscript::aka::Auts>,
    ) -> String {
        let uri = format!("sip:{DOMAIN}");
        let request = Protected { username: &self.card.impi, method: "REGISTER", uri: &uri, body: b"" };
        let qop = Some(QopKind::Auth);
        let answered = challenge::answer(challenge, request, password, qop, "0a4f113b".into(), auts);
        String::from_utf8(answered.authorization).unwrap()
    }

    /// Both REGISTERs, the second as the patent prints it; `more` goes with the first.
    pub fn run(&mut self, more: &str) -> Message<'static> {
        let first = self.register(&self.unanswered(), more, b"");
        let challenge = Hand::challenge(&first);
        let answer = self.answer(&challenge);
        self.register(&answer, "", b"")
    }
}

pub const NAMES_NAF: &str = "Bcast-Ext: profile=\"1.0\";naf-id=\"bsm.home1.net\";ua-id=0100000001\r\n";

fn key(text: &str) -> Key128 {
    let octet = |at: usize| u8::from_str_radix(&text[2 * at..2 * at + 2], 16).unwrap();
    Key128(std::array::from_fn(octet))
}
