//! Subscribers from a CSV file: all of it, or nothing if any of it cannot be taken.
//!
//! The header line names the columns, in any order; several public identities are separated by spaces.
//! Every bad line is found before anything is written, and named by number, column and reason.

use super::field::Fields;
use super::subscriber::Subscriber;
use super::{Conflict, EmbeddedError, Subscribers};
use crate::clock::Now;
use crate::identity::{Impi, Impu};
use csv::{ByteRecord, ReaderBuilder};
use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::io::Read;
use zeroize::Zeroizing;

const COLUMNS: [&str; 11] =
    ["impi", "impu", "algorithm", "k", "opc", "op", "sqn", "amf", "password", "broadcast", "service"];

/// A line that cannot be taken.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{line}: {why}")]
pub struct BadLine {
    pub line: u64,
    pub why: String,
}

impl BadLine {
    fn new(line: u64, why: impl Into<String>) -> Self {
        BadLine { line, why: why.into() }
    }
}

#[derive(Debug, thiserror::Error)]
pub enum ImportError {
    /// In order of line.
    #[error("{} bad lines", .0.len())]
    Bad(Vec<BadLine>),
    #[error("cannot be read: {0}")]
    Read(std::io::Error),
    #[error(transparent)]
    Store(#[from] EmbeddedError),
}

/// A whole file, checked by itself.
#[derive(Debug)]
pub struct Import {
    subscribers: Vec<Subscriber>,
    lines: Vec<u64>,
}

impl Import {
    pub fn read(mut input: impl Read) -> Result<Self, ImportError> {
        let mut text = Zeroizing::new(Vec::new());
        input.read_to_end(&mut text).map_err(ImportError::Read)?;
        if text.iter().filter(|octet| **octet == b'"').count() % 2 != 0 {
            // The reader would take the rest of the file for one field.
            let last = text.iter().rposition(|octet| *octet == b'"').unwrap_or_default();
            let line = text[..last].iter().filter(|octet| **octet == b'\n').count() as u64 + 1;
            return Err(ImportError::Bad(vec![BadLine::new(line, "a quote is not closed".to_string())]));
        }
        let mut reader = ReaderBuilder::new().has_headers(false).flexible(true).from_reader(text.as_slice());
        let mut lines = Lines { text: &text, at: 0, line: 1 };
        let mut record = ByteRecord::new();
        let mut columns = None;
        let mut parsed = Parsed::default();
        while reader.read_byte_record(&mut record).map_err(read_error)? {
            let line = lines.of(&record);
            match &columns {
                None => columns = Some(header(&record).map_err(|why| ImportError::Bad(vec![BadLine::new(line, why)]))?),
                Some(columns) => parsed.line(line, columns, &record),
            }
        }
        if columns.is_none() {
            return Err(ImportError::Bad(vec![BadLine::new(
                1,
                format!("no header line; columns: {}", COLUMNS.join(",")),
            )]));
        }
        if parsed.bad.is_empty() { Ok(parsed.import) } else { Err(ImportError::Bad(parsed.bad)) }
    }

    pub fn len(&self) -> usize {
        self.subscribers.len()
    }

    pub fn is_empty(&self) -> bool {
        self.subscribers.is_empty()
    }

    /// Provisions them all, or none; see [`Subscribers::provision`].
    pub fn store(
        &self,
        subscribers: &Subscribers,
        now: Now,
        replace: bool,
        progress: &mut dyn FnMut(usize),
    ) -> Result<(), ImportError> {
        let conflicts = subscribers.provision(&self.subscribers, now, replace, progress)?;
        if conflicts.is_empty() {
            return Ok(());
        }
        let bad = |(index, conflict): (usize, Conflict)| {
            let line = self.lines.get(index).copied().unwrap_or_default();
            BadLine::new(
                line,
                match conflict {
                    Conflict::Exists(_) => format!("impi: {conflict}"),
                    Conflict::ImpuTaken { .. } => format!("impu: {conflict}"),
                    Conflict::SqnUsedUp => format!("sqn: {conflict}"),
                },
            )
        };
        Err(ImportError::Bad(conflicts.into_iter().map(bad).collect()))
    }
}

/// Counts lines as an editor does: the reader's own count leaves out blank ones.
struct Lines<'a> {
    text: &'a [u8],
    at: usize,
    line: u64,
}

impl Lines<'_> {
    /// The line on which this record begins; records come in order.
    fn of(&mut self, record: &ByteRecord) -> u64 {
        let start = record.position().and_then(|position| usize::try_from(position.byte()).ok()).unwrap_or_default();
        // The reader sets the start to behind the last record, before any line ends that it skips.
        let skipped =
            self.text.get(start..).unwrap_or_default().iter().take_while(|b| matches!(b, b'\r' | b'\n')).count();
        let start = start.saturating_add(skipped);
        let passed = self.text.get(self.at..start).unwrap_or_default();
        self.line += passed.iter().filter(|b| **b == b'\n').count() as u64;
        self.at = start;
        self.line
    }
}

fn read_error(error: csv::Error) -> ImportError {
    match error.into_kind() {
        csv::ErrorKind::Io(cause) => ImportError::Read(cause),
        other => ImportError::Read(std::io::Error::other(format!("{other:?}"))),
    }
}

struct Parsed {
    import: Import,
    bad: Vec<BadLine>,
    impis: HashMap<Impi, u64>,
    impus: HashMap<Impu, u64>,
}

impl Default for Parsed {
    fn default() -> Self {
        let import = Import { subscribers: Vec::new(), lines: Vec::new() };
        Parsed { import, bad: Vec::new(), impis: HashMap::new(), impus: HashMap::new() }
    }
}

impl Parsed {
    fn line(&mut self, line: u64, columns: &[usize], record: &ByteRecord) {
        match subscriber(columns, record).and_then(|subscriber| self.unique(line, subscriber)) {
            Ok(subscriber) => {
                self.import.subscribers.push(subscriber);
                self.import.lines.push(line);
            }
            Err(why) => self.bad.push(BadLine::new(line, why)),
        }
    }

    /// No identity may be in the file twice.
    fn unique(&mut self, line: u64, subscriber: Subscriber) -> Result<Subscriber, String> {
        match self.impis.entry(subscriber.impi.clone()) {
            Entry::Occupied(first) => return Err(format!("impi: {} is on line {} already", first.key(), first.get())),
            Entry::Vacant(entry) => entry.insert(line),
        };
        for impu in subscriber.impus.iter() {
            match self.impus.entry(impu.clone()) {
                Entry::Occupied(first) => return Err(format!("impu: {impu} is on line {} already", first.get())),
                Entry::Vacant(entry) => entry.insert(line),
            };
        }
        Ok(subscriber)
    }
}

/// The index into [`COLUMNS`] of every field of a line.
fn header(record: &ByteRecord) -> Result<Vec<usize>, String> {
    let mut columns = Vec::new();
    for (index, name) in record.iter().enumerate() {
        let name = if index == 0 { name.strip_prefix("\u{feff}".as_bytes()).unwrap_or(name) } else { name };
        let name = String::from_utf8_lossy(name).trim().to_ascii_lowercase();
        let Some(column) = COLUMNS.iter().position(|column| *column == name) else {
            return Err(format!("unknown column {name:?}; columns: {}", COLUMNS.join(",")));
        };
        if columns.contains(&column) {
            return Err(format!("column {name} is there twice"));
        }
        columns.push(column);
    }
    for needed in ["impi", "impu", "algorithm"] {
        if !columns.iter().any(|column| COLUMNS.get(*column) == Some(&needed)) {
            return Err(format!("no column {needed} in the header line"));
        }
    }
    Ok(columns)
}

fn subscriber(columns: &[usize], record: &ByteRecord) -> Result<Subscriber, String> {
    if record.len() != columns.len() {
        return Err(format!("{} fields, the header line has {}", record.len(), columns.len()));
    }
    let mut fields = Fields::default();
    for (column, value) in columns.iter().zip(record) {
        let name = COLUMNS.get(*column).copied().unwrap_or_default();
        let value = std::str::from_utf8(value).map_err(|_| format!("column {name}: not UTF-8"))?;
        let trimmed = value.trim();
        match name {
            "impi" => fields.impi = trimmed,
            "impu" => fields.impu = trimmed,
            "algorithm" => fields.algorithm = trimmed,
            "k" => fields.k = trimmed,
            "opc" => fields.opc = trimmed,
            "op" => fields.op = trimmed,
            "sqn" => fields.sqn = trimmed,
            "amf" => fields.amf = trimmed,
            "password" => fields.password = value, // a blank may belong to it
            "broadcast" => fields.broadcast = trimmed,
            _ => fields.service = trimmed,
        }
    }
    fields.subscriber().map_err(|error| format!("column {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "a@h,sip:a@h,milenage,465b5ce8b199b49faa5f0a2ee238a6bc,cd63cb71954a9f4e48a5994e37a02baf";

    fn read(text: &str) -> Result<Import, Vec<String>> {
        Import::read(text.as_bytes()).map_err(|error| match error {
            ImportError::Bad(lines) => lines.iter().map(BadLine::to_string).collect(),
            other => vec![other.to_string()],
        })
    }

    #[test]
    fn byte_order_mark_crlf_quotes_and_column_order_are_tolerated() {
        let text = "\u{feff}\"broadcast\",IMPU,impi,algorithm,password\r\n\
                    \"svc1;svc2\",\"sip:b@h tel:+1234\",b@h,digest,\"a \"\"b\"\", c\"\r\n\r\n\
                    no,sip:c@h,c@h,digest,x\r\n";
        let import = read(text).unwrap();
        assert_eq!((import.len(), import.lines.as_slice()), (2, &[2, 4][..]));
        let super::super::Credentials::Digest(password) = &import.subscribers[0].credentials else {
            panic!("not digest")
        };
        assert_eq!(password.as_bytes(), b"a \"b\", c");
    }

    #[test]
    fn every_bad_line_is_named() {
        let text = format!(
            "impi,impu,algorithm,k,opc\n{GOOD}\n\nb@h,sip:b@h,milenage,1,2\n{GOOD}\nc@h,sip:a@h{}\nd@h\n",
            GOOD.strip_prefix("a@h,sip:a@h").unwrap()
        );
        assert_eq!(
            read(&text).unwrap_err(),
            [
                "4: column k: 1 hex digits, 32 needed",
                "5: impi: a@h is on line 2 already",
                "6: impu: sip:a@h is on line 2 already",
                "7: 1 fields, the header line has 5",
            ]
        );
    }

    #[test]
    fn a_bad_header_is_refused() {
        for (text, why) in [
            ("", "1: no header line"),
            ("impi,impu,algorithm,ki\n", "1: unknown column \"ki\""),
            ("impi,impu,impi,algorithm\n", "1: column impi is there twice"),
            ("impi,k\n", "1: no column impu"),
            ("a@h,sip:a@h\n", "1: unknown column \"a@h\""),
        ] {
            let lines = read(text).unwrap_err();
            assert!(lines[0].starts_with(why), "{lines:?}");
        }
    }

    #[test]
    fn octets_that_are_not_text_are_a_bad_line() {
        let mut text = b"impi,impu,algorithm,password\nx@h,sip:x@h,digest,".to_vec();
        text.push(0xff);
        let Err(ImportError::Bad(lines)) = Import::read(text.as_slice()) else { panic!("taken") };
        assert_eq!(lines, [BadLine::new(2, "column password: not UTF-8")]);
    }
}
