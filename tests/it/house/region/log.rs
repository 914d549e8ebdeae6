//! What a region writes down, so that it comes back with everything it acknowledged.
//!
//! One file, only appended to: a JSON line for each change, followed by the object's bytes. Every
//! record is handed to the kernel before the change is answered; a killed process loses none (a
//! machine without power might, which no test can try). The last record may be torn: nobody was told
//! of it.

use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use serde_json::{Value, json};

use super::store::{Change, Object, Upload};

/// A change of a region's contents.
#[derive(Debug)]
pub enum Record {
    Create { bucket: String },
    Remove { bucket: String },
    Change { change: Change, journalled: bool, version: String },
    DeleteVersion { bucket: usize, key: String, version: String },
    Upload { bucket: usize, id: String, upload: Upload },
    Part { bucket: usize, id: String, number: u32, part: Arc<Object> },
    End { bucket: usize, id: String },
}

/// The open file.
#[derive(Debug)]
pub struct Log(File);

impl Log {
    /// Opens the log in a folder, and reads what is in it; a torn end is cut off.
    pub fn open(folder: &Path) -> (Self, Vec<Record>) {
        std::fs::create_dir_all(folder).unwrap();
        let mut file = OpenOptions::new()
            .create(true)
            .truncate(false)
            .read(true)
            .append(true)
            .open(folder.join("log"))
            .unwrap();
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes).unwrap();
        let bytes = Bytes::from(bytes);
        let (mut records, mut whole) = (Vec::new(), 0);
        while let Some((record, size)) = read(&bytes.slice(whole..)) {
            records.push(record);
            whole += size;
        }
        file.set_len(whole as u64).unwrap();
        (Self(file), records)
    }

    /// Writes a record; when it returns, the record outlives this process.
    pub fn append(&mut self, record: &Record) {
        let (head, body) = written(record);
        let mut bytes = head.to_string().into_bytes();
        bytes.push(b'\n');
        bytes.extend_from_slice(&body);
        self.0.write_all(&bytes).unwrap();
    }
}

fn written(record: &Record) -> (Value, Bytes) {
    match record {
        Record::Create { bucket } => (json!({"is": "create", "bucket": bucket}), Bytes::new()),
        Record::Remove { bucket } => (json!({"is": "remove", "bucket": bucket}), Bytes::new()),
        Record::Change { change, journalled, version } => {
            let (mut head, body) = change.to_wire();
            head["is"] = json!("change");
            head["journalled"] = json!(journalled);
            head["version"] = json!(version);
            (head, body)
        }
        Record::DeleteVersion { bucket, key, version } => {
            (json!({"is": "delete_version", "bucket": bucket, "key": key, "version": version}), Bytes::new())
        }
        Record::Upload { bucket, id, upload } => {
            let head = json!({
                "is": "upload", "bucket": bucket, "id": id, "key": upload.key,
                "headers": upload.headers, "initiated": nanos(upload.initiated),
            });
            (head, Bytes::new())
        }
        Record::Part { bucket, id, number, part } => {
            let (object, body) = object_to_wire(part);
            (json!({"is": "part", "bucket": bucket, "id": id, "number": number, "object": object}), body)
        }
        Record::End { bucket, id } => (json!({"is": "end", "bucket": bucket, "id": id}), Bytes::new()),
    }
}

/// The first record, and how long it is; `None` where it is not all there.
fn read(bytes: &Bytes) -> Option<(Record, usize)> {
    let end = memchr::memchr(b'\n', bytes)?;
    let head: Value = serde_json::from_slice(&bytes[..end]).ok()?;
    let size = usize::try_from(head["object"]["size"].as_u64().unwrap_or(0)).ok()?;
    let all = end + 1 + size;
    if bytes.len() < all {
        return None;
    }
    let body = bytes.slice(end + 1..all);
    let text = |name: &str| head[name].as_str().map(str::to_owned);
    let bucket = || usize::try_from(head["bucket"].as_u64()?).ok();
    let record = match head["is"].as_str()? {
        "create" => Record::Create { bucket: text("bucket")? },
        "remove" => Record::Remove { bucket: text("bucket")? },
        "change" => Record::Change {
            change: Change::of_wire(&head, body)?,
            journalled: head["journalled"].as_bool()?,
            version: text("version")?,
        },
        "delete_version" => {
            Record::DeleteVersion { bucket: bucket()?, key: text("key")?, version: text("version")? }
        }
        "upload" => Record::Upload {
            bucket: bucket()?,
            id: text("id")?,
            upload: Upload {
                key: text("key")?,
                headers: serde_json::from_value(head["headers"].clone()).ok()?,
                parts: std::collections::BTreeMap::new(),
                initiated: time(&head["initiated"])?,
            },
        },
        "part" => Record::Part {
            bucket: bucket()?,
            id: text("id")?,
            number: u32::try_from(head["number"].as_u64()?).ok()?,
            part: Arc::new(object_of_wire(&head["object"], body)?),
        },
        "end" => Record::End { bucket: bucket()?, id: text("id")? },
        _ => return None,
    };
    Some((record, all))
}

impl Change {
    /// A change as a JSON value and the bytes that follow it (`object.size` of them).
    pub fn to_wire(&self) -> (Value, Bytes) {
        let (object, body) = match &self.object {
            Some(object) => object_to_wire(object),
            None => (Value::Null, Bytes::new()),
        };
        let head = json!({
            "bucket": self.bucket, "key": self.key, "at": nanos(self.stamp.0), "region": self.stamp.1,
            "object": object,
        });
        (head, body)
    }

    /// The change of [`Change::to_wire`]; `None` where something is missing.
    pub fn of_wire(head: &Value, body: Bytes) -> Option<Self> {
        let object = match &head["object"] {
            Value::Null => None,
            object => Some(Arc::new(object_of_wire(object, body)?)),
        };
        Some(Self {
            bucket: usize::try_from(head["bucket"].as_u64()?).ok()?,
            key: head["key"].as_str()?.to_owned(),
            object,
            stamp: (time(&head["at"])?, head["region"].as_str()?.to_owned()),
        })
    }
}

fn object_to_wire(object: &Object) -> (Value, Bytes) {
    let head = json!({
        "size": object.body.len(), "etag": object.etag, "headers": object.headers,
        "modified": nanos(object.modified),
    });
    (head, object.body.clone())
}

fn object_of_wire(head: &Value, body: Bytes) -> Option<Object> {
    Some(Object {
        body,
        etag: head["etag"].as_str()?.to_owned(),
        headers: serde_json::from_value(head["headers"].clone()).ok()?,
        modified: time(&head["modified"])?,
    })
}

fn nanos(time: SystemTime) -> u64 {
    let since = time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}

fn time(nanos: &Value) -> Option<SystemTime> {
    Some(SystemTime::UNIX_EPOCH + Duration::from_nanos(nanos.as_u64()?))
}
