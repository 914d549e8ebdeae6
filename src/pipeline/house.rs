//! What one worker has at hand to answer requests.

use std::cell::{Cell, RefCell};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::Notify;

use super::shield::Changes;
use crate::body::ReplayRoom;
use crate::chance::Coin;
use crate::clock::Clock;
use crate::exchange::Exchange;
use crate::head::Head;
use crate::listen::{Guests, Peer, Terms, Unwelcome};
use crate::names::RequestId;
use crate::overload::{ByteRoom, Places};
use crate::probe::Canaries;
use crate::publish::Published;
use crate::refusal::{Blame, Refusal};
use crate::route::{GiveUp, Poison};
use crate::s3::form::Endings;
use crate::s3::{Call, Code};
use crate::sigv4::KeyCache;
use crate::telemetry::access::AccessLog;
use crate::telemetry::metric::WorkerMeters;
use crate::units::UnixSeconds;
use crate::view::View;

/// One worker's house.
pub struct House {
    /// Reads time.
    pub clock: Clock,
    /// The view in force.
    pub view: Published<View>,
    /// The way to the regions.
    pub exchange: Exchange,
    /// Trials, request ids.
    pub coin: RefCell<Coin>,
    /// Keys derived for verification.
    pub keys: RefCell<KeyCache>,
    /// Bytes kept for replay, over all workers.
    pub replays: ReplayRoom,
    /// Bytes of documents at work, over all workers.
    pub documents: Arc<ByteRoom>,
    /// Places of requests at work, over all workers.
    pub places: Arc<Places>,
    /// This worker's connections.
    pub guests: Rc<Guests>,
    /// Rung for all workers when places run short.
    pub hurry: Arc<Notify>,
    /// When this worker last looked for clients that have stopped reading, and how many requests of
    /// such clients it ended then.
    pub looked: Cell<Option<Instant>>,
    /// See [`Self::looked`].
    pub regained: Cell<u32>,
    /// Metrics of requests.
    pub meters: Rc<WorkerMeters>,
    /// Where access lines go.
    pub access: AccessLog,
    /// Who settles blame.
    pub canaries: Canaries,
    /// Requests that kill stores, over all workers.
    pub quarantine: Quarantine,
    /// What follows the files of forms, over all workers.
    pub endings: Arc<Mutex<Endings>>,
    /// What clients changed lately, over all workers.
    pub changes: Changes,
    /// When it was last said that a listing of uploads is not complete.
    pub left_out_said: Cell<Option<Instant>>,
    /// In which second signatures that do not match were last looked into, and how many.
    pub diagnosed: Cell<(i64, u32)>,
    /// Names this process in `Via`, so that a request that comes back is seen.
    pub mark: Arc<str>,
}

/// Signatures that do not match and are looked into, by each worker in a second: half a millisecond each,
/// that anybody can ask for who knows an access key id.
const DIAGNOSES: u32 = 10;

/// How often a request looks whether a reload under way is over, and how many times: it takes some
/// microseconds, and the control thread may be starved for a while.
const RELOAD_LOOK: Duration = Duration::from_millis(1);
const RELOAD_LOOKS: u32 = 2_000;

/// Requests that ended the connections of two regions, refused for a while by every worker. Its
/// lock is taken only while there is one.
#[derive(Clone, Debug, Default)]
pub struct Quarantine {
    poison: Arc<Mutex<Poison>>,
    any: Arc<AtomicBool>,
}

impl Quarantine {
    /// Refuses what is in quarantine.
    pub(super) fn admit(&self, call: &Call, now: Instant) -> Result<(), Refusal> {
        if !self.any.load(Ordering::Relaxed) {
            return Ok(());
        }
        let mut poison = self.poison.lock().unwrap_or_else(PoisonError::into_inner);
        let refused = poison.refuses(request(call), now);
        self.any.store(!poison.is_empty(), Ordering::Relaxed);
        if refused { Err(GiveUp::Poisonous.into()) } else { Ok(()) }
    }

    /// Takes a request in.
    pub(super) fn take(&self, call: &Call, now: Instant) {
        let mut poison = self.poison.lock().unwrap_or_else(PoisonError::into_inner);
        poison.remember(request(call), now);
        self.any.store(true, Ordering::Relaxed);
    }
}

/// Method and key, as a number.
fn request(call: &Call) -> u64 {
    let mut hasher = DefaultHasher::new();
    (call.facts().rule.method, call.bucket(), call.key()).hash(&mut hasher);
    hasher.finish()
}

impl House {
    /// A request that this process sent itself is one whose region's endpoint is ours.
    pub(super) fn refuse_loop(&self, head: &Head) -> Result<(), Refusal> {
        let looped = head.all("via").any(|via| memchr::memmem::find(via, self.mark.as_bytes()).is_some());
        if looped {
            return Err(Refusal::because(
                Code::InvalidRequest,
                Blame::House,
                "The request came back to the endpoint that sent it.",
            )
            .caused_by("a region's endpoint leads back to this process"));
        }
        Ok(())
    }

    /// The configuration in force for a request that begins now: the view, and the listener's terms
    /// for this connection, both of one configuration.
    pub(super) async fn in_force(&self, peer: &Peer) -> (Arc<View>, Result<Arc<Terms>, Unwelcome>) {
        let view = self.view.load_full();
        let terms = peer.terms();
        if terms.as_ref().is_ok_and(|terms| terms.configuration != view.configuration) {
            return self.after_reload(peer).await;
        }
        (view, terms)
    }

    /// The same amid a reload, which puts the two in force one after the other.
    #[cold]
    async fn after_reload(&self, peer: &Peer) -> (Arc<View>, Result<Arc<Terms>, Unwelcome>) {
        for _ in 0..RELOAD_LOOKS {
            tokio::time::sleep(RELOAD_LOOK).await;
            let (view, terms) = (self.view.load_full(), peer.terms());
            if terms.as_ref().map_or(true, |terms| terms.configuration == view.configuration) {
                return (view, terms);
            }
        }
        (self.view.load_full(), Err(Unwelcome::Outdated))
    }

    /// The time by which senders are judged: this machine's, or the regions' where they agree that it is
    /// plainly wrong.
    pub(super) fn believed_now(&self) -> UnixSeconds {
        self.exchange.meters.common_clock.believed(self.clock.now())
    }

    /// Whether one more signature that does not match may be looked into.
    pub(super) fn may_diagnose(&self, now: UnixSeconds) -> bool {
        let (second, count) = self.diagnosed.get();
        let count = if second == now.0 { count } else { 0 };
        self.diagnosed.set((now.0, count + 1));
        count < DIAGNOSES
    }

    pub(super) fn request_id(&self) -> RequestId {
        RequestId(self.coin.borrow_mut().bits())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::s3::call::Target;
    use crate::s3::operation::Operation;

    fn call(operation: Operation, key: &str) -> Call {
        let target = Target::Object { bucket: "b".into(), raw_key: key.into(), key: key.as_bytes().to_vec() };
        Call::new(operation, target)
    }

    #[test]
    fn quarantine_is_of_method_and_key_and_for_every_worker() {
        let now = Clock::system().mono();
        let quarantine = Quarantine::default();
        let another_worker = quarantine.clone();
        assert!(quarantine.admit(&call(Operation::GetObject, "k"), now).is_ok());
        quarantine.take(&call(Operation::GetObject, "k"), now);
        let refused = another_worker.admit(&call(Operation::GetObject, "k"), now).unwrap_err();
        assert_eq!((refused.status.as_u16(), refused.retry_after.is_some()), (503, true));
        assert!(another_worker.admit(&call(Operation::PutObject, "k"), now).is_ok());
        assert!(another_worker.admit(&call(Operation::GetObject, "l"), now).is_ok());
        let later = now + Duration::from_mins(1);
        assert!(another_worker.admit(&call(Operation::GetObject, "k"), later).is_ok());
        assert!(!quarantine.any.load(Ordering::Relaxed), "and costs nothing any more");
    }
}
