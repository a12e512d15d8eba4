//! A registration drawn: who → who, what, the headers that matter, key state.

use super::event::{Event, What};
use std::collections::{HashMap, HashSet};
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
    /// Of a message: Call-ID, CSeq and start line; the same on every hop.
    #[serde(skip)]
    pub id: String,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
    /// Microseconds since the first step.
    pub at_us: u64,
}

fn column(name: &str) -> Option<usize> {
    COLUMNS.iter().position(|c| c.names.contains(&name))
}

/// Puts the events of all nodes in order and finds for each sent message the node that received it.
/// Retransmissions are left out.
pub fn steps(mut events: Vec<Event>) -> Vec<Step> {
    events.sort_by_key(|e| e.at);
    precede_receipt(&mut events);
    let start = events.first().map_or(0, |e| e.at);
    let receipts = receipts(&events);
    let mut seen: HashSet<(&str, &str)> = HashSet::new();
    let mut steps = Vec::new();
    for event in &events {
        let at_us = event.at.saturating_sub(start) / 1000;
        let alone = |from: &str, to: &str, what: &str| Step {
            from: from.to_string(),
            to: to.to_string(),
            what: what.to_string(),
            id: String::new(),
            notes: Vec::new(),
            at_us,
        };
        match &event.what {
            What::Sip { sent: true, id, start, headers, body, transport, .. } => {
                if !seen.insert((&event.node, id)) {
                    continue;
                }
                let to = receipt(&receipts, event, id).map_or("?", |(node, _)| node);
                let mut notes = headers.clone();
                notes.extend(body.iter().map(|part| format!("[{part}]")));
                let what = format!("{start} ({transport})");
                steps.push(Step { notes, id: id.clone(), ..alone(&event.node, to, &what) });
            }
            What::Sip { .. } => {}
            What::Call { from, to, what } => steps.push(alone(from, to, what)),
            What::State { role, what } => steps.push(alone(role, role, what)),
        }
    }
    steps
}

type Receipts<'a> = HashMap<&'a str, Vec<(&'a str, u64)>>;

/// Who received which message when. A relayed message has one identity on both hops, hence several receivers.
fn receipts(events: &[Event]) -> Receipts<'_> {
    let mut receipts = Receipts::new();
    for event in events {
        if let What::Sip { sent: false, id, .. } = &event.what {
            receipts.entry(id).or_default().push((&event.node, event.at));
        }
    }
    receipts
}

fn receipt<'a>(receipts: &Receipts<'a>, sent: &Event, id: &str) -> Option<(&'a str, u64)> {
    receipts.get(id)?.iter().find(|(node, _)| *node != sent.node).copied()
}

/// A node notes a message when it has been sent, and the receiver may be quicker than that: a cause stands before its
/// effect all the same.
fn precede_receipt(events: &mut [Event]) {
    let receipts = receipts(events);
    let times: Vec<u64> = events
        .iter()
        .map(|event| match &event.what {
            What::Sip { sent: true, id, .. } => {
                receipt(&receipts, event, id).map_or(event.at, |(_, at)| event.at.min(at.saturating_sub(1)))
            }
            _ => event.at,
        })
        .collect();
    for (event, at) in events.iter_mut().zip(times) {
        event.at = at;
    }
    events.sort_by_key(|e| e.at);
}

const WIDTH: usize = 36;
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
        let steps = steps(vec![
            sip(2000, "IMS", false, "c1"),
            sip(1000, "UE", true, "c1"),
            sip(1500, "UE", true, "c1"),
            sip(3000, "UE", true, "lost"),
        ]);
        assert_eq!(steps.len(), 2);
        assert_eq!((steps[0].from.as_str(), steps[0].to.as_str()), ("UE", "IMS"));
        assert_eq!(steps[1].to, "?");
        let drawn = draw(&steps, true);
        assert!(drawn.contains("REGISTER sip:home1.net"), "{drawn}");
        assert!(drawn.contains('▶') && drawn.contains("Bcast-Ext: x"), "{drawn}");
    }

    #[test]
    fn a_relayed_message_has_two_hops_and_a_cause_precedes_its_effect() {
        let steps = steps(vec![
            sip(1000, "IMS", false, "m"),
            sip(1001, "UE", true, "m"),
            sip(2000, "IMS", true, "m"),
            sip(1999, "BSM", false, "m"),
        ]);
        let hops: Vec<_> = steps.iter().map(|s| (s.from.as_str(), s.to.as_str())).collect();
        assert_eq!(hops, [("UE", "IMS"), ("IMS", "BSM")]);
    }
}
