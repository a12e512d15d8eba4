//! `timer`: functions that are called later. A timer belongs to its VM and ends with it.

use super::call::{Call, refused, seconds};
use super::guest::{Guest, Occasion, turn};
use super::table::{Class, Module, Param, Return, Role, Type, When, function, gives, param};
use crate::answer::Task;
use mlua::{Function, MultiValue, UserData, UserDataMethods, Value};
use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;
use std::rc::{Rc, Weak};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

const MAX_TIMERS: usize = 64;
/// Shortest interval of a repeated timer, in seconds.
const SHORTEST: Duration = Duration::from_millis(10);

pub(super) const CLASSES: &[Class] = &[Class {
    name: "Timer",
    doc: "A timer that has been set.",
    role: Role::Handle,
    fields: &[],
    methods: &[function("cancel", &[], &[], "Ends the timer; again does nothing.", cancel)],
}];

const RUN: Param = param("run", Type::Function(&[], &[]), "What is called, under the deadline of a stage.");
const HANDLE: Return = gives(Type::Class("Timer"), "With `:cancel()`.");
const ERRORS: &str = "There are 64 timers already.";

pub(super) static TIMER: Module = Module {
    name: "timer",
    doc: "Functions that are called later. They end with the generation that set them. Those set in `setup`, which runs on \
          every worker, run on the first worker only; others run on the worker that set them. All timers and callbacks of a VM together get a \
          fifth of its worker's time; what is due beyond that waits.",
    capability: Some("timer"),
    fields: &[],
    functions: &[
        function(
            "after",
            &[param("seconds", Type::Number, "Above 0, at most a year."), RUN],
            &[HANDLE],
            "Calls a function once.",
            after,
        )
        .only(When::Between)
        .fails(ERRORS),
        function(
            "every",
            &[param("seconds", Type::Number, "From 0.01, at most a year."), RUN],
            &[HANDLE],
            "Calls a function again and again, the first time after one interval. What the worker comes too late for is left \
             out.",
            every,
        )
        .only(When::Between)
        .fails(ERRORS),
    ],
};

/// The timers of one VM.
#[derive(Default)]
pub(super) struct Timers(RefCell<BTreeMap<u64, Set>>);

struct Set {
    function: Function,
    interval: Duration,
    repeats: bool,
    /// Whether it ever runs: those of `setup` do on one worker.
    runs: bool,
    bell: Rc<Bell>,
}

impl Drop for Set {
    fn drop(&mut self) {
        self.bell.ring();
    }
}

impl Timers {
    pub(super) fn remove(&self, id: u64) {
        let removed = self.0.borrow_mut().remove(&id);
        drop(removed); // not under the borrow: it wakes a task
    }

    pub(super) fn clear(&self) {
        let all = self.0.take();
        drop(all);
    }

    /// The call that set it has returned cleanly.
    pub(super) fn start(&self, guest: &Rc<Guest>, id: u64) {
        if let Some(set) = self.0.borrow().get(&id).filter(|set| set.runs) {
            let (interval, repeats, bell) = (set.interval, set.repeats, set.bell.clone());
            (guest.env.spawn)(tick(Rc::downgrade(guest), guest.env.clone(), id, interval, repeats, bell));
        }
    }
}

/// The life of one timer, from without the VM.
fn tick(
    guest: Weak<Guest>,
    env: crate::policy::lua::env::Env,
    id: u64,
    interval: Duration,
    repeats: bool,
    bell: Rc<Bell>,
) -> Task {
    Box::pin(async move {
        let mut due = env.clock.now().mono.saturating_add(interval);
        loop {
            let rest = due.saturating_sub(env.clock.now().mono);
            Until { sleep: (env.sleep)(rest), bell: &bell }.await;
            let Some(guest) = turn(&guest).await else { return };
            let function = guest.timers.0.borrow().get(&id).map(|set| set.function.clone());
            let Some(function) = function else { return };
            if !repeats {
                guest.timers.remove(id);
            }
            guest.run(Occasion::Timer, &function, MultiValue::new());
            if !repeats {
                return;
            }
            due = due.saturating_add(interval);
            let now = env.clock.now().mono;
            if due < now {
                due = now.saturating_add(interval);
            }
        }
    })
}

/// Wakes the task of a timer that is no more.
#[derive(Default)]
struct Bell {
    rung: Cell<bool>,
    waker: Cell<Option<Waker>>,
}

impl Bell {
    fn ring(&self) {
        self.rung.set(true);
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }
}

/// Ends with the sleep or with the bell.
struct Until<'a> {
    sleep: Task,
    bell: &'a Bell,
}

impl Future for Until<'_> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        if self.bell.rung.get() {
            return Poll::Ready(());
        }
        self.bell.waker.set(Some(cx.waker().clone()));
        self.sleep.as_mut().poll(cx)
    }
}

/// The handle.
struct Timer {
    guest: Weak<Guest>,
    id: u64,
}

impl UserData for Timer {
    fn add_methods<M: UserDataMethods<Self>>(methods: &mut M) {
        super::add_methods("Timer", methods);
    }
}

fn after(call: &Call<'_>) -> mlua::Result<Value> {
    set(call, false)
}

fn every(call: &Call<'_>) -> mlua::Result<Value> {
    set(call, true)
}

fn set(call: &Call<'_>, repeats: bool) -> mlua::Result<Value> {
    let guest = call.guest;
    let interval = seconds("seconds", call.value(0))?;
    if repeats && interval < SHORTEST {
        return Err(refused(format!("seconds is {}; at least {}", interval.as_secs_f64(), SHORTEST.as_secs_f64())));
    }
    let mut timers = guest.timers.0.borrow_mut();
    if timers.len() >= MAX_TIMERS {
        return Err(refused(format!("there are {MAX_TIMERS} timers already")));
    }
    let id = guest.number();
    let runs = guest.env.first || guest.occasion() != Occasion::Setup;
    timers.insert(id, Set { function: call.function(1)?, interval, repeats, runs, bell: Rc::default() });
    drop(timers);
    guest.begin_timer(id);
    call.lua.create_userdata(Timer { guest: Rc::downgrade(guest), id }).map(Value::UserData)
}

fn cancel(call: &Call<'_>) -> mlua::Result<Value> {
    if let Value::UserData(object) = call.value(0)
        && let Ok(timer) = object.borrow::<Timer>()
        && let Some(guest) = timer.guest.upgrade()
    {
        guest.timers.remove(timer.id);
    }
    Ok(Value::Nil)
}
