//! Kamailio as S-CSCF and as I-CSCF.

use super::capture::{Capture, assert_diameter_is_sound};
use super::foreign::{Program, advanced_card, bootstrap, fill, free_port, installed, options};
use super::sipp;
use super::support::Bed;
use super::support::flow::Flow;
use super::support::hand::Hand;
use imscript::cli::network::{NAF, Plan};
use serde_json::Value;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

/// It runs as long as this is there.
pub struct Kamailio {
    _program: Program,
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
                return Some(Kamailio { _program: program, port });
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

/// Our node as HSS for Kamailio, with its Diameter port and its BSF over HTTP; its broadcast server is another node of ours.
fn our_hss() -> (Bed, u16, String) {
    let (listen, ub) = (free_port(), free_port());
    let ims_tables = format!("[diameter]\nlisten = [\"tcp:127.0.0.1:{listen}\"]\n\n[bsf]\nhttp = \"127.0.0.1:{ub}\"\n");
    (Bed::start(&Plan { ims_tables, ..Plan::default() }), listen, format!("http://127.0.0.1:{ub}/"))
}

#[test]
fn kamailio_as_s_cscf_takes_our_hss() {
    if !installed("sipp", "-v") {
        return;
    }
    let (bed, hss, _) = our_hss();
    // tshark reads along, from CER on.
    let mut capture =
        installed("tshark", "-v").then(|| Capture::start(bed.path("cx.pcapng"), &[(hss, "diameter")])).flatten();
    let Some(kamailio) = Kamailio::start("scscf", bed.path("kamailio"), hss, &[]) else { return };
    let user = sipp::sipp_user(&bed);
    sipp::assert_registers(&bed, "u1", kamailio.address(), &user);
    let shown = bed.subscriber(&user.impi).unwrap();
    assert_eq!(shown["ims"]["state"], "registered", "{shown}");

    // A card that is ahead of the HSS is brought into step through the foreign S-CSCF.
    let card = bed.subscriber_with("no");
    let file = advanced_card(&bed, &card);
    let at = format!("udp:{}", kamailio.address());
    let result = insist(|| bed.terminal_at(&at, "register", &card, &["--card", &file]).unwrap());
    assert_eq!(result["status"], 200, "{result}");
    bed.assert_ims_state(&card.impi, "registered");
    insist(|| bed.terminal_at(&at, "deregister", &card, &["--card", &file, "--all"]).unwrap());
    bed.assert_ims_state(&card.impi, "not_registered");
    if let Some(capture) = &mut capture {
        // SAR and SAA (301) of the registrations and of the deregistration, and MAR, DWR and CER with theirs.
        capture.wait_until(|octets| octets.windows(4).filter(|four| four[1..] == [0, 1, 45]).count() >= 6);
        capture.stop();
        assert_diameter_is_sound(capture, &format!("tcp.srcport == {hss}"), 8);
    }
}

#[test]
fn kamailio_as_i_cscf_in_front_of_our_s_cscf() {
    let (bed, hss, _) = our_hss();
    // The first of its S-CSCFs is nobody: the HSS has to name the other one.
    let servers = [("OTHER", free_port().to_string()), ("SCSCF", bed.ims.port().to_string())];
    let Some(kamailio) = Kamailio::start("icscf", bed.path("kamailio"), hss, &servers) else { return };
    let card = bed.subscriber_with("no");
    let at = format!("udp:{}", kamailio.address());
    let result = bed.terminal_at(&at, "register", &card, &[]).unwrap();
    assert_eq!(result["status"], 200, "{result}");
    bed.assert_ims_state(&card.impi, "registered");
    let result = bed.terminal_at(&at, "deregister", &card, &["--all"]).unwrap();
    assert_eq!(result["result"], "deregistered", "{result}");
    bed.assert_ims_state(&card.impi, "not_registered");
}

#[test]
fn a_foreign_s_cscf_registers_the_terminal_for_broadcast_too() {
    let (bed, hss, ub) = our_hss();
    let Some(kamailio) = Kamailio::start("scscf", bed.path("kamailio"), hss, &[]) else { return };
    let card = bed.subscriber_with("yes");
    // The terminal bootstraps with our BSF, so there is a B-TID; then it registers with the foreign S-CSCF.
    let made = bootstrap(&bed, &ub, &card, &["--naf-id", NAF]);
    let (btid, check) = (made["btid"].as_str().unwrap(), made["key_check"].as_str().unwrap());
    let mut hand = Hand::new(&card, kamailio.address());
    let portion = format!("Bcast-Ext: profile=\"1.0\";naf-id=\"{NAF}\";ua-id=0100000001;btid=\"{btid}\"\r\n");
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
    assert!(flow.has(&format!("BSM > BSM  SMK = Ks_NAF check={check}")), "{flow}");
    let answer = flow.steps().iter().rev().find(|step| step.from == "BSM" && step.to == "?").unwrap();
    assert!(answer.notes.iter().any(|note| note.contains("state=registered")), "{answer:?}");
    bed.assert_ims_state(&card.impi, "registered");
}
