//! What a node tells the service manager that started it: sd_notify(3), datagrams to `$NOTIFY_SOCKET`, and its watchdog.
//! `imscript run` calls it; without a service manager nothing is said.
//!
//! A reload is told as `Type=notify-reload` wants it: RELOADING=1 with the monotonic time, then READY=1, taken or refused.

use super::drain::Life;
use nix::time::{ClockId, clock_gettime};
use std::ffi::OsStr;
use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::sync::Arc;
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::time::{Duration, Instant};

/// A service manager that does not read must not hold the node up.
const STUCK: Duration = Duration::from_secs(1);

#[derive(Debug, thiserror::Error)]
pub enum SystemdError {
    #[error("NOTIFY_SOCKET: {0}")]
    Socket(io::Error),
    #[error("watchdog: {0}")]
    Thread(io::Error),
}

/// The service manager.
#[derive(Debug)]
pub struct Systemd {
    socket: UnixDatagram,
    to: SocketAddr,
}

impl Systemd {
    /// None: nobody wants to be told.
    pub fn from_environment() -> Result<Option<Arc<Self>>, SystemdError> {
        let name = std::env::var_os("NOTIFY_SOCKET").filter(|name| !name.is_empty());
        name.map(|name| Self::at(&name).map(Arc::new)).transpose().map_err(SystemdError::Socket)
    }

    /// A path, or a name in the abstract namespace after an `@`.
    fn at(name: &OsStr) -> io::Result<Self> {
        let to = match name.as_bytes() {
            [b'@', name @ ..] => SocketAddr::from_abstract_name(name)?,
            [b'/', ..] => SocketAddr::from_pathname(name)?,
            _ => return Err(io::Error::new(io::ErrorKind::InvalidInput, "neither a path nor an abstract name")),
        };
        let socket = UnixDatagram::unbound()?;
        socket.set_write_timeout(Some(STUCK))?;
        Ok(Systemd { socket, to })
    }

    /// The node serves; `status` is what `systemctl status` shows.
    pub fn ready(&self, status: &str) {
        self.say(&format!("READY=1\n{}", status_line(status)));
    }

    pub fn reloading(&self) {
        let now = clock_gettime(ClockId::CLOCK_MONOTONIC).map_or(Duration::ZERO, Duration::from);
        let microseconds = now.as_micros();
        self.say(&format!("RELOADING=1\nMONOTONIC_USEC={microseconds}\n{}", status_line("reloading")));
    }

    pub fn stopping(&self, status: &str) {
        self.say(&format!("STOPPING=1\n{}", status_line(status)));
    }

    fn say(&self, state: &str) {
        if let Err(why) = self.socket.send_to_addr(state.as_bytes(), &self.to) {
            tracing::warn!(%why, "the service manager cannot be told how the node is");
        }
    }

    /// Keeps the watchdog quiet, if there is one, as long as every worker answers within half of its time.
    pub fn watch(self: &Arc<Self>, life: &Arc<Life>) -> Result<Option<Watchdog>, SystemdError> {
        match watchdog_time(|name| std::env::var(name).ok(), std::process::id()) {
            Some(time) => Watchdog::start(self.clone(), life.clone(), time / 2).map(Some).map_err(SystemdError::Thread),
            None => Ok(None),
        }
    }
}

/// `$WATCHDOG_USEC`, unless `$WATCHDOG_PID` says that it is for another process.
fn watchdog_time(variable: impl Fn(&str) -> Option<String>, pid: u32) -> Option<Duration> {
    let time = Duration::from_micros(variable("WATCHDOG_USEC")?.parse().ok()?);
    let is_ours = variable("WATCHDOG_PID").is_none_or(|text| text.parse() == Ok(pid));
    (is_ours && !time.is_zero()).then_some(time)
}

/// A line of its own: an end of line in the text would begin another assignment.
fn status_line(status: &str) -> String {
    let line: String = status.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    format!("STATUS={line}\n")
}

/// Says WATCHDOG=1 on a thread of its own until it is dropped.
#[derive(Debug)]
pub struct Watchdog(#[allow(dead_code, reason = "the thread ends when it is dropped")] Sender<()>);

impl Watchdog {
    fn start(systemd: Arc<Systemd>, life: Arc<Life>, every: Duration) -> io::Result<Self> {
        let (end, ended) = mpsc::channel();
        std::thread::Builder::new().name("watchdog".into()).spawn(move || {
            loop {
                let next = Instant::now() + every;
                match life.silent(every) {
                    silent if silent.is_empty() => systemd.say("WATCHDOG=1\n"),
                    silent => tracing::error!(workers = ?silent, ?every, "no answer: the watchdog is not told"),
                }
                match ended.recv_timeout(next.saturating_duration_since(Instant::now())) {
                    Err(RecvTimeoutError::Timeout) => {}
                    Ok(()) | Err(RecvTimeoutError::Disconnected) => return,
                }
            }
        })?;
        Ok(Watchdog(end))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_time_of_the_watchdog_is_for_the_process_that_it_names() {
        let time = |usec: &'static str, pid: Option<&'static str>| {
            let variable = move |name: &str| match name {
                "WATCHDOG_USEC" => Some(usec.to_owned()),
                _ => pid.map(str::to_owned),
            };
            watchdog_time(variable, 7)
        };
        assert_eq!(time("1500000", None), Some(Duration::from_millis(1500)));
        assert_eq!(time("1500000", Some("7")), Some(Duration::from_millis(1500)));
        for (usec, pid) in [("1500000", Some("8")), ("1500000", Some("x")), ("0", None), ("soon", None), ("", None)] {
            assert_eq!(time(usec, pid), None, "{usec} {pid:?}");
        }
    }

    #[test]
    fn a_status_is_one_line() {
        assert_eq!(status_line("a.lua:1: no\nREADY=1\r"), "STATUS=a.lua:1: no READY=1 \n");
    }

    #[test]
    fn sockets_by_path_and_by_abstract_name() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("notify");
        let name = format!("imscript-test-{}", std::process::id());
        let by_name = UnixDatagram::bind_addr(&SocketAddr::from_abstract_name(&name).unwrap()).unwrap();
        let abstract_name = format!("@{name}");
        for (listener, name) in
            [(UnixDatagram::bind(&path).unwrap(), path.as_os_str()), (by_name, OsStr::new(&abstract_name))]
        {
            Systemd::at(name).unwrap().ready("here");
            let mut buffer = [0; 100];
            let length = listener.recv(&mut buffer).unwrap();
            assert_eq!(&buffer[..length], b"READY=1\nSTATUS=here\n");
        }
        assert!(Systemd::at(OsStr::new("vsock:1:2")).is_err());
    }
    #[test]
    fn the_watchdog_hears_nothing_while_a_worker_is_stuck() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("notify");
        let listener = UnixDatagram::bind(&path).unwrap();
        listener.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
        let life = Life::new(2);
        let workers = [0, 1].map(|number| crate::server::drain::tests::worker(&life, number, 0));
        let systemd = Arc::new(Systemd::at(path.as_os_str()).unwrap());
        let watchdog = Watchdog::start(systemd, life.clone(), Duration::from_millis(100)).unwrap();
        let mut buffer = [0; 100];
        for _ in 0..3 {
            let length = listener.recv(&mut buffer).unwrap();
            assert_eq!(&buffer[..length], b"WATCHDOG=1\n");
        }
        workers[1].send(()).unwrap();
        assert_eq!(life.silent(Duration::from_secs(1)), [1]);
        listener.set_nonblocking(true).unwrap();
        while listener.recv(&mut buffer).is_ok() {}
        listener.set_nonblocking(false).unwrap();
        listener.set_read_timeout(Some(Duration::from_millis(500))).unwrap();
        // One may have been on its way.
        let late = (0..3).take_while(|_| listener.recv(&mut buffer).is_ok()).count();
        assert!(late <= 1, "{late}");
        drop(watchdog);
    }
}
