//! Finds what is due. A bucket is looked at when something in it is due as far as this node knows, and besides every
//! [`AGAIN`], because another node may have put something there: two small commands a second for each bucket, and none
//! for one that was looked at just now. All that is asked at once goes in one pipeline for each shard, five after one
//! another at most.

use super::ask::{Ask, Claimed, Tell, What};
use super::key::Bucket;
use super::shards::Shards;
use crate::store::{Key, StoreError};
use std::rc::Rc;
use std::time::Duration;
use tokio::sync::oneshot;

const AGAIN: Duration = Duration::from_millis(500);

pub(super) async fn claim(shards: Rc<Shards>, hold: Duration, most: usize, tell: Tell<Vec<Key>>) {
    let _ = tell.send(claimed(&shards, hold, most).await); // who asked may have gone: it is due again after `hold`
}

async fn claimed(shards: &Rc<Shards>, hold: Duration, most: usize) -> Result<Vec<Key>, StoreError> {
    let mono = shards.clock.now().mono;
    let Some(now) = shards.seen.time(mono) else { return Err(shards.nobody()) };
    if most == 0 {
        return Ok(Vec::new());
    }
    let masters = shards.masters();
    if !masters.iter().any(|node| node.is_up()) {
        return Err(masters.first().map_or_else(|| shards.nobody(), |node| node.away()));
    }
    let look =
        |bucket: Bucket, next: Option<Duration>| shards.look(bucket, next.unwrap_or(Duration::MAX).min(now + AGAIN));
    let mut due = Vec::new();
    for (bucket, result) in ask(shards, shards.to_look_at(now), |tell| What::Peek { tell }).await {
        match result {
            Ok(Claimed { next: Some(next), .. }) if next <= now => due.push(bucket),
            Ok(claimed) => look(bucket, claimed.next),
            Err(_) => look(bucket, Some(now)),
        }
    }
    // Who comes first changes, or a busy bucket would keep the others waiting.
    let turn = (now.as_micros() % due.len().max(1) as u128) as usize;
    due.rotate_left(turn);
    let mut keys = Vec::new();
    for _ in 0..4 {
        let rest = due.split_off(due.len().min(most - keys.len()));
        rest.iter().for_each(|bucket| look(*bucket, Some(now)));
        let Some(share) = (most - keys.len()).checked_div(due.len()) else { break };
        let claim = |tell| What::Claim { now, until: now + hold, most: share, tell };
        let (mut found, mut more) = (Vec::new(), Vec::new());
        for (bucket, result) in ask(shards, std::mem::take(&mut due), claim).await {
            match result {
                Ok(claimed) => {
                    if claimed.next.is_some_and(|next| next <= now) {
                        more.push(bucket);
                    } else {
                        look(bucket, claimed.next);
                    }
                    found.extend(claimed.keys);
                }
                Err(_) => look(bucket, Some(now)),
            }
        }
        keys.append(&mut found);
        due = more;
        if keys.len() >= most {
            break;
        }
    }
    due.iter().for_each(|bucket| look(*bucket, Some(now)));
    Ok(keys)
}

async fn ask(
    shards: &Rc<Shards>,
    buckets: Vec<Bucket>,
    what: impl Fn(Tell<Claimed>) -> What,
) -> Vec<(Bucket, Result<Claimed, StoreError>)> {
    let waiting: Vec<_> = buckets
        .into_iter()
        .map(|bucket| {
            let (tell, told) = oneshot::channel();
            shards.dispatch(Ask::new(bucket, what(tell)));
            (bucket, told)
        })
        .collect();
    let mut answers = Vec::with_capacity(waiting.len());
    for (bucket, told) in waiting {
        answers.push((bucket, told.await.unwrap_or(Err(StoreError::Closed))));
    }
    answers
}
