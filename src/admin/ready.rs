//! Whether this process should be sent requests, and why not. Pure: told, and asked with `now`.

use std::fmt::Write as _;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// After this long a first round of probes is no longer waited for: a gateway whose regions are
/// all silent must serve (and say `503`) rather than never come up.
pub const PROBES_MAX: Duration = Duration::from_secs(3);

/// What readiness hangs on. Shared; each fact is told once it holds.
#[derive(Debug)]
pub struct Readiness {
    started: Instant,
    configured: AtomicBool,
    bound: AtomicBool,
    probed: AtomicBool,
    draining: AtomicBool,
}

/// The answer at one moment: each condition by name, and whether it holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict([(&'static str, bool); 4]);

impl Verdict {
    /// All of it.
    #[must_use]
    pub fn ready(&self) -> bool {
        self.0.iter().all(|(_, holds)| *holds)
    }

    /// One line a condition, then the sum.
    #[must_use]
    pub fn report(&self) -> String {
        let mut report = String::new();
        for (name, holds) in &self.0 {
            let mark = if *holds { "[+] " } else { "[-] " };
            report.push_str(mark);
            report.push_str(name);
            report.push('\n');
        }
        // writing to a string does not fail
        let _never = writeln!(report, "{}", self.summary());
        report
    }

    /// `ready` or `not ready`.
    #[must_use]
    pub fn summary(&self) -> &'static str {
        if self.ready() { "ready" } else { "not ready" }
    }
}

impl Readiness {
    /// Nothing holds yet.
    #[must_use]
    pub fn new(started: Instant) -> Self {
        Self {
            started,
            configured: AtomicBool::new(false),
            bound: AtomicBool::new(false),
            probed: AtomicBool::new(false),
            draining: AtomicBool::new(false),
        }
    }

    /// A configuration is in force.
    pub fn configured(&self) {
        self.configured.store(true, Ordering::Release);
    }

    /// Every listener listens.
    pub fn bound(&self) {
        self.bound.store(true, Ordering::Release);
    }

    /// Every region was probed once.
    pub fn probed(&self) {
        self.probed.store(true, Ordering::Release);
    }

    /// The process is ending. For good.
    pub fn draining(&self) {
        self.draining.store(true, Ordering::Release);
    }

    /// The answer at `now`.
    #[must_use]
    pub fn verdict(&self, now: Instant) -> Verdict {
        let waited = now.saturating_duration_since(self.started) >= PROBES_MAX;
        let holds = |fact: &AtomicBool| fact.load(Ordering::Acquire);
        Verdict([
            ("configuration", holds(&self.configured)),
            ("listeners", holds(&self.bound)),
            ("probes", waited || holds(&self.probed)),
            ("staying", !holds(&self.draining)),
        ])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Clock;

    #[test]
    fn every_condition_is_needed() {
        let start = Clock::system().mono();
        let ready = Readiness::new(start);
        ready.configured();
        ready.bound();
        assert!(!ready.verdict(start).ready(), "no probe yet");
        assert!(ready.verdict(start + PROBES_MAX).ready(), "not waited for any longer");
        ready.probed();
        assert!(ready.verdict(start).ready());
        ready.draining();
        assert!(!ready.verdict(start).ready());
        assert_eq!(
            ready.verdict(start).report(),
            "[+] configuration\n[+] listeners\n[+] probes\n[-] staying\nnot ready\n"
        );
    }

    #[test]
    fn probes_alone_make_nobody_ready() {
        let start = Clock::system().mono();
        let unbound = Readiness::new(start);
        unbound.configured();
        unbound.probed();
        assert!(!unbound.verdict(start + PROBES_MAX).ready());
        let unconfigured = Readiness::new(start);
        unconfigured.bound();
        assert!(!unconfigured.verdict(start + PROBES_MAX).ready());
    }
}
