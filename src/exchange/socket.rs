//! The socket under one connection, shared by the driver that moves its bytes and the pool that
//! looks whether the region has ended it. One thread only: a worker's.

use std::cell::RefCell;
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
pub struct Socket(Rc<RefCell<Stream>>);

impl Socket {
    /// Takes a connected stream.
    #[must_use]
    pub fn new(stream: Stream) -> Self {
        Self(Rc::new(RefCell::new(stream)))
    }

    /// Whether nothing waits to be read: neither the region's end of the connection nor bytes that
    /// nobody asked for. Asks the kernel, since the runtime may not have heard of either yet.
    #[must_use]
    pub fn is_quiet(&self) -> bool {
        let stream = self.0.borrow();
        #[cfg(test)]
        if let Stream::Memory(pipe) = &*stream {
            return pipe.is_quiet();
        }
        let mut byte = [MaybeUninit::uninit()];
        let peeked = SockRef::from(stream.socket()).peek(&mut byte);
        peeked.is_err_and(|error| error.kind() == ErrorKind::WouldBlock)
    }
}

impl AsyncRead for Socket {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut *self.0.borrow_mut()).poll_read(cx, into)
    }
}

impl AsyncWrite for Socket {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut *self.0.borrow_mut()).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut *self.0.borrow_mut()).poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.0.borrow().is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut *self.0.borrow_mut()).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut *self.0.borrow_mut()).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncWriteExt;
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
}
