//! A request on its way to an S-CSCF, and the answer on its way back (RFC 3261 §16.6, §16.7).

use super::{Icscf, Kind, ScscfEntry};
use crate::registrar::message::hops_left;
use crate::registrar::scscf::Refusal;
use crate::sip::transaction::{SendError, Source};
use crate::sip::{AuthParams, HeaderName, Message, RequestWriter, ResponseWriter};

/// Written anew.
const OWN: [HeaderName; 5] =
    [HeaderName::Via, HeaderName::MaxForwards, HeaderName::Route, HeaderName::ContentLength, HeaderName::ContentType];

/// What only a P-CSCF of the home network may say (TS 24.229 §4.4).
const ASSERTED: [HeaderName; 4] = [
    HeaderName::PAssertedIdentity,
    HeaderName::PAccessNetworkInfo,
    HeaderName::PChargingVector,
    HeaderName::PChargingFunctionAddresses,
];

/// What the answer's writer writes itself.
const OF_THE_ANSWER: [HeaderName; 7] = [
    HeaderName::Via,
    HeaderName::From,
    HeaderName::To,
    HeaderName::CallId,
    HeaderName::CSeq,
    HeaderName::ContentLength,
    HeaderName::ContentType,
];

impl Icscf {
    /// The S-CSCF's answer; Err: it is not there, or says that another should be asked.
    pub(super) async fn send(
        &self,
        request: &Message<'_>,
        source: &Source,
        server: &ScscfEntry,
        kind: Kind,
    ) -> Result<Vec<u8>, Refusal> {
        let Some(hop) = &server.hop else {
            return match &self.own {
                Some(own) => {
                    let answer = own.handle(request, source).await;
                    answer.ok_or_else(|| Refusal::new(500))
                }
                None => Err(Refusal::because(504, "this node has no S-CSCF")),
            };
        };
        let out = self.written(request, source, server, kind);
        match self.outbound.request(hop, out, self.settings.within).await {
            // §5.3.1.3: such an answer says that another S-CSCF should be tried.
            Ok(answer) if kind == Kind::Register && matches!(answer.status(), 300..400 | 480) => {
                Err(Refusal::new(480).with(HeaderName::RetryAfter, 5))
            }
            Ok(answer) => Ok(self.passed_back(request, source, &answer)),
            Err(SendError::Timeout) if kind == Kind::Other => Err(Refusal::new(408)),
            Err(why) => {
                tracing::debug!(scscf = server.name, %why, "no answer of the S-CSCF");
                Err(Refusal::new(504).with(HeaderName::RetryAfter, 5))
            }
        }
    }

    fn written(&self, request: &Message<'_>, source: &Source, server: &ScscfEntry, kind: Kind) -> Vec<u8> {
        let trusted = self.is_trusted(source);
        let method = String::from_utf8_lossy(request.method());
        let uri = match kind {
            // A REGISTER is addressed to its S-CSCF; any other request keeps its target and finds it by a Route.
            Kind::Register => server.name.clone(),
            Kind::Other => String::from_utf8_lossy(request.request_uri_raw()).into_owned(),
        };
        let mut out = RequestWriter::new(&method, &uri);
        // Seen again, it tells that the request has come round; the transport puts the hop's own Via on top.
        let here =
            if source.local.ip().is_unspecified() { self.settings.domain.clone() } else { source.local.to_string() };
        let via = format!("SIP/2.0/{} {here};branch={}{}", source.transport.via(), self.mark, self.tokens.next());
        out.header(HeaderName::Via, via)
            .copy(request, HeaderName::Via)
            .header(HeaderName::MaxForwards, hops_left(request));
        if kind == Kind::Other {
            out.header(HeaderName::Route, routed(&server.name));
        }
        // The first is this I-CSCF itself.
        for route in request.list(HeaderName::Route).skip(1) {
            out.header(HeaderName::Route, route);
        }
        for (name, value) in request.all_headers() {
            match HeaderName::from_bytes(name) {
                id if OWN.contains(&id) => {}
                id if !trusted && ASSERTED.contains(&id) => {}
                HeaderName::Authorization if !trusted => {
                    out.header(HeaderName::Authorization, without(value, &["integrity-protected"]));
                }
                _ => drop(out.header_named(&String::from_utf8_lossy(name), value)),
            }
        }
        match request.header(HeaderName::ContentType) {
            Some(kind) if !request.body().is_empty() => out.body(&String::from_utf8_lossy(kind), request.body()),
            _ => out.finish(),
        }
    }

    fn passed_back(&self, request: &Message<'_>, source: &Source, answer: &Message<'_>) -> Vec<u8> {
        let trusted = self.is_trusted(source);
        let tag = answer.to().ok().and_then(|to| to.tag()).map(|tag| String::from_utf8_lossy(&tag).into_owned());
        let tag = tag.unwrap_or_else(|| self.tokens.next());
        let reason = String::from_utf8_lossy(answer.reason());
        let mut out = ResponseWriter::with_reason(request, answer.status(), &reason, source.addr, &tag);
        for (name, value) in answer.all_headers() {
            match HeaderName::from_bytes(name) {
                id if OF_THE_ANSWER.contains(&id) => {}
                // CK and IK are for a P-CSCF of the home network (TS 33.203 §6.1).
                HeaderName::WwwAuthenticate if !trusted => {
                    out.header(HeaderName::WwwAuthenticate, without(value, &["ck", "ik"]));
                }
                _ => drop(out.header_named(&String::from_utf8_lossy(name), value)),
            }
        }
        match answer.header(HeaderName::ContentType) {
            Some(kind) if !answer.body().is_empty() => out.body(&String::from_utf8_lossy(kind), answer.body()),
            _ => out.finish(),
        }
    }
}

/// `<sip:scscf.home1.net;lr>`
fn routed(name: &str) -> String {
    if name.contains(";lr") { format!("<{name}>") } else { format!("<{name};lr>") }
}

/// Digest parameters without those named. What cannot be read is left to the S-CSCF to refuse, unless it says what it must not.
fn without(value: &[u8], names: &[&str]) -> Vec<u8> {
    let is_named = |name: &[u8]| names.iter().any(|one| name.eq_ignore_ascii_case(one.as_bytes()));
    match AuthParams::parse(value) {
        Ok(params) if !params.iter().any(|(name, _)| is_named(name)) => value.to_vec(),
        Ok(params) => {
            let kept = params.iter().filter(|(name, _)| !is_named(name));
            let kept = kept.map(|(name, value)| [name, b"=", value].concat()).collect::<Vec<_>>().join(&b","[..]);
            [params.scheme, b" ", &kept].concat()
        }
        Err(_) => Vec::new(),
    }
}
