//! Room: the exchange with regions. Signs per attempt, sends, reads what came back, and carries
//! a request from region to region as `route` decides. A door: it decides nothing itself.

pub mod bell;
pub mod dial;
pub mod meters;
pub mod pool;
pub mod tls;
