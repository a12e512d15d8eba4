//! `ctx.servers` and `event.servers`: read-only tables, made again only when the list differs from
//! that of the call before. They hold configuration, nothing of a request.

use crate::policy::ServerView;
use mlua::{Function, Lua, Table};
use std::sync::Arc;

/// The configured broadcast servers.
pub(super) struct ServerList {
    /// Held, so that nothing else can come to lie at its address.
    views: Arc<[ServerView]>,
    table: Table,
    /// What `lua/ims/servers.lua` returns.
    index: Function,
}

impl ServerList {
    /// Before the sandbox is closed: the prelude is ours and takes its functions from the globals.
    pub(super) fn new(lua: &Lua, views: Arc<[ServerView]>) -> mlua::Result<Self> {
        let prelude = include_str!("../../../lua/ims/servers.lua");
        let index: Function = lua.load(prelude).set_name("=ims/servers").eval()?;
        let table = table(lua, &index, &views)?;
        Ok(ServerList { views, table, index })
    }

    /// The new table, if the list is another one. A node's own is known by its address: servers are not compared at every
    /// call.
    pub(super) fn update(&mut self, lua: &Lua, views: &[ServerView]) -> mlua::Result<Option<Table>> {
        if std::ptr::eq(&*self.views, views) || *self.views == *views {
            return Ok(None);
        }
        self.table = table(lua, &self.index, views)?;
        self.views = views.into();
        Ok(Some(self.table.clone()))
    }

    pub(super) fn table(&self) -> Table {
        self.table.clone()
    }

    pub(super) fn has(&self, name: &str) -> bool {
        self.views.iter().any(|view| view.name == name)
    }
}

fn table(lua: &Lua, index: &Function, views: &[ServerView]) -> mlua::Result<Table> {
    let list = lua.create_table_with_capacity(views.len(), 0)?;
    for view in views {
        let server = lua.create_table()?;
        server.raw_set("name", view.name.as_str())?;
        server.raw_set("naf_ids", view.naf_fqdns.as_slice())?;
        list.raw_push(server)?;
    }
    let table: Table = index.call(list)?;
    table.set_readonly(true);
    Ok(table)
}

/// A list of names.
pub(super) struct NameList {
    names: Vec<String>,
    table: Table,
}

impl NameList {
    pub(super) fn new(lua: &Lua) -> mlua::Result<Self> {
        let table = lua.create_table()?;
        table.set_readonly(true);
        Ok(NameList { names: Vec::new(), table })
    }

    pub(super) fn update(&mut self, lua: &Lua, names: &[&str]) -> mlua::Result<Option<Table>> {
        if self.names == names {
            return Ok(None);
        }
        let table = lua.create_sequence_from(names.iter().copied())?;
        table.set_readonly(true);
        self.table = table.clone();
        self.names = names.iter().map(|name| (*name).to_owned()).collect();
        Ok(Some(table))
    }

    pub(super) fn table(&self) -> Table {
        self.table.clone()
    }
}
