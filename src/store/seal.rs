//! Secrets at rest: keys and passwords are sealed before they go into a store (AES-256-GCM), so that who has its files, a
//! backup or an account on its servers has nobody's keys. Without a key file they lie there in the clear, marked as such.
//!
//! Whoever puts a secret into an entity calls this. A sealed value is bound to its place by its *context* ([`context`]):
//! moved to another subscriber it does not open.
//!
//! The text: `s1.` and base64 of nonce, sealed octets and tag; or `p1.` and base64 of the octets as they are.

use super::Key;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use ring::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use std::cell::RefCell;
use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Read, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use zeroize::Zeroizing;

const SEALED: &str = "s1.";
const PLAIN: &str = "p1.";
const KEY_LEN: usize = 32;
/// Octets of a key file that are read: a key is a line of 64 at most.
const FILE_MAX: u64 = 256;

/// None of these has a secret in it.
#[derive(Debug, thiserror::Error)]
pub enum SealError {
    #[error("key file {}: {cause}", path.display())]
    File { path: PathBuf, cause: std::io::Error },
    #[error("key file {} can be read by others than its owner (mode {mode:03o}): chmod 600 it", path.display())]
    Exposed { path: PathBuf, mode: u32 },
    #[error("key file {}: one line of 64 hexadecimal digits, or 32 octets in base64, is a key", .0.display())]
    NotAKey(PathBuf),
    #[error("{0} is sealed, and there is no key file")]
    NoKey(String),
    #[error("{0} does not open: it was sealed with another key or for another place, or was altered")]
    Refused(String),
    #[error("{0} is no sealed value")]
    Form(String),
    #[error("the operating system gives no random numbers")]
    Random,
}

/// Where a value lies: it opens nowhere else.
pub fn context(key: &Key, field: &str) -> String {
    let plain = |octet: u8| matches!(octet, b' '..=b'~') && !matches!(octet, b'"' | b'\\' | b'\'');
    match key.name.bytes().all(plain) {
        // The same, much faster: nothing in it has to be escaped.
        true => [key.class.as_str(), " \"", &key.name, "\" ", field].concat(),
        false => format!("{key} {field}"),
    }
}

/// How a process seals. The key stays in memory as long as this does.
pub struct Seal {
    key: Option<LessSafeKey>,
    /// Opens what was sealed before the key was changed.
    old: Option<Box<Seal>>,
}

impl std::fmt::Debug for Seal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(if self.key.is_some() { "Seal(key)" } else { "Seal(none)" })
    }
}

impl Seal {
    /// Seals nothing: values lie in the clear.
    pub fn none() -> Self {
        Seal { key: None, old: None }
    }

    /// The key in this file, which has to be its owner's alone.
    pub fn from_file(path: &Path) -> Result<Self, SealError> {
        let failed = |cause| SealError::File { path: path.into(), cause };
        let file = crate::file::open(path).map_err(failed)?;
        let mode = file.metadata().map_err(failed)?.permissions().mode() & 0o777;
        if mode & 0o077 != 0 {
            return Err(SealError::Exposed { path: path.into(), mode });
        }
        let mut text = Zeroizing::new(Vec::with_capacity(FILE_MAX as usize));
        file.take(FILE_MAX).read_to_end(&mut text).map_err(failed)?;
        let octets = key_octets(text.trim_ascii()).ok_or_else(|| SealError::NotAKey(path.into()))?;
        Seal::from_octets(&octets).ok_or_else(|| SealError::NotAKey(path.into()))
    }

    /// The key in this file; if there is none, it is made with a key of its own. The file is on disk when this returns.
    pub fn create(path: &Path) -> Result<Self, SealError> {
        let failed = |cause| SealError::File { path: path.into(), cause };
        match std::fs::symlink_metadata(path) {
            Ok(_) => return Seal::from_file(path),
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(cause) => return Err(failed(cause)),
        }
        let mut octets = Zeroizing::new([0; KEY_LEN]);
        getrandom::fill(&mut *octets).map_err(|_| SealError::Random)?;
        let mut line = Zeroizing::new(String::with_capacity(2 * KEY_LEN + 1));
        octets.iter().flat_map(|octet| [octet >> 4, octet & 15]).for_each(|digit| line.extend(hex_digit(digit)));
        line.push('\n');
        // Whole under another name first: who starts after a crash, or at the same time, finds a key or none.
        let fresh = PathBuf::from(format!("{}.{}", path.display(), std::process::id()));
        let written = write_private(&fresh, line.as_bytes()).and_then(|()| match std::fs::hard_link(&fresh, path) {
            Err(error) if error.kind() != ErrorKind::AlreadyExists => Err(error),
            _ => Ok(()),
        });
        let _ = std::fs::remove_file(&fresh); // a leaving of no harm, for its owner only
        let dir = path.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."));
        written.and_then(|()| File::open(dir)?.sync_all()).map_err(failed)?;
        Seal::from_file(path)
    }

    /// Opens also what `old` has sealed: for the time in which a key is changed.
    pub fn with_old(self, old: Seal) -> Self {
        Seal { old: Some(Box::new(old)), ..self }
    }

    fn from_octets(octets: &[u8]) -> Option<Self> {
        let key = UnboundKey::new(&AES_256_GCM, octets).ok()?;
        Some(Seal { key: Some(LessSafeKey::new(key)), old: None })
    }

    /// Whether there is a key.
    pub fn seals(&self) -> bool {
        self.key.is_some()
    }

    /// Whether `text` is what [`Seal::seal`] would write today: sealed, if there is a key, and with this one.
    pub fn is_current(&self, context: &str, text: &str) -> bool {
        match &self.key {
            None => text.starts_with(PLAIN),
            Some(key) => text.strip_prefix(SEALED).is_some_and(|text| unseal(key, context, text).is_some()),
        }
    }

    pub fn seal(&self, context: &str, secret: &[u8]) -> Result<String, SealError> {
        let Some(key) = &self.key else { return Ok(format!("{PLAIN}{}", STANDARD.encode(secret))) };
        let nonce = fresh_nonce()?;
        let mut sealed = Zeroizing::new(Vec::with_capacity(NONCE_LEN + secret.len() + AES_256_GCM.tag_len()));
        sealed.extend_from_slice(&nonce);
        sealed.extend_from_slice(secret);
        let body = sealed.get_mut(NONCE_LEN..).unwrap_or_default();
        let tag = key
            .seal_in_place_separate_tag(Nonce::assume_unique_for_key(nonce), Aad::from(context.as_bytes()), body)
            .map_err(|_| SealError::Form(context.to_owned()))?;
        sealed.extend_from_slice(tag.as_ref());
        let mut text = String::with_capacity(SEALED.len() + sealed.len().div_ceil(3) * 4);
        text.push_str(SEALED);
        STANDARD.encode_string(&*sealed, &mut text);
        Ok(text)
    }

    /// What was sealed for this context, or lies there in the clear.
    pub fn open(&self, context: &str, text: &str) -> Result<Zeroizing<Vec<u8>>, SealError> {
        if let Some(text) = text.strip_prefix(PLAIN) {
            return STANDARD.decode(text).map(Zeroizing::new).map_err(|_| SealError::Form(context.to_owned()));
        }
        let sealed = text.strip_prefix(SEALED).ok_or_else(|| SealError::Form(context.to_owned()))?;
        let keys = [self.key.as_ref(), self.old.as_ref().and_then(|old| old.key.as_ref())];
        if keys.iter().all(Option::is_none) {
            return Err(SealError::NoKey(context.to_owned()));
        }
        let opened = keys.into_iter().flatten().find_map(|key| unseal(key, context, sealed));
        opened.ok_or_else(|| SealError::Refused(context.to_owned()))
    }
}

thread_local! {
    /// Nonces that nobody has had yet: the kernel is asked for many at a time.
    static NONCES: RefCell<Vec<[u8; NONCE_LEN]>> = const { RefCell::new(Vec::new()) };
}
const NONCES_AT_ONCE: usize = 64;

/// 96 random bits: up to 2³² values under one key they are as good as never the same (NIST SP 800-38D §8.3).
fn fresh_nonce() -> Result<[u8; NONCE_LEN], SealError> {
    NONCES.with_borrow_mut(|nonces| {
        if let Some(nonce) = nonces.pop() {
            return Ok(nonce);
        }
        let mut fresh = [[0; NONCE_LEN]; NONCES_AT_ONCE];
        getrandom::fill(fresh.as_flattened_mut()).map_err(|_| SealError::Random)?;
        let [last, others @ ..] = fresh;
        nonces.extend_from_slice(&others);
        Ok(last)
    })
}

fn unseal(key: &LessSafeKey, context: &str, base64: &str) -> Option<Zeroizing<Vec<u8>>> {
    let mut octets = Zeroizing::new(STANDARD.decode(base64).ok()?);
    let nonce = Nonce::try_assume_unique_for_key(octets.get(..NONCE_LEN)?).ok()?;
    let body = octets.get_mut(NONCE_LEN..)?;
    let opened = key.open_in_place(nonce, Aad::from(context.as_bytes()), body).ok()?;
    Some(Zeroizing::new(opened.to_vec()))
}

fn hex_digit(digit: u8) -> Option<char> {
    char::from_digit(u32::from(digit), 16)
}

/// 64 hexadecimal digits, or base64.
fn key_octets(line: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
    let mut octets = Zeroizing::new(Vec::with_capacity(FILE_MAX as usize));
    if line.len() == 2 * KEY_LEN {
        for pair in line.chunks_exact(2) {
            let digits = std::str::from_utf8(pair).ok().filter(|pair| pair.bytes().all(|c| c.is_ascii_hexdigit()))?;
            octets.push(u8::from_str_radix(digits, 16).ok()?);
        }
    } else {
        STANDARD.decode_vec(line, &mut octets).ok()?;
    }
    (octets.len() == KEY_LEN).then_some(octets)
}

fn write_private(path: &Path, octets: &[u8]) -> std::io::Result<()> {
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path)?;
    file.write_all(octets)?;
    file.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::Class;

    fn place() -> String {
        context(&Key::new(Class::Subscriber, "a@home1.net"), "k")
    }

    fn with_mode(dir: &Path, name: &str, text: &str, mode: u32) -> PathBuf {
        let path = dir.join(name);
        std::fs::write(&path, text).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
        path
    }

    #[test]
    fn what_is_sealed_opens_in_its_place_only() {
        let dir = tempfile::tempdir().unwrap();
        let seal = Seal::create(&dir.path().join("key")).unwrap();
        let text = seal.seal(&place(), b"\0secret").unwrap();
        assert!(text.starts_with("s1.") && seal.is_current(&place(), &text));
        assert_ne!(text, seal.seal(&place(), b"\0secret").unwrap(), "a nonce of its own");
        assert_eq!(**seal.open(&place(), &text).unwrap(), *b"\0secret");
        for other in [Key::new(Class::Subscriber, "b@home1.net"), Key::new(Class::User, "a@home1.net")] {
            assert!(matches!(seal.open(&context(&other, "k"), &text), Err(SealError::Refused(_))));
        }
        let why = seal.open(&context(&Key::new(Class::Subscriber, "a@home1.net"), "opc"), &text).unwrap_err();
        assert!(why.to_string().starts_with("subscriber \"a@home1.net\" opc does not open"), "{why}");

        let octets = STANDARD.decode(&text[3..]).unwrap();
        for at in 0..octets.len() {
            let mut altered = octets.clone();
            altered[at] ^= 1;
            let altered = format!("s1.{}", STANDARD.encode(altered));
            assert!(matches!(seal.open(&place(), &altered), Err(SealError::Refused(_))), "octet {at}");
        }
        for cut in ["s1.", "s1.AAAA", "s1.!"] {
            assert!(matches!(seal.open(&place(), cut), Err(SealError::Refused(_))), "{cut}");
        }
        for other in ["", "s2.AAAA", "p1.!", "secret"] {
            let why = seal.open(&place(), other).unwrap_err();
            assert!(matches!(why, SealError::Form(_)) && !why.to_string().contains("secret"), "{other}");
        }
    }

    #[test]
    fn the_place_of_a_value_is_written_the_same_the_long_way_and_the_short() {
        for name in ["a@home1.net", "", "a \"b\"", "a\\b", "a'b", "ä", "a\u{7f}", "a\nb"] {
            let key = Key::new(Class::User, name);
            assert_eq!(context(&key, "keys"), format!("user {name:?} keys"));
        }
    }

    #[test]
    fn in_the_clear_without_a_key_and_readable_once_there_is_one() {
        let plain = Seal::none().seal(&place(), b"secret").unwrap();
        let dir = tempfile::tempdir().unwrap();
        let seal = Seal::create(&dir.path().join("key")).unwrap();
        assert_eq!(**seal.open(&place(), &plain).unwrap(), *b"secret");
        assert!(Seal::none().is_current(&place(), &plain) && !seal.is_current(&place(), &plain));
        let sealed = seal.seal(&place(), b"secret").unwrap();
        let why = Seal::none().open(&place(), &sealed).unwrap_err().to_string();
        assert_eq!(why, "subscriber \"a@home1.net\" k is sealed, and there is no key file");
    }

    #[test]
    fn a_key_can_be_changed() {
        let dir = tempfile::tempdir().unwrap();
        let [old, new] = ["old", "new"].map(|name| dir.path().join(name));
        let text = Seal::create(&old).unwrap().seal(&place(), b"secret").unwrap();
        assert!(matches!(Seal::create(&new).unwrap().open(&place(), &text), Err(SealError::Refused(_))));
        let both = Seal::from_file(&new).unwrap().with_old(Seal::from_file(&old).unwrap());
        assert_eq!(**both.open(&place(), &text).unwrap(), *b"secret");
        assert!(!both.is_current(&place(), &text));
        let text = both.seal(&place(), b"secret").unwrap();
        assert!(Seal::from_file(&new).unwrap().open(&place(), &text).is_ok());
    }

    #[test]
    fn key_files_are_the_owners_and_whole() {
        let dir = tempfile::tempdir().unwrap();
        let (hex, base64) = ("0f".repeat(32), STANDARD.encode([15; 32]));
        let one = Seal::from_file(&with_mode(dir.path(), "hex", &format!("{hex}\n"), 0o600)).unwrap();
        let other = Seal::from_file(&with_mode(dir.path(), "base64", &format!("{base64}\r\n"), 0o400)).unwrap();
        let text = one.seal(&place(), b"secret").unwrap();
        assert!(other.open(&place(), &text).is_ok());
        assert_eq!(format!("{one:?}"), "Seal(key)");
        for mode in [0o640, 0o604, 0o660] {
            let why = Seal::from_file(&with_mode(dir.path(), "open", &hex, mode)).unwrap_err();
            assert!(matches!(why, SealError::Exposed { .. }) && why.to_string().contains("open can be read"), "{why}");
        }
        for text in ["", "0f", &hex[1..], &format!("{hex}0f"), &format!("+f{}", &hex[2..]), &base64[4..], "secret"] {
            let why = Seal::from_file(&with_mode(dir.path(), "bad", text, 0o600)).unwrap_err();
            assert!(matches!(why, SealError::NotAKey(_)) && !why.to_string().contains("secret"), "{text:?}: {why}");
        }
        let why = Seal::from_file(&dir.path().join("none")).unwrap_err().to_string();
        assert!(why.starts_with("key file /") && why.contains("none: "), "{why}");
        assert!(Seal::from_file(dir.path()).is_err());
    }

    #[test]
    fn a_made_key_is_kept_and_its_owners_alone() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("key");
        let text = Seal::create(&path).unwrap().seal(&place(), b"secret").unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert!(Seal::create(&path).unwrap().open(&place(), &text).is_ok());
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
    }
}
