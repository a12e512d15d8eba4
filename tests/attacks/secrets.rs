//! Nothing of what must stay secret is in logs, traces or standard error, however much is logged.

use crate::support::*;
use base64::Engine;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD, URL_SAFE_NO_PAD};
use imscript::aka::vector::Rand;
use imscript::gba::kdf::{self, Ks};
use imscript::gba::naf_id::NafId;

/// Every form in which octets may have slipped into a text.
fn forms(octets: &[u8]) -> Vec<String> {
    let hex: String = octets.iter().map(|octet| format!("{octet:02x}")).collect();
    let spaced: Vec<String> = octets.iter().map(|octet| format!("{octet:02x}")).collect();
    let list: Vec<String> = octets.iter().map(u8::to_string).collect();
    vec![
        hex.clone(),
        hex.to_uppercase(),
        spaced.join(" "),
        spaced.join(":"),
        list.join(", "),
        list.join(","),
        STANDARD.encode(octets),
        STANDARD_NO_PAD.encode(octets),
        URL_SAFE_NO_PAD.encode(octets),
    ]
}

fn unhex(text: &str) -> Vec<u8> {
    (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap()).collect()
}

#[test]
fn no_secret_is_written() {
    let server = Server::start(3, "", "", &["--log", "trace", "--trace", "trace.jsonl"]);
    let mut secrets: Vec<(&str, Vec<String>)> = vec![
        ("K", forms(&unhex(K))),
        ("OPc", forms(&unhex(OPC))),
        ("password", [forms(PASSWORD.as_bytes()), vec![PASSWORD.to_owned()]].concat()),
    ];
    let response = |authorization: &str| {
        let value = authorization.split(" response=\"").nth(1).unwrap().split('"').next().unwrap();
        vec![value.to_owned()]
    };
    let naf = NafId::parse("bsm.home1.net").unwrap();
    // By hand, with the portion, right and wrong.
    for (user, wrong) in [("card", false), ("card", true), ("u0", false), ("u0", true)] {
        let user = User::new(server.udp, user);
        let authorization = user.authorization();
        let nonce = authorization.split(" nonce=\"").nth(1).unwrap().split('"').next().unwrap().to_owned();
        secrets.push(("digest response", response(&authorization)));
        if user.name == "card" {
            let keys = session_keys(&nonce);
            let ks = Ks::new(&keys.ck, &keys.ik);
            let rand = Rand(STANDARD.decode(&nonce).unwrap()[..16].try_into().unwrap());
            let ks_naf = kdf::ks_naf(&ks, &rand, &user.impi(), &naf);
            secrets.push(("RES", forms(keys.res.as_bytes())));
            secrets.push(("CK", forms(&keys.ck.0)));
            secrets.push(("IK", forms(&keys.ik.0)));
            secrets.push(("Ks_NAF", forms(&ks_naf.0)));
            secrets.push(("MRK", forms(&kdf::mrk(&ks_naf).0)));
        }
        let algorithm = if wrong { authorization.replace("response=\"", "response=\"0") } else { authorization };
        let fields = format!("Authorization: {algorithm}\r\nBcast-Ext: naf-id=\"bsm.home1.net\"\r\n");
        let status = user.line.ask(&register(&user.name, &fields)).status();
        assert_eq!(status, if wrong { 403 } else { 200 });
    }
    // The terminal's own ways: each figure's payload and key movement as the default policy has them.
    for figure in ["3", "4", "7", "8"] {
        let done = server.terminal("register", &["--naf-id", "bsm.home1.net", "--figure", figure]);
        assert_eq!(done["result"], "registered", "{done}");
        if let Some(key) = done["ks_naf"].as_str() {
            secrets.push(("Ks_NAF", forms(&unhex(key))));
        }
    }
    assert!(secrets.iter().filter(|(what, _)| *what == "Ks_NAF").count() > 2);
    assert_eq!(server.terminal("deregister", &["--all"])["result"], "deregistered");
    // A malformed Authorization that holds a good response.
    let user = User::new(server.udp, "u0");
    let authorization = user.authorization();
    secrets.push(("digest response", response(&authorization)));
    let torn = authorization.replace("realm=", "realm");
    user.line.ask(&register("u0", &format!("Authorization: {torn}\r\nProxy-Authorization: {authorization}\r\n")));
    let torn = register("u0", &format!("Authorization: {authorization}\r\n"));
    user.line.send(&torn[..torn.len() - 20]);
    user.line.settle();
    for file in ["log", "trace.jsonl"] {
        let text = std::fs::read_to_string(server.dir.path().join(file)).unwrap();
        assert!(text.len() > 1_000, "{file}: {text}");
        for (what, forms) in &secrets {
            for form in forms {
                let found = text.lines().find(|line| line.contains(form.as_str()));
                assert!(found.is_none(), "{what} is in {file}: {found:?}");
            }
        }
    }
}
