//! The addresses of one region as all workers and probes see them: the door of `dns::accrual`.
//!
//! Locked for a connection and for a failure, never for a request that is answered: that leaves its
//! mark in the pulse of its connection's address, which is read when something fails.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use metrics::Counter;
use smallvec::SmallVec;

use crate::chance::Coin;
use crate::dns::accrual::{ADDRESSES_MAX, Accrual, Blame, Failure, Order, Seen};
use crate::dns::resolver::Found;
use crate::names::RegionId;
use crate::telemetry::metric::{self, Metric};

/// The addresses of one region.
#[derive(Debug)]
pub struct Addresses {
    region: RegionId,
    origin: Instant,
    state: Mutex<State>,
    /// Grows whenever an address goes out.
    generation: AtomicU64,
}

#[derive(Debug)]
struct State {
    accrual: Accrual,
    pulses: SmallVec<[Arc<Pulse>; 4]>,
    coin: Coin,
}

/// When an address last answered a request.
#[derive(Debug)]
pub struct Pulse {
    /// Whose.
    pub address: SocketAddr,
    origin: Instant,
    /// Microseconds from `origin`, plus one; 0 where it has not.
    answered: AtomicU64,
}

impl Pulse {
    /// It has answered.
    pub fn answered(&self, now: Instant) {
        let us = now.saturating_duration_since(self.origin).as_micros();
        self.answered.fetch_max(u64::try_from(us).unwrap_or(u64::MAX).saturating_add(1), Ordering::Relaxed);
    }

    fn last(&self) -> Option<Instant> {
        let us = self.answered.load(Ordering::Relaxed).checked_sub(1)?;
        self.origin.checked_add(Duration::from_micros(us))
    }
}

impl Addresses {
    /// None known yet.
    #[must_use]
    pub fn new(region: RegionId, origin: Instant, coin: Coin) -> Self {
        let state = State { accrual: Accrual::default(), pulses: SmallVec::new(), coin };
        Self { region, origin, state: Mutex::new(state), generation: AtomicU64::new(0) }
    }

    /// In which order a new connection to `host` tries what DNS says.
    pub fn order(&self, host: &str, found: &Found, avoid: &[SocketAddr], now: Instant) -> Order {
        let mut state = self.lock();
        state.accrual.listed(host, &found.addresses, now);
        state.accrual.order(&found.addresses, avoid, !found.one_machine, now)
    }

    /// A dial ended: these failed, and this one has connected.
    pub fn dialled(&self, failed: &[(SocketAddr, Failure)], connected: Option<SocketAddr>, now: Instant) {
        let mut state = self.lock();
        if let Some(address) = connected {
            state.accrual.connected(address, now);
        }
        for (address, failure) in failed {
            self.fail(&mut state, *address, *failure, now);
        }
    }

    /// Something went wrong at `address` after it had connected. Says whose affair it is.
    pub fn failed(&self, address: SocketAddr, failure: Failure, now: Instant) -> Blame {
        self.fail(&mut self.lock(), address, failure, now)
    }

    /// A trial of `address` ended.
    pub fn tried(&self, address: SocketAddr, took: bool, now: Instant) {
        let mut state = self.lock();
        let State { accrual, coin, .. } = &mut *state;
        accrual.tried(address, took, now, coin);
    }

    /// What DNS says of `host` now, heard without a connection being made.
    pub fn listed(&self, host: &str, addresses: &[SocketAddr], now: Instant) {
        self.lock().accrual.listed(host, addresses, now);
    }

    /// Where answers from `address` are noted.
    #[must_use]
    pub fn pulse(&self, address: SocketAddr) -> Arc<Pulse> {
        let mut state = self.lock();
        if let Some(pulse) = state.pulses.iter().find(|pulse| pulse.address == address) {
            return Arc::clone(pulse);
        }
        if state.pulses.len() >= ADDRESSES_MAX {
            // its connections go on, and their answers prove nothing any more
            state.pulses.remove(0);
        }
        let pulse = Arc::new(Pulse { address, origin: self.origin, answered: AtomicU64::new(0) });
        state.pulses.push(Arc::clone(&pulse));
        pulse
    }

    /// A number that grows whenever an address goes out.
    #[must_use]
    pub fn generation(&self) -> u64 {
        self.generation.load(Ordering::Relaxed)
    }

    /// The addresses whose connections are not to be used again.
    #[must_use]
    pub fn unwanted(&self, now: Instant) -> SmallVec<[SocketAddr; 2]> {
        self.lock().accrual.unwanted(now).collect()
    }

    /// Whether another address than this one can be tried.
    #[must_use]
    pub fn has_other(&self, address: SocketAddr) -> bool {
        self.lock().accrual.has_other(address)
    }

    /// Whether another address than this one has just answered: then the region is alive.
    #[must_use]
    pub fn is_proven_beside(&self, address: SocketAddr, now: Instant) -> bool {
        let mut state = self.lock();
        hear(&mut state);
        state.accrual.is_proven_beside(address, now)
    }

    /// Every address, for operators.
    #[must_use]
    pub fn seen(&self, now: Instant) -> Vec<Seen> {
        let mut state = self.lock();
        hear(&mut state);
        state.accrual.seen(now)
    }

    fn fail(&self, state: &mut State, address: SocketAddr, failure: Failure, now: Instant) -> Blame {
        hear(state);
        let State { accrual, coin, .. } = state;
        let was_out = accrual.is_out(address);
        let blame = accrual.failed(address, failure, now, coin);
        self.counter(failure).increment(1);
        if !was_out && accrual.is_out(address) {
            self.generation.fetch_add(1, Ordering::Relaxed);
            tracing::warn!(region = %self.region, %address, failure = failure.name(), "an address is out");
        }
        blame
    }

    fn counter(&self, failure: Failure) -> Counter {
        metric::counter(Metric::AddressFailures, &[self.region.as_str(), failure.name()])
    }

    /// A poisoned lock only means that a thread panicked between two whole updates.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Tells the accrual what the pulses have noted since.
fn hear(state: &mut State) {
    let State { accrual, pulses, .. } = state;
    for pulse in pulses.iter() {
        if let Some(when) = pulse.last() {
            accrual.answered(pulse.address, when);
        }
    }
}
