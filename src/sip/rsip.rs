//! A message as the types of the crate `rsip` (rank 0, feature `rsip`), for plugins that are written against them.
//!
//! The conversion reads our own view of a message that passes [`Message::check`]; rsip's parser never sees received
//! octets as a message. Names are spelled out, folds are undone, `Via`, `Contact`, `Route` and `Record-Route` are one
//! value a field. What rsip would misread is kept, but not where its typed readings look for it: such a field, and every
//! other of its name, goes in as [`Header::Other`] with its proper name and its text. So a typed reading is right, or an
//! error, or says that there is no such field.
//!
//! | in the message | in rsip's types |
//! |---|---|
//! | body | `body`, octet for octet. rsip corrupts binary bodies when it *prints* a message |
//! | algorithm other than MD5, SHA256 | text kept, `typed()` is an error |
//! | `auts`, `integrity-protected` and other parameters that rsip has no field for | text kept, missing in `typed()` |
//! | IPv6 address as host | Request-URI: a `Domain` with its brackets; elsewhere the text is kept, `typed()` is an error |
//! | `tel:`, `urn:` and other schemes | Request-URI: [`Unconvertible`]; elsewhere the text, `typed()` is an error, or `Other` |
//! | URI with headers (`?`), blanks where rsip expects none | `Other` |
//! | `Contact: *`; `nc` above 9, which rsip reads as decimal | `Other` |
//! | headers whose typed reading is not checked here (Accept, Allow, Warning, Proxy-Authorization, …) | `Other` |
//! | reason phrase of a status that rsip knows | lost, rsip has no room for it |

mod faithful;

use super::{Fault, HeaderName, Message, SipUri, Uri};
use ::rsip::headers::{Header, UntypedHeader};
use ::rsip::{Auth, Host, HostWithPort, Param, Port, Scheme, StatusCode, Version};
use ::rsip::{Request, Response, SipMessage};
use std::str::from_utf8;

/// What cannot be said in rsip's types without saying something else.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unconvertible {
    #[error("the message is not sound: {0}")]
    Faulty(#[from] Fault),
    #[error("a response where a request is wanted")]
    NotARequest,
    #[error("a request where a response is wanted")]
    NotAResponse,
    #[error("rsip knows no method {0:?}")]
    Method(String),
    #[error("the Request-URI is {0}: rsip has no such URIs")]
    RequestUri(&'static str),
    #[error("{0} is not UTF-8 text")]
    NotText(String),
}

/// A request or a response.
pub fn message(message: &Message<'_>) -> Result<SipMessage, Unconvertible> {
    match message.is_request() {
        true => request(message).map(SipMessage::Request),
        false => response(message).map(SipMessage::Response),
    }
}

pub fn request(message: &Message<'_>) -> Result<Request, Unconvertible> {
    if !message.is_request() {
        return Err(Unconvertible::NotARequest);
    }
    message.check()?;
    let named = text("the method", message.method())?;
    // rsip takes methods in any case, SIP does not.
    let method = ::rsip::Method::all().into_iter().find(|method| method.to_string() == named);
    Ok(Request {
        method: method.ok_or_else(|| Unconvertible::Method(named.to_owned()))?,
        uri: request_uri(message)?,
        version: Version::V2,
        headers: headers(message)?.into(),
        body: message.body().to_vec(),
    })
}

pub fn response(message: &Message<'_>) -> Result<Response, Unconvertible> {
    if message.is_request() {
        return Err(Unconvertible::NotAResponse);
    }
    message.check()?;
    let status_code = match StatusCode::from(message.status()) {
        StatusCode::Other(code, _) => StatusCode::Other(code, text("the reason phrase", message.reason())?.to_owned()),
        known => known,
    };
    let headers = headers(message)?.into();
    Ok(Response { status_code, version: Version::V2, headers, body: message.body().to_vec() })
}

fn text<'a>(what: &str, octets: &'a [u8]) -> Result<&'a str, Unconvertible> {
    from_utf8(octets).map_err(|_| Unconvertible::NotText(what.to_owned()))
}

fn request_uri(message: &Message<'_>) -> Result<::rsip::Uri, Unconvertible> {
    text("the Request-URI", message.request_uri_raw())?;
    let parsed = message.request_uri().map_err(Fault::from)?;
    let Uri::Sip(uri) = &parsed else {
        return Err(Unconvertible::RequestUri(if matches!(parsed, Uri::Tel { .. }) { "tel:" } else { "no sip: URI" }));
    };
    let built = built(uri);
    // Belt and braces: what rsip would print is what was sent.
    match faithful::same_uri(&built, &parsed) {
        true => Ok(built),
        false => Err(Unconvertible::RequestUri("not to be said in rsip's fields")),
    }
}

fn built(uri: &SipUri<'_>) -> ::rsip::Uri {
    let owned = |octets: &[u8]| String::from_utf8_lossy(octets).into_owned();
    let host = match uri.host {
        super::Host::V4(address) => Host::IpAddr(address.into()),
        // As an address, rsip would print it without the brackets.
        name => Host::Domain(name.to_string().into()),
    };
    ::rsip::Uri {
        scheme: Some(if uri.secure { Scheme::Sips } else { Scheme::Sip }),
        auth: uri.user.map(|user| Auth { user: owned(user), password: uri.password.map(owned) }),
        host_with_port: HostWithPort { host, port: uri.port.map(Port::from) },
        params: uri.params.iter().map(|(name, value)| param(&owned(name), value.map(owned).as_deref())).collect(),
        headers: Vec::new(),
    }
}

/// rsip's own variant where it says the same, else the bare text.
fn param(name: &str, value: Option<&str>) -> Param {
    let plain = || Param::Other(name.into(), value.map(Into::into));
    let typed = Param::try_from((name, value)).unwrap_or_else(|_| plain());
    if faithful::same_param(&typed, name, value) { typed } else { plain() }
}

fn headers(message: &Message<'_>) -> Result<Vec<Header>, Unconvertible> {
    let mut fields = Vec::new();
    for (name, raw) in message.all_headers() {
        let name = text("a header's name", name)?;
        let id = HeaderName::from_bytes(name.as_bytes());
        let long = match id {
            HeaderName::Other => text(name, super::header::long_form(name.as_bytes()))?,
            known => known.as_str(),
        };
        match id {
            HeaderName::Via | HeaderName::Contact | HeaderName::Route | HeaderName::RecordRoute => {
                for element in super::scan::elements(raw).filter(|element| !element.is_empty()) {
                    fields.push((id, long, unfolded(text(long, element)?)));
                }
            }
            _ => fields.push((id, long, unfolded(text(long, raw)?))),
        }
    }
    // With one of several put aside, the next would be taken for the first, and a list for the whole of it.
    let misread: Vec<HeaderName> =
        fields.iter().filter(|(id, _, value)| !faithful::reads(*id, value)).map(|(id, ..)| *id).collect();
    let header = |(id, name, value): (_, &str, _)| match misread.contains(&id) {
        true => Header::Other(name.to_owned(), value),
        false => header(id, name, value),
    };
    Ok(fields.into_iter().map(header).collect())
}

/// One blank for each fold.
fn unfolded(value: &str) -> String {
    if !value.contains('\n') {
        return value.to_owned();
    }
    let line = |line: &str| line.trim_matches(|c: char| c.is_ascii_whitespace()).to_owned();
    value.lines().map(line).collect::<Vec<_>>().join(" ")
}

/// rsip's variant of the names whose typed reading is checked, or that have none.
fn header(id: HeaderName, name: &str, value: String) -> Header {
    use ::rsip::headers as untyped;
    match id {
        HeaderName::AcceptEncoding => untyped::AcceptEncoding::new(value).into(),
        HeaderName::Authorization => untyped::Authorization::new(value).into(),
        HeaderName::CallId => untyped::CallId::new(value).into(),
        HeaderName::Contact => untyped::Contact::new(value).into(),
        HeaderName::ContentEncoding => untyped::ContentEncoding::new(value).into(),
        HeaderName::ContentLength => untyped::ContentLength::new(value).into(),
        HeaderName::ContentType => untyped::ContentType::new(value).into(),
        HeaderName::CSeq => untyped::CSeq::new(value).into(),
        HeaderName::Date => untyped::Date::new(value).into(),
        HeaderName::Event => untyped::Event::new(value).into(),
        HeaderName::Expires => untyped::Expires::new(value).into(),
        HeaderName::From => untyped::From::new(value).into(),
        HeaderName::MaxForwards => untyped::MaxForwards::new(value).into(),
        HeaderName::MinExpires => untyped::MinExpires::new(value).into(),
        HeaderName::ProxyRequire => untyped::ProxyRequire::new(value).into(),
        HeaderName::RecordRoute => untyped::RecordRoute::new(value).into(),
        HeaderName::Require => untyped::Require::new(value).into(),
        HeaderName::RetryAfter => untyped::RetryAfter::new(value).into(),
        HeaderName::Route => untyped::Route::new(value).into(),
        HeaderName::SubscriptionState => untyped::SubscriptionState::new(value).into(),
        HeaderName::Supported => untyped::Supported::new(value).into(),
        HeaderName::To => untyped::To::new(value).into(),
        HeaderName::Unsupported => untyped::Unsupported::new(value).into(),
        HeaderName::UserAgent => untyped::UserAgent::new(value).into(),
        HeaderName::Via => untyped::Via::new(value).into(),
        HeaderName::WwwAuthenticate => untyped::WwwAuthenticate::new(value).into(),
        _ => Header::Other(name.to_owned(), value),
    }
}

#[cfg(test)]
mod tests;
