//! Room: s3.
