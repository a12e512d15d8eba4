//! `imscript load`: many terminals at once against one server.

use crate::gba::naf_id::NafId;
use crate::terminal::application::sample_service_request;
use crate::terminal::connection::{TIMER_F, Tls};
use crate::terminal::load::subscribers::Proof;
use crate::terminal::load::{self, Asks, LoadOptions, LoadReport, Usage, Work, subscribers};
use crate::terminal::register::Figure;
use crate::terminal::tls::{TlsFiles, client_config};
use crate::terminal::{Portion, Server};
use anyhow::{Context, bail};
use clap::{Args, ValueEnum};
use indicatif::{ProgressBar, ProgressStyle};
use std::fs::File;
use std::io::{BufReader, BufWriter, IsTerminal, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

/// What the made-up terminals prove themselves with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Auth {
    /// AKA with a card
    Aka,
    /// Digest with a password
    Digest,
    /// Nothing: no Authorization is sent, for registrars that ask for none
    None,
}

#[derive(Args)]
#[command(after_help = "Example:\n  imscript load --users 10000 --domain home1.net --write-subscribers load.csv\n  \
    imscript subscriber import load.csv --data-dir data\n  \
    imscript load --server udp:127.0.0.1:5060 --users 10000 --domain home1.net --window 100 --naf-id bsm.home1.net\n\n\
    Refreshes at 500 a second for ten seconds, each timed from when it was due:\n  \
    imscript load --server udp:127.0.0.1:5060 --users 10000 --warm-up --rate 500 --duration 10")]
pub struct LoadArgs {
    /// Registrar: udp:HOST:PORT, tcp:HOST:PORT or tls:HOST:PORT
    #[arg(long, required_unless_present = "write_subscribers")]
    server: Option<String>,
    /// Number of terminals [default: 1000, or all of the file]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    users: Option<u32>,
    /// Registrations outstanding at any time [default: 50; with --rate the most, 10000]
    #[arg(long, value_name = "W", value_parser = clap::value_parser!(u32).range(1..))]
    window: Option<u32>,
    /// Take the terminals from this import file instead of making them up
    #[arg(long, value_name = "FILE.csv", conflicts_with = "write_subscribers")]
    from: Option<PathBuf>,
    /// Write the file that makes the server know the made-up terminals
    #[arg(long, value_name = "FILE.csv")]
    write_subscribers: Option<PathBuf>,
    /// Home network domain [default: home1.net, or the domain of each private identity in the file]
    #[arg(long)]
    domain: Option<String>,
    /// What the terminals prove themselves with (those of a file: what it says)
    #[arg(long, value_enum, default_value = "aka", hide_possible_values = false)]
    auth: Auth,
    /// Register with this broadcast server too
    #[arg(long, value_name = "FQDN[;UAID]")]
    naf_id: Option<String>,
    /// Do what the terminal of this figure of the patent does: 3 and 7 name the NAF, 4 and 8 send a service request
    /// too; in 5 and 6 the terminal, once registered, asks the broadcast server at --bsm-http, and counts as registered
    /// when that has answered
    #[arg(long, value_name = "N", requires = "naf_id", value_parser = clap::value_parser!(u8).range(3..=8))]
    figure: Option<u8>,
    /// HTTP side of the broadcast server, for figures 5 and 6
    #[arg(long, value_name = "http://HOST:PORT/", requires = "figure")]
    bsm_http: Option<String>,
    /// Every terminal registers once and stays registered (the default)
    #[arg(long, conflicts_with_all = ["cycles", "duration"])]
    register_only: bool,
    /// Every terminal registers and deregisters, so many times
    #[arg(long, value_name = "N", conflicts_with = "duration", value_parser = clap::value_parser!(u32).range(1..))]
    cycles: Option<u32>,
    /// Keep registering, again and again, for this time
    #[arg(long, value_name = "SECONDS")]
    duration: Option<f64>,
    /// Begin so many registrations per second, however long others take (open loop); each is timed from when it was due.
    /// Without it a window is kept full (closed loop)
    #[arg(long, value_name = "PER_SECOND")]
    rate: Option<f64>,
    /// Have all terminals register once before anything is measured: then refreshes are
    #[arg(long, conflicts_with_all = ["register_only", "cycles"], requires = "duration")]
    warm_up: bool,
    /// How long a terminal takes to answer a challenge, milliseconds
    #[arg(long, default_value_t = 0, value_name = "MS")]
    pause: u64,
    /// Sockets, or connections, to spread the terminals over
    #[arg(long, default_value_t = 8, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    sockets: u32,
    /// Seconds asked for in a REGISTER
    #[arg(long, default_value_t = 3600, value_parser = clap::value_parser!(u32).range(1..))]
    expires: u32,
    /// Longest wait for one answer, seconds
    #[arg(long, default_value_t = TIMER_F.as_secs_f64(), value_name = "SECONDS")]
    timeout: f64,
    /// Measure CPU time and memory of the server: the process with this id and those that it started
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
    let proof = if args.auth == Auth::Digest { Proof::Password } else { Proof::Card };
    if let Some(path) = &args.write_subscribers {
        let file = File::create(path).with_context(|| path.display().to_string())?;
        subscribers::write(users.unwrap_or(1000), domain, proof, BufWriter::new(file))
            .with_context(|| path.display().to_string())?;
    }
    let Some(server) = &args.server else { return Ok(ExitCode::SUCCESS) };
    let accounts = match &args.from {
        Some(path) => {
            let file = File::open(path).with_context(|| path.display().to_string())?;
            subscribers::read(BufReader::new(file), users, args.domain.as_deref())
                .with_context(|| path.display().to_string())?
        }
        None => subscribers::generate(users.unwrap_or(1000), domain, proof)?,
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
    if let Some(pid) = args.server_pid {
        Usage::of(pid).with_context(|| format!("no process {pid}"))?;
    }
    let window = args.window.unwrap_or(if args.rate.is_some() { 10_000 } else { 50 });
    let naf = args.naf_id.as_deref().map(NafId::parse).transpose()?;
    let figure = args.figure.and_then(Figure::new);
    let asks_itself = figure.is_some_and(Figure::asks_broadcast_server);
    if asks_itself != args.bsm_http.is_some() {
        bail!("figures 5 and 6 need --bsm-http, and only they do");
    }
    let service_request = sample_service_request("load", &format!("sip:load@{domain}"));
    let payload = figure.is_some_and(Figure::has_payload).then(|| Arc::from(&*service_request));
    let asks = args.bsm_http.clone().zip(naf.clone());
    let asks = asks.map(|(url, naf)| Asks { url, naf, payload: service_request });
    let naf = naf.filter(|_| figure.is_none_or(Figure::names_naf));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let report = runtime.block_on(async {
        let options = LoadOptions {
            server: Server::resolve(server).await?,
            tls,
            accounts,
            window: window as usize,
            sockets: args.sockets as usize,
            work,
            rate: args.rate,
            warm_up: args.warm_up,
            anonymous: args.auth == Auth::None,
            portion: Portion { naf, payload, ..Portion::default() },
            asks,
            expires: args.expires,
            timeout: Duration::try_from_secs_f64(args.timeout).context("--timeout")?,
            pause: Duration::from_millis(args.pause),
            progress: Some(Rc::new(move |ended| shown.set_position(ended))),
            server_pid: args.server_pid,
        };
        anyhow::Ok(load::run(options).await?)
    });
    bar.finish_and_clear();
    let report = report?;
    if args.json {
        writeln!(std::io::stdout(), "{}", report.json())?;
    } else {
        print(&report)?;
    }
    Ok(if report.error_count() + report.warm_up_errors == 0 && report.registrations > 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
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
    writeln!(
        out,
        "latency          p50 {:.2} ms, p99 {:.2} ms, p99.9 {:.2} ms, max {:.2} ms",
        at(0.5),
        at(0.99),
        at(0.999),
        at(1.0)
    )?;
    writeln!(out, "retransmissions  {}", report.retransmissions)?;
    let states: Vec<String> = report.broadcast.iter().map(|(state, count)| format!("{state} {count}")).collect();
    writeln!(out, "broadcast        {}", states.join(", "))?;
    if let Some(cpu) = report.own_cpu_us() {
        writeln!(out, "generator CPU    {cpu:.1} µs per registration")?;
    }
    if let Some(cpu) = report.server_cpu_us() {
        writeln!(out, "server CPU       {cpu:.1} µs per registration")?;
    }
    if let Some(memory) = report.server.and_then(|server| server.memory) {
        writeln!(out, "server memory    {:.1} MiB", memory as f64 / (1024.0 * 1024.0))?;
    }
    if report.warm_up_errors > 0 {
        writeln!(out, "errors before    {}", report.warm_up_errors)?;
    }
    writeln!(out, "errors           {}", report.error_count())?;
    for (kind, count) in &report.errors {
        writeln!(out, "  {count:>8}  {kind}")?;
    }
    Ok(())
}
