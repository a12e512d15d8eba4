//! A terminal that can also misbehave: it writes its requests as text, with the real card inside.

use crate::network::*;
use imscript::aka::sqn::Sqn;
use imscript::auth::digest::{Algorithm, Digest, Password, Qop, QopKind};
use imscript::auth::nonce;
use imscript::sip::transaction::{Source, Transport};
use imscript::sip::{HeaderName, Message};
use imscript::terminal::usim::{Failure, SqnArray, Usim};

pub(crate) struct Phone {
    pub(crate) impi: String,
    pub(crate) impu: String,
    pub(crate) contact: String,
    pub(crate) call_id: String,
    pub(crate) cseq: u32,
    pub(crate) source: Source,
    pub(crate) card: Usim,
    /// In every REGISTER.
    pub(crate) headers: Vec<String>,
}

pub(crate) type Body<'a> = Option<(&'a str, &'a [u8])>;

impl Phone {
    pub(crate) fn new(name: &str) -> Self {
        Phone {
            impi: format!("{name}@home1.net"),
            impu: format!("sip:{name}@home1.net"),
            contact: format!("<sip:{name}@127.0.0.1:40000>"),
            call_id: format!("{name}-1"),
            cseq: 0,
            source: source(Transport::Udp, "127.0.0.1:40000"),
            card: Usim::new(keys(), SqnArray::fresh()),
            headers: Vec::new(),
        }
    }

    pub(crate) fn alice() -> Self {
        Self::new("alice")
    }

    /// With the extension for the one broadcast server.
    pub(crate) fn for_broadcast() -> Self {
        let mut phone = Self::alice();
        phone.headers.push(format!("Bcast-Ext: naf-id=\"{NAF}\""));
        phone
    }

    pub(crate) fn write(&mut self, more: &[&str], authorization: &str, body: Body<'_>) -> Vec<u8> {
        self.cseq += 1;
        let mut out = format!(
            "REGISTER sip:home1.net SIP/2.0\r\nVia: SIP/2.0/UDP 127.0.0.1:40000;branch=z9hG4bK{}{}\r\n\
             Max-Forwards: 70\r\nFrom: <{impu}>;tag=1\r\nTo: <{impu}>\r\nCall-ID: {}\r\nCSeq: {} REGISTER\r\n",
            self.call_id,
            self.cseq,
            self.call_id,
            self.cseq,
            impu = self.impu
        );
        if !more.iter().any(|line| line.starts_with("Contact") || line.is_empty()) {
            out.push_str(&format!("Contact: {}\r\n", self.contact));
        }
        let more = more.iter().filter(|line| !line.is_empty()).map(|line| line.to_string());
        for line in more.chain(self.headers.iter().cloned()).chain([authorization.to_string()]) {
            if !line.is_empty() {
                out.push_str(&line);
                out.push_str("\r\n");
            }
        }
        let (kind, octets) = body.unwrap_or_default();
        if !kind.is_empty() {
            out.push_str(&format!("Content-Type: {kind}\r\n"));
        }
        out.push_str(&format!("Content-Length: {}\r\n\r\n", octets.len()));
        [out.as_bytes(), octets].concat()
    }

    pub(crate) fn empty_authorization(&self) -> String {
        format!(
            "Authorization: Digest username=\"{}\", realm=\"{REALM}\", nonce=\"\", uri=\"sip:{REALM}\", response=\"\"",
            self.impi
        )
    }

    /// The first REGISTER, without an answer to a challenge.
    pub(crate) fn first(&mut self, network: &Network, more: &[&str], body: Body<'_>) -> Message<'static> {
        let authorization = self.empty_authorization();
        let request = self.write(more, &authorization, body);
        network.send(&request, &self.source)
    }

    pub(crate) fn authorization(&mut self, challenge: &Message<'_>, body: &[u8]) -> Result<String, Failure> {
        let challenge = challenge.challenges().next().unwrap().unwrap();
        let algorithm = Algorithm::from_bytes(&challenge.get("algorithm").unwrap()).unwrap();
        let nonce = challenge.get("nonce").unwrap().into_owned();
        let password = if algorithm.is_aka() {
            let (rand, autn) = nonce::decode(&nonce).unwrap();
            let done = self.card.authenticate(&rand, &autn)?;
            Password::from_aka(algorithm, &done.res, &done.ik, &done.ck)
        } else {
            Password::new(*b"secret")
        };
        let int = challenge.get("qop").is_some_and(|qop| qop.ends_with(b"auth-int")) && !body.is_empty();
        Ok(self.digest(algorithm, &nonce, &password, if int { QopKind::AuthInt } else { QopKind::Auth }, body))
    }

    pub(crate) fn digest(
        &self,
        algorithm: Algorithm,
        nonce: &[u8],
        password: &Password,
        kind: QopKind,
        body: &[u8],
    ) -> String {
        let digest = Digest {
            algorithm,
            username: self.impi.as_bytes(),
            realm: REALM.as_bytes(),
            method: b"REGISTER",
            uri: b"sip:home1.net",
            nonce,
            qop: Some(Qop { kind, nc: b"00000001", cnonce: b"abcd", body }),
        };
        format!(
            "Authorization: Digest username=\"{}\",realm=\"{REALM}\",nonce=\"{}\",uri=\"sip:home1.net\",algorithm={},\
             qop={},nc=00000001,cnonce=\"abcd\",response=\"{}\"",
            self.impi,
            String::from_utf8_lossy(nonce),
            algorithm.as_str(),
            kind.as_str(),
            digest.response(password)
        )
    }

    /// The REGISTER that answers a 401.
    pub(crate) fn second(&mut self, challenge: &Message<'_>, more: &[&str], body: Body<'_>) -> Vec<u8> {
        assert_eq!(challenge.status(), 401, "{}", String::from_utf8_lossy(challenge.bytes()));
        let authorization = self.authorization(challenge, body.unwrap_or_default().1).unwrap();
        self.write(more, &authorization, body)
    }

    /// Both steps; `body` goes with the first only, as the patent prints it.
    pub(crate) fn register_with(&mut self, network: &Network, more: &[&str], body: Body<'_>) -> Message<'static> {
        let challenge = self.first(network, more, body);
        if challenge.status() != 401 {
            return challenge;
        }
        let second = self.second(&challenge, more, None);
        network.send(&second, &self.source)
    }

    pub(crate) fn register(&mut self, network: &Network, more: &[&str]) -> Message<'static> {
        self.register_with(network, more, None)
    }

    pub(crate) fn auts(&mut self, challenge: &Message<'_>) -> String {
        let challenge = challenge.challenges().next().unwrap().unwrap();
        let nonce = challenge.get("nonce").unwrap().into_owned();
        let (rand, autn) = nonce::decode(&nonce).unwrap();
        let Err(Failure::SyncFailure(auts)) = self.card.authenticate(&rand, &autn) else { panic!("in sync") };
        let line = self.digest(Algorithm::Akav1Md5, &nonce, &Password::empty(), QopKind::Auth, b"");
        format!("{line},auts=\"{}\"", nonce::encode_auts(&auts))
    }

    /// A card that has seen more than the network knows of.
    pub(crate) fn ahead(mut self, seq: u64) -> Self {
        self.card = Usim::new(keys(), SqnArray::at(Sqn::from_parts(seq, 0).unwrap()));
        self
    }
}

pub(crate) fn contacts(response: &Message<'_>) -> Vec<String> {
    response.headers(HeaderName::Contact).map(|v| String::from_utf8(v.to_vec()).unwrap()).collect()
}
