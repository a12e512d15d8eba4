//! Finds out which servers there are: at the start, every few seconds while all is well, and several times a second from
//! several of them while a master is away.

use super::address::Address;
use super::cluster;
use super::link::{Link, text};
use super::node::jitter;
use super::shards::Shards;
use redis::Pipeline;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::{sleep, timeout};

const WELL: Duration = Duration::from_secs(5);
const AWAY: Duration = Duration::from_millis(250);
/// Between two that an alarm asks for.
const LEAST: Duration = Duration::from_millis(50);
const ANSWER: Duration = Duration::from_millis(500);
/// How many are asked at once while a master is away.
const ASKED: usize = 3;

/// Runs until the store ends; a server that is no cluster has nothing to find out.
pub(super) async fn watch(shards: Rc<Shards>) {
    let mut turn = 0;
    while !shards.is_single() {
        let count = if shards.all(|node| !node.is_down()) { 1 } else { ASKED };
        let asked: Vec<_> = choose(&shards, &mut turn, count)
            .into_iter()
            .map(|address| tokio::task::spawn_local(ask(shards.clone(), address)))
            .collect();
        for ask in asked {
            let _ = ask.await; // it has told what it learned
        }
        let pause = if shards.all(|node| !node.is_down()) { WELL } else { AWAY };
        tokio::select! { () = sleep(jitter(pause)) => {}, () = shards.alarm.notified() => sleep(LEAST).await }
    }
}

/// The next ones of all that are known, those that are there first.
fn choose(shards: &Shards, turn: &mut usize, count: usize) -> Vec<Address> {
    let mut all = shards.known.borrow().clone();
    let seeds = shards.seeds.iter().filter(|seed| !all.contains(seed)).cloned().collect::<Vec<_>>();
    all.extend(seeds);
    let (away, there): (Vec<_>, Vec<_>) = all.into_iter().partition(|address| shards.is_away(address));
    let from = if there.is_empty() { away } else { there };
    let chosen = from.iter().cycle().skip(*turn % from.len().max(1)).take(count.min(from.len())).cloned().collect();
    *turn = turn.wrapping_add(count);
    chosen
}

async fn ask(shards: Rc<Shards>, address: Address) {
    let told = match Link::dial(&shards.login, &address).await {
        Ok(link) => {
            let mut commands = Pipeline::new();
            commands.cmd("CLUSTER").arg("NODES");
            let replies = timeout(ANSWER, link.exchange(&commands)).await;
            replies.unwrap_or_else(|_| Err("no answer within 500 ms".into()))
        }
        Err(why) => Err(why),
    };
    let told: Result<String, Arc<str>> = told.and_then(|replies| match replies.first() {
        Some(reply) => text(reply),
        None => Err("no answer".into()),
    });
    match told {
        Ok(told) => {
            let members = cluster::parse(&told, &address);
            if !members.iter().any(|member| member.buckets().next().is_some()) {
                *shards.why.borrow_mut() = format!("{address}: its cluster has no masters yet").into();
            }
            shards.adopt(&members);
        }
        Err(why) if why.contains("cluster support disabled") || why.contains("unknown command") => {
            shards.settle_on(&address);
        }
        Err(why) => {
            *shards.why.borrow_mut() = format!("{address}: {why}").into();
            shards.publish();
        }
    }
}
