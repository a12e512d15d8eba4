//! What a node of a cluster knows of it: the answer to `CLUSTER NODES`.
//!
//! That one rather than `CLUSTER SLOTS`, because it tells the configuration epoch by which each master has its slots: of
//! two nodes that contradict one another the one with the higher epoch is right, and one that a partition has cut off
//! cannot lead anybody back to a master that was.

use super::address::Address;
use super::key::{BUCKETS, Bucket, slot};

/// One master with slots, or a replica or master without.
#[derive(Debug, PartialEq)]
pub(super) struct Member {
    pub(super) address: Address,
    pub(super) epoch: u64,
    slots: Vec<(u16, u16)>,
}

/// Reads the whole answer of the node at `asked`; lines that nobody could act upon are left out.
pub(super) fn parse(text: &str, asked: &Address) -> Vec<Member> {
    text.lines().filter_map(|line| member(line, asked)).collect()
}

/// `id ip:port@bus[,hostname[,…]] flags master ping pong epoch link slot…`
fn member(line: &str, asked: &Address) -> Option<Member> {
    let mut words = line.split(' ');
    let (place, flags) = (words.nth(1)?, words.next()?);
    let epoch = words.nth(3)?.parse().ok()?;
    let flag = |name: &str| flags.split(',').any(|flag| flag == name);
    if flag("noaddr") || flag("handshake") {
        return None;
    }
    let (endpoint, more) = place.split_once('@')?;
    let hostname = more.split(',').nth(1).filter(|name| !name.contains('=')).unwrap_or_default();
    let address = Address::parse_beside(endpoint, asked)?.named(hostname);
    // A slot on the way elsewhere stands in brackets: it is still where it was.
    let slots = words.skip(1).filter(|word| !word.starts_with('[')).filter_map(range);
    let slots = if flag("master") { slots.collect() } else { Vec::new() };
    Some(Member { address, epoch, slots })
}

fn range(word: &str) -> Option<(u16, u16)> {
    let (first, last) = word.split_once('-').unwrap_or((word, word));
    Some((first.parse().ok()?, last.parse().ok()?))
}

impl Member {
    pub(super) fn buckets(&self) -> impl Iterator<Item = Bucket> {
        let has = |slot: u16| self.slots.iter().any(|(first, last)| (*first..=*last).contains(&slot));
        (0..BUCKETS).map(|bucket| bucket as Bucket).filter(move |bucket| has(slot(*bucket)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_answers_of_several_releases_are_read() {
        let asked = Address::new("10.0.0.9", 7000);
        let text = "\
07c37df 127.0.0.1:30004@31004,hostname4 slave e7d1 0 1426238317239 4 connected
67ed2db 127.0.0.1:30002@31002,hostname2,shard-id=69bc master - 0 1426238316232 2 connected 5461-10922
292f8b3 :30003@31003,,tls-port=0 myself,master - 0 0 3 connected 10923-16381 16383 [77->-67ed2db]
6ec2392 127.0.0.1:30001@31001 master,fail - 1426238316232 1426238316232 1 disconnected 0-5460
824fe11 :0@0 master,fail,noaddr - 1426238316232 1426238316232 0 disconnected
nonsense";
        let members = parse(text, &asked);
        let told: Vec<_> = members.iter().map(|m| (m.address.to_string(), m.epoch, m.slots.clone())).collect();
        assert_eq!(
            told,
            [
                ("127.0.0.1:30004".to_string(), 4, vec![]),
                ("127.0.0.1:30002".to_string(), 2, vec![(5461, 10922)]),
                ("10.0.0.9:30003".to_string(), 3, vec![(10923, 16381), (16383, 16383)]),
                ("127.0.0.1:30001".to_string(), 1, vec![(0, 5460)]),
            ]
        );
        let buckets: usize = members.iter().map(|member| member.buckets().count()).sum();
        assert_eq!(buckets, BUCKETS);
    }
}
