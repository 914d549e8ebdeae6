//! Traps on a request's way through the gateway, each one sprung once: what a region must never be
//! asked, and what a client must never be told.

use std::net::SocketAddr;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::house::client::Request;
use crate::house::gateway::{Setup, Tenant};
use crate::house::region::{Act, End, Region, Settings, When};

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
    gateway.client().send(&copy).await.expect(200);
    assert_eq!(near.object("photos-near", "copy").expect("a copy").body, "ours");
    assert!(near.seen().iter().all(|seen| !seen.target.contains("albums")), "{:?}", near.seen());
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

/// A request that kills what reads it is carried to two regions and no further, nor are its
/// repeats; another key is none the worse.
#[tokio::test]
async fn a_request_that_kills_stores_stops_at_the_second() {
    let regions = ["near", "far", "third"].map(|name| Region::start(name, &["photos"]));
    let [near, far, third] = &regions;
    for region in &regions {
        region.seed("photos", "fine", "value");
        region.fault(When::key("deadly"), Act::DropAtHead(End::Reset));
    }
    let gateway = Setup::over(&[near, far, third]).start();
    let client = gateway.client();
    let reply = client.send(&Request::get("/photos/deadly")).await.expect(503);
    assert!(reply.header("retry-after").is_some());
    let mut met: Vec<&str> = Vec::new();
    for region in &regions {
        met.extend(region.seen().iter().map(|_| "met"));
        region.forget();
    }
    assert_eq!(met.len(), 2, "regions that were sent it");
    client.send(&Request::get("/photos/deadly")).await.expect(503);
    assert!(regions.iter().all(|region| region.seen().is_empty()), "refused before any region");
    client.send(&Request::get("/photos/fine")).await.expect(200);
}

/// A store that says nothing to `Expect` while it answers other requests costs its second once.
#[tokio::test]
async fn a_store_without_continue_costs_its_second_once() {
    let near = Region::start("near", &["photos"]);
    near.seed("photos", "k", "value");
    near.fault(When::operation("PutObject"), Act::NoContinue);
    let gateway = Setup::over(&[&near]).start();
    let client = gateway.client();
    let get = Request::get("/photos/k");
    for key in ["first", "second"] {
        let put = Request::put(&format!("/photos/{key}"), vec![7; 2 << 20]);
        let put = client.send(&put);
        tokio::pin!(put);
        loop {
            tokio::select! {
                reply = &mut put => {
                    reply.expect(200);
                    break;
                }
                reply = client.send(&get) => {
                    reply.expect(200);
                }
            }
        }
    }
    let puts: Vec<_> = near.seen().into_iter().filter(|seen| seen.operation == "PutObject").collect();
    let expected: Vec<bool> = puts.iter().map(|put| put.header("expect").is_some()).collect();
    assert_eq!(expected, [true, false]);
}

/// A store of another kind: reads heads and behaves as told. Its address.
async fn rogue<F>(behave: fn(TcpStream, String) -> F) -> SocketAddr
where
    F: Future<Output = ()> + Send + 'static,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut head = Vec::new();
                while !head.ends_with(b"\r\n\r\n") {
                    let Ok(byte) = stream.read_u8().await else { return };
                    head.push(byte);
                }
                behave(stream, String::from_utf8(head).unwrap()).await;
            });
        }
    });
    address
}

fn over_rogue(address: SocketAddr) -> Setup {
    let near = Region::start("near", &["photos"]);
    let mut setup = Setup::over(&[&near]);
    for (_, lines) in &mut setup.regions {
        *lines = lines.replace(&near.endpoint(), &format!("http://{address}"));
    }
    setup
}

/// A success that comes before the upload has been seen to its end is none.
#[tokio::test]
async fn a_success_before_the_last_byte_is_not_believed() {
    let address = rogue(|mut stream, head| async move {
        let status = if head.starts_with("PUT") { "200 OK" } else { "404 Not Found" };
        let answer = format!("HTTP/1.1 {status}\r\nETag: \"x\"\r\nContent-Length: 0\r\n\r\n");
        stream.write_all(answer.as_bytes()).await.unwrap_or_default();
        // the body is never read
        std::future::pending::<()>().await;
    })
    .await;
    let gateway = over_rogue(address).start();
    let put = Request::put("/photos/k", vec![7; 32 << 20]);
    gateway.client().send(&put).await.expect(503);
}

/// A store that asks for a body and takes none of it is dead after `timeouts.body_progress`.
#[tokio::test]
async fn a_store_that_takes_no_body_is_given_up() {
    let address = rogue(|mut stream, head| async move {
        let put = head.starts_with("PUT");
        let answer: &[u8] = if put {
            b"HTTP/1.1 100 Continue\r\n\r\n"
        } else {
            b"HTTP/1.1 404 \r\nContent-Length: 0\r\n\r\n"
        };
        stream.write_all(answer).await.unwrap_or_default();
        std::future::pending::<()>().await;
    })
    .await;
    let mut setup = over_rogue(address);
    setup.rest.push_str("timeouts: {body_progress: 1s}\nlimits: {attempts: 1}\n");
    let gateway = setup.start();
    gateway.client().send(&Request::put("/photos/k", vec![7; 32 << 20])).await.expect(503);
    let written = gateway.wait_for_line(|line| line.contains("PutObject").then(|| line.to_owned()));
    assert!(written.contains("\"silent\""), "{:?}", gateway.written());
}
