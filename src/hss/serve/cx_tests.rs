//! Cx as I-CSCFs and S-CSCFs see it.

use super::testbed::{Bed, IMPI, IMPU, K, OPC, settings};
use super::*;
use crate::aka::{Algorithm, KeySet, Sqn, resync};
use crate::auth::digest::Password;
use crate::diameter::cx::{
    Authorization, Given, Lia, Lir, Maa, Mar, Ppr, Reason, Rtr, Saa, Sar, Scheme, ServerAssignment as Kind, Uaa, Uar,
};
use crate::hss::embedded::field::Fields;
use crate::hss::profile::ImsSubscription;
use crate::hss::{Assignment, Hss, RegState};
use crate::identity::{Impi, Impu};
use std::sync::atomic::Ordering;

const UAR: (u32, u32) = (application::CX, command::USER_AUTHORIZATION);
const LIR: (u32, u32) = (application::CX, command::LOCATION_INFO);
const MAR: (u32, u32) = (application::CX, command::MULTIMEDIA_AUTH);
const SAR: (u32, u32) = (application::CX, command::SERVER_ASSIGNMENT);
const A: &str = "sip:a.home1.net";
const B: &str = "sip:b.home1.net";

type Told = (ResultCode, Option<String>, Vec<u32>);

fn uar(bed: &Bed, impi: &str, impu: &str, network: &str, kind: Authorization) -> Told {
    let uar = Uar { impi, impu, visited_network: network.as_bytes(), kind, emergency: false };
    bed.ask(
        "icscf",
        UAR,
        |to| uar.write(to),
        |answer| {
            let uaa = Uaa::read(answer.avps()).unwrap();
            let mandatory = uaa.capabilities.map(|capabilities| capabilities.mandatory).unwrap_or_default();
            (answer.result().unwrap(), uaa.server.map(str::to_owned), mandatory)
        },
    )
}

fn register(bed: &Bed, kind: Authorization) -> Told {
    uar(bed, IMPI, IMPU, "home1.net", kind)
}

fn lir(bed: &Bed, impu: &str, originating: bool) -> Told {
    let lir = Lir { impu, originating, kind: None };
    bed.ask(
        "icscf",
        LIR,
        |to| lir.write(to),
        |answer| {
            let lia = Lia::read(answer.avps()).unwrap();
            let mandatory = lia.capabilities.map(|capabilities| capabilities.mandatory).unwrap_or_default();
            (answer.result().unwrap(), lia.server.map(str::to_owned), mandatory)
        },
    )
}

fn mar<T>(bed: &Bed, mar: &Mar<'_>, read: impl FnOnce(Maa<'_>) -> T) -> Result<T, ResultCode> {
    bed.ask(
        "a",
        MAR,
        |to| mar.write(to),
        |answer| match answer.result().unwrap() {
            base::SUCCESS => Ok(read(Maa::read(answer.avps()).unwrap())),
            code => Err(code),
        },
    )
}

fn aka(server: &str) -> Mar<'_> {
    Mar { impi: IMPI, impu: IMPU, items: 1, scheme: Scheme::Aka, resync: None, server }
}

fn assignment(server: &str, kind: Kind) -> Sar<'_> {
    Sar {
        impi: Some(IMPI),
        impus: vec![IMPU],
        wildcard: None,
        server,
        kind,
        has_profile: false,
        restoration: None,
        multiple: false,
    }
}

fn sar_of<T>(bed: &Bed, sar: &Sar<'_>, read: impl FnOnce(Saa<'_>) -> T) -> (ResultCode, T) {
    let host = sar.server.strip_prefix("sip:").unwrap();
    bed.ask(host, SAR, |to| sar.write(to), |answer| (answer.result().unwrap(), read(Saa::read(answer.avps()).unwrap())))
}

fn sar(bed: &Bed, server: &str, kind: Kind) -> ResultCode {
    sar_of(bed, &assignment(server, kind), |_| ()).0
}

fn state(bed: &Bed) -> RegState {
    bed.hss.registration(&Impi::from(IMPI)).unwrap().ims
}

#[test]
fn a_user_registers_goes_on_and_ends() {
    let bed = Bed::new();
    let (code, server, capabilities) = register(&bed, Authorization::Registration);
    assert_eq!((code, server, capabilities), (tgpp::FIRST_REGISTRATION, None, vec![1]));
    assert_eq!(register(&bed, Authorization::Deregistration).0, tgpp::IDENTITY_NOT_REGISTERED);
    assert_eq!(lir(&bed, IMPU, false).0, tgpp::IDENTITY_NOT_REGISTERED);
    mar(&bed, &aka(A), |_| ()).unwrap();
    assert_eq!(register(&bed, Authorization::Registration).1.as_deref(), Some(A), "while he is authenticated");
    assert_eq!(register(&bed, Authorization::Deregistration).0, tgpp::IDENTITY_NOT_REGISTERED);
    assert_eq!(lir(&bed, IMPU, false).0, tgpp::IDENTITY_NOT_REGISTERED, "he is not there yet");
    assert_eq!(lir(&bed, IMPU, true).1.as_deref(), Some(A));
    assert_eq!(sar(&bed, A, Kind::Registration), base::SUCCESS);
    assert_eq!(state(&bed), RegState::Registered);
    let (code, server, capabilities) = register(&bed, Authorization::Registration);
    assert_eq!((code, server.as_deref(), capabilities), (tgpp::SUBSEQUENT_REGISTRATION, Some(A), vec![]));
    assert_eq!(lir(&bed, "SIP:u@HOME1.net:5060", false), (base::SUCCESS, Some(A.into()), vec![]));
    assert_eq!(register(&bed, Authorization::Deregistration), (base::SUCCESS, Some(A.into()), vec![]));
    assert_eq!(sar(&bed, A, Kind::UserDeregistration), base::SUCCESS);
    assert_eq!(
        (state(&bed), register(&bed, Authorization::Registration).0),
        (RegState::NotRegistered, tgpp::FIRST_REGISTRATION)
    );
}

#[test]
fn strangers_and_those_who_roam_too_far_are_refused() {
    let bed = Bed::new();
    let code = |impi, impu, network| uar(&bed, impi, impu, network, Authorization::Registration).0;
    assert_eq!(code("x@home1.net", IMPU, "home1.net"), tgpp::USER_UNKNOWN);
    assert_eq!(code(IMPI, "sip:x@home1.net", "home1.net"), tgpp::USER_UNKNOWN);
    assert_eq!(code(IMPI, "sip:v@home1.net", "home1.net"), tgpp::IDENTITIES_DONT_MATCH);
    assert_eq!(code(IMPI, IMPU, "elsewhere.net"), tgpp::ROAMING_NOT_ALLOWED);
    assert_eq!(code(IMPI, IMPU, "\"Visited.net\""), tgpp::FIRST_REGISTRATION);
    assert_eq!(
        code("v@home1.net", "sip:v@home1.net", "elsewhere.net"),
        tgpp::FIRST_REGISTRATION,
        "his profile says nothing"
    );
    assert_eq!(lir(&bed, "sip:x@home1.net", false).0, tgpp::USER_UNKNOWN);
    let stranger = Mar { impi: "x@home1.net", ..aka(A) };
    assert_eq!(mar(&bed, &stranger, |_| ()), Err(tgpp::USER_UNKNOWN));
    let other = Sar { impus: vec![IMPU, "sip:v@home1.net"], ..assignment(A, Kind::UserDeregistration) };
    assert_eq!(sar_of(&bed, &other, |_| ()).0, tgpp::IDENTITIES_DONT_MATCH);
}

#[test]
fn an_emergency_registration_may_come_from_anywhere() {
    let bed = Bed::new();
    let uar = Uar {
        impi: IMPI,
        impu: IMPU,
        visited_network: b"elsewhere.net",
        kind: Authorization::Registration,
        emergency: true,
    };
    let code = bed.ask("icscf", UAR, |to| uar.write(to), |answer| answer.result().unwrap());
    assert_eq!(code, tgpp::FIRST_REGISTRATION);
}

#[test]
fn several_public_identities_or_none_only_end_a_registration() {
    let bed = Bed::new();
    let both = vec![IMPU, "tel:+12015550123"];
    let code = |kind, impi, impus: &[&str]| {
        let sar = Sar { impi, impus: impus.to_vec(), ..assignment(A, kind) };
        bed.ask("a.home1.net", SAR, |to| sar.write(to), |answer| answer.result().unwrap())
    };
    for kind in [Kind::Registration, Kind::ReRegistration, Kind::UnregisteredUser, Kind::NoAssignment] {
        assert_eq!(code(kind, Some(IMPI), &both), base::AVP_OCCURS_TOO_MANY_TIMES);
        assert_eq!(code(kind, Some(IMPI), &[]), base::MISSING_AVP);
    }
    for kind in [Kind::Registration, Kind::ReRegistration] {
        assert_eq!(code(kind, None, &[IMPU]), base::MISSING_AVP, "whose contact it is");
    }
    assert_eq!(state(&bed), RegState::NotRegistered);
    for (kind, impus) in [(Kind::UserDeregistration, &both[..]), (Kind::AdministrativeDeregistration, &[])] {
        assert_eq!(code(Kind::Registration, Some(IMPI), &[IMPU]), base::SUCCESS);
        assert_eq!((code(kind, Some(IMPI), impus), state(&bed)), (base::SUCCESS, RegState::NotRegistered));
    }
}

#[test]
fn who_is_not_registered_is_served_where_his_profile_says_so() {
    let bed = Bed::new();
    assert_eq!(lir(&bed, "sip:v@home1.net", false).0, tgpp::UNREGISTERED_SERVICE);
    assert_eq!(lir(&bed, IMPU, true), (tgpp::UNREGISTERED_SERVICE, None, vec![1]));
    let unregistered = Sar { impi: None, ..assignment(A, Kind::UnregisteredUser) };
    let (code, profile) = sar_of(&bed, &unregistered, |saa| ImsSubscription::parse(saa.user_data.unwrap()).unwrap());
    assert_eq!((code, profile.impi.as_str()), (base::SUCCESS, IMPI));
    assert_eq!((state(&bed), lir(&bed, IMPU, false).1.as_deref()), (RegState::NotRegistered, Some(A)));
}

#[test]
fn vectors_come_in_the_number_asked_for_and_count_up() {
    let bed = Bed::new();
    let keys = KeySet::from_opc(Algorithm::Milenage, &hex(K), &hex(OPC)).unwrap();
    let sqns = |number: u32| {
        mar(&bed, &Mar { items: number, ..aka(A) }, |maa| {
            assert_eq!((maa.impi, maa.impu), (Some(IMPI), Some(IMPU)));
            let sqn = |item: &crate::diameter::cx::AuthItem<'_>| match &item.given {
                Given::Aka(vector) => vector.autn.sqn(&keys.f2345(&vector.rand).ak),
                other => panic!("{other:?}"),
            };
            maa.items.iter().map(sqn).collect::<Vec<Sqn>>()
        })
        .unwrap()
    };
    let (three, many) = (sqns(3), sqns(100));
    assert_eq!((three.len(), many.len()), (3, 5));
    let all = [three, many].concat();
    assert!(all.windows(2).all(|two| two[0] < two[1]), "{all:?}");
    // The card has seen more than the HSS knows of.
    let vector = mar(&bed, &aka(A), first).unwrap();
    let far = Sqn::from_parts(all.last().unwrap().seq() + 5_000_000, 3).unwrap();
    let auts = resync::make_auts(&keys, &vector.rand, far);
    let again = mar(&bed, &Mar { resync: Some((vector.rand, auts)), ..aka(A) }, first).unwrap();
    assert!(again.autn.sqn(&keys.f2345(&again.rand).ak) > far);
    let forged = crate::aka::vector::Auts([0; 14]);
    let forged = Mar { resync: Some((again.rand, forged)), ..aka(A) };
    assert_eq!(mar(&bed, &forged, |_| ()), Err(base::UNABLE_TO_COMPLY));
}

#[test]
fn a_card_may_be_ahead_of_the_first_of_all_vectors_that_an_scscf_keeps() {
    let bed = Bed::new();
    let keys = KeySet::from_opc(Algorithm::Milenage, &hex(K), &hex(OPC)).unwrap();
    let sqn = |vector: &crate::aka::AkaVector| vector.autn.sqn(&keys.f2345(&vector.rand).ak);
    let oldest = mar(&bed, &Mar { items: 5, ..aka(A) }, first).unwrap();
    // Another S-CSCF, or a BSF, has asked meanwhile.
    mar(&bed, &Mar { items: 5, ..aka(B) }, first).unwrap();
    let far = Sqn::from_parts(sqn(&oldest).seq() + 5_000_000, 3).unwrap();
    let auts = resync::make_auts(&keys, &oldest.rand, far);
    let resync = Mar { items: 5, resync: Some((oldest.rand, auts)), ..aka(A) };
    assert!(sqn(&mar(&bed, &resync, first).unwrap()) > far);
    assert_eq!(mar(&bed, &resync, |_| ()), Err(base::UNABLE_TO_COMPLY), "an AUTS counts once");
}

fn first(maa: Maa<'_>) -> crate::aka::AkaVector {
    match &maa.items[0].given {
        Given::Aka(vector) => vector.clone(),
        other => panic!("{other:?}"),
    }
}

fn hex(text: &str) -> Vec<u8> {
    (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap()).collect()
}

#[test]
fn the_scheme_is_the_subscribers() {
    let bed = Bed::new();
    let digest = Mar { impi: "d@home1.net", impu: "sip:d@home1.net", items: 3, scheme: Scheme::Unknown, ..aka(A) };
    let ha1 = |maa: Maa<'_>| match &maa.items[..] {
        [crate::diameter::cx::AuthItem { given: Given::Digest(digest), .. }] => {
            (digest.realm.to_owned(), digest.ha1.to_string())
        }
        other => panic!("{other:?}"),
    };
    let expected = crate::auth::digest::ha1("d@home1.net", "home1.net", &Password::new("secret"));
    assert_eq!(mar(&bed, &digest, ha1), Ok(("home1.net".to_owned(), expected.to_string())));
    assert_eq!(mar(&bed, &Mar { scheme: Scheme::SipDigest, ..digest.clone() }, ha1).unwrap().0, "home1.net");
    for (impi, impu, scheme) in [
        ("d@home1.net", "sip:d@home1.net", Scheme::Aka),
        (IMPI, IMPU, Scheme::SipDigest),
        (IMPI, IMPU, Scheme::Other("NASS-Bundled")),
    ] {
        let refused = mar(&bed, &Mar { impi, impu, scheme, ..aka(A) }, |_| ());
        assert_eq!(refused, Err(tgpp::AUTH_SCHEME_NOT_SUPPORTED));
    }
    assert!(mar(&bed, &Mar { scheme: Scheme::Unknown, ..aka(A) }, first).is_ok());
}

#[test]
fn the_profile_has_identities_criteria_and_charging() {
    let bed = Bed::new();
    let read = |saa: Saa<'_>| {
        let charging = saa.charging.unwrap();
        assert_eq!(charging.event, Some("aaa://ecf.home1.net"));
        assert_eq!(charging.collection, Some("aaa://ccf.home1.net"));
        ImsSubscription::parse(saa.user_data.unwrap()).unwrap()
    };
    let (_, profile) = sar_of(&bed, &assignment(A, Kind::Registration), read);
    let identities: Vec<_> = profile.profiles[0].identities.iter().map(|one| one.identity.as_str()).collect();
    assert_eq!(identities, [IMPU, "tel:+12015550123"]);
    let criterion = &profile.profiles[0].criteria[0];
    assert_eq!((&*criterion.server.name, criterion.server.include_request), ("sip:bsm.home1.net", true));
    let held = Sar { has_profile: true, ..assignment(A, Kind::ReRegistration) };
    assert_eq!(sar_of(&bed, &held, |saa| saa.user_data.is_some()), (base::SUCCESS, false));
    assert_eq!(sar_of(&bed, &assignment(A, Kind::NoAssignment), |saa| saa.user_data.is_some()), (base::SUCCESS, true));
    assert_eq!(sar(&bed, B, Kind::NoAssignment), base::UNABLE_TO_COMPLY);
}

#[test]
fn another_scscf_may_take_over_only_where_the_first_does_not_answer() {
    let bed = Bed::new();
    let kept = Sar { restoration: Some(&RESTORATION), ..assignment(A, Kind::Registration) };
    assert_eq!(sar_of(&bed, &kept, |saa| saa.restoration.is_empty()), (base::SUCCESS, true));
    assert_eq!(sar(&bed, B, Kind::Registration), tgpp::IDENTITY_ALREADY_REGISTERED);
    let (code, server, capabilities) = register(&bed, Authorization::RegistrationAndCapabilities);
    assert_eq!((code, server, capabilities), (base::SUCCESS, None, vec![1]));
    let (code, restoration) = sar_of(&bed, &assignment(B, Kind::Registration), |saa| saa.restoration.concat());
    assert_eq!((code, &restoration[..]), (base::SUCCESS, &RESTORATION[..]));
    let (to, octets) = bed.sent();
    let rtr = Rtr::read(Message::parse(&octets).unwrap().avps()).unwrap();
    assert_eq!((to.host.as_deref(), rtr.impi, rtr.reason), (Some("a.home1.net"), IMPI, Reason::NewServerAssigned));
    assert_eq!(register(&bed, Authorization::Registration).1.as_deref(), Some(B));
}

/// User-Name as an AVP, as SCSCF-Restoration-Info has it first.
const RESTORATION: [u8; 12] = [0, 0, 0, 1, 0x40, 0, 0, 11, b'u', b'@', b'h', 0];

#[test]
fn this_nodes_own_scscf_takes_over_and_keeps() {
    let bed = Bed::new();
    assert_eq!(sar(&bed, A, Kind::Registration), base::SUCCESS);
    let (impi, impu) = (Impi::from(IMPI), Impu::from(IMPU));
    let assign = |kind| bed.hss.server_assignment(&impi, &impu, kind, bed.clock.now()).wait().unwrap();
    assign(Assignment::TimeoutDeregistration);
    assert_eq!(state(&bed), RegState::Registered, "it is not the one who has him");
    assign(Assignment::Registration);
    let (to, octets) = bed.sent();
    let rtr = Rtr::read(Message::parse(&octets).unwrap().avps()).unwrap();
    assert_eq!((to.host.as_deref(), rtr.reason), (Some("a.home1.net"), Reason::NewServerAssigned));
    assert_eq!(register(&bed, Authorization::Registration).1.as_deref(), Some("sip:scscf.home1.net"));
    assert_eq!(sar(&bed, A, Kind::Registration), tgpp::IDENTITY_ALREADY_REGISTERED);
}

#[test]
fn an_operators_changes_are_told_to_who_serves() {
    let bed = Bed::new();
    sar(&bed, A, Kind::Registration);
    let fields = Fields { impi: IMPI, impu: IMPU, algorithm: "milenage", k: K, opc: OPC, ..Fields::default() };
    let subscribers = bed.hss.subscribers();
    let replaced = subscribers.provision(&[fields.subscriber().unwrap()], bed.clock.now(), true, &mut |_| {}).unwrap();
    assert!(replaced.is_empty());
    // The directory takes it up as it does a change of another process.
    bed.hss.fetch(&Impi::from(IMPI));
    let (to, octets) = bed.sent();
    let ppr = Ppr::read(Message::parse(&octets).unwrap().avps()).unwrap();
    let profile = ImsSubscription::parse(ppr.user_data.unwrap()).unwrap();
    assert_eq!((to.host.as_deref(), ppr.impi), (Some("a.home1.net"), IMPI));
    assert_eq!((profile.profiles[0].identities.len(), profile.profiles[0].criteria.len()), (1, 0));
    assert!(subscribers.remove(&Impi::from(IMPI), bed.clock.now()).unwrap());
    // The S-CSCF is away for a moment.
    bed.away.store(true, Ordering::SeqCst);
    bed.hss.fetch(&Impi::from(IMPI));
    bed.sent();
    bed.away.store(false, Ordering::SeqCst);
    let (to, octets) = bed.sent_again();
    let rtr = Rtr::read(Message::parse(&octets).unwrap().avps()).unwrap();
    assert_eq!((to.host.as_deref(), rtr.reason), (Some("a.home1.net"), Reason::PermanentTermination));
    assert!(bed.nothing_sent());
}

#[test]
fn required_features_are_here_or_refused() {
    let bed = Bed::new();
    let with = |bits, required| {
        let features = crate::diameter::cx::Features { required, ..crate::diameter::cx::Features::offered(bits) };
        let uar = Uar {
            impi: IMPI,
            impu: IMPU,
            visited_network: b"home1.net",
            kind: Authorization::Registration,
            emergency: false,
        };
        let write = |to: &mut Writer| {
            uar.write(to);
            features.write(to);
        };
        bed.ask("icscf", UAR, write, |answer| {
            (answer.result().unwrap(), crate::diameter::cx::Features::of(answer).unwrap().len())
        })
    };
    assert_eq!(with(crate::diameter::cx::Features::SHARED_IFC, true), (tgpp::FEATURE_UNSUPPORTED, 0));
    assert_eq!(with(crate::diameter::cx::Features::RESTORATION, true), (tgpp::FIRST_REGISTRATION, 1));
    assert_eq!(with(0xff, false), (tgpp::FIRST_REGISTRATION, 1));
}

#[test]
fn what_is_missing_or_not_known_is_said() {
    let bed = Bed::new();
    let missing = bed.ask("a", SAR, |_| {}, |answer| answer.result().unwrap());
    assert_eq!(missing, base::MISSING_AVP);
    let unknown = bed.ask("a", (application::CX, 399), |_| {}, |answer| answer.result().unwrap());
    assert_eq!(unknown, base::COMMAND_UNSUPPORTED);
    let clients = Clients { cscfs: vec!["A".into(), "icscf".into()], bsfs: vec!["bsf".into()], ..Clients::default() };
    let bed = Bed::with(Settings { clients, ..settings() });
    let result = |host, to| bed.ask(host, to, |_| {}, |answer| answer.result().unwrap());
    assert_eq!((result("a", SAR), result("b", SAR)), (base::MISSING_AVP, base::AUTHORIZATION_REJECTED));
    let bootstrap = (application::ZH, command::MULTIMEDIA_AUTH);
    assert_eq!((result("bsf", bootstrap), result("a", bootstrap)), (base::MISSING_AVP, base::AUTHORIZATION_REJECTED));
    let clients = Clients { nafs: vec!["bsm".into()], ..Clients::default() };
    let bed = Bed::with(Settings { clients, ..settings() });
    let result = |host| bed.ask(host, SAR, |_| {}, |answer| answer.result().unwrap());
    assert_eq!((result("a"), result("bsm")), (base::MISSING_AVP, base::AUTHORIZATION_REJECTED));
}
