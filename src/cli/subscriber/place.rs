//! Where the subscribers are: a data folder, or what a configuration says.

use crate::config::Config;
use crate::hss::embedded::{Subscribers, legacy};
use crate::store::Seal;
use crate::store::open::{self, OpenError};
use anyhow::bail;
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
    fn config(&self) -> anyhow::Result<Config> {
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
        self.opened(true, Ok)
    }

    /// The store, which has to be there.
    pub(super) fn existing(&self) -> anyhow::Result<Subscribers> {
        self.opened(false, Ok)
    }

    /// The store, with what `seal` makes of its key.
    pub(super) fn opened(
        &self,
        make: bool,
        seal: impl FnOnce(Seal) -> anyhow::Result<Seal>,
    ) -> anyhow::Result<Subscribers> {
        let config = self.config()?;
        let tool = match open::tool(&config.store_kind(), make) {
            Err(OpenError::Absent(dir)) => bail!("no subscribers yet: there is no store in {}", dir.display()),
            opened => opened?,
        };
        let subscribers = Subscribers::new(tool.store, Arc::new(seal(config.seal()?)?));
        legacy::take_over(&config.data_dir, &subscribers)?;
        Ok(subscribers)
    }
}
