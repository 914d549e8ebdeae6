//! Who sent a request, what it was granted, and in whose name it goes on.

use std::sync::Arc;

use super::House;
use crate::head::Head;
use crate::listen::{Anonymous, ListenerSettings, Peer};
use crate::names::{ClientName, CredentialId, RegionId};
use crate::policy::{Client, Grant};
use crate::refusal::{Blame, Refusal};
use crate::s3::call::Style;
use crate::s3::form::{Form, Policy, SizeRange};
use crate::s3::operation::Operation;
use crate::s3::{Call, Code, classify};
use crate::sigv4::{self, Credential, Payload, Place, Rejected, Signed, SignedPolicy, Verified, chunks};
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
    /// The head as it was before a trusted proxy rewrote it, where it did.
    pub restored: Option<Box<Head>>,
}

impl Sender {
    pub(super) fn name(&self) -> Option<&ClientName> {
        self.client.as_ref().map(|client| &client.name)
    }

    /// Under whose name standing is kept in a region.
    pub(super) fn credential_id(&self, region: &RegionId) -> CredentialId {
        self.client.as_ref().map_or(CredentialId::Region, |client| client.credential_id(region))
    }

    /// Whether its requests are signed in a region with a pair of its own.
    pub(super) fn signs_itself(&self, region: &RegionId) -> bool {
        self.client.as_ref().is_some_and(|client| client.credential(region).is_some())
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
    (peer, head): (&Peer, &Head),
    call: &Call,
) -> Result<Sender, Refusal> {
    let now = house.believed_now();
    if call.operation == Operation::Preflight {
        return Ok(of_a_preflight());
    }
    if !listener.verify {
        refuse_foreign_origin(listener, head)?;
        let unjudged = sigv4::verify_off(head, &view.rules, now)?;
        return Ok(unsigned(Grant::Everything, unjudged.payload, unjudged.framing, false));
    }
    let verified = sigv4::verify(head, &view.keys, &view.rules, now, &mut house.keys.borrow_mut());
    let verified = match verified {
        Ok(verified) => verified,
        Err(rejected) => return look_again(house, view, listener, (peer, head), call, rejected),
    };
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

/// What is still to be said of a head whose signature was not accepted.
#[cold]
fn look_again(
    house: &House,
    view: &View,
    listener: &ListenerSettings,
    (peer, head): (&Peer, &Head),
    call: &Call,
    rejected: Rejected,
) -> Result<Sender, Refusal> {
    let now = house.believed_now();
    let (keys, rules) = (&view.keys, &view.rules);
    match rejected {
        Rejected::SignatureV2(Place::Query)
            if matches!(call.operation, Operation::GetObject | Operation::HeadObject) =>
        {
            let bucket = call.bucket().filter(|_| call.style == Style::Virtual);
            signed_by(view, sigv4::verify_version_2(head, bucket, keys, now)?)
        }
        Rejected::SignatureMismatch(mut mismatch) => {
            let mut cache = house.keys.borrow_mut();
            if peer.address.ip().is_some_and(|ip| listener.trusts(ip)) {
                for restored in sigv4::restored(head) {
                    if let Ok(Verified::Signed(signed)) =
                        sigv4::verify(&restored, keys, rules, now, &mut cache)
                    {
                        return Ok(Sender { restored: Some(Box::new(restored)), ..signed_by(view, signed)? });
                    }
                }
            }
            if !house.may_diagnose(now) {
                return Err(Rejected::SignatureMismatch(mismatch).into());
            }
            let difference = sigv4::diagnose(head, keys, rules, now, &mut cache);
            let said = difference.map_or_else(|| UNEXPLAINED.to_owned(), |found| found.to_string());
            if keys.allowances(mismatch.access_key_id.as_str()).diagnosis {
                mismatch.told = Some(said.clone());
            }
            Err(Refusal::from(Rejected::SignatureMismatch(mismatch)).caused_by(said))
        }
        rejected => Err(rejected.into()),
    }
}

/// What is said where none of the guesses explains a mismatch.
const UNEXPLAINED: &str = "nothing that is often rewritten on the way explains the signature: the secret access \
                           key differs, or the request was changed";

/// Judges the sender of a form by what its fields say, and the form by the policy that the sender signed.
/// What is left to judge is the size of its file.
pub(super) fn verify_form(
    house: &House,
    view: &View,
    listener: &ListenerSettings,
    head: &Head,
    (form, bucket): (&Form, &str),
) -> Result<(Sender, SizeRange), Refusal> {
    let now = house.believed_now();
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

/// A browser's question carries no credential; the store answers it.
pub(super) fn of_a_preflight() -> Sender {
    unsigned(Grant::StoreJudges, Payload::Unsigned, None, true)
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
        restored: None,
    })
}

fn unsigned(
    grant: Grant,
    payload: Payload,
    framing: Option<chunks::Framing>,
    anonymous_upstream: bool,
) -> Sender {
    Sender { client: None, grant, payload, framing, region: None, anonymous_upstream, restored: None }
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
