use super::merge::merged;
use super::*;
use crate::registrar::Registration;
use crate::registrar::binding::{Binding, Origin, Parts, Text};
use crate::sip::transaction::{Source, Transport};

const TIMES: Times = Times { mono: Duration::from_secs(1000), store: Duration::from_secs(1_767_225_600) };

fn binding(uri: &str, call_id: &str, cseq: u32, since: u64) -> Binding {
    let addr = "192.0.2.1:5060".parse().unwrap();
    let source = Source { transport: Transport::Udp, addr, local: addr, peer_names: [].into() };
    Binding {
        text: Text::new(&Parts { uri, params: "", instance: None, call_id: call_id.as_bytes(), path: &[] }),
        reg_id: None,
        q: 1000,
        cseq,
        until: Duration::from_secs(since + 600).into(),
        latest: Duration::from_secs(since + 600).into(),
        since: TIMES.to_store(Duration::from_secs(since)),
        origin: Origin::new(&source),
    }
}

fn whole(bindings: Vec<Binding>) -> Option<Whole> {
    let impi = Impi::from("a@home1.net");
    let registration = Registration {
        impus: [Impu::from("sip:a@home1.net")].into(),
        bindings: bindings.into(),
        ..Registration::none(&impi)
    };
    Some(Whole { registration, leg: None, closed: 0 })
}

fn outcome(mine: Option<Whole>, theirs: Option<Whole>, gone: &[Gone]) -> Vec<(String, u32)> {
    let merged = merged(&Impi::from("a@home1.net"), mine, theirs, gone, 0, TIMES);
    let mut all: Vec<_> =
        merged.registration.bindings.into_iter().map(|binding| (binding.uri().to_owned(), binding.cseq)).collect();
    all.sort();
    all
}

#[test]
fn the_last_cseq_of_a_call_id_wins_whoever_saved_first() {
    // The one with the higher CSeq was taken earlier by its node's clock.
    let (early, late) = (binding("sip:a@192.0.2.1", "c", 2, 900), binding("sip:a@192.0.2.1", "c", 1, 901));
    for (mine, theirs) in [(&early, &late), (&late, &early)] {
        let all = outcome(whole(vec![mine.clone()]), whole(vec![theirs.clone()]), &[]);
        assert_eq!(all, [("sip:a@192.0.2.1".to_owned(), 2)]);
    }
}

#[test]
fn of_two_dialogs_the_later_register_wins() {
    let (early, late) = (binding("sip:a@192.0.2.1", "c", 9, 900), binding("sip:a@192.0.2.1", "d", 1, 901));
    for (mine, theirs) in [(&early, &late), (&late, &early)] {
        assert_eq!(outcome(whole(vec![mine.clone()]), whole(vec![theirs.clone()]), &[])[0].1, 1);
    }
}

#[test]
fn contacts_of_two_nodes_are_both_kept_and_what_was_taken_out_later_is_not() {
    let (one, two) = (binding("sip:a@192.0.2.1", "c", 1, 900), binding("sip:a@192.0.2.2", "d", 1, 910));
    let both = || (whole(vec![one.clone()]), whole(vec![two.clone()]));
    let (mine, theirs) = both();
    assert_eq!(outcome(mine, theirs, &[]).len(), 2);
    let at = |seconds: u64| TIMES.to_store(Duration::from_secs(seconds));
    let gone =
        |seconds| Gone { uri: one.uri().to_owned(), instance: None, reg_id: None, at: at(seconds), until: at(2000) };
    let (mine, theirs) = both();
    assert_eq!(outcome(mine, theirs, &[gone(950)]), [("sip:a@192.0.2.2".to_owned(), 1)]);
    let (mine, theirs) = both();
    assert_eq!(outcome(mine, theirs, &[gone(899)]).len(), 2, "it was registered anew since");
}

#[test]
fn what_the_store_has_lost_stays_and_what_is_over_is_not_brought_back() {
    assert_eq!(outcome(whole(vec![binding("sip:a@192.0.2.1", "c", 1, 900)]), None, &[]).len(), 1);
    assert_eq!(outcome(whole(vec![binding("sip:a@192.0.2.1", "c", 1, 300)]), None, &[]).len(), 0);
}
