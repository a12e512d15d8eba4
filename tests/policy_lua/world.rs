//! What the stages of these tests are asked about.

use imscript::hss::RegState;
use imscript::policy::lua::{Cause, Env, Fault, LuaPolicy, PolicySource};
use imscript::policy::verdict::{self};
use imscript::policy::{Context, Decide, Defaults, Kind, PortionView, ServerView, Stage, StatusEvent, System};
use imscript::sip::Message;
use imscript::sip::transaction::{Source, Transport};
use std::sync::Arc;

pub(crate) const REGISTER: &[u8] = b"REGISTER sip:home1.net SIP/2.0\r\n\
    Via: SIP/2.0/UDP 192.0.2.7:5060;branch=z9hG4bK1\r\n\
    Max-Forwards: 70\r\n\
    From: <sip:alice@home1.net>;tag=a\r\n\
    To: <sip:alice@home1.net>\r\n\
    i: c1@192.0.2.7\r\n\
    CSeq: 1 REGISTER\r\n\
    m: <sip:alice@192.0.2.7>;expires=1200\r\n\
    Expires: 600000\r\n\
    X-Site: north\r\n  east\r\n\
    Content-Length: 0\r\n\r\n";

/// Everything that a stage is asked about, ready to be changed by a test.
pub(crate) struct World {
    pub(crate) source: Source,
    pub(crate) servers: Vec<ServerView>,
    pub(crate) kind: Kind,
    pub(crate) all_or_nothing: bool,
    pub(crate) visited_network: Option<&'static str>,
    pub(crate) naf: &'static str,
    pub(crate) payload: Option<&'static [u8]>,
}

impl World {
    pub(crate) fn new() -> Self {
        let server = |name: &str, fqdns: &[&str]| ServerView {
            name: name.to_owned(),
            naf_fqdns: fqdns.iter().map(|fqdn| (*fqdn).to_owned()).collect(),
        };
        World {
            source: Source {
                transport: Transport::Udp,
                addr: "192.0.2.7:5060".parse().unwrap(),
                local: "192.0.2.1:5060".parse().unwrap(),
                peer_names: Arc::new([]),
            },
            servers: vec![server("bsm", &["bsm.home1.net"]), server("tv", &["tv.home1.net", "tv2.home1.net"])],
            kind: Kind::Initial,
            all_or_nothing: false,
            visited_network: None,
            naf: "bsm.home1.net",
            payload: None,
        }
    }

    pub(crate) fn ctx(&self) -> Context<'_> {
        Context {
            kind: self.kind,
            impi: "alice@home1.net",
            impu: "sip:alice@home1.net",
            source: &self.source,
            visited_network: self.visited_network,
            servers: &self.servers,
            all_or_nothing: self.all_or_nothing,
            hss_away: false,
            portion: None,
            unix: 1_700_000_000,
        }
    }

    pub(crate) fn portion(&self) -> PortionView<'_> {
        PortionView {
            naf_fqdn: self.naf,
            ua_id: [1, 0, 0, 0, 1],
            profile: Some("1.0"),
            payload: self.payload,
            payload_type: self.payload.map(|_| "application/vnd.oma.bcast.sprov+xml"),
        }
    }

    pub(crate) fn register(&self, policy: &LuaPolicy) -> verdict::Register {
        policy.register(&message(), &self.ctx())
    }

    pub(crate) fn verify(&self, policy: &LuaPolicy) -> verdict::Verify {
        policy.verify(&message(), &self.ctx())
    }

    pub(crate) fn authorized(&self, policy: &LuaPolicy) -> verdict::Authorized {
        policy.authorized(&message(), &self.ctx())
    }

    pub(crate) fn broadcast(&self, policy: &LuaPolicy) -> verdict::Broadcast {
        policy.broadcast(&message(), &self.portion(), &self.ctx())
    }
}

pub(crate) fn message() -> Message<'static> {
    Message::parse(REGISTER).expect("the test's REGISTER")
}

pub(crate) fn event(system: System) -> StatusEvent<'static> {
    StatusEvent {
        system,
        previous: RegState::NotRegistered,
        state: RegState::Registered,
        cause: "registered",
        impi: "alice@home1.net",
        impu: "sip:alice@home1.net",
        btid: Some("AAAA@bsf.home1.net"),
        naf_fqdn: Some("bsm.home1.net"),
        servers: &["bsm"],
        expires: 600,
        unix: 1_700_000_000,
    }
}

pub(crate) fn load(text: &str) -> LuaPolicy {
    LuaPolicy::load(&PolicySource::new("test.lua", text)).expect("policy loads")
}

pub(crate) fn refused(text: &str) -> String {
    match LuaPolicy::load(&PolicySource::new("test.lua", text)) {
        Ok(_) => panic!("loaded: {text}"),
        Err(error) => error.to_string(),
    }
}

/// A policy whose one stage is `body`.
pub(crate) fn stage(stage: &str, arguments: &str, body: &str) -> LuaPolicy {
    load(&format!("local policy = {{}}\nfunction policy.{stage}({arguments})\n{body}\nend\nreturn policy"))
}

/// [`stage`] where these servers are configured.
pub(crate) fn stage_among(stage: &str, arguments: &str, body: &str, servers: &[ServerView]) -> LuaPolicy {
    let text = format!("local policy = {{}}\nfunction policy.{stage}({arguments})\n{body}\nend\nreturn policy");
    let program = PolicySource::new("test.lua", text).compile().expect("policy compiles");
    LuaPolicy::within(&program, &Env::detached(servers)).expect("policy loads")
}

pub(crate) fn failure(policy: &LuaPolicy) -> Fault {
    policy.last_fault().expect("a failure")
}

pub(crate) fn assert_default(policy: &LuaPolicy, cause: Cause, place: &str, reason: &str) {
    let world = World::new();
    assert_eq!(world.authorized(policy), Defaults.authorized(&message(), &world.ctx()));
    let failure = failure(policy);
    assert_eq!((failure.stage, failure.cause), (Stage::Authorized, cause), "{failure}");
    assert!(failure.message.starts_with(place), "{failure} should be at {place}");
    assert!(failure.message.contains(reason), "{failure} should say {reason}");
    assert_eq!(policy.counters().of(cause), 1);
}
