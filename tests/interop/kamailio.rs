//! Kamailio as S-CSCF and as I-CSCF.

use super::foreign::{Program, Script, avp, fill, free_port, installed, options, python};
use super::support::Bed;
use super::support::flow::Flow;
use super::support::hand::Hand;
use imscript::cli::network::{Card, NAF, Plan};
use imscript::gba::kdf::KsNaf;
use serde_json::Value;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

pub struct Kamailio {
    pub program: Program,
    pub port: u16,
}

impl Kamailio {
    /// Starts it with `NAME.cfg` in a folder of its own and waits until it has its HSS. None: it is not installed.
    pub fn start(name: &str, folder: PathBuf, hss_port: u16, more: &[(&str, String)]) -> Option<Kamailio> {
        if !installed("kamailio", "-v") {
            return None;
        }
        // A port that is taken meanwhile ends it at once.
        (0..5).find_map(|attempt| Kamailio::attempt(name, folder.join(attempt.to_string()), hss_port, more)).or_else(
            || {
                panic!("kamailio does not start");
            },
        )
    }

    fn attempt(name: &str, folder: PathBuf, hss_port: u16, more: &[(&str, String)]) -> Option<Kamailio> {
        std::fs::create_dir_all(&folder).unwrap();
        let port = free_port();
        let mut values = vec![
            ("PORT", port.to_string()),
            ("FOLDER", folder.display().to_string()),
            ("FQDN", format!("{name}.home1.net")),
            // It looks its peers' names up in the DNS; as what the HSS calls itself it takes anything.
            ("HSS", "127.0.0.1".to_owned()),
            ("HSS_PORT", hss_port.to_string()),
            ("DIAMETER_PORT", free_port().to_string()),
        ];
        values.extend_from_slice(more);
        let config = format!("{name}.cfg");
        fill(&format!("kamailio/{config}"), &folder.join(&config), &values);
        fill("kamailio/diameter.xml", &folder.join("diameter.xml"), &values);
        for table in ["s_cscf", "s_cscf_capabilities", "nds_trusted_domains", "version"] {
            fill(&format!("kamailio/tables/{table}"), &folder.join("tables").join(table), &values);
        }
        let mut command = Command::new("kamailio");
        command.arg("-f").arg(folder.join(&config)).args(["-DD", "-E", "-m", "64", "-M", "8"]);
        command.arg("-w").arg(&folder).arg("-Y").arg(&folder);
        let mut program = Program::start(command, folder.join("log"));
        let end = Instant::now() + Duration::from_secs(20);
        while Instant::now() < end && !program.has_ended() {
            if options(port) == Some(200) {
                return Some(Kamailio { program, port });
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        assert!(
            program.log().contains("Address already in use"),
            "kamailio: no HSS, or it has ended\n{}",
            program.log()
        );
        None
    }

    pub fn address(&self) -> SocketAddr {
        SocketAddr::new(super::foreign::LOCALHOST, self.port)
    }
}

/// A registration through Kamailio. It sends its 401 before it has stored the vector, and challenges anew who answers at
/// once; so it is asked again.
fn insist(register: impl Fn() -> Value) -> Value {
    let mut result = register();
    for _ in 0..5 {
        if result["status"] == 200 {
            break;
        }
        result = register();
    }
    assert_eq!(result["status"], 200, "{result}");
    result
}

fn card_of(card: &Card) -> String {
    format!("{},{},{},{}", card.impi, card.impu, card.k, card.opc)
}

#[test]
fn a_foreign_s_cscf_registers_the_terminal_for_broadcast_too() {
    let Some(python) = python() else { return };
    let bed = Bed::start(&Plan::default());
    let card = bed.subscriber_with("yes");
    let hss = Script::start(
        &python,
        "hss.py",
        &[
            "--client",
            "scscf.home1.net",
            "--card",
            &card_of(&card),
            "--application-server",
            &format!("sip:{}", bed.bsm),
        ],
    );
    let Some(kamailio) = Kamailio::start("scscf", bed.path("kamailio"), hss.port, &[]) else { return };
    // The terminal bootstraps with our BSF, so there is a B-TID; then it registers with the foreign S-CSCF.
    let mut bootstrap = Hand::new(&card, bed.ims);
    let first = bootstrap.register(&bootstrap.unanswered(), "", b"");
    let challenge = Hand::challenge(&first);
    let (rand, _) = challenge.rand_autn().unwrap();
    let answer = bootstrap.answer(&challenge);
    assert_eq!(bootstrap.register(&answer, "", b"").status(), 200);
    let btid = imscript::gba::btid::Btid::new(&rand, "bsf.home1.net");

    let mut hand = Hand::new(&card, kamailio.address());
    let portion =
        format!("Bcast-Ext: profile=\"1.0\";naf-id=\"{NAF}\";ua-id=0100000001;btid=\"{}\"\r\n", btid.as_str());
    let mut response = hand.register(&hand.unanswered(), &portion, b"");
    for _ in 0..5 {
        if response.status() != 401 {
            break;
        }
        let answer = hand.answer(&Hand::challenge(&response));
        response = hand.register(&answer, &portion, b"");
    }
    assert_eq!(response.status(), 200);
    // The broadcast server has asked the BSF for the key that the terminal has, and the S-CSCF has its answer.
    let flow = Flow::with(&bed, "BSM > ?  200 (?)");
    flow.assert_order(&["BSM > IMS  MESSAGE key-request", "IMS > BSM  MESSAGE key", "BSM > BSM  SMK = Ks_NAF"]);
    let check = KsNaf(bootstrap.ks_naf.unwrap()).check_value();
    assert!(flow.has(&format!("BSM > BSM  SMK = Ks_NAF check={check}")), "{flow}");
    let answer = flow.steps().iter().rev().find(|step| step.from == "BSM" && step.to == "?").unwrap();
    assert!(answer.notes.iter().any(|note| note.contains("state=registered")), "{answer:?}");
    let assigned = hss.wait_got("SAR", 1);
    assert_eq!(avp(&assigned, &["Server-Assignment-Type"]), Some(&1.into()), "{assigned}");
}
