//! `check --online`: asks every bucket of every named access point what an operator wants to know before
//! there is traffic. A key that is not there proves name, connection, TLS, clock, credential, signing
//! region and bucket, and shows whether absent keys can be told from forbidden ones: the lag shield
//! lives by that. Then: may it be listed, does it keep versions where the configuration counts on them,
//! is its clock right. With `--write`, and only where writes may go, a key beside the probe's is put and
//! deleted, and between the two the store is asked for all that a profile can say of it (`trial`): each
//! answer is read (`reading`), held against the region's profile (`compare`), and all of them summed up
//! as the profile that fits (`fit`).

mod capability;
mod compare;
mod fit;
mod judge;
mod reading;
mod trial;

use std::time::{Duration, Instant};

use bytes::Bytes;
use http::Method;
use tokio::runtime::Builder;

pub use self::capability::{Capability, Shown};
pub use self::fit::Fit;
use self::judge::{absent, clock, listed, versions};
use self::trial::Tried;
use super::{control, fresh_coin};
use crate::clock::Clock;
use crate::config::Settings;
use crate::credentials::{self, Store};
use crate::dns::Resolver;
use crate::exchange::meters::Meters;
use crate::exchange::tls::{MachineRoots, TlsClient};
use crate::names::{AccessPointName, BucketName, CredentialId, RegionId};
use crate::probe::survey::{Asked, Sent, Told, ask};
use crate::probe::{self, CanaryVerdict, Site, Tools};
use crate::route::AccessPoint;
use crate::s3::operation::Kind;
use crate::s3::profile::Feature;
use crate::sigv4::Credential;
use crate::view::{Clients, RegionSettings};

/// How long one bucket may take to answer once: an operator waits, no client does.
const PATIENCE: Duration = Duration::from_secs(10);
/// How often it is looked whether the credential chain has given something.
const CHAIN_LOOK: Duration = Duration::from_millis(20);

/// An answer, or why there was none.
type Answer = Result<Told, String>;

/// What came of asking one bucket.
#[derive(Clone, Debug)]
pub struct Looked {
    /// Whose bucket it is.
    pub access_point: AccessPointName,
    /// Where.
    pub region: RegionId,
    /// Its name there.
    pub bucket: BucketName,
    /// What was asked, and what was found; the first is [`Check::AbsentKey`].
    pub findings: Vec<(Check, Found)>,
    /// What the store was seen to do; empty where it was not asked to take a key.
    pub shown: Vec<(Capability, Shown)>,
    /// What that comes to.
    pub fit: Option<Fit>,
}

/// What a bucket is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Check {
    /// For a key that is not there.
    AbsentKey,
    /// For a listing.
    Listing,
    /// Whether it keeps versions.
    Versions,
    /// For its time.
    Clock,
    /// To take a key.
    Write,
    /// To do what its region's profile may say of it.
    Can(Capability),
    /// To delete a key.
    Delete,
}

/// What is to be said of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Found {
    /// As it should be.
    Well,
    /// It was not told, or need not be known.
    Untold,
    /// It can more than it is used for.
    Hint(String),
    /// It works, but hardly as meant.
    Doubt(String),
    /// Requests to it will fail.
    Fault(String),
}

impl Check {
    /// What any bucket is asked, in the order of a table.
    pub const COMMON: [Self; 6] =
        [Self::AbsentKey, Self::Listing, Self::Versions, Self::Clock, Self::Write, Self::Delete];

    /// As tables and JSON name it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::AbsentKey => "absent_key",
            Self::Listing => "listing",
            Self::Versions => "versions",
            Self::Clock => "clock",
            Self::Write => "write",
            Self::Can(capability) => capability.name(),
            Self::Delete => "delete",
        }
    }
}

impl Found {
    /// As tables and JSON name it.
    #[must_use]
    pub fn verdict(&self) -> &'static str {
        match self {
            Self::Well => "well",
            Self::Untold => "untold",
            Self::Hint(_) => "hint",
            Self::Doubt(_) => "warning",
            Self::Fault(_) => "fault",
        }
    }

    /// What is to be done about it.
    #[must_use]
    pub fn says(&self) -> Option<&str> {
        match self {
            Self::Well | Self::Untold => None,
            Self::Hint(words) | Self::Doubt(words) | Self::Fault(words) => Some(words),
        }
    }
}

impl Looked {
    /// What was found of one check; `None` where it was not made.
    #[must_use]
    pub fn of(&self, check: Check) -> Option<&Found> {
        self.findings.iter().find(|(made, _)| *made == check).map(|(_, found)| found)
    }

    /// What was seen of one capability; `None` where it was not asked for.
    #[must_use]
    pub fn shown(&self, capability: Capability) -> Option<&Shown> {
        self.shown.iter().find(|(can, _)| *can == capability).map(|(_, shown)| shown)
    }

    /// The worst of what was found. A hint is nothing bad.
    #[must_use]
    pub fn worst(&self) -> &'static str {
        let any = |verdict: &str| self.findings.iter().any(|(_, found)| found.verdict() == verdict);
        ["fault", "warning"].into_iter().find(|verdict| any(verdict)).unwrap_or("well")
    }
}

/// Asks all of them, one after the other; `write` also writes, where writes may go.
///
/// # Errors
/// Where there is no runtime to be had.
pub fn look(settings: &Settings, write: bool) -> std::io::Result<Vec<Looked>> {
    let runtime = Builder::new_current_thread().enable_all().build()?;
    Ok(runtime.block_on(look_at_all(settings, write)))
}

async fn look_at_all(settings: &Settings, write: bool) -> Vec<Looked> {
    let clock = Clock::system();
    let store =
        Store::new(credentials::rows(&settings.regions, &Clients::new(settings.clients.clone())), clock);
    control::keep_credentials_fresh(store.clone());
    let roots = MachineRoots::load();
    let meters = Meters::new(clock.mono(), fresh_coin()).into();
    let tools = Tools { resolver: Resolver::system(clock), credentials: store, meters, clock };
    let mut looked = Vec::new();
    for point in &settings.access_points {
        for member in &point.members {
            let region = settings.regions.iter().find(|region| region.id == member.region);
            let (Some(region), Some(bucket)) = (region, &member.bucket) else { continue };
            let Tried { findings, shown, fit } =
                match Visit::begin(point, region, bucket, &roots, &tools).await {
                    Ok(visit) => visit.tried(write).await,
                    Err(fault) => Tried::only(vec![(Check::AbsentKey, Found::Fault(fault))]),
                };
            let (region, bucket) = (member.region.clone(), bucket.clone());
            looked.push(Looked { access_point: point.name.clone(), region, bucket, findings, shown, fit });
        }
    }
    looked
}

/// One bucket that is asked.
struct Visit<'a> {
    point: &'a AccessPoint,
    region: &'a RegionSettings,
    bucket: &'a BucketName,
    site: Site,
    credential: std::sync::Arc<Credential>,
    tools: &'a Tools,
}

impl<'a> Visit<'a> {
    async fn begin(
        point: &'a AccessPoint,
        region: &'a RegionSettings,
        bucket: &'a BucketName,
        roots: &MachineRoots,
        tools: &'a Tools,
    ) -> Result<Self, String> {
        let tls = region.endpoint.tls.then(|| TlsClient::new(&region.tls, roots)).transpose();
        let site = Site::new(region, tls.map_err(|fault| format!("TLS cannot be set up: {fault}"))?);
        let deadline = tools.clock.mono() + PATIENCE;
        let credential = loop {
            if let Some(credential) = tools.credentials.current(&region.id, &CredentialId::Region) {
                break credential;
            }
            if tools.clock.mono() >= deadline {
                return Err("there is no credential for it: the chain gives none".to_owned());
            }
            tokio::time::sleep(CHAIN_LOOK).await;
        };
        Ok(Self { point, region, bucket, site, credential, tools })
    }

    async fn tried(&self, write: bool) -> Tried {
        let (mut findings, reached) = self.findings().await;
        let writes_go = self.point.home == self.region.id || self.point.may_move(Kind::Write);
        if !(reached && write && writes_go) {
            return Tried::only(findings);
        }
        let tried = trial::run(self).await;
        findings.extend(tried.findings);
        Tried { findings, ..tried }
    }

    /// What can be asked without a write, and whether the bucket can be used at all.
    async fn findings(&self) -> (Vec<(Check, Found)>, bool) {
        let first = absent(&self.absent_key().await, self.point.members.len() > 1);
        let reached = !matches!(first, Found::Fault(_));
        let first = match self.tools.meters.of(&self.region.id).moved.of(self.bucket.as_str(), self.region) {
            Some(place) if first == Found::Well => judge::moved(&place),
            _ => first,
        };
        let mut findings = vec![(Check::AbsentKey, first)];
        if !reached {
            return (findings, false);
        }
        let list = self.bucket_get("list-type=2&max-keys=1&prefix=.nearpoint%2F").await;
        findings.push((Check::Listing, listed(list)));
        if self.honours(Feature::Versioning) {
            let answer = self.bucket_get("versioning=").await;
            findings.push((Check::Versions, versions(answer, self.point)));
        }
        findings.push((Check::Clock, clock(self.tools.meters.of(&self.region.id).ahead())));
        (findings, true)
    }

    fn honours(&self, feature: Feature) -> bool {
        self.region.profile.honours.has(feature)
    }

    async fn absent_key(&self) -> CanaryVerdict {
        // one that nobody has: a canary's own key may be there
        let key = format!(".nearpoint/absent-{:016x}", fresh_coin().bits());
        let whose = (&self.region.id, &self.site);
        probe::canary(whose, self.bucket, &key, &self.credential, self.tools, self.deadline()).await
    }

    async fn bucket_get(&self, query: &str) -> Answer {
        let (query, body, sent) = (Some(query), Bytes::new(), Sent::Hashed);
        let asked = Asked { method: Method::GET, key: "", query, fields: &[], body, sent };
        self.ask_at(&self.site, &asked, self.deadline()).await
    }

    async fn ask_at(&self, site: &Site, asked: &Asked<'_>, deadline: Instant) -> Answer {
        let told = ask((site, self.bucket), asked, &self.credential, self.tools, deadline).await;
        told.map_err(|fault| fault.to_string())
    }

    fn deadline(&self) -> Instant {
        self.tools.clock.mono() + PATIENCE
    }
}
