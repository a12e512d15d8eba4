//! A small, bounded reading of XML (rank 0): what comes from outside becomes a tree of local names, or a refusal.
//!
//! No DTD and so no entities of one's own, no external anything; size, depth, nodes and attributes are limited.
//! Namespaces are ignored (the schemas of the documents read here are known only in part), unknown elements are kept, and
//! with [`Element::copy`] passed on as they came. Text is wiped when dropped, because a key document holds a key.

use quick_xml::Reader;
use quick_xml::XmlVersion;
use quick_xml::events::{BytesStart, Event};
use std::borrow::Cow;
use std::ops::Range;
use zeroize::Zeroizing;

pub mod limits {
    pub const SIZE: usize = 64 * 1024;
    pub const DEPTH: usize = 32;
    /// Elements of the whole document.
    pub const NODES: usize = 2_000;
    /// Attributes of one element.
    pub const ATTRIBUTES: usize = 64;
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum XmlError {
    #[error("the document is larger than {} octets", limits::SIZE)]
    TooLarge,
    #[error("the document is nested deeper than {} elements", limits::DEPTH)]
    TooDeep,
    #[error("the document has more than {} elements", limits::NODES)]
    TooManyNodes,
    #[error("an element has more than {} attributes", limits::ATTRIBUTES)]
    TooManyAttributes,
    #[error("a document type declaration is not accepted")]
    Dtd,
    #[error("reference to an undeclared entity")]
    UnknownEntity,
    #[error("the document is not UTF-8")]
    NotUtf8,
    #[error("the document is not well-formed")]
    Malformed,
}

/// An element: local names only.
#[derive(Default)]
pub struct Element {
    pub name: String,
    pub attributes: Vec<(String, String)>,
    pub children: Vec<Element>,
    /// All character data directly inside, in order.
    pub text: Zeroizing<String>,
    /// Where its content lies in the document.
    content: Range<usize>,
    /// `xmlns` attributes as they came.
    namespaces: Vec<(String, String)>,
}

impl Element {
    pub fn attribute(&self, name: &str) -> Option<&str> {
        self.attributes.iter().find(|(have, _)| have == name).map(|(_, value)| value.as_str())
    }

    pub fn named<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a Element> {
        self.children.iter().filter(move |child| child.name == name)
    }

    pub fn child(&self, name: &str) -> Option<&Element> {
        self.children.iter().find(|child| child.name == name)
    }

    /// The element as text of its own, without its other attributes: its content as it came, and every namespace declared
    /// that its prefixes may need. `within`: the elements around it, outermost first.
    pub fn copy(&self, document: &[u8], within: &[&Element]) -> String {
        let mut declared: Vec<&(String, String)> = Vec::new();
        for element in within.iter().copied().chain([self]) {
            for namespace in &element.namespaces {
                declared.retain(|outer| outer.0 != namespace.0);
                declared.push(namespace);
            }
        }
        let declared: String = declared.iter().map(|(name, uri)| format!(" {name}=\"{}\"", escape(uri))).collect();
        let content = document.get(self.content.clone()).and_then(|octets| std::str::from_utf8(octets).ok());
        format!("<{0}{declared}>{1}</{0}>", self.name, content.unwrap_or_default())
    }

    /// Trimmed text of the first child of that name.
    pub fn text_of(&self, name: &str) -> Option<&str> {
        self.child(name).map(|child| child.text.trim())
    }
}

/// Names only: texts may be secret.
impl std::fmt::Debug for Element {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "<{}>", self.name)?;
        f.debug_list().entries(&self.children).finish()
    }
}

/// Reads a document; the answer is its root element.
pub fn parse(document: &[u8]) -> Result<Element, XmlError> {
    if document.len() > limits::SIZE {
        return Err(XmlError::TooLarge);
    }
    let text = std::str::from_utf8(document).map_err(|_| XmlError::NotUtf8)?;
    // XML 1.0 §2.2: these never stand in a document, and quick-xml lets them pass.
    if text.chars().any(|c| (c < ' ' && !matches!(c, '\t' | '\n' | '\r')) || matches!(c, '\u{fffe}' | '\u{ffff}')) {
        return Err(XmlError::Malformed);
    }
    let bare = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mark = text.len() - bare.len();
    let mut reader = Reader::from_str(bare);
    reader.config_mut().check_comments = true;
    let mut open: Vec<Element> = Vec::new();
    let mut root: Option<Element> = None;
    let mut nodes = 0usize;
    loop {
        let before = position(&reader, mark);
        let event = reader.read_event().map_err(|_| XmlError::Malformed)?;
        let after = position(&reader, mark);
        nodes += usize::from(matches!(event, Event::Start(_) | Event::Empty(_)));
        if nodes > limits::NODES {
            return Err(XmlError::TooManyNodes);
        }
        match event {
            Event::Start(start) => {
                if open.len() >= limits::DEPTH {
                    return Err(XmlError::TooDeep);
                }
                if open.is_empty() && root.is_some() {
                    return Err(XmlError::Malformed);
                }
                open.push(Element { content: after..after, ..element(&start)? });
            }
            Event::Empty(start) => {
                if open.len() >= limits::DEPTH {
                    return Err(XmlError::TooDeep);
                }
                close(element(&start)?, &mut open, &mut root)?;
            }
            Event::End(_) => {
                let mut done = open.pop().ok_or(XmlError::Malformed)?;
                done.content.end = before;
                close(done, &mut open, &mut root)?;
            }
            Event::Text(text) => add_text(&mut open, &text.xml10_content())?,
            Event::CData(data) if !open.is_empty() => add_text(&mut open, &data.xml10_content())?,
            Event::GeneralRef(reference) => {
                let mut buffer = [0u8; 4];
                let resolved = match reference.resolve_char_ref().map_err(|_| XmlError::Malformed)? {
                    Some(c) if c < ' ' && !matches!(c, '\t' | '\n' | '\r') => return Err(XmlError::Malformed),
                    Some(c) => &*c.encode_utf8(&mut buffer),
                    None => predefined(&reference.xml10_content()).ok_or(XmlError::UnknownEntity)?,
                };
                match open.last_mut() {
                    Some(element) => element.text.push_str(resolved),
                    None => return Err(XmlError::Malformed),
                }
            }
            Event::DocType(_) => return Err(XmlError::Dtd),
            Event::CData(_) => return Err(XmlError::Malformed),
            Event::Comment(_) | Event::PI(_) | Event::Decl(_) => {}
            Event::Eof => break,
        }
    }
    match root {
        Some(root) if open.is_empty() => Ok(root),
        _ => Err(XmlError::Malformed),
    }
}

fn position(reader: &Reader<&[u8]>, mark: usize) -> usize {
    usize::try_from(reader.buffer_position()).unwrap_or(usize::MAX).saturating_add(mark)
}

fn element(start: &BytesStart<'_>) -> Result<Element, XmlError> {
    let mut element = Element { name: start.local_name().as_ref().to_string(), ..Element::default() };
    if element.name.is_empty() {
        return Err(XmlError::Malformed);
    }
    for attribute in start.attributes() {
        let attribute = attribute.map_err(|_| XmlError::Malformed)?;
        if element.attributes.len() >= limits::ATTRIBUTES {
            return Err(XmlError::TooManyAttributes);
        }
        let name = attribute.key.as_ref();
        if name == "xmlns" || name.starts_with("xmlns:") {
            let uri = attribute.normalized_value(XmlVersion::Explicit1_0).map_err(|_| XmlError::UnknownEntity)?;
            element.namespaces.push((name.to_string(), uri.into_owned()));
            continue;
        }
        let value = attribute.normalized_value(XmlVersion::Explicit1_0).map_err(|_| XmlError::UnknownEntity)?;
        element.attributes.push((attribute.key.local_name().as_ref().to_string(), value.into_owned()));
    }
    Ok(element)
}

fn close(done: Element, open: &mut [Element], root: &mut Option<Element>) -> Result<(), XmlError> {
    match open.last_mut() {
        Some(parent) => parent.children.push(done),
        None if root.is_none() => *root = Some(done),
        None => return Err(XmlError::Malformed),
    }
    Ok(())
}

fn add_text(open: &mut [Element], text: &str) -> Result<(), XmlError> {
    match open.last_mut() {
        Some(element) => element.text.push_str(text),
        None if text.trim().is_empty() => {}
        None => return Err(XmlError::Malformed),
    }
    Ok(())
}

fn predefined(name: &str) -> Option<&'static str> {
    Some(match name {
        "lt" => "<",
        "gt" => ">",
        "amp" => "&",
        "apos" => "'",
        "quot" => "\"",
        _ => return None,
    })
}

/// Escapes for text and attribute values; characters that XML cannot hold are dropped.
pub fn escape(text: &str) -> Cow<'_, str> {
    let plain = |b: u8| b >= b' ' && !matches!(b, b'<' | b'>' | b'&' | b'"' | b'\'');
    if text.is_ascii() && text.bytes().all(plain) {
        return text.into();
    }
    let mut out = String::with_capacity(text.len() + 8);
    for c in text.chars() {
        match c {
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '&' => out.push_str("&amp;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&apos;"),
            '\t' | '\n' | '\r' => out.push(' '),
            c if c < ' ' || matches!(c, '\u{fffe}' | '\u{ffff}') => {}
            c => out.push(c),
        }
    }
    out.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tree_without_namespaces() {
        let root =
            parse(b"<?xml version=\"1.0\"?><p:A xmlns:p='u' p:x='1&lt;2' y=\"\"><p:B> t&amp;&#65; </p:B><C/></p:A>")
                .unwrap();
        assert_eq!(root.name, "A");
        assert_eq!(root.attribute("x"), Some("1<2"));
        assert_eq!(root.attribute("y"), Some(""));
        assert_eq!(root.text_of("B"), Some("t&A"));
        assert_eq!(root.named("C").count(), 1);
        assert_eq!(root.attributes.len(), 2);
    }

    #[test]
    fn an_element_is_passed_on_as_it_came() {
        let document =
            "\u{feff}<s:A xmlns:s='u' xmlns:x='1&amp;2'><s:B a='1'><x:c>&lt;é</x:c><![CDATA[]]></s:B><s:D/></s:A>";
        let root = parse(document.as_bytes()).unwrap();
        let copy = |name| root.child(name).unwrap().copy(document.as_bytes(), &[&root]);
        let declared = "xmlns:s=\"u\" xmlns:x=\"1&amp;2\"";
        assert_eq!(copy("B"), format!("<B {declared}><x:c>&lt;é</x:c><![CDATA[]]></B>"));
        assert_eq!(copy("D"), format!("<D {declared}></D>"));
        assert!(parse(copy("B").as_bytes()).is_ok());
    }

    #[test]
    fn dtd_and_entities_are_refused() {
        let laughs = b"<!DOCTYPE l [<!ENTITY a \"ha\"><!ENTITY b \"&a;&a;&a;\">]><l>&b;</l>";
        assert_eq!(parse(laughs).unwrap_err(), XmlError::Dtd);
        assert_eq!(parse(b"<!DOCTYPE x SYSTEM \"file:///etc/passwd\"><x/>").unwrap_err(), XmlError::Dtd);
        assert_eq!(parse(b"<x>&b;</x>").unwrap_err(), XmlError::UnknownEntity);
        assert_eq!(parse(b"<x y=\"&b;\"/>").unwrap_err(), XmlError::UnknownEntity);
    }

    #[test]
    fn limits_hold() {
        let deep = [b"<a>".repeat(33), b"</a>".repeat(33)].concat();
        assert_eq!(parse(&deep).unwrap_err(), XmlError::TooDeep);
        let fits = [b"<a>".repeat(32), b"</a>".repeat(32)].concat();
        assert!(parse(&fits).is_ok());
        let many = [&b"<a>"[..], &b"<b/>".repeat(2_000), b"</a>"].concat();
        assert_eq!(parse(&many).unwrap_err(), XmlError::TooManyNodes);
        assert_eq!(parse(&vec![b' '; limits::SIZE + 1]).unwrap_err(), XmlError::TooLarge);
        let attributes: String = (0..65).map(|n| format!(" a{n}='1'")).collect();
        assert_eq!(parse(format!("<a{attributes}/>").as_bytes()).unwrap_err(), XmlError::TooManyAttributes);
    }

    #[test]
    fn not_well_formed() {
        for text in [
            "",
            "x",
            "<a>",
            "<a></b>",
            "<a/><b/>",
            "<a/>x",
            "<a x='1' x='2'/>",
            "<a x=1/>",
            "</a>",
            "<a>\u{1}</a>",
            "<a>&#0;</a>",
            "<a>&#1;</a>",
            "< a/>",
            "<![CDATA[x]]>",
            "<a/>&amp;",
        ] {
            assert!(parse(text.as_bytes()).is_err(), "{text}");
        }
        assert_eq!(parse(b"<a>\xff</a>").unwrap_err(), XmlError::NotUtf8);
    }

    proptest::proptest! {
        #[test]
        fn any_text_is_read_or_refused(text in "(<[/!?]?[a-c:]{0,3}|>|/>|&[a-z#0-9]{0,4};?|<!\\[CDATA\\[|\\]\\]>|--|[a ='\"]){0,40}") {
            let _ = parse(text.as_bytes());
        }

        #[test]
        fn escaped_text_comes_back(text in "[^\\x00-\\x1f\u{fffe}\u{ffff}]{0,40}") {
            let root = parse(format!("<a b=\"{0}\">{0}</a>", escape(&text)).as_bytes()).unwrap();
            proptest::prop_assert_eq!(root.text.as_str(), &text);
            proptest::prop_assert_eq!(root.attribute("b"), Some(text.as_str()));
        }
    }
}
