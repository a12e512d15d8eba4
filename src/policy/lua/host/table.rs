//! The host API as a table: every function that Lua can call and every object that it is given.
//!
//! An entry is both the documentation and the binding: [`super::install`] makes globals of what stands here and of
//! nothing else, the arguments are checked against the types given here, and [`super::doc`] writes the editors' stubs
//! and the reference page from it.

use super::call::Call;
use super::{encode, hss, http, json, log, metric, random, re, shared, store, time, timer, verdicts, views};
use mlua::Value;

/// The version of the interface in which an entry came: `api` of a manifest.
pub const API: u32 = 1;

/// What a value may be.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Type {
    String,
    Number,
    Integer,
    Boolean,
    /// Anything but nil.
    Any,
    /// A value that `shared` and `store` keep.
    Storable,
    Words(&'static [&'static str]),
    List(&'static Type),
    /// A table with strings as keys.
    Map(&'static Type),
    /// Of [`CLASSES`].
    Class(&'static str),
    Function(&'static [Param], &'static [Return]),
    Either(&'static [Type]),
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Param {
    pub name: &'static str,
    pub kind: Type,
    pub optional: bool,
    pub doc: &'static str,
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Return {
    pub kind: Type,
    pub optional: bool,
    pub doc: &'static str,
}

/// Where a function may be called.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum When {
    Anywhere,
    /// Where nobody waits for a verdict: `setup`, stages `status` and `finish`, timers and callbacks.
    Between,
    /// In the stages that may edit their message.
    Edits,
}

impl When {
    pub fn as_str(self) -> &'static str {
        match self {
            When::Anywhere => "anywhere",
            When::Between => "`setup`, `status`, `finish`, timers and callbacks",
            When::Edits => "`receive` and `reply`",
        }
    }
}

/// What runs when Lua calls.
pub enum Run {
    Host(fn(&Call<'_>) -> mlua::Result<Value>),
    /// Installed elsewhere: `ims` by its own module, the views by theirs.
    Elsewhere,
}

pub struct Function {
    pub name: &'static str,
    pub params: &'static [Param],
    pub returns: &'static [Return],
    pub doc: &'static str,
    pub when: When,
    /// What raises an error, beside arguments of a wrong type.
    pub errors: &'static str,
    pub since: u32,
    pub run: Run,
}

/// A global with functions.
pub struct Module {
    pub name: &'static str,
    pub doc: &'static str,
    /// Its name under `[capabilities]` in a manifest; None: always there.
    pub capability: Option<&'static str>,
    pub functions: &'static [Function],
    /// Values that it has beside functions.
    pub fields: &'static [Param],
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// A table that a script writes.
    Record,
    /// What a stage is given; void when the stage has returned.
    View,
    /// What a function gives.
    Handle,
    /// A table that a function gives.
    Answer,
}

pub struct Class {
    pub name: &'static str,
    pub doc: &'static str,
    pub role: Role,
    pub fields: &'static [Param],
    pub methods: &'static [Function],
}

pub const fn param(name: &'static str, kind: Type, doc: &'static str) -> Param {
    Param { name, kind, optional: false, doc }
}

pub const fn optional(name: &'static str, kind: Type, doc: &'static str) -> Param {
    Param { name, kind, optional: true, doc }
}

pub const fn gives(kind: Type, doc: &'static str) -> Return {
    Return { kind, optional: false, doc }
}

/// Or nil.
pub const fn may_give(kind: Type, doc: &'static str) -> Return {
    Return { kind, optional: true, doc }
}

/// A function that the host runs, callable anywhere.
pub const fn function(
    name: &'static str,
    params: &'static [Param],
    returns: &'static [Return],
    doc: &'static str,
    run: fn(&Call<'_>) -> mlua::Result<Value>,
) -> Function {
    Function { name, params, returns, doc, when: When::Anywhere, errors: "", since: API, run: Run::Host(run) }
}

impl Function {
    pub const fn fails(mut self, errors: &'static str) -> Self {
        self.errors = errors;
        self
    }

    pub const fn only(mut self, when: When) -> Self {
        self.when = when;
        self
    }

    /// Which optional parameter may be left out altogether: one before a callback, as in `http.get(url, function…)`.
    pub fn left_out(&self) -> Option<usize> {
        let is_callback = |param: &Param| matches!(param.kind, Type::Function(..));
        self.params.windows(2).position(|pair| match pair {
            [param, next] => param.optional && !is_callback(param) && is_callback(next),
            _ => false,
        })
    }

    /// The parameters without that one.
    pub fn shorter(&self) -> Option<Vec<Param>> {
        let left_out = self.left_out()?;
        Some(self.params.iter().enumerate().filter(|(at, _)| *at != left_out).map(|(_, param)| *param).collect())
    }
}

/// The globals, in the order of the reference page.
pub const MODULES: [&Module; 17] = [
    &verdicts::IMS,
    &log::LOG,
    &views::PLUGIN,
    &time::TIME,
    &random::RANDOM,
    &re::RE,
    &json::JSON,
    &encode::BASE64,
    &encode::HEX,
    &encode::HASH,
    &encode::HMAC,
    &metric::METRIC,
    &shared::SHARED,
    &store::STORE,
    &timer::TIMER,
    &http::HTTP,
    &hss::HSS,
];

/// All types of objects and tables.
pub fn classes() -> impl Iterator<Item = &'static Class> {
    let of_modules: [&'static [Class]; 9] = [
        views::CLASSES,
        verdicts::CLASSES,
        time::CLASSES,
        re::CLASSES,
        metric::CLASSES,
        shared::CLASSES,
        timer::CLASSES,
        http::CLASSES,
        hss::CLASSES,
    ];
    of_modules.into_iter().flatten()
}

pub fn class(name: &str) -> Option<&'static Class> {
    classes().find(|class| class.name == name)
}

impl Class {
    /// The names of its fields and methods, for messages.
    pub fn names(&self) -> String {
        let fields = self.fields.iter().map(|field| field.name.to_owned());
        let methods = self.methods.iter().map(|method| format!("{}()", method.name));
        fields.chain(methods).collect::<Vec<_>>().join(", ")
    }
}
