//! `[service.NAME]` and `[foreign]`: what foreign nodes are told of subscribers.

use super::*;
use crate::config::Foreign;
use crate::hss::profile::Criterion;
use crate::hss::serve::{Clients, Service};
use std::collections::HashMap;

/// Longest file of filter criteria.
const MAX_CRITERIA: usize = 64 * 1024;

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawForeign {
    #[serde(default)]
    cscfs: Vec<Spanned<String>>,
    #[serde(default)]
    application_servers: Vec<Spanned<String>>,
    #[serde(default)]
    bsfs: Vec<Spanned<String>>,
    scscf: Text,
    broadcast_server: Text,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawService {
    scscf: Text,
    #[serde(default)]
    capabilities: Vec<u32>,
    #[serde(default)]
    optional_capabilities: Vec<u32>,
    #[serde(default)]
    visited_networks: Vec<String>,
    #[serde(default)]
    serve_unregistered: bool,
    filter_criteria: Option<Spanned<PathBuf>>,
    #[serde(default)]
    event_charging: Vec<Spanned<String>>,
    #[serde(default)]
    charging_collection: Vec<Spanned<String>>,
    #[serde(default)]
    gba_u: bool,
    key_lifetime: Option<Spanned<u64>>,
    naf_group: Option<String>,
}

impl Raw {
    pub(super) fn foreign(&self, beside: &impl Fn(PathBuf) -> PathBuf) -> Result<Foreign, ConfigError> {
        let raw = &self.foreign;
        let hosts = |list: &[Spanned<String>]| self.read_all(list, diameter::identity);
        let uri = |text: &Text| text.as_ref().map(|text| self.read(text, sip_uri)).transpose();
        let mut services = HashMap::new();
        for (name, service) in &self.service {
            self.read(name, crate::hss::embedded::field::service)?;
            services.insert(name.get_ref().clone(), self.service(service, beside)?);
        }
        Ok(Foreign {
            clients: Clients {
                cscfs: hosts(&raw.cscfs)?,
                application_servers: hosts(&raw.application_servers)?,
                bsfs: hosts(&raw.bsfs)?,
                nafs: Vec::new(),
            },
            scscf: uri(&raw.scscf)?,
            broadcast_server: uri(&raw.broadcast_server)?,
            services,
        })
    }

    fn service(&self, raw: &RawService, beside: &impl Fn(PathBuf) -> PathBuf) -> Result<Service, ConfigError> {
        let lifetime = match &raw.key_lifetime {
            Some(_) => Some(self.number(&raw.key_lifetime, "key_lifetime", 60..=31_536_000, 86_400)?),
            None => None,
        };
        let two = |list: &[Spanned<String>]| match list.get(2) {
            Some(third) => self.fault(third.span(), "two names at most: the first, and one to go to when it fails"),
            None => self.read_all(list, diameter_uri),
        };
        let criteria = match &raw.filter_criteria {
            Some(path) => criteria(&beside(path.get_ref().clone())).or_else(|why| self.fault(path.span(), why))?,
            None => Vec::new(),
        };
        Ok(Service {
            scscf: raw.scscf.as_ref().map(|text| self.read(text, sip_uri)).transpose()?,
            mandatory: raw.capabilities.clone(),
            optional: raw.optional_capabilities.clone(),
            visited: raw.visited_networks.clone(),
            unregistered: raw.serve_unregistered,
            criteria,
            event_charging: two(&raw.event_charging)?,
            charging_collection: two(&raw.charging_collection)?,
            gba_u: raw.gba_u,
            key_lifetime: lifetime.map(Duration::from_secs),
            naf_group: raw.naf_group.clone(),
        })
    }
}

fn criteria(path: &Path) -> Result<Vec<Criterion>, String> {
    let named = |why: String| format!("{}: {why}", path.display());
    let text = file::text(path, MAX_CRITERIA).map_err(|why| named(why.to_string()))?;
    let criteria = Criterion::parse_all(text.as_bytes()).map_err(|why| named(why.to_string()))?;
    criteria.ok_or_else(|| named("an InitialFilterCriteria cannot be read".into()))
}

fn sip_uri(text: &str) -> Result<String, String> {
    match crate::sip::Uri::parse(text.as_bytes()) {
        Ok(crate::sip::Uri::Sip(_)) => Ok(text.to_owned()),
        _ => Err(format!("{text:?}: a SIP URI such as \"sip:scscf.home1.net\"")),
    }
}

/// DiameterURI (RFC 6733 §4.3.1).
fn diameter_uri(text: &str) -> Result<String, String> {
    let host = text.strip_prefix("aaa://").or_else(|| text.strip_prefix("aaas://")).unwrap_or_default();
    match host.is_empty() || !host.bytes().all(|b| b.is_ascii_graphic()) {
        true => Err(format!("{text:?}: a DiameterURI such as \"aaa://ccf.home1.net\"")),
        false => Ok(text.to_owned()),
    }
}
