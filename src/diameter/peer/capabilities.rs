//! What two peers tell one another (RFC 6733 §5.3): who they are, and which applications they speak. The base messages
//! that a peer sends are written here.

use crate::diameter::dictionary::{
    AUTH_APPLICATION_ID, DISCONNECT_CAUSE, HOST_IP_ADDRESS, ORIGIN_HOST, ORIGIN_REALM, ORIGIN_STATE_ID, PRODUCT_NAME,
    SUPPORTED_VENDOR_ID, TGPP, VENDOR_ID, application, command,
};
use crate::diameter::fault::base;
use crate::diameter::message::{self, REQUEST};
use crate::diameter::{Def, Fault, Header, Message, Origin, ResultCode, Writer, answer_to};
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

/// Who we are, the same for all peers.
#[derive(Debug)]
pub struct Local {
    pub origin: Origin,
    pub vendor: u32,
    pub product: String,
    /// Grows from one start to the next (RFC 6733 §8.16).
    pub state_id: u32,
    /// What is advertised.
    pub applications: Vec<u32>,
    /// Those of them that requests are taken for; others are answered 3007.
    pub served: Vec<u32>,
    end_to_end: AtomicU32,
}

impl Local {
    /// `unix`: seconds since 1970. With `random` they make End-to-End Identifiers that an earlier start did not use
    /// within the last minutes (RFC 6733 §3).
    pub fn new(origin: Origin, vendor: u32, product: String, unix: u64, random: u32) -> Self {
        Local {
            origin,
            vendor,
            product,
            state_id: unix as u32,
            applications: Vec::new(),
            served: Vec::new(),
            end_to_end: AtomicU32::new((unix as u32) << 20 | random & 0x000f_ffff),
        }
    }

    pub fn next_end_to_end(&self) -> u32 {
        self.end_to_end.fetch_add(1, Ordering::Relaxed)
    }

    /// Capabilities-Exchange-Request.
    pub(super) fn cer(&self, hop_by_hop: u32, address: IpAddr) -> Writer {
        let mut writer = self.base(command::CAPABILITIES_EXCHANGE, hop_by_hop);
        self.capabilities(&mut writer, address);
        writer
    }

    pub(super) fn cea(&self, cer: &Message<'_>, code: ResultCode, address: IpAddr) -> Writer {
        let mut writer = answer_to(cer, code, &self.origin);
        self.capabilities(&mut writer, address);
        writer
    }

    fn capabilities(&self, writer: &mut Writer, address: IpAddr) {
        writer
            .address(&HOST_IP_ADDRESS, address)
            .number(&VENDOR_ID, self.vendor)
            .text(&PRODUCT_NAME, &self.product)
            .number(&ORIGIN_STATE_ID, self.state_id)
            .number(&SUPPORTED_VENDOR_ID, TGPP);
        for id in &self.applications {
            writer.application(*id);
        }
    }

    pub(super) fn dwr(&self, hop_by_hop: u32) -> Writer {
        let mut writer = self.base(command::DEVICE_WATCHDOG, hop_by_hop);
        writer.number(&ORIGIN_STATE_ID, self.state_id);
        writer
    }

    pub(super) fn dwa(&self, dwr: &Message<'_>) -> Writer {
        let mut writer = answer_to(dwr, base::SUCCESS, &self.origin);
        writer.number(&ORIGIN_STATE_ID, self.state_id);
        writer
    }

    /// Disconnect-Peer-Request, the cause being REBOOTING: we end, and may come again.
    pub(super) fn dpr(&self, hop_by_hop: u32) -> Writer {
        let mut writer = self.base(command::DISCONNECT_PEER, hop_by_hop);
        writer.enumerated(&DISCONNECT_CAUSE, 0);
        writer
    }

    fn base(&self, command: u32, hop_by_hop: u32) -> Writer {
        let mut writer = Writer::new(Header {
            flags: REQUEST,
            command,
            application: application::BASE,
            hop_by_hop,
            end_to_end: self.next_end_to_end(),
        });
        writer.text(&ORIGIN_HOST, &self.origin.host).text(&ORIGIN_REALM, &self.origin.realm);
        writer
    }
}

/// What a peer's CER or CEA says of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Capabilities {
    pub host: Arc<str>,
    pub realm: Arc<str>,
    pub product: Option<String>,
    pub state_id: Option<u32>,
    /// In order; with [`application::RELAY`] it takes all.
    pub applications: Vec<u32>,
}

/// Longest name of a host or a realm, which are names of the DNS.
const MAX_NAME: usize = 255;

/// It is written to logs, metrics and terminals.
fn name<'a>(message: &Message<'a>, def: &Def) -> Result<&'a str, Fault> {
    let name = message.identity(def)?;
    let is_name = name.len() <= MAX_NAME && name.bytes().all(|octet| octet.is_ascii_graphic());
    if is_name { Ok(name) } else { Err(message.avps().require(def)?.bad_value()) }
}

impl Capabilities {
    /// Of a CER or CEA. Host-IP-Address, Vendor-Id and Product-Name are not insisted on: nothing hangs on them.
    pub fn of(message: &Message<'_>) -> Result<Self, Fault> {
        message.check()?;
        let mut applications: Vec<u32> = message.avps().filter_map(|avp| message::vendor_specific(&avp)).collect();
        // Some advertise outside of Vendor-Specific-Application-Id.
        applications.extend(message.avps().all(&AUTH_APPLICATION_ID).filter_map(|avp| avp.number().ok()));
        applications.sort_unstable();
        applications.dedup();
        Ok(Capabilities {
            host: name(message, &ORIGIN_HOST)?.into(),
            realm: name(message, &ORIGIN_REALM)?.into(),
            product: message.avps().text(&PRODUCT_NAME)?.map(str::to_owned),
            state_id: message.avps().number(&ORIGIN_STATE_ID)?,
            applications,
        })
    }

    pub fn speaks(&self, application: u32) -> bool {
        self.applications.iter().any(|id| *id == application || *id == application::RELAY)
    }

    pub fn is_relay(&self) -> bool {
        self.applications.contains(&application::RELAY)
    }

    /// Identities are compared without regard to case.
    pub fn is_host(&self, host: &str) -> bool {
        self.host.eq_ignore_ascii_case(host)
    }

    pub(super) fn has_common_with(&self, local: &Local) -> bool {
        self.is_relay() || local.applications.iter().any(|id| self.speaks(*id) || *id == application::RELAY)
    }
}
