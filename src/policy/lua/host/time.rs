//! `time`: the node's clocks and the calendar.

use super::call::{Call, refused};
use super::table::{Class, Module, Role, Type, function, gives, may_give, optional, param};
use crate::broadcast::datetime::civil_from_days;
use mlua::Value;

pub(super) const CLASSES: &[Class] = &[Class {
    name: "Date",
    doc: "A moment in one zone.",
    role: Role::Answer,
    fields: &[
        param("year", Type::Integer, "Four digits."),
        param("month", Type::Integer, "1 to 12."),
        param("day", Type::Integer, "1 to 31."),
        param("hour", Type::Integer, "0 to 23."),
        param("minute", Type::Integer, "0 to 59."),
        param("second", Type::Integer, "0 to 59."),
        param("weekday", Type::Integer, "1 is Monday, 7 Sunday."),
        param("minutes", Type::Integer, "Since midnight: to be compared with what `time.minutes` gives."),
    ],
    methods: &[],
}];

pub(super) static TIME: Module = Module {
    name: "time",
    doc: "The node's clocks. Tests set them.",
    capability: None,
    fields: &[],
    functions: &[
        function("now", &[], &[gives(Type::Number, "Seconds since 1970, with a fraction.")], "The time of day.", now),
        function(
            "monotonic",
            &[],
            &[gives(Type::Number, "Seconds since the node's start, with a fraction.")],
            "A clock that never steps: for intervals.",
            monotonic,
        ),
        function(
            "date",
            &[
                optional("unix", Type::Number, "Seconds since 1970; now, if left out."),
                optional("zone", Type::Integer, "Minutes east of UTC, 0 if left out; from -1440 to 1440."),
            ],
            &[gives(Type::Class("Date"), "Year, month, day and so on.")],
            "A time as a date.",
            date,
        )
        .fails("A time before 1970 or after the year 9999."),
        function(
            "minutes",
            &[param("clock", Type::String, "`\"HH:MM\"`, from 00:00 to 23:59.")],
            &[may_give(Type::Integer, "Minutes since midnight; nil if it is no time of day.")],
            "Reads a time of day.",
            minutes,
        ),
    ],
};

fn now(call: &Call<'_>) -> mlua::Result<Value> {
    Ok(Value::Number(call.guest.env.clock.now().unix.as_secs_f64()))
}

fn monotonic(call: &Call<'_>) -> mlua::Result<Value> {
    Ok(Value::Number(call.guest.env.clock.now().mono.as_secs_f64()))
}

/// 9999-12-31T23:59:59Z.
const LAST: f64 = 253_402_300_799.0;

fn date(call: &Call<'_>) -> mlua::Result<Value> {
    let unix = match call.given(0) {
        Some(_) => call.number(0)?,
        None => call.guest.env.clock.now().unix.as_secs_f64(),
    };
    let zone = if call.given(1).is_some() { call.number(1)? } else { 0.0 };
    if !(-1440.0..=1440.0).contains(&zone) {
        return Err(refused("zone is -1440 to 1440 minutes"));
    }
    let there = (unix + zone * 60.0).floor();
    if !(0.0..=LAST).contains(&there) {
        return Err(refused("the time is before 1970 or after the year 9999"));
    }
    let there = there as u64;
    let (days, seconds) = (there / 86_400, there % 86_400);
    let (year, month, day) = civil_from_days(days);
    let date = call.lua.create_table_with_capacity(0, 8)?;
    let fields = [
        ("year", year),
        ("month", month),
        ("day", day),
        ("hour", seconds / 3600),
        ("minute", seconds / 60 % 60),
        ("second", seconds % 60),
        // 1970 began on a Thursday.
        ("weekday", (days + 3) % 7 + 1),
        ("minutes", seconds / 60),
    ];
    for (name, value) in fields {
        date.raw_set(name, value)?;
    }
    Ok(Value::Table(date))
}

fn minutes(call: &Call<'_>) -> mlua::Result<Value> {
    let text = call.string(0)?.as_bytes();
    let digit = |c: u8| c.is_ascii_digit().then(|| u32::from(c - b'0'));
    let two = |a, b| Some(digit(a)? * 10 + digit(b)?);
    let minutes = match *text {
        [a, b, b':', c, d] => two(a, b).zip(two(c, d)).filter(|(hour, minute)| *hour < 24 && *minute < 60),
        _ => None,
    };
    Ok(minutes.map_or(Value::Nil, |(hour, minute)| Value::Number(f64::from(hour * 60 + minute))))
}
