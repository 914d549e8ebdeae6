use http::{HeaderMap, HeaderName, HeaderValue, Method};
use proptest::prelude::*;

use super::*;
use crate::s3::address::Domains;
use crate::s3::classify::classify;

fn head(target: &str, fields: &[(&str, &str)]) -> Head {
    let mut head = Head::new(Method::PUT, target);
    for (name, value) in fields {
        head.push(name, value.as_bytes());
    }
    head
}

fn call(head: &Head) -> Call {
    classify(head, &Domains::default()).unwrap()
}

fn asked(target: &str, fields: &[(&str, &str)]) -> Result<Asked, Code> {
    let head = head(target, fields);
    Asked::of(&head, &call(&head)).map_err(|fault| fault.code)
}

fn shown(fields: &[(&'static str, &'static str)]) -> HeaderMap {
    let field = |(name, value): &(&'static str, &'static str)| {
        (HeaderName::from_static(name), HeaderValue::from_static(value))
    };
    fields.iter().map(field).collect()
}

fn lines(head: &Head) -> Vec<String> {
    head.fields().map(|field| format!("{}: {}", field.name, field.text().unwrap_or("?"))).collect()
}

const FROM: (&str, &str) = ("x-amz-copy-source", "/vault/a%20b");
const TO: &str = "/photos/c%2Fd";
const PART: &str = "/photos/k?partNumber=2&uploadId=u%2F1";

#[test]
fn directives_ranges_and_checksums_are_read_or_refused() {
    assert_eq!(
        asked(TO, &[FROM]),
        Ok(Asked {
            replaces_metadata: false,
            replaces_tags: false,
            is_part: false,
            range: None,
            checksum: None
        })
    );
    let replaces = [FROM, ("x-amz-metadata-directive", "REPLACE"), ("x-amz-tagging-directive", "REPLACE")];
    assert!(asked(TO, &replaces).is_ok_and(|asked| asked.replaces_metadata && asked.replaces_tags));
    assert_eq!(
        asked(TO, &[FROM, ("x-amz-checksum-algorithm", "sha256")]).unwrap().checksum,
        Some(Algorithm::Sha256)
    );
    for (name, value, code) in [
        ("x-amz-metadata-directive", "replace", Code::InvalidArgument),
        ("x-amz-tagging-directive", "MOVE", Code::InvalidArgument),
        ("x-amz-checksum-algorithm", "CRC16", Code::InvalidRequest),
        ("x-amz-checksum-algorithm", "MD5", Code::InvalidRequest),
    ] {
        assert_eq!(asked(TO, &[FROM, (name, value)]), Err(code), "{name}: {value}");
    }
    let range = |text: &str| asked(PART, &[FROM, ("x-amz-copy-source-range", text)]).map(|asked| asked.range);
    assert_eq!(range("bytes=3-9"), Ok(Some((3, 9))));
    for text in ["bytes=3-", "bytes=-9", "3-9", "bytes=9-3", "bytes=0-1,3-4", ""] {
        assert_eq!(range(text), Err(Code::InvalidArgument), "{text}");
    }
    assert_eq!(
        asked(TO, &[FROM, ("x-amz-copy-source-range", "nonsense")]).unwrap().range,
        None,
        "of parts only"
    );
}

#[test]
fn an_object_is_not_copied_onto_itself_for_nothing() {
    let own = |source: &'static str, more: &[(&str, &str)]| {
        let fields = [&[("x-amz-copy-source", source)], more].concat();
        asked("/photos/k", &fields).is_ok()
    };
    assert!(!own("photos/k", &[]));
    assert!(!own("/photos/k", &[("x-amz-tagging-directive", "COPY")]));
    assert!(own("photos/k?versionId=v", &[]));
    assert!(own("vault/k", &[]));
    for change in ["x-amz-storage-class", "x-amz-website-redirect-location", "x-amz-server-side-encryption"] {
        assert!(own("photos/k", &[(change, "x")]), "{change}");
    }
    assert!(own("photos/k", &[("x-amz-metadata-directive", "REPLACE")]));
}

#[test]
fn no_more_is_copied_than_an_object_or_a_part_may_have() {
    let whole = asked(TO, &[FROM]).unwrap();
    assert_eq!(whole.stretch(0), Ok(None));
    assert_eq!(whole.stretch(1), Ok(Some((0, 0))));
    assert_eq!(whole.stretch(OBJECT_MAX), Ok(Some((0, OBJECT_MAX - 1))));
    assert_eq!(whole.stretch(OBJECT_MAX + 1).unwrap_err().code, Code::InvalidRequest);
    let all = asked(PART, &[FROM]).unwrap();
    assert_eq!(all.stretch(PART_MAX), Ok(Some((0, PART_MAX - 1))));
    assert_eq!(all.stretch(PART_MAX + 1).unwrap_err().code, Code::InvalidRequest);
    let part = |range: &str| asked(PART, &[FROM, ("x-amz-copy-source-range", range)]).unwrap();
    let large = 3 * PART_MAX;
    assert_eq!(part("bytes=5-9").stretch(large), Ok(Some((5, 9))));
    assert_eq!(part(&format!("bytes=1-{PART_MAX}")).stretch(large), Ok(Some((1, PART_MAX))));
    assert_eq!(part(&format!("bytes=0-{PART_MAX}")).stretch(large).unwrap_err().code, Code::InvalidRequest);
    assert_eq!(part("bytes=5-9").stretch(9).unwrap_err().code, Code::InvalidArgument);
    assert_eq!(part("bytes=5-9").stretch(10), Ok(Some((5, 9))));
}

proptest! {
    #[test]
    fn parts_are_all_of_it_once_and_large_enough(
        size in prop_oneof![WHOLE_MAX..=PART_MAX, PART_MAX..=OBJECT_MAX, Just(OBJECT_MAX)],
    ) {
        let parts: Vec<_> = parts(size).collect();
        let most = if size <= 64 << 30 { 64 } else { 5_120 };
        prop_assert!(parts.len() <= most);
        let mut next = 0;
        for (at, (number, first, last)) in parts.iter().enumerate() {
            prop_assert_eq!(usize::from(*number), at + 1);
            prop_assert_eq!(*first, next);
            prop_assert!(last >= first);
            prop_assert!(last - first + 1 >= 5 << 20 || *last == size - 1, "stores take no smaller parts");
            next = last + 1;
        }
        prop_assert_eq!(next, size);
    }
}

#[test]
fn the_source_is_read_as_its_reader_would() {
    let fields = [
        ("x-amz-copy-source", "/vault/a%20b?versionId=v%2F1"),
        ("x-amz-copy-source-if-none-match", "\"e\""),
        ("x-amz-copy-source-if-unmodified-since", "then"),
        ("x-amz-copy-source-server-side-encryption-customer-key", "sourcekey"),
        ("x-amz-server-side-encryption-customer-key", "copykey"),
        ("x-amz-source-expected-bucket-owner", "1"),
        ("x-amz-expected-bucket-owner", "2"),
        ("x-amz-meta-a", "b"),
        ("if-match", "\"c\""),
        ("user-agent", "me"),
        ("authorization", "secret"),
    ];
    let head = head(TO, &fields);
    let reading = Reading { head: &head, call: &call(&head) };
    let first = reading.head();
    assert_eq!((first.method(), first.target()), (&Method::HEAD, "/vault/a%20b?versionId=v%2F1"));
    let both = [
        "x-amz-server-side-encryption-customer-key: sourcekey",
        "x-amz-expected-bucket-owner: 1",
        "user-agent: me",
    ];
    let conditions = ["if-none-match: \"e\"", "if-unmodified-since: then", "x-amz-checksum-mode: ENABLED"];
    assert_eq!(lines(&first), [&both[..], &conditions].concat());
    let object =
        Object::of(shown(&[("content-length", "9"), ("etag", "\"e\""), ("x-amz-version-id", "v2")])).unwrap();
    let bytes = reading.bytes(&object, Some((3, 8)));
    assert_eq!((bytes.method(), bytes.target()), (&Method::GET, "/vault/a%20b?versionId=v%2F1"));
    assert_eq!(lines(&bytes), [&both[..], &["range: bytes=3-8", "if-match: \"e\""]].concat());
    let tags = reading.tags(&object);
    assert_eq!(tags.target(), "/vault/a%20b?tagging&versionId=v%2F1");
    assert_eq!(lines(&tags), both[1..].to_vec());
}

#[test]
fn bytes_are_of_the_version_that_was_looked_at() {
    let head = head(TO, &[FROM]);
    let reading = Reading { head: &head, call: &call(&head) };
    let seen =
        |id: &'static str| Object::of(shown(&[("content-length", "9"), ("x-amz-version-id", id)])).unwrap();
    assert_eq!(reading.head().target(), "/vault/a%20b");
    assert_eq!(reading.bytes(&seen("v2"), None).target(), "/vault/a%20b?versionId=v2");
    assert_eq!(reading.bytes(&seen("null"), None).target(), "/vault/a%20b");
}

const SOURCE: &[(&str, &str)] = &[
    ("content-type", "text/plain"),
    ("content-length", "9"),
    ("etag", "\"e\""),
    ("cache-control", "no-store"),
    ("x-amz-meta-a", "source"),
    ("x-amz-storage-class", "GLACIER"),
    ("x-amz-website-redirect-location", "/"),
    ("x-amz-server-side-encryption", "AES256"),
    ("x-amz-object-lock-mode", "GOVERNANCE"),
    ("last-modified", "then"),
];

fn written(fields: &[(&str, &str)], tags: Option<&str>, whole: bool) -> (String, Vec<String>) {
    let head = head(TO, &[&[FROM], fields].concat());
    let (call, asked) = (call(&head), Asked::of(&head, &call(&head)).unwrap());
    let writing = Writing { head: &head, call: &call, asked: &asked };
    let source = shown(SOURCE);
    let out = if whole { writing.whole(&source, tags) } else { writing.beginning(&source, tags) };
    let mut lines = lines(&out);
    lines.sort();
    (format!("{} {}", out.method(), out.target()), lines)
}

#[test]
fn a_copy_has_the_source_s_description_or_the_request_s() {
    let described = ["cache-control: no-store", "content-type: text/plain", "x-amz-meta-a: source"];
    assert_eq!(
        written(&[], None, true),
        ("PUT /photos/c%2Fd".to_owned(), described.map(str::to_owned).to_vec())
    );
    assert_eq!(written(&[("content-type", "x/y"), ("x-amz-meta-b", "1")], None, true).1, described);
    let replaced = [("x-amz-metadata-directive", "REPLACE"), ("content-type", "x/y"), ("x-amz-meta-b", "1")];
    assert_eq!(written(&replaced, None, true).1, ["content-type: x/y", "x-amz-meta-b: 1"]);
    assert_eq!(written(&replaced[..1], None, false), ("POST /photos/c%2Fd?uploads".to_owned(), vec![]));
}

#[test]
fn what_is_asked_of_the_copy_travels_and_its_source_s_affairs_do_not() {
    let fields = [
        ("x-amz-metadata-directive", "REPLACE"),
        ("x-amz-acl", "public-read"),
        ("x-amz-storage-class", "STANDARD_IA"),
        ("x-amz-server-side-encryption-customer-key", "k"),
        ("x-amz-copy-source-server-side-encryption-customer-key", "source"),
        ("x-amz-copy-source-if-match", "\"e\""),
        ("x-amz-object-lock-mode", "COMPLIANCE"),
        ("x-amz-newer-than-this", "1"),
        ("x-amz-checksum-algorithm", "CRC32"),
        ("x-amz-date", "d"),
        ("x-amz-content-sha256", "UNSIGNED-PAYLOAD"),
        ("if-none-match", "*"),
        ("content-length", "0"),
        ("cookie", "c"),
    ];
    let common = [
        "x-amz-acl: public-read",
        "x-amz-newer-than-this: 1",
        "x-amz-object-lock-mode: COMPLIANCE",
        "x-amz-server-side-encryption-customer-key: k",
        "x-amz-storage-class: STANDARD_IA",
    ];
    assert_eq!(written(&fields, None, true).1, [&["if-none-match: *"][..], &common].concat());
    let begun = written(&fields, None, false).1;
    assert_eq!(begun, [&common[..1], &["x-amz-checksum-algorithm: CRC32"], &common[1..]].concat());
}

#[test]
fn tags_are_the_source_s_or_the_request_s() {
    let tags = |fields: &[(&str, &str)]| {
        let lines = written(fields, Some("a=1"), true).1;
        lines.into_iter().find_map(|line| line.strip_prefix("x-amz-tagging: ").map(str::to_owned))
    };
    assert_eq!(tags(&[]).as_deref(), Some("a=1"));
    assert_eq!(
        tags(&[("x-amz-tagging", "b=2")]).as_deref(),
        Some("a=1"),
        "without the directive it says nothing"
    );
    assert_eq!(
        tags(&[("x-amz-tagging-directive", "REPLACE"), ("x-amz-tagging", "b=2")]).as_deref(),
        Some("b=2")
    );
    let document = b"<Tagging><TagSet><Tag><Key>a b</Key><Value>1&amp;2</Value></Tag><Tag><Key>c</Key><Value/></Tag></TagSet></Tagging>";
    assert_eq!(super::tags(document).as_deref(), Some("a%20b=1%262&c="));
    assert_eq!(super::tags(b"<Tagging><TagSet/></Tagging>").as_deref(), Some(""));
    assert_eq!(super::tags(b"<Error><Code>AccessDenied</Code></Error>"), None);
}

#[test]
fn parts_go_to_their_upload() {
    let fields = [
        FROM,
        ("x-amz-server-side-encryption-customer-key", "k"),
        ("x-amz-server-side-encryption", "aws:kms"),
        ("if-match", "\"e\""),
    ];
    let head = head(TO, &fields);
    let (call, asked) = (call(&head), asked(TO, &[FROM]).unwrap());
    let writing = Writing { head: &head, call: &call, asked: &asked };
    let part = writing.part("u/1", 7);
    assert_eq!((part.method(), part.target()), (&Method::PUT, "/photos/c%2Fd?partNumber=7&uploadId=u%2F1"));
    assert_eq!(lines(&part), ["x-amz-server-side-encryption-customer-key: k"]);
    let end = writing.end("u/1");
    assert_eq!((end.method(), end.target()), (&Method::POST, "/photos/c%2Fd?uploadId=u%2F1"));
    assert_eq!(lines(&end)[1], "if-match: \"e\"");
    assert_eq!(writing.abort("u").target(), "/photos/c%2Fd?uploadId=u");
    assert_eq!(classify(&part, &Domains::default()).unwrap().operation, Operation::UploadPart);
    assert_eq!(classify(&end, &Domains::default()).unwrap().operation, Operation::CompleteMultipartUpload);
}

#[test]
fn heads_of_sources_are_read() {
    let of = |more: &[(&'static str, &'static str)]| {
        Object::of(shown(&[&[("content-length", "9")], more].concat()))
    };
    assert_eq!(Object::of(shown(&[("etag", "\"e\"")])), None, "without a length");
    let plain =
        of(&[("etag", "\"e\""), ("x-amz-checksum-crc32", "AAAAAA=="), ("x-amz-checksum-type", "COMPOSITE")])
            .unwrap();
    assert_eq!((plain.size, plain.etag.as_deref(), plain.checksum), (9, Some("\"e\""), None));
    let told = of(&[
        ("etag", "W/\"e\""),
        ("x-amz-checksum-crc32", "AAAAAA=="),
        ("x-amz-checksum-type", "FULL_OBJECT"),
    ])
    .unwrap();
    assert_eq!(
        (told.etag.as_deref(), &told.checksum),
        (None, &Some((Algorithm::Crc32, "AAAAAA==".to_owned())))
    );
    let mut head = head(TO, &[]);
    told.protect(&mut head, Some(Algorithm::Sha1));
    assert!(lines(&head).is_empty(), "the copy is to have another");
    told.protect(&mut head, None);
    assert_eq!(lines(&head), ["x-amz-checksum-crc32: AAAAAA=="]);
    let tagged = of(&[("x-amz-tagging-count", "2")]).unwrap();
    assert_eq!(tagged.tags, Some(2));
    assert_eq!(of(&[]).unwrap().tags, None, "uncounted");
    let same = |etag: &'static str| plain_of("\"e\"").is_of(&shown(&[("etag", etag)]));
    assert!(same("\"e\"") && !same("\"f\"") && !same("W/\"e\""));
}

fn plain_of(etag: &'static str) -> Object {
    Object::of(shown(&[("content-length", "9"), ("etag", etag)])).unwrap()
}

#[test]
fn results_are_what_s3_says() {
    let copied = Copied {
        modified: "2026-01-02T03:04:05.000Z".to_owned(),
        etag: "\"e\"".to_owned(),
        checksums: vec![(Algorithm::Crc32, "AAAAAA==".to_owned())],
    };
    let inner = "<LastModified>2026-01-02T03:04:05.000Z</LastModified><ETag>&quot;e&quot;</ETag><ChecksumCRC32>AAAAAA==</ChecksumCRC32>";
    for (operation, root) in
        [(Operation::CopyObject, "CopyObjectResult"), (Operation::UploadPartCopy, "CopyPartResult")]
    {
        let namespace = "http://s3.amazonaws.com/doc/2006-03-01/";
        assert_eq!(copied.document(operation), format!("<{root} xmlns=\"{namespace}\">{inner}</{root}>"));
    }
}

#[test]
fn answers_on_the_way_are_read() {
    let begun = "<InitiateMultipartUploadResult><Bucket>b</Bucket><Key>k</Key><UploadId>u</UploadId></InitiateMultipartUploadResult>";
    assert_eq!(upload_id(begun).as_deref(), Some("u"));
    assert_eq!(upload_id("<Error><UploadId>u</UploadId></Error>"), None);
    assert_eq!(upload_id("<InitiateMultipartUploadResult><UploadId>u</UploadId>"), None);
    let listed = "<ListPartsResult><ChecksumAlgorithm>CRC32C</ChecksumAlgorithm></ListPartsResult>";
    assert_eq!(upload_checksum(listed), Some(Algorithm::Crc32c));
    assert_eq!(upload_checksum("<ListPartsResult/>"), None);
    let done = "<CompleteMultipartUploadResult><ETag>\"e-2\"</ETag><ChecksumCRC32>x</ChecksumCRC32><ChecksumType>COMPOSITE</ChecksumType></CompleteMultipartUploadResult>";
    assert_eq!(completed(done), Some(("\"e-2\"".to_owned(), vec![(Algorithm::Crc32, "x".to_owned())])));
    assert_eq!(completed("<Error><Code>InternalError</Code></Error>"), None);
    let parts =
        [Part { number: 1, etag: "\"e\"".to_owned(), checksum: Some((Algorithm::Crc32, "x".to_owned())) }];
    let read = crate::s3::xml::complete_request(completion(&parts).as_bytes()).unwrap();
    assert_eq!((read[0].number, read[0].etag.as_str(), read[0].checksums.len()), (1, "\"e\"", 1));
}
