use super::*;

fn uri(text: &str) -> Uri<'_> {
    Uri::parse(text.as_bytes()).unwrap_or_else(|e| panic!("{text}: {e}"))
}

#[test]
fn equal_pairs_of_the_clause() {
    for (a, b) in [
        ("sip:%61lice@atlanta.com;transport=TCP", "sip:alice@AtLanTa.CoM;Transport=tcp"),
        ("sip:carol@chicago.com", "sip:carol@chicago.com;newparam=5"),
        ("sip:carol@chicago.com", "sip:carol@chicago.com;security=on"),
        ("sip:carol@chicago.com;newparam=5", "sip:carol@chicago.com;security=on"),
        (
            "sip:biloxi.com;transport=tcp;method=REGISTER?to=sip:bob%40biloxi.com",
            "sip:biloxi.com;method=REGISTER;transport=tcp?to=sip:bob%40biloxi.com",
        ),
        (
            "sip:alice@atlanta.com?subject=project%20x&priority=urgent",
            "sip:alice@atlanta.com?priority=urgent&subject=project%20x",
        ),
        ("sip:cal%6Cer@h.example;%6C%72;n%61me=v%61lue%25%34%31", "sip:caller@h.example;lr;name=value%2541"),
        ("SIP:a@[2001:DB8::1]", "sip:a@[2001:db8:0::1]"),
        ("tel:+1-201-555-0123", "tel:+1(201)5550123"),
        ("tel:7042;phone-context=Example.com", "tel:7042;PHONE-CONTEXT=example.com"),
        ("urn:service:sos", "URN:service:sos"),
    ] {
        assert!(uri(a).equivalent(&uri(b)), "{a} {b}");
        assert!(uri(b).equivalent(&uri(a)), "{b} {a}");
    }
}

#[test]
fn of_a_parameter_that_stands_twice_the_first_counts() {
    // The second was found by the fuzzer: a URI that was not equal to itself, and so a contact that none could refresh.
    for (a, b) in [
        ("sip:a@b;x=1;x=2", "sip:a@b;x=1;x=2"),
        (
            "sips:p;lr;;f;branch=z9hG4bKdf09]f;branch=z9hG4bKdf18]",
            "sips:p;lr;;f;branch=z9hG4bKdf09]f;branch=z9hG4bKdf18]",
        ),
        ("sip:a@b;x=1;X=2", "sip:a@b;x=1"),
        ("sip:a@b;x=1;x=2", "sip:a@b;%78=1"),
    ] {
        assert!(uri(a).equivalent(&uri(b)), "{a} {b}");
        assert!(uri(b).equivalent(&uri(a)), "{b} {a}");
    }
    for (a, b) in [("sip:a@b;x=1;x=2", "sip:a@b;x=2"), ("sip:a@b;x=1;x=2", "sip:a@b;x=2;x=1")] {
        assert!(!uri(a).equivalent(&uri(b)), "{a} {b}");
        assert!(!uri(b).equivalent(&uri(a)), "{b} {a}");
    }
}

#[test]
fn unequal_pairs_of_the_clause() {
    for (a, b) in [
        ("SIP:ALICE@AtLanTa.CoM;Transport=udp", "sip:alice@AtLanTa.CoM;Transport=UDP"),
        ("sip:bob@biloxi.com", "sip:bob@biloxi.com:5060"),
        ("sip:bob@biloxi.com", "sip:bob@biloxi.com;transport=udp"),
        ("sip:bob@biloxi.com", "sip:bob@biloxi.com:6000;transport=tcp"),
        ("sip:carol@chicago.com", "sip:carol@chicago.com?Subject=next%20meeting"),
        ("sip:bob@phone21.boxesbybob.com", "sip:bob@192.0.2.4"),
        ("sip:carol@chicago.com;security=on", "sip:carol@chicago.com;security=off"),
        ("sip:a@b", "sips:a@b"),
        ("sip:a@b", "sip:b"),
        ("sip:a@b", "sip:a:pw@b"),
        ("sip:a@b", "sip:a@b;maddr=c"),
        ("sip:a@b", "sip:a@b;user=ip"),
        ("sip:a@b", "sip:a@b;ttl=1"),
        ("sip:a%3Bb@c", "sip:a;b@c"),
        ("sip:%00@host5.example.com", "sip:%00%00@host5.example.com"),
        ("sip:a@b?x=1", "sip:a@b?x=2"),
        ("tel:+1", "sip:+1@b"),
        ("tel:+1", "tel:+1;isub=1"),
        ("tel:7042;phone-context=a.com", "tel:7042;phone-context=b.com"),
        ("urn:a:b", "urn:a:B"),
    ] {
        assert!(!uri(a).equivalent(&uri(b)), "{a} {b}");
        assert!(!uri(b).equivalent(&uri(a)), "{b} {a}");
    }
}

#[test]
fn canonical_address_of_record() {
    for (text, aor) in [
        ("SIP:%61lice:secret@AtLanTa.CoM:5060;user=phone?a=b", "sip:alice@atlanta.com"),
        ("sips:Bob@b.example:5061", "sips:Bob@b.example"),
        ("sips:Bob@b.example:5060", "sips:Bob@b.example:5060"),
        ("sip:null-%00-null@example.com", "sip:null-%00-null@example.com"),
        ("sip:sips%3auser%40example.com@example.net", "sip:sips%3Auser%40example.com@example.net"),
        ("sip:user;par=u%40example.net@example.com", "sip:user;par=u%40example.net@example.com"),
        ("sip:*21#@h", "sip:*21%23@h"),
        ("sip:*21%23@h", "sip:*21%23@h"),
        ("sip:[2001:DB8:0::1]:5070", "sip:[2001:db8::1]:5070"),
        ("sip:example.com", "sip:example.com"),
        ("tel:+1-201-555(0123)", "tel:+12015550123"),
        ("tel:+12015550123;npdi", "tel:+12015550123"),
        ("tel:70-42;phone-context=Example.COM;x=y", "tel:7042;phone-context=example.com"),
        ("URN:service:sos", "urn:service:sos"),
    ] {
        assert_eq!(uri(text).aor(), aor, "{text}");
    }
}

#[test]
fn parts_and_conveniences() {
    let Uri::Sip(u) =
        uri("sips:1_u?x,/;;*:&it+has=1@h.example:5062;Transport=tcp;%6c%72;maddr=239.255.255.1?a=b&c=%64")
    else {
        panic!()
    };
    assert!(u.secure);
    assert_eq!(u.user, Some(&b"1_u?x,/;;*"[..]));
    assert_eq!(u.password, Some(&b"&it+has=1"[..]));
    assert_eq!((u.host, u.port), (Host::Name(b"h.example"), Some(5062)));
    assert_eq!(u.transport().as_deref(), Some(&b"tcp"[..]));
    assert_eq!(u.maddr().as_deref(), Some(&b"239.255.255.1"[..]));
    assert!(u.lr());
    assert_eq!(u.headers, b"a=b&c=%64");
    assert_eq!(uri("sip:a:pw@B:1;x?y=z").to_string(), "sip:a@B:1;x?y=z");
    assert_eq!(uri("tel:+1-2;x=y").to_string(), "tel:+1-2;x=y");
    assert_eq!(Host::parse(b"[::1]").unwrap().to_string(), "[::1]");
    let Uri::Sip(u) = uri("sip:%00@h") else { panic!() };
    assert_eq!(u.user_decoded().as_deref(), Some(&b"\0"[..]));
}

#[test]
fn refused() {
    for text in [
        "",
        "sip",
        "sip:",
        ":a",
        "sip:@h",
        "sip:a@",
        "sip:a@h:",
        "sip:a@h:0",
        "sip:a@h:99999",
        "sip:a@h:x",
        "sip:a@b@c",
        "sip:a@h;x=@",
        "<sip:a@h>",
        "sip:a b@h",
        "sip:a@h ",
        "sip:a%4@h",
        "sip:a%zz@h",
        "sip:2001:db8::10",
        "sip:[2001:db8:::192.0.2.1]",
        "sip:[::1",
        "sip:a@1.2.3.256",
        "sip:a@h..x",
        "sip:a@.h",
        "sip:a@h!",
        "tel:",
        "tel:abc!",
        "tel:-",
        "1x:y",
        "sip:a\u{e9}@h",
        "sip:a@h\0",
        "sip:a@[::1]x",
    ] {
        assert!(Uri::parse(text.as_bytes()).is_err(), "{text}");
    }
    assert!(Uri::parse(format!("sip:a@h{}", ";x".repeat(65)).as_bytes()).is_err());
    assert!(Uri::parse(format!("sip:a@h?{}", "x&".repeat(65)).as_bytes()).is_err());
}
