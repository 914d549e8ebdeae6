//! One attempt's view of the client's body: reads it from its start, waits at the gate of
//! `Expect: 100-continue`, and frames it as the store understands.

use std::cell::Cell;
use std::collections::VecDeque;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use tokio::sync::watch;

use super::source::{BodyFault, Source};
use super::spans::Cursor;
use crate::s3::checksum::Algorithm;
use crate::sigv4::chunks::{Encoder, Layout};

/// Size of the aws-chunked chunks we write: S3 wants 8 KiB or more, MinIO 16 MiB or less.
const CHUNK: u32 = 256 * 1024;

/// How the body goes to the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    /// The object's bytes, with a Content-Length.
    Plain,
    /// `STREAMING-UNSIGNED-PAYLOAD-TRAILER`, with the client's verified checksum behind it.
    Trailer(Algorithm),
}

/// What an attempt asks about its upload while the connection owns the body.
#[derive(Clone, Debug, Default)]
pub struct Sent {
    state: Rc<SentState>,
}

#[derive(Debug, Default)]
struct SentState {
    /// Body bytes handed to the connection.
    bytes: Cell<u64>,
    /// All was handed over.
    ended: Cell<bool>,
    /// The connection asked for bytes, and the client has not sent them yet.
    starved: Cell<bool>,
}

impl Sent {
    /// Body bytes handed to the connection: at most these are on the wire.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.state.bytes.get()
    }

    /// Whether the last byte was handed over.
    #[must_use]
    pub fn all(&self) -> bool {
        self.state.ended.get()
    }

    /// Whether the connection waits for the client's bytes; else it is the region that takes none.
    #[must_use]
    pub fn starved(&self) -> bool {
        self.state.starved.get()
    }
}

/// The gate before a body: closed until the store said `100 Continue`, or the attempt decided.
#[derive(Clone, Debug)]
pub struct Gate {
    key: watch::Sender<Option<Key>>,
}

/// Who opened a gate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Key {
    Store,
    Attempt,
}

impl Gate {
    /// A closed gate.
    #[must_use]
    pub fn closed() -> Self {
        Self { key: watch::Sender::new(None) }
    }

    /// The store said `100 Continue`.
    pub fn continued(&self) {
        self.key.send_replace(Some(Key::Store));
    }

    /// The attempt lets the body through although the store said nothing.
    pub fn open(&self) {
        self.key.send_replace(Some(Key::Attempt));
    }

    /// Whether the body may go.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.key.borrow().is_some()
    }

    /// Whether the store asked for the body.
    #[must_use]
    pub fn was_continued(&self) -> bool {
        *self.key.borrow() == Some(Key::Store)
    }
}

/// The body of one upstream request.
pub struct Upload {
    source: Source,
    framer: Option<Framer>,
    length: u64,
    cursor: Cursor,
    sent: Sent,
    gate: Option<Pin<Box<dyn Future<Output = ()>>>>,
}

/// aws-chunked framing on its way out.
struct Framer {
    algorithm: Algorithm,
    /// `None` once the trailer was written.
    encoder: Option<Encoder>,
    ready: VecDeque<Bytes>,
}

impl Upload {
    /// Reads `source` from its start.
    #[must_use]
    pub fn new(source: &Source, framing: Framing, gate: Option<&Gate>) -> Self {
        let (framer, length) = match framing {
            Framing::Plain => (None, source.length()),
            Framing::Trailer(algorithm) => {
                let layout = layout(algorithm, source.length());
                let length = layout.encoded_length();
                (
                    Some(Framer { algorithm, encoder: Some(Encoder::new(layout)), ready: VecDeque::new() }),
                    length,
                )
            }
        };
        let sent = Sent::default();
        if length == 0 {
            sent.state.ended.set(true);
        }
        Self {
            source: source.clone(),
            framer,
            length,
            cursor: Cursor::default(),
            sent,
            gate: gate.map(wait_for),
        }
    }

    /// Bytes that it will send: `Content-Length`.
    #[must_use]
    pub fn length(&self) -> u64 {
        self.length
    }

    /// A view of what was handed over that outlives the body.
    #[must_use]
    pub fn sent(&self) -> Sent {
        self.sent.clone()
    }

    fn handed(&self, bytes: Bytes) -> Frame<Bytes> {
        let SentState { bytes: so_far, .. } = &*self.sent.state;
        so_far.set(so_far.get() + bytes.len() as u64);
        if so_far.get() >= self.length {
            self.sent.state.ended.set(true);
        }
        Frame::data(bytes)
    }

    fn poll_bytes(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, BodyFault>>> {
        loop {
            if let Some(ready) = self.framer.as_mut().and_then(|framer| framer.ready.pop_front()) {
                return Poll::Ready(Some(Ok(ready)));
            }
            let span = std::task::ready!(self.source.poll_span(&mut self.cursor, cx)).transpose()?;
            match (self.framer.as_mut(), span) {
                (None, span) => return Poll::Ready(span.map(Ok)),
                (Some(framer), Some(span)) => framer.frame(span)?,
                (Some(framer), None) => return Poll::Ready(framer.finish(&self.source).transpose()),
            }
        }
    }
}

impl Framer {
    fn frame(&mut self, span: Bytes) -> Result<(), BodyFault> {
        let mut frames = Vec::with_capacity(3);
        if let Some(encoder) = self.encoder.as_mut() {
            encoder.push(span, &mut frames).map_err(|_| BodyFault::Trailer)?;
        }
        self.ready.extend(frames);
        Ok(())
    }

    fn finish(&mut self, source: &Source) -> Result<Option<Bytes>, BodyFault> {
        let Some(encoder) = self.encoder.take() else { return Ok(None) };
        let value = source.trailer(self.algorithm.header());
        encoder.finish(value.as_deref()).map(Some).map_err(|_| BodyFault::Trailer)
    }
}

/// The layout of a body of `length` bytes with this checksum behind it.
#[must_use]
pub fn layout(algorithm: Algorithm, length: u64) -> Layout {
    let trailer = Some((algorithm.header().to_owned(), algorithm.text_length()));
    Layout { decoded_length: length, chunk: CHUNK, trailer }
}

fn wait_for(gate: &Gate) -> Pin<Box<dyn Future<Output = ()>>> {
    let mut open = gate.key.subscribe();
    Box::pin(async move {
        // An error means that the gate was dropped with its attempt: nobody reads on.
        if open.wait_for(Option::is_some).await.is_err() {
            std::future::pending::<()>().await;
        }
    })
}

impl Body for Upload {
    type Data = Bytes;
    type Error = BodyFault;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyFault>>> {
        let upload = self.get_mut();
        if let Some(gate) = upload.gate.as_mut() {
            std::task::ready!(gate.as_mut().poll(cx));
            upload.gate = None;
        }
        if upload.length == 0 {
            return Poll::Ready(None);
        }
        let next = upload.poll_bytes(cx);
        if let Poll::Ready(Some(Err(fault))) = &next {
            upload.source.fail(fault);
        }
        upload.sent.state.starved.set(next.is_pending());
        next.map(|next| next.map(|bytes| bytes.map(|bytes| upload.handed(bytes))))
    }

    fn is_end_stream(&self) -> bool {
        self.length == 0 || self.sent.all()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.length.saturating_sub(self.sent.bytes()))
    }
}
