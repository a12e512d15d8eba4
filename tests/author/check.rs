//! `imscript check`: every fault with file, line and remedy.

use super::*;

#[test]
fn unknown_globals_fields_and_stages() {
    let desk = Desk::new();
    desk.write(
        "p.lua",
        "local policy = {}\nfunction policy.verify(req, ctx)\n  return ims.verfy { subscription = 'never' }\nend\n\
         function policy.broadcast(req, portion, ctx)\n  lgo.info('x')\n  return req.knd\nend\nreturn policy\n",
    );
    let said = desk.run("check p.lua").fails(1);
    has(
        &said,
        &[
            "p.lua:3: ims.verfy is not defined\n  3 |   return ims.verfy",
            "|              ^^^^^\n  hint: did you mean verify?",
            "p.lua:6: lgo is not defined: it is nil",
            "hint: did you mean log?",
            "p.lua:7: warning: req has no field knd",
            "2 faults, 1 warning\n",
        ],
    );
    let json = desk.run("check p.lua --json").json();
    assert_eq!((json["ok"].as_bool(), json["faults"].as_array().unwrap().len()), (Some(false), 3));
    assert_eq!(
        (json["faults"][0]["line"].as_u64(), json["faults"][0]["hint"].as_str()),
        (Some(3), Some("did you mean verify?"))
    );
}

#[test]
fn syntax_unknown_stage_and_verdicts_that_do_not_fit() {
    let desk = Desk::new();
    desk.write("a.lua", "return {\n  verify = function(\n}\n");
    has(&desk.run("check a.lua").fails(1), &["a.lua:", "1 fault"]);
    desk.write("b.lua", "local p = {}\nfunction p.brodcast() end\nreturn p\n");
    has(&desk.run("check b.lua").fails(1), &["b.lua:2: unknown stage \"brodcast\"", "hint: did you mean broadcast?"]);
    // Only seen when it is run, so with a sample request: a warning.
    desk.write("c.lua", "return { verify = function()\n  return ims.verify { subscription = 'alway' }\nend }\n");
    let said = desk.run("check c.lua").ok();
    has(
        &said,
        &[
            "c.lua:2: warning: ",
            "(stage verify, with a sample request)",
            "did you mean always?",
            "no fault, 1 warning\n",
        ],
    );
    desk.run("check c.lua --strict").fails(1);
}

#[test]
fn plugins_are_checked_with_their_manifests_and_tests() {
    let desk = Desk::new();
    desk.run("new plugin visitors").ok();
    let manifest = desk.read("plugins/visitors/plugin.toml");
    desk.write(
        "plugins/visitors/plugin.toml",
        manifest.replace("stages = [\"broadcast\"]", "stages = [\"brodcast\"]\nfoo = 1"),
    );
    let said = desk.run("check plugins/visitors").fails(1);
    has(&said, &["plugins/visitors/plugin.toml:", "unknown stage", "foo", "hint: did you mean"]);
    desk.write("plugins/visitors/plugin.toml", manifest.replace("[\"broadcast\"]", "[\"broadcast\", \"status\"]"));
    has(&desk.run("check plugins").fails(1), &["\"status\" is declared, but there is no such function"]);
    desk.write("plugins/visitors/plugin.toml", manifest);
    desk.write("plugins/visitors/tests/more_test.lua", "test('x', function(t)\n");
    has(&desk.run("check plugins").fails(1), &["more_test.lua:"]);
}

/// What a node refuses of a folder of plugins, `check` refuses too; settings that only an operator can give are a warning.
#[test]
fn a_folder_of_plugins_as_a_node_sees_it() {
    const REQUIRED: &str = "[config]\nrequired = [\"regions\"]\n[config.properties]\nregions = { type = \"string\" }\n";
    let manifest = |name: &str, more: &str| {
        format!("name = \"{name}\"\nversion = \"1.0.0\"\napi = 1\nstages = [\"status\"]\n{more}")
    };
    let desk = Desk::new();
    let ring = [("a", "b", ""), ("b", "c", REQUIRED), ("c", "a", "")];
    for (name, next, more) in ring {
        desk.write(&format!("p/{name}/main.lua"), "return { status = function() end }");
        desk.write(&format!("p/{name}/plugin.toml"), manifest(name, &format!("before = [\"{next}\"]\n{more}")));
    }
    let owed = "warning: plugins.config.b.regions: missing\n  hint: a string; set it under [plugins.config.b]";
    has(&desk.run("check p").fails(1), &["p/a/plugin.toml:5: the order runs in a ring: ", owed, "1 fault, 1 warning"]);
    desk.write("p/c/plugin.toml", manifest("c", ""));
    has(&desk.run("check p").ok(), &[owed, "no fault, 1 warning"]);
    desk.write("p/d/main.lua", "return { status = function() end }");
    let missing = "plugin.toml: there is no such file";
    has(&desk.run("check p").fails(1), &[&format!("p/d/{missing}"), "1 fault, 1 warning"]);
    has(&desk.run("check .").fails(1), &["d/plugin.toml: there is no such file"]);
    desk.write("q/d/main.lua", "return { status = function() end }");
    has(&desk.run("check q").fails(1), &[&format!("q/d/{missing}")]);
}

#[test]
fn a_configuration_with_all_that_hangs_on_it() {
    let desk = Desk::new();
    desk.run("new plugin visitors").ok();
    desk.run("new policy home").ok();
    let config = "domain = \"home1.net\"\npolicy = \"lua/policy/home.lua\"\n[plugins]\ndir = \"plugins\"\n";
    desk.write("imscript.toml", config);
    has(&desk.run("check").ok(), &["imscript.toml: no fault"]);
    desk.write("imscript.toml", format!("{config}[plugins.config.visitors]\nserver = 5\n"));
    has(&desk.run("check").fails(1), &["imscript.toml:6: ", "6 | server = …"]);
    desk.write("imscript.toml", format!("domian = \"x\"\n{config}"));
    has(&desk.run("check").fails(1), &["imscript.toml:1: ", "domian", "hint: did you mean domain?"]);
    desk.write("imscript.toml", format!("{config}[broadcast]\nextension = false\n"));
    has(&desk.run("check").ok(), &["stage broadcast of policy is never asked: extension = false"]);
    has(&desk.run("check nowhere").fails(1), &["nowhere: no such file or folder"]);
    has(&Desk::new().run("check").fails(1), &["nothing here"]);
}

#[test]
fn functions_that_are_no_stages() {
    let desk = Desk::new();
    let stage = "function register(req, ctx) return nil end\n";
    for (text, parts) in [
        (
            format!("local policy = {{}}\n{stage}return policy\n"),
            &["p.lua:2: warning: no stage: function register is not in", "hint: write function policy.register("][..],
        ),
        (
            format!("local mine = {{}}\nlocal {stage}return mine\n"),
            &["p.lua:2: warning: no stage", "function mine.register("],
        ),
        (
            "local unused, policy = {}, {}\nfunction unused.register() end\nreturn policy\n".to_owned(),
            &["p.lua:2: warning: no stage: function register"],
        ),
        ("return {}\n".to_owned(), &["p.lua: warning: no stage: it decides nothing; the stages are receive"]),
        (
            "local policy = {}\nfunction policy:verify(req, ctx) end\nreturn policy\n".to_owned(),
            &["p.lua:2: warning: stage verify is defined with a colon", "hint: write policy.verify"],
        ),
    ] {
        desk.write("p.lua", text);
        let said = desk.run("check p.lua").ok();
        has(&said, parts);
        has(&said, &["no fault, 1 warning\n"]);
    }
    desk.write("p.lua", format!("local p = {{}}\nfunction p.verify() end\n{stage}return p\n"));
    has(&desk.run("check p.lua").ok(), &["p.lua:3: warning: function register is a global and no stage"]);
    // A function of that name beside real stages is nobody's mistake, nor is a unit that lives by its setup.
    desk.write("p.lua", format!("local policy = {{}}\nlocal {stage}policy.register = register\nreturn policy\n"));
    assert!(!desk.run("check p.lua").ok().contains("warning"));
    desk.write("p.lua", "return { setup = function() end }\n");
    assert!(!desk.run("check p.lua").ok().contains("warning"));
}

#[test]
fn globals_that_are_written_and_what_only_plugins_have() {
    let desk = Desk::new();
    desk.write(
        "p.lua",
        "local policy = {}\nearly = 1\nfunction policy.verify(req, ctx)\n  if req.impi == 'x' then count = 1 end\n  \
         if req.impi == 'y' then http.get('http://x') end\nend\nreturn policy\n",
    );
    has(
        &desk.run("check p.lua").fails(1),
        &[
            "p.lua:2: warning: early is a global",
            "p.lua:4: count is assigned: globals are read-only after loading; use local",
            "p.lua:5: http.get is not defined: policies have no http, plugins have",
            "2 faults, 1 warning\n",
        ],
    );
}

#[test]
fn a_policy_that_cannot_be_loaded_is_shown_by_every_verb() {
    let desk = Desk::new();
    desk.write("bad.lua", "local p = {}\nlocal x = = 1\nreturn p\n").write("r.sip", REGISTER);
    for (args, code) in [
        ("explain r.sip --policy bad.lua", 1),
        ("bench bad.lua", 1),
        ("repl --policy bad.lua", 1),
        ("replay r.sip --old bad.lua --new bad.lua", 2),
        ("run --policy bad.lua --data-dir data --listen udp:127.0.0.1:0", 1),
    ] {
        has(&desk.run(args).fails(code), &["imscript: ", "bad.lua:2: ", "\n  2 | local x = = 1\n"]);
        if ["explain", "bench", "replay"].iter().any(|verb| args.starts_with(verb)) {
            let said = desk.run(&format!("{args} --json"));
            assert_eq!((said.code, said.json()["faults"][0]["line"].as_u64()), (code, Some(2)));
        }
    }
    desk.write("bad.lua", "local p = {}\nfunction p.verify()\n  x()\n\n");
    has(&desk.run("bench bad.lua").fails(1), &["bad.lua:3: ", "  3 |   x()"]);
    has(&desk.run("check bad.lua").fails(1), &["bad.lua:3: ", "  3 |   x()"]);
    desk.write("bad.lua", "local p = {}\n");
    let hint = "hint: return the table: `return policy`";
    has(&desk.run("check bad.lua").fails(1), &[hint]);
    has(&desk.run("bench bad.lua").fails(1), &[hint]);
    has(&desk.run("explain --help").ok(), &["`-`: standard"]);
}
