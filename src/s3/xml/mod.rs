//! The XML that nearpoint writes itself, and the few bodies that it must read. Pure.
//!
//! Readers are bounded: the caller bounds the size, this room the depth; there is no DTD and no
//! entity but XML's own five. Anything else is `MalformedXML`, before work is done on it.

mod uploads;

use std::fmt::Write as _;

use quick_xml::Reader;
use quick_xml::escape::resolve_predefined_entity;
use quick_xml::events::{BytesStart, Event};

use crate::s3::checksum::Algorithm;
use crate::s3::{Code, Malformed};

pub use uploads::{Upload, UploadsAsked, UploadsPage, list_uploads_result};

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
    /// `Message`; may name buckets, accounts and endpoints: for logs, and for clients of a store's own
    /// buckets.
    pub message: String,
    /// What else it says that names nothing physical.
    pub details: Vec<(&'static str, String)>,
    /// `Region`, where the store says that another one is meant.
    pub region: Option<String>,
}

/// Elements of an error that are numbers, or words of S3's own.
const TOLD: [&str; 10] = [
    "ActualObjectSize",
    "ArgumentName",
    "Condition",
    "Header",
    "MaxSizeAllowed",
    "MinSizeAllowed",
    "PartNumber",
    "ProposedSize",
    "RangeRequested",
    "ResourceType",
];
/// The longest value of one of them.
const TOLD_MAX: usize = 64;

/// Reads a store's error document. `None` where it is none.
#[must_use]
pub fn read_error(document: &[u8]) -> Option<StoreError> {
    let mut error = StoreError::default();
    let read = walk(document, &mut |path, text| {
        match path {
            "Error/Code" => text.clone_into(&mut error.code),
            "Error/Message" => text.clone_into(&mut error.message),
            "Error/Region" => error.region = Some(text.to_owned()),
            _ => {
                let told =
                    path.strip_prefix("Error/").and_then(|name| TOLD.iter().find(|told| **told == name));
                if let Some(name) = told.filter(|_| (1..=TOLD_MAX).contains(&text.len())) {
                    error.details.retain(|(known, _)| known != name);
                    error.details.push((name, text.to_owned()));
                }
            }
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

/// Whoever an ACL may name without naming an account.
const ALL_USERS: &str = "http://acs.amazonaws.com/groups/global/AllUsers";
const AUTHENTICATED_USERS: &str = "http://acs.amazonaws.com/groups/global/AuthenticatedUsers";

/// The canned ACL that says the same as an `AccessControlPolicy` of this owner, where one does: it names
/// nobody.
#[must_use]
pub fn canned_acl(document: &[u8], owner: &str) -> Option<&'static str> {
    let (mut grants, mut grantee, mut permission) = (Vec::new(), String::new(), String::new());
    let mut others = false;
    let read = walk(document, &mut |path, text| {
        match path {
            "AccessControlPolicy/AccessControlList/Grant" => {
                grants.push((std::mem::take(&mut grantee), std::mem::take(&mut permission)));
            }
            "AccessControlPolicy/Owner/ID" => others |= text != owner,
            "AccessControlPolicy/AccessControlList/Grant/Grantee/ID"
            | "AccessControlPolicy/AccessControlList/Grant/Grantee/URI" => text.clone_into(&mut grantee),
            "AccessControlPolicy/AccessControlList/Grant/Grantee/EmailAddress" => others = true,
            "AccessControlPolicy/AccessControlList/Grant/Permission" => text.clone_into(&mut permission),
            _ => {}
        }
        Ok(())
    });
    if read.is_err() || others {
        return None;
    }
    // the owner has all in each of them
    let own = grants.iter().position(|grant| *grant == (owner.to_owned(), "FULL_CONTROL".to_owned()))?;
    grants.swap_remove(own);
    grants.sort_unstable();
    let rest: Vec<(&str, &str)> = grants.iter().map(|(who, what)| (who.as_str(), what.as_str())).collect();
    match rest[..] {
        [] => Some("private"),
        [(ALL_USERS, "READ")] => Some("public-read"),
        [(ALL_USERS, "READ"), (ALL_USERS, "WRITE")] => Some("public-read-write"),
        [(AUTHENTICATED_USERS, "READ")] => Some("authenticated-read"),
        _ => None,
    }
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

/// Whether the body of `RestoreObject` has the result written somewhere else than to the object.
///
/// # Errors
/// `MalformedXML`: what cannot be read here might say so to another reader.
pub fn restores_elsewhere(document: &[u8]) -> Result<bool, Malformed> {
    let mut elsewhere = false;
    walk(document, &mut |path, _text| {
        elsewhere |= path.split('/').any(|name| name.eq_ignore_ascii_case("OutputLocation"));
        Ok(())
    })?;
    Ok(elsewhere)
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
    not_deleted(document).into_iter().map(|failed| failed.code).collect()
}

/// An object that was not deleted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NotDeleted {
    /// Its key.
    pub key: String,
    /// The version that was to be deleted, where the store names one.
    pub version_id: Option<String>,
    /// Why.
    pub code: String,
}

/// What a `DeleteResult` says was not deleted. Empty where it is none.
#[must_use]
pub fn not_deleted(document: &[u8]) -> Vec<NotDeleted> {
    let (mut all, mut one) = (Vec::new(), NotDeleted::default());
    let read = walk(document, &mut |path, text| {
        match path {
            "DeleteResult/Error/Key" => text.clone_into(&mut one.key),
            "DeleteResult/Error/VersionId" => {
                one.version_id = Some(text.to_owned()).filter(|id| !id.is_empty());
            }
            "DeleteResult/Error/Code" => text.trim().clone_into(&mut one.code),
            "DeleteResult/Error" if all.len() < DELETE_MAX => all.push(std::mem::take(&mut one)),
            _ => {}
        }
        Ok(())
    });
    if read.is_ok() { all } else { Vec::new() }
}

impl NotDeleted {
    /// Whether it is what was asked for.
    #[must_use]
    pub fn is(&self, asked: &ObjectToDelete) -> bool {
        self.key == asked.key && (self.version_id.is_none() || self.version_id == asked.version_id)
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

/// Where in its document a reader stands, in bytes.
pub(super) fn position(reader: &Reader<&[u8]>) -> usize {
    usize::try_from(reader.buffer_position()).unwrap_or(usize::MAX)
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
