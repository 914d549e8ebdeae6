//! The faults in force.

use std::time::Instant;

use super::course::Course;
use super::injection::Injection;
use super::scope::{Asked, Scope};
use crate::chance::Coin;

/// Faults in force at once: each request is held against all of them.
pub const ARMED_MAX: usize = 64;

/// An hour: what a delay or a pause may be at most. A fault that outlives its drill is none.
const PAUSE_MAX_MS: u64 = 3_600_000;

/// Names an armed fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct FaultId(pub u64);

/// Why a fault was not armed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CannotArm {
    /// [`ARMED_MAX`] are in force.
    #[error("{ARMED_MAX} faults are in force; lift one first")]
    Full,
    /// A number that means nothing.
    #[error("`{0}` is out of range")]
    OutOfRange(&'static str),
}

#[derive(Clone, Debug)]
struct Armed {
    id: FaultId,
    injection: Injection,
    scope: Scope,
    until: Option<Instant>,
    hits: u64,
}

/// The faults in force. At most [`ARMED_MAX`].
#[derive(Clone, Debug, Default)]
pub struct Faults {
    armed: Vec<Armed>,
    given: u64,
}

impl Faults {
    /// Arms a fault, until then or until lifted.
    ///
    /// # Errors
    /// [`CannotArm`].
    pub fn arm(
        &mut self,
        injection: Injection,
        scope: Scope,
        until: Option<Instant>,
    ) -> Result<FaultId, CannotArm> {
        check(&injection, &scope)?;
        if self.armed.len() >= ARMED_MAX {
            return Err(CannotArm::Full);
        }
        self.given += 1;
        let id = FaultId(self.given);
        self.armed.push(Armed { id, injection, scope, until, hits: 0 });
        Ok(id)
    }

    /// Ends a fault; how many requests it hit, `None` where it is not in force.
    pub fn lift(&mut self, id: FaultId) -> Option<u64> {
        let place = self.armed.iter().position(|armed| armed.id == id)?;
        Some(self.armed.remove(place).hits)
    }

    /// Ends all.
    pub fn clear(&mut self) {
        self.armed.clear();
    }

    /// How many requests a fault in force has hit.
    #[must_use]
    pub fn hits(&self, id: FaultId) -> Option<u64> {
        self.armed.iter().find(|armed| armed.id == id).map(|armed| armed.hits)
    }

    /// Whether nothing is in force.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.armed.is_empty()
    }

    /// What will go wrong with this request. Counts it; forgets what is over.
    pub fn course(&mut self, asked: &Asked<'_>, now: Instant, coin: &mut Coin) -> Course {
        let mut course = Course::default();
        self.armed.retain(|armed| armed.until.is_none_or(|until| now < until));
        for armed in &mut self.armed {
            if armed.scope.covers(asked) && armed.scope.hits(coin) {
                armed.hits += 1;
                course.suffer(&armed.injection, coin);
            }
        }
        course
    }
}

fn check(injection: &Injection, scope: &Scope) -> Result<(), CannotArm> {
    let within = |name, good: bool| if good { Ok(()) } else { Err(CannotArm::OutOfRange(name)) };
    within("share", scope.share.is_none_or(|share| (0.0..=1.0).contains(&share)))?;
    match injection {
        Injection::Delay { by_ms, jitter_ms } => {
            within("by_ms", *by_ms <= PAUSE_MAX_MS)?;
            within("jitter_ms", *jitter_ms <= PAUSE_MAX_MS)
        }
        Injection::Rate { bytes_per_second, .. } => {
            within("bytes_per_second", (1..=u64::from(u32::MAX)).contains(bytes_per_second))
        }
        Injection::Slice { bytes, pause_ms, .. } => {
            within("bytes", *bytes > 0)?;
            within("pause_ms", *pause_ms <= PAUSE_MAX_MS)
        }
        Injection::ErrorInsideOk { pause_ms, .. } => within("pause_ms", *pause_ms <= PAUSE_MAX_MS),
        Injection::Answer { error } => within("status", (200..=599).contains(&error.status())),
        Injection::Cut { .. }
        | Injection::Reset
        | Injection::HangBeforeHead
        | Injection::HangInBody { .. }
        | Injection::HalfClose { .. }
        | Injection::Corrupt { .. }
        | Injection::DieBeforeCommit { .. }
        | Injection::DropReply { .. } => Ok(()),
    }
}
