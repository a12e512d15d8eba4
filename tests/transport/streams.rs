use crate::support::*;
use imscript::answer::Answer;
use imscript::sip::transaction::{NextHop, Outbound, Source, Transport};
use imscript::sip::transport::{Settings, Tls};
use imscript::sip::{HeaderName, Message, ResponseWriter};
use std::rc::Rc;
use std::time::Instant;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

fn settings() -> Settings {
    Settings::default()
}

#[test]
fn messages_are_cut_out_of_the_octets_wherever_the_segments_end() {
    worker(async {
        for any in ["tcp:127.0.0.1:0", "tcp:[::1]:0"] {
            let asked = Asked::at_once();
            let (_node, bound) = node(&[any], asked.clone());
            let mut peer = TcpStream::connect(bound[0].addr).await.unwrap();
            peer.set_nodelay(true).unwrap();
            let via = format!("TCP {}", peer.local_addr().unwrap());
            for octet in message("MESSAGE", &via, "split", "some body\r\n").as_bytes().chunks(7) {
                peer.write_all(octet).await.unwrap();
                tokio::task::yield_now().await;
            }
            assert_eq!(status(&head_from(&mut peer).await), 200);
            let several: String = (0..5).map(|n| message("MESSAGE", &via, &format!("m{n}"), "body\r\n\r\n")).collect();
            peer.write_all(several.as_bytes()).await.unwrap();
            for n in 0..5 {
                let answer = head_from(&mut peer).await;
                let call = format!("m{n}");
                assert_eq!(Message::parse(&answer).unwrap().header(HeaderName::CallId), Some(call.as_bytes()));
            }
            assert_eq!(asked.count(), 6);
            assert!(asked.requests.borrow()[0].0.ends_with("some body\r\n"));
            let source = asked.requests.borrow()[0].1.clone();
            assert_eq!((source.transport, source.addr), (Transport::Tcp, peer.local_addr().unwrap()));
        }
    });
}

#[test]
fn a_ping_gets_a_pong_and_a_lone_line_end_is_not_a_slow_message() {
    worker(async {
        let settings = Settings { head_within: milliseconds(50), ..settings() };
        let (_node, bound) = node_with(&["tcp:127.0.0.1:0"], Tls::default(), settings, Asked::at_once());
        let mut peer = TcpStream::connect(bound[0].addr).await.unwrap();
        peer.write_all(b"\r\n\r\n").await.unwrap();
        let mut pong = [0; 2];
        timeout(SOON, peer.read_exact(&mut pong)).await.unwrap().unwrap();
        assert_eq!(&pong, b"\r\n");
        peer.write_all(b"\r\n").await.unwrap();
        tokio::time::sleep(milliseconds(150)).await;
        peer.write_all(register("TCP 127.0.0.1:1", "after").as_bytes()).await.unwrap();
        assert_eq!(status(&head_from(&mut peer).await), 200);
    });
}

#[test]
fn lost_framing_is_answered_with_400_and_the_connection_closed() {
    worker(async {
        for lengths in ["Content-Length: 0\r\nContent-Length: 5\r\n", "Content-Length: -1\r\n", "Content-Length: x\r\n"]
        {
            let asked = Asked::at_once();
            let (_node, bound) = node(&["tcp:127.0.0.1:0"], asked.clone());
            let mut peer = TcpStream::connect(bound[0].addr).await.unwrap();
            let good = register("TCP 127.0.0.1:1", "good");
            let bad = format!("{}{lengths}\r\n", head("REGISTER", "TCP 127.0.0.1:1", "bad"));
            let smuggled = register("TCP 127.0.0.1:1", "smuggled");
            peer.write_all(format!("{good}{bad}{smuggled}").as_bytes()).await.unwrap();
            assert_eq!(status(&head_from(&mut peer).await), 200);
            assert_eq!(status(&head_from(&mut peer).await), 400, "{lengths}");
            assert!(head_from(&mut peer).await.is_empty());
            assert_eq!(asked.calls(), ["good"]);
        }
    });
}

#[test]
fn octets_that_are_no_sip_close_the_connection_only() {
    worker(async {
        let asked = Asked::at_once();
        let (_node, bound) = node(&["tcp:127.0.0.1:0"], asked.clone());
        for nonsense in [&b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"[..], &[0xff; 70_000], &[b'a'; 200_000]] {
            let mut peer = TcpStream::connect(bound[0].addr).await.unwrap();
            let _ = peer.write_all(nonsense).await;
            let mut rest = Vec::new();
            let _ = timeout(SOON, peer.read_to_end(&mut rest)).await.expect("closed");
        }
        let mut peer = TcpStream::connect(bound[0].addr).await.unwrap();
        peer.write_all(register("TCP 127.0.0.1:1", "alive").as_bytes()).await.unwrap();
        assert_eq!(status(&head_from(&mut peer).await), 200);
    });
}

#[test]
fn a_faulty_message_with_sound_framing_is_refused_and_the_next_one_served() {
    worker(async {
        let (_node, bound) = node(&["tcp:127.0.0.1:0"], Asked::at_once());
        let mut peer = TcpStream::connect(bound[0].addr).await.unwrap();
        let bad = register("TCP 127.0.0.1:1", "bad").replace("CSeq: 1 REGISTER", "CSeq: 1 MESSAGE");
        peer.write_all(format!("{bad}{}", register("TCP 127.0.0.1:1", "good")).as_bytes()).await.unwrap();
        assert_eq!(status(&head_from(&mut peer).await), 400);
        assert_eq!(status(&head_from(&mut peer).await), 200);
    });
}

#[test]
fn a_peer_that_has_closed_its_side_still_gets_its_answer() {
    worker(async {
        let asked = Asked::held();
        let (_node, bound) = node(&["tcp:127.0.0.1:0"], asked.clone());
        let mut peer = TcpStream::connect(bound[0].addr).await.unwrap();
        peer.write_all(register("TCP 127.0.0.1:1", "half").as_bytes()).await.unwrap();
        peer.shutdown().await.unwrap();
        asked.until_asked().await;
        tokio::time::sleep(milliseconds(50)).await; // the node has seen the end
        asked.release();
        assert_eq!(status(&head_from(&mut peer).await), 200);
        assert!(head_from(&mut peer).await.is_empty());
    });
}

#[test]
fn slow_and_silent_peers_are_closed_in_time() {
    worker(async {
        let settings = Settings {
            head_within: milliseconds(200),
            body_within: milliseconds(500),
            idle: milliseconds(800),
            ..settings()
        };
        let (_node, bound) = node_with(&["tcp:127.0.0.1:0"], Tls::default(), settings, Asked::at_once());
        let head = head("MESSAGE", "TCP 127.0.0.1:1", "slow");
        let begun_body = format!("{head}Content-Length: 100\r\n\r\nbegun");
        for (sent, bound_ms) in [(&head[..60], 200), (&begun_body[..], 500), ("", 500)] {
            let begun = Instant::now();
            let mut peer = TcpStream::connect(bound[0].addr).await.unwrap();
            let (first, rest) = sent.split_at(sent.len() / 2);
            peer.write_all(first.as_bytes()).await.unwrap();
            tokio::time::sleep(milliseconds(100)).await; // more octets do not buy more time
            peer.write_all(rest.as_bytes()).await.unwrap();
            assert!(head_from(&mut peer).await.is_empty());
            let took = begun.elapsed();
            assert!(took >= milliseconds(bound_ms) && took < milliseconds(bound_ms + 5000), "{took:?} {bound_ms}");
        }
    });
}

#[test]
fn a_dribbled_message_is_found_at_its_last_octet() {
    worker(async {
        let (_node, bound) = node(&["tcp:127.0.0.1:0"], Asked::at_once());
        let mut peer = TcpStream::connect(bound[0].addr).await.unwrap();
        peer.set_nodelay(true).unwrap();
        for octet in message("MESSAGE", "TCP 127.0.0.1:1", "dribble", "no line end").as_bytes() {
            peer.write_all(&[*octet]).await.unwrap();
            tokio::time::sleep(std::time::Duration::from_micros(200)).await;
        }
        assert_eq!(status(&head_from(&mut peer).await), 200);
    });
}

#[test]
fn no_more_connections_than_allowed() {
    worker(async {
        let settings = Settings { connections: 2, ..settings() };
        let (node, bound) = node_with(&["tcp:127.0.0.1:0"], Tls::default(), settings, Asked::at_once());
        let first = TcpStream::connect(bound[0].addr).await.unwrap();
        let mut second = TcpStream::connect(bound[0].addr).await.unwrap();
        let mut third = TcpStream::connect(bound[0].addr).await.unwrap();
        assert!(head_from(&mut third).await.is_empty());
        assert_eq!(node.counters().rejected.get(), 1);
        second.write_all(register("TCP 127.0.0.1:1", "second").as_bytes()).await.unwrap();
        assert_eq!(status(&head_from(&mut second).await), 200);
        drop(first);
        // As soon as the node has seen that.
        let fourth = loop {
            let mut fourth = TcpStream::connect(bound[0].addr).await.unwrap();
            let _ = fourth.write_all(register("TCP 127.0.0.1:1", "fourth").as_bytes()).await;
            let answer = head_from(&mut fourth).await;
            if !answer.is_empty() {
                break answer;
            }
        };
        assert_eq!(status(&fourth), 200);
    });
}

#[test]
fn a_peer_that_does_not_read_is_given_up() {
    worker(async {
        let large = |request: Message<'_>, source: &Source| {
            let writer = ResponseWriter::new(&request, 200, source.addr, "ours");
            Answer::now(Some(writer.body("text/plain", &[b'x'; 60_000])))
        };
        let settings = Settings { unsent: 200_000, ..settings() };
        let (node, bound) = node_with(&["tcp:127.0.0.1:0"], Tls::default(), settings, Rc::new(large));
        let mut peer = TcpStream::connect(bound[0].addr).await.unwrap();
        let flood = async {
            for n in 0.. {
                let request = register("TCP 127.0.0.1:1", &format!("flood{n}"));
                if peer.write_all(request.as_bytes()).await.is_err() {
                    break;
                }
            }
        };
        timeout(SOON * 4, flood).await.expect("the node went on answering");
        assert!(node.counters().unsent.get() > 0);
    });
}

#[test]
fn a_request_goes_out_on_the_connection_that_the_peer_opened() {
    worker(async {
        let (node, bound) = node(&["tcp:127.0.0.1:0"], Asked::at_once());
        let mut peer = TcpStream::connect(bound[0].addr).await.unwrap();
        peer.write_all(register("TCP 127.0.0.1:1", "in").as_bytes()).await.unwrap();
        assert_eq!(status(&head_from(&mut peer).await), 200);
        let to = NextHop { transport: Transport::Tcp, addr: peer.local_addr().unwrap(), tls_name: None };
        let asking = tokio::task::spawn_local(async move { node.request(&to, outgoing("out", 0), SOON).await });
        let request = head_from(&mut peer).await;
        peer.write_all(&answer(&request, 202)).await.unwrap();
        assert_eq!(asking.await.unwrap().unwrap().status(), 202);
    });
}
