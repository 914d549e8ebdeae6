//! One client's connection: heads in, answers out, one request after the other. A door; it moves bytes and
//! decides nothing. One thread only: a worker's. What may pass at all is the wire gate's to say, before this.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::future::Future;
use std::io::{self, IoSlice};
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes, BytesMut};
use http::{Method, Response};
use http_body::Body;
use tokio::io::AsyncReadExt;

use super::answer::{self, Framing, Manner};
use super::chunked::{Chunks, Piece};
use super::conversation::Io;
use super::date::Today;
use super::request;
use crate::clock::Clock;
use crate::head::Head;

/// What a read for a head has room for; the body of a small upload comes with it.
const READ_LEAST: usize = 8 << 10;
/// Pieces of an answer that wait for the socket.
const QUEUE_PIECES: usize = 24;
/// Bytes of a body that nobody wanted which are read so that the connection can be used again.
const DRAINED_MOST: usize = 64 << 10;

/// How a connection ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// Nothing more was to come.
    Done,
    /// The client went away within a request.
    Gone,
    /// The connection or an answer broke: what the client has is not all.
    Torn,
}

/// A client's connection, served as it is polled.
pub struct Serving<S, F, Fut, B> {
    line: Rc<RefCell<Line<S>>>,
    serve: F,
    /// The request under way. In one place for all requests: nothing is allocated for each.
    answering: Pin<Box<Option<Fut>>>,
    turn: Turn,
    writing: Option<Writing<B>>,
    /// The last answer is in the socket's hands, and has to be flushed.
    flushing: bool,
    /// No further request is taken.
    finishing: bool,
    /// Bytes of an answer that wait for the socket.
    most: usize,
    clock: Clock,
    today: Today,
}

/// What the answer to the request under way goes by.
#[derive(Clone, Copy)]
struct Turn {
    is_1_1: bool,
    to_head: bool,
    keeps: bool,
}

/// The connection, as it is shared with the body of the request under way.
struct Line<S> {
    /// `None` once it was taken back.
    io: Option<S>,
    /// What came and was not taken yet.
    came: BytesMut,
    /// Of the body of the request under way.
    left: Left,
    /// Which request is under way: the body of an earlier one reads nothing.
    turn: u64,
    /// The client waits for `100 Continue`.
    expects: bool,
    /// Heads on their way out, and how much of them is out.
    words: Vec<u8>,
    said: usize,
    /// Bytes read at once for a body.
    most: usize,
}

#[derive(Clone, Copy, Debug)]
enum Left {
    Exactly(u64),
    Chunked(Chunks),
    Broken,
}

/// Where a request's body comes from, whatever its connection goes over.
trait Receives {
    fn poll_body(&self, turn: u64, cx: &mut Context<'_>) -> Poll<Option<io::Result<Bytes>>>;
    fn is_ended(&self, turn: u64) -> bool;
}

/// The body of a request that a client sends.
pub enum ClientBody {
    /// Over HTTP/1.1.
    Http1(RequestBody),
    /// Over HTTP/2.
    Http2(hyper::body::Incoming),
}

/// The body of an HTTP/1.1 request.
pub struct RequestBody {
    line: Rc<dyn Receives>,
    turn: u64,
}

/// The client's connection broke in the middle of its body.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the client's body broke off")]
pub struct BrokeOff;

impl ClientBody {
    /// The next bytes; the first call asks a client that waits for it to go on.
    ///
    /// # Errors
    /// [`BrokeOff`].
    pub fn poll_bytes(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, BrokeOff>>> {
        match self {
            Self::Http1(body) => {
                body.line.poll_body(body.turn, cx).map(|next| next.map(|next| next.map_err(|_| BrokeOff)))
            }
            Self::Http2(body) => loop {
                match ready!(Pin::new(&mut *body).poll_frame(cx)) {
                    Some(Ok(frame)) => {
                        if let Ok(bytes) = frame.into_data() {
                            return Poll::Ready(Some(Ok(bytes)));
                        }
                    }
                    Some(Err(_)) => return Poll::Ready(Some(Err(BrokeOff))),
                    None => return Poll::Ready(None),
                }
            },
        }
    }

    /// Whether it is known that nothing more comes.
    #[must_use]
    pub fn is_end_stream(&self) -> bool {
        match self {
            Self::Http1(body) => body.line.is_ended(body.turn),
            Self::Http2(body) => body.is_end_stream(),
        }
    }
}

impl std::fmt::Debug for ClientBody {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Http1(_) => "ClientBody::Http1",
            Self::Http2(_) => "ClientBody::Http2",
        })
    }
}

impl<S: Io> Line<S> {
    fn io(&mut self) -> io::Result<&mut S> {
        self.io.as_mut().ok_or_else(|| io::ErrorKind::NotConnected.into())
    }

    /// Reads what there is, with room for up to `most` bytes; 0 is the end.
    fn poll_read(&mut self, cx: &mut Context<'_>, most: usize) -> Poll<io::Result<usize>> {
        let Self { io, came, .. } = self;
        let Some(io) = io else { return Poll::Ready(Err(io::ErrorKind::NotConnected.into())) };
        // What trickles in shares a block: held pieces would else hold a block each.
        if came.capacity() - came.len() < most.min(READ_LEAST) {
            came.reserve(most.saturating_sub(came.len()).max(READ_LEAST));
        }
        pin!(io.read_buf(came)).poll(cx)
    }

    /// Writes out what is to be said before anything else, and flushes it.
    fn poll_words(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while let Some(left) = self.words.get(self.said..).filter(|left| !left.is_empty()) {
            let Some(io) = &mut self.io else { return Poll::Ready(Err(io::ErrorKind::NotConnected.into())) };
            match ready!(Pin::new(io).poll_write(cx, left))? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                written => self.said += written,
            }
        }
        if self.said > 0 {
            ready!(Pin::new(self.io()?).poll_flush(cx))?;
            self.words.clear();
            self.said = 0;
        }
        Poll::Ready(Ok(()))
    }

    fn poll_piece(&mut self, cx: &mut Context<'_>) -> Poll<Option<io::Result<Bytes>>> {
        loop {
            let most = match &mut self.left {
                Left::Exactly(0) => return Poll::Ready(None),
                Left::Exactly(left) if !self.came.is_empty() => {
                    let taken = usize::try_from(*left).unwrap_or(usize::MAX).min(self.came.len());
                    *left -= taken as u64;
                    return Poll::Ready(Some(Ok(self.came.split_to(taken).freeze())));
                }
                Left::Exactly(left) => usize::try_from(*left).unwrap_or(usize::MAX).min(self.most),
                Left::Chunked(chunks) => match chunks.next(&mut self.came) {
                    Ok(Piece::Data(bytes)) => return Poll::Ready(Some(Ok(bytes))),
                    Ok(Piece::End) => {
                        self.left = Left::Exactly(0);
                        return Poll::Ready(None);
                    }
                    Ok(Piece::More) => self.most,
                    Err(malformed) => {
                        self.left = Left::Broken;
                        return Poll::Ready(Some(Err(io::Error::new(io::ErrorKind::InvalidData, malformed))));
                    }
                },
                Left::Broken => return Poll::Ready(Some(Err(io::ErrorKind::ConnectionAborted.into()))),
            };
            let read = ready!(self.poll_read(cx, most));
            let read = read
                .and_then(|read| if read == 0 { Err(io::ErrorKind::UnexpectedEof.into()) } else { Ok(read) });
            if let Err(fault) = read {
                self.left = Left::Broken;
                return Poll::Ready(Some(Err(fault)));
            }
        }
    }

    /// Reads over what is left of a body that nobody wants; false where that is too much, or has not come.
    fn is_drained(&mut self, cx: &mut Context<'_>) -> bool {
        // what is here already costs nothing
        let most = self.came.len() + DRAINED_MOST;
        let mut drained = 0;
        loop {
            match self.poll_piece(cx) {
                Poll::Ready(None) => return true,
                Poll::Ready(Some(Ok(piece))) if drained + piece.len() <= most => {
                    drained += piece.len();
                }
                Poll::Ready(Some(_)) | Poll::Pending => return false,
            }
        }
    }

    /// Whether the client has gone while it waits for an answer. What it sends meanwhile is kept for later.
    fn is_gone(&mut self, cx: &mut Context<'_>) -> bool {
        while matches!(self.left, Left::Exactly(0)) && self.came.is_empty() {
            match self.poll_read(cx, READ_LEAST) {
                Poll::Ready(Ok(0) | Err(_)) => return true,
                Poll::Ready(Ok(_)) => {}
                Poll::Pending => return false,
            }
        }
        false
    }
}

impl<S: Io> Receives for RefCell<Line<S>> {
    fn poll_body(&self, turn: u64, cx: &mut Context<'_>) -> Poll<Option<io::Result<Bytes>>> {
        let mut line = self.borrow_mut();
        if line.turn != turn {
            return Poll::Ready(Some(Err(io::ErrorKind::ConnectionAborted.into())));
        }
        if std::mem::take(&mut line.expects) {
            line.words.extend_from_slice(b"HTTP/1.1 100 Continue\r\n\r\n");
        }
        // whoever does not take it is found out by those that read
        let _said = line.poll_words(cx);
        line.poll_piece(cx)
    }

    fn is_ended(&self, turn: u64) -> bool {
        let line = self.borrow();
        line.turn != turn || matches!(line.left, Left::Exactly(0))
    }
}

/// An answer on its way out.
struct Writing<B> {
    /// `None` once it has come to its end.
    body: Option<B>,
    framing: Framing,
    /// Bytes of a body that told its length.
    left: u64,
    queue: VecDeque<Bytes>,
    /// Bytes in the queue.
    queued: usize,
    flushed: bool,
}

/// An answer that ends before its end.
struct Short;

impl<B: Body<Data = Bytes> + Unpin> Writing<B> {
    fn new(body: B, framing: Framing) -> Self {
        let left = if let Framing::Exactly(length) = framing { length } else { 0 };
        let mut writing =
            Self { body: Some(body), framing, left, queue: VecDeque::new(), queued: 0, flushed: true };
        if framing == Framing::Exactly(0) {
            writing.body = None;
        }
        writing
    }

    fn push(&mut self, piece: Bytes) {
        self.queued += piece.len();
        self.queue.push_back(piece);
    }

    /// Queues what the body has.
    fn fill(&mut self, most: usize, cx: &mut Context<'_>) -> Result<(), Short> {
        while let Some(body) = &mut self.body
            && self.queue.len() < QUEUE_PIECES
            && self.queued < most
        {
            let ended = body.is_end_stream();
            let next = if ended { Poll::Ready(None) } else { Pin::new(body).poll_frame(cx) };
            match next {
                Poll::Ready(Some(Ok(frame))) => {
                    if let Ok(piece) = frame.into_data()
                        && !piece.is_empty()
                    {
                        self.framed(piece)?;
                    }
                }
                Poll::Ready(Some(Err(_))) => return Err(Short),
                Poll::Ready(None) => {
                    if self.left > 0 {
                        return Err(Short);
                    }
                    if self.framing == Framing::Chunked {
                        self.push(Bytes::from_static(b"0\r\n\r\n"));
                    }
                    self.body = None;
                }
                Poll::Pending => break,
            }
        }
        Ok(())
    }

    fn framed(&mut self, piece: Bytes) -> Result<(), Short> {
        match self.framing {
            Framing::Exactly(_) => {
                self.left = self.left.checked_sub(piece.len() as u64).ok_or(Short)?;
                self.push(piece);
            }
            Framing::Chunked => {
                self.push(Bytes::from(format!("{:x}\r\n", piece.len())));
                self.push(piece);
                self.push(Bytes::from_static(b"\r\n"));
            }
            Framing::UntilEnd => self.push(piece),
        }
        Ok(())
    }

    /// Moves bytes until the whole answer is in the socket's hands. The body is let go of as soon as it
    /// has come to its end.
    fn poll<S: Io>(
        &mut self,
        line: &RefCell<Line<S>>,
        most: usize,
        cx: &mut Context<'_>,
    ) -> Poll<Result<(), Short>> {
        loop {
            self.fill(most, cx)?;
            let mut line = line.borrow_mut();
            let Line { io: Some(io), words, said, .. } = &mut *line else { return Poll::Ready(Err(Short)) };
            let words_left = words.get(*said..).unwrap_or_default();
            if words_left.is_empty() && self.queue.is_empty() {
                words.clear();
                *said = 0;
                if self.body.is_none() {
                    return Poll::Ready(Ok(()));
                }
                if !self.flushed {
                    ready!(Pin::new(io).poll_flush(cx)).map_err(|_| Short)?;
                    self.flushed = true;
                }
                return Poll::Pending;
            }
            self.flushed = false;
            let mut slices = [IoSlice::new(&[]); QUEUE_PIECES + 4];
            let pieces = std::iter::once(words_left).chain(self.queue.iter().map(|piece| &**piece));
            let mut used = 0;
            for (slice, piece) in slices.iter_mut().zip(pieces.filter(|piece| !piece.is_empty())) {
                *slice = IoSlice::new(piece);
                used += 1;
            }
            let written = match slices.get(..used).unwrap_or_default() {
                // the cheaper call
                [one] => Pin::new(io).poll_write(cx, one),
                slices => Pin::new(io).poll_write_vectored(cx, slices),
            };
            match ready!(written) {
                Ok(0) | Err(_) => return Poll::Ready(Err(Short)),
                Ok(taken) => {
                    let of_words = taken.min(words_left.len());
                    *said += of_words;
                    self.taken(taken - of_words);
                }
            }
        }
    }

    fn taken(&mut self, mut taken: usize) {
        self.queued -= taken;
        while let Some(first) = self.queue.front_mut() {
            if taken < first.len() {
                first.advance(taken);
                break;
            }
            taken -= first.len();
            self.queue.pop_front();
        }
    }
}

impl<S, F, Fut, B> Serving<S, F, Fut, B>
where
    S: Io + 'static,
    F: FnMut(Head, ClientBody) -> Fut + Unpin,
    Fut: Future<Output = Response<B>>,
    B: Body<Data = Bytes> + Unpin,
{
    /// Serves what comes over `io`; `most` bytes wait at most, each way.
    pub fn new(io: S, serve: F, most: usize, clock: Clock) -> Self {
        let line = Line {
            io: Some(io),
            came: BytesMut::new(),
            left: Left::Exactly(0),
            turn: 0,
            expects: false,
            words: Vec::new(),
            said: 0,
            most,
        };
        Self {
            line: Rc::new(RefCell::new(line)),
            serve,
            answering: Box::pin(None),
            turn: Turn { is_1_1: true, to_head: false, keeps: true },
            writing: None,
            flushing: false,
            finishing: false,
            most,
            clock,
            today: Today::default(),
        }
    }

    /// Takes no further request: an idle connection ends, one with a request under way does after its
    /// answer.
    pub fn finish(self: Pin<&mut Self>) {
        self.get_mut().finishing = true;
    }

    /// What it goes over; `None` once it was taken.
    pub fn into_io(self) -> Option<S> {
        self.line.borrow_mut().io.take()
    }

    /// The next request, where its head has come.
    fn poll_head(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), End>> {
        loop {
            let mut line = self.line.borrow_mut();
            match request::read(&line.came) {
                Ok(Some((request, length))) => {
                    line.came.advance(length);
                    line.turn += 1;
                    line.left = match request.framing {
                        Framing::Exactly(length) => Left::Exactly(length),
                        Framing::Chunked | Framing::UntilEnd => Left::Chunked(Chunks::default()),
                    };
                    line.expects = request.expects && !matches!(line.left, Left::Exactly(0));
                    let turn = line.turn;
                    drop(line);
                    let to_head = *request.head.method() == Method::HEAD;
                    self.turn = Turn { is_1_1: request.is_1_1, to_head, keeps: request.keeps() };
                    let shared: Rc<RefCell<Line<S>>> = Rc::clone(&self.line);
                    let body = ClientBody::Http1(RequestBody { line: shared, turn });
                    let answer = (self.serve)(request.head, body);
                    self.answering.set(Some(answer));
                    return Poll::Ready(Ok(()));
                }
                Ok(None) => {
                    let between = line.came.is_empty();
                    match line.poll_read(cx, READ_LEAST) {
                        // what has come by now is still answered
                        Poll::Pending if self.finishing && between => return Poll::Ready(Err(End::Done)),
                        Poll::Pending => return Poll::Pending,
                        Poll::Ready(Ok(0)) => {
                            return Poll::Ready(Err(if between { End::Done } else { End::Gone }));
                        }
                        Poll::Ready(Ok(_)) => {}
                        Poll::Ready(Err(_)) => return Poll::Ready(Err(End::Torn)),
                    }
                }
                // Nothing of the kind passes the gate.
                Err(_) => {
                    let refusal =
                        b"HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";
                    line.words.extend_from_slice(refusal);
                    line.came.clear();
                    self.turn.keeps = false;
                    self.flushing = true;
                    return Poll::Ready(Ok(()));
                }
            }
        }
    }

    /// Begins to write an answer.
    fn begin(&mut self, response: Response<B>) {
        let (head, body) = response.into_parts();
        let size = body.size_hint().exact();
        let Turn { is_1_1, to_head, keeps } = self.turn;
        let date = self.today.text(self.clock.now().wall);
        let keeps = keeps && !self.finishing;
        let mut line = self.line.borrow_mut();
        line.expects = false;
        let (framing, keeps) =
            answer::write(&head, size, Manner { is_1_1, to_head, keeps, date }, &mut line.words);
        drop(line);
        self.turn.keeps = keeps;
        self.writing = Some(Writing::new(body, framing));
    }
}

impl<S, F, Fut, B> Future for Serving<S, F, Fut, B>
where
    S: Io + 'static,
    F: FnMut(Head, ClientBody) -> Fut + Unpin,
    Fut: Future<Output = Response<B>>,
    B: Body<Data = Bytes> + Unpin,
{
    type Output = End;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<End> {
        let this = self.get_mut();
        loop {
            if let Some(writing) = &mut this.writing {
                match writing.poll(&this.line, this.most, cx) {
                    Poll::Ready(Ok(())) => (this.writing, this.flushing) = (None, true),
                    Poll::Ready(Err(Short)) => return Poll::Ready(End::Torn),
                    // what it has of the answer is not all
                    Poll::Pending if this.line.borrow_mut().is_gone(cx) => return Poll::Ready(End::Torn),
                    Poll::Pending => return Poll::Pending,
                }
            }
            if this.flushing {
                let mut line = this.line.borrow_mut();
                let flushed = match ready!(line.poll_words(cx)).and_then(|()| line.io().map(Pin::new)) {
                    Ok(io) => ready!(io.poll_flush(cx)),
                    Err(fault) => Err(fault),
                };
                if flushed.is_err() {
                    return Poll::Ready(End::Torn);
                }
                this.flushing = false;
                // whoever still holds the body reads nothing any more
                line.turn += 1;
                if !this.turn.keeps || !line.is_drained(cx) {
                    return Poll::Ready(End::Done);
                }
                if line.came.is_empty() && line.came.capacity() > 2 * READ_LEAST {
                    // an idle connection keeps no block of a large body
                    line.came = BytesMut::new();
                }
            }
            if let Some(answering) = this.answering.as_mut().as_pin_mut() {
                match answering.poll(cx) {
                    Poll::Ready(response) => {
                        this.answering.set(None);
                        this.begin(response);
                        continue;
                    }
                    Poll::Pending => {
                        let mut line = this.line.borrow_mut();
                        let broken = matches!(line.poll_words(cx), Poll::Ready(Err(_)));
                        if broken || line.is_gone(cx) {
                            return Poll::Ready(End::Gone);
                        }
                        return Poll::Pending;
                    }
                }
            }
            if let Err(end) = ready!(this.poll_head(cx)) {
                return Poll::Ready(end);
            }
        }
    }
}

#[cfg(test)]
#[path = "serving_tests.rs"]
mod tests;
