//! What the admin listener is told. Pure.

use crate::listen::Address;
use crate::names::Secret;

/// The admin listener: health, metrics and status, never S3.
#[derive(Clone, Debug)]
pub struct AdminSettings {
    /// Where it listens: a loopback address or a unix socket, unless the operator means otherwise.
    pub address: Address,
    /// What callers of anything but `/livez` and `/readyz` must present as a bearer token.
    /// `None` lets all callers in: right for loopback and unix sockets only.
    pub token: Option<Secret>,
}
