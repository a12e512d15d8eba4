//! What is said on the control socket: one request as a line of JSON, then lines of JSON until one that is final.
//!
//! ```text
//! > {"v":1,"verb":"reload","canary":5}
//! < {"v":1,"step":"compiled generation 4 (3 units)"}
//! < {"v":1,"done":{"generation":4,"canary":5}}
//! ```
//!
//! Both sides refuse what they do not know: a client of another version is told so, not half obeyed.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

pub const VERSION: u64 = 1;
/// Largest percentage of a canary; 0: all users at once.
const MAX_CANARY: u64 = 99;
/// Most questions of a shadow; 0: none.
const MAX_SHADOW: u64 = 10_000;
/// Longest request.
pub const MAX_REQUEST: usize = 4096;
/// Longest line of an answer that a client reads.
pub const MAX_ANSWER: usize = 4 << 20;

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ProtocolError {
    #[error("not a JSON object: {0}")]
    NotJson(String),
    #[error("no version: \"v\":{VERSION} is missing")]
    NoVersion,
    #[error("version {0} is not spoken here; this is version {VERSION} of the control protocol")]
    Version(Value),
    #[error("{key}: {given} is not a whole number from 0 to {most}")]
    Range { key: &'static str, given: Value, most: u64 },
    #[error("{0}")]
    Unknown(String),
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "verb", rename_all = "snake_case", deny_unknown_fields)]
pub enum Request {
    /// Takes what is in the files now, or says why not.
    Reload {
        /// Ask the new generation beside the old for so many of the last and of the next questions first.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        shadow: Option<u32>,
        /// Give it this percentage of the users until the probation is over.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        canary: Option<u8>,
        /// Do not run the plugins' tests.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        skip_tests: bool,
        /// Do everything but put it in force.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        dry_run: bool,
    },
    /// Goes back to an earlier generation; None: to the one before.
    Rollback {
        #[serde(default, skip_serializing_if = "Option::is_none")]
        to: Option<u64>,
    },
    Generations {},
    Metrics {},
    Status {},
    DiameterPeers {},
    /// Ends the registration of the user with this identity, public or private.
    EndRegistration {
        identity: String,
    },
}

impl Request {
    pub fn verb(&self) -> &'static str {
        match self {
            Request::Reload { .. } => "reload",
            Request::Rollback { .. } => "rollback",
            Request::Generations {} => "generations",
            Request::Metrics {} => "metrics",
            Request::Status {} => "status",
            Request::DiameterPeers {} => "diameter peers",
            Request::EndRegistration { .. } => "registration end",
        }
    }

    pub fn to_line(&self) -> String {
        line(serde_json::to_value(self).unwrap_or_default())
    }

    pub fn from_line(text: &[u8]) -> Result<Self, ProtocolError> {
        let fields = versioned(text)?;
        for (key, most) in [("canary", MAX_CANARY), ("shadow", MAX_SHADOW)] {
            match fields.get(key) {
                None | Some(Value::Null) => {}
                Some(given) if given.as_u64().is_some_and(|number| number <= most) => {}
                Some(given) => return Err(ProtocolError::Range { key, given: given.clone(), most }),
            }
        }
        serde_json::from_value(Value::Object(fields)).map_err(|error| ProtocolError::Unknown(error.to_string()))
    }
}

/// One line of an answer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Answer {
    /// What has been reached on the way.
    Step(String),
    /// Final: it is done, and this is what came of it.
    Done(Value),
    /// Final: it is not done, and nothing has changed.
    Error(Problem),
}

impl Problem {
    pub fn new(step: impl Into<String>, message: impl Into<String>) -> Self {
        Problem { step: step.into(), message: message.into(), detail: None }
    }
}

impl Answer {
    pub fn to_line(&self) -> String {
        line(serde_json::to_value(self).unwrap_or_default())
    }

    pub fn from_line(text: &[u8]) -> Result<Self, ProtocolError> {
        let fields = versioned(text)?;
        serde_json::from_value(Value::Object(fields)).map_err(|error| ProtocolError::Unknown(error.to_string()))
    }

    pub fn is_final(&self) -> bool {
        !matches!(self, Answer::Step(_))
    }
}

/// Why something is not done.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Problem {
    /// What was being done: "read", "compile", "tests"…
    pub step: String,
    /// `file:line: reason`, where there is a file.
    pub message: String,
    /// The same with the source line, a mark under what is meant, and what may help.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
}

fn versioned(text: &[u8]) -> Result<Map<String, Value>, ProtocolError> {
    let mut fields: Map<String, Value> =
        serde_json::from_slice(text).map_err(|error| ProtocolError::NotJson(error.to_string()))?;
    match fields.remove("v") {
        Some(version) if version.as_u64() == Some(VERSION) => Ok(fields),
        Some(version) => Err(ProtocolError::Version(version)),
        None => Err(ProtocolError::NoVersion),
    }
}

fn line(mut value: Value) -> String {
    if let Value::Object(fields) = &mut value {
        fields.insert("v".into(), VERSION.into());
    }
    let mut line = value.to_string();
    line.push('\n');
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_and_answers_survive_their_lines() {
        for request in [
            Request::Reload { shadow: Some(50), canary: Some(5), skip_tests: true, dry_run: true },
            Request::Reload { shadow: None, canary: None, skip_tests: false, dry_run: false },
            Request::Rollback { to: Some(3) },
            Request::Rollback { to: None },
            Request::Generations {},
            Request::Metrics {},
            Request::Status {},
            Request::DiameterPeers {},
            Request::EndRegistration { identity: "sip:a@b".into() },
        ] {
            let line = request.to_line();
            assert!(line.ends_with('\n') && line.matches('\n').count() == 1, "{line}");
            assert_eq!(Request::from_line(line.as_bytes()), Ok(request));
        }
        let problem = Problem {
            step: "compile".into(),
            message: "a.lua:1: no\nsecond".into(),
            detail: Some("a.lua:1: no\n  1 | x\n    | ^".into()),
        };
        for answer in [Answer::Step("read".into()), Answer::Done(serde_json::json!({"a": 1})), Answer::Error(problem)] {
            let line = answer.to_line();
            assert_eq!(line.matches('\n').count(), 1, "{line}");
            assert_eq!(Answer::from_line(line.as_bytes()), Ok(answer));
        }
        assert_eq!(Request::Generations {}.to_line(), "{\"v\":1,\"verb\":\"generations\"}\n");
    }

    #[test]
    fn what_is_not_known_is_refused_by_name() {
        let refused = |text: &str| Request::from_line(text.as_bytes()).unwrap_err().to_string();
        assert!(refused("reload").contains("not a JSON object"));
        assert!(refused("[1]").contains("not a JSON object"));
        assert!(refused(r#"{"verb":"reload"}"#).contains("\"v\":1 is missing"));
        assert!(refused(r#"{"v":2,"verb":"reload"}"#).contains("version 2"));
        assert!(refused(r#"{"v":1,"verb":"explode"}"#).contains("explode"));
        assert!(refused(r#"{"v":1,"verb":"reload","colour":1}"#).contains("colour"));
        for canary in ["500", "100", "-1", "2.5", "\"5\""] {
            let text = format!("{{\"v\":1,\"verb\":\"reload\",\"canary\":{canary}}}");
            assert_eq!(refused(&text), format!("canary: {canary} is not a whole number from 0 to 99"));
        }
        assert!(refused(r#"{"v":1,"verb":"reload","shadow":10001}"#).contains("shadow: 10001 is not"));
        assert!(Request::from_line(br#"{"v":1,"verb":"reload","canary":0,"shadow":10000}"#).is_ok());
        assert!(refused(r#"{"v":1,"verb":"generations","x":1}"#).contains("x"));
    }
}
