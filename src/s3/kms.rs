//! Keys of a region's key management service, under the names that clients know them by. Pure.
//!
//! A key's ARN names its region, so one name of clients' stands for another key in each region.

/// What clients call the keys of one region.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KmsKeys(Vec<KmsKey>);

/// No key has another name.
pub static NO_KEYS: KmsKeys = KmsKeys::NONE;

/// One key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KmsKey {
    /// As clients name it: whatever they like, or another region's ARN.
    pub logical: String,
    /// As this region knows it: an id, an ARN or an alias.
    pub physical: String,
}

impl KmsKeys {
    /// No key has another name.
    pub const NONE: Self = Self(Vec::new());

    /// These.
    #[must_use]
    pub fn new(keys: Vec<KmsKey>) -> Self {
        Self(keys)
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// What the region calls the key that a client names.
    #[must_use]
    pub fn physical(&self, named: &[u8]) -> Option<&str> {
        self.0.iter().find(|key| key.logical.as_bytes() == named).map(|key| key.physical.as_str())
    }

    /// What clients call the key that the region tells of: by its id or its ARN, however it was configured.
    #[must_use]
    pub fn logical(&self, told: &str) -> Option<&str> {
        let same = |key: &&KmsKey| id(&key.physical) == id(told);
        self.0.iter().find(same).map(|key| key.logical.as_str())
    }
}

/// The id in `arn:aws:kms:REGION:ACCOUNT:key/ID`.
fn id(key: &str) -> &str {
    key.rsplit_once(":key/").map_or(key, |(_, id)| id)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_found_by_both_names_in_either_form() {
        const ARN: &str = "arn:aws:kms:eu-west-1:111122223333:key/0a-1b";
        for configured in ["0a-1b", ARN] {
            let (logical, physical) = ("photos".to_owned(), configured.to_owned());
            let keys = KmsKeys::new(vec![KmsKey { logical, physical }]);
            assert_eq!(keys.physical(b"photos"), Some(configured));
            assert_eq!(keys.physical(b"Photos"), None);
            for told in ["0a-1b", ARN] {
                assert_eq!(keys.logical(told), Some("photos"), "{told}");
            }
            for told in ["0a-1c", "arn:aws:kms:eu-west-1:111122223333:key/0a-1c", "photos", ""] {
                assert_eq!(keys.logical(told), None, "{told}");
            }
        }
        assert!(KmsKeys::NONE.is_empty() && KmsKeys::NONE.logical("0a-1b").is_none());
    }
}
