//! nearpoint: one S3 endpoint over buckets in many regions.
//!
//! The house, from the ground up; a room uses its own layer's listed neighbours and anything
//! below (`tests/architecture.rs` holds the rule). A request's story is [`pipeline`].

// soil
pub mod certificate;
pub mod chance;
pub mod clock;
pub mod head;
pub mod names;
pub mod pem;
pub mod publish;
pub mod sync;
pub mod telemetry;
pub mod units;

// grammar: what bytes mean
pub mod s3;
pub mod sigv4;

// judgement: what to do about them
pub mod faults;
pub mod fleet;
pub mod overload;
pub mod policy;
pub mod route;
pub mod token;
pub mod view;

// doors: the only rooms that touch sockets
pub mod body;
pub mod credentials;
pub mod dns;
pub mod exchange;
pub mod http1;
pub mod listen;
pub mod probe;
pub mod steward;

// story
pub mod pipeline;
pub mod refusal;

// side rooms
pub mod admin;
#[cfg(feature = "demo")]
pub mod demo;

// roof
pub mod cli;
pub mod config;
pub mod gateway;
