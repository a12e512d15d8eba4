//! Stage `route`: a request that is no REGISTER, sent to a configured broadcast server, answered or refused by policy
//! (RFC 3261 §16). What broadcast servers and the BSF say to each other about keys and registrations is not asked about:
//! a policy must not come between.

use super::content;
use super::register::rejected;
use super::scscf::{Refusal, Scscf};
use super::turn::Turn;
use crate::broadcast::ext::Ext;
use crate::broadcast::media;
use crate::broadcast::peer::Peer;
use crate::gba::bsf;
use crate::policy::Stage;
use crate::policy::verdict::{self, Route};
use crate::sip::edit::is_protected;
use crate::sip::transaction::{MAGIC_COOKIE, SendError, Source};
use crate::sip::{HeaderName, Message, RequestWriter, ResponseWriter, reason_phrase};

/// Bodies by which servers tell each other of keys and registrations. A broadcast server believes the IMS server in
/// these, so none is passed on for somebody else.
const OWN_WORDS: [&str; 3] = [media::NAF_KEY, media::NAF_KEY_ERROR, media::BCAST_REGISTRATION];

/// Of a request, what is written anew, is for this hop, or proves or asserts something here.
const NOT_SENT_ON: [HeaderName; 21] = [
    HeaderName::Via,
    HeaderName::MaxForwards,
    HeaderName::Route,
    HeaderName::RecordRoute,
    HeaderName::Path,
    HeaderName::ServiceRoute,
    HeaderName::Authorization,
    HeaderName::WwwAuthenticate,
    HeaderName::AuthenticationInfo,
    HeaderName::ProxyRequire,
    HeaderName::SecurityClient,
    HeaderName::SecurityServer,
    HeaderName::SecurityVerify,
    HeaderName::PAssertedIdentity,
    HeaderName::PAssociatedUri,
    HeaderName::PAccessNetworkInfo,
    HeaderName::PChargingVector,
    HeaderName::PChargingFunctionAddresses,
    HeaderName::BcastExt,
    HeaderName::ContentLength,
    HeaderName::ContentType,
];

/// What the answer's writer writes itself.
const OF_THE_ANSWER: [HeaderName; 4] = [HeaderName::From, HeaderName::To, HeaderName::CallId, HeaderName::CSeq];

impl Scscf {
    /// Asks the policy. None: the server's own handling.
    pub(super) async fn routed(
        &self,
        request: &Message<'_>,
        source: &Source,
        turn: &mut Turn,
    ) -> Result<Option<Vec<u8>>, Refusal> {
        if !turn.decide.wants(Stage::Route) || is_between_servers(request) {
            return Ok(None);
        }
        match turn.decide.route(request, &turn.context(&self.shared, source)) {
            Route::Next => Ok(None),
            Route::Reject(reject) => Err(rejected(reject)),
            Route::Answer(answer) => Ok(Some(self.answer_of_policy(request, source, answer))),
            Route::To { server } => match self.shared.server(&server) {
                Some(peer) if request.method() != b"INVITE" => {
                    turn.server = Some(server);
                    self.pass_on(request, source, peer, turn).await.map(Some)
                }
                Some(_) => {
                    self.complain(Stage::Route, &"an INVITE is not relayed: this server sets up no sessions");
                    Ok(None)
                }
                None => {
                    self.complain(Stage::Route, &format_args!("no server {server:?} is configured"));
                    Ok(None)
                }
            },
        }
    }

    fn answer_of_policy(&self, request: &Message<'_>, source: &Source, answer: verdict::Answer) -> Vec<u8> {
        let status = answer.status.clamp(200, 699);
        let reason = answer.reason.as_deref().unwrap_or(reason_phrase(status));
        let mut out = ResponseWriter::with_reason(request, status, reason, source.addr, &self.tokens.next());
        for (name, value) in &answer.headers {
            if is_protected(name) {
                self.complain(Stage::Route, &format_args!("{name} is not a policy's to set"));
            } else {
                out.header_named(name, value);
            }
        }
        match &answer.body {
            Some((kind, octets)) => out.body(kind, octets),
            None => out.finish(),
        }
    }

    /// Sends the request on in a transaction of its own and its answer back.
    async fn pass_on(
        &self,
        request: &Message<'_>,
        source: &Source,
        peer: &Peer,
        turn: &Turn,
    ) -> Result<Vec<u8>, Refusal> {
        if request.max_forwards().ok().flatten() == Some(0) {
            return Err(Refusal::new(483));
        }
        let mark = format!("{MAGIC_COOKIE}{}", self.shared.mark);
        let passed_before =
            request.vias().flatten().filter_map(|via| via.branch()).any(|b| b.starts_with(mark.as_bytes()));
        if passed_before {
            return Err(Refusal::new(482));
        }
        let unsupported: Vec<_> = request.list(HeaderName::ProxyRequire).map(String::from_utf8_lossy).collect();
        if !unsupported.is_empty() {
            return Err(Refusal::new(420).with(HeaderName::Unsupported, unsupported.join(", ")));
        }
        self.check_words(request)?;
        let method = String::from_utf8_lossy(request.method());
        let mut out = RequestWriter::new(&method, &peer.uri);
        // Seen again, it tells that the request has come round; the transport puts the hop's own Via on top.
        let here = if source.local.ip().is_unspecified() {
            self.shared.settings.domain.clone()
        } else {
            source.local.to_string()
        };
        out.header(
            HeaderName::Via,
            format!("SIP/2.0/{} {here};branch={mark}{}", source.transport.via(), self.tokens.next()),
        )
        .copy(request, HeaderName::Via)
        .header(HeaderName::MaxForwards, super::message::hops_left(request));
        for (name, value) in request.all_headers() {
            if !NOT_SENT_ON.contains(&HeaderName::from_bytes(name)) && !is_proxys(name) {
                out.header_named(&String::from_utf8_lossy(name), value);
            }
        }
        if let Some(impu) = &turn.impu {
            out.header(HeaderName::PAssertedIdentity, format!("<{impu}>"));
            if self.owns_btid(request, turn)? {
                out.copy(request, HeaderName::BcastExt);
            }
        }
        let out = match request.header(HeaderName::ContentType) {
            Some(kind) if !request.body().is_empty() => out.body(&String::from_utf8_lossy(kind), request.body()),
            _ => out.finish(),
        };
        match self.outbound.request(&peer.hop, out, self.shared.settings.broadcast_timeout).await {
            Ok(answer) => Ok(self.answer_passed_back(request, source, &answer)),
            Err(SendError::Timeout) => Err(Refusal::new(408)),
            Err(why) => {
                tracing::info!(server = peer.name, %why, "broadcast server cannot be had");
                Err(Refusal::new(503).with(HeaderName::RetryAfter, 5))
            }
        }
    }

    /// No encoded body, since its words could not be read; none of [`OWN_WORDS`], wherever in a multipart.
    fn check_words(&self, request: &Message<'_>) -> Result<(), Refusal> {
        if request.body().is_empty() {
            return Ok(());
        }
        content::not_encoded(request)?;
        let parts = request.parts().map_err(|why| Refusal::because(400, why))?;
        let own = |kind: &[u8]| OWN_WORDS.iter().any(|own| media::is(kind, own));
        if parts.iter().any(|part| own(part.content_type)) {
            return Err(Refusal::because(403, "such a body is between servers"));
        }
        Ok(())
    }

    /// Whether the request has an extension, of this user's own key.
    fn owns_btid(&self, request: &Message<'_>, turn: &Turn) -> Result<bool, Refusal> {
        let Some(ext) = Ext::of(request).map_err(|e| Refusal::because(400, e))? else { return Ok(false) };
        match &ext.btid {
            None => Ok(true),
            Some(btid) => match self.shared.bootstraps.get(btid, self.now()) {
                Some(held) if Some(&held.impi) == turn.impi.as_ref() => Ok(true),
                _ => Err(Refusal::because(403, "the B-TID is not this user's, or has ended")),
            },
        }
    }

    fn answer_passed_back(&self, request: &Message<'_>, source: &Source, answer: &Message<'_>) -> Vec<u8> {
        // A challenge of the server's is not one that the terminal can answer to it.
        let status = if matches!(answer.status(), 401 | 407) { 403 } else { answer.status() };
        let tag = answer.to().ok().and_then(|to| to.tag()).map(|tag| String::from_utf8_lossy(&tag).into_owned());
        let tag = tag.unwrap_or_else(|| self.tokens.next());
        let mut out = ResponseWriter::new(request, status, source.addr, &tag);
        for (name, value) in answer.all_headers() {
            let id = HeaderName::from_bytes(name);
            let kept = id == HeaderName::BcastExt || !NOT_SENT_ON.contains(&id);
            if kept && !OF_THE_ANSWER.contains(&id) && !is_proxys(name) {
                out.header_named(&String::from_utf8_lossy(name), value);
            }
        }
        let kind = answer.header(HeaderName::ContentType).unwrap_or_default();
        let own = OWN_WORDS.iter().any(|own| media::is(kind, own)) || answer.parts().is_err();
        if answer.body().is_empty() || kind.is_empty() || own {
            return out.finish();
        }
        out.body(&String::from_utf8_lossy(kind), answer.body())
    }
}

/// Proxy-Authenticate, Proxy-Authorization and the like: between neighbours.
fn is_proxys(name: &[u8]) -> bool {
    name.get(..6).is_some_and(|start| start.eq_ignore_ascii_case(b"Proxy-"))
}

/// Key requests and alerts.
fn is_between_servers(request: &Message<'_>) -> bool {
    let kind = request.header(HeaderName::ContentType).unwrap_or_default();
    bsf::is_key_request(request) || OWN_WORDS.iter().any(|own| media::is(kind, own))
}
