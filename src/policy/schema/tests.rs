//! Schemas and the values they let through, by key path and line.

use crate::policy::conf::{Conf, SecretSource, Secrets};
use crate::policy::document::Node;
use crate::policy::finding::Findings;
use crate::policy::manifest::Manifest;
use crate::policy::schema::Schema;
use serde_json::{Value as Json, json};

const HEAD: &str = "name = \"x\"\nversion = \"1.0.0\"\napi = 1\nstages = []\n";

/// `config` begins on line 5 of the manifest.
fn schema(config: &str) -> Result<Schema, String> {
    let manifest = Manifest::parse(&format!("{HEAD}{config}"), "plugin.toml", "x");
    manifest.map(|m| m.config).map_err(|e| e.to_string())
}

/// What the operator gives stands in imscript.toml from line 1.
fn check_with(config: &str, given: &str, secrets: &Secrets<'_>) -> Result<Conf, String> {
    let schema = schema(config).unwrap();
    let mut found = Findings::of("imscript.toml");
    let given = Node::parse(given, &mut found);
    let conf = Conf::check("x", &schema, Some(&given), secrets, &mut found);
    found.or(conf).map_err(|e| e.to_string())
}

fn check(config: &str, given: &str) -> Result<Json, String> {
    check_with(config, given, &Secrets::none()).map(|conf| conf.values().clone())
}

fn one(schema: &str, value: &str) -> Result<Json, String> {
    check(&format!("[config.properties.k]\n{schema}"), &format!("k = {value}")).map(|conf| conf["k"].clone())
}

#[test]
fn every_type_lets_its_values_through() {
    for (schema, value, expected) in [
        ("type = \"string\"", "\"a\"", json!("a")),
        ("type = \"string\"\nenum = [\"a\", \"b\"]", "\"b\"", json!("b")),
        ("type = \"string\"\npattern = '^\\d\\d:\\d\\d$'", "\"22:30\"", json!("22:30")),
        ("type = \"string\"\nminLength = 2\nmaxLength = 3", "\"äöü\"", json!("äöü")),
        ("type = \"string\"\nformat = \"duration\"", "\"1.5 min\"", json!(90.0)),
        ("type = \"string\"\nformat = \"uri\"", "\"https://a.example/x\"", json!("https://a.example/x")),
        ("type = \"integer\"\nminimum = 1\nmaximum = 10", "10", json!(10)),
        ("type = \"number\"\nminimum = 0", "0.5", json!(0.5)),
        ("type = \"number\"", "3", json!(3.0)),
        ("type = \"boolean\"", "true", json!(true)),
        ("type = \"array\"\nitems = { type = \"integer\" }", "[1, 2]", json!([1, 2])),
        (
            "type = \"object\"\nadditionalProperties = { type = \"integer\" }",
            "{ a = 1, b = 2 }",
            json!({"a": 1, "b": 2}),
        ),
        ("type = \"object\"\nproperties.a = { type = \"string\" }", "{ a = \"b\" }", json!({"a": "b"})),
    ] {
        assert_eq!(one(schema, value).as_ref(), Ok(&expected), "{schema} {value}");
    }
}

#[test]
fn what_does_not_fit_is_told_by_path_line_and_what_was_expected() {
    for (schema, value, why) in [
        ("type = \"string\"\npattern = '^a$'\ndescription = \"an a\"", "\"b\"", "k: \"b\" does not match ^a$ (an a)"),
        ("type = \"string\"", "1", "k: expected a string, found an integer"),
        ("type = \"string\"", "{ env = \"X\" }", "k: expected a string, found a table"),
        ("type = \"string\"\nenum = [\"a\", \"b\"]", "\"c\"", "k: \"c\" is none of \"a\", \"b\""),
        ("type = \"string\"\npattern = '^\\d+$'", "\"x1\"", "k: \"x1\" does not match ^\\d+$"),
        ("type = \"string\"\nminLength = 2", "\"ä\"", "k: expected 2 or more characters, found 1"),
        ("type = \"string\"\nmaxLength = 2", "\"abc\"", "k: expected at most 2 characters, found 3"),
        ("type = \"string\"\nformat = \"duration\"", "\"soon\"", "k: \"soon\": expected a duration such as"),
        (
            "type = \"string\"\nformat = \"uri\"",
            "\"ftp://a\"",
            "k: \"ftp://a\": expected a URI such as \"https://host/path\"",
        ),
        ("type = \"integer\"\nminimum = 1\nmaximum = 10", "11", "k: expected 1 to 10, found 11"),
        ("type = \"integer\"\nminimum = 1", "0", "k: expected 1 or more, found 0"),
        ("type = \"integer\"", "1.5", "k: expected an integer, found a number"),
        ("type = \"integer\"", "9007199254740993", "k: expected -9007199254740992 to 9007199254740992"),
        ("type = \"number\"\nmaximum = 1", "1.5", "k: expected at most 1, found 1.5"),
        ("type = \"number\"", "nan", "k: expected a number, found a number"),
        ("type = \"boolean\"", "\"yes\"", "k: expected a boolean, found a string"),
        ("type = \"boolean\"", "1979-05-27", "k: expected a boolean, found a date"),
        ("type = \"array\"\nitems = { type = \"integer\" }", "1", "k: expected an array, found an integer"),
        ("type = \"array\"\nitems = { type = \"integer\" }", "[1, \"b\"]", "k[2]: expected an integer, found a string"),
        (
            "type = \"array\"\nitems = { type = \"integer\" }\nminItems = 2",
            "[1]",
            "k: expected 2 to 10000 elements, found 1",
        ),
        ("type = \"object\"", "{ a = 1 }", "k.a: unknown key (there is nothing to configure here)"),
        (
            "type = \"object\"\nproperties.abc = { type = \"string\" }",
            "{ abd = \"\" }",
            "k.abd: unknown key (did you mean \"abc\"?)",
        ),
        (
            "type = \"object\"\nadditionalProperties = { type = \"integer\" }",
            "{ a = \"b\" }",
            "k.a: expected an integer",
        ),
    ] {
        let error = one(schema, value).expect_err(schema);
        assert!(error.starts_with(&format!("imscript.toml:1: plugins.config.x.{why}")), "{schema} {value}:\n{error}");
    }
}

#[test]
fn all_faults_of_the_values_at_once_each_with_its_line() {
    let config = "[config]\nrequired = [\"url\"]\n[config.properties]\nurl = { type = \"string\", description = \"who is told\" }\nn = { type = \"integer\" }\nlist = { type = \"array\", items = { type = \"boolean\" } }\n";
    let error = check(config, "n = \"1\"\nlist = [\n  true,\n  2,\n  3,\n]\nlost = 1\n").unwrap_err();
    assert_eq!(
        error,
        "imscript.toml:1: plugins.config.x.n: expected an integer, found a string\n\
         imscript.toml:1: plugins.config.x.url: missing (a string: who is told)\n\
         imscript.toml:4: plugins.config.x.list[2]: expected a boolean, found an integer\n\
         imscript.toml:5: plugins.config.x.list[3]: expected a boolean, found an integer\n\
         imscript.toml:7: plugins.config.x.lost: unknown key (did you mean \"list\"?)"
    );
}

#[test]
fn defaults_are_filled_in_on_every_level() {
    let config = r#"
[config.properties.window]
type = "string"
format = "duration"
default = "30 s"
[config.properties.retry]
type = "object"
[config.properties.retry.properties]
times = { type = "integer", default = 3 }
note = { type = "string" }
[config.properties.target]
type = "object"
required = ["host"]
[config.properties.target.properties]
host = { type = "string" }
port = { type = "integer", default = 80 }
"#;
    assert_eq!(check(config, ""), Ok(json!({ "window": 30.0, "retry": { "times": 3 } })));
    assert_eq!(
        check(config, "target.host = \"a\"\nretry.note = \"n\""),
        Ok(json!({ "window": 30.0, "retry": { "times": 3, "note": "n" }, "target": { "host": "a", "port": 80 } }))
    );
    assert!(
        check(config, "[target]\nport = 1").unwrap_err().contains("plugins.config.x.target.host: missing (a string)")
    );
}

#[test]
fn a_plugin_without_config_takes_none() {
    assert_eq!(check("", ""), Ok(json!({})));
    assert!(check("", "a = 1").unwrap_err().contains("x.a: unknown key (there is nothing to configure here)"));
}

#[test]
fn secrets_come_from_env_or_file_and_are_printed_nowhere() {
    let config = r#"
[config]
required = ["token"]
[config.properties]
token = { type = "string", secret = true, minLength = 4, pattern = "^[a-z]+$" }
url = { type = "string", default = "http://a" }
more = { type = "array", items = { type = "string", secret = true } }
"#;
    let read = Secrets::by(|source| match source {
        SecretSource::Env("TOKEN") => Ok("abcdef".to_owned()),
        SecretSource::File("t.key") => Ok("ghijkl".to_owned()),
        SecretSource::Env(name) => Err(format!("environment variable {name} is not set")),
        SecretSource::File(path) => Err(format!("cannot read {path}")),
    });
    let conf =
        check_with(config, "token = { env = \"TOKEN\" }\nmore = [{ file = \"t.key\" }, \"literal\"]", &read).unwrap();
    assert_eq!(conf.values(), &json!({ "token": "abcdef", "url": "http://a", "more": ["ghijkl", "literal"] }));
    assert_eq!(conf.shown(), &json!({ "token": "***", "url": "http://a", "more": ["***", "***"] }));
    let printed = format!("{conf:?} {conf:#?}");
    assert!(!printed.contains("abcdef") && !printed.contains("literal"), "{printed}");

    let fault = |given: &str| check_with(config, given, &read).unwrap_err();
    assert_eq!(
        fault("\ntoken = { env = \"OTHER\" }"),
        "imscript.toml:2: plugins.config.x.token: environment variable OTHER is not set"
    );
    assert!(fault("token = { file = \"lost\" }").contains("cannot read lost"));
    for odd in ["{}", "{ env = 1 }", "{ vault = \"x\" }", "{ env = \"TOKEN\", file = \"t.key\" }"] {
        assert!(fault(&format!("token = {odd}")).contains("expected a string, { env = \"VARIABLE\" }"), "{odd}");
    }
    // Not even the value that is refused.
    for bad in ["\"hushhush1\"", "\"hus\""] {
        assert!(!fault(&format!("token = {bad}")).contains("hus"), "{bad}");
    }
}

#[test]
fn a_schema_is_checked_when_it_is_read() {
    for (config, line, why) in [
        ("[config]\ntype = \"array\"", 6, "[config] is always of type object"),
        ("[config]\npropertis = {}", 6, "unknown key of [config] \"propertis\" (did you mean \"properties\"?)"),
        ("[config]\nproperties = 1", 6, "properties: expected a table"),
        ("[config.properties]\na = 1", 6, "a: expected a table, found an integer"),
        ("[config.properties.a]\n", 5, "a: type is missing"),
        ("[config.properties.a]\ntype = \"text\"", 6, "a: unknown type \"text\" (known are string"),
        ("[config.properties.a]\ntype = \"strng\"", 6, "a: unknown type \"strng\" (did you mean \"string\"?)"),
        ("[config.properties.a]\ntype = \"string\"\nminimum = 1", 7, "unknown key for type string \"minimum\""),
        ("[config.properties.a]\ntype = \"integer\"\nsecret = true", 7, "unknown key for type integer \"secret\""),
        ("[config.properties.a]\ntype = \"string\"\npattern = \"(\"", 7, "a: pattern \"(\": unclosed group"),
        ("[config.properties.a]\ntype = \"string\"\npattern = '(a)\\1'", 7, "backreferences are not supported"),
        ("[config.properties.a]\ntype = \"string\"\npattern = 'a{1000}{1000}'", 7, "pattern"),
        (
            "[config.properties.a]\ntype = \"string\"\nformat = \"url\"",
            7,
            "a: unknown format \"url\" (did you mean \"uri\"?)",
        ),
        ("[config.properties.a]\ntype = \"string\"\nminLength = -1", 7, "minLength: expected an integer from 0"),
        (
            "[config.properties.a]\ntype = \"string\"\nminLength = 3\nmaxLength = 2",
            5,
            "the lower bound is above the upper one",
        ),
        ("[config.properties.a]\ntype = \"integer\"\nmaximum = 1.5", 7, "maximum: expected an integer"),
        ("[config.properties.a]\ntype = \"number\"\nmaximum = \"1\"", 7, "maximum: expected a number"),
        ("[config.properties.a]\ntype = \"array\"", 5, "a: an array needs items"),
        ("[config.properties.a]\ntype = \"array\"\nitems = { type = \"x\" }", 7, "a[]: unknown type"),
        ("[config.properties.a]\ntype = \"string\"\nenum = []", 7, "enum is a list of the values"),
        (
            "[config.properties.a]\ntype = \"string\"\nenum = [\"b\", 1]",
            7,
            "a: enum: expected a string, found an integer",
        ),
        (
            "[config.properties.a]\ntype = \"integer\"\nminimum = 5\ndefault = 4",
            8,
            "a: default: expected 5 or more, found 4",
        ),
        (
            "[config.properties.a]\ntype = \"string\"\nenum = [\"b\"]\ndefault = \"c\"",
            8,
            "a: default: \"c\" is none of \"b\"",
        ),
        ("[config.properties.a]\ntype = \"string\"\nsecret = true\ndefault = \"c\"", 8, "a: a secret has no default"),
        ("[config]\nrequired = [\"b\"]", 6, "required: no property \"b\""),
        ("[config]\nrequired = [\"a\"]\nproperties.a = { type = \"integer\", default = 1 }", 6, "a has a default"),
        ("[config]\nadditionalProperties = true", 6, "additionalProperties: the schema of such values, or false"),
    ] {
        let error = schema(config).map(|_| ()).expect_err(config);
        assert!(error.starts_with(&format!("plugin.toml:{line}: ")) && error.contains(why), "{config}\n{error}");
    }
    let mut deep = "type = \"integer\"".to_owned();
    for _ in 0..12 {
        deep = format!("type = \"array\", items = {{ {deep} }}");
    }
    assert!(
        schema(&format!("[config.properties]\na = {{ {deep} }}")).unwrap_err().contains("nested deeper than 8 levels")
    );
}

#[test]
fn http_may_go_where_the_operators_url_points() {
    let text = format!(
        "{HEAD}[capabilities]\nhttp = [\"https://a.example\", \"config.url\", \"config.mirrors\"]\n[config.properties]\nurl = {{ type = \"string\", format = \"uri\" }}\nmirrors = {{ type = \"array\", items = {{ type = \"string\", format = \"uri\" }} }}\n"
    );
    let manifest = Manifest::parse(&text, "plugin.toml", "x").unwrap();
    let mut found = Findings::of("imscript.toml");
    let given = Node::parse("url = \"http://B.example:81/x?y\"\nmirrors = [\"https://c.example/\"]", &mut found);
    let conf = Conf::check("x", &manifest.config, Some(&given), &Secrets::none(), &mut found).unwrap();
    let origins: Vec<_> = manifest.capabilities.origins(&conf).iter().map(ToString::to_string).collect();
    assert_eq!(origins, ["http://b.example:81", "https://a.example:443", "https://c.example:443"]);
    assert_eq!(manifest.capabilities.origins(&Conf::empty()).len(), 1);
    let wrong = text.replace("format = \"uri\" }}", "}}").replace("format = \"uri\" }\nm", "}\nm").replace(", }", " }");
    assert!(
        Manifest::parse(&wrong, "plugin.toml", "x").unwrap_err().to_string().contains("is no string of format uri")
    );
}
