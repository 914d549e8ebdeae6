//! The `access_points` section.

use std::time::Duration;

use super::context::Context;
use super::fault::Position;
use super::keys;
use super::regions::{PHYSICAL_BUCKET, read_bucket};
use super::section::{Placed, Section, Text, alternatives, list, named, quoted_key, text};
use super::yaml::{Entry, Node, Value};
use crate::names::{AccessPointName, RegionId};
use crate::route::{
    AccessPoint, ConditionalWrites, EtagCheck, Etags, Hedge, LagShield, Member, Order, Replication, Rule,
    Versions, WILDCARD,
};
use crate::s3::address::is_bucket_name;
use crate::units;

/// What an entry declares, whatever else is wrong with it: for what is checked across sections.
pub(super) struct DeclaredPoint {
    pub(super) name: String,
    pub(super) alias: Option<Placed<String>>,
    /// How many regions it names.
    pub(super) members: usize,
}

/// An access point, and where its parts stand, for what is checked across sections.
pub(super) struct PlacedPoint {
    /// Of each member, in the order of the point's members.
    pub(super) members_at: Vec<Position>,
    pub(super) reads_at: Position,
    pub(super) writes_at: Position,
    pub(super) conditional_writes_at: Position,
    pub(super) versions_at: Position,
    pub(super) point: AccessPoint,
}

/// Regions that may be referred to.
pub(super) type Regions<'a> = &'a [(RegionId, Position)];

const BUCKET_RULE: &str = "a bucket name: 3 to 63 of a-z, 0-9, `.` and `-`, a letter or digit at both ends, no `..`, no IPv4 address";

/// Compiles one access point.
pub(super) fn access_point(
    context: &Context<'_>,
    entry: &Entry,
    regions: Regions<'_>,
) -> (DeclaredPoint, Option<PlacedPoint>) {
    let mut declared = DeclaredPoint { name: entry.key.clone(), alias: None, members: 0 };
    let placed = if entry.key == WILDCARD {
        wildcard(context, entry, regions, &mut declared)
    } else {
        check_name(context, entry.key_at, &entry.key);
        named_point(context, entry, regions, &mut declared)
    };
    (declared, placed)
}

/// Writes down that a name is none for an access point.
pub(super) fn check_name(context: &Context<'_>, at: Position, name: &str) {
    if !is_bucket_name(name) {
        let what = format!("{} is no name for an access point", quoted_key(name));
        context.fault(at, what, BUCKET_RULE);
    }
}

fn named_point(
    context: &Context<'_>,
    entry: &Entry,
    regions: Regions<'_>,
    said: &mut DeclaredPoint,
) -> Option<PlacedPoint> {
    let name = &entry.key;
    let of = format!("access point {}", quoted_key(name));
    let section = Section::open(context, &entry.value, keys::ACCESS_POINT, of.clone())?;
    let members = members(&section, &of, regions);
    let declared: Vec<_> = match section.node("buckets").map(|node| &node.value) {
        Some(Value::Map(entries)) => entries.iter().map(|entry| entry.key.as_str()).collect(),
        _ => Vec::new(),
    };
    said.members = declared.len();
    let scope = Scope { section: &section, members: &members, declared };
    let alias = section.parsed("alias", BUCKET_RULE, |text| is_bucket_name(text).then(|| text.to_owned()));
    said.alias.clone_from(&alias);
    let owner = section.parsed("owner", "an account: 12 digits, in quotes", account);
    let reads = scope.reads();
    let (writes, home) = scope.writes();
    let versions = section
        .word("versions", &[("per_region", Versions::PerRegion), ("shared", Versions::Shared)])
        .map_or(Versions::PerRegion, |placed| placed.value);
    let etags = section
        .word("etags", &[("opaque", Etags::Opaque), ("stable", Etags::Stable)])
        .map_or(Etags::Opaque, |placed| placed.value);
    let hedge = section.section("hedge", keys::HEDGE).and_then(|section| hedged_reads(&section));
    let write_nonce = section.boolean("write_nonce").is_none_or(|placed| placed.value);
    let etag_check = section
        .word("etag_check", &[("auto", EtagCheck::Auto), ("md5", EtagCheck::Md5)])
        .map_or(EtagCheck::Auto, |placed| placed.value);
    let lag_shield = section.section("lag_shield", keys::LAG_SHIELD).map(|section| lag_shield(&section));
    let replication = section
        .word(
            "replication",
            &[
                ("none", Replication::None),
                ("one_way", Replication::OneWay),
                ("two_way", Replication::TwoWay),
            ],
        )
        .map_or(Replication::None, |placed| placed.value);
    let conditional_writes = section
        .word(
            "conditional_writes",
            &[
                ("home", ConditionalWrites::Home),
                ("refuse", ConditionalWrites::Refuse),
                ("nearest", ConditionalWrites::Nearest),
            ],
        )
        .map_or(ConditionalWrites::Home, |placed| placed.value);
    let members_at = members.iter().map(|placed| placed.at).collect();
    Some(PlacedPoint {
        members_at,
        reads_at: section.position_of("reads"),
        writes_at: section.position_of("writes"),
        conditional_writes_at: section.position_of("conditional_writes"),
        versions_at: section.position_of("versions"),
        point: AccessPoint {
            name: AccessPointName::new(name),
            alias: alias.map(|placed| placed.value),
            owner: owner.map(|placed| placed.value),
            reads,
            writes,
            home: home?,
            conditional_writes,
            replication,
            versions,
            etags,
            hedge: hedge.unwrap_or_default(),
            write_nonce,
            etag_check,
            lag_shield: lag_shield.unwrap_or_default(),
            members: members.into_iter().map(|placed| placed.value).collect(),
        },
    })
}

fn account(text: &str) -> Option<String> {
    let digits = text.len() == 12 && text.bytes().all(|byte| byte.is_ascii_digit());
    digits.then(|| text.to_owned())
}

fn hedged_reads(section: &Section<'_>) -> Option<Hedge> {
    /// Less is no time for any answer to come, and every read would be sent twice.
    const LEAST: Duration = Duration::from_millis(1);
    let read = |text: &str| match text {
        "off" => Some(Hedge::Off),
        "on" => Some(Hedge::Auto),
        _ => units::duration(text).ok().filter(|after| *after >= LEAST).map(Hedge::After),
    };
    section.parsed("reads", "off, on, or a duration such as 50ms", read).map(|placed| placed.value)
}

fn lag_shield(section: &Section<'_>) -> LagShield {
    let mut shield = LagShield::default();
    if let Some(fallback) = section.boolean("fallback") {
        shield.fallback = fallback.value;
    }
    if let Some(window) = section.duration("remember_writes", Duration::ZERO) {
        shield.remember = window;
    }
    shield
}

/// Compiles `"*": {regions: […]}`. The first region is home: writes go there, and reads where it is
/// well, since nothing says that the stores replicate.
fn wildcard(
    context: &Context<'_>,
    entry: &Entry,
    regions: Regions<'_>,
    said: &mut DeclaredPoint,
) -> Option<PlacedPoint> {
    let section = Section::open(context, &entry.value, keys::WILDCARD, "access point `*`")?;
    section.require("regions", "the regions that take any other bucket name");
    let names = section.texts("regions", "the name of a region");
    said.members = names.len();
    let mut members: Vec<Placed<Member>> = Vec::with_capacity(names.len());
    for name in &names {
        let Some(Placed { at, value: region }) = known(context, regions, name) else { continue };
        if members.iter().any(|member| member.value.region == region) {
            context.fault(at, format!("{} is there twice", name.quoted()), "each region once");
        } else {
            members.push(Placed { at, value: Member { region, bucket: None } });
        }
    }
    if section
        .node("regions")
        .is_some_and(|node| matches!(&node.value, Value::List(nodes) if nodes.is_empty()))
    {
        let what = "`regions` of access point `*` is empty";
        context.fault(section.position_of("regions"), what, "at least one region");
    }
    let Placed { at, value: Member { region: home, .. } } = members.first()?.clone();
    let several = members.len() > 1;
    let reads = if several { Order::Home } else { Order::Nearest };
    Some(PlacedPoint {
        members_at: members.iter().map(|placed| placed.at).collect(),
        reads_at: at,
        writes_at: at,
        conditional_writes_at: at,
        versions_at: at,
        point: AccessPoint {
            name: AccessPointName::new(WILDCARD),
            alias: None,
            owner: None,
            members: members.into_iter().map(|placed| placed.value).collect(),
            reads: Rule { order: reads, failover: several },
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
        },
    })
}

fn members(section: &Section<'_>, of: &str, regions: Regions<'_>) -> Vec<Placed<Member>> {
    const EXPECTED: &str = "a map from regions to their buckets";
    section.require("buckets", EXPECTED);
    let Some(node) = section.node("buckets") else { return Vec::new() };
    let context = section.context;
    let entries = named(context, node, &format!("`buckets` of {of}"), EXPECTED);
    if entries.is_empty() && matches!(&node.value, Value::Null | Value::Map(_)) {
        context.fault(section.position_of("buckets"), format!("`buckets` of {of} is empty"), EXPECTED);
    }
    let mut members = Vec::with_capacity(entries.len());
    for Entry { key, key_at, value } in entries {
        let region = known(context, regions, &Text::plain(*key_at, key));
        let of = format!("the bucket of {of} in `{key}`");
        let Some(written) = text(context, value, &of, PHYSICAL_BUCKET) else { continue };
        let bucket = read_bucket(&written.value);
        if bucket.is_none() {
            context.fault(written.at, format!("{of} is {}", written.quoted()), PHYSICAL_BUCKET);
        }
        if let (Some(Placed { at, value: region }), Some(bucket)) = (region, bucket) {
            members.push(Placed { at, value: Member { region, bucket: Some(bucket) } });
        }
    }
    members
}

/// The region that a text names; writes down that there is none.
pub(super) fn known(context: &Context<'_>, regions: Regions<'_>, name: &Text) -> Option<Placed<RegionId>> {
    let found = regions.iter().find(|(id, _)| id.as_str() == name.value);
    if found.is_none() {
        let names = || regions.iter().map(|(id, _)| id.as_str());
        let expected = alternatives(names());
        let what = format!("there is no region {}", quoted_key(&name.written));
        context.fault_near(name.at, what, expected, &name.value, names());
    }
    found.map(|(id, _)| Placed { at: name.at, value: id.clone() })
}

/// One access point's section, and the regions that it has.
struct Scope<'a> {
    section: &'a Section<'a>,
    members: &'a [Placed<Member>],
    /// The names of all, also of those whose bucket is faulty.
    declared: Vec<&'a str>,
}

impl Scope<'_> {
    fn reads(&self) -> Rule {
        let mut rule = Rule { order: Order::Nearest, failover: true };
        let Some(reads) = self.section.section("reads", keys::READS) else { return rule };
        if let Some(order) = self.order(&reads, &[("nearest", Some(Order::Nearest)), ("cheapest", None)]) {
            rule.order = order;
        }
        if let Some(failover) = reads.word("failover", FAILOVER) {
            rule.failover = failover.value;
        }
        rule
    }

    /// The rule of writes, and home: named, or the only region.
    fn writes(&self) -> (Rule, Option<RegionId>) {
        let mut rule = Rule { order: Order::Home, failover: false };
        let only = match self.members {
            [only] => Some(only.value.region.clone()),
            _ => None,
        };
        let Some(writes) = self.section.section("writes", keys::WRITES) else {
            if self.declared.len() > 1 && self.section.node("writes").is_none() {
                self.home_is_missing(self.section.at);
            }
            return (rule, only);
        };
        let words = [("home", Some(Order::Home)), ("nearest", Some(Order::Nearest))];
        if let Some(order) = self.order(&writes, &words) {
            rule.order = order;
        }
        if let Some(failover) = writes.word("failover", FAILOVER) {
            rule.failover = failover.value;
        }
        if writes.node("home").is_none() {
            if self.declared.len() > 1 {
                self.home_is_missing(writes.at);
            }
            return (rule, only);
        }
        let home = writes.text("home", "the name of a region");
        (rule, home.and_then(|home| self.own(&home)))
    }

    fn home_is_missing(&self, at: Position) {
        let expected = format!("`home` of `writes`: {}", alternatives(self.names()));
        self.section.context.fault(at, "no home is named, and there is more than one region", expected);
    }

    /// A word, or a list of the access point's own regions. A word without a meaning is one that
    /// this version does not act on yet.
    fn order(&self, section: &Section<'_>, words: &[(&str, Option<Order>)]) -> Option<Order> {
        let node = section.node("order")?;
        let context = section.context;
        let spellings = words.iter().filter(|(_, order)| order.is_some()).map(|(word, _)| *word);
        let expected = alternatives(spellings.clone().chain(["a list of regions"]));
        if let Value::List(_) = &node.value {
            return self.listed(context, node);
        }
        let written = text(context, node, "`order`", &expected)?;
        match words.iter().find(|(word, _)| *word == written.value) {
            Some((_, Some(order))) => Some(order.clone()),
            Some((word, None)) => {
                let what = format!("`order: {word}` is known, but this version does not act on it yet");
                context.fault(written.at, what, expected);
                None
            }
            None => {
                let what = format!("`order` is {}", written.quoted());
                context.fault_near(written.at, what, expected, &written.value, spellings);
                None
            }
        }
    }

    fn listed(&self, context: &Context<'_>, node: &Node) -> Option<Order> {
        let mut order: Vec<RegionId> = Vec::new();
        let nodes = list(context, node, "`order`", "a list of regions");
        if nodes.is_empty() {
            context.fault(node.at, "`order` is an empty list", "at least one region");
            return None;
        }
        for node in nodes {
            let Some(written) = text(context, node, "an entry of `order`", "the name of a region") else {
                continue;
            };
            match self.own(&written) {
                Some(region) if order.contains(&region) => {
                    context.fault(
                        written.at,
                        format!("{} is there twice", written.quoted()),
                        "each region once",
                    );
                }
                Some(region) => order.push(region),
                None => {}
            }
        }
        Some(Order::List(order))
    }

    /// The access point's own region that a text names; writes down that there is none.
    fn own(&self, name: &Text) -> Option<RegionId> {
        let own = self.names().find(|own| *own == name.value);
        // Without any there is a fault already, and nothing to say here.
        if own.is_none() && !self.declared.is_empty() {
            let what = format!("{} is no region of this access point", name.quoted());
            let expected = alternatives(self.names());
            self.section.context.fault_near(name.at, what, expected, &name.value, self.names());
        }
        own.map(RegionId::new)
    }

    fn names(&self) -> impl Iterator<Item = &str> {
        self.declared.iter().copied()
    }
}

const FAILOVER: &[(&str, bool)] = &[("allow", true), ("refuse", false)];
