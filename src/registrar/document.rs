//! A user of the S-CSCF as it lies in a store: the fields of an entity of class `user`, as JSON text. Times are the
//! store's, in milliseconds; Ks is sealed.
//!
//! | field | what |
//! |---|---|
//! | `contacts` | implicit set and bindings, and which were taken out on a shared store |
//! | `leg` | the broadcast leg, with what has not got through yet |
//! | `keys` | bootstrappings, the current one first |

use super::binding::{Binding, Origin, Parts, Text};
use super::registration::Registration;
use super::table::{Leg, Outstanding};
use crate::broadcast::forward::ThirdParty;
use crate::broadcast::identify::Payload;
use crate::clock::Date;
use crate::gba::bootstrap::{Bootstrap, Holder, Made};
use crate::gba::btid::Btid;
use crate::gba::guss::Uss;
use crate::gba::kdf::Ks;
use crate::gba::naf_id::NafId;
use crate::hss::{BroadcastSubscription, RegState};
use crate::identity::{Impi, Impu, Impus, common};
use crate::policy::verdict::KeyMovement;
use crate::sip::transaction::{Source, Transport};
use crate::store::seal::Seal;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};
use std::borrow::Cow;
use std::cell::RefCell;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

pub(super) const CONTACTS: &str = "contacts";
pub(super) const LEG: &str = "leg";
pub(super) const KEYS: &str = "keys";

/// Why a field cannot be read.
#[derive(Debug, thiserror::Error)]
pub(super) enum Unreadable {
    #[error(transparent)]
    Json(#[from] serde_json::Error),
    #[error("{0}")]
    Value(&'static str),
    #[error(transparent)]
    Sealed(#[from] crate::store::seal::SealError),
}

/// Where the store's clock and the process's meet.
#[derive(Debug, Clone, Copy)]
pub(super) struct Times {
    pub mono: Duration,
    pub store: Duration,
}

impl Times {
    pub(super) fn to_store(self, mono: Duration) -> u64 {
        let at = (self.store + mono).saturating_sub(self.mono);
        u64::try_from(at.as_millis()).unwrap_or(u64::MAX)
    }

    /// A time before the process began is its beginning.
    pub(super) fn to_mono(self, at: u64) -> Duration {
        (self.mono + Duration::from_millis(at)).saturating_sub(self.store)
    }
}

/// A text: what is written is borrowed from where it lies, what is read is owned.
type Words<'a> = Cow<'a, str>;

#[derive(Serialize, Deserialize)]
pub(super) struct Contacts<'a> {
    pub impus: Vec<Words<'a>>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub barred: Vec<Words<'a>>,
    pub contacts: Vec<Contact<'a>>,
    /// Taken out before their time; kept until then, so that no other node brings them back.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub gone: Vec<Gone>,
    /// Serial of the last leg that was ended.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub closed: u64,
    /// Nothing is left, and nobody has been told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ending: Option<Untold>,
}

/// The end of a registration that has yet to be told.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Untold {
    pub cause: String,
    /// The node that tells it.
    pub by: u64,
}

fn is_zero(value: &u64) -> bool {
    *value == 0
}

#[derive(Serialize, Deserialize)]
pub(super) struct Contact<'a> {
    uri: Words<'a>,
    #[serde(default, skip_serializing_if = "str::is_empty")]
    params: Words<'a>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    instance: Option<Words<'a>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    reg_id: Option<u32>,
    q: u16,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    path: Vec<Words<'a>>,
    /// Octet by octet: a Call-ID need not be UTF-8.
    call_id: Words<'a>,
    cseq: u32,
    pub until: u64,
    /// If it is later than `until`.
    #[serde(default, skip_serializing_if = "is_zero")]
    latest: u64,
    since: u64,
    transport: Words<'a>,
    from: SocketAddr,
    local: SocketAddr,
    #[serde(default, skip_serializing_if = "<[String]>::is_empty")]
    peer_names: Cow<'a, [String]>,
}

/// A contact that was taken out, or has ended before an earlier REGISTER would have had it end.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Gone {
    pub uri: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub instance: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reg_id: Option<u32>,
    /// [`Binding::since`] of what was taken out: that and what came before is gone.
    pub at: u64,
    /// When no copy of it can be alive.
    pub until: u64,
}

impl Gone {
    /// Whether that is the same contact.
    pub(super) fn is(&self, other: &Gone) -> bool {
        self.uri == other.uri && self.instance == other.instance && self.reg_id == other.reg_id
    }

    pub(super) fn was(&self, binding: &Binding) -> bool {
        match (&self.instance, binding.instance()) {
            (Some(mine), Some(theirs)) => **mine == *theirs && self.reg_id == binding.reg_id,
            _ => *self.uri == *binding.uri(),
        }
    }
}

impl<'a> Contact<'a> {
    fn of(binding: &'a Binding, times: Times) -> Self {
        Contact {
            uri: binding.uri().into(),
            params: binding.params().into(),
            instance: binding.instance().map(Words::from),
            reg_id: binding.reg_id,
            q: binding.q,
            path: binding.path().map(Words::from).collect(),
            call_id: match std::str::from_utf8(binding.call_id()) {
                Ok(text) if text.is_ascii() => text.into(),
                _ => binding.call_id().iter().map(|octet| char::from(*octet)).collect(),
            },
            cseq: binding.cseq,
            until: times.to_store(binding.until.get()),
            latest: if binding.latest > binding.until { times.to_store(binding.latest.get()) } else { 0 },
            since: binding.since,
            transport: binding.origin.transport().param().into(),
            from: binding.origin.addr(),
            local: binding.origin.local(),
            peer_names: binding.origin.peer_names().into(),
        }
    }

    fn binding(self, times: Times) -> Result<Binding, Unreadable> {
        let transport = match &*self.transport {
            "udp" => Transport::Udp,
            "tcp" => Transport::Tcp,
            "tls" => Transport::Tls,
            _ => return Err(Unreadable::Value("unknown transport")),
        };
        let octet = |c: char| u8::try_from(c).map_err(|_| Unreadable::Value("Call-ID is not octets"));
        let call_id: Vec<u8> = self.call_id.chars().map(octet).collect::<Result<_, _>>()?;
        let source =
            Source { transport, addr: self.from, local: self.local, peer_names: self.peer_names.into_owned().into() };
        let (uri, params, instance) = (&*self.uri, &*self.params, self.instance.as_deref());
        let path: Vec<String> = self.path.into_iter().map(Words::into_owned).collect();
        Ok(Binding {
            text: Text::new(&Parts { uri, params, instance, call_id: &call_id, path: &path }),
            reg_id: self.reg_id,
            q: self.q,
            cseq: self.cseq,
            until: times.to_mono(self.until).into(),
            latest: times.to_mono(self.latest.max(self.until)).into(),
            since: self.since,
            origin: Origin::new(&source),
        })
    }
}

impl<'a> Contacts<'a> {
    pub(super) fn of(registration: &'a Registration, closed: u64, times: Times) -> Self {
        Contacts {
            impus: registration.impus.iter().map(|impu| impu.as_str().into()).collect(),
            barred: registration.barred.iter().map(|impu| impu.as_str().into()).collect(),
            contacts: registration.bindings.iter().map(|binding| Contact::of(binding, times)).collect(),
            gone: Vec::new(),
            closed,
            ending: None,
        }
    }

    pub(super) fn read(text: &[u8]) -> Result<Self, Unreadable> {
        Ok(serde_json::from_slice(text)?)
    }

    pub(super) fn registration(&mut self, impi: &Impi, times: Times) -> Result<Registration, Unreadable> {
        Ok(Registration {
            impi: impi.clone(),
            impus: self.impus.drain(..).map(Impu::new).collect(),
            barred: self.barred.drain(..).map(Impu::new).collect(),
            bindings: self.contacts.drain(..).map(|contact| contact.binding(times)).collect::<Result<_, _>>()?,
        })
    }
}

#[derive(Serialize, Deserialize)]
pub(super) struct LegDocument<'a> {
    server: Words<'a>,
    naf: String,
    impu: Words<'a>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    btid: Option<String>,
    state: Words<'a>,
    serial: u64,
    changes: u32,
    call_id: Words<'a>,
    cseq: u32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    outstanding: Option<OutstandingDocument<'a>>,
}

#[derive(Serialize, Deserialize)]
struct OutstandingDocument<'a> {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    profile: Option<Words<'a>>,
    /// Content-Type, and the octets in base64.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    payload: Option<(Words<'a>, String)>,
    key: Words<'a>,
}

impl<'a> LegDocument<'a> {
    pub(super) fn of(leg: &'a Leg) -> Self {
        let outstanding = |what: &'a Arc<Outstanding>| OutstandingDocument {
            profile: what.profile.as_deref().map(Words::from),
            payload: what.payload.as_ref().map(|p| (Words::from(&*p.content_type), STANDARD.encode(&p.octets))),
            key: what.key.as_str().into(),
        };
        LegDocument {
            server: (&*leg.server).into(),
            naf: leg.naf.to_string(),
            impu: leg.impu.as_str().into(),
            btid: leg.btid.as_ref().map(|btid| btid.text()),
            state: leg.state.as_str().into(),
            serial: leg.serial,
            changes: leg.changes,
            call_id: leg.dialog.call_id().into(),
            cseq: leg.dialog.cseq(),
            outstanding: leg.outstanding.as_ref().map(outstanding),
        }
    }

    pub(super) fn read(text: &[u8]) -> Result<Leg, Unreadable> {
        let LegDocument { server, naf, impu, btid, state, serial, changes, call_id, cseq, outstanding } =
            serde_json::from_slice(text)?;
        let outstanding = outstanding.map(|what| -> Result<_, Unreadable> {
            let payload = what.payload.map(|(content_type, octets)| -> Result<_, Unreadable> {
                let octets = STANDARD.decode(octets).map_err(|_| Unreadable::Value("payload is not base64"))?;
                Ok(Payload { content_type: content_type.into_owned(), octets })
            });
            let key = KeyMovement::named(&what.key);
            Ok(Arc::new(Outstanding {
                profile: what.profile.map(Words::into_owned),
                payload: payload.transpose()?,
                key: key.ok_or(Unreadable::Value("unknown way of a key"))?,
            }))
        });
        Ok(Leg {
            server: common(&server),
            naf: naf_id(&naf)?,
            impu: Impu::new(impu),
            btid: btid.map(|btid| read_btid(&btid)).transpose()?,
            state: RegState::parse(&state).ok_or(Unreadable::Value("unknown state"))?,
            serial,
            changes,
            outstanding: outstanding.transpose()?,
            dialog: ThirdParty::resumed(&call_id, cseq),
        })
    }
}

fn naf_id(text: &str) -> Result<NafId, Unreadable> {
    NafId::parse(text).map_err(|_| Unreadable::Value("no NAF_Id"))
}

fn read_btid(text: &str) -> Result<Btid, Unreadable> {
    Btid::parse(text).map_err(|_| Unreadable::Value("no B-TID"))
}

#[derive(Serialize, Deserialize)]
struct KeyOfUser<'a> {
    btid: String,
    ks: String,
    rand: String,
    impus: Vec<Words<'a>>,
    /// Seconds since 1970, as told to others.
    expires: u64,
    #[serde(default, skip_serializing_if = "is_zero")]
    created: u64,
    #[serde(default, skip_serializing_if = "is_false")]
    over_ub: bool,
    /// Ks is on the card (GBA_U).
    #[serde(default, skip_serializing_if = "is_false")]
    on_card: bool,
    until: u64,
    subscription: Subscription<'a>,
    #[serde(default, skip_serializing_if = "<[Uss]>::is_empty")]
    settings: Cow<'a, [Uss]>,
}

fn is_false(value: &bool) -> bool {
    !value
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Subscription<'a> {
    None,
    All,
    Services(Cow<'a, [String]>),
}

/// `context`: what Ks is sealed for.
pub(super) fn keys_text(
    held: &[(Arc<Bootstrap>, Duration)],
    seal: &Seal,
    context: &str,
    times: Times,
) -> Result<Box<[u8]>, Unreadable> {
    let mut all = Vec::with_capacity(held.len());
    for (bootstrap, until) in held {
        all.push(KeyOfUser {
            btid: bootstrap.btid.text(),
            ks: seal.seal(context, &bootstrap.ks.0)?,
            rand: STANDARD.encode(bootstrap.rand().0),
            impus: bootstrap.impus.iter().map(|impu| impu.as_str().into()).collect(),
            expires: bootstrap.expires,
            created: bootstrap.created.map_or(0, Date::seconds),
            over_ub: bootstrap.made == Made::OverUb,
            on_card: bootstrap.holder == Holder::Uicc,
            until: times.to_store(*until),
            subscription: match &bootstrap.subscription {
                BroadcastSubscription::None => Subscription::None,
                BroadcastSubscription::All => Subscription::All,
                BroadcastSubscription::Services(ids) => Subscription::Services((&**ids).into()),
            },
            settings: (&*bootstrap.settings).into(),
        });
    }
    Ok(json(&all)?)
}

thread_local! {
    static SPACE: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// In a piece of its own length, without having grown to it.
pub(super) fn json<T: Serialize>(value: &T) -> serde_json::Result<Box<[u8]>> {
    SPACE.with_borrow_mut(|space| {
        space.clear();
        serde_json::to_writer(&mut *space, value)?;
        Ok(space.as_slice().into())
    })
}

/// `impus`: the implicit set, to be shared where it is the same.
pub(super) fn read_keys(
    text: &[u8],
    impi: &Impi,
    impus: &Impus,
    seal: &Seal,
    context: &str,
    times: Times,
) -> Result<Vec<(Arc<Bootstrap>, Duration)>, Unreadable> {
    let all: Vec<KeyOfUser<'_>> = serde_json::from_slice(text)?;
    let one = |key: KeyOfUser<'_>| -> Result<_, Unreadable> {
        let ks = seal.open(context, &key.ks)?;
        let ks: [u8; 32] = ks.as_slice().try_into().map_err(|_| Unreadable::Value("Ks is not 32 octets"))?;
        let btid = read_btid(&key.btid)?;
        if STANDARD.decode(&key.rand).ok().is_none_or(|rand| rand != btid.rand().0) {
            return Err(Unreadable::Value("RAND is not that of the B-TID"));
        }
        let bootstrap = Bootstrap {
            impi: impi.clone(),
            impus: match impus.iter().map(Impu::as_str).eq(key.impus.iter().map(|impu| &**impu)) {
                true => impus.clone(),
                false => key.impus.into_iter().map(Impu::new).collect(),
            },
            ks: Ks(ks),
            btid,
            expires: key.expires,
            created: Date::new(key.created),
            made: if key.over_ub { Made::OverUb } else { Made::ByRegistration },
            holder: if key.on_card { Holder::Uicc } else { Holder::Me },
            subscription: match key.subscription {
                Subscription::None => BroadcastSubscription::None,
                Subscription::All => BroadcastSubscription::All,
                Subscription::Services(ids) => BroadcastSubscription::Services(ids.into_owned().into()),
            },
            settings: key.settings.into_owned().into(),
        };
        Ok((Arc::new(bootstrap), times.to_mono(key.until)))
    };
    all.into_iter().map(one).collect()
}
