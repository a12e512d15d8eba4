//! `http`: requests to the origins that the manifest names.

use super::call::{Call, refused, seconds, text};
use super::table::{Class, Function, Module, Param, Role, Type, When, function, optional, param};
use crate::http::{HttpError, Request, Response, Url};
use mlua::{IntoLuaMulti, Lua, LuaString, MultiValue, Value};
use std::time::Duration;

const WITHIN: Duration = Duration::from_secs(2);
const MAX_WITHIN: Duration = Duration::from_secs(10);

pub(super) const CLASSES: &[Class] = &[
    Class {
        name: "HttpOptions",
        doc: "What goes along with a request.",
        role: Role::Record,
        fields: &[
            optional("method", Type::String, "For `http.request`: GET, HEAD, POST, PUT, PATCH, DELETE or OPTIONS."),
            optional(
                "headers",
                Type::Map(&Type::String),
                "Header fields; not Host, Content-Length and others that frame the message.",
            ),
            optional("body", Type::String, "At most 64 KiB."),
            optional("timeout", Type::Number, "Seconds for all of it, 2 if left out, at most 10."),
        ],
        methods: &[],
    },
    Class {
        name: "HttpAnswer",
        doc: "An answer, whatever its status. Redirects are not followed.",
        role: Role::Answer,
        fields: &[
            param("status", Type::Integer, "200 and so on."),
            param(
                "headers",
                Type::Map(&Type::String),
                "By name in lower case; fields of one name are joined with a comma.",
            ),
            param("body", Type::String, "At most 256 KiB."),
        ],
        methods: &[],
    },
];

const URL: Param = param("url", Type::String, "Of an origin that is granted; without user and password.");
const OPTIONS: Param = optional("options", Type::Class("HttpOptions"), "What goes along; may be left out.");
const CALLBACK: Param = param(
    "callback",
    Type::Function(
        &[
            optional("answer", Type::Class("HttpAnswer"), "nil if there is none."),
            optional("why", Type::String, "What is wrong, if there is none."),
        ],
        &[],
    ),
    "Called later on the same worker, under the deadline of a stage.",
);
const ERRORS: &str = "The origin is not granted; 64 requests of the plugin are under way; something is too long.";

const fn sends(name: &'static str, doc: &'static str, run: fn(&Call<'_>) -> mlua::Result<Value>) -> Function {
    function(name, &[URL, OPTIONS, CALLBACK], &[], doc, run).only(When::Between).fails(ERRORS)
}

pub(super) static HTTP: Module = Module {
    name: "http",
    doc: "HTTP/1.1 requests to the origins of the manifest: `http = [\"https://hooks.example\"]`. A request is sent when the \
          function that asks for it has returned without an error; a stage cannot wait for its answer.",
    capability: Some("http"),
    fields: &[],
    functions: &[
        sends("get", "Sends a GET.", get),
        sends("post", "Sends a POST.", post),
        sends("request", "Sends a request of any method (`options.method`, GET if left out).", request),
    ],
};

fn get(call: &Call<'_>) -> mlua::Result<Value> {
    send(call, Some("GET"))
}

fn post(call: &Call<'_>) -> mlua::Result<Value> {
    send(call, Some("POST"))
}

fn request(call: &Call<'_>) -> mlua::Result<Value> {
    send(call, None)
}

fn why(error: HttpError) -> mlua::Error {
    refused(error.to_string())
}

fn send(call: &Call<'_>, method: Option<&str>) -> mlua::Result<Value> {
    let guest = call.guest;
    let url = Url::parse(&call.text(0)?).map_err(why)?;
    if !guest.unit.origins.contains(url.origin()) {
        let origin = url.origin();
        return Err(refused(format!("{origin} is not granted; plugin.toml: [capabilities] http = [\"{origin}\"]")));
    }
    let (mut asked, mut headers, mut body, mut within) = (None, Vec::new(), None, WITHIN);
    call.options(1, &CLASSES[0], |key, value| {
        match (key, value) {
            ("method", _) if method.is_some() => return Err(refused("method belongs to http.request")),
            ("method", value) => asked = Some(text(value)?),
            ("headers", Value::Table(table)) => table.for_each(|name: Value, value: Value| {
                headers.push((text(&name)?, field(&value)?));
                Ok(())
            })?,
            ("body", Value::String(text)) => body = Some(text.clone()),
            (_, value) => within = seconds(key, value)?,
        }
        Ok(())
    })?;
    if within > MAX_WITHIN {
        return Err(refused(format!("timeout is at most {} seconds", MAX_WITHIN.as_secs())));
    }
    let method = method.or(asked.as_deref()).unwrap_or("GET");
    let mut request = Request::new(method, url, within).map_err(why)?;
    for (name, value) in headers {
        request.header(&name, &value.as_bytes()).map_err(why)?;
    }
    if let Some(body) = body {
        request.body(&body.as_bytes()).map_err(why)?;
    }
    let flight = guest.namespace.take_off().ok_or_else(|| refused("64 requests of this plugin are under way"))?;
    let client = guest.env.host.http.clone();
    guest.begin(call.function(2)?, async move {
        let result = client.fetch(request).await;
        drop(flight);
        Box::new(move |lua: &Lua| answer(lua, result)) as super::guest::Arguments
    })?;
    Ok(Value::Nil)
}

fn field(value: &Value) -> mlua::Result<LuaString> {
    match value {
        Value::String(text) => Ok(text.clone()),
        _ => Err(refused("the value of a header field must be a string")),
    }
}

fn answer(lua: &Lua, result: Result<Response, HttpError>) -> mlua::Result<MultiValue> {
    let response = match result {
        Ok(response) => response,
        Err(why) => return (Value::Nil, why.to_string()).into_lua_multi(lua),
    };
    let headers = lua.create_table()?;
    for (name, value) in &response.headers {
        let joined = match headers.raw_get::<Option<LuaString>>(name.as_str())? {
            Some(first) => [&*first.as_bytes(), value].join(b", ".as_slice()),
            None => value.clone(),
        };
        headers.raw_set(name.as_str(), lua.create_string(joined)?)?;
    }
    let answer = lua.create_table()?;
    answer.raw_set("status", response.status)?;
    answer.raw_set("headers", headers)?;
    answer.raw_set("body", lua.create_string(&response.body)?)?;
    answer.into_lua_multi(lua)
}
