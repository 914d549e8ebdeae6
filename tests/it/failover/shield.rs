//! The lag shield: no reader behind one gateway sees that the regions are not alike yet. The
//! replicator of these scenes never comes, or comes when it is told to.

use serde_json::Value;

use super::{BUCKETS, Scene, attempts, begin, expect_unavailable, regions, served_by, setup, tries};
use crate::house::client::{Client, Reply, Request};
use crate::house::digest;
use crate::house::gateway;
use crate::house::region::{Act, PATIENCE, When};

/// Connections one after the other: as many as make it sure that every worker takes some.
const CONNECTIONS: usize = 8;

/// `near` comes first for reads; `far` is home and takes the writes.
async fn behind_home(shield: &str) -> Scene {
    let regions = regions(2);
    let mut setup = setup(&regions, "refuse");
    setup.edit_access_point("photos", "home: near", "home: far");
    let shielded = format!("replication: two_way\n    lag_shield: {shield}");
    setup.edit_access_point("photos", "replication: two_way", &shielded);
    begin(regions, &setup).await
}

/// What home said too early, when the nearest was slow, is heard all the same.
#[tokio::test]
async fn a_hedge_that_home_answered_is_no_region_that_could_not_be_asked() {
    let regions = regions(2);
    let mut setup = setup(&regions, "refuse");
    setup.edit_access_point("photos", "home: near", "home: far");
    let hedged = "replication: two_way\n    hedge: {reads: 50ms}";
    setup.edit_access_point("photos", "replication: two_way", hedged);
    let scene = begin(regions, &setup).await;
    scene.near().fault(When::key("absent"), Act::Delay(std::time::Duration::from_millis(500)));
    let reply = scene.get("absent").await.expect(404);
    let line = scene.line_of(&reply);
    assert_eq!(line["shield"], "confirmed that there is nothing", "{line}");
}

/// Three regions; `near` is home. Reads and writes go to it first, then to `far`, then to `third`.
async fn three(limits: &str) -> Scene {
    let regions = regions(3);
    let mut setup = setup(&regions, "allow");
    setup.edit_access_point("photos", "writes: {order: home", "writes: {order: [near, far, third]");
    setup.rest = limits.to_owned();
    begin(regions, &setup).await
}

impl Scene {
    fn line_of(&self, reply: &Reply) -> Value {
        self.gateway.access_line(reply.header("x-amz-request-id").expect("every reply has one"))
    }

    async fn get(&self, key: &str) -> Reply {
        self.client.send(&Request::get(&format!("/photos/{key}"))).await
    }

    /// Waits until a metric has been set to what is wanted.
    async fn wait_for_metric(&self, sample: &str) {
        let seen = async {
            loop {
                let (_, metrics) = self.gateway.admin_text("/metrics").await;
                if metrics.lines().any(|line| line == sample) {
                    return;
                }
                tokio::time::sleep(std::time::Duration::from_millis(20)).await;
            }
        };
        let came = tokio::time::timeout(PATIENCE, seen).await;
        assert!(came.is_ok(), "no `{sample}` in\n{}", self.gateway.admin_text("/metrics").await.1);
    }

    /// Kills a region and waits until no request is sent there.
    async fn lose(&self, at: usize) {
        let name = super::NAMES[at];
        self.regions[at].kill();
        self.gateway
            .wait_for_standing(|(id, reads, writes)| id != name || (reads == "out" && writes == "out"))
            .await;
    }

    /// Revives a region and waits until requests are sent there.
    async fn regain(&self, at: usize) {
        let name = super::NAMES[at];
        self.regions[at].revive();
        self.gateway
            .wait_for_standing(|(id, reads, writes)| id != name || (reads != "out" && writes != "out"))
            .await;
    }
}

/// The tag of an object as one region has it.
async fn tag_at(scene: &Scene, at: usize, key: &str) -> String {
    let head = Request::head(&format!("/{}/{key}", BUCKETS[at]));
    let reply = Client::of(&scene.regions[at]).send(&head).await.expect(200);
    reply.header("etag").expect("an object has a tag").to_owned()
}

fn pairs(told: &[(&str, &str)]) -> Vec<(String, String)> {
    told.iter().map(|(region, outcome)| ((*region).to_owned(), (*outcome).to_owned())).collect()
}

#[tokio::test]
async fn what_has_not_come_yet_is_read_at_home() {
    let scene = behind_home("{fallback: true}").await;
    scene.far().seed(BUCKETS[1], "k", "only at home");
    scene.near().seed(BUCKETS[0], "old", "old");
    scene.far().seed(BUCKETS[1], "old", "newer and longer");
    let (tag, newer) = (tag_at(&scene, 1, "k").await, tag_at(&scene, 1, "old").await);
    let older = tag_at(&scene, 0, "old").await;
    let asked = [
        (Request::get("/photos/k"), 200),
        (Request::head("/photos/k"), 200),
        (Request::get("/photos/k").with("range", "bytes=0-3"), 206),
        (Request::get("/photos/k").with("if-none-match", &tag), 304),
        (Request::get("/photos/old").with("if-match", &newer), 200),
        (Request::head("/photos/old").with("if-match", &newer), 200),
        (Request::get("/photos/old").with("range", "bytes=8-"), 206),
    ];
    for (request, status) in &asked {
        let reply = scene.client.send(request).await.expect(*status);
        assert_eq!((served_by(&reply), attempts(&reply)), ("far", 2), "{request:?}");
        let line = scene.line_of(&reply);
        assert_eq!(tries(&line), pairs(&[("near", "not found"), ("far", "answered")]));
        assert_eq!(line["shield"], "found where it was asked for again");
        assert!(line["why"].as_str().unwrap().starts_with("read order"), "{line}");
    }
    // what near has stands, and so does what home says of the same conditions
    for (request, status, region, tried) in [
        (Request::get("/photos/old"), 200, "near", 1),
        (Request::get("/photos/old").with("if-none-match", &older), 304, "near", 1),
        (Request::get("/photos/old").with("if-match", "\"nobody's\""), 412, "far", 2),
        (Request::get("/photos/old").with("range", "bytes=100-"), 416, "far", 2),
        (Request::get("/photos/none").with("if-none-match", &tag), 404, "far", 2),
    ] {
        let reply = scene.client.send(&request).await.expect(status);
        assert_eq!((served_by(&reply), attempts(&reply)), (region, tried), "{request:?}");
    }
    let (_, metrics) = scene.gateway.admin_text("/metrics").await;
    let count = asked.len();
    for sample in [
        format!("nearpoint_shield_reads_total{{access_point=\"photos\",outcome=\"found\"}} {count}"),
        "nearpoint_shield_reads_total{access_point=\"photos\",outcome=\"confirmed\"} 3".to_owned(),
        format!("nearpoint_shield_asks_total{{region=\"far\",outcome=\"found\"}} {count}"),
        "nearpoint_shield_asks_total{region=\"far\",outcome=\"nothing\"} 3".to_owned(),
    ] {
        assert!(metrics.lines().any(|line| line == sample), "no `{sample}` in\n{metrics}");
    }
    assert!(!metrics.contains("nearpoint_failovers_total{"), "nobody failed: {metrics}");
}

#[tokio::test]
async fn an_absent_key_is_confirmed_by_home_and_unconfirmed_without_it() {
    let scene = behind_home("{fallback: true}").await;
    let reply = scene.get("none").await.expect(404);
    assert_eq!((reply.code().as_deref(), attempts(&reply)), (Some("NoSuchKey"), 2));
    assert_eq!(scene.line_of(&reply)["shield"], "confirmed that there is nothing");
    scene.lose(1).await;
    for method in ["GET", "HEAD"] {
        let reply = scene.client.send(&Request::new(method, "/photos/none")).await.expect(404);
        assert_eq!((served_by(&reply), attempts(&reply)), ("near", 1));
        let line = scene.line_of(&reply);
        assert_eq!(line["shield"], "nothing found by those that could be asked");
    }
    scene
        .wait_for_metric("nearpoint_shield_reads_total{access_point=\"photos\",outcome=\"unconfirmed\"} 2")
        .await;
}

/// That home was slow once, while another had its answer ready, does not make a write absent.
#[tokio::test]
async fn a_home_that_did_not_answer_once_is_asked_again_before_a_key_is_called_absent() {
    let scene = behind_home("{fallback: true}").await;
    scene.client.send(&Request::put("/photos/k", "acknowledged")).await.expect(200);
    scene.far().fault(When::operation("GetObject").times(1), Act::Silent);
    let reply = scene.get("k").await.expect(200);
    assert_eq!(served_by(&reply), "far");
    let line = scene.line_of(&reply);
    let told = [("far", "silent"), ("near", "not found"), ("far", "answered")];
    assert_eq!(tries(&line), pairs(&told), "{line}");
    assert_eq!(line["shield"], "found where it was asked for again");
}

/// It is waited for as long as it serves, and no longer: an answer is in hand.
#[tokio::test]
async fn a_home_that_hangs_is_waited_for_until_it_is_out() {
    let scene = behind_home("{fallback: true}").await;
    scene.client.send(&Request::put("/photos/k", "acknowledged")).await.expect(200);
    scene.far().freeze();
    let reply = scene.get("k").await.expect(404);
    let line = scene.line_of(&reply);
    assert_eq!(line["shield"], "nothing found by those that could be asked", "{line}");
    let told = tries(&line);
    assert_eq!(told[..2], pairs(&[("far", "silent"), ("near", "not found")]), "{line}");
    assert!(told.len() <= 3, "{line}");
}

#[tokio::test]
async fn home_says_at_once_what_is_not_there() {
    let scene = three("").await;
    let reply = scene.get("none").await.expect(404);
    assert_eq!((served_by(&reply), attempts(&reply)), ("near", 1));
    assert!(scene.line_of(&reply)["shield"].is_null());
    assert!(scene.far().seen().is_empty() && scene.regions[2].seen().is_empty());
}

#[tokio::test]
async fn readers_see_what_was_written_through_the_same_gateway() {
    let scene = behind_home("{fallback: false}").await;
    scene.near().seed(BUCKETS[0], "k", "old");
    let older = tag_at(&scene, 0, "k").await;
    scene.near().seed(BUCKETS[0], "copy", "old");
    scene.near().seed(BUCKETS[0], "other", "old");
    assert_eq!(scene.get("k").await.expect(200).text(), "old");
    scene.client.send(&Request::put("/photos/k", "new")).await.expect(200);
    let copy = Request::put("/photos/copy", "").with("x-amz-copy-source", "/photos/k");
    scene.client.send(&copy).await.expect(200);
    scene.near().forget();
    for _ in 0..CONNECTIONS {
        for key in ["k", "copy"] {
            let reply = scene.get(key).await.expect(200);
            assert_eq!((served_by(&reply), attempts(&reply), reply.text().as_str()), ("far", 1, "new"));
            assert_eq!(scene.line_of(&reply)["shield"], "read where it was written");
        }
    }
    // a copy of what was before is not current any more
    let revalidated = Request::get("/photos/k").with("if-none-match", &older);
    assert_eq!(scene.client.send(&revalidated).await.expect(200).text(), "new");
    assert!(scene.near().seen().is_empty());
    assert_eq!(served_by(&scene.get("other").await.expect(200)), "near", "of this one nothing is known");
    scene
        .wait_for_metric("nearpoint_shield_remembered_keys{access_point=\"photos\",kind=\"recent\"} 2")
        .await;
}

#[tokio::test]
async fn what_was_deleted_does_not_come_back() {
    let scene = behind_home("{fallback: false}").await;
    for key in ["k", "one", "two"] {
        scene.near().seed(BUCKETS[0], key, "old");
        scene.far().seed(BUCKETS[1], key, "old");
    }
    let tag = tag_at(&scene, 0, "k").await;
    scene.client.send(&Request::delete("/photos/k")).await.expect(204);
    let xml = "<Delete><Object><Key>one</Key></Object><Object><Key>two</Key></Object></Delete>";
    let many = Request::post("/photos?delete", xml).with("content-md5", &digest::md5_base64(xml.as_bytes()));
    scene.client.send(&many).await.expect(200);
    for key in ["k", "one", "two"] {
        assert!(scene.near().object(BUCKETS[0], key).is_some(), "near was not told");
        for _ in 0..CONNECTIONS {
            let reply = scene.get(key).await.expect(404);
            assert_eq!((served_by(&reply), attempts(&reply)), ("far", 1));
            assert_eq!(scene.line_of(&reply)["shield"], "read where it was deleted");
        }
    }
    for condition in ["if-none-match", "if-match"] {
        let kept = Request::get("/photos/k").with(condition, &tag);
        assert_eq!(served_by(&scene.client.send(&kept).await.expect(404)), "far");
    }
    // written again, it is there again
    scene.client.send(&Request::put("/photos/k", "again")).await.expect(200);
    assert_eq!(scene.get("k").await.expect(200).text(), "again");
    // without home nobody says that it is there
    scene.lose(1).await;
    expect_unavailable(scene.get("one").await);
    let reply = scene.client.send(&Request::head("/photos/two")).await.expect(503);
    let line = scene.line_of(&reply);
    assert_eq!((&line["shield"], tries(&line)), (&"withheld".into(), pairs(&[("near", "answered")])));
    assert!(line["cause"].as_str().unwrap().starts_with("deleted through here lately"), "{line}");
    let reply = scene.get("k").await.expect(200);
    assert_eq!(scene.line_of(&reply)["shield"], "found, and not proven to be what was written last");
    assert_eq!(reply.text(), "old", "better an old version than none");
}

#[tokio::test]
async fn what_could_not_be_deleted_is_not_taken_for_deleted() {
    let scene = behind_home("{fallback: false}").await;
    let keys = ["gone", "denied", "failed"];
    for key in keys {
        scene.near().seed(BUCKETS[0], key, "old");
        scene.far().seed(BUCKETS[1], key, "old");
    }
    let error = |key, code| format!("<Error><Key>{key}</Key><Code>{code}</Code><Message>m</Message></Error>");
    let errors = error("denied", "AccessDenied") + &error("failed", "InternalError");
    let result = format!("<DeleteResult><Deleted><Key>gone</Key></Deleted>{errors}</DeleteResult>");
    scene.far().fault(When::operation("DeleteObjects").times(1), Act::AnswerBytes(success(&result)));
    scene.far().unseed(BUCKETS[1], "gone");
    let objects = keys.map(|key| format!("<Object><Key>{key}</Key></Object>")).concat();
    let xml = format!("<Delete>{objects}</Delete>");
    let many = Request::post("/photos?delete", xml.as_str())
        .with("content-md5", &digest::md5_base64(xml.as_bytes()));
    scene.client.send(&many).await.expect(200);
    for (key, status, from, shield) in [
        ("gone", 404, "far", Some("read where it was deleted")),
        // nobody changed it
        ("denied", 200, "near", None),
        // nobody knows
        ("failed", 200, "far", Some("read where it was written")),
    ] {
        let reply = scene.get(key).await.expect(status);
        assert_eq!((served_by(&reply), scene.line_of(&reply)["shield"].as_str()), (from, shield), "{key}");
    }
    // without home what is gone does not come back, and the others are there
    scene.lose(1).await;
    expect_unavailable(scene.get("gone").await);
    for key in ["denied", "failed"] {
        assert_eq!(scene.get(key).await.expect(200).text(), "old", "{key}");
    }
}

/// A `200` with this document.
fn success(document: &str) -> bytes::Bytes {
    let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", document.len());
    (head + document).into()
}

/// By its tag: the same object is the same object anywhere.
#[tokio::test]
async fn what_has_arrived_elsewhere_needs_no_proof_of_home() {
    let scene = behind_home("{fallback: true}").await;
    scene.client.send(&Request::put("/photos/k", "new")).await.expect(200);
    scene.near().seed(BUCKETS[0], "k", "new");
    scene.lose(1).await;
    let reply = scene.get("k").await.expect(200);
    assert_eq!((served_by(&reply), attempts(&reply), reply.text().as_str()), ("near", 1, "new"));
    assert!(scene.line_of(&reply)["shield"].is_null());
}

/// What its own region contradicts is forgotten: without it, the others are believed.
#[tokio::test]
async fn a_change_that_its_region_contradicts_is_no_longer_remembered() {
    let scene = behind_home("{fallback: true}").await;
    scene.near().seed(BUCKETS[0], "k", "as another gateway wrote it again");
    scene.client.send(&Request::delete("/photos/k")).await.expect(204);
    scene.far().seed(BUCKETS[1], "k", "as another gateway wrote it again");
    assert_eq!(served_by(&scene.get("k").await.expect(200)), "far");
    scene
        .wait_for_metric("nearpoint_shield_remembered_keys{access_point=\"photos\",kind=\"recent\"} 0")
        .await;
    scene.lose(1).await;
    assert_eq!(served_by(&scene.get("k").await.expect(200)), "near");
}

/// Another proxy may have deleted it at home since, or written it again.
#[tokio::test]
async fn what_was_changed_at_home_is_as_the_others_have_it_while_home_is_out() {
    let scene = behind_home("{fallback: true}").await;
    scene.client.send(&Request::put("/photos/k", "new")).await.expect(200);
    scene.client.send(&Request::delete("/photos/again")).await.expect(204);
    scene.lose(1).await;
    let reply = scene.get("k").await.expect(404);
    assert_eq!(scene.line_of(&reply)["shield"], "nothing found by those that could be asked");
    scene
        .wait_for_metric("nearpoint_shield_reads_total{access_point=\"photos\",outcome=\"unconfirmed\"} 1")
        .await;
    // dated after the deletion: what was deleted is not back, there is a new one
    let written_again = async {
        loop {
            scene.near().seed(BUCKETS[0], "again", "by somebody else");
            let reply = scene.get("again").await;
            if reply.status == 200 {
                return reply;
            }
            expect_unavailable(reply);
            tokio::time::sleep(std::time::Duration::from_millis(100)).await;
        }
    };
    let reply = tokio::time::timeout(PATIENCE, written_again).await.expect("it is dated later");
    assert_eq!(reply.text(), "by somebody else");
    scene.regain(1).await;
    assert_eq!(scene.get("k").await.expect(200).text(), "new");
}

#[tokio::test]
async fn after_the_lag_window_the_nearest_region_is_trusted_again() {
    let scene = behind_home("{remember_writes: 1s}").await;
    scene.near().seed(BUCKETS[0], "k", "old");
    scene.client.send(&Request::put("/photos/k", "new")).await.expect(200);
    let trusted = async {
        while served_by(&scene.get("k").await.expect(200)) != "near" {
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(PATIENCE, trusted).await.expect("the window ends");
    scene
        .wait_for_metric("nearpoint_shield_remembered_keys{access_point=\"photos\",kind=\"recent\"} 0")
        .await;
}

/// Where equal bytes have equal tags, the tag is proof enough once it may have arrived.
#[tokio::test]
async fn what_was_written_a_while_ago_is_read_in_the_nearest_region_if_it_is_there() {
    let scene = behind_home("{remember_writes: 90s}\n    etags: stable").await;
    scene.near().seed(BUCKETS[0], "k", "old");
    scene.near().seed(BUCKETS[0], "gone", "old");
    scene.client.send(&Request::put("/photos/k", "new")).await.expect(200);
    scene.client.send(&Request::delete("/photos/gone")).await.expect(204);
    assert_eq!(
        (served_by(&scene.get("k").await), attempts(&scene.get("k").await)),
        ("far", 1),
        "where it was written"
    );
    // a second later it may have come; as long as it has not, its readers are sent on
    let begins_near = async {
        loop {
            let reply = scene.get("k").await.expect(200);
            assert_eq!((served_by(&reply), reply.text().as_str()), ("far", "new"));
            if attempts(&reply) == 2 {
                return;
            }
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(PATIENCE, begins_near).await.expect("a ninetieth of the window");
    scene.near().seed(BUCKETS[0], "k", "new");
    let reply = scene.get("k").await.expect(200);
    assert_eq!((served_by(&reply), attempts(&reply), reply.text().as_str()), ("near", 1, "new"));
    // nothing proves that a deletion has come
    assert_eq!(attempts(&scene.get("gone").await.expect(404)), 1);
}

#[tokio::test]
async fn it_can_be_switched_off() {
    let scene = behind_home("{fallback: false, remember_writes: 0s}").await;
    scene.near().seed(BUCKETS[0], "gone", "old");
    scene.client.send(&Request::put("/photos/k", "new")).await.expect(200);
    scene.client.send(&Request::delete("/photos/gone")).await.expect(204);
    for (key, status) in [("k", 404), ("gone", 200)] {
        let reply = scene.get(key).await.expect(status);
        assert_eq!((served_by(&reply), attempts(&reply)), ("near", 1));
        assert!(scene.line_of(&reply)["shield"].is_null());
    }
}

#[tokio::test]
async fn a_region_that_takes_no_reads_is_not_asked() {
    let regions = regions(2);
    let mut setup = setup(&regions, "refuse");
    setup.edit_access_point("photos", "home: near", "home: far");
    setup.edit_access_point("photos", "reads: {order: [near, far]", "reads: {order: [near]");
    let scene = begin(regions, &setup).await;
    scene.far().seed(BUCKETS[1], "k", "only at home");
    let reply = scene.get("k").await.expect(404);
    assert_eq!(scene.line_of(&reply)["shield"], "nothing found by those that could be asked");
    assert!(scene.far().seen().is_empty());
}

/// Writes that move while home is out, and home back without them.
#[tokio::test]
async fn what_was_changed_while_home_was_out_is_read_where_it_was_changed() {
    let scene = three("").await;
    scene.regions.iter().zip(BUCKETS).for_each(|(region, bucket)| region.seed(bucket, "gone", "old"));
    scene.lose(0).await;
    for request in [Request::put("/photos/k", "new"), Request::delete("/photos/gone")] {
        let reply = scene.client.send(&request).await;
        assert!(reply.status < 300 && served_by(&reply) == "far", "{reply:?}");
    }
    scene
        .wait_for_metric("nearpoint_shield_remembered_keys{access_point=\"photos\",kind=\"journal\"} 2")
        .await;
    scene.regain(0).await;
    for _ in 0..CONNECTIONS {
        let reply = scene.get("k").await.expect(200);
        assert_eq!((served_by(&reply), attempts(&reply)), ("far", 1));
        assert_eq!(served_by(&scene.get("gone").await.expect(404)), "far");
    }
    // without that region home is asked: what it lacks may be gone, and what it has may be what was deleted
    scene.lose(1).await;
    let reply = scene.get("k").await.expect(404);
    assert_eq!(scene.line_of(&reply)["shield"], "nothing found by those that could be asked");
    expect_unavailable(scene.get("gone").await);
    let reply = scene.get("never").await.expect(404);
    assert_eq!(scene.line_of(&reply)["shield"], "confirmed that there is nothing");
    // and without home nobody can know of these two
    scene.lose(0).await;
    expect_unavailable(scene.get("k").await);
    expect_unavailable(scene.get("gone").await);
    scene.regain(1).await;
    assert_eq!(scene.get("k").await.expect(200).text(), "new");
}

/// Another gateway may have written there as well.
#[tokio::test]
async fn home_is_doubted_while_another_region_takes_writes() {
    let regions = regions(2);
    let mut setup = setup(&regions, "refuse");
    setup.edit_access_point("photos", "writes: {order: home", "writes: {order: [far]");
    setup.edit_access_point(
        "photos",
        "replication: two_way",
        "replication: two_way\n    lag_shield: {remember_writes: 1s}",
    );
    let scene = begin(regions, &setup).await;
    scene.far().seed(BUCKETS[1], "theirs", "by another gateway");
    scene.get("theirs").await.expect(404);
    scene.client.send(&Request::put("/photos/ours", "by this one")).await.expect(200);
    let reply = scene.get("theirs").await.expect(200);
    assert_eq!((served_by(&reply), attempts(&reply)), ("far", 2));
    assert_eq!(tries(&scene.line_of(&reply)), pairs(&[("near", "not found"), ("far", "answered")]));
    // home had the lag window to take it over, and is believed again
    let closed = "home has had the lag window to take over what was changed elsewhere: its journal is closed";
    assert_eq!(scene.gateway.wait_for_event(closed)["region"], "far");
    let reply = scene.get("theirs").await.expect(404);
    assert_eq!((served_by(&reply), attempts(&reply)), ("near", 1));
}

#[tokio::test]
async fn a_journal_that_overflows_is_loud_and_makes_no_false_404() {
    for (limits, status) in [("limits: {remembered_keys: 2}\n", 503), ("", 404)] {
        let scene = three(limits).await;
        scene.lose(0).await;
        for key in 0..3 {
            let put = Request::put(&format!("/photos/k{key}"), "new");
            assert_eq!(served_by(&scene.client.send(&put).await.expect(200)), "far");
        }
        scene.get("never").await.expect(404);
        scene.lose(1).await;
        let reply = scene.get("never").await.expect(status);
        expect_unavailable(scene.get("k2").await);
        if status == 404 {
            assert_eq!(scene.line_of(&reply)["shield"], "nothing found by those that could be asked");
            continue;
        }
        let line = scene.line_of(&reply);
        assert!(line["cause"].as_str().unwrap().contains("limits.remembered_keys"), "{line}");
        expect_unavailable(scene.get("k0").await);
        scene.wait_for_metric("nearpoint_shield_forgotten_keys_total{kind=\"journal\"} 1").await;
        scene.wait_for_metric("nearpoint_shield_journal_overflowed{access_point=\"photos\"} 1").await;
        scene.gateway.wait_for_line(|line| line.contains("the oldest are forgotten").then_some(()));
        scene.gateway.wait_for_line(|line| line.contains("away from home").then_some(()));
        scene.regain(1).await;
        assert_eq!(scene.get("k0").await.expect(200).text(), "new", "it is asked for where writes went");
    }
}

/// Without leave to list, a store says 403 of an absent key, and nobody can tell.
#[tokio::test]
async fn a_check_online_tells_where_the_shield_is_blind() {
    let regions = regions(3);
    let hidden = When { operation: Some("GetObject"), ..When::everything() };
    regions[1].fault(hidden, Act::Answer { status: 403, code: "AccessDenied" });
    let mut setup = setup(&regions, "refuse");
    let folder = tempfile::tempdir().unwrap();
    let file = setup.write(folder.path());
    let check = ["check", "--online", file.to_str().unwrap()];
    let (code, text) = gateway::run(&check);
    assert_eq!(code, Some(0), "{text}");
    assert!(
        text.contains("`photos-near` of `photos` in `near`: answers, and says 404 of an absent key"),
        "{text}"
    );
    let blind =
        text.lines().find(|line| line.starts_with("warning: bucket `photos-far`")).expect("a warning");
    assert!(
        blind.contains("403") && blind.contains("s3:ListBucket") && blind.contains("lag shield is blind"),
        "{blind}"
    );
    assert!(!regions.iter().any(|region| region.seen_with_probes().iter().any(|seen| seen.method != "GET")));

    // what will fail is a fault
    regions[0].kill();
    setup.edit_access_point("photos", BUCKETS[2], "no-such-bucket");
    let file = setup.write(folder.path());
    let (code, text) = gateway::run(&["check", "--online", "--json", file.to_str().unwrap()]);
    assert_eq!(code, Some(1), "{text}");
    let document: Value = serde_json::from_str(&text).unwrap();
    let verdicts: Vec<_> =
        document["online"].as_array().unwrap().iter().map(|one| one["verdict"].clone()).collect();
    assert_eq!(verdicts, ["fault", "warning", "fault"]);
    assert!(document["online"][0]["says"].as_str().unwrap().contains("refused"), "{document}");
    assert!(document["online"][2]["says"].as_str().unwrap().contains("NoSuchBucket"), "{document}");
}
