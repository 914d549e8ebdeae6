//! More than there is room for: who is refused, in which order, for whose sake, and what is left of a
//! crowd afterwards.

use std::time::Duration;

use base64::Engine as _;
use serde_json::Value;
use tokio::io::AsyncWriteExt as _;
use tokio::net::{TcpSocket, TcpStream};

use crate::house::client::{Client, Connection, Reply, Request};
use crate::house::digest;
use crate::house::gateway::{Gateway, Setup, Tenant};
use crate::house::moment;
use crate::house::region::{Act, PATIENCE, Region, When};
use crate::house::text;

const BUCKET: &str = "photos-home";

fn home() -> Region {
    let region = Region::start("home", &[BUCKET]);
    region.seed(BUCKET, "k", "x");
    region
}

/// A gateway with this many clients, patient with uploads that do not come, and these limits.
fn with(home: &Region, tenants: usize, limits: &str) -> Setup {
    let rest = format!("limits: {{{limits}}}\ntimeouts: {{body_progress: 10m, stalled_reader: 6s}}\n");
    let mut setup = Setup { rest, ..Setup::over(&[home]) };
    setup.tenants = (0..tenants).map(|n| Tenant::of(&format!("app{n}"), &["photos"])).collect();
    setup
}

#[track_caller]
fn shed(reply: &Reply) {
    assert_eq!((reply.status, reply.code().as_deref()), (503, Some("SlowDown")), "{}", reply.text());
    let after: u32 = reply.header("retry-after").expect("when to come back").parse().unwrap();
    assert!((1..=3).contains(&after), "{after}");
}

fn listing() -> Request {
    Request::get("/photos?list-type=2")
}

fn read() -> Request {
    Request::get("/photos/k")
}

fn write() -> Request {
    Request::put("/photos/w", "x")
}

/// A value of `/metrics`; 0 where it is not there.
async fn metric(gateway: &Gateway, name: &str) -> u64 {
    let (_, text) = gateway.admin_text("/metrics").await;
    let value = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    value.map_or(0, |value| value.parse().unwrap())
}

/// Waits until so many requests are at work.
async fn at_work(gateway: &Gateway, count: u64) {
    let reached = async {
        while metric(gateway, "nearpoint_requests_in_flight").await != count {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(PATIENCE, reached).await.unwrap_or_else(|_| panic!("never {count} at work"));
}

/// A request that has a place until it is dropped: an upload whose body does not come.
async fn hold(client: &Client) -> Connection<TcpStream> {
    let mut connection = client.connect().await;
    let held = client.sign(&Request::put("/photos/held", "a body that is awaited")).head_bytes();
    connection.stream.write_all(&held).await.unwrap();
    connection
}

// ── order ────────────────────────────────────────────────────────────────────

#[tokio::test]
async fn listings_are_refused_first_then_reads_then_writes_and_operators_see_why() {
    let home = home();
    let gateway = with(&home, 9, "in_flight: 16").start();
    let client = gateway.client_of(8);
    let mut held = Vec::new();
    for (places, statuses) in [
        (12, [200, 200, 200]),
        (13, [503, 200, 200]),
        (14, [503, 200, 200]),
        (15, [503, 503, 200]),
        (16, [503, 503, 503]),
    ] {
        while held.len() < places {
            // two of each of eight clients
            held.push(hold(&gateway.client_of(held.len() / 2)).await);
        }
        at_work(&gateway, u64::try_from(places).unwrap()).await;
        for (request, status) in [listing(), read(), write()].iter().zip(statuses) {
            let reply = client.send(request).await;
            assert_eq!(reply.status, status, "{} with {places} places taken", request.target);
            if status == 503 {
                shed(&reply);
            }
        }
    }
    // a service is healthy while it is busy, and its operators get in
    let health = client.send_signed(&client.unsigned(&Request::get("/.nearpoint/health"))).await;
    assert_eq!(health.status, 200);
    assert_eq!(gateway.admin_text("/readyz").await.0, 200);
    for (reason, class, count) in
        [("rank", "list", 3), ("rank", "get", 1), ("full", "list", 1), ("full", "get", 1), ("full", "put", 1)]
    {
        let name = format!("nearpoint_requests_shed_total{{reason=\"{reason}\",class=\"{class}\"}}");
        assert_eq!(metric(&gateway, &name).await, count, "{name}");
    }
    let reply = client.send(&read()).await;
    shed(&reply);
    let line = gateway.access_line(reply.header("x-amz-request-id").unwrap());
    assert_eq!((line["operation"].as_str(), line["code"].as_str()), (Some("GetObject"), Some("SlowDown")));
    assert_eq!(line["cause"], "limits.in_flight: 16 of 16 places are taken");
    // our own refusals are nobody's fault, and no store hears of them
    assert_eq!(line["tries"].as_array().map(Vec::len), Some(0));
    assert!(gateway.standing().await.iter().all(|(_, reads, writes)| reads == "healthy" && writes != "out"));
    drop(held);
    at_work(&gateway, 0).await;
    for request in [listing(), read(), write()] {
        client.send(&request).await.expect(200);
    }
}

#[tokio::test]
async fn a_refused_upload_is_told_before_its_body_is_sent() {
    let home = home();
    let gateway = with(&home, 2, "in_flight: 1").start();
    let _held = hold(&gateway.client()).await;
    at_work(&gateway, 1).await;
    let client = gateway.client_of(1);
    let upload = Request::put("/photos/large", vec![7; 1 << 20]).with("expect", "100-continue");
    let mut connection = client.connect().await;
    let head = client.sign(&upload).head_bytes();
    let reply = connection.exchange(&head, "PUT").await.expect("an answer without a body");
    shed(&reply);
    assert!(home.seen().iter().all(|seen| seen.key != "large"));
}

// ── fairness ─────────────────────────────────────────────────────────────────

#[tokio::test]
async fn a_client_that_floods_leaves_room_for_the_next_and_gives_way_to_it() {
    let home = home();
    let gateway = with(&home, 2, "in_flight: 16").start();
    let (flood, other) = (gateway.client(), gateway.client_of(1));
    let mut held = Vec::new();
    for places in 1..=15 {
        held.push(hold(&flood).await);
        at_work(&gateway, places).await;
    }
    let reply = flood.send(&write()).await;
    shed(&reply);
    let line = gateway.access_line(reply.header("x-amz-request-id").unwrap());
    let cause =
        "limits.in_flight: 15 of 16 places are taken, 15 of them by this client; what is left is for others";
    assert_eq!(line["cause"], cause);
    other.send(&write()).await.expect(200);
    // its read finds what is left kept for writes, once: for five seconds the flood makes room
    loop {
        let asked = moment::mono();
        shed(&other.send(&read()).await);
        held.truncate(14);
        at_work(&gateway, 14).await;
        let reply = flood.send(&write()).await;
        if asked.elapsed() < Duration::from_secs(4) {
            shed(&reply);
            break;
        }
        held.push(hold(&flood).await);
        at_work(&gateway, 15).await;
    }
    other.send(&read()).await.expect(200);
    let shares = "nearpoint_requests_shed_total{reason=\"share\",class=\"put\"}";
    assert!(metric(&gateway, shares).await >= 2);
    // who only says so is who he says, and has no place
    let forged = other.sign(&write()).edit("authorization", |text| text.replace("Signature=", "Signature=0"));
    assert_eq!(other.send_signed(&forged).await.status, 403);
    at_work(&gateway, 14).await;
}

#[tokio::test]
async fn where_nobody_signs_each_host_has_its_share() {
    let home = home();
    let mut setup = with(&home, 1, "in_flight: 16");
    setup.listener = "      verify: off\n".to_owned();
    let gateway = setup.start();
    let client = Client::new(gateway.address, "anywhere-1", "nobody", "nothing");
    let mut held = Vec::new();
    for places in 1..=15 {
        held.push(hold(&client).await);
        at_work(&gateway, places).await;
    }
    shed(&client.send(&write()).await);
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.2:0".parse().unwrap()).unwrap();
    let stream = socket.connect(gateway.address).await.unwrap();
    let request = client.sign(&write()).bytes();
    Connection::over(stream).exchange(&request, "PUT").await.unwrap().expect(200);
}

// ── who does not read ────────────────────────────────────────────────────────

#[tokio::test]
async fn a_client_that_has_stopped_reading_gives_up_its_place() {
    let home = home();
    home.seed(BUCKET, "big", vec![7; 32 << 20]);
    let gateway = with(&home, 2, "in_flight: 1").start();
    let client = gateway.client();
    let mut stalled = client.connect().await;
    let get = client.sign(&Request::get("/photos/big")).bytes();
    stalled.stream.write_all(&get).await.unwrap();
    at_work(&gateway, 1).await;
    let other = gateway.client_of(1);
    let served = async {
        loop {
            let reply = other.send(&read()).await;
            if reply.status == 200 {
                return;
            }
            shed(&reply);
        }
    };
    tokio::time::timeout(PATIENCE, served).await.expect("a place");
    let line = gateway.wait_for_line(|line| {
        let line: Value = serde_json::from_str(line).ok()?;
        (line["path"] == "/photos/big").then_some(line)
    });
    let why = (line["aborted"].as_str(), line["cause"].as_str());
    assert_eq!(why, (Some("proxy"), Some("stalled_reader_shed")));
    let listener = gateway.address;
    let ended = format!(
        "nearpoint_connections_ended_total{{listener=\"{listener}\",reason=\"stalled_reader_shed\"}}"
    );
    assert_eq!(metric(&gateway, &ended).await, 1);
    assert!(gateway.standing().await.iter().all(|(_, reads, _)| reads == "healthy"), "no region's fault");
}

// ── documents ────────────────────────────────────────────────────────────────

/// Room for documents of 100 KiB.
const DOCUMENTS: &str = "replay_total: 100KiB, replay_body: 64KiB";

/// A deletion of one key, in a document of some more bytes than these.
fn deletion(bytes: usize) -> Request {
    let pad = " ".repeat(bytes);
    let document = format!("<Delete><Object><Key>k</Key></Object>{pad}</Delete>");
    let md5 = base64::engine::general_purpose::STANDARD.encode(digest::md5(document.as_bytes()));
    Request::post("/photos?delete", document).with("content-md5", &md5)
}

#[tokio::test]
async fn documents_in_memory_have_a_bound_over_all_requests() {
    let home = home();
    let gateway = with(&home, 2, DOCUMENTS).start();
    let (client, other) = (gateway.client(), gateway.client_of(1));
    let request = deletion;
    let mut held = client.connect().await;
    held.stream.write_all(&client.sign(&request(90 << 10)).head_bytes()).await.unwrap();
    at_work(&gateway, 1).await;
    let reply = other.send(&request(20 << 10)).await;
    shed(&reply);
    let line = gateway.access_line(reply.header("x-amz-request-id").unwrap());
    assert!(line["cause"].as_str().unwrap().starts_with("limits.replay_total: documents of 9"), "{line}");
    assert_eq!(metric(&gateway, "nearpoint_requests_shed_total{reason=\"bytes\",class=\"put\"}").await, 1);
    other.send(&request(5 << 10)).await.expect(200);
    drop(held);
    at_work(&gateway, 0).await;
    other.send(&request(20 << 10)).await.expect(200);
    assert_eq!(metric(&gateway, "nearpoint_document_bytes").await, 0);
}

#[tokio::test]
async fn a_client_whose_documents_do_not_come_leaves_room_for_those_of_others() {
    let home = home();
    let gateway = with(&home, 2, DOCUMENTS).start();
    let (greedy, other) = (gateway.client(), gateway.client_of(1));
    let mut held = Vec::new();
    for documents in 1..=5 {
        let mut connection = greedy.connect().await;
        connection.stream.write_all(&greedy.sign(&deletion(10 << 10)).head_bytes()).await.unwrap();
        held.push(connection);
        at_work(&gateway, documents).await;
    }
    // it has half of what there is, and more would fit
    let reply = greedy.send(&deletion(10 << 10)).await;
    shed(&reply);
    let line = gateway.access_line(reply.header("x-amz-request-id").unwrap());
    assert!(
        line["cause"].as_str().unwrap().ends_with("by this client; what is left is for others"),
        "{line}"
    );
    let created = other.send(&Request::post("/photos/big?uploads", "")).await.expect(200);
    let id = text::encoded(&text::element(&created.text(), "UploadId").unwrap(), "");
    let part = Request::put(&format!("/photos/big?partNumber=1&uploadId={id}"), "part");
    let etag = text::escaped(other.send(&part).await.expect(200).header("etag").unwrap());
    let part = format!("<Part><PartNumber>1</PartNumber><ETag>{etag}</ETag></Part>");
    let parts = format!("<CompleteMultipartUpload>{part}</CompleteMultipartUpload>");
    other.send(&Request::post(&format!("/photos/big?uploadId={id}"), parts)).await.expect(200);
    other.send(&deletion(40 << 10)).await.expect(200);
    drop(held);
    at_work(&gateway, 0).await;
    greedy.send(&deletion(10 << 10)).await.expect(200);
    assert_eq!(metric(&gateway, "nearpoint_document_bytes").await, 0);
}

#[tokio::test]
async fn listings_that_are_merged_in_memory_are_documents_too() {
    let (home, away) = (home(), Region::start("away", &["photos-away"]));
    home.begin_uploads(BUCKET, &"k".repeat(200), 1000);
    let mut setup = Setup::over(&[&home, &away]).access_point("photos", &[&home, &away], 0, "allow", "allow");
    setup.rest = format!("limits: {{{DOCUMENTS}}}\n");
    let gateway = setup.start();
    let client = gateway.client();
    let reply = client.send(&Request::get("/photos?uploads")).await;
    shed(&reply);
    let line = gateway.access_line(reply.header("x-amz-request-id").unwrap());
    assert!(line["cause"].as_str().unwrap().starts_with("limits.replay_total: documents of "), "{line}");
    // no more is read of regions than is asked for
    let few = client.send(&Request::get("/photos?uploads&max-uploads=10")).await.expect(200);
    assert!(text::elements(&few.text(), "Upload").len() >= 10, "{}", few.text());
    for region in [&home, &away] {
        let asked = region.seen().into_iter().rfind(|seen| seen.operation == "ListMultipartUploads").unwrap();
        assert!(asked.target.contains("max-uploads=10"), "{}", asked.target);
    }
    assert_eq!(metric(&gateway, "nearpoint_document_bytes").await, 0);
}

// ── a crowd ──────────────────────────────────────────────────────────────────

#[tokio::test]
async fn nothing_is_left_of_a_crowd_that_has_gone() {
    let home = home();
    home.fault(When::key("k"), Act::Delay(Duration::from_millis(20)));
    let gateway = with(&home, 2, "in_flight: 8").start();
    let client = gateway.client();
    let crowd = (0..32).map(|_| {
        let client = client.clone();
        tokio::spawn(async move {
            let mut connection = client.connect().await;
            let (mut served, mut refused) = (0, 0);
            for _ in 0..40 {
                let get = client.sign(&read()).bytes();
                let reply = connection.exchange(&get, "GET").await.expect("an answer to each");
                if reply.status == 200 {
                    served += 1;
                } else {
                    shed(&reply);
                    refused += 1;
                }
            }
            (served, refused)
        })
    });
    let crowd: Vec<_> = crowd.collect();
    let (mut served, mut refused) = (0, 0);
    for one in crowd {
        let told = one.await.unwrap();
        (served, refused) = (served + told.0, refused + told.1);
    }
    assert!(served > 0 && refused > 0, "{served} served, {refused} refused");
    // as soon as it is gone everybody is served: nothing waits, and nobody is out
    for _ in 0..20 {
        client.send(&read()).await.expect(200);
    }
    at_work(&gateway, 0).await;
    assert!(gateway.standing().await.iter().all(|(_, reads, _)| reads == "healthy"));
}

// ── of one region ────────────────────────────────────────────────────────────

/// A region that has as many requests at work as it may is passed over; where it is the only one, the
/// client is told to come back.
#[tokio::test]
async fn a_full_region_is_passed_over_or_said_to_be_full() {
    for more in [true, false] {
        let (home, far) = (home(), Region::start("far", &["photos-far"]));
        far.seed("photos-far", "k", "x");
        let regions: Vec<&Region> = if more { vec![&home, &far] } else { vec![&home] };
        let rest = "limits: {in_flight_per_region: 1}\n".to_owned();
        let gateway = Setup { rest, ..Setup::over(&regions) }.start();
        gateway.wait_for_standing(|(_, reads, _)| reads == "healthy").await;
        home.fault(When::key("k").times(1), Act::Silent);
        let client = gateway.client();
        let mut held = client.connect().await;
        held.stream.write_all(&client.sign(&read()).bytes()).await.unwrap();
        home.wait_for(|seen| seen.key == "k").await;
        let reply = client.send(&read()).await;
        if more {
            assert_eq!(reply.status, 200, "{}", reply.text());
            assert_eq!(far.seen().len(), 1);
        } else {
            shed(&reply);
            let metrics = gateway.admin_text("/metrics").await.1;
            assert!(metrics.contains("nearpoint_requests_shed_total{reason=\"region\""), "{metrics}");
        }
        drop(held);
    }
}
