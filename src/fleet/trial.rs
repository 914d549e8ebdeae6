//! Whose turn it is to try a region in probation. Pure but for what workers share.

use std::sync::Arc;

use crate::sync::atomic::{AtomicBool, Ordering};

/// The turn of trying a region in probation: one request at a time, whatever the number of
/// workers. Shared between all tables of one fleet.
#[derive(Clone, Debug, Default)]
pub struct Trial(Arc<AtomicBool>);

/// Held by the one request that tries the region; dropped when its attempt ends.
#[derive(Debug)]
#[must_use = "the turn ends when this is dropped"]
pub struct Turn(Trial);

impl Trial {
    /// Takes the turn, or says that another request has it.
    #[must_use]
    pub fn take(&self) -> Option<Turn> {
        let taken = self.0.compare_exchange(false, true, Ordering::Acquire, Ordering::Relaxed);
        taken.is_ok().then(|| Turn(self.clone()))
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.0.0.store(false, Ordering::Release);
    }
}
