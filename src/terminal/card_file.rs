//! The card's SQN array in a file, so that a terminal on the command line stays the same card from run to run.

use super::usim::SqnArray;
use crate::identity::Impi;
use serde::{Deserialize, Serialize};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

#[derive(Debug, thiserror::Error)]
pub enum CardFileError {
    #[error("{path}: {source}")]
    File { path: PathBuf, source: std::io::Error },
    #[error("{path} is no card file: {why}")]
    Malformed { path: PathBuf, why: String },
    #[error("{path} is the card of {owner}")]
    OtherCard { path: PathBuf, owner: String },
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Card {
    impi: String,
    /// Highest SEQ accepted for each IND.
    seq: SqnArray,
}

/// The array in the file; a fresh one if there is no file yet.
pub fn load(path: &Path, impi: &Impi) -> Result<SqnArray, CardFileError> {
    let text = match std::fs::read(path) {
        Ok(text) => text,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(SqnArray::fresh()),
        Err(source) => return Err(CardFileError::File { path: path.to_owned(), source }),
    };
    let card: Card = serde_json::from_slice(&text)
        .map_err(|error| CardFileError::Malformed { path: path.to_owned(), why: error.to_string() })?;
    if card.impi != impi.as_str() {
        return Err(CardFileError::OtherCard { path: path.to_owned(), owner: card.impi });
    }
    Ok(card.seq)
}

/// Replaces the file in one step: a card that is half written would accept old challenges.
pub fn save(path: &Path, impi: &Impi, seq: &SqnArray) -> Result<(), CardFileError> {
    let failed = |source| CardFileError::File { path: path.to_owned(), source };
    let card = Card { impi: impi.as_str().to_owned(), seq: seq.clone() };
    let text = serde_json::to_vec(&card)
        .map_err(|error| CardFileError::Malformed { path: path.to_owned(), why: error.to_string() })?;
    let mut beside = path.as_os_str().to_owned();
    beside.push(".new");
    let beside = PathBuf::from(beside);
    std::fs::write(&beside, text).map_err(failed)?;
    std::fs::rename(&beside, path).map_err(failed)
}
