//! The options that name a card's keys, the same in every verb that takes them.

use super::field::unhex;
use crate::aka::tuak::{self, ResBits, Topc, TuakKey};
use crate::aka::{Algorithm, KeySet};
use anyhow::{Context, Result, anyhow, bail};
use clap::{Args, ValueEnum};
use std::num::NonZeroU8;

/// The algorithm set on the card.
#[derive(Clone, Copy, Debug, Default, ValueEnum)]
pub enum AlgorithmArg {
    #[default]
    Milenage,
    Tuak,
}

impl From<AlgorithmArg> for Algorithm {
    fn from(arg: AlgorithmArg) -> Self {
        match arg {
            AlgorithmArg::Milenage => Algorithm::Milenage,
            AlgorithmArg::Tuak => Algorithm::Tuak,
        }
    }
}

/// K with one of OPc and OP (TUAK: TOPc and TOP). They are not the same: OP given as OPc makes well-formed,
/// wrong results.
#[derive(Args)]
#[group(skip)]
pub struct KeyArgs {
    /// Subscriber key K: 32 hex digits, for TUAK 32 or 64
    #[arg(long, value_name = "HEX")]
    pub k: Option<String>,
    /// OPc, 32 hex digits; for TUAK TOPc, 64
    #[arg(long, visible_alias = "topc", value_name = "HEX", conflicts_with = "op")]
    pub opc: Option<String>,
    /// The operator's OP, 32 hex digits; for TUAK TOP, 64
    #[arg(long, visible_alias = "top", value_name = "HEX")]
    pub op: Option<String>,
    /// TUAK: length of RES (32, 64, 128, 256)
    #[arg(long, value_name = "BITS", default_value_t = 64)]
    pub res_bits: usize,
    /// TUAK: how often the Keccak permutation runs
    #[arg(long, value_name = "N", default_value_t = NonZeroU8::MIN)]
    pub keccak_iterations: NonZeroU8,
}

impl KeyArgs {
    pub(super) fn given(&self) -> bool {
        self.k.is_some()
    }

    pub(super) fn key_set(&self, algorithm: Algorithm) -> Result<KeySet> {
        let k = unhex("--k", self.k.as_deref().context("--k is needed")?)?;
        let (option, operator, is_op) = match (&self.opc, &self.op, algorithm) {
            (Some(opc), None, Algorithm::Milenage) => ("--opc", opc, false),
            (Some(opc), None, Algorithm::Tuak) => ("--topc", opc, false),
            (None, Some(op), Algorithm::Milenage) => ("--op", op, true),
            (None, Some(op), Algorithm::Tuak) => ("--top", op, true),
            (Some(_), Some(_), _) => bail!("one of --opc and --op, not both"),
            (None, None, Algorithm::Milenage) => bail!("--opc or --op is needed"),
            (None, None, Algorithm::Tuak) => bail!("--topc or --top is needed"),
        };
        let operator = unhex(option, operator)?;
        match algorithm {
            Algorithm::Milenage => milenage(&k, option, &operator, is_op),
            Algorithm::Tuak => self.tuak(&k, option, &operator, is_op),
        }
    }

    fn tuak(&self, k: &[u8], option: &str, operator: &[u8], is_op: bool) -> Result<KeySet> {
        let k = TuakKey::try_from(k)
            .map_err(|_| anyhow!("--k: {} hexadecimal digits, TUAK takes 32 or 64", k.len() * 2))?;
        let operator: &[u8; 32] = operator
            .try_into()
            .map_err(|_| anyhow!("{option}: {} hexadecimal digits, TUAK takes 64", operator.len() * 2))?;
        let iterations = self.keccak_iterations;
        let topc = if is_op { tuak::topc(&k, operator, iterations) } else { Topc(*operator) };
        let res = ResBits::try_from(self.res_bits).context("--res-bits")?;
        Ok(KeySet::Tuak { k: Box::new(k), topc: Box::new(topc), res, iterations })
    }
}

fn milenage(k: &[u8], option: &str, operator: &[u8], is_op: bool) -> Result<KeySet> {
    for (option, octets) in [("--k", k), (option, operator)] {
        if octets.len() != 16 {
            bail!("{option}: {} hexadecimal digits, Milenage takes 32", octets.len() * 2);
        }
    }
    let make = if is_op { KeySet::from_op } else { KeySet::from_opc };
    Ok(make(Algorithm::Milenage, k, operator)?)
}
