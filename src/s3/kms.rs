//! Keys of a region's key management service, under the names that clients know them by. Pure.
//!
//! A key's ARN names its region, so one name of clients' stands for another key in each region.

use quick_xml::Reader;
use quick_xml::escape::resolve_predefined_entity;
use quick_xml::events::Event;

use crate::s3::operation::Operation;
use crate::s3::xml::{escaped, position};

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

    /// A key that the region has, where any is named.
    #[must_use]
    pub fn any(&self) -> Option<&str> {
        self.0.first().map(|key| key.physical.as_str())
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

    /// A request's document with the region's own keys in the place of those that the client names, the
    /// rest of it as it came. `None` where it names none that is called otherwise here, or cannot be read,
    /// which is the store's to say.
    #[must_use]
    pub fn in_document(&self, operation: Operation, document: &[u8]) -> Option<String> {
        let element = match operation {
            Operation::PutBucketEncryption => "KMSMasterKeyID",
            Operation::UpdateObjectEncryption => "KMSKeyArn",
            _ => return None,
        };
        if self.is_empty() {
            return None;
        }
        let text = std::str::from_utf8(document).ok()?;
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        let mut reader = Reader::from_str(text);
        let (mut out, mut copied) = (String::new(), 0);
        // where the element's text begins, and the text
        let mut open: Option<(usize, String)> = None;
        loop {
            let end = position(&reader);
            let mut hear = |part: &str| {
                if let Some((_, named)) = &mut open {
                    named.push_str(part);
                }
            };
            match reader.read_event().ok()? {
                Event::Text(part) => hear(&part.xml10_content()),
                Event::CData(part) => hear(&part.xml10_content()),
                Event::GeneralRef(reference) => match reference.resolve_char_ref().ok()? {
                    Some(c) => hear(c.encode_utf8(&mut [0; 4])),
                    None => hear(resolve_predefined_entity(&reference)?),
                },
                Event::Start(tag) => {
                    let own = tag.local_name().as_ref() == element;
                    open = own.then(|| (position(&reader), String::new()));
                }
                Event::End(_) => {
                    let Some((start, named)) = open.take() else { continue };
                    if let Some(key) = self.physical(named.trim().as_bytes()) {
                        out.push_str(text.get(copied..start)?);
                        out.push_str(&escaped(key));
                        copied = end;
                    }
                }
                Event::Eof => break,
                Event::Empty(_) | Event::Decl(_) | Event::PI(_) | Event::Comment(_) | Event::DocType(_) => {}
            }
        }
        out.push_str(text.get(copied..)?);
        (copied > 0).then_some(out)
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
    #[test]
    fn keys_in_documents_become_the_region_s_and_nothing_else_changes() {
        use Operation as O;
        let key = |logical: &str, physical: &str| KmsKey {
            logical: logical.to_owned(),
            physical: physical.to_owned(),
        };
        let keys = KmsKeys::new(vec![key("photos", "arn:k&1"), key("a&b", "0a-1b")]);
        let bucket = |named: &str| {
            format!(
                "<?xml version='1.0'?>\n<s:E xmlns:s='x'><Rule><!-- photos --><SSEAlgorithm>aws:kms</SSEAlgorithm>\
                 <s:KMSMasterKeyID a=\"b\">{named}</s:KMSMasterKeyID></Rule> <Rule/></s:E>"
            )
        };
        for (named, own) in [
            ("photos", Some("arn:k&amp;1")),
            (" \n photos\t", Some("arn:k&amp;1")),
            ("<![CDATA[pho]]>tos", Some("arn:k&amp;1")),
            ("&#112;hotos", Some("arn:k&amp;1")),
            ("a&amp;b", Some("0a-1b")),
            ("Photos", None),
            ("", None),
            ("&unknown;", None),
        ] {
            let document = bucket(named);
            assert_eq!(
                keys.in_document(O::PutBucketEncryption, document.as_bytes()),
                own.map(bucket),
                "{named}"
            );
            assert_eq!(keys.in_document(O::PutBucketTagging, document.as_bytes()), None);
            assert_eq!(KmsKeys::NONE.in_document(O::PutBucketEncryption, document.as_bytes()), None);
        }
        let two = bucket("photos") + &bucket("a&amp;b");
        let own = bucket("arn:k&amp;1") + &bucket("0a-1b");
        assert_eq!(keys.in_document(O::PutBucketEncryption, format!("\u{feff}{two}").as_bytes()), Some(own));
        let object = |named: &str| {
            format!("<ObjectEncryption><SSE-KMS><KMSKeyArn>{named}</KMSKeyArn></SSE-KMS></ObjectEncryption>")
        };
        let own = keys.in_document(O::UpdateObjectEncryption, object("photos").as_bytes());
        assert_eq!(own, Some(object("arn:k&amp;1")));
        for broken in ["<A><KMSKeyArn>photos</A>", "\u{0}", "<KMSKeyArn>photos"] {
            assert_eq!(keys.in_document(O::UpdateObjectEncryption, broken.as_bytes()), None, "{broken}");
        }
        assert_eq!(keys.in_document(O::UpdateObjectEncryption, b"\xff"), None);
    }
}
