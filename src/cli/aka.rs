//! `imscript aka`: vectors, resynchronisation and digest responses by hand.

mod response;

use super::field::{Fields, unhex_array};
use super::key_args::{AlgorithmArg, KeyArgs};
use crate::aka::resync;
use crate::aka::tuak::{KeyBits, MacBits, Tuak};
use crate::aka::{Amf, Auts, KeySet, Rand, Sqn};
use crate::auth::nonce;
use anyhow::{Context, Result, bail};
use clap::{Args, Subcommand};

#[derive(Args)]
#[command(after_help = "Example:
  imscript aka resync --k 0396eb317b6d1c36f19c1c84cd6ffd16 --opc 53c15671c60a4b731c55b4a441c0bde2 \\
      --rand c00d603103dcee52c4478119494202e8 --auts MPEZcUKEwbvsd+/9Ggc= --json")]
pub struct AkaArgs {
    #[command(subcommand)]
    command: AkaCommand,
}

#[derive(Subcommand)]
pub enum AkaCommand {
    Vector(VectorArgs),
    Resync(ResyncArgs),
    Response(Box<response::ResponseArgs>),
}

/// Everything that f1 to f5* give for one RAND and SQN
///
/// mac_s is f1* over the AMF as given, as the published test sets have it. What a card really sends has
/// AMF 0000 under its MAC-S (TS 33.102 clause 6.3.3): mac_s_amf0000, and auts, the AUTS of a card whose SQN_MS
/// is the SQN given. With a TUAK MAC longer than 64 bits, autn and auts are just as much longer.
#[derive(Args)]
#[command(after_help = "Example:
  imscript aka vector --k 465b5ce8b199b49faa5f0a2ee238a6bc --op cdc202d5123e20f62b6d676ac72cb318 \\
      --rand 23553cbe9637a89d218ae64dae47bf35 --sqn ff9bb4d0b607 --amf b9b9")]
pub struct VectorArgs {
    /// Algorithm set of the card
    #[arg(long, value_enum, default_value_t, ignore_case = true)]
    algorithm: AlgorithmArg,
    #[command(flatten)]
    keys: KeyArgs,
    /// Challenge, 32 hex digits
    #[arg(long, value_name = "HEX")]
    rand: String,
    /// Sequence number, 12 hex digits
    #[arg(long, value_name = "HEX")]
    sqn: String,
    /// Authentication management field, 4 hex digits
    #[arg(long, value_name = "HEX", default_value = "0000")]
    amf: String,
    /// TUAK: length of MAC-A and MAC-S (64, 128, 256)
    #[arg(long, value_name = "BITS", default_value_t = 64)]
    mac_bits: usize,
    /// TUAK: length of CK (128, 256)
    #[arg(long, value_name = "BITS", default_value_t = 128)]
    ck_bits: usize,
    /// TUAK: length of IK (128, 256)
    #[arg(long, value_name = "BITS", default_value_t = 128)]
    ik_bits: usize,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

/// The card's SQN out of an AUTS, if its MAC-S verifies
#[derive(Args)]
#[command(after_help = "Example:
  imscript aka resync --k 0396eb317b6d1c36f19c1c84cd6ffd16 --opc 53c15671c60a4b731c55b4a441c0bde2 \\
      --rand c00d603103dcee52c4478119494202e8 --auts 30f119714284c1bbec77effd1a07")]
pub struct ResyncArgs {
    /// Algorithm set of the card
    #[arg(long, value_enum, default_value_t, ignore_case = true)]
    algorithm: AlgorithmArg,
    #[command(flatten)]
    keys: KeyArgs,
    /// The challenge that the card refused, 32 hex digits
    #[arg(long, value_name = "HEX")]
    rand: String,
    /// AUTS: 28 hex digits, or base64 as in the auts parameter
    #[arg(long, value_name = "AUTS")]
    auts: String,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

pub fn run(args: AkaArgs) -> Result<()> {
    match args.command {
        AkaCommand::Vector(args) => vector(&args),
        AkaCommand::Resync(args) => resync(&args),
        AkaCommand::Response(args) => response::run(&args),
    }
}

fn vector(args: &VectorArgs) -> Result<()> {
    let keys = args.keys.key_set(args.algorithm.into())?;
    let rand = Rand(unhex_array("--rand", &args.rand)?);
    let sqn = Sqn::from_octets(unhex_array("--sqn", &args.sqn)?);
    let amf = Amf(unhex_array("--amf", &args.amf)?);
    let mac_bits = MacBits::try_from(args.mac_bits).context("--mac-bits")?;
    let ck_bits = KeyBits::try_from(args.ck_bits).context("--ck-bits")?;
    let ik_bits = KeyBits::try_from(args.ik_bits).context("--ik-bits")?;

    let mut fields = Fields::default();
    let (f1_outputs, ak, ak_star);
    match &keys {
        KeySet::Milenage { opc, .. } => {
            if args.mac_bits != 64 || args.keys.res_bits != 64 || args.ck_bits != 128 || args.ik_bits != 128 {
                bail!("--mac-bits, --res-bits, --ck-bits and --ik-bits are for TUAK; Milenage has fixed lengths");
            }
            let session = keys.f2345(&rand);
            fields.octets("opc", &opc.0);
            f1_outputs =
                [keys.f1(&rand, sqn, amf), keys.f1_star(&rand, sqn, amf), keys.f1_star(&rand, sqn, Amf::RESYNC)]
                    .map(|mac| mac.to_vec());
            fields.octets("res", session.res.as_bytes()).octets("ck", &session.ck.0).octets("ik", &session.ik.0);
            (ak, ak_star) = (session.ak, keys.f5_star(&rand));
        }
        KeySet::Tuak { k, topc, res, iterations } => {
            let tuak = Tuak::new(k, topc, *iterations);
            let session = tuak.f2345(&rand, *res, ck_bits, ik_bits);
            fields.octets("topc", &topc.0);
            f1_outputs = [
                tuak.f1(&rand, sqn, amf, mac_bits),
                tuak.f1_star(&rand, sqn, amf, mac_bits),
                tuak.f1_star(&rand, sqn, Amf::RESYNC, mac_bits),
            ]
            .map(|mac| mac.as_bytes().to_vec());
            fields
                .octets("res", session.res.as_bytes())
                .octets("ck", session.ck.as_bytes())
                .octets("ik", session.ik.as_bytes());
            (ak, ak_star) = (session.ak, tuak.f5_star(&rand));
        }
    }
    let [mac_a, mac_s, mac_s_amf0000] = f1_outputs;
    let masked =
        |mask: [u8; 6]| -> Vec<u8> { sqn.to_octets().iter().zip(mask).map(|(sqn, mask)| sqn ^ mask).collect() };
    fields
        .octets("ak", &ak)
        .octets("ak_star", &ak_star)
        .octets("mac_a", &mac_a)
        .octets("mac_s", &mac_s)
        .octets("autn", &[&masked(ak)[..], &amf.0, &mac_a].concat())
        .octets("mac_s_amf0000", &mac_s_amf0000)
        .octets("auts", &[&masked(ak_star)[..], &mac_s_amf0000].concat())
        .print(args.json)
}

fn resync(args: &ResyncArgs) -> Result<()> {
    let keys = args.keys.key_set(args.algorithm.into())?;
    let rand = Rand(unhex_array("--rand", &args.rand)?);
    let sqn_ms = resync::sqn_ms(&keys, &rand, &auts(&args.auts)?)?;
    Fields::default().text("sqn_ms", sqn_ms.to_string()).print(args.json)
}

/// AUTS in either of its two spellings. Base64 of 14 octets has 18 to 20 characters, never 28.
fn auts(text: &str) -> Result<Auts> {
    if (18..=20).contains(&text.len()) {
        return nonce::decode_auts(text.as_bytes()).context("--auts");
    }
    Ok(Auts(unhex_array("--auts", text)?))
}
