//! Whether a request that finds no idle connection waits for another's. Pure.
//!
//! A fresh connection costs a round trip at least, and two or three with TLS: one that is given back
//! before that is sooner there. A region that has just become the nearest would else be dialled by
//! every request of the first two round trips, half of them for nothing. (Simulated: 1,000 requests a
//! second over 20 ms need 26 connections instead of 45, and no request takes longer.)
//!
//! A connection is of one authority: one that is in use for another is not waited for, and none is where
//! the last one was not given back.

use std::rc::Rc;
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
#[derive(Clone, Debug)]
struct Use {
    authority: Rc<str>,
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
    /// The last use ended, and its connection with it.
    lost: bool,
}

impl Line {
    /// How long a request waits, behind `ahead` others, for a connection that is given back; `None`
    /// where making one is sooner.
    #[must_use]
    pub fn wait(&self, authority: &str, ahead: usize, now: Instant) -> Option<Duration> {
        let dial = self.dial.filter(|dial| *dial >= WORTH_WAITING)?;
        let impatient = |at: Instant| now.saturating_duration_since(at) < IMPATIENT;
        if self.lost || self.in_vain.is_some_and(impatient) || self.soon(authority, dial, now) <= ahead {
            return None;
        }
        Some(percent(dial, WAIT_PERCENT).min(LONGEST_WAIT))
    }

    /// A connection to `authority` is being made: the place by which its end is told.
    pub fn dials(&mut self, authority: Rc<str>, now: Instant) -> usize {
        self.uses.insert(Use { authority, since: now, dialling: true })
    }

    /// It was made, and is in use from now on.
    pub fn dialled(&mut self, place: usize, now: Instant) {
        let Some(this) = self.uses.get_mut(place).filter(|this| this.dialling) else { return };
        learn(&mut self.dial, now.saturating_duration_since(this.since));
        (this.since, this.dialling) = (now, false);
    }

    /// An idle connection is in use from now on.
    pub fn taken(&mut self, authority: Rc<str>, now: Instant) -> usize {
        self.uses.insert(Use { authority, since: now, dialling: false })
    }

    /// A use has ended, with the connection given back as good as it was.
    pub fn given_back(&mut self, place: usize, now: Instant) {
        if let Some(this) = self.uses.try_remove(place) {
            learn(&mut self.hold, now.saturating_duration_since(this.since));
            self.lost = false;
        }
    }

    /// A use, or the making of a connection, has ended, and there is nothing to give back.
    pub fn ended(&mut self, place: usize) {
        if let Some(this) = self.uses.try_remove(place) {
            self.lost |= !this.dialling;
        }
    }

    /// Somebody waited as long as advised, and nothing was given back.
    pub fn waited_in_vain(&mut self, now: Instant) {
        self.in_vain = Some(now);
    }

    /// How many are likely to be given back about as soon as a fresh one would be there.
    fn soon(&self, authority: &str, dial: Duration, now: Instant) -> usize {
        let hold = self.hold.unwrap_or(dial);
        let is_soon = |this: &Use| {
            let takes = if this.dialling { dial + hold } else { hold };
            let lasts = now.saturating_duration_since(this.since);
            takes <= lasts + percent(dial, SOON_PERCENT) && lasts <= takes * OVERDUE
        };
        self.uses.iter().filter(|(_, this)| *this.authority == *authority && is_soon(this)).count()
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

    const HOST: &str = "photos.store.test";

    const fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    fn start() -> Instant {
        Clock::system().mono()
    }

    /// A region at this distance that has been used once, so that its times are known.
    fn known(distance: Duration) -> (Line, Instant) {
        let (mut line, now) = (Line::default(), start());
        let place = line.dials(HOST.into(), now);
        line.dialled(place, now + distance);
        line.given_back(place, now + 2 * distance);
        (line, now + 2 * distance)
    }

    #[test]
    fn a_region_that_nobody_has_dialled_yet_is_dialled_by_everybody() {
        let (mut line, now) = (Line::default(), start());
        line.dials(HOST.into(), now);
        assert_eq!(line.wait(HOST, 0, now + ms(50)), None);
    }

    #[test]
    fn what_is_given_back_sooner_than_a_dial_is_waited_for_by_one_request_each() {
        let (mut line, now) = known(ms(60));
        line.taken(HOST.into(), now);
        line.taken(HOST.into(), now + ms(30));
        let wait = Some(ms(105));
        assert_eq!(line.wait(HOST, 0, now + ms(30)), wait);
        assert_eq!(line.wait(HOST, 1, now + ms(30)), wait, "the second is as good as a dial");
        assert_eq!(line.wait(HOST, 2, now + ms(30)), None);
    }

    #[test]
    fn what_has_only_just_been_dialled_is_not_waited_for() {
        let (mut line, now) = known(ms(60));
        let place = line.dials(HOST.into(), now);
        assert_eq!(line.wait(HOST, 0, now + ms(40)), None);
        assert!(line.wait(HOST, 0, now + ms(60)).is_some());
        line.ended(place);
        assert_eq!(line.wait(HOST, 0, now + ms(60)), None, "it failed");
    }

    #[test]
    fn what_should_long_be_over_is_not_waited_for() {
        let (mut line, now) = known(ms(60));
        line.taken(HOST.into(), now);
        assert!(line.wait(HOST, 0, now + ms(100)).is_some());
        assert_eq!(line.wait(HOST, 0, now + ms(121)), None);
    }

    #[test]
    fn what_is_in_use_for_another_authority_is_not_waited_for() {
        let (mut line, now) = known(ms(60));
        line.taken("films.store.test".into(), now);
        assert_eq!(line.wait(HOST, 0, now + ms(30)), None);
        assert!(line.wait("films.store.test", 0, now + ms(30)).is_some());
    }

    #[test]
    fn where_connections_end_with_their_use_none_is_waited_for() {
        let (mut line, now) = known(ms(60));
        let (closed, kept) = (line.taken(HOST.into(), now), line.taken(HOST.into(), now));
        line.ended(closed);
        assert_eq!(line.wait(HOST, 0, now + ms(30)), None);
        line.given_back(kept, now + ms(30));
        line.taken(HOST.into(), now + ms(30));
        assert!(line.wait(HOST, 0, now + ms(60)).is_some());
    }

    #[test]
    fn a_wait_in_vain_ends_waiting_for_a_while() {
        let (mut line, now) = known(ms(60));
        line.taken(HOST.into(), now);
        line.waited_in_vain(now);
        assert_eq!(line.wait(HOST, 0, now + ms(30)), None);
        line.taken(HOST.into(), now + IMPATIENT);
        assert!(line.wait(HOST, 0, now + IMPATIENT + ms(30)).is_some());
    }

    #[test]
    fn a_region_next_door_is_never_waited_for() {
        let (mut line, now) = known(ms(1));
        line.taken(HOST.into(), now);
        assert_eq!(line.wait(HOST, 0, now + ms(1)), None);
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
                    0 => drop(line.dials(HOST.into(), now)),
                    1 => drop(line.taken(HOST.into(), now)),
                    2 => line.dialled(place, now),
                    3 => line.given_back(place, now),
                    4 => line.ended(place),
                    _ => line.waited_in_vain(now),
                }
                if let Some(wait) = line.wait(HOST, place, now) {
                    prop_assert!(line.uses.len() > place, "there is one for each that waits");
                    prop_assert!(wait <= LONGEST_WAIT);
                }
            }
        }
    }
}
