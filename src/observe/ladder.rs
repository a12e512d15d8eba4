//! A registration drawn: who → who, what, the headers that matter, key state.

use super::event::{Event, What};
use std::collections::HashMap;
use std::fmt::Write;

/// A node of the trace and the column that it is drawn in.
#[derive(Debug, Clone)]
pub struct Column {
    pub title: &'static str,
    /// Node names and role names that stand here.
    pub names: &'static [&'static str],
}

/// The columns of the patent's figures.
pub const COLUMNS: &[Column] = &[
    Column { title: "UE", names: &["UE"] },
    Column { title: "S-CSCF+BSF", names: &["IMS", "S-CSCF", "BSF"] },
    Column { title: "HSS", names: &["HSS"] },
    Column { title: "BSM", names: &["BSM"] },
];

/// One line of a ladder.
#[derive(Debug, Clone, PartialEq, serde::Serialize)]
pub struct Step {
    pub from: String,
    pub to: String,
    pub what: String,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
    /// Microseconds since the first step.
    pub at_us: u64,
}

fn column(name: &str) -> Option<usize> {
    COLUMNS.iter().position(|c| c.names.contains(&name))
}

/// Puts the events of all nodes in order and finds for each sent message the node that received it.
pub fn steps(mut events: Vec<Event>) -> Vec<Step> {
    events.sort_by_key(|e| e.at);
    let start = events.first().map_or(0, |e| e.at);
    let mut receivers: HashMap<&str, &str> = HashMap::new();
    for event in &events {
        if let What::Sip { sent: false, id, .. } = &event.what {
            receivers.entry(id).or_insert(&event.node);
        }
    }
    let mut steps = Vec::new();
    for event in &events {
        let at_us = event.at.saturating_sub(start) / 1000;
        match &event.what {
            What::Sip { sent: true, id, start, headers, body, transport, .. } => {
                let to = receivers.get(id.as_str()).copied().unwrap_or("?");
                let mut notes = headers.clone();
                notes.extend(body.iter().map(|part| format!("[{part}]")));
                let what = format!("{start} ({transport})");
                steps.push(Step { from: event.node.clone(), to: to.to_string(), what, notes, at_us });
            }
            What::Sip { .. } => {}
            What::Call { from, to, what } => {
                steps.push(Step { from: from.clone(), to: to.clone(), what: what.clone(), notes: Vec::new(), at_us });
            }
            What::State { role, what } => {
                steps.push(Step { from: role.clone(), to: role.clone(), what: what.clone(), notes: Vec::new(), at_us });
            }
        }
    }
    steps
}

const WIDTH: usize = 30;
const LEFT: usize = 6;

fn position(column: usize) -> usize {
    LEFT + column * WIDTH
}

/// Draws the steps; `headers` adds the notes of each message under its arrow.
pub fn draw(steps: &[Step], headers: bool) -> String {
    let mut text = String::new();
    let mut titles = vec![' '; position(COLUMNS.len() - 1) + 12];
    for (i, c) in COLUMNS.iter().enumerate() {
        let at = position(i).saturating_sub(c.title.chars().count() / 2);
        c.title.chars().enumerate().for_each(|(k, ch)| titles[at + k] = ch);
    }
    let _ = writeln!(text, "{}", titles.iter().collect::<String>().trim_end());
    for (number, step) in steps.iter().enumerate() {
        let mut line = rails();
        let count = format!("{:>3}", number + 1);
        count.chars().enumerate().for_each(|(k, ch)| line[k] = ch);
        match (column(&step.from), column(&step.to)) {
            (Some(a), Some(b)) if a != b => arrow(&mut line, a, b, &step.what),
            (Some(a), _) => label(&mut line, position(a) + 2, &format!("* {}", step.what)),
            _ => label(&mut line, LEFT + 2, &format!("{} → {}: {}", step.from, step.to, step.what)),
        }
        let _ = writeln!(text, "{}", line.into_iter().collect::<String>().trim_end());
        if headers {
            let at = match (column(&step.from), column(&step.to)) {
                (Some(a), Some(b)) => position(a.min(b)) + 2,
                _ => LEFT + 2,
            };
            for note in &step.notes {
                let mut line = rails();
                label(&mut line, at, note);
                let _ = writeln!(text, "{}", line.into_iter().collect::<String>().trim_end());
            }
        }
    }
    text
}

fn rails() -> Vec<char> {
    let mut line = vec![' '; position(COLUMNS.len() - 1) + 1];
    (0..COLUMNS.len()).for_each(|i| line[position(i)] = '│');
    line
}

fn label(line: &mut Vec<char>, at: usize, text: &str) {
    let limit = 150;
    let shown: Vec<char> = text.chars().take(limit).collect();
    if line.len() < at + shown.len() {
        line.resize(at + shown.len(), ' ');
    }
    line[at..at + shown.len()].copy_from_slice(&shown);
}

fn arrow(line: &mut [char], a: usize, b: usize, what: &str) {
    let (left, right) = (position(a.min(b)) + 1, position(a.max(b)) - 1);
    line[left..=right].fill('─');
    if a < b {
        line[right] = '▶';
    } else {
        line[left] = '◀';
    }
    let room = right - left - 3;
    let shown: Vec<char> = if what.chars().count() > room {
        what.chars().take(room - 1).chain(['…']).collect()
    } else {
        what.chars().collect()
    };
    let at = left + 2 + (room - shown.len()) / 2;
    line[at..at + shown.len()].copy_from_slice(&shown);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sip(at: u64, node: &str, sent: bool, id: &str) -> Event {
        let peer = "127.0.0.1:5060".parse().unwrap();
        let what = What::Sip {
            sent,
            transport: "UDP".into(),
            peer,
            start: "REGISTER sip:home1.net".into(),
            id: id.into(),
            headers: vec!["Bcast-Ext: x".into()],
            body: vec![],
        };
        Event { at, node: node.into(), what }
    }

    #[test]
    fn sent_messages_find_their_receiver() {
        let steps =
            steps(vec![sip(2000, "IMS", false, "c1"), sip(1000, "UE", true, "c1"), sip(3000, "UE", true, "lost")]);
        assert_eq!(steps.len(), 2);
        assert_eq!((steps[0].from.as_str(), steps[0].to.as_str()), ("UE", "IMS"));
        assert_eq!(steps[1].to, "?");
        let drawn = draw(&steps, true);
        assert!(drawn.contains("REGISTER sip:home1.net"), "{drawn}");
        assert!(drawn.contains('▶') && drawn.contains("Bcast-Ext: x"), "{drawn}");
    }
}
