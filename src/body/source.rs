//! The client's upload, or what a copy reads from another region: decoded, verified, its tail held
//! back, kept for replay where it fits.
//!
//! No upload becomes complete at a store before all its signatures, hashes and trailers are
//! verified: the last [`HOLD_BACK`] bytes of the object leave only after that. Who decides
//! whether a body may be replayed is `route`; this room only says whether it can.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::Body;
use tokio::time::Sleep;

use super::progress::{Pace, Progress};
use super::spans::{Cursor, Spans};
use super::{ReplayShare, Reply};
use crate::clock::Clock;
use crate::http1::ClientBody;
use crate::s3::checksum::{Algorithm, Hasher};
use crate::s3::form;
use crate::sigv4::chunks;

/// Bytes of an object's end that are held back until everything is verified.
pub const HOLD_BACK: u64 = 64 * 1024;

/// Who a body comes from.
enum Sender {
    Client(ClientBody),
    /// A region, which watches its own pace.
    Region(Box<Reply>),
}

impl Sender {
    fn poll_bytes(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, BodyFault>>> {
        match self {
            Self::Client(body) => {
                body.poll_bytes(cx).map(|next| next.map(|next| next.map_err(|_| BodyFault::Aborted)))
            }
            Self::Region(body) => loop {
                match std::task::ready!(Pin::new(body.as_mut()).poll_frame(cx)) {
                    None => return Poll::Ready(None),
                    Some(Err(_)) => return Poll::Ready(Some(Err(BodyFault::Source))),
                    Some(Ok(frame)) => {
                        if let Ok(bytes) = frame.into_data() {
                            return Poll::Ready(Some(Ok(bytes)));
                        }
                    }
                }
            },
        }
    }
}

/// Why an upload cannot go on. All of them are the client's, or the copy's: never a signal of the
/// health of the region that it goes to.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BodyFault {
    /// The client's connection ended before its body did.
    #[error("the client went away in the middle of its body")]
    Aborted,
    /// What is copied broke off, and nobody has the rest.
    #[error("the source of the copy broke off")]
    Source,
    /// Too little arrived while we waited (`timeouts.body_progress`).
    #[error("the client sent its body too slowly")]
    TooSlow,
    /// Fewer or more bytes than the head announced.
    #[error("the body has {seen} bytes where {expected} were announced")]
    Length {
        /// Decoded bytes announced.
        expected: u64,
        /// Decoded bytes received.
        seen: u64,
    },
    /// The body is not the one whose hash was signed.
    #[error("the body's SHA-256 is not the signed one")]
    Sha256 {
        /// Hex, as signed by the client.
        claimed: String,
        /// Hex, as computed here.
        computed: String,
    },
    /// A declared checksum does not fit the body.
    #[error("the body's {0} is not the declared one")]
    Checksum(&'static str),
    /// A declared checksum trailer did not come, or is no checksum.
    #[error("the declared trailer is missing or malformed")]
    Trailer,
    /// aws-chunked framing, chunk signature or trailer signature.
    #[error(transparent)]
    Chunk(#[from] chunks::Fault),
    /// A form's delimiters.
    #[error(transparent)]
    Form(#[from] form::Fault),
    /// A form whose file is not as long as it would be if it came last.
    #[error("more than its end follows the file of a form")]
    NotLast,
    /// A document larger than `limits.xml_body`.
    #[error("the document is longer than {limit} bytes")]
    TooLong {
        /// `limits.xml_body`, in bytes.
        limit: u64,
    },
}

/// What must hold before the body counts as whole.
#[derive(Default)]
pub struct Intake {
    /// Object bytes, decoded.
    pub length: u64,
    /// What is taken off the client's bytes to have the object's.
    pub decoder: Option<Decoder>,
    /// The signed hash, where it is checked here and not by the store.
    pub sha256: Option<[u8; 32]>,
    /// Checksums from the head that the store does not check, with their base64 texts: at most
    /// `Content-MD5` and one more.
    pub checksums: Vec<(Algorithm, String)>,
    /// The algorithm of the declared checksum trailer.
    pub trailer: Option<Algorithm>,
    /// What is computed beside, of a body that is not kept: nobody declared it and nothing is refused
    /// by it, but it can be compared with what a store has.
    pub witness: Option<Algorithm>,
    /// What is computed of it and sent behind it, as if the client had: [`Source::trailer`] has it then.
    pub computes: Option<Algorithm>,
    /// What goes on over several bodies, with what it has seen: [`Source::running`] has it then.
    pub running: Option<Hasher>,
    /// Whether bytes are kept for replay, and the reservation that pays for it.
    pub replay: Option<ReplayShare>,
    /// How slowly the client may send.
    pub pace: Option<Pace>,
    /// Told how long the file of a form was, as soon as its end has come.
    pub measured: Option<Measured>,
}

/// Is told a length in bytes.
pub type Measured = Box<dyn FnOnce(u64)>;

/// What is around the object's bytes.
#[derive(Debug)]
pub enum Decoder {
    /// aws-chunked framing.
    Chunks(chunks::Decoder),
    /// The end of a form.
    Form(form::FileReader),
}

impl Decoder {
    fn push(&mut self, bytes: &Bytes, out: &mut Vec<Bytes>) -> Result<(), BodyFault> {
        match self {
            Self::Chunks(decoder) => Ok(decoder.push(bytes, out)?),
            Self::Form(reader) => Ok(reader.push(bytes, out)?),
        }
    }

    /// Whether the file of a form has come to its end.
    fn has_file(&self) -> bool {
        matches!(self, Self::Form(reader) if reader.has_ended())
    }

    fn finish(self) -> Result<Vec<chunks::Trailer>, BodyFault> {
        match self {
            Self::Chunks(decoder) => Ok(decoder.finish()?),
            Self::Form(reader) => {
                reader.finish()?;
                Ok(Vec::new())
            }
        }
    }
}

impl Intake {
    fn verifies(&self) -> bool {
        self.decoder.is_some()
            || self.sha256.is_some()
            || self.computes.is_some()
            || !self.checksums.is_empty()
    }
}

/// A shared handle on the client's body.
#[derive(Clone)]
pub struct Source {
    shared: Rc<Shared>,
}

struct Shared {
    length: u64,
    /// Bytes that nobody has yet verified are held back.
    verifies: bool,
    replayable: bool,
    touched: Cell<bool>,
    intake: RefCell<Reception>,
}

/// Everything that reading the client changes.
struct Reception {
    sender: Option<Sender>,
    intake: Intake,
    sha256: Option<aws_lc_rs::digest::Context>,
    checksums: Vec<Hasher>,
    trailer: Option<Hasher>,
    witness: Option<Hasher>,
    computed: Option<Hasher>,
    trailers: Vec<chunks::Trailer>,
    /// Object bytes received so far.
    decoded: u64,
    /// Received, not yet handed out.
    held: Spans,
    /// Handed out so far, over all uploads.
    given: u64,
    /// What was handed out, where it can be replayed.
    kept: Spans,
    verified: bool,
    fault: Option<BodyFault>,
    progress: Progress,
    timer: Option<Pin<Box<Sleep>>>,
    wire_bytes: u64,
}

impl Source {
    /// No body.
    #[must_use]
    pub fn empty() -> Self {
        Self::full(Bytes::new())
    }

    /// A body that is whole in memory: documents, replays of our own.
    #[must_use]
    pub fn full(bytes: Bytes) -> Self {
        let length = bytes.len() as u64;
        let mut held = Spans::expecting(length);
        if !bytes.is_empty() {
            held.push(bytes);
        }
        Self::assemble(None, Intake { length, ..Intake::default() }, held, true)
    }

    /// A body that is whole in memory and was the client's: what pays for it is held as long.
    #[must_use]
    pub fn arrived(bytes: Bytes, paid: Option<ReplayShare>) -> Self {
        let length = bytes.len() as u64;
        let mut held = Spans::expecting(length);
        held.push(bytes);
        Self::assemble(None, Intake { length, replay: paid, ..Intake::default() }, held, true)
    }

    /// A body of which these first bytes have come, and the rest is still with the client.
    #[must_use]
    pub fn begun(first: Bytes, client: ClientBody, intake: Intake) -> Self {
        let source = Self::stream(client, intake);
        if let Err(fault) = source.shared.intake.borrow_mut().take(first) {
            source.fail(&fault);
        }
        source
    }

    /// A body that is still with the client.
    #[must_use]
    pub fn stream(client: ClientBody, intake: Intake) -> Self {
        Self::sent_by(Sender::Client(client), intake)
    }

    /// A body that is still with the region which it is copied from.
    #[must_use]
    pub fn copied(reply: Reply, intake: Intake) -> Self {
        Self::sent_by(Sender::Region(Box::new(reply)), intake)
    }

    fn sent_by(sender: Sender, intake: Intake) -> Self {
        let replayable = intake.replay.is_some() || intake.length == 0;
        let held = Spans::expecting(intake.length);
        Self::assemble(Some(sender), intake, held, replayable)
    }

    fn assemble(sender: Option<Sender>, intake: Intake, held: Spans, replayable: bool) -> Self {
        let whole = sender.is_none();
        let reception = Reception {
            sha256: intake.sha256.map(|_| aws_lc_rs::digest::Context::new(&aws_lc_rs::digest::SHA256)),
            checksums: intake.checksums.iter().map(|(algorithm, _)| Hasher::new(*algorithm)).collect(),
            trailer: intake.trailer.map(Hasher::new),
            witness: intake.witness.map(Hasher::new),
            computed: intake.computes.map(Hasher::new),
            trailers: Vec::new(),
            decoded: if whole { intake.length } else { 0 },
            held,
            given: 0,
            kept: Spans::expecting(intake.length),
            verified: whole || !intake.verifies(),
            fault: None,
            progress: Progress::default(),
            timer: None,
            wire_bytes: 0,
            sender,
            intake,
        };
        let shared = Shared {
            length: reception.intake.length,
            verifies: !reception.verified,
            replayable,
            touched: Cell::new(false),
            intake: RefCell::new(reception),
        };
        Self { shared: Rc::new(shared) }
    }

    /// Object bytes, decoded.
    #[must_use]
    pub fn length(&self) -> u64 {
        self.shared.length
    }

    /// Whether any byte was handed to an upload.
    #[must_use]
    pub fn touched(&self) -> bool {
        self.shared.touched.get()
    }

    /// Whether it can be read again from its start.
    #[must_use]
    pub fn replayable(&self) -> bool {
        self.shared.replayable || !self.touched()
    }

    /// Why the client's body failed, if it did.
    #[must_use]
    pub fn fault(&self) -> Option<BodyFault> {
        self.shared.intake.borrow().fault.clone()
    }

    /// The body cannot be framed as it was announced: whoever is to blame, it is not the region.
    pub(super) fn fail(&self, fault: &BodyFault) {
        self.shared.intake.borrow_mut().fault.get_or_insert_with(|| fault.clone());
    }

    /// Bytes that came from the client, framing included.
    #[must_use]
    pub fn wire_bytes(&self) -> u64 {
        self.shared.intake.borrow().wire_bytes
    }

    /// The value of a verified trailer (lower-case name), once the body was read to its end.
    #[must_use]
    pub fn trailer(&self, name: &str) -> Option<String> {
        let reception = self.shared.intake.borrow();
        reception.trailers.iter().find(|trailer| trailer.name == name).map(|trailer| trailer.value.clone())
    }

    /// [`Intake::running`] with this body taken in, once it was read to its end.
    #[must_use]
    pub fn running(&self) -> Option<Hasher> {
        let reception = self.shared.intake.borrow();
        reception.intake.running.clone().filter(|_| reception.whole())
    }

    /// The digest of the whole body in base64, where all of it has been here: computed now of what is
    /// kept, else what was computed on the way. `None` where neither is.
    #[must_use]
    pub fn digest(&self, algorithm: Algorithm) -> Option<String> {
        let reception = self.shared.intake.borrow();
        if reception.decoded != reception.intake.length {
            return None;
        }
        if let Some(witness) = reception.witness.as_ref().filter(|own| own.algorithm() == algorithm) {
            return Some(witness.clone().finish_text());
        }
        let mut hasher = Hasher::new(algorithm);
        let mut bytes = 0;
        for span in reception.kept.iter().chain(reception.held.iter()) {
            bytes += span.len() as u64;
            hasher.update(span);
        }
        (bytes == reception.intake.length).then(|| hasher.finish_text())
    }

    /// Reads and verifies a body that is short enough to be held back whole, so that nothing of
    /// a bad one reaches a store. Longer bodies, and those with nothing to verify, are left alone.
    ///
    /// # Errors
    /// The body's fault.
    pub async fn verify_if_short(&self) -> Result<(), BodyFault> {
        self.verify_if(self.length() <= HOLD_BACK).await
    }

    /// The same of a body that is kept here for replay, so that what follows it is known before any of
    /// it goes on.
    ///
    /// # Errors
    /// The body's fault.
    pub async fn verify_if_kept(&self) -> Result<(), BodyFault> {
        self.verify_if(self.shared.replayable).await
    }

    async fn verify_if(&self, fits: bool) -> Result<(), BodyFault> {
        if !self.shared.verifies || !fits {
            return Ok(());
        }
        poll_fn(|cx| self.shared.intake.borrow_mut().poll_whole(cx)).await
    }

    /// Reads a document whole.
    ///
    /// # Errors
    /// [`BodyFault::TooLong`] above `limit` bytes, else the body's fault.
    pub async fn document(&self, limit: u64) -> Result<Bytes, BodyFault> {
        if self.length() > limit {
            return Err(BodyFault::TooLong { limit });
        }
        poll_fn(|cx| self.shared.intake.borrow_mut().poll_whole(cx)).await?;
        let mut reception = self.shared.intake.borrow_mut();
        let held = std::mem::replace(&mut reception.held, Spans::expecting(self.length()));
        let mut whole = Vec::with_capacity(usize::try_from(self.length()).unwrap_or_default());
        for span in held.iter() {
            whole.extend_from_slice(span);
        }
        let whole = Bytes::from(whole);
        if !whole.is_empty() {
            reception.held.push(whole.clone());
        }
        Ok(whole)
    }

    /// The next bytes for an upload that has read up to `cursor`.
    pub(super) fn poll_span(
        &self,
        cursor: &mut Cursor,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Bytes, BodyFault>>> {
        let mut reception = self.shared.intake.borrow_mut();
        if let Some(kept) = reception.kept.read(cursor) {
            return Poll::Ready(Some(Ok(kept)));
        }
        let span = std::task::ready!(reception.poll_release(cx));
        if let Some(Ok(bytes)) = &span {
            self.shared.touched.set(true);
            if self.shared.replayable {
                reception.kept.push(bytes.clone());
                *cursor = reception.kept.end();
            }
        }
        Poll::Ready(span)
    }
}

impl Reception {
    /// Bytes that may leave now: all, once verified; else all but the tail.
    fn releasable(&self) -> u64 {
        let limit =
            if self.verified { self.intake.length } else { self.intake.length.saturating_sub(HOLD_BACK) };
        limit.saturating_sub(self.given)
    }

    fn poll_release(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, BodyFault>>> {
        loop {
            if let Some(fault) = &self.fault {
                return Poll::Ready(Some(Err(fault.clone())));
            }
            if let Some(bytes) = self.release() {
                return Poll::Ready(Some(Ok(bytes)));
            }
            if self.verified && self.given >= self.intake.length {
                return Poll::Ready(None);
            }
            if let Err(fault) = std::task::ready!(self.poll_receive(cx)) {
                self.fault = Some(fault);
            }
        }
    }

    fn release(&mut self) -> Option<Bytes> {
        let allowed = usize::try_from(self.releasable()).unwrap_or(usize::MAX);
        let bytes = self.held.take(allowed)?;
        self.given += bytes.len() as u64;
        Some(bytes)
    }

    fn poll_whole(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BodyFault>> {
        while !self.whole() {
            if let Some(fault) = &self.fault {
                return Poll::Ready(Err(fault.clone()));
            }
            if let Err(fault) = std::task::ready!(self.poll_receive(cx)) {
                self.fault = Some(fault);
            }
        }
        Poll::Ready(Ok(()))
    }

    /// Everything is here, and verified.
    fn whole(&self) -> bool {
        self.verified && self.decoded >= self.intake.length
    }

    /// Takes one frame from its sender, or learns that there is none left.
    fn poll_receive(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BodyFault>> {
        let Some(sender) = self.sender.as_mut() else {
            return Poll::Ready(Err(BodyFault::Length { expected: self.intake.length, seen: self.decoded }));
        };
        match sender.poll_bytes(cx) {
            Poll::Ready(Some(Ok(bytes))) => {
                self.moved(bytes.len() as u64);
                Poll::Ready(self.take(bytes))
            }
            Poll::Ready(Some(Err(fault))) => Poll::Ready(Err(fault)),
            Poll::Ready(None) => Poll::Ready(self.end()),
            Poll::Pending => self.poll_patience(cx),
        }
    }

    fn moved(&mut self, bytes: u64) {
        self.wire_bytes += bytes;
        if let Some(pace) = self.intake.pace {
            self.progress.moved(bytes, Clock::system().mono(), pace);
        }
    }

    /// Pending, until the client has been silent for too long.
    fn poll_patience(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BodyFault>> {
        let Some(pace) = self.intake.pace else { return Poll::Pending };
        let dead_at = self.progress.waiting(Clock::system().mono(), pace);
        let timer = self.timer.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(dead_at.into())));
        loop {
            std::task::ready!(timer.as_mut().poll(cx));
            if timer.deadline().into_std() >= dead_at {
                return Poll::Ready(Err(BodyFault::TooSlow));
            }
            timer.as_mut().reset(dead_at.into());
        }
    }

    fn take(&mut self, bytes: Bytes) -> Result<(), BodyFault> {
        match self.intake.decoder.as_mut() {
            None => {
                self.judge(&bytes)?;
                self.held.push(bytes);
            }
            Some(decoder) => {
                let mut spans = Vec::with_capacity(2);
                decoder.push(&bytes, &mut spans)?;
                if decoder.has_file()
                    && let Some(measured) = self.intake.measured.take()
                {
                    measured(self.decoded + spans.iter().map(|span| span.len() as u64).sum::<u64>());
                }
                // A large span in a frame that is nearly all framing would keep it all.
                let dense = spans.iter().map(Bytes::len).sum::<usize>() * 2 >= bytes.len();
                for span in spans {
                    self.judge(&span)?;
                    if dense { self.held.push(span) } else { self.held.copy(&span) }
                }
                if self.falls_short() {
                    return Err(BodyFault::NotLast);
                }
            }
        }
        // A plain body is whole at its last byte; a framed one only after its trailers.
        if self.intake.decoder.is_none() && self.decoded == self.intake.length {
            return self.verify(Vec::new());
        }
        Ok(())
    }

    /// Whether the file of a form has ended before the length that it was taken to have.
    fn falls_short(&self) -> bool {
        self.intake.decoder.as_ref().is_some_and(Decoder::has_file) && self.decoded != self.intake.length
    }

    /// Counts bytes of the object, and takes them into whatever is computed of it.
    fn judge(&mut self, bytes: &[u8]) -> Result<(), BodyFault> {
        self.decoded += bytes.len() as u64;
        if self.decoded > self.intake.length {
            return Err(match self.intake.decoder {
                Some(Decoder::Form(_)) => BodyFault::NotLast,
                _ => BodyFault::Length { expected: self.intake.length, seen: self.decoded },
            });
        }
        if let Some(context) = self.sha256.as_mut() {
            context.update(bytes);
        }
        let own = self.checksums.iter_mut().chain(&mut self.trailer).chain(&mut self.witness);
        for hasher in own.chain(&mut self.computed).chain(&mut self.intake.running) {
            hasher.update(bytes);
        }
        Ok(())
    }

    fn end(&mut self) -> Result<(), BodyFault> {
        self.sender = None;
        if self.verified && self.decoded == self.intake.length {
            return Ok(());
        }
        let trailers = match self.intake.decoder.take() {
            Some(decoder) => decoder.finish()?,
            None => Vec::new(),
        };
        if self.decoded != self.intake.length {
            return Err(BodyFault::Length { expected: self.intake.length, seen: self.decoded });
        }
        self.verify(trailers)
    }

    fn verify(&mut self, mut trailers: Vec<chunks::Trailer>) -> Result<(), BodyFault> {
        if let (Some(claimed), Some(context)) = (self.intake.sha256, self.sha256.take()) {
            let computed = context.finish();
            if computed.as_ref() != claimed {
                let (claimed, computed) = (hex::encode(claimed), hex::encode(computed.as_ref()));
                return Err(BodyFault::Sha256 { claimed, computed });
            }
        }
        for ((algorithm, claimed), hasher) in self.intake.checksums.iter().zip(self.checksums.drain(..)) {
            if hasher.finish_text() != claimed.trim() {
                return Err(BodyFault::Checksum(algorithm.name()));
            }
        }
        if let (Some(algorithm), Some(hasher)) = (self.intake.trailer, self.trailer.take()) {
            let name = algorithm.header();
            let claimed = trailers.iter().find(|trailer| trailer.name == name).ok_or(BodyFault::Trailer)?;
            if hasher.finish_text() != claimed.value {
                return Err(BodyFault::Checksum(algorithm.name()));
            }
        }
        if let Some(hasher) = self.computed.take() {
            let name = hasher.algorithm().header().to_owned();
            trailers.push(chunks::Trailer { name, value: hasher.finish_text() });
        }
        self.trailers = trailers;
        self.verified = true;
        Ok(())
    }
}

impl std::fmt::Debug for Source {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Source")
            .field("length", &self.length())
            .field("touched", &self.touched())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
#[path = "source_tests.rs"]
mod tests;
