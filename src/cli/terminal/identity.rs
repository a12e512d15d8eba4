//! Options of both verbs: who the terminal is, its card, and how it reaches the registrar.

use crate::auth::digest::Password;
use crate::cli::key_args::{AlgorithmArg, KeyArgs};
use crate::identity::{Impi, Impu};
use crate::sip::Uri;
use crate::terminal::client::Settings;
use crate::terminal::connection::Tls;
use crate::terminal::register::default_bsf_domain;
use crate::terminal::tls::{TlsFiles, client_config};
use crate::terminal::usim::Usim;
use crate::terminal::{Account, Credentials, Server, card_file};
use anyhow::{Context, bail};
use clap::Args;
use std::path::PathBuf;
use std::time::Duration;

#[derive(Args)]
pub(super) struct IdentityArgs {
    /// Registrar or P-CSCF: udp:HOST:PORT, tcp:HOST:PORT or tls:HOST:PORT
    #[arg(long)]
    pub(super) server: String,
    /// Private identity, user@realm
    #[arg(long)]
    pub(super) impi: String,
    /// Public identity [default: sip:IMPI]
    #[arg(long)]
    pub(super) impu: Option<String>,
    /// Home network domain, the Request-URI [default: the domain of the private identity]
    #[arg(long)]
    pub(super) domain: Option<String>,
    /// Digest realm of the first REGISTER [default: the domain]
    #[arg(long)]
    pub(super) realm: Option<String>,
    /// Domain of the BSF in the B-TID, should the registrar not say it [default: by TS 23.003]
    #[arg(long)]
    pub(super) bsf_domain: Option<String>,

    /// Algorithm of the card
    #[arg(long, value_enum, ignore_case = true, default_value_t)]
    pub(super) algorithm: AlgorithmArg,
    #[command(flatten)]
    pub(super) keys: KeyArgs,
    /// Password of a subscriber without a card (MD5, SHA-256)
    #[arg(long)]
    pub(super) password: Option<String>,
    /// Keeps the card's sequence numbers in this file [default: a fresh card at every run]
    #[arg(long, value_name = "FILE")]
    pub(super) card: Option<PathBuf>,

    /// Contact URI [default: the local address]
    #[arg(long, value_name = "URI")]
    pub(super) contact: Option<String>,
    /// Call-ID [default: random]
    #[arg(long)]
    pub(super) call_id: Option<String>,
    /// Longest wait for one answer, seconds
    #[arg(long, default_value_t = 32.0, value_name = "SECONDS")]
    pub(super) timeout: f64,
    /// Authority of the server's certificate, PEM
    #[arg(long, value_name = "FILE")]
    pub(super) ca: Option<PathBuf>,
    /// Certificate of the terminal, PEM
    #[arg(long, value_name = "FILE", requires = "key")]
    pub(super) cert: Option<PathBuf>,
    /// Key of that certificate, PEM
    #[arg(long, value_name = "FILE", requires = "cert")]
    pub(super) key: Option<PathBuf>,
    /// Name in the server's certificate [default: the host of --server]
    #[arg(long, value_name = "NAME")]
    pub(super) tls_name: Option<String>,

    /// Append every message as a JSON line, keys left out
    #[arg(long, value_name = "FILE")]
    pub(super) trace: Option<PathBuf>,
    /// Print one JSON object
    #[arg(long)]
    pub(super) json: bool,
    /// Print Ks_NAF
    #[arg(long)]
    pub(super) secrets: bool,
    /// Show every message's first line as it goes
    #[arg(long, short)]
    pub(super) verbose: bool,
}

impl IdentityArgs {
    pub(super) async fn server(&self) -> anyhow::Result<Server> {
        Ok(Server::resolve(&self.server).await?)
    }

    pub(super) fn account(&self) -> anyhow::Result<Account> {
        let impi = Impi::new(printable("--impi", &self.impi)?);
        let impu = match &self.impu {
            None => format!("sip:{impi}"),
            Some(impu) if impu.contains(':') => impu.clone(),
            Some(impu) => format!("sip:{impu}"),
        };
        printable("--impu", &impu)?;
        if Uri::parse(impu.as_bytes()).is_err() {
            bail!("--impu: {impu:?} is no sip:, sips: or tel: URI");
        }
        let domain = match &self.domain {
            Some(domain) => domain.clone(),
            None => {
                let home = impi.as_str().rsplit_once('@').or_else(|| impu.rsplit_once('@'));
                home.context("--domain is needed: the private identity has no domain")?.1.to_owned()
            }
        };
        printable("--domain", &domain)?;
        Ok(Account {
            credentials: self.credentials(&impi)?,
            impi,
            impu: Impu::new(impu),
            realm: self.realm.as_deref().unwrap_or(&domain).into(),
            bsf_domain: self.bsf_domain.clone().unwrap_or_else(|| default_bsf_domain(&domain)).into(),
            domain: domain.into(),
        })
    }

    fn credentials(&self, impi: &Impi) -> anyhow::Result<Credentials> {
        if let Some(password) = &self.password {
            if self.keys.given() {
                bail!("--k and --password: a subscriber has one of them");
            }
            return Ok(Credentials::Password(Password::new(password.as_bytes())));
        }
        if !self.keys.given() {
            bail!("--k with --opc or --op, or --password, is needed");
        }
        let keys = self.keys.key_set(self.algorithm.into())?;
        let sqn = match &self.card {
            Some(path) => card_file::load(path, impi)?,
            None => Default::default(),
        };
        Ok(Credentials::Card(Box::new(Usim::new(keys, sqn))))
    }

    /// Writes the card's memory back.
    pub(super) fn save_card(&self, account: &Account) -> anyhow::Result<()> {
        if let (Some(path), Credentials::Card(card)) = (&self.card, &account.credentials) {
            card_file::save(path, &account.impi, card.sqn())?;
        }
        Ok(())
    }

    pub(super) fn settings(&self) -> anyhow::Result<Settings> {
        if let Some(contact) = &self.contact {
            printable("--contact", contact)?;
            if Uri::parse(contact.as_bytes()).is_err() {
                bail!("--contact: {contact:?} is no URI");
            }
        }
        if let Some(call_id) = &self.call_id {
            printable("--call-id", call_id)?;
        }
        let timeout = Duration::try_from_secs_f64(self.timeout).context("--timeout")?;
        let tls = match &self.ca {
            Some(ca) => {
                let identity = self.cert.clone().zip(self.key.clone());
                Some(Tls {
                    config: client_config(&TlsFiles { ca: ca.clone(), identity })?,
                    name: self.tls_name.clone(),
                })
            }
            None => None,
        };
        Ok(Settings { tls, contact: self.contact.clone(), call_id: self.call_id.clone(), timeout })
    }
}

/// What goes into a header as it is.
pub(super) fn printable<'a>(option: &str, text: &'a str) -> anyhow::Result<&'a str> {
    if text.is_empty() || text.chars().any(|c| c.is_control() || c.is_whitespace() || "<>\"".contains(c)) {
        bail!("{option}: {text:?} is empty or holds a blank, a quote, < or >");
    }
    Ok(text)
}
