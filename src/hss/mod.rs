//! The HSS as its clients see it (rank 1): the S-CSCF's Cx questions and the broadcast
//! side's Sh/Zh ones, by their 3GPP names, behind one trait that may answer later.
//!
//! [`embedded`] is the node's own subscriber store and AuC, which [`serve`] shows to foreign nodes over Diameter; [`remote`] is a
//! foreign HSS.

pub mod embedded;
pub mod profile;
pub mod remote;
pub mod repository;
pub mod serve;

pub use profile::{BroadcastSubscription, Profile, RegState};

use crate::aka::vector::{AkaVector, Auts, Rand};
use crate::answer::Answer;
use crate::clock::Now;
use crate::diameter::cx::{self, Authorization};
use crate::gba::guss::Guss;
use crate::identity::{Impi, Impu, Impus};

/// SIP-Authentication-Scheme asked for in a MAR (TS 29.229 §6.3.9).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AuthScheme {
    DigestAka,
    SipDigest,
    /// Whatever the subscriber's record says.
    Unknown,
}

/// What a MAA carries.
#[derive(Debug, Clone)]
pub enum AuthItem {
    Aka(AkaVector),
    /// Password of a non-AKA subscriber.
    Digest {
        password: crate::auth::digest::Password,
    },
}

/// Server-Assignment-Type (TS 29.229 §6.3.15), those that this server sends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Assignment {
    Registration,
    ReRegistration,
    /// The profile is wanted for a user who is not registered.
    UnregisteredUser,
    UserDeregistration,
    TimeoutDeregistration,
    AdministrativeDeregistration,
    AuthenticationFailure,
    AuthenticationTimeout,
}

/// User-Authorization-Type (TS 29.229 §6.3.24): for what a user wants to be let in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Entry {
    Registration,
    Deregistration,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum HssError {
    /// DIAMETER_ERROR_USER_UNKNOWN
    #[error("user unknown")]
    UserUnknown,
    /// DIAMETER_ERROR_IDENTITIES_DONT_MATCH
    #[error("the public identity does not belong to the private one")]
    IdentitiesDontMatch,
    /// DIAMETER_ERROR_AUTH_SCHEME_NOT_SUPPORTED
    #[error("authentication scheme not supported for this subscriber")]
    SchemeNotSupported,
    /// DIAMETER_ERROR_ROAMING_NOT_ALLOWED
    #[error("the user may not register from the visited network")]
    RoamingNotAllowed,
    /// DIAMETER_AUTHORIZATION_REJECTED
    #[error("the user may not register")]
    NotAuthorized,
    /// DIAMETER_ERROR_IDENTITY_NOT_REGISTERED
    #[error("the public identity is not registered")]
    NotRegistered,
    /// DIAMETER_ERROR_IDENTITY_ALREADY_REGISTERED
    #[error("the public identity is registered with another private one")]
    AlreadyRegistered,
    /// The user needs an S-CSCF with capabilities that this one has not (TS 24.229 §5.3.1.3).
    #[error("this server lacks what the user's profile needs")]
    NoServer,
    /// It tells the subscription with the profile, which it has not given yet.
    #[error("the subscription is not known before the user is registered")]
    NotTold,
    /// Any other refusal, as it is called.
    #[error("the HSS refuses: {0}")]
    Refused(String),
    /// An answer that cannot be made sense of.
    #[error("the HSS's answer cannot be read: {0}")]
    Garbled(String),
    /// DIAMETER_TOO_BUSY, or too many questions are waiting already.
    #[error("the HSS is too busy")]
    Busy,
    /// MAC-S of a resynchronisation is wrong, or the RAND was not ours.
    #[error("resynchronisation refused")]
    ResyncRefused,
    /// SQN range used up, throttled, or the high-water mark cannot be written.
    #[error("no vector can be issued now: {0}")]
    NoVector(&'static str),
    #[error("the HSS does not answer: {0}")]
    Unavailable(String),
}

/// A broadcast registration state as reported to the HSS (Sh PUR).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BroadcastState {
    pub state: RegState,
    /// Name of the broadcast server in the configuration, or its FQDN.
    pub server: String,
    pub naf_fqdn: String,
    pub btid: Option<String>,
}

/// What a UDA tells of a user (TS 29.328 §6.1.1), as far as others than the S-CSCF may know it: no keys.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UserData {
    pub impi: Impi,
    /// The implicit registration set, default identity first.
    pub impus: Impus,
    pub broadcast: BroadcastSubscription,
    pub ims: RegState,
    /// When `ims` last changed, in seconds since 1970.
    pub ims_since: Option<u64>,
    /// The broadcast registration, and since when it is so; None: there never was one.
    pub registration: Option<(BroadcastState, u64)>,
}

/// Where a user is served (UAA and LIA): the S-CSCF assigned, or what one must be able to.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Located {
    /// SIP URI of the S-CSCF.
    pub server: Option<String>,
    pub capabilities: Capabilities,
}

impl Located {
    pub(crate) fn new(server: Option<String>, capabilities: Option<cx::Capabilities<'_>>) -> Self {
        let cx::Capabilities { mandatory, optional, servers } = capabilities.unwrap_or_default();
        let servers = servers.into_iter().map(str::to_owned).collect();
        Located { server, capabilities: Capabilities { mandatory, optional, servers } }
    }
}

/// Server-Capabilities (TS 29.229 §6.3.4); what the numbers mean is the operator's.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Capabilities {
    pub mandatory: Vec<u32>,
    pub optional: Vec<u32>,
    /// S-CSCFs to prefer, best first.
    pub servers: Vec<String>,
}

/// What an I-CSCF asks the HSS (TS 29.228 §6.1.1, §6.1.4).
pub trait Locate: Send + Sync {
    /// UAR/UAA: may this user register, or deregister, from there, and where?
    fn user_authorization<'a>(
        &'a self,
        impi: &'a Impi,
        impu: &'a Impu,
        visited_network: &'a str,
        kind: Authorization,
    ) -> Answer<'a, Result<Located, HssError>>;

    /// LIR/LIA: who serves this identity, for a request to it, or from it (`originating`)?
    fn location_info<'a>(&'a self, impu: &'a Impu, originating: bool) -> Answer<'a, Result<Located, HssError>>;
}

/// What the BSF gets for a bootstrapping (Zh MAA).
#[derive(Debug, Clone)]
pub struct Bootstrapping {
    pub vector: AkaVector,
    /// The user's public identities, default first.
    pub impus: Impus,
    pub broadcast: BroadcastSubscription,
    pub settings: Guss,
}

pub trait Hss: Send + Sync {
    /// Whether the last question was not answered: what is asked now may fail, or take its time to.
    fn is_away(&self) -> bool {
        false
    }

    /// UAR/UAA: whether the user may come in from this network, and to this server (TS 29.228 §6.1.1). An HSS that is
    /// asked for vectors by a collocated S-CSCF decides that there.
    fn authorize<'a>(
        &'a self,
        _impi: &'a Impi,
        _impu: &'a Impu,
        _visited_network: Option<&'a str>,
        _entry: Entry,
        _now: Now,
    ) -> Answer<'a, Result<(), HssError>> {
        Answer::now(Ok(()))
    }

    /// MAR/MAA: a fresh vector (or password). With `resync`, MAC-S is verified first and the SQN follows the card's.
    fn multimedia_auth<'a>(
        &'a self,
        impi: &'a Impi,
        impu: &'a Impu,
        scheme: AuthScheme,
        resync: Option<(Rand, Auts)>,
        now: Now,
    ) -> Answer<'a, Result<AuthItem, HssError>>;

    /// SAR/SAA: tells the registration state of the public identity (and its implicit set), answers with the profile.
    fn server_assignment<'a>(
        &'a self,
        impi: &'a Impi,
        impu: &'a Impu,
        kind: Assignment,
        now: Now,
    ) -> Answer<'a, Result<Profile, HssError>>;

    /// SAR UNREGISTERED_USER: takes up a user who is not registered, for a request to him (TS 24.229 §5.4.3.3). None: the HSS
    /// is not told of such.
    fn serve_unregistered<'a>(&'a self, _impu: &'a Impu, _now: Now) -> Answer<'a, Option<Result<(), HssError>>> {
        Answer::now(None)
    }

    /// Zh/Sh: what broadcast services this subscriber has (claims 3 and 10). `naf_fqdn`: for which NAF.
    fn broadcast_subscription<'a>(&'a self, impi: &'a Impi) -> Answer<'a, Result<BroadcastSubscription, HssError>>;

    /// Sh PUR: the broadcast registration state of a public identity (claims 7 and 14).
    fn broadcast_update<'a>(
        &'a self,
        impu: &'a Impu,
        state: BroadcastState,
        now: Now,
    ) -> Answer<'a, Result<(), HssError>>;

    /// Which private identity a public one belongs to, for a REGISTER without Authorization.
    fn private_identity<'a>(&'a self, impu: &'a Impu) -> Answer<'a, Result<Impi, HssError>>;

    /// Zh MAR/MAA (TS 29.109 §5.1): a vector for a bootstrapping, and what is set for this subscriber. Where the HSS has no
    /// settings of the kind, it is made of what it tells the others.
    fn bootstrapping<'a>(
        &'a self,
        impi: &'a Impi,
        resync: Option<(Rand, Auts)>,
        now: Now,
    ) -> Answer<'a, Result<Bootstrapping, HssError>> {
        Answer::later(async move {
            let UserData { impus, broadcast, .. } = self.user_data(impi.as_str()).await?;
            let impu = impus.first().ok_or(HssError::UserUnknown)?;
            match self.multimedia_auth(impi, impu, AuthScheme::DigestAka, resync, now).await? {
                AuthItem::Aka(vector) => Ok(Bootstrapping { vector, impus, broadcast, settings: Guss::default() }),
                AuthItem::Digest { .. } => Err(HssError::SchemeNotSupported),
            }
        })
    }

    /// Sh UDR: what is known of the user with this identity, private or public.
    fn user_data<'a>(&'a self, _identity: &'a str) -> Answer<'a, Result<UserData, HssError>> {
        Answer::now(Err(HssError::Unavailable("it gives no user data".to_owned())))
    }
}
