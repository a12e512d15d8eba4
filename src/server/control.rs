//! The control socket of a node, `DATA_DIR/control.sock`: what `imscript reload`, `rollback`, `generations`, `metrics`
//! and `status` talk to. Whoever may write to it may steer the node, so it is for the node's own user only.
//!
//! A lock beside it, `control.lock`, is held while the node lives: it keeps a second node off the data folder, and tells
//! the socket of a dead node from that of a live one.

pub mod protocol;

use protocol::{Answer, MAX_REQUEST, Problem, Request};
use socket2::{Domain, SockAddr, Socket, Type};
use std::fs::{self, File, Permissions, TryLockError};
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::{Semaphore, mpsc, oneshot};
use tokio::task::LocalSet;
use tokio::time::timeout;

/// Name of the socket in the data folder.
pub const FILE_NAME: &str = "control.sock";
const LOCK_NAME: &str = "control.lock";
/// The socket's name until it is ready; not longer than its own.
const NEW_NAME: &str = "control.new";
/// Longest path of a socket (`sun_path` less its end).
const MAX_PATH: usize = 107;
/// Clients at once; more wait.
const CLIENTS: usize = 16;
const BACKLOG: i32 = 16;
/// For a whole request to come: a client that says nothing takes the place of one that would.
const SILENT: Duration = Duration::from_secs(1);
/// For a line of the answer to be taken.
const STUCK: Duration = Duration::from_secs(10);

#[derive(Debug, thiserror::Error)]
pub enum ControlError {
    #[error("a node already runs on {}: stop it, or give this one another data_dir", dir.display())]
    Taken { dir: PathBuf },
    #[error(
        "{}: {length} octets, and the path of a socket may have {MAX_PATH}: choose a shorter data_dir, or one relative to \
         the folder that the node is started in", path.display()
    )]
    TooLong { path: PathBuf, length: usize },
    #[error("control socket {}: {why}", path.display())]
    Io { path: PathBuf, why: io::Error },
}

/// What answers the requests. It returns at once; the answer may come later and from another thread.
pub type Handler = Arc<dyn Fn(Request, Reply) + Send + Sync>;

/// Where the answer to one request goes. Dropped without a final line, it says that there is none.
#[derive(Debug, Clone)]
pub struct Reply(mpsc::UnboundedSender<Answer>);

impl Reply {
    /// For one who asks from within the process.
    pub fn channel() -> (Reply, mpsc::UnboundedReceiver<Answer>) {
        let (sender, answers) = mpsc::unbounded_channel();
        (Reply(sender), answers)
    }

    pub fn step(&self, text: impl Into<String>) {
        let _ = self.0.send(Answer::Step(text.into()));
    }

    pub fn done(self, value: serde_json::Value) {
        let _ = self.0.send(Answer::Done(value));
    }

    pub fn failed(self, problem: Problem) {
        let _ = self.0.send(Answer::Error(problem));
    }

    /// Whether nobody waits any more.
    pub fn is_closed(&self) -> bool {
        self.0.is_closed()
    }
}

/// The socket, open but not served yet: what comes in waits.
#[derive(Debug)]
pub struct ControlSocket {
    listener: UnixListener,
    place: Place,
}

/// The socket's name, taken away with this; the lock goes with the file.
#[derive(Debug)]
struct Place {
    path: PathBuf,
    _lock: File,
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.path);
    }
}

impl ControlSocket {
    pub fn open(data_dir: &Path) -> Result<Self, ControlError> {
        let path = data_dir.join(FILE_NAME);
        let length = path.as_os_str().len();
        if length > MAX_PATH {
            return Err(ControlError::TooLong { path, length });
        }
        let failed = |why| ControlError::Io { path: path.clone(), why };
        fs::create_dir_all(data_dir).map_err(failed)?;
        let lock =
            File::options().create(true).truncate(false).write(true).open(data_dir.join(LOCK_NAME)).map_err(failed)?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(ControlError::Taken { dir: data_dir.into() }),
            Err(TryLockError::Error(why)) => return Err(failed(why)),
        }
        let listener = listen(&data_dir.join(NEW_NAME), &path).map_err(failed)?;
        Ok(ControlSocket { listener, place: Place { path, _lock: lock } })
    }

    /// Serves on a thread of its own until the [`Control`] is dropped.
    pub fn serve(self, handler: Handler) -> Result<Control, ControlError> {
        let ControlSocket { listener, place } = self;
        let failed = |why| ControlError::Io { path: place.path.clone(), why };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(failed)?;
        let (stop, stopped) = oneshot::channel::<()>();
        let thread = std::thread::Builder::new()
            .name("control".into())
            .spawn(move || {
                LocalSet::new().block_on(&runtime, async move {
                    tokio::select! {
                        _ = stopped => {}
                        ended = accept(listener, handler) => {
                            if let Err(why) = ended {
                                tracing::error!(%why, "the control socket is served no more");
                            }
                        }
                    }
                });
            })
            .map_err(failed)?;
        Ok(Control { stop: Some(stop), thread: Some(thread), place })
    }
}

/// A control socket that is served.
#[derive(Debug)]
pub struct Control {
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
    place: Place,
}

impl Control {
    pub fn path(&self) -> &Path {
        &self.place.path
    }
}

impl Drop for Control {
    fn drop(&mut self) {
        self.stop.take();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// Under another name until only its owner may connect; then in the place of what a dead node has left.
fn listen(new: &Path, path: &Path) -> io::Result<UnixListener> {
    match fs::remove_file(new) {
        Err(why) if why.kind() != io::ErrorKind::NotFound => return Err(why),
        _ => {}
    }
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    socket.bind(&SockAddr::unix(new)?)?;
    fs::set_permissions(new, Permissions::from_mode(0o600))?;
    socket.listen(BACKLOG)?;
    socket.set_nonblocking(true)?;
    fs::rename(new, path)?;
    Ok(socket.into())
}

async fn accept(listener: UnixListener, handler: Handler) -> io::Result<()> {
    let listener = tokio::net::UnixListener::from_std(listener)?;
    let places = Arc::new(Semaphore::new(CLIENTS));
    while let Ok(place) = places.clone().acquire_owned().await {
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(why) => {
                tracing::warn!(%why, "cannot accept on the control socket");
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        let handler = handler.clone();
        tokio::task::spawn_local(async move {
            let _place = place;
            if let Err(why) = converse(stream, handler).await {
                tracing::debug!(%why, "a client of the control socket went away");
            }
        });
    }
    Ok(())
}

/// One client: a request, its answer, the next request.
async fn converse(stream: UnixStream, handler: Handler) -> io::Result<()> {
    let (reader, mut writer) = stream.into_split();
    let mut reader = BufReader::new(reader);
    loop {
        let Some(line) = timeout(SILENT, read_request(&mut reader)).await?? else { return Ok(()) };
        let request = match Request::from_line(&line) {
            Ok(request) if line.ends_with(b"\n") => request,
            Ok(_) => {
                return refuse(&mut writer, format!("a request is one line of at most {MAX_REQUEST} octets")).await;
            }
            Err(why) if line.len() > MAX_REQUEST => {
                return refuse(&mut writer, format!("a request may have {MAX_REQUEST} octets ({why})")).await;
            }
            Err(why) => {
                refuse(&mut writer, why.to_string()).await?;
                continue;
            }
        };
        let verb = request.verb();
        let (sender, mut answers) = mpsc::unbounded_channel();
        handler(request, Reply(sender));
        loop {
            let answer = answers.recv().await.unwrap_or_else(|| Answer::Error(unanswered(verb)));
            write_line(&mut writer, &answer).await?;
            if answer.is_final() {
                break;
            }
        }
    }
}

/// A line with its end; None: the client has gone. A line that is too long is cut, and its end is missing.
async fn read_request(reader: &mut BufReader<OwnedReadHalf>) -> io::Result<Option<Vec<u8>>> {
    let mut line = Vec::new();
    let read = reader.take(MAX_REQUEST as u64 + 1).read_until(b'\n', &mut line).await?;
    Ok((read > 0).then_some(line))
}

async fn refuse(writer: &mut OwnedWriteHalf, message: String) -> io::Result<()> {
    write_line(writer, &Answer::Error(Problem::new("request", message))).await
}

async fn write_line(writer: &mut OwnedWriteHalf, answer: &Answer) -> io::Result<()> {
    timeout(STUCK, writer.write_all(answer.to_line().as_bytes())).await?
}

fn unanswered(verb: &str) -> Problem {
    Problem::new(verb, "the node has ended before it was done")
}

#[cfg(test)]
mod tests;
