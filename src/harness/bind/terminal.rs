//! A terminal in a test: `t:terminal{ impi = …, naf_id = … }`.

use super::super::case::Case;
use super::super::terminal::{Terminal, Wish};
use super::super::value::Fields;
use super::message::LuaMessage;
use super::{at, read};
use crate::hss::BroadcastSubscription;
use crate::policy::lua::show;
use crate::sip::transaction::Source;
use mlua::{Lua, Table, UserData, UserDataFields, UserDataMethods, Value};
use std::cell::RefCell;
use std::rc::Rc;

/// What is said of the terminal once, and may be said anew with every REGISTER.
const WISH: [&str; 5] = ["naf_id", "payload", "all_or_nothing", "headers", "expires"];
const WHO: [&str; 5] = ["name", "impi", "impu", "visited_network", "services"];

pub(super) struct LuaTerminal {
    case: Rc<Case>,
    terminal: RefCell<Terminal>,
}

impl LuaTerminal {
    pub(super) fn make(lua: &Lua, case: Rc<Case>, options: Option<Table>) -> mlua::Result<Self> {
        let known: Vec<&str> = WHO.into_iter().chain(WISH).collect();
        let fields = read(lua, Fields::new("t:terminal", options, &known))?;
        let name = read(lua, fields.text("name"))?.unwrap_or_else(|| "alice".to_owned());
        let impi = read(lua, fields.text("impi"))?.unwrap_or_else(|| format!("{name}@home1.net"));
        let impu = read(lua, fields.text("impu"))?.unwrap_or_else(|| format!("sip:{impi}"));
        let visited = read(lua, fields.text("visited_network"))?;
        let services = read(lua, services(&fields))?.unwrap_or(BroadcastSubscription::All);
        let running = at(lua, case.running())?;
        let mut terminal = at(lua, Terminal::new(&running.world, &impi, &impu, services, visited))?;
        terminal.wish = read(lua, wish(&fields, &Wish::default()))?;
        Ok(LuaTerminal { case, terminal: RefCell::new(terminal) })
    }

    pub(super) fn source(&self) -> Source {
        self.terminal.borrow().source.clone()
    }

    fn register(&self, lua: &Lua, options: Option<Table>, deregister: bool) -> mlua::Result<LuaMessage> {
        let running = at(lua, self.case.running())?;
        let mut terminal = self.terminal.borrow_mut();
        let mut wanted = if deregister {
            Wish { expires: Some(0), ..Wish::default() }
        } else {
            let fields = read(lua, Fields::new("terminal:register", options, &WISH))?;
            read(lua, wish(&fields, &terminal.wish))?
        };
        if deregister {
            wanted.headers.clone_from(&terminal.wish.headers);
        }
        let response = at(lua, terminal.register(&running.world, &wanted))?;
        at(lua, running.world.engine.settle())?;
        Ok(LuaMessage::response(response))
    }
}

fn wish(fields: &Fields, before: &Wish) -> mlua::Result<Wish> {
    let headers = fields.headers("headers")?;
    Ok(Wish {
        naf_id: fields.text("naf_id")?.or_else(|| before.naf_id.clone()),
        payload: fields.octets("payload")?.or_else(|| before.payload.clone()),
        all_or_nothing: fields.flag("all_or_nothing")? || before.all_or_nothing,
        headers: if headers.is_empty() { before.headers.clone() } else { headers },
        expires: match fields.number("expires")? {
            Some(seconds) => Some(u32::try_from(seconds).unwrap_or(u32::MAX)),
            None => before.expires,
        },
    })
}

/// `services = "all"`, `"none"`, or a list of service ids: what the HSS says that the user may receive.
fn services(fields: &Fields) -> mlua::Result<Option<BroadcastSubscription>> {
    match fields.value("services")? {
        Value::Nil => Ok(None),
        Value::String(word) if &*word.as_bytes() == b"all" => Ok(Some(BroadcastSubscription::All)),
        Value::String(word) if &*word.as_bytes() == b"none" => Ok(Some(BroadcastSubscription::None)),
        Value::Table(_) => {
            let list = fields.texts("services")?.unwrap_or_default();
            Ok(Some(BroadcastSubscription::Services(list.into())))
        }
        other => {
            Err(mlua::Error::runtime(format!("services is {}; it may be \"all\", \"none\" or a list", show(&other))))
        }
    }
}

impl UserData for LuaTerminal {
    fn add_fields<F: UserDataFields<Self>>(fields: &mut F) {
        fields.add_field_method_get("impi", |_, me| Ok(me.terminal.borrow().impi().to_owned()));
        fields.add_field_method_get("impu", |_, me| Ok(me.terminal.borrow().impu().to_owned()));
    }

    fn add_methods<M: UserDataMethods<Self>>(methods: &mut M) {
        methods.add_method("register", |lua, me, options: Option<Table>| me.register(lua, options, false));
        methods.add_method("deregister", |lua, me, ()| me.register(lua, None, true));
        methods.add_method("is_registered", |lua, me, ()| {
            let running = at(lua, me.case.running())?;
            Ok(running.world.scscf.shared.table.get(me.terminal.borrow().impi()).is_some())
        });
        // "registered", "pending", "failed", "not_registered": of the broadcast registration.
        methods.add_method("broadcast_state", |lua, me, ()| {
            let running = at(lua, me.case.running())?;
            let leg = running.world.scscf.shared.table.leg(me.terminal.borrow().impi());
            Ok(leg.map_or("not_registered", |leg| leg.state.as_str()))
        });
        methods.add_method("set_services", |lua, me, options: Value| {
            let table = lua.create_table()?;
            table.raw_set("services", options)?;
            let fields = read(lua, Fields::new("set_services", Some(table), &["services"]))?;
            let services = read(lua, services(&fields))?.unwrap_or_default();
            let running = at(lua, me.case.running())?;
            running.world.hss.set_broadcast(me.terminal.borrow().impi(), services);
            Ok(())
        });
    }
}
