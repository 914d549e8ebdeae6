//! A request head as nearpoint sees it: method, raw target, fields over one buffer. Pure.
//!
//! Every room above the doors knows this type and no HTTP library's. The target's bytes are kept
//! as they came (`//`, `.`, `..`, `%2F`, `+`), since they are key bytes and signed bytes.

pub mod strict;

use bytes::Bytes;
use http::Method;
use smallvec::SmallVec;

/// A request head, inbound or outbound.
#[derive(Clone, PartialEq, Eq)]
pub struct Head {
    method: Method,
    /// Targets, then names and values of fields, back to back.
    buffer: Vec<u8>,
    /// Path, `?`, query.
    target: Span,
    path: Span,
    /// Without the `?`; `None` where the target has none.
    query: Option<Span>,
    fields: SmallVec<[FieldSpan; 24]>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Span {
    start: u32,
    end: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct FieldSpan {
    name: Span,
    value: Span,
}

/// One header field: a lower-case name and the value's bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Field<'a> {
    /// Lower-case.
    pub name: &'a str,
    /// Without the white space around it.
    pub value: &'a [u8],
}

impl<'a> Field<'a> {
    /// The value as text, where it is UTF-8.
    #[must_use]
    pub fn text(&self) -> Option<&'a str> {
        std::str::from_utf8(self.value).ok()
    }
}

impl Head {
    /// A head with no fields. `target` is the origin form: path, and query after the first `?`.
    #[must_use]
    pub fn new(method: Method, target: &str) -> Self {
        let mut head = Self {
            method,
            buffer: Vec::with_capacity(target.len() + 1024),
            target: Span { start: 0, end: 0 },
            path: Span { start: 0, end: 0 },
            query: None,
            fields: SmallVec::new(),
        };
        match target.split_once('?') {
            Some((path, query)) => head.set_target(path, Some(query)),
            None => head.set_target(target, None),
        }
        head
    }

    /// The method, case kept.
    #[must_use]
    pub fn method(&self) -> &Method {
        &self.method
    }

    /// The raw path: `/bucket//a%2Fb/../c`.
    #[must_use]
    pub fn path(&self) -> &str {
        self.text(self.path)
    }

    /// The raw query, without its `?`.
    #[must_use]
    pub fn query(&self) -> Option<&str> {
        self.query.map(|span| self.text(span))
    }

    /// Path and query as they go on the wire.
    #[must_use]
    pub fn target(&self) -> &str {
        self.text(self.target)
    }

    /// Replaces path and query.
    pub fn set_target(&mut self, path: &str, query: Option<&str>) {
        self.path = self.append(path.as_bytes());
        self.query = query.map(|query| {
            self.append(b"?");
            self.append(query.as_bytes())
        });
        self.target = Span { end: self.query.unwrap_or(self.path).end, ..self.path };
    }

    /// Replaces the method.
    pub fn set_method(&mut self, method: Method) {
        self.method = method;
    }

    /// All fields, in the order in which they came.
    pub fn fields(&self) -> impl Iterator<Item = Field<'_>> + Clone {
        self.fields.iter().map(|field| Field { name: self.text(field.name), value: self.slice(field.value) })
    }

    /// How many fields there are, repeats counted.
    #[must_use]
    pub fn field_count(&self) -> usize {
        self.fields.len()
    }

    /// All values of one name (lower-case), in order.
    pub fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a [u8]> + Clone {
        self.fields().filter(move |field| field.name == name).map(|field| field.value)
    }

    /// The first value of one name (lower-case).
    #[must_use]
    pub fn first(&self, name: &str) -> Option<&[u8]> {
        self.fields
            .iter()
            .find(|field| self.slice(field.name) == name.as_bytes())
            .map(|field| self.slice(field.value))
    }

    /// The first value of one name (lower-case) as text; `None` also where it is not UTF-8.
    #[must_use]
    pub fn first_text(&self, name: &str) -> Option<&str> {
        self.first(name).and_then(|value| std::str::from_utf8(value).ok())
    }

    /// How often one name (lower-case) occurs.
    #[must_use]
    pub fn count(&self, name: &str) -> usize {
        self.fields.iter().filter(|field| self.slice(field.name) == name.as_bytes()).count()
    }

    /// Adds a field; the name is lower-cased, white space around the value is dropped.
    pub fn push(&mut self, name: &str, value: &[u8]) {
        let name = self.append(name.as_bytes());
        if let Some(bytes) = self.buffer.get_mut(name.start as usize..name.end as usize) {
            bytes.make_ascii_lowercase();
        }
        let value = self.append(value.trim_ascii());
        self.fields.push(FieldSpan { name, value });
    }

    /// Removes every field of one name (lower-case).
    pub fn remove(&mut self, name: &str) {
        let buffer = &self.buffer;
        self.fields.retain(|field| {
            buffer.get(field.name.start as usize..field.name.end as usize) != Some(name.as_bytes())
        });
    }

    /// Keeps the fields that `keep` says.
    pub fn retain(&mut self, mut keep: impl FnMut(Field<'_>) -> bool) {
        let fields = std::mem::take(&mut self.fields);
        self.fields = fields
            .into_iter()
            .filter(|field| keep(Field { name: self.text(field.name), value: self.slice(field.value) }))
            .collect();
    }

    /// Replaces every field of one name (lower-case) by one.
    pub fn set(&mut self, name: &str, value: &[u8]) {
        self.remove(name);
        self.push(name, value);
    }

    /// Takes the head apart into pieces of one shared buffer, for who speaks to an HTTP library.
    #[must_use]
    pub fn into_pieces(self) -> Pieces {
        let buffer = Bytes::from(self.buffer);
        Pieces { method: self.method, target: piece(&buffer, self.target), fields: self.fields, buffer }
    }

    fn append(&mut self, bytes: &[u8]) -> Span {
        let start = self.buffer.len();
        self.buffer.extend_from_slice(bytes);
        Span { start: offset(start), end: offset(self.buffer.len()) }
    }

    fn slice(&self, span: Span) -> &[u8] {
        self.buffer.get(span.start as usize..span.end as usize).unwrap_or_default()
    }

    /// Spans of names and targets came in as `&str`.
    fn text(&self, span: Span) -> &str {
        std::str::from_utf8(self.slice(span)).unwrap_or_default()
    }
}

/// A head taken apart: nothing in it is copied any more.
pub struct Pieces {
    /// The method, case kept.
    pub method: Method,
    /// Path and query.
    pub target: Bytes,
    fields: SmallVec<[FieldSpan; 24]>,
    buffer: Bytes,
}

impl Pieces {
    /// How many fields there are, repeats counted.
    #[must_use]
    pub fn field_count(&self) -> usize {
        self.fields.len()
    }

    /// Names (lower-case) and values, in order.
    pub fn fields(&self) -> impl Iterator<Item = (&[u8], Bytes)> {
        self.fields.iter().map(|field| {
            let name = self.buffer.get(field.name.start as usize..field.name.end as usize);
            (name.unwrap_or_default(), piece(&self.buffer, field.value))
        })
    }
}

/// A span of a shared buffer; empty where it is none of the buffer's.
fn piece(buffer: &Bytes, span: Span) -> Bytes {
    let range = span.start as usize..span.end as usize;
    if buffer.get(range.clone()).is_some() { buffer.slice(range) } else { Bytes::new() }
}

/// Heads are capped at 32 KiB long before they come here; a longer buffer yields empty spans.
fn offset(at: usize) -> u32 {
    u32::try_from(at).unwrap_or(u32::MAX)
}

/// Never shows values: they may be credentials.
impl std::fmt::Debug for Head {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let names: Vec<&str> = self.fields().map(|field| field.name).collect();
        f.debug_struct("Head")
            .field("method", &self.method)
            .field("path", &self.path())
            .field("fields", &names)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_target_keeps_its_bytes() {
        for target in ["/b//a/./..%2F+/?x=1?2&y", "/b/é?", "/", "/b/a%20b"] {
            assert_eq!(Head::new(Method::GET, target).target(), target);
        }
    }

    #[test]
    fn pieces_say_what_the_head_said() {
        let mut head = Head::new(Method::PUT, "/first");
        head.set_target("/b/k", Some("x=1"));
        head.push("X-A", b"1");
        head.push("x-gone", b"2");
        head.remove("x-gone");
        let pieces = head.into_pieces();
        assert_eq!((&pieces.method, &*pieces.target), (&Method::PUT, &b"/b/k?x=1"[..]));
        assert_eq!(pieces.fields().collect::<Vec<_>>(), [(&b"x-a"[..], Bytes::from_static(b"1"))]);
    }

    #[test]
    fn repeated_fields_keep_their_order() {
        let mut head = Head::new(Method::PUT, "/");
        head.push("X-Amz-Meta-A", b" 2 ");
        head.push("host", b"h");
        head.push("x-amz-meta-a", b"1");
        assert_eq!(head.all("x-amz-meta-a").collect::<Vec<_>>(), [b"2", b"1"]);
        assert_eq!(head.count("x-amz-meta-a"), 2);
        head.set("x-amz-meta-a", b"3");
        assert_eq!(head.all("x-amz-meta-a").collect::<Vec<_>>(), [b"3"]);
        assert_eq!(head.first_text("host"), Some("h"));
    }
}
