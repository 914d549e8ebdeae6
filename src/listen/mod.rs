//! Room: listen. Clients' connections: sockets, TLS, the wire gate, hyper's server, clocks for
//! slow clients, an orderly end. A door; what a request means is nobody's business here.

mod admission;
pub mod gate;
mod peer;
pub mod settings;
mod wire;

pub use admission::{Admission, Ticket};
pub use gate::{HeadLimits, Violation};
pub use peer::{Peer, PeerAddress};
pub use settings::{Address, Anonymous, ListenerSettings, NotAnAddress, TlsSettings};
pub use wire::{Overdue, Patience};
