//! Signatures that do not match, and those that clients should not make any more.

use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::house::client::{Client, Reply, Request};
use crate::house::gateway::{Gateway, Setup, Tenant};
use crate::house::moment;
use crate::house::region::Region;
use crate::house::text;

const BUCKET: &str = "photos-home";

#[track_caller]
fn refused(reply: &Reply, status: u16, code: &str) {
    assert_eq!((reply.status, reply.code().as_deref()), (status, Some(code)), "{}", reply.text());
}

fn home() -> Region {
    let home = Region::start("home", &[BUCKET]);
    home.seed(BUCKET, "a b", "x");
    home
}

/// A gateway whose client has these lines, and its listener those.
fn gateway(home: &Region, client: &str, listener: &str) -> Gateway {
    let mut tenant = Tenant::of("app", &["photos"]);
    tenant.lines.push_str(client);
    let mut setup = Setup { tenants: vec![tenant], ..Setup::over(&[home]) };
    setup.listener.push_str(listener);
    setup.start()
}

/// A URL of Signature Version 2, as old clients make it.
fn presigned_v2(
    client: &Client,
    method: &str,
    path: &str,
    signed: &str,
    more: &str,
    seconds: i64,
) -> Request {
    let expires = moment::shifted(client.now(), seconds);
    let expires = expires.duration_since(std::time::SystemTime::UNIX_EPOCH).unwrap().as_secs();
    let joint = if signed.is_empty() { "" } else { "?" };
    let text = format!("{method}\n\n\n{expires}\n{path}{joint}{signed}");
    let key = hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, client.settings.secret.as_bytes());
    let signature = text::encoded(&STANDARD.encode(hmac::sign(&key, text.as_bytes())), "");
    let id = &client.settings.access_key_id;
    let target = format!("{path}?AWSAccessKeyId={id}&Signature={signature}&Expires={expires}{more}");
    Request::new(method, &target)
}

#[tokio::test]
async fn version_2_is_refused_with_its_remedy() {
    let home = home();
    let gateway = gateway(&home, "", "");
    let client = gateway.client();
    let url = presigned_v2(&client, "GET", "/photos/a%20b", "", "", 60);
    let by_header = Request::get("/photos/a%20b").with("authorization", "AWS NPAPP:c2ln");
    for request in [url, by_header] {
        let reply = client.send_signed(&client.unsigned(&request)).await;
        refused(&reply, 400, "InvalidRequest");
        assert!(
            reply.text().replace("&quot;", "\"").contains("signature_version=\"s3v4\""),
            "{}",
            reply.text()
        );
    }
    assert!(home.seen().is_empty());
}

#[tokio::test]
async fn version_2_reads_objects_where_the_client_opts_in() {
    let home = home();
    let gateway = gateway(&home, "    signature_v2: presigned_reads\n", "");
    let client = gateway.client();
    let send = async |request: &Request| client.send_signed(&client.unsigned(request)).await;
    let reply = send(&presigned_v2(&client, "GET", "/photos/a%20b", "", "", 60)).await.expect(200);
    assert_eq!(reply.text(), "x");
    send(&presigned_v2(&client, "HEAD", "/photos/a%20b", "", "", 60)).await.expect(200);
    let kind = ("response-content-type=text/x-a", "&response-content-type=text%2Fx-a");
    send(&presigned_v2(&client, "GET", "/photos/a%20b", kind.0, kind.1, 60)).await.expect(200);
    let last = home.seen().pop().unwrap();
    assert_eq!(last.target, "/photos-home/a%20b?response-content-type=text%2Fx-a");
    assert!(last.header("authorization").unwrap().starts_with("AWS4-HMAC-SHA256 "));
    home.forget();

    let unsigned = presigned_v2(&client, "GET", "/photos/a%20b", "", kind.1, 60);
    refused(&send(&unsigned).await, 403, "SignatureDoesNotMatch");
    refused(&send(&presigned_v2(&client, "GET", "/photos/a%20b", "", "", -1)).await, 403, "AccessDenied");
    let mut other = presigned_v2(&client, "GET", "/photos/a%20b", "", "", 60);
    other.target = other.target.replace("a%20b", "c");
    refused(&send(&other).await, 403, "SignatureDoesNotMatch");
    for (method, path) in [("PUT", "/photos/k"), ("DELETE", "/photos/a%20b"), ("GET", "/photos")] {
        let request = presigned_v2(&client, method, path, "", "", 60);
        refused(&send(&request).await, 400, "InvalidRequest");
    }
    assert!(home.seen().is_empty());
}

/// A request that something between client and gateway has changed.
fn rewritten(client: &Client, name: &str, value: &str) -> crate::house::client::Signed {
    let get = Request::get("/photos/a%20b").with("accept-encoding", "identity");
    client.sign(&get).set(name, value)
}

#[tokio::test]
async fn the_log_says_what_was_rewritten_and_the_reply_where_that_is_wanted() {
    let home = home();
    for (lines, told) in [("", false), ("    diagnose_signatures: true\n", true)] {
        let gateway = gateway(&home, lines, "");
        let client = gateway.client();
        let said = "the header `accept-encoding` was `identity` when the request was signed";
        let reply = client.send_signed(&rewritten(&client, "accept-encoding", "gzip, br")).await;
        refused(&reply, 403, "SignatureDoesNotMatch");
        let diagnosis = text::element(&reply.text(), "SignatureDiagnosis");
        assert_eq!(diagnosis.as_deref(), told.then_some(said), "{}", reply.text());
        let line = gateway.access_line(reply.header("x-amz-request-id").unwrap());
        assert_eq!(line["cause"], said);
        // of a forger's there is nothing to say
        let mut forger = client.clone();
        forger.settings.secret = "guess".to_owned();
        let reply = forger.send_signed(&rewritten(&forger, "accept-encoding", "gzip")).await;
        let diagnosis = text::element(&reply.text(), "SignatureDiagnosis").unwrap_or_default();
        assert!(!diagnosis.contains("header"), "{diagnosis}");
    }
    assert!(home.seen().is_empty());
}

#[tokio::test]
async fn what_a_trusted_proxy_rewrote_is_restored() {
    let home = home();
    let trusting = gateway(&home, "", "      trusted_proxies: [127.0.0.0/8]\n");
    let mut client = trusting.client();
    client.send_signed(&rewritten(&client, "accept-encoding", "gzip, br")).await.expect(200);
    assert_eq!(home.seen().pop().unwrap().header("accept-encoding"), Some("identity"));
    let get = Request::get("/photos/a%20b").with("accept-encoding", "identity");
    client.send_signed(&client.sign(&get).without("accept-encoding")).await.expect(200);
    assert_eq!(home.seen().pop().unwrap().header("accept-encoding"), Some("identity"));
    client.host = "s3.example.com:8443".to_owned();
    let moved = rewritten(&client, "host", "10.0.0.1:9000").add("x-forwarded-host", "s3.example.com");
    client.send_signed(&moved.clone().add("x-forwarded-port", "8443")).await.expect(200);
    refused(&client.send_signed(&moved.add("x-forwarded-port", "8444")).await, 403, "SignatureDoesNotMatch");
    client.host = "s3.example.com".to_owned();
    let moved = rewritten(&client, "host", "10.0.0.1:9000");
    client.send_signed(&moved.clone().add("x-forwarded-host", "s3.example.com")).await.expect(200);
    refused(&client.send_signed(&moved).await, 403, "SignatureDoesNotMatch");
    let forged = rewritten(&client, "accept-encoding", "gzip").set("x-amz-date", "20200101T000000Z");
    assert_eq!(client.send_signed(&forged).await.status, 403);

    let trusted_by_nobody = gateway(&home, "", "");
    let mut client = trusted_by_nobody.client();
    refused(
        &client.send_signed(&rewritten(&client, "accept-encoding", "gzip")).await,
        403,
        "SignatureDoesNotMatch",
    );
    client.host = "s3.example.com".to_owned();
    let moved = rewritten(&client, "host", "10.0.0.1:9000").add("x-forwarded-host", "s3.example.com");
    refused(&client.send_signed(&moved).await, 403, "SignatureDoesNotMatch");
}
