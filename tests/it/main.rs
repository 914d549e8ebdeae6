//! The integration tests: one binary, no server of others, no fixed port, no sleep as a wait.
//!
//! [`house`] holds what the tests stand in: scripted regions that verify every request with an
//! implementation that is not ours, a signing client, the gateway under test.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::string_slice,
    clippy::format_push_string,
    reason = "a test fails by panicking; its documents are small"
)]
#![expect(unreachable_pub, reason = "one binary: everything is for its own tests")]

mod affinity;
mod bad_input;
mod buckets;
mod copies;
#[cfg(feature = "demo")]
mod demo;
mod encoded_listings;
mod every;
mod everywhere;
mod failover;
mod fault_proxy;
mod forms;
mod house;
mod house_itself;
mod judgement;
mod names;
mod overload;
mod reload;
mod secrets;
mod senders;
mod serving;
mod signatures;
mod stores;
mod story;
