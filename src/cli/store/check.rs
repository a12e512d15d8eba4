//! `imscript store check`: whether everything in the store can be read.

use crate::store::open::Tool;
use crate::store::{Class, Entity, Key, StoreError};
use serde_json::json;
use std::ops::ControlFlow;
use std::process::ExitCode;

/// Find what cannot be read: the database's own check, then every entity
#[derive(clap::Args)]
#[command(after_help = "Exit code 0: no fault; 1: faults, each with the entity that has it.

Example:
  imscript store check --data-dir /var/lib/imscript")]
pub(super) struct Check {
    /// One JSON object
    #[arg(long)]
    json: bool,
}

impl Check {
    pub(super) fn run(&self, tool: &Tool) -> anyhow::Result<ExitCode> {
        let mut faults = Vec::new();
        if let Some(sqlite) = &tool.sqlite {
            faults.extend(sqlite.faults()?.into_iter().map(|line| format!("database: {line}")));
        }
        let bar = super::counting("checked")?;
        for class in Class::ALL {
            let mut each = |key: &Key, entity: Entity| {
                bar.inc(1);
                faults.extend(fault_of(key, &entity));
                ControlFlow::Continue(())
            };
            match tool.store.walk(class, &mut each) {
                Ok(()) => {}
                Err(error @ StoreError::Damaged { .. }) => {
                    faults.push(format!("{error}; the rest of its class was not looked at"));
                }
                Err(error) => return Err(error.into()),
            }
        }
        bar.finish_and_clear();
        let entities = bar.position();
        if self.json {
            println!("{:#}", json!({ "ok": faults.is_empty(), "entities": entities, "faults": faults }));
        } else {
            faults.iter().for_each(|fault| println!("{fault}"));
            let found = match faults.len() {
                0 => "no fault".to_owned(),
                1 => "1 fault".to_owned(),
                more => format!("{more} faults"),
            };
            println!("{entities} entities: {found}");
        }
        Ok(if faults.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }
}

/// All fields are JSON text, but those of an index: whose a name is. What is wrong is said without the value: it may hold what is nobody's business.
fn fault_of(key: &Key, entity: &Entity) -> Option<String> {
    let is_json = |value: &[u8]| serde_json::from_slice::<serde::de::IgnoredAny>(value).is_ok();
    let is_name = |value: &[u8]| std::str::from_utf8(value).is_ok_and(|text| !text.is_empty());
    let is_index = matches!(key.class, Class::PublicIdentity | Class::Registered | Class::Btid);
    let is_right = |value: &[u8]| if is_index { is_name(value) } else { is_json(value) };
    let (name, _) = entity.fields.iter().find(|(_, value)| !is_right(value))?;
    Some(format!("{key}: field {name:?} is no {}", if is_index { "name" } else { "JSON text" }))
}
