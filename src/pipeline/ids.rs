//! Ids that clients bring back, and ids that they are given: which region they are of, and what
//! they are called there.

use std::sync::Arc;

use smallvec::SmallVec;

use crate::names::{RegionId, WriteNonce};
use crate::refusal::{Blame, Refusal};
use crate::route::affinity::{Origin, Origins};
use crate::route::{AccessPoint, Versions};
use crate::s3::operation::Operation;
use crate::s3::query::Query;
use crate::s3::{Call, Code};
use crate::telemetry::metric::{self, Metric};
use crate::token::{self, Binding, Kind, NotOpened, Position, Subject, Token};
use crate::units::UnixSeconds;
use crate::view::View;

/// Replacements in the query that a region gets: a name and its value there, or its removal.
pub(super) type Replaced = SmallVec<[(&'static str, Option<String>); 2]>;

/// The ids of one request, opened.
#[derive(Clone, Debug, Default)]
pub(super) struct Ids {
    /// Where they came from.
    pub origins: Origins,
    upload: Option<String>,
    begun: Option<Begun>,
    version: Option<String>,
    source: Option<SourceVersion>,
    listing: Option<Listing>,
}

/// The version of a copy's source.
#[derive(Clone, Debug)]
struct SourceVersion {
    /// As its region knows it.
    id: String,
    /// Where it is; `None`: in every region that has the source.
    region: Option<RegionId>,
}

/// How an upload began.
#[derive(Clone, Copy, Debug)]
pub(super) struct Begun {
    /// When, by the store's clock.
    pub initiated: UnixSeconds,
    /// What its object will have in its metadata.
    pub nonce: Option<WriteNonce>,
}

/// A listing that goes on.
#[derive(Clone, Debug)]
struct Listing {
    /// The parameter that carries the token.
    parameter: &'static str,
    region: RegionId,
    original: String,
    /// Where it stood, for another region.
    after: Option<Position>,
    /// Of a listing of versions: the key within which it stood.
    key: Option<String>,
}

impl Ids {
    /// Opens what the call names. Access points of one region wrap nothing.
    pub(super) fn open(
        view: &View,
        access_point: &Arc<AccessPoint>,
        copy_from: Option<&Arc<AccessPoint>>,
        call: &Call,
        query: Option<&str>,
    ) -> Result<Self, Refusal> {
        let mut ids = Self { source: source_version(view, copy_from, call)?, ..Self::default() };
        if access_point.members.len() < 2 {
            return Ok(ids);
        }
        let Some(keys) = &view.tokens else { return Ok(ids) };
        let bucket = bound_bucket(access_point, call.bucket());
        let opener = Opener { keys, access_point, bucket, call, query };
        ids.open_upload(&opener)?;
        ids.open_version(&opener)?;
        ids.open_listing(&opener)?;
        Ok(ids)
    }

    fn open_upload(&mut self, opener: &Opener<'_>) -> Result<(), Refusal> {
        let Some(text) = &opener.call.upload_id else { return Ok(()) };
        let opened = opener.open(Kind::Upload, text, opener.call.key(), Code::NoSuchUpload)?;
        self.begun = opened.as_ref().and_then(|token| match token.subject {
            // one out of a listing whose date could not be read
            Subject::Upload { initiated: UnixSeconds(0), .. } => None,
            Subject::Upload { initiated, nonce } => Some(Begun { initiated, nonce }),
            _ => None,
        });
        let (origin, id) = origin_of(opened, text);
        self.origins.upload = Some(origin);
        self.upload = Some(id);
        Ok(())
    }

    fn open_version(&mut self, opener: &Opener<'_>) -> Result<(), Refusal> {
        if opener.access_point.versions == Versions::Shared {
            if opener.call.version_id.is_some() {
                self.origins.version = Some(Origin::Plain);
            }
            return Ok(());
        }
        if let Some(text) = &opener.call.version_id {
            let opened = opener.open(Kind::Version, text, opener.call.key(), Code::InvalidArgument)?;
            let (origin, id) = origin_of(opened, text);
            self.origins.version = Some(origin);
            self.version = Some(id);
        }
        Ok(())
    }

    fn open_listing(&mut self, opener: &Opener<'_>) -> Result<(), Refusal> {
        let (parameter, kind, text) = match opener.call.operation {
            Operation::ListObjectVersions => {
                let Some(text) = parameter(opener.query, "version-id-marker") else { return Ok(()) };
                ("version-id-marker", Kind::VersionMarker, text)
            }
            Operation::ListObjectsV2 => {
                let Some(text) = opener.call.continuation.clone() else { return Ok(()) };
                ("continuation-token", Kind::Listing, text)
            }
            _ => return Ok(()),
        };
        // Every region has its own `null`: such a listing goes on in whichever serves it.
        if text.is_empty() || (kind == Kind::VersionMarker && text == "null") {
            return Ok(());
        }
        match opener.open(kind, &text, &[], Code::InvalidArgument)? {
            Some(token) => {
                self.origins.listing = Some(Origin::Token(token.region.clone()));
                let after = match token.subject {
                    Subject::Listing { after } => Some(after),
                    Subject::Upload { .. }
                    | Subject::Version
                    | Subject::UploadMarker
                    | Subject::VersionMarker => None,
                };
                let key = (kind == Kind::VersionMarker).then(|| self::parameter(opener.query, "key-marker"));
                self.listing = Some(Listing {
                    parameter,
                    region: token.region,
                    original: token.id,
                    after,
                    key: key.flatten(),
                });
            }
            None => self.origins.listing = Some(Origin::Plain),
        }
        Ok(())
    }

    /// How the upload began that the call names, where its token says so.
    pub(super) fn begun(&self) -> Option<Begun> {
        self.begun
    }

    /// The version of a copy's source, as its region knows it.
    pub(super) fn source_version(&self) -> Option<&str> {
        self.source.as_ref().map(|source| source.id.as_str())
    }

    /// The only region that has the version of a copy's source.
    pub(super) fn source_region(&self) -> Option<&RegionId> {
        self.source.as_ref()?.region.as_ref()
    }

    /// Where a listing stood that goes on with this request.
    pub(super) fn listed_to(&self) -> Option<&Position> {
        self.listing.as_ref()?.after.as_ref()
    }

    /// Whether a listing goes on in another region than where it stood.
    pub(super) fn listing_moved(&self, region: &RegionId) -> bool {
        self.listing.as_ref().is_some_and(|listing| listing.region != *region)
    }

    /// The common prefix that a listing which goes on in another region must not repeat.
    pub(super) fn prefix_seen(&self, region: &RegionId) -> Option<Vec<u8>> {
        let listing = self.listing.as_ref().filter(|listing| listing.region != *region)?;
        match &listing.after {
            Some(Position::Prefix(prefix)) => Some(prefix.clone()),
            Some(Position::Key(_)) | None => None,
        }
    }

    /// What the query says in this region.
    pub(super) fn query_in(&self, region: &RegionId) -> Replaced {
        let mut replaced = Replaced::new();
        if let Some(upload) = &self.upload {
            replaced.push(("uploadId", Some(upload.clone())));
        }
        if let Some(version) = &self.version {
            replaced.push(("versionId", Some(version.clone())));
        }
        if let Some(listing) = &self.listing {
            if listing.region == *region {
                replaced.push((listing.parameter, Some(listing.original.clone())));
            } else {
                // Another region knows nothing of the token: the listing goes on after the last
                // key or prefix that the client has seen. Of versions it has others: the key that
                // was being listed begins anew.
                replaced.push((listing.parameter, None));
                if let Some(key) = &listing.key {
                    replaced.push(("key-marker", Some(marker_before(key))));
                }
                if let (Some(after), "continuation-token") = (&listing.after, listing.parameter) {
                    replaced.push(("start-after", Some(start_after(after))));
                }
            }
        }
        replaced
    }
}

/// Opens the version of a copy's source: bound to the access point that the source is in.
fn source_version(
    view: &View,
    copy_from: Option<&Arc<AccessPoint>>,
    call: &Call,
) -> Result<Option<SourceVersion>, Refusal> {
    let source = call.copy_source.as_ref();
    let Some((source, text)) = source.and_then(|source| Some((source, source.version_id.as_ref()?))) else {
        return Ok(None);
    };
    let (Some(from), Some(keys)) = (copy_from, &view.tokens) else {
        return Ok(Some(SourceVersion { id: text.clone(), region: None }));
    };
    if from.members.len() < 2 || from.versions == Versions::Shared {
        return Ok(Some(SourceVersion { id: text.clone(), region: None }));
    }
    let bucket = bound_bucket(from, Some(&source.bucket));
    let opener = Opener { keys, access_point: from, bucket, call, query: None };
    let opened = opener.open(Kind::Version, text, &source.key, Code::InvalidArgument)?;
    let (origin, id) = origin_of(opened, text);
    let region = match origin {
        Origin::Token(region) => region,
        Origin::Plain => from.home.clone(),
    };
    Ok(Some(SourceVersion { id, region: Some(region) }))
}

/// After a prefix comes what no key under it can follow.
fn start_after(position: &Position) -> String {
    match position {
        Position::Key(key) => String::from_utf8_lossy(key).into_owned(),
        Position::Prefix(prefix) => format!("{}{LAST}", String::from_utf8_lossy(prefix)),
    }
}

/// Greater than any character that a name begins or goes on with.
const LAST: char = '\u{10FFFF}';

/// How many times [`LAST`] stands for "whatever follows": no key is known to have it even once.
const LASTS: usize = 8;

/// A key marker behind which `key` is the first that is listed. Alone a marker is exclusive, and
/// with a version's id it would have to be this region's: the greatest name before the key, then.
fn marker_before(key: &str) -> String {
    let mut marker = key.to_owned();
    let Some(last) = marker.pop() else { return marker };
    // Control characters have no form in XML, nor have the two at the end of the first plane.
    let before = match last {
        '\0'..=' ' => return marker,
        '\u{E000}' => '\u{D7FF}',
        '\u{FFFE}'..='\u{10000}' => '\u{FFFD}',
        last => char::from_u32(u32::from(last) - 1).unwrap_or(last),
    };
    marker.push(before);
    marker.extend(std::iter::repeat_n(LAST, LASTS));
    marker
}

fn origin_of(opened: Option<Token>, text: &str) -> (Origin, String) {
    match opened {
        Some(token) => (Origin::Token(token.region), token.id),
        None => (Origin::Plain, text.to_owned()),
    }
}

struct Opener<'a> {
    keys: &'a token::Keys,
    access_point: &'a AccessPoint,
    bucket: &'a str,
    call: &'a Call,
    query: Option<&'a str>,
}

impl Opener<'_> {
    fn open(&self, kind: Kind, text: &str, key: &[u8], forged: Code) -> Result<Option<Token>, Refusal> {
        let binding = Binding { access_point: &self.access_point.name, bucket: self.bucket, key };
        match token::open(self.keys, kind, text, &binding) {
            Ok(token) => Ok(Some(token)),
            Err(NotOpened::NotOurs) => Ok(None),
            Err(NotOpened::Forged) => Err(self::forged(forged)),
            Err(NotOpened::UnknownKey) => Err(unknown_key(self.access_point)),
        }
    }
}

/// A token that was changed, or is another bucket's or key's.
pub(super) fn forged(code: Code) -> Refusal {
    count_fault("forged");
    Refusal::new(code, Blame::Client).caused_by("a forged token")
}

/// A token that another gateway made by a key which is not on our list: nobody here knows where it
/// leads.
pub(super) fn unknown_key(access_point: &AccessPoint) -> Refusal {
    count_fault("unknown key");
    tracing::error!(
        access_point = %access_point.name,
        "a token by an unknown key: `tokens.keys` must be the same list on every gateway"
    );
    Refusal::unavailable(Blame::House, "a token by an unknown key")
}

/// Counts a token that did not open.
fn count_fault(fault: &'static str) {
    metric::counter(Metric::TokenFaults, &[fault]).increment(1);
}

/// The bucket that tokens are bound to: under the wildcard the client's own, else the access
/// point's name says it all (an alias must open the same tokens).
pub(super) fn bound_bucket<'a>(access_point: &'a AccessPoint, requested: Option<&'a str>) -> &'a str {
    if access_point.is_wildcard() { requested.unwrap_or_default() } else { access_point.name.as_str() }
}

/// Wraps ids of one region for one client.
pub(super) struct Wrapper<'a> {
    keys: Option<&'a token::Keys>,
    access_point: &'a AccessPoint,
    bucket: &'a str,
    region: &'a RegionId,
}

impl<'a> Wrapper<'a> {
    pub(super) fn new(
        view: &'a View,
        access_point: &'a AccessPoint,
        requested: Option<&'a str>,
        region: &'a RegionId,
    ) -> Self {
        let keys = view.tokens.as_deref().filter(|_| access_point.members.len() > 1);
        Self { keys, access_point, bucket: bound_bucket(access_point, requested), region }
    }

    /// Whether anything is wrapped at all.
    pub(super) fn wraps(&self) -> bool {
        self.keys.is_some()
    }

    pub(super) fn upload(&self, id: &str, key: &[u8], begun: Begun) -> String {
        let Begun { initiated, nonce } = begun;
        self.wrap(id, Subject::Upload { initiated, nonce }, key)
    }

    pub(super) fn version(&self, id: &str, key: &[u8]) -> String {
        match self.access_point.versions {
            // The version of an object without versions has this name everywhere.
            _ if id == "null" => id.to_owned(),
            Versions::PerRegion => self.wrap(id, Subject::Version, key),
            Versions::Shared => id.to_owned(),
        }
    }

    pub(super) fn listing(&self, id: &str, last: Position) -> String {
        self.wrap(id, Subject::Listing { after: last }, &[])
    }

    pub(super) fn version_marker(&self, id: &str) -> String {
        self.wrap(id, Subject::VersionMarker, &[])
    }

    fn wrap(&self, id: &str, subject: Subject, key: &[u8]) -> String {
        let Some(keys) = self.keys else { return id.to_owned() };
        let token = Token { region: self.region.clone(), id: id.to_owned(), subject };
        let binding = Binding { access_point: &self.access_point.name, bucket: self.bucket, key };
        token::wrap(keys, &token, &binding)
    }
}

/// A parameter of a raw query, decoded.
pub(super) fn parameter(query: Option<&str>, name: &str) -> Option<String> {
    Query::new(query.unwrap_or_default()).first(name).map(std::borrow::Cow::into_owned)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn nothing_lies_between_a_key_and_the_marker_before_it() {
        let key = ["k1", "k/", "k ", "k!", "k\u{E000}", "k\u{10000}", "\u{e9}", "a"];
        for key in key {
            let marker = marker_before(key);
            assert!(*marker < *key, "{marker:?} {key:?}");
        }
        for (key, before) in [("k1", "k0zzz"), ("b", "a\u{10FFFE}"), ("a/b", "a/a/c"), ("k/", "k.txt")] {
            assert!(*before < *marker_before(key), "{before} was listed before {key}");
        }
        assert_eq!(marker_before(""), "");
    }

    proptest! {
        #[test]
        fn a_marker_is_before_its_key_and_behind_what_is_before_that(key in ".{1,6}", other in ".{0,6}") {
            let marker = marker_before(&key);
            prop_assert!(marker < key);
            let printable = key.chars().next_back().is_some_and(|last| last > ' ');
            if printable && other < key && !other.contains(['\u{FFFE}', '\u{FFFF}']) {
                prop_assert!(other < marker, "{other:?} {marker:?}");
            }
        }
    }
}
