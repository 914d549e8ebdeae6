//! A reply document in the client's words, edited as it streams by. Pure.
//!
//! A push parser: the output is the same for any split of the input, and what is held back is
//! bounded (one tag, one text, one common prefix, one entry whose key comes last). Everything but the texts of the elements in
//! [`Slot`] goes through byte for byte, keys above all. What is no well-formed XML is refused
//! rather than passed on, since then nobody knows what it names.

mod slots;

use quick_xml::escape::unescape;
use smallvec::SmallVec;

use crate::s3::Code;
use crate::s3::listed;
use crate::s3::xml::escaped;
use slots::{Action, Document};

pub use slots::Slot;

/// Deepest nesting of a reply; S3's deepest (an ACL) is 6.
const DEPTH_MAX: usize = 16;

/// Most bytes that are held back: a tag, the text of an element of interest, a common prefix, an
/// entry up to its key. A key of 1024 bytes takes at most 6 KiB, percent-encoded or escaped.
const HELD_MAX: usize = 16 << 10;

/// Why a reply cannot be put into the client's words.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotRewritable {
    /// Not well-formed, or a document type.
    #[error("the reply is not well-formed XML")]
    NotXml,
    /// Nested deeper than any S3 document.
    #[error("the reply is nested deeper than {DEPTH_MAX} elements")]
    TooDeep,
    /// A tag or text longer than any S3 document's.
    #[error("the reply has a tag or text longer than {HELD_MAX} bytes")]
    TooLong,
    /// The end came before the root was closed.
    #[error("the reply ended before its document did")]
    Truncated,
}

/// What an [`Edits::edit`] gets to see.
#[derive(Clone, Copy, Debug)]
pub struct Near<'a> {
    /// The element's text, unescaped.
    pub text: &'a str,
    /// The key that it belongs to, its own bytes: of the entry it stands in, or of the marker before
    /// it; for [`Slot::NextContinuation`] the last key or common prefix listed. `None` where the
    /// document named none.
    pub key: Option<&'a [u8]>,
}

/// How a reply is edited.
pub struct Edits<F> {
    /// The listing was asked for with `encoding-type=url`: keys in it are as [`listed`] says.
    pub url_keys: bool,
    /// A common prefix that the client has already: left out of the listing.
    pub without_prefix: Option<Vec<u8>>,
    /// Says an element's text in the client's words; `None` leaves it as it is.
    pub edit: F,
}

/// A reply under way.
pub struct Rewriter<F> {
    edits: Edits<F>,
    document: &'static Document,
    /// Whether anything came at all.
    begun: bool,
    /// The root's name, once it was opened.
    root: Option<String>,
    /// Names of the open elements below the root, joined by `/`.
    path: String,
    /// Length of `path` before each open element; the root is the first.
    ends: SmallVec<[usize; DEPTH_MAX]>,
    /// Markup that is not complete yet, from its `<` on.
    markup: Vec<u8>,
    /// The quote that is open in `markup`.
    quote: Option<u8>,
    /// The innermost open element, where it is one of interest.
    capture: Option<Capture>,
    /// Output that waits for a verdict: a common prefix.
    group: Option<Vec<u8>>,
    /// Whether an entry is open, and so a key may still come.
    in_entry: bool,
    /// Output that waits for an entry's key, from the first id on that came before it.
    keyless: Option<Keyless>,
    /// The element that is written last.
    deferred: Option<Deferred>,
    key: Option<Vec<u8>>,
    last_key: Option<Vec<u8>>,
    last_prefix: Option<Vec<u8>>,
    code: String,
}

/// An element of interest whose end has not come yet.
struct Capture {
    action: Action,
    /// Its open tag, not written yet.
    tag: Vec<u8>,
    /// Its text as it stands in the document, escaped.
    text: Vec<u8>,
}

/// The part of an entry that begins with an id of a key not known yet.
#[derive(Default)]
struct Keyless {
    out: Vec<u8>,
    ids: SmallVec<[KeylessId; 2]>,
}

/// An id, and where its text belongs in the output.
struct KeylessId {
    at: usize,
    slot: Slot,
    text: String,
    /// As it stood in the document.
    raw: String,
}

/// An element that is written before the root's end.
struct Deferred {
    slot: Slot,
    tag: Vec<u8>,
    text: String,
    end: Vec<u8>,
}

impl<F: FnMut(Slot, Near<'_>) -> Option<String>> Rewriter<F> {
    /// Begins a reply.
    pub fn new(edits: Edits<F>) -> Self {
        Self {
            edits,
            document: &Document::UNKNOWN,
            begun: false,
            root: None,
            path: String::new(),
            ends: SmallVec::new(),
            markup: Vec::new(),
            quote: None,
            capture: None,
            group: None,
            in_entry: false,
            keyless: None,
            deferred: None,
            key: None,
            last_key: None,
            last_prefix: None,
            code: String::new(),
        }
    }

    /// Takes the next bytes in and appends what is decided about.
    ///
    /// # Errors
    /// [`NotRewritable`]; nothing that follows can be trusted then, and the reply must be cut off.
    pub fn push(&mut self, mut input: &[u8], out: &mut Vec<u8>) -> Result<(), NotRewritable> {
        self.begun |= !input.is_empty();
        while !input.is_empty() {
            input = if self.markup.is_empty() { self.text(input, out)? } else { self.mark(input, out)? };
        }
        Ok(())
    }

    /// Ends the reply. Nothing is left to append: the document's own end has flushed everything.
    ///
    /// # Errors
    /// [`NotRewritable::Truncated`] where the document has not ended, or not begun: white space is
    /// what stores send ahead of it. An empty reply is whole.
    pub fn finish(self) -> Result<(), NotRewritable> {
        let whole = self.ends.is_empty() && self.markup.is_empty() && (self.root.is_some() || !self.begun);
        if whole { Ok(()) } else { Err(NotRewritable::Truncated) }
    }

    /// Text up to the next `<`; returns what follows.
    fn text<'i>(&mut self, input: &'i [u8], out: &mut Vec<u8>) -> Result<&'i [u8], NotRewritable> {
        let end = memchr::memchr(b'<', input);
        let (text, rest) = input.split_at(end.unwrap_or(input.len()));
        // Before and after the root there may be white space, and a byte order mark.
        let between =
            |byte: &u8| byte.is_ascii_whitespace() || (self.root.is_none() && b"\xef\xbb\xbf".contains(byte));
        if self.ends.is_empty() && !text.iter().all(between) {
            return Err(NotRewritable::NotXml);
        }
        self.characters(text, out)?;
        match rest.split_first() {
            Some((bracket, rest)) => {
                self.markup.push(*bracket);
                Ok(rest)
            }
            None => Ok(rest),
        }
    }

    fn characters(&mut self, text: &[u8], out: &mut Vec<u8>) -> Result<(), NotRewritable> {
        let Some(capture) = &mut self.capture else {
            let blank = self.document.rest == Action::Blank;
            return if blank { Ok(()) } else { self.write(text, out) };
        };
        if capture.text.len() + text.len() > HELD_MAX {
            return Err(NotRewritable::TooLong);
        }
        capture.text.extend_from_slice(text);
        Ok(())
    }

    /// Markup up to its end, if that is here; returns what follows.
    fn mark<'i>(&mut self, input: &'i [u8], out: &mut Vec<u8>) -> Result<&'i [u8], NotRewritable> {
        let mut bytes = input.iter();
        for byte in bytes.by_ref() {
            self.markup.push(*byte);
            if self.markup.len() > HELD_MAX {
                return Err(NotRewritable::TooLong);
            }
            if self.markup_ends(*byte) {
                let markup = std::mem::take(&mut self.markup);
                self.marked(&markup, out)?;
                self.markup = markup;
                self.markup.clear();
                break;
            }
        }
        Ok(bytes.as_slice())
    }

    fn markup_ends(&mut self, byte: u8) -> bool {
        let markup = self.markup.as_slice();
        if markup.starts_with(b"<!--") {
            return markup.len() >= 7 && markup.ends_with(b"-->");
        }
        if markup.starts_with(b"<![CDATA[") {
            return markup.ends_with(b"]]>");
        }
        if markup.starts_with(b"<?") {
            return markup.len() >= 4 && markup.ends_with(b"?>");
        }
        match (self.quote, byte) {
            (None, b'>') => return true,
            (None, b'"' | b'\'') => self.quote = Some(byte),
            (Some(quote), _) if quote == byte => self.quote = None,
            _ => {}
        }
        false
    }

    /// One complete piece of markup.
    fn marked(&mut self, markup: &[u8], out: &mut Vec<u8>) -> Result<(), NotRewritable> {
        let inner = |start: &[u8], end: &[u8]| markup.strip_prefix(start)?.strip_suffix(end);
        if let Some(text) = inner(b"<![CDATA[", b"]]>") {
            let text = std::str::from_utf8(text).map_err(|_| NotRewritable::NotXml)?;
            return match self.capture {
                Some(_) => self.characters(escaped(text).as_bytes(), out),
                None => self.write(markup, out),
            };
        }
        if inner(b"<!--", b"-->").is_some() || inner(b"<?", b"?>").is_some() {
            return if self.capture.is_some() { Ok(()) } else { self.write(markup, out) };
        }
        if markup.starts_with(b"<!") {
            return Err(NotRewritable::NotXml);
        }
        if let Some(name) = inner(b"</", b">") {
            return self.close(name_of(name)?, markup, out);
        }
        let name = name_of(inner(b"<", b">").ok_or(NotRewritable::NotXml)?)?;
        self.open(name, markup, out)
    }

    fn open(&mut self, name: &str, tag: &[u8], out: &mut Vec<u8>) -> Result<(), NotRewritable> {
        match self.capture.take() {
            None => {}
            Some(outer) if outer.action == Action::Blank => self.write(&outer.tag, out)?,
            Some(_) => return Err(NotRewritable::NotXml),
        }
        self.enter(name)?;
        let action = self.document.action(&self.path);
        match action {
            Action::Entry => (self.key, self.in_entry) = (None, true),
            Action::Group if self.edits.without_prefix.is_some() => self.group = Some(Vec::new()),
            _ => {}
        }
        let empty = tag.strip_suffix(b"/>");
        if matches!(action, Action::Pass | Action::Entry | Action::Group) {
            self.write(tag, out)?;
            return if empty.is_some() { self.close(name, b"", out) } else { Ok(()) };
        }
        // An empty element of interest is opened and closed, since it may get a text.
        let opened = empty.map_or_else(|| tag.to_vec(), |start| [start, b">"].concat());
        self.capture = Some(Capture { action, tag: opened, text: Vec::new() });
        match empty {
            Some(start) => self.close(name, &[b"</", raw_name(start), b">"].concat(), out),
            None => Ok(()),
        }
    }

    fn enter(&mut self, name: &str) -> Result<(), NotRewritable> {
        if self.ends.len() >= DEPTH_MAX {
            return Err(NotRewritable::TooDeep);
        }
        self.ends.push(self.path.len());
        if self.ends.len() == 1 {
            self.document = Document::of(name);
            let second = self.root.replace(name.to_owned()).is_some();
            return if second { Err(NotRewritable::NotXml) } else { Ok(()) };
        }
        if !self.path.is_empty() {
            self.path.push('/');
        }
        self.path.push_str(name);
        Ok(())
    }

    fn close(&mut self, name: &str, tag: &[u8], out: &mut Vec<u8>) -> Result<(), NotRewritable> {
        let end = self.ends.pop().ok_or(NotRewritable::NotXml)?;
        let at_root = self.ends.is_empty();
        let own = if at_root { self.root.as_deref() } else { self.path.rsplit('/').next() };
        if own != Some(name) {
            return Err(NotRewritable::NotXml);
        }
        if let Some(capture) = self.capture.take() {
            self.captured(&capture, tag, out)?;
        } else {
            if at_root && let Some(deferred) = self.deferred.take() {
                self.write_deferred(&deferred, out)?;
            }
            self.write(tag, out)?;
            match self.document.action(&self.path) {
                Action::Group => self.end_group(out),
                Action::Entry => {
                    self.in_entry = false;
                    self.end_keyless(out);
                }
                _ => {}
            }
        }
        self.path.truncate(end);
        Ok(())
    }

    /// The end of an element of interest.
    fn captured(&mut self, capture: &Capture, end: &[u8], out: &mut Vec<u8>) -> Result<(), NotRewritable> {
        let raw = std::str::from_utf8(&capture.text).map_err(|_| NotRewritable::NotXml)?;
        let text = unescape(raw).map_err(|_| NotRewritable::NotXml)?;
        let edited = match capture.action {
            Action::Edit(slot) if text.is_empty() && !slot.may_be_empty() => None,
            Action::Edit(slot) if slot.is_of_a_key() && self.in_entry && self.key.is_none() => {
                let id = KeylessId { at: 0, slot, text: text.into_owned(), raw: raw.to_owned() };
                return self.hold_id(id, (&capture.tag, end), out);
            }
            Action::Edit(slot) => (self.edits.edit)(slot, Near { text: &text, key: self.key.as_deref() }),
            Action::Defer(slot) if !text.is_empty() => {
                let (tag, end) = (capture.tag.clone(), end.to_vec());
                self.deferred = Some(Deferred { slot, tag, text: text.into_owned(), end });
                return Ok(());
            }
            Action::Message => Some(message_for(&self.code).to_owned()),
            Action::Blank => Some(String::new()),
            action => {
                self.remember(action, &text);
                if action == Action::Key {
                    self.end_keyless(out);
                }
                None
            }
        };
        let edited = edited.as_deref().map(escaped);
        self.write(&capture.tag, out)?;
        self.write(edited.as_deref().unwrap_or(raw).as_bytes(), out)?;
        self.write(end, out)
    }

    fn remember(&mut self, action: Action, text: &str) {
        let slot = match action {
            Action::Key => &mut self.key,
            Action::LastKey => &mut self.last_key,
            Action::LastPrefix => &mut self.last_prefix,
            Action::Code => return text.clone_into(&mut self.code),
            _ => return,
        };
        // What was asked for decides: `MinIO` says its `EncodingType` behind all keys.
        let key = if self.edits.url_keys { listed::plain(text) } else { text.as_bytes().into() };
        *slot = Some(key.into_owned());
    }

    /// The next page begins after the last entry: the greater of the last key and the last prefix,
    /// since each kind is in order.
    fn write_deferred(&mut self, deferred: &Deferred, out: &mut Vec<u8>) -> Result<(), NotRewritable> {
        let last = self.last_key.as_deref().max(self.last_prefix.as_deref());
        let edited = (self.edits.edit)(deferred.slot, Near { text: &deferred.text, key: last });
        self.write(&deferred.tag, out)?;
        self.write(escaped(edited.as_deref().unwrap_or(&deferred.text)).as_bytes(), out)?;
        self.write(&deferred.end, out)
    }

    fn end_group(&mut self, out: &mut Vec<u8>) {
        if let Some(group) = self.group.take()
            && self.last_prefix != self.edits.without_prefix
        {
            out.extend_from_slice(&group);
        }
    }

    /// An id whose key has not come: its text is said when that is known.
    fn hold_id(
        &mut self,
        id: KeylessId,
        (tag, end): (&[u8], &[u8]),
        out: &mut Vec<u8>,
    ) -> Result<(), NotRewritable> {
        self.keyless.get_or_insert_default();
        self.write(tag, out)?;
        if let Some(held) = &mut self.keyless {
            let ids: usize = held.ids.iter().map(|id| id.raw.len()).sum();
            if held.out.len() + ids + id.raw.len() > HELD_MAX {
                return Err(NotRewritable::TooLong);
            }
            held.ids.push(KeylessId { at: held.out.len(), ..id });
        }
        self.write(end, out)
    }

    /// The key is known, or the entry has ended without one.
    fn end_keyless(&mut self, out: &mut Vec<u8>) {
        let Some(held) = self.keyless.take() else { return };
        let mut written = 0;
        for id in &held.ids {
            out.extend_from_slice(held.out.get(written..id.at).unwrap_or_default());
            written = id.at;
            let near = Near { text: &id.text, key: self.key.as_deref() };
            let edited = (self.edits.edit)(id.slot, near).as_deref().map(escaped);
            out.extend_from_slice(edited.as_deref().unwrap_or(&id.raw).as_bytes());
        }
        out.extend_from_slice(held.out.get(written..).unwrap_or_default());
    }

    fn write(&mut self, bytes: &[u8], out: &mut Vec<u8>) -> Result<(), NotRewritable> {
        let held = self.group.as_mut().or_else(|| self.keyless.as_mut().map(|keyless| &mut keyless.out));
        let Some(held) = held else {
            out.extend_from_slice(bytes);
            return Ok(());
        };
        if held.len() + bytes.len() > HELD_MAX {
            return Err(NotRewritable::TooLong);
        }
        held.extend_from_slice(bytes);
        Ok(())
    }
}

/// An element's name without its namespace prefix, from inside its tag.
fn name_of(inside: &[u8]) -> Result<&str, NotRewritable> {
    let end =
        inside.iter().position(|byte| byte.is_ascii_whitespace() || *byte == b'/').unwrap_or(inside.len());
    let name = inside.get(..end).and_then(|name| std::str::from_utf8(name).ok()).unwrap_or_default();
    let name = name.rsplit(':').next().unwrap_or_default();
    if name.is_empty() { Err(NotRewritable::NotXml) } else { Ok(name) }
}

/// The name as an end tag needs it, from `<name attributes`.
fn raw_name(start: &[u8]) -> &[u8] {
    let inside = start.strip_prefix(b"<").unwrap_or(start);
    inside.split(u8::is_ascii_whitespace).next().unwrap_or_default()
}

fn message_for(code: &str) -> &'static str {
    Code::parse(code).map_or("The request was refused.", Code::message)
}

#[cfg(test)]
mod tests;
