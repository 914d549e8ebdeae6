//! Bucket calls on named access points and under the wildcard.

use crate::house::client::{Client, Reply, Request};
use crate::house::gateway::{LOGICAL_REGION, Setup, Tenant, allow};
use crate::house::region::Region;
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
    // what is configured is home's
    for sub in ["versioning", "lifecycle", "cors", "acl"] {
        refused(&client.send(&Request::get(&format!("/photos?{sub}"))).await, 501, "NotImplemented");
    }
    assert_eq!((home.seen().len(), away.seen().len()), (4, 0));
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
    // where the copy may be made there only, it cannot be
    setup.access_points[0].1 =
        setup.access_points[0].1.replace("home: away, failover: allow", "home: away, failover: refuse");
    let gateway = setup.start();
    refused(&gateway.client().send(&copy).await, 501, "NotImplemented");
}
