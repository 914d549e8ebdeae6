//! Pages of `ListMultipartUploads`: a region's are read, and the merged one is written.

use std::borrow::Cow;

use super::{DECLARATION, NAMESPACE, element, malformed, walk};
use crate::s3::{Malformed, listed};

/// One page of `ListMultipartUploads`. Names in it are their own bytes, however its document spells
/// them: regions differ in that.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct UploadsPage {
    /// Uploads by key, then by time of initiation.
    pub uploads: Vec<Upload>,
    /// Common prefixes, in order.
    pub prefixes: Vec<Vec<u8>>,
    /// Whether more follows.
    pub truncated: bool,
    /// Where the next page begins.
    pub next_key_marker: Vec<u8>,
    /// Where in that key's uploads.
    pub next_upload_id_marker: String,
}

/// One upload under way.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Upload {
    /// Its key.
    pub key: Vec<u8>,
    /// Its id.
    pub upload_id: String,
    /// When it began (`2006-02-03T16:45:09.000Z`).
    pub initiated: String,
    /// `StorageClass`, `ChecksumAlgorithm`, `ChecksumType`, where told.
    pub attributes: Vec<(&'static str, String)>,
}

/// What the client asked for, which the answer says again.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct UploadsAsked {
    /// The bucket, in the client's words.
    pub bucket: String,
    /// `prefix`.
    pub prefix: Option<String>,
    /// `delimiter`.
    pub delimiter: Option<String>,
    /// `key-marker`.
    pub key_marker: String,
    /// `upload-id-marker`.
    pub upload_id_marker: String,
    /// `max-uploads`, at most what S3 allows.
    pub max_uploads: usize,
    /// `encoding-type=url`.
    pub encoded: bool,
}

/// Elements of an upload that pass from a region's page to the merged one. Owner and initiator do
/// not: they name accounts.
const ATTRIBUTES: [&str; 3] = ["StorageClass", "ChecksumAlgorithm", "ChecksumType"];

/// Reads a region's page; `encoded` where it was asked for with `encoding-type=url`.
///
/// # Errors
/// `MalformedXML`.
pub fn list_uploads_result(document: &[u8], encoded: bool) -> Result<UploadsPage, Malformed> {
    let mut page = UploadsPage::default();
    let mut upload = Upload::default();
    let mut said = false;
    walk(document, &mut |path, text| {
        let (root, rest) = path.split_once('/').unwrap_or((path, ""));
        if root != "ListMultipartUploadsResult" {
            return Err(malformed());
        }
        match rest {
            "EncodingType" => said = text == "url",
            "IsTruncated" => page.truncated = text.trim() == "true",
            "NextKeyMarker" => page.next_key_marker = text.into(),
            "NextUploadIdMarker" => text.clone_into(&mut page.next_upload_id_marker),
            "CommonPrefixes/Prefix" => page.prefixes.push(text.into()),
            "Upload/Key" => upload.key = text.into(),
            "Upload/UploadId" => text.clone_into(&mut upload.upload_id),
            "Upload/Initiated" => text.clone_into(&mut upload.initiated),
            "Upload" => page.uploads.push(std::mem::take(&mut upload)),
            rest => {
                let own = rest.strip_prefix("Upload/").unwrap_or_default();
                if let Some(name) = ATTRIBUTES.iter().find(|name| **name == own) {
                    upload.attributes.push((name, text.to_owned()));
                }
            }
        }
        Ok(())
    })?;
    match (said, encoded) {
        (true, _) => page.decode(listed::plain),
        (false, true) => page.decode(listed::plain_unsaid),
        (false, false) => {}
    }
    Ok(page)
}

impl UploadsPage {
    /// Puts the names behind their spelling in its place.
    fn decode(&mut self, plain: impl Fn(&str) -> Cow<'_, [u8]>) {
        let keys = self.uploads.iter_mut().map(|upload| &mut upload.key);
        for name in keys.chain(&mut self.prefixes).chain([&mut self.next_key_marker]) {
            // read from a document, it is text
            let decoded = std::str::from_utf8(name).map(|shown| plain(shown).into_owned());
            if let Ok(decoded) = decoded {
                *name = decoded;
            }
        }
    }

    /// Writes the page as an answer to what was asked.
    #[must_use]
    pub fn document(&self, asked: &UploadsAsked) -> String {
        let name = |name: &[u8]| {
            if asked.encoded { listed::encoded(name) } else { String::from_utf8_lossy(name).into_owned() }
        };
        let mut out = format!("{DECLARATION}<ListMultipartUploadsResult xmlns=\"{NAMESPACE}\">");
        element(&mut out, "Bucket", &asked.bucket);
        for (parameter, value) in [("Prefix", &asked.prefix), ("Delimiter", &asked.delimiter)] {
            if let Some(value) = value {
                element(&mut out, parameter, &name(value.as_bytes()));
            }
        }
        element(&mut out, "KeyMarker", &name(asked.key_marker.as_bytes()));
        element(&mut out, "UploadIdMarker", &asked.upload_id_marker);
        element(&mut out, "MaxUploads", &asked.max_uploads.to_string());
        if asked.encoded {
            element(&mut out, "EncodingType", "url");
        }
        if self.truncated {
            element(&mut out, "NextKeyMarker", &name(&self.next_key_marker));
            element(&mut out, "NextUploadIdMarker", &self.next_upload_id_marker);
        }
        element(&mut out, "IsTruncated", if self.truncated { "true" } else { "false" });
        for upload in &self.uploads {
            out.push_str("<Upload>");
            element(&mut out, "Key", &name(&upload.key));
            element(&mut out, "UploadId", &upload.upload_id);
            element(&mut out, "Initiated", &upload.initiated);
            for (attribute, value) in &upload.attributes {
                element(&mut out, attribute, value);
            }
            out.push_str("</Upload>");
        }
        for prefix in &self.prefixes {
            out.push_str("<CommonPrefixes>");
            element(&mut out, "Prefix", &name(prefix));
            out.push_str("</CommonPrefixes>");
        }
        out.push_str("</ListMultipartUploadsResult>");
        out
    }
}
