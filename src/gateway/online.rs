//! `check --online`: asks every bucket of every named access point for a key that is not there. One
//! signed request proves name, connection, TLS, clock, credential, signing region and bucket, and
//! shows whether absent keys can be told from forbidden ones: the lag shield lives by that.

use std::time::Duration;

use tokio::runtime::Builder;

use super::{control, fresh_coin};
use crate::clock::Clock;
use crate::config::Settings;
use crate::credentials::{self, Store};
use crate::dns::Resolver;
use crate::exchange::meters::Meters;
use crate::exchange::tls::{MachineRoots, TlsClient};
use crate::names::{AccessPointName, BucketName, CredentialId, RegionId};
use crate::probe::{self, CanaryVerdict, Site, Tools};
use crate::view::{Clients, RegionSettings};

/// How long one bucket may take to answer: an operator waits, no client does.
const PATIENCE: Duration = Duration::from_secs(10);
/// How often it is looked whether the credential chain has given something.
const CHAIN_LOOK: Duration = Duration::from_millis(20);

/// What came of asking one bucket.
#[derive(Clone, Debug)]
pub struct Looked {
    /// Whose bucket it is.
    pub access_point: AccessPointName,
    /// Where.
    pub region: RegionId,
    /// Its name there.
    pub bucket: BucketName,
    /// What was found.
    pub found: Found,
}

/// What is to be said of a bucket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Found {
    /// It answers, and says 404 of an absent key.
    Well,
    /// It works, but hardly as meant.
    Doubt(String),
    /// Requests to it will fail.
    Fault(String),
}

/// Asks all of them, one after the other.
///
/// # Errors
/// Where there is no runtime to be had.
pub fn look(settings: &Settings) -> std::io::Result<Vec<Looked>> {
    let runtime = Builder::new_current_thread().enable_all().build()?;
    Ok(runtime.block_on(look_at_all(settings)))
}

async fn look_at_all(settings: &Settings) -> Vec<Looked> {
    let clock = Clock::system();
    let store =
        Store::new(credentials::rows(&settings.regions, &Clients::new(settings.clients.clone())), clock);
    control::keep_credentials_fresh(store.clone());
    let roots = MachineRoots::load();
    let meters = Meters::new(clock.mono(), fresh_coin()).into();
    let tools = Tools { resolver: Resolver::system(clock), credentials: store, meters, clock };
    // one that nobody has: a canary's own key may be there
    let key = format!(".nearpoint/absent-{:016x}", fresh_coin().bits());
    let mut looked = Vec::new();
    for point in &settings.access_points {
        let shielded = point.members.len() > 1;
        for member in &point.members {
            let region = settings.regions.iter().find(|region| region.id == member.region);
            let (Some(region), Some(bucket)) = (region, &member.bucket) else { continue };
            let found = match ask(region, bucket, &key, &roots, &tools).await {
                Ok(verdict) => told(&verdict, shielded),
                Err(fault) => Found::Fault(fault),
            };
            let (region, bucket) = (member.region.clone(), bucket.clone());
            looked.push(Looked { access_point: point.name.clone(), region, bucket, found });
        }
    }
    looked
}

async fn ask(
    region: &RegionSettings,
    bucket: &BucketName,
    key: &str,
    roots: &MachineRoots,
    tools: &Tools,
) -> Result<CanaryVerdict, String> {
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
    Ok(probe::canary((&region.id, &site), bucket, key, &credential, tools, deadline).await)
}

fn told(verdict: &CanaryVerdict, shielded: bool) -> Found {
    match verdict {
        CanaryVerdict::Clear => Found::Well,
        CanaryVerdict::AccessDenied => {
            let mut words = "an absent key answers 403, not 404: allow `s3:GetObject` on its keys and `s3:ListBucket` on \
                             the bucket"
                .to_owned();
            if shielded {
                words.push_str(
                    "; until then the lag shield is blind there, and readers meet replication lag as 403",
                );
            }
            Found::Doubt(words)
        }
        CanaryVerdict::CredentialFault(code) => {
            Found::Fault(format!("the store refuses the credential: {code}"))
        }
        CanaryVerdict::ConfigurationFault(code) => {
            Found::Fault(format!("the store refuses bucket or signing region: {code}"))
        }
        CanaryVerdict::Unreachable(fault) => Found::Fault(format!("it does not serve: {fault}")),
        CanaryVerdict::Unasked => Found::Fault("this machine has no file or port left to ask it".to_owned()),
        CanaryVerdict::Unsettled { status, code } => {
            Found::Doubt(format!("it answers {status} {}", code.as_deref().unwrap_or_default()))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fleet::{Never, ProbeFault};

    #[test]
    fn a_store_that_hides_absent_keys_is_told_to_the_operator() {
        let denied = |shielded| match told(&CanaryVerdict::AccessDenied, shielded) {
            Found::Doubt(words) => words,
            other => panic!("{other:?}"),
        };
        assert!(denied(true).contains("s3:ListBucket") && denied(true).contains("lag shield is blind"));
        assert!(denied(false).contains("s3:ListBucket") && !denied(false).contains("lag shield"));
        assert_eq!(told(&CanaryVerdict::Clear, true), Found::Well);
        for verdict in [
            CanaryVerdict::CredentialFault("InvalidAccessKeyId".to_owned()),
            CanaryVerdict::ConfigurationFault("NoSuchBucket".to_owned()),
            CanaryVerdict::Unreachable(ProbeFault::Never(Never::Refused)),
            CanaryVerdict::Unasked,
        ] {
            assert!(matches!(told(&verdict, true), Found::Fault(_)), "{verdict:?}");
        }
    }
}
