//! How many connections there may be, in all and from one address. Shared by all workers;
//! touched when a connection begins and ends, never by a request.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};

use super::PeerAddress;
use super::seats::{Seat, Seats};

/// The count of a process's client connections.
#[derive(Debug, Default)]
pub struct Admission {
    seats: Arc<Seats>,
    by_address: Mutex<HashMap<IpAddr, usize>>,
}

/// A place taken; dropped with the connection.
#[derive(Debug)]
pub struct Ticket {
    _seat: Seat,
    _place: Option<AddressPlace>,
}

/// One of an address's places, held also while its connection waits for one of all.
#[derive(Debug)]
struct AddressPlace {
    admission: Arc<Admission>,
    address: IpAddr,
}

impl Admission {
    /// Nobody is connected.
    #[must_use]
    pub fn new() -> Arc<Self> {
        Arc::default()
    }

    /// How many connections are open.
    #[must_use]
    pub fn open(&self) -> usize {
        self.seats.taken()
    }

    /// Takes a place, waiting while all `max` are taken: accepting pauses, nobody is turned away.
    /// `None`: this address holds `per_address` places already. Peers of this machine have no
    /// limit of their own, since a sidecar's clients share one address.
    pub async fn enter(
        self: &Arc<Self>,
        peer: &PeerAddress,
        max: usize,
        per_address: usize,
    ) -> Option<Ticket> {
        let place = match peer.network().filter(|_| !peer.is_local()) {
            None => None,
            Some(address) if self.take_address(address, per_address) => {
                Some(AddressPlace { admission: Arc::clone(self), address })
            }
            Some(_) => return None,
        };
        let seat = self.seats.take(max).await;
        Some(Ticket { _seat: seat, _place: place })
    }

    fn take_address(&self, address: IpAddr, max: usize) -> bool {
        let mut counts = self.by_address.lock().unwrap_or_else(PoisonError::into_inner);
        let count = counts.entry(address).or_insert(0);
        if *count >= max {
            if *count == 0 {
                counts.remove(&address);
            }
            return false;
        }
        *count += 1;
        true
    }

    fn free_address(&self, address: IpAddr) {
        let mut counts = self.by_address.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = counts.get_mut(&address) {
            *count = count.saturating_sub(1);
            if *count == 0 {
                counts.remove(&address);
            }
        }
    }
}

impl Drop for AddressPlace {
    fn drop(&mut self) {
        self.admission.free_address(self.address);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn peer(text: &str) -> PeerAddress {
        PeerAddress::Ip(text.parse().unwrap())
    }

    #[tokio::test]
    async fn at_the_cap_the_next_waits_for_the_one_before() {
        let admission = Admission::new();
        let first = admission.enter(&PeerAddress::Unix, 1, 1).await.unwrap();
        let second = admission.enter(&PeerAddress::Unix, 1, 1);
        tokio::pin!(second);
        assert!(futures_ready(second.as_mut()).await.is_none(), "one place, taken");
        assert_eq!(admission.open(), 1);
        drop(first);
        assert!(second.await.is_some());
    }

    /// Polls once.
    async fn futures_ready<F: Future + Unpin>(mut future: F) -> Option<F::Output> {
        std::future::poll_fn(|cx| {
            std::task::Poll::Ready(match std::pin::Pin::new(&mut future).poll(cx) {
                std::task::Poll::Ready(output) => Some(output),
                std::task::Poll::Pending => None,
            })
        })
        .await
    }

    #[tokio::test]
    async fn one_address_is_limited_and_another_is_not() {
        let admission = Admission::new();
        let first = admission.enter(&peer("192.0.2.1:1"), 10, 2).await;
        let second = admission.enter(&peer("192.0.2.1:2"), 10, 2).await;
        assert!(first.is_some() && second.is_some());
        assert!(admission.enter(&peer("192.0.2.1:3"), 10, 2).await.is_none());
        assert!(admission.enter(&peer("192.0.2.2:1"), 10, 2).await.is_some());
        drop(first);
        assert!(admission.enter(&peer("192.0.2.1:4"), 10, 2).await.is_some());
    }

    #[tokio::test]
    async fn an_ipv6_host_is_its_network() {
        let admission = Admission::new();
        let _held = admission.enter(&peer("[2001:db8::1]:1"), 10, 1).await.unwrap();
        assert!(admission.enter(&peer("[2001:db8::ffff:2]:1"), 10, 1).await.is_none());
        assert!(admission.enter(&peer("[2001:db8:0:1::1]:1"), 10, 1).await.is_some());
    }

    #[tokio::test]
    async fn this_machine_has_no_limit_of_its_own() {
        let admission = Admission::new();
        let _held = admission.enter(&peer("127.0.0.1:1"), 10, 1).await.unwrap();
        assert!(admission.enter(&peer("127.0.0.1:2"), 10, 1).await.is_some());
        assert!(admission.enter(&PeerAddress::Unix, 10, 1).await.is_some());
    }
}
