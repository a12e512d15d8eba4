//! Durations and sizes as they are written in manifests and configurations: `"5 ms"`, `"4 MiB"` (rank 1).

use std::time::Duration;

/// `"250 ms"`, `"30 s"`, `"1.5 min"`, `"2 h"`, `"7 d"`; the space may be left out.
pub fn duration(text: &str) -> Result<Duration, String> {
    let refuse = || {
        format!(
            "{}: expected a duration such as \"250 ms\", \"30 s\", \"5 min\", \"2 h\" or \"1 d\"",
            super::finding::quoted(text)
        )
    };
    let (number, unit) = split(text).ok_or_else(refuse)?;
    let seconds = match unit {
        "ms" => 0.001,
        "s" => 1.0,
        "min" => 60.0,
        "h" => 3600.0,
        "d" => 86_400.0,
        _ => return Err(refuse()),
    };
    let millis = (number * seconds * 1000.0).round();
    if millis > 1e15 {
        return Err(refuse());
    }
    // Bounded just above, and never negative: split() takes no sign.
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
    Ok(Duration::from_millis(millis as u64))
}

/// `"512 KiB"`, `"4 MiB"`, `"1 GiB"`, in octets.
pub fn size(text: &str) -> Result<u64, String> {
    let refuse = || format!("{}: expected a size such as \"64 KiB\" or \"4 MiB\"", super::finding::quoted(text));
    let (number, unit) = split(text).ok_or_else(refuse)?;
    let octets = match unit {
        "KiB" => 1024.0,
        "MiB" => 1024.0 * 1024.0,
        "GiB" => 1024.0 * 1024.0 * 1024.0,
        _ => return Err(refuse()),
    };
    let total = (number * octets).round();
    if total > 1e15 {
        return Err(refuse());
    }
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
    Ok(total as u64)
}

fn split(text: &str) -> Option<(f64, &str)> {
    let at = text.find(|c: char| !c.is_ascii_digit() && c != '.')?;
    let (digits, unit) = text.split_at_checked(at)?;
    Some((digits.parse().ok()?, unit.trim()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations() {
        for (text, millis) in
            [("250 ms", 250), ("30s", 30_000), ("1.5 min", 90_000), ("2h", 7_200_000), ("1 d", 86_400_000), ("0 s", 0)]
        {
            assert_eq!(duration(text), Ok(Duration::from_millis(millis)), "{text}");
        }
        for text in ["", "5", "s", "-1 s", "1e3 s", "1.2.3 s", "5 sec", "9999999999999999999999 d", "5 s s", "NaN s"] {
            assert!(duration(text).unwrap_err().contains("expected a duration"), "{text}");
        }
    }

    #[test]
    fn sizes() {
        assert_eq!([size("1 KiB"), size("4MiB"), size("1.5 GiB")], [Ok(1024), Ok(4 << 20), Ok(3 << 29)]);
        for text in ["", "4", "4 MB", "4 mib", "-1 KiB", "99999999999999 GiB"] {
            assert!(size(text).unwrap_err().contains("expected a size"), "{text}");
        }
    }
}
