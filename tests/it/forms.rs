//! Browser uploads: forms that browsers send, signed by the `aws-sigv4` crate's key derivation.

use std::time::SystemTime;

use aws_sigv4::sign::v4;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::house::client::{Client, Reply, Request, Signed};
use crate::house::digest::{self, Algorithm};
use crate::house::gateway::{Gateway, Setup, Tenant, allow};
use crate::house::region::{Act, PATIENCE, Region, When};
use crate::house::{moment, text};

const BUCKET: &str = "photos-home";
const BOUNDARY: &str = "----WebKitFormBoundaryAbCdEf0123456789";

#[track_caller]
fn refused(reply: &Reply, status: u16, code: &str) {
    assert_eq!((reply.status, reply.code().as_deref()), (status, Some(code)), "{}", reply.text());
}

fn home() -> Region {
    Region::start("home", &[BUCKET])
}

/// A form in the making.
#[derive(Clone)]
pub struct Form {
    pub path: String,
    fields: Vec<(String, String)>,
    /// Conditions that are not of one field each.
    conditions: Vec<String>,
    expires_in: i64,
    file_name: String,
    file: Vec<u8>,
    /// Bytes of a delimiter's length or not: what follows the file.
    behind: String,
}

impl Form {
    pub fn new(key: &str, file: impl Into<Vec<u8>>) -> Self {
        let form = Self {
            path: "/photos".to_owned(),
            fields: Vec::new(),
            conditions: Vec::new(),
            expires_in: 60,
            file_name: "a.txt".to_owned(),
            file: file.into(),
            behind: format!("\r\n--{BOUNDARY}--\r\n"),
        };
        form.with("key", key)
    }

    pub fn with(mut self, name: &str, value: &str) -> Self {
        self.fields.push((name.to_owned(), value.to_owned()));
        self
    }

    fn limited(mut self, condition: &str) -> Self {
        self.conditions.push(condition.to_owned());
        self
    }

    fn expired(mut self) -> Self {
        self.expires_in = -1;
        self
    }

    /// A field that follows the file, as the button of a plain page does.
    fn with_button(mut self) -> Self {
        let button = "Content-Disposition: form-data; name=\"submit\"\r\n\r\nUpload";
        self.behind = format!("\r\n--{BOUNDARY}\r\n{button}\r\n--{BOUNDARY}--\r\n");
        self
    }

    /// The same with the fields of a client's signature over a policy: every field as it is, and the
    /// conditions.
    pub fn signed_by(mut self, client: &Client) -> Self {
        let now = client.now();
        let (date, settings) = (moment::amz(now), &client.settings);
        let day = &date[..8];
        let scope = format!("{day}/{}/s3/aws4_request", settings.signing_region);
        self = self
            .with("x-amz-algorithm", "AWS4-HMAC-SHA256")
            .with("X-Amz-Credential", &format!("{}/{scope}", settings.access_key_id))
            .with("x-amz-date", &date);
        if let Some(token) = &settings.session_token {
            self = self.with("x-amz-security-token", token);
        }
        let own = self.fields.iter().filter(|(name, _)| name != "key");
        let mut conditions: Vec<String> =
            own.map(|(name, value)| serde_json::json!({name.as_str(): value}).to_string()).collect();
        conditions.extend(self.conditions.iter().cloned());
        conditions.push(r#"["starts-with", "$key", "in/"]"#.to_owned());
        conditions.push(format!(r#"{{"bucket": "{}"}}"#, self.path.trim_matches('/')));
        let expires = moment::iso(moment::shifted(now, self.expires_in));
        let policy = format!(r#"{{"expiration": "{expires}", "conditions": [{}]}}"#, conditions.join(", "));
        let policy = STANDARD.encode(policy);
        let signature = signature(client, now, &policy);
        self.with("policy", &policy).with("x-amz-signature", &signature)
    }

    /// Changes a field after it was signed.
    fn tamper(mut self, name: &str, value: &str) -> Self {
        self.fields.retain(|(have, _)| have != name);
        self.with(name, value)
    }

    fn body(&self) -> Vec<u8> {
        let mut body = Vec::new();
        for (name, value) in &self.fields {
            let head = format!("Content-Disposition: form-data; name=\"{name}\"");
            body.extend_from_slice(format!("--{BOUNDARY}\r\n{head}\r\n\r\n{value}\r\n").as_bytes());
        }
        let head = format!("Content-Disposition: form-data; name=\"file\"; filename=\"{}\"", self.file_name);
        body.extend_from_slice(
            format!("--{BOUNDARY}\r\n{head}\r\nContent-Type: image/png\r\n\r\n").as_bytes(),
        );
        body.extend_from_slice(&self.file);
        body.extend_from_slice(self.behind.as_bytes());
        body
    }

    pub fn request(&self, client: &Client) -> Signed {
        let request = Request::post(&self.path, self.body());
        let content_type = format!("multipart/form-data; boundary={BOUNDARY}");
        client.unsigned(&request.with("content-type", &content_type))
    }

    async fn send(&self, client: &Client) -> Reply {
        client.send_signed(&self.request(client)).await
    }
}

fn signature(client: &Client, time: SystemTime, policy: &str) -> String {
    let settings = &client.settings;
    let key = v4::generate_signing_key(&settings.secret, time, &settings.signing_region, "s3");
    v4::calculate_signature(key, policy.as_bytes())
}

fn file(length: usize) -> Vec<u8> {
    (0..length).map(|at| u8::try_from((at * 7 + at / 251) % 256).unwrap()).collect()
}

#[tokio::test]
async fn a_form_is_stored_as_the_put_that_it_stands_for() {
    let home = home();
    let gateway = Setup::over(&[&home]).start();
    let client = gateway.client();
    let content = file(70_000);
    let tagging = "<Tagging><TagSet><Tag><Key>a b</Key><Value>1</Value></Tag></TagSet></Tagging>";
    let form = Form::new("in/\u{e9} ${filename}", content.clone())
        .with("Content-Type", "image/jpeg")
        .with("Cache-Control", "max-age=60")
        .with("acl", "public-read")
        .with("tagging", tagging)
        .with("x-amz-meta-uuid", "14365123651274")
        .with("x-amz-server-side-encryption", "AES256")
        .with("x-amz-storage-class", "GLACIER")
        .with("x-amz-checksum-sha256", &Algorithm::Sha256.base64(&content))
        .with("x-ignore-note", "nothing")
        .with_button();
    let reply = form.signed_by(&client).send(&client).await;
    assert_eq!((reply.status, reply.text().as_str()), (204, ""));
    let location = format!("http://{}/photos/in%2F%C3%A9%20a.txt", client.host);
    assert_eq!(reply.header("location"), Some(location.as_str()));
    let object = home.object(BUCKET, "in/\u{e9} a.txt").expect("it is stored");
    assert_eq!(object.body, content);
    assert_eq!(reply.header("etag"), Some(format!("\"{}\"", hex::encode(digest::md5(&content))).as_str()));

    let seen = &home.seen()[0];
    assert_eq!((seen.method.as_str(), seen.target.as_str()), ("PUT", "/photos-home/in/%C3%A9%20a.txt"));
    for (name, value) in [
        ("content-type", "image/jpeg"),
        ("x-amz-acl", "public-read"),
        ("x-amz-tagging", "a%20b=1"),
        ("x-amz-meta-uuid", "14365123651274"),
        ("x-amz-server-side-encryption", "AES256"),
        ("x-amz-storage-class", "GLACIER"),
    ] {
        assert_eq!((seen.header(name), seen.signed(name)), (Some(value), true), "{name}");
    }
    assert_eq!(seen.header("cache-control"), Some("max-age=60"));
    assert_eq!(seen.header("content-length"), Some("70000"));
    for absent in ["policy", "x-amz-signature", "x-amz-credential", "x-amz-algorithm", "x-ignore-note"] {
        assert_eq!(seen.header(absent), None, "{absent}");
    }
}

#[tokio::test]
async fn success_is_told_as_the_form_asks() {
    let home = home();
    let gateway = Setup::over(&[&home]).start();
    let client = gateway.client();
    let etag = format!("\"{}\"", hex::encode(digest::md5(b"x")));
    for status in ["200", "201", "204"] {
        let form = Form::new("in/a b", "x").with("success_action_status", status);
        let reply = form.signed_by(&client).send(&client).await;
        assert_eq!(reply.status.to_string(), status, "{}", reply.text());
        let document = reply.text();
        assert_eq!(document.is_empty(), status != "201", "{document}");
        if status == "201" {
            let told = ["Bucket", "Key", "ETag"].map(|name| text::element(&document, name).unwrap());
            assert_eq!(told.map(|text| text.replace("&quot;", "\"")), ["photos", "in/a b", etag.as_str()]);
            assert_eq!(reply.header("content-type"), Some("application/xml"));
        }
    }
    let page = "https://app.example.com/done?page=1";
    let form = Form::new("in/a b", "x").with("success_action_redirect", page);
    let reply = form.signed_by(&client).send(&client).await.expect(303);
    let named = "bucket=photos&key=in%2Fa%20b&etag=%22";
    assert!(reply.header("location").unwrap().starts_with(&format!("{page}&{named}")), "{:?}", reply.headers);
}

#[tokio::test]
#[expect(clippy::too_many_lines, reason = "a table")]
async fn what_the_policy_does_not_allow_is_refused_and_reaches_no_region() {
    let home = home();
    let setup = Setup::over(&[&home]).access_point("vault", &[&home], 0, "allow", "refuse");
    let gateway = Setup { tenants: vec![Tenant::of("app", &["photos", "vault"])], ..setup }.start();
    let client = gateway.client();
    let signed = |form: Form| form.signed_by(&client);
    let plain = || Form::new("in/a", "12345");
    let elsewhere = |mut form: Form| {
        form.path = "/vault".to_owned();
        form
    };
    let range = r#"["content-length-range", 2, 4]"#;
    let policy = |name: &str| Form::new("in/a", "12345").tamper("policy", name).tamper("key", "in/a");
    for (name, form, status, code, words) in [
        (
            "another key",
            signed(plain()).tamper("key", "out/a"),
            403,
            "AccessDenied",
            "Policy Condition failed",
        ),
        ("another bucket", elsewhere(signed(plain())), 403, "AccessDenied", "Policy Condition failed"),
        (
            "one more field",
            signed(plain()).with("acl", "public-read"),
            403,
            "AccessDenied",
            "Extra input fields: acl",
        ),
        (
            "another value",
            signed(plain().with("acl", "private")).tamper("acl", "public-read"),
            403,
            "AccessDenied",
            "Policy Condition failed",
        ),
        ("too late", signed(plain().expired()), 403, "AccessDenied", "Policy expired"),
        ("too large", signed(plain().limited(range)), 400, "EntityTooLarge", "maximum"),
        ("too small", signed(Form::new("in/a", "1").limited(range)), 400, "EntityTooSmall", "minimum"),
        ("no condition", signed(plain().limited("{}")), 400, "InvalidPolicyDocument", "Invalid Policy"),
        ("no signature", signed(plain()).tamper("x-amz-signature", ""), 403, "SignatureDoesNotMatch", ""),
        ("another policy", signed(plain()).tamper("policy", "e30="), 403, "SignatureDoesNotMatch", ""),
        ("a policy alone", policy("e30="), 400, "InvalidArgument", "x-amz-algorithm"),
        (
            "no policy",
            {
                let mut form = signed(plain());
                form.fields.retain(|(name, _)| name != "policy");
                form
            },
            400,
            "InvalidArgument",
            "'policy'",
        ),
        (
            "no key",
            {
                let mut form = signed(plain());
                form.fields.retain(|(name, _)| name != "key");
                form
            },
            403,
            "AccessDenied",
            "Policy Condition failed",
        ),
        (
            "SigV2",
            plain().with("AWSAccessKeyId", "NPAPP").with("policy", "e30=").with("signature", "c2ln"),
            400,
            "InvalidRequest",
            "signature_version=\"s3v4\"",
        ),
        (
            "many fields",
            signed(plain().with("x-ignore-a", &"v".repeat(20_480))),
            400,
            "MaxPostPreDataLengthExceededError",
            "",
        ),
        ("internal", signed(plain().with("x-amz-replication-status", "REPLICA")), 403, "AccessDenied", ""),
        ("a copy", signed(plain().with("x-amz-copy-source", "/vault/k")), 400, "InvalidArgument", "copies"),
        (
            "a line end",
            signed(plain().with("x-amz-meta-a", "1\r\nx-amz-acl: public-read")),
            400,
            "InvalidArgument",
            "",
        ),
        (
            "a checksum",
            signed(plain().with("x-amz-checksum-sha512", &STANDARD.encode([0; 64]))),
            400,
            "BadDigest",
            "",
        ),
        ("anonymous", plain(), 403, "AccessDenied", ""),
    ] {
        let reply = form.send(&client).await;
        assert_eq!((reply.status, reply.code().as_deref()), (status, Some(code)), "{name}: {}", reply.text());
        assert!(reply.text().replace("&quot;", "\"").contains(words), "{name}: {}", reply.text());
    }
    let stranger = Client {
        settings: {
            let mut own = client.settings.clone();
            own.access_key_id = "NPNOBODY".into();
            own
        },
        ..client.clone()
    };
    refused(&plain().signed_by(&stranger).send(&client).await, 403, "InvalidAccessKeyId");
    let elsewhere = Client {
        settings: {
            let mut own = client.settings.clone();
            own.signing_region = "elsewhere-1".into();
            own
        },
        ..client.clone()
    };
    let reply = plain().signed_by(&elsewhere).send(&client).await;
    refused(&reply, 400, "AuthorizationQueryParametersError");
    assert_eq!(text::element(&reply.text(), "Region").as_deref(), Some("anywhere-1"));
    assert!(home.seen().is_empty(), "{:?}", home.seen());
    // and what is allowed is stored
    signed(Form::new("in/a", "123").limited(range)).send(&client).await.expect(204);
}

#[tokio::test]
async fn forms_that_are_none_are_refused() {
    let home = home();
    let gateway = Setup::over(&[&home]).start();
    let client = gateway.client();
    let form = Form::new("in/a", "x").signed_by(&client);
    let request = form.request(&client);
    for (name, request, status, code) in [
        (
            "no form",
            request.clone().set("content-type", "application/xml"),
            400,
            "RequestIsNotMultiPartContent",
        ),
        (
            "no boundary",
            request.clone().set("content-type", "multipart/form-data"),
            400,
            "MalformedPOSTRequest",
        ),
        (
            "another boundary",
            request.clone().set("content-type", "multipart/form-data; boundary=x"),
            400,
            "MalformedPOSTRequest",
        ),
        (
            "two credentials",
            request.clone().add("authorization", "AWS4-HMAC-SHA256 Credential=x"),
            400,
            "InvalidArgument",
        ),
        (
            "no length",
            request
                .clone()
                .without("content-length")
                .add("transfer-encoding", "chunked")
                .edit_body(|body| crate::house::client::http_chunked(&body, 100)),
            411,
            "MissingContentLength",
        ),
        (
            "no end",
            {
                let mut cut = form.clone();
                cut.behind = String::new();
                cut.request(&client)
            },
            400,
            "MalformedPOSTRequest",
        ),
        (
            "no file",
            {
                let body = format!(
                    "--{BOUNDARY}\r\nContent-Disposition: form-data; name=\"key\"\r\n\r\nk\r\n--{BOUNDARY}--\r\n"
                );
                let length = body.len().to_string();
                request.clone().set("content-length", &length).edit_body(|_| body.into_bytes())
            },
            400,
            "InvalidArgument",
        ),
        ("larger than any", request.clone().set("content-length", "5368709121"), 400, "EntityTooLarge"),
    ] {
        let reply = client.send_signed(&request).await;
        assert_eq!((reply.status, reply.code().as_deref()), (status, Some(code)), "{name}: {}", reply.text());
    }
    // a client that goes away within its file
    let mut connection = client.connect().await;
    let bytes = form.request(&client).bytes();
    tokio::io::AsyncWriteExt::write_all(&mut connection.stream, &bytes[..bytes.len() - 60]).await.unwrap();
    drop(connection);
    form.send(&client).await.expect(204);
    assert_eq!(home.seen().len(), 1, "the last one only");
}

#[tokio::test]
async fn a_long_file_is_sent_on_as_it_comes() {
    let home = home();
    let gateway = Setup::over(&[&home]).start();
    let client = gateway.client();
    let content = file(3 << 20);
    let range = |max: usize| format!(r#"["content-length-range", 0, {max}]"#);
    let form = Form::new("in/long", content.clone()).limited(&range(3 << 20)).signed_by(&client);
    form.send(&client).await.expect(204);
    assert_eq!(home.object(BUCKET, "in/long").unwrap().body, content);
    home.forget();
    // a byte more than the policy allows: refused before a region hears of it
    let form = Form::new("in/more", content.clone()).limited(&range((3 << 20) - 1)).signed_by(&client);
    refused(&form.send(&client).await, 400, "EntityTooLarge");
    assert!(home.seen().is_empty());
    // checksums are judged before its end leaves
    let wrong = STANDARD.encode([0; 64]);
    let form = Form::new("in/wrong", content).with("x-amz-checksum-sha512", &wrong).signed_by(&client);
    refused(&form.send(&client).await, 400, "BadDigest");
    assert_eq!(home.keys(BUCKET), ["in/long"]);
}

#[tokio::test]
async fn what_follows_a_long_file_is_never_taken_for_it() {
    let home = home();
    let gateway = Setup::over(&[&home]).start();
    let client = gateway.client();
    let content = file((1 << 20) + 100_000);
    let mut endings = vec![Form::new("in/long", content.clone()).signed_by(&client).with_button()];
    for end in ["--", "--\r\n\r\n", "--\r\nepilogue"] {
        let mut form = Form::new("in/long", content.clone()).signed_by(&client);
        form.behind = format!("\r\n--{BOUNDARY}{end}");
        endings.push(form);
    }
    for form in endings {
        let reply = form.send(&client).await;
        refused(&reply, 400, "MalformedPOSTRequest");
        assert!(reply.text().contains("limits.replay_body"), "{}", reply.text());
        assert!(home.keys(BUCKET).is_empty());
        // now it is known how this client ends its forms
        form.send(&client).await.expect(204);
        assert_eq!(home.object(BUCKET, "in/long").unwrap().body, content);
        client.send(&Request::delete("/photos/in/long")).await.expect(204);
    }
    // of a short file it is ignored, as S3 does
    let form = Form::new("in/short", file(500_000)).signed_by(&client).with_button();
    form.send(&client).await.expect(204);
    assert_eq!(home.object(BUCKET, "in/short").unwrap().body, file(500_000));
}

#[tokio::test]
async fn a_short_file_moves_on_where_writes_may() {
    let home = home();
    let away = Region::start("away", &["photos-away"]);
    let mut setup = Setup::over(&[&home, &away]);
    setup.edit_access_point("photos", "failover: refuse", "failover: allow");
    setup.probe_rarely();
    let gateway = setup.start();
    let client = gateway.client();
    home.fault(When::operation("PutObject"), Act::Answer { status: 503, code: "ServiceUnavailable" });
    let form = Form::new("in/a", file(300_000)).signed_by(&client);
    form.send(&client).await.expect(204);
    assert_eq!(away.object("photos-away", "in/a").unwrap().body, file(300_000));
}

#[tokio::test]
async fn forms_are_granted_as_puts() {
    let home = home();
    let statements = allow("s3:PutObject", &["photos"]);
    let gateway =
        Setup { tenants: vec![Tenant::with_statements("app", &statements)], ..Setup::over(&[&home]) }.start();
    let client = gateway.client();
    Form::new("in/a", "x").signed_by(&client).send(&client).await.expect(204);
    let with_acl = Form::new("in/a", "x").with("acl", "public-read").signed_by(&client);
    refused(&with_acl.send(&client).await, 403, "AccessDenied");
    let reader = Tenant::with_statements("reader", &allow("s3:GetObject", &["photos"]));
    let gateway = Setup { tenants: vec![reader], ..Setup::over(&[&home]) }.start();
    let client = gateway.client();
    refused(&Form::new("in/a", "x").signed_by(&client).send(&client).await, 403, "AccessDenied");
    assert_eq!(home.seen().len(), 1);
}

#[tokio::test]
async fn a_token_is_a_field_like_any_other() {
    let home = home();
    let mut tenant = Tenant::of("app", &["photos"]);
    tenant.session_token = Some("the-token".to_owned());
    let gateway = Setup { tenants: vec![tenant], ..Setup::over(&[&home]) }.start();
    let client = gateway.client();
    Form::new("in/a", "x").signed_by(&client).send(&client).await.expect(204);
    let other = client.clone().with_token("another");
    refused(&Form::new("in/a", "x").signed_by(&other).send(&client).await, 400, "InvalidToken");
}

#[tokio::test]
async fn a_page_of_another_site_sees_what_the_store_lets_pages_see_that_post() {
    let home = home();
    let gateway = Setup::over(&[&home]).start();
    let client = gateway.client();
    let form = Form::new("in/a", "x").signed_by(&client);
    let page = form.request(&client).add("origin", "https://app.example.com");
    let reply = client.send_signed(&page).await.expect(204);
    assert_eq!(reply.header("access-control-allow-origin"), Some("*"));
    let seen = home.seen();
    let operations: Vec<&str> = seen.iter().map(|seen| seen.operation).collect();
    assert_eq!(operations, ["Preflight", "PutObject"]);
    assert_eq!(seen[0].header("access-control-request-method"), Some("POST"));
    assert_eq!((seen[0].header("origin"), seen[1].header("origin")), (Some("https://app.example.com"), None));
    home.forget();
    let reply = form.send(&client).await.expect(204);
    assert_eq!((reply.header("access-control-allow-origin"), home.seen().len()), (None, 1));
}

fn wildcard(home: &Region, listener: &str) -> Gateway {
    let mut tenant = Tenant::of("app", &[]);
    tenant.policy = None;
    tenant.lines.push_str("    region_credentials: same\n");
    let mut setup = Setup::over(&[home]);
    setup.access_points = vec![("\"*\"".to_owned(), "    regions: [home]\n".to_owned())];
    setup.tenants = vec![tenant];
    setup.listener.push_str(listener);
    for (_, lines) in &mut setup.regions {
        lines.push_str("    probe: {interval: 60s}\n");
    }
    setup.start()
}

#[tokio::test]
async fn under_the_wildcard_the_store_judges_forms_signed_and_anonymous() {
    let home = home();
    let gateway = wildcard(&home, "      anonymous: forward\n");
    let client = gateway.client();
    let own = client.settings.clone();
    home.change_settings(|settings| {
        settings.access_key_id = own.access_key_id.clone();
        settings.secret = own.secret.clone();
    });
    let at = |mut form: Form| {
        form.path = format!("/{BUCKET}");
        form
    };
    let reply = at(Form::new("in/a", "x").with("success_action_status", "201"))
        .signed_by(&client)
        .send(&client)
        .await;
    assert_eq!(reply.status, 201, "{}", reply.text());
    assert_eq!(text::element(&reply.text(), "Bucket").as_deref(), Some(BUCKET));
    // under the wildcard alone probes are requests like others
    let put = || home.seen().into_iter().rfind(|seen| seen.method == "PUT").unwrap();
    assert!(put().header("authorization").unwrap().contains(&own.access_key_id));
    refused(&at(Form::new("in/b", "x")).send(&client).await, 403, "AccessDenied");
    home.change_settings(|settings| settings.anonymous = &["PUT"]);
    at(Form::new("in/b", "x").with("anything", "goes")).send(&client).await.expect(204);
    assert_eq!(put().header("authorization"), None);
    at(Form::new("in/c", file(2 << 20))).send(&client).await.expect(204);
    assert_eq!(home.object(BUCKET, "in/c").unwrap().body, file(2 << 20));
}

#[tokio::test]
async fn where_nothing_is_verified_policies_still_hold() {
    let home = home();
    let mut setup = Setup::over(&[&home]);
    setup.listener = "      verify: \"off\"\n".to_owned();
    let gateway = setup.start();
    let mut client = gateway.client();
    Form::new("in/a", "x").send(&client).await.expect(204);
    client.settings.access_key_id = "NPUNKNOWN".to_owned();
    Form::new("in/b", "x").signed_by(&client).send(&client).await.expect(204);
    let form = Form::new("in/c", "xx").limited(r#"["content-length-range", 0, 1]"#).signed_by(&client);
    refused(&form.send(&client).await, 400, "EntityTooLarge");
    refused(&Form::new("in/c", "x").expired().signed_by(&client).send(&client).await, 403, "AccessDenied");
    let page = Form::new("in/c", "x").request(&client).add("origin", "https://evil.example");
    refused(&client.send_signed(&page).await, 403, "AccessDenied");
    assert_eq!(home.keys(BUCKET), ["in/a", "in/b"]);
}

#[tokio::test]
async fn a_client_that_sends_no_fields_is_not_waited_for() {
    let home = home();
    let mut setup = Setup::over(&[&home]);
    setup.rest = "timeouts: {body_progress: 1s}\n".to_owned();
    let gateway = setup.start();
    let client = gateway.client();
    let signed = Form::new("in/a", "x").signed_by(&client).request(&client);
    let mut connection = client.connect().await;
    let bytes = [signed.head_bytes(), b"--".to_vec()].concat();
    let reply = tokio::time::timeout(PATIENCE, connection.exchange(&bytes, "POST"));
    refused(&reply.await.expect("in time").expect("a reply"), 400, "RequestTimeout");
}
