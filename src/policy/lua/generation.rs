//! Generations: what is loaded together and replaced together. A worker's place for the one that decides now is its
//! [`super::Seat`].

use super::PolicyError;
use super::env::Env;
use super::unit::{LuaLink, Unit};
use crate::policy::{Chain, Counters, Link};
use std::sync::Arc;

/// A policy and its plugins, compiled; the same for all workers.
#[derive(Debug)]
pub struct Generation {
    pub id: u64,
    /// In the order in which they are asked.
    units: Vec<(Arc<Unit>, Arc<Counters>)>,
    /// Held by every worker's chain of it, so that its end is known.
    in_use: Arc<()>,
}

impl Generation {
    /// `units` in the order in which they are asked.
    pub fn new(id: u64, units: impl IntoIterator<Item = Arc<Unit>>) -> Self {
        Generation { id, units: units.into_iter().map(|unit| (unit, Arc::default())).collect(), in_use: Arc::default() }
    }

    /// The same units with counters of their own.
    pub fn twin(&self) -> Self {
        Generation::new(self.id, self.units.iter().map(|(unit, _)| unit.clone()))
    }

    /// The workers' chains of it that are still there: those that decide, and those that transactions hold on to.
    pub fn chains(&self) -> usize {
        Arc::strong_count(&self.in_use).saturating_sub(1)
    }

    pub(super) fn hold(&self) -> Arc<()> {
        self.in_use.clone()
    }

    /// The units with what has been counted of each.
    pub fn units(&self) -> &[(Arc<Unit>, Arc<Counters>)] {
        &self.units
    }

    /// Builds this thread's VMs.
    pub fn chain(&self, env: &Env) -> Result<Chain, PolicyError> {
        let link = |(unit, counters): &(Arc<Unit>, Arc<Counters>)| {
            let link: Box<dyn Link> = Box::new(LuaLink::new(unit.clone(), env, self.id)?);
            Ok((link, counters.clone()))
        };
        let links = self.units.iter().map(link).collect::<Result<Vec<_>, PolicyError>>()?;
        Ok(Chain::new(self.id, links, env.clock))
    }
}
