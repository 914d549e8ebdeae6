//! What must hold between sections, and what works but hardly as meant.

use super::access_points::{DeclaredPoint, PlacedPoint};
use super::clients;
use super::compile::Parts;
use super::context::Context;
use super::fault::Position;
use super::section::quoted_key;
use crate::listen::Anonymous;
use crate::names::{BucketName, RegionId};
use crate::route::{AccessPoint, ConditionalWrites, Order, Replication, Versions};
use crate::s3::operation::Kind;
use crate::s3::profile::Addressing;

/// Checks everything.
pub(super) fn check(context: &Context<'_>, parts: &Parts) {
    names(context, &parts.declared_points);
    tokens(context, parts);
    somebody_may_come_in(context, parts);
    bucketless_writes(context, parts);
    // Faulty parts are left out above; doubts about the rest would mislead.
    if context.is_sound() {
        doubts(context, parts);
    }
}

fn doubts(context: &Context<'_>, parts: &Parts) {
    for placed in &parts.access_points {
        replication(context, placed);
        left_out(context, placed);
    }
    shared_buckets(context, &parts.access_points);
    dotted_buckets(context, parts);
    idle_regions(context, parts);
    idle_listeners(context, parts);
    let names: Vec<_> = parts.access_points.iter().map(|placed| placed.point.name.as_str()).collect();
    let wildcard = parts.access_points.iter().any(|placed| placed.point.is_wildcard());
    clients::doubts(context, &parts.clients, &names, wildcard);
}

/// A write probe needs a bucket to write to.
fn bucketless_writes(context: &Context<'_>, parts: &Parts) {
    for placed in &parts.regions {
        let region = &placed.value;
        let mut points = parts.access_points.iter().map(|placed| &placed.point);
        let has_bucket = region.probe.bucket.is_some()
            || points.any(|point| point.member(&region.id).is_some_and(|member| member.bucket.is_some()));
        if region.probe.write.is_some() && !has_bucket {
            let what = format!("`probe.write` of region `{}` has no bucket to write to", region.id);
            context.fault(placed.at, what, "`probe.bucket` beside it");
        }
    }
}

/// Each region is probed in its own bucket of the first named access point, unless it says where.
pub(super) fn fill_probe_buckets(parts: &mut Parts) {
    for region in &mut parts.regions {
        let region = &mut region.value;
        if region.probe.bucket.is_none() {
            let mut points = parts.access_points.iter().map(|placed| &placed.point);
            region.probe.bucket =
                points.find_map(|point| point.member(&region.id).and_then(|member| member.bucket.clone()));
        }
    }
}

/// Names and aliases are one name space.
fn names(context: &Context<'_>, points: &[DeclaredPoint]) {
    let aliases: Vec<_> = points.iter().filter_map(|point| point.alias.as_ref()).collect();
    for (n, alias) in aliases.iter().enumerate() {
        let taken = points.iter().any(|point| point.name == alias.value)
            || aliases.iter().take(n).any(|earlier| earlier.value == alias.value);
        if taken {
            let what = format!("`{}` is the name or the alias of another access point", alias.value);
            context.fault(alias.at, what, "a name that no access point has");
        }
    }
}

/// Upload ids and listing tokens of several regions must be read by every gateway.
fn tokens(context: &Context<'_>, parts: &Parts) {
    let several = parts.declared_points.iter().find(|point| point.members > 1);
    let local = parts.listeners.iter().all(|listener| listener.settings.address.is_local());
    if let (Some(point), false, false) = (several, parts.tokens_named, local) {
        let what = format!(
            "access point {} has several regions, and a listener is reachable from beyond this machine",
            quoted_key(&point.name)
        );
        context.fault(parts.at, what, "`tokens: {keys: […]}`, the same list on every gateway");
    }
}

/// A listener that asks for signatures needs somebody who can sign.
fn somebody_may_come_in(context: &Context<'_>, parts: &Parts) {
    if parts.clients_named > 0 {
        return;
    }
    let shut = |listener: &&super::listeners::PlacedListener| {
        listener.settings.verify && listener.settings.anonymous == Anonymous::Deny
    };
    for listener in parts.listeners.iter().filter(shut) {
        let what = format!(
            "the listener at {} takes signed requests only, and there are no clients",
            listener.settings.address
        );
        context.fault(listener.at, what, "`clients` with their keys, or `verify: off` for this listener");
    }
}

/// Settings that need more replication than the stores are said to do.
fn replication(context: &Context<'_>, placed: &PlacedPoint) {
    let PlacedPoint { point, reads_at, writes_at, conditional_writes_at, versions_at, .. } = placed;
    // the wildcard goes by home, and has nothing to say
    if point.members.len() < 2 || point.is_wildcard() {
        return;
    }
    let name = &point.name;
    let needs = |at: Position, what: &str, needed: &str| {
        let written = context.written("replication", needed);
        context.warn(at, format!("access point `{name}`: {what}; say so with {written} if the stores do"));
    };
    if point.may_move(Kind::Write) && point.replication != Replication::TwoWay {
        let setting = if point.writes.failover { "failover: allow" } else { "order: nearest" };
        let what = format!(
            "writes with `{setting}` land in several regions, and reach the others only by two-way replication"
        );
        needs(*writes_at, &what, "two_way");
    }
    if point.replication == Replication::None && reads_elsewhere(point) {
        needs(
            *reads_at,
            "reads are answered by several regions, whose objects differ without replication",
            "one_way or two_way",
        );
    }
    if point.replication == Replication::None && point.versions == Versions::Shared {
        needs(*versions_at, "`versions: shared` means ids that replication keeps", "two_way");
    }
    if point.conditional_writes == ConditionalWrites::Nearest {
        let what = format!(
            "access point `{name}`: `conditional_writes: nearest` is unsafe, since two regions can both say yes"
        );
        context.warn(*conditional_writes_at, what);
    }
}

/// Whether reads can be answered by more than one region.
fn reads_elsewhere(point: &AccessPoint) -> bool {
    let listed = match &point.reads.order {
        Order::List(regions) => regions.len(),
        Order::Nearest | Order::Home => point.members.len(),
    };
    listed > 1 && (point.reads.failover || point.reads.order == Order::Nearest)
        || matches!(&point.reads.order, Order::List(regions) if !regions.contains(&point.home))
}

/// A list leaves regions out: meant, perhaps.
fn left_out(context: &Context<'_>, placed: &PlacedPoint) {
    let point = &placed.point;
    for (rule, at, what) in
        [(&point.reads, placed.reads_at, "reads"), (&point.writes, placed.writes_at, "writes")]
    {
        let Order::List(listed) = &rule.order else { continue };
        for member in point.members.iter().filter(|member| !listed.contains(&member.region)) {
            let region = &member.region;
            context.warn(
                at,
                format!(
                    "access point `{}`: `{region}` is not in the order of {what} and takes none",
                    point.name
                ),
            );
        }
    }
}

/// Two access points over one bucket: each shows and changes what the other has.
fn shared_buckets(context: &Context<'_>, points: &[PlacedPoint]) {
    let mut seen: Vec<(&RegionId, &BucketName, &AccessPoint)> = Vec::new();
    for placed in points {
        for (member, at) in placed.point.members.iter().zip(&placed.members_at) {
            let Some(bucket) = &member.bucket else { continue };
            let region = &member.region;
            if let Some((_, _, other)) = seen.iter().find(|(r, b, _)| *r == region && *b == bucket) {
                let what = format!(
                    "access points `{}` and `{}` share bucket `{bucket}` of `{region}`",
                    other.name, placed.point.name
                );
                context.warn(*at, what);
            }
            seen.push((region, bucket, &placed.point));
        }
    }
}

/// `a.b.s3.example.com` is beyond a certificate for `*.s3.example.com`.
fn dotted_buckets(context: &Context<'_>, parts: &Parts) {
    for placed in &parts.access_points {
        for (member, at) in placed.point.members.iter().zip(&placed.members_at) {
            let region =
                parts.regions.iter().map(|region| &region.value).find(|region| region.id == member.region);
            let hidden = region.is_some_and(|region| {
                region.endpoint.tls && region.profile.addressing == Addressing::Virtual
            });
            if let (true, Some(bucket)) = (hidden, &member.bucket)
                && !Addressing::Virtual.is_in_host(bucket.as_str())
            {
                let what = format!(
                    "bucket `{bucket}` has dots, which wildcard certificates do not cover: \
                     region `{}` may need `addressing: path`",
                    member.region
                );
                context.warn(*at, what);
            }
        }
    }
}

/// What is let in unverified reaches named access points only.
fn idle_listeners(context: &Context<'_>, parts: &Parts) {
    if parts.access_points.iter().any(|placed| !placed.point.is_wildcard()) {
        return;
    }
    for listener in &parts.listeners {
        let settings = &listener.settings;
        let how = match (settings.verify, settings.anonymous) {
            (false, _) => "`verify: off`",
            (true, Anonymous::Sign) => "`anonymous: sign`",
            (true, Anonymous::Deny | Anonymous::Forward) => continue,
        };
        let what = format!(
            "the listener at {} has {how}, which reaches named access points only, and there is `*` alone: \
             such requests will all be refused",
            settings.address
        );
        context.warn(listener.at, what);
    }
}

fn idle_regions(context: &Context<'_>, parts: &Parts) {
    for region in &parts.regions {
        let id = &region.value.id;
        let mut points = parts.access_points.iter().map(|placed| &placed.point);
        if !parts.access_points.is_empty() && points.all(|point| point.member(id).is_none()) {
            context.warn(region.at, format!("region `{id}` is in no access point"));
        }
    }
}
