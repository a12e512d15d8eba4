//! Sees that the policy file or the plugins' folder has changed, however that was done.
//!
//! Events (`notify`) make it quick, and a look at the contents every two seconds makes it certain: bind mounts and
//! network file systems send no events, and the kernel's number of watches is limited. Either way only other contents
//! count, never a time stamp, and only once they have been at rest: an editor writes in several steps.
//!
//! A thread of its own; the node's loader is told by a call of `changed`.

mod rest;
mod tree;

pub use tree::Digest;

use notify::event::{AccessKind, AccessMode};
use notify::{EventKind, RecommendedWatcher, RecursiveMode, Watcher};
use rest::{Next, Rest};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use tree::{Names, Place, Tree};

#[derive(Debug, thiserror::Error)]
pub enum WatchError {
    #[error("no thread for watching files: {0}")]
    Thread(std::io::Error),
}

/// When to look, and how long to wait.
#[derive(Debug, Clone, Copy)]
pub struct Timing {
    /// From one look without cause to the next.
    pub poll: Duration,
    /// Contents count when nothing has happened for so long,
    pub quiet: Duration,
    /// and at last when it has been this long since the first sign of a change.
    pub at_most: Duration,
}

impl Default for Timing {
    fn default() -> Self {
        Timing { poll: Duration::from_secs(2), quiet: Duration::from_millis(250), at_most: Duration::from_secs(2) }
    }
}

/// The digest of what `roots` (files and folders) hold now; what is not there has a digest too.
pub fn digest(roots: &[PathBuf]) -> Digest {
    Tree::look(roots).digest
}

/// Watches until it is dropped.
pub struct Watch {
    signs: Arc<Signs>,
    thread: Option<JoinHandle<()>>,
}

impl Watch {
    /// Calls `changed` each time that `roots` come to hold something else. `known` is the digest of what is in force,
    /// taken before it was read: what changes between that and this call is seen too.
    pub fn start(
        roots: Vec<PathBuf>,
        known: Digest,
        timing: Timing,
        changed: impl FnMut(Digest) + Send + 'static,
    ) -> Result<Watch, WatchError> {
        Self::start_with(roots, known, timing, true, changed)
    }

    fn start_with(
        roots: Vec<PathBuf>,
        known: Digest,
        timing: Timing,
        events: bool,
        mut changed: impl FnMut(Digest) + Send + 'static,
    ) -> Result<Watch, WatchError> {
        let signs = Arc::new(Signs::default());
        let seen = signs.clone();
        let thread = std::thread::Builder::new()
            .name("policy-watch".into())
            .spawn(move || {
                let events = if events { Events::open(&seen) } else { None };
                run(&roots, known, timing, events, &seen, &mut changed);
            })
            .map_err(WatchError::Thread)?;
        Ok(Watch { signs, thread: Some(thread) })
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.signs.lock().stop = true;
        self.signs.woken.notify_all();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// What the kernel's events have told since the last look.
#[derive(Default)]
struct Signs {
    state: Mutex<State>,
    woken: Condvar,
}

#[derive(Default)]
struct State {
    stop: bool,
    /// Something happened to one of `names`.
    touched: bool,
    /// No more watches are to be had.
    limited: bool,
    names: Names,
}

impl Signs {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for a sign, at most `within`; whether one came. None: it is over.
    fn wait(&self, within: Duration) -> Option<bool> {
        let end = Instant::now() + within;
        let mut state = self.lock();
        loop {
            if state.stop {
                return None;
            }
            if std::mem::take(&mut state.touched) {
                return Some(true);
            }
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Some(false);
            }
            state = self.woken.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    fn take(&self, event: notify::Result<notify::Event>) {
        let mut state = self.lock();
        match event {
            Ok(event) => {
                let ours = event.need_rescan() || event.paths.iter().any(|path| state.names.contain(path));
                if !changes(event.kind) || !ours {
                    return;
                }
                state.touched = true;
            }
            Err(error) => {
                state.limited |= matches!(error.kind, notify::ErrorKind::MaxFilesWatch);
                state.touched = true;
            }
        }
        self.woken.notify_all();
    }
}

/// Looking at a file opens it: that must not be a reason to look again.
fn changes(kind: EventKind) -> bool {
    !matches!(kind, EventKind::Access(access) if access != AccessKind::Close(AccessMode::Write))
}

/// The kernel's watches.
struct Events {
    watcher: RecommendedWatcher,
    watched: BTreeMap<PathBuf, Place>,
}

impl Events {
    fn open(signs: &Arc<Signs>) -> Option<Events> {
        let signs = signs.clone();
        match notify::recommended_watcher(move |event| signs.take(event)) {
            Ok(watcher) => Some(Events { watcher, watched: BTreeMap::new() }),
            Err(why) => {
                fall_back(&why);
                None
            }
        }
    }

    /// Watches exactly `folders`. `again`: also those that seem to be watched already, since a folder that was deleted
    /// and made anew may be the same to all appearances. False: there are no more watches to be had.
    fn follow(&mut self, folders: &BTreeMap<PathBuf, Place>, again: bool) -> bool {
        let gone: Vec<PathBuf> = self
            .watched
            .iter()
            .filter(|(path, place)| folders.get(*path) != Some(place))
            .map(|(path, _)| path.clone())
            .collect();
        for path in gone {
            self.watched.remove(&path);
            let _ = self.watcher.unwatch(&path); // a folder that is gone is watched no more
        }
        for (path, place) in folders {
            if !again && self.watched.contains_key(path) {
                continue;
            }
            match self.watcher.watch(path, RecursiveMode::NonRecursive) {
                Ok(()) => {
                    self.watched.insert(path.clone(), *place);
                }
                Err(why) if is_limit(&why) => {
                    fall_back(&why);
                    return false;
                }
                // It went between the look and now; the next look finds out.
                Err(why) => tracing::debug!(folder = %path.display(), %why, "not watched"),
            }
        }
        true
    }
}

fn is_limit(error: &notify::Error) -> bool {
    const EMFILE: i32 = 24;
    match &error.kind {
        notify::ErrorKind::MaxFilesWatch => true,
        notify::ErrorKind::Io(error) => error.raw_os_error() == Some(EMFILE),
        _ => false,
    }
}

fn fall_back(why: &notify::Error) {
    tracing::warn!(
        %why,
        "policy files are not watched by events, only looked at every few seconds; raise fs.inotify.max_user_watches \
         and max_user_instances"
    );
}

/// How often folders that come and go are followed before their contents are looked at.
const ROUNDS: usize = 8;

fn run(
    roots: &[PathBuf],
    known: Digest,
    timing: Timing,
    mut events: Option<Events>,
    signs: &Signs,
    changed: &mut dyn FnMut(Digest),
) {
    let start = Instant::now();
    let mut rest = Rest::new(timing, known);
    let mut touched = true;
    loop {
        let mut tree = Tree::look(roots);
        for _ in 0..ROUNDS {
            let Some(open) = &mut events else { break };
            signs.lock().names.clone_from(&tree.names);
            let new = touched || open.watched != tree.folders;
            let fresh = open.follow(&tree.folders, touched);
            if !fresh || signs.lock().limited {
                events = None;
            }
            if !new {
                break;
            }
            // Watches before contents: what happens after the contents were read is then an event. A folder that has come
            // meanwhile is not watched yet.
            let before = std::mem::replace(&mut tree, Tree::look(roots));
            if before.folders == tree.folders {
                break;
            }
        }
        if let Next::Tell(digest) = rest.looked(tree.digest, start.elapsed()) {
            changed(digest);
        }
        // Until the next look is due; what happens meanwhile puts it off.
        touched = false;
        loop {
            let due = rest.due().saturating_sub(start.elapsed());
            match signs.wait(due) {
                None => return,
                Some(true) => {
                    touched = true;
                    rest.touched(start.elapsed());
                }
                Some(false) => break,
            }
        }
    }
}

/// The path as the events name it.
fn absolute(path: &Path) -> PathBuf {
    std::path::absolute(path).unwrap_or_else(|_| path.to_owned())
}

#[cfg(test)]
mod tests;
