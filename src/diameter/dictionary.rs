//! The dictionary: applications, commands and AVPs with their numbers, types and flags (RFC 6733, TS 29.109, TS 29.229,
//! TS 29.329, numbers of TS 29.230). One table each; what reads or writes an AVP names it from here.

use super::avp::{Def, Kind};

/// Vendor-Id of 3GPP.
pub const TGPP: u32 = 10415;

/// Application-Ids.
pub mod application {
    pub const BASE: u32 = 0;
    /// TS 29.229
    pub const CX: u32 = 16_777_216;
    /// TS 29.329
    pub const SH: u32 = 16_777_217;
    /// TS 29.109 clause 5
    pub const ZN: u32 = 16_777_220;
    /// TS 29.109 clause 4
    pub const ZH: u32 = 16_777_221;
    /// What relays advertise (RFC 6733 §2.4).
    pub const RELAY: u32 = 0xffff_ffff;

    pub fn name(id: u32) -> Option<&'static str> {
        Some(match id {
            BASE => "base",
            CX => "Cx",
            SH => "Sh",
            ZN => "Zn",
            ZH => "Zh",
            RELAY => "relay",
            _ => return None,
        })
    }

    /// The application of this name, in any case.
    pub fn named(text: &str) -> Option<u32> {
        [CX, SH, ZN, ZH].into_iter().find(|id| name(*id).is_some_and(|name| name.eq_ignore_ascii_case(text)))
    }
}

/// Command codes; a command is known by its application and its code, 303 being two different things.
pub mod command {
    use super::application::{BASE, CX, SH, ZH, ZN};

    pub const CAPABILITIES_EXCHANGE: u32 = 257;
    pub const DEVICE_WATCHDOG: u32 = 280;
    pub const DISCONNECT_PEER: u32 = 282;
    pub const USER_AUTHORIZATION: u32 = 300;
    pub const SERVER_ASSIGNMENT: u32 = 301;
    pub const LOCATION_INFO: u32 = 302;
    pub const MULTIMEDIA_AUTH: u32 = 303;
    pub const REGISTRATION_TERMINATION: u32 = 304;
    pub const PUSH_PROFILE: u32 = 305;
    pub const USER_DATA: u32 = 306;
    pub const PROFILE_UPDATE: u32 = 307;
    pub const SUBSCRIBE_NOTIFICATIONS: u32 = 308;
    pub const PUSH_NOTIFICATION: u32 = 309;
    pub const BOOTSTRAPPING_INFO: u32 = 310;

    const ALL: [(u32, u32, &str, &str); 16] = [
        (BASE, CAPABILITIES_EXCHANGE, "Capabilities-Exchange", "CE"),
        (BASE, DEVICE_WATCHDOG, "Device-Watchdog", "DW"),
        (BASE, DISCONNECT_PEER, "Disconnect-Peer", "DP"),
        (CX, USER_AUTHORIZATION, "User-Authorization", "UA"),
        (CX, SERVER_ASSIGNMENT, "Server-Assignment", "SA"),
        (CX, LOCATION_INFO, "Location-Info", "LI"),
        (CX, MULTIMEDIA_AUTH, "Multimedia-Auth", "MA"),
        (CX, REGISTRATION_TERMINATION, "Registration-Termination", "RT"),
        (CX, PUSH_PROFILE, "Push-Profile", "PP"),
        (SH, USER_DATA, "User-Data", "UD"),
        (SH, PROFILE_UPDATE, "Profile-Update", "PU"),
        (SH, SUBSCRIBE_NOTIFICATIONS, "Subscribe-Notifications", "SN"),
        (SH, PUSH_NOTIFICATION, "Push-Notification", "PN"),
        (ZH, MULTIMEDIA_AUTH, "Multimedia-Auth", "MA"),
        (ZN, BOOTSTRAPPING_INFO, "Bootstrapping-Info", "BI"),
        (ZN, 312, "GBA-Push-Info", "GP"),
    ];

    /// Long name and the first two letters of the short one (`MA`: MAR and MAA).
    pub fn name(application: u32, code: u32) -> Option<(&'static str, &'static str)> {
        ALL.iter().find(|one| one.0 == application && one.1 == code).map(|one| (one.2, one.3))
    }
}

/// An AVP by its code and vendor.
pub fn find(code: u32, vendor: u32) -> Option<&'static Def> {
    match TABLE.binary_search_by_key(&(vendor, code), |def| (def.vendor, def.code)) {
        Ok(at) => TABLE.get(at).copied(),
        Err(_) => None,
    }
}

/// The name of an enumerated value.
pub fn value_name(def: &Def, value: i32) -> Option<&'static str> {
    ENUMERATIONS.iter().find(|(of, _)| **of == *def)?.1.iter().find(|one| one.0 == value).map(|one| one.1)
}

macro_rules! avps {
    ($($const:ident = $code:expr, $vendor:expr, $flag:ident, $kind:ident, $name:literal;)*) => {
        $(pub const $const: Def = Def { code: $code, vendor: $vendor, mandatory: avps!(@ $flag), kind: Kind::$kind, name: $name };)*

        /// In the order of vendor and code.
        pub static TABLE: &[&Def] = &[$(&$const),*];
    };
    (@ M) => { true };
    (@ O) => { false };
}

// Constant, code, vendor, M flag when sent, type, name.
avps! {
    // RFC 6733, RFC 7155, RFC 4740, RFC 4590
    USER_NAME = 1, 0, M, Utf8, "User-Name";
    FRAMED_IP_ADDRESS = 8, 0, M, OctetString, "Framed-IP-Address";
    CLASS = 25, 0, M, OctetString, "Class";
    SESSION_TIMEOUT = 27, 0, M, Unsigned32, "Session-Timeout";
    PROXY_STATE = 33, 0, M, OctetString, "Proxy-State";
    ACCT_SESSION_ID = 44, 0, M, OctetString, "Acct-Session-Id";
    ACCT_MULTI_SESSION_ID = 50, 0, M, Utf8, "Acct-Multi-Session-Id";
    EVENT_TIMESTAMP = 55, 0, M, Time, "Event-Timestamp";
    ACCT_INTERIM_INTERVAL = 85, 0, M, Unsigned32, "Acct-Interim-Interval";
    FRAMED_INTERFACE_ID = 96, 0, M, OctetString, "Framed-Interface-Id";
    FRAMED_IPV6_PREFIX = 97, 0, M, OctetString, "Framed-IPv6-Prefix";
    DIGEST_REALM = 104, 0, M, Utf8, "Digest-Realm";
    DIGEST_QOP = 110, 0, M, Utf8, "Digest-QoP";
    DIGEST_ALGORITHM = 111, 0, M, Utf8, "Digest-Algorithm";
    DIGEST_HA1 = 121, 0, M, Utf8, "Digest-HA1";
    HOST_IP_ADDRESS = 257, 0, M, Address, "Host-IP-Address";
    AUTH_APPLICATION_ID = 258, 0, M, Unsigned32, "Auth-Application-Id";
    ACCT_APPLICATION_ID = 259, 0, M, Unsigned32, "Acct-Application-Id";
    VENDOR_SPECIFIC_APPLICATION_ID = 260, 0, M, Grouped, "Vendor-Specific-Application-Id";
    REDIRECT_HOST_USAGE = 261, 0, M, Enumerated, "Redirect-Host-Usage";
    REDIRECT_MAX_CACHE_TIME = 262, 0, M, Unsigned32, "Redirect-Max-Cache-Time";
    SESSION_ID = 263, 0, M, Utf8, "Session-Id";
    ORIGIN_HOST = 264, 0, M, Identity, "Origin-Host";
    SUPPORTED_VENDOR_ID = 265, 0, M, Unsigned32, "Supported-Vendor-Id";
    VENDOR_ID = 266, 0, M, Unsigned32, "Vendor-Id";
    FIRMWARE_REVISION = 267, 0, O, Unsigned32, "Firmware-Revision";
    RESULT_CODE = 268, 0, M, Unsigned32, "Result-Code";
    PRODUCT_NAME = 269, 0, O, Utf8, "Product-Name";
    SESSION_BINDING = 270, 0, M, Unsigned32, "Session-Binding";
    SESSION_SERVER_FAILOVER = 271, 0, M, Enumerated, "Session-Server-Failover";
    MULTI_ROUND_TIME_OUT = 272, 0, M, Unsigned32, "Multi-Round-Time-Out";
    DISCONNECT_CAUSE = 273, 0, M, Enumerated, "Disconnect-Cause";
    AUTH_REQUEST_TYPE = 274, 0, M, Enumerated, "Auth-Request-Type";
    AUTH_GRACE_PERIOD = 276, 0, M, Unsigned32, "Auth-Grace-Period";
    AUTH_SESSION_STATE = 277, 0, M, Enumerated, "Auth-Session-State";
    ORIGIN_STATE_ID = 278, 0, M, Unsigned32, "Origin-State-Id";
    FAILED_AVP = 279, 0, M, Grouped, "Failed-AVP";
    PROXY_HOST = 280, 0, M, Identity, "Proxy-Host";
    ERROR_MESSAGE = 281, 0, O, Utf8, "Error-Message";
    ROUTE_RECORD = 282, 0, M, Identity, "Route-Record";
    DESTINATION_REALM = 283, 0, M, Identity, "Destination-Realm";
    PROXY_INFO = 284, 0, M, Grouped, "Proxy-Info";
    RE_AUTH_REQUEST_TYPE = 285, 0, M, Enumerated, "Re-Auth-Request-Type";
    ACCOUNTING_SUB_SESSION_ID = 287, 0, M, OctetString, "Accounting-Sub-Session-Id";
    AUTHORIZATION_LIFETIME = 291, 0, M, Unsigned32, "Authorization-Lifetime";
    REDIRECT_HOST = 292, 0, M, Uri, "Redirect-Host";
    DESTINATION_HOST = 293, 0, M, Identity, "Destination-Host";
    ERROR_REPORTING_HOST = 294, 0, O, Identity, "Error-Reporting-Host";
    TERMINATION_CAUSE = 295, 0, M, Enumerated, "Termination-Cause";
    ORIGIN_REALM = 296, 0, M, Identity, "Origin-Realm";
    EXPERIMENTAL_RESULT = 297, 0, M, Grouped, "Experimental-Result";
    EXPERIMENTAL_RESULT_CODE = 298, 0, M, Unsigned32, "Experimental-Result-Code";
    INBAND_SECURITY_ID = 299, 0, M, Unsigned32, "Inband-Security-Id";
    ACCOUNTING_RECORD_TYPE = 480, 0, M, Enumerated, "Accounting-Record-Type";
    ACCOUNTING_REALTIME_REQUIRED = 483, 0, M, Enumerated, "Accounting-Realtime-Required";
    ACCOUNTING_RECORD_NUMBER = 485, 0, M, Unsigned32, "Accounting-Record-Number";
    // Zh and Zn: TS 29.109 §6.3
    GBA_USERSECSETTINGS = 400, TGPP, M, OctetString, "GBA-UserSecSettings";
    TRANSACTION_IDENTIFIER = 401, TGPP, M, OctetString, "Transaction-Identifier";
    NAF_ID = 402, TGPP, M, OctetString, "NAF-Id";
    GAA_SERVICE_IDENTIFIER = 403, TGPP, M, OctetString, "GAA-Service-Identifier";
    KEY_EXPIRYTIME = 404, TGPP, M, Time, "Key-ExpiryTime";
    ME_KEY_MATERIAL = 405, TGPP, M, OctetString, "ME-Key-Material";
    UICC_KEY_MATERIAL = 406, TGPP, M, OctetString, "UICC-Key-Material";
    GBA_U_AWARENESS_INDICATOR = 407, TGPP, M, Enumerated, "GBA_U-Awareness-Indicator";
    BOOTSTRAPINFOCREATIONTIME = 408, TGPP, M, Time, "BootstrapInfoCreationTime";
    GUSS_TIMESTAMP = 409, TGPP, O, Time, "GUSS-Timestamp";
    GBA_TYPE = 410, TGPP, M, Enumerated, "GBA-Type";
    UE_ID = 411, TGPP, M, OctetString, "UE-Id";
    UE_ID_TYPE = 412, TGPP, M, Enumerated, "UE-Id-Type";
    UICC_APP_LABEL = 413, TGPP, M, OctetString, "UICC-App-Label";
    UICC_ME = 414, TGPP, M, Enumerated, "UICC-ME";
    REQUESTED_KEY_LIFETIME = 415, TGPP, M, Time, "Requested-Key-Lifetime";
    PRIVATE_IDENTITY_REQUEST = 416, TGPP, M, Enumerated, "Private-Identity-Request";
    GBA_PUSH_INFO = 417, TGPP, M, OctetString, "GBA-Push-Info";
    NAF_SA_IDENTIFIER = 418, TGPP, M, OctetString, "NAF-SA-Identifier";
    SECURITY_FEATURE_REQUEST = 419, TGPP, M, OctetString, "Security-Feature-Request";
    SECURITY_FEATURE_RESPONSE = 420, TGPP, M, OctetString, "Security-Feature-Response";
    // Cx: TS 29.229 §6.3
    VISITED_NETWORK_IDENTIFIER = 600, TGPP, M, OctetString, "Visited-Network-Identifier";
    PUBLIC_IDENTITY = 601, TGPP, M, Utf8, "Public-Identity";
    SERVER_NAME = 602, TGPP, M, Utf8, "Server-Name";
    SERVER_CAPABILITIES = 603, TGPP, M, Grouped, "Server-Capabilities";
    MANDATORY_CAPABILITY = 604, TGPP, M, Unsigned32, "Mandatory-Capability";
    OPTIONAL_CAPABILITY = 605, TGPP, M, Unsigned32, "Optional-Capability";
    USER_DATA = 606, TGPP, M, OctetString, "User-Data";
    SIP_NUMBER_AUTH_ITEMS = 607, TGPP, M, Unsigned32, "SIP-Number-Auth-Items";
    SIP_AUTHENTICATION_SCHEME = 608, TGPP, M, Utf8, "SIP-Authentication-Scheme";
    SIP_AUTHENTICATE = 609, TGPP, M, OctetString, "SIP-Authenticate";
    SIP_AUTHORIZATION = 610, TGPP, M, OctetString, "SIP-Authorization";
    SIP_AUTHENTICATION_CONTEXT = 611, TGPP, M, OctetString, "SIP-Authentication-Context";
    SIP_AUTH_DATA_ITEM = 612, TGPP, M, Grouped, "SIP-Auth-Data-Item";
    SIP_ITEM_NUMBER = 613, TGPP, M, Unsigned32, "SIP-Item-Number";
    SERVER_ASSIGNMENT_TYPE = 614, TGPP, M, Enumerated, "Server-Assignment-Type";
    DEREGISTRATION_REASON = 615, TGPP, M, Grouped, "Deregistration-Reason";
    REASON_CODE = 616, TGPP, M, Enumerated, "Reason-Code";
    REASON_INFO = 617, TGPP, M, Utf8, "Reason-Info";
    CHARGING_INFORMATION = 618, TGPP, M, Grouped, "Charging-Information";
    PRIMARY_EVENT_CHARGING_FUNCTION_NAME = 619, TGPP, M, Uri, "Primary-Event-Charging-Function-Name";
    SECONDARY_EVENT_CHARGING_FUNCTION_NAME = 620, TGPP, M, Uri, "Secondary-Event-Charging-Function-Name";
    PRIMARY_CHARGING_COLLECTION_FUNCTION_NAME = 621, TGPP, M, Uri, "Primary-Charging-Collection-Function-Name";
    SECONDARY_CHARGING_COLLECTION_FUNCTION_NAME = 622, TGPP, M, Uri, "Secondary-Charging-Collection-Function-Name";
    USER_AUTHORIZATION_TYPE = 623, TGPP, M, Enumerated, "User-Authorization-Type";
    USER_DATA_ALREADY_AVAILABLE = 624, TGPP, M, Enumerated, "User-Data-Already-Available";
    CONFIDENTIALITY_KEY = 625, TGPP, M, OctetString, "Confidentiality-Key";
    INTEGRITY_KEY = 626, TGPP, M, OctetString, "Integrity-Key";
    SUPPORTED_FEATURES = 628, TGPP, O, Grouped, "Supported-Features";
    FEATURE_LIST_ID = 629, TGPP, O, Unsigned32, "Feature-List-ID";
    FEATURE_LIST = 630, TGPP, O, Unsigned32, "Feature-List";
    SUPPORTED_APPLICATIONS = 631, TGPP, O, Grouped, "Supported-Applications";
    ASSOCIATED_IDENTITIES = 632, TGPP, O, Grouped, "Associated-Identities";
    ORIGINATING_REQUEST = 633, TGPP, M, Enumerated, "Originating-Request";
    WILDCARDED_PUBLIC_IDENTITY = 634, TGPP, O, Utf8, "Wildcarded-Public-Identity";
    SIP_DIGEST_AUTHENTICATE = 635, TGPP, O, Grouped, "SIP-Digest-Authenticate";
    WILDCARDED_IMPU = 636, TGPP, O, Utf8, "Wildcarded-IMPU";
    UAR_FLAGS = 637, TGPP, O, Unsigned32, "UAR-Flags";
    LOOSE_ROUTE_INDICATION = 638, TGPP, O, Enumerated, "Loose-Route-Indication";
    SCSCF_RESTORATION_INFO = 639, TGPP, O, Grouped, "SCSCF-Restoration-Info";
    PATH = 640, TGPP, O, OctetString, "Path";
    CONTACT = 641, TGPP, O, OctetString, "Contact";
    SUBSCRIPTION_INFO = 642, TGPP, O, Grouped, "Subscription-Info";
    CALL_ID_SIP_HEADER = 643, TGPP, O, OctetString, "Call-ID-SIP-Header";
    FROM_SIP_HEADER = 644, TGPP, O, OctetString, "From-SIP-Header";
    TO_SIP_HEADER = 645, TGPP, O, OctetString, "To-SIP-Header";
    RECORD_ROUTE = 646, TGPP, O, OctetString, "Record-Route";
    ASSOCIATED_REGISTERED_IDENTITIES = 647, TGPP, O, Grouped, "Associated-Registered-Identities";
    MULTIPLE_REGISTRATION_INDICATION = 648, TGPP, O, Enumerated, "Multiple-Registration-Indication";
    RESTORATION_INFO = 649, TGPP, O, Grouped, "Restoration-Info";
    SESSION_PRIORITY = 650, TGPP, O, Enumerated, "Session-Priority";
    IDENTITY_WITH_EMERGENCY_REGISTRATION = 651, TGPP, O, Grouped, "Identity-with-Emergency-Registration";
    PRIVILEDGED_SENDER_INDICATION = 652, TGPP, O, Enumerated, "Priviledged-Sender-Indication";
    LIA_FLAGS = 653, TGPP, O, Unsigned32, "LIA-Flags";
    INITIAL_CSEQ_SEQUENCE_NUMBER = 654, TGPP, O, Unsigned32, "Initial-CSeq-Sequence-Number";
    SAR_FLAGS = 655, TGPP, O, Unsigned32, "SAR-Flags";
    ALLOWED_WAF_WWSF_IDENTITIES = 656, TGPP, O, Grouped, "Allowed-WAF-WWSF-Identities";
    WEBRTC_AUTHENTICATION_FUNCTION_NAME = 657, TGPP, O, Utf8, "WebRTC-Authentication-Function-Name";
    WEBRTC_WEB_SERVER_FUNCTION_NAME = 658, TGPP, O, Utf8, "WebRTC-Web-Server-Function-Name";
    RTR_FLAGS = 659, TGPP, O, Unsigned32, "RTR-Flags";
    // Sh: TS 29.329 §6.3
    USER_IDENTITY = 700, TGPP, M, Grouped, "User-Identity";
    MSISDN = 701, TGPP, M, OctetString, "MSISDN";
    SH_USER_DATA = 702, TGPP, M, OctetString, "User-Data";
    DATA_REFERENCE = 703, TGPP, M, Enumerated, "Data-Reference";
    SERVICE_INDICATION = 704, TGPP, M, OctetString, "Service-Indication";
    SUBS_REQ_TYPE = 705, TGPP, M, Enumerated, "Subs-Req-Type";
    REQUESTED_DOMAIN = 706, TGPP, M, Enumerated, "Requested-Domain";
    CURRENT_LOCATION = 707, TGPP, M, Enumerated, "Current-Location";
    IDENTITY_SET = 708, TGPP, O, Enumerated, "Identity-Set";
    EXPIRY_TIME = 709, TGPP, O, Time, "Expiry-Time";
    SEND_DATA_INDICATION = 710, TGPP, O, Enumerated, "Send-Data-Indication";
    DSAI_TAG = 711, TGPP, M, OctetString, "DSAI-Tag";
    ONE_TIME_NOTIFICATION = 712, TGPP, O, Enumerated, "One-Time-Notification";
    REQUESTED_NODES = 713, TGPP, O, Unsigned32, "Requested-Nodes";
    SERVING_NODE_INDICATION = 714, TGPP, O, Enumerated, "Serving-Node-Indication";
    REPOSITORY_DATA_ID = 715, TGPP, O, Grouped, "Repository-Data-ID";
    SEQUENCE_NUMBER = 716, TGPP, O, Unsigned32, "Sequence-Number";
    PRE_PAGING_SUPPORTED = 717, TGPP, O, Enumerated, "Pre-paging-Supported";
    LOCAL_TIME_ZONE_INDICATION = 718, TGPP, O, Enumerated, "Local-Time-Zone-Indication";
    UDR_FLAGS = 719, TGPP, O, Unsigned32, "UDR-Flags";
    CALL_REFERENCE_INFO = 720, TGPP, O, Grouped, "Call-Reference-Info";
    CALL_REFERENCE_NUMBER = 721, TGPP, O, OctetString, "Call-Reference-Number";
    AS_NUMBER = 722, TGPP, O, OctetString, "AS-Number";
}

type Values = &'static [(i32, &'static str)];

static ENUMERATIONS: &[(&Def, Values)] = &[
    (&DISCONNECT_CAUSE, &[(0, "REBOOTING"), (1, "BUSY"), (2, "DO_NOT_WANT_TO_TALK_TO_YOU")]),
    (&AUTH_SESSION_STATE, &[(0, "STATE_MAINTAINED"), (1, "NO_STATE_MAINTAINED")]),
    (
        &SERVER_ASSIGNMENT_TYPE,
        &[
            (0, "NO_ASSIGNMENT"),
            (1, "REGISTRATION"),
            (2, "RE_REGISTRATION"),
            (3, "UNREGISTERED_USER"),
            (4, "TIMEOUT_DEREGISTRATION"),
            (5, "USER_DEREGISTRATION"),
            (6, "TIMEOUT_DEREGISTRATION_STORE_SERVER_NAME"),
            (7, "USER_DEREGISTRATION_STORE_SERVER_NAME"),
            (8, "ADMINISTRATIVE_DEREGISTRATION"),
            (9, "AUTHENTICATION_FAILURE"),
            (10, "AUTHENTICATION_TIMEOUT"),
            (11, "DEREGISTRATION_TOO_MUCH_DATA"),
            (12, "AAA_USER_DATA_REQUEST"),
            (13, "PGW_UPDATE"),
            (14, "RESTORATION"),
        ],
    ),
    (&USER_AUTHORIZATION_TYPE, &[(0, "REGISTRATION"), (1, "DE_REGISTRATION"), (2, "REGISTRATION_AND_CAPABILITIES")]),
    (&USER_DATA_ALREADY_AVAILABLE, &[(0, "USER_DATA_NOT_AVAILABLE"), (1, "USER_DATA_ALREADY_AVAILABLE")]),
    (
        &REASON_CODE,
        &[(0, "PERMANENT_TERMINATION"), (1, "NEW_SERVER_ASSIGNED"), (2, "SERVER_CHANGE"), (3, "REMOVE_S-CSCF")],
    ),
    (&ORIGINATING_REQUEST, &[(0, "ORIGINATING")]),
    (&LOOSE_ROUTE_INDICATION, &[(0, "LOOSE_ROUTE_NOT_REQUIRED"), (1, "LOOSE_ROUTE_REQUIRED")]),
    (&MULTIPLE_REGISTRATION_INDICATION, &[(0, "NOT_MULTIPLE_REGISTRATION"), (1, "MULTIPLE_REGISTRATION")]),
    (
        &DATA_REFERENCE,
        &[
            (0, "RepositoryData"),
            (10, "IMSPublicIdentity"),
            (11, "IMSUserState"),
            (12, "S-CSCFName"),
            (13, "InitialFilterCriteria"),
            (14, "LocationInformation"),
            (15, "UserState"),
            (16, "ChargingInformation"),
            (17, "MSISDN"),
            (18, "PSIActivation"),
            (19, "DSAI"),
            (21, "ServiceLevelTraceInfo"),
            (22, "IPAddressSecureBindingInformation"),
            (23, "ServicePriorityLevel"),
            (24, "SMSRegistrationInfo"),
            (25, "UEReachabilityForIP"),
            (26, "TADSinformation"),
            (27, "STN-SR"),
            (28, "UE-SRVCC-Capability"),
            (29, "ExtendedPriority"),
            (30, "CSRN"),
            (31, "ReferenceLocationInformation"),
            (32, "IMSI"),
            (33, "IMSPrivateUserIdentity"),
            (34, "IMEISV"),
        ],
    ),
    (&REQUESTED_DOMAIN, &[(0, "CS-Domain"), (1, "PS-Domain")]),
    (&CURRENT_LOCATION, &[(0, "DoNotNeedInitiateActiveLocationRetrieval"), (1, "InitiateActiveLocationRetrieval")]),
    (&SUBS_REQ_TYPE, &[(0, "Subscribe"), (1, "Unsubscribe")]),
    (&SEND_DATA_INDICATION, &[(0, "USER_DATA_NOT_REQUESTED"), (1, "USER_DATA_REQUESTED")]),
    (
        &IDENTITY_SET,
        &[(0, "ALL_IDENTITIES"), (1, "REGISTERED_IDENTITIES"), (2, "IMPLICIT_IDENTITIES"), (3, "ALIAS_IDENTITIES")],
    ),
    (&ONE_TIME_NOTIFICATION, &[(0, "ONE_TIME_NOTIFICATION_REQUESTED")]),
    (&GBA_U_AWARENESS_INDICATOR, &[(0, "NO"), (1, "YES")]),
    (&GBA_TYPE, &[(0, "3G_GBA"), (1, "2G_GBA")]),
    (&UE_ID_TYPE, &[(0, "PRIVATE_IDENTITY"), (1, "PUBLIC_IDENTITY")]),
    (&UICC_ME, &[(0, "GBA_ME"), (1, "GBA_U")]),
    (&PRIVATE_IDENTITY_REQUEST, &[(0, "REQUESTED"), (1, "NOT_REQUESTED")]),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_in_order_and_each_is_found() {
        assert!(TABLE.windows(2).all(|two| (two[0].vendor, two[0].code) < (two[1].vendor, two[1].code)));
        for def in TABLE {
            assert_eq!(find(def.code, def.vendor), Some(*def));
        }
        assert_eq!(find(606, 0), None, "the vendor counts");
        assert_eq!(find(606, TGPP).map(|def| def.name), Some("User-Data"));
    }

    #[test]
    fn values_and_commands_have_names() {
        assert_eq!(value_name(&SERVER_ASSIGNMENT_TYPE, 14), Some("RESTORATION"));
        assert_eq!(value_name(&DATA_REFERENCE, 20), None);
        assert_eq!(command::name(application::ZH, 303), Some(("Multimedia-Auth", "MA")));
        assert_eq!(command::name(application::ZN, 303), None);
        assert_eq!(application::named("zh"), Some(application::ZH));
    }
}
