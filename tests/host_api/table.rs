//! The table of the host API is what the VM has, and what the checked-in stubs say.

use crate::world::{World, unit};
use imscript::policy::capability::Capabilities;
use imscript::policy::lua::host::doc::pages;
use imscript::policy::lua::host::table::{MODULES, Role, class, classes};
use std::collections::BTreeSet;

#[test]
fn the_checked_in_stubs_are_those_of_the_table() {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
    for page in pages() {
        let found = std::fs::read_to_string(root.join(page.path)).unwrap_or_default();
        assert!(found == page.text, "{} is out of date: cargo run -- doc --write .", page.path);
    }
}

fn everything() -> Capabilities {
    let origin = imscript::policy::capability::HttpGrant::Origin("https://a.example".parse().unwrap());
    Capabilities { http: vec![origin], ..Capabilities::of_operator() }
}

#[test]
fn the_vm_has_what_is_in_the_table_and_nothing_else() {
    let world = World::new();
    // Of the language itself.
    let language = "_G _VERSION assert bit32 buffer coroutine error getmetatable ipairs math next pairs pcall rawequal rawget \
                    rawlen rawset select setmetatable string table tonumber tostring type typeof unpack utf8 vector xpcall \
                    require integer";
    let mut documented: BTreeSet<String> = BTreeSet::new();
    for module in MODULES {
        documented.extend(module.functions.iter().map(|function| format!("{}.{}", module.name, function.name)));
        documented.extend(module.fields.iter().map(|field| format!("{}.{}", module.name, field.name)));
    }
    let text = "
        local names = {}
        local language = {}
        for name in LANGUAGE:gmatch('%S+') do language[name] = true end
        for name, value in pairs(getmetatable(_G) and getmetatable(_G).__index or _G) do
          if not language[name] then
            if type(value) == 'table' then
              for key in pairs(value) do names[#names + 1] = name .. '.' .. key end
            else names[#names + 1] = name end
          end
        end
        shared.set('names', names)
        return { broadcast = function() return ims.skip('x') end }"
        .replace("LANGUAGE", &format!("({language:?})"));
    world.load(unit("probe", everything(), &text)).unwrap();
    let read = "return { broadcast = function(req, portion, ctx) local n = shared.get('names') \
                return ims.skip(n[shared.incr('at')] or 'end') end }";
    let chain = world.chain(everything(), read);
    let mut found = BTreeSet::new();
    loop {
        match world.ask(&chain).unwrap() {
            end if end == "end" => break,
            name => found.insert(name),
        };
    }
    assert_eq!(found, documented);
}

#[test]
fn every_field_of_a_view_can_be_read_and_every_method_is_there() {
    let world = World::new();
    for (class_name, view) in [("Request", "req"), ("Context", "ctx"), ("Portion", "portion")] {
        let class = class(class_name).unwrap();
        let names = class.fields.iter().map(|field| field.name).chain(class.methods.iter().map(|method| method.name));
        for name in names {
            world.try_value(&format!("{view}.{name}")).unwrap_or_else(|fault| panic!("{fault}"));
        }
        let fault = world.try_value(&format!("{view}.nothing")).unwrap_err();
        assert!(fault.contains(&class.names()), "{fault}");
    }
    let event = class("Event").unwrap().fields.iter().map(|field| format!("local _ = event.{}\n", field.name));
    let text = format!("return {{ status = function(event, ctx) {} end }}", event.collect::<String>());
    assert_eq!(world.status(&world.chain(Capabilities::default(), &text)), None);
}

#[test]
fn what_the_table_refers_to_is_in_it_and_said_in_full() {
    let text = pages()[0].text.clone();
    for class in classes() {
        assert!(text.contains(&format!("\n## {}\n", class.name)));
        assert!(class.role == Role::Handle || !class.fields.is_empty() || !class.methods.is_empty(), "{}", class.name);
        let docs = class.fields.iter().map(|field| field.doc).chain(class.methods.iter().map(|method| method.doc));
        docs.for_each(|doc| assert!(doc.ends_with('.'), "{}: {doc}", class.name));
    }
    for module in MODULES {
        for function in module.functions {
            let docs =
                function.params.iter().map(|param| param.doc).chain(function.returns.iter().map(|given| given.doc));
            docs.chain([function.doc])
                .for_each(|doc| assert!(doc.ends_with('.'), "{}.{}: {doc}", module.name, function.name));
        }
    }
    // No link leads nowhere.
    for anchor in text.split("](#").skip(1).filter_map(|rest| rest.split(')').next()) {
        assert!(text.to_lowercase().contains(&format!("\n## {anchor}\n")), "{anchor}");
    }
}

#[test]
fn the_stubs_are_lua() {
    let emmylua = pages().into_iter().find(|page| page.path.ends_with("imscript.lua")).unwrap();
    imscript::policy::lua::PolicySource::new("imscript.lua", emmylua.text).compile().unwrap();
}

#[test]
fn what_is_not_granted_says_how_to_get_it() {
    let world = World::new();
    for (call, line) in [
        ("http.get('https://a', nil, print)", "[capabilities] http = [\"https://host\"]"),
        ("shared.get('a')", "[capabilities] shared = true"),
        ("store.get('a')", "[capabilities] store = true"),
        ("metric.counter('a')", "[capabilities] metric = true"),
        ("hss.lookup('a', function() end)", "[capabilities] hss = true"),
        ("timer.after(1, function() end)", "[capabilities] timer = true"),
    ] {
        let module = call.split('.').next().unwrap();
        let error = world.load(unit("probe", Capabilities::default(), &format!("\n{call} return {{}}"))).err().unwrap();
        let expected = format!("probe.lua:2: probe is not granted {module}; plugin.toml: {line}");
        assert_eq!(error.to_string(), expected);
    }
}
