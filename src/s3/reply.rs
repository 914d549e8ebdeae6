//! A region's reply headers in the client's words. Pure.
//!
//! What names the store, its bucket, its region or an account stays here, as does everything that
//! belongs to the connection or to a middlebox of the store.

use http::StatusCode;
use http::header::{CONNECTION, HeaderMap, HeaderName, HeaderValue, LOCATION};
use smallvec::SmallVec;

use super::kms::KmsKeys;
use super::outbound::KMS_KEY;

/// Families of headers that stay here, all of the store's own serving or of ours.
const DROPPED_FAMILIES: [&str; 10] = [
    "cf-",
    "x-amz-cf-",
    "x-cache",
    "x-emc-",
    "x-envoy-",
    "x-minio-",
    "x-nearpoint-",
    "x-ratelimit-",
    "x-rgw-",
    "x-served-",
];

/// The code of an error without a document, as its head tells it: MinIO names it in a header, AWS
/// throttles with a `reason` of its own. `throttles`: the store asked for less lately, so that a bare 503
/// means no more.
#[must_use]
pub fn code_in_head<'a>(
    status: StatusCode,
    headers: &'a HeaderMap,
    reason: Option<&[u8]>,
    throttles: bool,
) -> Option<&'a str> {
    if let Some(code) = headers.get("x-minio-error-code") {
        return code.to_str().ok();
    }
    let slow_down = status == StatusCode::SERVICE_UNAVAILABLE && (reason == Some(b"Slow Down") || throttles);
    slow_down.then_some("SlowDown")
}

/// What a region's words become.
pub struct Mapping<'a> {
    /// The region that clients see.
    pub region: &'a str,
    /// The bucket, as clients call it, to which `Location` leads where the region sends one
    /// (CreateBucket, form uploads); `None` drops it, as with redirects, which are never passed on.
    pub location: Option<&'a str>,
    /// Whether the store has versions. Garage and R2 do not, and give version ids all the same: who
    /// asks for one of them (rclone does) would be told that it cannot.
    pub versions: bool,
    /// What clients call the region's keys.
    pub kms_keys: &'a KmsKeys,
    /// Whether the store's documents and accounts are the client's own: a wildcard's.
    pub transparent: bool,
    /// The encryption context that the client sent; stores add bucket and account to it.
    pub encryption_context: Option<&'a [u8]>,
    /// A version id in the client's words: wrapped, or as it is.
    pub version: &'a dyn Fn(&str) -> String,
    /// The same for the version of a copy's source, which is of another key.
    pub source_version: &'a dyn Fn(&str) -> String,
}

/// The headers that the client gets. Content length and type, entity tags, metadata, checksums,
/// CORS and whatever else S3 may invent pass as they are, in the store's own table.
#[must_use]
pub fn reply_headers(status: StatusCode, mut headers: HeaderMap, names: &Mapping<'_>) -> HeaderMap {
    let own = of_the_connection(&headers);
    let location = names.location.filter(|_| headers.contains_key(LOCATION) && !status.is_redirection());
    let mut leaving: SmallVec<[HeaderName; LEAVING_USUAL]> = SmallVec::new();
    for (name, value) in &mut headers {
        let fate =
            if own.iter().any(|own| own == name.as_str()) { Fate::Stays } else { fate(name, value, names) };
        match fate {
            Fate::Passes => {}
            Fate::Becomes(ours) => *value = ours,
            Fate::Stays => leaving.push(name.clone()),
        }
    }
    for name in leaving {
        headers.remove(name);
    }
    if let Some(location) = location.and_then(|bucket| HeaderValue::try_from(format!("/{bucket}")).ok()) {
        headers.insert(LOCATION, location);
    }
    headers
}

/// Headers of an answer that usually stay here: room for them without an allocation.
const LEAVING_USUAL: usize = 8;

/// The names in `Connection`, beside the words that every connection may have.
fn of_the_connection(headers: &HeaderMap) -> Vec<String> {
    headers
        .get_all(CONNECTION)
        .iter()
        .flat_map(|value| value.as_bytes().split(|byte| *byte == b','))
        .map(<[u8]>::trim_ascii)
        .filter(|word| !word.eq_ignore_ascii_case(b"keep-alive") && !word.eq_ignore_ascii_case(b"close"))
        .map(|name| String::from_utf8_lossy(name).to_ascii_lowercase())
        .collect()
}

/// Whether a header is of the connection, of the store's own serving, or one that we set ourselves.
fn stays(name: &str) -> bool {
    // A match, not a list: compared by length first, and most of an answer's headers are not here.
    matches!(
        name,
        "alt-svc"
            | "bucket"
            | "connection"
            | "content-security-policy"
            | "date"
            | "keep-alive"
            | "location"
            | "nel"
            | "proxy-authenticate"
            | "proxy-authentication-info"
            | "proxy-connection"
            | "refresh"
            | "report-to"
            | "server"
            | "server-timing"
            | "set-cookie"
            | "strict-transport-security"
            | "te"
            | "trailer"
            | "transfer-encoding"
            | "upgrade"
            | "via"
            | "www-authenticate"
            | "x-amz-access-point-alias"
            | "x-amz-bucket-arn"
            | "x-amz-bucket-location-name"
            | "x-amz-bucket-location-type"
            | "x-amz-error-detail-region"
            | "x-amz-error-message"
            | "x-amz-id-2"
            | "x-amz-meta-nearpoint-write"
            | "x-amz-request-id"
            | "x-amzn-requestid"
            | "x-powered-by"
            | "x-xss-protection"
    ) || DROPPED_FAMILIES.iter().any(|family| name.starts_with(family))
}

/// What becomes of a header.
enum Fate {
    Passes,
    Becomes(HeaderValue),
    Stays,
}

fn fate(name: &HeaderName, value: &HeaderValue, names: &Mapping<'_>) -> Fate {
    let becomes = |ours: Option<HeaderValue>| ours.map_or(Fate::Stays, Fate::Becomes);
    match name.as_str() {
        "x-amz-bucket-region" => becomes(HeaderValue::from_str(names.region).ok()),
        "x-amz-version-id" | "x-amz-object-version-id" | "x-amz-copy-source-version-id"
            if !names.versions =>
        {
            Fate::Stays
        }
        "x-amz-version-id" | "x-amz-object-version-id" => {
            becomes(value.to_str().ok().and_then(|id| HeaderValue::try_from((names.version)(id)).ok()))
        }
        "x-amz-copy-source-version-id" => {
            becomes(value.to_str().ok().and_then(|id| HeaderValue::try_from((names.source_version)(id)).ok()))
        }
        // Where keys have names of the client's, only those are told. Else an ARN has the account in it,
        // and a plain key id is the client's own.
        KMS_KEY if !names.kms_keys.is_empty() => {
            let logical = value.to_str().ok().and_then(|told| names.kms_keys.logical(told));
            becomes(logical.and_then(|key| HeaderValue::from_str(key).ok()))
        }
        KMS_KEY if value.as_bytes().starts_with(b"arn:") => Fate::Stays,
        "x-amz-server-side-encryption-context" if !names.transparent => {
            becomes(names.encryption_context.and_then(|own| HeaderValue::from_bytes(own).ok()))
        }
        name if stays(name) => Fate::Stays,
        _ => Fate::Passes,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::s3::kms::NO_KEYS;

    fn replied(status: StatusCode, headers: &[(&'static str, &'static str)]) -> HeaderMap {
        replied_by(true, status, headers)
    }

    fn replied_by(versions: bool, status: StatusCode, headers: &[(&'static str, &'static str)]) -> HeaderMap {
        let version = |id: &str| format!("wrapped-{id}");
        let source_version = |id: &str| format!("source-{id}");
        let names = Mapping {
            region: "logical-1",
            location: Some("photos"),
            versions,
            kms_keys: &NO_KEYS,
            transparent: false,
            encryption_context: Some(b"b3du"),
            version: &version,
            source_version: &source_version,
        };
        let headers = headers
            .iter()
            .map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value)));
        reply_headers(status, headers.collect(), &names)
    }

    fn names(headers: &HeaderMap) -> Vec<&str> {
        headers.keys().map(HeaderName::as_str).collect()
    }

    #[test]
    fn what_describes_the_object_passes() {
        let kept = [
            ("content-type", "text/plain"),
            ("content-length", "3"),
            ("content-range", "bytes 0-2/9"),
            ("etag", "\"a\""),
            ("last-modified", "Thu, 01 Jan 2026 00:00:00 GMT"),
            ("x-amz-meta-a", "\u{9}b"),
            ("x-amz-checksum-crc32", "AAAAAA=="),
            ("x-amz-delete-marker", "true"),
            ("x-amz-something-new", "1"),
            ("access-control-allow-origin", "*"),
            ("vary", "Origin"),
        ];
        assert_eq!(replied(StatusCode::OK, &kept).len(), kept.len());
    }

    #[test]
    fn what_names_the_store_stays() {
        for (name, value) in [
            ("server", "MinIO"),
            ("connection", "close"),
            ("transfer-encoding", "chunked"),
            ("x-amz-request-id", "theirs"),
            ("x-amz-id-2", "theirs"),
            ("set-cookie", "a=b"),
            ("strict-transport-security", "max-age=1"),
            ("x-minio-deployment-id", "x"),
            ("cf-ray", "x"),
            ("x-amz-meta-nearpoint-write", "x"),
            ("x-amz-server-side-encryption-aws-kms-key-id", "arn:aws:kms:eu-west-1:111122223333:key/x"),
            ("www-authenticate", "x"),
        ] {
            assert!(replied(StatusCode::OK, &[(name, value)]).is_empty(), "{name}");
        }
        let headers = [
            ("connection", "keep-alive, X-Hop"),
            ("x-hop", "1"),
            ("etag", "\"a\""),
            ("keep-alive", "timeout=5"),
        ];
        assert_eq!(names(&replied(StatusCode::OK, &headers)), ["etag"]);
    }

    #[test]
    fn names_are_mapped_back() {
        let headers = [
            ("x-amz-bucket-region", "eu-central-1"),
            ("x-amz-version-id", "v"),
            ("x-amz-object-version-id", "v"),
            ("x-amz-copy-source-version-id", "v"),
            ("location", "http://photos-fra.store/"),
        ];
        let out = replied(StatusCode::OK, &headers);
        assert_eq!(out["x-amz-bucket-region"], "logical-1");
        assert_eq!(out["x-amz-version-id"], "wrapped-v");
        assert_eq!(out["x-amz-object-version-id"], "wrapped-v");
        assert_eq!(out["x-amz-copy-source-version-id"], "source-v");
        assert_eq!(out["location"], "/photos");
    }

    #[test]
    fn a_store_without_versions_tells_of_none() {
        let headers = [
            ("etag", "\"a\""),
            ("x-amz-version-id", "v"),
            ("x-amz-object-version-id", "v"),
            ("x-amz-copy-source-version-id", "v"),
        ];
        assert_eq!(names(&replied_by(false, StatusCode::OK, &headers)), ["etag"]);
    }

    #[test]
    fn redirects_are_not_passed_on() {
        let headers = [("location", "http://photos-fra.store/")];
        assert!(replied(StatusCode::TEMPORARY_REDIRECT, &headers).is_empty());
        assert!(!replied(StatusCode::NO_CONTENT, &[]).contains_key("location"));
    }
}
