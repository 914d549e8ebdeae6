//! How long a region takes to its first byte: a decayed peak. Reads never change it. Pure.

use std::time::{Duration, Instant};

/// Decayed peak of a series of durations (Finagle's peak EWMA, on the least of the last three).
///
/// It rises at once and falls with the time constant. A single slow answer does not raise it: what
/// rises is the least of the last three, since one slow object says nothing about a region and
/// would otherwise outweigh thousands of quick ones for half a minute. Until there are three the
/// least counts as it is: the first sample often pays for a handshake.
#[derive(Clone, Debug, Default)]
pub(super) struct Peak {
    estimate: Option<f64>,
    last: [Option<f64>; 3],
    at: Option<Instant>,
    samples: u32,
}

impl Peak {
    /// Takes a sample; `decay` is the time constant.
    pub(super) fn observe(&mut self, sample: Duration, decay: Duration, now: Instant) {
        let [_, second, third] = self.last;
        self.last = [second, third, Some(sample.as_secs_f64())];
        let least = self.last.iter().flatten().copied().fold(f64::INFINITY, f64::min);
        let age = self.at.map_or(0.0, |at| now.saturating_duration_since(at).as_secs_f64());
        self.estimate = Some(match self.estimate {
            Some(estimate) if estimate > least && self.samples >= 3 => {
                let keep = (-age / decay.as_secs_f64().max(1e-3)).exp();
                estimate * keep + least * (1.0 - keep)
            }
            _ => least,
        });
        self.at = Some(now);
        self.samples = self.samples.saturating_add(1);
    }

    /// Forgets the peak: what counts is the last sample.
    pub(super) fn settle(&mut self) {
        let [.., last] = self.last;
        self.last = [None, None, last];
        self.estimate = last.or(self.estimate);
    }

    /// The estimate in seconds.
    pub(super) fn seconds(&self) -> Option<f64> {
        self.estimate
    }

    /// The estimate.
    pub(super) fn duration(&self) -> Option<Duration> {
        self.estimate.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok())
    }

    /// Whether the last sample is no older than `age`.
    pub(super) fn is_within(&self, age: Duration, now: Instant) -> bool {
        self.at.is_some_and(|at| now.saturating_duration_since(at) <= age)
    }

    /// How many samples there were.
    pub(super) fn samples(&self) -> u32 {
        self.samples
    }
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "tests need some instant to count from")]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const DECAY: Duration = Duration::from_secs(10);

    fn ms(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    #[test]
    fn a_lasting_rise_shows_at_once_and_fades_slowly() {
        let start = Instant::now();
        let mut peak = Peak::default();
        for n in 0..10 {
            peak.observe(ms(10), DECAY, start + ms(n * 5));
        }
        for n in 0..3 {
            peak.observe(ms(500), DECAY, start + ms(50 + n * 5));
        }
        assert_eq!(peak.duration(), Some(ms(500)));
        for second in 1..=10 {
            peak.observe(ms(10), DECAY, start + Duration::from_secs(second));
        }
        let seconds = peak.seconds().unwrap();
        assert!((0.15..0.25).contains(&seconds), "{seconds} is not 10 ms + 490 ms / e");
    }

    #[test]
    fn one_slow_answer_is_not_a_slow_region() {
        let start = Instant::now();
        let mut peak = Peak::default();
        for n in 0..100 {
            peak.observe(ms(if n % 3 == 2 { 3_000 } else { 10 }), DECAY, start + ms(n));
        }
        assert_eq!(peak.duration(), Some(ms(10)));
    }

    proptest! {
        #[test]
        fn it_stays_finite_and_among_its_samples(
            samples in proptest::collection::vec((0_u32..100_000, 0_u64..5_000), 1..200),
        ) {
            let mut now = Instant::now();
            let mut peak = Peak::default();
            let least = samples.iter().map(|(sample, _)| *sample).min().unwrap();
            let most = samples.iter().map(|(sample, _)| *sample).max().unwrap();
            for (sample, pause) in samples {
                now += ms(pause);
                peak.observe(ms(sample.into()), DECAY, now);
                let estimate = peak.seconds().unwrap() * 1e3;
                prop_assert!(estimate.is_finite());
                let within = f64::from(least) - 1e-6..=f64::from(most) + 1e-6;
                prop_assert!(within.contains(&estimate));
            }
        }

        #[test]
        fn the_decay_is_monotone(peak_ms in 100_u64..10_000, steps in 1_u64..50) {
            let mut now = Instant::now();
            let mut peak = Peak::default();
            for _ in 0..3 {
                peak.observe(ms(peak_ms), DECAY, now);
            }
            let mut before = peak.seconds().unwrap();
            for _ in 0..steps {
                now += ms(500);
                peak.observe(ms(1), DECAY, now);
                let after = peak.seconds().unwrap();
                prop_assert!(after <= before);
                before = after;
            }
        }
    }
}
