//! Where an HTTP/1.1 message begins and ends, so that its bytes can be passed on untouched.

use std::io;

use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt};

/// Heads above this end the connection: nearpoint sends and takes no larger ones.
const HEAD_MAX: usize = 64 << 10;

/// Bytes of a body held at once.
const PIECE: usize = 64 << 10;

/// A chunk's size line, and each line of a trailer.
const LINE_MAX: usize = 16 << 10;

/// How a body ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    /// After so many bytes.
    Length(u64),
    /// After the last chunk and its trailers.
    Chunked,
    /// With the connection.
    UntilEnd,
}

/// A head as it came, and what of it matters here.
#[derive(Clone, Debug)]
pub struct Head {
    /// Every byte, the empty line included.
    pub bytes: Bytes,
    /// The three words of the first line.
    pub first: [String; 3],
    fields: Vec<(String, String)>,
}

impl Head {
    /// The first value of a field (lower-case name).
    pub fn field(&self, name: &str) -> Option<&str> {
        self.fields.iter().find(|(have, _)| have == name).map(|(_, value)| value.as_str())
    }

    /// Whether a field's value is this word, in any case.
    pub fn says(&self, name: &str, word: &str) -> bool {
        self.field(name).is_some_and(|value| value.eq_ignore_ascii_case(word))
    }

    /// The status of a reply.
    pub fn status(&self) -> Option<u16> {
        self.first[1].parse().ok()
    }

    /// A request's body.
    pub fn request_body(&self) -> io::Result<Framing> {
        Ok(self.body()?.unwrap_or(Framing::Length(0)))
    }

    /// A reply's body, for a request of this method.
    pub fn reply_body(&self, method: &str) -> io::Result<Framing> {
        if method == "HEAD" || matches!(self.status(), Some(100..=199 | 204 | 304)) {
            return Ok(Framing::Length(0));
        }
        Ok(self.body()?.unwrap_or(Framing::UntilEnd))
    }

    fn body(&self) -> io::Result<Option<Framing>> {
        match (self.field("transfer-encoding"), self.field("content-length")) {
            (Some(coding), _) if coding.eq_ignore_ascii_case("chunked") => Ok(Some(Framing::Chunked)),
            (Some(_), _) => Err(io::ErrorKind::InvalidData.into()),
            (None, None) => Ok(None),
            (None, Some(text)) => {
                let length = text.parse().map_err(|_| io::ErrorKind::InvalidData)?;
                Ok(Some(Framing::Length(length)))
            }
        }
    }

    fn parse(bytes: Bytes) -> Option<Self> {
        let text = String::from_utf8_lossy(&bytes);
        let mut lines = text.trim_end_matches("\r\n").split("\r\n");
        let mut words = lines.next()?.splitn(3, ' ');
        let first =
            [words.next()?.to_owned(), words.next()?.to_owned(), words.next().unwrap_or_default().to_owned()];
        let fields = lines
            .filter_map(|line| line.split_once(':'))
            .map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned()))
            .collect();
        Some(Self { bytes, first, fields })
    }
}

/// Where a reader stands in a body.
#[derive(Clone, Copy, Debug)]
enum Left {
    Bytes(u64),
    /// A size line comes.
    SizeLine,
    /// So many bytes of a chunk, its line end included.
    Chunk(u64),
    /// Lines, the last of them empty.
    Trailer,
    UntilEnd,
    Nothing,
}

/// One direction of a connection, cut into heads and bodies.
#[derive(Debug)]
pub struct Messages<R> {
    reader: R,
    buffer: BytesMut,
    left: Left,
}

impl<R: AsyncRead + Unpin> Messages<R> {
    pub fn new(reader: R) -> Self {
        Self { reader, buffer: BytesMut::with_capacity(PIECE), left: Left::Nothing }
    }

    /// The next head; `None` where the connection ended before one.
    pub async fn head(&mut self) -> io::Result<Option<Head>> {
        loop {
            if let Some(end) = memchr::memmem::find(&self.buffer, b"\r\n\r\n") {
                let bytes = self.buffer.split_to(end + 4).freeze();
                return Head::parse(bytes).map(Some).ok_or_else(|| io::ErrorKind::InvalidData.into());
            }
            if self.buffer.len() > HEAD_MAX {
                return Err(io::ErrorKind::InvalidData.into());
            }
            if self.more().await? == 0 {
                return if self.buffer.is_empty() {
                    Ok(None)
                } else {
                    Err(io::ErrorKind::UnexpectedEof.into())
                };
            }
        }
    }

    /// Begins a body.
    pub fn body(&mut self, framing: Framing) {
        self.left = match framing {
            Framing::Length(0) => Left::Nothing,
            Framing::Length(length) => Left::Bytes(length),
            Framing::Chunked => Left::SizeLine,
            Framing::UntilEnd => Left::UntilEnd,
        };
    }

    /// The next bytes of the body as they are on the wire; `None` at its end.
    pub async fn piece(&mut self) -> io::Result<Option<Bytes>> {
        loop {
            match self.left {
                Left::Nothing => return Ok(None),
                Left::Bytes(left) => {
                    let (piece, left) = self.some(left).await?;
                    self.left = if left == 0 { Left::Nothing } else { Left::Bytes(left) };
                    return Ok(Some(piece));
                }
                Left::Chunk(left) => {
                    let (piece, left) = self.some(left).await?;
                    self.left = if left == 0 { Left::SizeLine } else { Left::Chunk(left) };
                    return Ok(Some(piece));
                }
                Left::SizeLine => {
                    let line = self.line().await?;
                    let text = std::str::from_utf8(&line).map_err(|_| io::ErrorKind::InvalidData)?;
                    let size = text.split([';', '\r']).next().unwrap_or_default().trim();
                    let size = u64::from_str_radix(size, 16).map_err(|_| io::ErrorKind::InvalidData)?;
                    self.left = match size {
                        0 => Left::Trailer,
                        size => Left::Chunk(size.saturating_add(2)),
                    };
                    return Ok(Some(line));
                }
                Left::Trailer => {
                    let line = self.line().await?;
                    if line.as_ref() == b"\r\n" {
                        self.left = Left::Nothing;
                    }
                    return Ok(Some(line));
                }
                Left::UntilEnd => {
                    if self.buffer.is_empty() && self.more().await? == 0 {
                        self.left = Left::Nothing;
                    } else {
                        return Ok(Some(self.buffer.split().freeze()));
                    }
                }
            }
        }
    }

    /// Takes and drops what still comes, until the other side is gone.
    pub async fn drain(&mut self) {
        loop {
            self.buffer.clear();
            if !matches!(self.more().await, Ok(1..)) {
                return;
            }
        }
    }

    async fn some(&mut self, left: u64) -> io::Result<(Bytes, u64)> {
        if self.buffer.is_empty() && self.more().await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let take = self.buffer.len().min(usize::try_from(left).unwrap_or(usize::MAX));
        Ok((self.buffer.split_to(take).freeze(), left - take as u64))
    }

    async fn line(&mut self) -> io::Result<Bytes> {
        loop {
            if let Some(end) = memchr::memmem::find(&self.buffer, b"\r\n") {
                return Ok(self.buffer.split_to(end + 2).freeze());
            }
            if self.buffer.len() > LINE_MAX {
                return Err(io::ErrorKind::InvalidData.into());
            }
            if self.more().await? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
    }

    async fn more(&mut self) -> io::Result<usize> {
        self.buffer.reserve(PIECE);
        self.reader.read_buf(&mut self.buffer).await
    }
}
