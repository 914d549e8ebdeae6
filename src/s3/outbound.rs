//! The head that a region gets, built from scratch. Pure.
//!
//! Nothing of the client's authentication, framing or connection travels on, nor what its `Connection`
//! nominates. The raw bytes of the key do. What goes on is a list of what S3 knows, plus every `x-amz-*` that is not listed below,
//! since new ones keep coming.

use std::borrow::Cow;

use http::Method;
use smallvec::SmallVec;

use crate::head::{Field, Head};
use crate::names::BucketName;
use crate::s3::call::{Call, Target};
use crate::s3::classify::{is_default_acl, is_known};
use crate::s3::hoist::hoisted;
use crate::s3::kms::KmsKeys;
use crate::s3::operation::Operation;
use crate::s3::profile::{Addressing, Feature, Features};
use crate::s3::query::{Pair, Query, encode_into};

/// Where a request goes, in that region's own words.
#[derive(Clone, Debug)]
pub struct Physical<'a> {
    /// The endpoint's authority: `s3.eu-central-1.amazonaws.com`, `garage.internal:3900`.
    pub host: &'a str,
    /// The region's bucket; `None` where the client's name is the region's (wildcard access point).
    pub bucket: Option<&'a BucketName>,
    /// Bucket in the host or in the path.
    pub addressing: Addressing,
    /// What the store honours.
    pub honours: Features,
    /// The endpoint's path without a slash at its end; empty for most.
    pub base_path: &'a str,
    /// Query parameters with other values than the client's: unwrapped ids and tokens. `None` takes
    /// one out, a name that the client did not send is added.
    pub query: SmallVec<[(&'static str, Option<String>); 2]>,
    /// What clients call the region's keys.
    pub kms_keys: &'a KmsKeys,
    /// The request is signed with a pair of the client's own there, and not with the region's.
    pub as_the_client: bool,
    /// The copy source in this region's words, percent-encoded; see [`copy_source`].
    pub copy_source: Option<String>,
}

/// Names the key of an object's encryption, in requests and in answers.
pub const KMS_KEY: &str = "x-amz-server-side-encryption-aws-kms-key-id";

/// Whether S3 knows a header besides `x-amz-*`: what an object is, what is wanted, CORS, tracing.
/// Everything else (credentials, cookies, `amz-sdk-*`, forwarding, hop by hop) stays here.
fn is_kept(name: &str) -> bool {
    // A match, not a list: compared by length first.
    matches!(
        name,
        "accept"
            | "accept-encoding"
            | "accept-language"
            | "access-control-request-headers"
            | "access-control-request-method"
            | "cache-control"
            | "content-disposition"
            | "content-encoding"
            | "content-language"
            | "content-md5"
            | "content-type"
            | "expires"
            | "if-match"
            | "if-modified-since"
            | "if-none-match"
            | "if-range"
            | "if-unmodified-since"
            | "origin"
            | "range"
            | "referer"
            | "traceparent"
            | "tracestate"
            | "user-agent"
            | "x-amzn-trace-id"
    )
}

impl Physical<'_> {
    /// The bucket that goes into the host.
    fn virtual_bucket<'b>(&'b self, call: &'b Call) -> Option<&'b str> {
        let bucket = self.bucket_of(call)?;
        self.addressing.is_in_host(bucket).then_some(bucket)
    }

    fn bucket_of<'b>(&'b self, call: &'b Call) -> Option<&'b str> {
        let logical = call.bucket()?;
        Some(self.bucket.map_or(logical, BucketName::as_str))
    }

    /// The `Host` of the request, and the name to connect to.
    #[must_use]
    pub fn authority(&self, call: &Call) -> Cow<'_, str> {
        match self.virtual_bucket(call) {
            Some(bucket) => Cow::Owned(format!("{bucket}.{}", self.host)),
            None => Cow::Borrowed(self.host),
        }
    }
}

/// The copy source `bucket/key?versionId=…` in a region's words, percent-encoded.
#[must_use]
pub fn copy_source(bucket: &BucketName, key: &[u8], version_id: Option<&str>) -> String {
    let mut out = String::with_capacity(bucket.as_str().len() + key.len() + 8);
    encode_into(bucket.as_str().as_bytes(), b"", &mut out);
    out.push('/');
    encode_into(key, b"/", &mut out);
    if let Some(version) = version_id {
        out.push_str("?versionId=");
        encode_into(version.as_bytes(), b"", &mut out);
    }
    out
}

/// Builds the head for a region: method, target, headers. `Host`, length, framing, expectation and
/// signature are added by whoever sends it.
#[must_use]
pub fn outbound(head: &Head, call: &Call, to: &Physical<'_>) -> Head {
    let mut out = Head::new(head.method().clone(), "/");
    let query = query(head, to);
    out.set_target(&path(call, to), query.as_deref());
    if call.operation != Operation::GetObject {
        // Documents are read and edited here; which codings an object may come in is the client's.
        out.push("accept-encoding", b"identity");
    }
    let nominated = nominated(head);
    let stays =
        |field: &Field<'_>| nominated.iter().any(|own| own.eq_ignore_ascii_case(field.name.as_bytes()));
    for field in head.fields().filter(|field| !stays(field)) {
        if let Some(value) = value_for(field.name, field.value, head, call, to) {
            out.push(field.name, &value);
        }
    }
    // Only a presigned query has any; classify has refused what is wrong with them.
    for (name, value) in hoisted(head).unwrap_or_default() {
        if head.count(&name) == 0
            && let Some(value) = value_for(&name, value.as_bytes(), head, call, to)
        {
            out.push(&name, &value);
        }
    }
    if let Some(source) = to.copy_source.as_deref().filter(|_| is_copy(call)) {
        out.push("x-amz-copy-source", source.as_bytes());
    }
    out
}

/// The fields that `Connection` says are for this hop alone. What a request cannot do without is not among
/// them: [`crate::head::strict`] refuses a head that nominates it.
fn nominated(head: &Head) -> SmallVec<[&[u8]; 4]> {
    let names = head.all("connection").flat_map(|names| names.split(|byte| *byte == b','));
    names.map(<[u8]>::trim_ascii).collect()
}

fn path(call: &Call, to: &Physical<'_>) -> String {
    let in_path = to.bucket_of(call).filter(|_| to.virtual_bucket(call).is_none());
    let raw_key = match &call.target {
        Target::Object { raw_key, .. } => Some(raw_key.as_str()),
        Target::Service | Target::Bucket { .. } => None,
    };
    let mut path = to.base_path.to_owned();
    if let Some(bucket) = in_path {
        path.push('/');
        encode_into(bucket.as_bytes(), b"", &mut path);
    }
    if in_path.is_none() || raw_key.is_some() {
        path.push('/');
    }
    path.push_str(raw_key.unwrap_or_default());
    path
}

/// Whether a parameter goes on. One that is not S3's may be the store's own (`?usage` of Ceph's): a read
/// that goes under the client's name and with its own pair is a matter between those two. A write is not:
/// what we take it for is what must be carried out.
fn goes_on(pair: Pair<'_>, head: &Head, to: &Physical<'_>) -> bool {
    let reads = matches!(*head.method(), Method::GET | Method::HEAD);
    is_known(pair) || (reads && to.bucket.is_none() && to.as_the_client && !is_of_the_way(pair))
}

/// Whether a parameter is of the way here: one that presigned requests have, of whichever version of
/// signatures, or the name by which SDKs tell their operations apart.
fn is_of_the_way(pair: Pair<'_>) -> bool {
    const OTHERS: [&str; 4] = ["AWSAccessKeyId", "Signature", "Expires", "x-id"];
    pair.name().is_none_or(|name| {
        let amz = name.get(..6).is_some_and(|start| start.eq_ignore_ascii_case("x-amz-"));
        amz || OTHERS.iter().any(|own| name.eq_ignore_ascii_case(own))
    })
}

/// The client's own parameters in their order and bytes, but for those of the region's.
fn query(head: &Head, to: &Physical<'_>) -> Option<String> {
    let raw = head.query().unwrap_or_default();
    let mut out = String::with_capacity(raw.len());
    let mut added: SmallVec<[&str; 4]> = SmallVec::new();
    for pair in Query::new(raw).pairs().filter(|pair| goes_on(*pair, head, to)) {
        match to.query.iter().find(|(name, _)| pair.is(name)) {
            Some((name, value)) => {
                added.push(name);
                if let Some(value) = value {
                    parameter(&mut out, name, value);
                }
            }
            None => verbatim(&mut out, pair),
        }
    }
    for (name, value) in &to.query {
        if let (Some(value), false) = (value, added.contains(name)) {
            parameter(&mut out, name, value);
        }
    }
    (!out.is_empty()).then_some(out)
}

fn parameter(out: &mut String, name: &str, value: &str) {
    separate(out);
    out.push_str(name);
    out.push('=');
    encode_into(value.as_bytes(), b"", out);
}

/// As it came, but for `+`: we read it as a space, so that is what every store shall read.
fn verbatim(out: &mut String, pair: Pair<'_>) {
    separate(out);
    for (at, part) in pair.raw.split('+').enumerate() {
        if at > 0 {
            out.push_str("%20");
        }
        out.push_str(part);
    }
}

fn separate(out: &mut String) {
    if !out.is_empty() {
        out.push('&');
    }
}

/// The value with which a header travels on; `None` where it does not.
fn value_for<'v>(
    name: &str,
    value: &'v [u8],
    head: &Head,
    call: &Call,
    to: &Physical<'_>,
) -> Option<Cow<'v, [u8]>> {
    let kept = match name.strip_prefix("x-amz-") {
        Some("sdk-checksum-algorithm") => to.honours.has(Feature::Checksums) && is_sent(head, value),
        Some(name) => amz_travels(name, value, call, to),
        None if name == "accept-encoding" => call.operation == Operation::GetObject,
        None => is_kept(name),
    };
    match name {
        _ if !kept => None,
        "content-encoding" => content_encoding(value),
        KMS_KEY if !to.kms_keys.is_empty() => {
            let physical = to.kms_keys.physical(value).map(|key| Cow::Owned(key.as_bytes().to_vec()));
            physical.or(Some(Cow::Borrowed(value)))
        }
        _ => Some(Cow::Borrowed(value)),
    }
}

fn amz_travels(name: &str, value: &[u8], call: &Call, to: &Physical<'_>) -> bool {
    match name {
        // Authentication and framing are made anew for each region; a source names an object in the
        // client's words; the nonce proves our own writes.
        "date"
        | "content-sha256"
        | "security-token"
        | "region-set"
        | "decoded-content-length"
        | "trailer"
        | "user-agent"
        | "copy-source"
        | "rename-source"
        | "meta-nearpoint-write" => false,
        _ if name.starts_with("copy-source-") => is_copy(call),
        // A code that is good once, and a session's secret: they prove who the client is, and say nothing
        // beside another's signature.
        "mfa" | "s3session-token" => to.as_the_client,
        // An account of one region's vendor; another region's bucket has another owner.
        "expected-bucket-owner" | "source-expected-bucket-owner" => to.bucket.is_none(),
        // What every store does anyway, but some refuse to be told.
        "acl" => to.honours.has(Feature::Acl) || !is_default_acl(value),
        // A copy onto itself may change nothing else.
        "storage-class" => !value.is_empty() && (value != b"STANDARD" || is_copy(call)),
        "tagging" => to.honours.has(Feature::Tagging) || !value.is_empty(),
        _ if name.starts_with("checksum-") => to.honours.has(Feature::Checksums),
        _ => true,
    }
}

/// Whether the checksum of this algorithm is in the head: stores refuse the announcement of one that does
/// not come, and trailers are announced anew.
fn is_sent(head: &Head, algorithm: &[u8]) -> bool {
    let of = |field: Field<'_>| {
        let own = field.name.strip_prefix("x-amz-checksum-");
        own.is_some_and(|own| own.as_bytes().eq_ignore_ascii_case(algorithm))
    };
    head.fields().any(of)
}

fn is_copy(call: &Call) -> bool {
    matches!(call.operation, Operation::CopyObject | Operation::UploadPartCopy)
}

/// Without `aws-chunked`, which is a framing and not the object's encoding.
fn content_encoding(value: &[u8]) -> Option<Cow<'_, [u8]>> {
    let framing = |coding: &&[u8]| coding.trim_ascii().eq_ignore_ascii_case(b"aws-chunked");
    let codings = || value.split(|byte| *byte == b',');
    if !codings().any(|coding| framing(&coding)) {
        return Some(Cow::Borrowed(value));
    }
    let rest: Vec<&[u8]> = codings().filter(|coding| !framing(coding)).map(<[u8]>::trim_ascii).collect();
    (!rest.is_empty()).then(|| Cow::Owned(rest.join(&b", "[..])))
}

#[cfg(test)]
mod tests {
    use http::Method;
    use proptest::prelude::*;

    use super::*;
    use crate::s3::address::Domains;
    use crate::s3::classify::classify;
    use crate::s3::kms::NO_KEYS;
    use crate::s3::profile::Profile;

    fn head(method: &Method, target: &str, fields: &[(&str, &str)]) -> Head {
        let mut head = Head::new(method.clone(), target);
        head.push("host", b"h");
        for (name, value) in fields {
            head.push(name, value.as_bytes());
        }
        head
    }

    fn physical(bucket: Option<&BucketName>, addressing: Addressing, profile: &str) -> Physical<'static> {
        Physical {
            host: "store:9000",
            bucket: bucket.cloned().map(|bucket| &*Box::leak(Box::new(bucket))),
            addressing,
            honours: Profile::named(profile).unwrap().honours,
            base_path: "",
            query: SmallVec::new(),
            kms_keys: &NO_KEYS,
            as_the_client: false,
            copy_source: None,
        }
    }

    fn sent(head: &Head, to: &Physical<'_>) -> Head {
        outbound(head, &classify(head, &Domains::new(vec!["dom.ain".into()])).unwrap(), to)
    }

    /// All but the coding that is asked for of every document.
    fn others(head: &Head) -> Vec<&str> {
        head.fields().map(|field| field.name).filter(|name| *name != "accept-encoding").collect()
    }

    #[test]
    fn only_objects_come_in_codings_of_the_clients() {
        let asked = |method: &Method, target: &str| {
            let head = head(method, target, &[("accept-encoding", "gzip, br")]);
            let out = sent(&head, &physical(None, Addressing::Path, "minio"));
            let all: Vec<String> =
                out.all("accept-encoding").map(|value| String::from_utf8_lossy(value).into_owned()).collect();
            all
        };
        assert_eq!(asked(&Method::GET, "/photos/k"), ["gzip, br"]);
        for (method, target) in [
            (Method::GET, "/photos?list-type=2"),
            (Method::GET, "/photos?policy"),
            (Method::HEAD, "/photos/k"),
            (Method::PUT, "/photos/k"),
            (Method::POST, "/photos/k?uploads"),
            (Method::POST, "/photos?delete"),
        ] {
            assert_eq!(asked(&method, target), ["identity"], "{method} {target}");
        }
        let silent = head(&Method::GET, "/photos/k", &[]);
        assert_eq!(sent(&silent, &physical(None, Addressing::Path, "minio")).count("accept-encoding"), 0);
    }

    #[test]
    fn the_key_keeps_its_bytes_whatever_the_style() {
        let bucket = BucketName::new("photos-fra");
        for key in ["a/../b", "//", "./x/", "%2F%2e%2E", "a+b", "\u{e9}%F0%9F%A6%80", "~!*'();:@&=$,[]"] {
            let by_path = head(&Method::GET, &format!("/photos/{key}"), &[]);
            let mut by_host = Head::new(Method::GET, &format!("/{key}"));
            by_host.push("host", b"photos.dom.ain:9000");
            for head in [by_path, by_host] {
                let path = sent(&head, &physical(Some(&bucket), Addressing::Path, "minio"));
                assert_eq!(path.path(), format!("/photos-fra/{key}"));
                let host = sent(&head, &physical(Some(&bucket), Addressing::Virtual, "aws"));
                assert_eq!(host.path(), format!("/{key}"));
            }
        }
    }

    #[test]
    fn the_bucket_goes_where_the_region_wants_it() {
        let bucket = BucketName::new("photos-fra");
        let dotted = BucketName::new("photos.fra");
        let list = head(&Method::GET, "/photos?list-type=2", &[]);
        let call = classify(&list, &Domains::default()).unwrap();
        let virtual_host = physical(Some(&bucket), Addressing::Virtual, "aws");
        assert_eq!(virtual_host.authority(&call), "photos-fra.store:9000");
        assert_eq!(sent(&list, &virtual_host).target(), "/?list-type=2");
        let dots = physical(Some(&dotted), Addressing::Virtual, "aws");
        assert_eq!(dots.authority(&call), "store:9000");
        assert_eq!(sent(&list, &dots).target(), "/photos.fra?list-type=2");
        let mut based = physical(None, Addressing::Path, "minio");
        based.base_path = "/s3";
        assert_eq!(sent(&list, &based).target(), "/s3/photos?list-type=2");
        assert_eq!(sent(&head(&Method::GET, "/", &[]), &based).target(), "/s3/");
    }

    #[test]
    fn nothing_of_the_clients_authentication_framing_or_connection_travels() {
        let dropped = [
            ("authorization", "AWS4-HMAC-SHA256 ..."),
            ("x-amz-date", "1"),
            ("date", "1"),
            ("x-amz-content-sha256", "UNSIGNED-PAYLOAD"),
            ("x-amz-security-token", "t"),
            ("x-amz-region-set", "*"),
            ("connection", "close"),
            ("keep-alive", "1"),
            ("te", "trailers"),
            ("trailer", "x"),
            ("transfer-encoding", "chunked"),
            ("upgrade", "h2c"),
            ("proxy-authorization", "x"),
            ("expect", "100-continue"),
            ("amz-sdk-invocation-id", "x"),
            ("amz-sdk-request", "x"),
            ("x-forwarded-for", "10.0.0.1"),
            ("forwarded", "for=x"),
            ("cookie", "x"),
            ("x-amz-decoded-content-length", "3"),
            ("x-amz-trailer", "x-amz-checksum-crc32"),
            ("x-amz-sdk-checksum-algorithm", "SHA256"),
            ("x-amz-copy-source-if-match", "x"),
            ("x-amz-expected-bucket-owner", "111122223333"),
            ("x-amz-mfa", "20899872 301749"),
            ("x-amz-s3session-token", "t"),
            ("x-nearpoint-region", "x"),
            ("x-amz-meta-nearpoint-write", "x"),
            ("x-custom", "x"),
        ];
        let kept = [
            ("content-type", "text/plain"),
            ("x-amz-meta-a_b", "1"),
            ("x-amz-something-new", "1"),
            ("if-none-match", "*"),
            ("x-amz-checksum-crc32", "AAAAAA=="),
        ];
        let all: Vec<_> = dropped.into_iter().chain(kept).collect();
        let out = sent(
            &head(&Method::PUT, "/photos/k", &all),
            &physical(Some(&"photos-fra".into()), Addressing::Path, "aws"),
        );
        assert_eq!(others(&out), kept.map(|(name, _)| name));
    }

    #[test]
    fn parameters_of_the_store_s_own_go_with_a_read_of_the_client_s_own() {
        let usage = "/b?usage&allow-unordered=true&max-keys=1&X-Amz-Signature=s&x-amz-acl=private&Expires=1&x-id=ListObjects";
        let known = Some("max-keys=1");
        let all = Some("usage&allow-unordered=true&max-keys=1");
        let bucket = BucketName::new("physical");
        for (method, as_the_client, physical_name, sent) in [
            (Method::GET, true, None, all),
            (Method::HEAD, true, None, all),
            (Method::GET, false, None, known),
            (Method::GET, true, Some(&bucket), known),
            (Method::PUT, true, None, known),
        ] {
            let to = Physical { as_the_client, ..physical(physical_name, Addressing::Path, "aws") };
            let head = Head::new(method.clone(), usage);
            assert_eq!(query(&head, &to).as_deref(), sent, "{method} {as_the_client} {physical_name:?}");
        }
    }

    #[test]
    fn what_proves_the_client_goes_along_where_the_client_s_own_pair_signs() {
        let proofs = [("x-amz-mfa", "20899872 301749"), ("x-amz-s3session-token", "t")];
        let delete = head(&Method::DELETE, "/photos/k?versionId=v", &proofs);
        let hoisted = "/photos/k?versionId=v&X-Amz-Mfa=1%202&X-Amz-S3session-Token=t&X-Amz-Signature=s";
        let hoisted = head(&Method::DELETE, hoisted, &[]);
        for as_the_client in [false, true] {
            let to = Physical { as_the_client, ..physical(None, Addressing::Path, "aws") };
            for head in [&delete, &hoisted] {
                let sent = sent(head, &to);
                let wanted = if as_the_client { proofs.map(|(name, _)| name).to_vec() } else { Vec::new() };
                assert_eq!(others(&sent), wanted, "{}", head.target());
                assert_eq!(sent.query(), Some("versionId=v"));
            }
        }
    }

    #[test]
    fn what_connection_nominates_stays_here() {
        let fields = [
            ("connection", "close, Cache-Control ,x-other\u{e9}"),
            ("cache-control", "no-store"),
            ("connection", "expires"),
            ("expires", "0"),
            ("content-language", "en"),
        ];
        let put = head(&Method::PUT, "/photos/k", &fields);
        assert_eq!(others(&sent(&put, &physical(None, Addressing::Path, "aws"))), ["content-language"]);
    }

    #[test]
    fn a_checksum_s_algorithm_is_told_where_the_checksum_goes_along() {
        let told = |fields: &[(&str, &str)], profile: &str| {
            let out =
                sent(&head(&Method::PUT, "/photos/k", fields), &physical(None, Addressing::Path, profile));
            out.first_text("x-amz-sdk-checksum-algorithm").map(str::to_owned)
        };
        let named = ("x-amz-sdk-checksum-algorithm", "CRC32");
        let both = [named, ("x-amz-checksum-crc32", "AAAAAA==")];
        assert_eq!(told(&both, "aws").as_deref(), Some("CRC32"));
        assert_eq!(told(&both, "ceph"), None, "the checksum stays behind");
        assert_eq!(told(&[named], "aws"), None);
        assert_eq!(told(&[named, ("x-amz-trailer", "x-amz-checksum-crc32")], "aws"), None);
        assert_eq!(told(&[named, ("x-amz-checksum-sha1", "x")], "aws"), None, "of another algorithm");
    }

    #[test]
    fn a_presigned_query_is_taken_apart() {
        let target = "/photos/k?X-Amz-Algorithm=A&X-Amz-Credential=c&X-Amz-Date=d&X-Amz-Expires=1\
                      &X-Amz-SignedHeaders=host&X-Amz-Security-Token=t&X-Amz-Signature=s&x-id=PutObject\
                      &X-Amz-Meta-A=1%202&x-amz-acl=public-read&x-amz-sdk-checksum-algorithm=CRC32&unknown=1";
        let out = sent(&head(&Method::PUT, target, &[]), &physical(None, Addressing::Path, "aws"));
        assert_eq!(out.target(), "/photos/k");
        assert_eq!(others(&out), ["x-amz-meta-a", "x-amz-acl"]);
        assert_eq!(out.first_text("x-amz-meta-a"), Some("1 2"));
        let once = head(
            &Method::PUT,
            "/photos/k?X-Amz-Signature=s&x-amz-acl=public-read",
            &[("x-amz-acl", "public-read")],
        );
        assert_eq!(others(&sent(&once, &physical(None, Addressing::Path, "aws"))), ["x-amz-acl"]);
    }

    #[test]
    fn parameters_keep_their_bytes_but_for_the_regions_own() {
        let target = "/photos?list-type=2&prefix=a%2fb+c&continuation-token=OURS&x-id=ListObjectsV2&delimiter=%2F&fetch-owner";
        let get = head(&Method::GET, target, &[]);
        let mut to = physical(None, Addressing::Path, "aws");
        to.query.push(("continuation-token", Some("a/b+=".into())));
        let expected =
            "list-type=2&prefix=a%2fb%20c&continuation-token=a%2Fb%2B%3D&delimiter=%2F&fetch-owner";
        assert_eq!(sent(&get, &to).query(), Some(expected));
        to.query[0].1 = None;
        to.query.push(("start-after", Some("z \u{e9}".into())));
        let expected = "list-type=2&prefix=a%2fb%20c&delimiter=%2F&fetch-owner&start-after=z%20%C3%A9";
        assert_eq!(sent(&get, &to).query(), Some(expected));
    }

    #[test]
    fn encoded_names_of_parameters_are_replaced_too() {
        let mut to = physical(None, Addressing::Path, "aws");
        to.query.push(("uploadId", Some("theirs".into())));
        let part = head(&Method::PUT, "/photos/k?partNumber=1&upload%49d=ours", &[]);
        assert_eq!(sent(&part, &to).query(), Some("partNumber=1&uploadId=theirs"));
    }

    #[test]
    fn what_says_nothing_is_not_said_to_stores_that_refuse_it() {
        let fields = [
            ("x-amz-acl", "private"),
            ("x-amz-storage-class", "STANDARD"),
            ("x-amz-tagging", ""),
            ("x-amz-checksum-crc32", "A"),
        ];
        let put = head(&Method::PUT, "/photos/k", &fields);
        assert_eq!(
            others(&sent(&put, &physical(None, Addressing::Path, "garage"))),
            ["x-amz-checksum-crc32"]
        );
        assert_eq!(
            others(&sent(&put, &physical(None, Addressing::Path, "ceph"))),
            ["x-amz-acl", "x-amz-tagging"]
        );
        let put = head(
            &Method::PUT,
            "/photos/k",
            &[("x-amz-acl", "public-read"), ("x-amz-storage-class", "GLACIER")],
        );
        assert_eq!(
            others(&sent(&put, &physical(None, Addressing::Path, "garage"))),
            ["x-amz-acl", "x-amz-storage-class"]
        );
        // of a copy onto itself it may be all that changes
        let copy = [("x-amz-copy-source", "/photos/k"), ("x-amz-storage-class", "STANDARD")];
        let copy = sent(&head(&Method::PUT, "/photos/k", &copy), &physical(None, Addressing::Path, "aws"));
        assert!(others(&copy).contains(&"x-amz-storage-class"), "{:?}", others(&copy));
    }

    #[test]
    fn aws_chunked_is_no_encoding() {
        for (value, expected) in [
            ("aws-chunked", None),
            ("gzip,aws-chunked", Some("gzip")),
            ("AWS-Chunked, gzip , br", Some("gzip, br")),
            ("gzip, br", Some("gzip, br")),
        ] {
            let put = head(&Method::PUT, "/photos/k", &[("content-encoding", value)]);
            let out = sent(&put, &physical(None, Addressing::Path, "aws"));
            assert_eq!(out.first_text("content-encoding"), expected, "{value}");
        }
    }

    #[test]
    fn the_copy_source_is_the_regions() {
        let fields =
            [("x-amz-copy-source", "photos/a%20b?versionId=ours"), ("x-amz-copy-source-if-match", "x")];
        let copy = head(&Method::PUT, "/photos/k", &fields);
        let mut to = physical(Some(&"photos-fra".into()), Addressing::Path, "aws");
        to.copy_source = Some(copy_source(&"photos-fra".into(), b"a b+/\xc3\xa9", Some("v/1")));
        let out = sent(&copy, &to);
        assert_eq!(others(&out), ["x-amz-copy-source-if-match", "x-amz-copy-source"]);
        assert_eq!(out.first_text("x-amz-copy-source"), Some("photos-fra/a%20b%2B/%C3%A9?versionId=v%2F1"));
    }

    proptest! {
        #[test]
        fn what_is_sent_asks_for_what_was_classified(
            key in "[a-z%/.+~]{0,12}",
            query in "(&?(acl|tagging|uploads|uploadId=u|partNumber=1|versionId=v|x-id=z|X-Amz-Signature=s|x-amz-acl=a|foo=1|prefix=a%20)){0,4}",
            method in prop::sample::select(vec![Method::GET, Method::PUT, Method::POST, Method::DELETE, Method::HEAD]),
        ) {
            let head = head(&method, &format!("/photos/{key}?{query}"), &[]);
            if let Ok(call) = classify(&head, &Domains::default()) {
                let mut out = outbound(&head, &call, &physical(Some(&"photos-fra".into()), Addressing::Path, "aws"));
                out.push("host", b"store:9000");
                let there = classify(&out, &Domains::default()).unwrap();
                prop_assert_eq!(there.operation, call.operation);
                prop_assert_eq!(there.key(), call.key());
                prop_assert_eq!(there.upload_id, call.upload_id);
                prop_assert_eq!(there.version_id, call.version_id);
                prop_assert_eq!(there.depends_on, call.depends_on);
            }
        }
    }
}
