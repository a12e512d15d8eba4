use crate::support::*;
use imscript::cli::network::free_address;
use imscript::sip::transaction::{NextHop, Outbound, SendError, Transport};
use imscript::sip::transport::Transports;
use imscript::sip::{HeaderName, Message};
use std::net::{Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, UdpSocket};
use tokio::task::JoinHandle;
use tokio::time::timeout;

type Outcome = Result<Message<'static>, SendError>;

fn hop(transport: Transport, addr: SocketAddr) -> NextHop {
    NextHop { transport, addr, tls_name: None }
}

/// Asks in the background, with the time that it took.
fn ask(node: &Transports, to: NextHop, request: Vec<u8>, within: Duration) -> JoinHandle<(Outcome, Duration)> {
    let node = node.clone();
    tokio::task::spawn_local(async move {
        let begun = Instant::now();
        (node.request(&to, request, within).await, begun.elapsed())
    })
}

/// Where nobody else listens, by UDP or TCP.
fn own_address() -> SocketAddr {
    free_address(Ipv4Addr::LOCALHOST.into()).unwrap()
}

fn client() -> Transports {
    node(&[], Asked::at_once()).0
}

#[test]
fn over_udp_the_via_names_the_port_that_the_request_left_from() {
    worker(async {
        for any in ["127.0.0.1:0", "[::1]:0"] {
            let node = client();
            let peer = UdpSocket::bind(any).await.unwrap();
            let to = hop(Transport::Udp, peer.local_addr().unwrap());
            let asking = ask(&node, to.clone(), outgoing("udp", 10), SOON);
            let (request, from) = receive(&peer).await;
            let parsed = Message::parse(&request).unwrap();
            parsed.check().unwrap();
            let via = parsed.top_via().unwrap();
            assert_eq!((via.transport, via.port), (&b"UDP"[..], Some(from.port())));
            assert!(via.params.has("rport") && via.branch().unwrap().starts_with(b"z9hG4bK"));
            assert_eq!(parsed.body(), b"xxxxxxxxxx");
            assert_eq!(node.local_address(&to).await.unwrap(), from);
            peer.send_to(&answer(&request, 100), from).await.unwrap();
            peer.send_to(&answer(&request, 401), from).await.unwrap();
            peer.send_to(&answer(&request, 200), from).await.unwrap();
            assert_eq!(asking.await.unwrap().0.unwrap().status(), 401, "the first final response counts");
        }
    });
}

#[test]
fn a_lost_request_is_sent_again_with_the_same_octets() {
    worker(async {
        let node = client();
        let peer = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let begun = Instant::now();
        let asking = ask(&node, hop(Transport::Udp, peer.local_addr().unwrap()), outgoing("again", 0), SOON);
        let (lost, _) = receive(&peer).await;
        let (again, from) = receive(&peer).await;
        assert!(begun.elapsed() >= milliseconds(500), "{:?}", begun.elapsed());
        assert_eq!(lost, again);
        peer.send_to(&answer(&again, 200), from).await.unwrap();
        assert_eq!(asking.await.unwrap().0.unwrap().status(), 200);
        assert_eq!(node.counters().resent.get(), 1);
    });
}

#[test]
fn a_dead_peer_costs_no_more_than_the_time_given() {
    worker(async {
        let node = client();
        let silent = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let mute = TcpListener::bind("127.0.0.1:0").await.unwrap();
        for to in [hop(Transport::Udp, silent.local_addr().unwrap()), hop(Transport::Tcp, mute.local_addr().unwrap())] {
            let (outcome, took) = ask(&node, to, outgoing("dead", 0), milliseconds(700)).await.unwrap();
            assert_eq!(outcome.unwrap_err(), SendError::Timeout);
            assert!(took >= milliseconds(700) && took < SOON / 2, "{took:?}");
        }
        assert_eq!(node.counters().timeouts.get(), 2);
    });
}

#[test]
fn a_peer_that_refuses_or_breaks_the_connection_is_unreachable_at_once() {
    worker(async {
        let node = client();
        let listener = TcpListener::bind(own_address()).await.unwrap();
        let to = hop(Transport::Tcp, listener.local_addr().unwrap());
        let asking =
            [ask(&node, to.clone(), outgoing("midway", 0), SOON), ask(&node, to.clone(), outgoing("midway2", 0), SOON)];
        let (mut stream, _) = listener.accept().await.unwrap();
        head_from(&mut stream).await;
        stream.write_all(b"SIP/2.0 200 OK\r\nVia: ").await.unwrap();
        drop(stream);
        drop(listener);
        for asking in asking {
            let (outcome, took) = asking.await.unwrap();
            assert!(matches!(outcome, Err(SendError::Unreachable(_))), "{outcome:?}");
            assert!(took < SOON / 2, "{took:?}");
        }
        let (outcome, took) = ask(&node, to, outgoing("refused", 0), SOON).await.unwrap();
        assert!(matches!(outcome, Err(SendError::Unreachable(_))), "{outcome:?}");
        assert!(took < SOON / 2, "{took:?}");
        assert_eq!(node.in_flight(), 0);
    });
}

#[test]
fn a_connection_is_kept_for_the_next_request_and_carries_the_peers_own() {
    worker(async {
        let asked = Asked::at_once();
        let node = node(&[], asked.clone()).0;
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let to = hop(Transport::Tcp, listener.local_addr().unwrap());
        let both = [ask(&node, to.clone(), outgoing("a", 0), SOON), ask(&node, to.clone(), outgoing("b", 0), SOON)];
        let (mut stream, from) = listener.accept().await.unwrap();
        assert_eq!(node.local_address(&to).await.unwrap(), from);
        let requests = [head_from(&mut stream).await, head_from(&mut stream).await];
        for request in requests.iter().rev() {
            stream.write_all(&answer(request, 200)).await.unwrap();
        }
        for (asking, call) in both.into_iter().zip([b"a", b"b"]) {
            let response = asking.await.unwrap().0.unwrap();
            assert_eq!(response.header(HeaderName::CallId), Some(&call[..]), "matched by branch, not by order");
        }
        let third = ask(&node, to, outgoing("c", 0), SOON);
        let request = head_from(&mut stream).await;
        stream.write_all(register("TCP 127.0.0.1:1", "theirs").as_bytes()).await.unwrap();
        assert_eq!(status(&head_from(&mut stream).await), 200);
        stream.write_all(&answer(&request, 200)).await.unwrap();
        assert_eq!(third.await.unwrap().0.unwrap().status(), 200);
        assert_eq!(node.counters().opened.get(), 1);
        assert_eq!(asked.calls(), ["theirs"]);
    });
}

#[test]
fn a_large_request_to_a_udp_peer_goes_over_tcp_if_the_peer_takes_that() {
    worker(async {
        let node = client();
        let own = own_address();
        let listener = TcpListener::bind(own).await.unwrap();
        let datagrams = UdpSocket::bind(own).await.unwrap();
        let to = hop(Transport::Udp, listener.local_addr().unwrap());
        let small = ask(&node, to.clone(), outgoing("small", 600), SOON);
        let (request, from) = receive(&datagrams).await;
        datagrams.send_to(&answer(&request, 200), from).await.unwrap();
        assert_eq!(small.await.unwrap().0.unwrap().status(), 200);

        let large = ask(&node, to, outgoing("large", 1300), SOON);
        let (mut stream, _) = timeout(SOON, listener.accept()).await.unwrap().unwrap();
        let request = head_from(&mut stream).await;
        assert_eq!(Message::parse(&request).unwrap().top_via().unwrap().transport, b"TCP");
        let mut body = vec![0; 1300];
        stream.read_exact(&mut body).await.unwrap();
        stream.write_all(&answer(&request, 200)).await.unwrap();
        assert_eq!(large.await.unwrap().0.unwrap().status(), 200);
    });
}

#[test]
fn a_large_request_to_a_peer_without_tcp_goes_over_udp() {
    worker(async {
        let node = client();
        let peer = UdpSocket::bind(own_address()).await.unwrap();
        for id in ["large", "large2"] {
            let asking = ask(&node, hop(Transport::Udp, peer.local_addr().unwrap()), outgoing(id, 3000), SOON);
            let (request, from) = receive(&peer).await;
            assert_eq!(Message::parse(&request).unwrap().top_via().unwrap().transport, b"UDP");
            peer.send_to(&answer(&request, 200), from).await.unwrap();
            assert_eq!(asking.await.unwrap().0.unwrap().status(), 200);
        }
        assert_eq!(node.counters().opened.get(), 1, "a refusal is remembered");
    });
}

#[test]
fn an_answer_that_cannot_be_read_and_one_that_is_not_ours() {
    worker(async {
        let node = client();
        let peer = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let asking = ask(&node, hop(Transport::Udp, peer.local_addr().unwrap()), outgoing("odd", 0), SOON);
        let (request, from) = receive(&peer).await;
        let good = String::from_utf8(answer(&request, 200)).unwrap();
        for stray in [good.replace("CSeq: 1 REGISTER", "CSeq: 1 MESSAGE"), good.replace("branch=z9hG4bK", "branch=y")] {
            peer.send_to(stray.as_bytes(), from).await.unwrap();
        }
        tokio::time::sleep(QUIET).await;
        assert!(!asking.is_finished());
        peer.send_to(good.replace("Call-ID", "Call-Nothing").as_bytes(), from).await.unwrap();
        assert!(matches!(asking.await.unwrap().0, Err(SendError::BadAnswer(_))));
    });
}

#[test]
fn a_request_that_nobody_waits_for_is_not_sent_again() {
    worker(async {
        let node = client();
        let peer = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let asking = ask(&node, hop(Transport::Udp, peer.local_addr().unwrap()), outgoing("dropped", 0), SOON);
        receive(&peer).await;
        asking.abort();
        tokio::time::sleep(milliseconds(600)).await;
        silent(&peer).await;
        assert_eq!(node.in_flight(), 0);
    });
}

#[test]
fn two_nodes_talk_over_every_transport_and_family() {
    worker(async {
        for listen in ["udp:127.0.0.1:0", "tcp:127.0.0.1:0", "udp:[::1]:0", "tcp:[::1]:0"] {
            let asked = Asked::held();
            asked.release();
            let (_server, bound) = node(&[listen], asked.clone());
            let node = client();
            let to = hop(bound[0].transport, bound[0].addr);
            for n in 0..3 {
                let outcome = node.request(&to, outgoing(&format!("n{n}"), 100), SOON).await;
                assert_eq!(outcome.unwrap().status(), 200, "{listen}");
            }
            assert_eq!(asked.count(), 3);
        }
    });
}
