//! Probes and requests that contradict each other, a world that fails at once, and regions that
//! somebody cannot do without.

use super::*;

const AP: &str = "ap";

impl Rig {
    /// A second in which probes pass, and requests to the region as it stands: while it serves some,
    /// while it is on trial one.
    fn second_of(&mut self, signal: Signal) {
        for tenth in 0..10 {
            let requests = match self.standing(EU) {
                Standing::Healthy | Standing::Suspect => 20,
                Standing::Probation => 1,
                Standing::Unknown | Standing::Out => 0,
            };
            for key in 0..requests {
                self.request(EU, Kind::Read, key + tenth * 100, signal);
            }
            self.wait(100);
        }
        for region in [EU, US] {
            self.probe(region, Ok(10));
        }
    }

    fn changes(&self, subject: &Subject) -> Vec<(Standing, u64)> {
        let of = |change: &&Transition| change.region == EU.into() && change.subject == *subject;
        let since = |change: &Transition| change.at.duration_since(self.start).as_secs();
        self.seen.iter().filter(of).map(|change| (change.to, since(change))).collect()
    }
}

#[test]
fn requests_that_fail_while_probes_pass_win_and_the_region_does_not_flap() {
    for signal in [Signal::ServerError(500), Signal::NeverAnswered(Never::FirstByteTimeout)] {
        let mut rig = Rig::healthy(&[EU, US]);
        for _ in 0..600 {
            rig.second_of(signal);
        }
        let changes = rig.changes(&Subject::Kind(Kind::Read));
        assert!(changes[0].1 <= 5, "{changes:?}");
        let within_first_minute = changes.iter().filter(|(to, at)| *to == Standing::Out && *at < 60);
        assert_eq!(within_first_minute.count(), 1, "{changes:?}");
        // every return is one of one request, and they become rare
        assert!(changes.len() <= 12, "about one change a minute: {changes:?}");
        assert!(changes.iter().all(|(to, _)| *to != Standing::Healthy), "{changes:?}");
    }
}

#[test]
fn a_region_that_errs_for_a_moment_is_tried_again_after_a_minute() {
    let mut rig = Rig::healthy(&[EU, US]);
    for key in 0..5 {
        rig.error(EU, key);
    }
    while rig.standing(EU) == Standing::Out {
        rig.second_of(Signal::Answered { ttfb: None });
    }
    let out_for = rig.now.duration_since(rig.start);
    assert!((Duration::from_secs(59)..Duration::from_secs(63)).contains(&out_for), "{out_for:?}");
}

#[test]
fn a_region_whose_probes_failed_as_well_is_tried_as_soon_as_ever() {
    let mut rig = Rig::healthy(&[EU, US]);
    for key in 0..3 {
        rig.request(EU, Kind::Read, key, Signal::NeverAnswered(Never::FirstByteTimeout));
    }
    assert_eq!(rig.standing(EU), Standing::Out);
    rig.probe(EU, Err(Never::FirstByteTimeout));
    for _ in 0..5 {
        rig.wait(400);
        rig.probe(EU, Ok(10));
    }
    assert_eq!(rig.standing(EU), Standing::Probation, "two seconds later");
}

#[test]
fn writes_have_no_such_patience() {
    let mut rig = Rig::healthy(&[EU, US]);
    for key in 0..5 {
        rig.request(EU, Kind::Write, key, Signal::ServerError(500));
    }
    assert_eq!(rig.writes(EU), Standing::Out);
    for _ in 0..5 {
        rig.wait(500);
        rig.probe(EU, Ok(10));
    }
    assert_eq!(rig.writes(EU), Standing::Probation);
}

#[test]
fn probes_that_fail_while_requests_are_answered_change_nothing_but_raise_an_alarm() {
    let mut rig = Rig::healthy(&[EU, US]);
    for _ in 0..120 {
        rig.fine(EU);
        rig.request(EU, Kind::Write, 1, Signal::Answered { ttfb: None });
        rig.wait(250);
        rig.apply(Event::Probed { region: EU.into(), alive: Err(ProbeFault::ServerError(500)) });
    }
    let serving = |change: &Transition| !matches!(change.subject, Subject::Kind(_)) || change.to.is_serving();
    assert!(rig.seen.iter().all(serving), "{:?}", rig.seen);
    assert_eq!(rig.standing(EU), Standing::Healthy);
    let alarms: Vec<Standing> =
        rig.changes(&Subject::Probes).into_iter().map(|(standing, _)| standing).collect();
    assert_eq!(alarms, [Standing::Out]);
    let words = rig.seen.iter().find(|change| change.subject == Subject::Probes).unwrap().why.to_string();
    assert!(words.contains("probe.bucket") && words.contains("status 500"), "{words}");
    rig.probe(EU, Ok(10));
    assert_eq!(rig.changes(&Subject::Probes).len(), 2, "it ends with the first that passes");
}

#[test]
fn probes_that_fail_while_reads_are_answered_leave_writes_alone() {
    let mut rig = Rig::healthy(&[EU, US]);
    for _ in 0..120 {
        rig.fine(EU);
        rig.wait(250);
        rig.apply(Event::Probed { region: EU.into(), alive: Err(ProbeFault::ServerError(500)) });
    }
    let serving = |change: &Transition| !matches!(change.subject, Subject::Kind(_)) || change.to.is_serving();
    assert!(rig.seen.iter().all(serving), "{:?}", rig.seen);
    assert!(rig.writes(EU).is_serving());
}

#[test]
fn what_went_out_while_its_probe_is_wrong_is_tried_again() {
    let mut rig = Rig::healthy(&[EU, US]);
    let quarter = |rig: &mut Rig| {
        rig.fine(EU);
        rig.wait(250);
        rig.apply(Event::Probed { region: EU.into(), alive: Err(ProbeFault::ServerError(500)) });
    };
    (0..20).for_each(|_| quarter(&mut rig));
    for key in 0..5 {
        rig.request(EU, Kind::Write, key, Signal::ServerError(500));
    }
    assert_eq!(rig.writes(EU), Standing::Out);
    (0..20).for_each(|_| quarter(&mut rig));
    assert_eq!(rig.writes(EU), Standing::Probation, "no probe will pass: reads do");
}

#[test]
fn a_region_that_falls_silent_altogether_is_out_whatever_its_probes_were_like() {
    let mut rig = Rig::healthy(&[EU, US]);
    for _ in 0..20 {
        rig.fine(EU);
        rig.wait(250);
        rig.probe(EU, Err(Never::FirstByteTimeout));
    }
    assert!(rig.standing(EU).is_serving());
    let silent = rig.now;
    while rig.standing(EU) != Standing::Out {
        rig.wait(250);
        rig.probe(EU, Err(Never::FirstByteTimeout));
        assert!(rig.now - silent < Duration::from_secs(15));
    }
}

#[test]
fn where_everybody_fails_at_once_we_suspect_ourselves_and_hold_it_against_nobody() {
    let mut rig = Rig::healthy(&[EU, US, AP]);
    for region in [EU, US, AP] {
        for _ in 0..3 {
            rig.refused(region);
        }
        rig.wait(2_000);
    }
    assert!(rig.fleet.table(rig.now).self_suspect());
    let told = |rig: &Rig, to| {
        rig.seen.iter().filter(|change| change.subject == Subject::Ourselves && change.to == to).count()
    };
    assert_eq!((told(&rig, Standing::Suspect), told(&rig, Standing::Healthy)), (1, 0));
    // for a while one after the other is tried, and fails
    for _ in 0..20 {
        rig.wait(3_000);
        for region in [EU, US, AP] {
            rig.probe(region, Ok(10));
            rig.request(region, Kind::Read, 1, Signal::NeverAnswered(Never::Refused));
        }
    }
    assert!(rig.fleet.table(rig.now).self_suspect());
    let table = rig.fleet.table(rig.now);
    assert!(table.rows().iter().all(|row| row.reads.held_until.is_none()), "{table:?}");
    rig.wait(3_000);
    rig.probe(EU, Ok(10));
    rig.fine(EU);
    assert_eq!(rig.standing(EU), Standing::Healthy, "as soon as the first answers");
    assert!(!rig.fleet.table(rig.now).self_suspect());
    assert_eq!((told(&rig, Standing::Suspect), told(&rig, Standing::Healthy)), (1, 1));
}

#[test]
fn after_a_total_outage_the_others_are_looked_for_without_delay_and_taken_back_at_their_first_sign() {
    let settings = FleetSettings::default();
    let mut rig = Rig::healthy(&[EU, US, AP]);
    for region in [EU, US, AP] {
        for _ in 0..20 {
            rig.probe(region, Err(Never::Refused));
        }
    }
    rig.wait(10_000);
    rig.probe(AP, Ok(60));
    rig.fine(AP);
    assert_eq!(rig.standing(AP), Standing::Healthy);
    let pace = |rig: &Rig, region: &str| rig.fleet.probe_interval(&region.into());
    assert_eq!(pace(&rig, EU), Pace::Fast(settings.probe_regaining));
    assert_eq!(pace(&rig, AP), Pace::Normal);
    rig.wait(50);
    rig.probe(EU, Ok(1));
    assert_eq!(rig.standing(EU), Standing::Probation, "one probe is enough");
    rig.fine(EU);
    assert_eq!(rig.standing(EU), Standing::Healthy, "and one request");
    rig.request(EU, Kind::Write, 1, Signal::Answered { ttfb: None });
    let end = rig.fleet.next_tick().unwrap();
    assert!(end <= rig.now + settings.regaining);
    // who is not there by then is an ordinary dead region
    rig.wait(2_000);
    assert_eq!(pace(&rig, US), Pace::Down(settings.probe_down_cap));
    rig.probe(US, Ok(1));
    assert_eq!(rig.standing(US), Standing::Out);
}

#[test]
fn one_more_that_fails_where_another_was_long_dead_is_no_reason_to_suspect_ourselves() {
    let mut rig = Rig::ejected();
    for _ in 0..20 {
        rig.wait(3_000);
        rig.probe(EU, Err(Never::Refused));
    }
    for _ in 0..3 {
        rig.refused(US);
    }
    assert!(!rig.fleet.table(rig.now).self_suspect());
}

#[test]
fn the_only_region_of_an_access_point_is_back_with_its_first_answer_though_others_serve_others() {
    let mut rig = Rig::healthy(&[EU, US]);
    rig.fleet = rig.fleet.shared_by(vec![vec![EU.into(), US.into()], vec![EU.into()]]);
    for _ in 0..3 {
        rig.refused(EU);
    }
    assert_eq!(rig.standing(EU), Standing::Out);
    assert_eq!(rig.fleet.probe_interval(&EU.into()), Pace::Fast(Duration::from_millis(250)));
    let held = rig.fleet.table(rig.now).row(&EU.into()).unwrap().reads.held_until;
    assert!(held.is_some(), "those who have another region are spared it for a while");
    rig.wait(1_000);
    rig.fine(EU);
    assert_eq!(rig.standing(EU), Standing::Healthy);
    assert_eq!(rig.seen.last().unwrap().why, Cause::AnsweredAlone);
}

#[test]
fn strangers_are_no_company() {
    let mut rig = Rig::healthy(&[EU, US]);
    rig.fleet = rig.fleet.shared_by(vec![vec![EU.into()], vec![US.into()]]);
    for _ in 0..3 {
        rig.refused(EU);
    }
    assert_eq!(rig.fleet.table(rig.now).row(&EU.into()).unwrap().reads.held_until, None);
}

#[test]
fn write_probes_judge_writes_and_nothing_else() {
    let mut rig = Rig::healthy(&[EU, US]);
    let full = Err(ProbeFault::ServerError(507));
    for _ in 0..3 {
        rig.apply(Event::WriteProbed { region: EU.into(), alive: full });
        rig.probe(EU, Ok(10));
        rig.wait(1_000);
    }
    assert_eq!((rig.standing(EU), rig.writes(EU)), (Standing::Healthy, Standing::Out));
    for _ in 0..30 {
        rig.wait(1_000);
        rig.probe(EU, Ok(10));
    }
    assert_eq!(rig.writes(EU), Standing::Out, "reads that are answered say nothing of writes");
    for _ in 0..5 {
        rig.wait(1_000);
        rig.apply(Event::WriteProbed { region: EU.into(), alive: Ok(()) });
    }
    assert_eq!(rig.writes(EU), Standing::Probation);
    for _ in 0..100 {
        rig.apply(Event::WriteProbed { region: EU.into(), alive: Ok(()) });
    }
    assert_eq!(rig.writes(EU), Standing::Probation, "probes alone never end a probation");
}

#[test]
fn lags_are_told_and_forgotten() {
    let mut rig = Rig::healthy(&[EU, US]);
    let lag = Duration::from_millis(700);
    rig.apply(Event::Lagged { from: EU.into(), to: US.into(), lag });
    rig.apply(Event::Lagged { from: EU.into(), to: "nowhere".into(), lag });
    let table = rig.fleet.table(rig.now);
    assert_eq!(table.lag(&EU.into(), &US.into()), Some(lag));
    assert_eq!(table.lag(&US.into(), &EU.into()), None);
    assert_eq!(table.lags().len(), 1);
    rig.wait(299_999);
    assert_eq!(rig.fleet.table(rig.now).lags().len(), 1);
    rig.wait(1);
    assert!(rig.fleet.table(rig.now).lags().is_empty());
}
