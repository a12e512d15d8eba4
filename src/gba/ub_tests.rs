use super::*;
use crate::aka::vector::{AkaVector, Autn, Key128, Res};
use crate::auth::challenge::REG_AWAIT_AUTH;
use crate::auth::digest::Password;
use crate::broadcast::testbed::{FakeHss, World};
use crate::gba::bootstrap::Bootstraps;
use crate::identity::Impu;

const USER: &str = "u@home1.net";
const DOMAIN: &str = "bsf.home1.net";
const HOUR: Duration = Duration::from_secs(3600);

struct Kept {
    bootstraps: Arc<Bootstraps>,
    world: Rc<World>,
    away: bool,
}

impl Keep for Kept {
    fn keep(&self, new: Bootstrap, lifetime: Duration) -> Answer<'static, Result<Arc<Bootstrap>, NotKept>> {
        Answer::now(match self.away {
            true => Err(NotKept::Store),
            false => self.bootstraps.put(new, lifetime, self.world.now()).map_err(NotKept::Table),
        })
    }
}

struct Bed {
    ub: Ub,
    hss: Arc<FakeHss>,
    world: Rc<World>,
    bootstraps: Arc<Bootstraps>,
    metrics: Metrics,
}

fn bed_with(away: bool) -> Bed {
    let world = Rc::new(World::default());
    let (hss, bootstraps) = (Arc::new(FakeHss::default()), Arc::new(Bootstraps::new(10)));
    let (clock, metrics) = (world.clone(), Metrics::default());
    let keep = Kept { bootstraps: bootstraps.clone(), world: world.clone(), away };
    let ub = Ub {
        domain: DOMAIN.into(),
        lifetime: HOUR,
        hss: hss.clone(),
        challenges: Challenges::new(10, REG_AWAIT_AUTH),
        keep: Rc::new(keep),
        now: Rc::new(move || clock.now()),
        meters: Meters::new(&metrics),
    };
    Bed { ub, hss, world, bootstraps, metrics }
}

fn bed() -> Bed {
    bed_with(false)
}

fn vector(number: u8) -> AkaVector {
    let (rand, autn) = (Rand([number; 16]), Autn([0x55; 16]));
    AkaVector { rand, autn, xres: Res::new(&[number; 8]), ck: Key128([1; 16]), ik: Key128([2; 16]) }
}

impl Bed {
    /// The HSS has this for the next question.
    fn zh(&self, number: u8, settings: Guss) {
        let impus = [Impu::from("sip:u@home1.net")].into();
        let given = hss::Bootstrapping { vector: vector(number), impus, broadcast: Default::default(), settings };
        self.hss.zh.lock().unwrap().push_back(Ok(given));
    }

    fn get(&self, authorization: &str) -> HttpResponse {
        self.get_as("phone 3gpp-gba", authorization)
    }

    fn get_as(&self, agent: &str, authorization: &str) -> HttpResponse {
        let request = HttpRequest {
            method: "GET".into(),
            target: "/".into(),
            user_agent: Some(agent.into()),
            authorization: Some(authorization.into()),
            ..HttpRequest::default()
        };
        self.world.run(self.ub.answer(&request))
    }
}

fn hello() -> String {
    format!("Digest username=\"{USER}\", realm=\"{DOMAIN}\", nonce=\"\", uri=\"/\", response=\"\"")
}

fn nonce_of(response: &HttpResponse) -> String {
    assert_eq!(response.status, 401);
    let field = response.header("www-authenticate").unwrap();
    let params = AuthParams::parse(field.as_bytes()).unwrap();
    assert_eq!(params.get("realm").as_deref(), Some(DOMAIN.as_bytes()));
    assert_eq!(params.get("qop").as_deref(), Some(&b"auth-int"[..]));
    assert_eq!(params.get("algorithm").as_deref(), Some(&b"AKAv1-MD5"[..]));
    String::from_utf8(params.get("nonce").unwrap().into_owned()).unwrap()
}

/// `response` and `rspauth` over this body.
fn digests(uri: &str, body: &[u8], nonce: &str, res: u8) -> (String, String) {
    let password = Password::new([res; 8]);
    let digest = Digest {
        algorithm: ALGORITHM,
        username: USER.as_bytes(),
        realm: DOMAIN.as_bytes(),
        method: b"GET",
        uri: uri.as_bytes(),
        nonce: nonce.as_bytes(),
        qop: Some(Qop { kind: QopKind::AuthInt, nc: b"00000001", cnonce: b"abc", body }),
    };
    (digest.response(&password), digest.rspauth(&password))
}

fn answer(uri: &str, nonce: &str, res: u8) -> String {
    let (response, _) = digests(uri, b"", nonce, res);
    format!(
        "Digest username=\"{USER}\", realm=\"{DOMAIN}\", nonce=\"{nonce}\", uri=\"{uri}\", qop=auth-int, nc=00000001, \
         cnonce=\"abc\", response=\"{response}\", algorithm=AKAv1-MD5"
    )
}

#[test]
fn a_client_bootstraps_without_sip() {
    let bed = bed();
    bed.zh(1, Guss::default());
    let nonce = nonce_of(&bed.get(&hello()));
    assert_eq!(nonce, nonce::encode(&Rand([1; 16]), &Autn([0x55; 16])));
    let given = answer("/", &nonce, 1);
    let done = bed.get(&given);
    assert_eq!((done.status, done.header("content-type")), (200, Some(MEDIA)));
    let kept = bed.bootstraps.of_impi(&Impi::from(USER), bed.world.now()).unwrap();
    assert_eq!(kept.btid, Btid::new(&Rand([1; 16]), DOMAIN));
    assert_eq!(
        (kept.made, kept.holder, kept.expires - kept.created.unwrap().seconds()),
        (Made::OverUb, Holder::Me, 3600)
    );
    assert_eq!(kept.ks.0, Ks::new(&Key128([1; 16]), &Key128([2; 16])).0);
    let root = xml::parse(&done.body).unwrap();
    assert_eq!(root.text_of("btid"), Some(&*kept.btid.text()));
    assert_eq!(root.text_of("lifetime").and_then(datetime::parse), Some(kept.expires));
    let (_, rspauth) = digests("/", &done.body, &nonce, 1);
    let info = done.header("authentication-info").unwrap();
    assert_eq!(info, format!("qop=auth-int, rspauth=\"{rspauth}\", cnonce=\"abc\", nc=00000001"));
    assert_eq!(done.header("expires"), Some(datetime::format_http(kept.expires).as_str()));
    assert_eq!(done.header("cache-control"), Some("no-store"));

    bed.zh(2, Guss::default());
    let again = bed.get(&given);
    assert!(again.header("www-authenticate").unwrap().contains("stale=true"), "a nonce is good once");
    assert_eq!(bed.bootstraps.len(), 1);
    let counted = bed.metrics.exposition();
    for (result, count) in [("challenged", 2), ("bootstrapped", 1)] {
        assert!(counted.contains(&format!("imscript_ub_requests_total{{result=\"{result}\"}} {count}")), "{counted}");
    }
}

#[test]
fn clients_as_they_are() {
    let bed = bed();
    // No nonce at all; a whole URL as uri; a blank agent.
    bed.zh(1, Guss::default());
    let nonce = nonce_of(&bed.get(&format!("Digest username=\"{USER}\", realm=\"\", uri=\"/\"")));
    let uri = "http://bsf.home1.net/";
    assert_eq!(bed.get_as("", &answer(uri, &nonce, 1)).status, 200);
    // One who was given a TMPI elsewhere falls back to the private identity.
    let tmpi = hello().replace(USER, "cGxlYXNl@tmpi.bsf.home1.net");
    assert_eq!(bed.get_as("phone 3gpp-gba-tmpi", &tmpi).status, 403);
}

#[test]
fn resynchronisation_once() {
    let bed = bed();
    bed.zh(1, Guss::default());
    bed.zh(2, Guss::default());
    let auts = nonce::encode_auts(&Auts([9; 14]));
    let first = nonce_of(&bed.get(&hello()));
    let second = nonce_of(&bed.get(&format!("{}, auts=\"{auts}\"", answer("/", &first, 0))));
    assert_eq!(*bed.hss.resyncs.lock().unwrap(), [(Rand([1; 16]), Auts([9; 14]))]);
    assert_eq!(bed.get(&format!("{}, auts=\"{auts}\"", answer("/", &second, 0))).status, 403);
    assert!(bed.bootstraps.is_empty());
    bed.zh(3, Guss::default());
    let third = nonce_of(&bed.get(&hello()));
    assert_eq!(bed.get(&answer("/", &third, 3)).status, 200);
    bed.zh(4, Guss::default());
    let fourth = nonce_of(&bed.get(&hello()));
    assert_eq!(bed.get(&format!("{}, auts=\"AAAA\"", answer("/", &fourth, 0))).status, 400);
}

#[test]
fn gba_u_where_card_and_terminal_know_it() {
    let (card, settings) = ("x 3gpp-gba-uicc", Guss { gba_u: true, ..Guss::default() });
    for (agent, holder) in [(card, Holder::Uicc), ("3gpp-gba-uicc/1.0 x", Holder::Uicc), ("x 3gpp-gba", Holder::Me)] {
        let bed = bed();
        bed.zh(1, Guss { lifetime: Some(Duration::from_secs(60)), ..settings.clone() });
        let nonce = nonce_of(&bed.get_as(agent, &hello()));
        let autn = match holder {
            Holder::Uicc => autn_star(&Autn([0x55; 16]), &Key128([2; 16])),
            Holder::Me => Autn([0x55; 16]),
        };
        assert_eq!(nonce, nonce::encode(&Rand([1; 16]), &autn));
        assert_eq!(bed.get_as(agent, &answer("/", &nonce, 1)).status, 200);
        let kept = bed.bootstraps.of_impi(&Impi::from(USER), bed.world.now()).unwrap();
        assert_eq!(
            (kept.holder, kept.expires - kept.created.unwrap().seconds()),
            (holder, 60),
            "the subscriber's own lifetime"
        );
    }
}

#[test]
fn what_is_refused_and_leaves_nothing() {
    let bed = bed();
    let mut number = 0;
    let mut fresh = || {
        number += 1;
        bed.zh(number, Guss::default());
        (nonce_of(&bed.get(&hello())), number)
    };
    let (nonce, res) = fresh();
    assert_eq!(bed.get(&answer("/", &nonce, res + 1)).status, 403, "wrong RES");
    for (was, is) in [
        ("qop=auth-int", "qop=auth"),
        ("algorithm=AKAv1-MD5", "algorithm=MD5"),
        ("nc=00000001", "nc=0"),
        ("cnonce=\"abc\"", "cnonce=\"\""),
        ("realm=\"bsf.", "realm=\"naf."),
        ("uri=\"/\"", "uri=\"/other\""),
    ] {
        let (nonce, res) = fresh();
        assert_eq!(bed.get(&answer("/", &nonce, res).replace(was, is)).status, 400, "{is}");
    }
    let (nonce, _) = fresh();
    let silent = format!("Digest username=\"{USER}\", realm=\"{DOMAIN}\", nonce=\"{nonce}\", uri=\"/\", response=\"\"");
    assert_eq!(bed.get(&silent).status, 403, "the card did not believe AUTN");
    for field in ["", "Basic dTpw", "Digest realm=\"x\"", "Digest username=\"\"", "Digest username=\"a\tb\""] {
        assert_eq!(bed.get(field).status, 400, "{field}");
    }
    for (method, target, status) in [("POST", "/", 405), ("GET", "/other", 404)] {
        let request = HttpRequest { method: method.into(), target: target.into(), ..HttpRequest::default() };
        assert_eq!(bed.world.run(bed.ub.answer(&request)).status, status);
    }
    assert!(bed.bootstraps.is_empty());
}

#[test]
fn the_hss_or_the_store_away() {
    let bed = bed_with(true);
    for why in [HssError::Unavailable("slow".into()), HssError::NoVector("throttled")] {
        bed.hss.zh.lock().unwrap().push_back(Err(why));
        let away = bed.get(&hello());
        assert_eq!((away.status, away.header("retry-after")), (503, Some("5")));
    }
    assert_eq!(bed.get(&hello()).status, 403, "unknown user");
    bed.zh(1, Guss::default());
    let nonce = nonce_of(&bed.get(&hello()));
    assert_eq!(bed.get(&answer("/", &nonce, 1)).status, 503);
}

#[test]
fn challenges_are_bounded_and_end() {
    let bed = bed();
    for number in 0..20 {
        bed.zh(number, Guss::default());
        nonce_of(&bed.get(&hello().replace(USER, &format!("u{number}@home1.net"))));
    }
    assert_eq!(bed.ub.challenges.len(), 10);
    bed.zh(21, Guss::default());
    let nonce = nonce_of(&bed.get(&hello()));
    bed.world.advance(241);
    bed.zh(22, Guss::default());
    assert_eq!(bed.get(&answer("/", &nonce, 21)).status, 401, "too late");
    assert_eq!(bed.ub.challenges.len(), 1, "those that are over are gone");
}
