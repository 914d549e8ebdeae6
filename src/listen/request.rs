//! From an HTTP/2 request to our head, and the mark that tells when a request's answer has ended.

use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::request::Parts;
use http_body::{Body, Frame, SizeHint};

use super::wire::{Fate, Wire};
use crate::head::Head;

/// An HTTP/2 request whose `:authority` and `Host` differ: two opinions on whom it addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(":authority and host differ")]
pub(super) struct TwoHosts;

/// The head of a request: the raw target in origin form, names in lower case, and `host` for
/// HTTP/2's `:authority`.
///
/// # Errors
/// [`TwoHosts`].
pub(super) fn head_of(parts: &Parts) -> Result<Head, TwoHosts> {
    let target = parts.uri.path_and_query().map_or("/", http::uri::PathAndQuery::as_str);
    let mut head = if target.starts_with('/') {
        Head::new(parts.method.clone(), target)
    } else {
        // an absolute target without a path
        Head::new(parts.method.clone(), &format!("/{target}"))
    };
    if parts.version == http::Version::HTTP_2
        && let Some(authority) = parts.uri.authority()
    {
        let named = parts.headers.get_all(http::header::HOST);
        if named.iter().any(|host| !host.as_bytes().eq_ignore_ascii_case(authority.as_str().as_bytes())) {
            return Err(TwoHosts);
        }
        if named.iter().next().is_none() {
            head.push("host", authority.as_str().as_bytes());
        }
    }
    for (name, value) in &parts.headers {
        head.push(name.as_str(), value.as_bytes());
    }
    Ok(head)
}

/// Says that a request has ended when it is dropped.
#[derive(Debug)]
pub(super) struct InFlight(Fate);

impl InFlight {
    /// An HTTP/1.1 request, whose head the gate has counted.
    pub(super) fn request(wire: Rc<Wire>) -> Self {
        Self(Fate { wire, reader: None })
    }

    /// An HTTP/2 stream.
    pub(super) fn stream(wire: Rc<Wire>) -> Self {
        wire.began();
        let reader = Some(wire.readers.begin());
        Self(Fate { wire, reader })
    }

    /// Whether an HTTP/1.1 request is answered before its body has come.
    pub(super) fn leaves_body(&self) -> bool {
        self.0.reader.is_none() && self.0.wire.is_in_last_body()
    }

    pub(super) fn fate(&self) -> Fate {
        self.0.clone()
    }

    fn asked(&self) {
        if let Some(reader) = &self.0.reader {
            reader.asked();
        }
    }

    fn handed(&self) {
        let Fate { wire, reader } = &self.0;
        if let Some(reader) = reader
            && wire.readers.handed(reader, wire.clock.mono())
        {
            wire.wake();
        }
    }

    fn abort(&self) {
        self.0.wire.abort();
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        let Fate { wire, reader } = &self.0;
        if let Some(reader) = reader {
            wire.readers.end(reader);
        }
        wire.ended();
    }
}

/// An answer's body that keeps its request in flight, and notes where it fails.
#[derive(Debug)]
pub(super) struct Tracked<B> {
    body: B,
    in_flight: InFlight,
}

impl<B> Tracked<B> {
    pub(super) fn new(body: B, in_flight: InFlight) -> Self {
        Self { body, in_flight }
    }
}

impl<B: Body<Data = Bytes> + Unpin> Body for Tracked<B> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        self.in_flight.asked();
        let frame = ready!(Pin::new(&mut self.body).poll_frame(cx));
        match frame {
            Some(Ok(_)) => self.in_flight.handed(),
            Some(Err(_)) => self.in_flight.abort(),
            None => {}
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head(build: http::request::Builder) -> Result<Head, TwoHosts> {
        head_of(&build.body(()).unwrap().into_parts().0)
    }

    #[test]
    fn targets_keep_their_bytes_and_lose_their_authority() {
        for (uri, target) in [
            ("/b//a/./..%2F+/?x=1?2&y", "/b//a/./..%2F+/?x=1?2&y"),
            ("http://h/b//k?", "/b//k?"),
            ("http://h", "/"),
            ("http://h?acl", "/?acl"),
        ] {
            assert_eq!(
                head(http::Request::get(uri)).map(|head| head.target().to_owned()),
                Ok(target.to_owned()),
                "{uri}"
            );
        }
    }

    #[test]
    fn the_authority_of_http2_becomes_the_host() {
        let request = || http::Request::get("https://h:8443/k").version(http::Version::HTTP_2);
        let named = head(request()).unwrap();
        assert_eq!(named.all("host").collect::<Vec<_>>(), [b"h:8443"]);
        let twice = head(request().header("host", "H:8443")).unwrap();
        assert_eq!(twice.all("host").collect::<Vec<_>>(), [b"H:8443"]);
        assert_eq!(head(request().header("host", "other")), Err(TwoHosts));
    }

    #[test]
    fn fields_keep_their_order_under_a_name() {
        let request = http::Request::get("/").header("X-A", "2").header("x-b", "z").header("x-a", "1");
        let head = head(request).unwrap();
        assert_eq!(head.all("x-a").collect::<Vec<_>>(), [b"2", b"1"]);
        assert_eq!(head.field_count(), 3);
    }
}
