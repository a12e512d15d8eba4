//! MESSAGEs at the IMS server: a broadcast server's key request (to the BSF) and alert (module 150), the terminal's
//! application request through the IMS (figure 5 b) and the broadcast server's answer to it.

use super::content;
use super::scscf::{Refusal, Scscf};
use super::turn::Turn;
use crate::broadcast::ext::Ext;
use crate::broadcast::forward::ThirdParty;
use crate::broadcast::keys::BroadcastRegistration;
use crate::broadcast::media;
use crate::broadcast::peer::Peer;
use crate::gba::naf_id::{NafId, UaId};
use crate::hss::RegState;
use crate::identity::{Impi, Impu};
use crate::registrar::table::Leg;
use crate::sip::transaction::{NextHop, SendError, Source};
use crate::sip::{HeaderName, Host, Message, RequestWriter, Uri};
use std::sync::Arc;

impl Scscf {
    pub(super) async fn message(
        &self,
        request: &Message<'_>,
        source: &Source,
        turn: &mut Turn,
    ) -> Result<Vec<u8>, Refusal> {
        if request.max_forwards().ok().flatten() == Some(0) {
            return Err(Refusal::new(483));
        }
        let ext = Ext::of(request).map_err(|e| Refusal::because(400, e))?.unwrap_or_default();
        if ext.asks_key {
            return Ok(self.key_request(request, source, &ext).await);
        }
        let kind = request.header(HeaderName::ContentType).unwrap_or_default();
        if media::is(kind, media::BCAST_REGISTRATION) {
            return self.alert(request, source, ext).await;
        }
        let uri = request.request_uri().map_err(|e| Refusal::because(400, e))?;
        if self.named_servers(&uri).next().is_some() {
            return self.to_server(request, source, &uri, &ext, turn).await;
        }
        if self.shared.servers_at(source).next().is_some() {
            return self.to_terminal(request, source, &uri).await;
        }
        Err(Refusal::because(404, "MESSAGE goes to a configured broadcast server only"))
    }

    /// The BSF in the same box.
    async fn key_request(&self, request: &Message<'_>, source: &Source, ext: &Ext) -> Vec<u8> {
        if let Some(btid) = &ext.btid {
            self.fetch_by_btid(btid).await;
        }
        let held = ext.btid.as_ref().and_then(|btid| self.shared.bootstraps.get(btid, self.now()));
        let server = held.and_then(|held| self.shared.table.leg(held.impi.as_str())).map(|leg| leg.server);
        let (response, job) = self.bsf.clone().answer(request, source, server.as_deref(), self.now());
        if let Some(job) = job {
            (self.spawn)(job);
        }
        response
    }

    /// Module 150's word on a registration that this server forwarded, or that the terminal began itself (figure 5).
    async fn alert(&self, request: &Message<'_>, source: &Source, ext: Ext) -> Result<Vec<u8>, Refusal> {
        if self.shared.servers_at(source).next().is_none() {
            return Err(Refusal::because(403, "not a configured broadcast server"));
        }
        let told = BroadcastRegistration::parse(request.body()).map_err(|e| Refusal::because(400, e))?;
        let naf = match ext.naf {
            Some(naf) if naf.fqdn() == told.naf_fqdn => naf,
            _ => NafId::new(&told.naf_fqdn, UaId::MBMS).map_err(|e| Refusal::because(400, e))?,
        };
        // Several servers may share an address: one that is this NAF speaks, of those the user's own.
        let mut speakers = self.shared.servers_at(source).filter(|peer| peer.is_naf(&naf)).peekable();
        if speakers.peek().is_none() {
            return Err(Refusal::because(403, "that NAF is another server's"));
        }
        let impi = self.owner(&told).await?;
        let Some(peer) = self.shared.of_user(speakers, Some(impi.as_str())) else { return Err(Refusal::new(403)) };
        let impu = self.shared.table.with(impi.as_str(), |r| {
            r.and_then(|r| r.impus.iter().find(|impu| **impu == told.impu).or(r.impus.first()).cloned())
        });
        let impu = impu.ok_or_else(|| Refusal::because(404, "the user is not registered"))?;
        let serial = self.next_serial(&impi);
        let outcome = self.shared.table.update_leg(impi.as_str(), |held| match held {
            Some(leg) if *leg.server == *peer.name && (told.btid.is_none() || leg.btid == told.btid) => {
                leg.outstanding = None;
                Some((std::mem::replace(&mut leg.state, told.state), None))
            }
            // An end says nothing of the leg that has taken its place: one of a newer key, or of another server.
            held if told.state != RegState::Registered => {
                tracing::debug!(%impi, server = peer.name, replaced = held.is_some(), "late word on a broadcast registration");
                None
            }
            held => {
                let before = held.take();
                let same = before.as_ref().filter(|leg| *leg.server == *peer.name);
                *held = Some(Leg {
                    server: peer.name.as_str().into(),
                    naf: naf.clone(),
                    impu: same.map_or(&impu, |leg| &leg.impu).clone(),
                    btid: told.btid.clone(),
                    state: told.state,
                    serial,
                    changes: 0,
                    outstanding: None,
                    dialog: same
                        .map_or_else(|| ThirdParty::new(&self.shared.settings.domain), |leg| leg.dialog.clone()),
                });
                let was = same.map_or(RegState::NotRegistered, |leg| leg.state);
                Some((was, Some(before.filter(|leg| *leg.server != *peer.name))))
            }
        });
        let response = self.response(request, 200, source).finish();
        if let Some(Some((previous, new))) = outcome {
            self.kept(&impi).await?;
            tracing::info!(%impi, server = peer.name, state = told.state.as_str(), "broadcast registration changed");
            self.broadcast_changed(&*self.decides_for(&impi), &impi, previous, told.state, Some(&told.cause)).await;
            if let Some(left) = new {
                // A server that registered the user without being told of the IMS registration is told now.
                self.introduce(&impi);
                left.into_iter().for_each(|leg| self.leave_server(&impi, leg));
            }
        }
        Ok(response)
    }

    async fn owner(&self, told: &BroadcastRegistration) -> Result<Impi, Refusal> {
        if let Some(btid) = &told.btid {
            self.fetch_by_btid(btid).await;
        }
        if let Some(held) = told.btid.as_ref().and_then(|btid| self.shared.bootstraps.get(btid, self.now())) {
            let impi = held.impi.clone();
            self.fetch(&impi).await?;
            return Ok(impi);
        }
        self.find(told.impu.as_str())
            .await
            .ok_or_else(|| Refusal::because(404, "neither the B-TID nor the identity is known"))
    }

    /// The configured servers that are the NAF which a request names.
    pub(super) fn named_servers<'a>(&'a self, uri: &'a Uri<'_>) -> impl Iterator<Item = &'a Arc<Peer>> {
        let host = match uri {
            Uri::Sip(uri) => match uri.host {
                Host::Name(host) => Some(host),
                Host::V4(_) | Host::V6(_) => None,
            },
            _ => None,
        };
        let is_host = move |naf: &String| host.is_some_and(|host| naf.as_bytes().eq_ignore_ascii_case(host));
        self.shared.settings.servers.iter().filter(move |peer| peer.naf_fqdns.iter().any(is_host))
    }

    /// Figure 5 b: the IMS vouches for the terminal (P-Asserted-Identity, RFC 3325).
    async fn to_server(
        &self,
        request: &Message<'_>,
        source: &Source,
        uri: &Uri<'_>,
        ext: &Ext,
        turn: &mut Turn,
    ) -> Result<Vec<u8>, Refusal> {
        // The server believes the IMS in what it says of keys; a terminal's words must not pass for that.
        content::only(request, &[media::PROVISIONING])?;
        let (impi, impu) = self.registered_sender(request, source).await?;
        if let Some(btid) = &ext.btid
            && self.shared.bootstraps.get(btid, self.now()).is_none_or(|held| held.impi != impi)
        {
            return Err(Refusal::because(403, "the B-TID is not this user's, or has ended"));
        }
        let peer =
            self.shared.of_user(self.named_servers(uri), Some(impi.as_str())).ok_or_else(|| Refusal::new(404))?;
        turn.server = Some(peer.name.clone());
        let mut out = RequestWriter::new("MESSAGE", &peer.uri);
        out.header(HeaderName::MaxForwards, hops_left(request))
            .copy(request, HeaderName::From)
            .copy(request, HeaderName::To)
            .copy(request, HeaderName::CallId)
            .copy(request, HeaderName::CSeq)
            .header(HeaderName::PAssertedIdentity, format!("<{impu}>"))
            .copy(request, HeaderName::BcastExt)
            .copy(request, HeaderName::Accept);
        self.relay(request, source, &peer.hop, finish(out, request)).await
    }

    /// The broadcast server's answer to an application request.
    async fn to_terminal(&self, request: &Message<'_>, source: &Source, uri: &Uri<'_>) -> Result<Vec<u8>, Refusal> {
        let impi = self.find(&uri.aor()).await.ok_or_else(|| Refusal::new(404))?;
        let sender = self.shared.of_user(self.shared.servers_at(source), Some(impi.as_str()));
        let asserted = &sender.ok_or_else(|| Refusal::new(403))?.uri;
        let mono = self.now().mono;
        let binding = self.shared.table.with(impi.as_str(), |r| {
            r.and_then(|r| r.bindings.iter().filter(|b| b.until > mono).max_by_key(|b| b.q).cloned())
        });
        let binding = binding.ok_or_else(|| Refusal::new(480))?;
        let mut out = RequestWriter::new("MESSAGE", binding.uri());
        out.header(HeaderName::MaxForwards, hops_left(request));
        for hop in binding.path() {
            out.header(HeaderName::Route, hop.as_bytes());
        }
        out.copy(request, HeaderName::From)
            .copy(request, HeaderName::To)
            .copy(request, HeaderName::CallId)
            .copy(request, HeaderName::CSeq)
            .header(HeaderName::PAssertedIdentity, format!("<{asserted}>"))
            .copy(request, HeaderName::BcastExt);
        let hop = NextHop { transport: binding.origin.transport(), addr: binding.origin.addr(), tls_name: None };
        self.relay(request, source, &hop, finish(out, request)).await
    }

    async fn relay(
        &self,
        request: &Message<'_>,
        source: &Source,
        hop: &NextHop,
        out: Vec<u8>,
    ) -> Result<Vec<u8>, Refusal> {
        match self.outbound.request(hop, out, self.shared.settings.broadcast_timeout).await {
            Ok(answer) => {
                let mut response = self.response(request, answer.status(), source);
                response.copy(&answer, HeaderName::BcastExt);
                Ok(response.finish())
            }
            Err(SendError::Timeout) => Err(Refusal::new(408)),
            Err(why) => Err(Refusal::because(503, why).with(HeaderName::RetryAfter, 5)),
        }
    }

    /// The registered user that a request comes from: the one whom a trusted P-CSCF asserts, or else the one in From if
    /// it comes from where a contact of his was registered from. (Everybody behind a P-CSCF comes from its address.)
    pub(super) async fn registered_sender(
        &self,
        request: &Message<'_>,
        source: &Source,
    ) -> Result<(Impi, Impu), Refusal> {
        let unknown = || Refusal::because(403, "the sender is not registered from there");
        let trusted = self.shared.is_trusted(source);
        let user = match trusted {
            true => request.addresses(HeaderName::PAssertedIdentity).next().ok_or_else(unknown)?,
            false => request.from(),
        };
        let impu = Impu::new(user.map_err(|e| Refusal::because(400, e))?.uri.aor());
        let impi = self.find(impu.as_str()).await.ok_or_else(unknown)?;
        let mono = self.now().mono;
        let known = trusted
            || self.shared.table.with(impi.as_str(), |r| {
                r.is_some_and(|r| {
                    r.bindings.iter().any(|b| {
                        let port = source.transport.is_reliable() || b.origin.addr().port() == source.addr.port();
                        b.until > mono && b.origin.addr().ip() == source.addr.ip() && port
                    })
                })
            });
        if known { Ok((impi, impu)) } else { Err(unknown()) }
    }
}

pub(crate) fn hops_left(request: &Message<'_>) -> String {
    request.max_forwards().ok().flatten().unwrap_or(70).saturating_sub(1).to_string()
}

/// The body and what describes it, as they came.
fn finish(mut out: RequestWriter, request: &Message<'_>) -> Vec<u8> {
    if request.body().is_empty() {
        return out.finish();
    }
    out.copy(request, HeaderName::ContentDisposition);
    let kind = request.header(HeaderName::ContentType).unwrap_or(b"application/octet-stream");
    let kind = String::from_utf8_lossy(kind).replace(['\r', '\n'], " ");
    out.body(&kind, request.body())
}
