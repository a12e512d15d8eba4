//! The broadcast server fetches keys from the BSF over Zn: two nodes, Diameter over TCP between them.

use crate::support::flow::Flow;
use crate::support::{Bed, certificates, figure_policy, wait_for};
use crate::{ask, bootstrapped, usim};
use imscript::cli::network::{Card, DOMAIN, NAF, free_address};
use imscript::terminal::TerminalError;
use imscript::terminal::usim::SqnArray;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;

struct Pair {
    bed: Bed,
    ub: SocketAddr,
}

/// `host`: the NAF that the BSF knows; `bsm`: lines of the broadcast node's `[bsm]`, with `BSF` for the BSF's Diameter address.
fn pair(policy: PathBuf, host: &str, bsm: &str) -> Pair {
    pair_over("tcp", policy, host, bsm, NAF)
}

/// `between`: tcp or tls on Zn, where the broadcast node shows the certificate of the name `shown`.
fn pair_over(between: &str, policy: PathBuf, host: &str, bsm: &str, shown: &str) -> Pair {
    let mut bed = Bed::empty("127.0.0.1");
    let [ub, diameter] = [(); 2].map(|()| free_address(Ipv4Addr::LOCALHOST.into()).unwrap());
    let (ims, bsm_addr, http) = (bed.ims, bed.bsm, bed.bsm_http);
    let common = |name: &str, addr: SocketAddr| {
        format!(
            "domain = \"{DOMAIN}\"\nlisten = [\"udp:{addr}\", \"tcp:{addr}\"]\ndata_dir = \"{name}-data\"\n\
             trace = \"{name}.jsonl\"\nworkers = 2\npolicy = {policy:?}\n"
        )
    };
    let bsf_name = format!("bsf.{DOMAIN}");
    certificates(&bed, &[&bsf_name, NAF, "evil.home1.net"]);
    let tls = |name: &str| format!("[tls]\ncertificate = \"{name}.pem\"\nkey = \"{name}.key\"\nca = \"ca.pem\"\n");
    // Over TLS nobody is known by an address.
    let allow = if between == "tls" { "allow = []\n" } else { "" };
    let ims_config = format!(
        "{}roles = [\"scscf\", \"bsf\", \"hss\"]\n{}[diameter]\nlisten = [\"{between}:{diameter}\"]\n\
         origin_host = \"{bsf_name}\"\n{allow}[bsf]\nhttp = \"{ub}\"\n[[bsf.naf]]\nhost = \"{host}\"\n\
         fqdns = [\"{NAF}\"]\nservices = [\"4\"]\nrequired = [\"4\"]\n\
         [[broadcast_server]]\nname = \"bsm\"\nnaf = [\"{NAF}\"]\naddress = \"tcp:{bsm_addr}\"\n",
        common("ims", ims),
        tls(&bsf_name)
    );
    let bsm_config = format!(
        "{}roles = [\"bsm\"]\n{}[bsm]\nnaf = \"{NAF}\"\nims = \"tcp:{ims}\"\nhttp = \"{http}\"\n{}\n",
        common("bsm", bsm_addr),
        tls(shown),
        bsm.replace("BSF", &format!("{between}:{diameter}"))
    );
    bed.start_node("ims", &ims_config).unwrap();
    bed.start_node("bsm", &bsm_config).unwrap();
    Pair { bed, ub }
}

const OVER_ZN: &str = "bsf = [\"BSF\"]\nkey_retrieval = \"zn\"";

fn register(bed: &Bed, card: &Card, figure: &str) {
    let result = bed.terminal("register", card, &["--figure", figure, "--naf-id", NAF]).unwrap();
    assert_eq!((&result["result"], &result["error"]), (&"registered".into(), &serde_json::Value::Null), "{result}");
    bed.assert_states(&card.impi, "registered", "registered");
}

fn key_requests(flow: &Flow) -> usize {
    flow.messages().filter(|line| line.contains("  MESSAGE key")).count()
}

#[test]
fn figures_4_and_8_over_two_nodes_with_no_key_in_sip() {
    for figure in [4, 8] {
        let Pair { bed, .. } = pair(figure_policy(figure), NAF, OVER_ZN);
        let card = bed.subscriber_with("yes");
        register(&bed, &card, &figure.to_string());
        let flow = Flow::of(&bed).unwrap();
        flow.assert_order(&["IMS > BSM  REGISTER", "BSM > BSF  BIR (Zn)", "BSF > BSM  BIA (Zn)"]);
        assert_eq!(key_requests(&flow), 0, "{flow}");
        // What the terminal derives is what the broadcast server has.
        let states: Vec<String> = bed.events().unwrap().iter().map(|event| format!("{:?}", event.what)).collect();
        let check = |state: &String| state.split("check=").nth(1).map(|rest| rest[..16].to_owned());
        let checks: Vec<String> = states.iter().filter_map(check).collect();
        assert!(checks.len() >= 2 && checks.windows(2).all(|two| two[0] == two[1]), "{checks:?}");
    }
}

const OVER_TLS: &str = "bsf = [\"BSF\"]\nbsf_tls_name = \"bsf.home1.net\"\nkey_retrieval = \"zn\"";

#[test]
fn a_naf_is_known_by_its_certificate_over_tls() {
    let Pair { bed, .. } = pair_over("tls", figure_policy(8), NAF, OVER_TLS, NAF);
    let card = bed.subscriber_with("yes");
    let up = |peers: &String| peers.starts_with("bsf.home1.net  up") && peers.contains("tls:");
    wait_for(|| Some(bed.imscript_ok(&["diameter", "peers", "--data-dir", "bsm-data"])).filter(up));
    register(&bed, &card, "8");
    let flow = Flow::of(&bed).unwrap();
    assert!(flow.has("BSM > BSF  BIR (Zn)") && key_requests(&flow) == 0, "{flow}");

    // The same Origin-Host with the certificate of somebody else, of the same authority.
    let Pair { bed, .. } = pair_over("tls", figure_policy(8), NAF, OVER_TLS, "evil.home1.net");
    let card = bed.subscriber_with("yes");
    let result = bed.terminal("register", &card, &["--figure", "8", "--naf-id", NAF]).unwrap();
    assert_eq!(result["broadcast"], "pending", "{result}");
    let flow = Flow::of(&bed).unwrap();
    assert!(flow.has("BSM > IMS  504 (REGISTER key=pull)") && !flow.has("BSM > BSM  SMK = Ks_NAF"), "{flow}");
}

#[test]
fn a_policy_chooses_zn_where_the_server_would_ask_in_sip() {
    let dir = tempfile::tempdir().unwrap();
    let policy = dir.path().join("zn.lua");
    let text = std::fs::read_to_string(figure_policy(8)).unwrap().replace("key = \"pull\"", "key = \"pull_zn\"");
    std::fs::write(&policy, text).unwrap();
    let Pair { bed, .. } = pair(policy, NAF, "bsf = [\"BSF\"]\nkey_retrieval = \"sip\"");
    let card = bed.subscriber_with("yes");
    register(&bed, &card, "8");
    let flow = Flow::of(&bed).unwrap();
    assert!(flow.has("BSM > BSF  BIR (Zn)") && key_requests(&flow) == 0, "{flow}");
}

#[test]
fn where_no_bsf_answers_on_zn_the_key_comes_in_sip() {
    let nobody = free_address(Ipv4Addr::LOCALHOST.into()).unwrap();
    let lines = format!("bsf = [\"tcp:{nobody}\"]\nkey_retrieval = \"zn-else-sip\"");
    let Pair { bed, .. } = pair(figure_policy(8), NAF, &lines);
    let card = bed.subscriber_with("yes");
    register(&bed, &card, "8");
    assert_eq!(key_requests(&Flow::of(&bed).unwrap()), 2, "the question and the key");
}

#[test]
fn a_naf_that_the_bsf_does_not_know_gets_no_key() {
    let Pair { bed, .. } = pair(figure_policy(8), "other.home1.net", OVER_ZN);
    let card = bed.subscriber_with("yes");
    let result = bed.terminal("register", &card, &["--figure", "8", "--naf-id", NAF]).unwrap();
    assert_eq!((&result["broadcast"], &result["cause"]), (&"failed".into(), &"naf-not-allowed".into()), "{result}");
}

#[tokio::test]
async fn no_sip_at_all_from_the_terminal_to_the_key() {
    let Pair { bed, ub } = pair(figure_policy(5), NAF, OVER_ZN);
    let card = bed.subscriber_with("yes");
    let mut sim = usim(&card, SqnArray::fresh());
    let done = bootstrapped(ub, &card, &mut sim).await.unwrap();
    assert_eq!(ask(&bed, &done).await.unwrap(), 200);
    let flow = Flow::of(&bed).unwrap();
    flow.assert_order(&["UE > BSF  HTTP GET (Ub)", "UE > BSM  HTTP POST (Ua)", "BSM > BSF  BIR (Zn)"]);
    assert_eq!(key_requests(&flow), 0, "{flow}");

    let none = Card::number(2);
    bed.add_subscriber(&none, "no").unwrap();
    let done = bootstrapped(ub, &none, &mut usim(&none, SqnArray::fresh())).await.unwrap();
    assert!(matches!(ask(&bed, &done).await, Err(TerminalError::ServiceRefused(_))), "no subscriber of broadcasts");
}
