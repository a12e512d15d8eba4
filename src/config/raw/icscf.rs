//! `[icscf]`: the I-CSCF role.

use super::*;
use crate::config::Icscf;
use crate::icscf::ScscfEntry;
use crate::sip::Uri;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawIcscf {
    listen: Option<Vec<Spanned<String>>>,
    timeout: Text,
    #[serde(default)]
    scscf: Vec<RawScscf>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawScscf {
    name: Spanned<String>,
    address: Text,
    tls_name: Option<String>,
    #[serde(default)]
    capabilities: Vec<u32>,
}

impl Raw {
    pub(super) fn icscf(&self, roles: Roles, listen: &[Listen]) -> Result<Option<Icscf>, ConfigError> {
        let named = self.roles.iter().flatten().find(|role| role.get_ref() == "icscf");
        let raw = match (&self.icscf, named, &self.roles) {
            (Some(raw), None, Some(_)) => return self.fault(raw.span(), "[icscf]: icscf is not among the roles"),
            (None, Some(role), _) => return self.fault(role.span(), "icscf needs [icscf] with its S-CSCFs"),
            (None, None, _) => return Ok(None),
            (Some(raw), ..) => raw,
        };
        let RawIcscf { listen: own, timeout, scscf } = raw.get_ref();
        let listen = match own {
            Some(list) => self.read_all(list, listen_address)?,
            // A node with no other SIP role listens where the file says `listen`.
            None if !roles.ims() && !roles.bsm && !listen.is_empty() => listen.to_vec(),
            None => vec![known("udp:127.0.0.1:4060"), known("tcp:127.0.0.1:4060")],
        };
        let within = match timeout {
            None => Duration::from_secs(6),
            Some(text) => self.read(text, |text| match seconds(text) {
                Some(time) if (100..=30_000).contains(&time.as_millis()) => Ok(time),
                _ => Err("timeout: a time such as \"6s\", 100 ms to 30 s"),
            })?,
        };
        let mut servers: Vec<ScscfEntry> = Vec::new();
        for raw in scscf {
            let name = self.read(&raw.name, |text| match Uri::parse(text.as_bytes()) {
                Ok(Uri::Sip(_)) => Ok(text.to_owned()),
                _ => Err("name: the SIP URI by which the HSS knows the S-CSCF"),
            })?;
            let hop =
                raw.address.as_ref().map(|t| self.read(t, |t| next_hop(t, raw.tls_name.as_deref()))).transpose()?;
            if hop.is_none() && !roles.scscf {
                return self.fault(raw.name.span(), "address is missing (this node has no scscf role)");
            }
            if servers.iter().any(|other| other.name == name) {
                return self.fault(raw.name.span(), "name: another S-CSCF has it");
            }
            servers.push(ScscfEntry { name, hop, capabilities: raw.capabilities.clone() });
        }
        if servers.is_empty() {
            return self.fault(raw.span(), "[[icscf.scscf]]: one at least");
        }
        Ok(Some(Icscf { listen, servers, within }))
    }
}
