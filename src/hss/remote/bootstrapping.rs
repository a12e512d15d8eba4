//! The BSF's question to a foreign HSS (Zh, TS 29.109 clause 4): a vector, and the user's security settings.

use super::{RemoteHss, verdict};
use crate::aka::vector::{AkaVector, Auts, Rand};
use crate::broadcast::ext::parse_services;
use crate::clock::Now;
use crate::diameter::dictionary::{application, command};
use crate::diameter::fault::tgpp;
use crate::diameter::zh::{MultimediaAuthAnswer, MultimediaAuthRequest};
use crate::gba::guss::{Guss, MBMS};
use crate::hss::{AuthItem, AuthScheme, Bootstrapping, BroadcastSubscription, Hss, HssError};
use crate::identity::{Impi, Impu, Impus};

impl RemoteHss {
    pub(super) async fn bootstrap(
        &self,
        impi: &Impi,
        resync: Option<(Rand, Auts)>,
        now: Now,
    ) -> Result<Bootstrapping, HssError> {
        let held = self.profiles.get(impi.as_str());
        let (vector, settings) = match self.settings.zh {
            true => self.over_zh(impi, resync).await?,
            false => {
                let impu = Impu::new(format!("sip:{impi}"));
                let impu = held.as_ref().and_then(|held| held.impus.first()).unwrap_or(&impu);
                match self.multimedia_auth(impi, impu, AuthScheme::DigestAka, resync, now).await? {
                    AuthItem::Aka(vector) => (vector, Guss::default()),
                    AuthItem::Digest { .. } => return Err(HssError::SchemeNotSupported),
                }
            }
        };
        let setting = settings.settings.iter().find(|one| one.id == MBMS || one.kind.to_string() == MBMS);
        Ok(Bootstrapping {
            vector,
            impus: match &held {
                Some(held) => held.impus.clone(),
                None => identities(impi, &settings),
            },
            broadcast: match (held, setting) {
                (Some(held), _) => held.broadcast.clone(),
                // A setting for the service is a subscription, to all that it does not leave out (TS 29.109 annex B).
                (None, Some(of)) => of.services.as_deref().map_or(BroadcastSubscription::All, parse_services),
                (None, None) => BroadcastSubscription::None,
            },
            settings,
        })
    }

    async fn over_zh(&self, impi: &Impi, resync: Option<(Rand, Auts)>) -> Result<(AkaVector, Guss), HssError> {
        let known = self.gusses.since(impi);
        let mar = MultimediaAuthRequest { impi: impi.clone(), impu: None, resync, guss_timestamp: known };
        let reply = self.ask(application::ZH, command::MULTIMEDIA_AUTH, |writer| mar.write(writer)).await?;
        let answer = reply.message()?;
        if answer.result()? == tgpp::IDENTITY_UNKNOWN {
            return Err(HssError::UserUnknown);
        }
        verdict::of(&answer)?;
        let maa = MultimediaAuthAnswer::read(&answer)?;
        let read = |document: Vec<u8>| Guss::parse(&document).map(|guss| (guss, document.len()));
        let given = maa.guss.map(read).transpose().map_err(|why| HssError::Garbled(why.to_string()))?;
        Ok((maa.vector, self.gusses.answered(impi, known, given, maa.guss_timestamp)))
    }
}

/// What the settings call the user, as far as it is an identity of the IMS.
fn identities(impi: &Impi, settings: &Guss) -> Impus {
    let named = settings.settings.iter().flat_map(|one| &one.uids);
    let mut impus: Vec<Impu> = Vec::new();
    for uid in named.filter(|uid| uid.starts_with("sip:") || uid.starts_with("tel:")) {
        let impu = Impu::from(uid.as_str());
        if !impus.contains(&impu) {
            impus.push(impu);
        }
    }
    if impus.is_empty() {
        impus.push(Impu::new(format!("sip:{impi}")));
    }
    impus.into()
}
