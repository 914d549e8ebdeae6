//! A typed reader over the tree: each key is read as what it must be, each fault is written down,
//! and reading goes on.

use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

use super::context::Context;
use super::expand::{cause, expand};
use super::fault::Position;
use super::keys::Key;
use super::yaml::{Entry, Node, Value};
use crate::names::{ExposeSecret, Secret};
use crate::pem::{self, PemFault, PemFile};
use crate::units;

/// A value and where it stands.
#[derive(Clone, Debug)]
pub(super) struct Placed<T> {
    pub(super) at: Position,
    pub(super) value: T,
}

/// A text as it is written, for faults to quote, and as it is meant.
#[derive(Clone, Debug)]
pub(super) struct Text {
    pub(super) at: Position,
    pub(super) written: String,
    pub(super) value: String,
}

impl Text {
    /// A text that stands for itself: a key.
    pub(super) fn plain(at: Position, text: &str) -> Self {
        Self { at, written: text.to_owned(), value: text.to_owned() }
    }

    /// As faults quote it: as written, and without what a URL may hold of a password.
    pub(super) fn quoted(&self) -> String {
        quoted(&self.written)
    }
}

/// A value as faults quote it: what stands before an `@` or behind a `?` may be a secret, with a
/// scheme before it or without.
fn quoted(text: &str) -> String {
    let (before, text) = text.rsplit_once('@').map_or(("", text), |(_, host)| ("…@", host));
    match text.split_once('?') {
        Some((text, _)) => format!("`{before}{text}?…`"),
        None => format!("`{before}{text}`"),
    }
}

/// A key as faults quote it. In `{secret:hunter2}`, where a space is missing, all of it is the key.
pub(super) fn quoted_key(key: &str) -> String {
    match key.split_once(':') {
        Some((key, _)) => format!("{} (a space is missing after `:`)", quoted(key)),
        None => quoted(key),
    }
}

/// The word of a key that may be misspelt.
fn word_of(key: &str) -> &str {
    key.split_once(':').map_or(key, |(key, _)| key)
}

/// What the whole is called; sections of it need no "of".
pub(super) const TOP: &str = "the configuration";

/// YAML 1.1's merge key.
const MERGE: &str = "<<";

/// No wait is longer: beyond a day it is a mistake, and far beyond no clock can add it.
pub(super) const LONGEST: Duration = Duration::from_hours(24);

/// One map whose keys are known.
pub(super) struct Section<'a> {
    pub(super) context: &'a Context<'a>,
    /// Where it begins.
    pub(super) at: Position,
    /// What it is, for faults: "region `garage`".
    of: String,
    entries: &'a [Entry],
    /// A merge key stands in it: what is missing may be meant to come from there.
    merged: bool,
    /// It holds secrets: no value of it is quoted.
    secret: bool,
}

impl<'a> Section<'a> {
    /// Opens a map, writing down keys that are unknown, repeated or not acted on yet. An empty
    /// value is an empty map. `None` where it is neither.
    pub(super) fn open(
        context: &'a Context<'a>,
        node: &'a Node,
        keys: &[Key],
        of: impl Into<String>,
    ) -> Option<Self> {
        let of = of.into();
        let entries: &[Entry] = match &node.value {
            Value::Map(entries) => entries,
            Value::Null => &[],
            Value::Scalar(_) | Value::List(_) => {
                let known = names(keys).collect::<Vec<_>>().join(", ");
                context.fault(
                    node.at,
                    format!("{of} is {}", node.kind()),
                    format!("a map with the keys {known}"),
                );
                return None;
            }
        };
        let merged = entries.iter().any(|entry| entry.key == MERGE);
        let section = Self { context, at: node.at, of, entries, merged, secret: false };
        section.check_keys(keys);
        Some(section)
    }

    /// The same, where no value is ever quoted.
    pub(super) fn without_quotes(self) -> Self {
        Self { secret: true, ..self }
    }

    fn check_keys(&self, keys: &[Key]) {
        repeated(self.context, self.entries);
        for Entry { key, key_at, .. } in self.entries {
            match keys.iter().find(|known| known.name == key) {
                None if key == MERGE => {
                    self.context.fault(*key_at, "merge keys (`<<`) are not supported", "the keys themselves");
                }
                Some(Key { acted_on: true, .. }) => {}
                Some(_) => self.context.fault(
                    *key_at,
                    format!("`{key}` of {} is known, but this version does not act on it yet", self.of),
                    "it to be left out",
                ),
                None => {
                    let expected = format!("one of {}", names(keys).collect::<Vec<_>>().join(", "));
                    let what = format!("unknown key {} of {}", quoted_key(key), self.of);
                    self.context.fault_near(*key_at, what, expected, word_of(key), names(keys));
                }
            }
        }
    }

    /// What it is, for faults.
    pub(super) fn of(&self) -> &str {
        &self.of
    }

    /// There is nothing in it.
    pub(super) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// The value of a key, if the key is there: the first, where it is repeated.
    pub(super) fn node(&self, key: &str) -> Option<&'a Node> {
        self.entries.iter().find(|entry| entry.key == key).map(|entry| &entry.value)
    }

    /// Where a key stands; where the section begins, if it is not there.
    pub(super) fn position_of(&self, key: &str) -> Position {
        self.entries.iter().find(|entry| entry.key == key).map_or(self.at, |entry| entry.key_at)
    }

    /// Writes down that a key is missing, unless it is there (faulty, perhaps).
    pub(super) fn require(&self, key: &str, expected: &str) {
        // a key without its space after `:` is a fault already
        let glued = |entry: &Entry| entry.key != key && word_of(&entry.key) == key;
        if self.node(key).is_none() && !self.merged && !self.entries.iter().any(glued) {
            self.context.fault(self.at, format!("{} has no `{key}`", self.of), expected);
        }
    }

    /// A section within this one.
    pub(super) fn section(&self, key: &str, keys: &[Key]) -> Option<Section<'a>> {
        let of = if self.of == TOP { format!("`{key}`") } else { format!("`{key}` of {}", self.of) };
        Section::open(self.context, self.node(key)?, keys, of)
    }

    /// A text, its references replaced.
    pub(super) fn text(&self, key: &str, expected: &str) -> Option<Text> {
        text(self.context, self.node(key)?, &format!("`{key}` of {}", self.of), expected)
    }

    /// A text that no fault quotes, not empty.
    pub(super) fn secret(&self, key: &str) -> Option<Placed<Secret>> {
        secret(self.context, self.node(key)?, &format!("`{key}` of {}", self.of))
    }

    /// A text that `read` understands.
    pub(super) fn parsed<T>(
        &self,
        key: &str,
        expected: &str,
        read: impl FnOnce(&str) -> Option<T>,
    ) -> Option<Placed<T>> {
        let text = self.text(key, expected)?;
        let value = read(&text.value);
        if value.is_none() {
            self.wrong(key, &text, expected);
        }
        value.map(|value| Placed { at: text.at, value })
    }

    /// Writes down that a text is not what it should be.
    pub(super) fn wrong(&self, key: &str, text: &Text, expected: &str) {
        self.context.fault(text.at, self.seen(key, text), expected);
    }

    fn seen(&self, key: &str, text: &Text) -> String {
        let value = if self.secret { "something else".to_owned() } else { text.quoted() };
        format!("`{key}` of {} is {value}", self.of)
    }

    /// One of a few words.
    pub(super) fn word<T: Copy>(&self, key: &str, words: &[(&str, T)]) -> Option<Placed<T>> {
        let expected = alternatives(words.iter().map(|(word, _)| *word));
        let text = self.text(key, &expected)?;
        let found = words.iter().find(|(word, _)| *word == text.value);
        if found.is_none() {
            let what = self.seen(key, &text);
            let word = switch(&text.value, words.iter().map(|(word, _)| *word));
            self.context.fault_near(text.at, what, expected, word, words.iter().map(|(word, _)| *word));
        }
        found.map(|(_, value)| Placed { at: text.at, value: *value })
    }

    /// `true` or `false`; YAML 1.2 knows no other spelling of them.
    pub(super) fn boolean(&self, key: &str) -> Option<Placed<bool>> {
        self.word(key, &[("true", true), ("false", false)])
    }

    /// A whole number within `bounds`.
    pub(super) fn count(&self, key: &str, bounds: RangeInclusive<u32>) -> Option<u32> {
        let expected = format!("a whole number from {} to {}", bounds.start(), bounds.end());
        let read = |text: &str| text.parse().ok().filter(|count| bounds.contains(count));
        self.parsed(key, &expected, read).map(|placed| placed.value)
    }

    /// A duration of at least `least`, and [`LONGEST`] at most.
    pub(super) fn duration(&self, key: &str, least: Duration) -> Option<Duration> {
        let expected =
            format!("a duration such as 250ms, 30s, 10m or 24h, from {}ms to 24h", least.as_millis());
        let fits = |duration: &Duration| (least..=LONGEST).contains(duration);
        let read = |text: &str| units::duration(text).ok().filter(fits);
        self.parsed(key, &expected, read).map(|placed| placed.value)
    }

    /// A size within `bounds`, in bytes.
    pub(super) fn size(&self, key: &str, bounds: RangeInclusive<u64>) -> Option<units::ByteCount> {
        let [least, most] = [*bounds.start(), *bounds.end()].map(units::ByteCount);
        let expected = format!("a size such as 512, 32KiB, 1MiB or 5GiB, from {least} to {most}");
        let read = |text: &str| units::bytes(text).ok().filter(|size| bounds.contains(&size.0));
        self.parsed(key, &expected, read).map(|placed| placed.value)
    }

    /// A list; nothing where it is missing or empty.
    pub(super) fn list(&self, key: &str, expected: &str) -> &'a [Node] {
        match self.node(key) {
            None => &[],
            Some(node) => list(self.context, node, &format!("`{key}` of {}", self.of), expected),
        }
    }

    /// A list of texts, their references replaced; `expected` says what each should be.
    pub(super) fn texts(&self, key: &str, expected: &str) -> Vec<Text> {
        let of = format!("an entry of `{key}` of {}", self.of);
        let nodes = self.list(key, &format!("a list, each entry {expected}"));
        nodes.iter().filter_map(|node| text(self.context, node, &of, expected)).collect()
    }

    /// A list of texts that `read` understands; those that it does not are written down.
    pub(super) fn all_parsed<T>(
        &self,
        key: &str,
        expected: &str,
        read: impl Fn(&str) -> Option<T>,
    ) -> Vec<Placed<T>> {
        let read = |text: Text| {
            let value = read(&text.value);
            if value.is_none() {
                let what = format!("an entry of `{key}` of {} is {}", self.of, text.quoted());
                self.context.fault(text.at, what, expected);
            }
            value.map(|value| Placed { at: text.at, value })
        };
        self.texts(key, expected).into_iter().filter_map(read).collect()
    }

    /// A PEM file in which `holds` finds what it should hold.
    pub(super) fn pem<T>(
        &self,
        key: &str,
        holds: impl FnOnce(&PemFile) -> Result<T, PemFault>,
    ) -> Option<Placed<PemFile>> {
        let (path, Placed { at, value }) = self.file_text(key)?;
        let file = PemFile::new(path, Secret::from(value));
        match holds(&file) {
            Ok(_) => Some(Placed { at, value: file }),
            Err(fault) => {
                self.pem_fault(key, at, &fault);
                None
            }
        }
    }

    /// A certificate and its key, which must belong together. `None` where one is faulty.
    pub(super) fn identity(&self) -> Option<(PemFile, PemFile)> {
        let certificate = self.pem("certificate", |file| {
            // parsed as an authority is: whole, whoever issued it
            file.authorities().map(drop)
        });
        let key = self.pem("key", PemFile::private_key);
        let (certificate, key) = (certificate?, key?);
        match pem::identity(&certificate.value, &key.value) {
            Ok(_) => Some((certificate.value, key.value)),
            Err(fault) => {
                self.pem_fault("key", key.at, &fault);
                None
            }
        }
    }

    fn pem_fault(&self, key: &str, at: Position, fault: &PemFault) {
        let what = format!("`{key}` of {}: {}: {}", self.of, fault.file.display(), fault.seen);
        self.context.fault(at, what, fault.expected);
    }

    /// A file that must be readable now, its path (relative ones begin at the configuration) and
    /// its text.
    pub(super) fn file_text(&self, key: &str) -> Option<(PathBuf, Placed<String>)> {
        let text = self.text(key, "the path of a file")?;
        let path = self.context.resolve(&text.value);
        match self.context.read(&path) {
            Ok(content) => Some((path, Placed { at: text.at, value: content })),
            Err(error) => {
                let what = format!("`{key}` of {}: cannot read {}: {}", self.of, text.written, cause(&error));
                self.context.fault(text.at, what, "the path of a readable text file");
                None
            }
        }
    }
}

/// A map whose keys are names that the operator chose. Repeated names are written down; the first
/// stays. Nothing where it is empty.
pub(super) fn named<'a>(context: &Context<'_>, node: &'a Node, of: &str, expected: &str) -> Vec<&'a Entry> {
    match &node.value {
        Value::Map(entries) => {
            repeated(context, entries);
            let first = |(n, entry): &(usize, &Entry)| !entries.iter().take(*n).any(|e| e.key == entry.key);
            entries.iter().enumerate().filter(first).map(|(_, entry)| entry).collect()
        }
        Value::Null => Vec::new(),
        Value::Scalar(_) | Value::List(_) => {
            context.fault(node.at, format!("{of} is {}", node.kind()), expected);
            Vec::new()
        }
    }
}

/// A list; an empty value is an empty list.
pub(super) fn list<'a>(context: &Context<'_>, node: &'a Node, of: &str, expected: &str) -> &'a [Node] {
    match &node.value {
        Value::List(nodes) => nodes,
        Value::Null => &[],
        Value::Scalar(_) | Value::Map(_) => {
            context.fault(node.at, format!("{of} is {}", node.kind()), expected);
            &[]
        }
    }
}

/// A text, its references replaced.
pub(super) fn text(context: &Context<'_>, node: &Node, of: &str, expected: &str) -> Option<Text> {
    let Value::Scalar(written) = &node.value else {
        context.fault(node.at, format!("{of} is {}", node.kind()), expected);
        return None;
    };
    let value = expand(context, node.at, written)?;
    Some(Text { at: node.at, written: written.clone(), value })
}

/// A text that no fault quotes, not empty.
pub(super) fn secret(context: &Context<'_>, node: &Node, of: &str) -> Option<Placed<Secret>> {
    let text = text(context, node, of, "a secret, best as ${env:NAME} or ${file:PATH}")?;
    let secret = Secret::from(text.value);
    if secret.expose_secret().is_empty() {
        context.fault(text.at, format!("{of} is empty"), "a secret");
        return None;
    }
    Some(Placed { at: text.at, value: secret })
}

fn repeated(context: &Context<'_>, entries: &[Entry]) {
    for (n, Entry { key, key_at, .. }) in entries.iter().enumerate() {
        if let Some(first) = entries.iter().take(n).find(|earlier| earlier.key == *key) {
            let what = format!("{} is there twice{}", quoted_key(key), context.first(first.key_at));
            context.fault(*key_at, what, "each key once");
        }
    }
}

fn names(keys: &[Key]) -> impl Iterator<Item = &'static str> {
    keys.iter().filter(|key| key.acted_on).map(|key| key.name)
}

/// `a, b or c`.
pub(super) fn alternatives<'a>(words: impl Iterator<Item = &'a str>) -> String {
    let words: Vec<_> = words.collect();
    match words.split_last() {
        Some((last, rest)) if !rest.is_empty() => format!("{} or {last}", rest.join(", ")),
        _ => words.concat(),
    }
}

/// What people mean by YAML 1.1's switches, where the words at hand have it.
fn switch<'a>(word: &'a str, words: impl Iterator<Item = &'a str>) -> &'a str {
    let meanings: &[&str] = match word.to_ascii_lowercase().as_str() {
        "no" | "off" | "false" | "n" => &["false", "off"],
        "yes" | "on" | "true" | "y" => &["true", "on", "required"],
        _ => return word,
    };
    let words: Vec<_> = words.collect();
    words.into_iter().find(|candidate| meanings.contains(candidate)).unwrap_or(word)
}
