//! Our own small pool over hyper's connection API: last in, first out; idle for at most
//! `timeouts.upstream_idle`; no retry out of sight. One a region and worker, so no lock.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::{Duration, Instant};

use hyper::client::conn::http1::SendRequest;
use metrics::Gauge;
use tokio::task::AbortHandle;

use super::socket::Socket;
use crate::body::Upload;

/// Idle connections kept for one authority of one region by one worker.
const IDLE_MAX: usize = 256;

/// An open connection to a region. Dropping it ends the connection at once.
pub struct Connection {
    /// Sends one request after the other.
    pub sender: SendRequest<Upload>,
    driver: AbortHandle,
    socket: Socket,
    authority: Rc<str>,
    open: Gauge,
}

impl Connection {
    /// A connection whose bytes are moved between `sender` and `socket` by `driver`, counted in
    /// `open` for as long as it is.
    #[must_use]
    pub fn new(
        sender: SendRequest<Upload>,
        driver: AbortHandle,
        socket: Socket,
        authority: Rc<str>,
        open: Gauge,
    ) -> Self {
        open.increment(1.0);
        Self { sender, driver, socket, authority, open }
    }

    /// Whether the region has neither ended it nor sent what nobody asked for.
    #[must_use]
    pub fn is_quiet(&self) -> bool {
        self.socket.is_quiet()
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.open.decrement(1.0);
        self.driver.abort();
    }
}

struct Idle {
    connection: Connection,
    since: Instant,
}

/// The idle connections of one region.
#[derive(Clone, Default)]
pub struct Pool {
    idle: Rc<RefCell<Vec<Idle>>>,
}

impl Pool {
    /// The connection used last for this authority that is still good.
    #[must_use]
    pub fn take(&self, authority: &str, now: Instant, idle_max: Duration) -> Option<Connection> {
        let mut idle = self.idle.borrow_mut();
        // The oldest stand first: all that is stale goes at once.
        let stale =
            idle.iter().take_while(|idle| now.saturating_duration_since(idle.since) > idle_max).count();
        idle.drain(..stale);
        while let Some(at) = idle.iter().rposition(|idle| &*idle.connection.authority == authority) {
            let candidate = idle.remove(at).connection;
            if !candidate.sender.is_closed() {
                return Some(candidate);
            }
        }
        None
    }

    /// Gives a connection back after a whole reply to a wholly sent request.
    pub fn put(&self, connection: Connection, now: Instant) {
        if connection.sender.is_closed() {
            return;
        }
        let mut idle = self.idle.borrow_mut();
        if idle.len() >= IDLE_MAX {
            idle.remove(0);
        }
        idle.push(Idle { connection, since: now });
    }

    /// Ends every idle connection: the region is out, or its settings changed.
    pub fn clear(&self) {
        self.idle.borrow_mut().clear();
    }

    /// How many are idle.
    #[must_use]
    pub fn len(&self) -> usize {
        self.idle.borrow().len()
    }

    /// Whether none is idle.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.idle.borrow().is_empty()
    }
}
