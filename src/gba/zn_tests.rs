use super::*;
use crate::broadcast::testbed::{FakeHss, World, origin};
use crate::diameter::exchange::Reply;
use crate::diameter::{dictionary::*, request};
use crate::gba::bootstrap::{Bootstraps, Holder, Made};
use crate::gba::kdf::{Ks, ks_int_naf, ks_naf};
use crate::gba::naf_id::NafId;
use crate::hss::BroadcastSubscription;
use crate::identity::{Impi, Impu};
use std::time::Duration;

struct Bed {
    bsf: Arc<Bsf>,
    hss: Arc<FakeHss>,
    world: World,
    boot: Arc<Bootstrap>,
    naf: NafId,
}

fn other_setting() -> Uss {
    let uids = vec!["u@home1.net".into(), "u".into()];
    Uss { id: "2".into(), kind: 2, naf_group: Some("xcap".into()), uids, flags: vec![7], services: None }
}

fn bed(holder: Holder, naf: impl FnOnce(&mut Naf)) -> Bed {
    let (world, hss, all) = (World::default(), Arc::new(FakeHss::default()), Arc::new(Bootstraps::new(10)));
    *hss.subscription.lock().unwrap() = BroadcastSubscription::Services(["news".to_owned()].into());
    let rand = crate::aka::vector::Rand([9; 16]);
    let new = Bootstrap {
        impi: Impi::from("u@home1.net"),
        impus: [Impu::from("sip:u@home1.net")].into(),
        ks: Ks([3; 32]),
        btid: Btid::new(&rand, "bsf.home1.net"),
        expires: 0,
        created: Default::default(),
        made: Made::OverUb,
        holder,
        subscription: BroadcastSubscription::All,
        settings: [other_setting()].into(),
    };
    let boot = all.put(new, Duration::from_secs(3600), world.now()).unwrap();
    let mut configured = Naf {
        host: "naf.home1.net".into(),
        via: vec!["dra.home1.net".into()],
        fqdns: vec!["naf.home1.net".into(), "xcap.home1.net".into()],
        ..Naf::default()
    };
    naf(&mut configured);
    let bsf = Bsf {
        origin: origin("bsf.home1.net"),
        nafs: [configured].into(),
        find: all,
        hss: hss.clone(),
        clock: world.clock(),
    };
    Bed { bsf: Arc::new(bsf), hss, world, boot, naf: NafId::parse("naf.home1.net").unwrap() }
}

impl Bed {
    fn question(&self) -> InfoRequest {
        InfoRequest {
            btid: self.boot.btid.clone(),
            naf: self.naf.clone(),
            services: Vec::new(),
            gba_u_aware: false,
            without_identity: false,
        }
    }

    /// The answer to a BIR of this Origin-Host by way of this peer.
    fn send(&self, host: &str, peer: &str, fill: impl FnOnce(&mut Writer)) -> Reply {
        let mut bir = request(application::ZN, command::BOOTSTRAPPING_INFO, "naf;1;1", &origin(host));
        fill(&mut bir);
        let request = Request { octets: bir.finish().unwrap(), peer: peer.into() };
        let answer = self.world.run(self.bsf.clone().serve(request)).unwrap();
        Reply::new(answer.finish().unwrap()).unwrap()
    }

    fn ask(&self, question: &InfoRequest) -> Result<InfoAnswer, ResultCode> {
        self.ask_as("naf.home1.net", "naf.home1.net", question)
    }

    fn ask_as(&self, host: &str, peer: &str, question: &InfoRequest) -> Result<InfoAnswer, ResultCode> {
        let reply = self.send(host, peer, |bir| question.write(bir));
        let message = reply.message().unwrap();
        match message.result().unwrap() {
            base::SUCCESS => Ok(InfoAnswer::read(&message).unwrap()),
            code => {
                assert!(message.avps().get(&ME_KEY_MATERIAL).is_none());
                Err(code)
            }
        }
    }
}

#[test]
fn the_key_with_its_times_and_nothing_of_the_user() {
    let bed = bed(Holder::Me, |_| {});
    let aware = InfoRequest { gba_u_aware: true, services: vec!["4".into(), "2".into()], ..bed.question() };
    let info = bed.ask(&aware).unwrap();
    assert_eq!(info.me_key.0, ks_naf(&bed.boot.ks, &bed.boot.rand(), "u@home1.net", &bed.naf).0);
    assert!(info.uicc_key.is_none(), "Ks was never on a card");
    assert_eq!((info.expires, info.created), (Some(bed.boot.expires), bed.boot.created.map(Date::seconds)));
    assert_eq!((info.user, info.settings), (None, Some(Guss::default())));
    assert!(bed.ask(&bed.question()).unwrap().settings.is_none(), "none was asked for");
    let xcap = InfoRequest { naf: NafId::parse("xcap.home1.net;0100000002").unwrap(), ..bed.question() };
    assert_ne!(bed.ask(&xcap).unwrap().me_key.0, info.me_key.0);
}

#[test]
fn only_the_naf_itself_and_its_agents_get_its_keys() {
    let bed = bed(Holder::Me, |_| {});
    let question = bed.question();
    assert!(bed.ask_as("NAF.home1.net", "naf.HOME1.net", &question).is_ok());
    assert!(bed.ask_as("naf.home1.net", "dra.home1.net", &question).is_ok());
    for (host, peer) in
        [("naf.home1.net", "evil.home1.net"), ("dra.home1.net", "dra.home1.net"), ("evil.home1.net", "naf.home1.net")]
    {
        assert_eq!(bed.ask_as(host, peer, &question).unwrap_err(), tgpp::NOT_AUTHORIZED, "{host} by {peer}");
    }
    let other = InfoRequest { naf: NafId::parse("bsm.home1.net").unwrap(), ..question };
    assert_eq!(bed.ask(&other).unwrap_err(), tgpp::NOT_AUTHORIZED);
}

#[test]
fn a_btid_that_is_none_or_is_over() {
    let bed = bed(Holder::Me, |_| {});
    let unknown = Btid::parse("AAAAAAAAAAAAAAAAAAAAAA==@bsf.home1.net").unwrap();
    let question = InfoRequest { btid: unknown, ..bed.question() };
    assert_eq!(bed.ask(&question).unwrap_err(), tgpp::TRANSACTION_IDENTIFIER_INVALID);
    let stranger = bed.ask_as("evil.home1.net", "evil.home1.net", &question).unwrap_err();
    assert_eq!(stranger, tgpp::NOT_AUTHORIZED, "a stranger does not learn what there is");
    let reply = bed.send("naf.home1.net", "naf.home1.net", |bir| {
        bir.text(&TRANSACTION_IDENTIFIER, "none").octets(&NAF_ID, &bed.naf.octets());
    });
    assert_eq!(reply.message().unwrap().result(), Ok(tgpp::TRANSACTION_IDENTIFIER_INVALID));
    bed.world.advance(3600);
    assert_eq!(bed.ask(&bed.question()).unwrap_err(), tgpp::TRANSACTION_IDENTIFIER_INVALID);
}

#[test]
fn gba_u_gives_both_keys_to_those_who_know_it() {
    let bed = bed(Holder::Uicc, |_| {});
    assert!(bed.ask(&bed.question()).unwrap().uicc_key.is_none());
    let info = bed.ask(&InfoRequest { gba_u_aware: true, ..bed.question() }).unwrap();
    let expected = ks_int_naf(&bed.boot.ks, &bed.boot.rand(), "u@home1.net", &bed.naf);
    assert_eq!(info.uicc_key.unwrap().0, expected.0);
    assert_eq!(info.me_key.0, bed.boot.ks_naf(&bed.naf).0);
}

#[test]
fn settings_that_are_asked_for_allowed_and_of_its_group() {
    let both = vec!["2".to_owned(), "4".to_owned()];
    let allowed = |group: Option<&str>| {
        let group = group.map(str::to_owned);
        bed(Holder::Me, |naf| (naf.services, naf.group, naf.user_name) = (both.clone(), group, true))
    };
    let bed = allowed(Some("xcap"));
    let info = bed.ask(&InfoRequest { services: both.clone(), ..bed.question() }).unwrap();
    assert_eq!(info.user, Some(Impi::from("u@home1.net")));
    let settings = info.settings.unwrap();
    assert_eq!(settings.id.as_deref(), Some("u@home1.net"));
    let [two, four] = settings.settings.as_slice() else { panic!("{settings:?}") };
    assert_eq!(*two, other_setting());
    assert_eq!((four.uids.as_slice(), four.services.as_deref()), (&["sip:u@home1.net".to_owned()][..], Some("news")));
    let four_only = bed.ask(&InfoRequest { services: vec!["4".into(), "9".into()], ..bed.question() }).unwrap();
    assert_eq!(four_only.settings.unwrap().settings.len(), 1);
    let bed = allowed(None);
    let info = bed.ask(&InfoRequest { services: both.clone(), ..bed.question() }).unwrap();
    assert_eq!(info.settings.unwrap().settings.len(), 1, "the other one is for a group of NAFs");
}

#[test]
fn a_naf_that_may_not_know_the_private_identity_or_does_without_finds_it_nowhere() {
    let both = vec!["2".to_owned(), "4".to_owned()];
    let known = |user_name: bool, without_identity: bool| {
        let bed = bed(Holder::Me, |naf| {
            (naf.services, naf.group, naf.user_name) = (both.clone(), Some("xcap".into()), user_name);
        });
        let info = bed.ask(&InfoRequest { services: both.clone(), without_identity, ..bed.question() }).unwrap();
        let settings = info.settings.unwrap();
        assert_eq!(settings.settings.len(), 2);
        let uids = settings.settings.iter().flat_map(|uss| uss.uids.clone());
        let named = uids.chain(settings.id).filter(|name| name == "u@home1.net").count();
        (info.user.is_some(), named)
    };
    assert_eq!(known(true, false), (true, 2));
    for (allowed, without) in [(false, false), (false, true), (true, true)] {
        assert_eq!(known(allowed, without), (false, 0));
    }
}

#[test]
fn a_user_without_the_service_that_the_naf_requires() {
    let bed = bed(Holder::Me, |naf| naf.required = vec!["4".into()]);
    assert!(bed.ask(&bed.question()).unwrap().settings.is_none(), "required is not told");
    *bed.hss.subscription.lock().unwrap() = BroadcastSubscription::None;
    assert_eq!(bed.ask(&bed.question()).unwrap_err(), tgpp::NOT_AUTHORIZED);
}

#[test]
fn broken_and_unknown_requests() {
    let bed = bed(Holder::Me, |_| {});
    for def in [&NAF_ID, &TRANSACTION_IDENTIFIER] {
        let reply = bed.send("naf.home1.net", "naf.home1.net", |bir| {
            bir.text(def, "x");
        });
        let message = reply.message().unwrap();
        assert_eq!(message.result(), Ok(base::MISSING_AVP));
        assert!(message.avps().get(&FAILED_AVP).is_some());
    }
    let push = request(application::ZN, 312, "naf;1;2", &origin("naf.home1.net")).finish().unwrap();
    let request = Request { octets: push, peer: "naf.home1.net".into() };
    assert!(bed.world.run(bed.bsf.clone().serve(request)).is_none());
}

struct Silent;

impl Find for Silent {
    fn find<'a>(&'a self, _: &'a Btid, _: Now) -> Answer<'a, Result<Option<Arc<Bootstrap>>, Away>> {
        Answer::now(Err(Away))
    }
}

#[test]
fn a_store_that_is_away_is_no_unknown_btid() {
    let Bed { bsf, hss, world, boot, naf } = bed(Holder::Me, |_| {});
    let bsf = Arc::into_inner(bsf).unwrap();
    let bed = Bed { bsf: Arc::new(Bsf { find: Arc::new(Silent), ..bsf }), hss, world, boot, naf };
    assert_eq!(bed.ask(&bed.question()).unwrap_err(), base::TOO_BUSY);
}
