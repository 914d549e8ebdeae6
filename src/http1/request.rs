//! The head of a request, as it goes on the wire and as it comes. Pure.

use http::Method;

use super::Malformed;
use super::answer::Framing;
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
    let hidden = |byte: u8| u8::from(byte <= b' ') | u8::from(byte == 0x7f);
    if target.len() > TARGET_MAX || !target.starts_with('/') || !none(target.as_bytes(), hidden) {
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

/// Appends a field's line.
pub(super) fn field(name: &str, value: &[u8], into: &mut Vec<u8>) {
    into.extend_from_slice(name.as_bytes());
    into.extend_from_slice(b": ");
    into.extend_from_slice(value);
    into.extend_from_slice(b"\r\n");
}

/// A request as a client sends it.
#[derive(Debug)]
pub struct Request {
    /// Its head, the target in origin form.
    pub head: Head,
    /// How its body is framed.
    pub framing: Framing,
    /// HTTP/1.0 else.
    pub is_1_1: bool,
    /// What the client says of going on over this connection; `close` has the last word.
    stays: Option<bool>,
    /// Whether the client waits for `100 Continue`.
    pub expects: bool,
}

/// Reads a whole head from the beginning of `bytes`, with its length there; `None` where more must come.
/// Meant for what the wire gate lets through: two opinions are its business, and what is none at all is
/// refused here too.
///
/// # Errors
/// [`Malformed`].
pub fn read(bytes: &[u8]) -> Result<Option<(Request, usize)>, Malformed> {
    let skipped = if bytes.starts_with(b"\r\n") { 2 } else { 0 };
    let bytes = bytes.get(skipped..).unwrap_or_default();
    let Some(end) = memchr::memmem::find(bytes, b"\r\n\r\n") else { return Ok(None) };
    let text = bytes.get(..end + 2).unwrap_or_default();
    let (line, mut rest) = split_line(text).ok_or(NO_LINE)?;
    let (head, is_1_1) = request_line(line)?;
    let framing = Framing::Exactly(0);
    let mut request = Request { head, framing, is_1_1, stays: None, expects: false };
    while !rest.is_empty() {
        let (line, after) = split_line(rest).ok_or(NO_FIELD)?;
        request.field(line)?;
        rest = after;
    }
    Ok(Some((request, skipped + end + 4)))
}

const NO_LINE: Malformed = Malformed("its request line is none");
const NO_FIELD: Malformed = Malformed("a field is none");

fn split_line(text: &[u8]) -> Option<(&[u8], &[u8])> {
    let at = memchr::memchr(b'\r', text)?;
    let rest = text.get(at..)?.strip_prefix(b"\r\n")?;
    Some((text.get(..at)?, rest))
}

/// The method, the target without scheme and authority, and whether it is HTTP/1.1.
fn request_line(line: &[u8]) -> Result<(Head, bool), Malformed> {
    let (line, is_1_1) = match (line.strip_suffix(b" HTTP/1.1"), line.strip_suffix(b" HTTP/1.0")) {
        (Some(line), _) => (line, true),
        (None, Some(line)) => (line, false),
        (None, None) => return Err(NO_LINE),
    };
    let at = memchr::memchr(b' ', line).ok_or(NO_LINE)?;
    let method = line.get(..at).and_then(|method| Method::from_bytes(method).ok()).ok_or(NO_LINE)?;
    let target = line.get(at + 1..).and_then(|target| std::str::from_utf8(target).ok()).ok_or(NO_LINE)?;
    let head = if target.starts_with('/') {
        Head::new(method, target)
    } else {
        let (_, rest) = target.split_once("://").ok_or(NO_LINE)?;
        let at = memchr::memchr2(b'/', b'?', rest.as_bytes()).unwrap_or(rest.len());
        let target = rest.get(at..).unwrap_or_default();
        if target.starts_with('/') {
            Head::new(method, target)
        } else {
            Head::new(method, &format!("/{target}"))
        }
    };
    Ok((head, is_1_1))
}

impl Request {
    fn field(&mut self, line: &[u8]) -> Result<(), Malformed> {
        let at = memchr::memchr(b':', line).ok_or(NO_FIELD)?;
        let (name, value) = line.split_at_checked(at).ok_or(NO_FIELD)?;
        let name = std::str::from_utf8(name).ok().filter(|name| is_token(name)).ok_or(NO_FIELD)?;
        let value = value.get(1..).unwrap_or_default().trim_ascii();
        if !is_a_value(value) {
            return Err(NO_FIELD);
        }
        match name.len() {
            6 if name.eq_ignore_ascii_case("expect") => {
                self.expects |= self.is_1_1 && value.eq_ignore_ascii_case(b"100-continue");
            }
            10 if name.eq_ignore_ascii_case("connection") => self.connection(value),
            14 if name.eq_ignore_ascii_case("content-length") => {
                let length = digits(value).ok_or(Malformed("its length is no number"))?;
                self.framed(Framing::Exactly(length))?;
            }
            17 if name.eq_ignore_ascii_case("transfer-encoding") => {
                if !value.eq_ignore_ascii_case(b"chunked") || !self.is_1_1 {
                    return Err(Malformed("its body is coded in a way that nobody knows"));
                }
                self.framed(Framing::Chunked)?;
            }
            _ => {}
        }
        self.head.push(name, value);
        Ok(())
    }

    fn framed(&mut self, framing: Framing) -> Result<(), Malformed> {
        let first =
            self.head.first("content-length").is_none() && self.head.first("transfer-encoding").is_none();
        self.framing = framing;
        if first { Ok(()) } else { Err(Malformed("its body is framed twice")) }
    }

    fn connection(&mut self, value: &[u8]) {
        for option in value.split(|&byte| byte == b',').map(<[u8]>::trim_ascii) {
            if option.eq_ignore_ascii_case(b"close") {
                self.stays = Some(false);
            } else if option.eq_ignore_ascii_case(b"keep-alive") {
                self.stays.get_or_insert(true);
            }
        }
    }

    /// Whether the client wants to go on over this connection.
    #[must_use]
    pub fn keeps(&self) -> bool {
        self.stays.unwrap_or(self.is_1_1)
    }
}

/// RFC 9110 §5.6.2. Nearly all names are of the first kind, which needs no look at each byte's kind.
fn is_token(name: &str) -> bool {
    let others = |byte: u8| {
        u8::from(!byte.is_ascii_lowercase()) & u8::from(!byte.is_ascii_digit()) & u8::from(byte != b'-')
    };
    let of_a_token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    !name.is_empty() && (none(name.as_bytes(), others) || name.bytes().all(of_a_token))
}

/// RFC 9110 §5.5: nothing that ends a line, and no control.
fn is_a_value(value: &[u8]) -> bool {
    none(value, |byte| (u8::from(byte < b' ') & u8::from(byte != b'\t')) | u8::from(byte == 0x7f))
}

/// Whether no byte is one of these. Looks at every byte whatever it finds and sums in bytes, so that the
/// compiler takes many at once.
fn none(bytes: &[u8], is_one: impl Fn(u8) -> u8) -> bool {
    bytes.iter().fold(0, |seen, &byte| seen | is_one(byte)) == 0
}

/// Decimal digits and nothing else.
pub(super) fn digits(text: &[u8]) -> Option<u64> {
    if text.is_empty() {
        return None;
    }
    text.iter().try_fold(0_u64, |sum, &byte| {
        let digit = byte.checked_sub(b'0').filter(|digit| *digit < 10)?;
        sum.checked_mul(10)?.checked_add(u64::from(digit))
    })
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

    fn came(text: &str) -> Request {
        let (request, length) = read(text.as_bytes()).unwrap().expect("it is whole");
        assert_eq!(length, text.len());
        request
    }

    #[test]
    fn a_request_is_read_as_it_is() {
        let request = came(
            "PUT /b//a/./..%2F+?x=1?2&y HTTP/1.1\r\nHost: h\r\nX-Amz-Meta-A:  2 \r\nx-amz-meta-a:1\r\nContent-Length: 7\r\nExpect: 100-Continue\r\n\r\n",
        );
        assert_eq!((request.head.method(), request.head.target()), (&Method::PUT, "/b//a/./..%2F+?x=1?2&y"));
        assert_eq!(request.head.all("x-amz-meta-a").collect::<Vec<_>>(), [b"2", b"1"]);
        assert_eq!(request.framing, Framing::Exactly(7));
        assert!(request.is_1_1 && request.keeps() && request.expects);
        let request = came("\r\nGET / HTTP/1.0\r\nhost: h\r\nexpect: 100-continue\r\n\r\n");
        assert_eq!(request.framing, Framing::Exactly(0));
        assert!(!request.is_1_1 && !request.keeps() && !request.expects);
    }

    #[test]
    fn absolute_targets_lose_their_authority() {
        for (target, origin) in [
            ("http://h/b//k?", "/b//k?"),
            ("http://h", "/"),
            ("HTTP://h?acl", "/?acl"),
            ("https://h/?a=b/c", "/?a=b/c"),
        ] {
            assert_eq!(came(&format!("GET {target} HTTP/1.1\r\nhost: h\r\n\r\n")).head.target(), origin);
        }
    }

    #[test]
    fn who_closes_does_and_who_keeps_must_be_able_to() {
        for (line, option, keeps) in [
            ("1.1", "close", false),
            ("1.1", "TE, Close", false),
            ("1.1", "close, keep-alive", false),
            ("1.1", "keep-alive", true),
            ("1.0", "Keep-Alive", true),
            ("1.0", "te", false),
        ] {
            let request = came(&format!("GET / HTTP/{line}\r\nhost: h\r\nconnection: {option}\r\n\r\n"));
            assert_eq!(request.keeps(), keeps, "{line} {option}");
        }
    }

    #[test]
    fn any_beginning_of_a_request_waits_for_the_rest() {
        let text = b"\r\nGET / HTTP/1.1\r\nhost: h\r\na: b\r\n\r\nnext";
        for at in 0..text.len() - 4 {
            assert!(read(&text[..at]).unwrap().is_none(), "{at}");
        }
        assert_eq!(read(text).unwrap().map(|(_, length)| length), Some(text.len() - 4));
    }

    #[test]
    fn what_has_two_readings_or_none_is_no_request() {
        for text in [
            "GET /\r\nhost: h\r\n\r\n",
            "GET / HTTP/2.0\r\nhost: h\r\n\r\n",
            "GET * HTTP/1.1\r\nhost: h\r\n\r\n",
            "G(T / HTTP/1.1\r\nhost: h\r\n\r\n",
            "GET / HTTP/1.1\r\nhost : h\r\n\r\n",
            "GET / HTTP/1.1\r\n host: h\r\n\r\n",
            "GET / HTTP/1.1\r\nhost\r\n\r\n",
            "GET / HTTP/1.1\r\na: b\rc\r\n\r\n",
            "GET / HTTP/1.1\r\na: b\nc: d\r\n\r\n",
            "PUT / HTTP/1.1\r\ncontent-length: 1\r\ncontent-length: 1\r\n\r\n",
            "PUT / HTTP/1.1\r\ncontent-length: 1\r\ntransfer-encoding: chunked\r\n\r\n",
            "PUT / HTTP/1.1\r\ncontent-length: +1\r\n\r\n",
            "PUT / HTTP/1.1\r\ntransfer-encoding: gzip, chunked\r\n\r\n",
            "PUT / HTTP/1.0\r\ntransfer-encoding: chunked\r\n\r\n",
        ] {
            assert!(read(text.as_bytes()).is_err(), "{text:?}");
        }
    }
}
