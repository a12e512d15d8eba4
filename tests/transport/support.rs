//! A node on free ports, and the messages that its peers send.

use imscript::answer::Answer;
use imscript::clock::Clock;
use imscript::sip::transaction::Source;
use imscript::sip::transport::{Handler, Listen, Settings, Tls, Transports, bind};
use imscript::sip::{HeaderName, Message, ResponseWriter};
use std::cell::RefCell;
use std::future::Future;
use std::rc::Rc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::net::UdpSocket;
use tokio::sync::Semaphore;
use tokio::time::timeout;

/// Longer than anything here takes, also on a busy machine.
pub(crate) const SOON: Duration = Duration::from_secs(30);
/// Long enough to be sure that nothing comes.
pub(crate) const QUIET: Duration = Duration::from_millis(150);

/// Runs a test as a worker runs: one thread, a `LocalSet`.
pub(crate) fn worker<F: Future>(test: F) -> F::Output {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(
        tokio::task::LocalSet::new()
            .run_until(async { timeout(Duration::from_secs(300), test).await.expect("the test hangs") }),
    )
}

pub(crate) fn milliseconds(n: u64) -> Duration {
    Duration::from_millis(n)
}

pub(crate) fn node_with(
    listen: &[&str],
    tls: Tls,
    settings: Settings,
    handler: Rc<dyn Handler>,
) -> (Transports, Vec<Listen>) {
    let listen: Vec<Listen> = listen.iter().map(|text| text.parse().unwrap()).collect();
    let (mut sockets, bound) = bind(&listen, 1, &tls).unwrap();
    let transports = Transports::new(sockets.remove(0), tls, settings, Clock::new()).unwrap();
    transports.serve(handler);
    (transports, bound)
}

pub(crate) fn node(listen: &[&str], handler: Rc<dyn Handler>) -> (Transports, Vec<Listen>) {
    node_with(listen, Tls::default(), Settings::default(), handler)
}

pub(crate) fn ok(request: &Message<'_>, source: &Source) -> Vec<u8> {
    ResponseWriter::new(request, 200, source.addr, "ours").finish()
}

/// Answers 200, at once or when it is told to, and keeps what it was asked.
#[derive(Default)]
pub(crate) struct Asked {
    held: Option<Rc<Semaphore>>,
    pub(crate) requests: RefCell<Vec<(String, Source)>>,
}

impl Asked {
    pub(crate) fn at_once() -> Rc<Asked> {
        Rc::default()
    }
    pub(crate) fn held() -> Rc<Asked> {
        Rc::new(Asked { held: Some(Rc::new(Semaphore::new(0))), ..Asked::default() })
    }
    /// Answers what it holds, and what comes later, in a task of its own.
    pub(crate) fn release(&self) {
        self.held.as_ref().unwrap().add_permits(1000);
    }
    pub(crate) async fn until_asked(&self) {
        while self.count() == 0 {
            tokio::time::sleep(milliseconds(1)).await;
        }
    }
    pub(crate) fn count(&self) -> usize {
        self.requests.borrow().len()
    }
    pub(crate) fn calls(&self) -> Vec<String> {
        let id = |text: &str| {
            let message = Message::parse(text.as_bytes()).unwrap();
            String::from_utf8(message.header(HeaderName::CallId).unwrap().to_vec()).unwrap()
        };
        self.requests.borrow().iter().map(|(text, _)| id(text)).collect()
    }
}

impl Handler for Asked {
    fn handle(self: Rc<Self>, request: Message<'_>, source: &Source) -> Answer<'static, Option<Vec<u8>>> {
        let text = String::from_utf8(request.bytes().to_vec()).unwrap();
        self.requests.borrow_mut().push((text, source.clone()));
        match self.held.clone() {
            None => Answer::now(Some(ok(&request, source))),
            Some(held) => {
                let (request, source) = (request.into_owned(), source.clone());
                Answer::later(async move {
                    tokio::task::yield_now().await;
                    held.acquire().await.unwrap().forget();
                    Some(ok(&request, &source))
                })
            }
        }
    }
}

/// `id` makes branch and Call-ID; `via` is `UDP host:port;rport` and the like.
pub(crate) fn register(via: &str, id: &str) -> String {
    message("REGISTER", via, id, "")
}

pub(crate) fn message(method: &str, via: &str, id: &str, body: &str) -> String {
    format!("{}Content-Length: {}\r\n\r\n{body}", head(method, via, id), body.len())
}

pub(crate) fn head(method: &str, via: &str, id: &str) -> String {
    format!(
        "{method} sip:ims.example SIP/2.0\r\nVia: SIP/2.0/{via};branch=z9hG4bK{id}\r\nMax-Forwards: 70\r\n\
         From: <sip:alice@ims.example>;tag=a1\r\nTo: <sip:alice@ims.example>\r\nCall-ID: {id}\r\n\
         CSeq: 1 {method}\r\nContact: <sip:alice@127.0.0.1:5099>\r\n"
    )
}

/// A request of ours, without Via.
pub(crate) fn outgoing(id: &str, body: usize) -> Vec<u8> {
    let text = register("UDP x", id);
    let (line, rest) = text.split_once("\r\n").unwrap();
    let (_, rest) = rest.split_once("\r\n").unwrap();
    let (head, _) = rest.split_once("Content-Length").unwrap();
    format!("{line}\r\n{head}Content-Length: {body}\r\n\r\n{}", "x".repeat(body)).into_bytes()
}

/// What a peer answers to octets that it got.
pub(crate) fn answer(request: &[u8], status: u16) -> Vec<u8> {
    let request = Message::parse(request).unwrap();
    ResponseWriter::new(&request, status, "127.0.0.1:1".parse().unwrap(), "peer").finish()
}

pub(crate) async fn receive(socket: &UdpSocket) -> (Vec<u8>, std::net::SocketAddr) {
    let mut buffer = vec![0; 65_536];
    let (length, from) = timeout(SOON, socket.recv_from(&mut buffer)).await.expect("no datagram").unwrap();
    buffer.truncate(length);
    (buffer, from)
}

pub(crate) async fn silent(socket: &UdpSocket) {
    let mut buffer = vec![0; 65_536];
    let got = timeout(QUIET, socket.recv_from(&mut buffer)).await;
    assert!(got.is_err(), "nothing was to come: {}", String::from_utf8_lossy(&buffer));
}

pub(crate) fn status(bytes: &[u8]) -> u16 {
    Message::parse(bytes).unwrap().status()
}

/// One message without body from a stream; empty at its end.
pub(crate) async fn head_from(stream: &mut (impl AsyncRead + Unpin)) -> Vec<u8> {
    let mut head = Vec::new();
    let read = async {
        while !head.ends_with(b"\r\n\r\n") {
            match stream.read_u8().await {
                Ok(octet) => head.push(octet),
                Err(_) => break,
            }
        }
    };
    timeout(SOON, read).await.expect("no message and no end on the stream");
    head
}
