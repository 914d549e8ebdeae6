//! Whether a request that finds no idle connection waits for another's. Pure.
//!
//! A fresh connection costs a round trip at least, and two or three with TLS: one that is given back
//! before that is sooner there. A region that has just become the nearest would else be dialled by
//! every request of the first two round trips, half of them for nothing. (Simulated: 1,000 requests a
//! second over 20 ms need 26 connections instead of 45, and no request takes longer.)

use std::time::{Duration, Instant};

use slab::Slab;

/// The longest wait for a connection that is likely to be given back, however long it takes to make one.
const LONGEST_WAIT: Duration = Duration::from_millis(500);
/// Connections that take less to make are not waited for: clocks that wake us are no finer.
const WORTH_WAITING: Duration = Duration::from_millis(2);
/// One is waited for that is expected within so many percent of what it takes to make one: when a
/// region has just been dialled, uses end as far apart as requests come, not a moment sooner.
const SOON_PERCENT: u32 = 125;
/// How long it is waited for, in percent of the same: expectations are no promises.
const WAIT_PERCENT: u32 = 175;
/// What should be over by now is no longer expected after so many times what it takes.
const OVERDUE: u32 = 2;
/// After a wait in vain nobody waits for so long: what is in use is not given back as it used to be.
const IMPATIENT: Duration = Duration::from_secs(1);
/// A new measurement counts for one part in so many.
const MEMORY: u32 = 8;

/// One connection that is being made or is in use.
#[derive(Clone, Copy, Debug)]
struct Use {
    since: Instant,
    dialling: bool,
}

/// The connections to one region that are made or in use, and how long either takes.
#[derive(Debug, Default)]
pub struct Line {
    uses: Slab<Use>,
    /// How long it takes to make one.
    dial: Option<Duration>,
    /// How long one is in use.
    hold: Option<Duration>,
    in_vain: Option<Instant>,
}

impl Line {
    /// How long a request waits, behind `ahead` others, for a connection that is given back; `None`
    /// where making one is sooner.
    #[must_use]
    pub fn wait(&self, ahead: usize, now: Instant) -> Option<Duration> {
        let dial = self.dial.filter(|dial| *dial >= WORTH_WAITING)?;
        let impatient = |at: Instant| now.saturating_duration_since(at) < IMPATIENT;
        if self.in_vain.is_some_and(impatient) || self.soon(dial, now) <= ahead {
            return None;
        }
        Some(percent(dial, WAIT_PERCENT).min(LONGEST_WAIT))
    }

    /// A connection is being made: the place by which its end is told.
    pub fn dials(&mut self, now: Instant) -> usize {
        self.uses.insert(Use { since: now, dialling: true })
    }

    /// It was made, and is in use from now on.
    pub fn dialled(&mut self, place: usize, now: Instant) {
        let Some(this) = self.uses.get_mut(place).filter(|this| this.dialling) else { return };
        learn(&mut self.dial, now.saturating_duration_since(this.since));
        *this = Use { since: now, dialling: false };
    }

    /// An idle connection is in use from now on.
    pub fn taken(&mut self, now: Instant) -> usize {
        self.uses.insert(Use { since: now, dialling: false })
    }

    /// A use has ended, with the connection given back as good as it was.
    pub fn given_back(&mut self, place: usize, now: Instant) {
        if let Some(this) = self.uses.try_remove(place) {
            learn(&mut self.hold, now.saturating_duration_since(this.since));
        }
    }

    /// A use, or the making of a connection, has ended, and there is nothing to give back.
    pub fn ended(&mut self, place: usize) {
        self.uses.try_remove(place);
    }

    /// Somebody waited as long as advised, and nothing was given back.
    pub fn waited_in_vain(&mut self, now: Instant) {
        self.in_vain = Some(now);
    }

    /// How many are likely to be given back about as soon as a fresh one would be there.
    fn soon(&self, dial: Duration, now: Instant) -> usize {
        let hold = self.hold.unwrap_or(dial);
        let is_soon = |this: &Use| {
            let takes = if this.dialling { dial + hold } else { hold };
            let lasts = now.saturating_duration_since(this.since);
            takes <= lasts + percent(dial, SOON_PERCENT) && lasts <= takes * OVERDUE
        };
        self.uses.iter().filter(|(_, this)| is_soon(this)).count()
    }
}

fn percent(of: Duration, percent: u32) -> Duration {
    of * percent / 100
}

fn learn(known: &mut Option<Duration>, seen: Duration) {
    *known = Some(known.map_or(seen, |known| (known * (MEMORY - 1) + seen) / MEMORY));
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::clock::Clock;

    const fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    fn start() -> Instant {
        Clock::system().mono()
    }

    /// A region at this distance that has been used once, so that its times are known.
    fn known(distance: Duration) -> (Line, Instant) {
        let (mut line, now) = (Line::default(), start());
        let place = line.dials(now);
        line.dialled(place, now + distance);
        line.given_back(place, now + 2 * distance);
        (line, now + 2 * distance)
    }

    #[test]
    fn a_region_that_nobody_has_dialled_yet_is_dialled_by_everybody() {
        let (mut line, now) = (Line::default(), start());
        line.dials(now);
        assert_eq!(line.wait(0, now + ms(50)), None);
    }

    #[test]
    fn what_is_given_back_sooner_than_a_dial_is_waited_for_by_one_request_each() {
        let (mut line, now) = known(ms(60));
        line.taken(now);
        line.taken(now + ms(30));
        let wait = Some(ms(105));
        assert_eq!(line.wait(0, now + ms(30)), wait);
        assert_eq!(line.wait(1, now + ms(30)), wait, "the second is as good as a dial");
        assert_eq!(line.wait(2, now + ms(30)), None);
    }

    #[test]
    fn what_has_only_just_been_dialled_is_not_waited_for() {
        let (mut line, now) = known(ms(60));
        let place = line.dials(now);
        assert_eq!(line.wait(0, now + ms(40)), None);
        assert!(line.wait(0, now + ms(60)).is_some());
        line.ended(place);
        assert_eq!(line.wait(0, now + ms(60)), None, "it failed");
    }

    #[test]
    fn what_should_long_be_over_is_not_waited_for() {
        let (mut line, now) = known(ms(60));
        line.taken(now);
        assert!(line.wait(0, now + ms(100)).is_some());
        assert_eq!(line.wait(0, now + ms(121)), None);
    }

    #[test]
    fn a_wait_in_vain_ends_waiting_for_a_while() {
        let (mut line, now) = known(ms(60));
        line.taken(now);
        line.waited_in_vain(now);
        assert_eq!(line.wait(0, now + ms(30)), None);
        line.taken(now + IMPATIENT);
        assert!(line.wait(0, now + IMPATIENT + ms(30)).is_some());
    }

    #[test]
    fn a_region_next_door_is_never_waited_for() {
        let (mut line, now) = known(ms(1));
        line.taken(now);
        assert_eq!(line.wait(0, now + ms(1)), None);
    }

    proptest! {
        #[test]
        fn nobody_waits_where_nothing_is_in_use_nor_for_long(
            steps in prop::collection::vec((0_u8..6, 0_usize..20, 0_u64..200), 0..200),
        ) {
            let (mut line, mut now) = (Line::default(), start());
            for (step, place, pause) in steps {
                now += ms(pause);
                match step {
                    0 => drop(line.dials(now)),
                    1 => drop(line.taken(now)),
                    2 => line.dialled(place, now),
                    3 => line.given_back(place, now),
                    4 => line.ended(place),
                    _ => line.waited_in_vain(now),
                }
                if let Some(wait) = line.wait(place, now) {
                    prop_assert!(line.uses.len() > place, "there is one for each that waits");
                    prop_assert!(wait <= LONGEST_WAIT);
                }
            }
        }
    }
}
