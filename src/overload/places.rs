//! The places of a process, and who has them: atomics over all workers, no lock, bounded memory
//! whatever clients call themselves.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use super::decide::{Picture, Rank, Shed};

/// Slots in which clients are counted: 16 KiB. Two clients meet in one with a chance of 1 in 4,096, and
/// then have one share together; among ten busy tenants none do in 99 of 100 processes.
pub(super) const SLOTS: usize = 4_096;
/// How long room is made for one that was refused: longer than [`super::retry_after`] sends it away
/// for, so that the room is still there when it comes back.
const WANTED: Duration = Duration::from_secs(5);

/// Whose request it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Who<'a> {
    /// A client that signed, by its name: one name, one access key.
    Client(&'a str),
    /// Nobody's signature was asked for: a host, or an IPv6 host's network.
    Address(IpAddr),
    /// The same over a unix socket: all of this machine.
    Machine,
}

/// A client, as places count it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Asker(usize);

/// The places for requests at work.
#[derive(Debug)]
pub struct Places {
    /// Makes slots unforeseeable: nobody can choose a name that shares another's slot.
    seed: u64,
    origin: Instant,
    taken: AtomicU32,
    /// Requests refused since the start.
    shed: AtomicU64,
    /// Places of each client, by slot.
    slots: Box<[AtomicU32]>,
    /// Until when those who have many places give way: milliseconds from `origin`.
    wanted_until: AtomicU64,
}

/// One place, given back when dropped.
#[derive(Debug)]
pub struct Place {
    places: Arc<Places>,
    asker: Asker,
}

impl Asker {
    pub(super) fn slot(self) -> usize {
        self.0
    }
}

impl Place {
    /// Whose it is.
    #[must_use]
    pub fn asker(&self) -> Asker {
        self.asker
    }
}

impl Places {
    /// All free.
    #[must_use]
    pub fn new(seed: u64, now: Instant) -> Arc<Self> {
        Self::with_slots(SLOTS, seed, now)
    }

    /// The same, with so many slots for clients.
    pub(super) fn with_slots(slots: usize, seed: u64, now: Instant) -> Arc<Self> {
        let slots = std::iter::repeat_with(AtomicU32::default).take(slots).collect();
        Arc::new(Self {
            seed,
            origin: now,
            taken: AtomicU32::new(0),
            shed: AtomicU64::new(0),
            slots,
            wanted_until: AtomicU64::new(0),
        })
    }

    /// Places taken now.
    #[must_use]
    pub fn taken(&self) -> u32 {
        self.taken.load(Ordering::Relaxed)
    }

    /// Requests refused since the start.
    #[must_use]
    pub fn shed(&self) -> u64 {
        self.shed.load(Ordering::Relaxed)
    }

    /// Counts a refusal.
    pub fn count_shed(&self) {
        self.shed.fetch_add(1, Ordering::Relaxed);
    }

    /// How a client is counted.
    #[must_use]
    pub fn asker(&self, who: Who<'_>) -> Asker {
        let mut hasher = DefaultHasher::new();
        (self.seed, who).hash(&mut hasher);
        let slots = self.slots.len().max(1) as u64;
        Asker(usize::try_from(hasher.finish() % slots).unwrap_or_default())
    }

    /// A look before who asks has proven who he is: `Some` where it is clear that there is no place.
    /// `None` says nothing yet. One that has few places is not refused unproven if room is to be made
    /// for it: an unproven name moves nobody, or anybody could.
    #[must_use]
    pub fn refuses(&self, limit: u32, rank: Rank, asker: Asker, now: Instant) -> Option<Shed> {
        let held = self.slot(asker)?.load(Ordering::Relaxed);
        let picture = Picture { limit, taken: self.taken(), held, wanted: self.is_wanted(now) };
        picture.decide(rank).err().filter(|shed| picture.wanted || !shed.is_wanting())
    }

    /// Takes a place for a client that is who he says.
    ///
    /// # Errors
    /// [`Shed`].
    pub fn take(self: &Arc<Self>, limit: u32, rank: Rank, asker: Asker, now: Instant) -> Result<Place, Shed> {
        // Counted first and given back where refused: two workers never take the last place both.
        let taken = self.taken.fetch_add(1, Ordering::Relaxed);
        let held = self.slot(asker).map_or(0, |held| held.fetch_add(1, Ordering::Relaxed));
        let place = Place { places: Arc::clone(self), asker };
        let picture = Picture { limit, taken, held, wanted: self.is_wanted(now) };
        picture.decide(rank).map(|()| place).inspect_err(|shed| {
            if shed.is_wanting() {
                self.wanted_until.store(self.millis(now + WANTED), Ordering::Relaxed);
            }
        })
    }

    /// Places to be regained from who has stopped reading.
    #[must_use]
    pub fn pressed_by(&self, limit: u32) -> u32 {
        Picture { limit, taken: self.taken(), held: 0, wanted: false }.pressed_by()
    }

    fn is_wanted(&self, now: Instant) -> bool {
        let until = self.wanted_until.load(Ordering::Relaxed);
        until > 0 && self.millis(now) < until
    }

    fn millis(&self, at: Instant) -> u64 {
        u64::try_from(at.saturating_duration_since(self.origin).as_millis()).unwrap_or(u64::MAX)
    }

    fn slot(&self, asker: Asker) -> Option<&AtomicU32> {
        self.slots.get(asker.0)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if let Some(slot) = self.places.slot(self.asker) {
            slot.fetch_sub(1, Ordering::Relaxed);
        }
        self.places.taken.fetch_sub(1, Ordering::Relaxed);
    }
}
