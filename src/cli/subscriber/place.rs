//! Where the subscribers are: a data folder, or what a configuration says.

use crate::config::{Config, StoreKind};
use crate::hss::embedded::{Subscribers, legacy};
use crate::store::Seal;
use crate::store::open;
use anyhow::{Context, bail};
use std::os::unix::fs::DirBuilderExt;
use std::path::PathBuf;
use std::sync::Arc;

#[derive(clap::Args)]
pub(super) struct Place {
    /// Folder with the database of subscribers and the key file store.key [default: imscript-data]
    #[arg(long, global = true, value_name = "DIR")]
    data_dir: Option<PathBuf>,
    /// The store, its key file and its folder from this configuration
    #[arg(long, global = true, value_name = "FILE", conflicts_with = "data_dir")]
    config: Option<PathBuf>,
}

impl Place {
    pub(super) fn config(&self) -> anyhow::Result<Config> {
        match &self.config {
            Some(file) => Ok(Config::load(file)?),
            None => {
                let mut config = Config::all_on_loopback();
                config.data_dir = self.data_dir.clone().unwrap_or_else(|| "imscript-data".into());
                Ok(config)
            }
        }
    }

    /// The store, made if there is none.
    pub(super) fn open(&self) -> anyhow::Result<Subscribers> {
        let config = self.config()?;
        let seal = seal(&config)?;
        self.open_with(&config, seal)
    }

    /// The store, which has to be there.
    pub(super) fn existing(&self) -> anyhow::Result<Subscribers> {
        let config = self.config()?;
        let file = config.data_dir.join("imscript.db");
        if config.store.kind == StoreKind::Sqlite && !file.is_file() {
            bail!("no subscribers yet: {} does not exist", file.display());
        }
        self.open()
    }

    pub(super) fn open_with(&self, config: &Config, seal: Seal) -> anyhow::Result<Subscribers> {
        let tool = open::tool(&config.store.to_open(&config.data_dir), true)?;
        let subscribers = Subscribers::new(tool.store, Arc::new(seal));
        legacy::take_over(&config.data_dir, &subscribers)?;
        Ok(subscribers)
    }
}

/// The key that the configuration names, or the folder's own.
pub(super) fn seal(config: &Config) -> anyhow::Result<Seal> {
    // For the owner's eyes only, as the node makes it.
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(&config.data_dir)
        .with_context(|| config.data_dir.display().to_string())?;
    Ok(config.store.seal(&config.data_dir)?)
}
