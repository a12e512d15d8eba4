//! Digest responses: RFC 2617 §3.5, RFC 7616 §3.9.1, and the AKA versions from worked examples.

mod vectors;

use imscript::aka::{Algorithm as Aka, Amf, Key128, KeySet, Rand, Res, Sqn, resync};
use imscript::auth::digest::{Algorithm, Digest, Password, Qop, QopKind};
use imscript::auth::nonce;
use serde_json::Value;
use vectors::{array, hex, load, octets, text};

fn digest<'a>(set: &'a Value, qop: Option<Qop<'a>>) -> Digest<'a> {
    let field = |name| text(set, name).as_bytes();
    Digest {
        algorithm: Algorithm::from_bytes(field("algorithm")).unwrap(),
        username: field("username"),
        realm: field("realm"),
        method: field("method"),
        uri: field("uri"),
        nonce: field("nonce"),
        qop,
    }
}

fn auth(set: &Value) -> Qop<'_> {
    Qop { kind: QopKind::Auth, nc: text(set, "nc").as_bytes(), cnonce: text(set, "cnonce").as_bytes(), body: b"" }
}

#[test]
fn published_examples() {
    for set in load("digest.json")["published"].as_array().unwrap() {
        let digest = digest(set, Some(auth(set)));
        let password = Password::new(text(set, "password"));
        assert_eq!(digest.response(&password), text(set, "response_auth"), "{set}");
    }
}

#[test]
fn aka_from_k_to_response() {
    for set in load("digest.json")["aka"].as_array().unwrap() {
        let keys = KeySet::from_opc(Aka::Milenage, &octets(set, "k"), &octets(set, "opc")).unwrap();
        let (rand, sqn, amf) = (Rand(array(set, "rand")), Sqn::from_octets(array(set, "sqn")), Amf(array(set, "amf")));
        let vector = keys.generate(rand, sqn, amf);
        assert_eq!(hex(&vector.autn.0), text(set, "autn"));
        assert_eq!(nonce::encode(&rand, &vector.autn), text(set, "nonce"));
        assert_eq!(hex(vector.xres.as_bytes()), text(set, "res"));
        assert_eq!((hex(&vector.ck.0), hex(&vector.ik.0)), (text(set, "ck").into(), text(set, "ik").into()));

        let plain = digest(set, None);
        let password = Password::from_aka(plain.algorithm, &vector.xres, &vector.ik, &vector.ck);
        assert_eq!(hex(password.as_bytes()), text(set, "password"));
        assert_eq!(plain.response(&password), text(set, "response"));
        let with_auth = digest(set, Some(auth(set)));
        assert_eq!(with_auth.response(&password), text(set, "response_auth"));
        assert_eq!(with_auth.rspauth(&password), text(set, "rspauth"));
        let body = octets(set, "body");
        let auth_int = digest(set, Some(Qop { kind: QopKind::AuthInt, body: &body, ..auth(set) }));
        assert_eq!(auth_int.response(&password), text(set, "response_auth_int"));
    }
}

#[test]
fn a_resynchronisation_answers_with_an_empty_password() {
    let file = load("digest.json");
    let set = &file["aka"][1];
    let again = &set["resync"];
    let keys = KeySet::from_opc(Aka::Milenage, &octets(set, "k"), &octets(set, "opc")).unwrap();
    let rand = Rand(array(set, "rand"));
    let auts = resync::make_auts(&keys, &rand, Sqn::from_octets(array(again, "sqn_ms")));
    assert_eq!(hex(&auts.0), text(again, "auts"));
    assert_eq!(hex(&keys.f5_star(&rand)), text(again, "ak_star"));
    assert_eq!(nonce::encode_auts(&auts), text(again, "auts_param"));
    assert_eq!(nonce::decode_auts(text(again, "auts_param").as_bytes()), Ok(auts));
    assert_eq!(nonce::decode_auts(text(again, "auts_param").trim_end_matches('=').as_bytes()), Ok(auts));
    assert_eq!(digest(set, None).response(&Password::empty()), text(again, "response"));
    assert_eq!(digest(set, Some(auth(again))).response(&Password::empty()), text(again, "response_auth"));
}

#[test]
fn verify_takes_hex_of_the_right_length_in_any_case() {
    let file = load("digest.json");
    for set in file["aka"].as_array().unwrap() {
        let digest = digest(set, Some(auth(set)));
        let password = Password::new(octets(set, "password"));
        let good = text(set, "response_auth");
        assert!(digest.verify(&password, good.as_bytes()));
        assert!(digest.verify(&password, good.to_uppercase().as_bytes()));
        assert!(!digest.verify(&Password::empty(), good.as_bytes()));
        for bad in [
            String::new(),
            good[1..].into(),
            format!("{good}0"),
            good.replacen(&good[..1], "g", 1),
            "0".repeat(good.len()),
        ] {
            assert!(!digest.verify(&password, bad.as_bytes()), "{bad}");
        }
        assert!(!digest.verify(&password, &[b'a'; 100_000]));
        assert!(!digest.verify(&password, &vec![0xff; good.len()]));
    }
}

#[test]
fn any_octet_may_stand_in_res() {
    let res = Res::new(&[0x00, 0x3a, 0x22, 0x0a, 0xff, 0x00]);
    let key = Key128([0x3a; 16]);
    assert_eq!(Password::from_aka(Algorithm::Akav1Md5, &res, &key, &key).as_bytes(), res.as_bytes());
    assert!(Res::try_from([0u8; 33].as_slice()).is_err());
    assert!(Res::try_from([0u8; 3].as_slice()).is_err());
}

#[test]
fn algorithm_tokens_in_any_case() {
    for name in ["AKAv1-MD5", "AKAv2-MD5", "AKAv2-SHA-256", "MD5", "SHA-256"] {
        let algorithm = Algorithm::from_bytes(name.to_lowercase().as_bytes()).unwrap();
        assert_eq!(algorithm.as_str(), name);
        assert_eq!(algorithm.is_aka(), name.starts_with("AKA"));
    }
    assert_eq!(Algorithm::from_bytes(b"MD5-sess"), None);
    assert_eq!(Algorithm::from_bytes(b"AKAv1"), None);
}

#[test]
fn nonces_that_hold_no_rand_and_autn_are_refused() {
    for bad in ["", "=", "not base64!", "AAAA", "wA1gMQPc7lLER4EZSUIC6MR3g5lfMgAAAEJu+9fOVA=="] {
        assert!(nonce::decode(bad.as_bytes()).is_err(), "{bad}");
    }
    assert!(nonce::decode("wA1gMQPc7lLER4EZSUIC6MR3g5lfMgAAAEJu+9fOVM8".as_bytes()).is_ok());
    for bad in ["", "AAAA", "MPEZcUKEwbvsd+/9Ggc=MPEZ", "MPEZcUKEwbvsd+/9GgcA"] {
        assert!(nonce::decode_auts(bad.as_bytes()).is_err(), "{bad}");
    }
}
