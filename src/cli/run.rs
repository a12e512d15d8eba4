//! `imscript run`: a node.

use crate::config::MAX_TEXT;
use crate::config::{Config, Durability, ForeignHss, HssAddress};
use crate::diameter::node::Endpoint;
use crate::file;
use crate::harness;
use crate::observe::lines::{Lines, Serving};
use crate::observe::trace::{LadderLayer, Tracer};
use crate::policy::lua::{Generation, Plugins};
use crate::server::control::protocol::Answer;
use crate::server::systemd::Systemd;
use crate::server::{Builder, Node};
use crate::sip::transport::Listen;
use anyhow::Context;
use std::io::IsTerminal;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::mpsc::UnboundedReceiver;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Layer};

/// Time that the tests of a generation have, all together, before it is taken.
const TESTS: Duration = Duration::from_secs(20);

/// Runs a node until SIGTERM or SIGINT; a second one ends it at once. Without a config: every role on loopback, UDP and TCP
/// port 5060, data in ./imscript-data.
#[derive(clap::Args)]
#[command(after_help = "Examples:
  imscript run
  imscript run --config imscript.toml
  imscript run --listen udp:127.0.0.1:5060 --listen tcp:127.0.0.1:5060 --domain home1.net --data-dir /var/lib/imscript
  imscript run --policy lua/policy/figures/figure_3.lua
  imscript run --config imscript.toml --plugins plugins
  imscript run --config imscript.toml --drain 10
  imscript run --diameter-listen tcp:127.0.0.1:3868
  imscript run --hss cx:tcp:127.0.0.1:3868 --hss zh:tcp:127.0.0.1:3868")]
pub struct Args {
    /// Configuration file; the options below override it
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Address to listen on: udp:, tcp: or tls: and IP:PORT; may be repeated
    #[arg(long, value_name = "TRANSPORT:IP:PORT")]
    listen: Vec<Listen>,
    /// Folder of the node's database, key file and control socket
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
    /// What an acknowledged registration stands for: commit (on disk before the 200), write-behind, memory
    #[arg(long, value_name = "HOW")]
    durability: Option<Durability>,
    /// Home network domain, also the digest realm
    #[arg(long)]
    domain: Option<String>,
    /// Policy file in Lua
    #[arg(long, value_name = "FILE")]
    policy: Option<PathBuf>,
    /// Folder of plugins, one folder each; settings that they require stand in the configuration, [plugins.config.NAME]
    #[arg(long, value_name = "DIR")]
    plugins: Option<PathBuf>,
    /// Address of the broadcast server's HTTP side (Ua)
    #[arg(long, value_name = "IP:PORT")]
    http: Option<SocketAddr>,
    /// Address where Diameter peers may connect: tcp: or tls: and IP:PORT; may be repeated
    #[arg(long, value_name = "TRANSPORT:IP:PORT")]
    diameter_listen: Vec<Endpoint>,
    /// A foreign HSS instead of the node's own: cx:, sh: or zh: and tcp:IP:PORT; may be repeated, the first is asked first
    #[arg(long, value_name = "cx:TRANSPORT:IP:PORT")]
    hss: Vec<HssAddress>,
    /// Worker threads [default: one per processor]
    #[arg(long)]
    workers: Option<usize>,
    /// Longest that it takes to end after SIGTERM: new requests get 503, those begun are finished
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(..=300))]
    drain: Option<u64>,
    /// Write every message and HSS call as a JSON line, keys left out; "-": standard output
    #[arg(long, value_name = "FILE")]
    trace: Option<PathBuf>,
    /// Log filter, as in "info" or "imscript=debug"
    #[arg(long, env = "IMSCRIPT_LOG")]
    log: Option<String>,
}

pub fn run(args: Args, extend: impl FnOnce(Builder) -> Builder) -> anyhow::Result<ExitCode> {
    let mut config = args.settled()?;
    if let Some(workers) = args.workers {
        config.workers = workers.clamp(1, 256);
    }
    let name = if config.roles.ims() { "IMS" } else { "BSM" };
    let tracer = config
        .trace
        .as_ref()
        .map(|path| Tracer::open(name, path).with_context(|| format!("trace {}", path.display())))
        .transpose()?;
    let serving = Serving::default();
    start_logging(&config.log, tracer.clone(), serving.clone())?;
    let within = config.drain;
    let mut builder = Node::builder(config).trace(tracer).serving(serving).tests(Arc::new(tests)).steered();
    if let Some(file) = args.config.clone() {
        builder = builder.following(file, move || args.settled().map_err(|error| super::in_one_line(&error)));
    }
    let mut node = extend(builder).start()?;
    serve(&mut node, within)?;
    Ok(ExitCode::SUCCESS)
}

/// The tests beside a generation's files: none may fail when it is to be taken.
fn tests(generation: &Generation) -> Result<String, String> {
    let report = harness::test_generation(generation, TESTS);
    match report.faults().next() {
        None if report.files.is_empty() => Ok("none".to_owned()),
        None => Ok(format!("{} passed", report.passed())),
        Some(first) => Err(format!("{} of {} failed\n{first}", report.failed(), report.passed() + report.failed())),
    }
}

impl Args {
    fn settled(&self) -> anyhow::Result<Config> {
        let mut text = String::new();
        let path = self.config.clone().unwrap_or_else(|| PathBuf::from("imscript.toml"));
        if self.config.is_some() {
            text = file::text(&path, MAX_TEXT).with_context(|| format!("cannot read {}", path.display()))?;
        }
        // What the domain and the listeners decide by default must see the options, so they go in before the checks.
        let mut config = Config::parse_with(&text, &path, self.domain.as_deref(), &self.listen)?;
        if let Some(dir) = &self.data_dir {
            config.data_dir.clone_from(dir);
        }
        if let Some(durability) = self.durability {
            config.store.durability = durability;
        }
        if self.policy.is_some() {
            config.policy.clone_from(&self.policy);
        }
        if let Some(dir) = &self.plugins {
            // Settings and order of the file hold for another folder too.
            match &mut config.plugins {
                Some(plugins) => plugins.dir.clone_from(dir),
                None => {
                    let file = path.display().to_string().into();
                    config.plugins = Some(Plugins { file, ..Plugins::of(dir) });
                }
            }
        }
        if self.trace.is_some() {
            config.trace.clone_from(&self.trace);
        }
        if let Some(log) = &self.log {
            config.log.clone_from(log);
        }
        if let Some(seconds) = self.drain {
            config.drain = Duration::from_secs(seconds);
        }
        if !self.diameter_listen.is_empty() {
            config.diameter.listen.clone_from(&self.diameter_listen);
        }
        if !self.hss.is_empty() {
            let before = config.foreign_hss.take().unwrap_or_default();
            let mut hss = ForeignHss { cx: Vec::new(), sh: Vec::new(), zh: Vec::new(), ..before };
            self.hss.iter().for_each(|address| hss.add(address));
            if let Some(lacks) = hss.lacks(config.roles.ims(), config.icscf.is_some()) {
                anyhow::bail!("--hss {lacks}: is missing: an address such as {lacks}:tcp:127.0.0.1:3868");
            }
            config.foreign_hss = Some(hss);
        }
        if let Some(http) = self.http {
            match &mut config.bsm {
                Some(bsm) => bsm.http = Some(http),
                None => anyhow::bail!("--http is for a node with the bsm role"),
            }
        }
        Ok(config)
    }
}

/// Log lines go to standard error, so that standard output holds the ready line alone.
fn start_logging(filter: &str, tracer: Option<Tracer>, serving: Serving) -> anyhow::Result<()> {
    let filter = EnvFilter::try_new(filter).with_context(|| format!("log filter {filter:?}"))?;
    let lines = tracing_subscriber::fmt::layer()
        .fmt_fields(Lines(serving))
        .with_ansi(std::io::stderr().is_terminal())
        .with_writer(std::io::stderr)
        .with_filter(filter);
    let ladder = tracer
        .map(|t| LadderLayer(t).with_filter(tracing_subscriber::filter::filter_fn(|meta| meta.target() == "ladder")));
    tracing_subscriber::registry().with(lines).with(ladder).init();
    Ok(())
}

/// Says that it is ready and serves until SIGTERM or SIGINT, then drains; SIGHUP has the node reload its policy. The
/// service manager, if there is one, hears all of it.
fn serve(node: &mut Node, within: Duration) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let (mut end, mut hang_up) =
        runtime.block_on(async { anyhow::Ok((End::listen()?, signal(SignalKind::hangup())?)) })?;
    // From here on signals are heard.
    let systemd = Systemd::from_environment()?;
    let _watchdog = systemd.as_ref().map(|systemd| systemd.watch(node.life())).transpose()?;
    let line = node.ready_line();
    println!("{line}");
    if let Some(systemd) = &systemd {
        systemd.ready(&line);
    }
    runtime.block_on(async {
        let mut reload = None;
        loop {
            tokio::select! {
                () = end.told() => break,
                _ = hang_up.recv() => {
                    if let Some(systemd) = &systemd {
                        systemd.reloading();
                    }
                    reload = Some(node.reload());
                }
                outcome = outcome(&mut reload) => {
                    reload = None;
                    if let Some(systemd) = &systemd {
                        systemd.ready(&outcome);
                    }
                }
            }
        }
    });
    tracing::info!(within = within.as_secs(), "stopping: nothing new is taken");
    if let Some(systemd) = &systemd {
        systemd.stopping("draining");
    }
    node.drain(within, |pause| runtime.block_on(async { tokio::time::timeout(pause, end.told()).await.is_ok() }));
    Ok(())
}

/// The signals that end a node.
struct End {
    terminate: Signal,
    interrupt: Signal,
}

impl End {
    fn listen() -> std::io::Result<Self> {
        Ok(End { terminate: signal(SignalKind::terminate())?, interrupt: signal(SignalKind::interrupt())? })
    }

    async fn told(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}

/// What has come of a reload, in a line; never, if there is none.
async fn outcome(reload: &mut Option<UnboundedReceiver<Answer>>) -> String {
    let Some(told) = reload else { return std::future::pending().await };
    loop {
        match told.recv().await {
            Some(Answer::Step(_)) => {}
            Some(Answer::Done(done)) => return format!("reloaded: generation {} serves", done["generation"]),
            Some(Answer::Error(why)) => return format!("not reloaded: {}: {}", why.step, why.message),
            None => return "not reloaded".to_owned(),
        }
    }
}
