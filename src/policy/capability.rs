//! What a plugin may do beyond answering its stages (rank 1): the `[capabilities]` of its manifest, nothing by default.

use super::conf::Conf;
use super::document::{Entry, Fields, Value};
use super::finding::{Findings, did_you_mean, quoted};
use super::quantity;
use super::schema::{Format, Kind, Schema};
use std::fmt;
use std::str::FromStr;

/// Of `shared = true` and `store = true`.
pub const DEFAULT_QUOTA: u64 = 1 << 20;
const SMALLEST_QUOTA: u64 = 1 << 10;
const LARGEST_SHARED: u64 = 64 << 20;
const LARGEST_STORE: u64 = 1 << 30;

/// The names, each that of the global it gives; but `trust` gives `ims.trust`.
pub const CAPABILITIES: [&str; 7] = ["http", "shared", "store", "metric", "hss", "timer", "trust"];

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Capabilities {
    /// Where HTTP requests may go; empty: nowhere.
    pub http: Vec<HttpGrant>,
    /// Octets of shared memory.
    pub shared: Option<u64>,
    /// Octets of durable storage.
    pub store: Option<u64>,
    pub metric: bool,
    pub hss: bool,
    pub timer: bool,
    /// Registers terminals without a challenge.
    pub trust: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HttpGrant {
    Origin(Origin),
    /// `"config.KEY"`: wherever the operator's own URL in that key points.
    Config(String),
}

/// Scheme, host and port: as much of a URL as decides who is talked to (RFC 6454 §4).
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Origin {
    pub tls: bool,
    /// In lower case; an IPv6 address in its brackets.
    pub host: String,
    pub port: u16,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum OriginError {
    #[error("expected \"https://host\" or \"http://host:port\"")]
    NoOrigin,
    #[error("an origin has no path, user or query")]
    More,
}

impl Origin {
    /// Of a whole URL.
    pub fn of(url: &str) -> Result<Origin, OriginError> {
        let (tls, rest) = match (url.strip_prefix("https://"), url.strip_prefix("http://")) {
            (Some(rest), _) => (true, rest),
            (_, Some(rest)) => (false, rest),
            _ => return Err(OriginError::NoOrigin),
        };
        let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
        if authority.contains('@') {
            return Err(OriginError::More);
        }
        let colon = authority.rfind(':').filter(|at| !authority[*at..].contains(']'));
        let (host, port) = match colon {
            Some(at) => (&authority[..at], authority[at + 1..].parse().map_err(|_| OriginError::NoOrigin)?),
            None => (authority, if tls { 443 } else { 80 }),
        };
        let in_brackets = host.strip_prefix('[').and_then(|h| h.strip_suffix(']'));
        let sound = match in_brackets {
            Some(address) => address.parse::<std::net::Ipv6Addr>().is_ok(),
            None => !host.is_empty() && host.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'.'),
        };
        if !sound || port == 0 {
            return Err(OriginError::NoOrigin);
        }
        Ok(Origin { tls, host: host.to_ascii_lowercase(), port })
    }
}

impl FromStr for Origin {
    type Err = OriginError;

    /// Of an origin alone: what follows the port would look like a restriction and be none.
    fn from_str(text: &str) -> Result<Self, OriginError> {
        let origin = Origin::of(text)?;
        let after_scheme = text.split_once("://").map_or(text, |(_, rest)| rest);
        if after_scheme.contains(['/', '?', '#']) { Err(OriginError::More) } else { Ok(origin) }
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}:{}", if self.tls { "https" } else { "http" }, self.host, self.port)
    }
}

impl Capabilities {
    /// Whether the global of that name is granted.
    pub fn grants(&self, name: &str) -> bool {
        match name {
            "http" => !self.http.is_empty(),
            "shared" => self.shared.is_some(),
            "store" => self.store.is_some(),
            "metric" => self.metric,
            "hss" => self.hss,
            "timer" => self.timer,
            "trust" => self.trust,
            _ => false,
        }
    }

    /// Everything, with default quotas and no HTTP: what the operator's own policy file has.
    pub fn of_operator() -> Capabilities {
        Capabilities {
            http: Vec::new(),
            shared: Some(DEFAULT_QUOTA),
            store: Some(DEFAULT_QUOTA),
            metric: true,
            hss: true,
            timer: true,
            trust: true,
        }
    }

    /// Where HTTP requests may go under these values.
    pub fn origins(&self, conf: &Conf) -> Vec<Origin> {
        let mut list: Vec<Origin> = Vec::new();
        for grant in &self.http {
            match grant {
                HttpGrant::Origin(origin) => list.push(origin.clone()),
                HttpGrant::Config(key) => match conf.values().get(key) {
                    Some(serde_json::Value::Array(urls)) => {
                        list.extend(urls.iter().filter_map(|url| Origin::of(url.as_str()?).ok()));
                    }
                    Some(url) => list.extend(url.as_str().and_then(|url| Origin::of(url).ok())),
                    None => {}
                },
            }
        }
        list.sort();
        list.dedup();
        list
    }

    pub(super) fn read(table: &Entry, config: &Schema, found: &mut Findings) -> Capabilities {
        let mut granted = Capabilities::default();
        let Some(mut fields) = Fields::of(table, found) else { return granted };
        for (text, line) in fields.strings("http", found) {
            match http_grant(&text, config) {
                Ok(grant) => granted.http.push(grant),
                Err(why) => found.hinted(line, format!("http: {}: {why}", quoted(&text)), HTTP_FORMS),
            }
        }
        granted.shared = quota(&mut fields, "shared", LARGEST_SHARED, found);
        granted.store = quota(&mut fields, "store", LARGEST_STORE, found);
        granted.metric = fields.boolean("metric", found).unwrap_or(false);
        granted.hss = fields.boolean("hss", found).unwrap_or(false);
        granted.timer = fields.boolean("timer", found).unwrap_or(false);
        granted.trust = fields.boolean("trust", found).unwrap_or(false);
        if let Some(log) = table.node.get("log") {
            fields.get("log");
            found.hinted(log.line, "log is no capability", "it is always there: take this out");
        }
        for entry in table.node.entries().iter().filter(|e| e.key != "log" && !CAPABILITIES.contains(&&*e.key)) {
            let hint = did_you_mean(&entry.key, CAPABILITIES);
            found.hinted(entry.line, format!("unknown capability {:?}", entry.key), hint);
        }
        granted
    }
}

const HTTP_FORMS: &str = "origins such as \"https://host:port\", or \"config.KEY\" for the operator's own URL";

fn http_grant(text: &str, config: &Schema) -> Result<HttpGrant, String> {
    let Some(key) = text.strip_prefix("config.") else {
        return text.parse().map(HttpGrant::Origin).map_err(|e: OriginError| e.to_string());
    };
    let is_uri = |schema: &Schema| matches!(&schema.kind, Kind::String(text) if text.format == Some(Format::Uri));
    match config.property(key) {
        Some(schema) if is_uri(schema) => Ok(HttpGrant::Config(key.to_owned())),
        Some(Schema { kind: Kind::Array { items, .. }, .. }) if is_uri(items) => Ok(HttpGrant::Config(key.to_owned())),
        Some(_) => Err(format!("config property {key:?} is no string of format uri")),
        None => Err(format!("there is no config property {key:?}")),
    }
}

fn quota(fields: &mut Fields<'_>, name: &'static str, largest: u64, found: &mut Findings) -> Option<u64> {
    let entry = fields.get(name)?;
    if let Value::Boolean(granted) = entry.node.value {
        return granted.then_some(DEFAULT_QUOTA);
    }
    if !matches!(entry.node.value, Value::Table(_)) {
        found.hinted(
            entry.line,
            format!("{name}: expected true or a quota"),
            format!("{name} = {{ quota = \"1 MiB\" }}"),
        );
        return None;
    }
    let mut within = Fields::of(entry, found)?;
    let quota = match within.string("quota", found) {
        Some((text, line)) => match quantity::size(text) {
            Ok(octets) if (SMALLEST_QUOTA..=largest).contains(&octets) => Some(octets),
            Ok(_) => {
                found.at(line, format!("{name}: quota is from 1 KiB to {} MiB", largest >> 20));
                None
            }
            Err(why) => {
                found.at(line, format!("{name}: quota {why}"));
                None
            }
        },
        None => Some(DEFAULT_QUOTA),
    };
    within.finish(&format!("key of {name}"), found);
    quota
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn origins() {
        for (text, shown) in [
            ("https://Hooks.example", "https://hooks.example:443"),
            ("http://127.0.0.1:8080", "http://127.0.0.1:8080"),
            ("https://[2001:db8::1]:8443", "https://[2001:db8::1]:8443"),
            ("http://[::1]", "http://[::1]:80"),
        ] {
            assert_eq!(text.parse::<Origin>().unwrap().to_string(), shown);
        }
        for text in [
            "",
            "https://",
            "ftp://a",
            "a.example",
            "https://a:0",
            "https://a:99999",
            "https://a:",
            "https://a b",
            "https://*.example",
            "https://[::1",
            "https://::1",
        ] {
            assert_eq!(text.parse::<Origin>(), Err(OriginError::NoOrigin), "{text}");
        }
        for text in ["https://a/", "https://a/x", "https://a?x", "https://u:p@a"] {
            assert_eq!(text.parse::<Origin>(), Err(OriginError::More), "{text}");
        }
        assert_eq!(Origin::of("https://a.example/x?y=https://b").unwrap().to_string(), "https://a.example:443");
        assert_eq!(Origin::of("https://a.example@b.example/"), Err(OriginError::More));
    }
}
