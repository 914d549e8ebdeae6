//! The objects of a region, in memory; and the journal that a replicator reads.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::Bytes;

use super::log::{Log, Record};
use crate::house::{digest, moment};

/// An object as it was put.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Object {
    pub body: Bytes,
    /// With its quotes.
    pub etag: String,
    /// Headers that are given back: content type, metadata, checksums and the like.
    pub headers: Vec<(String, String)>,
    /// When it was last put, at whichever region.
    pub modified: SystemTime,
}

impl Object {
    /// An object with the `ETag` of a single PUT.
    pub fn new(body: Bytes, headers: Vec<(String, String)>) -> Self {
        let etag = format!("\"{}\"", hex::encode(digest::md5(&body)));
        Self { body, etag, headers, modified: moment::now() }
    }

    /// One header.
    pub fn header(&self, name: &str) -> Option<&str> {
        crate::house::text::header(&self.headers, name)
    }
}

/// One version of a key.
#[derive(Clone, Debug)]
pub struct Version {
    pub id: String,
    /// `None`: a delete marker.
    pub object: Option<Arc<Object>>,
    pub modified: SystemTime,
}

/// An upload under way.
#[derive(Clone, Debug)]
pub struct Upload {
    pub key: String,
    pub headers: Vec<(String, String)>,
    pub parts: BTreeMap<u32, Arc<Object>>,
    pub initiated: SystemTime,
}

impl Upload {
    /// An upload without parts.
    pub fn begun(key: &str) -> Self {
        Self { key: key.to_owned(), headers: Vec::new(), parts: BTreeMap::new(), initiated: moment::now() }
    }
}

/// Who wins: the later, then the region with the greater name.
pub type Stamp = (SystemTime, String);

/// A mutation made by a client of this region (never by a replicator).
#[derive(Clone, Debug)]
pub struct Change {
    pub bucket: usize,
    pub key: String,
    /// `None`: deleted.
    pub object: Option<Arc<Object>>,
    pub stamp: Stamp,
}

/// A bucket.
#[derive(Clone, Debug, Default)]
pub struct Bucket {
    /// Newest last; never empty. Without versioning one entry.
    objects: BTreeMap<String, Vec<Version>>,
    pub uploads: BTreeMap<String, Upload>,
    stamps: BTreeMap<String, Stamp>,
}

impl Bucket {
    /// The current object of a key.
    pub fn current(&self, key: &str) -> Option<&Version> {
        self.objects.get(key)?.last()
    }

    /// A version of a key, or the current one.
    pub fn version(&self, key: &str, id: Option<&str>) -> Option<&Version> {
        match id {
            None => self.current(key),
            Some(id) => self.objects.get(key)?.iter().find(|version| version.id == id),
        }
    }

    /// Keys whose current version is an object, in order.
    pub fn listed(&self) -> impl Iterator<Item = (&str, &Object)> {
        self.objects
            .iter()
            .filter_map(|(key, versions)| Some((key.as_str(), versions.last()?.object.as_deref()?)))
    }

    /// All versions, newest first within a key.
    pub fn versions(&self) -> impl Iterator<Item = (&str, &Version)> {
        self.objects
            .iter()
            .flat_map(|(key, all)| all.iter().rev().map(move |version| (key.as_str(), version)))
    }
}

/// All buckets of a region.
#[derive(Debug)]
pub struct Store {
    region: String,
    versioned: bool,
    names: Vec<String>,
    buckets: Vec<Bucket>,
    counter: u64,
    journal: Vec<Change>,
    /// Changes that were in the journal and are forgotten.
    forgotten: usize,
    /// Where every change is written down before it is answered.
    log: Option<Log>,
    /// Settings of buckets, by bucket and name; gone with the process.
    pub settings: BTreeMap<(String, String), Bytes>,
}

impl Store {
    pub fn new(region: &str, versioned: bool, buckets: &[&str]) -> Self {
        Self {
            region: region.to_owned(),
            versioned,
            names: buckets.iter().map(|&name| name.to_owned()).collect(),
            buckets: vec![Bucket::default(); buckets.len()],
            counter: 0,
            journal: Vec::new(),
            forgotten: 0,
            log: None,
            settings: BTreeMap::new(),
        }
    }

    /// Brings back what a log holds, and writes down every change from now on.
    pub fn keep(&mut self, folder: &Path) {
        let (log, records) = Log::open(folder);
        for record in records {
            self.counter += 1;
            self.replay(record);
        }
        self.log = Some(log);
    }

    fn replay(&mut self, record: Record) {
        match record {
            Record::Create { bucket } if self.index(&bucket).is_none() => self.create(&bucket),
            Record::Create { .. } => {}
            Record::Remove { bucket } => {
                let index = self.index(&bucket).expect("a removed bucket was there");
                self.remove(index);
            }
            Record::Change { change, journalled, version } => {
                self.apply(&change, journalled, version);
            }
            Record::DeleteVersion { bucket, key, version } => self.delete_version(bucket, &key, &version),
            Record::Upload { bucket, id, upload } => self.open_upload(bucket, id, upload),
            Record::Part { bucket, id, number, part } => {
                self.add_part(bucket, &id, number, part);
            }
            Record::End { bucket, id } => self.end_upload(bucket, &id),
        }
    }

    fn note(&mut self, record: impl FnOnce() -> Record) {
        if let Some(log) = &mut self.log {
            log.append(&record());
        }
    }

    /// Begins an upload.
    pub fn open_upload(&mut self, index: usize, id: String, upload: Upload) {
        self.note(|| Record::Upload { bucket: index, id: id.clone(), upload: upload.clone() });
        self.buckets[index].uploads.insert(id, upload);
    }

    /// Takes a part; whether there is such an upload.
    pub fn add_part(&mut self, index: usize, id: &str, number: u32, part: Arc<Object>) -> bool {
        if !self.buckets[index].uploads.contains_key(id) {
            return false;
        }
        self.note(|| Record::Part { bucket: index, id: id.to_owned(), number, part: Arc::clone(&part) });
        let upload = self.buckets[index].uploads.get_mut(id);
        upload.is_some_and(|upload| {
            upload.parts.insert(number, part);
            true
        })
    }

    /// Forgets an upload.
    pub fn end_upload(&mut self, index: usize, id: &str) {
        self.note(|| Record::End { bucket: index, id: id.to_owned() });
        self.buckets[index].uploads.remove(id);
    }

    pub fn names(&self) -> &[String] {
        &self.names
    }

    pub fn index(&self, bucket: &str) -> Option<usize> {
        self.names.iter().position(|name| name == bucket)
    }

    pub fn bucket(&self, index: usize) -> &Bucket {
        &self.buckets[index]
    }

    pub fn create(&mut self, bucket: &str) {
        self.note(|| Record::Create { bucket: bucket.to_owned() });
        self.names.push(bucket.to_owned());
        self.buckets.push(Bucket::default());
    }

    pub fn remove(&mut self, index: usize) {
        let bucket = self.names[index].clone();
        self.note(|| Record::Remove { bucket });
        self.names.remove(index);
        self.buckets.remove(index);
    }

    /// An id that no other region gives out.
    pub fn new_id(&mut self, what: &str) -> String {
        self.counter += 1;
        format!("{what}-{}-{}", self.region, self.counter)
    }

    /// Stores an object; its version id where the bucket keeps versions.
    pub fn put(&mut self, index: usize, key: &str, object: Object) -> Option<String> {
        let stamp = (object.modified, self.region.clone());
        self.change(index, key, Some(Arc::new(object)), stamp, true)
    }

    /// Deletes a key; the marker's id where the bucket keeps versions.
    pub fn delete(&mut self, index: usize, key: &str) -> Option<String> {
        let stamp = (moment::now(), self.region.clone());
        self.change(index, key, None, stamp, true)
    }

    /// Deletes one version.
    pub fn delete_version(&mut self, index: usize, key: &str, id: &str) {
        self.note(|| Record::DeleteVersion { bucket: index, key: key.to_owned(), version: id.to_owned() });
        let objects = &mut self.buckets[index].objects;
        if let Some(versions) = objects.get_mut(key) {
            versions.retain(|version| version.id != id);
            if versions.is_empty() {
                objects.remove(key);
            }
        }
    }

    fn change(
        &mut self,
        index: usize,
        key: &str,
        object: Option<Arc<Object>>,
        mut stamp: Stamp,
        journalled: bool,
    ) -> Option<String> {
        // what replaces a state here is newer than it, however wrong the clock has been
        if let Some((held, _)) = self.buckets[index].stamps.get(key).filter(|_| journalled) {
            stamp.0 = stamp.0.max(*held + Duration::from_nanos(1));
        }
        let id = if self.versioned { self.new_id("version") } else { "null".to_owned() };
        let change = Change { bucket: index, key: key.to_owned(), object, stamp };
        self.note(|| Record::Change { change: change.clone(), journalled, version: id.clone() });
        self.apply(&change, journalled, id)
    }

    fn apply(&mut self, change: &Change, journalled: bool, id: String) -> Option<String> {
        let Change { bucket, key, object, stamp } = change;
        let bucket = &mut self.buckets[*bucket];
        let version = Version { id: id.clone(), object: object.clone(), modified: stamp.0 };
        bucket.stamps.insert(key.clone(), stamp.clone());
        match (self.versioned, object) {
            (true, _) => bucket.objects.entry(key.clone()).or_default().push(version),
            (false, Some(_)) => drop(bucket.objects.insert(key.clone(), vec![version])),
            (false, None) => drop(bucket.objects.remove(key)),
        }
        if journalled {
            self.journal.push(change.clone());
        }
        self.versioned.then_some(id)
    }

    /// The changes from `cursor` on, and the cursor behind them.
    pub fn journal(&self, cursor: usize) -> (Vec<Change>, usize) {
        let known = cursor.saturating_sub(self.forgotten).min(self.journal.len());
        (self.journal[known..].to_vec(), self.forgotten + self.journal.len())
    }

    /// Forgets the changes before `cursor`: every reader has them.
    pub fn forget_journal(&mut self, cursor: usize) {
        let known = cursor.saturating_sub(self.forgotten).min(self.journal.len());
        self.journal.drain(..known);
        self.forgotten += known;
    }

    /// Takes over a change of another region, if it is newer than what is here.
    pub fn replicate(&mut self, change: &Change) -> bool {
        let Some(bucket) = self.buckets.get(change.bucket) else { return false };
        if bucket.stamps.get(&change.key).is_some_and(|stamp| *stamp >= change.stamp) {
            return false;
        }
        self.change(change.bucket, &change.key, change.object.clone(), change.stamp.clone(), false);
        true
    }
}
