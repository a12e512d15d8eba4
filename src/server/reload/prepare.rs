//! The loader has a generation prepared on another thread, and stays free for what is more urgent.

use super::load::Prepared;
use super::{Command, How, Loader, TICK};
use crate::server::control::Reply;
use crate::server::control::protocol::Problem;
use std::time::{Duration, Instant};

/// For a generation to be read, set up and tested; the tests alone may take 20 s.
const LOAD_WITHIN: Duration = Duration::from_secs(60);
/// Loads that were given up and have not ended: more of them are not begun.
const MOST_LEFT_BEHIND: usize = 4;

impl Loader {
    /// Has a generation read, set up and tested on a thread of its own: what is more urgent need not wait for that, nor
    /// for a file system that does not answer. A thread that is left behind ends by itself, and nobody hears of it.
    pub(super) fn prepared(&mut self, id: u64, how: How, reply: Option<&Reply>) -> Result<Prepared, Problem> {
        self.left_behind.retain(|thread| !thread.is_finished());
        if self.left_behind.len() >= MOST_LEFT_BEHIND {
            return Err(Problem::new("load", "the loads before, which were given up, have not ended: try again later"));
        }
        self.attempt = self.attempt.wrapping_add(1);
        let attempt = self.attempt;
        let (origin, servers, commands) = (self.origin.clone(), self.servers.clone(), self.commands.clone());
        let reply = reply.cloned();
        let work = move || {
            let digest = origin.digest();
            let outcome = origin.prepare(id, how.skip_tests, &servers, &|text| {
                if let Some(reply) = &reply {
                    reply.step(text);
                }
            });
            drop(commands.send(Command::Prepared(attempt, Box::new(Prepared { digest, outcome }))));
        };
        let failed = |why: String| Problem::new("load", why);
        let thread = std::thread::Builder::new().name("load".into()).spawn(work).map_err(|e| failed(e.to_string()))?;
        let end = Instant::now() + LOAD_WITHIN;
        let why = loop {
            // Asked before the inbox is: what it has sent is there then.
            let ended = thread.is_finished();
            match self.inbox.recv_timeout(TICK) {
                Ok(Command::Prepared(which, prepared)) if which == attempt => return Ok(*prepared),
                Ok(Command::Prepared(..) | Command::Answered(_)) => {} // late: of one that was given up
                Ok(command @ (Command::Rollback { .. } | Command::Stop)) => {
                    self.waiting.push_back(command);
                    break "interrupted: something more urgent was asked for".to_owned();
                }
                Ok(command) => self.waiting.push_back(command),
                Err(_) if ended => break "ended before it was done".to_owned(),
                Err(_) if Instant::now() >= end => {
                    break format!("not read, set up and tested within {} s", LOAD_WITHIN.as_secs());
                }
                Err(_) => {}
            }
            self.judge();
        };
        self.left_behind.push(thread);
        Err(failed(why))
    }
}
