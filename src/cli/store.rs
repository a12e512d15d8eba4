//! `imscript store`: what a node keeps, looked at and carried about while it runs or not.

mod check;
mod export;
mod import;
mod line;
mod stats;

use crate::config::Config;
use crate::store::open::{self, Kind, Tool};
use crate::store::sqlite::Durability;
use anyhow::{Context, bail};
use indicatif::{ProgressBar, ProgressStyle};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

/// What a node keeps: subscribers, registrations, keys, subscriptions, what plugins store. Secrets stay sealed in all of
/// it. A node that runs may go on running.
#[derive(clap::Args)]
#[command(after_help = "Examples:
  imscript store check --data-dir /var/lib/imscript
  imscript store stats --config imscript.toml --json
  imscript store backup /var/backups/imscript.db
  imscript store export entities.jsonl
  imscript store import entities.jsonl --replace")]
pub struct Args {
    /// Configuration that names the store
    #[arg(long, global = true, value_name = "FILE", conflicts_with = "data_dir")]
    config: Option<PathBuf>,
    /// Folder of the store [default: imscript-data]
    #[arg(long, global = true, value_name = "DIR")]
    data_dir: Option<PathBuf>,
    #[command(subcommand)]
    verb: Verb,
}

#[derive(clap::Subcommand)]
enum Verb {
    Check(check::Check),
    Export(export::Export),
    Import(import::Import),
    Stats(stats::Stats),
    Backup(Backup),
}

/// Copy the database as of one moment
///
/// The copy is whole and on disk before it takes the place of FILE. To go back to it: stop the node, put it in the place
/// of imscript.db, remove imscript.db-wal and imscript.db-shm, start the node.
#[derive(clap::Args)]
#[command(after_help = "Example:
  imscript store backup /var/backups/imscript.db --data-dir /var/lib/imscript")]
struct Backup {
    file: PathBuf,
}

pub fn run(args: Args) -> anyhow::Result<ExitCode> {
    let kind = kind(&args)?;
    let tool = open::tool(&kind, matches!(args.verb, Verb::Import(_)))?;
    let done = match args.verb {
        Verb::Check(check) => check.run(&tool),
        Verb::Export(export) => export.run(&tool),
        Verb::Import(import) => import.run(&tool),
        Verb::Stats(stats) => stats.run(&tool),
        Verb::Backup(backup) => backup.run(&tool),
    };
    tool.store.close();
    done
}

fn kind(args: &Args) -> anyhow::Result<Kind> {
    let dir = || args.data_dir.clone().unwrap_or_else(|| "imscript-data".into());
    match &args.config {
        None => Ok(Kind::Sqlite { dir: dir(), durability: Durability::Commit }),
        Some(path) => {
            let config = Config::load(path)?;
            Ok(config.store.to_open(&config.data_dir))
        }
    }
}

impl Backup {
    fn run(&self, tool: &Tool) -> anyhow::Result<ExitCode> {
        let Some(sqlite) = &tool.sqlite else { bail!("the store's own server makes its backups") };
        let (began, name) = (Instant::now(), self.file.display());
        let bar = ProgressBar::new_spinner().with_message(format!("copying to {name}"));
        bar.enable_steady_tick(Duration::from_millis(100));
        let copied = sqlite.back_up(&self.file);
        bar.finish_and_clear();
        copied.with_context(|| name.to_string())?;
        let octets = std::fs::metadata(&self.file).map_or(0, |file| file.len());
        println!("{name}: {octets} octets in {:.1} s", began.elapsed().as_secs_f64());
        Ok(ExitCode::SUCCESS)
    }
}

/// A bar of entities; nothing where there is no terminal.
fn counting(what: &str) -> anyhow::Result<ProgressBar> {
    let style = ProgressStyle::with_template(&format!("{what} {{pos}} {{elapsed}}"))?;
    Ok(ProgressBar::no_length().with_style(style))
}
