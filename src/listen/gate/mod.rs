//! The wire gate: refuses, before anything else looks at them, the bytes that two HTTP
//! parsers could read differently. [`scan`] decides and is pure; [`Gate`] is the thin door.
//!
//! Every row was measured at hyper 1.12, which lets it in: `Content-Length` beside
//! `Transfer-Encoding`, twin lengths, codings before `chunked`, bare LF, no or two `Host`s,
//! `#` in targets, NUL in chunk extensions, CONNECT.

mod door;
mod head;
pub mod scan;
mod violation;

pub use door::Gate;
pub use scan::{HeadLimits, Phase, Scan, Scanner};
pub use violation::Violation;

#[cfg(test)]
mod tests;
