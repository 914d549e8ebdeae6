//! What all workers together may send to a region: at a rate it can bear, or a few tries where it is
//! not fit.

use std::sync::Arc;
use std::time::Duration;

use crate::route::budget::slot;
use crate::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

/// A region's rate.
#[derive(Debug, Default)]
pub(super) struct Booking {
    /// Microseconds, from wherever time is counted, until which it is booked.
    until: AtomicU64,
}

impl Booking {
    /// Books a request at this many a second: how long it is to wait. `None` where that is longer
    /// than `patience`; then nothing is booked.
    pub(super) fn book(&self, rate: f64, patience: Duration, now: Duration) -> Option<Duration> {
        let mut wait = None;
        let book = |booked| {
            let slot = slot(Duration::from_micros(booked), rate, patience, now)?;
            wait = Some(slot.wait);
            u64::try_from(slot.booked.as_micros()).ok()
        };
        // wait is that of the booking that was made: a try that lost a race is made anew
        let made = self.until.fetch_update(Ordering::Relaxed, Ordering::Relaxed, book).is_ok();
        wait.filter(|_| made)
    }

    /// Whether a request at this many a second need not wait.
    pub(super) fn has_slot(&self, rate: f64, now: Duration) -> bool {
        let booked = Duration::from_micros(self.until.load(Ordering::Relaxed));
        slot(booked, rate, Duration::ZERO, now).is_some()
    }
}

/// How many tries at regions that are not fit are under way.
#[derive(Debug, Default)]
pub(super) struct Hopes(Arc<AtomicUsize>);

/// One try at a region that is not fit, made because nothing else is left.
#[derive(Debug)]
pub struct Hope(Arc<AtomicUsize>);

impl Hopes {
    /// Room for one more, of at most `most` at a time.
    pub(super) fn take(&self, most: usize) -> Option<Hope> {
        let before = self.0.fetch_add(1, Ordering::Relaxed);
        let hope = Hope(Arc::clone(&self.0));
        (before < most).then_some(hope)
    }
}

impl Drop for Hope {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}
