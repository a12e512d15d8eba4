//! An I-CSCF between a P-CSCF, two S-CSCFs and an HSS that are scripts.

use super::*;
use crate::answer::Answer;
use crate::hss::Capabilities;
use crate::sip::print::insert_via;
use crate::sip::transaction::{SendError, Transport};
use std::cell::RefCell;
use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Mutex;

const IMPI: &str = "alice@home1.net";
const ONE: &str = "127.0.0.11:6060";
const TWO: &str = "127.0.0.12:6060";

#[derive(Default)]
struct Hss {
    asked: Mutex<Vec<String>>,
    /// By question.
    says: HashMap<&'static str, Result<Located, HssError>>,
}

impl Hss {
    fn answer(&self, question: &str, detail: String) -> Answer<'_, Result<Located, HssError>> {
        self.asked.lock().unwrap().push(format!("{question} {detail}"));
        Answer::now(self.says.get(question).cloned().unwrap_or(Err(HssError::UserUnknown)))
    }
}

impl Locate for Hss {
    fn user_authorization<'a>(
        &'a self,
        impi: &'a Impi,
        impu: &'a Impu,
        visited_network: &'a str,
        kind: Authorization,
    ) -> Answer<'a, Result<Located, HssError>> {
        let question = match kind {
            Authorization::Registration => "registration",
            Authorization::Deregistration => "deregistration",
            Authorization::RegistrationAndCapabilities => "capabilities",
        };
        self.answer(question, format!("{impi} {impu} {visited_network}"))
    }

    fn location_info<'a>(&'a self, impu: &'a Impu, originating: bool) -> Answer<'a, Result<Located, HssError>> {
        self.answer(if originating { "from" } else { "to" }, impu.to_string())
    }
}

/// What each S-CSCF answers, and what it was sent.
#[derive(Default)]
struct Network {
    answers: HashMap<SocketAddr, Result<&'static str, SendError>>,
    sent: RefCell<Vec<(SocketAddr, String)>>,
}

impl Outbound for Network {
    fn request(
        &self,
        to: &NextHop,
        request: Vec<u8>,
        _: Duration,
    ) -> Answer<'static, Result<Message<'static>, SendError>> {
        let request = insert_via(&request, "SIP/2.0/UDP 127.0.0.2:5060;branch=z9hG4bKhop");
        let message = Message::parse(&request).unwrap();
        message.check().unwrap();
        self.sent.borrow_mut().push((to.addr, String::from_utf8(request.clone()).unwrap()));
        Answer::now(match self.answers.get(&to.addr).cloned().unwrap_or(Err(SendError::Timeout)) {
            Ok(head) => {
                let (status, extra) = head.split_once('\n').unwrap_or((head, ""));
                let mut out = ResponseWriter::new(&message, status.parse().unwrap(), to.addr, "scscf");
                for line in extra.lines() {
                    let (name, value) = line.split_once(": ").unwrap();
                    out.header_named(name, value);
                }
                Ok(Message::parse_owned(out.finish()).unwrap())
            }
            Err(why) => Err(why),
        })
    }
}

struct Scene {
    icscf: Icscf,
    hss: Arc<Hss>,
    network: Rc<Network>,
}

fn scene(
    says: impl IntoIterator<Item = (&'static str, Result<Located, HssError>)>,
    answers: impl IntoIterator<Item = (&'static str, Result<&'static str, SendError>)>,
) -> Scene {
    let hss = Arc::new(Hss { asked: Mutex::default(), says: says.into_iter().collect() });
    let answers = answers.into_iter().map(|(at, answer)| (at.parse().unwrap(), answer)).collect();
    let network = Rc::new(Network { answers, sent: RefCell::default() });
    let entry = |name: &str, at: &str, capabilities: &[u32]| ScscfEntry {
        name: name.into(),
        hop: Some(NextHop { transport: Transport::Udp, addr: at.parse().unwrap(), tls_name: None }),
        capabilities: capabilities.into(),
    };
    let settings = Settings {
        domain: "home1.net".into(),
        servers: [entry("sip:one.home1.net", ONE, &[1]), entry("sip:two.home1.net", TWO, &[1, 2])].into(),
        trusted_peers: vec!["127.0.0.2".parse().unwrap()],
        within: Duration::from_secs(1),
    };
    let icscf = Icscf::new(Arc::new(settings), hss.clone(), network.clone(), None, "z9hG4bKmine".into());
    Scene { icscf, hss, network }
}

fn at(name: &str) -> Result<Located, HssError> {
    Ok(Located { server: Some(name.into()), ..Located::default() })
}

fn able(mandatory: &[u32]) -> Result<Located, HssError> {
    Ok(Located { server: None, capabilities: Capabilities { mandatory: mandatory.into(), ..Capabilities::default() } })
}

fn register(extra: &str) -> String {
    format!(
        "REGISTER sip:home1.net SIP/2.0\r\nVia: SIP/2.0/UDP 127.0.0.2:5060;branch=z9hG4bKp;rport\r\n\
         Route: <sip:icscf.home1.net;lr>\r\nPath: <sip:term@pcscf.home1.net;lr>\r\nMax-Forwards: 70\r\n\
         From: <sip:alice@home1.net>;tag=a\r\nTo: <sip:alice@home1.net>\r\nCall-ID: c\r\nCSeq: 1 REGISTER\r\n\
         Contact: <sip:alice@127.0.0.9>\r\nRequire: path\r\n{extra}Content-Length: 0\r\n\r\n"
    )
}

const CREDENTIALS: &str = "Authorization: Digest username=\"alice@home1.net\",realm=\"home1.net\",nonce=\"\",\
     uri=\"sip:home1.net\",response=\"\",integrity-protected=\"yes\"\r\n";

impl Scene {
    fn ask_from(&self, from: &str, request: &str) -> Message<'static> {
        let source = Source {
            transport: Transport::Udp,
            addr: from.parse().unwrap(),
            local: "127.0.0.1:4060".parse().unwrap(),
            peer_names: Arc::new([]),
        };
        let request = Message::parse(request.as_bytes()).unwrap();
        let answer = Answer::later(self.icscf.handle(&request, &source)).wait().unwrap();
        let answer = Message::parse_owned(answer).unwrap();
        answer.check().unwrap();
        answer
    }

    fn ask(&self, request: &str) -> Message<'static> {
        self.ask_from("127.0.0.2:5060", request)
    }

    fn went_to(&self) -> Vec<String> {
        self.network.sent.borrow().iter().map(|(to, _)| to.to_string()).collect()
    }

    fn asked(&self) -> Vec<String> {
        self.hss.asked.lock().unwrap().clone()
    }
}

#[test]
fn register_goes_to_the_assigned_s_cscf_and_its_answer_back() {
    let challenge =
        "401\nWWW-Authenticate: Digest realm=\"home1.net\",nonce=\"n\",ik=\"00\",ck=\"11\",algorithm=AKAv1-MD5";
    let scene = scene([("registration", at("sip:two.home1.net"))], [(TWO, Ok(challenge))]);
    let answer = scene.ask(&register(&format!("{CREDENTIALS}P-Visited-Network-ID: \"visited.net\"\r\n")));
    assert_eq!(scene.asked(), [format!("registration {IMPI} sip:alice@home1.net visited.net")]);
    assert_eq!((answer.status(), answer.vias().count()), (401, 1));
    assert_eq!(answer.to().unwrap().tag().as_deref(), Some(&b"scscf"[..]));
    assert!(answer.challenges().next().unwrap().unwrap().get("ck").is_some(), "a trusted P-CSCF gets the keys");
    let sent = scene.network.sent.borrow();
    let sent = Message::parse(sent[0].1.as_bytes()).unwrap();
    assert_eq!(sent.request_uri_raw(), b"sip:two.home1.net");
    assert_eq!((sent.vias().count(), sent.max_forwards().unwrap()), (3, Some(69)));
    assert!(sent.header(HeaderName::Route).is_none() && sent.header(HeaderName::Path).is_some());
    assert!(sent.header(HeaderName::Authorization).unwrap().ends_with(b"integrity-protected=\"yes\""));
}

#[test]
fn a_stranger_asserts_nothing_and_gets_no_keys() {
    let challenge =
        "401\nWWW-Authenticate: Digest realm=\"home1.net\",nonce=\"n\",ik=\"00\",ck=\"11\",algorithm=AKAv1-MD5";
    let scene = scene([("registration", at("sip:one.home1.net"))], [(ONE, Ok(challenge))]);
    let extra = format!("{CREDENTIALS}P-Asserted-Identity: <sip:bob@home1.net>\r\n");
    let answer = scene.ask_from("127.0.0.9:5060", &register(&extra));
    let challenge = answer.challenges().next().unwrap().unwrap();
    assert!(challenge.get("ck").is_none() && challenge.get("ik").is_none());
    assert_eq!(challenge.get("nonce").as_deref(), Some(&b"n"[..]));
    let sent = scene.network.sent.borrow();
    let sent = Message::parse(sent[0].1.as_bytes()).unwrap();
    assert!(sent.header(HeaderName::PAssertedIdentity).is_none());
    let credentials = sent.authorizations().next().unwrap().unwrap();
    assert!(credentials.get("integrity-protected").is_none());
    assert_eq!(credentials.get("username").as_deref(), Some(IMPI.as_bytes()));
}

#[test]
fn capabilities_choose_and_the_next_is_tried() {
    let by_capability = scene([("registration", able(&[2]))], [(TWO, Ok("200"))]);
    assert_eq!(by_capability.ask(&register("")).status(), 200);
    assert_eq!(by_capability.went_to(), [TWO]);
    assert_eq!(by_capability.asked(), [format!("registration {IMPI} sip:alice@home1.net home1.net")], "no credentials");

    let fails = scene([("registration", able(&[1]))], [(TWO, Ok("200"))]);
    assert_eq!(fails.ask(&register("")).status(), 200);
    assert_eq!(fails.went_to(), [ONE, TWO]);

    let none = scene([("registration", able(&[7]))], []);
    assert_eq!(none.ask(&register("")).status(), 600);
}

#[test]
fn an_assigned_s_cscf_that_fails_is_replaced_by_capabilities() {
    let says = [("registration", at("sip:one.home1.net")), ("capabilities", able(&[]))];
    let scene_with =
        |answers: &[(&'static str, Result<&'static str, SendError>)]| scene(says.clone(), answers.to_vec());
    let replaced = scene_with(&[(ONE, Ok("480")), (TWO, Ok("200"))]);
    assert_eq!(replaced.ask(&register("")).status(), 200);
    assert_eq!((replaced.went_to(), replaced.asked().len()), (vec![ONE.to_string(), TWO.to_string()], 2));
    let refused = scene_with(&[(ONE, Ok("403"))]);
    assert_eq!(refused.ask(&register("")).status(), 403, "an answer for good is no failure");
    assert_eq!(refused.went_to(), [ONE]);
    let dead = scene_with(&[]);
    let answer = dead.ask(&register(""));
    assert_eq!((answer.status(), answer.header(HeaderName::RetryAfter)), (504, Some(&b"5"[..])));
    assert_eq!(dead.went_to(), [ONE, TWO]);
    let unknown = scene([("registration", at("sip:elsewhere.net")), ("capabilities", able(&[]))], [(ONE, Ok("200"))]);
    assert_eq!(unknown.ask(&register("")).status(), 200, "a name that is not configured is not sent to");
}

#[test]
fn what_the_hss_says_no_to() {
    for (error, status) in [
        (HssError::UserUnknown, 403),
        (HssError::IdentitiesDontMatch, 403),
        (HssError::RoamingNotAllowed, 403),
        (HssError::Unavailable("no peer".into()), 504),
    ] {
        let scene = scene([("registration", Err(error.clone()))], []);
        assert_eq!((scene.ask(&register("")).status(), scene.went_to().len()), (status, 0), "{error}");
    }
    let leaves = scene([("deregistration", at("sip:one.home1.net"))], [(ONE, Ok("200"))]);
    assert_eq!(leaves.ask(&register("Expires: 0\r\n")).status(), 200);
}

#[test]
fn other_requests_find_the_s_cscf_of_the_user() {
    let message = |route: &str, extra: &str| {
        format!(
            "MESSAGE sip:bob@home1.net SIP/2.0\r\nVia: SIP/2.0/UDP 127.0.0.2:5060;branch=z9hG4bKp\r\n\
             Route: <sip:icscf.home1.net;{route}>\r\nMax-Forwards: 70\r\nFrom: <sip:alice@home1.net>;tag=a\r\n\
             To: <sip:bob@home1.net>\r\nCall-ID: c\r\nCSeq: 1 MESSAGE\r\n{extra}Content-Type: text/plain\r\n\
             Content-Length: 2\r\n\r\nhi"
        )
    };
    let says = [("to", at("sip:two.home1.net")), ("from", at("sip:one.home1.net"))];
    let scene = scene(says, [(ONE, Ok("202")), (TWO, Ok("200"))]);
    assert_eq!(scene.ask(&message("lr", "")).status(), 200);
    assert_eq!(scene.ask(&message("lr;orig", "P-Asserted-Identity: <sip:alice@home1.net>\r\n")).status(), 202);
    assert_eq!(scene.asked(), ["to sip:bob@home1.net", "from sip:alice@home1.net"]);
    let sent = scene.network.sent.borrow()[0].1.clone();
    let sent = Message::parse(sent.as_bytes()).unwrap();
    assert_eq!(sent.request_uri_raw(), b"sip:bob@home1.net");
    assert_eq!(sent.header(HeaderName::Route), Some(&b"<sip:two.home1.net;lr>"[..]));
    assert_eq!(sent.body(), b"hi");
    assert_eq!(scene.ask_from("127.0.0.9:5060", &message("lr;orig", "")).status(), 403);
    let unknown = self::scene([], []);
    assert_eq!(unknown.ask(&message("lr", "")).status(), 404);
}

#[test]
fn loops_and_hops_end() {
    let scene = scene([("registration", at("sip:one.home1.net"))], [(ONE, Ok("200"))]);
    assert_eq!(scene.ask(&register("Via: SIP/2.0/UDP 127.0.0.1;branch=z9hG4bKmine0001\r\n")).status(), 482);
    assert_eq!(scene.ask(&register("").replace("Forwards: 70", "Forwards: 0")).status(), 483);
    assert_eq!(scene.ask(&register("Proxy-Require: foo\r\n")).status(), 420);
    assert_eq!(scene.went_to().len(), 0);
}
