//! The bytes that are signed: S3's canonical request and the string to sign.
//!
//! Written into one buffer that the caller keeps, since this is the hot path.

use std::ops::Range;

use smallvec::SmallVec;

use crate::head::{Field, Head};
use crate::sigv4::{Algorithm, Stamp, TERMINATOR, hex32};

/// Which spelling of the path is signed. S3 clients differ: most encode a key once and sign that;
/// some leave `!*'()` and the like as they are, or encode more than they must.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PathForm {
    /// Decoded once and encoded again with SigV4's unreserved set. `%2F` and `/` are one, as they
    /// are in S3's keys.
    Reencoded,
    /// As it came.
    Raw,
}

/// The fields of a head by name; repeats in the order in which they came.
pub(super) struct Sorted<'a>(SmallVec<[Field<'a>; 24]>);

impl<'a> Sorted<'a> {
    pub(super) fn of(head: &'a Head) -> Self {
        let mut sorted = Self(SmallVec::new());
        sorted.0.extend(head.fields());
        sorted.0.sort_by(|a, b| a.name.cmp(b.name)); // stable: repeats keep their order
        sorted
    }

    /// Each name once, in order.
    pub(super) fn names(&self) -> impl Iterator<Item = &'a str> {
        let mut last = None;
        self.0.iter().map(|field| field.name).filter(move |name| last.replace(*name) != Some(*name))
    }
}

/// The names in `SignedHeaders`.
pub(super) type Names<'a> = SmallVec<[&'a str; 16]>;

/// What a canonical request is made of.
pub(super) struct Canonical<'a, 'h> {
    pub(super) head: &'h Head,
    pub(super) fields: &'a Sorted<'h>,
    /// In order, each once.
    pub(super) signed: &'a [&'a str],
    /// The text of `x-amz-content-sha256`, or its default.
    pub(super) payload: &'a [u8],
}

/// The canonical request of a head, all of its fields signed: what signers are compared and measured by.
#[must_use]
pub fn canonical_request(head: &Head, payload: &[u8], form: PathForm) -> Vec<u8> {
    let fields = Sorted::of(head);
    let signed: Names<'_> = fields.names().collect();
    let mut out = Vec::new();
    Canonical { head, fields: &fields, signed: &signed, payload }.write(&mut out, form);
    out
}

/// Whether every signed header was there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Coverage {
    All,
    /// A name is in `SignedHeaders` and not in the head.
    Missing,
}

impl Canonical<'_, '_> {
    /// Appends the canonical request.
    pub(super) fn write(&self, out: &mut Vec<u8>, form: PathForm) -> Coverage {
        out.extend_from_slice(self.head.method().as_str().as_bytes());
        out.push(b'\n');
        path(out, self.head.path(), form);
        out.push(b'\n');
        query(out, self.head.query().unwrap_or_default());
        out.push(b'\n');
        let coverage = headers(out, self.fields, self.signed);
        out.push(b'\n');
        names(out, self.signed);
        out.push(b'\n');
        out.extend_from_slice(self.payload);
        coverage
    }

    /// The canonical request as text for an error document: the values of tokens and of customer
    /// keys are left out, whether they came as headers or in the query.
    pub(super) fn redacted(&self, form: PathForm) -> String {
        let mut out = Vec::new();
        self.write(&mut out, form);
        let text = String::from_utf8_lossy(&out);
        let mut lines: Vec<String> = text.split('\n').map(redacted_header).collect();
        if let Some(query) = lines.get_mut(2) {
            *query = query.split('&').map(redacted_parameter).collect::<Vec<_>>().join("&");
        }
        lines.join("\n")
    }
}

/// Headers and parameters whose values are secrets. The digest of a customer key is one too.
fn is_secret(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    matches!(
        name.as_str(),
        "x-amz-security-token" | "x-amz-s3session-token" | "authorization" | "cookie" | "x-amz-mfa"
    ) || name.ends_with("-customer-key")
        || name.ends_with("-customer-key-md5")
        || name.ends_with("-encryption-context")
}

const REDACTED: &str = "...";

fn redacted_header(line: &str) -> String {
    match line.split_once(':') {
        Some((name, _)) if is_secret(name) => format!("{name}:{REDACTED}"),
        _ => line.to_owned(),
    }
}

fn redacted_parameter(pair: &str) -> String {
    match pair.split_once('=') {
        Some((name, _)) if is_secret(name) => format!("{name}={REDACTED}"),
        _ => pair.to_owned(),
    }
}

/// Appends the string to sign over a canonical request with this SHA-256.
pub(super) fn string_to_sign(
    out: &mut Vec<u8>,
    algorithm: Algorithm,
    stamp: &Stamp,
    scope: &Scope<'_>,
    canonical: &[u8; 32],
) {
    out.extend_from_slice(algorithm.name().as_bytes());
    out.push(b'\n');
    out.extend_from_slice(stamp.text().as_bytes());
    out.push(b'\n');
    scope.write(out);
    out.push(b'\n');
    out.extend_from_slice(&hex32(canonical));
}

/// What a signing key is good for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Scope<'a> {
    pub(super) day: &'a str,
    /// None where the key is good for any: SigV4A.
    pub(super) region: Option<&'a str>,
    pub(super) service: &'a str,
}

impl Scope<'_> {
    /// Appends `DAY/REGION/SERVICE/aws4_request`.
    pub(super) fn write(&self, out: &mut Vec<u8>) {
        for part in [Some(self.day), self.region, Some(self.service)].into_iter().flatten() {
            out.extend_from_slice(part.as_bytes());
            out.push(b'/');
        }
        out.extend_from_slice(TERMINATOR.as_bytes());
    }
}

/// Appends the canonical path: never normalised, encoded once.
fn path(out: &mut Vec<u8>, raw: &str, form: PathForm) {
    match form {
        _ if raw.is_empty() => out.push(b'/'),
        PathForm::Raw => out.extend_from_slice(raw.as_bytes()),
        PathForm::Reencoded => reencode(out, raw.as_bytes(), Keep::Slash),
    }
}

/// Whether the two spellings of this path differ.
pub(super) fn path_is_spelled_twice(raw: &str) -> bool {
    let mut out = Vec::with_capacity(raw.len() + 16);
    path(&mut out, raw, PathForm::Reencoded);
    !raw.is_empty() && out != raw.as_bytes()
}

/// Appends the canonical query: decoded and encoded again, sorted by name, then by value; a `+`
/// is a space; the signature itself is left out.
fn query(out: &mut Vec<u8>, raw: &str) {
    let start = out.len();
    let mut pairs: SmallVec<[Pair; 16]> = SmallVec::new();
    for pair in raw.split('&').filter(|pair| !pair.is_empty()) {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        let name_at = out.len();
        reencode(out, name.as_bytes(), Keep::Nothing);
        if out.get(name_at..).is_some_and(|name| name.eq_ignore_ascii_case(b"X-Amz-Signature")) {
            out.truncate(name_at);
            continue;
        }
        let name = name_at..out.len();
        out.push(b'=');
        let value_at = out.len();
        reencode(out, value.as_bytes(), Keep::Nothing);
        pairs.push(Pair { name, value: value_at..out.len() });
        out.push(b'&');
    }
    if !pairs.is_sorted_by(|a, b| a.parts(out) <= b.parts(out)) {
        pairs.sort_by(|a, b| a.parts(out).cmp(&b.parts(out)));
        let unsorted = start..out.len();
        for pair in &pairs {
            out.extend_from_within(pair.name.start..pair.value.end);
            out.push(b'&');
        }
        out.drain(unsorted);
    }
    if !pairs.is_empty() {
        out.pop(); // the last `&`
    }
}

/// Where an encoded parameter stands in the buffer.
struct Pair {
    name: Range<usize>,
    value: Range<usize>,
}

impl Pair {
    fn parts<'t>(&self, text: &'t [u8]) -> (&'t [u8], &'t [u8]) {
        (text.get(self.name.clone()).unwrap_or_default(), text.get(self.value.clone()).unwrap_or_default())
    }
}

/// Which reserved characters stay as they are.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Keep {
    /// In paths: `/` stays, and a `+` is a plus.
    Slash,
    /// In queries: none, and a `+` is a space.
    Nothing,
}

impl Keep {
    fn keeps(self, byte: u8) -> bool {
        byte.is_ascii_alphanumeric()
            || matches!(byte, b'-' | b'.' | b'_' | b'~')
            || (byte == b'/' && self == Self::Slash)
    }
}

/// Decodes percent-encoding once and encodes with SigV4's unreserved set. A `%` without two hex
/// digits after it stands for itself.
fn reencode(out: &mut Vec<u8>, raw: &[u8], keep: Keep) {
    let mut rest = raw;
    while !rest.is_empty() {
        let plain = rest.iter().position(|byte| !keep.keeps(*byte)).unwrap_or(rest.len());
        let (run, after) = rest.split_at(plain);
        out.extend_from_slice(run);
        let Some((byte, after)) = decoded(after, keep) else { return };
        rest = after;
        if keep.keeps(byte) {
            out.push(byte);
        } else {
            out.extend_from_slice(&[b'%', upper_hex(byte >> 4), upper_hex(byte & 15)]);
        }
    }
}

/// Takes one decoded byte off the front.
fn decoded(text: &[u8], keep: Keep) -> Option<(u8, &[u8])> {
    match text {
        [] => None,
        [b'%', high, low, after @ ..] if let Some(byte) = hex_pair(*high, *low) => Some((byte, after)),
        [b'+', after @ ..] if keep == Keep::Nothing => Some((b' ', after)),
        [byte, after @ ..] => Some((*byte, after)),
    }
}

/// Percent-decodes a parameter once; a `+` is a space.
pub(super) fn decode_parameter(raw: &str) -> Vec<u8> {
    let mut out = Vec::with_capacity(raw.len());
    let mut rest = raw.as_bytes();
    while let Some((byte, after)) = decoded(rest, Keep::Nothing) {
        out.push(byte);
        rest = after;
    }
    out
}

fn hex_pair(high: u8, low: u8) -> Option<u8> {
    let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    Some(digit(high)? << 4 | digit(low)?)
}

fn upper_hex(nibble: u8) -> u8 {
    if nibble < 10 { b'0' + nibble } else { b'A' + (nibble - 10) }
}

/// Appends `name:value` lines. `signed` and `fields` are both in order: one walk over both.
fn headers(out: &mut Vec<u8>, fields: &Sorted<'_>, signed: &[&str]) -> Coverage {
    let mut coverage = Coverage::All;
    let mut fields = fields.0.iter().peekable();
    for name in signed {
        while fields.next_if(|field| field.name < *name).is_some() {}
        out.extend_from_slice(name.as_bytes());
        out.push(b':');
        match fields.next_if(|field| field.name == *name) {
            Some(field) => squeeze(out, field.value),
            None => coverage = Coverage::Missing,
        }
        while let Some(field) = fields.next_if(|field| field.name == *name) {
            out.push(b',');
            squeeze(out, field.value);
        }
        out.push(b'\n');
    }
    coverage
}

/// Appends the names joined by `;`.
pub(super) fn names(out: &mut Vec<u8>, signed: &[&str]) {
    for (index, name) in signed.iter().enumerate() {
        if index > 0 {
            out.push(b';');
        }
        out.extend_from_slice(name.as_bytes());
    }
}

/// Appends a value without the white space around it, each run of white space within it as one
/// space, also within quotes (AWS's test vectors).
fn squeeze(out: &mut Vec<u8>, value: &[u8]) {
    let value = value.trim_ascii();
    let mut words = value.split(|byte| matches!(byte, b' ' | b'\t')).filter(|word| !word.is_empty());
    if let Some(first) = words.next() {
        out.extend_from_slice(first);
    }
    for word in words {
        out.push(b' ');
        out.extend_from_slice(word);
    }
}
