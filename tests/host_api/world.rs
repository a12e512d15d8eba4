//! A unit in Lua with the host around it, time that a test moves, and tasks that it runs.

use imscript::answer::Task;
use imscript::clock::{Clock, Hands};
use imscript::hss::RegState;
use imscript::policy::capability::Capabilities;
use imscript::policy::lua::{Env, Generation, Host, PolicyError, PolicySource, Unit};
use imscript::policy::manifest::Limits;
use imscript::policy::verdict::Broadcast;
use imscript::policy::{Chain, Context, Decide, Kind, PortionView, ServerView, StatusEvent, System};
use imscript::sip::Message;
use imscript::sip::transaction::{Source, Transport};
use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context as Poller, Poll, Waker};
use std::time::Duration;

pub(crate) const MESSAGE: &[u8] = b"REGISTER sip:home1.net SIP/2.0\r\n\
    Via: SIP/2.0/UDP 192.0.2.7:5060;branch=z9hG4bK1\r\nMax-Forwards: 70\r\nFrom: <sip:alice@home1.net>;tag=a\r\n\
    To: <sip:alice@home1.net>\r\nCall-ID: c1\r\nCSeq: 1 REGISTER\r\nContact: <sip:alice@192.0.2.7>\r\n\
    Content-Length: 0\r\n\r\n";

pub(crate) struct World {
    pub(crate) env: Env,
    pub(crate) hands: &'static Hands,
    pub(crate) tasks: Rc<RefCell<Vec<Task>>>,
    /// When sleepers want to be woken.
    pub(crate) due: Rc<RefCell<Vec<Duration>>>,
    pub(crate) source: Source,
}

impl World {
    pub(crate) fn new() -> Self {
        World::with(Host::default())
    }

    pub(crate) fn with(host: Host) -> Self {
        let (clock, hands) = Clock::by_hand();
        let tasks: Rc<RefCell<Vec<Task>>> = Rc::default();
        let due: Rc<RefCell<Vec<Duration>>> = Rc::default();
        let (spawned, wanted) = (tasks.clone(), due.clone());
        let sleep = move |time: Duration| -> Task {
            let until = clock.now().mono + time;
            wanted.borrow_mut().push(until);
            Box::pin(std::future::poll_fn(
                move |_| if clock.now().mono >= until { Poll::Ready(()) } else { Poll::Pending },
            ))
        };
        let servers = [ServerView { name: "bsm".into(), naf_fqdns: vec!["bsm.home1.net".into()] }];
        let env = Env {
            clock,
            servers: servers.into(),
            spawn: Rc::new(move |task| spawned.borrow_mut().push(task)),
            sleep: Rc::new(sleep),
            first: true,
            seed: Some(7),
            natives: Default::default(),
            host: Arc::new(host),
        };
        World { env, hands, tasks, due, source: source() }
    }

    /// Polls what has been spawned until nothing ends any more.
    pub(crate) fn turn(&self) {
        loop {
            let tasks = self.tasks.take();
            let before = tasks.len();
            let mut poller = Poller::from_waker(Waker::noop());
            let mut rest: Vec<Task> = tasks
                .into_iter()
                .filter_map(|mut task| task.as_mut().poll(&mut poller).is_pending().then_some(task))
                .collect();
            let ended = before - rest.len();
            rest.append(&mut self.tasks.borrow_mut());
            let spawned = rest.len() + ended > before;
            self.tasks.replace(rest);
            if ended == 0 && !spawned {
                return;
            }
        }
    }

    /// Lets time pass from one sleeper to the next.
    pub(crate) fn advance(&self, seconds: f64) {
        let target = self.env.clock.now().mono + Duration::from_secs_f64(seconds);
        self.turn();
        loop {
            let now = self.env.clock.now().mono;
            self.due.borrow_mut().retain(|due| *due > now);
            let next = self.due.borrow().iter().copied().filter(|due| *due <= target).min();
            match next {
                Some(due) => self.hands.advance(due - now),
                None => break,
            }
            self.turn();
        }
        self.hands.advance(target - self.env.clock.now().mono);
        self.turn();
    }

    pub(crate) fn tasks(&self) -> usize {
        self.tasks.borrow().len()
    }

    pub(crate) fn load(&self, unit: Unit) -> Result<Chain, PolicyError> {
        Generation::new(3, [Arc::new(unit)]).chain(&self.env)
    }

    /// A plugin with these capabilities.
    pub(crate) fn chain(&self, capabilities: Capabilities, text: &str) -> Chain {
        match self.load(unit("probe", capabilities, text)) {
            Ok(chain) => chain,
            Err(error) => panic!("{error}\n{text}"),
        }
    }

    pub(crate) fn ctx(&self) -> Context<'_> {
        Context {
            kind: Kind::Initial,
            impi: "alice@home1.net",
            impu: "sip:alice@home1.net",
            source: &self.source,
            visited_network: None,
            servers: &self.env.servers,
            all_or_nothing: false,
            hss_away: false,
            portion: None,
            unix: 1_700_000_000,
        }
    }

    /// What stage `broadcast` says as the reason of `ims.skip`, or the fault.
    pub(crate) fn ask(&self, chain: &Chain) -> Result<String, String> {
        let message = Message::parse(MESSAGE).unwrap();
        let portion =
            PortionView { naf_fqdn: "elsewhere", ua_id: [1; 5], profile: None, payload: None, payload_type: None };
        let before = chain.last_fault();
        let verdict = chain.broadcast(&message, &portion, &self.ctx());
        match (verdict, chain.last_fault()) {
            (_, fault) if fault != before => Err(fault.unwrap().message),
            (Broadcast::Skip { reason }, _) => Ok(reason),
            (other, _) => panic!("{other:?}"),
        }
    }

    /// Asks stage `status`; the fault, if there is one.
    pub(crate) fn status(&self, chain: &Chain) -> Option<String> {
        let event = StatusEvent {
            system: System::Ims,
            previous: RegState::NotRegistered,
            state: RegState::Registered,
            cause: "registered",
            impi: "alice@home1.net",
            impu: "sip:alice@home1.net",
            btid: None,
            naf_fqdn: None,
            servers: &["bsm"],
            expires: 600,
            unix: 1_700_000_000,
        };
        let before = chain.last_fault();
        chain.status(&event);
        chain.last_fault().filter(|fault| Some(fault) != before.as_ref()).map(|fault| fault.message)
    }

    /// The value of an expression, evaluated in a stage.
    pub(crate) fn value(&self, expression: &str) -> String {
        self.try_value(expression).unwrap_or_else(|fault| panic!("{expression}: {fault}"))
    }

    pub(crate) fn try_value(&self, expression: &str) -> Result<String, String> {
        self.ask(&self.chain(Capabilities::of_operator(), &stage(&format!("return ims.skip(tostring({expression}))"))))
    }
}

pub(crate) fn stage(body: &str) -> String {
    format!("local policy = {{}}\nfunction policy.broadcast(req, portion, ctx)\n{body}\nend\nreturn policy")
}

pub(crate) fn unit(name: &str, capabilities: Capabilities, text: &str) -> Unit {
    let program = PolicySource::new("probe.lua", text).compile().expect("compiles");
    let origins = capabilities.origins(&imscript::policy::conf::Conf::empty());
    // A machine under load must not fail a test that is not about the deadline.
    let limits = Limits { wall: Duration::from_millis(50), ..Limits::default() };
    Unit { name: name.into(), capabilities, origins, limits, ..Unit::policy(program) }
}

pub(crate) fn source() -> Source {
    Source {
        transport: Transport::Udp,
        addr: "192.0.2.7:5060".parse().unwrap(),
        local: "192.0.2.1:5060".parse().unwrap(),
        peer_names: Arc::new([]),
    }
}
