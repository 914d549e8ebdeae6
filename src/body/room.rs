//! How much of what clients send may be kept, over all workers.

use std::sync::Arc;

use crate::sync::atomic::{AtomicU64, Ordering};

/// Bytes of upload bodies kept for replay, over the whole process (`limits.replay_total`).
#[derive(Clone, Debug, Default)]
pub struct ReplayRoom {
    in_use: Arc<AtomicU64>,
}

/// A reservation of [`ReplayRoom`], given back when dropped.
#[derive(Debug)]
pub struct ReplayShare {
    room: ReplayRoom,
    bytes: u64,
}

impl ReplayRoom {
    /// Reserves `bytes` unless that would pass `total`. First come, first served: a body that
    /// finds no room is streamed and cannot be replayed.
    #[must_use]
    pub fn reserve(&self, bytes: u64, total: u64) -> Option<ReplayShare> {
        let before = self.in_use.fetch_add(bytes, Ordering::Relaxed);
        let share = ReplayShare { room: self.clone(), bytes };
        (before.saturating_add(bytes) <= total).then_some(share)
    }

    /// Bytes reserved now.
    #[must_use]
    pub fn in_use(&self) -> u64 {
        self.in_use.load(Ordering::Relaxed)
    }
}

impl Drop for ReplayShare {
    fn drop(&mut self) {
        self.room.in_use.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}
