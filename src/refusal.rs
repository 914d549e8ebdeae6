//! Room: refusal.
