//! Room: the S3 grammar. What a request head says, which operation it is, what a store is told
//! and what its reply means. Pure: no socket, no clock, no signature.

pub mod address;
pub mod bucket_policy;
pub mod buckets;
pub mod call;
pub mod checksum;
pub mod classify;
pub mod code;
pub mod conditions;
pub mod copy;
pub mod everywhere;
pub mod form;
pub mod hoist;
pub mod integrity;
pub mod kept;
pub mod kms;
pub mod listed;
pub mod merge;
pub mod operation;
pub mod outbound;
pub mod profile;
pub mod query;
pub mod range;
pub mod reply;
pub mod rewrite;
pub mod xml;

use std::borrow::Cow;

pub use call::Call;
pub use code::Code;
pub use operation::{Facts, Operation};

/// A request that S3's grammar refuses: the code that S3 answers, and why in words.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{code}: {detail}")]
pub struct Malformed {
    /// S3's code.
    pub code: Code,
    /// What was seen and what was expected; safe to show to the client.
    pub detail: Cow<'static, str>,
    /// `ArgumentName` and `ArgumentValue` of an `InvalidArgument`; the value is the client's own.
    pub argument: Option<(&'static str, String)>,
}

impl Malformed {
    /// With S3's own words.
    #[must_use]
    pub fn new(code: Code) -> Self {
        Self::because(code, code.message())
    }

    /// With words that say more.
    #[must_use]
    pub fn because(code: Code, detail: impl Into<Cow<'static, str>>) -> Self {
        Self { code, detail: detail.into(), argument: None }
    }

    /// `InvalidArgument` that names the argument. The value is cut at 1 KiB.
    #[must_use]
    pub fn argument(name: &'static str, value: &str, detail: impl Into<Cow<'static, str>>) -> Self {
        let value = value.chars().take(1024).collect();
        Self { code: Code::InvalidArgument, detail: detail.into(), argument: Some((name, value)) }
    }
}
