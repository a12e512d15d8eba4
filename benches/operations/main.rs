//! What each operation of a registration costs, alone: read a message, make an answer, a vector, a digest, a key, ask a stage,
//! keep a user; and whole turns of the S-CSCF in memory. `cargo bench --bench operations [WORD]` prints time, the least of
//! several rounds, and allocations of the process, of the cases with WORD in their name.
//!
//! For valgrind (`benches/instructions`): `operations --count [WORD]` runs the cases, each [`COUNTS`] times in [`counted`], and tells
//! which. For a profiler: `operations --only NAME COUNT` runs one. Inputs are fixed, and there is one thread but for SQLite's.
#![allow(unsafe_code)] // one trait whose methods are unsafe to call, below

mod keys;
mod lua;
mod sip;
mod stores;
mod turns;

use std::alloc::{GlobalAlloc, Layout, System};
use std::hint::black_box;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Instant;

static ALLOCATIONS: AtomicU64 = AtomicU64::new(0);
/// Of what went through [`measured`] so far.
static NANOS: AtomicU64 = AtomicU64::new(0);
static ALLOCATED: AtomicU64 = AtomicU64::new(0);

struct Counting;

// SAFETY: every method hands its arguments unchanged to `System`, which keeps the contract of `GlobalAlloc`, and gives
// back what `System` gave; the counter touches no memory but its own.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Relaxed);
        // SAFETY: the caller keeps the contract of `alloc`, which is that of `System.alloc`.
        unsafe { System.alloc(layout) }
    }
    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        // SAFETY: `at` came from `System` through this allocator, with this layout.
        unsafe { System.dealloc(at, layout) }
    }
    unsafe fn realloc(&self, at: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Relaxed);
        // SAFETY: as for `dealloc`; the caller vouches for `size`.
        unsafe { System.realloc(at, layout, size) }
    }
}

#[global_allocator]
static COUNTING: Counting = Counting;

/// An operation by name.
struct Case {
    name: &'static str,
    /// Does it so many times, all of them through [`measured`].
    run: Box<dyn FnMut(u64)>,
}

/// How often an operation is done for a count of instructions.
const COUNTS: u64 = 50;

impl Case {
    /// One that needs nothing made for it each time.
    fn new<T>(name: &'static str, mut operation: impl FnMut() -> T + 'static) -> Case {
        let run = move |count| {
            measured(&mut || {
                for _ in 0..count {
                    black_box(operation());
                }
            });
        };
        Case { name, run: Box::new(run) }
    }
}

/// What is timed.
fn measured(work: &mut dyn FnMut()) {
    let (start, before) = (Instant::now(), ALLOCATIONS.load(Relaxed));
    counted(work);
    ALLOCATED.fetch_add(ALLOCATIONS.load(Relaxed) - before, Relaxed);
    NANOS.fetch_add(u64::try_from(start.elapsed().as_nanos()).unwrap_or(u64::MAX), Relaxed);
}

/// What callgrind counts on this thread, by its name: on when it is entered, off when it is left.
#[inline(never)]
fn counted(work: &mut dyn FnMut()) {
    work();
}

/// Callgrind writes down the count so far when this is entered, and begins anew.
#[inline(never)]
fn case_ends(name: &str) {
    println!("{}", black_box(name));
}

fn cases() -> Vec<Case> {
    let mut cases = vec![Case::new("(an empty loop)", || ())];
    cases.extend(sip::cases());
    cases.extend(keys::cases());
    cases.extend(lua::cases());
    cases.extend(stores::cases());
    cases.extend(turns::cases());
    cases
}

fn main() {
    let words: Vec<String> = std::env::args().skip(1).filter(|word| word != "--bench").collect();
    match words.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        ["--count"] => count(""),
        ["--count", word] => count(word),
        ["--only", name, count] => {
            let case = cases().into_iter().find(|case| case.name == *name);
            (case.expect("a case's name").run)(count.parse().expect("a count"));
        }
        [] => time(""),
        [word] => time(word),
        _ => panic!("at most one word"),
    }
}

fn count(word: &str) {
    println!("{COUNTS}");
    for mut case in cases().into_iter().filter(|case| case.name.contains(word)) {
        // What is made at the first use is no part of it.
        (case.run)(2);
        case_ends("");
        (case.run)(COUNTS);
        case_ends(case.name);
    }
}

fn time(word: &str) {
    println!("{:44} {:>10} {:>12}", "operation", "ns", "allocations");
    for mut case in cases().into_iter().filter(|case| case.name.contains(word)) {
        // As many as take about a millisecond: short rounds, so that on a busy machine some are undisturbed.
        (case.run)(3);
        let nanos = NANOS.swap(0, Relaxed) / 3;
        let count = (1_000_000 / nanos.max(1)).clamp(3, 20_000);
        let mut least = u64::MAX;
        ALLOCATED.store(0, Relaxed);
        const ROUNDS: u64 = 100;
        for _ in 0..ROUNDS {
            (case.run)(count);
            least = least.min(NANOS.swap(0, Relaxed) / count);
        }
        let allocations = ALLOCATED.load(Relaxed) as f64 / (count * ROUNDS) as f64;
        println!("{:44} {least:>10} {allocations:>12.2}", case.name);
    }
}
