//! `check --online --write` at stores that do all, or lack some of it: what an operator learns.

use std::sync::Arc;

use serde_json::Value;

use super::check::{check, line_of};
use super::{BUCKETS, NAMES, setup};
use crate::house::gateway::{Setup, may_not_run};
use crate::house::region::{Act, Region, Settings, When};

/// A store that does all that can be asked for.
fn able() -> Settings {
    let mut settings = Settings::new(NAMES[0], &[BUCKETS[0]]);
    settings.documents = vec![
        ("acl", "<AccessControlPolicy/>".to_owned()),
        ("attributes", "<GetObjectAttributesResponse/>".to_owned()),
        ("object-lock", "<ObjectLockConfiguration/>".to_owned()),
        (
            "versioning",
            "<VersioningConfiguration><Status>Enabled</Status></VersioningConfiguration>".to_owned(),
        ),
    ];
    settings.versioned = true;
    settings
}

fn start(settings: Settings) -> (Arc<Region>, Setup) {
    let region = Arc::new(Region::start_with(settings));
    let setup = setup(&[Arc::clone(&region)], "refuse");
    (region, setup)
}

/// Gives the region this profile in place of its own.
fn profiled(setup: &mut Setup, profile: &str) {
    let (_, lines) = &mut setup.regions[0];
    lines.truncate(lines.find("profile:").expect("a region has a profile"));
    lines.push_str(&format!("profile: {profile}\n"));
}

/// What was said: lines that begin with the verdict.
fn said<'a>(text: &'a str, verdict: &str) -> Vec<&'a str> {
    text.lines().filter(|line| line.starts_with(&format!("{verdict}: bucket"))).collect()
}

/// Nothing of the key is left, no version and no mark of its end.
#[track_caller]
fn assert_as_it_was(region: &Region) {
    assert_eq!(region.keys(BUCKETS[0]), [""; 0]);
    assert_eq!(region.versions(BUCKETS[0]), 0);
}

#[tokio::test]
async fn a_store_that_does_as_its_profile_says_is_asked_for_all_and_left_as_it_was() {
    let (region, setup) = start(able());
    let (code, text) = check(&setup, &["--write"]);
    assert_eq!(code, Some(0), "{text}");
    for verdict in ["hint", "warning", "fault"] {
        assert_eq!(said(&text, verdict), [""; 0], "{text}");
    }
    let fits = line_of(&text, "bucket `photos-near` of `photos` in `near`: its region's profile says");
    assert!(fits.contains("`{profile: aws, addressing: path}`") && !fits.contains("lacks"), "{fits}");
    let capabilities: Vec<&str> = text.lines().skip_while(|line| !line.starts_with("capability")).collect();
    let first =
        ["if_none_match", "if_match", "conditional_complete", "conditional_copy", "conditional_delete"];
    for (at, name) in first.iter().chain(&["checksum_crc32", "checksum_crc32c"]).enumerate() {
        assert_eq!(capabilities[at + 1].split_whitespace().collect::<Vec<_>>(), [*name, "has"]);
    }
    assert_as_it_was(&region);

    let (code, text) = check(&setup, &["--write", "--json"]);
    assert_eq!(code, Some(0), "{text}");
    let document: Value = serde_json::from_str(&text).unwrap();
    let near = &document["online"][0];
    for name in
        ["unsigned_trailers", "signed_trailers", "checksum_crc64nvme", "sse_c", "tagging", "versioning"]
    {
        assert_eq!(near["checks"][name]["store"], "has", "{name}: {near:#}");
    }
    assert_eq!(near["checks"]["virtual_hosts"]["store"], "untold", "an address has no names");
    assert_eq!((&near["verdict"], &near["fit"]["configured"]), (&"well".into(), &true.into()));
    assert_as_it_was(&region);
    // nothing is put without --write, and nothing summed up
    region.forget();
    let (_, text) = check(&setup, &[]);
    assert!(
        region.seen_with_probes().iter().all(|seen| seen.method == "GET") && !text.contains("capability")
    );
}

#[tokio::test]
async fn what_a_store_lacks_and_its_profile_claims_is_told_with_what_to_do() {
    let mut settings = able();
    settings.ignores = vec![
        "aws-chunked",
        "if-match",
        "x-amz-checksum-crc32c",
        "x-amz-server-side-encryption",
        "x-amz-content-sha256",
    ];
    settings.refuses = vec!["acl", "x-amz-checksum-sha1", "x-amz-tagging"];
    let (region, setup) = start(settings);
    let (code, text) = check(&setup, &["--write"]);
    assert_eq!(code, Some(1), "{text}");
    let faults = said(&text, "fault");
    let warnings = said(&text, "warning");
    for (told, seen, remedy) in [
        (
            &faults,
            "`If-Match` and a tag that is not the key's is answered 200, not 412",
            "without `conditional_writes`",
        ),
        (
            &faults,
            "a PUT in unsigned chunks with a checksum behind them is taken, and ",
            "`trailers: decode`",
        ),
        (&faults, "`x-amz-content-sha256` contradicts is answered 200, not 400", "`body_hash: proxy`"),
        (
            &faults,
            "right `x-amz-checksum-sha1` is answered 501 NotImplemented, not 200",
            "without `checksums`",
        ),
        (&faults, "`x-amz-server-side-encryption: AES256` is taken, and", "without `sse`"),
        (&warnings, "`x-amz-checksum-crc32c` contradicts is answered 200, not 400", "without `checksums`"),
        (&warnings, "a PUT with `x-amz-tagging` is answered 501 NotImplemented", "without `tagging`"),
        (&warnings, "`GET ?acl` is answered 501 NotImplemented, not 200", "without `acl`"),
    ] {
        let told = told.iter().find(|line| line.contains(seen));
        assert!(told.is_some_and(|line| line.contains(remedy)), "{seen}:\n{text}");
    }
    assert!(!text.contains("`If-None-Match: *` of a key that is there"), "it honours that half: {text}");
    assert_eq!(said(&text, "hint"), [""; 0], "{text}");
    let fits = line_of(&text, "bucket `photos-near` of `photos` in `near`: no ready profile fits");
    let settings = "`{profile: custom, honours: [sse_c, object_lock, versioning, attributes]}`";
    assert!(
        fits.contains(settings) && fits.contains("lacks conditional_writes, conditional_deletes, sse"),
        "{fits}"
    );
    assert_as_it_was(&region);
}

#[tokio::test]
async fn what_a_store_has_and_its_profile_denies_is_a_hint_and_the_profile_that_fits_is_named() {
    let (region, mut setup) = start(able());
    profiled(&mut setup, "custom");
    let (code, text) = check(&setup, &["--write"]);
    assert_eq!(code, Some(0), "{text}");
    assert!(said(&text, "warning").is_empty() && said(&text, "fault").is_empty(), "{text}");
    let hints = said(&text, "hint");
    for key in ["`conditional_writes`", "`checksums`", "`trailers: pass`", "`body_hash: store`", "`sse_kms`"]
    {
        assert_eq!(hints.iter().filter(|line| line.contains(key)).count(), 1, "{key}:\n{text}");
    }
    line_of(&text, "bucket `photos-near` of `photos` in `near`: the ready profile `aws` fits what was found");
    assert_as_it_was(&region);

    let mut settings = able();
    settings.ignores = vec!["if-none-match", "if-match", "x-amz-server-side-encryption"];
    settings.refuses = vec!["acl", "attributes", "object-lock", "tagging", "x-amz-tagging", "versions"];
    settings.versioned = false;
    let (region, mut setup) = start(settings);
    profiled(&mut setup, "garage");
    let (code, text) = check(&setup, &["--write"]);
    assert_eq!(code, Some(0), "{text}");
    let fits = line_of(
        &text,
        "bucket `photos-near` of `photos` in `near`: its region's profile says what was found",
    );
    assert!(
        fits.contains("`{profile: garage}`; lacks conditional_writes, conditional_deletes, sse"),
        "{fits}"
    );
    assert_as_it_was(&region);
}

#[tokio::test]
async fn versions_that_may_not_be_deleted_are_told() {
    let (region, setup) = start(able());
    let when = When { operation: Some("DeleteObject"), skip: 2, ..When::everything() };
    region.fault(when, Act::Answer { status: 403, code: "AccessDenied" });
    let (code, text) = check(&setup, &["--write"]);
    assert_eq!(code, Some(0), "{text}");
    let left = region.versions(BUCKETS[0]);
    let warnings = said(&text, "warning");
    assert!(left > 1 && warnings.len() == 1, "{text}");
    assert!(
        warnings[0].contains(&format!("{left} versions of `.nearpoint/"))
            && warnings[0].contains("s3:DeleteObjectVersion"),
        "{text}"
    );
}

/// The store serves a bucket all the same that is signed for as another region's: once told, the check
/// goes on as traffic would.
#[tokio::test]
async fn a_bucket_that_is_in_another_region_than_configured_is_told_with_the_right_one() {
    let (region, setup) = start(able());
    region.change_settings(|settings| "elsewhere-7".clone_into(&mut settings.signing_region));
    let (code, text) = check(&setup, &["--write"]);
    assert_eq!(code, Some(0), "{text}");
    let warnings = said(&text, "warning");
    assert_eq!(warnings.len(), 1, "{text}");
    let endpoint = format!("`endpoint: {}`", region.endpoint());
    assert!(
        warnings[0].contains("in another region: set `signing_region: elsewhere-7`")
            && warnings[0].contains(&endpoint),
        "{}",
        warnings[0]
    );
    let row: Vec<&str> = line_of(&text, "photos        near").split_whitespace().collect();
    assert_eq!(row[3..], ["warning", "well", "well", "well", "well", "well"], "{text}");
    assert_as_it_was(&region);
}

#[tokio::test]
async fn a_bucket_that_answers_by_its_name_in_the_host_is_told_and_one_without_a_name_is_not() {
    if may_not_run() {
        return;
    }
    let (region, mut setup) = start(able());
    let port = region.address().port();
    region.change_settings(|settings| settings.domain = Some(format!("store.test:{port}")));
    let (_, lines) = &mut setup.regions[0];
    *lines = lines.replace(&region.endpoint(), &format!("http://store.test:{port}"));
    let named = format!("127.0.0.1 store.test {}.store.test\n", BUCKETS[0]);
    for (hosts, store, addressing, hinted) in [
        (named.as_str(), "has", "path", true),
        (named.as_str(), "has", "virtual", false),
        ("127.0.0.1 store.test\n", "untold", "path", false),
    ] {
        hosts.clone_into(&mut setup.hosts);
        let (_, lines) = &mut setup.regions[0];
        *lines = lines.replace("addressing: path", &format!("addressing: {addressing}"));
        let (code, text) = check(&setup, &["--write", "--json"]);
        assert_eq!(code, Some(0), "{text}");
        let document: Value = serde_json::from_str(&text).unwrap();
        let told = &document["online"][0]["checks"]["virtual_hosts"];
        assert_eq!(told["store"], store, "{told:#}");
        let words = told["says"].as_str();
        assert_eq!(words.is_some_and(|words| words.contains("`addressing: virtual`")), hinted, "{told:#}");
        let (_, lines) = &mut setup.regions[0];
        *lines = lines.replace("addressing: virtual", "addressing: path");
    }
    assert_as_it_was(&region);
}
