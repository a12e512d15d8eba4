use super::*;
use serde_json::json;
use std::io::{BufRead, Write};
use std::os::unix::net::UnixStream as Client;
use std::sync::Mutex;
use tempfile::TempDir;

fn served(handler: impl Fn(Request, Reply) + Send + Sync + 'static) -> (TempDir, Control) {
    let dir = tempfile::tempdir().unwrap();
    let control = ControlSocket::open(dir.path()).unwrap().serve(Arc::new(handler)).unwrap();
    (dir, control)
}

fn connect(control: &Control) -> Client {
    let client = Client::connect(control.path()).unwrap();
    client.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    client
}

fn ask(client: &Client, line: &str) -> Vec<Answer> {
    (&*client).write_all(line.as_bytes()).unwrap();
    answers(client)
}

fn answers(client: &Client) -> Vec<Answer> {
    let mut all = Vec::new();
    for line in io::BufReader::new(client).lines() {
        let answer = Answer::from_line(line.unwrap().as_bytes()).unwrap();
        let last = answer.is_final();
        all.push(answer);
        if last {
            break;
        }
    }
    all
}

fn refusal(answers: &[Answer]) -> &str {
    match answers {
        [Answer::Error(problem)] => &problem.message,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_request_is_answered_in_steps_and_the_next_one_on_the_same_connection() {
    let (_dir, control) = served(|request, reply| {
        std::thread::spawn(move || {
            reply.step("one");
            reply.step("two");
            reply.done(json!({ "verb": request.verb() }));
        });
    });
    let client = connect(&control);
    for verb in ["status", "generations"] {
        let found = ask(&client, &format!("{{\"v\":1,\"verb\":{verb:?}}}\n"));
        let steps = ["one", "two"].map(|text| Answer::Step(text.into()));
        assert_eq!(found, [&steps[..], &[Answer::Done(json!({ "verb": verb }))]].concat());
    }
}

#[test]
fn several_clients_at_once_while_one_waits_long() {
    let held: Arc<Mutex<Vec<Reply>>> = Arc::default();
    let keep = held.clone();
    let (_dir, control) = served(move |request, reply| match request {
        Request::Reload { .. } => keep.lock().unwrap().push(reply),
        _ => reply.done(json!({})),
    });
    let slow = connect(&control);
    (&slow).write_all(b"{\"v\":1,\"verb\":\"reload\"}\n").unwrap();
    for _ in 0..CLIENTS * 2 {
        assert_eq!(ask(&connect(&control), "{\"v\":1,\"verb\":\"status\"}\n"), [Answer::Done(json!({}))]);
    }
    let reply = loop {
        if let Some(reply) = held.lock().unwrap().pop() {
            break reply;
        }
    };
    reply.done(json!({ "generation": 2 }));
    assert_eq!(answers(&slow), [Answer::Done(json!({ "generation": 2 }))]);
}

#[test]
fn silent_clients_keep_nobody_out_for_long() {
    let (_dir, control) = served(|_, reply| reply.done(json!({})));
    let _silent: Vec<Client> = (0..CLIENTS).map(|_| connect(&control)).collect();
    let began = std::time::Instant::now();
    assert_eq!(ask(&connect(&control), "{\"v\":1,\"verb\":\"status\"}\n"), [Answer::Done(json!({}))]);
    assert!(began.elapsed() < Duration::from_secs(20), "{:?}", began.elapsed());
}

#[test]
fn a_bad_request_is_refused_and_a_good_one_after_it_is_taken() {
    let (_dir, control) = served(|_, reply| reply.done(json!({})));
    let client = connect(&control);
    assert!(refusal(&ask(&client, "reload\n")).contains("not a JSON object"));
    assert!(refusal(&ask(&client, "{\"v\":7,\"verb\":\"status\"}\n")).contains("version 7"));
    assert_eq!(ask(&client, "{\"v\":1,\"verb\":\"status\"}\n").len(), 1);
}

#[test]
fn a_request_without_end_is_bounded() {
    let (_dir, control) = served(|_, reply| reply.done(json!({})));
    let client = connect(&control);
    let long = format!("{{\"v\":1,\"verb\":\"status\",\"x\":\"{}", "y".repeat(MAX_REQUEST));
    assert!(refusal(&ask(&client, &long)).contains("4096 octets"));
    // It is not read on: whatever else was sent is no request.
    assert_eq!(answers(&client), []);
}

#[test]
fn an_answer_that_never_comes_is_an_error() {
    let (_dir, control) = served(|_, reply| drop(reply));
    let found = ask(&connect(&control), "{\"v\":1,\"verb\":\"metrics\"}\n");
    assert!(refusal(&found).contains("ended before"));
}

#[test]
fn only_its_owner_may_connect_and_it_goes_with_the_node() {
    let (dir, control) = served(|_, reply| drop(reply));
    let path = control.path().to_owned();
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    let _waiting = connect(&control);
    drop(control);
    assert!(!path.exists());
    assert!(!dir.path().join(NEW_NAME).exists());
    drop(ControlSocket::open(dir.path()).unwrap());
    assert!(!path.exists());
}

#[test]
fn a_live_node_keeps_the_folder_and_a_dead_ones_socket_is_replaced() {
    let dir = tempfile::tempdir().unwrap();
    let first = ControlSocket::open(dir.path()).unwrap();
    let refused = ControlSocket::open(dir.path()).unwrap_err();
    assert!(matches!(&refused, ControlError::Taken { dir: named } if named == dir.path()), "{refused}");
    assert!(refused.to_string().contains("a node already runs on"));
    assert!(dir.path().join(FILE_NAME).exists(), "the attempt must not take the live node's socket away");
    drop(first);
    // As a node that was killed leaves it.
    drop(UnixListener::bind(dir.path().join(FILE_NAME)).unwrap());
    assert!(Client::connect(dir.path().join(FILE_NAME)).is_err());
    let socket = ControlSocket::open(dir.path()).unwrap();
    assert!(Client::connect(dir.path().join(FILE_NAME)).is_ok());
    drop(socket);
}

#[test]
fn a_path_that_no_socket_can_have_is_named_with_the_remedy() {
    let dir = tempfile::tempdir().unwrap();
    let deep = dir.path().join("d".repeat(100));
    let refused = ControlSocket::open(&deep).unwrap_err().to_string();
    assert!(refused.contains("107") && refused.contains("shorter data_dir"), "{refused}");
    assert!(!deep.exists());
}
