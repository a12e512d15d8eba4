//! What a path on the command line means to the verbs for authors: a configuration, a policy, a plugin, or a folder of
//! these.

use crate::config::Config;
use crate::harness::{files, subject::Subject};
use crate::policy::ServerView;
use crate::policy::lua::Plugins;
use anyhow::{Context, bail};
use std::path::{Path, PathBuf};

const CONFIG: &str = "imscript.toml";
const POLICIES: &str = "lua/policy";
const PLUGINS: &str = "plugins";
const MANIFEST: &str = "plugin.toml";
const MAIN: &str = "main.lua";
/// Folders within a folder of policies.
const MAX_DEPTH: usize = 4;
const MAX_POLICIES: usize = 1000;

#[derive(Debug, Clone, PartialEq)]
pub(super) enum Target {
    Config(PathBuf),
    Policy(PathBuf),
    /// The folder of one plugin.
    Plugin(PathBuf),
    /// A folder of plugins; each of its folders follows as one.
    Plugins(PathBuf),
    /// One test file.
    Test(PathBuf),
}

/// What is meant by `path`; without one, what there is in the current folder.
pub(super) fn targets(path: Option<&Path>) -> anyhow::Result<Vec<Target>> {
    let Some(path) = path else {
        let config = Path::new(CONFIG);
        if config.is_file() {
            return Ok(vec![Target::Config(config.to_path_buf())]);
        }
        if Path::new(MANIFEST).is_file() {
            return Ok(vec![Target::Plugin(PathBuf::from("."))]);
        }
        let mut found = Vec::new();
        for folder in [POLICIES, PLUGINS].map(Path::new) {
            if folder.is_dir() {
                found.extend(in_folder(folder)?);
            }
        }
        if found.is_empty() {
            bail!("nothing here: neither {CONFIG} nor {POLICIES} nor {PLUGINS}; name a file or a folder");
        }
        return Ok(found);
    };
    if path.is_dir() {
        return in_folder(path);
    }
    if !path.exists() {
        bail!("{}: no such file or folder", path.display());
    }
    let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    match path.extension().and_then(|extension| extension.to_str()) {
        _ if name == MANIFEST => Ok(vec![Target::Plugin(parent(path))]),
        Some("toml") => Ok(vec![Target::Config(path.to_path_buf())]),
        _ if files::is_test(path) => Ok(vec![Target::Test(path.to_path_buf())]),
        Some("lua" | "luau") if name == MAIN && parent(path).join(MANIFEST).is_file() => {
            Ok(vec![Target::Plugin(parent(path))])
        }
        Some("lua" | "luau") => Ok(vec![Target::Policy(path.to_path_buf())]),
        _ => bail!("{}: a configuration ends in .toml, a policy in .lua; a plugin is a folder", path.display()),
    }
}

fn parent(path: &Path) -> PathBuf {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent.to_path_buf(),
        _ => PathBuf::from("."),
    }
}

fn in_folder(folder: &Path) -> anyhow::Result<Vec<Target>> {
    if folder.join(MANIFEST).is_file() {
        return Ok(vec![Target::Plugin(folder.to_path_buf())]);
    }
    let mut found = Vec::new();
    collect(folder, 0, &mut found)?;
    if found.is_empty() {
        bail!("{}: neither policies (*.lua) nor plugins (NAME/{MANIFEST}) in it", folder.display());
    }
    Ok(found)
}

fn collect(folder: &Path, depth: usize, found: &mut Vec<Target>) -> anyhow::Result<()> {
    let entries = std::fs::read_dir(folder).with_context(|| format!("cannot read {}", folder.display()))?;
    let mut paths: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
    paths.sort();
    // As a node sees it: whatever folder is in a folder of plugins is one, with a manifest or without.
    let folders: Vec<PathBuf> = paths.iter().filter(|path| path.is_dir() && !is_hidden(path)).cloned().collect();
    let is_one = |folder: &PathBuf| [MANIFEST, MAIN].iter().any(|file| folder.join(file).is_file());
    let has_manifest = |folder: &PathBuf| folder.join(MANIFEST).is_file();
    // Deeper down one manifest does not make plugins of all the folders beside it.
    let of_plugins =
        !folders.is_empty() && (folders.iter().all(is_one) || depth == 0 && folders.iter().any(has_manifest));
    if of_plugins {
        found.push(Target::Plugins(folder.to_path_buf()));
    }
    for path in paths {
        let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        if is_hidden(&path) || found.len() >= MAX_POLICIES {
            continue;
        }
        if path.is_dir() {
            if of_plugins || has_manifest(&path) {
                found.push(Target::Plugin(path));
            } else if depth < MAX_DEPTH && name != "tests" {
                collect(&path, depth + 1, found)?;
            }
        } else if path.extension().is_some_and(|e| e == "lua") && !files::is_test(&path) {
            found.push(Target::Policy(path));
        }
    }
    Ok(())
}

fn is_hidden(path: &Path) -> bool {
    path.file_name().is_some_and(|name| name.to_string_lossy().starts_with('.'))
}

/// A policy and plugins with the servers they decide about, out of options of the same names.
#[derive(Debug, Clone, Default, PartialEq, Eq, clap::Args)]
pub(super) struct Chosen {
    /// Configuration whose policy, plugins and servers count
    #[arg(long, value_name = "FILE")]
    pub(super) config: Option<PathBuf>,
    /// Policy file
    #[arg(long, value_name = "FILE")]
    pub(super) policy: Option<PathBuf>,
    /// Folder of plugins
    #[arg(long, value_name = "DIR")]
    pub(super) plugins: Option<PathBuf>,
}

/// What decides, and about which servers.
pub(super) struct Set {
    pub(super) policy: Option<PathBuf>,
    pub(super) plugins: Option<Plugins>,
    pub(super) servers: Vec<ServerView>,
}

impl Chosen {
    /// The options over the configuration, which is `imscript.toml` if that is there and nothing is named.
    pub(super) fn set(&self) -> anyhow::Result<Set> {
        let named = self.config.is_some() || self.policy.is_some() || self.plugins.is_some();
        let beside = Some(PathBuf::from(CONFIG)).filter(|path| !named && path.is_file());
        let config = match self.config.clone().or(beside) {
            Some(path) => Some(Config::load(&path)?),
            None => None,
        };
        let servers = config.as_ref().map_or_else(default_servers, servers);
        let (policy, plugins) = config.map(|config| (config.policy, config.plugins)).unwrap_or_default();
        Ok(Set {
            policy: self.policy.clone().or(policy),
            plugins: self.plugins.clone().map(Plugins::of).or(plugins),
            servers,
        })
    }
}

impl Set {
    /// A path as a set of its own: a configuration, a policy, one plugin, a folder of plugins.
    pub(super) fn of(path: &Path) -> anyhow::Result<Self> {
        let servers = default_servers();
        if path.is_dir() && !path.join(MANIFEST).is_file() {
            let holds_plugins = std::fs::read_dir(path)
                .with_context(|| format!("cannot read {}", path.display()))?
                .flatten()
                .any(|entry| entry.path().join(MANIFEST).is_file());
            if holds_plugins {
                return Ok(Set { policy: None, plugins: Some(Plugins::of(path)), servers });
            }
            bail!("{}: no plugin in it; name a policy file, a configuration or a folder of plugins", path.display());
        }
        let target = targets(Some(path))?.into_iter().next();
        Ok(match target {
            Some(Target::Config(path)) => {
                let config = Config::load(&path)?;
                Set { servers: self::servers(&config), policy: config.policy, plugins: config.plugins }
            }
            Some(Target::Policy(path)) => Set { policy: Some(path), plugins: None, servers },
            Some(Target::Plugins(folder)) => Set { policy: None, plugins: Some(Plugins::of(folder)), servers },
            Some(Target::Plugin(folder)) => {
                let subject = Subject::plugin(&folder);
                Set { policy: None, plugins: subject.plugins, servers }
            }
            Some(Target::Test(path)) => bail!("{}: a test decides nothing", path.display()),
            None => bail!("{}: nothing that decides", path.display()),
        })
    }
}

/// The broadcast servers of a configuration.
pub(super) fn servers(config: &Config) -> Vec<ServerView> {
    let view = |s: &crate::config::BroadcastServer| ServerView { name: s.name.clone(), naf_fqdns: s.nafs.clone() };
    config.servers.iter().map(view).collect()
}

/// What a node without a configuration knows.
pub(super) fn default_servers() -> Vec<ServerView> {
    servers(&Config::all_on_loopback())
}
