//! What one connection's parts tell each other: the gate what it read and wrote, the requests
//! when they began and ended, the driver when the client's time is up.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::task::Waker;
use std::time::{Duration, Instant};

use crate::clock::Clock;
use crate::listen::gate::{Phase, Violation};
use crate::listen::overdue::Overdue;
use crate::listen::readers::{Reader, Readers};

/// The drain's end, to requests under way.
const CUT: &str = "drain";

/// What may befall a request: whoever writes it down asks, once it has ended early, whether that
/// was our doing.
#[derive(Clone, Debug)]
pub struct Fate {
    pub(super) wire: Rc<Wire>,
    /// Where the connection carries several requests at once.
    pub(super) reader: Option<Rc<Reader>>,
}

impl Fate {
    /// Why we ended it: `stalled_reader`, `stalled_reader_shed`, `drain`. `None`: we did not.
    #[must_use]
    pub fn ended_for(&self) -> Option<&'static str> {
        let stalled = self.reader.as_ref().and_then(|reader| reader.cut_for());
        stalled.map_or(self.wire.ended_for.get(), |why| Some(why.label()))
    }

    /// What the wire gate refused in its body, which then broke off for whoever read it.
    #[must_use]
    pub fn body_violation(&self) -> Option<Violation> {
        self.wire.body_violation.get()
    }
}

/// How long a client may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Patience {
    /// From the first byte of a head (for a connection's first head: from its acceptance) to
    /// its last.
    pub head: Duration,
    /// Between requests.
    pub idle: Duration,
    /// Without taking a byte while we have some to write.
    pub reader: Duration,
    /// An idle connection gets this long to bring one more request once the process drains.
    pub farewell: Duration,
}

/// The state of one connection, shared by its parts on one thread.
#[derive(Debug)]
pub(super) struct Wire {
    pub(super) clock: Clock,
    phase: Cell<Phase>,
    /// When the head under way began.
    head_since: Cell<Instant>,
    /// When the last request ended, or the connection began.
    idle_since: Cell<Instant>,
    /// Requests whose head is complete.
    begun: Cell<u64>,
    /// Requests whose answer is complete or given up.
    ended: Cell<u64>,
    /// Requests begin and end outside the connection's own task.
    counts_streams: Cell<bool>,
    /// Nothing of an answer is left in our buffers.
    flushed: Cell<bool>,
    /// Since when the socket takes nothing.
    stalled_since: Cell<Option<Instant>>,
    /// The streams of an HTTP/2 connection.
    pub(super) readers: Readers,
    /// Nothing more is read.
    refused: Cell<bool>,
    /// What a head was refused for: the driver's last words.
    violation: Cell<Option<Violation>>,
    /// What the last body was refused for.
    body_violation: Cell<Option<Violation>>,
    cut: Cell<bool>,
    /// Its client does not read, and its place is wanted.
    shed: Cell<bool>,
    /// Why we ended the connection with requests under way, if we did.
    ended_for: Cell<Option<&'static str>>,
    /// An answer's body failed: the client must not mistake what it has for all.
    aborted: Cell<bool>,
    /// Since when idle connections are let go.
    drain_since: Cell<Option<Instant>>,
    waker: RefCell<Option<Waker>>,
}

impl Wire {
    pub(super) fn new(clock: Clock) -> Self {
        let now = clock.mono();
        Self {
            clock,
            phase: Cell::new(Phase::Between),
            head_since: Cell::new(now),
            idle_since: Cell::new(now),
            begun: Cell::new(0),
            ended: Cell::new(0),
            counts_streams: Cell::new(false),
            flushed: Cell::new(true),
            stalled_since: Cell::new(None),
            readers: Readers::default(),
            refused: Cell::new(false),
            violation: Cell::new(None),
            body_violation: Cell::new(None),
            cut: Cell::new(false),
            shed: Cell::new(false),
            ended_for: Cell::new(None),
            aborted: Cell::new(false),
            drain_since: Cell::new(None),
            waker: RefCell::new(None),
        }
    }

    /// The gate has read on.
    pub(super) fn read(&self, phase: Phase, heads: u64) {
        if phase == Phase::Head && (self.phase.get() != Phase::Head || self.begun.get() != heads) {
            self.head_since.set(self.clock.mono());
        }
        self.phase.set(phase);
        if self.begun.replace(heads) != heads {
            self.flushed.set(false);
        }
    }

    /// Whether the body of the only request under way has not come to its end.
    pub(super) fn is_in_last_body(&self) -> bool {
        self.phase.get() == Phase::Body && self.begun.get() == self.ended.get() + 1
    }

    /// A request began where no gate counts heads: HTTP/2, whose requests end in tasks of
    /// their own.
    pub(super) fn began(&self) {
        self.counts_streams.set(true);
        self.begun.set(self.begun.get() + 1);
    }

    /// A request's answer is complete, or nobody waits for it any more.
    pub(super) fn ended(&self) {
        self.ended.set(self.ended.get() + 1);
        self.flushed.set(false);
        self.idle_since.set(self.clock.mono());
        if self.counts_streams.get() && self.is_quiet() {
            self.wake();
        }
    }

    pub(super) fn wrote(&self) {
        self.stalled_since.set(None);
    }

    pub(super) fn flushed(&self) {
        self.stalled_since.set(None);
        self.flushed.set(true);
    }

    pub(super) fn write_blocked(&self) {
        if self.stalled_since.get().is_none() {
            self.stalled_since.set(Some(self.clock.mono()));
        }
    }

    /// A head broke the rules: the driver will say so once all before it is answered.
    pub(super) fn refuse_head(&self, violation: Violation) {
        self.refused.set(true);
        self.violation.set(Some(violation));
    }

    /// A body broke the rules: whoever reads it learns of it and answers.
    pub(super) fn refuse_body(&self, violation: Violation) {
        self.refused.set(true);
        self.body_violation.set(Some(violation));
    }

    pub(super) fn is_refused(&self) -> bool {
        self.refused.get()
    }

    /// Ends the connection whatever it is doing.
    pub(super) fn cut(&self) {
        self.cut.set(true);
        self.end_for(CUT);
        self.wake();
    }

    pub(super) fn is_cut(&self) -> bool {
        self.cut.get()
    }

    /// Notes why the connection is about to be ended, for the requests that end with it.
    pub(super) fn end_for(&self, why: &'static str) {
        self.ended_for.set(Some(why));
    }

    /// Ends the streams whose clients have not read for too long. Returns how many; `None`: it is
    /// not time for that.
    pub(super) fn cut_stalled_streams(&self, patience: &Patience) -> Option<usize> {
        let now = self.clock.mono();
        self.readers.earliest().filter(|since| *since + patience.reader <= now)?;
        let limit = now.checked_sub(patience.reader);
        Some(limit.map_or(0, |limit| self.readers.cut_since(limit, usize::MAX, Overdue::Reader)))
    }

    /// Since when a request under way may be waiting for its client to read.
    pub(super) fn unread_since(&self) -> Option<Instant> {
        let socket = self.stalled_since.get().filter(|_| !self.is_quiet());
        [socket, self.readers.earliest()].into_iter().flatten().min()
    }

    /// Ends streams whose clients have not read since `limit` or before, since their places are
    /// wanted: `most` at most. Returns how many.
    pub(super) fn end_stalled_streams(&self, limit: Instant, most: u32) -> u32 {
        let most = usize::try_from(most).unwrap_or(usize::MAX);
        u32::try_from(self.readers.cut_since(limit, most, Overdue::Shed)).unwrap_or(u32::MAX)
    }

    /// Ends the connection where its socket takes nothing since `limit` or before and a request's
    /// place is wanted. Returns how many requests end with it, those that were told before not counted.
    pub(super) fn end_stalled_socket(&self, limit: Instant) -> u32 {
        let stalled = self.stalled_since.get().is_some_and(|since| since <= limit) && !self.is_quiet();
        if !stalled || self.shed.replace(true) {
            return 0;
        }
        self.end_for(Overdue::Shed.label());
        self.wake();
        // heads that wait behind an HTTP/1.1 request have no place yet
        let requests = if self.counts_streams.get() { self.begun.get() - self.ended.get() } else { 1 };
        u32::try_from(requests).unwrap_or(u32::MAX)
    }

    pub(super) fn is_shed(&self) -> bool {
        self.shed.get()
    }

    pub(super) fn wake(&self) {
        if let Some(waker) = &*self.waker.borrow() {
            waker.wake_by_ref();
        }
    }

    pub(super) fn abort(&self) {
        self.aborted.set(true);
    }

    pub(super) fn is_aborted(&self) -> bool {
        self.aborted.get()
    }

    /// No request is unanswered.
    pub(super) fn is_quiet(&self) -> bool {
        self.begun.get() == self.ended.get()
    }

    /// The end of an answer over HTTP/1.1 has not left our buffers: the client is not idle, it reads. (What
    /// HTTP/2 has in its buffers is not known here.)
    fn is_writing(&self) -> bool {
        !self.counts_streams.get() && !self.flushed.get()
    }

    /// A request is being answered or its body read.
    pub(super) fn is_busy(&self) -> bool {
        !self.is_quiet() || self.phase.get() == Phase::Body || self.is_writing()
    }

    /// A violation stands, and everything before it has been answered.
    pub(super) fn ripe_violation(&self) -> Option<Violation> {
        self.violation.get().filter(|_| self.is_quiet() && self.flushed.get())
    }

    pub(super) fn drain(&self) {
        if self.drain_since.get().is_none() {
            self.drain_since.set(Some(self.clock.mono()));
        }
        self.wake();
    }

    pub(super) fn is_draining(&self) -> bool {
        self.drain_since.get().is_some()
    }

    /// Remembers whom to wake when the clocks of this connection change outside its task.
    pub(super) fn watch(&self, waker: &Waker) {
        let mut slot = self.waker.borrow_mut();
        if !slot.as_ref().is_some_and(|known| known.will_wake(waker)) {
            *slot = Some(waker.clone());
        }
    }

    /// When the client's time is up as things stand, and for what. `None` while it is ours.
    pub(super) fn deadline(&self, patience: &Patience) -> Option<(Instant, Overdue)> {
        let waiting = self.waiting(patience);
        let stalled = [self.stalled_since.get(), self.readers.earliest()];
        let reader = stalled.map(|since| Some((since? + patience.reader, Overdue::Reader)));
        reader.into_iter().chain([waiting]).flatten().min_by_key(|(at, _)| *at)
    }

    fn waiting(&self, patience: &Patience) -> Option<(Instant, Overdue)> {
        if !self.is_quiet() || self.refused.get() || self.is_writing() {
            return None;
        }
        let idle_since = self.idle_since.get();
        match self.phase.get() {
            Phase::Body => None,
            Phase::Head => Some((self.head_since.get().max(idle_since) + patience.head, Overdue::Head)),
            Phase::Between => {
                let idle = if self.begun.get() == 0 {
                    (idle_since + patience.head, Overdue::Head)
                } else {
                    (idle_since + patience.idle, Overdue::Idle)
                };
                let farewell = self
                    .drain_since
                    .get()
                    .map(|since| (since.max(idle_since) + patience.farewell, Overdue::Drain));
                farewell.into_iter().chain([idle]).min_by_key(|(at, _)| *at)
            }
        }
    }
}
