//! One test in progress: what it has set up, and the network once it has begun to use it.

use super::engine::Engine;
use super::hss::TestHss;
use super::logs::Logs;
use super::subject::{Overrides, Recorder, Subject};
use super::web::Web;
use super::world::{ServerSetup, World};
use crate::clock::Clock;
use crate::policy::ServerView;
use crate::policy::lua::{Env, Host};
use crate::store::space::Spaces;
use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

pub(super) struct Case {
    subject: Rc<Subject>,
    pub(super) engine: Engine,
    pub(super) logs: Logs,
    pub(super) web: Arc<Web>,
    pub(super) host: Arc<Host>,
    hss: Arc<TestHss>,
    setup: RefCell<Setup>,
    running: RefCell<Option<Rc<Running>>>,
}

#[derive(Default)]
struct Setup {
    overrides: Overrides,
    seed: u64,
    servers: Vec<ServerSetup>,
}

/// The network of a test that has begun.
pub(super) struct Running {
    pub(super) world: World,
    pub(super) recorder: Rc<Recorder>,
}

impl Drop for Case {
    fn drop(&mut self) {
        // Jobs that wait hold the network that holds the engine that holds the jobs.
        self.engine.clear();
    }
}

impl Case {
    pub(super) fn new(subject: Rc<Subject>) -> Self {
        let (web, hss) = (Arc::new(Web::default()), Arc::new(TestHss::default()));
        let host = Host::new(Arc::default(), Spaces::in_memory(), Some(hss.clone())).with_http(web.clone());
        Case {
            web,
            hss,
            host: Arc::new(host),
            subject,
            engine: Engine::new(),
            logs: Logs::default(),
            setup: RefCell::default(),
            running: RefCell::default(),
        }
    }

    /// The test function is about to be called.
    pub(super) fn begin(&self, until: Instant) {
        self.engine.limit(until);
    }

    pub(super) fn clock(&self) -> Clock {
        self.engine.clock
    }

    fn set(&self, what: &str, change: impl FnOnce(&mut Setup)) -> Result<(), String> {
        if self.running.borrow().is_some() {
            return Err(format!("{what} comes before the first request, question or terminal of a test"));
        }
        change(&mut self.setup.borrow_mut());
        Ok(())
    }

    pub(super) fn set_conf(&self, conf: serde_json::Value) -> Result<(), String> {
        self.set("t:conf", |setup| setup.overrides.conf = Some(conf))
    }

    pub(super) fn set_policy(&self, file: String) -> Result<(), String> {
        self.set("t:policy", |setup| setup.overrides.policy = Some(file))
    }

    pub(super) fn set_seed(&self, seed: u64) -> Result<(), String> {
        self.set("t:seed", |setup| setup.seed = seed)
    }

    pub(super) fn set_clock(&self, unix: u64) -> Result<(), String> {
        let now = self.clock().now().unix;
        let wanted = Duration::from_secs(unix);
        match wanted.checked_sub(now) {
            Some(ahead) if self.running.borrow().is_none() => self.engine.pass(ahead).map_err(|e| e.to_string()),
            Some(ahead) => self.running()?.world.advance(ahead).map_err(|e| e.to_string()),
            None => Err(format!("time only goes on: it is {} now", crate::broadcast::datetime::format(now.as_secs()))),
        }
    }

    /// Declares a server, or finds one that is there.
    pub(super) fn server(&self, name: &str, nafs: Option<Vec<String>>) -> Result<(), String> {
        let known = match &*self.running.borrow() {
            Some(running) => running.world.servers.by_name(name).is_some(),
            None => false,
        };
        if known && nafs.is_none() {
            return Ok(());
        }
        self.set(&format!("server {name:?} is not declared; t:server(name)"), |setup| {
            let mut server = ServerSetup::named(name);
            if let Some(nafs) = nafs {
                server.nafs = nafs;
            }
            match setup.servers.iter_mut().find(|known| known.name == name) {
                Some(known) => *known = server,
                None => setup.servers.push(server),
            }
        })
    }

    /// The network; the first call builds it and loads the units.
    pub(super) fn running(&self) -> Result<Rc<Running>, String> {
        if let Some(running) = &*self.running.borrow() {
            return Ok(running.clone());
        }
        let setup = self.setup.borrow();
        let servers = if setup.servers.is_empty() { ServerSetup::default_servers() } else { setup.servers.clone() };
        let views: Arc<[ServerView]> = servers.iter().map(ServerSetup::view).collect();
        self.hss.set_seed(setup.seed);
        let units = self.subject.units(&setup.overrides)?;
        let (spawner, sleeper) = (self.engine.clone(), self.engine.clone());
        let env = Env {
            clock: self.engine.clock,
            servers: views,
            spawn: Rc::new(move |job| spawner.spawn(job)),
            sleep: Rc::new(move |time| sleeper.sleep(time)),
            first: true,
            natives: Rc::new([]),
            seed: Some(setup.seed),
            host: self.host.clone(),
        };
        let recorder = Rc::new(Recorder::new(&units, &env).map_err(|error| error.to_string())?);
        let world = World::new(self.engine.clone(), &servers, self.hss.clone(), recorder.clone());
        let running = Rc::new(Running { world, recorder });
        self.running.replace(Some(running.clone()));
        Ok(running)
    }

    /// What has been loaded, if it has come to that.
    pub(super) fn loaded(&self) -> Option<Rc<Running>> {
        self.running.borrow().clone()
    }
}
