//! Faults on demand: what is done wrong, to which requests, until when. Pure.
//!
//! [`Faults`] holds what is armed; [`Faults::course`] settles, once per request, everything that
//! will go wrong with it ([`Course`]); a [`Passage`] then says piece by piece how a body goes on.
//! Whoever owns the sockets obeys and decides nothing. Drills inject with it, and so does the fault
//! proxy in front of a store.

mod armed;
mod course;
mod injection;
mod passage;
mod scope;

#[cfg(test)]
mod tests;

pub use armed::{ARMED_MAX, CannotArm, FaultId, Faults};
pub use course::{Course, Instead, ReplyFate};
pub use injection::{End, ErrorAnswer, Injection, Place, Way};
pub use passage::{Passage, Step, Stop};
pub use scope::{Asked, Scope};
