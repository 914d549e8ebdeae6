//! Ids that clients bring back lead to the region that gave them: uploads, versions, and places in
//! listings, through any gateway with the same keys.

use std::sync::Arc;

use crate::house::client::{Client, Reply, Request};
use crate::house::gateway::{Gateway, Setup, Tenant};
use crate::house::region::{Act, End, Region, Seen, Settings, When};
use crate::house::replicator::{Replicator, Ways};
use crate::house::text;

const HOME: &str = "photos-home";
const AWAY: &str = "photos-away";

/// Two regions, `home` first; each with a bucket of its own name.
fn two() -> (Arc<Region>, Arc<Region>) {
    (Arc::new(Region::start("home", &[HOME])), Arc::new(Region::start("away", &[AWAY])))
}

fn two_versioned() -> (Arc<Region>, Arc<Region>) {
    let start = |name: &str, bucket: &str| {
        Arc::new(Region::start_with(Settings { versioned: true, ..Settings::new(name, &[bucket]) }))
    };
    (start("home", HOME), start("away", AWAY))
}

/// Writes may move.
fn over(regions: &[&Region]) -> Setup {
    Setup::over(regions).access_point("photos", regions, 0, "allow", "allow")
}

/// The target of a request for an upload.
fn aimed(target: &str, parameters: &str, id: &str) -> String {
    format!("{target}?{parameters}uploadId={}", text::encoded(id, ""))
}

fn completion(etags: &[&str]) -> String {
    let parts: Vec<String> = (1..)
        .zip(etags)
        .map(|(number, etag)| {
            format!("<Part><PartNumber>{number}</PartNumber><ETag>{}</ETag></Part>", text::escaped(etag))
        })
        .collect();
    format!("<CompleteMultipartUpload>{}</CompleteMultipartUpload>", parts.concat())
}

/// Begins an upload that lives away, though home is well: it dropped this one request.
async fn begun_away(client: &Client, home: &Region, target: &str) -> String {
    home.fault(When::operation("CreateMultipartUpload").times(1), Act::DropAtHead(End::Reset));
    let created = client.send(&Request::post(&format!("{target}?uploads"), "")).await.expect(200);
    assert_eq!(created.header("x-nearpoint-region"), Some("away"));
    text::element(&created.text(), "UploadId").expect("an upload id")
}

fn saw(region: &Region, operation: &str) -> Vec<Seen> {
    region.seen().into_iter().filter(|seen| seen.operation == operation).collect()
}

#[track_caller]
fn refused(reply: &Reply, status: u16, code: &str) {
    assert_eq!((reply.status, reply.code().as_deref()), (status, Some(code)), "{}", reply.text());
}

// ── uploads ──────────────────────────────────────────────────────────────────

#[tokio::test]
async fn an_upload_goes_on_where_it_began_through_any_gateway() {
    let (home, away) = two();
    let setup = over(&[&home, &away]);
    let (first, second) = (setup.start(), setup.start());
    let id = begun_away(&first.client(), &home, "/photos/big").await;
    let one = Request::put(&aimed("/photos/big", "partNumber=1&", &id), "one");
    let one = first.client().send(&one).await.expect(200).header("etag").unwrap().to_owned();
    let two = Request::put(&aimed("/photos/big", "partNumber=2&", &id), "two");
    let two = second.client().send(&two).await.expect(200).header("etag").unwrap().to_owned();
    drop(first);
    let restarted = setup.start();
    let client = restarted.client();
    let parts = client.send(&Request::get(&aimed("/photos/big", "", &id))).await.expect(200).text();
    assert_eq!(text::elements(&parts, "PartNumber"), ["1", "2"]);
    assert_eq!(text::element(&parts, "UploadId").as_deref(), Some(id.as_str()), "the client's own id");
    assert_eq!(text::element(&parts, "Bucket").as_deref(), Some("photos"));
    let done = Request::post(&aimed("/photos/big", "", &id), completion(&[&one, &two]));
    let done = client.send(&done).await.expect(200).text();
    assert_eq!(text::element(&done, "Bucket").as_deref(), Some("photos"));
    assert_eq!(away.object(AWAY, "big").expect("complete").body, "onetwo");
    assert!(home.keys(HOME).is_empty() && saw(&home, "UploadPart").is_empty());
    let part = &saw(&away, "UploadPart")[0];
    let raw = &away_id(&part.target);
    assert_eq!(part.target, format!("/{AWAY}/big?partNumber=1&uploadId={raw}"), "the store's own id");
}

/// The upload id in a target.
fn away_id(target: &str) -> String {
    let id = target.split_once("uploadId=").expect("an upload id").1.to_owned();
    assert!(id.starts_with("upload-away-"), "{id}");
    id
}

#[tokio::test]
async fn an_upload_is_aborted_where_it_lives() {
    let (home, away) = two();
    let gateway = over(&[&home, &away]).start();
    let client = gateway.client();
    let id = begun_away(&client, &home, "/photos/big").await;
    client.send(&Request::put(&aimed("/photos/big", "partNumber=1&", &id), "one")).await.expect(200);
    assert_eq!(away.uploads(AWAY).len(), 1);
    client.send(&Request::delete(&aimed("/photos/big", "", &id))).await.expect(204);
    assert!(away.uploads(AWAY).is_empty());
    let gone = client.send(&Request::get(&aimed("/photos/big", "", &id))).await;
    refused(&gone, 404, "NoSuchUpload");
}

#[tokio::test]
async fn parts_are_copied_within_the_region_of_the_upload() {
    let (home, away) = two();
    home.seed(HOME, "source", "from home");
    Replicator::by_hand(&[&home, &away], Ways::Two).settle();
    let gateway = over(&[&home, &away]).start();
    let client = gateway.client();
    let id = begun_away(&client, &home, "/photos/big").await;
    let copy = Request::put(&aimed("/photos/big", "partNumber=1&", &id), "");
    let copy = client.send(&copy.with("x-amz-copy-source", "/photos/source")).await.expect(200);
    let etag = text::element(&copy.text(), "ETag").unwrap();
    let done = Request::post(&aimed("/photos/big", "", &id), completion(&[&etag]));
    client.send(&done).await.expect(200);
    assert_eq!(away.object(AWAY, "big").unwrap().body, "from home");
    let copied = &saw(&away, "UploadPartCopy")[0];
    assert_eq!(copied.header("x-amz-copy-source"), Some("photos-away/source"));
}

#[tokio::test]
async fn an_id_by_an_unknown_key_is_unavailable_and_an_error_in_the_log() {
    let (home, away) = two();
    let setup = over(&[&home, &away]);
    let gateway = setup.start();
    let created = gateway.client().send(&Request::post("/photos/big?uploads", "")).await.expect(200);
    let id = text::element(&created.text(), "UploadId").unwrap();
    let stranger =
        Setup { tokens: "{keys: [\"another-token-key-9876543210\"]}".to_owned(), ..setup.clone() }.start();
    let part = Request::put(&aimed("/photos/big", "partNumber=1&", &id), "one");
    let reply = stranger.client().send(&part).await;
    refused(&reply, 503, "ServiceUnavailable");
    assert!(reply.header("retry-after").is_some());
    let level = stranger.wait_for_line(|line| {
        let value: serde_json::Value = serde_json::from_str(line).ok()?;
        value["message"].as_str()?.contains("unknown key").then(|| value["level"].clone())
    });
    assert_eq!(level, "ERROR");
    // once the key is on its list it opens what the other gateway made
    let both = "{keys: [\"another-token-key-9876543210\", \"a-token-key-for-tests-0123456789\"]}".to_owned();
    let both = Setup { tokens: both, ..setup }.start();
    both.client().send(&part).await.expect(200);
}

#[tokio::test]
async fn a_forged_id_is_no_such_upload_and_never_reaches_a_region() {
    let (home, away) = two();
    let gateway = over(&[&home, &away]).start();
    let client = gateway.client();
    let created = client.send(&Request::post("/photos/big?uploads", "")).await.expect(200);
    let id = text::element(&created.text(), "UploadId").unwrap();
    home.forget();
    let at = id.len() - 2;
    let other = if id[at..].starts_with('A') { "B" } else { "A" };
    let changed = format!("{}{other}{}", &id[..at], &id[at + 1..]);
    for (target, id) in [("/photos/big", &changed), ("/photos/other", &id)] {
        for request in [
            Request::put(&aimed(target, "partNumber=1&", id), "one"),
            Request::get(&aimed(target, "", id)),
            Request::post(&aimed(target, "", id), completion(&["x"])),
            Request::delete(&aimed(target, "", id)),
        ] {
            refused(&client.send(&request).await, 404, "NoSuchUpload");
        }
    }
    assert!(home.seen().is_empty() && away.seen().is_empty());
    // what was never an id of ours is home's to judge
    refused(&client.send(&Request::get("/photos/big?uploadId=plain")).await, 404, "NoSuchUpload");
    assert_eq!((saw(&home, "ListParts").len(), saw(&away, "ListParts").len()), (1, 0));
}

#[tokio::test]
async fn while_the_region_of_an_upload_is_down_its_upload_is_unavailable_not_gone() {
    let (home, away) = two();
    let gateway = over(&[&home, &away]).start();
    let client = gateway.client();
    let id = begun_away(&client, &home, "/photos/big").await;
    away.kill();
    home.forget();
    for request in [
        Request::put(&aimed("/photos/big", "partNumber=1&", &id), "one"),
        Request::get(&aimed("/photos/big", "", &id)),
        Request::post(&aimed("/photos/big", "", &id), completion(&["x"])),
        Request::delete(&aimed("/photos/big", "", &id)),
    ] {
        let reply = client.send(&request).await;
        refused(&reply, 503, "ServiceUnavailable");
    }
    assert!(home.seen().is_empty(), "{:?}", home.seen());
    away.revive();
    gateway.wait_for_reads(&[("away", "probation")]).await;
    client.send(&Request::put(&aimed("/photos/big", "partNumber=1&", &id), "one")).await.expect(200);
}

#[tokio::test]
async fn uploads_of_all_regions_are_listed_in_pages() {
    let (home, away) = two();
    let gateway = over(&[&home, &away]).start();
    let client = gateway.client();
    let mut wanted = Vec::new();
    for number in 0..7 {
        let key = format!("k{}", number / 2);
        let target = format!("/photos/{key}");
        let id = if number % 3 == 0 {
            begun_away(&client, &home, &target).await
        } else {
            let created = client.send(&Request::post(&format!("{target}?uploads"), "")).await.expect(200);
            text::element(&created.text(), "UploadId").unwrap()
        };
        wanted.push((key, id));
    }
    for most in [1, 2, 3, 1000] {
        let mut found: Vec<(String, String)> = Vec::new();
        let mut markers = String::new();
        loop {
            let target = format!("/photos?uploads&max-uploads={most}{markers}");
            let page = client.send(&Request::get(&target)).await.expect(200).text();
            assert_eq!(text::element(&page, "Bucket").as_deref(), Some("photos"));
            let entries = text::elements(&page, "Upload");
            found.extend(entries.iter().map(|entry| {
                (text::element(entry, "Key").unwrap(), text::element(entry, "UploadId").unwrap())
            }));
            if text::element(&page, "IsTruncated").as_deref() != Some("true") {
                break;
            }
            let marker = |name| text::encoded(&text::element(&page, name).unwrap(), "");
            markers = format!(
                "&key-marker={}&upload-id-marker={}",
                marker("NextKeyMarker"),
                marker("NextUploadIdMarker")
            );
        }
        let keys: Vec<&String> = found.iter().map(|(key, _)| key).collect();
        assert!(keys.is_sorted(), "{most}: {keys:?}");
        for (key, id) in &found {
            client.send(&Request::get(&aimed(&format!("/photos/{key}"), "", id))).await.expect(200);
        }
        assert_eq!(found.len(), wanted.len(), "{most} a page: {found:#?}");
        let raw = |id: &str| unwrapped(id);
        let mut ids: Vec<String> = found.iter().map(|(_, id)| raw(id)).collect();
        let mut all: Vec<String> = wanted.iter().map(|(_, id)| raw(id)).collect();
        (ids.sort(), all.sort());
        assert_eq!(ids, all, "{most} a page");
    }
}

/// The store's own id within a token, which hides nothing. (The time of initiation is told by the
/// store in listings and by us at creation: tokens of one upload may differ in it.) The MAC is 16 bytes.
fn unwrapped(token: &str) -> String {
    use base64::Engine as _;
    let sealed = token.strip_prefix("np1_").expect("a token");
    let bytes = base64::engine::general_purpose::URL_SAFE_NO_PAD.decode(sealed).unwrap();
    let text = String::from_utf8_lossy(&bytes[..bytes.len() - 16]).into_owned();
    text[text.find("upload-").expect("a store's id")..].to_owned()
}
