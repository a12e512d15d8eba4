//! Zn of this node: the BSF's side where NAFs are configured, the broadcast role's where it knows a BSF. A key goes over
//! Diameter as it does over SIP: protected, over loopback, or where the operator says in words that plaintext will do.

use super::StartError;
use crate::broadcast::peer::KeyTransport;
use crate::broadcast::zn::Zn;
use crate::clock::Clock;
use crate::config::{self, Config};
use crate::diameter::exchange::Serve;
use crate::diameter::node::{Endpoint, Prepared};
use crate::gba::zn::Bsf;
use crate::hss::Hss;
use crate::registrar::Shared;
use std::sync::Arc;

fn protected(endpoints: &[Endpoint], keys: KeyTransport, what: &str) -> Result<(), StartError> {
    // Of any other name, nobody knows where it leads.
    let here = |endpoint: &Endpoint| match &endpoint.name {
        Some(name) => name == "localhost",
        None => endpoint.addr.ip().to_canonical().is_loopback(),
    };
    let open = |endpoint: &&Endpoint| !endpoint.is_tls() && !here(endpoint);
    match endpoints.iter().find(open).filter(|_| keys != KeyTransport::PlaintextAllowed) {
        Some(endpoint) => Err(StartError::Config(format!(
            "{what}: no key over {endpoint}: it needs tls, or loopback, or keys = \"plaintext-allowed\""
        ))),
        None => Ok(()),
    }
}

/// Who answers NAFs; None: no NAF may ask.
pub(super) fn bsf(
    config: &Config,
    diameter: Option<&Prepared>,
    shared: &Arc<Shared>,
    hss: &Arc<dyn Hss>,
) -> Result<Option<Arc<dyn Serve>>, StartError> {
    if config.nafs.is_empty() {
        return Ok(None);
    }
    if diameter.is_none() {
        return Err(StartError::Config(
            "[[bsf.naf]]: nobody can ask, this node speaks no Diameter ([diameter])".into(),
        ));
    }
    protected(&config.diameter.listen, config.bsf_keys, "[bsf]")?;
    Ok(Some(Arc::new(Bsf {
        origin: config.diameter.origin(&config.domain, config.foreign_hss.is_some()),
        nafs: config.nafs.as_slice().into(),
        find: shared.clone(),
        hss: hss.clone(),
        clock: shared.clock,
    })))
}

/// The broadcast role's way to the BSF; None: in SIP only.
pub(super) fn naf(
    config: &Config,
    bsm: &config::Bsm,
    diameter: Option<&Prepared>,
    clock: Clock,
) -> Result<Option<Arc<Zn>>, StartError> {
    let Some(diameter) = diameter.filter(|_| !bsm.bsf.is_empty()) else { return Ok(None) };
    protected(&bsm.bsf, bsm.key_transport, "[bsm] bsf")?;
    let origin = config.diameter.origin(&config.domain, config.foreign_hss.is_some());
    Ok(Some(Arc::new(Zn::new(diameter.exchange(), origin, None, clock.now().unix.as_secs()))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn claim_1_negative_no_key_over_plaintext_beyond_the_machine() {
        let reach = |text: &str, keys| protected(&[text.parse().unwrap()], keys, "x").is_ok();
        for (text, fits) in [
            ("tcp:127.0.0.1:1", true),
            ("tcp:[::1]:1", true),
            ("tls:192.0.2.1:1", true),
            ("tcp:localhost", true),
            ("tcp:bsf.home1.net", false),
            ("tcp:192.0.2.1:1", false),
        ] {
            assert_eq!(reach(text, KeyTransport::MutualTls), fits, "{text}");
            assert!(reach(text, KeyTransport::PlaintextAllowed));
        }
        assert!(!reach("tcp:0.0.0.0:1", KeyTransport::MutualTls), "also open to others");
    }
}
