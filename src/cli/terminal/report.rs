//! What `imscript terminal` prints: lines for people, or one JSON object. Keys only with `--secrets`.

use super::identity::IdentityArgs;
use crate::gba::kdf::KsNaf;
use crate::observe::event::What;
use crate::observe::trace::Tracer;
use crate::terminal::application::Application;
use crate::terminal::connection::{Direction, Observer};
use crate::terminal::{Registration, Server};
use anyhow::Context;
use serde_json::{Map, Value, json};
use std::io::Write;
use std::net::SocketAddr;
use std::process::ExitCode;
use std::sync::{Arc, Mutex, PoisonError};

type Messages = Arc<Mutex<Vec<(Direction, String)>>>;

pub(super) struct Report {
    verb: &'static str,
    json: bool,
    secrets: bool,
    verbose: bool,
    fields: Map<String, Value>,
    messages: Messages,
    tracer: Option<Tracer>,
    /// Transport and address of the server, for the trace.
    server: (&'static str, SocketAddr),
}

fn arrow(direction: Direction) -> &'static str {
    if direction == Direction::Sent { "→" } else { "←" }
}

fn is_http(bytes: &[u8]) -> bool {
    let line = bytes.split(|&octet| octet == b'\n').next().unwrap_or_default();
    line.starts_with(b"HTTP/") || line.trim_ascii_end().ends_with(b"HTTP/1.1")
}

impl Report {
    /// `verb`: the result if all goes well.
    pub(super) fn new(verb: &'static str, args: &IdentityArgs, server: &Server) -> anyhow::Result<Report> {
        let tracer =
            args.trace.as_deref().map(|path| Tracer::open("UE", path).with_context(|| path.display().to_string()));
        Ok(Report {
            verb,
            json: args.json,
            secrets: args.secrets,
            verbose: args.verbose,
            fields: Map::new(),
            messages: Messages::default(),
            tracer: tracer.transpose()?,
            server: (server.transport.via(), server.addr),
        })
    }

    /// Notes the first line of every message, and shows it if asked to.
    pub(super) fn observer(&self) -> Observer {
        let (messages, verbose) = (self.messages.clone(), self.verbose);
        let (tracer, (transport, peer)) = (self.tracer.clone(), self.server);
        Arc::new(move |direction, bytes| {
            // HTTP is traced where it is answered.
            if let Some(tracer) = tracer.as_ref().filter(|_| !is_http(bytes)) {
                tracer.message(direction == Direction::Sent, transport, peer, bytes);
            }
            let line = bytes.split(|&octet| octet == b'\n').next().unwrap_or_default();
            let line: String = String::from_utf8_lossy(line).chars().filter(|c| !c.is_control()).collect();
            if verbose {
                let _ = writeln!(std::io::stderr(), "{} {line}", arrow(direction));
            }
            messages.lock().unwrap_or_else(PoisonError::into_inner).push((direction, line));
        })
    }

    fn line(&self, text: impl std::fmt::Display) {
        if !self.json {
            let _ = writeln!(std::io::stdout(), "{text}"); // a closed pipe is the reader's choice
        }
    }

    pub(super) fn registered(&mut self, done: &Registration, key: Option<&KsNaf>) {
        let algorithm = done.algorithm.map(|algorithm| algorithm.as_str());
        let how = algorithm.unwrap_or("no challenge");
        let resync = if done.resynchronised { ", after a resynchronisation" } else { "" };
        match self.verb {
            "registered" => {
                self.line(format_args!("registered    {} for {} s ({how}{resync})", done.impu, done.expires))
            }
            verb => self.line(format_args!("{verb}  {} ({how}{resync})", done.impu)),
        }
        if !done.service_route.is_empty() {
            self.line(format_args!("service route {}", done.service_route.join(", ")));
        }
        if !done.associated.is_empty() {
            self.line(format_args!("associated    {}", done.associated.join(", ")));
        }
        let cause = done.broadcast.cause.as_ref().map(|cause| format!(" ({cause})")).unwrap_or_default();
        if self.verb == "registered" {
            self.line(format_args!("broadcast     {}{cause}", done.broadcast.state.as_str()));
            if let Some(btid) = &done.btid {
                self.line(format_args!("B-TID         {}", btid.text()));
            }
        }
        self.set("status", json!(done.status));
        self.set("impu", json!(done.impu.as_str()));
        self.set("expires", json!(done.expires));
        self.set("service_route", json!(done.service_route));
        self.set("associated", json!(done.associated));
        self.set("contacts", json!(done.bindings.iter().map(|binding| &binding.uri).collect::<Vec<_>>()));
        self.set("broadcast", json!(done.broadcast.state.as_str()));
        if let Some(cause) = &done.broadcast.cause {
            self.set("cause", json!(cause));
        }
        self.set("btid", json!(done.btid.as_ref().map(|btid| btid.text())));
        self.set("algorithm", json!(algorithm));
        self.set("resync", json!(done.resynchronised));
        if let Some(body) = &done.service_response {
            self.set("service_response", json!(String::from_utf8_lossy(body)));
        }
        if let Some(key) = key {
            let check = key.check_value();
            if let Some(tracer) = &self.tracer {
                tracer.write(What::State { role: "UE".into(), what: format!("Ks_NAF check={check}") });
            }
            self.set("key_check", json!(check));
        }
        if let Some(key) = key.filter(|_| self.secrets) {
            let hex = crate::terminal::identifiers::hex(&key.0);
            self.line(format_args!("Ks_NAF        {hex}"));
            self.set("ks_naf", json!(hex));
        }
    }

    pub(super) fn application(&mut self, application: &Application) {
        let code = application.response.global_status.as_deref();
        let name = &application.response.name;
        self.line(format_args!("application   {} {name}, status {}", application.status, code.unwrap_or("not given")));
        let body = String::from_utf8_lossy(&application.body);
        self.set(
            "application",
            json!({"status": application.status, "response": name, "global_status": code, "body": body}),
        );
    }

    fn set(&mut self, name: &str, value: Value) {
        self.fields.insert(name.to_owned(), value);
    }

    /// Before a long stay: people want to see the lines, programs get the object at the end.
    pub(super) fn flush(&self) {
        let _ = std::io::stdout().flush();
    }

    pub(super) fn succeeded(self) -> ExitCode {
        self.print(self.verb, None);
        ExitCode::SUCCESS
    }

    pub(super) fn failed(self, why: &str) -> ExitCode {
        // What went wrong after the 200 does not undo the registration in the IMS.
        let result = if self.fields.contains_key("status") { self.verb } else { "failed" };
        self.print(result, Some(why));
        if !self.json {
            let _ = writeln!(std::io::stderr(), "imscript: {why}");
        }
        ExitCode::FAILURE
    }

    fn print(&self, result: &str, error: Option<&str>) {
        if !self.json {
            return;
        }
        let mut object = self.fields.clone();
        object.insert("result".to_owned(), json!(result));
        if let Some(error) = error {
            object.insert("error".to_owned(), json!(error));
        }
        let messages = self.messages.lock().unwrap_or_else(PoisonError::into_inner);
        let messages: Vec<Value> =
            messages.iter().map(|(direction, start)| json!({"dir": arrow(*direction), "start": start})).collect();
        object.insert("messages".to_owned(), Value::Array(messages));
        let _ = writeln!(std::io::stdout(), "{}", Value::Object(object));
    }
}
