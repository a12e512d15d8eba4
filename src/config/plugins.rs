//! `plugins` in the file: read as a tree of its own, so that every setting of a plugin keeps its line.

use crate::policy::document::{Fields, Node, Value};
use crate::policy::finding::Findings;
use crate::policy::lua::Plugins;
use std::path::{Path, PathBuf};

/// `plugins = "DIR"`, or the table `[plugins]`; None where there is neither.
pub(super) fn read(text: &str, path: &Path, beside: impl Fn(PathBuf) -> PathBuf) -> Result<Option<Plugins>, Findings> {
    let mut found = Findings::of(path.display().to_string());
    let root = Node::parse(text, &mut found);
    let plugins = root.get("plugins").and_then(|entry| {
        if let Some(dir) = entry.node.as_str() {
            return Some(Plugins { file: found.file().clone(), ..Plugins::of(beside(dir.into())) });
        }
        let mut fields = Fields::of(entry, &mut found)?;
        let dir = fields.string("dir", &mut found).map_or("plugins", |(dir, _)| dir);
        let order = fields.strings("order", &mut found);
        let disabled = fields.strings("disabled", &mut found);
        let ca = fields.string("ca", &mut found).map(|(ca, _)| beside(ca.into()));
        let config = fields.get("config");
        if let Some(config) = config.filter(|config| !matches!(config.node.value, Value::Table(_))) {
            found.hinted(config.line, "config: expected a table", "[plugins.config.NAME]");
        }
        fields.finish("key of [plugins]", &mut found);
        let config = config.map(|config| config.node.entries().to_vec()).unwrap_or_default();
        Some(Plugins { dir: beside(dir.into()), order, disabled, config, ca, file: found.file().clone() })
    });
    found.or(Some(plugins))
}
