use super::*;
use crate::policy::verdict;
use crate::policy::{Defaults, FixedPolicy};
use crate::sip::transaction::Transport;

fn source() -> Source {
    let addr = "127.0.0.1:5060".parse().unwrap();
    Source { transport: Transport::Udp, addr, local: addr, peer_names: Arc::new([]) }
}

fn register(body: usize) -> Vec<u8> {
    let head = format!("REGISTER sip:home1.net SIP/2.0\r\nContent-Length: {body}\r\n\r\n");
    [head.as_bytes(), &vec![b'x'; body]].concat()
}

fn saw(tap: &Tap, octets: &[u8], unix: u64) {
    let (message, source) = (Message::parse(octets).unwrap(), source());
    let ctx = Context { impi: "alice", ..Context::arrival(&source, &[], unix) };
    let answer = || Opinion::Authorized(Defaults.authorized(&message, &ctx));
    tap.saw(&Question::Authorized { request: &message, ctx: &ctx }, answer);
}

#[test]
fn so_many_are_kept_so_many_a_second_and_none_too_large() {
    let tap = Tap::default();
    (0..200).for_each(|_| saw(&tap, &register(0), 1));
    assert_eq!(tap.last(1000).len(), KEPT);
    let first = tap.last(1000);
    saw(&tap, &register(0), 1);
    assert!(Arc::ptr_eq(first[0].octets().unwrap(), tap.last(1)[0].octets().unwrap()), "one copy of one message");
    saw(&tap, &register(10), 2);
    assert_eq!((tap.last(1000).len(), tap.last(1)[0].octets().unwrap().len()), (KEPT, register(10).len()));
    saw(&tap, &register(MAX_OCTETS), 3);
    assert_eq!(tap.last(1)[0].octets().unwrap().len(), register(10).len());
    assert_eq!(tap.last(3).len(), 3);
}

#[test]
fn a_listener_hears_every_one_until_it_has_enough() {
    let tap = Tap::default();
    (0..KEPT).for_each(|_| saw(&tap, &register(0), 1));
    let heard: std::rc::Rc<Cell<usize>> = Default::default();
    let count = heard.clone();
    tap.listen(Some(Box::new(move |_| {
        count.set(count.get() + 1);
        count.get() < 3
    })));
    (0..10).for_each(|_| saw(&tap, &register(0), 1));
    assert_eq!(heard.get(), 3);
}

#[test]
fn the_same_question_of_another_policy() {
    let tap = Tap::default();
    saw(&tap, &register(0), 1);
    let record = &tap.last(1)[0];
    assert_eq!(record.ask(&Defaults, &[]).as_ref(), Some(&record.answer));
    let other = verdict::Authorized::Accept { expires: Some(1) };
    let policy = FixedPolicy { authorized: Some(other.clone()), ..FixedPolicy::default() };
    assert_eq!(record.ask(&policy, &[]), Some(Opinion::Authorized(other)));
}
