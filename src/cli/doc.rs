//! `imscript doc`: the host API as a reference page and as stubs for editors.

use crate::policy::lua::host::doc::{Page, pages};
use anyhow::{Context, Result};
use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

#[derive(clap::Args)]
#[command(after_help = "Examples:
  imscript doc | less                  the reference page
  imscript doc --write .               docs/host-api.md and lua/types/ for editors and linters")]
pub struct Args {
    /// Write the reference page and the stubs below this folder
    #[arg(long, value_name = "DIR")]
    write: Option<PathBuf>,
}

pub fn run(args: Args) -> Result<ExitCode> {
    let Some(dir) = args.write else {
        let [Page { text, .. }, ..] = pages();
        // Who closes the pipe has read enough.
        let _ = std::io::stdout().write_all(text.as_bytes());
        return Ok(ExitCode::SUCCESS);
    };
    for Page { path, text } in pages() {
        let path = dir.join(path);
        if let Some(parent) = path.parent() {
            std::fs::create_dir_all(parent).with_context(|| parent.display().to_string())?;
        }
        std::fs::write(&path, text).with_context(|| path.display().to_string())?;
        println!("{}", path.display());
    }
    Ok(ExitCode::SUCCESS)
}
