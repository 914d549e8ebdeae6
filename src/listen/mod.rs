//! Room: listen. Clients' connections: sockets, TLS, the wire gate, HTTP/2's server, clocks for
//! slow clients, an orderly end. A door; what a request means is nobody's business here.

mod admission;
#[cfg(test)]
pub(crate) mod authority;
mod bind;
mod connection;
mod door;
pub mod gate;
mod guests;
mod overdue;
mod peer;
mod readers;
mod request;
mod seats;
pub mod settings;
mod stream;
pub mod tls;
mod wire;
mod worker;

pub use admission::{Admission, Ticket};
pub use bind::{BindFault, Binding, Bound, BoundSocket, Rebinding, bind, bind_alone};
pub use connection::{ConnectionRules, Fault};
pub use door::{Door, Terms, Unwelcome};
pub use gate::{HeadLimits, Violation};
pub use guests::Guests;
pub use overdue::Overdue;
pub use peer::{Peer, PeerAddress};
pub use settings::{Address, Anonymous, ListenerSettings, NotAnAddress, TlsSettings};
pub use wire::{Fate, Patience};
pub use worker::{Answer, Drained, RefusedHook, Worker, WorkerRules, run_worker};

#[cfg(test)]
pub(crate) mod tests;
