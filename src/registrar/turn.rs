//! One request on its way through the S-CSCF: who decides it, and what is known of it when its answer goes out.
//!
//! A turn pins its policy, so that all its stages are answered by one generation even if the operator replaces the
//! policy meanwhile. [`Scscf::close`] asks stage `reply` and tells stage `finish`.

use super::scscf::{Scscf, Shared};
use crate::answer::Task;
use crate::broadcast::identify::Portion;
use crate::clock::Now;
use crate::hss::RegState;
use crate::identity::{Impi, Impu};
use crate::policy::verdict;
use crate::policy::{Context, Decide, Kind, Outcome, PortionView, Stage};
use crate::sip::edit::{self, EditError};
use crate::sip::transaction::Source;
use crate::sip::{HeaderName, Message};
use std::cell::RefCell;
use std::rc::Rc;

pub(super) struct Turn {
    pub(super) decide: Rc<dyn Decide>,
    began: Now,
    pub(super) kind: Kind,
    pub(super) impi: Option<Impi>,
    pub(super) impu: Option<Impu>,
    pub(super) visited_network: Option<String>,
    pub(super) all_or_nothing: bool,
    /// How the subscription is checked.
    pub(super) verify: verdict::Verify,
    /// State of the broadcast registration that the request had to do with, and the server.
    pub(super) broadcast: Option<RegState>,
    pub(super) server: Option<String>,
    /// What begins when the answer is on its way.
    pub(super) afterwards: RefCell<Vec<Task>>,
}

impl Turn {
    pub(super) fn begin(scscf: &Scscf) -> Self {
        Turn {
            decide: scscf.policy.clone(),
            began: scscf.now(),
            kind: Kind::Other,
            impi: None,
            impu: None,
            visited_network: None,
            all_or_nothing: false,
            verify: verdict::Verify::default(),
            broadcast: None,
            server: None,
            afterwards: RefCell::default(),
        }
    }

    /// The user is known: from here on one generation decides.
    pub(super) fn identify(&mut self, scscf: &Scscf, impi: &Impi, impu: &Impu) {
        self.decide = scscf.decides_for(impi);
        self.impi = Some(impi.clone());
        self.impu = Some(impu.clone());
    }

    pub(super) fn context<'a>(&'a self, shared: &'a Shared, source: &'a Source) -> Context<'a> {
        Context {
            kind: self.kind,
            impi: self.impi.as_ref().map_or("", Impi::as_str),
            impu: self.impu.as_ref().map_or("", Impu::as_str),
            visited_network: self.visited_network.as_deref(),
            all_or_nothing: self.all_or_nothing,
            hss_away: shared.hss.is_away(),
            ..Context::arrival(source, &shared.servers, self.began.unix.as_secs())
        }
    }
}

/// A portion as policies see it.
pub(super) fn view(portion: &Portion) -> PortionView<'_> {
    PortionView {
        naf_fqdn: portion.naf.fqdn(),
        ua_id: portion.naf.ua.0,
        profile: portion.profile.as_deref(),
        payload: portion.payload.as_ref().map(|p| p.octets.as_slice()),
        payload_type: portion.payload.as_ref().map(|p| p.content_type.as_str()),
    }
}

impl Scscf {
    /// The last two stages. A policy that edits what it may not changes nothing.
    pub(super) fn close(&self, turn: &Turn, request: &Message<'_>, source: &Source, mut response: Vec<u8>) -> Vec<u8> {
        let (reply, finish) = (turn.decide.wants(Stage::Reply), turn.decide.wants(Stage::Finish));
        if !reply && !finish {
            return response;
        }
        let ctx = turn.context(&self.shared, source);
        if reply {
            match edited(&*turn.decide, &response, &ctx) {
                Ok(None) => {}
                Ok(Some(octets)) => response = octets,
                Err(why) => self.complain(Stage::Reply, &why),
            }
        }
        if finish {
            let outcome = Outcome {
                method: std::str::from_utf8(request.method()).unwrap_or_default(),
                status: status_of(&response),
                broadcast: turn.broadcast,
                server: turn.server.as_deref(),
                micros: u64::try_from(self.now().mono.saturating_sub(turn.began.mono).as_micros()).unwrap_or(u64::MAX),
            };
            turn.decide.finish(&outcome, &ctx);
        }
        response
    }

    /// A verdict that cannot be carried out, at a limited rate.
    pub(super) fn complain(&self, stage: Stage, why: &dyn std::fmt::Display) {
        if let Some(held_back) = self.complaints.admit(self.now().mono) {
            tracing::warn!(target: "imscript::policy", stage = stage.as_str(), %why, held_back, "verdict not carried out");
        }
    }
}

/// The answer with the policy's edits; None: it has none.
fn edited(decide: &dyn Decide, response: &[u8], ctx: &Context<'_>) -> Result<Option<Vec<u8>>, EditError> {
    let unreadable = |_| EditError::Faulty("it cannot be read");
    let response = Message::parse(response).map_err(unreadable)?;
    // A 401 to a P-CSCF may hold CK and IK, which no script sees.
    let keys =
        response.challenges().flatten().any(|challenge| challenge.get("ck").is_some() || challenge.get("ik").is_some());
    let edits = if keys {
        let shown = edit::without(&response, HeaderName::WwwAuthenticate);
        decide.reply(&Message::parse(&shown).map_err(unreadable)?, ctx).edits
    } else {
        decide.reply(&response, ctx).edits
    };
    if edits.is_empty() { Ok(None) } else { edit::apply(&response, &edits).map(Some) }
}

/// Status of an answer that this server wrote.
fn status_of(response: &[u8]) -> u16 {
    let digits = response.get(8..11).and_then(|digits| std::str::from_utf8(digits).ok());
    digits.and_then(|digits| digits.parse().ok()).unwrap_or_default()
}
