//! Room: bodies on their way. The client's upload as a shared handle that knows whether it was
//! touched and can be replayed; the region's reply, metered. A door: it polls sockets through
//! hyper, and decides nothing about routing.

pub mod progress;
pub mod reply;
pub mod source;
mod spans;
pub mod upload;

pub use reply::Reply;
pub use source::{BodyFault, Source};
pub use upload::Upload;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_room_for_replays_is_bounded_and_given_back() {
        let room = ReplayRoom::default();
        let first = room.reserve(60, 100);
        assert!(first.is_some());
        assert!(room.reserve(41, 100).is_none(), "one above the limit");
        let second = room.reserve(40, 100);
        assert!(second.is_some(), "at the limit");
        drop((first, second));
        assert_eq!(room.in_use(), 0);
    }
}
