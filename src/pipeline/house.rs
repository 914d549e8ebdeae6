//! What one worker has at hand to answer requests.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use crate::body::ReplayRoom;
use crate::chance::Coin;
use crate::clock::Clock;
use crate::exchange::Exchange;
use crate::head::Head;
use crate::names::RequestId;
use crate::probe::Canaries;
use crate::publish::Published;
use crate::refusal::{Blame, Refusal};
use crate::s3::Code;
use crate::sigv4::KeyCache;
use crate::telemetry::access::AccessLog;
use crate::telemetry::metric::WorkerMeters;
use crate::view::{Limits, View};

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
    /// Requests under way, over all workers.
    pub in_flight: Arc<AtomicU32>,
    /// Metrics of requests.
    pub meters: Rc<WorkerMeters>,
    /// Where access lines go.
    pub access: AccessLog,
    /// Who settles blame.
    pub canaries: Canaries,
    /// Names this process in `Via`, so that a request that comes back is seen.
    pub mark: Arc<str>,
}

/// One request under way.
pub(super) struct Room {
    in_flight: Arc<AtomicU32>,
}

impl Drop for Room {
    fn drop(&mut self) {
        self.in_flight.fetch_sub(1, Ordering::Relaxed);
    }
}

impl House {
    /// Room for one more request.
    pub(super) fn enter(&self, limits: &Limits) -> Result<Room, Refusal> {
        let before = self.in_flight.fetch_add(1, Ordering::Relaxed);
        let room = Room { in_flight: Arc::clone(&self.in_flight) };
        if before >= limits.in_flight {
            return Err(Refusal::new(Code::SlowDown, Blame::House).after(1).caused_by("limits.in_flight"));
        }
        Ok(room)
    }

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

    pub(super) fn request_id(&self) -> RequestId {
        RequestId(self.coin.borrow_mut().bits())
    }
}
