//! Secrets stay secret: every one that the gateway is told or makes is planted with a text of its
//! own, every form of credential is used rightly and wrongly at the most talkative log level, and
//! then nothing that the gateway wrote or answered may contain any of them.

use crate::house::client::{Client, Framing, Payload, Reply, Request, Signed};
use crate::house::digest::Algorithm;
use crate::house::gateway::{Gateway, Setup, Tenant};
use crate::house::region::{Act, Region, Seen, Settings, When};
use crate::house::text;

const BUCKET: &str = "photos-home";

const CLIENT_SECRET: &str = "canary-client-secret-6f1d";
const TENANT_SECRET: &str = "canary-tenant-secret-0b7e";
const SESSION_TOKEN: &str = "canary-session-token-c2a9";
const OTHER_TOKEN: &str = "canary-other-token-91d3";
const REGION_SECRET: &str = "canary-region-secret-5e44";
const REGION_TOKEN: &str = "canary-region-token-d8f0";
const ADMIN_TOKEN: &str = "canary-admin-token-3ac6";
const WRONG_ADMIN_TOKEN: &str = "canary-wrong-admin-77b1";
const TOKEN_KEY: &str = "canary-token-key-0123456789-e5";
const MISSPELT_SECRET: &str = "canary-misspelt-secret-2f90";
/// 32 bytes, and not those of anything else.
const CUSTOMER_KEY: &str = "Y2FuYXJ5LWN1c3RvbWVyLWtleS0wMTIzNDU2Nzg5YWI=";
const CUSTOMER_KEY_MD5: &str = "Y2FuYXJ5LW1kNS0xMjM0NQ==";
const ONE_TIME_CODE: &str = "canary-one-time-code-649207";
const S3_SESSION_TOKEN: &str = "canary-s3-session-token-8d12";

/// What must not be found, with what it is.
#[derive(Default)]
struct Canaries(Vec<(String, String)>);

impl Canaries {
    fn planted() -> Self {
        let planted = [
            ("the client's secret", CLIENT_SECRET),
            ("the tenant's secret", TENANT_SECRET),
            ("the tenant's session token", SESSION_TOKEN),
            ("another session token", OTHER_TOKEN),
            ("the region's secret", REGION_SECRET),
            ("the region's session token", REGION_TOKEN),
            ("the admin token", ADMIN_TOKEN),
            ("a wrong admin token", WRONG_ADMIN_TOKEN),
            ("the key of tokens", TOKEN_KEY),
            ("a secret under a misspelt key", MISSPELT_SECRET),
            ("a customer's encryption key", CUSTOMER_KEY),
            ("its MD5", CUSTOMER_KEY_MD5),
            ("a version 2 signature", "canaryv2sig"),
            ("a one-time code", ONE_TIME_CODE),
            ("the token of a session with S3", S3_SESSION_TOKEN),
        ];
        Self(planted.map(|(what, text)| (what.to_owned(), text.to_owned())).into())
    }

    /// Every signature in a text: in `Authorization`, in a query, in front of a chunk.
    fn note(&mut self, what: &str, text: &str) {
        for mark in ["Signature=", "chunk-signature=", "x-amz-trailer-signature:"] {
            for (at, _) in text.match_indices(mark) {
                let rest = &text[at + mark.len()..];
                let signature: String = rest.chars().take_while(char::is_ascii_hexdigit).collect();
                if signature.len() >= 32 {
                    self.0.push((format!("a signature of {what}"), signature));
                }
            }
        }
    }

    fn note_signed(&mut self, what: &str, signed: &Signed) {
        self.note(what, &String::from_utf8_lossy(&signed.bytes()));
    }

    fn note_seen(&mut self, seen: &[Seen]) {
        for seen in seen {
            for (_, value) in &seen.headers {
                self.note("a request to the region", value);
            }
            let body = String::from_utf8_lossy(seen.body.as_deref().unwrap_or_default()).into_owned();
            self.note("a body to the region", &body);
        }
    }

    /// What is found of them.
    fn found(&self, place: &str, text: &str) -> Vec<String> {
        let within = self.0.iter().filter(|(_, canary)| text.contains(canary.as_str()));
        within.map(|(what, _)| format!("{what} in {place}")).collect()
    }
}

fn home() -> Region {
    let mut settings = Settings::new("home", &[BUCKET]);
    REGION_SECRET.clone_into(&mut settings.secret);
    settings.session_token = Some(REGION_TOKEN.to_owned());
    let home = Region::start_with(settings);
    home.seed(BUCKET, "k", "value");
    home
}

fn setup(home: &Region) -> Setup {
    let mut setup = Setup::over(&[home]);
    for (_, lines) in &mut setup.regions {
        let (from, to) =
            (format!("{REGION_SECRET}}}"), format!("{REGION_SECRET}, session_token: {REGION_TOKEN}}}"));
        assert!(lines.contains(&from), "{lines}");
        *lines = lines.replace(&from, &to);
    }
    setup.probe_rarely();
    CLIENT_SECRET.clone_into(&mut setup.tenants[0].secret);
    let mut tenant = Tenant::of("tenant", &["photos"]);
    TENANT_SECRET.clone_into(&mut tenant.secret);
    tenant.session_token = Some(SESSION_TOKEN.to_owned());
    setup.tenants.push(tenant);
    setup.tokens = format!("{{keys: [{TOKEN_KEY}]}}");
    setup.admin = format!(", token: {ADMIN_TOKEN}");
    "      debug_headers: true\n".clone_into(&mut setup.listener);
    "telemetry: {log: trace}\n".clone_into(&mut setup.rest);
    setup
}

/// Requests with every form of credential, right and wrong.
fn requests(client: &Client, tenant: &Client) -> Vec<(&'static str, Signed)> {
    let get = || Request::get("/photos/k");
    let put = |payload| Request::put("/photos/new", "body of an upload").payload(payload);
    let customer = |request: Request| {
        request
            .with("x-amz-server-side-encryption-customer-algorithm", "AES256")
            .with("x-amz-server-side-encryption-customer-key", CUSTOMER_KEY)
            .with("x-amz-server-side-encryption-customer-key-md5", CUSTOMER_KEY_MD5)
    };
    let proven = |request: Request| {
        let device_and_code = format!("20899872 {ONE_TIME_CODE}");
        request.with("x-amz-mfa", &device_and_code).with("x-amz-s3session-token", S3_SESSION_TOKEN)
    };
    let forger = |client: &Client| {
        let mut forger = client.clone();
        "not-the-secret".clone_into(&mut forger.settings.secret);
        forger
    };
    let presigned = |client: &Client, expires, skew| {
        let target = client.clone().skewed(skew).presign(&get(), expires);
        client.unsigned(&get()).aim(&target)
    };
    let presigned_code = |client: &Client| {
        let target =
            format!("/photos/k?x-amz-mfa=2%20{ONE_TIME_CODE}&x-amz-s3session-token={S3_SESSION_TOKEN}");
        client.unsigned(&get()).aim(&client.presign(&Request::get(&target), 60))
    };
    let sig_v2 = client.unsigned(&get()).add("authorization", "AWS NPAPP:canaryv2sig=");
    let mut all = vec![
        ("a signed head", client.sign(&get())),
        ("a signed head with a session token", tenant.sign(&get())),
        ("a forged head", forger(client).sign(&get())),
        ("a forged head with a token", forger(tenant).sign(&get())),
        ("another session token", tenant.clone().with_token(OTHER_TOKEN).sign(&get())),
        ("a token where none is due", client.clone().with_token(OTHER_TOKEN).sign(&get())),
        ("an old head", client.clone().skewed(-3600).sign(&get())),
        ("a presigned query", presigned(client, 60, 0)),
        ("a presigned query with a token", presigned(tenant, 60, 0)),
        ("an expired query", presigned(client, 60, -3600)),
        ("a forged query", presigned(&forger(client), 60, 0)),
        ("a head and a query", client.sign(&get()).aim(&client.presign(&get(), 60))),
        (
            "a query without its path",
            client.unsigned(&get()).aim(&format!("/photos/%zz{}", &client.presign(&get(), 60)[9..])),
        ),
        ("signature version 2", sig_v2),
        ("no credential", client.unsigned(&get())),
        ("a customer's key", client.sign(&customer(Request::put("/photos/sealed", "sealed")))),
        ("a customer's key to read", client.sign(&customer(get()))),
        ("a customer's key, forged", forger(client).sign(&customer(get()))),
        ("a one-time code", client.sign(&proven(get()))),
        ("a one-time code, forged", forger(client).sign(&proven(get()))),
        ("a one-time code in a query", presigned_code(client)),
        ("a one-time code in a query, forged", presigned_code(&forger(client))),
        ("a customer's key in a query", client.unsigned(&get()).aim(&client.presign(&customer(get()), 60))),
    ];
    let payloads = [
        ("hashed", Payload::Hex),
        ("unhashed", Payload::Unsigned),
        ("signed chunks", Payload::SignedChunks(8192)),
        ("signed chunks and trailer", Payload::SignedChunksTrailer(8192, Algorithm::Crc32)),
        ("an unsigned trailer", Payload::UnsignedTrailer(8192, Algorithm::Crc32, Framing::Chunked)),
    ];
    for (what, payload) in payloads {
        all.push((what, client.sign(&put(payload))));
        all.push((what, forger(client).sign(&put(payload))));
        let spoil =
            |body: Vec<u8>| body.iter().map(|byte| if *byte == b'y' { b'z' } else { *byte }).collect();
        all.push((what, client.sign(&put(payload)).edit_body(spoil)));
    }
    all
}

/// All of an answer but the signature that S3 shows to whom it refuses: the sender's own, and wrong.
fn told(reply: &Reply) -> String {
    let mut text = reply.text();
    if let Some(provided) = text::element(&text, "SignatureProvided") {
        assert_eq!(reply.code().as_deref(), Some("SignatureDoesNotMatch"));
        text = text.replacen(&provided, "", 1);
    }
    format!("{:?}\n{text}", reply.headers)
}

async fn ask_admin(gateway: &Gateway, path: &str, token: &str) -> Reply {
    let client = Client { address: gateway.admin, host: gateway.admin.to_string(), ..gateway.client() };
    let asked = client.unsigned(&Request::get(path)).add("authorization", &format!("Bearer {token}"));
    client.send_signed(&asked).await
}

#[tokio::test]
async fn no_secret_is_ever_told() {
    let home = home();
    let setup = setup(&home);
    let gateway = setup.start();
    let (client, tenant) = (gateway.client(), gateway.client_of(1));
    let mut canaries = Canaries::planted();
    let mut found = Vec::new();
    let mut statuses = Vec::new();
    for (what, signed) in requests(&client, &tenant) {
        canaries.note_signed(what, &signed);
        // with `expect`-less bodies an answer may come before the body is out
        let reply = client.send_signed(&signed).await;
        statuses.push(reply.status);
        found.extend(canaries.found(&format!("the answer to {what}"), &told(&reply)));
    }
    let count = |wanted: fn(&u16) -> bool| statuses.iter().filter(|status| wanted(status)).count();
    assert!(count(|status| *status == 200) >= 9 && count(|status| *status >= 400) >= 17, "{statuses:?}");
    // a region that dies within answers, refuses its credential, dies
    home.fault(When::key("k").times(1), Act::Silent);
    let get = Request::get("/photos/k");
    let gave_up = tokio::time::timeout(std::time::Duration::from_millis(50), client.send(&get)).await;
    drop(gave_up);
    home.change_settings(|settings| settings.secret = "changed".to_owned());
    client.send(&Request::get("/photos/k")).await;
    // a configuration whose secret stands under a misspelt key
    let mut misspelt = setup.clone();
    misspelt.tenants[0].lines = format!("    secret_acces_key: {MISSPELT_SECRET}\n");
    misspelt.regions[0].1.push_str(&format!("    credential: {{secret_access_key: [{MISSPELT_SECRET}]}}\n"));
    gateway.rewrite(&misspelt);
    gateway.signal("HUP");
    gateway.wait_for_event("the new configuration is refused; the old one stays in force");
    home.kill();
    let last = client.send(&Request::get("/photos/k")).await;
    gateway.access_line(last.header("x-amz-request-id").expect("a request id"));

    for path in ["/metrics", "/api/v1/status", "/readyz?verbose", "/livez"] {
        let reply = ask_admin(&gateway, path, ADMIN_TOKEN).await;
        found.extend(canaries.found(path, &told(&reply)));
        let reply = ask_admin(&gateway, path, WRONG_ADMIN_TOKEN).await;
        found.extend(canaries.found(&format!("the refusal of {path}"), &told(&reply)));
    }
    assert_eq!(ask_admin(&gateway, "/metrics", ADMIN_TOKEN).await.status, 200);
    assert_eq!(ask_admin(&gateway, "/metrics", WRONG_ADMIN_TOKEN).await.status, 401);
    gateway.signal("TERM");
    gateway.wait_for_end().await;
    canaries.note_seen(&home.seen_with_probes());
    let written = gateway.written();
    for line in &written {
        found.extend(
            canaries.found("a line that it wrote", line).iter().map(|what| format!("{what}: {line}")),
        );
    }
    assert!(found.is_empty(), "{}", found.join("\n"));
    // the search finds what is there: levels, names, and signatures of all three kinds
    assert!(
        written.iter().any(|line| line.contains("\"TRACE\"") || line.contains("\"DEBUG\"")),
        "not talkative"
    );
    assert!(written.iter().any(|line| line.contains("/photos/sealed")));
    let kinds = [
        "a signature of a presigned query",
        "a signature of signed chunks",
        "a signature of a request to the region",
    ];
    for kind in kinds {
        assert!(canaries.0.iter().any(|(what, _)| what == kind), "{kind} was not planted");
    }
}
