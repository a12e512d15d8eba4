//! The stages of the default policy that a registration meets, as a worker asks them. `benches/policy.rs` has more of this kind.

use super::Case;
use imscript::hss::RegState;
use imscript::policy::lua::{Env, Generation, Unit, builtin};
use imscript::policy::{Chain, Context, Decide, Kind, PortionView, ServerView, StatusEvent, System};
use imscript::sip::Message;
use imscript::sip::transaction::{Source, Transport};
use std::hint::black_box;
use std::rc::Rc;
use std::sync::Arc;

struct World {
    message: Message<'static>,
    source: Source,
    servers: Arc<[ServerView]>,
    chain: Chain,
}

impl World {
    fn ctx(&self) -> Context<'_> {
        Context {
            kind: Kind::Initial,
            impi: "alice@ims.example",
            impu: "sip:alice@ims.example",
            ..Context::arrival(&self.source, &self.servers, 1_700_000_000)
        }
    }
}

/// The default policy in a chain, as a node has it.
pub(super) fn default_chain(servers: Arc<[ServerView]>) -> Chain {
    let program = builtin("default").and_then(|source| source.compile().ok()).expect("the default policy");
    let env = Env { servers, ..Env::detached(&[]) };
    let mut unit = Unit::policy(program);
    // Valgrind is fifty times slower than the machine; how long a stage may take is not what is measured.
    unit.limits.wall = std::time::Duration::from_secs(10);
    Generation::new(1, [Arc::new(unit)]).chain(&env).expect("a chain")
}

pub(super) fn cases() -> Vec<Case> {
    let servers: Arc<[ServerView]> = ["bsm", "tv", "north"]
        .map(|name| ServerView { name: name.to_owned(), naf_fqdns: vec![format!("{name}.ims.example")] })
        .into();
    let world = Rc::new(World {
        message: Message::parse(super::sip::REGISTER).expect("a message"),
        source: Source {
            transport: Transport::Udp,
            addr: "192.0.2.7:5060".parse().expect("an address"),
            local: "192.0.2.1:5060".parse().expect("an address"),
            peer_names: Arc::new([]),
        },
        chain: default_chain(servers.clone()),
        servers,
    });
    let stage = |name, ask: fn(&World)| {
        let world = world.clone();
        Case::new(name, move || ask(black_box(&world)))
    };
    vec![
        stage("Lua: register (left out)", |w| drop(black_box(w.chain.register(&w.message, &w.ctx())))),
        stage("Lua: verify", |w| {
            black_box(w.chain.verify(&w.message, &w.ctx()));
        }),
        stage("Lua: authorized (left out)", |w| drop(black_box(w.chain.authorized(&w.message, &w.ctx())))),
        stage("Lua: broadcast", |w| drop(black_box(w.chain.broadcast(&w.message, &PORTION, &w.ctx())))),
        stage("Lua: status", |w| drop(black_box(w.chain.status(&EVENT)))),
    ]
}

const PORTION: PortionView<'static> = PortionView {
    naf_fqdn: "north.ims.example",
    ua_id: [1, 0, 0, 0, 1],
    profile: Some("1.0"),
    payload: Some(b"<ServiceRequest/>"),
    payload_type: Some("application/vnd.oma.bcast.sprov+xml"),
};

const EVENT: StatusEvent<'static> = StatusEvent {
    system: System::Ims,
    previous: RegState::NotRegistered,
    state: RegState::Registered,
    cause: "registered",
    impi: "alice@ims.example",
    impu: "sip:alice@ims.example",
    btid: Some("AAAA@bsf.ims.example"),
    naf_fqdn: Some("north.ims.example"),
    servers: &["north"],
    expires: 600,
    unix: 1_700_000_000,
};
