//! An entity as a line of JSON. Fields are text as it lies in the store, so that what comes back is the same octets;
//! those that are no text are in base64 apart.

use crate::store::{Class, Entity, Key, Save};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Line {
    class: String,
    name: String,
    /// Told to the reader; an import gives versions of its own.
    #[serde(default)]
    version: u64,
    #[serde(default)]
    fields: BTreeMap<String, String>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    base64: BTreeMap<String, String>,
}

impl Line {
    pub(super) fn of(key: &Key, entity: &Entity) -> Self {
        let mut line = Line {
            class: key.class.as_str().into(),
            name: key.name.to_string(),
            version: entity.version,
            fields: BTreeMap::new(),
            base64: BTreeMap::new(),
        };
        for (name, value) in &entity.fields {
            match std::str::from_utf8(value) {
                Ok(text) => line.fields.insert(name.to_string(), text.into()),
                Err(_) => line.base64.insert(name.to_string(), STANDARD.encode(value)),
            };
        }
        line
    }

    /// What puts the entity into a store, or what is wrong with the line.
    pub(super) fn save(self) -> Result<Save, String> {
        let class = Class::parse(&self.class).ok_or_else(|| format!("class: {:?} is none", self.class))?;
        let mut fields: Vec<_> = self
            .fields
            .into_iter()
            .map(|(name, text)| (name.into_boxed_str(), Some(text.into_bytes().into())))
            .collect();
        for (name, text) in self.base64 {
            let octets = STANDARD.decode(&text).map_err(|error| format!("base64: {name:?}: {error}"))?;
            if fields.iter().any(|(other, _)| **other == *name) {
                return Err(format!("base64: {name:?} is among the fields as well"));
            }
            fields.push((name.into_boxed_str(), Some(octets.into())));
        }
        if fields.is_empty() {
            return Err("there are no fields".into());
        }
        let save = Save::whole(Key::new(class, self.name), fields);
        save.check().map_err(|error| error.to_string())?;
        Ok(save)
    }
}
