//! The readers of one HTTP/2 connection: whose answers wait for their client, since when, and the
//! end of those that have waited too long.
//!
//! A client that does not read blocks its socket with HTTP/1.1. With HTTP/2 it can withhold the
//! window of one stream: the socket stays free, and hyper just never asks for that answer's next
//! frame. So every stream keeps a clock of its own, which runs from a frame handed out to the
//! wish for the next.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::task::Waker;
use std::time::Instant;

use super::overdue::Overdue;

/// One stream's client.
#[derive(Debug, Default)]
pub(super) struct Reader {
    /// When the last frame was handed out, while nobody has asked for the next.
    waits_since: Cell<Option<Instant>>,
    cut: Cell<Option<Overdue>>,
    /// The stream's task.
    task: RefCell<Option<Waker>>,
}

impl Reader {
    /// The next frame is asked for: from here on we wait for a region, not for the client.
    pub(super) fn asked(&self) {
        self.waits_since.set(None);
    }

    /// Whether the stream is to end; if not, `waker` is woken when it is.
    pub(super) fn is_cut(&self, waker: &Waker) -> bool {
        if self.cut.get().is_none() {
            let mut task = self.task.borrow_mut();
            if !task.as_ref().is_some_and(|known| known.will_wake(waker)) {
                *task = Some(waker.clone());
            }
        }
        self.cut.get().is_some()
    }

    /// Why the stream was ended by us, if it was.
    pub(super) fn cut_for(&self) -> Option<Overdue> {
        self.cut.get()
    }

    fn cut(&self, why: Overdue) {
        self.cut.set(Some(why));
        if let Some(task) = self.task.take() {
            task.wake();
        }
    }
}

/// All streams of a connection; there are at most as many as it may hold open.
#[derive(Debug, Default)]
pub(super) struct Readers {
    open: RefCell<Vec<Rc<Reader>>>,
    /// The stream that has begun and has no task yet.
    newest: RefCell<Option<Rc<Reader>>>,
    /// Nobody waits since before this. An earlier time than the truth costs one look at all
    /// streams, and keeping it exact would cost one a frame.
    earliest: Cell<Option<Instant>>,
}

impl Readers {
    /// A stream begins.
    pub(super) fn begin(&self) -> Rc<Reader> {
        let reader = Rc::new(Reader::default());
        self.open.borrow_mut().push(Rc::clone(&reader));
        self.newest.replace(Some(Rc::clone(&reader)));
        reader
    }

    /// The stream whose task is being made.
    pub(super) fn take_newest(&self) -> Option<Rc<Reader>> {
        self.newest.take()
    }

    /// A stream has ended.
    pub(super) fn end(&self, reader: &Rc<Reader>) {
        let mut open = self.open.borrow_mut();
        if let Some(at) = open.iter().position(|other| Rc::ptr_eq(other, reader)) {
            open.swap_remove(at);
        }
    }

    /// A frame was handed out. Returns whether nobody was waited for until now, so that a clock
    /// must be set.
    pub(super) fn handed(&self, reader: &Reader, now: Instant) -> bool {
        reader.waits_since.set(Some(now));
        let first = self.earliest.get().is_none();
        if first {
            self.earliest.set(Some(now));
        }
        first
    }

    /// Since when a client may be waited for.
    pub(super) fn earliest(&self) -> Option<Instant> {
        self.earliest.get()
    }

    /// Ends the streams whose clients have been waited for since `limit` or before, those first that
    /// were waited for longest, and no more than `most`. Returns how many.
    pub(super) fn cut_since(&self, limit: Instant, most: usize, why: Overdue) -> usize {
        let open = self.open.borrow();
        let uncut = open.iter().filter(|reader| reader.cut.get().is_none());
        let mut waiting: Vec<_> =
            uncut.filter_map(|reader| Some((reader.waits_since.get()?, reader))).collect();
        waiting.sort_unstable_by_key(|(since, _)| *since);
        let overdue = waiting.partition_point(|(since, _)| *since <= limit);
        let (ended, left) = waiting.split_at(overdue.min(most));
        for (_, reader) in ended {
            reader.cut(why);
        }
        self.earliest.set(left.first().map(|(since, _)| *since));
        ended.len()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::clock::Clock;

    #[test]
    fn only_streams_that_wait_for_their_client_end() {
        let readers = Readers::default();
        let start = Clock::system().mono();
        let after = |seconds| start + Duration::from_secs(seconds);
        let [stalled, slow, ours, untouched] = std::array::from_fn(|_| readers.begin());
        assert!(readers.take_newest().is_some_and(|newest| Rc::ptr_eq(&newest, &untouched)));
        assert!(readers.handed(&stalled, after(1)), "the first sets the clock");
        assert!(!readers.handed(&slow, after(2)));
        assert!(!readers.handed(&ours, after(3)));
        slow.asked();
        readers.handed(&slow, after(8));
        ours.asked();
        assert_eq!(readers.earliest(), Some(after(1)));
        assert_eq!(readers.cut_since(after(9), 1, Overdue::Shed), 1);
        assert_eq!((stalled.cut_for(), slow.cut_for()), (Some(Overdue::Shed), None));
        let waker = Waker::noop();
        assert!(
            stalled.is_cut(waker) && !slow.is_cut(waker) && !ours.is_cut(waker) && !untouched.is_cut(waker)
        );
        assert_eq!(readers.earliest(), Some(after(8)), "the next in time");
        readers.end(&slow);
        assert_eq!((readers.cut_since(after(99), 9, Overdue::Reader), readers.earliest()), (0, None));
    }
}
