//! What a decision sees: the configuration in force, as values. Pure.
//!
//! Configuration compiles into these types; no room knows the file that they came from. The
//! steward publishes them whole, so that one request never sees two configurations.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use crate::fleet::RegionTable;
use crate::names::{BucketName, ClientName, RegionId};
use crate::pem::PemFile;
use crate::policy::Client;
use crate::route::AccessPoint;
use crate::s3::address::Domains;
use crate::s3::kms::KmsKeys;
use crate::s3::profile::Profile;
use crate::sigv4::{Credential, KeyRing, Rules};
use crate::token;
use crate::units::{ByteCount, PerSecond, Ratio};

/// One snapshot: everything one request may look at. Cheap to clone, since all of it is shared.
#[derive(Clone, Debug)]
pub struct View {
    /// Counts publications.
    pub epoch: u64,
    /// Which configuration this is of, counted from 0 at the start: listeners have one number with it.
    pub configuration: u64,
    /// The region that clients sign for and that `GetBucketLocation` answers.
    pub logical_region: LogicalRegion,
    /// How signatures are judged.
    pub rules: Arc<Rules>,
    /// Domains of virtual-hosted addressing.
    pub domains: Arc<Domains>,
    /// Whose signatures are known.
    pub keys: Arc<KeyRing>,
    /// What each client may do.
    pub clients: Arc<Clients>,
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
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum LogicalRegion {
    /// Any, and each client is answered with its own (`logical_region: "*"`).
    #[default]
    Any,
    /// This one; another one is refused as AWS refuses it.
    Exactly(String),
}

impl LogicalRegion {
    /// What a client is told its bucket's region is, having signed for `signed`.
    #[must_use]
    pub fn answer<'a>(&'a self, signed: Option<&'a str>) -> &'a str {
        match self {
            Self::Exactly(region) => region,
            Self::Any => signed.filter(|region| !region.is_empty()).unwrap_or("us-east-1"),
        }
    }
}

/// Bounds on what one process takes and holds. Each is also what the client meets when it is hit.
#[derive(Clone, Debug, PartialEq)]
pub struct Limits {
    /// Connections of clients, all listeners together. Default 10,000: about 1 GiB of buffers at
    /// the worst, and below the usual limit of open files. Beyond it connections wait in the
    /// kernel's queue.
    pub connections: u32,
    /// Connections from one address. Default 256, several SDK pools. Beyond it connections are
    /// closed at once. Does not apply to loopback and unix sockets: all clients of a sidecar
    /// share one address.
    pub connections_per_ip: u32,
    /// Bytes of a request head: target and fields. Default 32 KiB; S3's own bound is 8 KiB of
    /// fields and 2 KiB of target; 64 KiB at most. HTTP/2 adds 32 a field. Beyond it `400 RequestHeaderSectionTooLarge` or `431`, and the
    /// connection is closed.
    pub head: ByteCount,
    /// Header fields of a request. Default 100, four times what SDKs send; 1,024 at most. As [`Self::head`].
    pub header_fields: u32,
    /// Requests at work. Default 2,048: 600 MiB of buffers if none of their clients reads. As it fills,
    /// clients that have stopped reading are cut, then listings are refused, then reads, then writes,
    /// and of two clients the one that has more: `503 SlowDown` with `Retry-After` (`overload`).
    pub in_flight: u32,
    /// Requests at work in one region, so that a slow region does not take the others' share.
    /// Default 1,024. Beyond it the next region, else `503 SlowDown`.
    pub in_flight_per_region: u32,
    /// Bytes of a request body that are kept so that it can be sent again. Default 1 MiB: most
    /// objects are smaller. A larger body does not fail over once part of it was sent.
    pub replay_body: ByteCount,
    /// The same, all requests together. Default 64 MiB, first come. Beyond it bodies are passed
    /// on and do not fail over. As many bytes beside them may be XML documents; beyond it
    /// `503 SlowDown` with `Retry-After`.
    pub replay_total: ByteCount,
    /// Bytes of an XML document in a request. Default 2 MiB: `DeleteObjects` of 1,000 keys of
    /// 1,024 bytes, escaped, and `CompleteMultipartUpload` of 10,000 parts fit. Beyond it
    /// `400 MaxMessageLengthExceeded`.
    pub xml_body: ByteCount,
    /// Attempts for one request, the first included. Default 3, one for each of three regions.
    /// After the last one `503 ServiceUnavailable`. What only one region may answer, and it answers
    /// with an error, is tried there twice more.
    pub attempts: u32,
    /// How often the reply to one GET that broke off is gone on with. Default 3: a reply that breaks
    /// a fourth time is of an object or a path that breaks every reply. After that, and with 0 at
    /// once, the client's connection is aborted.
    pub resumes: u32,
    /// Repeated attempts as a share of requests over 10 s. Default 20 %: retries never double
    /// the load on regions that are in trouble. Beyond it the failed attempt's error is answered.
    /// Attempts of which nothing was sent are free.
    pub retry_share: Ratio,
    /// Repeated attempts that are allowed whatever the share, so that quiet gateways can retry.
    /// Default 10/s. As [`Self::retry_share`].
    pub retry_floor: PerSecond,
    /// Keys whose last write or deletion is remembered, all access points together: so that readers
    /// of this process see it. Default 100,000: about 10 MiB, and 15 minutes of 111 changes a second.
    /// Beyond it the oldest are forgotten, which is counted and logged: first those changed at home,
    /// whose readers may then see what was before; then those changed elsewhere while home was out,
    /// after which reads that find nothing are answered `503` where not every region that took such
    /// changes can be asked.
    pub remembered_keys: u32,
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
            resumes: 3,
            retry_share: Ratio(0.2),
            retry_floor: PerSecond(10.0),
            remembered_keys: 100_000,
        }
    }
}

/// How long is waited, stage by stage.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Timeouts {
    /// For a region to take a TCP connection, all its addresses together. Default 1 s: three round
    /// trips around the world. Then the next region.
    pub connect: Duration,
    /// For TCP and TLS together. Default 2 s. Then the next region.
    pub tls: Duration,
    /// For the first byte of a region's answer to a read. Then the next region; where an access point
    /// has but one, the last try of `auto` waits as long as the request has, 30 s in all.
    pub first_byte: FirstByte,
    /// For the answer after the last byte of an upload. Default 30 s; S3's own tail is about 5 s.
    /// Then the outcome is settled, which takes as long at most and never more than 10 s, else
    /// `503 ServiceUnavailable`.
    pub put_answer: Duration,
    /// For the answer to `CompleteMultipartUpload` and copies, white space counting as progress.
    /// Default 10 min: S3 documents minutes. Then `503 ServiceUnavailable`.
    pub complete: Duration,
    /// How long a body may move less than 1 KiB/s while we wait on its sender. Default 20 s. Then
    /// a client's upload is cut, a region's reply is resumed or cut.
    pub body_progress: Duration,
    /// How long a client may take nothing of a reply. Default 120 s; it may be busy with what it
    /// has. Then the connection is cut. A twentieth of it where places of `in_flight` are short.
    pub stalled_reader: Duration,
    /// For a client's whole request head. Default 10 s. Then the connection is closed.
    pub client_head: Duration,
    /// How long a client's connection may be idle. Default 60 s, above the pools of most SDKs.
    /// Then it is closed.
    pub idle: Duration,
    /// How long our connection to a region may be idle. Default 4 s, below the 5 s after which S3
    /// closes it: fewer requests meet a dead connection. Unseen by clients.
    pub upstream_idle: Duration,
    /// How long readiness says no before listeners stop taking connections. Default 0 s; behind a
    /// load balancer as long as it takes to notice.
    pub drain_min: Duration,
    /// How long requests may go on after that. Default 30 s, Kubernetes' own. Then they are cut.
    pub drain: Duration,
}

/// The wait for the first byte of a read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum FirstByte {
    /// Three times the slowest answer in a thousand, within 500 ms and 5 s: about one false alarm
    /// in a thousand. 5 s while a region's answers are not known (a hundred lately, of the same
    /// class), and where no other region would be tried: probes find one that hangs before that. No more
    /// than 1 s in a region that was out within ten minutes. The default.
    #[default]
    Auto,
    /// This long, in every region.
    Fixed(Duration),
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(1),
            tls: Duration::from_secs(2),
            first_byte: FirstByte::Auto,
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

/// One region: an S3 endpoint, and how to speak to it.
#[derive(Clone, Debug, PartialEq)]
pub struct RegionSettings {
    /// The operator's name for it.
    pub id: RegionId,
    /// Where it is.
    pub endpoint: Endpoint,
    /// The region in the scope of what we sign; or the set of regions for which it is signed by SigV4A.
    pub signing_region: String,
    /// What the store understands.
    pub profile: Profile,
    /// Whom we are there.
    pub credentials: CredentialSource,
    /// Trust and identity towards it; all defaults for plain http.
    pub tls: UpstreamTls,
    /// How it is probed.
    pub probe: ProbeSettings,
    /// What clients call its keys of KMS.
    pub kms_keys: KmsKeys,
}

/// Where a region is. Text form: `https://s3.example.com:3900/base`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// `https`.
    pub tls: bool,
    /// A name or an address, lower-case; IPv6 without its brackets.
    pub host: String,
    /// 1 to 65535; the scheme's own where the text has none.
    pub port: u16,
    /// What stands before the bucket in every path: empty, or `/base` without a slash at its end.
    pub base_path: String,
}

impl Endpoint {
    /// The Host header: brackets around IPv6, the port where it is not the scheme's own.
    #[must_use]
    pub fn authority(&self) -> String {
        let (before, after) = if self.host.contains(':') { ("[", "]") } else { ("", "") };
        let mut authority = String::with_capacity(self.host.len() + "[]:65535".len());
        for part in [before, &self.host, after] {
            authority.push_str(part);
        }
        if self.port != Self::default_port(self.tls) {
            authority.push(':');
            authority.push_str(itoa::Buffer::new().format(self.port));
        }
        authority
    }

    /// Whether what goes there does not leave this machine.
    #[must_use]
    pub fn is_within_the_machine(&self) -> bool {
        let address = self.host.parse::<std::net::IpAddr>();
        self.host == "localhost" || address.is_ok_and(|address| address.is_loopback())
    }

    /// Whether it is one of Amazon's.
    #[must_use]
    pub fn is_of_aws(&self) -> bool {
        [".amazonaws.com", ".amazonaws.com.cn"].iter().any(|end| self.host.ends_with(end))
    }

    /// The scheme's own port.
    #[must_use]
    pub const fn default_port(tls: bool) -> u16 {
        if tls { 443 } else { 80 }
    }
}

/// Where a region's credential comes from.
#[derive(Clone, Debug)]
pub enum CredentialSource {
    /// From the configuration.
    Static(Credential),
    /// From AWS's own chain: environment, profile, web identity, ECS, IMDS, process, assumed role.
    Chain,
}

/// Sources are the same where they lead to the same key; a rotated secret reaches the data path
/// through the credential store and changes no connection.
impl PartialEq for CredentialSource {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Static(one), Self::Static(two)) => one.access_key_id == two.access_key_id,
            (Self::Chain, Self::Chain) => true,
            (Self::Static(_), Self::Chain) | (Self::Chain, Self::Static(_)) => false,
        }
    }
}

/// TLS towards a region, as its files were read: another text makes other settings, and so new
/// connections.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct UpstreamTls {
    /// Authorities that may vouch for it, instead of the machine's.
    pub ca_file: Option<PemFile>,
    /// What we show where the region asks who we are.
    pub identity: Option<UpstreamIdentity>,
}

/// A client certificate and its key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UpstreamIdentity {
    /// The chain, our own certificate first.
    pub certificate: PemFile,
    /// PKCS#8, PKCS#1 or SEC1.
    pub key: PemFile,
}

/// How a region is probed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProbeSettings {
    /// Between probes, while no traffic answers the question. Default 1 s; a sidecar among many
    /// does with 5 s.
    pub interval: Duration,
    /// The bucket probed: that of the first named access point with this region. `None` where
    /// there is none: then the service is asked (`GET /`).
    pub bucket: Option<BucketName>,
    /// The key probed; it need not exist. Default [`ProbeSettings::KEY`].
    pub key: String,
    /// Between write probes; `None` where there are none. They put a small object next to `key`,
    /// judge writes by it, and look for it in the regions that the stores replicate to.
    pub write: Option<Duration>,
}

impl ProbeSettings {
    /// The key that is probed unless the operator says otherwise.
    pub const KEY: &'static str = ".nearpoint/canary";
    /// How often, unless the operator says otherwise.
    pub const INTERVAL: Duration = Duration::from_secs(1);
    /// How often it is written to where the operator says `on`: four writes a minute cost next to
    /// nothing, and writes of clients are witnesses too.
    pub const WRITE_INTERVAL: Duration = Duration::from_secs(15);
}

/// The access points, found by what clients call them.
#[derive(Clone, Debug, Default)]
pub struct AccessPoints {
    all: Vec<Arc<AccessPoint>>,
    /// Names and aliases.
    named: HashMap<String, Arc<AccessPoint>>,
    wildcard: Option<Arc<AccessPoint>>,
    /// Physical buckets of named access points.
    taken: HashSet<BucketName>,
}

impl AccessPoints {
    /// Takes the access points; names and aliases are unique among them.
    #[must_use]
    pub fn new(all: Vec<Arc<AccessPoint>>) -> Self {
        let mut this = Self { all, ..Self::default() };
        for point in &this.all {
            if point.is_wildcard() {
                this.wildcard = Some(Arc::clone(point));
                continue;
            }
            for name in std::iter::once(point.name.as_str()).chain(point.alias.as_deref()) {
                this.named.insert(name.to_owned(), Arc::clone(point));
            }
            this.taken.extend(point.members.iter().filter_map(|member| member.bucket.clone()));
        }
        this
    }

    /// What a client means by a bucket: the access point of that name or alias, else the wildcard,
    /// unless it is the physical bucket of a named one, in whatever region: nobody goes round an
    /// access point to its data. The account behind an access point's name is passed over, since SDKs make
    /// `NAME-ACCOUNT.domain` of the ARN of an access point and an endpoint of the caller's own: with a
    /// wildcard, which could have a bucket of that name, only the access point's own account.
    #[must_use]
    pub fn resolve(&self, bucket: &str) -> Option<&Arc<AccessPoint>> {
        if let Some(point) = self.named.get(bucket) {
            return Some(point);
        }
        let meant = split_account(bucket).and_then(|(name, account)| Some((self.named.get(name)?, account)));
        match (&self.wildcard, meant) {
            (None, meant) => meant.map(|(point, _)| point),
            (Some(_), Some((point, account))) if point.owner.as_deref() == Some(account) => Some(point),
            (Some(wildcard), _) => (!self.taken.contains(&BucketName::new(bucket))).then_some(wildcard),
        }
    }

    /// All of them, in the order of the configuration.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<AccessPoint>> {
        self.all.iter()
    }

    /// The regions that serve an access point together, for each of them.
    #[must_use]
    pub fn groups(&self) -> Vec<Vec<RegionId>> {
        let members = self.all.iter().map(|point| point.members.iter());
        members.map(|members| members.map(|member| member.region.clone()).collect()).collect()
    }

    /// Whether there are others than the wildcard.
    #[must_use]
    pub fn are_named(&self) -> bool {
        !self.named.is_empty()
    }

    /// Whether this is the physical bucket of a named access point.
    #[must_use]
    pub fn is_physical(&self, bucket: &str) -> bool {
        self.taken.contains(&BucketName::new(bucket))
    }

    /// The access point that takes any other bucket name.
    #[must_use]
    pub fn wildcard(&self) -> Option<&Arc<AccessPoint>> {
        self.wildcard.as_ref()
    }
}

/// An access point's name without the account that SDKs put behind it: `-` and twelve digits.
fn split_account(bucket: &str) -> Option<(&str, &str)> {
    let split = bucket.rsplit_once('-')?;
    (split.1.len() == 12 && split.1.bytes().all(|byte| byte.is_ascii_digit())).then_some(split)
}

/// The clients, found by their names.
#[derive(Clone, Debug, Default)]
pub struct Clients(HashMap<ClientName, Arc<Client>>);

impl Clients {
    /// Takes the clients; their names are unique.
    #[must_use]
    pub fn new(clients: Vec<Client>) -> Self {
        Self(clients.into_iter().map(|client| (client.name.clone(), Arc::new(client))).collect())
    }

    /// The client of that name.
    #[must_use]
    pub fn find(&self, name: &ClientName) -> Option<&Arc<Client>> {
        self.0.get(name)
    }

    /// All of them, in no order.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<Client>> {
        self.0.values()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::names::AccessPointName;
    use crate::route::{
        ConditionalWrites, EtagCheck, Etags, Hedge, LagShield, Member, Order, Replication, Rule, Versions,
    };

    fn point(name: &str, alias: Option<&str>, bucket: Option<&str>) -> Arc<AccessPoint> {
        let home = RegionId::new("eu");
        Arc::new(AccessPoint {
            name: AccessPointName::new(name),
            alias: alias.map(str::to_owned),
            owner: None,
            members: vec![Member { region: home.clone(), bucket: bucket.map(BucketName::new) }],
            reads: Rule { order: Order::Nearest, failover: true },
            writes: Rule { order: Order::Home, failover: false },
            home,
            conditional_writes: ConditionalWrites::Home,
            replication: Replication::None,
            versions: Versions::PerRegion,
            etags: Etags::Opaque,
            hedge: Hedge::Off,
            write_nonce: true,
            etag_check: EtagCheck::Auto,
            lag_shield: LagShield::default(),
        })
    }

    #[test]
    fn the_wildcard_takes_what_is_left_and_no_physical_bucket() {
        let named = point("photos", Some("m1.mrap"), Some("photos-fra"));
        let points = AccessPoints::new(vec![named, point("*", None, None)]);
        let found = |bucket: &str| points.resolve(bucket).map(|point| point.name.to_string());
        assert_eq!(found("photos").as_deref(), Some("photos"));
        assert_eq!(found("m1.mrap").as_deref(), Some("photos"));
        assert_eq!(found("other").as_deref(), Some("*"));
        assert_eq!(found("photos-111122223333").as_deref(), Some("*"), "the wildcard's own may be called so");
        assert_eq!(found("photos-fra"), None);
        assert_eq!(points.iter().count(), 2);
        let mut owned = AccessPoint::clone(&point("photos", None, Some("photos-fra")));
        owned.owner = Some("111122223333".to_owned());
        let points = AccessPoints::new(vec![Arc::new(owned), point("*", None, None)]);
        let found = |bucket: &str| points.resolve(bucket).map(|point| point.name.to_string());
        assert_eq!(found("photos-111122223333").as_deref(), Some("photos"), "its own account");
        assert_eq!(found("photos-999922223333").as_deref(), Some("*"));

        let points = AccessPoints::new(vec![point("photos", None, Some("photos-fra"))]);
        assert!(points.resolve("other").is_none());
        for (bucket, known) in [
            ("photos-111122223333", true),
            ("photos-11112222333", false),
            ("photos-1111222233334", false),
            ("photos-11112222333a", false),
            ("photos--111122223333", false),
            ("-111122223333", false),
            ("other-111122223333", false),
            ("photos-fra", false),
        ] {
            assert_eq!(points.resolve(bucket).is_some(), known, "{bucket}");
        }
        assert!(points.wildcard().is_none());
    }

    #[test]
    fn an_authority_has_brackets_and_a_port_only_where_needed() {
        for (tls, host, port, expected) in [
            (true, "s3.example.com", 443, "s3.example.com"),
            (true, "s3.example.com", 80, "s3.example.com:80"),
            (false, "::1", 80, "[::1]"),
            (false, "127.0.0.1", 3900, "127.0.0.1:3900"),
        ] {
            let endpoint = Endpoint { tls, host: host.into(), port, base_path: String::new() };
            assert_eq!(endpoint.authority(), expected);
        }
    }
}
