//! Room: admin. Health, metrics and status for operators, on a listener of their own.

mod guard;
mod health;
mod plane;
pub mod ready;
pub mod settings;

pub use health::{Health, Unwell, healthcheck};
pub use plane::{AdminSocket, Plane, Source, bind, serve};
pub use ready::{Readiness, Verdict};
pub use settings::AdminSettings;
