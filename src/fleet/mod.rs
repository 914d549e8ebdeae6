//! Room: fleet.
