//! How the regions are doing, for operators: the status document and the gauges.

use std::collections::HashSet;
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
    doors: Vec<Arc<Door>>,
    /// What was shown the last time: a region, a credential or an access point that is there no more
    /// must not stay as it was.
    shown: HashSet<Series>,
}

impl Gauges {
    pub(super) fn new(crew: Crew, doors: Vec<Arc<Door>>) -> Self {
        Self { crew, doors, shown: HashSet::new() }
    }

    /// Sets them all.
    pub(super) fn read(&mut self) {
        self.of_process();
        let view = self.crew.view.load_full();
        let mut shown = HashSet::new();
        for row in view.table.rows() {
            self.of_region(row, &mut |metric, labels, value| {
                show(metric, labels, value);
                shown.insert((metric, labels.iter().map(|label| (*label).to_owned()).collect()));
            });
        }
        for (metric, labels) in self.shown.difference(&shown) {
            let labels: Vec<&str> = labels.iter().map(String::as_str).collect();
            show(*metric, &labels, neutral(*metric));
        }
        self.shown = shown;
    }

    fn of_process(&self) {
        let Self { crew, doors, .. } = self;
        for door in doors {
            if let Some(expiry) = door.tls().and_then(|tls| tls.expiry()) {
                #[expect(clippy::cast_precision_loss, reason = "a Unix time is far below 2^52")]
                metric::gauge(Metric::CertificateExpiry, &[&door.address().to_string()]).set(expiry.0 as f64);
            }
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

    fn of_region(&self, row: &RegionRow, set: &mut dyn FnMut(Metric, &[&str], f64)) {
        let region = row.region.as_str();
        for kind in [Kind::Read, Kind::Write] {
            set(Metric::RegionStanding, &[region, word(kind)], rank(row.of(kind).standing));
        }
        if let Some(latency) = row.latency_of(Class::Get) {
            set(Metric::RegionLatency, &[region], latency.as_secs_f64());
        }
        let in_flight = u32::try_from(self.crew.meters.of(&row.region).in_flight()).unwrap_or(u32::MAX);
        set(Metric::RegionInFlight, &[region], f64::from(in_flight));
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

fn show(metric: Metric, labels: &[&str], value: f64) {
    metric::gauge(metric, labels).set(value);
}

/// What a series says whose subject is gone: nothing to be alarmed about.
fn neutral(metric: Metric) -> f64 {
    if metric == Metric::RegionStanding { rank(Standing::Unknown) } else { 0.0 }
}
