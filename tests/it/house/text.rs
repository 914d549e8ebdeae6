//! Percent-encoding, queries and the little XML that tests and regions exchange.

use std::fmt::Write;

/// Percent-decodes; `None` for a broken escape or bytes that are no UTF-8.
pub fn decoded(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&first, tail)) = rest.split_first() {
        if first == b'%' {
            let pair = std::str::from_utf8(tail.get(..2)?).ok()?;
            bytes.push(u8::from_str_radix(pair, 16).ok()?);
            rest = &tail[2..];
        } else {
            bytes.push(first);
            rest = tail;
        }
    }
    String::from_utf8(bytes).ok()
}

/// A name out of a listing with `encoding-type=url`, as SDKs read it.
pub fn listed(name: &str) -> String {
    decoded(&name.replace('+', "%20")).expect("an encoded name")
}

/// Percent-encodes everything but the unreserved characters and those of `keep`.
pub fn encoded(text: &str, keep: &str) -> String {
    let mut out = String::new();
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) || keep.as_bytes().contains(&byte) {
            out.push(char::from(byte));
        } else {
            write!(out, "%{byte:02X}").unwrap();
        }
    }
    out
}

/// A query's parameters, decoded, in order; `+` is a space.
pub fn parameters(query: &str) -> Vec<(String, String)> {
    let pairs = query.split('&').filter(|pair| !pair.is_empty());
    pairs
        .map(|pair| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let plain = |text: &str| decoded(&text.replace('+', "%20")).unwrap_or_default();
            (plain(name), plain(value))
        })
        .collect()
}

/// Text as XML content.
pub fn escaped(text: &str) -> String {
    quick_xml::escape::escape(text).into_owned()
}

/// The text of the first `<name>…</name>`.
pub fn element(xml: &str, name: &str) -> Option<String> {
    elements(xml, name).into_iter().next()
}

/// The texts of all `<name>…</name>`, unescaped; markup within is kept as it is.
pub fn elements(xml: &str, name: &str) -> Vec<String> {
    let (open, close) = (format!("<{name}>"), format!("</{name}>"));
    let mut found = Vec::new();
    let mut rest = xml;
    while let Some((_, after)) = rest.split_once(&open) {
        let Some((inner, tail)) = after.split_once(&close) else { break };
        let plain = quick_xml::escape::unescape(inner).map(std::borrow::Cow::into_owned);
        found.push(plain.unwrap_or_else(|_| inner.to_owned()));
        rest = tail;
    }
    found
}

/// The first value of a header, name in any case.
pub fn header<'a>(headers: &'a [(String, String)], name: &str) -> Option<&'a str> {
    headers.iter().find(|(have, _)| have.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
}
