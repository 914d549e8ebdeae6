//! Room: exchange.

pub mod dial;
pub mod tls;
