//! From the tree to settings, section by section; every fault is written down on the way.

use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

use super::access_points::{DeclaredPoint, PlacedPoint, access_point};
use super::clients::{PlacedClient, clients};
use super::context::Context;
use super::endpoint::is_host;
use super::fault::Position;
use super::keys;
use super::listeners::{PlacedListener, listeners};
use super::regions::{self, region};
use super::rules;
use super::section::{LONGEST, Placed, Section, TOP, named, secret};
use super::settings::Settings;
use super::yaml::{Entry, Node, Value};
use crate::names::{ExposeSecret, Secret};
use crate::telemetry::TelemetrySettings;
use crate::units;
use crate::view::{FirstByte, Limits, LogicalRegion, RegionSettings, Timeouts};

/// What the rules across sections look at.
pub(super) struct Parts {
    /// Where the document begins: for what is missing as a whole.
    pub(super) at: Position,
    pub(super) tokens: Option<Vec<Secret>>,
    /// The `tokens` key is there, faulty or not.
    pub(super) tokens_named: bool,
    pub(super) listeners: Vec<PlacedListener>,
    pub(super) regions: Vec<Placed<RegionSettings>>,
    /// All of them, faulty ones included.
    pub(super) declared_points: Vec<DeclaredPoint>,
    pub(super) access_points: Vec<PlacedPoint>,
    pub(super) clients: Vec<PlacedClient>,
    /// Entries of `clients`, faulty ones included.
    pub(super) clients_named: usize,
}

/// Compiles a document. `None` only after a fault; after a fault the settings mean nothing.
pub(super) fn compile(context: &Context<'_>, root: &Node) -> Option<Settings> {
    let top = Section::open(context, root, keys::TOP, TOP)?;
    let logical_region = logical_region(&top);
    let tokens = tokens(&top);
    let state_dir = state_dir(&top);
    let (listeners, admin) = {
        let section = top.section("listeners", keys::LISTENERS);
        listeners(section.as_ref(), top.at)
    };
    let domains = domains(&top);
    let region_entries = entries(&top, "regions", "at least one region");
    let names = regions::names(&region_entries);
    let regions = region_entries.iter().filter_map(|entry| {
        region(context, entry).map(|settings| Placed { at: entry.key_at, value: settings })
    });
    let regions: Vec<_> = regions.collect();
    let points = entries(&top, "access_points", "at least one access point");
    let points = points.iter().map(|entry| access_point(context, entry, &names));
    let (declared_points, points): (Vec<_>, Vec<_>) = points.unzip();
    let client_nodes = top.list("clients", "a list of clients");
    let clients = clients(context, client_nodes, &names);
    let (limits, timeouts, telemetry) = (limits(&top), timeouts(&top), telemetry(&top));

    let mut parts = Parts {
        at: top.at,
        tokens,
        tokens_named: top.node("tokens").is_some(),
        listeners,
        regions,
        declared_points,
        access_points: points.into_iter().flatten().collect(),
        clients,
        clients_named: client_nodes.len(),
    };
    rules::check(context, &parts);
    rules::fill_probe_buckets(&mut parts);
    let (clients, keys) = parts.clients.into_iter().map(|client| (client.client, client.key)).unzip();
    Some(Settings {
        logical_region,
        tokens: parts.tokens,
        state_dir,
        listeners: parts.listeners.into_iter().map(|listener| listener.settings).collect(),
        admin: admin?,
        domains,
        regions: parts.regions.into_iter().map(|region| region.value).collect(),
        access_points: parts.access_points.into_iter().map(|point| point.point).collect(),
        clients,
        keys,
        limits,
        timeouts,
        telemetry,
    })
}

/// The entries of a map that must have at least one.
fn entries<'a>(top: &Section<'a>, key: &str, expected: &str) -> Vec<&'a Entry> {
    top.require(key, expected);
    let Some(node) = top.node(key) else { return Vec::new() };
    let entries = named(top.context, node, &format!("`{key}`"), "a map from names to settings");
    if entries.is_empty() && matches!(&node.value, Value::Null | Value::Map(_)) {
        top.context.fault(top.position_of(key), format!("`{key}` is empty"), expected);
    }
    entries
}

fn logical_region(top: &Section<'_>) -> LogicalRegion {
    const EXPECTED: &str = "the region that clients sign for, such as eu-central-1, or \"*\" for any";
    let read = |text: &str| {
        if text == "*" {
            return Some(LogicalRegion::Any);
        }
        let fits = (1..=64).contains(&text.len())
            && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_');
        fits.then(|| LogicalRegion::Exactly(text.to_owned()))
    };
    top.parsed("logical_region", EXPECTED, read).map(|placed| placed.value).unwrap_or_default()
}

fn tokens(top: &Section<'_>) -> Option<Vec<Secret>> {
    let section = top.section("tokens", keys::TOKENS)?;
    section.require("keys", "a list of secrets, the first of which signs");
    let nodes = section.list("keys", "a list of secrets, the first of which signs");
    if nodes.is_empty() && section.node("keys").is_some() {
        top.context.fault(section.position_of("keys"), "`keys` of `tokens` is empty", "at least one secret");
    }
    let mut secrets: Vec<Secret> = Vec::with_capacity(nodes.len());
    for node in nodes {
        let Some(Placed { at, value }) = secret(top.context, node, "a token key") else { continue };
        if value.expose_secret().len() < SHORTEST_TOKEN_KEY {
            top.context.fault(at, "a token key is shorter than 16 bytes", "at least 16 random bytes");
        } else if secrets.iter().any(|earlier| earlier.expose_secret() == value.expose_secret()) {
            top.context.fault(at, "two token keys are the same", "each key once");
        } else {
            secrets.push(value);
        }
    }
    Some(secrets)
}

/// Bytes: 128 bits, the strength of the tokens' MAC.
const SHORTEST_TOKEN_KEY: usize = 16;

/// `state_dir`, else systemd's, else the user's own, else the machine's.
fn state_dir(top: &Section<'_>) -> PathBuf {
    if let Some(text) = top.text("state_dir", "the path of a directory") {
        if text.value.is_empty() {
            top.wrong("state_dir", &text, "the path of a directory");
        }
        return top.context.resolve(&text.value);
    }
    let env = |name| top.context.env(name).filter(|value| value.starts_with('/'));
    // systemd gives a list; the first is the service's own.
    let systemd = env("STATE_DIRECTORY").and_then(|list| list.split(':').next().map(PathBuf::from));
    systemd
        .or_else(|| env("XDG_STATE_HOME").map(|home| PathBuf::from(home).join("nearpoint")))
        .or_else(|| env("HOME").map(|home| PathBuf::from(home).join(".local/state/nearpoint")))
        .unwrap_or_else(|| PathBuf::from("/var/lib/nearpoint"))
}

fn domains(top: &Section<'_>) -> Vec<String> {
    const EXPECTED: &str =
        "a domain such as s3.example.com or s3.example.com:9000, without scheme and wildcard";
    let read = |text: &str| {
        let (host, port) = text.split_once(':').map_or((text, None), |(host, port)| (host, Some(port)));
        let port_fits = port.is_none_or(|port| port.parse::<u16>().is_ok_and(|port| port != 0));
        (is_host(host) && port_fits).then(|| text.to_ascii_lowercase())
    };
    let domains = top.all_parsed("domains", EXPECTED, read);
    for (n, domain) in domains.iter().enumerate() {
        if domains.iter().take(n).any(|earlier| earlier.value == domain.value) {
            top.context.fault(domain.at, format!("`{}` is there twice", domain.value), "each domain once");
        }
    }
    domains.into_iter().map(|domain| domain.value).collect()
}

/// Puts a value that was read in place of a default.
fn set<T>(place: &mut T, value: Option<T>) {
    if let Some(value) = value {
        *place = value;
    }
}

fn limits(top: &Section<'_>) -> Limits {
    let mut limits = Limits::default();
    let Some(section) = top.section("limits", keys::LIMITS) else { return limits };
    set(&mut limits.connections, section.count("connections", 1..=MOST_AT_ONCE));
    set(&mut limits.connections_per_ip, section.count("connections_per_ip", 1..=MOST_AT_ONCE));
    set(&mut limits.head, section.size("head", HEAD));
    set(&mut limits.header_fields, section.count("header_fields", FIELDS));
    set(&mut limits.in_flight, section.count("in_flight", 1..=MOST_AT_ONCE));
    set(&mut limits.in_flight_per_region, section.count("in_flight_per_region", 1..=MOST_AT_ONCE));
    set(&mut limits.replay_body, section.size("replay_body", 0..=MOST_REPLAY_BODY));
    set(&mut limits.replay_total, section.size("replay_total", 0..=MOST_REPLAY_TOTAL));
    set(&mut limits.xml_body, section.size("xml_body", LEAST_XML..=MOST_XML));
    set(&mut limits.attempts, section.count("attempts", 1..=MOST_ATTEMPTS));
    set(&mut limits.resumes, section.count("resumes", 0..=MOST_ATTEMPTS));
    let share = section.parsed("retry_share", "a share from 0% to 100%", |text| units::ratio(text).ok());
    set(&mut limits.retry_share, share.map(|placed| placed.value));
    let floor = section.parsed("retry_floor", "a rate such as 10/s, at most 100000/s", |text| {
        units::per_second(text).ok().filter(|rate| rate.0 <= MOST_REPEATS)
    });
    set(&mut limits.retry_floor, floor.map(|placed| placed.value));
    set(&mut limits.remembered_keys, section.count("remembered_keys", 1..=MOST_REMEMBERED));
    for (small, large, fits) in [
        ("replay_body", "replay_total", limits.replay_body <= limits.replay_total),
        ("in_flight_per_region", "in_flight", limits.in_flight_per_region <= limits.in_flight),
    ] {
        if !fits && (section.node(small).is_some() || section.node(large).is_some()) {
            let at = section.position_of(if section.node(small).is_some() { small } else { large });
            section.context.warn(at, format!("`{small}` is above `{large}`, which bounds it"));
        }
    }
    limits
}

/// Bytes: a signed request with a session token and a key of 1,024 encoded bytes fits; and no more
/// than hyper takes, whose targets end at 64 KiB.
const HEAD: RangeInclusive<u64> = 8 << 10..=64 << 10;
/// Fields: what SDKs send, and some metadata; hyper makes room for all of them at each head.
const FIELDS: RangeInclusive<u32> = 32..=1_000;
/// Bytes: a small document fits.
const LEAST_XML: u64 = 64 << 10;

// Above these a number is a typing mistake, and would be paid for in memory.

/// Connections or requests: more than one machine has ports and memory for.
const MOST_AT_ONCE: u32 = 1_000_000;
/// Bytes, in memory: uploads beyond it are meant to be multipart, and a part is as good a unit.
const MOST_REPLAY_BODY: u64 = 1 << 30;
/// Bytes, in memory, of the process.
const MOST_REPLAY_TOTAL: u64 = 1 << 40;
/// Bytes, in memory: thirty times the largest document that S3 defines.
const MOST_XML: u64 = 64 << 20;
/// Each may take a whole wait for a first byte: no client waits for more.
const MOST_ATTEMPTS: u32 = 16;
/// Keys, about 100 bytes each in memory.
const MOST_REMEMBERED: u32 = 10_000_000;
/// Repeats a second: far above what one process serves.
const MOST_REPEATS: f64 = 100_000.0;

fn timeouts(top: &Section<'_>) -> Timeouts {
    const SOME: Duration = Duration::from_millis(1);
    let mut timeouts = Timeouts::default();
    let Some(section) = top.section("timeouts", keys::TIMEOUTS) else { return timeouts };
    for (key, place, least) in [
        ("connect", &mut timeouts.connect, SOME),
        ("tls", &mut timeouts.tls, SOME),
        ("put_answer", &mut timeouts.put_answer, SOME),
        ("complete", &mut timeouts.complete, SOME),
        ("body_progress", &mut timeouts.body_progress, SOME),
        ("stalled_reader", &mut timeouts.stalled_reader, SOME),
        ("client_head", &mut timeouts.client_head, SOME),
        ("idle", &mut timeouts.idle, SOME),
        ("upstream_idle", &mut timeouts.upstream_idle, Duration::ZERO),
        ("drain_min", &mut timeouts.drain_min, Duration::ZERO),
        ("drain", &mut timeouts.drain, Duration::ZERO),
    ] {
        set(place, section.duration(key, least));
    }
    let read = |text: &str| match text {
        "auto" => Some(FirstByte::Auto),
        _ => units::duration(text).ok().filter(|d| (SOME..=LONGEST).contains(d)).map(FirstByte::Fixed),
    };
    let first_byte = section.parsed("first_byte", "auto, or a duration such as 2s, from 1ms to 24h", read);
    set(&mut timeouts.first_byte, first_byte.map(|placed| placed.value));
    if timeouts.tls < timeouts.connect {
        let at = section.position_of(if section.node("tls").is_some() { "tls" } else { "connect" });
        section.context.warn(at, "`tls` is for TCP and TLS together, and is below `connect`");
    }
    timeouts
}

fn telemetry(top: &Section<'_>) -> TelemetrySettings {
    let mut telemetry = TelemetrySettings::default();
    let Some(section) = top.section("telemetry", keys::TELEMETRY) else { return telemetry };
    let levels = ["error", "warn", "info", "debug", "trace"];
    set(&mut telemetry.log, word(&section, "log", &levels));
    set(&mut telemetry.format, word(&section, "format", &["text", "json"]));
    let log_to =
        section.parsed("access_log", "off, stdout, stderr or an absolute path", |text| text.parse().ok());
    set(&mut telemetry.access_log, log_to.map(|placed| placed.value));
    telemetry
}

/// A word that reads itself.
fn word<T: std::str::FromStr + Copy>(section: &Section<'_>, key: &str, words: &[&str]) -> Option<T> {
    let words: Vec<(&str, T)> = words.iter().filter_map(|word| Some((*word, word.parse().ok()?))).collect();
    section.word(key, &words).map(|placed| placed.value)
}
