//! A request head to a [`Call`]. Pure, total: any head yields a call or a refusal.
//!
//! The rule of safety: what we take a request for is what the store will carry out. So a request
//! that two readers might take for two operations (two sub-resources, an unknown sub-resource on a
//! write, a parameter twice) is refused, and parameters that we do not know are not sent on.

use std::borrow::Cow;

use http::Method;

use crate::head::Head;
use crate::s3::address::{Address, Domains, address, is_bucket_name, key};
use crate::s3::call::{Call, CopySource, Framing, Target};
use crate::s3::conditions::conditions_write;
use crate::s3::hoist::{header_of, hoisted};
use crate::s3::operation::{Kind, Level, Operation};
use crate::s3::profile::{Feature, Features};
use crate::s3::query::{Pair, Query, decode, decode_text};
use crate::s3::{Code, Malformed};

/// Highest part number of an upload: S3's own limit.
pub const PART_NUMBER_MAX: u16 = 10_000;

/// Query parameters that S3 knows and that select no operation.
const PARAMETERS: [&str; 29] = [
    "annotation-prefix",
    "annotationName",
    "bucket-region",
    "continuation-token",
    "delimiter",
    "encoding-type",
    "fetch-owner",
    "id",
    "key-marker",
    "marker",
    "max-annotation-results",
    "max-buckets",
    "max-keys",
    "max-parts",
    "max-uploads",
    "part-number-marker",
    "partNumber",
    "prefix",
    "response-cache-control",
    "response-content-disposition",
    "response-content-encoding",
    "response-content-language",
    "response-content-type",
    "response-expires",
    "select-type",
    "start-after",
    "upload-id-marker",
    "version-id-marker",
    "versionId",
];

/// Says what a request asks for.
///
/// # Errors
/// The S3 code that the head deserves: `InvalidURI`, `InvalidBucketName`, `KeyTooLongError`,
/// `InvalidArgument`, `InvalidRequest`, `MethodNotAllowed`, `NotImplemented` and those of
/// [`hoisted`].
pub fn classify(head: &Head, domains: &Domains) -> Result<Call, Malformed> {
    let place = address(head.first_text("host").unwrap_or_default(), head.path(), domains)?;
    let level = level_of(&place);
    let asked = Asked::read(Query::new(head.query().unwrap_or_default()), level)?;
    let hoisted = hoisted(head)?;
    let copy_source = copy_source_of(head, &hoisted)?;
    let operation = operation_of(head, &place, &asked, copy_source.is_some())?;

    let style = place.style;
    let mut call = Call { style, ..Call::new(operation, target_of(place)?) };
    asked.fill(&mut call)?;
    if matches!(operation, Operation::CopyObject | Operation::UploadPartCopy) {
        call.copy_source = copy_source.map(|text| source(&text)).transpose()?;
    }
    let own = head.fields().map(|field| (field.name, field.value));
    let moved = hoisted.iter().map(|(name, value)| (name.as_str(), value.as_bytes()));
    for (name, value) in own.chain(moved) {
        header(&mut call, name, value);
    }
    call.framing = framing(head)?;
    call.depends_on = call.depends_on.union(inherent(&call));
    if operation == Operation::GetObjectAttributes {
        also(&mut call, if asked.version_id.is_some() { "s3:GetObjectVersion" } else { "s3:GetObject" });
    }
    Ok(call)
}

/// Whether a signed request sets headers of its reply (`response-content-type` and its like): S3
/// refuses that of anonymous requests with `InvalidRequest`.
#[must_use]
pub fn overrides_reply(head: &Head) -> bool {
    Query::new(head.query().unwrap_or_default())
        .pairs()
        .any(|pair| PARAMETERS.iter().any(|name| name.starts_with("response-") && pair.is(name)))
}

/// Whether a query parameter is S3's own, and so may be sent on.
pub(crate) fn is_known(pair: Pair<'_>) -> bool {
    PARAMETERS.contains(&pair.raw_name)
        || pair.name().is_some_and(|name| PARAMETERS.contains(&&*name) || selector(&name).is_some())
}

/// The selecting query key of that name, where the table has one.
fn selector(name: &str) -> Option<&'static str> {
    let mut selectors = Operation::ALL.iter().map(|operation| operation.facts().rule.selector);
    selectors.find(|selector| *selector == name && !name.is_empty())
}

fn level_of(place: &Address<'_>) -> Level {
    match (&place.bucket, place.raw_key) {
        (None, _) => Level::Service,
        (Some(_), None) => Level::Bucket,
        (Some(_), Some(_)) => Level::Object,
    }
}

fn target_of(place: Address<'_>) -> Result<Target, Malformed> {
    Ok(match (place.bucket, place.raw_key) {
        (None, _) => Target::Service,
        (Some(bucket), None) => Target::Bucket { bucket },
        (Some(bucket), Some(raw)) => {
            Target::Object { bucket, raw_key: raw.to_owned(), key: key(raw)?.into_owned() }
        }
    })
}

/// What the query asks for.
#[derive(Default)]
struct Asked<'a> {
    selector: Option<&'static str>,
    /// A bare name that we do not know: perhaps a sub-resource that the store knows.
    unknown: Option<&'a str>,
    upload_id: Option<Cow<'a, str>>,
    part_number: Option<Cow<'a, str>>,
    version_id: Option<Cow<'a, str>>,
    continuation: Option<Cow<'a, str>>,
    /// `id`: one setting, not their list.
    names_setting: bool,
    /// `annotationName`: the same of annotations.
    names_annotation: bool,
}

impl<'a> Asked<'a> {
    fn read(query: Query<'a>, level: Level) -> Result<Self, Malformed> {
        let mut asked = Self::default();
        for pair in query.pairs() {
            let name = if pair.raw_name.contains(['%', '+']) {
                pair.name().ok_or_else(|| Malformed::new(Code::InvalidURI))?
            } else {
                Cow::Borrowed(pair.raw_name)
            };
            match &*name {
                "partNumber" => once(&mut asked.part_number, "partNumber", pair)?,
                "versionId" if level == Level::Object => once(&mut asked.version_id, "versionId", pair)?,
                "continuation-token" => once(&mut asked.continuation, "continuation-token", pair)?,
                "id" => asked.names_setting = true,
                "annotationName" => asked.names_annotation = true,
                "x-id" => {}
                name if PARAMETERS.contains(&name) => {}
                name => match selector(name) {
                    Some(selector) => asked.select(selector, pair)?,
                    None if pair.raw_value.is_none_or(str::is_empty) && header_of(pair).is_none() => {
                        asked.unknown = Some(pair.raw_name);
                    }
                    None => {}
                },
            }
        }
        Ok(asked)
    }

    fn select(&mut self, selector: &'static str, pair: Pair<'a>) -> Result<(), Malformed> {
        if self.selector.is_some_and(|other| other != selector) {
            return Err(Malformed::argument("ResourceType", selector, "Conflicting query string parameters"));
        }
        self.selector = Some(selector);
        match selector {
            "uploadId" => once(&mut self.upload_id, "uploadId", pair),
            "list-type" if pair.raw_value != Some("2") => {
                Err(Malformed::argument("list-type", pair.raw_value.unwrap_or_default(), "Invalid List Type"))
            }
            _ => Ok(()),
        }
    }

    fn fill(&self, call: &mut Call) -> Result<(), Malformed> {
        if self.version_id.as_deref() == Some("") {
            return Err(Malformed::argument("versionId", "", "Version id cannot be the empty string"));
        }
        if self.version_id.is_some() && writes_anew(call.operation) {
            // a store that takes it would write over that version, which nobody allowed
            let words = "This operation does not accept a version-id.";
            return Err(Malformed::argument(
                "versionId",
                self.version_id.as_deref().unwrap_or_default(),
                words,
            ));
        }
        call.upload_id = self.upload_id.as_deref().map(str::to_owned);
        call.version_id = self.version_id.as_deref().map(str::to_owned);
        call.continuation = self.continuation.as_deref().map(str::to_owned);
        call.part_number = match (&self.part_number, call.operation) {
            (Some(text), _) => Some(part_number(text)?),
            (None, Operation::UploadPart | Operation::UploadPartCopy) => {
                return Err(Malformed::argument("partNumber", "", "An upload id needs a part number"));
            }
            (None, _) => None,
        };
        let alone = self.part_number.is_some() && self.upload_id.is_none();
        if alone && call.facts().kind == Kind::Write {
            return Err(Malformed::argument("uploadId", "", "A part number needs an upload id"));
        }
        Ok(())
    }
}

/// Whether it makes a version of an object, or something on the way to one.
fn writes_anew(operation: Operation) -> bool {
    use Operation as O;
    matches!(
        operation,
        O::PutObject
            | O::CopyObject
            | O::PostObject
            | O::CreateMultipartUpload
            | O::UploadPart
            | O::UploadPartCopy
            | O::CompleteMultipartUpload
            | O::AbortMultipartUpload
            | O::RenameObject
    )
}

/// A parameter whose value matters occurs once: two parsers might take two values.
fn once<'a>(slot: &mut Option<Cow<'a, str>>, name: &'static str, pair: Pair<'a>) -> Result<(), Malformed> {
    let value = pair.value().ok_or_else(|| Malformed::new(Code::InvalidURI))?;
    match slot.replace(value) {
        None => Ok(()),
        Some(first) => Err(Malformed::argument(name, &first, "A query parameter occurs more than once")),
    }
}

fn part_number(text: &str) -> Result<u16, Malformed> {
    let digits = text.bytes().all(|byte| byte.is_ascii_digit());
    text.parse().ok().filter(|number| digits && (1..=PART_NUMBER_MAX).contains(number)).ok_or_else(|| {
        Malformed::argument(
            "partNumber",
            text,
            "Part number must be an integer between 1 and 10000, inclusive",
        )
    })
}

fn operation_of(
    head: &Head,
    place: &Address<'_>,
    asked: &Asked<'_>,
    copy: bool,
) -> Result<Operation, Malformed> {
    let level = level_of(place);
    let method = head.method();
    if method == Method::OPTIONS {
        return preflight(head);
    }
    let selector = asked.selector.unwrap_or_default();
    let Some(operation) = Operation::recognise(method.as_str(), level, selector) else {
        return Err(no_operation(level, selector));
    };
    let names_one =
        if asked.selector == Some("annotation") { asked.names_annotation } else { asked.names_setting };
    let operation = match (operation, names_one) {
        (Operation::PutObject, _) if copy => Operation::CopyObject,
        (Operation::UploadPart, _) if copy => Operation::UploadPartCopy,
        (Operation::GetObjectAnnotation, false) => Operation::ListObjectAnnotations,
        (Operation::GetBucketAnalyticsConfiguration, false) => Operation::ListBucketAnalyticsConfigurations,
        (Operation::GetBucketInventoryConfiguration, false) => Operation::ListBucketInventoryConfigurations,
        (Operation::GetBucketMetricsConfiguration, false) => Operation::ListBucketMetricsConfigurations,
        (Operation::GetBucketIntelligentTieringConfiguration, false) => {
            Operation::ListBucketIntelligentTieringConfigurations
        }
        (operation, _) => operation,
    };
    if operation == Operation::PostObject && !is_form(head) {
        return Err(Malformed::new(Code::RequestIsNotMultiPartContent));
    }
    let unknown_write = asked.unknown.is_some() && (method != Method::GET && method != Method::HEAD);
    if operation.is_foreign() || unknown_write {
        return Err(Malformed::new(Code::NotImplemented));
    }
    Ok(operation)
}

fn preflight(head: &Head) -> Result<Operation, Malformed> {
    if head.count("origin") == 0 || head.count("access-control-request-method") == 0 {
        let detail = "Insufficient information. Origin and Access-Control-Request-Method headers are needed.";
        return Err(Malformed::because(Code::BadRequest, detail));
    }
    Ok(Operation::Preflight)
}

/// A sub-resource that exists at this level, only not with this method, is a 405.
fn no_operation(level: Level, selector: &str) -> Malformed {
    let exists = Operation::ALL.iter().any(|operation| {
        let rule = operation.facts().rule;
        rule.level == level && rule.selector == selector
    });
    if exists || selector.is_empty() {
        return Malformed::new(Code::MethodNotAllowed);
    }
    Malformed::argument("ResourceType", selector, "There is no such sub-resource for this resource")
}

fn is_form(head: &Head) -> bool {
    let form = b"multipart/form-data";
    head.first("content-type")
        .and_then(|value| value.get(..form.len()))
        .is_some_and(|start| start.eq_ignore_ascii_case(form))
}

/// The text of `x-amz-copy-source`, in a header or hoisted.
fn copy_source_of(head: &Head, hoisted: &[(String, String)]) -> Result<Option<String>, Malformed> {
    let name = "x-amz-copy-source";
    let mut values = head.all(name);
    let own = match values.next() {
        Some(value) => {
            Some(std::str::from_utf8(value).map_err(|_| bad_source("is not UTF-8", ""))?.to_owned())
        }
        None => hoisted.iter().find(|(own, _)| own == name).map(|(_, value)| value.clone()),
    };
    match values.next() {
        Some(_) => Err(bad_source("occurs more than once", "")),
        None => Ok(own),
    }
}

/// Parses a copy source: `bucket/key`, `/bucket/key` or an access point's ARN, each perhaps with
/// `?versionId=`; decoded once.
fn source(text: &str) -> Result<CopySource, Malformed> {
    let (name, version) = match text.rsplit_once("?versionId=") {
        Some((name, version)) => (name, Some(version)),
        None => (text, None),
    };
    let version_id = match version.map(decode_text) {
        None => None,
        Some(Some(version)) if !version.is_empty() => Some(version.into_owned()),
        Some(_) => return Err(bad_source("has a version id that is empty or not percent-encoded", text)),
    };
    let name = decode(name).ok_or_else(|| bad_source("is not percent-encoded", text))?;
    let name = std::str::from_utf8(&name).map_err(|_| bad_source("is not UTF-8", text))?;
    let (bucket, key) = match name.strip_prefix("arn:") {
        Some(arn) => access_point(arn),
        None => name.strip_prefix('/').unwrap_or(name).split_once('/'),
    }
    .ok_or_else(|| bad_source("is neither bucket/key nor the ARN of an access point's object", text))?;
    if !is_bucket_name(bucket) || key.is_empty() {
        return Err(bad_source("names no bucket or no key", text));
    }
    if key.len() > crate::s3::address::KEY_MAX {
        return Err(Malformed::new(Code::KeyTooLongError));
    }
    Ok(CopySource { bucket: bucket.to_owned(), key: key.as_bytes().to_vec(), version_id })
}

/// `aws:s3:REGION:ACCOUNT:accesspoint/NAME/object/KEY`, the region empty for a multi-region one.
fn access_point(arn: &str) -> Option<(&str, &str)> {
    let (_partition, rest) = arn.split_once(':')?;
    let (service, rest) = rest.split_once(':')?;
    let (_region, rest) = rest.split_once(':')?;
    let (_account, resource) = rest.split_once(':')?;
    let resource = resource.strip_prefix("accesspoint")?;
    if service != "s3" || !resource.starts_with(['/', ':']) {
        return None;
    }
    let (name, rest) = resource.get(1..)?.split_once('/')?;
    Some((name, rest.strip_prefix("object/")?))
}

fn bad_source(why: &str, text: &str) -> Malformed {
    Malformed::argument("x-amz-copy-source", text, format!("The copy source {why}"))
}

/// What one header, or hoisted parameter, adds to the call.
fn header(call: &mut Call, name: &str, value: &[u8]) {
    if call.facts().kind != Kind::Read && conditions_write(name) {
        call.conditional_write = true;
    }
    if let Some(rest) = name.strip_prefix("x-amz-") {
        amz_header(call, rest, value);
    }
}

fn amz_header(call: &mut Call, name: &str, value: &[u8]) {
    let feature = match name {
        "acl" if is_default_acl(value) => return,
        "acl" => Feature::Acl,
        "tagging" if value.is_empty() => return,
        "tagging" => Feature::Tagging,
        "server-side-encryption" if value == b"AES256" => Feature::Sse,
        "server-side-encryption-bucket-key-enabled" if value != b"true" => return,
        "bucket-object-lock-enabled" if value.eq_ignore_ascii_case(b"true") => Feature::ObjectLock,
        // Stores read this in more than one way (Ceph undoes percent-encoding): whatever is not a plain
        // no may be a yes.
        "bypass-governance-retention" if !value.eq_ignore_ascii_case(b"false") => {
            return also(call, "s3:BypassGovernanceRetention");
        }
        "object-ownership" if call.operation == Operation::CreateBucket => {
            return also(call, "s3:PutBucketOwnershipControls");
        }
        _ if name.starts_with("grant-") => Feature::Acl,
        _ if name.starts_with("object-lock-") => Feature::ObjectLock,
        _ if name.contains("server-side-encryption-customer-") => Feature::SseC,
        _ if name.starts_with("server-side-encryption") => Feature::SseKms,
        _ => return,
    };
    call.depends_on = call.depends_on.with(feature);
    if call.operation == Operation::CreateBucket && feature == Feature::ObjectLock {
        // which is not to be had without
        also(call, "s3:PutBucketVersioning");
    }
    let creates = matches!(
        call.operation,
        Operation::PutObject | Operation::CopyObject | Operation::CreateMultipartUpload
    );
    if creates {
        match feature {
            Feature::Acl => also(call, "s3:PutObjectAcl"),
            Feature::Tagging => also(call, "s3:PutObjectTagging"),
            Feature::ObjectLock if name == "object-lock-legal-hold" => also(call, "s3:PutObjectLegalHold"),
            Feature::ObjectLock => also(call, "s3:PutObjectRetention"),
            _ => {}
        }
    }
}

/// An ACL that every store grants without having ACLs; some clients always send one.
pub(crate) fn is_default_acl(value: &[u8]) -> bool {
    value.is_empty() || value == b"private" || value == b"bucket-owner-full-control"
}

fn also(call: &mut Call, action: &'static str) {
    if !call.also.contains(&action) {
        call.also.push(action);
    }
}

/// What the operation itself depends on, whatever its headers.
fn inherent(call: &Call) -> Features {
    use Operation as O;
    let features = match call.operation {
        O::PutObjectAcl | O::PutBucketAcl => Features::of(&[Feature::Acl]),
        O::GetObjectTagging
        | O::PutObjectTagging
        | O::DeleteObjectTagging
        | O::GetBucketTagging
        | O::PutBucketTagging
        | O::DeleteBucketTagging => Features::of(&[Feature::Tagging]),
        O::GetObjectRetention
        | O::PutObjectRetention
        | O::GetObjectLegalHold
        | O::PutObjectLegalHold
        | O::GetObjectLockConfiguration
        | O::PutObjectLockConfiguration => Features::of(&[Feature::ObjectLock]),
        O::ListObjectVersions | O::PutBucketVersioning => Features::of(&[Feature::Versioning]),
        O::GetObjectAttributes => Features::of(&[Feature::Attributes]),
        O::UpdateObjectEncryption => Features::of(&[Feature::SseKms]),
        _ => Features::NONE,
    };
    let source_version = call.copy_source.as_ref().and_then(|source| source.version_id.as_deref());
    // `null` is the version that an object without versions has.
    let versioned = [call.version_id.as_deref(), source_version].iter().flatten().any(|id| *id != "null");
    let features = if versioned { features.with(Feature::Versioning) } else { features };
    if !call.conditional_write {
        return features;
    }
    features.with(match call.operation {
        O::DeleteObject | O::DeleteObjects | O::CopyObject => Feature::ConditionalDeletes,
        _ => Feature::ConditionalWrites,
    })
}

fn framing(head: &Head) -> Result<Framing, Malformed> {
    let length = |name: &'static str| match head.first(name) {
        None => Ok(None),
        Some(value) => std::str::from_utf8(value)
            .ok()
            .filter(|text| text.bytes().all(|byte| byte.is_ascii_digit()))
            .and_then(|text| text.parse().ok())
            .map(Some)
            .ok_or_else(|| {
                Malformed::argument(name, &String::from_utf8_lossy(value), "A length must be a number")
            }),
    };
    Ok(Framing {
        content_length: length("content-length")?,
        chunked: head.count("transfer-encoding") > 0,
        decoded_length: length("x-amz-decoded-content-length")?,
    })
}

#[cfg(test)]
mod tests;
