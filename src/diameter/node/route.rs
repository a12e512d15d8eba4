//! Which peer a request goes to (RFC 6733 §6.1.4, §6.1.6).

use crate::diameter::exchange::Destination;
use crate::diameter::peer::{Capabilities, Standing};

/// What counts of a peer.
pub(super) struct Candidate<'a> {
    pub(super) id: u64,
    pub(super) standing: Standing,
    /// A request of ours was not answered since it was last heard of.
    pub(super) doubtful: bool,
    pub(super) full: bool,
    /// What it is asked, where that is configured.
    pub(super) asked: &'a [u32],
    pub(super) remote: &'a Capabilities,
}

#[derive(Debug, PartialEq, Eq)]
pub(super) enum Choice {
    Peer(u64),
    /// There are some, and all of them have as many requests as they may.
    Full,
    None,
}

/// The best of `candidates`, which come in the order of the configuration, those that have connected last. A peer that
/// is suspect is never asked, one on probation where there is no other.
pub(super) fn choose<'a>(
    to: &Destination,
    tried: &[u64],
    candidates: impl Iterator<Item = Candidate<'a>> + Clone,
) -> Choice {
    let fit = candidates.filter(|one| {
        one.standing >= Standing::Probation
            && !tried.contains(&one.id)
            && one.remote.speaks(to.application)
            && (one.asked.is_empty() || one.asked.contains(&to.application))
    });
    let place = |one: &Candidate<'_>| match (&to.host, &to.realm) {
        (Some(host), _) if one.remote.is_host(host) => Some(0),
        // Only a relay takes on what is for another host; a host of the same realm would refuse it.
        (Some(_), _) => one.remote.is_relay().then_some(1),
        (None, Some(realm)) if one.remote.realm.eq_ignore_ascii_case(realm) => Some(0),
        (None, Some(_)) => one.remote.is_relay().then_some(1),
        (None, None) => Some(0),
    };
    let mut full = false;
    let mut best: Option<((u8, bool, bool), u64)> = None;
    for one in fit {
        let Some(place) = place(&one) else { continue };
        if one.full {
            full = true;
            continue;
        }
        let rank = (place, one.standing == Standing::Probation, one.doubtful);
        if best.is_none_or(|(found, _)| rank < found) {
            best = Some((rank, one.id));
        }
    }
    match best {
        Some((_, id)) => Choice::Peer(id),
        None if full => Choice::Full,
        None => Choice::None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diameter::dictionary::application::{CX, RELAY, SH};

    fn remote(host: &str, realm: &str, applications: &[u32]) -> Capabilities {
        let applications = applications.to_vec();
        Capabilities { host: host.into(), realm: realm.into(), product: None, state_id: None, applications }
    }

    fn to(host: Option<&str>, realm: Option<&str>) -> Destination {
        Destination { application: CX, host: host.map(Into::into), realm: realm.map(Into::into) }
    }

    #[test]
    fn the_first_that_is_up_and_speaks_it_is_asked() {
        let remotes = [
            remote("sh.a", "a", &[SH]),
            remote("one.a", "a", &[CX]),
            remote("two.a", "a", &[CX, SH]),
            remote("one.b", "b", &[CX]),
            remote("relay.c", "c", &[RELAY]),
        ];
        let pick = |to: &Destination, tried: &[u64], change: &dyn Fn(&mut Candidate<'_>)| {
            let all = remotes.iter().enumerate().map(|(id, remote)| {
                let mut one = Candidate {
                    id: id as u64,
                    standing: Standing::Up,
                    doubtful: false,
                    full: false,
                    asked: &[],
                    remote,
                };
                change(&mut one);
                one
            });
            choose(to, tried, all)
        };
        let any = to(None, None);
        assert_eq!(pick(&any, &[], &|_| ()), Choice::Peer(1));
        assert_eq!(pick(&any, &[1], &|_| ()), Choice::Peer(2), "it has had it");
        assert_eq!(pick(&any, &[], &|one| one.doubtful = one.id == 1), Choice::Peer(2));
        let probation = |one: &mut Candidate<'_>| {
            one.standing = if one.id < 3 { Standing::Probation } else { Standing::Up };
        };
        assert_eq!(pick(&any, &[], &probation), Choice::Peer(3));
        assert_eq!(pick(&any, &[], &|one| one.standing = Standing::Probation), Choice::Peer(1), "no other is there");
        assert_eq!(pick(&any, &[], &|one| one.standing = Standing::Suspect), Choice::None);
        assert_eq!(pick(&any, &[], &|one| one.full = true), Choice::Full);
        assert_eq!(pick(&any, &[], &|one| one.full = one.id < 4), Choice::Peer(4));
        assert_eq!(pick(&any, &[], &|one| one.asked = if one.id == 1 { &[SH] } else { &[] }), Choice::Peer(2));
        assert_eq!(pick(&to(None, Some("B")), &[], &|_| ()), Choice::Peer(3));
        assert_eq!(pick(&to(None, Some("d")), &[], &|_| ()), Choice::Peer(4), "a relay may know the way");
        assert_eq!(pick(&to(Some("TWO.a"), None), &[], &|_| ()), Choice::Peer(2));
        assert_eq!(pick(&to(Some("three.a"), Some("a")), &[], &|_| ()), Choice::Peer(4));
        assert_eq!(pick(&to(Some("three.a"), Some("a")), &[4], &|_| ()), Choice::None);
    }
}
