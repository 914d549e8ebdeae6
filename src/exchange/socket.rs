//! The socket under one connection, shared by the driver that moves its bytes and the pool that
//! looks whether the region has ended it. One thread only: a worker's.
//!
//! A store that refuses an upload early answers and closes, and what we were still sending resets the
//! connection: the answer is here all the same, and is read before that counts as its end.

use std::cell::{Cell, RefCell};
use std::io::{self, ErrorKind};
use std::mem::MaybeUninit;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::dial::Stream;

/// A shared handle on a connection's socket.
#[derive(Clone, Debug)]
pub struct Socket(Rc<Inside>);

#[derive(Debug)]
struct Inside {
    stream: RefCell<Stream>,
    /// Why the region takes nothing any more.
    deaf: Cell<Option<ErrorKind>>,
}

impl Socket {
    /// Takes a connected stream.
    #[must_use]
    pub fn new(stream: Stream) -> Self {
        Self(Rc::new(Inside { stream: RefCell::new(stream), deaf: Cell::default() }))
    }

    /// Whether nothing waits to be read: neither the region's end of the connection nor bytes that
    /// nobody asked for. Asks the kernel, since the runtime may not have heard of either yet.
    #[must_use]
    pub fn is_quiet(&self) -> bool {
        let stream = self.0.stream.borrow();
        #[cfg(test)]
        if let Stream::Memory(pipe) = &*stream {
            return pipe.is_quiet();
        }
        let mut byte = [MaybeUninit::uninit()];
        let peeked = SockRef::from(stream.socket()).peek(&mut byte);
        peeked.is_err_and(|error| error.kind() == ErrorKind::WouldBlock)
    }
}

impl Inside {
    /// A write, unless the region takes nothing any more: then it stands still, and whatever the
    /// connection ends in is for its reader to find.
    fn written<T>(
        &self,
        cx: &mut Context<'_>,
        write: impl FnOnce(Pin<&mut Stream>, &mut Context<'_>) -> Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        if self.deaf.get().is_some() {
            return Poll::Pending;
        }
        let written = write(Pin::new(&mut *self.stream.borrow_mut()), cx);
        match &written {
            Poll::Ready(Err(fault))
                if matches!(fault.kind(), ErrorKind::BrokenPipe | ErrorKind::ConnectionReset) =>
            {
                self.deaf.set(Some(fault.kind()));
                // whoever did not read meanwhile is to look now
                cx.waker().wake_by_ref();
                Poll::Pending
            }
            _ => written,
        }
    }
}

impl AsyncRead for Socket {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = into.filled().len();
        let read = Pin::new(&mut *self.0.stream.borrow_mut()).poll_read(cx, into);
        match (&read, self.0.deaf.get()) {
            // what was lost on the way there is no clean end
            (Poll::Ready(Ok(())), Some(why)) if into.filled().len() == before => Poll::Ready(Err(why.into())),
            _ => read,
        }
    }
}

impl AsyncWrite for Socket {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.0.written(cx, |stream, cx| stream.poll_write(cx, bytes))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.0.written(cx, |stream, cx| stream.poll_write_vectored(cx, slices))
    }

    fn is_write_vectored(&self) -> bool {
        self.0.stream.borrow().is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        // TLS takes bytes before the connection does
        self.0.written(cx, AsyncWrite::poll_flush)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut *self.0.stream.borrow_mut()).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::{TcpListener, TcpStream};

    use super::*;

    async fn connected() -> (Socket, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let near = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        (Socket::new(Stream::Tcp(near)), listener.accept().await.unwrap().0)
    }

    #[tokio::test(flavor = "current_thread")]
    async fn an_end_and_bytes_nobody_asked_for_are_seen_at_once() {
        let (socket, far) = connected().await;
        assert!(socket.is_quiet());
        drop(far);
        assert!(!socket.is_quiet(), "loopback delivers at once, and the runtime was never asked");
        let (socket, mut far) = connected().await;
        far.write_all(b"?").await.unwrap();
        assert!(!socket.is_quiet());
    }

    #[tokio::test(flavor = "current_thread")]
    async fn an_answer_that_came_before_the_reset_is_read() {
        let (mut socket, mut far) = connected().await;
        socket.write_all(b"unread").await.unwrap();
        far.write_all(b"early").await.unwrap();
        // with bytes unread, the kernel resets
        far.readable().await.unwrap();
        drop(far);
        let sending = async {
            loop {
                socket.write_all(b"more").await.unwrap();
                tokio::task::yield_now().await;
            }
        };
        let stood_still = tokio::time::timeout(std::time::Duration::from_millis(100), sending).await;
        assert!(stood_still.is_err());
        let mut answer = Vec::new();
        let end = socket.read_to_end(&mut answer).await;
        assert_eq!(answer, b"early");
        assert!(end.is_err(), "a reset is no clean end");
    }
}
