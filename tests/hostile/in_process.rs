//! Each script against the policy engine: the outcome, the time, and that nothing else has changed.

use crate::script::{self, Outcome, Script};
use imscript::policy::lua::{Cause, LuaPolicy, PolicySource};
use imscript::policy::verdict::Subscription;
use imscript::policy::{Context, Decide, Defaults, Kind, ServerView};
use imscript::sip::Message;
use imscript::sip::transaction::{Source, Transport};
use std::sync::{Arc, LazyLock};
use std::time::{Duration, Instant};

/// Calls of a script; some need several to do their harm.
const CALLS: usize = 20;
/// A call that was stopped is over within this, the fastest of several: others wait for it on this worker.
const SHORT: Duration = Duration::from_millis(if cfg!(debug_assertions) { 40 } else { 20 });

/// What the process may grow by: the VM, what the allocator keeps of it, and what is held outside of it.
pub(crate) const GROWN_KIB: i64 = 32 * 1024;

pub(crate) const REGISTER: &[u8] = b"REGISTER sip:home1.net SIP/2.0\r\n\
    Via: SIP/2.0/UDP 192.0.2.7:5060;branch=z9hG4bK1\r\n\
    Max-Forwards: 70\r\n\
    From: <sip:mallory@home1.net>;tag=a\r\n\
    To: <sip:mallory@home1.net>\r\n\
    Call-ID: c1@192.0.2.7\r\n\
    CSeq: 1 REGISTER\r\n\
    Contact: <sip:mallory@192.0.2.7>;expires=1200\r\n\
    Content-Length: 0\r\n\r\n";

static SOURCE: LazyLock<Source> = LazyLock::new(|| Source {
    transport: Transport::Udp,
    addr: "192.0.2.7:5060".parse().unwrap(),
    local: "192.0.2.1:5060".parse().unwrap(),
    peer_names: Arc::new([]),
});

static SERVERS: LazyLock<Vec<ServerView>> =
    LazyLock::new(|| vec![ServerView { name: "bsm".into(), naf_fqdns: vec!["bsm.home1.net".into()] }]);

pub(crate) fn ctx() -> Context<'static> {
    Context {
        kind: Kind::Initial,
        impi: "mallory@home1.net",
        impu: "sip:mallory@home1.net",
        source: &SOURCE,
        visited_network: None,
        servers: &SERVERS,
        all_or_nothing: false,
        hss_away: false,
        portion: None,
        unix: 1_700_000_000,
    }
}

/// Stands behind every script: it says "never" only if everything that is shared in the VM is what it was.
const WITNESS: &str = r#"
attack.verify = function(req, ctx)
  assert(("abc"):find("b") == 2 and string.find("abc", "b") == 2 and ("x"):rep(3) == "xxx")
  assert(#ctx.servers == 1 and ctx.servers[1].name == "bsm" and ctx.servers[1].naf_ids[1] == "bsm.home1.net")
  assert(ctx.servers:by_naf("bsm.home1.net").name == "bsm" and ctx.servers:by_name("evil") == nil)
  assert(req.impi == "mallory@home1.net" and req:header("Call-ID") == "c1@192.0.2.7")
  assert(tostring(ims.skip("x")) == "ims.skip" and table.concat({ 1, 2 }, ",") == "1,2")
  assert(rawget(_G, "leaked") == nil and math.floor(1.5) == 1)
  return ims.verify { subscription = "never" }
end
return attack"#;

/// The script with the witness behind it; its lines keep their numbers.
pub(crate) fn with_witness(script: &Script) -> PolicySource {
    let text = format!("local attack = (function(...) {}\nend)(){WITNESS}", script.text);
    PolicySource::new(format!("{}.lua", script.name), text)
}

pub(crate) struct Seen {
    pub(crate) outcomes: Vec<Outcome>,
    /// Of the calls that failed, or of all where none did.
    pub(crate) fastest: Duration,
    pub(crate) slowest: Duration,
    pub(crate) reason: String,
    pub(crate) resident_kib: i64,
    /// What is wrong with how a failure was told.
    wrong: Option<String>,
}

pub(crate) fn resident_kib() -> i64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap_or_default();
    line.trim().trim_end_matches(" kB").parse().unwrap_or_default()
}

/// How long this thread has waited for a processor: not what a script took.
pub(crate) fn waited() -> Duration {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    Duration::from_nanos(text.split_whitespace().nth(1).and_then(|word| word.parse().ok()).unwrap_or_default())
}

/// Runs the stage until it has failed three times, and asks the witness after each call.
pub(crate) fn run(script: &Script) -> Seen {
    let message = Message::parse(REGISTER).unwrap();
    let (name, before) = (&script.name, resident_kib());
    let policy = LuaPolicy::load(&with_witness(script)).unwrap_or_else(|error| panic!("{name}: {error}"));
    let mut seen = Seen {
        outcomes: Vec::new(),
        fastest: Duration::MAX,
        slowest: Duration::ZERO,
        reason: String::new(),
        resident_kib: 0,
        wrong: None,
    };
    let mut failed = 0;
    for _ in 0..CALLS {
        let count = policy.counters().total();
        let (started, waiting) = (Instant::now(), waited());
        let verdict = policy.authorized(&message, &ctx());
        let took = started.elapsed().saturating_sub(waited().saturating_sub(waiting));
        assert_eq!(verdict, Defaults.authorized(&message, &ctx()), "{name}");
        if policy.counters().total() > count {
            failed += 1;
            let failure = policy.last_fault().unwrap();
            let outcome = match failure.cause {
                Cause::Error => Outcome::Error,
                Cause::Timeout => Outcome::Timeout,
                Cause::OutOfMemory => Outcome::Memory,
                Cause::BadVerdict => Outcome::Verdict,
            };
            if failed == 1 {
                seen.fastest = took;
            }
            let place = failure.message.strip_prefix(&format!("{name}.lua:"));
            let placed = place.is_some_and(|line| line.starts_with(|c: char| c.is_ascii_digit()));
            if !placed || failure.message.len() >= 500 || failure.message.contains(char::is_control) {
                seen.wrong = Some(format!("{name}: {failure}"));
            }
            seen.reason = failure.to_string();
            seen.outcomes.push(outcome);
        }
        seen.fastest = seen.fastest.min(took);
        seen.slowest = seen.slowest.max(took);
        // Asked again if need be: the attack may have left the VM too little memory for another call.
        let sound = || policy.verify(&message, &ctx()).subscription == Subscription::Never;
        assert!(sound() || sound(), "{name}: not sound afterwards: {:?}", policy.last_fault());
        if failed == 3 {
            break;
        }
    }
    if seen.outcomes.is_empty() {
        seen.outcomes.push(Outcome::Harmless);
    }
    seen.outcomes.sort();
    seen.outcomes.dedup();
    seen.resident_kib = resident_kib() - before;
    drop(policy);
    seen
}

pub(crate) fn row(script: &Script, seen: &Seen) -> String {
    let outcomes: Vec<String> = seen.outcomes.iter().map(Outcome::to_string).collect();
    let ms = |time: Duration| time.as_secs_f64() * 1e3;
    format!(
        "| {} | {} | {} | {:.1} | {:.1} |",
        script.name,
        script.about,
        outcomes.join(", "),
        ms(seen.fastest),
        ms(seen.slowest)
    )
}

#[test]
fn every_script_is_contained_in_its_stage() {
    let mut wrong = Vec::new();
    for script in script::of_stages() {
        let mut seen = run(&script);
        // Noise passes, also that of the tests beside this one in the same process, and that a script had not come to its
        // point when its time was over; a stall and a leak do not.
        for _ in 0..2 {
            let right = seen.outcomes.iter().all(|outcome| script.right.contains(outcome));
            if !right || seen.fastest > SHORT || seen.resident_kib > GROWN_KIB {
                println!("{}: {:?}, {:?}; once more", script.name, seen.outcomes, seen.fastest);
                seen = run(&script);
            }
        }
        println!("{} {} KiB {}", row(&script, &seen), seen.resident_kib, seen.reason);
        if !seen.outcomes.iter().all(|outcome| script.right.contains(outcome)) {
            wrong.push(format!("{}: {:?} instead of {:?}: {}", script.name, seen.outcomes, script.right, seen.reason));
        }
        wrong.extend(seen.wrong);
        if seen.resident_kib > GROWN_KIB {
            wrong.push(format!("{}: grown by {} KiB", script.name, seen.resident_kib));
        }
        if seen.fastest > SHORT {
            wrong.push(format!("{}: {:?} to {:?}", script.name, seen.fastest, seen.slowest));
        }
    }
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

/// Loads a script that is not to be loaded; the row of the table.
pub(crate) fn loading_row(script: &Script) -> String {
    let (started, waiting) = (Instant::now(), waited());
    let outcome = LuaPolicy::load(&PolicySource::new(format!("{}.lua", script.name), script.text.as_str()));
    let took = started.elapsed().saturating_sub(waited().saturating_sub(waiting));
    let Err(error) = outcome else { panic!("{} was loaded", script.name) };
    assert!(took < Duration::from_secs(3), "{} took {took:?}", script.name);
    assert!(error.to_string().starts_with(&format!("{}.lua", script.name)), "{error}");
    let ms = took.as_secs_f64() * 1e3;
    format!("| {} | {} | refused | {ms:.1} | {ms:.1} |", script.name, script.about)
}

#[test]
fn every_script_is_refused_when_it_is_loaded() {
    for script in script::of_loading() {
        println!("{}", loading_row(&script));
    }
}
