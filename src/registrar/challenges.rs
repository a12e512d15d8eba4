//! Challenges on a shared store: REGISTER and its answer may come to two nodes. On any other store they stay in memory,
//! in [`crate::auth::challenge::Challenges`]; what is sent again after a restart meets an unknown nonce and a fresh 401.
//!
//! An entity of class `challenge` by private identity. Taking it out is made upon the version that was read, so a nonce
//! is good once however many nodes are shown it; a foreign nonce leaves it where it is.

use super::authenticate::{Found, Memo, Origin, Remembered};
use super::keeping::not_kept;
use super::scscf::{Refusal, Scscf};
use crate::aka::vector::{AkaVector, Autn, Key128, Rand, Res};
use crate::auth::challenge::{Challenge, Secret};
use crate::auth::digest::{Algorithm, Password};
use crate::broadcast::identify::{Payload, Portion};
use crate::clock::Now;
use crate::gba::btid::Btid;
use crate::gba::naf_id::NafId;
use crate::identity::{Impi, Impu};
use crate::store::seal::{self, Seal};
use crate::store::{Class, Due, Key, Save, Saved};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};
use std::time::Duration;
use zeroize::Zeroizing;

const FIELD: &str = "challenge";
/// How long after its time it is there for the timers to find.
const AFTERLIFE: Duration = Duration::from_secs(3600);

#[derive(Serialize, Deserialize)]
struct Document {
    nonce: String,
    algorithms: Vec<String>,
    aka: bool,
    /// Sealed: RAND, AUTN, CK, IK, XRES, or the password.
    secret: String,
    /// The secret is HA1 of this algorithm.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    hashed: Option<String>,
    resyncs: u8,
    impu: String,
    keys_sent: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    found: Option<FoundDocument>,
    /// End, by the store's clock in milliseconds.
    until: u64,
}

#[derive(Serialize, Deserialize)]
struct FoundDocument {
    fields: String,
    address: String,
    reliable: bool,
    all_or_nothing: bool,
    /// None: let go.
    portion: Option<PortionDocument>,
}

#[derive(Serialize, Deserialize)]
struct PortionDocument {
    naf: String,
    profile: Option<String>,
    payload: Option<(String, String)>,
    btid: Option<String>,
}

fn challenge_key(impi: &Impi) -> Key {
    Key::new(Class::Challenge, impi.as_arc().clone())
}

impl Scscf {
    /// Remembers a challenge until it is answered; on a shared store where every node finds it.
    pub(super) async fn remember(&self, impi: &Impi, challenge: Challenge<Memo>, now: Now) -> Result<(), Refusal> {
        if !self.shared.keeping.is_shared() {
            self.shared.challenges.put(impi, challenge, now.mono);
            return Ok(());
        }
        let store = self.shared.keeping.keeper.store();
        let until = store.time(now) + self.shared.challenges.lifetime();
        let key = challenge_key(impi);
        let refuse = |_| Refusal::because(500, "the challenge cannot be kept");
        let text = write(&challenge, until, self.shared.keeping.seal(), &key).map_err(refuse)?;
        let save = Save::whole(key, vec![(FIELD.into(), Some(text.into_boxed_slice()))]);
        let saved = store.save(save.due(Due::At(until)).until(until + AFTERLIFE)).await;
        saved.map(drop).map_err(not_kept)
    }

    /// Takes out the challenge with this nonce.
    pub(super) async fn recall(&self, impi: &Impi, nonce: &[u8], now: Now) -> Result<Option<Challenge<Memo>>, Refusal> {
        if !self.shared.keeping.is_shared() {
            return Ok(self.shared.challenges.take(impi.as_str(), nonce, now.mono));
        }
        let store = self.shared.keeping.keeper.store();
        let key = challenge_key(impi);
        let entity = store.load(vec![key.clone()]).await.map_err(not_kept)?.pop().unwrap_or_default();
        let Some(text) = entity.field(FIELD) else { return Ok(None) };
        let Some((challenge, until)) = read(text, self.shared.keeping.seal(), &key) else {
            tracing::warn!(%impi, "a challenge in the store cannot be read");
            return Ok(None);
        };
        if challenge.nonce.as_bytes() != nonce {
            return Ok(None);
        }
        let taken = store.save(Save::remove(key).upon(entity.version)).await.map_err(not_kept)?;
        let alive = until > store.time(now);
        Ok((matches!(taken, Saved::Done(_)) && alive).then_some(challenge))
    }

    /// A challenge whose time is over, claimed by this node: the HSS hears that nobody answered.
    pub async fn challenge_due(&self, impi: Impi) {
        let store = self.shared.keeping.keeper.store();
        let key = challenge_key(&impi);
        let Some(entity) = store.load(vec![key.clone()]).await.ok().and_then(|mut all| all.pop()) else { return };
        let found = entity.field(FIELD).and_then(|text| read(text, self.shared.keeping.seal(), &key));
        if found.as_ref().is_some_and(|(_, until)| *until > store.time(self.now())) {
            return; // a new one has taken its place
        }
        if let Ok(Saved::Done(_)) = store.save(Save::remove(key).upon(entity.version)).await
            && let Some((challenge, _)) = found
        {
            self.unanswered(&impi, &challenge).await;
        }
    }
}

fn write(challenge: &Challenge<Memo>, until: Duration, seal: &Seal, key: &Key) -> Result<Vec<u8>, seal::SealError> {
    let (aka, secret) = match &challenge.secret {
        Secret::Aka(v) => (true, Zeroizing::new([&v.rand.0, &v.autn.0, &v.ck.0, &v.ik.0, v.xres.as_bytes()].concat())),
        Secret::Password(password) => (false, Zeroizing::new(password.as_bytes().to_vec())),
    };
    let found = challenge.memo.found.as_ref().map(|found| FoundDocument {
        fields: STANDARD.encode(found.origin.fields),
        address: found.origin.address.to_string(),
        reliable: found.origin.reliable,
        all_or_nothing: found.portion.is_all_or_nothing(),
        portion: found.portion.portion().map(|p| PortionDocument {
            naf: p.naf.to_string(),
            profile: p.profile.clone(),
            payload: p.payload.as_ref().map(|p| (p.content_type.clone(), STANDARD.encode(&p.octets))),
            btid: p.btid.as_ref().map(|btid| btid.text()),
        }),
    });
    let document = Document {
        nonce: challenge.nonce.to_string(),
        algorithms: challenge.algorithms.iter().map(|a| a.as_str().to_owned()).collect(),
        aka,
        secret: seal.seal(&seal::context(key, FIELD), &secret)?,
        hashed: match &challenge.secret {
            Secret::Password(password) => password.hashed().map(|algorithm| algorithm.as_str().to_owned()),
            Secret::Aka(_) => None,
        },
        resyncs: challenge.resyncs,
        impu: challenge.memo.impu.as_str().to_owned(),
        keys_sent: challenge.memo.keys_sent,
        found,
        until: u64::try_from(until.as_millis()).unwrap_or(u64::MAX),
    };
    Ok(serde_json::to_vec(&document).unwrap_or_default()) // texts and numbers: nothing that JSON cannot say
}

/// None: it is not what [`write`] wrote, or was sealed with another key.
fn read(text: &[u8], seal: &Seal, key: &Key) -> Option<(Challenge<Memo>, Duration)> {
    let document: Document = serde_json::from_slice(text).ok()?;
    let octets = seal.open(&seal::context(key, FIELD), &document.secret).ok()?;
    let secret = match (document.aka, &document.hashed) {
        (true, _) => Secret::Aka(vector(&octets)?),
        (false, None) => Secret::Password(Password::new(octets.as_slice())),
        (false, Some(algorithm)) => {
            let algorithm = Algorithm::from_bytes(algorithm.as_bytes())?;
            Secret::Password(Password::ha1(algorithm, std::str::from_utf8(&octets).ok()?)?)
        }
    };
    let found = match document.found {
        None => None,
        Some(found) => Some(Found {
            origin: Origin {
                fields: STANDARD.decode(found.fields).ok()?.try_into().ok()?,
                address: found.address.parse().ok()?,
                reliable: found.reliable,
            },
            portion: match found.portion {
                None => Remembered::Shed { all_or_nothing: found.all_or_nothing },
                Some(p) => Remembered::Portion(Portion {
                    naf: NafId::parse(&p.naf).ok()?,
                    profile: p.profile,
                    payload: match p.payload {
                        Some((content_type, octets)) => {
                            Some(Payload { content_type, octets: STANDARD.decode(octets).ok()? })
                        }
                        None => None,
                    },
                    btid: p.btid.and_then(|btid| Btid::parse(&btid).ok()),
                    all_or_nothing: found.all_or_nothing,
                }),
            },
        }),
    };
    let algorithms: Option<Vec<_>> = document.algorithms.iter().map(|a| Algorithm::from_bytes(a.as_bytes())).collect();
    let challenge = Challenge {
        nonce: document.nonce.into(),
        algorithms: algorithms?.into(),
        secret,
        resyncs: document.resyncs,
        memo: Memo { impu: Impu::new(document.impu), keys_sent: document.keys_sent, found },
    };
    Some((challenge, Duration::from_millis(document.until)))
}

fn vector(octets: &[u8]) -> Option<AkaVector> {
    let (rand, rest) = octets.split_first_chunk::<16>()?;
    let (autn, rest) = rest.split_first_chunk::<16>()?;
    let (ck, rest) = rest.split_first_chunk::<16>()?;
    let (ik, xres) = rest.split_first_chunk::<16>()?;
    let xres = Res::try_from(xres).ok()?;
    Some(AkaVector { rand: Rand(*rand), autn: Autn(*autn), xres, ck: Key128(*ck), ik: Key128(*ik) })
}
