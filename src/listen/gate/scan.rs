//! The gate's machine: bytes of a connection in, a verdict out, the same for any split of the
//! bytes. Pure.
//!
//! It follows heads and bodies (`Content-Length`, chunked) so that it knows where the next head
//! begins, and lets a line pass only once it is judged: the server never sees the end of a head that
//! was refused.

use super::Violation;
use super::head::{Body, HeadLines, is_token, split_field};

/// What a head may measure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HeadLimits {
    /// Bytes from the first of the request line to the last of the empty line.
    pub bytes: usize,
    /// Field lines.
    pub fields: usize,
}

/// The verdict over one piece of input.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Scan {
    /// How many bytes may pass on.
    pub passed: usize,
    /// What is wrong after them, if anything. Final: nothing passes afterwards.
    pub violation: Option<Violation>,
}

/// Where in a connection's bytes the machine stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Before the first byte of a head.
    Between,
    /// Within a head.
    Head,
    /// Within a body.
    Body,
}

/// Scans the bytes of one HTTP/1.1 connection.
#[derive(Debug)]
pub struct Scanner {
    limits: HeadLimits,
    state: State,
    /// The beginning of a line whose end has not come.
    carry: Vec<u8>,
    head: HeadLines,
    /// Bytes of size lines or trailers within this body.
    overhead: usize,
    heads: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Head,
    Sized(u64),
    ChunkSize,
    ChunkBytes(u64),
    ChunkEnd,
    Trailers,
    Refused(Violation),
}

/// Bytes of all chunk extensions of one body. Clients send none; hyper stops at 16 KiB.
const EXTENSIONS_MAX: usize = 8 << 10;
/// Bytes of one chunk size line. The longest sound one is 16 digits.
const SIZE_LINE_MAX: usize = 1 << 10;
/// Bytes of one trailer section. S3's trailers fit in 300; hyper stops at 16 KiB.
const TRAILERS_MAX: usize = 8 << 10;
/// Lines of one trailer section; hyper stops at 100.
const TRAILER_LINES_MAX: usize = 32;

impl Scanner {
    /// A machine at the beginning of a connection.
    #[must_use]
    pub fn new(limits: HeadLimits) -> Self {
        Self {
            limits,
            state: State::Head,
            carry: Vec::new(),
            head: HeadLines::default(),
            overhead: 0,
            heads: 0,
        }
    }

    /// How many complete heads have passed.
    #[must_use]
    pub fn heads(&self) -> u64 {
        self.heads
    }

    /// Where the machine stands.
    #[must_use]
    pub fn phase(&self) -> Phase {
        match self.state {
            State::Head if self.carry.is_empty() && self.head.bytes == 0 => Phase::Between,
            State::Head | State::Refused(_) => Phase::Head,
            _ => Phase::Body,
        }
    }

    /// Whether the last verdict struck a body rather than a head.
    #[must_use]
    pub fn refused_in_body(&self) -> bool {
        matches!(self.state, State::Refused(Violation::ChunkSize | Violation::ChunkEnd | Violation::Trailers))
    }

    /// Judges the next bytes of the connection.
    pub fn scan(&mut self, input: &[u8]) -> Scan {
        let mut passed = 0;
        while let Some(rest) = input.get(passed..).filter(|rest| !rest.is_empty()) {
            match self.step(rest) {
                Ok(taken) => passed += taken,
                Err(violation) => {
                    self.state = State::Refused(violation);
                    return Scan { passed, violation: Some(violation) };
                }
            }
        }
        Scan { passed, violation: None }
    }

    /// Takes some of `rest`, which is not empty; says how much.
    fn step(&mut self, rest: &[u8]) -> Result<usize, Violation> {
        match self.state {
            State::Head => self.head_line(rest),
            State::Sized(left) => Ok(self.skip(rest, left, State::Sized, State::Head)),
            State::ChunkBytes(left) => Ok(self.skip(rest, left, State::ChunkBytes, State::ChunkEnd)),
            State::ChunkSize => self.size_line(rest),
            State::ChunkEnd => self.chunk_end(rest),
            State::Trailers => self.trailer_line(rest),
            State::Refused(violation) => Err(violation),
        }
    }

    fn skip(&mut self, rest: &[u8], left: u64, on: fn(u64) -> State, then: State) -> usize {
        let here = u64::try_from(rest.len()).unwrap_or(u64::MAX).min(left);
        self.state = if here == left { then } else { on(left - here) };
        usize::try_from(here).unwrap_or(rest.len())
    }

    fn head_line(&mut self, rest: &[u8]) -> Result<usize, Violation> {
        let room = self.limits.bytes.saturating_sub(self.head.bytes);
        let too_long = if self.head.lines == 0 { Violation::TargetTooLong } else { Violation::HeadTooLarge };
        let mut carry = std::mem::take(&mut self.carry);
        let rules = LineRules { room, too_long, broken: Violation::LineEnd };
        let Some(end) = line_end(&mut carry, rest, rules)? else {
            self.carry = carry;
            return Ok(rest.len());
        };
        let line = end.line(&carry, rest);
        self.head.bytes += line.len() + 2;
        if let Some(body) = self.head.line(line, self.limits.fields)? {
            self.heads += 1;
            self.head = HeadLines::default();
            self.overhead = 0;
            self.state = match body {
                Body::Sized(0) => State::Head,
                Body::Sized(length) => State::Sized(length),
                Body::Chunked => State::ChunkSize,
            };
        }
        self.keep(carry);
        Ok(end.taken)
    }

    fn size_line(&mut self, rest: &[u8]) -> Result<usize, Violation> {
        let mut carry = std::mem::take(&mut self.carry);
        let Some(end) = line_end(&mut carry, rest, LineRules::body(SIZE_LINE_MAX, Violation::ChunkSize))?
        else {
            self.carry = carry;
            return Ok(rest.len());
        };
        let (size, extensions) = chunk_size(end.line(&carry, rest)).ok_or(Violation::ChunkSize)?;
        self.overhead += extensions;
        if self.overhead > EXTENSIONS_MAX {
            return Err(Violation::ChunkSize);
        }
        if size == 0 {
            self.overhead = 0;
            self.state = State::Trailers;
        } else {
            self.state = State::ChunkBytes(size);
        }
        self.keep(carry);
        Ok(end.taken)
    }

    /// CRLF and nothing else.
    fn chunk_end(&mut self, rest: &[u8]) -> Result<usize, Violation> {
        let mut carry = std::mem::take(&mut self.carry);
        let Some(end) = line_end(&mut carry, rest, LineRules::body(2, Violation::ChunkEnd))? else {
            if carry.first() != Some(&b'\r') {
                return Err(Violation::ChunkEnd);
            }
            self.carry = carry;
            return Ok(rest.len());
        };
        if !end.line(&carry, rest).is_empty() {
            return Err(Violation::ChunkEnd);
        }
        self.state = State::ChunkSize;
        self.keep(carry);
        Ok(end.taken)
    }

    fn trailer_line(&mut self, rest: &[u8]) -> Result<usize, Violation> {
        let mut carry = std::mem::take(&mut self.carry);
        let room = TRAILERS_MAX.saturating_sub(self.overhead);
        let Some(end) = line_end(&mut carry, rest, LineRules::body(room, Violation::Trailers))? else {
            self.carry = carry;
            return Ok(rest.len());
        };
        let line = end.line(&carry, rest);
        if line.is_empty() {
            self.state = State::Head;
            self.head = HeadLines::default();
        } else {
            split_field(line).map_err(|_| Violation::Trailers)?;
            self.overhead += line.len() + 2;
            self.head.lines += 1;
            if self.head.lines > TRAILER_LINES_MAX {
                return Err(Violation::Trailers);
            }
        }
        self.keep(carry);
        Ok(end.taken)
    }

    /// Keeps the carry's room for the next line that is split.
    fn keep(&mut self, mut carry: Vec<u8>) {
        carry.clear();
        self.carry = carry;
    }
}

/// Where a line ended.
struct LineEnd {
    /// Bytes of the input that belong to it, CRLF included.
    taken: usize,
    /// Bytes of its text within the input, or `None` where the text is in the carry.
    text: Option<usize>,
}

impl LineEnd {
    fn line<'a>(&self, carry: &'a [u8], rest: &'a [u8]) -> &'a [u8] {
        match self.text {
            Some(text) => rest.get(..text).unwrap_or_default(),
            None => carry,
        }
    }
}

/// How long a line may be and what is wrong if it is not well ended.
#[derive(Clone, Copy)]
struct LineRules {
    /// Bytes, CRLF included.
    room: usize,
    too_long: Violation,
    broken: Violation,
}

impl LineRules {
    fn body(room: usize, fault: Violation) -> Self {
        Self { room, too_long: fault, broken: fault }
    }
}

/// Finds the end of the line that begins in `carry` and goes on in `rest`. `None`: it has not
/// come, and `rest` is added to the carry. A line longer than its room is too long whatever
/// follows, so that the verdict is the same for any split.
fn line_end(carry: &mut Vec<u8>, rest: &[u8], rules: LineRules) -> Result<Option<LineEnd>, Violation> {
    let before = carry.len();
    let within = |taken: usize| if before + taken > rules.room { Err(rules.too_long) } else { Ok(()) };
    if carry.last() == Some(&b'\r') {
        within(1)?;
        if rest.first() != Some(&b'\n') {
            return Err(rules.broken);
        }
        carry.pop();
        return Ok(Some(LineEnd { taken: 1, text: None }));
    }
    let Some(at) = memchr::memchr2(b'\r', b'\n', rest) else {
        within(rest.len())?;
        carry.extend_from_slice(rest);
        return Ok(None);
    };
    if rest.get(at) == Some(&b'\n') {
        within(at + 1)?;
        return Err(rules.broken);
    }
    let Some(next) = rest.get(at + 1) else {
        within(at + 1)?;
        carry.extend_from_slice(rest);
        return Ok(None);
    };
    within(at + 2)?;
    if *next != b'\n' {
        return Err(rules.broken);
    }
    if before == 0 {
        return Ok(Some(LineEnd { taken: at + 2, text: Some(at) }));
    }
    carry.extend_from_slice(rest.get(..at).unwrap_or_default());
    Ok(Some(LineEnd { taken: at + 2, text: None }))
}

/// The size and the length of the extensions of a size line: 1 to 16 hexadecimal digits, then
/// `;name`, `;name=token` or `;name="quoted"`, without white space (RFC 9112 §7.1.1 has senders
/// add none).
fn chunk_size(line: &[u8]) -> Option<(u64, usize)> {
    let digits = memchr::memchr(b';', line).unwrap_or(line.len());
    let (size, extensions) = line.split_at_checked(digits)?;
    if size.is_empty() || size.len() > 16 {
        return None;
    }
    let size = size.iter().try_fold(0_u64, |sum, byte| {
        let digit = char::from(*byte).to_digit(16)?;
        Some(sum << 4 | u64::from(digit))
    })?;
    extensions_are_sound(extensions).then_some((size, extensions.len()))
}

fn extensions_are_sound(mut rest: &[u8]) -> bool {
    while !rest.is_empty() {
        let Some(extension) = rest.strip_prefix(b";") else { return false };
        let Some(after_name) = skip_token(extension) else { return false };
        rest = match after_name.strip_prefix(b"=") {
            None => after_name,
            Some(value) => {
                let Some(after) = skip_quoted(value).or_else(|| skip_token(value)) else { return false };
                after
            }
        };
    }
    true
}

/// What follows at least one token byte.
fn skip_token(text: &[u8]) -> Option<&[u8]> {
    let end = text.iter().position(|byte| !is_token(*byte)).unwrap_or(text.len());
    if end == 0 { None } else { text.get(end..) }
}

/// What follows a quoted string.
fn skip_quoted(text: &[u8]) -> Option<&[u8]> {
    let mut rest = text.strip_prefix(b"\"")?;
    loop {
        let (byte, after) = rest.split_first()?;
        rest = match byte {
            b'"' => return Some(after),
            b'\\' => after.split_first().filter(|(byte, _)| is_text(**byte))?.1,
            byte if is_text(*byte) => after,
            _ => return None,
        };
    }
}

fn is_text(byte: u8) -> bool {
    byte == b'\t' || (byte >= b' ' && byte != 0x7f)
}
