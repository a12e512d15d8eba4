//! Requests to users of this network who are not registered (TS 24.229 §5.4.3.3). The HSS may have this server take such a
//! user up; as there is no service for him here, he is not to be had now.

use super::authenticate::refusal_of;
use super::scscf::{Refusal, Scscf};
use crate::hss::HssError;
use crate::identity::Impu;
use crate::sip::{HeaderName, Host, Message, Uri};

/// What stands alone, or begins a dialog.
const INITIAL: [&[u8]; 7] = [b"INVITE", b"MESSAGE", b"OPTIONS", b"SUBSCRIBE", b"NOTIFY", b"PUBLISH", b"REFER"];

impl Scscf {
    /// Err: the request is to a user who is not registered.
    pub(super) async fn check_called(&self, request: &Message<'_>) -> Result<(), Refusal> {
        let Some(impu) = self.called(request) else { return Ok(()) };
        if self.find(impu.as_str()).await.is_some() {
            return Ok(());
        }
        match self.shared.hss.serve_unregistered(&impu, self.now()).await {
            None => Ok(()),
            Some(Err(HssError::UserUnknown)) => Err(Refusal::new(404)),
            Some(Err(why @ (HssError::Unavailable(_) | HssError::Busy))) => Err(refusal_of(why)),
            Some(answer) => {
                if let Err(why) = answer {
                    tracing::debug!(%impu, %why, "an unregistered user is not taken up");
                }
                Err(Refusal::new(480).with(HeaderName::RetryAfter, RETRY_AFTER))
            }
        }
    }

    /// Whom an initial request is to, if that is an identity of this network, and no configured server's.
    fn called(&self, request: &Message<'_>) -> Option<Impu> {
        let begins = request.to().is_ok_and(|to| to.tag().is_none());
        if !begins || !INITIAL.contains(&request.method()) {
            return None;
        }
        let uri = request.request_uri().ok()?;
        let ours = match &uri {
            Uri::Sip(sip) => sip.user.is_some() && matches!(sip.host, Host::Name(_)) && self.is_home(&uri),
            Uri::Tel { .. } => true,
            Uri::Other { .. } => false,
        };
        (ours && self.named_servers(&uri).next().is_none()).then(|| Impu::new(uri.aor()))
    }
}

/// Seconds.
const RETRY_AFTER: u32 = 60;
