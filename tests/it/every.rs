//! Every operation of the table over the wire: what a region gets of it, and what the client gets of the
//! answer. An operation that is added is asked for here by its row of the table.

use bytes::Bytes;
use nearpoint::s3::operation::{BodyKind, Level, Operation};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::forms::Form;
use crate::house::client::{Client, Reply, Request, Signed};
use crate::house::digest;
use crate::house::gateway::{Gateway, Setup, Tenant, allow};
use crate::house::region::{self, Act, PATIENCE, Region, Seen, Settings, When};

const BUCKET: &str = "photos-home";
/// Bytes that a URI's reader might tidy up.
const KEY: &str = "dir//k%20e%2By/..%2F%C3%BC~";
/// Known to S3, of no meaning to most operations: what is not ours to change in a query.
const PARAMETER: &str = "start-after=a%2fb%20c~";
/// An answer's header that nobody knows.
const NEW_ANSWER: &str = "x-amz-new-answer";

/// What becomes of an operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    /// The region gets it, and the client the answer.
    Passes,
    /// Nearpoint answers with this status, and this code where it refuses.
    Answered(u16, Option<&'static str>),
}

/// On an access point with a name of its own.
fn on_named(operation: Operation) -> Fate {
    use Operation as O;
    let rule = operation.facts().rule;
    match operation {
        // the access point is there, and listed, whatever its regions are doing; directory buckets are asked
        // for by the same request line as buckets
        O::HeadBucket | O::GetBucketLocation | O::ListBuckets | O::ListDirectoryBuckets => {
            Fate::Answered(200, None)
        }
        _ if is_foreign(operation) => Fate::Answered(501, Some("NotImplemented")),
        O::CreateBucket => Fate::Answered(409, Some("BucketAlreadyOwnedByYou")),
        // they name other buckets, hosts or accounts, for which the client has no words
        O::GetBucketAnalyticsConfiguration
        | O::ListBucketAnalyticsConfigurations
        | O::GetBucketInventoryConfiguration
        | O::ListBucketInventoryConfigurations
        | O::GetBucketMetricsConfiguration
        | O::ListBucketMetricsConfigurations
        | O::GetBucketLogging
        | O::GetBucketNotificationConfiguration
        | O::GetBucketNotification
        | O::GetBucketMetadataConfiguration
        | O::GetBucketMetadataTableConfiguration
        | O::GetBucketReplication
        | O::GetBucketWebsite
        | O::ListObjectAnnotations
        | O::GetObjectTorrent => Fate::Answered(501, Some("NotImplemented")),
        // these are about objects
        O::DeleteObjects | O::PostObject => Fate::Passes,
        // buckets and their settings are the operator's
        _ if rule.level == Level::Bucket && ["PUT", "POST", "DELETE"].contains(&rule.method) => {
            Fate::Answered(405, Some("MethodNotAllowed"))
        }
        _ => Fate::Passes,
    }
}

/// Under a wildcard over one region: a store as it is.
fn under_the_wildcard(operation: Operation) -> Fate {
    match operation {
        _ if is_foreign(operation) => Fate::Answered(501, Some("NotImplemented")),
        _ => Fate::Passes,
    }
}

/// They would hand out the proxy's own credentials, or name objects past the policy.
fn is_foreign(operation: Operation) -> bool {
    use Operation as O;
    matches!(operation, O::CreateSession | O::RenameObject | O::WriteGetObjectResponse)
}

/// The path and query of an operation on a bucket.
fn target(operation: Operation, bucket: &str) -> String {
    use Operation as O;
    let rule = operation.facts().rule;
    let path = match rule.level {
        Level::Service => "/".to_owned(),
        Level::Bucket => format!("/{bucket}"),
        Level::Object => format!("/{bucket}/{KEY}"),
    };
    let query = match (operation, rule.selector) {
        (_, "") => String::new(),
        (_, "list-type") => "list-type=2&".to_owned(),
        (O::UploadPart | O::UploadPartCopy, _) => "partNumber=7&uploadId=u~1&".to_owned(),
        (_, "uploadId") => "uploadId=u~1&".to_owned(),
        (_, "select") => "select&select-type=2&".to_owned(),
        (O::GetObjectAnnotation | O::PutObjectAnnotation | O::DeleteObjectAnnotation, selector) => {
            format!("{selector}&annotationName=a%2fb&")
        }
        (
            O::GetBucketAnalyticsConfiguration
            | O::GetBucketInventoryConfiguration
            | O::GetBucketMetricsConfiguration
            | O::GetBucketIntelligentTieringConfiguration,
            selector,
        ) => format!("{selector}&id=a%2fb&"),
        // both forms that a sub-resource without a value has
        (_, selector) if rule.level == Level::Object => format!("{selector}&"),
        (_, selector) => format!("{selector}=&"),
    };
    format!("{path}?{query}{PARAMETER}")
}

/// The body of an operation: of a form its file.
fn body(operation: Operation) -> Vec<u8> {
    let declaration = r#"<?xml version="1.0" encoding="UTF-8"?>"#;
    let document = match operation {
        // as it is written anew: its versions are put in the region's words
        Operation::DeleteObjects => {
            "<Delete xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\"><Object><Key>a &amp; b</Key><ETag>e</ETag></Object></Delete>"
        }
        Operation::CompleteMultipartUpload => {
            "<CompleteMultipartUpload><Part><ETag>\"e\"</ETag> <PartNumber>1</PartNumber></Part></CompleteMultipartUpload>"
        }
        Operation::CreateBucket => {
            "<CreateBucketConfiguration><Tags>  <!-- as it is --> </Tags></CreateBucketConfiguration>"
        }
        _ => "<Thing>  <A b='c'>&amp;</A><!-- as it is --></Thing>\n",
    };
    match operation.facts().body {
        BodyKind::Empty => Vec::new(),
        BodyKind::Stream => (0..=255).collect(),
        BodyKind::Document => format!("{declaration}\n{document}").into_bytes(),
    }
}

/// Headers that travel with an operation.
fn headers(operation: Operation) -> Vec<(&'static str, String)> {
    use Operation as O;
    let mut headers: Vec<(&str, String)> = vec![
        ("x-amz-new-thing", "1".to_owned()),
        ("x-amz-request-payer", "requester".to_owned()),
        ("x-amz-meta-a", "two words".to_owned()),
        ("user-agent", "a client".to_owned()),
    ];
    let creates = [O::PutObject, O::CopyObject, O::CreateMultipartUpload];
    if creates.contains(&operation) {
        headers.push(("x-amz-website-redirect-location", "/elsewhere".to_owned()));
        headers.push(("content-language", "de".to_owned()));
    }
    match operation.facts().body {
        BodyKind::Empty => {}
        BodyKind::Stream => headers.push(("content-type", "image/png".to_owned())),
        BodyKind::Document => {
            headers.push(("content-type", "application/xml".to_owned()));
            headers.push(("content-md5", digest::md5_base64(&body(operation))));
        }
    }
    if operation == O::Preflight {
        headers.push(("origin", "https://app.example.com".to_owned()));
        headers.push(("access-control-request-method", "PUT".to_owned()));
    }
    headers
}

fn copies(operation: Operation) -> bool {
    matches!(operation, Operation::CopyObject | Operation::UploadPartCopy)
}

/// The request of an operation as a client sends it.
fn asked(operation: Operation, bucket: &str, client: &Client) -> Signed {
    if operation == Operation::PostObject {
        let mut form = Form::new("in/k", body(operation)).with("x-amz-meta-a", "two words");
        form.path = format!("/{bucket}");
        return form.signed_by(client).request(client);
    }
    let line = format!("{}&x-id={operation:?}", target(operation, bucket));
    let mut request = Request::new(operation.facts().rule.method, &line);
    request.body = body(operation);
    for (name, value) in headers(operation) {
        request = request.with(name, &value);
    }
    if copies(operation) {
        request = request.with("x-amz-copy-source", &format!("{bucket}/a%20source"));
    }
    if operation == Operation::Preflight { client.unsigned(&request) } else { client.sign(&request) }
}

/// What the region answers: nothing physical in it.
fn answer(operation: Operation) -> region::Reply {
    use Operation as O;
    let method = operation.facts().rule.method;
    let status = match (operation, method) {
        (O::RestoreObject, _) => 202,
        (_, "DELETE") => 204,
        _ => 200,
    };
    let reply = region::Reply::new(status).with(NEW_ANSWER, "a, b");
    match operation {
        _ if ["HEAD", "DELETE"].contains(&method) => reply,
        O::GetObject | O::SelectObjectContent | O::GetObjectTorrent | O::GetObjectAnnotation => {
            reply.with("content-type", "application/xml").body((0..=255).collect())
        }
        O::GetBucketPolicy => reply
            .with("content-type", "application/json")
            .body(Bytes::from_static(br#"{"Statement":[],"Version":"2012-10-17"}"#)),
        _ => reply.xml("Result", "<Thing b='c'>  &amp;</Thing><!-- as it is -->\n"),
    }
}

/// What differs of what the region was to get.
fn lost_on_the_way(operation: Operation, seen: &[Seen]) -> Vec<String> {
    let [seen] = seen else {
        let lines = seen.iter().map(|seen| format!("{} {}", seen.method, seen.target));
        return vec![format!("seen: {:?}", lines.collect::<Vec<_>>())];
    };
    let mut lost = Vec::new();
    let mut same = |what: &str, sees: Option<&str>, expected: &str| {
        if sees != Some(expected) {
            lost.push(format!("{what}: {sees:?} in place of {expected:?}"));
        }
    };
    let form = operation == Operation::PostObject;
    let line = if form { format!("/{BUCKET}/in/k") } else { target(operation, BUCKET) };
    same("target", Some(&seen.target), &line);
    same("method", Some(&seen.method), if form { "PUT" } else { operation.facts().rule.method });
    let signs = operation != Operation::Preflight;
    let meta = |(name, _): &(&str, String)| !form || *name == "x-amz-meta-a";
    for (name, value) in headers(operation).iter().filter(|header| meta(header)) {
        same(name, seen.header(name), value);
        if signs && name.starts_with("x-amz-") {
            same("signed", seen.signed(name).then_some(name), name);
        }
    }
    if copies(operation) {
        same("source", seen.header("x-amz-copy-source"), &format!("{BUCKET}/a%20source"));
    }
    let expected = body(operation);
    if seen.body.as_deref() != Some(&expected) {
        lost.push(format!("body: {:?}", seen.body));
    }
    // of a document the store can tell that it is whole by the signature alone
    if operation.facts().body == BodyKind::Document {
        let hash = digest::sha256_hex(&expected);
        if seen.header("x-amz-content-sha256") != Some(&hash) {
            lost.push(format!("hash: {:?}", seen.header("x-amz-content-sha256")));
        }
    }
    lost
}

/// What differs of the region's answer as the client gets it.
fn lost_on_the_way_back(operation: Operation, reply: &Reply) -> Vec<String> {
    let said = answer(operation);
    if operation == Operation::PostObject {
        // a form's answer is nearpoint's to give, in the form's own terms
        let created = reply.status == 204 && reply.header("location").is_some();
        return if created { Vec::new() } else { vec![format!("{} {}", reply.status, reply.text())] };
    }
    let mut lost = Vec::new();
    if reply.status != said.status {
        lost.push(format!("status {}: {}", reply.status, reply.text()));
    }
    for (name, value) in &said.headers {
        if reply.header(name) != Some(value) {
            lost.push(format!("{name} answered: {:?}", reply.header(name)));
        }
    }
    if reply.body != said.body {
        lost.push(format!("answered: {}", reply.text()));
    }
    lost
}

/// What is wrong with what becomes of an operation.
async fn differences(
    home: &Region,
    client: &Client,
    bucket: &str,
    operation: Operation,
    fate: Fate,
) -> Vec<String> {
    home.heal();
    home.forget();
    home.fault(When::always(), Act::Instead(answer(operation)));
    let reply = client.send_signed(&asked(operation, bucket, client)).await;
    let mut seen = home.seen();
    // under the wildcard alone probes are requests like others
    seen.retain(|seen| seen.target != "/" || seen.header("x-amz-meta-a").is_some());
    match fate {
        Fate::Passes => [lost_on_the_way(operation, &seen), lost_on_the_way_back(operation, &reply)].concat(),
        Fate::Answered(status, code) => {
            let mut wrong = Vec::new();
            if !seen.is_empty() {
                wrong.push(format!("seen: {seen:?}"));
            }
            if (reply.status, reply.code().as_deref()) != (status, code) {
                wrong.push(format!("{}: {}", reply.status, reply.text()));
            }
            wrong
        }
    }
}

async fn all(home: &Region, client: &Client, bucket: &str, fate: impl Fn(Operation) -> Fate) {
    let mut wrong = Vec::new();
    for operation in Operation::ALL {
        for what in differences(home, client, bucket, *operation, fate(*operation)).await {
            wrong.push(format!("{operation:?}: {what}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[tokio::test]
async fn every_operation_reaches_the_bucket_of_an_access_point_or_is_answered_for_it() {
    let home = Region::start("home", &[BUCKET]);
    let mut setup = Setup::over(&[&home]);
    setup.tenants = vec![Tenant::with_statements("app", &allow("s3:*", &["*"]))];
    setup.probe_rarely();
    let gateway = setup.start();
    all(&home, &gateway.client(), "photos", on_named).await;
    gateway.assert_alive();
}

#[tokio::test]
async fn every_operation_passes_through_a_wildcard_as_it_is() {
    let (home, gateway) = transparent();
    all(&home, &gateway.client(), BUCKET, under_the_wildcard).await;
    gateway.assert_alive();
}

/// A tenant whose own pair of keys the region knows: its store judges it.
fn own_tenant() -> Tenant {
    let mut tenant = Tenant::of("app", &[]);
    tenant.policy = None;
    tenant.lines.push_str("    region_credentials: same\n");
    tenant
}

/// `"*"` over one region, and the region.
fn transparent() -> (Region, Gateway) {
    let tenant = own_tenant();
    let home = Region::start_with(Settings {
        access_key_id: tenant.access_key_id.clone(),
        secret: tenant.secret.clone(),
        ..Settings::new("home", &[BUCKET])
    });
    let mut setup = Setup::over(&[&home]);
    setup.access_points = vec![("\"*\"".to_owned(), "    regions: [home]\n".to_owned())];
    setup.tenants = vec![tenant];
    setup.probe_rarely();
    let gateway = setup.start();
    (home, gateway)
}

#[tokio::test]
async fn the_buckets_of_the_region_that_clients_see_are_all_that_the_wildcard_s_store_has() {
    let (home, gateway) = transparent();
    let client = gateway.client();
    for (query, listed) in [
        ("", true),
        ("bucket-region=anywhere-1&", true),
        ("bucket-region=anywhere%2d1&", true),
        // what is not ours to say in other words is the store's to answer
        ("bucket-region=home-1&", true),
        ("bucket-region=elsewhere-1&", false),
    ] {
        let request = Request::get(&format!("/?{query}prefix=photos"));
        let text = client.send(&request).await.expect(200).text();
        assert_eq!(text.contains(&format!("<Name>{BUCKET}</Name>")), listed, "{query}: {text}");
        assert_eq!(text.contains("<BucketRegion>anywhere-1<"), listed, "{query}: {text}");
        let same = home.seen().iter().any(|seen| seen.target == request.target);
        assert_eq!(same, !query.contains("anywhere"), "{query}");
        assert!(query.is_empty() || home.seen().iter().all(|seen| !seen.target.contains("anywhere")));
    }
}

// ── event streams ────────────────────────────────────────────────────────────

/// A message of an event stream, as binary as they are: lengths ahead, checksums behind.
fn event(kind: &str, payload: &[u8]) -> Vec<u8> {
    let mut headers = Vec::new();
    for (name, value) in [(":message-type", "event"), (":event-type", kind)] {
        headers.push(u8::try_from(name.len()).unwrap());
        headers.extend_from_slice(name.as_bytes());
        headers.push(7);
        headers.extend_from_slice(&u16::try_from(value.len()).unwrap().to_be_bytes());
        headers.extend_from_slice(value.as_bytes());
    }
    let total = u32::try_from(16 + headers.len() + payload.len()).unwrap();
    let mut message = total.to_be_bytes().to_vec();
    message.extend_from_slice(&u32::try_from(headers.len()).unwrap().to_be_bytes());
    message.extend_from_slice(&crc32(&message).to_be_bytes());
    message.extend_from_slice(&headers);
    message.extend_from_slice(payload);
    let sum = crc32(&message);
    message.extend_from_slice(&sum.to_be_bytes());
    message
}

fn crc32(bytes: &[u8]) -> u32 {
    crc_fast::checksum(crc_fast::CrcAlgorithm::Crc32IsoHdlc, bytes).try_into().unwrap()
}

fn select(bucket: &str) -> Request {
    let document = "<SelectObjectContentRequest><Expression>SELECT * FROM S3Object</Expression></SelectObjectContentRequest>";
    Request::post(&format!("/{bucket}/k.csv?select&select-type=2"), document)
}

#[tokio::test]
async fn an_event_stream_passes_byte_for_byte_and_event_by_event() {
    let home = Region::start("home", &[BUCKET]);
    let gateway = Setup::over(&[&home]).start();
    let client = gateway.client();
    let records: Vec<u8> = (0..=255).cycle().take(600).collect();
    let first = event("Records", &records);
    let stream = [first.clone(), event("Cont", b""), event("Stats", b"<Stats/>"), event("End", b"")].concat();
    let reply = region::Reply::new(200)
        .with("content-type", "application/vnd.amazon.eventstream")
        .body(Bytes::from(stream.clone()));

    // some time between its pieces
    for chunked in [true, false] {
        home.heal();
        home.fault(When::always(), Act::Instead(reply.clone()));
        home.fault(When::always(), Act::Slow(2000));
        if chunked {
            home.fault(When::always(), Act::Chunked);
        }
        let got = client.send(&select("photos")).await.expect(200);
        assert_eq!(got.header("content-type"), Some("application/vnd.amazon.eventstream"));
        assert_eq!(got.body, stream, "chunked: {chunked}");
    }

    // nothing is held back: what has come is there while the rest is not
    home.heal();
    home.fault(When::always(), Act::Instead(reply));
    home.fault(When::always(), Act::HangAfter(first.len()));
    let mut stream = client.connect().await.stream;
    stream.write_all(&client.sign(&select("photos")).bytes()).await.unwrap();
    let mut got = Vec::new();
    while behind_head(&got).len() < first.len() {
        let read = tokio::time::timeout(PATIENCE, stream.read_buf(&mut got)).await.expect("not held back");
        assert_ne!(read.unwrap(), 0, "{}", String::from_utf8_lossy(&got));
    }
    assert_eq!(behind_head(&got), first);
}

/// The bytes behind a reply's head, none while that is not whole.
fn behind_head(bytes: &[u8]) -> &[u8] {
    let end = memchr::memmem::find(bytes, b"\r\n\r\n");
    end.map_or(&[], |end| &bytes[end + 4..])
}
