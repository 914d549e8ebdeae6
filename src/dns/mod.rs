//! Room: dns.
