//! `serve --access-point NAME --region eu=URL/bucket …`: a configuration without a file. The flags
//! become the tree that a file would have been, so that all the same rules hold.

use super::access_points::check_name;
use super::context::{Context, Outside, Source};
use super::fault::Position;
use super::section::quoted_key;
use super::yaml::{Entry, Node, Value};
use super::{Loaded, Refused, judge, refused};

/// The form of `--region`, for faults.
const REGION_FORM: &str = "NAME=URL/BUCKET[,signing=REGION][,profile=STORE][,addressing=path|virtual]";

/// Compiles the flags: one listener at 127.0.0.1:9000 with `verify: off`, AWS's credential chain,
/// the first region is home; signing region and profile are read from Amazon's hosts;
/// `replication` is what the stores do.
///
/// # Errors
/// [`Refused`] with every fault at once, each naming its flag.
pub fn from_flags(
    access_point: &str,
    regions: &[String],
    replication: Option<&str>,
    outside: Outside<'_>,
) -> Result<Loaded, Refused> {
    let mut flags = vec![format!("--access-point {access_point}")];
    // Named, not quoted: somebody may have put a password into the URL.
    let is_name = |name: &&str| name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_');
    let name = |text: &String| {
        let name = text.split_once('=').map(|(name, _)| name).filter(is_name);
        name.unwrap_or_default().to_owned()
    };
    flags.extend(regions.iter().map(|region| format!("--region {}", name(region)).trim_end().to_owned()));
    flags.push("--replication".to_owned());
    let context = Context::new(Source::Flags(flags), outside);
    let parsed = regions.iter().enumerate().filter_map(|(n, text)| region(&context, flag(n + 1), text));
    let parsed: Vec<_> = parsed.collect();
    if parsed.is_empty() && !regions.is_empty() {
        // Each flag's own fault says it; that there are no regions then is no news.
        check_name(&context, flag(0), access_point);
        return Err(refused(context));
    }
    let replication = replication.map(|done| scalar(flag(regions.len() + 1), done));
    let root = tree(access_point, parsed, replication);
    judge(context, &root)
}

fn tree(access_point: &str, parsed: Vec<Flag<'_>>, replication: Option<Node>) -> Node {
    let point_at = flag(0);
    let mut point = Vec::new();
    // A region that is there twice is so once, under `regions`.
    let first = |(n, region): &(usize, &Flag<'_>)| !parsed.iter().take(*n).any(|r| r.name == region.name);
    let buckets = parsed.iter().enumerate().filter(first);
    let buckets = buckets.map(|(_, region)| entry(region.name, scalar(region.at, region.bucket)));
    point.push(entry("buckets", map(point_at, buckets.collect())));
    if let Some(home) = parsed.first() {
        let home = entry("home", scalar(home.at, home.name));
        point.push(entry("writes", map(point_at, vec![home])));
    }
    point.extend(replication.map(|done| entry("replication", done)));
    let listener = vec![
        entry("address", scalar(point_at, super::listeners::DATA)),
        entry("verify", scalar(point_at, "off")),
    ];
    let listeners = Node { at: point_at, value: Value::List(vec![map(point_at, listener)]) };
    let regions =
        parsed.into_iter().map(|region| entry_at(region.at, region.name, map(region.at, region.settings)));
    map(
        point_at,
        vec![
            entry("listeners", map(point_at, vec![entry("s3", listeners)])),
            entry("regions", map(point_at, regions.collect())),
            entry(
                "access_points",
                map(point_at, vec![entry_at(point_at, access_point, map(point_at, point))]),
            ),
        ],
    )
}

/// One `--region`.
struct Flag<'a> {
    at: Position,
    name: &'a str,
    bucket: &'a str,
    settings: Vec<Entry>,
}

fn region<'a>(context: &Context<'_>, at: Position, text: &'a str) -> Option<Flag<'a>> {
    let mut parts = text.split(',');
    let place = parts.next().unwrap_or_default();
    let named = place.split_once('=').filter(|(name, _)| !name.is_empty());
    let split = named.and_then(|(name, url)| {
        let (endpoint, bucket) = url.trim_end_matches('/').rsplit_once('/')?;
        // The slashes of `https://` separate no bucket.
        // Nor does a password's.
        let is_bucket = !bucket.is_empty() && !bucket.contains('@');
        (is_bucket && !endpoint.ends_with('/')).then_some((name, endpoint, bucket))
    });
    let Some((name, endpoint, bucket)) = split else {
        context.fault(at, "this is no region", REGION_FORM);
        return None;
    };
    let chain = vec![entry_at(at, "chain", scalar(at, "default"))];
    let mut settings =
        vec![entry_at(at, "endpoint", scalar(at, endpoint)), entry_at(at, "credentials", map(at, chain))];
    for part in parts {
        let (option, value) = part.split_once('=').unwrap_or((part, ""));
        if let Some((_, key)) = OPTIONS.iter().find(|(known, _)| *known == option) {
            settings.push(entry_at(at, key, scalar(at, value)));
        } else {
            let options = OPTIONS.iter().map(|(known, _)| *known);
            let what = format!("unknown option {}", quoted_key(option));
            context.fault_near(at, what, REGION_FORM, option, options);
        }
    }
    Some(Flag { at, name, bucket, settings })
}

/// Options of `--region`, and the keys of a region that they stand for.
const OPTIONS: [(&str, &str); 3] =
    [("signing", "signing_region"), ("profile", "profile"), ("addressing", "addressing")];

/// Where the n-th flag stands, counted from 0.
fn flag(n: usize) -> Position {
    Position { line: u32::try_from(n.saturating_add(1)).unwrap_or(u32::MAX), column: 1 }
}

fn scalar(at: Position, text: &str) -> Node {
    Node { at, value: Value::Scalar(text.to_owned()) }
}

fn map(at: Position, entries: Vec<Entry>) -> Node {
    Node { at, value: Value::Map(entries) }
}

fn entry(key: &str, value: Node) -> Entry {
    entry_at(value.at, key, value)
}

fn entry_at(at: Position, key: &str, value: Node) -> Entry {
    Entry { key: key.to_owned(), key_at: at, value }
}
