//! Everything one request may look at: one snapshot, never changed, swapped whole. Pure.
//!
//! [`Limits`] and [`Timeouts`] name every bound of the data path, each with its unit, its default
//! and what the client sees when it is hit.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use crate::fleet::RegionTable;
use crate::names::{AccessPointName, BucketName, ClientName, RegionId};
use crate::policy::Client;
use crate::route::AccessPoint;
use crate::s3::address::Domains;
use crate::s3::profile::Profile;
use crate::sigv4::{Credential, KeyRing, Rules};
use crate::token;
use crate::units::{ByteCount, PerSecond, Ratio};

/// One snapshot. Cheap to clone: everything in it is shared.
#[derive(Clone, Debug)]
pub struct View {
    /// Counts publications.
    pub epoch: u64,
    /// The region that clients sign for and that GetBucketLocation answers.
    pub logical_region: LogicalRegion,
    /// How signatures are judged.
    pub rules: Arc<Rules>,
    /// Domains of virtual-hosted addressing.
    pub domains: Arc<Domains>,
    /// Whose signatures are known.
    pub keys: Arc<KeyRing>,
    /// What each client may do.
    pub clients: Arc<BTreeMap<ClientName, Arc<Client>>>,
    /// What clients call buckets.
    pub access_points: Arc<AccessPoints>,
    /// The regions, in the order of the configuration.
    pub regions: Arc<[Arc<RegionSettings>]>,
    /// Bounds of sizes and counts.
    pub limits: Arc<Limits>,
    /// Bounds of waiting.
    pub timeouts: Arc<Timeouts>,
    /// Keys of the ids handed to clients; `None` where nothing is ever wrapped.
    pub tokens: Option<Arc<token::Keys>>,
    /// How the regions are doing.
    pub table: Arc<RegionTable>,
}

impl View {
    /// The settings of a region.
    #[must_use]
    pub fn region(&self, region: &RegionId) -> Option<&Arc<RegionSettings>> {
        self.regions.iter().find(|settings| settings.id == *region)
    }
}

/// The region that clients sign for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LogicalRegion {
    /// This one; any other is refused.
    Exactly(String),
    /// Any; what the client signed for is answered back.
    Any,
}

impl LogicalRegion {
    /// What the client is told its bucket's region is, having signed for `signed`.
    #[must_use]
    pub fn answer<'a>(&'a self, signed: Option<&'a str>) -> &'a str {
        match self {
            Self::Exactly(region) => region,
            Self::Any => signed.filter(|region| !region.is_empty()).unwrap_or("us-east-1"),
        }
    }
}

/// The access points by name and alias.
#[derive(Clone, Debug, Default)]
pub struct AccessPoints {
    named: BTreeMap<String, Arc<AccessPoint>>,
    wildcard: Option<Arc<AccessPoint>>,
    physical: Vec<BucketName>,
}

impl AccessPoints {
    /// Indexes access points. Names and aliases are unique; configuration has seen to it.
    #[must_use]
    pub fn new(access_points: impl IntoIterator<Item = AccessPoint>) -> Self {
        let mut index = Self::default();
        for access_point in access_points {
            let access_point = Arc::new(access_point);
            if access_point.is_wildcard() {
                index.wildcard = Some(access_point);
                continue;
            }
            index.physical.extend(access_point.members.iter().filter_map(|member| member.bucket.clone()));
            if let Some(alias) = &access_point.alias {
                index.named.insert(alias.clone(), Arc::clone(&access_point));
            }
            index.named.insert(access_point.name.to_string(), access_point);
        }
        index
    }

    /// The access point that a client means by a bucket name: by name, by alias, else the
    /// wildcard, which never reaches a physical bucket of a named access point.
    #[must_use]
    pub fn resolve(&self, bucket: &str) -> Option<&Arc<AccessPoint>> {
        self.named.get(bucket).or_else(|| {
            let hidden = self.physical.iter().any(|physical| physical.as_str() == bucket);
            self.wildcard.as_ref().filter(|_| !hidden)
        })
    }

    /// The wildcard, where there is one.
    #[must_use]
    pub fn wildcard(&self) -> Option<&Arc<AccessPoint>> {
        self.wildcard.as_ref()
    }

    /// The named access points, each once, in order of name; aliases are not listed.
    pub fn named(&self) -> impl Iterator<Item = &Arc<AccessPoint>> {
        self.named.iter().filter(|(name, access_point)| *name == access_point.name.as_str()).map(|(_, value)| value)
    }

    /// Whether this is a physical bucket of a named access point.
    #[must_use]
    pub fn is_physical(&self, bucket: &str) -> bool {
        self.physical.iter().any(|physical| physical.as_str() == bucket)
    }
}

/// Where a region's store listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// `https`.
    pub tls: bool,
    /// Name or address; IPv6 in brackets.
    pub host: String,
    /// 1 to 65535.
    pub port: u16,
    /// A path before the bucket, without a slash at its end; empty for most stores.
    pub base_path: String,
}

impl Endpoint {
    /// As it stands in `Host`: without the port where it is the scheme's own.
    #[must_use]
    pub fn authority(&self) -> String {
        let usual = if self.tls { 443 } else { 80 };
        if self.port == usual { self.host.clone() } else { format!("{}:{}", self.host, self.port) }
    }
}

/// Where a region's credentials come from.
#[derive(Clone, Debug)]
pub enum CredentialSource {
    /// As configured.
    Static(Arc<Credential>),
    /// AWS's default chain: `{chain: default}`.
    Chain,
}

impl PartialEq for CredentialSource {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Static(one), Self::Static(two)) => one.access_key_id == two.access_key_id,
            (Self::Chain, Self::Chain) => true,
            (Self::Static(_), Self::Chain) | (Self::Chain, Self::Static(_)) => false,
        }
    }
}

/// The files of a region's `tls` section, all PEM.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct UpstreamTls {
    /// The authorities that may vouch for the region, instead of the machine's.
    pub ca_file: Option<PathBuf>,
    /// Our own certificate chain and its key.
    pub identity: Option<(PathBuf, PathBuf)>,
}

/// How a region is probed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProbeSettings {
    /// Time between probes of a region in its normal state. Default 1 s; 100 ms to 1 h.
    pub interval: Duration,
    /// The bucket of the probe key; `None` probes `GET /` (only a wildcard uses the region).
    pub bucket: Option<BucketName>,
    /// The key, which need not exist. Default `.nearpoint/canary`.
    pub key: String,
}

/// One region as the operator describes it.
#[derive(Clone, Debug, PartialEq)]
pub struct RegionSettings {
    /// Its name.
    pub id: RegionId,
    /// Where it is.
    pub endpoint: Endpoint,
    /// The region in the scope of its signatures.
    pub signing_region: String,
    /// What its store understands.
    pub profile: Profile,
    /// Whose name requests go in.
    pub credentials: CredentialSource,
    /// Whom we trust there and who we are.
    pub tls: UpstreamTls,
    /// How it is probed.
    pub probe: ProbeSettings,
}

/// Bounds of sizes and counts. Each says what a client sees when it is hit.
#[derive(Clone, Debug, PartialEq)]
pub struct Limits {
    /// Open client connections, 10,000. Beyond it accepting pauses.
    pub connections: usize,
    /// Of one address, 256; loopback and unix sockets are exempt. Beyond it: closed at once.
    pub connections_per_ip: usize,
    /// Bytes of a request head, 32 KiB. Beyond it: 431 and close.
    pub head: ByteCount,
    /// Header fields, 100. Beyond it: 400 RequestHeaderSectionTooLarge and close.
    pub header_fields: usize,
    /// Requests under way, 2,048. Beyond it: 503 SlowDown.
    pub in_flight: usize,
    /// Requests under way towards one region, 1,024. Beyond it the next region, else 503 SlowDown.
    pub in_flight_per_region: usize,
    /// Bytes of an upload kept for replay, 1 MiB. Longer bodies use `Expect: 100-continue`.
    pub replay_body: ByteCount,
    /// Of all uploads together, 64 MiB. Beyond it bodies are streamed and not replayed.
    pub replay_total: ByteCount,
    /// Bytes of an XML request body, 2 MiB. Beyond it: 400 MaxMessageLengthExceeded.
    pub xml_body: ByteCount,
    /// Tries of one request, 3. Beyond it the last failure stands.
    pub attempts: u8,
    /// Repeats as a share of requests over ten seconds, 20 %.
    pub retry_share: Ratio,
    /// Repeats that are always granted, 10 a second and process.
    pub retry_floor: PerSecond,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 10_000,
            connections_per_ip: 256,
            head: ByteCount(32 << 10),
            header_fields: 100,
            in_flight: 2_048,
            in_flight_per_region: 1_024,
            replay_body: ByteCount(1 << 20),
            replay_total: ByteCount(64 << 20),
            xml_body: ByteCount(2 << 20),
            attempts: 3,
            retry_share: Ratio(0.2),
            retry_floor: PerSecond(10.0),
        }
    }
}

/// Bounds of waiting. Each runs only while we wait on that side.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Timeouts {
    /// TCP to a region, 1 s. Then the next region.
    pub connect: Duration,
    /// TCP and TLS to a region together, 2 s. Then the next region.
    pub tls: Duration,
    /// First byte of the answer to a read: `None` is `auto`, three times the latency seen, within
    /// 500 ms and 5 s. Then the next region.
    pub first_byte: Option<Duration>,
    /// First byte of the answer to a write whose body was sent, 30 s.
    pub put_answer: Duration,
    /// CompleteMultipartUpload and copies, 10 min.
    pub complete: Duration,
    /// Less than 1 KiB/s over this long is a dead body, 20 s: uploads 400 RequestTimeout, replies
    /// are cut.
    pub body_progress: Duration,
    /// A client that does not read its reply, 120 s: cut.
    pub stalled_reader: Duration,
    /// From the first byte of a request head to its last, 10 s: closed.
    pub client_head: Duration,
    /// A client connection without a request, 60 s: closed.
    pub idle: Duration,
    /// A kept connection to a region, 4 s: S3 closes after five or more.
    pub upstream_idle: Duration,
    /// After SIGTERM connections are still accepted for this long, 0 s.
    pub drain_min: Duration,
    /// After that requests under way may finish, 30 s: then cut.
    pub drain: Duration,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(1),
            tls: Duration::from_secs(2),
            first_byte: None,
            put_answer: Duration::from_secs(30),
            complete: Duration::from_mins(10),
            body_progress: Duration::from_secs(20),
            stalled_reader: Duration::from_mins(2),
            client_head: Duration::from_secs(10),
            idle: Duration::from_mins(1),
            upstream_idle: Duration::from_secs(4),
            drain_min: Duration::ZERO,
            drain: Duration::from_secs(30),
        }
    }
}

/// A bucket's name as the client knows it, for replies that name it.
#[must_use]
pub fn logical_bucket<'a>(access_point: &'a AccessPointName, asked: &'a str) -> &'a str {
    if access_point.as_str() == crate::route::WILDCARD { asked } else { access_point.as_str() }
}
