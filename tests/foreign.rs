//! Foreign nodes at this node's HSS over a TCP connection: an S-CSCF registers a user and is told of his end, a broadcast
//! server leaves its state. A broadcast node of ours that tells such an HSS itself.

mod support;

use imscript::answer::Answer;
use imscript::cli::network::{DOMAIN, NAF, free_address};
use imscript::config::Config;
use imscript::diameter::cx::{
    Authorization, Given, Maa, Mar, Reason, Rtr, Saa, Sar, Scheme, ServerAssignment, Uaa, Uar,
};
use imscript::diameter::dictionary::{application, command};
use imscript::diameter::exchange::{Destination, Exchange, Reply, Request, Serve};
use imscript::diameter::fault::{base, tgpp};
use imscript::diameter::node::{self, Endpoint, PeerSettings, Prepared};
use imscript::diameter::sh::{
    DataReference, ProfileUpdateRequest, Repository, ShData, User, UserDataAnswer, UserDataRequest,
};
use imscript::diameter::zh::{MultimediaAuthAnswer, MultimediaAuthRequest};
use imscript::diameter::{Message, Origin, Writer, answer_to, request};
use imscript::hss::profile::ImsSubscription;
use imscript::hss::repository::{self, SERVICE};
use imscript::hss::{BroadcastState, RegState};
use imscript::server::Node;
use serde_json::Value;
use std::path::Path;
use std::process::Command;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use support::flow::Flow;
use support::wait_for;

const K: &str = "465b5ce8b199b49faa5f0a2ee238a6bc";
const OPC: &str = "cd63cb71954a9f4e48a5994e37a02baf";
const IMPI: &str = "u@home1.net";
const IMPU: &str = "sip:u@home1.net";
const SCSCF: &str = "sip:scscf.other.net";

/// The S-CSCF's side: takes what it is told, and agrees.
struct Told(Mutex<Sender<Vec<u8>>>);

impl Serve for Told {
    fn applications(&self) -> Vec<u32> {
        vec![application::CX]
    }

    fn serve(self: Arc<Self>, request: Request) -> Answer<'static, Option<Writer>> {
        let answer = answer_to(&request.message().unwrap(), base::SUCCESS, &origin());
        let _ = self.0.lock().unwrap().send(request.octets);
        Answer::now(Some(answer))
    }
}

fn origin() -> Origin {
    from("scscf.home1.net")
}

fn from(host: &str) -> Origin {
    Origin { host: host.into(), realm: "home1.net".into() }
}

struct Bed {
    dir: tempfile::TempDir,
    /// Ends before the folder does.
    node: Option<Node>,
    client: node::Node,
    told: Receiver<Vec<u8>>,
}

impl Drop for Bed {
    fn drop(&mut self) {
        self.client.stop(Duration::from_secs(1));
        if let Some(mut node) = self.node.take() {
            node.stop(Duration::from_secs(1));
        }
    }
}

fn subscriber(dir: &Path, args: &[&str]) -> String {
    let mut command = Command::new(env!("CARGO_BIN_EXE_imscript"));
    let done = command.arg("subscriber").args(args).arg("--data-dir").arg(dir).output().unwrap();
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    String::from_utf8(done.stdout).unwrap()
}

impl Bed {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let text = format!(
            "domain = \"home1.net\"\nlisten = [\"udp:127.0.0.1:0\"]\nworkers = 1\ndata_dir = {:?}\n\
             [diameter]\nlisten = [\"tcp:127.0.0.1:0\"]\n[foreign]\nbsfs = [\"scscf.home1.net\"]\n\
             [service.default]\ncapabilities = [7]\nvisited_networks = [\"home1.net\"]\n\
             charging_collection = [\"aaa://ccf.home1.net\"]\n",
            dir.path()
        );
        let node = Node::builder(Config::parse(&text, Path::new("imscript.toml")).unwrap()).start().unwrap();
        let keys = ["add", "--impi", IMPI, "--impu", IMPU, "--k", K, "--opc", OPC, "--broadcast", "yes"];
        subscriber(dir.path(), &keys);
        let mut settings = node::Settings::new(origin());
        settings.peers = vec![PeerSettings {
            endpoint: node.diameter_listening()[0].clone(),
            applications: vec![application::CX, application::SH, application::ZH],
            host: None,
        }];
        let mut prepared = Prepared::new(settings, Default::default(), Default::default()).unwrap();
        let (sender, told) = channel();
        prepared.serve(Arc::new(Told(Mutex::new(sender))));
        let client = prepared.start().unwrap();
        let bed = Bed { dir, node: Some(node), client, told };
        bed.until(|| bed.client.peers().iter().any(|peer| peer.standing == "up"));
        bed
    }

    fn until(&self, so: impl Fn() -> bool) {
        let begun = Instant::now();
        while !so() {
            assert!(begun.elapsed() < Duration::from_secs(10), "it does not come to that");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    fn ask(&self, application: u32, command: u32, write: impl FnOnce(&mut Writer)) -> Reply {
        let mut writer = request(application, command, "scscf.home1.net;1;1", &origin());
        write(&mut writer);
        self.client.exchange().send(Destination::any(application), writer).wait().unwrap()
    }

    fn shown(&self) -> Value {
        serde_json::from_str(&subscriber(self.dir.path(), &["show", IMPI, "--json"])).unwrap()
    }
}

fn result_of(reply: &Reply) -> imscript::diameter::ResultCode {
    reply.message().unwrap().result().unwrap()
}

#[test]
fn a_foreign_scscf_registers_a_user_and_is_told_when_he_is_removed() {
    let bed = Bed::new();
    let (impi, impu, kind) = (IMPI, IMPU, Authorization::Registration);
    let uar = Uar { impi, impu, visited_network: b"home1.net", kind, emergency: false };
    let reply = bed.ask(application::CX, command::USER_AUTHORIZATION, |to| uar.write(to));
    assert_eq!(result_of(&reply), tgpp::FIRST_REGISTRATION);
    let message = reply.message().unwrap();
    let capabilities = Uaa::read(message.avps()).unwrap().capabilities.unwrap();
    assert_eq!((capabilities.mandatory, capabilities.servers.len()), (vec![7], 1));

    let mar = Mar { impi, impu, items: 2, scheme: Scheme::Aka, resync: None, server: SCSCF };
    let reply = bed.ask(application::CX, command::MULTIMEDIA_AUTH, |to| mar.write(to));
    let message = reply.message().unwrap();
    let maa = Maa::read(message.avps()).unwrap();
    assert!(maa.items.len() == 2 && maa.items.iter().all(|item| matches!(item.given, Given::Aka(_))));

    let sar = Sar {
        impi: Some(IMPI),
        impus: vec![IMPU],
        wildcard: None,
        server: SCSCF,
        kind: ServerAssignment::Registration,
        has_profile: false,
        restoration: None,
        multiple: false,
    };
    let reply = bed.ask(application::CX, command::SERVER_ASSIGNMENT, |to| sar.write(to));
    assert_eq!(result_of(&reply), base::SUCCESS);
    let message = reply.message().unwrap();
    let saa = Saa::read(message.avps()).unwrap();
    assert_eq!(saa.charging.unwrap().collection, Some("aaa://ccf.home1.net"));
    let profile = ImsSubscription::parse(saa.user_data.unwrap()).unwrap();
    assert_eq!(profile.profiles[0].criteria.len(), 1, "the node's broadcast server is in it");
    bed.until(|| bed.shown()["ims"]["state"] == "registered");
    assert_eq!(bed.shown()["ims"]["scscf"], SCSCF);

    subscriber(bed.dir.path(), &["remove", IMPI]);
    let octets = bed.told.recv_timeout(Duration::from_secs(10)).unwrap();
    let rtr = Message::parse(&octets).unwrap();
    assert_eq!(rtr.header().command, command::REGISTRATION_TERMINATION);
    let rtr = Rtr::read(rtr.avps()).unwrap();
    assert_eq!((rtr.impi, rtr.reason), (IMPI, Reason::PermanentTermination));
}

#[test]
fn a_foreign_broadcast_servers_state_is_the_subscribers() {
    let bed = Bed::new();
    let state = BroadcastState {
        state: RegState::Registered,
        server: "bsm.other.net".into(),
        naf_fqdn: "bsm.other.net".into(),
        btid: Some("abc@bsf.home1.net".into()),
    };
    let pur = |sequence| {
        let (service, data) = (SERVICE.to_owned(), Some(repository::write(&state)));
        let data = ShData { repository: vec![Repository { service, sequence, data }], ..ShData::default() };
        let pur = ProfileUpdateRequest {
            user: User::Public(IMPU.into()),
            data: vec![DataReference::RepositoryData],
            user_data: data.write().into_bytes(),
        };
        result_of(&bed.ask(application::SH, command::PROFILE_UPDATE, |to| pur.write(to)))
    };
    assert_eq!((pur(0), pur(0), pur(1)), (base::SUCCESS, tgpp::TRANSPARENT_DATA_OUT_OF_SYNC, base::SUCCESS));
    bed.until(|| bed.shown()["broadcast_registration"]["state"] == "registered");
    assert_eq!(bed.shown()["broadcast_registration"]["server"], "bsm.other.net");
}

/// An application server that is connected to the HSS at this address, and asks.
fn another_server(hss: Endpoint) -> impl Fn(u32, &dyn Fn(&mut Writer)) -> Reply {
    let mut settings = node::Settings::new(from("as.home1.net"));
    settings.peers = vec![PeerSettings { endpoint: hss, applications: vec![application::SH], host: None }];
    let client = Prepared::new(settings, Default::default(), Default::default()).unwrap().start().unwrap();
    wait_for(|| client.peers().iter().any(|peer| peer.standing == "up").then_some(()));
    move |command, fill| {
        let mut writer = request(application::SH, command, "as.home1.net;1;1", &from("as.home1.net"));
        fill(&mut writer);
        client.exchange().send(Destination::any(application::SH), writer).wait().unwrap()
    }
}

#[test]
fn a_broadcast_node_tells_the_hss_itself_and_is_told() {
    let mut bed = support::Bed::empty("127.0.0.1");
    let (ims, bsm, hss) = (bed.ims, bed.bsm, free_address(bed.ims.ip()).unwrap());
    let common = |name: &str, addr| {
        format!(
            "domain = \"{DOMAIN}\"\nlisten = [\"udp:{addr}\", \"tcp:{addr}\"]\ndata_dir = \"{name}-data\"\n\
             trace = \"{name}.jsonl\"\nworkers = 2\n"
        )
    };
    let ims_config = format!(
        "{}roles = [\"scscf\", \"bsf\", \"hss\"]\n[diameter]\nlisten = [\"tcp:{hss}\"]\n[[broadcast_server]]\n\
         name = \"bsm\"\nnaf = [\"{NAF}\"]\naddress = \"tcp:{bsm}\"\ntells_hss = true\n",
        common("ims", ims)
    );
    let bsm_config = format!(
        "{}roles = [\"bsm\"]\n[bsm]\nnaf = \"{NAF}\"\nims = \"tcp:{ims}\"\n[hss]\nsh = [\"tcp:{hss}\"]\n\
         [hss.hosts]\n\"tcp:{hss}\" = \"hss.{DOMAIN}\"\n",
        common("bsm", bsm)
    );
    bed.start_node("ims", &ims_config).unwrap();
    bed.start_node("bsm", &bsm_config).unwrap();
    let card = bed.subscriber_with("yes");
    let result = bed.terminal("register", &card, &["--figure", "7", "--naf-id", NAF]).unwrap();
    assert_eq!(result["result"], "registered", "{result}");
    bed.assert_states(&card.impi, "registered", "registered");
    let served = |command: &str| {
        let text = bed.imscript_ok(&["metrics", "--data-dir", "ims-data"]);
        let of = |line: &&str| line.starts_with("imscript_diameter_served_total") && line.contains(command);
        text.lines().filter(of).map(str::to_owned).collect::<Vec<_>>()
    };
    let told = served("\"Sh-PU\"");
    assert!(told.len() == 1 && told[0].contains(NAF) && told[0].ends_with(" 1"), "once, by the server: {told:?}");
    wait_for(|| (!served("\"Sh-SN\"").is_empty()).then_some(()));
    // Another application server takes the user out.
    let ask = another_server(format!("tcp:{hss}").parse().unwrap());
    let user = User::Public(card.impu.as_str().into());
    let udr = UserDataRequest {
        user: user.clone(),
        data: vec![DataReference::RepositoryData],
        services: vec![SERVICE.into()],
        sets: vec![],
        server: None,
        impi: None,
    };
    let reply = ask(command::USER_DATA, &|to| udr.write(to));
    let held =
        ShData::parse(&UserDataAnswer::read(&reply.message().unwrap()).data.unwrap()).unwrap().repository.remove(0);
    let gone = Repository { sequence: repository::next(held.sequence), data: None, ..held };
    let data = ShData { repository: vec![gone], ..ShData::default() };
    let data_of = vec![DataReference::RepositoryData];
    let pur = ProfileUpdateRequest { user, data: data_of, user_data: data.write().into_bytes() };
    assert_eq!(result_of(&ask(command::PROFILE_UPDATE, &|to| pur.write(to))), base::SUCCESS);
    // The server learns of it from the HSS, and the IMS from the server.
    Flow::with(&bed, "BSM > IMS  MESSAGE status");
    bed.assert_states(&card.impi, "registered", "not_registered");
    // The operator ends the rest.
    let end = ["registration", "end", &card.impu, "--data-dir", "ims-data"];
    assert_eq!(bed.imscript_ok(&end), format!("ended  {}\n", card.impi));
    bed.assert_states(&card.impi, "not_registered", "not_registered");
    let again = bed.imscript(&end).unwrap();
    assert!(!again.status.success() && String::from_utf8_lossy(&again.stderr).contains("not registered here"));
}

#[test]
fn two_nodes_of_which_one_is_the_others_hss_need_not_be_told_of_broadcast_servers() {
    let mut bed = support::Bed::empty("127.0.0.1");
    let (ims, other, hss) = (bed.ims, bed.bsm, free_address(bed.ims.ip()).unwrap());
    let common = |name: &str, addr| {
        format!("domain = \"{DOMAIN}\"\nlisten = [\"udp:{addr}\"]\ndata_dir = \"{name}-data\"\nworkers = 1\n")
    };
    bed.start_node("ims", &format!("{}[diameter]\nlisten = [\"tcp:{hss}\"]\n", common("ims", ims))).unwrap();
    bed.start_node("other", &format!("{}[hss]\ncx = [\"tcp:{hss}\"]\n", common("other", other))).unwrap();
    let card = bed.subscriber_with("yes");
    let at = format!("udp:{other}");
    // Once the two are connected.
    let result = wait_for(|| {
        let result = bed.terminal_at(&at, "register", &card, &["--figure", "7", "--naf-id", NAF]).unwrap();
        (result["status"] == 200).then_some(result)
    });
    assert_eq!(result["broadcast"], "registered", "{result}");
}

#[test]
fn a_foreign_bsf_bootstraps_a_user() {
    let bed = Bed::new();
    let mar = MultimediaAuthRequest { impi: IMPI.into(), impu: None, resync: None, guss_timestamp: None };
    let reply = bed.ask(application::ZH, command::MULTIMEDIA_AUTH, |to| mar.write(to));
    let maa = MultimediaAuthAnswer::read(&reply.message().unwrap()).unwrap();
    let guss = imscript::gba::guss::Guss::parse(&maa.guss.unwrap()).unwrap();
    assert_eq!((guss.id.as_deref(), guss.settings.len()), (Some(IMPI), 1));
}

#[test]
fn a_node_whose_hss_cannot_be_asked_what_it_needs_does_not_start() {
    let dir = tempfile::tempdir().unwrap();
    let args = ["run", "--listen", "udp:127.0.0.1:0", "--hss", "sh:tcp:127.0.0.1:3868", "--data-dir"];
    let done = Command::new(env!("CARGO_BIN_EXE_imscript")).args(args).arg(dir.path()).output().unwrap();
    let why = String::from_utf8_lossy(&done.stderr);
    assert!(!done.status.success() && why.contains("--hss cx: is missing"), "{why}");
}
