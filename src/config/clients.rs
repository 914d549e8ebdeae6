//! The `clients` section.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::access_points::{Regions, known};
use super::context::Context;
use super::fault::{Position, nearest};
use super::keys;
use super::regions::{access_key_id, credential};
use super::section::{Placed, Section, Text, named, quoted_key};
use super::yaml::{Node, Value};
use crate::names::{AccessKeyId, ClientName};
use crate::policy::{Client, Grant, Policy, RegionCredentials};
use crate::s3::Operation;
use crate::sigv4::{Allowances, Credential, Key};

/// What an entry declares, whatever else is wrong with it.
#[derive(Default)]
struct DeclaredClient {
    name: Option<Placed<ClientName>>,
    access_key_id: Option<Placed<AccessKeyId>>,
}

/// A client and its key.
pub(super) struct PlacedClient {
    /// Of `policy`, where there is one.
    pub(super) policy_at: Option<Position>,
    pub(super) client: Client,
    pub(super) key: Key,
}

/// Compiles all clients; those with faults are left out.
pub(super) fn clients(context: &Context<'_>, nodes: &[Node], regions: Regions<'_>) -> Vec<PlacedClient> {
    let only = nodes.len() == 1;
    let all: Vec<_> = nodes.iter().map(|node| client(context, node, only, regions)).collect();
    for (n, (client, _)) in all.iter().enumerate() {
        let earlier = || all.iter().take(n).map(|(client, _)| client);
        if let Some(name) = &client.name
            && earlier().filter_map(|other| other.name.as_ref()).any(|other| other.value == name.value)
        {
            let what = format!("two clients are called `{}`", name.value);
            context.fault(name.at, what, "a name of its own for each client");
        }
        let Some(id) = &client.access_key_id else { continue };
        let same = |other: &&DeclaredClient| {
            other.access_key_id.as_ref().is_some_and(|other| other.value == id.value)
        };
        if let Some(other) = earlier().find(same) {
            let name = |client: &DeclaredClient| {
                client
                    .name
                    .as_ref()
                    .map_or("one without a name".to_owned(), |name| format!("`{}`", name.value))
            };
            let what = format!("clients {} and {} have the same access_key_id", name(other), name(client));
            context.fault(id.at, what, "a key of its own for each client");
        }
    }
    all.into_iter().filter_map(|(_, client)| client).collect()
}

fn client(
    context: &Context<'_>,
    node: &Node,
    only: bool,
    regions: Regions<'_>,
) -> (DeclaredClient, Option<PlacedClient>) {
    let mut declared = DeclaredClient::default();
    let placed = whole_client(context, node, only, regions, &mut declared);
    (declared, placed)
}

fn whole_client(
    context: &Context<'_>,
    node: &Node,
    only: bool,
    regions: Regions<'_>,
    declared: &mut DeclaredClient,
) -> Option<PlacedClient> {
    let section = Section::open(context, node, keys::CLIENT, "a client")?;
    section.require("name", "a name for logs and metrics");
    section.require("access_key_id", "the public half of its pair");
    section.require("secret_access_key", "the secret half of its pair");
    let read = |text: &str| {
        let fits = (1..=64).contains(&text.len())
            && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.@".contains(&b));
        fits.then(|| ClientName::new(text))
    };
    let name = section.parsed("name", "1 to 64 of a-z, A-Z, 0-9, `-`, `_`, `.` and `@`", read);
    let id = access_key_id(&section);
    declared.name.clone_from(&name);
    declared.access_key_id.clone_from(&id);
    let secret = section.secret("secret_access_key");
    let session_token = section.secret("session_token").map(|placed| placed.value);
    let own = match (&id, &secret) {
        (Some(id), Some(secret)) => Some(Credential {
            access_key_id: id.value.clone(),
            secret: secret.value.clone(),
            session_token: session_token.clone(),
        }),
        _ => None,
    };
    let region_credentials = region_credentials(&section, own, regions);
    let version_2 = section.word("signature_v2", &[("refuse", false), ("presigned_reads", true)]);
    let diagnosis = section.boolean("diagnose_signatures");
    let allowances = Allowances {
        version_2_reads: version_2.is_some_and(|placed| placed.value),
        diagnosis: diagnosis.is_some_and(|placed| placed.value),
    };
    let grant = grant(&section, only, region_credentials.as_ref());
    let (name, id) = (name?, id?);
    Some(PlacedClient {
        policy_at: section.node("policy").map(|node| node.at),
        client: Client { name: name.value.clone(), grant: grant?, region_credentials: region_credentials? },
        key: Key {
            access_key_id: id.value,
            secret: secret?.value,
            session_token,
            client: name.value,
            allowances,
        },
    })
}

/// `same`, or a map from regions to pairs. `None` where it is faulty.
fn region_credentials(
    section: &Section<'_>,
    own: Option<Credential>,
    regions: Regions<'_>,
) -> Option<RegionCredentials> {
    const EXPECTED: &str = "same, or a map from regions to credentials";
    let Some(node) = section.node("region_credentials") else { return Some(RegionCredentials::None) };
    let context = section.context;
    if !matches!(node.value, Value::Map(_)) {
        let text = section.text("region_credentials", EXPECTED)?;
        if text.value != "same" {
            // Not quoted: somebody may have written a pair there.
            context.fault(text.at, "`region_credentials` of a client is something else", EXPECTED);
            return None;
        }
        return own.map(RegionCredentials::Same);
    }
    let mut map = BTreeMap::new();
    for entry in named(context, node, "`region_credentials`", EXPECTED) {
        let region = known(context, regions, &Text::plain(entry.key_at, &entry.key));
        let of = format!("credentials of a client for {}", quoted_key(&entry.key));
        let credential = credential(context, &entry.value, &of);
        if let (Some(region), Some(credential)) = (region, credential) {
            map.insert(region.value, credential);
        }
    }
    Some(RegionCredentials::Map(map))
}

fn grant(section: &Section<'_>, only: bool, identity: Option<&RegionCredentials>) -> Option<Grant> {
    if section.node("policy").is_some() {
        return policy(section).map(|policy| Grant::Policy(Arc::new(policy)));
    }
    match identity {
        // Faulty already; what it would have granted is unknown.
        None => None,
        Some(RegionCredentials::Same(_)) => Some(Grant::StoreJudges),
        Some(_) if only => Some(Grant::NamedObjects),
        Some(_) => {
            section.require(
                "policy",
                "a policy file; it may be absent for the only client and under `region_credentials: same`",
            );
            None
        }
    }
}

fn policy(section: &Section<'_>) -> Option<Policy> {
    let written = section.node("policy").and_then(|node| match &node.value {
        Value::Scalar(text) => Some(text.clone()),
        _ => None,
    });
    let (_, Placed { at, value: json }) = section.file_text("policy")?;
    let file = written.unwrap_or_default();
    match Policy::parse(&json) {
        Ok(policy) => Some(policy),
        Err(faults) => {
            for fault in faults {
                section.context.fault(at, format!("{file}: {}: {}", fault.path, fault.seen), fault.expected);
            }
            None
        }
    }
}

/// Warns about policies that hardly say what they mean: actions that S3 does not have, access
/// points that are not there.
pub(super) fn doubts(context: &Context<'_>, clients: &[PlacedClient], points: &[&str], wildcard: bool) {
    for PlacedClient { policy_at, client, .. } in clients {
        let (Grant::Policy(policy), Some(at)) = (&client.grant, *policy_at) else { continue };
        for pattern in policy.actions() {
            if !actions().any(|action| Policy::covers(pattern, action)) {
                let near = nearest(pattern, actions()).map(|action| format!("; did you mean `{action}`?"));
                let near = near.unwrap_or_default();
                context.warn(
                    at,
                    format!("the policy of `{}` names `{pattern}`, no action here{near}", client.name),
                );
            }
        }
        for name in policy.access_points() {
            let plain = !name.contains(['*', '?']);
            if plain && !wildcard && !points.contains(&name) {
                let near =
                    nearest(name, points.iter().copied()).map(|name| format!("; did you mean `{name}`?"));
                let near = near.unwrap_or_default();
                let what =
                    format!("the policy of `{}` names `{name}`, no access point here{near}", client.name);
                context.warn(at, what);
            }
        }
    }
}

/// Every action that a request can need.
fn actions() -> impl Iterator<Item = &'static str> {
    const BY_HEADER: [&str; 1] = ["s3:BypassGovernanceRetention"];
    let of = |operation: &Operation| {
        let facts = operation.facts();
        std::iter::once(facts.action).chain(facts.version_action)
    };
    Operation::ALL.iter().flat_map(of).chain(BY_HEADER)
}
