//! Timers and callbacks that go wrong: in process beside a task that wants its turn every millisecond, and in a node that
//! takes them by a reload while others register.

use crate::in_process::{GROWN_KIB, REGISTER, ctx, resident_kib, waited, with_witness};
use crate::reloading::{Fleet, reload};
use crate::script::{self, Outcome, Script};
use crate::under_load::{LATE, while_others_register};
use imscript::clock::Clock;
use imscript::hss::embedded::EmbeddedHss;
use imscript::policy::capability::{Capabilities, HttpGrant};
use imscript::policy::lua::{Env, Generation, Host, Unit};
use imscript::policy::verdict::Subscription;
use imscript::policy::{Chain, Decide};
use imscript::sip::Message;
use imscript::store::space::Spaces;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How long each runs: more than it takes to open the breaker, were it open to them.
const RUNS: Duration = Duration::from_millis(600);
/// What runs beside it waits no longer than this, in the best of three runs: two calls of the unit, and the VM made anew.
const SHORT: Duration = Duration::from_millis(if cfg!(debug_assertions) { 40 } else { 20 });

fn capabilities() -> Capabilities {
    // Nobody listens there: the callback hears of it at once.
    let http = vec![HttpGrant::Origin("http://127.0.0.1:9".parse().unwrap())];
    Capabilities { http, ..Capabilities::of_operator() }
}

fn generation(script: &Script) -> Generation {
    let program = with_witness(script).compile().unwrap_or_else(|error| panic!("{}: {error}", script.name));
    let capabilities = capabilities();
    let origins = capabilities.origins(&imscript::policy::conf::Conf::empty());
    let unit = Unit { name: "hostile".into(), capabilities, origins, ..Unit::policy(program) };
    Generation::new(1, [Arc::new(unit)])
}

pub(crate) struct Seen {
    pub(crate) outcomes: Vec<Outcome>,
    /// Longest that the neighbour had to wait.
    pub(crate) longest: Duration,
    resident_kib: i64,
}

/// Runs a script's timers and callbacks for a while.
pub(crate) fn run(script: &Script) -> Seen {
    let before = resident_kib();
    let hss = EmbeddedHss::in_memory(Clock::new().now()).unwrap();
    let host = Arc::new(Host::new(Arc::default(), Spaces::in_memory(), Some(hss.clone())));
    let env = Env {
        spawn: Rc::new(|task| drop(tokio::task::spawn_local(task))),
        sleep: Rc::new(|time| Box::pin(tokio::time::sleep(time))),
        first: true,
        host: host.clone(),
        ..Env::detached(ctx().servers)
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let longest = tokio::task::LocalSet::new().block_on(&runtime, async {
        let chain = generation(script).chain(&env).unwrap_or_else(|error| panic!("{}: {error}", script.name));
        let longest = neighbour().await;
        assert!(is_sound(&chain) || is_sound(&chain), "{}: not sound: {:?}", script.name, chain.last_fault());
        chain.retire("stopped");
        longest
    });
    hss.close();
    let counted = host.metrics.exposition();
    let causes = [("error", Outcome::Error), ("timeout", Outcome::Timeout), ("out_of_memory", Outcome::Memory)];
    let faults = |cause: &str| counted.contains(&format!("unit=\"hostile\",generation=\"1\",cause=\"{cause}\"}}"));
    let mut outcomes: Vec<_> = causes.iter().filter(|(cause, _)| faults(cause)).map(|(_, outcome)| *outcome).collect();
    if outcomes.is_empty() {
        outcomes.push(Outcome::Harmless);
    }
    Seen { outcomes, longest, resident_kib: resident_kib() - before }
}

/// Wants its turn every millisecond on the same thread; the longest that it came late, without what others took of the
/// processor.
async fn neighbour() -> Duration {
    let (began, mut longest) = (Instant::now(), Duration::ZERO);
    while began.elapsed() < RUNS {
        let (slept, waiting) = (Instant::now(), waited());
        tokio::time::sleep(Duration::from_millis(1)).await;
        longest = longest.max(slept.elapsed().saturating_sub(waited().saturating_sub(waiting)));
    }
    longest
}

/// Whether the unit's stages answer as if nothing had happened.
fn is_sound(chain: &Chain) -> bool {
    let message = Message::parse(REGISTER).unwrap();
    chain.verify(&message, &ctx()).subscription == Subscription::Never
}

pub(crate) fn row(script: &Script, seen: &Seen) -> String {
    let outcomes: Vec<String> = seen.outcomes.iter().map(Outcome::to_string).collect();
    let ms = seen.longest.as_secs_f64() * 1e3;
    format!("| {} | {} | {} | | {ms:.1} |", script.name, script.about, outcomes.join(", "))
}

#[test]
fn every_timer_and_callback_is_contained_and_leaves_the_worker_to_others() {
    let mut wrong = Vec::new();
    for script in script::of_background() {
        let mut seen = run(&script);
        println!("{} {} KiB", row(&script, &seen), seen.resident_kib);
        // Noise passes, also that a script had not come to its point when its time was over; a stall and a leak do not.
        let right = |seen: &Seen| seen.outcomes.iter().all(|outcome| script.right.contains(outcome));
        for _ in 0..2 {
            if !right(&seen) || seen.longest > SHORT || seen.resident_kib > GROWN_KIB {
                println!("{}: {:?}, {:?}; once more", script.name, seen.outcomes, seen.longest);
                seen = run(&script);
            }
        }
        if !right(&seen) {
            wrong.push(format!("{}: {:?} instead of {:?}", script.name, seen.outcomes, script.right));
        }
        if seen.resident_kib > GROWN_KIB {
            wrong.push(format!("{}: grown by {} KiB", script.name, seen.resident_kib));
        }
        if seen.longest > SHORT {
            wrong.push(format!("{}: the neighbour waited {:?}", script.name, seen.longest));
        }
    }
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

/// One node after another; Err: somebody was late.
fn round(script: &Script) -> Result<(), String> {
    let mut fleet = Fleet::start();
    let quiet = while_others_register(&fleet.server, || std::thread::sleep(Duration::from_millis(400)));
    let before = fleet.server.memory();
    fleet.write_plugin(&script.text, "");
    let attacked = while_others_register(&fleet.server, || {
        let output = reload(&fleet.server, &[]);
        assert!(output.status.success(), "{}: {}", script.name, String::from_utf8_lossy(&output.stderr));
        std::thread::sleep(Duration::from_millis(800));
    });
    let log = fleet.server.log();
    let fault = log.lines().find(|line| line.contains(" failed ") && line.contains("unit=\"hostile\""));
    println!(
        "{:24} others: {} REGISTERs, p99 {:?}, max {:?} (quiet {:?}) {}",
        script.name,
        attacked.count,
        attacked.p99,
        attacked.max,
        quiet.max,
        fault.and_then(|line| line.split_once("imscript::policy: ")).map_or("harmless", |(_, rest)| rest)
    );
    let told = fault.is_some_and(|line| line.contains("main.lua:") && line.contains("generation=2"));
    assert!(told || script.right.contains(&Outcome::Harmless), "{}: nothing in the log: {log}", script.name);
    fleet.server.is_well(before + 24);
    let late = attacked.max.saturating_sub(quiet.max);
    if late > LATE { Err(format!("a REGISTER was late by {late:?}")) } else { Ok(()) }
}

#[test]
fn nobody_waits_for_a_hostile_timer_or_callback() {
    for script in script::of_background() {
        let mut outcome = round(&script);
        for _ in 1..3 {
            if let Err(why) = &outcome {
                println!("{why}; once more");
                outcome = round(&script);
            }
        }
        assert_eq!(outcome, Ok(()), "{}", script.name);
    }
}
