//! Header field names: an enum for those that are read, found by length and first letter (RFC 3261 §7.3.3, §20).

macro_rules! header_names {
    ($($variant:ident = $text:literal,)*) => {
        /// Header fields this project reads; anything else is kept and reached by name.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        #[repr(u8)]
        pub enum HeaderName { $($variant,)* Other }

        impl HeaderName {
            /// Every name but `Other`.
            pub const ALL: &'static [HeaderName] = &[$(HeaderName::$variant,)*];

            /// The long form; empty for `Other`.
            pub fn as_str(self) -> &'static str {
                match self { $(HeaderName::$variant => $text,)* HeaderName::Other => "" }
            }
        }
    };
}

header_names! {
    Accept = "Accept",
    AcceptEncoding = "Accept-Encoding",
    Allow = "Allow",
    AllowEvents = "Allow-Events",
    AuthenticationInfo = "Authentication-Info",
    Authorization = "Authorization",
    BcastExt = "Bcast-Ext",
    CallId = "Call-ID",
    Contact = "Contact",
    ContentDisposition = "Content-Disposition",
    ContentEncoding = "Content-Encoding",
    ContentLength = "Content-Length",
    ContentType = "Content-Type",
    CSeq = "CSeq",
    Date = "Date",
    Event = "Event",
    Expires = "Expires",
    From = "From",
    MaxForwards = "Max-Forwards",
    MinExpires = "Min-Expires",
    PAccessNetworkInfo = "P-Access-Network-Info",
    PAssertedIdentity = "P-Asserted-Identity",
    PAssociatedUri = "P-Associated-URI",
    Path = "Path",
    PChargingFunctionAddresses = "P-Charging-Function-Addresses",
    PChargingVector = "P-Charging-Vector",
    PVisitedNetworkId = "P-Visited-Network-ID",
    ProxyRequire = "Proxy-Require",
    RecordRoute = "Record-Route",
    Require = "Require",
    RetryAfter = "Retry-After",
    Route = "Route",
    SecurityClient = "Security-Client",
    SecurityServer = "Security-Server",
    SecurityVerify = "Security-Verify",
    ServiceRoute = "Service-Route",
    SubscriptionState = "Subscription-State",
    Supported = "Supported",
    To = "To",
    Unsupported = "Unsupported",
    UserAgent = "User-Agent",
    Via = "Via",
    Warning = "Warning",
    WwwAuthenticate = "WWW-Authenticate",
}

/// Long form of a compact name that has no variant of its own.
const OTHER_COMPACT: [(u8, &str); 8] = [
    (b'a', "Accept-Contact"),
    (b'b', "Referred-By"),
    (b'd', "Request-Disposition"),
    (b'j', "Reject-Contact"),
    (b'r', "Refer-To"),
    (b's', "Subject"),
    (b'x', "Session-Expires"),
    (b'y', "Identity"),
];

impl HeaderName {
    /// From a field name as sent: any case, compact or long; `Other` if unknown.
    pub fn from_bytes(name: &[u8]) -> HeaderName {
        use HeaderName::*;
        let Some(first) = name.first().map(u8::to_ascii_lowercase) else { return Other };
        let at = |i: usize| name.get(i).map_or(0, u8::to_ascii_lowercase);
        // At most one name is left after this; it alone is compared.
        let candidate = match (name.len(), first) {
            (1, b'c') => return ContentType,
            (1, b'e') => return ContentEncoding,
            (1, b'f') => return From,
            (1, b'i') => return CallId,
            (1, b'k') => return Supported,
            (1, b'l') => return ContentLength,
            (1, b'm') => return Contact,
            (1, b'o') => return Event,
            (1, b't') => return To,
            (1, b'u') => return AllowEvents,
            (1, b'v') => return Via,
            (2, b't') => To,
            (3, b'v') => Via,
            (4, b'c') => CSeq,
            (4, b'd') => Date,
            (4, b'f') => From,
            (4, b'p') => Path,
            (5, b'a') => Allow,
            (5, b'e') => Event,
            (5, b'r') => Route,
            (6, b'a') => Accept,
            (7, b'c') if at(1) == b'a' => CallId,
            (7, b'c') => Contact,
            (7, b'e') => Expires,
            (7, b'r') => Require,
            (7, b'w') => Warning,
            (9, b'b') => BcastExt,
            (9, b's') => Supported,
            (10, b'u') => UserAgent,
            (11, b'm') => MinExpires,
            (11, b'r') => RetryAfter,
            (11, b'u') => Unsupported,
            (12, b'a') => AllowEvents,
            (12, b'c') => ContentType,
            (12, b'm') => MaxForwards,
            (12, b'r') => RecordRoute,
            (13, b'a') => Authorization,
            (13, b'p') => ProxyRequire,
            (13, b's') => ServiceRoute,
            (14, b'c') => ContentLength,
            (15, b'a') => AcceptEncoding,
            (15, b's') if at(9) == b'c' => SecurityClient,
            (15, b's') if at(9) == b's' => SecurityServer,
            (15, b's') => SecurityVerify,
            (16, b'c') => ContentEncoding,
            (16, b'p') => PAssociatedUri,
            (16, b'w') => WwwAuthenticate,
            (17, b'p') => PChargingVector,
            (18, b's') => SubscriptionState,
            (19, b'a') => AuthenticationInfo,
            (19, b'c') => ContentDisposition,
            (19, b'p') => PAssertedIdentity,
            (20, b'p') => PVisitedNetworkId,
            (21, b'p') => PAccessNetworkInfo,
            (29, b'p') => PChargingFunctionAddresses,
            _ => return Other,
        };
        let text = candidate.as_str().as_bytes();
        // As spelled in the RFC is the common case, and cheaper to compare.
        if text == name || text.eq_ignore_ascii_case(name) { candidate } else { Other }
    }
}

impl std::fmt::Display for HeaderName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The long form of a name without a variant; a name without a compact form is its own.
pub(crate) fn long_form(name: &[u8]) -> &[u8] {
    let [letter] = name else { return name };
    let lower = letter.to_ascii_lowercase();
    OTHER_COMPACT.iter().find(|(compact, _)| *compact == lower).map_or(name, |(_, long)| long.as_bytes())
}

/// Whether two names without a variant mean the same field.
pub(crate) fn same_name(a: &[u8], b: &[u8]) -> bool {
    long_form(a).eq_ignore_ascii_case(long_form(b))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_is_found_in_any_case() {
        for &name in HeaderName::ALL {
            let text = name.as_str();
            for spelling in [text.to_owned(), text.to_lowercase(), text.to_uppercase()] {
                assert_eq!(HeaderName::from_bytes(spelling.as_bytes()), name);
            }
            let mut near = text.as_bytes().to_vec();
            if let Some(last) = near.last_mut() {
                *last = b'#';
            }
            assert_eq!(HeaderName::from_bytes(&near), HeaderName::Other);
        }
    }

    #[test]
    fn compact_names() {
        use HeaderName::*;
        let known = [
            ("c", ContentType),
            ("E", ContentEncoding),
            ("f", From),
            ("i", CallId),
            ("k", Supported),
            ("l", ContentLength),
        ];
        for (text, name) in
            known.into_iter().chain([("M", Contact), ("o", Event), ("t", To), ("u", AllowEvents), ("V", Via)])
        {
            assert_eq!(HeaderName::from_bytes(text.as_bytes()), name);
        }
        assert_eq!(HeaderName::from_bytes(b"s"), Other);
        assert_eq!(HeaderName::from_bytes(b""), Other);
        assert!(same_name(b"S", b"subject"));
        assert!(!same_name(b"s", b"t"));
    }
}
