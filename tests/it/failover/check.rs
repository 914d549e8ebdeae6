//! `check --online`: what an operator is told of every bucket before there is traffic.

use std::sync::Arc;

use serde_json::Value;

use super::{BUCKETS, NAMES, regions, setup};
use crate::house::gateway::{self, Setup};
use crate::house::region::{Act, Region, Settings, When};

/// Runs a check of this set-up: its exit code, and what it says.
pub(super) fn check(setup: &Setup, words: &[&str]) -> (Option<i32>, String) {
    setup.run(&[&["check", "--online"], words].concat())
}

/// The methods of all requests that a region saw.
fn methods(region: &Region) -> Vec<String> {
    region.seen_with_probes().into_iter().map(|seen| seen.method).collect()
}

#[track_caller]
pub(super) fn line_of<'a>(text: &'a str, begins: &str) -> &'a str {
    text.lines().find(|line| line.starts_with(begins)).unwrap_or_else(|| panic!("no `{begins}…` in:\n{text}"))
}

#[tokio::test]
async fn nothing_is_written_unless_it_is_asked_for_and_then_only_where_writes_go() {
    let regions = regions(2);
    let setup = setup(&regions, "refuse");
    let (code, text) = check(&setup, &[]);
    assert_eq!(code, Some(0), "{text}");
    for region in &regions {
        assert!(methods(region).iter().all(|method| method == "GET"), "{:?}", methods(region));
    }
    let row = line_of(&text, "photos        near");
    assert_eq!(
        row.split_whitespace().collect::<Vec<_>>(),
        ["photos", "near", BUCKETS[0], "well", "well", "untold", "well"]
    );

    let (code, text) = check(&setup, &["--write"]);
    assert_eq!(code, Some(0), "{text}");
    assert!(methods(&regions[1]).iter().all(|method| method == "GET"), "writes do not go there");
    let written: Vec<String> =
        methods(&regions[0]).into_iter().filter(|method| method == "PUT" || method == "DELETE").collect();
    // one upon a condition that does not hold, one of an upload, and the last one
    assert_eq!(written.iter().filter(|method| *method == "DELETE").count(), 3, "{written:?}");
    assert_eq!(written.last().map(String::as_str), Some("DELETE"));
    assert!(regions[0].keys(BUCKETS[0]).is_empty(), "nothing is left");
    assert!(line_of(&text, "access point").ends_with("write  delete"), "{text}");
    let row: Vec<&str> = line_of(&text, "photos        near").split_whitespace().collect();
    assert_eq!(row[7..], ["well"; 2], "{text}");
    let (code, text) = gateway::run(&["check", "--write", "nowhere.yaml"]);
    assert!(code == Some(2) && text.contains("--online"), "{text}");
}

#[tokio::test]
async fn what_a_credential_may_not_do_is_told_before_a_client_meets_it() {
    let regions = regions(2);
    let denied = |operation| (When { operation: Some(operation), ..When::everything() }, "AccessDenied");
    for (region, operation) in [(1, "ListObjectsV2"), (0, "PutObject")] {
        let (when, code) = denied(operation);
        regions[region].fault(when, Act::Answer { status: 403, code });
    }
    let setup = setup(&regions, "refuse");
    let (code, text) = check(&setup, &["--write"]);
    assert_eq!(code, Some(1), "{text}");
    let listing = line_of(&text, "warning: bucket `photos-far`");
    assert!(listing.contains("403 AccessDenied, not 200") && listing.contains("s3:ListBucket"), "{listing}");
    let write = line_of(&text, "fault: bucket `photos-near`");
    assert!(write.contains("403 AccessDenied, not 200") && write.contains("s3:PutObject"), "{write}");

    let (code, text) = check(&setup, &["--write", "--json"]);
    assert_eq!(code, Some(1), "{text}");
    let document: Value = serde_json::from_str(&text).unwrap();
    let near = &document["online"][0];
    assert_eq!((&near["verdict"], &near["checks"]["write"]["verdict"]), (&"fault".into(), &"fault".into()));
    assert_eq!(near["checks"].get("delete"), None, "there is nothing to delete");
    assert_eq!(document["online"][1]["checks"]["listing"]["verdict"], "warning");
}

#[tokio::test]
async fn a_store_that_does_not_do_as_its_profile_says_is_found_out() {
    let regions = regions(2);
    let put = |skip| When { operation: Some("PutObject"), skip, times: Some(1), ..When::everything() };
    // a key that is there is replaced, and a wrong CRC-32 believed
    regions[0].fault(put(1), Act::Answer { status: 200, code: "None" });
    regions[0].fault(put(4), Act::Answer { status: 200, code: "None" });
    let delete = When { operation: Some("DeleteObject"), ..When::everything() };
    regions[0].fault(delete, Act::Answer { status: 403, code: "AccessDenied" });
    let (code, text) = check(&setup(&regions, "refuse"), &["--write"]);
    assert_eq!(code, Some(1), "{text}");
    let said = |part: &str| {
        let found = text.lines().find(|line| line.contains(part) && line.contains("photos-near"));
        found.unwrap_or_else(|| panic!("no `{part}` in:\n{text}"))
    };
    assert!(said("does not honour conditional writes").starts_with("fault: "));
    assert!(said("does not check checksums").starts_with("warning: "));
    let left = regions[0].keys(BUCKETS[0]);
    assert!(left.len() == 1 && said("s3:DeleteObject").contains(&left[0]), "{left:?}");
}

#[tokio::test]
async fn clocks_and_versions_are_held_against_what_is_configured() {
    let region = |place: usize, ahead, versions: &str| {
        let document = format!("<VersioningConfiguration>{versions}</VersioningConfiguration>");
        let mut settings = Settings::new(NAMES[place], &[BUCKETS[place]]);
        settings.clock_ahead = ahead;
        settings.documents = vec![("versioning", document)];
        Arc::new(Region::start_with(settings))
    };
    let regions =
        vec![region(0, 0, "<Status>Enabled</Status>"), region(1, -300, "<Status>Suspended</Status>")];
    let (code, text) = check(&setup(&regions, "allow"), &[]);
    assert_eq!(code, Some(0), "{text}");
    assert!(!text.lines().any(|line| line.starts_with("warning: bucket `photos-near`")), "{text}");
    let far: Vec<&str> =
        text.lines().filter(|line| line.starts_with("warning: bucket `photos-far`")).collect();
    assert_eq!(far.len(), 2, "{text}");
    assert!(far[0].contains("versions are suspended") && far[0].contains("writes may move"), "{}", far[0]);
    assert!(far[1].contains("s behind") && far[1].contains("NTP"), "{}", far[1]);
}
