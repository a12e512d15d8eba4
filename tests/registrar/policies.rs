//! The policies of `lua/policy/`, as they come: each decides a real registration the way its file says.

use crate::broadcast::SPROV;
use crate::messages::{alert, bsm, btid};
use crate::network::*;
use crate::phone::*;
use crate::shared_naf::three;
use imscript::broadcast::peer::Peer;
use imscript::hss::RegState;
use imscript::policy::lua::{Env, Generation, LuaPolicy, PolicySource, Unit};
use imscript::policy::{Chain, ServerView};
use imscript::registrar::Settings;
use imscript::sip::transaction::Transport;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// north, south and east have every NAF of these tests, overview has one of its own.
fn servers() -> Settings {
    let base = three();
    let server = |name: &str, port: u16, nafs: &[&str]| {
        let mut peer: Peer = Peer::clone(&base.servers[0]);
        peer.name = name.into();
        peer.hop.addr.set_port(port);
        peer.naf_fqdns = nafs.iter().map(|naf| naf.to_string()).collect();
        peer
    };
    let nafs = [NAF, "tv.home1.net", "radio.home1.net"];
    let servers = [
        server("north", 5071, &nafs),
        server("south", 5072, &nafs),
        server("east", 5073, &nafs),
        server("overview", 5074, &["overview.home1.net"]),
    ];
    Settings { servers: servers.map(Arc::new).into(), ..base }
}

/// With time enough that a busy machine makes no difference: how long a stage may take is another test's matter.
fn load(file: &str) -> Chain {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("lua/policy").join(file);
    let views: Vec<_> = servers()
        .servers
        .iter()
        .map(|peer| ServerView { name: peer.name.clone(), naf_fqdns: peer.naf_fqdns.clone() })
        .collect();
    let program = PolicySource::read(&path).unwrap().compile().unwrap();
    let mut unit = Unit::policy(program);
    unit.limits.wall = seconds(10);
    Generation::new(0, [Arc::new(unit)]).chain(&Env::detached(&views)).unwrap()
}

fn network(file: &str) -> Network {
    Network::with(servers(), load(file))
}

fn port_of(server: &str) -> u16 {
    servers().servers.iter().find(|peer| peer.name == server).unwrap().hop.addr.port()
}

/// Where the portion of a registration went.
fn went(network: &Network, phone: &mut Phone, body: Body<'_>, more: &[&str]) -> String {
    network.forwarded();
    let challenge = phone.first(network, more, body);
    let second = phone.second(&challenge, more, body);
    assert_eq!(network.send(&second, &phone.source).status(), 200);
    let sent = network.forwarded();
    let last = sent.iter().rfind(|sent| sent.has_key()).expect("the portion was forwarded").to.addr.port();
    servers().servers.iter().find(|peer| peer.hop.addr.port() == last).unwrap().name.clone()
}

fn naf(naf: &str) -> String {
    format!("Bcast-Ext: naf-id=\"{naf}\"")
}

/// A user with that public identity beside his own.
fn also_known_as(network: &Network, phone: &mut Phone, impu: &str) {
    network.hss.0.lock().unwrap().users.get_mut("alice@home1.net").unwrap().impus.push(impu.into());
    phone.impu = impu.into();
}

#[test]
fn all_of_them_load_and_name_only_stages_that_there_are() {
    let mut folders = vec![PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("lua/policy")];
    let mut loaded = 0;
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else {
                LuaPolicy::load(&PolicySource::read(&path).unwrap()).unwrap_or_else(|why| panic!("{why}"));
                let lines = std::fs::read_to_string(&path).unwrap().lines().count();
                let screen = if path.ends_with("default.lua") { 70 } else { 40 };
                assert!(lines <= screen, "{}: {lines} lines are more than a screen", path.display());
                loaded += 1;
            }
        }
    }
    assert!(loaded >= 24, "{loaded}");
}

#[test]
fn routing_by_naf() {
    let network = network("routing/by_naf.lua");
    for (fqdn, server) in [("tv.home1.net", "north"), ("radio.home1.net", "south"), (NAF, "north")] {
        let mut phone = Phone::alice();
        phone.call_id = fqdn.into();
        phone = phone.ahead(network.hss.0.lock().unwrap().seq);
        assert_eq!(went(&network, &mut phone, None, &[&naf(fqdn)]), server, "{fqdn}");
    }
}

#[test]
fn routing_by_impu_range() {
    for (impu, server) in [
        ("tel:+12015550123", "north"),
        ("sip:+12015557000@home1.net", "south"),
        ("tel:+12015559999", "south"),
        ("tel:+4930123456", "north"),
        ("sip:alice@home1.net", "north"),
    ] {
        let network = network("routing/by_impu_range.lua");
        let mut phone = Phone::for_broadcast();
        also_known_as(&network, &mut phone, impu);
        assert_eq!(went(&network, &mut phone, None, &[]), server, "{impu}");
    }
}

#[test]
fn routing_by_visited_network() {
    for (visited, server) in [(Some("visited2.net"), "south"), (Some("VISITED2.net"), "south"), (None, "north")] {
        let network = network("routing/by_visited_network.lua");
        let mut phone = Phone::for_broadcast();
        phone.headers.extend(visited.map(|name| format!("P-Visited-Network-ID: \"{name}\"")));
        assert_eq!(went(&network, &mut phone, None, &[]), server, "{visited:?}");
    }
}

#[test]
fn routing_by_payload() {
    for (item, server) in
        [("urn:service:sport:1", "north"), ("urn:service:film:9", "south"), ("urn:service:news", "north")]
    {
        let network = network("routing/by_payload.lua");
        let order = imscript::broadcast::provisioning::Request::service("1", None, &["urn:other", item]).to_xml();
        let mut phone = Phone::for_broadcast();
        assert_eq!(went(&network, &mut phone, Some((SPROV, &order)), &[]), server, "{item}");
    }
    let network = network("routing/by_payload.lua");
    assert_eq!(went(&network, &mut Phone::for_broadcast(), None, &[]), "north", "no order at all");
}

#[test]
fn routing_by_time_of_day() {
    // The virtual clock begins 1000 s after midnight UTC, which is 01:16 local.
    for (hour, server) in [(1, "north"), (17, "north"), (18, "south"), (23, "south"), (24, "north")] {
        let network = network("routing/by_time_of_day.lua");
        network.pass(seconds((hour - 1) * 3600));
        assert_eq!(went(&network, &mut Phone::for_broadcast(), None, &[]), server, "{hour} h");
    }
}

#[test]
fn routing_by_weighted_split() {
    let network = network("routing/weighted_split.lua");
    let template = network.hss.0.lock().unwrap().users["alice@home1.net"].broadcast.clone();
    let mut north = 0;
    for n in 0..80 {
        let name = format!("user{n}");
        let user = User {
            impus: vec![format!("sip:{name}@home1.net").as_str().into()],
            broadcast: template.clone(),
            password: None,
        };
        network.hss.0.lock().unwrap().users.insert(format!("{name}@home1.net"), user);
        let mut phone = Phone::new(&name);
        phone = phone.ahead(network.hss.0.lock().unwrap().seq);
        let first = went(&network, &mut phone, None, &[&naf(NAF)]);
        assert_eq!(went(&network, &mut phone, None, &[&naf(NAF)]), first, "a refresh finds its server");
        north += usize::from(first == "north");
    }
    assert!((48..=72).contains(&north), "three of four, about: {north} of 80");
}

#[test]
fn routing_with_fail_over() {
    for (north, south, server) in [(200, 200, "north"), (503, 200, "south"), (503, 500, "east")] {
        let network = network("routing/fail_over.lua");
        let answer = |status| if status == 200 { Reply::ok() } else { Reply::status(status) };
        network.answer_at(port_of("north"), answer(north));
        network.answer_at(port_of("south"), answer(south));
        assert_eq!(went(&network, &mut Phone::for_broadcast(), None, &[]), server);
        assert_eq!(network.leg_state("alice@home1.net"), Some(RegState::Registered));
    }
    let network = network("routing/fail_over.lua");
    network.answer_at(port_of("north"), Reply::status(403));
    assert_eq!(went(&network, &mut Phone::for_broadcast(), None, &[]), "north", "a refusal is the last word");
    assert_eq!(network.leg_state("alice@home1.net"), Some(RegState::Failed));
}

#[test]
fn register_without_a_challenge_behind_trusted_gateways() {
    let network = network("register/trusted_gateways.lua");
    for (address, status) in [
        ("192.0.2.10:5060", 200),
        ("[2001:db8::10]:5060", 200),
        ("192.0.2.1:5060", 401),
        ("192.0.2.101:5060", 401),
        ("[2001:db8::1]:5060", 401),
    ] {
        let mut phone = Phone::alice();
        phone.call_id = address.into();
        phone.source = source(Transport::Udp, address);
        let registered = phone.first(&network, &[], None).status();
        assert_eq!(registered, status, "{address}");
    }
}

/// How often the HSS is asked for the subscription in each of some registrations, `pause` seconds apart.
fn asked(file: &str, pause: u64, orders: &[&[&str]]) -> Vec<usize> {
    let network = network(file);
    let mut phone = Phone::for_broadcast();
    let ask = |items: &&[&str]| {
        let order = imscript::broadcast::provisioning::Request::service("1", None, items).to_xml();
        network.calls();
        let (lines, body) = (["Expires: 7200"], Some((SPROV, order.as_slice())));
        let challenge = phone.first(&network, &lines, body);
        let second = phone.second(&challenge, &lines, body);
        assert_eq!(network.send(&second, &phone.source).status(), 200);
        let count = network.calls().iter().filter(|call| *call == "UDR").count();
        network.pass(seconds(pause));
        count
    };
    orders.iter().map(ask).collect()
}

#[test]
fn verify_always_cached_new_services_and_never_for_refreshes() {
    let same: [&[&str]; 3] = [&["a"], &["a"], &["a"]];
    assert_eq!(asked("verify/always.lua", 60, &same), [1, 1, 1]);
    assert_eq!(asked("verify/cached.lua", 60, &same), [1, 0, 0]);
    assert_eq!(asked("verify/cached.lua", 601, &same), [1, 1, 1]);
    assert_eq!(asked("verify/new_services.lua", 60, &[&["a"], &["a"], &["a", "b"], &["b"]]), [1, 0, 1, 0]);
    assert_eq!(asked("verify/never_for_refreshes.lua", 60, &same), [1, 0, 0]);
}

/// A registered user whose broadcast registration fails and comes back as told; ports and seconds of what others heard.
fn heard(network: &Network, steps: &[(u64, RegState)], until: u64) -> Vec<(u16, u64)> {
    network.settle();
    network.forwarded();
    let begun = network.now();
    let mut heard = Vec::new();
    let mut take = || {
        network.sweep();
        for sent in network.forwarded() {
            heard.push((sent.to.addr.port(), (sent.at - begun).as_secs()));
        }
    };
    let mut steps = steps.iter().peekable();
    for second in 0..=until {
        while let Some((_, state)) = steps.next_if(|(at, _)| *at == second) {
            assert_eq!(alert(network, &bsm(), NAF, Some(btid(network)), *state), 200);
        }
        take();
        network.pass(seconds(1));
    }
    heard
}

#[test]
fn status_to_everyone_and_to_another_server() {
    let network = network("status/everyone.lua");
    Phone::for_broadcast().register(&network, &[]);
    let told = heard(&network, &[(5, RegState::Failed)], 6);
    assert_eq!(told, [(port_of("south"), 5), (port_of("east"), 5), (port_of("overview"), 5)]);
    let network = self::network("status/other_server.lua");
    Phone::for_broadcast().register(&network, &[]);
    assert_eq!(heard(&network, &[(5, RegState::Failed)], 6), [(port_of("overview"), 5)]);
}

#[test]
fn status_batched_and_without_flapping() {
    for (file, ends, told) in [
        ("status/batched.lua", vec![(0, "0"), (40, "600")], vec![]),
        ("status/flapping.lua", vec![(0, "0"), (5, "600")], vec![]),
        ("status/flapping.lua", vec![(0, "0")], vec![10]),
        ("status/batched.lua", vec![(0, "0")], vec![30]),
    ] {
        let network = network(file);
        let mut phone = Phone::for_broadcast();
        phone.register(&network, &["Expires: 600"]);
        network.settle();
        network.forwarded();
        let begun = network.now();
        let mut ended = Vec::new();
        for second in 0..60 {
            for (_, expires) in ends.iter().filter(|(at, _)| *at == second) {
                phone.register(&network, &[&format!("Expires: {expires}")]);
                network.settle();
            }
            network.sweep();
            let sent = network.forwarded();
            ended.extend(sent.iter().filter(|sent| sent.expires() == 0).map(|sent| (sent.at - begun).as_secs()));
            network.pass(seconds(1));
        }
        // A batched end is 30 s old when the user comes back after 40 s.
        let expected = if file.contains("batched") && ends.len() == 2 { vec![30] } else { told };
        assert_eq!(ended, expected, "{file} {ends:?}");
    }
}

#[test]
fn status_in_quiet_hours() {
    // 01:16 local at the start: quiet until 05:00, 13400 s later.
    let network = network("status/quiet_hours.lua");
    let mut phone = Phone::for_broadcast();
    phone.register(&network, &["Expires: 86400"]);
    network.settle();
    network.forwarded();
    phone.register(&network, &["Expires: 0"]);
    network.settle();
    network.pass(seconds(13_399));
    network.sweep();
    assert!(network.forwarded().is_empty(), "04:59:59");
    network.pass(seconds(1));
    network.sweep();
    let sent = network.forwarded();
    assert_eq!((sent.len(), sent[0].expires()), (1, 0), "05:00");
    phone.register(&network, &["Expires: 86400"]);
    network.settle();
    network.forwarded();
    phone.register(&network, &["Expires: 0"]);
    network.settle();
    assert_eq!(network.forwarded().len(), 1, "by day at once");
}
