//! The head of a request, as it goes on the wire. Pure.

use crate::head::Head;

/// Bytes of a target: as long as hyper and the stores behind it take one.
const TARGET_MAX: usize = u16::MAX as usize - 1;

/// The head cannot be said in HTTP/1.1: its target is too long for a URI, or something in it would end a
/// line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the head cannot be said in HTTP/1.1")]
pub struct Unspeakable;

/// Appends a head to `into`; `length` becomes `Content-Length`, `expects` becomes `Expect: 100-continue`.
///
/// # Errors
/// [`Unspeakable`]; `into` is left as it was.
pub fn write(head: &Head, length: Option<u64>, expects: bool, into: &mut Vec<u8>) -> Result<(), Unspeakable> {
    let began = into.len();
    let written = append(head, into);
    if written.is_err() {
        into.truncate(began);
        return written;
    }
    if let Some(length) = length {
        let mut digits = itoa::Buffer::new();
        field("content-length", digits.format(length).as_bytes(), into);
    }
    if expects {
        field("expect", b"100-continue", into);
    }
    into.extend_from_slice(b"\r\n");
    Ok(())
}

fn append(head: &Head, into: &mut Vec<u8>) -> Result<(), Unspeakable> {
    let target = head.target();
    let visible = |byte: u8| byte > b' ' && byte != 0x7f;
    if target.len() > TARGET_MAX || !target.starts_with('/') || !all(target.as_bytes(), visible) {
        return Err(Unspeakable);
    }
    into.extend_from_slice(head.method().as_str().as_bytes());
    into.push(b' ');
    into.extend_from_slice(target.as_bytes());
    into.extend_from_slice(b" HTTP/1.1\r\n");
    for one in head.fields() {
        if !is_token(one.name) || !is_a_value(one.value) {
            return Err(Unspeakable);
        }
        field(one.name, one.value, into);
    }
    Ok(())
}

fn field(name: &str, value: &[u8], into: &mut Vec<u8>) {
    into.extend_from_slice(name.as_bytes());
    into.extend_from_slice(b": ");
    into.extend_from_slice(value);
    into.extend_from_slice(b"\r\n");
}

/// RFC 9110 §5.6.2. Nearly all names are of the first kind, which needs no look at each byte's kind.
fn is_token(name: &str) -> bool {
    let plain = |byte: u8| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-');
    let of_a_token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    !name.is_empty() && (all(name.as_bytes(), plain) || name.bytes().all(of_a_token))
}

/// RFC 9110 §5.5: nothing that ends a line, and no control.
fn is_a_value(value: &[u8]) -> bool {
    all(value, |byte| (byte >= b' ' && byte != 0x7f) || byte == b'\t')
}

/// Whether it holds for all bytes. Without a way out: many bytes are looked at in one go.
fn all(bytes: &[u8], holds: impl Fn(u8) -> bool) -> bool {
    bytes.iter().fold(true, |all, &byte| all & holds(byte))
}

#[cfg(test)]
mod tests {
    use http::Method;
    use proptest::prelude::*;

    use super::*;

    fn written(head: &Head, length: Option<u64>, expects: bool) -> Result<String, Unspeakable> {
        let mut into = b"before ".to_vec();
        let written = write(head, length, expects, &mut into);
        let into = String::from_utf8(into).unwrap();
        let text = into.strip_prefix("before ").unwrap().to_owned();
        assert!(written.is_ok() || text.is_empty(), "{text}");
        written.map(|()| text)
    }

    #[test]
    fn a_head_is_said_as_it_is() {
        let mut head = Head::new(Method::PUT, "/b//a/./%2F+é?x=1?2&y");
        head.push("Host", b"store:9000");
        head.push("x-amz-meta-a", "ü\t1".as_bytes());
        head.push("x-amz-meta-a", b"");
        assert_eq!(
            written(&head, Some(7), true).unwrap(),
            "PUT /b//a/./%2F+é?x=1?2&y HTTP/1.1\r\nhost: store:9000\r\nx-amz-meta-a: ü\t1\r\n\
             x-amz-meta-a: \r\ncontent-length: 7\r\nexpect: 100-continue\r\n\r\n"
        );
        let bare = Head::new(Method::GET, "/");
        assert_eq!(written(&bare, None, false).unwrap(), "GET / HTTP/1.1\r\n\r\n");
    }

    #[test]
    fn nothing_that_would_end_a_line_is_said() {
        for target in ["/a b", "/a\r\nx: y", "/a\u{7f}", "x", "*", ""] {
            assert_eq!(written(&Head::new(Method::GET, target), None, false), Err(Unspeakable), "{target:?}");
        }
        let long = |length: usize| Head::new(Method::GET, &format!("/{}", "a".repeat(length - 1)));
        assert_eq!(written(&long(TARGET_MAX + 1), None, false), Err(Unspeakable));
        assert!(written(&long(TARGET_MAX), None, false).is_ok());
        for (name, value) in
            [("a b", "v"), ("", "v"), ("a:", "v"), ("a", "v\r\nx: y"), ("a", "v\0"), ("ä", "v")]
        {
            let mut head = Head::new(Method::GET, "/");
            head.push(name, value.as_bytes());
            assert_eq!(written(&head, None, false), Err(Unspeakable), "{name:?} {value:?}");
        }
    }

    proptest! {
        #[test]
        fn a_parser_that_is_not_ours_reads_what_was_said(
            target in "/[!-~é]{0,40}",
            fields in prop::collection::vec(("[a-z0-9-]{1,12}", "[!-~]?[ -~]{0,12}[!-~]"), 0..12),
        ) {
            let mut head = Head::new(Method::DELETE, &target);
            for (name, value) in &fields {
                head.push(name, value.as_bytes());
            }
            let text = written(&head, None, false).unwrap();
            let mut slots = [httparse::EMPTY_HEADER; 16];
            let mut parsed = httparse::Request::new(&mut slots);
            prop_assert!(parsed.parse(text.as_bytes()).unwrap().is_complete());
            prop_assert_eq!(parsed.path, Some(&*target));
            let read: Vec<_> = parsed.headers.iter().map(|field| (field.name, field.value)).collect();
            let said: Vec<_> = head.fields().map(|field| (field.name, field.value)).collect();
            prop_assert_eq!(read, said);
        }
    }
}
