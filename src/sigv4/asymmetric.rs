//! SigV4A: the key pair that a secret stands for, and what it signed. Pure.
//!
//! Whoever signs derives a private key of P-256 from the secret, once for all days and regions; whoever
//! knows the secret derives the same key and verifies with its public half. Sources: the key derivation
//! of AWS's common runtime (aws-c-auth), with the public keys that its tests give.

use std::fmt;
use std::sync::Arc;

use aws_lc_rs::agreement::{ECDH_P256, PrivateKey, PublicKey};
use aws_lc_rs::hmac;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_ASN1, ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, ParsedPublicKey,
};

use crate::names::{ExposeSecret, Secret};
use crate::sigv4::{ALGORITHM_V4A, array};

/// The longest signature in hex: the DER form of two numbers of 33 bytes. Chunks pad theirs to it.
pub(super) const SIGNATURE_MAX: usize = 144;

/// The order of P-256 less two, big-endian: what is derived must not be above it.
const ORDER_LESS_TWO: [u8; 32] = [
    0xff, 0xff, 0xff, 0xff, 0x00, 0x00, 0x00, 0x00, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, //
    0xbc, 0xe6, 0xfa, 0xad, 0xa7, 0x17, 0x9e, 0x84, 0xf3, 0xb9, 0xca, 0xc2, 0xfc, 0x63, 0x25, 0x4f,
];

/// What verifies the signatures of one access key. Cheap to clone.
#[derive(Clone)]
pub(super) struct VerifyingKey(Option<Arc<ParsedPublicKey>>);

impl VerifyingKey {
    /// Derives it: one HMAC and one multiplication on the curve, some 50 µs.
    #[must_use]
    pub(super) fn derive(access_key_id: &str, secret: &Secret) -> Self {
        let public = halves(access_key_id, secret)
            .and_then(|(_, public)| ParsedPublicKey::new(&ECDSA_P256_SHA256_ASN1, public.as_ref()).ok());
        // one secret in 2^8128 has no key, and signs nothing
        Self(public.map(Arc::new))
    }

    /// Whether this text was signed: `signature` is DER in lower-case hex.
    pub(super) fn holds(&self, text: &[u8], signature: &[u8]) -> bool {
        let mut der = [0; SIGNATURE_MAX / 2];
        let Some(der) = der.get_mut(..signature.len() / 2) else { return false };
        let lower = !signature.iter().any(u8::is_ascii_uppercase);
        if !lower || hex::decode_to_slice(signature, der).is_err() {
            return false;
        }
        self.0.as_ref().is_some_and(|key| key.verify_sig(text, der).is_ok())
    }
}

impl fmt::Debug for VerifyingKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("VerifyingKey(..)")
    }
}

/// What signs in the name of one access key.
pub(super) struct SigningPair(Option<EcdsaKeyPair>);

impl SigningPair {
    /// Derives it: one HMAC and one multiplication on the curve, some 50 µs.
    #[must_use]
    pub(super) fn derive(access_key_id: &str, secret: &Secret) -> Self {
        let algorithm = &ECDSA_P256_SHA256_ASN1_SIGNING;
        Self(halves(access_key_id, secret).and_then(|(private, public)| {
            EcdsaKeyPair::from_private_key_and_public_key(algorithm, &private, public.as_ref()).ok()
        }))
    }

    /// The signature of this text: DER in lower-case hex, another one each time. Empty, so that no store
    /// takes it, for the one secret in 2^8128 that has no key.
    pub(super) fn sign(&self, text: &[u8]) -> String {
        let signature = self.0.as_ref().and_then(|pair| pair.sign(&SystemRandom::new(), text).ok());
        signature.map(hex::encode).unwrap_or_default()
    }
}

impl fmt::Debug for SigningPair {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SigningPair(..)")
    }
}

/// Both halves of an access key's pair.
fn halves(access_key_id: &str, secret: &Secret) -> Option<([u8; 32], PublicKey)> {
    let private = scalar(access_key_id, secret)?;
    let public = PrivateKey::from_private_key(&ECDH_P256, &private).ok()?.compute_public_key().ok()?;
    Some((private, public))
}

/// The private key: the first of the numbers derived from the secret that is below the curve's order.
fn scalar(access_key_id: &str, secret: &Secret) -> Option<[u8; 32]> {
    let key = hmac::Key::new(hmac::HMAC_SHA256, &[b"AWS4A", secret.expose_secret().as_bytes()].concat());
    (1..=254_u8).find_map(|counter| {
        let mut context = hmac::Context::with_key(&key);
        context.update(&1_u32.to_be_bytes());
        context.update(ALGORITHM_V4A.as_bytes());
        context.update(&[0]);
        context.update(access_key_id.as_bytes());
        context.update(&[counter]);
        context.update(&256_u32.to_be_bytes());
        let candidate = array(context.sign().as_ref());
        (candidate <= ORDER_LESS_TWO).then(|| plus_one(candidate))
    })
}

fn plus_one(mut number: [u8; 32]) -> [u8; 32] {
    for byte in number.iter_mut().rev() {
        let (next, carried) = byte.overflowing_add(1);
        *byte = next;
        if !carried {
            break;
        }
    }
    number
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_documented_keys_are_derived() {
        for (id, secret, begins, ends) in [
            ("AKIDEXAMPLE", "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY", "b6618f6a", "e518"),
            ("AKIAIOSFODNN7EXAMPLE", "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY", "18b7d046", "93f2"),
        ] {
            let (_, public) = halves(id, &Secret::from(secret)).unwrap();
            let public = hex::encode(public.as_ref());
            assert!(public.starts_with(&format!("04{begins}")) && public.ends_with(ends), "{public}");
        }
    }

    #[test]
    fn one_is_added_across_bytes() {
        let mut number = [0; 32];
        number[30..].copy_from_slice(&[0x01, 0xff]);
        let mut more = [0; 32];
        more[30] = 0x02;
        assert_eq!(plus_one(number), more);
        assert!(plus_one(ORDER_LESS_TWO) > ORDER_LESS_TWO);
    }

    #[test]
    fn no_text_is_taken_for_a_signature() {
        let key = VerifyingKey::derive("AKID", &Secret::from("secret"));
        let (long, longest) = ("30".repeat(SIGNATURE_MAX), "30".repeat(SIGNATURE_MAX / 2));
        for text in ["", "30", "3", "zz", "3006020101020101", &long, &longest] {
            assert!(!key.holds(b"x", text.as_bytes()), "{text}");
        }
        assert_eq!(format!("{key:?}"), "VerifyingKey(..)");
    }

    #[test]
    fn what_is_signed_holds_by_the_documented_public_key_and_is_never_the_same_twice() {
        let secret = Secret::from("wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY");
        // as AWS's signing test suite gives it
        let public = hex::decode(concat!(
            "04b6618f6a65740a99e650b33b6b4b5bd0d43b176d721a3edfea7e7d2d56d936b1",
            "865ed22a7eadc9c5cb9d2cbaca1b3699139fedc5043dc6661864218330c8e518"
        ));
        let public = ParsedPublicKey::new(&ECDSA_P256_SHA256_ASN1, public.unwrap()).unwrap();
        let pair = SigningPair::derive("AKIDEXAMPLE", &secret);
        let (one, other) = (pair.sign(b"text"), pair.sign(b"text"));
        assert_ne!(one, other);
        for signature in [one, other] {
            assert!(signature.len() <= SIGNATURE_MAX && !signature.contains(char::is_uppercase));
            let der = hex::decode(signature).unwrap();
            assert!(public.verify_sig(b"text", &der).is_ok() && public.verify_sig(b"texts", &der).is_err());
        }
        assert_eq!(format!("{pair:?}"), "SigningPair(..)");
    }
}
