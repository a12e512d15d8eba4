//! `[plugins]` in imscript.toml: from the file to `plugin.conf`, and what is wrong with it by line.

use crate::world::{Dir, chain, ctx, message, servers, source};
use imscript::config::Config;
use imscript::policy::Decide;
use imscript::policy::lua::Plugins;
use imscript::policy::verdict::{Authorized, Reject};

const SCHEMA: &str = r#"on_error = "skip"
[config]
required = ["greeting"]
[config.properties]
greeting = { type = "string", minLength = 2 }
pause = { type = "string", format = "duration", default = "2 min" }
token = { type = "string", secret = true }
"#;

const BODY: &str = "function plugin_.authorized()\n local c = plugin.conf\n return ims.reject(403, c.greeting .. ' ' .. c.pause .. ' ' .. tostring(c.token))\nend";

fn config(dir: &Dir, text: &str) -> Result<Config, String> {
    let path = dir.root().join("imscript.toml");
    std::fs::write(&path, text).unwrap();
    Config::load(&path).map_err(|e| e.to_string().replace(&format!("{}/", dir.root().display()), ""))
}

fn load(dir: &Dir, text: &str) -> Result<String, String> {
    let plugins = config(dir, text)?.plugins.unwrap();
    let loaded = dir.load_with(plugins).map_err(|e| e.replace(&format!("{}/", dir.root().display()), ""))?;
    let (source, servers) = (source(), servers());
    match chain(&loaded).authorized(&message(), &ctx(&source, &servers)) {
        Authorized::Reject(Reject { reason: Some(reason), .. }) => Ok(reason),
        other => panic!("{other:?}"),
    }
}

#[test]
fn settings_reach_lua_checked_and_complete() {
    let dir = Dir::new();
    dir.plugin("x", "\"authorized\"", SCHEMA, BODY);
    let text = "[plugins]\ndir = \"plugins\"\n[plugins.config.x]\ngreeting = \"hello\"\n";
    assert_eq!(load(&dir, text).unwrap(), "hello 120 nil");
    std::fs::write(dir.root().join("x.key"), "hush\n").unwrap();
    assert_eq!(
        load(&dir, &format!("{text}pause = \"5 s\"\ntoken = {{ file = \"x.key\" }}\n")).unwrap(),
        "hello 5 hush"
    );
}

#[test]
fn what_is_wrong_with_them_by_line() {
    let dir = Dir::new();
    dir.plugin("x", "\"authorized\"", SCHEMA, BODY);
    for (text, expected) in [
        (
            "plugins = \"plugins\"\n",
            "imscript.toml: plugins.config.x.greeting: missing (a string; set it under [plugins.config.x] in the configuration, or leave the plugin out with disabled)",
        ),
        ("[plugins]\n\n[plugins.config.x]\n", "imscript.toml:3: plugins.config.x.greeting: missing (a string)"),
        (
            "[plugins.config.x]\ngreeting = 1\n",
            "imscript.toml:2: plugins.config.x.greeting: expected a string, found an integer",
        ),
        (
            "[plugins.config.x]\ngreeting = \"hi\"\npase = \"5 s\"\n",
            "imscript.toml:3: plugins.config.x.pase: unknown key (did you mean \"pause\"?)",
        ),
        (
            "[plugins.config.x]\ngreeting = \"hi\"\npause = \"5\"\n",
            "imscript.toml:3: plugins.config.x.pause: \"5\": expected a duration",
        ),
        (
            "[plugins.config.x]\ngreeting = \"hi\"\ntoken = { env = \"IMSCRIPT_NOT_SET\" }\n",
            "imscript.toml:3: plugins.config.x.token: environment variable IMSCRIPT_NOT_SET is not set",
        ),
        (
            "[plugins.config.x]\ngreeting = \"hi\"\ntoken = { file = \"lost.key\" }\n",
            "imscript.toml:3: plugins.config.x.token: cannot read ",
        ),
        ("[plugins.config]\nx = 5\n", "imscript.toml:2: plugins.config.x: expected an object, found an integer"),
        ("[plugins.config.y]\na = 1\n", "imscript.toml:1: config: there is no plugin \"y\" in "),
    ] {
        let error = load(&dir, text).expect_err(text);
        assert!(error.lines().any(|line| line.starts_with(expected)), "{text}\n{error}");
    }
}

#[test]
fn the_table_itself_by_line() {
    let dir = Dir::new();
    for (text, expected) in [
        ("plugins = 5", "imscript.toml:1: plugins: expected a table, found an integer"),
        ("[plugins]\nfolder = \"x\"", "imscript.toml:2: unknown key of [plugins] \"folder\""),
        ("[plugins]\norder = \"a\"", "imscript.toml:2: order: expected a list of strings, found a string"),
        ("[plugins]\nconfig = 1", "imscript.toml:2: config: expected a table ([plugins.config.NAME])"),
        (
            "[plugins]\ndir = 1\ndisabled = [\n1]",
            "imscript.toml:2: dir: expected a string, found an integer\nimscript.toml:4: disabled: expected strings",
        ),
    ] {
        let error = config(&dir, text).map(|_| ()).expect_err(text);
        assert!(error.starts_with(expected), "{text}\n{error}");
    }
    let config = config(&dir, "[plugins]\norder = [\"b\",\n\"a\"]\n").unwrap();
    let plugins = config.plugins.clone().unwrap();
    assert_eq!((plugins.dir, plugins.order), (dir.path(), vec![("b".to_owned(), 2), ("a".to_owned(), 3)]));
}

/// A configuration is printed when something goes wrong; a token that stands in it is not.
#[test]
fn no_secret_is_printed() {
    let dir = Dir::new();
    dir.plugin("x", "\"authorized\"", SCHEMA, BODY);
    let config = config(&dir, "[plugins.config.x]\ngreeting = \"hi\"\ntoken = \"hushhush\"\n").unwrap();
    let loaded = dir.load_with(config.plugins.clone().unwrap()).unwrap();
    let printed = format!("{config:?} {loaded:?}");
    assert!(printed.contains("greeting") && !printed.contains("hushhush"), "{printed}");
}

/// A test sets them without a file.
#[test]
fn settings_from_elsewhere() {
    let dir = Dir::new();
    dir.plugin("x", "\"authorized\"", SCHEMA, BODY);
    let mut plugins = Plugins::of(dir.path());
    plugins.configure("x", &serde_json::json!({ "greeting": 5 }));
    assert!(dir.load_with(plugins.clone()).unwrap_err().contains("x.greeting: expected a string, found an integer"));
    plugins.configure("x", &serde_json::json!({ "greeting": "hi" }));
    assert_eq!(dir.load_with(plugins).unwrap().units[0].conf.values()["greeting"], "hi");
}

/// The same files and settings have the same digest, and no others.
#[test]
fn digests_tell_what_changed() {
    let dir = Dir::new();
    dir.plugin("x", "\"authorized\"", SCHEMA, BODY);
    let digest = |greeting: &str| {
        let mut plugins = Plugins::of(dir.path());
        plugins.configure("x", &serde_json::json!({ "greeting": greeting }));
        dir.load_with(plugins).unwrap().units[0].digest.clone()
    };
    let first = digest("hi");
    assert_eq!(digest("hi"), first);
    assert_ne!(digest("ho"), first);
    dir.file("x/m.lua", "return 1");
    assert_ne!(digest("hi"), first);
}
