//! What a data listener is told: where it listens, by which certificate, whom it lets in. Pure.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::str::FromStr;

use ipnet::IpNet;

use crate::pem::PemFile;

/// Where a listener listens. Text forms: `127.0.0.1:9000`, `[::1]:9000`, `unix:/run/nearpoint/s3.sock`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Address {
    /// An IP address and port; port 0 lets the kernel choose one, which the log names.
    Tcp(SocketAddr),
    /// A unix socket by its path.
    Unix(PathBuf),
}

impl Address {
    /// Only this machine can reach it: a loopback address or a unix socket. Beyond these,
    /// `verify: off` and `anonymous: sign` need `allow_from`.
    #[must_use]
    pub fn is_local(&self) -> bool {
        match self {
            Self::Tcp(address) => address.ip().is_loopback(),
            Self::Unix(_) => true,
        }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => fmt::Display::fmt(address, f),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

/// A text that is no [`Address`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("expected an address and port such as 127.0.0.1:9000 or [::1]:9000, or unix:/path/to/socket")]
pub struct NotAnAddress;

impl FromStr for Address {
    type Err = NotAnAddress;

    fn from_str(text: &str) -> Result<Self, NotAnAddress> {
        match text.strip_prefix("unix:") {
            Some(path) if !path.is_empty() => Ok(Self::Unix(PathBuf::from(path))),
            Some(_) => Err(NotAnAddress),
            None => text.parse().map(Self::Tcp).map_err(|_| NotAnAddress),
        }
    }
}

/// What a TLS listener's files said when they were read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsSettings {
    /// The certificate chain, the listener's own certificate first.
    pub certificate: PemFile,
    /// The private key: PKCS#8, PKCS#1 or SEC1.
    pub key: PemFile,
    /// The authorities whose clients are let in; where it is set, a client without a
    /// certificate of theirs does not get past the handshake.
    pub client_ca: Option<PemFile>,
}

/// What becomes of a request that carries no credential at all.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Anonymous {
    /// Refused: `403 AccessDenied`.
    #[default]
    Deny,
    /// Signed with the region's credentials: `GetObject`, `HeadObject` and listings only.
    Sign,
    /// Sent on unsigned: the store decides.
    Forward,
}

/// One data listener.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListenerSettings {
    /// Where it listens.
    pub address: Address,
    /// Plain text where `None`.
    pub tls: Option<TlsSettings>,
    /// Whether requests must be signed by a known client (`verify: required`, the default).
    /// `false` is `verify: off`: signatures are not judged.
    pub verify: bool,
    /// What becomes of unsigned requests.
    pub anonymous: Anonymous,
    /// Peers that may connect; empty lets everybody. Unix peers are always let in: the file's
    /// permissions are their list.
    pub allow_from: Vec<IpNet>,
    /// Proxies in front of this listener, which say what they have rewritten and share an address among
    /// many clients.
    pub trusted_proxies: Vec<IpNet>,
    /// Origins that browsers may come from where requests are not verified; each as a browser
    /// sends it (`https://app.example.com`).
    pub allow_origins: Vec<String>,
    /// Whether replies carry `x-nearpoint-region` and `x-nearpoint-attempts`. Off beyond loopback
    /// unless the operator says so: they name regions. How often a body was resumed is not known yet
    /// when its head leaves: the access log says it.
    pub debug_headers: bool,
}

impl ListenerSettings {
    /// A listener with every default: verified, plain text, open to all, debug headers where
    /// only this machine can reach it.
    #[must_use]
    pub fn new(address: Address) -> Self {
        let debug_headers = address.is_local();
        Self {
            address,
            tls: None,
            verify: true,
            anonymous: Anonymous::Deny,
            allow_from: Vec::new(),
            trusted_proxies: Vec::new(),
            allow_origins: Vec::new(),
            debug_headers,
        }
    }

    /// Whether nothing is carried out here that is not signed. Only then may clients speak HTTP/2: its
    /// target loses a fragment (`/photos/dir#1` becomes `/photos/dir`) before anybody here sees it.
    /// A signature, in a header or in the query, covers the target as it is seen here, so what is
    /// carried out is what was signed; without one the wrong object would be read or deleted. With
    /// HTTP/1.1 the wire gate refuses such a target.
    #[must_use]
    pub fn takes_signed_only(&self) -> bool {
        self.verify && self.anonymous == Anonymous::Deny
    }

    /// Whether `trusted_proxies` names this peer.
    #[must_use]
    pub fn trusts(&self, peer: IpAddr) -> bool {
        let peer = peer.to_canonical();
        self.trusted_proxies.iter().any(|net| net.contains(&peer))
    }

    /// Whether `allow_from` lets this peer in. An IPv4 peer of a dual-stack socket
    /// (`::ffff:10.0.0.1`) is judged as IPv4.
    #[must_use]
    pub fn admits(&self, peer: IpAddr) -> bool {
        let peer = peer.to_canonical();
        self.allow_from.is_empty() || self.allow_from.iter().any(|net| net.contains(&peer))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_print_as_they_are_written() {
        for text in ["127.0.0.1:9000", "[::1]:0", "unix:/run/nearpoint/s3.sock"] {
            assert_eq!(text.parse::<Address>().map(|address| address.to_string()), Ok(text.to_owned()));
        }
    }

    #[test]
    fn unsigned_requests_are_taken_where_somebody_said_so() {
        let listener = ListenerSettings::new("127.0.0.1:9000".parse().unwrap());
        assert!(listener.takes_signed_only());
        assert!(!ListenerSettings { verify: false, ..listener.clone() }.takes_signed_only());
        for anonymous in [Anonymous::Sign, Anonymous::Forward] {
            assert!(!ListenerSettings { anonymous, ..listener.clone() }.takes_signed_only());
        }
    }

    #[test]
    fn other_texts_are_no_addresses() {
        for text in ["", "9000", "localhost:9000", "127.0.0.1", "127.0.0.1:65536", "unix:", "/run/s3.sock"] {
            assert_eq!(text.parse::<Address>(), Err(NotAnAddress), "{text}");
        }
    }

    #[test]
    fn only_loopback_and_unix_sockets_are_local() {
        for (text, local) in [
            ("127.0.0.1:1", true),
            ("127.9.9.9:1", true),
            ("[::1]:1", true),
            ("unix:/s", true),
            ("0.0.0.0:1", false),
            ("10.0.0.1:1", false),
            ("[::]:1", false),
        ] {
            assert_eq!(text.parse::<Address>().map(|address| address.is_local()), Ok(local), "{text}");
        }
    }

    #[test]
    fn nobody_is_trusted_unless_named() {
        let mut settings = ListenerSettings::new("0.0.0.0:1".parse().unwrap());
        assert!(!settings.trusts("127.0.0.1".parse().unwrap()));
        settings.trusted_proxies = vec!["10.0.0.0/8".parse().unwrap()];
        for (peer, trusted) in [("10.0.0.1", true), ("::ffff:10.0.0.1", true), ("11.0.0.1", false)] {
            assert_eq!(settings.trusts(peer.parse().unwrap()), trusted, "{peer}");
        }
    }

    #[test]
    fn allow_from_judges_mapped_peers_as_ipv4() {
        let mut settings = ListenerSettings::new("0.0.0.0:1".parse().unwrap());
        assert!(settings.admits("192.0.2.1".parse().unwrap()), "an empty list lets everybody in");
        settings.allow_from = vec!["10.0.0.0/8".parse().unwrap(), "2001:db8::/32".parse().unwrap()];
        for (peer, admitted) in [
            ("10.255.0.1", true),
            ("::ffff:10.0.0.1", true),
            ("2001:db8::7", true),
            ("11.0.0.1", false),
            ("::ffff:11.0.0.1", false),
            ("2001:db9::7", false),
        ] {
            assert_eq!(settings.admits(peer.parse().unwrap()), admitted, "{peer}");
        }
    }
}
