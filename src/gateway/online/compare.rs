//! What was seen of a store, held against its region's profile: what the profile claims and the store lacks
//! is a warning or a fault, what the store has and the profile denies is a hint. Pure.

use super::Found;
use super::capability::{Capability, Shown};
use crate::s3::profile::{Profile, Trailers};

/// Of all that was asked of a bucket, one by one.
pub(super) fn compared(shown: &[(Capability, Shown)], profile: Profile) -> Vec<(Capability, Found)> {
    shown.iter().map(|(can, what)| (*can, found(*can, what, shown, profile))).collect()
}

fn found(can: Capability, what: &Shown, all: &[(Capability, Shown)], profile: Profile) -> Found {
    match (what, can.claimed(profile)) {
        (Shown::Untold(_), _) => Found::Untold,
        (Shown::Has, Some(false)) if is_whole(can, all) => Found::Hint(hint(can, profile)),
        // half of a feature is none, which its profile says
        (Shown::Has, _) | (_, None | Some(false)) => Found::Well,
        (Shown::Refuses(seen), Some(true)) => {
            let words = format!("{seen}: {}. {}", refuses(can), remedy(can));
            if is_everyones(can) { Found::Fault(words) } else { Found::Doubt(words) }
        }
        (Shown::Ignores(seen), Some(true)) => {
            let words = format!("{seen}: {}. {}", ignores(can), remedy(can));
            if is_grave(can) { Found::Fault(words) } else { Found::Doubt(words) }
        }
        (Shown::Spoils(seen), Some(true)) => {
            Found::Fault(format!("{seen}: the store keeps what clients never wrote. {}", remedy(can)))
        }
    }
}

/// Whether the store has all of the feature, and this is where it is said.
fn is_whole(can: Capability, all: &[(Capability, Shown)]) -> bool {
    let Some(feature) = can.feature() else { return true };
    let mut own = all.iter().filter(|(other, _)| other.feature() == Some(feature));
    let first = own.clone().next().map(|(other, _)| *other);
    first == Some(can) && own.all(|(_, what)| *what == Shown::Has)
}

/// Whether today's SDKs send it unasked: where it is refused, nearly every upload is.
fn is_everyones(can: Capability) -> bool {
    matches!(can, Capability::Checksum(_) | Capability::UnsignedTrailers)
}

/// Whether somebody relies on it for more than was promised by the store's answer.
fn is_grave(can: Capability) -> bool {
    matches!(
        can,
        Capability::IfNoneMatch
            | Capability::IfMatch
            | Capability::ConditionalComplete
            | Capability::ConditionalCopy
            | Capability::ConditionalDelete
            | Capability::BodyHash
            | Capability::Sse
            | Capability::SseKms
            | Capability::SseC
    )
}

fn ignores(can: Capability) -> &'static str {
    match can {
        Capability::IfNoneMatch | Capability::ConditionalComplete | Capability::ConditionalCopy => {
            "the store does not honour conditional writes, replaces what is there, and locks built on them would not hold"
        }
        Capability::IfMatch => {
            "the store does not honour conditional writes, and of two writers one would lose its write unawares"
        }
        Capability::ConditionalDelete => {
            "the store does not honour conditions on deletions, and a newer object would be deleted unawares"
        }
        Capability::Checksum(_) | Capability::UnsignedTrailers | Capability::SignedTrailers => {
            "the store does not check checksums, and what is damaged on the way stays so"
        }
        Capability::BodyHash => "nobody checks bodies on their way, and what is damaged there stays so",
        Capability::Sse | Capability::SseKms | Capability::SseC => {
            "what clients want encrypted would lie there as it is"
        }
        Capability::Tagging => "tags would be lost, and rules that go by them would not apply",
        Capability::ObjectLock => "what clients want locked would not be",
        Capability::Acl => "grants would be lost",
        Capability::Versioning | Capability::Attributes | Capability::VirtualHosts => {
            "clients would be answered something else than they asked for"
        }
    }
}

fn refuses(can: Capability) -> &'static str {
    match can {
        Capability::Checksum(_) | Capability::UnsignedTrailers | Capability::SignedTrailers => {
            "uploads that carry one will fail there, and most SDKs send one unasked"
        }
        Capability::VirtualHosts => "requests that name the bucket so will fail there",
        _ => "requests that want it will fail there, where another region could serve them",
    }
}

fn remedy(can: Capability) -> String {
    match (can, can.feature()) {
        (Capability::UnsignedTrailers, _) => {
            "Set `trailers: decode` for its region: they are then verified here".to_owned()
        }
        (Capability::BodyHash, _) => {
            "Set `body_hash: proxy` for its region: they are then checked here".to_owned()
        }
        (Capability::VirtualHosts, _) => "Set `addressing: path` for its region".to_owned(),
        (_, Some(feature)) => format!("Give its region a profile without `{}`", feature.name()),
        (_, None) => "Give its region a profile without it".to_owned(),
    }
}

fn hint(can: Capability, profile: Profile) -> String {
    let say =
        |what: &str| format!("the store has `{}`, which its region's profile denies: {what}", can.name());
    match (can, can.feature()) {
        (Capability::UnsignedTrailers, Some(feature)) => {
            let key = if profile.trailers == Trailers::Pass { "" } else { " and `trailers: pass`" };
            let listed = profile.honours.has(feature);
            say(&match (listed, key) {
                (true, _) => "it could say `trailers: pass`, which spares verifying them here".to_owned(),
                (false, key) => format!(
                    "it could say so with `trailers` among `honours`{key}, which spares verifying them here"
                ),
            })
        }
        (Capability::BodyHash, _) => say("it could say `body_hash: store`, which spares hashing here"),
        (Capability::VirtualHosts, _) => say("it could say `addressing: virtual`"),
        (_, Some(feature)) => format!(
            "the store has `{}`, which its region's profile denies: it could say so among `honours`",
            feature.name()
        ),
        (_, None) => say("it could say so"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::s3::checksum::Algorithm;

    const SHA1: Capability = Capability::Checksum(Algorithm::Sha1);
    const CRC32: Capability = Capability::Checksum(Algorithm::Crc32);

    fn profile(name: &str) -> Profile {
        Profile::named(name).unwrap()
    }

    /// What is said of a capability that alone was asked for.
    fn alone(can: Capability, what: &Shown, profile: Profile) -> Found {
        compared(&[(can, what.clone())], profile).remove(0).1
    }

    #[test]
    fn what_a_profile_claims_and_the_store_lacks_is_told_by_its_cost() {
        let seen = || "it is answered 200, not 412".to_owned();
        let (refuses, ignores, spoils) =
            (Shown::Refuses(seen()), Shown::Ignores(seen()), Shown::Spoils(seen()));
        for (can, what, verdict, remedy) in [
            (Capability::IfNoneMatch, &ignores, "fault", "without `conditional_writes`"),
            (Capability::IfMatch, &ignores, "fault", "without `conditional_writes`"),
            (Capability::ConditionalComplete, &ignores, "fault", "without `conditional_writes`"),
            (Capability::ConditionalCopy, &ignores, "fault", "without `conditional_deletes`"),
            (Capability::ConditionalDelete, &ignores, "fault", "without `conditional_deletes`"),
            (Capability::IfNoneMatch, &refuses, "warning", "without `conditional_writes`"),
            (SHA1, &ignores, "warning", "without `checksums`"),
            (SHA1, &refuses, "fault", "without `checksums`"),
            (Capability::UnsignedTrailers, &spoils, "fault", "`trailers: decode`"),
            (Capability::UnsignedTrailers, &refuses, "fault", "`trailers: decode`"),
            (Capability::UnsignedTrailers, &ignores, "warning", "`trailers: decode`"),
            (Capability::BodyHash, &ignores, "fault", "`body_hash: proxy`"),
            (Capability::Sse, &ignores, "fault", "without `sse`"),
            (Capability::SseC, &refuses, "warning", "without `sse_c`"),
            (Capability::Tagging, &ignores, "warning", "without `tagging`"),
            (Capability::ObjectLock, &refuses, "warning", "without `object_lock`"),
            (Capability::VirtualHosts, &refuses, "warning", "`addressing: path`"),
        ] {
            let found = alone(can, what, profile("aws"));
            let words = found.says().unwrap_or_default();
            assert_eq!(found.verdict(), verdict, "{can:?} {words}");
            assert!(words.starts_with(&seen()) && words.contains(remedy), "{words}");
            // what is not claimed is not missed
            assert_eq!(alone(can, what, profile("custom")), Found::Well, "{can:?}");
        }
    }

    #[test]
    fn what_nobody_can_say_and_what_nothing_depends_on_is_held_against_nobody() {
        for can in Capability::ALL {
            for name in ["aws", "custom"] {
                let untold = Shown::Untold("403".to_owned());
                assert_eq!(alone(can, &untold, profile(name)), Found::Untold, "{can:?}");
            }
            assert_eq!(alone(can, &Shown::Has, profile("aws")), Found::Well, "{can:?}");
        }
        let refuses = Shown::Refuses(String::new());
        for what in [&Shown::Has, &refuses] {
            assert_eq!(alone(Capability::SignedTrailers, what, profile("aws")), Found::Well);
        }
    }

    #[test]
    fn what_the_store_has_and_the_profile_denies_is_hinted_at_once_and_only_where_it_is_whole() {
        let hints = |shown: &[(Capability, Shown)]| {
            let all = compared(shown, profile("custom"));
            all.into_iter().filter(|(_, found)| *found != Found::Well).collect::<Vec<_>>()
        };
        let whole = hints(&[(CRC32, Shown::Has), (SHA1, Shown::Has)]);
        let [(CRC32, Found::Hint(words))] = &whole[..] else { panic!("{whole:?}") };
        assert!(words.contains("`checksums`") && words.contains("`honours`"), "{words}");
        assert_eq!(hints(&[(CRC32, Shown::Has), (SHA1, Shown::Ignores(String::new()))]), []);
        let one = |can| hints(&[(can, Shown::Has)]).remove(0).1;
        for (can, key) in [
            (Capability::UnsignedTrailers, "`honours` and `trailers: pass`"),
            (Capability::BodyHash, "`body_hash: store`"),
            (Capability::VirtualHosts, "`addressing: virtual`"),
            (Capability::Acl, "`acl`"),
        ] {
            let Found::Hint(words) = one(can) else { panic!("{can:?}") };
            assert!(words.contains(key), "{words}");
        }
    }
}
