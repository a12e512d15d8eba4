//! xs:dateTime in UTC (RFC 3339): the lifetime in key documents and bootstrapping information; and the dates of HTTP.

const DAY: u64 = 86_400;

/// `2026-01-01T00:00:00Z` for seconds since 1970. Years beyond 9999 are written as the last second of 9999.
pub fn format(unix: u64) -> String {
    let unix = unix.min(253_402_300_799);
    let (year, month, day) = civil_from_days(unix / DAY);
    let second = unix % DAY;
    let mut text = String::with_capacity(20);
    two_digits(&mut text, year / 100);
    for (sign, number) in [
        (None, year % 100),
        (Some('-'), month),
        (Some('-'), day),
        (Some('T'), second / 3600),
        (Some(':'), second / 60 % 60),
        (Some(':'), second % 60),
    ] {
        text.extend(sign);
        two_digits(&mut text, number);
    }
    text.push('Z');
    text
}

fn two_digits(text: &mut String, number: u64) {
    let digit = |number: u64| char::from(b'0' + (number % 10) as u8);
    text.push(digit(number / 10));
    text.push(digit(number));
}

/// `Thu, 01 Jan 2026 00:00:00 GMT` (RFC 9110 §5.6.7), for the same years.
pub fn format_http(unix: u64) -> String {
    const DAYS: [&str; 7] = ["Thu", "Fri", "Sat", "Sun", "Mon", "Tue", "Wed"]; // 1970 began with a Thursday
    const MONTHS: [&str; 12] = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let unix = unix.min(253_402_300_799);
    let (year, month, day) = civil_from_days(unix / DAY);
    let name = |names: &[&'static str], at: u64| usize::try_from(at).ok().and_then(|at| names.get(at)).copied();
    let (weekday, month) = (name(&DAYS, unix / DAY % 7), name(&MONTHS, month.saturating_sub(1)));
    let second = unix % DAY;
    format!(
        "{}, {day:02} {} {year:04} {:02}:{:02}:{:02} GMT",
        weekday.unwrap_or_default(),
        month.unwrap_or_default(),
        second / 3600,
        second / 60 % 60,
        second % 60
    )
}

/// Seconds since 1970. A zone (`Z`, `+hh:mm`, `-hh:mm`) is required: an instant without one is no instant.
/// Fractions of a second are dropped. None: not a dateTime, or before 1970.
pub fn parse(text: &str) -> Option<u64> {
    let bytes = text.trim().as_bytes();
    let (date_time, rest) = bytes.split_at_checked(19)?;
    for (at, want) in [(4, b'-'), (7, b'-'), (10, b'T'), (13, b':'), (16, b':')] {
        if date_time.get(at) != Some(&want) {
            return None;
        }
    }
    let field = |from: usize, to: usize| number(date_time.get(from..to)?);
    let (year, month, day) = (field(0, 4)?, field(5, 7)?, field(8, 10)?);
    let (hour, minute, second) = (field(11, 13)?, field(14, 16)?, field(17, 19)?);
    // 23:59:60 is a leap second; it counts as the second after 23:59:59.
    if !(1..=12).contains(&month) || day < 1 || day > days_in(year, month) || hour > 23 || minute > 59 || second > 60 {
        return None;
    }
    let local = days_from_civil(year, month, day)?.checked_mul(DAY)?.checked_add(hour * 3600 + minute * 60 + second)?;

    let mut zone = rest;
    if let Some(fraction) = zone.strip_prefix(b".") {
        let digits = fraction.iter().take_while(|octet| octet.is_ascii_digit()).count();
        if digits == 0 {
            return None;
        }
        zone = fraction.get(digits..)?;
    }
    match zone {
        b"Z" => Some(local),
        [sign @ (b'+' | b'-'), h1, h2, b':', m1, m2] => {
            let (hours, minutes) = (number(&[*h1, *h2])?, number(&[*m1, *m2])?);
            if hours > 14 || minutes > 59 {
                return None;
            }
            let offset = hours * 3600 + minutes * 60;
            if *sign == b'+' { local.checked_sub(offset) } else { local.checked_add(offset) }
        }
        _ => None,
    }
}

fn number(digits: &[u8]) -> Option<u64> {
    digits.iter().try_fold(0u64, |value, digit| digit.is_ascii_digit().then(|| value * 10 + u64::from(digit - b'0')))
}

fn is_leap(year: u64) -> bool {
    year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400))
}

fn days_in(year: u64, month: u64) -> u64 {
    match month {
        2 if is_leap(year) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// Days before 1 January of `year`, counted from 1 January of year 1.
fn days_before_year(year: u64) -> Option<u64> {
    let past = year.checked_sub(1)?;
    Some(past * 365 + past / 4 - past / 100 + past / 400)
}

/// 1 January 1970, in days from 1 January of year 1.
const EPOCH: u64 = 719_162;

fn days_from_civil(year: u64, month: u64, day: u64) -> Option<u64> {
    let before_month: u64 = (1..month).map(|earlier| days_in(year, earlier)).sum();
    (days_before_year(year)? + before_month + day - 1).checked_sub(EPOCH)
}

/// Year, month and day of the day that is so many after 1970-01-01.
pub fn civil_from_days(days: u64) -> (u64, u64, u64) {
    // 400 years have 146 097 days; the estimate is at most one year off.
    let mut year = 1 + (days + EPOCH) * 400 / 146_097;
    while days_before_year(year).is_some_and(|start| start > days + EPOCH) {
        year -= 1;
    }
    while days_before_year(year + 1).is_some_and(|start| start <= days + EPOCH) {
        year += 1;
    }
    let mut day = days + EPOCH - days_before_year(year).unwrap_or(0);
    let mut month = 1;
    while day >= days_in(year, month) {
        day -= days_in(year, month);
        month += 1;
    }
    (year, month, day + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_instants() {
        for (unix, text) in [
            (0, "1970-01-01T00:00:00Z"),
            (951_782_400, "2000-02-29T00:00:00Z"),
            (1_767_225_600, "2026-01-01T00:00:00Z"),
            (1_798_761_599, "2026-12-31T23:59:59Z"),
            (4_107_542_400, "2100-03-01T00:00:00Z"),
            (253_402_300_799, "9999-12-31T23:59:59Z"),
        ] {
            assert_eq!(format(unix), text);
            assert_eq!(parse(text), Some(unix));
        }
        assert_eq!(format(u64::MAX), "9999-12-31T23:59:59Z");
        assert_eq!(format_http(784_111_777), "Sun, 06 Nov 1994 08:49:37 GMT");
        assert_eq!(format_http(1_767_225_600), "Thu, 01 Jan 2026 00:00:00 GMT");
    }

    #[test]
    fn every_day_of_four_centuries_round_trips() {
        for day in 0..146_097 {
            assert_eq!(parse(&format(day * DAY + 1)), Some(day * DAY + 1));
        }
    }

    #[test]
    fn zones_and_fractions() {
        assert_eq!(parse("2026-01-01T02:00:00+02:00"), Some(1_767_225_600));
        assert_eq!(parse("2025-12-31T19:30:00.25-04:30"), Some(1_767_225_600));
    }

    #[test]
    fn refused() {
        for text in [
            "",
            "2026-01-01",
            "2026-01-01T00:00:00",
            "2026-02-29T00:00:00Z",
            "2026-13-01T00:00:00Z",
            "2026-01-01T24:00:00Z",
            "1969-12-31T23:59:59Z",
            "0000-01-01T00:00:00Z",
            "2026-01-01T00:00:00.Z",
            "2026-01-01T00:00:00+99:00",
            "1970-01-01T00:00:00+01:00",
            "٢٠٢٦-01-01T00:00:00Z",
            "2026-01-01 00:00:00Z",
        ] {
            assert_eq!(parse(text), None, "{text}");
        }
    }
}
