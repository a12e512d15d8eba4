//! Kamailio as S-CSCF and as I-CSCF.

use super::capture::{Capture, assert_diameter_is_sound};
use super::foreign::{Program, advanced_card, bootstrap, fill, free_port, installed, options, wait_for_peer};
use super::sipp;
use super::support::Bed;
use super::support::fake_bsm::{exchange_from, receive_from};
use super::support::flow::Flow;
use super::support::hand::Hand;
use imscript::cli::network::{NAF, Plan};
use imscript::sip::{HeaderName, Message};
use serde_json::Value;
use std::net::{SocketAddr, UdpSocket};
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
    let mut capture =
        installed("tshark", "-v").then(|| Capture::start(bed.path("cx.pcapng"), &[(hss, "diameter")])).flatten();
    // The first of its S-CSCFs is nobody: the HSS has to name the other one.
    let servers = [("OTHER", free_port().to_string()), ("SCSCF", bed.ims.port().to_string())];
    let Some(kamailio) = Kamailio::start("icscf", bed.path("kamailio"), hss, &servers) else { return };
    let card = bed.subscriber_with("no");
    // Whom the HSS says not to be registered (5003), or does not know (5001), Kamailio refuses by itself.
    assert_eq!(subscribe(kamailio.address(), &card.impu).status(), 480);
    assert_eq!(subscribe(kamailio.address(), "sip:nobody@home1.net").status(), 604);
    let at = format!("udp:{}", kamailio.address());
    let result = bed.terminal_at(&at, "register", &card, &[]).unwrap();
    assert_eq!(result["status"], 200, "{result}");
    bed.assert_ims_state(&card.impi, "registered");
    // By LIA it finds our S-CSCF, which says what it does and what not.
    let response = subscribe(kamailio.address(), &card.impu);
    let allowed = response.header(HeaderName::Allow).map(String::from_utf8_lossy);
    assert_eq!((response.status(), allowed.as_deref()), (405, Some("REGISTER, MESSAGE, OPTIONS")));
    let result = bed.terminal_at(&at, "deregister", &card, &["--all"]).unwrap();
    assert_eq!(result["result"], "deregistered", "{result}");
    bed.assert_ims_state(&card.impi, "not_registered");
    assert_eq!(subscribe(kamailio.address(), &card.impu).status(), 480);
    if let Some(capture) = &mut capture {
        // LIR and LIA (302), four times.
        capture.wait_until(|octets| octets.windows(4).filter(|four| four[1..] == [0, 1, 46]).count() >= 8);
        capture.stop();
        // CEA, four LIAs, and a UAA for each REGISTER: registration and deregistration have two.
        assert_diameter_is_sound(capture, &format!("tcp.srcport == {hss}"), 8);
    }
}

/// A request to a user, for which an I-CSCF asks by LIR; its answer.
fn subscribe(server: SocketAddr, impu: &str) -> Message<'static> {
    let socket = UdpSocket::bind((super::foreign::LOCALHOST, 0)).unwrap();
    let local = socket.local_addr().unwrap();
    let branch = format!("z9hG4bKs{}", local.port());
    let request = format!(
        "SUBSCRIBE {impu} SIP/2.0\r\nVia: SIP/2.0/UDP {local};branch={branch};rport\r\nMax-Forwards: 70\r\n\
         From: <sip:watcher@home1.net>;tag=1\r\nTo: <{impu}>\r\nCall-ID: {branch}\r\nCSeq: 1 SUBSCRIBE\r\n\
         Contact: <sip:watcher@{local}>\r\nEvent: reg\r\nExpires: 600\r\nContent-Length: 0\r\n\r\n"
    );
    // Whoever cannot say yet says 100 first.
    let first = exchange_from(&socket, &request, server);
    if first.status() >= 200 { first } else { receive_from(&socket) }
}

/// Our I-CSCF with our HSS, and Kamailio as the S-CSCF that it sends to.
#[test]
fn our_i_cscf_in_front_of_kamailio_as_s_cscf() {
    let (mut bed, hss, _) = our_hss();
    let mut capture =
        installed("tshark", "-v").then(|| Capture::start(bed.path("cx.pcapng"), &[(hss, "diameter")])).flatten();
    let Some(kamailio) = Kamailio::start("scscf", bed.path("kamailio"), hss, &[]) else { return };
    let (gone, entry) = (free_port(), free_port());
    let config = format!(
        "domain = \"home1.net\"\nroles = [\"icscf\"]\nlisten = [\"udp:127.0.0.1:{entry}\"]\ndata_dir = \"icscf-data\"\n\n\
         [diameter]\norigin_host = \"icscf.home1.net\"\n\n[hss]\ncx = [\"tcp:127.0.0.1:{hss}\"]\n\n\
         [[icscf.scscf]]\nname = \"sip:127.0.0.1:{gone}\"\naddress = \"tcp:127.0.0.1:{gone}\"\ncapabilities = [7]\n\n\
         [[icscf.scscf]]\nname = \"sip:{at}\"\naddress = \"udp:{at}\"\n",
        at = kamailio.address()
    );
    bed.start_node("icscf", &config).unwrap();
    wait_for_peer(&bed, "icscf-data", |peer| peer["state"] == "open");
    let card = bed.subscriber_with("no");
    let at = format!("udp:127.0.0.1:{entry}");
    // The first S-CSCF is gone; the challenge and all else come from Kamailio.
    let result = insist(|| bed.terminal_at(&at, "register", &card, &[]).unwrap());
    bed.assert_ims_state(&card.impi, "registered");
    assert_eq!(result["result"], "registered", "{result}");
    // Assigned now: UAA names Kamailio.
    insist(|| bed.terminal_at(&at, "register", &card, &[]).unwrap());
    let request = |impu: &str| subscribe(SocketAddr::new(super::foreign::LOCALHOST, entry), impu);
    // What Kamailio's script says to anything but REGISTER; LIA named Kamailio.
    assert_eq!(request(&card.impu).status(), 405);
    assert_eq!(request("sip:nobody@home1.net").status(), 404);
    insist(|| bed.terminal_at(&at, "deregister", &card, &["--all"]).unwrap());
    bed.assert_ims_state(&card.impi, "not_registered");
    assert_eq!(request(&card.impu).status(), 480);
    if let Some(capture) = &mut capture {
        capture.wait_until(|octets| octets.windows(4).filter(|four| four[1..] == [0, 1, 46]).count() >= 6);
        capture.stop();
        // Answers of our HSS, and UAR and LIR of our I-CSCF.
        let ours = format!("(tcp.srcport == {hss} || diameter.cmd.code in {{300, 302}})");
        assert_diameter_is_sound(capture, &ours, 16);
    }
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
