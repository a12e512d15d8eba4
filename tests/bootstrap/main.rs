//! GBA without SIP: a terminal bootstraps over Ub with a node as BSF, and goes to the broadcast server with the key.

#[path = "../support/mod.rs"]
mod support;

mod zn;

use imscript::aka::sqn::Sqn;
use imscript::aka::{Algorithm, KeySet};
use imscript::auth::nonce;
use imscript::cli::network::{Card, NAF, Plan, free_address};
use imscript::gba::naf_id::NafId;
use imscript::identity::Impi;
use imscript::terminal::application::{ask_http, sample_service_request};
use imscript::terminal::bootstrap::{Bootstrapped, bootstrap};
use imscript::terminal::http::Http;
use imscript::terminal::usim::{SqnArray, Usim};
use imscript::terminal::{TerminalError, card_file};
use serde_json::Value;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use support::Bed;

const HTTP: Http = Http { timeout: Duration::from_secs(10), observer: None };

fn unhex(text: &str) -> Vec<u8> {
    (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap()).collect()
}

fn usim(card: &Card, sqn: SqnArray) -> Usim {
    Usim::new(KeySet::from_opc(Algorithm::Milenage, &unhex(&card.k), &unhex(&card.opc)).unwrap(), sqn)
}

/// A network whose BSF answers terminals over HTTP.
fn network(more: &str) -> (Bed, SocketAddr) {
    let ub = free_address(Ipv4Addr::LOCALHOST.into()).unwrap();
    let ims_tables = format!("[bsf]\nhttp = \"{ub}\"\n{more}");
    (Bed::start(&Plan { ims_tables, ..Plan::default() }), ub)
}

async fn bootstrapped(ub: SocketAddr, card: &Card, usim: &mut Usim) -> Result<Bootstrapped, TerminalError> {
    let url = format!("http://{ub}/");
    bootstrap(&HTTP, &url, Some("bsf.home1.net"), &Impi::from(&*card.impi), usim).await
}

async fn ask(bed: &Bed, done: &Bootstrapped) -> Result<u16, TerminalError> {
    let naf = NafId::parse(NAF).unwrap();
    let payload = sample_service_request("1", done.impi.as_str());
    let url = format!("http://{}/", bed.bsm_http);
    ask_http(&HTTP, &url, &naf, &done.btid, &done.ks_naf(&naf), &payload, "0a".into()).await.map(|done| done.status)
}

fn bootstrap_program(bed: &Bed, ub: SocketAddr, card: &Card, more: &[&str]) -> Value {
    let url = format!("http://{ub}/");
    let mut args =
        vec!["terminal", "bootstrap", "--bsf", &url, "--impi", &card.impi, "--k", &card.k, "--opc", &card.opc];
    args.push("--json");
    args.extend(more);
    serde_json::from_slice(&bed.imscript(&args).unwrap().stdout).unwrap()
}

#[test]
fn the_program_bootstraps_and_goes_to_the_broadcast_server_without_sip() {
    let (bed, ub) = network("");
    let card = bed.subscriber_with("yes");
    let bsm = format!("http://{}/", bed.bsm_http);
    let result = bootstrap_program(&bed, ub, &card, &["--naf-id", NAF, "--bsm-http", &bsm]);
    assert_eq!((&result["result"], &result["proved"]), (&"bootstrapped".into(), &true.into()), "{result}");
    assert_eq!(result["application"]["response"], "ServiceResponse", "{result}");
    assert!(result["btid"].as_str().unwrap().ends_with("==@bsf.home1.net"), "{result}");
    assert!(result["lifetime"].as_str().unwrap().ends_with('Z'), "{result}");
    assert_eq!((result.get("ks"), result.get("ks_naf")), (None, None), "no key unless asked for");
    assert_eq!(bed.subscriber(&card.impi).unwrap()["ims"]["state"], "not_registered");

    let card_file = bed.path("card.json");
    card_file::save(&card_file, &Impi::from(&*card.impi), &SqnArray::at(Sqn::from_parts(1 << 40, 1).unwrap())).unwrap();
    let result = bootstrap_program(&bed, ub, &card, &["--card", card_file.to_str().unwrap(), "--secrets"]);
    assert_eq!((&result["result"], &result["resync"]), (&"bootstrapped".into(), &true.into()), "{result}");
    assert_eq!(result["ks"].as_str().map(str::len), Some(64));
    assert_ne!(
        card_file::load(&card_file, &Impi::from(&*card.impi)).unwrap().highest(),
        Sqn::from_parts(1 << 40, 1).unwrap()
    );

    let stranger = Card::number(9);
    let result = bootstrap_program(&bed, ub, &stranger, &[]);
    assert_eq!(result["result"], "failed");
    assert!(result["error"].as_str().unwrap().contains("403 user unknown"), "{result}");
}

#[tokio::test]
async fn what_was_bootstrapped_outlives_the_node_and_a_deregistration() {
    let (mut bed, ub) = network("[registrar]\nmin_expires = 1\n");
    let card = bed.subscriber_with("yes");
    let mut sim = usim(&card, SqnArray::fresh());
    let done = bootstrapped(ub, &card, &mut sim).await.unwrap();
    assert!(done.proved && !done.resynchronised);
    let config = std::fs::read_to_string(bed.path("ims.toml")).unwrap();
    bed.kill("ims");
    bed.start_node("ims", &config).unwrap();
    assert_eq!(ask(&bed, &done).await.unwrap(), 200, "the key of before the restart");

    // A registration has a key of its own in this one's place; the one that is made after it stays when it ends.
    let registered = bed.terminal("register", &card, &[]).unwrap();
    assert_eq!(registered["result"], "registered", "{registered}");
    let second = bootstrapped(ub, &card, &mut sim).await.unwrap();
    assert_ne!(second.btid, done.btid);
    let ended = bed.terminal("deregister", &card, &["--all"]).unwrap();
    assert_eq!(ended["result"], "deregistered", "{ended}");
    assert_eq!(ask(&bed, &second).await.unwrap(), 200);
}

#[tokio::test]
async fn a_card_that_is_not_the_subscribers_and_a_network_that_is_not_the_cards() {
    let (bed, ub) = network("");
    let card = bed.subscriber_with("yes");
    let wrong = Card { k: Card::number(7).k, ..card.clone() };
    let failed = bootstrapped(ub, &card, &mut usim(&wrong, SqnArray::fresh())).await.unwrap_err();
    assert_eq!(failed, TerminalError::MacFailure);
    assert!(bootstrapped(ub, &card, &mut usim(&card, SqnArray::fresh())).await.is_ok());
}

#[tokio::test]
async fn what_the_service_profile_says_of_card_and_lifetime_counts_on_ub_too() {
    let (bed, ub) = network("[service.default]\ngba_u = true\nkey_lifetime = 600\n");
    let card = bed.subscriber_with("yes");
    let done = bootstrapped(ub, &card, &mut usim(&card, SqnArray::fresh())).await.unwrap();
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    assert!(done.expires.is_some_and(|until| until <= now + 600));
    // AUTN* is for the card alone, and only where the terminal says that it will hand it to that.
    for (agent, plain) in [("phone 3gpp-gba", true), ("phone 3gpp-gba-uicc", false)] {
        let mut stream = TcpStream::connect(ub).unwrap();
        let credentials = format!("Digest username=\"{}\", realm=\"bsf.home1.net\", nonce=\"\"", card.impi);
        let headers = format!("Host: bsf.home1.net\r\nUser-Agent: {agent}\r\nAuthorization: {credentials}\r\n");
        write!(stream, "GET / HTTP/1.1\r\n{headers}Connection: close\r\n\r\n").unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        let nonce = answer.split("nonce=\"").nth(1).and_then(|rest| rest.split('"').next()).unwrap();
        let (rand, autn) = nonce::decode(nonce.as_bytes()).unwrap();
        assert_eq!(usim(&card, SqnArray::fresh()).authenticate(&rand, &autn).is_ok(), plain, "{agent}");
    }
}
