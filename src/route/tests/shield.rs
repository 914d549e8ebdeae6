//! What a read that found nothing leads to: by table, by every possible case, and for every
//! condition that a client may put.

use super::*;
use crate::route::memory::{Change, Recalled};
use crate::route::shield::{
    Case, Certainty, Finding, Heard, Next, Withheld, applies, doubts, is_later, next,
};
use crate::units::UnixSeconds;

const THIRD: &str = "third";
const ALL: [&str; 4] = [HOME, NEAR, FAR, THIRD];

/// What is known, by names.
#[derive(Clone, Debug)]
struct Known {
    fallback: bool,
    recalled: Option<(Change, &'static str)>,
    away: Vec<&'static str>,
    overflowed: bool,
}

const NOTHING: Known = Known { fallback: true, recalled: None, away: Vec::new(), overflowed: false };

fn recalled(change: Change, region: &'static str) -> Known {
    let away = if region == HOME { Vec::new() } else { vec![region] };
    Known { recalled: Some((change, region)), away, ..NOTHING }
}

/// Asks until it is known what the client is told: who was asked, and what came of it.
fn play(known: &Known, first: &str, says: &dyn Fn(&str) -> Finding) -> (Vec<String>, Told) {
    let home = RegionId::new(HOME);
    let recalled = known.recalled.map(|(change, region)| Recalled {
        region: region.into(),
        change,
        away: region != HOME,
        tag: None,
        at: Instant::now(),
    });
    let away: Vec<RegionId> = known.away.iter().map(|region| RegionId::new(region)).collect();
    let case = Case {
        fallback: known.fallback,
        home: &home,
        recalled: recalled.as_ref(),
        away: &away,
        overflowed: known.overflowed,
    };
    let mut heard = vec![Heard { region: first.into(), finding: says(first), proven: false, later: false }];
    for _ in 0..10 {
        match next(&case, &heard) {
            Next::Ask(region) => {
                let finding = says(region.as_str());
                heard.push(Heard { region: region.clone(), finding, proven: false, later: false });
            }
            Next::Answer(at, certainty) => {
                return (asked(&heard), Told::Answer(heard[at].region.to_string(), certainty));
            }
            Next::Withhold(why) => return (asked(&heard), Told::Withheld(why)),
        }
    }
    panic!("it does not end: {heard:?}")
}

fn asked(heard: &[Heard]) -> Vec<String> {
    heard.iter().skip(1).map(|one| one.region.to_string()).collect()
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Told {
    Answer(String, Certainty),
    Withheld(Withheld),
}

fn answer(region: &str, certainty: Certainty) -> Told {
    Told::Answer(region.to_owned(), certainty)
}

/// What is known; who answers first; what home, near, far and third say; who is asked; what is told.
type Row = (Known, &'static str, [Finding; 4], &'static [&'static str], Told);

fn holds(table: &[Row]) {
    for (known, first, says, whom, told) in table {
        let said = |region: &str| says[ALL.iter().position(|name| *name == region).unwrap()];
        assert_eq!(
            play(known, first, &said),
            (whom.iter().map(ToString::to_string).collect(), told.clone()),
            "{known:?}, {first} first, {says:?}"
        );
    }
}

#[test]
fn what_nobody_remembers_is_asked_for_at_home_and_where_writes_went() {
    use Certainty::{Confirmed, Found as Has, Unconfirmed};
    use Finding::{Found, Marker, Missing, Silent};
    let away = |regions: &[&'static str]| Known { away: regions.to_vec(), ..NOTHING };
    holds(&[
        // nothing is remembered
        (NOTHING, NEAR, [Found, Missing, Silent, Silent], &[HOME], answer(HOME, Has)),
        (NOTHING, NEAR, [Missing, Missing, Found, Silent], &[HOME], answer(HOME, Confirmed)),
        (NOTHING, NEAR, [Found, Marker, Silent, Silent], &[HOME], answer(HOME, Has)),
        (NOTHING, NEAR, [Silent, Missing, Found, Silent], &[HOME], answer(NEAR, Unconfirmed)),
        (NOTHING, HOME, [Missing, Found, Found, Found], &[], answer(HOME, Confirmed)),
        (NOTHING, NEAR, [Missing, Found, Silent, Silent], &[], answer(NEAR, Has)),
        // writes went elsewhere, but not this one as far as we know
        (away(&[FAR]), HOME, [Missing, Found, Found, Silent], &[FAR], answer(FAR, Has)),
        (away(&[FAR]), HOME, [Missing, Found, Missing, Silent], &[FAR], answer(HOME, Confirmed)),
        (away(&[FAR]), HOME, [Missing, Found, Silent, Silent], &[FAR], answer(HOME, Confirmed)),
        (away(&[FAR]), HOME, [Marker, Found, Found, Silent], &[], answer(HOME, Confirmed)),
        (away(&[FAR]), NEAR, [Silent, Missing, Found, Silent], &[HOME, FAR], answer(FAR, Has)),
        (away(&[FAR]), NEAR, [Silent, Missing, Silent, Silent], &[HOME, FAR], answer(NEAR, Unconfirmed)),
        (away(&[FAR]), FAR, [Silent, Silent, Missing, Silent], &[HOME], answer(FAR, Unconfirmed)),
        (
            away(&[THIRD, FAR, NEAR]),
            HOME,
            [Missing, Found, Missing, Missing],
            &[THIRD, FAR],
            answer(HOME, Confirmed),
        ),
    ]);
}

#[test]
fn only_where_a_key_was_written_it_is_known_not_to_be() {
    use Certainty::{Confirmed, Found as Has, Unconfirmed, Unproven};
    use Change::{Touched, Wrote};
    use Finding::{Found, Missing, Silent};
    let off = |known: Known| Known { fallback: false, ..known };
    holds(&[
        // of a write, only its region knows
        (recalled(Wrote, FAR), FAR, [Found, Found, Missing, Silent], &[], answer(FAR, Confirmed)),
        (recalled(Wrote, FAR), HOME, [Missing, Silent, Found, Silent], &[FAR], answer(FAR, Has)),
        (recalled(Wrote, FAR), HOME, [Missing, Missing, Silent, Missing], &[FAR], answer(HOME, Unconfirmed)),
        (
            recalled(Wrote, FAR),
            NEAR,
            [Silent, Missing, Silent, Missing],
            &[FAR, HOME],
            Told::Withheld(Withheld::Written),
        ),
        (recalled(Wrote, FAR), NEAR, [Found, Missing, Silent, Silent], &[FAR, HOME], answer(HOME, Unproven)),
        // another proxy may have deleted it at home since
        (recalled(Wrote, HOME), NEAR, [Silent, Missing, Silent, Silent], &[HOME], answer(NEAR, Unconfirmed)),
        (recalled(Wrote, HOME), NEAR, [Silent, Found, Silent, Silent], &[HOME], answer(NEAR, Unproven)),
        (recalled(Wrote, HOME), NEAR, [Found, Found, Silent, Silent], &[HOME], answer(HOME, Has)),
        (recalled(Wrote, HOME), NEAR, [Missing, Found, Silent, Silent], &[HOME], answer(HOME, Confirmed)),
        (recalled(Touched, HOME), NEAR, [Found, Found, Silent, Silent], &[], answer(NEAR, Has)),
        (
            off(recalled(Wrote, HOME)),
            NEAR,
            [Silent, Missing, Silent, Silent],
            &[HOME],
            answer(NEAR, Unconfirmed),
        ),
        (
            off(recalled(Wrote, FAR)),
            NEAR,
            [Found, Missing, Silent, Silent],
            &[FAR],
            Told::Withheld(Withheld::Written),
        ),
        // a change that says nothing of whether there is an object
        (
            recalled(Touched, HOME),
            NEAR,
            [Silent, Missing, Silent, Silent],
            &[HOME],
            answer(NEAR, Unconfirmed),
        ),
        (recalled(Touched, FAR), HOME, [Missing, Silent, Found, Silent], &[FAR], answer(FAR, Has)),
    ]);
}

#[test]
fn what_was_deleted_is_not_found_elsewhere() {
    use Certainty::{Confirmed, Found as Has, Unconfirmed};
    use Change::Deleted;
    use Finding::{Found, Missing, Silent};
    holds(&[
        // what was deleted does not come back
        (recalled(Deleted, HOME), HOME, [Missing, Found, Found, Found], &[], answer(HOME, Confirmed)),
        (recalled(Deleted, HOME), NEAR, [Missing, Found, Found, Found], &[HOME], answer(HOME, Confirmed)),
        (recalled(Deleted, HOME), NEAR, [Found, Found, Silent, Silent], &[HOME], answer(HOME, Has)),
        (
            recalled(Deleted, HOME),
            NEAR,
            [Silent, Found, Missing, Silent],
            &[HOME],
            Told::Withheld(Withheld::Deleted),
        ),
        (
            recalled(Deleted, HOME),
            NEAR,
            [Silent, Missing, Silent, Silent],
            &[HOME],
            answer(NEAR, Unconfirmed),
        ),
        (
            recalled(Deleted, FAR),
            HOME,
            [Found, Found, Silent, Silent],
            &[FAR],
            Told::Withheld(Withheld::Deleted),
        ),
        (recalled(Deleted, FAR), HOME, [Missing, Found, Silent, Silent], &[FAR], answer(HOME, Unconfirmed)),
        (
            recalled(Deleted, FAR),
            NEAR,
            [Silent, Missing, Silent, Silent],
            &[FAR, HOME],
            Told::Withheld(Withheld::Deleted),
        ),
    ]);
}

#[test]
fn a_journal_that_overflowed_makes_no_false_404() {
    use Certainty::{Confirmed, Found as Has, Unconfirmed};
    use Finding::{Found, Missing, Silent};
    let away = |regions: &[&'static str]| Known { away: regions.to_vec(), ..NOTHING };
    let overflowed = |regions: &[&'static str]| Known { overflowed: true, ..away(regions) };
    holds(&[
        // more keys were changed than are remembered
        (
            overflowed(&[FAR]),
            NEAR,
            [Silent, Missing, Silent, Silent],
            &[HOME, FAR],
            Told::Withheld(Withheld::Overflowed),
        ),
        (overflowed(&[FAR]), NEAR, [Silent, Missing, Found, Silent], &[HOME, FAR], answer(FAR, Has)),
        (
            overflowed(&[FAR]),
            NEAR,
            [Silent, Missing, Missing, Silent],
            &[HOME, FAR],
            answer(NEAR, Unconfirmed),
        ),
        (overflowed(&[FAR]), FAR, [Silent, Silent, Missing, Silent], &[HOME], answer(FAR, Unconfirmed)),
        (overflowed(&[FAR]), HOME, [Missing, Silent, Silent, Silent], &[FAR], answer(HOME, Confirmed)),
    ]);
}

/// Every case there is with four regions.
#[test]
fn no_case_asks_without_end_or_tells_what_is_known_to_be_untrue() {
    use Change::{Deleted, Touched, Wrote};
    const FINDINGS: [Finding; 4] = [Finding::Found, Finding::Missing, Finding::Marker, Finding::Silent];
    let aways: [&[&'static str]; 4] = [&[], &[NEAR], &[FAR, NEAR], &[THIRD, FAR, NEAR]];
    let changes =
        [Wrote, Deleted, Touched].iter().flat_map(|change| ALL.map(|region| Some((*change, region))));
    let changes: Vec<_> = std::iter::once(None).chain(changes).collect();
    let mut cases = 0;
    for (recalled, away, flags) in combined(&changes, &aways) {
        let known =
            Known { fallback: flags & 1 > 0, recalled, away: away.to_vec(), overflowed: flags & 2 > 0 };
        for script in 0..256_usize {
            let said = |region: &str| {
                let place = ALL.iter().position(|name| *name == region).unwrap();
                FINDINGS[script >> (2 * place) & 3]
            };
            for first in ALL.iter().filter(|region| said(region) != Finding::Silent) {
                cases += 1;
                let (whom, told) = play(&known, first, &said);
                let case = format!("{known:?}, {first} first, {:?}", ALL.map(said));
                let others = whom.iter().filter(|region| *region != HOME).count();
                assert!(
                    others <= 2 && whom.len() <= 3 && !whom.contains(&(*first).to_owned()),
                    "{case}: {whom:?}"
                );
                let Told::Answer(by, certainty) = told else { continue };
                let has = said(&by) == Finding::Found;
                assert_eq!(has, matches!(certainty, Certainty::Found | Certainty::Unproven), "{case}");
                assert_ne!(said(&by), Finding::Silent, "{case}");
                match recalled {
                    Some((Wrote, region)) => {
                        let knows = by == region || by == HOME || region == HOME;
                        assert!(has || knows, "{case}: what was written is denied");
                    }
                    Some((Deleted, region)) => {
                        assert!(!has || by == region, "{case}: what was deleted is back");
                    }
                    Some((Touched, _)) | None => {}
                }
                if said(first) != Finding::Found {
                    continue;
                }
                match recalled {
                    Some((Wrote, region)) if region != *first => {
                        let known = if said(region) == Finding::Silent { *first } else { region };
                        assert_eq!(
                            (whom.as_slice(), by.as_str()),
                            (&[region.to_owned()][..], known),
                            "{case}"
                        );
                    }
                    Some((Deleted, _)) => {}
                    _ => assert_eq!((whom.len(), by.as_str()), (0, *first), "{case}: asked for again"),
                }
            }
        }
    }
    assert!(cases > 100_000, "{cases}");
}

type Changed = Option<(Change, &'static str)>;

fn combined<'a>(
    changes: &'a [Changed],
    aways: &'a [&'a [&'static str]],
) -> impl Iterator<Item = (Changed, &'a [&'static str], u8)> {
    let with = move |change: Changed| {
        aways.iter().flat_map(move |away| (0..4).map(move |flags| (change, *away, flags)))
    };
    changes.iter().copied().flat_map(with)
}

#[test]
fn answers_are_read_as_lag_would_explain_them() {
    for (status, code, marker, finding) in [
        (200, None, false, Finding::Found),
        (206, None, false, Finding::Found),
        (304, None, false, Finding::Found),
        (404, Some("NoSuchKey"), false, Finding::Missing),
        (404, Some("NoSuchVersion"), false, Finding::Missing),
        (404, Some("NoSuchTagSet"), false, Finding::Missing),
        (404, None, false, Finding::Missing),
        (404, None, true, Finding::Marker),
        (404, Some("NoSuchBucket"), false, Finding::Silent),
        (412, Some("PreconditionFailed"), false, Finding::Missing),
        (416, Some("InvalidRange"), false, Finding::Missing),
        (400, Some("InvalidRequest"), false, Finding::Found),
        (405, None, true, Finding::Found),
        (403, Some("AccessDenied"), false, Finding::Silent),
        (301, None, false, Finding::Silent),
        (429, None, false, Finding::Silent),
        (500, Some("InternalError"), false, Finding::Silent),
        (503, Some("SlowDown"), false, Finding::Silent),
    ] {
        assert_eq!(Finding::of(status, code, marker), finding, "{status} {code:?} {marker}");
    }
}

#[test]
fn only_reads_of_one_object_are_asked_again() {
    let asked: Vec<_> = Operation::ALL
        .iter()
        .filter(|operation| applies(&object(**operation)))
        .map(|operation| operation.facts().name)
        .collect();
    let expected = [
        "GetObject",
        "HeadObject",
        "GetObjectAcl",
        "GetObjectTagging",
        "GetObjectRetention",
        "GetObjectLegalHold",
        "GetObjectAttributes",
        "GetObjectAnnotation",
        "ListObjectAnnotations",
        "GetObjectTorrent",
    ];
    assert_eq!(asked, expected);
}

/// An object as a region has it: its tag's number, which is also when it was modified and how long
/// it is.
type Has = Option<u8>;

/// What a client asks for.
#[derive(Clone, Copy, Debug, Default)]
struct Conditions {
    if_match: Option<u8>,
    /// 0: `*`.
    if_none_match: Option<u8>,
    modified_since: Option<u8>,
    unmodified_since: Option<u8>,
    /// The first byte of a range.
    from: Option<u8>,
}

/// What S3 answers (RFC 9110, 13.2.2: the tags count before the dates).
fn s3(has: Has, asked: Conditions) -> u16 {
    let Some(version) = has else { return 404 };
    let fails = |condition: Option<u8>, holds: bool| condition.is_some() && !holds;
    if fails(asked.if_match, asked.if_match == Some(version)) {
        return 412;
    }
    if asked.if_match.is_none() && asked.unmodified_since.is_some_and(|since| version > since) {
        return 412;
    }
    if asked.if_none_match.is_some_and(|tag| tag == 0 || tag == version) {
        return 304;
    }
    if asked.if_none_match.is_none() && asked.modified_since.is_some_and(|since| version <= since) {
        return 304;
    }
    match asked.from {
        Some(from) if from >= version => 416,
        Some(_) => 206,
        None => 200,
    }
}

/// Every condition, on every pair of what a region that lags has and what home has: where the first
/// says that there is nothing, or not what was presupposed, the client is told what home says; and
/// whatever else it says stands, as without a shield. Nobody's answer is ever made of two.
#[test]
fn no_condition_is_answered_wrongly() {
    let some = |value: u8| [None, Some(value), Some(value + 1)];
    let mut conditions = Vec::new();
    for if_match in some(1) {
        for if_none_match in [None, Some(0), Some(1), Some(2)] {
            for (modified_since, unmodified_since) in
                [(None, None), (Some(1), None), (Some(2), None), (None, Some(1)), (None, Some(2))]
            {
                for from in some(1) {
                    conditions.push(Conditions {
                        if_match,
                        if_none_match,
                        modified_since,
                        unmodified_since,
                        from,
                    });
                }
            }
        }
    }
    let finding = |has: Has, asked| Finding::of(s3(has, asked), None, false);
    for asked in conditions {
        for lagging in some(1) {
            for home in some(1) {
                let says = |region: &str| finding(if region == HOME { home } else { lagging }, asked);
                let (whom, told) = play(&NOTHING, NEAR, &says);
                let Told::Answer(by, _) = told else { panic!("{asked:?}: withheld") };
                let status = s3(if by == HOME { home } else { lagging }, asked);
                let case = format!("{asked:?}, near has {lagging:?}, home {home:?}: {status} by {by}");
                if matches!(s3(lagging, asked), 404 | 412 | 416) {
                    assert_eq!((by.as_str(), status), (HOME, s3(home, asked)), "{case}");
                    assert!(!whom.is_empty(), "{case}");
                } else {
                    assert_eq!((by.as_str(), whom.len()), (NEAR, 0), "{case}");
                }
                // what this process saw written at home is read there, and never revalidated elsewhere
                let (_, told) = play(&recalled(Change::Wrote, HOME), HOME, &says);
                assert!(matches!(told, Told::Answer(by, _) if by == HOME), "{case}");
                // what it saw deleted there is not "not modified" because another still has it
                let gone = |region: &str| if region == HOME { Finding::Missing } else { says(region) };
                let (_, told) = play(&recalled(Change::Deleted, HOME), NEAR, &gone);
                assert_eq!(told, answer(HOME, Certainty::Confirmed), "{case}");
            }
        }
    }
}

/// What is slow, held back or on probation has its place behind others for these keys too: whether
/// another region has the last change can be seen.
#[test]
fn a_recent_change_is_read_where_it_happened_while_that_serves_well() {
    let mut rig = Rig::new();
    let first = |rig: &mut Rig, affinity| {
        names(&rig.try_plan(object(Operation::GetObject), affinity).unwrap())[0].clone()
    };
    assert_eq!(first(&mut rig, Affinity::None), NEAR);
    assert_eq!(first(&mut rig, Affinity::Recent(HOME.into())), HOME);
    rig.kill(HOME);
    assert_eq!(first(&mut rig, Affinity::Recent(HOME.into())), NEAR);
    rig.revive(HOME);
    for _ in 0..3 {
        rig.answer(HOME, Kind::Read);
    }
    assert_eq!(rig.table().standing(&HOME.into(), Kind::Read), crate::fleet::Standing::Healthy);
    assert_eq!(first(&mut rig, Affinity::Recent(HOME.into())), NEAR, "held back");
    assert_eq!(first(&mut rig, Affinity::Prefer(HOME.into())), HOME, "goes on where it began");
}

#[test]
fn most_answers_need_no_second_look() {
    let wrote =
        Recalled { region: HOME.into(), change: Change::Wrote, away: false, tag: None, at: Instant::now() };
    let deleted = Recalled { change: Change::Deleted, ..wrote.clone() };
    for (fallback, recalled, region, finding, proven, looked_into) in [
        (true, None, NEAR, Finding::Found, false, false),
        (true, None, NEAR, Finding::Missing, false, true),
        (false, None, NEAR, Finding::Missing, false, false),
        (false, Some(&wrote), NEAR, Finding::Missing, false, true),
        (true, Some(&wrote), NEAR, Finding::Found, false, true),
        (true, Some(&wrote), NEAR, Finding::Found, true, false),
        (true, Some(&wrote), HOME, Finding::Found, false, false),
        (true, Some(&deleted), NEAR, Finding::Found, false, true),
        (false, Some(&deleted), NEAR, Finding::Found, false, true),
        (true, Some(&deleted), NEAR, Finding::Found, true, false),
        (true, Some(&deleted), HOME, Finding::Found, false, false),
        (true, Some(&deleted), NEAR, Finding::Silent, false, false),
    ] {
        let said = Heard { region: region.into(), finding, proven, later: proven };
        assert_eq!(doubts(fallback, recalled, &said), looked_into, "{recalled:?} {said:?}");
    }
}

#[test]
fn a_date_counts_only_where_the_region_of_the_change_cannot_be_asked() {
    let home = RegionId::new(HOME);
    let deleted = Recalled {
        region: home.clone(),
        change: Change::Deleted,
        away: false,
        tag: None,
        at: Instant::now(),
    };
    let case = Case { fallback: true, home: &home, recalled: Some(&deleted), away: &[], overflowed: false };
    let near = |later| Heard { region: NEAR.into(), finding: Finding::Found, proven: false, later };
    let said = |finding| Heard { region: HOME.into(), finding, proven: false, later: false };
    for later in [false, true] {
        assert_eq!(next(&case, &[near(later)]), Next::Ask(&home));
        let heard = [near(later), said(Finding::Marker)];
        assert_eq!(next(&case, &heard), Next::Answer(1, Certainty::Confirmed), "it does not come back");
    }
    let heard = [near(true), said(Finding::Silent)];
    assert_eq!(next(&case, &heard), Next::Answer(0, Certainty::Found));
    let heard = [near(false), said(Finding::Silent)];
    assert_eq!(next(&case, &heard), Next::Withhold(Withheld::Deleted));
}

#[test]
fn what_is_dated_after_the_second_of_a_change_was_written_after_it() {
    // changed at 100.571 and asked about at 122.900, as stores date: in whole seconds, downwards
    let now = (UnixSeconds(122), 900);
    let age = Duration::from_millis(22_329);
    for (dated, later) in [(99, false), (100, false), (101, true), (122, true), (130, true)] {
        assert_eq!(is_later(UnixSeconds(dated), age, now), later, "{dated}");
    }
    // changed on the very second: it may have been written before it
    assert!(!is_later(UnixSeconds(100), Duration::from_millis(22_900), now));
    assert!(is_later(UnixSeconds(100), Duration::from_millis(22_901), now));
    assert!(!is_later(UnixSeconds(i64::MIN), Duration::MAX, now));
    assert!(is_later(UnixSeconds(i64::MAX), Duration::ZERO, now));
}
