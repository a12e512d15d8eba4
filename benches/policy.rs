//! What the Lua side costs: each stage of the default policy, the four stages of one registration, ten plugins around
//! them, the ways a call can fail, and a VM. `cargo bench --bench policy` prints time, the least of several rounds, and
//! allocations of the whole process, those inside the VMs among them.
//!
//! `policy CASE COUNT` runs one case COUNT times and prints nothing, for a profiler.
#![allow(unsafe_code)] // one trait whose methods are unsafe to call, below

use imscript::hss::RegState;
use imscript::policy::lua::{Env, Generation, LuaPolicy, PolicySource, Program, Unit, builtin};
use imscript::policy::{Chain, Context, Decide, Kind, PortionView, ServerView, StatusEvent, System};
use imscript::sip::Message;
use imscript::sip::transaction::{Source, Transport};
use std::alloc::{GlobalAlloc, Layout, System as Heap};
use std::hint::black_box;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

/// A REGISTER with credentials as a P-CSCF passes it on (TS 24.229 §5.1.1.5, §5.2.2).
const REGISTER: &[u8] = b"REGISTER sip:ims.example SIP/2.0\r\n\
Via: SIP/2.0/UDP 10.1.2.3;branch=z9hG4bKa1b2c3d4;rport\r\n\
Max-Forwards: 69\r\n\
From: <sip:alice@ims.example>;tag=4fa3\r\n\
To: <sip:alice@ims.example>\r\n\
Call-ID: apb03a0s09dkj\r\n\
CSeq: 2 REGISTER\r\n\
Contact: <sip:alice@10.1.2.3>;+sip.instance=\"<urn:gsma:imei:90420156-025763-0>\";+g.3gpp.smsip\r\n\
Authorization: Digest username=\"alice@ims.example\",realm=\"ims.example\",\
nonce=\"dGhpcyBpcyBSQU5EIG9mIDE2b2FuZCBBVVROIG9mIDE=\",uri=\"sip:ims.example\",\
response=\"6629fae49393a05397450978507c4ef1\",algorithm=AKAv1-MD5\r\n\
Expires: 600000\r\n\
Require: sec-agree\r\n\
Supported: path, gruu\r\n\
Path: <sip:term@pcscf.example;lr>\r\n\
Security-Verify: ipsec-3gpp;alg=hmac-sha-1-96;spi-c=987;spi-s=654;port-c=8642;port-s=7531\r\n\
P-Access-Network-Info: 3GPP-E-UTRAN-FDD;utran-cell-id-3gpp=234151D0FCE11\r\n\
Content-Length: 0\r\n\r\n";

static ALLOCATIONS: AtomicU64 = AtomicU64::new(0);

struct Counting;

// SAFETY: every method hands its arguments unchanged to `System`, which keeps the contract of `GlobalAlloc`, and gives
// back what `System` gave; the counter touches no memory but its own.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
        // SAFETY: the caller keeps the contract of `alloc`, which is that of `System.alloc`.
        unsafe { Heap.alloc(layout) }
    }
    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        // SAFETY: `at` came from `System` through this allocator, with this layout.
        unsafe { Heap.dealloc(at, layout) }
    }
    unsafe fn realloc(&self, at: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
        // SAFETY: as for `dealloc`; the caller vouches for `size`.
        unsafe { Heap.realloc(at, layout, size) }
    }
}

#[global_allocator]
static COUNTING: Counting = Counting;

/// What the stages are asked about.
struct World {
    message: Message<'static>,
    source: Source,
    servers: Arc<[ServerView]>,
}

impl World {
    fn new() -> World {
        World {
            message: Message::parse(REGISTER).expect("a message"),
            source: Source {
                transport: Transport::Udp,
                addr: "192.0.2.7:5060".parse().expect("an address"),
                local: "192.0.2.1:5060".parse().expect("an address"),
                peer_names: Arc::new([]),
            },
            servers: ["bsm", "tv", "north"]
                .map(|name| ServerView { name: name.to_owned(), naf_fqdns: vec![format!("{name}.ims.example")] })
                .into(),
        }
    }

    fn ctx(&self) -> Context<'_> {
        Context {
            kind: Kind::Initial,
            impi: "alice@ims.example",
            impu: "sip:alice@ims.example",
            source: &self.source,
            visited_network: None,
            hss_away: false,
            servers: &self.servers,
            all_or_nothing: false,
            portion: None,
            unix: 1_700_000_000,
        }
    }

    fn register(&self, policy: &dyn Decide) {
        black_box(policy.register(&self.message, &self.ctx()));
    }

    fn verify(&self, policy: &dyn Decide) {
        black_box(policy.verify(&self.message, &self.ctx()));
    }

    fn authorized(&self, policy: &dyn Decide) {
        black_box(policy.authorized(&self.message, &self.ctx()));
    }

    fn broadcast(&self, policy: &dyn Decide) {
        let portion = PortionView {
            naf_fqdn: "north.ims.example",
            ua_id: [1, 0, 0, 0, 1],
            profile: Some("1.0"),
            payload: Some(b"<ServiceRequest/>"),
            payload_type: Some("application/vnd.oma.bcast.sprov+xml"),
        };
        black_box(policy.broadcast(&self.message, &portion, &self.ctx()));
    }

    fn status(&self, policy: &dyn Decide) {
        let event = StatusEvent {
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
        black_box(policy.status(&event));
    }

    /// The stages that a registration in both systems meets and the default policy answers, and one that it leaves out.
    fn four(&self, policy: &dyn Decide) {
        self.verify(policy);
        self.authorized(policy);
        self.broadcast(policy);
        self.status(policy);
    }
}

fn compiled(name: &str, text: &str) -> Program {
    PolicySource::new(name, text).compile().expect("a policy")
}

fn default_program() -> Program {
    builtin("default").and_then(|source| source.compile().ok()).expect("the default policy")
}

/// What a plugin of moderate size does: reads a few fields, compares, and has no opinion.
const LOOK: &str = r#"
local seen = 0
local function look(req, ctx)
  seen = seen + 1
  if req.kind == "deregister" then return nil end
  if ctx.visited_network == "visited.example" then return ims.reject(403, "Not here") end
end
"#;

/// The stages of a registration, each with a function that looks so.
const STAGES: [&str; 4] = [
    "verify = look",
    "authorized = look",
    "broadcast = function(req, portion, ctx) return look(req, ctx) end",
    "status = function(event) if event.state == \"failed\" then seen = seen + 1 end end",
];

/// Ten plugins, each with a VM of its own, and the default policy after them; `stages`: those that the n-th plugin answers.
fn ten(stages: impl Fn(usize) -> String) -> impl Fn(&World) -> Chain {
    let units: Vec<_> = (0..10)
        .map(|n| {
            let text = format!("{LOOK}return {{ {} }}", stages(n));
            let mut unit = Unit::policy(compiled("plugin.lua", &text));
            unit.name = format!("plugin-{n}").into();
            Arc::new(unit)
        })
        .chain([Arc::new(Unit::policy(default_program()))])
        .collect();
    move |world| chain(world, units.clone())
}

/// A chain in a node, where all share one list of servers.
fn chain(world: &World, units: impl IntoIterator<Item = Arc<Unit>>) -> Chain {
    let env = Env { servers: world.servers.clone(), ..Env::detached(&[]) };
    Generation::new(1, units).chain(&env).expect("a chain")
}

fn default_alone(world: &World) -> Chain {
    chain(world, [Arc::new(Unit::policy(default_program()))])
}

fn resident_kib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap_or_default();
    line.trim().trim_end_matches(" kB").parse().unwrap_or_default()
}

type Case = (&'static str, u64, Box<dyn Fn()>);

fn cases() -> Vec<Case> {
    fn with(name: &'static str, count: u64, of: impl FnOnce(&World) -> Chain, ask: fn(&World, &dyn Decide)) -> Case {
        let world = World::new();
        let decide = of(&world);
        (name, count, Box::new(move || ask(&world, &decide)))
    }
    fn policy(text: &str) -> impl FnOnce(&World) -> Chain + use<> {
        let unit = Arc::new(Unit::policy(compiled("bench.lua", text)));
        move |world| chain(world, [unit])
    }
    let stage = |body: &str| policy(&format!("return {{ authorized = function(req, ctx) {body} end }}"));
    vec![
        with("default: verify", 20_000, default_alone, World::verify),
        with("default: broadcast", 20_000, default_alone, World::broadcast),
        with("default: status", 20_000, default_alone, World::status),
        with("default: register (no function)", 20_000, default_alone, World::register),
        with("default: four stages", 10_000, default_alone, World::four),
        with("10 plugins, a stage each, + default: four stages", 5_000, ten(|n| STAGES[n % 4].to_owned()), World::four),
        with("10 plugins, all stages, + default: four stages", 2_000, ten(|_| STAGES.join(", ")), World::four),
        with("empty function", 20_000, stage(""), World::authorized),
        with("one field", 20_000, stage("local _ = req.impi"), World::authorized),
        with("one header", 20_000, stage("local _ = req:header('Contact')"), World::authorized),
        with(
            "five fields, a header",
            20_000,
            stage(
                "local _ = req.impi .. req.impu; _ = req.kind; _ = req.method; _ = ctx.now; _ = req:header('Contact')",
            ),
            World::authorized,
        ),
        with(
            "constant verdict",
            20_000,
            policy("local ok = ims.accept{ expires = 600 } return { authorized = function() return ok end }"),
            World::authorized,
        ),
        with("ims.accept", 20_000, stage("return ims.accept{ expires = 600 }"), World::authorized),
        with("ims.reject", 20_000, stage("return ims.reject(403, 'No')"), World::authorized),
        with(
            "find and split",
            20_000,
            stage("local a = req.impi:find('@', 1, true); local b = ('a,b,c'):split(',')"),
            World::authorized,
        ),
        with("loop of 1000", 2_000, stage("for i = 1, 1000 do end"), World::authorized),
        // An error each time opens the breaker; one in ten calls does not in the time that this takes, so the cost of
        // an error is asked of a fresh chain each nine calls.
        ("error (chain of 9 calls / 9, VM build apart)", 200, {
            let world = World::new();
            let program = compiled("bench.lua", "return { authorized = function() error('no') end }");
            Box::new(move || {
                let policy = LuaPolicy::new(&program).expect("a policy");
                (0..9).for_each(|_| world.authorized(&policy));
            })
        }),
        ("VM of the default policy, made and dropped", 200, {
            let program = default_program();
            Box::new(move || drop(black_box(LuaPolicy::new(&program))))
        }),
        ("compile the default policy", 200, Box::new(|| drop(black_box(default_program())))),
    ]
}

fn main() {
    let words: Vec<String> = std::env::args().skip(1).filter(|word| word != "--bench").collect();
    if let [name, count] = words.as_slice() {
        let case = cases().into_iter().find(|(known, ..)| known == name).expect("a case's name");
        (0..count.parse::<u64>().expect("a count")).for_each(|_| case.2());
        return;
    }
    println!("{:50} {:>10} {:>12}", "case", "ns", "allocations");
    for (name, count, run) in cases() {
        (0..count / 10).for_each(|_| run());
        let mut least = u128::MAX;
        let before = ALLOCATIONS.load(Ordering::Relaxed);
        // Short rounds, so that on a busy machine some are undisturbed.
        const ROUNDS: u64 = 400;
        let count = (count / 40).max(5);
        for _ in 0..ROUNDS {
            let start = Instant::now();
            (0..count).for_each(|_| run());
            least = least.min(start.elapsed().as_nanos() / u128::from(count));
        }
        let allocations = (ALLOCATIONS.load(Ordering::Relaxed) - before) as f64 / (count * ROUNDS) as f64;
        println!("{name:50} {least:>10} {allocations:>12.2}");
    }
    const VMS: usize = 100;
    let world = World::new();
    let before = resident_kib();
    let kept: Vec<Chain> = (0..VMS).map(|_| default_alone(&world)).collect();
    let each = resident_kib().saturating_sub(before) / VMS as u64;
    println!("{:50} {each:>10}", "KiB resident a VM with the default policy");
    drop(kept);
}
