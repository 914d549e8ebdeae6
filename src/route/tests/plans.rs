//! Which regions are asked, and in which order.

use proptest::prelude::*;

use super::*;
use crate::route::affinity::{Origin, Origins, affinity};

#[test]
fn reads_go_to_the_nearest_and_then_to_the_next() {
    let mut rig = Rig::new();
    assert_eq!(rig.regions(Operation::GetObject), [NEAR, HOME, FAR]);
    let plan = rig.plan(Operation::GetObject);
    assert_eq!(plan.steps[0].bucket, Some(BucketName::new("photos-near")));
    assert!(plan.failover && !plan.fail_open);
    assert!(plan.steps.iter().all(|step| !step.trial && !step.last_resort));
}

#[test]
fn reads_by_home_and_by_list() {
    let mut rig = Rig::new();
    rig.access_point.reads.order = Order::Home;
    assert_eq!(rig.regions(Operation::GetObject), [HOME, NEAR, FAR]);
    rig.access_point.reads.order = Order::List(vec![FAR.into(), HOME.into()]);
    assert_eq!(rig.regions(Operation::GetObject), [FAR, HOME], "regions not listed take none");
}

#[test]
fn a_plan_has_no_more_steps_than_attempts() {
    let mut rig = Rig::new();
    rig.attempts = 2;
    assert_eq!(rig.regions(Operation::GetObject), [NEAR, HOME]);
    rig.attempts = 0;
    assert_eq!(rig.regions(Operation::GetObject), [NEAR], "one attempt is the least");
}

#[test]
fn writes_are_homes_and_wait_for_it() {
    let mut rig = Rig::new();
    assert_eq!(rig.regions(Operation::PutObject), [HOME]);
    assert!(!rig.plan(Operation::PutObject).failover);
    rig.kill(HOME);
    assert_eq!(rig.refusal(Operation::PutObject), NoRoute::HomeDown(HOME.into()));
    assert_eq!(rig.refusal(Operation::DeleteObject), NoRoute::HomeDown(HOME.into()));
    assert_eq!(rig.refusal(Operation::CreateMultipartUpload), NoRoute::HomeDown(HOME.into()));
}

#[test]
fn a_home_that_serves_reads_is_tried_for_writes_although_they_failed_there() {
    let mut rig = Rig::new();
    for key in 0..3 {
        rig.unanswered(HOME, Kind::Write, key);
    }
    let standing = rig.table().standing(&HOME.into(), Kind::Write);
    assert_eq!(standing, crate::fleet::Standing::Out);
    for operation in [Operation::PutObject, Operation::DeleteObject, Operation::CreateMultipartUpload] {
        let plan = rig.plan(operation);
        assert_eq!(names(&plan), [HOME]);
        assert!(plan.fail_open && plan.steps[0].last_resort, "by few at a time");
    }
    let part = rig.try_plan(object(Operation::UploadPart), Affinity::Region(HOME.into()));
    assert_eq!(names(&part.unwrap()), [HOME]);
    rig.access_point.writes.failover = true;
    assert_eq!(rig.regions(Operation::PutObject), [NEAR, FAR], "others may take it: it is left out");
}

#[test]
fn writes_with_failover_move_on() {
    let mut rig = Rig::new();
    rig.access_point.writes.failover = true;
    assert_eq!(rig.regions(Operation::PutObject), [HOME, NEAR, FAR]);
    assert!(rig.plan(Operation::PutObject).failover);
    rig.kill(HOME);
    assert_eq!(rig.regions(Operation::PutObject), [NEAR, FAR], "a write never tries what is out");
}

#[test]
fn writes_to_the_nearest_move_but_are_not_repeated_elsewhere() {
    let mut rig = Rig::new();
    rig.access_point.writes = Rule { order: Order::Nearest, failover: false };
    assert_eq!(rig.regions(Operation::PutObject), [NEAR, HOME, FAR]);
    assert!(!rig.plan(Operation::PutObject).failover);
}

#[test]
fn writes_by_list_without_failover_are_the_firsts() {
    let mut rig = Rig::new();
    rig.access_point.writes = Rule { order: Order::List(vec![FAR.into(), HOME.into()]), failover: false };
    assert_eq!(rig.regions(Operation::PutObject), [FAR]);
    rig.kill(FAR);
    assert_eq!(rig.refusal(Operation::PutObject), NoRoute::RegionDown(FAR.into()));
}

#[test]
fn reads_without_failover_share_the_firsts_fate() {
    let mut rig = Rig::new();
    rig.access_point.reads.failover = false;
    assert_eq!(rig.regions(Operation::GetObject), [NEAR]);
    assert!(!rig.plan(Operation::GetObject).steps[0].last_resort);
    rig.kill(NEAR);
    let plan = rig.plan(Operation::GetObject);
    assert_eq!(names(&plan), [NEAR]);
    assert!(!plan.fail_open);
    assert!(plan.steps[0].last_resort, "waited for although it is out, and by few at a time");
}

#[test]
fn what_only_a_region_that_answers_errors_may_take_is_tried_there() {
    let mut rig = Rig::new();
    for key in 0..5 {
        for kind in [Kind::Read, Kind::Write] {
            rig.tell(HOME, kind, Signal::ServerError(500), key);
        }
    }
    for kind in [Kind::Read, Kind::Write] {
        assert_eq!(rig.table().standing(&HOME.into(), kind), crate::fleet::Standing::Out);
    }
    let part = rig.try_plan(object(Operation::UploadPart), Affinity::Region(HOME.into())).unwrap();
    assert_eq!(names(&part), [HOME]);
    assert!(part.fail_open && part.steps[0].last_resort, "by few at a time");
    assert_eq!(rig.regions(Operation::PutObject), [HOME]);
    assert_eq!(rig.regions(Operation::GetBucketCors), [HOME]);
    assert_eq!(rig.regions(Operation::GetObject)[0], NEAR, "others may answer it");
    rig.unanswered(HOME, Kind::Write, 9);
    assert_eq!(rig.refusal(Operation::PutObject), NoRoute::HomeDown(HOME.into()), "nobody answers there now");
}

#[test]
fn what_only_home_may_take_is_tried_there_once_a_probe_passes() {
    let mut rig = Rig::new();
    rig.kill(HOME);
    assert_eq!(rig.refusal(Operation::PutObject), NoRoute::HomeDown(HOME.into()));
    rig.apply(Event::Probed { region: HOME.into(), alive: Ok(Duration::from_millis(5)) });
    assert_eq!(rig.table().standing(&HOME.into(), Kind::Write), crate::fleet::Standing::Out);
    let plan = rig.plan(Operation::PutObject);
    assert_eq!(names(&plan), [HOME]);
    assert!(plan.steps[0].last_resort, "by few at a time");
    assert_eq!(rig.regions(Operation::GetObject)[0], NEAR, "whoever has another waits until it is believed");
    rig.access_point.writes.failover = true;
    assert_ne!(rig.regions(Operation::PutObject)[0], HOME);
}

#[test]
fn settings_are_homes() {
    let mut rig = Rig::new();
    assert_eq!(rig.regions(Operation::GetBucketCors), [HOME]);
    rig.kill(HOME);
    assert_eq!(rig.refusal(Operation::GetBucketCors), NoRoute::HomeDown(HOME.into()));
}

#[test]
fn conditional_writes_by_setting() {
    let mut rig = Rig::new();
    rig.access_point.writes = Rule { order: Order::Nearest, failover: true };
    let call = Call { conditional_write: true, ..object(Operation::PutObject) };
    assert_eq!(names(&rig.try_plan(call.clone(), Affinity::None).unwrap()), [HOME]);
    rig.access_point.conditional_writes = ConditionalWrites::Nearest;
    assert_eq!(names(&rig.try_plan(call.clone(), Affinity::None).unwrap()), [NEAR, HOME, FAR]);
    rig.access_point.conditional_writes = ConditionalWrites::Refuse;
    assert_eq!(rig.try_plan(call, Affinity::None).unwrap_err(), NoRoute::ConditionalRefused);
}

/// The end of an upload would decide its condition where the upload is.
#[test]
fn a_conditional_end_of_an_upload_is_homes_or_nobodys() {
    let mut rig = Rig::new();
    rig.access_point.writes = Rule { order: Order::Nearest, failover: true };
    let end = Call { conditional_write: true, ..object(Operation::CompleteMultipartUpload) };
    let at = |region: &str| Affinity::Region(region.into());
    assert_eq!(names(&rig.try_plan(end.clone(), at(HOME)).unwrap()), [HOME]);
    assert_eq!(rig.try_plan(end.clone(), at(NEAR)).unwrap_err(), NoRoute::ConditionElsewhere);
    // a version is of one region, which alone can know its tag
    let of_version = Call { operation: Operation::DeleteObject, ..end.clone() };
    assert_eq!(names(&rig.try_plan(of_version, at(NEAR)).unwrap()), [NEAR]);
    rig.access_point.conditional_writes = ConditionalWrites::Nearest;
    assert_eq!(names(&rig.try_plan(end, at(NEAR)).unwrap()), [NEAR]);
}

#[test]
fn a_region_that_is_out_is_a_reads_last_resort() {
    let mut rig = Rig::new();
    rig.kill(NEAR);
    let plan = rig.plan(Operation::GetObject);
    assert_eq!(names(&plan), [HOME, FAR, NEAR]);
    let last_resorts: Vec<bool> = plan.steps.iter().map(|step| step.last_resort).collect();
    assert_eq!(last_resorts, [false, false, true]);
}

#[test]
fn uploads_stay_where_they_began() {
    let mut rig = Rig::new();
    let at = |region: &str| Affinity::Region(region.into());
    let part = object(Operation::UploadPart);
    assert_eq!(names(&rig.try_plan(part.clone(), at(FAR)).unwrap()), [FAR]);
    rig.kill(FAR);
    assert_eq!(rig.try_plan(part.clone(), at(FAR)).unwrap_err(), NoRoute::RegionDown(FAR.into()));
    assert_eq!(rig.try_plan(part.clone(), at("gone")).unwrap_err(), NoRoute::RegionGone("gone".into()));
    assert_eq!(names(&rig.try_plan(part, Affinity::None).unwrap()), [HOME], "no token: home's");
}

#[test]
fn listings_go_on_where_they_began_and_move_if_they_must() {
    let mut rig = Rig::new();
    let list = || Call::new(Operation::ListObjectsV2, Target::Bucket { bucket: "photos".to_owned() });
    let prefer = Affinity::Prefer(FAR.into());
    assert_eq!(names(&rig.try_plan(list(), prefer.clone()).unwrap()), [FAR, NEAR, HOME]);
    rig.kill(FAR);
    assert_eq!(names(&rig.try_plan(list(), prefer).unwrap()), [NEAR, HOME, FAR]);
}

#[test]
fn a_listing_under_way_is_no_trial_of_a_nearer_region() {
    let mut rig = Rig::new();
    let list = || Call::new(Operation::ListObjectsV2, Target::Bucket { bucket: "photos".to_owned() });
    rig.kill(NEAR);
    rig.revive(NEAR);
    assert!(rig.try_plan(list(), Affinity::None).unwrap().steps[0].trial, "a new one is");
    let bound = Affinity::Prefer(FAR.into());
    for _ in 0..100 {
        let plan = rig.try_plan(list(), bound.clone()).unwrap();
        assert_eq!(names(&plan)[0], FAR);
        assert!(plan.steps.iter().all(|step| !step.trial));
    }
    rig.tried = vec![FAR.into()];
    assert_eq!(names(&rig.try_plan(list(), bound).unwrap())[0], NEAR, "once it must move it may be one");
}

#[test]
fn what_home_does_not_honour_is_not_done() {
    let mut rig = Rig::new();
    let sse = || Call { depends_on: Features::of(&[Feature::Sse]), ..object(Operation::PutObject) };
    rig.access_point.writes = Rule { order: Order::Nearest, failover: true };
    rig.lacks = vec![(NEAR, Feature::Sse)];
    assert_eq!(names(&rig.try_plan(sse(), Affinity::None).unwrap()), [HOME, FAR]);
    rig.lacks = vec![(HOME, Feature::Sse)];
    let missing = NoRoute::NotHonoured(Features::of(&[Feature::Sse]));
    assert_eq!(rig.try_plan(sse(), Affinity::None).unwrap_err(), missing);
    assert_eq!(rig.regions(Operation::PutObject), [NEAR, HOME, FAR], "other requests do not mind");
    rig.lacks = vec![(FAR, Feature::Sse)];
    let bound = Affinity::Region(FAR.into());
    assert_eq!(rig.try_plan(sse(), bound).unwrap_err(), missing);
}

#[test]
fn refused_credentials_and_configurations_are_left_out() {
    let mut rig = Rig::new();
    let credential = CredentialId::Region;
    rig.apply(Event::CredentialJudged { region: NEAR.into(), credential, sound: false });
    assert_eq!(rig.regions(Operation::GetObject), [HOME, FAR]);
    let access_point = rig.access_point.name.clone();
    rig.apply(Event::ConfigurationJudged { region: HOME.into(), access_point, sound: false });
    assert_eq!(rig.regions(Operation::GetObject), [FAR]);
    let other = CredentialId::Client("tenant".into());
    rig.apply(Event::CredentialJudged { region: FAR.into(), credential: other, sound: false });
    assert_eq!(rig.regions(Operation::GetObject), [FAR], "another client's credential");
}

#[test]
fn a_credential_that_all_regions_refuse_is_answered_by_them() {
    let mut rig = Rig::new();
    for region in [NEAR, HOME, FAR] {
        let credential = CredentialId::Region;
        rig.apply(Event::CredentialJudged { region: region.into(), credential, sound: false });
    }
    assert!(rig.plan(Operation::GetObject).fail_open);
    assert_eq!(rig.regions(Operation::PutObject), [HOME], "so is a write at home");
}

#[test]
fn if_all_are_out_the_last_to_succeed_is_tried_first() {
    let mut rig = Rig::new();
    for region in [NEAR, HOME] {
        rig.kill(region);
    }
    rig.wait(100);
    rig.answer(FAR, Kind::Read);
    rig.wait(100);
    rig.kill(FAR);
    let plan = rig.plan(Operation::GetObject);
    assert!(plan.fail_open && plan.steps.iter().all(|step| step.last_resort));
    assert_eq!(plan.steps[0].region, RegionId::new(FAR));
    assert_eq!(plan.steps.len(), 3);
    assert_eq!(rig.regions(Operation::PutObject), [HOME], "perhaps it is our own network");
}

/// A fraction of a second proves nothing; whoever is least behind home has more of what is asked for.
#[test]
fn of_those_that_succeeded_in_the_same_second_the_least_behind_is_tried_first() {
    for (between, first) in [(300, HOME), (3_000, FAR)] {
        let mut rig = Rig::new();
        rig.kill(NEAR);
        rig.wait(1_000);
        rig.answer(HOME, Kind::Read);
        rig.wait(between);
        rig.answer(FAR, Kind::Read);
        for region in [HOME, FAR] {
            rig.kill(region);
        }
        let plan = rig.plan(Operation::GetObject);
        assert!(plan.fail_open);
        assert_eq!(plan.steps[0].region, RegionId::new(first), "{between} ms apart");
    }
}

#[test]
fn a_region_that_was_tried_comes_last() {
    let mut rig = Rig::new();
    rig.tried = vec![NEAR.into()];
    assert_eq!(rig.regions(Operation::GetObject), [HOME, FAR, NEAR]);
}

#[test]
fn an_unknown_region_comes_after_those_that_serve() {
    let mut rig = Rig::new();
    rig.apply(Event::Reloaded {
        regions: vec![NEAR.into(), HOME.into(), FAR.into()],
        renewed: vec![NEAR.into()],
        groups: Vec::new(),
    });
    assert_eq!(rig.regions(Operation::GetObject), [HOME, FAR, NEAR]);
}

#[test]
fn a_region_in_probation_is_tried_first_by_those_who_can_move_on() {
    let mut rig = Rig::new();
    rig.access_point.writes = Rule { order: Order::Nearest, failover: true };
    rig.kill(NEAR);
    rig.revive(NEAR);
    let plan = rig.plan(Operation::GetObject);
    assert_eq!(names(&plan), [NEAR, HOME, FAR]);
    assert!(plan.steps[0].trial && !plan.steps[1].trial);
    assert!(rig.plan(Operation::PutObject).steps[0].trial);
    assert_eq!(rig.regions(Operation::DeleteObject), [HOME, FAR, NEAR], "its head alone commits");
}

#[test]
fn once_those_that_serve_have_failed_probation_is_no_trial() {
    let mut rig = Rig::new();
    rig.kill(NEAR);
    rig.revive(NEAR);
    rig.tried = vec![HOME.into(), FAR.into()];
    let plan = rig.plan(Operation::GetObject);
    assert_eq!(names(&plan), [NEAR, HOME, FAR]);
    assert!(!plan.steps[0].trial, "it must not be lost for want of a turn");
}

#[test]
fn a_far_region_in_probation_is_tried_now_and_then() {
    let mut rig = Rig::new();
    rig.kill(FAR);
    rig.revive(FAR);
    let trials = (0..1_000).filter(|_| rig.plan(Operation::GetObject).steps[0].trial).count();
    assert!((80..180).contains(&trials), "{trials} of 1000");
}

#[test]
fn without_another_that_serves_probation_is_no_trial() {
    let mut rig = Rig::new();
    for region in [NEAR, HOME, FAR] {
        rig.kill(region);
    }
    rig.revive(HOME);
    let plan = rig.plan(Operation::GetObject);
    assert_eq!(plan.steps[0].region, RegionId::new(HOME));
    assert!(!plan.steps[0].trial && !plan.fail_open);
}

#[test]
fn failback_waits_and_then_ramps() {
    let mut rig = Rig::new();
    rig.kill(NEAR);
    rig.revive(NEAR);
    for _ in 0..3 {
        rig.answer(NEAR, Kind::Read);
    }
    let first = |rig: &mut Rig| rig.plan(Operation::GetObject).steps[0].region == RegionId::new(NEAR);
    assert!((0..100).all(|_| !first(&mut rig)), "held down for 30 s after the failover");
    rig.wait(25_000);
    let share = |rig: &mut Rig| (0..1_000).filter(|_| first(rig)).count();
    let early = share(&mut rig);
    assert!((50..160).contains(&early), "a tenth returns at first: {early}");
    rig.wait(15_000);
    let half = share(&mut rig);
    assert!((480..620).contains(&half), "then more: {half}");
    rig.wait(15_000);
    assert_eq!(share(&mut rig), 1_000);
}

#[test]
fn a_region_that_was_out_for_longer_than_it_is_held_down_ramps_all_the_same() {
    let mut rig = Rig::new();
    rig.kill(NEAR);
    rig.wait(600_000);
    rig.revive(NEAR);
    for _ in 0..3 {
        rig.answer(NEAR, Kind::Read);
    }
    let share = |rig: &mut Rig| {
        (0..1_000).filter(|_| rig.plan(Operation::GetObject).steps[0].region == RegionId::new(NEAR)).count()
    };
    let first = share(&mut rig);
    assert!((50..160).contains(&first), "its caches are cold: {first}");
    rig.wait(15_000);
    let half = share(&mut rig);
    assert!((480..620).contains(&half), "{half}");
    rig.wait(15_000);
    assert_eq!(share(&mut rig), 1_000);
}

#[test]
fn writes_return_to_a_home_that_lags_only_when_it_has_caught_up() {
    let mut rig = Rig::new();
    rig.access_point.writes.failover = true;
    rig.kill(HOME);
    rig.revive(HOME);
    for _ in 0..3 {
        rig.answer(HOME, Kind::Read);
        rig.answer(HOME, Kind::Write);
    }
    let behind = |rig: &mut Rig, seconds| {
        rig.apply(Event::Lagged { from: FAR.into(), to: HOME.into(), lag: Duration::from_secs(seconds) });
    };
    let at_home = |rig: &mut Rig| rig.regions(Operation::PutObject)[0] == HOME;
    behind(&mut rig, 60);
    rig.wait(60_000);
    assert!(!at_home(&mut rig), "held down long enough, but a minute behind");
    behind(&mut rig, 5);
    assert!(at_home(&mut rig));
    behind(&mut rig, 60);
    rig.wait(240_000);
    behind(&mut rig, 60);
    assert!(!at_home(&mut rig));
    rig.wait(240_000);
    behind(&mut rig, 60);
    rig.wait(240_000);
    behind(&mut rig, 60);
    assert!(at_home(&mut rig), "it will never be nearer");
}

#[test]
fn what_is_under_way_in_a_region_that_goes_out_is_called_off_only_for_another() {
    let mut rig = Rig::new();
    let step = rig.plan(Operation::GetObject).steps[0].clone();
    assert_eq!(step.region, RegionId::new(NEAR));
    let waits = |rig: &Rig, step: &Step, alone| {
        let table = rig.table();
        step.is_worth_waiting(alone, table.row(&NEAR.into()).map(|row| row.of(Kind::Read)))
    };
    assert!(waits(&rig, &step, false) && step.is_worth_waiting(false, None));
    for key in 0..5 {
        rig.tell(NEAR, Kind::Read, Signal::ServerError(500), key);
    }
    assert_eq!(rig.table().standing(&NEAR.into(), Kind::Read), crate::fleet::Standing::Out);
    assert!(waits(&rig, &step, false), "it answers");
    rig.unanswered(NEAR, Kind::Read, 9);
    assert!(!waits(&rig, &step, false), "another will answer sooner");
    assert!(waits(&rig, &step, true), "nobody else would");
    assert!(waits(&rig, &Step { last_resort: true, ..step }, false));
}

#[test]
fn a_held_region_serves_at_once_if_it_is_the_only_one() {
    let mut rig = Rig::new();
    rig.kill(NEAR);
    rig.revive(NEAR);
    for _ in 0..3 {
        rig.answer(NEAR, Kind::Read);
    }
    rig.kill(HOME);
    rig.kill(FAR);
    let plan = rig.plan(Operation::GetObject);
    assert_eq!(plan.steps[0].region, RegionId::new(NEAR));
    assert!(!plan.fail_open);
}

#[test]
fn the_reasons_are_one_line() {
    let mut rig = Rig::new();
    rig.kill(NEAR);
    assert_eq!(
        rig.plan(Operation::GetObject).why.to_string(),
        "read order: home 40ms healthy; far 90ms healthy; near 5ms out"
    );
    assert_eq!(
        rig.plan(Operation::PutObject).why.to_string(),
        "home only: home 40ms healthy; near 5ms left out; far 90ms left out"
    );
    rig.kill(HOME);
    rig.kill(FAR);
    assert!(
        rig.plan(Operation::GetObject).why.to_string().starts_with("read order, none fit: by last success: ")
    );
}

#[test]
fn ids_bind_requests_to_regions() {
    let rig = Rig::new();
    let token = || Some(Origin::Token(FAR.into()));
    let get = object(Operation::GetObject);
    let delete = object(Operation::DeleteObject);
    let of =
        |access_point: &AccessPoint, call: &Call, origins: Origins| affinity(access_point, call, &origins);
    let per_region = rig.access_point.clone();
    let shared = AccessPoint { versions: Versions::Shared, ..per_region.clone() };
    let at = |region: &str| Affinity::Region(region.into());
    let upload = |origin| Origins { upload: origin, ..Origins::default() };
    let version = |origin| Origins { version: origin, ..Origins::default() };
    let listing = |origin| Origins { listing: origin, ..Origins::default() };
    assert_eq!(of(&per_region, &get, Origins::default()), Affinity::None);
    assert_eq!(of(&per_region, &get, upload(token())), at(FAR));
    assert_eq!(of(&per_region, &get, upload(Some(Origin::Plain))), at(HOME));
    assert_eq!(of(&per_region, &get, version(token())), at(FAR));
    assert_eq!(of(&per_region, &get, version(Some(Origin::Plain))), at(HOME), "null, for one");
    assert_eq!(of(&shared, &get, version(Some(Origin::Plain))), Affinity::None);
    assert_eq!(of(&shared, &delete, version(Some(Origin::Plain))), at(HOME));
    assert_eq!(of(&per_region, &get, listing(token())), Affinity::Prefer(FAR.into()));
    assert_eq!(of(&per_region, &get, listing(Some(Origin::Plain))), at(HOME));
}

proptest! {
    #[test]
    fn if_anything_may_be_asked_there_is_a_plan_within_bounds(
        dead in proptest::collection::vec(0_usize..3, 0..4),
        write in any::<bool>(),
        failover in any::<bool>(),
        order in 0_u8..3,
        attempts in 0_usize..5,
    ) {
        let mut rig = Rig::new();
        let names = [NEAR, HOME, FAR];
        for place in &dead {
            rig.kill(names[*place]);
        }
        let order = match order {
            0 => Order::Nearest,
            1 => Order::Home,
            _ => Order::List(vec![FAR.into(), NEAR.into()]),
        };
        let allowed: Vec<RegionId> = match &order {
            Order::List(list) => list.clone(),
            Order::Home if write && !failover => vec![HOME.into()],
            Order::Home | Order::Nearest => names.iter().map(|name| RegionId::new(name)).collect(),
        };
        let rule = Rule { order, failover };
        rig.access_point.reads = rule.clone();
        rig.access_point.writes = rule;
        rig.attempts = attempts;
        let operation = if write { Operation::PutObject } else { Operation::GetObject };
        match rig.try_plan(object(operation), Affinity::None) {
            Err(no_route) => {
                let down = matches!(no_route, NoRoute::HomeDown(_) | NoRoute::RegionDown(_));
                prop_assert!(write && !failover && down, "{:?}", no_route);
            }
            Ok(plan) => {
                prop_assert!(!plan.steps.is_empty() && plan.steps.len() <= attempts.max(1));
                let mut seen: Vec<&RegionId> = plan.steps.iter().map(|step| &step.region).collect();
                prop_assert!(seen.iter().all(|region| allowed.contains(region)));
                seen.sort();
                seen.dedup();
                prop_assert_eq!(seen.len(), plan.steps.len(), "each region once");
                let down = |region: &RegionId| dead.iter().any(|place| names[*place] == region.as_str());
                let alive = allowed.iter().any(|region| !down(region));
                if alive && failover {
                    prop_assert!(!down(&plan.steps[0].region));
                }
            }
        }
    }
}

#[test]
fn a_slow_region_comes_after_those_that_are_not_and_is_never_left_out() {
    let mut rig = Rig::new();
    rig.access_point.writes = Rule { order: Order::List(vec![NEAR.into(), HOME.into()]), failover: true };
    let took = |near| [(NEAR, near), (HOME, 40), (FAR, 90)];
    let live = |rig: &mut Rig, near, seconds| {
        for _ in 0..seconds {
            for (region, ttfb) in took(near) {
                rig.apply(Event::Probed { region: region.into(), alive: Ok(Duration::from_millis(ttfb)) });
            }
            rig.wait(1_000);
        }
    };
    live(&mut rig, 5, 10);
    live(&mut rig, 500, 9);
    assert_eq!(rig.regions(Operation::GetObject), [HOME, FAR, NEAR]);
    assert!(rig.plan(Operation::GetObject).why.to_string().contains("healthy, slow"));
    assert_eq!(rig.regions(Operation::PutObject), [NEAR, HOME], "an order of writes is not about speed");
    rig.access_point.reads.order = Order::List(vec![NEAR.into(), FAR.into()]);
    assert_eq!(rig.regions(Operation::GetObject), [NEAR, FAR], "nor is an operator's list of reads");
    rig.access_point.writes.order = Order::Nearest;
    assert_eq!(rig.regions(Operation::PutObject), [HOME, FAR, NEAR]);
    rig.access_point.members.retain(|member| member.region == NEAR.into());
    assert_eq!(rig.regions(Operation::GetObject), [NEAR], "it is all there is");
    rig.access_point.members = Rig::new().access_point.members;
    rig.access_point.reads.order = Order::Nearest;
    live(&mut rig, 5, 30);
    assert_eq!(rig.regions(Operation::GetObject), [NEAR, HOME, FAR]);
}

#[test]
fn a_region_that_is_out_is_tried_where_it_is_all_that_the_access_point_has() {
    let mut rig = Rig::new();
    rig.access_point.members.retain(|member| member.region == HOME.into());
    rig.kill(HOME);
    for operation in [Operation::GetObject, Operation::PutObject, Operation::DeleteObject] {
        let plan = rig.plan(operation);
        assert_eq!(names(&plan), [HOME], "others serve, but not this access point");
        assert!(plan.fail_open && plan.steps[0].last_resort);
    }
}
