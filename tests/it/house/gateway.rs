//! The gateway under test: the compiled binary with a configuration of the test's.

use std::collections::VecDeque;
use std::io::{BufRead, BufReader, Read, Write as _};
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use serde_json::Value;

use super::client::{Client, Request};
use super::region::{PATIENCE, Region};

/// The logical region that clients of the default set-up sign for.
pub const LOGICAL_REGION: &str = "anywhere-1";

/// Whose requests go through.
#[derive(Clone, Debug)]
pub struct Tenant {
    pub name: String,
    pub access_key_id: String,
    pub secret: String,
    /// Where set, required.
    pub session_token: Option<String>,
    /// The policy's document; `None` leaves it out.
    pub policy: Option<String>,
    /// Further lines of the client, each indented by four.
    pub lines: String,
}

impl Tenant {
    /// A client that may do everything with objects and listings of these access points.
    pub fn of(name: &str, access_points: &[&str]) -> Self {
        Self::with_statements(name, &allow("s3:*", access_points))
    }

    /// A client with a policy of these statements.
    pub fn with_statements(name: &str, statements: &str) -> Self {
        let policy = format!(r#"{{"Version": "2012-10-17", "Statement": [{statements}]}}"#);
        Self {
            name: name.to_owned(),
            access_key_id: format!("NP{}", name.to_ascii_uppercase()),
            secret: format!("client-secret-of-{name}"),
            session_token: None,
            policy: Some(policy),
            lines: String::new(),
        }
    }
}

/// A statement that allows an action on access points and all their keys.
pub fn allow(action: &str, access_points: &[&str]) -> String {
    let resources: Vec<String> = access_points
        .iter()
        .flat_map(|point| [format!("\"arn:aws:s3:::{point}\""), format!("\"arn:aws:s3:::{point}/*\"")])
        .collect();
    format!(r#"{{"Effect": "Allow", "Action": "{action}", "Resource": [{}]}}"#, resources.join(", "))
}

/// A configuration in the making. Every text is YAML, pasted as it is.
#[derive(Clone, Debug)]
pub struct Setup {
    /// Each region's id, its lines under `regions:` (indented by four), in order.
    pub regions: Vec<(String, String)>,
    /// Each access point's name and its lines (indented by four).
    pub access_points: Vec<(String, String)>,
    pub tenants: Vec<Tenant>,
    /// The data listener's address.
    pub address: String,
    /// Further lines of the data listener, each indented by six, and further listeners.
    pub listener: String,
    /// `tokens`; empty where there are none.
    pub tokens: String,
    /// Further keys of the admin listener, each with a comma in front.
    pub admin: String,
    /// `logical_region`.
    pub logical_region: String,
    /// Further top-level sections (`limits: {…}`).
    pub rest: String,
    /// What this gateway alone reads as `/etc/hosts`; see [`may_not_run`]. Empty: the machine's.
    pub hosts: String,
}

/// Whether this machine lets us give a process files of its own.
fn may_mount() -> bool {
    let tried = Command::new("unshare").args(["--mount", "true"]).stderr(Stdio::null()).status();
    tried.is_ok_and(|status| status.success())
}

/// Says so where this machine does not let the gateway have a hosts file of its own. In CI, where it
/// must, that is a failure.
pub fn may_not_run() -> bool {
    let refused = !may_mount();
    if refused {
        eprintln!("not run: needs `unshare --mount` (root or CAP_SYS_ADMIN)");
        assert!(std::env::var_os("CI").is_none_or(|ci| ci == "false"), "CI runs every case");
    }
    refused
}

/// A store that honours everything, checks hashes and trailers itself, and verifies signatures over
/// the path as it was sent, as the oracle does.
const FULL: &str = "profile: custom\n    honours: [conditional_writes, conditional_deletes, sse, sse_kms, sse_c, object_lock, acl, tagging, versioning, \
                    trailers, checksums, attributes]\n    trailers: pass\n    body_hash: store";

impl Setup {
    /// One access point `photos` over the first bucket of each region; the first region is home.
    /// One tenant, `app`.
    pub fn over(regions: &[&Region]) -> Self {
        let mut setup = Self {
            regions: Vec::new(),
            access_points: Vec::new(),
            tenants: vec![Tenant::of("app", &["photos"])],
            address: "127.0.0.1:0".to_owned(),
            listener: String::new(),
            admin: String::new(),
            tokens: "{keys: [\"a-token-key-for-tests-0123456789\"]}".to_owned(),
            logical_region: LOGICAL_REGION.to_owned(),
            rest: String::new(),
            hosts: String::new(),
        };
        for region in regions {
            setup = setup.region(region, FULL);
        }
        setup.access_point("photos", regions, 0, "allow", "refuse")
    }

    /// Adds a region; `lines` are pasted below its own (indented by four already after the first).
    #[must_use]
    pub fn region(mut self, region: &Region, lines: &str) -> Self {
        let settings = region.settings();
        let text = format!(
            "    endpoint: {}\n    signing_region: \"{}\"\n    addressing: path\n    credentials: {{access_key_id: {}, secret_access_key: {}}}\n    {lines}\n",
            region.endpoint(),
            settings.signing_region,
            settings.access_key_id,
            settings.secret
        );
        self.regions.push((settings.name, text));
        self
    }

    /// Adds an access point over the `bucket`-th bucket of each region; the first region is home.
    #[must_use]
    pub fn access_point(
        mut self,
        name: &str,
        regions: &[&Region],
        bucket: usize,
        read_failover: &str,
        write_failover: &str,
    ) -> Self {
        let members: Vec<String> = regions
            .iter()
            .map(|region| {
                let settings = region.settings();
                format!("{}: {}", settings.name, settings.buckets[bucket])
            })
            .collect();
        let home = regions[0].settings().name;
        let text = format!(
            "    buckets: {{{}}}\n    reads: {{order: nearest, failover: {read_failover}}}\n    writes: {{order: home, home: {home}, failover: {write_failover}}}\n    replication: two_way\n",
            members.join(", ")
        );
        self.access_points.retain(|(have, _)| have != name);
        self.access_points.push((name.to_owned(), text));
        self
    }

    /// Replaces a piece of an access point's lines; fails where it is not there.
    pub fn edit_access_point(&mut self, name: &str, from: &str, to: &str) {
        let point = self.access_points.iter_mut().find(|(have, _)| have == name);
        let (_, lines) = point.expect("the access point is there");
        assert!(lines.contains(from), "{lines}");
        *lines = lines.replace(from, to);
    }

    /// Regions are probed so rarely that, once known to be well, only requests judge them: the
    /// reason of a transition then does not depend on how loaded the machine is.
    pub fn probe_rarely(&mut self) {
        for (_, lines) in &mut self.regions {
            lines.push_str("    probe: {interval: 60s}\n");
        }
    }

    /// The configuration's text; `folder` takes the policies.
    pub fn yaml(&self, folder: &std::path::Path) -> String {
        let mut text = format!("logical_region: {}\n", self.logical_region);
        if !self.tokens.is_empty() {
            text.push_str(&format!("tokens: {}\n", self.tokens));
        }
        text.push_str(&format!("state_dir: {}\n", folder.display()));
        text.push_str(&format!("listeners:\n  s3:\n    - address: {}\n", self.address));
        text.push_str(&self.listener);
        text.push_str(&format!("  admin: {{address: \"127.0.0.1:0\"{}}}\nregions:\n", self.admin));
        for (id, lines) in &self.regions {
            text.push_str(&format!("  {id}:\n{lines}"));
        }
        text.push_str("access_points:\n");
        for (name, lines) in &self.access_points {
            text.push_str(&format!("  {name}:\n{lines}"));
        }
        if !self.tenants.is_empty() {
            text.push_str("clients:\n");
        }
        for tenant in &self.tenants {
            text.push_str(&format!(
                "  - name: {}\n    access_key_id: {}\n    secret_access_key: {}\n",
                tenant.name, tenant.access_key_id, tenant.secret
            ));
            if let Some(token) = &tenant.session_token {
                text.push_str(&format!("    session_token: {token}\n"));
            }
            if let Some(policy) = &tenant.policy {
                let file = folder.join(format!("{}.json", tenant.name));
                std::fs::write(&file, policy).unwrap();
                text.push_str(&format!("    policy: {}\n", file.display()));
            }
            text.push_str(&tenant.lines);
        }
        text.push_str(&self.rest);
        text
    }

    /// Writes configuration and policies into a folder; the configuration's path.
    pub fn write(&self, folder: &std::path::Path) -> std::path::PathBuf {
        let file = folder.join("nearpoint.yaml");
        std::fs::write(&file, self.yaml(folder)).unwrap();
        file
    }

    /// Starts a gateway that is expected to give up: its exit code and what it wrote.
    pub fn start_in_vain(&self) -> (Option<i32>, String) {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("nearpoint.yaml");
        std::fs::write(&file, self.yaml(folder.path())).unwrap();
        run(&["serve", "--config", file.to_str().unwrap()])
    }

    /// Starts the gateway.
    pub fn start(&self) -> Gateway {
        let (command, _hosts) = self.command();
        // it listens once this returns: its hosts file is mounted by then
        self.start_by(command)
    }

    /// Runs a command of the binary over this set-up to its end: its exit code and what it wrote.
    pub fn run(&self, words: &[&str]) -> (Option<i32>, String) {
        let folder = tempfile::tempdir().unwrap();
        let file = self.write(folder.path());
        let (mut command, _hosts) = self.command();
        ended(command.args(words).arg(file))
    }

    /// The binary, and the hosts file that is in its way to names, where the set-up has one.
    fn command(&self) -> (Command, Option<tempfile::NamedTempFile>) {
        let binary = env!("CARGO_BIN_EXE_nearpoint");
        if self.hosts.is_empty() {
            return (Command::new(binary), None);
        }
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(self.hosts.as_bytes()).unwrap();
        let script = r#"mount --bind "$0" /etc/hosts && exec "$@""#;
        let mut command = Command::new("unshare");
        command.args(["--mount", "sh", "-c", script]).arg(file.path()).arg(binary);
        (command, Some(file))
    }

    /// Starts the gateway with so many file descriptors and no way to more.
    pub fn start_with_descriptors(&self, limit: u32) -> Gateway {
        let mut shell = Command::new("sh");
        let script = format!("ulimit -n {limit} && exec \"$0\" \"$@\"");
        shell.args(["-c", &script, env!("CARGO_BIN_EXE_nearpoint")]);
        self.start_by(shell)
    }

    fn start_by(&self, mut command: Command) -> Gateway {
        let folder = tempfile::tempdir().unwrap();
        let file = self.write(folder.path());
        command.arg("serve").arg("--config").arg(&file);
        Gateway::launch(command, folder, self.tenants.clone(), &self.logical_region)
    }
}

/// Lines of the gateway that a failed test shows.
const TOLD: usize = 40;

/// Runs a command of the binary to its end: its exit code and what it wrote.
pub fn run(words: &[&str]) -> (Option<i32>, String) {
    ended(Command::new(env!("CARGO_BIN_EXE_nearpoint")).args(words))
}

fn ended(command: &mut Command) -> (Option<i32>, String) {
    let done = command.output().unwrap();
    let written = [done.stdout, done.stderr].concat();
    (done.status.code(), String::from_utf8_lossy(&written).into_owned())
}

/// Lines that a process wrote, as they come.
#[derive(Debug, Default)]
struct Lines {
    all: Mutex<VecDeque<String>>,
    news: Condvar,
}

impl Lines {
    fn follow(self: &Arc<Self>, from: impl Read + Send + 'static) {
        let lines = Arc::clone(self);
        std::thread::spawn(move || {
            for line in BufReader::new(from).lines().map_while(Result::ok) {
                lines.all.lock().unwrap().push_back(line);
                lines.news.notify_all();
            }
        });
    }

    /// The first line for which `wanted` gives something, waited for.
    fn wait_for<R>(&self, wanted: impl Fn(&str) -> Option<R>, alive: impl Fn() -> bool) -> Option<R> {
        let mut lines = self.all.lock().unwrap();
        let mut waited = Duration::ZERO;
        loop {
            if let Some(found) = lines.iter().find_map(|line| wanted(line)) {
                return Some(found);
            }
            if waited >= PATIENCE || !alive() {
                return None;
            }
            let pause = Duration::from_millis(20);
            lines = self.news.wait_timeout(lines, pause).unwrap().0;
            waited += pause;
        }
    }
}

/// A running gateway; killed when dropped.
#[derive(Debug)]
pub struct Gateway {
    child: Mutex<Child>,
    lines: Arc<Lines>,
    /// The data listener.
    pub address: SocketAddr,
    /// The admin listener.
    pub admin: SocketAddr,
    tenants: Vec<Tenant>,
    logical_region: String,
    folder: tempfile::TempDir,
}

impl Gateway {
    /// Lets the process open files up to this number only, or again as many as the system grants
    /// (`None`). What it has open stays open.
    pub fn limit_open_files(&self, most: Option<u64>) {
        let pid = rustix::process::Pid::from_child(&self.child.lock().unwrap());
        let granted = rustix::process::getrlimit(rustix::process::Resource::Nofile);
        let current = most.or(granted.current);
        let limit = rustix::process::Rlimit { current, maximum: granted.maximum };
        rustix::process::prlimit(Some(pid), rustix::process::Resource::Nofile, limit).unwrap();
    }

    fn launch(mut command: Command, folder: tempfile::TempDir, tenants: Vec<Tenant>, region: &str) -> Self {
        let mut child =
            command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let lines = Arc::new(Lines::default());
        lines.follow(child.stdout.take().unwrap());
        lines.follow(child.stderr.take().unwrap());
        let child = Mutex::new(child);
        let alive = || child.lock().unwrap().try_wait().unwrap().is_none();
        let bound = |message: &'static str| {
            lines.wait_for(|line| logged(line, message)?.get("address")?.as_str()?.parse().ok(), alive)
        };
        let (Some(address), Some(admin)) = (bound("listening"), bound("admin listening")) else {
            let told = lines.all.lock().unwrap().iter().cloned().collect::<Vec<_>>().join("\n");
            let config = std::fs::read_to_string(folder.path().join("nearpoint.yaml")).unwrap_or_default();
            child.lock().unwrap().kill().unwrap();
            panic!("the gateway did not start:\n{told}\nwith\n{config}");
        };
        let logical_region = region.to_owned();
        Self { child, lines, address, admin, tenants, logical_region, folder }
    }

    /// A client with the first tenant's keys.
    pub fn client(&self) -> Client {
        self.client_of(0)
    }

    /// A client with the keys of one tenant.
    pub fn client_of(&self, tenant: usize) -> Client {
        let tenant = &self.tenants[tenant];
        let client = Client::new(self.address, &self.logical_region, &tenant.access_key_id, &tenant.secret);
        match &tenant.session_token {
            Some(token) => client.with_token(token),
            None => client,
        }
    }

    /// `GET` on the admin listener, as JSON.
    pub async fn admin_json(&self, path: &str) -> Value {
        let client = Client { address: self.admin, host: self.admin.to_string(), ..self.client() };
        let reply = client.send_signed(&client.unsigned(&Request::get(path))).await.expect(200);
        serde_json::from_slice(&reply.body).unwrap()
    }

    /// Each region's standing for reads and writes, by name.
    pub async fn standing(&self) -> Vec<(String, String, String)> {
        standing_of(&self.admin_json("/api/v1/status").await)
    }

    /// Waits until every region stands as said for reads.
    pub async fn wait_for_reads(&self, wanted: &[(&str, &str)]) {
        self.wait_for_status(|status| {
            let regions = status["regions"].as_array().expect("`regions` is a list");
            let stands = |id: &str, reads: &str| {
                regions.iter().any(|region| region["id"] == id && region["reads"] == reads)
            };
            wanted.iter().all(|(id, reads)| stands(id, reads))
        })
        .await;
    }

    /// Waits until every region stands (id, reads, writes) as wanted.
    pub async fn wait_for_standing(&self, wanted: impl Fn(&(String, String, String)) -> bool) {
        self.wait_for_status(|status| standing_of(status).iter().all(&wanted)).await;
    }

    /// Waits until the status document is as wanted.
    pub async fn wait_for_status(&self, wanted: impl Fn(&Value) -> bool) -> Value {
        let patience = tokio::time::sleep(PATIENCE);
        tokio::pin!(patience);
        loop {
            let status = self.admin_json("/api/v1/status").await;
            if wanted(&status) {
                return status;
            }
            tokio::select! {
                () = &mut patience => panic!("the status is {status:#}"),
                () = tokio::time::sleep(Duration::from_millis(10)) => {}
            }
        }
    }

    /// Access lines so far, in the order in which they were written.
    pub fn access_lines(&self) -> Vec<Value> {
        let lines = self.written();
        lines.iter().filter_map(|line| access_line(line)).collect()
    }

    /// The access line of a request, waited for.
    pub fn access_line(&self, request_id: &str) -> Value {
        let wanted = |line: &str| access_line(line).filter(|line| line["id"] == request_id);
        self.lines.wait_for(wanted, || true).expect("every request has its access line")
    }

    /// The log's line about a change of a region's standing, waited for: `what` is `read`, `write`,
    /// `credential …`.
    pub fn transition(&self, region: &str, what: &str, to: &str) -> Value {
        let wanted = |line: &str| {
            let fields = logged(line, "standing changed")?;
            let is =
                |name: &str, text: &str| fields[name].as_str().is_some_and(|have| have.starts_with(text));
            (is("region", region) && is("what", what) && is("to", to)).then_some(fields)
        };
        let found = self.lines.wait_for(wanted, || true);
        found.unwrap_or_else(|| panic!("{region} never became {to} for {what}"))
    }

    /// Changes of standing so far, as the log tells them.
    pub fn transitions(&self) -> Vec<Value> {
        self.written().iter().filter_map(|line| logged(line, "standing changed")).collect()
    }

    /// Waits for a line that it writes, on either stream, for which `wanted` gives something.
    pub fn wait_for_line<R>(&self, wanted: impl Fn(&str) -> Option<R>) -> R {
        let found = self.lines.wait_for(wanted, || true);
        found.unwrap_or_else(|| panic!("no such line in\n{}", self.written().join("\n")))
    }

    /// Waits for a log event with this message; its fields.
    pub fn wait_for_event(&self, message: &str) -> Value {
        self.wait_for_line(|line| logged(line, message))
    }

    /// Writes another configuration over the one in force; nothing is told to the process.
    pub fn rewrite(&self, setup: &Setup) {
        let aside = self.folder.path().join("next.yaml");
        std::fs::write(&aside, setup.yaml(self.folder.path())).unwrap();
        std::fs::rename(aside, self.file()).unwrap();
    }

    /// Sends the process a signal.
    pub fn signal(&self, name: &str) {
        let sent = Command::new("kill").arg(format!("-{name}")).arg(self.process().to_string()).status();
        assert!(sent.unwrap().success(), "kill -{name}");
    }

    /// Waits for the process to end; its exit code.
    pub async fn wait_for_end(&self) -> Option<i32> {
        let mut waited = Duration::ZERO;
        loop {
            if let Some(ended) = self.child.lock().unwrap().try_wait().unwrap() {
                return ended.code();
            }
            assert!(waited < PATIENCE, "the gateway goes on:\n{}", self.written().join("\n"));
            let pause = Duration::from_millis(10);
            tokio::time::sleep(pause).await;
            waited += pause;
        }
    }

    /// The text of `GET` on the admin listener, and its status.
    pub async fn admin_text(&self, path: &str) -> (u16, String) {
        let client = Client { address: self.admin, host: self.admin.to_string(), ..self.client() };
        let reply = client.send_signed(&client.unsigned(&Request::get(path))).await;
        (reply.status, reply.text())
    }

    /// Everything it wrote so far, on either stream.
    pub fn written(&self) -> Vec<String> {
        self.lines.all.lock().unwrap().iter().cloned().collect()
    }

    /// The configuration file, to be changed for a reload.
    pub fn file(&self) -> std::path::PathBuf {
        self.folder.path().join("nearpoint.yaml")
    }

    /// Its process id, for signals.
    pub fn process(&self) -> u32 {
        self.child.lock().unwrap().id()
    }

    /// Fails if it is gone.
    pub fn assert_alive(&self) {
        let ended = self.child.lock().unwrap().try_wait().unwrap();
        assert!(ended.is_none(), "the gateway ended: {ended:?}\n{}", self.written().join("\n"));
    }
}

fn access_line(line: &str) -> Option<Value> {
    let value: Value = serde_json::from_str(line).ok()?;
    value.get("tries").is_some().then_some(value)
}

/// A JSON log line's fields, if its message is this one. Fields may stand beside the message or in
/// `fields`.
pub fn logged(line: &str, message: &str) -> Option<Value> {
    let value: Value = serde_json::from_str(line).ok()?;
    let fields = value.get("fields").unwrap_or(&value);
    (fields.get("message")?.as_str()? == message).then(|| fields.clone())
}

impl Drop for Gateway {
    fn drop(&mut self) {
        let child = self.child.get_mut().unwrap();
        // gone already where the test ended it
        let ended = child.try_wait().unwrap();
        child.kill().unwrap_or_default();
        child.wait().unwrap();
        if std::thread::panicking() {
            let written = self.written();
            let last = written.len().saturating_sub(TOLD);
            eprintln!("the gateway (ended before: {ended:?}) last wrote:\n{}", written[last..].join("\n"));
        }
    }
}

/// Every region's id, and how it stands for reads and for writes.
fn standing_of(status: &Value) -> Vec<(String, String, String)> {
    let regions = status["regions"].as_array().expect("`regions` is a list");
    let text = |region: &Value, field: &str| region[field].as_str().expect(field).to_owned();
    let stands = |region: &Value| (text(region, "id"), text(region, "reads"), text(region, "writes"));
    // In order of name: which region is nearest is another matter.
    let mut standing: Vec<_> = regions.iter().map(stands).collect();
    standing.sort();
    standing
}
