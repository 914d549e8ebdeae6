//! Who is let in: each request at work has a place, taken once it is known what it asks for and who
//! asks. What is decided is `overload`'s; this file asks it, twice: before the signature is verified,
//! where a no is clear and costs next to nothing, and after.

use std::rc::Rc;
use std::time::{Duration, Instant};

use super::House;
use crate::head::Head;
use crate::listen::{ListenerSettings, Peer};
use crate::overload::{Overfull, Place, Rank, Shed, Who, retry_after};
use crate::policy::Client;
use crate::refusal::{Blame, Refusal};
use crate::s3::{Call, Code};
use crate::sigv4;
use crate::telemetry::metric::{self, Metric};
use crate::view::View;

/// Where places are wanted, a client that has taken nothing for this part of
/// `timeouts.stalled_reader` has stopped reading: 6 s of 120 s, longer than a slow line needs for
/// what a kernel holds for it.
const STALLED_PART: u32 = 20;
/// How often a worker looks at all its connections for such clients: a look costs tens of nanoseconds
/// for each of them, and there may be 10,000.
const LOOKS: Duration = Duration::from_millis(100);
/// How often a request lets others run until the place that was taken back for it is free: the
/// connection that ends takes one turn, an HTTP/2 stream two.
const TURNS: u32 = 8;
/// Why a request is refused, beside the reasons of places, as metrics are labelled: documents hold as
/// many bytes as they may, or those of one client its share.
const BYTES: &str = "bytes";
/// All regions have as many requests at work as they may.
const REGION: &str = "region";

/// A request at the door.
pub(super) struct Caller<'a> {
    pub house: &'a Rc<House>,
    pub view: &'a View,
    pub peer: &'a Peer,
    pub call: &'a Call,
    /// When its head came.
    pub came: Instant,
}

impl Caller<'_> {
    /// Refuses a request that has no chance, before its signature is verified. What it says of its
    /// sender is not proven, and decides nothing that it could gain by.
    pub(super) fn knock(&self, listener: &ListenerSettings, head: &Head) -> Result<(), Refusal> {
        let Self { house, view, .. } = self;
        let limit = view.limits.in_flight;
        // without a signature to verify there is nothing to save, and without a crowd nothing to refuse
        if !listener.verify || house.places.pressed_by(limit) == 0 {
            return Ok(());
        }
        let Some(client) = sigv4::claimed(head, &view.keys) else { return Ok(()) };
        let asker = house.places.asker(Who::Client(client.as_str()));
        match house.places.refuses(limit, rank(self.call), asker, self.came) {
            // a place may be had from somebody who does not need it
            Some(_) if house.relieve(view) => Ok(()),
            Some(shed) => Err(refuse(house, shed)),
            None => Ok(()),
        }
    }

    /// A place for a request whose sender is known; `None`: nobody signed, or it is not known yet who did.
    pub(super) async fn enter(&self, client: Option<&Client>) -> Result<Place, Refusal> {
        match self.take(client) {
            Ok(place) => {
                if self.house.places.pressed_by(self.view.limits.in_flight) > 0 {
                    self.house.relieve(self.view);
                }
                Ok(place)
            }
            // Boxed: most requests are let in, and their futures stay as small.
            Err(shed) => Box::pin(self.enter_late(client, shed)).await,
        }
    }

    /// The same where there was no place: one that is about to be free is waited for, and no other.
    async fn enter_late(&self, client: Option<&Client>, mut shed: Shed) -> Result<Place, Refusal> {
        if self.house.relieve(self.view) {
            for _ in 0..TURNS {
                tokio::task::yield_now().await;
                match self.take(client) {
                    Ok(place) => return Ok(place),
                    Err(still) => shed = still,
                }
            }
        }
        Err(refuse(self.house, shed))
    }

    fn take(&self, client: Option<&Client>) -> Result<Place, Shed> {
        let who = match (client, self.peer.address.network()) {
            (Some(client), _) => Who::Client(client.name.as_str()),
            (None, Some(network)) => Who::Address(network),
            (None, None) => Who::Machine,
        };
        let places = &self.house.places;
        places.take(self.view.limits.in_flight, rank(self.call), places.asker(who), self.came)
    }
}

fn rank(call: &Call) -> Rank {
    Rank::of(call.facts().class)
}

/// `503 SlowDown`: what the client is to do, and what the operator is to know.
fn refuse(house: &House, shed: Shed) -> Refusal {
    count(house, shed.reason.label(), shed.rank);
    slow_down(house).caused_by(shed.to_string())
}

/// The documents at work hold as many bytes as they may, or those of this client.
pub(super) fn refuse_document(house: &House, call: &Call, overfull: Overfull) -> Refusal {
    count(house, BYTES, rank(call));
    slow_down(house).caused_by(overfull.to_string())
}

/// Counts a request that no region had room for.
pub(super) fn count_region_full(house: &House, call: &Call) {
    count(house, REGION, rank(call));
}

fn slow_down(house: &House) -> Refusal {
    let seconds = retry_after(house.coin.borrow_mut().share());
    Refusal::new(Code::SlowDown, Blame::House).after(seconds)
}

fn count(house: &House, reason: &str, rank: Rank) {
    house.places.count_shed();
    metric::counter(Metric::RequestsShed, &[reason, rank.label()]).increment(1);
}

impl House {
    /// Takes places back from clients that have stopped reading, at most every [`LOOKS`], and has the
    /// other workers do so too. Whether some of this worker's were found lately: then a place is, or
    /// is about to be, free.
    pub(super) fn relieve(&self, view: &View) -> bool {
        let now = self.clock.mono();
        if self.looked.get().is_none_or(|at| now.saturating_duration_since(at) >= LOOKS) {
            self.looked.set(Some(now));
            let most = self.places.pressed_by(view.limits.in_flight).max(1);
            let limit = now.checked_sub(view.timeouts.stalled_reader / STALLED_PART);
            self.regained.set(limit.map_or(0, |limit| self.guests.end_stalled(limit, most)));
            self.hurry.notify_waiters();
        }
        self.regained.get() > 0
    }

    /// Takes places back whenever another worker is short of them.
    pub async fn stay_alert(&self) {
        loop {
            self.hurry.notified().await;
            self.relieve(&self.view.load_full());
        }
    }
}
