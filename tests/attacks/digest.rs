//! A terminal's answer to a digest challenge (RFC 7616, RFC 3310), by hand.

use imscript::auth::digest::{Algorithm, Digest, Password, Qop, QopKind};
use imscript::sip::Message;

/// The nonce of a 401.
pub(crate) fn nonce(response: &Message<'_>) -> String {
    let challenge = response.challenges().next().expect("a challenge").unwrap();
    String::from_utf8(challenge.get("nonce").unwrap().into_owned()).unwrap()
}

/// An Authorization value with qop=auth for a REGISTER to `domain`.
pub(crate) fn authorization(algorithm: Algorithm, user: &str, password: &[u8], domain: &str, nonce: &str) -> String {
    let uri = format!("sip:{domain}");
    let digest = Digest {
        algorithm,
        username: user.as_bytes(),
        realm: domain.as_bytes(),
        method: b"REGISTER",
        uri: uri.as_bytes(),
        nonce: nonce.as_bytes(),
        qop: Some(Qop { kind: QopKind::Auth, nc: b"00000001", cnonce: b"c0ffee", body: b"" }),
    };
    let response = digest.response(&Password::new(password));
    format!(
        "Digest username=\"{user}\", realm=\"{domain}\", nonce=\"{nonce}\", uri=\"{uri}\", algorithm={}, qop=auth, \
         nc=00000001, cnonce=\"c0ffee\", response=\"{response}\"",
        algorithm.as_str()
    )
}
