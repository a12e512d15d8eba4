//! The configuration file: defaults, and faults with the file and the line (RFC-free ground: what operators see).

use imscript::auth::digest::Algorithm;
use imscript::broadcast::peer::KeyTransport;
use imscript::config::Config;
use imscript::gba::bootstrap::ShortCut;
use std::path::Path;
use std::time::Duration;

fn read(text: &str) -> Result<Config, String> {
    Config::parse(text, Path::new("/etc/imscript/node.toml")).map_err(|error| error.to_string())
}

/// The error stands at `line` and says `what`.
fn fault(text: &str, line: usize, what: &str) {
    let error = read(text).expect_err(text);
    assert!(error.starts_with(&format!("/etc/imscript/node.toml:{line}: ")), "{text:?}: {error}");
    assert!(error.contains(what), "{text:?}: {error}");
}

#[test]
fn defaults_are_a_whole_network_on_loopback() {
    let config = read("").unwrap();
    assert_eq!(config.domain, "home1.net");
    let roles = config.roles;
    assert!(roles.scscf && roles.bsf && roles.hss && roles.bsm);
    let listen: Vec<_> = config.listen.iter().map(|l| format!("{}:{}", l.transport.param(), l.addr)).collect();
    assert_eq!(listen, ["udp:127.0.0.1:5060", "tcp:127.0.0.1:5060"]);
    assert_eq!(config.data_dir, Path::new("/etc/imscript/imscript-data"));
    assert_eq!((config.limits.min_expires, config.limits.default_expires), (60, 3600));
    assert_eq!((config.limits.max_expires, config.limits.max_contacts), (600_000, 10));
    assert_eq!(config.reg_await_auth, Duration::from_secs(240));
    assert_eq!(config.aka_algorithms, [Algorithm::Akav1Md5]);
    assert_eq!(config.digest_algorithms, [Algorithm::Md5, Algorithm::Sha256]);
    assert_eq!((config.bsf_domain.as_str(), config.short_cut), ("bsf.home1.net", ShortCut::HomePcscfOnly));
    assert_eq!(config.broadcast_timeout, Duration::from_secs(5));
    assert!(config.extension && !config.send_ck_ik && config.trusted_peers.is_empty());
    assert_eq!(config.servers.len(), 1);
    assert_eq!((config.servers[0].nafs[0].as_str(), config.servers[0].hop.is_none()), ("bsm.home1.net", true));
    assert_eq!(config.servers[0].key_transport, KeyTransport::MutualTls);
    assert_eq!(config.bsm.unwrap().naf.fqdn(), "bsm.home1.net");
    assert!(config.workers >= 1);
    Config::all_on_loopback();
}

#[test]
fn unknown_keys_by_line() {
    fault("domain = \"a.net\"\nrole = []\n", 2, "role");
    fault("[registrar]\nmin_expires = 60\n\nmax_expire = 3\n", 4, "max_expire");
    fault("[nonsense]\n", 1, "nonsense");
    fault("[[broadcast_server]]\nname = \"x\"\nnaf = [\"x.net\"]\nport = 1\n", 4, "port");
    for section in ["tls", "trusted", "bsf", "broadcast", "bsm", "diameter", "hss"] {
        fault(&format!("\n[{section}]\nx = 1\n"), 3, "x");
    }
}

#[test]
fn bad_values_by_line() {
    for (text, line, what) in [
        ("domain = 1", 1, "string"),
        ("\ndomain = \"no domain\"", 2, "domain"),
        ("domain = \"a\r\n", 1, ""),
        ("workers = 0", 1, "workers: 1 to 256"),
        ("workers = -1", 1, ""),
        ("listen = [\n\"udp:127.0.0.1:5060\",\n\"sctp:127.0.0.1:1\"]", 3, ""),
        ("listen = [\"udp:127.0.0.1:99999\"]", 1, ""),
        ("[registrar]\nmin_expires = 0", 2, "min_expires: 1 to"),
        ("[registrar]\nmin_expires = 700000", 2, "min_expires"),
        ("[registrar]\nmin_expires = 100\nmax_expires = 99", 3, "max_expires: 100 to"),
        ("[registrar]\nmax_expires = 4294967295", 2, "max_expires"),
        ("[registrar]\ndefault_expires = 1", 2, "default_expires: 60 to 600000"),
        ("[registrar]\nmax_contacts = 0", 2, "max_contacts: 1 to 100"),
        ("[registrar]\nreg_await_auth = 0", 2, "reg_await_auth"),
        ("[registrar]\nreg_await_auth = 9223372036854775807", 2, "reg_await_auth"),
        ("[registrar]\nmax_challenges = 0", 2, "max_challenges"),
        ("[registrar]\nalgorithms = [\"AKAv1-MD5\",\n\"MD5\"]", 3, "AKAv2-SHA-256"),
        ("[registrar]\nalgorithms = []", 2, "one algorithm"),
        ("[registrar]\ndigest_algorithms = [\"SHA-1\"]", 2, "SHA-256"),
        ("[trusted]\npeers = [\"10.0.0.1\", \"pcscf\"]", 2, "pcscf"),
        ("[bsf]\nkey_lifetime = 0", 2, "key_lifetime"),
        ("[bsf]\nshort_cut = \"yes\"", 2, "home-pcscf-only"),
        ("[bsf]\ndomain = \"bsf home1.net\"", 2, "domain"),
        ("[broadcast]\ntimeout = 60.0", 2, "timeout"),
        ("[broadcast]\ntimeout = nan", 2, "timeout"),
        ("[[broadcast_server]]\nname = \"ims\"\nnaf = [\"x.net\"]", 2, "name"),
        ("[[broadcast_server]]\nname = \"x\"\nnaf = []", 2, "naf"),
        ("[[broadcast_server]]\nname = \"x\"\nnaf = [\"X.net\"]", 3, "lower case"),
        ("[[broadcast_server]]\nname = \"x\"\nnaf = [\"x.net\"]\naddress = \"tls:127.0.0.1:1\"", 4, "tls_name"),
        ("[[broadcast_server]]\nname = \"x\"\nnaf = [\"x.net\"]\nkeys = \"plain\"", 4, "plaintext-allowed"),
        ("[bsm]\nhttp = \"8080\"", 2, "http"),
        ("[diameter]\nlisten = [\"udp:127.0.0.1:3868\"]", 2, "tcp: or tls:"),
        ("[diameter]\nlisten = [\"tcp:127.0.0.1:99999\"]", 2, "not a port"),
        ("[diameter]\norigin_host = \"a b\"", 2, "hss.home1.net"),
        ("[diameter]\ntimeout = \"1ms\"", 2, "timeout: a time such as"),
        ("[diameter]\nwatchdog = \"5s\"", 2, "watchdog: a time such as"),
        ("[diameter]\nallow = [\"pcscf\"]", 2, "pcscf"),
        ("\n[hss]\nsh = [\"tcp:127.0.0.1\"]", 2, "cx is missing"),
        ("roles = [\"bsm\"]\n[bsm]\nims = \"tcp:127.0.0.1:1\"\n[hss]\ncx = [\"tcp:127.0.0.1\"]", 4, "sh is missing"),
        ("[hss]\ncx = [\"tcp:127.0.0.1\"]\n[hss.hosts]\n\"tcp:127.0.0.2\" = \"a\"", 4, "in none of the lists"),
        ("[[broadcast_server]]\nname = \"a\"\nnaf = [\"a.b\"]\ntells_hss = true", 4, "node of its own"),
        ("hss = { cx = [\"127.0.0.1:1\"] }", 1, "tcp: or tls:"),
        ("roles = [\"scscf\", \"bsf\", \"hss\"]\n[icscf]\n", 2, "not among the roles"),
        ("roles = [\"icscf\"]", 1, "needs [icscf]"),
        ("[icscf]\n", 1, "one at least"),
        ("[icscf]\ntimeout = \"1ms\"", 2, "timeout: a time such as"),
        ("[[icscf.scscf]]\nname = \"scscf\"", 2, "SIP URI"),
        ("roles = [\"icscf\"]\n[[icscf.scscf]]\nname = \"sip:a.net\"", 3, "address is missing"),
        ("[[icscf.scscf]]\nname = \"sip:a.net\"\n[[icscf.scscf]]\nname = \"sip:a.net\"", 4, "another S-CSCF"),
        ("[bsf]\nhttp = \"8081\"", 2, "http"),
        ("roles = [\"bsm\"]\n[bsm]\nims = \"udp:127.0.0.1:1\"\n[bsf]\nhttp = \"127.0.0.1:1\"", 5, "no bsf role"),
        ("[bsf]\nkeys = \"plain\"", 2, "plaintext-allowed"),
        ("[[bsf.naf]]\nhost = \"a b\"", 2, "a name"),
        ("[[bsf.naf]]\nhost = \"NAF.net\"", 2, "lower case"),
        ("[[bsf.naf]]\nhost = \"a.net\"\nfqdns = [\"b\",\n\"a_b\"]", 4, "host name"),
        ("[[bsf.naf]]\nhost = \"a.net\"\n[[bsf.naf]]\nhost = \"A.net\"\nfqdns = [\"a.net\"]", 4, "another NAF"),
        ("[bsm]\nkey_retrieval = \"zn\"", 2, "needs bsf"),
        ("[bsm]\nbsf = [\"tcp:127.0.0.1:1\"]\nkey_retrieval = \"diameter\"", 3, "zn-else-sip"),
        ("[bsm]\nbsf = [\"udp:127.0.0.1:1\"]", 2, "tcp: or tls:"),
    ] {
        fault(text, line, what);
    }
}

#[test]
fn diameter_peers() {
    let settings = |text: &str| {
        let config = read(text).unwrap();
        config.diameter.settings(&config.domain, config.foreign_hss.as_ref(), &[])
    };
    assert!(settings("[diameter]\norigin_host = \"x.net\"").is_none(), "nobody listens, nobody is asked");
    let served = settings("[diameter]\nlisten = [\"tcp:127.0.0.1\", \"tls:[::1]\"]").unwrap();
    assert_eq!((served.origin.host.as_str(), served.origin.realm.as_str()), ("hss.home1.net", "home1.net"));
    let listen: Vec<_> = served.listen.iter().map(ToString::to_string).collect();
    assert_eq!(listen, ["tcp:127.0.0.1:3868", "tls:[::1]:5868"]);
    let text = "domain = \"a.net\"\nhss = { cx = [\"tcp:127.0.0.1:1\", \"tls:127.0.0.1:2\"], zh = [\"tcp:127.0.0.1:1\"], \
                sh = [\"tcp:127.0.0.1:3\"], realm = \"b.net\", tls_name = \"hss.b.net\" }\n\
                [diameter]\norigin_realm = \"ims.a.net\"\ntimeout = \"900ms\"\nwatchdog = \"10s\"\nhosts = [\"hss.b.net\"]\n";
    let asking = settings(text).unwrap();
    assert_eq!((asking.origin.host.as_str(), asking.origin.realm.as_str()), ("scscf.a.net", "ims.a.net"));
    assert_eq!((asking.request_within, asking.timing.tw), (Duration::from_millis(900), Duration::from_secs(10)));
    let peers: Vec<_> =
        asking.peers.iter().map(|peer| (peer.endpoint.to_string(), peer.applications.as_slice())).collect();
    let (cx, sh, zh) = (16_777_216, 16_777_217, 16_777_221);
    let expected: [(String, &[u32]); 3] =
        [("tcp:127.0.0.1:1".into(), &[cx, zh]), ("tls:127.0.0.1:2".into(), &[cx]), ("tcp:127.0.0.1:3".into(), &[sh])];
    assert_eq!(peers, expected);
    assert_eq!(asking.peers[1].endpoint.tls_name.as_deref(), Some("hss.b.net"));
    assert_eq!(read(text).unwrap().foreign_hss.unwrap().realm.as_deref(), Some("b.net"));
    let zh = settings("[hss]\nzh = [\"tcp:127.0.0.1:1\"]\n[hss.hosts]\n\"tcp:127.0.0.1:1\" = \"hss.b.net\"").unwrap();
    assert_eq!((zh.peers.len(), zh.peers[0].host.as_deref()), (1, Some("hss.b.net")));
}

#[test]
fn nafs_and_the_way_to_a_bsf() {
    let config = read("[[bsf.naf]]\nhost = \"naf.net\"\n").unwrap();
    assert_eq!((config.nafs[0].fqdns.as_slice(), config.nafs[0].user_name), (&["naf.net".to_owned()][..], false));
    let text = "roles = [\"bsm\"]\n[bsm]\nims = \"udp:127.0.0.1:1\"\nbsf = [\"tcp:127.0.0.1:3868\"]\n\
                key_retrieval = \"zn-else-sip\"\n";
    let config = read(text).unwrap();
    assert_eq!(config.bsm.unwrap().retrieval.as_str(), "zn-else-sip");
    assert_eq!(config.diameter.origin_host.as_deref(), Some("bsm.home1.net"), "a NAF is known by its own name");
}

#[test]
fn a_server_or_naf_twice() {
    let one = "[[broadcast_server]]\nname = \"x\"\nnaf = [\"x.net\"]\n";
    fault(&format!("{one}[[broadcast_server]]\nname = \"x\"\nnaf = [\"y.net\"]\n"), 5, "unique");
    fault(&format!("{one}[[broadcast_server]]\nname = \"y\"\nnaf = [\"x.net\"]\n"), 5, "tell the two apart");
}

#[test]
fn servers_that_share_a_naf_stand_in_their_order() {
    let server = |name: &str, port: u16| {
        format!("[[broadcast_server]]\nname = \"{name}\"\nnaf = [\"x.net\"]\naddress = \"tcp:127.0.0.1:{port}\"\n")
    };
    let config = read(&(server("north", 1) + &server("south", 2))).unwrap();
    let names: Vec<_> = config.servers.iter().map(|server| server.name.as_str()).collect();
    assert_eq!(names, ["north", "south"]);
    fault(&(server("north", 1) + &server("south", 1)), 6, "\"north\"");
}

#[test]
fn roles() {
    fault("roles = [\"scscf\", \"pbx\"]", 1, "pbx");
    fault("roles = []", 1, "scscf");
    fault("roles = [\"scscf\"]", 1, "together");
    fault("roles = [\"bsm\"]", 1, "ims is missing");
    let config = read("roles = [\"bsm\"]\n[bsm]\nims = \"tcp:192.0.2.1:5060\"\n").unwrap();
    assert!(config.roles.bsm && !config.roles.ims());
    let bsm = config.bsm.unwrap();
    assert_eq!(bsm.ims_addresses, ["192.0.2.1".parse::<std::net::IpAddr>().unwrap()]);
    assert!(!bsm.listen.is_empty() && config.servers.is_empty());
    let ims = "roles = [\"scscf\", \"bsf\", \"hss\"]\n";
    assert!(read(ims).unwrap().bsm.is_none());
    fault(&format!("{ims}[[broadcast_server]]\nname = \"x\"\nnaf = [\"x.net\"]\n"), 3, "address is missing");
}

#[test]
fn relative_paths_are_beside_the_file() {
    let config = read(
        "data_dir = \"d\"\npolicy = \"p/figure_3.lua\"\ntrace = \"-\"\n[tls]\ncertificate = \"c.pem\"\nkey = \"/abs/k.pem\"\n",
    )
    .unwrap();
    assert_eq!(config.data_dir, Path::new("/etc/imscript/d"));
    assert_eq!(config.policy.unwrap(), Path::new("/etc/imscript/p/figure_3.lua"));
    assert_eq!(config.trace.unwrap(), Path::new("-"));
    let tls = config.tls.unwrap();
    assert_eq!(
        (tls.certificate.as_path(), tls.key.as_path()),
        (Path::new("/etc/imscript/c.pem"), Path::new("/abs/k.pem"))
    );
}

#[test]
fn from_a_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("node.toml");
    let missing = Config::load(&path).unwrap_err().to_string();
    assert!(missing.contains("node.toml"), "{missing}");
    std::fs::write(&path, "domain = \"ims.example\"\n[bsm]\n").unwrap();
    let config = Config::load(&path).unwrap();
    assert_eq!((config.bsf_domain.as_str(), config.data_dir), ("bsf.ims.example", folder.path().join("imscript-data")));
    let with = Config::parse_with("", &path, Some("other.net"), &["udp:[::1]:6000".parse().unwrap()]).unwrap();
    assert_eq!((with.domain.as_str(), with.listen.len()), ("other.net", 1));
    assert!(Config::parse_with("", &path, Some("no domain"), &[]).unwrap_err().to_string().contains("--domain"));
}

#[test]
fn the_examples_are_valid() {
    let mut found = 0;
    for folder in std::fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("examples")).unwrap() {
        let folder = folder.unwrap().path();
        for file in std::fs::read_dir(&folder).into_iter().flatten() {
            let file = file.unwrap().path();
            if file.extension().is_some_and(|ending| ending == "toml") && !file.ends_with("Cargo.toml") {
                let config = Config::load(&file).unwrap_or_else(|why| panic!("{why}"));
                if let Some(policy) = config.policy {
                    let source = imscript::policy::lua::PolicySource::read(&policy).unwrap();
                    imscript::policy::lua::LuaPolicy::load(&source).unwrap_or_else(|why| panic!("{why}"));
                }
                found += 1;
            }
        }
    }
    assert!(found >= 9, "{found}");
}

#[test]
fn the_time_to_end() {
    assert_eq!(read("").unwrap().drain.as_secs(), 5);
    assert_eq!(read("[shutdown]\ndrain = \"20s\"").unwrap().drain.as_secs(), 20);
    for bad in ["6m", "5", "soon", "-1s"] {
        fault(&format!("[shutdown]\ndrain = \"{bad}\""), 2, "drain: a time such as");
    }
}

#[test]
fn what_foreign_nodes_are_told_of_subscribers() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("imscript.toml");
    let criterion = "<InitialFilterCriteria><Priority>1</Priority><ApplicationServer><ServerName>sip:as.home1.net</ServerName>\
                     <DefaultHandling>0</DefaultHandling></ApplicationServer></InitialFilterCriteria>";
    std::fs::write(dir.path().join("ifc.xml"), format!("<IFCs>{criterion}</IFCs>")).unwrap();
    let text = "[foreign]\ncscfs = [\"s.home1.net\"]\nscscf = \"sip:s.home1.net\"\n[service.gold]\ncapabilities = [1]\n\
                filter_criteria = \"ifc.xml\"\ncharging_collection = [\"aaa://ccf.home1.net\"]\nkey_lifetime = 3600\n";
    let foreign = Config::parse(text, &path).unwrap().foreign;
    assert_eq!(
        (foreign.clients.cscfs, foreign.scscf.as_deref()),
        (vec!["s.home1.net".into()], Some("sip:s.home1.net"))
    );
    let gold = &foreign.services["gold"];
    assert_eq!((gold.mandatory.as_slice(), gold.criteria.len()), (&[1][..], 1));
    assert_eq!(gold.key_lifetime, Some(std::time::Duration::from_secs(3600)));
    std::fs::write(dir.path().join("bad.xml"), "<IFCs><InitialFilterCriteria/></IFCs>").unwrap();
    for (text, line, what) in [
        ("[foreign]\nscscf = \"tel:+1\"\n", 2, "a SIP URI such as"),
        ("[foreign]\ncscfs = [\"a b\"]\n", 2, "a name such as hss.home1.net"),
        ("[service.\"a b\"]\n", 1, "service: a name of at most 64"),
        ("[service.a]\nfilter_criteria = \"bad.xml\"\n", 2, "an InitialFilterCriteria cannot be read"),
        ("[service.a]\nfilter_criteria = \"none.xml\"\n", 2, "none.xml"),
        ("[service.a]\nevent_charging = [\"ecf\"]\n", 2, "a DiameterURI such as"),
        ("[service.a]\nkey_lifetime = 5\n", 2, "key_lifetime"),
    ] {
        let why = Config::parse(text, &path).unwrap_err().to_string();
        assert!(why.contains(&format!("imscript.toml:{line}: ")) && why.contains(what), "{text}: {why}");
    }
}
