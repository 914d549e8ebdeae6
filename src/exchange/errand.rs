//! What one request is sent out for, and what comes back of it.

use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::attempt::Prepared;
use crate::body::source::BodyFault;
use crate::body::{Reply, Source};
use crate::names::RegionId;
use crate::route::settle::Evidence;
use crate::route::{self, GiveUp, NoRoute, Permit, Plan, Step};
use crate::s3::checksum::Algorithm;
use crate::s3::xml::StoreError;
use crate::sigv4::Credential;
use crate::telemetry::access::TryNote;
use crate::units::UnixSeconds;
use crate::view::RegionSettings;

/// The outcome of a try that was given up because another had won.
pub const CANCELLED: &str = "cancelled";
/// The outcome of a try whose answer could be the client's.
pub const ANSWERED: &str = "answered";

/// A canary's verdict to come: true where the answer in question is the client's own.
pub type Judgement = Pin<Box<dyn Future<Output = bool>>>;

/// One request's errand.
#[derive(Clone, Copy)]
pub struct Errand<'a> {
    /// Proof that it may be carried out.
    pub permit: &'a Permit,
    /// When its head came: what tries are dated from.
    pub came: Instant,
    /// The client's body.
    pub source: &'a Source,
    /// What is known of it where the object's head can show whether it was done.
    pub written: Option<&'a dyn Written>,
    /// Another region's answer is in hand, and this one is asked only to be sure: it is not waited for
    /// once it went out.
    pub in_hand: bool,
    /// What is sent to the region of a step.
    pub prepare: &'a dyn Fn(&Step, &RegionSettings) -> Prepared,
    /// The regions that follow, decided afresh on the view in force; those given are ranked last.
    pub replan: &'a dyn Fn(&[RegionId]) -> Result<Plan, NoRoute>,
    /// Sent unsigned.
    pub anonymous: bool,
    /// A pair of the client's own.
    pub own_credential: &'a dyn Fn(&RegionId) -> Option<Arc<Credential>>,
    /// Settles whether an answer that blames us is the client's own.
    pub canary: &'a dyn Fn(&Step) -> Judgement,
}

/// What came of an errand.
pub struct Reached {
    /// Status and headers, as the region sent them.
    pub head: http::response::Parts,
    /// The region's body; of an error, whole.
    pub body: Reply,
    /// What the region's error document said.
    pub error: Option<StoreError>,
    /// Where it was answered.
    pub step: Step,
}

/// Why nobody answered.
#[derive(Debug)]
pub enum Unanswered {
    /// No region may be asked.
    NoRoute(NoRoute),
    /// Asked, and not answered.
    GaveUp(GiveUp),
    /// The client's body failed.
    Body(BodyFault),
    /// Every region that may be asked is full.
    Full,
    /// The region asked for less, and no other may take what is above its rate.
    Throttled,
    /// No region is fit, and as many requests as may are trying those that are not.
    Hopeless,
    /// No region is fit, and none of those that are left takes connections.
    Refusing,
    /// The request's target cannot be said to a region.
    Target,
}

/// What happened on the way, whatever came of it.
#[derive(Clone, Debug, Default)]
pub struct Journey {
    /// Every try.
    pub notes: Vec<TryNote>,
    /// From the last head sent to the first byte of its answer.
    pub ttfb: Option<Duration>,
    /// Why the regions were tried in that order.
    pub why: Option<route::Why>,
    /// Of a write whose answer was lost: what became of it ([`route::settle::Fate::label`]).
    pub settled: Option<&'static str>,
}

/// What is known of a write. Nothing of it is made before its answer was lost.
pub trait Written {
    /// The request for the object's head in the region of a step.
    fn ask(&self, step: &Step, region: &RegionSettings) -> Prepared;

    /// What shows that it was done in the region of a step, where its last try was made; `began`:
    /// when, by the store's clock.
    fn evidence(&self, step: &Step, region: &RegionSettings, began: UnixSeconds) -> Evidence;

    /// Whether this is the tag of the key's last write, which the region of a step acknowledged to us
    /// before this one began.
    fn acknowledged(&self, step: &Step, tag: &[u8]) -> bool;

    /// Base64 of a digest of what was written, where it is known or can be computed now.
    fn digest(&self, algorithm: Algorithm) -> Option<String>;
}
