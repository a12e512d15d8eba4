//! The broadcast servers of a test: they answer as told and keep what they were sent, keys left out.

use super::engine::Engine;
use crate::answer::Answer;
use crate::sip::transaction::{NextHop, Outbound, SendError};
use crate::sip::{HeaderName, Message, ResponseWriter};
use std::cell::RefCell;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

/// What a server does with a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Behaviour {
    /// None: no answer at all.
    pub status: Option<u16>,
    pub after: Duration,
    pub headers: Vec<(String, String)>,
}

impl Default for Behaviour {
    fn default() -> Self {
        let registered = ("Bcast-Ext".to_owned(), "state=registered".to_owned());
        Behaviour { status: Some(200), after: Duration::ZERO, headers: vec![registered] }
    }
}

/// A request as a server got it.
#[derive(Debug, Clone)]
pub struct Received {
    /// Time since the test began.
    pub at: Duration,
    pub message: Message<'static>,
    pub has_key: bool,
}

pub struct Server {
    pub name: String,
    pub nafs: Vec<String>,
    pub addr: SocketAddr,
    pub behaviour: RefCell<Behaviour>,
    pub received: RefCell<Vec<Received>>,
}

/// All of them, as the network that the S-CSCF sends into.
pub struct Servers {
    pub all: Vec<Rc<Server>>,
    pub engine: Engine,
}

impl Servers {
    pub fn by_name(&self, name: &str) -> Option<&Rc<Server>> {
        self.all.iter().find(|server| server.name == name)
    }
}

impl Outbound for Servers {
    fn request(
        &self,
        to: &NextHop,
        request: Vec<u8>,
        within: Duration,
    ) -> Answer<'static, Result<Message<'static>, SendError>> {
        let Some(server) = self.all.iter().find(|server| server.addr == to.addr) else {
            return Answer::now(Err(SendError::Unreachable(format!("no server of this test is at {to}"))));
        };
        let message = match Message::parse_owned(request) {
            Ok(message) => message,
            Err(fault) => return Answer::now(Err(SendError::BadAnswer(fault.reason.to_string()))),
        };
        let behaviour = server.behaviour.borrow().clone();
        let answer = behaviour.status.map(|status| {
            let mut response = ResponseWriter::new(&message, status, to.addr, &server.name);
            for (name, value) in behaviour.headers.iter().filter(|_| (200..300).contains(&status)) {
                response.header_named(name, value);
            }
            response.finish()
        });
        let has_key = contains(message.body(), b"<muk>");
        server.received.borrow_mut().push(Received { at: self.engine.now(), message, has_key });
        let engine = self.engine.clone();
        Answer::later(async move {
            match answer {
                Some(octets) if behaviour.after <= within => {
                    engine.sleep(behaviour.after).await;
                    Message::parse_owned(octets).map_err(|fault| SendError::BadAnswer(fault.reason.to_string()))
                }
                _ => {
                    engine.sleep(within).await;
                    Err(SendError::Timeout)
                }
            }
        })
    }
}

impl Received {
    pub fn header(&self, name: HeaderName) -> Option<String> {
        self.message.header(name).map(|value| String::from_utf8_lossy(value).into_owned())
    }

    /// The body, with what stands in `<muk>` taken out: a test may print it.
    pub fn body(&self) -> Vec<u8> {
        let body = self.message.body();
        let mut shown = Vec::with_capacity(body.len());
        let mut rest = body;
        while let Some(start) = find(rest, b"<muk>") {
            let value = start.saturating_add(5);
            let Some(length) = rest.get(value..).and_then(|tail| find(tail, b"</muk>")) else { break };
            shown.extend_from_slice(rest.get(..value).unwrap_or_default());
            shown.extend_from_slice(b"(hidden)");
            rest = rest.get(value.saturating_add(length)..).unwrap_or_default();
        }
        if self.has_key && shown.is_empty() {
            return b"(hidden)".to_vec();
        }
        shown.extend_from_slice(rest);
        shown
    }
}

fn find(whole: &[u8], part: &[u8]) -> Option<usize> {
    whole.windows(part.len()).position(|window| window == part)
}

fn contains(whole: &[u8], part: &[u8]) -> bool {
    find(whole, part).is_some()
}
