//! Reads all entities of a class, from every master, each over a connection of its own: who asks now does not wait for it.

use super::address::Address;
use super::ask::entity;
use super::link::{Link, text};
use super::shards::Shards;
use crate::store::{Class, Entity, Key, StoreError};
use redis::{Pipeline, Value};
use std::collections::HashSet;
use std::hash::{BuildHasher, RandomState};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc::Sender;
use tokio::time::timeout;

/// Names that a server goes through at once, roughly.
const STEP: usize = 500;
const ANSWER: Duration = Duration::from_secs(5);

pub(super) type Page = Result<Vec<(Key, Entity)>, StoreError>;

/// Ends when all is told, or when nobody listens any more.
pub(super) async fn walk(shards: Rc<Shards>, class: Class, pages: Sender<Page>) {
    if !shards.all(|_| true) {
        let _ = pages.send(Err(shards.nobody())).await;
        return;
    }
    // A server may name an entity twice. Hashes under a random key: 8 octets for each.
    let (mut seen, hasher) = (HashSet::new(), RandomState::new());
    for master in shards.masters() {
        let away = |why: Arc<str>| StoreError::Away(format!("{}: {why}", master.address).into());
        if let Err(error) =
            one(&shards, &master.address, class, &pages, |key| seen.insert(hasher.hash_one(key)), &away).await
        {
            let _ = pages.send(Err(error)).await;
            return;
        }
    }
}

async fn one(
    shards: &Shards,
    address: &Address,
    class: Class,
    pages: &Sender<Page>,
    mut is_new: impl FnMut(&Key) -> bool,
    away: &impl Fn(Arc<str>) -> StoreError,
) -> Result<(), StoreError> {
    let link = Link::dial(&shards.login, address).await.map_err(away)?;
    let exchange = async |commands: &Pipeline| {
        let replies = timeout(ANSWER, link.exchange(commands)).await;
        replies.unwrap_or_else(|_| Err("no answer within 5 s".into())).map_err(away)
    };
    let pattern = shards.names.pattern(class);
    let mut cursor = "0".to_owned();
    loop {
        let mut commands = Pipeline::new();
        commands.cmd("SCAN").arg(&cursor).arg("MATCH").arg(&pattern).arg("COUNT").arg(STEP);
        let reply = exchange(&commands).await?.into_iter().next().unwrap_or_default();
        let Value::Array(parts) = reply else {
            return Err(away(text(&reply).err().unwrap_or_else(|| "it does not name what it has".into())));
        };
        let mut parts = parts.into_iter();
        cursor = parts.next().and_then(|next| text(&next).ok()).ok_or_else(|| away("it has lost its place".into()))?;
        let Some(Value::Array(found)) = parts.next() else { return Err(away("it does not name what it has".into())) };
        let keys = found.iter().filter_map(|name| shards.names.parse(&text(name).ok()?));
        let keys: Vec<_> = keys.filter(|key| key.class == class && is_new(key)).collect();
        if !keys.is_empty() {
            let mut commands = Pipeline::new();
            for key in &keys {
                commands.cmd("HGETALL").arg(shards.names.entity(key));
            }
            let mut page = Vec::with_capacity(keys.len());
            for (key, reply) in keys.into_iter().zip(exchange(&commands).await?) {
                if let Value::ServerError(error) = &reply {
                    return Err(away(format!("{} {}", error.code(), error.details().unwrap_or_default()).into()));
                }
                let entity = entity(&key, reply)?;
                if entity.exists() {
                    page.push((key, entity));
                }
            }
            if pages.send(Ok(page)).await.is_err() {
                return Ok(());
            }
        }
        if cursor == "0" {
            return Ok(());
        }
    }
}
