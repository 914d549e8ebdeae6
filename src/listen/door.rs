//! One data listener as its workers share it: the terms that clients meet there, replaced whole
//! while connections go on.

use std::net::IpAddr;
use std::sync::Arc;

use super::settings::{Address, ListenerSettings, TlsSettings};
use super::tls::{Terminator, TlsFault};
use crate::publish::{Published, Publisher, publish};

/// Why an open connection may bring no more requests. It is being closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unwelcome {
    /// `allow_from` no longer names its address.
    #[error("the listener no longer admits this address")]
    NotAllowed,
    /// Its handshake proved something else than is asked for now, or the listener is no more:
    /// another connection may be welcome.
    #[error("the connection is older than the listener's configuration")]
    Outdated,
}

/// What clients meet at a listener: its settings and its TLS, which are never in force apart.
#[derive(Clone, Debug)]
pub struct Terms {
    /// What the operator says about it.
    pub settings: ListenerSettings,
    /// Its TLS, where it has some.
    pub tls: Option<Arc<Terminator>>,
    /// The configuration that they are part of: the view in force has the same number, but for
    /// the moment that a reload takes.
    pub configuration: u64,
    /// The listener is no more.
    pub closed: bool,
}

impl Terms {
    /// Makes terms of settings. TLS whose files say what they said before is kept, and so are the
    /// tickets of its clients' sessions.
    ///
    /// # Errors
    /// [`TlsFault`].
    pub fn new(settings: &ListenerSettings, before: Option<&Self>) -> Result<Self, TlsFault> {
        let kept = before.filter(|before| before.settings.tls == settings.tls);
        let tls = match (&settings.tls, kept) {
            (None, _) => None,
            (Some(_), Some(kept)) => kept.tls.clone(),
            (Some(files), None) => Some(Arc::new(Terminator::new(files)?)),
        };
        Ok(Self { settings: settings.clone(), tls, configuration: 0, closed: false })
    }

    /// Whether a connection that came in under `earlier`, from `ip` where it has one, may bring
    /// requests under these.
    pub(super) fn welcome(&self, earlier: &Self, ip: Option<IpAddr>, http2: bool) -> Result<(), Unwelcome> {
        let same = proves_the_same(earlier.settings.tls.as_ref(), self.settings.tls.as_ref());
        // HTTP/2 would not be offered to it now
        let too_new = http2 && !self.settings.takes_signed_only();
        if self.closed || !same || too_new {
            return Err(Unwelcome::Outdated);
        }
        match ip {
            Some(ip) if !self.settings.admits(ip) => Err(Unwelcome::NotAllowed),
            _ => Ok(()),
        }
    }
}

/// Whether two handshakes prove the same of a client: that there was one at all, and whose
/// certificate the client had to show. Another certificate of the listener's own proves nothing else.
fn proves_the_same(one: Option<&TlsSettings>, other: Option<&TlsSettings>) -> bool {
    match (one, other) {
        (Some(one), Some(other)) => one.client_ca == other.client_ca,
        (None, None) => true,
        (Some(_), None) | (None, Some(_)) => false,
    }
}

/// One data listener: what all its workers share.
#[derive(Debug)]
pub struct Door {
    address: Address,
    terms: Published<Terms>,
    publisher: Publisher<Terms>,
}

impl Door {
    pub(super) fn new(terms: Terms, address: Address) -> Self {
        let (publisher, terms) = publish(terms);
        Self { address, terms, publisher }
    }

    /// The terms in force.
    #[must_use]
    pub fn terms(&self) -> Arc<Terms> {
        self.terms.load_full()
    }

    /// The terms in force, for whoever waits for others.
    pub(super) fn watch(&self) -> Published<Terms> {
        self.terms.clone()
    }

    /// Puts terms in force, for open connections too.
    pub fn put(&self, terms: Terms) {
        self.publisher.put(terms);
    }

    /// Stops accepting for good; requests under way may end.
    pub fn close(&self) {
        self.put(Terms { closed: true, ..Terms::clone(&self.terms()) });
    }

    /// Where it really listens: port 0 resolved.
    #[must_use]
    pub fn address(&self) -> &Address {
        &self.address
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::listen::authority::Authority;
    use crate::names::Secret;
    use crate::pem::PemFile;

    fn terms(settings: &ListenerSettings, before: &Terms) -> Result<Terms, TlsFault> {
        Terms::new(settings, Some(before))
    }

    #[test]
    fn files_that_say_the_same_keep_the_sessions_and_wrong_ones_are_refused() {
        let authority = Authority::new();
        let pem = |text: String| PemFile::new("tls.pem".into(), Secret::from(text));
        let (certificate, key) = authority.issue("localhost");
        let files = TlsSettings { certificate: pem(certificate), key: pem(key), client_ca: None };
        let mut settings = ListenerSettings::new("127.0.0.1:0".parse().unwrap());
        settings.tls = Some(files.clone());
        let before = Terms::new(&settings, None).unwrap();
        let same = |terms: &Terms| Arc::ptr_eq(before.tls.as_ref().unwrap(), terms.tls.as_ref().unwrap());
        settings.verify = false;
        assert!(same(&terms(&settings, &before).unwrap()));
        let (certificate, key) = authority.issue("localhost");
        settings.tls = Some(TlsSettings { certificate: pem(certificate), key: pem(key), client_ca: None });
        assert!(!same(&terms(&settings, &before).unwrap()));
        settings.tls = Some(TlsSettings { key: files.key, ..settings.tls.unwrap() });
        assert!(matches!(terms(&settings, &before), Err(TlsFault::File(_))));
    }
}
