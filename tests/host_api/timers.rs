//! Timers, and what becomes of timers and answers when a generation ends or a call fails.

use crate::world::World;
use imscript::policy::capability::Capabilities;
use imscript::policy::lua::{Generation, Seat};
use imscript::policy::{Chain, Decide};
use std::sync::Arc;

fn timer() -> Capabilities {
    Capabilities { timer: true, shared: Some(1 << 20), ..Capabilities::default() }
}

/// A plugin whose `setup` is this, and that says what is in `said`.
fn plugin(setup: &str) -> String {
    format!(
        "local policy, said = {{}}, ''
        function policy.setup() {setup} end
        function policy.broadcast(req, portion, ctx) return ims.skip('> ' .. said) end
        return policy"
    )
}

#[test]
fn timers_run_when_their_time_has_come() {
    let world = World::new();
    let chain = world.chain(
        timer(),
        &plugin(
            "timer.after(5, function() said = said .. 'a' end)
             local every
             every = timer.every(2, function() said = said .. 'e' if #said > 4 then every:cancel() end end)",
        ),
    );
    let said = |chain: &Chain| world.ask(chain).unwrap().split_off(2);
    world.advance(1.9);
    assert_eq!(said(&chain), "");
    world.advance(0.1);
    assert_eq!(said(&chain), "e");
    world.advance(3.5);
    assert_eq!(said(&chain), "eea");
    world.advance(100.0);
    assert_eq!(said(&chain), "eeaee");
    assert_eq!(world.tasks(), 0);
}

#[test]
fn timers_of_setup_run_on_the_first_worker_only() {
    let mut world = World::new();
    world.env.first = false;
    let chain = world.chain(timer(), &plugin("timer.every(1, function() said = said .. 'e' end)"));
    world.advance(5.0);
    assert_eq!((world.ask(&chain).unwrap(), world.tasks()), ("> ".to_owned(), 0));
}

#[test]
fn a_timer_ends_with_its_vm_and_with_its_generation() {
    let world = World::new();
    let text = plugin("timer.every(1, function() shared.incr('ticks') end)");
    let chain = world.chain(timer(), &text);
    world.advance(3.0);
    chain.retire("replaced");
    world.advance(3.0);
    assert_eq!(world.tasks(), 0);
    drop(chain);
    let chain = world.chain(timer(), &text);
    world.advance(2.0);
    drop(chain);
    world.turn();
    assert_eq!(world.tasks(), 0);
    let probe =
        world.chain(timer(), "return { broadcast = function() return ims.skip(tostring(shared.get('ticks'))) end }");
    assert_eq!(world.ask(&probe).unwrap(), "5");
}

#[test]
fn a_prepared_generation_waits_with_its_timers_until_it_decides() {
    let world = World::new();
    let generation = |id, name: &str| {
        let text = plugin(&format!("timer.every(1, function() shared.incr('{name}') end)"));
        Generation::new(id, [Arc::new(crate::world::unit("probe", timer(), &text))])
    };
    let seat = Seat::new(&generation(1, "old"), &world.env).unwrap();
    seat.prepare(&generation(2, "new"), &world.env).unwrap();
    world.advance(2.0);
    let pinned = seat.pin("alice@home1.net");
    assert!(seat.switch(None));
    world.advance(3.0);
    let text = "return { broadcast = function() return ims.skip(shared.get('old') .. ' ' .. shared.get('new')) end }";
    let probe = world.chain(timer(), text);
    assert_eq!(world.ask(&probe).unwrap(), "2 3");
    drop(pinned);
}

#[test]
fn what_a_call_that_fails_asked_for_is_not_begun() {
    let world = World::new();
    let text = "
        local policy, said = {}, ''
        function policy.status(event, ctx)
          timer.after(1, function() said = said .. 'x' end)
          store.set('k', 1, function() said = said .. 'y' end)
          if event.cause == 'registered' then error('no') end
        end
        function policy.broadcast(req, portion, ctx) return ims.skip('> ' .. said) end
        return policy";
    let chain = world.chain(Capabilities { store: Some(4096), ..timer() }, text);
    assert!(world.status(&chain).unwrap().contains("no"));
    world.advance(5.0);
    assert_eq!((world.ask(&chain).unwrap(), world.tasks()), ("> ".to_owned(), 0));
}

#[test]
fn timers_are_counted_and_kept_out_of_stages() {
    let world = World::new();
    let refused =
        |setup: &str| world.load(crate::world::unit("probe", timer(), &plugin(setup))).err().unwrap().to_string();
    assert!(refused("for i = 1, 65 do timer.after(1, function() end) end").contains("there are 64 timers already"));
    assert!(refused("timer.every(0.001, function() end)").contains("at least 0.01"));
    assert!(refused("timer.after(0, function() end)").contains("must be above 0"));
    assert!(refused("timer.after(5)").contains("run is nil; it must be a function"));
    let fault = world.try_value("timer.after(1, function() end)").unwrap_err();
    assert!(fault.contains("timer.after: it may be called in `setup`, `status`"), "{fault}");
    assert!(fault.contains("not in stage broadcast"), "{fault}");
}

#[test]
fn a_timer_that_fails_is_counted_and_one_that_hangs_costs_its_vm_only() {
    let world = World::new();
    let chain = world.chain(timer(), &plugin("timer.every(1, function() error('oh') end)"));
    world.advance(3.0);
    let metrics = world.env.host.metrics.exposition();
    let line = "imscript_policy_background_faults_total{unit=\"probe\",generation=\"3\",cause=\"error\"} 3";
    assert!(metrics.contains(line), "{metrics}");
    drop(chain);

    let text = plugin("said = 'fresh' timer.after(10, function() said = 'dirty' while true do end end)");
    let chain = world.chain(timer(), &text);
    world.advance(10.0);
    assert!(world.env.host.metrics.exposition().contains("cause=\"timeout\"} 1"));
    // Built anew without a request, so that its timers are there again.
    world.advance(1.0);
    assert_eq!(world.tasks(), 1);
    assert_eq!(world.ask(&chain).unwrap(), "> fresh");
}
