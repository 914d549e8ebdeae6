//! By what a region's store is known to be itself where no certificate says so: every store of the
//! AWS kind gives each answer a request id. A host that DNS names by mistake may answer as well, and
//! its `200` must not be taken for an object, nor its `404` for a missing one.
//!
//! Learnt for each kind of answer on its own, since stores differ: only what has always been there
//! can be missed. Below [`KNOWN`] answers in a row nothing is expected. Another store, which a reload
//! names, is learnt anew (`Meters::renew`).

use http::{HeaderMap, Method, StatusCode};

use crate::sync::atomic::{AtomicU32, Ordering};

/// The header that AWS and those who follow it put on every answer.
const MARK: &str = "x-amz-request-id";
/// Answers of one kind in a row with the mark, until one without it is a stranger's.
pub const KNOWN: u32 = 100;

/// What was learnt of one region's answers: found objects, unchanged ones, absent ones; to each method.
#[derive(Debug, Default)]
pub struct Mark {
    seen: [AtomicU32; METHODS * STATUSES],
}

const METHODS: usize = 5;
const STATUSES: usize = 3;

/// Where answers of one kind are counted. Refusals, redirects and faults are never a stranger's: their
/// causes are looked into anyway, and what stands before a store may give them in its stead; as it may
/// answer a preflight.
fn kind(method: &Method, status: StatusCode) -> Option<usize> {
    let method = match *method {
        Method::GET => 0,
        Method::HEAD => 1,
        Method::PUT => 2,
        Method::POST => 3,
        Method::DELETE => 4,
        _ => return None,
    };
    let status = match status.as_u16() {
        200..=299 => 0,
        304 => 1,
        404 => 2,
        _ => return None,
    };
    Some(method * STATUSES + status)
}

impl Mark {
    /// Takes in an answer over a connection that no certificate vouches for; whether it lacks what all
    /// others of its kind had.
    pub fn is_missing(&self, method: &Method, status: StatusCode, headers: &HeaderMap) -> bool {
        let Some(seen) = kind(method, status).and_then(|kind| self.seen.get(kind)) else { return false };
        let known = seen.load(Ordering::Relaxed);
        match (headers.contains_key(MARK), known >= KNOWN) {
            (false, known) => {
                if !known {
                    seen.swap(0, Ordering::Relaxed);
                }
                known
            }
            (true, false) => {
                // Whoever else counted meanwhile counts: that an answer lacked it is never written over.
                let _raced = seen.compare_exchange(known, known + 1, Ordering::Relaxed, Ordering::Relaxed);
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
            assert!(!mark.is_missing(&Method::GET, ok, &marked()));
        }
        assert!(!mark.is_missing(&Method::GET, ok, &HeaderMap::new()), "this store does not always say it");
        for _ in 0..KNOWN {
            assert!(!mark.is_missing(&Method::GET, ok, &marked()));
        }
        for _ in 0..3 {
            assert!(mark.is_missing(&Method::GET, ok, &HeaderMap::new()));
        }
        assert!(!mark.is_missing(&Method::GET, ok, &marked()), "the store itself");
        // other kinds of answers were not learnt by it
        for (method, status) in [
            (Method::HEAD, 200),
            (Method::DELETE, 204),
            (Method::PUT, 200),
            (Method::GET, 304),
            (Method::GET, 404),
            (Method::GET, 403),
            (Method::GET, 503),
            (Method::GET, 301),
            (Method::OPTIONS, 200),
        ] {
            let status = StatusCode::from_u16(status).unwrap();
            assert!(!mark.is_missing(&method, status, &HeaderMap::new()), "{method} {status}");
        }
    }
}
