//! How the regions are doing, for operators: the status document and the gauges.

use std::collections::{BTreeSet, HashSet};
use std::time::Instant;

use serde_json::{Value, json};
use tracing::{info, warn};

use super::Doors;
use super::worker::Crew;
use crate::clock::Moment;
use crate::dns::accrual::{AddressState, Seen};
use crate::exchange::meters::Meters;
use crate::fleet::{RegionRow, Standing, Subject, Transition};
use crate::names::{CredentialId, RegionId};
use crate::s3::operation::{Class, Kind};
use crate::telemetry::metric::{self, Metric};
use crate::units::UnixSeconds;
use crate::view::View;

/// `GET /api/v1/status`.
pub(super) fn document(view: &View, meters: &Meters, now: Moment) -> Value {
    json!({
        "version": env!("CARGO_PKG_VERSION"),
        "epoch": view.epoch,
        "self_suspect": view.table.self_suspect(),
        "regions": regions(view, now.mono).into_iter().map(|region| with_meters(region, meters, now)).collect::<Vec<_>>(),
        "replication_lag": view.table.lags().iter().map(|lag| json!({
            "from": lag.from.as_str(),
            "to": lag.to.as_str(),
            "lag_ms": lag.lag.as_secs_f64() * 1000.0,
        })).collect::<Vec<_>>(),
        "access_points": view.access_points.iter().map(|point| json!({
            "name": point.name.as_str(),
            "alias": point.alias,
            "home": point.home.as_str(),
            "regions": point.members.iter().map(|member| member.region.as_str()).collect::<Vec<_>>(),
        })).collect::<Vec<_>>(),
    })
}

/// The addresses of one region, with what each of them is fit for.
fn addresses(seen: &[Seen]) -> Value {
    let ms = |duration: Option<std::time::Duration>| duration.map(|d| d.as_secs_f64() * 1000.0);
    let rows = seen.iter().map(|seen| {
        json!({
            "address": seen.address.to_string(),
            "state": seen.state.name(),
            "failures": seen.failures,
            "out_for_ms": ms(seen.out_for),
            "unlisted_for_ms": ms(seen.unlisted_for),
        })
    });
    rows.collect()
}

/// A region's row, with what its meter knows.
fn with_meters(mut row: Value, meters: &Meters, now: Moment) -> Value {
    let meter = row.get("id").and_then(Value::as_str).map(|id| meters.of(&RegionId::new(id)));
    if let (Some(meter), Some(row)) = (meter, row.as_object_mut()) {
        row.insert("addresses".to_owned(), addresses(&meter.addresses.seen(now.mono)));
        row.insert("clock_ahead_s".to_owned(), meter.ahead().into());
        row.insert(
            "certificate_days_left".to_owned(),
            meter.certificate().map(|at| days_left(at, now)).into(),
        );
    }
    row
}

/// Whole days until then; negative once it has passed.
fn days_left(expires: UnixSeconds, now: Moment) -> i64 {
    expires.since(now.wall).div_euclid(DAY)
}

/// Seconds.
const DAY: i64 = 24 * 60 * 60;
/// Days left of a region's certificate below which it is time to say so: two weeks, in which
/// somebody is at work.
const CERTIFICATE_DAYS: i64 = 14;
/// Seconds between our clock and a region's above which it is time to say so: far above what a
/// clock that is kept in time shows, far below the quarter of an hour that stores allow.
const CLOCK_SECONDS: i64 = 60;

/// Every region with its standing, nearest first.
#[must_use]
pub fn regions(view: &View, now: Instant) -> Vec<Value> {
    let ms = |duration: Option<std::time::Duration>| duration.map(|d| d.as_secs_f64() * 1000.0);
    let age = |at: Option<Instant>| ms(at.map(|at| now.saturating_duration_since(at)));
    view.table
        .rows()
        .iter()
        .map(|row| {
            json!({
                "id": row.region.as_str(),
                "reads": row.reads.standing.to_string(),
                "writes": row.writes.standing.to_string(),
                "latency_ms": ms(row.latency_of(Class::Get)),
                "slow": row.slow,
                "rate_limit": row.rate.map(|rate| rate.limit),
                "first_byte_p95_ms": ms(row.quantile_of(Class::Get).map(|known| known.p95)),
                "first_byte_p999_ms": ms(row.quantile_of(Class::Get).map(|known| known.p999)),
                "last_success_ms_ago": age(row.last_success),
                "last_answer_ms_ago": age(row.last_answer),
                "refused_credentials": row.refused_credentials.iter().map(|id| format!("{id:?}")).collect::<Vec<_>>(),
                "refused_configurations":
                    row.refused_configurations.iter().map(ToString::to_string).collect::<Vec<_>>(),
            })
        })
        .collect()
}

/// Counts a change of standing.
pub(super) fn announce(transition: &Transition) {
    let Subject::Kind(kind) = &transition.subject else { return };
    let values = [transition.region.as_str(), word(*kind), &transition.to.to_string()];
    metric::counter(Metric::RegionTransitions, &values).increment(1);
}

fn word(kind: Kind) -> &'static str {
    match kind {
        Kind::Read => "reads",
        Kind::Write => "writes",
    }
}

fn rank(standing: Standing) -> f64 {
    match standing {
        Standing::Out => 0.0,
        Standing::Probation => 1.0,
        Standing::Unknown => 2.0,
        Standing::Suspect => 3.0,
        Standing::Healthy => 4.0,
    }
}

/// One gauge's series: which, and the values of its labels.
type Series = (Metric, Vec<String>);

/// The gauges that nobody pushes, read from what is in force whenever somebody looks.
pub(super) struct Gauges {
    crew: Crew,
    doors: Doors,
    /// What was shown the last time: a region, a credential or an access point that is there no more
    /// must not stay as it was.
    shown: HashSet<Series>,
}

impl Gauges {
    pub(super) fn new(crew: Crew, doors: Doors) -> Self {
        Self { crew, doors, shown: HashSet::new() }
    }

    /// Sets them all.
    pub(super) fn read(&mut self) {
        self.of_process();
        let view = self.crew.view.load_full();
        show(Metric::SelfSuspect, &[], if view.table.self_suspect() { 1.0 } else { 0.0 });
        let mut shown = HashSet::new();
        let mut set = |metric, labels: &[&str], value| {
            show(metric, labels, value);
            shown.insert((metric, labels.iter().map(|label| (*label).to_owned()).collect()));
        };
        for row in view.table.rows() {
            self.of_region(row, &mut set);
        }
        for lag in view.table.lags() {
            set(Metric::RegionLag, &[lag.from.as_str(), lag.to.as_str()], lag.lag.as_secs_f64());
        }
        for (metric, labels) in self.shown.difference(&shown) {
            let labels: Vec<&str> = labels.iter().map(String::as_str).collect();
            show(*metric, &labels, neutral(*metric));
        }
        self.shown = shown;
    }

    fn of_process(&self) {
        let Self { crew, doors, .. } = self;
        for door in doors.now().iter() {
            if let Some(expiry) = door.terms().tls.as_ref().and_then(|tls| tls.expiry()) {
                #[expect(clippy::cast_precision_loss, reason = "a Unix time is far below 2^52")]
                metric::gauge(Metric::CertificateExpiry, &[&door.address().to_string()]).set(expiry.0 as f64);
            }
        }
        #[expect(clippy::cast_precision_loss, reason = "bytes of one machine's memory")]
        metric::gauge(Metric::ReplayBytes, &[]).set(crew.replays.in_use() as f64);
        #[expect(clippy::cast_precision_loss, reason = "a Unix time is far below 2^52")]
        metric::gauge(Metric::ClockCorrection, &[])
            .set(crew.meters.common_clock.correction(crew.clock.now()) as f64);
        metric::gauge(Metric::RequestsInFlight, &[]).set(f64::from(crew.places.taken()));
        #[expect(clippy::cast_precision_loss, reason = "bytes of one machine's memory")]
        metric::gauge(Metric::DocumentBytes, &[]).set(crew.documents.in_use() as f64);
        metric::counter(Metric::EventsDropped, &[]).absolute(crew.steward.dropped());
        if let Some(expires) = crew.credentials.chain_state().and_then(|state| state.expires) {
            #[expect(clippy::cast_precision_loss, reason = "a Unix time is far below 2^52")]
            metric::gauge(Metric::CredentialExpiry, &["all", "chain"]).set(expires.0 as f64);
        }
    }

    fn of_region(&self, row: &RegionRow, set: &mut dyn FnMut(Metric, &[&str], f64)) {
        let region = row.region.as_str();
        for kind in [Kind::Read, Kind::Write] {
            set(Metric::RegionStanding, &[region, word(kind)], rank(row.of(kind).standing));
        }
        if let Some(latency) = row.latency_of(Class::Get) {
            set(Metric::RegionLatency, &[region], latency.as_secs_f64());
        }
        let flag = |raised: bool| if raised { 1.0 } else { 0.0 };
        set(Metric::RegionSlow, &[region], flag(row.slow));
        set(Metric::RegionRateLimit, &[region], row.rate.map_or(0.0, |rate| rate.limit));
        set(Metric::ProbeContradicted, &[region], flag(row.probe_contradicted));
        let meter = self.crew.meters.of(&row.region);
        #[expect(clippy::cast_precision_loss, reason = "at most a day of seconds")]
        set(Metric::RegionSkew, &[region], meter.ahead() as f64);
        if let Some(expires) = meter.certificate() {
            #[expect(clippy::cast_precision_loss, reason = "days of a certificate")]
            set(Metric::RegionCertificateDays, &[region], days_left(expires, self.crew.clock.now()) as f64);
        }
        let in_flight = u32::try_from(meter.in_flight()).unwrap_or(u32::MAX);
        set(Metric::RegionInFlight, &[region], f64::from(in_flight));
        self.of_addresses(row, set);
        for credential in &row.refused_credentials {
            let name = match credential {
                CredentialId::Region => "region",
                CredentialId::Client(name) => name.as_str(),
            };
            set(Metric::CredentialOut, &[region, name], 1.0);
        }
        for access_point in &row.refused_configurations {
            set(Metric::ConfigurationOut, &[region, access_point.as_str()], 1.0);
        }
    }
}

impl Gauges {
    fn of_addresses(&self, row: &RegionRow, set: &mut dyn FnMut(Metric, &[&str], f64)) {
        let (crew, region) = (&self.crew, row.region.as_str());
        let seen = crew.meters.of(&row.region).addresses.seen(crew.clock.mono());
        let listed = seen.iter().filter(|seen| seen.unlisted_for.is_none());
        let out = listed.clone().filter(|seen| seen.state == AddressState::Out).count();
        for (state, count) in [("known", listed.count()), ("out", out)] {
            #[expect(clippy::cast_precision_loss, reason = "a few dozen")]
            set(Metric::RegionAddresses, &[region, state], count as f64);
        }
        let view = crew.view.load();
        let host = view.region(&row.region).map(|settings| settings.endpoint.host.as_str());
        if let Some(age) = host.and_then(|host| crew.resolver.age(host)) {
            set(Metric::DnsAnswerAge, &[region], age.as_secs_f64());
        }
    }
}

fn show(metric: Metric, labels: &[&str], value: f64) {
    metric::gauge(metric, labels).set(value);
}

/// What a series says whose subject is gone: nothing to be alarmed about.
fn neutral(metric: Metric) -> f64 {
    match metric {
        Metric::RegionStanding => rank(Standing::Unknown),
        // none left would be an alarm
        Metric::RegionCertificateDays => f64::NAN,
        _ => 0.0,
    }
}

/// What operators were warned of, so that it is said once and not every few seconds.
#[derive(Debug, Default)]
pub(super) struct Warned {
    clocks: BTreeSet<RegionId>,
    certificates: BTreeSet<RegionId>,
    /// Requests refused for want of room, at the last look.
    shed: u64,
    /// The same at the beginning of an overload that goes on.
    overload: Option<u64>,
}

/// Warns of overload, of clocks that are wrong and of certificates that are about to expire.
pub(super) fn warn_in_time(crew: &Crew, warned: &mut Warned) {
    let view = crew.view.load();
    let now = crew.clock.now();
    tell_of_overload(crew, view.limits.in_flight, warned);
    let regions: Vec<_> =
        view.regions.iter().map(|settings| (settings.id.clone(), crew.meters.of(&settings.id))).collect();
    let aheads: Vec<i64> = regions.iter().map(|(_, meter)| meter.ahead()).collect();
    for (region, meter) in &regions {
        let ahead = meter.ahead();
        if ahead.abs() <= CLOCK_SECONDS {
            warned.clocks.remove(region);
        } else if warned.clocks.insert(region.clone()) {
            let hint = whose_clock(&aheads);
            warn!(%region, seconds = ahead, hint, "a region's clock is ahead of ours by this much; what is signed for it is dated by its clock");
        }
        let days = meter.certificate().map(|expires| days_left(expires, now));
        match days.filter(|days| *days <= CERTIFICATE_DAYS) {
            None => drop(warned.certificates.remove(region)),
            Some(days) => {
                if warned.certificates.insert(region.clone()) {
                    warn!(%region, days, hint = "renew it: once it has expired the region is not spoken to", "a region's certificate is about to expire");
                }
            }
        }
    }
}

/// Says when requests begin to be refused for want of room, and when that is over.
fn tell_of_overload(crew: &Crew, limit: u32, warned: &mut Warned) {
    let shed = crew.places.shed();
    let before = std::mem::replace(&mut warned.shed, shed);
    match warned.overload {
        None if shed > before => {
            warned.overload = Some(before);
            let (refused, at_work) = (shed - before, crew.places.taken());
            warn!(
                refused,
                at_work,
                limit,
                hint =
                    "the access log says why (cause), nearpoint_requests_shed_total how many of which class",
                "overload: requests are answered 503 SlowDown"
            );
        }
        Some(since) if shed == before => {
            warned.overload = None;
            info!(refused = shed - since, "overload is over");
        }
        None | Some(_) => {}
    }
}

/// Where to look for the clock that is wrong.
fn whose_clock(aheads: &[i64]) -> &'static str {
    let most = aheads.iter().max().zip(aheads.iter().min());
    let agree = aheads.len() > 1 && most.is_some_and(|(most, least)| most - least <= CLOCK_SECONDS);
    if agree {
        "all regions say so: set this machine's clock (chronyc tracking, timedatectl); from five minutes on clients are judged by theirs"
    } else {
        "other regions disagree, or there is none to ask: check the store's clock, then this machine's"
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_clock_that_is_wrong_is_the_one_that_disagrees() {
        assert!(whose_clock(&[1_200, 1_201]).contains("this machine's clock ("));
        assert!(whose_clock(&[1_200, 0]).contains("the store's clock"));
        assert!(whose_clock(&[1_200]).contains("the store's clock"));
    }
}
