//! Initial filter criteria (TS 29.228 annexes B, C and E): which requests go to which application server.

use crate::xml::{self, Element, XmlError, escape};
use std::fmt::Write;

/// Parameter of a ServerName that is an address: which NAF the broadcast server there is.
pub const NAF: &str = "naf";

/// InitialFilterCriteria: the lower `priority` counts first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Criterion {
    pub priority: i32,
    /// None: every request.
    pub trigger: Option<TriggerPoint>,
    pub server: ApplicationServer,
    /// ProfilePartIndicator; None: for both.
    pub part: Option<Part>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    Registered,
    Unregistered,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TriggerPoint {
    /// Conjunctive normal form: an AND of groups whose triggers are ORed; else an OR of groups that are ANDed.
    pub conjunctive: bool,
    pub triggers: Vec<Trigger>,
}

/// SPT, a service point trigger.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trigger {
    pub negated: bool,
    pub groups: Vec<u32>,
    pub matches: Match,
    /// RegistrationType: 0 initial, 1 re-registration, 2 deregistration; none: any.
    pub registration: Vec<u32>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Match {
    RequestUri(String),
    Method(String),
    Header {
        name: String,
        content: Option<String>,
    },
    /// 0 originating, 1 terminating registered, 2 terminating unregistered, 3 originating unregistered, 4 originating CDIV
    SessionCase(u32),
    SessionDescription {
        line: String,
        content: Option<String>,
    },
    /// One that this server does not know.
    Other(String),
}

#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ApplicationServer {
    pub name: String,
    /// DefaultHandling is SESSION_TERMINATED.
    pub ends_session: bool,
    pub service_info: Option<String>,
    pub include_request: bool,
    pub include_response: bool,
}

impl Criterion {
    /// All of a document, in whatever element they lie, by priority. None: it has one that cannot be read.
    pub fn parse_all(document: &[u8]) -> Result<Option<Vec<Self>>, XmlError> {
        let root = xml::parse(document)?;
        let criteria: Option<Vec<_>> = root.named("InitialFilterCriteria").map(Self::read).collect();
        Ok(criteria.map(|mut criteria| {
            criteria.sort_by_key(|criterion| criterion.priority);
            criteria
        }))
    }

    pub fn to_xml(&self) -> String {
        let mut out = String::new();
        self.write(&mut out);
        out
    }

    pub(super) fn read(element: &Element) -> Option<Self> {
        let server = element.named("ApplicationServer").next()?;
        let extension = |name| server.named("Extension").any(|extension| extension.named(name).next().is_some());
        Some(Criterion {
            priority: number(element, "Priority")?,
            trigger: match element.named("TriggerPoint").next() {
                Some(point) => Some(TriggerPoint::read(point)?),
                None => None,
            },
            server: ApplicationServer {
                name: server.text_of("ServerName").filter(|name| !name.is_empty())?.to_owned(),
                ends_session: truth(server, "DefaultHandling")?,
                service_info: server.text_of("ServiceInfo").map(str::to_owned),
                include_request: extension("IncludeRegisterRequest"),
                include_response: extension("IncludeRegisterResponse"),
            },
            part: match element.text_of("ProfilePartIndicator") {
                None => None,
                Some("0") => Some(Part::Registered),
                Some("1") => Some(Part::Unregistered),
                Some(_) => return None,
            },
        })
    }

    pub(super) fn write(&self, out: &mut String) {
        let _ = write!(out, "<InitialFilterCriteria><Priority>{}</Priority>", self.priority);
        if let Some(TriggerPoint { conjunctive, triggers }) = &self.trigger {
            let _ = write!(out, "<TriggerPoint><ConditionTypeCNF>{}</ConditionTypeCNF>", u8::from(*conjunctive));
            triggers.iter().for_each(|trigger| trigger.write(out));
            out.push_str("</TriggerPoint>");
        }
        let ApplicationServer { name, ends_session, service_info, include_request, include_response } = &self.server;
        let handling = u8::from(*ends_session);
        out.push_str("<ApplicationServer>");
        put(out, "ServerName", name);
        let _ = write!(out, "<DefaultHandling>{handling}</DefaultHandling>");
        service_info.iter().for_each(|info| put(out, "ServiceInfo", info));
        if *include_request || *include_response {
            out.push_str("<Extension>");
            out.push_str(if *include_request { "<IncludeRegisterRequest/>" } else { "" });
            out.push_str(if *include_response { "<IncludeRegisterResponse/>" } else { "" });
            out.push_str("</Extension>");
        }
        out.push_str("</ApplicationServer>");
        match self.part {
            Some(Part::Registered) => out.push_str("<ProfilePartIndicator>0</ProfilePartIndicator>"),
            Some(Part::Unregistered) => out.push_str("<ProfilePartIndicator>1</ProfilePartIndicator>"),
            None => {}
        }
        out.push_str("</InitialFilterCriteria>");
    }
}

impl TriggerPoint {
    fn read(element: &Element) -> Option<Self> {
        let triggers = element.named("SPT").map(Trigger::read).collect::<Option<_>>()?;
        Some(TriggerPoint { conjunctive: truth(element, "ConditionTypeCNF")?, triggers })
    }
}

impl Trigger {
    fn read(element: &Element) -> Option<Self> {
        let text = |name| element.text_of(name).map(str::to_owned);
        let inner = |element: &Element, name| element.text_of(name).map(str::to_owned);
        let matches = if let Some(uri) = text("RequestURI") {
            Match::RequestUri(uri)
        } else if let Some(method) = text("Method") {
            Match::Method(method)
        } else if let Some(header) = element.named("SIPHeader").next() {
            Match::Header { name: inner(header, "Header")?, content: inner(header, "Content") }
        } else if let Some(line) = element.named("SessionDescription").next() {
            Match::SessionDescription { line: inner(line, "Line")?, content: inner(line, "Content") }
        } else if let Some(case) = number(element, "SessionCase") {
            Match::SessionCase(case)
        } else {
            let known = ["ConditionNegated", "Group", "Extension"];
            Match::Other(element.children.iter().find(|child| !known.contains(&&*child.name))?.name.clone())
        };
        let of = |element: &Element, name: &'static str| -> Option<Vec<u32>> {
            element.named(name).map(|child| child.text.trim().parse().ok()).collect()
        };
        let registration = match element.named("Extension").next() {
            Some(extension) => of(extension, "RegistrationType")?,
            None => Vec::new(),
        };
        Some(Trigger {
            negated: truth(element, "ConditionNegated")?,
            groups: of(element, "Group")?,
            matches,
            registration,
        })
    }

    fn write(&self, out: &mut String) {
        let _ = write!(out, "<SPT><ConditionNegated>{}</ConditionNegated>", u8::from(self.negated));
        for group in &self.groups {
            let _ = write!(out, "<Group>{group}</Group>");
        }
        let content = |out: &mut String, content: &Option<String>| {
            content.iter().for_each(|content| put(out, "Content", content));
        };
        match &self.matches {
            Match::RequestUri(uri) => put(out, "RequestURI", uri),
            Match::Method(method) => put(out, "Method", method),
            Match::Header { name, content: value } => {
                out.push_str("<SIPHeader>");
                put(out, "Header", name);
                content(out, value);
                out.push_str("</SIPHeader>");
            }
            Match::SessionCase(case) => drop(write!(out, "<SessionCase>{case}</SessionCase>")),
            Match::SessionDescription { line, content: value } => {
                out.push_str("<SessionDescription>");
                put(out, "Line", line);
                content(out, value);
                out.push_str("</SessionDescription>");
            }
            Match::Other(name) => drop(write!(out, "<{name}/>")),
        }
        if !self.registration.is_empty() {
            out.push_str("<Extension>");
            for kind in &self.registration {
                let _ = write!(out, "<RegistrationType>{kind}</RegistrationType>");
            }
            out.push_str("</Extension>");
        }
        out.push_str("</SPT>");
    }
}

pub(super) fn put(out: &mut String, name: &str, text: &str) {
    let _ = write!(out, "<{name}>{}</{name}>", escape(text));
}

pub(super) fn number<T: std::str::FromStr>(element: &Element, name: &str) -> Option<T> {
    element.text_of(name)?.parse().ok()
}

/// An element of type tBool; left out, it is 0. None: neither 0 nor 1.
pub(super) fn truth(element: &Element, name: &str) -> Option<bool> {
    match element.text_of(name) {
        None | Some("0" | "false") => Some(false),
        Some("1" | "true") => Some(true),
        Some(_) => None,
    }
}
