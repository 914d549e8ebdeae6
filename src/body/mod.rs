//! Room: body.
