//! Lists of buckets, objects, versions, uploads and parts.

use std::fmt::Write;

use super::answer::Ask;
use super::store::{Bucket, Store, Upload, Version};
use super::wire::Reply;
use super::{Refusal, Settings};
use crate::house::{moment, text};

/// `ListBuckets`, in pages where they are asked for; all in the region that it signs for.
pub fn buckets(store: &Store, ask: &Ask, settings: &Settings) -> Result<Reply, Refusal> {
    let most: Option<usize> = match ask.parameter("max-buckets").map(str::parse) {
        None => None,
        Some(Ok(most @ 1..=10_000)) => Some(most),
        Some(_) => return Err(Refusal::new(400, "InvalidArgument", "max-buckets")),
    };
    let most = most.map(|most| settings.bucket_page.map_or(most, |page| page.min(most)));
    let after = ask.parameter("continuation-token").map(|token| opened(token, &settings.name)).transpose()?;
    let elsewhere = ask.parameter("bucket-region").is_some_and(|region| region != settings.signing_region);
    let prefix = ask.parameter("prefix").unwrap_or_default();
    let mut names: Vec<&String> = store.names().iter().filter(|name| name.starts_with(prefix)).collect();
    names.retain(|name| !elsewhere && after.as_ref().is_none_or(|after| *name > after));
    names.sort();
    let truncated = most.is_some_and(|most| names.len() > most);
    names.truncate(most.unwrap_or(usize::MAX));
    let mut inner = "<Owner><ID>region</ID></Owner><Buckets>".to_owned();
    for name in &names {
        let created = "<CreationDate>2026-01-01T00:00:00.000Z</CreationDate>";
        let region = format!("<BucketRegion>{}</BucketRegion>", settings.signing_region);
        write!(inner, "<Bucket><Name>{}</Name>{created}{region}</Bucket>", text::escaped(name)).unwrap();
    }
    inner.push_str("</Buckets>");
    if let (Some(last), true) = (names.last(), truncated) {
        let token = format!("{}.{}", settings.name, hex::encode(last));
        write!(inner, "<ContinuationToken>{token}</ContinuationToken>").unwrap();
    }
    Ok(Reply::new(200).xml("ListAllMyBucketsResult", &inner))
}

/// One entry of a page: a key or a common prefix.
enum Entry {
    Key(String, String),
    Prefix(String),
}

impl Entry {
    fn name(&self) -> &str {
        match self {
            Self::Key(name, _) | Self::Prefix(name) => name,
        }
    }
}

/// How a page shows names: as they are, or percent-encoded where the client asked for it.
struct Names {
    encoded: bool,
    /// What stands for a space then.
    space: &'static str,
}

impl Names {
    fn of(ask: &Ask, settings: &Settings) -> Self {
        Self { encoded: ask.parameter("encoding-type") == Some("url"), space: settings.space }
    }

    fn show(&self, name: &str) -> String {
        if self.encoded { text::encoded(name, "/").replace("%20", self.space) } else { text::escaped(name) }
    }

    /// Said behind all names, where some stores say it.
    fn say(&self, inner: &mut String) {
        if self.encoded {
            inner.push_str("<EncodingType>url</EncodingType>");
        }
    }
}

/// `ListObjects` and `ListObjectsV2`. Continuation tokens of other regions are refused.
pub fn objects(bucket: &Bucket, ask: &Ask, settings: &Settings) -> Result<Reply, Refusal> {
    let region = settings.name.as_str();
    let names = Names::of(ask, settings);
    let v2 = ask.operation == "ListObjectsV2";
    let max: usize = match ask.parameter("max-keys").map(str::parse) {
        None => 1000,
        Some(Ok(max)) => std::cmp::min(max, 1000),
        Some(Err(_)) => return Err(Refusal::new(400, "InvalidArgument", "max-keys")),
    };
    let after = match (v2, ask.parameter("continuation-token")) {
        (true, Some(token)) => Some(opened(token, region)?),
        (true, None) => ask.parameter("start-after").map(str::to_owned),
        (false, _) => ask.parameter("marker").map(str::to_owned),
    };
    let prefix = ask.parameter("prefix").unwrap_or_default();
    let delimiter = ask.parameter("delimiter").filter(|text| !text.is_empty());
    let mut entries = entries(bucket, prefix, delimiter, after.as_deref().unwrap_or_default());
    let truncated = entries.len() > max && max > 0;
    entries.truncate(max);
    let name = |text: &str| names.show(text);
    let mut inner = format!(
        "<Name>{}</Name><Prefix>{}</Prefix><MaxKeys>{max}</MaxKeys><IsTruncated>{truncated}</IsTruncated>",
        text::escaped(&ask.bucket),
        name(prefix)
    );
    if let Some(delimiter) = delimiter {
        write!(inner, "<Delimiter>{}</Delimiter>", name(delimiter)).unwrap();
    }
    let last = entries.last().filter(|_| truncated).map(|entry| entry.name().to_owned());
    if v2 {
        write!(inner, "<KeyCount>{}</KeyCount>", entries.len()).unwrap();
        if let Some(token) = ask.parameter("continuation-token") {
            write!(inner, "<ContinuationToken>{}</ContinuationToken>", text::escaped(token)).unwrap();
        }
        if let Some(last) = last {
            let token = format!("{region}.{}", hex::encode(last));
            write!(inner, "<NextContinuationToken>{token}</NextContinuationToken>").unwrap();
        }
    } else {
        write!(inner, "<Marker>{}</Marker>", name(ask.parameter("marker").unwrap_or_default())).unwrap();
        if let (Some(last), true) = (last, delimiter.is_some()) {
            write!(inner, "<NextMarker>{}</NextMarker>", name(&last)).unwrap();
        }
    }
    for entry in &entries {
        match entry {
            Entry::Key(key, rest) => write!(inner, "<Contents><Key>{}</Key>{rest}</Contents>", name(key)),
            Entry::Prefix(prefix) => {
                write!(inner, "<CommonPrefixes><Prefix>{}</Prefix></CommonPrefixes>", name(prefix))
            }
        }
        .unwrap();
    }
    names.say(&mut inner);
    Ok(Reply::new(200).xml("ListBucketResult", &inner))
}

fn opened(token: &str, region: &str) -> Result<String, Refusal> {
    let invalid = || Refusal::new(400, "InvalidArgument", "The continuation token provided is incorrect");
    let (home, key) = token.rsplit_once('.').ok_or_else(invalid)?;
    if home != region {
        return Err(invalid());
    }
    String::from_utf8(hex::decode(key).map_err(|_| invalid())?).map_err(|_| invalid())
}

fn entries(bucket: &Bucket, prefix: &str, delimiter: Option<&str>, after: &str) -> Vec<Entry> {
    let mut entries: Vec<Entry> = Vec::new();
    for (key, object) in bucket.listed().filter(|(key, _)| key.starts_with(prefix)) {
        let cut = delimiter.and_then(|delimiter| {
            key[prefix.len()..].find(delimiter).map(|at| prefix.len() + at + delimiter.len())
        });
        let entry = match cut {
            Some(end) => Entry::Prefix(key[..end].to_owned()),
            None => Entry::Key(
                key.to_owned(),
                format!(
                    "<LastModified>{}</LastModified><ETag>{}</ETag><Size>{}</Size><StorageClass>STANDARD</StorageClass>",
                    moment::iso(object.modified),
                    text::escaped(&object.etag),
                    object.body.len()
                ),
            ),
        };
        let repeated = entries.last().is_some_and(|last| last.name() == entry.name());
        if !repeated && entry.name() > after {
            entries.push(entry);
        }
    }
    entries
}

/// `ListObjectVersions`, with markers and pages. Version ids of other regions are refused as markers.
pub fn versions(bucket: &Bucket, ask: &Ask, settings: &Settings) -> Result<Reply, Refusal> {
    let names = Names::of(ask, settings);
    let prefix = ask.parameter("prefix").unwrap_or_default();
    let max = ask.parameter("max-keys").and_then(|text| text.parse().ok()).unwrap_or(1000);
    let mut all: Vec<(&str, &Version)> =
        bucket.versions().filter(|(key, _)| key.starts_with(prefix)).collect();
    let newest: Vec<bool> = (0..all.len()).map(|at| at == 0 || all[at - 1].0 != all[at].0).collect();
    let key_marker = ask.parameter("key-marker").unwrap_or_default();
    let skipped = match ask.parameter("version-id-marker").filter(|marker| !marker.is_empty()) {
        None => all.iter().filter(|(key, _)| *key <= key_marker).count(),
        Some(marker) => {
            let at = all.iter().position(|(key, version)| *key == key_marker && version.id == marker);
            at.ok_or_else(|| Refusal::new(400, "InvalidArgument", "Invalid version id specified"))? + 1
        }
    };
    all.drain(..skipped);
    let truncated = all.len() > max;
    all.truncate(max);
    let mut inner = format!(
        "<Name>{}</Name><MaxKeys>{max}</MaxKeys><IsTruncated>{truncated}</IsTruncated>",
        text::escaped(&ask.bucket)
    );
    write!(
        inner,
        "<KeyMarker>{}</KeyMarker><VersionIdMarker>{}</VersionIdMarker>",
        names.show(key_marker),
        text::escaped(ask.parameter("version-id-marker").unwrap_or_default())
    )
    .unwrap();
    if let (Some((key, version)), true) = (all.last(), truncated) {
        write!(
            inner,
            "<NextKeyMarker>{}</NextKeyMarker><NextVersionIdMarker>{}</NextVersionIdMarker>",
            names.show(key),
            text::escaped(&version.id)
        )
        .unwrap();
    }
    for ((key, version), newest) in all.iter().zip(&newest[skipped..]) {
        let shape = if version.object.is_some() { "Version" } else { "DeleteMarker" };
        write!(
            inner,
            "<{shape}><Key>{}</Key><VersionId>{}</VersionId><IsLatest>{newest}</IsLatest><LastModified>{}</LastModified></{shape}>",
            names.show(key),
            text::escaped(&version.id),
            moment::iso(version.modified)
        )
        .unwrap();
    }
    names.say(&mut inner);
    Ok(Reply::new(200).xml("ListVersionsResult", &inner))
}

/// `ListMultipartUploads`, with markers and pages.
pub fn uploads(bucket: &Bucket, ask: &Ask, settings: &Settings) -> Reply {
    let names = Names::of(ask, settings);
    let prefix = ask.parameter("prefix").unwrap_or_default();
    let max = ask.parameter("max-uploads").and_then(|text| text.parse().ok()).unwrap_or(1000);
    let after = (
        ask.parameter("key-marker").unwrap_or_default().to_owned(),
        ask.parameter("upload-id-marker").unwrap_or_default().to_owned(),
    );
    let mut all: Vec<(String, String, String)> = bucket
        .uploads
        .iter()
        .filter(|(_, upload)| upload.key.starts_with(prefix))
        .map(|(id, upload)| (upload.key.clone(), id.clone(), moment::iso(upload.initiated)))
        .collect();
    all.sort();
    all.retain(
        |(key, id, _)| {
            if after.1.is_empty() { *key > after.0 } else { (key, id) > (&after.0, &after.1) }
        },
    );
    let truncated = all.len() > max;
    all.truncate(max);
    let mut inner = format!(
        "<Bucket>{}</Bucket><MaxUploads>{max}</MaxUploads><IsTruncated>{truncated}</IsTruncated>",
        text::escaped(&ask.bucket)
    );
    if let (Some((key, id, _)), true) = (all.last(), truncated) {
        write!(
            inner,
            "<NextKeyMarker>{}</NextKeyMarker><NextUploadIdMarker>{}</NextUploadIdMarker>",
            names.show(key),
            text::escaped(id)
        )
        .unwrap();
    }
    for (key, id, initiated) in &all {
        write!(
            inner,
            "<Upload><Key>{}</Key><UploadId>{}</UploadId><Initiated>{initiated}</Initiated></Upload>",
            names.show(key),
            text::escaped(id)
        )
        .unwrap();
    }
    names.say(&mut inner);
    Reply::new(200).xml("ListMultipartUploadsResult", &inner)
}

/// `ListParts`, one page.
pub fn parts(upload: &Upload, ask: &Ask) -> Reply {
    let mut inner = format!(
        "<Bucket>{}</Bucket><Key>{}</Key><UploadId>{}</UploadId><IsTruncated>false</IsTruncated>",
        text::escaped(&ask.bucket),
        text::escaped(&ask.key),
        text::escaped(ask.parameter("uploadId").unwrap_or_default())
    );
    for (number, part) in &upload.parts {
        write!(
            inner,
            "<Part><PartNumber>{number}</PartNumber><ETag>{}</ETag><Size>{}</Size></Part>",
            text::escaped(&part.etag),
            part.body.len()
        )
        .unwrap();
    }
    Reply::new(200).xml("ListPartsResult", &inner)
}
