use crate::support::*;
use imscript::sip::transaction::{NextHop, Outbound, SendError, Transport};
use imscript::sip::transport::{Identity, Settings, Tls, TlsError, TlsFiles, Transports};
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair, SanType};
use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use tempfile::TempDir;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

/// An authority with its certificates in a directory of their own.
struct Authority {
    dir: TempDir,
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    fn new() -> Authority {
        let mut params = CertificateParams::new(Vec::<String>::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("ca.pem"), params.self_signed(&key).unwrap().pem()).unwrap();
        Authority { dir, issuer: Issuer::new(params, key) }
    }

    fn ca(&self) -> PathBuf {
        self.dir.path().join("ca.pem")
    }

    fn issue(&self, file: &str, names: &[&str], uri: Option<&str>) -> Identity {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let mut params = CertificateParams::new(names).unwrap();
        params.subject_alt_names.extend(uri.map(|uri| SanType::URI(uri.try_into().unwrap())));
        let key = KeyPair::generate().unwrap();
        let path = |kind: &str| self.dir.path().join(format!("{file}.{kind}"));
        fs::write(path("pem"), params.signed_by(&key, &self.issuer).unwrap().pem()).unwrap();
        fs::write(path("key"), key.serialize_pem()).unwrap();
        Identity { certificate: path("pem"), key: path("key") }
    }
}

fn hop(addr: SocketAddr, name: &str) -> NextHop {
    NextHop { transport: Transport::Tls, addr, tls_name: Some(name.to_owned()) }
}

fn client(roots: &Path, client: Option<Identity>) -> Transports {
    let files = TlsFiles { roots: Some(roots.into()), client, ..TlsFiles::default() };
    node_with(&[], Tls::load(&files).unwrap(), Settings::default(), Asked::at_once()).0
}

#[test]
fn a_verified_client_certificate_gives_its_names() {
    worker(async {
        let authority = Authority::new();
        let files = TlsFiles {
            server: Some(authority.issue("server", &["ims.example"], None)),
            client_ca: Some(authority.ca()),
            ..TlsFiles::default()
        };
        for listen in ["tls:127.0.0.1:0", "tls:[::1]:0"] {
            let asked = Asked::at_once();
            let (_server, bound) = node_with(&[listen], Tls::load(&files).unwrap(), Settings::default(), asked.clone());
            let known = client(
                &authority.ca(),
                Some(authority.issue("bsm", &["bsm.example", "b2.example"], Some("sip:bsm.example"))),
            );
            let unknown = client(&authority.ca(), None);
            for node in [known, unknown] {
                let to = hop(bound[0].addr, "ims.example");
                assert_eq!(node.request(&to, outgoing("tls", 3000), SOON).await.unwrap().status(), 200);
            }
            let names: Vec<Vec<String>> =
                asked.requests.borrow().iter().map(|(_, source)| source.peer_names.to_vec()).collect();
            assert_eq!(names, [vec!["bsm.example", "b2.example", "sip:bsm.example"], vec![]]);
        }
    });
}

#[test]
fn a_client_certificate_is_verified_and_can_be_required() {
    worker(async {
        let (authority, stranger) = (Authority::new(), Authority::new());
        let files = TlsFiles {
            server: Some(authority.issue("server", &["ims.example"], None)),
            client_ca: Some(authority.ca()),
            require_client_certificate: true,
            ..TlsFiles::default()
        };
        let asked = Asked::at_once();
        let (server, bound) =
            node_with(&["tls:127.0.0.1:0"], Tls::load(&files).unwrap(), Settings::default(), asked.clone());
        let to = hop(bound[0].addr, "ims.example");
        for forged in [None, Some(stranger.issue("forged", &["bsm.example"], None))] {
            let outcome = client(&authority.ca(), forged).request(&to, outgoing("forged", 0), SOON).await;
            assert!(matches!(outcome, Err(SendError::Unreachable(_))), "{outcome:?}");
        }
        assert_eq!((asked.count(), server.counters().rejected.get()), (0, 2));
        let honest = client(&authority.ca(), Some(authority.issue("bsm", &["bsm.example"], None)));
        assert_eq!(honest.request(&to, outgoing("honest", 0), SOON).await.unwrap().status(), 200);
    });
}

#[test]
fn the_peers_name_must_be_in_its_certificate() {
    worker(async {
        let (authority, stranger) = (Authority::new(), Authority::new());
        let files = TlsFiles {
            server: Some(authority.issue("server", &["ims.example", "127.0.0.1"], None)),
            ..TlsFiles::default()
        };
        let asked = Asked::at_once();
        let (_server, bound) =
            node_with(&["tls:127.0.0.1:0"], Tls::load(&files).unwrap(), Settings::default(), asked.clone());
        let good = hop(bound[0].addr, "ims.example");
        let by_address = NextHop { tls_name: None, ..good.clone() };
        let node = client(&authority.ca(), None);
        for to in [&good, &by_address] {
            assert_eq!(node.request(to, outgoing("good", 0), SOON).await.unwrap().status(), 200);
        }
        let no_authority = node_with(&[], Tls::default(), Settings::default(), Asked::at_once()).0;
        for (node, to) in [
            (node, hop(bound[0].addr, "bsm.example")),
            (client(&stranger.ca(), None), good.clone()),
            (no_authority, good),
        ] {
            let outcome = node.request(&to, outgoing("bad", 0), SOON).await;
            assert!(matches!(outcome, Err(SendError::Unreachable(_))), "{outcome:?}");
        }
        assert_eq!(asked.count(), 2);
    });
}

#[test]
fn a_handshake_that_fails_or_hangs_harms_nobody_else() {
    worker(async {
        let authority = Authority::new();
        let files = TlsFiles { server: Some(authority.issue("server", &["ims.example"], None)), ..TlsFiles::default() };
        let settings = Settings { handshake_within: milliseconds(1500), ..Settings::default() };
        let (server, bound) = node_with(&["tls:127.0.0.1:0"], Tls::load(&files).unwrap(), settings, Asked::at_once());
        let mut hanging = TcpStream::connect(bound[0].addr).await.unwrap();
        let mut plain = TcpStream::connect(bound[0].addr).await.unwrap();
        plain.write_all(register("TLS 127.0.0.1:1", "plain").as_bytes()).await.unwrap();
        let node = client(&authority.ca(), None);
        let to = hop(bound[0].addr, "ims.example");
        assert_eq!(node.request(&to, outgoing("tls", 0), SOON).await.unwrap().status(), 200);
        assert!(head_from(&mut hanging).await.is_empty());
        assert_eq!(server.counters().rejected.get(), 2);
    });
}

#[test]
fn unusable_files_are_named() {
    let authority = Authority::new();
    let (one, two) = (authority.issue("one", &["a.example"], None), authority.issue("two", &["b.example"], None));
    let server = |identity| TlsFiles { server: Some(identity), ..TlsFiles::default() };
    let crossed = Identity { certificate: one.certificate.clone(), key: two.key.clone() };
    assert!(matches!(Tls::load(&server(crossed)), Err(TlsError::Identity { .. })));
    let missing = Identity { certificate: "/nonexistent.pem".into(), key: two.key.clone() };
    let error = Tls::load(&server(missing)).err().unwrap();
    assert!(error.to_string().starts_with("/nonexistent.pem: "), "{error}");
    let keyless = Identity { certificate: one.key.clone(), key: one.key.clone() };
    assert!(matches!(Tls::load(&server(keyless)), Err(TlsError::Empty { .. })));
    let files = TlsFiles { require_client_certificate: true, ..server(one) };
    assert!(matches!(Tls::load(&files), Err(TlsError::NoClientAuthority)));
}
