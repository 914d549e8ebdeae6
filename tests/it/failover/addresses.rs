//! One region at several addresses: what a dead one among them costs. All of 127/8 is this machine;
//! the name comes from a hosts file that only the gateway reads.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::{Scene, begin, numbers, regions, setup};
use crate::house::client::{Reply, Request};
use crate::house::gateway::may_not_run;
use crate::house::region::Region;

/// The region's name.
const STORE: &str = "store.test";

/// One region that the gateway knows by a name with these addresses, its own among them.
async fn scene(regions: Vec<Arc<Region>>, lasts: &[u8]) -> Scene {
    let mut setup = setup(&regions, "refuse");
    let own = regions[0].endpoint();
    let port = regions[0].address().port();
    for (_, lines) in &mut setup.regions {
        *lines = lines.replace(&own, &format!("http://{STORE}:{port}"));
    }
    setup.hosts.push_str("127.0.0.1 localhost\n");
    for last in lasts {
        setup.hosts.push_str(&format!("127.0.0.{last} {STORE}\n"));
    }
    begin(regions, &setup).await
}

fn beside(region: &Region, last: u8) -> SocketAddr {
    (Ipv4Addr::new(127, 0, 0, last), region.address().port()).into()
}

/// The state of each address of the first region.
fn states(status: &Value) -> Vec<(String, String)> {
    let rows = status["regions"][0]["addresses"].as_array().expect("`addresses` is a list");
    let text = |row: &Value, name: &str| row[name].as_str().expect("a text").to_owned();
    rows.iter().map(|row| (text(row, "address"), text(row, "state"))).collect()
}

fn is_out(status: &Value, address: SocketAddr) -> bool {
    states(status).contains(&(address.to_string(), "out".to_owned()))
}

/// A connection whose far end takes nothing: the kernel of this machine answers no further SYN.
async fn hanging(address: SocketAddr) -> (TcpListener, Vec<TcpStream>) {
    let socket = tokio::net::TcpSocket::new_v4().unwrap();
    socket.bind(address).unwrap();
    let listener = socket.listen(1).unwrap();
    let (mut filling, mut silent) = (Vec::new(), 0);
    // twice in a row: once may be a busy machine
    while silent < 2 {
        match tokio::time::timeout(Duration::from_millis(100), TcpStream::connect(address)).await {
            Ok(stream) => {
                filling.push(stream.unwrap());
                silent = 0;
            }
            Err(_elapsed) => silent += 1,
        }
    }
    (listener, filling)
}

/// Passes connections on to the region until it falls silent: then it takes them and says nothing.
async fn passing(at: SocketAddr, region: SocketAddr) -> watch::Sender<bool> {
    let listener = TcpListener::bind(at).await.unwrap();
    let (silence, silent) = watch::channel(false);
    tokio::spawn(async move {
        let mut passed = JoinSet::new();
        while let Ok((mut near, _)) = listener.accept().await {
            let mut silent = silent.clone();
            passed.spawn(async move {
                let passing = async {
                    let mut far = TcpStream::connect(region).await.unwrap();
                    copy_bidirectional(&mut near, &mut far).await
                };
                tokio::select! {
                    biased;
                    _ = silent.wait_for(|silent| *silent) => {}
                    _ended = passing => return,
                }
                // nothing is read, nothing is closed
                std::future::pending::<()>().await;
            });
        }
    });
    silence
}

fn expect_all(replies: Vec<Reply>) {
    for reply in replies {
        reply.expect(200);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_three_addresses_one_refuses_one_hangs_and_nobody_notices() {
    if may_not_run() {
        return;
    }
    let regions = regions(1);
    let (refuses, hangs) = (beside(&regions[0], 77), beside(&regions[0], 78));
    let _hanging = hanging(hangs).await;
    let scene = scene(regions, &[77, 78, 1]).await;
    scene.seed_numbers(50);
    for _ in 0..4 {
        expect_all(scene.together(numbers(0..50)).await);
    }
    for reply in scene.together((0..20).map(|number| Request::put(&format!("/photos/w/{number}"), "x"))).await
    {
        reply.expect(200);
    }
    let status =
        scene.gateway.wait_for_status(|status| is_out(status, refuses) && is_out(status, hangs)).await;
    assert_eq!(states(&status).len(), 3);
    let metrics = scene.gateway.admin_text("/metrics").await.1;
    assert!(!metrics.contains("to=\"out\""), "the region's standing never changed");
    assert!(!metrics.contains("nearpoint_retries_total{"), "no request was tried twice:\n{metrics}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_address_that_falls_silent_is_out_and_its_region_goes_on() {
    if may_not_run() {
        return;
    }
    let regions = regions(1);
    let silent = beside(&regions[0], 79);
    let silence = passing(silent, regions[0].address()).await;
    let scene = scene(regions, &[79, 1]).await;
    scene.seed_numbers(50);
    expect_all(scene.together(numbers(0..50)).await);
    assert!(!is_out(&scene.gateway.admin_json("/api/v1/status").await, silent));
    silence.send(true).unwrap();
    let mut rounds = 0;
    while !is_out(&scene.gateway.admin_json("/api/v1/status").await, silent) {
        expect_all(scene.together(numbers(0..10)).await);
        rounds += 1;
        assert!(rounds < 100, "never out");
    }
    expect_all(scene.together(numbers(0..50)).await);
    assert!(
        !scene.gateway.admin_text("/metrics").await.1.contains("to=\"out\""),
        "the region's standing never changed"
    );
}
