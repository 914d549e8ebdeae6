//! The requests that a copy takes, in the client's own words.

use http::{HeaderMap, Method};

use super::{Asked, Object};
use crate::head::Head;
use crate::s3::Call;
use crate::s3::checksum::Algorithm;
use crate::s3::conditions::conditions_write;
use crate::s3::query::{encode, encode_into};

/// Who asked, for whom, and whose traces it is of: on every request.
const EVERYWHERE: [&str; 4] = ["user-agent", "traceparent", "tracestate", "x-amz-request-payer"];

/// Keys of encryption that the client has of the source.
const SOURCE_KEY: &str = "x-amz-copy-source-server-side-encryption-customer-";
/// The same of the copy.
const KEY: &str = "x-amz-server-side-encryption-customer-";
/// Metadata of the client's own.
const METADATA: &str = "x-amz-meta-";

/// Conditions of the source, as its reader says them.
const CONDITIONS: [(&str, &str); 4] = [
    ("x-amz-copy-source-if-match", "if-match"),
    ("x-amz-copy-source-if-none-match", "if-none-match"),
    ("x-amz-copy-source-if-modified-since", "if-modified-since"),
    ("x-amz-copy-source-if-unmodified-since", "if-unmodified-since"),
];

/// What describes an object beside its metadata, and goes from source to copy.
const DESCRIBES: [&str; 6] = [
    "cache-control",
    "content-disposition",
    "content-encoding",
    "content-language",
    "content-type",
    "expires",
];

/// Of a copy only.
const OF_COPIES: [&str; 5] = [
    "x-amz-metadata-directive",
    "x-amz-tagging-directive",
    "x-amz-source-expected-bucket-owner",
    "x-amz-tagging",
    "x-amz-checksum-algorithm",
];

/// Of the client's own authentication and framing.
const OF_THE_SENDER: [&str; 9] = [
    "x-amz-content-sha256",
    "x-amz-copy-source",
    "x-amz-date",
    "x-amz-decoded-content-length",
    "x-amz-region-set",
    "x-amz-sdk-checksum-algorithm",
    "x-amz-security-token",
    "x-amz-trailer",
    "x-amz-user-agent",
];

/// Requests that read the source.
#[derive(Clone, Copy, Debug)]
pub struct Reading<'a> {
    /// The copy's head, unfolded.
    pub head: &'a Head,
    /// What it asks for.
    pub call: &'a Call,
}

impl Reading<'_> {
    /// For the head of the source, under the copy's conditions.
    #[must_use]
    pub fn head(&self) -> Head {
        let mut head = self.of_source(Method::HEAD, self.asked_version(), None);
        for (name, plain) in CONDITIONS {
            if let Some(condition) = self.head.first(name) {
                head.push(plain, condition);
            }
        }
        head.push("x-amz-checksum-mode", b"ENABLED");
        head
    }

    /// For bytes of this very object; without a range for all.
    #[must_use]
    pub fn bytes(&self, object: &Object, range: Option<(u64, u64)>) -> Head {
        let mut head = self.of_source(Method::GET, self.version(object), None);
        if let Some((first, last)) = range {
            head.push("range", format!("bytes={first}-{last}").as_bytes());
        }
        if let Some(etag) = &object.etag {
            head.push("if-match", etag.as_bytes());
        }
        head
    }

    /// For its tags.
    #[must_use]
    pub fn tags(&self, object: &Object) -> Head {
        self.of_source(Method::GET, self.version(object), Some("tagging"))
    }

    /// For the tags of whatever is there.
    #[must_use]
    pub fn any_tags(&self) -> Head {
        self.of_source(Method::GET, self.asked_version(), Some("tagging"))
    }

    fn asked_version(&self) -> Option<&str> {
        self.call.copy_source.as_ref()?.version_id.as_deref()
    }

    /// The version that was asked for, or is the current one.
    fn version<'o>(&'o self, object: &'o Object) -> Option<&'o str> {
        self.asked_version().or(object.version.as_deref())
    }

    fn of_source(&self, method: Method, version: Option<&str>, selector: Option<&str>) -> Head {
        let mut target = String::from("/");
        if let Some(source) = &self.call.copy_source {
            target.push_str(&source.bucket);
            target.push('/');
            encode_into(&source.key, b"/", &mut target);
        }
        let version = version.map(|version| format!("versionId={}", encode(version)));
        let parameters: Vec<String> = selector.map(str::to_owned).into_iter().chain(version).collect();
        if !parameters.is_empty() {
            target.push('?');
            target.push_str(&parameters.join("&"));
        }
        let mut head = Head::new(method, &target);
        for field in self.head.fields() {
            let name = match field.name {
                "x-amz-source-expected-bucket-owner" => "x-amz-expected-bucket-owner".to_owned(),
                // tags are not encrypted
                name if selector.is_none() && name.starts_with(SOURCE_KEY) => {
                    name.replacen(SOURCE_KEY, KEY, 1)
                }
                name if EVERYWHERE.contains(&name) => name.to_owned(),
                _ => continue,
            };
            head.push(&name, field.value);
        }
        head
    }
}

/// Requests that write the copy.
#[derive(Clone, Copy, Debug)]
pub struct Writing<'a> {
    /// The copy's head, unfolded.
    pub head: &'a Head,
    /// What it asks for.
    pub call: &'a Call,
    /// The same, read.
    pub asked: &'a Asked,
}

impl Writing<'_> {
    /// The copy as a whole. `source`: what its head said; `tags`: its own, as a header says them.
    #[must_use]
    pub fn whole(&self, source: &HeaderMap, tags: Option<&str>) -> Head {
        let mut head = self.described(Method::PUT, None, source, tags);
        self.conditions(&mut head);
        head
    }

    /// The beginning of an upload of it in parts.
    #[must_use]
    pub fn beginning(&self, source: &HeaderMap, tags: Option<&str>) -> Head {
        let mut head = self.described(Method::POST, Some("uploads"), source, tags);
        if let Some(algorithm) = self.asked.checksum {
            head.push("x-amz-checksum-algorithm", algorithm.name().as_bytes());
        }
        head
    }

    /// One part.
    #[must_use]
    pub fn part(&self, upload: &str, number: u16) -> Head {
        let query = format!("partNumber={number}&uploadId={}", encode(upload));
        self.of_upload(Method::PUT, &query)
    }

    /// The end of the upload, upon the copy's conditions.
    #[must_use]
    pub fn end(&self, upload: &str) -> Head {
        let mut head = self.of_upload(Method::POST, &format!("uploadId={}", encode(upload)));
        self.conditions(&mut head);
        head
    }

    /// Its end without a copy.
    #[must_use]
    pub fn abort(&self, upload: &str) -> Head {
        self.of_upload(Method::DELETE, &format!("uploadId={}", encode(upload)))
    }

    /// A look at what kind of upload it is.
    #[must_use]
    pub fn look(&self, upload: &str) -> Head {
        self.of_upload(Method::GET, &format!("max-parts=1&uploadId={}", encode(upload)))
    }

    fn at(&self, method: Method, query: Option<&str>) -> Head {
        let mut path = format!("/{}/", self.call.bucket().unwrap_or_default());
        if let crate::s3::call::Target::Object { raw_key, .. } = &self.call.target {
            path.push_str(raw_key);
        }
        let mut head = Head::new(method, "/");
        head.set_target(&path, query);
        head
    }

    fn of_upload(&self, method: Method, query: &str) -> Head {
        let mut head = self.at(method, Some(query));
        let goes_on = |name: &str| {
            EVERYWHERE.contains(&name) || name.starts_with(KEY) || name == "x-amz-expected-bucket-owner"
        };
        for field in self.head.fields().filter(|field| goes_on(field.name)) {
            head.push(field.name, field.value);
        }
        head
    }

    fn conditions(&self, head: &mut Head) {
        for field in self.head.fields().filter(|field| conditions_write(field.name)) {
            head.push(field.name, field.value);
        }
    }

    /// A request that says what the copy is to be.
    fn described(&self, method: Method, query: Option<&str>, source: &HeaderMap, tags: Option<&str>) -> Head {
        let mut head = self.at(method, query);
        let describes = |name: &str| DESCRIBES.contains(&name) || name.starts_with(METADATA);
        for field in self.head.fields() {
            let name = field.name;
            let travels = if describes(name) {
                self.asked.replaces_metadata
            } else {
                EVERYWHERE.contains(&name) || is_of_the_copy(name)
            };
            if travels {
                head.push(name, field.value);
            }
        }
        if !self.asked.replaces_metadata {
            for (name, value) in source.iter().filter(|(name, _)| describes(name.as_str())) {
                head.push(name.as_str(), value.as_bytes());
            }
        }
        let own = self.head.first("x-amz-tagging").filter(|_| self.asked.replaces_tags);
        if let Some(tags) = own.or(tags.map(str::as_bytes)) {
            head.push("x-amz-tagging", tags);
        }
        head
    }
}

/// Whether a header of a copy's request asks for something of the copy itself, and not of its source,
/// its metadata or the request. What nobody knows yet does.
fn is_of_the_copy(name: &str) -> bool {
    name.starts_with("x-amz-")
        && !name.starts_with("x-amz-copy-source-")
        && !name.starts_with("x-amz-if-")
        && !OF_COPIES.contains(&name)
        && !OF_THE_SENDER.contains(&name)
}

impl Object {
    /// Says in a request for all of it what its checksum is, so that whoever stores it compares.
    pub fn protect(&self, head: &mut Head, wanted: Option<Algorithm>) {
        let known = self.checksum.as_ref();
        if let Some((algorithm, value)) = known.filter(|(own, _)| wanted.is_none_or(|wanted| wanted == *own))
        {
            head.set(algorithm.header(), value.as_bytes());
        }
    }
}
