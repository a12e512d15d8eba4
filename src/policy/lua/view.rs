//! What a stage sees: `req`, `ctx`, `portion` and `event`.
//!
//! Each is a light userdata whose address part is a ticket: the number of the call and which of the
//! four it is. It costs no allocation, and one that was kept beyond its stage no longer matches the
//! call in progress and raises an error. The fields behind it are read on demand from [`Snapshot`],
//! whose buffers are used again call after call: nothing is turned into a Lua value that the policy
//! does not ask for.

use super::failure::{describe, located};
use super::fields::line;
use super::servers::{NameList, ServerList};
use super::snapshot::Snapshot;
use crate::policy::Stage;
use crate::policy::verdict::Edit;
use mlua::{Function, IntoLua, LightUserData, Lua, LuaString, Value};
use std::cell::{Cell, RefCell};
use std::ffi::c_void;
use std::rc::Rc;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Object {
    Request,
    Context,
    Portion,
    Event,
    Failure,
    Response,
    Outcome,
}

const OBJECT_BITS: u32 = 3;

impl Object {
    fn name(self) -> &'static str {
        match self {
            Object::Request => "req",
            Object::Context => "ctx",
            Object::Portion => "portion",
            Object::Event => "event",
            Object::Failure => "failure",
            Object::Response => "resp",
            Object::Outcome => "outcome",
        }
    }

    fn of(ticket: usize) -> Object {
        match ticket & 7 {
            0 => Object::Request,
            1 => Object::Context,
            2 => Object::Portion,
            3 => Object::Event,
            4 => Object::Failure,
            5 => Object::Response,
            _ => Object::Outcome,
        }
    }

    fn fields(self) -> &'static str {
        match self {
            Object::Request => {
                "method, uri, impi, impu, kind, expires, source, transport, header(), set_header(), add_header(), \
                 remove_header()"
            }
            Object::Context => {
                "servers, impi, impu, kind, source, transport, visited_network, all_or_nothing, portion, now, generation"
            }
            Object::Portion => "naf_id, ua_id, profile, payload, payload_type",
            Object::Event => {
                "system, state, previous, cause, impi, impu, btid, naf_id, servers, expires; the time is ctx.now"
            }
            Object::Failure => "server, cause, status, attempt",
            Object::Response => "status, reason, header(), set_header(), add_header(), remove_header()",
            Object::Outcome => "method, status, broadcast, server, micros",
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
    /// Whether the message of the call in progress may be edited.
    editable: Cell<bool>,
    /// What the stage has changed so far; dropped if it fails.
    edits: RefCell<Vec<Edit>>,
    generation: u64,
}

/// Most edits of one stage.
const MAX_EDITS: usize = 16;

impl Desk {
    pub(super) fn new(servers: ServerList, event_servers: NameList, generation: u64) -> Self {
        Desk {
            call: Cell::new(0),
            last: Cell::new(0),
            snapshot: RefCell::new(Snapshot::default()),
            servers: RefCell::new(servers),
            event_servers: RefCell::new(event_servers),
            editable: Cell::new(false),
            edits: RefCell::default(),
            generation,
        }
    }

    /// Begins a call; the handles of all earlier ones are void from now on.
    pub(super) fn open(&self, stage: Stage) {
        self.editable.set(matches!(stage, Stage::Receive | Stage::Reply));
        self.edits.borrow_mut().clear();
        // 2^62 calls are never made, but a wrapped number must not be 0, which is "none".
        let call = (self.last.get().wrapping_add(1) & (usize::MAX >> OBJECT_BITS)).max(1);
        self.last.set(call);
        self.call.set(call);
    }

    pub(super) fn close(&self) {
        self.call.set(0);
    }

    /// What the stage changed in its message.
    pub(super) fn take_edits(&self) -> Vec<Edit> {
        self.edits.take()
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
    let edit = |how: How| {
        let desk = desk.clone();
        lua.create_function(move |lua, (this, name, value): (Value, Value, Value)| {
            edit(lua, &desk, how, &this, &name, &value)
        })
    };
    let methods = Methods { header, set: edit(How::Set)?, add: edit(How::Add)?, remove: edit(How::Remove)? };
    let index = {
        let desk = desk.clone();
        lua.create_function(move |lua, (handle, key): (LightUserData, Value)| {
            let object = desk.check(handle).map_err(|object| stale(lua, object))?;
            let found = match &key {
                Value::String(key) => field(lua, &desk, object, key, &methods)?,
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

/// The functions that `req` and `resp` have.
struct Methods {
    header: Function,
    set: Function,
    add: Function,
    remove: Function,
}

#[derive(Debug, Clone, Copy)]
enum How {
    Set,
    Add,
    Remove,
}

impl How {
    fn method(self) -> &'static str {
        match self {
            How::Set => "set_header",
            How::Add => "add_header",
            How::Remove => "remove_header",
        }
    }
}

/// `req:set_header(name, value)` and the like: noted, and done once the stage has returned without a fault.
fn edit(lua: &Lua, desk: &Desk, how: How, this: &Value, name: &Value, value: &Value) -> mlua::Result<()> {
    let refuse = |why: &str| Err(located(lua, &format!("{}: {why}", how.method())));
    let Value::LightUserData(handle) = this else { return refuse("call it with a colon: req:set_header(name, value)") };
    match desk.check(*handle) {
        Ok(Object::Request | Object::Response) if desk.editable.get() => {}
        Ok(Object::Request | Object::Response) => return refuse("messages are edited in the stages receive and reply"),
        Ok(object) => return refuse(&format!("{} has no headers", object.name())),
        Err(object) => return Err(stale(lua, object)),
    }
    let mut edits = desk.edits.borrow_mut();
    if edits.len() == MAX_EDITS {
        return refuse(&format!("more than {MAX_EDITS} edits in one stage"));
    }
    let because = |error: mlua::Error| located(lua, &format!("{}: {}", how.method(), describe(&error)));
    let name = line("name", name).map_err(because)?;
    let edit = match how {
        How::Set => Edit::Set { name, value: line("value", value).map_err(because)? },
        How::Add => Edit::Add { name, value: line("value", value).map_err(because)? },
        How::Remove => Edit::Remove { name },
    };
    // Here the policy's author learns of it with the line; the server would only leave it out.
    edit.check().map_err(|why| located(lua, &format!("{}: {why}", how.method())))?;
    edits.push(edit);
    Ok(())
}

/// `req:header(name)`: the first field of that name, unfolded; nil if there is none.
fn header(lua: &Lua, desk: &Desk, this: &Value, name: &Value) -> mlua::Result<Option<LuaString>> {
    let Value::LightUserData(handle) = this else {
        return Err(located(lua, "call it with a colon: req:header(name)"));
    };
    match desk.check(*handle) {
        Ok(Object::Request | Object::Response) => {}
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
fn field(lua: &Lua, desk: &Desk, object: Object, key: &LuaString, methods: &Methods) -> mlua::Result<Option<Value>> {
    let snapshot = desk.snapshot.borrow();
    let text = |bytes: &[u8]| lua.create_string(bytes).map(|text| Some(Value::String(text)));
    let maybe = |bytes: Option<&[u8]>| bytes.map_or(Ok(Some(Value::Nil)), text);
    let number = |number: u64| number.into_lua(lua).map(Some);
    let known = |bytes: &[u8]| if bytes.is_empty() { Ok(Some(Value::Nil)) } else { text(bytes) };
    let handle = |object| Some(Value::LightUserData(desk.handle(object)));
    let method = |function: &Function| Ok(Some(Value::Function(function.clone())));
    let key = key.as_bytes();
    match (object, &*key) {
        (Object::Request | Object::Outcome, b"method") => text(snapshot.get(snapshot.method)),
        (Object::Request, b"uri") => text(snapshot.get(snapshot.uri)),
        (Object::Request | Object::Context | Object::Event, b"impi") => known(snapshot.get(snapshot.impi)),
        (Object::Request | Object::Context | Object::Event, b"impu") => known(snapshot.get(snapshot.impu)),
        (Object::Request | Object::Context, b"kind") => text(snapshot.kind.as_bytes()),
        (Object::Request, b"expires") => snapshot.requested_expiry().map_or(Ok(Some(Value::Nil)), |s| number(s.into())),
        (Object::Request | Object::Context, b"source") => {
            maybe(snapshot.source.map(|addr| addr.to_string()).as_deref().map(str::as_bytes))
        }
        (Object::Request | Object::Context, b"transport") => text(snapshot.transport.as_bytes()),
        (Object::Request | Object::Response, b"header") => method(&methods.header),
        (Object::Request | Object::Response, b"set_header") => method(&methods.set),
        (Object::Request | Object::Response, b"add_header") => method(&methods.add),
        (Object::Request | Object::Response, b"remove_header") => method(&methods.remove),

        (Object::Context, b"servers") => Ok(Some(Value::Table(desk.servers.borrow().table()))),
        (Object::Context, b"visited_network") => maybe(snapshot.maybe(snapshot.visited_network)),
        (Object::Context, b"all_or_nothing") => Ok(Some(Value::Boolean(snapshot.all_or_nothing))),
        (Object::Context, b"now") => number(snapshot.unix),
        (Object::Context, b"generation") => number(desk.generation),
        (Object::Context, b"portion") => {
            Ok(if snapshot.naf_id.is_some() { handle(Object::Portion) } else { Some(Value::Nil) })
        }

        (Object::Portion | Object::Event, b"naf_id") => maybe(snapshot.maybe(snapshot.naf_id)),
        (Object::Portion, b"ua_id") => text(&snapshot.ua_id_hex()),
        (Object::Portion, b"profile") => maybe(snapshot.maybe(snapshot.profile)),
        (Object::Portion, b"payload") => maybe(snapshot.maybe(snapshot.payload)),
        (Object::Portion, b"payload_type") => maybe(snapshot.maybe(snapshot.payload_type)),

        (Object::Event, b"system") => text(snapshot.system.as_bytes()),
        (Object::Event, b"state") => text(snapshot.state.as_bytes()),
        (Object::Event, b"previous") => text(snapshot.previous.as_bytes()),
        (Object::Event | Object::Failure, b"cause") => text(snapshot.get(snapshot.cause)),
        (Object::Event, b"btid") => maybe(snapshot.maybe(snapshot.btid)),
        (Object::Event, b"servers") => Ok(Some(Value::Table(desk.event_servers.borrow().table()))),
        (Object::Event, b"expires") => number(snapshot.expires.into()),

        (Object::Failure | Object::Outcome, b"server") => maybe(snapshot.maybe(snapshot.server)),
        (Object::Failure | Object::Response | Object::Outcome, b"status") => {
            snapshot.status.map_or(Ok(Some(Value::Nil)), |status| number(status.into()))
        }
        (Object::Failure, b"attempt") => number(snapshot.attempt.into()),
        (Object::Response, b"reason") => text(snapshot.get(snapshot.reason)),
        (Object::Outcome, b"broadcast") => maybe(snapshot.broadcast.map(str::as_bytes)),
        (Object::Outcome, b"micros") => number(snapshot.micros),
        _ => Ok(None),
    }
}
