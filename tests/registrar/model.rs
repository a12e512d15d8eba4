//! Bindings against a model of RFC 3261 §10.3, and the limits of the times granted, on random requests.

use crate::network::{seconds, source};
use imscript::identity::{Impi, Impu, Impus};
use imscript::registrar::registration::{BindingError, Plan};
use imscript::registrar::table::Table;
use imscript::registrar::{Limits, Registration};
use imscript::sip::Message;
use imscript::sip::transaction::Transport;
use proptest::prelude::*;
use std::collections::BTreeMap;
use std::time::Duration;

fn request(call: u8, cseq: u32, lines: &str) -> Message<'static> {
    let text = format!(
        "REGISTER sip:h SIP/2.0\r\nVia: SIP/2.0/UDP h;branch=z9hG4bK1\r\nFrom: <sip:a@h>;tag=1\r\nTo: <sip:a@h>\r\n\
         Call-ID: c{call}\r\nCSeq: {cseq} REGISTER\r\n{lines}Content-Length: 0\r\n\r\n"
    );
    Message::parse_owned(text.into_bytes()).unwrap()
}

proptest! {
    #[test]
    fn what_is_granted_is_within_the_limits(
        (min, default, max) in (1u32..1000).prop_flat_map(|min| (Just(min), min..5000))
            .prop_flat_map(|(min, default)| (Just(min), Just(default), default..20_000)),
        of_contact in proptest::option::of(0u32..30_000),
        of_header in proptest::option::of(prop_oneof![0u32..30_000, Just(u32::MAX)]),
        ceiling in proptest::option::of(0u32..30_000),
    ) {
        let limits = Limits { min_expires: min, default_expires: default, max_expires: max, max_contacts: 3 };
        let contact = of_contact.map_or(String::new(), |s| format!(";expires={s}"));
        let header = of_header.map_or(String::new(), |s| format!("Expires: {s}\r\n"));
        let request = request(1, 1, &format!("Contact: <sip:a@h>{contact}\r\n{header}"));
        let wanted = of_contact.or(of_header).unwrap_or(default);
        match Plan::read(&request, &limits).map(|plan| match ceiling {
            Some(ceiling) => plan.at_most(ceiling, &limits),
            None => plan,
        }) {
            Ok(Plan::Change(granted)) => {
                let granted = granted[0].1;
                prop_assert!(wanted == 0 || wanted >= min);
                prop_assert_eq!(granted == 0, wanted == 0);
                prop_assert!(granted <= max && granted <= wanted);
                prop_assert!(granted == 0 || granted >= min);
                prop_assert!(ceiling.is_none_or(|c| granted <= c.max(min)));
            }
            Err(BindingError::TooBrief(said)) => prop_assert!(said == min && wanted != 0 && wanted < min),
            other => prop_assert!(false, "{other:?}"),
        }
    }

    #[test]
    fn bindings_follow_the_model(steps in proptest::collection::vec(step(), 1..60)) {
        run(steps)?;
    }
}

#[derive(Debug, Clone)]
struct Step {
    call: u8,
    cseq: u32,
    /// Contact and seconds; none: `*`.
    contacts: Vec<(u8, u32)>,
    pause: u64,
}

fn step() -> impl Strategy<Value = Step> {
    let seconds = prop_oneof![Just(0u32), 60u32..200];
    (0u8..2, 1u32..30, proptest::collection::vec((0u8..5, seconds), 0..4), 0u64..80)
        .prop_map(|(call, cseq, contacts, pause)| Step { call, cseq, contacts, pause })
}

fn run(steps: Vec<Step>) -> Result<(), TestCaseError> {
    let limits = Limits { min_expires: 60, default_expires: 3600, max_expires: 600_000, max_contacts: 3 };
    let (impi, impus): (_, Impus) = (Impi::from("a"), [Impu::from("sip:a@h"), Impu::from("tel:+1")].into());
    let from = source(Transport::Udp, "127.0.0.1:1");
    let table = Table::default();
    // Contact → end, Call-ID, CSeq.
    let mut model: BTreeMap<u8, (Duration, u8, u32)> = BTreeMap::new();
    let mut now = Duration::ZERO;
    for Step { call, cseq, contacts, pause } in steps {
        now += seconds(pause);
        model.retain(|_, (until, ..)| *until > now);
        let ended = table.expire(now, |_| Some(()));
        prop_assert!(ended.iter().all(|(e, ())| e.registration.bindings.iter().all(|b| b.until <= now)));
        check(&table, &model)?;

        let lines = match contacts.as_slice() {
            [] => "Contact: *\r\nExpires: 0\r\n".to_string(),
            list => list.iter().map(|(c, s)| format!("Contact: <sip:{c}@h>;expires={s}\r\n")).collect(),
        };
        let request = request(call, cseq, &lines);
        let plan = Plan::read(&request, &limits).unwrap();
        let (result, _) =
            table.update(&impi, &impus, |r: &mut Registration| r.apply(&plan, &request, &from, &limits, now, 0));

        let outdated = |(_, c, s): &(Duration, u8, u32)| *c == call && cseq <= *s;
        let named = |contact: &u8| contacts.is_empty() || contacts.iter().any(|(c, _)| c == contact);
        if model.iter().any(|(contact, held)| named(contact) && outdated(held)) {
            prop_assert_eq!(result, Err(BindingError::OutOfOrder));
        } else {
            let mut next = model.clone();
            if contacts.is_empty() {
                next.clear();
            }
            for (contact, s) in &contacts {
                match s {
                    0 => drop(next.remove(contact)),
                    s => drop(next.insert(*contact, (now + seconds(u64::from(*s)), call, cseq))),
                }
            }
            if next.len() > limits.max_contacts {
                prop_assert_eq!(result, Err(BindingError::TooMany(3)));
            } else {
                prop_assert_eq!(result, Ok(()));
                model = next;
            }
        }
        check(&table, &model)?;
    }
    now += seconds(1000);
    table.expire(now, |_| Some(()));
    prop_assert!(table.is_empty());
    prop_assert!(table.private_identity("tel:+1").is_none());
    Ok(())
}

fn check(table: &Table, model: &BTreeMap<u8, (Duration, u8, u32)>) -> Result<(), TestCaseError> {
    let held: BTreeMap<String, Duration> = table
        .get("a")
        .map_or(BTreeMap::new(), |r| r.bindings.iter().map(|b| (b.uri().to_string(), b.until.get())).collect());
    let wanted: BTreeMap<String, Duration> =
        model.iter().map(|(c, (until, ..))| (format!("sip:{c}@h"), *until)).collect();
    prop_assert_eq!(held, wanted);
    prop_assert_eq!(table.private_identity("tel:+1").is_some(), !model.is_empty());
    Ok(())
}
