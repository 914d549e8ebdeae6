//! The source of a copy: its head, its tags, and its bytes, all of one version.

use bytes::Bytes;
use http::StatusCode;

use super::super::outgoing::Outgoing;
use super::super::{Visit, plan, relay, resume, shield, travel};
use super::Job;
use crate::body::{Reply, Source};
use crate::exchange::Reached;
use crate::names::RegionId;
use crate::refusal::{Blame, Refusal};
use crate::route::resume::Terms;
use crate::route::{Affinity, Permit};
use crate::s3::Code;
use crate::s3::copy::{self, Object};
use crate::s3::profile::Feature;
use crate::s3::range::ContentRange;

/// Most of a document of tags that is read: ten of them, escaped, are below 20 KiB.
const TAGS: usize = 64 * 1024;

/// The source, as a region has it.
pub(super) struct Seen {
    pub(super) object: Object,
    pub(super) region: RegionId,
}

impl Job {
    /// The head of the source, upon the copy's conditions.
    pub(super) async fn look(&self) -> Result<Seen, Refusal> {
        let view = self.house.view.load_full();
        let visit = self.visit(&view, self.reading().head())?;
        let recalled = shield::recall(&visit);
        let permit = visit.permit_by(recalled.as_ref());
        let plan = plan(&visit, &permit)?;
        let source = Source::empty();
        let outgoing = Outgoing::new(&visit, &source, None);
        let mut reached = travel(&visit, &permit, plan, &outgoing).await?;
        if shield::doubts(&visit, &permit, recalled.as_ref(), &reached) {
            reached = shield::look_further(&visit, recalled, &outgoing, reached).await?;
        }
        let Reached { head, step, .. } = read(&visit, reached)?;
        let headers = relay::map_headers(&visit, &step.region, head.status, head.headers);
        let object = Object::of(headers).filter(|object| object.etag.is_some()).ok_or_else(|| {
            Refusal::unavailable(Blame::Region, "the head of a source has no length or no tag")
        })?;
        Ok(Seen { object, region: step.region })
    }

    /// The source's tags, as a header says them, where the copy has them too. Whoever may not read
    /// them, or may not set them, gets no copy, as S3 has it.
    pub(super) async fn tags(&self, seen: &Seen) -> Result<Option<String>, Refusal> {
        if self.asked.replaces_tags || !self.may_have_tags(seen) {
            return Ok(None);
        }
        let view = self.house.view.load_full();
        let visit = self.visit(&view, self.reading().tags(&seen.object))?;
        let reached = self.ask(&visit, &pinned(&visit, seen)).await?;
        if reached.head.status == StatusCode::NOT_FOUND {
            return Ok(None);
        }
        let document = reached.body.collect(TAGS).await;
        let tags = document.as_deref().and_then(copy::tags);
        let tags =
            tags.ok_or_else(|| Refusal::unavailable(Blame::Region, "the tags of a source cannot be read"))?;
        if tags.is_empty() {
            return Ok(None);
        }
        super::authorise(&visit)?;
        Ok(Some(tags))
    }

    /// Whether the source may have tags. Not every store counts them in its head, and none for who may not
    /// read them: what is not counted is asked for, unless home knows no tags and nobody could set any.
    fn may_have_tags(&self, seen: &Seen) -> bool {
        let view = self.house.view.load();
        let knows = |region: &RegionId| {
            view.region(region).is_none_or(|settings| settings.profile.honours.has(Feature::Tagging))
        };
        let home = view.access_points.iter().find(|point| point.name == self.from).map(|point| &point.home);
        seen.object.tags.map_or_else(|| knows(&seen.region) && home.is_none_or(knows), |count| count > 0)
    }

    /// Bytes of the source, of that very version; where they break off, they are gone on with by
    /// whoever proves to have it.
    pub(super) async fn open(&self, seen: &Seen, stretch: (u64, u64)) -> Result<Reply, Refusal> {
        let (first, last) = stretch;
        let size = seen.object.size;
        let whole = first == 0 && last + 1 == size;
        let view = self.house.view.load_full();
        let head = self.reading().bytes(&seen.object, (!whole).then_some(stretch));
        let visit = self.visit(&view, head)?;
        let reached = self.ask(&visit, &pinned(&visit, seen)).await?;
        let told = reached
            .head
            .headers
            .get("content-range")
            .and_then(|range| ContentRange::parse(range.to_str().ok()?));
        let right = match reached.head.status {
            StatusCode::OK => whole,
            StatusCode::PARTIAL_CONTENT => told == Some(ContentRange { first, last, whole: Some(size) }),
            _ => false,
        };
        if !right || !seen.object.is_of(&reached.head.headers) {
            return Err(changed());
        }
        let thread = resume::thread(&visit, &reached);
        let permit = visit.permit();
        let response = relay::relay(&visit, reached).await?;
        Ok(resume::keep(visit, permit, thread, response).into_body())
    }

    async fn ask(&self, visit: &Visit<'_>, permit: &Permit) -> Result<Reached, Refusal> {
        let plan = plan(visit, permit)?;
        let source = Source::empty();
        let outgoing = Outgoing::new(visit, &source, None);
        let reached = travel(visit, permit, plan, &outgoing).await?;
        match reached.head.status {
            StatusCode::NOT_FOUND if has_no_tags(&reached) => Ok(reached),
            // it had it a moment ago
            StatusCode::NOT_FOUND | StatusCode::PRECONDITION_FAILED | StatusCode::RANGE_NOT_SATISFIABLE => {
                Err(changed())
            }
            _ => read(visit, reached),
        }
    }
}

/// As some stores answer where an object has no tags.
fn has_no_tags(reached: &Reached) -> bool {
    reached.error.as_ref().is_some_and(|error| error.code.starts_with("NoSuchTagSet"))
}

/// Never of two versions: tried again from the start it is one of what there is then.
fn changed() -> Refusal {
    Refusal::unavailable(Blame::Region, "the source of a copy changed meanwhile")
}

/// Leave to read where the source was seen: elsewhere its tag means nothing, unless the operator says
/// so.
fn pinned(visit: &Visit<'_>, seen: &Seen) -> Permit {
    let own = visit.permit();
    if matches!(own.affinity(), Affinity::Region(_)) {
        return own;
    }
    let stable = Terms::of(&visit.access_point).etags_stable;
    let region = seen.region.clone();
    visit.permit_of(if stable { Affinity::Prefer(region) } else { Affinity::Region(region) })
}

/// An answer that is what was asked for.
fn read(visit: &Visit<'_>, reached: Reached) -> Result<Reached, Refusal> {
    visit.ledger.answered_by(&reached.step.region);
    match reached.head.status {
        StatusCode::NOT_MODIFIED | StatusCode::PRECONDITION_FAILED => {
            Err(Refusal::new(Code::PreconditionFailed, Blame::Client))
        }
        status if status.is_success() => Ok(reached),
        _ => Err(relay::refusal(visit, &reached)),
    }
}

/// A document of ours as the body of a request.
pub(super) fn document(text: &str) -> (Bytes, Source) {
    let bytes = Bytes::copy_from_slice(text.as_bytes());
    (bytes.clone(), Source::full(bytes))
}
