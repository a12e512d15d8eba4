use super::*;
use proptest::prelude::*;

const REQUEST: &str = "REGISTER sip:home1.net SIP/2.0\r\nv: SIP/2.0/UDP h.example;branch=z9hG4bK1\r\n\
    f: <sip:a@home1.net>;tag=1\r\nt: <sip:a@home1.net>\r\ni: c\r\nCSeq: 1 REGISTER\r\ns: one\r\n  folded\r\n\
    X-Site:  north  \r\nSubject: two\r\nUser-Agent: phone\r\nl: 4\r\n\r\nbody";

fn set(name: &str, value: &str) -> Edit {
    Edit::Set { name: name.into(), value: value.into() }
}

fn add(name: &str, value: &str) -> Edit {
    Edit::Add { name: name.into(), value: value.into() }
}

fn remove(name: &str) -> Edit {
    Edit::Remove { name: name.into() }
}

fn edited(text: &str, edits: &[Edit]) -> Result<String, EditError> {
    let message = Message::parse(text.as_bytes()).unwrap();
    apply(&message, edits).map(|octets| String::from_utf8(octets).unwrap())
}

#[test]
fn what_is_not_edited_stays_octet_for_octet() {
    assert_eq!(edited(REQUEST, &[]).unwrap(), REQUEST);
    let lf = REQUEST.replace("\r\n", "\n");
    assert_eq!(edited(&lf, &[]).unwrap(), lf);
    assert_eq!(
        edited(REQUEST, &[set("x-site", "south")]).unwrap(),
        REQUEST.replace("X-Site:  north  \r\n", "x-site: south\r\n")
    );
    assert_eq!(edited(&lf, &[remove("User-Agent")]).unwrap(), lf.replace("User-Agent: phone\n", ""));
}

#[test]
fn compact_and_folded_lines_are_lines_of_their_field() {
    let without = REQUEST.replace("s: one\r\n  folded\r\n", "").replace("Subject: two\r\n", "");
    assert_eq!(edited(REQUEST, &[remove("subject")]).unwrap(), without);
    assert_eq!(edited(REQUEST, &[remove("s")]).unwrap(), without);
    let one = REQUEST.replace("s: one\r\n  folded\r\n", "Subject: x\r\n").replace("Subject: two\r\n", "");
    assert_eq!(edited(REQUEST, &[set("Subject", "x")]).unwrap(), one);
    assert_eq!(
        edited(REQUEST, &[add("Subject", "three")]).unwrap(),
        REQUEST.replace("Subject: two\r\n", "Subject: two\r\nSubject: three\r\n")
    );
}

#[test]
fn edits_add_up_in_their_order_and_new_fields_come_last() {
    let edits = [add("X-A", "1"), add("X-A", "2"), set("X-B", "3"), set("x-a", "4"), remove("X-B"), remove("X-None")];
    assert_eq!(edited(REQUEST, &edits).unwrap(), REQUEST.replace("l: 4\r\n", "l: 4\r\nx-a: 4\r\n"));
}

#[test]
fn protected_fields_in_every_spelling() {
    for name in [
        "Via",
        "v",
        "FROM",
        "f",
        "t",
        "Call-ID",
        "i",
        "cseq",
        "m",
        "contact",
        "l",
        "Content-Length",
        "c",
        "content-type",
        "Content-Foo",
        "e",
        "Max-Forwards",
        "Route",
        "Record-Route",
        "Path",
        "Service-Route",
        "Require",
        "Proxy-Require",
        "Proxy-Authorization",
        "Authorization",
        "www-authenticate",
        "Authentication-Info",
        "Security-Verify",
        "P-Asserted-Identity",
        "p-associated-uri",
        "P-Charging-Vector",
        "Bcast-Ext",
        "Expires",
        "o",
        "y",
        "r",
        "b",
        "x",
    ] {
        for edit in [set(name, "x"), add(name, "x"), remove(name)] {
            assert_eq!(edited(REQUEST, &[add("X-Ok", "1"), edit]), Err(EditError::Protected(name.into())), "{name}");
        }
    }
    for name in ["Subject", "s", "User-Agent", "Warning", "Retry-After", "X-Anything", "Supported", "Allow"] {
        assert!(!is_protected(name), "{name}");
    }
}

#[test]
fn values_cannot_break_out_of_their_line() {
    for value in ["a\r\nVia: x", "a\nb", "a\0b", "a\tb", "a\u{85}b", "", "  "] {
        assert_eq!(edited(REQUEST, &[set("X-A", value)]), Err(EditError::Value("X-A".into())), "{value:?}");
    }
    for name in ["", "X A", "X:A", "X\r\nVia", "Ü", &"x".repeat(65)] {
        assert!(matches!(edited(REQUEST, &[set(name, "x")]), Err(EditError::Name(_))), "{name:?}");
    }
    assert!(matches!(edited(REQUEST, &[set("X-A", &"x".repeat(4097))]), Err(EditError::Long(_))));
    assert!(edited(REQUEST, &[set("X-A", &"x".repeat(4096))]).is_ok());
    assert!(matches!(edited(REQUEST, &vec![remove("X-A"); 65]), Err(EditError::Many)));
}

#[test]
fn a_message_that_would_be_refused_is_not_made() {
    // Two dates, and one that is none.
    assert!(matches!(edited(REQUEST, &[set("Date", "tomorrow")]), Err(EditError::Spoilt(_))));
    let many: String = (0..100).map(|n| format!("X-{n}: 1\r\n")).collect();
    let full = REQUEST.replace("l: 4\r\n", &format!("{many}l: 4\r\n"));
    let room = 128 - Message::parse(full.as_bytes()).unwrap().all_headers().count();
    let more: Vec<_> = (0..=room).map(|n| add(&format!("Y-{n}"), "1")).collect();
    assert!(edited(&full, &more[..room]).is_ok());
    assert!(matches!(edited(&full, &more), Err(EditError::Spoilt(_))));
    assert!(matches!(edited(&REQUEST.replace("X-Site:", "X-Site"), &[]), Err(EditError::Faulty(_))));
    let large = format!("{}{}", REQUEST.replace("l: 4", "l: 64000"), "x".repeat(63_996));
    assert!(edited(&large, &[remove("X-Site")]).is_ok());
    assert!(matches!(edited(&large, &[add("X-A", &"x".repeat(2000))]), Err(EditError::Faulty(_))));
}

proptest! {
    /// Whatever is asked for: the fields that are protected, and the body, are the same afterwards.
    #[test]
    fn protected_fields_and_body_survive_anything(
        asked in proptest::collection::vec(("[A-Za-z-]{1,12}|[a-z]", "\\PC{0,20}", 0..3usize), 0..6),
        body in "\\PC{0,30}",
    ) {
        let text = REQUEST.replace("l: 4\r\n\r\nbody", &format!("l: {}\r\n\r\n{body}", body.len()));
        let edits: Vec<Edit> = asked.into_iter().map(|(name, value, kind)| match kind {
            0 => set(&name, &value),
            1 => add(&name, &value),
            _ => remove(&name),
        }).collect();
        let before = Message::parse(text.as_bytes()).unwrap();
        if let Ok(octets) = apply(&before, &edits) {
            let after = Message::parse(&octets).unwrap();
            prop_assert!(after.check().is_ok());
            prop_assert_eq!(after.body(), before.body());
            prop_assert_eq!(after.bytes().len(), octets.len());
            let kept = |m: &Message<'_>| m.all_headers()
                .filter(|(name, _)| is_protected(std::str::from_utf8(name).unwrap()))
                .map(|(name, value)| (name.to_vec(), value.to_vec())).collect::<Vec<_>>();
            prop_assert_eq!(kept(&after), kept(&before));
        }
    }
}
