//! `t:ask(stage, { req = …, portion = …, ctx = …, event = … })`: one question, without a network around it.

use super::super::case::Case;
use super::super::scene::{OwnedPortion, Scene};
use super::super::value::{Fields, to_lua};
use super::super::words;
use super::{at, message, read};
use crate::gba::naf_id::UaId;
use crate::hss::RegState;
use crate::policy::chain::StepAnswer;
use crate::policy::diagnostic::nearest;
use crate::policy::verdict::Opinion;
use crate::policy::{Kind, ServerView, Stage, System};
use crate::sip::transaction::Transport;
use mlua::{Error, Lua, Table, Value};
use serde_json::json;

/// The stage of that name.
pub(super) fn stage(name: &str) -> Result<Stage, String> {
    Stage::named(name).ok_or_else(|| {
        let near = nearest(name, Stage::ALL.map(Stage::as_str)).map(|near| format!("; did you mean {near}?"));
        format!("unknown stage {name:?}; the stages are {}{}", Stage::names(), near.unwrap_or_default())
    })
}

/// A verdict with who gave it; "default" where nobody did.
pub(super) fn verdict(opinion: &Opinion, unit: Option<&str>, stage: Stage) -> serde_json::Value {
    let mut words = words::json(opinion);
    if let Some(object) = words.as_object_mut() {
        object.insert("by".to_owned(), json!(unit.unwrap_or("default")));
        object.insert("stage".to_owned(), json!(stage.as_str()));
    }
    words
}

pub(super) fn ask(lua: &Lua, case: &Case, name: &str, options: Option<Table>) -> mlua::Result<Value> {
    let stage = at(lua, stage(name))?;
    let running = at(lua, case.running())?;
    let servers = running.world.scscf.shared.servers.clone();
    let unix = case.clock().now().unix.as_secs();
    let scene = read(lua, scene(options, &servers, unix))?;
    if scene.portion.is_none() && matches!(stage, Stage::Broadcast | Stage::Failure) {
        return at(lua, Err("this stage needs a portion: portion = { naf_id = \"bsm.home1.net\" }"));
    }
    running.recorder.take_steps_if(|step| step.stage == stage && !matches!(step.answer, StepAnswer::Fault(_)));
    let Some(opinion) = scene.verdict(stage, &*running.recorder) else { return Ok(Value::Nil) };
    let steps = running.recorder.take_steps_if(|s| s.stage == stage && matches!(s.answer, StepAnswer::Opinion(_)));
    to_lua(lua, &verdict(&opinion, steps.last().map(|step| &*step.unit), stage))
}

fn scene(options: Option<Table>, servers: &[ServerView], unix: u64) -> mlua::Result<Scene> {
    let fields = Fields::new("t:ask", options, &["req", "portion", "ctx", "event", "failure", "outcome"])?;
    let table = |key: &str| match fields.value(key)? {
        Value::Nil => Ok(None),
        Value::Table(table) => Ok(Some(table)),
        _ => Err(Error::runtime(format!("{key} must be a table"))),
    };
    let req = Fields::new(
        "req",
        table("req")?,
        &["method", "uri", "impi", "impu", "kind", "expires", "headers", "body", "source", "transport"],
    )?;
    let octets = message::request(&req)?;
    let request = crate::sip::Message::parse_owned(octets)
        .map_err(|fault| Error::runtime(format!("req cannot be written as a request: {}", fault.reason)))?;
    let mut source = Scene::somewhere();
    if let Some(addr) = req.text("source")? {
        source.addr =
            addr.parse().map_err(|_| Error::runtime("source must be an address such as \"192.0.2.1:5060\""))?;
    }
    if let Some(transport) = req.text("transport")? {
        let known = [("udp", Transport::Udp), ("tcp", Transport::Tcp), ("tls", Transport::Tls)];
        source.transport = word("transport", &transport, &known)?;
    }
    let mut scene = Scene::of(request, source, servers, unix).map_err(Error::external)?;
    if let Some(kind) = req.text("kind")? {
        let known = [Kind::Initial, Kind::Refresh, Kind::Deregister, Kind::Other].map(|kind| (kind.as_str(), kind));
        scene.kind = word("kind", &kind, &known)?;
    }
    if let Some(impi) = req.text("impi")? {
        scene.impi = impi;
    }
    let known = ["visited_network", "all_or_nothing", "hss_away", "now", "servers"];
    context(&mut scene, &Fields::new("ctx", table("ctx")?, &known)?)?;
    if let Some(portion) = table("portion")? {
        let known = ["naf_id", "ua_id", "profile", "payload", "payload_type"];
        scene.portion = Some(owned_portion(&Fields::new("portion", Some(portion), &known)?)?);
    }
    if let Some(naf) = scene.portion.as_ref().map(|portion| portion.naf_fqdn.clone()) {
        scene.event.naf_fqdn.get_or_insert(naf);
    }
    event(&mut scene, table("event")?)?;
    let failure = Fields::new("failure", table("failure")?, &["server", "cause", "status", "attempt"])?;
    if let Some(server) = failure.text("server")? {
        scene.failure.server = server;
    }
    if let Some(cause) = failure.text("cause")? {
        scene.failure.cause = cause;
    }
    scene.failure.status = failure.number("status")?.and_then(|status| u16::try_from(status).ok());
    if let Some(attempt) = failure.number("attempt")? {
        scene.failure.attempt = u32::try_from(attempt).unwrap_or(u32::MAX);
    }
    let outcome = Fields::new("outcome", table("outcome")?, &["method", "status", "broadcast", "server", "micros"])?;
    if let Some(status) = outcome.number("status")? {
        scene.outcome.status = u16::try_from(status).unwrap_or(u16::MAX);
    }
    if let Some(state) = outcome.text("broadcast")? {
        scene.outcome.broadcast = Some(reg_state("broadcast", &state)?);
    }
    scene.outcome.server = outcome.text("server")?.or(scene.outcome.server);
    scene.outcome.method = outcome.text("method")?.unwrap_or(scene.outcome.method);
    scene.outcome.micros = outcome.number("micros")?.unwrap_or(scene.outcome.micros);
    Ok(scene)
}

fn context(scene: &mut Scene, ctx: &Fields) -> mlua::Result<()> {
    if let Some(network) = ctx.text("visited_network")? {
        scene.visited_network = Some(network);
    }
    if ctx.flag("all_or_nothing")? {
        scene.all_or_nothing = true;
    }
    scene.hss_away = ctx.flag("hss_away")?;
    scene.unix = match ctx.value("now")? {
        Value::String(text) => {
            let text = text.to_str()?.to_owned();
            crate::broadcast::datetime::parse(&text)
                .ok_or_else(|| Error::runtime(format!("now: {text:?} is no time")))?
        }
        _ => ctx.number("now")?.unwrap_or(scene.unix),
    };
    if let Some(names) = ctx.texts("servers")? {
        let known = |name: &String| {
            let found = scene.servers.iter().find(|server| server.name == *name).cloned();
            found.ok_or_else(|| Error::runtime(format!("servers: {name:?} is not declared with t:server")))
        };
        scene.servers = names.iter().map(known).collect::<mlua::Result<_>>()?;
    }
    Ok(())
}

fn owned_portion(fields: &Fields) -> mlua::Result<OwnedPortion> {
    let ua_id = match fields.text("ua_id")? {
        None => UaId::MBMS,
        Some(text) => UaId::parse(&text).ok_or_else(|| Error::runtime("ua_id must be ten hexadecimal digits"))?,
    };
    let payload = fields.octets("payload")?;
    let kind = fields.text("payload_type")?;
    Ok(OwnedPortion {
        naf_fqdn: fields.text("naf_id")?.ok_or_else(|| Error::runtime("portion: naf_id is missing"))?,
        ua_id: ua_id.0,
        profile: fields.text("profile")?,
        payload_type: payload
            .as_ref()
            .map(|_| kind.unwrap_or_else(|| crate::terminal::register::PROVISIONING.to_owned())),
        payload,
    })
}

fn event(scene: &mut Scene, table: Option<Table>) -> mlua::Result<()> {
    let known = ["system", "state", "previous", "cause", "impi", "impu", "btid", "naf_id", "servers", "expires"];
    let fields = Fields::new("event", table, &known)?;
    let event = &mut scene.event;
    if let Some(system) = fields.text("system")? {
        event.system = word("system", &system, &[("ims", System::Ims), ("broadcast", System::Broadcast)])?;
    }
    if let Some(state) = fields.text("state")? {
        event.state = reg_state("state", &state)?;
    }
    if let Some(state) = fields.text("previous")? {
        event.previous = reg_state("previous", &state)?;
    }
    if let Some(cause) = fields.text("cause")? {
        event.cause = cause;
    }
    event.btid = fields.text("btid")?.or(event.btid.take());
    event.naf_fqdn = fields.text("naf_id")?.or(event.naf_fqdn.take());
    if let Some(servers) = fields.texts("servers")? {
        event.servers = servers;
    }
    if let Some(expires) = fields.number("expires")? {
        event.expires = u32::try_from(expires).unwrap_or(u32::MAX);
    }
    if let Some(impi) = fields.text("impi")? {
        scene.impi = impi;
    }
    if let Some(impu) = fields.text("impu")? {
        scene.impu = impu;
    }
    Ok(())
}

fn reg_state(key: &str, text: &str) -> mlua::Result<RegState> {
    let known = [RegState::NotRegistered, RegState::Pending, RegState::Registered, RegState::Failed];
    word(key, text, &known.map(|state| (state.as_str(), state)))
}

fn word<T: Copy>(key: &str, text: &str, known: &[(&str, T)]) -> mlua::Result<T> {
    known.iter().find(|(word, _)| *word == text).map(|(_, meaning)| *meaning).ok_or_else(|| {
        let words: Vec<String> = known.iter().map(|(word, _)| format!("{word:?}")).collect();
        Error::runtime(format!("{key} is {text:?}; it may be {}", words.join(", ")))
    })
}
