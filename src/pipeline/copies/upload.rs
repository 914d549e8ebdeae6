//! A copy in parts: an upload of our own, which is completed or ends without a trace.

use std::cell::Cell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use super::super::{relay, settle, shield};
use super::reading::document;
use super::writing::{self, Piece, send};
use super::{Done, Job, Seen};
use crate::body::Source;
use crate::names::RegionId;
use crate::refusal::{Blame, Refusal};
use crate::s3::checksum::Hasher;
use crate::s3::copy::{self, Copied, Part};
use crate::telemetry::metric::{self, Metric};

/// How long the end of an upload without a copy may take: nobody waits for it but what it holds.
const ABORT: Duration = Duration::from_secs(30);

/// Copies a source that is too large for one PUT.
pub(super) async fn copied(job: &Rc<Job>, seen: &Seen) -> Result<Done, Refusal> {
    let upload = Upload::begin(job, seen).await?;
    let made = async {
        let parts = upload.parts(seen).await?;
        upload.complete(&parts).await
    };
    let made = made.await;
    match &made {
        Ok(_) => upload.open.set(false),
        Err(_) => upload.abort().await,
    }
    made
}

/// An upload that has begun.
struct Upload {
    job: Rc<Job>,
    /// As clients call it.
    id: String,
    region: RegionId,
    /// Neither completed nor aborted.
    open: Cell<bool>,
}

impl Upload {
    async fn begin(job: &Rc<Job>, seen: &Seen) -> Result<Self, Refusal> {
        let tags = job.tags(seen).await?;
        let head = job.writing().beginning(&seen.object.headers, tags.as_deref());
        job.authorise_tags(&head, tags.is_some())?;
        let view = job.house.view.load_full();
        let mut visit = job.visit(&view, head)?;
        // its end is decided where such writes are
        Arc::make_mut(&mut visit.call).conditional_write = job.call.conditional_write;
        let reached = send(&visit, &Source::empty(), None, None).await?;
        let region = reached.step.region.clone();
        visit.ledger.answered_by(&region);
        if !reached.head.status.is_success() {
            return Err(relay::refusal(&visit, &reached));
        }
        let begun = relay::rewritten(&visit, reached).await?;
        let id = copy::upload_id(&begun).ok_or_else(|| {
            Refusal::unavailable(Blame::Region, "the beginning of an upload cannot be read")
        })?;
        Ok(Self { job: Rc::clone(job), id, region, open: Cell::new(true) })
    }

    /// Sends the parts, one after the other: what they have of memory is what one has. Taken together
    /// they have the source's checksum, where that is known.
    async fn parts(&self, seen: &Seen) -> Result<Vec<Part>, Refusal> {
        let job = &self.job;
        let known = seen.object.checksum.as_ref();
        let mut running = known.map(|(algorithm, _)| Hasher::new(*algorithm));
        let mut parts = Vec::new();
        for (number, first, last) in copy::parts(seen.object.size) {
            let head = job.writing().part(&self.id, number);
            let computes = job.asked.checksum;
            let piece = Piece { head, stretch: Some((first, last)), computes, running: running.take() };
            let written = job.write(seen, piece).await?;
            parts.push(Part { number, etag: written.etag(), checksum: written.checksum });
            running = written.running;
        }
        let computed = running.map(Hasher::finish_text);
        if computed.as_ref() != known.map(|(_, value)| value) {
            return Err(Refusal::unavailable(
                Blame::Region,
                "what was read of a copy's source has not the source's checksum",
            ));
        }
        Ok(parts)
    }

    async fn complete(&self, parts: &[Part]) -> Result<Done, Refusal> {
        let job = &self.job;
        let view = job.house.view.load_full();
        let visit = job.visit(&view, job.writing().end(&self.id))?;
        let (bytes, source) = document(&copy::completion(parts));
        let reached = send(&visit, &source, Some(&bytes), None).await?;
        visit.ledger.answered_by(&reached.step.region);
        if !reached.head.status.is_success() {
            return Err(relay::refusal(&visit, &reached));
        }
        let (region, status) = (reached.step.region.clone(), reached.head.status);
        let modified = job.modified(&reached.head.headers);
        let headers = relay::map_headers(&visit, &region, status, reached.head.headers.clone());
        let unread = || Refusal::unavailable(Blame::Region, "the end of an upload cannot be read");
        shield::remember(&visit, &reached, settle::tag_of_upload(&visit.call, Some(&bytes)).as_deref());
        let result = relay::rewritten(&visit, reached).await?;
        let (etag, checksums) = copy::completed(&result).ok_or_else(unread)?;
        Ok(Done { copied: Copied { modified, etag, checksums }, headers: writing::told(&headers) })
    }

    async fn abort(&self) {
        abort(Rc::clone(&self.job), self.id.clone(), self.region.clone()).await;
        self.open.set(false);
    }
}

/// Whoever ends the copy, its client or the process, ends the upload.
impl Drop for Upload {
    fn drop(&mut self) {
        if self.open.get() {
            let work = abort(Rc::clone(&self.job), self.id.clone(), self.region.clone());
            drop(tokio::task::spawn_local(work));
        }
    }
}

async fn abort(job: Rc<Job>, id: String, region: RegionId) {
    let asked = async {
        let view = job.house.view.load_full();
        let visit = job.visit(&view, job.writing().abort(&id))?;
        let reached = send(&visit, &Source::empty(), None, None).await?;
        // one that it does not know any more is as good as aborted
        let gone = reached.head.status.is_success() || reached.head.status.as_u16() == 404;
        if gone { Ok(()) } else { Err(relay::refusal(&visit, &reached)) }
    };
    let done = tokio::time::timeout(ABORT, asked).await;
    if !matches!(done, Ok(Ok(()))) {
        metric::counter(Metric::UploadOrphans, &[region.as_str()]).increment(1);
        let why = done.ok().and_then(Result::err).and_then(|refusal| refusal.cause);
        tracing::warn!(%region, why, "the upload of a copy that failed could not be aborted");
    }
}
