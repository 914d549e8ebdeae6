//! The push decoder: bytes in whatever pieces they come, spans of the object out.

use std::mem;

use aws_lc_rs::digest::{Context, SHA256};
use bytes::{Buf, Bytes};
use memchr::memchr;

use crate::sigv4::array;
use crate::sigv4::chunks::{Claimed, Framing, Seed, signature};

/// The longest line before a chunk. Real ones have at most 99 bytes (16 digits and a signature).
const CHUNK_LINE_MAX: usize = 1 << 10;
/// All trailer lines together.
const TRAILER_BYTES_MAX: usize = 8 << 10;
/// Trailer lines, the signature's among them.
const TRAILERS_MAX: usize = 16;
/// S3's largest upload, 5 GiB: no chunk is larger.
const CHUNK_MAX: u64 = 5 << 30;
/// A chunk that goes past the declared length by more than this is no miscount but nonsense.
const MISCOUNT_MAX: u64 = 1 << 20;
/// The trailer that signs the others.
const TRAILER_SIGNATURE: &str = "x-amz-trailer-signature";

/// Why a body is not what its head said. Nothing of it may be committed; where
/// [`Fault::closes`], the connection cannot be used again either.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// A chunk's size is no size, is above 5 GiB or far above what the head declared, or what
    /// surrounds the chunk is not what belongs there.
    #[error("The chunk framing of the request body is not valid: {0}")]
    InvalidChunk(&'static str),
    /// A chunk's signature does not hold; which chunk, counted from 0.
    #[error(
        "The request signature we calculated does not match the signature you provided. Check your key \
         and signing method. (chunk {chunk})"
    )]
    BadChunkSignature {
        /// Counted from 0.
        chunk: u64,
    },
    /// The trailers' signature does not hold.
    #[error(
        "The request signature we calculated does not match the signature you provided. Check your key \
         and signing method. (trailer)"
    )]
    BadTrailerSignature,
    /// The body has more or fewer bytes than `x-amz-decoded-content-length`, or ends early.
    #[error(
        "You did not provide the number of bytes specified by the x-amz-decoded-content-length HTTP header"
    )]
    IncompleteBody {
        /// What the head declared.
        declared: u64,
        /// What came, or would have come with the chunk that was announced.
        seen: u64,
    },
    /// A trailer that is not well formed, not declared in `x-amz-trailer`, or missing.
    #[error(
        "The request contained trailing data that was not well-formed or did not conform to our published schema."
    )]
    MalformedTrailer(&'static str),
    /// Bytes after the end.
    #[error("There are bytes after the end of the request body")]
    TrailingBytes,
}

impl Fault {
    /// S3's error code.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::InvalidChunk(_) | Self::TrailingBytes => "InvalidRequest",
            Self::BadChunkSignature { .. } | Self::BadTrailerSignature => "SignatureDoesNotMatch",
            Self::IncompleteBody { .. } => "IncompleteBody",
            Self::MalformedTrailer(_) => "MalformedTrailerError",
        }
    }

    /// The HTTP status of [`Self::code`].
    #[must_use]
    pub fn status(&self) -> u16 {
        match self {
            Self::BadChunkSignature { .. } | Self::BadTrailerSignature => 403,
            Self::InvalidChunk(_)
            | Self::TrailingBytes
            | Self::IncompleteBody { .. }
            | Self::MalformedTrailer(_) => 400,
        }
    }

    /// Whether the rest of the connection cannot be trusted to be framed as it should.
    #[must_use]
    pub fn closes(&self) -> bool {
        match self {
            Self::InvalidChunk(_) | Self::TrailingBytes | Self::IncompleteBody { .. } => true,
            Self::BadChunkSignature { .. } | Self::BadTrailerSignature | Self::MalformedTrailer(_) => false,
        }
    }
}

/// A trailer: lower-case name, trimmed value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trailer {
    /// Lower-case.
    pub name: String,
    /// Without the white space around it.
    pub value: String,
}

/// Takes an `aws-chunked` body apart. The result is the same for every split of the input.
///
/// Spans come out before their chunk's signature was seen, since a chunk may be a whole part.
/// Whoever commits them holds the end back until [`Decoder::finish`] said yes.
#[derive(Debug)]
pub struct Decoder {
    judge: Judge,
    carries_trailers: bool,
    decoded_length: u64,
    declared: Vec<String>,
    trailers: Vec<Trailer>,
    seen: u64,
    state: State,
    /// The line that is being read, across pushes.
    line: Vec<u8>,
    trailer_bytes: usize,
}

/// What is done about signatures.
#[derive(Debug)]
enum Judge {
    /// There are none, and none may be there.
    Absent,
    /// They are there and not looked at.
    Skip,
    /// They are checked.
    Check(Box<Chain>),
}

/// The chain of signatures, as far as it was followed.
struct Chain {
    seed: Box<Seed>,
    /// Over the bytes of the chunk that is being read.
    digest: Context,
    /// What the chunk's line says.
    claimed: Claimed,
    /// Chunks before this one.
    chunk: u64,
}

impl std::fmt::Debug for Chain {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Chain").field("chunk", &self.chunk).finish_non_exhaustive()
    }
}

impl Chain {
    /// Checks the chunk that ends here.
    fn close_chunk(&mut self) -> Result<(), Fault> {
        let digest = mem::replace(&mut self.digest, Context::new(&SHA256)).finish();
        if self.seed.takes_chunk(&array(digest.as_ref()), &self.claimed) {
            self.chunk += 1;
            Ok(())
        } else {
            Err(Fault::BadChunkSignature { chunk: self.chunk })
        }
    }
}

/// Where in the framing the next byte is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// In the line before a chunk.
    ChunkLine,
    /// In a chunk with this many bytes to come.
    Data { left: u64 },
    /// After a chunk's bytes, in its CRLF.
    DataEnd,
    /// After the zero chunk.
    Trailers(After),
    /// After the last CRLF.
    Done,
    /// After a fault: nothing is believed any more.
    Broken,
}

/// What the last line after the zero chunk was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum After {
    /// The zero chunk's own.
    ZeroChunk,
    /// An empty one that should not have been there: some clients send it before the trailers.
    EarlyBlank,
    /// A trailer.
    Trailer,
    /// A trailer whose value ended in a bare LF, as AWS's documentation once had it; the CRLF
    /// that follows belongs to it.
    BareTrailer,
}

impl Decoder {
    /// Begins a body of `decoded_length` bytes (`x-amz-decoded-content-length`) whose head
    /// declared these trailers ([`super::declared`]).
    #[must_use]
    pub fn new(framing: Framing, decoded_length: u64, declared: Vec<String>) -> Self {
        let (judge, carries_trailers) = match framing {
            Framing::UnsignedTrailer => (Judge::Absent, true),
            Framing::Unjudged { trailers } => (Judge::Skip, trailers),
            Framing::Signed { seed, trailers } => {
                let digest = Context::new(&SHA256);
                (Judge::Check(Box::new(Chain { seed, digest, claimed: Claimed::new(), chunk: 0 })), trailers)
            }
        };
        Self {
            judge,
            carries_trailers,
            decoded_length,
            declared,
            trailers: Vec::new(),
            seen: 0,
            state: State::ChunkLine,
            line: Vec::new(),
            trailer_bytes: 0,
        }
    }

    /// How many bytes of the object came out so far.
    #[must_use]
    pub fn decoded(&self) -> u64 {
        self.seen
    }

    /// Takes the next piece and appends the object's bytes in it to `spans`, without copying.
    ///
    /// # Errors
    /// Any [`Fault`]; what came out before stays in `spans`. After a fault every call fails.
    pub fn push(&mut self, input: &Bytes, spans: &mut Vec<Bytes>) -> Result<(), Fault> {
        let mut rest = input.clone();
        while rest.has_remaining() {
            if let Err(fault) = self.step(&mut rest, spans) {
                self.state = State::Broken;
                return Err(fault);
            }
        }
        Ok(())
    }

    /// Ends the body and yields its trailers, in the order in which they came.
    ///
    /// # Errors
    /// [`Fault::IncompleteBody`] where it ends early, [`Fault::MalformedTrailer`] where a declared
    /// trailer is missing, [`Fault::BadTrailerSignature`] where theirs is.
    pub fn finish(mut self) -> Result<Vec<Trailer>, Fault> {
        match self.state {
            State::Done => Ok(self.trailers),
            // the last CRLF is forgotten by some
            State::Trailers(After::ZeroChunk | After::Trailer | After::BareTrailer)
                if self.line.is_empty() =>
            {
                self.close()?;
                Ok(self.trailers)
            }
            State::Trailers(_) if self.trailer_is_missing() => Err(self.missing_trailer()),
            State::ChunkLine | State::Data { .. } | State::DataEnd | State::Trailers(_) | State::Broken => {
                Err(self.incomplete(self.seen))
            }
        }
    }

    fn step(&mut self, rest: &mut Bytes, spans: &mut Vec<Bytes>) -> Result<(), Fault> {
        match self.state {
            State::Data { left } => {
                self.take_bytes(left, rest, spans);
                Ok(())
            }
            State::ChunkLine => self.with_line(rest, CHUNK_LINE_MAX, Self::chunk_line),
            State::DataEnd => self.with_line(rest, 2, Self::data_end),
            State::Trailers(after) => {
                let limit = TRAILER_BYTES_MAX.saturating_sub(self.trailer_bytes);
                self.with_line(rest, limit, |decoder, line| {
                    decoder.trailer_bytes += line.len() + 1;
                    decoder.trailer_line(line, after)
                })
            }
            State::Done => Err(Fault::TrailingBytes),
            State::Broken => Err(self.incomplete(self.seen)),
        }
    }

    /// Hands out bytes of the chunk.
    fn take_bytes(&mut self, left: u64, rest: &mut Bytes, spans: &mut Vec<Bytes>) {
        let here = usize::try_from(left).unwrap_or(usize::MAX).min(rest.len());
        let span = rest.split_to(here);
        if let Judge::Check(chain) = &mut self.judge {
            chain.digest.update(&span);
        }
        let taken = u64::try_from(here).unwrap_or(u64::MAX);
        self.seen += taken;
        spans.push(span);
        self.state = match left - taken {
            0 => State::DataEnd,
            left => State::Data { left },
        };
    }

    /// Reads up to the next LF and hands the line, without it, to `read`; keeps what there is of
    /// the line where there is none yet.
    fn with_line(
        &mut self,
        rest: &mut Bytes,
        limit: usize,
        read: impl FnOnce(&mut Self, &[u8]) -> Result<(), Fault>,
    ) -> Result<(), Fault> {
        let end = memchr(b'\n', rest);
        let piece = rest.split_to(end.unwrap_or(rest.len()));
        if self.line.len() + piece.len() + usize::from(end.is_some()) > limit {
            return Err(self.line_too_long());
        }
        if end.is_none() {
            self.line.extend_from_slice(&piece);
            return Ok(());
        }
        rest.advance(1); // the LF
        if self.line.is_empty() {
            return read(self, &piece);
        }
        let mut line = mem::take(&mut self.line);
        line.extend_from_slice(&piece);
        read(self, &line)
    }

    fn line_too_long(&self) -> Fault {
        match self.state {
            State::ChunkLine => Fault::InvalidChunk("the line before a chunk is too long"),
            State::DataEnd => Fault::InvalidChunk("a chunk is longer than its size"),
            State::Trailers(_) => Fault::MalformedTrailer("the trailers are too long"),
            State::Data { .. } | State::Done | State::Broken => self.incomplete(self.seen),
        }
    }

    /// `size[;chunk-signature=sig] CR`.
    fn chunk_line(&mut self, line: &[u8]) -> Result<(), Fault> {
        let line = line.strip_suffix(b"\r").ok_or(Fault::InvalidChunk("a line ends without CRLF"))?;
        let (size, extension) = match memchr(b';', line) {
            Some(at) => {
                let (size, extension) = line.split_at(at);
                (size, Some(extension))
            }
            None => (line, None),
        };
        let size = chunk_size(size)?;
        let total = self.seen.saturating_add(size);
        if total > self.decoded_length.saturating_add(MISCOUNT_MAX) {
            return Err(Fault::InvalidChunk("a chunk is far longer than x-amz-decoded-content-length"));
        }
        if total > self.decoded_length {
            return Err(self.incomplete(total));
        }
        self.chunk_extension(extension)?;
        if size > 0 {
            self.state = State::Data { left: size };
            return Ok(());
        }
        if self.seen != self.decoded_length {
            return Err(self.incomplete(self.seen));
        }
        if let Judge::Check(chain) = &mut self.judge {
            chain.close_chunk()?;
        }
        self.state = State::Trailers(After::ZeroChunk);
        Ok(())
    }

    /// A signature where the framing has signatures, nothing where it has none.
    fn chunk_extension(&mut self, extension: Option<&[u8]>) -> Result<(), Fault> {
        const NAME: &[u8] = b";chunk-signature=";
        match (&mut self.judge, extension) {
            (Judge::Absent, None) => Ok(()),
            (Judge::Absent, Some(_)) => Err(Fault::InvalidChunk("an unsigned chunk has an extension")),
            (Judge::Skip | Judge::Check(_), None) => Err(Fault::InvalidChunk("a chunk has no signature")),
            (Judge::Skip, Some(extension)) if extension.starts_with(NAME) => Ok(()),
            (Judge::Check(chain), Some(extension)) if extension.starts_with(NAME) => {
                let text = extension.strip_prefix(NAME).unwrap_or_default();
                chain.claimed = signature(text).ok_or(Fault::BadChunkSignature { chunk: chain.chunk })?;
                Ok(())
            }
            (Judge::Skip | Judge::Check(_), Some(_)) => {
                Err(Fault::InvalidChunk("a chunk has an extension other than chunk-signature"))
            }
        }
    }

    /// The CRLF after a chunk's bytes.
    fn data_end(&mut self, line: &[u8]) -> Result<(), Fault> {
        if line != b"\r" {
            return Err(Fault::InvalidChunk("a chunk does not end in CRLF"));
        }
        if let Judge::Check(chain) = &mut self.judge {
            chain.close_chunk()?;
        }
        self.state = State::ChunkLine;
        Ok(())
    }

    /// A line after the zero chunk.
    fn trailer_line(&mut self, line: &[u8], after: After) -> Result<(), Fault> {
        let (line, bare) = match line.strip_suffix(b"\r") {
            Some(line) => (line, false),
            None => (line, true),
        };
        match (line.is_empty(), after) {
            (true, _) if bare => Err(Fault::MalformedTrailer("a line ends without CRLF")),
            (true, After::BareTrailer) => {
                self.state = State::Trailers(After::Trailer);
                Ok(())
            }
            (true, After::ZeroChunk) if self.trailer_is_missing() => {
                self.state = State::Trailers(After::EarlyBlank);
                Ok(())
            }
            (true, After::ZeroChunk | After::EarlyBlank | After::Trailer) => self.close(),
            (false, After::BareTrailer) => Err(Fault::MalformedTrailer("a line ends without CRLF")),
            (false, After::ZeroChunk | After::EarlyBlank | After::Trailer) => {
                self.trailer(line)?;
                self.state = State::Trailers(if bare { After::BareTrailer } else { After::Trailer });
                Ok(())
            }
        }
    }

    /// `name:value`.
    fn trailer(&mut self, line: &[u8]) -> Result<(), Fault> {
        let malformed = Fault::MalformedTrailer;
        if !self.carries_trailers {
            return Err(malformed("this body cannot have trailers"));
        }
        let text = std::str::from_utf8(line).map_err(|_| malformed("a trailer is not text"))?;
        let (name, value) = text.split_once(':').ok_or(malformed("a trailer has no colon"))?;
        let name = name.trim_matches([' ', '\t']).to_ascii_lowercase();
        let value = value.trim_matches([' ', '\t']);
        if value.bytes().any(|byte| byte.is_ascii_control()) {
            return Err(malformed("a trailer has control characters"));
        }
        let signs = name == TRAILER_SIGNATURE && !matches!(self.judge, Judge::Absent);
        if !signs && !self.declared.contains(&name) {
            return Err(malformed("a trailer is not declared in x-amz-trailer"));
        }
        if self.trailers.len() >= TRAILERS_MAX {
            return Err(malformed("there are too many trailers"));
        }
        match self.trailers.last() {
            Some(last) if last.name == TRAILER_SIGNATURE => {
                return Err(malformed("a trailer follows the trailers' signature"));
            }
            _ if self.has(&name) => return Err(malformed("a trailer occurs twice")),
            _ => self.trailers.push(Trailer { name, value: value.to_owned() }),
        }
        Ok(())
    }

    fn has(&self, name: &str) -> bool {
        self.trailers.iter().any(|trailer| trailer.name == name)
    }

    /// Whether a trailer is still to come: a declared one, or the signature.
    fn trailer_is_missing(&self) -> bool {
        let signed = self.carries_trailers && !matches!(self.judge, Judge::Absent);
        self.declared.iter().any(|name| !self.has(name)) || (signed && !self.has(TRAILER_SIGNATURE))
    }

    /// What is missing: a trailer that the head declares, else only the signature over all.
    fn missing_trailer(&self) -> Fault {
        if self.declared.iter().all(|name| self.has(name)) {
            Fault::BadTrailerSignature
        } else {
            Fault::MalformedTrailer("a declared trailer is missing")
        }
    }

    /// The end: everything that was promised came, and its signature holds.
    fn close(&mut self) -> Result<(), Fault> {
        if self.trailer_is_missing() {
            return Err(self.missing_trailer());
        }
        let signature_text = match self.trailers.last() {
            Some(last) if last.name == TRAILER_SIGNATURE => self.trailers.pop(),
            _ => None,
        };
        if let (Judge::Check(chain), true) = (&self.judge, self.carries_trailers) {
            let claimed = signature_text.and_then(|trailer| signature(trailer.value.as_bytes()));
            let canonical = canonical(&self.trailers);
            if !claimed.is_some_and(|claimed| chain.seed.takes_trailers(&canonical, &claimed)) {
                return Err(Fault::BadTrailerSignature);
            }
        }
        self.state = State::Done;
        Ok(())
    }

    fn incomplete(&self, seen: u64) -> Fault {
        Fault::IncompleteBody { declared: self.decoded_length, seen }
    }
}

/// Reads a chunk's size: 1 to 16 hex digits.
fn chunk_size(text: &[u8]) -> Result<u64, Fault> {
    let invalid = Fault::InvalidChunk("a chunk's size is not a hex number up to 5 GiB");
    if text.is_empty() || text.len() > 16 || !text.iter().all(u8::is_ascii_hexdigit) {
        return Err(invalid);
    }
    let text = std::str::from_utf8(text).unwrap_or_default();
    match u64::from_str_radix(text, 16) {
        Ok(size) if size <= CHUNK_MAX => Ok(size),
        Ok(_) | Err(_) => Err(invalid),
    }
}

/// What the trailers' signature covers: `name:value\n` in the order of names.
fn canonical(trailers: &[Trailer]) -> Vec<u8> {
    let mut sorted: Vec<&Trailer> = trailers.iter().collect();
    sorted.sort_by(|a, b| a.name.cmp(&b.name));
    let mut text = Vec::new();
    for trailer in sorted {
        text.extend_from_slice(trailer.name.as_bytes());
        text.push(b':');
        text.extend_from_slice(trailer.value.as_bytes());
        text.push(b'\n');
    }
    text
}
