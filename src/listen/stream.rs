//! What a connection needs of a stream beyond reading and writing.

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};
use tokio_rustls::server::TlsStream;

/// A client's stream.
pub(super) trait ClientStream: AsyncRead + AsyncWrite + Unpin + 'static {
    /// Makes the stream's drop a reset instead of an orderly end, so that nobody can take a cut
    /// answer for a whole one.
    fn reset_on_drop(&self);
}

impl ClientStream for TcpStream {
    fn reset_on_drop(&self) {
        // a socket that cannot be told to reset is already broken
        if let Err(cause) = self.set_zero_linger() {
            tracing::debug!(%cause, "cannot reset a connection");
        }
    }
}

/// Unix sockets have no reset; all our answers there are framed, so a cut one is short.
impl ClientStream for UnixStream {
    fn reset_on_drop(&self) {}
}

impl<S: ClientStream> ClientStream for TlsStream<S> {
    fn reset_on_drop(&self) {
        self.get_ref().0.reset_on_drop();
    }
}
