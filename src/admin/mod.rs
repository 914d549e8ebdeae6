//! Room: admin.

pub mod settings;

pub use settings::AdminSettings;
