//! What an operator sees (rank 4): log lines, and registrations as ladders.
//!
//! Domain code says what it does through the `tracing` facade, under the target `ladder`;
//! [`trace`] writes those events and the SIP messages as JSON lines ([`event`]), and
//! [`ladder`] draws them. [`lines`] has every log line name the generation that serves.

pub mod capture;
pub mod event;
pub mod ladder;
pub mod lines;
pub mod trace;
