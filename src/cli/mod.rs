//! The command line (rank 6): one verb a file.

pub mod aka;
pub mod bench;
pub mod check;
pub mod control;
pub mod demo;
pub mod diameter;
pub mod doc;
pub mod explain;
mod fault;
pub mod field;
pub mod gba;
pub mod generations;
pub mod key_args;
pub mod load;
pub mod metrics;
pub mod network;
pub mod new;
pub mod registration;
pub mod reload;
pub mod repl;
pub mod replay;
pub mod run;
pub mod status;
pub mod store;
pub mod subscriber;
mod target;
pub mod terminal;
pub mod test;

use crate::server::Builder;
use clap::{Parser, Subcommand};
use std::process::ExitCode;

/// One SIP REGISTER, two registrations: an IMS application server that also registers
/// smart-card terminals with a broadcast server, steered by Lua policies.
#[derive(Parser)]
#[command(name = "imscript", version, propagate_version = true, arg_required_else_help = true)]
#[command(after_help = "Examples:
  imscript demo                    all six flows, drawn
  imscript run                     a whole network on loopback
  imscript help terminal register  every verb has help with an example")]
struct Cli {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    /// Run all six flows of the patent on loopback and draw them
    Demo(demo::Args),
    /// Run a node
    Run(run::Args),
    /// Say whether a running node is ready
    Status(status::Args),
    /// Have a running node take its policy and plugins anew
    Reload(reload::Args),
    /// Put an earlier generation of policy and plugins in force again
    Rollback(generations::RollbackArgs),
    /// List the generations that a running node keeps
    Generations(generations::Args),
    /// Print the metrics of a running node
    Metrics(metrics::Args),
    /// Peers of a running node, and messages in words
    Diameter(diameter::DiameterArgs),
    /// End a user's registration at a running node
    Registration(registration::RegistrationArgs),
    /// Subscribers of the embedded HSS
    Subscriber(subscriber::Args),
    /// State that survives: check, export, import, figures, backup
    Store(store::Args),
    /// A smart-card terminal against any registrar
    Terminal(terminal::TerminalArgs),

    /// A plugin or a policy to begin with
    New(new::Args),
    /// Find what is wrong with a configuration, policies and plugins
    Check(check::Args),
    /// Run the tests of policies and plugins
    Test(test::Args),
    /// Who decides about a message, and what
    Explain(explain::Args),
    /// The requests of a capture before two sets of policies
    Replay(replay::Args),
    /// A prompt in the VM of a policy
    Repl(repl::Args),
    /// What a call of each stage costs
    Bench(bench::Args),

    /// Many terminals at once: registrations per second, latency, errors
    Load(load::LoadArgs),
    /// Reference of the functions that policies and plugins can call, and stubs for editors
    Doc(doc::Args),
    /// Authentication vectors, resynchronisation, digest responses
    Aka(aka::AkaArgs),
    /// Bootstrapping keys and identifiers
    Gba(gba::GbaArgs),
}

/// Whether these arguments (without the program's name) are a command line, for tests of what is written about it.
/// Ok(false): as far as it goes, but something that is required is missing.
#[doc(hidden)]
pub fn parses<'a>(arguments: impl IntoIterator<Item = &'a str>) -> Result<bool, String> {
    use clap::error::{ContextKind, ContextValue, ErrorKind};
    let is_valueless = |error: &clap::Error| matches!(error.get(ContextKind::InvalidValue), Some(ContextValue::String(value)) if value.is_empty());
    match Cli::try_parse_from(std::iter::once("imscript").chain(arguments)) {
        Ok(_) => Ok(true),
        Err(error) => match error.kind() {
            ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => Ok(true),
            ErrorKind::MissingRequiredArgument
            | ErrorKind::MissingSubcommand
            | ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => Ok(false),
            ErrorKind::InvalidValue if is_valueless(&error) => Ok(false),
            _ => Err(error.to_string()),
        },
    }
}

/// Parses the arguments, runs the verb, prints an error as one line per cause.
pub fn main() -> ExitCode {
    main_with(|node| node)
}

/// The same command line for a program with plugins of its own: `run` starts the node that `extend` completes.
///
/// ```no_run
/// # struct MyPlugin;
/// # impl imscript::policy::Plugin for MyPlugin {
/// #     fn name(&self) -> &str { "my-plugin" }
/// #     fn stages(&self) -> &[imscript::policy::Stage] { &[] }
/// # }
/// fn main() -> std::process::ExitCode {
///     imscript::cli::main_with(|node| node.plugin(|| MyPlugin))
/// }
/// ```
pub fn main_with(extend: impl FnOnce(Builder) -> Builder) -> ExitCode {
    let cli = Cli::parse();
    let done = match cli.verb {
        Verb::Demo(args) => demo::run(args),
        Verb::Reload(args) => reload::run(args),
        Verb::Rollback(args) => generations::rollback(args),
        Verb::Generations(args) => generations::run(args),
        Verb::Metrics(args) => metrics::run(args),
        Verb::Run(args) => run::run(args, extend),
        Verb::Status(args) => status::run(args),
        Verb::Diameter(args) => diameter::run(args),
        Verb::Registration(args) => registration::run(args),
        Verb::Subscriber(args) => subscriber::run(args),
        Verb::Store(args) => store::run(args),
        Verb::Terminal(args) => terminal::run(args),

        Verb::New(args) => new::run(args),
        Verb::Check(args) => check::run(args),
        Verb::Test(args) => test::run(args),
        Verb::Explain(args) => explain::run(args),
        Verb::Replay(args) => replay::run(args),
        Verb::Repl(args) => repl::run(args),
        Verb::Bench(args) => bench::run(args),

        Verb::Load(args) => load::run(args),
        Verb::Doc(args) => doc::run(args),
        Verb::Aka(args) => aka::run(args).map(|()| ExitCode::SUCCESS),
        Verb::Gba(args) => gba::run(args).map(|()| ExitCode::SUCCESS),
    };
    match done {
        Ok(code) => code,
        Err(error) => {
            eprintln!("imscript: {}", fault::shown(&error));
            ExitCode::FAILURE
        }
    }
}

/// An error and its causes, each said once: many already quote their cause.
fn in_one_line(error: &anyhow::Error) -> String {
    error.chain().skip(1).fold(error.to_string(), |mut line, cause| {
        let cause = cause.to_string();
        if !line.contains(&cause) {
            line.push_str(": ");
            line.push_str(&cause);
        }
        line
    })
}
