//! `imscript aka response`: the digest response that a terminal has to send.

use crate::aka::{Key128, Rand, Res};
use crate::auth::digest::{Algorithm, Digest, Password, Qop, QopKind};
use crate::auth::nonce;
use crate::cli::field::{Fields, unhex, unhex_array};
use crate::cli::key_args::{AlgorithmArg, KeyArgs};
use anyhow::{Context, Result, bail};
use clap::Args;
use std::path::PathBuf;

/// The response parameter of a digest
///
/// The password comes from one of: the card's keys (--k with --opc or --op; RES, CK and IK follow from the RAND in
/// the nonce), --res (with --ck and --ik for AKAv2), --password, or --auts, which means the empty password of
/// a resynchronisation.
#[derive(Args)]
#[command(after_help = "Example:
  imscript aka response --algorithm AKAv1-MD5 --username user1_private@home1.net --realm home1.net \\
      --method REGISTER --uri sip:home1.net --nonce wA1gMQPc7lLER4EZSUIC6MR3g5lfMgAAAEJu+9fOVM8= \\
      --k 0396eb317b6d1c36f19c1c84cd6ffd16 --opc 53c15671c60a4b731c55b4a441c0bde2 \\
      --qop auth --nc 00000001 --cnonce 0a4f113b")]
pub struct ResponseArgs {
    /// Digest algorithm: AKAv1-MD5, AKAv2-MD5, AKAv2-SHA-256, MD5 or SHA-256
    #[arg(long)]
    algorithm: String,
    /// The IMPI
    #[arg(long)]
    username: String,
    #[arg(long)]
    realm: String,
    /// The digest-uri, as sent
    #[arg(long)]
    uri: String,
    #[arg(long)]
    method: String,
    /// The nonce, as sent
    #[arg(long)]
    nonce: String,
    /// auth or auth-int; without it the response has no qop
    #[arg(long, requires = "cnonce")]
    qop: Option<String>,
    /// Nonce count, 8 hex digits
    #[arg(long, default_value = "00000001")]
    nc: String,
    #[arg(long)]
    cnonce: Option<String>,
    /// auth-int: file with the body
    #[arg(long, value_name = "FILE", conflicts_with = "body_hex")]
    body: Option<PathBuf>,
    /// auth-int: the body itself
    #[arg(long, value_name = "HEX")]
    body_hex: Option<String>,
    #[command(flatten)]
    keys: KeyArgs,
    /// The card's keys are TUAK keys
    #[arg(long, requires = "k")]
    tuak: bool,
    /// RES, if the card has been asked already
    #[arg(long, value_name = "HEX", conflicts_with = "k")]
    res: Option<String>,
    /// CK, for AKAv2
    #[arg(long, value_name = "HEX", requires = "res")]
    ck: Option<String>,
    /// IK, for AKAv2
    #[arg(long, value_name = "HEX", requires = "res")]
    ik: Option<String>,
    /// A password that is text (MD5, SHA-256)
    #[arg(long, conflicts_with_all = ["k", "res"])]
    password: Option<String>,
    /// The request carries auts, so the password is empty
    #[arg(long, value_name = "AUTS", num_args = 0..=1, default_missing_value = "", conflicts_with = "password")]
    auts: Option<String>,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

pub(super) fn run(args: &ResponseArgs) -> Result<()> {
    let algorithm = Algorithm::from_bytes(args.algorithm.as_bytes())
        .context("--algorithm: AKAv1-MD5, AKAv2-MD5, AKAv2-SHA-256, MD5 or SHA-256")?;
    let body = match (&args.body, &args.body_hex) {
        (Some(file), _) => std::fs::read(file).with_context(|| format!("--body {}", file.display()))?,
        (None, Some(hex)) => unhex("--body-hex", hex)?,
        (None, None) => Vec::new(),
    };
    let mut fields = Fields::default();
    let password = password(args, algorithm, &mut fields)?;
    let digest = Digest {
        algorithm,
        username: args.username.as_bytes(),
        realm: args.realm.as_bytes(),
        method: args.method.as_bytes(),
        uri: args.uri.as_bytes(),
        nonce: args.nonce.as_bytes(),
        qop: qop(args, &body)?,
    };
    fields.text("response", digest.response(&password)).print(args.json)
}

fn qop<'a>(args: &'a ResponseArgs, body: &'a [u8]) -> Result<Option<Qop<'a>>> {
    let Some(kind) = &args.qop else { return Ok(None) };
    let kind = QopKind::from_bytes(kind.as_bytes()).context("--qop: auth or auth-int")?;
    if args.nc.len() != 8 || !args.nc.bytes().all(|digit| digit.is_ascii_hexdigit()) {
        bail!("--nc: eight hexadecimal digits are needed");
    }
    let cnonce = args.cnonce.as_deref().context("--cnonce is needed with --qop")?;
    Ok(Some(Qop { kind, nc: args.nc.as_bytes(), cnonce: cnonce.as_bytes(), body }))
}

fn password(args: &ResponseArgs, algorithm: Algorithm, fields: &mut Fields) -> Result<Password> {
    if let Some(auts) = &args.auts {
        if !auts.is_empty() {
            super::auts(auts)?;
        }
        return Ok(Password::empty());
    }
    if args.keys.given() {
        return from_card(args, algorithm, fields);
    }
    if let Some(res) = &args.res {
        let res = Res::try_from(unhex("--res", res)?.as_slice()).context("--res")?;
        let key = |option: &str, value: &Option<String>| match value {
            Some(value) => unhex_array(option, value).map(Key128),
            None if algorithm == Algorithm::Akav1Md5 => Ok(Key128([0; 16])),
            None => bail!("{option} is needed for {}", algorithm.as_str()),
        };
        return Ok(Password::from_aka(algorithm, &res, &key("--ik", &args.ik)?, &key("--ck", &args.ck)?));
    }
    match &args.password {
        Some(password) => Ok(Password::new(password.as_str())),
        None => bail!("a password is needed: --k with --opc or --op, or --res, or --password, or --auts"),
    }
}

fn from_card(args: &ResponseArgs, algorithm: Algorithm, fields: &mut Fields) -> Result<Password> {
    if !algorithm.is_aka() {
        bail!("--k: {} takes a --password, not a card", algorithm.as_str());
    }
    let set = if args.tuak { AlgorithmArg::Tuak } else { AlgorithmArg::Milenage };
    let keys = args.keys.key_set(set.into())?;
    let (rand, autn): (Rand, _) = nonce::decode(args.nonce.as_bytes()).context("--nonce")?;
    let session = keys.f2345(&rand);
    if keys.f1(&rand, autn.sqn(&session.ak), autn.amf()) != autn.mac_a() {
        eprintln!("imscript: note: the nonce's AUTN was not made with these keys; a card would refuse it");
    }
    fields.octets("res", session.res.as_bytes());
    Ok(Password::from_aka(algorithm, &session.res, &session.ik, &session.ck))
}
