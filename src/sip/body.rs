//! Parts of a multipart body (RFC 2046 §5.1, RFC 5621), binary safe and bounded. One level: a multipart inside is
//! one part.
use super::header::{HeaderError, HeaderName, MediaType, same_name};
use super::message::limits;
use super::scan::{find_line_end, is_blank, split_once, trim};

/// One body part (RFC 2046 §5.1).
#[derive(Debug, Clone, Copy)]
pub struct Part<'a> {
    /// Content-Type value raw; empty if absent.
    pub content_type: &'a [u8],
    pub headers: &'a [u8],
    pub content: &'a [u8],
}

impl<'a> Part<'a> {
    /// Raw value of one of the part's header fields.
    pub fn header(&self, name: &str) -> Option<&'a [u8]> {
        let id = HeaderName::from_bytes(name.as_bytes());
        Fields(self.headers)
            .find(|(n, _)| match id {
                HeaderName::Other => same_name(n, name.as_bytes()),
                id => HeaderName::from_bytes(n) == id,
            })
            .map(|(_, value)| value)
    }

    /// text/plain if the part does not say (RFC 2046 §5.1).
    pub fn media_type(&self) -> Result<MediaType<'a>, HeaderError> {
        MediaType::parse(if self.content_type.is_empty() { b"text/plain" } else { self.content_type })
    }

    /// Content-Disposition without its parameters.
    pub fn disposition(&self) -> Option<&'a [u8]> {
        self.header("Content-Disposition").map(|value| trim(split_once(value, b';').0))
    }

    /// `7bit`, `8bit`, `binary`, `base64`, …
    pub fn transfer_encoding(&self) -> Option<&'a [u8]> {
        self.header("Content-Transfer-Encoding")
    }
}

/// Header fields of a part: (name, value), folds kept.
struct Fields<'a>(&'a [u8]);

impl<'a> Iterator for Fields<'a> {
    type Item = (&'a [u8], &'a [u8]);
    fn next(&mut self) -> Option<Self::Item> {
        while !self.0.is_empty() {
            let mut end = 0;
            loop {
                end = next_line(self.0, end);
                if !matches!(self.0.get(end), Some(b' ' | b'\t')) {
                    break;
                }
            }
            let (field, rest) = self.0.split_at(end);
            self.0 = rest;
            if let (name, Some(value)) = split_once(field, b':') {
                return Some((trim(name), trim(value)));
            }
        }
        None
    }
}

/// Where the line behind the one at `at` begins.
fn next_line(text: &[u8], at: usize) -> usize {
    let mut from = at;
    while let Some(end) = find_line_end(text, from) {
        if text.get(end) == Some(&b'\n') {
            return end + 1;
        }
        from = end + 1;
    }
    text.len()
}

pub(super) fn parts<'a>(content_type: Option<&'a [u8]>, body: &'a [u8]) -> Result<Vec<Part<'a>>, HeaderError> {
    if body.is_empty() {
        return Ok(Vec::new());
    }
    let whole = Part { content_type: content_type.unwrap_or_default(), headers: b"", content: body };
    let media = whole.media_type()?;
    if !media.is_multipart() {
        return Ok(vec![whole]);
    }
    let bad = |why| HeaderError::new("body", why);
    let boundary =
        media.params.get("boundary").filter(|b| (1..=70).contains(&b.len())).ok_or(bad("no proper boundary"))?;

    let mut found = Vec::new();
    let mut open: Option<usize> = None;
    let mut at = 0;
    while at < body.len() {
        let next = next_line(body, at);
        if let Some(last) = delimiter(&body[at..next], &boundary) {
            if let Some(from) = open.replace(next) {
                if found.len() == limits::PARTS {
                    return Err(bad("too many parts"));
                }
                // The line end before a delimiter belongs to the delimiter.
                let text = body.get(from..at).unwrap_or_default();
                let text = text.strip_suffix(b"\n").map_or(text, |t| t.strip_suffix(b"\r").unwrap_or(t));
                found.push(part(text).ok_or(bad("a part has no empty line"))?);
            }
            if last {
                return if found.is_empty() { Err(bad("no part")) } else { Ok(found) };
            }
        }
        at = next;
    }
    Err(bad("the last boundary is missing"))
}

/// Whether a line is a delimiter, and if so whether it is the last one.
fn delimiter(line: &[u8], boundary: &[u8]) -> Option<bool> {
    let rest = line.strip_prefix(b"--")?.strip_prefix(boundary)?;
    let (last, padding) = match rest.strip_prefix(b"--") {
        Some(padding) => (true, padding),
        None => (false, rest),
    };
    padding.iter().all(|&b| is_blank(b)).then_some(last)
}

fn part(text: &[u8]) -> Option<Part<'_>> {
    let mut at = 0;
    loop {
        let next = next_line(text, at);
        if matches!(text.get(at..next)?, b"" | b"\n" | b"\r\n") {
            // A text that ends before the empty line does has lost it to the delimiter: no content.
            let headers = text.get(..at)?;
            let content = text.get(next..)?;
            let content_type = Part { content_type: b"", headers, content }.header("Content-Type").unwrap_or_default();
            return Some(Part { content_type, headers, content });
        }
        if next == text.len() && text.last() != Some(&b'\n') {
            return None;
        }
        at = next;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TYPE: Option<&[u8]> = Some(b"multipart/related; boundary=\"b :1\"");

    #[test]
    fn preamble_epilogue_and_binary() {
        let body = b"ignored\r\n--b :1 \t\r\nC: text/plain\r\ncontent-disposition: render;x=y\r\n\r\n\0\r\r\n--b :12\r\n\n\r\n--b :1\r\n\r\nbare\n--b :1--\r\nepilogue\r\n--b :1\r\n";
        let parts = parts(TYPE, body).unwrap();
        assert_eq!(parts.len(), 3 - 1);
        assert_eq!(parts[0].content, b"\0\r\r\n--b :12\r\n\n");
        assert_eq!(parts[0].content_type, b"text/plain");
        assert_eq!(parts[0].disposition(), Some(&b"render"[..]));
        assert_eq!(parts[1].content, b"bare");
        assert!(parts[1].media_type().unwrap().is("text/plain"));
    }

    #[test]
    fn bodies_that_are_not_multipart() {
        assert!(parts(None, b"").unwrap().is_empty());
        let one = parts(Some(b"application/sdp"), b"v=0\r\n").unwrap();
        assert_eq!((one.len(), one[0].content, one[0].content_type), (1, &b"v=0\r\n"[..], &b"application/sdp"[..]));
        assert_eq!(parts(None, b"x").unwrap().len(), 1);
    }

    #[test]
    fn empty_parts_and_bare_headers() {
        let got = parts(TYPE, b"--b :1\r\n\r\n--b :1\r\nX: y\r\n\r\n--b :1\r\n--b :1--").unwrap();
        assert!(got.iter().all(|p| p.content.is_empty()));
        assert_eq!((got.len(), got[1].header("x")), (3, Some(&b"y"[..])));
        let folded = parts(TYPE, b"--b :1\r\nX: y\r\n z\r\nContent-Type:\r\n a/b\r\n\r\nc\r\n--b :1--").unwrap();
        assert_eq!((folded[0].content_type, folded[0].header("X")), (&b"a/b"[..], Some(&b"y\r\n z"[..])));
    }

    #[test]
    fn refused() {
        let many = b"--b :1\r\n\r\n".repeat(18);
        for body in [
            &b"no boundary"[..],
            b"--b :1\r\n\r\nopen",
            b"--b :1--\r\n",
            b"--b :1\r\nX: y\r\n--b :1--x",
            b"--b :1\r\nX: y--b :1--",
            &many,
        ] {
            assert!(parts(TYPE, body).is_err(), "{body:?}");
        }
        assert!(parts(Some(b"multipart/mixed"), b"x").is_err());
        assert!(parts(Some(b"multipart/mixed;boundary="), b"x").is_err());
        assert!(parts(Some(format!("multipart/mixed;boundary={}", "b".repeat(71)).as_bytes()), b"x").is_err());
        assert!(parts(Some(b"nonsense"), b"x").is_err());
    }
}
