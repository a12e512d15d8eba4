//! Whether rsip's typed reading of a value says what the value says. An error of rsip is no lie; a wrong host is.

use crate::sip::header::{AuthParams, CSeq, HeaderError, MediaType, NameAddr, Params, Via};
use crate::sip::{HeaderName, Uri, scan};
use ::rsip::headers::auth::AuthQop;
use ::rsip::headers::typed::MediaType as TheirMedia;
use ::rsip::headers::{self as untyped, ToTypedHeader, UntypedHeader, typed};
use ::rsip::{Param, UriWithParams};

/// True if rsip reads the value rightly, or not at all.
pub(super) fn reads(name: HeaderName, value: &str) -> bool {
    let octets = value.as_bytes();
    let address = || NameAddr::parse(octets);
    match name {
        HeaderName::From => holds(untyped::From::new(value).typed(), address(), |theirs, ours| {
            same_address(theirs.display_name.as_deref(), &theirs.uri, &theirs.params, ours)
        }),
        HeaderName::To => holds(untyped::To::new(value).typed(), address(), |theirs, ours| {
            same_address(theirs.display_name.as_deref(), &theirs.uri, &theirs.params, ours)
        }),
        HeaderName::Contact => holds(untyped::Contact::new(value).typed(), address(), |theirs, ours| {
            same_address(theirs.display_name.as_deref(), &theirs.uri, &theirs.params, ours)
        }),
        HeaderName::Route => {
            holds(untyped::Route::new(value).typed(), address(), |theirs, ours| same_hop(theirs.uris(), ours))
        }
        HeaderName::RecordRoute => {
            holds(untyped::RecordRoute::new(value).typed(), address(), |theirs, ours| same_hop(theirs.uris(), ours))
        }
        HeaderName::Via => holds(untyped::Via::new(value).typed(), Via::parse(octets), same_via),
        HeaderName::CSeq => holds(untyped::CSeq::new(value).typed(), CSeq::parse(octets), |theirs, ours| {
            theirs.seq == ours.number && theirs.method.to_string().as_bytes() == ours.method
        }),
        HeaderName::Authorization => {
            holds(untyped::Authorization::new(value).typed(), AuthParams::parse(octets), same_credentials)
        }
        HeaderName::WwwAuthenticate => {
            holds(untyped::WwwAuthenticate::new(value).typed(), AuthParams::parse(octets), same_challenge)
        }
        HeaderName::ContentType => {
            holds(untyped::ContentType::new(value).typed(), MediaType::parse(octets), |theirs, ours| {
                same_media(&theirs.0, ours)
            })
        }
        _ => true,
    }
}

fn holds<T, O>(
    theirs: Result<T, ::rsip::Error>,
    ours: Result<O, HeaderError>,
    same: impl FnOnce(&T, &O) -> bool,
) -> bool {
    match (theirs, ours) {
        (Ok(theirs), Ok(ours)) => same(&theirs, &ours),
        (Ok(_), Err(_)) => false,
        (Err(_), _) => true,
    }
}

fn text(octets: &[u8]) -> Option<&str> {
    std::str::from_utf8(octets).ok()
}

pub(super) fn same_uri(theirs: &::rsip::Uri, ours: &Uri<'_>) -> bool {
    let Uri::Sip(ours) = ours else { return false };
    let scheme = if ours.secure { ::rsip::Scheme::Sips } else { ::rsip::Scheme::Sip };
    let auth = theirs.auth.as_ref();
    theirs.scheme == Some(scheme)
        && auth.map(|auth| auth.user.as_bytes()) == ours.user
        && auth.and_then(|auth| auth.password.as_deref()).map(str::as_bytes) == ours.password
        && same_host(theirs, &ours.host.to_string(), ours.port)
        && same_params(&theirs.params, ours.params)
        && ours.headers.is_empty()
}

fn same_host(theirs: &::rsip::Uri, host: &str, port: Option<u16>) -> bool {
    theirs.host().to_string().eq_ignore_ascii_case(host) && theirs.port().map(|port| *port.value()) == port
}

fn same_params(theirs: &[Param], ours: Params<'_>) -> bool {
    let same = |(theirs, (name, value)): (&Param, (&[u8], Option<&[u8]>))| match (text(name), value.map(text)) {
        (Some(name), None) => same_param(theirs, name, None),
        (Some(name), Some(Some(value))) => same_param(theirs, name, Some(value)),
        _ => false,
    };
    theirs.len() == ours.iter().count() && theirs.iter().zip(ours.iter()).all(same)
}

/// The same name in any case and the same value, of `transport` in any case too.
pub(super) fn same_param(theirs: &Param, name: &str, value: Option<&str>) -> bool {
    let printed = theirs.to_string();
    let printed = printed.strip_prefix(';').unwrap_or(&printed);
    let (their_name, their_value) = match printed.split_once('=') {
        Some((name, value)) => (name, Some(value)),
        None => (printed, None),
    };
    let same_value = match (their_value, value) {
        (Some(a), Some(b)) if matches!(theirs, Param::Transport(_)) => a.eq_ignore_ascii_case(b),
        (a, b) => a == b,
    };
    their_name.eq_ignore_ascii_case(name) && same_value
}

fn same_address(display: Option<&str>, uri: &::rsip::Uri, params: &[Param], ours: &NameAddr<'_>) -> bool {
    // rsip keeps the quotes.
    let display =
        display.map(|name| if name.starts_with('"') { scan::unquote(name.as_bytes()) } else { name.as_bytes().into() });
    display.unwrap_or_default() == ours.display.as_deref().unwrap_or_default()
        && same_uri(uri, &ours.uri)
        && same_params(params, ours.params)
}

fn same_hop(theirs: &[UriWithParams], ours: &NameAddr<'_>) -> bool {
    let [theirs] = theirs else { return false };
    ours.display.is_none() && same_uri(&theirs.uri, &ours.uri) && same_params(&theirs.params, ours.params)
}

fn same_via(theirs: &typed::Via, ours: &Via<'_>) -> bool {
    theirs.transport.to_string().as_bytes().eq_ignore_ascii_case(ours.transport)
        && theirs.version == ::rsip::Version::V2
        && ours.version == b"2.0"
        && theirs.uri.auth.is_none()
        && theirs.uri.scheme.is_none()
        && theirs.uri.params.is_empty()
        && same_host(&theirs.uri, &ours.host.to_string(), ours.port)
        && same_params(&theirs.params, ours.params)
}

/// The parameter as rsip has it and as it was sent.
fn same(ours: &AuthParams<'_>, name: &str, theirs: Option<&str>) -> bool {
    ours.get(name).as_deref() == theirs.map(str::as_bytes)
}

fn same_in_any_case(ours: &AuthParams<'_>, name: &str, theirs: Option<String>) -> bool {
    match (ours.get(name), theirs) {
        (Some(ours), Some(theirs)) => ours.eq_ignore_ascii_case(theirs.as_bytes()),
        (ours, theirs) => ours.is_none() && theirs.is_none(),
    }
}

fn same_credentials(theirs: &typed::Authorization, ours: &AuthParams<'_>) -> bool {
    let uri = ours.get("uri");
    let uri = uri.as_deref().map(Uri::parse);
    let qop = match &theirs.qop {
        None => ours.get("qop").is_none(),
        Some(AuthQop::Auth { cnonce, nc }) => same_use(ours, "auth", cnonce, *nc),
        Some(AuthQop::AuthInt { cnonce, nc }) => same_use(ours, "auth-int", cnonce, *nc),
    };
    qop && theirs.scheme.to_string().as_bytes().eq_ignore_ascii_case(ours.scheme)
        && same(ours, "username", Some(&theirs.username))
        && same(ours, "realm", Some(&theirs.realm))
        && same(ours, "nonce", Some(&theirs.nonce))
        && same(ours, "response", Some(&theirs.response))
        && same(ours, "opaque", theirs.opaque.as_deref())
        && same_in_any_case(ours, "algorithm", theirs.algorithm.as_ref().map(ToString::to_string))
        && uri.is_some_and(|uri| uri.is_ok_and(|uri| same_uri(&theirs.uri, &uri)))
}

/// `nc` is hexadecimal (RFC 7616 §3.4).
fn same_use(ours: &AuthParams<'_>, qop: &str, cnonce: &str, nc: u8) -> bool {
    let sent = ours.get("nc").and_then(|nc| u32::from_str_radix(std::str::from_utf8(&nc).ok()?, 16).ok());
    same_in_any_case(ours, "qop", Some(qop.to_owned())) && same(ours, "cnonce", Some(cnonce)) && sent == Some(nc.into())
}

fn same_challenge(theirs: &typed::WwwAuthenticate, ours: &AuthParams<'_>) -> bool {
    theirs.scheme.to_string().as_bytes().eq_ignore_ascii_case(ours.scheme)
        && same(ours, "realm", Some(&theirs.realm))
        && same(ours, "nonce", Some(&theirs.nonce))
        && same(ours, "domain", theirs.domain.as_deref())
        && same(ours, "opaque", theirs.opaque.as_deref())
        && same(ours, "stale", theirs.stale.as_deref())
        && same(ours, "charset", theirs.charset.as_deref())
        && same_in_any_case(ours, "algorithm", theirs.algorithm.as_ref().map(ToString::to_string))
        && same_in_any_case(ours, "qop", theirs.qop.as_ref().map(ToString::to_string))
}

fn same_media(theirs: &TheirMedia, ours: &MediaType<'_>) -> bool {
    let (name, params) = match theirs {
        TheirMedia::Sdp(params) => ("application/sdp", params),
        TheirMedia::Other(name, params) => (name.as_str(), params),
    };
    let whole = [ours.kind, b"/", ours.subtype].concat();
    let given = |param: &typed::media_type::MediaTypeParam| {
        ours.params.get(&param.0).is_some_and(|value| *value == *param.1.as_bytes())
    };
    whole.eq_ignore_ascii_case(name.as_bytes())
        && params.len() == ours.params.iter().count()
        && params.iter().all(given)
}
