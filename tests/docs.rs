//! The book: every page is in it, every link leads somewhere, every command line is one, and every policy, plugin manifest
//! and configuration in it is taken by the server.

use imscript::config::Config;
use imscript::hss::RegState;
use imscript::policy::lua::{Env, LuaPolicy, PolicySource};
use imscript::policy::manifest::Manifest;
use imscript::policy::{
    Context, Decide, FailureView, Kind, Outcome, PortionView, ServerView, Stage, StatusEvent, System,
};
use imscript::sip::Message;
use imscript::sip::transaction::{Source, Transport};
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Path and text of the pages of the book.
fn pages() -> BTreeMap<PathBuf, String> {
    let entries = fs::read_dir(root().join("docs")).unwrap().map(|entry| entry.unwrap().path());
    let markdown = entries.filter(|path| path.extension().is_some_and(|e| e == "md"));
    markdown.map(|path| (path.clone(), fs::read_to_string(path).unwrap())).collect()
}

/// The book and what else is written for people: READMEs of the repository, its examples and plugins.
fn everything() -> BTreeMap<PathBuf, String> {
    let mut all = pages();
    let mut folders = vec![root().to_path_buf()];
    for group in ["examples", "plugins"] {
        let Ok(entries) = fs::read_dir(root().join(group)) else { continue };
        folders.extend(entries.map(|entry| entry.unwrap().path()).filter(|path| path.is_dir()));
    }
    for path in folders.into_iter().flat_map(|f| [f.join("README.md"), f.join("ARCHITECTURE.md")]) {
        if let Ok(text) = fs::read_to_string(&path) {
            all.insert(path, text);
        }
    }
    all
}

/// One of its policies is wrong on purpose; tests/author follows it from end to end.
const TUTORIAL: &str = "docs/first-policy.md";

fn shown(path: &Path) -> String {
    path.strip_prefix(root()).unwrap_or(path).display().to_string()
}

/// A fenced block: the words behind the fence, the line of its first line, its text.
struct Block {
    info: String,
    line: usize,
    text: String,
}

/// The fenced blocks of a page, and the page without them.
fn blocks(page: &str) -> (Vec<Block>, String) {
    let (mut blocks, mut prose, mut open) = (Vec::new(), String::new(), None::<Block>);
    for (index, line) in page.lines().enumerate() {
        match (&mut open, line.trim_start().strip_prefix("```")) {
            (None, Some(info)) => {
                open = Some(Block { info: info.trim().into(), line: index + 2, text: String::new() });
            }
            (Some(_), Some(_)) => blocks.extend(open.take()),
            (Some(block), None) => block.text.push_str(&format!("{line}\n")),
            (None, None) => prose.push_str(line),
        }
        if open.is_none() {
            prose.push('\n');
        }
    }
    assert!(open.is_none(), "a fence is not closed");
    (blocks, prose)
}

/// Targets of the links of a text, code spans left out.
fn links(prose: &str) -> Vec<String> {
    let outside: String = prose.split('`').step_by(2).collect::<Vec<_>>().join("code");
    let ends = outside.match_indices("](").map(|(at, _)| &outside[at + 2..]);
    ends.filter_map(|rest| rest.split_once(')')).map(|(target, _)| target.trim().to_owned()).collect()
}

/// The anchors of a page's headings, as mdBook and GitHub make them.
fn anchors(prose: &str) -> Vec<String> {
    let mut seen = BTreeMap::<String, usize>::new();
    let headings = prose.lines().filter(|line| line.starts_with('#')).map(|line| line.trim_start_matches('#').trim());
    let anchor = |heading: &str| {
        let kept = heading.chars().filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'));
        let name: String = kept.map(|c| if c == ' ' { '-' } else { c.to_ascii_lowercase() }).collect();
        let count = seen.entry(name.clone()).or_default();
        *count += 1;
        if *count == 1 { name } else { format!("{name}-{}", *count - 1) }
    };
    headings.map(anchor).collect()
}

#[test]
fn the_summary_names_every_page_and_nothing_else() {
    let pages = pages();
    let summary = links(&pages[&root().join("docs/SUMMARY.md")]);
    let mut missing: Vec<_> = summary.iter().filter(|link| !root().join("docs").join(link).is_file()).collect();
    let names = pages.keys().map(|path| path.file_name().unwrap().to_str().unwrap().to_owned());
    let left_out: Vec<String> = names.filter(|name| name != "SUMMARY.md" && !summary.contains(name)).collect();
    missing.sort();
    assert!(missing.is_empty(), "SUMMARY.md names pages that are not there: {missing:?}");
    assert!(left_out.is_empty(), "SUMMARY.md leaves out: {left_out:?}");
    assert!(fs::read_to_string(root().join("docs/book.toml")).unwrap().contains("src = \".\""));
}

#[test]
fn every_link_leads_to_a_file_and_a_heading() {
    let all = everything();
    let mut faults = Vec::new();
    for (path, text) in &all {
        let (_, prose) = blocks(text);
        for link in links(&prose).into_iter().filter(|link| !link.contains("://") && !link.starts_with("mailto:")) {
            let (file, anchor) = link.split_once('#').map_or((link.as_str(), None), |(f, a)| (f, Some(a)));
            let target = if file.is_empty() { path.clone() } else { path.parent().unwrap().join(file) };
            let Ok(target) = target.canonicalize() else {
                faults.push(format!("{}: {link}: no such file", shown(path)));
                continue;
            };
            let Some(anchor) = anchor else { continue };
            let there = fs::read_to_string(&target).map(|text| anchors(&blocks(&text).1)).unwrap_or_default();
            if !there.iter().any(|known| known == anchor) {
                faults.push(format!("{}: {link}: no such heading", shown(path)));
            }
        }
    }
    assert!(faults.is_empty(), "\n{}", faults.join("\n"));
}

/// The words of a shell line, quotes undone; None if it holds something that is no plain command.
fn words(line: &str) -> Option<Vec<String>> {
    let (mut words, mut word, mut quote) = (Vec::new(), None::<String>, None);
    for c in line.chars() {
        match (quote, c) {
            (Some(q), c) if c == q => quote = None,
            (None, '\'' | '"') => {
                quote = Some(c);
                word.get_or_insert_default();
            }
            (None, '#') if word.is_none() => break,
            (None, '|' | '&' | ';' | '>' | '<') => break,
            (None, '$' | '…') => return None,
            (None, c) if c.is_whitespace() => words.extend(word.take()),
            (_, c) => word.get_or_insert_default().push(c),
        }
    }
    words.extend(word);
    Some(words)
}

/// What comes behind `imscript`, however it is called.
fn arguments(words: &[String]) -> Option<&[String]> {
    let settings = words.iter().take_while(|w| w.split_once('=').is_some_and(|(name, _)| is_variable(name))).count();
    let words = words.get(settings..)?;
    match words {
        [first, rest @ ..] if first == "imscript" || first.ends_with("/imscript") => Some(rest),
        [cargo, run, rest @ ..] if cargo == "cargo" && run == "run" && !rest.iter().any(|w| w == "--example") => {
            let at = rest.iter().position(|word| word == "--")?;
            rest.get(at + 1..)
        }
        _ => None,
    }
}

fn is_variable(name: &str) -> bool {
    !name.is_empty() && name.chars().all(|c| c.is_ascii_uppercase() || c.is_ascii_digit() || c == '_')
}

#[test]
fn every_command_line_is_one() {
    let (mut faults, mut found) = (Vec::new(), 0);
    for (path, text) in everything() {
        let (blocks, prose) = blocks(&text);
        let shell = blocks.iter().filter(|b| matches!(&*b.info, "sh" | "bash" | "console")).map(|b| b.text.clone());
        let indented = prose.lines().filter_map(|line| line.strip_prefix("    ")).collect::<Vec<_>>().join("\n");
        for script in shell.chain([indented]) {
            for line in script.replace("\\\n", " ").lines() {
                let line = line.trim_start().trim_start_matches("$ ");
                let Some(words) = words(line) else { continue };
                let Some(arguments) = arguments(&words) else { continue };
                if arguments.iter().any(|word| word.starts_with('[')) {
                    continue; // what may be left out, no command
                }
                found += 1;
                match imscript::cli::parses(arguments.iter().map(String::as_str)) {
                    Ok(true) => {}
                    Ok(false) => faults.push(format!("{}: {line}: something is missing", shown(&path))),
                    Err(why) => faults.push(format!("{}: {line}: {why}", shown(&path))),
                }
            }
        }
        // In running text the verb and its options must be right; what they need may be left out.
        for span in prose.split('`').skip(1).step_by(2).filter(|span| span.starts_with("imscript ")) {
            if span.contains(['|', '·', '[', '{', '\n']) || span.contains("...") {
                continue;
            }
            let Some(words) = words(span) else { continue };
            found += 1;
            if let Err(why) = imscript::cli::parses(words.iter().skip(1).map(String::as_str)) {
                faults.push(format!("{}: `{span}`: {why}", shown(&path)));
            }
        }
    }
    assert!(faults.is_empty(), "\n{}", faults.join("\n"));
    assert!(found > 20, "only {found} command lines were found");
}

fn servers() -> Vec<ServerView> {
    let naf_fqdns = vec!["bsm.home1.net".to_owned()];
    ["bsm", "north", "south", "overview"]
        .map(|name| ServerView { name: name.to_owned(), naf_fqdns: naf_fqdns.clone() })
        .to_vec()
}

/// Asks every stage about users at home and abroad, new and known.
fn ask_everything(policy: &dyn Decide) {
    let text = "REGISTER sip:home1.net SIP/2.0\r\nVia: SIP/2.0/UDP 192.0.2.7:5060;branch=z9hG4bK1\r\nMax-Forwards: 70\r\n\
        From: <sip:alice@home1.net>;tag=a\r\nTo: <sip:alice@home1.net>\r\nCall-ID: c1\r\nCSeq: 1 REGISTER\r\n\
        User-Agent: Card\r\nContact: <sip:alice@192.0.2.7>\r\nContent-Length: 0\r\n\r\n";
    let register = Message::parse(text.as_bytes()).unwrap();
    let options = text.replace("REGISTER", "OPTIONS");
    let options = Message::parse(options.as_bytes()).unwrap();
    let answer = "SIP/2.0 403 Forbidden\r\nVia: SIP/2.0/UDP 192.0.2.7:5060;branch=z9hG4bK1\r\n\
        From: <sip:alice@home1.net>;tag=a\r\nTo: <sip:alice@home1.net>;tag=b\r\nCall-ID: c1\r\nCSeq: 1 REGISTER\r\n\
        Content-Length: 0\r\n\r\n";
    let answer = Message::parse(answer.as_bytes()).unwrap();
    let addr = "192.0.2.7:5060".parse().unwrap();
    let source = Source { transport: Transport::Udp, addr, local: addr, peer_names: [].into() };
    let servers = servers();
    let arrival = Context::arrival(&source, &servers, 1_800_000_000);
    policy.receive(&register, &arrival);
    policy.route(&options, &arrival);
    for (visited_network, kind, payload) in [
        (None, Kind::Initial, None),
        (Some("visited1.net"), Kind::Refresh, Some(&b"<order/>"[..])),
        (Some("elsewhere.net"), Kind::Initial, Some(&[b'x'; 5000][..])),
    ] {
        let portion = PortionView {
            naf_fqdn: "bsm.home1.net",
            ua_id: [1, 0, 0, 0, 1],
            profile: Some("1.0"),
            payload,
            payload_type: payload.map(|_| "application/vnd.oma.bcast.sprov+xml"),
        };
        let (impi, impu) = ("alice@home1.net", "sip:alice@home1.net");
        let ctx = Context { kind, impi, impu, visited_network, portion: Some(&portion), ..arrival };
        policy.register(&register, &ctx);
        policy.verify(&register, &ctx);
        policy.authorized(&register, &ctx);
        policy.broadcast(&register, &portion, &ctx);
        let failure = FailureView { server: "north", cause: "no answer", status: None, attempt: 1 };
        policy.failure(&register, &failure, &portion, &ctx);
        policy.reply(&answer, &ctx);
        let outcome = Outcome {
            method: "REGISTER",
            status: 200,
            broadcast: Some(RegState::Registered),
            server: Some("bsm"),
            micros: 200_000,
        };
        policy.finish(&outcome, &ctx);
    }
    for system in [System::Ims, System::Broadcast] {
        for (previous, state, cause) in [
            (RegState::NotRegistered, RegState::Registered, "registered"),
            (RegState::Registered, RegState::Registered, "refreshed"),
            (RegState::Registered, RegState::Failed, "failed"),
        ] {
            policy.status(&StatusEvent {
                system,
                previous,
                state,
                cause,
                impi: "alice@home1.net",
                impu: "sip:alice@home1.net",
                btid: None,
                naf_fqdn: Some("bsm.home1.net"),
                servers: &["bsm"],
                expires: 600,
                unix: 1_800_000_000,
            });
        }
    }
}

/// A block is a whole file if it ends with `return NAME`.
fn is_whole(text: &str) -> bool {
    let last = text.lines().rev().find(|line| !line.trim().is_empty()).unwrap_or_default();
    last.strip_prefix("return ").is_some_and(|name| name.chars().all(|c| c.is_alphanumeric() || c == '_'))
}

#[test]
fn every_lua_block_compiles_and_whole_policies_answer() {
    let (mut whole, mut faults) = (BTreeMap::<String, usize>::new(), Vec::new());
    for (path, text) in everything() {
        for block in blocks(&text).0.into_iter().filter(|block| block.info == "lua") {
            let name = format!("{}:{}", shown(&path), block.line);
            let program = match PolicySource::new(name.as_str(), block.text.as_str()).compile() {
                Ok(program) => program,
                Err(error) => {
                    faults.push(error.to_string());
                    continue;
                }
            };
            if !is_whole(&block.text) || shown(&path) == TUTORIAL {
                continue;
            }
            *whole.entry(shown(&path)).or_default() += 1;
            match LuaPolicy::within(&program, &Env::detached(&servers())) {
                Ok(policy) => {
                    let stages = Stage::ALL.into_iter().filter(|stage| policy.has(*stage)).count();
                    ask_everything(&policy);
                    if let Some(fault) = policy.last_fault() {
                        faults.push(format!("{name}: {fault}"));
                    } else if stages == 0 {
                        faults.push(format!("{name}: no stages"));
                    }
                }
                Err(error) => faults.push(format!("{name}: {error}")),
            }
        }
    }
    assert!(faults.is_empty(), "\n{}", faults.join("\n"));
    assert!(whole.get("docs/recipes.md").is_some_and(|recipes| *recipes >= 12), "{whole:?}");
}

#[test]
fn every_manifest_and_configuration_is_taken() {
    let folder = tempfile::tempdir().unwrap();
    let (mut faults, mut manifests, mut configurations) = (Vec::new(), 0, 0);
    for (path, text) in pages() {
        for block in blocks(&text).0.into_iter().filter(|block| block.info == "toml") {
            let name = format!("{}:{}", shown(&path), block.line);
            if block.text.lines().any(|line| line.starts_with("api =")) {
                manifests += 1;
                let own = block.text.lines().find_map(|line| line.strip_prefix("name = \"")?.strip_suffix('"'));
                if let Err(found) = Manifest::parse(&block.text, &name, own.unwrap_or_default()) {
                    faults.push(found.to_string());
                }
            } else {
                configurations += 1;
                if let Err(error) = Config::parse(&block.text, &folder.path().join("imscript.toml")) {
                    faults.push(format!("{name}: {error}"));
                }
            }
        }
    }
    assert!(faults.is_empty(), "\n{}", faults.join("\n"));
    assert!(manifests > 0 && configurations > 1);
}

#[test]
fn the_checks_themselves_see_faults() {
    let (found, prose) = blocks("# A\n\ntext [x](y.md#z) `[no](link)`\n\n```lua\nreturn x\n```\n## B c, d!\n## A\n");
    assert_eq!((found.len(), found[0].line, &*found[0].text), (1, 6, "return x\n"));
    assert_eq!(links(&prose), ["y.md#z"]);
    assert_eq!(anchors(&prose), ["a", "b-c-d", "a-1"]);
    assert!(is_whole("local p = {}\nreturn p\n\n") && !is_whole("return ims.skip(x)"));
    assert_eq!(words("imscript run --log 'a b' # c").unwrap(), ["imscript", "run", "--log", "a b"]);
    let called = |line: &str| arguments(&words(line).unwrap()).map(<[String]>::to_vec);
    assert_eq!(called("A=b imscript run").unwrap(), ["run"]);
    assert_eq!(called("cargo run --release -- demo").unwrap(), ["demo"]);
    assert_eq!(called("cargo build"), None);
    assert!(imscript::cli::parses(["no-such-verb"]).is_err());
    assert!(imscript::cli::parses(["run", "--no-such-option"]).is_err());
    assert_eq!(imscript::cli::parses(["run", "--trace"]), Ok(false));
    let wrong = LuaPolicy::load(&PolicySource::new("x", "return { verify = function() return ims.nonsense() end }"));
    let wrong = wrong.unwrap();
    ask_everything(&wrong);
    assert!(wrong.last_fault().is_some());
    let _: Arc<str> = wrong.last_fault().unwrap().unit;
}
