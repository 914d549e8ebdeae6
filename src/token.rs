//! Tokens: ids of a region's store that clients carry for us, so that any gateway with the same
//! keys sends the follow-up to the same region. Pure.
//!
//! A token wraps an upload id, a version id or a place in a listing. It *carries* the region, the
//! store's own id and what a follow-up needs besides; it is *bound* to the access point, bucket and
//! key it was made for, which are under its MAC and not in it. It hides nothing: the id in it is
//! the store's, readable by whoever decodes it.
//!
//! Format, version 1, everything after the mark in base64url without padding:
//!
//! ```text
//! "np1_"  key id (4)  kind (1)  region (length 1, text)  extras  original id (the rest)  MAC (16)
//! extras  upload: seconds of initiation (8, big-endian), 0 (1) or 1 (1) and the nonce (8, big-endian)
//!         listing: `K` or `P` (1), length (2, big-endian), last key or prefix emitted
//! MAC     the first 16 bytes of HMAC-SHA256 over domain, binding (each part after its length), content
//! ```
//!
//! It decides whether a text is a token of ours and whether it is genuine; what is answered when
//! it is not is `refusal`'s, which tokens to wrap is the pipeline's. `null`, the version id of
//! unversioned objects, is never wrapped: [`wrap`] gives it back as it is.

use std::fmt;

use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::hmac;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use subtle::ConstantTimeEq;

use crate::names::{AccessPointName, ExposeSecret, RegionId, Secret, WriteNonce};
use crate::units::UnixSeconds;

/// What a text begins with to be a token, format version included.
const MARK: &str = "np1_";
/// Longer texts are not tokens. A listing's holds a key of 1 KiB and a store's own token.
const TEXT_MAX: usize = 16 << 10;
/// The shortest secret: 128 bits where it is random.
const SECRET_MIN: usize = 16;
const KEY_ID: usize = 4;
const MAC: usize = 16;
/// Separates these MACs from any other use of the same secret.
const DOMAIN: &[u8] = b"nearpoint token 1";

/// The keys of tokens: the first signs, all verify, so that a new one can be put first while old
/// tokens still open.
pub struct Keys {
    signer: TokenKey,
    /// Of former times, or of times to come.
    others: Vec<TokenKey>,
}

struct TokenKey {
    id: [u8; KEY_ID],
    key: hmac::Key,
}

impl fmt::Debug for Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Keys").field("count", &(1 + self.others.len())).finish_non_exhaustive()
    }
}

/// Why secrets are no keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeysFault {
    /// There is none.
    #[error("at least one token key is needed")]
    None,
    /// One is too short; which, counted from 0.
    #[error("token key {0} is shorter than 16 bytes")]
    TooShort(usize),
    /// Two are the same, or their ids collide (chance 2^-32); the later, counted from 0.
    #[error("token key {0} has the same id as an earlier one")]
    Repeated(usize),
}

impl Keys {
    /// Prepares the keys. A key's id is the first four bytes of its SHA-256, so that gateways
    /// agree on ids without agreeing on an order.
    ///
    /// # Errors
    /// [`KeysFault`], by its variants.
    pub fn new(secrets: &[Secret]) -> Result<Self, KeysFault> {
        let mut keys: Vec<TokenKey> = Vec::with_capacity(secrets.len());
        for (index, secret) in secrets.iter().enumerate() {
            let secret = secret.expose_secret().as_bytes();
            if secret.len() < SECRET_MIN {
                return Err(KeysFault::TooShort(index));
            }
            let digest = digest(&SHA256, secret);
            let id = digest.as_ref().first_chunk().copied().unwrap_or_default();
            if keys.iter().any(|key| key.id == id) {
                return Err(KeysFault::Repeated(index));
            }
            keys.push(TokenKey { id, key: hmac::Key::new(hmac::HMAC_SHA256, secret) });
        }
        let mut keys = keys.into_iter();
        let signer = keys.next().ok_or(KeysFault::None)?;
        Ok(Self { signer, others: keys.collect() })
    }

    fn find(&self, id: [u8; KEY_ID]) -> Option<&TokenKey> {
        std::iter::once(&self.signer).chain(&self.others).find(|key| key.id == id)
    }
}

/// What sort of id a token stands for. One sort never opens as another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// An upload id.
    Upload,
    /// A place in a listing: `continuation-token`.
    Listing,
    /// A version id.
    Version,
    /// `upload-id-marker` of `ListMultipartUploads`.
    UploadMarker,
    /// `version-id-marker` of `ListObjectVersions`.
    VersionMarker,
}

impl Kind {
    const ALL: [Self; 5] =
        [Self::Upload, Self::Listing, Self::Version, Self::UploadMarker, Self::VersionMarker];

    fn byte(self) -> u8 {
        match self {
            Self::Upload => b'U',
            Self::Listing => b'L',
            Self::Version => b'V',
            Self::UploadMarker => b'u',
            Self::VersionMarker => b'v',
        }
    }
}

/// What a token stands for, with what a follow-up needs besides the store's id.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Subject {
    /// An upload.
    Upload {
        /// When it began, by the store's clock. Stores date the object by it.
        initiated: UnixSeconds,
        /// What its object will have in its metadata, and no other.
        nonce: Option<WriteNonce>,
    },
    /// A listing.
    Listing {
        /// Where it stands, so that it can go on elsewhere.
        after: Position,
    },
    /// A version.
    Version,
    /// A place in a listing of uploads.
    UploadMarker,
    /// A place in a listing of versions.
    VersionMarker,
}

impl Subject {
    /// Which kind of token this makes.
    #[must_use]
    pub fn kind(&self) -> Kind {
        match self {
            Self::Upload { .. } => Kind::Upload,
            Self::Listing { .. } => Kind::Listing,
            Self::Version => Kind::Version,
            Self::UploadMarker => Kind::UploadMarker,
            Self::VersionMarker => Kind::VersionMarker,
        }
    }
}

/// The last thing that a listing emitted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Position {
    /// An object's key, decoded. Empty where nothing was emitted.
    Key(Vec<u8>),
    /// A common prefix, decoded: what is under it was emitted with it.
    Prefix(Vec<u8>),
}

/// What a token says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Token {
    /// Whose id it is.
    pub region: RegionId,
    /// The store's own id.
    pub id: String,
    /// What it stands for.
    pub subject: Subject,
}

/// What a token is good for. The access point is named by its name, never its alias, so that both
/// spellings are one binding; `bucket` is that name too, and the bucket asked for under the
/// wildcard access point.
#[derive(Clone, Copy, Debug)]
pub struct Binding<'a> {
    /// The access point's name.
    pub access_point: &'a AccessPointName,
    /// The logical bucket.
    pub bucket: &'a str,
    /// The decoded key for uploads and versions; empty for listings and markers.
    pub key: &'a [u8],
}

/// Why a text does not open.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotOpened {
    /// No token: an id that some store gave out, or that a client made up. It goes home.
    #[error("not a token")]
    NotOurs,
    /// A token by a key that is not among ours: the gateways' `tokens.keys` differ.
    #[error("a token by an unknown key")]
    UnknownKey,
    /// By one of our keys, and not what that key signed: changed, or for another kind, access
    /// point, bucket or key.
    #[error("a forged token")]
    Forged,
}

/// Wraps a store's id. Text of `A-Z a-z 0-9 - _` only, fit for a query as it is.
///
/// The version id `null` comes back as it is. Parts longer than the format can carry (a region's name of more
/// than 255 bytes, a position of more than 65,535) are cut, which configuration and S3's limit on
/// keys rule out.
#[must_use]
pub fn wrap(keys: &Keys, token: &Token, binding: &Binding<'_>) -> String {
    if token.id == "null" && matches!(token.subject, Subject::Version | Subject::VersionMarker) {
        return token.id.clone();
    }
    let signer = &keys.signer;
    let mut content = Vec::with_capacity(64 + token.id.len());
    content.extend_from_slice(&signer.id);
    content.push(token.subject.kind().byte());
    write_short(&mut content, token.region.as_str().as_bytes());
    write_extra(&mut content, &token.subject);
    content.extend_from_slice(token.id.as_bytes());
    let mac = mac(&signer.key, binding, &content);
    content.extend_from_slice(&mac);
    let mut text = String::from(MARK);
    URL_SAFE_NO_PAD.encode_string(&content, &mut text);
    text
}

/// Opens a token of this kind, made for this binding.
///
/// # Errors
/// [`NotOpened`], by its variants.
pub fn open(keys: &Keys, kind: Kind, text: &str, binding: &Binding<'_>) -> Result<Token, NotOpened> {
    let sealed = text.strip_prefix(MARK).filter(|_| text.len() <= TEXT_MAX).ok_or(NotOpened::NotOurs)?;
    let sealed = URL_SAFE_NO_PAD.decode(sealed).map_err(|_| NotOpened::NotOurs)?;
    let (content, claimed) = sealed.split_last_chunk::<MAC>().ok_or(NotOpened::NotOurs)?;
    let (id, rest) = content.split_first_chunk::<KEY_ID>().ok_or(NotOpened::NotOurs)?;
    let (found, rest) = rest.split_first().ok_or(NotOpened::NotOurs)?;
    if !Kind::ALL.iter().any(|kind| kind.byte() == *found) {
        return Err(NotOpened::NotOurs);
    }
    let key = keys.find(*id).ok_or(NotOpened::UnknownKey)?;
    let genuine = mac(&key.key, binding, content).ct_eq(claimed);
    if !bool::from(genuine) || *found != kind.byte() {
        return Err(NotOpened::Forged);
    }
    // genuine, so whatever cannot be read was never written
    read(kind, rest).ok_or(NotOpened::Forged)
}

fn read(kind: Kind, rest: &[u8]) -> Option<Token> {
    let (length, rest) = rest.split_first()?;
    let (region, rest) = rest.split_at_checked(usize::from(*length))?;
    let (subject, id) = read_extra(kind, rest)?;
    Some(Token {
        region: RegionId::new(std::str::from_utf8(region).ok()?),
        id: String::from_utf8(id.to_vec()).ok()?,
        subject,
    })
}

fn write_extra(out: &mut Vec<u8>, subject: &Subject) {
    match subject {
        Subject::Upload { initiated, nonce } => {
            out.extend_from_slice(&initiated.0.to_be_bytes());
            out.push(nonce.is_some().into());
            out.extend(nonce.iter().flat_map(|nonce| nonce.0.to_be_bytes()));
        }
        Subject::Listing { after } => {
            let (mark, bytes) = match after {
                Position::Key(key) => (b'K', key),
                Position::Prefix(prefix) => (b'P', prefix),
            };
            let length = u16::try_from(bytes.len()).unwrap_or(u16::MAX);
            out.push(mark);
            out.extend_from_slice(&length.to_be_bytes());
            out.extend_from_slice(bytes.get(..usize::from(length)).unwrap_or_default());
        }
        Subject::Version | Subject::UploadMarker | Subject::VersionMarker => {}
    }
}

fn read_extra(kind: Kind, rest: &[u8]) -> Option<(Subject, &[u8])> {
    match kind {
        Kind::Upload => {
            let (at, rest) = rest.split_first_chunk::<8>()?;
            let initiated = UnixSeconds(i64::from_be_bytes(*at));
            let (nonce, rest) = match rest.split_first()? {
                (0, rest) => (None, rest),
                (1, rest) => {
                    let (nonce, rest) = rest.split_first_chunk::<8>()?;
                    (Some(WriteNonce(u64::from_be_bytes(*nonce))), rest)
                }
                _ => return None,
            };
            Some((Subject::Upload { initiated, nonce }, rest))
        }
        Kind::Listing => {
            let (mark, rest) = rest.split_first()?;
            let (length, rest) = rest.split_first_chunk::<2>()?;
            let (bytes, rest) = rest.split_at_checked(usize::from(u16::from_be_bytes(*length)))?;
            let after = match mark {
                b'K' => Position::Key(bytes.to_vec()),
                b'P' => Position::Prefix(bytes.to_vec()),
                _ => return None,
            };
            Some((Subject::Listing { after }, rest))
        }
        Kind::Version => Some((Subject::Version, rest)),
        Kind::UploadMarker => Some((Subject::UploadMarker, rest)),
        Kind::VersionMarker => Some((Subject::VersionMarker, rest)),
    }
}

fn write_short(out: &mut Vec<u8>, bytes: &[u8]) {
    let length = u8::try_from(bytes.len()).unwrap_or(u8::MAX);
    out.push(length);
    out.extend_from_slice(bytes.get(..usize::from(length)).unwrap_or_default());
}

/// The MAC over binding and content. Each part of the binding follows its length, so that no two
/// bindings read the same.
fn mac(key: &hmac::Key, binding: &Binding<'_>, content: &[u8]) -> [u8; MAC] {
    let mut context = hmac::Context::with_key(key);
    context.update(DOMAIN);
    for part in [binding.access_point.as_str().as_bytes(), binding.bucket.as_bytes(), binding.key] {
        context.update(&u64::try_from(part.len()).unwrap_or(u64::MAX).to_be_bytes());
        context.update(part);
    }
    context.update(content);
    context.sign().as_ref().first_chunk().copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn keys(secrets: &[&str]) -> Keys {
        let secrets: Vec<Secret> = secrets.iter().map(|text| Secret::from(*text)).collect();
        Keys::new(&secrets).expect("good keys")
    }

    const FIRST: &str = "first-secret-of-16-bytes";
    const SECOND: &str = "second-secret-of-16-bytes";

    fn subject() -> impl Strategy<Value = Subject> {
        let position = (any::<bool>(), prop::collection::vec(any::<u8>(), 0..1025))
            .prop_map(|(key, bytes)| if key { Position::Key(bytes) } else { Position::Prefix(bytes) });
        prop_oneof![
            (any::<i64>(), any::<Option<u64>>()).prop_map(|(at, nonce)| Subject::Upload {
                initiated: UnixSeconds(at),
                nonce: nonce.map(WriteNonce),
            }),
            position.prop_map(|after| Subject::Listing { after }),
            Just(Subject::Version),
            Just(Subject::UploadMarker),
            Just(Subject::VersionMarker),
        ]
    }

    fn token() -> impl Strategy<Value = Token> {
        ("[a-z0-9-]{1,30}", ".{0,200}", subject())
            .prop_filter("null is not wrapped", |(_, id, _)| id != "null")
            .prop_map(|(region, id, subject)| Token { region: RegionId::new(&region), id, subject })
    }

    proptest! {
        #[test]
        fn what_is_wrapped_opens(
            token in token(), point in "[a-z*-]{1,20}", bucket in "[a-z-]{1,20}",
            key in prop::collection::vec(any::<u8>(), 0..40),
        ) {
            let keys = keys(&[FIRST]);
            let point = AccessPointName::new(&point);
            let binding = Binding { access_point: &point, bucket: &bucket, key: &key };
            let text = wrap(&keys, &token, &binding);
            let fit = text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'));
            prop_assert!(fit, "fit for a query: {}", text);
            prop_assert_eq!(open(&keys, token.subject.kind(), &text, &binding), Ok(token.clone()));
            for kind in Kind::ALL {
                if kind != token.subject.kind() {
                    prop_assert_eq!(open(&keys, kind, &text, &binding), Err(NotOpened::Forged));
                }
            }
        }

        #[test]
        fn a_flipped_bit_is_refused(token in token(), at in any::<prop::sample::Index>(), bit in 0_u8..7) {
            let keys = keys(&[FIRST, SECOND]);
            let point = AccessPointName::new("photos");
            let binding = Binding { access_point: &point, bucket: "photos", key: b"k" };
            let mut text = wrap(&keys, &token, &binding).into_bytes();
            let at = at.index(text.len());
            text[at] ^= 1 << bit;
            let text = String::from_utf8(text).expect("seven bits");
            prop_assert!(open(&keys, token.subject.kind(), &text, &binding).is_err());
        }

        #[test]
        fn another_binding_is_refused(
            token in token(),
            ours in ("[ab]{1,3}", "[ab]{0,3}", "[ab]{0,3}"), theirs in ("[ab]{1,3}", "[ab]{0,3}", "[ab]{0,3}"),
        ) {
            prop_assume!(ours != theirs);
            let keys = keys(&[FIRST]);
            let (one, other) = (AccessPointName::new(&ours.0), AccessPointName::new(&theirs.0));
            let made = Binding { access_point: &one, bucket: &ours.1, key: ours.2.as_bytes() };
            let asked = Binding { access_point: &other, bucket: &theirs.1, key: theirs.2.as_bytes() };
            let text = wrap(&keys, &token, &made);
            prop_assert_eq!(open(&keys, token.subject.kind(), &text, &asked), Err(NotOpened::Forged));
        }

        #[test]
        fn rotated_keys_open_what_the_old_one_signed(token in token()) {
            let point = AccessPointName::new("photos");
            let binding = Binding { access_point: &point, bucket: "photos", key: b"k" };
            let (old, both, new) = (keys(&[FIRST]), keys(&[SECOND, FIRST]), keys(&[SECOND]));
            let kind = token.subject.kind();
            let before = wrap(&old, &token, &binding);
            prop_assert_eq!(open(&both, kind, &before, &binding), Ok(token.clone()));
            prop_assert_eq!(open(&new, kind, &before, &binding), Err(NotOpened::UnknownKey));
            let after = wrap(&both, &token, &binding);
            prop_assert_eq!(open(&new, kind, &after, &binding), Ok(token.clone()));
            prop_assert_eq!(open(&old, kind, &after, &binding), Err(NotOpened::UnknownKey));
        }

        #[test]
        fn other_text_is_not_ours(text in ".{0,200}", marked in "np1_[A-Za-z0-9_-]{0,36}") {
            let keys = keys(&[FIRST]);
            let point = AccessPointName::new("photos");
            let binding = Binding { access_point: &point, bucket: "photos", key: b"k" };
            for kind in Kind::ALL {
                if !text.starts_with(MARK) {
                    prop_assert_eq!(open(&keys, kind, &text, &binding), Err(NotOpened::NotOurs));
                }
                prop_assert!(open(&keys, kind, &marked, &binding).is_err());
            }
        }
    }

    #[test]
    fn an_id_of_a_store_is_not_ours() {
        let keys = keys(&[FIRST]);
        let point = AccessPointName::new("photos");
        let binding = Binding { access_point: &point, bucket: "photos", key: b"k" };
        for text in [
            "",
            "null",
            "VXBsb2FkIElEIGZvciA2aWWpbmcncyBteS1tb3ZpZS5tMnRzIHVwbG9hZA",
            "np1_",
            "np1_!",
            "np2_AAAA",
        ] {
            assert_eq!(open(&keys, Kind::Upload, text, &binding), Err(NotOpened::NotOurs), "{text}");
        }
        let long = format!("np1_{}", "A".repeat(TEXT_MAX));
        assert_eq!(open(&keys, Kind::Upload, &long, &binding), Err(NotOpened::NotOurs));
    }

    #[test]
    fn null_is_never_wrapped() {
        let point = AccessPointName::new("photos");
        let binding = Binding { access_point: &point, bucket: "photos", key: b"k" };
        for subject in [Subject::Version, Subject::VersionMarker] {
            let token = Token { region: RegionId::new("eu"), id: "null".into(), subject };
            assert_eq!(wrap(&keys(&[FIRST]), &token, &binding), "null");
        }
    }

    #[test]
    fn poor_keys_are_refused() {
        let new = |secrets: &[&str]| {
            Keys::new(&secrets.iter().map(|text| Secret::from(*text)).collect::<Vec<_>>()).err()
        };
        assert_eq!(new(&[]), Some(KeysFault::None));
        assert_eq!(new(&[FIRST, "fifteen-bytes-x"]), Some(KeysFault::TooShort(1)));
        assert_eq!(new(&["sixteen-bytes-xy"]), None);
        assert_eq!(new(&[FIRST, SECOND, FIRST]), Some(KeysFault::Repeated(2)));
        assert!(!format!("{:?}", keys(&[FIRST])).contains("secret-of"));
    }

    #[test]
    fn a_token_stays_short_enough_for_a_url() {
        let point = AccessPointName::new("photos");
        let binding = Binding { access_point: &point, bucket: "photos", key: b"k" };
        let subject = Subject::Upload { initiated: UnixSeconds(1_369_353_600), nonce: Some(WriteNonce(1)) };
        let token = Token { region: RegionId::new("frankfurt"), id: "x".repeat(128), subject };
        assert_eq!(wrap(&keys(&[FIRST]), &token, &binding).len(), 4 + 235);
    }
}
