//! `imscript store export`: entities as lines of JSON.

use super::line::Line;
use crate::store::open::Tool;
use crate::store::{Class, Entity, Key};
use anyhow::Context;
use std::fs::File;
use std::io::{BufWriter, Write};
use std::ops::ControlFlow;
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;
use std::process::ExitCode;

/// Write entities as lines of JSON, one an entity
///
/// Secrets stay sealed: they are of use only where the store's key file is. Each entity is as of one moment, all of them
/// together are not while a node writes; for that there is backup.
#[derive(clap::Args)]
#[command(after_help = "Examples:
  imscript store export entities.jsonl
  imscript store export - --class user | jq .name")]
pub(super) struct Export {
    /// File to write, which must not exist; "-": standard output
    file: PathBuf,
    /// Only this class; may be repeated
    #[arg(long, value_name = "CLASS", value_parser = class)]
    class: Vec<Class>,
}

pub(super) fn class(text: &str) -> Result<Class, String> {
    let all = Class::ALL.map(Class::as_str).join(", ");
    Class::parse(text).ok_or_else(|| format!("one of {all}"))
}

impl Export {
    pub(super) fn run(&self, tool: &Tool) -> anyhow::Result<ExitCode> {
        let name = self.file.display();
        let to_stdout = self.file.as_os_str() == "-";
        let mut out: Box<dyn Write> = match to_stdout {
            true => Box::new(std::io::stdout().lock()),
            false => {
                let file = File::options().write(true).create_new(true).mode(0o600).open(&self.file);
                Box::new(BufWriter::new(file.with_context(|| name.to_string())?))
            }
        };
        let classes = if self.class.is_empty() { Class::ALL.to_vec() } else { self.class.clone() };
        let bar = super::counting("written")?;
        let mut failed = None;
        for class in classes {
            let mut each = |key: &Key, entity: Entity| {
                bar.inc(1);
                let line = serde_json::to_string(&Line::of(key, &entity)).map_err(std::io::Error::other);
                match line.and_then(|line| writeln!(out, "{line}")) {
                    Ok(()) => ControlFlow::Continue(()),
                    Err(error) => {
                        failed = Some(error);
                        ControlFlow::Break(())
                    }
                }
            };
            tool.store.walk(class, &mut each)?;
        }
        bar.finish_and_clear();
        let written = bar.position();
        match failed.map_or_else(|| out.flush(), Err) {
            // Who reads has had enough.
            Err(error) if to_stdout && error.kind() == std::io::ErrorKind::BrokenPipe => {}
            done => done.with_context(|| name.to_string())?,
        }
        if !to_stdout {
            println!("{written} entities in {name}");
        }
        Ok(ExitCode::SUCCESS)
    }
}
