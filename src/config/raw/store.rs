//! `[store]` of the file.

use super::*;

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawStore {
    kind: Text,
    durability: Text,
    urls: Option<Spanned<Vec<Spanned<String>>>>,
    prefix: Text,
    ca: Option<PathBuf>,
    key_file: Option<PathBuf>,
    old_key_file: Option<PathBuf>,
    ind: Option<Spanned<u8>>,
}

impl Raw {
    pub(super) fn store(&self, beside: &impl Fn(PathBuf) -> PathBuf) -> Result<Store, ConfigError> {
        let raw = &self.store;
        let kind = raw.kind.as_ref().map_or("sqlite", |kind| kind.get_ref());
        let kind = match (kind, &raw.urls, &raw.kind) {
            ("memory", None, _) => StoreKind::Memory,
            ("sqlite", None, _) => StoreKind::Sqlite,
            ("memory" | "sqlite", Some(urls), _) => return self.fault(urls.span(), "urls: are for kind = \"redis\""),
            ("redis", Some(urls), _) if !urls.get_ref().is_empty() => StoreKind::Redis(Redis {
                urls: self.read_all(urls.get_ref(), crate::config::store::url)?,
                prefix: match &raw.prefix {
                    Some(text) => self.read(text, crate::config::store::prefix)?,
                    None => "imscript".to_string(),
                },
                ca: raw.ca.clone().map(beside),
            }),
            ("redis", _, Some(kind)) => return self.fault(kind.span(), "kind = \"redis\" needs urls"),
            (_, _, kind) => {
                let span = kind.as_ref().map_or(0..0, Spanned::span);
                return self.fault(span, "kind: one of sqlite, redis, memory");
            }
        };
        let durability = match &raw.durability {
            Some(text) => self.read(text, str::parse)?,
            None => Durability::Commit,
        };
        if let (StoreKind::Redis(_), None, Some(kind)) = (&kind, &raw.key_file, &raw.kind) {
            return self.fault(
                kind.span(),
                "kind = \"redis\" needs key_file, the same for all nodes, for example one of `openssl rand -hex 32`",
            );
        }
        let ind = match &raw.ind {
            Some(ind) if *ind.get_ref() > 31 => return self.fault(ind.span(), "ind: 0 to 31"),
            ind => ind.as_ref().map(|ind| *ind.get_ref()),
        };
        let [key_file, old_key_file] = [&raw.key_file, &raw.old_key_file].map(|file| file.clone().map(beside));
        Ok(Store { kind, durability, key_file, old_key_file, ind })
    }
}
