//! What is wrong with a message, and how an answer says so (RFC 6733 §7; TS 29.229 §6.2, TS 29.109 §6.2, TS 29.329 §6.2).

use super::dictionary::TGPP;
use std::fmt;

/// Result-Code, or Experimental-Result of a vendor: the same number means different things in the two.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ResultCode {
    Base(u32),
    Experimental { vendor: u32, code: u32 },
}

/// Codes of RFC 6733 §7.1.
pub mod base {
    use super::ResultCode::{self, Base};

    pub const MULTI_ROUND_AUTH: ResultCode = Base(1001);
    pub const SUCCESS: ResultCode = Base(2001);
    pub const LIMITED_SUCCESS: ResultCode = Base(2002);
    pub const COMMAND_UNSUPPORTED: ResultCode = Base(3001);
    pub const UNABLE_TO_DELIVER: ResultCode = Base(3002);
    pub const REALM_NOT_SERVED: ResultCode = Base(3003);
    pub const TOO_BUSY: ResultCode = Base(3004);
    pub const LOOP_DETECTED: ResultCode = Base(3005);
    pub const REDIRECT_INDICATION: ResultCode = Base(3006);
    pub const APPLICATION_UNSUPPORTED: ResultCode = Base(3007);
    pub const INVALID_HDR_BITS: ResultCode = Base(3008);
    pub const INVALID_AVP_BITS: ResultCode = Base(3009);
    pub const UNKNOWN_PEER: ResultCode = Base(3010);
    pub const AUTHENTICATION_REJECTED: ResultCode = Base(4001);
    pub const OUT_OF_SPACE: ResultCode = Base(4002);
    pub const ELECTION_LOST: ResultCode = Base(4003);
    pub const AVP_UNSUPPORTED: ResultCode = Base(5001);
    pub const UNKNOWN_SESSION_ID: ResultCode = Base(5002);
    pub const AUTHORIZATION_REJECTED: ResultCode = Base(5003);
    pub const INVALID_AVP_VALUE: ResultCode = Base(5004);
    pub const MISSING_AVP: ResultCode = Base(5005);
    pub const RESOURCES_EXCEEDED: ResultCode = Base(5006);
    pub const CONTRADICTING_AVPS: ResultCode = Base(5007);
    pub const AVP_NOT_ALLOWED: ResultCode = Base(5008);
    pub const AVP_OCCURS_TOO_MANY_TIMES: ResultCode = Base(5009);
    pub const NO_COMMON_APPLICATION: ResultCode = Base(5010);
    pub const UNSUPPORTED_VERSION: ResultCode = Base(5011);
    pub const UNABLE_TO_COMPLY: ResultCode = Base(5012);
    pub const INVALID_BIT_IN_HEADER: ResultCode = Base(5013);
    pub const INVALID_AVP_LENGTH: ResultCode = Base(5014);
    pub const INVALID_MESSAGE_LENGTH: ResultCode = Base(5015);
    pub const INVALID_AVP_BIT_COMBO: ResultCode = Base(5016);
    pub const NO_COMMON_SECURITY: ResultCode = Base(5017);
}

/// Codes of 3GPP in Experimental-Result.
pub mod tgpp {
    use super::{ResultCode, TGPP};

    const fn code(code: u32) -> ResultCode {
        ResultCode::Experimental { vendor: TGPP, code }
    }

    pub const FIRST_REGISTRATION: ResultCode = code(2001);
    pub const SUBSEQUENT_REGISTRATION: ResultCode = code(2002);
    pub const UNREGISTERED_SERVICE: ResultCode = code(2003);
    pub const SUCCESS_SERVER_NAME_NOT_STORED: ResultCode = code(2004);
    pub const SERVER_SELECTION: ResultCode = code(2005);
    pub const USER_DATA_NOT_AVAILABLE: ResultCode = code(4100);
    pub const PRIOR_UPDATE_IN_PROGRESS: ResultCode = code(4101);
    pub const USER_UNKNOWN: ResultCode = code(5001);
    pub const IDENTITIES_DONT_MATCH: ResultCode = code(5002);
    pub const IDENTITY_NOT_REGISTERED: ResultCode = code(5003);
    pub const ROAMING_NOT_ALLOWED: ResultCode = code(5004);
    pub const IDENTITY_ALREADY_REGISTERED: ResultCode = code(5005);
    pub const AUTH_SCHEME_NOT_SUPPORTED: ResultCode = code(5006);
    pub const IN_ASSIGNMENT_TYPE: ResultCode = code(5007);
    pub const TOO_MUCH_DATA: ResultCode = code(5008);
    pub const NOT_SUPPORTED_USER_DATA: ResultCode = code(5009);
    pub const FEATURE_UNSUPPORTED: ResultCode = code(5011);
    pub const USER_DATA_NOT_RECOGNIZED: ResultCode = code(5100);
    pub const OPERATION_NOT_ALLOWED: ResultCode = code(5101);
    pub const USER_DATA_CANNOT_BE_READ: ResultCode = code(5102);
    pub const USER_DATA_CANNOT_BE_MODIFIED: ResultCode = code(5103);
    pub const USER_DATA_CANNOT_BE_NOTIFIED: ResultCode = code(5104);
    pub const TRANSPARENT_DATA_OUT_OF_SYNC: ResultCode = code(5105);
    pub const SUBS_DATA_ABSENT: ResultCode = code(5106);
    pub const NO_SUBSCRIPTION_TO_DATA: ResultCode = code(5107);
    pub const DSAI_NOT_AVAILABLE: ResultCode = code(5108);
    pub const IDENTITY_UNKNOWN: ResultCode = code(5401);
    pub const NOT_AUTHORIZED: ResultCode = code(5402);
    pub const TRANSACTION_IDENTIFIER_INVALID: ResultCode = code(5403);
}

impl ResultCode {
    pub fn is_success(self) -> bool {
        matches!(self.number(), 2000..3000)
    }

    /// Whether the E bit goes with it (RFC 6733 §7.1.3).
    pub fn is_protocol_error(self) -> bool {
        matches!(self, ResultCode::Base(3000..4000))
    }

    pub fn number(self) -> u32 {
        match self {
            ResultCode::Base(code) | ResultCode::Experimental { code, .. } => code,
        }
    }

    pub fn name(self) -> Option<&'static str> {
        let table = match self {
            ResultCode::Base(_) => BASE_NAMES,
            ResultCode::Experimental { vendor: TGPP, .. } => TGPP_NAMES,
            ResultCode::Experimental { .. } => return None,
        };
        table.iter().find(|(code, _)| *code == self).map(|(_, name)| *name)
    }
}

impl fmt::Display for ResultCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self, self.name()) {
            (_, Some(name)) => write!(f, "{} {name}", self.number()),
            (ResultCode::Base(code), None) => write!(f, "{code}"),
            (ResultCode::Experimental { vendor, code }, None) => write!(f, "{code} of vendor {vendor}"),
        }
    }
}

macro_rules! names {
    ($table:ident, $module:ident: $($const:ident)*) => {
        static $table: &[(ResultCode, &str)] = &[$(($module::$const, stringify!($const))),*];
    };
}

names! { BASE_NAMES, base:
    MULTI_ROUND_AUTH SUCCESS LIMITED_SUCCESS COMMAND_UNSUPPORTED UNABLE_TO_DELIVER REALM_NOT_SERVED TOO_BUSY LOOP_DETECTED
    REDIRECT_INDICATION APPLICATION_UNSUPPORTED INVALID_HDR_BITS INVALID_AVP_BITS UNKNOWN_PEER AUTHENTICATION_REJECTED
    OUT_OF_SPACE ELECTION_LOST AVP_UNSUPPORTED UNKNOWN_SESSION_ID AUTHORIZATION_REJECTED INVALID_AVP_VALUE MISSING_AVP
    RESOURCES_EXCEEDED CONTRADICTING_AVPS AVP_NOT_ALLOWED AVP_OCCURS_TOO_MANY_TIMES NO_COMMON_APPLICATION
    UNSUPPORTED_VERSION UNABLE_TO_COMPLY INVALID_BIT_IN_HEADER INVALID_AVP_LENGTH INVALID_MESSAGE_LENGTH
    INVALID_AVP_BIT_COMBO NO_COMMON_SECURITY
}

names! { TGPP_NAMES, tgpp:
    FIRST_REGISTRATION SUBSEQUENT_REGISTRATION UNREGISTERED_SERVICE SUCCESS_SERVER_NAME_NOT_STORED SERVER_SELECTION
    USER_DATA_NOT_AVAILABLE PRIOR_UPDATE_IN_PROGRESS USER_UNKNOWN IDENTITIES_DONT_MATCH IDENTITY_NOT_REGISTERED
    ROAMING_NOT_ALLOWED IDENTITY_ALREADY_REGISTERED AUTH_SCHEME_NOT_SUPPORTED IN_ASSIGNMENT_TYPE TOO_MUCH_DATA
    NOT_SUPPORTED_USER_DATA FEATURE_UNSUPPORTED USER_DATA_NOT_RECOGNIZED OPERATION_NOT_ALLOWED USER_DATA_CANNOT_BE_READ
    USER_DATA_CANNOT_BE_MODIFIED USER_DATA_CANNOT_BE_NOTIFIED TRANSPARENT_DATA_OUT_OF_SYNC SUBS_DATA_ABSENT
    NO_SUBSCRIPTION_TO_DATA DSAI_NOT_AVAILABLE IDENTITY_UNKNOWN NOT_AUTHORIZED TRANSACTION_IDENTIFIER_INVALID
}

/// A whole AVP as Failed-AVP quotes it. It may hold a key, so it is not printed.
#[derive(Clone, PartialEq, Eq)]
pub struct Quoted(pub Vec<u8>);

impl fmt::Debug for Quoted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} octets", self.0.len())
    }
}

/// Why a message cannot be taken. `octets`: the AVP at fault.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// Where the next message begins cannot be told: the connection ends.
    #[error("no Diameter message: {0}")]
    Unframed(&'static str),
    #[error("Diameter version {0}")]
    Version(u8),
    #[error("message length: {0}")]
    MessageLength(&'static str),
    #[error("header bits {0:#04x}")]
    HeaderBits(u8),
    #[error("length of AVP {code}")]
    AvpLength { code: u32, octets: Quoted },
    #[error("AVP {code} is not known and says that it must be")]
    AvpUnsupported { code: u32, octets: Quoted },
    #[error("value of {name}")]
    AvpValue { name: &'static str, octets: Quoted },
    #[error("{name} is missing")]
    Missing { name: &'static str, octets: Quoted },
    #[error("{name} more than once")]
    TooMany { name: &'static str, octets: Quoted },
    #[error("more AVPs, or deeper groups, than are taken")]
    TooLarge,
}

impl Fault {
    pub fn code(&self) -> ResultCode {
        match self {
            Fault::Unframed(_) | Fault::MessageLength(_) => base::INVALID_MESSAGE_LENGTH,
            Fault::Version(_) => base::UNSUPPORTED_VERSION,
            Fault::HeaderBits(_) => base::INVALID_HDR_BITS,
            Fault::AvpLength { .. } => base::INVALID_AVP_LENGTH,
            Fault::AvpUnsupported { .. } => base::AVP_UNSUPPORTED,
            Fault::AvpValue { .. } => base::INVALID_AVP_VALUE,
            Fault::Missing { .. } => base::MISSING_AVP,
            Fault::TooMany { .. } => base::AVP_OCCURS_TOO_MANY_TIMES,
            Fault::TooLarge => base::UNABLE_TO_COMPLY,
        }
    }

    /// The whole AVP that goes into Failed-AVP.
    pub fn failed_avp(&self) -> Option<&[u8]> {
        match self {
            Fault::AvpLength { octets, .. }
            | Fault::AvpUnsupported { octets, .. }
            | Fault::AvpValue { octets, .. }
            | Fault::Missing { octets, .. }
            | Fault::TooMany { octets, .. } => Some(&octets.0),
            _ => None,
        }
    }
}
