//! `http` over TLS: who is believed, who is not, and that no error tells what the request held.

use crate::http::{granted_to, on_tokio, on_tokio_with, said};
use imscript::config::Config;
use imscript::http::Client;
use imscript::policy::lua::Host;
use imscript::server::Node;
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, date_time_ymd};
use rustls::ServerConfig;
use rustls::pki_types::PrivateKeyDer;
use std::fs;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

const SECRET: &str = "s3cr3t";

struct Authority {
    dir: TempDir,
    issuer: Issuer<'static, KeyPair>,
}

/// When a certificate ends.
enum Ends {
    Later,
    LongAgo,
}

impl Authority {
    fn new(name: &str) -> Authority {
        let mut params = CertificateParams::new(Vec::<String>::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, name);
        let (key, dir) = (KeyPair::generate().unwrap(), tempfile::tempdir().unwrap());
        fs::write(dir.path().join("ca.pem"), params.self_signed(&key).unwrap().pem()).unwrap();
        Authority { dir, issuer: Issuer::new(params, key) }
    }

    fn pem(&self) -> PathBuf {
        self.dir.path().join("ca.pem")
    }

    /// A server's side with a certificate for this name.
    fn server(&self, name: &str, ends: &Ends) -> TlsAcceptor {
        let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        if matches!(ends, Ends::LongAgo) {
            (params.not_before, params.not_after) = (date_time_ymd(2019, 1, 1), date_time_ymd(2020, 1, 1));
        }
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap().der().clone();
        let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
        let config = config.with_no_client_auth().with_single_cert(vec![certificate], key).unwrap();
        TlsAcceptor::from(Arc::new(config))
    }

    /// Plugins that believe this authority.
    fn believed(&self) -> Host {
        Host::default().with_http(Arc::new(Client::believing(&self.pem()).unwrap()))
    }
}

/// Answers whoever gets through the handshake; the port.
async fn serve(acceptor: TlsAcceptor) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::task::spawn_local(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            // One that is refused ends with an alert; the next may be better.
            let Ok(mut stream) = acceptor.accept(stream).await else { continue };
            let mut heard = vec![0; 65_536];
            let length = stream.read(&mut heard).await.unwrap();
            let heard = String::from_utf8_lossy(&heard[..length]);
            assert!(heard.starts_with(&format!("GET /{SECRET} HTTP/1.1\r\n")), "{heard}");
            let answer = "HTTP/1.1 200 OK\r\nX-A: 1\r\nContent-Length: 2\r\n\r\nok";
            stream.write_all(answer.as_bytes()).await.unwrap();
            let _ = stream.shutdown().await;
        }
    });
    port
}

/// What a plugin hears of a GET whose path and header hold a secret.
async fn heard(host: Host, origin: &str) -> String {
    let get = format!(
        "http.get('{origin}/{SECRET}', {{ headers = {{ Authorization = 'Bearer {SECRET}' }}, timeout = 10 }}, answer)"
    );
    let said = said(&on_tokio_with(host), granted_to(origin), &get).await;
    assert!(!said.contains(SECRET), "{said}");
    said
}

#[test]
fn a_server_of_a_believed_authority_gets_the_request_by_name_and_by_address() {
    on_tokio(async {
        let authority = Authority::new("ours");
        for name in ["localhost", "127.0.0.1"] {
            let port = serve(authority.server(name, &Ends::Later)).await;
            assert_eq!(heard(authority.believed(), &format!("https://{name}:{port}")).await, "200 ok 1");
        }
    });
}

#[test]
fn a_server_with_a_wrong_name_an_unknown_authority_or_an_old_certificate_gets_nothing() {
    on_tokio(async {
        let (authority, stranger) = (Authority::new("ours"), Authority::new("another"));
        let cases = [
            (authority.server("hooks.example", &Ends::Later), authority.believed(), "not valid for name"),
            (authority.server("localhost", &Ends::LongAgo), authority.believed(), "expired"),
            (stranger.server("localhost", &Ends::Later), authority.believed(), "UnknownIssuer"),
            // The system's authorities do not know it either.
            (stranger.server("localhost", &Ends::Later), Host::default(), ""),
        ];
        for (acceptor, host, why) in cases {
            let origin = format!("https://localhost:{}", serve(acceptor).await);
            let said = heard(host, &origin).await;
            let told = said.starts_with(&format!("{origin}: ")) || said.starts_with("authorities for TLS: ");
            assert!(told && said.contains(why), "{said}");
        }
    });
}

#[test]
fn a_server_without_tls_is_told_as_such() {
    on_tokio(async {
        let authority = Authority::new("ours");
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let origin = format!("https://localhost:{}", listener.local_addr().unwrap().port());
        tokio::task::spawn_local(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let _ = stream.write_all(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n").await;
            std::future::pending::<()>().await;
        });
        let said = heard(authority.believed(), &origin).await;
        assert!(said.starts_with(&format!("{origin}: ")), "{said}");
    });
}

const PLUGIN: &str = "
local answers = metric.counter('answers', { what = 'x' })
local policy = {}
function policy.setup(conf)
  timer.after(0.01, function()
    http.get(conf.url, nil, function(answer, why)
      metric.counter('answers', { what = answer and tostring(answer.status) or 'none' }):add()
    end)
  end)
end
return policy
";

const MANIFEST: &str = "name = \"caller\"\nversion = \"1.0.0\"\napi = 1\ndescription = \"Calls\"\nstages = []\n\
    [capabilities]\nhttp = [\"config.url\"]\ntimer = true\nmetric = true\n\
    [config]\nrequired = [\"url\"]\n[config.properties.url]\ntype = \"string\"\nformat = \"uri\"\n";

#[test]
fn a_node_believes_the_authorities_that_its_configuration_names() {
    on_tokio(async {
        let authority = Authority::new("ours");
        let port = serve(authority.server("localhost", &Ends::Later)).await;
        let folder = authority.dir.path();
        fs::create_dir_all(folder.join("plugins/caller")).unwrap();
        fs::write(folder.join("plugins/caller/plugin.toml"), MANIFEST).unwrap();
        fs::write(folder.join("plugins/caller/main.lua"), PLUGIN).unwrap();
        let start = |ca: &str| {
            let config = folder.join("imscript.toml");
            let text = format!(
                "domain = \"home1.net\"\nlisten = [\"udp:127.0.0.1:0\"]\ndata_dir = \"data\"\nworkers = 1\n\
                 [plugins]\nca = {ca:?}\n[plugins.config.caller]\nurl = \"https://localhost:{port}/{SECRET}\"\n"
            );
            fs::write(&config, text).unwrap();
            Node::builder(Config::load(&config).unwrap()).start()
        };
        let mut node = start("ca.pem").unwrap();
        let end = Instant::now() + Duration::from_secs(60);
        while !node.metrics().contains("what=\"200\"} 1") {
            assert!(Instant::now() < end, "{}", node.metrics());
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        node.stop(Duration::ZERO);
        drop(node);
        fs::write(folder.join("half.pem"), "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n").unwrap();
        fs::write(folder.join("empty.pem"), "").unwrap();
        for (file, why) in [("half.pem", ""), ("empty.pem", "holds no certificate"), ("none.pem", "No such file")] {
            let refused = start(file).err().unwrap().to_string();
            assert!(refused.starts_with("plugins.ca: authorities for TLS: "), "{refused}");
            assert!(refused.contains(file) && refused.contains(why), "{refused}");
        }
    });
}
