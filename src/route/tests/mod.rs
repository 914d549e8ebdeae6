#![expect(clippy::disallowed_methods, reason = "tests need some instant to count from")]

mod memory;
mod plans;
mod settle;
mod shield;
mod verdicts;

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::chance::Coin;
use crate::fleet::{Event, Fleet, FleetSettings, Never, ProbeFault, RegionTable, Signal};
use crate::names::{AccessPointName, BucketName, CredentialId, RegionId};
use crate::s3::call::Target;
use crate::s3::operation::{Class, Kind};
use crate::s3::profile::{Feature, Features};
use crate::s3::{Call, Operation};

use super::*;

/// Three regions, `near` nearer than `home`, `home` nearer than `far`; on a clock of its own.
struct Rig {
    fleet: Fleet,
    now: Instant,
    coin: Coin,
    access_point: AccessPoint,
    lacks: Vec<(&'static str, Feature)>,
    tried: Vec<RegionId>,
    attempts: usize,
}

const NEAR: &str = "near";
const HOME: &str = "home";
const FAR: &str = "far";

impl Rig {
    fn new() -> Self {
        let now = Instant::now();
        let names = [HOME, NEAR, FAR];
        let ids: Vec<RegionId> = names.iter().map(|name| RegionId::new(name)).collect();
        let member = |name: &&str| Member {
            region: RegionId::new(name),
            bucket: Some(BucketName::new(&format!("photos-{name}"))),
        };
        let access_point = AccessPoint {
            name: AccessPointName::new("photos"),
            alias: None,
            owner: None,
            members: names.iter().map(member).collect(),
            reads: Rule { order: Order::Nearest, failover: true },
            writes: Rule { order: Order::Home, failover: false },
            home: HOME.into(),
            conditional_writes: ConditionalWrites::Home,
            replication: Replication::TwoWay,
            versions: Versions::PerRegion,
            etags: Etags::Opaque,
            hedge: Hedge::Off,
            write_nonce: true,
            etag_check: EtagCheck::Auto,
            lag_shield: LagShield::default(),
        };
        let mut rig = Self {
            fleet: Fleet::new(FleetSettings::default(), &ids, now),
            now,
            coin: Coin::seeded(1),
            access_point,
            lacks: Vec::new(),
            tried: Vec::new(),
            attempts: 3,
        };
        for (region, ttfb) in [(HOME, 40), (NEAR, 5), (FAR, 90)] {
            rig.apply(Event::Probed { region: region.into(), alive: Ok(Duration::from_millis(ttfb)) });
        }
        rig.wait(1_000);
        rig
    }

    fn apply(&mut self, event: Event) {
        drop(self.fleet.apply(event, self.now, &mut self.coin));
    }

    fn wait(&mut self, millis: u64) {
        self.now += Duration::from_millis(millis);
        drop(self.fleet.tick(self.now));
    }

    fn kill(&mut self, region: &str) {
        for _ in 0..3 {
            let alive = Err(ProbeFault::Never(Never::Refused));
            self.apply(Event::Probed { region: region.into(), alive });
        }
    }

    /// Passes probes until the region may be tried by requests.
    fn revive(&mut self, region: &str) {
        self.wait(5_000);
        for _ in 0..5 {
            self.apply(Event::Probed { region: region.into(), alive: Ok(Duration::from_millis(5)) });
        }
    }

    fn answer(&mut self, region: &str, kind: Kind) {
        self.tell(region, kind, Signal::Answered { ttfb: None }, 1);
    }

    fn unanswered(&mut self, region: &str, kind: Kind, key_hash: u64) {
        self.tell(region, kind, Signal::NeverAnswered(Never::Reset), key_hash);
    }

    fn tell(&mut self, region: &str, kind: Kind, signal: Signal, key_hash: u64) {
        self.apply(Event::Answered {
            region: region.into(),
            kind,
            class: Class::Get,
            key_hash,
            signal,
            at: self.now,
            count: 1,
        });
    }

    fn table(&self) -> RegionTable {
        self.fleet.table(self.now)
    }

    fn try_plan(&mut self, call: Call, affinity: Affinity) -> Result<Plan, NoRoute> {
        let access_point = Arc::new(self.access_point.clone());
        let permit = Permit::granted(access_point, None, Arc::new(call), affinity);
        let table = self.table();
        let lacks = self.lacks.clone();
        let honours = |region: &RegionId| {
            let lacking = lacks.iter().filter(|(name, _)| *name == region.as_str());
            lacking
                .fold(Features::of(&Feature::ALL), |set, (_, feature)| set.without(Features::of(&[*feature])))
        };
        let scene = Scene {
            table: &table,
            honours: &honours,
            tried: &self.tried,
            attempts: self.attempts,
            now: self.now,
        };
        plan(&permit, &scene, &mut self.coin)
    }

    fn plan(&mut self, operation: Operation) -> Plan {
        self.try_plan(object(operation), Affinity::None).unwrap()
    }

    fn regions(&mut self, operation: Operation) -> Vec<String> {
        names(&self.plan(operation))
    }

    fn refusal(&mut self, operation: Operation) -> NoRoute {
        self.try_plan(object(operation), Affinity::None).unwrap_err()
    }
}

fn object(operation: Operation) -> Call {
    let (raw_key, key) = ("cat.jpg".to_owned(), b"cat.jpg".to_vec());
    Call::new(operation, Target::Object { bucket: "photos".to_owned(), raw_key, key })
}

fn names(plan: &Plan) -> Vec<String> {
    plan.steps.iter().map(|step| step.region.to_string()).collect()
}
