//! How the regions are doing, for operators: the status document and the gauges.

use std::sync::Arc;
use std::time::Instant;

use serde_json::{Value, json};

use super::worker::Crew;
use crate::fleet::{RegionRow, Standing, Subject, Transition};
use crate::listen::Door;
use crate::names::CredentialId;
use crate::s3::operation::{Class, Kind};
use crate::telemetry::metric::{self, Metric};
use crate::view::View;

/// `GET /api/v1/status`.
pub(super) fn document(view: &View, now: Instant) -> Value {
    json!({
        "version": env!("CARGO_PKG_VERSION"),
        "epoch": view.epoch,
        "self_suspect": view.table.self_suspect(),
        "regions": regions(view, now),
        "access_points": view.access_points.iter().map(|point| json!({
            "name": point.name.as_str(),
            "alias": point.alias,
            "home": point.home.as_str(),
            "regions": point.members.iter().map(|member| member.region.as_str()).collect::<Vec<_>>(),
        })).collect::<Vec<_>>(),
    })
}

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
    let in_flight = u32::try_from(crew.meters.of(&row.region).in_flight()).unwrap_or(u32::MAX);
    metric::gauge(Metric::RegionInFlight, &[region]).set(f64::from(in_flight));
}
