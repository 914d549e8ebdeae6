//! How the regions are doing, for operators: the status document and the gauges.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Instant;

use serde_json::{Value, json};
use tracing::warn;

use super::worker::Crew;
use crate::clock::Moment;
use crate::exchange::meters::Meters;
use crate::fleet::{RegionRow, Standing, Subject, Transition};
use crate::listen::Door;
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

/// A region's row, with what its meter knows.
fn with_meters(mut row: Value, meters: &Meters, now: Moment) -> Value {
    let meter = row["id"].as_str().map(|id| meters.of(&RegionId::new(id)));
    if let (Some(meter), Some(row)) = (meter, row.as_object_mut()) {
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
    let out = if transition.to == Standing::Out { 1.0 } else { 0.0 };
    let kind = match &transition.subject {
        Subject::Kind(kind) => *kind,
        Subject::Credential(credential) => {
            let credential = match credential {
                CredentialId::Region => "region",
                CredentialId::Client(name) => name.as_str(),
            };
            return metric::gauge(Metric::CredentialOut, &[transition.region.as_str(), credential]).set(out);
        }
        Subject::Configuration(access_point) => {
            let values = [transition.region.as_str(), access_point.as_str()];
            return metric::gauge(Metric::ConfigurationOut, &values).set(out);
        }
        Subject::Nearest => return,
        Subject::Speed => {
            let slow = if transition.to == Standing::Suspect { 1.0 } else { 0.0 };
            return metric::gauge(Metric::RegionSlow, &[transition.region.as_str()]).set(slow);
        }
        Subject::Probes => {
            return metric::gauge(Metric::ProbeContradicted, &[transition.region.as_str()]).set(out);
        }
        Subject::Ourselves => {
            let suspect = if transition.to == Standing::Suspect { 1.0 } else { 0.0 };
            return metric::gauge(Metric::SelfSuspect, &[]).set(suspect);
        }
    };
    let (region, kind) = (transition.region.as_str(), word(kind));
    metric::gauge(Metric::RegionStanding, &[region, kind]).set(rank(transition.to));
    let to = transition.to.to_string();
    metric::counter(Metric::RegionTransitions, &[region, kind, &to]).increment(1);
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

/// Sets what nobody pushes.
pub(super) fn gauges(crew: &Crew, doors: &[Arc<Door>]) {
    for door in doors {
        if let Some(expiry) = door.tls().and_then(|tls| tls.expiry()) {
            #[expect(clippy::cast_precision_loss, reason = "a Unix time is far below 2^52")]
            metric::gauge(Metric::CertificateExpiry, &[&door.address().to_string()]).set(expiry.0 as f64);
        }
    }
    let view = crew.view.load();
    for row in view.table.rows() {
        of_region(row, crew);
    }
    let suspect = if view.table.self_suspect() { 1.0 } else { 0.0 };
    metric::gauge(Metric::SelfSuspect, &[]).set(suspect);
    #[expect(clippy::cast_precision_loss, reason = "bytes of one machine's memory")]
    metric::gauge(Metric::ReplayBytes, &[]).set(crew.replays.in_use() as f64);
    let in_flight = crew.in_flight.load(std::sync::atomic::Ordering::Relaxed);
    metric::gauge(Metric::RequestsInFlight, &[]).set(f64::from(in_flight));
    metric::counter(Metric::EventsDropped, &[]).absolute(crew.steward.dropped());
    if let Some(expires) = crew.credentials.chain_state().and_then(|state| state.expires) {
        #[expect(clippy::cast_precision_loss, reason = "a Unix time is far below 2^52")]
        metric::gauge(Metric::CredentialExpiry, &["all", "chain"]).set(expires.0 as f64);
    }
}

fn of_region(row: &RegionRow, crew: &Crew) {
    let region = row.region.as_str();
    for kind in [Kind::Read, Kind::Write] {
        metric::gauge(Metric::RegionStanding, &[region, word(kind)]).set(rank(row.of(kind).standing));
    }
    if let Some(latency) = row.latency_of(Class::Get) {
        metric::gauge(Metric::RegionLatency, &[region]).set(latency.as_secs_f64());
    }
    let meter = crew.meters.of(&row.region);
    metric::gauge(Metric::RegionSlow, &[region]).set(if row.slow { 1.0 } else { 0.0 });
    metric::gauge(Metric::RegionRateLimit, &[region]).set(row.rate.map_or(0.0, |rate| rate.limit));
    #[expect(clippy::cast_precision_loss, reason = "at most a day of seconds")]
    metric::gauge(Metric::RegionSkew, &[region]).set(meter.ahead() as f64);
    if let Some(expires) = meter.certificate() {
        #[expect(clippy::cast_precision_loss, reason = "days of a certificate")]
        metric::gauge(Metric::RegionCertificateDays, &[region])
            .set(days_left(expires, crew.clock.now()) as f64);
    }
    let in_flight = u32::try_from(meter.in_flight()).unwrap_or(u32::MAX);
    metric::gauge(Metric::RegionInFlight, &[region]).set(f64::from(in_flight));
}

/// What operators were warned of, so that it is said once and not every few seconds.
#[derive(Debug, Default)]
pub(super) struct Warned {
    clocks: BTreeSet<RegionId>,
    certificates: BTreeSet<RegionId>,
}

/// Warns of clocks that are wrong and of certificates that are about to expire.
pub(super) fn warn_in_time(crew: &Crew, warned: &mut Warned) {
    let view = crew.view.load();
    let now = crew.clock.now();
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

/// Where to look for the clock that is wrong.
fn whose_clock(aheads: &[i64]) -> &'static str {
    let most = aheads.iter().max().zip(aheads.iter().min());
    let agree = aheads.len() > 1 && most.is_some_and(|(most, least)| most - least <= CLOCK_SECONDS);
    if agree {
        "all regions say so: set this machine's clock (chronyc tracking, timedatectl)"
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
