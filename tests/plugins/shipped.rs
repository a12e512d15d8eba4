//! The plugins that come with the server: they load with the settings that their READMEs show, in the order that
//! operators expect.

use crate::world::chain;
use imscript::config::Config;
use imscript::policy::Stage;
use imscript::policy::lua::Plugins;
use imscript::policy::lua::package::{self, Loaded};
use std::path::{Path, PathBuf};

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("plugins")
}

fn names() -> Vec<String> {
    let entries = std::fs::read_dir(folder()).unwrap().map(|entry| entry.unwrap());
    let folders = entries.filter(|entry| entry.path().is_dir());
    let mut names: Vec<_> = folders.map(|entry| entry.file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

/// The first TOML block of a README: what an operator copies.
fn example(name: &str) -> String {
    let readme = std::fs::read_to_string(folder().join(name).join("README.md")).unwrap();
    let block = readme.split("```toml\n").nth(1).unwrap_or_else(|| panic!("{name} shows no settings"));
    block.split("```").next().unwrap().to_owned()
}

/// All of them, each set as its README says.
fn loaded() -> Loaded {
    let folder_of_config = tempfile::tempdir().unwrap();
    for secret in ["webhook.token", "webhook.key"] {
        std::fs::write(folder_of_config.path().join(secret), "0123456789abcdef\n").unwrap();
    }
    let mut text = format!("[plugins]\ndir = {:?}\n", folder());
    for name in names() {
        text.push_str(&example(&name));
    }
    let path = folder_of_config.path().join("imscript.toml");
    std::fs::write(&path, &text).unwrap();
    let config = Config::load(&path).unwrap_or_else(|e| panic!("{e}\n{text}"));
    package::read(None, config.plugins.as_ref(), &[]).unwrap_or_else(|e| panic!("{e}\n{text}"))
}

#[test]
fn they_load_with_the_settings_of_their_readmes() {
    assert!(names().len() >= 6, "{:?}", names());
    let loaded = loaded();
    assert_eq!(loaded.units.len(), names().len() + 1);
    assert_eq!(loaded.notes, Vec::<String>::new());
    for unit in &loaded.units {
        assert!(!format!("{unit:?}").contains("0123456789abcdef"), "a secret of {}", unit.name);
    }
}

#[test]
fn they_are_asked_in_this_order() {
    let chain = chain(&loaded());
    let order = |stage| chain.order(stage).collect::<Vec<_>>().join(" ");
    assert_eq!(order(Stage::Register), "maintenance-window rate-limit-per-impi");
    assert_eq!(order(Stage::Verify), "verify-cache policy");
    assert_eq!(order(Stage::Broadcast), "broadcast-by-region weighted-split policy");
    assert_eq!(order(Stage::Failure), "weighted-split");
    assert_eq!(order(Stage::Status), "status-webhook flap-damping policy");
}

/// Without settings, those that need some say which; the others run as they are.
#[test]
fn what_they_need_is_said_by_name() {
    let needs = |name: &str| {
        let others = names().into_iter().filter(|other| other != name).map(|other| (other, 0)).collect();
        let plugins = Plugins { disabled: others, ..Plugins::of(folder()) };
        package::read(None, Some(&plugins), &[]).map(|_| ()).map_err(|e| e.to_string())
    };
    for (name, key) in [
        ("broadcast-by-region", "regions: missing (an array"),
        ("maintenance-window", "windows: missing (an array"),
        ("status-webhook", "url: missing (a string"),
        ("weighted-split", "weights: missing (an object"),
    ] {
        let error = needs(name).expect_err(name);
        assert!(error.starts_with(&format!("imscript.toml: plugins.config.{name}.{key}")), "{error}");
    }
    for name in ["flap-damping", "rate-limit-per-impi", "verify-cache"] {
        assert_eq!(needs(name), Ok(()));
    }
}
