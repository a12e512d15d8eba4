use super::*;
use crate::sip::Message;

const ONE: &[u8] =
    b"OPTIONS sip:a SIP/2.0\r\nVia: SIP/2.0/TCP a;branch=z9hG4bK1\r\nContent-Length : 5\r\nX: y\r\n z\r\n\r\na\r\n\r\n";
const TWO: &[u8] = b"SIP/2.0 200 OK\nl:\n 0\n\n";

/// What a connection would see, fed in pieces: messages, and "ping" for each ping.
fn drive(pieces: &[&[u8]]) -> (Vec<Vec<u8>>, Option<u16>) {
    let (mut buffer, mut seen) = (Vec::new(), Vec::new());
    for piece in pieces {
        buffer.extend_from_slice(piece);
        loop {
            match next(&buffer) {
                Ok(Frame::Incomplete) => break,
                Ok(Frame::KeepAlive { skip, ping }) => {
                    if ping {
                        seen.push(b"ping".to_vec());
                    }
                    buffer.drain(..skip);
                }
                Ok(Frame::Message { len }) => seen.push(buffer.drain(..len).collect()),
                Err((fault, head)) => {
                    assert!(head <= buffer.len());
                    return (seen, Some(fault.status));
                }
            }
        }
    }
    (seen, None)
}

fn at_every_split(stream: &[u8]) -> (Vec<Vec<u8>>, Option<u16>) {
    let whole = drive(&[stream]);
    for at in 0..=stream.len() {
        let (a, b) = stream.split_at(at);
        assert_eq!(drive(&[a, b]), whole, "split at {at}");
    }
    let octets: Vec<&[u8]> = stream.chunks(1).collect();
    assert_eq!(drive(&octets), whole, "octet by octet");
    whole
}

#[test]
fn messages_and_keep_alives_at_every_split() {
    let stream = [b"\r\n", ONE, b"\r\n\r\n", TWO, b"\n\n", ONE, b"\r\n\r\n\r\n\r\n", ONE].concat();
    let (seen, fault) = at_every_split(&stream);
    assert_eq!(fault, None);
    let ping = b"ping".as_slice();
    assert_eq!(seen, [ONE, ping, TWO, ONE, ping, ping, ONE]);
    for message in seen.iter().filter(|m| *m != b"ping") {
        assert_eq!(Message::parse(message).unwrap().bytes(), message);
    }
}

#[test]
fn lost_framing_at_every_split() {
    let with = |lines: &str| format!("OPTIONS sip:a SIP/2.0\r\nVia: SIP/2.0/TCP a\r\n{lines}\r\nbody").into_bytes();
    for lines in [
        "",
        "Content-Length: -1\r\n",
        "Content-Length: 1\r\nl: 2\r\n",
        "Content-Length: 4x\r\n",
        "Content-Length:\r\n",
        "Content-Length: 18446744073709551615\r\n",
        "Content-Length: 18446744073709551616\r\n",
        "Content-Length: 4\nl: 5\r\n",
        "X: a\rContent-Length: 4\r\n",
    ] {
        let stream = [ONE, &with(lines), ONE].concat();
        let (seen, fault) = at_every_split(&stream);
        assert_eq!(seen, [ONE], "{lines}");
        assert!(matches!(fault, Some(400 | 513)), "{lines} {fault:?}");
    }
    // The head is there to be answered.
    let bytes = with("Content-Length: 1\r\nl: 2\r\n");
    let Err((_, head)) = next(&bytes) else { panic!("framed") };
    assert_eq!(head, bytes.len() - 4);
    assert!(Message::parse(&bytes[..head]).unwrap().top_via().is_ok());
}

#[test]
fn limits_hold_before_the_end_is_seen() {
    assert!(matches!(next(&[b'a'; limits::LINE]), Ok(Frame::Incomplete)));
    assert_eq!(next(&[b'a'; limits::LINE + 1]).map_err(|(f, _)| f.status), Err(414));
    let line = [b"X: ", &[b'y'; 1000][..], b"\r\n"].concat();
    let head = [b"OPTIONS sip:a SIP/2.0\r\n", &line.repeat(70)[..]].concat();
    assert_eq!(next(&head).map_err(|(f, _)| f.status), Err(513));
    let head = [b"OPTIONS sip:a SIP/2.0\r\n", &b"X: y\r\n".repeat(200)[..]].concat();
    assert_eq!(next(&head).map_err(|(f, _)| f.status), Err(400));
    let head = [b"OPTIONS sip:a SIP/2.0\r\nX: y\r\n", &b" y\r\n".repeat(3000)[..]].concat();
    assert_eq!(next(&head).map_err(|(f, _)| f.status), Err(400));
    let big = b"OPTIONS sip:a SIP/2.0\r\nl: 65536\r\n\r\n";
    assert_eq!(next(big).map_err(|(f, _)| f.status), Err(513));
    let fits = b"OPTIONS sip:a SIP/2.0\r\nl: 65000\r\n\r\n";
    assert_eq!(next(fits), Ok(Frame::Incomplete));
}

#[test]
fn a_faulty_but_framed_message_comes_through() {
    let bytes = b"OPTIONS sip:a SIP/7.0\r\nno colon\r\nl: 2\r\n\r\nok";
    assert_eq!(next(bytes), Ok(Frame::Message { len: bytes.len() }));
}
