//! What a reload changes, and what of it needs a restart.

use crate::admin::AdminSettings;
use crate::listen::ListenerSettings;
use crate::names::{ExposeSecret, Secret};
use crate::policy::{Client, RegionCredentials};
use crate::sigv4::{Credential, Key};
use crate::view::{CredentialSource, RegionSettings};

use super::Settings;

/// One thing that differs between two configurations. Names what differs, never secrets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// "region `garage`", "client `thumbnailer`", "limits".
    pub what: String,
    /// How it differs.
    pub how: How,
    /// It takes effect at the next start only: the admin listener is bound and logs are opened once.
    pub needs_restart: bool,
}

/// How something differs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum How {
    /// It is new.
    Added,
    /// It is gone.
    Removed,
    /// It is another.
    Changed,
}

/// Everything that differs, in the order of the file's sections.
///
/// Here and below every struct that is compared field by field is taken apart: a field that is new to it
/// and not compared would be a setting that no reload puts in force.
#[must_use]
pub fn diff(old: &Settings, new: &Settings) -> Vec<Change> {
    let Settings {
        logical_region,
        tokens,
        state_dir,
        listeners,
        admin,
        domains,
        regions,
        access_points,
        clients: _,
        keys: _,
        limits,
        timeouts,
        telemetry,
    } = old;
    let mut changes = Changes(Vec::new());
    changes.whole("logical_region", *logical_region == new.logical_region, false);
    changes.whole("tokens", same_secrets(tokens.as_deref(), new.tokens.as_deref()), false);
    changes.whole("state_dir", *state_dir == new.state_dir, true);
    changes.listeners(listeners, &new.listeners);
    changes.whole("admin", same_admin(admin, &new.admin), true);
    changes.whole("domains", *domains == new.domains, false);
    changes.named("region", (regions, &new.regions), |r| r.id.to_string(), same_region, false);
    changes.named(
        "access point",
        (access_points, &new.access_points),
        |point| point.name.to_string(),
        |a, b| a == b,
        false,
    );
    let (old_clients, new_clients) = (clients(old), clients(new));
    changes.named("client", (&old_clients, &new_clients), |(c, _)| c.name.to_string(), same_client, false);
    changes.whole("limits", *limits == new.limits, false);
    changes.whole("timeouts", *timeouts == new.timeouts, false);
    changes.whole("telemetry", *telemetry == new.telemetry, true);
    changes.0
}

struct Changes(Vec<Change>);

impl Changes {
    fn whole(&mut self, what: &str, same: bool, needs_restart: bool) {
        if !same {
            self.0.push(Change { what: what.to_owned(), how: How::Changed, needs_restart });
        }
    }

    /// Of several listeners at one address (port 0) each has a number, in their order.
    fn listeners(&mut self, old: &[ListenerSettings], new: &[ListenerSettings]) {
        fn numbered(all: &[ListenerSettings]) -> Vec<(String, &ListenerSettings)> {
            let name = |(n, listener): (usize, &ListenerSettings)| match all
                .iter()
                .take(n)
                .filter(|earlier| earlier.address == listener.address)
                .count()
            {
                0 => listener.address.to_string(),
                earlier => format!("{} ({})", listener.address, earlier + 1),
            };
            all.iter().enumerate().map(|(n, listener)| (name((n, listener)), listener)).collect()
        }
        let (old, new) = (numbered(old), numbered(new));
        self.named("listener", (&old, &new), |(name, _)| name.clone(), |a, b| a.1 == b.1, false);
    }

    fn named<T>(
        &mut self,
        kind: &str,
        (old, new): (&[T], &[T]),
        name: impl Fn(&T) -> String,
        same: impl Fn(&T, &T) -> bool,
        needs_restart: bool,
    ) {
        let mut push = |name: &str, how| {
            self.0.push(Change { what: format!("{kind} `{name}`"), how, needs_restart });
        };
        for item in old {
            let own = name(item);
            match new.iter().find(|other| name(other) == own) {
                None => push(&own, How::Removed),
                Some(other) if !same(item, other) => push(&own, How::Changed),
                Some(_) => {}
            }
        }
        for item in new {
            let own = name(item);
            if !old.iter().any(|other| name(other) == own) {
                push(&own, How::Added);
            }
        }
    }
}

type ClientAndKey<'a> = (&'a Client, &'a Key);

fn clients(settings: &Settings) -> Vec<ClientAndKey<'_>> {
    settings.clients.iter().zip(&settings.keys).collect()
}

fn same_client((a, a_key): &ClientAndKey<'_>, (b, b_key): &ClientAndKey<'_>) -> bool {
    let Client { name, grant, region_credentials } = a;
    let same_credentials = match (region_credentials, &b.region_credentials) {
        (RegionCredentials::None, RegionCredentials::None) => true,
        (RegionCredentials::Same(a), RegionCredentials::Same(b)) => same_credential(a, b),
        (RegionCredentials::Map(a), RegionCredentials::Map(b)) => {
            a.len() == b.len()
                && a.iter().zip(b).all(|((a_id, a), (b_id, b))| a_id == b_id && same_credential(a, b))
        }
        _ => false,
    };
    *name == b.name && *grant == b.grant && same_credentials && same_key(a_key, b_key)
}

fn same_key(a: &Key, b: &Key) -> bool {
    let Key { access_key_id, secret, session_token, client, allowances } = a;
    *access_key_id == b.access_key_id
        && secret.expose_secret() == b.secret.expose_secret()
        && same_secret(session_token.as_ref(), b.session_token.as_ref())
        && *client == b.client
        && *allowances == b.allowances
}

fn same_admin(a: &AdminSettings, b: &AdminSettings) -> bool {
    let AdminSettings { address, token } = a;
    *address == b.address && same_secret(token.as_ref(), b.token.as_ref())
}

fn same_region(a: &RegionSettings, b: &RegionSettings) -> bool {
    let RegionSettings { id, endpoint, signing_region, profile, credentials, tls, probe, kms_keys } = a;
    let same_credentials = match (credentials, &b.credentials) {
        (CredentialSource::Chain, CredentialSource::Chain) => true,
        (CredentialSource::Static(a), CredentialSource::Static(b)) => same_credential(a, b),
        _ => false,
    };
    same_credentials
        && *id == b.id
        && *endpoint == b.endpoint
        && *signing_region == b.signing_region
        && *profile == b.profile
        && *tls == b.tls
        && *probe == b.probe
        && *kms_keys == b.kms_keys
}

fn same_credential(a: &Credential, b: &Credential) -> bool {
    let Credential { access_key_id, secret, session_token } = a;
    *access_key_id == b.access_key_id
        && secret.expose_secret() == b.secret.expose_secret()
        && same_secret(session_token.as_ref(), b.session_token.as_ref())
}

fn same_secret(a: Option<&Secret>, b: Option<&Secret>) -> bool {
    a.map(ExposeSecret::expose_secret) == b.map(ExposeSecret::expose_secret)
}

fn same_secrets(a: Option<&[Secret]>, b: Option<&[Secret]>) -> bool {
    let all = |secrets: Option<&[Secret]>| {
        secrets.map(|secrets| secrets.iter().map(|s| s.expose_secret().to_owned()).collect::<Vec<_>>())
    };
    all(a) == all(b)
}
