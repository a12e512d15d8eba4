//! `hss`: what the HSS knows of a subscriber, keys and passwords excepted.

use super::call::{Call, refused};
use super::table::{Class, Module, Role, Type, When, function, optional, param};
use crate::hss::{BroadcastSubscription, HssError, UserData};
use mlua::{IntoLuaMulti, Lua, MultiValue, Value};

const STATE: Type = Type::Words(&["not_registered", "pending", "registered", "failed"]);

pub(super) const CLASSES: &[Class] = &[
    Class {
        name: "Subscriber",
        doc: "A subscriber as the HSS sees it.",
        role: Role::Answer,
        fields: &[
            param("impi", Type::String, "The private identity."),
            param("impus", Type::List(&Type::String), "The public identities, the default one first."),
            param(
                "services",
                Type::Either(&[Type::Words(&["all", "none"]), Type::List(&Type::String)]),
                "What may be received by broadcast.",
            ),
            param("ims", STATE, "State of the registration with the IMS."),
            optional("ims_since", Type::Integer, "When that last changed, in seconds since 1970."),
            optional(
                "broadcast",
                Type::Class("BroadcastRegistration"),
                "The registration with a broadcast server; nil if there never was one.",
            ),
        ],
        methods: &[],
    },
    Class {
        name: "BroadcastRegistration",
        doc: "A registration with a broadcast server.",
        role: Role::Answer,
        fields: &[
            param("state", STATE, "What it is."),
            param("server", Type::String, "The server's name."),
            param("naf_id", Type::String, "The NAF's domain name."),
            param("since", Type::Integer, "Since when, in seconds since 1970."),
        ],
        methods: &[],
    },
];

pub(super) static HSS: Module = Module {
    name: "hss",
    doc: "Questions to the HSS.",
    capability: Some("hss"),
    fields: &[],
    functions: &[function(
        "lookup",
        &[
            param("identity", Type::String, "An IMPI or an IMPU."),
            param(
                "callback",
                Type::Function(
                    &[
                        optional("subscriber", Type::Class("Subscriber"), "nil if there is none."),
                        optional("why", Type::String, "`user unknown`, or why the HSS does not answer."),
                    ],
                    &[],
                ),
                "Called later on the same worker.",
            ),
        ],
        &[],
        "Asks for a subscriber.",
        lookup,
    )
    .only(When::Between)
    .fails("64 answers are waited for already.")],
};

fn lookup(call: &Call<'_>) -> mlua::Result<Value> {
    let identity = call.text(0)?;
    if identity.is_empty() || identity.len() > 256 {
        return Err(refused("identity has 1 to 256 octets"));
    }
    let hss = call.guest.env.host.hss.clone();
    call.guest.begin(call.function(1)?, async move {
        let answer = match &hss {
            Some(hss) => hss.user_data(&identity).await,
            None => Err(HssError::Unavailable("this node has none".to_owned())),
        };
        Box::new(move |lua: &Lua| arguments(lua, answer)) as super::guest::Arguments
    })?;
    Ok(Value::Nil)
}

fn arguments(lua: &Lua, answer: Result<UserData, HssError>) -> mlua::Result<MultiValue> {
    let data = match answer {
        Ok(data) => data,
        Err(why) => return (Value::Nil, why.to_string()).into_lua_multi(lua),
    };
    let subscriber = lua.create_table()?;
    subscriber.raw_set("impi", data.impi.as_str())?;
    subscriber.raw_set("impus", lua.create_sequence_from(data.impus.iter().map(|impu| impu.as_str()))?)?;
    match &data.broadcast {
        BroadcastSubscription::None => subscriber.raw_set("services", "none")?,
        BroadcastSubscription::All => subscriber.raw_set("services", "all")?,
        BroadcastSubscription::Services(ids) => {
            subscriber.raw_set("services", lua.create_sequence_from(ids.iter().map(String::as_str))?)?;
        }
    }
    subscriber.raw_set("ims", data.ims.as_str())?;
    subscriber.raw_set("ims_since", data.ims_since)?;
    if let Some((registration, since)) = &data.registration {
        let broadcast = lua.create_table()?;
        broadcast.raw_set("state", registration.state.as_str())?;
        broadcast.raw_set("server", registration.server.as_str())?;
        broadcast.raw_set("naf_id", registration.naf_fqdn.as_str())?;
        broadcast.raw_set("since", *since)?;
        subscriber.raw_set("broadcast", broadcast)?;
    }
    subscriber.into_lua_multi(lua)
}
