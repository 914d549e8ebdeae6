//! Room: the exchange with regions. Signs per attempt, sends, reads what came back, and carries
//! a request from region to region as `route` decides. A door: it decides nothing itself.

pub mod addresses;
pub mod attempt;
pub mod bell;
pub mod booking;
pub mod common_clock;
pub mod dial;
mod doubt;
mod errand;
mod hedge;
pub mod idle;
pub mod lane;
pub mod line;
pub mod mark;
pub mod meters;
pub mod moved;
pub mod pool;
pub mod resume;
pub mod run;
mod settle;
pub mod skew;
pub mod socket;
pub mod tls;

#[cfg(test)]
pub(crate) mod tests;

pub use attempt::Prepared;
pub use errand::{ANSWERED, CANCELLED, Errand, Journey, Judgement, Reached, Unanswered, Written};
pub use resume::{Abandoned, Resumption};
pub use run::Exchange;
