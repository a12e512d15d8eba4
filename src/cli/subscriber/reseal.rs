//! `imscript subscriber reseal`: keys and passwords under another key file.

use super::place::{Place, seal};
use crate::store::Seal;
use std::path::PathBuf;

/// Seal the keys and passwords of all subscribers with the present key file
///
/// For a change of the key file: give nodes the new one and name the old one here. Those that lie in the store in the
/// clear are sealed as well. Nodes may run on the store meanwhile, but have to know both keys: the new one is for
/// `store.key_file`, and until this is done the old one for `store.old_key_file`.
#[derive(clap::Args)]
#[command(after_help = "Example:
  imscript subscriber reseal --config /etc/imscript/imscript.toml --old-key-file /etc/imscript/old.key")]
pub(super) struct Reseal {
    /// What they are sealed with now
    #[arg(long, value_name = "FILE")]
    old_key_file: Option<PathBuf>,
}

impl Reseal {
    pub(super) fn run(&self, place: &Place) -> anyhow::Result<()> {
        let config = place.config()?;
        let new = seal(&config)?;
        let seal = match &self.old_key_file {
            Some(file) => new.with_old(Seal::from_file(file)?),
            None => new,
        };
        let done = place.open_with(&config, seal)?.reseal()?;
        println!("sealed {done} subscribers anew");
        Ok(())
    }
}
