//! By what a region's store is known to be itself where no certificate says so: every store of the
//! AWS kind gives each answer a request id. A host that DNS names by mistake may answer as well, and
//! its `200` must not be taken for an object, nor its `404` for a missing one.
//!
//! Learnt for each kind of answer on its own, since stores differ: only what has always been there
//! can be missed. Below [`KNOWN`] answers in a row nothing is expected.

use std::sync::atomic::{AtomicU32, Ordering};

use http::{HeaderMap, StatusCode};

/// The header that AWS and those who follow it put on every answer.
const MARK: &str = "x-amz-request-id";
/// Answers of one kind in a row with the mark, until one without it is a stranger's.
pub const KNOWN: u32 = 100;

/// What was learnt of one region's answers: found objects, unchanged ones, absent ones; to HEAD and
/// to everything else.
#[derive(Debug, Default)]
pub struct Mark {
    seen: [AtomicU32; 6],
}

impl Mark {
    /// Takes in an answer; whether it lacks what all others of its kind had. Refusals, redirects and
    /// faults are never a stranger's: their causes are looked into anyway, and what stands before a
    /// store may give them in its stead.
    pub fn is_missing(&self, to_head: bool, status: StatusCode, headers: &HeaderMap) -> bool {
        let kind = match status.as_u16() {
            200..=299 => 0,
            304 => 1,
            404 => 2,
            _ => return false,
        };
        let Some(seen) = self.seen.get(kind * 2 + usize::from(to_head)) else { return false };
        let known = seen.load(Ordering::Relaxed);
        match (headers.contains_key(MARK), known >= KNOWN) {
            (false, known) => {
                if !known {
                    seen.store(0, Ordering::Relaxed);
                }
                known
            }
            (true, false) => {
                seen.store(known + 1, Ordering::Relaxed);
                false
            }
            (true, true) => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn marked() -> HeaderMap {
        HeaderMap::from_iter([(http::HeaderName::from_static(MARK), HeaderValue::from_static("1"))])
    }

    #[test]
    fn only_what_was_always_there_is_missed() {
        let (mark, ok) = (Mark::default(), StatusCode::OK);
        for _ in 1..KNOWN {
            assert!(!mark.is_missing(false, ok, &marked()));
        }
        assert!(!mark.is_missing(false, ok, &HeaderMap::new()), "this store does not always say it");
        for _ in 0..KNOWN {
            assert!(!mark.is_missing(false, ok, &marked()));
        }
        for _ in 0..3 {
            assert!(mark.is_missing(false, ok, &HeaderMap::new()));
        }
        assert!(!mark.is_missing(false, ok, &marked()), "the store itself");
        // other kinds of answers were not learnt by it
        for (head, status) in
            [(true, 200), (false, 304), (false, 404), (false, 403), (false, 503), (false, 301)]
        {
            let status = StatusCode::from_u16(status).unwrap();
            assert!(!mark.is_missing(head, status, &HeaderMap::new()), "{head} {status}");
        }
    }
}
