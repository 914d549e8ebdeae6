//! Room: credentials.
