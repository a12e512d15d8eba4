//! `imscript terminal`: a smart-card terminal against any registrar.

mod bootstrap;
mod identity;
mod report;

use self::identity::IdentityArgs;
use self::report::Report;
use crate::gba::naf_id::NafId;
use crate::terminal::application::{Application, sample_service_request};
use crate::terminal::client::{DEFAULT_EXPIRES, broadcast_as_promised};
use crate::terminal::register::Form;
use crate::terminal::{BroadcastState, Deregister, Figure, Portion, RegisterOptions, Registration, Terminal};
use anyhow::{Context, bail};
use clap::{ArgGroup, Args, Subcommand};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;
use tokio::time::Instant;

#[derive(Args)]
#[command(after_help = "Examples:
  imscript terminal register --server udp:127.0.0.1:5060 --impi alice@home1.net --impu sip:alice@home1.net \\
    --k 465b5ce8b199b49faa5f0a2ee238a6bc --opc cd63cb71954a9f4e48a5994e37a02baf --naf-id bsm.home1.net
  imscript terminal deregister --server udp:127.0.0.1:5060 --impi alice@home1.net --impu sip:alice@home1.net \\
    --k 465b5ce8b199b49faa5f0a2ee238a6bc --opc cd63cb71954a9f4e48a5994e37a02baf --all")]
pub struct TerminalArgs {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    /// Register with the IMS, and with a broadcast server in the same REGISTER
    #[command(
        after_help = "Example:\n  imscript terminal register --server udp:127.0.0.1:5060 --impi alice@home1.net \\\n    \
        --impu sip:alice@home1.net --k 465b5ce8b199b49faa5f0a2ee238a6bc --opc cd63cb71954a9f4e48a5994e37a02baf \\\n    \
        --naf-id bsm.home1.net --figure 7"
    )]
    Register(Box<RegisterArgs>),
    /// End the registration of this terminal's contact, or of all contacts
    #[command(
        after_help = "Example:\n  imscript terminal deregister --server udp:127.0.0.1:5060 --impi alice@home1.net \\\n    \
        --k 465b5ce8b199b49faa5f0a2ee238a6bc --opc cd63cb71954a9f4e48a5994e37a02baf --all"
    )]
    Deregister(Box<DeregisterArgs>),
    /// Bootstrap with a BSF over HTTP, without SIP (Ub), and ask a broadcast server with the key
    #[command(
        after_help = "Example:\n  imscript terminal bootstrap --bsf http://127.0.0.1:8081/ --impi alice@home1.net \\\n    \
        --k 465b5ce8b199b49faa5f0a2ee238a6bc --opc cd63cb71954a9f4e48a5994e37a02baf"
    )]
    Bootstrap(Box<bootstrap::BootstrapArgs>),
}

#[derive(Args)]
#[command(group(ArgGroup::new("application").args(["bsm_http", "via_ims"])))]
struct RegisterArgs {
    #[command(flatten)]
    identity: IdentityArgs,
    /// Name the broadcast server: FQDN or FQDN;UAID (10 hex digits)
    #[arg(long, value_name = "FQDN[;UAID]")]
    naf_id: Option<String>,
    /// Service provisioning document for the broadcast server
    #[arg(long, value_name = "FILE.xml")]
    payload: Option<PathBuf>,
    /// Do what the terminal does in this figure of the patent
    #[arg(long, value_parser = clap::value_parser!(u8).range(3..=8))]
    figure: Option<u8>,
    /// Register in both systems or in neither (Require: bcast-ext)
    #[arg(long, requires = "naf_id")]
    all_or_nothing: bool,
    /// Seconds asked for
    #[arg(long, default_value_t = DEFAULT_EXPIRES, value_parser = clap::value_parser!(u32).range(1..))]
    expires: u32,
    /// Write the extension as the patent prints it, in a Require header
    #[arg(long, requires = "naf_id")]
    legacy_require: bool,
    /// Ask for the bodies that a 200 may carry
    #[arg(long)]
    accept_body: bool,
    /// Once registered, ask the broadcast server itself over HTTP (figures 5 and 6)
    #[arg(long, value_name = "http://HOST:PORT/PATH", requires = "naf_id")]
    bsm_http: Option<String>,
    /// Once registered, ask the broadcast server itself with a SIP MESSAGE (figures 5 and 6; their default)
    #[arg(long, requires = "naf_id")]
    via_ims: bool,
    /// Stay registered this long, answering and refreshing
    #[arg(long, value_name = "SECONDS")]
    stay: Option<u64>,
}

#[derive(Args)]
struct DeregisterArgs {
    #[command(flatten)]
    identity: IdentityArgs,
    /// All contacts of the public identity
    #[arg(long)]
    all: bool,
}

pub fn run(args: TerminalArgs) -> anyhow::Result<ExitCode> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        match args.verb {
            Verb::Register(args) => register(&args).await,
            Verb::Deregister(args) => deregister(&args).await,
            Verb::Bootstrap(args) => bootstrap::run(&args).await,
        }
    })
}

/// What the options come to.
struct Plan {
    naf: Option<NafId>,
    figure: Option<Figure>,
    options: RegisterOptions,
    application: Option<Way>,
    payload: Vec<u8>,
}

enum Way {
    Http(String),
    Ims,
}

impl RegisterArgs {
    fn plan(&self, user: &str) -> anyhow::Result<Plan> {
        let figure = self.figure.and_then(Figure::new);
        let naf = self.naf_id.as_deref().map(NafId::parse).transpose()?;
        if let (Some(figure), None) = (figure, &naf) {
            bail!("figure {} needs --naf-id", figure.number());
        }
        let file = match &self.payload {
            Some(path) => Some(std::fs::read(path).with_context(|| path.display().to_string())?),
            None => None,
        };
        let asks = figure.is_some_and(Figure::asks_broadcast_server);
        if figure.is_some_and(|figure| !figure.has_payload()) && !asks && file.is_some() {
            bail!("figure {} carries no payload", self.figure.unwrap_or_default());
        }
        let application = match &self.bsm_http {
            Some(url) => Some(Way::Http(url.clone())),
            None => (self.via_ims || asks).then_some(Way::Ims),
        };
        if figure.is_some() && !asks && application.is_some() {
            bail!("only in figures 5 and 6 the terminal asks the broadcast server itself");
        }
        let carries = figure.map_or(file.is_some() && application.is_none(), Figure::has_payload);
        let names = figure.is_none_or(Figure::names_naf);
        let request_id = format!("{:x}", std::process::id());
        let payload = file.unwrap_or_else(|| sample_service_request(&request_id, user));
        let portion = Portion {
            naf: naf.clone().filter(|_| names),
            payload: carries.then(|| payload.as_slice().into()),
            form: if self.legacy_require { Form::LegacyRequire } else { Form::BcastExt },
            all_or_nothing: self.all_or_nothing,
        };
        let options = RegisterOptions { portion, expires: self.expires, accept_bodies: self.accept_body };
        Ok(Plan { naf, figure, options, application, payload })
    }

    /// What is wrong with a registration that the registrar confirmed, if anything.
    fn shortfall(&self, plan: &Plan, done: &Registration) -> Option<String> {
        let state = done.broadcast.state;
        let why = done.broadcast.cause.as_ref().map(|cause| format!(" ({cause})")).unwrap_or_default();
        match plan.figure {
            Some(figure) if !broadcast_as_promised(figure, state) => Some(format!(
                "the broadcast registration is {:?}{why}, which is not what figure {} promises",
                state.as_str(),
                figure.number()
            )),
            _ if self.all_or_nothing && state != BroadcastState::Registered => {
                Some(format!("the broadcast registration is {:?}{why}, not registered", state.as_str()))
            }
            _ => None,
        }
    }
}

async fn register(args: &RegisterArgs) -> anyhow::Result<ExitCode> {
    let identity = &args.identity;
    let account = identity.account()?;
    let plan = args.plan(account.impu.as_str())?;
    let settings = identity.settings()?;
    let server = identity.server().await?;
    let mut report = Report::new("registered", identity, &server)?;
    let mut terminal = match Terminal::connect(server, account, settings).await {
        Ok(terminal) => terminal,
        Err(error) => return Ok(report.failed(&error.to_string())),
    };
    terminal.observe(report.observer());
    let done = terminal.register(&plan.options).await;
    identity.save_card(terminal.account())?;
    let done = match done {
        Ok(done) => done,
        Err(error) => return Ok(report.failed(&error.to_string())),
    };
    let key = plan.naf.as_ref().and_then(|naf| terminal.ks_naf(naf));
    report.registered(&done, key.as_ref());
    if let Some(why) = args.shortfall(&plan, &done) {
        return Ok(report.failed(&why));
    }
    if let (Some(way), Some(naf)) = (&plan.application, &plan.naf) {
        match application(&mut terminal, way, naf, &plan.payload).await {
            Ok(application) => report.application(&application),
            Err(error) => return Ok(report.failed(&error.to_string())),
        }
    }
    if let Some(seconds) = args.stay {
        report.flush();
        let end = Instant::now() + Duration::from_secs(seconds);
        let stayed = tokio::select! {
            stayed = terminal.stay(&plan.options, done.expires, end, |_| {}) => stayed,
            _ = tokio::signal::ctrl_c() => Ok(()),
        };
        identity.save_card(terminal.account())?;
        if let Err(error) = stayed {
            return Ok(report.failed(&error.to_string()));
        }
    }
    Ok(report.succeeded())
}

async fn application(
    terminal: &mut Terminal,
    way: &Way,
    naf: &NafId,
    payload: &[u8],
) -> Result<Application, crate::terminal::TerminalError> {
    match way {
        Way::Http(url) => terminal.application_request_http(url, naf, payload).await,
        Way::Ims => terminal.application_request_sip(naf, payload).await,
    }
}

async fn deregister(args: &DeregisterArgs) -> anyhow::Result<ExitCode> {
    let identity = &args.identity;
    let (account, settings) = (identity.account()?, identity.settings()?);
    let server = identity.server().await?;
    let mut report = Report::new("deregistered", identity, &server)?;
    let mut terminal = match Terminal::connect(server, account, settings).await {
        Ok(terminal) => terminal,
        Err(error) => return Ok(report.failed(&error.to_string())),
    };
    terminal.observe(report.observer());
    let done = terminal.deregister(if args.all { Deregister::All } else { Deregister::ThisContact }).await;
    identity.save_card(terminal.account())?;
    match done {
        Ok(done) => report.registered(&done, None),
        Err(error) => return Ok(report.failed(&error.to_string())),
    }
    Ok(report.succeeded())
}
