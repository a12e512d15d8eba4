use super::*;
use crate::broadcast::testbed::Bed;
use crate::hss::RegState;
use crate::http::server::{router, serve};
use std::time::Duration;
use tokio::sync::mpsc;

fn post(bed: &Bed, authorization: Option<String>, body: &[u8]) -> HttpResponse {
    bed.world.run(Rc::clone(&bed.bsm).ua(HttpRequest {
        method: "POST".into(),
        target: "/bcast".into(),
        host: Some("bsm.home1.net:8080".into()),
        authorization,
        content_type: Some(media::PROVISIONING.into()),
        body: body.to_vec(),
        ..HttpRequest::default()
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
        username: bed.boot.btid.text(),
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

/// One request over a socket, the connection closed after it.
async fn exchange(at: std::net::SocketAddr, request: String) -> String {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let mut stream = tokio::net::TcpStream::connect(at).await.unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer
}

#[test]
fn the_router_over_a_socket() {
    let bed = Bed::new();
    // This server works on tokio; the virtual world only answers for the BSF.
    let env =
        crate::broadcast::server::Env { spawn: Rc::new(|job| drop(tokio::task::spawn_local(job))), ..bed.world.env() };
    let bsm = Bsm::new(
        bed.bsm.config.clone(),
        bed.bsm.state.clone(),
        bed.bsm.outbound.clone(),
        None,
        bed.bsm.decide.clone(),
        None,
        env,
    );
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    tokio::task::LocalSet::new().block_on(&runtime, async {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let at = listener.local_addr().unwrap();
        let (calls, incoming) = mpsc::channel(16);
        let spawn = bsm.env.spawn.clone();
        tokio::task::spawn_local(serve(handler(bsm), spawn, incoming));
        tokio::task::spawn_local(async move { axum::serve(listener, router(calls)).await });
        let head = format!(
            "POST /bcast HTTP/1.1\r\nHost: bsm.home1.net\r\nConnection: close\r\nContent-Type: {}\r\n",
            media::PROVISIONING
        );
        let body = String::from_utf8(order()).unwrap();
        let challenge = exchange(at, format!("{head}Content-Length: {}\r\n\r\n{body}", body.len())).await;
        assert!(challenge.starts_with("HTTP/1.1 401 "), "{challenge}");
        assert!(challenge.contains("realm=\"3GPP-bootstrapping@bsm.home1.net\""));
        let large = exchange(at, format!("{head}Content-Length: {}\r\n\r\n", BODY_MAX + 1)).await;
        assert!(large.starts_with("HTTP/1.1 413 "), "{large}");

        // The key is held already: a digest is verified without asking anybody.
        let document = bed.boot.key_document(&bed.naf);
        let update = crate::broadcast::state::Update {
            state: RegState::Registered,
            naf: bed.naf.clone(),
            btid: Some(bed.boot.btid.clone()),
            until: bed.state.time(bed.world.now()) + Duration::from_secs(600),
            subscription: None,
            ims_peer: 0,
        };
        bed.state.update(&bed.impu, update, bed.world.now()).unwrap();
        bed.state.install_key(&bed.impu, &document, bed.world.now()).unwrap();
        let nonce = challenge.split("nonce=\"").nth(1).unwrap().split('"').next().unwrap().to_string();
        let given = authorization(&bed, &nonce, "00000001", &document.key, body.as_bytes());
        let request = format!("{head}Authorization: {given}\r\nContent-Length: {}\r\n\r\n{body}", body.len());
        let answer = exchange(at, request).await;
        assert!(answer.starts_with("HTTP/1.1 200 ") && answer.contains("<ServiceResponse"), "{answer}");
        assert!(answer.contains("authentication-info: qop=auth-int"));
    });
}
