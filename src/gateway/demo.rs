//! The demo's settings as a gateway's.

use super::{Gateway, Origin, fixed, standings};
use crate::admin::AdminSettings;
use crate::clock::Clock;
use crate::config::Settings;
use crate::demo::{DemoRegion, DemoSettings, RegionStanding, Running};
use crate::listen::{Address, ListenerSettings};
use crate::names::{ClientName, Secret};
use crate::policy::{Client, Grant, RegionCredentials};
use crate::route::{AccessPoint, ConditionalWrites, Member, Order, Replication, Rule, Versions};
use crate::s3::profile::{Addressing, BodyHash, Feature, Features, Profile, Trailers};
use crate::sigv4::Key;
use crate::telemetry::{AccessLogTo, TelemetrySettings, metric};
use crate::view::{
    CredentialSource, Endpoint, Limits, LogicalRegion, ProbeSettings, RegionSettings, Timeouts, UpstreamTls,
};

/// Starts a gateway over the demo's regions.
///
/// # Errors
/// What kept it from starting.
pub fn start(demo: DemoSettings) -> anyhow::Result<Running> {
    let metrics = metric::install()?;
    let gateway = Gateway::start(fixed(settings(demo)), Origin::Fixed, metrics)?;
    let address = gateway.address().ok_or_else(|| anyhow::anyhow!("the demo listens on no port"))?;
    let (view, clock) = (gateway.view.clone(), Clock::system());
    let standings = move || {
        standings(&view.load(), clock.now().mono)
            .iter()
            .filter_map(|row| {
                Some(RegionStanding {
                    region: row["id"].as_str()?.into(),
                    reads: row["reads"].as_str()?.to_owned(),
                    writes: row["writes"].as_str()?.to_owned(),
                    latency: row["latency_ms"]
                        .as_f64()
                        .map(|ms| std::time::Duration::from_secs_f64(ms / 1000.0)),
                })
            })
            .collect()
    };
    Ok(Running { address, standings: Box::new(standings), stop: Box::new(move || gateway.stop()) })
}

fn settings(demo: DemoSettings) -> Settings {
    let members = demo
        .regions
        .iter()
        .map(|region| Member { region: region.id.clone(), bucket: Some(region.bucket.clone()) });
    let access_point = AccessPoint {
        name: demo.access_point.clone(),
        alias: None,
        members: members.collect(),
        reads: Rule { order: Order::Nearest, failover: true },
        writes: Rule { order: Order::Home, failover: true },
        home: demo.home.clone(),
        conditional_writes: ConditionalWrites::Home,
        replication: Replication::TwoWay,
        versions: Versions::PerRegion,
    };
    let client = ClientName::new("demo");
    Settings {
        logical_region: LogicalRegion::Exactly(demo.logical_region),
        tokens: None,
        state_dir: demo.state_dir,
        listeners: vec![ListenerSettings::new(Address::Tcp(demo.listen))],
        admin: AdminSettings {
            address: Address::Tcp(std::net::SocketAddr::from(([127, 0, 0, 1], 0))),
            token: None,
        },
        domains: Vec::new(),
        regions: demo.regions.iter().map(region).collect(),
        access_points: vec![access_point],
        clients: vec![Client {
            name: client.clone(),
            grant: Grant::NamedObjects,
            region_credentials: RegionCredentials::None,
        }],
        keys: vec![Key {
            access_key_id: demo.client.access_key_id,
            secret: Secret::clone(&demo.client.secret),
            session_token: None,
            client,
        }],
        limits: Limits::default(),
        timeouts: Timeouts { drain: std::time::Duration::from_secs(1), ..Timeouts::default() },
        telemetry: TelemetrySettings { access_log: AccessLogTo::Off, ..TelemetrySettings::default() },
    }
}

fn region(region: &DemoRegion) -> RegionSettings {
    RegionSettings {
        id: region.id.clone(),
        endpoint: Endpoint {
            tls: false,
            host: region.address.ip().to_string(),
            port: region.address.port(),
            base_path: String::new(),
        },
        signing_region: region.signing_region.clone(),
        // The embedded store answers a wrong hash with 500 and keeps what a wrong trailer ends.
        profile: Profile {
            honours: Features::of(&[Feature::ConditionalWrites]),
            addressing: Addressing::Path,
            trailers: Trailers::Decode,
            body_hash: BodyHash::Proxy,
        },
        credentials: CredentialSource::Static(region.credential.clone()),
        tls: UpstreamTls::default(),
        probe: ProbeSettings {
            interval: ProbeSettings::INTERVAL,
            bucket: Some(region.bucket.clone()),
            key: ProbeSettings::KEY.to_owned(),
        },
    }
}
