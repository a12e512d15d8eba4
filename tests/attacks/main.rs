//! What a stranger on the network can do to a node: afterwards it lives, serves, and has grown little; and what he
//! claims to be has no effect.

mod digest;
mod floods;
mod forgeries;
mod noise;
mod secrets;
mod support;
