//! A raw query string, looked at without changing it. Pure.
//!
//! Order and bytes are kept; names and values are decoded only when asked for. `+` is a space, as
//! in forms and as S3 reads it.

use std::borrow::Cow;

/// An ordered view of a raw query string.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Query<'a> {
    raw: &'a str,
}

/// One `name=value`, or a bare `name`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pair<'a> {
    /// The pair as it stands between the `&`s.
    pub raw: &'a str,
    /// The name, not decoded.
    pub raw_name: &'a str,
    /// The value, not decoded; `None` where there is no `=`.
    pub raw_value: Option<&'a str>,
}

impl<'a> Query<'a> {
    /// Looks at a query, without its `?`.
    #[must_use]
    pub fn new(raw: &'a str) -> Self {
        Self { raw }
    }

    /// The pairs in order; empty ones (`a&&b`) are left out.
    pub fn pairs(self) -> impl Iterator<Item = Pair<'a>> + Clone {
        self.raw.split('&').filter(|raw| !raw.is_empty()).map(|raw| match raw.split_once('=') {
            Some((raw_name, value)) => Pair { raw, raw_name, raw_value: Some(value) },
            None => Pair { raw, raw_name: raw, raw_value: None },
        })
    }

    /// Whether a name is present, with or without a value.
    #[must_use]
    pub fn has(self, name: &str) -> bool {
        self.pairs().any(|pair| pair.is(name))
    }

    /// The first value of a name, decoded; `Some("")` for a bare name, `None` where the name is
    /// absent or its value is not percent-encoded UTF-8.
    #[must_use]
    pub fn first(self, name: &str) -> Option<Cow<'a, str>> {
        self.pairs().find(|pair| pair.is(name)).and_then(Pair::value)
    }
}

impl<'a> Pair<'a> {
    /// The decoded name; `None` where it is not percent-encoded UTF-8.
    #[must_use]
    pub fn name(self) -> Option<Cow<'a, str>> {
        decode_form(self.raw_name)
    }

    /// The decoded value; empty for a bare name, `None` where it is not percent-encoded UTF-8.
    #[must_use]
    pub fn value(self) -> Option<Cow<'a, str>> {
        decode_form(self.raw_value.unwrap_or_default())
    }

    /// Whether this is the name, however it is encoded.
    #[must_use]
    pub fn is(self, name: &str) -> bool {
        self.raw_name == name
            || (self.raw_name.contains(['%', '+']) && self.name().is_some_and(|own| own == name))
    }
}

/// Decodes `%XX` once; borrows where there is nothing to decode. `None` for a broken escape.
#[must_use]
pub fn decode(raw: &str) -> Option<Cow<'_, [u8]>> {
    decode_bytes(raw, false)
}

/// Decodes `%XX` once to text. `None` for a broken escape or bytes that are not UTF-8.
#[must_use]
pub fn decode_text(raw: &str) -> Option<Cow<'_, str>> {
    text(decode_bytes(raw, false)?)
}

/// As [`decode`], and `+` is a space.
#[must_use]
pub fn decode_form_bytes(raw: &str) -> Option<Cow<'_, [u8]>> {
    decode_bytes(raw, true)
}

/// As [`decode_text`], and `+` is a space.
#[must_use]
pub fn decode_form(raw: &str) -> Option<Cow<'_, str>> {
    text(decode_bytes(raw, true)?)
}

fn text(bytes: Cow<'_, [u8]>) -> Option<Cow<'_, str>> {
    match bytes {
        Cow::Borrowed(bytes) => std::str::from_utf8(bytes).ok().map(Cow::Borrowed),
        Cow::Owned(bytes) => String::from_utf8(bytes).ok().map(Cow::Owned),
    }
}

fn decode_bytes(raw: &str, plus_is_space: bool) -> Option<Cow<'_, [u8]>> {
    let first = if plus_is_space {
        memchr::memchr2(b'%', b'+', raw.as_bytes())
    } else {
        memchr::memchr(b'%', raw.as_bytes())
    };
    if first.is_none() {
        return Some(Cow::Borrowed(raw.as_bytes()));
    }
    let mut out = Vec::with_capacity(raw.len());
    let mut bytes = raw.bytes();
    while let Some(byte) = bytes.next() {
        out.push(match byte {
            b'%' => hex_digit(bytes.next()?)? << 4 | hex_digit(bytes.next()?)?,
            b'+' if plus_is_space => b' ',
            other => other,
        });
    }
    Some(Cow::Owned(out))
}

fn hex_digit(byte: u8) -> Option<u8> {
    char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok())
}

/// Appends bytes percent-encoded as SigV4 wants them: all but `A-Z a-z 0-9 - . _ ~` and what
/// `keep` names.
pub fn encode_into(bytes: &[u8], keep: &[u8], out: &mut String) {
    for &byte in bytes {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) || keep.contains(&byte) {
            out.push(char::from(byte));
        } else {
            out.push('%');
            for nibble in [byte >> 4, byte & 15] {
                out.push(char::from_digit(u32::from(nibble), 16).unwrap_or('0').to_ascii_uppercase());
            }
        }
    }
}

/// Percent-encodes a query value.
#[must_use]
pub fn encode(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    encode_into(text.as_bytes(), b"", &mut out);
    out
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn pairs_keep_order_and_bytes() {
        let query = Query::new("b=1&&a&b=%32&c=x=y&=z");
        let raws: Vec<_> = query.pairs().map(|pair| pair.raw).collect();
        assert_eq!(raws, ["b=1", "a", "b=%32", "c=x=y", "=z"]);
        assert_eq!(query.first("b").as_deref(), Some("1"));
        assert_eq!(query.first("a").as_deref(), Some(""));
        assert_eq!(query.first("c").as_deref(), Some("x=y"));
        assert!(query.has("a") && !query.has("A") && !query.has("z"));
    }

    #[test]
    fn names_are_found_however_they_are_encoded() {
        assert!(Query::new("upload%49d=1").has("uploadId"));
        assert_eq!(Query::new("%75ploads").first("uploads").as_deref(), Some(""));
        assert!(!Query::new("upload%4").has("upload%4_"));
    }

    #[test]
    fn broken_escapes_are_no_text() {
        for raw in ["%", "%4", "%zz", "a%+1", "%é"] {
            assert_eq!(decode(raw), None, "{raw}");
        }
        assert_eq!(decode_text("%ff"), None);
        assert_eq!(decode("%ff").as_deref(), Some(&b"\xff"[..]));
        assert_eq!(decode_text("a+b").as_deref(), Some("a+b"));
        assert_eq!(decode_form("a+b%2B").as_deref(), Some("a b+"));
    }

    #[test]
    fn nothing_to_decode_allocates_nothing() {
        assert!(matches!(decode("a/../b"), Some(Cow::Borrowed(_))));
        assert!(matches!(decode_form("a/../b"), Some(Cow::Borrowed(_))));
    }

    proptest! {
        #[test]
        fn decoding_undoes_encoding(text in ".*") {
            let encoded = encode(&text);
            prop_assert_eq!(decode_text(&encoded), Some(Cow::Borrowed(text.as_str())));
            prop_assert_eq!(decode_form(&encoded), Some(Cow::Borrowed(text.as_str())));
        }

        #[test]
        fn any_query_can_be_looked_at(raw in ".*") {
            let query = Query::new(&raw);
            for pair in query.pairs() {
                let _ = (pair.name(), pair.value());
                prop_assert!(raw.contains(pair.raw));
            }
        }
    }
}
