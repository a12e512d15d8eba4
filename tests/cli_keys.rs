//! `imscript aka` and `imscript gba`, run as programs, against the vectors.

mod vectors;

use serde_json::Value;
use std::process::{Command, Output};
use vectors::{load, number, text};

fn imscript(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_imscript")).args(args).output().unwrap()
}

/// Runs it with `--json` and expects success.
fn json(args: &[&str]) -> Value {
    let output = imscript(&[args, &["--json"]].concat());
    assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

/// Expects exit code 1 and gives what it said.
fn refusal(args: &[&str]) -> String {
    let output = imscript(args);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{args:?}: {said}");
    assert!(output.stdout.is_empty());
    said
}

fn same(got: &Value, name: &str, set: &Value, expected: &str) {
    assert_eq!(text(got, name), text(set, expected), "{name} in {got}");
}

/// Output field of `aka vector`, function in the vector files.
const FUNCTIONS: [(&str, &str); 7] = [
    ("mac_a", "f1"),
    ("mac_s", "f1star"),
    ("res", "f2"),
    ("ck", "f3"),
    ("ik", "f4"),
    ("ak", "f5"),
    ("ak_star", "f5star"),
];

fn vector_args<'a>(algorithm: &'a str, input: &'a Value) -> Vec<&'a str> {
    let mut args = vec!["aka", "vector", "--algorithm", algorithm];
    for (option, name) in [("--k", "k"), ("--rand", "rand"), ("--sqn", "sqn"), ("--amf", "amf")] {
        args.extend([option, text(input, name)]);
    }
    args
}

#[test]
fn aka_vector_milenage() {
    let sets = load("aka-vectors.json");
    for set in sets["milenage"].as_array().unwrap() {
        let (input, out, derived) = (&set["in"], &set["out"], &set["derived"]);
        let args = vector_args("milenage", input);
        let from_op = json(&[&args[..], &["--op", text(input, "op")]].concat());
        for (field, function) in FUNCTIONS {
            same(&from_op, field, out, function);
        }
        same(&from_op, "opc", out, "opc");
        same(&from_op, "autn", derived, "autn");
        same(&from_op, "auts", derived, "auts_if_sqn_ms_equals_sqn");
        same(&from_op, "mac_s_amf0000", derived, "mac_s_with_amf_0000");
        assert_eq!(json(&[&args[..], &["--opc", text(out, "opc")]].concat()), from_op);
    }
}

#[test]
fn aka_vector_tuak_in_every_length() {
    for file in ["aka-vectors.json", "aka-more.json"] {
        for set in load(file)["tuak"].as_array().unwrap() {
            let (input, out) = (&set["in"], &set["out"]);
            let lengths = ["mac_bits", "res_bits", "ck_bits", "ik_bits", "keccak_iterations"]
                .map(|name| number(input, name).to_string());
            let mut args = vector_args("tuak", input);
            let options = ["--mac-bits", "--res-bits", "--ck-bits", "--ik-bits", "--keccak-iterations"];
            args.extend(options.iter().zip(&lengths).flat_map(|(option, value)| [*option, value.as_str()]));
            let from_top = json(&[&args[..], &["--top", text(input, "top")]].concat());
            for (field, function) in FUNCTIONS {
                same(&from_top, field, out, function);
            }
            same(&from_top, "topc", out, "topc");
            assert!(text(&from_top, "autn").ends_with(text(out, "f1")));
            assert_eq!(json(&[&args[..], &["--topc", text(out, "topc")]].concat()), from_top);
        }
    }
}

#[test]
fn aka_resync_reads_auts_or_refuses() {
    let file = load("digest.json");
    let set = &file["aka"][1];
    let again = &set["resync"];
    let card = ["aka", "resync", "--k", text(set, "k"), "--rand", text(set, "rand")];
    for auts in [text(again, "auts"), text(again, "auts_param"), &text(again, "auts").to_uppercase()] {
        for keys in [["--opc", text(set, "opc")], ["--op", text(set, "op")]] {
            let got = json(&[&card[..], &keys, &["--auts", auts]].concat());
            same(&got, "sqn_ms", again, "sqn_ms");
        }
    }
    let forged = text(again, "auts").replacen('3', "4", 1);
    assert!(
        refusal(&[&card[..], &["--opc", text(set, "opc"), "--auts", &forged]].concat())
            .contains("MAC-S does not verify")
    );
    // OP given as OPc is another key.
    let swapped = [&card[..], &["--opc", text(set, "op"), "--auts", text(again, "auts")]].concat();
    assert!(refusal(&swapped).contains("MAC-S does not verify"));
}

fn response_args(set: &Value) -> Vec<&str> {
    let mut args = vec!["aka", "response"];
    for (option, name) in [
        ("--algorithm", "algorithm"),
        ("--username", "username"),
        ("--realm", "realm"),
        ("--uri", "uri"),
        ("--method", "method"),
        ("--nonce", "nonce"),
    ] {
        args.extend([option, text(set, name)]);
    }
    args
}

fn qop_args<'a>(set: &'a Value, qop: &'a str) -> Vec<&'a str> {
    vec!["--qop", qop, "--nc", text(set, "nc"), "--cnonce", text(set, "cnonce")]
}

#[test]
fn aka_response_from_the_card_and_from_its_outputs() {
    let body_file = tempfile::NamedTempFile::new().unwrap();
    for set in load("digest.json")["aka"].as_array().unwrap() {
        let args = response_args(set);
        let card = ["--k", text(set, "k"), "--opc", text(set, "opc")];
        let outputs = ["--res", text(set, "res"), "--ck", text(set, "ck"), "--ik", text(set, "ik")];
        let got = json(&[&args[..], &card].concat());
        same(&got, "response", set, "response");
        same(&got, "res", set, "res");
        same(&json(&[&args[..], &outputs].concat()), "response", set, "response");
        let auth = qop_args(set, "auth");
        same(&json(&[&args[..], &card, &auth].concat()), "response", set, "response_auth");
        let auth_int = qop_args(set, "auth-int");
        let body = ["--body-hex", text(set, "body")];
        same(&json(&[&args[..], &outputs, &auth_int, &body].concat()), "response", set, "response_auth_int");
        std::fs::write(body_file.path(), vectors::octets(set, "body")).unwrap();
        let body = ["--body", body_file.path().to_str().unwrap()];
        same(&json(&[&args[..], &card, &auth_int, &body].concat()), "response", set, "response_auth_int");
    }
}

#[test]
fn aka_response_of_a_resynchronisation_and_of_a_password() {
    let file = load("digest.json");
    let set = &file["aka"][1];
    let again = &set["resync"];
    for auts in [&["--auts"][..], &["--auts", text(again, "auts_param")]] {
        let args = response_args(set);
        same(&json(&[&args[..], auts].concat()), "response", again, "response");
        let auth = qop_args(again, "auth");
        same(&json(&[&args[..], &auth, auts].concat()), "response", again, "response_auth");
    }
    for set in file["published"].as_array().unwrap() {
        let password = ["--password", text(set, "password")];
        let got = json(&[&response_args(set)[..], &qop_args(set, "auth"), &password].concat());
        same(&got, "response", set, "response_auth");
    }
}

#[test]
fn gba_ks_naf_and_btid() {
    for set in load("gba.json")["sets"].as_array().unwrap() {
        let (input, out, mode) = (&set["in"], &set["out"], text(set, "mode"));
        let mut args = vec!["gba", "ks-naf", "--mode", mode, "--opc", text(out, "opc")];
        for (option, name) in
            [("--k", "k"), ("--rand", "rand"), ("--sqn", "sqn"), ("--impi", "impi"), ("--bsf-domain", "bsf_domain")]
        {
            args.extend([option, text(input, name)]);
        }
        let naf = ["--naf-fqdn", text(input, "naf_fqdn"), "--ua-id", text(input, "ua_protocol_id")];
        let got = json(&[&args[..], &naf].concat());
        let fields: &[&str] = match mode {
            "me" => &["kdf_s", "ks_naf"],
            _ => &["autn_star", "kdf_s_ext", "kdf_s_int", "ks_ext_naf", "ks_int_naf"],
        };
        for field in [&["ks", "b_tid", "naf_id", "autn", "nonce_ub"], fields].concat() {
            same(&got, field, out, field);
        }
        for also in set["also"].as_array().unwrap() {
            let naf = ["--naf-fqdn", text(also, "naf_fqdn"), "--ua-id", text(also, "ua_protocol_id")];
            let args = [&args[..], &naf].concat();
            if also.get("kdf_only").is_some() {
                assert!(refusal(&args).contains("--naf-fqdn"));
            } else {
                same(&json(&args), "ks_naf", also, "ks_naf");
            }
        }

        let made = json(&["gba", "btid", "--rand", text(input, "rand"), "--bsf-domain", text(input, "bsf_domain")]);
        same(&made, "b_tid", out, "b_tid");
        let parsed = json(&["gba", "btid", "--parse", text(out, "b_tid")]);
        same(&parsed, "rand", input, "rand");
        same(&parsed, "bsf_domain", input, "bsf_domain");
    }
}

#[test]
fn bad_values_name_their_option_and_show_no_key() {
    const K: &str = "465b5ce8b199b49faa5f0a2ee238a6bc";
    let vector = |k: &'static str, opc: &'static str, rand: &'static str, sqn: &'static str| {
        refusal(&["aka", "vector", "--k", k, "--opc", opc, "--rand", rand, "--sqn", sqn])
    };
    let cases = [
        (vector("465b5ce8b199b49faa5f0a2ee238a6bx", K, K, "000000000000"), "--k"),
        (vector("465b5ce8b199b49faa5f0a2ee238a6b", K, K, "000000000000"), "--k"),
        (vector("", K, K, "000000000000"), "--k"),
        (vector("é5b5ce8b199b49faa5f0a2ee238a6bc", K, K, "000000000000"), "--k"),
        (vector(K, "46", K, "000000000000"), "--opc"),
        (vector(K, K, "46 ", "000000000000"), "--rand"),
        (vector(K, K, K, "0000000000000"), "--sqn"),
        (vector(K, K, K, "20"), "--sqn"),
        (refusal(&["aka", "vector", "--k", K, "--rand", K, "--sqn", "000000000000"]), "--opc or --op"),
        (refusal(&["aka", "resync", "--k", K, "--opc", K, "--rand", K, "--auts", "00"]), "--auts"),
        (refusal(&["gba", "btid", "--parse", "x@y"]), "--parse"),
        (refusal(&["gba", "btid", "--rand", K, "--bsf-domain", "not a name"]), "--bsf-domain"),
        (
            refusal(&[
                "aka",
                "vector",
                "--algorithm",
                "tuak",
                "--k",
                K,
                "--topc",
                K,
                "--rand",
                K,
                "--sqn",
                "000000000000",
            ]),
            "--topc",
        ),
        (
            refusal(&[
                "aka",
                "vector",
                "--mac-bits",
                "128",
                "--k",
                K,
                "--opc",
                K,
                "--rand",
                K,
                "--sqn",
                "000000000000",
            ]),
            "--mac-bits",
        ),
    ];
    for (said, option) in cases {
        assert!(said.contains(option), "{said}");
        assert!(!said.contains("465b5c"), "{said}");
    }
}

#[test]
fn wrong_usage_is_exit_code_2_and_every_help_has_an_example() {
    assert_eq!(imscript(&["aka", "vector"]).status.code(), Some(2));
    assert_eq!(imscript(&["gba", "btid"]).status.code(), Some(2));
    for verb in [
        &["aka"][..],
        &["aka", "vector"],
        &["aka", "resync"],
        &["aka", "response"],
        &["gba"],
        &["gba", "ks-naf"],
        &["gba", "btid"],
    ] {
        let output = imscript(&[verb, &["--help"]].concat());
        let help = String::from_utf8(output.stdout).unwrap();
        assert!(output.status.success() && help.contains("Example") && help.contains("imscript"), "{help}");
    }
}
