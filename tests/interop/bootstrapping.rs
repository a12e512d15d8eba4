//! The generic bootstrapping architecture with python-diameter: as HSS of our BSF (Zh), as NAF that asks it and as BSF that
//! our broadcast server asks (Zn).

use super::capture::{Capture, assert_diameter_is_sound};
use super::foreign::{Script, advanced_card, avp, bootstrap, free_port, installed, python, wait_for_peer};
use super::python_diameter::{OURS, hss};
use super::support::fake_bsm::exchange_from;
use super::support::flow::Flow;
use super::support::hand::Hand;
use super::support::{Bed, hex};
use imscript::aka::vector::{Autn, Rand};
use imscript::broadcast::datetime;
use imscript::cli::network::{Card, NAF, Plan};
use imscript::gba::kdf::{Ks, KsNaf, ks_naf};
use imscript::gba::naf_id::NafId;
use serde_json::{Value, json};
use std::net::UdpSocket;
use std::time::{SystemTime, UNIX_EPOCH};

/// The NAF-Id of an FQDN as `zn.py` takes it.
fn naf_id(fqdn: &str) -> String {
    hex(&NafId::parse(fqdn).unwrap().octets())
}

#[test]
fn a_foreign_hss_gives_vectors_and_security_settings_for_ub() {
    let Some(python) = python() else { return };
    let card = Card::number(1);
    let hss = hss(&python, std::slice::from_ref(&card), &["--applications", "zh"]);
    let (hss_port, zn, ub) = (hss.port, free_port(), free_port());
    // A BSF with Zh alone.
    let at = format!("[\"tcp:127.0.0.1:{hss_port}\"]");
    let ims_tables = format!(
        "[diameter]\norigin_host = \"{OURS}\"\nlisten = [\"tcp:127.0.0.1:{zn}\"]\n\n[hss]\nzh = {at}\n\n\
         [bsf]\nhttp = \"127.0.0.1:{ub}\"\n\n[[bsf.naf]]\nhost = \"naf.home1.net\"\nfqdns = [\"{NAF}\"]\nservices = [\"1\"]\n\
         group = \"bcast\"\nuser_name = true\n"
    );
    let folder = tempfile::tempdir().unwrap();
    let mut capture = installed("tshark", "-v")
        .then(|| Capture::start(folder.path().join("gba.pcapng"), &[(hss_port, "diameter"), (zn, "diameter")]))
        .flatten();
    let bed = Bed::start(&Plan { ims_tables, ..Plan::default() });
    wait_for_peer(&bed, "ims-data", |peer| peer["state"] == "open");

    // The card has seen SQNs that this HSS is far from issuing.
    let file = advanced_card(&bed, &card);
    let before = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    let made = bootstrap(&bed, &format!("http://127.0.0.1:{ub}/"), &card, &["--card", &file, "--naf-id", NAF]);
    assert_eq!((&made["result"], &made["resync"]), (&"bootstrapped".into(), &true.into()), "{made}");
    assert_eq!(hss.wait_for("resynchronised", |_| true)["resynchronised"], true);
    for asked in [hss.wait_got("MAR", 1), hss.wait_got("MAR", 2)] {
        assert_eq!(asked["application"], 16_777_221, "{asked}");
        assert_eq!(avp(&asked, &["User-Name"]), Some(&card.impi.clone().into()), "{asked}");
    }
    // The settings came with the first, and have not changed.
    let since = |n| avp(&hss.wait_got("MAR", n), &["GUSS-Timestamp"]).cloned();
    assert!(since(1).is_none() && since(2).is_some());
    // An hour: what the GUSS says.
    let until = datetime::parse(made["lifetime"].as_str().unwrap()).unwrap();
    assert!((before + 3600..before + 3660).contains(&until), "{made}");

    // A NAF that shares nothing with the terminal but this bootstrapping has the terminal's key, and the settings of the HSS.
    let mut naf = Script::start(&python, "zn.py", &["naf", "--server", &format!("{OURS}:{zn}")]);
    let btid = made["btid"].as_str().unwrap();
    let answer = naf.ask(json!({"do": "bir", "btid": btid, "naf_id": naf_id(NAF), "service": ["1"]}));
    assert_eq!(avp(&answer, &["Result-Code"]), Some(&2001.into()), "{answer}");
    let key = avp(&answer, &["ME-Key-Material"]).and_then(Value::as_str).unwrap();
    assert_eq!(made["key_check"], check(key), "{answer}");
    let settings = avp(&answer, &["GBA-UserSecSettings"]).and_then(Value::as_str).unwrap();
    for part in [&card.impi, &format!("<uid>{}</uid>", card.impu)] {
        assert!(settings.contains(&hex(part.as_bytes())), "{part}: {answer}");
    }
    let counted = bed.imscript_ok(&["metrics", "--data-dir", "ims-data"]);
    for (result, count) in [("challenged", 2), ("bootstrapped", 1)] {
        let found = counted.lines().find(|line| line.contains(&format!("result=\"{result}\"")));
        assert!(
            found.is_some_and(
                |line| line.starts_with("imscript_ub_requests_total") && line.ends_with(&format!(" {count}"))
            )
        );
    }
    // Who would register has nobody to vouch for him.
    let mut hand = Hand::new(&card, bed.ims);
    assert_eq!(hand.register(&hand.unanswered(), "", b"").status(), 504);
    if let Some(capture) = &mut capture {
        // BIR (310) and BIA are the last.
        capture.wait_until(|octets| octets.windows(4).filter(|four| four[1..] == [0, 1, 54]).count() >= 2);
        capture.stop();
        // CER and two MARs, CEA and BIA.
        assert_diameter_is_sound(capture, &format!("(tcp.dstport == {hss_port} || tcp.srcport == {zn})"), 5);
    }
}

fn octets(digits: &str) -> Vec<u8> {
    digits.as_bytes().chunks(2).map(|two| u8::from_str_radix(std::str::from_utf8(two).unwrap(), 16).unwrap()).collect()
}

/// The check value of a key in hexadecimal.
fn check(key: &str) -> String {
    KsNaf(octets(key).try_into().unwrap()).check_value()
}

#[test]
fn a_foreign_naf_gets_its_keys_and_no_others() {
    let Some(python) = python() else { return };
    let listen = free_port();
    let ims_tables = format!(
        "[diameter]\nlisten = [\"tcp:127.0.0.1:{listen}\"]\n\n\
         [[bsf.naf]]\nhost = \"naf.home1.net\"\nfqdns = [\"{NAF}\"]\n"
    );
    let bed = Bed::start(&Plan { ims_tables, ..Plan::default() });
    let card = bed.subscriber_with("yes");
    let mut hand = Hand::new(&card, bed.ims);
    let first = hand.register(&hand.unanswered(), "", b"");
    let challenge = Hand::challenge(&first);
    let btid = imscript::gba::btid::Btid::new(&challenge.rand_autn().unwrap().0, "bsf.home1.net");
    let answer = hand.answer(&challenge);
    assert_eq!(hand.register(&answer, "", b"").status(), 200);

    let server = format!("bsf.home1.net:{listen}");
    let mut naf = Script::start(&python, "zn.py", &["naf", "--server", &server]);
    let mut ask = |btid: &str, fqdn: &str, odd: Option<&str>| {
        naf.ask(json!({"do": "bir", "btid": btid, "naf_id": naf_id(fqdn), "odd": odd}))
    };
    for odd in [None, Some("unknown_optional")] {
        let answer = ask(&btid.text(), NAF, odd);
        assert_eq!(avp(&answer, &["Result-Code"]), Some(&2001.into()), "{answer}");
        assert_eq!(avp(&answer, &["ME-Key-Material"]), Some(&hex(&hand.ks_naf.unwrap()).into()), "{answer}");
    }
    let experimental = |answer: &Value| avp(answer, &["Experimental-Result", "Experimental-Result-Code"]).cloned();
    assert_eq!(experimental(&ask(&btid.text(), "other.home1.net", None)), Some(5402.into()));
    assert_eq!(experimental(&ask("nobody@bsf.home1.net", NAF, None)), Some(5403.into()));
    let answer = ask(&btid.text(), NAF, Some("unknown_mandatory"));
    assert_eq!(avp(&answer, &["Result-Code"]), Some(&5001.into()), "{answer}");
    assert!(avp(&answer, &["Failed-AVP"]).is_some(), "{answer}");
}

#[test]
fn our_broadcast_server_asks_a_foreign_bsf() {
    let Some(python) = python() else { return };
    let card = Card::number(1);
    let (rand, ks) = ([9_u8; 16], [3_u8; 32]);
    let btid = imscript::gba::btid::Btid::new(&Rand(rand), "bsf.home1.net");
    let known = format!("{},{},{},{}", btid.text(), card.impi, hex(&rand), hex(&ks));
    let bsf = Script::start(&python, "zn.py", &["bsf", "--client", NAF, "--bootstrap", &known]);
    let mut bed = Bed::empty("127.0.0.1");
    let mut capture =
        installed("tshark", "-v").then(|| Capture::start(bed.path("zn.pcapng"), &[(bsf.port, "diameter")])).flatten();
    let (ims, bsm) = (bed.ims, bed.bsm);
    let config = format!(
        "domain = \"home1.net\"\nroles = [\"bsm\"]\nlisten = [\"udp:{bsm}\"]\ndata_dir = \"bsm-data\"\n\
         trace = \"bsm.jsonl\"\n\n[bsm]\nnaf = \"{NAF}\"\nims = \"udp:{ims}\"\n\
         bsf = [\"tcp:127.0.0.1:{}\"]\nkey_retrieval = \"zn\"\n",
        bsf.port
    );
    bed.start_node("bsm", &config).unwrap();
    wait_for_peer(&bed, "bsm-data", |peer| peer["state"] == "open");
    // What a foreign S-CSCF would send.
    let socket = UdpSocket::bind(ims).unwrap();
    let inner = format!(
        "REGISTER sip:home1.net SIP/2.0\r\nVia: SIP/2.0/UDP 127.0.0.1:9;branch=z9hG4bKi\r\nFrom: <{impu}>;tag=1\r\n\
         To: <{impu}>\r\nCall-ID: i\r\nCSeq: 2 REGISTER\r\nMax-Forwards: 70\r\n\
         Bcast-Ext: naf-id=\"{NAF}\";btid=\"{}\"\r\nContent-Length: 0\r\n\r\n",
        &btid.text(),
        impu = card.impu,
    );
    let request = format!(
        "REGISTER sip:{bsm} SIP/2.0\r\nVia: SIP/2.0/UDP {ims};branch=z9hG4bKt;rport\r\nMax-Forwards: 70\r\n\
         From: <sip:scscf.home1.net>;tag=1\r\nTo: <{}>\r\nCall-ID: t\r\nCSeq: 1 REGISTER\r\nExpires: 600\r\n\
         Contact: <sip:{ims}>\r\nContent-Type: message/sip\r\nContent-Length: {}\r\n\r\n{inner}",
        card.impu,
        inner.len()
    );
    let answer = exchange_from(&socket, &request, bsm);
    assert_eq!(answer.status(), 200);
    let key = ks_naf(&Ks(ks), &Rand(rand), &card.impi, &NafId::parse(NAF).unwrap());
    Flow::with(&bed, &format!("BSM > BSM  SMK = Ks_NAF check={}", key.check_value()));
    let asked = bsf.wait_got("BIR", 1);
    assert_eq!(avp(&asked, &["Transaction-Identifier"]), Some(&btid.text().into()), "{asked}");
    assert_eq!(avp(&asked, &["Origin-Host"]), Some(&NAF.into()), "{asked}");
    if let Some(capture) = &mut capture {
        capture.wait_until(|octets| octets.windows(4).filter(|four| four[1..] == [0, 1, 54]).count() >= 2);
        capture.stop();
        // CER and BIR.
        assert_diameter_is_sound(capture, &format!("tcp.dstport == {}", bsf.port), 2);
    }
}

#[test]
fn a_foreign_bsf_gets_vectors_and_settings_of_our_hss() {
    let Some(python) = python() else { return };
    let listen = free_port();
    let ims_tables = format!("[diameter]\nlisten = [\"tcp:127.0.0.1:{listen}\"]\n");
    let bed = Bed::start(&Plan { ims_tables, ..Plan::default() });
    let mut capture =
        installed("tshark", "-v").then(|| Capture::start(bed.path("zh.pcapng"), &[(listen, "diameter")])).flatten();
    let card = bed.subscriber_with("yes");
    let server = format!("hss.home1.net:{listen}");
    let mut bsf = Script::start(&python, "bsf.py", &["--host", "bsf.home1.net", "--server", &server]);
    let mut ask = |impi: &str| bsf.ask(json!({"do": "mar", "impi": impi}));
    let answer = ask(&card.impi);
    assert_eq!(avp(&answer, &["Result-Code"]), Some(&2001.into()), "{answer}");
    let item = |name| avp(&answer, &["3GPP-SIP-Auth-Data-Item", name]).and_then(Value::as_str).unwrap().to_owned();
    // RAND and AUTN; the card takes them, and comes to the same keys.
    let challenge = octets(&item("3GPP-SIP-Authenticate"));
    let (rand, autn) = (challenge[..16].try_into().unwrap(), challenge[16..].try_into().unwrap());
    let run = Hand::new(&card, bed.ims).usim.authenticate(&Rand(rand), &Autn(autn)).unwrap();
    // Eight octets may happen to be a text, and are told as such.
    let res = run.res.as_bytes();
    assert!(
        [hex(res), String::from_utf8_lossy(res).into_owned()].contains(&item("3GPP-SIP-Authorization")),
        "{answer}"
    );
    assert_eq!((item("Confidentiality-Key"), item("Integrity-Key")), (hex(&run.ck.0), hex(&run.ik.0)));
    let settings = avp(&answer, &["GBA-UserSecSettings"]).and_then(Value::as_str).unwrap();
    assert!(settings.contains(&hex(format!("<uid>{}</uid>", card.impu).as_bytes())), "{answer}");
    let answer = ask("nobody@home1.net");
    let code = avp(&answer, &["Experimental-Result", "Experimental-Result-Code"]);
    assert_eq!(code, Some(&5401.into()), "{answer}");
    if let Some(capture) = &mut capture {
        // MAR and MAA (303), two each.
        capture.wait_until(|octets| octets.windows(4).filter(|four| four[1..] == [0, 1, 47]).count() >= 4);
        capture.stop();
        assert_diameter_is_sound(capture, &format!("tcp.srcport == {listen}"), 3);
    }
}
