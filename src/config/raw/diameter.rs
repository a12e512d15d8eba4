//! `[diameter]` and `[hss]` of the file.

use super::*;
use crate::config::diameter::{Diameter, ForeignHss};
use crate::diameter::node::{Accept, Endpoint};
use std::collections::BTreeMap;

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawDiameter {
    listen: Option<Vec<Spanned<String>>>,
    origin_host: Text,
    origin_realm: Text,
    allow: Option<Vec<Spanned<String>>>,
    #[serde(default)]
    hosts: Vec<Spanned<String>>,
    timeout: Text,
    watchdog: Text,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawHss {
    #[serde(default)]
    cx: Vec<Spanned<String>>,
    #[serde(default)]
    sh: Vec<Spanned<String>>,
    #[serde(default)]
    zh: Vec<Spanned<String>>,
    /// Origin-Hosts by address.
    #[serde(default)]
    hosts: BTreeMap<Spanned<String>, Spanned<String>>,
    realm: Text,
    tls_name: Option<String>,
    vectors: Option<Spanned<u32>>,
    vector_lifetime: Text,
    visited_network: Option<String>,
    #[serde(default)]
    capabilities: Vec<u32>,
}

impl Raw {
    pub(super) fn diameter(&self) -> Result<Diameter, ConfigError> {
        let raw = &self.diameter;
        let name = |text: &Text| text.as_ref().map(|text| self.read(text, identity)).transpose();
        let within = |text: &Text, least: u64, most: u64, default: Duration, name: &str| match text {
            None => Ok(default),
            Some(text) => self.read(text, |text| match seconds(text) {
                Some(time) if (least..=most).contains(&(time.as_millis() as u64)) => Ok(time),
                _ => Err(format!("{name}: a time such as \"{}ms\", {least} to {most} ms", default.as_millis())),
            }),
        };
        let defaults =
            crate::diameter::node::Settings::new(crate::diameter::Origin { host: String::new(), realm: String::new() });
        Ok(Diameter {
            listen: self.read_all(raw.listen.as_deref().unwrap_or_default(), |text| text.parse::<Endpoint>())?,
            origin_host: name(&raw.origin_host)?,
            origin_realm: name(&raw.origin_realm)?,
            accept: Accept {
                addresses: match &raw.allow {
                    Some(list) => self.read_all(list, ip_address)?,
                    None => Accept::default().addresses,
                },
                hosts: self.read_all(&raw.hosts, identity)?,
            },
            request_within: within(&raw.timeout, 50, 30_000, defaults.request_within, "timeout")?,
            // RFC 3539 §3.4.1: not below 6 s.
            watchdog: within(&raw.watchdog, 6_000, 600_000, defaults.timing.tw, "watchdog")?,
        })
    }

    pub(super) fn foreign_hss(&self, roles: Roles) -> Result<Option<ForeignHss>, ConfigError> {
        let Some(section) = &self.hss else { return Ok(None) };
        let raw = section.get_ref();
        let endpoint = |text: &str| {
            let endpoint: Endpoint = text.parse()?;
            Ok::<_, crate::diameter::node::AddressError>(match &raw.tls_name {
                Some(name) if endpoint.is_tls() => Endpoint { tls_name: Some(name.clone()), ..endpoint },
                _ => endpoint,
            })
        };
        let endpoints = |list: &[Spanned<String>]| self.read_all(list, endpoint);
        let realm = raw.realm.as_ref().map(|text| self.read(text, identity)).transpose()?;
        let defaults = ForeignHss::default();
        let vectors = match &raw.vectors {
            None => defaults.vectors,
            Some(number) if (1..=8).contains(number.get_ref()) => *number.get_ref(),
            Some(number) => return self.fault(number.span(), "vectors: 1 to 8"),
        };
        let vector_lifetime = match &raw.vector_lifetime {
            None => defaults.vector_lifetime,
            Some(text) => {
                self.read(text, |text| seconds(text).ok_or("vector_lifetime: a time such as \"1h\", one day at most"))?
            }
        };
        let (cx, sh, zh) = (endpoints(&raw.cx)?, endpoints(&raw.sh)?, endpoints(&raw.zh)?);
        let mut hosts = Vec::new();
        for (address, host) in &raw.hosts {
            let at = self.read(address, endpoint)?;
            if ![&cx, &sh, &zh].into_iter().any(|list| list.contains(&at)) {
                return self.fault(address.span(), "hosts: this address is in none of the lists");
            }
            hosts.push((at, self.read(host, identity)?));
        }
        let hss = ForeignHss {
            cx,
            sh,
            zh,
            hosts,
            realm,
            vectors,
            vector_lifetime,
            visited_network: raw.visited_network.clone(),
            capabilities: raw.capabilities.clone(),
        };
        match hss.lacks(roles.ims(), self.icscf.is_some()) {
            Some(lacks) => {
                let why = format!("[hss] {lacks} is missing: addresses such as \"tcp:192.0.2.9:3868\"");
                self.fault(section.span(), why)
            }
            None => Ok(Some(hss)),
        }
    }
}

/// DiameterIdentity: a domain name (RFC 6733 §4.3.1).
pub(super) fn identity(text: &str) -> Result<String, String> {
    let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | '_');
    match text.len() {
        1..=255 if text.chars().all(fits) => Ok(text.to_owned()),
        _ => Err(format!("{text:?}: a name such as hss.home1.net")),
    }
}
