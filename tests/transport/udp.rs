use crate::support::*;
use imscript::answer::Answer;
use imscript::clock::Clock;
use imscript::sip::transaction::Source;
use imscript::sip::transport::{Direction, Handler, Settings, Sockets, Tls, Transports, bind};
use imscript::sip::{HeaderName, Message};
use std::cell::RefCell;
use std::net::SocketAddr;
use std::rc::Rc;
use tokio::net::UdpSocket;

#[test]
fn a_request_is_answered_once_and_its_retransmission_gets_the_same_octets() {
    worker(async {
        for any in ["127.0.0.1:0", "[::1]:0"] {
            let asked = Asked::at_once();
            let (node, bound) = node(&[&format!("udp:{any}")], asked.clone());
            let peer = UdpSocket::bind(any).await.unwrap();
            let here = peer.local_addr().unwrap();
            let request = register(&format!("UDP {here};rport"), "one");
            peer.send_to(request.as_bytes(), bound[0].addr).await.unwrap();
            let (first, from) = receive(&peer).await;
            assert_eq!((status(&first), from), (200, bound[0].addr));
            peer.send_to(request.as_bytes(), bound[0].addr).await.unwrap();
            assert_eq!(receive(&peer).await.0, first);
            assert_eq!(asked.count(), 1);
            assert_eq!(node.counters().retransmissions.get(), 1);
            let source = asked.requests.borrow()[0].1.clone();
            assert_eq!((source.addr, source.local), (here, bound[0].addr));
        }
    });
}

#[test]
fn a_retransmission_is_absorbed_while_the_answer_is_worked_out() {
    worker(async {
        let asked = Asked::held();
        let (node, bound) = node(&["udp:127.0.0.1:0"], asked.clone());
        let peer = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let request = register(&format!("UDP {};rport", peer.local_addr().unwrap()), "slow");
        for _ in 0..3 {
            peer.send_to(request.as_bytes(), bound[0].addr).await.unwrap();
        }
        while node.counters().retransmissions.get() < 2 {
            tokio::time::sleep(milliseconds(1)).await;
        }
        asked.release();
        assert_eq!(status(&receive(&peer).await.0), 200);
        silent(&peer).await;
        assert_eq!(asked.count(), 1);
    });
}

#[test]
fn without_rport_the_answer_goes_to_the_port_of_sent_by() {
    worker(async {
        let (_node, bound) = node(&["udp:127.0.0.1:0"], Asked::at_once());
        let [sends, receives] =
            [UdpSocket::bind("127.0.0.1:0").await.unwrap(), UdpSocket::bind("127.0.0.1:0").await.unwrap()];
        let via = format!("UDP phone.example:{}", receives.local_addr().unwrap().port());
        sends.send_to(register(&via, "old").as_bytes(), bound[0].addr).await.unwrap();
        assert_eq!(status(&receive(&receives).await.0), 200);
        sends.send_to(register(&format!("{via};rport"), "new").as_bytes(), bound[0].addr).await.unwrap();
        assert_eq!(status(&receive(&sends).await.0), 200);
    });
}

#[test]
fn clients_that_send_the_bare_cookie_are_told_apart() {
    worker(async {
        let asked = Asked::at_once();
        let (_node, bound) = node(&["udp:127.0.0.1:0"], asked.clone());
        let peer = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        for id in ["first", "second"] {
            let request = register(&format!("UDP {};rport", peer.local_addr().unwrap()), id)
                .replace(&format!("branch=z9hG4bK{id}"), "branch=z9hG4bK");
            peer.send_to(request.as_bytes(), bound[0].addr).await.unwrap();
            let (answer, _) = receive(&peer).await;
            assert_eq!(Message::parse(&answer).unwrap().header(HeaderName::CallId), Some(id.as_bytes()));
        }
        assert_eq!(asked.count(), 2);
    });
}

#[test]
fn what_is_faulty_is_refused_and_what_cannot_be_answered_is_dropped() {
    worker(async {
        let asked = Asked::at_once();
        let (node, bound) = node(&["udp:127.0.0.1:0"], asked.clone());
        let peer = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let via = format!("UDP {};rport", peer.local_addr().unwrap());
        let mismatch = register(&via, "fault").replace("CSeq: 1 REGISTER", "CSeq: 1 MESSAGE");
        peer.send_to(mismatch.as_bytes(), bound[0].addr).await.unwrap();
        let (refusal, _) = receive(&peer).await;
        assert_eq!(status(&refusal), 400);
        assert!(Message::parse(&refusal).unwrap().to().unwrap().tag().is_some());
        peer.send_to(mismatch.as_bytes(), bound[0].addr).await.unwrap();
        assert_eq!(receive(&peer).await.0, refusal, "the same To tag for a retransmission");

        let no_via = register(&via, "novia").lines().filter(|l| !l.starts_with("Via")).collect::<Vec<_>>().join("\r\n");
        let nonsense: Vec<Vec<u8>> = vec![
            b"hello".to_vec(),
            b"\r\n\r\n".to_vec(),
            vec![0; 4],
            vec![0xff; 65_000],
            Vec::new(),
            no_via.into_bytes(),
            message("ACK", &via, "ack", "").into_bytes(),
            answer(register(&via, "stray").as_bytes(), 200),
        ];
        for datagram in nonsense {
            peer.send_to(&datagram, bound[0].addr).await.unwrap();
        }
        silent(&peer).await;
        assert_eq!(asked.count(), 0);
        peer.send_to(register(&via, "alive").as_bytes(), bound[0].addr).await.unwrap();
        assert_eq!(status(&receive(&peer).await.0), 200);
        assert_eq!(node.in_flight(), 0);
    });
}

#[test]
fn a_handler_that_fails_or_keeps_silent_harms_nobody_else() {
    worker(async {
        let handler = |request: Message<'_>, source: &Source| match request.header(HeaderName::CallId) {
            Some(b"now") => panic!("on purpose"),
            Some(b"later") => Answer::later(async {
                tokio::task::yield_now().await;
                panic!("on purpose")
            }),
            Some(b"none") => Answer::now(None),
            _ => Answer::now(Some(ok(&request, source))),
        };
        let (node, bound) = node(&["udp:127.0.0.1:0"], Rc::new(handler));
        let peer = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let via = format!("UDP {};rport", peer.local_addr().unwrap());
        for id in ["now", "later", "none", "now"] {
            peer.send_to(register(&via, id).as_bytes(), bound[0].addr).await.unwrap();
        }
        silent(&peer).await;
        peer.send_to(register(&via, "good").as_bytes(), bound[0].addr).await.unwrap();
        assert_eq!(status(&receive(&peer).await.0), 200);
        assert_eq!(node.in_flight(), 0);
    });
}

#[test]
fn a_full_table_refuses_with_503_and_remembers_what_it_has() {
    worker(async {
        let asked = Asked::held();
        let settings = Settings { transactions: 1, ..Settings::default() };
        let (_node, bound) = node_with(&["udp:127.0.0.1:0"], Tls::default(), settings, asked.clone());
        let peer = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let via = format!("UDP {};rport", peer.local_addr().unwrap());
        peer.send_to(register(&via, "first").as_bytes(), bound[0].addr).await.unwrap();
        peer.send_to(register(&via, "second").as_bytes(), bound[0].addr).await.unwrap();
        assert_eq!(status(&receive(&peer).await.0), 503);
        asked.release();
        assert_eq!(status(&receive(&peer).await.0), 200);
        assert_eq!(asked.calls(), ["first"]);
    });
}

#[test]
fn stop_lets_handlers_finish_and_takes_nothing_new() {
    worker(async {
        let asked = Asked::held();
        let (node, bound) = node(&["udp:127.0.0.1:0", "tcp:127.0.0.1:0"], asked.clone());
        let peer = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let via = format!("UDP {};rport", peer.local_addr().unwrap());
        peer.send_to(register(&via, "running").as_bytes(), bound[0].addr).await.unwrap();
        asked.until_asked().await;
        let begun = std::time::Instant::now();
        let stopping = tokio::task::spawn_local(async move { node.stop(SOON).await });
        tokio::time::sleep(milliseconds(20)).await;
        peer.send_to(register(&via, "late").as_bytes(), bound[0].addr).await.unwrap();
        assert_eq!(status(&receive(&peer).await.0), 503);
        asked.release();
        assert_eq!(status(&receive(&peer).await.0), 200);
        stopping.await.unwrap();
        assert!(begun.elapsed() < SOON / 2);
        assert!(tokio::net::TcpStream::connect(bound[1].addr).await.is_err());
        assert_eq!(asked.calls(), ["running"]);
    });
}

#[test]
fn an_observer_sees_both_directions() {
    worker(async {
        let (node, bound) = node(&["udp:127.0.0.1:0"], Asked::at_once());
        type Seen = Vec<(Direction, SocketAddr, Vec<u8>)>;
        let seen: Rc<RefCell<Seen>> = Rc::default();
        let log = seen.clone();
        node.observe(Rc::new(move |direction, bytes, peer| {
            log.borrow_mut().push((direction, peer.addr, bytes.to_vec()));
        }));
        let peer = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let here = peer.local_addr().unwrap();
        let request = register(&format!("UDP {here};rport"), "seen");
        peer.send_to(request.as_bytes(), bound[0].addr).await.unwrap();
        let (response, _) = receive(&peer).await;
        let expected = [(Direction::In, here, request.into_bytes()), (Direction::Out, here, response)];
        assert_eq!(*seen.borrow(), expected);
        assert_eq!((node.counters().received.get(), node.counters().sent.get()), (1, 1));
    });
}

#[test]
fn workers_share_a_port() {
    let (sockets, bound) = bind(&["udp:127.0.0.1:0".parse().unwrap()], 2, &Tls::default()).unwrap();
    let (ready, started) = std::sync::mpsc::channel();
    let (over, _) = tokio::sync::broadcast::channel(1);
    let threads: Vec<_> = sockets
        .into_iter()
        .map(|sockets: Sockets| {
            let (ready, mut over) = (ready.clone(), over.subscribe());
            std::thread::spawn(move || {
                worker(async move {
                    let node = Transports::new(sockets, Tls::default(), Settings::default(), Clock::new()).unwrap();
                    let asked = Asked::at_once();
                    node.serve(asked.clone() as Rc<dyn Handler>);
                    ready.send(()).unwrap();
                    over.recv().await.unwrap();
                    asked.count()
                })
            })
        })
        .collect();
    for _ in 0..2 {
        started.recv().unwrap();
    }
    worker(async {
        for n in 0..32 {
            let peer = UdpSocket::bind("127.0.0.1:0").await.unwrap();
            let request = register(&format!("UDP {};rport", peer.local_addr().unwrap()), &format!("w{n}"));
            peer.send_to(request.as_bytes(), bound[0].addr).await.unwrap();
            assert_eq!(status(&receive(&peer).await.0), 200);
        }
    });
    over.send(()).unwrap();
    let counts: Vec<usize> = threads.into_iter().map(|thread| thread.join().unwrap()).collect();
    assert_eq!(counts.iter().sum::<usize>(), 32);
    assert!(counts.iter().all(|count| *count > 0), "{counts:?}");
}
