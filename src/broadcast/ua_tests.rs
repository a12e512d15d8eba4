use super::*;
use crate::broadcast::testbed::Bed;
use crate::hss::RegState;

fn post(bed: &Bed, authorization: Option<String>, body: &[u8]) -> HttpResponse {
    bed.world.run(Rc::clone(&bed.bsm).ua(HttpRequest {
        method: "POST".into(),
        target: "/bcast".into(),
        host: Some("bsm.home1.net:8080".into()),
        authorization,
        content_type: Some(media::PROVISIONING.into()),
        body: body.to_vec(),
    }))
}

fn header<'a>(response: &'a HttpResponse, name: &str) -> &'a str {
    response.headers.iter().find(|(have, _)| *have == name).map(|(_, value)| value.as_str()).unwrap_or_default()
}

fn nonce(response: &HttpResponse) -> String {
    let challenge = AuthParams::parse(header(response, "www-authenticate").as_bytes()).unwrap();
    assert_eq!(challenge.get("realm").unwrap().as_ref(), b"3GPP-bootstrapping@bsm.home1.net");
    assert_eq!(challenge.get("qop").unwrap().as_ref(), b"auth-int");
    String::from_utf8(challenge.get("nonce").unwrap().into_owned()).unwrap()
}

/// A terminal's Authorization.
fn authorization(bed: &Bed, nonce: &str, nc: &str, key: &KsNaf, body: &[u8]) -> String {
    let credentials = Credentials {
        username: bed.boot.btid.as_str().into(),
        uri: "/bcast".into(),
        nonce: nonce.into(),
        nc: nc.into(),
        cnonce: "abc".into(),
        response: Vec::new(),
    };
    let realm = "3GPP-bootstrapping@bsm.home1.net";
    let password = Password::new(STANDARD.encode(key.0).into_bytes());
    let response = credentials.digest(realm, body).response(&password);
    format!(
        "Digest username=\"{}\", realm=\"{realm}\", nonce=\"{nonce}\", uri=\"/bcast\", qop=auth-int, nc={nc}, \
         cnonce=\"abc\", response=\"{response}\", algorithm=MD5",
        bed.boot.btid
    )
}

fn order() -> Vec<u8> {
    Order::service("9", None, &["a"]).to_xml()
}

#[test]
fn figure_5_over_http() {
    let bed = Bed::new();
    let key = bed.boot.ks_naf(&bed.naf);
    let challenge = post(&bed, None, &order());
    assert_eq!(challenge.status, 401);
    let nonce = nonce(&challenge);
    let given = authorization(&bed, &nonce, "00000001", &key, &order());
    let answer = post(&bed, Some(given.clone()), &order());
    assert_eq!(answer.status, 200);
    assert_eq!(Answer::parse(&answer.body).unwrap().granted().collect::<Vec<_>>(), ["a"]);
    assert!(header(&answer, "authentication-info").contains("rspauth=\""));
    assert_eq!(bed.registration_state(), RegState::Registered);
    assert!(bed.has_smk());
    bed.world.settle();
    assert_eq!(bed.world.ladder(), ["MESSAGE 5060", "MESSAGE 5070", "MESSAGE 5060"]);

    let replayed = post(&bed, Some(given), &order());
    assert_eq!(replayed.status, 401);
    assert!(header(&replayed, "www-authenticate").contains("stale=true"));
    let next = authorization(&bed, &nonce, "00000002", &key, &order());
    assert_eq!(post(&bed, Some(next), &order()).status, 200);
    assert_eq!(bed.world.ladder().len(), 3, "the key is here, nothing is asked again");
}

#[test]
fn the_digest_is_needed_and_covers_the_body() {
    let bed = Bed::new();
    let key = bed.boot.ks_naf(&bed.naf);
    let nonce = nonce(&post(&bed, None, &order()));
    let wrong_key = authorization(&bed, &nonce, "00000001", &KsNaf([0; 32]), &order());
    assert_eq!(post(&bed, Some(wrong_key), &order()).status, 401);
    let right = authorization(&bed, &nonce, "00000001", &key, &order());
    let other_body = Order::service("9", None, &["b"]).to_xml();
    assert_eq!(post(&bed, Some(right.clone()), &other_body).status, 401);
    let forged = right.replace(&nonce, &"0".repeat(64));
    assert_eq!(post(&bed, Some(forged), &order()).status, 401);
    assert_eq!(post(&bed, Some(right.replace("auth-int", "auth")), &order()).status, 401);
    assert_eq!(post(&bed, Some("Basic eDp5".into()), &order()).status, 401);
    assert!(bed.state.is_empty(), "a failed attempt leaves nothing behind");
    bed.world.advance(200);
    let old = post(&bed, Some(right), &order());
    assert!(header(&old, "www-authenticate").contains("stale=true"));
}

#[test]
fn only_provisioning_messages() {
    let bed = Bed::new();
    let request = |method: &str, kind: &str, size: usize| {
        bed.world.run(Rc::clone(&bed.bsm).ua(HttpRequest {
            method: method.into(),
            content_type: Some(kind.into()),
            body: vec![b' '; size],
            ..HttpRequest::default()
        }))
    };
    assert_eq!(request("GET", media::PROVISIONING, 0).status, 405);
    assert_eq!(request("POST", "text/plain", 1).status, 415);
    assert_eq!(request("POST", media::PROVISIONING, BODY_MAX + 1).status, 413);
}
