//! By how much a region's clock is ahead of ours, from the dates of its answers. Pure.
//!
//! What is signed for a region is dated by its clock, so that a machine whose clock is wrong, or a
//! store whose clock is, costs no request.

use crate::units::UnixSeconds;

/// Dates that are remembered; the middle one counts, so that two odd ones in five change nothing.
const REMEMBERED: usize = 5;
/// Seconds that are none: a date has whole ones, and an answer is on its way for a while.
const SLIGHT: i64 = 2;
/// Seconds beyond which a date is not believed: no clock is a day off, but a `Date` may be invented.
const MOST: i64 = 24 * 60 * 60;
/// Seconds between our date and the region's that explain a refusal without a reason. S3 refuses
/// from 15 minutes on.
pub const PLAIN: i64 = 5 * 60;

/// What the last dates said.
#[derive(Clone, Debug, Default)]
pub struct Skew {
    /// In seconds, oldest first.
    seen: Vec<i64>,
}

impl Skew {
    /// A date of the region, and our own time then.
    pub fn observe(&mut self, theirs: UnixSeconds, ours: UnixSeconds) {
        let ahead = theirs.since(ours);
        if ahead.abs() <= MOST {
            if self.seen.len() >= REMEMBERED {
                self.seen.remove(0);
            }
            self.seen.push(ahead);
        }
    }

    /// The region refused our clock: only this date counts from now on.
    pub fn correct(&mut self, theirs: UnixSeconds, ours: UnixSeconds) {
        if theirs.since(ours).abs() <= MOST {
            self.seen.clear();
        }
        self.observe(theirs, ours);
    }

    /// What is to be added to our time for a date that the region is to believe.
    #[must_use]
    pub fn offset(&self) -> i64 {
        let middle = self.middle();
        if middle.abs() <= SLIGHT { 0 } else { middle }
    }

    /// What is to be added to our time, in whole seconds, for one that the region's own date of
    /// anything later is not before: what is slight counts too, and a second is left out of dates.
    #[must_use]
    pub fn least(&self) -> i64 {
        self.middle() - 1
    }

    fn middle(&self) -> i64 {
        let mut sorted = self.seen.clone();
        sorted.sort_unstable();
        sorted.get(sorted.len() / 2).copied().unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const OURS: UnixSeconds = UnixSeconds(1_800_000_000);

    fn seen(dates: &[i64]) -> Skew {
        let mut skew = Skew::default();
        for ahead in dates {
            skew.observe(UnixSeconds(OURS.0 + ahead), OURS);
        }
        skew
    }

    fn after(dates: &[i64]) -> i64 {
        seen(dates).offset()
    }

    #[test]
    fn the_first_date_counts_at_once_and_odd_ones_do_not() {
        assert_eq!(after(&[1_200]), 1_200);
        assert_eq!(after(&[-1_200]), -1_200);
        assert_eq!(after(&[1_200, 1_200, 0, 1_201, 9_000]), 1_200);
    }

    #[test]
    fn what_a_date_cannot_say_exactly_is_nothing() {
        for dates in [&[][..], &[0], &[-1, 0, -1], &[2, 1, -2]] {
            assert_eq!(after(dates), 0, "{dates:?}");
        }
    }

    #[test]
    fn what_is_slight_counts_where_dates_are_compared() {
        for (dates, least) in [(&[][..], -1), (&[0], -1), (&[-2, -2, -3], -3), (&[2, 2, 1], 1), (&[-60], -61)]
        {
            assert_eq!(seen(dates).least(), least, "{dates:?}");
        }
    }

    #[test]
    fn a_date_of_another_age_is_not_believed() {
        assert_eq!(after(&[-OURS.0]), 0);
        assert_eq!(after(&[30, MOST + 1]), 30);
        assert_eq!(after(&[MOST]), MOST);
    }

    #[test]
    fn a_clock_that_was_set_right_is_followed() {
        assert_eq!(after(&[1_200, 1_200, 1_200, 1_200, 1_200, 0, 0]), 1_200);
        assert_eq!(after(&[1_200, 1_200, 1_200, 1_200, 1_200, 0, 0, 0]), 0);
    }

    #[test]
    fn a_refusal_of_our_clock_is_believed_at_once() {
        let mut skew = Skew::default();
        for _ in 0..5 {
            skew.observe(OURS, OURS);
        }
        skew.correct(UnixSeconds(OURS.0 - 1_200), OURS);
        assert_eq!(skew.offset(), -1_200);
        skew.correct(UnixSeconds(0), OURS);
        assert_eq!(skew.offset(), -1_200, "unless it is absurd");
    }

    proptest! {
        #[test]
        fn it_is_bounded(dates in proptest::collection::vec(any::<i64>(), 0..50)) {
            let mut skew = Skew::default();
            for theirs in dates {
                skew.observe(UnixSeconds(theirs), OURS);
                prop_assert!(skew.offset().abs() <= MOST && skew.seen.len() <= REMEMBERED);
            }
        }
    }
}
