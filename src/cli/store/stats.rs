//! `imscript store stats`: how much of what there is.

use crate::store::open::Tool;
use crate::store::{Class, Entity, Key};
use serde_json::json;
use std::ops::ControlFlow;
use std::process::ExitCode;

/// Count entities and octets by class, and tell the sizes of the files
#[derive(clap::Args)]
#[command(after_help = "Example:
  imscript store stats --data-dir /var/lib/imscript --json")]
pub(super) struct Stats {
    /// One JSON object
    #[arg(long)]
    json: bool,
}

impl Stats {
    pub(super) fn run(&self, tool: &Tool) -> anyhow::Result<ExitCode> {
        let bar = super::counting("counted")?;
        let mut classes = Vec::new();
        for class in Class::ALL {
            let (mut entities, mut octets) = (0_u64, 0_u64);
            let mut each = |key: &Key, entity: Entity| {
                bar.inc(1);
                entities += 1;
                let fields: usize = entity.fields.iter().map(|(name, value)| name.len() + value.len()).sum();
                octets = octets.saturating_add((key.name.len() + fields) as u64);
                ControlFlow::Continue(())
            };
            tool.store.walk(class, &mut each)?;
            classes.push((class.as_str(), entities, octets));
        }
        bar.finish_and_clear();
        let files = tool.sqlite.as_ref().map(|sqlite| sqlite.files()).unwrap_or_default();
        let name = |path: &std::path::Path| path.file_name().map(|name| name.to_string_lossy().into_owned());
        if self.json {
            let of = |(entities, octets): (u64, u64)| json!({ "entities": entities, "octets": octets });
            let classes: serde_json::Map<_, _> = classes
                .iter()
                .map(|(class, entities, octets)| ((*class).to_owned(), of((*entities, *octets))))
                .collect();
            let files: serde_json::Map<_, _> =
                files.iter().filter_map(|(path, size)| Some((name(path)?, json!(size)))).collect();
            println!("{:#}", json!({ "classes": classes, "files": files }));
            return Ok(ExitCode::SUCCESS);
        }
        println!("{:18} {:>12} {:>15}", "class", "entities", "octets");
        for (class, entities, octets) in classes {
            println!("{class:18} {entities:>12} {octets:>15}");
        }
        for (path, size) in files {
            println!("{:31} {size:>15}", name(&path).unwrap_or_default());
        }
        Ok(ExitCode::SUCCESS)
    }
}
