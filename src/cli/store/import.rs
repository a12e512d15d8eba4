//! `imscript store import`: lines of JSON, as export writes them.

use super::line::Line;
use crate::clock::Clock;
use crate::store::open::Tool;
use crate::store::{Class, Due, Key, MAX_VALUE, Save, Saved, Store};
use anyhow::{Context, bail};
use std::collections::HashMap;
use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::PathBuf;
use std::process::ExitCode;

/// Bad lines that are printed.
const BAD_LINES_SHOWN: usize = 20;
/// Entities on their way at a time.
const AT_ONCE: usize = 512;
/// Longest line: a value of the longest, all of it escaped, and room for others.
const MOST: usize = 16 * MAX_VALUE;

/// Take entities from lines of JSON, as export writes them
///
/// All lines are checked before the first is taken. What a node keeps of itself (class node) is taken only where there is
/// nothing, so that sequence numbers do not go back.
#[derive(clap::Args)]
#[command(after_help = "Example:
  imscript store import entities.jsonl --data-dir /var/lib/imscript")]
pub(super) struct Import {
    file: PathBuf,
    /// Replace entities that exist
    #[arg(long)]
    replace: bool,
}

/// The good lines with their numbers, and what is wrong with the others.
#[derive(Default)]
struct Lines {
    saves: Vec<(usize, Save)>,
    bad: Vec<(usize, String)>,
}

impl Import {
    pub(super) fn run(&self, tool: &Tool) -> anyhow::Result<ExitCode> {
        let name = self.file.display();
        let file = File::open(&self.file).with_context(|| name.to_string())?;
        let mut read = self.read(BufReader::new(file)).with_context(|| name.to_string())?;
        if read.bad.is_empty() && !self.replace {
            self.find_existing(&*tool.store, &mut read)?;
        }
        if !read.bad.is_empty() {
            read.bad.sort();
            for (number, why) in read.bad.iter().take(BAD_LINES_SHOWN) {
                eprintln!("{name}:{number}: {why}");
            }
            if read.bad.len() > BAD_LINES_SHOWN {
                eprintln!("{name}: and {} more", read.bad.len() - BAD_LINES_SHOWN);
            }
            bail!("{name}: {} bad lines, nothing of the file was taken", read.bad.len());
        }
        let (taken, left) = self.store(&*tool.store, read.saves)?;
        let left = if left == 0 { String::new() } else { format!(", {left} of class node left as they were") };
        println!("{taken} entities from {name}{left}");
        Ok(ExitCode::SUCCESS)
    }

    fn read(&self, mut file: impl BufRead) -> std::io::Result<Lines> {
        let (mut read, mut first) = (Lines::default(), HashMap::new());
        let bar = super::counting("read").map_err(std::io::Error::other)?;
        let mut text = Vec::new();
        for number in 1.. {
            text.clear();
            if (&mut file).take(MOST as u64).read_until(b'\n', &mut text)? == 0 {
                break;
            }
            bar.inc(1);
            if text.trim_ascii().is_empty() {
                continue;
            }
            let line = serde_json::from_slice::<Line>(&text).map_err(|error| match text.len() == MOST {
                true => format!("longer than {MOST} octets"),
                false => error.to_string(),
            });
            match line.and_then(Line::save) {
                Ok(save) => match first.insert(save.key.clone(), number) {
                    None => read.saves.push((number, save)),
                    Some(first) => read.bad.push((number, format!("{} is on line {first} already", save.key))),
                },
                Err(why) => read.bad.push((number, why)),
            }
        }
        bar.finish_and_clear();
        Ok(read)
    }

    fn find_existing(&self, store: &dyn Store, read: &mut Lines) -> anyhow::Result<()> {
        for some in read.saves.chunks(AT_ONCE) {
            let keys: Vec<Key> = some.iter().map(|(_, save)| save.key.clone()).collect();
            for ((number, save), entity) in some.iter().zip(store.load(keys).wait()?) {
                if entity.exists() && save.key.class != Class::Node {
                    read.bad.push((*number, format!("{} exists already (--replace replaces it)", save.key)));
                }
            }
        }
        Ok(())
    }

    /// How many were taken, and how many nodes stayed as they were.
    fn store(&self, store: &dyn Store, saves: Vec<(usize, Save)>) -> anyhow::Result<(usize, usize)> {
        let bar = super::counting("stored")?;
        let (mut taken, mut left) = (0, 0);
        let mut saves = saves.into_iter().peekable();
        while saves.peek().is_some() {
            let now = store.time(Clock::new().now());
            let some = saves.by_ref().take(AT_ONCE).map(|(number, save)| {
                let (key, is_node) = (save.key.clone(), save.key.class == Class::Node);
                let save = if self.replace && !is_node { save } else { save.upon(0) };
                // When it is to be looked at again is for the node to say: it is told to look now.
                let save = if is_timed(key.class) { save.due(Due::At(now)) } else { save };
                (number, key, is_node, store.save(save))
            });
            for (number, key, is_node, answer) in some.collect::<Vec<_>>() {
                match answer.wait().with_context(|| format!("{}:{number}: {key}", self.file.display()))? {
                    Saved::Done(_) => taken += 1,
                    Saved::Conflict if is_node => left += 1,
                    Saved::Conflict => bail!("{}:{number}: {key} was made by another meanwhile", self.file.display()),
                }
                bar.inc(1);
            }
        }
        bar.finish_and_clear();
        Ok((taken, left))
    }
}

/// Whether entities of the class end by time, or have something done at a time.
fn is_timed(class: Class) -> bool {
    use Class::*;
    matches!(class, User | Bootstrap | Challenge | BroadcastUser | Subscription)
}
