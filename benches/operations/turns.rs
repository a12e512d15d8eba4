//! Whole turns of the S-CSCF: from a datagram's octets to the answer's, with the server transaction, the default policy and an
//! HSS in memory. The card's part in between is not counted; of the broadcast leg the server's answer is, which is a few lines
//! in memory.

use super::{Case, lua, measured};
use imscript::gba::naf_id::{NafId, UaId};
use imscript::harness::engine::Engine;
use imscript::harness::hss::{TestHss, User, card_keys};
use imscript::harness::world::{ServerSetup, World};
use imscript::hss::BroadcastSubscription;
use imscript::identity::{Impi, Impu};
use imscript::sip::Message;
use imscript::sip::print::insert_via;
use imscript::sip::transaction::{Source, Transport};
use imscript::terminal::identifiers::Identifiers;
use imscript::terminal::register::{Account, Contact, Credentials, Flow, Portion, Start, Step};
use imscript::terminal::usim::{SqnArray, Usim};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

pub(super) fn cases() -> Vec<Case> {
    vec![
        turn("turn: REGISTER to 401", Portion::default(), 1),
        turn("turn: REGISTER to 200", Portion::default(), 2),
        turn("turn: REGISTER to 200, broadcast leg", broadcast(), 2),
    ]
}

/// Figure 7.
fn broadcast() -> Portion {
    Portion { naf: NafId::new("bsm.home1.net", UaId::MBMS).ok(), ..Portion::default() }
}

/// Refreshes of one user, of which this step of two is measured.
fn turn(name: &'static str, portion: Portion, step: u8) -> Case {
    let mut made: Option<Terminal> = None;
    let run = move |count| {
        let terminal = made.get_or_insert_with(|| Terminal::new(portion.clone()));
        (0..count).for_each(|_| terminal.register(step));
    };
    Case { name, run: Box::new(run) }
}

struct Terminal {
    world: World,
    account: Account,
    identifiers: Identifiers,
    portion: Portion,
    cseq: u32,
    source: Source,
}

impl Terminal {
    fn new(portion: Portion) -> Terminal {
        let hss = Arc::new(TestHss::default());
        let impu = Impu::from("sip:alice@home1.net");
        let broadcast = BroadcastSubscription::All;
        hss.add("alice@home1.net", User { impus: vec![impu.clone()], broadcast });
        let servers = ServerSetup::default_servers();
        let views = servers.iter().map(ServerSetup::view).collect();
        let world = World::new(Engine::new(), &servers, hss, Rc::new(lua::default_chain(views)));
        let source = world.source("127.0.0.1:40000".parse().expect("an address"), Transport::Udp);
        let account = Account {
            impi: Impi::from("alice@home1.net"),
            impu,
            domain: world.domain().into(),
            realm: world.domain().into(),
            bsf_domain: world.bsf_domain().into(),
            credentials: Credentials::Card(Box::new(Usim::new(card_keys().expect("keys"), SqnArray::fresh()))),
        };
        let identifiers = Identifiers::new().expect("random octets");
        Terminal { world, account, identifiers, portion, cseq: 0, source }
    }

    fn register(&mut self, measured_step: u8) {
        let start = Start {
            call_id: "terminal-1".into(),
            cseq: self.cseq + 1,
            contact: Contact::Bind { uri: "sip:127.0.0.1:40000".into(), instance: "urn:uuid:bench".into() },
            expires: 3600,
            portion: self.portion.clone(),
            accept_bodies: false,
            reliable: false,
        };
        let mut flow = Flow::new(start, &mut self.identifiers);
        let mut request = flow.first(&self.account);
        for step in 1.. {
            let via = format!("SIP/2.0/UDP 127.0.0.1:40000;branch=z9hG4bK{:08}", flow.cseq());
            let octets = insert_via(&request, &via);
            let answer = self.answer(&octets, step == measured_step);
            match flow.answer(&mut self.account, &answer) {
                Step::Send(next) => request = next,
                Step::Registered(_) => break,
                Step::Failed(why) => panic!("{why}"),
            }
        }
        self.cseq = flow.cseq();
        // Transactions end, and what waits for its time is done.
        self.world.advance(Duration::from_secs(33)).expect("time passes");
        self.world.hss.asked();
    }

    fn answer(&self, octets: &[u8], is_measured: bool) -> Message<'static> {
        let mut answer = None;
        let mut send = || answer = self.world.send(octets, &self.source).expect("a network");
        if is_measured {
            measured(&mut send)
        } else {
            send()
        }
        answer.expect("an answer")
    }
}
