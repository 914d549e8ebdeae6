//! What a well-behaved S3 answers: one function per operation.

use std::time::SystemTime;

use bytes::{Bytes, BytesMut};

use super::frames::stored_encoding;
use super::listing;
use super::store::{Bucket, Object, Store, Upload};
use super::wire::{Head, Reply};
use super::{Refusal, Settings};
use crate::house::digest::{self, Algorithm};
use crate::house::{moment, text};

/// What a request is about.
#[derive(Clone, Debug)]
pub struct Ask {
    /// The operation's name, as S3 calls it.
    pub operation: &'static str,
    /// Empty for the service itself.
    pub bucket: String,
    /// Decoded; empty for a bucket.
    pub key: String,
    /// The query's parameters, decoded.
    pub parameters: Vec<(String, String)>,
}

impl Ask {
    /// A parameter's value.
    pub fn parameter(&self, name: &str) -> Option<&str> {
        self.parameters.iter().find(|(have, _)| have == name).map(|(_, value)| value.as_str())
    }
}

/// A request's operation and target.
pub fn ask(head: &Head, settings: &Settings) -> Result<Ask, Refusal> {
    let invalid = || Refusal::new(400, "InvalidURI", "Couldn't parse the specified URI.");
    let path = head.path().strip_prefix('/').ok_or_else(invalid)?;
    let host = head.header("host").unwrap_or_default();
    let label = settings.domain.as_deref().and_then(|domain| host.strip_suffix(domain)?.strip_suffix('.'));
    let (bucket, key) = match label {
        Some(label) => (label, path),
        None => path.split_once('/').unwrap_or((path, "")),
    };
    let (bucket, key) = (text::decoded(bucket).ok_or_else(invalid)?, text::decoded(key).ok_or_else(invalid)?);
    let parameters = text::parameters(head.query());
    let operation = operation(head, &bucket, &key, &parameters);
    Ok(Ask { operation, bucket, key, parameters })
}

fn operation(head: &Head, bucket: &str, key: &str, parameters: &[(String, String)]) -> &'static str {
    let has = |name: &str| parameters.iter().any(|(have, _)| have == name);
    let copies = head.header("x-amz-copy-source").is_some();
    let odd = [
        "abac",
        "accelerate",
        "acl",
        "analytics",
        "annotation",
        "attributes",
        "cors",
        "encryption",
        "intelligent-tiering",
        "inventory",
        "legal-hold",
        "lifecycle",
        "logging",
        "metadataConfiguration",
        "metadataTable",
        "metrics",
        "notification",
        "object-lock",
        "ownershipControls",
        "policy",
        "policyStatus",
        "publicAccessBlock",
        "replication",
        "requestPayment",
        "restore",
        "retention",
        "select",
        "tagging",
        "torrent",
        "versioning",
        "website",
    ];
    if odd.into_iter().any(has) {
        return "SubResource";
    }
    match (head.method.as_str(), bucket.is_empty(), key.is_empty()) {
        ("OPTIONS", ..) => "Preflight",
        ("GET", true, _) => "ListBuckets",
        ("GET", _, true) if has("location") => "GetBucketLocation",
        ("GET", _, true) if has("uploads") => "ListMultipartUploads",
        ("GET", _, true) if has("versions") => "ListObjectVersions",
        ("GET", _, true) if has("list-type") => "ListObjectsV2",
        ("GET", _, true) => "ListObjects",
        ("HEAD", false, true) => "HeadBucket",
        ("PUT", false, true) => "CreateBucket",
        ("DELETE", false, true) => "DeleteBucket",
        ("POST", false, true) if has("delete") => "DeleteObjects",
        ("GET", _, false) if has("uploadId") => "ListParts",
        ("GET", _, false) => "GetObject",
        ("HEAD", _, false) => "HeadObject",
        ("PUT", _, false) if has("uploadId") && copies => "UploadPartCopy",
        ("PUT", _, false) if has("uploadId") => "UploadPart",
        ("PUT", _, false) if copies => "CopyObject",
        ("PUT", _, false) => "PutObject",
        ("POST", _, false) if has("uploads") => "CreateMultipartUpload",
        ("POST", _, false) if has("uploadId") => "CompleteMultipartUpload",
        ("DELETE", _, false) if has("uploadId") => "AbortMultipartUpload",
        ("DELETE", _, false) => "DeleteObject",
        _ => "Unknown",
    }
}

/// One operation under way.
pub struct Desk<'a> {
    pub store: &'a mut Store,
    pub settings: &'a Settings,
    pub head: &'a Head,
    pub ask: &'a Ask,
    /// The object's bytes, framing removed.
    pub body: Bytes,
    /// Checksum headers and trailers that were verified.
    pub checksums: Vec<(String, String)>,
}

type Answer = Result<Reply, Refusal>;

impl Desk<'_> {
    /// Does it and answers.
    pub fn answer(mut self) -> Answer {
        match self.ask.operation {
            "Preflight" => Ok(Reply::new(200).with("access-control-allow-origin", "*")),
            "ListBuckets" => listing::buckets(self.store, self.ask, self.settings),
            "CreateBucket" => self.create_bucket(),
            "SubResource" if self.ask.key.is_empty() && self.head.method == "PUT" => self.set(),
            "SubResource" if self.ask.key.is_empty() && self.head.method == "DELETE" => self.unset(),
            // one that it tells can be set, to what it is
            "SubResource" if self.head.method == "PUT" && self.ask.parameter("acl").is_some() => {
                self.document().map(|_| Reply::new(200))
            }
            "SubResource" if self.head.method == "GET" => self.tags().unwrap_or_else(|| self.document()),
            "SubResource" | "Unknown" => Err(Refusal::new(501, "NotImplemented", "not by this region")),
            _ => {
                let index = self.store.index(&self.ask.bucket);
                let index = index.ok_or_else(|| Refusal::new(404, "NoSuchBucket", "no such bucket"))?;
                self.in_bucket(index)
            }
        }
    }

    fn in_bucket(&mut self, index: usize) -> Answer {
        match self.ask.operation {
            "HeadBucket" => Ok(Reply::new(200).with("x-amz-bucket-region", &self.settings.signing_region)),
            "GetBucketLocation" => {
                Ok(Reply::new(200).xml("LocationConstraint", &text::escaped(&self.settings.signing_region)))
            }
            "DeleteBucket" => self.delete_bucket(index),
            "ListObjects" | "ListObjectsV2" => {
                listing::objects(self.store.bucket(index), self.ask, self.settings)
            }
            "ListObjectVersions" => listing::versions(self.store.bucket(index), self.ask, self.settings),
            "ListMultipartUploads" => Ok(listing::uploads(self.store.bucket(index), self.ask, self.settings)),
            "DeleteObjects" => self.delete_objects(index),
            "GetObject" | "HeadObject" => self.get(index),
            "PutObject" => self.put(index),
            "CopyObject" => self.copy(index),
            "DeleteObject" => {
                if self.head.header("if-match").is_some() {
                    self.check_write_conditions(self.store.bucket(index))?;
                }
                Ok(self.delete(index))
            }
            "CreateMultipartUpload" => Ok(self.create_upload(index)),
            "UploadPart" => self.upload_part(index),
            "UploadPartCopy" => self.upload_part_copy(index),
            "CompleteMultipartUpload" => self.complete(index),
            "AbortMultipartUpload" => self.abort(index),
            "ListParts" => Ok(listing::parts(self.upload(index)?, self.ask)),
            other => panic!("{other} has no arm"),
        }
    }

    /// The tags of an object that was put with some.
    fn tags(&self) -> Option<Answer> {
        self.ask.parameter("tagging").filter(|_| !self.ask.key.is_empty())?;
        let bucket = self.store.bucket(self.store.index(&self.ask.bucket)?);
        let version = bucket.version(&self.ask.key, self.ask.parameter("versionId"))?;
        let mut inner = String::new();
        for (key, value) in tags_of(version.object.as_ref()?) {
            let (key, value) = (text::escaped(&key), text::escaped(&value));
            inner.push_str(&format!("<Tag><Key>{key}</Key><Value>{value}</Value></Tag>"));
        }
        Some(Ok(Reply::new(200).xml("Tagging", &format!("<TagSet>{inner}</TagSet>"))))
    }

    /// The name of a bucket's setting, kept with it.
    fn setting(&self) -> Result<(String, String), Refusal> {
        let bucket = self.ask.bucket.clone();
        self.store.index(&bucket).ok_or_else(|| Refusal::new(404, "NoSuchBucket", "no such bucket"))?;
        let (name, _) = self.ask.parameters.first().expect("a sub-resource is a parameter");
        Ok((bucket, name.clone()))
    }

    fn set(&mut self) -> Answer {
        let setting = self.setting()?;
        self.store.settings.insert(setting, self.body.clone());
        Ok(Reply::new(200))
    }

    /// As stores do that tell whether there was one.
    fn unset(&mut self) -> Answer {
        let setting = self.setting()?;
        let was = self.store.settings.remove(&setting);
        was.map(|_| Reply::new(204))
            .ok_or_else(|| Refusal::new(404, "NoSuchConfiguration", "no such setting"))
    }

    /// The document that the test gave it for the sub-resource.
    fn document(&self) -> Answer {
        let set = self.setting().ok().and_then(|setting| self.store.settings.get(&setting));
        if let Some(document) = set {
            return Ok(Reply::new(200).with("content-type", "application/xml").body(document.clone()));
        }
        let mut documents = self.settings.documents.iter();
        let (_, document) = documents
            .find(|(name, _)| self.ask.parameter(name).is_some())
            .ok_or_else(|| Refusal::new(501, "NotImplemented", "not by this region"))?;
        let kind = if document.starts_with('{') { "application/json" } else { "application/xml" };
        Ok(Reply::new(200).with("content-type", kind).body(Bytes::from(document.clone())))
    }

    fn create_bucket(&mut self) -> Answer {
        if self.store.index(&self.ask.bucket).is_some() {
            return Err(Refusal::new(409, "BucketAlreadyOwnedByYou", "it is yours already"));
        }
        let constraint = text::element(&String::from_utf8_lossy(&self.body), "LocationConstraint");
        if constraint.is_some_and(|region| region != self.settings.signing_region) {
            return Err(Refusal::new(400, "InvalidLocationConstraint", "another region's"));
        }
        self.store.create(&self.ask.bucket);
        Ok(Reply::new(200).with("location", &format!("/{}", self.ask.bucket)))
    }

    fn delete_bucket(&mut self, index: usize) -> Answer {
        if self.store.bucket(index).listed().next().is_some() {
            return Err(Refusal::new(409, "BucketNotEmpty", "the bucket is not empty"));
        }
        self.store.remove(index);
        Ok(Reply::new(204))
    }

    fn get(&self, index: usize) -> Answer {
        let version = self.store.bucket(index).version(&self.ask.key, self.ask.parameter("versionId"));
        let version = version.ok_or_else(|| Refusal::new(404, "NoSuchKey", "no such key"))?;
        let Some(object) = &version.object else {
            return Err(Refusal::new(404, "NoSuchKey", "deleted").header("x-amz-delete-marker", "true"));
        };
        if object.header(CUSTOMERS).is_some() && self.head.header(CUSTOMERS).is_none() {
            return Err(Refusal::new(400, "InvalidRequest", "the object is under a customer's key"));
        }
        self.check_read_conditions(object)?;
        let mut reply = Reply::new(200)
            .with("etag", &object.etag)
            .with("last-modified", &moment::http_date(object.modified))
            .with("accept-ranges", "bytes");
        if self.settings.versioned {
            reply = reply.with("x-amz-version-id", &version.id);
        }
        // as S3: of the object, and not with a part of it
        let with_checksums = self.head.header("x-amz-checksum-mode").is_some()
            && (self.head.method == "HEAD" || self.head.header("range").is_none());
        if with_checksums && object.headers.iter().any(|(name, _)| Algorithm::of_header(name).is_some()) {
            reply = reply.with("x-amz-checksum-type", "FULL_OBJECT");
        }
        let tags = tags_of(object).len();
        if tags > 0 && !self.settings.ignores.contains(&"x-amz-tagging-count") {
            reply = reply.with("x-amz-tagging-count", &tags.to_string());
        }
        for (name, value) in object.headers.iter().filter(|(name, _)| name != TAGGING) {
            let overridden = self.ask.parameter(&format!("response-{name}"));
            if with_checksums || Algorithm::of_header(name).is_none() {
                reply = reply.with(name, overridden.unwrap_or(value));
            }
        }
        let whole = object.body.len();
        let Some(range) = self.head.header("range").and_then(|text| range(text, whole)) else {
            return Ok(reply.body(object.body.clone()));
        };
        let range = range.map_err(|()| {
            let unsatisfied = format!("bytes */{whole}");
            Refusal::new(416, "InvalidRange", "not satisfiable").header("content-range", &unsatisfied)
        })?;
        reply.status = 206;
        let content_range = format!("bytes {}-{}/{whole}", range.start, range.end - 1);
        Ok(reply.with("content-range", &content_range).body(object.body.slice(range)))
    }

    fn check_read_conditions(&self, object: &Object) -> Result<(), Refusal> {
        let failed = || Refusal::new(412, "PreconditionFailed", "a condition does not hold");
        let unchanged = || Refusal::new(304, "NotModified", "").header("etag", &object.etag);
        if let Some(tags) = self.head.header("if-match") {
            if !tag_matches(tags, &object.etag) {
                return Err(failed());
            }
        } else if self.head.header("if-unmodified-since").is_some_and(|date| later(object.modified, date)) {
            return Err(failed());
        }
        if let Some(tags) = self.head.header("if-none-match") {
            if tag_matches(tags, &object.etag) {
                return Err(unchanged());
            }
        } else if self.head.header("if-modified-since").is_some_and(|date| !later(object.modified, date)) {
            return Err(unchanged());
        }
        Ok(())
    }

    fn check_write_conditions(&self, bucket: &Bucket) -> Result<(), Refusal> {
        let failed = || Refusal::new(412, "PreconditionFailed", "a condition does not hold");
        let current = bucket.current(&self.ask.key).and_then(|version| version.object.as_ref());
        if self.head.header("if-none-match").is_some_and(|tags| tags == "*") && current.is_some() {
            return Err(failed());
        }
        match (self.head.header("if-match"), current) {
            (Some(_), None) => Err(Refusal::new(404, "NoSuchKey", "no such key")),
            (Some(tags), Some(object)) if !tag_matches(tags, &object.etag) => Err(failed()),
            _ => Ok(()),
        }
    }

    fn put(&mut self, index: usize) -> Answer {
        self.check_write_conditions(self.store.bucket(index))?;
        let mut headers = kept_headers(self.head);
        headers.extend(self.checksums.clone());
        let object = self.summed(Object::new(self.body.clone(), headers));
        let mut reply = Reply::new(200).with("etag", &object.etag);
        for (name, value) in &self.checksums {
            reply = reply.with(name, value);
        }
        let version = self.store.put(index, &self.ask.key, object);
        Ok(with_version(reply, version.as_deref()))
    }

    /// The object with a checksum of its own where the client sent none and the region makes one.
    fn summed(&self, mut object: Object) -> Object {
        let told = object.headers.iter().any(|(name, _)| Algorithm::of_header(name).is_some());
        if self.settings.sums_whole && !told {
            let sum = Algorithm::Crc64Nvme;
            object.headers.push((sum.header().to_owned(), sum.base64(&object.body)));
        }
        object
    }

    fn delete(&mut self, index: usize) -> Reply {
        if let Some(id) = self.ask.parameter("versionId") {
            self.store.delete_version(index, &self.ask.key, id);
            return Reply::new(204).with("x-amz-version-id", id);
        }
        let marker = self.store.delete(index, &self.ask.key);
        let reply = Reply::new(204);
        match marker {
            Some(id) => reply.with("x-amz-version-id", &id).with("x-amz-delete-marker", "true"),
            None => reply,
        }
    }

    fn delete_objects(&mut self, index: usize) -> Answer {
        let xml = self.xml()?;
        let entries = text::elements(&xml, "Object");
        if entries.is_empty() || entries.len() > 1000 {
            return Err(Refusal::new(400, "MalformedXML", "1 to 1000 objects"));
        }
        let quiet = text::element(&xml, "Quiet").is_some_and(|flag| flag == "true");
        let mut inner = String::new();
        for entry in entries {
            let key = text::element(&entry, "Key").ok_or_else(malformed_xml)?;
            let version = text::element(&entry, "VersionId");
            // in MinIO's order: the marker before the key
            let (mut before, mut after) = (String::new(), String::new());
            if let Some(id) = &version {
                self.store.delete_version(index, &key, id);
                after = format!("<VersionId>{}</VersionId>", text::escaped(id));
            } else if let Some(id) = self.store.delete(index, &key) {
                before = format!(
                    "<DeleteMarker>true</DeleteMarker><DeleteMarkerVersionId>{id}</DeleteMarkerVersionId>"
                );
            }
            if !quiet {
                let key = text::escaped(&key);
                inner.push_str(&format!("<Deleted>{before}<Key>{key}</Key>{after}</Deleted>"));
            }
        }
        Ok(Reply::new(200).xml("DeleteResult", &inner))
    }

    /// The object that `x-amz-copy-source` names.
    fn source(&self) -> Result<(Object, String), Refusal> {
        let invalid = || Refusal::new(400, "InvalidArgument", "x-amz-copy-source");
        let source = self.head.header("x-amz-copy-source").ok_or_else(invalid)?;
        let (path, version) = match source.split_once("?versionId=") {
            Some((path, id)) => (path, Some(id)),
            None => (source, None),
        };
        let path = text::decoded(path.strip_prefix('/').unwrap_or(path)).ok_or_else(invalid)?;
        let (bucket, key) = path.split_once('/').ok_or_else(invalid)?;
        let index = self.store.index(bucket);
        let index = index.ok_or_else(|| Refusal::new(404, "NoSuchBucket", "no such source bucket"))?;
        let version = self.store.bucket(index).version(key, version);
        let id = version.map(|version| version.id.clone()).unwrap_or_default();
        let object = version.and_then(|version| version.object.as_deref());
        let object = object.ok_or_else(|| Refusal::new(404, "NoSuchKey", "no such source"))?;
        let failed = || Refusal::new(412, "PreconditionFailed", "a condition on the source does not hold");
        if self.head.header("x-amz-copy-source-if-match").is_some_and(|tags| !tag_matches(tags, &object.etag))
        {
            return Err(failed());
        }
        match self.head.header("x-amz-copy-source-if-none-match") {
            Some(tags) if tag_matches(tags, &object.etag) => Err(failed()),
            _ => Ok((object.clone(), id)),
        }
    }

    fn copy(&mut self, index: usize) -> Answer {
        let (source, source_version) = self.source()?;
        self.check_write_conditions(self.store.bucket(index))?;
        let replaced = self.head.header("x-amz-metadata-directive") == Some("REPLACE");
        let headers = if replaced { kept_headers(self.head) } else { source.headers };
        let object = Object { headers, modified: moment::now(), ..source };
        let inner = copy_result(&object);
        let version = self.store.put(index, &self.ask.key, object);
        let mut reply = Reply::new(200).xml("CopyObjectResult", &inner);
        if version.is_some() {
            reply = reply.with("x-amz-copy-source-version-id", &source_version);
        }
        Ok(with_version(reply, version.as_deref()))
    }

    fn create_upload(&mut self, index: usize) -> Reply {
        let id = self.store.new_id("upload");
        let upload = Upload {
            key: self.ask.key.clone(),
            headers: kept_headers(self.head),
            parts: std::collections::BTreeMap::new(),
            initiated: moment::now(),
        };
        self.store.open_upload(index, id.clone(), upload);
        let inner = format!(
            "<Bucket>{}</Bucket><Key>{}</Key><UploadId>{}</UploadId>",
            text::escaped(&self.ask.bucket),
            text::escaped(&self.ask.key),
            text::escaped(&id)
        );
        Reply::new(200).xml("InitiateMultipartUploadResult", &inner)
    }

    fn upload(&self, index: usize) -> Result<&Upload, Refusal> {
        let id = self.ask.parameter("uploadId").unwrap_or_default();
        let upload = self.store.bucket(index).uploads.get(id).filter(|upload| upload.key == self.ask.key);
        upload.ok_or_else(|| Refusal::new(404, "NoSuchUpload", "no such upload"))
    }

    fn add_part(&mut self, index: usize, part: Object) -> Result<(), Refusal> {
        self.upload(index)?;
        let number = self.ask.parameter("partNumber").and_then(|text| text.parse().ok());
        let number: u32 = number
            .filter(|number| (1..=10_000).contains(number))
            .ok_or_else(|| Refusal::new(400, "InvalidArgument", "partNumber must be 1 to 10000"))?;
        let id = self.ask.parameter("uploadId").unwrap_or_default();
        let taken = self.store.add_part(index, id, number, std::sync::Arc::new(part));
        assert!(taken, "the upload was there just now");
        Ok(())
    }

    fn upload_part(&mut self, index: usize) -> Answer {
        let part = Object::new(self.body.clone(), self.checksums.clone());
        let reply = Reply::new(200).with("etag", &part.etag);
        self.add_part(index, part)?;
        Ok(reply)
    }

    fn upload_part_copy(&mut self, index: usize) -> Answer {
        let (source, _) = self.source()?;
        let whole = source.body.len();
        let body = match self.head.header("x-amz-copy-source-range").map(|text| range(text, whole)) {
            None => source.body,
            Some(Some(Ok(range))) => source.body.slice(range),
            Some(_) => return Err(Refusal::new(400, "InvalidArgument", "x-amz-copy-source-range")),
        };
        let part = Object::new(body, Vec::new());
        let inner = copy_result(&part);
        self.add_part(index, part)?;
        Ok(Reply::new(200).xml("CopyPartResult", &inner))
    }

    fn complete(&mut self, index: usize) -> Answer {
        let xml = self.xml()?;
        let upload = self.upload(index)?.clone();
        self.check_write_conditions(self.store.bucket(index))?;
        let listed = text::elements(&xml, "Part");
        if listed.is_empty() {
            return Err(malformed_xml());
        }
        let (mut body, mut digests, mut last) = (BytesMut::new(), Vec::new(), 0);
        for entry in &listed {
            let number = text::element(entry, "PartNumber").and_then(|text| text.parse().ok());
            let number: u32 = number.ok_or_else(malformed_xml)?;
            let etag = text::element(entry, "ETag").ok_or_else(malformed_xml)?;
            if number <= last {
                return Err(Refusal::new(400, "InvalidPartOrder", "parts must be in ascending order"));
            }
            last = number;
            let part = upload.parts.get(&number).filter(|part| same_tag(&part.etag, &etag));
            let part = part.ok_or_else(|| Refusal::new(400, "InvalidPart", "a part is missing"))?;
            body.extend_from_slice(&part.body);
            digests.extend_from_slice(&digest::md5(&part.body));
        }
        let mut object = Object::new(body.freeze(), upload.headers);
        object.etag = format!("\"{}-{}\"", hex::encode(digest::md5(&digests)), listed.len());
        let object = self.summed(object);
        let inner = format!(
            "<Location>http://{}/{}/{}</Location><Bucket>{1}</Bucket><Key>{2}</Key><ETag>{}</ETag>",
            self.head.header("host").unwrap_or_default(),
            text::escaped(&self.ask.bucket),
            text::escaped(&self.ask.key),
            text::escaped(&object.etag)
        );
        let id = self.ask.parameter("uploadId").unwrap_or_default();
        self.store.end_upload(index, id);
        let version = self.store.put(index, &self.ask.key, object);
        Ok(with_version(Reply::new(200).xml("CompleteMultipartUploadResult", &inner), version.as_deref()))
    }

    fn abort(&mut self, index: usize) -> Answer {
        self.upload(index)?;
        let id = self.ask.parameter("uploadId").unwrap_or_default();
        self.store.end_upload(index, id);
        Ok(Reply::new(204))
    }

    fn xml(&self) -> Result<String, Refusal> {
        String::from_utf8(self.body.to_vec()).map_err(|_| malformed_xml())
    }
}

fn malformed_xml() -> Refusal {
    Refusal::new(400, "MalformedXML", "The XML you provided was not well-formed")
}

fn with_version(reply: Reply, id: Option<&str>) -> Reply {
    match id {
        Some(id) => reply.with("x-amz-version-id", id),
        None => reply,
    }
}

fn copy_result(object: &Object) -> String {
    format!(
        "<LastModified>{}</LastModified><ETag>{}</ETag>",
        moment::iso(object.modified),
        text::escaped(&object.etag)
    )
}

/// The header that says that an object is under a customer's key.
const CUSTOMERS: &str = "x-amz-server-side-encryption-customer-algorithm";

/// The header that an object's tags are put by.
const TAGGING: &str = "x-amz-tagging";

/// An object's tags.
fn tags_of(object: &Object) -> Vec<(String, String)> {
    object.header(TAGGING).map_or_else(Vec::new, text::parameters)
}

/// The headers that an object keeps.
fn kept_headers(head: &Head) -> Vec<(String, String)> {
    let kept = [
        "content-type",
        "content-disposition",
        "content-language",
        "cache-control",
        "expires",
        "x-amz-website-redirect-location",
        "x-amz-storage-class",
        "x-amz-server-side-encryption",
        CUSTOMERS,
        TAGGING,
    ];
    let mut headers = Vec::new();
    for (name, value) in &head.headers {
        if kept.contains(&name.as_str()) || name.starts_with("x-amz-meta-") {
            headers.push((name.clone(), value.clone()));
        }
        if let ("content-encoding", Some(value)) = (name.as_str(), stored_encoding(value)) {
            headers.push((name.clone(), value));
        }
    }
    headers
}

fn same_tag(a: &str, b: &str) -> bool {
    a.trim_matches('"') == b.trim_matches('"')
}

fn tag_matches(tags: &str, etag: &str) -> bool {
    tags == "*" || tags.split(',').any(|tag| same_tag(tag.trim(), etag))
}

/// Whether an object is newer than an HTTP date, in whole seconds. A broken date counts as older.
fn later(modified: SystemTime, date: &str) -> bool {
    let whole = moment::of_http(&moment::http_date(modified));
    moment::of_http(date).is_none_or(|date| whole.is_some_and(|whole| whole > date))
}

/// One byte range: `None` where the header is to be ignored, `Err` where it cannot be satisfied.
fn range(text: &str, whole: usize) -> Option<Result<std::ops::Range<usize>, ()>> {
    let (first, last) = text.strip_prefix("bytes=")?.split_once('-')?;
    let range = match (first, last) {
        ("", suffix) => {
            let count: usize = suffix.parse().ok()?;
            (whole.saturating_sub(count), whole, count > 0)
        }
        (first, "") => (first.parse().ok()?, whole, true),
        (first, last) => {
            let (first, last): (usize, usize) = (first.parse().ok()?, last.parse().ok()?);
            if last < first {
                return None;
            }
            (first, last.saturating_add(1).min(whole), true)
        }
    };
    let (start, end, wanted) = range;
    Some(if wanted && start < whole { Ok(start..end) } else { Err(()) })
}
