//! The fields of a form, by name in any case.

use crate::head::strict::METADATA_PREFIX;
use crate::s3::{Code, Malformed};

/// Most fields before the file: more than a head may have.
pub(super) const FIELDS_COUNT_MAX: usize = 128;
/// What fields may say instead of the file's name.
const FILE_NAME: &str = "${filename}";

/// Fields that say who signed which policy: they mean what they are, whatever the file is called.
const AUTHENTICATION: [&str; 9] = [
    "awsaccesskeyid",
    "policy",
    "signature",
    "x-amz-algorithm",
    "x-amz-credential",
    "x-amz-date",
    "x-amz-region-set",
    "x-amz-security-token",
    "x-amz-signature",
];

/// The fields before a form's file, and what the file is called.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Form {
    /// Lower-case names, each once, in order.
    fields: Vec<(String, String)>,
    /// As the form names it; empty where it does not.
    pub file_name: String,
}

impl Form {
    /// Adds a field. Metadata may be repeated and is joined, as in a head.
    pub(super) fn add(&mut self, name: &str, value: String) -> Result<(), Malformed> {
        let name = name.to_ascii_lowercase();
        if let Some((_, earlier)) = self.fields.iter_mut().find(|(own, _)| *own == name) {
            if !name.starts_with(METADATA_PREFIX) {
                return Err(Malformed::argument(
                    "field",
                    &name,
                    "A field of the form occurs more than once.",
                ));
            }
            earlier.push(',');
            earlier.push_str(&value);
            return Ok(());
        }
        if self.fields.len() >= FIELDS_COUNT_MAX {
            return Err(Malformed::new(Code::MaxPostPreDataLengthExceededError));
        }
        self.fields.push((name, value));
        Ok(())
    }

    /// Puts the file's name, without its folders, wherever fields ask for it.
    pub(super) fn insert_file_name(&mut self) {
        let name = self.file_name.rsplit(['/', '\\']).next().unwrap_or_default();
        for (field, value) in &mut self.fields {
            if value.contains(FILE_NAME) && !AUTHENTICATION.contains(&field.as_str()) {
                *value = value.replace(FILE_NAME, name);
            }
        }
    }

    /// The value of a field (lower-case).
    #[must_use]
    pub fn value(&self, name: &str) -> Option<&str> {
        self.fields.iter().find(|(own, _)| own == name).map(|(_, value)| value.as_str())
    }

    /// All of them: lower-case names and values.
    pub fn fields(&self) -> impl Iterator<Item = (&str, &str)> {
        self.fields.iter().map(|(name, value)| (name.as_str(), value.as_str()))
    }

    /// Whether any of them says by whom the form is allowed.
    #[must_use]
    pub fn claims_a_sender(&self) -> bool {
        self.fields.iter().any(|(name, _)| AUTHENTICATION.contains(&name.as_str()) && name != "x-amz-date")
    }
}

/// Whether a field is of the authentication.
pub(super) fn authenticates(name: &str) -> bool {
    AUTHENTICATION.contains(&name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn form(fields: &[(&str, &str)], file_name: &str) -> Form {
        let mut form = Form { file_name: file_name.to_owned(), ..Form::default() };
        for (name, value) in fields {
            form.add(name, (*value).to_owned()).unwrap();
        }
        form.insert_file_name();
        form
    }

    #[test]
    fn the_file_name_stands_where_it_is_asked_for() {
        let fields = [
            ("Key", "in/${filename}"),
            ("x-amz-meta-names", "${filename},${filename}"),
            ("policy", "${filename}"),
            ("X-Amz-Signature", "${filename}"),
        ];
        for (file_name, name) in
            [("a.txt", "a.txt"), ("dir/b\\c.txt", "c.txt"), ("C:\\d.txt", "d.txt"), ("", "")]
        {
            let form = form(&fields, file_name);
            assert_eq!(form.value("key"), Some(format!("in/{name}").as_str()));
            assert_eq!(form.value("x-amz-meta-names"), Some(format!("{name},{name}").as_str()));
            assert_eq!(form.value("policy"), Some(FILE_NAME));
            assert_eq!(form.value("x-amz-signature"), Some(FILE_NAME));
        }
    }

    #[test]
    fn metadata_may_be_repeated_and_nothing_else() {
        let form = form(&[("x-amz-meta-a", "1"), ("X-Amz-Meta-A", "2")], "");
        assert_eq!(form.value("x-amz-meta-a"), Some("1,2"));
        let mut form = Form::default();
        form.add("acl", "private".to_owned()).unwrap();
        assert!(form.add("ACL", "private".to_owned()).is_err());
    }

    #[test]
    fn a_form_without_credentials_is_anonymous() {
        assert!(!form(&[("key", "k"), ("acl", "private"), ("x-amz-date", "d")], "").claims_a_sender());
        for name in ["Policy", "x-amz-signature", "AWSAccessKeyId", "X-Amz-Credential"] {
            assert!(form(&[("key", "k"), (name, "x")], "").claims_a_sender(), "{name}");
        }
    }
}
