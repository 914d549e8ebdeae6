//! The head of an answer, as it comes and as it goes out, and how its body is framed (RFC 9112 §6.3). Pure.

use std::mem::MaybeUninit;
use std::ops::Range;

use bytes::Bytes;
use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::response::Parts;
use http::{Response, StatusCode, Version};
use smallvec::SmallVec;

use super::Malformed;
use super::request::{digits, field};

/// Bytes of a head: more than any store sends.
const HEAD_MAX: usize = 64 << 10;
/// Fields of a head: an object may have hundreds of short ones of its user's.
const FIELDS_MAX: usize = 512;
/// Fields that need no allocation to be remembered.
const FIELDS_USUAL: usize = 24;

/// The words behind a status, where they are not the usual ones: an extension of the head's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reason(pub Bytes);

/// Where in the bytes a head is.
#[derive(Debug)]
pub struct Found {
    status: StatusCode,
    /// HTTP/1.0 else.
    is_1_1: bool,
    reason: Option<Range<usize>>,
    fields: SmallVec<[(Range<usize>, Range<usize>); FIELDS_USUAL]>,
    /// How long the head is.
    pub length: usize,
}

/// How an answer's body is framed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    /// So many bytes.
    Exactly(u64),
    /// Chunks.
    Chunked,
    /// All until the connection ends.
    UntilEnd,
}

/// A head, and what follows it.
#[derive(Debug)]
pub struct Answer {
    /// Status and fields.
    pub head: Parts,
    /// How the body is framed.
    pub framing: Framing,
    /// Whether the connection may be used again after the body.
    pub keeps: bool,
}

/// Looks for a whole head at the beginning of `bytes`; `None` where more must come.
///
/// # Errors
/// [`Malformed`].
pub fn find(bytes: &[u8]) -> Result<Option<Found>, Malformed> {
    let mut slots = [const { MaybeUninit::uninit() }; FIELDS_MAX];
    let mut parsed = httparse::Response::new(&mut []);
    let rules = httparse::ParserConfig::default();
    let length = match rules.parse_response_with_uninit_headers(&mut parsed, bytes, &mut slots) {
        Ok(httparse::Status::Complete(length)) => length,
        Ok(httparse::Status::Partial) if bytes.len() >= HEAD_MAX => {
            return Err(Malformed("its head is too long"));
        }
        Ok(httparse::Status::Partial) => return Ok(None),
        Err(httparse::Error::TooManyHeaders) => return Err(Malformed("it has too many fields")),
        Err(_) => return Err(Malformed("its head cannot be read")),
    };
    let status = parsed.code.and_then(|code| StatusCode::from_u16(code).ok());
    let status = status.ok_or(Malformed("it has no status"))?;
    let within = |part: &[u8]| within(bytes, part);
    let usual = status.canonical_reason().unwrap_or_default();
    let reason = parsed
        .reason
        .filter(|reason| !reason.is_empty() && *reason != usual)
        .map(|reason| within(reason.as_bytes()));
    let fields = parsed.headers.iter().map(|field| (within(field.name.as_bytes()), within(field.value)));
    Ok(Some(Found { status, is_1_1: parsed.version == Some(1), reason, fields: fields.collect(), length }))
}

/// Where a part of `whole` is in it.
fn within(whole: &[u8], part: &[u8]) -> Range<usize> {
    let start = (part.as_ptr() as usize).saturating_sub(whole.as_ptr() as usize);
    start..start + part.len()
}

impl Found {
    /// Whether it only announces another.
    #[must_use]
    pub fn is_interim(&self) -> bool {
        self.status.is_informational() && self.status != StatusCode::SWITCHING_PROTOCOLS
    }

    /// Its status.
    #[must_use]
    pub fn status(&self) -> StatusCode {
        self.status
    }

    /// Takes the head out of its bytes. `to_head`: it answers a HEAD.
    ///
    /// # Errors
    /// [`Malformed`] where its framing contradicts itself.
    pub fn read(self, bytes: &Bytes, to_head: bool) -> Result<Answer, Malformed> {
        let mut headers = HeaderMap::with_capacity(self.fields.len());
        for (name, value) in self.fields {
            let name = bytes.get(name).ok_or(Malformed("a field is not in it"))?;
            let name = named(name).ok_or(Malformed("a field's name is none"))?;
            let value = HeaderValue::from_maybe_shared(bytes.slice(value));
            headers.append(name, value.map_err(|_| Malformed("a field's value is none"))?);
        }
        let framing = framing(self.status, self.is_1_1, to_head, &mut headers)?;
        let keeps = keeps(self.is_1_1, &headers)
            && framing != Framing::UntilEnd
            && self.status != StatusCode::SWITCHING_PROTOCOLS;
        let mut response = Response::new(());
        *response.status_mut() = self.status;
        *response.headers_mut() = headers;
        *response.version_mut() = if self.is_1_1 { Version::HTTP_11 } else { Version::HTTP_10 };
        if let Some(reason) = self.reason {
            response.extensions_mut().insert(Reason(bytes.slice(reason)));
        }
        Ok(Answer { head: response.into_parts().0, framing, keeps })
    }
}

/// How the body is framed. A length beside chunks says nothing, and is taken out (RFC 9112 §6.1).
fn framing(
    status: StatusCode,
    is_1_1: bool,
    to_head: bool,
    headers: &mut HeaderMap,
) -> Result<Framing, Malformed> {
    let told = length(headers);
    if let Ok(Some(length)) = told
        && is_repeated(headers)
    {
        // said once, for who reads it next
        headers.insert(header::CONTENT_LENGTH, length.into());
    }
    if to_head || has_no_body(status) {
        return Ok(Framing::Exactly(0));
    }
    let mut codings = headers.get_all(header::TRANSFER_ENCODING).iter().map(HeaderValue::as_bytes);
    match (codings.next(), codings.next()) {
        (None, _) => {}
        (Some(coding), None) if coding.eq_ignore_ascii_case(b"identity") => {}
        (Some(coding), None) if is_1_1 && coding.eq_ignore_ascii_case(b"chunked") => {
            headers.remove(header::CONTENT_LENGTH);
            return Ok(Framing::Chunked);
        }
        _ => return Err(Malformed("its body is coded in a way that nobody asked for")),
    }
    Ok(told?.map_or(Framing::UntilEnd, Framing::Exactly))
}

/// Whether the length is told more than once.
fn is_repeated(headers: &HeaderMap) -> bool {
    let mut told = headers.get_all(header::CONTENT_LENGTH).iter();
    told.next().is_some_and(|first| first.as_bytes().contains(&b',')) || told.next().is_some()
}

/// The length that a head tells, however often it does.
fn length(headers: &HeaderMap) -> Result<Option<u64>, Malformed> {
    let mut length = None;
    for value in headers.get_all(header::CONTENT_LENGTH) {
        for one in value.as_bytes().split(|&byte| byte == b',') {
            let one = digits(one.trim_ascii()).ok_or(Malformed("its length is no number"))?;
            if length.is_some_and(|length| length != one) {
                return Err(Malformed("it has two lengths"));
            }
            length = Some(one);
        }
    }
    Ok(length)
}

/// Whether an answer of this status never has a body.
fn has_no_body(status: StatusCode) -> bool {
    status.is_informational() || matches!(status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED)
}

/// Whether the connection stays (RFC 9112 §9.3).
fn keeps(is_1_1: bool, headers: &HeaderMap) -> bool {
    let says = |option: &[u8]| {
        headers
            .get_all(header::CONNECTION)
            .iter()
            .flat_map(|value| value.as_bytes().split(|&byte| byte == b','))
            .any(|one| one.trim_ascii().eq_ignore_ascii_case(option))
    };
    if is_1_1 { !says(b"close") } else { says(b"keep-alive") && !says(b"close") }
}

static REQUEST_ID: HeaderName = HeaderName::from_static("x-amz-request-id");
static ID_2: HeaderName = HeaderName::from_static("x-amz-id-2");

/// A field's name; those that every store sends are spared the parser and an allocation.
fn named(name: &[u8]) -> Option<HeaderName> {
    Some(match name {
        b"x-amz-request-id" => REQUEST_ID.clone(),
        b"x-amz-id-2" => ID_2.clone(),
        _ => HeaderName::from_bytes(name).ok()?,
    })
}

/// What an answer goes by besides itself.
#[derive(Clone, Copy, Debug)]
pub struct Manner<'a> {
    /// The request was HTTP/1.1; 1.0 else.
    pub is_1_1: bool,
    /// It was a HEAD.
    pub to_head: bool,
    /// The connection is to be used again.
    pub keeps: bool,
    /// `Date`, where the answer has none.
    pub date: &'a str,
}

/// Appends the head of an answer whose body has `size` bytes, where that is known. Returns how its body is
/// framed, and whether the connection may be used again.
pub fn write(head: &Parts, size: Option<u64>, manner: Manner<'_>, into: &mut Vec<u8>) -> (Framing, bool) {
    let Manner { is_1_1, to_head, mut keeps, date } = manner;
    let headers = &head.headers;
    let bodiless = to_head || has_no_body(head.status);
    let told = headers.get(header::CONTENT_LENGTH).and_then(|length| digits(length.as_bytes()));
    let framing = match told.or(size) {
        _ if bodiless => Framing::Exactly(0),
        Some(length) => Framing::Exactly(length),
        None if is_1_1 => Framing::Chunked,
        None => Framing::UntilEnd,
    };
    let closes = |value: &HeaderValue| value.as_bytes().eq_ignore_ascii_case(b"close");
    keeps &= framing != Framing::UntilEnd && !headers.get_all(header::CONNECTION).iter().any(closes);
    into.extend_from_slice(if is_1_1 { b"HTTP/1.1 " } else { b"HTTP/1.0 " });
    into.extend_from_slice(head.status.as_str().as_bytes());
    into.push(b' ');
    match head.extensions.get() {
        Some(Reason(words)) => into.extend_from_slice(words),
        None => into.extend_from_slice(head.status.canonical_reason().unwrap_or_default().as_bytes()),
    }
    into.extend_from_slice(b"\r\n");
    for (name, value) in headers {
        let ours = matches!(*name, header::CONNECTION | header::TRANSFER_ENCODING)
            || (*name == header::CONTENT_LENGTH && (told.is_none() || head.status == StatusCode::NO_CONTENT));
        if !ours {
            field(name.as_str(), value.as_bytes(), into);
        }
    }
    match framing {
        Framing::Exactly(length) if told.is_none() && !bodiless => {
            let mut digits = itoa::Buffer::new();
            field("content-length", digits.format(length).as_bytes(), into);
        }
        Framing::Chunked => field("transfer-encoding", b"chunked", into),
        Framing::Exactly(_) | Framing::UntilEnd => {}
    }
    match (is_1_1, keeps) {
        (true, false) => field("connection", b"close", into),
        (false, true) => field("connection", b"keep-alive", into),
        (true, true) | (false, false) => {}
    }
    if !headers.contains_key(header::DATE) {
        field("date", date.as_bytes(), into);
    }
    into.extend_from_slice(b"\r\n");
    (framing, keeps)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read(text: &str, to_head: bool) -> Result<Answer, Malformed> {
        let found = find(text.as_bytes())?.expect("it is whole");
        assert_eq!(found.length, text.len());
        found.read(&Bytes::copy_from_slice(text.as_bytes()), to_head)
    }

    fn answer(fields: &str) -> Result<Answer, Malformed> {
        read(&format!("HTTP/1.1 200 OK\r\n{fields}\r\n"), false)
    }

    #[test]
    fn a_head_is_read_as_it_is() {
        let text = "HTTP/1.1 503 Slow Down\r\nServer: s\r\nx-amz-meta-A:  b c \r\nETag: \"1\"\r\nx-amz-meta-a: d\r\ncontent-length: 5\r\n\r\n";
        let answer = read(text, false).unwrap();
        assert_eq!(answer.head.status, 503);
        assert_eq!(answer.head.extensions.get(), Some(&Reason(Bytes::from_static(b"Slow Down"))));
        assert_eq!(answer.head.headers.get_all("x-amz-meta-a").iter().collect::<Vec<_>>(), ["b c", "d"]);
        assert_eq!((answer.framing, answer.keeps), (Framing::Exactly(5), true));
        for usual in ["404 Not Found", "404", "404 ", "404 \u{fc}"] {
            let usual = read(&format!("HTTP/1.1 {usual}\r\n\r\n"), false).unwrap();
            assert_eq!(usual.head.extensions.get::<Reason>(), None);
        }
    }

    #[test]
    fn any_beginning_of_a_head_waits_for_the_rest() {
        let text = b"HTTP/1.1 200 OK\r\nx-amz-id-2: a\r\nContent-Length: 5\r\n\r\nhello";
        let end = text.len() - 5;
        for at in 0..end {
            assert!(find(&text[..at]).unwrap().is_none(), "{at}");
        }
        assert_eq!(find(text).unwrap().map(|found| found.length), Some(end));
    }

    #[test]
    fn bodies_are_framed_as_rfc_9112_says() {
        for (fields, framing) in [
            ("content-length: 0\r\n", Framing::Exactly(0)),
            ("content-length: 7\r\nContent-Length: 7\r\n", Framing::Exactly(7)),
            ("content-length: 7, 7\r\n", Framing::Exactly(7)),
            ("transfer-encoding: Chunked\r\n", Framing::Chunked),
            ("transfer-encoding: chunked\r\ncontent-length: 7\r\n", Framing::Chunked),
            ("transfer-encoding: identity\r\ncontent-length: 7\r\n", Framing::Exactly(7)),
            ("", Framing::UntilEnd),
        ] {
            assert_eq!(answer(fields).unwrap().framing, framing, "{fields}");
        }
        let both = answer("transfer-encoding: chunked\r\ncontent-length: 7\r\n").unwrap();
        assert!(!both.head.headers.contains_key("content-length"));
        for to_head in [false, true] {
            for twice in ["content-length: 7\r\ncontent-length: 7\r\n", "content-length: 7, 7\r\n"] {
                let once = read(&format!("HTTP/1.1 200 OK\r\n{twice}\r\n"), to_head).unwrap();
                let told = once.head.headers.get_all("content-length").iter().collect::<Vec<_>>();
                assert_eq!(told, ["7"], "whoever reads it next may be stricter");
            }
        }
        for fields in [
            "content-length: 7\r\ncontent-length: 8\r\n",
            "content-length: +7\r\n",
            "content-length: 7 7\r\n",
            "content-length: \r\n",
            "content-length: 18446744073709551616\r\n",
            "transfer-encoding: gzip\r\n",
            "transfer-encoding: gzip, chunked\r\n",
            "transfer-encoding: chunked\r\ntransfer-encoding: chunked\r\n",
        ] {
            assert!(answer(fields).is_err(), "{fields}");
        }
        assert!(read("HTTP/1.0 200 OK\r\ntransfer-encoding: chunked\r\n\r\n", false).is_err());
    }

    #[test]
    fn some_answers_have_no_body_whatever_they_say() {
        for status in ["204 No Content", "304 Not Modified", "100 Continue", "101 Switching Protocols"] {
            let text = format!("HTTP/1.1 {status}\r\ncontent-length: 7\r\n\r\n");
            let answer = read(&text, false).unwrap();
            assert_eq!(answer.framing, Framing::Exactly(0), "{status}");
            assert_eq!(answer.head.headers.get("content-length").unwrap(), "7");
        }
        let head = read("HTTP/1.1 200 OK\r\ncontent-length: 7\r\n\r\n", true).unwrap();
        assert_eq!((head.framing, head.keeps), (Framing::Exactly(0), true));
    }

    #[test]
    fn a_connection_is_kept_where_nobody_says_otherwise() {
        for (line, fields, keeps) in [
            ("HTTP/1.1", "content-length: 0", true),
            ("HTTP/1.1", "content-length: 0\r\nconnection: Close", false),
            ("HTTP/1.1", "content-length: 0\r\nconnection: x, close", false),
            ("HTTP/1.1", "server: s", false),
            ("HTTP/1.0", "content-length: 0", false),
            ("HTTP/1.0", "content-length: 0\r\nconnection: Keep-Alive", true),
        ] {
            let text = format!("{line} 200 OK\r\n{fields}\r\n\r\n");
            assert_eq!(read(&text, false).unwrap().keeps, keeps, "{text}");
        }
        assert!(!read("HTTP/1.1 101 Switching Protocols\r\n\r\n", false).unwrap().keeps);
    }

    #[test]
    fn what_is_no_answer_is_said_to_be_none() {
        for text in [
            "SSH-2.0-OpenSSH_9.2\r\n\r\n",
            "HTTP/2 200\r\n\r\n",
            "HTTP/1.1 99 x\r\n\r\n",
            "HTTP/1.1 200 OK\r\n no: fold\r\n\r\n",
            "HTTP/1.1 200 OK\r\nna me: x\r\n\r\n",
            "HTTP/1.1 200 OK\r\nname : x\r\n\r\n",
        ] {
            let found = find(text.as_bytes());
            assert!(found.is_err(), "{text:?}: {found:?}");
        }
        let many = format!("HTTP/1.1 200 OK\r\n{}\r\n", "a: b\r\n".repeat(FIELDS_MAX + 1));
        assert_eq!(find(many.as_bytes()).unwrap_err(), Malformed("it has too many fields"));
        let long = format!("HTTP/1.1 200 OK\r\na: {}", "b".repeat(HEAD_MAX));
        assert_eq!(find(long.as_bytes()).unwrap_err(), Malformed("its head is too long"));
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..200), to_head: bool) {
            for opening in [&b""[..], b"HTTP/1.1 200 OK\r\n"] {
                let whole = [opening, &bytes, b"\r\n\r\n"].concat();
                if let Ok(Some(found)) = find(&whole) {
                    let _read = found.read(&Bytes::from(whole), to_head);
                }
            }
        }
    }

    fn written(
        status: u16,
        fields: &[(&'static str, &'static str)],
        size: Option<u64>,
        manner: Manner<'_>,
    ) -> (String, Framing, bool) {
        let mut response = Response::builder().status(status);
        for (name, value) in fields {
            response = response.header(*name, *value);
        }
        let mut into = Vec::new();
        let (framing, keeps) = write(&response.body(()).unwrap().into_parts().0, size, manner, &mut into);
        (String::from_utf8(into).unwrap(), framing, keeps)
    }

    const MANNER: Manner<'_> = Manner { is_1_1: true, to_head: false, keeps: true, date: "today" };

    #[test]
    #[expect(clippy::too_many_lines, reason = "a table")]
    fn an_answer_says_how_long_it_is_and_what_becomes_of_the_connection() {
        let old = Manner { is_1_1: false, ..MANNER };
        let last = Manner { keeps: false, ..MANNER };
        let to_head = Manner { to_head: true, ..MANNER };
        let exactly = Framing::Exactly;
        for (status, fields, size, manner, wanted, framing, keeps) in [
            (
                200,
                &[("etag", "x")][..],
                Some(3),
                MANNER,
                "HTTP/1.1 200 OK\r\netag: x\r\ncontent-length: 3\r\ndate: today\r\n\r\n",
                exactly(3),
                true,
            ),
            (
                200,
                &[("content-length", "3"), ("date", "then")],
                None,
                MANNER,
                "HTTP/1.1 200 OK\r\ncontent-length: 3\r\ndate: then\r\n\r\n",
                exactly(3),
                true,
            ),
            (
                200,
                &[],
                None,
                MANNER,
                "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\ndate: today\r\n\r\n",
                Framing::Chunked,
                true,
            ),
            (200, &[], None, old, "HTTP/1.0 200 OK\r\ndate: today\r\n\r\n", Framing::UntilEnd, false),
            (
                200,
                &[],
                Some(0),
                old,
                "HTTP/1.0 200 OK\r\ncontent-length: 0\r\nconnection: keep-alive\r\ndate: today\r\n\r\n",
                exactly(0),
                true,
            ),
            (
                200,
                &[],
                Some(0),
                last,
                "HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\ndate: today\r\n\r\n",
                exactly(0),
                false,
            ),
            (
                200,
                &[("connection", "close")],
                Some(0),
                MANNER,
                "HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\ndate: today\r\n\r\n",
                exactly(0),
                false,
            ),
            (
                200,
                &[("content-length", "9")],
                Some(0),
                to_head,
                "HTTP/1.1 200 OK\r\ncontent-length: 9\r\ndate: today\r\n\r\n",
                exactly(0),
                true,
            ),
            (200, &[], Some(0), to_head, "HTTP/1.1 200 OK\r\ndate: today\r\n\r\n", exactly(0), true),
            (
                204,
                &[("content-length", "0")],
                Some(0),
                MANNER,
                "HTTP/1.1 204 No Content\r\ndate: today\r\n\r\n",
                exactly(0),
                true,
            ),
            (304, &[], Some(0), MANNER, "HTTP/1.1 304 Not Modified\r\ndate: today\r\n\r\n", exactly(0), true),
            (
                200,
                &[("transfer-encoding", "chunked")],
                Some(1),
                MANNER,
                "HTTP/1.1 200 OK\r\ncontent-length: 1\r\ndate: today\r\n\r\n",
                exactly(1),
                true,
            ),
        ] {
            assert_eq!(written(status, fields, size, manner), (wanted.to_owned(), framing, keeps));
        }
    }
}
