//! What the service manager hears of a node; the test plays the service manager.

use crate::support::{BINARY, wait_for};
use nix::time::{ClockId, clock_gettime};
use std::fs;
use std::os::unix::net::UnixDatagram;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

struct Service {
    node: Child,
    notify: UnixDatagram,
    dir: tempfile::TempDir,
}

impl Drop for Service {
    fn drop(&mut self) {
        let _ = self.node.kill();
        let _ = self.node.wait();
    }
}

impl Service {
    fn start() -> Service {
        let dir = tempfile::tempdir().unwrap();
        let path = |name: &str| dir.path().join(name);
        let notify = UnixDatagram::bind(path("notify")).unwrap();
        notify.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
        fs::write(path("policy.lua"), "return {}\n").unwrap();
        let config = "listen = [\"udp:127.0.0.1:0\"]\nworkers = 2\npolicy = \"policy.lua\"\n[reload]\nwatch = false\n";
        fs::write(path("node.toml"), config).unwrap();
        let node = Command::new(BINARY)
            .args(["run", "--config"])
            .arg(path("node.toml"))
            .env("NOTIFY_SOCKET", path("notify"))
            .env("WATCHDOG_USEC", "200000")
            .env_remove("WATCHDOG_PID")
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        Service { node, notify, dir }
    }

    /// The next datagram that is, or is not, for the watchdog.
    fn hear(&self, of_the_watchdog: bool) -> String {
        loop {
            let mut buffer = [0; 4096];
            let length = self.notify.recv(&mut buffer).expect("word of the node within a minute");
            let said = std::str::from_utf8(&buffer[..length]).unwrap().to_owned();
            if (said == "WATCHDOG=1\n") == of_the_watchdog {
                return said;
            }
        }
    }

    fn signal(&self, signal: &str) {
        assert!(Command::new("kill").args(["-s", signal, &self.node.id().to_string()]).status().unwrap().success());
    }

    /// SIGHUP; what is said of it in the end.
    fn reload(&self) -> String {
        let before = monotonic();
        self.signal("HUP");
        let reloading = self.hear(false);
        let time = reloading.lines().find_map(|line| line.strip_prefix("MONOTONIC_USEC=")).unwrap();
        let time = Duration::from_micros(time.parse().unwrap());
        assert!(
            reloading.starts_with("RELOADING=1\n") && time + Duration::from_micros(1) >= before && time <= monotonic(),
            "{reloading}"
        );
        self.hear(false)
    }
}

fn monotonic() -> Duration {
    clock_gettime(ClockId::CLOCK_MONOTONIC).unwrap().into()
}

#[test]
fn ready_watched_reloaded_refused_and_stopping() {
    let mut service = Service::start();
    let ready = service.hear(false);
    assert!(ready.starts_with("READY=1\nSTATUS=listening udp 127.0.0.1:"), "{ready}");
    service.hear(true);
    service.hear(true);
    let taken = service.reload();
    assert_eq!(taken, "READY=1\nSTATUS=reloaded: generation 2 serves\n");
    fs::write(service.dir.path().join("policy.lua"), "return {\n").unwrap();
    let refused = service.reload();
    assert!(
        refused.starts_with("READY=1\nSTATUS=not reloaded: load: ") && refused.contains("policy.lua:"),
        "{refused}"
    );
    service.signal("TERM");
    assert!(service.hear(false).starts_with("STOPPING=1\n"));
    assert!(wait_for(|| service.node.try_wait().unwrap()).success());
}
