//! The stages around a request, over sockets: a node with a policy file, a stranger, and a broadcast server that is a
//! socket of the test's.

use imscript::cli::network::free_address;
use imscript::config::Config;
use imscript::server::Node;
use imscript::sip::{Message, ResponseWriter};
use std::cell::Cell;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::time::Duration;
use tempfile::TempDir;

const POLICY: &str = r#"
local policy = {}

function policy.receive(req, ctx)
  if req.method == "PUBLISH" then return ims.drop() end
  if req.method == "INFO" then return ims.reject(480, "Later", { retry_after = 7 }) end
  req:set_header("X-Seen", ctx.transport .. " " .. req.kind)
  if req:header("X-Fails") then error("after the edit") end
  if req:header("X-Greedy") then req:set_header("v", "SIP/2.0/UDP evil") end
end

function policy.route(req, ctx)
  if req.method == "SUBSCRIBE" then return ims.route { to = "far" } end
  if req.method == "NOTIFY" then return ims.route { to = "self" } end
  if req.method == "OPTIONS" then
    return ims.answer { headers = { ["X-Seen"] = req:header("X-Seen") or "no" } }
  end
end

function policy.reply(resp, ctx)
  resp:set_header("X-Reply", tostring(resp.status))
  if resp:header("X-Greedy") then resp:remove_header("To") end
end

return policy
"#;

struct Bed {
    node: Node,
    at: SocketAddr,
    far: UdpSocket,
    stranger: UdpSocket,
    count: Cell<u32>,
    _dir: TempDir,
}

impl Bed {
    fn new() -> Bed {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("policy.lua"), POLICY).unwrap();
        let socket = || UdpSocket::bind("127.0.0.1:0").unwrap();
        let (far, stranger) = (socket(), socket());
        let server = |name: &str, addr: SocketAddr| {
            format!("[[broadcast_server]]\nname = \"{name}\"\nnaf = [\"{name}.home1.net\"]\naddress = \"udp:{addr}\"\n")
        };
        let at = free_address(Ipv4Addr::LOCALHOST.into()).unwrap();
        let text = format!(
            "domain = \"home1.net\"\nroles = [\"scscf\", \"bsf\", \"hss\"]\nworkers = 1\nlisten = [\"udp:{at}\"]\n\
             data_dir = \"data\"\npolicy = \"policy.lua\"\n{}{}[broadcast]\ntimeout = 2\n",
            server("far", far.local_addr().unwrap()),
            server("self", at)
        );
        let config = Config::parse(&text, &dir.path().join("node.toml")).unwrap();
        let node = Node::builder(config).start().unwrap();
        for socket in [&far, &stranger] {
            socket.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
        }
        Bed { node, at, far, stranger, count: Cell::new(0), _dir: dir }
    }

    fn request(&self, method: &str, lines: &[&str]) -> String {
        let n = self.count.get() + 1;
        self.count.set(n);
        let lines: String = lines.iter().map(|line| format!("{line}\r\n")).collect();
        format!(
            "{method} sip:home1.net SIP/2.0\r\nVia: SIP/2.0/UDP {};branch=z9hG4bK{n};rport\r\nMax-Forwards: 70\r\n\
             From: <sip:a@home1.net>;tag=1\r\nTo: <sip:home1.net>\r\nCall-ID: {n}\r\nCSeq: 1 {method}\r\n{lines}\
             Content-Length: 0\r\n\r\n",
            self.stranger.local_addr().unwrap()
        )
    }

    fn send(&self, request: &str) {
        self.stranger.send_to(request.as_bytes(), self.at).unwrap();
    }

    fn answer(&self) -> Message<'static> {
        received(&self.stranger).0
    }

    fn ask(&self, method: &str, lines: &[&str]) -> Message<'static> {
        self.send(&self.request(method, lines));
        self.answer()
    }

    /// Nothing comes, though the node is alive.
    fn silent(&self, request: &str) {
        self.send(request);
        assert_eq!(self.ask("BYE", &[]).status(), 405, "the next answer is the next request's");
    }
}

fn received(socket: &UdpSocket) -> (Message<'static>, SocketAddr) {
    let mut buffer = vec![0; 65_536];
    let (length, from) = socket.recv_from(&mut buffer).expect("nothing came");
    buffer.truncate(length);
    (Message::parse_owned(buffer).unwrap(), from)
}

/// On a busy machine a stage can run out of its five milliseconds, and its default holds: that is tried again.
fn in_the_end(mut step: impl FnMut() -> Result<(), String>) {
    let mut last = String::new();
    for _ in 0..10 {
        match step() {
            Ok(()) => return,
            Err(why) => last = why,
        }
    }
    panic!("{last}");
}

fn header(message: &Message<'_>, name: &str) -> String {
    String::from_utf8_lossy(message.header_named(name).unwrap_or(b"-")).into_owned()
}

fn same<T: PartialEq + std::fmt::Debug>(got: T, wanted: T) -> Result<(), String> {
    if got == wanted { Ok(()) } else { Err(format!("{got:?} is not {wanted:?}")) }
}

#[test]
fn receive_drops_rejects_and_edits_and_reply_edits_every_answer() {
    let mut bed = Bed::new();
    in_the_end(|| {
        let answer = bed.ask("OPTIONS", &[]);
        same((answer.status(), header(&answer, "X-Seen").as_str()), (200, "udp other"))?;
        same(header(&answer, "X-Reply").as_str(), "200")
    });
    in_the_end(|| same(bed.ask("OPTIONS", &["X-Seen: forged"]).headers_named("X-Seen").count(), 1));
    in_the_end(|| {
        let text = bed.request("INFO", &[]);
        bed.send(&text);
        let first = bed.answer();
        bed.send(&text);
        same((first.status(), header(&first, "Retry-After").as_str()), (480, "7"))?;
        same(bed.answer().bytes(), first.bytes())
    });
    let dropped = bed.request("PUBLISH", &[]);
    bed.silent(&dropped);
    bed.silent(&dropped);
    bed.node.stop(Duration::ZERO);
}

#[test]
fn an_edit_that_is_refused_or_followed_by_a_fault_changes_nothing() {
    let bed = Bed::new();
    for line in ["X-Fails: 1", "X-Greedy: 1"] {
        in_the_end(|| {
            let answer = bed.ask("OPTIONS", &[line]);
            same((answer.status(), header(&answer, "X-Seen").as_str(), answer.vias().count()), (200, "no", 1))
        });
    }
}

#[test]
fn route_relays_to_a_server_and_back_and_never_in_a_circle() {
    let bed = Bed::new();
    in_the_end(|| {
        bed.send(&bed.request("SUBSCRIBE", &["Event: reg"]));
        let (relayed, node) = received(&bed.far);
        let mut answer = ResponseWriter::new(&relayed, 202, node, "far");
        answer.header_named("X-Far", "yes");
        bed.far.send_to(&answer.finish(), node).unwrap();
        let answer = bed.answer();
        same((relayed.method(), header(&relayed, "Max-Forwards").as_str()), (&b"SUBSCRIBE"[..], "69"))?;
        same((relayed.vias().count(), header(&relayed, "X-Seen").as_str()), (3, "udp other"))?;
        same((answer.status(), header(&answer, "X-Far").as_str()), (202, "yes"))?;
        same((header(&answer, "X-Reply").as_str(), answer.vias().count()), ("202", 1))
    });
    in_the_end(|| same(bed.ask("NOTIFY", &["Event: reg"]).status(), 482));
}
