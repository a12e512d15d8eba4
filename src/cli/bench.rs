//! `imscript bench`: what a call of each stage costs.

use super::explain;
use super::target::Set;
use crate::harness::scene::Scene;
use crate::policy::lua::{Env, Generation, Unit, package};
use crate::policy::{Chain, Stage};
use anyhow::bail;
use serde_json::{Value, json};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Calls per reading of the clock.
const BATCH: u32 = 100;
const WARM_UP: u32 = 200;

/// Asks every stage many times with one request: nanoseconds a call, least and median, for each member by itself and for
/// the whole chain. For the figures of a release use a release build and a quiet machine.
#[derive(clap::Args)]
#[command(after_help = "Examples:
  imscript bench                             what imscript.toml names
  imscript bench plugins/by-region
  imscript bench lua/policy/home.lua --message register.sip --json")]
pub struct Args {
    /// A configuration, a policy, a plugin or a folder of plugins
    path: Option<PathBuf>,
    /// Request to ask about [default: a first REGISTER with a broadcast portion]
    #[arg(long, value_name = "FILE")]
    message: Option<PathBuf>,
    /// Readings per stage, of 100 calls each
    #[arg(long, default_value_t = 200, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    readings: u32,
    /// One JSON object
    #[arg(long)]
    json: bool,
}

struct Row {
    who: String,
    stage: Stage,
    least: f64,
    median: f64,
}

pub fn run(args: Args) -> anyhow::Result<ExitCode> {
    let json = args.json;
    super::fault::in_json(measured(args), json)
}

fn measured(args: Args) -> anyhow::Result<ExitCode> {
    let set = match &args.path {
        Some(path) => Set::of(path)?,
        None => super::target::Chosen::default().set()?,
    };
    let loaded = package::read(set.policy.as_deref(), set.plugins.as_ref(), &[])?;
    let scene = match &args.message {
        Some(path) => explain::scene(path, &set.servers)?,
        None => Scene::sample(&set.servers, 1_767_225_600)?,
    };
    let env = Env::detached(&set.servers);
    let chain = |units: &[Arc<Unit>]| Generation::new(1, units.iter().cloned()).chain(&env);
    let mut rows = Vec::new();
    for unit in &loaded.units {
        measure(&unit.name, &chain(std::slice::from_ref(unit))?, &scene, args.readings, &mut rows)?;
    }
    if loaded.units.len() > 1 {
        measure("all", &chain(&loaded.units)?, &scene, args.readings, &mut rows)?;
    }
    if rows.is_empty() {
        bail!("no function for any stage that this request meets");
    }
    print(&rows, args.json);
    Ok(ExitCode::SUCCESS)
}

fn measure(who: &str, chain: &Chain, scene: &Scene, readings: u32, rows: &mut Vec<Row>) -> anyhow::Result<()> {
    for stage in scene.stages().into_iter().filter(|stage| chain.order(*stage).next().is_some()) {
        let ask = || std::hint::black_box(scene.verdict(stage, chain));
        for _ in 0..WARM_UP {
            ask();
        }
        if let Some(fault) = chain.last_fault() {
            bail!("{fault}: a stage that fails is not measured");
        }
        let mut times: Vec<Duration> = (0..readings)
            .map(|_| {
                let start = Instant::now();
                for _ in 0..BATCH {
                    ask();
                }
                start.elapsed()
            })
            .collect();
        times.sort();
        let each = |time: Option<&Duration>| time.copied().unwrap_or_default().as_nanos() as f64 / f64::from(BATCH);
        let (least, median) = (each(times.first()), each(times.get(times.len() / 2)));
        rows.push(Row { who: who.to_owned(), stage, least, median });
    }
    Ok(())
}

fn print(rows: &[Row], as_json: bool) {
    if as_json {
        let row =
            |r: &Row| json!({ "unit": r.who, "stage": r.stage.as_str(), "least_ns": r.least, "median_ns": r.median });
        let build = if cfg!(debug_assertions) { "debug" } else { "release" };
        println!("{:#}", json!({ "build": build, "stages": rows.iter().map(row).collect::<Vec<Value>>() }));
        return;
    }
    let width = rows.iter().map(|row| row.who.len()).max().unwrap_or_default().max(4);
    println!("{:width$}  {:<10}  {:>9}  {:>9}", "unit", "stage", "least ns", "median ns");
    for row in rows {
        println!("{:width$}  {:<10}  {:>9.0}  {:>9.0}", row.who, row.stage.as_str(), row.least, row.median);
    }
    let mut names: Vec<&str> = rows.iter().map(|row| row.who.as_str()).collect();
    names.dedup();
    for who in names {
        let sum: f64 = rows.iter().filter(|row| row.who == who).map(|row| row.median).sum();
        println!("{who:width$}  {:<10}  {:>9}  {sum:>9.0}", "sum", "");
    }
    if cfg!(debug_assertions) {
        println!("this is a debug build: figures of a release build are several times lower");
    }
}
