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
    // on a busy machine a first request may have been answered away
    home.forget();
    away.forget();
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
    assert!(home.seen().is_empty() && away.seen().is_empty(), "{:?} {:?}", home.seen(), away.seen());
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
    let writes_back = |region: &serde_json::Value| region["id"] != "away" || region["writes"] != "out";
    gateway.wait_for_status(|status| status["regions"].as_array().unwrap().iter().all(writes_back)).await;
    let part = client.send(&Request::put(&aimed("/photos/big", "partNumber=1&", &id), "one")).await;
    assert_eq!(part.status, 200, "{}", part.text());
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
        ids.sort();
        all.sort();
        assert_eq!(ids, all, "{most} a page");
    }
}

#[tokio::test]
async fn uploads_of_a_region_that_is_out_are_left_out_and_it_is_said() {
    let (home, away) = two();
    let gateway = over(&[&home, &away]).start();
    let client = gateway.client();
    away.begin_uploads(AWAY, "afar", 1);
    home.begin_uploads(HOME, "near", 1);
    let uploads = Request::get("/photos?uploads");
    let keys = |page: &str| text::elements(page, "Key");
    assert_eq!(keys(&client.send(&uploads).await.expect(200).text()), ["afar", "near"]);
    // a region that answers is never left out, whatever it answers
    for (status, code) in [(500, "InternalError"), (503, "ServiceUnavailable"), (503, "SlowDown")] {
        away.fault(When::operation("ListMultipartUploads"), Act::Answer { status, code });
        let reply = client.send(&uploads).await;
        assert_eq!(reply.status, 503, "{code}: {}", reply.text());
        away.heal();
    }
    let incomplete = async || {
        let (_, metrics) = gateway.admin_text("/metrics").await;
        metrics.contains("nearpoint_upload_listings_incomplete_total{region=\"away\"}")
    };
    assert!(!incomplete().await);
    away.kill();
    assert_eq!(keys(&client.send(&uploads).await.expect(200).text()), ["near"], "not heard");
    gateway.wait_for_reads(&[("away", "out")]).await;
    assert_eq!(keys(&client.send(&uploads).await.expect(200).text()), ["near"], "known to be out");
    assert!(incomplete().await);
    let said = gateway.wait_for_event("uploads are listed without those of a region");
    assert_eq!((&said["region"], &said["access_point"]), (&"away".into(), &"photos".into()));
    home.kill();
    refused(&client.send(&uploads).await, 503, "ServiceUnavailable");
}

#[tokio::test]
async fn uploads_of_one_key_are_listed_without_a_gap_though_every_region_has_more() {
    // each region's page ends within `k`, and so does the merged one
    let (home, away) = two();
    let gateway = over(&[&home, &away]).start();
    let client = gateway.client();
    home.begin_uploads(HOME, "k", 1500);
    away.begin_uploads(AWAY, "k", 1700);
    let (mut found, mut markers, mut pages) = (std::collections::BTreeSet::new(), String::new(), 0);
    let mut told = 0;
    loop {
        let page = client.send(&Request::get(&format!("/photos?uploads{markers}"))).await.expect(200).text();
        let ids = text::elements(&page, "UploadId");
        told += ids.len();
        found.extend(ids.iter().map(|id| unwrapped(id)));
        pages += 1;
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
    assert_eq!((found.len(), told, pages), (3200, 3200, 2));
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

// ── listings ─────────────────────────────────────────────────────────────────

/// The names of a page, keys and common prefixes, in order.
fn names(page: &str, encoded: bool) -> Vec<String> {
    let prefixes = text::elements(page, "CommonPrefixes");
    let prefixes = prefixes.iter().map(|inner| text::element(inner, "Prefix").unwrap());
    let entries = text::elements(page, "Contents");
    let keys = entries.iter().map(|inner| text::element(inner, "Key").unwrap());
    let plain = |name: String| if encoded { text::listed(&name) } else { name };
    let mut names: Vec<String> = prefixes.chain(keys).map(plain).collect();
    names.sort();
    names
}

/// Pages through a listing; `between` is told after each page which region served it.
async fn listed(client: &Client, query: &str, mut between: impl FnMut(usize, &str)) -> Vec<String> {
    let encoded = query.contains("encoding-type=url");
    let (mut found, mut token, mut number) = (Vec::new(), String::new(), 0);
    loop {
        let page =
            client.send(&Request::get(&format!("/photos?list-type=2{query}{token}"))).await.expect(200);
        let text = page.text();
        assert_eq!(text::element(&text, "Name").as_deref(), Some("photos"));
        if number > 0 {
            let echoed = text::element(&text, "ContinuationToken");
            assert!(echoed.is_none_or(|echoed| token.ends_with(&echoed)), "the client's own token");
        }
        found.extend(names(&text, encoded));
        between(number, page.header("x-nearpoint-region").unwrap());
        number += 1;
        match text::element(&text, "NextContinuationToken") {
            None => return found,
            Some(next) => {
                assert!(next.starts_with("np1_"), "{next}");
                token = format!("&continuation-token={}", text::encoded(&next, ""));
            }
        }
    }
}

#[tokio::test]
async fn a_listing_survives_the_death_of_its_region() {
    let (home, away) = two();
    let third = Arc::new(Region::start("third", &["photos-third"]));
    let keys: Vec<String> = (0..10_000).map(|number| format!("k/{number:05}")).collect();
    for key in &keys {
        home.seed(HOME, key, "x");
    }
    Replicator::by_hand(&[&home, &away, &third], Ways::Two).settle();
    let gateway = over(&[&home, &away, &third]).start();
    let mut regions = Vec::new();
    let found = listed(&gateway.client(), "", |number, region| {
        regions.push(region.to_owned());
        if number == 3 || number == 6 {
            let all = [&home, &away, &third];
            all.iter().find(|one| one.settings().name == region).unwrap().kill();
        }
    })
    .await;
    assert_eq!(found, keys);
    assert_eq!(regions.len(), 10);
    assert!(
        regions[..4].iter().all(|region| *region == regions[0]),
        "it goes on where it began: {regions:?}"
    );
    assert!(regions[4..7].iter().all(|region| *region == regions[4] && *region != regions[0]), "{regions:?}");
    assert!(regions[7..].iter().all(|region| *region != regions[0] && *region != regions[4]), "{regions:?}");
}

#[tokio::test]
async fn common_prefixes_are_listed_once_whatever_region_dies_after_them() {
    // every place for a page to end: a key, a prefix, keys around a prefix, and names that need
    // encoding
    let mut keys: Vec<String> = Vec::new();
    for number in 0..40 {
        keys.push(format!("a{number:02}/one"));
        keys.push(format!("a{number:02}/two/three"));
        keys.push(format!("a{number:02}/\u{10FFFF}last"));
        keys.push(format!("a{number:02}0"));
        keys.push(format!("a{number:02} &<é+%"));
        // before everything that begins with a plus where that has a space
        keys.push(format!("a{number:02} z"));
    }
    let mut wanted: Vec<String> = (0..40)
        .flat_map(|number| ["/", "0", " &<é+%", " z"].map(|end| format!("a{number:02}{end}")))
        .collect();
    wanted.sort();
    let encoded = "&delimiter=%2F&max-keys=9&encoding-type=url&start-after=a";
    for (query, space) in [("&delimiter=%2F&max-keys=7", "+"), (encoded, "+"), (encoded, "%20")] {
        for dies_after in 0..3 {
            let start = |name: &str, bucket: &str| {
                Arc::new(Region::start_with(Settings { space, ..Settings::new(name, &[bucket]) }))
            };
            let (home, away) = (start("home", HOME), start("away", AWAY));
            for key in &keys {
                home.seed(HOME, key, "x");
            }
            Replicator::by_hand(&[&home, &away], Ways::Two).settle();
            let gateway = over(&[&home, &away]).start();
            let found = listed(&gateway.client(), query, |number, region| {
                if number == dies_after {
                    [&home, &away].iter().find(|one| one.settings().name == region).unwrap().kill();
                }
            })
            .await;
            assert_eq!(found, wanted, "{query} {space} dies after page {dies_after}");
        }
    }
}

#[tokio::test]
async fn a_forged_or_foreign_place_in_a_listing_is_an_invalid_argument() {
    let (home, away) = two();
    let gateway = over(&[&home, &away]).start();
    let client = gateway.client();
    for key in ["a", "b", "c"] {
        home.seed(HOME, key, "x");
        away.seed(AWAY, key, "x");
    }
    let page = client.send(&Request::get("/photos?list-type=2&max-keys=1")).await.expect(200).text();
    let token = text::element(&page, "NextContinuationToken").unwrap();
    let changed = format!("{}{}", &token[..token.len() - 3], "AAA");
    for token in [changed.as_str(), "plain"] {
        let target = format!("/photos?list-type=2&continuation-token={token}");
        refused(&client.send(&Request::get(&target)).await, 400, "InvalidArgument");
    }
}

#[tokio::test]
async fn markers_of_the_first_listing_are_plain_keys() {
    let (home, away) = two();
    for key in ["a", "b/1", "b/2", "c"] {
        home.seed(HOME, key, "x");
    }
    Replicator::by_hand(&[&home, &away], Ways::Two).settle();
    let gateway = over(&[&home, &away]).start();
    let client = gateway.client();
    let page = client.send(&Request::get("/photos?delimiter=%2F&max-keys=2")).await.expect(200).text();
    assert_eq!(names(&page, false), ["a", "b/"]);
    assert_eq!(text::element(&page, "NextMarker").as_deref(), Some("b/"));
    home.kill();
    let page = client.send(&Request::get("/photos?delimiter=%2F&max-keys=2&marker=b%2F")).await.expect(200);
    assert_eq!(names(&page.text(), false), ["c"]);
}

// ── versions ─────────────────────────────────────────────────────────────────

fn version(reply: &Reply) -> String {
    reply.header("x-amz-version-id").expect("a version id").to_owned()
}

fn of_version(target: &str, id: &str) -> String {
    format!("{target}?versionId={}", text::encoded(id, ""))
}

/// Two regions with a version of `k` each, through a gateway: `at home` and `away`.
async fn versions_apart(home: &Arc<Region>, away: &Arc<Region>) -> (Gateway, String, String) {
    let gateway = over(&[home, away]).start();
    // before that, writes go to whoever was heard first
    gateway.wait_for_event("first round of probes");
    let client = gateway.client();
    let at_home = client.send(&Request::put("/photos/k", "at home")).await.expect(200);
    home.fault(
        When::operation("PutObject").times(1),
        Act::Answer { status: 503, code: "ServiceUnavailable" },
    );
    let afar = client.send(&Request::put("/photos/k", "away")).await.expect(200);
    assert_eq!(afar.header("x-nearpoint-region"), Some("away"));
    (gateway, version(&at_home), version(&afar))
}

#[tokio::test]
async fn a_version_is_found_and_deleted_where_it_is() {
    let (home, away) = two_versioned();
    let (gateway, at_home, afar) = versions_apart(&home, &away).await;
    let client = gateway.client();
    assert!(at_home.starts_with("np1_") && afar.starts_with("np1_"));
    for (id, body) in [(&at_home, "at home"), (&afar, "away")] {
        let got = client.send(&Request::get(&of_version("/photos/k", id))).await.expect(200);
        assert_eq!((got.text().as_str(), version(&got)), (body, id.clone()));
        let head = client.send(&Request::head(&of_version("/photos/k", id))).await.expect(200);
        assert_eq!(version(&head), *id);
        // bound to its key
        refused(&client.send(&Request::get(&of_version("/photos/other", id))).await, 400, "InvalidArgument");
    }
    let copy = Request::put("/photos/copy", "").with("x-amz-copy-source", &of_version("/photos/k", &afar));
    let copied = client.send(&copy).await.expect(200);
    assert_eq!(copied.header("x-amz-copy-source-version-id"), Some(afar.as_str()));
    assert_eq!(away.object(AWAY, "copy").expect("the copy is where its source is").body, "away");
    let deleted = client.send(&Request::delete(&of_version("/photos/k", &afar))).await.expect(204);
    assert_eq!(version(&deleted), afar);
    assert!(away.object(AWAY, "k").is_none() && home.object(HOME, "k").is_some());
    away.kill();
    let gone = client.send(&Request::get(&of_version("/photos/k", &afar))).await;
    refused(&gone, 503, "ServiceUnavailable");
    client.send(&Request::get(&of_version("/photos/k", &at_home))).await.expect(200);
}

#[tokio::test]
async fn null_is_never_wrapped_and_goes_home() {
    let (home, away) = two();
    home.fault(When::everything(), Act::Delay(std::time::Duration::from_millis(30)));
    home.seed(HOME, "k", "at home");
    away.seed(AWAY, "k", "away");
    let gateway = over(&[&home, &away]).start();
    let client = gateway.client();
    let got = client.send(&Request::get("/photos/k?versionId=null")).await;
    assert_eq!(got.header("x-nearpoint-region"), Some("home"), "{}", got.text());
    assert_eq!(home.seen_once().target, "/photos-home/k?versionId=null");
}

#[tokio::test]
async fn deletions_of_versions_are_split_by_region_and_answered_as_one() {
    let (home, away) = two_versioned();
    let (gateway, at_home, afar) = versions_apart(&home, &away).await;
    let client = gateway.client();
    home.forget();
    away.forget();
    let object = |id: &str| format!("<Object><Key>k</Key><VersionId>{id}</VersionId></Object>");
    let xml =
        format!("<Delete>{}{}<Object><Key>plain</Key></Object></Delete>", object(&at_home), object(&afar));
    let reply = client.send(&checked("/photos?delete", &xml)).await.expect(200).text();
    let mut told = text::elements(&reply, "VersionId");
    told.sort();
    let mut wanted = vec![at_home, afar];
    wanted.sort();
    assert_eq!(told, wanted, "{reply}");
    assert_eq!(text::elements(&reply, "Deleted").len(), 3);
    assert_eq!(reply.matches("<DeleteResult").count(), 1);
    let marker = text::element(&reply, "DeleteMarkerVersionId").expect("a marker");
    assert!(marker.starts_with("np1_"), "{marker}");
    // it opens: the marker is removed again
    client.send(&Request::delete(&of_version("/photos/plain", &marker))).await.expect(204);
    assert!(saw(&home, "DeleteObject")[0].target.contains("versionId=version-home-"));
    assert!(home.object(HOME, "k").is_none() && away.object(AWAY, "k").is_none());
    let body = |region: &Region| {
        let seen = region.seen();
        seen.iter()
            .map(|seen| String::from_utf8(seen.body.clone().unwrap().to_vec()).unwrap())
            .collect::<Vec<_>>()
    };
    assert!(body(&away).iter().all(|body| body.contains("version-away-") && !body.contains("plain")));
    assert!(!body(&home).concat().contains("version-away-"));
}

#[tokio::test]
async fn a_deletion_that_one_region_carried_out_is_never_a_failure_as_a_whole() {
    let (home, away) = two_versioned();
    let (gateway, at_home, afar) = versions_apart(&home, &away).await;
    let client = gateway.client();
    client.send(&Request::put("/photos/plain", "x")).await.expect(200);
    let object =
        |key: &str, id: &str| format!("<Object><Key>{key}</Key><VersionId>{id}</VersionId></Object>");
    let xml = format!(
        "<Delete>{}{}<Object><Key>plain</Key></Object></Delete>",
        object("k", &at_home),
        object("k", &afar)
    );
    for (act, code) in [
        (Act::DropBeforeCommit(End::Reset), "ServiceUnavailable"),
        (Act::Answer { status: 500, code: "InternalError" }, "InternalError"),
        (Act::Answer { status: 403, code: "AccessDenied" }, "AccessDenied"),
    ] {
        away.fault(When::operation("DeleteObjects"), act);
        let reply = client.send(&checked("/photos?delete", &xml)).await.expect(200).text();
        let errors = text::elements(&reply, "Error");
        assert_eq!(errors.len(), 1, "{reply}");
        assert_eq!(text::element(&errors[0], "Key").as_deref(), Some("k"));
        assert_eq!(
            text::element(&errors[0], "VersionId").as_deref(),
            Some(afar.as_str()),
            "the client's own"
        );
        assert_eq!(text::element(&errors[0], "Code").as_deref(), Some(code));
        let deleted = text::elements(&reply, "Deleted");
        let mut keys: Vec<_> = deleted.iter().map(|entry| text::element(entry, "Key").unwrap()).collect();
        keys.sort();
        assert_eq!(keys, ["k", "plain"], "{reply}");
        away.heal();
    }
    assert!(home.object(HOME, "k").is_none() && home.object(HOME, "plain").is_none());
    assert_eq!(away.object(AWAY, "k").unwrap().body, "away");
    // done, and the answer lost on its way: nobody knows, and it is said so
    away.fault(When::operation("DeleteObjects"), Act::LieAboutLength(10));
    let reply = client.send(&checked("/photos?delete", &xml)).await.expect(200).text();
    let errors = text::elements(&reply, "Error");
    assert_eq!(text::element(&errors[0], "Code").as_deref(), Some("ServiceUnavailable"), "{reply}");
    assert!(away.object(AWAY, "k").is_none());
}

#[tokio::test]
async fn nothing_is_deleted_where_it_is_known_that_a_part_cannot_be() {
    let (home, away) = two_versioned();
    let (gateway, at_home, afar) = versions_apart(&home, &away).await;
    let client = gateway.client();
    away.kill();
    gateway.wait_for_standing(|(id, _, writes)| id != "away" || writes == "out").await;
    home.forget();
    let object = |id: &str| format!("<Object><Key>k</Key><VersionId>{id}</VersionId></Object>");
    let plain = "<Object><Key>plain</Key></Object>";
    let xml = format!("<Delete>{plain}{}{}</Delete>", object(&at_home), object(&afar));
    refused(&client.send(&checked("/photos?delete", &xml)).await, 503, "ServiceUnavailable");
    assert!(saw(&home, "DeleteObjects").is_empty() && home.object(HOME, "k").is_some());
}

/// A document with its MD5.
fn checked(target: &str, xml: &str) -> Request {
    use base64::Engine as _;
    let md5 = crate::house::digest::md5(xml.as_bytes());
    let md5 = base64::engine::general_purpose::STANDARD.encode(md5);
    Request::post(target, xml).with("content-md5", &md5)
}

#[tokio::test]
async fn versions_are_listed_with_ids_and_markers_that_can_be_used() {
    let (home, away) = two_versioned();
    for number in 0..9 {
        home.seed(HOME, &format!("k{}", number / 3), format!("{number}"));
    }
    let setup = Setup::over(&[&home, &away]);
    away.fault(When::everything(), Act::Delay(std::time::Duration::from_millis(30)));
    let gateway = setup.start();
    gateway.wait_for_reads(&[("home", "healthy"), ("away", "healthy")]).await;
    let client = gateway.client();
    let (mut found, mut markers) = (Vec::new(), String::new());
    loop {
        let page =
            client.send(&Request::get(&format!("/photos?versions&max-keys=2{markers}"))).await.expect(200);
        assert_eq!(page.header("x-nearpoint-region"), Some("home"));
        let page = page.text();
        for entry in text::elements(&page, "Version") {
            found.push((text::element(&entry, "Key").unwrap(), text::element(&entry, "VersionId").unwrap()));
        }
        assert!(!page.contains(">version-home"), "{page}");
        if text::element(&page, "IsTruncated").as_deref() != Some("true") {
            break;
        }
        let marker = |name| text::encoded(&text::element(&page, name).unwrap(), "");
        markers = format!(
            "&key-marker={}&version-id-marker={}",
            marker("NextKeyMarker"),
            marker("NextVersionIdMarker")
        );
    }
    assert_eq!(found.len(), 9, "{found:#?}");
    for (at, (key, id)) in found.iter().enumerate() {
        let got = client.send(&Request::get(&of_version(&format!("/photos/{key}"), id))).await.expect(200);
        assert_eq!(got.text(), (at / 3 * 3 + 2 - at % 3).to_string(), "newest first");
    }
}

#[tokio::test]
async fn a_listing_of_versions_whose_region_dies_begins_its_key_anew() {
    let (home, away) = two_versioned();
    for number in 0..9 {
        for region in [(&home, HOME), (&away, AWAY)] {
            region.0.seed(region.1, &format!("k{}", number / 3), format!("{number}"));
        }
    }
    let mut setup = Setup::over(&[&home, &away]);
    setup.edit_access_point("photos", "order: nearest", "order: [home, away]");
    let gateway = setup.start();
    gateway.wait_for_reads(&[("home", "healthy"), ("away", "healthy")]).await;
    let client = gateway.client();
    // ends within k1, of which one version is told and two are not
    let page = client.send(&Request::get("/photos?versions&max-keys=4")).await.expect(200);
    assert_eq!(page.header("x-nearpoint-region"), Some("home"));
    let page = page.text();
    assert_eq!(text::element(&page, "NextKeyMarker").as_deref(), Some("k1"));
    let marker = text::element(&page, "NextVersionIdMarker").unwrap();
    home.kill();
    for encoding in ["", "&encoding-type=url"] {
        let next = format!(
            "/photos?versions&key-marker=k1&version-id-marker={}{encoding}",
            text::encoded(&marker, "")
        );
        let page = client.send(&Request::get(&next)).await.expect(200);
        assert_eq!(page.header("x-nearpoint-region"), Some("away"));
        let page = page.text();
        let entries = text::elements(&page, "Version");
        let keys: Vec<_> = entries.iter().map(|entry| text::element(entry, "Key").unwrap()).collect();
        assert_eq!(keys, ["k1", "k1", "k1", "k2", "k2", "k2"], "{page}");
        assert_eq!(text::element(&page, "KeyMarker").as_deref(), Some("k1"), "the client's own");
        assert_eq!(text::element(&page, "VersionIdMarker").as_deref(), Some(marker.as_str()));
    }
}

#[tokio::test]
async fn one_region_wraps_nothing() {
    let home = Region::start_with(Settings { versioned: true, ..Settings::new("home", &[HOME]) });
    let gateway = Setup::over(&[&home]).start();
    let client = gateway.client();
    let put = client.send(&Request::put("/photos/k", "1")).await.expect(200);
    assert_eq!(version(&put), "version-home-1");
    client.send(&Request::put("/photos/l", "1")).await.expect(200);
    client.send(&Request::get("/photos/k?versionId=version-home-1")).await.expect(200);
    let page = client.send(&Request::get("/photos?list-type=2&max-keys=1")).await.expect(200).text();
    let token = text::element(&page, "NextContinuationToken").unwrap();
    assert!(token.starts_with("home."), "{token}");
    let next = format!("/photos?list-type=2&max-keys=1&continuation-token={}", text::encoded(&token, ""));
    assert_eq!(names(&client.send(&Request::get(&next)).await.expect(200).text(), false), ["l"]);
    let created = client.send(&Request::post("/photos/big?uploads", "")).await.expect(200).text();
    let id = text::element(&created, "UploadId").unwrap();
    assert!(id.starts_with("upload-home-"), "{id}");
    client.upload("/photos/big", &[b"1"]).await.expect(200);
}

#[tokio::test]
async fn ids_are_bound_to_the_access_point_whatever_it_is_called() {
    let home = Arc::new(Region::start_with(Settings {
        versioned: true,
        ..Settings::new("home", &[HOME, "archive-home"])
    }));
    let away = Arc::new(Region::start_with(Settings {
        versioned: true,
        ..Settings::new("away", &[AWAY, "archive-away"])
    }));
    let mut setup = over(&[&home, &away]).access_point("archive", &[&home, &away], 1, "allow", "allow");
    setup.access_points[0].1.push_str("    alias: mfzwi23gnjvgw.mrap\n");
    setup.tenants = vec![Tenant::of("app", &["photos", "archive"])];
    let gateway = setup.start();
    let client = gateway.client();
    let id = version(&client.send(&Request::put("/mfzwi23gnjvgw.mrap/k", "1")).await.expect(200));
    client.send(&Request::get(&of_version("/photos/k", &id))).await.expect(200);
    refused(&client.send(&Request::get(&of_version("/archive/k", &id))).await, 400, "InvalidArgument");
    // a copy's source is bound to the access point that it is in
    let source = of_version("/photos/k", &id);
    let copy = Request::put("/archive/copy", "").with("x-amz-copy-source", &source);
    let copied = client.send(&copy).await.expect(200);
    assert_eq!(copied.header("x-amz-copy-source-version-id"), Some(id.as_str()));
    assert_eq!(home.object("archive-home", "copy").unwrap().body, "1");
}
