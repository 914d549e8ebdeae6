//! A bucket's policy in the client's words: its own bucket is what the client calls it, and nothing
//! else that is physical may be in it. Pure.
//!
//! A policy says who may go to the bucket round nearpoint. What names accounts, other buckets or
//! any other resource of the store's vendor cannot be said in the client's words, and a policy with
//! parts left out would be another policy: it is refused as a whole.

use serde_json::{Map, Value};

/// Digits of an account's number.
const ACCOUNT: usize = 12;

/// Hexadecimal digits of an account's canonical id.
const CANONICAL: usize = 64;

/// Why a policy is not told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Untellable {
    /// Not a JSON object.
    #[error("the policy is not a JSON object")]
    NotJson,
    /// It names who may do something, and that is not everybody.
    #[error("the policy names principals")]
    Principal,
    /// It names a bucket that is not the access point's, or another resource.
    #[error("the policy names another bucket or resource")]
    Resource,
    /// It names an account.
    #[error("the policy names an account")]
    Account,
}

/// The policy of the bucket `physical` as those see it who call that bucket `logical`.
///
/// # Errors
/// [`Untellable`].
pub fn in_clients_words(document: &[u8], physical: &str, logical: &str) -> Result<String, Untellable> {
    let policy = serde_json::from_slice(document).map_err(|_| Untellable::NotJson)?;
    let Value::Object(policy) = policy else { return Err(Untellable::NotJson) };
    let names = Names { physical, logical };
    Ok(Value::Object(names.object(policy)?).to_string())
}

struct Names<'a> {
    physical: &'a str,
    logical: &'a str,
}

impl Names<'_> {
    fn object(&self, fields: Map<String, Value>) -> Result<Map<String, Value>, Untellable> {
        let said = fields.into_iter().map(|(name, value)| {
            self.refuse_physical(&name)?;
            let value = match (name.as_str(), value) {
                ("Principal" | "NotPrincipal", value) => everybody(value)?,
                // Labels: whatever they say, they name nothing.
                ("Id" | "Sid", Value::String(label)) => {
                    Value::String(self.text(label.replace(self.physical, self.logical))?)
                }
                (_, value) => self.value(value)?,
            };
            Ok((name, value))
        });
        said.collect()
    }

    fn value(&self, value: Value) -> Result<Value, Untellable> {
        Ok(match value {
            Value::String(text) => Value::String(self.text(text)?),
            Value::Array(values) => {
                Value::Array(values.into_iter().map(|value| self.value(value)).collect::<Result<_, _>>()?)
            }
            Value::Object(fields) => Value::Object(self.object(fields)?),
            Value::Number(number) => {
                self.refuse_physical(&number.to_string())?;
                Value::Number(number)
            }
            Value::Bool(_) | Value::Null => value,
        })
    }

    fn text(&self, text: String) -> Result<String, Untellable> {
        if let Some(resource) = text.strip_prefix("arn:") {
            return self.resource(resource);
        }
        if text == self.physical {
            return Ok(self.logical.to_owned());
        }
        self.refuse_physical(&text)?;
        Ok(text)
    }

    /// What follows `arn:`; of S3's only `aws:s3:::bucket/key`.
    fn resource(&self, arn: &str) -> Result<String, Untellable> {
        let (partition, path) = arn.split_once(":s3:::").ok_or(Untellable::Resource)?;
        let end = path.find('/').unwrap_or(path.len());
        let (bucket, key) = path.split_at(end);
        let plain = partition.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'-');
        if !plain || (bucket != self.physical && bucket != "*") {
            return Err(Untellable::Resource);
        }
        self.refuse_physical(key)?;
        let bucket = if bucket == self.physical { self.logical } else { bucket };
        Ok(format!("arn:{partition}:s3:::{bucket}{key}"))
    }

    fn refuse_physical(&self, text: &str) -> Result<(), Untellable> {
        if self.physical != self.logical && text.contains(self.physical) {
            return Err(Untellable::Resource);
        }
        let digits = |word: &str| word.len() == ACCOUNT && word.bytes().all(|byte| byte.is_ascii_digit());
        let canonical =
            |word: &str| word.len() == CANONICAL && word.bytes().all(|byte| byte.is_ascii_hexdigit());
        let words = || text.split(|c: char| !c.is_ascii_alphanumeric());
        if words().any(|word| digits(word) || canonical(word)) || text.contains("arn:") {
            return Err(Untellable::Account);
        }
        Ok(())
    }
}

/// A principal, if it is everybody.
fn everybody(principal: Value) -> Result<Value, Untellable> {
    let star = |value: &Value| match value {
        Value::String(text) => text == "*",
        Value::Array(all) => all.iter().all(|one| one == "*"),
        _ => false,
    };
    let everybody = match &principal {
        Value::Object(kinds) => kinds.iter().all(|(kind, value)| kind == "AWS" && star(value)),
        other => star(other),
    };
    if everybody { Ok(principal) } else { Err(Untellable::Principal) }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn said(policy: &Value) -> Result<Value, Untellable> {
        let said = in_clients_words(policy.to_string().as_bytes(), "photos-fra", "photos")?;
        Ok(serde_json::from_str(&said).unwrap())
    }

    #[test]
    fn the_bucket_is_the_access_point() {
        let policy = |bucket: &str, id: &str| {
            json!({
                "Version": "2012-10-17",
                "Id": format!("policy-of-{id}"),
                "Statement": [
                    {
                        "Sid": "everybody", "Effect": "Allow", "Principal": "*", "Action": "s3:GetObject",
                        "Resource": [format!("arn:aws:s3:::{bucket}"), format!("arn:aws:s3:::{bucket}/a/*")],
                        "Condition": {"IpAddress": {"aws:SourceIp": ["192.0.2.0/24", "2001:db8::/32"]}}
                    },
                    {
                        "Effect": "Deny", "Principal": {"AWS": ["*"]}, "NotAction": ["s3:Get*"],
                        "Resource": "arn:aws:s3:::*",
                        "Condition": {"StringEquals": {"s3:prefix": bucket}, "Bool": {"aws:SecureTransport": false}}
                    }
                ]
            })
        };
        assert_eq!(said(&policy("photos-fra", "photos-fra")), Ok(policy("photos", "photos")));
    }

    #[test]
    fn what_the_client_has_no_words_for_is_not_told() {
        let with = |name: &str, value: Value| {
            let mut statement = json!({
                "Effect": "Allow", "Principal": "*", "Action": "s3:*", "Resource": "arn:aws:s3:::photos-fra/*"
            });
            statement[name] = value;
            json!({"Statement": [statement]})
        };
        for (name, value, wanted) in [
            ("Principal", json!({"AWS": "arn:aws:iam::111122223333:root"}), Untellable::Principal),
            ("Principal", json!({"AWS": ["*", "111122223333"]}), Untellable::Principal),
            ("Principal", json!({"AWS": "arn:aws:iam:::user/alice"}), Untellable::Principal),
            ("Principal", json!({"CanonicalUser": "a".repeat(64)}), Untellable::Principal),
            ("NotPrincipal", json!({"Service": "logging.s3.amazonaws.com"}), Untellable::Principal),
            ("Resource", json!("arn:aws:s3:::photos-osl/*"), Untellable::Resource),
            ("Resource", json!(["arn:aws:s3:::photos-fra-logs/*"]), Untellable::Resource),
            ("Resource", json!("arn:aws:s3:::photos-*"), Untellable::Resource),
            ("Resource", json!("arn:aws:s3:::*/photos-fra/*"), Untellable::Resource),
            ("Resource", json!("arn:aws:s3:eu-central-1:111122223333:accesspoint/x"), Untellable::Resource),
            (
                "Condition",
                json!({"StringEquals": {"aws:SourceAccount": "111122223333"}}),
                Untellable::Account,
            ),
            ("Condition", json!({"NumericEquals": {"x": 111_122_223_333_u64}}), Untellable::Account),
            ("Condition", json!({"StringLike": {"x": "user/111122223333/*"}}), Untellable::Account),
            (
                "Condition",
                json!({"StringLike": {"aws:Referer": "http://photos-fra.s3.test/*"}}),
                Untellable::Resource,
            ),
            ("Condition", json!({"ArnLike": {"aws:SourceArn": "arn:aws:sns:*:*:x"}}), Untellable::Resource),
            ("Condition", json!({"StringLike": {"x": "of arn:aws:iam::1:user/x"}}), Untellable::Account),
            ("Condition", json!({"StringEquals": {"photos-fra": "x"}}), Untellable::Resource),
            ("Sid", json!("of111122223333 111122223333"), Untellable::Account),
        ] {
            assert_eq!(said(&with(name, value.clone())), Err(wanted), "{name}: {value}");
        }
        for text in ["", "[]", "{", "\"photos-fra\""] {
            assert_eq!(in_clients_words(text.as_bytes(), "a", "b"), Err(Untellable::NotJson), "{text}");
        }
    }

    #[test]
    fn a_bucket_that_is_called_as_the_access_point_is_no_secret() {
        let policy = json!({"Statement": [{"Resource": "arn:aws:s3:::photos/photos/*", "Principal": "*"}]});
        let said = in_clients_words(policy.to_string().as_bytes(), "photos", "photos").unwrap();
        assert_eq!(serde_json::from_str::<Value>(&said).unwrap(), policy);
    }
}
