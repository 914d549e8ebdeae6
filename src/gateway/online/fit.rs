//! What an operator could write into the configuration of a store that was asked: the ready profile that
//! fits, where one does, or what `profile: custom` would have to say. Pure.

use super::capability::{Capability, Shown};
use crate::s3::profile::{Addressing, BodyHash, Feature, Features, Profile, READY, Trailers};

/// What a store was found to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fit {
    /// What it honours.
    pub has: Features,
    /// What it lacks, or has half.
    pub lacks: Features,
    /// What nobody can say, with what was seen.
    pub untold: Vec<(Feature, String)>,
    /// The ready profile that fits: it claims nothing that the store lacks, and all that it has.
    pub ready: Option<&'static str>,
    /// The lines of its region that say it all, as a YAML flow mapping.
    pub settings: String,
    /// Whether that is what its region says already.
    pub configured: bool,
}

impl Fit {
    pub(super) fn of(shown: &[(Capability, Shown)], profile: Profile) -> Self {
        let (mut has, mut lacks, mut untold) = (Features::NONE, Features::NONE, Vec::new());
        for feature in Feature::ALL {
            let own: Vec<&Shown> = shown
                .iter()
                .filter(|(can, _)| can.feature() == Some(feature))
                .map(|(_, what)| what)
                .collect();
            let doubtful = own.iter().find(|what| matches!(what, Shown::Untold(_)));
            if own.iter().any(|what| what.is_lack()) {
                lacks = lacks.with(feature);
            } else if let Some(what) = doubtful {
                untold.push((feature, what.words().unwrap_or_default().to_owned()));
            } else if own.is_empty() {
                untold.push((feature, "it was not asked".to_owned()));
            } else {
                has = has.with(feature);
            }
        }
        let wanted = wanted(shown, has, profile);
        let ready = ready(wanted, lacks);
        let same = Profile { honours: profile.honours.without(untold_of(&untold)), ..profile };
        let configured = same == Profile { signed_path: profile.signed_path, ..wanted };
        let settings = settings(ready, wanted);
        Self { has, lacks, untold, ready: ready.map(|(name, _)| name), settings, configured }
    }

    /// One line for an operator.
    #[must_use]
    pub fn words(&self) -> String {
        let fits = match (self.ready, self.configured) {
            (_, true) => "its region's profile says what was found".to_owned(),
            (Some(name), false) => format!("the ready profile `{name}` fits what was found"),
            (None, false) => "no ready profile fits what was found".to_owned(),
        };
        let mut words = format!("{fits}: `{}`", self.settings);
        if !self.lacks.is_empty() {
            words.push_str("; lacks ");
            words.push_str(&names(self.lacks.iter()));
        }
        if !self.untold.is_empty() {
            let untold: Vec<String> =
                self.untold.iter().map(|(feature, seen)| format!("{} ({seen})", feature.name())).collect();
            words.push_str("; untold: ");
            words.push_str(&untold.join(", "));
        }
        words
    }
}

fn untold_of(untold: &[(Feature, String)]) -> Features {
    untold.iter().fold(Features::NONE, |set, (feature, _)| set.with(*feature))
}

/// The profile that says no more than was seen; what no answer told of stays as it is configured.
fn wanted(shown: &[(Capability, Shown)], has: Features, profile: Profile) -> Profile {
    let of = |wanted: Capability| {
        let what = shown.iter().find(|(can, _)| *can == wanted).map(|(_, what)| what);
        what.filter(|what| !matches!(what, Shown::Untold(_))).map(|what| *what == Shown::Has)
    };
    Profile {
        honours: has,
        addressing: profile.addressing,
        trailers: match of(Capability::UnsignedTrailers) {
            Some(true) => Trailers::Pass,
            Some(false) => Trailers::Decode,
            None => profile.trailers,
        },
        body_hash: match of(Capability::BodyHash) {
            Some(true) => BodyHash::Store,
            Some(false) => BodyHash::Proxy,
            None => profile.body_hash,
        },
        signed_path: profile.signed_path,
    }
}

/// The ready profile that claims nothing the store lacks and leaves nothing out that it has; of several the
/// one that claims least of what is untold, and needs the fewest keys beside it. One that honours nothing
/// fits everybody, and is nobody's.
fn ready(wanted: Profile, lacks: Features) -> Option<(&'static str, Profile)> {
    let lacking = |profile: Profile| profile.honours.iter().any(|feature| lacks.has(feature));
    READY
        .into_iter()
        .filter(|(_, profile)| !profile.honours.is_empty() && !lacking(*profile))
        .filter(|(_, profile)| wanted.honours.without(profile.honours).is_empty())
        .min_by_key(|(_, profile)| {
            (profile.honours.without(wanted.honours).iter().count(), beside(*profile, wanted).len())
        })
}

/// The keys that stand beside a profile to make it what is wanted.
fn beside(profile: Profile, wanted: Profile) -> Vec<String> {
    let mut keys = Vec::new();
    if profile.trailers != wanted.trailers {
        let trailers = if wanted.trailers == Trailers::Pass { "pass" } else { "decode" };
        keys.push(format!("trailers: {trailers}"));
    }
    if profile.body_hash != wanted.body_hash {
        let body_hash = if wanted.body_hash == BodyHash::Store { "store" } else { "proxy" };
        keys.push(format!("body_hash: {body_hash}"));
    }
    if profile.addressing != wanted.addressing {
        let virtual_hosts = wanted.addressing == Addressing::Virtual;
        keys.push(format!("addressing: {}", if virtual_hosts { "virtual" } else { "path" }));
    }
    keys
}

fn settings(ready: Option<(&'static str, Profile)>, wanted: Profile) -> String {
    let mut keys = Vec::new();
    let base = if let Some((name, profile)) = ready {
        keys.push(format!("profile: {name}"));
        profile
    } else {
        keys.push("profile: custom".to_owned());
        keys.push(format!("honours: [{}]", names(wanted.honours.iter())));
        Profile::named("custom").unwrap_or(wanted)
    };
    keys.extend(beside(base, wanted));
    format!("{{{}}}", keys.join(", "))
}

fn names(features: impl Iterator<Item = Feature>) -> String {
    features.map(Feature::name).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a store shows that honours this, passes its trailers and checks its hashes or not.
    fn shows(honours: Features, hashes: bool) -> Vec<(Capability, Shown)> {
        let of = |can: Capability| {
            let has =
                can.feature().map_or(can == Capability::BodyHash && hashes, |feature| honours.has(feature));
            (can, if has { Shown::Has } else { Shown::Refuses("501".to_owned()) })
        };
        Capability::ALL.into_iter().map(of).collect()
    }

    fn profile(name: &str) -> Profile {
        Profile::named(name).unwrap()
    }

    #[test]
    fn each_ready_profile_fits_the_store_that_does_as_it_says() {
        for (name, ready) in READY {
            let shown = shows(ready.honours, ready.body_hash == BodyHash::Store);
            let fit = Fit::of(&shown, ready);
            assert!(fit.configured, "{name}: {}", fit.words());
            assert_eq!((fit.has, fit.untold.len()), (ready.honours, 0), "{name}");
            // found by a profile that knows nothing, at path style
            let stranger = Fit::of(&shown, profile("custom"));
            let expected = match name {
                // the least that is S3 is nobody's profile
                "gcs" | "custom" => None,
                other => Some(other),
            };
            assert_eq!(stranger.ready, expected, "{name}");
            if let Some(expected) = expected {
                // whoever is addressed by an address is addressed by the path
                let beside = if name == "aws" { ", addressing: path" } else { "" };
                assert_eq!(stranger.settings, format!("{{profile: {expected}{beside}}}"), "no key beside it");
            }
        }
    }

    #[test]
    fn a_store_that_no_profile_fits_is_spelt_out_as_it_may_be_copied() {
        let honours = Features::of(&[Feature::ConditionalWrites, Feature::Tagging]);
        let fit = Fit::of(&shows(honours, true), profile("aws"));
        assert_eq!((fit.ready, fit.configured), (None, false));
        let settings = "{profile: custom, honours: [conditional_writes, tagging], body_hash: store, \
                        addressing: virtual}";
        assert_eq!(fit.settings, settings);
        let words = fit.words();
        assert!(words.starts_with("no ready profile fits what was found: `{profile: custom"), "{words}");
        assert!(words.contains("; lacks conditional_deletes, sse, sse_kms"), "{words}");
    }

    #[test]
    fn keys_beside_a_ready_profile_say_where_the_store_differs() {
        let ceph = profile("ceph");
        let fit = Fit::of(&shows(ceph.honours, false), profile("custom"));
        assert_eq!(fit.settings, "{profile: ceph, body_hash: proxy}");
    }

    #[test]
    fn half_of_a_feature_is_none_and_what_is_untold_hinders_no_profile() {
        let ceph = profile("ceph");
        let mut shown = shows(ceph.honours, true);
        for (can, what) in &mut shown {
            match can {
                Capability::IfMatch => *what = Shown::Has,
                Capability::SseKms => *what = Shown::Untold("it is answered 400".to_owned()),
                _ => {}
            }
        }
        let fit = Fit::of(&shown, ceph);
        assert!(fit.lacks.has(Feature::ConditionalWrites) && !fit.has.has(Feature::SseKms));
        assert_eq!((fit.ready, fit.configured), (Some("ceph"), true));
        assert!(fit.words().contains("; untold: sse_kms (it is answered 400)"), "{}", fit.words());
        // what could not be seen is kept as it is configured
        let blind: Vec<_> =
            Capability::ALL.into_iter().map(|can| (can, Shown::Untold(String::new()))).collect();
        for (name, ready) in READY {
            assert!(Fit::of(&blind, ready).configured, "{name}");
        }
    }
}
