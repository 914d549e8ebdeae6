//! Room: view.
