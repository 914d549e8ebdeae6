//! The `regions` section.

use std::time::Duration;

use super::context::Context;
use super::endpoint;
use super::fault::Position;
use super::keys;
use super::section::{Placed, Section, alternatives, named, quoted_key, text};
use super::yaml::{Entry, Node};
use crate::names::{AccessKeyId, BucketName, ExposeSecret, RegionId};
use crate::pem::PemFile;
use crate::s3::kms::{KmsKey, KmsKeys};
use crate::s3::profile::{Addressing, BodyHash, Feature, Features, Profile, READY, Trailers};
use crate::sigv4::Credential;
use crate::units;
use crate::view::{CredentialSource, Endpoint, ProbeSettings, RegionSettings, UpstreamIdentity, UpstreamTls};

/// What a region's name looks like: it stands in metrics, headers and commands.
pub(super) const REGION_NAME: &str = "1 to 63 of a-z, A-Z, 0-9, `-` and `_`";

/// Compiles one region. The probe's bucket is `None` where the file names none.
pub(super) fn region(context: &Context<'_>, entry: &Entry) -> Option<RegionSettings> {
    let name = &entry.key;
    let well_formed = (1..=63).contains(&name.len())
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_');
    if !well_formed {
        context.fault(entry.key_at, format!("{} is no name for a region", quoted_key(name)), REGION_NAME);
    }
    let of = format!("region {}", quoted_key(name));
    let section = Section::open(context, &entry.value, keys::REGION, of)?;
    section.require("endpoint", endpoint::EXPECTED);
    section.require("credentials", CREDENTIALS);
    let endpoint = section.parsed("endpoint", endpoint::EXPECTED, endpoint::parse);
    let amazon = endpoint.as_ref().is_some_and(|placed| endpoint::is_amazon(&placed.value.host));
    if let (Some(placed), true) = (&endpoint, amazon)
        && !placed.value.base_path.is_empty()
    {
        let what = format!("`endpoint` of {} has a path, which Amazon's hosts do not have", section.of());
        context.fault(
            placed.at,
            what,
            "the host alone; a bucket's name belongs into `buckets` of an access point",
        );
    }
    if let Some(placed) = &endpoint
        && let Some(alias) = endpoint::alias_in(&placed.value.host)
    {
        let what = format!("`endpoint` of {} begins with an access point's alias", section.of());
        let host = placed.value.host.trim_start_matches(alias).trim_start_matches('.');
        context.fault(
            placed.at,
            what,
            format!("https://{host}, and {alias} in `buckets` of an access point"),
        );
    }
    let endpoint = endpoint.map(|placed| placed.value);

    let mut profile = profile(&section, amazon);
    if let (Some(endpoint), Some(profile)) = (&endpoint, &mut profile) {
        keep_keys_off_the_wire(&section, endpoint, profile);
    }
    if let (Some(endpoint), Some(profile)) = (&endpoint, &profile)
        && profile.addressing == Addressing::Virtual
        && endpoint.host.parse::<std::net::IpAddr>().is_ok()
    {
        let at =
            section.position_of(if section.node("addressing").is_some() { "addressing" } else { "endpoint" });
        let what =
            format!("{} has virtual addressing, and no name stands before an IP address", section.of());
        context.fault(at, what, "`addressing: path`, or an endpoint with a name");
    }
    let signing_region = signing_region(&section, endpoint.as_ref());
    let credentials = section.node("credentials").and_then(|node| source(context, node, name));
    let tls = tls(&section, endpoint.as_ref());
    let probe = probe(&section);
    let kms_keys = kms_keys(&section);
    Some(RegionSettings {
        id: RegionId::new(name),
        endpoint: endpoint?,
        signing_region: signing_region?,
        profile: profile?,
        credentials: credentials?,
        tls,
        probe,
        kms_keys,
    })
}

fn signing_region(section: &Section<'_>, endpoint: Option<&Endpoint>) -> Option<String> {
    const EXPECTED: &str = "the region that this store's signatures are made for, such as eu-central-1, or for SigV4A \
                            regions: \"*\", us-east-1,us-west-2";
    let of_region = |text: &str| {
        (1..=64).contains(&text.len())
            && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_*".contains(&b))
    };
    let read = |text: &str| {
        (text.len() <= LONGEST_REGION_SET && text.split(',').all(of_region)).then(|| text.to_owned())
    };
    if section.node("signing_region").is_some() {
        return section.parsed("signing_region", EXPECTED, read).map(|placed| placed.value);
    }
    // Without an endpoint nobody can say whether it is needed; that fault comes first.
    let known = endpoint::signing_region(&endpoint?.host);
    if known.is_none() {
        section.require("signing_region", EXPECTED);
    }
    known
}

/// A customer's key does not go over a network in plain text: S3 wants HTTPS for it. Within the machine
/// nobody else sees it.
fn keep_keys_off_the_wire(section: &Section<'_>, endpoint: &Endpoint, profile: &mut Profile) {
    if endpoint.tls || endpoint.is_within_the_machine() {
        return;
    }
    if section.node("honours").is_some() && profile.honours.has(Feature::SseC) {
        let what = format!("{} gets no `sse_c`: customers' keys do not go over plain http", section.of());
        section.context.warn(section.position_of("honours"), what);
    }
    profile.honours = profile.honours.without(Features::of(&[Feature::SseC]));
}

fn kms_keys(section: &Section<'_>) -> KmsKeys {
    let of = format!("`kms_keys` of {}", section.of());
    let Some(node) = section.node("kms_keys") else { return KmsKeys::NONE };
    let fits =
        |key: &str| (1..=LONGEST_KMS_KEY).contains(&key.len()) && key.bytes().all(|b| b.is_ascii_graphic());
    let mut keys = Vec::new();
    for entry in
        named(section.context, node, &of, "a map from the keys that clients name to those of this region")
    {
        let Some(physical) = text(section.context, &entry.value, &format!("an entry of {of}"), KMS_KEY)
        else {
            continue;
        };
        if fits(&entry.key) && fits(&physical.value) {
            keys.push(KmsKey { logical: entry.key.clone(), physical: physical.value });
        } else {
            section.context.fault(entry.key_at, format!("an entry of {of} is no key"), KMS_KEY);
        }
    }
    KmsKeys::new(keys)
}

const KMS_KEY: &str = "a key's id, alias or ARN";
/// Bytes: KMS takes no longer one.
const LONGEST_KMS_KEY: usize = 2048;

/// Bytes: the regions that a multi-region access point can have, and more.
const LONGEST_REGION_SET: usize = 512;

fn profile(section: &Section<'_>, amazon: bool) -> Option<Profile> {
    let words: Vec<_> = READY.iter().map(|(name, profile)| (*name, (*name, *profile))).collect();
    let expected = alternatives(READY.iter().map(|(name, _)| *name));
    let named = section.word("profile", &words).map(|placed| placed.value);
    if !amazon {
        section.require("profile", &format!("what the store is: {expected}"));
    }
    let (name, mut profile) = match named {
        Some(named) => named,
        None if section.node("profile").is_none() && amazon => ("aws", Profile::named("aws")?),
        // So that faults of the keys below are found in the same run.
        None => ("", Profile::named("custom")?),
    };
    if let Some(addressing) =
        section.word("addressing", &[("path", Addressing::Path), ("virtual", Addressing::Virtual)])
    {
        profile.addressing = addressing.value;
    }
    if let Some(trailers) =
        section.word("trailers", &[("pass", Trailers::Pass), ("decode", Trailers::Decode)])
    {
        profile.trailers = trailers.value;
    }
    if let Some(body_hash) =
        section.word("body_hash", &[("proxy", BodyHash::Proxy), ("store", BodyHash::Store)])
    {
        profile.body_hash = body_hash.value;
    }
    if section.node("honours").is_some() {
        profile.honours = honours(section);
        if !name.is_empty() && name != "custom" {
            let what =
                format!("`honours` stands beside `profile: {name}`, which says itself what it honours");
            section.context.fault(section.position_of("honours"), what, "`profile: custom` beside it");
        }
    }
    (!name.is_empty()).then_some(profile)
}

fn honours(section: &Section<'_>) -> Features {
    let expected = alternatives(Feature::ALL.iter().map(|feature| feature.name()));
    let mut honours = Features::NONE;
    for text in section.texts("honours", &expected) {
        match Feature::parse(&text.value) {
            Some(feature) => honours = honours.with(feature),
            None => section.context.fault_near(
                text.at,
                format!("{} is nothing that a store can honour", text.quoted()),
                expected.clone(),
                &text.value,
                Feature::ALL.iter().map(|feature| feature.name()),
            ),
        }
    }
    honours
}

/// What credentials look like, for faults.
pub(super) const CREDENTIALS: &str =
    "{chain: default} or {access_key_id: …, secret_access_key: …}, perhaps with a session_token";

/// Compiles `{chain: default}` or a pair.
fn source(context: &Context<'_>, node: &Node, region: &str) -> Option<CredentialSource> {
    let of = format!("`credentials` of region {}", quoted_key(region));
    let section = Section::open(context, node, keys::CREDENTIALS, of.clone())?.without_quotes();
    if section.node("chain").is_none() {
        return pair(&section, &of).map(CredentialSource::Static);
    }
    let chain = section.word("chain", &[("default", ())]);
    for key in ["access_key_id", "secret_access_key", "session_token"] {
        if section.node(key).is_some() {
            context.fault(section.position_of(key), format!("`{key}` stands beside `chain`"), CREDENTIALS);
        }
    }
    if !cfg!(feature = "aws-chain") {
        let what = "this build has no credential chain";
        context.fault(
            section.at,
            what,
            "access_key_id and secret_access_key, or a build with the feature aws-chain",
        );
    }
    chain.map(|_| CredentialSource::Chain)
}

/// Compiles a pair, perhaps with a session token.
pub(super) fn credential(context: &Context<'_>, node: &Node, of: &str) -> Option<Credential> {
    let section = Section::open(context, node, keys::CREDENTIALS, of)?.without_quotes();
    if section.node("chain").is_some() {
        let what = format!("`chain` stands in {of}");
        context.fault(section.position_of("chain"), what, "access_key_id and secret_access_key");
        return None;
    }
    pair(&section, of)
}

fn pair(section: &Section<'_>, of: &str) -> Option<Credential> {
    if section.is_empty() {
        section.context.fault(section.at, format!("{of} has no credentials in it"), CREDENTIALS);
        return None;
    }
    section.require("access_key_id", "the public half of the pair");
    section.require("secret_access_key", "the secret half of the pair");
    let access_key_id = access_key_id(section);
    let secret = section.secret("secret_access_key");
    let session_token = section.secret("session_token").map(|placed| placed.value);
    Some(Credential { access_key_id: access_key_id?.value, secret: secret?.value, session_token })
}

/// Reads the public half of a pair. Quoted in no fault, in case the halves were swapped.
pub(super) fn access_key_id(section: &Section<'_>) -> Option<Placed<AccessKeyId>> {
    let id = section.secret("access_key_id")?;
    let text = id.value.expose_secret();
    // It stands between slashes in credential scopes, and in headers.
    let fits = text.len() <= 128 && text.bytes().all(|b| b.is_ascii_graphic() && b != b'/' && b != b',');
    if !fits {
        let expected = "at most 128 visible ASCII characters without `/` and `,`";
        section.context.fault(id.at, "`access_key_id` holds other characters, or too many", expected);
        return None;
    }
    Some(Placed { at: id.at, value: AccessKeyId::new(text) })
}

fn tls(section: &Section<'_>, endpoint: Option<&Endpoint>) -> UpstreamTls {
    let Some(tls) = section.section("tls", keys::REGION_TLS) else { return UpstreamTls::default() };
    if endpoint.is_some_and(|endpoint| !endpoint.tls) {
        let what = "`tls` stands beside an http endpoint";
        section.context.fault(section.position_of("tls"), what, "an https endpoint");
    }
    let together = "`certificate` and `key` together";
    match (tls.node("certificate"), tls.node("key")) {
        (Some(_), None) => tls.require("key", together),
        (None, Some(_)) => tls.require("certificate", together),
        _ => {}
    }
    let identity = tls.identity().map(|(certificate, key)| UpstreamIdentity { certificate, key });
    UpstreamTls { ca_file: tls.pem("ca_file", PemFile::authorities).map(|file| file.value), identity }
}

fn probe(section: &Section<'_>) -> ProbeSettings {
    let mut settings = ProbeSettings {
        interval: ProbeSettings::INTERVAL,
        bucket: None,
        key: ProbeSettings::KEY.to_owned(),
        write: None,
    };
    let Some(probe) = section.section("probe", keys::PROBE) else { return settings };
    if let Some(interval) = probe.duration("interval", SHORTEST_PROBE_INTERVAL) {
        settings.interval = interval;
    }
    settings.bucket = physical_bucket(&probe, "bucket");
    let read = |text: &str| (1..=1024).contains(&text.len()).then(|| text.to_owned());
    if let Some(key) = probe.parsed("key", "a key of 1 to 1,024 bytes", read) {
        settings.key = key.value;
    }
    let read = |text: &str| match text {
        "off" => Some(None),
        "on" => Some(Some(ProbeSettings::WRITE_INTERVAL)),
        text => units::duration(text).ok().filter(|pause| *pause >= SHORTEST_WRITE_INTERVAL).map(Some),
    };
    settings.write = probe.parsed("write", WRITE, read).and_then(|write| write.value);
    settings
}

/// What `probe.write` may be.
const WRITE: &str = "off, on (every 15s), or a duration such as 30s, at least 1s";

/// Below it, write probes cost more than they tell.
const SHORTEST_WRITE_INTERVAL: Duration = Duration::from_secs(1);

/// Below it, probes cost more than they tell.
const SHORTEST_PROBE_INTERVAL: Duration = Duration::from_millis(100);

/// What a store's bucket may be called. Laxer than S3's rule: old buckets and other vendors have
/// capitals, underscores and up to 255 characters.
pub(super) const PHYSICAL_BUCKET: &str = "a bucket name: 3 to 255 of a-z, A-Z, 0-9, `.`, `-` and `_`";

/// Reads the name of a store's bucket.
pub(super) fn physical_bucket(section: &Section<'_>, key: &str) -> Option<BucketName> {
    section.parsed(key, PHYSICAL_BUCKET, read_bucket).map(|placed| placed.value)
}

/// A bucket name, if it is one.
pub(super) fn read_bucket(text: &str) -> Option<BucketName> {
    let fits = (3..=255).contains(&text.len())
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || b".-_".contains(&b))
        // Dots alone would walk up in a path.
        && text.bytes().any(|b| b != b'.');
    fits.then(|| BucketName::new(text))
}

/// The name and the place of every region, faulty ones included, so that one fault does not make
/// others of those who refer to it.
pub(super) fn names(entries: &[&Entry]) -> Vec<(RegionId, Position)> {
    entries.iter().map(|entry| (RegionId::new(&entry.key), entry.key_at)).collect()
}
