//! Copies whose source and place do not meet in a region that could make them: carried out here, by
//! reads of the source and writes of the copy, each as if the client had sent it.
//!
//! The client waits a while for the outcome; then it is told `200`, white space while the copy goes
//! on, and at last the result or the error, as S3 does. Nothing of the source is kept but what is on
//! its way. Whatever ends the copy before its end, the client's going away too, ends its upload.

mod reading;
mod upload;
mod writing;

use std::cell::Cell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HeaderValue};
use http::{HeaderMap, HeaderName, Response};

use self::reading::Seen;
use super::ids::Ids;
use super::ledger::Ledger;
use super::sender::Sender;
use super::{Cargo, House, Visit, carry, plan_on, resolve};
use crate::body::Reply;
use crate::head::Head;
use crate::names::AccessPointName;
use crate::policy::Grant;
use crate::refusal::{Blame, Refusal};
use crate::s3::copy::{self, Asked, Copied, OPENING, Reading, WHOLE_MAX, Writing};
use crate::s3::{Call, Code, Operation, classify};
use crate::sigv4::Payload;
use crate::telemetry::metric::{self, Metric};
use crate::view::View;

/// How long the answer's head is held for the outcome: impatient clients give up after 10 s, and one
/// that is told early must look into the document for the error.
const HOLD: Duration = Duration::from_secs(5);
/// How often white space says that the copy goes on, for the same clients.
const SIGN: Duration = Duration::from_secs(5);

/// Carries a copy to a region that can make it, or makes it.
pub(super) async fn copy(visit: Visit<'_>, cargo: Cargo) -> Result<Response<Reply>, Refusal> {
    super::shield::refuse_condition_on_what_moved(&visit, visit.call.key())?;
    let meeting = meeting(&visit);
    if visit.call.operation == Operation::CopyObject && matches!(visit.sender.grant, Grant::Policy(_)) {
        Job::of(&visit)?.has_leave_for_tags().await?;
    }
    if meeting == Meeting::Sure {
        return carry_or_make(visit, cargo).await;
    }
    let job = Job::of(&visit)?;
    let sure = job.is_sure(visit.view)?;
    if meeting == Meeting::Doubtful && !sure {
        return carry(visit, cargo).await;
    }
    perform(job).await
}

/// Carries a copy to a region that should be able to make it; where that has no such source, home may
/// have it, as with reads.
async fn carry_or_make(visit: Visit<'_>, cargo: Cargo) -> Result<Response<Reply>, Refusal> {
    let from = visit.copy_from.clone().filter(|from| from.members.len() > 1 && from.lag_shield.fallback);
    let current = visit.call.copy_source.as_ref().is_some_and(|source| source.version_id.is_none());
    let Some(from) = from.filter(|_| current) else { return carry(visit, cargo).await };
    let job = Job::of(&visit)?;
    let response = carry(visit, cargo).await?;
    if !job.ledger.was_refused_elsewhere(Code::NoSuchKey, &from.home) {
        return Ok(response);
    }
    perform(job).await
}

/// Whether some region could make a copy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Meeting {
    /// A fit one, which has the source.
    Sure,
    /// One that is not fit, or that may be behind what is known of the source's last change.
    Doubtful,
    /// None that has the source may take the copy.
    None,
}

fn meeting(visit: &Visit<'_>) -> Meeting {
    let (Some(from), Some(source)) = (&visit.copy_from, &visit.call.copy_source) else {
        return Meeting::Sure;
    };
    let Ok(plan) = plan_on(visit, visit.view, &visit.permit(), &[]) else { return Meeting::None };
    let changed = visit.house.changes.changed_in(from, source);
    let first = plan.steps.first().map(|step| &step.region);
    let current = changed.as_ref().is_none_or(|region| first == Some(region));
    if current && !plan.fail_open { Meeting::Sure } else { Meeting::Doubtful }
}

/// A copy to be made, for as long as that lasts.
struct Job {
    house: Rc<House>,
    ledger: Ledger,
    sender: Sender,
    /// The request's head, what its query carries of headers among them.
    head: Head,
    call: Arc<Call>,
    asked: Asked,
    /// The access points, whatever becomes of the configuration meanwhile.
    from: AccessPointName,
    to: AccessPointName,
}

/// A copy that was made.
struct Done {
    headers: HeaderMap,
    copied: Copied,
}

impl Job {
    fn of(visit: &Visit<'_>) -> Result<Rc<Self>, Refusal> {
        let head = copy::unfolded(&visit.head);
        let asked = Asked::of(&head, &visit.call)?;
        let from = visit.copy_from.as_ref().unwrap_or(&visit.access_point);
        Ok(Rc::new(Self {
            house: Rc::clone(visit.house),
            ledger: visit.ledger.share(),
            sender: Sender { payload: Payload::Unsigned, framing: None, ..visit.sender.clone() },
            call: Arc::clone(&visit.call),
            asked,
            from: from.name.clone(),
            to: visit.access_point.name.clone(),
            head,
        }))
    }

    fn reading(&self) -> Reading<'_> {
        Reading { head: &self.head, call: &self.call }
    }

    fn writing(&self) -> Writing<'_> {
        Writing { head: &self.head, call: &self.call, asked: &self.asked }
    }

    /// Whether a fit region can be read, and another written to.
    ///
    /// # Errors
    /// Why there is none at all.
    fn is_sure(&self, view: &Arc<View>) -> Result<bool, Refusal> {
        let write = match &self.call.upload_id {
            Some(upload) => self.writing().part(upload, 1),
            None => self.writing().whole(&HeaderMap::new(), None),
        };
        let mut sure = true;
        for head in [self.reading().head(), write] {
            let visit = self.visit(view, head)?;
            sure &= !plan_on(&visit, view, &visit.permit(), &[])?.fail_open;
        }
        Ok(sure)
    }

    /// One of its requests. The copy was authorised as a whole.
    fn visit<'a>(&'a self, view: &'a Arc<View>, head: Head) -> Result<Visit<'a>, Refusal> {
        let call = classify::classify(&head, &view.domains)?;
        let gone = || Refusal::unavailable(Blame::House, "the configuration changed during a copy");
        let access_point = resolve(view, &call)?.ok_or_else(gone)?;
        if access_point.name != self.from && access_point.name != self.to {
            return Err(gone());
        }
        let ids = Ids::open(view, &access_point, None, &call, head.query())?;
        Ok(Visit {
            house: &self.house,
            view,
            ledger: &self.ledger,
            sender: self.sender.clone(),
            head: Rc::new(head),
            call: Arc::new(call),
            access_point,
            copy_from: None,
            ids,
            nonce: Cell::default(),
        })
    }

    async fn run(self: Rc<Self>) -> Result<Done, Refusal> {
        let seen = self.look().await?;
        let stretch = self.asked.stretch(seen.object.size)?;
        let mut done = match &self.call.upload_id {
            Some(upload) => self.part(&seen, upload, stretch).await?,
            None if seen.object.size <= WHOLE_MAX => self.whole(&seen, stretch).await?,
            None => upload::copied(&self, &seen).await?,
        };
        if let Some(version) = seen.object.headers.get("x-amz-version-id") {
            done.headers.insert(HeaderName::from_static("x-amz-copy-source-version-id"), version.clone());
        }
        Ok(done)
    }

    /// A store takes an object's tags over by our credential: whoever may not read them or not set them
    /// gets no copy of an object that has some, as S3 has it. Whether it has is asked only then.
    async fn has_leave_for_tags(&self) -> Result<(), Refusal> {
        if self.asked.replaces_tags {
            return Ok(());
        }
        let view = self.house.view.load_full();
        let tagged = self.writing().whole(&HeaderMap::new(), Some("any=tag"));
        let mut lacks = None;
        for head in [self.reading().any_tags(), tagged] {
            lacks = lacks.or(self.visit(&view, head).and_then(|visit| authorise(&visit)).err());
        }
        let Some(refusal) = lacks else { return Ok(()) };
        let seen = self.look().await?;
        match seen.object.tags {
            Some(0) => Ok(()),
            Some(_) => Err(refusal),
            // not counted: they are looked for
            None => self.tags(&seen).await?.map_or(Ok(()), |_tags| Err(refusal)),
        }
    }

    fn operation(&self) -> Operation {
        self.call.operation
    }
}

/// Whether the sender may do what a request does beside what every copy does.
fn authorise(visit: &Visit<'_>) -> Result<(), Refusal> {
    let granted = super::authorise(visit.view, &visit.sender, &visit.call, Some(&visit.access_point));
    granted.map(|_of_one_key| ())
}

/// Makes the copy, and tells the client of it while it lasts.
async fn perform(job: Rc<Job>) -> Result<Response<Reply>, Refusal> {
    let mut work = Box::pin(outcome(Rc::clone(&job)));
    let Ok(outcome) = tokio::time::timeout(HOLD, &mut work).await else {
        return Ok(respond(
            HeaderMap::new(),
            Reply::working(OPENING.into(), SIGN, Box::pin(last(job, work))),
        ));
    };
    let done = outcome?;
    let document = OPENING.to_owned() + &done.copied.document(job.operation());
    Ok(respond(done.headers, Reply::full(document.into())))
}

/// What the work came to, counted.
async fn outcome(job: Rc<Job>) -> Result<Done, Refusal> {
    let outcome = job.run().await;
    metric::counter(Metric::Copies, &[if outcome.is_ok() { "made" } else { "failed" }]).increment(1);
    outcome
}

/// The document of the outcome, where its declaration has gone ahead.
async fn last(job: Rc<Job>, work: impl Future<Output = Result<Done, Refusal>>) -> Bytes {
    match work.await {
        Ok(done) => done.copied.document(job.operation()).into(),
        Err(refusal) => {
            job.ledger.refused(&refusal);
            let document = refusal.document(job.ledger.resource(), job.ledger.id());
            Bytes::from(document.strip_prefix(OPENING).map(str::to_owned).unwrap_or(document))
        }
    }
}

fn respond(headers: HeaderMap, body: Reply) -> Response<Reply> {
    let mut response = Response::new(body);
    *response.headers_mut() = headers;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/xml"));
    response
}
