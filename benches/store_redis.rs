//! What a registration costs a node in its client of a Redis server: three entities loaded at once, two saved, one taken;
//! some registrations on their way at a time. CPU is that of this process: of the threads that ask and of the one that owns
//! the connections, without the server.
//!
//! `cargo bench --bench store_redis` starts a `redis-server` of its own on the loopback, or takes `IMSCRIPT_REDIS`, URLs
//! with commas between them. `store_redis USERS SECONDS` for others than 20 000 users and 3 s a line.

use imscript::clock::Clock;
use imscript::store::redis::{Options, Redis};
use imscript::store::{Class, Due, Key, Save, Store, StoreError};
use std::rc::Rc;
use std::sync::Arc;
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
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let store = Rc::new(store);
    for flight in [1, 64, 512] {
        let (from, cpu_from) = (Instant::now(), cpu());
        let until = from + Duration::from_secs(seconds);
        let mut waited: Vec<Duration> = tokio::task::LocalSet::new().block_on(&runtime, async {
            // As a worker has them: a job for each registration that is on its way.
            let job = |n| tokio::task::spawn_local(registrations(store.clone(), n, flight, users, until));
            let jobs: Vec<_> = (0..flight).map(job).collect();
            let mut all = Vec::new();
            for job in jobs {
                all.append(&mut job.await.expect("an end"));
            }
            all
        });
        let (elapsed, spent) = (from.elapsed(), cpu() - cpu_from);
        waited.sort();
        let part = |part: usize| waited[(waited.len() - 1) * part / 100].as_secs_f64() * 1e3;
        println!(
            "{flight:9} {:17.0} {:8.2} {:8.2} {:8.2}",
            waited.len() as f64 / elapsed.as_secs_f64(),
            spent.as_secs_f64() * 1e6 / waited.len() as f64,
            part(50),
            part(99),
        );
    }
    store.close();
}

/// One after another, and how long each took.
async fn registrations(store: Rc<Redis>, first: u64, step: u64, users: u64, until: Instant) -> Vec<Duration> {
    let (mut user, mut waited) = (first, Vec::new());
    while Instant::now() < until {
        let began = Instant::now();
        register(&store, user % users).await.expect("a store that is well");
        waited.push(began.elapsed());
        user += step;
    }
    waited
}

/// REGISTER 1 loads and puts a challenge, REGISTER 2 takes it and puts the user.
async fn register(store: &Redis, user: u64) -> Result<(), StoreError> {
    let until = store.time(Clock::new().now()) + Duration::from_secs(600);
    let name: Arc<str> = format!("26201{user:010}@ims.mnc001.mcc262.3gppnetwork.org").into();
    let key = |class| Key::new(class, name.clone());
    let value = || vec![("json".into(), Some(vec![b'x'; OCTETS].into()))];
    store.load(vec![key(Class::Subscriber), key(Class::User), key(Class::Bootstrap)]).await?;
    store.save(Save::whole(key(Class::Challenge), value()).until(until)).await?;
    assert!(store.take(key(Class::Challenge)).await?.exists());
    store.save(Save::whole(key(Class::User), value()).due(Due::At(until)).until(until)).await?;
    Ok(())
}

/// User and system time of this process.
fn cpu() -> Duration {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let fields = stat.rsplit(')').next().unwrap_or_default().split_whitespace();
    let ticks: u64 = fields.skip(11).take(2).filter_map(|field| field.parse::<u64>().ok()).sum();
    Duration::from_millis(ticks * 10) // 100 ticks a second on Linux
}
