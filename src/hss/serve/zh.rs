//! Zh, the HSS's side (TS 29.109 §4.2): a vector for a bootstrapping, and the user's security settings.

use super::{Answered, HssServer, Refusal};
use crate::diameter::Message;
use crate::diameter::fault::{base, tgpp};
use crate::diameter::zh::{MultimediaAuthAnswer, MultimediaAuthRequest};
use crate::hss::embedded::foreign::Entry;
use crate::hss::{AuthItem, AuthScheme, HssError};
use crate::identity::Impu;
use std::time::Duration;

impl HssServer {
    /// MAR
    pub(super) async fn bootstrap(&self, message: &Message<'_>) -> Answered {
        let mar = MultimediaAuthRequest::read(message)?;
        if !MultimediaAuthRequest::is_for_aka(message)? {
            return Err(tgpp::AUTH_SCHEME_NOT_SUPPORTED.into());
        }
        let unknown = |error| match error {
            HssError::UserUnknown => Refusal::Code(tgpp::IDENTITY_UNKNOWN),
            error => error.into(),
        };
        let impu = mar.impu.as_ref().map(Impu::as_str);
        let entry = self.hss.entry(Some(mar.impi.as_str()), impu, self.clock.now()).await.map_err(unknown)?;
        let subscriber = entry.subscriber();
        let Some(impu) = subscriber.impus.first() else { return Err(tgpp::IDENTITY_UNKNOWN.into()) };
        let (scheme, now) = (AuthScheme::DigestAka, self.clock.now());
        let asked = self.hss.authentication(&subscriber.impi, impu, scheme, mar.resync, now);
        let AuthItem::Aka(vector) = asked.await.map_err(unknown)? else {
            return Err(tgpp::AUTH_SCHEME_NOT_SUPPORTED.into());
        };
        let since = self.settings_since(&entry);
        let guss = mar.guss_timestamp.is_none_or(|theirs| theirs < since).then(|| self.settings.guss(subscriber));
        let mut writer = self.answer(message, base::SUCCESS);
        MultimediaAuthAnswer {
            impi: Some(subscriber.impi.clone()),
            vector,
            guss_timestamp: guss.is_some().then_some(since),
            guss: guss.map(|guss| guss.to_xml()),
        }
        .write(&mut writer);
        Ok(writer)
    }

    /// When the settings can have changed last: with the subscriber, or with the service profiles.
    fn settings_since(&self, entry: &Entry) -> Duration {
        Duration::from_secs(entry.changed().max(self.started.unix.as_secs()))
    }
}
