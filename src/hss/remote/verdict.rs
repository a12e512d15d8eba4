//! What an HSS's answers, and the lack of one, mean (TS 29.229 §6.2, RFC 6733 §7.1).

use crate::diameter::exchange::Failure;
use crate::diameter::fault::{Fault, ResultCode, base, tgpp};
use crate::diameter::message::Message;
use crate::hss::HssError;

impl From<Failure> for HssError {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Busy => HssError::Busy,
            Failure::TooLong | Failure::Garbled => HssError::Garbled(failure.to_string()),
            Failure::NoPeer | Failure::Timeout | Failure::Lost | Failure::Stopped => {
                HssError::Unavailable(failure.to_string())
            }
        }
    }
}

impl From<Fault> for HssError {
    fn from(fault: Fault) -> Self {
        HssError::Garbled(fault.to_string())
    }
}

/// Whether nobody answered, which says nothing of the user.
pub(super) fn is_away(failure: Failure) -> bool {
    matches!(failure, Failure::NoPeer | Failure::Timeout | Failure::Lost)
}

/// The result of a success, else the error that it stands for.
pub(super) fn of(answer: &Message<'_>) -> Result<ResultCode, HssError> {
    let code = answer.result()?;
    if code.is_success() { Ok(code) } else { Err(error_of(code)) }
}

/// What a refusal means.
pub(in crate::hss) fn error_of(code: ResultCode) -> HssError {
    match code {
        tgpp::USER_UNKNOWN => HssError::UserUnknown,
        tgpp::IDENTITIES_DONT_MATCH => HssError::IdentitiesDontMatch,
        tgpp::IDENTITY_NOT_REGISTERED => HssError::NotRegistered,
        tgpp::ROAMING_NOT_ALLOWED => HssError::RoamingNotAllowed,
        tgpp::IDENTITY_ALREADY_REGISTERED => HssError::AlreadyRegistered,
        tgpp::AUTH_SCHEME_NOT_SUPPORTED => HssError::SchemeNotSupported,
        base::AUTHORIZATION_REJECTED => HssError::NotAuthorized,
        base::TOO_BUSY => HssError::Busy,
        // Agents on the way, or the HSS's own trouble: it may go better later (RFC 6733 §7.1.3, §7.1.4).
        base::UNABLE_TO_DELIVER
        | base::REALM_NOT_SERVED
        | base::UNABLE_TO_COMPLY
        | ResultCode::Base(4000..5000)
        | ResultCode::Experimental { code: 4000..=4999, .. } => HssError::Unavailable(code.to_string()),
        code => HssError::Refused(code.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diameter::Writer;
    use crate::diameter::message::Header;

    #[test]
    fn the_same_number_means_different_things_in_the_two_results() {
        let of = |code: ResultCode| {
            let header = Header { flags: 0, command: 303, application: 0, hop_by_hop: 0, end_to_end: 0 };
            let mut writer = Writer::new(header);
            writer.result(code);
            let octets = writer.finish().unwrap();
            super::of(&Message::parse(&octets).unwrap())
        };
        assert_eq!(of(base::SUCCESS), Ok(base::SUCCESS));
        assert_eq!(of(tgpp::SUCCESS_SERVER_NAME_NOT_STORED), Ok(tgpp::SUCCESS_SERVER_NAME_NOT_STORED));
        assert_eq!(of(tgpp::USER_UNKNOWN), Err(HssError::UserUnknown));
        assert_eq!(of(base::AVP_UNSUPPORTED), Err(HssError::Refused("5001 AVP_UNSUPPORTED".into())));
        assert_eq!(of(tgpp::ROAMING_NOT_ALLOWED), Err(HssError::RoamingNotAllowed));
        assert_eq!(of(base::INVALID_AVP_VALUE), Err(HssError::Refused("5004 INVALID_AVP_VALUE".into())));
        assert!(matches!(of(base::UNABLE_TO_COMPLY), Err(HssError::Unavailable(_))));
        assert!(matches!(of(tgpp::PRIOR_UPDATE_IN_PROGRESS), Err(HssError::Unavailable(_))), "a transient failure");
        assert_eq!(of(base::TOO_BUSY), Err(HssError::Busy));
        let other = ResultCode::Experimental { vendor: 9, code: 5001 };
        assert_eq!(of(other), Err(HssError::Refused("5001 of vendor 9".into())));
    }
}
