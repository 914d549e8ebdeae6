//! Room: config.
mod fault;
mod yaml;
