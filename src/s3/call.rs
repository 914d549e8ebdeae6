//! A classified request: what the client asks for, before anybody decided whether it may. Pure.

use smallvec::SmallVec;

use crate::s3::operation::{Facts, Operation};
use crate::s3::profile::Features;

/// What a request addresses, by the client's words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// The service: `ListBuckets`.
    Service,
    /// A bucket, by its logical name.
    Bucket {
        /// Access point name or alias, or any bucket name under the wildcard.
        bucket: String,
    },
    /// An object.
    Object {
        /// As above.
        bucket: String,
        /// The raw key as in the target, percent-encoding and all, without the slash before it.
        raw_key: String,
        /// The key's own bytes, decoded once: policies, tokens, rendezvous hash.
        key: Vec<u8>,
    },
}

/// How the client addressed it: needed to take the bucket out of the path again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Style {
    /// Bucket in the path.
    Path,
    /// Bucket in the host.
    Virtual,
}

/// The source of a copy, as the client named it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CopySource {
    /// Logical bucket.
    pub bucket: String,
    /// Key, decoded once.
    pub key: Vec<u8>,
    /// Version id, as given (perhaps one of our tokens).
    pub version_id: Option<String>,
}

/// How the request body is framed, by the head alone.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Framing {
    /// `Content-Length`: bytes on the wire (encoded, where aws-chunked).
    pub content_length: Option<u64>,
    /// `Transfer-Encoding: chunked`. HTTP/2 has no such header.
    pub chunked: bool,
    /// `x-amz-decoded-content-length`.
    pub decoded_length: Option<u64>,
}

/// A classified request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Call {
    /// Which operation.
    pub operation: Operation,
    /// On what.
    pub target: Target,
    /// Addressed how.
    pub style: Style,
    /// `uploadId`, decoded.
    pub upload_id: Option<String>,
    /// `partNumber`, 1 to 10,000.
    pub part_number: Option<u16>,
    /// `versionId`, decoded.
    pub version_id: Option<String>,
    /// `continuation-token`, decoded.
    pub continuation: Option<String>,
    /// `x-amz-copy-source`.
    pub copy_source: Option<CopySource>,
    /// `If-Match` or `If-None-Match` on a write: it goes home.
    pub conditional_write: bool,
    /// What the store must honour for the request to mean what the client meant.
    pub depends_on: Features,
    /// IAM actions beyond the operation's own that the headers ask for: an ACL, tags, a lock.
    pub also: SmallVec<[&'static str; 2]>,
    /// How the body is framed.
    pub framing: Framing,
}

impl Call {
    /// A call that asks for nothing but the operation on its target, path style, without a body.
    #[must_use]
    pub fn new(operation: Operation, target: Target) -> Self {
        Self {
            operation,
            target,
            style: Style::Path,
            upload_id: None,
            part_number: None,
            version_id: None,
            continuation: None,
            copy_source: None,
            conditional_write: false,
            depends_on: Features::NONE,
            also: SmallVec::new(),
            framing: Framing::default(),
        }
    }

    /// The IAM action that the operation itself needs: of a version, where the request names one.
    #[must_use]
    pub fn action(&self) -> &'static str {
        let facts = self.facts();
        match (&self.version_id, facts.version_action) {
            (Some(_), Some(action)) => action,
            _ => facts.action,
        }
    }

    /// The operation's facts.
    #[must_use]
    pub fn facts(&self) -> &'static Facts {
        self.operation.facts()
    }

    /// The logical bucket, where the request names one.
    #[must_use]
    pub fn bucket(&self) -> Option<&str> {
        match &self.target {
            Target::Service => None,
            Target::Bucket { bucket } | Target::Object { bucket, .. } => Some(bucket),
        }
    }

    /// The decoded key; empty for bucket and service requests.
    #[must_use]
    pub fn key(&self) -> &[u8] {
        match &self.target {
            Target::Object { key, .. } => key,
            Target::Service | Target::Bucket { .. } => &[],
        }
    }
}
