//! What a stage sees: `req`, `ctx`, `portion` and `event`.
//!
//! Each is a light userdata whose address part is a ticket: the number of the call and which of the objects it is. It
//! costs no allocation, and one that was kept beyond its stage no longer matches the call in progress and raises an
//! error. The fields behind it are read on demand from the question at hand; [`super::raw`] hands them to Lua, and
//! nothing is turned into a Lua value that the policy does not ask for.

use super::failure::{describe, located};
use super::fields::line;
use super::host::table::class;
use super::ims::Made;
use super::message;
use super::unit::Unit;
use crate::policy::verdict::Edit;
use crate::policy::{PortionView, Question, Stage};
use crate::sip::Message;
use mlua::{Function, Lua, Value};
use std::cell::{Cell, RefCell};
use std::io::Write;
use std::rc::Rc;
use std::sync::Arc;

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
    pub(super) const ALL: [Object; 7] = [
        Object::Request,
        Object::Context,
        Object::Portion,
        Object::Event,
        Object::Failure,
        Object::Response,
        Object::Outcome,
    ];

    pub(super) fn name(self) -> &'static str {
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

    pub(super) fn of(ticket: usize) -> Object {
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

    /// Its type in the table of the host API.
    pub(super) fn class(self) -> &'static str {
        match self {
            Object::Request => "Request",
            Object::Context => "Context",
            Object::Portion => "Portion",
            Object::Event => "Event",
            Object::Failure => "Failure",
            Object::Response => "Response",
            Object::Outcome => "Outcome",
        }
    }

    fn fields(self) -> String {
        class(self.class()).map(|class| class.names()).unwrap_or_default()
    }
}

/// The call in progress. The C functions of the VM and the caller share it.
pub(super) struct Desk {
    /// Number of the call in progress; 0 between calls.
    call: Cell<usize>,
    last: Cell<usize>,
    /// Text made for Lua that is not in the question: an unfolded header, the words of an error.
    pub(super) scratch: RefCell<Vec<u8>>,
    /// What the stage returned.
    pub(super) returned: RefCell<Returned>,
    /// The question at hand; only [`super::raw`] looks through it.
    pub(super) question: super::raw::Asked,
    /// Whether the message of the call in progress may be edited.
    editable: Cell<bool>,
    /// What the stage has changed so far; dropped if it fails.
    edits: RefCell<Vec<Edit>>,
    generation: u64,
    pub(super) unit: Arc<Unit>,
}

/// What a stage gave back.
#[derive(Debug, Default)]
pub(super) enum Returned {
    #[default]
    Nothing,
    Made(Made),
    /// No verdict: the name of its type.
    Other(&'static str),
}

/// A field's value on its way to Lua.
#[derive(Debug, Clone, Copy)]
pub(super) enum Field<'a> {
    Nil,
    Truth(bool),
    Number(f64),
    Text(&'a [u8]),
    /// The text in [`Desk::scratch`].
    Scratch,
    Object(Object),
    Kept(Kept),
}

/// Lua values that are made once, by their place in the table that the C functions have of them.
#[derive(Debug, Clone, Copy)]
#[repr(i32)]
pub(super) enum Kept {
    Servers = 1,
    EventServers,
    Header,
    SetHeader,
    AddHeader,
    RemoveHeader,
}

/// An error is on its way: its words are in [`Desk::scratch`].
pub(super) struct Refused;

/// Most edits of one stage.
const MAX_EDITS: usize = 16;

impl Desk {
    pub(super) fn new(unit: Arc<Unit>, generation: u64) -> Self {
        Desk {
            call: Cell::new(0),
            last: Cell::new(0),
            scratch: RefCell::default(),
            returned: RefCell::default(),
            question: super::raw::Asked::default(),
            editable: Cell::new(false),
            edits: RefCell::default(),
            generation,
            unit,
        }
    }

    /// Begins a call; the handles of all earlier ones are void from now on.
    pub(super) fn open(&self, stage: Stage) {
        self.editable.set(matches!(stage, Stage::Receive | Stage::Reply));
        self.edits.borrow_mut().clear();
        self.returned.take();
        // 2^61 calls are never made, but a wrapped number must not be 0, which is "none".
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

    /// The ticket of one object for the call in progress.
    pub(super) fn ticket(&self, object: Object) -> usize {
        (self.call.get() << OBJECT_BITS) | object as usize
    }

    /// Which object a ticket of the call in progress is for.
    pub(super) fn check(&self, ticket: usize) -> Result<Object, Refused> {
        let object = Object::of(ticket);
        let call = ticket >> OBJECT_BITS;
        if call != 0 && call == self.call.get() {
            Ok(object)
        } else {
            self.refuse(format_args!("{} is used after its stage has returned", object.name()))
        }
    }

    pub(super) fn refuse<T>(&self, why: std::fmt::Arguments<'_>) -> Result<T, Refused> {
        let mut scratch = self.scratch.borrow_mut();
        scratch.clear();
        // Writing to memory does not fail.
        let _ = scratch.write_fmt(why);
        Err(Refused)
    }

    fn write(&self, text: &[u8]) -> Field<'static> {
        let mut scratch = self.scratch.borrow_mut();
        scratch.clear();
        scratch.extend_from_slice(text);
        Field::Scratch
    }

    /// The first header field of that name; nil if there is none.
    pub(super) fn header<'a>(
        &self,
        question: &'a Question<'_>,
        ticket: Option<usize>,
        name: Option<&[u8]>,
    ) -> Result<Field<'a>, Refused> {
        let Some(ticket) = ticket else {
            return self.refuse(format_args!("call it with a colon: req:header(name)"));
        };
        let message = match self.check(ticket)? {
            Object::Request | Object::Response => message_of(question),
            object => return self.refuse(format_args!("{} has no headers", object.name())),
        };
        let Some(name) = name else {
            return self.refuse(format_args!("req:header takes the name of a header field"));
        };
        Ok(match message.and_then(|message| message::header(message, name)) {
            Some(std::borrow::Cow::Borrowed(value)) => Field::Text(value),
            Some(std::borrow::Cow::Owned(value)) => self.write(&value),
            None => Field::Nil,
        })
    }

    /// The value of a field of an object.
    pub(super) fn field<'a>(
        &self,
        question: &'a Question<'_>,
        object: Object,
        key: Option<&[u8]>,
    ) -> Result<Field<'a>, Refused> {
        match key.and_then(|key| self.known_field(question, object, key)) {
            Some(field) => Ok(field),
            None => {
                let key = key.map_or(super::args::Arg::Other("value that is no string"), super::args::Arg::Text);
                let key = super::args::quoted(key);
                self.refuse(format_args!("{} has no field {key}; it has {}", object.name(), object.fields()))
            }
        }
    }

    fn known_field<'a>(&self, question: &'a Question<'_>, object: Object, key: &[u8]) -> Option<Field<'a>> {
        Some(match object {
            Object::Request => match key {
                b"impi" => known(question.ctx()?.impi),
                b"impu" => known(question.ctx()?.impu),
                b"kind" => text(question.ctx()?.kind.as_str()),
                b"method" => Field::Text(message_of(question)?.method()),
                b"uri" => Field::Text(message_of(question)?.request_uri_raw()),
                b"expires" => number(message_of(question).and_then(message::requested_expiry)),
                b"source" | b"transport" => return self.known_field(question, Object::Context, key),
                _ => return header_method(key),
            },
            Object::Response => match key {
                b"status" => number(message_of(question).map(Message::status)),
                b"reason" => Field::Text(message_of(question)?.reason()),
                _ => return header_method(key),
            },
            Object::Context => return self.field_of_context(question, key),
            Object::Portion => {
                let portion = portion_of(question)?;
                match key {
                    b"naf_id" => text(portion.naf_fqdn),
                    b"ua_id" => self.write(&message::ua_id_hex(portion.ua_id)),
                    b"profile" => maybe(portion.profile),
                    b"payload" => portion.payload.map_or(Field::Nil, Field::Text),
                    b"payload_type" => maybe(portion.payload_type),
                    _ => return None,
                }
            }
            Object::Event => {
                let Question::Status { event } = question else { return None };
                match key {
                    b"system" => text(event.system.as_str()),
                    b"state" => text(event.state.as_str()),
                    b"previous" => text(event.previous.as_str()),
                    b"cause" => text(event.cause),
                    b"impi" => known(event.impi),
                    b"impu" => known(event.impu),
                    b"btid" => maybe(event.btid),
                    b"naf_id" => maybe(event.naf_fqdn),
                    b"servers" => Field::Kept(Kept::EventServers),
                    b"expires" => Field::Number(event.expires.into()),
                    _ => return None,
                }
            }
            Object::Failure => {
                let Question::Failure { failure, .. } = question else { return None };
                match key {
                    b"server" => text(failure.server),
                    b"cause" => text(failure.cause),
                    b"status" => number(failure.status),
                    b"attempt" => Field::Number(failure.attempt.into()),
                    _ => return None,
                }
            }
            Object::Outcome => {
                let Question::Finish { outcome, .. } = question else { return None };
                match key {
                    b"method" => text(outcome.method),
                    b"status" => Field::Number(outcome.status.into()),
                    b"broadcast" => maybe(outcome.broadcast.map(|state| state.as_str())),
                    b"server" => maybe(outcome.server),
                    b"micros" => Field::Number(outcome.micros as f64),
                    _ => return None,
                }
            }
        })
    }

    fn field_of_context<'a>(&self, question: &'a Question<'_>, key: &[u8]) -> Option<Field<'a>> {
        let ctx = question.ctx();
        let event = match question {
            Question::Status { event } => Some(event),
            _ => None,
        };
        Some(match key {
            b"servers" => Field::Kept(Kept::Servers),
            b"impi" => known(ctx.map(|ctx| ctx.impi).or(event.map(|event| event.impi))?),
            b"impu" => known(ctx.map(|ctx| ctx.impu).or(event.map(|event| event.impu))?),
            b"kind" => maybe(ctx.map(|ctx| ctx.kind.as_str())),
            b"source" => ctx.map_or(Field::Nil, |ctx| self.write(ctx.source.addr.to_string().as_bytes())),
            b"transport" => maybe(ctx.map(|ctx| ctx.source.transport.param())),
            b"visited_network" => maybe(ctx.and_then(|ctx| ctx.visited_network)),
            b"all_or_nothing" => Field::Truth(ctx.is_some_and(|ctx| ctx.all_or_nothing)),
            b"hss_away" => Field::Truth(ctx.is_some_and(|ctx| ctx.hss_away)),
            b"now" => Field::Number(ctx.map(|ctx| ctx.unix).or(event.map(|event| event.unix))? as f64),
            b"generation" => Field::Number(self.generation as f64),
            b"portion" => portion_of(question).map_or(Field::Nil, |_| Field::Object(Object::Portion)),
            _ => return None,
        })
    }
}

fn text(text: &str) -> Field<'_> {
    Field::Text(text.as_bytes())
}

fn maybe(value: Option<&str>) -> Field<'_> {
    value.map_or(Field::Nil, text)
}

/// An identity; nil where none is known.
fn known(value: &str) -> Field<'_> {
    if value.is_empty() { Field::Nil } else { text(value) }
}

fn number<'a>(value: Option<impl Into<f64>>) -> Field<'a> {
    value.map_or(Field::Nil, |value| Field::Number(value.into()))
}

fn header_method(key: &[u8]) -> Option<Field<'static>> {
    Some(Field::Kept(match key {
        b"header" => Kept::Header,
        b"set_header" => Kept::SetHeader,
        b"add_header" => Kept::AddHeader,
        b"remove_header" => Kept::RemoveHeader,
        _ => return None,
    }))
}

/// The message that `req` or `resp` stands for.
fn message_of<'a>(question: &'a Question<'_>) -> Option<&'a Message<'a>> {
    match question {
        Question::Receive { request, .. }
        | Question::Register { request, .. }
        | Question::Verify { request, .. }
        | Question::Authorized { request, .. }
        | Question::Broadcast { request, .. }
        | Question::Failure { request, .. }
        | Question::Route { request, .. } => Some(request),
        Question::Reply { response, .. } => Some(response),
        Question::Status { .. } | Question::Finish { .. } => None,
    }
}

fn portion_of<'a>(question: &'a Question<'_>) -> Option<&'a PortionView<'a>> {
    match question {
        Question::Broadcast { portion, .. } | Question::Failure { portion, .. } => Some(portion),
        other => other.ctx()?.portion,
    }
}

/// The objects that a stage's function is called with.
pub(super) fn arguments(question: &Question<'_>) -> &'static [Object] {
    match question {
        Question::Receive { .. }
        | Question::Register { .. }
        | Question::Verify { .. }
        | Question::Authorized { .. }
        | Question::Route { .. } => &[Object::Request, Object::Context],
        Question::Broadcast { .. } => &[Object::Request, Object::Portion, Object::Context],
        Question::Failure { .. } => &[Object::Request, Object::Failure, Object::Context],
        Question::Status { .. } => &[Object::Event, Object::Context],
        Question::Reply { .. } => &[Object::Response, Object::Context],
        Question::Finish { .. } => &[Object::Outcome, Object::Context],
    }
}

/// `set_header` and the like.
pub(super) fn edit_method(lua: &Lua, desk: &Rc<Desk>, how: How) -> mlua::Result<Function> {
    let desk = desk.clone();
    lua.create_function(move |lua, (this, name, value): (Value, Value, Value)| {
        edit(lua, &desk, how, &this, &name, &value)
    })
}

#[derive(Debug, Clone, Copy)]
pub(super) enum How {
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
    match desk.check(handle.0.addr()) {
        Ok(Object::Request | Object::Response) if desk.editable.get() => {}
        Ok(Object::Request | Object::Response) => return refuse("messages are edited in the stages receive and reply"),
        Ok(object) => return refuse(&format!("{} has no headers", object.name())),
        Err(Refused) => return Err(located(lua, &String::from_utf8_lossy(&desk.scratch.borrow()))),
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
