//! Who sent a request, what it was granted, and in whose name it goes on.

use std::sync::Arc;

use super::House;
use crate::head::Head;
use crate::listen::{Anonymous, ListenerSettings};
use crate::names::{ClientName, CredentialId, RegionId};
use crate::policy::{Client, Grant};
use crate::refusal::{Blame, Refusal};
use crate::s3::form::{Form, Policy, SizeRange};
use crate::s3::operation::Operation;
use crate::s3::{Call, Code, classify};
use crate::sigv4::{self, Credential, Payload, Signed, SignedPolicy, Verified, chunks};
use crate::view::View;

/// A sender whose claim was judged, or who was let in without one.
#[derive(Clone)]
pub(super) struct Sender {
    /// The client, where one signed.
    pub client: Option<Arc<Client>>,
    /// What it may do.
    pub grant: Grant,
    /// How its body is sent.
    pub payload: Payload,
    /// How to take an aws-chunked body apart.
    pub framing: Option<chunks::Framing>,
    /// The region that it signed for.
    pub region: Option<String>,
    /// The request goes on unsigned.
    pub anonymous_upstream: bool,
}

impl Sender {
    pub(super) fn name(&self) -> Option<&ClientName> {
        self.client.as_ref().map(|client| &client.name)
    }

    /// Under whose name standing is kept in a region.
    pub(super) fn credential_id(&self, region: &RegionId) -> CredentialId {
        self.client.as_ref().map_or(CredentialId::Region, |client| client.credential_id(region))
    }

    /// A pair of its own for a region.
    pub(super) fn own_credential(&self, region: &RegionId) -> Option<Arc<Credential>> {
        self.client.as_ref()?.credential(region).map(|credential| Arc::new(credential.clone()))
    }
}

/// Judges the sender by the listener's rule.
pub(super) fn verify(
    house: &House,
    view: &View,
    listener: &ListenerSettings,
    head: &Head,
    call: &Call,
) -> Result<Sender, Refusal> {
    let now = house.clock.now().wall;
    if call.operation == Operation::Preflight {
        // A browser's question carries no credential; the store answers it.
        return Ok(unsigned(Grant::StoreJudges, Payload::Unsigned, None, true));
    }
    if !listener.verify {
        refuse_foreign_origin(listener, head)?;
        let unjudged = sigv4::verify_off(head, &view.rules, now)?;
        return Ok(unsigned(Grant::Everything, unjudged.payload, unjudged.framing, false));
    }
    let verified = sigv4::verify(head, &view.keys, &view.rules, now, &mut house.keys.borrow_mut())?;
    match verified {
        Verified::Signed(signed) => signed_by(view, signed),
        Verified::Anonymous { payload, framing } => {
            if classify::overrides_reply(head) {
                return Err(Refusal::because(
                    Code::InvalidRequest,
                    Blame::Client,
                    "Request specific response headers cannot be used for anonymous GET requests.",
                ));
            }
            match listener.anonymous {
                Anonymous::Deny => Err(Refusal::new(Code::AccessDenied, Blame::Client)),
                Anonymous::Sign => {
                    refuse_foreign_origin(listener, head)?;
                    Ok(unsigned(Grant::AnonymousReads, payload, framing, false))
                }
                Anonymous::Forward => Ok(unsigned(Grant::StoreJudges, payload, framing, true)),
            }
        }
    }
}

/// Judges the sender of a form by what its fields say, and the form by the policy that the sender signed.
/// What is left to judge is the size of its file.
pub(super) fn verify_form(
    house: &House,
    view: &View,
    listener: &ListenerSettings,
    head: &Head,
    (form, bucket): (&Form, &str),
) -> Result<(Sender, SizeRange), Refusal> {
    let now = house.clock.now().wall;
    let judged = |policy: Option<&str>| match policy {
        Some(policy) => Policy::parse(policy)?.judge(form, bucket, now),
        None => Ok(SizeRange::ANY),
    };
    let policy = form.value("policy");
    let unsigned = |grant, upstream| unsigned(grant, Payload::Unsigned, None, upstream);
    if !listener.verify {
        refuse_foreign_origin(listener, head)?;
        // whoever made the form relies on its policy, which no store is shown
        return Ok((unsigned(Grant::Everything, false), judged(policy)?));
    }
    if !form.claims_a_sender() {
        let sender = match listener.anonymous {
            Anonymous::Deny => return Err(Refusal::new(Code::AccessDenied, Blame::Client)),
            Anonymous::Sign => {
                refuse_foreign_origin(listener, head)?;
                unsigned(Grant::AnonymousReads, false)
            }
            Anonymous::Forward => unsigned(Grant::StoreJudges, true),
        };
        return Ok((sender, SizeRange::ANY));
    }
    let signed = SignedPolicy {
        policy,
        algorithm: form.value("x-amz-algorithm"),
        credential: form.value("x-amz-credential"),
        date: form.value("x-amz-date"),
        signature: form.value("x-amz-signature"),
        token: form.value("x-amz-security-token"),
        version_2: form.value("awsaccesskeyid").or_else(|| form.value("signature")).is_some(),
    };
    let signed = sigv4::verify_policy(&signed, &view.keys, &view.rules, &mut house.keys.borrow_mut())?;
    let sender = signed_by(view, signed)?;
    Ok((sender, judged(policy)?))
}

fn signed_by(view: &View, signed: Signed) -> Result<Sender, Refusal> {
    let client = view.clients.find(&signed.client).cloned();
    let client = client.ok_or_else(|| Refusal::new(Code::AccessDenied, Blame::House))?;
    Ok(Sender {
        grant: client.grant.clone(),
        client: Some(client),
        payload: signed.payload,
        framing: signed.framing,
        region: signed.region,
        anonymous_upstream: false,
    })
}

fn unsigned(
    grant: Grant,
    payload: Payload,
    framing: Option<chunks::Framing>,
    anonymous_upstream: bool,
) -> Sender {
    Sender { client: None, grant, payload, framing, region: None, anonymous_upstream }
}

/// Where nobody's signature is asked for, a page of a stranger's site must not speak for a
/// visitor's browser that can reach us.
fn refuse_foreign_origin(listener: &ListenerSettings, head: &Head) -> Result<(), Refusal> {
    let foreign = head
        .all("origin")
        .any(|origin| !listener.allow_origins.iter().any(|allowed| allowed.as_bytes() == origin));
    if foreign {
        return Err(
            Refusal::new(Code::AccessDenied, Blame::Client).caused_by("Origin is not in allow_origins")
        );
    }
    Ok(())
}
