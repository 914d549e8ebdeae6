//! Room: steward.
