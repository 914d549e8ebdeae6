use std::time::{Duration, Instant};

use proptest::prelude::*;

use super::*;
use crate::chance::Coin;

#[expect(clippy::disallowed_methods, reason = "a test needs some instant to count from")]
fn start() -> Instant {
    Instant::now()
}

fn armed(injection: Injection, scope: Scope) -> Faults {
    let mut faults = Faults::default();
    faults.arm(injection, scope, None).unwrap();
    faults
}

fn delay(by_ms: u64) -> Injection {
    Injection::Delay { by_ms, jitter_ms: 0 }
}

const GET: Asked<'static> = Asked {
    region: "eu",
    bucket: "photos",
    operation: "GetObject",
    method: "GET",
    key: "cats/1",
    probe: false,
};

fn course(faults: &mut Faults, asked: &Asked<'_>) -> Course {
    faults.course(asked, start(), &mut Coin::seeded(1))
}

#[test]
fn only_what_the_scope_names_is_hit() {
    let text = |text: &str| Some(text.to_owned());
    let rows = [
        (Scope::default(), true),
        (Scope { region: text("eu"), ..Scope::default() }, true),
        (Scope { region: text("us"), ..Scope::default() }, false),
        (Scope { bucket: text("videos"), ..Scope::default() }, false),
        (Scope { operation: text("PutObject"), ..Scope::default() }, false),
        (Scope { method: text("GET"), ..Scope::default() }, true),
        (Scope { key: text("cats"), ..Scope::default() }, false),
        (Scope { prefix: text("cats/"), ..Scope::default() }, true),
        (Scope { prefix: text("dogs/"), ..Scope::default() }, false),
        (Scope { share: Some(0.0), ..Scope::default() }, false),
    ];
    for (scope, hit) in rows {
        let course = course(&mut armed(delay(5), scope.clone()), &GET);
        assert_eq!(course != Course::default(), hit, "{scope:?}");
    }
}

#[test]
fn probes_are_spared_unless_named() {
    let probe = Asked { probe: true, ..GET };
    assert_eq!(course(&mut armed(delay(5), Scope::default()), &probe), Course::default());
    let all = Scope { probes: true, ..Scope::default() };
    assert_eq!(course(&mut armed(delay(5), all), &probe).delay, Duration::from_millis(5));
}

#[test]
fn jitter_adds_up_to_so_much_and_not_always_the_same() {
    let mut faults = armed(Injection::Delay { by_ms: 100, jitter_ms: 50 }, Scope::default());
    let mut coin = Coin::seeded(1);
    let delays: Vec<Duration> = (0..50).map(|_| faults.course(&GET, start(), &mut coin).delay).collect();
    let within = Duration::from_millis(100)..=Duration::from_millis(150);
    assert!(delays.iter().all(|delay| within.contains(delay)), "{delays:?}");
    let spread = delays.iter().max().unwrap().abs_diff(*delays.iter().min().unwrap());
    assert!(spread > Duration::from_millis(25), "{delays:?}");
}

#[test]
fn some_pass_then_some_are_hit_then_all_pass() {
    let mut faults = armed(Injection::Reset, Scope { skip: 2, times: Some(3), ..Scope::default() });
    let hit: Vec<bool> = (0..8).map(|_| course(&mut faults, &GET).instead.is_some()).collect();
    assert_eq!(hit, [false, false, true, true, true, false, false, false]);
}

#[test]
fn a_share_is_kept_to() {
    let mut faults = armed(Injection::Reset, Scope { share: Some(0.3), ..Scope::default() });
    let (now, mut coin) = (start(), Coin::seeded(7));
    let hit = (0..10_000).filter(|_| faults.course(&GET, now, &mut coin).instead.is_some()).count();
    assert!((2_800..3_200).contains(&hit), "{hit}");
}

#[test]
fn a_fault_ends_by_itself_or_when_lifted() {
    let mut faults = Faults::default();
    let now = start();
    let until = now + Duration::from_secs(1);
    let brief = faults.arm(Injection::Reset, Scope::default(), Some(until)).unwrap();
    let lasting = faults.arm(delay(1), Scope::default(), None).unwrap();
    let mut coin = Coin::seeded(1);
    assert!(faults.course(&GET, now, &mut coin).instead.is_some());
    assert!(faults.course(&GET, until, &mut coin).instead.is_none());
    assert_eq!(faults.lift(brief), None);
    assert_eq!(faults.hits(lasting), Some(2));
    assert_eq!(faults.lift(lasting), Some(2));
    assert!(faults.is_empty());
}

#[test]
fn no_more_than_the_limit_are_armed() {
    let mut faults = Faults::default();
    for _ in 0..ARMED_MAX {
        faults.arm(delay(1), Scope::default(), None).unwrap();
    }
    assert_eq!(faults.arm(delay(1), Scope::default(), None), Err(CannotArm::Full));
    faults.clear();
    assert!(faults.arm(delay(1), Scope::default(), None).is_ok());
}

#[test]
fn numbers_without_meaning_are_refused() {
    let rate = Injection::Rate { bytes_per_second: 0, way: Way::Download };
    let slice = Injection::Slice { bytes: 0, pause_ms: 1, way: Way::Upload };
    let share = Scope { share: Some(1.5), ..Scope::default() };
    let mut faults = Faults::default();
    assert_eq!(faults.arm(rate, Scope::default(), None), Err(CannotArm::OutOfRange("bytes_per_second")));
    assert_eq!(faults.arm(slice, Scope::default(), None), Err(CannotArm::OutOfRange("bytes")));
    assert_eq!(faults.arm(delay(1), share, None), Err(CannotArm::OutOfRange("share")));
    assert_eq!(faults.arm(delay(u64::MAX), Scope::default(), None), Err(CannotArm::OutOfRange("by_ms")));
}

#[test]
fn several_faults_hit_one_request() {
    let mut faults = armed(delay(100), Scope::default());
    faults.arm(delay(50), Scope::default(), None).unwrap();
    let late = Place { at: 100, spread: 0 };
    let early = Place { at: 10, spread: 0 };
    let cut = |place| Injection::Cut { place, end: End::Close, way: Way::Download };
    faults.arm(cut(early), Scope::default(), None).unwrap();
    faults.arm(cut(late), Scope::default(), None).unwrap();
    let mut course = course(&mut faults, &GET);
    assert_eq!(course.delay, Duration::from_millis(150));
    assert_eq!(course.download.next(1000).take, 10, "the earlier end holds");
    assert!(course.upload.is_free());
}

#[test]
fn faults_are_written_as_json() {
    let rows = [
        (r#"{"fault": "delay", "by_ms": 300}"#, delay(300)),
        (
            r#"{"fault": "cut", "at": 100, "spread": 9, "end": "close"}"#,
            Injection::Cut { place: Place { at: 100, spread: 9 }, end: End::Close, way: Way::Download },
        ),
        (r#"{"fault": "hang_before_head"}"#, Injection::HangBeforeHead),
        (
            r#"{"fault": "answer", "code": "SlowDown"}"#,
            Injection::Answer {
                error: ErrorAnswer { code: "SlowDown".to_owned(), status: None, message: None },
            },
        ),
    ];
    for (text, wanted) in rows {
        assert_eq!(serde_json::from_str::<Injection>(text).unwrap(), wanted, "{text}");
    }
    for text in [r#"{"fault": "delai"}"#, r#"{"fault": "delay"}"#] {
        assert!(serde_json::from_str::<Injection>(text).is_err(), "{text}");
    }
    assert!(serde_json::from_str::<Scope>(r#"{"prefx": "a"}"#).is_err());
}

#[test]
fn errors_are_those_of_s3() {
    let error = |code: &str| ErrorAnswer { code: code.to_owned(), status: None, message: None };
    assert_eq!(error("SlowDown").status(), 503);
    assert_eq!(error("ExpiredToken").status(), 400);
    assert_eq!(error("NoSuchThing").status(), 500);
    assert!(error("SlowDown").document().contains("<Code>SlowDown</Code>"));
}

#[test]
fn slices_wait_and_a_rate_is_kept() {
    let slice = Injection::Slice { bytes: 100, pause_ms: 20, way: Way::Download };
    let mut download = course(&mut armed(slice, Scope::default()), &GET).download;
    let wait = Duration::from_millis(20);
    assert_eq!(download.next(1000), Step { wait, take: 100, ..Step::default() });
    let rate = Injection::Rate { bytes_per_second: 1000, way: Way::Upload };
    let mut upload = course(&mut armed(rate, Scope::default()), &GET).upload;
    let tick = Duration::from_millis(100);
    assert_eq!(upload.next(1000), Step { wait: tick, take: 100, ..Step::default() });
    assert_eq!(upload.next(50).wait, tick / 2);
}

#[test]
fn a_body_that_ends_where_it_is_to_stop_stops() {
    let place = Place { at: 10, spread: 0 };
    let hang = Injection::HangInBody { place, way: Way::Download };
    let mut passage = course(&mut armed(hang, Scope::default()), &GET).download;
    assert_eq!(passage.next(10), Step { take: 10, stop: Some(Stop::Hang), ..Step::default() });
    assert_eq!(passage.next(0).stop, Some(Stop::Hang));
}

proptest! {
    #[test]
    fn every_byte_before_the_stop_passes_and_none_after(
        pieces in prop::collection::vec(1usize..2000, 1..20),
        at in 0u64..20_000,
        slice in 1u64..3000,
        turn in 0u64..20_000,
    ) {
        let mut faults = Faults::default();
        let place = Place { at, spread: 0 };
        let cut = Injection::Cut { place, end: End::Reset, way: Way::Download };
        faults.arm(cut, Scope::default(), None).unwrap();
        let sliced = Injection::Slice { bytes: slice, pause_ms: 0, way: Way::Download };
        faults.arm(sliced, Scope::default(), None).unwrap();
        let corrupt = Injection::Corrupt { place: Place { at: turn, spread: 0 }, way: Way::Download };
        faults.arm(corrupt, Scope::default(), None).unwrap();
        let mut passage = course(&mut faults, &GET).download;
        let (mut sent, mut turned, mut stopped) = (0u64, Vec::new(), false);
        'pieces: for piece in &pieces {
            let mut left = *piece;
            while left > 0 {
                let step = passage.next(left);
                prop_assert!(step.take > 0 || step.stop.is_some(), "it must go on");
                turned.extend(step.turn.map(|inside| sent + inside as u64));
                sent += step.take as u64;
                left -= step.take;
                if step.stop.is_some() {
                    stopped = true;
                    break 'pieces;
                }
            }
        }
        let whole: u64 = pieces.iter().map(|piece| *piece as u64).sum();
        prop_assert_eq!(sent, whole.min(at));
        prop_assert_eq!(stopped, whole >= at);
        prop_assert_eq!(turned, if turn < sent { vec![turn] } else { vec![] });
    }

    #[test]
    fn a_place_is_drawn_within_its_spread(at in 0u64..1000, spread in 0u64..1000, seed: u64) {
        let drawn = Place { at, spread }.draw(&mut Coin::seeded(seed));
        prop_assert!((at..=at + spread).contains(&drawn));
    }
}
