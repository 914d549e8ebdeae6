//! Every metric: its name, kind, unit, help and labels in one table, and handles that are
//! resolved once and then cost an atomic addition.
//!
//! Labels take values from closed sets only (operations, configured regions, status classes,
//! reasons in code): nothing a client sends becomes a label.

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;
use std::time::Duration;

use metrics::{Counter, Gauge, Histogram, Key, Label, Level, Metadata, SharedString, Unit};
pub use metrics_exporter_prometheus::PrometheusHandle;
use metrics_exporter_prometheus::{BuildError, Matcher, PrometheusBuilder};

use crate::names::RegionId;

/// What a metric counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MetricKind {
    /// Only ever grows.
    Counter,
    /// The value now.
    Gauge,
    /// A distribution over [`SECONDS_BUCKETS`].
    Histogram,
}

/// One row of the table.
#[derive(Clone, Copy, Debug)]
pub struct Row {
    /// As scraped.
    pub name: &'static str,
    /// Counter, gauge or histogram.
    pub kind: MetricKind,
    /// The unit that the name's suffix says.
    pub unit: Unit,
    /// One sentence.
    pub help: &'static str,
    /// Label names, in the order in which values are given.
    pub labels: &'static [&'static str],
}

macro_rules! metrics_table {
    ($($(#[$doc:meta])* $variant:ident: $kind:ident $name:literal $unit:ident $labels:expr, $help:literal;)*) => {
        /// A metric of nearpoint.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Metric {
            $(#[doc = $help] $variant,)*
        }

        impl Metric {
            /// All of them.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];

            /// Its row of the table.
            #[must_use]
            pub fn row(self) -> &'static Row {
                match self {
                    $(Self::$variant => &Row {
                        name: $name,
                        kind: MetricKind::$kind,
                        unit: Unit::$unit,
                        help: $help,
                        labels: &$labels,
                    },)*
                }
            }
        }
    };
}

metrics_table! {
    Requests: Counter "nearpoint_requests_total" Count ["operation", "region", "class"],
        "Requests answered, by operation, answering region (none: answered here) and status class.";
    RequestSeconds: Histogram "nearpoint_request_seconds" Seconds ["operation", "region", "class"],
        "Time from a request's head to the end of its answer.";
    FirstByteSeconds: Histogram "nearpoint_first_byte_seconds" Seconds ["operation", "region", "class"],
        "Time from a request's head to the head of its answer.";
    RequestsInFlight: Gauge "nearpoint_requests_in_flight" Count [],
        "Requests whose answer is not complete.";
    RequestsShed: Counter "nearpoint_requests_shed_total" Count ["reason", "class"],
        "Requests refused (503) for want of room, by class and why: full (no place left), rank (what is left is for higher classes), share (its client has its share), region (none has a place left), bytes (of documents).";
    RequestsAborted: Counter "nearpoint_requests_aborted_total" Count ["by"],
        "Requests that ended without a complete answer: by the client, or cut by us.";
    ClientErrors: Counter "nearpoint_errors_total" Count ["code"],
        "Error answers composed here, by S3 error code.";
    BodyBytes: Counter "nearpoint_body_bytes_total" Bytes ["direction"],
        "Body bytes taken from clients (in) and given to them (out).";
    Attempts: Counter "nearpoint_attempts_total" Count ["region", "outcome"],
        "Tries of requests at regions, by how they ended.";
    Retries: Counter "nearpoint_retries_total" Count ["reason"],
        "Tries after the first, by why the one before did not do.";
    Failovers: Counter "nearpoint_failovers_total" Count ["from", "to"],
        "Requests carried from one region to another.";
    BudgetExhausted: Counter "nearpoint_retry_budget_exhausted_total" Count [],
        "Retries not made because the retry budget was spent.";
    Resumes: Counter "nearpoint_resumes_total" Count ["region", "outcome"],
        "Replies to GETs that a region broke off, by what came of going on with them.";
    ResumedBytes: Counter "nearpoint_resumed_bytes_total" Bytes [],
        "Body bytes given to clients out of replies that had been gone on with.";
    Hedges: Counter "nearpoint_hedges_total" Count ["region", "outcome"],
        "Second tries of slow reads in this region: won, lost, or failed.";
    HedgeWastedBytes: Counter "nearpoint_hedge_wasted_bytes_total" Bytes [],
        "Body bytes announced by answers to hedged reads that were not passed on.";
    ShieldReads: Counter "nearpoint_shield_reads_total" Count ["access_point", "outcome"],
        "Reads that found nothing and were looked into: found elsewhere, unproven (perhaps an older version), confirmed, unconfirmed (home could not be asked), or withheld (503).";
    ShieldAsks: Counter "nearpoint_shield_asks_total" Count ["region", "outcome"],
        "Regions asked again for what another had not: found, nothing, unanswered.";
    ShieldKeys: Gauge "nearpoint_shield_remembered_keys" Count ["access_point", "kind"],
        "Keys whose last change is remembered: recent (changed at home) and journal (changed elsewhere).";
    ShieldForgotten: Counter "nearpoint_shield_forgotten_keys_total" Count ["kind"],
        "Keys forgotten for want of room, by kind: recent and journal.";
    ShieldOverflowed: Gauge "nearpoint_shield_journal_overflowed" Count ["access_point"],
        "1 while keys of the journal are forgotten that home may not have.";
    BucketsMoved: Counter "nearpoint_region_buckets_moved_total" Count ["region"],
        "Answers by which a store named another region for a bucket than configured: asked for there from then on.";
    UpstreamConnections: Gauge "nearpoint_upstream_connections" Count ["region"],
        "Open connections to a region.";
    UpstreamConnects: Counter "nearpoint_upstream_connects_total" Count ["region", "outcome"],
        "Connections tried to a region, by how the try ended (shortage: for want of files or ports of ours).";
    UpstreamWaits: Counter "nearpoint_upstream_waits_total" Count ["region", "outcome"],
        "Requests that waited for a connection in use, as that was sooner than a new one: given, or in vain (vain).";
    RegionInFlight: Gauge "nearpoint_region_in_flight" Count ["region"],
        "Requests under way at a region.";
    RegionStanding: Gauge "nearpoint_region_standing" Count ["region", "kind"],
        "A region's standing for reads or writes: 0 out, 1 probation, 2 unknown, 3 suspect, 4 healthy.";
    RegionTransitions: Counter "nearpoint_region_transitions_total" Count ["region", "kind", "to"],
        "Changes of a region's standing.";
    RegionAddresses: Gauge "nearpoint_region_addresses" Count ["region", "state"],
        "A region's addresses that DNS lists: known (all of them), and of these out (not used for new connections while another one is).";
    AddressFailures: Counter "nearpoint_region_address_failures_total" Count ["region", "failure"],
        "Failures of single addresses: connect, slow, tls, unanswered, stranger.";
    DnsLookups: Counter "nearpoint_dns_lookups_total" Count ["result"],
        "DNS look-ups, by result: answered, without an address, failed.";
    DnsAnswerAge: Gauge "nearpoint_dns_answer_age_seconds" Seconds ["region"],
        "Age of the last good DNS answer for a region's endpoint.";
    RegionLatency: Gauge "nearpoint_region_latency_seconds" Seconds ["region"],
        "The decayed peak of a region's time to first byte, by which regions are ranked.";
    RegionSlow: Gauge "nearpoint_region_slow" Count ["region"],
        "1 while a region answers, but so slowly that it is ranked behind others.";
    RegionRateLimit: Gauge "nearpoint_region_rate_limit" Count ["region"],
        "Requests a second that a region may be sent, since it asked for less; 0 where it did not lately.";
    RegionRateHeld: Counter "nearpoint_region_rate_held_total" Count ["region", "how"],
        "Requests above a region's rate: sent to another region (moved), late (waited) or not at all (refused).";
    RegionSkew: Gauge "nearpoint_region_clock_skew_seconds" Seconds ["region"],
        "By how much a region's clock is ahead of ours; what we sign for it is dated by its clock.";
    ClockCorrection: Gauge "nearpoint_clock_correction_seconds" Seconds [],
        "What is added to this machine's clock, which all regions say is wrong, when clients are judged; 0 where it is right.";
    RegionLag: Gauge "nearpoint_replication_lag_seconds" Seconds ["from", "to"],
        "How far a region is behind another, measured by what write probes write.";
    RegionCertificateDays: Gauge "nearpoint_region_certificate_days_left" Count ["region"],
        "Days until the certificate expires that a region shows to probes.";
    WriteProbes: Counter "nearpoint_write_probes_total" Count ["region", "result"],
        "Write probes of a region, by result: taken, failed, or refused for want of permission.";
    ProbeContradicted: Gauge "nearpoint_region_probe_contradicted" Count ["region"],
        "1 while probes of a region fail although requests are answered: its probe is set up wrongly.";
    SelfSuspect: Gauge "nearpoint_self_suspect" Count [],
        "1 while every region has failed at once, so that our own network is the likelier culprit.";
    CredentialOut: Gauge "nearpoint_region_credential_out" Count ["region", "credential"],
        "1 while a region refuses this credential.";
    ConfigurationOut: Gauge "nearpoint_region_configuration_out" Count ["region", "access_point"],
        "1 while an access point's configuration does not work in a region.";
    Probes: Counter "nearpoint_probes_total" Count ["region", "result"],
        "Probes of a region, by result (shortage: not sent, for want of files or ports of ours).";
    ProbeSeconds: Histogram "nearpoint_probe_seconds" Seconds ["region"],
        "Time to first byte of probes.";
    Connections: Gauge "nearpoint_connections" Count ["listener"],
        "Open client connections.";
    ConnectionsAccepted: Counter "nearpoint_connections_accepted_total" Count ["listener"],
        "Client connections accepted.";
    ConnectionsRefused: Counter "nearpoint_connections_refused_total" Count ["listener", "reason"],
        "Client connections closed before a request: over the limit of their address, not let in, TLS failed.";
    ConnectionsEnded: Counter "nearpoint_connections_ended_total" Count ["listener", "reason"],
        "Client connections ended by us, by reason.";
    StreamsReset: Counter "nearpoint_streams_reset_total" Count ["reason"],
        "HTTP/2 streams reset by us before or within their answer, by reason.";
    ConnectionsDrained: Counter "nearpoint_connections_drained_total" Count ["how"],
        "Client connections at a drain: finished on their own, or cut at its end.";
    AcceptFaults: Counter "nearpoint_accept_faults_total" Count ["listener"],
        "Failures to accept, such as running out of file descriptors.";
    Violations: Counter "nearpoint_wire_violations_total" Count ["kind"],
        "Requests that the wire gate refused.";
    ReplayBytes: Gauge "nearpoint_replay_bytes" Bytes [],
        "Body bytes kept for a replay.";
    DocumentBytes: Gauge "nearpoint_document_bytes" Bytes [],
        "Bytes of requests' documents held in memory.";
    TokenFaults: Counter "nearpoint_token_faults_total" Count ["fault"],
        "Upload ids and listing tokens that were forged or of an unknown key.";
    UploadOrphans: Counter "nearpoint_upload_orphans_total" Count ["region"],
        "Beginnings of uploads repeated after a lost answer: perhaps an upload nobody knows.";
    UploadsLeftOut: Counter "nearpoint_upload_listings_incomplete_total" Count ["region"],
        "Listings of uploads answered without those of a region that is out or did not answer.";
    BucketsHalfChanged: Counter "nearpoint_buckets_half_changed_total" Count ["region"],
        "Changes of buckets under `*` that other regions had made when this one did not.";
    Copies: Counter "nearpoint_copies_total" Count ["outcome"],
        "Copies between regions that no store could make, carried out here: made, failed.";
    CopiedBytes: Counter "nearpoint_copied_bytes_total" Bytes ["from", "to"],
        "Bytes that were carried from region to region for them.";
    WritesSettled: Counter "nearpoint_writes_settled_total" Count ["region", "outcome"],
        "Writes whose answer was lost, by what the object's head says of them: proven, refuted, unclear, unknown.";
    DoubtfulSuccesses: Counter "nearpoint_errors_inside_success_total" Count ["region"],
        "Answers of 200 with an error inside: the whole request's, or that of a key to be deleted, through the store's fault.";
    WritesUnsettled: Counter "nearpoint_writes_unsettled_total" Count ["region"],
        "Writes whose fate could not be learnt; answered 503.";
    EventsDropped: Counter "nearpoint_events_dropped_total" Count [],
        "Health samples dropped because the queue was full.";
    AccessLinesDropped: Counter "nearpoint_access_lines_dropped_total" Count [],
        "Access lines dropped because their writer was behind.";
    ConfigReloads: Counter "nearpoint_config_reloads_total" Count ["result"],
        "Configurations read again: taken or refused.";
    ConfigTaken: Gauge "nearpoint_config_taken_timestamp_seconds" Seconds [],
        "When the configuration in force was taken.";
    CredentialExpiry: Gauge "nearpoint_credential_expiry_timestamp_seconds" Seconds ["region", "credential"],
        "When an upstream credential expires.";
    CertificateExpiry: Gauge "nearpoint_certificate_expiry_timestamp_seconds" Seconds ["listener"],
        "When a listener's certificate expires.";
    CertificateReloads: Counter "nearpoint_certificate_reloads_total" Count ["listener", "result"],
        "Certificates read again: taken or refused.";
    Build: Gauge "nearpoint_build" Count ["version"],
        "1, with the version that runs.";
}

/// Bucket bounds of every histogram, seconds. From a region in the same rack to an upload that
/// takes its time; steps of about 2.
pub const SECONDS_BUCKETS: [f64; 16] =
    [0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0, 300.0];

/// How often samples must be folded into buckets where nobody scrapes: they are kept one by one
/// until then (16 B each; 5 s at 50,000 requests/s and three histograms: 12 MB).
pub const UPKEEP_INTERVAL: Duration = Duration::from_secs(5);

/// Makes this process's metrics visible: describes all of them and returns what renders them.
/// Whoever calls it must call `run_upkeep` on the handle every [`UPKEEP_INTERVAL`].
///
/// # Errors
/// Where a recorder is installed already.
pub fn install() -> Result<PrometheusHandle, BuildError> {
    let handle = builder()?.install_recorder()?;
    describe_all();
    Ok(handle)
}

fn builder() -> Result<PrometheusBuilder, BuildError> {
    PrometheusBuilder::new().set_buckets_for_metric(Matcher::Suffix("_seconds".to_owned()), &SECONDS_BUCKETS)
}

fn describe_all() {
    metrics::with_recorder(|recorder| {
        for metric in Metric::ALL {
            let row = metric.row();
            let name = row.name.into();
            let help = SharedString::const_str(row.help);
            match row.kind {
                MetricKind::Counter => recorder.describe_counter(name, Some(row.unit), help),
                MetricKind::Gauge => recorder.describe_gauge(name, Some(row.unit), help),
                MetricKind::Histogram => recorder.describe_histogram(name, Some(row.unit), help),
            }
        }
    });
}

/// The handle of a counter, values in the order of its row's labels. Resolve once and keep:
/// resolving hashes names and takes a lock, adding does not. Before [`install`] it counts nothing.
pub fn counter(metric: Metric, values: &[&str]) -> Counter {
    debug_assert_eq!(metric.row().kind, MetricKind::Counter, "{}", metric.row().name);
    metrics::with_recorder(|recorder| recorder.register_counter(&key(metric, values), &METADATA))
}

/// The handle of a gauge; see [`counter`].
pub fn gauge(metric: Metric, values: &[&str]) -> Gauge {
    debug_assert_eq!(metric.row().kind, MetricKind::Gauge, "{}", metric.row().name);
    metrics::with_recorder(|recorder| recorder.register_gauge(&key(metric, values), &METADATA))
}

/// The handle of a histogram; see [`counter`].
pub fn histogram(metric: Metric, values: &[&str]) -> Histogram {
    debug_assert_eq!(metric.row().kind, MetricKind::Histogram, "{}", metric.row().name);
    metrics::with_recorder(|recorder| recorder.register_histogram(&key(metric, values), &METADATA))
}

fn key(metric: Metric, values: &[&str]) -> Key {
    let row = metric.row();
    debug_assert_eq!(row.labels.len(), values.len(), "{}", row.name);
    let labels: Vec<Label> =
        row.labels.iter().zip(values).map(|(name, value)| Label::new(*name, (*value).to_owned())).collect();
    Key::from_parts(row.name, labels)
}

const METADATA: Metadata<'static> = Metadata::new("nearpoint", Level::INFO, None);

/// The class label of a status: `2xx`, or `other` beyond HTTP's classes.
#[must_use]
pub fn class_of(status: u16) -> &'static str {
    match status / 100 {
        1 => "1xx",
        2 => "2xx",
        3 => "3xx",
        4 => "4xx",
        5 => "5xx",
        _ => "other",
    }
}

/// The handles of one kind of answer.
#[derive(Clone, Debug)]
pub struct RequestMeters {
    requests: Counter,
    total: Histogram,
    first_byte: Histogram,
}

impl RequestMeters {
    /// Counts one answered request.
    pub fn answered(&self, total: Duration, first_byte: Duration) {
        self.requests.increment(1);
        self.total.record(total);
        self.first_byte.record(first_byte);
    }
}

/// One worker's handles for requests, resolved when a kind of answer first occurs.
#[derive(Debug, Default)]
pub struct WorkerMeters {
    requests: RefCell<HashMap<RequestKey, Rc<RequestMeters>>>,
    attempts: RefCell<HashMap<(RegionId, &'static str), Counter>>,
    body: RefCell<Option<[Counter; 2]>>,
}

type RequestKey = (&'static str, Option<RegionId>, &'static str);

impl WorkerMeters {
    /// Nothing resolved yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Counts a try at a region, by how it ended.
    pub fn attempt(&self, region: &RegionId, outcome: &'static str) {
        let mut attempts = self.attempts.borrow_mut();
        let counter = attempts
            .entry((region.clone(), outcome))
            .or_insert_with(|| counter(Metric::Attempts, &[region.as_str(), outcome]));
        counter.increment(1);
    }

    /// Counts body bytes of one request.
    pub fn body_bytes(&self, taken: u64, given: u64) {
        let mut body = self.body.borrow_mut();
        let [into, out] = body
            .get_or_insert_with(|| ["in", "out"].map(|direction| counter(Metric::BodyBytes, &[direction])));
        into.increment(taken);
        out.increment(given);
    }

    /// The handles for answers to `operation` (its API name) from `region` (`None`: answered
    /// here) with `status`.
    #[must_use]
    pub fn request(
        &self,
        operation: &'static str,
        region: Option<&RegionId>,
        status: u16,
    ) -> Rc<RequestMeters> {
        let key = (operation, region.cloned(), class_of(status));
        if let Some(known) = self.requests.borrow().get(&key) {
            return Rc::clone(known);
        }
        let values = [operation, region.map_or("none", RegionId::as_str), key.2];
        let meters = Rc::new(RequestMeters {
            requests: counter(Metric::Requests, &values),
            total: histogram(Metric::RequestSeconds, &values),
            first_byte: histogram(Metric::FirstByteSeconds, &values),
        });
        self.requests.borrow_mut().insert(key, Rc::clone(&meters));
        meters
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn names_are_unique_and_say_their_unit() {
        let names: BTreeSet<&str> = Metric::ALL.iter().map(|metric| metric.row().name).collect();
        assert_eq!(names.len(), Metric::ALL.len());
        for metric in Metric::ALL {
            let Row { name, kind, unit, help, labels } = metric.row();
            assert!(name.starts_with("nearpoint_"), "{name}");
            assert_eq!(name.ends_with("_total"), *kind == MetricKind::Counter, "{name}");
            assert_eq!(name.contains("_seconds"), *unit == Unit::Seconds, "{name}");
            assert_eq!(name.contains("_bytes"), *unit == Unit::Bytes, "{name}");
            assert!(help.ends_with('.'), "{name}");
            assert!(labels.iter().all(|label| !label.is_empty()), "{name}");
        }
    }

    /// A metric that nobody sets is a promise that nobody keeps.
    #[test]
    fn every_metric_is_set_somewhere() {
        fn sources(folder: &std::path::Path, all: &mut String) {
            for entry in std::fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    sources(&path, all);
                } else if !path.ends_with("telemetry/metric.rs") {
                    all.push_str(&std::fs::read_to_string(&path).unwrap());
                }
            }
        }
        let mut all = String::new();
        sources(&std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("src"), &mut all);
        // Of requests, tries and bodies this file counts itself.
        let here = [
            Metric::Requests,
            Metric::RequestSeconds,
            Metric::FirstByteSeconds,
            Metric::Attempts,
            Metric::BodyBytes,
        ];
        for metric in Metric::ALL.iter().filter(|metric| !here.contains(metric)) {
            assert!(all.contains(&format!("Metric::{metric:?}")), "{metric:?}");
        }
    }

    #[test]
    fn every_metric_is_rendered_with_help_buckets_and_labels() {
        let recorder = builder().unwrap().build_recorder();
        let handle = recorder.handle();
        metrics::with_local_recorder(&recorder, || {
            describe_all();
            for metric in Metric::ALL {
                let values = vec!["v"; metric.row().labels.len()];
                match metric.row().kind {
                    MetricKind::Counter => counter(*metric, &values).increment(3),
                    MetricKind::Gauge => gauge(*metric, &values).set(3.0),
                    MetricKind::Histogram => histogram(*metric, &values).record(0.004),
                }
            }
        });
        let text = handle.render();
        for metric in Metric::ALL {
            let Row { name, kind, help, labels, .. } = metric.row();
            assert!(text.contains(&format!("# HELP {name} {help}")), "{name}");
            let labels: Vec<String> = labels.iter().map(|label| format!("{label}=\"v\"")).collect();
            let sample = match kind {
                MetricKind::Histogram => {
                    let all = [labels, vec!["le=\"0.005\"".to_owned()]].concat();
                    format!("{name}_bucket{{{}}} 1", all.join(","))
                }
                _ if labels.is_empty() => format!("{name} 3"),
                _ => format!("{name}{{{}}} 3", labels.join(",")),
            };
            assert!(text.contains(&sample), "{sample} is not in\n{text}");
        }
    }

    #[test]
    fn one_handle_serves_one_kind_of_answer() {
        let recorder = builder().unwrap().build_recorder();
        let handle = recorder.handle();
        let fra = RegionId::new("fra");
        metrics::with_local_recorder(&recorder, || {
            let meters = WorkerMeters::new();
            let first = meters.request("GetObject", Some(&fra), 200);
            assert!(Rc::ptr_eq(&first, &meters.request("GetObject", Some(&fra), 206)));
            assert!(!Rc::ptr_eq(&first, &meters.request("GetObject", None, 200)));
            assert!(!Rc::ptr_eq(&first, &meters.request("GetObject", Some(&fra), 500)));
            first.answered(Duration::from_millis(3), Duration::from_millis(2));
        });
        let text = handle.render();
        let sample = "nearpoint_requests_total{operation=\"GetObject\",region=\"fra\",class=\"2xx\"} 1";
        assert!(text.contains(sample), "{text}");
    }
}
