//! The policy of a form: what its signer lets be uploaded. Every field must be covered by a condition,
//! and every condition must hold.
//!
//! Source: "Creating a POST Policy" of the S3 API reference. The bucket is a field that every form
//! has: a policy without it would be good for any bucket.

use std::collections::HashSet;
use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use serde::Deserialize;
use serde::de::{Deserializer, Error as _, MapAccess, SeqAccess, Visitor};
use serde_json::Value;

use super::fields::Form;
use crate::s3::{Code, Malformed};
use crate::units::UnixSeconds;

/// Fields that no condition need cover: the signature is of the policy, and the file is not text.
const NOT_COVERED: [&str; 5] = ["awsaccesskeyid", "file", "policy", "signature", "x-amz-signature"];
/// Fields that are for whoever wrote the form.
const IGNORED: &str = "x-ignore-";

/// A policy, read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policy {
    expires: UnixSeconds,
    conditions: Vec<Condition>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Condition {
    Field { operator: Operator, field: String, value: String },
    Size(SizeRange),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Operator {
    Equals,
    StartsWith,
}

/// How large the file may be, in bytes, both ends included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SizeRange {
    min: u64,
    max: u64,
}

/// Why a file's size is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OutOfRange {
    /// Above this many bytes.
    TooLarge(u64),
    /// Below this many bytes.
    TooSmall(u64),
}

impl SizeRange {
    /// Any size.
    pub const ANY: Self = Self { min: 0, max: u64::MAX };

    /// Judges a file of so many bytes.
    ///
    /// # Errors
    /// [`OutOfRange`].
    pub fn judge(self, size: u64) -> Result<(), OutOfRange> {
        if size > self.max {
            return Err(OutOfRange::TooLarge(self.max));
        }
        if size < self.min { Err(OutOfRange::TooSmall(self.min)) } else { Ok(()) }
    }

    fn and(self, other: Self) -> Self {
        Self { min: self.min.max(other.min), max: self.max.min(other.max) }
    }
}

impl Policy {
    /// Reads the field `policy`: JSON in base64.
    ///
    /// # Errors
    /// `InvalidPolicyDocument`.
    pub fn parse(field: &str) -> Result<Self, Malformed> {
        let text: Vec<u8> = field.bytes().filter(|byte| !byte.is_ascii_whitespace()).collect();
        let json = STANDARD.decode(text).ok().and_then(|json| String::from_utf8(json).ok());
        let json = json.ok_or_else(|| invalid(NOT_JSON))?;
        let document: Document = serde_json::from_str(&plain_json(&json)).map_err(|error| {
            if error.is_data() { invalid(&format!("Invalid Policy: {error}")) } else { invalid(NOT_JSON) }
        })?;
        let expires = expiration(&document.expiration).ok_or_else(|| {
            invalid(&format!("Invalid Policy: Invalid 'expiration' value: '{}'", document.expiration))
        })?;
        Ok(Self { expires, conditions: document.conditions })
    }

    /// Judges the fields of a form for this bucket, as the client names it. What is left to judge is
    /// the size of its file.
    ///
    /// # Errors
    /// `AccessDenied`, with the first condition that fails or the first field that none covers.
    pub fn judge(&self, form: &Form, bucket: &str, now: UnixSeconds) -> Result<SizeRange, Malformed> {
        if now > self.expires {
            return Err(against("Policy expired."));
        }
        let mut range = SizeRange::ANY;
        let mut covered = HashSet::new();
        for condition in &self.conditions {
            match condition {
                Condition::Size(size) => range = range.and(*size),
                Condition::Field { operator, field, value } => {
                    let name = field.strip_prefix('$').map(str::to_ascii_lowercase);
                    let holds = name.as_deref().is_some_and(|name| {
                        let seen = if name == "bucket" { Some(bucket) } else { form.value(name) };
                        operator.holds(name, seen.unwrap_or_default(), value)
                    });
                    if !holds {
                        return Err(against(&format!("Policy Condition failed: {condition}")));
                    }
                    covered.extend(name);
                }
            }
        }
        let needs = |name: &str| !NOT_COVERED.contains(&name) && !name.starts_with(IGNORED);
        let mut names = std::iter::once("bucket").chain(form.fields().map(|(name, _)| name));
        match names.find(|name| needs(name) && !covered.contains(*name)) {
            Some(name) => Err(against(&format!("Extra input fields: {name}"))),
            None => Ok(range),
        }
    }
}

impl Operator {
    fn holds(self, name: &str, seen: &str, wanted: &str) -> bool {
        match self {
            Self::Equals => seen == wanted,
            // each of a list
            Self::StartsWith if name == "content-type" => {
                seen.split(',').all(|one| one.trim_start().starts_with(wanted))
            }
            Self::StartsWith => seen.starts_with(wanted),
        }
    }
}

impl fmt::Display for Condition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Field { operator, field, value } => {
                let operator = match operator {
                    Operator::Equals => "eq",
                    Operator::StartsWith => "starts-with",
                };
                let (field, value) = (Value::from(field.as_str()), Value::from(value.as_str()));
                write!(f, "[\"{operator}\", {field}, {value}]")
            }
            Self::Size(range) => write!(f, "[\"content-length-range\", {}, {}]", range.min, range.max),
        }
    }
}

const NOT_JSON: &str = "Invalid Policy: Invalid JSON.";

fn invalid(detail: &str) -> Malformed {
    Malformed::because(Code::InvalidPolicyDocument, detail.to_owned())
}

fn against(detail: &str) -> Malformed {
    Malformed::because(Code::AccessDenied, format!("Invalid according to Policy: {detail}"))
}

/// A time in UTC (`2007-12-01T12:00:00.000Z`).
fn expiration(text: &str) -> Option<UnixSeconds> {
    let written = text.contains('T') && text.ends_with('Z');
    let at: Timestamp = text.parse().ok().filter(|_| written)?;
    Some(UnixSeconds(at.as_second()))
}

/// Without the two escapes that policies have and JSON has not: `\$` is a dollar sign, `\v` a
/// vertical tab.
fn plain_json(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut characters = text.chars();
    while let Some(character) = characters.next() {
        if character != '\\' {
            out.push(character);
            continue;
        }
        match characters.next() {
            Some('$') => out.push('$'),
            Some('v') => out.push_str("\\u000b"),
            Some(escaped) => out.extend(['\\', escaped]),
            None => out.push('\\'),
        }
    }
    out
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Document {
    expiration: String,
    conditions: Vec<Condition>,
}

impl<'de> Deserialize<'de> for Condition {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ConditionVisitor)
    }
}

struct ConditionVisitor;

impl<'de> Visitor<'de> for ConditionVisitor {
    type Value = Condition;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a condition: an object of one property or a list of three")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Condition, A::Error> {
        const ONE: &str =
            "Invalid Simple-Condition: Simple-Conditions must have exactly one property specified.";
        let (name, value) = map.next_entry::<String, String>()?.ok_or_else(|| A::Error::custom(ONE))?;
        if map.next_key::<String>()?.is_some() {
            return Err(A::Error::custom(ONE));
        }
        Ok(Condition::Field { operator: Operator::Equals, field: format!("${name}"), value })
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Condition, A::Error> {
        const THREE: &str = "a condition that is a list has three elements";
        let missing = || A::Error::custom(THREE);
        let operator: String = list.next_element()?.ok_or_else(missing)?;
        let condition = if operator.eq_ignore_ascii_case("content-length-range") {
            let mut size = || -> Result<u64, A::Error> {
                let size = list.next_element::<Value>()?.ok_or_else(missing)?;
                size_of(&size).ok_or_else(|| A::Error::custom("a size is no number of bytes"))
            };
            Condition::Size(SizeRange { min: size()?, max: size()? })
        } else {
            let operators = [("eq", Operator::Equals), ("starts-with", Operator::StartsWith)];
            let known = operators.into_iter().find(|(name, _)| operator.eq_ignore_ascii_case(name));
            let (_, operator) = known.ok_or_else(|| A::Error::custom("an operator that S3 does not have"))?;
            let field = list.next_element()?.ok_or_else(missing)?;
            Condition::Field { operator, field, value: list.next_element()?.ok_or_else(missing)? }
        };
        if list.next_element::<Value>()?.is_some() { Err(missing()) } else { Ok(condition) }
    }
}

/// A number, or one in text.
fn size_of(value: &Value) -> Option<u64> {
    match value {
        Value::Number(number) => number.as_u64(),
        Value::String(text) if text.bytes().all(|byte| byte.is_ascii_digit()) => text.parse().ok(),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: UnixSeconds = UnixSeconds(1_700_000_000);

    fn form(fields: &[(&str, &str)]) -> Form {
        let mut form = Form::default();
        for (name, value) in fields {
            form.add(name, (*value).to_owned()).unwrap();
        }
        form
    }

    fn policy(conditions: &str) -> Result<Policy, Malformed> {
        let json = format!(r#"{{"expiration": "2999-01-01T00:00:00Z", "conditions": [{conditions}]}}"#);
        Policy::parse(&STANDARD.encode(json))
    }

    /// What becomes of a form under these conditions, beside one for the bucket `photos`.
    fn judged(conditions: &str, fields: &[(&str, &str)]) -> Result<SizeRange, String> {
        let conditions =
            format!(r#"{{"bucket": "photos"}}{}{conditions}"#, if conditions.is_empty() { "" } else { "," });
        let policy = policy(&conditions).expect("a policy");
        policy.judge(&form(fields), "photos", NOW).map_err(|fault| fault.detail.into_owned())
    }

    /// Conditions, fields, and what is said.
    type Failing<'a> = (&'a str, &'a [(&'a str, &'a str)], &'a str);

    #[test]
    fn conditions_hold_or_say_which_does_not() {
        let images = r#"["starts-with", "$Content-Type", "image/"]"#;
        let key = r#"["starts-with", "$key", "user/"]"#;
        let holds: &[(&str, &[(&str, &str)])] = &[
            (r#"{"key": "k"}"#, &[("KEY", "k")]),
            (r#"{"kEy": "k"}"#, &[("key", "k")]),
            (r#"["EQ", "$key", "k"]"#, &[("key", "k")]),
            (r#"["StArTs-WiTh", "$KeY", "user/"]"#, &[("key", "user/a")]),
            (images, &[("Content-Type", "image/png")]),
            (images, &[("Content-Type", "image/png, image/gif")]),
            (r#"["starts-with", "$acl", ""]"#, &[]),
            (r#"["starts-with", "$acl", ""]"#, &[("acl", "public-read")]),
            (r#"{"key": "\$k"}"#, &[("key", "$k")]),
            (r#"{"key": "\\$k"}"#, &[("key", "\\$k")]),
            ("", &[("X-Ignore-Me", "1"), ("policy", "p"), ("x-amz-signature", "s")]),
        ];
        for (conditions, fields) in holds {
            assert_eq!(judged(conditions, fields), Ok(SizeRange::ANY), "{conditions} {fields:?}");
        }
        let fails: &[Failing<'_>] = &[
            (r#"{"key": "k"}"#, &[("key", "K")], r#"Policy Condition failed: ["eq", "$key", "k"]"#),
            (r#"["eq", "$acl", "x"]"#, &[], r#"Policy Condition failed: ["eq", "$acl", "x"]"#),
            (r#"["eq", "key", "k"]"#, &[("key", "k")], r#"Policy Condition failed: ["eq", "key", "k"]"#),
            (key, &[("key", "users")], r#"Policy Condition failed: ["starts-with", "$key", "user/"]"#),
            (images, &[("content-type", "image/png,text/html")], "Policy Condition failed: "),
            (r#"{"bucket": "other"}"#, &[], r#"Policy Condition failed: ["eq", "$bucket", "other"]"#),
            (key, &[("key", "user/a"), ("ACL", "public-read")], "Extra input fields: acl"),
            ("", &[("x-amz-date", "d")], "Extra input fields: x-amz-date"),
            ("", &[("key", "k")], "Extra input fields: key"),
        ];
        for (conditions, fields, expected) in fails {
            let said = judged(conditions, fields).expect_err(conditions);
            assert!(said.starts_with(&format!("Invalid according to Policy: {expected}")), "{said}");
        }
    }

    #[test]
    fn a_policy_is_good_for_the_bucket_it_names_only() {
        let key = [("key", "k"), ("bucket", "photos")];
        let any = policy(r#"["starts-with", "$key", ""]"#).unwrap();
        assert!(any.judge(&form(&key[..1]), "photos", NOW).is_err(), "no bucket is none");
        let bound = policy(r#"["starts-with", "$key", ""], {"bucket": "photos"}"#).unwrap();
        assert!(bound.judge(&form(&key), "photos", NOW).is_ok());
        assert!(bound.judge(&form(&key), "vault", NOW).is_err(), "whatever a field says");
    }

    #[test]
    fn a_policy_ends() {
        let bound = policy(r#"{"bucket": "photos"}"#).unwrap();
        let end = expiration("2999-01-01T00:00:00Z").unwrap();
        assert!(bound.judge(&Form::default(), "photos", end).is_ok());
        let later = bound.judge(&Form::default(), "photos", UnixSeconds(end.0 + 1)).unwrap_err();
        assert_eq!(
            (later.code, &*later.detail),
            (Code::AccessDenied, "Invalid according to Policy: Policy expired.")
        );
    }

    #[test]
    fn sizes_are_judged_at_both_ends_and_by_every_range() {
        let range = judged(r#"["content-length-range", 5, "10"]"#, &[]).unwrap();
        assert_eq!(
            [4, 5, 10, 11].map(|size| range.judge(size)),
            [Err(OutOfRange::TooSmall(5)), Ok(()), Ok(()), Err(OutOfRange::TooLarge(10)),]
        );
        let both = judged(r#"["content-length-range", 0, 8], ["Content-Length-Range", 6, 10]"#, &[]).unwrap();
        assert_eq!(
            (both.judge(5), both.judge(9)),
            (Err(OutOfRange::TooSmall(6)), Err(OutOfRange::TooLarge(8)))
        );
    }

    #[test]
    fn what_is_no_policy_is_refused() {
        let whole = |json: &str| Policy::parse(&STANDARD.encode(json));
        let conditions = r#""conditions": []"#;
        for json in [
            "expiration",
            "[]",
            "{}",
            r#"{"expiration": "2999-01-01T00:00:00Z"}"#,
            &format!("{{{conditions}}}"),
            &format!(r#"{{"EXPIRATION": "2999-01-01T00:00:00Z", {conditions}}}"#),
            &format!(r#"{{"expiration": "2999-01-01T00:00:00Z", {conditions}, {conditions}}}"#),
            &format!(r#"{{"expiration": "2999-01-01 00:00:00", {conditions}}}"#),
            &format!(r#"{{"expiration": "2999-01-01T00:00:00+00:00", {conditions}}}"#),
            &format!(r#"{{"expiration": "2999-02-30T00:00:00Z", {conditions}}}"#),
            &format!(r#"{{"expiration": 32503680000, {conditions}}}"#),
        ] {
            assert_eq!(whole(json).map_err(|fault| fault.code), Err(Code::InvalidPolicyDocument), "{json}");
        }
        assert_eq!(Policy::parse("{policy}").map_err(|fault| fault.code), Err(Code::InvalidPolicyDocument));
        for condition in [
            "{}",
            r#"{"acl": "private", "key": "k"}"#,
            r#"{"acl": "private", "acl": "public-read"}"#,
            r#"{"acl": 1}"#,
            r#""bucket""#,
            r#"["eq", "$key"]"#,
            r#"["eq", "$key", "k", "l"]"#,
            r#"["ends-with", "$key", "k"]"#,
            r#"["content-length-range", 0]"#,
            r#"["content-length-range", -1, 0]"#,
            r#"["content-length-range", 0, "x"]"#,
            r#"["content-length-range", 0, 1.5]"#,
        ] {
            assert_eq!(
                policy(condition).map_err(|fault| fault.code),
                Err(Code::InvalidPolicyDocument),
                "{condition}"
            );
        }
    }

    #[test]
    fn the_documented_policy_is_read() {
        let documented = "{ \"expiration\": \"2015-12-30T12:00:00.000Z\",\r\n  \"conditions\": [\r\n    \
            {\"bucket\": \"sigv4examplebucket\"},\r\n    [\"starts-with\", \"$key\", \"user/user1/\"],\r\n    \
            {\"acl\": \"public-read\"},\r\n    [\"starts-with\", \"$x-amz-meta-tag\", \"\"]\r\n  ]\r\n}\r\n";
        let policy = Policy::parse(&STANDARD.encode(documented)).unwrap();
        let form = form(&[("key", "user/user1/photo.jpg"), ("acl", "public-read"), ("x-amz-meta-tag", "")]);
        assert!(policy.judge(&form, "sigv4examplebucket", UnixSeconds(1_451_347_200)).is_ok());
    }
}
