//! Requests that ended the connections of two regions, remembered for a while over all workers:
//! some store may die of them, and none is offered them again meanwhile (`rulings.md` §4).

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::s3::Call;

/// How long a request is refused: longer than clients go on retrying, shorter than people wait.
const MEMORY: Duration = Duration::from_mins(1);
/// Requests remembered at most; beyond it further ones cost each region one more connection.
const REMEMBERED_MAX: usize = 1024;

/// What was seen to kill. Shared by all workers.
#[derive(Debug, Default)]
pub struct Poisons {
    /// Spares the lock while nothing was ever remembered: the daily case.
    any: AtomicBool,
    seen: Mutex<HashMap<Mark, Instant>>,
}

/// Method, bucket and key.
type Mark = (&'static str, String, Vec<u8>);

impl Poisons {
    /// Whether a request like this one killed lately.
    #[must_use]
    pub fn refuses(&self, call: &Call, now: Instant) -> bool {
        self.any.load(Ordering::Relaxed) && self.seen().get(&mark(call)).is_some_and(|at| is_fresh(*at, now))
    }

    /// Remembers a request that killed.
    pub fn remember(&self, call: &Call, now: Instant) {
        let mut seen = self.seen();
        seen.retain(|_, at| is_fresh(*at, now));
        if seen.len() < REMEMBERED_MAX {
            seen.insert(mark(call), now);
            self.any.store(true, Ordering::Relaxed);
        }
    }

    fn seen(&self) -> MutexGuard<'_, HashMap<Mark, Instant>> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn mark(call: &Call) -> Mark {
    let bucket = call.bucket().unwrap_or_default().to_owned();
    (call.facts().rule.method, bucket, call.key().to_vec())
}

fn is_fresh(at: Instant, now: Instant) -> bool {
    now.saturating_duration_since(at) < MEMORY
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Clock;
    use crate::head::Head;
    use crate::s3::address::Domains;
    use crate::s3::classify::classify;

    fn call(method: http::Method, target: &str) -> Call {
        let mut head = Head::new(method, target);
        head.push("host", b"localhost");
        classify(&head, &Domains::default()).unwrap()
    }

    #[test]
    fn method_and_key_are_refused_for_a_while_and_nothing_else() {
        let (poisons, now) = (Poisons::default(), Clock::system().now().mono);
        let get = call(http::Method::GET, "/photos/k");
        assert!(!poisons.refuses(&get, now));
        poisons.remember(&get, now);
        assert!(poisons.refuses(&call(http::Method::GET, "/photos/k"), now + MEMORY / 2));
        assert!(!poisons.refuses(&call(http::Method::PUT, "/photos/k"), now));
        assert!(!poisons.refuses(&call(http::Method::GET, "/photos/other"), now));
        assert!(!poisons.refuses(&call(http::Method::GET, "/others/k"), now));
        assert!(!poisons.refuses(&get, now + MEMORY));
    }

    #[test]
    fn the_memory_is_bounded_and_makes_room_as_it_ages() {
        let (poisons, now) = (Poisons::default(), Clock::system().now().mono);
        for number in 0..=REMEMBERED_MAX {
            poisons.remember(&call(http::Method::GET, &format!("/photos/{number}")), now);
        }
        let last = call(http::Method::GET, &format!("/photos/{REMEMBERED_MAX}"));
        assert!(!poisons.refuses(&last, now), "one above the limit");
        poisons.remember(&last, now + MEMORY);
        assert!(poisons.refuses(&last, now + MEMORY));
        assert_eq!(poisons.seen().len(), 1);
    }
}
