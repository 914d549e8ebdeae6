//! Room: the S3 grammar. What a request head says, which operation it is, what a store is told
//! and what its reply means. Pure: no socket, no clock, no signature.

pub mod call;
pub mod operation;
pub mod profile;

pub use call::Call;
pub use operation::{Facts, Operation};
