//! What an operator is told of a bucket's answers: what was seen, what was expected, what to do. Pure.

use super::{Answer, Found};
use crate::exchange::moved::Place;
use crate::probe::CanaryVerdict;
use crate::probe::survey::Told;
use crate::route::{AccessPoint, Replication, Versions};
use crate::s3::operation::Kind;

/// What is put.
pub(super) const BODY: &[u8] = b"nearpoint check --online --write\n";
/// Seconds by which a clock is plainly wrong. From 15 minutes on stores refuse what is signed.
const CLOCK_OFF: i64 = 60;

/// Of a key that is not there.
pub(super) fn absent(verdict: &CanaryVerdict, shielded: bool) -> Found {
    match verdict {
        CanaryVerdict::Clear => Found::Well,
        CanaryVerdict::AccessDenied => {
            let mut words = "an absent key answers 403, not 404: allow `s3:GetObject` on its keys and `s3:ListBucket` on \
                             the bucket"
                .to_owned();
            if shielded {
                words.push_str(
                    "; until then the lag shield is blind there, and readers meet replication lag as 403",
                );
            }
            Found::Doubt(words)
        }
        CanaryVerdict::CredentialFault(code) => {
            Found::Fault(format!("the store refuses the credential: {code}"))
        }
        CanaryVerdict::ConfigurationFault(code) => {
            Found::Fault(format!("the store refuses bucket or signing region: {code}"))
        }
        CanaryVerdict::Unreachable(fault) => Found::Fault(format!("it does not serve: {fault}")),
        CanaryVerdict::Unasked => Found::Fault("this machine has no file or port left to ask it".to_owned()),
        CanaryVerdict::Unsettled { status, code } => {
            Found::Doubt(format!("it answers {status} {}", code.as_deref().unwrap_or_default()))
        }
    }
}

/// Of a bucket that is elsewhere than configured.
pub(super) fn moved(place: &Place) -> Found {
    let Place { endpoint, signing_region } = place;
    let scheme = if endpoint.tls { "https" } else { "http" };
    Found::Doubt(format!(
        "the store says that the bucket is in another region: set `signing_region: {signing_region}` and `endpoint: \
         {scheme}://{}`, or name the right bucket; until then each start begins with refusals",
        endpoint.authority()
    ))
}

/// Of a listing.
pub(super) fn listed(answer: Answer) -> Found {
    match answer {
        Ok(told) if told.status == 200 => Found::Well,
        Ok(told) if told.status == 403 => Found::Doubt(format!(
            "a listing is answered {}, not 200: allow `s3:ListBucket` on the bucket, or no client can list it here",
            told.words()
        )),
        other => Found::Doubt(format!("a listing is answered {}, not 200", seen(&other))),
    }
}

/// Of `GetBucketVersioning`, against what the configuration counts on. A store that does not tell, or
/// may not tell us, is not doubted for it.
pub(super) fn versions(answer: Answer, point: &AccessPoint) -> Found {
    let Ok(told) = answer else { return Found::Untold };
    if told.status != 200 {
        return Found::Untold;
    }
    if memchr::memmem::find(&told.document, b"<Status>Enabled</Status>").is_some() {
        return Found::Well;
    }
    let suspended = memchr::memmem::find(&told.document, b"<Status>Suspended</Status>").is_some();
    let state = if suspended { "are suspended" } else { "were never enabled" };
    let several = point.members.len() > 1;
    if point.versions == Versions::Shared && several {
        return Found::Doubt(format!(
            "its versions {state}, and `versions: shared` counts on ids that survive replication: enable versioning, or \
             leave `versions` at per_region"
        ));
    }
    if several && point.may_move(Kind::Write) {
        return Found::Doubt(format!(
            "its versions {state}, and writes may move between regions: what a write that surfaces late replaces is gone \
             for good. Enable versioning, or set `writes.failover` to refuse"
        ));
    }
    if several && point.replication != Replication::None {
        return Found::Doubt(format!(
            "its versions {state}, and `replication` says that the store copies it: most replicate only buckets that keep \
             versions. Enable versioning, or set `replication` to none"
        ));
    }
    Found::Well
}

/// Of its clock, which is so many seconds ahead of ours.
pub(super) fn clock(ahead: i64) -> Found {
    if ahead.abs() < CLOCK_OFF {
        return Found::Well;
    }
    let way = if ahead > 0 { "ahead of" } else { "behind" };
    Found::Doubt(format!(
        "its clock is {} s {way} this machine's: set both by NTP. What is signed here goes by the region's clock, but \
         clients' own signatures are judged by this machine's, and the later of two writes by the stores'",
        ahead.abs()
    ))
}

/// Of a key that is new.
pub(super) fn put(answer: Answer) -> Found {
    match answer {
        Ok(Told { status: 200..=299, .. }) => Found::Well,
        Ok(told) if told.status == 403 => Found::Fault(format!(
            "a PUT is answered {}, not 200: allow `s3:PutObject` on its keys, or send writes elsewhere",
            told.words()
        )),
        other => Found::Fault(format!("a PUT is answered {}, not 200", seen(&other))),
    }
}

/// Of the end of the key.
pub(super) fn deleted(answer: Answer, key: &str) -> Found {
    match answer {
        Ok(Told { status: 200..=299, .. }) => Found::Well,
        other => Found::Doubt(format!(
            "a DELETE is answered {}, not 204: allow `s3:DeleteObject` on its keys if clients are to delete. `{key}` is \
             left there",
            seen(&other)
        )),
    }
}

/// Of versions of the key that were not deleted, `last` among them.
pub(super) fn left(count: usize, last: &Answer, key: &str) -> Found {
    let versions = if count == 1 { "1 version".to_owned() } else { format!("{count} versions") };
    Found::Doubt(format!(
        "the DELETE of a version is answered {}, not 204: {versions} of `{key}` are left there. Delete them, or allow \
         `s3:DeleteObjectVersion` on its keys and check again",
        seen(last)
    ))
}

/// An answer, for people.
pub(super) fn seen(answer: &Answer) -> String {
    answer.as_ref().map_or_else(Clone::clone, Told::words)
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use http::HeaderMap;

    use super::*;
    use crate::fleet::{Never, ProbeFault};
    use crate::names::{AccessPointName, BucketName, RegionId};
    use crate::route::{ConditionalWrites, EtagCheck, Etags, Hedge, LagShield, Member, Order, Rule};

    /// Status 0: no answer.
    fn told(status: u16, code: Option<&str>) -> Answer {
        if status == 0 {
            return Err("no answer in time".to_owned());
        }
        let (headers, document) = (HeaderMap::new(), Bytes::new());
        Ok(Told { status, code: code.map(str::to_owned), headers, document })
    }

    fn doubt(found: Found) -> String {
        match found {
            Found::Doubt(words) => words,
            other => panic!("{other:?}"),
        }
    }

    fn fault(found: Found) -> String {
        match found {
            Found::Fault(words) => words,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_store_that_hides_absent_keys_is_told_to_the_operator() {
        let denied = |shielded| doubt(absent(&CanaryVerdict::AccessDenied, shielded));
        assert!(denied(true).contains("s3:ListBucket") && denied(true).contains("lag shield is blind"));
        assert!(denied(false).contains("s3:ListBucket") && !denied(false).contains("lag shield"));
        assert_eq!(absent(&CanaryVerdict::Clear, true), Found::Well);
        for verdict in [
            CanaryVerdict::CredentialFault("InvalidAccessKeyId".to_owned()),
            CanaryVerdict::ConfigurationFault("NoSuchBucket".to_owned()),
            CanaryVerdict::Unreachable(ProbeFault::Never(Never::Refused)),
            CanaryVerdict::Unasked,
        ] {
            assert!(matches!(absent(&verdict, true), Found::Fault(_)), "{verdict:?}");
        }
    }

    #[test]
    fn each_answer_says_what_was_seen_what_was_expected_and_what_to_do() {
        assert_eq!(listed(told(200, None)), Found::Well);
        let refused = doubt(listed(told(403, Some("AccessDenied"))));
        assert!(
            refused.contains("403 AccessDenied, not 200") && refused.contains("s3:ListBucket"),
            "{refused}"
        );
        assert!(doubt(listed(told(0, None))).contains("no answer in time"));
        assert_eq!(put(told(200, None)), Found::Well);
        assert!(fault(put(told(403, Some("AccessDenied")))).contains("s3:PutObject"));
        assert!(fault(put(told(507, None))).contains("507, not 200"));
        assert_eq!(deleted(told(204, None), "k"), Found::Well);
        assert!(doubt(deleted(told(403, None), "k")).contains("`k` is left there"));
        let versions = doubt(left(3, &told(403, Some("AccessDenied")), "k"));
        assert!(
            versions.contains("403 AccessDenied, not 204") && versions.contains("3 versions of `k`"),
            "{versions}"
        );
    }

    #[test]
    fn a_clock_is_doubted_from_a_minute_on() {
        for right in [-59, 0, 59] {
            assert_eq!(clock(right), Found::Well);
        }
        assert!(doubt(clock(60)).contains("60 s ahead of"));
        assert!(doubt(clock(-3_600)).contains("3600 s behind"));
    }

    fn point(replication: Replication, versions: Versions, failover: bool, regions: usize) -> AccessPoint {
        let member =
            |n| Member { region: RegionId::new(&format!("r{n}")), bucket: Some(BucketName::new("b")) };
        AccessPoint {
            name: AccessPointName::new("photos"),
            alias: None,
            owner: None,
            members: (0..regions).map(member).collect(),
            reads: Rule { order: Order::Nearest, failover: true },
            writes: Rule { order: Order::Home, failover },
            home: RegionId::new("r0"),
            conditional_writes: ConditionalWrites::Home,
            replication,
            versions,
            etags: Etags::Opaque,
            hedge: Hedge::Off,
            write_nonce: true,
            etag_check: EtagCheck::Auto,
            lag_shield: LagShield::default(),
        }
    }

    #[test]
    fn versions_are_asked_for_where_the_configuration_counts_on_them() {
        let state = |status: &str| {
            let document = format!("<VersioningConfiguration>{status}</VersioningConfiguration>");
            let document = Bytes::from(document.into_bytes());
            Ok(Told { status: 200, code: None, headers: HeaderMap::new(), document })
        };
        let enabled = "<Status>Enabled</Status>";
        let suspended = "<Status>Suspended</Status>";
        let moving = point(Replication::TwoWay, Versions::PerRegion, true, 2);
        assert_eq!(versions(state(enabled), &moving), Found::Well);
        let words = doubt(versions(state(suspended), &moving));
        assert!(words.contains("are suspended") && words.contains("surfaces late"), "{words}");
        let shared = point(Replication::OneWay, Versions::Shared, false, 2);
        assert!(doubt(versions(state(""), &shared)).contains("never enabled, and `versions: shared`"));
        let copied = point(Replication::OneWay, Versions::PerRegion, false, 2);
        assert!(doubt(versions(state(""), &copied)).contains("`replication` says"));
        let apart = point(Replication::None, Versions::PerRegion, false, 2);
        let alone = point(Replication::None, Versions::Shared, true, 1);
        for point in [&apart, &alone] {
            assert_eq!(versions(state(""), point), Found::Well);
        }
        for untold in [told(403, Some("AccessDenied")), told(501, None), told(0, None)] {
            assert_eq!(versions(untold, &shared), Found::Untold);
        }
    }
}
