//! Which S-CSCF gets a user (TS 29.228 §6.7, TS 24.229 §5.3.1.2).

use super::ScscfEntry;
use crate::hss::Located;
use crate::sip::Uri;
use std::cmp::Reverse;

/// The configured S-CSCFs that would do, best first, as places in `servers`: the one assigned and no other; else those that
/// have all mandatory capabilities, those that the HSS prefers before the rest, then by the number of optional ones.
pub fn candidates(located: &Located, servers: &[ScscfEntry]) -> Vec<usize> {
    if let Some(assigned) = &located.server {
        return servers.iter().position(|server| is_named(server, assigned)).into_iter().collect();
    }
    let wanted = &located.capabilities;
    let mut fit: Vec<usize> = (0..servers.len())
        .filter(|at| {
            servers.get(*at).is_some_and(|server| {
                let preferred = wanted.servers.iter().any(|name| is_named(server, name));
                preferred || wanted.mandatory.iter().all(|one| server.capabilities.contains(one))
            })
        })
        .collect();
    fit.sort_by_key(|at| {
        let server = servers.get(*at);
        let place = wanted.servers.iter().position(|name| server.is_some_and(|server| is_named(server, name)));
        let extra =
            server.map_or(0, |server| wanted.optional.iter().filter(|one| server.capabilities.contains(one)).count());
        // A stable sort: the operator's order decides what is left.
        (place.unwrap_or(usize::MAX), Reverse(extra))
    });
    fit
}

/// By the URI's own rules of comparison (RFC 3261 §19.1.4).
fn is_named(server: &ScscfEntry, name: &str) -> bool {
    match (Uri::parse(server.name.as_bytes()), Uri::parse(name.as_bytes())) {
        (Ok(ours), Ok(theirs)) => ours.equivalent(&theirs),
        _ => server.name == name,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hss::Capabilities;

    fn servers() -> Vec<ScscfEntry> {
        [("sip:one.home1.net:6060", &[1, 2][..]), ("sip:two.home1.net", &[1, 3, 4]), ("sip:three.home1.net", &[1, 3])]
            .map(|(name, able)| ScscfEntry { name: name.into(), hop: None, capabilities: able.to_vec() })
            .into()
    }

    fn wanted(mandatory: &[u32], optional: &[u32], names: &[&str]) -> Located {
        let servers = names.iter().map(|name| (*name).to_owned()).collect();
        Located {
            server: None,
            capabilities: Capabilities { mandatory: mandatory.into(), optional: optional.into(), servers },
        }
    }

    #[test]
    fn the_assigned_one_and_no_other() {
        let assigned = |name: &str| Located { server: Some(name.into()), ..Located::default() };
        assert_eq!(candidates(&assigned("sip:TWO.home1.net"), &servers()), [1], "hosts in any case");
        assert_eq!(candidates(&assigned("sip:elsewhere.net"), &servers()), Vec::<usize>::new());
    }

    #[test]
    fn by_capabilities() {
        assert_eq!(candidates(&wanted(&[], &[], &[]), &servers()), [0, 1, 2], "as configured");
        assert_eq!(candidates(&wanted(&[1, 3], &[], &[]), &servers()), [1, 2]);
        assert_eq!(candidates(&wanted(&[1], &[2, 3, 4], &[]), &servers()), [1, 0, 2]);
        assert_eq!(candidates(&wanted(&[9], &[], &[]), &servers()), Vec::<usize>::new());
    }

    #[test]
    fn the_hss_prefers() {
        let prefers = wanted(&[1], &[4], &["sip:three.home1.net", "sip:one.home1.net:6060"]);
        assert_eq!(candidates(&prefers, &servers()), [2, 0, 1]);
    }
}
