//! Every operation of the S3 API, and one table of facts about each. Pure.
//!
//! Routing, retry, authorisation, metrics and documentation all read this table; an operation is
//! one row. Source: the S3 service model of the AWS SDKs (116 operations), and the two requests
//! that the model leaves out: the browser's form upload and its preflight.

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
    /// Committed by its last body byte: repeat while that was not sent. `PutObject`, `UploadPart`.
    BodyUnsent,
    /// Committed by its head alone: once the head may be out, the same region only, within 2 s
    /// of the first try. DELETE, empty PUT.
    HeadUnsent,
    /// May be repeated, at the cost of an orphan: `CreateMultipartUpload`.
    Harmless,
    /// Only while nothing at all was sent: `CompleteMultipartUpload`, copies, everything else.
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
    /// Merged from every region: `ListMultipartUploads`.
    Every,
    /// Answered by nearpoint itself on named access points: `HeadBucket`, `GetBucketLocation`, `ListBuckets`.
    /// Where a store judges the sender, and under the wildcard, home's.
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

/// What the document of a reply names beside what the client named itself. On an access point with
/// a name of its own no bucket, host or account of a store is ever told; under the wildcard, whose
/// clients know their store's buckets by name, settings pass as the store keeps them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Tells {
    /// Nothing of the kind, or the client's own bytes: passes as it is.
    Nothing,
    /// Buckets, ids, places: `rewrite` says them in the client's words, under the wildcard too.
    Names,
    /// Accounts, keys of encryption: `rewrite` takes them out.
    Accounts,
    /// The bucket, in a policy: `bucket_policy` says it in the client's words, and refuses a policy
    /// that names accounts or other buckets as well.
    Policy,
    /// Other buckets, hosts or accounts, for which the client has no words: `501` on named access
    /// points. Left out it would be another configuration than the one in force.
    Others,
}

/// The class by which time to first byte is measured and deadlines are chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Class {
    /// `GetObject`, `HeadObject` and other single-object reads.
    Get,
    /// Listings.
    List,
    /// Writes answered after the body.
    Put,
    /// `CompleteMultipartUpload` and copies: minutes, with white space as progress.
    Long,
}

/// What a request line addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Level {
    /// The service itself.
    Service,
    /// A bucket.
    Bucket,
    /// An object.
    Object,
}

/// How a request line is recognised: method, level and the one query key that selects.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rule {
    /// Upper-case method.
    pub method: &'static str,
    /// What it addresses.
    pub level: Level,
    /// The query key that selects it, its value ignored; empty where there is none.
    pub selector: &'static str,
}

/// What every room that asks about an operation reads: routing, retry, authorisation, metrics.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Facts {
    /// The API's name: `GetObject`. Metrics label, access log.
    pub name: &'static str,
    /// IAM action: `s3:GetObject`. Empty for the preflight, which no policy judges.
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
    /// A `200` may carry an error in its body, of the whole or of a part of it.
    pub doubtful_success: bool,
    /// What its reply's document names.
    pub tells: Tells,
    /// How it is recognised.
    pub rule: Rule,
}

impl Facts {
    const fn action(mut self, action: &'static str) -> Self {
        self.action = action;
        self
    }

    const fn versioned(mut self, action: &'static str) -> Self {
        self.version_action = Some(action);
        self
    }

    const fn class(mut self, class: Class) -> Self {
        self.class = class;
        self
    }

    const fn reach(mut self, reach: Reach) -> Self {
        self.reach = reach;
        self
    }

    const fn replay(mut self, replay: Replay) -> Self {
        self.replay = replay;
        self
    }

    const fn body(mut self, body: BodyKind) -> Self {
        self.body = body;
        self
    }

    const fn resumable(mut self) -> Self {
        self.resumable = true;
        self
    }

    const fn doubtful(mut self) -> Self {
        self.doubtful_success = true;
        self
    }

    const fn tells(mut self, tells: Tells) -> Self {
        self.tells = tells;
        self
    }
}

/// A read of one object from any region: the shape that the other shapes vary.
const READ: Facts = Facts {
    name: "",
    action: "",
    version_action: None,
    kind: Kind::Read,
    replay: Replay::Always,
    reach: Reach::Any,
    body: BodyKind::Empty,
    class: Class::Get,
    resumable: false,
    doubtful_success: false,
    tells: Tells::Nothing,
    rule: Rule { method: "", level: Level::Service, selector: "" },
};

/// A listing from any region.
const LIST: Facts = READ.class(Class::List);

/// A write of object bytes, by the writes order.
const WRITE: Facts = Facts {
    kind: Kind::Write,
    replay: Replay::BodyUnsent,
    body: BodyKind::Stream,
    class: Class::Put,
    ..READ
};

/// A write that its head commits, by the writes order.
const DELETE: Facts = WRITE.replay(Replay::HeadUnsent).body(BodyKind::Empty);

/// A write with a small document, decided at home.
const SET: Facts = WRITE.replay(Replay::Unsent).reach(Reach::Home).body(BodyKind::Document);

/// The removal of a setting or sub-resource, decided at home.
const UNSET: Facts = DELETE.reach(Reach::Home);

/// A read of a bucket's settings, at home.
const SETTING: Facts = READ.reach(Reach::Home);

/// A list of a bucket's settings, at home.
const SETTINGS: Facts = LIST.reach(Reach::Home);

macro_rules! operations {
    ($($name:ident = $method:ident $level:ident $selector:literal: $facts:expr;)*) => {
        /// One S3 operation.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Operation {
            $(
                #[doc = concat!("`", stringify!($method), "` of [`Level::", stringify!($level), "`], `?", $selector, "`.")]
                $name,
            )*
        }

        impl Operation {
            /// Every operation, in the order of the table.
            pub const ALL: &[Self] = &[$(Self::$name,)*];

            /// Its row of the table.
            #[must_use]
            pub fn facts(self) -> &'static Facts {
                match self {
                    $(Self::$name => const {
                        &Facts {
                            name: stringify!($name),
                            rule: Rule {
                                method: stringify!($method),
                                level: Level::$level,
                                selector: $selector,
                            },
                            ..$facts
                        }
                    },)*
                }
            }
        }
    };
}

operations! {
    // objects
    GetObject = GET Object "": READ.action("s3:GetObject").versioned("s3:GetObjectVersion").resumable();
    HeadObject = HEAD Object "": READ.action("s3:GetObject").versioned("s3:GetObjectVersion");
    PutObject = PUT Object "": WRITE.action("s3:PutObject");
    DeleteObject = DELETE Object "": DELETE.action("s3:DeleteObject").versioned("s3:DeleteObjectVersion");
    CopyObject = PUT Object "":
        WRITE.action("s3:PutObject").replay(Replay::Unsent).body(BodyKind::Empty).class(Class::Long).doubtful().tells(Tells::Names);
    PostObject = POST Bucket "": WRITE.action("s3:PutObject").replay(Replay::Unsent).tells(Tells::Names);
    Preflight = OPTIONS Object "": READ;
    // uploads in parts
    CreateMultipartUpload = POST Object "uploads":
        WRITE.action("s3:PutObject").replay(Replay::Harmless).body(BodyKind::Empty).tells(Tells::Names);
    UploadPart = PUT Object "uploadId": WRITE.action("s3:PutObject").reach(Reach::Upload);
    UploadPartCopy = PUT Object "uploadId":
        WRITE.action("s3:PutObject").replay(Replay::Unsent).reach(Reach::Upload).body(BodyKind::Empty)
            .class(Class::Long).doubtful().tells(Tells::Names);
    CompleteMultipartUpload = POST Object "uploadId":
        WRITE.action("s3:PutObject").replay(Replay::Unsent).reach(Reach::Upload).body(BodyKind::Document)
            .class(Class::Long).doubtful().tells(Tells::Names);
    AbortMultipartUpload = DELETE Object "uploadId": DELETE.action("s3:AbortMultipartUpload").reach(Reach::Upload);
    ListParts = GET Object "uploadId": LIST.action("s3:ListMultipartUploadParts").reach(Reach::Upload).tells(Tells::Names);
    ListMultipartUploads = GET Bucket "uploads":
        LIST.action("s3:ListBucketMultipartUploads").reach(Reach::Every).tells(Tells::Names);
    // sub-resources of objects
    GetObjectAcl = GET Object "acl": READ.action("s3:GetObjectAcl").versioned("s3:GetObjectVersionAcl").tells(Tells::Accounts);
    PutObjectAcl = PUT Object "acl": SET.action("s3:PutObjectAcl").versioned("s3:PutObjectVersionAcl");
    GetObjectTagging = GET Object "tagging":
        READ.action("s3:GetObjectTagging").versioned("s3:GetObjectVersionTagging");
    PutObjectTagging = PUT Object "tagging":
        SET.action("s3:PutObjectTagging").versioned("s3:PutObjectVersionTagging");
    DeleteObjectTagging = DELETE Object "tagging":
        UNSET.action("s3:DeleteObjectTagging").versioned("s3:DeleteObjectVersionTagging");
    GetObjectRetention = GET Object "retention": READ.action("s3:GetObjectRetention");
    PutObjectRetention = PUT Object "retention": SET.action("s3:PutObjectRetention");
    GetObjectLegalHold = GET Object "legal-hold": READ.action("s3:GetObjectLegalHold");
    PutObjectLegalHold = PUT Object "legal-hold": SET.action("s3:PutObjectLegalHold");
    GetObjectAttributes = GET Object "attributes":
        READ.action("s3:GetObjectAttributes").versioned("s3:GetObjectVersionAttributes");
    GetObjectAnnotation = GET Object "annotation": READ.action("s3:GetObjectAnnotation");
    ListObjectAnnotations = GET Object "annotation": LIST.action("s3:ListObjectAnnotations").tells(Tells::Others);
    PutObjectAnnotation = PUT Object "annotation":
        WRITE.action("s3:PutObjectAnnotation").replay(Replay::Unsent).reach(Reach::Home);
    DeleteObjectAnnotation = DELETE Object "annotation": UNSET.action("s3:DeleteObjectAnnotation");
    UpdateObjectEncryption = PUT Object "encryption": SET.action("s3:UpdateObjectEncryption");
    RenameObject = PUT Object "renameObject": SET.action("s3express:CreateSession").body(BodyKind::Empty);
    GetObjectTorrent = GET Object "torrent":
        READ.action("s3:GetObjectTorrent").versioned("s3:GetObjectVersionTorrent").tells(Tells::Others);
    RestoreObject = POST Object "restore": SET.action("s3:RestoreObject");
    SelectObjectContent = POST Object "select":
        READ.action("s3:GetObject").versioned("s3:GetObjectVersion").body(BodyKind::Document);
    // data of buckets
    ListObjectsV2 = GET Bucket "list-type": LIST.action("s3:ListBucket").tells(Tells::Names);
    ListObjects = GET Bucket "": LIST.action("s3:ListBucket").tells(Tells::Names);
    ListObjectVersions = GET Bucket "versions": LIST.action("s3:ListBucketVersions").tells(Tells::Names);
    HeadBucket = HEAD Bucket "": READ.action("s3:ListBucket").reach(Reach::Local);
    GetBucketLocation = GET Bucket "location": READ.action("s3:GetBucketLocation").reach(Reach::Local).tells(Tells::Names);
    DeleteObjects = POST Bucket "delete":
        WRITE.action("s3:DeleteObject").versioned("s3:DeleteObjectVersion").replay(Replay::Unsent)
            .body(BodyKind::Document).doubtful().tells(Tells::Names);
    CreateSession = GET Bucket "session": READ.action("s3express:CreateSession").replay(Replay::Unsent);
    // settings of buckets
    CreateBucket = PUT Bucket "": SET.action("s3:CreateBucket");
    DeleteBucket = DELETE Bucket "": UNSET.action("s3:DeleteBucket");
    GetBucketAbac = GET Bucket "abac": SETTING.action("s3:GetBucketAbac");
    PutBucketAbac = PUT Bucket "abac": SET.action("s3:PutBucketAbac");
    GetBucketAccelerateConfiguration = GET Bucket "accelerate": SETTING.action("s3:GetAccelerateConfiguration");
    PutBucketAccelerateConfiguration = PUT Bucket "accelerate": SET.action("s3:PutAccelerateConfiguration");
    GetBucketAcl = GET Bucket "acl": SETTING.action("s3:GetBucketAcl").tells(Tells::Accounts);
    PutBucketAcl = PUT Bucket "acl": SET.action("s3:PutBucketAcl");
    GetBucketCors = GET Bucket "cors": SETTING.action("s3:GetBucketCORS");
    PutBucketCors = PUT Bucket "cors": SET.action("s3:PutBucketCORS");
    DeleteBucketCors = DELETE Bucket "cors": UNSET.action("s3:PutBucketCORS");
    GetBucketEncryption = GET Bucket "encryption": SETTING.action("s3:GetEncryptionConfiguration").tells(Tells::Accounts);
    PutBucketEncryption = PUT Bucket "encryption": SET.action("s3:PutEncryptionConfiguration");
    DeleteBucketEncryption = DELETE Bucket "encryption": UNSET.action("s3:PutEncryptionConfiguration");
    GetBucketAnalyticsConfiguration = GET Bucket "analytics": SETTING.action("s3:GetAnalyticsConfiguration").tells(Tells::Others);
    ListBucketAnalyticsConfigurations = GET Bucket "analytics": SETTINGS.action("s3:GetAnalyticsConfiguration").tells(Tells::Others);
    PutBucketAnalyticsConfiguration = PUT Bucket "analytics": SET.action("s3:PutAnalyticsConfiguration");
    DeleteBucketAnalyticsConfiguration = DELETE Bucket "analytics": UNSET.action("s3:PutAnalyticsConfiguration");
    GetBucketInventoryConfiguration = GET Bucket "inventory": SETTING.action("s3:GetInventoryConfiguration").tells(Tells::Others);
    ListBucketInventoryConfigurations = GET Bucket "inventory": SETTINGS.action("s3:GetInventoryConfiguration").tells(Tells::Others);
    PutBucketInventoryConfiguration = PUT Bucket "inventory": SET.action("s3:PutInventoryConfiguration");
    DeleteBucketInventoryConfiguration = DELETE Bucket "inventory": UNSET.action("s3:PutInventoryConfiguration");
    GetBucketMetricsConfiguration = GET Bucket "metrics": SETTING.action("s3:GetMetricsConfiguration").tells(Tells::Others);
    ListBucketMetricsConfigurations = GET Bucket "metrics": SETTINGS.action("s3:GetMetricsConfiguration").tells(Tells::Others);
    PutBucketMetricsConfiguration = PUT Bucket "metrics": SET.action("s3:PutMetricsConfiguration");
    DeleteBucketMetricsConfiguration = DELETE Bucket "metrics": UNSET.action("s3:PutMetricsConfiguration");
    GetBucketIntelligentTieringConfiguration = GET Bucket "intelligent-tiering":
        SETTING.action("s3:GetIntelligentTieringConfiguration");
    ListBucketIntelligentTieringConfigurations = GET Bucket "intelligent-tiering":
        SETTINGS.action("s3:GetIntelligentTieringConfiguration");
    PutBucketIntelligentTieringConfiguration = PUT Bucket "intelligent-tiering":
        SET.action("s3:PutIntelligentTieringConfiguration");
    DeleteBucketIntelligentTieringConfiguration = DELETE Bucket "intelligent-tiering":
        UNSET.action("s3:PutIntelligentTieringConfiguration");
    GetBucketLifecycleConfiguration = GET Bucket "lifecycle": SETTING.action("s3:GetLifecycleConfiguration");
    PutBucketLifecycleConfiguration = PUT Bucket "lifecycle": SET.action("s3:PutLifecycleConfiguration");
    DeleteBucketLifecycle = DELETE Bucket "lifecycle": UNSET.action("s3:PutLifecycleConfiguration");
    GetBucketLifecycle = GET Bucket "lifecycle": SETTING.action("s3:GetLifecycleConfiguration");
    PutBucketLifecycle = PUT Bucket "lifecycle": SET.action("s3:PutLifecycleConfiguration");
    GetBucketLogging = GET Bucket "logging": SETTING.action("s3:GetBucketLogging").tells(Tells::Others);
    PutBucketLogging = PUT Bucket "logging": SET.action("s3:PutBucketLogging");
    GetBucketNotificationConfiguration = GET Bucket "notification": SETTING.action("s3:GetBucketNotification").tells(Tells::Others);
    PutBucketNotificationConfiguration = PUT Bucket "notification": SET.action("s3:PutBucketNotification");
    GetBucketNotification = GET Bucket "notification": SETTING.action("s3:GetBucketNotification").tells(Tells::Others);
    PutBucketNotification = PUT Bucket "notification": SET.action("s3:PutBucketNotification");
    CreateBucketMetadataConfiguration = POST Bucket "metadataConfiguration":
        SET.action("s3:CreateBucketMetadataTableConfiguration");
    GetBucketMetadataConfiguration = GET Bucket "metadataConfiguration":
        SETTING.action("s3:GetBucketMetadataTableConfiguration").tells(Tells::Others);
    DeleteBucketMetadataConfiguration = DELETE Bucket "metadataConfiguration":
        UNSET.action("s3:DeleteBucketMetadataTableConfiguration");
    CreateBucketMetadataTableConfiguration = POST Bucket "metadataTable":
        SET.action("s3:CreateBucketMetadataTableConfiguration");
    GetBucketMetadataTableConfiguration = GET Bucket "metadataTable":
        SETTING.action("s3:GetBucketMetadataTableConfiguration").tells(Tells::Others);
    DeleteBucketMetadataTableConfiguration = DELETE Bucket "metadataTable":
        UNSET.action("s3:DeleteBucketMetadataTableConfiguration");
    UpdateBucketMetadataInventoryTableConfiguration = PUT Bucket "metadataInventoryTable":
        SET.action("s3:UpdateBucketMetadataInventoryTableConfiguration");
    UpdateBucketMetadataJournalTableConfiguration = PUT Bucket "metadataJournalTable":
        SET.action("s3:UpdateBucketMetadataJournalTableConfiguration");
    UpdateBucketMetadataAnnotationTableConfiguration = PUT Bucket "metadataAnnotationTable":
        SET.action("s3:UpdateBucketMetadataAnnotationTableConfiguration");
    GetObjectLockConfiguration = GET Bucket "object-lock": SETTING.action("s3:GetBucketObjectLockConfiguration");
    PutObjectLockConfiguration = PUT Bucket "object-lock": SET.action("s3:PutBucketObjectLockConfiguration");
    GetBucketOwnershipControls = GET Bucket "ownershipControls": SETTING.action("s3:GetBucketOwnershipControls");
    PutBucketOwnershipControls = PUT Bucket "ownershipControls": SET.action("s3:PutBucketOwnershipControls");
    DeleteBucketOwnershipControls = DELETE Bucket "ownershipControls": UNSET.action("s3:PutBucketOwnershipControls");
    GetBucketPolicy = GET Bucket "policy": SETTING.action("s3:GetBucketPolicy").tells(Tells::Policy);
    PutBucketPolicy = PUT Bucket "policy": SET.action("s3:PutBucketPolicy");
    DeleteBucketPolicy = DELETE Bucket "policy": UNSET.action("s3:DeleteBucketPolicy");
    GetBucketPolicyStatus = GET Bucket "policyStatus": SETTING.action("s3:GetBucketPolicyStatus");
    GetPublicAccessBlock = GET Bucket "publicAccessBlock": SETTING.action("s3:GetBucketPublicAccessBlock");
    PutPublicAccessBlock = PUT Bucket "publicAccessBlock": SET.action("s3:PutBucketPublicAccessBlock");
    DeletePublicAccessBlock = DELETE Bucket "publicAccessBlock": UNSET.action("s3:PutBucketPublicAccessBlock");
    GetBucketReplication = GET Bucket "replication": SETTING.action("s3:GetReplicationConfiguration").tells(Tells::Others);
    PutBucketReplication = PUT Bucket "replication": SET.action("s3:PutReplicationConfiguration");
    DeleteBucketReplication = DELETE Bucket "replication": UNSET.action("s3:PutReplicationConfiguration");
    GetBucketRequestPayment = GET Bucket "requestPayment": SETTING.action("s3:GetBucketRequestPayment");
    PutBucketRequestPayment = PUT Bucket "requestPayment": SET.action("s3:PutBucketRequestPayment");
    GetBucketTagging = GET Bucket "tagging": SETTING.action("s3:GetBucketTagging").tells(Tells::Accounts);
    PutBucketTagging = PUT Bucket "tagging": SET.action("s3:PutBucketTagging");
    DeleteBucketTagging = DELETE Bucket "tagging": UNSET.action("s3:PutBucketTagging");
    GetBucketVersioning = GET Bucket "versioning": SETTING.action("s3:GetBucketVersioning");
    PutBucketVersioning = PUT Bucket "versioning": SET.action("s3:PutBucketVersioning");
    GetBucketWebsite = GET Bucket "website": SETTING.action("s3:GetBucketWebsite").tells(Tells::Others);
    PutBucketWebsite = PUT Bucket "website": SET.action("s3:PutBucketWebsite");
    DeleteBucketWebsite = DELETE Bucket "website": UNSET.action("s3:DeleteBucketWebsite");
    // the service
    ListBuckets = GET Service "": LIST.action("s3:ListAllMyBuckets").reach(Reach::Local).tells(Tells::Names);
    ListDirectoryBuckets = GET Service "": LIST.action("s3express:ListAllMyDirectoryBuckets").reach(Reach::Local);
    WriteGetObjectResponse = POST Service "": WRITE.action("s3-object-lambda:WriteGetObjectResponse")
        .replay(Replay::Unsent).reach(Reach::Home);
}

impl Operation {
    /// The operation that a request line selects, where exactly that row exists. Where rows share
    /// a rule the first wins; `classify` tells copies from uploads and lists from single settings.
    #[must_use]
    pub fn recognise(method: &str, level: Level, selector: &str) -> Option<Self> {
        // Nearly all traffic; the search below is for the rest.
        if level == Level::Object && selector.is_empty() {
            match method {
                "GET" => return Some(Self::GetObject),
                "HEAD" => return Some(Self::HeadObject),
                "PUT" => return Some(Self::PutObject),
                "DELETE" => return Some(Self::DeleteObject),
                _ => {}
            }
        }
        Self::ALL.iter().copied().find(|operation| {
            let rule = operation.facts().rule;
            rule.selector == selector && rule.level == level && rule.method == method
        })
    }

    /// Whether it changes a bucket itself or its settings: refused on named access points.
    #[must_use]
    pub fn sets_bucket(self) -> bool {
        let facts = self.facts();
        facts.rule.level == Level::Bucket && facts.kind == Kind::Write && facts.reach == Reach::Home
    }

    /// Operations of other services under S3's name, which would hand out the proxy's own
    /// credentials (`CreateSession`) or name objects past the policy (`RenameObject`). Never carried out.
    #[must_use]
    pub fn is_foreign(self) -> bool {
        matches!(
            self,
            Self::CreateSession
                | Self::RenameObject
                | Self::ListDirectoryBuckets
                | Self::WriteGetObjectResponse
        )
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn the_table_is_the_whole_model() {
        assert_eq!(Operation::ALL.len(), 116 + 2);
        let names: HashSet<_> = Operation::ALL.iter().map(|o| o.facts().name).collect();
        assert_eq!(names.len(), Operation::ALL.len());
    }

    #[test]
    fn every_row_is_consistent() {
        for operation in Operation::ALL {
            let facts = operation.facts();
            assert_eq!(facts.name, format!("{operation:?}"));
            assert_eq!(
                facts.action.is_empty(),
                *operation == Operation::Preflight,
                "{operation:?} has no action"
            );
            if !facts.action.is_empty() {
                let (service, name) = facts.action.split_once(':').unwrap();
                assert!(["s3", "s3express", "s3-object-lambda"].contains(&service), "{operation:?}");
                assert!(name.starts_with(|c: char| c.is_ascii_uppercase()), "{operation:?}");
            }
            match facts.kind {
                Kind::Read => {
                    assert!(matches!(facts.class, Class::Get | Class::List), "{operation:?}");
                    assert_ne!(facts.body, BodyKind::Stream, "{operation:?}");
                    assert!(!facts.doubtful_success, "{operation:?}");
                }
                Kind::Write => {
                    assert_ne!(facts.replay, Replay::Always, "{operation:?} may not be repeated blindly");
                    assert!(matches!(facts.class, Class::Put | Class::Long), "{operation:?}");
                    assert!(!facts.resumable, "{operation:?}");
                }
            }
            if facts.replay == Replay::BodyUnsent {
                assert_eq!(facts.body, BodyKind::Stream, "{operation:?} has no body that commits it");
            }
        }
    }

    /// Whoever adds a read of a setting decides here what it tells.
    #[test]
    fn settings_that_pass_unread_name_nothing_physical() {
        let passes = |operation: &&Operation| {
            let facts = operation.facts();
            facts.kind == Kind::Read && facts.reach == Reach::Home && facts.tells == Tells::Nothing
        };
        let passing: Vec<_> = Operation::ALL.iter().filter(passes).copied().collect();
        let expected = [
            Operation::GetBucketAbac,
            Operation::GetBucketAccelerateConfiguration,
            Operation::GetBucketCors,
            Operation::GetBucketIntelligentTieringConfiguration,
            Operation::ListBucketIntelligentTieringConfigurations,
            Operation::GetBucketLifecycleConfiguration,
            Operation::GetBucketLifecycle,
            Operation::GetObjectLockConfiguration,
            Operation::GetBucketOwnershipControls,
            Operation::GetBucketPolicyStatus,
            Operation::GetPublicAccessBlock,
            Operation::GetBucketRequestPayment,
            Operation::GetBucketVersioning,
        ];
        assert_eq!(passing, expected);
        for operation in Operation::ALL {
            let facts = operation.facts();
            let withheld = facts.tells == Tells::Others;
            assert!(!withheld || facts.kind == Kind::Read, "{operation:?}: a write would have been done");
        }
    }

    #[test]
    fn what_commits_by_its_head_is_a_delete() {
        for operation in Operation::ALL {
            let facts = operation.facts();
            assert_eq!(facts.replay == Replay::HeadUnsent, facts.rule.method == "DELETE", "{operation:?}");
        }
    }

    #[test]
    fn only_rows_that_share_a_rule_are_hidden() {
        use Operation as O;
        let hidden: Vec<_> = Operation::ALL
            .iter()
            .copied()
            .filter(|operation| {
                let rule = operation.facts().rule;
                O::recognise(rule.method, rule.level, rule.selector) != Some(*operation)
            })
            .collect();
        let expected = [
            O::CopyObject,
            O::UploadPartCopy,
            O::ListObjectAnnotations,
            O::ListBucketAnalyticsConfigurations,
            O::ListBucketInventoryConfigurations,
            O::ListBucketMetricsConfigurations,
            O::ListBucketIntelligentTieringConfigurations,
            O::GetBucketLifecycle,
            O::PutBucketLifecycle,
            O::GetBucketNotification,
            O::PutBucketNotification,
            O::ListDirectoryBuckets,
        ];
        assert_eq!(hidden, expected);
    }

    #[test]
    fn settings_of_buckets_reach_home() {
        assert!(Operation::CreateBucket.sets_bucket());
        assert!(Operation::DeleteBucketCors.sets_bucket());
        assert!(!Operation::DeleteObjects.sets_bucket());
        assert!(!Operation::PutObjectAcl.sets_bucket());
        assert!(!Operation::PostObject.sets_bucket());
    }
}
