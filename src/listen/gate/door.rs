//! The gate's door: an `AsyncRead`/`AsyncWrite` that shows every byte to the scanner, and keeps
//! the clocks of a connection.

use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::{HeadLimits, Scanner};
use crate::listen::wire::Wire;

/// A client's stream behind the gate.
#[derive(Debug)]
pub struct Gate<S> {
    stream: S,
    /// `None` for HTTP/2, whose framing leaves nothing to two opinions.
    scanner: Option<Scanner>,
    wire: Rc<Wire>,
}

impl<S> Gate<S> {
    pub(in crate::listen) fn http1(stream: S, limits: HeadLimits, wire: Rc<Wire>) -> Self {
        Self { stream, scanner: Some(Scanner::new(limits)), wire }
    }

    pub(in crate::listen) fn http2(stream: S, wire: Rc<Wire>) -> Self {
        Self { stream, scanner: None, wire }
    }

    /// The stream itself, for the last words.
    pub(in crate::listen) fn into_stream(self) -> S {
        self.stream
    }
}

impl<S: AsyncRead + Unpin> Gate<S> {
    /// Judges what `buffer` got beyond `before`, and takes out what may not pass.
    fn judge(&mut self, buffer: &mut ReadBuf<'_>, before: usize) -> Poll<io::Result<()>> {
        let Some(scanner) = &mut self.scanner else { return Poll::Ready(Ok(())) };
        let Some(input) = buffer.filled().get(before..).filter(|input| !input.is_empty()) else {
            return Poll::Ready(Ok(()));
        };
        let verdict = scanner.scan(input);
        self.wire.read(scanner.phase(), scanner.heads());
        let Some(violation) = verdict.violation else { return Poll::Ready(Ok(())) };
        if scanner.refused_in_body() {
            self.wire.refuse_body(violation);
        } else {
            self.wire.refuse_head(violation);
        }
        buffer.set_filled(before + verdict.passed);
        if verdict.passed > 0 { Poll::Ready(Ok(())) } else { self.refused() }
    }

    /// After a violation nothing more is read. Within a body its reader must learn of it; before
    /// a head the connection just falls silent, and its driver ends it once all that came before
    /// is answered.
    fn refused(&self) -> Poll<io::Result<()>> {
        match &self.scanner {
            Some(scanner) if !scanner.refused_in_body() => Poll::Pending,
            _ => Poll::Ready(Err(io::Error::new(io::ErrorKind::InvalidData, "refused by the wire gate"))),
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Gate<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.wire.is_refused() {
            return self.refused();
        }
        let before = buffer.filled().len();
        ready!(Pin::new(&mut self.stream).poll_read(cx, buffer))?;
        self.judge(buffer, before)
    }
}

impl<S: AsyncWrite + Unpin> Gate<S> {
    fn written(&self, result: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        match &result {
            Poll::Pending => self.wire.write_blocked(),
            Poll::Ready(_) => self.wire.wrote(),
        }
        result
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Gate<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let result = Pin::new(&mut self.stream).poll_write(cx, bytes);
        self.written(result)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let result = Pin::new(&mut self.stream).poll_write_vectored(cx, slices);
        self.written(result)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let result = Pin::new(&mut self.stream).poll_flush(cx);
        match &result {
            Poll::Pending => self.wire.write_blocked(),
            Poll::Ready(_) => self.wire.flushed(),
        }
        result
    }

    /// The end of an HTTP/1.1 connection is the driver's to carry out: it may have last words.
    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.scanner {
            Some(_) => Poll::Ready(Ok(())),
            None => Pin::new(&mut self.stream).poll_shutdown(cx),
        }
    }
}
