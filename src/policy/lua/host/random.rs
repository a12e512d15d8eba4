//! `random`: numbers for spreading and sampling, octets for nonces; a test that sets a seed gets the same ones again.

use super::call::{Call, refused};
use super::table::{Module, Type, function, gives, param};
use mlua::Value;

pub(super) static RANDOM: Module = Module {
    name: "random",
    doc: "Chance. Tests set its seed.",
    capability: None,
    fields: &[],
    functions: &[
        function("number", &[], &[gives(Type::Number, "From 0, below 1.")], "A number; not for secrets.", number),
        function(
            "integer",
            &[
                param("from", Type::Integer, "The least."),
                param("to", Type::Integer, "The greatest, at most 2^53 apart."),
            ],
            &[gives(Type::Integer, "From `from` to `to`, both included.")],
            "A whole number; not for secrets.",
            integer,
        )
        .fails("`to` is less than `from`, or too far from it."),
        function(
            "bytes",
            &[param("count", Type::Integer, "0 to 1024.")],
            &[gives(Type::String, "So many octets.")],
            "Octets of the operating system's generator, fit for nonces and keys.",
            bytes,
        ),
    ],
};

/// SplitMix64: good enough to spread load, and the same everywhere.
pub(super) struct Generator {
    state: u64,
    fixed: bool,
}

impl Generator {
    pub(super) fn new(seed: Option<u64>) -> Self {
        let state = seed.unwrap_or_else(|| {
            let mut octets = [0; 8];
            // Without it the sequence is a poor one, which is no reason not to start.
            let _ = getrandom::fill(&mut octets);
            u64::from_ne_bytes(octets)
        });
        Generator { state, fixed: seed.is_some() }
    }

    fn next(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.state ^ (self.state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// From 0, below 1, in steps of 2^-53.
    fn unit(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1u64 << 53) as f64
    }
}

fn number(call: &Call<'_>) -> mlua::Result<Value> {
    Ok(Value::Number(call.guest.random.borrow_mut().unit()))
}

fn integer(call: &Call<'_>) -> mlua::Result<Value> {
    let (from, to) = (call.number(0)?, call.number(1)?);
    let span = to - from + 1.0;
    if !(1.0..=9_007_199_254_740_992.0).contains(&span) {
        return Err(refused(format!("{from} to {to} is no range")));
    }
    Ok(Value::Number(from + (call.guest.random.borrow_mut().unit() * span).floor()))
}

fn bytes(call: &Call<'_>) -> mlua::Result<Value> {
    let count = call.number(0)?;
    if !(0.0..=1024.0).contains(&count) {
        return Err(refused("count is 0 to 1024"));
    }
    let mut octets = vec![0; count as usize];
    let mut random = call.guest.random.borrow_mut();
    if random.fixed {
        octets.iter_mut().for_each(|octet| *octet = random.next() as u8);
    } else {
        getrandom::fill(&mut octets).map_err(|why| refused(why.to_string()))?;
    }
    call.create_string(octets)
}
