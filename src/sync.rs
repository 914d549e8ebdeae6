//! What threads share without a lock, and how they wait for it: named from here by every file whose
//! interplay of threads is checked, since `tests/loom` compiles those same files over a checker's
//! atomics, which try every order in which threads may meet.

pub use std::sync::atomic;
pub use tokio::sync::Notify;
