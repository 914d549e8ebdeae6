use std::io;

use bytes::Bytes;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::*;
use crate::demo::traffic::Client;
use crate::names::{AccessKeyId, AccessPointName, Secret};

fn pair() -> Credential {
    let secret = Secret::from("a-secret".to_owned());
    Credential { access_key_id: AccessKeyId::new("AKIDTEST"), secret, session_token: None }
}

struct House {
    region: Region,
    client: Client,
    changes: mpsc::Receiver<Change>,
    _folder: tempfile::TempDir,
}

async fn house(latency: Duration) -> House {
    let folder = tempfile::tempdir().unwrap();
    let (journal, changes) = Journal::new();
    let plan = Plan { id: "oslo", signing_region: "eu-north-1", latency };
    let region = Region::start(&plan, 0, pair(), folder.path(), journal).await.unwrap();
    let facts = region.facts();
    let client = Client {
        address: facts.address,
        region: facts.signing_region,
        access_point: AccessPointName::new(facts.bucket.as_str()),
        credential: facts.credential,
    };
    House { region, client, changes, _folder: folder }
}

#[tokio::test]
async fn objects_go_in_and_out_signed_and_each_change_is_told_once() {
    let House { region, client, mut changes, _folder } = house(Duration::ZERO).await;
    let put = client.send(Method::PUT, "/a%20b/c", "value").await.unwrap();
    assert_eq!(put.0, 200, "{put:?}");
    let get = client.send(Method::GET, "/a%20b/c", "").await.unwrap();
    assert_eq!(get, (200, Bytes::from("value")));
    assert_eq!(changes.try_recv(), Ok(Change { region: 0, key: "a b/c".to_owned() }));
    let xml = "<Delete><Object><Key>a b/c</Key></Object><Object><Key>x</Key></Object></Delete>";
    let deleted = client.send(Method::POST, "?delete", xml).await.unwrap();
    assert_eq!(deleted.0, 200, "{deleted:?}");
    assert_eq!(changes.try_recv().map(|change| change.key), Ok("a b/c".to_owned()));
    assert_eq!(changes.try_recv().map(|change| change.key), Ok("x".to_owned()));
    assert_eq!(client.send(Method::GET, "/a%20b/c", "").await.unwrap().0, 404);
    assert!(changes.try_recv().is_err(), "reads change nothing");
    assert_eq!(region.served(), 4);
}

#[tokio::test]
async fn wrong_keys_are_refused_and_change_nothing() {
    let House { region: _region, client, mut changes, _folder } = house(Duration::ZERO).await;
    let wrong = Client {
        credential: Credential { secret: Secret::from("another".to_owned()), ..client.credential.clone() },
        ..client
    };
    assert_eq!(wrong.send(Method::PUT, "/k", "value").await.unwrap().0, 403);
    assert!(changes.try_recv().is_err());
}

#[tokio::test]
async fn probes_are_not_counted_as_served() {
    let House { region, client, _folder, .. } = house(Duration::ZERO).await;
    client.send(Method::GET, "/.nearpoint/canary", "").await.unwrap();
    assert_eq!(region.served(), 0);
}

#[tokio::test]
async fn its_distance_is_felt_on_connections_and_answers() {
    let House { region: _region, client, _folder, .. } = house(Duration::from_millis(30)).await;
    let clock = Clock::system();
    let started = clock.mono();
    client.send(Method::GET, "/k", "").await.unwrap();
    assert!(clock.mono() - started >= Duration::from_millis(60));
}

#[tokio::test]
async fn the_dead_refuse_and_reset_and_come_back_on_the_same_port() {
    let House { region, client, _folder, .. } = house(Duration::ZERO).await;
    region.put("k", b"value".to_vec()).await.unwrap();
    let mut open = TcpStream::connect(client.address).await.unwrap();
    open.write_all(b"GET / HT").await.unwrap();
    // served once, so that its connection is surely accepted before the kill
    assert_eq!(client.send(Method::GET, "/k", "").await.unwrap().0, 200);
    region.kill().await;
    assert!(!region.is_alive());
    let refused = TcpStream::connect(client.address).await.unwrap_err();
    assert_eq!(refused.kind(), io::ErrorKind::ConnectionRefused);
    let reset = open.read(&mut [0; 8]).await.unwrap_err();
    assert_eq!(reset.kind(), io::ErrorKind::ConnectionReset);
    assert_eq!(region.put("k", Vec::new()).await, Err(Down));
    region.revive().await;
    assert!(region.is_alive());
    assert_eq!(client.send(Method::GET, "/k", "").await.unwrap(), (200, Bytes::from("value")));
}
