//! The wildcard access point over several regions: any bucket, the same name in each.

use crate::house::client::{Client, Reply, Request};
use crate::house::gateway::{Gateway, LOGICAL_REGION, Setup, Tenant};
use crate::house::region::{Act, Region, Settings, When};
use crate::house::text;

#[track_caller]
fn refused(reply: &Reply, status: u16, code: &str) {
    assert_eq!((reply.status, reply.code().as_deref()), (status, Some(code)), "{}", reply.text());
}

/// The error of a change that was made in some regions only.
#[track_caller]
fn half_done(reply: &Reply, status: u16, code: &str) {
    refused(reply, status, code);
    let text = reply.text();
    assert!(text.contains("may be repeated"), "{text}");
    for physical in ["home", "away", "127.0.0.1", "AKID"] {
        assert!(!text.contains(physical), "{text}");
    }
}

fn regions() -> (Region, Region) {
    (Region::start("home", &["photos-home"]), Region::start("away", &["photos-away"]))
}

/// `"*"` over both, beside the access point `photos`.
async fn everywhere(home: &Region, away: &Region) -> Gateway {
    let mut setup = Setup::over(&[home, away]);
    setup.access_points.push(("\"*\"".to_owned(), "    regions: [home, away]\n".to_owned()));
    let all = r#"{"Effect": "Allow", "Action": "s3:*", "Resource": "*"}"#;
    setup.tenants = vec![Tenant::with_statements("app", all)];
    let gateway = setup.start();
    all_well(&gateway).await;
    gateway
}

async fn all_well(gateway: &Gateway) {
    gateway.wait_for_standing(|(_, reads, writes)| reads == "healthy" && writes == "healthy").await;
}

/// Of both regions, in order.
fn has(home: &Region, away: &Region, bucket: &str) -> (bool, bool) {
    let has = |region: &Region| region.buckets().iter().any(|name| name == bucket);
    (has(home), has(away))
}

fn operations(region: &Region) -> Vec<&'static str> {
    region.seen().iter().map(|seen| seen.operation).collect()
}

async fn buckets(client: &Client) -> Vec<String> {
    text::elements(&client.send(&Request::get("/")).await.expect(200).text(), "Name")
}

fn placed_in(region: &str) -> String {
    format!(
        "<CreateBucketConfiguration><LocationConstraint>{region}</LocationConstraint></CreateBucketConfiguration>"
    )
}

#[tokio::test]
async fn a_bucket_is_made_in_every_region_each_by_its_own_name() {
    let (home, away) = regions();
    let gateway = everywhere(&home, &away).await;
    let client = gateway.client();
    let made = client.send(&Request::put("/made", placed_in(LOGICAL_REGION))).await.expect(200);
    assert_eq!(made.header("location"), Some("/made"));
    assert_eq!(has(&home, &away, "made"), (true, true));
    for (region, own) in [(&home, "home-1"), (&away, "away-1")] {
        let body = region.seen_once().body.unwrap();
        let body = String::from_utf8_lossy(&body);
        assert_eq!(text::element(&body, "LocationConstraint").as_deref(), Some(own), "{body}");
    }
    client.send(&Request::put("/plain", "")).await.expect(200);
    assert_eq!(has(&home, &away, "plain"), (true, true));
    refused(&client.send(&Request::put("/plain", "")).await, 409, "BucketAlreadyOwnedByYou");
    let elsewhere = client.send(&Request::put("/elsewhere", placed_in("mars-1"))).await;
    refused(&elsewhere, 400, "IllegalLocationConstraintException");
    assert_eq!(has(&home, &away, "elsewhere"), (false, false));
    // neither an access point nor what is behind one
    refused(&client.send(&Request::put("/photos", "")).await, 409, "BucketAlreadyOwnedByYou");
    refused(&client.send(&Request::put("/photos-away", "")).await, 404, "NoSuchBucket");
    assert_eq!(buckets(&client).await, ["made", "photos", "plain"]);
}

#[tokio::test]
async fn a_bucket_that_was_made_in_some_regions_is_made_in_the_rest_by_a_repeat() {
    let (home, away) = regions();
    let gateway = everywhere(&home, &away).await;
    let client = gateway.client();
    let taken = Act::Answer { status: 409, code: "BucketAlreadyExists" };
    away.fault(When::operation("CreateBucket"), taken.clone());
    half_done(&client.send(&Request::put("/made", "")).await, 409, "BucketAlreadyExists");
    assert_eq!(has(&home, &away, "made"), (true, false));
    let metrics = gateway.admin_text("/metrics").await.1;
    assert!(metrics.contains("nearpoint_buckets_half_changed_total{region=\"away\"} 1"), "{metrics}");
    away.heal();
    client.send(&Request::put("/made", "")).await.expect(200);
    assert_eq!(has(&home, &away, "made"), (true, true));
    // what home refuses is made nowhere
    home.fault(When::operation("CreateBucket"), taken);
    let refusal = client.send(&Request::put("/other", "")).await;
    refused(&refusal, 409, "BucketAlreadyExists");
    assert!(!refusal.text().contains("repeated"), "{}", refusal.text());
    assert_eq!(has(&home, &away, "other"), (false, false));
    home.heal();
    // nor is anything while a region is out
    away.kill();
    gateway.transition("away", "write", "out");
    home.forget();
    refused(&client.send(&Request::put("/other", "")).await, 503, "ServiceUnavailable");
    assert_eq!(has(&home, &away, "other"), (false, false));
    assert!(home.seen().is_empty());
}

#[tokio::test]
async fn a_bucket_is_deleted_only_where_it_is_empty_everywhere() {
    let (home, away) = regions();
    let gateway = everywhere(&home, &away).await;
    let client = gateway.client();
    client.send(&Request::put("/made", "")).await.expect(200);
    away.seed("made", "k", "what home does not have");
    home.forget();
    away.forget();
    let delete = Request::delete("/made");
    refused(&client.send(&delete).await, 409, "BucketNotEmpty");
    assert_eq!(operations(&home), ["ListObjectVersions"]);
    assert_eq!(operations(&away), ["ListObjectVersions"]);
    away.unseed("made", "k");
    // who cannot say is not asked to delete
    away.fault(When::operation("ListObjectVersions"), Act::Answer { status: 403, code: "AccessDenied" });
    refused(&client.send(&delete).await, 403, "AccessDenied");
    away.heal();
    away.kill();
    gateway.transition("away", "read", "out");
    let reply = client.send(&delete).await;
    assert_eq!(reply.status, 503, "{}", reply.text());
    away.revive();
    gateway.wait_for_standing(|(_, reads, writes)| reads != "out" && writes != "out").await;
    assert_eq!(has(&home, &away, "made"), (true, true));
    assert!(!operations(&home).contains(&"DeleteBucket") && !operations(&away).contains(&"DeleteBucket"));
    // home goes last: what is left half-way is listed, and can be deleted again
    home.fault(When::operation("DeleteBucket"), Act::Answer { status: 403, code: "AccessDenied" });
    half_done(&client.send(&delete).await, 403, "AccessDenied");
    assert_eq!(has(&home, &away, "made"), (true, false));
    assert_eq!(buckets(&client).await, ["made", "photos"]);
    home.heal();
    client.send(&delete).await.expect(204);
    assert_eq!(has(&home, &away, "made"), (false, false));
    refused(&client.send(&delete).await, 404, "NoSuchBucket");
}

#[tokio::test]
async fn a_version_that_nobody_sees_keeps_its_bucket() {
    let versioned = |name: &str, bucket: &str| {
        Region::start_with(Settings { versioned: true, ..Settings::new(name, &[bucket, "made"]) })
    };
    let (home, away) = (versioned("home", "photos-home"), versioned("away", "photos-away"));
    away.seed("made", "k", "v");
    away.unseed("made", "k");
    let gateway = everywhere(&home, &away).await;
    refused(&gateway.client().send(&Request::delete("/made")).await, 409, "BucketNotEmpty");
    assert_eq!(has(&home, &away, "made"), (true, true));
}

#[tokio::test]
async fn settings_are_made_in_every_region() {
    let (home, away) = regions();
    let gateway = everywhere(&home, &away).await;
    let client = gateway.client();
    client.send(&Request::put("/made", "")).await.expect(200);
    let cors =
        "<CORSConfiguration><CORSRule><AllowedMethod>GET</AllowedMethod></CORSRule></CORSConfiguration>";
    client.send(&Request::put("/made?cors", cors)).await.expect(200);
    for region in [&home, &away] {
        assert_eq!(region.setting("made", "cors").as_deref(), Some(cors));
    }
    assert_eq!(client.send(&Request::get("/made?cors")).await.expect(200).text(), cors);
    away.fault(
        When { method: Some("DELETE"), ..When::operation("SubResource") }.times(9),
        Act::Answer { status: 403, code: "AccessDenied" },
    );
    half_done(&client.send(&Request::delete("/made?cors")).await, 403, "AccessDenied");
    assert_eq!((home.setting("made", "cors"), away.setting("made", "cors").is_some()), (None, true));
    away.heal();
    // home has none any more, the others have: a repeat takes those away
    client.send(&Request::delete("/made?cors")).await.expect(204);
    assert_eq!(away.setting("made", "cors"), None);
    refused(&client.send(&Request::delete("/made?cors")).await, 404, "NoSuchConfiguration");

    let kms = "<ServerSideEncryptionConfiguration><Rule><ApplyServerSideEncryptionByDefault><SSEAlgorithm>aws:kms</SSEAlgorithm>\
               </ApplyServerSideEncryptionByDefault></Rule></ServerSideEncryptionConfiguration>";
    home.forget();
    away.forget();
    for (sub, document) in [
        ("replication", "<ReplicationConfiguration/>"),
        ("notification", "<NotificationConfiguration/>"),
        ("logging", "<BucketLoggingStatus/>"),
        ("inventory&id=1", "<InventoryConfiguration/>"),
        ("encryption", kms),
        ("acl", "<AccessControlPolicy/>"),
    ] {
        refused(&client.send(&Request::put(&format!("/made?{sub}"), document)).await, 501, "NotImplemented");
    }
    let reader = "id=\"a user of one region\"";
    for target in ["/made?acl", "/granted"] {
        let granting = Request::put(target, "").with("x-amz-grant-read", reader);
        refused(&client.send(&granting).await, 501, "NotImplemented");
    }
    assert!(home.seen().is_empty() && away.seen().is_empty());
    client.send(&Request::put("/made?encryption", kms.replace("aws:kms", "AES256"))).await.expect(200);
    client.send(&Request::put("/made?acl", "").with("x-amz-acl", "private")).await.expect(200);
    refused(&client.send(&Request::put("/photos-home?cors", cors)).await, 404, "NoSuchBucket");
    refused(&client.send(&Request::put("/photos?cors", cors)).await, 405, "MethodNotAllowed");
}

#[tokio::test]
async fn objects_are_home_s_and_others_serve_where_it_is_out() {
    let (home, away) = regions();
    let gateway = everywhere(&home, &away).await;
    let client = gateway.client();
    for bucket in ["/one", "/two"] {
        client.send(&Request::put(bucket, "")).await.expect(200);
        client.send(&Request::put(&format!("{bucket}/k"), "v")).await.expect(200);
    }
    assert_eq!((home.keys("one"), away.keys("one")), (vec!["k".to_owned()], vec![]));
    let id = text::element(
        &client.send(&Request::post("/one/big?uploads", "")).await.expect(200).text(),
        "UploadId",
    );
    assert!(id.is_some_and(|id| id.starts_with("np1_")), "an upload's id says where it is");
    // of two buckets the same key is not the same
    client.send(&Request::delete("/one/k")).await.expect(204);
    assert_eq!(client.send(&Request::get("/two/k")).await.expect(200).body, b"v");
    assert_eq!(client.send(&Request::get("/one/k")).await.status, 404);
    away.seed("two", "replicated", "v");
    home.kill();
    gateway.transition("home", "read", "out");
    assert_eq!(client.send(&Request::get("/two/replicated")).await.expect(200).body, b"v");
    assert_eq!(buckets(&client).await, ["one", "photos", "two"]);
    client.send(&Request::head("/two")).await.expect(200);
    let first = client.send(&Request::get("/?max-buckets=2")).await.expect(200).text();
    let token = text::element(&first, "ContinuationToken").unwrap();
    let rest = client
        .send(&Request::get(&format!("/?max-buckets=2&continuation-token={}", text::encoded(&token, ""))))
        .await;
    assert_eq!(text::elements(&rest.expect(200).text(), "Name"), ["two"]);
}
