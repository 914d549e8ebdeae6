//! The connections that one worker serves: for the drain, for a reload, and for who wants places back
//! from clients that have stopped reading.

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;
use std::time::Instant;

use super::Peer;
use super::overdue::Overdue;
use super::wire::Wire;
use crate::telemetry::metric::{Metric, counter};

/// One worker's connections in service.
#[derive(Debug, Default)]
pub struct Guests {
    pub(super) open: RefCell<HashMap<u64, Guest>>,
}

/// A connection in service.
#[derive(Debug)]
pub(super) struct Guest {
    pub(super) wire: Rc<Wire>,
    pub(super) peer: Rc<Peer>,
}

impl Guests {
    /// Nobody is here.
    #[must_use]
    pub fn new() -> Rc<Self> {
        Rc::default()
    }

    /// Ends requests whose clients have taken nothing of their answers since `limit` or before, those
    /// first that have waited longest, until `most` are ended. Returns how many are about to end: each
    /// lets go of what it holds when its task runs next. Looks at every connection, and is meant for
    /// when there is not room for all.
    pub fn end_stalled(&self, limit: Instant, most: u32) -> u32 {
        let open = self.open.borrow();
        let waiting = open.values().filter_map(|guest| Some((guest.wire.unread_since()?, &guest.wire)));
        let mut stalled: Vec<_> = waiting.filter(|(since, _)| *since <= limit).collect();
        stalled.sort_unstable_by_key(|(since, _)| *since);
        let mut ended = 0;
        for (_, wire) in stalled {
            if ended >= most {
                break;
            }
            ended += match wire.end_stalled_socket(limit) {
                0 => reset_streams(wire, limit, most - ended),
                requests => requests,
            };
        }
        ended
    }
}

/// Of a connection whose socket takes what it is given.
fn reset_streams(wire: &Wire, limit: Instant, most: u32) -> u32 {
    let streams = wire.end_stalled_streams(limit, most);
    counter(Metric::StreamsReset, &[Overdue::Shed.label()]).increment(streams.into());
    streams
}
