//! What a store wants to be told in its own way: signatures for several regions, another region than was
//! configured, keys of its own.

use crate::house::client::{Framing, Payload, Request};
use crate::house::digest::{self, Algorithm};
use crate::house::gateway::{Setup, Tenant, allow, may_not_run};
use crate::house::region::{self, Act, Region, Settings, When, is_probe};
use crate::house::text;

const BUCKET: &str = "photos-home";

// ── regions that are several ─────────────────────────────────────────────────

#[tokio::test]
async fn a_region_that_is_a_multi_region_access_point_gets_sigv4a() {
    let settings = Settings { signing_region: "*".to_owned(), ..Settings::new("home", &[BUCKET]) };
    let (home, eu) = (Region::start_with(settings), Region::start("eu", &["photos-eu"]));
    let gateway = Setup::over(&[&home, &eu]).start();
    let client = gateway.client();
    home.seed(BUCKET, "odd/k e+y/ü", "body");
    let get = Request::get("/photos/odd/k%20e%2By/%C3%BC").with("range", "bytes=1-2");
    assert_eq!(client.send(&get).await.expect(206).body, b"od");
    client.send(&Request::get("/photos?list-type=2&prefix=odd%2F&delimiter=%2F")).await.expect(200);
    let trailer = Payload::UnsignedTrailer(64, Algorithm::Crc32, Framing::Length);
    for payload in [Payload::Hex, Payload::Unsigned, trailer] {
        let put = Request { payload, ..Request::put("/photos/new", "a new body") };
        client.send(&put.with("x-amz-meta-a", "two  spaces")).await.expect(200);
        assert_eq!(home.object(BUCKET, "new").unwrap().body, "a new body");
    }
    // a probe, and the canary that a refusal calls for
    home.wait_for(|seen| is_probe(&seen.key) && seen.method == "HEAD").await;
    home.fault(When::key("denied"), Act::Answer { status: 403, code: "AccessDenied" });
    client.send(&Request::get("/photos/denied")).await;
    home.wait_for(|seen| is_probe(&seen.key) && seen.method == "GET").await;
    let seen = home.seen_with_probes();
    for seen in &seen {
        let authorization = seen.header("authorization").unwrap();
        assert!(authorization.starts_with("AWS4-ECDSA-P256-SHA256 Credential=AKIDHOME/"), "{seen:?}");
        assert_eq!(seen.header("x-amz-region-set"), Some("*"));
        assert!(seen.signed("x-amz-region-set"), "refused: {seen:?}");
    }
    let other = eu.wait_for(|seen| is_probe(&seen.key)).await;
    assert!(other.header("authorization").unwrap().starts_with("AWS4-HMAC-SHA256 "));
    assert_eq!(other.header("x-amz-region-set"), None);
}

// ── buckets that are elsewhere ───────────────────────────────────────────────

/// The configuration says `elsewhere-1`, the store is in `home-1` and says so.
fn misplaced(home: &Region) -> Setup {
    let mut setup = Setup::over(&[home]);
    setup.regions[0].1 = setup.regions[0].1.replace("home-1", "elsewhere-1");
    setup.probe_rarely();
    setup
}

#[tokio::test]
async fn a_store_that_names_another_region_is_asked_for_it_once_and_remembered() {
    let home = Region::start("home", &[BUCKET]);
    let gateway = misplaced(&home).start();
    let client = gateway.client();
    home.seed(BUCKET, "k", "body");
    for _ in 0..20 {
        let got = client.send(&Request::get("/photos/k")).await.expect(200);
        assert_eq!(got.body, b"body");
        assert!(!got.text().contains("home-1") && got.header("x-amz-bucket-region") != Some("home-1"));
    }
    client.send(&Request::put("/photos/new", "another")).await.expect(200);
    assert_eq!(home.object(BUCKET, "new").unwrap().body, "another");
    let refused = home.seen().iter().filter(|seen| seen.status == Some(400)).count();
    assert_eq!(refused, 1);
    gateway.wait_for_line(|line| {
        let told = line.contains("is in another region than configured") && line.contains("home-1");
        told.then(|| line.to_owned())
    });
}

#[tokio::test]
async fn a_head_request_learns_it_from_the_head_or_from_a_canary() {
    for says in [true, false] {
        let home = Region::start("home", &[BUCKET]);
        let gateway = misplaced(&home).start();
        home.seed(BUCKET, "k", "body");
        if says {
            home.fault(When::always().times(1), Act::Say("x-amz-bucket-region", "home-1".to_owned()));
        }
        for _ in 0..3 {
            gateway.client().send(&Request::head("/photos/k")).await.expect(200);
        }
        let lost = gateway.transitions().iter().any(|change| change["to"] == "out");
        assert!(!lost, "{:?}", gateway.transitions());
    }
}

#[tokio::test]
async fn a_refusal_that_names_a_region_is_a_refusal() {
    let home = Region::start("home", &[BUCKET]);
    let gateway = Setup::over(&[&home]).start();
    home.fault(When::key("k"), Act::Answer { status: 403, code: "AccessDenied" });
    home.fault(When::key("k"), Act::Say("x-amz-bucket-region", "moon-1".to_owned()));
    for request in [Request::head("/photos/k"), Request::get("/photos/k")] {
        let reply = gateway.client().send(&request).await.expect(403);
        assert_ne!(reply.header("x-amz-bucket-region"), Some("moon-1"));
    }
    let seen = home.seen_with_probes();
    assert!(seen.iter().all(|seen| !seen.header("authorization").unwrap().contains("moon-1")), "{seen:?}");
}

#[tokio::test]
async fn a_store_that_never_is_content_is_asked_no_more_than_once_more() {
    let home = Region::start("home", &[BUCKET]);
    let gateway = misplaced(&home).start();
    home.fault(When::key("k"), Act::Answer { status: 400, code: "AuthorizationHeaderMalformed" });
    home.fault(When::key("k"), Act::Say("x-amz-bucket-region", "moon-1".to_owned()));
    let reply = gateway.client().send(&Request::get("/photos/k")).await.expect(503);
    assert!(!reply.text().contains("moon"), "{}", reply.text());
    let asked = home.seen().iter().filter(|seen| seen.key == "k").count();
    assert!((2..=3).contains(&asked), "{asked}");
}

#[tokio::test]
async fn a_redirect_between_hosts_of_amazons_is_followed_to_the_host_of_the_region_that_is_named() {
    if may_not_run() {
        return;
    }
    let home = Region::start("home", &[BUCKET]);
    home.change_settings(|own| own.signing_region = "eu-west-9".to_owned());
    let mut setup = misplaced(&home);
    let port = home.address().port();
    let lines = &mut setup.regions[0].1;
    *lines = lines.replace(&home.endpoint(), &format!("http://s3.us-east-7.amazonaws.com:{port}"));
    *lines = lines.replace("eu-west-9", "us-east-7");
    setup.hosts =
        "127.0.0.1 s3.us-east-7.amazonaws.com s3.eu-west-9.amazonaws.com evil.example.com\n".to_owned();
    let gateway = setup.start();
    home.seed(BUCKET, "k", "body");
    home.fault(When::key("k").times(1), Act::Answer { status: 301, code: "PermanentRedirect" });
    for (name, value) in [("x-amz-bucket-region", "eu-west-9"), ("location", "http://evil.example.com/steal")]
    {
        home.fault(When::key("k").times(1), Act::Say(name, value.to_owned()));
    }
    gateway.client().send(&Request::get("/photos/k")).await.expect(200);
    let asked: Vec<_> = home.seen().iter().map(|seen| seen.header("host").unwrap().to_owned()).collect();
    let hosts = ["us-east-7", "eu-west-9"].map(|region| format!("s3.{region}.amazonaws.com:{port}"));
    assert_eq!(asked, hosts);
}

// ── bodies ───────────────────────────────────────────────────────────────────

/// Nothing of a body that is not what its client said reaches a store that would not have noticed.
#[tokio::test]
async fn bodies_are_compared_with_what_was_said_of_them_where_no_store_does() {
    let home = Region::start("home", &[BUCKET]);
    let mut setup = Setup::over(&[&home]);
    let lines = &mut setup.regions[0].1;
    *lines = lines.replace("body_hash: store", "body_hash: proxy");
    let gateway = setup.start();
    let client = gateway.client();
    let upload = client.send(&Request::post("/photos/big?uploads", "")).await.expect(200).text();
    let part = format!("/photos/big?partNumber=1&uploadId={}", text::element(&upload, "UploadId").unwrap());
    home.forget();
    for target in ["/photos/k", part.as_str()] {
        for (name, wrong) in [
            ("content-md5", digest::md5_base64(b"another")),
            ("x-amz-checksum-crc32", Algorithm::Crc32.base64(b"another")),
        ] {
            let put = Request::put(target, "body").with(name, &wrong).payload(Payload::Unsigned);
            let reply = client.send(&put).await;
            assert_eq!((reply.status, reply.code().as_deref()), (400, Some("BadDigest")), "{}", reply.text());
            assert!(home.seen().is_empty(), "{target} {name}");
        }
    }
    let right = Request::put("/photos/k", "body").with("content-md5", &digest::md5_base64(b"body"));
    client.send(&right.payload(Payload::Unsigned)).await.expect(200);
}

// ── checksums of documents ───────────────────────────────────────────────────

#[tokio::test]
async fn the_checksum_behind_a_document_goes_ahead_of_it() {
    let home = Region::start("home", &[BUCKET]);
    let document = "<Tagging><TagSet/></Tagging>";
    let behind = [
        (Algorithm::Crc32, Payload::UnsignedTrailer(64, Algorithm::Crc32, Framing::Length)),
        (Algorithm::Crc64Nvme, Payload::UnsignedTrailer(64, Algorithm::Crc64Nvme, Framing::Chunked)),
        (Algorithm::Sha256, Payload::SignedChunksTrailer(8192, Algorithm::Sha256)),
    ];
    let md5 = digest::md5_base64(document.as_bytes());
    for knows_checksums in [true, false] {
        let mut setup = Setup::over(&[&home]);
        if !knows_checksums {
            setup.regions[0].1 = setup.regions[0].1.replace("trailers, checksums, ", "");
            setup.regions[0].1 = setup.regions[0].1.replace("    trailers: pass\n", "");
        }
        let gateway = setup.start();
        for (algorithm, payload) in behind {
            home.heal();
            home.forget();
            home.fault(When::always(), Act::Instead(region::Reply::new(200)));
            let put = Request { payload, ..Request::put("/photos/k?tagging", document) };
            gateway.client().send(&put).await.expect(200);
            let seen = home.seen_once();
            assert_eq!(seen.body.as_deref(), Some(document.as_bytes()));
            let checksum = algorithm.base64(document.as_bytes());
            let expected = if knows_checksums { (Some(&*checksum), None) } else { (None, Some(&*md5)) };
            let sent = (seen.header(algorithm.header()), seen.header("content-md5"));
            assert_eq!(sent, expected, "{payload:?}");
            for framing in ["x-amz-trailer", "content-encoding", "x-amz-decoded-content-length"] {
                assert_eq!(seen.header(framing), None, "{payload:?}");
            }
        }
    }
}

/// A store that knows checksums and no trailers keeps a checksum only if it goes ahead; what is too long
/// to be kept for replay is streamed without.
#[tokio::test]
async fn the_checksum_behind_a_body_goes_ahead_of_it_where_trailers_are_not_understood() {
    const KIB: usize = 1024;
    let home = Region::start("home", &[BUCKET]);
    let mut setup = Setup::over(&[&home]);
    setup.regions[0].1 = setup.regions[0].1.replace("trailers, checksums, ", "checksums, ");
    setup.regions[0].1 = setup.regions[0].1.replace("    trailers: pass\n", "    trailers: decode\n");
    setup.rest.push_str("limits: {replay_body: 256KiB}\n");
    let gateway = setup.start();
    let behind = [
        (Algorithm::Crc32, Payload::UnsignedTrailer(64 * KIB, Algorithm::Crc32, Framing::Length)),
        (Algorithm::Crc64Nvme, Payload::UnsignedTrailer(64 * KIB, Algorithm::Crc64Nvme, Framing::Chunked)),
        (Algorithm::Sha256, Payload::SignedChunksTrailer(8 * KIB, Algorithm::Sha256)),
    ];
    for (length, kept) in [(10, true), (70 * KIB, true), (256 * KIB, true), (257 * KIB, false)] {
        let body = "k".repeat(length);
        for (algorithm, payload) in behind {
            home.forget();
            let put = Request { payload, ..Request::put("/photos/k", body.as_str()) };
            gateway.client().send(&put).await.expect(200);
            let seen = home.seen_once();
            assert!(seen.body.as_deref() == Some(body.as_bytes()), "{length} bytes, {payload:?}");
            let checksum = algorithm.base64(body.as_bytes());
            let said = seen.header(algorithm.header());
            assert_eq!(said, kept.then_some(&*checksum), "{length} bytes, {payload:?}");
            assert_eq!(seen.header("x-amz-trailer"), None, "{length} bytes, {payload:?}");
        }
    }
}

// ── what a store would pass over ─────────────────────────────────────────────

#[tokio::test]
async fn a_deletion_of_many_upon_conditions_is_left_to_nobody_who_passes_over_them() {
    let home = Region::start("home", &[BUCKET]);
    let document = |condition: &str| {
        format!("<Delete><Object><Key>a</Key></Object><Object><Key>b</Key>{condition}</Object></Delete>")
    };
    let delete = |condition: &str| {
        let document = document(condition);
        let md5 = digest::md5_base64(document.as_bytes());
        Request::post("/photos?delete", document).with("content-md5", &md5)
    };
    let mut setup = Setup::over(&[&home]);
    setup.regions[0].1 = setup.regions[0].1.replace("conditional_deletes, ", "");
    let gateway = setup.start();
    let client = gateway.client();
    for condition in ["<ETag>\"older\"</ETag>", "<Size>7</Size>"] {
        let reply = client.send(&delete(condition)).await.expect(501);
        assert_eq!(reply.code().as_deref(), Some("NotImplemented"));
    }
    assert!(home.seen().is_empty(), "nothing of it was sent");
    client.send(&delete("")).await.expect(200);
    assert_eq!(home.seen_once().operation, "DeleteObjects");
}

#[tokio::test]
async fn a_restoration_to_another_bucket_is_not_carried_out_in_our_name() {
    let home = Region::start("home", &[BUCKET]);
    let gateway = Setup::over(&[&home]).start();
    let restore = |inner: &str| {
        let document = format!("<RestoreRequest>{inner}</RestoreRequest>");
        Request::post("/photos/k?restore", document)
    };
    let elsewhere =
        "<Type>SELECT</Type><OutputLocation><S3><BucketName>payroll</BucketName></S3></OutputLocation>";
    let reply = gateway.client().send(&restore(elsewhere)).await.expect(501);
    assert_eq!(reply.code().as_deref(), Some("NotImplemented"));
    gateway.client().send(&restore("<Days>1")).await.expect(400);
    assert!(home.seen().is_empty());
    home.fault(When::always(), Act::Instead(region::Reply::new(202)));
    gateway.client().send(&restore("<Days>1</Days>")).await.expect(202);
}

// ── keys ─────────────────────────────────────────────────────────────────────

const KMS_KEY: &str = "x-amz-server-side-encryption-aws-kms-key-id";

#[tokio::test]
async fn a_key_of_kms_has_the_clients_name_here_and_each_regions_own_there() {
    const ARN: &str = "arn:aws:kms:eu-west-1:111122223333:key/0a-1b";
    let home = Region::start("home", &[BUCKET]);
    let mut setup = Setup::over(&[&home]);
    setup.regions[0].1.push_str(&format!("    kms_keys: {{photos: \"{ARN}\"}}\n"));
    let gateway = setup.start();
    let client = gateway.client();
    let put = Request::put("/photos/k", "body")
        .with("x-amz-server-side-encryption", "aws:kms:dsse")
        .with("x-amz-server-side-encryption-context", "e30=")
        .with("x-amz-server-side-encryption-bucket-key-enabled", "true")
        .with(KMS_KEY, "photos");
    home.fault(When::always(), Act::Say(KMS_KEY, ARN.to_owned()));
    let reply = client.send(&put).await.expect(200);
    assert_eq!(reply.header(KMS_KEY), Some("photos"));
    let seen = home.seen_once();
    assert_eq!(seen.header(KMS_KEY), Some(ARN));
    assert!(seen.signed(KMS_KEY));
    for (name, value) in [
        ("x-amz-server-side-encryption", "aws:kms:dsse"),
        ("x-amz-server-side-encryption-context", "e30="),
        ("x-amz-server-side-encryption-bucket-key-enabled", "true"),
    ] {
        assert_eq!(seen.header(name), Some(value));
    }
    for (told, shown) in [("0a-1b", Some("photos")), ("another-one", None)] {
        home.fault(When::always(), Act::Say(KMS_KEY, told.to_owned()));
        let reply = client.send(&Request::get("/photos/k")).await.expect(200);
        assert_eq!(reply.header(KMS_KEY), shown, "{told}");
    }
}

#[tokio::test]
async fn a_key_of_kms_that_a_document_names_is_each_regions_own() {
    const ARN: &str = "arn:aws:kms:eu-west-1:111122223333:key/0a-1b";
    let home = Region::start("home", &[BUCKET]);
    let mut setup = Setup::over(&[&home]);
    setup.regions[0].1.push_str(&format!("    kms_keys: {{photos: \"{ARN}\"}}\n"));
    setup.access_points.push(("\"*\"".to_owned(), "    regions: [home]\n".to_owned()));
    setup.tenants = vec![Tenant::with_statements("app", &allow("s3:*", &["*"]))];
    let gateway = setup.start();
    let bucket = |key: &str| {
        format!(
            "<ServerSideEncryptionConfiguration><Rule><ApplyServerSideEncryptionByDefault><SSEAlgorithm>aws:kms\
             </SSEAlgorithm><KMSMasterKeyID>{key}</KMSMasterKeyID></ApplyServerSideEncryptionByDefault></Rule>\
             </ServerSideEncryptionConfiguration>"
        )
    };
    let object = |key: &str| {
        format!("<ObjectEncryption><SSE-KMS><KMSKeyArn>{key}</KMSKeyArn></SSE-KMS></ObjectEncryption>")
    };
    let trailer = Payload::UnsignedTrailer(64, Algorithm::Crc32, Framing::Length);
    for (target, document) in
        [("/other?encryption", &bucket as &dyn Fn(&str) -> String), ("/photos/k?encryption", &object)]
    {
        for (key, own) in [("photos", ARN), ("another", "another")] {
            for payload in [Payload::Hex, trailer] {
                home.heal();
                home.forget();
                home.fault(When::always(), Act::Instead(region::Reply::new(200)));
                let put = Request { payload, ..Request::put(target, document(key)) };
                // a trailer is a checksum already
                let put = match payload {
                    Payload::Hex => {
                        put.with(Algorithm::Sha1.header(), &Algorithm::Sha1.base64(document(key).as_bytes()))
                    }
                    _ => put,
                };
                gateway.client().send(&put).await.expect(200);
                let seen = home.seen_once();
                let sent = seen.body.as_deref().map(String::from_utf8_lossy);
                assert_eq!(sent.as_deref(), Some(&*document(own)), "{target} {payload:?}");
                let (md5, sums) = (seen.header("content-md5"), [Algorithm::Sha1, Algorithm::Crc32]);
                let summed = sums.iter().any(|sum| seen.header(sum.header()).is_some());
                assert_eq!((md5.is_some(), summed), (key != own, key == own), "{target} {payload:?}");
            }
        }
    }
}

#[tokio::test]
async fn a_customers_key_does_not_leave_the_machine_in_plain_text() {
    if may_not_run() {
        return;
    }
    let home = Region::start("home", &[BUCKET]);
    let mut setup = Setup::over(&[&home]);
    let port = home.address().port();
    setup.regions[0].1 = setup.regions[0].1.replace(&home.endpoint(), &format!("http://store.test:{port}"));
    setup.hosts = "127.0.0.1 store.test\n".to_owned();
    let gateway = setup.start();
    let key = "Y2FuYXJ5Y2FuYXJ5Y2FuYXJ5Y2FuYXJ5Y2FuYXJ5Y2E=";
    let put = Request::put("/photos/k", "body")
        .with("x-amz-server-side-encryption-customer-algorithm", "AES256")
        .with("x-amz-server-side-encryption-customer-key", key)
        .with("x-amz-server-side-encryption-customer-key-md5", "bWQ1LWNhbmFyeS1tZDU=");
    let reply = gateway.client().send(&put).await.expect(501);
    assert_eq!(reply.code().as_deref(), Some("NotImplemented"));
    assert_eq!(home.seen().len(), 0);
    gateway.client().send(&Request::put("/photos/k", "body")).await.expect(200);
    let written = gateway.written().join("\n");
    assert!(!written.contains(key) && !written.contains("bWQ1LWNhbmFyeS1tZDU"), "{written}");
}
