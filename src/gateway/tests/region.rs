//! A region in memory: it has every object there can be, and does as it is told.

use std::cell::Cell;
use std::convert::Infallible;
use std::net::IpAddr;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode};
use http_body::{Body, Frame};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::sync::{mpsc, watch};
use tokio::task::spawn_local;

use crate::clock::Clock;
use crate::exchange::tests::memory::{Door, Host, Pipe};
use crate::sigv4::Stamp;
use crate::units::UnixSeconds;

/// What a region does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mode {
    Up,
    /// Its process is gone: connections end, new ones are refused.
    Down,
    /// Its process is stopped: nothing is answered until it goes on.
    Hung,
    /// Bodies stop after so many bytes until it goes on.
    HangsAt(usize),
}

/// One region.
#[derive(Clone)]
pub(super) struct Region {
    host: Arc<Host>,
    mode: watch::Sender<Mode>,
    state: Rc<State>,
}

struct State {
    delay: Cell<Duration>,
    /// Seconds by which its clock is ahead.
    ahead: Cell<i64>,
    /// GETs that it has answered in full or begun to.
    served: Cell<u32>,
    clock: Clock,
}

/// What a key's object is: its name says how long.
pub(super) fn bytes_of(key: &str) -> Bytes {
    let length = key.rsplit('-').next().and_then(|length| length.parse::<usize>().ok()).unwrap_or(0);
    let seed = key.bytes().map(usize::from).sum::<usize>();
    (0..length).map(|at| u8::try_from((at * 31 + at / 251 + seed) % 256).unwrap()).collect()
}

/// Seconds by which a date may be wrong.
const SKEW_MAX: i64 = 15 * 60;

impl Region {
    pub(super) fn open(address: IpAddr, delay: Duration, clock: Clock) -> Self {
        let (host, mut callers) = Host::at(address);
        let mode = watch::Sender::new(Mode::Up);
        let state =
            Rc::new(State { delay: Cell::new(delay), ahead: Cell::new(0), served: Cell::new(0), clock });
        let region = Self { host, mode, state };
        let this = region.clone();
        spawn_local(async move {
            while let Some(pipe) = callers.recv().await {
                spawn_local(this.clone().serve(pipe));
            }
        });
        region
    }

    pub(super) fn set(&self, mode: Mode) {
        self.host.set(match mode {
            Mode::Up | Mode::HangsAt(_) => Door::Open,
            Mode::Down => Door::Refuses,
            Mode::Hung => Door::Silent,
        });
        self.mode.send_replace(mode);
    }

    pub(super) fn delays(&self, delay: Duration) {
        self.state.delay.set(delay);
    }

    pub(super) fn is_ahead(&self, seconds: i64) {
        self.state.ahead.set(seconds);
    }

    pub(super) fn served(&self) -> u32 {
        self.state.served.get()
    }

    async fn serve(self, pipe: Pipe) {
        let mut mode = self.mode.subscribe();
        let service = service_fn(|request| self.answer(request));
        let connection =
            http1::Builder::new().auto_date_header(false).serve_connection(TokioIo::new(pipe), service);
        tokio::select! {
            // whoever called may go at any time
            _ended = connection => {}
            _down = mode.wait_for(|mode| *mode == Mode::Down) => {}
        }
    }

    async fn answer(&self, request: Request<Incoming>) -> Result<Response<Chunks>, Infallible> {
        let mut mode = self.mode.subscribe();
        tokio::time::sleep(self.state.delay.get()).await;
        let runs = mode.wait_for(|mode| *mode != Mode::Hung).await;
        drop(runs);
        let now = UnixSeconds(self.state.clock.now().wall.0 + self.state.ahead.get());
        let head = Response::builder().header("date", http_date(now)).header("x-amz-request-id", "1");
        let dated = request.headers().get("x-amz-date").and_then(|date| Stamp::parse(date.to_str().ok()?));
        if dated.is_none_or(|dated| (dated.at().0 - now.0).abs() > SKEW_MAX) {
            let document = "<Error><Code>RequestTimeTooSkewed</Code><Message>.</Message></Error>";
            let response = head.status(StatusCode::FORBIDDEN).header("content-length", document.len());
            return Ok(response.body(self.stream(Bytes::from_static(document.as_bytes()))).unwrap());
        }
        let key = request.uri().path().rsplit('/').next().unwrap_or_default().to_owned();
        if !key.starts_with("object-") {
            let head = head.status(StatusCode::NOT_FOUND).header("content-length", 0);
            return Ok(head.body(self.stream(Bytes::new())).unwrap());
        }
        let whole = bytes_of(&key);
        let range =
            request.headers().get("range").and_then(|range| range.to_str().ok()?.strip_prefix("bytes="));
        let from = range.and_then(|range| range.split('-').next()?.parse::<usize>().ok());
        let tag = format!("\"{:032x}\"", whole.len());
        let head = head.header("etag", tag).header("last-modified", http_date(UnixSeconds(1_700_000_000)));
        let head = head.header("accept-ranges", "bytes");
        let (head, part) = match from {
            None => (head, whole.clone()),
            Some(from) => {
                let range = format!("bytes {from}-{}/{}", whole.len() - 1, whole.len());
                (head.status(StatusCode::PARTIAL_CONTENT).header("content-range", range), whole.slice(from..))
            }
        };
        let head = head.header("content-length", part.len());
        let body = if *request.method() == Method::HEAD {
            Bytes::new()
        } else {
            self.state.served.set(self.served() + 1);
            part
        };
        Ok(head.body(self.stream(body)).unwrap())
    }

    /// The bytes, as far as the region lets them go.
    fn stream(&self, bytes: Bytes) -> Chunks {
        const CHUNK: usize = 16 << 10;
        let (chunks, receiver) = mpsc::channel(2);
        let mut mode = self.mode.subscribe();
        spawn_local(async move {
            let mut sent = 0;
            while sent < bytes.len() {
                let goes_on = |mode: &Mode| match mode {
                    Mode::Up => true,
                    Mode::HangsAt(at) => sent < *at,
                    Mode::Down | Mode::Hung => false,
                };
                if mode.wait_for(goes_on).await.is_err() {
                    return;
                }
                let until = bytes.len().min(sent + CHUNK);
                if chunks.send(bytes.slice(sent..until)).await.is_err() {
                    return;
                }
                sent = until;
            }
        });
        Chunks(receiver)
    }
}

struct Chunks(mpsc::Receiver<Bytes>);

impl Body for Chunks {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        self.0.poll_recv(cx).map(|bytes| bytes.map(|bytes| Ok(Frame::data(bytes))))
    }
}

/// A date as HTTP writes it.
fn http_date(at: UnixSeconds) -> String {
    let at = jiff::Timestamp::from_second(at.0).unwrap();
    at.strftime("%a, %d %b %Y %H:%M:%S GMT").to_string()
}
