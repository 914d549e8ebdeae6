//! Room: listen.

pub mod settings;

pub use settings::{Address, Anonymous, ListenerSettings, NotAnAddress, TlsSettings};
