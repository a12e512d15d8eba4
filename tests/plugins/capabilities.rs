//! What a plugin may use is what its manifest asks for; anything else is a fault when it is loaded, by file and line.

use crate::world::Dir;

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
