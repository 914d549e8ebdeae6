//! What is done to a bucket in each of its regions: which settings may be, what each region is told,
//! and what its answer is to the whole. Pure.

use quick_xml::Reader;
use quick_xml::events::Event;

use crate::s3::operation::Operation;
use crate::s3::xml::{NAMESPACE, element, malformed, position, walk};
use crate::s3::{Code, Malformed};

/// Whether a setting names what only one region has: buckets, queues, accounts, keys of encryption.
/// Carried out in each region it would mean another thing in each, or nothing. `document`: the
/// request's.
#[must_use]
pub fn names_one_region(operation: Operation, document: &[u8]) -> bool {
    use Operation as O;
    match operation {
        O::PutBucketReplication
        | O::DeleteBucketReplication
        | O::PutBucketNotification
        | O::PutBucketNotificationConfiguration
        | O::PutBucketLogging
        | O::PutBucketInventoryConfiguration
        | O::DeleteBucketInventoryConfiguration
        | O::PutBucketAnalyticsConfiguration
        | O::DeleteBucketAnalyticsConfiguration
        | O::CreateBucketMetadataConfiguration
        | O::DeleteBucketMetadataConfiguration
        | O::CreateBucketMetadataTableConfiguration
        | O::DeleteBucketMetadataTableConfiguration
        | O::UpdateBucketMetadataInventoryTableConfiguration
        | O::UpdateBucketMetadataJournalTableConfiguration
        | O::UpdateBucketMetadataAnnotationTableConfiguration => true,
        // A canned one, in a header, is the same everywhere. (Grantees in headers are looked for by who has them.)
        O::PutBucketAcl => !document.is_empty(),
        O::PutBucketEncryption => has_kms(document),
        _ => false,
    }
}

/// Whether objects are to be encrypted by keys of a region's own service. What cannot be read is the
/// stores' to refuse.
fn has_kms(document: &[u8]) -> bool {
    let mut found = false;
    let read = walk(document, &mut |path, text| {
        found |=
            path.ends_with("/KMSMasterKeyID") || (path.ends_with("/SSEAlgorithm") && text.trim() != "AES256");
        Ok(())
    });
    found && read.is_ok()
}

/// Where a new bucket is to be, as a `CreateBucketConfiguration` says. `None`: it does not say.
///
/// # Errors
/// `MalformedXML`.
pub fn constraint(document: &[u8]) -> Result<Option<String>, Malformed> {
    let mut told = None;
    if !document.is_empty() {
        walk(document, &mut |path, text| {
            if path == "CreateBucketConfiguration/LocationConstraint" {
                told = Some(text.trim().to_owned());
            }
            Ok(())
        })?;
    }
    Ok(told.filter(|told| !told.is_empty()))
}

/// A `CreateBucketConfiguration` that says where in one region's words; the rest of it as it came.
/// `us-east-1` is not said, as S3 has it. Empty where nothing is left to say.
///
/// # Errors
/// `MalformedXML`.
pub fn constrained(document: &[u8], region: &str) -> Result<Vec<u8>, Malformed> {
    let mut own = String::new();
    if region != "us-east-1" {
        element(&mut own, "LocationConstraint", region);
    }
    let text = std::str::from_utf8(document).map_err(|_| malformed())?;
    let Some(place) = place(text)? else {
        let whole =
            format!("<CreateBucketConfiguration xmlns=\"{NAMESPACE}\">{own}</CreateBucketConfiguration>");
        return Ok(if own.is_empty() { Vec::new() } else { whole.into_bytes() });
    };
    if own.is_empty() && !place.others {
        return Ok(Vec::new());
    }
    let before = text.get(..place.start).ok_or_else(malformed)?;
    let after = text.get(place.end..).ok_or_else(malformed)?;
    Ok([before, &own, after].concat().into_bytes())
}

/// Where the constraint stands in a configuration, or could.
struct Place {
    start: usize,
    end: usize,
    /// It says something else too.
    others: bool,
}

/// `None` where there is no configuration, or one that is an empty tag.
fn place(text: &str) -> Result<Option<Place>, Malformed> {
    let mut reader = Reader::from_str(text);
    let (mut depth, mut found, mut others) = (0_usize, None, false);
    loop {
        let start = position(&reader);
        match reader.read_event().map_err(|_| malformed())? {
            Event::Start(tag) => {
                let own = depth == 1 && tag.local_name().as_ref() == "LocationConstraint";
                others |= depth == 1 && !own;
                depth += 1;
                if own {
                    found = Some(Place { start, end: start, others: false });
                }
            }
            Event::Empty(tag) if depth == 1 => {
                if tag.local_name().as_ref() == "LocationConstraint" {
                    found = Some(Place { start, end: position(&reader), others: false });
                } else {
                    others = true;
                }
            }
            Event::End(tag) => {
                depth = depth.saturating_sub(1);
                match &mut found {
                    Some(place) if depth == 1 && tag.local_name().as_ref() == "LocationConstraint" => {
                        place.end = position(&reader);
                    }
                    None if depth == 0 => found = Some(Place { start, end: start, others: false }),
                    _ => {}
                }
            }
            Event::Eof => return Ok(found.map(|place| Place { others, ..place })),
            _ => {}
        }
    }
}

/// What one region's answer is to a change of a bucket that is made in each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It was made.
    Made,
    /// It had been made before: a repeat finds what the first time did.
    Before,
    /// It was not.
    Refused,
}

impl Fate {
    /// Reads an answer.
    #[must_use]
    pub fn of(operation: Operation, status: u16, code: Option<&str>) -> Self {
        if (200..300).contains(&status) {
            return Self::Made;
        }
        let code = code.unwrap_or_default();
        let deletes = operation.facts().rule.method == "DELETE";
        let absent = status == 404 && code.starts_with("NoSuch") || code.ends_with("NotFoundError");
        let before = match operation {
            Operation::CreateBucket => code == Code::BucketAlreadyOwnedByYou.as_str(),
            Operation::DeleteBucket => code == Code::NoSuchBucket.as_str(),
            _ => deletes && absent && code != Code::NoSuchBucket.as_str(),
        };
        if before { Self::Before } else { Self::Refused }
    }
}

/// Whether a listing of objects, or of their versions, lists nothing. `None` where it is none.
#[must_use]
pub fn is_empty(document: &[u8]) -> Option<bool> {
    let (mut listing, mut entries) = (false, false);
    let read = walk(document, &mut |path, _| {
        listing |= matches!(path, "ListBucketResult" | "ListVersionsResult");
        let (_, rest) = path.split_once('/').unwrap_or_default();
        entries |= matches!(rest, "Contents" | "CommonPrefixes" | "Version" | "DeleteMarker");
        Ok(())
    });
    (read.is_ok() && listing).then_some(!entries)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROOT: &str = "<CreateBucketConfiguration xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\">";

    fn text(document: &str, region: &str) -> String {
        String::from_utf8(constrained(document.as_bytes(), region).unwrap()).unwrap()
    }

    #[test]
    fn each_region_is_told_itself() {
        let told = format!("{ROOT}<LocationConstraint>eu-1</LocationConstraint></CreateBucketConfiguration>");
        assert_eq!(text("", "eu-1"), told);
        assert_eq!(text("<CreateBucketConfiguration/>", "eu-1"), told);
        assert_eq!(text("", "us-east-1"), "");
        assert_eq!(text(&told, "us-east-1"), "");
        assert_eq!(text(&told.replace("eu-1", "logical"), "eu-1"), told);
        let more = "<?xml version=\"1.0\"?>\n<c:CreateBucketConfiguration xmlns:c=\"x\"> <c:LocationConstraint>a</c:LocationConstraint>\
                    <Tags><Tag><Key>LocationConstraint</Key></Tag></Tags></c:CreateBucketConfiguration>";
        let own = "<LocationConstraint>eu-1</LocationConstraint>";
        assert_eq!(text(more, "eu-1"), more.replace("<c:LocationConstraint>a</c:LocationConstraint>", own));
        assert_eq!(
            text(more, "us-east-1"),
            more.replace("<c:LocationConstraint>a</c:LocationConstraint>", "")
        );
        let without = "<CreateBucketConfiguration><Tags/></CreateBucketConfiguration>";
        assert_eq!(text(without, "eu-1"), without.replace("<Tags/>", &format!("<Tags/>{own}")));
        let empty = "<CreateBucketConfiguration><LocationConstraint/></CreateBucketConfiguration>";
        assert_eq!(text(empty, "eu-1"), empty.replace("<LocationConstraint/>", own));
        assert_eq!(constraint(told.as_bytes()), Ok(Some("eu-1".to_owned())));
        assert_eq!(constraint(empty.as_bytes()), Ok(None));
        assert_eq!(constraint(b""), Ok(None));
        assert!(constraint(b"<Create").is_err() && constrained(b"\xff", "eu-1").is_err());
    }

    #[test]
    fn settings_of_one_region_are_known() {
        use Operation as O;
        let encryption = |algorithm: &str, key: &str| {
            format!(
                "<ServerSideEncryptionConfiguration><Rule><ApplyServerSideEncryptionByDefault><SSEAlgorithm>{algorithm}</SSEAlgorithm>{key}</ApplyServerSideEncryptionByDefault></Rule></ServerSideEncryptionConfiguration>"
            )
        };
        for (operation, document, one) in [
            (O::PutBucketReplication, String::new(), true),
            (O::PutBucketNotificationConfiguration, String::new(), true),
            (O::PutBucketLogging, String::new(), true),
            (O::PutBucketInventoryConfiguration, String::new(), true),
            (O::PutBucketEncryption, encryption("AES256", ""), false),
            (O::PutBucketEncryption, encryption("aws:kms", ""), true),
            (O::PutBucketEncryption, encryption("aws:kms", "<KMSMasterKeyID>k</KMSMasterKeyID>"), true),
            (O::PutBucketAcl, String::new(), false),
            (O::PutBucketAcl, "<AccessControlPolicy/>".to_owned(), true),
            (O::PutBucketVersioning, "<VersioningConfiguration/>".to_owned(), false),
            (O::PutBucketCors, "<CORSConfiguration/>".to_owned(), false),
            (O::CreateBucket, String::new(), false),
        ] {
            assert_eq!(names_one_region(operation, document.as_bytes()), one, "{operation:?} {document}");
        }
    }

    #[test]
    fn a_repeat_finds_what_was_done() {
        use Operation as O;
        for (operation, status, code, fate) in [
            (O::CreateBucket, 200, None, Fate::Made),
            (O::CreateBucket, 409, Some("BucketAlreadyOwnedByYou"), Fate::Before),
            (O::CreateBucket, 409, Some("BucketAlreadyExists"), Fate::Refused),
            (O::DeleteBucket, 204, None, Fate::Made),
            (O::DeleteBucket, 404, Some("NoSuchBucket"), Fate::Before),
            (O::DeleteBucket, 409, Some("BucketNotEmpty"), Fate::Refused),
            (O::DeleteBucketPolicy, 404, Some("NoSuchBucketPolicy"), Fate::Before),
            (O::DeletePublicAccessBlock, 404, Some("NoSuchPublicAccessBlockConfiguration"), Fate::Before),
            (O::DeleteBucketPolicy, 404, Some("NoSuchBucket"), Fate::Refused),
            (O::DeleteBucketPolicy, 403, Some("AccessDenied"), Fate::Refused),
            (O::PutBucketPolicy, 404, Some("NoSuchBucketPolicy"), Fate::Refused),
            (O::PutBucketPolicy, 500, None, Fate::Refused),
        ] {
            assert_eq!(Fate::of(operation, status, code), fate, "{operation:?} {status} {code:?}");
        }
    }

    #[test]
    fn empty_listings_are_told_from_others() {
        for (document, empty) in [
            (
                "<ListBucketResult><Name>b</Name><IsTruncated>false</IsTruncated></ListBucketResult>",
                Some(true),
            ),
            ("<ListVersionsResult/>", Some(true)),
            ("<ListBucketResult><Contents><Key>k</Key></Contents></ListBucketResult>", Some(false)),
            (
                "<ListVersionsResult><DeleteMarker><Key>k</Key></DeleteMarker></ListVersionsResult>",
                Some(false),
            ),
            ("<ListVersionsResult><Version/></ListVersionsResult>", Some(false)),
            ("<Error><Code>x</Code></Error>", None),
            ("<ListBucketResult>", None),
            ("", None),
        ] {
            assert_eq!(is_empty(document.as_bytes()), empty, "{document}");
        }
    }
}
