//! Who is asked first, and who decides.

use crate::world::{Dir, chain, ctx, message, servers, source};
use imscript::policy::lua::Plugins;
use imscript::policy::verdict::Authorized;
use imscript::policy::{Decide, Stage};

/// A plugin that accepts for so many seconds.
fn accepts(dir: &Dir, name: &str, more: &str, expires: u32) {
    let body = format!("function plugin_.authorized()\n return ims.accept{{ expires = {expires} }}\nend");
    dir.plugin(name, "\"authorized\"", &format!("on_error = \"skip\"\n{more}"), &body);
}

fn list(names: &[&str]) -> Vec<(String, usize)> {
    names.iter().map(|n| ((*n).to_owned(), 7)).collect()
}

fn decided(dir: &Dir, plugins: Plugins) -> (String, Authorized) {
    let chain = chain(&dir.load_with(plugins).unwrap());
    let (source, servers) = (source(), servers());
    let order = chain.order(Stage::Authorized).collect::<Vec<_>>().join(" ");
    (order, chain.authorized(&message(), &ctx(&source, &servers)))
}

#[test]
fn by_name_by_list_by_manifest() {
    let dir = Dir::new();
    accepts(&dir, "a", "", 601);
    accepts(&dir, "b", "", 602);
    accepts(&dir, "c", "after = [\"ghost\"]\n", 603);
    let plain = Plugins::of(dir.path());
    assert_eq!(decided(&dir, plain.clone()), ("a b c".into(), Authorized::Accept { expires: Some(601) }));
    let listed = Plugins { order: list(&["c", "b"]), ..plain.clone() };
    assert_eq!(decided(&dir, listed.clone()), ("c b a".into(), Authorized::Accept { expires: Some(603) }));
    accepts(&dir, "a", "before = [\"c\"]\n", 601);
    assert_eq!(decided(&dir, listed.clone()).0, "b a c");
    let without = Plugins { disabled: list(&["a"]), ..plain };
    assert_eq!(decided(&dir, without).0, "b c");
}

#[test]
fn the_policy_is_last_unless_placed() {
    let dir = Dir::new();
    accepts(&dir, "a", "", 601);
    accepts(&dir, "z", "after = [\"policy\"]\n", 602);
    let names = |plugins: Plugins| {
        dir.load_with(plugins).unwrap().units.iter().map(|u| u.name.to_string()).collect::<Vec<_>>().join(" ")
    };
    assert_eq!(names(Plugins::of(dir.path())), "a policy z");
    assert_eq!(names(Plugins { order: list(&["policy", "a"]), ..Plugins::of(dir.path()) }), "policy a z");
}

#[test]
fn a_ring_names_the_lines_of_the_manifests() {
    let dir = Dir::new();
    accepts(&dir, "a", "before = [\"b\"]\n", 601);
    accepts(&dir, "b", "before = [\n  \"c\",\n]\n", 602);
    accepts(&dir, "c", "before = [\"a\"]\n", 603);
    assert_eq!(
        dir.fault(),
        "a/plugin.toml:6: the order runs in a ring: a before b (a/plugin.toml:6), b before c (b/plugin.toml:7), \
         c before a (c/plugin.toml:6) (take one of these before/after out)"
    );
}

#[test]
fn the_operators_lists_name_plugins_that_are_there() {
    let dir = Dir::new();
    accepts(&dir, "verify-cache", "", 601);
    let plugins = Plugins { order: list(&["verify-cash"]), ..Plugins::of(dir.path()) };
    assert_eq!(
        dir.load_with(plugins).unwrap_err(),
        "imscript.toml:7: order: no plugin \"verify-cash\" is loaded (did you mean \"verify-cache\"?)"
    );
    let plugins = Plugins { disabled: list(&["x"]), ..Plugins::of(dir.path()) };
    assert!(dir.load_with(plugins).unwrap_err().starts_with("imscript.toml:7: disabled: there is no plugin \"x\" in "));
}
