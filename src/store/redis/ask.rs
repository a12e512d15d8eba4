//! What is asked of a shard: how it is said in Redis's words, who waits for it, and what the reply means.

use super::super::{Due, Entity, Key, Save, Saved, StoreError};
use super::address::Address;
use super::key::{Bucket, Names, member, member_of};
use redis::{Cmd, ServerError, Value};
use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::oneshot;

/// Who waits.
pub(super) type Tell<T> = oneshot::Sender<Result<T, StoreError>>;

/// Most arguments that a script unpacks at once: Lua's stack is small.
const RUN: usize = 1000;

pub(super) const SCRIPTS: [&str; 3] = [include_str!("save.lua"), include_str!("take.lua"), include_str!("claim.lua")];
/// Their names at a server, in that order.
pub(super) type Shas = [String; 3];

pub(super) enum What {
    Load {
        key: Key,
        gather: Rc<Gather>,
        place: usize,
    },
    Save {
        save: Save,
        tell: Tell<Saved>,
    },
    Take {
        key: Key,
        tell: Tell<Entity>,
    },
    /// When the first of the bucket is due.
    Peek {
        tell: Tell<Claimed>,
    },
    Claim {
        now: Duration,
        until: Duration,
        most: usize,
        tell: Tell<Claimed>,
    },
}

pub(super) struct Ask {
    pub(super) bucket: Bucket,
    pub(super) what: What,
    /// It was sent on to another shard once: it is not sent on again.
    pub(super) tried: bool,
    /// Its slot is on the way to that shard.
    pub(super) asking: bool,
    /// State of the table of shards by which it was put where it waits.
    pub(super) table: u64,
}

/// What of a bucket is due.
pub(super) struct Claimed {
    pub(super) keys: Vec<Key>,
    pub(super) next: Option<Duration>,
}

/// The entities of one question that lie on several shards.
pub(super) struct Gather {
    found: RefCell<Vec<Entity>>,
    left: Cell<usize>,
    tell: RefCell<Option<Tell<Vec<Entity>>>>,
}

impl Gather {
    pub(super) fn new(count: usize, tell: Tell<Vec<Entity>>) -> Rc<Self> {
        let found = RefCell::new(vec![Entity::default(); count]);
        Rc::new(Gather { found, left: Cell::new(count), tell: RefCell::new(Some(tell)) })
    }

    fn put(&self, place: usize, entity: Result<Entity, StoreError>) {
        match entity {
            Ok(entity) => {
                if let Some(found) = self.found.borrow_mut().get_mut(place) {
                    *found = entity;
                }
                self.left.set(self.left.get().saturating_sub(1));
                if self.left.get() == 0 {
                    answer(self.tell.take(), Ok(self.found.take()));
                }
            }
            Err(error) => answer(self.tell.take(), Err(error)),
        }
    }
}

/// Who asked may have gone.
fn answer<T>(tell: Option<Tell<T>>, result: Result<T, StoreError>) {
    if let Some(tell) = tell {
        let _ = tell.send(result);
    }
}

/// What a shard says instead of an answer.
pub(super) enum Refusal {
    /// Ask there; for good or this once.
    Elsewhere {
        address: Option<Address>,
        asking: bool,
    },
    /// The scripts have to be given to it anew.
    NoScript,
    Error(StoreError),
}

impl Ask {
    pub(super) fn new(bucket: Bucket, what: What) -> Self {
        Ask { bucket, what, tried: false, asking: false, table: 0 }
    }

    /// Whether it may be asked twice without harm.
    pub(super) fn reads(&self) -> bool {
        matches!(self.what, What::Load { .. } | What::Peek { .. })
    }

    /// About how many octets it is.
    pub(super) fn size(&self) -> usize {
        let fields = match &self.what {
            What::Save { save, .. } => &*save.fields,
            _ => &[],
        };
        256 + fields
            .iter()
            .map(|(name, value)| name.len() + value.as_ref().map_or(0, |value| value.len()))
            .sum::<usize>()
    }

    /// As a command; `ahead`: how far the server's clock is before the store's, in microseconds.
    pub(super) fn command(&self, names: &Names, shas: &Shas, ahead: i64) -> Cmd {
        let [save_sha, take_sha, claim_sha] = shas;
        match &self.what {
            What::Load { key, .. } => {
                let mut cmd = command(2, 64);
                cmd.arg("HGETALL").arg(names.entity(key));
                cmd
            }
            What::Save { save, .. } => save_command(save, self.bucket, names, save_sha, ahead),
            What::Take { key, .. } => {
                let mut cmd = command(6, 200);
                cmd.arg("EVALSHA").arg(take_sha).arg(2);
                cmd.arg(names.entity(key)).arg(names.due(self.bucket)).arg(member_of(key));
                cmd
            }
            What::Peek { .. } => {
                let mut cmd = command(5, 64);
                cmd.arg("ZRANGE").arg(names.due(self.bucket)).arg(0).arg(0).arg("WITHSCORES");
                cmd
            }
            What::Claim { now, until, most, .. } => {
                let mut cmd = command(8, 160);
                cmd.arg("EVALSHA").arg(claim_sha).arg(1).arg(names.due(self.bucket));
                cmd.arg(micros(*now)).arg(micros(*until)).arg(*most).arg(names.bucket(self.bucket));
                cmd
            }
        }
    }

    pub(super) fn fail(self, error: StoreError) {
        match self.what {
            What::Load { gather, place, .. } => gather.put(place, Err(error)),
            What::Save { tell, .. } => answer(Some(tell), Err(error)),
            What::Take { tell, .. } => answer(Some(tell), Err(error)),
            What::Peek { tell } | What::Claim { tell, .. } => answer(Some(tell), Err(error)),
        }
    }

    /// Hands a reply on.
    pub(super) fn answer(self, reply: Value) {
        match self.what {
            What::Load { key, gather, place } => gather.put(place, entity(&key, reply)),
            What::Take { key, tell } => answer(Some(tell), entity(&key, reply)),
            What::Save { save, tell } => {
                let saved = match reply {
                    Value::Int(-1) => Ok(Saved::Conflict),
                    Value::Int(version) => u64::try_from(version).map(Saved::Done).map_err(|_| strange(&save.key)),
                    _ => Err(strange(&save.key)),
                };
                answer(Some(tell), saved);
            }
            What::Peek { tell } => {
                let next = first_due(reply);
                answer(Some(tell), Ok(Claimed { keys: Vec::new(), next }));
            }
            What::Claim { tell, .. } => {
                let claimed = match reply {
                    Value::Array(parts) => {
                        let mut parts = parts.into_iter();
                        let keys = parts.next().map(names).unwrap_or_default();
                        Claimed { keys, next: parts.next().and_then(first_due) }
                    }
                    _ => Claimed { keys: Vec::new(), next: None },
                };
                answer(Some(tell), Ok(claimed));
            }
        }
    }

    /// What an error of the server means.
    pub(super) fn refusal(&self, error: &ServerError, at: &Address) -> Refusal {
        let details = error.details().unwrap_or_default();
        let said: Arc<str> = format!("{at}: {} {details}", error.code()).into();
        match error.code() {
            code @ ("MOVED" | "ASK") if !self.tried => {
                let address = details.split_whitespace().nth(1).and_then(|text| Address::parse_beside(text, at));
                Refusal::Elsewhere { address, asking: code == "ASK" }
            }
            "NOSCRIPT" => Refusal::NoScript,
            "OOM" | "MISCONF" | "NOREPLICAS" | "READONLY" => Refusal::Error(StoreError::Unwritable(said)),
            "DAMAGED" | "WRONGTYPE" => match &self.what {
                What::Load { key, .. } | What::Take { key, .. } => {
                    Refusal::Error(StoreError::Damaged { key: key.clone(), why: said })
                }
                What::Save { save, .. } => Refusal::Error(StoreError::Damaged { key: save.key.clone(), why: said }),
                _ => Refusal::Error(StoreError::Away(said)),
            },
            _ => Refusal::Error(StoreError::Away(said)),
        }
    }
}

fn command(arguments: usize, octets: usize) -> Cmd {
    Cmd::with_capacity(arguments, octets)
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

fn save_command(save: &Save, bucket: Bucket, names: &Names, sha: &str, ahead: i64) -> Cmd {
    let octets = save.fields.iter().map(|(name, value)| name.len() + value.as_ref().map_or(0, |value| value.len()));
    let mut cmd = command(12 + save.fields.len() * 3, 256 + octets.sum::<usize>());
    cmd.arg("EVALSHA").arg(sha).arg(2).arg(names.entity(&save.key)).arg(names.due(bucket)).arg(member_of(&save.key));
    match save.upon {
        Some(upon) => cmd.arg(upon),
        None => cmd.arg(""),
    };
    cmd.arg(if save.whole { "1" } else { "0" });
    match save.due {
        Due::Unchanged => cmd.arg(""),
        Due::Never => cmd.arg("-"),
        Due::At(at) => cmd.arg(micros(at)),
    };
    match save.until {
        Some(until) => cmd.arg(micros(until).saturating_add_signed(ahead).div_ceil(1000).min(i64::MAX as u64)),
        None => cmd.arg(""),
    };
    // In the order in which they stand: a name may stand there twice.
    for run in save.fields.chunk_by(|one, next| one.1.is_some() == next.1.is_some()) {
        for run in run.chunks(RUN) {
            let puts = run.first().is_some_and(|(_, value)| value.is_some());
            cmd.arg(if puts { "+" } else { "-" }).arg(if puts { 2 * run.len() } else { run.len() });
            for (name, value) in run {
                cmd.arg(&**name);
                if let Some(value) = value {
                    cmd.arg(&**value);
                }
            }
        }
    }
    cmd
}

fn strange(key: &Key) -> StoreError {
    StoreError::Damaged { key: key.clone(), why: "the server's reply is none to what was asked".into() }
}

/// Fields and values as HGETALL gives them; the version stands in the field without a name.
pub(super) fn entity(key: &Key, reply: Value) -> Result<Entity, StoreError> {
    let Value::Array(parts) = reply else { return Err(strange(key)) };
    let mut entity = Entity { version: 0, fields: Vec::with_capacity(parts.len() / 2) };
    let mut parts = parts.into_iter();
    while let (Some(Value::BulkString(name)), Some(Value::BulkString(value))) = (parts.next(), parts.next()) {
        let name = String::from_utf8(name).map_err(|_| strange(key))?;
        if name.is_empty() {
            let version = std::str::from_utf8(&value).ok().and_then(|text| text.parse().ok());
            entity.version = version.ok_or_else(|| strange(key))?;
        } else {
            entity.fields.push((name.into(), value.into()));
        }
    }
    if entity.version == 0 && !entity.fields.is_empty() {
        return Err(StoreError::Damaged { key: key.clone(), why: "it has no version".into() });
    }
    entity.fields.sort_unstable_by(|(one, _), (other, _)| one.cmp(other));
    Ok(entity)
}

fn names(reply: Value) -> Vec<Key> {
    let Value::Array(names) = reply else { return Vec::new() };
    let text = |name: &Value| match name {
        Value::BulkString(name) => member(std::str::from_utf8(name).ok()?),
        _ => None,
    };
    names.iter().filter_map(text).collect()
}

/// Time of the first of `name, score`.
fn first_due(reply: Value) -> Option<Duration> {
    let Value::Array(parts) = reply else { return None };
    let Some(Value::BulkString(score)) = parts.get(1) else { return None };
    let score: f64 = std::str::from_utf8(score).ok()?.parse().ok()?;
    Some(Duration::from_micros(score.clamp(0.0, 9e15) as u64))
}
