//! What stores answer to the requests of a copy, as far as the next request needs it.

use crate::s3::checksum::Algorithm;
use crate::s3::query::encode;
use crate::s3::xml::{element, walk};

/// Most tags of an object: S3's own limit.
const TAGS_MAX: usize = 10;

/// One part of an upload that is to be completed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Part {
    /// Its number.
    pub number: u16,
    /// Its entity tag.
    pub etag: String,
    /// Its checksum, in base64, where the upload has one.
    pub checksum: Option<(Algorithm, String)>,
}

/// The id of an upload that has begun.
#[must_use]
pub fn upload_id(document: &str) -> Option<String> {
    let mut id = None;
    let read = walk(document.as_bytes(), &mut |path, text| {
        if path == "InitiateMultipartUploadResult/UploadId" {
            id = Some(text.to_owned());
        }
        Ok(())
    });
    id.filter(|id| read.is_ok() && !id.is_empty())
}

/// Which checksum the parts of an upload have, by its list of parts.
#[must_use]
pub fn upload_checksum(document: &str) -> Option<Algorithm> {
    let mut algorithm = None;
    let read = walk(document.as_bytes(), &mut |path, text| {
        if path == "ListPartsResult/ChecksumAlgorithm" {
            algorithm = Algorithm::parse(text.trim());
        }
        Ok(())
    });
    algorithm.filter(|algorithm| read.is_ok() && algorithm.is_common())
}

/// The document that completes an upload.
#[must_use]
pub fn completion(parts: &[Part]) -> String {
    let mut out = format!("<CompleteMultipartUpload xmlns=\"{}\">", crate::s3::xml::NAMESPACE);
    for part in parts {
        out.push_str("<Part>");
        element(&mut out, "PartNumber", &part.number.to_string());
        element(&mut out, "ETag", &part.etag);
        if let Some((algorithm, value)) = &part.checksum {
            element(&mut out, &format!("Checksum{}", algorithm.name()), value);
        }
        out.push_str("</Part>");
    }
    out.push_str("</CompleteMultipartUpload>");
    out
}

/// Entity tag and checksums of a completed upload. `None` where that is not what the document says.
#[must_use]
pub fn completed(document: &str) -> Option<(String, Vec<(Algorithm, String)>)> {
    let (mut etag, mut checksums) = (None, Vec::new());
    let read = walk(document.as_bytes(), &mut |path, text| {
        let rest = path.strip_prefix("CompleteMultipartUploadResult/").unwrap_or_default();
        if rest == "ETag" {
            etag = Some(text.trim().to_owned());
        } else if let Some(algorithm) = rest.strip_prefix("Checksum").and_then(Algorithm::parse) {
            checksums.push((algorithm, text.trim().to_owned()));
        }
        Ok(())
    });
    read.ok()?;
    Some((etag?, checksums))
}

/// An object's tags, as `x-amz-tagging` says them; empty where it has none. `None` where the document does
/// not say them.
#[must_use]
pub fn tags(document: &[u8]) -> Option<String> {
    let (mut all, mut key, mut value) = (Vec::new(), String::new(), String::new());
    let mut said = false;
    let read = walk(document, &mut |path, text| {
        match path {
            "Tagging" => said = true,
            "Tagging/TagSet/Tag/Key" => text.clone_into(&mut key),
            "Tagging/TagSet/Tag/Value" => text.clone_into(&mut value),
            "Tagging/TagSet/Tag" => {
                all.push(format!("{}={}", encode(&key), encode(&std::mem::take(&mut value))));
            }
            _ => {}
        }
        Ok(())
    });
    (read.is_ok() && said && all.len() <= TAGS_MAX).then(|| all.join("&"))
}
