//! `metric`: counters, gauges and histograms among the node's own.

use super::call::{Call, refused, text};
use super::table::{Class, Module, Param, Role, Type, function, gives, optional, param};
use crate::metrics::{Counter, Gauge, Histogram, MetricError, SECONDS};
use mlua::{UserData, UserDataMethods, Value};

const NAME: Param =
    param("name", Type::String, "Letters, digits and _; `hits` of plugin `verify-cache` becomes `verify_cache_hits`.");
const LABELS: Param = optional(
    "labels",
    Type::Map(&Type::Any),
    "Up to 4, always the same names. A metric has 100 series; what is over it reads `other`.",
);

pub(super) const CLASSES: &[Class] = &[
    Class {
        name: "Counter",
        doc: "Goes up only.",
        role: Role::Handle,
        fields: &[],
        methods: &[function(
            "add",
            &[optional("by", Type::Integer, "From 0; 1 if left out.")],
            &[],
            "Counts.",
            add_to_counter,
        )],
    },
    Class {
        name: "Gauge",
        doc: "Goes up and down.",
        role: Role::Handle,
        fields: &[],
        methods: &[
            function("set", &[param("value", Type::Number, "The new value.")], &[], "Sets it.", set_gauge),
            function("add", &[param("by", Type::Number, "May be negative.")], &[], "Changes it.", add_to_gauge),
        ],
    },
    Class {
        name: "Histogram",
        doc: "Counts values by size.",
        role: Role::Handle,
        fields: &[],
        methods: &[function(
            "observe",
            &[param("value", Type::Number, "What was measured.")],
            &[],
            "Counts one.",
            observe,
        )],
    },
    Class {
        name: "HistogramOptions",
        doc: "How a histogram counts.",
        role: Role::Record,
        fields: &[
            optional(
                "buckets",
                Type::List(&Type::Number),
                "Up to 32 upper bounds, rising; 100 µs to 10 s if left out.",
            ),
            LABELS,
        ],
        methods: &[],
    },
];

pub(super) static METRIC: Module = Module {
    name: "metric",
    doc: "Metrics among those of the node, with the plugin's name in front. Ask for one at the top of the file and keep it: \
          counting is then one step.",
    capability: Some("metric"),
    fields: &[],
    functions: &[
        function(
            "counter",
            &[NAME, LABELS],
            &[gives(Type::Class("Counter"), "With `:add(n)`.")],
            "A number that goes up only; its name ends in `_total`.",
            counter,
        )
        .fails("A name that is none; other labels or another kind than before; more than 32 metrics."),
        function(
            "gauge",
            &[NAME, LABELS],
            &[gives(Type::Class("Gauge"), "With `:set(x)` and `:add(x)`.")],
            "A number that goes up and down.",
            gauge,
        )
        .fails("As `metric.counter`."),
        function(
            "histogram",
            &[NAME, optional("options", Type::Class("HistogramOptions"), "Buckets and labels.")],
            &[gives(Type::Class("Histogram"), "With `:observe(x)`.")],
            "Counts values by size.",
            histogram,
        )
        .fails("As `metric.counter`; bounds that do not rise."),
    ],
};

impl UserData for Counter {
    fn add_methods<M: UserDataMethods<Self>>(methods: &mut M) {
        super::add_methods("Counter", methods);
    }
}

impl UserData for Gauge {
    fn add_methods<M: UserDataMethods<Self>>(methods: &mut M) {
        super::add_methods("Gauge", methods);
    }
}

impl UserData for Histogram {
    fn add_methods<M: UserDataMethods<Self>>(methods: &mut M) {
        super::add_methods("Histogram", methods);
    }
}

fn counter(call: &Call<'_>) -> mlua::Result<Value> {
    let (name, help) = named(call, "Counter", "_total")?;
    let labels = labels(call.value(1))?;
    let counter = known(call.guest.env.host.metrics.counter(&name, &help, &borrowed(&labels)))?;
    call.lua.create_userdata(counter).map(Value::UserData)
}

fn gauge(call: &Call<'_>) -> mlua::Result<Value> {
    let (name, help) = named(call, "Gauge", "")?;
    let labels = labels(call.value(1))?;
    let gauge = known(call.guest.env.host.metrics.gauge(&name, &help, &borrowed(&labels)))?;
    call.lua.create_userdata(gauge).map(Value::UserData)
}

fn histogram(call: &Call<'_>) -> mlua::Result<Value> {
    let (name, help) = named(call, "Histogram", "")?;
    let (mut given, mut bounds) = (Vec::new(), SECONDS.to_vec());
    call.options(1, &CLASSES[3], |key, value| {
        match (key, value) {
            ("buckets", Value::Table(list)) => {
                if list.raw_len() > 32 {
                    return Err(refused(MetricError::Bounds.to_string()));
                }
                bounds = list.sequence_values::<f64>().collect::<mlua::Result<_>>()?;
            }
            (_, value) => given = labels(value)?,
        }
        Ok(())
    })?;
    let histogram = known(call.guest.env.host.metrics.histogram(&name, &help, &borrowed(&given), &bounds))?;
    call.lua.create_userdata(histogram).map(Value::UserData)
}

/// Name and help of a metric of this unit.
fn named(call: &Call<'_>, kind: &str, suffix: &str) -> mlua::Result<(String, String)> {
    let name = call.text(0)?;
    if name.is_empty() || name.len() > 64 {
        return Err(refused("name has 1 to 64 octets"));
    }
    let unit = &*call.guest.unit.name;
    // What begins like this is the node's own.
    let reserved = if unit.starts_with("imscript") { "plugin_" } else { "" };
    let prefix: String = unit.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '_' }).collect();
    let suffix = if name.ends_with(suffix) { "" } else { suffix };
    let full = format!("{reserved}{prefix}_{name}{suffix}");
    call.guest.namespace.may_have(&full).map_err(refused)?;
    Ok((full, format!("{kind} {name} of {unit}.")))
}

fn known<T>(metric: Result<T, MetricError>) -> mlua::Result<T> {
    metric.map_err(|why| refused(why.to_string()))
}

fn labels(value: &Value) -> mlua::Result<Vec<(String, String)>> {
    let mut labels = Vec::new();
    if let Value::Table(table) = value {
        table.for_each(|key: Value, value: Value| {
            if labels.len() >= 4 {
                return Err(refused("labels has more than 4 entries"));
            }
            labels.push((text(&key)?, value.to_string()?));
            Ok(())
        })?;
    }
    labels.sort();
    Ok(labels)
}

fn borrowed(labels: &[(String, String)]) -> Vec<(&str, &str)> {
    labels.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect()
}

fn object<T: 'static + Clone>(call: &Call<'_>) -> mlua::Result<T> {
    match call.value(0) {
        Value::UserData(object) => match object.borrow::<T>() {
            Ok(metric) => Ok(metric.clone()),
            Err(_) => Err(refused("call it on its own metric, with a colon")),
        },
        _ => Err(refused("call it with a colon")),
    }
}

fn add_to_counter(call: &Call<'_>) -> mlua::Result<Value> {
    let by = if call.given(1).is_some() { call.number(1)? } else { 1.0 };
    if !(0.0..=9e15).contains(&by) {
        return Err(refused(format!("by is {by}; a counter goes up only")));
    }
    object::<Counter>(call)?.add(by as u64);
    Ok(Value::Nil)
}

fn set_gauge(call: &Call<'_>) -> mlua::Result<Value> {
    object::<Gauge>(call)?.set(call.number(1)?);
    Ok(Value::Nil)
}

fn add_to_gauge(call: &Call<'_>) -> mlua::Result<Value> {
    object::<Gauge>(call)?.add(call.number(1)?);
    Ok(Value::Nil)
}

fn observe(call: &Call<'_>) -> mlua::Result<Value> {
    object::<Histogram>(call)?.observe(call.number(1)?);
    Ok(Value::Nil)
}
