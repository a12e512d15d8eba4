//! Reading what others may have put there: policies, plugins, their tests and settings.
//!
//! Only regular files, and within a bound: opening a pipe waits for somebody to write to it, a device may never end, and
//! whoever reads here must not stand still for either.

use std::fs::{File, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

/// `O_NONBLOCK` of open(2), so that a pipe that takes the file's place after the look at it is not waited for.
const NONBLOCK: i32 = if cfg!(any(target_os = "linux", target_os = "android")) { 0o4000 } else { 4 };

/// Opens a regular file for reading, and nothing else.
pub(crate) fn open(path: &Path) -> io::Result<File> {
    let regular = |meta: std::fs::Metadata| match meta.is_file() {
        true => Ok(()),
        false => Err(io::Error::new(io::ErrorKind::InvalidInput, "not a regular file")),
    };
    // To open a device may already do something.
    std::fs::metadata(path).and_then(regular)?;
    let file = OpenOptions::new().read(true).custom_flags(NONBLOCK).open(path)?;
    file.metadata().and_then(regular)?;
    Ok(file)
}

/// The text of a regular file, of at most so many octets ([`io::ErrorKind::FileTooLarge`]).
pub(crate) fn text(path: &Path, most: usize) -> io::Result<String> {
    let mut octets = Vec::new();
    open(path)?.take((most as u64).saturating_add(1)).read_to_end(&mut octets)?;
    if octets.len() > most {
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, format!("longer than {} KiB", most / 1024)));
    }
    String::from_utf8(octets).map_err(|_| io::Error::new(io::ErrorKind::InvalidData, "not text in UTF-8"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::process::Command;

    #[test]
    fn only_regular_files_within_the_bound() {
        let dir = tempfile::tempdir().unwrap();
        let path = |name: &str| dir.path().join(name);
        fs::write(path("file"), "é".repeat(512)).unwrap();
        assert_eq!(text(&path("file"), 1024).unwrap().len(), 1024);
        assert_eq!(text(&path("file"), 1023).unwrap_err().kind(), io::ErrorKind::FileTooLarge);
        fs::write(path("octets"), [0xff]).unwrap();
        assert!(text(&path("octets"), 9).unwrap_err().to_string().contains("UTF-8"));
        assert!(Command::new("mkfifo").arg(path("pipe")).status().unwrap().success());
        std::os::unix::fs::symlink(path("pipe"), path("link")).unwrap();
        for other in [path("pipe"), path("link"), dir.path().to_owned(), "/dev/zero".into()] {
            assert_eq!(text(&other, 9).unwrap_err().to_string(), "not a regular file", "{}", other.display());
        }
        assert_eq!(text(&path("absent"), 9).unwrap_err().kind(), io::ErrorKind::NotFound);
    }
}
