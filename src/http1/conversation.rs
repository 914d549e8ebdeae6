//! One connection to a region: one request after the other, each driven by whoever asks. A door; it moves
//! bytes and decides nothing. One thread only: a worker's.
//!
//! While a body goes out, the answer is read for: a store that refuses early is heard early. What such an
//! answer leaves of the body in the pipe ends the connection.

use std::cell::{RefCell, RefMut};
use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Context, Poll, Waker, ready};

use bytes::{Buf, Bytes, BytesMut};
use http::response::Parts;
use http::{Method, StatusCode};
use http_body::Body;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite};

use super::Malformed;
use super::answer::{self, Framing};
use super::chunked::{Chunks, Piece};
use super::request::{self, Unspeakable};
use crate::head::Head;

/// What a read for a head has room for; a small object comes with it.
const READ_LEAST: usize = 8 << 10;
/// Most bytes of a body read at once, and so held for a client that does not take them. Below 64 KiB
/// large bodies cost a third more CPU (measured); hyper's own most, 408 KiB, lets a hundred stalled
/// readers take 150 MiB.
const READ_MOST: usize = 192 << 10;
/// Pieces, and bytes, of a request's body that wait for the socket.
const QUEUE_PIECES: usize = 16;
const QUEUE_BYTES: usize = 256 << 10;
/// Interim answers before an answer: `100` comes once, but what takes minutes may be kept alive by others.
const INTERIM_MOST: u32 = 1_000;

/// What a conversation goes over.
pub trait Io: AsyncRead + AsyncWrite + Unpin {}

impl<T: AsyncRead + AsyncWrite + Unpin> Io for T {}

/// A connection. Dropping the last handle, an answer's body among them, ends it.
#[derive(Clone)]
pub struct Conversation(Rc<RefCell<Inside>>);

struct Inside {
    io: Box<dyn Io>,
    state: State,
    /// What came and was not taken yet.
    came: BytesMut,
    /// The head under way.
    head: Vec<u8>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// It takes a request.
    Ready,
    /// A request or its answer is under way.
    Busy,
    /// It takes none any more.
    Over,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum Fault<E> {
    /// The connection took nothing: no byte of the request is out.
    #[error("nothing was sent: {0}")]
    Unsent(io::Error),
    /// It ended, or said something that is no answer.
    #[error("{0}")]
    Broken(io::Error),
    /// The request's own body failed.
    #[error("the request's body failed")]
    Body(E),
}

/// An answer, its body still on the wire.
pub struct Answered {
    /// Status and fields.
    pub head: Parts,
    /// The body.
    pub body: Incoming,
    /// Whether the whole request had been sent when it came: none of it is, later.
    pub request_sent: bool,
}

impl Conversation {
    /// Begins one over a fresh connection.
    #[must_use]
    pub fn new(io: impl Io + 'static) -> Self {
        let inside =
            Inside { io: Box::new(io), state: State::Ready, came: BytesMut::new(), head: Vec::new() };
        Self(Rc::new(RefCell::new(inside)))
    }

    /// Whether another exchange may begin and the region has, as far as the runtime has heard, neither
    /// ended the connection nor said what nobody asked for.
    #[must_use]
    pub fn is_open(&self) -> bool {
        let mut inside = self.0.borrow_mut();
        if inside.state == State::Ready && inside.poll_read(&mut nobody(), (1, READ_LEAST)).is_ready() {
            inside.state = State::Over;
        }
        inside.state == State::Ready
    }

    /// Asks. `length`, where the head is to tell it, is what `body` will bring; `interim` hears of answers
    /// before the answer.
    ///
    /// # Errors
    /// [`Unspeakable`], and nothing has happened.
    pub fn ask<B, I>(
        &self,
        head: &Head,
        (length, expects): (Option<u64>, bool),
        body: B,
        interim: I,
    ) -> Result<Asked<B, I>, Unspeakable>
    where
        B: Body<Data = Bytes> + Unpin,
        I: FnMut(StatusCode) + Unpin,
    {
        let mut inside = self.0.borrow_mut();
        inside.head.clear();
        request::write(head, length, expects, &mut inside.head)?;
        inside.state = State::Busy;
        drop(inside);
        let whole = body.is_end_stream();
        let upload =
            Upload { body, more: !whole, queue: VecDeque::new(), queued: 0, head_sent: 0, flushed: false };
        let to_head = *head.method() == Method::HEAD;
        Ok(Asked { conversation: self.clone(), upload, to_head, interim, interims: 0 })
    }
}

impl std::fmt::Debug for Conversation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Conversation").field("state", &self.0.borrow().state).finish_non_exhaustive()
    }
}

/// For who looks and does not wait.
fn nobody() -> Context<'static> {
    Context::from_waker(Waker::noop())
}

impl Inside {
    /// Reads what there is; 0 is the end. Where there is less room than `least`, some is made for `most`:
    /// what trickles in shares a block, as held pieces would else hold a block each.
    fn poll_read(&mut self, cx: &mut Context<'_>, (least, most): (usize, usize)) -> Poll<io::Result<usize>> {
        let Self { io, came, .. } = self;
        if came.capacity() - came.len() < least {
            came.reserve(most);
        }
        pin!(io.read_buf(came)).poll(cx)
    }

    /// The next head.
    fn poll_head(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<answer::Found>> {
        loop {
            if !self.came.is_empty()
                && let Some(found) = answer::find(&self.came).map_err(no_answer)?
            {
                return Poll::Ready(Ok(found));
            }
            if ready!(self.poll_read(cx, (READ_LEAST, READ_LEAST)))? == 0 {
                return Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into()));
            }
        }
    }
}

fn no_answer(malformed: Malformed) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, malformed)
}

/// A request on its way out.
struct Upload<B> {
    body: B,
    /// The body has not come to its end.
    more: bool,
    queue: VecDeque<Bytes>,
    /// Bytes in the queue.
    queued: usize,
    /// Bytes of the head that the socket has taken.
    head_sent: usize,
    flushed: bool,
}

impl<B: Body<Data = Bytes> + Unpin> Upload<B> {
    /// Whether the whole request was handed to the socket.
    fn is_out(&self) -> bool {
        self.flushed && !self.more
    }

    /// Moves bytes until the request is out, or the socket or the body has to be waited for.
    fn poll(&mut self, inside: &mut Inside, cx: &mut Context<'_>) -> Poll<Result<(), Fault<B::Error>>> {
        while !self.is_out() {
            self.fill(cx)?;
            let Inside { io, head, .. } = inside;
            let left = head.get(self.head_sent..).unwrap_or_default();
            if left.is_empty() && self.queue.is_empty() {
                if !self.flushed {
                    ready!(Pin::new(&mut *io).poll_flush(cx)).map_err(Fault::Broken)?;
                    self.flushed = true;
                }
                if self.more {
                    return Poll::Pending;
                }
                continue;
            }
            self.flushed = false;
            let mut slices = [IoSlice::new(&[]); QUEUE_PIECES + 1];
            let pieces = std::iter::once(left).chain(self.queue.iter().map(|piece| &**piece));
            let mut used = 0;
            for (slice, piece) in slices.iter_mut().zip(pieces.filter(|piece| !piece.is_empty())) {
                *slice = IoSlice::new(piece);
                used += 1;
            }
            let written = match slices.get(..used).unwrap_or_default() {
                // the cheaper call
                [one] => Pin::new(&mut *io).poll_write(cx, one),
                slices => Pin::new(&mut *io).poll_write_vectored(cx, slices),
            };
            match ready!(written) {
                Ok(0) => return Poll::Ready(Err(self.failed(io::ErrorKind::WriteZero.into()))),
                Ok(taken) => self.taken(taken, left.len()),
                Err(fault) => return Poll::Ready(Err(self.failed(fault))),
            }
        }
        Poll::Ready(Ok(()))
    }

    /// Queues what the body has.
    fn fill(&mut self, cx: &mut Context<'_>) -> Result<(), Fault<B::Error>> {
        while self.more && self.queue.len() < QUEUE_PIECES && self.queued < QUEUE_BYTES {
            match Pin::new(&mut self.body).poll_frame(cx) {
                Poll::Ready(Some(Ok(frame))) => {
                    if let Ok(piece) = frame.into_data()
                        && !piece.is_empty()
                    {
                        self.queued += piece.len();
                        self.queue.push_back(piece);
                    }
                    self.more = !self.body.is_end_stream();
                }
                Poll::Ready(Some(Err(fault))) => return Err(Fault::Body(fault)),
                Poll::Ready(None) => self.more = false,
                Poll::Pending => break,
            }
        }
        Ok(())
    }

    /// The socket took so many bytes: of the head first, then of the queue.
    fn taken(&mut self, taken: usize, head_left: usize) {
        let of_head = taken.min(head_left);
        self.head_sent += of_head;
        let mut left = taken - of_head;
        self.queued -= left;
        while let Some(first) = self.queue.front_mut() {
            if left < first.len() {
                first.advance(left);
                break;
            }
            left -= first.len();
            self.queue.pop_front();
        }
    }

    fn failed(&self, fault: io::Error) -> Fault<B::Error> {
        if self.head_sent == 0 { Fault::Unsent(fault) } else { Fault::Broken(fault) }
    }
}

/// A question under way. Dropped before its answer, it ends the connection.
pub struct Asked<B, I> {
    conversation: Conversation,
    upload: Upload<B>,
    to_head: bool,
    interim: I,
    interims: u32,
}

impl<B, I> Future for Asked<B, I>
where
    B: Body<Data = Bytes> + Unpin,
    I: FnMut(StatusCode) + Unpin,
{
    type Output = Result<Answered, Fault<B::Error>>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.get_mut();
        let mut inside = this.conversation.0.borrow_mut();
        loop {
            if let Poll::Ready(Err(fault)) = this.upload.poll(&mut inside, cx) {
                return Poll::Ready(Err(fault));
            }
            let found = match ready!(inside.poll_head(cx)) {
                Ok(found) => found,
                Err(fault) => return Poll::Ready(Err(this.upload.failed(fault))),
            };
            let head = inside.came.split_to(found.length).freeze();
            if found.is_interim() {
                this.interims += 1;
                if this.interims > INTERIM_MOST {
                    return Poll::Ready(Err(Fault::Broken(no_answer(Malformed("it never comes")))));
                }
                (this.interim)(found.status());
                continue;
            }
            let answered = found.read(&head, this.to_head).map_err(|fault| Fault::Broken(no_answer(fault)));
            let body = |framing, keeps, inside: &mut RefMut<'_, Inside>| {
                let conversation = this.conversation.clone();
                let mut body = Incoming { conversation, left: Left::of(framing), keeps, step: READ_LEAST };
                if body.is_ended() {
                    body.end(inside);
                }
                body
            };
            return Poll::Ready(answered.map(|answer| Answered {
                head: answer.head,
                body: body(answer.framing, answer.keeps && this.upload.is_out(), &mut inside),
                request_sent: this.upload.is_out(),
            }));
        }
    }
}

/// An answer's body, read as it is asked for.
pub struct Incoming {
    conversation: Conversation,
    left: Left,
    /// Whether the connection may be used again after it.
    keeps: bool,
    /// Room for the next read, where it is not known how much will come.
    step: usize,
}

#[derive(Clone, Copy, Debug)]
enum Left {
    Exactly(u64),
    Chunked(Chunks),
    UntilEnd,
    Nothing,
}

impl Left {
    fn of(framing: Framing) -> Self {
        match framing {
            Framing::Exactly(length) => Self::Exactly(length),
            Framing::Chunked => Self::Chunked(Chunks::default()),
            Framing::UntilEnd => Self::UntilEnd,
        }
    }
}

impl Incoming {
    /// The next bytes; `None` at the end.
    ///
    /// # Errors
    /// The connection ended before the body did, or the framing was broken.
    pub fn poll_bytes(&mut self, cx: &mut Context<'_>) -> Poll<Option<io::Result<Bytes>>> {
        if matches!(self.left, Left::Nothing) {
            // somebody else may have the connection by now
            return Poll::Ready(None);
        }
        let conversation = self.conversation.clone();
        let mut inside = conversation.0.borrow_mut();
        loop {
            let most = match &mut self.left {
                Left::Nothing => return Poll::Ready(None),
                Left::Exactly(left) if !inside.came.is_empty() => {
                    let taken = usize::try_from(*left).unwrap_or(usize::MAX).min(inside.came.len());
                    *left -= taken as u64;
                    let ended = *left == 0;
                    let bytes = inside.came.split_to(taken).freeze();
                    if ended {
                        self.end(&mut inside);
                    }
                    return Poll::Ready(Some(Ok(bytes)));
                }
                Left::Exactly(left) => usize::try_from(*left).unwrap_or(usize::MAX).min(READ_MOST),
                Left::Chunked(chunks) => match chunks.next(&mut inside.came) {
                    Ok(Piece::Data(bytes)) => return Poll::Ready(Some(Ok(bytes))),
                    Ok(Piece::End) => {
                        self.end(&mut inside);
                        return Poll::Ready(None);
                    }
                    Ok(Piece::More) => self.step,
                    Err(malformed) => return Poll::Ready(Some(Err(no_answer(malformed)))),
                },
                Left::UntilEnd if !inside.came.is_empty() => {
                    return Poll::Ready(Some(Ok(inside.came.split().freeze())));
                }
                Left::UntilEnd => self.step,
            };
            let read = ready!(inside.poll_read(cx, (most.min(READ_LEAST), most)))?;
            if read == 0 && matches!(self.left, Left::UntilEnd) {
                self.end(&mut inside);
            } else if read == 0 {
                return Poll::Ready(Some(Err(io::ErrorKind::UnexpectedEof.into())));
            } else if read >= self.step {
                self.step = READ_MOST.min(self.step * 2);
            }
        }
    }

    /// Bytes that are still to come, where that is known.
    #[must_use]
    pub fn left(&self) -> Option<u64> {
        match self.left {
            Left::Exactly(left) => Some(left),
            Left::Nothing => Some(0),
            Left::Chunked(_) | Left::UntilEnd => None,
        }
    }

    /// Whether the last byte was taken.
    #[must_use]
    pub fn is_ended(&self) -> bool {
        self.left() == Some(0)
    }

    /// The last byte was taken: the connection is ready for another request, unless something says that it
    /// is not, or more came than was announced.
    fn end(&mut self, inside: &mut Inside) {
        self.left = Left::Nothing;
        let clean = self.keeps && inside.came.is_empty();
        inside.state = if clean { State::Ready } else { State::Over };
        if inside.came.capacity() > 2 * READ_LEAST {
            // an idle connection keeps no block of a large body
            inside.came = BytesMut::new();
        }
    }
}

impl std::fmt::Debug for Incoming {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Incoming").field("left", &self.left).finish_non_exhaustive()
    }
}

#[cfg(test)]
#[path = "conversation_tests.rs"]
mod tests;
