//! The HSS side of Cx, Sh and Zh (rank 3): [`EmbeddedHss`] answers foreign CSCFs, application servers and BSFs, and tells them
//! what changes.
//!
//! [`HssServer`] is the [`Serve`] of the three applications. What is in memory is answered at once; what the store has to
//! be asked for, later. Changes that the subscribers' directory tells go to [`push`], a thread of its own, which sends RTR,
//! PPR and PNR. [`service`] has what an operator says of foreign nodes in the configuration.

mod assignment;
mod cx;
mod locate;
mod push;
mod retry;
pub mod service;
mod sh;
mod zh;

pub use service::{Clients, Service, Settings};

use crate::answer::Answer;
use crate::clock::{Clock, Now};
use crate::diameter::dictionary::{ORIGIN_HOST, ORIGIN_REALM, application, command};
use crate::diameter::exchange::{Exchange, Request, Serve};
use crate::diameter::fault::{base, tgpp};
use crate::diameter::{Fault, Message, ResultCode, Writer, answer_to, refusal_of};
use crate::hss::HssError;
use crate::hss::embedded::EmbeddedHss;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

/// Why a request is refused.
#[derive(Debug)]
enum Refusal {
    Fault(Fault),
    Code(ResultCode),
}

impl From<Fault> for Refusal {
    fn from(fault: Fault) -> Self {
        Refusal::Fault(fault)
    }
}

impl From<ResultCode> for Refusal {
    fn from(code: ResultCode) -> Self {
        Refusal::Code(code)
    }
}

impl From<HssError> for Refusal {
    fn from(error: HssError) -> Self {
        Refusal::Code(match error {
            HssError::UserUnknown => tgpp::USER_UNKNOWN,
            HssError::IdentitiesDontMatch => tgpp::IDENTITIES_DONT_MATCH,
            HssError::SchemeNotSupported => tgpp::AUTH_SCHEME_NOT_SUPPORTED,
            HssError::NotRegistered => tgpp::IDENTITY_NOT_REGISTERED,
            HssError::AlreadyRegistered => tgpp::IDENTITY_ALREADY_REGISTERED,
            HssError::RoamingNotAllowed => tgpp::ROAMING_NOT_ALLOWED,
            HssError::NotAuthorized => base::AUTHORIZATION_REJECTED,
            // Another HSS may know.
            HssError::Unavailable(_) | HssError::Busy => base::TOO_BUSY,
            _ => base::UNABLE_TO_COMPLY,
        })
    }
}

type Answered = Result<Writer, Refusal>;

/// Cx, Sh and Zh of this node's subscribers.
pub struct HssServer {
    hss: Arc<EmbeddedHss>,
    settings: Settings,
    clock: Clock,
    started: Now,
    exchange: Arc<dyn Exchange>,
    sessions: push::Sessions,
}

impl HssServer {
    /// Begins to tell changes through `exchange`.
    pub fn start(
        hss: Arc<EmbeddedHss>,
        settings: Settings,
        exchange: Arc<dyn Exchange>,
        clock: Clock,
    ) -> std::io::Result<Arc<Self>> {
        let started = clock.now();
        let sessions = push::Sessions::new(&settings.origin.host, started);
        let server = Arc::new(HssServer { hss, settings, clock, started, exchange, sessions });
        push::start(&server)?;
        Ok(server)
    }

    fn answer(&self, request: &Message<'_>, code: ResultCode) -> Writer {
        answer_to(request, code, &self.settings.origin)
    }

    async fn answered(&self, message: &Message<'_>, peer: &str) -> Answered {
        let Clients { cscfs, bsfs, nafs, .. } = &self.settings.clients;
        let header = message.header();
        let keys = match header.application {
            application::CX => Some(cscfs),
            application::ZH => Some(bsfs),
            _ => None,
        };
        if let Some(clients) = keys {
            permitted(clients, peer, base::AUTHORIZATION_REJECTED)?;
            if clients.is_empty() && nafs.iter().any(|naf| naf.eq_ignore_ascii_case(peer)) {
                return Err(base::AUTHORIZATION_REJECTED.into());
            }
        }
        match (header.application, header.command) {
            (application::CX, command::USER_AUTHORIZATION) => self.user_authorization(message).await,
            (application::CX, command::LOCATION_INFO) => self.location_info(message).await,
            (application::CX, command::MULTIMEDIA_AUTH) => self.multimedia_auth(message).await,
            (application::CX, command::SERVER_ASSIGNMENT) => self.server_assignment(message).await,
            (application::SH, command::USER_DATA) => self.user_data(message, peer).await,
            (application::SH, command::PROFILE_UPDATE) => self.profile_update(message, peer).await,
            (application::SH, command::SUBSCRIBE_NOTIFICATIONS) => self.subscribe(message, peer).await,
            (application::ZH, command::MULTIMEDIA_AUTH) => self.bootstrap(message).await,
            _ => Err(base::COMMAND_UNSUPPORTED.into()),
        }
    }

    async fn handle(&self, request: &Request) -> Option<Writer> {
        let message = request.message().ok()?;
        let answered = self.answered(&message, &request.peer).await;
        Some(match answered {
            Ok(writer) => writer,
            Err(Refusal::Fault(fault)) => refusal_of(&message, &fault, &self.settings.origin),
            Err(Refusal::Code(code)) => self.answer(&message, code),
        })
    }
}

/// `allowed`: Origin-Hosts, empty: all.
fn permitted(allowed: &[String], peer: &str, otherwise: ResultCode) -> Result<(), Refusal> {
    match allowed.is_empty() || allowed.iter().any(|host| host.eq_ignore_ascii_case(peer)) {
        true => Ok(()),
        false => Err(otherwise.into()),
    }
}

/// Who sent a request, where requests to it go.
fn origin_of(message: &Message<'_>) -> Result<(String, String), Fault> {
    Ok((message.identity(&ORIGIN_HOST)?.to_owned(), message.identity(&ORIGIN_REALM)?.to_owned()))
}

impl Serve for HssServer {
    fn applications(&self) -> Vec<u32> {
        vec![application::CX, application::SH, application::ZH]
    }

    fn serve(self: Arc<Self>, request: Request) -> Answer<'static, Option<Writer>> {
        let mut answer: Pin<Box<dyn Future<Output = Option<Writer>>>> =
            Box::pin(async move { self.handle(&request).await });
        // What is in memory needs no trip through the scheduler.
        match answer.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(writer) => Answer::now(writer),
            Poll::Pending => Answer::Later(answer),
        }
    }
}

#[cfg(test)]
mod cx_tests;
#[cfg(test)]
mod sh_tests;
#[cfg(test)]
mod testbed;
#[cfg(test)]
mod zh_tests;
