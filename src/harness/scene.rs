//! One request and everything around it that a stage is told: what `explain`, `replay`, `bench`, the prompt and
//! `t:ask` put before a chain without a server around it.

use crate::broadcast::identify::{self, Portion};
use crate::hss::RegState;
use crate::identity::Impi;
use crate::policy::verdict::Opinion;
use crate::policy::{
    Context, Decide, FailureView, Kind, Outcome, PortionView, Question, ServerView, Stage, StatusEvent, System,
};
use crate::registrar::Limits;
use crate::registrar::registration::Plan;
use crate::sip::transaction::{Source, Transport};
use crate::sip::{HeaderName, Message, ResponseWriter};
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

const LIMITS: Limits = Limits { min_expires: 1, default_expires: 3600, max_expires: u32::MAX, max_contacts: 100 };

/// A portion as a stage sees it, owned.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OwnedPortion {
    pub naf_fqdn: String,
    pub ua_id: [u8; 5],
    pub profile: Option<String>,
    pub payload: Option<Vec<u8>>,
    pub payload_type: Option<String>,
}

impl From<Portion> for OwnedPortion {
    fn from(portion: Portion) -> Self {
        let (payload, payload_type) = portion.payload.map(|p| (p.octets, p.content_type)).unzip();
        OwnedPortion {
            naf_fqdn: portion.naf.fqdn().to_owned(),
            ua_id: portion.naf.ua.0,
            profile: portion.profile,
            payload,
            payload_type,
        }
    }
}

/// A change of a registration, owned.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OwnedEvent {
    pub system: System,
    pub previous: RegState,
    pub state: RegState,
    pub cause: String,
    pub btid: Option<String>,
    pub naf_fqdn: Option<String>,
    pub servers: Vec<String>,
    pub expires: u32,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OwnedFailure {
    pub server: String,
    pub cause: String,
    pub status: Option<u16>,
    pub attempt: u32,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OwnedOutcome {
    pub method: String,
    pub status: u16,
    pub broadcast: Option<RegState>,
    pub server: Option<String>,
    pub micros: u64,
}

#[derive(Debug, Clone)]
pub struct Scene {
    pub message: Message<'static>,
    /// What stage `reply` is shown.
    pub response: Message<'static>,
    pub source: Source,
    pub kind: Kind,
    pub impi: String,
    pub impu: String,
    pub visited_network: Option<String>,
    pub servers: Vec<ServerView>,
    pub all_or_nothing: bool,
    pub hss_away: bool,
    pub unix: u64,
    pub portion: Option<OwnedPortion>,
    pub event: OwnedEvent,
    pub failure: OwnedFailure,
    pub outcome: OwnedOutcome,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SceneError {
    #[error("it is a response; policies decide on requests")]
    Response,
    #[error("no answer to it can be written: {0}")]
    Unanswerable(String),
}

impl Scene {
    /// Reads out of a request what the server would; what is not in it (who is registered already, what servers
    /// answer) is taken as it would be for a new terminal and a server that is down.
    pub fn of(
        message: Message<'static>,
        source: Source,
        servers: &[ServerView],
        unix: u64,
    ) -> Result<Self, SceneError> {
        if !message.is_request() {
            return Err(SceneError::Response);
        }
        let impu = message.to().map(|to| to.uri.aor().into_owned()).unwrap_or_default();
        let named = message.authorizations().find_map(|given| {
            let name = given.ok()?.get("username")?.into_owned();
            String::from_utf8(name).ok().filter(|name| !name.is_empty())
        });
        let user = || impu.split_once(':').map_or(impu.as_str(), |(_, rest)| rest).to_owned();
        let impi = Impi::from(named.unwrap_or_else(user).as_str()).to_string();
        let is_register = message.method() == b"REGISTER";
        let kind = match Plan::read(&message, &LIMITS) {
            Ok(plan) if is_register => plan.kind(&[]),
            _ => Kind::Other,
        };
        let found = if is_register { identify::identify(&message).ok().flatten() } else { None };
        let visited_network = message
            .header(HeaderName::PVisitedNetworkId)
            .and_then(|value| std::str::from_utf8(value).ok())
            .map(|value| value.trim_matches('"').to_owned());
        let all_or_nothing = found.as_ref().is_some_and(|portion| portion.all_or_nothing);
        let portion = found.map(OwnedPortion::from);
        let answer = ResponseWriter::new(&message, 200, source.addr, "explain").finish();
        let response =
            Message::parse_owned(answer).map_err(|fault| SceneError::Unanswerable(fault.reason.to_string()))?;
        let naf = portion.as_ref().map(|portion| portion.naf_fqdn.clone());
        let responsible = naf.as_ref().and_then(|naf| {
            servers.iter().find(|server| server.naf_fqdns.iter().any(|fqdn| fqdn.eq_ignore_ascii_case(naf)))
        });
        let server = responsible.map(|server| server.name.clone());
        let expires = message.expires().unwrap_or(3600);
        Ok(Scene {
            event: OwnedEvent {
                system: System::Ims,
                previous: RegState::NotRegistered,
                state: RegState::Registered,
                cause: "registered".to_owned(),
                btid: None,
                naf_fqdn: naf,
                servers: server.iter().cloned().collect(),
                expires,
            },
            failure: OwnedFailure {
                server: server.clone().unwrap_or_default(),
                cause: "no answer in time".to_owned(),
                status: None,
                attempt: 1,
            },
            outcome: OwnedOutcome {
                method: String::from_utf8_lossy(message.method()).into_owned(),
                status: 200,
                broadcast: portion.is_some().then_some(RegState::Registered),
                server,
                micros: 1000,
            },
            message,
            response,
            source,
            kind,
            impi,
            impu,
            visited_network,
            servers: servers.to_vec(),
            all_or_nothing,
            hss_away: false,
            unix,
            portion,
        })
    }

    /// A first REGISTER with a broadcast portion for the first of `servers`.
    pub fn sample(servers: &[ServerView], unix: u64) -> Result<Self, SceneError> {
        let naf = servers.first().and_then(|server| server.naf_fqdns.first());
        let text = SAMPLE.replace("NAF", naf.map_or("bsm.home1.net", String::as_str)).replace('\n', "\r\n");
        let message = Message::parse_owned(text.into_bytes())
            .map_err(|fault| SceneError::Unanswerable(fault.reason.to_string()))?;
        Self::of(message, Self::somewhere(), servers, unix)
    }

    /// A terminal on loopback, over UDP.
    pub fn somewhere() -> Source {
        Source {
            transport: Transport::Udp,
            addr: SocketAddr::new(Ipv4Addr::LOCALHOST.into(), 40_000),
            local: SocketAddr::new(Ipv4Addr::LOCALHOST.into(), 5060),
            peer_names: Arc::new([]),
        }
    }

    /// The stages that a request like this one meets.
    pub fn stages(&self) -> Vec<Stage> {
        let met = |stage: &Stage| match stage {
            Stage::Register | Stage::Verify | Stage::Authorized | Stage::Status => self.kind != Kind::Other,
            Stage::Broadcast | Stage::Failure => self.portion.is_some(),
            Stage::Route => self.kind == Kind::Other,
            Stage::Receive | Stage::Reply | Stage::Finish => true,
        };
        Stage::ALL.into_iter().filter(met).collect()
    }

    /// Puts the question of one stage together. None: the scene has no portion to ask about.
    pub fn with<T>(&self, stage: Stage, ask: impl FnOnce(&Question<'_>) -> T) -> Option<T> {
        let request = &self.message;
        let view = self.portion.as_ref().map(|portion| PortionView {
            naf_fqdn: &portion.naf_fqdn,
            ua_id: portion.ua_id,
            profile: portion.profile.as_deref(),
            payload: portion.payload.as_deref(),
            payload_type: portion.payload_type.as_deref(),
        });
        let ctx = &Context {
            kind: self.kind,
            impi: &self.impi,
            impu: &self.impu,
            source: &self.source,
            visited_network: self.visited_network.as_deref(),
            servers: &self.servers,
            all_or_nothing: self.all_or_nothing,
            hss_away: self.hss_away,
            portion: view.as_ref(),
            unix: self.unix,
        };
        let arrival = &Context::arrival(&self.source, &self.servers, self.unix);
        let names: Vec<&str> = self.event.servers.iter().map(String::as_str).collect();
        let event = &StatusEvent {
            system: self.event.system,
            previous: self.event.previous,
            state: self.event.state,
            cause: &self.event.cause,
            impi: &self.impi,
            impu: &self.impu,
            btid: self.event.btid.as_deref(),
            naf_fqdn: self.event.naf_fqdn.as_deref(),
            servers: &names,
            expires: self.event.expires,
            unix: self.unix,
        };
        let failure = &FailureView {
            server: &self.failure.server,
            cause: &self.failure.cause,
            status: self.failure.status,
            attempt: self.failure.attempt,
        };
        let outcome = &Outcome {
            method: &self.outcome.method,
            status: self.outcome.status,
            broadcast: self.outcome.broadcast,
            server: self.outcome.server.as_deref(),
            micros: self.outcome.micros,
        };
        let portion = view.as_ref();
        Some(ask(&match stage {
            Stage::Receive => Question::Receive { request, ctx: arrival },
            Stage::Register => Question::Register { request, ctx },
            Stage::Verify => Question::Verify { request, ctx },
            Stage::Authorized => Question::Authorized { request, ctx },
            Stage::Broadcast => Question::Broadcast { request, portion: portion?, ctx },
            Stage::Failure => Question::Failure { request, failure, portion: portion?, ctx },
            Stage::Status => Question::Status { event },
            Stage::Route => Question::Route { request, ctx },
            Stage::Reply => Question::Reply { response: &self.response, ctx },
            Stage::Finish => Question::Finish { outcome, ctx },
        }))
    }

    /// The complete answer of `decide` at a stage; None at `finish`, and where the scene has no portion to ask about.
    pub fn verdict(&self, stage: Stage, decide: &dyn Decide) -> Option<Opinion> {
        self.with(stage, |question| answered(question, decide)).flatten()
    }
}

fn answered(question: &Question<'_>, decide: &dyn Decide) -> Option<Opinion> {
    Some(match *question {
        Question::Receive { request, ctx } => Opinion::Receive(decide.receive(request, ctx)),
        Question::Register { request, ctx } => Opinion::Register(decide.register(request, ctx)),
        Question::Verify { request, ctx } => Opinion::Verify(decide.verify(request, ctx)),
        Question::Authorized { request, ctx } => Opinion::Authorized(decide.authorized(request, ctx)),
        Question::Broadcast { request, portion, ctx } => Opinion::Broadcast(decide.broadcast(request, portion, ctx)),
        Question::Failure { request, failure, portion, ctx } => {
            Opinion::Failure(decide.failure(request, failure, portion, ctx))
        }
        Question::Status { event } => Opinion::Status(decide.status(event)),
        Question::Route { request, ctx } => Opinion::Route(decide.route(request, ctx)),
        Question::Reply { response, ctx } => Opinion::Reply(decide.reply(response, ctx)),
        Question::Finish { outcome, ctx } => {
            decide.finish(outcome, ctx);
            return None;
        }
    })
}

const SAMPLE: &str = "REGISTER sip:home1.net SIP/2.0
Via: SIP/2.0/UDP 127.0.0.1:40000;branch=z9hG4bKsample
Max-Forwards: 70
From: <sip:alice@home1.net>;tag=1
To: <sip:alice@home1.net>
Call-ID: sample
CSeq: 1 REGISTER
Authorization: Digest username=\"alice@home1.net\", realm=\"home1.net\", nonce=\"\", uri=\"sip:home1.net\", response=\"\"
Contact: <sip:alice@127.0.0.1:40000>;expires=3600
Expires: 3600
Supported: path, bcast-ext
Bcast-Ext: profile=\"1.0\";naf-id=\"NAF\";ua-id=0100000001
Content-Length: 0

";
