//! A thread with a queue of commands: what waits for a store or a disk does so there, and not on a worker.

use super::EmbeddedError;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Mutex, PoisonError};
use std::thread::JoinHandle;

pub(super) struct Thread<C> {
    queue: Sender<C>,
    handle: Mutex<Option<JoinHandle<()>>>,
}

impl<C: Send + 'static> Thread<C> {
    pub(super) fn start(name: &str, run: impl FnOnce(Receiver<C>) + Send + 'static) -> Result<Self, EmbeddedError> {
        let (queue, commands) = channel();
        let handle = std::thread::Builder::new()
            .name(name.into())
            .spawn(move || run(commands))
            .map_err(EmbeddedError::Thread)?;
        Ok(Thread { queue, handle: Mutex::new(Some(handle)) })
    }

    /// False: the thread has ended.
    pub(super) fn send(&self, command: C) -> bool {
        self.queue.send(command).is_ok()
    }

    /// Returns when the command is done, or never will be.
    pub(super) fn ask(&self, command: impl FnOnce(Sender<()>) -> C) {
        let (done, answer) = channel();
        if self.send(command(done)) {
            let _ = answer.recv();
        }
    }

    /// `last` has it end.
    pub(super) fn stop(&self, last: C) {
        self.send(last);
        let handle = self.handle.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(handle) = handle
            && handle.join().is_err()
        {
            tracing::error!("a thread of the HSS ended by a fault");
        }
    }
}
