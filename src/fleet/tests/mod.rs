#![expect(clippy::disallowed_methods, reason = "tests need some instant to count from")]

mod doubt;
mod speed;

use super::*;

const EU: &str = "eu";
const US: &str = "us";

/// A fleet on a clock of its own.
struct Rig {
    fleet: Fleet,
    start: Instant,
    now: Instant,
    coin: Coin,
    seen: Vec<Transition>,
}

impl Rig {
    fn new(regions: &[&str]) -> Self {
        let now = Instant::now();
        let ids: Vec<RegionId> = regions.iter().map(|name| RegionId::new(name)).collect();
        let settings = FleetSettings { ejection_jitter: 0.0, ..FleetSettings::default() };
        Self {
            fleet: Fleet::new(settings, &ids, now),
            start: now,
            now,
            coin: Coin::seeded(1),
            seen: Vec::new(),
        }
    }

    /// With every region healthy.
    fn healthy(regions: &[&str]) -> Self {
        let mut rig = Self::new(regions);
        for region in regions {
            rig.probe(region, Ok(10));
        }
        rig.seen.clear();
        rig
    }

    fn apply(&mut self, event: Event) {
        let transitions = self.fleet.apply(event, self.now, &mut self.coin);
        self.seen.extend(transitions);
    }

    fn probe(&mut self, region: &str, alive: Result<u64, Never>) {
        let alive = alive.map(Duration::from_millis).map_err(ProbeFault::Never);
        self.apply(Event::Probed { region: region.into(), alive });
    }

    fn request(&mut self, region: &str, kind: Kind, key_hash: u64, signal: Signal) {
        self.told(region, kind, key_hash, signal, self.now);
    }

    /// A request that ended at `at` and is told of now.
    fn told(&mut self, region: &str, kind: Kind, key_hash: u64, signal: Signal, at: Instant) {
        let class = if kind == Kind::Read { Class::Get } else { Class::Put };
        self.apply(Event::Answered { region: region.into(), kind, class, key_hash, signal, at, count: 1 });
    }

    fn fine(&mut self, region: &str) {
        self.request(region, Kind::Read, 0, Signal::Answered { ttfb: Some(Duration::from_millis(12)) });
    }

    fn refused(&mut self, region: &str) {
        self.request(region, Kind::Read, 0, Signal::NeverAnswered(Never::Refused));
    }

    fn error(&mut self, region: &str, key_hash: u64) {
        self.request(region, Kind::Read, key_hash, Signal::ServerError(500));
    }

    fn wait(&mut self, millis: u64) {
        self.now += Duration::from_millis(millis);
        let transitions = self.fleet.tick(self.now);
        self.seen.extend(transitions);
    }

    fn standing(&self, region: &str) -> Standing {
        self.fleet.table(self.now).standing(&region.into(), Kind::Read)
    }

    fn writes(&self, region: &str) -> Standing {
        self.fleet.table(self.now).standing(&region.into(), Kind::Write)
    }

    /// Whether a prober that knows the table of a calm fleet is to be told something now.
    fn in_doubt(&self) -> bool {
        self.fleet.hurries_beyond(&Self::healthy(&[EU, US]).fleet.table(self.now))
    }

    /// Out by refused connections, while `US` serves.
    fn ejected() -> Self {
        let mut rig = Self::healthy(&[EU, US]);
        for _ in 0..3 {
            rig.refused(EU);
        }
        assert_eq!(rig.standing(EU), Standing::Out);
        rig
    }

    /// Back for trials after the first ejection.
    fn in_probation() -> Self {
        let mut rig = Self::ejected();
        rig.wait(2_000);
        for _ in 0..5 {
            rig.probe(EU, Ok(10));
        }
        assert_eq!(rig.standing(EU), Standing::Probation);
        rig
    }
}

#[test]
fn nobody_is_judged_before_being_heard() {
    let rig = Rig::new(&[EU, US]);
    assert_eq!(rig.standing(EU), Standing::Unknown);
    assert_eq!(rig.standing("nowhere"), Standing::Unknown);
    assert_eq!(rig.fleet.probe_interval(&EU.into()), Pace::Fast(Duration::from_millis(250)));
}

#[test]
fn the_first_answer_makes_healthy() {
    let mut rig = Rig::new(&[EU, US]);
    rig.probe(EU, Ok(10));
    rig.fine(US);
    assert_eq!((rig.standing(EU), rig.writes(EU)), (Standing::Healthy, Standing::Healthy));
    assert_eq!((rig.standing(US), rig.writes(US)), (Standing::Healthy, Standing::Unknown));
    assert!(rig.seen.iter().all(|transition| transition.why == Cause::FirstAnswer));
}

#[test]
fn three_refused_connections_eject_for_both_kinds() {
    let mut rig = Rig::healthy(&[EU, US]);
    rig.refused(EU);
    assert_eq!(rig.standing(EU), Standing::Healthy);
    rig.refused(EU);
    assert_eq!(rig.standing(EU), Standing::Suspect);
    rig.wait(15);
    rig.refused(EU);
    assert_eq!((rig.standing(EU), rig.writes(EU)), (Standing::Out, Standing::Out));
    assert_eq!(rig.seen.last().unwrap().why, Cause::NeverAnswered(3, Never::Refused));
}

#[test]
fn one_unanswered_request_has_the_region_probed_at_once_until_a_probe_settles_it() {
    let at_once = Pace::Fast(Duration::from_millis(10));
    let mut rig = Rig::healthy(&[EU, US]);
    rig.wait(300);
    rig.refused(EU);
    assert!(rig.in_doubt());
    assert_eq!(rig.fleet.probe_interval(&EU.into()), at_once);
    assert_eq!(rig.fleet.probe_interval(&US.into()), Pace::Normal);
    let mut killed = rig;
    for _ in 0..3 {
        killed.wait(10);
        assert_eq!(killed.fleet.probe_interval(&EU.into()), at_once);
        killed.probe(EU, Err(Never::Refused));
    }
    assert_eq!((killed.standing(EU), killed.writes(EU)), (Standing::Out, Standing::Out));
    assert!(!killed.in_doubt(), "there is nothing left to find out in a hurry");
    // one dead address of many: the probe passes, and that was all
    let mut rig = Rig::healthy(&[EU, US]);
    rig.wait(300);
    rig.refused(EU);
    rig.wait(10);
    rig.probe(EU, Ok(10));
    assert!(!rig.in_doubt());
    assert_eq!(rig.fleet.probe_interval(&EU.into()), Pace::Normal);
    assert!(rig.seen.is_empty());
    // nor is there a doubt where the store answers, be it with errors
    rig.error(EU, 1);
    assert!(!rig.in_doubt());
    rig.request(EU, Kind::Read, 1, Signal::NeverAnswered(Never::Reset));
    assert!(rig.in_doubt());
    rig.fine(EU);
    assert!(!rig.in_doubt());
}

#[test]
fn a_second_region_in_doubt_is_news_beside_the_first() {
    let mut rig = Rig::healthy(&[EU, US]);
    rig.wait(300);
    rig.refused(EU);
    let table = rig.fleet.table(rig.now);
    assert!(!rig.fleet.hurries_beyond(&table), "that is said");
    rig.refused(US);
    assert!(rig.fleet.hurries_beyond(&table));
}

#[test]
fn what_another_worker_saw_before_and_tells_late_does_not_break_the_row() {
    let fine = Signal::Answered { ttfb: Some(Duration::from_millis(12)) };
    let mut rig = Rig::healthy(&[EU, US]);
    let before = rig.now;
    for _ in 0..3 {
        rig.wait(1);
        rig.refused(EU);
        rig.told(EU, Kind::Read, 0, fine, before);
        rig.told(EU, Kind::Write, 0, fine, before);
    }
    assert_eq!((rig.standing(EU), rig.writes(EU)), (Standing::Out, Standing::Out));
    // nor does it bring the region back, or count as a trial
    rig.told(EU, Kind::Read, 0, fine, before);
    assert_eq!(rig.standing(EU), Standing::Out);
    let mut rig = Rig::in_probation();
    for _ in 0..10 {
        rig.told(EU, Kind::Read, 0, fine, before);
    }
    assert_eq!(rig.standing(EU), Standing::Probation);
}

#[test]
fn an_answer_in_between_breaks_the_row() {
    let mut rig = Rig::healthy(&[EU, US]);
    for _ in 0..10 {
        rig.refused(EU);
        rig.refused(EU);
        for _ in 0..20 {
            rig.fine(EU);
        }
        rig.wait(500);
    }
    assert_ne!(rig.standing(EU), Standing::Out);
    assert_ne!(rig.writes(EU), Standing::Out, "reads that are answered prove the connection");
}

#[test]
fn a_write_that_is_answered_proves_the_connection_for_reads_too() {
    let mut rig = Rig::healthy(&[EU, US]);
    for _ in 0..10 {
        rig.refused(EU);
        rig.refused(EU);
        rig.request(EU, Kind::Write, 1, Signal::Answered { ttfb: None });
    }
    let in_a_row = |transition: &Transition| matches!(transition.why, Cause::NeverAnswered(3.., _));
    assert!(!rig.seen.iter().any(in_a_row));
}

#[test]
fn failures_far_apart_are_no_row() {
    let mut rig = Rig::healthy(&[EU, US]);
    for _ in 0..10 {
        rig.refused(EU);
        rig.wait(11_000);
    }
    assert_eq!(rig.standing(EU), Standing::Healthy);
    assert!(rig.seen.is_empty());
}

#[test]
fn one_request_that_kills_connections_ejects_nobody() {
    let mut rig = Rig::healthy(&[EU, US]);
    for _ in 0..100 {
        rig.request(EU, Kind::Read, 7, Signal::NeverAnswered(Never::Reset));
    }
    assert_ne!(rig.standing(EU), Standing::Out);
    rig.request(EU, Kind::Read, 8, Signal::NeverAnswered(Never::Reset));
    assert_eq!(rig.standing(EU), Standing::Out);
}

#[test]
fn a_region_that_answers_reads_only_is_out_for_writes_only() {
    let mut rig = Rig::healthy(&[EU, US]);
    for key in 0..5 {
        rig.fine(EU);
        rig.request(EU, Kind::Write, key, Signal::ServerError(507));
    }
    assert_eq!((rig.standing(EU), rig.writes(EU)), (Standing::Healthy, Standing::Out));
}

#[test]
fn five_server_errors_of_different_keys_eject() {
    let mut rig = Rig::healthy(&[EU, US]);
    for key in 0..4 {
        rig.error(EU, key);
    }
    assert_eq!(rig.standing(EU), Standing::Suspect);
    rig.error(EU, 4);
    assert_eq!(rig.standing(EU), Standing::Out);
    assert_eq!(rig.seen.last().unwrap().why, Cause::ServerErrors(5, 500));
}

#[test]
fn a_region_out_for_its_errors_can_be_asked_until_it_leaves_something_unanswered() {
    let errs = |rig: &Rig| rig.fleet.table(rig.now).row(&EU.into()).unwrap().reads.errs;
    let out_for_errors = || {
        let mut rig = Rig::healthy(&[EU, US]);
        assert!(!errs(&rig), "it serves");
        for key in 0..5 {
            rig.error(EU, key);
        }
        assert_eq!(rig.standing(EU), Standing::Out);
        assert!(errs(&rig));
        rig
    };
    let mut rig = out_for_errors();
    rig.error(EU, 9);
    rig.apply(Event::Probed { region: EU.into(), alive: Err(ProbeFault::ServerError(503)) });
    assert!(errs(&rig), "an error is an answer");
    rig.request(EU, Kind::Read, 9, Signal::NeverAnswered(Never::FirstByteTimeout));
    assert!(!errs(&rig));
    let mut rig = out_for_errors();
    rig.probe(EU, Err(Never::FirstByteTimeout));
    assert!(!errs(&rig));
    assert!(!errs(&Rig::ejected()), "it was never one that answers");
}

#[test]
fn a_region_that_went_out_again_and_again_can_be_asked_as_soon_as_a_probe_passes() {
    let risen = |rig: &Rig| rig.fleet.table(rig.now).row(&EU.into()).unwrap().writes.risen;
    let mut rig = Rig::ejected();
    for _ in 0..4 {
        assert!(!risen(&rig), "nothing has passed");
        rig.probe(EU, Err(Never::Refused));
        rig.wait(1_000);
        rig.probe(EU, Ok(10));
        assert_eq!(rig.writes(EU), Standing::Out, "one probe re-admits nobody");
        assert!(risen(&rig));
        rig.probe(EU, Err(Never::Refused));
        assert!(!risen(&rig), "the last probe counts");
    }
    // where requests went unanswered and no probe ever failed, a passing one is no news
    let mut rig = Rig::healthy(&[EU, US]);
    for key in 0..3 {
        rig.request(EU, Kind::Write, key, Signal::NeverAnswered(Never::FirstByteTimeout));
    }
    assert_eq!(rig.writes(EU), Standing::Out);
    rig.probe(EU, Ok(10));
    assert!(!risen(&rig));
}

#[test]
fn a_region_that_is_out_for_one_kind_and_fails_its_probe_is_asked_again_at_once() {
    let pace = |rig: &Rig| rig.fleet.table(rig.now).row(&EU.into()).unwrap().pace;
    let mut rig = Rig::healthy(&[EU, US]);
    rig.probe(EU, Err(Never::Refused));
    for key in 0..3 {
        rig.request(EU, Kind::Read, key, Signal::NeverAnswered(Never::FirstByteTimeout));
    }
    assert_eq!((rig.standing(EU), rig.writes(EU)), (Standing::Out, Standing::Suspect));
    assert_eq!(pace(&rig), Pace::Fast(Duration::from_millis(10)));
    for _ in 0..2 {
        rig.probe(EU, Err(Never::Refused));
    }
    assert_eq!(rig.writes(EU), Standing::Out);
    assert_ne!(pace(&rig), Pace::Fast(Duration::from_millis(10)), "it is known to be dead");
}

#[test]
fn one_poisonous_key_ejects_nobody() {
    let mut rig = Rig::healthy(&[EU, US]);
    for n in 0..300 {
        rig.error(EU, 7);
        if n % 20 == 0 {
            rig.error(EU, n);
        }
        if n % 2 == 0 {
            rig.fine(EU);
        }
        rig.wait(20);
    }
    assert_ne!(rig.standing(EU), Standing::Out);
    assert!(rig.seen.iter().all(|transition| transition.to != Standing::Out));
}

#[test]
fn two_keys_that_alternate_are_an_outage() {
    let mut rig = Rig::healthy(&[EU, US]);
    for n in 0..6 {
        rig.error(EU, n % 2);
    }
    assert_eq!(rig.standing(EU), Standing::Out);
}

#[test]
fn a_quarter_failing_ejects_by_share() {
    let mut rig = Rig::healthy(&[EU, US]);
    for n in 0..20 {
        if n % 4 == 0 {
            rig.error(EU, n);
        } else {
            rig.fine(EU);
        }
        rig.wait(100);
    }
    assert_eq!(rig.standing(EU), Standing::Healthy, "the last sample was no failure");
    rig.error(EU, 20);
    assert_eq!(rig.standing(EU), Standing::Out);
    assert_eq!(rig.seen.last().unwrap().why, Cause::LowSuccess(15, 21));
}

#[test]
fn a_good_past_shields_nobody_for_longer_than_three_seconds() {
    let mut rig = Rig::healthy(&[EU, US]);
    let tick = |rig: &mut Rig, n: u64, failing: bool| {
        if failing && n.is_multiple_of(3) {
            rig.error(EU, n);
        } else {
            rig.fine(EU);
        }
        rig.wait(10);
    };
    for n in 0..1_000 {
        tick(&mut rig, n, false);
    }
    let failed = (0..).take_while(|n| {
        tick(&mut rig, *n, true);
        rig.standing(EU) != Standing::Out
    });
    let failed = failed.count();
    assert!((100..=300).contains(&failed), "out after {failed} requests of 100 a second");
    assert!(matches!(rig.seen.last().unwrap().why, Cause::LowSuccess(..)));
}

#[test]
fn a_tenth_failing_does_not() {
    let mut rig = Rig::healthy(&[EU, US]);
    for n in 0..1_000 {
        if n % 10 == 0 {
            rig.error(EU, n);
        } else {
            rig.fine(EU);
        }
        rig.wait(10);
    }
    assert_eq!(rig.standing(EU), Standing::Healthy);
}

#[test]
fn throttling_never_ejects() {
    let mut rig = Rig::healthy(&[EU, US]);
    for key in 0..1_000 {
        rig.request(EU, Kind::Read, key, Signal::Throttled);
    }
    assert_eq!(rig.standing(EU), Standing::Healthy);
    assert!(rig.seen.is_empty());
}

#[test]
fn silence_is_noticed_within_three_seconds() {
    let mut rig = Rig::healthy(&[EU, US]);
    let start = rig.now;
    // it falls silent right after a probe passed; the next ones time out after 500 ms each
    rig.wait(1_000);
    while rig.standing(EU) != Standing::Out {
        rig.wait(500);
        rig.probe(EU, Err(Never::FirstByteTimeout));
        if let Pace::Fast(pause) = rig.fleet.probe_interval(&EU.into()) {
            rig.wait(u64::try_from(pause.as_millis()).unwrap());
        }
    }
    assert!(rig.now - start <= Duration::from_secs(3), "{:?}", rig.now - start);
    assert_eq!(rig.writes(EU), Standing::Out);
}

#[test]
fn a_suspicion_that_comes_to_nothing_is_cleared_after_five_seconds() {
    let mut rig = Rig::healthy(&[EU, US]);
    rig.probe(EU, Err(Never::FirstByteTimeout));
    assert_eq!(rig.standing(EU), Standing::Suspect);
    rig.wait(250);
    rig.probe(EU, Ok(10));
    assert_eq!(rig.standing(EU), Standing::Suspect);
    assert_eq!(rig.fleet.next_tick().map(|at| at <= rig.now + Duration::from_millis(4_750)), Some(true));
    rig.wait(4_749);
    assert_eq!(rig.standing(EU), Standing::Suspect);
    rig.wait(1);
    assert_eq!(rig.standing(EU), Standing::Healthy);
}

#[test]
fn a_passing_probe_does_not_contradict_requests() {
    let mut rig = Rig::ejected();
    for _ in 0..40 {
        rig.wait(49);
        rig.probe(EU, Ok(10));
    }
    assert_eq!(rig.standing(EU), Standing::Out, "the ejection is not over");
    rig.wait(40);
    assert_eq!(rig.standing(EU), Standing::Probation);
    for _ in 0..100 {
        rig.wait(1_000);
        rig.probe(EU, Ok(10));
    }
    assert_eq!(rig.standing(EU), Standing::Probation, "probes alone never end a probation");
}

#[test]
fn five_probes_must_pass_in_a_row() {
    let mut rig = Rig::ejected();
    rig.wait(10_000);
    for _ in 0..10 {
        for _ in 0..4 {
            rig.probe(EU, Ok(10));
        }
        rig.probe(EU, Err(Never::Refused));
    }
    assert_eq!(rig.standing(EU), Standing::Out);
}

#[test]
fn three_trials_end_a_probation() {
    let mut rig = Rig::in_probation();
    rig.fine(EU);
    rig.fine(EU);
    assert_eq!(rig.standing(EU), Standing::Probation);
    rig.fine(EU);
    assert_eq!(rig.standing(EU), Standing::Healthy);
    assert_eq!(rig.writes(EU), Standing::Probation, "reads prove nothing about writes");
}

#[test]
fn a_failed_trial_ejects_for_twice_as_long() {
    let mut rig = Rig::in_probation();
    rig.fine(EU);
    rig.refused(EU);
    assert_eq!(rig.standing(EU), Standing::Out);
    assert_eq!(rig.seen.last().unwrap().why, Cause::TrialFailed);
    for _ in 0..5 {
        rig.probe(EU, Ok(10));
    }
    rig.wait(3_999);
    assert_eq!(rig.standing(EU), Standing::Out);
    rig.wait(1);
    assert_eq!(rig.standing(EU), Standing::Probation);
}

#[test]
fn one_poisonous_key_does_not_fail_a_trial() {
    let mut rig = Rig::in_probation();
    for _ in 0..10 {
        rig.error(EU, 7);
    }
    assert_eq!(rig.standing(EU), Standing::Probation);
    rig.error(EU, 8);
    rig.error(EU, 9);
    assert_eq!(rig.standing(EU), Standing::Out);
}

#[test]
fn ejections_end_within_their_cap() {
    let mut rig = Rig::in_probation();
    for _ in 0..12 {
        rig.refused(EU);
        assert_eq!(rig.standing(EU), Standing::Out);
        rig.wait(60_000);
        for _ in 0..5 {
            rig.probe(EU, Ok(10));
        }
        assert_eq!(rig.standing(EU), Standing::Probation);
    }
}

#[test]
fn failback_is_held_down_longer_with_each_flap() {
    let mut rig = Rig::healthy(&[EU, US]);
    let mut holds = Vec::new();
    for _ in 0..3 {
        let out_at = rig.now;
        for _ in 0..3 {
            rig.refused(EU);
        }
        let held = rig.fleet.table(rig.now).row(&EU.into()).unwrap().reads.held_until.unwrap();
        holds.push((held - out_at).as_secs());
        rig.wait(60_000);
        for _ in 0..5 {
            rig.probe(EU, Ok(10));
        }
        for _ in 0..3 {
            rig.fine(EU);
        }
        assert_eq!(rig.standing(EU), Standing::Healthy);
    }
    assert_eq!(holds, [30, 60, 120]);
}

#[test]
fn a_region_that_is_down_every_other_five_seconds_is_left_alone() {
    let mut rig = Rig::healthy(&[EU, US]);
    let seconds = 300;
    for quarter in 0..4 * (seconds + 60) {
        let down = quarter < 4 * seconds && (quarter / 20) % 2 == 0;
        if rig.standing(EU) != Standing::Out && !down {
            rig.fine(EU);
        }
        rig.fine(US);
        rig.probe(EU, if down { Err(Never::FirstByteTimeout) } else { Ok(10) });
        rig.wait(250);
    }
    let mut served = true;
    let mut changes = 0;
    for transition in rig.seen.iter().filter(|seen| seen.subject == Subject::Kind(Kind::Read)) {
        let serves = transition.to.is_serving();
        changes += u32::from(serves != served);
        served = serves;
    }
    assert!(changes <= 4, "{changes}: {:?}", rig.seen);
    assert_eq!(rig.standing(EU), Standing::Healthy, "it has been well for a minute");
}

#[test]
fn an_outage_is_remembered_for_ten_minutes_unless_all_failed() {
    let flapped = |rig: &Rig| rig.fleet.table(rig.now).row(&EU.into()).unwrap().reads.flapped;
    assert!(!flapped(&Rig::healthy(&[EU, US])));
    let mut rig = Rig::in_probation();
    assert!(flapped(&rig));
    (0..3).for_each(|_| rig.fine(EU));
    assert!(flapped(&rig), "it is back, and may go again");
    let patience = |rig: &Rig| rig.fleet.table(rig.now).row(&EU.into()).unwrap().patience_of(Class::Get);
    assert_eq!(patience(&rig), Duration::from_secs(1), "and is then not waited for as long as a stranger");
    rig.wait(600_001);
    assert!(!flapped(&rig));
    assert_eq!(patience(&rig), Duration::from_secs(5));
    let mut rig = Rig::healthy(&[EU]);
    (0..3).for_each(|_| rig.refused(EU));
    assert!(!flapped(&rig), "perhaps it was our own network");
}

#[test]
fn flaps_are_forgotten_after_ten_minutes() {
    let mut rig = Rig::in_probation();
    for _ in 0..3 {
        rig.fine(EU);
    }
    rig.wait(601_000);
    for _ in 0..3 {
        rig.refused(EU);
    }
    let held = rig.fleet.table(rig.now).row(&EU.into()).unwrap().reads.held_until.unwrap();
    assert_eq!(held - rig.now, Duration::from_secs(30));
}

#[test]
fn a_suspicion_that_was_cleared_is_no_return() {
    let held = |rig: &Rig| rig.fleet.table(rig.now).row(&EU.into()).unwrap().reads.held_until.unwrap();
    let mut rig = Rig::in_probation();
    for _ in 0..3 {
        rig.fine(EU);
    }
    assert_eq!(rig.standing(EU), Standing::Healthy);
    let until = held(&rig);
    rig.wait(3_600_000);
    rig.probe(EU, Err(Never::FirstByteTimeout));
    assert_eq!(rig.standing(EU), Standing::Suspect);
    rig.wait(6_000);
    rig.probe(EU, Ok(10));
    assert_eq!(rig.standing(EU), Standing::Healthy);
    assert_eq!(held(&rig), until, "nothing left it meanwhile, and nothing has to come back");
}

#[test]
fn the_only_region_is_back_with_its_first_answer() {
    let mut rig = Rig::healthy(&[EU]);
    for _ in 0..3 {
        rig.refused(EU);
    }
    assert_eq!(rig.standing(EU), Standing::Out);
    assert_eq!(rig.fleet.probe_interval(&EU.into()), Pace::Fast(Duration::from_millis(250)));
    rig.wait(1_000);
    rig.fine(EU);
    assert_eq!(rig.standing(EU), Standing::Healthy);
    assert_eq!(rig.seen.last().unwrap().why, Cause::AnsweredAlone);
}

#[test]
fn even_the_only_region_changes_no_more_than_once_a_second() {
    let mut rig = Rig::healthy(&[EU]);
    for _ in 0..600 {
        rig.refused(EU);
        rig.refused(EU);
        rig.refused(EU);
        rig.probe(EU, Err(Never::Refused));
        rig.wait(5);
        rig.probe(EU, Ok(10));
        rig.fine(EU);
        rig.wait(95);
    }
    let ejections = rig.seen.iter().filter(|change| change.to == Standing::Out).count();
    assert!((2..=2 * 61).contains(&ejections), "{ejections} in a minute, of reads and writes");
}

#[test]
fn without_another_region_one_probe_suffices_to_be_tried() {
    let mut rig = Rig::healthy(&[EU]);
    for _ in 0..3 {
        rig.probe(EU, Err(Never::Refused));
    }
    assert_eq!(rig.standing(EU), Standing::Out);
    rig.wait(1_000);
    rig.probe(EU, Ok(10));
    assert_eq!(rig.standing(EU), Standing::Probation);
    rig.fine(EU);
    assert_eq!(rig.standing(EU), Standing::Healthy);
}

#[test]
fn without_another_region_an_ejection_is_not_waited_for() {
    let mut rig = Rig::healthy(&[EU]);
    for key in 0..5 {
        rig.error(EU, key);
    }
    rig.wait(1_000);
    for _ in 0..4 {
        rig.probe(EU, Ok(10));
    }
    assert_eq!(rig.standing(EU), Standing::Out, "requests said otherwise");
    rig.probe(EU, Ok(10));
    assert_eq!(rig.standing(EU), Standing::Probation);
}

#[test]
fn a_failure_of_all_is_held_against_nobody() {
    let mut rig = Rig::healthy(&[EU, US]);
    for region in [EU, US] {
        for _ in 0..3 {
            rig.refused(region);
        }
    }
    let table = rig.fleet.table(rig.now);
    assert!(table.self_suspect());
    assert_eq!(table.row(&EU.into()).unwrap().reads.held_until, None);
    assert_eq!(table.row(&US.into()).unwrap().reads.held_until, None);
}

#[test]
fn regions_that_went_out_one_by_one_are_to_blame_themselves() {
    let mut rig = Rig::ejected();
    rig.wait(11_000);
    for _ in 0..3 {
        rig.refused(US);
    }
    assert!(!rig.fleet.table(rig.now).self_suspect());
}

#[test]
fn starting_with_every_region_down_and_coming_back() {
    let mut rig = Rig::new(&[EU, US]);
    for _ in 0..3 {
        rig.probe(EU, Err(Never::Refused));
        rig.probe(US, Err(Never::Refused));
        rig.wait(250);
    }
    assert_eq!((rig.standing(EU), rig.standing(US)), (Standing::Out, Standing::Out));
    rig.wait(60_000);
    rig.probe(US, Ok(10));
    assert_eq!(rig.standing(US), Standing::Probation);
    rig.fine(US);
    assert_eq!(rig.standing(US), Standing::Healthy);
}

#[test]
fn a_refused_credential_is_that_credentials_alone() {
    let mut rig = Rig::healthy(&[EU, US]);
    let tenant = CredentialId::Client("tenant".into());
    rig.apply(Event::CredentialJudged { region: EU.into(), credential: tenant.clone(), sound: false });
    let table = rig.fleet.table(rig.now);
    let row = table.row(&EU.into()).unwrap();
    assert_eq!(row.refused_credentials, std::slice::from_ref(&tenant));
    assert_eq!(row.reads.standing, Standing::Healthy);
    assert_eq!(rig.seen.len(), 1);
    rig.apply(Event::CredentialJudged { region: EU.into(), credential: tenant, sound: true });
    assert!(rig.fleet.table(rig.now).row(&EU.into()).unwrap().refused_credentials.is_empty());
}

#[test]
fn a_refusal_is_tried_again_after_a_minute() {
    let mut rig = Rig::healthy(&[EU, US]);
    let photos = AccessPointName::new("photos");
    rig.apply(Event::ConfigurationJudged { region: EU.into(), access_point: photos.clone(), sound: false });
    let refused =
        |rig: &Rig| rig.fleet.table(rig.now).row(&EU.into()).unwrap().refused_configurations.clone();
    rig.wait(59_999);
    assert_eq!(refused(&rig), [photos]);
    rig.wait(1);
    assert!(refused(&rig).is_empty());
    assert_eq!(rig.seen.last().unwrap().why, Cause::RefusalExpired);
}

#[test]
fn the_nearest_comes_first_from_the_first_measurement_on() {
    let mut rig = Rig::new(&[EU, US]);
    rig.probe(EU, Ok(90));
    rig.probe(US, Ok(10));
    rig.wait(500);
    let nearest: Vec<String> = rig.fleet.table(rig.now).nearest().map(ToString::to_string).collect();
    assert_eq!(nearest, [US, EU]);
    assert_eq!(rig.seen.last().unwrap().subject, Subject::Nearest);
}

#[test]
fn a_busy_region_is_compared_with_an_idle_one_by_what_probes_would_take() {
    let mut rig = Rig::new(&[EU, US]);
    for _ in 0..6 {
        rig.probe(EU, Ok(14));
        rig.probe(US, Ok(20));
        rig.wait(1_000);
    }
    // requests to the nearer one take 16 ms longer than its probes, which then cease
    for second in 0..120 {
        for _ in 0..10 {
            let ttfb = Some(Duration::from_millis(30));
            rig.request(EU, Kind::Read, second, Signal::Answered { ttfb });
        }
        rig.probe(US, Ok(20));
        rig.wait(1_000);
    }
    assert_eq!(rig.fleet.table(rig.now).nearest().next(), Some(&RegionId::new(EU)));
}

#[test]
fn a_region_that_becomes_slower_than_the_next_is_left_after_five_seconds() {
    let mut rig = Rig::healthy(&[EU, US]);
    for _ in 0..10 {
        rig.probe(EU, Ok(10));
        rig.probe(US, Ok(20));
        rig.fine(EU);
        rig.wait(500);
    }
    assert_eq!(rig.fleet.table(rig.now).nearest().next(), Some(&RegionId::new(EU)));
    let slow = rig.now;
    while rig.fleet.table(rig.now).nearest().next() == Some(&RegionId::new(EU)) {
        let ttfb = Some(Duration::from_millis(90));
        rig.request(EU, Kind::Read, 1, Signal::Answered { ttfb });
        rig.probe(US, Ok(20));
        rig.wait(100);
        assert!(rig.now - slow < Duration::from_secs(7));
    }
    assert!(rig.now - slow >= Duration::from_secs(5));
}

fn get_quantiles(rig: &Rig, region: &str) -> Option<Quantiles> {
    rig.fleet.table(rig.now).row(&region.into()).unwrap().quantile_of(Class::Get)
}

fn timed(region: &str, times: &[u64], at: Instant) -> Event {
    let times = times.iter().copied().map(Duration::from_millis).collect();
    Event::Timed { region: region.into(), class: Class::Get, times, at }
}

#[test]
fn slow_answers_are_known_although_the_peak_does_not_show_them() {
    let mut rig = Rig::healthy(&[EU, US]);
    for number in 0..200 {
        rig.fine(EU);
        rig.apply(timed(EU, &[if number % 50 == 0 { 800 } else { 12 }], rig.now));
    }
    let table = rig.fleet.table(rig.now);
    let row = table.row(&EU.into()).unwrap();
    assert_eq!(row.latency_of(Class::Get), Some(Duration::from_millis(12)));
    let known = row.quantile_of(Class::Get).unwrap();
    assert!(known.p999 >= Duration::from_millis(800) && known.p95 < Duration::from_millis(20), "{known:?}");
    assert_eq!(row.quantile_of(Class::List), None, "another class");
    assert_eq!(get_quantiles(&rig, US), None, "another region");
    rig.wait(600_000);
    assert_eq!(get_quantiles(&rig, EU), None, "long ago");
}

#[test]
fn a_read_given_up_makes_us_patient_with_a_region_that_lives_and_with_no_other() {
    let waited = Duration::from_millis(500);
    let p999 = |rig: &Rig| get_quantiles(rig, EU).unwrap().p999;
    let given_up = |rig: &Rig| Event::GivenUp { region: EU.into(), class: Class::Get, waited, at: rig.now };
    let mut rig = Rig::healthy(&[EU, US]);
    rig.apply(timed(EU, &[12; 500], rig.now));
    rig.apply(given_up(&rig));
    rig.wait(10);
    assert!(p999(&rig) < waited, "perhaps it hangs");
    rig.apply(timed(EU, &[12], rig.now));
    assert!(p999(&rig) >= waited, "it was only slow");

    let mut rig = Rig::healthy(&[EU, US]);
    rig.apply(timed(EU, &[12; 500], rig.now));
    for key in 0..3 {
        rig.apply(given_up(&rig));
        rig.request(EU, Kind::Read, key, Signal::NeverAnswered(Never::FirstByteTimeout));
    }
    assert_eq!(rig.standing(EU), Standing::Out);
    rig.apply(given_up(&rig));
    rig.wait(10);
    rig.apply(timed(EU, &[12], rig.now));
    assert!(p999(&rig) < waited, "it hung");
}

#[test]
fn a_reload_keeps_what_is_known_of_regions_that_stay() {
    let mut rig = Rig::ejected();
    let regions = vec![RegionId::new("ap"), US.into(), EU.into()];
    rig.apply(Event::Reloaded { regions, renewed: Vec::new(), groups: Vec::new() });
    assert_eq!(rig.standing(EU), Standing::Out);
    assert_eq!(rig.standing(US), Standing::Healthy);
    assert_eq!(rig.standing("ap"), Standing::Unknown);
    rig.apply(Event::Reloaded { regions: vec![EU.into()], renewed: vec![EU.into()], groups: Vec::new() });
    assert_eq!(rig.standing(EU), Standing::Unknown, "its endpoint changed");
    assert_eq!(rig.fleet.table(rig.now).rows().len(), 1);
    rig.fine(US);
    assert_eq!(rig.fleet.table(rig.now).rows().len(), 1, "events about former regions are ignored");
}

#[test]
fn a_region_is_fresh_for_a_second_after_any_answer() {
    let mut rig = Rig::healthy(&[EU, US]);
    let fresh = |rig: &Rig| rig.fleet.table(rig.now).row(&EU.into()).unwrap().is_fresh(rig.now);
    rig.wait(900);
    assert!(fresh(&rig));
    rig.wait(200);
    assert!(!fresh(&rig));
    rig.error(EU, 1);
    assert!(fresh(&rig), "an error is an answer");
    rig.refused(EU);
    rig.refused(EU);
    assert!(!fresh(&rig), "suspect for writes too");
}

#[test]
fn probes_of_a_dead_region_slow_down_and_hurry_when_it_returns() {
    let mut rig = Rig::ejected();
    let pace = |rig: &Rig| rig.fleet.probe_interval(&EU.into());
    assert_eq!(pace(&rig), Pace::Down(Duration::from_secs(2)));
    for _ in 0..10 {
        rig.probe(EU, Err(Never::ConnectTimeout));
    }
    assert_eq!(pace(&rig), Pace::Down(Duration::from_secs(5)));
    rig.probe(EU, Ok(10));
    assert_eq!(pace(&rig), Pace::Fast(Duration::from_millis(250)));
    assert_eq!(rig.fleet.probe_interval(&US.into()), Pace::Normal);
}

#[test]
fn a_trial_is_one_requests_at_a_time() {
    let rig = Rig::in_probation();
    let table = rig.fleet.table(rig.now);
    let later = rig.fleet.table(rig.now);
    let turn = table.row(&EU.into()).unwrap().reads.trial.take();
    assert!(turn.is_some());
    assert!(later.row(&EU.into()).unwrap().reads.trial.take().is_none(), "shared by all tables");
    drop(turn);
    assert!(later.row(&EU.into()).unwrap().reads.trial.take().is_some());
}

#[test]
fn a_tick_that_was_asked_for_is_never_asked_for_again() {
    let mut rig = Rig::healthy(&[EU, US]);
    rig.refused(EU);
    rig.refused(EU);
    rig.probe(US, Err(Never::Refused));
    for _ in 0..200 {
        let due = rig.fleet.next_tick().unwrap();
        assert!(due > rig.now, "a tick at its time must settle what it was for");
        rig.now = due;
        rig.wait(0);
    }
}
