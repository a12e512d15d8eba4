//! `imscript new`: a plugin or a policy to begin with, with tests that pass.

use anyhow::{Context, bail};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

const PLUGIN: [(&str, &str); 4] = [
    ("plugin.toml", include_str!("new/plugin.toml")),
    ("main.lua", include_str!("new/main.lua")),
    ("README.md", include_str!("new/README.md")),
    ("tests/@NAME@_test.lua", include_str!("new/plugin_test.lua")),
];
const POLICY: [(&str, &str); 2] =
    [("@NAME@.lua", include_str!("new/policy.lua")), ("tests/@NAME@_test.lua", include_str!("new/policy_test.lua"))];
const LONGEST_NAME: usize = 64;

/// Writes a plugin or a policy to begin with. What it writes passes `imscript check` and `imscript test`.
#[derive(clap::Args)]
#[command(after_help = "Examples:
  imscript new plugin visitors                 plugins/visitors/
  imscript new policy home                     lua/policy/home.lua and its test
  imscript new policy home --dir /etc/imscript")]
pub struct Args {
    /// plugin: one matter, for anybody's network; policy: the operator's own file
    #[arg(value_enum)]
    what: What,
    /// Small letters, digits and hyphens
    name: String,
    /// Folder to write into [default: plugins, or lua/policy]
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
}

#[derive(Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum What {
    Plugin,
    Policy,
}

pub fn run(args: Args) -> anyhow::Result<ExitCode> {
    let name = args.name.as_str();
    let letter = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    let bounded = name.starts_with(|c: char| c.is_ascii_lowercase()) && !name.ends_with('-');
    if !bounded || name.len() > LONGEST_NAME || !name.chars().all(letter) {
        bail!("{name:?} is no name: small letters, digits and hyphens, beginning with a letter, as in \"by-region\"");
    }
    if args.what == What::Plugin && name == "policy" {
        bail!("\"policy\" is how an order calls the operator's own file; choose another name");
    }
    let (folder, files): (PathBuf, &[_]) = match args.what {
        What::Plugin => (args.dir.unwrap_or_else(|| "plugins".into()).join(name), &PLUGIN),
        What::Policy => (args.dir.unwrap_or_else(|| "lua/policy".into()), &POLICY),
    };
    if args.what == What::Plugin && folder.exists() {
        bail!("{} is there already; nothing was written", folder.display());
    }
    let paths: Vec<(PathBuf, &str)> =
        files.iter().map(|(file, text)| (folder.join(file.replace("@NAME@", name)), *text)).collect();
    if let Some((taken, _)) = paths.iter().find(|(path, _)| path.exists()) {
        bail!("{} is there already; nothing was written", taken.display());
    }
    let main = paths.iter().find(|(path, _)| path.extension().is_some_and(|e| e == "lua"));
    let main = main.map(|(path, _)| path.display().to_string()).unwrap_or_default();
    for (path, text) in &paths {
        write(path, &text.replace("@NAME@", name).replace("@FILE@", &main))?;
        println!("{}", path.display());
    }
    let subject = if args.what == What::Plugin { folder.display().to_string() } else { main };
    println!("now: imscript check {subject} && imscript test {subject}");
    Ok(ExitCode::SUCCESS)
}

fn write(path: &Path, text: &str) -> anyhow::Result<()> {
    let name = || format!("cannot write {}", path.display());
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder).with_context(name)?;
    }
    // Should somebody have made it since we looked, theirs stays.
    let mut file = std::fs::File::create_new(path).with_context(name)?;
    std::io::Write::write_all(&mut file, text.as_bytes()).with_context(name)
}
