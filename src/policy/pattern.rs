//! IAM's wildcards: `*` is any run of characters, `/` included; `?` is any one character.

/// Whether letters' case counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Case {
    /// Resources.
    Counts,
    /// Actions.
    Folds,
}

/// Whether `text` is of the form `pattern`. Takes at most `pattern.len() * text.len()` steps.
pub(super) fn matches(pattern: &[u8], text: &[u8], case: Case) -> bool {
    let (mut at_pattern, mut at_text) = (0, 0);
    // Where to go on once the run that the last star stands for has to grow.
    let mut star: Option<(usize, usize)> = None;
    while let Some(&byte) = text.get(at_text) {
        match pattern.get(at_pattern) {
            // whatever comes
            Some(b'*') if at_pattern + 1 == pattern.len() => return true,
            Some(b'*') => {
                at_pattern += 1;
                star = Some((at_pattern, at_text));
            }
            Some(b'?') => {
                at_pattern += 1;
                at_text += width(text, at_text);
            }
            Some(&wanted) if same(wanted, byte, case) => {
                at_pattern += 1;
                at_text += 1;
            }
            _ => {
                let Some((after_star, run_end)) = star else { return false };
                let run_end = run_end + width(text, run_end);
                star = Some((after_star, run_end));
                at_pattern = after_star;
                at_text = run_end;
            }
        }
    }
    pattern.iter().skip(at_pattern).all(|byte| *byte == b'*')
}

fn same(wanted: u8, byte: u8, case: Case) -> bool {
    match case {
        Case::Counts => wanted == byte,
        Case::Folds => wanted.eq_ignore_ascii_case(&byte),
    }
}

/// Bytes of the character that begins here; 1 where the bytes are no UTF-8.
fn width(text: &[u8], at: usize) -> usize {
    const LEAD: u8 = 0xC0;
    if text.get(at).is_none_or(|byte| *byte < LEAD) {
        return 1;
    }
    let follow = text.iter().skip(at + 1).take(3).take_while(|byte| **byte & LEAD == 0x80).count();
    1 + follow
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn counts(pattern: &str, text: &str) -> bool {
        matches(pattern.as_bytes(), text.as_bytes(), Case::Counts)
    }

    #[test]
    fn wildcards_match_as_iam_says() {
        for (pattern, text, expected) in [
            ("", "", true),
            ("", "a", false),
            ("*", "", true),
            ("**", "a/b", true),
            ("a*c", "ac", true),
            ("a*c", "a/b/c", true),
            ("a*c", "acb", false),
            ("photos/*", "photos/a", true),
            ("photos/*", "photos/", true),
            ("photos/*", "photos", false),
            ("photos", "photos/a", false),
            ("data/*", "data-private/a", false),
            ("*a*b*", "xxaxxbxx", true),
            ("*.jpg", "a.jpg.jpg", true),
            ("?", "é", true),
            ("??", "é", false),
            ("*??xy", "€xy", false),
            ("*?xy", "€xy", true),
            ("a?", "a", false),
            ("A", "a", false),
        ] {
            assert_eq!(counts(pattern, text), expected, "{pattern} on {text}");
        }
        assert!(matches(b"s3:get*", b"s3:GetObject", Case::Folds));
    }

    /// By the definition, exponential: the oracle.
    fn naive(pattern: &[char], text: &[char]) -> bool {
        match (pattern.split_first(), text.split_first()) {
            (None, None) => true,
            (Some(('*', rest)), None) => naive(rest, text),
            (Some(('*', rest)), Some((_, tail))) => naive(rest, text) || naive(pattern, tail),
            (Some(('?', rest)), Some((_, tail))) => naive(rest, tail),
            (Some((p, rest)), Some((t, tail))) => p == t && naive(rest, tail),
            _ => false,
        }
    }

    proptest! {
        #[test]
        fn agrees_with_the_definition(pattern in "[ab?*é/]{0,8}", text in "[abé€/]{0,10}") {
            let (p, t): (Vec<char>, Vec<char>) = (pattern.chars().collect(), text.chars().collect());
            prop_assert_eq!(counts(&pattern, &text), naive(&p, &t));
        }

        #[test]
        fn never_panics_on_any_bytes(pattern: Vec<u8>, text: Vec<u8>) {
            matches(&pattern, &text, Case::Folds);
        }
    }
}
