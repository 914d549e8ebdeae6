//! The conditions of writes. Pure.
//!
//! Source: RFC 9110 §13; S3 honours the first two of the `If-Match` family on writes.

use crate::head::Head;

/// Whether a header (lower-case) makes a write conditional: then it is decided at home.
#[must_use]
pub fn conditions_write(header: &str) -> bool {
    matches!(
        header,
        "if-match"
            | "if-none-match"
            | "x-amz-if-match-initiated-time"
            | "x-amz-if-match-last-modified-time"
            | "x-amz-if-match-size"
            | "x-amz-object-if-match"
    )
}

/// The condition of a write.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum WriteCondition {
    /// It has none.
    #[default]
    None,
    /// Only where there is no such object: `If-None-Match: *`.
    Absent,
    /// Only upon one of these: `If-Match`, its list.
    Matches(String),
    /// Anything else, or more than one.
    Other,
}

impl WriteCondition {
    /// Reads a head.
    #[must_use]
    pub fn of(head: &Head) -> Self {
        let mut conditions = head.fields().filter(|field| conditions_write(field.name));
        match (conditions.next(), conditions.next()) {
            (None, _) => Self::None,
            (Some(only), None) => match (only.name, only.text().map(str::trim)) {
                ("if-none-match", Some("*")) => Self::Absent,
                ("if-match", Some(list)) => Self::Matches(list.to_owned()),
                _ => Self::Other,
            },
            (Some(_), Some(_)) => Self::Other,
        }
    }

    /// Whether it does not hold upon an object with this entity tag. False where that cannot be
    /// told.
    #[must_use]
    pub fn fails_upon(&self, etag: &str) -> bool {
        match self {
            Self::Absent => true,
            Self::Matches(list) => !etag.is_empty() && !etag.starts_with("W/") && !names(list, etag),
            Self::None | Self::Other => false,
        }
    }
}

/// Whether a list of entity tags (`"a", W/"b"`, or `*`) names this one. Weak tags never match, as
/// for `If-Match`; quotes may be missing, as some clients leave them out.
#[must_use]
pub fn names(list: &str, etag: &str) -> bool {
    let bare = |tag: &str| tag.trim().trim_matches('"').to_owned();
    if list.trim() == "*" {
        return true;
    }
    if etag.trim_start().starts_with("W/") {
        return false;
    }
    list.split(',').any(|tag| !tag.trim_start().starts_with("W/") && bare(tag) == bare(etag))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn conditions_of_writes_are_read_from_the_head() {
        let of = |fields: &[(&str, &str)]| {
            let mut head = Head::new(http::Method::PUT, "/b/k");
            for (name, value) in fields {
                head.push(name, value.as_bytes());
            }
            WriteCondition::of(&head)
        };
        assert_eq!(of(&[("if-modified-since", "x")]), WriteCondition::None);
        assert_eq!(of(&[("if-none-match", " * ")]), WriteCondition::Absent);
        assert_eq!(of(&[("if-match", "\"a\"")]), WriteCondition::Matches("\"a\"".into()));
        for other in [
            &[("if-none-match", "\"a\"")][..],
            &[("x-amz-if-match-size", "3")],
            &[("if-match", "\"a\""), ("x-amz-if-match-size", "3")],
        ] {
            assert_eq!(of(other), WriteCondition::Other, "{other:?}");
        }
    }

    #[test]
    fn a_condition_fails_upon_an_object_or_cannot_be_told() {
        let matches = WriteCondition::Matches("\"a\"".into());
        for (condition, etag, fails) in [
            (WriteCondition::None, "\"a\"", false),
            (WriteCondition::Other, "\"a\"", false),
            (WriteCondition::Absent, "\"a\"", true),
            (matches.clone(), "\"a\"", false),
            (matches.clone(), "\"b\"", true),
            (matches.clone(), "W/\"b\"", false),
            (matches, "", false),
        ] {
            assert_eq!(condition.fails_upon(etag), fails, "{condition:?} {etag}");
        }
    }

    #[test]
    fn lists_name_tags() {
        assert!(names("*", "\"a\""));
        assert!(names("\"b\", \"a\"", "\"a\""));
        assert!(names("a", "\"a\""));
        assert!(!names("W/\"a\"", "\"a\""));
        assert!(!names("\"a\"", "W/\"a\""));
        assert!(!names("\"ab\"", "\"a\""));
    }
}
