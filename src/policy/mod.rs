//! Room: policy.
