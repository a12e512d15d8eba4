//! What a stage sees: `req`, `ctx`, `portion` and `event`.
//!
//! Each is a light userdata whose address part is a ticket: the number of the call and which of the
//! four it is. It costs no allocation, and one that was kept beyond its stage no longer matches the
//! call in progress and raises an error. The fields behind it are read on demand from [`Snapshot`],
//! whose buffers are used again call after call: nothing is turned into a Lua value that the policy
//! does not ask for.

use super::failure::located;
use super::servers::{NameList, ServerList};
use super::snapshot::Snapshot;
use crate::policy::{Context, PortionView, StatusEvent};
use crate::sip::Message;
use mlua::{Function, IntoLua, LightUserData, Lua, LuaString, Value};
use std::cell::{Cell, RefCell};
use std::ffi::c_void;
use std::rc::Rc;

/// What the stage is asked about.
#[derive(Clone, Copy)]
pub(super) enum View<'a> {
    Request { message: &'a Message<'a>, ctx: &'a Context<'a>, portion: Option<&'a PortionView<'a>> },
    Event(&'a StatusEvent<'a>),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Object {
    Request,
    Context,
    Portion,
    Event,
}

const OBJECT_BITS: u32 = 2;

impl Object {
    fn name(self) -> &'static str {
        match self {
            Object::Request => "req",
            Object::Context => "ctx",
            Object::Portion => "portion",
            Object::Event => "event",
        }
    }

    fn of(ticket: usize) -> Object {
        match ticket & 3 {
            0 => Object::Request,
            1 => Object::Context,
            2 => Object::Portion,
            _ => Object::Event,
        }
    }

    fn fields(self) -> &'static str {
        match self {
            Object::Request => "method, uri, impi, impu, kind, expires, source, transport, header()",
            Object::Context => "servers, visited_network, all_or_nothing, now",
            Object::Portion => "naf_id, ua_id, profile, payload, payload_type",
            Object::Event => {
                "system, state, previous, cause, impi, impu, btid, naf_id, servers, expires; the time is ctx.now"
            }
        }
    }
}

/// The call in progress. The VM's index function and the caller share it.
pub(super) struct Desk {
    /// Number of the call in progress; 0 between calls.
    call: Cell<usize>,
    last: Cell<usize>,
    pub(super) snapshot: RefCell<Snapshot>,
    pub(super) servers: RefCell<ServerList>,
    pub(super) event_servers: RefCell<NameList>,
}

impl Desk {
    pub(super) fn new(servers: ServerList, event_servers: NameList) -> Self {
        Desk {
            call: Cell::new(0),
            last: Cell::new(0),
            snapshot: RefCell::new(Snapshot::default()),
            servers: RefCell::new(servers),
            event_servers: RefCell::new(event_servers),
        }
    }

    /// Begins a call; the handles of all earlier ones are void from now on.
    pub(super) fn open(&self) {
        // 2^62 calls are never made, but a wrapped number must not be 0, which is "none".
        let call = (self.last.get().wrapping_add(1) & (usize::MAX >> OBJECT_BITS)).max(1);
        self.last.set(call);
        self.call.set(call);
    }

    pub(super) fn close(&self) {
        self.call.set(0);
    }

    /// The handle of one object for the call in progress.
    pub(super) fn handle(&self, object: Object) -> LightUserData {
        let ticket = (self.call.get() << OBJECT_BITS) | object as usize;
        LightUserData(std::ptr::without_provenance_mut::<c_void>(ticket))
    }

    fn check(&self, handle: LightUserData) -> Result<Object, Object> {
        let ticket = handle.0.addr();
        let object = Object::of(ticket);
        let call = ticket >> OBJECT_BITS;
        if call != 0 && call == self.call.get() { Ok(object) } else { Err(object) }
    }
}

/// Gives every light userdata the fields of what it stands for.
pub(super) fn install(lua: &Lua, desk: &Rc<Desk>) -> mlua::Result<()> {
    let header = {
        let desk = desk.clone();
        lua.create_function(move |lua, (this, name): (Value, Value)| header(lua, &desk, &this, &name))?
    };
    let index = {
        let desk = desk.clone();
        lua.create_function(move |lua, (handle, key): (LightUserData, Value)| {
            let object = desk.check(handle).map_err(|object| stale(lua, object))?;
            let found = match &key {
                Value::String(key) => field(lua, &desk, object, key, &header)?,
                _ => None,
            };
            found.ok_or_else(|| {
                let key = super::fields::quoted(&key);
                located(lua, &format!("{} has no field {key}; it has {}", object.name(), object.fields()))
            })
        })?
    };
    let meta = lua.create_table()?;
    meta.set("__index", index)?;
    meta.set("__metatable", false)?;
    meta.set("__tostring", lua.create_function(|_, handle: LightUserData| Ok(Object::of(handle.0.addr()).name()))?)?;
    meta.set_readonly(true);
    lua.set_type_metatable::<LightUserData>(Some(meta));
    Ok(())
}

fn stale(lua: &Lua, object: Object) -> mlua::Error {
    located(lua, &format!("{} is used after its stage has returned", object.name()))
}

/// `req:header(name)`: the first field of that name, unfolded; nil if there is none.
fn header(lua: &Lua, desk: &Desk, this: &Value, name: &Value) -> mlua::Result<Option<LuaString>> {
    let Value::LightUserData(handle) = this else {
        return Err(located(lua, "call it with a colon: req:header(name)"));
    };
    match desk.check(*handle) {
        Ok(Object::Request) => {}
        Ok(object) => return Err(located(lua, &format!("{} has no headers", object.name()))),
        Err(object) => return Err(stale(lua, object)),
    }
    let Value::String(name) = name else {
        return Err(located(lua, "req:header takes the name of a header field"));
    };
    let snapshot = desk.snapshot.borrow();
    match snapshot.header(&name.as_bytes()) {
        Some(value) => lua.create_string(value).map(Some),
        None => Ok(None),
    }
}

/// The value of a field; None if there is no field of that name.
fn field(lua: &Lua, desk: &Desk, object: Object, key: &LuaString, header: &Function) -> mlua::Result<Option<Value>> {
    let snapshot = desk.snapshot.borrow();
    let text = |bytes: &[u8]| lua.create_string(bytes).map(|text| Some(Value::String(text)));
    let maybe = |bytes: Option<&[u8]>| bytes.map_or(Ok(Some(Value::Nil)), text);
    let number = |number: u64| number.into_lua(lua).map(Some);
    let key = key.as_bytes();
    match (object, &*key) {
        (Object::Request, b"method") => text(snapshot.get(snapshot.method)),
        (Object::Request, b"uri") => text(snapshot.get(snapshot.uri)),
        (Object::Request | Object::Event, b"impi") => text(snapshot.get(snapshot.impi)),
        (Object::Request | Object::Event, b"impu") => text(snapshot.get(snapshot.impu)),
        (Object::Request, b"kind") => text(snapshot.kind.as_bytes()),
        (Object::Request, b"expires") => snapshot.requested_expiry().map_or(Ok(Some(Value::Nil)), |s| number(s.into())),
        (Object::Request, b"source") => {
            maybe(snapshot.source.map(|addr| addr.to_string()).as_deref().map(str::as_bytes))
        }
        (Object::Request, b"transport") => text(snapshot.transport.as_bytes()),
        (Object::Request, b"header") => Ok(Some(Value::Function(header.clone()))),

        (Object::Context, b"servers") => Ok(Some(Value::Table(desk.servers.borrow().table()))),
        (Object::Context, b"visited_network") => maybe(snapshot.maybe(snapshot.visited_network)),
        (Object::Context, b"all_or_nothing") => Ok(Some(Value::Boolean(snapshot.all_or_nothing))),
        (Object::Context, b"now") => number(snapshot.unix),

        (Object::Portion | Object::Event, b"naf_id") => maybe(snapshot.maybe(snapshot.naf_id)),
        (Object::Portion, b"ua_id") => text(&snapshot.ua_id_hex()),
        (Object::Portion, b"profile") => maybe(snapshot.maybe(snapshot.profile)),
        (Object::Portion, b"payload") => maybe(snapshot.maybe(snapshot.payload)),
        (Object::Portion, b"payload_type") => maybe(snapshot.maybe(snapshot.payload_type)),

        (Object::Event, b"system") => text(snapshot.system.as_bytes()),
        (Object::Event, b"state") => text(snapshot.state.as_bytes()),
        (Object::Event, b"previous") => text(snapshot.previous.as_bytes()),
        (Object::Event, b"cause") => text(snapshot.get(snapshot.cause)),
        (Object::Event, b"btid") => maybe(snapshot.maybe(snapshot.btid)),
        (Object::Event, b"servers") => Ok(Some(Value::Table(desk.event_servers.borrow().table()))),
        (Object::Event, b"expires") => number(snapshot.expires.into()),
        _ => Ok(None),
    }
}
