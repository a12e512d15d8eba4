//! The terminal of a test: a card with keys that the HSS knows, and the registration procedure that a real one runs
//! ([`crate::terminal::register`]), carried over memory.

use super::hss::{User, card_keys};
use super::world::{World, WorldError};
use crate::gba::naf_id::NafId;
use crate::hss::BroadcastSubscription;
use crate::identity::{Impi, Impu};
use crate::sip::Message;
use crate::sip::transaction::{Source, Transport};
use crate::terminal::identifiers::Identifiers;
use crate::terminal::register::{Account, Contact, Credentials, Flow, Portion, Start, Step};
use crate::terminal::usim::{SqnArray, Usim};
use std::sync::Arc;

/// What is asked of a REGISTER, beside who sends it.
#[derive(Debug, Clone, Default)]
pub struct Wish {
    pub naf_id: Option<String>,
    pub payload: Option<Vec<u8>>,
    pub all_or_nothing: bool,
    /// Header lines that go along, name and value.
    pub headers: Vec<(String, String)>,
    pub expires: Option<u32>,
}

pub struct Terminal {
    account: Account,
    identifiers: Identifiers,
    call_id: String,
    cseq: u32,
    contact: String,
    pub source: Source,
    pub visited_network: Option<String>,
    pub wish: Wish,
}

impl Terminal {
    /// A new subscriber with a card of its own; the HSS of `world` learns of it.
    pub fn new(
        world: &World,
        impi: &str,
        impu: &str,
        broadcast: BroadcastSubscription,
        visited_network: Option<String>,
    ) -> Result<Terminal, WorldError> {
        let keys = card_keys().ok_or(WorldError::Keys)?;
        let impu = Impu::from(impu);
        world.hss.add(impi, User { impus: vec![impu.clone()], broadcast });
        let number = world.next_terminal();
        // Only a P-CSCF of the home network is believed where the terminal is (TS 24.229 §5.4.1.2).
        let addr = if visited_network.is_some() { world.pcscf(number) } else { world.terminal_address(number) };
        let domain: Arc<str> = world.domain().into();
        Ok(Terminal {
            account: Account {
                impi: Impi::from(impi),
                impu,
                domain: domain.clone(),
                realm: domain,
                bsf_domain: world.bsf_domain().into(),
                credentials: Credentials::Card(Box::new(Usim::new(keys, SqnArray::fresh()))),
            },
            identifiers: Identifiers::new().map_err(|e| WorldError::Terminal(e.to_string()))?,
            call_id: format!("terminal-{number}"),
            cseq: 1,
            contact: format!("sip:{addr}"),
            source: world.source(addr, Transport::Udp),
            visited_network,
            wish: Wish::default(),
        })
    }

    pub fn impi(&self) -> &str {
        self.account.impi.as_str()
    }

    pub fn impu(&self) -> &str {
        self.account.impu.as_str()
    }

    /// The whole procedure up to the final response: REGISTER, 401, REGISTER, 200, and whatever else is asked in between.
    pub fn register(&mut self, world: &World, wish: &Wish) -> Result<Message<'static>, WorldError> {
        let naf = match &wish.naf_id {
            Some(text) => Some(NafId::parse(text).map_err(|e| WorldError::Terminal(format!("naf_id {text:?}: {e}")))?),
            None => None,
        };
        let mut flow = Flow::new(
            Start {
                call_id: self.call_id.clone(),
                cseq: self.cseq,
                contact: Contact::Bind { uri: self.contact.clone(), instance: "urn:uuid:test".to_owned() },
                expires: wish.expires.unwrap_or(3600),
                portion: Portion {
                    naf,
                    payload: wish.payload.clone().map(Into::into),
                    all_or_nothing: wish.all_or_nothing,
                    ..Portion::default()
                },
                accept_bodies: false,
                reliable: false,
            },
            &mut self.identifiers,
        );
        let mut request = flow.first(&self.account);
        let outcome = loop {
            let Some(response) = world.send(&self.framed(&request, &wish.headers, flow.cseq()), &self.source)? else {
                break Err(WorldError::Silence);
            };
            match flow.answer(&mut self.account, &response) {
                Step::Send(next) => request = next,
                Step::Registered(_) => break Ok(response),
                // A refusal is an answer as good as any; the test says what it expects.
                Step::Failed(crate::terminal::TerminalError::Rejected { .. }) => break Ok(response),
                Step::Failed(error) => break Err(WorldError::Terminal(error.to_string())),
            }
        };
        self.cseq = flow.cseq().saturating_add(1);
        outcome
    }

    /// Via and whatever a P-CSCF and the test put in, below the request line.
    fn framed(&self, request: &[u8], headers: &[(String, String)], cseq: u32) -> Vec<u8> {
        let mut lines = format!(
            "Via: SIP/2.0/{} {};branch=z9hG4bK{}-{cseq}\r\n",
            self.source.transport.via(),
            self.source.addr,
            self.call_id
        );
        if let Some(network) = &self.visited_network {
            lines.push_str(&format!("P-Visited-Network-ID: \"{network}\"\r\n"));
        }
        for (name, value) in headers {
            lines.push_str(&format!("{name}: {value}\r\n"));
        }
        let end = request.windows(2).position(|two| two == b"\r\n").map_or(0, |at| at.saturating_add(2));
        let (start, rest) = request.split_at_checked(end).unwrap_or((request, b""));
        [start, lines.as_bytes(), rest].concat()
    }
}
