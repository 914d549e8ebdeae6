//! Every operation of the S3 API, and one table of facts about each.

/// What an operation does to data.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// Changes nothing.
    Read,
    /// Changes an object, an upload or a setting.
    Write,
}

/// When a request may be tried again, given how far it got.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Replay {
    /// Repeating changes nothing: reads.
    Always,
    /// Committed by its last body byte: repeat while that was not sent. PutObject, UploadPart.
    BodyUnsent,
    /// Committed by its head alone: once the head may be out, the same region only, within 2 s
    /// of the first try. DELETE, empty PUT.
    HeadUnsent,
    /// May be repeated, at the cost of an orphan: CreateMultipartUpload.
    Harmless,
    /// Only while nothing at all was sent: CompleteMultipartUpload, copies, everything else.
    Unsent,
}

/// Where an operation may be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Reach {
    /// Any region of the access point, by its `reads` or `writes` order.
    Any,
    /// The region in its upload id.
    Upload,
    /// The access point's home: settings, object sub-resources that are written.
    Home,
    /// Merged from every region: ListMultipartUploads.
    Every,
    /// Answered by nearpoint itself on named access points: HeadBucket, GetBucketLocation, ListBuckets.
    Local,
}

/// What travels in the request body.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum BodyKind {
    /// Nothing.
    Empty,
    /// A small document (`limits.xml_body`), buffered.
    Document,
    /// Object bytes, streamed.
    Stream,
}

/// The class by which time to first byte is measured and deadlines are chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Class {
    /// GetObject, HeadObject and other single-object reads.
    Get,
    /// Listings.
    List,
    /// Writes answered after the body.
    Put,
    /// CompleteMultipartUpload and copies: minutes, with white space as progress.
    Long,
}

/// What every room that asks about an operation reads: routing, retry, authorisation, metrics.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Facts {
    /// The API's name: `GetObject`. Metrics label, access log.
    pub name: &'static str,
    /// IAM action: `s3:GetObject`.
    pub action: &'static str,
    /// The action where the request names a version: `s3:GetObjectVersion`.
    pub version_action: Option<&'static str>,
    /// Read or write.
    pub kind: Kind,
    /// When it may be tried again.
    pub replay: Replay,
    /// Where it may be sent.
    pub reach: Reach,
    /// What its request body is.
    pub body: BodyKind,
    /// Latency and deadline class.
    pub class: Class,
    /// The reply body may go on from another region by `Range`.
    pub resumable: bool,
    /// A `200` may carry an error in its body.
    pub doubtful_success: bool,
}

/// One S3 operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Operation {
    /// GET of an object.
    GetObject,
}

impl Operation {
    /// Its row of the table.
    #[must_use]
    pub fn facts(self) -> &'static Facts {
        match self {
            Self::GetObject => &Facts {
                name: "GetObject",
                action: "s3:GetObject",
                version_action: Some("s3:GetObjectVersion"),
                kind: Kind::Read,
                replay: Replay::Always,
                reach: Reach::Any,
                body: BodyKind::Empty,
                class: Class::Get,
                resumable: true,
                doubtful_success: false,
            },
        }
    }
}
