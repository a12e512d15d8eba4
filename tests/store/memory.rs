//! The store that ends with the process, measured by the common suite: the others are measured against it.

use crate::behaviour::{self, Bed};
use imscript::clock::{Clock, Hands, Now};
use imscript::store::{Memory, Store};
use std::sync::Arc;
use std::time::Duration;

struct Volatile(Clock, &'static Hands);

impl Bed for Volatile {
    fn store(&self) -> Arc<dyn Store> {
        Arc::new(Memory::new(self.0))
    }

    fn now(&self) -> Now {
        self.0.now()
    }

    fn while_(&self) -> Duration {
        Duration::from_secs(60)
    }

    fn pass(&self, by: Duration) {
        self.1.advance(by);
    }
}

#[test]
fn memory_does_what_a_store_does() {
    let (clock, hands) = Clock::by_hand();
    behaviour::all(&Volatile(clock, hands));
}
