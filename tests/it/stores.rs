//! What a store wants to be told in its own way: signatures for several regions, another region than was
//! configured, keys of its own.

use crate::house::client::{Framing, Payload, Request};
use crate::house::digest::Algorithm;
use crate::house::gateway::Setup;
use crate::house::region::{Act, Region, Settings, When, is_probe};

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
