//! What a registration costs in a store: two entities of 600 octets saved whole, one with a time at which it is due, one
//! with a time until which it is good; some registrations on their way at a time. CPU is that of the whole process.
//!
//! `cargo bench --bench store` · `store USERS SECONDS` for others than 100 000 users and 3 s a line. The files lie in
//! `TMPDIR`: what syncing costs is that disk's.

use imscript::clock::Clock;
use imscript::store::sqlite::{Durability, Sqlite};
use imscript::store::{Class, Due, Key, Memory, Save, Saved, Store};
use std::time::{Duration, Instant};

const OCTETS: usize = 600;

fn main() {
    let mut numbers = std::env::args().skip(1).filter_map(|argument| argument.parse::<u64>().ok());
    let (users, seconds) = (numbers.next().unwrap_or(100_000), numbers.next().unwrap_or(3));
    println!("{users} users, {OCTETS} octets an entity, two entities a registration");
    println!("store                in flight   registrations/s   CPU µs   p50 ms   p99 ms   disk octets");
    for (name, durability) in [
        ("memory", None),
        ("sqlite commit", Some(Durability::Commit)),
        ("sqlite write-behind", Some(Durability::WriteBehind)),
    ] {
        let dir = tempfile::tempdir().expect("a folder");
        let store: Box<dyn Store> = match durability {
            None => Box::new(Memory::new(Clock::new())),
            Some(durability) => Box::new(Sqlite::open_node(dir.path(), durability, Clock::new()).expect("a store")),
        };
        for user in (0..users).step_by(2000) {
            register(&*store, user..(user + 2000).min(users), 0);
        }
        for flight in [1, 64, 512] {
            measure(&*store, name, users, flight, Duration::from_secs(seconds));
        }
        store.close();
    }
}

fn measure(store: &dyn Store, name: &str, users: u64, flight: u64, time: Duration) {
    let (mut done, mut waited) = (0, Vec::new());
    let (cpu, disk, began) = (cpu(), disk(), Instant::now());
    let mut user = 1;
    while began.elapsed() < time {
        let this = Instant::now();
        // All over the place, as registrations come.
        user = (user * 48_271 + 11) % users;
        register(store, user..user + flight, users);
        waited.push(this.elapsed());
        done += flight;
    }
    let elapsed = began.elapsed();
    waited.sort();
    let ms = |part: usize| waited[(waited.len() - 1) * part / 100].as_secs_f64() * 1e3;
    println!(
        "{name:20} {flight:9} {:17.0} {:8.1} {:8.2} {:8.2} {:13.0}",
        done as f64 / elapsed.as_secs_f64(),
        (self::cpu() - cpu) * 1e6 / done as f64,
        ms(50),
        ms(99),
        (self::disk() - disk) as f64 / done as f64,
    );
}

/// Of so many users at a time; scattered, if it is known among how many.
fn register(store: &dyn Store, users: std::ops::Range<u64>, among: u64) {
    let now = store.time(Clock::new().now());
    let value = |user: u64| -> Box<[u8]> {
        let text = format!("{{\"contacts\":[{{\"uri\":\"sip:{user}@192.0.2.1\",\"q\":1.0}}],\"fill\":\"");
        let fill = "x".repeat(OCTETS - text.len() - 2);
        format!("{text}{fill}\"}}").into_bytes().into()
    };
    let saves = users.flat_map(|user| {
        let user = if among == 0 { user } else { user.wrapping_mul(0x9e37_79b9_7f4a_7c15) % among };
        let name = format!("user{user}_private@ims.mnc001.mcc001.3gppnetwork.org");
        let fields = || vec![("state".into(), Some(value(user)))];
        let until = now + Duration::from_secs(3600);
        [
            Save::whole(Key::new(Class::User, name.as_str()), fields()).due(Due::At(until)),
            Save::whole(Key::new(Class::Bootstrap, name), fields()).until(until),
        ]
    });
    let answers: Vec<_> = saves.map(|save| store.save(save)).collect();
    for answer in answers {
        assert!(matches!(answer.wait(), Ok(Saved::Done(_))));
    }
}

/// Seconds of the process, all threads; the kernel counts in hundredths.
fn cpu() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let after = stat.rsplit(") ").next().unwrap_or_default();
    after.split(' ').skip(11).take(2).filter_map(|ticks| ticks.parse::<f64>().ok()).sum::<f64>() / 100.0
}

fn disk() -> u64 {
    let io = std::fs::read_to_string("/proc/self/io").unwrap_or_default();
    io.lines().find_map(|line| line.strip_prefix("write_bytes: ")?.parse().ok()).unwrap_or(0)
}
