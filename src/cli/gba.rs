//! `imscript gba`: bootstrapping keys and identifiers by hand.

use super::field::{Fields, unhex_array};
use super::key_args::{AlgorithmArg, KeyArgs};
use crate::aka::{Amf, Rand, Sqn};
use crate::auth::nonce;
use crate::gba::btid::Btid;
use crate::gba::kdf::{self, FC_GBA, Ks};
use crate::gba::naf_id::{NafId, UaId};
use anyhow::{Context, Result};
use clap::{Args, Subcommand, ValueEnum};

#[derive(Args)]
#[command(after_help = "Example:
  imscript gba btid --rand 23553cbe9637a89d218ae64dae47bf35 --bsf-domain bsf.home1.net")]
pub struct GbaArgs {
    #[command(subcommand)]
    command: GbaCommand,
}

#[derive(Subcommand)]
pub enum GbaCommand {
    KsNaf(KsNafArgs),
    Btid(BtidArgs),
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Mode {
    /// GBA_ME: Ks_NAF
    #[default]
    Me,
    /// GBA_U: Ks_ext_NAF and Ks_int_NAF
    U,
}

/// Ks and the NAF keys of one bootstrapping (TS 33.220 annex B)
///
/// kdf_s is the S that the KDF runs over. With --sqn also AUTN and the nonce of the challenge; in mode u the nonce
/// carries autn_star.
#[derive(Args)]
#[command(after_help = "Example:
  imscript gba ks-naf --k 465b5ce8b199b49faa5f0a2ee238a6bc --opc cd63cb71954a9f4e48a5994e37a02baf \\
      --rand 23553cbe9637a89d218ae64dae47bf35 --sqn 000000000020 --impi user1_private@home1.net \\
      --naf-fqdn bsm.home1.net --ua-id 0100000001 --bsf-domain bsf.home1.net")]
pub struct KsNafArgs {
    /// Algorithm set of the card
    #[arg(long, value_enum, default_value_t, ignore_case = true)]
    algorithm: AlgorithmArg,
    #[command(flatten)]
    keys: KeyArgs,
    /// Challenge, 32 hex digits
    #[arg(long, value_name = "HEX")]
    rand: String,
    /// Sequence number, 12 hex digits; the keys do not depend on it
    #[arg(long, value_name = "HEX")]
    sqn: Option<String>,
    /// Authentication management field, 4 hex digits
    #[arg(long, value_name = "HEX", default_value = "0000")]
    amf: String,
    /// Private identity, exactly as in the digest's username
    #[arg(long)]
    impi: String,
    /// Name of the NAF, in lower case
    #[arg(long, value_name = "FQDN")]
    naf_fqdn: String,
    /// Ua security protocol identifier, 10 hex digits; the default is MBMS and BCAST
    #[arg(long, value_name = "HEX", default_value = "0100000001")]
    ua_id: String,
    /// me: the terminal holds Ks; u: the card does
    #[arg(long, value_enum, default_value_t, ignore_case = true)]
    mode: Mode,
    /// Name of the BSF, for the B-TID
    #[arg(long, value_name = "FQDN")]
    bsf_domain: Option<String>,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

/// The B-TID of a bootstrapping, or what a B-TID holds
#[derive(Args)]
#[command(after_help = "Examples:
  imscript gba btid --rand 23553cbe9637a89d218ae64dae47bf35 --bsf-domain bsf.home1.net
  imscript gba btid --parse I1U8vpY3qJ0hiuZNrke/NQ==@bsf.home1.net")]
pub struct BtidArgs {
    /// Challenge of the bootstrapping, 32 hex digits
    #[arg(long, value_name = "HEX", required_unless_present = "parse", requires = "bsf_domain")]
    rand: Option<String>,
    /// Name of the BSF
    #[arg(long, value_name = "FQDN", requires = "rand")]
    bsf_domain: Option<String>,
    /// Take this B-TID apart
    #[arg(long, value_name = "BTID", conflicts_with_all = ["rand", "bsf_domain"])]
    parse: Option<String>,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

pub fn run(args: GbaArgs) -> Result<()> {
    match args.command {
        GbaCommand::KsNaf(args) => ks_naf(&args),
        GbaCommand::Btid(args) => btid(&args),
    }
}

fn ks_naf(args: &KsNafArgs) -> Result<()> {
    let keys = args.keys.key_set(args.algorithm.into())?;
    let rand = Rand(unhex_array("--rand", &args.rand)?);
    let amf = Amf(unhex_array("--amf", &args.amf)?);
    let ua = UaId(unhex_array("--ua-id", &args.ua_id)?);
    let naf = NafId::new(&args.naf_fqdn, ua).context("--naf-fqdn")?;
    // The KDF gives a length two octets.
    anyhow::ensure!(!args.impi.is_empty() && args.impi.len() <= usize::from(u16::MAX), "--impi: 1 to 65535 octets");

    let session = keys.f2345(&rand);
    let ks = Ks::new(&session.ck, &session.ik);
    let mut fields = Fields::default();
    fields.octets("ks", &ks.0);
    if let Some(domain) = &args.bsf_domain {
        fields.text("b_tid", new_btid(&rand, domain)?.text());
    }
    if let Some(sqn) = &args.sqn {
        let vector = keys.generate(rand, Sqn::from_octets(unhex_array("--sqn", sqn)?), amf);
        fields.octets("autn", &vector.autn.0);
        let mut sent = vector.autn;
        if args.mode == Mode::U {
            sent = kdf::autn_star(&vector.autn, &vector.ik);
            fields.octets("autn_star", &sent.0);
        }
        fields.text("nonce_ub", nonce::encode(&rand, &sent));
    }
    fields.octets("naf_id", &naf.octets());
    let naf_id = naf.octets();
    let s = |name: &[u8]| kdf::kdf_input(FC_GBA, &[name, &rand.0, args.impi.as_bytes(), &naf_id]);
    let key = kdf::ks_naf(&ks, &rand, &args.impi, &naf);
    match args.mode {
        Mode::Me => fields.octets("kdf_s", &s(b"gba-me")).octets("ks_naf", &key.0),
        Mode::U => {
            let internal = kdf::ks_int_naf(&ks, &rand, &args.impi, &naf);
            fields
                .octets("kdf_s_ext", &s(b"gba-me"))
                .octets("ks_ext_naf", &key.0)
                .octets("kdf_s_int", &s(b"gba-u"))
                .octets("ks_int_naf", &internal.0)
        }
    };
    fields.print(args.json)
}

fn btid(args: &BtidArgs) -> Result<()> {
    let btid = match (&args.parse, &args.rand, &args.bsf_domain) {
        (Some(text), ..) => Btid::parse(text).context("--parse")?,
        (None, Some(rand), Some(domain)) => new_btid(&Rand(unhex_array("--rand", rand)?), domain)?,
        _ => anyhow::bail!("--rand with --bsf-domain, or --parse"),
    };
    Fields::default()
        .text("b_tid", btid.text())
        .octets("rand", &btid.rand().0)
        .text("bsf_domain", btid.bsf_domain())
        .print(args.json)
}

fn new_btid(rand: &Rand, domain: &str) -> Result<Btid> {
    Btid::parse(&Btid::new(rand, domain).text()).context("--bsf-domain")
}
