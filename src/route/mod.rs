//! Room: routing. Where a permitted request goes, in which order, and what follows when a try
//! ends. Pure: takes the fleet's table, the time and a coin; returns values that say why.
//!
//! It refuses to decide who may do what (`policy`), how a region is doing (`fleet`) and how a try
//! is made (`exchange`).

mod access_point;
pub mod affinity;
pub mod budget;
pub mod hedge;
pub mod memory;
pub mod outcome;
mod permit;
mod plan;
mod poison;
mod rank;
pub mod resume;
pub mod settle;
pub mod shield;
mod traces;
pub mod verdict;
mod why;

#[cfg(test)]
mod tests;

pub use access_point::{
    AccessPoint, ConditionalWrites, EtagCheck, Etags, Hedge, LagShield, Member, Order, Replication, Rule,
    Versions, WILDCARD,
};
pub use affinity::Affinity;
pub use budget::Budget;
pub use memory::{Change, Memory, Recalled};
pub use outcome::{Meaning, Outcome, Sent, Stage, Unsent};
pub use permit::Permit;
pub use plan::{NoRoute, Plan, Scene, Step, Steps, plan};
pub use poison::Poison;
pub use traces::Traces;
pub use verdict::{BodyState, GiveUp, Question, Verdict, after_canary, after_settlement, verdict};
pub use why::{Fitness, Scope, Why};
