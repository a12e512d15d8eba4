//! A 401 read by the terminal: which challenge to take, what its AKA nonce holds (RFC 3310 §3.2), and the
//! Authorization line that answers it (RFC 7616 §3.4, TS 24.229 §5.1.1.5). Used for SIP and for HTTP alike.

use super::TerminalError;
use crate::aka::vector::{Autn, Auts, Rand};
use crate::auth::digest::{Algorithm, Digest, Password, Qop, QopKind};
use crate::auth::nonce;
use crate::sip::AuthParams;

/// What kind of secret the terminal has, hence which challenges it can answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SecretKind {
    Card,
    Password,
}

/// A challenge that this terminal answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Challenge {
    pub algorithm: Algorithm,
    /// The server named the algorithm, so the answer does too.
    named: bool,
    pub realm: Vec<u8>,
    pub nonce: Vec<u8>,
    opaque: Option<Vec<u8>>,
    auth: bool,
    auth_int: bool,
    pub stale: bool,
}

impl Challenge {
    /// The first one that can be answered: servers list what they prefer first (RFC 8760 §2).
    pub fn choose<'a, E>(
        offered: impl Iterator<Item = Result<AuthParams<'a>, E>>,
        secret: SecretKind,
    ) -> Result<Challenge, TerminalError> {
        let mut seen = Vec::new();
        for params in offered.flatten() {
            let name = params.get("algorithm");
            let algorithm = match &name {
                None => Some(Algorithm::Md5),
                Some(token) => Algorithm::from_bytes(token),
            };
            if let (true, Some(algorithm)) = (params.is_digest(), algorithm)
                && algorithm.is_aka() == (secret == SecretKind::Card)
                && let Some(challenge) = Challenge::read(&params, algorithm, name.is_some())
            {
                return Ok(challenge);
            }
            let shown = name.as_deref().unwrap_or(params.scheme);
            seen.push(String::from_utf8_lossy(shown).chars().filter(|c| !c.is_control()).take(40).collect::<String>());
        }
        let offered = if seen.is_empty() { "none".to_owned() } else { seen.join(", ") };
        Err(TerminalError::NoUsableChallenge { offered })
    }

    /// None when a parameter that must be there is missing, or when only unknown protections are offered.
    fn read(params: &AuthParams<'_>, algorithm: Algorithm, named: bool) -> Option<Challenge> {
        let qop = params.get("qop");
        let offers = |kind: &str| {
            qop.as_deref().is_some_and(|list| {
                list.split(|&octet| octet == b',').any(|one| one.trim_ascii().eq_ignore_ascii_case(kind.as_bytes()))
            })
        };
        let (auth, auth_int) = (offers("auth"), offers("auth-int"));
        if qop.is_some() && !auth && !auth_int {
            return None;
        }
        Some(Challenge {
            algorithm,
            named,
            realm: params.get("realm")?.into_owned(),
            nonce: params.get("nonce")?.into_owned(),
            opaque: params.get("opaque").map(|value| value.into_owned()),
            auth,
            auth_int,
            stale: params.get("stale").is_some_and(|value| value.eq_ignore_ascii_case(b"true")),
        })
    }

    /// RAND and AUTN of an AKA nonce; server data behind them is not ours to read.
    pub fn rand_autn(&self) -> Result<(Rand, Autn), TerminalError> {
        nonce::decode(&self.nonce).map_err(|why| TerminalError::BadChallenge(why.to_string()))
    }

    /// The protection to answer with: auth-int where there is something to protect, else auth, else none (RFC 2069 form).
    pub fn protection(&self, worth_protecting: bool) -> Option<QopKind> {
        match (self.auth, self.auth_int) {
            (_, true) if worth_protecting => Some(QopKind::AuthInt),
            (true, _) => Some(QopKind::Auth),
            (false, true) => Some(QopKind::AuthInt),
            (false, false) => None,
        }
    }
}

/// The request that an answer goes with.
#[derive(Debug, Clone, Copy)]
pub struct Protected<'a> {
    pub username: &'a str,
    pub method: &'a str,
    /// The digest-uri: the Request-URI, or the path of an HTTP request.
    pub uri: &'a str,
    pub body: &'a [u8],
}

/// An Authorization value, and what is needed to check the server's `rspauth` later.
#[derive(Debug, Clone)]
pub struct Answered {
    pub authorization: Vec<u8>,
    challenge: Challenge,
    username: String,
    uri: String,
    cnonce: String,
    qop: Option<QopKind>,
}

const NC: &str = "00000001";

/// Answers `challenge`; `auts` goes along on a synchronisation failure, whose password is empty (RFC 3310 §3.4).
pub fn answer(
    challenge: &Challenge,
    request: Protected<'_>,
    password: &Password,
    qop: Option<QopKind>,
    cnonce: String,
    auts: Option<&Auts>,
) -> Answered {
    let digest = Digest {
        algorithm: challenge.algorithm,
        username: request.username.as_bytes(),
        realm: &challenge.realm,
        method: request.method.as_bytes(),
        uri: request.uri.as_bytes(),
        nonce: &challenge.nonce,
        qop: qop.map(|kind| Qop { kind, nc: NC.as_bytes(), cnonce: cnonce.as_bytes(), body: request.body }),
    };
    let response = digest.response(password);
    let mut line = credentials(request.username, &challenge.realm, &challenge.nonce, request.uri, &response);
    if challenge.named {
        line.extend_from_slice(b", algorithm=");
        line.extend_from_slice(challenge.algorithm.as_str().as_bytes());
    }
    if let Some(kind) = qop {
        line.extend_from_slice(format!(", qop={}, nc={NC}, cnonce=\"{cnonce}\"", kind.as_str()).as_bytes());
    }
    if let Some(opaque) = &challenge.opaque {
        quoted(&mut line, ", opaque=", opaque);
    }
    if let Some(auts) = auts {
        quoted(&mut line, ", auts=", nonce::encode_auts(auts).as_bytes());
    }
    Answered {
        authorization: line,
        challenge: challenge.clone(),
        username: request.username.to_owned(),
        uri: request.uri.to_owned(),
        cnonce,
        qop,
    }
}

impl Answered {
    pub fn algorithm(&self) -> Algorithm {
        self.challenge.algorithm
    }

    /// Checks the `rspauth` of Authentication-Info, if the server sent one (RFC 7616 §3.5).
    pub fn check_rspauth(&self, info: Option<&[u8]>, password: &Password, body: &[u8]) -> Result<(), TerminalError> {
        let Some(info) = info else { return Ok(()) };
        // Authentication-Info has no scheme in front of its parameters.
        let line = [b"Digest ", info].concat();
        let Ok(params) = AuthParams::parse(&line) else { return Ok(()) };
        let Some(rspauth) = params.get("rspauth") else { return Ok(()) };
        // The server may protect its answer in another way than we did our request.
        let kind =
            params.get("qop").and_then(|kind| QopKind::from_bytes(&kind)).or(self.qop).filter(|_| self.qop.is_some());
        let expected = Digest {
            algorithm: self.challenge.algorithm,
            username: self.username.as_bytes(),
            realm: &self.challenge.realm,
            method: b"",
            uri: self.uri.as_bytes(),
            nonce: &self.challenge.nonce,
            qop: kind.map(|kind| Qop { kind, nc: NC.as_bytes(), cnonce: self.cnonce.as_bytes(), body }),
        };
        if expected.verify(password, &rspauth) { Ok(()) } else { Err(TerminalError::ServerNotAuthentic) }
    }
}

/// The Authorization value of a REGISTER that answers nothing yet (TS 24.229 §5.1.1.2), or that answers a challenge with
/// an empty response because the network's MAC was wrong (§5.1.1.5.3).
pub fn unanswered(username: &str, realm: &[u8], nonce: &[u8], uri: &str) -> Vec<u8> {
    credentials(username, realm, nonce, uri, "")
}

fn credentials(username: &str, realm: &[u8], nonce: &[u8], uri: &str, response: &str) -> Vec<u8> {
    let mut line = Vec::with_capacity(256);
    quoted(&mut line, "Digest username=", username.as_bytes());
    quoted(&mut line, ", realm=", realm);
    quoted(&mut line, ", nonce=", nonce);
    quoted(&mut line, ", uri=", uri.as_bytes());
    quoted(&mut line, ", response=", response.as_bytes());
    line
}

/// A quoted-string; line ends cannot be part of one and become blanks.
fn quoted(line: &mut Vec<u8>, name: &str, value: &[u8]) {
    line.extend_from_slice(name.as_bytes());
    line.push(b'"');
    for &octet in value {
        match octet {
            b'"' | b'\\' => line.extend_from_slice(&[b'\\', octet]),
            b'\r' | b'\n' => line.push(b' '),
            _ => line.push(octet),
        }
    }
    line.push(b'"');
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::aka::vector::{Key128, Res};

    /// sip-digest-aka worked example: RES holds a colon and a zero octet.
    const NONCE: &str = "9WxYnVp20S09JWes6AKHikna7meuGQAAgv2w6acx9OU=";
    const USER: &str = "001010000000001@ims.mnc001.mcc001.3gppnetwork.org";
    const URI: &str = "sip:ims.mnc001.mcc001.3gppnetwork.org";

    fn choose(lines: &[&str], secret: SecretKind) -> Result<Challenge, TerminalError> {
        Challenge::choose(lines.iter().map(|line| AuthParams::parse(line.as_bytes())), secret)
    }

    #[test]
    fn the_first_challenge_that_can_be_answered() {
        let lines = [
            "Digest realm=\"r\", nonce=\"1\", algorithm=SHA-512-256",
            "Digest realm=\"r\", nonce=\"2\", algorithm=akav2-sha-256, qop=\"auth-conf\"",
            "Digest realm=\"r\", nonce=\"3\", algorithm=\"AKAv1-MD5\", qop=\"auth , auth-int\"",
            "Digest realm=\"r\", nonce=\"4\", algorithm=AKAv2-MD5",
            "Digest realm=\"r\", nonce=\"5\", stale=TRUE",
        ];
        let card = choose(&lines, SecretKind::Card).unwrap();
        assert_eq!((card.algorithm, card.nonce.as_slice()), (Algorithm::Akav1Md5, &b"3"[..]));
        assert_eq!(card.protection(true), Some(QopKind::AuthInt));
        assert_eq!(card.protection(false), Some(QopKind::Auth));
        let password = choose(&lines, SecretKind::Password).unwrap();
        assert_eq!((password.algorithm, password.nonce.as_slice()), (Algorithm::Md5, &b"5"[..]));
        assert!(password.stale && password.protection(true).is_none());
        let none = choose(&lines[..2], SecretKind::Card).unwrap_err();
        assert_eq!(none, TerminalError::NoUsableChallenge { offered: "SHA-512-256, akav2-sha-256".to_owned() });
    }

    #[test]
    fn worked_example_of_akav1() {
        let line = format!("Digest realm=\"{}\", nonce=\"{NONCE}\", algorithm=AKAv1-MD5, qop=\"auth\"", &URI[4..]);
        let challenge = choose(&[&line], SecretKind::Card).unwrap();
        let (rand, autn) = challenge.rand_autn().unwrap();
        assert_eq!((rand.0[0], autn.0[15]), (0xf5, 0xe5));
        let res = Res::new(&[0x3a, 0x47, 0xd7, 0x00, 0xf7, 0x84, 0x24, 0x5b]);
        let password = Password::from_aka(challenge.algorithm, &res, &Key128([0; 16]), &Key128([0; 16]));
        let request = Protected { username: USER, method: "REGISTER", uri: URI, body: b"" };
        let answered = answer(&challenge, request, &password, Some(QopKind::Auth), "0a4f113b".to_owned(), None);
        let line = String::from_utf8(answered.authorization.clone()).unwrap();
        let params = AuthParams::parse(line.as_bytes()).unwrap();
        assert_eq!(params.get("response").as_deref(), Some(&b"2fd1b866413f75b414f1f4e4a321ab54"[..]));
        assert!(line.ends_with(", algorithm=AKAv1-MD5, qop=auth, nc=00000001, cnonce=\"0a4f113b\""), "{line}");
        assert_eq!(
            answered.check_rspauth(Some(b"qop=auth, rspauth=\"00\""), &password, b""),
            Err(TerminalError::ServerNotAuthentic)
        );
        assert_eq!(answered.check_rspauth(Some(b"nextnonce=\"a\""), &password, b""), Ok(()));
    }

    #[test]
    fn a_realm_cannot_break_out_of_its_quotes() {
        let line = String::from_utf8(unanswered("u", b"a\"b\\c\r\nX: y", b"", "sip:d")).unwrap();
        assert!(line.contains("realm=\"a\\\"b\\\\c  X: y\""), "{line}");
    }

    #[test]
    fn broken_nonces_are_refused() {
        for nonce in ["", "!!!!", "AAAA"] {
            let line = format!("Digest realm=\"r\", nonce=\"{nonce}\", algorithm=AKAv1-MD5");
            assert!(matches!(
                choose(&[&line], SecretKind::Card).unwrap().rand_autn(),
                Err(TerminalError::BadChallenge(_))
            ));
        }
    }
}
