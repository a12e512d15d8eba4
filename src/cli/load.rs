//! `imscript load`: many terminals at once against one server.

use crate::gba::naf_id::NafId;
use crate::terminal::connection::{TIMER_F, Tls};
use crate::terminal::load::{self, LoadOptions, LoadReport, Work, cpu_time, subscribers};
use crate::terminal::tls::{TlsFiles, client_config};
use crate::terminal::{Portion, Server};
use anyhow::{Context, bail};
use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};
use std::fs::File;
use std::io::{BufReader, BufWriter, IsTerminal, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use std::rc::Rc;
use std::time::Duration;

#[derive(Args)]
#[command(after_help = "Example:\n  imscript load --users 10000 --domain home1.net --write-subscribers load.csv\n  \
    imscript subscriber import load.csv --data-dir data\n  \
    imscript load --server udp:127.0.0.1:5060 --users 10000 --domain home1.net --window 100 --naf-id bsm.home1.net")]
pub struct LoadArgs {
    /// Registrar: udp:HOST:PORT, tcp:HOST:PORT or tls:HOST:PORT
    #[arg(long, required_unless_present = "write_subscribers")]
    server: Option<String>,
    /// Number of terminals [default: 1000, or all of the file]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    users: Option<u32>,
    /// Registrations outstanding at any time
    #[arg(long, default_value_t = 50, value_name = "W", value_parser = clap::value_parser!(u32).range(1..))]
    window: u32,
    /// Take the terminals from this import file instead of making them up
    #[arg(long, value_name = "FILE.csv", conflicts_with = "write_subscribers")]
    from: Option<PathBuf>,
    /// Write the file that makes the server know the made-up terminals
    #[arg(long, value_name = "FILE.csv")]
    write_subscribers: Option<PathBuf>,
    /// Home network domain [default: home1.net, or the domain of each private identity in the file]
    #[arg(long)]
    domain: Option<String>,
    /// Register with this broadcast server too
    #[arg(long, value_name = "FQDN[;UAID]")]
    naf_id: Option<String>,
    /// Every terminal registers once and stays registered (the default)
    #[arg(long, conflicts_with_all = ["cycles", "duration"])]
    register_only: bool,
    /// Every terminal registers and deregisters, so many times
    #[arg(long, value_name = "N", conflicts_with = "duration", value_parser = clap::value_parser!(u32).range(1..))]
    cycles: Option<u32>,
    /// Keep registering, again and again, for this time
    #[arg(long, value_name = "SECONDS")]
    duration: Option<f64>,
    /// Start at most so many registrations per second
    #[arg(long, value_name = "PER_SECOND")]
    rate: Option<f64>,
    /// Sockets, or connections, to spread the terminals over
    #[arg(long, default_value_t = 8, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    sockets: u32,
    /// Seconds asked for in a REGISTER
    #[arg(long, default_value_t = 3600, value_parser = clap::value_parser!(u32).range(1..))]
    expires: u32,
    /// Longest wait for one answer, seconds
    #[arg(long, default_value_t = TIMER_F.as_secs_f64(), value_name = "SECONDS")]
    timeout: f64,
    /// Measure the CPU time of the server: the process with this id and those that it started
    #[arg(long, value_name = "PID")]
    server_pid: Option<u32>,
    /// Authority of the server's certificate, PEM
    #[arg(long, value_name = "FILE")]
    ca: Option<PathBuf>,
    /// Name in the server's certificate [default: the host of --server]
    #[arg(long, value_name = "NAME")]
    tls_name: Option<String>,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

/// Exit code 1 if any registration failed.
pub fn run(args: LoadArgs) -> anyhow::Result<ExitCode> {
    let users = args.users.map(|users| users as usize);
    let domain = args.domain.as_deref().unwrap_or("home1.net");
    if let Some(path) = &args.write_subscribers {
        let file = File::create(path).with_context(|| path.display().to_string())?;
        subscribers::write(users.unwrap_or(1000), domain, BufWriter::new(file))
            .with_context(|| path.display().to_string())?;
    }
    let Some(server) = &args.server else { return Ok(ExitCode::SUCCESS) };
    let accounts = match &args.from {
        Some(path) => {
            let file = File::open(path).with_context(|| path.display().to_string())?;
            subscribers::read(BufReader::new(file), users, args.domain.as_deref())
                .with_context(|| path.display().to_string())?
        }
        None => subscribers::generate(users.unwrap_or(1000), domain)?,
    };
    if accounts.is_empty() {
        bail!("no terminals");
    }
    let work = match (args.cycles, args.duration) {
        (Some(cycles), _) => Work::Cycles(cycles),
        (None, Some(seconds)) => Work::Until(Duration::try_from_secs_f64(seconds).context("--duration")?),
        (None, None) => Work::RegisterOnce,
    };
    if args.rate.is_some_and(|rate| !rate.is_finite() || rate <= 0.0) {
        bail!("--rate must be above 0");
    }
    let tls = match &args.ca {
        Some(ca) => {
            let config = client_config(&TlsFiles { ca: ca.clone(), identity: None })?;
            Some(Tls { config, name: args.tls_name.clone() })
        }
        None => None,
    };
    let bar = progress_bar(&args, accounts.len(), work);
    let shown = bar.clone();
    let pid = args.server_pid;
    let server_cpu = || pid.map(|pid| cpu_time(pid).with_context(|| format!("no process {pid}"))).transpose();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let before = server_cpu()?;
    let report = runtime.block_on(async {
        let options = LoadOptions {
            server: Server::resolve(server).await?,
            tls,
            accounts,
            window: args.window as usize,
            sockets: args.sockets as usize,
            work,
            rate: args.rate,
            portion: Portion { naf: args.naf_id.as_deref().map(NafId::parse).transpose()?, ..Portion::default() },
            expires: args.expires,
            timeout: Duration::try_from_secs_f64(args.timeout).context("--timeout")?,
            progress: Some(Rc::new(move |ended| shown.set_position(ended))),
        };
        anyhow::Ok(load::run(options).await?)
    });
    bar.finish_and_clear();
    let mut report = report?;
    report.server_cpu = server_cpu()?.zip(before).map(|(after, before)| after.saturating_sub(before));
    if args.json {
        writeln!(std::io::stdout(), "{}", report.json())?;
    } else {
        print(&report)?;
    }
    Ok(if report.error_count() == 0 && report.registrations > 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Drawn on a terminal only.
fn progress_bar(args: &LoadArgs, terminals: usize, work: Work) -> ProgressBar {
    if args.json || !std::io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let bar = match work {
        Work::RegisterOnce => ProgressBar::new(terminals as u64),
        Work::Cycles(cycles) => ProgressBar::new((terminals as u64).saturating_mul(u64::from(cycles))),
        Work::Until(_) => ProgressBar::no_length(),
    };
    if let Ok(style) = ProgressStyle::with_template("{bar:40} {human_pos}/{human_len} {per_sec} {eta}") {
        bar.set_style(style);
    }
    bar
}

fn print(report: &LoadReport) -> std::io::Result<()> {
    let mut out = std::io::stdout().lock();
    let rate = report.per_second();
    writeln!(
        out,
        "registrations    {} in {:.2} s, {rate:.0} per second",
        report.registrations,
        report.elapsed.as_secs_f64()
    )?;
    if report.deregistrations > 0 {
        writeln!(out, "deregistrations  {}", report.deregistrations)?;
    }
    let at = |quantile| report.quantile_ms(quantile);
    writeln!(out, "latency          p50 {:.2} ms, p99 {:.2} ms, max {:.2} ms", at(0.5), at(0.99), at(1.0))?;
    writeln!(out, "retransmissions  {}", report.retransmissions)?;
    let states: Vec<String> = report.broadcast.iter().map(|(state, count)| format!("{state} {count}")).collect();
    writeln!(out, "broadcast        {}", states.join(", "))?;
    if let Some(cpu) = report.own_cpu_us() {
        writeln!(out, "generator CPU    {cpu:.1} µs per registration")?;
    }
    if let Some(cpu) = report.server_cpu_us() {
        writeln!(out, "server CPU       {cpu:.1} µs per registration")?;
    }
    writeln!(out, "errors           {}", report.error_count())?;
    for (kind, count) in &report.errors {
        writeln!(out, "  {count:>8}  {kind}")?;
    }
    Ok(())
}
