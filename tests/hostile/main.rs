//! Hostile scripts: what a policy or plugin can try, one file each in `scripts/`, and that the server stands.
//!
//! The first line of a script says which outcomes are right and what it tries:
//! `-- timeout or error: a loop without an end`. Outcomes are
//!
//! * `error`, `timeout`, `memory`, `verdict`: the call failed for this cause and the stage's default was applied;
//! * `harmless`: the call returned;
//! * `refused`: the script was not loaded.
//!
//! `in_process` runs each against the policy engine, `background` those that attack in timers and callbacks, `compiling` gives
//! texts to the compiler, and `under_load` runs each in a node that serves others at the same time. `reloading` has such a
//! node take what should not be taken. `cargo test --release --test hostile table -- --ignored
//! --nocapture` prints the table of docs/sandbox.md.

mod background;
mod compiling;
#[allow(dead_code)] // the attackers on the network use the rest
#[path = "../attacks/digest.rs"]
mod digest;
mod in_process;
mod reloading;
mod script;
#[allow(dead_code)]
#[path = "../attacks/support.rs"]
mod support;
mod table;
mod under_load;
