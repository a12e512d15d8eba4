//! What is screened before it becomes a transaction (stage `receive`).

use crate::support::*;
use imscript::sip::edit::{self, Edit};
use imscript::sip::transport::{Screen, Transports};
use imscript::sip::{HeaderName, Message};
use std::cell::RefCell;
use std::rc::Rc;
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpStream, UdpSocket};

/// By Call-ID; counts how often each was asked.
fn screen(node: &Transports) -> Rc<RefCell<Vec<String>>> {
    let asked: Rc<RefCell<Vec<String>>> = Rc::default();
    let log = asked.clone();
    node.screen(Rc::new(move |request, _| {
        let id = String::from_utf8_lossy(request.header(HeaderName::CallId).unwrap()).into_owned();
        log.borrow_mut().push(id.clone());
        match id.as_str() {
            "drop" => Screen::Drop,
            "panic" => panic!("on purpose"),
            "reject" => Screen::Reject {
                status: 480,
                reason: "Not\r\nnow".into(),
                headers: [("Retry-After", "7"), ("X-Why", "a\r\nVia: b"), ("Contact", "<sip:evil>"), ("x y", "1")]
                    .map(|(name, value)| (name.to_owned(), value.to_owned()))
                    .into(),
            },
            "edit" => {
                let edits = [Edit::Set { name: "X-Seen".into(), value: "yes".into() }];
                Screen::Edited(edit::apply(request, &edits).unwrap())
            }
            "nonsense" => Screen::Edited(b"nonsense".to_vec()),
            _ => Screen::Pass,
        }
    }));
    asked
}

#[test]
fn each_new_request_is_screened_once_and_what_is_kept_out_leaves_nothing_behind() {
    worker(async {
        let handler = Asked::at_once();
        let (node, bound) = node(&["udp:127.0.0.1:0"], handler.clone());
        let asked = screen(&node);
        let peer = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let via = format!("UDP {};rport", peer.local_addr().unwrap());
        let send = async |id: &str| peer.send_to(register(&via, id).as_bytes(), bound[0].addr).await.unwrap();

        for _ in 0..2 {
            send("pass").await;
            assert_eq!(status(&receive(&peer).await.0), 200);
        }
        assert_eq!(*asked.borrow(), ["pass"], "a retransmission is answered from its transaction");

        send("edit").await;
        assert_eq!(status(&receive(&peer).await.0), 200);
        assert!(handler.requests.borrow()[1].0.contains("\r\nX-Seen: yes\r\n"));

        send("reject").await;
        let (first, _) = receive(&peer).await;
        send("reject").await;
        let (second, _) = receive(&peer).await;
        assert_eq!(first, second, "the same answer, though no transaction remembers it");
        let refusal = Message::parse(&first).unwrap();
        refusal.check().unwrap();
        assert_eq!((refusal.status(), refusal.reason()), (480, &b"Not now"[..]));
        assert_eq!(refusal.header(HeaderName::RetryAfter), Some(&b"7"[..]));
        assert_eq!(refusal.header_named("X-Why"), Some(&b"a Via: b"[..]));
        assert_eq!((refusal.vias().count(), refusal.header(HeaderName::Contact)), (1, None));

        send("drop").await;
        send("panic").await;
        silent(&peer).await;
        send("nonsense").await;
        assert_eq!(status(&receive(&peer).await.0), 200, "what no editor makes is not taken");
        assert_eq!(handler.calls(), ["pass", "edit", "nonsense"]);
        assert_eq!(node.in_flight(), 0);
        let counters = node.counters();
        assert_eq!((counters.screened.get(), counters.edited.get(), counters.refused.get()), (3, 2, 2));
    });
}

#[test]
fn a_stream_goes_on_after_what_was_screened() {
    worker(async {
        let handler = Asked::at_once();
        let (node, bound) = node(&["tcp:127.0.0.1:0"], handler.clone());
        screen(&node);
        let mut peer = TcpStream::connect(bound[0].addr).await.unwrap();
        for (id, answer) in [("drop", None), ("reject", Some(480)), ("edit", Some(200)), ("pass", Some(200))] {
            peer.write_all(register("TCP 127.0.0.1:5099", id).as_bytes()).await.unwrap();
            if let Some(answer) = answer {
                assert_eq!(status(&head_from(&mut peer).await), answer, "{id}");
            }
        }
        assert_eq!(handler.calls(), ["edit", "pass"]);
    });
}

#[test]
fn a_faulty_request_is_not_shown() {
    worker(async {
        let (node, bound) = node(&["udp:127.0.0.1:0"], Asked::at_once());
        let asked = screen(&node);
        let peer = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let via = format!("UDP {};rport", peer.local_addr().unwrap());
        let faulty = register(&via, "drop").replace("CSeq: 1 REGISTER", "CSeq: 1 MESSAGE");
        peer.send_to(faulty.as_bytes(), bound[0].addr).await.unwrap();
        assert_eq!(status(&receive(&peer).await.0), 400);
        assert!(asked.borrow().is_empty());
    });
}
