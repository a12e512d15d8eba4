//! Who the generated terminals are: made up by a rule, or read from the CSV file that `imscript subscriber import` takes.

use crate::aka::{Algorithm, KeySet};
use crate::auth::digest::Password;
use crate::identity::{Impi, Impu};
use crate::terminal::register::default_bsf_domain;
use crate::terminal::usim::{SqnArray, Usim};
use crate::terminal::{Account, Credentials};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::io::{Read, Write};
use std::sync::Arc;
use zeroize::Zeroizing;

#[derive(Debug, thiserror::Error)]
pub enum SubscribersError {
    #[error("line {line}: {why}")]
    Line { line: u64, why: String },
    #[error(transparent)]
    Csv(#[from] csv::Error),
    #[error(transparent)]
    Io(#[from] std::io::Error),
}

/// One line of the file; empty fields are absent ones.
#[derive(Serialize, Deserialize)]
struct Record {
    impi: String,
    impu: String,
    algorithm: String,
    #[serde(default)]
    k: String,
    #[serde(default)]
    opc: String,
    #[serde(default)]
    op: String,
    #[serde(default)]
    sqn: String,
    #[serde(default)]
    amf: String,
    #[serde(default)]
    password: String,
    #[serde(default)]
    broadcast: String,
}

/// What made-up terminals prove themselves with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Proof {
    /// A card with Milenage.
    #[default]
    Card,
    Password,
}

/// The subscriber number `index` of `domain`: always the same one, so that a file written once fits every later run.
fn generated(index: usize, domain: &str, proof: Proof) -> Record {
    let key = |label: &str| {
        let digest = Sha256::new().chain_update(label).chain_update((index as u64).to_be_bytes()).finalize();
        crate::terminal::identifiers::hex(digest.as_slice().get(..16).unwrap_or_default())
    };
    let user = format!("00101{:010}", index.saturating_add(1));
    let nobody = Record {
        impi: format!("{user}@{domain}"),
        impu: format!("sip:{user}@{domain}"),
        algorithm: String::new(),
        k: String::new(),
        opc: String::new(),
        op: String::new(),
        sqn: String::new(),
        amf: String::new(),
        password: String::new(),
        broadcast: "yes".to_owned(),
    };
    match proof {
        Proof::Card => Record {
            algorithm: "milenage".to_owned(),
            k: key("imscript load K"),
            opc: key("imscript load OPc"),
            sqn: "000000000000".to_owned(),
            amf: "0000".to_owned(),
            ..nobody
        },
        Proof::Password => Record { algorithm: "digest".to_owned(), password: key("imscript load password"), ..nobody },
    }
}

/// Terminals by the rule.
pub fn generate(count: usize, domain: &str, proof: Proof) -> Result<Vec<Account>, SubscribersError> {
    let shared = Shared::new(domain);
    (0..count).map(|index| account(&generated(index, domain, proof), &shared, index as u64)).collect()
}

/// The file to import at the server for [`generate`].
pub fn write(count: usize, domain: &str, proof: Proof, file: impl Write) -> Result<(), SubscribersError> {
    let mut writer = csv::Writer::from_writer(file);
    for index in 0..count {
        writer.serialize(generated(index, domain, proof))?;
    }
    Ok(writer.flush()?)
}

/// Terminals from an import file, up to `count`.
pub fn read(file: impl Read, count: Option<usize>, domain: Option<&str>) -> Result<Vec<Account>, SubscribersError> {
    let mut reader = csv::ReaderBuilder::new().trim(csv::Trim::All).from_reader(file);
    let mut shared: Option<Shared> = domain.map(Shared::new);
    let mut accounts = Vec::new();
    for (record, line) in reader.deserialize::<Record>().zip(2u64..).take(count.unwrap_or(usize::MAX)) {
        let record = record?;
        let home = record.impi.rsplit_once('@').map_or("", |(_, home)| home);
        let ours = match &mut shared {
            Some(shared) if domain.is_some() || *shared.domain == *home => shared,
            other => other.insert(Shared::new(home)),
        };
        accounts.push(account(&record, ours, line)?);
    }
    Ok(accounts)
}

/// What all terminals of a domain have in common.
struct Shared {
    domain: Arc<str>,
    bsf: Arc<str>,
}

impl Shared {
    fn new(domain: &str) -> Self {
        Shared { domain: domain.into(), bsf: default_bsf_domain(domain).into() }
    }
}

fn account(record: &Record, shared: &Shared, line: u64) -> Result<Account, SubscribersError> {
    let wrong = |why: String| SubscribersError::Line { line, why };
    let impu = record.impu.split_ascii_whitespace().next().ok_or_else(|| wrong("no impu".to_owned()))?;
    let credentials = if record.algorithm.eq_ignore_ascii_case("digest") {
        Credentials::Password(Password::new(record.password.as_bytes()))
    } else {
        let algorithm: Algorithm =
            record.algorithm.to_ascii_lowercase().parse().map_err(|_| wrong("algorithm unknown".to_owned()))?;
        let octets = |name: &str, hex: &str| unhex(hex).ok_or_else(|| wrong(format!("{name} is not hexadecimal")));
        let k = octets("k", &record.k)?;
        let keys = if record.opc.is_empty() {
            KeySet::from_op(algorithm, &k, &octets("op", &record.op)?)
        } else {
            KeySet::from_opc(algorithm, &k, &octets("opc", &record.opc)?)
        };
        Credentials::Card(Box::new(Usim::new(keys.map_err(|error| wrong(error.to_string()))?, SqnArray::fresh())))
    };
    Ok(Account {
        impi: Impi::new(record.impi.as_str()),
        impu: Impu::new(impu),
        domain: shared.domain.clone(),
        realm: shared.domain.clone(),
        bsf_domain: shared.bsf.clone(),
        credentials,
    })
}

fn unhex(text: &str) -> Option<Zeroizing<Vec<u8>>> {
    let digits: Zeroizing<Vec<u8>> =
        Zeroizing::new(text.chars().map(|c| c.to_digit(16).map(|digit| digit as u8)).collect::<Option<_>>()?);
    let pairs = digits.chunks_exact(2);
    (pairs.remainder().is_empty() && !digits.is_empty())
        .then(|| Zeroizing::new(pairs.map(|pair| pair.iter().fold(0, |octet, digit| octet << 4 | digit)).collect()))
}
