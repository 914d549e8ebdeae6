//! Framing for a store: unsigned chunks of one size, and one trailer.

use bytes::Bytes;

/// Everything about a framed body that is known before its first byte, so that its
/// `Content-Length` is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Layout {
    /// Bytes of the object.
    pub decoded_length: u64,
    /// Bytes of each chunk but the last, at least 1. S3 wants 8 KiB or more, MinIO 16 MiB or less;
    /// 64 KiB to 1 MiB is right.
    pub chunk: u32,
    /// The trailer's name, lower-case, and how long its value will be.
    pub trailer: Option<(String, usize)>,
}

/// The body is not what its layout said: more or fewer bytes, or another trailer. Nothing that
/// was written may be taken for complete.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the framed body differs from the length announced for it")]
pub struct Miscount;

impl Layout {
    /// Bytes on the wire: the `Content-Length`.
    #[must_use]
    pub fn encoded_length(&self) -> u64 {
        let chunk = self.chunk();
        let framed = |size: u64| hex_digits(size) + 2 + size + 2;
        let whole = (self.decoded_length / chunk).saturating_mul(framed(chunk));
        let rest = match self.decoded_length % chunk {
            0 => 0,
            rest => framed(rest),
        };
        let trailer = self.trailer.as_ref().map_or(0, |(name, value)| length(name.len() + 1 + value + 2));
        whole.saturating_add(rest + 3 + trailer + 2)
    }

    fn chunk(&self) -> u64 {
        u64::from(self.chunk.max(1))
    }
}

/// Writes `STREAMING-UNSIGNED-PAYLOAD-TRAILER` framing around an object's bytes, without copying
/// them, in exactly [`Layout::encoded_length`] bytes.
#[derive(Debug)]
pub struct Encoder {
    layout: Layout,
    /// Bytes of the object that were framed.
    seen: u64,
    /// Bytes that the open chunk still wants.
    open: u64,
}

impl Encoder {
    /// Begins a body.
    #[must_use]
    pub fn new(layout: Layout) -> Self {
        Self { layout, seen: 0, open: 0 }
    }

    /// Frames the next bytes.
    ///
    /// # Errors
    /// [`Miscount`] where there are more than the layout said; nothing is written then.
    pub fn push(&mut self, mut bytes: Bytes, frames: &mut Vec<Bytes>) -> Result<(), Miscount> {
        if self.seen.saturating_add(length(bytes.len())) > self.layout.decoded_length {
            return Err(Miscount);
        }
        while !bytes.is_empty() {
            if self.open == 0 {
                self.open = self.layout.chunk().min(self.layout.decoded_length - self.seen);
                frames.push(Bytes::from(format!("{:x}\r\n", self.open)));
            }
            let here = usize::try_from(self.open).unwrap_or(usize::MAX).min(bytes.len());
            frames.push(bytes.split_to(here));
            self.seen += length(here);
            self.open -= length(here);
            if self.open == 0 {
                frames.push(Bytes::from_static(b"\r\n"));
            }
        }
        Ok(())
    }

    /// Ends the body. `trailer` is the value of the layout's trailer.
    ///
    /// # Errors
    /// [`Miscount`] where bytes are missing, or the trailer is not as long as the layout said or
    /// has control characters.
    pub fn finish(self, trailer: Option<&str>) -> Result<Bytes, Miscount> {
        if self.seen != self.layout.decoded_length {
            return Err(Miscount);
        }
        match (&self.layout.trailer, trailer) {
            (None, None) => Ok(Bytes::from_static(b"0\r\n\r\n")),
            (Some((name, length)), Some(value))
                if *length == value.len() && !value.bytes().any(|byte| byte.is_ascii_control()) =>
            {
                Ok(Bytes::from(format!("0\r\n{name}:{value}\r\n\r\n")))
            }
            (None | Some(_), _) => Err(Miscount),
        }
    }
}

fn length(bytes: usize) -> u64 {
    u64::try_from(bytes).unwrap_or(u64::MAX)
}

fn hex_digits(size: u64) -> u64 {
    u64::from(size.max(1).ilog2() / 4 + 1)
}
