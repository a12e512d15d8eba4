//! Where a server is, and what is needed to be let in: out of the URLs of the configuration.

use super::super::StoreError;
use redis::{ConnectionAddr, IntoConnectionInfo, RedisConnectionInfo};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Where systems keep the authorities that they believe, in one file.
const SYSTEM: [&str; 3] =
    ["/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt", "/etc/ssl/cert.pem"];

/// Of a server.
#[derive(Debug, Clone)]
pub(super) struct Address {
    host: Box<str>,
    port: u16,
    /// How its certificate calls it, if not by `host`.
    name: Option<Box<str>>,
}

impl PartialEq for Address {
    fn eq(&self, other: &Self) -> bool {
        self.port == other.port && self.host == other.host
    }
}

impl Address {
    pub(super) fn new(host: &str, port: u16) -> Self {
        Address { host: host.into(), port, name: None }
    }

    pub(super) fn named(self, name: &str) -> Self {
        Address { name: (!name.is_empty()).then(|| name.into()), ..self }
    }

    /// `host:port`; a server that does not know its own host leaves it out, then it is that of `beside`.
    pub(super) fn parse_beside(text: &str, beside: &Address) -> Option<Self> {
        let (host, port) = text.rsplit_once(':')?;
        let port = port.parse().ok().filter(|port| *port != 0)?;
        match host.trim_start_matches('[').trim_end_matches(']') {
            "" | "?" => Some(Address { port, ..beside.clone() }),
            host => Some(Address::new(host, port)),
        }
    }

    pub(super) fn endpoint(&self) -> (&str, u16) {
        (&self.host, self.port)
    }

    pub(super) fn server_name(&self) -> Option<ServerName<'static>> {
        ServerName::try_from(self.name.as_deref().unwrap_or(&self.host).to_owned()).ok()
    }
}

impl std::fmt::Display for Address {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.host.contains(':') {
            true => write!(f, "[{}]:{}", self.host, self.port),
            false => write!(f, "{}:{}", self.host, self.port),
        }
    }
}

/// How one is let in: the same at all servers. It is never printed.
pub(super) struct Login {
    pub(super) settings: RedisConnectionInfo,
    pub(super) tls: Option<Arc<ClientConfig>>,
}

fn refused(why: impl Into<Arc<str>>) -> StoreError {
    StoreError::Refused(why.into())
}

/// The servers of the URLs; user and password are those of the first. The URLs are not repeated in an error: there may be
/// a password in them.
pub(super) fn read(urls: &[String], ca: Option<&Path>) -> Result<(Vec<Address>, Login), StoreError> {
    let mut found: Option<(RedisConnectionInfo, bool)> = None;
    let mut addresses = Vec::new();
    for (index, url) in urls.iter().enumerate() {
        let number = index + 1;
        let (plain, tls) = match url.strip_prefix("rediss://") {
            // How TLS is spoken is decided here, not in the crate.
            Some(rest) => (format!("redis://{rest}"), true),
            None => (url.clone(), false),
        };
        let info = plain.as_str().into_connection_info();
        let info = info.map_err(|_| refused(format!("urls: the URL in place {number} cannot be read")))?;
        let ConnectionAddr::Tcp(host, port) = info.addr() else {
            return Err(refused(format!("urls: the URL in place {number} names no host")));
        };
        if info.redis_settings().db() != 0 {
            return Err(refused("urls: no number of a database: a cluster has one, 0"));
        }
        addresses.push(Address::new(host, *port));
        match &found {
            Some((_, first)) if *first != tls => return Err(refused("urls: all with TLS (rediss) or none")),
            Some(_) => {}
            None => found = Some((info.redis_settings().clone(), tls)),
        }
    }
    let Some((settings, tls)) = found else { return Err(refused("urls: at least one")) };
    let settings = settings.set_lib_name("imscript", env!("CARGO_PKG_VERSION"));
    let tls = if tls { Some(client(ca)?) } else { None };
    Ok((addresses, Login { settings, tls }))
}

fn client(ca: Option<&Path>) -> Result<Arc<ClientConfig>, StoreError> {
    let system = || SYSTEM.iter().map(Path::new).find(|path| path.is_file()).map(Path::to_owned);
    let path: PathBuf = match ca {
        Some(path) => path.to_owned(),
        None => system().ok_or_else(|| refused("ca: the system has no file of authorities"))?,
    };
    let failed = |why: &dyn std::fmt::Display| refused(format!("ca: {}: {why}", path.display()));
    let mut roots = RootCertStore::empty();
    let certificates = CertificateDer::pem_file_iter(&path).map_err(|why| failed(&why))?;
    let certificates: Vec<_> = certificates.filter_map(Result::ok).collect();
    if roots.add_parsable_certificates(certificates).0 == 0 {
        return Err(failed(&"holds no certificate of an authority"));
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let builder = builder.map_err(|why| failed(&why))?;
    Ok(Arc::new(builder.with_root_certificates(roots).with_no_client_auth()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_read_and_what_is_secret_in_them_never_told() {
        let urls = |list: &[&str]| list.iter().map(|url| url.to_string()).collect::<Vec<_>>();
        let (addresses, login) = read(&urls(&["redis://a:p%40ss@10.0.0.1:7000", "redis://[::1]"]), None).unwrap();
        assert_eq!(addresses.iter().map(Address::to_string).collect::<Vec<_>>(), ["10.0.0.1:7000", "[::1]:6379"]);
        assert_eq!((login.settings.username(), login.settings.password()), (Some("a"), Some("p@ss")));
        for wrong in
            [&["redis://u:secret@h:99999"][..], &["redis://:secret@h/3"], &["redis://h", "rediss://:secret@h"], &[]]
        {
            let error = read(&urls(wrong), None).err().unwrap().to_string();
            assert!(!error.contains("secret"), "{error}");
        }
    }

    #[test]
    fn a_host_that_a_server_leaves_out_is_the_one_that_was_asked() {
        let asked = Address::new("db1", 7000);
        let parse = |text| Address::parse_beside(text, &asked).map(|address| address.to_string());
        assert_eq!(parse(":7001").as_deref(), Some("db1:7001"));
        assert_eq!(parse("10.0.0.2:7001").as_deref(), Some("10.0.0.2:7001"));
        assert_eq!(parse("fe80::1:7001").as_deref(), Some("[fe80::1]:7001"));
        assert_eq!(parse("10.0.0.2:0"), None);
    }
}
