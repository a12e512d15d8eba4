//! The author's day at the command line: `imscript new`, `check`, `test`, `explain`, `replay`, `repl`, `bench`, and the
//! tutorial, every command of it.

mod capture;
mod check;
mod flow;
mod harness;
mod prompt;
mod tutorial;

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

/// A folder of its own, and `imscript` in it.
struct Desk(tempfile::TempDir);

struct Said {
    code: i32,
    out: String,
    err: String,
}

impl Desk {
    fn new() -> Self {
        Desk(tempfile::tempdir().unwrap())
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn write(&self, name: &str, text: impl AsRef<[u8]>) -> &Self {
        let path = self.path(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
        self
    }

    fn read(&self, name: &str) -> String {
        std::fs::read_to_string(self.path(name)).unwrap()
    }

    fn run(&self, args: &str) -> Said {
        self.talk(args, "")
    }

    /// With `input` on standard input.
    fn talk(&self, args: &str, input: &str) -> Said {
        imscript(self.0.path(), &args.split_whitespace().collect::<Vec<_>>(), input)
    }
}

fn imscript(folder: &Path, args: &[&str], input: &str) -> Said {
    let mut child = Command::new(env!("CARGO_BIN_EXE_imscript"))
        .args(args)
        .current_dir(folder)
        .env_remove("IMSCRIPT_LOG")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // A verb that reads no input may have ended before it is written.
    let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
    let Output { status, stdout, stderr } = child.wait_with_output().unwrap();
    let text = |octets: Vec<u8>| String::from_utf8(octets).unwrap();
    Said { code: status.code().unwrap_or(-1), out: text(stdout), err: text(stderr) }
}

impl Said {
    #[track_caller]
    fn ok(self) -> String {
        assert_eq!(self.code, 0, "{}{}", self.out, self.err);
        self.out
    }

    #[track_caller]
    fn fails(self, code: i32) -> String {
        assert_eq!(self.code, code, "{}{}", self.out, self.err);
        self.out + &self.err
    }

    #[track_caller]
    fn json(self) -> serde_json::Value {
        serde_json::from_str(&self.out).unwrap_or_else(|why| panic!("{why}: {}{}", self.out, self.err))
    }
}

#[track_caller]
fn has(text: &str, parts: &[&str]) {
    for part in parts {
        assert!(text.contains(part), "no {part:?} in\n{text}");
    }
}

const REGISTER: &str = "REGISTER sip:home1.net SIP/2.0
Via: SIP/2.0/UDP 192.0.2.1:5060;branch=z9hG4bK1
Max-Forwards: 70
From: <sip:bob@home1.net>;tag=1
To: <sip:bob@home1.net>
Call-ID: 1
CSeq: 1 REGISTER
Contact: <sip:bob@192.0.2.1>
Expires: 600
Bcast-Ext: naf-id=\"bsm.home1.net\"
P-Visited-Network-ID: \"visited.net\"

";
