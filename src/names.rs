//! The names of things, as types: a region is never mistaken for a bucket. Pure.
//!
//! Names are cheap to clone (one reference count), since the hot path hands them from room to room.

use std::fmt;
use std::sync::Arc;

pub use secrecy::{ExposeSecret, SecretString as Secret};

macro_rules! name {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(Arc<str>);

        impl $name {
            /// Takes the text as it is; whoever parses decides what is well formed.
            #[must_use]
            pub fn new(text: &str) -> Self {
                Self(Arc::from(text))
            }

            /// The name as text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Debug::fmt(&*self.0, f)
            }
        }

        impl From<&str> for $name {
            fn from(text: &str) -> Self {
                Self::new(text)
            }
        }
    };
}

name! {
    /// The operator's name of a region (`frankfurt`), not its signing region.
    RegionId
}
name! {
    /// A bucket at a store, as that store knows it (the physical bucket).
    BucketName
}
name! {
    /// The name of an access point: the logical bucket that clients see. `*` is the wildcard.
    AccessPointName
}
name! {
    /// The public half of a key pair.
    AccessKeyId
}
name! {
    /// The operator's name of a client (`thumbnailer`).
    ClientName
}

/// Which upstream credential: the region's own, or that of a client that keeps its identity at
/// the stores. Standing of credentials is kept per (region, credential).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum CredentialId {
    /// The region's `credentials`.
    Region,
    /// This client's `region_credentials`.
    Client(ClientName),
}

/// A request's id: 16 upper-case hex characters, unique enough to find one log line.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct RequestId(pub u64);

impl RequestId {
    /// The sixteen characters, without a detour through the formatter: every answer carries them.
    #[must_use]
    pub fn text(self) -> [u8; 16] {
        const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
        let mut text = [b'0'; 16];
        for (byte, pair) in self.0.to_be_bytes().into_iter().zip(text.chunks_exact_mut(2)) {
            for (nibble, out) in [byte >> 4, byte & 15].into_iter().zip(pair) {
                *out = DIGITS.get(usize::from(nibble)).copied().unwrap_or_default();
            }
        }
        text
    }
}

impl fmt::Display for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(std::str::from_utf8(&self.text()).unwrap_or_default())
    }
}

impl fmt::Debug for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}
