//! The guard's settings, from environment variables: the node's own configuration file knows nothing of them.

use std::time::Duration;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// The shortest time in which somebody gets from one network into another.
    pub travel: Duration,
    /// How long a network stays refused without asking the card again.
    pub hold: Duration,
    /// Networks that reach into each other: at a border terminals change between them at will.
    pub neighbours: Vec<(String, String)>,
    /// Users that are remembered.
    pub users: usize,
}

#[derive(Debug, PartialEq, Eq)]
pub struct SettingsError(String);

impl std::fmt::Display for SettingsError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for SettingsError {}

impl Default for Settings {
    fn default() -> Self {
        Settings {
            travel: Duration::from_secs(3600),
            hold: Duration::from_secs(300),
            neighbours: Vec::new(),
            users: 1_000_000,
        }
    }
}

impl Settings {
    /// `FRAUD_GUARD_TRAVEL` and `FRAUD_GUARD_HOLD` in seconds, `FRAUD_GUARD_NEIGHBOURS` as `a.net=b.net,c.net=d.net`.
    pub fn read(variable: impl Fn(&str) -> Option<String>) -> Result<Settings, SettingsError> {
        let default = Settings::default();
        let seconds = |name: &str, default: Duration| match variable(name) {
            None => Ok(default),
            Some(text) => match text.parse() {
                Ok(seconds) => Ok(Duration::from_secs(seconds)),
                Err(_) => Err(SettingsError(format!("{name}={text}: not a number of seconds"))),
            },
        };
        let pair = |text: &str| match text.split_once('=') {
            Some((a, b)) if !a.is_empty() && !b.is_empty() => Ok((a.to_owned(), b.to_owned())),
            _ => {
                Err(SettingsError(format!("FRAUD_GUARD_NEIGHBOURS: {text:?} is not two networks with = between them")))
            }
        };
        let neighbours = variable("FRAUD_GUARD_NEIGHBOURS").unwrap_or_default();
        Ok(Settings {
            travel: seconds("FRAUD_GUARD_TRAVEL", default.travel)?,
            hold: seconds("FRAUD_GUARD_HOLD", default.hold)?,
            neighbours: neighbours.split(',').filter(|text| !text.is_empty()).map(pair).collect::<Result<_, _>>()?,
            users: default.users,
        })
    }

    pub(crate) fn are_neighbours(&self, one: &str, other: &str) -> bool {
        self.neighbours.iter().any(|(a, b)| (a == one && b == other) || (a == other && b == one))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn they_are_read_or_refused() {
        let set = |name: &str, value: &str| {
            let (name, value) = (name.to_owned(), value.to_owned());
            Settings::read(move |asked| (asked == name).then(|| value.clone()))
        };
        assert_eq!(Settings::read(|_| None), Ok(Settings::default()));
        assert_eq!(set("FRAUD_GUARD_TRAVEL", "60").map(|s| s.travel), Ok(Duration::from_secs(60)));
        assert!(set("FRAUD_GUARD_HOLD", "soon").unwrap_err().to_string().contains("not a number"));
        let borders = set("FRAUD_GUARD_NEIGHBOURS", "a.net=b.net,c.net=a.net").unwrap();
        assert!(borders.are_neighbours("b.net", "a.net") && borders.are_neighbours("a.net", "c.net"));
        assert!(!borders.are_neighbours("b.net", "c.net"));
        assert!(set("FRAUD_GUARD_NEIGHBOURS", "a.net").is_err());
    }
}
