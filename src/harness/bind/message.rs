//! Messages in a test: written from a table or text, sent, and looked at.

use super::super::case::Case;
use super::super::servers::Received;
use super::super::value::Fields;
use super::super::vm::located;
use super::terminal::LuaTerminal;
use super::{at, failed, read};
use crate::policy::lua::show;
use crate::sip::transaction::Transport;
use crate::sip::{Message, RequestWriter};
use mlua::{Error, Lua, MetaMethod, Table, UserData, UserDataFields, UserDataMethods, Value};
use std::rc::Rc;

/// A response, or a request that a server received.
pub(super) struct LuaMessage {
    message: Rc<Message<'static>>,
    body: Vec<u8>,
    /// Of what a server received: whether the key was in it, and when it came.
    received: Option<(bool, f64)>,
}

impl LuaMessage {
    pub(super) fn response(message: Message<'static>) -> Self {
        let body = message.body().to_vec();
        LuaMessage { message: Rc::new(message), body, received: None }
    }

    pub(super) fn received(received: &Received) -> Self {
        LuaMessage {
            message: Rc::new(received.message.clone()),
            body: received.body(),
            received: Some((received.has_key, received.at.as_secs_f64())),
        }
    }

    fn start_line(&self) -> String {
        let text = |octets: &[u8]| String::from_utf8_lossy(octets).into_owned();
        match self.message.is_request() {
            true => format!("{} {}", text(self.message.method()), text(self.message.request_uri_raw())),
            false => format!("{} {}", self.message.status(), text(self.message.reason())),
        }
    }

    fn values(&self, name: &str) -> Vec<String> {
        self.message.headers_named(name).map(|value| String::from_utf8_lossy(value).into_owned()).collect()
    }
}

impl UserData for LuaMessage {
    fn add_fields<F: UserDataFields<Self>>(fields: &mut F) {
        fields.add_field_method_get("status", |_, me| Ok((!me.message.is_request()).then(|| me.message.status())));
        fields.add_field_method_get("reason", |lua, me| match me.message.is_request() {
            true => Ok(None),
            false => lua.create_string(me.message.reason()).map(Some),
        });
        fields.add_field_method_get("method", |lua, me| match me.message.is_request() {
            true => lua.create_string(me.message.method()).map(Some),
            false => Ok(None),
        });
        fields.add_field_method_get("uri", |lua, me| match me.message.is_request() {
            true => lua.create_string(me.message.request_uri_raw()).map(Some),
            false => Ok(None),
        });
        fields.add_field_method_get("body", |lua, me| lua.create_string(&me.body));
        fields.add_field_method_get("key", |_, me| Ok(me.received.map(|(key, _)| key)));
        fields.add_field_method_get("at", |_, me| Ok(me.received.map(|(_, at)| at)));
        fields.add_field_method_get("expires", |_, me| Ok(me.message.expires()));
    }

    fn add_methods<M: UserDataMethods<Self>>(methods: &mut M) {
        methods.add_method("header", |_, me, name: String| Ok(me.values(&name).into_iter().next()));
        methods.add_method("headers", |_, me, name: String| Ok(me.values(&name)));
        methods.add_meta_method(MetaMethod::ToString, |_, me, ()| Ok(me.start_line()));
        methods.add_meta_method(MetaMethod::Index, |lua, _, name: String| -> mlua::Result<Value> {
            let known = "status, reason, method, uri, body, key, at, expires, header(), headers()";
            Err(located(lua, &format!("a message has no {name:?}; known: {known}")))
        });
    }
}

/// `t:expect(response, { status = 200, headers = { Name = "part" }, body = "part" })`
pub(super) fn expect(lua: &Lua, response: &Value, expected: Table) -> mlua::Result<()> {
    let fields = read(lua, Fields::new("t:expect", Some(expected), &["status", "reason", "headers", "body"]))?;
    let got = match response {
        Value::UserData(object) => object.borrow::<LuaMessage>().ok(),
        _ => None,
    };
    let Some(got) = got else {
        let what = if response.is_nil() { "no answer came".to_owned() } else { format!("got {}", show(response)) };
        return failed(lua, &format!("{what}, expected a message"), None);
    };
    if let Some(status) = read(lua, fields.number("status"))? {
        let is = if got.message.is_request() { 0 } else { u64::from(got.message.status()) };
        if is != status {
            return failed(lua, &format!("status: got {}, expected {status}", got.start_line()), None);
        }
    }
    let reason = String::from_utf8_lossy(got.message.reason()).into_owned();
    if let Some(part) = read(lua, fields.text("reason"))?.filter(|part| !reason.contains(part.as_str())) {
        return failed(lua, &format!("reason: got {reason:?}, expected {part:?} in it"), None);
    }
    if let Some(part) = read(lua, fields.text("body"))? {
        let body = String::from_utf8_lossy(&got.body);
        if !body.contains(&part) {
            return failed(lua, &format!("body: got {body:?}, expected {part:?} in it"), None);
        }
    }
    let Value::Table(headers) = read(lua, fields.value("headers"))? else { return Ok(()) };
    let mut faults = Vec::new();
    headers.for_each(|name: String, wanted: Value| {
        let values = got.values(&name);
        let fits = match &wanted {
            Value::Boolean(there) => values.is_empty() != *there,
            Value::String(part) => {
                let part = part.to_str()?.to_owned();
                values.iter().any(|value| value.contains(&part))
            }
            other => return Err(Error::runtime(format!("header {name}: {} is no text, true or false", show(other)))),
        };
        if !fits {
            let is = if values.is_empty() { "is not there".to_owned() } else { format!("is {:?}", values.join(", ")) };
            faults.push(format!("header {name} {is}, expected {}", show(&wanted)));
        }
        Ok(())
    })?;
    faults.sort();
    match faults.first() {
        Some(first) => failed(lua, &format!("{first} in {}", got.start_line()), None),
        None => Ok(()),
    }
}

/// `t:send(text)` or `t:send{ method = …, … }`, from a terminal or a server, or an address.
pub(super) fn send(
    lua: &Lua,
    case: &Rc<Case>,
    what: &Value,
    options: Option<Table>,
) -> mlua::Result<Option<LuaMessage>> {
    let running = at(lua, case.running())?;
    let fields = read(lua, Fields::new("t:send", options, &["from", "transport"]))?;
    let octets = match what {
        Value::String(text) => {
            let mut found = None;
            let text = text.as_bytes().to_vec();
            let outcome = crate::observe::capture::read(&*text, "t:send", &mut |c| {
                found.get_or_insert(c.message);
            });
            let message = match (found, outcome) {
                (Some(message), Ok(_)) => message,
                (_, Err(error)) => return at(lua, Err(error)),
                (None, Ok(_)) => {
                    return at(lua, Err("the text is no SIP message: a start line, headers, an empty line"));
                }
            };
            message.bytes().to_vec()
        }
        Value::Table(table) => {
            let known = ["method", "uri", "impi", "impu", "expires", "headers", "body"];
            read(lua, Fields::new("t:send", Some(table.clone()), &known).and_then(|fields| request(&fields)))?
        }
        other => return at(lua, Err(format!("t:send takes text or a table, not {}", show(other)))),
    };
    let transport = match read(lua, fields.text("transport"))?.as_deref() {
        None | Some("udp") => Transport::Udp,
        Some("tcp") => Transport::Tcp,
        Some("tls") => Transport::Tls,
        Some(other) => return at(lua, Err(format!("transport is {other:?}; it may be \"udp\", \"tcp\", \"tls\""))),
    };
    let source = match read(lua, fields.value("from"))? {
        Value::UserData(object) => match object.borrow::<LuaTerminal>() {
            Ok(terminal) => terminal.source(),
            Err(_) => return at(lua, Err("from is no terminal")),
        },
        Value::String(name) => {
            let name = name.to_str()?.to_owned();
            let server = running.world.servers.by_name(&name).map(|server| server.addr);
            let addr = server.or_else(|| name.parse().ok());
            let addr = at(lua, addr.ok_or_else(|| format!("from: {name:?} is no server of this test and no address")))?;
            running.world.source(addr, transport)
        }
        Value::Nil => running.world.source(running.world.stranger(), transport),
        other => {
            return at(
                lua,
                Err(format!("from is {}; it may be a terminal, a server's name, an address", show(&other))),
            );
        }
    };
    let answer = at(lua, running.world.send(&octets, &source))?;
    Ok(answer.map(LuaMessage::response))
}

/// The request that a table describes.
pub(super) fn request(fields: &Fields) -> mlua::Result<Vec<u8>> {
    let method = fields.text("method")?.unwrap_or_else(|| "REGISTER".to_owned());
    let is_register = method == "REGISTER";
    let impu = fields.text("impu")?.unwrap_or_else(|| "sip:alice@home1.net".to_owned());
    let uri = fields.text("uri")?;
    let uri = uri.unwrap_or_else(|| if is_register { "sip:home1.net".to_owned() } else { impu.clone() });
    let headers = fields.headers("headers")?;
    let given = |name: &str| headers.iter().any(|(known, _)| known.eq_ignore_ascii_case(name));
    if method.contains(char::is_whitespace) || [&uri, &impu].iter().any(|part| part.contains(['\r', '\n', ' '])) {
        return Err(Error::runtime("method, uri and impu have no blanks"));
    }
    let number = MESSAGES.with(|count| count.replace(count.get().wrapping_add(1)));
    let mut out = RequestWriter::new(&method, &uri);
    let expires = fields.number("expires")?.map(|seconds| seconds.to_string());
    let defaults = [
        ("Via", Some(format!("SIP/2.0/UDP 127.0.0.1:39999;branch=z9hG4bKtest{number}"))),
        ("Max-Forwards", Some("70".to_owned())),
        ("From", Some(format!("<{impu}>;tag=test"))),
        ("To", Some(format!("<{impu}>"))),
        ("Call-ID", Some(format!("test-{number}"))),
        ("CSeq", Some(format!("1 {method}"))),
        ("Contact", is_register.then(|| "<sip:test@127.0.0.1:39999>".to_owned())),
        ("Expires", expires),
        (
            "Authorization",
            fields.text("impi")?.map(|impi| {
                let impi = impi.replace(['"', '\r', '\n'], "");
                format!("Digest username=\"{impi}\", realm=\"home1.net\", nonce=\"\", uri=\"{uri}\", response=\"\"")
            }),
        ),
    ];
    for (name, value) in defaults {
        if let Some(value) = value.filter(|_| !given(name)) {
            out.header_named(name, value);
        }
    }
    for (name, value) in headers.iter().filter(|(name, _)| !name.eq_ignore_ascii_case("Content-Type")) {
        out.header_named(name, value);
    }
    Ok(match fields.octets("body")? {
        Some(body) => {
            let kind = headers.iter().find(|(name, _)| name.eq_ignore_ascii_case("Content-Type"));
            out.body(kind.map_or("text/plain", |(_, kind)| kind.as_str()), &body)
        }
        None => out.finish(),
    })
}

thread_local! {
    /// No two requests of a thread are the same transaction.
    static MESSAGES: std::cell::Cell<u64> = const { std::cell::Cell::new(1) };
}
