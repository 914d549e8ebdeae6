//! Who is to blame for what a canary saw. Pure.
//!
//! Sources: `rulings.md` §1, `reliability.md` B5, AWS's list of S3 error codes.

use crate::fleet::ProbeFault;

/// What a canary settled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CanaryVerdict {
    /// The store took our signature and knows the bucket: nobody here is to blame.
    Clear,
    /// The store refuses this credential, with this code.
    CredentialFault(String),
    /// Bucket or signing region are wrong, with this code (or status, where there is none).
    ConfigurationFault(String),
    /// The store refuses without saying why: counts only where this credential passed before.
    AccessDenied,
    /// No answer, or a server error: says nothing about credential and configuration.
    Unreachable(ProbeFault),
    /// It could not be sent, for want of something of ours.
    Unasked,
    /// An answer that settles nothing (throttled, an unknown refusal): nobody is blamed.
    Unsettled {
        /// The status.
        status: u16,
        /// The store's code, where it gave one.
        code: Option<String>,
    },
}

/// Judges an answer to a signed `GET` with `Range: bytes=0-0`. `code` is that of the error document.
#[must_use]
pub fn verdict(status: u16, code: Option<&str>) -> CanaryVerdict {
    // the code decides where there is one: stores differ in the statuses they give it
    match code {
        Some(
            code @ ("InvalidAccessKeyId"
            | "SignatureDoesNotMatch"
            | "ExpiredToken"
            | "InvalidToken"
            | "TokenRefreshRequired"
            | "RequestTimeTooSkewed"),
        ) => CanaryVerdict::CredentialFault(code.to_owned()),
        Some(
            code @ ("NoSuchBucket"
            | "PermanentRedirect"
            | "TemporaryRedirect"
            | "Redirect"
            | "AuthorizationHeaderMalformed"
            | "IllegalLocationConstraintException"
            | "InvalidBucketName"
            | "InvalidRegion"),
        ) => CanaryVerdict::ConfigurationFault(code.to_owned()),
        Some("NoSuchKey" | "InvalidRange" | "NoSuchVersion" | "InvalidObjectState") => CanaryVerdict::Clear,
        Some("AccessDenied" | "Forbidden") => CanaryVerdict::AccessDenied,
        _ => by_status(status, code),
    }
}

fn by_status(status: u16, code: Option<&str>) -> CanaryVerdict {
    match status {
        200 | 206 | 304 | 412 | 416 => CanaryVerdict::Clear,
        // stores without error documents: something there took the request and found no object
        404 if code.is_none() => CanaryVerdict::Clear,
        301 | 302 | 307 | 308 => {
            CanaryVerdict::ConfigurationFault(code.map_or_else(|| status.to_string(), str::to_owned))
        }
        403 if code.is_none() => CanaryVerdict::AccessDenied,
        503 if code == Some("SlowDown") => unsettled(status, code),
        500..=599 => CanaryVerdict::Unreachable(ProbeFault::ServerError(status)),
        _ => unsettled(status, code),
    }
}

fn unsettled(status: u16, code: Option<&str>) -> CanaryVerdict {
    CanaryVerdict::Unsettled { status, code: code.map(str::to_owned) }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One letter a verdict: `c`lear, `k`ey, con`f`iguration, `d`enied, un`r`eachable, unsettled `?`.
    fn letter(status: u16, code: Option<&str>) -> char {
        match verdict(status, code) {
            CanaryVerdict::Clear => 'c',
            CanaryVerdict::CredentialFault(_) => 'k',
            CanaryVerdict::ConfigurationFault(_) => 'f',
            CanaryVerdict::AccessDenied => 'd',
            CanaryVerdict::Unreachable(_) => 'r',
            CanaryVerdict::Unasked => unreachable!("there was an answer"),
            CanaryVerdict::Unsettled { .. } => '?',
        }
    }

    #[test]
    fn each_answer_has_its_culprit() {
        for (status, code, culprit) in [
            (200, None, 'c'),
            (206, None, 'c'),
            (416, None, 'c'),
            (416, Some("InvalidRange"), 'c'),
            (404, Some("NoSuchKey"), 'c'),
            (404, None, 'c'),
            (403, Some("InvalidAccessKeyId"), 'k'),
            (403, Some("SignatureDoesNotMatch"), 'k'),
            (400, Some("ExpiredToken"), 'k'),
            (400, Some("InvalidToken"), 'k'),
            (403, Some("RequestTimeTooSkewed"), 'k'),
            (404, Some("NoSuchBucket"), 'f'),
            (301, Some("PermanentRedirect"), 'f'),
            (301, None, 'f'),
            (307, Some("TemporaryRedirect"), 'f'),
            (400, Some("AuthorizationHeaderMalformed"), 'f'),
            (403, Some("AccessDenied"), 'd'),
            (403, None, 'd'),
            (500, Some("InternalError"), 'r'),
            (503, None, 'r'),
            (503, Some("ServiceUnavailable"), 'r'),
            (503, Some("SlowDown"), '?'),
            (429, None, '?'),
            (400, Some("BadRequest"), '?'),
            (404, Some("SomethingElse"), '?'),
            (403, Some("AllAccessDisabled"), '?'),
        ] {
            assert_eq!(letter(status, code), culprit, "{status} {code:?}");
        }
    }

    #[test]
    fn the_code_or_status_is_kept_for_the_log() {
        assert_eq!(verdict(301, None), CanaryVerdict::ConfigurationFault("301".to_owned()));
        assert_eq!(
            verdict(403, Some("InvalidAccessKeyId")),
            CanaryVerdict::CredentialFault("InvalidAccessKeyId".to_owned())
        );
    }
}
