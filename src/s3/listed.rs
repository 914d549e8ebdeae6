//! Names as listings show them where the client asked for `encoding-type=url`: keys, prefixes and
//! markers. Pure.
//!
//! AWS and `MinIO` encode as forms do: a space is `+`, a plus is `%2B`. Ceph RGW, Garage and moto write
//! `%20`, and a plus as `%2B` too; so one way of reading is right for all of them. A store that leaves a
//! plus as it is and encodes the rest cannot be told apart from the first two, and clients read it as
//! this does: `unquote_plus`, `URLDecoder`, `QueryUnescape`.

use std::borrow::Cow;

use crate::s3::query::{decode, decode_form_bytes, encode_into};

/// The name behind what an encoded listing shows; as it stands where that is no encoding.
#[must_use]
pub fn plain(shown: &str) -> Cow<'_, [u8]> {
    decode_form_bytes(shown).unwrap_or(Cow::Borrowed(shown.as_bytes()))
}

/// As [`plain`], out of a document that does not say by its `EncodingType` that it encodes, though that
/// was asked for: uploads of Ceph RGW, whose every plus is `%2B`, or a store that knows nothing of
/// encodings. In neither is `+` a space.
#[must_use]
pub fn plain_unsaid(shown: &str) -> Cow<'_, [u8]> {
    decode(shown).unwrap_or(Cow::Borrowed(shown.as_bytes()))
}

/// A name as an encoded listing shows it: the spelling that has one reading for every client, whether or
/// not `+` is a space to it.
#[must_use]
pub fn encoded(name: &[u8]) -> String {
    let mut out = String::with_capacity(name.len());
    encode_into(name, b"/", &mut out);
    out
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_space_is_a_plus_or_escaped_and_a_plus_is_escaped() {
        for (shown, name) in [
            ("my+file%2B3", "my file+3"),
            ("my%20file%2B3", "my file+3"),
            ("a%2520b", "a%20b"),
            ("%ED%95%9C/run+books", "\u{d55c}/run books"),
            ("100%", "100%"),
            ("a+%zz", "a+%zz"),
        ] {
            assert_eq!(plain(shown), name.as_bytes(), "{shown}");
        }
        assert_eq!(plain_unsaid("a+b%20c"), &b"a+b c"[..]);
        assert_eq!(plain("%FF+"), &b"\xff "[..], "a key need not be text");
    }

    proptest! {
        #[test]
        fn what_is_encoded_has_one_reading(name in prop::collection::vec(any::<u8>(), 0..40)) {
            let shown = encoded(&name);
            prop_assert_eq!(&*plain(&shown), name.as_slice());
            prop_assert_eq!(&*plain_unsaid(&shown), name.as_slice());
        }
    }
}
