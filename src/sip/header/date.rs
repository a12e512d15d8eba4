//! The one form of a Date field: `Sat, 13 Nov 2010 23:29:00 GMT` (RFC 3261 §20.17).
use crate::sip::scan::decimal;

const DAYS: [&[u8]; 7] = [b"Mon", b"Tue", b"Wed", b"Thu", b"Fri", b"Sat", b"Sun"];
const MONTHS: [&[u8]; 12] =
    [b"Jan", b"Feb", b"Mar", b"Apr", b"May", b"Jun", b"Jul", b"Aug", b"Sep", b"Oct", b"Nov", b"Dec"];

pub(crate) fn is_date(value: &[u8]) -> bool {
    let at = |from: usize, to: usize| value.get(from..to).unwrap_or_default();
    let number = |from, to, max| decimal(at(from, to)).is_some_and(|n| n <= max);
    value.len() == 29
        && DAYS.contains(&at(0, 3))
        && at(3, 5) == b", "
        && number(5, 7, 31)
        && MONTHS.contains(&at(8, 11))
        && number(12, 16, 9999)
        && number(17, 19, 23)
        && number(20, 22, 59)
        && number(23, 25, 60)
        && [at(7, 8), at(11, 12), at(16, 17)].iter().all(|s| *s == b" ")
        && [at(19, 20), at(22, 23)].iter().all(|s| *s == b":")
        && at(25, 29) == b" GMT"
}

#[cfg(test)]
mod tests {
    use super::is_date;

    #[test]
    fn only_gmt() {
        assert!(is_date(b"Sat, 13 Nov 2010 23:29:00 GMT"));
        assert!(is_date(b"Sat, 15 Oct 2005 04:44:56 GMT"));
        for bad in [
            "Fri, 01 Jan 2010 16:00:00 EST",
            "",
            "Sat, 13 Nov 2010 24:29:00 GMT",
            "Sat, 1 Nov 2010 23:29:00 GMT ",
            "Sat, 13 nov 2010 23:29:00 GMT",
        ] {
            assert!(!is_date(bad.as_bytes()), "{bad}");
        }
    }
}
