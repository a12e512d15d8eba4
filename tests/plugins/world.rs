//! Folders of plugins made for one test, and what their stages are asked about.

use imscript::policy::lua::package::{self, Loaded};
use imscript::policy::lua::{Env, Generation, Plugins, PolicySource, Unit};
use imscript::policy::{Chain, Context, Kind, ServerView};
use imscript::sip::Message;
use imscript::sip::transaction::{Source, Transport};
use std::path::{Path, PathBuf};
use std::sync::Arc;

const REGISTER: &[u8] = b"REGISTER sip:home1.net SIP/2.0\r\n\
    Via: SIP/2.0/UDP 192.0.2.7:5060;branch=z9hG4bK1\r\n\
    Max-Forwards: 70\r\n\
    From: <sip:alice@home1.net>;tag=a\r\n\
    To: <sip:alice@home1.net>\r\n\
    Call-ID: c1@192.0.2.7\r\n\
    CSeq: 1 REGISTER\r\n\
    Contact: <sip:alice@192.0.2.7>;expires=1200\r\n\
    Content-Length: 0\r\n\r\n";

pub(crate) fn message() -> Message<'static> {
    Message::parse(REGISTER).unwrap()
}

/// A folder of plugins that goes when the test ends.
pub(crate) struct Dir {
    folder: tempfile::TempDir,
}

impl Dir {
    pub(crate) fn new() -> Dir {
        Dir { folder: tempfile::tempdir().unwrap() }
    }

    pub(crate) fn path(&self) -> PathBuf {
        self.folder.path().join("plugins")
    }

    pub(crate) fn root(&self) -> &Path {
        self.folder.path()
    }

    /// Writes a file under the plugins' folder.
    pub(crate) fn file(&self, name: &str, text: impl AsRef<[u8]>) -> &Self {
        let path = self.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
        self
    }

    /// A plugin with the least manifest plus `more`, and these functions in its main file, which begin on line 2.
    pub(crate) fn plugin(&self, name: &str, stages: &str, more: &str, functions: &str) -> &Self {
        let manifest = format!("name = \"{name}\"\nversion = \"1.0.0\"\napi = 1\nstages = [{stages}]\n{more}");
        self.file(&format!("{name}/plugin.toml"), manifest);
        self.file(&format!("{name}/main.lua"), format!("local plugin_ = {{}}\n{functions}\nreturn plugin_\n"))
    }

    pub(crate) fn load(&self) -> Result<Loaded, String> {
        self.load_with(Plugins::of(self.path()))
    }

    /// The message has the folder's path taken out of it.
    pub(crate) fn load_with(&self, plugins: Plugins) -> Result<Loaded, String> {
        let policy = PolicySource::new("policy.lua", "return {}").compile().unwrap();
        let loaded = package::load(Arc::new(Unit::policy(policy)), &plugins, &[]);
        loaded.map_err(|e| e.to_string().replace(&format!("{}/", self.path().display()), ""))
    }

    /// The plugins at work.
    pub(crate) fn chain(&self) -> Chain {
        chain(&self.load().unwrap())
    }

    pub(crate) fn fault(&self) -> String {
        self.load().map(|_| ()).expect_err("it should be refused")
    }
}

pub(crate) fn chain(loaded: &Loaded) -> Chain {
    Generation::new(1, loaded.units.iter().cloned()).chain(&Env::detached(&servers())).unwrap()
}

pub(crate) fn servers() -> Vec<ServerView> {
    ["bsm", "tv"].map(|n| ServerView { name: n.to_owned(), naf_fqdns: vec![format!("{n}.home1.net")] }).to_vec()
}

pub(crate) fn source() -> Source {
    Source {
        transport: Transport::Udp,
        addr: "192.0.2.7:5060".parse().unwrap(),
        local: "192.0.2.1:5060".parse().unwrap(),
        peer_names: Arc::new([]),
    }
}

pub(crate) fn ctx<'a>(source: &'a Source, servers: &'a [ServerView]) -> Context<'a> {
    Context {
        kind: Kind::Initial,
        impi: "alice@home1.net",
        impu: "sip:alice@home1.net",
        ..Context::arrival(source, servers, 1_700_000_000)
    }
}
