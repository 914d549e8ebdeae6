//! SigV4A: the key pair that a secret stands for, and what it signed. Pure.
//!
//! A client derives a private key of P-256 from its secret, once for all days and regions, and signs
//! with it; whoever knows the secret derives the same key and verifies with its public half. Sources:
//! the key derivation of AWS's common runtime (aws-c-auth), with the public keys that its tests give.

use std::fmt;
use std::sync::Arc;

use aws_lc_rs::agreement::{ECDH_P256, PrivateKey};
use aws_lc_rs::hmac;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_ASN1, ParsedPublicKey};

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
        let public = scalar(access_key_id, secret).and_then(|scalar| {
            let private = PrivateKey::from_private_key(&ECDH_P256, &scalar).ok()?;
            let public = private.compute_public_key().ok()?;
            ParsedPublicKey::new(&ECDSA_P256_SHA256_ASN1, public.as_ref()).ok()
        });
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

/// Signs as clients do: in lower-case hex, another one each time.
#[cfg(test)]
pub(super) fn sign(access_key_id: &str, secret: &Secret, text: &[u8]) -> String {
    use aws_lc_rs::rand::SystemRandom;
    use aws_lc_rs::signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair};
    let scalar = scalar(access_key_id, secret).unwrap();
    let public = PrivateKey::from_private_key(&ECDH_P256, &scalar).unwrap().compute_public_key().unwrap();
    let algorithm = &ECDSA_P256_SHA256_ASN1_SIGNING;
    let pair = EcdsaKeyPair::from_private_key_and_public_key(algorithm, &scalar, public.as_ref()).unwrap();
    hex::encode(pair.sign(&SystemRandom::new(), text).unwrap())
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
            let scalar = scalar(id, &Secret::from(secret)).unwrap();
            let private = PrivateKey::from_private_key(&ECDH_P256, &scalar).unwrap();
            let public = hex::encode(private.compute_public_key().unwrap().as_ref());
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
}
