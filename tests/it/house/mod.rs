//! What integration tests stand in.
#![expect(dead_code, reason = "a test house offers more than each day's tests ask for")]

pub mod client;
pub mod control;
pub mod digest;
pub mod gateway;
pub mod moment;
pub mod region;
pub mod replicator;
pub mod text;
pub mod tls;
