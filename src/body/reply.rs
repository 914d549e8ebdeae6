//! The body that goes to the client: a document of ours, or a region's reply, metered and, where
//! it must be, edited. A reply that is cut in its middle ends in an error, so that the client's
//! connection is aborted and never ended cleanly.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use tokio::time::Sleep;

use super::progress::{Pace, Progress};
use crate::clock::Clock;

/// How a reply body ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// The last byte was handed over.
    Whole,
    /// The client went away before.
    Dropped,
    /// The region's reply broke off.
    Cut,
    /// The region sent too little for too long.
    Stalled,
}

/// Why a reply broke off: hyper aborts the client's connection on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the region's reply broke off")]
pub struct Broken;

/// A streaming editor of reply bytes.
pub trait Edit {
    /// Takes bytes in, appends what may leave to `out`.
    ///
    /// # Errors
    /// [`Broken`] where the reply cannot be edited: it is cut off then.
    fn push(&mut self, bytes: &[u8], out: &mut Vec<u8>) -> Result<(), Broken>;

    /// The end: everything has been appended.
    ///
    /// # Errors
    /// [`Broken`] where the reply ended before its document did.
    fn finish(self: Box<Self>) -> Result<(), Broken>;
}

type OnEnd = Box<dyn FnOnce(Ending, u64)>;

/// A reply body.
pub struct Reply {
    content: Content,
    /// Bytes handed to the client's connection.
    given: u64,
    on_end: Option<OnEnd>,
}

enum Content {
    Whole(Option<Bytes>),
    Stream(Box<Stream>),
}

struct Stream {
    incoming: Incoming,
    pace: Pace,
    progress: Progress,
    timer: Option<Pin<Box<Sleep>>>,
    edit: Option<Box<dyn Edit>>,
    /// Gives the upstream connection back; dropped unused it ends that connection.
    release: Option<Box<dyn FnOnce()>>,
}

impl Reply {
    /// No body.
    #[must_use]
    pub fn empty() -> Self {
        Self { content: Content::Whole(None), given: 0, on_end: None }
    }

    /// A body that is whole in memory.
    #[must_use]
    pub fn full(bytes: Bytes) -> Self {
        let bytes = (!bytes.is_empty()).then_some(bytes);
        Self { content: Content::Whole(bytes), given: 0, on_end: None }
    }

    /// A region's body. `release` runs once it was read to its end.
    #[must_use]
    pub fn stream(incoming: Incoming, pace: Pace, release: Box<dyn FnOnce()>) -> Self {
        let stream = Stream {
            incoming,
            pace,
            progress: Progress::default(),
            timer: None,
            edit: None,
            release: Some(release),
        };
        Self { content: Content::Stream(Box::new(stream)), given: 0, on_end: None }
    }

    /// Sends the body through an editor. A body that is whole in memory is edited at once.
    #[must_use]
    pub fn edited(mut self, mut edit: Box<dyn Edit>) -> Self {
        match &mut self.content {
            Content::Stream(stream) => stream.edit = Some(edit),
            Content::Whole(bytes) => {
                let mut out = Vec::new();
                let whole = bytes.take().unwrap_or_default();
                let edited = edit.push(&whole, &mut out).and_then(|()| edit.finish());
                *bytes = (edited.is_ok() && !out.is_empty()).then(|| Bytes::from(out));
            }
        }
        self
    }

    /// Runs `on_end` once, when the body ended in whatever way.
    #[must_use]
    pub fn observed(mut self, on_end: OnEnd) -> Self {
        self.on_end = Some(on_end);
        self
    }

    /// Reads the rest into memory, at most `limit` bytes: `None` where it is longer or breaks off.
    pub async fn collect(mut self, limit: usize) -> Option<Bytes> {
        let mut whole = Vec::new();
        while let Some(frame) = std::future::poll_fn(|cx| Pin::new(&mut self).poll_frame(cx)).await {
            let bytes = frame.ok()?.into_data().unwrap_or_default();
            if whole.len() + bytes.len() > limit {
                return None;
            }
            whole.extend_from_slice(&bytes);
        }
        Some(Bytes::from(whole))
    }

    /// Gives the upstream connection back, the body having been read to its end.
    fn release(&mut self) {
        if let Content::Stream(stream) = &mut self.content
            && let Some(release) = stream.release.take()
        {
            release();
        }
    }

    fn ended(&mut self, ending: Ending) {
        if let Some(on_end) = self.on_end.take() {
            on_end(ending, self.given);
        }
    }
}

impl Stream {
    fn poll_bytes(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, Ending>>> {
        loop {
            match Pin::new(&mut self.incoming).poll_frame(cx) {
                Poll::Ready(Some(Ok(frame))) => {
                    let Ok(bytes) = frame.into_data() else { continue };
                    // The clock is read only where a wait is being measured.
                    if self.timer.is_some() {
                        self.progress.moved(bytes.len() as u64, Clock::system().now().mono, self.pace);
                    }
                    match self.edit.as_mut() {
                        None => return Poll::Ready(Some(Ok(bytes))),
                        Some(edit) => {
                            let mut out = Vec::with_capacity(bytes.len() + 256);
                            if edit.push(&bytes, &mut out).is_err() {
                                return Poll::Ready(Some(Err(Ending::Cut)));
                            }
                            if !out.is_empty() {
                                return Poll::Ready(Some(Ok(Bytes::from(out))));
                            }
                        }
                    }
                }
                Poll::Ready(Some(Err(_))) => return Poll::Ready(Some(Err(Ending::Cut))),
                Poll::Ready(None) => {
                    return Poll::Ready(match self.finish() {
                        Ok(()) => None,
                        Err(Broken) => Some(Err(Ending::Cut)),
                    });
                }
                Poll::Pending => return self.poll_patience(cx).map(|ending| Some(Err(ending))),
            }
        }
    }

    fn finish(&mut self) -> Result<(), Broken> {
        if let Some(release) = self.release.take() {
            release();
        }
        self.edit.take().map_or(Ok(()), Edit::finish)
    }

    fn poll_patience(&mut self, cx: &mut Context<'_>) -> Poll<Ending> {
        let dead_at = self.progress.waiting(Clock::system().now().mono, self.pace);
        let timer = self.timer.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(dead_at.into())));
        loop {
            // The timer may stand earlier than the deadline that progress has since earned.
            std::task::ready!(timer.as_mut().poll(cx));
            if timer.deadline().into_std() >= dead_at {
                return Poll::Ready(Ending::Stalled);
            }
            timer.as_mut().reset(dead_at.into());
        }
    }
}

impl Body for Reply {
    type Data = Bytes;
    type Error = Broken;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Broken>>> {
        let reply = self.get_mut();
        let next = match &mut reply.content {
            Content::Whole(bytes) => bytes.take().map(Ok),
            Content::Stream(stream) => std::task::ready!(stream.poll_bytes(cx)),
        };
        Poll::Ready(match next {
            Some(Ok(bytes)) => {
                reply.given += bytes.len() as u64;
                if reply.is_end_stream() {
                    reply.release();
                    reply.ended(Ending::Whole);
                }
                Some(Ok(Frame::data(bytes)))
            }
            Some(Err(ending)) => {
                reply.ended(ending);
                Some(Err(Broken))
            }
            None => {
                reply.ended(Ending::Whole);
                None
            }
        })
    }

    fn is_end_stream(&self) -> bool {
        match &self.content {
            Content::Whole(bytes) => bytes.is_none(),
            Content::Stream(stream) => stream.edit.is_none() && stream.incoming.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.content {
            Content::Whole(bytes) => {
                SizeHint::with_exact(bytes.as_ref().map_or(0, |bytes| bytes.len() as u64))
            }
            Content::Stream(stream) if stream.edit.is_none() => stream.incoming.size_hint(),
            Content::Stream(_) => SizeHint::default(),
        }
    }
}

impl Drop for Reply {
    fn drop(&mut self) {
        // An empty body is never polled: hyper knows from `is_end_stream` that nothing comes.
        let whole = self.is_end_stream();
        if whole {
            self.release();
        }
        self.ended(if whole { Ending::Whole } else { Ending::Dropped });
    }
}

impl std::fmt::Debug for Reply {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Reply").field("given", &self.given).finish_non_exhaustive()
    }
}
