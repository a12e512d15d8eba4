//! The I-CSCF (TS 23.228 §4.6.2, TS 24.229 §5.3): asks the HSS which S-CSCF serves a user and sends the request there. It
//! keeps nothing. Called by the server for what comes in at its listeners.
//!
//! A REGISTER goes to the S-CSCF that the HSS names, else to one that has the capabilities it wants ([`select`]); where
//! that one fails, to the next. Another request goes to the S-CSCF of the user whom it is to, or from. An S-CSCF is one of
//! those configured: no host out of a message, nor out of the HSS, is ever sent to. INVITE is refused, as by the S-CSCF:
//! nothing here sets up sessions.

mod forward;
pub mod select;

#[cfg(test)]
mod tests;

use crate::diameter::cx::Authorization;
use crate::hss::{HssError, Locate, Located};
use crate::identity::{Impi, Impu};
use crate::registrar::Scscf;
use crate::registrar::authenticate::refusal_of;
use crate::registrar::scscf::{Refusal, Tokens};
use crate::sip::header::Contacts;
use crate::sip::transaction::{MAGIC_COOKIE, NextHop, Outbound, Source};
use crate::sip::{HeaderName, Message, ResponseWriter, Uri, is_defined_method};
use select::candidates;
use std::net::IpAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

/// An S-CSCF that requests may go to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ScscfEntry {
    /// Its SIP URI, as the HSS has it.
    pub name: String,
    /// None: the S-CSCF of this node.
    pub hop: Option<NextHop>,
    pub capabilities: Vec<u32>,
}

#[derive(Debug, Clone)]
pub struct Settings {
    /// Home network domain; the visited network of who does not say.
    pub domain: String,
    /// In the order in which they are taken where nothing else decides.
    pub servers: Arc<[ScscfEntry]>,
    /// P-CSCFs of the home network: what others assert is taken out, and keys are not sent to others.
    pub trusted_peers: Vec<IpAddr>,
    /// How long an S-CSCF has for its answer before the next is tried.
    pub within: Duration,
}

/// A node's own mark.
pub fn mark() -> String {
    format!("{MAGIC_COOKIE}i{}", Tokens::new().next())
}

/// S-CSCFs tried for one REGISTER.
const TRIES: usize = 3;

/// One worker's I-CSCF.
pub struct Icscf {
    settings: Arc<Settings>,
    hss: Arc<dyn Locate>,
    outbound: Rc<dyn Outbound>,
    own: Option<Rc<Scscf>>,
    tokens: Tokens,
    /// In the branch of what this node sends on, so that it knows it again.
    mark: String,
}

impl Icscf {
    /// `own`: the S-CSCF of the same node, for entries without a hop.
    pub fn new(
        settings: Arc<Settings>,
        hss: Arc<dyn Locate>,
        outbound: Rc<dyn Outbound>,
        own: Option<Rc<Scscf>>,
        mark: String,
    ) -> Self {
        Icscf { settings, hss, outbound, own, tokens: Tokens::new(), mark }
    }

    /// The answer to send back.
    pub async fn handle(&self, request: &Message<'_>, source: &Source) -> Option<Vec<u8>> {
        let answer = match request.method() {
            b"ACK" => return None,
            b"CANCEL" => Err(Refusal::new(481)),
            b"REGISTER" => self.register(request, source).await,
            method @ b"INVITE" => Err(unserved(method)),
            method if !is_defined_method(method) => Err(unserved(method)),
            _ => self.other(request, source).await,
        };
        Some(answer.unwrap_or_else(|refusal| self.refuse(request, source, &refusal)))
    }

    /// TS 24.229 §5.3.1.
    async fn register(&self, request: &Message<'_>, source: &Source) -> Result<Vec<u8>, Refusal> {
        self.check_way(request)?;
        let asked = self.read(request)?;
        let mut kind = if asked.leaves { Authorization::Deregistration } else { Authorization::Registration };
        let mut located = self.authorize(&asked, kind).await?;
        let mut tried = Vec::new();
        let mut failure = Refusal::new(504).with(HeaderName::RetryAfter, 5);
        loop {
            let next = candidates(&located, &self.settings.servers).into_iter().find(|at| !tried.contains(at));
            match next {
                Some(at) if tried.len() < TRIES => {
                    tried.push(at);
                    let Some(server) = self.settings.servers.get(at) else { break };
                    match self.send(request, source, server, Kind::Register).await {
                        Ok(answer) => return Ok(answer),
                        Err(refusal) => {
                            tracing::info!(scscf = server.name, status = refusal.status, impi = %asked.impi, "S-CSCF failed");
                            failure = refusal;
                        }
                    }
                }
                // The one assigned fails, or is none of ours: by its capabilities another is found (§5.3.1.3).
                None if kind == Authorization::Registration && located.server.is_some() => {
                    kind = Authorization::RegistrationAndCapabilities;
                    located = Located { server: None, ..self.authorize(&asked, kind).await? };
                }
                _ => break,
            }
        }
        if tried.is_empty() {
            tracing::warn!(impi = %asked.impi, "no configured S-CSCF has what the HSS wants");
            return Err(Refusal::because(600, "no S-CSCF has the capabilities"));
        }
        Err(failure)
    }

    /// TS 24.229 §5.3.2: the S-CSCF of the user whom the request is to; of the sender, where the Route says so.
    async fn other(&self, request: &Message<'_>, source: &Source) -> Result<Vec<u8>, Refusal> {
        self.check_way(request)?;
        let originating = request
            .addresses(HeaderName::Route)
            .next()
            .and_then(Result::ok)
            .is_some_and(|route| route.uri.as_sip().is_some_and(|uri| uri.param("orig").is_some()));
        let impu = if originating {
            if !self.is_trusted(source) {
                return Err(Refusal::because(403, "who sends this is not known"));
            }
            let asserted = request.addresses(HeaderName::PAssertedIdentity).next();
            asserted
                .ok_or_else(|| Refusal::because(403, "no P-Asserted-Identity"))?
                .map_err(|e| Refusal::because(400, e))?
                .uri
                .aor()
                .into_owned()
        } else {
            request.request_uri().map_err(|e| Refusal::because(400, e))?.aor().into_owned()
        };
        let located = self.hss.location_info(&Impu::new(impu), originating).await.map_err(|error| match error {
            HssError::UserUnknown => Refusal::new(404),
            HssError::NotRegistered => Refusal::because(480, error),
            error => refusal_of(error),
        })?;
        let first = candidates(&located, &self.settings.servers).into_iter().next();
        let Some(server) = first.and_then(|at| self.settings.servers.get(at)) else {
            return Err(Refusal::because(480, "its S-CSCF is not known here"));
        };
        self.send(request, source, server, Kind::Other).await
    }

    async fn authorize(&self, asked: &Asked, kind: Authorization) -> Result<Located, Refusal> {
        let asking = self.hss.user_authorization(&asked.impi, &asked.impu, &asked.visited_network, kind);
        asking.await.map_err(refusal_of)
    }

    fn check_way(&self, request: &Message<'_>) -> Result<(), Refusal> {
        if request.max_forwards().ok().flatten() == Some(0) {
            return Err(Refusal::new(483));
        }
        let came_round = |branch: &[u8]| branch.starts_with(self.mark.as_bytes());
        if request.vias().flatten().filter_map(|via| via.branch()).any(came_round) {
            return Err(Refusal::new(482));
        }
        let unsupported: Vec<_> = request.list(HeaderName::ProxyRequire).map(String::from_utf8_lossy).collect();
        match unsupported.as_slice() {
            [] => Ok(()),
            tags => Err(Refusal::new(420).with(HeaderName::Unsupported, tags.join(", "))),
        }
    }

    fn read(&self, request: &Message<'_>) -> Result<Asked, Refusal> {
        let bad = |why: &dyn std::fmt::Display| Refusal::because(400, why);
        let to = request.to().map_err(|e| bad(&e))?;
        if matches!(to.uri, Uri::Other { .. }) {
            return Err(bad(&"To is no SIP or tel address of record"));
        }
        let impu = Impu::new(to.uri.aor());
        let username = request
            .authorizations()
            .flatten()
            .filter(|given| given.is_digest())
            .find_map(|given| given.get("username"));
        let impi = match username.filter(|name| !name.is_empty()) {
            Some(name) => {
                let name = std::str::from_utf8(&name)
                    .ok()
                    .filter(|name| name.len() <= 255 && !name.chars().any(char::is_control));
                Impi::new(name.ok_or_else(|| bad(&"username is not text of at most 255 octets"))?)
            }
            // Without credentials it is the public identity without its scheme (TS 24.229 §5.3.1.2).
            None => Impi::new(impu.as_str().split_once(':').map_or(impu.as_str(), |(_, rest)| rest)),
        };
        let leaves = match request.contacts().map_err(|e| bad(&e))? {
            Contacts::None => false,
            Contacts::Star => true,
            Contacts::List(list) => list.iter().all(|one| one.expires().or(request.expires()) == Some(0)),
        };
        let visited = request.header(HeaderName::PVisitedNetworkId).and_then(|value| std::str::from_utf8(value).ok());
        let visited_network = visited.map_or(self.settings.domain.as_str(), |value| value.trim_matches('"')).to_owned();
        Ok(Asked { impi, impu, visited_network, leaves })
    }

    fn is_trusted(&self, source: &Source) -> bool {
        let from = source.addr.ip().to_canonical();
        self.settings.trusted_peers.iter().any(|peer| peer.to_canonical() == from)
    }

    fn refuse(&self, request: &Message<'_>, source: &Source, refusal: &Refusal) -> Vec<u8> {
        let tag = self.tokens.next();
        let mut response = ResponseWriter::with_reason(request, refusal.status, &refusal.reason, source.addr, &tag);
        for (name, value) in &refusal.headers {
            response.header(*name, value);
        }
        response.finish()
    }
}

/// What a REGISTER asks.
struct Asked {
    impi: Impi,
    impu: Impu,
    visited_network: String,
    /// Whether it gives all its contacts up.
    leaves: bool,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Register,
    Other,
}

fn unserved(method: &[u8]) -> Refusal {
    let status = if is_defined_method(method) { 405 } else { 501 };
    Refusal::new(status).with(HeaderName::Allow, "REGISTER, MESSAGE, OPTIONS")
}
