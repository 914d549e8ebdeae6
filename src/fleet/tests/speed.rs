//! Regions that become slow, and regions that ask for less.

use super::*;

const AP: &str = "ap";

impl Rig {
    fn is_slow(&self, region: &str) -> bool {
        self.fleet.table(self.now).row(&region.into()).unwrap().slow
    }

    fn nearest(&self) -> String {
        self.fleet.table(self.now).nearest().next().unwrap().to_string()
    }

    /// A tenth of a second of life: probes of all, once a second, and reads of one.
    fn live(&mut self, took: &[(&str, u64)], busy: Option<&str>) {
        let whole = self.now.duration_since(self.start).as_millis() % 1_000 < 100;
        for (region, millis) in took {
            if busy == Some(*region) {
                for key in 0..10 {
                    let ttfb = Some(Duration::from_millis(*millis));
                    self.request(region, Kind::Read, key, Signal::Answered { ttfb });
                }
            } else if whole {
                self.probe(region, Ok(*millis));
            }
        }
        self.wait(100);
    }

    /// Lives so for some seconds.
    fn live_for(&mut self, seconds: u64, took: &[(&str, u64)], busy: Option<&str>) {
        for _ in 0..seconds * 10 {
            self.live(took, busy);
        }
    }

    /// Lives so until the region is slow, or is not; how long that took.
    fn live_until(&mut self, slow: bool, region: &str, took: &[(&str, u64)], busy: Option<&str>) -> Duration {
        let began = self.now;
        while self.is_slow(region) != slow {
            self.live(took, busy);
            assert!(self.now - began < Duration::from_mins(20), "never slow: {slow}");
        }
        self.now - began
    }

    fn turns(&self) -> usize {
        self.seen.iter().filter(|change| change.subject == Subject::Speed).count()
    }
}

const WELL: [(&str, u64); 2] = [(EU, 5), (US, 20)];
const SLOW: [(&str, u64); 2] = [(EU, 305), (US, 20)];

#[test]
fn a_region_that_becomes_slow_is_ranked_behind_within_ten_seconds_and_back_within_a_minute() {
    for busy in [Some(EU), None] {
        let mut rig = Rig::healthy(&[EU, US]);
        rig.live_for(30, &WELL, busy);
        let away = rig.live_until(true, EU, &SLOW, busy);
        assert!(away < Duration::from_secs(10), "{busy:?}: {away:?}");
        // its traffic is elsewhere now
        rig.live_for(30, &SLOW, busy.and(Some(US)));
        assert!(rig.is_slow(EU));
        // what it answers to writes does not say that it is quick: it is probed all the same
        assert_eq!(rig.fleet.probe_interval(&EU.into()), Pace::Fast(Duration::from_secs(1)));
        let back = rig.live_until(false, EU, &WELL, busy.and(Some(US)));
        assert!(back < Duration::from_mins(1), "{busy:?}: {back:?}");
        assert_eq!(rig.fleet.probe_interval(&EU.into()), Pace::Normal);
        rig.live_for(120, &WELL, busy);
        assert_eq!(rig.turns(), 2, "one switch each way: {:?}", rig.seen);
        assert_eq!(rig.nearest(), EU);
        let moved = rig.seen.iter().filter(|change| change.subject == Subject::Nearest).count();
        assert_eq!(moved, 0, "being slow is enough to be ranked behind");
    }
}

#[test]
fn only_some_slow_answers_are_a_slow_region_too() {
    let mut rig = Rig::healthy(&[EU, US]);
    rig.live_for(30, &WELL, Some(EU));
    let began = rig.now;
    let mut n = 0;
    while !rig.is_slow(EU) {
        for _ in 0..10 {
            n += 1;
            let ttfb = Some(Duration::from_millis(if n % 4 == 0 { 230 } else { 5 }));
            rig.request(EU, Kind::Read, n, Signal::Answered { ttfb });
        }
        rig.live(&[(US, 20)], None);
        assert!(rig.now - began < Duration::from_secs(15), "a path that loses a fifth of its packets");
    }
}

#[test]
fn a_lossy_path_is_left_within_half_a_second_of_its_first_slow_answers_and_a_pause_is_sat_out() {
    // of a hundred requests a second every third is slow; or, once, all of 300 ms are
    for (lossy, limit) in [(true, 500), (false, 3_000)] {
        let mut rig = Rig::healthy(&[EU, US]);
        rig.live_for(30, &WELL, Some(EU));
        let began = rig.now;
        while !rig.is_slow(EU) && rig.now - began < Duration::from_millis(limit) {
            let n = u64::try_from((rig.now - began).as_millis() / 10).unwrap();
            let slow = if lossy { n.is_multiple_of(3) } else { n < 30 };
            let ttfb = Some(Duration::from_millis(if slow { 230 } else { 5 }));
            rig.request(EU, Kind::Read, n, Signal::Answered { ttfb });
            if n.is_multiple_of(100) {
                rig.probe(US, Ok(20));
            }
            rig.wait(10);
        }
        assert_eq!(rig.is_slow(EU), lossy, "{:?}", rig.now - began);
    }
}

#[test]
fn a_region_is_not_slow_that_was_always_so_or_is_only_a_little_slower() {
    for now in [&[(EU, 5), (US, 300)][..], &[(EU, 90), (US, 20)], &[(EU, 5), (US, 110)]] {
        let mut rig = Rig::healthy(&[EU, US]);
        rig.live_for(5, &[(EU, 5), (US, now[1].1.max(20))], None);
        rig.live_for(60, now, None);
        assert_eq!(rig.turns(), 0, "{now:?}: {:?}", rig.seen);
    }
}

#[test]
fn nobody_is_slow_where_all_are_or_where_there_is_no_other() {
    let mut rig = Rig::healthy(&[EU, US]);
    rig.live_for(30, &WELL, None);
    rig.live_for(60, &[(EU, 305), (US, 320)], None);
    let mut alone = Rig::healthy(&[EU]);
    alone.live_for(30, &WELL[..1], Some(EU));
    alone.live_for(60, &SLOW[..1], Some(EU));
    assert_eq!((rig.turns(), alone.turns()), (0, 0));
}

#[test]
fn the_last_quick_region_is_no_peer_of_a_dead_one() {
    let mut rig = Rig::healthy(&[EU, US]);
    rig.live_for(30, &WELL, Some(EU));
    for _ in 0..3 {
        rig.refused(US);
    }
    rig.live_for(20, &SLOW[..1], Some(EU));
    assert!(!rig.is_slow(EU), "it is all there is");
}

#[test]
fn where_it_is_the_requests_that_are_slow_the_region_is_not() {
    let mut rig = Rig::healthy(&[EU, US]);
    rig.live_for(30, &WELL, Some(EU));
    rig.live_until(true, EU, &SLOW, Some(EU));
    // elsewhere they are as slow, while probes of both are as quick as ever
    rig.live_until(false, EU, &[(EU, 5), (US, 320)], Some(US));
    rig.live_for(120, &SLOW, Some(EU));
    assert_eq!(rig.turns(), 2, "{:?}", rig.seen);
    assert!(rig.seen.iter().any(|change| change.why == Cause::SlowElsewhereToo));
}

#[test]
fn a_region_whose_probes_are_quick_and_requests_slow_comes_back_ever_more_rarely() {
    let mut rig = Rig::healthy(&[EU, US]);
    rig.live_for(30, &WELL, Some(EU));
    let mut away = Vec::new();
    for _ in 0..3 {
        rig.live_until(true, EU, &SLOW, Some(EU));
        away.push(rig.live_until(false, EU, &WELL, Some(US)).as_secs());
    }
    assert_eq!(away, [20, 40, 80]);
}

#[test]
fn what_stays_slow_is_the_usual_after_a_while() {
    let mut rig = Rig::healthy(&[EU, US]);
    rig.live_for(30, &WELL, None);
    rig.live_until(true, EU, &SLOW, None);
    let away = rig.live_until(false, EU, &SLOW, None);
    assert!((Duration::from_mins(2)..Duration::from_mins(15)).contains(&away), "{away:?}");
    assert_eq!(rig.seen.iter().filter(|change| change.subject == Subject::Speed).count(), 2);
}

#[test]
fn a_region_that_asks_for_less_is_given_a_rate_and_serves_on() {
    let mut rig = Rig::healthy(&[EU, US, AP]);
    for key in 0..200 {
        let signal = if key < 100 { Signal::Answered { ttfb: None } } else { Signal::Throttled };
        rig.request(EU, Kind::Read, key, signal);
        rig.wait(5);
    }
    let rate = rig.fleet.table(rig.now).row(&EU.into()).unwrap().rate.unwrap();
    assert!((60.0..150.0).contains(&rate.limit), "{rate:?}");
    assert!(!rate.has_room());
    assert_eq!(rig.standing(EU), Standing::Healthy);
    assert_eq!(rig.fleet.table(rig.now).row(&US.into()).unwrap().rate, None);
    rig.wait(61_000);
    assert_eq!(rig.fleet.table(rig.now).row(&EU.into()).unwrap().rate, None);
}
