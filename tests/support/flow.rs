//! What a network traced, as a list of lines such as `IMS > BSM  REGISTER key=included` or `BSM > IMS  200 (MESSAGE key)`.

use imscript::cli::network::Network;
use imscript::observe::ladder::{self, Step};
use std::collections::HashMap;
use std::fmt;
use std::time::Duration;

#[derive(Debug, Clone)]
pub struct Flow {
    steps: Vec<Step>,
    lines: Vec<String>,
}

impl fmt::Display for Flow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.lines.iter().try_for_each(|line| writeln!(f, "{line}"))
    }
}

impl Flow {
    /// What was traced so far. A message whose receiver has not noted it yet is waited for; some receivers note nothing.
    pub fn of(network: &Network) -> anyhow::Result<Flow> {
        let mut flow = Flow::read(network)?;
        for _ in 0..50 {
            if !flow.lines.iter().any(|line| line.contains(" > ? ")) {
                break;
            }
            std::thread::sleep(Duration::from_millis(10));
            flow = Flow::read(network)?;
        }
        Ok(flow)
    }

    fn read(network: &Network) -> anyhow::Result<Flow> {
        let steps = ladder::steps(network.events()?);
        let mut requests: HashMap<String, String> = HashMap::new();
        let mut lines = Vec::new();
        for step in &steps {
            let label = match step.id.split_once(' ') {
                // Not a SIP message.
                None => step.what.clone(),
                Some(_) if step.what.as_bytes()[0].is_ascii_digit() => {
                    let request = requests.get(transaction(&step.id)).map_or("?", String::as_str);
                    format!("{} ({request})", step.what.split(' ').next().unwrap_or_default())
                }
                Some(_) => {
                    let label = request(step);
                    requests.entry(transaction(&step.id).to_owned()).or_insert_with(|| label.clone());
                    label
                }
            };
            lines.push(format!("{} > {}  {label}", step.from, step.to));
        }
        Ok(Flow { steps, lines })
    }

    /// Waits until the flow has a line.
    pub fn with(network: &Network, line: &str) -> Flow {
        super::wait_for(|| Flow::read(network).unwrap().containing(line))
    }

    fn containing(self, line: &str) -> Option<Flow> {
        self.has(line).then_some(self)
    }

    pub fn has(&self, line: &str) -> bool {
        self.lines.iter().any(|have| matches(have, line))
    }

    pub fn count(&self, line: &str) -> usize {
        self.lines.iter().filter(|have| matches(have, line)).count()
    }

    /// The SIP messages between nodes are these and no others, in whatever order.
    pub fn assert_messages(&self, expected: &[&str]) {
        let mut have: Vec<&str> = self.messages().collect();
        let mut expected = expected.to_vec();
        have.sort_unstable();
        expected.sort_unstable();
        assert_eq!(have, expected, "\nthe flow was\n{self}");
    }

    /// These lines stand one after the other, with anything in between. A line may be given by its beginning.
    pub fn assert_order(&self, expected: &[&str]) {
        let mut rest = self.lines.iter();
        for line in expected {
            assert!(rest.any(|have| matches(have, line)), "{line:?} is missing or out of order in\n{self}");
        }
    }

    pub fn messages(&self) -> impl Iterator<Item = &str> {
        self.steps.iter().zip(&self.lines).filter(|(step, _)| !step.id.is_empty()).map(|(_, line)| line.as_str())
    }

    pub fn steps(&self) -> &[Step] {
        &self.steps
    }
}

/// Lines about SIP messages are compared whole; those about calls and states end in values, so their beginning counts.
fn matches(have: &str, line: &str) -> bool {
    have == line || have.strip_prefix(line).is_some_and(|rest| rest.starts_with(" ") && !rest.starts_with(" ("))
}

/// Call-ID and CSeq.
fn transaction(id: &str) -> &str {
    id.match_indices(' ').nth(2).map_or(id, |(at, _)| &id[..at])
}

fn request(step: &Step) -> String {
    let method = step.what.split(' ').next().unwrap_or_default();
    let note = |name: &str| step.notes.iter().find(|note| note.starts_with(name)).map_or("", String::as_str);
    let (ext, authorization) = (note("Bcast-Ext:"), note("Authorization:"));
    let media = step.notes.iter().filter(|note| note.starts_with('[')).map(String::as_str).collect::<String>();
    let param = |name: &str| {
        let from = ext.find(name)?;
        Some(ext[from..].split([';', ',']).next().unwrap_or_default().trim().replace('"', ""))
    };
    let detail = if step.from == "UE" && method == "REGISTER" {
        match authorization {
            a if a.contains("auts=") => "auts".into(),
            a if a.contains("response=…") => "response".into(),
            _ => String::new(),
        }
    } else if method == "REGISTER" {
        let state =
            note("Expires: 0").strip_prefix("Expires: ").filter(|left| *left == "0").map(|_| "expires=0".into());
        state.or_else(|| param("key=")).or_else(|| param("mode=")).unwrap_or_default()
    } else if ext.contains("request=key") {
        "key-request".into()
    } else if media.contains("naf-key-error") {
        "key-refusal".into()
    } else if media.contains("naf-key") {
        "key".into()
    } else if media.contains("bcast-reg") {
        "status".into()
    } else if media.contains("sprov") {
        "service".into()
    } else {
        String::new()
    };
    format!("{method} {detail}").trim_end().to_owned()
}
