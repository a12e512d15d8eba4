//! A broadcast server in a test: `t:server("north")`.

use super::super::case::Case;
use super::super::servers::{Behaviour, Server};
use super::super::value::Fields;
use super::message::LuaMessage;
use super::{at, read};
use mlua::{Lua, Table, UserData, UserDataFields, UserDataMethods};
use std::rc::Rc;

pub(super) struct LuaServer {
    case: Rc<Case>,
    name: String,
}

impl LuaServer {
    pub(super) fn new(case: Rc<Case>, name: String) -> Self {
        LuaServer { case, name }
    }

    fn server(&self, lua: &Lua) -> mlua::Result<Rc<Server>> {
        let running = at(lua, self.case.running())?;
        at(lua, running.world.servers.by_name(&self.name).cloned().ok_or("this server was never declared"))
    }
}

impl UserData for LuaServer {
    fn add_fields<F: UserDataFields<Self>>(fields: &mut F) {
        fields.add_field_method_get("name", |_, me| Ok(me.name.clone()));
    }

    fn add_methods<M: UserDataMethods<Self>>(methods: &mut M) {
        // What it got since the last time.
        methods.add_method("received", |lua, me, ()| {
            let server = me.server(lua)?;
            let received = server.received.take();
            lua.create_sequence_from(received.iter().map(LuaMessage::received))
        });
        methods.add_method("answers", |lua, me, options: Table| {
            let fields = read(lua, Fields::new("server:answers", Some(options), &["status", "after", "headers"]))?;
            let mut behaviour = Behaviour::default();
            if let Some(status) = read(lua, fields.number("status"))? {
                let status = u16::try_from(status).ok().filter(|status| (200..700).contains(status));
                behaviour.status = Some(at(lua, status.ok_or("status is not between 200 and 699"))?);
            }
            behaviour.after = read(lua, fields.duration("after"))?.unwrap_or_default();
            let headers = read(lua, fields.headers("headers"))?;
            if !headers.is_empty() {
                behaviour.headers = headers;
            }
            me.server(lua)?.behaviour.replace(behaviour);
            Ok(())
        });
        methods.add_method("down", |lua, me, ()| {
            me.server(lua)?.behaviour.borrow_mut().status = None;
            Ok(())
        });
        methods.add_method("up", |lua, me, ()| {
            me.server(lua)?.behaviour.replace(Behaviour::default());
            Ok(())
        });
    }
}
