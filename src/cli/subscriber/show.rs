//! `imscript subscriber show` and `list`: what the HSS knows, keys left out unless asked for.

use super::place::Place;
use crate::clock::Date;
use crate::hss::BroadcastSubscription;
use crate::hss::embedded::{Credentials, Stored};
use crate::identity::Impu;
use anyhow::Context;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::{self, BufWriter, Write};
use std::ops::ControlFlow;

/// Show one subscriber: identities, broadcast subscription, both registration states
#[derive(clap::Args)]
#[command(after_help = "Examples:
  imscript subscriber show user1_private@home1.net
  imscript subscriber show sip:user1@home1.net --json")]
pub(super) struct Show {
    /// Private or public identity
    #[arg(value_name = "IMPI|IMPU")]
    identity: String,
    #[arg(long)]
    json: bool,
    /// Show K, OPc and the password as well
    #[arg(long)]
    secrets: bool,
}

/// List subscribers in order of their private identity
#[derive(clap::Args)]
#[command(after_help = "Examples:
  imscript subscriber list --registered
  imscript subscriber list --limit 10 --json")]
pub(super) struct List {
    #[arg(long)]
    json: bool,
    /// Only those that are registered with the IMS or a broadcast server
    #[arg(long)]
    registered: bool,
    /// At most so many
    #[arg(long, value_name = "N")]
    limit: Option<usize>,
}

impl Show {
    pub(super) fn run(&self, place: &Place) -> anyhow::Result<()> {
        let found = place.existing()?.find(&self.identity)?;
        let stored = found.with_context(|| format!("no subscriber {}", self.identity))?;
        let text =
            if self.json { format!("{:#}\n", json_of(&stored, self.secrets)) } else { text_of(&stored, self.secrets) };
        finish(io::stdout().write_all(text.as_bytes()))
    }
}

impl List {
    pub(super) fn run(&self, place: &Place) -> anyhow::Result<()> {
        let limit = self.limit.unwrap_or(usize::MAX);
        // The store has no order: the first ones are known when all have been seen.
        let mut first = BTreeMap::new();
        place.existing()?.list(self.registered, |stored| {
            let line = if self.json { format!("  {}", json_of(&stored, false)) } else { line_of(&stored) };
            first.insert(stored.subscriber.impi, line);
            if first.len() > limit {
                first.pop_last();
            }
            ControlFlow::Continue(())
        })?;
        let mut out = BufWriter::new(io::stdout().lock());
        let lines: Vec<_> = first.into_values().collect();
        let text = if self.json { format!("[\n{}\n]\n", lines.join(",\n")) } else { lines.concat() };
        finish(out.write_all(text.as_bytes()).and_then(|()| out.flush()))
    }
}

/// A reader that has seen enough is no error (`imscript subscriber list | head`).
fn finish(result: io::Result<()>) -> anyhow::Result<()> {
    match result {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(error).context("standard output"),
        _ => Ok(()),
    }
}

fn json_of(stored: &Stored, secrets: bool) -> Value {
    let subscriber = &stored.subscriber;
    let registration = &stored.registration;
    let broadcast = registration.broadcast.as_deref();
    let mut value = json!({
        "impi": subscriber.impi.as_str(),
        "impus": subscriber.impus.iter().map(Impu::as_str).collect::<Vec<_>>(),
        "algorithm": subscriber.credentials.algorithm(),
        "broadcast": match &subscriber.broadcast {
            BroadcastSubscription::None => json!(false),
            BroadcastSubscription::All => json!(true),
            BroadcastSubscription::Services(ids) => json!(ids.to_vec()),
        },
        "service": *subscriber.service,
        "ims": {
            "state": registration.ims.as_str(),
            "since": registration.ims_since.map(|since| rfc3339(since.seconds())),
            "scscf": registration.serving.as_ref().map(|serving| serving.scscf.as_str()),
        },
        "broadcast_registration": {
            "state": broadcast.map(|b| b.state).unwrap_or_default().as_str(),
            "since": broadcast.map(|b| rfc3339(b.since.map_or(0, Date::seconds))),
            "server": broadcast.map(|b| &*b.server),
            "naf": broadcast.map(|b| &*b.naf_fqdn),
            "btid": broadcast.and_then(|b| b.btid.as_ref()).map(ToString::to_string),
        },
    });
    if let Some(object) = value.as_object_mut() {
        if let Credentials::Aka(_) = subscriber.credentials {
            object.insert("amf".into(), hex(&subscriber.amf.0).into());
        }
        if secrets {
            object.extend(secrets_of(&subscriber.credentials).map(|(name, secret)| (name.into(), secret.into())));
        }
    }
    value
}

fn text_of(stored: &Stored, secrets: bool) -> String {
    let subscriber = &stored.subscriber;
    let mut out = String::new();
    let mut line = |name: &str, value: &str| {
        let _ = writeln!(out, "{name:<22} {value}"); // writing to a String does not fail
    };
    line("impi", subscriber.impi.as_str());
    for impu in subscriber.impus.iter() {
        line("impu", impu.as_str());
    }
    line("algorithm", subscriber.credentials.algorithm());
    if let Credentials::Aka(_) = subscriber.credentials {
        line("amf", &hex(&subscriber.amf.0));
    }
    if secrets {
        for (name, secret) in secrets_of(&subscriber.credentials) {
            line(name, &secret);
        }
    }
    line("broadcast", &crate::hss::embedded::subscriber::broadcast_text(&subscriber.broadcast));
    if !subscriber.service.is_empty() {
        line("service", &subscriber.service);
    }
    let since = |since: Option<u64>| since.map(|since| format!(" since {}", rfc3339(since))).unwrap_or_default();
    let registration = &stored.registration;
    line("ims", &format!("{}{}", registration.ims.as_str(), since(registration.ims_since.map(Date::seconds))));
    if let Some(serving) = &registration.serving {
        line("s-cscf", &serving.scscf);
    }
    match &registration.broadcast {
        None => line("broadcast registration", "not_registered"),
        Some(broadcast) => {
            line(
                "broadcast registration",
                &format!("{}{}", broadcast.state.as_str(), since(Some(broadcast.since.map_or(0, Date::seconds)))),
            );
            line("server", &broadcast.server);
            line("naf", &broadcast.naf_fqdn);
            line("btid", &broadcast.btid.as_ref().map_or_else(|| "none".to_owned(), ToString::to_string));
        }
    }
    out
}

fn line_of(stored: &Stored) -> String {
    let broadcast = stored.registration.broadcast.as_ref().map(|b| b.state).unwrap_or_default();
    let impus: Vec<_> = stored.subscriber.impus.iter().map(Impu::as_str).collect();
    format!(
        "{}  ims {}  broadcast {}  {}\n",
        stored.subscriber.impi,
        stored.registration.ims.as_str(),
        broadcast.as_str(),
        impus.join(" ")
    )
}

fn secrets_of(credentials: &Credentials) -> impl Iterator<Item = (&'static str, String)> {
    let (first, second) = match credentials {
        Credentials::Aka(keys) => (("k", hex(keys.k())), Some(("opc", hex(keys.opc())))),
        Credentials::Digest(password) => {
            (("password", String::from_utf8_lossy(password.as_bytes()).into_owned()), None)
        }
    };
    std::iter::once(first).chain(second)
}

fn hex(octets: &[u8]) -> String {
    octets.iter().map(|octet| format!("{octet:02x}")).collect()
}

/// Seconds since 1970 as a date in UTC (RFC 3339). The year is counted from March, so that the leap day comes last.
fn rfc3339(unix: u64) -> String {
    let (days, second) = (unix / 86_400, unix % 86_400);
    let days = days.saturating_add(719_468); // since 0000-03-01
    let (era, day) = (days / 146_097, days % 146_097);
    let year = (day - day / 1_460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let date = day - (153 * month + 2) / 5 + 1;
    let (month, next) = if month < 10 { (month + 3, 0) } else { (month - 9, 1) };
    let year = era * 400 + year + next;
    format!("{year:04}-{month:02}-{date:02}T{:02}:{:02}:{:02}Z", second / 3_600, second / 60 % 60, second % 60)
}

#[cfg(test)]
mod tests {
    use super::rfc3339;

    #[test]
    fn dates_are_those_of_the_calendar() {
        for (unix, date) in [
            (0, "1970-01-01T00:00:00Z"),
            (951_782_400, "2000-02-29T00:00:00Z"),
            (951_868_799, "2000-02-29T23:59:59Z"),
            (1_795_341_366, "2026-11-22T09:56:06Z"),
            (4_107_542_400, "2100-03-01T00:00:00Z"),
        ] {
            assert_eq!(rfc3339(unix), date);
        }
        let _ = rfc3339(u64::MAX);
    }
}
