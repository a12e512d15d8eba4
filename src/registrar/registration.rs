//! What a REGISTER asks of the bindings, worked out and applied (RFC 3261 §10.3): pure, atomic, `now` given.

use super::binding::{Binding, ContactAsked, Origin, Parts, Text};
use crate::clock::Time;
use crate::few::Few;
use crate::identity::{Impi, Impu, Impus};
use crate::policy::Kind;
use crate::sip::transaction::Source;
use crate::sip::{Contacts, HeaderName, Message, ResponseWriter};
use smallvec::SmallVec;
use std::fmt::Write;
use std::time::Duration;

/// Bounds on registrations; seconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Shorter is answered 423 with Min-Expires.
    pub min_expires: u32,
    /// Granted when the terminal asks for none.
    pub default_expires: u32,
    /// Longer is cut to this (TS 24.229 terminals ask for 600000).
    pub max_expires: u32,
    pub max_contacts: usize,
}

impl Limits {
    /// The longest expiry under a ceiling. One below the shortest counts as that, since a time of 0 would remove what was to
    /// be registered, and a shorter one would be refused when it is refreshed.
    fn longest(&self, ceiling: u32) -> u32 {
        ceiling.clamp(self.min_expires.max(1), self.max_expires.max(1))
    }
}

/// Why a REGISTER's contacts cannot be had.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BindingError {
    #[error("Contact cannot be read")]
    BadContact,
    #[error("Contact: * needs Expires: 0 and stands alone")]
    BadStar,
    #[error("interval too brief, {0} s at least")]
    TooBrief(u32),
    #[error("{0} contacts at most")]
    TooMany(usize),
    /// Same Call-ID, CSeq not higher: an older request overtaken by a newer one (§10.3 step 7).
    #[error("CSeq not higher than that of the binding")]
    OutOfOrder,
}

/// A REGISTER's contacts, checked, with what would be granted.
#[derive(Debug, Clone)]
pub enum Plan<'a> {
    /// No Contact: tell the bindings.
    Query,
    /// `Contact: *`.
    RemoveAll,
    /// Each contact with its granted seconds, 0 to remove.
    Change(Vec<(ContactAsked<'a>, u32)>),
}

impl<'a> Plan<'a> {
    pub fn read(request: &'a Message<'_>, limits: &Limits) -> Result<Self, BindingError> {
        let header = request.expires();
        let longest = limits.longest(u32::MAX);
        match request.contacts().map_err(|_| BindingError::BadContact)? {
            Contacts::None => Ok(Plan::Query),
            Contacts::Star if header == Some(0) => Ok(Plan::RemoveAll),
            Contacts::Star => Err(BindingError::BadStar),
            Contacts::List(list) => {
                if list.len() > limits.max_contacts {
                    return Err(BindingError::TooMany(limits.max_contacts));
                }
                let mut asked = Vec::with_capacity(list.len());
                for contact in list {
                    let contact = ContactAsked::read(contact).ok_or(BindingError::BadContact)?;
                    let wanted = contact.expires.or(header).unwrap_or(limits.default_expires);
                    if wanted != 0 && wanted < limits.min_expires {
                        return Err(BindingError::TooBrief(limits.min_expires));
                    }
                    asked.push((contact, wanted.min(longest)));
                }
                Ok(Plan::Change(asked))
            }
        }
    }

    /// With a policy's word on the longest expiry.
    pub fn at_most(mut self, ceiling: u32, limits: &Limits) -> Self {
        if let Plan::Change(asked) = &mut self {
            let longest = limits.longest(ceiling);
            asked.iter_mut().for_each(|(_, granted)| *granted = (*granted).min(longest));
        }
        self
    }

    /// Initial, refresh or deregistration, seen beside what is bound already.
    pub fn kind(&self, bound: &[Binding]) -> Kind {
        match self {
            Plan::RemoveAll => Kind::Deregister,
            Plan::Query => Kind::Refresh,
            Plan::Change(asked) if asked.iter().all(|(_, granted)| *granted == 0) => Kind::Deregister,
            Plan::Change(asked) if asked.iter().any(|(c, _)| bound.iter().any(|b| b.is_named_by(c))) => Kind::Refresh,
            Plan::Change(_) => Kind::Initial,
        }
    }
}

/// A registered private identity with its implicit set and its contacts.
#[derive(Debug, Clone)]
pub struct Registration {
    pub impi: Impi,
    pub impus: Impus,
    /// Of the implicit set, those that are barred: good for REGISTER, told to nobody.
    pub barred: Few<Impu>,
    /// One mostly, which lies here.
    pub bindings: SmallVec<[Binding; 1]>,
}

impl Registration {
    /// With no identity and no contact.
    pub fn none(impi: &Impi) -> Self {
        Registration { impi: impi.clone(), impus: Impus::default(), barred: Few::default(), bindings: SmallVec::new() }
    }

    /// Whether it is of this public identity's set.
    pub fn has(&self, impu: &Impu) -> bool {
        self.impus.contains(impu) || self.barred.contains(impu)
    }

    /// Applies a plan wholly or not at all. `since`: the number that contacts made or refreshed get.
    pub fn apply(
        &mut self,
        plan: &Plan<'_>,
        request: &Message<'_>,
        source: &Source,
        limits: &Limits,
        mono: Duration,
        since: u64,
    ) -> Result<(), BindingError> {
        let call_id = request.call_id().unwrap_or_default();
        let cseq = request.cseq().map(|c| c.number).unwrap_or(0);
        let outdated = |b: &Binding| *b.call_id() == *call_id && cseq <= b.cseq;
        self.bindings.retain(|b| b.until > mono);
        match plan {
            Plan::Query => Ok(()),
            Plan::RemoveAll => {
                if self.bindings.iter().any(outdated) {
                    return Err(BindingError::OutOfOrder);
                }
                self.bindings.clear();
                Ok(())
            }
            Plan::Change(asked) => {
                let names = |b: &Binding| asked.iter().any(|(contact, _)| b.is_named_by(contact));
                if self.bindings.iter().any(|b| outdated(b) && names(b)) {
                    return Err(BindingError::OutOfOrder);
                }
                let (path, origin) = (path_of(request), Origin::new(source));
                let mut next = self.bindings.clone();
                for (contact, granted) in asked {
                    // The same contact twice in one request: the last word counts.
                    let at = next.iter().position(|b| b.is_named_by(contact));
                    match (at, granted) {
                        (Some(i), 0) => {
                            next.remove(i);
                        }
                        (None, 0) => {}
                        (at, _) => {
                            let until = Time::from(mono + Duration::from_secs(u64::from(*granted)));
                            let before = at.and_then(|i| next.get(i)).map(|old| old.latest);
                            let parts = Parts {
                                uri: contact.uri_text,
                                params: &contact.params,
                                instance: contact.instance.as_deref(),
                                call_id,
                                path: &path,
                            };
                            let fresh = Binding {
                                text: Text::new(&parts),
                                reg_id: contact.reg_id,
                                q: contact.q,
                                cseq,
                                until,
                                latest: before.unwrap_or(until).max(until),
                                since,
                                origin: origin.clone(),
                            };
                            match at {
                                Some(i) => next[i] = fresh,
                                None => next.push(fresh),
                            }
                        }
                    }
                }
                if next.len() > limits.max_contacts {
                    return Err(BindingError::TooMany(limits.max_contacts));
                }
                next.shrink_to_fit();
                self.bindings = next;
                Ok(())
            }
        }
    }

    /// The Contacts of the 200 (§10.3 step 8), best q first.
    pub fn write_contacts(&self, response: &mut ResponseWriter, mono: Duration) {
        let mut bound: Vec<&Binding> = self.bindings.iter().filter(|b| b.until > mono).collect();
        bound.sort_by_key(|b| std::cmp::Reverse(b.q));
        for b in bound {
            let mut contact = response.line(HeaderName::Contact);
            contact.text("<").text(b.uri()).text(">").text(b.params());
            if b.q != 1000 {
                let _ = write!(contact, ";q=0.{:03}", b.q);
            }
            contact.text(";expires=").number(b.expires_in(mono));
        }
    }

    /// When the last contact ends.
    pub fn until(&self) -> Option<Duration> {
        self.bindings.iter().map(|b| b.until.get()).max()
    }

    /// Seconds until then, rounded up: right after a REGISTER what it was granted, unless another contact lives longer.
    pub fn expires_in(&self, mono: Duration) -> u32 {
        let longest = self.bindings.iter().map(|b| b.expires_in(mono)).max().unwrap_or(0);
        u32::try_from(longest).unwrap_or(u32::MAX)
    }
}

fn path_of(request: &Message<'_>) -> Vec<String> {
    let text = |v: &[u8]| String::from_utf8_lossy(v).replace(['\r', '\n'], " ");
    request.list(HeaderName::Path).map(text).collect()
}
