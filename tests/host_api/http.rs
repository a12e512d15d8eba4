//! `http` against servers on loopback, and `hss`.

use crate::world::{World, stage, unit};
use imscript::clock::Clock;
use imscript::hss::BroadcastSubscription;
use imscript::hss::embedded::{Credentials, EmbeddedHss, Subscriber};
use imscript::policy::capability::{Capabilities, HttpGrant};
use imscript::policy::lua::{Env, Host};
use imscript::store::space::Spaces;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

fn granted(addr: SocketAddr) -> Capabilities {
    granted_to(&format!("http://{addr}"))
}

pub(crate) fn granted_to(origin: &str) -> Capabilities {
    Capabilities { http: vec![HttpGrant::Origin(origin.parse().unwrap())], ..Capabilities::default() }
}

/// Gives each connection the next answer, and what it heard to the test; no answer: silence.
async fn server(answers: Vec<Option<String>>) -> (SocketAddr, tokio::sync::mpsc::UnboundedReceiver<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    let (heard, hears) = tokio::sync::mpsc::unbounded_channel();
    tokio::task::spawn_local(async move {
        let mut silent = Vec::new();
        for answer in answers {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut text = vec![0; 65_536];
            let length = stream.read(&mut text).await.unwrap();
            let _ = heard.send(String::from_utf8_lossy(&text[..length]).into_owned());
            match answer {
                Some(answer) => drop(stream.write_all(answer.as_bytes()).await),
                None => silent.push(stream),
            }
        }
        std::future::pending::<()>().await;
    });
    (addr, hears)
}

/// A world whose tasks run on tokio.
pub(crate) fn on_tokio_with(host: Host) -> World {
    let world = World::with(host);
    let env = Env {
        clock: Clock::new(),
        spawn: Rc::new(|task| drop(tokio::task::spawn_local(task))),
        sleep: Rc::new(|time| Box::pin(tokio::time::sleep(time))),
        ..world.env.clone()
    };
    World { env, ..world }
}

fn world() -> World {
    on_tokio_with(Host::default())
}

pub(crate) fn on_tokio(test: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    tokio::task::LocalSet::new().block_on(&runtime, test);
}

/// Calls `status`, then waits until what it asked for has come.
pub(crate) async fn said(world: &World, capabilities: Capabilities, status: &str) -> String {
    let text = format!(
        "local policy, said, at = {{}}, '', 0
        local function answer(a, why)
          said = said .. (a and a.status .. ' ' .. a.body:sub(1, 20) .. ' ' .. tostring(a.headers['x-a']) or why)
        end
        function policy.status(event, ctx)
        {status}
        end
        function policy.broadcast(req, portion, ctx) -- a reason is short
          local part = said:sub(at + 1, at + 100)
          at = at + #part
          return ims.skip('> ' .. part)
        end
        return policy"
    );
    let chain = world.chain(capabilities, &text);
    if let Some(fault) = world.status(&chain) {
        return fault;
    }
    let mut said = String::new();
    for _ in 0..6000 {
        let part = world.ask(&chain).unwrap();
        match part.strip_prefix("> ").unwrap_or_default() {
            "" if said.is_empty() => tokio::time::sleep(Duration::from_millis(10)).await,
            "" => return said,
            part => said.push_str(part),
        }
    }
    panic!("no answer");
}

#[test]
fn a_request_goes_out_and_its_answer_comes_to_the_callback() {
    on_tokio(async {
        let answer = "HTTP/1.1 202 Accepted\r\nX-A: 1\r\nX-A: 2\r\nContent-Length: 2\r\n\r\nok";
        let (addr, mut heard) = server(vec![Some(answer.into())]).await;
        let post = format!(
            "http.post('http://{addr}/hook', {{ headers = {{ Authorization = 'Bearer t' }}, body = json.encode {{ a = 1 }} }}, answer)"
        );
        assert_eq!(said(&world(), granted(addr), &post).await, "202 ok 1, 2");
        let heard = heard.recv().await.unwrap();
        assert!(heard.starts_with("POST /hook HTTP/1.1\r\n"), "{heard}");
        assert!(heard.contains("authorization: Bearer t\r\n") && heard.ends_with("{\"a\":1}"), "{heard}");
    });
}

#[test]
fn the_options_may_be_left_out() {
    on_tokio(async {
        let answer = "HTTP/1.1 200 OK\r\nX-A: 1\r\nContent-Length: 2\r\n\r\nok";
        let (addr, mut heard) = server(vec![Some(answer.into()); 3]).await;
        for (name, method) in [("get", "GET"), ("post", "POST"), ("request", "GET")] {
            let call = format!("http.{name}('http://{addr}/a', answer)");
            assert_eq!(said(&world(), granted(addr), &call).await, "200 ok 1");
            let heard = heard.recv().await.unwrap();
            assert!(heard.starts_with(&format!("{method} /a HTTP/1.1\r\n")), "{heard}");
        }
        for (arguments, why) in [
            ("answer, answer", "http.get: options is a function; it must be a table of method, "),
            ("nil", "http.get: callback is nil; it must be a function"),
            ("{}", "http.get: callback is nil; it must be a function"),
        ] {
            let fault = said(&world(), granted(addr), &format!("http.get('http://{addr}/a', {arguments})")).await;
            assert!(fault.contains(why), "{arguments}: {fault}");
        }
    });
}

#[test]
fn redirects_are_answers_and_lead_nowhere() {
    on_tokio(async {
        let away = "HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:1/\r\nContent-Length: 0\r\n\r\n";
        let (addr, _heard) = server(vec![Some(away.into())]).await;
        let get =
            format!("http.get('http://{addr}/', nil, function(a) answer(a) said = said .. a.headers.location end)");
        assert_eq!(said(&world(), granted(addr), &get).await, "302  nilhttp://127.0.0.1:1/");
    });
}

#[test]
fn slow_and_endless_answers_are_cut_off() {
    on_tokio(async {
        let long = format!("HTTP/1.1 200 OK\r\n\r\n{}", "x".repeat(300_000));
        let (addr, _heard) = server(vec![None, Some(long)]).await;
        let slow = format!("http.get('http://{addr}/', {{ timeout = 0.05 }}, answer)");
        assert_eq!(said(&world(), granted(addr), &slow).await, format!("http://{addr}: no answer within 50 ms"));
        let long = format!("http.get('http://{addr}/', nil, answer)");
        assert_eq!(
            said(&world(), granted(addr), &long).await,
            format!("http://{addr}: the answer has more than 262144 octets")
        );
    });
}

#[test]
fn what_may_not_be_sent_is_refused_at_its_line() {
    on_tokio(async {
        let (addr, mut heard) = server(vec![Some(String::new())]).await;
        let cases = [
            (format!("http.get('http://{addr}1/', nil, answer)"), "is no URL"),
            (
                "http.get('http://127.0.0.1:9/?secret', nil, answer)".into(),
                "http://127.0.0.1:9 is not granted; plugin.toml: [capabilities] http = [\"http://127.0.0.1:9\"]",
            ),
            (format!("http.get('https://{addr}/', nil, answer)"), "is not granted"),
            (format!("http.get('http://user:pw@{addr}/', nil, answer)"), "a URL does not carry a user or a password"),
            (format!("http.get('http://{addr}/', {{ timeout = 11 }}, answer)"), "timeout is at most 10 seconds"),
            (
                format!("http.post('http://{addr}/', {{ body = ('x'):rep(70000) }}, answer)"),
                "body has more than 64 KiB",
            ),
            (
                format!("http.post('http://{addr}/', {{ headers = {{ Host = 'x' }} }}, answer)"),
                "no header field that a script may set",
            ),
            (format!("http.request('http://{addr}/', {{ method = 'TRACE' }}, answer)"), "\"TRACE\" is no method"),
            (format!("http.get('http://{addr}/', nil)"), "callback is nil; it must be a function"),
            (
                format!("for i = 1, 70 do http.get('http://{addr}/', nil, answer) end"),
                "64 requests of this plugin are under way",
            ),
            (format!("http.get('http://{addr}/', nil, answer) error('after all not')"), "after all not"),
        ];
        for (code, expected) in cases {
            let fault = said(&world(), granted(addr), &code).await;
            assert!(fault.starts_with("probe.lua:6: ") && fault.contains(expected), "{code}\n{fault}");
            assert!(!fault.contains("secret") && !fault.contains("pw"), "{fault}");
        }
        let in_stage = stage(&format!("http.get('http://{addr}/', nil, function() end) return ims.skip('x')"));
        let world = world();
        assert!(world.ask(&world.chain(granted(addr), &in_stage)).unwrap_err().contains("not in stage broadcast"));
        tokio::time::sleep(Duration::from_millis(20)).await;
        assert!(heard.try_recv().is_err(), "nothing of this was sent");
    });
}

#[test]
fn an_answer_for_a_vm_that_is_gone_is_dropped() {
    on_tokio(async {
        let (addr, mut heard) = server(vec![Some("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n".into())]).await;
        let world = world();
        let capabilities = Capabilities { shared: Some(4096), ..granted(addr) };
        let text = format!(
            "return {{ setup = function() http.get('http://{addr}/', nil, function() shared.set('called', true) end) end }}"
        );
        let chain = world.load(unit("probe", capabilities.clone(), &text)).unwrap();
        drop(chain);
        heard.recv().await.unwrap();
        tokio::time::sleep(Duration::from_millis(30)).await;
        let probe = world.chain(capabilities, &stage("return ims.skip(tostring(shared.get('called')))"));
        assert_eq!(world.ask(&probe).unwrap(), "nil");
    });
}

#[test]
fn the_hss_tells_states_and_services_and_no_keys() {
    on_tokio(async {
        let hss = EmbeddedHss::in_memory(Clock::new().now()).unwrap();
        hss.add(Subscriber {
            impi: "alice@home1.net".into(),
            impus: ["sip:alice@home1.net".into(), "tel:+15550100".into()].into(),
            credentials: Credentials::Digest(imscript::auth::digest::Password::new("top-secret".to_owned())),
            amf: Default::default(),
            sqn: None,
            broadcast: BroadcastSubscription::Services(["urn:tv:1".to_owned()].into()),
            service: "".into(),
        })
        .unwrap();
        let virtual_world = World::with(Host::new(Arc::default(), Spaces::in_memory(), Some(hss.clone())));
        let world = World { env: Env { host: virtual_world.env.host.clone(), ..world().env }, ..virtual_world };
        let lookup = |who: &str| {
            format!(
                "hss.lookup('{who}', function(s, why)
                   said = s and table.concat({{ s.impi, s.impus[2], s.services[1], s.ims, tostring(s.broadcast), json.encode(s):find('secret') and 'leak' or 'sealed' }}, ' ') or why
                 end)"
            )
        };
        let capabilities = || Capabilities { hss: true, ..Capabilities::default() };
        let expected = "alice@home1.net tel:+15550100 urn:tv:1 not_registered nil sealed";
        assert_eq!(said(&world, capabilities(), &lookup("alice@home1.net")).await, expected);
        assert_eq!(said(&world, capabilities(), &lookup("tel:+15550100")).await, expected);
        assert_eq!(said(&world, capabilities(), &lookup("bob@home1.net")).await, "user unknown");
    });
}
