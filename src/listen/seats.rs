//! Places for connections: whoever finds none waits for one. Over all workers.

use std::pin::pin;
use std::sync::Arc;

use crate::sync::Notify;
use crate::sync::atomic::{AtomicUsize, Ordering};

/// How many are taken.
#[derive(Debug, Default)]
pub(super) struct Seats {
    taken: AtomicUsize,
    freed: Notify,
}

/// One of them, given back when dropped.
#[derive(Debug)]
pub(super) struct Seat(Arc<Seats>);

impl Seats {
    pub(super) fn taken(&self) -> usize {
        self.taken.load(Ordering::Relaxed)
    }

    /// Takes one of `max`, waiting while all are taken.
    pub(super) async fn take(self: &Arc<Self>, max: usize) -> Seat {
        loop {
            let mut freed = pin!(self.freed.notified());
            // In line before looking: two that are freed while two workers look wake both. One that is
            // given and not needed goes on to the next in line.
            freed.as_mut().enable();
            let one_more = |taken| (taken < max).then_some(taken + 1);
            if self.taken.fetch_update(Ordering::AcqRel, Ordering::Relaxed, one_more).is_ok() {
                return Seat(Arc::clone(self));
            }
            freed.await;
        }
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.0.taken.fetch_sub(1, Ordering::AcqRel);
        self.0.freed.notify_one();
    }
}
