//! `ims`: the constructors of verdicts, as the table knows them. [`crate::policy::lua`] installs them.

use super::table::{API, Class, Function, Module, Param, Return, Role, Run, Type, When, gives, optional, param};

const ALGORITHM: Type = Type::Words(&["AKAv1-MD5", "AKAv2-MD5", "AKAv2-SHA-256", "MD5", "SHA-256"]);

const fn record(name: &'static str, doc: &'static str, fields: &'static [Param]) -> Class {
    Class { name, doc, role: Role::Record, fields, methods: &[] }
}

const TO_SERVER: Param = param("to", Type::String, "Name of a configured broadcast server.");

pub(super) const CLASSES: &[Class] = &[
    Class {
        name: "Verdict",
        doc: "What a stage returns; made by a function of `ims`, and may be kept and returned many times.",
        role: Role::Handle,
        fields: &[],
        methods: &[],
    },
    record(
        "ChallengeOptions",
        "How a terminal is challenged.",
        &[optional("algorithms", Type::List(&ALGORITHM), "Best first; the node's own, if left out.")],
    ),
    record(
        "VerifyOptions",
        "Which check of the subscription, and when.",
        &[
            optional(
                "subscription",
                Type::Words(&["always", "cached", "new_services", "never"]),
                "`always` if left out; `new_services` asks only for services that were not asked for before; with `never` the \
                 profile of the last assignment counts.",
            ),
            optional(
                "at",
                Type::Words(&["before_challenge", "after_authentication"]),
                "`after_authentication` if left out.",
            ),
            optional("max_age", Type::Integer, "Seconds that a `cached` result is good for, 300 if left out."),
        ],
    ),
    record(
        "AcceptOptions",
        "How a registration is accepted.",
        &[optional("expires", Type::Integer, "Longest time granted, seconds.")],
    ),
    record(
        "ForwardOptions",
        "What goes to a broadcast server, and when.",
        &[
            TO_SERVER,
            optional(
                "parts",
                Type::List(&Type::Words(&["key", "payload", "identity"])),
                "Key and payload, if left out; the identity always goes along.",
            ),
            optional(
                "key",
                Type::Words(&["push", "pull", "pull_sip", "pull_zn", "on_use"]),
                "`push`: in the request; `pull`: the server asks at once, as it is set up to, or in SIP or over Zn; `on_use`: \
                 when the terminal comes to it.",
            ),
            optional(
                "when",
                Type::Words(&["before_200", "after_200", "by_terminal"]),
                "`before_200` if left out; with `by_terminal` nothing is forwarded.",
            ),
            optional(
                "on_failure",
                Type::Words(&["pending", "reject"]),
                "`pending` if left out: tried again while the key lives; `reject` undoes both registrations.",
            ),
        ],
    ),
    record("DestinationOptions", "Where something goes.", &[TO_SERVER]),
    record(
        "RejectOptions",
        "What else a refusal says.",
        &[optional("retry_after", Type::Integer, "Seconds, for Retry-After.")],
    ),
    record(
        "NotifyOptions",
        "Who is told, and how.",
        &[
            param(
                "to",
                Type::Either(&[Type::String, Type::List(&Type::String)]),
                "Names of broadcast servers, or `\"ims\"`.",
            ),
            param("by", Type::Words(&["third_party_register", "message"]), "The IMS is told by `message`."),
            optional(
                "after",
                Type::Integer,
                "Seconds that it is held back; a later change of the same user and system takes its place.",
            ),
        ],
    ),
    record(
        "AnswerOptions",
        "An answer of the policy's own.",
        &[
            optional("status", Type::Integer, "200 to 699 except 401 and 407; 200 if left out."),
            optional("reason", Type::String, "The reason phrase."),
            optional("headers", Type::Map(&Type::String), "Header fields."),
            optional("body", Type::String, "At most 16 KiB."),
            optional("content_type", Type::String, "Of the body, `text/plain` if left out."),
        ],
    ),
];

const VERDICT: &[Return] = &[gives(Type::Class("Verdict"), "The verdict.")];

const fn verdict(name: &'static str, params: &'static [Param], doc: &'static str) -> Function {
    Function {
        name,
        params,
        returns: VERDICT,
        doc,
        when: When::Anywhere,
        errors: if params.is_empty() { "" } else { "An unknown key or word." },
        since: API,
        run: Run::Elsewhere,
    }
}

const REASON: Param = optional("reason", Type::String, "Up to 128 octets in one line.");

pub(super) static IMS: Module = Module {
    name: "ims",
    doc: "The verdicts. A stage that returns nil has no opinion.",
    capability: None,
    fields: &[],
    functions: &[
        verdict("next", &[], "`receive`, `route`: goes on."),
        verdict("drop", &[], "`receive`: nothing is answered."),
        verdict(
            "reject",
            &[
                param("status", Type::Integer, "400 to 699 except 401 and 407."),
                REASON,
                optional("options", Type::Class("RejectOptions"), "What else it says."),
            ],
            "`receive`, `register`, `authorized`, `route`: refuses. `broadcast`: the portion alone is refused, with the reason as \
             its cause, unless the terminal asked for all or nothing.",
        ),
        verdict(
            "challenge",
            &[optional("options", Type::Class("ChallengeOptions"), "How.")],
            "`register`: challenges the terminal.",
        ),
        Function {
            errors: "A plugin without `trust = true` under `[capabilities]` calls it.",
            ..verdict(
                "trust",
                &[],
                "`register`: registers the terminal without a challenge, as whom it says it is. Only for an access network that \
                 lets nobody else's requests through: see [policy.md](policy.md#register).",
            )
        },
        verdict(
            "verify",
            &[optional("options", Type::Class("VerifyOptions"), "Which, and when.")],
            "`verify`: checks the subscription.",
        ),
        verdict(
            "accept",
            &[optional("options", Type::Class("AcceptOptions"), "How.")],
            "`authorized`: registers the terminal.",
        ),
        verdict(
            "forward",
            &[param("options", Type::Class("ForwardOptions"), "What, where and when.")],
            "`broadcast`: to a broadcast server.",
        ),
        verdict(
            "skip",
            &[optional("reason", Type::String, "Stands in the answer as the cause.")],
            "`broadcast`: the IMS alone.",
        ),
        verdict(
            "retry",
            &[param("options", Type::Class("DestinationOptions"), "Where.")],
            "`failure`: tries another broadcast server.",
        ),
        verdict("give_up", &[], "`failure`: tries no other."),
        verdict(
            "notify",
            &[param("options", Type::Class("NotifyOptions"), "Who and how.")],
            "`status`: tells others of the change.",
        ),
        verdict("silent", &[], "`status`: nobody is told."),
        verdict(
            "route",
            &[param("options", Type::Class("DestinationOptions"), "Where.")],
            "`route`: to a broadcast server.",
        ),
        verdict("answer", &[optional("options", Type::Class("AnswerOptions"), "What.")], "`route`: answers."),
    ],
};
