//! What stages are given: `req`, `ctx` and the rest as the table knows them, and the functions of a policy.

use super::table::{API, Class, Function, Module, Param, Return, Role, Run, Type, When, may_give, optional, param};

pub(super) static PLUGIN: Module = Module {
    name: "plugin",
    doc: "The plugin itself, or the operator's policy.",
    capability: None,
    fields: &[
        param("name", Type::String, "`policy` for the operator's policy."),
        param("version", Type::String, "As in the manifest."),
        optional(
            "conf",
            Type::Any,
            "The settings: the manifest's defaults with the operator's values over them; read-only.",
        ),
    ],
    functions: &[],
};

const fn view(name: &'static str, doc: &'static str, fields: &'static [Param], methods: &'static [Function]) -> Class {
    Class { name, doc, role: Role::View, fields, methods }
}

const fn method(
    name: &'static str,
    params: &'static [Param],
    returns: &'static [Return],
    doc: &'static str,
    when: When,
) -> Function {
    let errors = "The stage has returned.";
    Function { name, params, returns, doc, when, errors, since: API, run: Run::Elsewhere }
}

/// What is configuration may be used at any time.
const fn look_up(
    name: &'static str,
    params: &'static [Param],
    returns: &'static [Return],
    doc: &'static str,
    when: When,
) -> Function {
    Function { errors: "", ..method(name, params, returns, doc, when) }
}

const NAME: Param = param("name", Type::String, "In any case, long or compact.");
const VALUE: Param = param("value", Type::String, "One line, up to 128 octets.");

const HEADERS: &[Function] = &[
    method(
        "header",
        &[NAME],
        &[may_give(Type::String, "The first field of that name, unfolded; nil if there is none.")],
        "Reads a header field.",
        When::Anywhere,
    ),
    method("set_header", &[NAME, VALUE], &[], "Replaces the fields of that name by one.", When::Edits),
    method("add_header", &[NAME, VALUE], &[], "Adds a field.", When::Edits),
    method("remove_header", &[NAME], &[], "Takes all fields of that name away.", When::Edits),
];

const KIND: Type = Type::Words(&["initial", "refresh", "deregister", "other"]);
const TRANSPORT: Type = Type::Words(&["udp", "tcp", "tls"]);
const STATE: Type = Type::Words(&["not_registered", "pending", "registered", "failed"]);
const IMPI: Param = optional("impi", Type::String, "The private identity, where it is known.");
const IMPU: Param = optional("impu", Type::String, "The public identity, where it is known.");

const REQ: Param = param("req", Type::Class("Request"), "The request.");
const CTX: Param = param("ctx", Type::Class("Context"), "What is around it.");
const VERDICT: &[Return] = &[may_give(Type::Class("Verdict"), "nil is no opinion.")];

const fn stage(name: &'static str, params: &'static [Param], returns: &'static [Return], doc: &'static str) -> Param {
    Param { name, kind: Type::Function(params, returns), optional: true, doc }
}

pub(super) const CLASSES: &[Class] = &[
    Class {
        name: "Policy",
        doc: "What the main file of a policy or plugin returns. A stage that is left out has no opinion.",
        role: Role::Record,
        fields: &[
            stage(
                "setup",
                &[optional("conf", Type::Any, "`plugin.conf`.")],
                &[],
                "Called once in each VM, before any stage.",
            ),
            stage(
                "teardown",
                &[param("reason", Type::String, "`replaced` or `stopped`.")],
                &[],
                "Called on each worker when another generation takes its place, and when the node stops.",
            ),
            stage("receive", &[REQ, CTX], VERDICT, "A request has come in; nothing is known of it yet."),
            stage("register", &[REQ, CTX], VERDICT, "A REGISTER before authentication."),
            stage("verify", &[REQ, CTX], VERDICT, "Which check of the subscription, when."),
            stage("authorized", &[REQ, CTX], VERDICT, "The terminal is authentic, nothing is stored yet."),
            stage(
                "broadcast",
                &[REQ, param("portion", Type::Class("Portion"), "The broadcast portion."), CTX],
                VERDICT,
                "What of the REGISTER goes where.",
            ),
            stage(
                "failure",
                &[REQ, param("failure", Type::Class("Failure"), "What failed."), CTX],
                VERDICT,
                "A broadcast server did not take what it was sent.",
            ),
            stage(
                "status",
                &[param("event", Type::Class("Event"), "The change."), CTX],
                VERDICT,
                "A registration has changed.",
            ),
            stage("route", &[REQ, CTX], VERDICT, "A request that is no REGISTER."),
            stage(
                "reply",
                &[param("resp", Type::Class("Response"), "The response."), CTX],
                VERDICT,
                "A response is about to be sent.",
            ),
            stage(
                "finish",
                &[param("outcome", Type::Class("Outcome"), "How it ended."), CTX],
                &[],
                "A request has been answered.",
            ),
        ],
        methods: &[],
    },
    view(
        "Request",
        "`req`: the request at hand.",
        &[
            param("method", Type::String, "`REGISTER` and so on."),
            param("uri", Type::String, "The Request-URI."),
            IMPI,
            IMPU,
            param("kind", KIND, "What a REGISTER asks for; `other` for all else."),
            optional("expires", Type::Integer, "Seconds that the first contact, or else the Expires field, asks for."),
            optional("source", Type::String, "Where it came from: `192.0.2.1:5060`."),
            param("transport", TRANSPORT, "How it came."),
        ],
        HEADERS,
    ),
    view(
        "Context",
        "`ctx`: what is around the request or event.",
        &[
            param("servers", Type::Class("ServerList"), "The configured broadcast servers."),
            IMPI,
            IMPU,
            param("kind", KIND, "As in the request."),
            optional("source", Type::String, "As in the request."),
            param("transport", TRANSPORT, "As in the request."),
            optional("visited_network", Type::String, "P-Visited-Network-ID."),
            param("all_or_nothing", Type::Boolean, "The terminal sent `Require: bcast-ext`."),
            param("hss_away", Type::Boolean, "No HSS is connected, or it did not answer when it was last asked."),
            optional("portion", Type::Class("Portion"), "The broadcast portion, where there is one."),
            param("now", Type::Integer, "Seconds since 1970."),
            param("generation", Type::Integer, "Number of the generation that decides."),
        ],
        &[],
    ),
    view(
        "Portion",
        "`portion`: the broadcast portion of a REGISTER.",
        &[
            optional("naf_id", Type::String, "Domain name of the NAF."),
            param("ua_id", Type::String, "Ua security protocol identifier, ten hex digits."),
            optional("profile", Type::String, "Of the broadcast terminal."),
            optional("payload", Type::String, "The provisioning body."),
            optional("payload_type", Type::String, "Its type."),
        ],
        &[],
    ),
    view(
        "Failure",
        "`failure`: a broadcast server did not take what it was sent.",
        &[
            optional("server", Type::String, "Name of the server that was tried."),
            param("cause", Type::String, "What happened."),
            optional("status", Type::Integer, "Of its answer; nil if it gave none."),
            param("attempt", Type::Integer, "1 for the first server tried."),
        ],
        &[],
    ),
    view(
        "Event",
        "`event`: a registration has changed.",
        &[
            param("system", Type::Words(&["ims", "broadcast"]), "Where."),
            param("state", STATE, "What it is now."),
            param("previous", STATE, "What it was."),
            param(
                "cause",
                Type::String,
                "`registered`, `refreshed`, `unregistered`, `expired`, `failed`, `deactivated`, or a reason.",
            ),
            IMPI,
            IMPU,
            optional("btid", Type::String, "B-TID of the bootstrapping."),
            optional("naf_id", Type::String, "Domain name of the NAF."),
            param("servers", Type::List(&Type::String), "Names of the broadcast servers concerned."),
            param("expires", Type::Integer, "Seconds that are left."),
        ],
        &[],
    ),
    view(
        "Response",
        "`resp`: a response before it is sent.",
        &[optional("status", Type::Integer, "200 and so on."), param("reason", Type::String, "The reason phrase.")],
        HEADERS,
    ),
    view(
        "Outcome",
        "`outcome`: how a request ended.",
        &[
            param("method", Type::String, "Of the request."),
            optional("status", Type::Integer, "Of the final answer."),
            optional("broadcast", STATE, "State of the broadcast registration, where there is one."),
            optional("server", Type::String, "Name of the broadcast server concerned."),
            param("micros", Type::Integer, "Microseconds from the request to its answer."),
        ],
        &[],
    ),
    Class {
        name: "ServerList",
        doc: "The configured broadcast servers: a list with two look-ups.",
        role: Role::Handle,
        fields: &[],
        methods: &[
            look_up(
                "by_naf",
                &[optional("naf_id", Type::String, "Domain name of a NAF.")],
                &[may_give(Type::Class("Server"), "Who is responsible for it.")],
                "Finds the server of a NAF.",
                When::Anywhere,
            ),
            look_up(
                "by_name",
                &[optional("name", Type::String, "A name in the configuration.")],
                &[may_give(Type::Class("Server"), "The server.")],
                "Finds a server by its name.",
                When::Anywhere,
            ),
        ],
    },
    Class {
        name: "Server",
        doc: "A configured broadcast server.",
        role: Role::Answer,
        fields: &[
            param("name", Type::String, "Its name in the configuration."),
            param("naf_ids", Type::List(&Type::String), "The NAFs that it is responsible for."),
        ],
        methods: &[],
    },
];
