//! Text: SIP messages as somebody wrote or copied them, one after the other, or the JSON lines of `--trace`.
//!
//! A message begins at its start line. Lines may end in LF alone, and a Content-Length that is missing or no longer
//! fits is written anew: such files are edited by hand. A separator between two messages is a line of `-`, `=` or `#`.
//!
//! A trace has the headers that matter and no bodies (it is made without secrets); From and To, which it leaves out, are
//! taken from the private identity.

use super::Sink;
use crate::observe::event::{Event, What};
use crate::sip::transaction::Transport;
use std::collections::HashSet;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

const SOMEWHERE: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 5060);

pub(super) fn read(whole: &[u8], sink: &mut Sink<'_>) {
    let first = whole.iter().find(|octet| !octet.is_ascii_whitespace());
    if first == Some(&b'{') { trace(whole, sink) } else { messages(whole, sink) }
}

fn messages(whole: &[u8], sink: &mut Sink<'_>) {
    let mut message: Option<Vec<&[u8]>> = None;
    // A start line counts at the beginning, after an empty line or after a separator only: it may be quoted in a body.
    let mut may_begin = true;
    for line in whole.split_inclusive(|octet| *octet == b'\n') {
        let bare = line.trim_ascii_end();
        if may_begin && is_start_line(bare) {
            finish(message.take(), sink);
            message = Some(vec![line]);
        } else if let Some(lines) = &mut message {
            lines.push(line);
        }
        may_begin = bare.is_empty() || is_separator(bare);
    }
    finish(message, sink);
}

fn finish(lines: Option<Vec<&[u8]>>, sink: &mut Sink<'_>) {
    let Some(lines) = lines else { return };
    let end = lines.iter().position(|line| line.trim_ascii_end().is_empty()).unwrap_or(lines.len());
    let mut head = Vec::new();
    let mut said = None;
    for line in lines.get(..end).unwrap_or_default() {
        let line = line.trim_ascii_end();
        let name = line.split(|octet| *octet == b':').next().unwrap_or_default().trim_ascii();
        if name.eq_ignore_ascii_case(b"Content-Length") || name.eq_ignore_ascii_case(b"l") {
            let value = line.rsplit(|octet| *octet == b':').next().unwrap_or_default().trim_ascii();
            said = std::str::from_utf8(value).ok().and_then(|value| value.parse::<usize>().ok());
            continue;
        }
        head.extend_from_slice(line);
        head.extend_from_slice(b"\r\n");
    }
    let body = lines.get(end.saturating_add(1)..).unwrap_or_default().concat();
    let body = match said.and_then(|length| body.get(..length)) {
        Some(exact) => exact,
        None => without_separator(&body),
    };
    head.extend_from_slice(format!("Content-Length: {}\r\n\r\n", body.len()).as_bytes());
    head.extend_from_slice(body);
    sink.message(None, Transport::Udp, (SOMEWHERE, SOMEWHERE), &head);
}

/// A body without the empty lines and separators behind it.
fn without_separator(body: &[u8]) -> &[u8] {
    let mut body = body.trim_ascii_end();
    loop {
        let start = body.iter().rposition(|octet| *octet == b'\n').map_or(0, |at| at.saturating_add(1));
        match body.get(start..) {
            Some(last) if is_separator(last) => body = body.get(..start).unwrap_or_default().trim_ascii_end(),
            _ => return body,
        }
    }
}

fn is_separator(line: &[u8]) -> bool {
    matches!(line.first(), Some(b'#')) || line.len() >= 3 && line.iter().all(|octet| b"-=".contains(octet))
}

/// `REGISTER sip:home1.net SIP/2.0` or `SIP/2.0 200 OK`.
fn is_start_line(line: &[u8]) -> bool {
    let mut words = line.split(|octet| *octet == b' ');
    match (words.next(), words.next(), words.next(), words.next()) {
        (Some(b"SIP/2.0"), Some(status), ..) => status.len() == 3 && status.iter().all(u8::is_ascii_digit),
        (Some(method), Some(uri), Some(b"SIP/2.0"), None) => {
            !method.is_empty() && method.iter().all(u8::is_ascii_uppercase) && !uri.is_empty()
        }
        _ => false,
    }
}

/// What the node received from others. What it sent itself is skipped, also where it comes back in: roles of one node
/// speak to each other by SIP.
fn trace(whole: &[u8], sink: &mut Sink<'_>) {
    let mut events: Vec<Event> = Vec::new();
    for line in whole.split(|octet| *octet == b'\n').filter(|line| !line.trim_ascii().is_empty()) {
        match serde_json::from_slice::<Event>(line) {
            Ok(event) => events.push(event),
            Err(_) => sink.summary.unreadable = sink.summary.unreadable.saturating_add(1),
        }
    }
    let sent_by = |event: &Event| match &event.what {
        What::Sip { sent: true, id, .. } => Some((event.node.clone(), id.clone())),
        _ => None,
    };
    let own: HashSet<(String, String)> = events.iter().filter_map(sent_by).collect();
    for Event { at, node, what } in events {
        let What::Sip { id, .. } = &what else { continue };
        if !own.contains(&(node, id.clone())) {
            from_event(Duration::from_nanos(at), &what, sink);
        }
    }
}

fn from_event(at: Duration, what: &What, sink: &mut Sink<'_>) {
    let What::Sip { transport, peer, start, id, headers, .. } = what else { return };
    let transport = match transport.to_ascii_lowercase().as_str() {
        "tcp" => Transport::Tcp,
        "tls" => Transport::Tls,
        _ => Transport::Udp,
    };
    let is_response = start.as_bytes().first().is_some_and(u8::is_ascii_digit);
    let first = if is_response { format!("SIP/2.0 {start}") } else { format!("{start} SIP/2.0") };
    // "CALL-ID NUMBER METHOD START"
    let mut words = id.strip_suffix(start.as_str()).unwrap_or(id).split(' ').filter(|word| !word.is_empty());
    let call_id = words.next().unwrap_or("0");
    let cseq = words.collect::<Vec<_>>().join(" ");
    let address = headers.iter().find_map(|header| {
        let asserted = header.strip_prefix("P-Asserted-Identity: ").map(str::to_owned);
        asserted.or_else(|| {
            let user = header.strip_prefix("Authorization: ")?.split("username=").nth(1)?;
            Some(format!("<sip:{}>", user.trim_start_matches('"').split(['"', ' ']).next()?))
        })
    });
    let address = address.unwrap_or_else(|| "<sip:unknown@invalid>".to_owned());
    let mut message = format!(
        "{first}\r\nVia: SIP/2.0/{} {peer};branch=z9hG4bK{}\r\nMax-Forwards: 70\r\nFrom: {address};tag=trace\r\nTo: {address}\r\n\
         Call-ID: {call_id}\r\nCSeq: {cseq}\r\n",
        transport.via(),
        at.as_nanos(),
    );
    for header in headers {
        let header = match header.strip_prefix("Authorization: Digest ") {
            Some(_) => authorization(header),
            None => header.replace(['\r', '\n'], " "),
        };
        message.push_str(&header);
        message.push_str("\r\n");
    }
    message.push_str("Content-Length: 0\r\n\r\n");
    sink.message(Some(at), transport, (*peer, SOMEWHERE), message.as_bytes());
}

/// Credentials as a trace writes them, parameters apart by spaces, in the form of a header again.
fn authorization(shown: &str) -> String {
    let parameters = shown.trim_start_matches("Authorization: Digest ").replace(['\r', '\n'], " ");
    let parameters: Vec<String> = parameters
        .split(' ')
        .filter_map(|parameter| parameter.split_once('='))
        .map(|(name, value)| format!("{name}=\"{}\"", value.trim_matches('"').replace('…', "hidden")))
        .collect();
    format!("Authorization: Digest {}", parameters.join(", "))
}
