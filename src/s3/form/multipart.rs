//! `multipart/form-data`, taken apart as it comes: the fields before the file whole and bounded, the
//! file's bytes as they pass. What follows the file is ignored, as S3 does.
//!
//! What two readers might take for two things is refused: a delimiter that is followed by neither a
//! line end nor `--`, a part without a name, a coding of a part's bytes.

use bytes::Bytes;
use memchr::memmem;

use super::fields::Form;
use crate::head::Head;
use crate::s3::{Code, Malformed};

/// Most bytes of the names and values of all fields before the file: S3's own limit.
pub(super) const FIELDS_MAX: usize = 20 * 1024;
/// Most bytes before the file on the wire: twice as many, since each field has a delimiter and a head
/// of its own.
const WIRE_MAX: usize = 2 * FIELDS_MAX;
/// Longest boundary: RFC 2046.
const BOUNDARY_MAX: usize = 70;
/// Longest head of a part: a disposition with a long file name, and a type.
const PART_HEAD_MAX: usize = 4 * 1024;
/// The field whose content becomes the object.
const FILE: &str = "file";

/// What stands between the parts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Boundary {
    /// Line end, two dashes and the boundary.
    delimiter: Vec<u8>,
}

impl Boundary {
    /// The boundary that `Content-Type` names.
    ///
    /// # Errors
    /// `MalformedPOSTRequest` where it names none, or one that RFC 2046 does not have.
    pub fn of(head: &Head) -> Result<Self, Malformed> {
        let parameters = head.first_text("content-type").and_then(|text| text.split_once(';'));
        let text = parameters.and_then(|(_, parameters)| parameter(parameters, "boundary"));
        let allowed = |byte: u8| byte.is_ascii_graphic() || byte == b' ';
        let text = text.filter(|text| {
            (1..=BOUNDARY_MAX).contains(&text.len()) && text.bytes().all(allowed) && !text.ends_with(' ')
        });
        match text {
            Some(text) => Ok(Self { delimiter: format!("\r\n--{text}").into_bytes() }),
            None => Err(malformed("Content-Type names no boundary of 1 to 70 characters.")),
        }
    }

    /// Bytes behind the file of a form whose last part is the file: delimiter, two dashes and a line
    /// end.
    #[must_use]
    pub fn closing(&self) -> u64 {
        self.delimiter.len() as u64 + 4
    }
}

/// Reads the fields before the file.
#[derive(Debug)]
pub struct Reader {
    boundary: Boundary,
    /// What came and is not yet taken apart.
    buffer: Vec<u8>,
    /// Bytes at its front in which what is looked for is not.
    searched: usize,
    /// Bytes that came.
    seen: usize,
    /// Bytes of names and values.
    said: usize,
    at: At,
    form: Form,
}

#[derive(Debug)]
enum At {
    /// In the value of this field, or before the first delimiter.
    Content(Option<String>),
    /// Behind a delimiter.
    Delimiter,
    /// In the head of a part.
    Head,
}

impl Reader {
    /// Nothing has come yet.
    #[must_use]
    pub fn new(boundary: Boundary) -> Self {
        // The first delimiter has no line before it.
        let buffer = b"\r\n".to_vec();
        Self { boundary, buffer, searched: 0, seen: 0, said: 0, at: At::Content(None), form: Form::default() }
    }

    /// Takes bytes in. At the file's first byte the form is complete: it, and the rest of the bytes,
    /// with which the file begins.
    ///
    /// # Errors
    /// `MalformedPOSTRequest`, `MaxPostPreDataLengthExceededError`, `InvalidArgument` for a repeated
    /// field or a form without a file.
    pub fn push(&mut self, bytes: &Bytes) -> Result<Option<(Form, Bytes)>, Malformed> {
        let room = (WIRE_MAX - self.seen).min(bytes.len());
        let (fits, beyond) = bytes.split_at(room);
        self.buffer.extend_from_slice(fits);
        self.seen += room;
        if self.advance()? {
            let mut form = std::mem::take(&mut self.form);
            form.insert_file_name();
            let rest = room.saturating_sub(self.buffer.len());
            return Ok(Some((form, bytes.slice(rest..))));
        }
        if beyond.is_empty() { Ok(None) } else { Err(too_long()) }
    }

    /// What reads the file.
    #[must_use]
    pub fn into_file(self) -> FileReader {
        FileReader { boundary: self.boundary, carried: Vec::new(), place: Place::Within }
    }

    /// Takes apart what there is; whether the file is reached.
    fn advance(&mut self) -> Result<bool, Malformed> {
        loop {
            let at = std::mem::replace(&mut self.at, At::Delimiter);
            match at {
                At::Content(name) => {
                    let Some(value) = self.cut(Needle::Delimiter) else {
                        self.at = At::Content(name);
                        return Ok(false);
                    };
                    self.keep(name, value)?;
                }
                At::Delimiter => match self.buffer.get(..2) {
                    None => return Ok(false),
                    Some(b"\r\n") => {
                        // stays: an empty head begins with the end of all its lines
                        self.at = At::Head;
                    }
                    Some(b"--") => return Err(no_file()),
                    Some(_) => return Err(malformed(NOT_A_DELIMITER)),
                },
                At::Head => match self.cut(Needle::HeadEnd) {
                    Some(head) => {
                        let part = Part::read(head.get(2..).unwrap_or_default())?;
                        if part.name.eq_ignore_ascii_case(FILE) {
                            self.form.file_name = part.file_name.unwrap_or_default();
                            return Ok(true);
                        }
                        self.at = At::Content(Some(part.name));
                    }
                    None if self.buffer.len() > PART_HEAD_MAX => {
                        return Err(malformed("The head of a part is too long."));
                    }
                    None => {
                        self.at = At::Head;
                        return Ok(false);
                    }
                },
            }
        }
    }

    /// Takes out what is before the needle, and the needle.
    fn cut(&mut self, needle: Needle) -> Option<Vec<u8>> {
        let needle = match needle {
            Needle::Delimiter => self.boundary.delimiter.as_slice(),
            Needle::HeadEnd => b"\r\n\r\n",
        };
        let unsearched = self.buffer.get(self.searched..).unwrap_or_default();
        let Some(found) = memmem::find(unsearched, needle) else {
            self.searched = (self.buffer.len() + 1).saturating_sub(needle.len());
            return None;
        };
        let end = self.searched + found;
        let length = needle.len();
        self.searched = 0;
        let mut before: Vec<u8> = self.buffer.drain(..end + length).collect();
        before.truncate(end);
        Some(before)
    }

    fn keep(&mut self, name: Option<String>, value: Vec<u8>) -> Result<(), Malformed> {
        // what stands before the first delimiter is for people
        let Some(name) = name else { return Ok(()) };
        self.said += name.len() + value.len();
        if self.said > FIELDS_MAX {
            return Err(too_long());
        }
        let value = String::from_utf8(value);
        let value = value.map_err(|_| malformed("The value of a field is not UTF-8."))?;
        self.form.add(&name, value)
    }
}

#[derive(Clone, Copy)]
enum Needle {
    Delimiter,
    HeadEnd,
}

/// What the head of a part says.
#[derive(Debug, PartialEq, Eq)]
struct Part {
    name: String,
    file_name: Option<String>,
}

impl Part {
    fn read(head: &[u8]) -> Result<Self, Malformed> {
        let head = std::str::from_utf8(head).map_err(|_| malformed("The head of a part is not UTF-8."))?;
        let mut disposition = None;
        for line in head.split("\r\n").filter(|line| !line.is_empty()) {
            let (name, value) =
                line.split_once(':').ok_or_else(|| malformed("A line in the head of a part has no name."))?;
            let value = value.trim();
            if name.eq_ignore_ascii_case("content-disposition") {
                if disposition.replace(value).is_some() {
                    return Err(malformed("A part has two dispositions."));
                }
            } else if name.eq_ignore_ascii_case("content-transfer-encoding") {
                let plain = ["binary", "8bit", "7bit"].iter().any(|plain| value.eq_ignore_ascii_case(plain));
                if !plain {
                    return Err(malformed("A part has a transfer encoding."));
                }
            }
        }
        let parameters = disposition.and_then(|disposition| {
            let (kind, parameters) = disposition.split_once(';')?;
            kind.trim().eq_ignore_ascii_case("form-data").then_some(parameters)
        });
        let parameters = parameters.ok_or_else(|| malformed("A part is no form-data."))?;
        let name = parameter(parameters, "name").filter(|name| !name.is_empty());
        let name = name.ok_or_else(|| malformed("A part has no name."))?;
        Ok(Self { name, file_name: parameter(parameters, "filename") })
    }
}

/// The value of a parameter (`; name=value; name="value"`). Within quotes only `\"` is an escape:
/// browsers send other backslashes as they are, in the paths of files.
fn parameter(text: &str, wanted: &str) -> Option<String> {
    let mut rest = text;
    loop {
        rest = rest.trim_start_matches([';', ' ', '\t']);
        let (name, after) = rest.split_once('=')?;
        let after = after.trim_start();
        let (value, behind) = if let Some(quoted) = after.strip_prefix('"') {
            unquoted(quoted)?
        } else {
            let (value, behind) = after.split_once(';').unwrap_or((after, ""));
            (value.trim_end().to_owned(), behind)
        };
        if name.trim().eq_ignore_ascii_case(wanted) {
            return Some(value);
        }
        rest = behind;
    }
}

/// Text up to its closing quote, and what is behind.
fn unquoted(text: &str) -> Option<(String, &str)> {
    let mut value = String::new();
    let mut rest = text;
    loop {
        let (before, after) = rest.split_once('"')?;
        let Some(escaped) = before.strip_suffix('\\') else {
            value.push_str(before);
            return Some((value, after));
        };
        value.push_str(escaped);
        value.push('"');
        rest = after;
    }
}

/// Reads the file of a form, whose fields a [`Reader`] has read.
#[derive(Debug)]
pub struct FileReader {
    boundary: Boundary,
    /// What may be the beginning of the delimiter, or what follows it.
    carried: Vec<u8>,
    place: Place,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    Within,
    /// Behind the delimiter, whose next two bytes say what follows.
    Ending,
    Behind,
}

/// Why the file of a form cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// The body ended, and no delimiter had come.
    #[error("the form ended within its file")]
    Cut,
    /// Something that begins like a delimiter, and is none.
    #[error("{NOT_A_DELIMITER}")]
    NotADelimiter,
}

const NOT_A_DELIMITER: &str = "A delimiter is followed by neither a line end nor two dashes.";

impl FileReader {
    /// Takes bytes in and appends those of the file.
    ///
    /// # Errors
    /// [`Fault::NotADelimiter`].
    pub fn push(&mut self, bytes: &Bytes, out: &mut Vec<Bytes>) -> Result<(), Fault> {
        match self.place {
            Place::Behind => Ok(()),
            Place::Ending => self.ending(bytes),
            Place::Within if self.carried.is_empty() => self.within(bytes, out),
            // rare: one frame in 256 ends like this
            Place::Within => {
                let mut joined = std::mem::take(&mut self.carried);
                joined.extend_from_slice(bytes);
                self.within(&Bytes::from(joined), out)
            }
        }
    }

    /// Whether the file's last byte has come.
    #[must_use]
    pub fn has_ended(&self) -> bool {
        self.place == Place::Behind
    }

    /// The body has ended.
    ///
    /// # Errors
    /// [`Fault::Cut`] where the file had not.
    pub fn finish(&self) -> Result<(), Fault> {
        if self.has_ended() { Ok(()) } else { Err(Fault::Cut) }
    }

    /// As [`Boundary::closing`].
    #[must_use]
    pub fn closing(&self) -> u64 {
        self.boundary.closing()
    }

    fn within(&mut self, bytes: &Bytes, out: &mut Vec<Bytes>) -> Result<(), Fault> {
        let delimiter = self.boundary.delimiter.as_slice();
        if let Some(end) = memmem::find(bytes, delimiter) {
            let behind = bytes.slice(end + delimiter.len()..);
            give(bytes.slice(..end), out);
            self.place = Place::Ending;
            return self.ending(&behind);
        }
        let certain = certain(bytes, delimiter);
        self.carried = bytes.get(certain..).unwrap_or_default().to_vec();
        give(bytes.slice(..certain), out);
        Ok(())
    }

    fn ending(&mut self, bytes: &Bytes) -> Result<(), Fault> {
        let wanted = 2 - self.carried.len().min(2);
        self.carried.extend_from_slice(bytes.get(..wanted.min(bytes.len())).unwrap_or_default());
        match self.carried.as_slice() {
            b"\r\n" | b"--" => {
                self.place = Place::Behind;
                self.carried.clear();
                Ok(())
            }
            [_, _] => Err(Fault::NotADelimiter),
            _ => Ok(()),
        }
    }
}

fn give(bytes: Bytes, out: &mut Vec<Bytes>) {
    if !bytes.is_empty() {
        out.push(bytes);
    }
}

/// How many bytes are the file's, whatever follows: the rest may be the beginning of the delimiter,
/// whose line end occurs in it once.
fn certain(bytes: &[u8], delimiter: &[u8]) -> usize {
    let from = (bytes.len() + 1).saturating_sub(delimiter.len());
    let tail = bytes.get(from..).unwrap_or_default();
    match memchr::memrchr(b'\r', tail) {
        Some(at) if delimiter.starts_with(tail.get(at..).unwrap_or_default()) => from + at,
        _ => bytes.len(),
    }
}

fn malformed(detail: &'static str) -> Malformed {
    let words = Code::MalformedPOSTRequest.message();
    Malformed::because(Code::MalformedPOSTRequest, format!("{words} {detail}"))
}

fn too_long() -> Malformed {
    Malformed::new(Code::MaxPostPreDataLengthExceededError)
}

fn no_file() -> Malformed {
    Malformed::argument("file", "0", "POST requires exactly one file upload per request.")
}

#[cfg(test)]
mod tests {
    use http::Method;
    use proptest::prelude::*;

    use super::super::fields::FIELDS_COUNT_MAX;
    use super::*;

    fn boundary() -> Boundary {
        Boundary { delimiter: b"\r\n--XX".to_vec() }
    }

    fn boundary_of(content_type: &str) -> Option<String> {
        let mut head = Head::new(Method::POST, "/b");
        head.push("content-type", content_type.as_bytes());
        let text = |boundary: Boundary| String::from_utf8(boundary.delimiter).unwrap();
        Boundary::of(&head).ok().map(|boundary| text(boundary).split_off(4))
    }

    /// A form as browsers write it: fields, the file, and what is behind.
    fn form(fields: &[(&str, &str)], file: &[u8], behind: &str) -> Vec<u8> {
        let mut out = Vec::new();
        for (name, value) in fields {
            let head = format!("--XX\r\nContent-Disposition: form-data; name=\"{name}\"\r\n\r\n{value}\r\n");
            out.extend_from_slice(head.as_bytes());
        }
        out.extend_from_slice(
            b"--XX\r\nContent-Disposition: form-data; name=\"file\"; filename=\"a.txt\"\r\n",
        );
        out.extend_from_slice(b"Content-Type: text/plain\r\n\r\n");
        out.extend_from_slice(file);
        out.extend_from_slice(behind.as_bytes());
        out
    }

    const END: &str = "\r\n--XX--\r\n";

    /// Reads a form that comes in pieces of these sizes: its fields, and its file.
    fn read(body: &[u8], sizes: &[usize]) -> Result<(Form, Vec<u8>), Malformed> {
        let mut sizes = sizes.iter().copied().cycle();
        let mut rest = body;
        let mut reader = Reader::new(boundary());
        let mut piece = || {
            let (piece, after) = rest.split_at(sizes.next().unwrap_or(usize::MAX).max(1).min(rest.len()));
            rest = after;
            (Bytes::copy_from_slice(piece), after.is_empty())
        };
        let (form, first, mut ended) = loop {
            let (bytes, ended) = piece();
            if let Some((form, first)) = reader.push(&bytes)? {
                break (form, first, ended);
            }
            if ended {
                return Err(malformed("cut"));
            }
        };
        let mut file = reader.into_file();
        let mut out = Vec::new();
        let bad = |_| malformed(NOT_A_DELIMITER);
        file.push(&first, &mut out).map_err(bad)?;
        while !ended {
            let (bytes, last) = piece();
            file.push(&bytes, &mut out).map_err(bad)?;
            ended = last;
        }
        file.finish().map_err(|_| malformed("cut"))?;
        Ok((form, out.concat()))
    }

    fn refused(body: &[u8]) -> Code {
        read(body, &[1000]).map(|(form, _)| form).expect_err("refused").code
    }

    #[test]
    fn boundaries_are_read_as_clients_write_them() {
        for (content_type, expected) in [
            ("multipart/form-data; boundary=----WebKitFormBoundaryAbC", Some("----WebKitFormBoundaryAbC")),
            ("multipart/form-data; charset=utf-8; boundary=\"a b;c\"", Some("a b;c")),
            ("Multipart/Form-Data;Boundary=x; charset=utf-8", Some("x")),
            ("multipart/form-data", None),
            ("multipart/form-data; boundary=", None),
            ("multipart/form-data; boundary=\"a ", None),
            ("multipart/form-data; boundary=\u{e9}", None),
        ] {
            assert_eq!(boundary_of(content_type).as_deref(), expected, "{content_type}");
        }
        let long =
            |length: usize| boundary_of(&format!("multipart/form-data; boundary={}", "b".repeat(length)));
        assert!(long(70).is_some() && long(71).is_none());
    }

    #[test]
    fn fields_and_file_are_told_apart_and_what_follows_is_ignored() {
        let behind = "\r\n--XX\r\nContent-Disposition: form-data; name=\"key\"\r\n\r\nother\r\n--XX--\r\n";
        for behind in [END, "\r\n--XX--", behind] {
            let body =
                form(&[("KEY", "k"), ("empty", ""), ("x-amz-meta-a", "a\r\n--X")], b"\r\n--X\r\n", behind);
            let (form, file) = read(&body, &[7]).unwrap();
            assert_eq!((form.value("key"), form.value("empty")), (Some("k"), Some("")));
            assert_eq!(form.value("x-amz-meta-a"), Some("a\r\n--X"));
            assert_eq!((form.file_name.as_str(), file.as_slice()), ("a.txt", &b"\r\n--X\r\n"[..]));
        }
    }

    #[test]
    fn dispositions_are_read_as_clients_write_them() {
        let part = |head: &str| Part::read(head.as_bytes()).ok().map(|part| (part.name, part.file_name));
        let named = |name: &str, file: &str| Some((name.to_owned(), Some(file.to_owned())));
        let plain = "content-disposition:form-data;name=file;filename=a.txt";
        assert_eq!(part(plain), named("file", "a.txt"));
        let path = r#"Content-Disposition: form-data; filename="C:\dir\a;b.txt"; name="file""#;
        assert_eq!(part(path), named("file", r"C:\dir\a;b.txt"));
        let quote = r#"Content-Disposition: form-data; name="file"; filename="a\"b""#;
        assert_eq!(part(quote), named("file", "a\"b"));
        let binary = format!("Content-Transfer-Encoding: Binary\r\nContent-Type: text/plain\r\n{plain}");
        assert_eq!(part(&binary), named("file", "a.txt"));
        for bad in [
            "",
            "Content-Type: text/plain",
            "Content-Disposition: attachment; name=\"file\"",
            "Content-Disposition: form-data; filename=\"a\"",
            "Content-Disposition: form-data; name=\"\"",
            "Content-Disposition: form-data; name=\"a",
            "Content-Disposition: form-data; name=a\r\nContent-Disposition: form-data; name=b",
            "Content-Disposition: form-data; name=a\r\nContent-Transfer-Encoding: base64",
            "Content-Disposition",
        ] {
            assert_eq!(part(bad), None, "{bad}");
        }
    }

    #[test]
    fn bodies_that_are_no_forms_are_refused() {
        let mut cut = form(&[("key", "k")], b"x", "");
        assert_eq!(refused(&cut), Code::MalformedPOSTRequest);
        cut.extend_from_slice(b"\r\n--XX..");
        assert_eq!(refused(&cut), Code::MalformedPOSTRequest);
        assert_eq!(refused(b"key=k&file=x"), Code::MalformedPOSTRequest);
        assert_eq!(refused(b"--XX--\r\n"), Code::InvalidArgument);
        assert_eq!(refused(b"--XXkey"), Code::MalformedPOSTRequest);
        assert_eq!(refused(b"--XX\r\n\r\nvalue\r\n--XX--"), Code::MalformedPOSTRequest);
        assert_eq!(refused(&form(&[("key", "a"), ("Key", "b")], b"x", END)), Code::InvalidArgument);
    }

    #[test]
    fn fields_are_bounded_and_the_file_is_not() {
        let fits = "v".repeat(FIELDS_MAX - 4);
        let file = vec![b'f'; 10 * WIRE_MAX];
        for sizes in [[100_000], [100]] {
            assert!(read(&form(&[("name", &fits)], &file, END), &sizes).is_ok());
            let over = read(&form(&[("names", &fits)], &file, END), &sizes);
            assert_eq!(over.err().map(|fault| fault.code), Some(Code::MaxPostPreDataLengthExceededError));
            let preamble = [&vec![b'p'; WIRE_MAX][..], &form(&[], b"x", END)].concat();
            let over = read(&preamble, &sizes);
            assert_eq!(over.err().map(|fault| fault.code), Some(Code::MaxPostPreDataLengthExceededError));
        }
        let names: Vec<String> = (0..=FIELDS_COUNT_MAX).map(|n| n.to_string()).collect();
        let fields: Vec<(&str, &str)> = names.iter().map(|name| (name.as_str(), "")).collect();
        assert!(read(&form(&fields[1..], b"x", END), &[1000]).is_ok());
        assert_eq!(refused(&form(&fields, b"x", END)), Code::MaxPostPreDataLengthExceededError);
    }

    proptest! {
        #[test]
        fn any_split_reads_the_same(
            file in proptest::collection::vec(prop_oneof![Just(b'\r'), Just(b'\n'), Just(b'-'), Just(b'X'), any::<u8>()], 0..200),
            sizes in proptest::collection::vec(1_usize..40, 1..8),
            value in "[a-z\r\n-]{0,20}",
        ) {
            prop_assume!(memmem::find(&file, b"\r\n--XX").is_none());
            let body = form(&[("key", &value)], &file, END);
            let (form, read) = read(&body, &sizes).unwrap();
            prop_assert_eq!(form.value("key"), Some(value.as_str()));
            prop_assert_eq!(read, file);
        }

        #[test]
        fn no_bytes_panic(bytes in proptest::collection::vec(prop_oneof![Just(b'\r'), Just(b'\n'), Just(b'-'), Just(b'X'), any::<u8>()], 0..300)) {
            read(&bytes, &[3, 50]).map(|_| ()).unwrap_or_default();
        }
    }
}
