//! What a plugin may use is what its manifest asks for; anything else is a fault when it is loaded, by file and line.

use crate::world::{Dir, ctx, message, servers, source};
use imscript::policy::{Decide, verdict};

#[test]
fn a_global_without_its_capability_is_refused_where_it_is_used() {
    for (name, grant) in [
        ("http", "[capabilities] http = [\"https://host\"]"),
        ("shared", "[capabilities] shared = true"),
        ("store", "[capabilities] store = true"),
        ("metric", "[capabilities] metric = true"),
        ("hss", "[capabilities] hss = true"),
        ("timer", "[capabilities] timer = true"),
    ] {
        let dir = Dir::new();
        dir.plugin("x", "\"verify\"", "", &format!("function plugin_.verify()\n\n  {name}.anything()\nend"));
        assert_eq!(
            dir.fault(),
            format!("x/main.lua:4: {name} is used without the capability ({grant} in x/plugin.toml)")
        );
    }
}

#[test]
fn also_in_modules_and_by_way_of_a_local() {
    let dir = Dir::new();
    dir.plugin("x", "", "", "require('m')").file("x/m.lua", "-- http is fine in a comment\nlocal h = http\nreturn h");
    assert!(dir.fault().starts_with("x/m.lua:2: http is used without the capability"), "{}", dir.fault());
}

#[test]
fn a_local_of_that_name_is_nobodys_business() {
    let dir = Dir::new();
    dir.plugin(
        "x",
        "\"verify\"",
        "",
        "local store = { http = 'x' }\nfunction plugin_.verify(timer)\n return store.http and nil\nend",
    );
    dir.load().unwrap();
}

#[test]
fn granting_another_capability_does_not_help() {
    let dir = Dir::new();
    dir.plugin("x", "", "[capabilities]\ntimer = true\nhttp = []\n", "local a = http");
    assert!(dir.fault().contains("http is used without the capability"), "{}", dir.fault());
}

#[test]
fn trust_is_for_plugins_that_ask_for_it() {
    let plugin = |more: &str, functions: &str| {
        let dir = Dir::new();
        dir.plugin("x", "\"register\"", &format!("on_error = \"skip\"\n{more}"), functions);
        dir
    };
    let at_once = "local TRUST = ims.trust()\nfunction plugin_.register()\n return TRUST\nend";
    let why = "x is not granted ims.trust; plugin.toml: [capabilities] trust = true";
    for more in ["", "[capabilities]\ntrust = false", "[capabilities]\ntimer = true"] {
        let fault = plugin(more, at_once).fault();
        assert!(fault.starts_with("x/main.lua:2: ") && fault.contains(why), "{fault}");
    }
    let (source, servers) = (source(), servers());
    let ctx = ctx(&source, &servers);
    let later = "function plugin_.register()\n return ims.trust()\nend";
    let verdict = plugin("", later).chain().register(&message(), &ctx);
    assert_eq!(verdict, verdict::Register::Challenge { algorithms: None }, "a fault, and the default");
    for functions in [at_once, later] {
        let granted = plugin("[capabilities]\ntrust = true", functions);
        assert_eq!(granted.chain().register(&message(), &ctx), verdict::Register::Trust);
    }
    let fault = plugin("[capabilities]\ntrust = 1", later).fault();
    assert!(fault.contains("trust"), "{fault}");
}
