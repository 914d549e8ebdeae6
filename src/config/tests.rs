//! What compiles, into what. Faults are golden files: `tests/config.rs`.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::listen::{Address, Anonymous, TlsSettings};
use crate::names::{AccessPointName, BucketName, ExposeSecret, RegionId, Secret};
use crate::pem::PemFile;
use crate::policy::{Grant, RegionCredentials};
use crate::route::{
    ConditionalWrites, EtagCheck, Etags, Hedge, LagShield, Order, Replication, Rule, Versions,
};
use crate::s3::profile::{Addressing, BodyHash, Feature, Features, Profile, Trailers};
use crate::telemetry::{AccessLogTo, LogFormat, LogLevel};
use crate::units::{ByteCount, PerSecond, Ratio};
use crate::view::{
    CredentialSource, Endpoint, FirstByte, Limits, LogicalRegion, ProbeSettings, Timeouts, UpstreamIdentity,
};

fn no_env(_: &str) -> Option<String> {
    None
}

fn no_files(_: &Path) -> io::Result<String> {
    Err(io::ErrorKind::NotFound.into())
}

const NOTHING: Outside<'_> = Outside { env: &no_env, read_file: &no_files };

fn settings(text: &str, outside: Outside<'_>) -> Settings {
    compile(text, Path::new("np.yaml"), outside).unwrap_or_else(|refused| panic!("{refused}")).settings
}

/// The smallest configuration, and more.
fn least(more: &str) -> Settings {
    let text = format!(
        "listeners: {{s3: [{{address: '127.0.0.1:0', verify: off}}]}}\n\
         regions: {{eu: {{endpoint: 'https://s3.eu-west-1.amazonaws.com', credentials: {{chain: default}}}}}}\n\
         access_points: {{photos: {{buckets: {{eu: photos-dub}}}}}}\n{more}"
    );
    settings(&text, NOTHING)
}

fn exposed(secret: &Secret) -> &str {
    secret.expose_secret()
}

#[test]
fn what_is_not_said_has_its_default() {
    let settings = least("");
    assert_eq!(settings.logical_region, LogicalRegion::Any);
    assert!(settings.tokens.is_none() && !settings.needs_tokens());
    assert_eq!(settings.admin.address.to_string(), "127.0.0.1:9901");
    assert!(settings.admin.token.is_none());
    assert_eq!(settings.limits, Limits::default());
    assert_eq!(settings.timeouts, Timeouts::default());
    assert_eq!(settings.telemetry, crate::telemetry::TelemetrySettings::default());
    let region = &settings.regions[0];
    assert_eq!(region.signing_region, "eu-west-1");
    assert_eq!(Some(region.profile), Profile::named("aws"));
    assert!(matches!(region.credentials, CredentialSource::Chain));
    assert_eq!(
        region.probe,
        ProbeSettings {
            interval: Duration::from_secs(1),
            bucket: Some(BucketName::new("photos-dub")),
            key: ".nearpoint/canary".into(),
            write: None
        }
    );
    let point = &settings.access_points[0];
    assert_eq!(point.name, AccessPointName::new("photos"));
    assert_eq!(point.home, RegionId::new("eu"));
    assert_eq!(point.reads, Rule { order: Order::Nearest, failover: true });
    assert_eq!(point.writes, Rule { order: Order::Home, failover: false });
    assert_eq!(point.conditional_writes, ConditionalWrites::Home);
    assert_eq!(point.replication, Replication::None);
    assert_eq!(point.versions, Versions::PerRegion);
    assert_eq!((point.etags, point.hedge), (Etags::Opaque, Hedge::Off));
    assert_eq!((point.write_nonce, point.etag_check), (true, EtagCheck::Auto));
    assert_eq!(point.lag_shield, LagShield { fallback: true, remember: Duration::from_mins(15) });

    let whole = "regions: {eu: {endpoint: 'https://s3.amazonaws.com', credentials: {chain: default}}}\n\
                 access_points: {'*': {regions: [eu]}}\n\
                 clients: [{name: app, access_key_id: A, secret_access_key: B}]\n";
    let settings = self::settings(whole, NOTHING);
    let listener = &settings.listeners[0];
    assert_eq!(listener.address.to_string(), "127.0.0.1:9000");
    assert!(listener.verify && listener.debug_headers && listener.anonymous == Anonymous::Deny);
    assert_eq!(settings.clients[0].grant, Grant::NamedObjects);
    assert_eq!(settings.regions[0].probe.bucket, None, "the wildcard has no bucket of its own");
}

#[test]
fn the_first_region_of_a_wildcard_is_home() {
    let several = "regions: {eu: {endpoint: 'https://s3.eu-west-1.amazonaws.com', credentials: {chain: default}},\n\
                   us: {endpoint: 'https://s3.us-east-1.amazonaws.com', credentials: {chain: default}}}\n\
                   access_points: {'*': {regions: [us, eu]}}\n\
                   clients: [{name: app, access_key_id: A, secret_access_key: B}]\n";
    let settings = settings(several, NOTHING);
    let [point] = settings.access_points.as_slice() else { panic!("one access point") };
    assert_eq!(point.home, RegionId::new("us"));
    assert_eq!(point.members.iter().map(|member| member.region.as_str()).collect::<Vec<_>>(), ["us", "eu"]);
    assert_eq!(point.reads, Rule { order: Order::Home, failover: true });
    assert_eq!(point.writes, Rule { order: Order::Home, failover: false });
}

#[test]
fn everything_that_is_said_arrives() {
    let file = Path::new("tests/cases/config/good/everything.yaml");
    let env = |name: &str| Some(format!("value of {name}"));
    let read = |path: &Path| fs::read_to_string(path);
    let outside = Outside { env: &env, read_file: &read };
    let loaded = compile(&fs::read_to_string(file).unwrap(), file, outside);
    // The environment's texts are no key ids; the golden test has better ones.
    let faults = loaded.unwrap_err().faults;
    assert!(faults.iter().all(|fault| fault.what.contains("access_key_id")), "{faults:?}");

    let env = |name: &str| Some(name.to_lowercase().repeat(2));
    let outside = Outside { env: &env, read_file: &read };
    let loaded = compile(&fs::read_to_string(file).unwrap(), file, outside).unwrap();
    let settings = &loaded.settings;
    assert_eq!(settings.logical_region, LogicalRegion::Exactly("eu-central-1".into()));
    let tokens: Vec<_> = settings.tokens.iter().flatten().map(exposed).collect();
    assert_eq!(tokens, ["sixteen bytes or more of a token key", "another sixteen bytes or more"]);
    assert!(settings.needs_tokens());
    assert_eq!(settings.state_dir, PathBuf::from("tests/cases/config/good/state"));
    assert_eq!(settings.domains, ["s3.example.com", "s3.example.org:9000"]);
    assert_eq!(settings.admin.token.as_ref().map(exposed), Some("admin_tokenadmin_token"));
    listeners_arrive(settings);
    regions_arrive(settings);
    access_points_arrive(settings);
    clients_arrive(settings);
    numbers_arrive(settings);
    let files = [
        "ca.pem",
        "old-token-key.txt",
        "read-photos.json",
        "secret.txt",
        "tls.crt",
        "tls.key",
        "token-key.txt",
    ];
    let files = files.map(|name| Path::new("tests/cases/config/good/../files").join(name));
    let expected: BTreeSet<_> = files.into_iter().chain([file.to_owned()]).collect();
    assert_eq!(loaded.depends_on, expected);
}

fn listeners_arrive(settings: &Settings) {
    let [first, unix, tls] = settings.listeners.as_slice() else { panic!("three listeners") };
    assert!(first.verify && !first.debug_headers);
    assert_eq!(unix.address, Address::Unix("/run/nearpoint/s3.sock".into()));
    assert!(!unix.verify && unix.debug_headers);
    assert_eq!(unix.allow_origins, ["https://app.example.com", "http://[::1]:8080"]);
    assert_eq!(tls.anonymous, Anonymous::Sign);
    let networks: Vec<_> = tls.allow_from.iter().map(ToString::to_string).collect();
    assert_eq!(networks, ["10.0.0.0/8", "2001:db8::/32", "192.0.2.7/32"]);
    let files = tls.tls.as_ref().unwrap();
    let folder = Path::new("tests/cases/config/good/../files");
    assert_eq!((&files.certificate, &files.key), (&pem(folder, "tls.crt"), &pem(folder, "tls.key")));
    assert_eq!(files.client_ca, Some(pem(folder, "ca.pem")));
}

/// A file as it is now.
fn pem(folder: &Path, name: &str) -> PemFile {
    let path = folder.join(name);
    let text = fs::read_to_string(&path).unwrap();
    PemFile::new(path, Secret::from(text))
}

fn regions_arrive(settings: &Settings) {
    let [frankfurt, garage, attic] = settings.regions.as_slice() else { panic!("three regions") };
    assert_eq!(frankfurt.probe.interval, Duration::from_secs(5));
    assert_eq!(frankfurt.probe.write, Some(Duration::from_secs(15)), "on");
    assert_eq!((garage.probe.write, attic.probe.write), (None, Some(Duration::from_secs(30))));
    assert_eq!(frankfurt.profile.addressing, Addressing::Virtual);
    let endpoint =
        Endpoint { tls: true, host: "garage.internal".into(), port: 3900, base_path: "/base".into() };
    assert_eq!(garage.endpoint, endpoint);
    assert_eq!(garage.signing_region, "garage");
    assert_eq!(garage.profile.trailers, Trailers::Decode);
    assert_eq!(garage.profile.body_hash, BodyHash::Store);
    assert_eq!(garage.profile.honours, Profile::named("garage").unwrap().honours);
    assert_eq!(garage.probe.bucket, Some(BucketName::new("photos")), "of the first access point that has it");
    let folder = Path::new("tests/cases/config/good/../files");
    assert_eq!(garage.tls.ca_file, Some(pem(folder, "ca.pem")));
    let identity = UpstreamIdentity { certificate: pem(folder, "tls.crt"), key: pem(folder, "tls.key") };
    assert_eq!(garage.tls.identity, Some(identity));
    let CredentialSource::Static(pair) = &garage.credentials else { panic!("a pair") };
    assert_eq!(pair.access_key_id.as_str(), "g_idg_id");
    assert_eq!(exposed(&pair.secret), "g_secretg_secret");
    assert_eq!(pair.session_token.as_ref().map(exposed), Some("g_tokeng_token"));
    assert_eq!(attic.endpoint.authority(), "[::1]:9000");
    assert_eq!(attic.profile.honours, Features::of(&Feature::ALL));
    assert_eq!(attic.probe.bucket, Some(BucketName::new("health")));
    assert_eq!((attic.probe.key.as_str(), attic.probe.interval), ("canary", Duration::from_millis(250)));
    let CredentialSource::Static(pair) = &attic.credentials else { panic!("a pair") };
    assert_eq!(exposed(&pair.secret), "pre-${x}-a-secret-out-of-a-file-post");
}

fn access_points_arrive(settings: &Settings) {
    let [photos, logs, wildcard] = settings.access_points.as_slice() else { panic!("three access points") };
    let id = RegionId::new;
    assert_eq!(photos.alias.as_deref(), Some("mfzwi23gnjvgw.mrap"));
    assert_eq!(photos.home, id("frankfurt"));
    assert_eq!(photos.conditional_writes, ConditionalWrites::Refuse);
    assert_eq!(photos.replication, Replication::TwoWay);
    assert_eq!((photos.etags, photos.hedge), (Etags::Opaque, Hedge::After(Duration::from_millis(50))));
    assert_eq!((photos.write_nonce, photos.etag_check), (false, EtagCheck::Md5));
    let buckets: Vec<_> = photos.members.iter().map(|m| (m.region.as_str(), m.bucket.clone())).collect();
    let bucket = |name| Some(BucketName::new(name));
    assert_eq!(buckets, [("frankfurt", bucket("photos-fra")), ("garage", bucket("photos"))]);
    assert_eq!(logs.reads.order, Order::List(vec![id("attic"), id("garage")]));
    assert_eq!(logs.writes, Rule { order: Order::List(vec![id("garage"), id("attic")]), failover: true });
    assert_eq!((&logs.home, logs.versions), (&id("garage"), Versions::Shared));
    assert_eq!((logs.etags, logs.hedge), (Etags::Stable, Hedge::Auto));
    assert_eq!(photos.lag_shield, LagShield { fallback: false, remember: Duration::from_mins(2) });
    assert_eq!(logs.lag_shield, LagShield { fallback: true, remember: Duration::ZERO });
    assert!(wildcard.is_wildcard());
    assert_eq!((&wildcard.home, wildcard.members.len()), (&id("attic"), 1));
    assert_eq!(wildcard.members[0].bucket, None);
}

fn clients_arrive(settings: &Settings) {
    let [thumbnailer, tenant_a, tenant_b] = settings.clients.as_slice() else { panic!("three clients") };
    assert!(matches!(thumbnailer.grant, Grant::Policy(_)));
    assert!(matches!(thumbnailer.region_credentials, RegionCredentials::None));
    assert_eq!(tenant_a.grant, Grant::StoreJudges);
    let own = tenant_a.credential(&RegionId::new("garage")).unwrap();
    assert_eq!(own.access_key_id.as_str(), "TENANTA");
    assert_eq!(own.session_token.as_ref().map(exposed), Some("g_tokeng_token"));
    assert!(tenant_b.credential(&RegionId::new("garage")).is_none());
    assert_eq!(tenant_b.credential(&RegionId::new("attic")).unwrap().access_key_id.as_str(), "attic");
    let keys: Vec<_> =
        settings.keys.iter().map(|key| (key.access_key_id.as_str(), key.client.as_str())).collect();
    assert_eq!(keys, [("NPTHUMB", "thumbnailer"), ("TENANTA", "tenant-a"), ("TENANTB", "tenant-b")]);
    assert_eq!(exposed(&settings.keys[0].secret), "a-secret-out-of-a-file");
    assert_eq!(settings.keys[1].session_token.as_ref().map(exposed), Some("g_tokeng_token"));
}

fn numbers_arrive(settings: &Settings) {
    let limits = Limits {
        connections: 10,
        connections_per_ip: 5,
        head: ByteCount(16 << 10),
        header_fields: 64,
        in_flight: 100,
        in_flight_per_region: 50,
        replay_body: ByteCount(512 << 10),
        replay_total: ByteCount(8 << 20),
        xml_body: ByteCount(1 << 20),
        attempts: 2,
        resumes: 1,
        retry_share: Ratio(0.1),
        retry_floor: PerSecond(5.0),
        remembered_keys: 5_000,
    };
    assert_eq!(settings.limits, limits);
    let s = Duration::from_secs;
    let timeouts = Timeouts {
        connect: Duration::from_millis(500),
        tls: s(1),
        first_byte: FirstByte::Fixed(s(2)),
        put_answer: s(20),
        complete: Duration::from_mins(5),
        body_progress: s(10),
        stalled_reader: s(60),
        client_head: s(5),
        idle: s(30),
        upstream_idle: s(3),
        drain_min: s(5),
        drain: s(10),
    };
    assert_eq!(settings.timeouts, timeouts);
    let telemetry = &settings.telemetry;
    assert_eq!((telemetry.log, telemetry.format), (LogLevel::Debug, LogFormat::Text));
    assert_eq!(telemetry.access_log, AccessLogTo::File("/var/log/nearpoint/access.log".into()));
}

#[test]
fn the_state_dir_is_the_services_the_users_or_the_machines() {
    for (set, expected) in [
        (&[("STATE_DIRECTORY", "/srv/np:/srv/other"), ("HOME", "/home/a")][..], "/srv/np"),
        (&[("XDG_STATE_HOME", "/x"), ("HOME", "/home/a")], "/x/nearpoint"),
        (&[("HOME", "/home/a"), ("XDG_STATE_HOME", "relative")], "/home/a/.local/state/nearpoint"),
        (&[], "/var/lib/nearpoint"),
    ] {
        let env = |name: &str| set.iter().find(|(n, _)| *n == name).map(|(_, value)| (*value).to_owned());
        let text = "listeners: {s3: [{address: 'unix:/s', verify: off}]}\n\
                    regions: {eu: {endpoint: 'https://s3.amazonaws.com', credentials: {chain: default}}}\n\
                    access_points: {photos: {buckets: {eu: photos}}}\n";
        let settings = settings(text, Outside { env: &env, read_file: &no_files });
        assert_eq!(settings.state_dir, PathBuf::from(expected));
    }
}

#[test]
fn every_key_is_shown_by_the_shipped_gateway() {
    let gateway = include_str!("../../config/gateway.yaml");
    for key in keys::ALL.iter().copied().flatten() {
        let shown = gateway.contains(&format!("{}:", key.name));
        assert_eq!(shown, key.acted_on, "`{}` is shown, or acted on, but not both", key.name);
    }
}

#[cfg(feature = "demo")]
#[test]
fn the_demo_plays_the_shipped_file() {
    use crate::demo::{DemoRegion, DemoSettings, regions};
    use crate::sigv4::Credential;

    let credential = |name: &str| Credential {
        access_key_id: name.into(),
        secret: Secret::from(format!("secret of {name}")),
        session_token: None,
    };
    let planned = regions::PLANS.iter().map(|plan| DemoRegion {
        id: RegionId::new(plan.id),
        address: ([127, 0, 0, 1], 9101).into(),
        signing_region: plan.signing_region.into(),
        bucket: BucketName::new(&format!("photos-{}", plan.id)),
        credential: credential(plan.id),
        latency: plan.latency,
    });
    let demo = DemoSettings {
        listen: ([127, 0, 0, 1], 0).into(),
        logical_region: "us-east-1".into(),
        access_point: AccessPointName::new("photos"),
        regions: planned.collect(),
        home: RegionId::new(regions::PLANS[0].id),
        client: credential("client"),
        state_dir: "/tmp/demo".into(),
    };
    let loaded = from_demo(&demo).unwrap_or_else(|refused| panic!("{refused}"));
    assert_eq!(loaded.warnings, []);
    let settings = loaded.settings;
    assert_eq!(settings.logical_region, LogicalRegion::Exactly("us-east-1".into()));
    assert_eq!(settings.state_dir, demo.state_dir);
    let point = &settings.access_points[0];
    assert_eq!((&point.name, &point.home), (&demo.access_point, &demo.home));
    for (planned, region) in demo.regions.iter().zip(&settings.regions) {
        assert_eq!(region.id, planned.id);
        assert_eq!(region.signing_region, planned.signing_region);
        assert_eq!(region.endpoint.authority(), planned.address.to_string());
        assert_eq!(point.member(&region.id).unwrap().bucket.as_ref(), Some(&planned.bucket));
        let CredentialSource::Static(pair) = &region.credentials else { panic!("a pair") };
        assert_eq!(exposed(&pair.secret), exposed(&planned.credential.secret));
    }
    assert_eq!(settings.keys[0].access_key_id, demo.client.access_key_id);
    assert_eq!(settings.regions.len(), demo.regions.len());
}

fn flags(point: &str, regions: &[&str]) -> Result<Loaded, Vec<String>> {
    let regions: Vec<_> = regions.iter().map(|region| (*region).to_owned()).collect();
    from_flags(point, &regions, None, NOTHING)
        .map_err(|refused| refused.faults.iter().map(ToString::to_string).collect())
}

#[test]
fn the_flag_for_replication_is_the_one_that_the_warning_names() {
    let regions = ["eu", "us"].map(|id| format!("{id}=https://s3.{id}-east-1.amazonaws.com/photos-{id}"));
    let load = |replication| from_flags("photos", &regions, replication, NOTHING);
    let warnings = load(None).unwrap().warnings;
    assert_eq!(warnings.len(), 1);
    assert!(warnings[0].what.contains("say so with `--replication one_way or two_way`"), "{}", warnings[0]);
    assert_eq!(load(Some("two_way")).unwrap().warnings, []);
    let refused = load(Some("both")).unwrap_err().to_string();
    assert!(refused.starts_with("--replication"), "{refused}");
}

#[test]
fn flags_make_a_configuration() {
    let loaded = flags(
        "photos",
        &[
            "eu=https://s3.eu-central-1.amazonaws.com/photos-fra",
            "lab=http://lab.internal:3900/base/photos/,signing=garage,profile=garage,addressing=virtual",
        ],
    )
    .unwrap();
    let settings = loaded.settings;
    let [listener] = settings.listeners.as_slice() else { panic!("one listener") };
    assert_eq!(listener.address.to_string(), "127.0.0.1:9000");
    assert!(!listener.verify);
    let [eu, lab] = settings.regions.as_slice() else { panic!("two regions") };
    assert_eq!((eu.id.as_str(), eu.signing_region.as_str()), ("eu", "eu-central-1"));
    assert_eq!((lab.id.as_str(), lab.signing_region.as_str()), ("lab", "garage"));
    assert_eq!(lab.profile.addressing, Addressing::Virtual);
    assert_eq!(
        (lab.endpoint.authority().as_str(), lab.endpoint.base_path.as_str()),
        ("lab.internal:3900", "/base")
    );
    let point = &settings.access_points[0];
    assert_eq!((point.name.as_str(), point.home.as_str()), ("photos", "eu"));
    assert_eq!(point.member(&lab.id).unwrap().bucket, Some(BucketName::new("photos")));
    assert!(settings.clients.is_empty() && settings.tokens.is_none() && settings.needs_tokens());
    assert!(matches!(eu.credentials, CredentialSource::Chain));
}

#[test]
fn faulty_flags_are_named() {
    let faults = flags(
        "Photos",
        &[
            "eu",
            "us=https://photos",
            "lab=https://user:hunter2@lab.example.com/photos,profile=gargae,sining=x",
            "lab2=https://lab.example.com/photos",
        ],
    )
    .unwrap_err();
    let point = "--access-point Photos: `Photos` is no name for an access point; expected a bucket name";
    assert!(faults[0].starts_with(point), "{faults:#?}");
    let form = "NAME=URL/BUCKET[,signing=REGION][,profile=STORE][,addressing=path|virtual]";
    assert!(faults.contains(&format!("--region: this is no region; expected {form}")), "{faults:#?}");
    assert!(faults.contains(&format!("--region us: this is no region; expected {form}")), "{faults:#?}");
    let option = format!("--region lab: unknown option `sining`; expected {form}; did you mean `signing`?");
    assert!(faults.contains(&option), "{faults:#?}");
    assert!(faults.iter().any(|f| f.starts_with("--region lab: `profile` of region `lab` is `gargae`")));
    assert!(faults.iter().any(|f| f.starts_with("--region lab2: region `lab2` has no `profile`")));
    assert!(faults.iter().all(|fault| !fault.contains("hunter2")), "{faults:#?}");

    let none = flags("photos", &[]).unwrap_err();
    assert!(none.iter().any(|fault| fault.contains("`regions` is empty")), "{none:#?}");
    let twice = "eu=https://s3.eu-central-1.amazonaws.com/photos";
    let twice = flags("photos", &[twice, twice]).unwrap_err();
    assert_eq!(twice, ["--region eu: `eu` is there twice; expected each key once"]);
    // one fault has no followers, and no password gets out
    for (bad, flag) in [
        ("eu", "--region: this is no region"),
        ("eu=user:hunter2@h/bkt", "--region eu: `endpoint` of region `eu` is `…@h`"),
        ("eu=user:hunter2/x@h", "--region eu: this is no region"),
        ("https://user:hunter2@h/bkt?x=1", "--region: this is no region"),
        ("eu=https://h/b,profile=custom,signing=x,hunter2@h", "--region eu: unknown option `…@h`"),
    ] {
        let faults = flags("photos", &[bad]).unwrap_err();
        assert!(faults[0].starts_with(flag), "{faults:#?}");
        assert!(faults.iter().all(|fault| !fault.contains("hunter2")), "{faults:#?}");
        let other = faults.iter().filter(|fault| !fault.starts_with("--region")).count();
        assert_eq!(other, 0, "{faults:#?}");
    }
    let one = flags("photos", &["eu", "https://h"]).unwrap_err();
    assert_eq!(one.len(), 2, "{one:#?}");
}

#[test]
fn a_difference_is_named_with_what_it_needs() {
    let names = |old: &Settings, new: &Settings| -> Vec<(String, How, bool)> {
        diff(old, new).into_iter().map(|change| (change.what, change.how, change.needs_restart)).collect()
    };
    let old = least("");
    assert_eq!(names(&old, &least("")), []);

    let mut new = least("logical_region: eu\nlimits: {attempts: 2}\ntelemetry: {log: warn}\n");
    new.listeners[0].verify = true;
    new.regions[0].id = RegionId::new("us");
    assert_eq!(
        names(&old, &new),
        [
            ("logical_region".into(), How::Changed, false),
            ("listener `127.0.0.1:0`".into(), How::Changed, false),
            ("region `eu`".into(), How::Removed, false),
            ("region `us`".into(), How::Added, false),
            ("limits".into(), How::Changed, false),
            ("telemetry".into(), How::Changed, true),
        ]
    );

    let listener = [("listener `127.0.0.1:0`".to_owned(), How::Changed, false)];
    let with_certificate = |text: &str| {
        let mut settings = least("");
        let file = PemFile::new("tls.pem".into(), Secret::from(text.to_owned()));
        let files = TlsSettings { certificate: file.clone(), key: file.clone(), client_ca: None };
        settings.listeners[0].tls = Some(files);
        settings.regions[0].tls.ca_file = Some(file);
        settings
    };
    let rotated = names(&with_certificate("old"), &with_certificate("new"));
    assert_eq!(rotated, [listener[0].clone(), ("region `eu`".into(), How::Changed, false)]);
    assert_eq!(names(&with_certificate("old"), &with_certificate("old")), []);
    let mut two = least("");
    two.listeners.push(two.listeners[0].clone());
    assert_eq!(names(&old, &two), [("listener `127.0.0.1:0 (2)`".into(), How::Added, false)]);
    let mut moved = least("");
    moved.listeners[0].address = "127.0.0.1:1".parse().unwrap();
    assert_eq!(
        names(&old, &moved),
        [
            ("listener `127.0.0.1:0`".into(), How::Removed, false),
            ("listener `127.0.0.1:1`".into(), How::Added, false),
        ]
    );

    let client = |secret: &str, id: &str| {
        least(&format!("clients: [{{name: app, access_key_id: {id}, secret_access_key: {secret}}}]\n"))
    };
    assert_eq!(names(&client("a", "A"), &client("a", "A")), []);
    let changed = vec![("client `app`".to_owned(), How::Changed, false)];
    assert_eq!(names(&client("a", "A"), &client("b", "A")), changed);
    assert_eq!(names(&client("a", "A"), &client("a", "B")), changed);
    let tokens = |key: &str| least(&format!("tokens: {{keys: [{key}]}}\n"));
    assert_eq!(names(&tokens("0123456789abcdef"), &tokens("0123456789abcdef")), []);
    let changed = vec![("tokens".to_owned(), How::Changed, false)];
    assert_eq!(names(&tokens("0123456789abcdef"), &tokens("fedcba9876543210")), changed);
}

proptest! {
    /// Whatever one line of a sound configuration is turned into, compiling ends, and a refusal
    /// says why.
    #[test]
    fn no_text_makes_it_panic(line in 0_usize..60, with in "[-a-z0-9:{}\\[\\]\"'*&!|>,#$ .%/]{0,30}") {
        let text = include_str!("../../tests/cases/config/good/everything.yaml");
        let lines = text.lines().enumerate().map(|(n, own)| if n == line { with.as_str() } else { own });
        let text = lines.collect::<Vec<_>>().join("\n");
        if let Err(refused) = compile(&text, Path::new("np.yaml"), NOTHING) {
            prop_assert!(!refused.faults.is_empty());
        }
    }
}
