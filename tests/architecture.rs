//! Who may import whom (ARCHITECTURE.md): a lower rank never imports a higher one, and some crates stand in one place only.

use std::fs;
use std::path::{Path, PathBuf};

/// Module path prefix and its rank; the longest match counts.
const RANKS: &[(&str, u8)] = &[
    ("answer", 0),
    ("clock", 0),
    // Regular files only: policies, their tests and the configuration are read in the same way.
    ("file", 0),
    ("few", 0),
    ("identity", 0),
    ("metrics", 0),
    ("shelf", 0),
    ("xml", 0),
    ("sip", 0),
    ("aka", 0),
    ("diameter", 0),
    ("xml", 0),
    ("diameter::exchange", 1),
    ("diameter::applications", 1),
    ("diameter::peer", 1),
    ("diameter::node", 3),
    ("gba::kdf", 0),
    ("gba::btid", 0),
    ("gba::naf_id", 0),
    ("gba::guss", 0),
    ("gba::ub", 3),
    ("sip::transaction", 1),
    ("auth", 1),
    ("hss", 1),
    ("store", 1),
    ("policy", 1),
    ("registrar", 2),
    ("icscf", 2),
    ("broadcast", 2),
    ("gba", 2),
    ("sip::transport", 3),
    ("hss::embedded", 3),
    ("hss::remote", 3),
    ("hss::serve", 3),
    ("policy::lua", 3),
    ("broadcast::ua", 3),
    ("store::space", 3),
    ("store::sqlite", 3),
    ("store::redis", 3),
    ("store::open", 3),
    ("http", 3),
    ("config", 4),
    ("observe", 4),
    ("terminal", 4),
    ("server", 5),
    // Tests of policies: like the server, it puts registrar, terminal and policies together.
    ("harness", 5),
    ("cli", 6),
];

/// Crate and the module paths in which alone it may be named.
const ONLY: &[(&str, &[&str])] = &[
    // The test files of the harness run in a VM of their own.
    ("mlua", &["policy::lua", "harness"]),
    ("pcap_parser", &["observe::capture"]),
    ("etherparse", &["observe::capture"]),
    ("rustyline", &["cli"]),
    ("notify", &["policy::lua"]),
    ("rusqlite", &["hss::embedded", "store"]),
    ("clap", &["cli"]),
    ("anyhow", &["cli"]),
    ("axum", &["http::server", "server"]),
    ("hyper", &["terminal", "server", "http"]),
    ("redis", &["store::redis"]),
    ("rustls", &["sip::transport", "diameter::node", "terminal", "http", "store::redis"]),
    // Of retrieve, only the channel that hands a key to those who wait for it: no I/O.
    (
        "tokio",
        &[
            "sip::transport",
            "diameter::node",
            "broadcast::retrieve",
            "terminal",
            "server",
            "cli",
            "hss::embedded",
            "hss::serve",
            "store",
            "http",
        ],
    ),
    ("hashbrown", &["shelf"]),
    ("parking_lot", &["shelf"]),
    ("aes", &["aka"]),
    ("keccak", &["aka"]),
    ("ring", &["store::seal"]),
    ("rsip", &["sip::rsip"]),
    ("indicatif", &["cli", "terminal", "hss::embedded"]),
];

fn under(path: &str, prefix: &str) -> bool {
    path == prefix || path.strip_prefix(prefix).is_some_and(|rest| rest.starts_with("::"))
}

fn rank(path: &str) -> Option<u8> {
    RANKS.iter().filter(|(prefix, _)| under(path, prefix)).max_by_key(|(prefix, _)| prefix.len()).map(|(_, rank)| *rank)
}

fn sources(dir: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|e| e == "rs") {
            found.push(path);
        }
    }
}

/// `src/sip/transport/udp.rs` → `sip::transport::udp`.
fn module_of(path: &Path, root: &Path) -> String {
    let relative = path.strip_prefix(root).unwrap().with_extension("");
    let parts: Vec<_> = relative.iter().map(|p| p.to_str().unwrap()).filter(|p| *p != "mod").collect();
    parts.join("::")
}

/// Modules that are compiled for tests only.
fn is_test(module: &str) -> bool {
    module.ends_with("tests") || module.ends_with("testbed")
}

/// Every `crate::a::b` in the text, groups opened one level: enough to find the module that is named.
fn imports(text: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut rest = text;
    while let Some(at) = rest.find("crate::") {
        rest = &rest[at + "crate::".len()..];
        let path: String = rest.chars().take_while(|c| c.is_alphanumeric() || *c == '_' || *c == ':').collect();
        let base = path.trim_end_matches(':').to_string();
        if rest[path.len()..].starts_with('{') {
            let group = rest[path.len() + 1..].split('}').next().unwrap_or_default();
            for item in group.split(',') {
                let name: String =
                    item.trim().chars().take_while(|c| c.is_alphanumeric() || *c == '_' || *c == ':').collect();
                found.push(format!("{base}::{name}"));
            }
        } else {
            found.push(base);
        }
    }
    found
}

/// Source text without tests (they may reach anywhere) and comments.
fn code(text: &str) -> String {
    let text = text.split("#[cfg(test)]").next().unwrap_or_default();
    text.lines().filter(|line| !line.trim_start().starts_with("//")).collect::<Vec<_>>().join("\n")
}

#[test]
fn lower_ranks_never_import_higher_ones() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    sources(&root, &mut files);
    let mut faults = Vec::new();
    for file in files {
        let module = module_of(&file, &root);
        if matches!(module.as_str(), "lib" | "main") || is_test(&module) {
            continue;
        }
        let own = rank(&module).unwrap_or_else(|| panic!("{module} has no rank: add it to the table"));
        for import in imports(&code(&fs::read_to_string(&file).unwrap())) {
            match rank(&import) {
                Some(other) if other > own => {
                    faults.push(format!("{module} (rank {own}) imports {import} (rank {other})"))
                }
                Some(_) => {}
                None => faults.push(format!("{module} imports {import}, which has no rank")),
            }
        }
    }
    assert!(faults.is_empty(), "\n{}", faults.join("\n"));
}

#[test]
fn crates_stand_where_they_belong() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    sources(&root, &mut files);
    let mut faults = Vec::new();
    for file in files {
        let module = module_of(&file, &root);
        if is_test(&module) {
            continue;
        }
        let text = code(&fs::read_to_string(&file).unwrap());
        for (name, places) in ONLY {
            let named = text.contains(&format!("use {name}::")) || text.contains(&format!(" {name}::"));
            if named && !places.iter().any(|place| under(&module, place)) {
                faults.push(format!("{module} names the crate {name}, which belongs to {}", places.join(", ")));
            }
        }
    }
    assert!(faults.is_empty(), "\n{}", faults.join("\n"));
}

#[test]
fn the_check_itself_finds_a_wrong_import() {
    assert_eq!(
        imports("use crate::server::Node;\nuse crate::sip::{Message, transport::Tls};"),
        ["server::Node", "sip::Message", "sip::transport::Tls"]
    );
    assert!(rank("server::Node") > rank("sip::message"));
    assert_eq!(rank("sip::transport::udp"), Some(3));
    assert_eq!(rank("gba::kdf"), Some(0));
    assert_eq!(code("// crate::server\nuse x;\n#[cfg(test)]\nmod t { use crate::server; }").trim(), "use x;");
}
