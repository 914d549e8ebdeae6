//! What the head of a copy's source says.

use http::HeaderMap;
use http::header::{CONTENT_LENGTH, ETAG};

use crate::s3::checksum::Algorithm;

/// The source of a copy.
#[derive(Clone, Debug, PartialEq)]
pub struct Object {
    /// Bytes.
    pub size: u64,
    /// Its entity tag, where it is a strong one.
    pub etag: Option<String>,
    /// Its version, as clients call it; the one of an object without versions names any.
    pub version: Option<String>,
    /// Of all of it.
    pub checksum: Option<(Algorithm, String)>,
    /// How many tags it has.
    pub tags: Option<u64>,
    /// All that was said.
    pub headers: HeaderMap,
}

impl Object {
    /// Reads an answer to HEAD, in the client's words. `None` where it tells no length.
    #[must_use]
    pub fn of(headers: HeaderMap) -> Option<Self> {
        let text = |name: &str| headers.get(name)?.to_str().ok().map(str::trim);
        let number = |name: &str| text(name)?.parse().ok();
        Some(Self {
            size: number(CONTENT_LENGTH.as_str())?,
            etag: text(ETAG.as_str()).filter(|etag| is_strong(etag)).map(str::to_owned),
            version: text("x-amz-version-id").filter(|id| !id.is_empty() && *id != "null").map(str::to_owned),
            checksum: checksum(&headers),
            tags: number("x-amz-tagging-count"),
            headers,
        })
    }

    /// Whether an answer to GET is of the same version of it.
    #[must_use]
    pub fn is_of(&self, headers: &HeaderMap) -> bool {
        let etag = headers.get(ETAG).and_then(|etag| etag.to_str().ok()).map(str::trim);
        self.etag.as_deref().is_some_and(|own| etag == Some(own))
    }
}

fn is_strong(etag: &str) -> bool {
    !etag.starts_with("W/") && !etag.is_empty()
}

/// A checksum of all of it; those of parts, or made of the parts' checksums, cannot be compared with
/// what was read.
fn checksum(headers: &HeaderMap) -> Option<(Algorithm, String)> {
    let whole = headers.get("x-amz-checksum-type")?.as_bytes().eq_ignore_ascii_case(b"FULL_OBJECT");
    let known = Algorithm::ALL.into_iter().filter(|algorithm| algorithm.is_common());
    let mut told = known.filter_map(|algorithm| {
        let value = headers.get(algorithm.header())?.to_str().ok()?.trim();
        algorithm.decode(value).is_some().then(|| (algorithm, value.to_owned()))
    });
    told.next().filter(|_| whole)
}
