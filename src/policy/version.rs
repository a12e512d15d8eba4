//! Versions of plugins and of this server, compared by the rules of semver.org 2.0.0 §11 (rank 1).

use std::cmp::Ordering;
use std::fmt;
use std::str::FromStr;

#[derive(Debug, Clone)]
pub struct Version {
    pub major: u64,
    pub minor: u64,
    pub patch: u64,
    /// What follows the `-`: older than the version without it.
    pub pre: String,
    /// What follows the `+`: of no weight.
    pub build: String,
}

/// Not of the form 1.2.3, 1.2.3-rc.1 or 1.2.3+build.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("expected a version of three numbers, such as \"1.0.0\"")]
pub struct NotAVersion;

impl Version {
    /// Of this server.
    pub fn of_server() -> Version {
        match env!("CARGO_PKG_VERSION").parse() {
            Ok(version) => version,
            Err(NotAVersion) => unreachable!("cargo takes no other"),
        }
    }
}

impl FromStr for Version {
    type Err = NotAVersion;

    fn from_str(text: &str) -> Result<Self, NotAVersion> {
        let (rest, build) = text.split_once('+').map_or((text, None), |(rest, build)| (rest, Some(build)));
        let (core, pre) = rest.split_once('-').map_or((rest, None), |(core, pre)| (core, Some(pre)));
        let mut numbers = core.split('.').map(|digits| number(digits).ok_or(NotAVersion));
        let mut next = || numbers.next().ok_or(NotAVersion)?;
        let (major, minor, patch) = (next()?, next()?, next()?);
        let well_formed = |part: Option<&str>| part.is_none_or(|p| p.split('.').all(identifier));
        if numbers.next().is_some() || !well_formed(pre) || !well_formed(build) {
            return Err(NotAVersion);
        }
        let owned = |part: Option<&str>| part.unwrap_or_default().to_owned();
        Ok(Version { major, minor, patch, pre: owned(pre), build: owned(build) })
    }
}

/// Digits without a leading zero.
fn number(digits: &str) -> Option<u64> {
    let plain = digits.bytes().all(|b| b.is_ascii_digit()) && (digits == "0" || !digits.starts_with('0'));
    if plain { digits.parse().ok() } else { None }
}

fn identifier(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
}

impl PartialEq for Version {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Version {}

impl Ord for Version {
    fn cmp(&self, other: &Self) -> Ordering {
        let core = |v: &Version| (v.major, v.minor, v.patch);
        core(self).cmp(&core(other)).then_with(|| match (self.pre.is_empty(), other.pre.is_empty()) {
            (true, true) => Ordering::Equal,
            (true, false) => Ordering::Greater,
            (false, true) => Ordering::Less,
            (false, false) => pre(&self.pre).cmp(pre(&other.pre)),
        })
    }
}

impl PartialOrd for Version {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// Numbers before words, by value; words by their octets.
fn pre(text: &str) -> impl Iterator<Item = (bool, u64, &str)> {
    text.split('.').map(|part| match number(part) {
        Some(value) => (false, value, ""),
        None => (true, 0, part),
    })
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.major, self.minor, self.patch)?;
        if !self.pre.is_empty() {
            write!(f, "-{}", self.pre)?;
        }
        if self.build.is_empty() { Ok(()) } else { write!(f, "+{}", self.build) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// semver.org §11.4, the example of the text.
    #[test]
    fn precedence() {
        let rising = "1.0.0-alpha 1.0.0-alpha.1 1.0.0-alpha.beta 1.0.0-beta 1.0.0-beta.2 1.0.0-beta.11 1.0.0-rc.1 1.0.0 1.0.1 1.2.0 10.0.0";
        let versions: Vec<Version> = rising.split(' ').map(|v| v.parse().unwrap()).collect();
        assert!(versions.is_sorted());
        assert!(versions.windows(2).all(|pair| pair[0] < pair[1]));
        assert_eq!("1.0.0+a".parse::<Version>().unwrap().cmp(&"1.0.0+b".parse().unwrap()), Ordering::Equal);
    }

    #[test]
    fn what_is_no_version() {
        for text in [
            "",
            "1",
            "1.0",
            "1.0.0.0",
            "01.0.0",
            "1.0.x",
            "v1.0.0",
            "1.0.0-",
            "1.0.0+",
            "1.0.0-a..b",
            "-1.0.0",
            "1.0.0 ",
        ] {
            assert_eq!(text.parse::<Version>(), Err(NotAVersion), "{text}");
        }
        for text in ["0.1.0", "1.2.3-rc.1+linux.x86-64"] {
            assert_eq!(text.parse::<Version>().unwrap().to_string(), text);
        }
        assert!(Version::of_server() >= "0.1.0".parse().unwrap());
    }
}
