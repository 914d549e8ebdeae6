//! What this process saw written and deleted lately, and where: so that a reader behind it reads its
//! own writes, and what was deleted does not come back. What was changed elsewhere than at home is
//! the journal of a failover: it is kept until home has had the lag window to catch up. Pure.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use smallvec::SmallVec;

use super::access_point::AccessPoint;
use super::traces::Traces;
use crate::names::{AccessPointName, RegionId};
use crate::s3::Call;
use crate::s3::operation::Operation;

/// What became of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Change {
    /// It has an object.
    Wrote,
    /// It has none.
    Deleted,
    /// Something about it changed: its tags, its ACL, one of its versions. Whether it has an object
    /// does not follow.
    Touched,
}

impl Change {
    /// What a call makes of its key where it succeeds; `None` where it changes no object. Of
    /// `DeleteObjects`, which names many, see [`Change::of_deletion`].
    #[must_use]
    pub fn of(call: &Call) -> Option<Self> {
        use Operation as O;
        match call.operation {
            O::PutObject | O::CopyObject | O::CompleteMultipartUpload => Some(Self::Wrote),
            O::DeleteObject => Some(Self::of_deletion(call.version_id.is_some())),
            O::PutObjectAcl
            | O::PutObjectTagging
            | O::DeleteObjectTagging
            | O::PutObjectRetention
            | O::PutObjectLegalHold
            | O::PutObjectAnnotation
            | O::DeleteObjectAnnotation
            | O::UpdateObjectEncryption
            | O::RestoreObject => Some(Self::Touched),
            _ => None,
        }
    }

    /// Without a version the key has no object any more; without one of its versions it may have
    /// another, or the object back that a delete marker hid.
    #[must_use]
    pub const fn of_deletion(of_version: bool) -> Self {
        if of_version { Self::Touched } else { Self::Deleted }
    }
}

/// A key's last change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recalled {
    /// Where it happened.
    pub region: RegionId,
    /// What it was.
    pub change: Change,
    /// That was not at home: it is in the journal.
    pub away: bool,
    /// Of a write: its entity tag, as a number.
    pub tag: Option<u64>,
    /// When it was acknowledged.
    pub at: Instant,
}

/// Keys that were forgotten for want of room.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Forgotten {
    /// Changed at home: their readers may see what was before.
    pub recent: usize,
    /// Of the journal: until home is in sync again, nobody knows of a key that it is not among them.
    pub journal: usize,
}

/// What a look after one access point's keys came to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tended {
    /// Keys that are remembered, changed at home.
    pub recent: usize,
    /// And elsewhere.
    pub journal: usize,
    /// The journal is not complete.
    pub overflowed: bool,
    /// Regions that home is in sync with again.
    pub synced: Vec<RegionId>,
    /// There was more to forget than one look may.
    pub more: bool,
}

/// What one look after an access point's keys goes by.
#[derive(Clone, Copy)]
pub struct Tending<'a> {
    /// `lag_shield.remember_writes`.
    pub window: Duration,
    /// Home may be read and written.
    pub home_well: bool,
    /// How far the region furthest behind this one is behind it, as measured lately.
    pub behind: &'a dyn Fn(&RegionId) -> Duration,
    /// Keys that are looked at, so that nobody waits long for the memory.
    pub most: usize,
}

/// The memory of all access points.
#[derive(Debug)]
pub struct Memory {
    points: HashMap<AccessPointName, Point>,
    traces: Arc<Traces>,
    /// Numbers changes: what a queue says of a key counts only while no later change does.
    serial: u64,
}

/// What is remembered of one access point.
#[derive(Debug)]
struct Point {
    home: RegionId,
    keys: HashMap<u64, Entry>,
    /// Of `keys`: those that were changed elsewhere than at home.
    journalled: usize,
    /// Changes at home, oldest first; also some that a later one of the key has replaced.
    recent: Queue,
    /// Changes elsewhere.
    journal: Queue,
    /// Regions other than home that took changes, and home may not have them yet.
    away: SmallVec<[Away; 2]>,
    /// Since when home has been well without a break.
    well_since: Option<Instant>,
}

type Queue = VecDeque<(u64, u64)>;

#[derive(Debug)]
struct Entry {
    region: RegionId,
    change: Change,
    tag: Option<u64>,
    at: Instant,
    serial: u64,
}

#[derive(Debug)]
struct Away {
    region: RegionId,
    /// When it took the last one.
    last: Instant,
    overflowed: bool,
}

impl Memory {
    /// Remembers nothing yet.
    #[must_use]
    pub fn new(traces: Arc<Traces>) -> Self {
        Self { points: HashMap::new(), traces, serial: 0 }
    }

    /// Keys, by their hashes, were changed in a region; `tag`: of the entity that was written. At most `most` are remembered, of all access
    /// points together: beyond it the access point that has most of them forgets its oldest, first
    /// those changed at home, which others may know as well, then those of the journal.
    pub fn remember(
        &mut self,
        (point, region): (&AccessPoint, &RegionId),
        changes: impl IntoIterator<Item = (u64, Change)>,
        tag: Option<u64>,
        now: Instant,
        most: usize,
    ) -> Forgotten {
        let traces = Arc::clone(&self.traces);
        let known = self.points.entry(point.name.clone()).or_insert_with(|| Point::new(&point.home));
        known.lives_at(&point.home);
        for (key, change) in changes {
            self.serial += 1;
            let entry = Entry { region: region.clone(), change, tag, at: now, serial: self.serial };
            if known.put(key, entry) {
                traces.add(key);
            }
        }
        let mut forgotten = Forgotten::default();
        while self.len() > most {
            self.forget_one(&mut forgotten);
        }
        forgotten
    }

    /// How many keys are remembered.
    #[must_use]
    pub fn len(&self) -> usize {
        self.traces.len()
    }

    /// Whether no key is remembered.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn forget_one(&mut self, forgotten: &mut Forgotten) {
        let most = self.points.values_mut().max_by_key(|point| point.keys.len() - point.journalled);
        let Some(point) = most else { return };
        if point.keys.len() > point.journalled {
            forgotten.recent += 1;
            return point.drop_oldest(Which::Recent, &self.traces);
        }
        let Some(point) = self.points.values_mut().max_by_key(|point| point.journalled) else { return };
        forgotten.journal += 1;
        point.drop_oldest(Which::Journal, &self.traces);
    }

    /// A key's last change.
    #[must_use]
    pub fn recall(&self, point: &AccessPointName, key: u64) -> Option<Recalled> {
        let point = self.points.get(point)?;
        let entry = point.keys.get(&key)?;
        let away = entry.region != point.home;
        let Entry { region, change, tag, at, .. } = entry;
        Some(Recalled { region: region.clone(), change: *change, away, tag: *tag, at: *at })
    }

    /// Forgets a key whose region says otherwise: it was changed there again, by somebody else. A
    /// change that was remembered since is kept.
    pub fn outdated(&mut self, point: &AccessPointName, key: u64, recalled: &Recalled) {
        let Some(known) = self.points.get_mut(point) else { return };
        let is_it = known
            .keys
            .get(&key)
            .is_some_and(|entry| (entry.at, entry.change) == (recalled.at, recalled.change));
        if is_it {
            known.remove(key, &self.traces);
        }
    }

    /// The regions that took changes which home may not have, the last one first; and whether some
    /// of those changes are forgotten.
    #[must_use]
    pub fn away(&self, point: &AccessPointName) -> (SmallVec<[RegionId; 2]>, bool) {
        let Some(point) = self.points.get(point) else { return (SmallVec::new(), false) };
        let regions = point.away.iter().rev().map(|away| away.region.clone()).collect();
        (regions, point.away.iter().any(|away| away.overflowed))
    }

    /// The access points of which something is remembered.
    #[must_use]
    pub fn points(&self) -> Vec<AccessPointName> {
        self.points.keys().cloned().collect()
    }

    /// Forgets an access point.
    pub fn forget(&mut self, point: &AccessPointName) {
        let forgotten = self.points.remove(point);
        forgotten.iter().flat_map(|point| point.keys.keys()).for_each(|key| self.traces.remove(*key));
    }

    /// Forgets what is older than the lag window: of changes at home counted from the change; of
    /// others, from when home was back to take them. Longer where the measured lag says so.
    pub fn tend(&mut self, point: &AccessPoint, tending: &Tending<'_>, now: Instant) -> Tended {
        let Some(known) = self.points.get_mut(&point.name) else { return Tended::default() };
        known.lives_at(&point.home);
        known.well_since = if tending.home_well { known.well_since.or(Some(now)) } else { None };
        let mut left = tending.most;
        known.expire(Which::Recent, tending, now, &mut left, &self.traces);
        known.expire(Which::Journal, tending, now, &mut left, &self.traces);
        let synced = known.in_sync(tending, now);
        let tended = Tended {
            recent: known.keys.len() - known.journalled,
            journal: known.journalled,
            overflowed: known.away.iter().any(|away| away.overflowed),
            synced,
            more: left == 0,
        };
        if known.keys.is_empty() && known.away.is_empty() {
            self.points.remove(&point.name);
        }
        tended
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Which {
    Recent,
    Journal,
}

/// A key is kept for so many times the measured lag, if that is longer than the window: the next
/// object may take longer than the small one that was measured.
const LAGS_KEPT: u32 = 2;

impl Tending<'_> {
    fn keeps(&self, region: &RegionId) -> Duration {
        self.window.max((self.behind)(region).saturating_mul(LAGS_KEPT))
    }
}

impl Point {
    fn new(home: &RegionId) -> Self {
        Self {
            home: home.clone(),
            keys: HashMap::new(),
            journalled: 0,
            recent: Queue::new(),
            journal: Queue::new(),
            away: SmallVec::new(),
            well_since: None,
        }
    }

    /// A reload may make another region home: what was changed elsewhere is another set then.
    fn lives_at(&mut self, home: &RegionId) {
        if self.home == *home {
            return;
        }
        self.home = home.clone();
        self.well_since = None;
        let mut all: Vec<_> = self.keys.drain().collect();
        all.sort_unstable_by_key(|(_, entry)| entry.serial);
        let overflowed = self.away.iter().any(|away| away.overflowed);
        *self = Self::new(home);
        for (key, entry) in all {
            self.put(key, entry);
        }
        // what is forgotten may have been anywhere
        self.away.iter_mut().for_each(|away| away.overflowed |= overflowed);
    }

    /// True where nothing was known of the key.
    fn put(&mut self, key: u64, entry: Entry) -> bool {
        let (serial, away) = (entry.serial, entry.region != self.home);
        if away {
            self.took(&entry.region, entry.at);
        }
        let before = self.keys.insert(key, entry);
        let was_away = before.as_ref().is_some_and(|before| before.region != self.home);
        self.journalled = self.journalled + usize::from(away) - usize::from(was_away);
        let keys = &self.keys;
        let queue = if away { &mut self.journal } else { &mut self.recent };
        queue.push_back((key, serial));
        // at most as many again have been replaced
        if queue.len() > 2 * keys.len() + 64 {
            queue.retain(|(key, serial)| keys.get(key).is_some_and(|entry| entry.serial == *serial));
        }
        before.is_none()
    }

    fn took(&mut self, region: &RegionId, at: Instant) {
        let mut overflowed = false;
        if let Some(place) = self.away.iter().position(|away| away.region == *region) {
            overflowed = self.away.remove(place).overflowed;
        }
        self.away.push(Away { region: region.clone(), last: at, overflowed });
    }

    /// The oldest change of a queue that still counts.
    fn oldest(&mut self, which: Which) -> Option<(u64, &Entry)> {
        let queue = match which {
            Which::Recent => &mut self.recent,
            Which::Journal => &mut self.journal,
        };
        while let Some((key, serial)) = queue.front().copied() {
            if self.keys.get(&key).is_some_and(|entry| entry.serial == serial) {
                return self.keys.get(&key).map(|entry| (key, entry));
            }
            queue.pop_front();
        }
        None
    }

    fn drop_oldest(&mut self, which: Which, traces: &Traces) {
        let Some((key, entry)) = self.oldest(which) else { return };
        let region = entry.region.clone();
        self.remove(key, traces);
        let of_it = self.away.iter_mut().filter(|away| which == Which::Journal && away.region == region);
        of_it.for_each(|away| away.overflowed = true);
    }

    fn remove(&mut self, key: u64, traces: &Traces) {
        let Some(entry) = self.keys.remove(&key) else { return };
        self.journalled -= usize::from(entry.region != self.home);
        traces.remove(key);
    }

    fn expire(
        &mut self,
        which: Which,
        tending: &Tending<'_>,
        now: Instant,
        left: &mut usize,
        traces: &Traces,
    ) {
        let since = match which {
            Which::Recent => None,
            Which::Journal if self.well_since.is_some() => self.well_since,
            Which::Journal => return,
        };
        while *left > 0 {
            let Some((key, entry)) = self.oldest(which) else { return };
            let from = since.map_or(entry.at, |since| since.max(entry.at));
            if now.saturating_duration_since(from) < tending.keeps(&entry.region) {
                return;
            }
            self.remove(key, traces);
            *left -= 1;
        }
    }

    /// Takes out the regions that home is in sync with: it has been well for as long as anything
    /// that was changed there may take to arrive.
    fn in_sync(&mut self, tending: &Tending<'_>, now: Instant) -> Vec<RegionId> {
        let Some(since) = self.well_since else { return Vec::new() };
        let mut synced = Vec::new();
        self.away.retain(|away| {
            let from = since.max(away.last);
            let waits = now.saturating_duration_since(from) < tending.keeps(&away.region);
            if !waits {
                synced.push(away.region.clone());
            }
            waits
        });
        synced
    }
}
