//! Names in Redis: `<prefix>:{<bucket>}:<class>:<name>`.
//!
//! A cluster puts a key where the part in braces says. It is one of 256 buckets, taken from the entity's name, so that
//! all entities of a name lie on one shard, and with them the list of what of the bucket is due: one script may change
//! an entity and its place in that list.

use super::super::{Class, Key};
use std::fmt::Write;

pub(super) const BUCKETS: usize = 256;

/// One of [`BUCKETS`].
pub(super) type Bucket = u8;

/// FNV-1a, folded: it must never change, what is stored lies by it.
pub(super) fn bucket(name: &str) -> Bucket {
    let hash = name.bytes().fold(0x811c_9dc5_u32, |hash, octet| (hash ^ u32::from(octet)).wrapping_mul(0x0100_0193));
    let hash = hash ^ (hash >> 16);
    (hash ^ (hash >> 8)) as Bucket
}

/// Slot of a cluster in which a bucket lies: CRC-16 of what stands in the braces, modulo 16384.
pub(super) fn slot(bucket: Bucket) -> u16 {
    let crc = bucket.to_string().bytes().fold(0_u16, |crc, octet| {
        (0..8).fold(
            crc ^ (u16::from(octet) << 8),
            |crc, _| {
                if crc & 0x8000 == 0 { crc << 1 } else { (crc << 1) ^ 0x1021 }
            },
        )
    });
    crc % 16384
}

/// The names under a prefix.
pub(super) struct Names {
    pub(super) prefix: Box<str>,
}

impl Names {
    /// What all names of a bucket begin with.
    pub(super) fn bucket(&self, bucket: Bucket) -> String {
        format!("{}:{{{bucket}}}:", self.prefix)
    }

    pub(super) fn entity(&self, key: &Key) -> String {
        let mut text = String::with_capacity(self.prefix.len() + 24 + key.name.len());
        let bucket = bucket(&key.name);
        let _ = write!(text, "{}:{{{bucket}}}:{}:{}", self.prefix, key.class.as_str(), key.name);
        text
    }

    /// Sorted set of the bucket's entities that are due some time.
    pub(super) fn due(&self, bucket: Bucket) -> String {
        format!("{}:{{{bucket}}}:due", self.prefix)
    }

    /// A value that is there as long as nobody has emptied the server.
    pub(super) fn marker(&self, bucket: Bucket) -> String {
        format!("{}:{{{bucket}}}:marker", self.prefix)
    }

    /// Pattern of all entities of a class.
    pub(super) fn pattern(&self, class: Class) -> String {
        format!("{}:{{*}}:{}:*", self.prefix, class.as_str())
    }

    /// The entity behind a name that [`Names::pattern`] found.
    pub(super) fn parse(&self, text: &str) -> Option<Key> {
        let rest = text.strip_prefix(&*self.prefix)?.strip_prefix(":{")?;
        member(rest.split_once("}:")?.1)
    }
}

/// How an entity is called within its bucket.
pub(super) fn member_of(key: &Key) -> String {
    let mut text = String::with_capacity(20 + key.name.len());
    text.push_str(key.class.as_str());
    text.push(':');
    text.push_str(&key.name);
    text
}

/// The entity of that name.
pub(super) fn member(text: &str) -> Option<Key> {
    let (class, name) = text.split_once(':')?;
    Some(Key::new(Class::parse(class)?, name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slots_are_those_of_the_cluster_specification() {
        // CLUSTER KEYSLOT 0, 1, 255 of a server.
        assert_eq!([slot(0), slot(1), slot(255)], [13907, 9842, 14163]);
    }

    #[test]
    fn buckets_never_change_and_names_spread_over_them() {
        assert_eq!([bucket("alice@home1.net"), bucket("bob@home1.net")], [92, 89]);
        let mut filled = [0_u32; BUCKETS];
        for number in 0..25_600 {
            filled[usize::from(bucket(&format!("26201{number:010}@ims.example")))] += 1;
        }
        assert!(filled.iter().all(|count| (50..=180).contains(count)), "{filled:?}");
    }

    #[test]
    fn a_name_is_read_as_it_is_written() {
        let names = Names { prefix: "net-1".into() };
        for name in ["alice@home1.net", "sip:{x}:y", "}:", ":"] {
            let key = Key::new(Class::PublicIdentity, name);
            assert_eq!(names.parse(&names.entity(&key)), Some(key.clone()));
            assert_eq!(member(&member_of(&key)), Some(key));
        }
        assert_eq!(names.parse("net-1:{3}:due"), None);
        assert_eq!(names.parse("net-2:{3}:user:x"), None);
    }
}
