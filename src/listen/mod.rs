//! Room: listen. Clients' connections: sockets, TLS, the wire gate, hyper's server, clocks for
//! slow clients, an orderly end. A door; what a request means is nobody's business here.

mod admission;
#[cfg(test)]
pub(crate) mod authority;
mod bind;
mod connection;
mod door;
pub mod gate;
mod guests;
mod peer;
mod readers;
mod request;
pub mod settings;
mod stream;
pub mod tls;
mod wire;
mod worker;

pub use admission::{Admission, Ticket};
pub use bind::{BindFault, Binding, Bound, BoundSocket, Rebinding, bind, bind_alone};
pub use connection::{ConnectionRules, Fault};
pub use door::{Door, Terms};
pub use gate::{HeadLimits, Violation};
pub use guests::Guests;
pub use peer::{Peer, PeerAddress, Unwelcome};
pub use settings::{Address, Anonymous, ListenerSettings, NotAnAddress, TlsSettings};
pub use wire::{Fate, Overdue, Patience};
pub use worker::{Answer, Drained, RefusedHook, Worker, WorkerRules, run_worker};

#[cfg(test)]
mod tests;
