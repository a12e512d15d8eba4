//! A cluster of three masters with a replica each: the common behaviour, and what happens when a part of it goes.

use crate::behaviour::{self, Over, key, load, put};
use crate::redis::{Bench, SOON, assert_refuses_at_once, eventually, open, save, timed};
use crate::servers::{self, Cluster};
use imscript::store::{Save, Store, StoreError};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

#[test]
fn a_cluster_does_what_a_store_does() {
    if servers::installed() {
        let cluster = servers::cluster();
        behaviour::all(&Bench::new(cluster.urls()));
    }
}

/// Saves some names, and says on which master each lies.
fn spread(cluster: &Cluster, store: &dyn Store, prefix: &str) -> BTreeMap<u16, Vec<String>> {
    let names: Vec<_> = (0..60).map(|n| format!("user{n}@home1.net")).collect();
    names.iter().for_each(|name| _ = save(store, name).unwrap());
    let there = |port: u16| {
        let found = servers::cli(port, &["--scan", "--pattern", &format!("{prefix}:*:user:*")]);
        found.lines().filter_map(|line| Some(line.split_once(":user:")?.1.to_owned())).collect::<Vec<_>>()
    };
    let spread: BTreeMap<_, _> = cluster.masters().into_iter().map(|port| (port, there(port))).collect();
    assert!(spread.len() == 3 && spread.values().all(|names| !names.is_empty()), "{spread:?}");
    spread
}

fn epochs(store: &dyn Store, names: &[String]) -> Vec<u64> {
    names.iter().map(|name| store.epoch(&key(name))).collect()
}

#[test]
fn a_master_that_dies_takes_only_its_own_along_and_not_for_long() {
    if !servers::installed() {
        return;
    }
    let rounds = std::env::var("IMSCRIPT_MASTER_KILLS").ok().and_then(|text| text.parse().ok()).unwrap_or(2);
    let mut cluster = servers::cluster();
    for round in 0..rounds {
        cluster.heal();
        let prefix = format!("kill{round}");
        let store = open(&cluster.urls()[..2], &prefix);
        let spread = spread(&cluster, &store, &prefix);
        let victim = *spread.keys().nth(round % 3).unwrap();
        let replica = cluster.replica(victim);
        let before: BTreeMap<_, _> = spread.iter().map(|(port, names)| (*port, epochs(&store, names))).collect();
        let stop = AtomicBool::new(false);
        // One thread for each shard: when each question was asked, how long the answer took, whether it was one.
        let ask = |names: &[String]| {
            let mut told = Vec::new();
            for name in names.iter().cycle() {
                if stop.load(Ordering::SeqCst) {
                    return told;
                }
                let from = Instant::now();
                let (took, answer) = timed(|| match told.len() % 2 {
                    0 => save(&store, name).map(drop),
                    _ => store.load(vec![key(name)]).wait().map(drop),
                });
                assert!(!matches!(answer, Err(ref error) if !matches!(error, StoreError::Away(_))), "{answer:?}");
                told.push((from, took, answer.is_ok()));
                std::thread::sleep(Duration::from_millis(1));
            }
            told
        };
        std::thread::scope(|scope| {
            let over = Over(&stop);
            let asked: Vec<_> = spread.iter().map(|(port, names)| (*port, scope.spawn(|| ask(names)))).collect();
            std::thread::sleep(Duration::from_millis(300));
            cluster.server(victim).kill();
            let killed = Instant::now();
            while !servers::cli(replica, &["ROLE"]).starts_with("master") {
                assert!(killed.elapsed() < Duration::from_secs(60), "no promotion");
                std::thread::sleep(Duration::from_millis(10));
            }
            let promoted = Instant::now();
            std::thread::sleep(Duration::from_secs(4));
            drop(over);
            // What the machine itself takes shows where nothing has happened.
            let mut stall = Duration::ZERO;
            let asked: Vec<_> = asked.into_iter().map(|(port, asked)| (port, asked.join().unwrap())).collect();
            for (_, told) in asked.iter().filter(|(port, _)| *port != victim) {
                stall = stall.max(told.iter().map(|(_, took, _)| *took).max().unwrap());
            }
            for (port, told) in asked {
                let failed = told.iter().filter(|(_, _, well)| !well).count();
                let longest = told.iter().map(|(_, took, _)| *took).max().unwrap();
                let last = told.iter().rev().find(|(_, _, well)| !well).map(|(from, ..)| *from);
                println!(
                    "round {round}, shard {port}: {} asked, {failed} refused, longest {longest:?}; promoted {:?} after the \
                     kill, last refused {:?} after the promotion",
                    told.len(),
                    promoted - killed,
                    last.map(|last| last.saturating_duration_since(promoted)),
                );
                if port == victim {
                    assert!(failed > 0 && told.last().unwrap().2, "away, and back within 4 s");
                    assert!(longest < Duration::from_millis(200) + stall, "{longest:?}");
                } else {
                    assert_eq!(failed, 0, "the others do not notice");
                }
            }
        });
        for (port, names) in &spread {
            assert_eq!(epochs(&store, names) != before[port], *port == victim, "epochs of {port}");
        }
        assert!(store.health().iter().all(|part| part.writes) && store.health().len() == 3, "{:?}", store.health());
    }
}

#[test]
fn a_replica_that_lagged_has_another_epoch() {
    if !servers::installed() {
        return;
    }
    let mut cluster = servers::cluster();
    let store = open(&cluster.urls(), "lag");
    let spread = spread(&cluster, &store, "lag");
    let (victim, names) = spread.first_key_value().unwrap();
    let replica = cluster.replica(*victim);
    let before = epochs(&store, names);
    cluster.server(replica).signal("STOP");
    // More than lies on the way to a replica that does not read.
    let large = vec![b'x'; 1 << 19];
    for n in 0..40 {
        let name = &names[n % names.len()];
        store.save(Save::whole(key(name), vec![put("n", n.to_string()), put("large", &large)])).wait().unwrap();
    }
    let last = &names[39 % names.len()];
    cluster.server(*victim).kill();
    cluster.server(replica).signal("CONT");
    eventually("the replica has taken over", SOON * 2, || store.load(vec![key(last)]).wait().is_ok());
    let epochs = epochs(&store, names);
    assert!(epochs.iter().zip(&before).all(|(now, before)| now != before), "{before:?} {epochs:?}");
    println!("lost: {}", load(&store, key(last)).field("n") != Some(b"39"));
    save(&store, last).unwrap();
}

#[test]
fn an_emptied_master_has_another_epoch() {
    if !servers::installed() {
        return;
    }
    let cluster = servers::cluster();
    let store = open(&cluster.urls(), "flush");
    let spread = spread(&cluster, &store, "flush");
    let before: BTreeMap<_, _> = spread.iter().map(|(port, names)| (*port, epochs(&store, names))).collect();
    let victim = *spread.keys().next().unwrap();
    servers::cli(victim, &["FLUSHALL"]);
    eventually("it is noticed", SOON, || epochs(&store, &spread[&victim]) != before[&victim]);
    for (port, names) in &spread {
        assert_eq!(epochs(&store, names) != before[port], *port == victim, "epochs of {port}");
    }
}

#[test]
fn a_cluster_that_is_all_gone_comes_back() {
    if !servers::installed() {
        return;
    }
    let mut cluster = servers::cluster();
    let store = open(&cluster.urls(), "gone");
    let spread = spread(&cluster, &store, "gone");
    cluster.servers.iter_mut().for_each(|server| server.kill());
    let from = Instant::now();
    while from.elapsed() < Duration::from_secs(1) {
        for name in spread.values().flatten() {
            assert_refuses_at_once(10, || save(&store, name));
        }
        assert_refuses_at_once(10, || store.claim_due(Duration::from_secs(1), 5).wait());
    }
    assert!(store.health().iter().all(|part| !part.reads && !part.why.is_empty()), "{:?}", store.health());
    cluster.heal();
    eventually("all are back", SOON * 2, || spread.values().flatten().all(|name| save(&store, name).is_ok()));
}

#[test]
fn a_bucket_that_moves_is_followed() {
    if !servers::installed() {
        return;
    }
    let cluster = servers::cluster();
    let store = open(&cluster.urls(), "move");
    let spread = spread(&cluster, &store, "move");
    let (from, names) = spread.first_key_value().unwrap();
    let to = *spread.keys().nth(1).unwrap();
    let name = &names[0];
    let found = servers::cli(*from, &["--scan", "--pattern", &format!("move:*:user:{name}")]);
    let slot = servers::cli(*from, &["CLUSTER", "KEYSLOT", &found]);
    let id = |port: u16| servers::cli(port, &["CLUSTER", "MYID"]);
    let setslot = |port: u16, what: &str, id: &str| {
        assert_eq!(servers::cli(port, &["CLUSTER", "SETSLOT", &slot, what, id]), "OK");
    };
    let shift = |from: u16, to: u16| {
        setslot(to, "IMPORTING", &id(from));
        setslot(from, "MIGRATING", &id(to));
        let keys = servers::cli(from, &["CLUSTER", "GETKEYSINSLOT", &slot, "1000"]);
        let (to_port, mut args) = (to.to_string(), vec!["MIGRATE", "127.0.0.1"]);
        args.extend([&*to_port, "", "0", "5000", "KEYS"]);
        args.extend(keys.lines());
        assert_eq!(servers::cli(from, &args), "OK");
        // The keys are there, the slot is not yet: ASK.
        assert!(load(&store, key(name)).exists());
        // A script cannot have the entity and the list of what is due from two servers.
        let answer = save(&store, name);
        let target = id(to);
        setslot(to, "NODE", &target);
        setslot(from, "NODE", &target);
        assert!(!matches!(answer, Err(ref error) if !error.to_string().contains("TRYAGAIN")), "{answer:?}");
        // MOVED.
        assert!(load(&store, key(name)).exists());
        eventually("it is followed", SOON, || save(&store, name).is_ok());
    };
    let epoch = store.epoch(&key(name));
    shift(*from, to);
    eventually("it is another shard", SOON, || store.epoch(&key(name)) != epoch);
    shift(to, *from);
}
