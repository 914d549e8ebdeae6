//! A request head as nearpoint sees it: method, raw target, fields over two buffers. Pure.
//!
//! Every room above the doors knows this type and no HTTP library's. The target's bytes are kept
//! as they came (`//`, `.`, `..`, `%2F`, `+`), since they are key bytes and signed bytes.

pub mod strict;

use http::Method;

/// A request head, inbound or outbound.
#[derive(Clone, PartialEq, Eq)]
pub struct Head {
    method: Method,
    /// Targets, then the names of fields, back to back.
    text: String,
    /// The values of fields, back to back: bytes, since not all are text.
    values: Vec<u8>,
    /// Path, `?`, query.
    target: Span,
    path: Span,
    /// Without the `?`; `None` where the target has none.
    query: Option<Span>,
    fields: Vec<FieldSpan>,
    /// One bit for each name that was ever pushed ([`bit_of`]): what most questions ask for is not
    /// there, and then no field is looked at.
    pushed: u64,
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

impl Span {
    fn range(self) -> std::ops::Range<usize> {
        self.start as usize..self.end as usize
    }
}

impl FieldSpan {
    fn in_the<'a>(&self, text: &'a str, values: &'a [u8]) -> Field<'a> {
        Field {
            name: text.get(self.name.range()).unwrap_or_default(),
            value: values.get(self.value.range()).unwrap_or_default(),
        }
    }
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

/// Room for the names of an SDK's request, in bytes; longer ones grow.
const NAMES_USUAL: usize = 256;
/// Room for the values of an SDK's request, in bytes; longer ones grow.
const VALUES_USUAL: usize = 768;
/// Room for the fields of an SDK's request; more grow. Not within the head itself, which is handed
/// from room to room and copied each time.
const FIELDS_USUAL: usize = 16;

impl Head {
    /// A head with no fields. `target` is the origin form: path, and query after the first `?`.
    #[must_use]
    pub fn new(method: Method, target: &str) -> Self {
        let mut head = Self {
            method,
            text: String::with_capacity(target.len() + NAMES_USUAL),
            values: Vec::with_capacity(VALUES_USUAL),
            target: Span { start: 0, end: 0 },
            path: Span { start: 0, end: 0 },
            query: None,
            fields: Vec::with_capacity(FIELDS_USUAL),
            pushed: 0,
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
        self.path = self.append(path);
        self.query = query.map(|query| {
            self.append("?");
            self.append(query)
        });
        self.target = Span { end: self.query.unwrap_or(self.path).end, ..self.path };
    }

    /// Replaces the method.
    pub fn set_method(&mut self, method: Method) {
        self.method = method;
    }

    /// All fields, in the order in which they came.
    pub fn fields(&self) -> impl Iterator<Item = Field<'_>> + Clone {
        self.fields.iter().map(|field| field.in_the(&self.text, &self.values))
    }

    /// How many fields there are, repeats counted.
    #[must_use]
    pub fn field_count(&self) -> usize {
        self.fields.len()
    }

    /// All values of one name (lower-case), in order.
    pub fn all<'a>(&'a self, name: &str) -> impl Iterator<Item = &'a [u8]> + Clone {
        let spans = if self.may_have(name) { self.fields.as_slice() } else { &[] };
        let fields = spans.iter().map(|field| field.in_the(&self.text, &self.values));
        fields.filter(move |field| field.name == name).map(|field| field.value)
    }

    /// The first value of one name (lower-case).
    #[must_use]
    pub fn first(&self, name: &str) -> Option<&[u8]> {
        self.all(name).next()
    }

    /// The first value of one name (lower-case) as text; `None` also where it is not UTF-8.
    #[must_use]
    pub fn first_text(&self, name: &str) -> Option<&str> {
        self.first(name).and_then(|value| std::str::from_utf8(value).ok())
    }

    /// How often one name (lower-case) occurs.
    #[must_use]
    pub fn count(&self, name: &str) -> usize {
        self.all(name).count()
    }

    /// Whether a field of this name (lower-case) was ever pushed; sometimes also yes where not.
    fn may_have(&self, name: &str) -> bool {
        self.pushed & bit_of(name) != 0
    }

    /// Adds a field; the name is lower-cased, white space around the value is dropped.
    pub fn push(&mut self, name: &str, value: &[u8]) {
        let name = self.append(name);
        if let Some(name) = self.text.get_mut(name.range()) {
            name.make_ascii_lowercase();
            self.pushed |= bit_of(name);
        }
        let start = self.values.len();
        self.values.extend_from_slice(value.trim_ascii());
        let value = Span { start: offset(start), end: offset(self.values.len()) };
        self.fields.push(FieldSpan { name, value });
    }

    /// Removes every field of one name (lower-case).
    pub fn remove(&mut self, name: &str) {
        if self.may_have(name) {
            self.retain(|field| field.name != name);
        }
    }

    /// Keeps the fields that `keep` says.
    pub fn retain(&mut self, mut keep: impl FnMut(Field<'_>) -> bool) {
        let (text, values) = (&self.text, &self.values);
        self.fields.retain(|field| keep(field.in_the(text, values)));
    }

    /// Replaces every field of one name (lower-case) by one.
    pub fn set(&mut self, name: &str, value: &[u8]) {
        self.remove(name);
        self.push(name, value);
    }

    fn append(&mut self, text: &str) -> Span {
        let start = self.text.len();
        self.text.push_str(text);
        Span { start: offset(start), end: offset(self.text.len()) }
    }

    fn text(&self, span: Span) -> &str {
        self.text.get(span.range()).unwrap_or_default()
    }
}

/// The bit that stands for a name, by its length and its ends.
fn bit_of(name: &str) -> u64 {
    let ends = [name.bytes().next(), name.bytes().next_back()].map(|end| end.map_or(0, usize::from));
    let [first, last] = ends;
    1 << ((name.len() * 7 + first * 5 + last * 3) % 64)
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

    #[test]
    fn a_field_is_found_by_whatever_name_it_came() {
        let names: Vec<String> =
            (0..100_u32).map(|n| format!("{}-{}", "X".repeat(n as usize % 9), n)).collect();
        let mut head = Head::new(Method::GET, "/");
        for (at, name) in names.iter().enumerate() {
            let name = name.to_ascii_lowercase();
            assert_eq!((head.first(&name), head.count(&name)), (None, 0), "{name}");
            head.push(&names[at], b"v");
            assert_eq!((head.first(&name), head.count(&name)), (Some(&b"v"[..]), 1), "{name}");
        }
        for name in &names {
            head.remove(&name.to_ascii_lowercase());
        }
        assert_eq!(head.field_count(), 0);
    }
}
