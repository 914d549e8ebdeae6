//! When a slow read is tried a second time, elsewhere. Pure.

use std::time::{Duration, Instant};

use super::access_point::Hedge;
use super::affinity::Affinity;
use super::budget::Budget;
use super::permit::Permit;
use super::plan::{Plan, Step};
use crate::names::RegionId;
use crate::s3::operation::{BodyKind, Class, Facts, Kind, Reach, Replay};

/// The most hedges as a share of the reads that could be hedged: "The Tail at Scale" gets most of the gain
/// from 2 % more requests, and a region in which more reads are slow is routing's affair.
const SHARE: f64 = 0.02;
/// A read is not slow before: another region is a round trip away itself.
const LEAST: Duration = Duration::from_millis(20);
/// One in ten seconds, so that a quiet gateway may hedge at all.
const FLOOR: f64 = 0.1;
/// A percentile of fewer samples is none.
const SAMPLES_LEAST: u32 = 20;
/// Counts are halved at so many samples: a sample weighs half after 512 more.
const SAMPLES_MOST: u32 = 1_024;
/// Bounds grow by the fourth root of two, so that a percentile is at most 19 % too high.
const STEPS_PER_DOUBLING: f64 = 4.0;
/// The first bound, in microseconds: nothing over a network is faster.
const FIRST_BOUND: f64 = 250.0;
/// Up to 65 s, beyond any time to first byte that is waited for.
const BOUNDS: usize = 73;

/// Whether a request is a read that may be sent twice: of one object or a listing, bound to no
/// region. Of whatever size, which nobody knows before the head has come (`reliability.md` A4 has 1 MiB):
/// heads are compared, and the loser ends with its connection, so that no more is wasted than had come
/// by then, which is counted.
#[must_use]
pub fn may_hedge(permit: &Permit) -> bool {
    let facts: &Facts = permit.call().facts();
    permit.access_point().hedge != Hedge::Off
        && facts.kind == Kind::Read
        && facts.replay == Replay::Always
        && facts.body == BodyKind::Empty
        && facts.reach == Reach::Any
        && matches!(facts.class, Class::Get | Class::List)
        && *permit.affinity() == Affinity::None
}

/// Where the second try of a read goes whose first goes to `first`: the plan's next region, if it is
/// as fit as that. None while any region of the plan throttles: a second try would be one more of
/// what it asked to have less of.
#[must_use]
pub fn second<'p>(plan: &'p Plan, first: &Step, throttles: &dyn Fn(&RegionId) -> bool) -> Option<&'p Step> {
    let fit = |step: &Step| !step.trial && !step.last_resort;
    if plan.fail_open || !fit(first) || plan.steps.iter().any(|step| throttles(&step.region)) {
        return None;
    }
    plan.steps.iter().find(|step| step.region != first.region && fit(step))
}

/// Times to first byte of one region and class, lately.
#[derive(Clone, Debug)]
struct Pulse {
    counts: [u32; BOUNDS],
    total: u32,
}

impl Pulse {
    fn new() -> Self {
        Self { counts: [0; BOUNDS], total: 0 }
    }

    fn observe(&mut self, ttfb: Duration) {
        if let Some(count) = self.counts.get_mut(slot(ttfb)) {
            *count += 1;
            self.total += 1;
        }
        if self.total >= SAMPLES_MOST {
            self.counts.iter_mut().for_each(|count| *count /= 2);
            self.total = self.counts.iter().sum();
        }
    }

    /// The bound below which 95 of 100 lie.
    fn p95(&self) -> Option<Duration> {
        if self.total < SAMPLES_LEAST {
            return None;
        }
        let wanted = u64::from(self.total) * 95;
        let mut seen = 0;
        let slot = self.counts.iter().position(|count| {
            seen += u64::from(*count);
            seen * 100 >= wanted
        });
        slot.map(bound)
    }
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "within the bounds, and never below 0"
)]
fn slot(ttfb: Duration) -> usize {
    let doublings = (ttfb.as_secs_f64() * 1e6 / FIRST_BOUND).max(1.0).log2();
    ((doublings * STEPS_PER_DOUBLING).ceil() as usize).min(BOUNDS - 1)
}

#[expect(clippy::cast_precision_loss, reason = "below 73")]
fn bound(slot: usize) -> Duration {
    Duration::from_secs_f64(FIRST_BOUND * (slot as f64 / STEPS_PER_DOUBLING).exp2() / 1e6)
}

/// What one worker has seen of regions, and how many second tries it may make.
#[derive(Clone, Debug)]
pub struct Hedges {
    pulses: Vec<(RegionId, Class, Pulse)>,
    share: Budget,
}

impl Hedges {
    /// Nothing seen yet.
    #[must_use]
    pub fn new(now: Instant) -> Self {
        Self { pulses: Vec::new(), share: Budget::new(SHARE, FLOOR, now) }
    }

    /// A read was answered after so long, or was given up after so long: then it would have taken
    /// longer, and not to count it would make the region look faster by each hedge.
    pub fn observe(&mut self, region: &RegionId, class: Class, ttfb: Duration) {
        let known = self.pulses.iter_mut().find(|(name, of, _)| *of == class && name == region);
        if let Some((_, _, pulse)) = known {
            return pulse.observe(ttfb);
        }
        let mut pulse = Pulse::new();
        pulse.observe(ttfb);
        self.pulses.push((region.clone(), class, pulse));
    }

    /// After how long a read in this region is tried a second time; counts it among those that could
    /// be. `None` while too little has been seen to tell.
    pub fn after(&mut self, hedge: Hedge, region: &RegionId, class: Class, now: Instant) -> Option<Duration> {
        self.share.request(now);
        match hedge {
            Hedge::Off => None,
            Hedge::After(after) => Some(after),
            Hedge::Auto => {
                let known = self.pulses.iter().find(|(name, of, _)| *of == class && name == region);
                known.and_then(|(_, _, pulse)| pulse.p95()).map(|p95| p95.max(LEAST))
            }
        }
    }

    /// Takes one second try from the share, and from the budget of all repeats.
    #[must_use]
    pub fn take(&mut self, budget: &mut Budget, now: Instant) -> bool {
        self.share.left(now) >= 1.0 && budget.take(now) && self.share.take(now)
    }
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "tests need some instant to count from")]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::route::why::{Scope, Why};

    fn ms(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    fn step(region: &str) -> Step {
        Step { region: RegionId::new(region), bucket: None, trial: false, last_resort: false }
    }

    fn plan(steps: &[Step]) -> Plan {
        let why =
            Why { scope: Scope::Order(Kind::Read), regions: smallvec::SmallVec::new(), fail_open: false };
        Plan { steps: steps.iter().cloned().collect(), failover: true, fail_open: false, why }
    }

    #[test]
    fn the_second_try_is_elsewhere_and_no_worse_off() {
        let nobody = |_: &RegionId| false;
        let [one, two, three] = ["one", "two", "three"].map(step);
        let trial = Step { trial: true, ..two.clone() };
        let resort = Step { last_resort: true, ..two.clone() };
        let chosen = |steps: &[Step], first: &Step, throttles: &dyn Fn(&RegionId) -> bool| {
            second(&plan(steps), first, throttles).map(|step| step.region.to_string())
        };
        let all = [one.clone(), two.clone(), three.clone()];
        assert_eq!(chosen(&all, &one, &nobody).as_deref(), Some("two"));
        assert_eq!(chosen(&all, &two, &nobody).as_deref(), Some("one"));
        assert_eq!(chosen(std::slice::from_ref(&one), &one, &nobody), None, "never to the same region");
        assert_eq!(
            chosen(&[one.clone(), trial.clone(), three.clone()], &one, &nobody).as_deref(),
            Some("three")
        );
        assert_eq!(chosen(&[one.clone(), resort.clone()], &one, &nobody), None);
        assert_eq!(chosen(&[trial.clone(), one.clone()], &trial, &nobody), None);
        assert_eq!(chosen(&all, &one, &|region| region.as_str() == "three"), None, "while one throttles");
        let open = Plan { fail_open: true, ..plan(&all) };
        assert_eq!(second(&open, &one, &nobody), None);
    }

    #[test]
    fn the_percentile_is_of_what_was_seen_lately() {
        let now = Instant::now();
        let region = RegionId::new("one");
        let mut hedges = Hedges::new(now);
        let after = |hedges: &mut Hedges| hedges.after(Hedge::Auto, &region, Class::Get, now);
        for _ in 0..19 {
            hedges.observe(&region, Class::Get, ms(40));
        }
        assert_eq!(after(&mut hedges), None, "too few");
        hedges.observe(&region, Class::Get, ms(500));
        let p95 = after(&mut hedges).unwrap();
        assert!((ms(40)..ms(48)).contains(&p95), "{p95:?}");
        assert_eq!(hedges.after(Hedge::Auto, &region, Class::List, now), None, "of its own class");
        for _ in 0..3_000 {
            hedges.observe(&region, Class::Get, ms(100));
        }
        let p95 = after(&mut hedges).unwrap();
        assert!((ms(100)..ms(120)).contains(&p95), "{p95:?}");
        for _ in 0..3_000 {
            hedges.observe(&region, Class::Get, ms(2));
        }
        assert_eq!(after(&mut hedges), Some(LEAST), "nothing is gained elsewhere");
        assert_eq!(hedges.after(Hedge::After(ms(7)), &region, Class::Get, now), Some(ms(7)));
        assert_eq!(hedges.after(Hedge::Off, &region, Class::Get, now), None);
    }

    #[test]
    fn hedges_are_a_share_of_the_reads_and_draw_on_the_budget() {
        let now = Instant::now();
        let region = RegionId::new("one");
        let mut hedges = Hedges::new(now);
        let mut budget = Budget::new(0.2, 100.0, now);
        for _ in 0..1_000 {
            let _after = hedges.after(Hedge::After(ms(1)), &region, Class::Get, now);
        }
        let taken = (0..1_000).filter(|_| hedges.take(&mut budget, now)).count();
        assert_eq!(taken, 21, "2 % and one in ten seconds");
        assert!((budget.left(now) - 979.0).abs() < 1e-6);
        let mut spent = Budget::new(0.0, 0.0, now);
        assert!(!Hedges::new(now).take(&mut spent, now));
    }

    proptest! {
        #[test]
        fn any_time_has_a_place_and_the_percentile_is_among_them(times in proptest::collection::vec(0_u64..200_000_000, 20..300)) {
            let mut pulse = Pulse::new();
            for micros in &times {
                pulse.observe(Duration::from_micros(*micros));
            }
            let p95 = pulse.p95().unwrap();
            prop_assert!(p95 <= bound(BOUNDS - 1));
            let mut sorted = times;
            sorted.sort_unstable();
            let at = (sorted.len() * 95).div_ceil(100) - 1;
            let truth = Duration::from_micros(sorted[at]).min(bound(BOUNDS - 1));
            prop_assert!(p95 + Duration::from_micros(1) >= truth, "{p95:?} {truth:?}");
            prop_assert!(p95 <= truth.max(bound(0)).mul_f64(1.2), "{p95:?} {truth:?}");
        }
    }
}
