//! Names: what clients see is theirs, what regions get is the regions' own.

use std::sync::Arc;

use bytes::Bytes;

use crate::house::client::{Client, Request};
use crate::house::gateway::Setup;
use crate::house::region::{Act, Region, Settings, When};
use crate::house::text;

const HOME: &str = "bucket-of-home";
const AWAY: &str = "bucket-of-away";

/// What no reply may name.
const PHYSICAL: [&str; 8] = [
    "bucket-of-",
    "home-1",
    "away-1",
    "AKIDHOME",
    "AKIDAWAY",
    "store-request-id",
    "store-host",
    "111122223333",
];

/// A store's answer that names everything it can.
fn talkative(status: u16, root: &str, inner: &str) -> Act {
    let body = format!(
        "<?xml version=\"1.0\"?><{root} xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\">{inner}</{root}>"
    );
    let head = format!(
        "HTTP/1.1 {status} X\r\ncontent-type: application/xml\r\ncontent-length: {}\r\nserver: store-host\r\n\
         x-amz-request-id: store-request-id\r\nx-amz-id-2: store-host-id\r\nx-amz-bucket-region: home-1\r\n\
         x-amz-error-detail-region: home-1\r\nlocation: http://{HOME}.store-host/k\r\nvia: store-host\r\n\
         x-amz-access-point-alias: {HOME}\r\nset-cookie: a=store-host\r\netag: \"e\"\r\n\
         x-amz-server-side-encryption-context: of-{HOME}\r\nbucket: tenant%2F{HOME}\r\n\
         x-amz-server-side-encryption-aws-kms-key-id: arn:aws:kms:home-1:111122223333:key/k\r\n\r\n",
        body.len()
    );
    Act::AnswerBytes(Bytes::from(format!("{head}{body}")))
}

/// An error of a store's, as talkative as AWS's are.
fn error(status: u16, code: &str) -> Act {
    talkative(
        status,
        "Error",
        &format!(
            "<Code>{code}</Code><Message>The {HOME} of AKIDHOME at store-host expects home-1</Message>\
             <BucketName>{HOME}</BucketName><Bucket>{HOME}</Bucket><Resource>/{HOME}/k</Resource><Region>home-1</Region>\
             <Endpoint>{HOME}.store-host</Endpoint><AWSAccessKeyId>AKIDHOME</AWSAccessKeyId>\
             <CanonicalRequest>GET /{HOME}/k</CanonicalRequest><RequestId>store-request-id</RequestId>\
             <HostId>store-host-id</HostId>"
        ),
    )
}

async fn leaks_nothing(client: &Client, request: &Request, wanted: u16) {
    let what = format!("{} {}", request.method, request.target);
    let reply = client.send(request).await;
    assert_eq!(reply.status, wanted, "{what}: {}", reply.text());
    let headers = reply.headers.iter().filter(|(name, _)| !name.starts_with("x-nearpoint-"));
    let seen: Vec<String> = headers.map(|(name, value)| format!("{name}: {value}")).collect();
    let seen = format!("{}\n{}", seen.join("\n"), reply.text());
    for name in PHYSICAL {
        assert!(!seen.contains(name), "{what} names {name}:\n{seen}");
    }
}

fn regions() -> (Region, Region) {
    let versioned =
        |name, bucket| Region::start_with(Settings { versioned: true, ..Settings::new(name, &[bucket]) });
    (versioned("home", HOME), versioned("away", AWAY))
}

#[tokio::test]
async fn whatever_a_store_says_its_names_stay_here() {
    let (home, away) = regions();
    let gateway = Setup::over(&[&home, &away]).access_point("photos", &[&home], 0, "allow", "allow").start();
    let client = gateway.client();
    let once = |operation| When::operation(operation).times(1);
    for (status, code) in [
        (403, "AccessDenied"),
        (404, "NoSuchBucket"),
        (404, "NoSuchKey"),
        (400, "InvalidRequest"),
        (409, "OperationAborted"),
        (403, "InvalidObjectState"),
        (405, "MethodNotAllowed"),
    ] {
        home.fault(once("GetObject"), error(status, code));
        leaks_nothing(&client, &Request::get("/photos/k"), status).await;
    }
    // what blames us is not the client's to know
    for (status, code, told) in [
        (307, "TemporaryRedirect", 503),
        (301, "PermanentRedirect", 503),
        (400, "AuthorizationHeaderMalformed", 503),
    ] {
        home.fault(once("PutObject"), error(status, code));
        leaks_nothing(&client, &Request::put("/photos/k", "x"), told).await;
    }
    let tenant = "<Tenant>store-host</Tenant>";
    let bucket = format!("{tenant}<Bucket>{HOME}</Bucket><Key>k</Key><UploadId>u</UploadId>");
    let owner = "<Owner><ID>111122223333</ID><DisplayName>111122223333</DisplayName></Owner>";
    let listed = format!(
        "{tenant}<Name>{HOME}</Name><Contents><Key>k</Key>{owner}</Contents><IsTruncated>false</IsTruncated>"
    );
    let parts = format!("{bucket}{owner}<Initiator><ID>arn:aws:iam::111122223333:user/u</ID></Initiator>");
    let location = format!("<Location>http://{HOME}.store-host/k</Location>{bucket}");
    let complete = "<CompleteMultipartUpload><Part><PartNumber>1</PartNumber><ETag>x</ETag></Part></CompleteMultipartUpload>";
    for (operation, root, inner, request) in [
        ("ListObjectsV2", "ListBucketResult", &listed, Request::get("/photos?list-type=2&fetch-owner=true")),
        ("ListObjects", "ListBucketResult", &listed, Request::get("/photos")),
        (
            "ListObjectVersions",
            "ListVersionsResult",
            &listed.replace("Contents", "Version"),
            Request::get("/photos?versions"),
        ),
        (
            "CreateMultipartUpload",
            "InitiateMultipartUploadResult",
            &bucket,
            Request::post("/photos/k?uploads", ""),
        ),
        ("ListParts", "ListPartsResult", &parts, Request::get("/photos/k?uploadId=u")),
        (
            "CompleteMultipartUpload",
            "CompleteMultipartUploadResult",
            &location,
            Request::post("/photos/k?uploadId=u", complete),
        ),
        ("GetObject", "Anything", &"an object".to_owned(), Request::get("/photos/k")),
    ] {
        home.fault(once(operation), talkative(200, root, inner));
        leaks_nothing(&client, &request, 200).await;
    }
    // an error inside a 200
    let inside = format!("<Code>InternalError</Code><Message>{HOME}</Message><HostId>store-host-id</HostId>");
    home.fault(When::operation("CompleteMultipartUpload"), talkative(200, "Error", &inside));
    leaks_nothing(&client, &Request::post("/photos/k?uploadId=u", complete), 500).await;
}

#[tokio::test]
async fn the_location_of_a_complete_object_is_the_clients_own() {
    let (home, away) = regions();
    let gateway = Setup::over(&[&home, &away]).start();
    let client = gateway.client();
    let done = client.upload("/photos/a%20b/c+d", &[b"1"]).await.expect(200).text();
    let location = text::element(&done, "Location").expect("a location");
    assert_eq!(location, format!("http://{}/photos/a%20b/c+d", client.host));
    assert_eq!(text::element(&done, "Key").as_deref(), Some("a b/c+d"));
}

#[tokio::test]
async fn odd_keys_arrive_byte_for_byte() {
    let (home, away) = regions();
    let mut setup = Setup::over(&[&home, &away]);
    // read where they are written, whichever is nearer
    setup.edit_access_point("photos", "order: nearest", "order: [home, away]");
    let gateway = setup.start();
    let client = gateway.client();
    for key in [
        "a//b",
        "/a",
        "a/",
        "./a",
        "a/../b",
        "..",
        "a/./b",
        "a%2Fb",
        "a%2fb",
        "a+b",
        "a%2Bb",
        "a%20b",
        "%C3%A9",
        "a%00b",
        "%F0%9F%98%80",
        "a:b@c",
        "a=b&c",
        "~a-b_c.d",
        "%7Ea",
        "a%25b",
        "a%3Fb",
        "a(b)!*'",
        "a;b,c$",
        "%E2%80%AE",
    ] {
        client.send(&Request::put(&format!("/photos/{key}"), key)).await.expect(200);
        let seen = home.seen_once();
        assert_eq!(seen.target, format!("/{HOME}/{key}"), "PUT");
        let got = client.send(&Request::get(&format!("/photos/{key}"))).await.expect(200);
        assert_eq!(got.text(), key);
        home.forget();
        away.forget();
    }
}

#[tokio::test]
async fn nothing_of_the_client_s_credential_travels_on() {
    let home = Arc::new(Region::start("home", &[HOME]));
    let mut setup = Setup::over(&[&home]);
    setup.tenants[0].session_token = Some("session-token-of-app".to_owned());
    let gateway = setup.start();
    let client = gateway.client();
    let put = Request::put("/photos/k", "1").with("x-amz-meta-a", "b").with("x-amz-mfa", "20899872 301749");
    client.send(&put.with("x-amz-s3session-token", "session-token-of-s3")).await.expect(200);
    let presigned = client.presign(&Request::get("/photos/k"), 60);
    client.send_signed(&client.unsigned(&Request::get(&presigned))).await.expect(200);
    for seen in home.seen() {
        let all = format!("{} {:?}", seen.target, seen.headers);
        let theirs =
            ["NPAPP", "session-token-of-app", "session-token-of-s3", "301749", "anywhere-1", "X-Amz-"];
        for theirs in theirs {
            assert!(!all.contains(theirs), "{theirs} in {all}");
        }
        assert!(all.contains("AKIDHOME"), "{all}");
    }
}

#[tokio::test]
async fn what_connection_nominates_is_verified_and_goes_no_further() {
    let home = Arc::new(Region::start("home", &[HOME]));
    let gateway = Setup::over(&[&home]).start();
    let client = gateway.client();
    let put = Request::put("/photos/k", "1").with("cache-control", "no-store").with("content-language", "en");
    let put = client.sign(&put).add("connection", "close, Cache-Control");
    client.send_signed(&put).await.expect(200);
    let seen = home.seen_once();
    assert_eq!((seen.header("cache-control"), seen.header("content-language")), (None, Some("en")));
    client.send_signed(&put.set("cache-control", "max-age=1")).await.expect(403);
}
