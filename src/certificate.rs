//! The end of a certificate's validity, read from its DER (RFC 5280 §4.1). Pure.
//!
//! Just enough ASN.1 to walk to one date: a full parser is a dependency too many for a gauge.

use jiff::civil::DateTime;
use jiff::tz::Offset;

use crate::units::UnixSeconds;

const SEQUENCE: u8 = 0x30;
const EXPLICIT_VERSION: u8 = 0xa0;
const UTC_TIME: u8 = 0x17;
const GENERALIZED_TIME: u8 = 0x18;

/// `notAfter` of a DER certificate; `None` where it does not read as one.
#[must_use]
pub fn expiry(certificate: &[u8]) -> Option<UnixSeconds> {
    let (body, _) = element(certificate, SEQUENCE)?;
    let (mut rest, _) = element(body, SEQUENCE)?;
    if rest.first() == Some(&EXPLICIT_VERSION) {
        rest = skip(rest)?;
    }
    // serialNumber, signature, issuer
    let rest = skip(skip(skip(rest)?)?)?;
    let (validity, _) = element(rest, SEQUENCE)?;
    let not_after = skip(validity)?;
    let (tag, text, _) = first(not_after)?;
    let text = std::str::from_utf8(text).ok()?;
    match tag {
        UTC_TIME => {
            let years: u8 = text.get(..2)?.parse().ok()?;
            let century = if years < 50 { "20" } else { "19" };
            seconds(&format!("{century}{text}"))
        }
        GENERALIZED_TIME => seconds(text),
        _ => None,
    }
}

/// `YYYYMMDDHHMMSSZ`, the one form that RFC 5280 allows.
fn seconds(text: &str) -> Option<UnixSeconds> {
    let date = DateTime::strptime("%Y%m%d%H%M%SZ", text).ok()?;
    Some(UnixSeconds(Offset::UTC.to_timestamp(date).ok()?.as_second()))
}

/// The content of the first element, which must have this tag, and what follows it.
fn element(der: &[u8], tag: u8) -> Option<(&[u8], &[u8])> {
    first(der).filter(|(found, ..)| *found == tag).map(|(_, content, rest)| (content, rest))
}

fn skip(der: &[u8]) -> Option<&[u8]> {
    first(der).map(|(.., rest)| rest)
}

/// Tag, content and what follows.
fn first(der: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let (tag, rest) = der.split_first()?;
    let (first, rest) = rest.split_first()?;
    let (length, rest) = match first {
        0..=0x7f => (usize::from(*first), rest),
        0x81..=0x84 => {
            let (bytes, rest) = rest.split_at_checked(usize::from(first & 0x7f))?;
            (bytes.iter().fold(0_usize, |sum, byte| sum << 8 | usize::from(*byte)), rest)
        }
        _ => return None,
    };
    let (content, rest) = rest.split_at_checked(length)?;
    Some((*tag, content, rest))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::listen::authority::Authority;

    #[test]
    fn the_date_is_the_one_it_was_made_with() {
        // rcgen's default `notAfter` is 4096-01-01, which takes a GeneralizedTime
        assert_eq!(expiry(&Authority::new().der()), Some(UnixSeconds(67_090_118_400)));
        let soon = Authority::valid_until(2031, 2, 3);
        assert_eq!(expiry(&soon.der()), Some(UnixSeconds(1_927_843_200)));
    }

    proptest! {
        #[test]
        fn no_bytes_break_it(bytes in prop::collection::vec(any::<u8>(), 0..64), at in 0_usize..300, byte in any::<u8>()) {
            let bounded = |end: UnixSeconds| end.0.abs() < 1 << 40;
            prop_assert!(expiry(&bytes).is_none_or(bounded));
            let mut certificate = Authority::fixed();
            if let Some(slot) = certificate.get_mut(at) {
                *slot = byte;
            }
            prop_assert!(expiry(&certificate).is_none_or(bounded));
        }
    }
}
