//! Who may do what: policies, tenants, identities of their own, anonymous and unverified listeners.

use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::house::client::{Client, Framing, Payload, Reply, Request};
use crate::house::digest::Algorithm;
use crate::house::gateway::{Gateway, LOGICAL_REGION, Setup, Tenant, allow};
use crate::house::moment;
use crate::house::region::{PATIENCE, Region, Settings};

const BUCKET: &str = "photos-home";

#[track_caller]
fn refused(reply: &Reply, status: u16, code: &str) {
    assert_eq!((reply.status, reply.code().as_deref()), (status, Some(code)), "{}", reply.text());
}

fn home() -> Region {
    Region::start("home", &[BUCKET, "vault-home"])
}

/// Access points `photos` and `vault` over one region.
fn two_points(home: &Region, tenants: Vec<Tenant>) -> Setup {
    let mut setup = Setup::over(&[home]).access_point("vault", &[home], 1, "allow", "allow");
    setup.tenants = tenants;
    setup
}

fn statement(effect: &str, action: &str, resource: &str) -> String {
    format!(r#"{{"Effect": "{effect}", "Action": "{action}", "Resource": "arn:aws:s3:::{resource}"}}"#)
}

// ── policies ─────────────────────────────────────────────────────────────────

#[tokio::test]
async fn policies_allow_deny_and_tell_prefixes_apart() {
    let home = home();
    let reader = format!(
        "{}, {}, {}",
        statement("Allow", "s3:Get*", "photos/public/*"),
        statement("Deny", "s3:*", "photos/public/secret*"),
        statement("Allow", "s3:PutObject", "photos/inbox/??.jpg"),
    );
    let gateway = two_points(&home, vec![Tenant::with_statements("reader", &reader)]).start();
    let client = gateway.client();
    for key in ["public/a", "public/secret-1", "private/a"] {
        home.seed(BUCKET, key, "x");
    }
    client.send(&Request::get("/photos/public/a")).await.expect(200);
    client.send(&Request::put("/photos/inbox/ab.jpg", "x")).await.expect(200);
    for request in [
        Request::get("/photos/public/secret-1"),
        Request::get("/photos/private/a"),
        // another spelling is the same key
        Request::get("/photos/public/%73ecret-1"),
        Request::put("/photos/inbox/abc.jpg", "x"),
        Request::put("/photos/public/a", "x"),
        Request::delete("/photos/public/a"),
        Request::get("/photos?list-type=2"),
        Request::get("/vault/public/a"),
    ] {
        refused(&client.send(&request).await, 403, "AccessDenied");
    }
    // dots are part of a key, and no way out of a prefix
    refused(&client.send(&Request::get("/photos/public/../private/a")).await, 404, "NoSuchKey");
    assert_eq!(home.keys(BUCKET), ["inbox/ab.jpg", "private/a", "public/a", "public/secret-1"]);
}

#[tokio::test]
async fn a_copy_needs_its_source_too() {
    let home = home();
    home.seed("vault-home", "k", "x");
    home.seed(BUCKET, "k", "x");
    let writer = format!(
        "{}, {}",
        statement("Allow", "s3:PutObject", "photos/*"),
        statement("Allow", "s3:GetObject", "photos/k"),
    );
    let gateway = two_points(&home, vec![Tenant::with_statements("writer", &writer)]).start();
    let client = gateway.client();
    let copy = |source: &str| Request::put("/photos/copy", "").with("x-amz-copy-source", source);
    client.send(&copy("/photos/k")).await.expect(200);
    for source in ["/vault/k", "vault/k", "/vault%2Fk", "/photos/other", "/vault-home/k", "/photos-home/k"] {
        refused(&client.send(&copy(source)).await, 403, "AccessDenied");
    }
    let part = Request::put("/photos/big?partNumber=1&uploadId=u", "").with("x-amz-copy-source", "/vault/k");
    refused(&client.send(&part).await, 403, "AccessDenied");
}

#[tokio::test]
async fn a_copy_that_the_store_makes_takes_tags_over_only_by_leave() {
    let home = home();
    home.seed("vault-home", "bare", "x");
    let copies =
        [statement("Allow", "s3:PutObject", "photos/*"), statement("Allow", "s3:GetObject", "vault/*")]
            .join(", ");
    let reads = statement("Allow", "s3:GetObjectTagging", "vault/*");
    let sets = statement("Allow", "s3:PutObjectTagging", "photos/*");
    let gateway = two_points(
        &home,
        vec![
            Tenant::of("owner", &["vault"]),
            Tenant::with_statements("plain", &copies),
            Tenant::with_statements("reader", &format!("{copies}, {reads}")),
            Tenant::with_statements("setter", &format!("{copies}, {sets}")),
            Tenant::with_statements("both", &format!("{copies}, {reads}, {sets}")),
        ],
    )
    .start();
    let put = Request::put("/vault/tagged", "x").with("x-amz-tagging", "a=1");
    gateway.client_of(0).send(&put).await.expect(200);
    let copy = |source: &str| Request::put("/photos/copy", "").with("x-amz-copy-source", source);
    for (tenant, status) in [(1, 403), (2, 403), (3, 403), (4, 200)] {
        let client = gateway.client_of(tenant);
        home.forget();
        client.send(&copy("/vault/bare")).await.expect(200);
        let asked = home.seen().iter().filter(|seen| seen.operation == "HeadObject").count();
        assert_eq!(asked, usize::from(status == 403), "whoever may is not made to wait");
        client.send(&copy("/vault/tagged")).await.expect(status);
        client.send(&copy("/vault/tagged").with("x-amz-tagging-directive", "REPLACE")).await.expect(200);
    }
}

#[tokio::test]
async fn every_key_of_a_deletion_is_judged() {
    let home = home();
    for key in ["mine/a", "yours/a"] {
        home.seed(BUCKET, key, "x");
    }
    let mine = statement("Allow", "s3:DeleteObject", "photos/mine/*");
    let gateway = two_points(&home, vec![Tenant::with_statements("app", &mine)]).start();
    let client = gateway.client();
    let both = "<Delete><Object><Key>mine/a</Key></Object><Object><Key>yours/a</Key></Object></Delete>";
    let reply = client.send(&checked("/photos?delete", both)).await;
    // refused as a whole, or by key: yours stays
    assert!(reply.status == 403 || reply.text().contains("<Error><Key>yours/a</Key>"), "{}", reply.text());
    assert!(home.object(BUCKET, "yours/a").is_some());
    let own = "<Delete><Object><Key>mine/a</Key></Object></Delete>";
    client.send(&checked("/photos?delete", own)).await.expect(200);
    assert!(home.object(BUCKET, "mine/a").is_none());
}

fn checked(target: &str, xml: &str) -> Request {
    use base64::Engine as _;
    let md5 = base64::engine::general_purpose::STANDARD.encode(crate::house::digest::md5(xml.as_bytes()));
    Request::post(target, xml).with("content-md5", &md5)
}

#[tokio::test]
async fn tenants_see_their_own_only() {
    let home = home();
    home.seed("vault-home", "k", "x");
    let tenants = vec![Tenant::of("one", &["photos"]), Tenant::of("two", &["vault"])];
    let gateway = two_points(&home, tenants).start();
    let (one, two) = (gateway.client_of(0), gateway.client_of(1));
    for request in [
        Request::get("/vault/k"),
        Request::head("/vault/k"),
        Request::get("/vault?list-type=2"),
        Request::head("/vault"),
        Request::get("/vault?location"),
        Request::put("/vault/k", "y"),
        Request::delete("/vault/k"),
        Request::get("/vault?uploads"),
    ] {
        let reply = one.send(&request).await;
        assert_eq!(reply.status, 403, "{} {}", request.method, request.target);
    }
    assert!(home.seen().is_empty());
    two.send(&Request::get("/vault/k")).await.expect(200);
    // one's key with two's secret is neither
    let mut forger = one.clone();
    forger.settings.secret = two.settings.secret.clone();
    refused(&forger.send(&Request::get("/photos/k")).await, 403, "SignatureDoesNotMatch");
    forger.settings.access_key_id = "NPNOBODY".to_owned();
    refused(&forger.send(&Request::get("/photos/k")).await, 403, "InvalidAccessKeyId");
}

#[tokio::test]
async fn a_session_token_is_required_and_compared() {
    let home = home();
    home.seed(BUCKET, "k", "x");
    let mut with = Tenant::of("with", &["photos"]);
    with.session_token = Some("the-token".to_owned());
    let gateway = two_points(&home, vec![with, Tenant::of("without", &["photos"])]).start();
    let (with, without) = (gateway.client_of(0), gateway.client_of(1));
    let get = Request::get("/photos/k");
    with.send(&get).await.expect(200);
    let presigned = |client: &Client| client.unsigned(&Request::get(&client.presign(&get, 60)));
    with.send_signed(&presigned(&with)).await.expect(200);
    for stranger in [with.clone().with_token("another"), without.clone().with_token("any"), {
        let mut bare = with.clone();
        bare.settings.session_token = None;
        bare
    }] {
        let reply = stranger.send(&get).await;
        assert!(
            matches!(
                (reply.status, reply.code().as_deref()),
                (400 | 403, Some("InvalidToken" | "AccessDenied"))
            ),
            "{}",
            reply.text()
        );
        let reply = stranger.send_signed(&presigned(&stranger)).await;
        assert!(reply.status == 400 || reply.status == 403, "{}", reply.text());
    }
    without.send(&get).await.expect(200);
}

// ── identities of their own ──────────────────────────────────────────────────

#[tokio::test]
async fn a_tenant_s_own_pair_signs_upstream_and_its_store_judges() {
    let home = Region::start("home", &[BUCKET]);
    home.seed(BUCKET, "k", "x");
    let mut same = Tenant::of("same", &[]);
    same.policy = None;
    same.lines = "    region_credentials: same\n".to_owned();
    let gateway = two_points_over_one(&home, vec![same, Tenant::of("app", &["photos"])]).start();
    // the region knows neither: a tenant's pair that its store refuses is its own trouble
    let reply = gateway.client_of(0).send(&Request::get("/photos/k")).await;
    assert_eq!(reply.status, 403, "{}", reply.text());
    gateway.client_of(1).send(&Request::get("/photos/k")).await.expect(200);
    let own = gateway.client_of(0).settings;
    home.change_settings(|settings| {
        settings.access_key_id = own.access_key_id.clone();
        settings.secret = own.secret.clone();
    });
    home.forget();
    let reply = gateway.client_of(0).send(&Request::get("/photos/k")).await;
    assert_eq!(reply.status, 200, "{}", reply.text());
    assert!(home.seen()[0].header("authorization").unwrap().contains("NPSAME"));
}

#[tokio::test]
async fn bucket_calls_are_the_store_s_to_judge_where_it_judges() {
    let home = Region::start("home", &[BUCKET]);
    let away = Region::start("away", &["photos-away"]);
    let mut same = Tenant::of("same", &[]);
    same.policy = None;
    same.lines = "    region_credentials: same\n".to_owned();
    let mut setup = Setup::over(&[&home, &away]);
    setup.tenants = vec![same];
    setup.listener = "      anonymous: forward\n".to_owned();
    let gateway = setup.start();
    let tenant = gateway.client();
    let nobody = |request: &Request| tenant.unsigned(request);
    // neither is known to the store, so neither learns anything
    for request in [Request::head("/photos"), Request::get("/photos?location"), Request::get("/")] {
        assert_eq!(tenant.send(&request).await.status, 403, "{} {}", request.method, request.target);
        let reply = tenant.send_signed(&nobody(&request)).await;
        assert_eq!(reply.status, 403, "{} {}", request.method, request.target);
        assert!(!reply.text().contains("photos-home"), "{}", reply.text());
    }
    for request in [Request::put("/photos", ""), Request::delete("/photos")] {
        refused(&tenant.send_signed(&nobody(&request)).await, 403, "AccessDenied");
    }
    // whom the store knows, it answers: home, in our words
    home.change_settings(|settings| {
        settings.access_key_id = tenant.settings.access_key_id.clone();
        settings.secret = tenant.settings.secret.clone();
        settings.anonymous = &["GET", "HEAD"];
    });
    for signed in [tenant.sign(&Request::head("/photos")), nobody(&Request::head("/photos"))] {
        let asked = async {
            loop {
                let reply = tenant.send_signed(&signed).await;
                if reply.status == 200 {
                    return reply;
                }
            }
        };
        // (a refused credential is believed for a moment)
        let reply = tokio::time::timeout(PATIENCE, asked).await.expect("the store knows it");
        assert_eq!(reply.header("x-amz-bucket-region"), Some(LOGICAL_REGION));
    }
    let location = tenant.send(&Request::get("/photos?location")).await.expect(200).text();
    assert!(location.contains(&format!(">{LOGICAL_REGION}</LocationConstraint>")), "{location}");
    refused(&tenant.send(&Request::get("/")).await, 403, "AccessDenied");
    assert!(away.seen().is_empty(), "home's to say");
}

fn two_points_over_one(home: &Region, tenants: Vec<Tenant>) -> Setup {
    Setup { tenants, ..Setup::over(&[home]) }
}

#[tokio::test]
async fn a_tenant_s_pairs_by_region_sign_in_each() {
    let home = Region::start("home", &[BUCKET]);
    let away = Region::start("away", &["photos-away"]);
    for (region, bucket) in [(&home, BUCKET), (&away, "photos-away")] {
        region.seed(bucket, "k", "x");
        region.change_settings(|settings| {
            settings.access_key_id = format!("TENANTAT{}", settings.name.to_ascii_uppercase());
            settings.secret = format!("tenant-secret-at-{}", settings.name);
        });
    }
    let mut tenant = Tenant::of("app", &["photos"]);
    tenant.lines = "    region_credentials:\n      home: {access_key_id: TENANTATHOME, secret_access_key: tenant-secret-at-home}\n      away: {access_key_id: TENANTATAWAY, secret_access_key: tenant-secret-at-away}\n".to_owned();
    let mut setup = Setup::over(&[&home, &away]);
    // the regions' own pairs are others, and good for nothing here
    for (_, lines) in &mut setup.regions {
        *lines = lines.replace("access_key_id: TENANTAT", "access_key_id: OTHER");
    }
    setup.tenants = vec![tenant];
    let gateway = setup.start();
    let client = gateway.client();
    client.send(&Request::get("/photos/k")).await.expect(200);
    client.send(&Request::put("/photos/k", "y").with("x-amz-mfa", "20899872 301749")).await.expect(200);
    let put = home.seen().into_iter().find(|seen| seen.method == "PUT").expect("at home");
    assert!(put.header("authorization").unwrap().contains("TENANTATHOME"));
    assert!(put.header("x-amz-mfa") == Some("20899872 301749") && put.signed("x-amz-mfa"), "{put:?}");
    home.kill();
    client.send(&Request::get("/photos/k")).await.expect(200);
    assert!(away.seen().iter().any(|seen| seen.header("authorization").unwrap().contains("TENANTATAWAY")));
}

#[tokio::test]
async fn where_a_tenant_has_no_pair_of_its_own_the_region_s_is_to_blame() {
    let home = Region::start("home", &[BUCKET]);
    let away = Region::start("away", &["photos-away"]);
    for (region, bucket) in [(&home, BUCKET), (&away, "photos-away")] {
        region.seed(bucket, "k", "x");
    }
    let mut tenant = Tenant::of("app", &["photos"]);
    let pair = home.settings();
    tenant.lines = format!(
        "    region_credentials:\n      home: {{access_key_id: {}, secret_access_key: {}}}\n",
        pair.access_key_id, pair.secret
    );
    let mut setup = Setup::over(&[&home, &away]);
    setup.tenants = vec![tenant];
    let gateway = setup.start();
    let client = gateway.client();
    client.send(&Request::get("/photos/k")).await.expect(200);
    // nearpoint's own pair runs out in one region, and that is the only one left
    away.change_settings(|settings| settings.secret = "another".to_owned());
    home.kill();
    let reply = client.send(&Request::get("/photos/k")).await;
    refused(&reply, 503, "ServiceUnavailable");
    let blamed = |status: &serde_json::Value| {
        let regions = status["regions"].as_array().expect("a list");
        let away = regions.iter().find(|region| region["id"] == "away").expect("away");
        away["refused_credentials"] == serde_json::json!(["Region"])
    };
    gateway.wait_for_status(blamed).await;
}

// ── unverified and anonymous ─────────────────────────────────────────────────

fn listening(home: &Region, listener: &str) -> Gateway {
    Setup { listener: listener.to_owned(), ..Setup::over(&[home]) }.start()
}

#[tokio::test]
async fn verify_off_takes_whatever_signature_but_no_expired_url_and_no_foreign_page() {
    let home = home();
    home.seed(BUCKET, "k", "x");
    let gateway = listening(&home, "      verify: off\n      allow_origins: [\"https://app.example.com\"]\n");
    let mut stranger = gateway.client();
    stranger.settings.access_key_id = "SOMEBODY".to_owned();
    stranger.settings.secret = "whatever".to_owned();
    stranger.settings.signing_region = "elsewhere-9".to_owned();
    let get = Request::get("/photos/k");
    assert_eq!(stranger.send(&get).await.expect(200).body, b"x");
    stranger.send_signed(&stranger.unsigned(&get)).await.expect(200);
    stranger.send(&Request::put("/photos/new", "y")).await.expect(200);
    assert_eq!(home.object(BUCKET, "new").unwrap().body, "y");
    let fresh = stranger.presign(&get, 60);
    stranger.send_signed(&stranger.unsigned(&Request::get(&fresh))).await.expect(200);
    let expired = stranger.presigned_at(&get, 60, moment::shifted(moment::now(), -120));
    let reply = stranger.send_signed(&stranger.unsigned(&Request::get(&expired))).await;
    refused(&reply, 403, "AccessDenied");
    let from = |origin: &str| stranger.unsigned(&get).add("origin", origin);
    stranger.send_signed(&from("https://app.example.com")).await.expect(200);
    for origin in ["https://evil.example.com", "null", "https://app.example.com.evil.com"] {
        refused(&stranger.send_signed(&from(origin)).await, 403, "AccessDenied");
    }
}

#[tokio::test]
async fn anonymous_requests_are_refused_unless_the_listener_says_otherwise() {
    let home = home();
    home.seed(BUCKET, "k", "x");
    let gateway = listening(&home, "");
    let client = gateway.client();
    for request in [Request::get("/photos/k"), Request::put("/photos/k", "y"), Request::get("/")] {
        refused(&client.send_signed(&client.unsigned(&request)).await, 403, "AccessDenied");
    }
    assert!(home.seen().is_empty());
}

#[tokio::test]
async fn anonymous_sign_lets_strangers_read_and_list_only() {
    let home = home();
    home.seed(BUCKET, "k", "x");
    let gateway = listening(&home, "      anonymous: sign\n");
    let client = gateway.client();
    let send = |request: Request| {
        let signed = client.unsigned(&request);
        let client = client.clone();
        async move { client.send_signed(&signed).await }
    };
    send(Request::get("/photos/k")).await.expect(200);
    send(Request::head("/photos/k")).await.expect(200);
    send(Request::get("/photos?list-type=2")).await.expect(200);
    send(Request::get("/photos")).await.expect(200);
    for request in [
        Request::put("/photos/k", "y"),
        Request::delete("/photos/k"),
        Request::post("/photos/k?uploads", ""),
        Request::get("/photos?uploads"),
        Request::get("/photos?versions"),
        Request::get("/photos/k?acl"),
        Request::get("/photos/k?versionId=null"),
        Request::get("/"),
    ] {
        let what = format!("{} {}", request.method, request.target);
        let reply = send(request).await;
        assert_eq!((reply.status, reply.code().as_deref()), (403, Some("AccessDenied")), "{what}");
    }
    // nobody chooses the reply's headers for another's browser
    refused(&send(Request::get("/photos/k?response-content-type=text%2Fhtml")).await, 400, "InvalidRequest");
    // a bad signature is no anonymous request
    let mut forger = client.clone();
    forger.settings.secret = "wrong".to_owned();
    refused(&forger.send(&Request::get("/photos/k")).await, 403, "SignatureDoesNotMatch");
    let expired = client.presigned_at(&Request::get("/photos/k"), 60, moment::shifted(moment::now(), -120));
    refused(&send(Request::get(&expired)).await, 403, "AccessDenied");
    let foreign = client.unsigned(&Request::get("/photos/k")).add("origin", "https://evil.example.com");
    refused(&client.send_signed(&foreign).await, 403, "AccessDenied");
}

#[tokio::test]
async fn anonymous_forward_lets_the_store_decide() {
    let home =
        Region::start_with(Settings { anonymous: &["GET", "HEAD"], ..Settings::new("home", &[BUCKET]) });
    home.seed(BUCKET, "k", "x");
    let gateway = listening(&home, "      anonymous: forward\n");
    let client = gateway.client();
    client.send_signed(&client.unsigned(&Request::get("/photos/k"))).await.expect(200);
    let seen = home.seen_once();
    assert_eq!(seen.header("authorization"), None);
    refused(
        &client.send_signed(&client.unsigned(&Request::put("/photos/k", "y"))).await,
        403,
        "AccessDenied",
    );
    client.send(&Request::put("/photos/k", "y")).await.expect(200);
}

#[tokio::test]
async fn a_stranger_is_asked_for_its_body_where_the_store_lets_it_in() {
    for (allowed, status) in [(&["GET", "PUT"][..], 100), (&["GET"], 403)] {
        let home = Region::start_with(Settings { anonymous: allowed, ..Settings::new("home", &[BUCKET]) });
        let gateway = listening(&home, "      anonymous: forward\n");
        let client = gateway.client();
        let put = Request::put("/photos/k", "y").with("expect", "100-continue");
        let mut connection = client.connect().await;
        connection.stream.write_all(&client.unsigned(&put).head_bytes()).await.unwrap();
        let mut start = [0; 12];
        tokio::time::timeout(PATIENCE, connection.stream.read_exact(&mut start)).await.unwrap().unwrap();
        assert_eq!(String::from_utf8_lossy(&start[9..]), status.to_string(), "{allowed:?}");
        assert!(home.object(BUCKET, "k").is_none());
    }
}

/// An empty object is complete with its head: nothing of it could be held back until its framing is
/// verified.
#[tokio::test]
async fn an_empty_framed_body_of_a_stranger_is_verified_before_its_head_leaves() {
    let home = Region::start_with(Settings { anonymous: &["PUT"], ..Settings::new("home", &[BUCKET]) });
    let gateway = listening(&home, "      anonymous: forward\n");
    let client = gateway.client();
    for (body, status) in [
        ("0\r\nx-amz-checksum-crc32:AAAAAA==\r\n\r\n", 200),
        ("0\r\nx-amz-checksum-crc32:AAAAAQ==\r\n\r\n", 400),
        ("5\r\nhello\r\n0\r\nx-amz-checksum-crc32:NhCmhg==\r\n\r\n", 400),
    ] {
        home.forget();
        let head = format!(
            "PUT /photos/empty HTTP/1.1\r\nhost: {}\r\nexpect: 100-continue\r\ncontent-length: {}\r\n\
             x-amz-content-sha256: STREAMING-UNSIGNED-PAYLOAD-TRAILER\r\nx-amz-decoded-content-length: 0\r\n\
             x-amz-trailer: x-amz-checksum-crc32\r\n\r\n",
            client.host,
            body.len()
        );
        let mut connection = client.connect().await;
        connection.stream.write_all(head.as_bytes()).await.unwrap();
        let mut asked = [0; "HTTP/1.1 100 Continue\r\n\r\n".len()];
        tokio::time::timeout(PATIENCE, connection.stream.read_exact(&mut asked)).await.unwrap().unwrap();
        assert!(asked.starts_with(b"HTTP/1.1 100 "), "{}", String::from_utf8_lossy(&asked));
        connection.stream.write_all(body.as_bytes()).await.unwrap();
        let reply = connection.reply("PUT").await.expect("an answer");
        assert_eq!(reply.status, status, "{body:?}: {}", reply.text());
        assert_eq!(home.seen().len(), usize::from(status == 200), "{body:?}");
    }
}

/// What goes on unsigned carries no mark by which its store could check or unframe it: that is
/// done here.
#[tokio::test]
async fn bodies_that_are_forwarded_unsigned_are_checked_and_unframed_here() {
    let home = Region::start_with(Settings { anonymous: &["PUT"], ..Settings::new("home", &[BUCKET]) });
    let gateway = listening(&home, "      anonymous: forward\n");
    let client = gateway.client();
    let bare = |request: &Request| client.sign(request).without("authorization");
    let body: Vec<u8> = (0..100_000_u32).map(|at| u8::try_from(at % 251).unwrap()).collect();
    let framed = Payload::UnsignedTrailer(64 << 10, Algorithm::Crc32, Framing::Length);
    for payload in [Payload::Hex, Payload::Unsigned, framed] {
        client
            .send_signed(&bare(&Request::put("/photos/k", body.clone()).payload(payload)))
            .await
            .expect(200);
        let object = home.object(BUCKET, "k").expect("stored");
        assert!(object.body == body, "{payload:?}: other bytes");
        assert_eq!(object.header("content-encoding"), None, "{payload:?}");
    }
    let bent = bare(&Request::put("/photos/bent", body)).edit_body(|mut body| {
        body[7] ^= 1;
        body
    });
    refused(&client.send_signed(&bent).await, 400, "XAmzContentSHA256Mismatch");
    assert!(home.object(BUCKET, "bent").is_none());
}

#[tokio::test]
async fn a_preflight_is_the_store_s_to_answer_and_never_signed() {
    let home = home();
    let gateway = listening(&home, "");
    let client = gateway.client();
    let ask = client
        .unsigned(&Request::new("OPTIONS", "/photos/k"))
        .add("origin", "https://app.example.com")
        .add("access-control-request-method", "PUT")
        .add("access-control-request-headers", "x-amz-meta-a");
    let reply = client.send_signed(&ask).await.expect(200);
    assert_eq!(reply.header("access-control-allow-origin"), Some("*"));
    let seen = home.seen_once();
    assert_eq!((seen.operation, seen.target.as_str()), ("Preflight", "/photos-home/k"));
    assert_eq!(seen.header("authorization"), None);
    for (name, value) in [
        ("origin", "https://app.example.com"),
        ("access-control-request-method", "PUT"),
        ("access-control-request-headers", "x-amz-meta-a"),
    ] {
        assert_eq!(seen.header(name), Some(value));
    }
}

// ── presigned ────────────────────────────────────────────────────────────────

#[tokio::test]
async fn presigned_urls_read_and_write_with_hoisted_headers() {
    let home = home();
    let gateway = listening(&home, "");
    let client = gateway.client();
    let hoisted = "/photos/k?x-amz-meta-author=me&x-amz-storage-class=STANDARD_IA";
    let put = Request::put(&client.presign(&Request::new("PUT", hoisted), 60), "body");
    client.send_signed(&client.unsigned(&put)).await.expect(200);
    let object = home.object(BUCKET, "k").expect("stored");
    assert_eq!((object.body.as_ref(), object.header("x-amz-meta-author")), (&b"body"[..], Some("me")));
    assert_eq!(object.header("x-amz-storage-class"), Some("STANDARD_IA"));
    let seen = home.seen_once();
    assert_eq!(seen.target, "/photos-home/k", "nothing of the signature travels on");
    assert!(seen.signed("x-amz-meta-author"));
    let get = client.presign(&Request::get("/photos/k?response-content-type=text%2Fplain"), 60);
    let got = client.send_signed(&client.unsigned(&Request::get(&get))).await.expect(200);
    assert_eq!(got.body, b"body");
    // the head of a GET that was presigned is another request
    let head = client.send_signed(&client.unsigned(&Request::head(&get))).await;
    assert_eq!(head.status, 403);
    let contradiction = client.unsigned(&put).add("x-amz-meta-author", "you");
    assert!((400..=403).contains(&client.send_signed(&contradiction).await.status));
    let tampered = put.target.replace("author=me", "author=you");
    let tampered = client.unsigned(&Request::put(&tampered, "body"));
    refused(&client.send_signed(&tampered).await, 403, "SignatureDoesNotMatch");
}

// ── SigV4A ───────────────────────────────────────────────────────────────────

#[tokio::test]
async fn what_is_signed_for_all_regions_is_taken_in_every_mode_and_signed_anew_for_its_own() {
    let home = home();
    let gateway = listening(&home, "");
    let client = Client { region_set: Some("*".to_owned()), ..gateway.client() };
    let body: Vec<u8> = (0..=255).cycle().take(40_000).collect();
    for payload in [
        Payload::Hex,
        Payload::Unsigned,
        Payload::SignedChunks(8_192),
        Payload::SignedChunksTrailer(16_384, Algorithm::Crc32),
        Payload::UnsignedTrailer(8_192, Algorithm::Crc32, Framing::Length),
    ] {
        home.forget();
        let put = Request::put("/photos/k", body.clone()).payload(payload);
        client.send(&put).await.expect(200);
        let object = home.object(BUCKET, "k").expect("stored");
        assert!(object.body == body, "{payload:?}");
        let seen = home.seen_once();
        assert!(seen.header("authorization").unwrap().starts_with("AWS4-HMAC-SHA256 "), "{payload:?}");
        assert_eq!(seen.header("x-amz-region-set"), None);
        // one byte of the body is another one
        let tampered = client.sign(&put).edit_body(|mut sent| {
            let at = sent.len() / 2;
            sent[at] ^= 1;
            sent
        });
        let reply = client.send_signed(&tampered).await;
        let unprotected = matches!(payload, Payload::Unsigned);
        assert_eq!(reply.status == 200, unprotected, "{payload:?} {}", reply.text());
    }
    client.send(&Request::put("/photos/k", "body")).await.expect(200);
    let url = client.presign(&Request::get("/photos/k"), 60);
    let got = client.send_signed(&client.unsigned(&Request::get(&url))).await.expect(200);
    assert_eq!(got.body, b"body");
    let elsewhere = Client { region_set: Some("mars-*".to_owned()), ..client };
    refused(&elsewhere.send(&Request::get("/photos/k")).await, 400, "AuthorizationHeaderMalformed");
}

// ── loops ────────────────────────────────────────────────────────────────────

#[tokio::test]
async fn a_region_that_is_this_gateway_is_a_loop() {
    let home = home();
    let port = {
        let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        free.local_addr().unwrap().port()
    };
    let mut setup = Setup::over(&[&home]);
    setup.address = format!("127.0.0.1:{port}");
    setup.access_points.push(("\"*\"".to_owned(), "    regions: [ourselves]\n".to_owned()));
    setup.regions.push((
        "ourselves".to_owned(),
        format!(
            "    endpoint: http://127.0.0.1:{port}\n    signing_region: {}\n    addressing: path\n    profile: minio\n    credentials: {{access_key_id: NPAPP, secret_access_key: client-secret-of-app}}\n",
            setup.logical_region
        ),
    ));
    setup.tenants = vec![Tenant::with_statements("app", &allow("s3:*", &["*"]))];
    let gateway = setup.start();
    let (client, get) = (gateway.client(), Request::get("/any/k"));
    let reply = tokio::time::timeout(Duration::from_secs(5), client.send(&get));
    let reply = reply.await.expect("no endless loop");
    assert!(reply.status >= 400, "{}", reply.text());
    let looped = gateway.access_lines();
    assert!(looped.len() <= 6, "{looped:#?}");
    let line =
        gateway.wait_for_line(|line| line.contains("leads back to this process").then(|| line.to_owned()));
    assert!(line.contains("InvalidRequest"), "{line}");
}
