//! Places for accepted connections: as many as are configured, and those who say nothing do not keep them.

use super::core::Core;
use std::rc::Rc;

/// An accepted connection's place among those that there are.
pub(super) struct Slot(Rc<Core>);

impl Slot {
    /// With all places taken, the connection that has stood at the door longest makes way: those who come and say nothing
    /// keep nobody out.
    pub(super) fn take(core: &Rc<Core>) -> Option<Slot> {
        let taken = core.accepted.get();
        if taken >= core.settings.connections {
            let (_, longest) = core.doorstep.borrow_mut().pop_first()?;
            longest.abort();
        }
        core.accepted.set(taken + 1);
        Some(Slot(core.clone()))
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.0.accepted.set(self.0.accepted.get().saturating_sub(1));
    }
}

/// A connection's stay at the door, until it has said whose it is, or is gone.
pub(super) struct Door(Rc<Core>, u64);

impl Door {
    pub(super) fn reach(core: &Rc<Core>) -> Door {
        Door(core.clone(), core.next_id())
    }

    pub(super) fn number(&self) -> u64 {
        self.1
    }
}

impl Drop for Door {
    fn drop(&mut self) {
        self.0.doorstep.borrow_mut().remove(&self.1);
    }
}
