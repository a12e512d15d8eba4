//! The scripts in a node that has one worker and serves others meanwhile: nobody waits for them, the memory comes back,
//! and the log names what failed and where.
//!
//! A hostile REGISTER is told by its user; it is asked on the same worker, by the same VM as everybody else's. This may
//! run on a busy machine: time in which the worker or the client was ready to run and had no processor is taken off, what
//! is left is compared with a time without attacks just before, and a round that was late is repeated, since noise passes
//! and a stall does not.

use crate::script::{self, Outcome, Script};
use crate::support::{Server, Stranger, User, register};
use std::panic::{self, AssertUnwindSafe};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

/// No other REGISTER may be later than this because of an attack.
pub(crate) const LATE: Duration = Duration::from_millis(50);
/// Below the number of faults that opens the breaker, so that every one of these scripts runs.
const BATCH: usize = 9;
/// The log takes five lines a second of one unit.
const PAUSE: Duration = Duration::from_millis(210);
const QUIET: Duration = Duration::from_millis(700);
const ROUNDS: usize = 3;
/// What the process may have grown by: one VM's memory and what the allocator keeps of it.
const GROWN_MIB: u64 = 24;

/// The user who gets the nth script. The first two are what others are.
fn mallory(n: usize) -> String {
    format!("u{}", n + 2)
}

/// One policy of several scripts, one a user.
fn policy_of(batch: &[Script]) -> String {
    let mut text = "local attacks = {}\n".to_owned();
    for (n, script) in batch.iter().enumerate() {
        text += &format!("attacks[\"{}\"] = (function(...) {}\nend)().authorized\n", mallory(n), script.text);
    }
    text += "return {\n  register = function(req, ctx)\n    local attack = attacks[req.impu:match(\"^sip:(u%d+)@\")]\n    \
             if attack then return attack(req, ctx) end\n  end,\n}\n";
    text
}

fn start(batch: &[Script]) -> Server {
    let text = policy_of(batch);
    // Not in the node's folder, which is made by `Server::start`; it is read before that returns.
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("policy.lua");
    std::fs::write(&path, text).unwrap();
    Server::start(BATCH + 2, "", "", &["--policy", path.to_str().unwrap()])
}

/// How long threads have waited for a processor: `/proc/…/schedstat`, the second number.
pub(crate) fn waited(path: &Path) -> Duration {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    Duration::from_nanos(text.split_whitespace().nth(1).and_then(|word| word.parse().ok()).unwrap_or_default())
}

/// The accounts of the threads that a REGISTER has to do with: the node's one worker, and this one.
fn accounts(server: &Server) -> [PathBuf; 2] {
    let tasks = std::fs::read_dir(format!("/proc/{}/task", server.id())).unwrap();
    let tasks = tasks
        .map(|task| task.unwrap().path())
        .filter(|task| std::fs::read_to_string(task.join("comm")).is_ok_and(|name| name.starts_with("worker-")));
    // A thread that a worker has just started still has its name: the worker is the oldest.
    let number = |task: &PathBuf| task.file_name().and_then(|name| name.to_str()?.parse::<u32>().ok());
    let worker = tasks.min_by_key(number).expect("a worker");
    [worker, PathBuf::from("/proc/thread-self")].map(|task| task.join("schedstat"))
}

/// How long each REGISTER of the others took, without the time in which its threads were ready but others had the
/// processor.
fn others(server: &Server, over: &AtomicBool) -> Vec<Duration> {
    let user = User::new(server.udp, "u0");
    let accounts = accounts(server);
    let waiting = || accounts.iter().map(|path| waited(path)).sum::<Duration>();
    let mut took = Vec::new();
    while !over.load(Ordering::Relaxed) {
        let (started, before) = (Instant::now(), waiting());
        let answer = user.line.ask(&register(&user.name, ""));
        took.push(started.elapsed().saturating_sub(waiting().saturating_sub(before)));
        assert_eq!(answer.status(), 401);
        thread::sleep(Duration::from_millis(1));
    }
    took
}

pub(crate) struct Latency {
    pub(crate) count: usize,
    pub(crate) p99: Duration,
    pub(crate) max: Duration,
}

fn latency(mut took: Vec<Duration>) -> Latency {
    took.sort();
    let at = |share: f64| took.get(((took.len() as f64 - 1.0) * share) as usize).copied().unwrap_or_default();
    Latency { count: took.len(), p99: at(0.99), max: at(1.0) }
}

/// Runs `meanwhile` while the others register.
pub(crate) fn while_others_register(server: &Server, meanwhile: impl FnOnce()) -> Latency {
    let over = AtomicBool::new(false);
    thread::scope(|scope| {
        let others = scope.spawn(|| others(server, &over));
        // The scope waits for the others, also when this has failed.
        let done = panic::catch_unwind(AssertUnwindSafe(meanwhile));
        over.store(true, Ordering::Relaxed);
        let took = others.join().unwrap();
        done.unwrap_or_else(|why| panic::resume_unwind(why));
        latency(took)
    })
}

/// Each hostile user sends one REGISTER, which the stage's default answers, whatever the script did. What the log says
/// after each.
fn attack(server: &Server, users: impl Iterator<Item = usize>, pause: Duration) -> Vec<String> {
    let line = Stranger::at([127, 0, 0, 6], server.udp);
    let mut seen = server.log().len();
    let said = users.map(|n| {
        let answer = line.ask(&register(&mallory(n), ""));
        assert_eq!(answer.status(), 401);
        thread::sleep(pause);
        let log = server.log();
        let new = log.get(seen..).unwrap_or_default().to_owned();
        seen = log.len();
        new
    });
    said.collect()
}

/// One server, one batch. Err: somebody was late.
fn round(batch: &[Script]) -> Result<(), String> {
    let mut server = start(batch);
    let quiet = while_others_register(&server, || thread::sleep(QUIET));
    let before = server.memory();
    let mut said = Vec::new();
    let attacked = while_others_register(&server, || said = attack(&server, 0..batch.len(), PAUSE));
    for (script, said) in batch.iter().zip(said) {
        let fault = said.lines().find_map(|line| line.split_once("policy failed; the default applies unit="));
        let fault = fault.map(|(_, rest)| rest);
        println!("{:28} {}", script.name, fault.unwrap_or("harmless").chars().take(150).collect::<String>());
        // Some need a second call; what they do then is seen in process.
        let twice = script.text.contains("kept") || script.text.contains("local co\n");
        assert!(
            fault.is_some() || twice || script.right.contains(&Outcome::Harmless),
            "{}: nothing in the log: {said}",
            script.name
        );
        assert!(fault.is_none_or(|line| line.starts_with("\"policy\"") && line.contains("policy.lua:")), "{fault:?}");
    }
    let after = server.memory();
    let ms = |time: Duration| time.as_secs_f64() * 1e3;
    println!(
        "  others, quiet: {} REGISTERs, p99 {:.1} ms, max {:.1} ms; attacked: {}, p99 {:.1} ms, max {:.1} ms; {before} MiB, then {after} MiB",
        quiet.count,
        ms(quiet.p99),
        ms(quiet.max),
        attacked.count,
        ms(attacked.p99),
        ms(attacked.max),
    );
    server.is_well(before + GROWN_MIB);
    let late = attacked.max.saturating_sub(quiet.max);
    if late > LATE { Err(format!("a REGISTER was late by {late:?}")) } else { Ok(()) }
}

#[test]
fn nobody_waits_for_a_hostile_script() {
    let scripts: Vec<Script> = script::of_stages().collect();
    for batch in scripts.chunks(BATCH) {
        let mut outcome = round(batch);
        for _ in 1..ROUNDS {
            if let Err(why) = &outcome {
                println!("{why}; once more");
                outcome = round(batch);
            }
        }
        let names: Vec<&str> = batch.iter().map(|script| script.name.as_str()).collect();
        assert_eq!(outcome, Ok(()), "{names:?}");
    }
}

/// After ten faults the policy is not asked any more, which is logged once; the others never notice.
#[test]
fn a_flood_of_hostile_requests_opens_the_breaker() {
    let scripts: Vec<Script> = script::of_stages().filter(|script| script.name == "loop_while").collect();
    let mut server = start(&scripts);
    while_others_register(&server, || _ = attack(&server, std::iter::repeat_n(0, 40), Duration::from_millis(5)));
    let log = server.log();
    assert_eq!(log.matches("fails too often and is left out for 30 s").count(), 1, "{log}");
    let faults = log.matches("policy failed").count();
    assert!((1..=10).contains(&faults), "{faults} faults in the log: {log}");
    server.is_well(256);
}
