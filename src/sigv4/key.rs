//! Keys: those that clients may sign with, those that we sign with, and what is derived from both.

use std::collections::HashMap;
use std::collections::hash_map::{Entry, RandomState};
use std::fmt;
use std::hash::{BuildHasher, BuildHasherDefault, Hasher};

use aws_lc_rs::hmac;
use subtle::ConstantTimeEq;

use crate::names::{AccessKeyId, ClientName, ExposeSecret, Secret};
use crate::sigv4::asymmetric::{SigningPair, VerifyingKey};
use crate::sigv4::{Algorithm, Hex, SERVICE, TERMINATOR, array, unhex32};

/// One key pair that a client may sign with.
#[derive(Clone, Debug)]
pub struct Key {
    /// The public half.
    pub access_key_id: AccessKeyId,
    /// The secret half.
    pub secret: Secret,
    /// Where set, each request must carry it; where not, none may.
    pub session_token: Option<Secret>,
    /// Whose key it is.
    pub client: ClientName,
    /// What it may do beside signing as everybody does.
    pub allowances: Allowances,
}

/// What a client's configuration lets its signatures do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Allowances {
    /// Presigned reads of objects by Signature Version 2 are accepted (`signature_v2`).
    pub version_2_reads: bool,
    /// The client is told what differs where its signature does not match (`diagnose_signatures`).
    pub diagnosis: bool,
}

/// All keys that clients may sign with.
#[derive(Debug)]
pub struct KeyRing {
    keys: HashMap<Box<str>, Key>,
    /// Signs nothing that anybody could know: the work done for an unknown key.
    decoy: Key,
}

impl KeyRing {
    /// Takes the keys. Configuration refuses repeated ids; here the first of two stays.
    #[must_use]
    pub fn new(keys: Vec<Key>) -> Self {
        let mut ring = HashMap::with_capacity(keys.len());
        for key in keys {
            ring.entry(Box::from(key.access_key_id.as_str())).or_insert(key);
        }
        let decoy = Key {
            access_key_id: AccessKeyId::new(""),
            secret: Secret::from("0123456789abcdef0123456789abcdef01234567"),
            session_token: None,
            client: ClientName::new(""),
            allowances: Allowances::default(),
        };
        Self { keys: ring, decoy }
    }

    /// The key of this id.
    pub(super) fn find(&self, access_key_id: &str) -> Option<&Key> {
        self.keys.get(access_key_id)
    }

    /// What the key of this id may do beside; nothing where nobody has it.
    #[must_use]
    pub fn allowances(&self, access_key_id: &str) -> Allowances {
        self.find(access_key_id).map_or_else(Allowances::default, |key| key.allowances)
    }

    /// The key to spend the same time on where there is none. A match with it is never believed.
    pub(super) fn decoy(&self) -> &Key {
        &self.decoy
    }
}

/// What we sign with at a store.
#[derive(Clone, Debug)]
pub struct Credential {
    /// The public half.
    pub access_key_id: AccessKeyId,
    /// The secret half.
    pub secret: Secret,
    /// Of temporary credentials.
    pub session_token: Option<Secret>,
}

/// A derived key: good for one secret, day and region. Prepared, so that signing costs one HMAC.
#[derive(Clone)]
pub struct SigningKey(hmac::Key);

impl SigningKey {
    /// Derives it: four HMACs.
    #[must_use]
    pub fn derive(secret: &Secret, day: &str, region: &str) -> Self {
        Self::derive_for(secret, day, region, SERVICE)
    }

    /// Derives a key for any service; S3's is fixed, the published test suite has another.
    pub(super) fn derive_for(secret: &Secret, day: &str, region: &str, service: &str) -> Self {
        let secret = secret.expose_secret().as_bytes();
        let mut first = Vec::with_capacity(4 + secret.len());
        first.extend_from_slice(b"AWS4");
        first.extend_from_slice(secret);
        let mut key = hmac::Key::new(hmac::HMAC_SHA256, &first);
        for part in [day, region, service, TERMINATOR] {
            key = hmac::Key::new(hmac::HMAC_SHA256, hmac::sign(&key, part.as_bytes()).as_ref());
        }
        Self(key)
    }

    /// HMAC-SHA256 of a string to sign.
    pub(super) fn sign(&self, text: &[u8]) -> [u8; 32] {
        array(hmac::sign(&self.0, text).as_ref())
    }
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SigningKey(..)")
    }
}

/// What judges signatures: the key of one of the two algorithms.
#[derive(Clone, Copy, Debug)]
pub(super) enum Judge<'k> {
    /// SigV4: whoever verifies could have signed.
    Hmac(&'k SigningKey),
    /// SigV4A.
    Ecdsa(&'k VerifyingKey),
}

impl Judge<'_> {
    /// Whether `signature`, in hex as it came, is that of this text. Text that is no signature costs the
    /// same as a wrong one.
    pub(super) fn holds(self, text: &[u8], signature: &[u8]) -> bool {
        match self {
            Self::Hmac(key) => {
                let provided = unhex32(signature, Hex::Lower);
                let equal = key.sign(text).ct_eq(&provided.unwrap_or_default());
                bool::from(equal) && provided.is_some()
            }
            Self::Ecdsa(key) => key.holds(text, signature),
        }
    }

    /// Which.
    pub(super) fn algorithm(self) -> Algorithm {
        match self {
            Self::Hmac(_) => Algorithm::Hmac,
            Self::Ecdsa(_) => Algorithm::Ecdsa,
        }
    }
}

/// Derived keys that were used lately, and the buffer in which canonical requests are written.
/// One per worker, hence no lock; bounded, whatever regions and days strangers name.
///
/// Least recently used, in two generations: what is used moves to the young one; when that is
/// full it becomes the old one, and what was still old is forgotten.
pub struct KeyCache {
    young: HashMap<u64, Derived, BuildHasherDefault<Hashed>>,
    old: HashMap<u64, Derived, BuildHasherDefault<Hashed>>,
    generation: usize,
    /// SigV4A's keys, good for every day and region: no more than access keys are known.
    pairs: Pairs<VerifyingKey>,
    /// The same, of those that we sign with.
    signing: Pairs<SigningPair>,
    hasher: RandomState,
    buffer: Vec<u8>,
}

/// What was derived, by access key id, and from which secret.
type Pairs<K> = HashMap<Box<str>, (Secret, K)>;

/// Hashes what is a hash already, of [`KeyCache::hasher`], which nobody can foresee.
#[derive(Default)]
struct Hashed(u64);

impl Hasher for Hashed {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write_u64(&mut self, hash: u64) {
        self.0 = hash;
    }

    /// Never asked for, as keys are numbers; a sound hash all the same.
    fn write(&mut self, bytes: &[u8]) {
        self.0 = bytes.iter().fold(self.0, |hash, byte| hash.rotate_left(8) ^ u64::from(*byte));
    }
}

/// A derived key and what it was derived from.
struct Derived {
    secret: Secret,
    day: [u8; 8],
    region: Box<str>,
    key: SigningKey,
}

impl Derived {
    fn new(secret: &Secret, day: &str, region: &str) -> Self {
        Self {
            secret: secret.clone(),
            day: day.as_bytes().try_into().unwrap_or_default(),
            region: Box::from(region),
            key: SigningKey::derive(secret, day, region),
        }
    }

    /// The secret is compared too: a rotated secret may keep its access key id.
    fn is_for(&self, secret: &Secret, day: &str, region: &str) -> bool {
        let (ours, theirs) = (self.secret.expose_secret(), secret.expose_secret());
        self.day == *day.as_bytes()
            && *self.region == *region
            && bool::from(ours.as_bytes().ct_eq(theirs.as_bytes()))
    }
}

impl KeyCache {
    /// Keys a generation holds, unless told otherwise: 2 × 512 keys of about 1 KiB. Too small
    /// costs 2 µs a request; too large costs memory that strangers can fill where any region is
    /// accepted.
    const GENERATION: usize = 512;

    /// An empty cache of the usual size.
    #[must_use]
    pub fn new() -> Self {
        Self::holding(Self::GENERATION)
    }

    /// An empty cache that holds at least `generation` keys and at most twice as many.
    #[must_use]
    pub fn holding(generation: usize) -> Self {
        Self {
            young: HashMap::default(),
            old: HashMap::default(),
            generation: generation.max(1),
            pairs: HashMap::new(),
            signing: HashMap::new(),
            hasher: RandomState::new(),
            buffer: Vec::with_capacity(2048),
        }
    }

    /// The key derived from these, from memory where possible. `day` is eight digits.
    pub(super) fn key(
        &mut self,
        access_key_id: &AccessKeyId,
        secret: &Secret,
        day: &str,
        region: &str,
    ) -> &SigningKey {
        let hash = self.hasher.hash_one((access_key_id.as_str(), day, region));
        if self.young.len() >= self.generation && !self.young.contains_key(&hash) {
            self.old = std::mem::take(&mut self.young);
        }
        match self.young.entry(hash) {
            Entry::Occupied(mut found) => {
                if !found.get().is_for(secret, day, region) {
                    found.insert(Derived::new(secret, day, region));
                }
                &found.into_mut().key
            }
            Entry::Vacant(place) => {
                let kept = self.old.remove(&hash).filter(|kept| kept.is_for(secret, day, region));
                &place.insert(kept.unwrap_or_else(|| Derived::new(secret, day, region))).key
            }
        }
    }

    /// What verifies SigV4A's signatures by this key, from memory where possible.
    pub(super) fn verifying(&mut self, access_key_id: &AccessKeyId, secret: &Secret) -> &VerifyingKey {
        let most = 2 * self.generation;
        pair(&mut self.pairs, access_key_id.as_str(), secret, most, VerifyingKey::derive)
    }

    /// What signs by SigV4A with this key, from memory where possible.
    pub(super) fn signing(&mut self, access_key_id: &AccessKeyId, secret: &Secret) -> &SigningPair {
        let most = 2 * self.generation;
        pair(&mut self.signing, access_key_id.as_str(), secret, most, SigningPair::derive)
    }

    /// Lends the buffer, empty; [`Self::give_back`] keeps its memory for the next request.
    pub(super) fn take_buffer(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.buffer)
    }

    /// Takes the buffer back and forgets what was written in it.
    pub(super) fn give_back(&mut self, mut buffer: Vec<u8>) {
        buffer.clear();
        self.buffer = buffer;
    }

    /// How many keys are held.
    #[cfg(test)]
    fn len(&self) -> usize {
        self.young.len() + self.old.len()
    }
}

/// What was derived from these, or is now. Keys that were replaced by a reload are forgotten with all
/// others, once there are `most`.
fn pair<'p, K>(
    pairs: &'p mut Pairs<K>,
    id: &str,
    secret: &Secret,
    most: usize,
    derive: impl FnOnce(&str, &Secret) -> K,
) -> &'p K {
    let same = |known: &Secret| {
        bool::from(known.expose_secret().as_bytes().ct_eq(secret.expose_secret().as_bytes()))
    };
    if pairs.len() >= most {
        pairs.clear();
    }
    if !pairs.get(id).is_some_and(|(known, _)| same(known)) {
        pairs.remove(id);
    }
    &pairs.entry(Box::from(id)).or_insert_with(|| (secret.clone(), derive(id, secret))).1
}

impl Default for KeyCache {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for KeyCache {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeyCache").field("keys", &(self.young.len() + self.old.len())).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(text: &str) -> AccessKeyId {
        AccessKeyId::new(text)
    }

    #[test]
    fn the_documented_key_is_derived() {
        let secret = Secret::from("wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY");
        let mut key = b"AWS4wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY".to_vec();
        for part in ["20130524", "us-east-1", "s3", "aws4_request"] {
            key = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, &key), part.as_bytes()).as_ref().to_vec();
        }
        assert_eq!(hex::encode(&key), "dbb893acc010964918f1fd433add87c70e8b0db6be30c1fbeafefa5ec6ba8378");
        let documented = hmac::Key::new(hmac::HMAC_SHA256, &key);
        let derived = SigningKey::derive(&secret, "20130524", "us-east-1");
        assert_eq!(derived.sign(b"x").as_slice(), hmac::sign(&documented, b"x").as_ref());
    }

    #[test]
    fn a_cached_key_is_the_derived_key_even_after_its_secret_changed() {
        let mut cache = KeyCache::new();
        for secret in ["one", "two", "one", "two-longer"] {
            let secret = Secret::from(secret);
            for (day, region) in [("20130524", "a"), ("20130525", "a"), ("20130524", "b")] {
                let cached = cache.key(&id("k"), &secret, day, region).sign(b"x");
                assert_eq!(cached, SigningKey::derive(&secret, day, region).sign(b"x"));
            }
        }
        assert_eq!(cache.len(), 3);
    }

    #[test]
    fn a_key_pair_is_that_of_the_secret_it_is_asked_for() {
        let mut cache = KeyCache::holding(2);
        for secret in ["one", "two", "one"].map(Secret::from) {
            let signature = cache.signing(&id("k"), &secret).sign(b"x");
            assert!(Judge::Ecdsa(cache.verifying(&id("k"), &secret)).holds(b"x", signature.as_bytes()));
            assert!(!Judge::Ecdsa(cache.verifying(&id("k"), &secret)).holds(b"y", signature.as_bytes()));
            assert!(!Judge::Ecdsa(cache.verifying(&id("other"), &secret)).holds(b"x", signature.as_bytes()));
        }
        for other in 0..20 {
            cache.verifying(&id(&other.to_string()), &Secret::from("s"));
            cache.signing(&id(&other.to_string()), &Secret::from("s"));
            assert!(cache.pairs.len() <= 4 && cache.signing.len() <= 4);
        }
    }

    #[test]
    fn strangers_cannot_make_the_cache_grow() {
        let mut cache = KeyCache::holding(8);
        let secret = Secret::from("s");
        for region in 0..100 {
            cache.key(&id("k"), &secret, "20130524", &region.to_string());
            cache.key(&id("often"), &secret, "20130524", "eu");
            assert!(cache.len() <= 16);
        }
        let hash = cache.hasher.hash_one(("often", "20130524", "eu"));
        assert!(cache.young.contains_key(&hash), "what is used often stays");
    }

    #[test]
    fn nothing_prints_a_secret() {
        let key = Key {
            access_key_id: id("AKID"),
            secret: Secret::from("canary"),
            session_token: Some(Secret::from("canary")),
            client: ClientName::new("c"),
            allowances: Allowances::default(),
        };
        let mut cache = KeyCache::new();
        let derived = cache.key(&key.access_key_id, &key.secret, "20130524", "eu").clone();
        let ring = KeyRing::new(vec![key.clone()]);
        let text = format!("{key:?} {ring:?} {derived:?} {cache:?}");
        assert!(text.contains("AKID") && !text.contains("canary"), "{text}");
    }
}
