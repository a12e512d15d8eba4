//! What goes over the loopback, written by tshark and read by it.

use super::foreign::skipped;
use super::support::wait_for;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

/// tshark as it writes a capture of some ports.
pub struct Capture {
    child: Child,
    pub file: PathBuf,
    ports: Vec<(u16, &'static str)>,
}

impl Drop for Capture {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Capture {
    /// `ports`: each with the protocol that is spoken there. None if capturing is not permitted here.
    pub fn start(file: PathBuf, ports: &[(u16, &'static str)]) -> Option<Capture> {
        let filter: Vec<_> = ports.iter().map(|(port, _)| format!("port {port}")).collect();
        let mut child = Command::new("tshark")
            .args(["-n", "-i", "lo", "-f", &filter.join(" or "), "-w"])
            .arg(&file)
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut said = String::new();
        // "Capturing on …" comes before the interface is open, "Capture started." after.
        for line in BufReader::new(child.stderr.take().unwrap()).lines().map_while(Result::ok) {
            if line.contains("Capture started") {
                return Some(Capture { child, file, ports: ports.to_vec() });
            }
            said = said + &line + "\n";
        }
        let _ = child.wait();
        skipped(&format!("tshark cannot capture on loopback: {said}"));
        None
    }

    /// Ends as tshark does on Ctrl-C, with everything written.
    pub fn stop(&mut self) {
        assert!(Command::new("kill").args(["-s", "INT", &self.child.id().to_string()]).status().unwrap().success());
        wait_for(|| self.child.try_wait().unwrap());
    }

    pub fn read(&self, more: &[&str]) -> String {
        read(&self.file, &self.ports, more)
    }

    /// Waits until `wanted` holds of the octets of the capture: what was sent is written a little later.
    pub fn wait_until(&self, wanted: impl Fn(&[u8]) -> bool) {
        wait_for(|| wanted(&std::fs::read(&self.file).unwrap()).then_some(()));
    }
}

fn read(file: &Path, ports: &[(u16, &'static str)], more: &[&str]) -> String {
    let mut command = Command::new("tshark");
    command.args(["-n", "-r"]).arg(file);
    for (port, protocol) in ports {
        let layers: &[&str] = if *protocol == "sip" { &["udp", "tcp"] } else { &["tcp"] };
        for layer in layers {
            command.args(["-d", &format!("{layer}.port=={port},{protocol}")]);
        }
    }
    let output = command.args(more).output().unwrap();
    assert!(output.status.success(), "tshark: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// Of a stopped capture: nothing is malformed, and all AVPs of ours are known by name. `ours`: a filter for what we sent.
pub fn assert_diameter_is_sound(capture: &Capture, ours: &str, least: usize) {
    let faults = capture.read(&["-Y", "_ws.malformed || _ws.expert.severity == error"]);
    assert_eq!(faults, "");
    let commands = capture.read(&["-Y", &format!("diameter && {ours}"), "-T", "fields", "-e", "diameter.cmd.code"]);
    assert!(commands.lines().count() >= least, "too few messages:\n{commands}");
    let details = capture.read(&["-Y", &format!("diameter && {ours}"), "-O", "diameter"]);
    let unknown: Vec<_> = details.lines().filter(|line| line.contains("AVP: Unknown(")).collect();
    assert_eq!(unknown, Vec::<&str>::new());
    let payload = capture.read(&["-Y", "tcp.len > 0 && !diameter && !sip && !http && !tls"]);
    let continued: Vec<_> = payload.lines().filter(|line| !line.contains("segment of a reassembled")).collect();
    assert_eq!(continued, Vec::<&str>::new(), "not dissected");
}
