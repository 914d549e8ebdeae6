//! Room: the exchange with regions. Signs per attempt, sends, reads what came back, and carries
//! a request from region to region as `route` decides. A door: it decides nothing itself.

pub mod attempt;
pub mod bell;
pub mod dial;
pub mod lane;
pub mod meters;
pub mod pool;
pub mod run;
pub mod socket;
pub mod tls;

#[cfg(test)]
mod tests;

pub use attempt::Prepared;
pub use run::{Errand, Exchange, Journey, Reached, Unanswered};
