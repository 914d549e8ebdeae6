//! What is remembered, for how long, and what becomes of it when there is more than room.

use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;
use crate::route::Traces;
use crate::route::memory::{Change, Forgotten, Memory, Recalled, Tended, Tending};

const WINDOW: Duration = Duration::from_mins(15);
const ROOM: usize = 100;

/// A memory on a clock of its own, of access points at home in `home`.
struct Mind {
    memory: Memory,
    traces: Arc<Traces>,
    now: Instant,
    room: usize,
    home_well: bool,
    behind: Duration,
}

fn point(name: &str, home: &str) -> AccessPoint {
    AccessPoint { name: AccessPointName::new(name), home: home.into(), ..Rig::new().access_point }
}

impl Mind {
    fn new() -> Self {
        let traces = Arc::new(Traces::new(ROOM));
        let memory = Memory::new(Arc::clone(&traces));
        Self { memory, traces, now: Instant::now(), room: ROOM, home_well: true, behind: Duration::ZERO }
    }

    fn change(&mut self, of: &str, key: u64, change: Change, region: &str) -> Forgotten {
        let changes = [(key, change)];
        self.memory.remember((&point(of, HOME), &region.into()), changes, None, self.now, self.room)
    }

    fn wrote(&mut self, key: u64, region: &str) -> Forgotten {
        self.change("photos", key, Change::Wrote, region)
    }

    fn recall(&self, key: u64) -> Last {
        let recalled = self.memory.recall(&AccessPointName::new("photos"), key);
        assert!(recalled.is_none() || self.traces.may_hold(key), "who asks the traces first finds it too");
        recalled.map(|Recalled { region, change, away, .. }| (region.to_string(), change, away))
    }

    fn away(&self) -> (Vec<String>, bool) {
        let (regions, overflowed) = self.memory.away(&AccessPointName::new("photos"));
        (regions.iter().map(ToString::to_string).collect(), overflowed)
    }

    fn tend(&mut self) -> Tended {
        let behind = |_: &RegionId| self.behind;
        let tending = Tending { window: WINDOW, home_well: self.home_well, behind: &behind, most: 1_000 };
        self.memory.tend(&point("photos", HOME), &tending, self.now)
    }

    /// Looks after the keys once a second, as the control thread does.
    fn pass(&mut self, time: Duration) {
        for _ in 0..time.as_secs() {
            self.now += Duration::from_secs(1);
            self.tend();
        }
    }
}

type Last = Option<(String, Change, bool)>;

#[expect(clippy::unnecessary_wraps, reason = "what a recall gives")]
fn wrote_at(region: &str) -> Last {
    Some((region.to_owned(), Change::Wrote, region != HOME))
}

#[test]
fn the_last_change_of_a_key_counts() {
    let mut mind = Mind::new();
    assert!(mind.traces.is_empty() && !mind.traces.may_hold(1));
    mind.wrote(1, NEAR);
    assert_eq!(mind.recall(1), wrote_at(NEAR));
    mind.wrote(1, HOME);
    assert_eq!(mind.recall(1), wrote_at(HOME));
    mind.change("photos", 1, Change::Deleted, HOME);
    assert_eq!(mind.recall(1), Some((HOME.to_owned(), Change::Deleted, false)));
    mind.change("albums", 1, Change::Wrote, FAR);
    assert_eq!(mind.recall(1), Some((HOME.to_owned(), Change::Deleted, false)), "another access point's");
    assert_eq!((mind.recall(2), mind.memory.len()), (None, 2));
}

#[test]
fn a_change_at_home_is_remembered_for_the_lag_window() {
    let mut mind = Mind::new();
    mind.wrote(1, HOME);
    mind.home_well = false;
    mind.pass(WINDOW.saturating_sub(Duration::from_secs(1)));
    assert_eq!(mind.recall(1), wrote_at(HOME));
    mind.pass(Duration::from_secs(1));
    assert_eq!(mind.recall(1), None, "whatever became of home");
    assert!(mind.traces.is_empty() && mind.memory.is_empty());
    assert_eq!(mind.memory.points(), []);
}

#[test]
fn a_change_elsewhere_is_kept_until_home_was_back_for_the_lag_window() {
    let mut mind = Mind::new();
    mind.home_well = false;
    mind.wrote(1, FAR);
    mind.wrote(2, NEAR);
    assert_eq!(mind.away(), (vec![NEAR.to_owned(), FAR.to_owned()], false), "the last one first");
    mind.pass(Duration::from_hours(2));
    assert_eq!((mind.recall(1), mind.recall(2)), (wrote_at(FAR), wrote_at(NEAR)));
    mind.home_well = true;
    mind.pass(WINDOW.saturating_sub(Duration::from_secs(1)));
    mind.home_well = false;
    mind.pass(Duration::from_secs(1));
    mind.home_well = true;
    mind.pass(WINDOW);
    assert_eq!(mind.recall(1), wrote_at(FAR), "a break begins the window anew");
    mind.now += Duration::from_secs(1);
    let tended = mind.tend();
    assert_eq!(tended.synced.len(), 2);
    assert_eq!((tended.journal, mind.recall(1), mind.away()), (0, None, (Vec::new(), false)));
}

#[test]
fn what_lags_longer_than_the_window_is_remembered_longer() {
    let mut mind = Mind::new();
    mind.behind = Duration::from_mins(10);
    mind.wrote(1, HOME);
    mind.wrote(2, FAR);
    mind.pass(Duration::from_secs(20 * 60 - 1));
    assert_eq!((mind.recall(1), mind.recall(2)), (wrote_at(HOME), wrote_at(FAR)));
    mind.pass(Duration::from_secs(2));
    assert_eq!((mind.recall(1), mind.recall(2)), (None, None));
}

#[test]
fn a_key_that_is_written_at_home_again_leaves_the_journal() {
    let mut mind = Mind::new();
    mind.home_well = false;
    mind.wrote(1, FAR);
    assert_eq!(mind.tend().journal, 1);
    mind.home_well = true;
    mind.wrote(1, HOME);
    let tended = mind.tend();
    assert_eq!((tended.recent, tended.journal), (1, 0));
    assert_eq!(mind.away(), (vec![FAR.to_owned()], false), "others may have written there");
}

#[test]
fn at_the_limit_nothing_is_forgotten_and_one_above_the_oldest_is() {
    let mut mind = Mind::new();
    for key in 0..ROOM as u64 {
        assert_eq!(mind.wrote(key, HOME), Forgotten::default());
    }
    assert_eq!(mind.wrote(7, HOME), Forgotten::default(), "known already, and young again");
    assert_eq!(mind.wrote(1_000, HOME), Forgotten { recent: 1, journal: 0 });
    assert_eq!((mind.recall(0), mind.recall(1)), (None, wrote_at(HOME)));
    mind.room = ROOM - 10;
    assert_eq!(mind.wrote(1_001, HOME), Forgotten { recent: 11, journal: 0 }, "a reload leaves less room");
    assert_eq!((mind.recall(12), mind.recall(13), mind.recall(7)), (None, wrote_at(HOME), wrote_at(HOME)));
    assert_eq!(mind.memory.len(), ROOM - 10);
}

#[test]
fn the_journal_is_forgotten_last_and_that_is_known() {
    let mut mind = Mind::new();
    mind.room = 4;
    mind.home_well = false;
    for key in 0..3 {
        mind.wrote(key, FAR);
    }
    mind.wrote(10, HOME);
    assert_eq!(mind.wrote(3, FAR), Forgotten { recent: 1, journal: 0 });
    assert_eq!((mind.recall(10), mind.away()), (None, (vec![FAR.to_owned()], false)));
    assert_eq!(mind.wrote(4, FAR), Forgotten { recent: 0, journal: 1 });
    assert_eq!((mind.recall(0), mind.recall(1)), (None, wrote_at(FAR)));
    assert_eq!(mind.away(), (vec![FAR.to_owned()], true));
    assert!(mind.tend().overflowed);
    mind.home_well = true;
    mind.pass(WINDOW + Duration::from_secs(1));
    assert_eq!(mind.away(), (Vec::new(), false), "what is in sync needs no journal");
}

#[test]
fn one_access_points_burst_is_its_own_loss() {
    let mut mind = Mind::new();
    mind.room = 10;
    for key in 0..4 {
        mind.wrote(key, HOME);
    }
    for key in 0..50 {
        mind.change("albums", key, Change::Wrote, HOME);
    }
    assert!((0..4).all(|key| mind.recall(key) == wrote_at(HOME)));
}

#[test]
fn a_key_that_is_written_again_and_again_takes_one_place() {
    let mut mind = Mind::new();
    for _ in 0..10_000 {
        mind.wrote(1, HOME);
        mind.wrote(2, FAR);
    }
    assert_eq!(mind.memory.len(), 2);
    let text = format!("{:?}", mind.memory);
    assert!(text.len() < 20_000, "queues grow: {} bytes", text.len());
}

#[test]
fn after_a_reload_elsewhere_is_another_set() {
    let mut mind = Mind::new();
    mind.wrote(1, HOME);
    mind.wrote(2, FAR);
    let behind = |_: &RegionId| Duration::ZERO;
    let tending = Tending { window: WINDOW, home_well: true, behind: &behind, most: 1_000 };
    let tended = mind.memory.tend(&point("photos", FAR), &tending, mind.now);
    assert_eq!((tended.recent, tended.journal), (1, 1));
    assert_eq!(mind.away(), (vec![HOME.to_owned()], false));
    assert_eq!(mind.recall(1), Some((HOME.to_owned(), Change::Wrote, true)));
    mind.memory.forget(&AccessPointName::new("photos"));
    assert!(mind.recall(1).is_none() && mind.traces.is_empty());
}

#[test]
fn every_write_of_an_object_changes_it_in_a_way_that_is_known() {
    let changing: BTreeSet<_> = Operation::ALL
        .iter()
        .filter_map(|operation| Some(format!("{operation:?} {:?}", Change::of(&object(*operation))?)))
        .collect();
    let expected = [
        "CompleteMultipartUpload Wrote",
        "CopyObject Wrote",
        "DeleteObject Deleted",
        "DeleteObjectAnnotation Touched",
        "DeleteObjectTagging Touched",
        "PutObject Wrote",
        "PutObjectAcl Touched",
        "PutObjectAnnotation Touched",
        "PutObjectLegalHold Touched",
        "PutObjectRetention Touched",
        "PutObjectTagging Touched",
        "RestoreObject Touched",
        "UpdateObjectEncryption Touched",
    ];
    assert_eq!(changing, expected.map(str::to_owned).into());
    let mut version = object(Operation::DeleteObject);
    version.version_id = Some("v".to_owned());
    assert_eq!(Change::of(&version), Some(Change::Touched));
    // whoever adds a write of objects decides here what it changes
    let silent = Operation::ALL.iter().filter(|operation| {
        let facts = operation.facts();
        let of_object = facts.rule.level == crate::s3::operation::Level::Object;
        facts.kind == Kind::Write && of_object && Change::of(&object(**operation)).is_none()
    });
    let silent: Vec<_> = silent.map(|operation| operation.facts().name).collect();
    let parts = ["CreateMultipartUpload", "UploadPart", "UploadPartCopy", "AbortMultipartUpload"];
    assert_eq!(silent, [&parts[..], &["RenameObject"]].concat());
}

proptest! {
    #[test]
    fn it_is_bounded_and_forgets_without_a_trace(
        steps in prop::collection::vec((0..40u64, 0..3usize, 0..3usize, 0..400u64, any::<bool>()), 1..300)
    ) {
        let mut mind = Mind::new();
        mind.room = 20;
        for (key, region, change, seconds, well) in steps {
            mind.home_well = well;
            let change = [Change::Wrote, Change::Deleted, Change::Touched][change];
            let region = [HOME, NEAR, FAR][region];
            mind.change("photos", key, change, region);
            // a full journal leaves no room for what was changed at home
            let (kept, full) = (mind.recall(key), mind.memory.len() == mind.room);
            prop_assert!(kept.is_some() || (full && region == HOME));
            prop_assert!(kept.is_none_or(|kept| kept == (region.to_owned(), change, region != HOME)));
            prop_assert!(mind.memory.len() <= 20);
            mind.now += Duration::from_secs(seconds);
            let tended = mind.tend();
            prop_assert_eq!(tended.recent + tended.journal, mind.memory.len());
        }
        mind.home_well = true;
        mind.tend();
        mind.now += WINDOW;
        mind.tend();
        prop_assert!(mind.memory.is_empty() && mind.traces.is_empty());
        prop_assert!((0..40).all(|key| !mind.traces.may_hold(key)));
    }
}
