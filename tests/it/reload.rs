//! Reloads: a new configuration is swapped in whole without a request lost, or refused whole.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use crate::house::client::{Client, Connection, Reply, Request, Signed};
use crate::house::gateway::{Gateway, Setup, Tenant, logged};
use crate::house::region::{Act, End, PATIENCE, Region, When};
use crate::house::text;
use crate::house::tls::{self, Authority, Front};

const BUCKET: &str = "photos-home";
const TAKEN: &str = "the new configuration is in force";

fn home() -> Region {
    let region = Region::start("home", &[BUCKET, "vault-home"]);
    region.seed(BUCKET, "k", "x");
    region.seed("vault-home", "k", "y");
    region
}

#[track_caller]
fn refused(reply: &Reply, status: u16, code: &str) {
    assert_eq!((reply.status, reply.code().as_deref()), (status, Some(code)), "{}", reply.text());
}

/// How many lines so far say so.
fn count(gateway: &Gateway, message: &str) -> usize {
    gateway.written().iter().filter(|line| logged(line, message).is_some()).count()
}

/// Waits until the message was written so many times.
async fn wait_for_count(gateway: &Gateway, message: &str, wanted: usize) {
    let patience = tokio::time::timeout(PATIENCE, async {
        while count(gateway, message) < wanted {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    });
    patience
        .await
        .unwrap_or_else(|_| panic!("not {wanted} times {message}:\n{}", gateway.written().join("\n")));
}

/// Puts another configuration in force by SIGHUP.
async fn reload(gateway: &Gateway, setup: &Setup) {
    let before = count(gateway, TAKEN);
    gateway.rewrite(setup);
    gateway.signal("HUP");
    wait_for_count(gateway, TAKEN, before + 1).await;
}

/// Waits until a request is answered so; a new view reaches every worker within a moment.
async fn until(client: &Client, request: &Request, wanted: u16) -> Reply {
    let asked = async {
        loop {
            let reply = client.send(request).await;
            if reply.status == wanted {
                return reply;
            }
        }
    };
    tokio::time::timeout(PATIENCE, asked).await.unwrap_or_else(|_| panic!("never {wanted}"))
}

#[tokio::test]
async fn access_points_policies_and_limits_are_swapped_without_a_request_lost() {
    let home = home();
    let first = Setup::over(&[&home]);
    let gateway = first.start();
    let client = gateway.client();
    let (stop, done) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    let traffic: Vec<_> = (0..4)
        .map(|_| {
            let (client, stop, done) = (client.clone(), Arc::clone(&stop), Arc::clone(&done));
            tokio::spawn(async move {
                while !stop.load(Ordering::Relaxed) {
                    let mut connection = client.connect().await;
                    for _ in 0..5 {
                        let get = client.sign(&Request::get("/photos/k")).bytes();
                        let reply = connection.exchange(&get, "GET").await.expect("an answer");
                        assert_eq!((reply.status, reply.body.as_slice()), (200, &b"x"[..]));
                        done.fetch_add(1, Ordering::Relaxed);
                    }
                }
            })
        })
        .collect();
    let vault = Request::get("/vault/k");
    refused(&client.send(&vault).await, 404, "NoSuchBucket");
    let mut second = first.clone().access_point("vault", &[&home], 1, "allow", "allow");
    reload(&gateway, &second).await;
    // the policy names `photos` alone
    until(&client, &vault, 403).await;
    second.tenants = vec![Tenant::of("app", &["photos", "vault"])];
    reload(&gateway, &second).await;
    assert_eq!(until(&client, &vault, 200).await.body, b"y");
    let large = Request::get("/photos/k").with("x-other", &"a".repeat(9000));
    client.send(&large).await.expect(200);
    second.rest = "limits: {head: 8KiB}\n".to_owned();
    reload(&gateway, &second).await;
    until(&client, &large, 431).await;
    reload(&gateway, &first).await;
    until(&client, &vault, 404).await;
    until(&client, &large, 200).await;
    stop.store(true, Ordering::Relaxed);
    for one in traffic {
        one.await.expect("no request failed");
    }
    assert!(done.load(Ordering::Relaxed) > 20);
}

#[tokio::test]
async fn what_a_client_s_signatures_may_do_is_swapped_too() {
    let home = home();
    let plain = Setup::over(&[&home]);
    let gateway = plain.start();
    let client = gateway.client();
    let sent = client.sign(&Request::get("/photos/k").with("accept-encoding", "identity"));
    let rewritten = sent.set("accept-encoding", "gzip");
    let until_refused = async |request: &Signed, fits: &dyn Fn(&str) -> bool| {
        let asked = async { while !fits(&client.send_signed(request).await.text()) {} };
        tokio::time::timeout(PATIENCE, asked).await.expect("a refusal as wanted");
    };
    let told = |refusal: &str| text::element(refusal, "SignatureDiagnosis").is_some();
    until_refused(&rewritten, &|refusal| !told(refusal)).await;
    let mut telling = plain.clone();
    telling.tenants[0].lines.push_str("    diagnose_signatures: true\n");
    reload(&gateway, &telling).await;
    until_refused(&rewritten, &told).await;
    let how = gateway.wait_for_line(|line| {
        let said = logged(line, "configuration").filter(|said| said["what"] == "client `app`")?;
        Some(said["how"].clone())
    });
    assert_eq!(how, "changed");
    reload(&gateway, &plain).await;
    until_refused(&rewritten, &|refusal| !told(refusal)).await;
    let mut older = plain.clone();
    older.tenants[0].lines.push_str("    signature_v2: presigned_reads\n");
    reload(&gateway, &older).await;
    // refused as a forgery now, and not for its version
    let forged = Request::get("/photos/k?AWSAccessKeyId=NPAPP&Expires=4000000000&Signature=c2ln");
    until_refused(&client.unsigned(&forged), &|refusal| refusal.contains("SignatureDoesNotMatch")).await;
}

/// Answers that a store is to have marked until one without a mark is taken for a stranger's.
const KNOWN: usize = 100;

#[tokio::test]
async fn a_region_that_becomes_another_store_is_learnt_anew() {
    let (old, new) = (home(), home());
    new.seed(BUCKET, "k", "new");
    old.fault(When::everything(), Act::Say("x-amz-request-id", "1".to_owned()));
    let gateway = Setup::over(&[&old]).start();
    let (client, get) = (gateway.client(), Request::get("/photos/k"));
    for _ in 0..=KNOWN {
        client.send(&get).await.expect(200);
    }
    old.heal();
    // of what it was never seen to do nothing is expected
    client.send(&Request::delete("/photos/other")).await.expect(204);
    refused(&client.send(&get).await, 503, "ServiceUnavailable");
    reload(&gateway, &Setup::over(&[&new])).await;
    let reply = until(&client, &get, 200).await;
    assert_eq!(reply.body, b"new");
    client.send(&Request::put("/photos/k", "newer")).await.expect(200);
}

#[tokio::test]
async fn the_retry_budget_in_force_is_the_new_one() {
    let (home, far) = (home(), Region::start("far", &["photos-far", "vault-far"]));
    far.seed("photos-far", "k", "x");
    // by traffic alone, and by one poisonous key: the region stays in service
    home.fault(When::key("k"), Act::DropAtHead(End::Reset));
    let mut first = Setup::over(&[&home, &far]);
    first.edit_access_point("photos", "reads: {order: nearest", "reads: {order: [home, far]");
    first.probe_rarely();
    let gateway = first.start();
    gateway.wait_for_reads(&[("home", "healthy"), ("far", "healthy")]).await;
    let (client, get) = (gateway.client(), Request::get("/photos/k"));
    client.send(&get).await.expect(200);
    let mut second = first.clone();
    second.rest = "limits: {retry_share: 0%, retry_floor: 0/s}\n".to_owned();
    reload(&gateway, &second).await;
    refused(&until(&client, &get, 503).await, 503, "ServiceUnavailable");
    reload(&gateway, &first).await;
    until(&client, &get, 200).await;
}

#[tokio::test]
async fn a_changed_file_reloads_by_itself() {
    let home = home();
    let first = Setup::over(&[&home]);
    let gateway = first.start();
    let client = gateway.client();
    let second = first.clone().access_point("vault", &[&home], 1, "allow", "allow");
    gateway.rewrite(&second);
    gateway.wait_for_event(TAKEN);
    until(&client, &Request::get("/vault/k"), 403).await;
    // a policy in a file of its own, the configuration untouched
    let policy = Tenant::of("app", &["photos", "vault"]).policy.unwrap();
    std::fs::write(gateway.file().with_file_name("app.json"), policy).unwrap();
    until(&client, &Request::get("/vault/k"), 200).await;
    assert_eq!(count(&gateway, TAKEN), 2);
}

/// How often a configuration was refused so far.
async fn refusals(gateway: &Gateway) -> u64 {
    let (_, metrics) = gateway.admin_text("/metrics").await;
    let series = "nearpoint_config_reloads_total{result=\"refused\"}";
    let line = metrics.lines().find(|line| line.starts_with(series));
    line.map_or(0, |line| line.rsplit(' ').next().unwrap().parse().unwrap())
}

#[tokio::test]
async fn what_is_written_beside_the_configuration_reloads_nothing() {
    let home = home();
    let setup = Setup::over(&[&home]);
    let gateway = setup.start();
    let mut bad = setup.clone();
    bad.rest = "limits: {in_flght: 5}\n".to_owned();
    gateway.rewrite(&bad);
    gateway.wait_for_event("the new configuration is refused; the old one stays in force");
    // until the reload has settled, whatever comes is its own doing
    tokio::time::sleep(Duration::from_millis(600)).await;
    let before = refusals(&gateway).await;
    for line in 0..4 {
        std::fs::write(gateway.file().with_file_name("access.log"), format!("line {line}\n")).unwrap();
        tokio::time::sleep(Duration::from_millis(300)).await;
    }
    assert_eq!(refusals(&gateway).await, before, "read again for a log line");
    // the same fault again is counted, and not told again unless somebody asks
    gateway.rewrite(&bad);
    let counted = async { while refusals(&gateway).await == before {} };
    tokio::time::timeout(PATIENCE, counted).await.expect("read again");
    let refusal = "the new configuration is refused; the old one stays in force";
    assert_eq!(count(&gateway, refusal), 1);
    gateway.signal("HUP");
    wait_for_count(&gateway, refusal, 2).await;
}

#[tokio::test]
async fn a_mounted_config_map_is_followed_through_its_links() {
    use std::os::unix::fs::symlink;
    let home = home();
    let mut setup = Setup::over(&[&home]);
    let gateway = setup.start();
    let folder = gateway.file().parent().unwrap().to_owned();
    // as kubelet does it: a folder for each version, `..data` leads to the one in force
    for (version, bucket) in [("..1", "vault"), ("..2", "attic")] {
        setup = setup.access_point(bucket, &[&home], 1, "allow", "allow");
        std::fs::create_dir(folder.join(version)).unwrap();
        std::fs::write(folder.join(version).join("nearpoint.yaml"), setup.yaml(&folder)).unwrap();
        symlink(version, folder.join("..data_tmp")).unwrap();
        std::fs::rename(folder.join("..data_tmp"), folder.join("..data")).unwrap();
        if version == "..1" {
            symlink("..data/nearpoint.yaml", folder.join("mounted")).unwrap();
            std::fs::rename(folder.join("mounted"), gateway.file()).unwrap();
        }
        let wanted = Request::get(&format!("/{bucket}/k"));
        until(&gateway.client(), &wanted, 403).await;
    }
    assert_eq!(count(&gateway, TAKEN), 2);
}

#[tokio::test]
async fn regions_are_swapped_too() {
    let (home, moved) = (home(), Region::start("home", &[BUCKET]));
    moved.seed(BUCKET, "k", "moved");
    let gateway = Setup::over(&[&home]).start();
    let client = gateway.client();
    assert_eq!(client.send(&Request::get("/photos/k")).await.expect(200).body, b"x");
    reload(&gateway, &Setup::over(&[&moved])).await;
    let asked = async { while client.send(&Request::get("/photos/k")).await.body != b"moved" {} };
    tokio::time::timeout(PATIENCE, asked).await.expect("the other endpoint");
    home.forget();
    client.send(&Request::get("/photos/k")).await.expect(200);
    assert!(home.seen().is_empty());
    // a second region joins, and takes over
    let away = Region::start("away", &["photos-away"]);
    away.seed("photos-away", "k", "away");
    reload(&gateway, &Setup::over(&[&moved, &away])).await;
    gateway.wait_for_reads(&[("home", "healthy"), ("away", "healthy")]).await;
    moved.kill();
    assert_eq!(client.send(&Request::get("/photos/k")).await.expect(200).body, b"away");
}

/// The value of a series, if it is there.
async fn gauge(gateway: &Gateway, series: &str) -> Option<f64> {
    let (_, metrics) = gateway.admin_text("/metrics").await;
    metrics.lines().find_map(|line| line.strip_prefix(series)?.trim().parse().ok())
}

#[tokio::test]
async fn a_removed_region_alarms_nobody() {
    let (home, away) = (home(), Region::start("away", &["photos-away"]));
    let mut both = Setup::over(&[&home, &away]);
    both.edit_access_point("photos", "order: nearest", "order: [away, home]");
    let gateway = both.start();
    gateway.wait_for_reads(&[("home", "healthy"), ("away", "healthy")]).await;
    let standing = r#"nearpoint_region_standing{region="away",kind="reads"}"#;
    assert_eq!(gauge(&gateway, standing).await, Some(4.0));
    // it refuses its credential, then dies, then is taken out
    away.change_settings(|settings| settings.secret = "changed".to_owned());
    let refused = r#"nearpoint_region_credential_out{region="away",credential="region"}"#;
    let alarmed = async {
        while gauge(&gateway, refused).await != Some(1.0) {
            gateway.client().send(&Request::get("/photos/k")).await;
        }
    };
    tokio::time::timeout(PATIENCE, alarmed).await.expect("the credential is out");
    away.kill();
    gateway.wait_for_reads(&[("away", "out")]).await;
    assert_eq!(gauge(&gateway, standing).await, Some(0.0));
    let point = Setup::over(&[&home]);
    reload(&gateway, &point).await;
    let calm = async {
        while gauge(&gateway, standing).await != Some(2.0) || gauge(&gateway, refused).await != Some(0.0) {}
    };
    tokio::time::timeout(PATIENCE, calm).await.expect("unknown, and no alarm");
}

#[tokio::test]
async fn a_second_region_brings_tokens_with_it() {
    let (home, away) = (home(), Region::start("away", &["photos-away"]));
    let without_keys = |regions: &[&Region]| {
        let setup = Setup::over(regions).access_point("photos", regions, 0, "allow", "allow");
        Setup { tokens: String::new(), ..setup }
    };
    let gateway = without_keys(&[&home]).start();
    let client = gateway.client();
    let begin = Request::post("/photos/big?uploads", "");
    let alone = client.send(&begin).await.expect(200).text();
    assert!(text::element(&alone, "UploadId").unwrap().starts_with("upload-home-"), "{alone}");
    reload(&gateway, &without_keys(&[&home, &away])).await;
    let begun = async {
        loop {
            let begun = client.send(&begin).await.expect(200).text();
            let id = text::element(&begun, "UploadId").unwrap();
            if id.starts_with("np1_") {
                return id;
            }
        }
    };
    let id = tokio::time::timeout(PATIENCE, begun).await.expect("ids are wrapped");
    let parts = format!("/photos/big?uploadId={}", text::encoded(&id, ""));
    client.send(&Request::get(&parts)).await.expect(200);
    // the same key after the next start, and after the next reload
    let kept = std::fs::read_to_string(gateway.file().with_file_name("token-key")).unwrap();
    let mut next = without_keys(&[&home, &away]);
    next.rest = "limits: {attempts: 2}\n".to_owned();
    reload(&gateway, &next).await;
    client.send(&Request::get(&parts)).await.expect(200);
    assert_eq!(std::fs::read_to_string(gateway.file().with_file_name("token-key")).unwrap(), kept);
}

#[tokio::test]
async fn a_reload_that_cannot_have_a_token_key_is_refused() {
    let (home, away) = (home(), Region::start("away", &["photos-away"]));
    let first = Setup { tokens: String::new(), ..Setup::over(&[&home]) };
    let gateway = first.start();
    // no file can be made there
    std::fs::create_dir(gateway.file().with_file_name("token-key")).unwrap();
    gateway.rewrite(&Setup { tokens: String::new(), ..Setup::over(&[&home, &away]) });
    gateway.signal("HUP");
    wait_for_count(&gateway, "the new configuration is refused; the old one stays in force", 1).await;
    gateway.client().send(&Request::get("/photos/k")).await.expect(200);
    assert_eq!(count(&gateway, TAKEN), 0);
}

#[tokio::test]
async fn rotated_secrets_take_effect() {
    let home = home();
    let mut setup = Setup::over(&[&home]);
    let gateway = setup.start();
    let old = gateway.client();
    let get = Request::get("/photos/k");
    old.send(&get).await.expect(200);
    // the client's
    setup.tenants[0].secret = "another-secret".to_owned();
    reload(&gateway, &setup).await;
    let mut new = old.clone();
    new.settings.secret = "another-secret".to_owned();
    until(&new, &get, 200).await;
    until(&old, &get, 403).await;
    // the region's, its key's id being the same
    let next = "upstream-secret-rotated";
    for (_, lines) in &mut setup.regions {
        *lines = lines.replace("upstream-secret-of-home", next);
    }
    home.change_settings(|settings| settings.secret = next.to_owned());
    reload(&gateway, &setup).await;
    until(&new, &get, 200).await;
    home.forget();
    for _ in 0..5 {
        new.send(&get).await.expect(200);
    }
    assert!(home.seen().iter().all(|seen| seen.status == Some(200)));
}

#[tokio::test]
async fn a_bad_file_is_refused_whole_and_the_old_stays_in_force() {
    let home = home();
    let setup = Setup::over(&[&home]);
    let gateway = setup.start();
    let client = gateway.client();
    let mut bad = setup.clone().access_point("vault", &[&home], 1, "allow", "allow");
    bad.rest = "limits: {in_flght: 5}\ntimeouts: {connect: soon}\n".to_owned();
    gateway.rewrite(&bad);
    gateway.signal("HUP");
    let refusal = "the new configuration is refused; the old one stays in force";
    wait_for_count(&gateway, refusal, 2).await;
    let faults: Vec<String> = gateway
        .written()
        .iter()
        .filter_map(|line| Some(logged(line, refusal)?["fault"].as_str()?.to_owned()))
        .collect();
    assert!(
        faults.iter().any(|fault| fault.contains("nearpoint.yaml:") && fault.contains("in_flight")),
        "{faults:?}"
    );
    assert!(faults.iter().any(|fault| fault.contains("connect")), "{faults:?}");
    client.send(&Request::get("/photos/k")).await.expect(200);
    refused(&client.send(&Request::get("/vault/k")).await, 404, "NoSuchBucket");
    let (_, metrics) = gateway.admin_text("/metrics").await;
    let refusals = metrics.lines().find(|line| line.contains("reload") && line.contains("refused"));
    assert!(refusals.is_some_and(|line| !line.ends_with(" 0")), "{refusals:?}");
    bad.rest.clear();
    reload(&gateway, &bad).await;
    until(&client, &Request::get("/vault/k"), 403).await;
}

/// The addresses of data listeners, as the log tells them, in their order.
fn listening(gateway: &Gateway) -> Vec<std::net::SocketAddr> {
    let told = gateway.written();
    let of = |line: &String| logged(line, "listening")?["address"].as_str()?.parse().ok();
    told.iter().filter_map(of).collect()
}

#[tokio::test]
async fn listeners_change_come_and_go_without_a_restart() {
    let home = home();
    let mut setup = Setup::over(&[&home]);
    let gateway = setup.start();
    let client = gateway.client();
    let mut kept = client.connect().await;
    let get = Request::get("/photos/k");
    let signed = || client.sign(&get).bytes();
    kept.exchange(&signed(), "GET").await.unwrap().expect(200);
    let stranger = client.unsigned(&get);
    refused(&client.send_signed(&stranger).await, 403, "AccessDenied");
    // whom it lets in, on open connections too
    setup.listener = "      anonymous: sign\n".to_owned();
    reload(&gateway, &setup).await;
    client.send_signed(&stranger).await.expect(200);
    kept.exchange(&stranger.bytes(), "GET").await.unwrap().expect(200);
    // one more
    setup.listener = "    - {address: \"127.0.0.2:0\", verify: off}\n".to_owned();
    reload(&gateway, &setup).await;
    refused(&kept.exchange(&stranger.bytes(), "GET").await.unwrap(), 403, "AccessDenied");
    let open = Client { address: listening(&gateway)[1], ..client.clone() };
    let mut connection = open.connect().await;
    connection.exchange(&stranger.bytes(), "GET").await.unwrap().expect(200);
    // and gone again: nobody is served there, the connection included that it had
    setup.listener.clear();
    reload(&gateway, &setup).await;
    let answer = connection.exchange(&stranger.bytes(), "GET").await;
    assert!(answer.is_none_or(|answer| answer.status == 503), "a listener that is gone serves");
    assert!(connection.is_closed().await);
    let shut = async { while tokio::net::TcpStream::connect(open.address).await.is_ok() {} };
    tokio::time::timeout(PATIENCE, shut).await.expect("it is shut");
    client.send(&get).await.expect(200);
    // what cannot be bound is refused whole
    let there = std::net::TcpListener::bind("127.0.0.2:0").unwrap().local_addr().unwrap();
    let _held = std::net::TcpListener::bind(there).unwrap();
    setup.listener = format!("      anonymous: sign\n    - address: {there}\n");
    gateway.rewrite(&setup);
    gateway.signal("HUP");
    let fault = gateway.wait_for_event("the new configuration is refused; the old one stays in force");
    assert!(fault["fault"].as_str().unwrap().contains("address in use"), "{fault}");
    refused(&client.send_signed(&stranger).await, 403, "AccessDenied");
}

#[tokio::test]
async fn a_listener_opens_no_wider_than_the_new_file_says() {
    let home = home();
    let folder = tempfile::tempdir().unwrap();
    let authority = Authority::new();
    std::fs::write(folder.path().join("ca.crt"), authority.pem()).unwrap();
    let tls = authority.serve(folder.path());
    let mut setup = Setup { listener: tls.clone(), ..Setup::over(&[&home]) };
    let gateway = setup.start();
    let client = gateway.client();
    let stranger = client.unsigned(&Request::get("/photos/k")).bytes();
    let dial = |identity: Option<(String, String)>| {
        tls::connect(gateway.address, authority.client(identity.as_ref(), &[b"http/1.1"]))
    };
    let mut before = Connection::over(dial(None).await.unwrap());
    refused(&before.exchange(&stranger, "GET").await.unwrap(), 403, "AccessDenied");
    let ca = folder.path().join("ca.crt");
    let with_ca =
        tls.trim_end().trim_end_matches('}').to_owned() + &format!(", client_ca: {}}}\n", ca.display());
    setup.listener = with_ca + "      verify: off\n      allow_from: [127.0.0.0/8]\n";
    reload(&gateway, &setup).await;
    // unsigned requests are for those who show a certificate, and for nobody else at any time
    if let Some(answer) = before.exchange(&stranger, "GET").await {
        refused(&answer, 503, "ServiceUnavailable");
    }
    if let Ok(stream) = dial(None).await {
        assert!(Connection::over(stream).exchange(&stranger, "GET").await.is_none());
    }
    let mut known = Connection::over(dial(Some(authority.issue("client"))).await.unwrap());
    known.exchange(&stranger, "GET").await.unwrap().expect(200);
}

#[tokio::test]
async fn a_region_s_rotated_authority_and_client_certificate_are_taken() {
    let home = home();
    let folder = tempfile::tempdir().unwrap();
    let write = |authority: &Authority| {
        let (certificate, key) = authority.issue("nearpoint");
        for (name, text) in [("ca.pem", authority.pem()), ("us.crt", certificate), ("us.key", key)] {
            std::fs::write(folder.path().join(name), text).unwrap();
        }
    };
    let (old, new) = (Authority::new(), Authority::new());
    let front = Front::start(home.address(), &old).await;
    write(&old);
    let mut setup = Setup::over(&[&home]);
    let (_, lines) = &mut setup.regions[0];
    let files = folder.path().display();
    *lines = lines.replace(&home.endpoint(), &format!("https://{}", front.address));
    *lines +=
        &format!("    tls: {{ca_file: {files}/ca.pem, certificate: {files}/us.crt, key: {files}/us.key}}\n");
    let gateway = setup.start();
    let client = gateway.client();
    client.send(&Request::get("/photos/k")).await.expect(200);
    front.rotate(&new);
    write(&new);
    // the files alone have changed
    gateway.wait_for_event(TAKEN);
    home.hang_up_idle();
    until(&client, &Request::get("/photos/k"), 200).await;
    for _ in 0..10 {
        client.send(&Request::get("/photos/k")).await.expect(200);
    }
    gateway.wait_for_reads(&[("home", "healthy")]).await;
    // half of one is refused
    std::fs::write(folder.path().join("us.crt"), "half").unwrap();
    let refusal = gateway.wait_for_event("the new configuration is refused; the old one stays in force");
    assert!(refusal["fault"].as_str().unwrap().contains("us.crt"), "{refusal}");
    client.send(&Request::get("/photos/k")).await.expect(200);
}

#[tokio::test]
async fn a_new_certificate_is_shown_to_new_connections() {
    let home = home();
    let folder = tempfile::tempdir().unwrap();
    let (old, new) = (Authority::new(), Authority::new());
    let setup = Setup { listener: old.serve(folder.path()), ..Setup::over(&[&home]) };
    let gateway = setup.start();
    let client = gateway.client();
    let get = || client.sign(&Request::get("/photos/k")).bytes();
    let connected = tls::connect(gateway.address, old.client(None, &[b"http/1.1"])).await.unwrap();
    let mut connected = Connection::over(connected);
    connected.exchange(&get(), "GET").await.unwrap().expect(200);
    // half of it is no certificate: the old one stays
    std::fs::write(folder.path().join("tls.crt"), "half").unwrap();
    gateway.wait_for_event("a certificate was not taken; the old one stays");
    tls::connect(gateway.address, old.client(None, &[b"http/1.1"])).await.unwrap();
    new.serve(folder.path());
    let trusted = async {
        while tls::connect(gateway.address, new.client(None, &[b"http/1.1"])).await.is_err() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(PATIENCE, trusted).await.expect("the new certificate is shown");
    assert!(tls::connect(gateway.address, old.client(None, &[b"http/1.1"])).await.is_err());
    connected.exchange(&get(), "GET").await.unwrap().expect(200);
}
