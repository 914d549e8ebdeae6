//! The keys that nearpoint signs with towards regions, always at hand. A door.
//!
//! Static pairs come from the configuration. Everything else comes from AWS's own chain
//! (environment, profile, SSO, web identity, ECS and EKS, IMDS, process, assumed role), fetched
//! ahead of expiry in the background: a request never waits for a credential. Where there is
//! none, [`Store::current`] says so and the caller leaves that region out; the others serve on.
//!
//! Refuses to decide: whether a store likes a credential (the canary of `probe`), and who may
//! use it (`policy`).

#[cfg(feature = "aws-chain")]
pub mod chain;
pub mod rhythm;
#[cfg(test)]
pub(crate) mod stand_in;
pub mod store;

use std::future::Future;
use std::sync::Arc;

pub use store::{ChainState, Store, keep_fresh};

use crate::names::{CredentialId, RegionId};
use crate::sigv4::Credential;
use crate::units::UnixSeconds;
use crate::view::{Clients, CredentialSource, RegionSettings};

/// Whether this build has the chain (feature `aws-chain`); without it, configuration that asks
/// for it is a fault.
pub const CHAIN_IS_BUILT_IN: bool = cfg!(feature = "aws-chain");

/// Where one credential comes from.
#[derive(Clone, Debug)]
pub enum Source {
    /// From the configuration; never expires.
    Static(Arc<Credential>),
    /// From AWS's chain. All rows with this source share what it gives.
    Chain,
}

/// One credential that requests may be signed with.
#[derive(Clone, Debug)]
pub struct Row {
    /// Towards this region.
    pub region: RegionId,
    /// The region's own, or a client's.
    pub credential: CredentialId,
    /// Where it comes from.
    pub source: Source,
}

impl From<&CredentialSource> for Source {
    fn from(source: &CredentialSource) -> Self {
        match source {
            CredentialSource::Static(credential) => Self::Static(Arc::new(credential.clone())),
            CredentialSource::Chain => Self::Chain,
        }
    }
}

/// Every credential that a configuration may sign with: each region's own, and those of clients
/// that keep their identity at the stores.
#[must_use]
pub fn rows(regions: &[RegionSettings], clients: &Clients) -> Vec<Row> {
    let mut rows = Vec::new();
    for region in regions {
        let source = Source::from(&region.credentials);
        rows.push(Row { region: region.id.clone(), credential: CredentialId::Region, source });
        rows.extend(clients.iter().filter_map(|client| {
            let credential = Arc::new(client.credential(&region.id)?.clone());
            Some(Row {
                region: region.id.clone(),
                credential: client.credential_id(&region.id),
                source: Source::Static(credential),
            })
        }));
    }
    rows
}

/// A credential and how long it may be used.
#[derive(Clone, Debug)]
pub struct Lease {
    /// What to sign with.
    pub credential: Arc<Credential>,
    /// `None`: for ever.
    pub expires: Option<UnixSeconds>,
}

/// Why the chain gave nothing: for logs and the status page. Holds no secret.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct ChainFault(pub String);

/// Whoever hands out leases: AWS's chain, or a script in tests.
pub trait Chain: Send + 'static {
    /// Fetches a new lease. The caller sets the time limit.
    fn fetch(&mut self) -> impl Future<Output = Result<Lease, ChainFault>> + Send;
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Clock;
    use crate::names::{AccessKeyId, ClientName, Secret};
    use crate::policy::{Client, Grant, RegionCredentials};
    use crate::s3::profile::Profile;
    use crate::view::{Endpoint, ProbeSettings, UpstreamTls};

    fn pair(id: &str) -> Credential {
        Credential {
            access_key_id: AccessKeyId::new(id),
            secret: Secret::from("secret"),
            session_token: None,
        }
    }

    fn region(id: &str, credentials: CredentialSource) -> RegionSettings {
        let Some(profile) = Profile::named("custom") else { panic!("custom is a profile") };
        let (bucket, key) = (None, ProbeSettings::KEY.to_owned());
        RegionSettings {
            id: RegionId::new(id),
            endpoint: Endpoint { tls: true, host: id.to_owned(), port: 443, base_path: String::new() },
            signing_region: id.to_owned(),
            kms_keys: crate::s3::kms::KmsKeys::NONE,
            profile,
            credentials,
            tls: UpstreamTls::default(),
            probe: ProbeSettings { interval: ProbeSettings::INTERVAL, bucket, key, write: None },
        }
    }

    fn client(name: &str, region_credentials: RegionCredentials) -> Client {
        Client { name: ClientName::new(name), grant: Grant::StoreJudges, region_credentials }
    }

    #[test]
    fn a_configuration_gives_each_region_and_each_tenant_its_row() {
        let regions =
            [region("eu", CredentialSource::Static(pair("EU"))), region("us", CredentialSource::Chain)];
        let only_us = [(RegionId::new("us"), pair("MAPPED"))].into_iter().collect();
        let clients = Clients::new(vec![
            client("plain", RegionCredentials::None),
            client("same", RegionCredentials::Same(pair("SAME"))),
            client("mapped", RegionCredentials::Map(only_us)),
        ]);
        let store = Store::new(rows(&regions, &clients), Clock::system());
        let found = |region: &str, client: Option<&str>| {
            let id = client.map_or(CredentialId::Region, |name| CredentialId::Client(ClientName::new(name)));
            let credential = store.current(&RegionId::new(region), &id)?;
            Some(credential.access_key_id.to_string())
        };
        for (region, client, expected) in [
            ("eu", None, Some("EU")),
            ("us", None, None), // of the chain, which nobody asked yet
            ("eu", Some("same"), Some("SAME")),
            ("us", Some("same"), Some("SAME")),
            ("us", Some("mapped"), Some("MAPPED")),
            ("eu", Some("mapped"), None),
            ("eu", Some("plain"), None),
        ] {
            assert_eq!(found(region, client).as_deref(), expected, "{region} {client:?}");
        }
        assert!(store.chain_state().is_some_and(|state| !state.usable));
    }
}
