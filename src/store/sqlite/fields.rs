//! The fields of an entity in one piece, as they lie in the column `fields`: for each the length of its name (2 octets),
//! that of its value (4), both big endian, then name and value; in order of the names.

pub(super) type Fields = Vec<(Box<str>, Box<[u8]>)>;
type Changes = [(Box<str>, Option<Box<[u8]>>)];

/// None: the octets are none of ours.
pub(super) fn read(mut octets: &[u8]) -> Option<Fields> {
    let mut fields = Fields::new();
    while !octets.is_empty() {
        let (name, rest) = octets.split_first_chunk::<2>()?;
        let (value, rest) = rest.split_first_chunk::<4>()?;
        let (name, rest) = rest.split_at_checked(u16::from_be_bytes(*name).into())?;
        let (value, rest) = rest.split_at_checked(u32::from_be_bytes(*value).try_into().ok()?)?;
        fields.push((std::str::from_utf8(name).ok()?.into(), value.into()));
        octets = rest;
    }
    fields.is_sorted_by(|(a, _), (b, _)| a < b).then_some(fields)
}

/// `old` with `changes` in it, in one piece.
pub(super) fn written(old: &Fields, changes: &Changes) -> Vec<u8> {
    let mut all: Vec<(&str, &[u8])> = old.iter().map(|(name, value)| (&**name, &**value)).collect();
    for (name, value) in changes {
        match (all.binary_search_by(|(held, _)| (*held).cmp(name)), value) {
            (Ok(at), Some(value)) => all[at].1 = value,
            (Ok(at), None) => _ = all.remove(at),
            (Err(at), Some(value)) => all.insert(at, (name, value)),
            (Err(_), None) => {}
        }
    }
    let mut octets = Vec::with_capacity(all.iter().map(|(name, value)| 6 + name.len() + value.len()).sum());
    for (name, value) in all {
        // `Save::check` has seen to it that both lengths fit.
        octets.extend_from_slice(&u16::try_from(name.len()).unwrap_or(u16::MAX).to_be_bytes());
        octets.extend_from_slice(&u32::try_from(value.len()).unwrap_or(u32::MAX).to_be_bytes());
        octets.extend_from_slice(name.as_bytes());
        octets.extend_from_slice(value);
    }
    octets
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_read_as_they_were_written_and_nothing_else_is() {
        let change = |name: &str, value: Option<&[u8]>| (Box::from(name), value.map(Box::from));
        let octets = written(&Vec::new(), &[change("b", Some(b"2")), change("a", Some(b"")), change("x", None)]);
        let fields = read(&octets).unwrap();
        assert_eq!(fields, [("a".into(), Box::from(*b"")), ("b".into(), Box::from(*b"2"))]);
        assert_eq!(written(&fields, &[]), octets);
        assert!(written(&fields, &[change("a", None), change("b", None)]).is_empty());
        for cut in 1..octets.len() {
            assert!(read(&octets[..cut]).is_none_or(|fields| fields.len() == 1));
        }
        assert!(read(&[octets.clone(), octets].concat()).is_none(), "names out of order");
        assert!(read(&[0, 1, 0, 0, 0, 0, 0xff]).is_none());
    }
}
