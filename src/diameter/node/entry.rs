//! A peer as the node has it: its life, its connections, what waits for it.

use super::link::Link;
use super::meters::Meters;
use super::waiting::Pending;
use super::{Endpoint, PeerView};
use crate::diameter::peer::{Peer, Side, Standing};
use crate::metrics::Metrics;
use crate::shelf::Hasher;
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;
use tokio::task::AbortHandle;

pub(super) struct Entry {
    pub(super) machine: Peer,
    /// None: it has connected to us.
    pub(super) endpoint: Option<Endpoint>,
    pub(super) asked: Vec<u32>,
    pub(super) label: String,
    pub(super) links: [Option<Rc<Link>>; 2],
    pub(super) dialling: Option<AbortHandle>,
    /// By Hop-by-Hop Identifier.
    pub(super) pending: HashMap<u32, Pending, Hasher>,
    pub(super) serving: usize,
    pub(super) heard: Duration,
    pub(super) doubtful: bool,
    pub(super) changed: Duration,
    pub(super) meters: Meters,
}

impl Entry {
    pub(super) fn new(
        machine: Peer,
        endpoint: Option<Endpoint>,
        label: String,
        now: Duration,
        metrics: Arc<Metrics>,
    ) -> Self {
        Entry {
            meters: Meters::new(metrics, &label),
            machine,
            endpoint,
            asked: Vec::new(),
            label,
            links: [None, None],
            dialling: None,
            pending: HashMap::default(),
            serving: 0,
            heard: now,
            doubtful: false,
            changed: now,
        }
    }

    pub(super) fn link(&mut self, side: Side) -> &mut Option<Rc<Link>> {
        let [initiator, responder] = &mut self.links;
        match side {
            Side::Initiator => initiator,
            Side::Responder => responder,
        }
    }

    pub(super) fn is(&mut self, side: Side, link: &Rc<Link>) -> bool {
        self.link(side).as_ref().is_some_and(|own| Rc::ptr_eq(own, link))
    }

    /// What its messages go over.
    pub(super) fn active(&mut self) -> Option<Rc<Link>> {
        let side = self.machine.active()?;
        self.link(side).clone()
    }

    pub(super) fn host(&self) -> Option<Arc<str>> {
        self.machine.host().cloned()
    }

    /// Configured, there, and to be asked for this application.
    pub(super) fn serves(&self, application: u32) -> bool {
        self.endpoint.is_some()
            && self.machine.standing() >= Standing::Probation
            && (self.asked.is_empty() || self.asked.contains(&application))
            && self.machine.remote().is_some_and(|remote| remote.speaks(application))
    }

    pub(super) fn take(&mut self, hop_by_hop: u32) -> Option<Pending> {
        let pending = self.pending.remove(&hop_by_hop);
        self.meters.waiting(self.pending.len());
        pending
    }

    pub(super) fn view(&mut self, now: Duration) -> PeerView {
        let remote = self.machine.remote();
        let address = match (&self.endpoint, self.links.iter().flatten().next()) {
            (Some(endpoint), _) => endpoint.to_string(),
            (None, Some(link)) => link.remote.to_string(),
            (None, None) => String::new(),
        };
        let totals = self.meters.totals;
        PeerView {
            name: self.machine.host().map_or_else(|| self.label.clone(), |host| host.to_string()),
            address,
            configured: self.endpoint.is_some(),
            state: self.machine.state().as_str(),
            standing: self.machine.standing().as_str(),
            since: now.saturating_sub(self.changed),
            realm: remote.map(|remote| remote.realm.to_string()),
            product: remote.and_then(|remote| remote.product.clone()),
            applications: remote.map(|remote| remote.applications.clone()).unwrap_or_default(),
            waiting: self.pending.len(),
            sent: totals.sent,
            answered: totals.answered,
            timeouts: totals.timeouts,
            served: totals.served,
            connects: totals.connects,
            ended: self.machine.ended().map(ToString::to_string),
        }
    }
}
