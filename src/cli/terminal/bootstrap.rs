//! `imscript terminal bootstrap`: Ub, and with the key that comes of it Ua.

use crate::cli::key_args::{AlgorithmArg, KeyArgs};
use crate::gba::naf_id::NafId;
use crate::identity::Impi;
use crate::terminal::application::{ask_http, sample_service_request};
use crate::terminal::bootstrap::{Bootstrapped, bootstrap};
use crate::terminal::card_file;
use crate::terminal::connection::Direction;
use crate::terminal::http::Http;
use crate::terminal::identifiers::{Identifiers, hex};
use crate::terminal::usim::Usim;
use anyhow::{Context, bail};
use clap::Args;
use serde_json::{Value, json};
use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

#[derive(Args)]
pub(super) struct BootstrapArgs {
    /// The BSF
    #[arg(long, value_name = "http://HOST:PORT/")]
    bsf: String,
    /// Realm of the first request [default: the host of --bsf]
    #[arg(long)]
    realm: Option<String>,
    /// Private identity, user@realm
    #[arg(long)]
    impi: String,
    /// Algorithm of the card
    #[arg(long, value_enum, ignore_case = true, default_value_t)]
    algorithm: AlgorithmArg,
    #[command(flatten)]
    keys: KeyArgs,
    /// Keeps the card's sequence numbers in this file [default: a fresh card at every run]
    #[arg(long, value_name = "FILE")]
    card: Option<PathBuf>,
    /// Derive the key for this NAF: FQDN or FQDN;UAID (10 hex digits)
    #[arg(long, value_name = "FQDN[;UAID]")]
    naf_id: Option<String>,
    /// Then ask this broadcast server over HTTP (figure 5), with the key
    #[arg(long, value_name = "http://HOST:PORT/PATH", requires = "naf_id")]
    bsm_http: Option<String>,
    /// Longest wait for one answer, seconds
    #[arg(long, default_value_t = 32.0)]
    timeout: f64,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
    /// Print Ks, and Ks_NAF if a NAF is named
    #[arg(long)]
    secrets: bool,
    /// Show every message's first line as it goes
    #[arg(long, short)]
    verbose: bool,
}

pub(super) async fn run(args: &BootstrapArgs) -> anyhow::Result<ExitCode> {
    if !args.keys.given() {
        bail!("--k with --opc or --op is needed: a bootstrapping is made with a card");
    }
    let impi = Impi::new(super::identity::printable("--impi", &args.impi)?);
    let naf = args.naf_id.as_deref().map(NafId::parse).transpose()?;
    let sqn = match &args.card {
        Some(path) => card_file::load(path, &impi)?,
        None => Default::default(),
    };
    let mut card = Usim::new(args.keys.key_set(args.algorithm.into())?, sqn);
    let http = Http { timeout: Duration::try_from_secs_f64(args.timeout).context("--timeout")?, observer: None };
    let http = if args.verbose { Http { observer: Some(Arc::new(show)), ..http } } else { http };
    let done = bootstrap(&http, &args.bsf, args.realm.as_deref(), &impi, &mut card).await;
    if let Some(path) = &args.card {
        card_file::save(path, &impi, card.sqn())?;
    }
    let done = match done {
        Ok(done) => done,
        Err(why) => return Ok(args.failed(json!({}), &why.to_string())),
    };
    let mut told = args.tell(&done, naf.as_ref());
    if let (Some(url), Some(naf)) = (&args.bsm_http, &naf) {
        let payload = sample_service_request(&format!("{:x}", std::process::id()), impi.as_str());
        let cnonce = Identifiers::new()?.fresh();
        match ask_http(&http, url, naf, &done.btid, &done.ks_naf(naf), &payload, cnonce).await {
            Ok(answer) => {
                let (name, code) = (&answer.response.name, answer.response.global_status.as_deref());
                args.line(format_args!(
                    "application   {} {name}, status {}",
                    answer.status,
                    code.unwrap_or("not given")
                ));
                told["application"] = json!({"status": answer.status, "response": name, "global_status": code});
            }
            Err(why) => return Ok(args.failed(told, &why.to_string())),
        }
    }
    if args.json {
        told["result"] = json!("bootstrapped");
        let _ = writeln!(std::io::stdout(), "{told}");
    }
    Ok(ExitCode::SUCCESS)
}

fn show(direction: Direction, bytes: &[u8]) {
    let line = bytes.split(|&octet| octet == b'\n').next().unwrap_or_default();
    let line: String = String::from_utf8_lossy(line).chars().filter(|c| !c.is_control()).collect();
    let arrow = if direction == Direction::Sent { "→" } else { "←" };
    let _ = writeln!(std::io::stderr(), "{arrow} {line}");
}

impl BootstrapArgs {
    fn line(&self, text: impl std::fmt::Display) {
        if !self.json {
            let _ = writeln!(std::io::stdout(), "{text}"); // a closed pipe is the reader's choice
        }
    }

    fn tell(&self, done: &Bootstrapped, naf: Option<&NafId>) -> Value {
        let resync = if done.resynchronised { ", after a resynchronisation" } else { "" };
        let proof = if done.proved { "" } else { ", the BSF gave no proof (rspauth)" };
        let expires = done.expires.map(crate::broadcast::datetime::format);
        self.line(format_args!("bootstrapped  {}{resync}{proof}", done.impi));
        self.line(format_args!("B-TID         {}", done.btid));
        self.line(format_args!("until         {}", expires.as_deref().unwrap_or("not told")));
        let mut told = json!({
            "impi": done.impi.as_str(), "btid": done.btid, "lifetime": expires, "resync": done.resynchronised,
            "proved": done.proved,
        });
        if self.secrets {
            let ks = hex(&done.keys.ks.0);
            self.line(format_args!("Ks            {ks}"));
            told["ks"] = json!(ks);
        }
        if let Some(naf) = naf {
            let key = done.ks_naf(naf);
            told["key_check"] = json!(key.check_value());
            if self.secrets {
                let key = hex(&key.0);
                self.line(format_args!("Ks_NAF        {key}"));
                told["ks_naf"] = json!(key);
            }
        }
        told
    }

    fn failed(&self, mut told: Value, why: &str) -> ExitCode {
        if self.json {
            told["result"] = json!("failed");
            told["error"] = json!(why);
            let _ = writeln!(std::io::stdout(), "{told}");
        } else {
            let _ = writeln!(std::io::stderr(), "imscript: {why}");
        }
        ExitCode::FAILURE
    }
}
