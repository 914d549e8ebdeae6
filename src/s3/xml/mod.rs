//! The XML that nearpoint writes itself, and the few bodies that it must read. Pure.
//!
//! Readers are bounded: the caller bounds the size, this room the depth; there is no DTD and no
//! entity but XML's own five. Anything else is `MalformedXML`, before work is done on it.

use std::fmt::Write as _;

use quick_xml::Reader;
use quick_xml::escape::resolve_predefined_entity;
use quick_xml::events::{BytesStart, Event};

use crate::s3::checksum::Algorithm;
use crate::s3::{Code, Malformed};

/// Deepest nesting that any S3 document has use for.
const DEPTH_MAX: usize = 16;

/// Most bytes of attributes of one element; S3's documents have a namespace and a type at most.
const ATTRIBUTES_MAX: usize = 1024;

/// Most keys of one `DeleteObjects`: S3's own limit.
pub const DELETE_MAX: usize = 1000;

/// Most parts of one `CompleteMultipartUpload`: S3's own limit.
pub const PARTS_MAX: usize = 10_000;

/// Namespace of every S3 document but the error.
pub(super) const NAMESPACE: &str = "http://s3.amazonaws.com/doc/2006-03-01/";

pub(super) const DECLARATION: &str = "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n";

/// The error document. `extra` elements (`Key`, `BucketName`, `ArgumentName` …) come after the
/// message, in order.
#[must_use]
pub fn error_document(
    code: &str,
    message: &str,
    resource: &str,
    request_id: &str,
    extra: &[(&str, &str)],
) -> String {
    let mut out = String::with_capacity(256 + message.len() + resource.len());
    out.push_str(DECLARATION);
    out.push_str("<Error>");
    element(&mut out, "Code", code);
    element(&mut out, "Message", message);
    for (name, value) in extra {
        element(&mut out, name, value);
    }
    if !resource.is_empty() {
        element(&mut out, "Resource", resource);
    }
    element(&mut out, "RequestId", request_id);
    element(&mut out, "HostId", request_id);
    out.push_str("</Error>");
    out
}

/// `GetBucketLocation`'s answer. `us-east-1` is the empty element, as S3 has it.
#[must_use]
pub fn location_document(region: &str) -> String {
    let region = if region == "us-east-1" { "" } else { region };
    format!("{DECLARATION}<LocationConstraint xmlns=\"{NAMESPACE}\">{}</LocationConstraint>", escaped(region))
}

/// Appends `<name>value</name>`.
pub fn element(out: &mut String, name: &str, value: &str) {
    // Writing to a String cannot fail.
    let _infallible = write!(out, "<{name}>{}</{name}>", escaped(value));
}

/// Whether XML 1.0 has a form for every character of a text, so that [`escaped`] loses none.
fn is_writable(text: &str) -> bool {
    !text.chars().any(|c| match c {
        '\t' | '\n' | '\r' => false,
        '\0'..' ' | '\u{fffe}' | '\u{ffff}' => true,
        _ => false,
    })
}

/// Escapes text so that any XML reader gets the same characters back: line ends too, since readers
/// normalise those. Characters that XML 1.0 has no form for become U+FFFD.
#[must_use]
pub fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\r' => out.push_str("&#13;"),
            '\n' => out.push_str("&#10;"),
            '\t' => out.push_str("&#9;"),
            '\0'..' ' | '\u{fffe}' | '\u{ffff}' => out.push('\u{fffd}'),
            c => out.push(c),
        }
    }
    out
}

/// What a store says in its error document.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StoreError {
    /// `Code`, as the store spells it.
    pub code: String,
    /// `Message`; may name buckets, accounts and endpoints: for logs only.
    pub message: String,
    /// `Region`, where the store says that another one is meant.
    pub region: Option<String>,
}

/// Reads a store's error document. `None` where it is none.
#[must_use]
pub fn read_error(document: &[u8]) -> Option<StoreError> {
    let mut error = StoreError::default();
    let read = walk(document, &mut |path, text| {
        match path {
            "Error/Code" => text.clone_into(&mut error.code),
            "Error/Message" => text.clone_into(&mut error.message),
            "Error/Region" => error.region = Some(text.to_owned()),
            _ => {}
        }
        Ok(())
    });
    // Whatever follows the code, the code counts.
    (read.is_ok() || !error.code.is_empty()).then_some(error).filter(|error| !error.code.is_empty())
}

/// Whether it is a whole document, whatever it says.
#[must_use]
pub fn is_document(document: &[u8]) -> bool {
    walk(document, &mut |_, _| Ok(())).is_ok()
}

/// Whether an `AccessControlPolicy` says no more than that this owner has full control: what the
/// canned ACL `private` says without naming anybody.
#[must_use]
pub fn is_private_acl(document: &[u8], owner: &str) -> bool {
    let (mut grants, mut others) = (0, 0);
    let read = walk(document, &mut |path, text| {
        match path {
            "AccessControlPolicy/AccessControlList/Grant" => grants += 1,
            "AccessControlPolicy/Owner/ID" | "AccessControlPolicy/AccessControlList/Grant/Grantee/ID"
                if text != owner =>
            {
                others += 1;
            }
            "AccessControlPolicy/AccessControlList/Grant/Grantee/URI"
            | "AccessControlPolicy/AccessControlList/Grant/Grantee/EmailAddress" => others += 1,
            "AccessControlPolicy/AccessControlList/Grant/Permission" if text != "FULL_CONTROL" => others += 1,
            _ => {}
        }
        Ok(())
    });
    read.is_ok() && grants == 1 && others == 0
}

/// What `DeleteObjects` asks for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DeleteRequest {
    /// Only failures are reported.
    pub quiet: bool,
    /// In the client's order; 1 to [`DELETE_MAX`].
    pub objects: Vec<ObjectToDelete>,
}

/// One object of a [`DeleteRequest`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ObjectToDelete {
    /// The key, its own characters.
    pub key: String,
    /// The version, as the client names it (perhaps one of our tokens).
    pub version_id: Option<String>,
    /// Conditions: `ETag`, `LastModifiedTime`, `Size` with their values.
    pub conditions: Vec<(&'static str, String)>,
}

impl DeleteRequest {
    /// Writes the body for a region.
    #[must_use]
    pub fn document(&self) -> String {
        let mut out = format!("{DECLARATION}<Delete xmlns=\"{NAMESPACE}\">");
        for object in &self.objects {
            out.push_str("<Object>");
            element(&mut out, "Key", &object.key);
            if let Some(version) = &object.version_id {
                element(&mut out, "VersionId", version);
            }
            for (name, value) in &object.conditions {
                element(&mut out, name, value);
            }
            out.push_str("</Object>");
        }
        if self.quiet {
            out.push_str("<Quiet>true</Quiet>");
        }
        out.push_str("</Delete>");
        out
    }
}

/// Reads the body of `DeleteObjects`. Elements that we do not know are refused: one might be a
/// condition, and without it more would be deleted than was asked.
///
/// # Errors
/// `MalformedXML`, also for none or more than [`DELETE_MAX`] objects.
pub fn delete_request(document: &[u8]) -> Result<DeleteRequest, Malformed> {
    let mut request = DeleteRequest::default();
    let mut object = ObjectToDelete::default();
    walk(document, &mut |path, text| {
        match path {
            "Delete" => {}
            "Delete/Quiet" => request.quiet = text.trim() == "true",
            "Delete/Object/Key" => text.clone_into(&mut object.key),
            "Delete/Object/VersionId" => {
                object.version_id = Some(text.to_owned()).filter(|id| !id.is_empty());
            }
            "Delete/Object/ETag" => object.conditions.push(("ETag", text.to_owned())),
            "Delete/Object/LastModifiedTime" => object.conditions.push(("LastModifiedTime", text.to_owned())),
            "Delete/Object/Size" => object.conditions.push(("Size", text.to_owned())),
            "Delete/Object" => {
                let object = std::mem::take(&mut object);
                // What cannot be written as it was read would name another object.
                let texts = std::iter::once(&object.key).chain(&object.version_id);
                let writable = texts
                    .chain(object.conditions.iter().map(|(_, value)| value))
                    .all(|text| is_writable(text));
                if object.key.is_empty() || !writable || request.objects.len() >= DELETE_MAX {
                    return Err(malformed());
                }
                request.objects.push(object);
            }
            _ => return Err(malformed()),
        }
        Ok(())
    })?;
    if request.objects.is_empty() { Err(malformed()) } else { Ok(request) }
}

/// One part of a `CompleteMultipartUpload`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CompletedPart {
    /// Its number; the order is the client's, and the store's to judge.
    pub number: u32,
    /// Its entity tag, with or without quotes.
    pub etag: String,
    /// Its checksums, in base64.
    pub checksums: Vec<(Algorithm, String)>,
}

/// Reads the parts of a `CompleteMultipartUpload`.
///
/// # Errors
/// `MalformedXML`, also for none or more than [`PARTS_MAX`] parts.
pub fn complete_request(document: &[u8]) -> Result<Vec<CompletedPart>, Malformed> {
    let mut parts = Vec::new();
    let mut part = CompletedPart::default();
    walk(document, &mut |path, text| {
        let (root, rest) = path.split_once('/').unwrap_or((path, ""));
        match rest {
            _ if root != "CompleteMultipartUpload" => return Err(malformed()),
            "Part/PartNumber" => part.number = text.trim().parse().map_err(|_| malformed())?,
            "Part/ETag" => text.trim().clone_into(&mut part.etag),
            "Part" => {
                let part = std::mem::take(&mut part);
                if part.number == 0 || parts.len() >= PARTS_MAX {
                    return Err(malformed());
                }
                parts.push(part);
            }
            rest => {
                let name = rest.strip_prefix("Part/Checksum").unwrap_or_default();
                if let Some(algorithm) = Algorithm::parse(name) {
                    part.checksums.push((algorithm, text.trim().to_owned()));
                }
            }
        }
        Ok(())
    })?;
    if parts.is_empty() { Err(malformed()) } else { Ok(parts) }
}

/// What `CompleteMultipartUpload` answers, in a region's words: `Bucket` and `Location` are filled in
/// by whoever tells the client.
#[must_use]
pub fn complete_result(key: &str, etag: &str, checksums: &[(Algorithm, &str)]) -> String {
    let mut out = format!("{DECLARATION}<CompleteMultipartUploadResult xmlns=\"{NAMESPACE}\">");
    for (name, value) in [("Location", "-"), ("Bucket", "-"), ("Key", key), ("ETag", etag)] {
        element(&mut out, name, value);
    }
    for (algorithm, value) in checksums {
        element(&mut out, &format!("Checksum{}", algorithm.name()), value);
    }
    out.push_str("</CompleteMultipartUploadResult>");
    out
}

/// The codes of the keys that a `DeleteResult` says were not deleted. Empty where it is none.
#[must_use]
pub fn failed_deletions(document: &[u8]) -> Vec<String> {
    let mut codes = Vec::new();
    let read = walk(document, &mut |path, text| {
        if path == "DeleteResult/Error/Code" && codes.len() < DELETE_MAX {
            codes.push(text.trim().to_owned());
        }
        Ok(())
    });
    if read.is_ok() { codes } else { Vec::new() }
}

/// Reads the location constraint of a CreateBucket; `None` for an empty body or none named.
///
/// # Errors
/// `MalformedXML` for anything but a `CreateBucketConfiguration`.
pub fn create_bucket(document: &[u8]) -> Result<Option<String>, Malformed> {
    if document.trim_ascii().is_empty() {
        return Ok(None);
    }
    let mut location = None;
    walk(document, &mut |path, text| {
        if !path.starts_with("CreateBucketConfiguration") {
            return Err(malformed());
        }
        if path == "CreateBucketConfiguration/LocationConstraint" {
            location = Some(text.trim().to_owned()).filter(|text| !text.is_empty());
        }
        Ok(())
    })?;
    Ok(location)
}

/// One page of `ListMultipartUploads`, as a region answers it or as nearpoint merges it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct UploadsPage {
    /// Bucket, in the words of whoever wrote it.
    pub bucket: String,
    /// Uploads by key, then by time of initiation.
    pub uploads: Vec<Upload>,
    /// Common prefixes, in order.
    pub prefixes: Vec<String>,
    /// Whether more follows.
    pub truncated: bool,
    /// Where the next page begins.
    pub next_key_marker: String,
    /// Where in that key's uploads.
    pub next_upload_id_marker: String,
    /// What was asked, echoed: `Prefix`, `Delimiter`, `KeyMarker`, `UploadIdMarker`, `MaxUploads`,
    /// `EncodingType`.
    pub echoed: Vec<(&'static str, String)>,
}

/// One upload under way.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Upload {
    /// Its key, percent-encoded where the listing is.
    pub key: String,
    /// Its id.
    pub upload_id: String,
    /// When it began (`2006-02-03T16:45:09.000Z`).
    pub initiated: String,
    /// `StorageClass`, `ChecksumAlgorithm`, `ChecksumType`, where told.
    pub attributes: Vec<(&'static str, String)>,
}

/// Parameters that `ListMultipartUploads` echoes.
const ECHOED: [&str; 6] =
    ["Prefix", "Delimiter", "KeyMarker", "UploadIdMarker", "MaxUploads", "EncodingType"];

/// Elements of an upload that pass from a region's page to the merged one. Owner and initiator do
/// not: they name accounts.
const ATTRIBUTES: [&str; 3] = ["StorageClass", "ChecksumAlgorithm", "ChecksumType"];

/// Reads a region's page of `ListMultipartUploads`.
///
/// # Errors
/// `MalformedXML`.
pub fn list_uploads_result(document: &[u8]) -> Result<UploadsPage, Malformed> {
    let mut page = UploadsPage::default();
    let mut upload = Upload::default();
    walk(document, &mut |path, text| {
        let (root, rest) = path.split_once('/').unwrap_or((path, ""));
        if root != "ListMultipartUploadsResult" {
            return Err(malformed());
        }
        match rest {
            "Bucket" => text.clone_into(&mut page.bucket),
            "IsTruncated" => page.truncated = text.trim() == "true",
            "NextKeyMarker" => text.clone_into(&mut page.next_key_marker),
            "NextUploadIdMarker" => text.clone_into(&mut page.next_upload_id_marker),
            "CommonPrefixes/Prefix" => page.prefixes.push(text.to_owned()),
            "Upload/Key" => text.clone_into(&mut upload.key),
            "Upload/UploadId" => text.clone_into(&mut upload.upload_id),
            "Upload/Initiated" => text.clone_into(&mut upload.initiated),
            "Upload" => page.uploads.push(std::mem::take(&mut upload)),
            rest => {
                let own = rest.strip_prefix("Upload/").unwrap_or_default();
                if let Some(name) = ATTRIBUTES.iter().find(|name| **name == own) {
                    upload.attributes.push((name, text.to_owned()));
                } else if let Some(name) = ECHOED.iter().find(|name| **name == rest) {
                    page.echoed.push((name, text.to_owned()));
                }
            }
        }
        Ok(())
    })?;
    Ok(page)
}

impl UploadsPage {
    /// Writes the merged page.
    #[must_use]
    pub fn document(&self) -> String {
        let mut out = format!("{DECLARATION}<ListMultipartUploadsResult xmlns=\"{NAMESPACE}\">");
        element(&mut out, "Bucket", &self.bucket);
        for (name, value) in &self.echoed {
            element(&mut out, name, value);
        }
        if self.truncated {
            element(&mut out, "NextKeyMarker", &self.next_key_marker);
            element(&mut out, "NextUploadIdMarker", &self.next_upload_id_marker);
        }
        element(&mut out, "IsTruncated", if self.truncated { "true" } else { "false" });
        for upload in &self.uploads {
            out.push_str("<Upload>");
            element(&mut out, "Key", &upload.key);
            element(&mut out, "UploadId", &upload.upload_id);
            element(&mut out, "Initiated", &upload.initiated);
            for (name, value) in &upload.attributes {
                element(&mut out, name, value);
            }
            out.push_str("</Upload>");
        }
        for prefix in &self.prefixes {
            out.push_str("<CommonPrefixes>");
            element(&mut out, "Prefix", prefix);
            out.push_str("</CommonPrefixes>");
        }
        out.push_str("</ListMultipartUploadsResult>");
        out
    }
}

pub(super) fn malformed() -> Malformed {
    Malformed::new(Code::MalformedXML)
}

/// Visits each element as it closes, with its path from the root (`Delete/Object/Key`, without
/// namespace prefixes) and its own text. One pass, nothing kept but the path and one text.
pub(super) fn walk(
    document: &[u8],
    visit: &mut dyn FnMut(&str, &str) -> Result<(), Malformed>,
) -> Result<(), Malformed> {
    let document = std::str::from_utf8(document).map_err(|_| malformed())?;
    let mut reader = Reader::from_str(document.strip_prefix('\u{feff}').unwrap_or(document));
    let mut path = Path::default();
    let mut text = String::new();
    let mut rooted = false;
    loop {
        match reader.read_event().map_err(|_| malformed())? {
            Event::Start(tag) => {
                rooted = path.enter(&tag, rooted)?;
                text.clear();
            }
            Event::Empty(tag) => {
                rooted = path.enter(&tag, rooted)?;
                text.clear();
                path.leave(visit, &text)?;
            }
            Event::End(_) => {
                path.leave(visit, &text)?;
                text.clear();
            }
            Event::Text(part) => text.push_str(&part.xml10_content()),
            Event::CData(part) => text.push_str(&part.xml10_content()),
            Event::GeneralRef(reference) => match reference.resolve_char_ref().map_err(|_| malformed())? {
                Some(c) => text.push(c),
                None => text.push_str(resolve_predefined_entity(&reference).ok_or_else(malformed)?),
            },
            Event::Decl(_) | Event::PI(_) | Event::Comment(_) => {}
            Event::Eof if rooted && path.ends.is_empty() => return Ok(()),
            Event::Eof | Event::DocType(_) => return Err(malformed()),
        }
        if path.ends.is_empty() && !text.trim().is_empty() {
            return Err(malformed());
        }
    }
}

/// The open elements.
#[derive(Default)]
struct Path {
    names: String,
    /// Length of `names` before each open element.
    ends: Vec<usize>,
}

impl Path {
    fn enter(&mut self, tag: &BytesStart<'_>, rooted: bool) -> Result<bool, Malformed> {
        let second_root = rooted && self.ends.is_empty();
        if second_root || self.ends.len() >= DEPTH_MAX || tag.attributes_raw().len() > ATTRIBUTES_MAX {
            return Err(malformed());
        }
        self.ends.push(self.names.len());
        if !self.names.is_empty() {
            self.names.push('/');
        }
        self.names.push_str(tag.local_name().as_ref());
        Ok(true)
    }

    fn leave(
        &mut self,
        visit: &mut dyn FnMut(&str, &str) -> Result<(), Malformed>,
        text: &str,
    ) -> Result<(), Malformed> {
        let end = self.ends.pop().ok_or_else(malformed)?;
        visit(&self.names, text)?;
        self.names.truncate(end);
        Ok(())
    }
}

#[cfg(test)]
mod tests;
