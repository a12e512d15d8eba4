//! fraud-guard: a cloned card registers here while its original is registered far away. The guard remembers through which
//! visited network each user last registered, and refuses a registration through another one that comes sooner than
//! anybody travels.
//!
//! | stage | what the guard does |
//! |---|---|
//! | `register` | a network that was just refused to this user is refused again, before the HSS spends a vector on it |
//! | `authorized` | the card has proved itself: is the journey possible? |
//! | `finish` | only what ended in a 200 is remembered: nobody moves a user by a REGISTER that fails |

mod seen;
mod settings;

use imscript::policy::verdict::{Authorized, Register, Reject};
use imscript::policy::{Context, Kind, Outcome, Plugin, Stage};
use imscript::sip::Message;
use seen::{Seen, User};
pub use settings::{Settings, SettingsError};
use std::sync::Arc;

/// One worker's guard; clones share what has been seen, since the workers take turns in serving a user.
#[derive(Clone)]
pub struct FraudGuard {
    settings: Arc<Settings>,
    seen: Arc<Seen>,
}

impl FraudGuard {
    pub fn new(settings: Settings) -> Self {
        FraudGuard { seen: Arc::new(Seen::new(settings.users)), settings: Arc::new(settings) }
    }

    fn refusal(&self, wait: u64) -> Reject {
        Reject {
            retry_after: Some(u32::try_from(wait).unwrap_or(u32::MAX)),
            ..Reject::new(403, "Forbidden (visited network)")
        }
    }
}

/// The network that a P-CSCF names; a request without one comes from home.
fn network<'a>(ctx: &Context<'a>) -> &'a str {
    ctx.visited_network.unwrap_or("home")
}

impl Plugin for FraudGuard {
    fn name(&self) -> &str {
        "fraud-guard"
    }

    fn stages(&self) -> &[Stage] {
        &[Stage::Register, Stage::Authorized, Stage::Finish]
    }

    fn register(&self, _request: &Message<'_>, ctx: &Context<'_>) -> Option<Register> {
        let (network, until) = self.seen.of(ctx.impu)?.refused?;
        let wait = until.checked_sub(ctx.unix).filter(|wait| *wait > 0)?;
        (*network == *self::network(ctx)).then(|| Register::Reject(self.refusal(wait)))
    }

    fn authorized(&self, request: &Message<'_>, ctx: &Context<'_>) -> Option<Authorized> {
        let mut user = self.seen.of(ctx.impu)?;
        let (here, since) = (network(ctx), ctx.unix.saturating_sub(user.unix));
        let wait = self.settings.travel.as_secs().checked_sub(since).filter(|wait| *wait > 0)?;
        if *user.network == *here || self.settings.are_neighbours(&user.network, here) {
            return None;
        }
        let device = device(request).unwrap_or_default();
        // Of the sender: logged as debug text, so that it cannot forge lines.
        tracing::warn!(
            impu = ctx.impu,
            from = &*user.network,
            to = here,
            seconds = since,
            ?device,
            "impossible journey"
        );
        user.refused = Some((here.into(), ctx.unix.saturating_add(self.settings.hold.as_secs())));
        self.seen.put(ctx.impu, user);
        Some(Authorized::Reject(self.refusal(wait)))
    }

    fn finish(&self, outcome: &Outcome<'_>, ctx: &Context<'_>) {
        if outcome.method == "REGISTER" && outcome.status == 200 && ctx.kind != Kind::Deregister {
            self.seen.put(ctx.impu, User { network: network(ctx).into(), unix: ctx.unix, refused: None });
        }
    }
}

/// What the terminal calls itself.
#[cfg(feature = "rsip")]
pub fn device(request: &Message<'_>) -> Option<String> {
    use rsip::prelude::{HeadersExt, UntypedHeader};
    let request = imscript::sip::rsip::request(request).ok()?;
    Some(request.user_agent_header()?.value().to_owned())
}

/// What the terminal calls itself.
#[cfg(not(feature = "rsip"))]
pub fn device(request: &Message<'_>) -> Option<String> {
    let value = request.header(imscript::sip::HeaderName::UserAgent)?;
    Some(String::from_utf8_lossy(value).into_owned())
}
