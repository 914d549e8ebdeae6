//! Listings with `encoding-type=url`, which botocore always asks for: AWS and `MinIO` write a space as
//! `+`, others as `%20`, and what a client reads out of either can be used.

use std::sync::Arc;

use crate::house::client::{Client, Request};
use crate::house::gateway::Setup;
use crate::house::region::{Region, Settings};
use crate::house::text;

const HOME: &str = "photos-home";
const AWAY: &str = "photos-away";

/// Keys that forms and paths spell differently.
const KEYS: [&str; 4] = ["my file+3", "my+file 3", "a%20b", "d\u{e9}j\u{e0} vu/%2B +"];

fn region(name: &str, bucket: &str, space: &'static str) -> Arc<Region> {
    Arc::new(Region::start_with(Settings { versioned: true, space, ..Settings::new(name, &[bucket]) }))
}

fn target(key: &str) -> String {
    format!("/photos/{}", text::encoded(key, "/"))
}

#[tokio::test]
async fn a_version_out_of_a_listing_is_read_by_its_key_and_id() {
    for space in ["+", "%20"] {
        let (home, away) = (region("home", HOME, space), region("away", AWAY, space));
        let gateway = Setup::over(&[&home, &away]).start();
        let client = gateway.client();
        for key in KEYS {
            home.seed(HOME, key, key);
            away.seed(AWAY, key, key);
        }
        let page = client.send(&Request::get("/photos?versions&encoding-type=url")).await.expect(200).text();
        let versions = text::elements(&page, "Version");
        assert_eq!(versions.len(), KEYS.len(), "{page}");
        for version in versions {
            let key = text::listed(&text::element(&version, "Key").unwrap());
            let id = text::encoded(&text::element(&version, "VersionId").unwrap(), "");
            let got = client.send(&Request::get(&format!("{}?versionId={id}", target(&key)))).await;
            assert_eq!((got.status, got.text().as_str()), (200, key.as_str()), "a space is {space}");
        }
    }
}

/// The keys and ids of all uploads, in pages of one key.
async fn uploads(client: &Client) -> Vec<(String, String)> {
    let (mut found, mut markers) = (Vec::new(), String::new());
    loop {
        let target = format!("/photos?uploads&encoding-type=url&max-uploads=1{markers}");
        let page = client.send(&Request::get(&target)).await.expect(200).text();
        assert_eq!(text::element(&page, "EncodingType").as_deref(), Some("url"));
        for upload in text::elements(&page, "Upload") {
            let key = text::listed(&text::element(&upload, "Key").unwrap());
            found.push((key, text::element(&upload, "UploadId").unwrap()));
        }
        if text::element(&page, "IsTruncated").as_deref() != Some("true") {
            return found;
        }
        let key = text::listed(&text::element(&page, "NextKeyMarker").unwrap());
        let id = text::element(&page, "NextUploadIdMarker").unwrap();
        markers =
            format!("&key-marker={}&upload-id-marker={}", text::encoded(&key, ""), text::encoded(&id, ""));
    }
}

#[tokio::test]
async fn an_upload_out_of_a_listing_takes_parts_whatever_each_region_makes_of_a_space() {
    for (here, there) in [("+", "%20"), ("%20", "+")] {
        let (home, away) = (region("home", HOME, here), region("away", AWAY, there));
        let gateway = Setup::over(&[&home, &away]).start();
        let client = gateway.client();
        for key in KEYS {
            home.begin_uploads(HOME, key, 1);
            away.begin_uploads(AWAY, key, 1);
        }
        let found = uploads(&client).await;
        let keys: Vec<&str> = found.iter().map(|(key, _)| key.as_str()).collect();
        let mut wanted = [KEYS, KEYS].concat();
        wanted.sort_unstable();
        assert_eq!(keys, wanted, "home writes {here}");
        for (key, id) in &found {
            let id = text::encoded(id, "");
            let part = Request::put(&format!("{}?partNumber=1&uploadId={id}", target(key)), "one");
            let part = client.send(&part).await;
            assert_eq!(part.status, 200, "{key}: {}", part.text());
        }
    }
}
