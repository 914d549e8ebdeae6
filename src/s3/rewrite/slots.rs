//! Which elements of S3's reply documents name something physical. Pure.
//!
//! Found by the document's root, not by the operation: a `200` may hold an `Error` instead of what
//! was asked for.

/// What an element's text names, so that it can be said in the client's words.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Slot {
    /// A bucket.
    Bucket,
    /// A region.
    Region,
    /// A region as `LocationConstraint` says it: nothing is `us-east-1`.
    Constraint,
    /// The URL of an object.
    Location,
    /// The endpoint that an error names.
    Endpoint,
    /// The resource that an error names.
    Resource,
    /// The store's id of the request.
    RequestId,
    /// The store's second id of the request.
    HostId,
    /// The account that owns or began something: its id or its display name.
    Owner,
    /// The tenant that a bucket belongs to (Ceph RGW).
    Tenant,
    /// Perhaps a resource's full name, which has an account in it.
    Arn,
    /// An upload id.
    UploadId,
    /// A version id.
    VersionId,
    /// The client's own upload id marker, echoed.
    UploadIdMarker,
    /// Where the next page of uploads begins.
    NextUploadIdMarker,
    /// The client's own key marker, echoed in a listing of versions.
    KeyMarker,
    /// The client's own version id marker, echoed.
    VersionIdMarker,
    /// Where the next page of versions begins.
    NextVersionIdMarker,
    /// The client's own continuation token, echoed.
    Continuation,
    /// Where the next page of objects begins.
    NextContinuation,
    /// Where the client's own listing began, echoed.
    StartAfter,
}

impl Slot {
    /// Whether it is edited also where the region says nothing: it was asked otherwise than the
    /// client asked, or nothing means something.
    pub(super) const fn may_be_empty(self) -> bool {
        matches!(self, Self::Constraint | Self::VersionIdMarker)
    }

    /// Whether it is an id that belongs to a key.
    pub(super) const fn is_of_a_key(self) -> bool {
        matches!(self, Self::VersionId | Self::UploadId)
    }
}

/// What is done about an element.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Action {
    /// Left as it is.
    Pass,
    /// Its text is said in the client's words.
    Edit(Slot),
    /// As `Edit`, but written at the end of the document, when the last entry is known.
    Defer(Slot),
    /// Left as it is, and remembered as the key that ids near it belong to.
    Key,
    /// Left as it is, and remembered as the last key listed.
    LastKey,
    /// Left as it is, and remembered as the last common prefix listed.
    LastPrefix,
    /// A common prefix: may be left out as a whole.
    Group,
    /// An entry begins: no key is known yet.
    Entry,
    /// Left as it is, and remembered as the code that a message belongs to.
    Code,
    /// Replaced by S3's own words for the code: the store's may name accounts and buckets.
    Message,
    /// Left as it is, in a document whose rest is left out.
    Keep,
    /// Its text is left out.
    Blank,
}

/// A document.
pub(super) struct Document {
    pub(super) root: &'static str,
    /// Paths below the root, and what to do there.
    pub(super) rows: &'static [(&'static str, Action)],
    /// What to do with the text of all other elements.
    pub(super) rest: Action,
}

impl Document {
    /// A document of which nothing is known.
    pub(super) const UNKNOWN: Self = Self { root: "", rows: &[], rest: Pass };

    pub(super) fn of(root: &str) -> &'static Self {
        DOCUMENTS.iter().find(|document| document.root == root).unwrap_or(&Self::UNKNOWN)
    }

    pub(super) fn action(&self, path: &str) -> Action {
        self.rows.iter().find(|(own, _)| *own == path).map_or(self.rest, |(_, action)| *action)
    }
}

use Action::{Blank, Code, Defer, Edit, Entry, Group, Keep, Key, LastKey, LastPrefix, Message, Pass};

const DOCUMENTS: &[Document] = &[
    Document {
        root: "ListBucketResult",
        rows: &[
            ("Tenant", Edit(Slot::Tenant)),
            ("Name", Edit(Slot::Bucket)),
            ("ContinuationToken", Edit(Slot::Continuation)),
            ("NextContinuationToken", Defer(Slot::NextContinuation)),
            ("StartAfter", Edit(Slot::StartAfter)),
            ("Contents/Key", LastKey),
            ("Contents/Owner/ID", Edit(Slot::Owner)),
            ("Contents/Owner/DisplayName", Edit(Slot::Owner)),
            ("CommonPrefixes", Group),
            ("CommonPrefixes/Prefix", LastPrefix),
        ],
        rest: Pass,
    },
    Document {
        root: "ListVersionsResult",
        rows: &[
            ("Tenant", Edit(Slot::Tenant)),
            ("Name", Edit(Slot::Bucket)),
            ("KeyMarker", Edit(Slot::KeyMarker)),
            ("VersionIdMarker", Edit(Slot::VersionIdMarker)),
            ("NextKeyMarker", Key),
            ("NextVersionIdMarker", Edit(Slot::NextVersionIdMarker)),
            ("Version", Entry),
            ("Version/Key", Key),
            ("Version/VersionId", Edit(Slot::VersionId)),
            ("Version/Owner/ID", Edit(Slot::Owner)),
            ("Version/Owner/DisplayName", Edit(Slot::Owner)),
            ("DeleteMarker", Entry),
            ("DeleteMarker/Key", Key),
            ("DeleteMarker/VersionId", Edit(Slot::VersionId)),
            ("DeleteMarker/Owner/ID", Edit(Slot::Owner)),
            ("DeleteMarker/Owner/DisplayName", Edit(Slot::Owner)),
        ],
        rest: Pass,
    },
    Document {
        root: "ListMultipartUploadsResult",
        rows: &[
            ("Tenant", Edit(Slot::Tenant)),
            ("Bucket", Edit(Slot::Bucket)),
            ("KeyMarker", Key),
            ("UploadIdMarker", Edit(Slot::UploadIdMarker)),
            ("NextKeyMarker", Key),
            ("NextUploadIdMarker", Edit(Slot::NextUploadIdMarker)),
            ("Upload", Entry),
            ("Upload/Key", Key),
            ("Upload/UploadId", Edit(Slot::UploadId)),
            ("Upload/Owner/ID", Edit(Slot::Owner)),
            ("Upload/Owner/DisplayName", Edit(Slot::Owner)),
            ("Upload/Initiator/ID", Edit(Slot::Owner)),
            ("Upload/Initiator/DisplayName", Edit(Slot::Owner)),
        ],
        rest: Pass,
    },
    Document {
        root: "ListPartsResult",
        rows: &[
            ("Tenant", Edit(Slot::Tenant)),
            ("Bucket", Edit(Slot::Bucket)),
            ("Key", Key),
            ("UploadId", Edit(Slot::UploadId)),
            ("Owner/ID", Edit(Slot::Owner)),
            ("Owner/DisplayName", Edit(Slot::Owner)),
            ("Initiator/ID", Edit(Slot::Owner)),
            ("Initiator/DisplayName", Edit(Slot::Owner)),
        ],
        rest: Pass,
    },
    Document {
        root: "InitiateMultipartUploadResult",
        rows: &[
            ("Tenant", Edit(Slot::Tenant)),
            ("Bucket", Edit(Slot::Bucket)),
            ("Key", Key),
            ("UploadId", Edit(Slot::UploadId)),
        ],
        rest: Pass,
    },
    Document {
        root: "CompleteMultipartUploadResult",
        rows: &[
            ("Tenant", Edit(Slot::Tenant)),
            ("Location", Edit(Slot::Location)),
            ("Bucket", Edit(Slot::Bucket)),
        ],
        rest: Pass,
    },
    Document {
        root: "PostResponse",
        rows: &[("Location", Edit(Slot::Location)), ("Bucket", Edit(Slot::Bucket))],
        rest: Pass,
    },
    Document {
        root: "DeleteResult",
        rows: &[
            ("Deleted", Entry),
            ("Deleted/Key", Key),
            ("Deleted/VersionId", Edit(Slot::VersionId)),
            ("Deleted/DeleteMarkerVersionId", Edit(Slot::VersionId)),
            ("Error", Entry),
            ("Error/Key", Key),
            ("Error/VersionId", Edit(Slot::VersionId)),
            ("Error/Code", Code),
            ("Error/Message", Message),
        ],
        rest: Pass,
    },
    Document {
        root: "AccessControlPolicy",
        rows: &[
            ("Owner/ID", Edit(Slot::Owner)),
            ("Owner/DisplayName", Edit(Slot::Owner)),
            ("AccessControlList/Grant/Grantee/ID", Edit(Slot::Owner)),
            ("AccessControlList/Grant/Grantee/DisplayName", Edit(Slot::Owner)),
            ("AccessControlList/Grant/Grantee/EmailAddress", Edit(Slot::Owner)),
        ],
        rest: Pass,
    },
    Document {
        root: "ServerSideEncryptionConfiguration",
        rows: &[("Rule/ApplyServerSideEncryptionByDefault/KMSMasterKeyID", Edit(Slot::Arn))],
        rest: Pass,
    },
    // Tags that a vendor's tools set name their stacks.
    Document { root: "Tagging", rows: &[("TagSet/Tag/Value", Edit(Slot::Arn))], rest: Pass },
    Document { root: "LocationConstraint", rows: &[("", Edit(Slot::Constraint))], rest: Pass },
    Document {
        root: "ListAllMyBucketsResult",
        rows: &[
            ("Owner/ID", Edit(Slot::Owner)),
            ("Owner/DisplayName", Edit(Slot::Owner)),
            ("Buckets/Bucket/BucketRegion", Edit(Slot::Region)),
            ("Buckets/Bucket/BucketArn", Edit(Slot::Arn)),
        ],
        rest: Pass,
    },
    // What is not listed here may be a canonical request, a key id or an account.
    Document {
        root: "Error",
        rows: &[
            ("", Pass),
            ("Code", Code),
            ("Message", Message),
            ("Key", Key),
            ("Condition", Keep),
            ("Method", Keep),
            ("ResourceType", Keep),
            ("BucketName", Edit(Slot::Bucket)),
            ("Resource", Edit(Slot::Resource)),
            ("Region", Edit(Slot::Region)),
            ("Endpoint", Edit(Slot::Endpoint)),
            ("UploadId", Edit(Slot::UploadId)),
            ("RequestId", Edit(Slot::RequestId)),
            ("HostId", Edit(Slot::HostId)),
        ],
        rest: Blank,
    },
];
