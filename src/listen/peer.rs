//! Who is at the other end of a connection.

use std::cell::RefCell;
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use rustls::pki_types::CertificateDer;

use super::door::{Door, Terms, Unwelcome};

/// Where a client connected from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PeerAddress {
    /// Over TCP; an IPv4 client of a dual-stack socket is shown as IPv4.
    Ip(SocketAddr),
    /// Over a unix socket: some process of this machine.
    Unix,
}

impl PeerAddress {
    /// Address and port; `None` for a unix socket.
    #[must_use]
    pub fn socket(&self) -> Option<SocketAddr> {
        match self {
            Self::Ip(address) => Some(*address),
            Self::Unix => None,
        }
    }

    /// The IP address, where there is one.
    #[must_use]
    pub fn ip(&self) -> Option<IpAddr> {
        match self {
            Self::Ip(address) => Some(address.ip()),
            Self::Unix => None,
        }
    }

    /// What one host has: an IPv4 address, or the /64 of an IPv6 one, all of which is its own.
    #[must_use]
    pub fn network(&self) -> Option<IpAddr> {
        self.ip().map(|address| match address {
            IpAddr::V4(_) => address,
            IpAddr::V6(address) => IpAddr::V6((u128::from(address) & !u128::from(u64::MAX)).into()),
        })
    }

    /// Of this machine: loopback or a unix socket.
    #[must_use]
    pub fn is_local(&self) -> bool {
        self.ip().is_none_or(|ip| ip.is_loopback())
    }
}

impl From<SocketAddr> for PeerAddress {
    fn from(address: SocketAddr) -> Self {
        Self::Ip(SocketAddr::new(address.ip().to_canonical(), address.port()))
    }
}

impl fmt::Display for PeerAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ip(address) => fmt::Display::fmt(address, f),
            Self::Unix => f.write_str("unix"),
        }
    }
}

/// One client connection, as the story sees it.
#[derive(Debug)]
pub struct Peer {
    /// Where it came from.
    pub address: PeerAddress,
    /// Encrypted.
    pub tls: bool,
    /// HTTP/2 rather than HTTP/1.1.
    pub http2: bool,
    /// The client's certificate, proven to come from the listener's `client_ca`; `None` where
    /// the listener asks for none.
    pub client_certificate: Option<CertificateDer<'static>>,
    /// Distinguishes the connections of one worker; for logs.
    pub id: u64,
    pub(super) door: Arc<Door>,
    /// The terms under which it was last found welcome.
    pub(super) welcomed: RefCell<Arc<Terms>>,
}

impl Peer {
    /// The listener's terms for a request that begins now.
    ///
    /// # Errors
    /// [`Unwelcome`] where they have changed, and are no longer for this connection.
    pub fn terms(&self) -> Result<Arc<Terms>, Unwelcome> {
        let terms = self.door.terms();
        let mut welcomed = self.welcomed.borrow_mut();
        if !Arc::ptr_eq(&terms, &welcomed) {
            terms.welcome(&welcomed, self.address.ip(), self.http2)?;
            *welcomed = Arc::clone(&terms);
        }
        Ok(terms)
    }
}
