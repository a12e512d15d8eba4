//! Nodes over loopback, and a peer made of a plain socket that does what a node would not.

use super::*;
use crate::diameter::dictionary::application::{CX, SH, ZH};
use crate::diameter::dictionary::{
    AUTH_SESSION_STATE, DESTINATION_HOST, DESTINATION_REALM, RESULT_CODE, USER_NAME, command,
};
use crate::diameter::exchange::Request;
use crate::diameter::fault::{ResultCode, base};
use crate::diameter::message::{ERROR, REQUEST, RETRANSMITTED};
use crate::diameter::{Header, Message, answer_to, frame_len, request};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Instant;

fn origin(host: &str) -> Origin {
    Origin { host: host.into(), realm: "home1.net".into() }
}

/// Answers 2001 with the User-Name, after as many milliseconds as that says, if it is a number.
struct Echo {
    origin: Origin,
    applications: Vec<u32>,
    code: ResultCode,
    served: AtomicU32,
}

impl Echo {
    fn new(host: &str) -> Arc<Echo> {
        Self::with(host, &[CX], base::SUCCESS)
    }

    fn with(host: &str, applications: &[u32], code: ResultCode) -> Arc<Echo> {
        Arc::new(Echo { origin: origin(host), applications: applications.to_vec(), code, served: AtomicU32::new(0) })
    }
}

impl Serve for Echo {
    fn applications(&self) -> Vec<u32> {
        self.applications.clone()
    }

    fn serve(self: Arc<Self>, request: Request) -> Answer<'static, Option<Writer>> {
        self.served.fetch_add(1, Ordering::Relaxed);
        let message = request.message().unwrap();
        if message.header().command == 999 {
            return Answer::now(None);
        }
        let name = message.avps().text(&USER_NAME).unwrap().unwrap_or_default().to_owned();
        let mut answer = answer_to(&message, self.code, &self.origin);
        answer.text(&USER_NAME, &name);
        match name.parse() {
            Ok(wait) => Answer::later(async move {
                tokio::time::sleep(Duration::from_millis(wait)).await;
                Some(answer)
            }),
            Err(_) => Answer::now(Some(answer)),
        }
    }
}

fn quick(host: &str) -> Settings {
    let mut settings = Settings::new(origin(host));
    settings.request_within = Duration::from_secs(5);
    settings.timing.retry = Duration::from_millis(20);
    settings.timing.retry_longest = Duration::from_millis(100);
    settings
}

fn server_with(settings: Settings, serve: &Arc<Echo>) -> Node {
    let settings = Settings { listen: vec!["tcp:127.0.0.1:0".parse().unwrap()], ..settings };
    let mut prepared = Prepared::new(settings, Tls::default(), Arc::default()).unwrap();
    prepared.serve(serve.clone());
    prepared.start().unwrap()
}

fn server(host: &str) -> (Node, Arc<Echo>) {
    let echo = Echo::new(host);
    (server_with(quick(host), &echo), echo)
}

fn to_peers(endpoints: &[&Endpoint], settings: Settings) -> Settings {
    let peer = |endpoint: &&Endpoint| PeerSettings { endpoint: (*endpoint).clone(), applications: vec![], host: None };
    Settings { peers: endpoints.iter().map(peer).collect(), applications: vec![CX], ..settings }
}

/// A node with these peers, once as many of them as there are listening are up.
fn client(endpoints: &[&Endpoint]) -> Node {
    client_with(to_peers(endpoints, quick("scscf.home1.net")))
}

fn client_with(settings: Settings) -> Node {
    let peers = settings.peers.len();
    let node = Prepared::new(settings, Tls::default(), Arc::default()).unwrap().start().unwrap();
    until(|| node.peers().iter().filter(|peer| peer.standing == "up").count() >= peers);
    node
}

fn until(mut so: impl FnMut() -> bool) {
    let end = Instant::now() + Duration::from_secs(10);
    while !so() {
        assert!(Instant::now() < end, "it does not come to that");
        std::thread::sleep(Duration::from_millis(2));
    }
}

fn mar(name: &str) -> Writer {
    let mut writer =
        request(CX, command::MULTIMEDIA_AUTH, &format!("scscf.home1.net;1;{name}"), &origin("scscf.home1.net"));
    writer.text(&USER_NAME, name);
    writer
}

fn ask(node: &Node, to: Destination, name: &str) -> Result<String, Failure> {
    node.exchange().send(to, mar(name)).wait().map(|reply| said(&reply))
}

/// Who answered what.
fn said(reply: &Reply) -> String {
    let message = reply.message().unwrap();
    let host = message.identity(&crate::diameter::dictionary::ORIGIN_HOST).unwrap();
    format!("{host} {} {}", message.result().unwrap().number(), message.avps().text(&USER_NAME).unwrap().unwrap_or("-"))
}

#[test]
fn a_request_is_answered_over_tcp() {
    let (server, echo) = server("hss.home1.net");
    let client = client(&[&server.listening()[0]]);
    assert_eq!(ask(&client, Destination::any(CX), "alice"), Ok("hss.home1.net 2001 alice".into()));
    assert_eq!(ask(&client, Destination::any(SH), "alice"), Err(Failure::NoPeer));
    assert_eq!(echo.served.load(Ordering::Relaxed), 1);
    let view = &client.peers()[0];
    assert_eq!((view.name.as_str(), view.sent, view.answered, view.waiting), ("hss.home1.net", 1, 1, 0));
    assert_eq!((view.applications.as_slice(), view.state, view.configured), (&[CX][..], "open", true));
    client.stop(Duration::from_secs(1));
    assert_eq!(ask(&client, Destination::any(CX), "alice"), Err(Failure::Stopped));
    until(|| server.peers().is_empty());
}
