//! Ub: the terminal bootstraps with a BSF over HTTP, without SIP (TS 33.220 §4.5.2, TS 24.109 clause 4). It works against
//! any BSF: what a foreign one leaves out (`rspauth`, `Expires`) is not missed, what it says wrongly is.

use super::TerminalError;
use super::challenge::{self, Challenge, Protected, SecretKind};
use super::http::{Http, Reply, Target};
use super::identifiers::Identifiers;
use super::registration::BootstrapKeys;
use super::usim::{Failure, Success, Usim};
use crate::auth::digest::Password;
use crate::broadcast::datetime;
use crate::gba::kdf::{self, Ks, KsNaf};
use crate::gba::naf_id::NafId;
use crate::identity::Impi;
use crate::sip::AuthParams;
use crate::xml;

/// What a bootstrapping left behind. Debug is redacted by the key's own type.
#[derive(Debug, Clone)]
pub struct Bootstrapped {
    pub impi: Impi,
    /// As the BSF gave it: base64(RAND)@BSF from one that keeps to the specification.
    pub btid: String,
    /// End of Ks, seconds since 1970, if told.
    pub expires: Option<u64>,
    pub keys: BootstrapKeys,
    pub resynchronised: bool,
    /// The BSF proved with `rspauth` that it knows RES.
    pub proved: bool,
}

impl Bootstrapped {
    pub fn ks_naf(&self, naf: &NafId) -> KsNaf {
        kdf::ks_naf(&self.keys.ks, &self.keys.rand, self.impi.as_str(), naf)
    }
}

/// Bootstraps at `url`. `realm`: the BSF's name, should it not be the host of the URL. The card's memory moves on whatever
/// comes of it.
pub async fn bootstrap(
    http: &Http,
    url: &str,
    realm: Option<&str>,
    impi: &Impi,
    card: &mut Usim,
) -> Result<Bootstrapped, TerminalError> {
    let target = Target::parse(url)?;
    let mut identifiers = Identifiers::new()?;
    let hello = |nonce: &[u8], realm: &[u8]| challenge::unanswered(impi.as_str(), realm, nonce, &target.path);
    let realm = realm.unwrap_or_else(|| target.name());
    let mut reply = http.get(&target, &hello(b"", realm.as_bytes())).await?;
    let mut resynchronised = false;
    let mut answered_before = false;
    loop {
        let challenge = challenge_of(&reply)?;
        if answered_before && !challenge.stale {
            return Err(TerminalError::ResponseRefused);
        }
        let (rand, autn) = challenge.rand_autn()?;
        let request = Protected { username: impi.as_str(), method: "GET", uri: &target.path, body: b"" };
        let qop = challenge.protection(true);
        let cnonce = identifiers.fresh();
        match card.authenticate(&rand, &autn) {
            Ok(Success { res, ck, ik }) => {
                let password = Password::from_aka(challenge.algorithm, &res, &ik, &ck);
                let answered = challenge::answer(&challenge, request, &password, qop, cnonce, None);
                reply = http.get(&target, &answered.authorization).await?;
                if reply.status == 401 && !answered_before {
                    answered_before = true; // too late, perhaps: the new challenge says so
                    continue;
                }
                if reply.status != 200 {
                    return Err(refused(&reply));
                }
                answered.check_rspauth(reply.info.as_deref(), &password, &reply.body)?;
                let proved = reply.info.as_deref().is_some_and(has_rspauth);
                let (btid, expires) = information(&reply.body)?;
                let keys = BootstrapKeys { rand, ks: Ks::new(&ck, &ik) };
                return Ok(Bootstrapped { impi: impi.clone(), btid, expires, keys, resynchronised, proved });
            }
            Err(Failure::SyncFailure(auts)) if !resynchronised => {
                resynchronised = true;
                let answered = challenge::answer(&challenge, request, &Password::empty(), qop, cnonce, Some(&auts));
                reply = http.get(&target, &answered.authorization).await?;
            }
            Err(Failure::SyncFailure(_)) => return Err(TerminalError::ResyncFailed),
            Err(Failure::MacFailure | Failure::SeparationBit) => {
                // The BSF hears of it; what it says is of no interest.
                let _ = http.get(&target, &hello(&challenge.nonce, &challenge.realm)).await;
                return Err(TerminalError::MacFailure);
            }
        }
    }
}

fn challenge_of(reply: &Reply) -> Result<Challenge, TerminalError> {
    if reply.status != 401 {
        return Err(refused(reply));
    }
    Challenge::choose(reply.challenges.iter().map(|value| AuthParams::parse(value)), SecretKind::Card)
}

fn refused(reply: &Reply) -> TerminalError {
    let why: String = String::from_utf8_lossy(&reply.body).chars().filter(|c| !c.is_control()).take(200).collect();
    TerminalError::Rejected { request: "bootstrapping", status: reply.status, reason: why }
}

fn has_rspauth(info: &[u8]) -> bool {
    let line = [b"Digest ", info].concat();
    AuthParams::parse(&line).is_ok_and(|params| params.get("rspauth").is_some())
}

/// B-TID and lifetime of the 200.
fn information(body: &[u8]) -> Result<(String, Option<u64>), TerminalError> {
    let unread = TerminalError::BadAnswer("the bootstrapping information cannot be read");
    let root = xml::parse(body).ok().filter(|root| root.name == "BootstrappingInfo").ok_or(unread)?;
    let btid = root.text_of("btid").filter(|btid| !btid.is_empty() && !btid.chars().any(|c| c.is_control()));
    let btid = btid.ok_or(TerminalError::BadAnswer("no B-TID in the bootstrapping information"))?;
    Ok((btid.to_owned(), root.text_of("lifetime").and_then(datetime::parse)))
}
