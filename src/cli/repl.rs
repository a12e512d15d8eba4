//! `imscript repl`: a prompt in the VM that policies have.

use super::explain::{scene, stage};
use super::target::Chosen;
use crate::harness::scene::Scene;
use crate::harness::words;
use crate::policy::lua::{Env, PolicySource, Prompt, PromptError, Shown, Unit};
use crate::policy::{ServerView, Stage};
use rustyline::error::ReadlineError;
use std::io::{BufRead, IsTerminal};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// Longest input, in lines.
const MAX_LINES: usize = 10_000;

/// Lua as a policy runs it: the same library, limits and host functions, and `req`, `ctx` and `portion` of a request.
/// Nothing in it reaches files or processes. Exit code 1 if standard input is no terminal and an input failed.
#[derive(clap::Args)]
#[command(after_help = "Examples:
  imscript repl
  imscript repl --policy lua/policy/home.lua --message register.sip
  echo '=ctx.servers:by_naf(portion.naf_id)' | imscript repl

At the prompt:
  =req.kind                        the value of an expression
  :stage status                    the arguments of another stage: event, ctx
  :load lua/policy/home.lua        its functions, as policy.verify and so on
  :message register.sip            another request
  :quit")]
pub struct Args {
    #[command(flatten)]
    chosen: Chosen,
    /// Request that req, ctx and portion are of [default: a first REGISTER with a broadcast portion]
    #[arg(long, value_name = "FILE")]
    message: Option<PathBuf>,
    /// The stage whose arguments are there
    #[arg(long, value_name = "STAGE", default_value = "broadcast", value_parser = stage)]
    stage: Stage,
}

pub fn run(args: Args) -> anyhow::Result<ExitCode> {
    let set = args.chosen.set()?;
    let mut session = Session {
        prompt: prompt(&set.servers)?,
        scene: match &args.message {
            Some(path) => scene(path, &set.servers)?,
            None => Scene::sample(&set.servers, 1_767_225_600)?,
        },
        servers: set.servers,
        stage: args.stage,
        input: String::new(),
        failed: false,
    };
    if let Some(policy) = &set.policy {
        session.load(policy)?;
    }
    if std::io::stdin().is_terminal() { talk(&mut session) } else { read(&mut session) }
}

fn prompt(servers: &[ServerView]) -> anyhow::Result<Prompt> {
    let empty = PolicySource::new("repl", "return {}").compile()?;
    Ok(Prompt::new(Unit::policy(empty), &Env::detached(servers), |line| println!("{line}"))?)
}

fn talk(session: &mut Session) -> anyhow::Result<ExitCode> {
    let mut editor = rustyline::DefaultEditor::new()?;
    println!("Lua as a policy runs it; :help tells more, :quit ends");
    loop {
        match editor.readline(if session.input.is_empty() { "> " } else { ">> " }) {
            Ok(line) => {
                // No history is no reason to end.
                let _ = editor.add_history_entry(&line);
                if !session.line(&line) {
                    return Ok(ExitCode::SUCCESS);
                }
            }
            Err(ReadlineError::Interrupted) => session.input.clear(),
            Err(ReadlineError::Eof) => return Ok(ExitCode::SUCCESS),
            Err(error) => return Err(error.into()),
        }
    }
}

fn read(session: &mut Session) -> anyhow::Result<ExitCode> {
    for line in std::io::stdin().lock().lines().take(MAX_LINES) {
        if !session.line(&line?) {
            break;
        }
    }
    if !session.input.is_empty() {
        session.fault("the input ends before what it begins does");
    }
    Ok(if session.failed { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

struct Session {
    prompt: Prompt,
    scene: Scene,
    servers: Vec<ServerView>,
    stage: Stage,
    /// Lines of an input that is not complete yet.
    input: String,
    failed: bool,
}

impl Session {
    /// Takes one line; false: that was the end.
    fn line(&mut self, line: &str) -> bool {
        if self.input.is_empty() {
            if let Some(command) = line.trim().strip_prefix(':') {
                return self.command(command);
            }
            if line.trim().is_empty() {
                return true;
            }
        } else if line.trim().is_empty() {
            // An empty line gives up what cannot be completed.
            self.input.clear();
            self.fault("given up");
            return true;
        }
        if !self.input.is_empty() {
            self.input.push('\n');
        }
        self.input.push_str(line);
        let answer = self.scene.with(self.stage, |question| self.prompt.run(question, &self.input));
        match answer {
            None => self.fault("the request has no broadcast portion; :stage register, or another :message"),
            Some(Err(PromptError::Incomplete)) => return true,
            Some(Err(PromptError::Failed(why))) => self.fault(&why),
            Some(Ok(values)) => {
                for value in values {
                    match value {
                        Shown::Value(text) => println!("{text}"),
                        Shown::Verdict(opinion) => println!("{}", words::line(&opinion)),
                    }
                }
            }
        }
        self.input.clear();
        true
    }

    fn command(&mut self, command: &str) -> bool {
        let (verb, argument) = command.split_once(' ').unwrap_or((command, ""));
        let argument = argument.trim();
        match (verb, argument) {
            ("quit" | "q" | "exit", _) => return false,
            ("help" | "h", _) => {
                println!("=EXPRESSION  :stage NAME ({})  :load FILE  :message FILE  :quit", Stage::names())
            }
            ("stage", "") => println!("{}", self.stage.as_str()),
            ("stage", name) => match stage(name) {
                Ok(stage) => self.stage = stage,
                Err(why) => self.fault(&why),
            },
            ("load", file) if !file.is_empty() => {
                if let Err(error) = self.load(Path::new(file)) {
                    self.fault(&super::in_one_line(&error));
                }
            }
            ("message", file) if !file.is_empty() => match scene(Path::new(file), &self.servers) {
                Ok(scene) => self.scene = scene,
                Err(error) => self.fault(&super::in_one_line(&error)),
            },
            ("load" | "message", _) => self.fault("a file is missing"),
            (other, _) => self.fault(&format!("no command :{other}; :help names them")),
        }
        true
    }

    fn load(&mut self, file: &Path) -> anyhow::Result<()> {
        self.prompt.load(&PolicySource::read(file)?)?;
        println!("policy = {}", file.display());
        Ok(())
    }

    fn fault(&mut self, why: &str) {
        self.failed = true;
        println!("error: {why}");
    }
}
