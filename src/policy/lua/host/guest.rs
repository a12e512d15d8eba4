//! One VM as the host sees it: who it is, what it may, what it has under way.
//!
//! What a call asks for (requests, look-ups, acknowledgements, timers) is begun when the call has returned cleanly, and
//! forgotten when it has not. Answers come as tasks of the worker, hence between two calls. Tasks hold the guest weakly:
//! when its VM goes, with its generation or after a fault, they find nobody and end.

use super::random::Generator;
use super::re::Patterns;
use super::service::Namespace;
use super::timer::Timers;
use crate::answer::Task;
use crate::policy::Stage;
use crate::policy::lua::env::Env;
use crate::policy::lua::unit::Unit;
use crate::policy::throttle::Throttle;
use mlua::{Function, Lua, MultiValue, WeakLua};
use std::cell::{Cell, OnceCell, RefCell};
use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::time::Duration;

/// Callbacks that one VM may wait for at a time.
const MAX_CALLBACKS: usize = 64;
/// Log lines a second of one VM.
const LOG_RATE: u32 = 20;

/// Of a worker's time the timers and callbacks of one VM together get one part in so many: each may take its whole limit
/// without being a fault, and there may be a hundred that are due.
const SHARE: u32 = 5;
/// What they may take at once before that counts.
const BURST: Duration = Duration::from_millis(5);

/// In what the VM is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Occasion {
    None,
    Load,
    Setup,
    Teardown,
    Stage(Stage),
    Timer,
    Callback,
}

impl Occasion {
    /// Whether nobody waits for a verdict.
    pub(super) fn is_between(self) -> bool {
        matches!(
            self,
            Occasion::Setup | Occasion::Timer | Occasion::Callback | Occasion::Stage(Stage::Status | Stage::Finish)
        )
    }
}

/// Calls a function of the VM under its deadline, and reports what goes wrong; whoever owns the VM provides it.
pub type Runner = Rc<dyn Fn(Occasion, &Function, MultiValue)>;

/// Makes the arguments of a callback.
pub(super) type Arguments = Box<dyn FnOnce(&Lua) -> mlua::Result<MultiValue>>;
type Work = Pin<Box<dyn Future<Output = Arguments>>>;

/// Begun when the call returns cleanly.
enum Begun {
    Work(u64, Work),
    Timer(u64),
}

pub struct Guest {
    pub(super) unit: Arc<Unit>,
    pub(super) generation: u64,
    pub(super) env: Env,
    /// What all VMs of this unit share.
    pub(super) namespace: Arc<Namespace>,
    pub(super) timers: Timers,
    pub(super) random: RefCell<Generator>,
    pub(super) patterns: RefCell<Patterns>,
    pub(super) log: Throttle,
    occasion: Cell<Occasion>,
    begun: RefCell<Vec<Begun>>,
    callbacks: RefCell<BTreeMap<u64, Function>>,
    last: Cell<u64>,
    /// When its timers and callbacks will have had no more than their share, if none runs until then.
    paid: Cell<Duration>,
    runner: OnceCell<Runner>,
    lua: WeakLua,
}

impl Guest {
    pub(super) fn new(lua: &Lua, unit: Arc<Unit>, generation: u64, env: Env) -> Rc<Self> {
        let namespace = env.host.namespace(&unit.name);
        Rc::new(Guest {
            unit,
            generation,
            namespace,
            timers: Timers::default(),
            random: RefCell::new(Generator::new(env.seed)),
            patterns: RefCell::default(),
            log: Throttle::new(LOG_RATE),
            occasion: Cell::new(Occasion::None),
            begun: RefCell::default(),
            callbacks: RefCell::default(),
            last: Cell::new(0),
            paid: Cell::new(Duration::ZERO),
            runner: OnceCell::new(),
            env,
            lua: lua.weak(),
        })
    }

    /// Who runs timers and callbacks; once.
    pub fn set_runner(&self, runner: Runner) {
        let _ = self.runner.set(runner);
    }

    pub fn occasion(&self) -> Occasion {
        self.occasion.get()
    }

    /// A call into the VM begins.
    pub fn enter(&self, occasion: Occasion) {
        self.occasion.set(occasion);
    }

    /// The call has ended. Only what a clean one asked for is begun.
    pub fn leave(self: &Rc<Self>, clean: bool) {
        self.occasion.set(Occasion::None);
        if self.begun.borrow().is_empty() {
            return;
        }
        for begun in self.begun.take() {
            match begun {
                Begun::Work(id, work) if clean => (self.env.spawn)(finish(Rc::downgrade(self), id, work)),
                Begun::Work(id, _) => drop(self.callbacks.borrow_mut().remove(&id)),
                Begun::Timer(id) if clean => self.timers.start(self, id),
                Begun::Timer(id) => self.timers.remove(id),
            }
        }
    }

    /// Ends the timers and forgets the callbacks: the generation has been replaced.
    pub fn retire(&self) {
        self.timers.clear();
        self.callbacks.take();
        self.begun.take();
    }

    /// A number that none had before.
    pub(super) fn number(&self) -> u64 {
        self.last.set(self.last.get().wrapping_add(1));
        self.last.get()
    }

    /// Does `work` when the present call has returned cleanly, then calls back.
    pub(super) fn begin(
        &self,
        callback: Function,
        work: impl Future<Output = Arguments> + 'static,
    ) -> mlua::Result<()> {
        let mut callbacks = self.callbacks.borrow_mut();
        if callbacks.len() >= MAX_CALLBACKS {
            return Err(super::call::refused(format!("{MAX_CALLBACKS} answers are waited for already")));
        }
        let id = self.number();
        callbacks.insert(id, callback);
        self.begun.borrow_mut().push(Begun::Work(id, Box::pin(work)));
        Ok(())
    }

    pub(super) fn begin_timer(&self, id: u64) {
        self.begun.borrow_mut().push(Begun::Timer(id));
    }

    /// Runs a timer or a callback, and charges it for its time.
    pub(super) fn run(&self, occasion: Occasion, function: &Function, arguments: MultiValue) {
        let Some(runner) = self.runner.get() else { return };
        let began = self.env.clock.now().mono;
        runner(occasion, function, arguments);
        let took = self.env.clock.now().mono.saturating_sub(began);
        self.paid.set(self.paid.get().max(began).saturating_add(took.saturating_mul(SHARE)));
    }
}

/// Waits until the VM's timers and callbacks have not had more than their share of the worker; None: the VM is gone.
pub(super) async fn turn(guest: &Weak<Guest>) -> Option<Rc<Guest>> {
    loop {
        let here = guest.upgrade()?;
        let free = here.env.clock.now().mono.saturating_add(BURST * SHARE);
        let pause = here.paid.get().saturating_sub(free);
        if pause.is_zero() {
            return Some(here);
        }
        let pause = (here.env.sleep)(pause);
        drop(here); // a VM that goes does not wait for this
        pause.await;
    }
}

fn finish(guest: Weak<Guest>, id: u64, work: Work) -> Task {
    Box::pin(async move {
        let arguments = work.await;
        let Some(guest) = turn(&guest).await else { return };
        let callback = guest.callbacks.borrow_mut().remove(&id);
        let (Some(callback), Some(lua)) = (callback, guest.lua.try_upgrade()) else { return };
        match arguments(&lua) {
            Ok(arguments) => guest.run(Occasion::Callback, &callback, arguments),
            Err(error) => {
                let (unit, generation) = (&*guest.unit.name, guest.generation);
                tracing::warn!(target: "imscript::policy", unit, generation, %error, "an answer does not fit the memory");
            }
        }
    })
}
