//! Which keys may be remembered, for readers that need not wait for the memory to say so. Pure but for
//! what workers share.

use crate::sync::atomic::{AtomicU16, AtomicUsize, Ordering};

/// Counts of remembered keys by their hashes, in as many places as make two keys seldom share one:
/// whoever reads a key of which nothing is remembered need not wait for the memory.
#[derive(Debug)]
pub struct Traces {
    all: AtomicUsize,
    places: Box<[AtomicU16]>,
}

impl Traces {
    /// For about so many keys.
    #[must_use]
    pub fn new(keys: usize) -> Self {
        /// Bounds of the places: below, they cost nothing; above, 8 MiB.
        const LEAST: usize = 1 << 8;
        const MOST: usize = 1 << 22;
        let places = keys.saturating_mul(2).clamp(LEAST, MOST).next_power_of_two();
        Self { all: AtomicUsize::new(0), places: (0..places).map(|_| AtomicU16::new(0)).collect() }
    }

    /// How many keys are remembered.
    #[must_use]
    pub fn len(&self) -> usize {
        self.all.load(Ordering::Relaxed)
    }

    /// Whether nothing at all is remembered: one load.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.all.load(Ordering::Acquire) == 0
    }

    /// Whether something may be remembered of this key.
    #[must_use]
    pub fn may_hold(&self, key: u64) -> bool {
        self.place(key).is_some_and(|place| place.load(Ordering::Acquire) > 0)
    }

    fn place(&self, key: u64) -> Option<&AtomicU16> {
        let mask = self.places.len() as u64 - 1;
        self.places.get(usize::try_from(key & mask).ok()?)
    }

    /// Only who holds the memory changes it.
    pub(super) fn add(&self, key: u64) {
        self.all.fetch_add(1, Ordering::AcqRel);
        self.change(key, |count| count.saturating_add(1));
    }

    pub(super) fn remove(&self, key: u64) {
        self.all.fetch_sub(1, Ordering::AcqRel);
        // a place that was ever full cannot be counted down: it stays, and costs its readers a lock
        self.change(key, |count| if count == u16::MAX { count } else { count.saturating_sub(1) });
    }

    fn change(&self, key: u64, to: impl Fn(u16) -> u16) {
        if let Some(place) = self.place(key) {
            place.store(to(place.load(Ordering::Relaxed)), Ordering::Release);
        }
    }
}
