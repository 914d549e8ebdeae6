//! Traps on a request's way through the gateway, each one sprung once: what a region must never be
//! asked, and what a client must never be told.

use crate::house::client::Request;
use crate::house::gateway::{Setup, Tenant};
use crate::house::region::{Region, Settings};

/// `photos` in one region, `albums` in another one, and a bucket that happens to be called
/// `albums` where `photos` is: a copy must not read that one.
#[tokio::test]
async fn a_copy_reads_only_the_bucket_that_was_judged() {
    let near = Region::start("near", &["photos-near", "albums"]);
    let far = Region::start("far", &["albums-far"]);
    near.seed("albums", "secret", "of somebody else");
    far.seed("albums-far", "secret", "ours");
    let mut setup = Setup::over(&[&near, &far])
        .access_point("photos", &[&near], 0, "allow", "refuse")
        .access_point("albums", &[&far], 0, "allow", "refuse");
    setup.tenants = vec![Tenant::of("app", &["photos", "albums"])];
    let gateway = setup.start();
    let copy = Request::new("PUT", "/photos/copy").with("x-amz-copy-source", "albums/secret");
    let reply = gateway.client().send(&copy).await.expect(501);
    assert_eq!(reply.code().as_deref(), Some("NotImplemented"));
    assert!(near.seen().is_empty() && far.seen().is_empty());
    assert!(near.object("photos-near", "copy").is_none());
}

/// A version's token is its own access point's, wherever it is copied to.
#[tokio::test]
async fn a_version_of_another_access_point_can_be_copied() {
    let versioned = |name: &str, buckets: &[&str]| {
        Region::start_with(Settings { versioned: true, ..Settings::new(name, buckets) })
    };
    let near = versioned("near", &["photos-near", "albums-near"]);
    let far = versioned("far", &["photos-far", "albums-far"]);
    let regions = [&near, &far];
    let mut setup = Setup::over(&regions).access_point("albums", &regions, 1, "allow", "refuse");
    setup.tenants = vec![Tenant::of("app", &["photos", "albums"])];
    let gateway = setup.start();
    let client = gateway.client();
    let put = client.send(&Request::put("/albums/k", "first")).await.expect(200);
    let version = put.header("x-amz-version-id").expect("a version id").to_owned();
    client.send(&Request::put("/albums/k", "second")).await.expect(200);
    let source = format!("albums/k?versionId={version}");
    let copy = Request::new("PUT", "/photos/copy").with("x-amz-copy-source", &source);
    client.send(&copy).await.expect(200);
    assert_eq!(client.send(&Request::get("/photos/copy")).await.expect(200).text(), "first");
}
