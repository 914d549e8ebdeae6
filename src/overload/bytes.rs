//! Room for documents that are held in memory: bytes over all workers, of which one client has no
//! more than it leaves to others. What is sent slowly is held long, so that without shares one client
//! could have it all for as long as it likes.

use std::fmt;
use std::sync::Arc;

use super::places::{Asker, SLOTS};
use crate::sync::atomic::{AtomicU64, Ordering};

/// What is known when a document asks for bytes, itself not counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Demand {
    /// Bytes that there are.
    pub limit: u64,
    /// Bytes taken, by all.
    pub taken: u64,
    /// Of these, by the client that asks.
    pub held: u64,
    /// Bytes asked for.
    pub bytes: u64,
}

/// Why a document got no room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Overfull {
    /// There are not so many bytes left.
    Full(Demand),
    /// Its client has as many as are left for others.
    Share(Demand),
}

impl Demand {
    /// Whether the bytes are to be had: while there are enough of them, and the client has fewer than
    /// are free. Alone it gets half of all (`reliability.md` A4), the next one half of what that
    /// leaves, and so on; the first document of a client is refused only where it does not fit.
    ///
    /// # Errors
    /// [`Overfull`].
    pub fn decide(self) -> Result<(), Overfull> {
        let free = self.limit.saturating_sub(self.taken);
        if self.bytes > free {
            Err(Overfull::Full(self))
        } else if self.held > 0 && self.held >= free {
            Err(Overfull::Share(self))
        } else {
            Ok(())
        }
    }
}

/// For the access log.
impl fmt::Display for Overfull {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (Self::Full(Demand { taken, held, bytes, .. }) | Self::Share(Demand { taken, held, bytes, .. })) =
            self;
        write!(f, "limits.replay_total: documents of {taken} bytes are at work, ")?;
        match self {
            Self::Full(_) => write!(f, "no room for {bytes} more"),
            Self::Share(_) => write!(f, "{held} of them by this client; what is left is for others"),
        }
    }
}

/// The bytes of a process, and who has them.
#[derive(Debug)]
pub struct ByteRoom {
    taken: AtomicU64,
    /// Bytes of each client, by the slot in which its places are counted too: 32 KiB.
    slots: Box<[AtomicU64]>,
}

/// Bytes of one request, given back when dropped.
#[derive(Debug)]
pub struct ByteShare {
    room: Arc<ByteRoom>,
    asker: Asker,
    bytes: u64,
}

impl ByteRoom {
    /// All free.
    #[must_use]
    pub fn new() -> Arc<Self> {
        Self::with_slots(SLOTS)
    }

    /// The same for as many clients' slots.
    pub(super) fn with_slots(slots: usize) -> Arc<Self> {
        let slots = std::iter::repeat_with(AtomicU64::default).take(slots).collect();
        Arc::new(Self { taken: AtomicU64::new(0), slots })
    }

    /// Bytes taken now.
    #[must_use]
    pub fn in_use(&self) -> u64 {
        self.taken.load(Ordering::Relaxed)
    }

    /// A client's share for one request, of nothing yet.
    #[must_use]
    pub fn share(self: &Arc<Self>, asker: Asker) -> ByteShare {
        ByteShare { room: Arc::clone(self), asker, bytes: 0 }
    }

    /// Counts bytes; what was taken and what the client held before.
    fn add(&self, asker: Asker, bytes: u64) -> (u64, u64) {
        let taken = self.taken.fetch_add(bytes, Ordering::Relaxed);
        let held = self.slots.get(asker.slot()).map_or(0, |held| held.fetch_add(bytes, Ordering::Relaxed));
        (taken, held)
    }

    fn subtract(&self, asker: Asker, bytes: u64) {
        if let Some(held) = self.slots.get(asker.slot()) {
            held.fetch_sub(bytes, Ordering::Relaxed);
        }
        self.taken.fetch_sub(bytes, Ordering::Relaxed);
    }
}

impl ByteShare {
    /// Takes so many bytes more, of `limit` that there are.
    ///
    /// # Errors
    /// [`Overfull`]; then it has as many as before.
    pub fn grow(&mut self, bytes: u64, limit: u64) -> Result<(), Overfull> {
        // Counted first and given back where refused: two workers never take the last bytes both.
        let (taken, held) = self.room.add(self.asker, bytes);
        let decided = Demand { limit, taken, held, bytes }.decide();
        match decided {
            Ok(()) => self.bytes += bytes,
            Err(_) => self.room.subtract(self.asker, bytes),
        }
        decided
    }
}

impl Drop for ByteShare {
    fn drop(&mut self) {
        self.room.subtract(self.asker, self.bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Clock;
    use crate::overload::{Places, Who};

    fn askers(names: [&str; 3]) -> [Asker; 3] {
        let places = Places::new(1, Clock::system().now().mono);
        names.map(|name| places.asker(Who::Client(name)))
    }

    #[test]
    fn who_gets_bytes_and_who_does_not() {
        type Expected = fn(Demand) -> Result<(), Overfull>;
        let (ok, full, share): (Expected, Expected, Expected) =
            (|_| Ok(()), |demand| Err(Overfull::Full(demand)), |demand| Err(Overfull::Share(demand)));
        for (limit, taken, held, bytes, expected) in [
            (100, 0, 0, 100, ok),
            (100, 0, 0, 101, full),
            (100, 49, 49, 2, ok),
            (100, 50, 50, 2, share),
            (100, 50, 0, 50, ok),
            (100, 75, 25, 1, share),
            (100, 74, 25, 1, ok),
            (100, 100, 0, 1, full),
            // a limit that was lowered
            (10, 50, 50, 1, full),
        ] {
            let demand = Demand { limit, taken, held, bytes };
            assert_eq!(demand.decide(), expected(demand), "{demand:?}");
        }
    }

    #[test]
    fn clients_that_take_all_they_can_leave_room_for_the_next() {
        let (room, askers) = (ByteRoom::new(), askers(["a", "b", "c"]));
        let mut held = Vec::new();
        for asker in askers.into_iter().take(2) {
            loop {
                let mut share = room.share(asker);
                if share.grow(2, 64).is_err() {
                    break;
                }
                held.push(share);
            }
        }
        assert_eq!(room.in_use(), 32 + 16);
        let mut share = room.share(askers[2]);
        assert!(share.grow(8, 64).is_ok());
        assert!(matches!(share.grow(20, 64), Err(Overfull::Full(_))));
        assert_eq!(room.in_use(), 56, "a refusal takes nothing");
        drop((share, held));
        assert_eq!(room.in_use(), 0);
        assert!(room.slots.iter().all(|slot| slot.load(Ordering::Relaxed) == 0));
    }
}
