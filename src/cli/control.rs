//! The client of a running node's control socket, for the verbs that steer one.

use crate::config::Config;
use crate::server::control::FILE_NAME;
use crate::server::control::protocol::{Answer, MAX_ANSWER, Request};
use anyhow::{Context, bail};
use serde_json::Value;
use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

/// Longest silence of a node at work on a request: a shadow waits for traffic, and tests run.
const PATIENCE: Duration = Duration::from_secs(180);

/// Which node.
#[derive(clap::Args)]
pub struct Target {
    /// Data folder of the node [default: imscript-data]
    #[arg(long, value_name = "DIR", conflicts_with = "config")]
    data_dir: Option<PathBuf>,
    /// Configuration file of the node
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Print the node's answer as JSON lines
    #[arg(long)]
    json: bool,
}

impl Target {
    fn socket(&self) -> anyhow::Result<PathBuf> {
        let dir = match (&self.data_dir, &self.config) {
            (Some(dir), _) => dir.clone(),
            (None, Some(file)) => Config::load(file)?.data_dir,
            (None, None) => Config::all_on_loopback().data_dir,
        };
        Ok(dir.join(FILE_NAME))
    }

    /// Asks the node and prints what comes: steps and refusals to standard error, the outcome as `show` has it to standard
    /// output. Exit code 0 only if it is done.
    pub(super) fn ask(&self, request: &Request, show: impl FnOnce(&Value) -> String) -> anyhow::Result<ExitCode> {
        let path = self.socket()?;
        let stream = UnixStream::connect(&path).with_context(|| match path.try_exists() {
            Ok(true) => format!("no node answers on {}: it has ended without taking its socket away", path.display()),
            _ => format!("no node runs there: {}; --data-dir or --config says which node is meant", path.display()),
        })?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        (&stream).write_all(request.to_line().as_bytes())?;
        let mut lines = BufReader::new(stream);
        loop {
            let line = next_line(&mut lines)?;
            let answer = Answer::from_line(&line).context("the node's answer cannot be read")?;
            if self.json {
                std::io::stdout().write_all(&line)?;
            }
            match answer {
                Answer::Step(text) if !self.json => eprintln!("{text}"),
                Answer::Step(_) => {}
                Answer::Done(outcome) => {
                    let text = show(&outcome);
                    if !self.json {
                        print!("{text}");
                    }
                    return Ok(ExitCode::SUCCESS);
                }
                Answer::Error(problem) => {
                    if !self.json {
                        let text = problem.detail.as_deref().unwrap_or(&problem.message);
                        eprintln!("imscript: {}: {}: {text}", request.verb(), problem.step);
                    }
                    return Ok(ExitCode::FAILURE);
                }
            }
        }
    }
}

fn next_line(lines: &mut BufReader<UnixStream>) -> anyhow::Result<Vec<u8>> {
    let mut line = Vec::new();
    match lines.take(MAX_ANSWER as u64).read_until(b'\n', &mut line) {
        Ok(0) => bail!("the node ended before it answered"),
        Ok(_) if line.ends_with(b"\n") => Ok(line),
        Ok(_) => bail!("the node's answer is cut off"),
        Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
            bail!("the node has been silent for {} s", PATIENCE.as_secs())
        }
        Err(error) => Err(error).context("control socket"),
    }
}
