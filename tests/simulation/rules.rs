//! What the operator has configured: access points that differ in what they allow, and that change.

use std::sync::Arc;

use nearpoint::chance::Coin;
use nearpoint::fleet::RegionTable;
use nearpoint::names::{AccessPointName, BucketName, RegionId};
use nearpoint::route::{
    AccessPoint, Affinity, ConditionalWrites, EtagCheck, Etags, Hedge, LagShield, Member, Order, Replication,
    Rule, Versions,
};
use nearpoint::s3::Call;
use nearpoint::s3::operation::Kind;

use crate::regions::below;

/// Three access points over these regions. `home` is among them.
pub(crate) fn at_first(ids: &[RegionId], home: &RegionId) -> Vec<Arc<AccessPoint>> {
    let plain = named("plain", ids, home);
    let free = AccessPoint {
        reads: Rule { order: Order::Home, failover: true },
        writes: Rule { order: Order::Nearest, failover: true },
        ..named("free", ids, home)
    };
    let last_and_home = Order::List([ids.last(), Some(home)].into_iter().flatten().cloned().collect());
    let listed =
        AccessPoint { writes: Rule { order: last_and_home, failover: true }, ..named("listed", ids, home) };
    [plain, free, listed].into_iter().map(Arc::new).collect()
}

fn named(name: &str, ids: &[RegionId], home: &RegionId) -> AccessPoint {
    let member =
        |id: &RegionId| Member { region: id.clone(), bucket: Some(BucketName::new(&format!("b-{id}"))) };
    AccessPoint {
        name: AccessPointName::new(name),
        alias: None,
        owner: None,
        members: ids.iter().map(member).collect(),
        reads: Rule { order: Order::Nearest, failover: true },
        writes: Rule { order: Order::Home, failover: false },
        home: home.clone(),
        conditional_writes: ConditionalWrites::Home,
        replication: Replication::TwoWay,
        versions: Versions::PerRegion,
        etags: Etags::Opaque,
        hedge: Hedge::Off,
        write_nonce: true,
        etag_check: EtagCheck::Auto,
        lag_shield: LagShield::default(),
    }
}

/// The same access points, as the operator wants them from now on.
pub(crate) fn changed(ids: &[RegionId], home: &RegionId, coin: &mut Coin) -> Vec<Arc<AccessPoint>> {
    let mut points = Vec::new();
    for point in at_first(ids, home) {
        let mut point = AccessPoint::clone(&point);
        let spared = below(4 * ids.len(), coin);
        if ids.get(spared).is_some_and(|region| region != home) && ids.len() > 2 {
            point.members.remove(spared);
        }
        if coin.lands(0.5) {
            point.reads = rule(&point, 0.8, coin);
        }
        if coin.lands(0.5) {
            point.writes = rule(&point, 0.5, coin);
        }
        points.push(Arc::new(point));
    }
    points
}

fn rule(point: &AccessPoint, failover: f64, coin: &mut Coin) -> Rule {
    let order = match below(3, coin) {
        0 => Order::Nearest,
        1 => Order::Home,
        _ => {
            let mut listed: Vec<RegionId> =
                point.members.iter().map(|member| member.region.clone()).collect();
            let last = below(listed.len(), coin);
            listed.rotate_left(last);
            listed.truncate(listed.len().min(1 + below(listed.len(), coin)));
            Order::List(listed)
        }
    };
    Rule { order, failover: coin.lands(failover) }
}

/// Where a request may go, by the words of the configuration: nothing here knows of health.
pub(crate) fn allowed(
    call: &Call,
    point: &AccessPoint,
    affinity: &Affinity,
    table: &RegionTable,
) -> Vec<RegionId> {
    if let Affinity::Region(region) = affinity {
        return vec![region.clone()];
    }
    let kind = call.facts().kind;
    if kind == Kind::Write && call.conditional_write {
        return vec![point.home.clone()];
    }
    let rule = if kind == Kind::Write { &point.writes } else { &point.reads };
    let all = || point.members.iter().map(|member| member.region.clone()).collect();
    let mut regions: Vec<RegionId> = match &rule.order {
        Order::Nearest | Order::Home => all(),
        Order::List(listed) => listed.clone(),
    };
    let moves = rule.failover || (kind == Kind::Write && rule.order == Order::Nearest);
    if !moves {
        let first = match &rule.order {
            Order::Nearest => {
                table.nearest().find(|region| regions.contains(*region)).or(regions.first()).cloned()
            }
            Order::Home => Some(point.home.clone()),
            Order::List(listed) => listed.first().cloned(),
        };
        regions = first.into_iter().collect();
    }
    regions
}

/// Whether a read may go to any of the regions that are named for it.
pub(crate) fn reads_move(point: &AccessPoint) -> bool {
    point.reads.failover
}
