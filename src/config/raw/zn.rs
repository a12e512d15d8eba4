//! Zn in the file: `[[bsf.naf]]`, who may ask the BSF, and the broadcast role's way to a BSF.

use super::*;
use crate::broadcast::server::Retrieval;
use crate::diameter::node::Endpoint;
use crate::gba::zn::Naf;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawNaf {
    host: Spanned<String>,
    #[serde(default)]
    via: Vec<Spanned<String>>,
    fqdns: Option<Vec<Spanned<String>>>,
    #[serde(default)]
    user_name: bool,
    #[serde(default)]
    services: Vec<String>,
    #[serde(default)]
    required: Vec<String>,
    group: Option<String>,
}

impl Raw {
    /// The NAFs that may have keys over Zn.
    pub(super) fn nafs(&self, roles: Roles) -> Result<Vec<Naf>, ConfigError> {
        let mut nafs: Vec<Naf> = Vec::new();
        for raw in &self.bsf.naf {
            if !roles.bsf {
                return self.fault(raw.host.span(), "[[bsf.naf]]: this node has no bsf role");
            }
            let host = self.read(&raw.host, diameter::identity)?;
            if nafs.iter().any(|naf| naf.host.eq_ignore_ascii_case(&host)) {
                return self.fault(raw.host.span(), "host: another NAF has it");
            }
            let fqdns = match &raw.fqdns {
                Some(list) => self.read_all(list, |text| naf_fqdn(text).map(|naf| naf.fqdn().to_owned()))?,
                None => vec![self.read(&raw.host, |text| naf_fqdn(text).map(|naf| naf.fqdn().to_owned()))?],
            };
            nafs.push(Naf {
                host,
                via: self.read_all(&raw.via, diameter::identity)?,
                fqdns,
                user_name: raw.user_name,
                services: raw.services.clone(),
                required: raw.required.clone(),
                group: raw.group.clone(),
            });
        }
        Ok(nafs)
    }

    /// Where the broadcast role's BSF is, and how it is asked.
    pub(super) fn retrieval(&self, raw: &RawBsm) -> Result<(Vec<Endpoint>, Retrieval), ConfigError> {
        let mut bsf = self.read_all(&raw.bsf, |text| text.parse::<Endpoint>())?;
        for endpoint in bsf.iter_mut().filter(|endpoint| endpoint.is_tls()) {
            endpoint.tls_name = raw.bsf_tls_name.clone().or(endpoint.tls_name.take());
        }
        let Some(text) = &raw.key_retrieval else { return Ok((bsf, Retrieval::Sip)) };
        let retrieval =
            self.read(text, |text| Retrieval::named(text).ok_or("key_retrieval: \"sip\", \"zn\" or \"zn-else-sip\""))?;
        if retrieval != Retrieval::Sip && bsf.is_empty() {
            return self.fault(text.span(), "key_retrieval: needs bsf, the BSF's Diameter address");
        }
        Ok((bsf, retrieval))
    }
}
