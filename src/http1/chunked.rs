//! The chunked coding (RFC 9112 §7.1), from bytes as they come to the body's own. Pure.

use bytes::{Buf, Bytes, BytesMut};

use super::Malformed;

/// Bytes of a line: a size with its extensions, or a field of the trailer.
const LINE_MAX: usize = 8 << 10;
/// Bytes of a whole trailer.
const TRAILER_MAX: usize = 16 << 10;

/// Where in the coding a body is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum At {
    Size,
    Data(u64),
    /// The line end behind data.
    DataEnd,
    Trailer,
    End,
}

/// A reader of one body.
#[derive(Clone, Copy, Debug)]
pub struct Chunks {
    at: At,
    /// Bytes of the trailer so far.
    trailer: usize,
}

/// What the bytes so far come to.
#[derive(Debug, PartialEq, Eq)]
pub enum Piece {
    /// Bytes of the body.
    Data(Bytes),
    /// More must come.
    More,
    /// The body has ended.
    End,
}

impl Default for Chunks {
    fn default() -> Self {
        Self { at: At::Size, trailer: 0 }
    }
}

impl Chunks {
    /// Takes the next piece from the front of what came. The trailer's fields are passed over.
    ///
    /// # Errors
    /// [`Malformed`].
    pub fn next(&mut self, came: &mut BytesMut) -> Result<Piece, Malformed> {
        loop {
            match self.at {
                At::Size => {
                    let Some(line) = line(came)? else { return Ok(Piece::More) };
                    let size = size(&line)?;
                    self.at = if size == 0 { At::Trailer } else { At::Data(size) };
                }
                At::Data(left) => {
                    if came.is_empty() {
                        return Ok(Piece::More);
                    }
                    let taken = usize::try_from(left).unwrap_or(usize::MAX).min(came.len());
                    let left = left - taken as u64;
                    self.at = if left == 0 { At::DataEnd } else { At::Data(left) };
                    return Ok(Piece::Data(came.split_to(taken).freeze()));
                }
                At::DataEnd => {
                    if came.len() < 2 {
                        return Ok(Piece::More);
                    }
                    if !came.starts_with(b"\r\n") {
                        return Err(Malformed("a chunk is longer than it says"));
                    }
                    came.advance(2);
                    self.at = At::Size;
                }
                At::Trailer => {
                    let Some(line) = line(came)? else { return Ok(Piece::More) };
                    self.trailer += line.len();
                    if self.trailer > TRAILER_MAX {
                        return Err(Malformed("its trailer is too long"));
                    }
                    if line.is_empty() {
                        self.at = At::End;
                    }
                }
                At::End => return Ok(Piece::End),
            }
        }
    }
}

/// The next line without its end.
fn line(came: &mut BytesMut) -> Result<Option<BytesMut>, Malformed> {
    let window = came.get(..came.len().min(LINE_MAX)).unwrap_or_default();
    let Some(end) = memchr::memchr(b'\n', window) else {
        return if came.len() < LINE_MAX {
            Ok(None)
        } else {
            Err(Malformed("a line between chunks is too long"))
        };
    };
    let mut line = came.split_to(end + 1);
    if !line.ends_with(b"\r\n") {
        return Err(Malformed("a line between chunks ends in a bare line feed"));
    }
    line.truncate(end - 1);
    Ok(Some(line))
}

/// The size that a line says, before its extensions.
fn size(line: &[u8]) -> Result<u64, Malformed> {
    let text = line.split(|&byte| byte == b';').next().unwrap_or_default().trim_ascii_end();
    let digits = (1..=16).contains(&text.len()) && text.iter().all(u8::is_ascii_hexdigit);
    let text = std::str::from_utf8(text).ok().filter(|_| digits);
    text.and_then(|text| u64::from_str_radix(text, 16).ok()).ok_or(Malformed("a chunk's size is none"))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A body, and what was left of the wire behind it.
    type Decoded = (Vec<u8>, Vec<u8>);

    /// Feeds pieces of a wire.
    fn decoded(pieces: &[&[u8]]) -> Result<Option<Decoded>, Malformed> {
        let (mut chunks, mut came, mut body) = (Chunks::default(), BytesMut::new(), Vec::new());
        let mut ended = false;
        for piece in pieces {
            came.extend_from_slice(piece);
            loop {
                match chunks.next(&mut came)? {
                    Piece::Data(data) => body.extend_from_slice(&data),
                    Piece::More => break,
                    Piece::End => {
                        ended = true;
                        break;
                    }
                }
            }
        }
        Ok(ended.then(|| (body, came.to_vec())))
    }

    #[test]
    fn a_body_is_what_is_between_the_lines() {
        let wire = b"5;a=\"b\"\r\nhello\r\n1 \r\n!\r\n000\r\nx-t: 1\r\n\r\nnext";
        assert_eq!(decoded(&[wire]), Ok(Some((b"hello!".to_vec(), b"next".to_vec()))));
        assert_eq!(decoded(&[b"0\r\n\r\n"]), Ok(Some((Vec::new(), Vec::new()))));
    }

    #[test]
    fn what_breaks_the_coding_ends_it() {
        for wire in [
            &b"\r\n"[..],
            b"g\r\n",
            b"0x5\r\nhello\r\n",
            b" 5\r\nhello\r\n",
            b"-1\r\n",
            b"5\nhello\r\n",
            b"5\r\nhello!\r\n",
            b"5\r\nhello\n0\r\n\r\n",
            b"11111111111111111\r\n",
            b"0\r\nx: y\n\r\n",
        ] {
            assert!(decoded(&[wire]).is_err(), "{:?}", String::from_utf8_lossy(wire));
        }
        let long = [&b"5;"[..], &[b'a'; LINE_MAX]].concat();
        assert!(decoded(&[&long]).is_err());
        let line = [&[b'a'; LINE_MAX - 2][..], b"\r\n"].concat();
        let trailer = [&b"0\r\n"[..], &line.repeat(TRAILER_MAX / LINE_MAX + 1)].concat();
        assert!(decoded(&[&trailer]).is_err());
    }

    #[test]
    fn many_chunks_are_no_trailer() {
        let wire = [b"1;extension=abcdefgh\r\nx\r\n".repeat(10_000), b"0\r\n\r\n".to_vec()].concat();
        assert_eq!(decoded(&[&wire]).unwrap().unwrap().0.len(), 10_000);
    }

    proptest! {
        #[test]
        fn any_split_of_the_wire_comes_to_the_same_body(
            chunks in prop::collection::vec(prop::collection::vec(any::<u8>(), 1..40), 0..8),
            cut in any::<prop::sample::Index>(),
            other in any::<prop::sample::Index>(),
        ) {
            let mut wire = Vec::new();
            for chunk in &chunks {
                wire.extend_from_slice(format!("{:X}\r\n", chunk.len()).as_bytes());
                wire.extend_from_slice(chunk);
                wire.extend_from_slice(b"\r\n");
            }
            wire.extend_from_slice(b"0\r\n\r\n");
            let (one, two) = (cut.index(wire.len()), other.index(wire.len()));
            let (one, two) = (one.min(two), one.max(two));
            let pieces = [&wire[..one], &wire[one..two], &wire[two..]];
            prop_assert_eq!(decoded(&pieces), Ok(Some((chunks.concat(), Vec::new()))));
            prop_assert_eq!(decoded(&[&wire[..wire.len() - 1]]), Ok(None));
        }

        #[test]
        fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _decoded = decoded(&[&bytes]);
        }
    }
}
