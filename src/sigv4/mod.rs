//! Room: sigv4.
