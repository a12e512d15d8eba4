//! Generations: what is loaded together and replaced together. A worker's place for the one that decides now is its
//! [`super::Seat`].

use super::PolicyError;
use super::env::Env;
use super::unit::{LuaLink, Unit};
use crate::policy::{Chain, Counters, Link, Native};
use std::sync::Arc;

/// A policy and its plugins, compiled; the same for all workers.
#[derive(Debug)]
pub struct Generation {
    pub id: u64,
    /// In the order in which they are asked.
    units: Vec<(Arc<Unit>, Arc<Counters>)>,
    /// Held by every worker's chain of it, so that its end is known.
    in_use: Arc<()>,
    /// The names of all members in the order in which they are asked, plugins in Rust among them. Of those that it does
    /// not name, plugins in Rust come first, then units.
    order: Vec<String>,
}

impl Generation {
    /// `units` in the order in which they are asked.
    pub fn new(id: u64, units: impl IntoIterator<Item = Arc<Unit>>) -> Self {
        let units = units.into_iter().map(|unit| (unit, Arc::default())).collect();
        Generation { id, units, order: Vec::new(), in_use: Arc::default() }
    }

    /// The same units with counters of their own.
    pub fn twin(&self) -> Self {
        Generation::new(self.id, self.units.iter().map(|(unit, _)| unit.clone())).in_order(self.order.clone())
    }

    /// The workers' chains of it that are still there: those that decide, and those that transactions hold on to.
    pub fn chains(&self) -> usize {
        Arc::strong_count(&self.in_use).saturating_sub(1)
    }

    pub(super) fn hold(&self) -> Arc<()> {
        self.in_use.clone()
    }

    /// As `order` has it, which may name plugins in Rust too.
    pub fn in_order(mut self, order: Vec<String>) -> Self {
        let place = |(unit, _): &(Arc<Unit>, _)| order.iter().position(|name| **name == *unit.name);
        self.units.sort_by_key(|unit| place(unit).map_or(usize::MAX, |at| at));
        self.order = order;
        self
    }

    /// The units with what has been counted of each.
    pub fn units(&self) -> &[(Arc<Unit>, Arc<Counters>)] {
        &self.units
    }

    /// Builds this thread's VMs and sets its plugins in Rust between them.
    pub fn chain(&self, env: &Env) -> Result<Chain, PolicyError> {
        let place = |name: &str| self.order.iter().position(|named| named == name);
        let native = |native: &Native| {
            let link: Box<dyn Link> = Box::new(native.clone());
            (place(native.name()).map_or(0, |at| at + 1), (link, native.counters().clone()))
        };
        let mut links: Vec<_> = env.natives.iter().map(native).collect();
        for (unit, counters) in &self.units {
            let link: Box<dyn Link> = Box::new(LuaLink::new(unit.clone(), env, self.id, counters.clone())?);
            links.push((place(&unit.name).map_or(usize::MAX, |at| at + 1), (link, counters.clone())));
        }
        links.sort_by_key(|(place, _)| *place);
        Ok(Chain::new(self.id, links.into_iter().map(|(_, link)| link).collect(), env.clock))
    }
}
