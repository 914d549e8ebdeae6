//! What an operator says about an access point. Pure settings; config compiles into them.

use std::time::Duration;

use crate::names::{AccessPointName, BucketName, RegionId};
use crate::s3::operation::Kind;

/// The name of the access point that stands for any other bucket name.
pub const WILDCARD: &str = "*";

/// A logical bucket and the buckets behind it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AccessPoint {
    /// What clients call it; [`WILDCARD`] for any other bucket.
    pub name: AccessPointName,
    /// What clients may call it as well.
    pub alias: Option<String>,
    /// The account that clients know as its owner; `None`: nobody may expect one.
    pub owner: Option<String>,
    /// Its regions, at least one.
    pub members: Vec<Member>,
    /// How reads are routed.
    pub reads: Rule,
    /// How writes are routed.
    pub writes: Rule,
    /// Where conditional writes are decided, and (by default) all writes go; one of the members.
    pub home: RegionId,
    /// What becomes of conditional writes.
    pub conditional_writes: ConditionalWrites,
    /// What the stores replicate; nearpoint copies nothing.
    pub replication: Replication,
    /// Whether version ids mean the same in every region.
    pub versions: Versions,
    /// Whether entity tags mean the same in every region.
    pub etags: Etags,
    /// Whether slow reads are tried a second time, elsewhere.
    pub hedge: Hedge,
    /// Whether conditional writes and uploads leave a nonce in the object's metadata, by which a
    /// write is known again whose answer was lost.
    pub write_nonce: bool,
    /// What is computed of long bodies on their way, so that a lost answer can be settled.
    pub etag_check: EtagCheck,
    /// What hides replication lag from readers.
    pub lag_shield: LagShield,
}

/// One region of an access point.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// The region.
    pub region: RegionId,
    /// Its bucket there; `None` under the wildcard: the client's own bucket name.
    pub bucket: Option<BucketName>,
}

/// How one kind of request is routed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    /// Which region comes first.
    pub order: Order,
    /// `allow`: a request may go on in another region. `refuse`: it is the first region's, and
    /// shares its fate.
    pub failover: bool,
}

/// In which order regions are preferred.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Order {
    /// By latency.
    Nearest,
    /// Home, then by latency.
    Home,
    /// As listed; regions that are not listed take no such request.
    List(Vec<RegionId>),
}

/// What becomes of writes with `If-Match` or `If-None-Match`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConditionalWrites {
    /// They go home and nowhere else: compare-and-swap has no meaning over async replication.
    Home,
    /// They are refused.
    Refuse,
    /// They go where other writes go. Unsafe with more than one region.
    Nearest,
}

/// What the stores replicate among themselves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Replication {
    /// Nothing.
    None,
    /// From home to the others.
    OneWay,
    /// Between all.
    TwoWay,
}

/// Whether a version id of one region means the same object version in another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Versions {
    /// It does not: ids are wrapped, and their requests stay where the version lives.
    PerRegion,
    /// It does (AWS replication keeps ids).
    Shared,
}

/// Whether the same bytes have the same entity tag in every region.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Etags {
    /// They need not: other parts, another encryption or another vendor make other tags.
    #[default]
    Opaque,
    /// They have: a reply that broke off may go on in another region by its tag and size.
    Stable,
}

/// What is computed of a body that is too long to be kept, and comes without a checksum.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum EtagCheck {
    /// CRC-64/NVME, where a store gives checksums back: tens of gigabytes a second.
    #[default]
    Auto,
    /// MD5, which every store gives back as the entity tag: half a gigabyte a second, dearer than
    /// all else that is done to a body.
    Md5,
}

impl AccessPoint {
    /// The member in this region.
    #[must_use]
    pub fn member(&self, region: &RegionId) -> Option<&Member> {
        self.members.iter().find(|member| member.region == *region)
    }

    /// Whether it stands for any other bucket name.
    #[must_use]
    pub fn is_wildcard(&self) -> bool {
        self.name.as_str() == WILDCARD
    }

    /// How requests of this kind are routed.
    #[must_use]
    pub fn rule(&self, kind: Kind) -> &Rule {
        match kind {
            Kind::Read => &self.reads,
            Kind::Write => &self.writes,
        }
    }

    /// Whether requests of this kind may move to another region: reads and writes where failover
    /// is allowed, and writes that go to the nearest, since which that is changes by itself.
    #[must_use]
    pub fn may_move(&self, kind: Kind) -> bool {
        let rule = self.rule(kind);
        rule.failover || (kind == Kind::Write && rule.order == Order::Nearest)
    }
}

/// `hedge: {reads: …}` of an access point.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Hedge {
    /// No read is tried twice at a time.
    #[default]
    Off,
    /// A read that is slower than 95 of 100 in its region and class.
    Auto,
    /// A read that is not answered after so long.
    After(Duration),
}

/// `lag_shield` of an access point.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LagShield {
    /// Reads that find nothing are asked again at home, and where else writes went.
    pub fallback: bool,
    /// The lag window: how long what this process saw written or deleted is read where that
    /// happened. Zero: nothing is remembered.
    pub remember: Duration,
}

impl Default for LagShield {
    /// A quarter of an hour: what AWS promises of 99.99 % of the objects it replicates.
    fn default() -> Self {
        Self { fallback: true, remember: Duration::from_mins(15) }
    }
}
