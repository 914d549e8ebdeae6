//! The body that goes to the client: a document of ours, or a region's reply, metered and, where
//! it must be, edited. A reply that is cut in its middle is gone on with where somebody can
//! ([`Resume`]); else it ends in an error, so that the client's connection is aborted and never
//! ended cleanly.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue};
use http_body::{Body, Frame, SizeHint};
use tokio::time::Sleep;

use super::progress::{Pace, Progress};
use super::working::{Piece, Working};
use crate::clock::Clock;
use crate::http1::Incoming;
use crate::route::resume::{Broken as BrokenOff, How};

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

/// Who can go on with a reply that broke off. Nothing of it runs before that.
pub trait Resume {
    /// Fetches what is missing.
    fn resume(self: Box<Self>, broken: BrokenOff) -> Resuming;

    /// Whether the region that the reply comes from seems lost, and another may have it too. Asked
    /// of a body that stands still.
    fn is_lost(&self) -> bool;
}

/// A resumption under way.
pub type Resuming = Pin<Box<dyn Future<Output = Resumed>>>;

/// What came of a resumption.
pub enum Resumed {
    /// The rest, and who goes on with that.
    Rest(Reply, Box<dyn Resume>),
    /// Nothing was missing.
    Complete,
    /// It cannot be gone on with. Where the old one still stands, whoever may be asked again once it
    /// breaks.
    Abandoned(Box<dyn Resume>),
}

type OnEnd = Box<dyn FnOnce(Ending, u64)>;

/// A reply body.
pub struct Reply {
    content: Content,
    /// Bytes handed to the client's connection.
    given: u64,
    on_end: Option<OnEnd>,
    sequel: Sequel,
}

enum Content {
    Whole(Option<Bytes>),
    Stream(Box<Stream>),
    /// Being gone on with; what stood still is kept until somebody has the rest.
    Resuming(Resuming, Option<Box<Stream>>),
    Working(Box<Working>),
    /// It has broken off, and whoever reads it is told so next: hyper throws away what it has not written
    /// yet once a body fails, so it gets the time to write that.
    Broken,
}

/// What a reply needs to be gone on with.
#[derive(Default)]
struct Sequel {
    resume: Option<Box<dyn Resume>>,
    /// Bytes of the whole reply, where told.
    total: Option<u64>,
    /// How often it was gone on with: from the first time on, what the client was told of its length is no
    /// longer what is told to us.
    resumes: u32,
    /// The trailer that says so to a client whose protocol has trailers.
    told_in: Option<&'static HeaderName>,
    /// How the region's reply broke off last.
    broke: Option<Ending>,
    /// Its region seemed lost, and nobody else had the rest: not asked about twice.
    stays: bool,
    /// When the client's connection last took bytes. Read only where more are to come.
    handed: Option<Instant>,
    /// The client's last long pause: how long, and after how many bytes.
    pause: Option<(Duration, u64)>,
}

/// A pause of the client that is worth remembering; what a pause means is `route`'s to say.
const PAUSE: Duration = Duration::from_secs(1);
/// How often who waits for a region's bytes looks again: longer without a look, and it is not waiting.
const GLANCE: Duration = Duration::from_millis(200);
/// So many looks in vain make a body that stands still. A process that was starved looks once and is
/// then given what had come.
const STILL: u32 = 3;
/// For so many bytes a pause is remembered: what may be on its way of what the region sent before it
/// gave up on the client (kernels hold up to 6 MiB here and 4 MiB there, unless told otherwise).
const PAUSE_REMEMBERED: u64 = 12 << 20;

struct Stream {
    incoming: Incoming,
    pace: Pace,
    progress: Progress,
    timer: Option<Pin<Box<Sleep>>>,
    /// When we last asked for bytes and there were none.
    asked: Option<Instant>,
    /// Looks in vain since bytes last came.
    looks: u32,
    edit: Option<Box<dyn Edit>>,
    /// Read ahead of whoever it is for.
    ahead: Vec<u8>,
    /// Gives the upstream connection back; dropped unused it ends that connection.
    release: Option<Box<dyn FnOnce()>>,
}

impl Reply {
    /// No body.
    #[must_use]
    pub fn empty() -> Self {
        Self { content: Content::Whole(None), given: 0, on_end: None, sequel: Sequel::default() }
    }

    /// A body that is whole in memory.
    #[must_use]
    pub fn full(bytes: Bytes) -> Self {
        let bytes = (!bytes.is_empty()).then_some(bytes);
        Self { content: Content::Whole(bytes), given: 0, on_end: None, sequel: Sequel::default() }
    }

    /// A region's body. `release` runs once it was read to its end.
    #[must_use]
    pub fn stream(incoming: Incoming, pace: Pace, release: Box<dyn FnOnce()>) -> Self {
        let stream = Stream {
            incoming,
            pace,
            progress: Progress::default(),
            timer: None,
            asked: None,
            looks: 0,
            edit: None,
            ahead: Vec::new(),
            release: Some(release),
        };
        Self { content: Content::Stream(Box::new(stream)), given: 0, on_end: None, sequel: Sequel::default() }
    }

    /// A body that begins with `opening` and ends with what the work comes to; white space says every
    /// so often that it goes on.
    #[must_use]
    pub fn working(opening: Bytes, every: Duration, work: Pin<Box<dyn Future<Output = Bytes>>>) -> Self {
        let working = Working::new(opening, every, work);
        Self {
            content: Content::Working(Box::new(working)),
            given: 0,
            on_end: None,
            sequel: Sequel::default(),
        }
    }

    /// Sends the body through an editor. A body that is whole in memory is edited at once.
    #[must_use]
    pub fn edited(mut self, mut edit: Box<dyn Edit>) -> Self {
        match &mut self.content {
            Content::Stream(stream) => stream.edit = Some(edit),
            Content::Resuming(..) | Content::Working(_) | Content::Broken => {}
            Content::Whole(bytes) => {
                let mut out = Vec::new();
                let whole = bytes.take().unwrap_or_default();
                let edited = edit.push(&whole, &mut out).and_then(|()| edit.finish());
                *bytes = (edited.is_ok() && !out.is_empty()).then(|| Bytes::from(out));
            }
        }
        self
    }

    /// Reads ahead to the body's end, at most `limit` bytes: all of it where it ended well, `None`
    /// where there is more. Whoever reads the body gets every byte all the same; so a wait for this
    /// may be given up. To be called before the body is edited.
    ///
    /// # Errors
    /// [`Broken`] where the body broke off.
    pub async fn read_ahead(&mut self, limit: usize) -> Result<Option<&[u8]>, Broken> {
        let stream = match &mut self.content {
            Content::Whole(bytes) => return Ok(Some(bytes.as_deref().unwrap_or_default())),
            Content::Resuming(..) | Content::Working(_) => return Ok(None),
            Content::Broken => return Err(Broken),
            Content::Stream(stream) => stream,
        };
        while stream.ahead.len() <= limit {
            match std::future::poll_fn(|cx| stream.poll_incoming(cx)).await {
                Some(Ok(bytes)) => stream.ahead.extend_from_slice(&bytes),
                Some(Err(_)) => return Err(Broken),
                None => return Ok(Some(&stream.ahead)),
            }
        }
        Ok(None)
    }

    /// Runs `on_end` once, when the body ended in whatever way.
    #[must_use]
    pub fn observed(mut self, on_end: OnEnd) -> Self {
        self.on_end = Some(on_end);
        self
    }

    /// Goes on by `resume` where the body breaks off. `total`: its length, where told. For bodies
    /// that are not edited.
    #[must_use]
    pub fn resumable(mut self, resume: Box<dyn Resume>, total: Option<u64>) -> Self {
        self.sequel = Sequel { resume: Some(resume), total, ..Sequel::default() };
        self
    }

    /// Where it was gone on with, it ends with a trailer of this name that says how often. HTTP/1.1 has
    /// none behind a body whose length was told, and leaves it out.
    #[must_use]
    pub fn telling(mut self, trailer: &'static HeaderName) -> Self {
        self.sequel.told_in = Some(trailer);
        self
    }

    /// The trailer, once.
    fn farewell(&mut self) -> Option<HeaderMap> {
        let name = self.sequel.told_in.take().filter(|_| self.sequel.resumes > 0)?;
        Some(HeaderMap::from_iter([(name.clone(), HeaderValue::from(self.sequel.resumes))]))
    }

    /// Whether it has no bytes at all.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.is_read()
    }

    /// Reads the rest into memory, at most `limit` bytes: `None` where it is longer or breaks off.
    pub async fn collect(self, limit: usize) -> Option<Bytes> {
        let Ok(whole) = self.collect_admitted(limit, |_| Ok::<(), Infallible>(())).await;
        whole
    }

    /// The same, as long as `admit` has room for so many bytes more.
    ///
    /// # Errors
    /// What `admit` refuses with.
    pub async fn collect_admitted<E>(
        mut self,
        limit: usize,
        mut admit: impl FnMut(usize) -> Result<(), E>,
    ) -> Result<Option<Bytes>, E> {
        let mut whole = Vec::new();
        while let Some(frame) = std::future::poll_fn(|cx| Pin::new(&mut self).poll_frame(cx)).await {
            let Ok(frame) = frame else { return Ok(None) };
            let bytes = frame.into_data().unwrap_or_default();
            if whole.len() + bytes.len() > limit {
                return Ok(None);
            }
            admit(bytes.len())?;
            whole.extend_from_slice(&bytes);
        }
        Ok(Some(Bytes::from(whole)))
    }

    /// Gives the upstream connection back where the last byte of the body was the last of it all.
    fn release_if_read(&mut self) {
        if matches!(&self.content, Content::Stream(stream) if stream.incoming.is_ended()) {
            self.release();
        }
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

    /// Whether the last byte was handed over.
    fn is_read(&self) -> bool {
        match &self.content {
            Content::Whole(bytes) => bytes.is_none(),
            // The client knows by the length that it was told, however the rest is framed.
            Content::Stream(_) if self.sequel.resumes > 0 && self.sequel.total == Some(self.given) => true,
            Content::Stream(stream) => {
                stream.edit.is_none()
                    && stream.ahead.is_empty()
                    && stream.incoming.is_ended()
                    && !self.is_short()
            }
            Content::Resuming(..) | Content::Working(_) | Content::Broken => false,
        }
    }

    /// What the region's end, or its breaking off, is for the client: a clean end short of the
    /// length that was told is none.
    fn is_short(&self) -> bool {
        self.sequel.total.is_some_and(|total| self.given < total)
    }

    /// Takes bytes for the client; false where they are more than were told of.
    fn hand(&mut self, bytes: &Bytes) -> bool {
        let given = self.given + bytes.len() as u64;
        if self.sequel.total.is_some_and(|total| given > total) {
            return false;
        }
        self.given = given;
        if self.sequel.resume.is_some() && !self.is_read() {
            self.watch_reader();
        }
        true
    }

    /// Notes whether the client let us wait before it took these bytes.
    fn watch_reader(&mut self) {
        let now = Clock::system().mono();
        let pause = self.unread(now);
        self.sequel.handed = Some(now);
        if pause >= PAUSE {
            self.sequel.pause = Some((pause, self.given));
        }
    }

    /// For how long the client's connection has asked for nothing.
    fn unread(&self, now: Instant) -> Duration {
        let since = match (&self.content, self.sequel.handed) {
            (Content::Stream(stream), Some(handed)) => stream.unasked_since(handed),
            (_, _) => now,
        };
        now.saturating_duration_since(since)
    }

    /// Begins to go on with what broke off; false where nobody can.
    fn begin_again(&mut self, how: How) -> bool {
        let Some(resume) = self.sequel.resume.take() else { return false };
        let last = self.unread(Clock::system().mono());
        let earlier = self.sequel.pause.filter(|(_, at)| self.given - at <= PAUSE_REMEMBERED);
        let unread = earlier.map_or(last, |(pause, _)| last.max(pause));
        let resuming = resume.resume(BrokenOff { delivered: self.given, how, unread });
        let broken = std::mem::replace(&mut self.content, Content::Whole(None));
        // Else the connection that broke ends here.
        let kept = if let (Content::Stream(stream), How::Silent) = (broken, how) {
            Some(stream)
        } else {
            self.sequel.broke = Some(ending(how));
            (self.sequel.pause, self.sequel.handed) = (None, None);
            None
        };
        self.content = Content::Resuming(resuming, kept);
        true
    }

    /// Whether a body stands still whose region seems lost.
    fn is_lost(&self) -> bool {
        let still = matches!(&self.content, Content::Stream(stream) if stream.looks >= STILL);
        let lost = || self.sequel.resume.as_ref().is_some_and(|resume| resume.is_lost());
        still && !self.sequel.stays && lost()
    }

    /// Takes over what a resumption brought; the end where it brought none.
    fn go_on(&mut self, resumed: Resumed) -> Option<Ending> {
        let stood = match std::mem::replace(&mut self.content, Content::Whole(None)) {
            Content::Resuming(_, stood) => stood,
            Content::Whole(_) | Content::Stream(_) | Content::Working(_) | Content::Broken => None,
        };
        match resumed {
            Resumed::Rest(mut rest, next) => {
                self.content = std::mem::replace(&mut rest.content, Content::Whole(None));
                self.sequel.resume = Some(next);
                self.sequel.resumes += 1;
                self.sequel.stays = false;
                (self.sequel.pause, self.sequel.handed) = (None, None);
                None
            }
            Resumed::Complete => Some(Ending::Whole),
            Resumed::Abandoned(resume) => {
                let Some(stream) = stood else { return Some(self.sequel.broke.unwrap_or(Ending::Cut)) };
                self.content = Content::Stream(stream);
                (self.sequel.resume, self.sequel.stays) = (Some(resume), true);
                None
            }
        }
    }
}

/// As it is told where nobody goes on.
const fn ending(how: How) -> Ending {
    match how {
        How::Cut => Ending::Cut,
        How::Stalled | How::Silent => Ending::Stalled,
    }
}

impl Stream {
    fn poll_bytes(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, Ending>>> {
        loop {
            let next = if self.ahead.is_empty() {
                std::task::ready!(self.poll_incoming(cx))
            } else {
                Some(Ok(Bytes::from(std::mem::take(&mut self.ahead))))
            };
            return Poll::Ready(match (next, self.edit.as_mut()) {
                (Some(Ok(bytes)), Some(edit)) => {
                    let mut out = Vec::with_capacity(bytes.len() + 256);
                    match edit.push(&bytes, &mut out) {
                        Ok(()) if out.is_empty() => continue,
                        Ok(()) => Some(Ok(Bytes::from(out))),
                        Err(Broken) => Some(Err(Ending::Cut)),
                    }
                }
                (None, _) => self.finish().err().map(|Broken| Err(Ending::Cut)),
                (next, _) => next,
            });
        }
    }

    /// The region's next bytes, or its end.
    fn poll_incoming(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, Ending>>> {
        match self.incoming.poll_bytes(cx) {
            Poll::Ready(Some(Ok(bytes))) => {
                self.looks = 0;
                // The clock is read only where a wait is being measured.
                if self.timer.is_some() {
                    let now = Clock::system().mono();
                    // Bytes that came while the client took none are no wait of ours.
                    let came = self.asked.map_or(now, |asked| now.min(asked + GLANCE));
                    self.progress.moved(bytes.len() as u64, came, self.pace);
                }
                Poll::Ready(Some(Ok(bytes)))
            }
            Poll::Ready(Some(Err(_))) => Poll::Ready(Some(Err(Ending::Cut))),
            Poll::Ready(None) => Poll::Ready(None),
            Poll::Pending => self.poll_patience(cx).map(|ending| Some(Err(ending))),
        }
    }

    fn finish(&mut self) -> Result<(), Broken> {
        self.edit.take().map_or(Ok(()), Edit::finish)
    }

    fn poll_patience(&mut self, cx: &mut Context<'_>) -> Poll<Ending> {
        let mut now = Clock::system().mono();
        let dead_at = self.progress.waiting(now, self.pace);
        let due = |now: Instant| dead_at.min(now + GLANCE).into();
        let timer = self.timer.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(due(now))));
        loop {
            self.asked = Some(now);
            // The timer may stand earlier than what is due now.
            std::task::ready!(timer.as_mut().poll(cx));
            now = Clock::system().mono();
            self.looks += 1;
            if now >= dead_at {
                return Poll::Ready(Ending::Stalled);
            }
            timer.as_mut().reset(due(now));
        }
    }

    /// Since when nobody has asked for bytes, although who waits for them asks every [`GLANCE`].
    fn unasked_since(&self, handed: Instant) -> Instant {
        match self.asked {
            Some(asked) if asked > handed => asked + GLANCE,
            Some(_) | None => handed,
        }
    }
}

impl Body for Reply {
    type Data = Bytes;
    type Error = Broken;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Broken>>> {
        let reply = self.get_mut();
        if reply.is_read()
            && let Some(trailers) = reply.farewell()
        {
            return Poll::Ready(Some(Ok(Frame::trailers(trailers))));
        }
        loop {
            let next = match &mut reply.content {
                Content::Whole(bytes) => bytes.take().map(Ok),
                Content::Stream(stream) => match stream.poll_bytes(cx) {
                    Poll::Ready(next) => next,
                    Poll::Pending if reply.is_lost() && reply.begin_again(How::Silent) => continue,
                    Poll::Pending => return Poll::Pending,
                },
                Content::Resuming(resuming, _) => {
                    let resumed = std::task::ready!(resuming.as_mut().poll(cx));
                    match reply.go_on(resumed) {
                        None => continue,
                        Some(Ending::Whole) => None,
                        Some(ending) => Some(Err(ending)),
                    }
                }
                Content::Working(working) => match std::task::ready!(working.poll(cx)) {
                    Piece::Sign(bytes) => Some(Ok(bytes)),
                    Piece::Last(bytes) => {
                        reply.content = Content::Whole(Some(bytes));
                        continue;
                    }
                },
                Content::Broken => return Poll::Ready(Some(Err(Broken))),
            };
            let ending = match next {
                Some(Ok(bytes)) if reply.hand(&bytes) => {
                    if reply.is_read() {
                        reply.release_if_read();
                        reply.ended(Ending::Whole);
                    }
                    return Poll::Ready(Some(Ok(Frame::data(bytes))));
                }
                // More than was told of: whatever it is, it is not this reply.
                Some(Ok(_)) => {
                    reply.sequel.resume = None;
                    Ending::Cut
                }
                Some(Err(ending)) => ending,
                None if reply.is_short() => Ending::Cut,
                None => {
                    reply.release();
                    reply.ended(Ending::Whole);
                    return Poll::Ready(reply.farewell().map(|trailers| Ok(Frame::trailers(trailers))));
                }
            };
            let how = if ending == Ending::Stalled { How::Stalled } else { How::Cut };
            if !reply.begin_again(how) {
                reply.ended(ending);
                reply.content = Content::Broken;
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        let tells = self.sequel.resumes > 0 && self.sequel.told_in.is_some();
        self.is_read() && !tells
    }

    fn size_hint(&self) -> SizeHint {
        match &self.content {
            Content::Whole(bytes) => {
                SizeHint::with_exact(bytes.as_ref().map_or(0, |bytes| bytes.len() as u64))
            }
            Content::Stream(stream)
                if stream.edit.is_none() && stream.ahead.is_empty() && self.sequel.resumes == 0 =>
            {
                stream.incoming.left().map_or_else(SizeHint::default, SizeHint::with_exact)
            }
            Content::Stream(_) | Content::Resuming(..) | Content::Working(_) | Content::Broken => {
                SizeHint::default()
            }
        }
    }
}

impl Drop for Reply {
    fn drop(&mut self) {
        // An empty body is never polled: hyper knows from `is_end_stream` that nothing comes.
        let whole = self.is_read();
        if whole {
            self.release_if_read();
        }
        self.ended(if whole { Ending::Whole } else { Ending::Dropped });
    }
}

impl std::fmt::Debug for Reply {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Reply").field("given", &self.given).finish_non_exhaustive()
    }
}
