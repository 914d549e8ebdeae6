//! Bucket calls on named access points and under the wildcard.

use crate::house::client::{Client, Reply, Request};
use crate::house::gateway::{LOGICAL_REGION, Setup, Tenant, allow};
use crate::house::region::{Act, Region, Settings, When};
use crate::house::text;

#[track_caller]
fn refused(reply: &Reply, status: u16, code: &str) {
    assert_eq!((reply.status, reply.code().as_deref()), (status, Some(code)), "{}", reply.text());
}

fn regions() -> (Region, Region) {
    (Region::start("home", &["photos-home", "other"]), Region::start("away", &["photos-away"]))
}

async fn buckets(client: &Client) -> Vec<String> {
    let listed = client.send(&Request::get("/")).await.expect(200).text();
    text::elements(&listed, "Name")
}

#[tokio::test]
async fn a_named_access_point_is_a_bucket_of_its_own() {
    let (home, away) = regions();
    let gateway = Setup::over(&[&home, &away]).start();
    let client = gateway.client();
    let head = client.send(&Request::head("/photos")).await.expect(200);
    assert_eq!(head.header("x-amz-bucket-region"), Some(LOGICAL_REGION));
    let location = client.send(&Request::get("/photos?location")).await.expect(200).text();
    assert!(location.contains(&format!(">{LOGICAL_REGION}</LocationConstraint>")), "{location}");
    refused(&client.send(&Request::put("/photos", "")).await, 409, "BucketAlreadyOwnedByYou");
    refused(&client.send(&Request::delete("/photos")).await, 405, "MethodNotAllowed");
    for sub in ["versioning", "policy", "lifecycle", "cors", "acl", "tagging", "website", "encryption"] {
        let put = client.send(&Request::put(&format!("/photos?{sub}"), "<X/>")).await;
        refused(&put, 405, "MethodNotAllowed");
    }
    for sub in ["policy", "lifecycle", "cors"] {
        refused(&client.send(&Request::delete(&format!("/photos?{sub}"))).await, 405, "MethodNotAllowed");
    }
    assert!(home.seen().is_empty() && away.seen().is_empty(), "no store was asked");
    refused(&client.send(&Request::head("/nowhere")).await.or_code("NoSuchBucket"), 404, "NoSuchBucket");
    refused(&client.send(&Request::get("/nowhere/k")).await, 404, "NoSuchBucket");
    refused(&client.send(&Request::get("/photos-home/k")).await, 404, "NoSuchBucket");
}

trait OrCode {
    /// A reply to HEAD has no document: as if it had this code.
    fn or_code(self, code: &str) -> Self;
}

impl OrCode for Reply {
    fn or_code(mut self, code: &str) -> Self {
        assert!(self.body.is_empty());
        self.body = format!("<Code>{code}</Code>").into_bytes();
        self
    }
}

/// What no setting may name.
const PHYSICAL: [&str; 6] =
    ["photos-home", "photos-away", "logs-home", "111122223333", "home-1", "arn:aws:iam"];

/// Settings as AWS tells them of a bucket `photos-home`.
fn settings() -> Vec<(&'static str, String)> {
    let owner = "<ID>111122223333</ID><DisplayName>111122223333</DisplayName>";
    let acl = format!(
        "<AccessControlPolicy><Owner>{owner}</Owner><AccessControlList><Grant><Grantee \
         xmlns:xsi=\"http://www.w3.org/2001/XMLSchema-instance\" xsi:type=\"CanonicalUser\">{owner}</Grantee>\
         <Permission>FULL_CONTROL</Permission></Grant></AccessControlList></AccessControlPolicy>"
    );
    let encryption = "<ServerSideEncryptionConfiguration><Rule><ApplyServerSideEncryptionByDefault>\
         <SSEAlgorithm>aws:kms</SSEAlgorithm><KMSMasterKeyID>arn:aws:kms:home-1:111122223333:key/k</KMSMasterKeyID>\
         </ApplyServerSideEncryptionByDefault></Rule></ServerSideEncryptionConfiguration>";
    let tags = "<Tagging><TagSet><Tag><Key>team</Key><Value>pictures</Value></Tag><Tag><Key>aws:cloudformation:stack-id</Key>\
         <Value>arn:aws:cloudformation:home-1:111122223333:stack/s/1</Value></Tag></TagSet></Tagging>";
    let policy = serde_json::json!({
        "Version": "2012-10-17", "Id": "policy-of-photos-home",
        "Statement": [{"Effect": "Allow", "Principal": "*", "Action": "s3:GetObject", "Resource": "arn:aws:s3:::photos-home/*"}]
    });
    let told = "<Rule><Destination><Bucket>arn:aws:s3:::logs-home</Bucket><Account>111122223333</Account></Destination></Rule>";
    let mut settings = vec![
        ("acl", acl),
        ("encryption", encryption.to_owned()),
        ("tagging", tags.to_owned()),
        (
            "versioning",
            "<VersioningConfiguration><Status>Enabled</Status></VersioningConfiguration>".to_owned(),
        ),
        ("lifecycle", "<LifecycleConfiguration><Rule><ID>r</ID></Rule></LifecycleConfiguration>".to_owned()),
        ("cors", "<CORSConfiguration><CORSRule/></CORSConfiguration>".to_owned()),
        ("policy", policy.to_string()),
    ];
    settings.extend(WITHHELD.map(|name| (name, format!("<Configuration>{told}</Configuration>"))));
    settings
}

/// Settings that name other buckets, hosts or accounts.
const WITHHELD: [&str; 9] = [
    "analytics",
    "inventory",
    "logging",
    "metadataConfiguration",
    "metadataTable",
    "metrics",
    "notification",
    "replication",
    "website",
];

#[tokio::test]
async fn what_is_configured_is_home_s_and_names_nothing_physical() {
    let told = |name: &str, bucket: &str| {
        Region::start_with(Settings { documents: settings(), ..Settings::new(name, &[bucket]) })
    };
    // an object's are read where that is nearest: in either
    let (home, away) = (told("home", "photos-home"), told("away", "photos-away"));
    home.seed("photos-home", "k", "x");
    let gateway = Setup::over(&[&home, &away]).start();
    let client = gateway.client();
    let ask = async |target: &str| {
        let reply = client.send(&Request::get(target)).await;
        for name in PHYSICAL {
            assert!(!reply.text().contains(name), "{target} names {name}: {}", reply.text());
        }
        reply
    };
    for (target, kept) in [
        ("/photos?acl", "<Permission>FULL_CONTROL</Permission>"),
        ("/photos/k?acl", "<ID>nearpoint</ID>"),
        ("/photos?encryption", "<SSEAlgorithm>aws:kms</SSEAlgorithm>"),
        ("/photos?tagging", "<Value>pictures</Value>"),
        ("/photos?versioning", "<Status>Enabled</Status>"),
        ("/photos?lifecycle", "<ID>r</ID>"),
        ("/photos?cors", "<CORSRule/>"),
        ("/photos?policy", "\"arn:aws:s3:::photos/*\""),
    ] {
        let reply = ask(target).await.expect(200).text();
        assert!(reply.contains(kept), "{target}: {reply}");
    }
    assert!(away.seen().iter().all(|seen| seen.key == "k"), "settings are home's");
    // the torrent names the store's host
    home.forget();
    for target in
        WITHHELD.map(|name| format!("/photos?{name}")).iter().chain(&["/photos/k?torrent".to_owned()])
    {
        refused(&ask(target).await, 501, "NotImplemented");
        refused(&ask(&format!("{target}&id=one")).await, 501, "NotImplemented");
    }
    assert!(home.seen().is_empty() && away.seen().is_empty(), "and nobody was asked");
    // a policy that cannot be said in the client's words is not said in part
    let foreign = r#"{"Statement": [{"Effect": "Allow", "Principal": {"AWS": "arn:aws:iam::111122223333:root"},
        "Action": "s3:*", "Resource": "arn:aws:s3:::photos-home/*"}]}"#;
    home.change_settings(|settings| settings.documents = vec![("policy", foreign.to_owned())]);
    refused(&ask("/photos?policy").await, 501, "NotImplemented");
}

#[tokio::test]
async fn under_the_wildcard_settings_pass_as_the_store_keeps_them() {
    let mut told = Settings::new("home", &["photos-home", "other"]);
    told.documents = settings();
    let (home, away) = (Region::start_with(told), Region::start("away", &["photos-away"]));
    let gateway = with_wildcard(&home, &away).start();
    let client = gateway.client();
    for (name, document) in settings() {
        let reply = client.send(&Request::get(&format!("/other?{name}"))).await.expect(200);
        assert_eq!(reply.text(), document, "{name}");
    }
}

#[tokio::test]
async fn buckets_are_listed_as_policies_allow() {
    let home = Region::start("home", &["one-home", "two-home"]);
    let mut setup = Setup::over(&[&home]);
    setup.access_points.clear();
    setup = setup.access_point("one", &[&home], 0, "allow", "allow");
    setup = setup.access_point("two", &[&home], 1, "allow", "allow");
    let all = r#"{"Effect": "Allow", "Action": "s3:ListAllMyBuckets", "Resource": "*"}"#;
    setup.tenants = vec![
        Tenant::with_statements("both", &format!("{all}, {}", allow("s3:*", &["one", "two"]))),
        Tenant::with_statements("second", &format!("{all}, {}", allow("s3:ListBucket", &["two"]))),
        Tenant::of("first", &["one"]),
    ];
    let gateway = setup.start();
    assert_eq!(buckets(&gateway.client_of(0)).await, ["one", "two"]);
    assert_eq!(buckets(&gateway.client_of(1)).await, ["two"]);
    refused(&gateway.client_of(2).send(&Request::get("/")).await, 403, "AccessDenied");
    refused(
        &gateway.client_of(1).send(&Request::head("/one")).await.or_code("AccessDenied"),
        403,
        "AccessDenied",
    );
    assert!(home.seen().is_empty());
}

/// `"*"` over `home`, beside the access point `photos` of both regions.
fn with_wildcard(home: &Region, away: &Region) -> Setup {
    let mut setup = Setup::over(&[home, away]);
    setup.access_points.push(("\"*\"".to_owned(), "    regions: [home]\n".to_owned()));
    let all = r#"{"Effect": "Allow", "Action": "s3:*", "Resource": "*"}"#;
    setup.tenants = vec![Tenant::with_statements("app", all)];
    setup
}

#[tokio::test]
async fn what_a_store_says_of_an_error_reaches_whoever_may_read_it() {
    let (home, away) = regions();
    let mut setup = with_wildcard(&home, &away);
    let mut same = Tenant::of("same", &[]);
    (same.policy, same.lines) = (None, "    region_credentials: same\n".to_owned());
    setup.tenants.push(same);
    let gateway = setup.start();
    let document = "<Error><Code>EntityTooSmall</Code><Message>too small for photos-home</Message>\
                    <ProposedSize>1</ProposedSize><MinSizeAllowed>5</MinSizeAllowed><BucketName>photos-home</BucketName></Error>";
    let reply = format!(
        "HTTP/1.1 400 Bad Request\r\nx-amz-request-id: 1\r\ncontent-length: {}\r\n\r\n{document}",
        document.len()
    );
    home.fault(When::operation("PutObject"), Act::AnswerBytes(reply.into()));
    // of its own buckets, as itself, a client is told in full
    for (tenant, target, own) in [(0, "/photos/k", false), (0, "/other/k", false), (1, "/other/k", true)] {
        let reply = gateway.client_of(tenant).send(&Request::put(target, "x")).await;
        refused(&reply, 400, "EntityTooSmall");
        let text = reply.text();
        assert!(text.contains("<ProposedSize>1</ProposedSize><MinSizeAllowed>5</MinSizeAllowed>"), "{text}");
        assert_eq!(text.contains("too small for photos-home"), own, "{text}");
        let line = gateway.access_line(reply.header("x-amz-request-id").unwrap());
        assert_eq!(line["cause"], "the store says EntityTooSmall: too small for photos-home");
    }
}

#[tokio::test]
async fn the_wildcard_passes_everything_through() {
    let (home, away) = regions();
    let gateway = with_wildcard(&home, &away).start();
    let client = gateway.client();
    client.send(&Request::put("/other/k", "1")).await.expect(200);
    assert_eq!(home.object("other", "k").unwrap().body, "1");
    client.send(&Request::put("/made", "")).await.expect(200);
    client.send(&Request::head("/made")).await.expect(200);
    client.send(&Request::put("/made/k", "2")).await.expect(200);
    assert_eq!(client.send(&Request::get("/made/k")).await.expect(200).body, b"2");
    refused(&client.send(&Request::delete("/made")).await, 409, "BucketNotEmpty");
    client.upload("/made/big", &[b"1", b"2"]).await.expect(200);
    let page = client.send(&Request::get("/made?list-type=2&max-keys=1")).await.expect(200).text();
    assert!(text::element(&page, "NextContinuationToken").unwrap().starts_with("home."), "{page}");
    for key in ["k", "big"] {
        client.send(&Request::delete(&format!("/made/{key}"))).await.expect(204);
    }
    // its buckets are listed with the access points, never the physical ones of these
    assert_eq!(buckets(&client).await, ["made", "other", "photos"]);
    client.send(&Request::delete("/made")).await.expect(204);
    assert_eq!(buckets(&client).await, ["other", "photos"]);
    refused(&client.send(&Request::get("/nowhere/k")).await, 404, "NoSuchBucket");
    assert!(away.seen().is_empty());
}

#[tokio::test]
async fn physical_buckets_are_hidden_from_whoever_lists() {
    let (home, away) = regions();
    let mut setup = with_wildcard(&home, &away);
    let all = r#"{"Effect": "Allow", "Action": "s3:ListAllMyBuckets", "Resource": "*"}"#;
    setup.tenants = vec![Tenant::with_statements("app", &format!("{all}, {}", allow("s3:*", &["other"])))];
    let gateway = setup.start();
    assert_eq!(buckets(&gateway.client()).await, ["other"], "neither is it told what it may not list");
}

#[tokio::test]
async fn the_store_s_buckets_and_ours_are_listed_in_pages() {
    // one of them is called as the access point is: nobody means it by that name
    let made = ["zz-bucket", "photos-home", "aa-bucket", "photos", "pp-bucket", "qa-bucket", "qb-bucket"];
    // a store's page is never as long as is asked for
    let told = Settings { bucket_page: Some(2), ..Settings::new("home", &made) };
    let (home, away) = (Region::start_with(told), Region::start("away", &["spare", "photos-away"]));
    let setup = with_wildcard(&home, &away).access_point("photos", &[&home, &away], 1, "allow", "refuse");
    let gateway = setup.start();
    let client = gateway.client();
    let wanted = ["aa-bucket", "photos", "pp-bucket", "qa-bucket", "qb-bucket", "zz-bucket"];
    assert_eq!(buckets(&client).await, wanted);
    for most in 1..=7 {
        let (mut found, mut token) = (Vec::new(), String::new());
        loop {
            let page =
                client.send(&Request::get(&format!("/?max-buckets={most}{token}"))).await.expect(200).text();
            let names = text::elements(&page, "Name");
            assert!(
                names.len() <= most
                    && !page.contains("photos-home")
                    && !page.contains(&hex::encode("photos-home"))
            );
            assert_eq!(text::elements(&page, "BucketRegion"), vec![LOGICAL_REGION; names.len()], "{page}");
            found.extend(names);
            let Some(next) = text::element(&page, "ContinuationToken") else { break };
            token = format!("&continuation-token={}", text::encoded(&next, ""));
        }
        assert_eq!(found, wanted, "{most} a page");
    }
    let listed = async |query: &str| {
        let page = client.send(&Request::get(&format!("/?{query}"))).await.expect(200).text();
        text::elements(&page, "Name")
    };
    assert_eq!(listed("prefix=p").await, ["photos", "pp-bucket"]);
    assert_eq!(listed(&format!("bucket-region={LOGICAL_REGION}&prefix=q")).await, ["qa-bucket", "qb-bucket"]);
    assert!(listed("bucket-region=home-1").await.is_empty(), "no region of that name is known to clients");
    refused(&client.send(&Request::get("/?max-buckets=0")).await, 400, "InvalidArgument");
    refused(&client.send(&Request::get("/?continuation-token=x")).await, 400, "InvalidArgument");
}

#[tokio::test]
async fn a_list_of_buckets_that_cannot_be_read_is_no_short_list() {
    let (home, away) = regions();
    let gateway = with_wildcard(&home, &away).start();
    let client = gateway.client();
    let once = || When::operation("ListBuckets").times(1);
    let answered = |body: &str, length: usize| {
        let head =
            format!("HTTP/1.1 200 OK\r\ncontent-type: application/xml\r\ncontent-length: {length}\r\n\r\n");
        Act::AnswerBytes(bytes::Bytes::from(head + body))
    };
    let short = "<ListAllMyBucketsResult><Buckets>";
    let long = format!("{short}{}", " ".repeat(9 << 20));
    for (what, act) in [
        ("broken off", answered(short, short.len() + 100)),
        ("no XML", answered("{}", 2)),
        ("another document", answered("<Error/>", 8)),
        ("too long", answered(&long, long.len())),
    ] {
        home.fault(once(), act);
        let reply = client.send(&Request::get("/")).await;
        assert_eq!((reply.status, reply.code().as_deref()), (503, Some("ServiceUnavailable")), "{what}");
    }
    assert_eq!(buckets(&client).await, ["other", "photos"]);
}

#[tokio::test]
async fn under_the_wildcard_owners_are_those_that_grants_name() {
    let (home, away) = regions();
    let gateway = with_wildcard(&home, &away).start();
    let client = gateway.client();
    let owner = "<Owner><ID>111122223333</ID><DisplayName>somebody</DisplayName></Owner>";
    let listed = format!("<Name>other</Name><Contents><Key>k</Key>{owner}</Contents>");
    let parts = format!("<Bucket>other</Bucket><Key>k</Key><UploadId>u</UploadId>{owner}");
    for (operation, root, inner, target) in [
        ("ListObjects", "ListBucketResult", &listed, "/other"),
        (
            "ListObjectVersions",
            "ListVersionsResult",
            &listed.replace("Contents", "Version"),
            "/other?versions",
        ),
        ("ListParts", "ListPartsResult", &parts, "/other/k?uploadId=u"),
    ] {
        let told = format!("<{root}>{inner}</{root}>");
        let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", told.len());
        home.fault(When::operation(operation).times(1), Act::AnswerBytes(bytes::Bytes::from(head + &told)));
        let page = client.send(&Request::get(target)).await.expect(200).text();
        assert!(page.contains(owner), "{operation}: {page}");
    }
}

#[tokio::test]
async fn a_part_that_is_named_twice_is_judged_by_the_store() {
    let (home, away) = regions();
    let gateway = with_wildcard(&home, &away).start();
    let client = gateway.client();
    let part = |number: u8| format!("<Part><PartNumber>{number}</PartNumber><ETag>x</ETag></Part>");
    for (numbers, asked) in [([1, 1], 1), ([2, 1], 0)] {
        home.forget();
        let parts: String = numbers.map(part).concat();
        let document = format!("<CompleteMultipartUpload>{parts}</CompleteMultipartUpload>");
        let reply = client.send(&Request::post("/other/k?uploadId=none", document)).await;
        let seen = home.seen().iter().filter(|seen| seen.operation == "CompleteMultipartUpload").count();
        assert_eq!(seen, asked, "{numbers:?}: {}", reply.text());
    }
}

#[tokio::test]
async fn the_wildcard_s_region_is_the_one_that_clients_sign_for() {
    let (home, away) = regions();
    let gateway = with_wildcard(&home, &away).start();
    let client = gateway.client();
    let head = client.send(&Request::head("/other")).await.expect(200);
    assert_eq!(head.header("x-amz-bucket-region"), Some(LOGICAL_REGION));
    let location = client.send(&Request::get("/other?location")).await.expect(200).text();
    assert!(location.contains(&format!(">{LOGICAL_REGION}</LocationConstraint>")), "{location}");
}

#[tokio::test]
async fn where_a_new_bucket_is_to_be_is_said_in_the_store_s_words_by_whom_the_store_knows() {
    let home = Region::start("home", &["photos-home"]);
    let mut setup = Setup::over(&[&home]);
    setup.logical_region = "\"*\"".to_owned();
    setup.access_points.push(("\"*\"".to_owned(), "    regions: [home]\n".to_owned()));
    let mut same = Tenant::of("same", &[]);
    (same.policy, same.lines) = (None, "    region_credentials: same\n".to_owned());
    let all = r#"{"Effect": "Allow", "Action": "s3:*", "Resource": "*"}"#;
    setup.tenants = vec![Tenant::with_statements("app", all), same];
    let gateway = setup.start();
    let document = "<CreateBucketConfiguration><LocationConstraint>eu-central-1</LocationConstraint></CreateBucketConfiguration>";
    // signed for the place that it names, as SDKs do
    let create = |tenant: usize| {
        let mut client = gateway.client_of(tenant);
        client.settings.signing_region = "eu-central-1".to_owned();
        async move { client.send(&Request::put("/new", document)).await }
    };
    let told = || {
        let body = home.seen_once().body.unwrap();
        text::element(&String::from_utf8_lossy(&body), "LocationConstraint")
    };
    create(0).await.expect(200);
    assert_eq!(told().as_deref(), Some("home-1"));
    let own = gateway.client_of(1).settings;
    home.change_settings(|settings| {
        settings.access_key_id = own.access_key_id.clone();
        settings.secret = own.secret.clone();
    });
    home.forget();
    refused(&create(1).await, 409, "BucketAlreadyOwnedByYou");
    assert_eq!(told().as_deref(), Some("eu-central-1"));
}

#[tokio::test]
async fn nobody_goes_round_an_access_point_to_its_buckets() {
    let (home, away) = regions();
    home.seed("photos-home", "k", "secret");
    let gateway = with_wildcard(&home, &away).start();
    let client = gateway.client();
    for request in [
        Request::get("/photos-home/k"),
        Request::get("/photos-home?list-type=2"),
        Request::put("/photos-home/k", "x"),
        Request::put("/photos-home", ""),
        Request::delete("/photos-home"),
        Request::get("/photos-away/k"),
        // neither by another spelling, nor as a copy's source
        Request::get("/photos%2Dhome/k"),
    ] {
        refused(&client.send(&request).await, 404, "NoSuchBucket");
    }
    let copy = Request::put("/other/copy", "").with("x-amz-copy-source", "/photos-home/k");
    let copied = client.send(&copy).await;
    assert!(copied.status == 403 || copied.status == 404, "{}", copied.text());
    assert!(home.seen().is_empty() && away.seen().is_empty());
}

#[tokio::test]
async fn an_acl_of_the_owner_that_was_told_is_set_by_its_canned_name() {
    let home = Region::start("home", &["photos-home"]);
    home.seed("photos-home", "k", "x");
    let gateway = Setup::over(&[&home]).start();
    let client = gateway.client();
    let told = "<Owner><ID>nearpoint</ID></Owner>";
    let own = "<Grant><Grantee><ID>nearpoint</ID></Grantee><Permission>FULL_CONTROL</Permission></Grant>";
    let all = "<Grant><Grantee><URI>http://acs.amazonaws.com/groups/global/AllUsers</URI></Grantee>\
               <Permission>READ</Permission></Grant>";
    for (grants, canned) in [(own.to_owned(), "private"), (format!("{own}{all}"), "public-read")] {
        home.forget();
        let acl = format!(
            "<AccessControlPolicy>{told}<AccessControlList>{grants}</AccessControlList></AccessControlPolicy>"
        );
        client.send(&Request::put("/photos/k?acl", acl)).await;
        let seen = home.seen_once();
        assert_eq!(seen.header("x-amz-acl"), Some(canned));
        assert_eq!(seen.header("content-length").unwrap_or("0"), "0");
    }
}

#[tokio::test]
async fn how_a_bucket_is_encrypted_is_told_with_the_clients_name_of_the_key() {
    let mut told = Settings::new("home", &["photos-home"]);
    told.documents = settings();
    let home = Region::start_with(told);
    let arn = "arn:aws:kms:home-1:111122223333:key/k";
    for (named, told) in [(arn, "pictures"), ("arn:aws:kms:home-1:111122223333:key/other", "")] {
        let mut setup = Setup::over(&[&home]);
        setup.regions[0].1.push_str(&format!("    kms_keys: {{pictures: \"{named}\"}}\n"));
        let gateway = setup.start();
        let reply = gateway.client().send(&Request::get("/photos?encryption")).await.expect(200).text();
        let key = text::element(&reply, "KMSMasterKeyID");
        assert_eq!(key.as_deref(), Some(told), "{reply}");
        assert!(!reply.contains("111122223333"), "{reply}");
    }
}

#[tokio::test]
async fn an_alias_is_the_access_point() {
    let (home, away) = regions();
    let mut setup = Setup::over(&[&home, &away]);
    setup.access_points[0].1.push_str("    alias: mfzwi23gnjvgw.mrap\n");
    let gateway = setup.start();
    let client = gateway.client();
    client.send(&Request::put("/mfzwi23gnjvgw.mrap/k", "1")).await.expect(200);
    assert_eq!(client.send(&Request::get("/photos/k")).await.expect(200).body, b"1");
    client.send(&Request::head("/mfzwi23gnjvgw.mrap")).await.expect(200);
    let page = client.send(&Request::get("/mfzwi23gnjvgw.mrap?list-type=2")).await.expect(200).text();
    let name = text::element(&page, "Name");
    assert!(name.as_deref() == Some("photos") || name.as_deref() == Some("mfzwi23gnjvgw.mrap"), "{page}");
}

#[tokio::test]
async fn the_host_of_a_multi_region_access_point_is_the_access_point_of_that_alias() {
    let (home, away) = regions();
    let mut setup = Setup::over(&[&home, &away]);
    setup.access_points[0].1.push_str("    alias: mfzwi23gnjvgw.mrap\n");
    setup.rest.push_str("domains: [accesspoint.s3-global.amazonaws.com]\n");
    let gateway = setup.start();
    // as SDKs speak to one: its own host, SigV4A, every region
    let host = "mfzwi23gnjvgw.mrap.accesspoint.s3-global.amazonaws.com".to_owned();
    let client = Client { host, region_set: Some("*".to_owned()), ..gateway.client() };
    client.send(&Request::put("/photos/k", "1")).await.expect(200);
    assert_eq!(home.object("photos-home", "photos/k").unwrap().body, "1", "the path is the key");
    assert_eq!(client.send(&Request::get("/photos/k")).await.expect(200).body, b"1");
    let page = client.send(&Request::get("/?list-type=2")).await.expect(200).text();
    assert_eq!(text::elements(&page, "Key"), ["photos/k"]);
    let done = client.upload("/big", &[b"1"]).await.expect(200).text();
    let location = text::element(&done, "Location").unwrap();
    assert!(location.ends_with("//mfzwi23gnjvgw.mrap.accesspoint.s3-global.amazonaws.com/big"), "{location}");
    let stranger = Client { host: client.host.replace("mfzwi", "other"), ..client };
    refused(&stranger.send(&Request::get("/photos/k")).await, 404, "NoSuchBucket");
}

#[tokio::test]
async fn who_expects_another_owner_is_refused_and_who_expects_any_where_none_is_known_too() {
    const OWNER: &str = "x-amz-expected-bucket-owner";
    const SOURCE_OWNER: &str = "x-amz-source-expected-bucket-owner";
    for owner in [Some("444455556666"), None] {
        let (home, away) = regions();
        let mut setup = Setup::over(&[&home, &away]);
        if let Some(owner) = owner {
            setup.access_points[0].1.push_str(&format!("    owner: \"{owner}\"\n"));
        }
        let gateway = setup.start();
        let client = gateway.client();
        client.send(&Request::put("/photos/k", "1")).await.expect(200);
        home.forget();
        away.forget();
        let copy = Request::put("/photos/copy", "").with("x-amz-copy-source", "/photos/k");
        let presigned = |account: &str| {
            client.unsigned(&Request::get(
                &client.presign(&Request::get(&format!("/photos/k?{OWNER}={account}")), 60),
            ))
        };
        let (status, code) = if owner.is_some() { (403, "AccessDenied") } else { (501, "NotImplemented") };
        for signed in [
            Request::get("/photos/k").with(OWNER, "111122223333"),
            Request::get("/photos?location").with(OWNER, "111122223333"),
            Request::put("/photos/k", "2").with(OWNER, "111122223333"),
            copy.clone().with(SOURCE_OWNER, "111122223333"),
        ] {
            refused(&client.send(&signed).await, status, code);
        }
        refused(&client.send_signed(&presigned("111122223333")).await, status, code);
        assert!(home.seen().is_empty() && away.seen().is_empty(), "no store is asked");
        if let Some(owner) = owner {
            for signed in [
                Request::get("/photos/k").with(OWNER, owner),
                copy.clone().with(SOURCE_OWNER, owner).with(OWNER, owner),
            ] {
                client.send(&signed).await.expect(200);
            }
            client.send_signed(&presigned(owner)).await.expect(200);
            let told = [&home, &away].into_iter().flat_map(Region::seen);
            assert!(
                told.into_iter().all(|seen| seen.header(OWNER).is_none()),
                "the stores' accounts are others"
            );
        }
    }
}

#[tokio::test]
async fn a_copy_never_reads_a_bucket_that_only_shares_its_source_s_name() {
    // `vault` is an access point at home; away another's bucket has that very name
    let home = Region::start("home", &["photos-home", "vault-home"]);
    let away = Region::start("away", &["photos-away", "vault"]);
    away.seed("vault", "k", "another's");
    home.seed("vault-home", "k", "ours");
    let mut setup = Setup::over(&[&home, &away]).access_point("photos", &[&home, &away], 0, "allow", "allow");
    setup.access_points[0].1 = setup.access_points[0].1.replace("home: home", "home: away");
    setup = setup.access_point("vault", &[&home], 1, "allow", "allow");
    setup.tenants = vec![Tenant::of("app", &["photos", "vault"])];
    let gateway = setup.start();
    let copy = Request::put("/photos/copy", "").with("x-amz-copy-source", "/vault/k");
    let copied = gateway.client().send(&copy).await.expect(200);
    assert_eq!(copied.header("x-nearpoint-region"), Some("home"));
    assert_eq!(home.object("photos-home", "copy").unwrap().body, "ours");
    assert!(away.object("photos-away", "copy").is_none());
    // where the copy may be made there only, it is carried there
    setup.access_points[0].1 =
        setup.access_points[0].1.replace("home: away, failover: allow", "home: away, failover: refuse");
    let gateway = setup.start();
    gateway.client().send(&copy).await.expect(200);
    assert_eq!(away.object("photos-away", "copy").unwrap().body, "ours");
}
