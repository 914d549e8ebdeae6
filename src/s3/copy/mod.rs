//! Copies that no store can make, since none has both the source and the place of the copy: what is
//! asked for, the requests that it takes, and what is answered. Pure.
//!
//! A copy is a read of the source and a write of what was read, each in the client's own words, as
//! if the client had sent them. Source: `CopyObject` and `UploadPartCopy` of the S3 API reference.

mod object;
mod replies;
mod requests;

pub use object::Object;
pub use replies::{Part, completed, completion, tags, upload_checksum, upload_id};
pub use requests::{Reading, Writing};

use crate::head::Head;
use crate::s3::checksum::Algorithm;
use crate::s3::hoist::hoisted;
use crate::s3::operation::Operation;
use crate::s3::range::Range;
use crate::s3::xml::{DECLARATION, NAMESPACE, element};
use crate::s3::{Call, Code, Malformed};

/// Most bytes of a part, also of one that is copied: S3's own limit.
pub const PART_MAX: u64 = 5 << 30;

/// Most bytes of an object that is copied. S3 itself copies no more than [`PART_MAX`] by one
/// `CopyObject`; here it is made of parts anyway.
pub const OBJECT_MAX: u64 = 5 << 40;

/// Up to so many bytes an object is copied by one PUT: what fails is sent anew as a whole. From there
/// on most clients upload in parts, too.
pub const WHOLE_MAX: u64 = 8 << 20;

/// Parts of a copy, while they are not longer than [`PART_LONG`]: each costs a round trip to either
/// region, and what fails is one of them. 80 MiB each of 5 GiB.
const PARTS_MAX: u64 = 64;
/// From there on there are more of them: at most 5,120, of [`OBJECT_MAX`].
const PART_LONG: u64 = 1 << 30;

/// What a copy asks for beside its source and its place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Asked {
    /// The copy's headers are the request's and not the source's.
    pub replaces_metadata: bool,
    /// The same of its tags.
    pub replaces_tags: bool,
    /// It becomes a part of an upload.
    pub is_part: bool,
    /// Of a part: first and last byte of the source.
    pub range: Option<(u64, u64)>,
    /// What the copy's checksum is to be.
    pub checksum: Option<Algorithm>,
}

impl Asked {
    /// Reads the head of a copy whose hoisted parameters are headers ([`unfolded`]).
    ///
    /// # Errors
    /// `InvalidArgument` for directives and ranges that are none, `InvalidRequest` for a checksum
    /// that nobody computes and for a copy of an object onto itself that changes nothing.
    pub fn of(head: &Head, call: &Call) -> Result<Self, Malformed> {
        let is_part = call.operation == Operation::UploadPartCopy;
        let asked = Self {
            replaces_metadata: replaces(head, "x-amz-metadata-directive", "Unknown metadata directive.")?,
            replaces_tags: replaces(head, "x-amz-tagging-directive", "Unknown tagging directive.")?,
            is_part,
            range: if is_part { range(head)? } else { None },
            checksum: checksum(head)?,
        };
        if call.operation == Operation::CopyObject && asked.changes_nothing(head, call) {
            return Err(Malformed::because(
                Code::InvalidRequest,
                "This copy request is illegal because it is trying to copy an object to itself without changing the object's metadata, storage class, website redirect location or encryption attributes.",
            ));
        }
        Ok(asked)
    }

    fn changes_nothing(&self, head: &Head, call: &Call) -> bool {
        let changes = |name: &str| {
            matches!(name, "x-amz-storage-class" | "x-amz-website-redirect-location")
                || name.starts_with("x-amz-server-side-encryption")
        };
        let onto_itself = call.copy_source.as_ref().is_some_and(|source| {
            call.bucket() == Some(&source.bucket) && call.key() == source.key && source.version_id.is_none()
        });
        onto_itself && !self.replaces_metadata && !head.fields().any(|field| changes(field.name))
    }

    /// The bytes of a source of this size that are copied; `None`: there are none.
    ///
    /// # Errors
    /// `InvalidRequest` where they are more than S3 copies at once, `InvalidArgument` for a range
    /// that the source does not have.
    pub fn stretch(&self, size: u64) -> Result<Option<(u64, u64)>, Malformed> {
        let stretch = match self.range {
            Some((_, last)) if last >= size => {
                let words = format!("Range specified is not valid for source object of size: {size}");
                return Err(Malformed::because(Code::InvalidArgument, words));
            }
            Some(range) => Some(range),
            None => size.checked_sub(1).map(|last| (0, last)),
        };
        let most = if self.is_part { PART_MAX } else { OBJECT_MAX };
        if stretch.is_some_and(|(first, last)| last - first >= most) {
            return Err(Malformed::because(
                Code::InvalidRequest,
                format!(
                    "The specified copy source is larger than the maximum allowable size for a copy source: {most}"
                ),
            ));
        }
        Ok(stretch)
    }
}

/// First and last byte of each part in which an object of this size is copied.
pub fn parts(size: u64) -> impl Iterator<Item = (u16, u64, u64)> {
    let part = size.div_ceil(PARTS_MAX).next_multiple_of(1 << 20).clamp(WHOLE_MAX, PART_LONG);
    let count = size.div_ceil(part);
    (0..count).map(move |at| {
        let first = at * part;
        // 5,120 at most
        (u16::try_from(at + 1).unwrap_or(u16::MAX), first, (first + part).min(size) - 1)
    })
}

/// A head in which what a presigned query carries of headers is headers.
#[must_use]
pub fn unfolded(head: &Head) -> Head {
    let mut out = head.clone();
    // classify has refused what is wrong with them
    for (name, value) in hoisted(head).unwrap_or_default() {
        out.set(&name, value.as_bytes());
    }
    out
}

fn replaces(head: &Head, name: &'static str, fault: &'static str) -> Result<bool, Malformed> {
    match head.first_text(name).map(str::trim) {
        None | Some("COPY" | "") => Ok(false),
        Some("REPLACE") => Ok(true),
        Some(other) => Err(Malformed::argument(name, other, fault)),
    }
}

fn range(head: &Head) -> Result<Option<(u64, u64)>, Malformed> {
    const NAME: &str = "x-amz-copy-source-range";
    let Some(text) = head.first_text(NAME) else { return Ok(None) };
    match Range::parse(text) {
        Some(Range::Closed { first, last }) => Ok(Some((first, last))),
        _ => Err(Malformed::argument(
            NAME,
            text,
            "The x-amz-copy-source-range value must be of the form bytes=first-last where first and last are the zero-based offsets of the first and last bytes to copy",
        )),
    }
}

fn checksum(head: &Head) -> Result<Option<Algorithm>, Malformed> {
    let Some(name) = head.first_text("x-amz-checksum-algorithm").map(str::trim) else { return Ok(None) };
    match Algorithm::parse(name).filter(|algorithm| algorithm.is_common()) {
        Some(algorithm) => Ok(Some(algorithm)),
        None => Err(Malformed::because(
            Code::InvalidRequest,
            "Checksum algorithm provided is unsupported. Please try again with any of the valid types: [CRC32, CRC32C, CRC64NVME, SHA1, SHA256]",
        )),
    }
}

/// What a copy came to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Copied {
    /// `2006-02-03T16:45:09.000Z`.
    pub modified: String,
    /// With its quotes.
    pub etag: String,
    /// Checksums of the copy, in base64.
    pub checksums: Vec<(Algorithm, String)>,
}

impl Copied {
    /// The document of the answer, without its declaration: that may have gone ahead.
    #[must_use]
    pub fn document(&self, operation: Operation) -> String {
        let root = if operation == Operation::UploadPartCopy { "CopyPartResult" } else { "CopyObjectResult" };
        let mut out = format!("<{root} xmlns=\"{NAMESPACE}\">");
        element(&mut out, "LastModified", &self.modified);
        element(&mut out, "ETag", &self.etag);
        for (algorithm, value) in &self.checksums {
            element(&mut out, &format!("Checksum{}", algorithm.name()), value);
        }
        out.push_str("</");
        out.push_str(root);
        out.push('>');
        out
    }
}

/// What every document of ours begins with.
pub const OPENING: &str = DECLARATION;

#[cfg(test)]
mod tests;
