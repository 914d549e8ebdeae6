//! One client connection: its server behind the gate, driven together with the client's
//! clocks, and its last words.

use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use http::header::{CONNECTION, HeaderValue};
use http::{Request, Response};
use hyper::body::Incoming;
use hyper::rt::Executor;
use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::time::{Instant, Sleep, sleep_until, timeout};

use super::gate::{Gate, HeadLimits, Violation};
use super::overdue::Overdue;
use super::request::{InFlight, Tracked, head_of};
use super::stream::ClientStream;
use super::wire::{Patience, Wire};
use super::{Answer, Peer};
use crate::head::Head;
use crate::http1::{ClientBody, End, Serving};
use crate::telemetry::metric::{Metric, counter};

/// What an answer's body may fail with.
pub type Fault = Box<dyn std::error::Error + Send + Sync>;

/// How a connection is served.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConnectionRules {
    /// What a head may measure.
    pub head: HeadLimits,
    /// How long the client may take.
    pub patience: Patience,
    /// Bytes of buffers, each way. With 128 KiB a stalled reader holds about 300 KiB
    /// with what the region's side holds; below 64 KiB large bodies cost a third more CPU.
    pub buffer: usize,
}

/// How a connection ended.
#[derive(Debug)]
pub(super) enum Ending {
    /// It came to its end, in peace or not.
    Closed(End),
    /// The gate refused a head, and everything before it is answered.
    Violated(Violation),
    /// The client took too long.
    Overdue(Overdue),
    /// The process could wait no longer.
    Cut {
        /// While a request was under way.
        busy: bool,
    },
}

/// Bytes of a refused upload that are read after the answer, so that the client reads it
/// instead of a reset. More would let clients feed us for ever.
const DRAINED_MAX: usize = 64 << 10;
/// How long a connection may take to end after our last byte.
const LINGER: Duration = Duration::from_secs(1);
/// Streams that one HTTP/2 connection may hold open (`reliability.md` C2: 100 bounds a header
/// bomb at 1.2 MB).
const STREAMS_MAX: u32 = 100;
/// Bytes of a request body that a stream, and that all streams of a connection, may send ahead.
const STREAM_WINDOW: u32 = 256 << 10;
const CONNECTION_WINDOW: u32 = 1 << 20;
const PING_INTERVAL: Duration = Duration::from_secs(20);
const PING_TIMEOUT: Duration = Duration::from_secs(10);

/// Serves HTTP/1.1 until the connection ends; the stream is left for [`part`].
pub(super) async fn serve_http1<S, A>(
    stream: S,
    wire: &Rc<Wire>,
    peer: Rc<Peer>,
    rules: ConnectionRules,
    answer: Rc<A>,
) -> (Option<S>, Ending)
where
    S: ClientStream,
    A: Answer,
{
    let serve = |head: Head, body: ClientBody| {
        let in_flight = InFlight::request(Rc::clone(wire));
        let (peer, answer) = (Rc::clone(&peer), Rc::clone(&answer));
        async move { reply(&peer, (head, body), &*answer, in_flight).await }
    };
    let gate = Gate::http1(stream, rules.head, Rc::clone(wire));
    let mut serving = Serving::new(gate, serve, rules.buffer, wire.clock);
    let ending = drive(&mut serving, wire, rules.patience, Serving::finish).await;
    (serving.into_io().map(Gate::into_stream), ending)
}

/// Told of each HTTP/2 request that was refused by resetting its stream.
pub(super) type Refuse = Rc<dyn Fn(Violation)>;

/// Serves HTTP/2 until the connection ends.
pub(super) async fn serve_http2<S, A>(
    stream: S,
    wire: &Rc<Wire>,
    peer: Rc<Peer>,
    rules: ConnectionRules,
    answer: Rc<A>,
    refuse: Refuse,
) -> Ending
where
    S: ClientStream,
    A: Answer,
{
    let service = service_fn(|request: Request<Incoming>| {
        let in_flight = InFlight::stream(Rc::clone(wire));
        let (peer, answer, refuse) = (Rc::clone(&peer), Rc::clone(&answer), Rc::clone(&refuse));
        async move {
            let (parts, body) = request.into_parts();
            // an error resets the stream
            let Ok(head) = head_of(&parts) else {
                refuse(Violation::Authority);
                counter(Metric::StreamsReset, &[Violation::Authority.label()]).increment(1);
                return Err(h2::Error::from(h2::Reason::PROTOCOL_ERROR));
            };
            drop(parts);
            Ok(reply(&peer, (head, ClientBody::Http2(body)), &*answer, in_flight).await)
        }
    });
    let mut builder = http2::Builder::new(Streams { wire: Rc::clone(wire) });
    builder
        .timer(TokioTimer::new())
        .max_concurrent_streams(STREAMS_MAX)
        // h2 itself answers longer ones with 431; nobody here hears of them
        .max_header_list_size(u32::try_from(rules.head.bytes).unwrap_or(u32::MAX))
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_send_buf_size(rules.buffer)
        .keep_alive_interval(PING_INTERVAL)
        .keep_alive_timeout(PING_TIMEOUT);
    let io = TokioIo::new(Gate::http2(stream, Rc::clone(wire)));
    let mut connection = Http2(builder.serve_connection(io, service));
    drive(&mut connection, wire, rules.patience, |http2| Pin::new(&mut http2.get_mut().0).graceful_shutdown())
        .await
}

/// hyper's connection, as ours ends.
struct Http2<C>(C);

impl<C: Future<Output = hyper::Result<()>> + Unpin> Future for Http2<C> {
    type Output = End;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<End> {
        Pin::new(&mut self.0).poll(cx).map(|result| if result.is_ok() { End::Done } else { End::Torn })
    }
}

async fn reply<A: Answer>(
    peer: &Rc<Peer>,
    (head, body): (Head, ClientBody),
    answer: &A,
    in_flight: InFlight,
) -> Response<Tracked<A::Body>> {
    let mut response = answer.answer(peer, head, body, in_flight.fate()).await;
    if in_flight.leaves_body() {
        // the connection ends then, unless the rest happens to be there already: a client that is told does
        // not send its next request into the end
        response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    }
    response.map(|body| Tracked::new(body, in_flight))
}

/// Polls the connection, and ends it when the client's time is up, a violation is ripe, or the
/// process says so. One timer serves all clocks; it is armed again only when it fires or a
/// nearer deadline comes up, so that requests cost no timer.
async fn drive<C>(connection: &mut C, wire: &Wire, patience: Patience, finish: fn(Pin<&mut C>)) -> Ending
where
    C: Future<Output = End> + Unpin,
{
    let far = Instant::from_std(wire.clock.mono()) + FAR;
    let mut driver = Driver { wire, patience, finish, finishing: None, armed: None };
    let sleep = sleep_until(far);
    tokio::pin!(sleep);
    poll_fn(|cx| driver.poll(connection, sleep.as_mut(), cx)).await
}

/// Beyond any deadline: an unarmed timer.
const FAR: Duration = Duration::from_hours(24 * 365);

struct Driver<'a, C> {
    wire: &'a Wire,
    patience: Patience,
    finish: fn(Pin<&mut C>),
    /// The connection was told to finish, and has until then.
    finishing: Option<std::time::Instant>,
    armed: Option<std::time::Instant>,
}

impl<C: Future<Output = End> + Unpin> Driver<'_, C> {
    fn poll(&mut self, connection: &mut C, mut sleep: Pin<&mut Sleep>, cx: &mut Context<'_>) -> Poll<Ending> {
        self.wire.watch(cx.waker());
        loop {
            if self.wire.is_cut() {
                return Poll::Ready(Ending::Cut { busy: self.wire.is_busy() });
            }
            if self.wire.is_shed() {
                return Poll::Ready(Ending::Overdue(Overdue::Shed));
            }
            if let Poll::Ready(end) = Pin::new(&mut *connection).poll(cx) {
                return Poll::Ready(Ending::Closed(end));
            }
            if self.finishing.is_none() && self.wire.is_draining() && self.wire.is_busy() {
                self.finish(connection);
                continue;
            }
            if let Some(violation) = self.wire.ripe_violation() {
                return Poll::Ready(Ending::Violated(violation));
            }
            let Some((at, why)) = self.deadline() else { return Poll::Pending };
            if self.armed.is_none_or(|armed| at < armed) {
                sleep.as_mut().reset(Instant::from_std(at));
                self.armed = Some(at);
            }
            if sleep.as_mut().poll(cx).is_pending() {
                return Poll::Pending;
            }
            self.armed = None;
            if self.wire.clock.mono() < at {
                continue;
            }
            if let Some(streams) = self.wire.cut_stalled_streams(&self.patience) {
                let count = u64::try_from(streams).unwrap_or(u64::MAX);
                counter(Metric::StreamsReset, &[Overdue::Reader.label()]).increment(count);
                continue;
            }
            if self.finishing.is_some() || !matches!(why, Overdue::Idle | Overdue::Drain) {
                self.wire.end_for(why.label());
                return Poll::Ready(Ending::Overdue(why));
            }
            self.finish(connection);
        }
    }

    /// The wire's deadline; an idle connection that was told to finish gets a moment to do so.
    fn deadline(&self) -> Option<(std::time::Instant, Overdue)> {
        let (at, why) = self.wire.deadline(&self.patience)?;
        match (why, self.finishing) {
            (Overdue::Idle | Overdue::Drain, Some(until)) => Some((at.max(until), why)),
            _ => Some((at, why)),
        }
    }

    fn finish(&mut self, connection: &mut C) {
        if self.finishing.is_none() {
            self.finishing = Some(self.wire.clock.mono() + LINGER);
            (self.finish)(Pin::new(connection));
        }
    }
}

/// The end of an HTTP/1.1 connection: last words where there are some, a reset where an answer
/// was cut, else a half-close, so that the client reads what it was sent.
pub(super) async fn part<S: ClientStream>(
    stream: Option<S>,
    wire: &Wire,
    ending: &Ending,
    words: Option<Vec<u8>>,
) {
    let Some(mut stream) = stream else { return };
    let torn = match ending {
        Ending::Violated(_) => false,
        Ending::Closed(end) => wire.is_aborted() || *end == End::Torn,
        Ending::Overdue(why) => matches!(why, Overdue::Reader | Overdue::Shed),
        Ending::Cut { busy } => *busy,
    };
    if torn {
        stream.reset_on_drop();
        return;
    }
    // whoever does not read or close in time is dropped all the same
    let _late = timeout(LINGER, async {
        if let Some(words) = words {
            stream.write_all(&words).await?;
        }
        stream.shutdown().await?;
        drain(&mut stream).await
    })
    .await;
}

/// Reads what still comes, to the limit; past it, waits for the time to run out, so that a
/// client that only writes has the chance to read.
async fn drain<S: AsyncRead + Unpin>(stream: &mut S) -> std::io::Result<()> {
    let mut left = DRAINED_MAX;
    let mut room = [0_u8; 4096];
    while left > 0 {
        match stream.read(&mut room).await? {
            0 => return Ok(()),
            read => left = left.saturating_sub(read),
        }
    }
    std::future::pending().await
}

/// Runs a connection's HTTP/2 streams on the worker's own thread. A stream that is cut drops
/// hyper's task of it, which resets the stream and no other.
#[derive(Clone, Debug)]
struct Streams {
    wire: Rc<Wire>,
}

impl<F: Future + 'static> Executor<F> for Streams {
    fn execute(&self, task: F) {
        // hyper calls the service and hands over its task in one go
        let reader = self.wire.readers.take_newest();
        tokio::task::spawn_local(async move {
            let mut task = pin!(task);
            poll_fn(|cx| match &reader {
                Some(reader) if reader.is_cut(cx.waker()) => Poll::Ready(()),
                _ => task.as_mut().poll(cx).map(|_| ()),
            })
            .await;
        });
    }
}
