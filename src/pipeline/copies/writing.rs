//! What is written of a copy: one body, read from the source while it is sent.

use std::sync::Arc;
use std::time::Duration;

use http::HeaderMap;
use http::header::{DATE, ETAG, LAST_MODIFIED};

use super::super::outgoing::Outgoing;
use super::super::{Visit, intake, relay, shield, travel};
use super::{Done, Job, Seen};
use crate::body::source::Intake;
use crate::body::{BodyFault, Source};
use crate::exchange::{Reached, Unanswered};
use crate::head::Head;
use crate::names::RegionId;
use crate::refusal::{Blame, Refusal};
use crate::route::GiveUp;
use crate::s3::checksum::{Algorithm, Hasher};
use crate::s3::copy::{self, Copied};
use crate::s3::profile::Feature;
use crate::sigv4::{Payload, Stamp};
use crate::telemetry::metric::{self, Metric};
use crate::view::View;

/// How long after what broke a body is read and sent anew: a region that ended one connection may
/// have ended all.
const PAUSE: Duration = Duration::from_millis(200);

/// A body to be written.
pub(super) struct Piece {
    pub(super) head: Head,
    /// First and last byte of the source; `None`: it has none.
    pub(super) stretch: Option<(u64, u64)>,
    /// What is computed of it for its store.
    pub(super) computes: Option<Algorithm>,
    /// What goes on over all pieces.
    pub(super) running: Option<Hasher>,
}

/// What became of it.
pub(super) struct Written {
    /// What is told to the client.
    pub(super) headers: HeaderMap,
    pub(super) modified: String,
    /// [`Piece::computes`].
    pub(super) checksum: Option<(Algorithm, String)>,
    pub(super) running: Option<Hasher>,
}

/// Why it was not written.
enum Failed {
    /// Its bytes were spent, and nothing came of them.
    Spent(Refusal),
    ForGood(Refusal),
}

impl From<Refusal> for Failed {
    fn from(refusal: Refusal) -> Self {
        Self::ForGood(refusal)
    }
}

impl Job {
    /// The copy by one PUT.
    pub(super) async fn whole(&self, seen: &Seen, stretch: Option<(u64, u64)>) -> Result<Done, Refusal> {
        let tags = self.tags(seen).await?;
        let mut head = self.writing().whole(&seen.object.headers, tags.as_deref());
        seen.object.protect(&mut head, self.asked.checksum);
        let computes = self.asked.checksum.filter(|algorithm| head.count(algorithm.header()) == 0);
        self.authorise_tags(&head, tags.is_some())?;
        let written = self.write(seen, Piece { head, stretch, computes, running: None }).await?;
        Ok(written.into_done())
    }

    /// A part of the client's own upload.
    pub(super) async fn part(
        &self,
        seen: &Seen,
        upload: &str,
        stretch: Option<(u64, u64)>,
    ) -> Result<Done, Refusal> {
        let computes = self.checksum_of(upload).await?;
        let head = self.writing().part(upload, self.call.part_number.unwrap_or(1));
        let written = self.write(seen, Piece { head, stretch, computes, running: None }).await?;
        Ok(written.into_done())
    }

    /// Tags that the copy takes over from its source are set by the client.
    pub(super) fn authorise_tags(&self, head: &Head, taken_over: bool) -> Result<(), Refusal> {
        if taken_over {
            let view = self.house.view.load_full();
            let visit = self.visit(&view, head.clone())?;
            super::authorise(&visit)?;
        }
        Ok(())
    }

    /// The checksum that the parts of an upload have: a store refuses one without it. A region that
    /// lists no parts for us does not say.
    async fn checksum_of(&self, upload: &str) -> Result<Option<Algorithm>, Refusal> {
        let view = self.house.view.load_full();
        let visit = self.visit(&view, self.writing().look(upload))?;
        let honours = |region: &RegionId| {
            view.region(region).is_some_and(|settings| settings.profile.honours.has(Feature::Checksums))
        };
        if !visit.access_point.members.iter().any(|member| honours(&member.region)) {
            return Ok(None);
        }
        let source = Source::empty();
        let reached = send(&visit, &source, None, None).await?;
        match reached.head.status.as_u16() {
            404 => Err(relay::refusal(&visit, &reached)),
            200 => {
                Ok(relay::rewritten(&visit, reached).await.ok().and_then(|list| copy::upload_checksum(&list)))
            }
            _ => Ok(None),
        }
    }

    /// Writes a piece; what broke on the way is read and sent anew as often as other requests are.
    pub(super) async fn write(&self, seen: &Seen, piece: Piece) -> Result<Written, Refusal> {
        let tries = self.house.view.load().limits.attempts.max(1);
        for left in (0..tries).rev() {
            match self.write_once(seen, &piece).await {
                Ok(written) => return Ok(written),
                Err(Failed::ForGood(refusal)) => return Err(refusal),
                Err(Failed::Spent(refusal)) if left == 0 || !self.house.exchange.take_repeat() => {
                    return Err(refusal);
                }
                Err(Failed::Spent(_)) => tokio::time::sleep(PAUSE).await,
            }
        }
        Err(Refusal::unavailable(Blame::House, "a copy has no tries"))
    }

    async fn write_once(&self, seen: &Seen, piece: &Piece) -> Result<Written, Failed> {
        let view = self.house.view.load_full();
        let mut visit = self.visit(&view, piece.head.clone())?;
        if piece.computes.is_some() {
            visit.sender.payload = Payload::UnsignedTrailer;
        }
        let source = match piece.stretch {
            None => Source::empty(),
            Some(stretch) => {
                let body = self.open(seen, stretch).await.map_err(Failed::Spent)?;
                Source::copied(body, self.intake(&view, &visit, seen, piece, stretch))
            }
        };
        source.verify_if_short().await.map_err(|fault| spent(&fault))?;
        let sent = send(&visit, &source, None, piece.computes.filter(|_| piece.stretch.is_some())).await;
        let reached = match sent {
            Ok(reached) => reached,
            Err(Unanswered::Body(fault)) => return Err(spent(&fault)),
            Err(Unanswered::GaveUp(GiveUp::BodySpent)) => {
                return Err(Failed::Spent(GiveUp::BodySpent.into()));
            }
            Err(unanswered) => return Err(Failed::ForGood(unanswered.into())),
        };
        visit.ledger.answered_by(&reached.step.region);
        if !reached.head.status.is_success() {
            return Err(Failed::ForGood(relay::refusal(&visit, &reached)));
        }
        shield::remember(&visit, &reached, None);
        let to = &reached.step.region;
        metric::counter(Metric::CopiedBytes, &[seen.region.as_str(), to.as_str()]).increment(source.length());
        let checksum = piece.computes.and_then(|own| Some((own, source.trailer(own.header())?)));
        let modified = self.modified(&reached.head.headers);
        let headers = relay::map_headers(&visit, to, reached.head.status, reached.head.headers);
        let running = if piece.stretch.is_some() { source.running() } else { piece.running.clone() };
        Ok(Written { headers, modified, checksum, running })
    }

    /// What must hold of the bytes before their last ones leave.
    fn intake(
        &self,
        view: &Arc<View>,
        visit: &Visit<'_>,
        seen: &Seen,
        piece: &Piece,
        (first, last): (u64, u64),
    ) -> Intake {
        let (length, limits) = (last - first + 1, &view.limits);
        let replay = (length <= limits.replay_body.0)
            .then(|| self.house.replays.reserve(length, limits.replay_total.0))
            .flatten();
        let checksums: Vec<_> =
            seen.object.checksum.clone().into_iter().filter(|_| length == seen.object.size).collect();
        let says_nothing = checksums.is_empty() && piece.computes.is_none();
        Intake {
            length,
            checksums,
            computes: piece.computes,
            running: piece.running.clone(),
            witness: intake::witness(visit, says_nothing).filter(|_| replay.is_none()),
            replay,
            ..Intake::default()
        }
    }

    /// When a write was carried out, by the region's clock.
    pub(super) fn modified(&self, headers: &HeaderMap) -> String {
        let date = [LAST_MODIFIED, DATE]
            .into_iter()
            .find_map(|name| headers.get(name)?.to_str().ok().and_then(Stamp::parse_date));
        let stamp = date.unwrap_or_else(|| Stamp::of(self.house.clock.now().wall));
        stamp.extended().replace('Z', ".000Z")
    }
}

/// Sends one of a copy's requests. `trailer`: what is computed of the body on its way.
pub(super) async fn send(
    visit: &Visit<'_>,
    source: &Source,
    document: Option<&[u8]>,
    trailer: Option<Algorithm>,
) -> Result<Reached, Unanswered> {
    let permit = visit.permit();
    let plan = super::plan_on(visit, visit.view, &permit, &[]).map_err(Unanswered::NoRoute)?;
    let mut outgoing = Outgoing::new(visit, source, document);
    outgoing.trailer = trailer;
    travel(visit, &permit, plan, &outgoing).await
}

/// Bytes that broke off, or are not what the source said they are: of the source's regions, whatever
/// is wrong with them.
fn spent(fault: &BodyFault) -> Failed {
    Failed::Spent(Refusal::unavailable(Blame::Region, format!("a copy's source: {fault}")))
}

impl Written {
    fn into_done(self) -> Done {
        let etag = self.etag();
        let shown = |algorithm: Algorithm| {
            let value = self.headers.get(algorithm.header())?.to_str().ok()?.to_owned();
            Some((algorithm, value))
        };
        let checksums = Algorithm::ALL.into_iter().filter_map(shown).collect();
        Done { copied: Copied { modified: self.modified, etag, checksums }, headers: told(&self.headers) }
    }

    pub(super) fn etag(&self) -> String {
        let etag = self.headers.get(ETAG).and_then(|etag| etag.to_str().ok());
        etag.unwrap_or_default().to_owned()
    }
}

/// The headers of a write's answer that a copy's answer has too.
pub(super) fn told(headers: &HeaderMap) -> HeaderMap {
    const SAME: [&str; 3] = ["x-amz-expiration", "x-amz-request-charged", "x-amz-version-id"];
    let tells = |name: &str| SAME.contains(&name) || name.starts_with("x-amz-server-side-encryption");
    headers
        .iter()
        .filter(|(name, _)| tells(name.as_str()))
        .map(|(name, value)| (name.clone(), value.clone()))
        .collect()
}
