//! Digests in text: 64 hexadecimal characters.

/// Lower-case hex of 32 bytes, without an allocation.
pub(super) fn hex32(bytes: &[u8; 32]) -> [u8; 64] {
    let mut text = [0; 64];
    // cannot fail: the sizes fit by type
    hex::encode_to_slice(bytes, &mut text).unwrap_or_default();
    text
}

/// Which hex characters are read.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Hex {
    /// AWS's signatures have one spelling only, so that no two texts mean one signature.
    Lower,
    /// Payload hashes are signed as they came.
    Either,
}

/// Reads 64 hex characters. All are looked at, whatever is wrong with the first: steps of many
/// bytes, the same for any text.
pub(super) fn unhex32(text: &[u8], hex: Hex) -> Option<[u8; 32]> {
    let (pairs, rest) = text.as_chunks::<2>();
    let pairs: &[[u8; 2]; 32] = pairs.try_into().ok().filter(|_| rest.is_empty())?;
    let sound = text.iter().fold(true, |sound, byte| {
        let upper = (hex == Hex::Either) & matches!(byte, b'A'..=b'F');
        sound & (matches!(byte, b'0'..=b'9' | b'a'..=b'f') | upper)
    });
    // of letters the low nibble is one less than the digit over nine
    let digit = |byte: u8| (byte & 0x0f) + 9 * (byte >> 6);
    sound.then(|| pairs.map(|[high, low]| digit(high) << 4 | digit(low)))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read(text: &str, hex: Hex) -> Option<[u8; 32]> {
        unhex32(text.as_bytes(), hex)
    }

    #[test]
    fn only_whole_digests_are_read() {
        let text = "0123456789abcdef".repeat(4);
        let bytes = read(&text, Hex::Lower);
        assert_eq!(bytes.map(|bytes| hex32(&bytes).to_vec()), Some(text.clone().into_bytes()));
        assert_eq!(read(&text.to_ascii_uppercase(), Hex::Lower), None);
        assert_eq!(read(&text.to_ascii_uppercase(), Hex::Either), bytes);
        for length in [0, 1, 62, 63, 65, 66] {
            let wrong: String = text.chars().cycle().take(length).collect();
            assert_eq!(read(&wrong, Hex::Either), None, "{wrong}");
        }
    }

    #[test]
    fn no_other_byte_is_a_digit() {
        for byte in u8::MIN..=u8::MAX {
            for at in [0, 1, 62, 63] {
                let mut text = [b'0'; 64];
                text[at] = byte;
                let digit = char::from(byte).is_ascii_hexdigit();
                assert_eq!(unhex32(&text, Hex::Either).is_some(), digit, "{byte}");
                assert_eq!(
                    unhex32(&text, Hex::Lower).is_some(),
                    digit && !byte.is_ascii_uppercase(),
                    "{byte}"
                );
            }
        }
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(bytes: [u8; 32]) {
            prop_assert_eq!(unhex32(&hex32(&bytes), Hex::Lower), Some(bytes));
            let upper = hex::encode_upper(bytes);
            prop_assert_eq!(read(&upper, Hex::Either), Some(bytes));
        }
    }
}
