//! What a registration costs a node in its client of a Redis server: three entities loaded at once, two saved, one taken;
//! some registrations on their way at a time. CPU is that of this process: of the threads that ask and of the one that owns
//! the connections, without the server.
//!
//! `cargo bench --bench store_redis` starts a `redis-server` of its own on the loopback, or takes `IMSCRIPT_REDIS`, URLs
//! with commas between them. `store_redis USERS SECONDS` for others than 20 000 users and 3 s a line.

use imscript::answer::Answer;
use imscript::clock::Clock;
use imscript::store::redis::{Options, Redis};
use imscript::store::{Class, Due, Key, Save, Store};
use std::time::{Duration, Instant};

#[path = "../tests/support/redis.rs"]
mod servers;

const OCTETS: usize = 600;

fn main() {
    let mut numbers = std::env::args().skip(1).filter_map(|argument| argument.parse::<u64>().ok());
    let (users, seconds) = (numbers.next().unwrap_or(20_000), numbers.next().unwrap_or(3));
    let own = std::env::var("IMSCRIPT_REDIS").is_err();
    if own && !servers::installed() {
        return;
    }
    let server = own.then(|| servers::Server::start(&[]));
    let urls = match &server {
        Some(server) => vec![server.url()],
        None => std::env::var("IMSCRIPT_REDIS").unwrap_or_default().split(',').map(str::to_owned).collect(),
    };
    let options = Options { urls, prefix: format!("bench{}", std::process::id()), ca: None };
    let store = Redis::open(&options, Clock::new()).expect("a store");
    println!("{users} users, {OCTETS} octets an entity; a registration: 3 loads, 2 saves, 1 take");
    println!("in flight   registrations/s   CPU µs   p50 ms   p99 ms");
    let mut next = 0;
    for flight in [1, 64, 512] {
        let (mut done, mut waited) = (0_u64, Vec::new());
        let (from, cpu_from) = (Instant::now(), cpu());
        while from.elapsed() < Duration::from_secs(seconds) {
            let began = Instant::now();
            register(&store, (0..flight).map(|n| (next + n) % users));
            next += flight;
            done += flight;
            waited.push(began.elapsed());
        }
        let (elapsed, spent) = (from.elapsed(), cpu() - cpu_from);
        waited.sort();
        let part = |part: usize| waited[(waited.len() - 1) * part / 100].as_secs_f64() * 1e3;
        println!(
            "{flight:9} {:17.0} {:8.2} {:8.2} {:8.2}",
            done as f64 / elapsed.as_secs_f64(),
            spent.as_secs_f64() * 1e6 / done as f64,
            part(50),
            part(99),
        );
    }
    store.close();
}

/// All of them at a time: REGISTER 1 loads and puts a challenge, REGISTER 2 takes it and puts the user.
fn register(store: &Redis, users: impl Iterator<Item = u64>) {
    let now = store.time(Clock::new().now());
    let value = || vec![("json".into(), Some(vec![b'x'; OCTETS].into()))];
    let asked: Vec<_> = users
        .map(|user| {
            let name = |class| Key::new(class, format!("26201{user:010}@ims.mnc001.mcc262.3gppnetwork.org"));
            let until = now + Duration::from_secs(600);
            let keys = vec![name(Class::Subscriber), name(Class::User), name(Class::Bootstrap)];
            (
                store.load(keys),
                store.save(Save::whole(name(Class::Challenge), value()).until(until)),
                store.take(name(Class::Challenge)),
                store.save(Save::whole(name(Class::User), value()).due(Due::At(until)).until(until)),
            )
        })
        .collect();
    for (load, challenge, take, user) in asked {
        assert_eq!(well(load).len(), 3);
        well(challenge);
        assert!(well(take).exists());
        well(user);
    }
}

fn well<T: Unpin>(answer: Answer<'static, Result<T, imscript::store::StoreError>>) -> T {
    answer.wait().expect("an answer")
}

/// User and system time of this process.
fn cpu() -> Duration {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let fields = stat.rsplit(')').next().unwrap_or_default().split_whitespace();
    let ticks: u64 = fields.skip(11).take(2).filter_map(|field| field.parse::<u64>().ok()).sum();
    Duration::from_millis(ticks * 10) // 100 ticks a second on Linux
}
