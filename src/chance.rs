//! Randomness that is handed in, so that a seed replays a run. Never for secrets. Pure.

/// A seedable source of randomness.
#[derive(Clone, Debug)]
pub struct Coin(fastrand::Rng);

impl Coin {
    /// The same seed gives the same sequence.
    #[must_use]
    pub fn seeded(seed: u64) -> Self {
        Self(fastrand::Rng::with_seed(seed))
    }

    /// A coin of its own sequence, for a worker or a task.
    #[must_use]
    pub fn fork(&mut self) -> Self {
        Self(self.0.fork())
    }

    /// A share in `[0, 1)`.
    pub fn share(&mut self) -> f64 {
        self.0.f64()
    }

    /// All 64 bits.
    pub fn bits(&mut self) -> u64 {
        self.0.u64(..)
    }

    /// True with probability `share`.
    pub fn lands(&mut self, share: f64) -> bool {
        self.0.f64() < share
    }
}
