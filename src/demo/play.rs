//! The `demo` command's course: start, show, let die, sweep up. A door.

use std::io::Write;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::{AbortHandle, JoinSet};

use super::keyboard::Keyboard;
use super::regions::{Journal, PLANS, Region};
use super::replicator::Replicator;
use super::screen::{Row, Screen};
use super::script::Act;
use super::traffic::{self, Client, Tally};
use super::{DemoSettings, Fault, Options, Running, Script};
use crate::clock::Clock;
use crate::names::{AccessKeyId, AccessPointName, ExposeSecret, Secret};
use crate::sigv4::Credential;

/// The one access point's name.
const ACCESS_POINT: &str = "photos";

/// What clients sign for.
const LOGICAL_REGION: &str = "nearpoint";

/// An object that is there from the start, for the commands that are printed.
const HELLO: (&str, &str) = ("hello.txt", "Hello from the nearest region.\n");

/// How often the lines are refreshed.
const FRAME: Duration = Duration::from_millis(250);

/// The demo's own traffic: a request so often.
const BEAT: Duration = Duration::from_millis(25);

/// Until the first objects are in every region; then the demo starts whatever is missing.
const SEEDING_MAX: Duration = Duration::from_secs(10);

/// Plays the demo from start to end: until `q`, a signal, or the script's end. `start` is
/// called once, on this thread, outside any runtime; it starts a gateway with these settings on
/// threads of its own and returns once it listens. Nothing is left behind: folders are removed,
/// listeners closed, the terminal is as it was.
///
/// Returns how the demo's own traffic fared. Must not be called
/// from within a runtime.
///
/// # Errors
/// [`Fault`], by variant.
pub fn play<E>(
    options: &Options,
    out: &mut (dyn Write + Send),
    start: impl FnOnce(DemoSettings) -> Result<Running, E>,
) -> Result<Tally, Fault>
where
    E: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
    let runtime = runtime.map_err(Fault::machine("starting the regions' runtime"))?;
    // before there is anything to sweep up: a signal from here on ends the play, not the process
    let mut signals = runtime.block_on(async { Signals::new() })?;
    let folder = tempfile::Builder::new().prefix("nearpoint-demo-").tempdir();
    let folder = folder.map_err(Fault::machine("making a temporary folder"))?;
    let stage = runtime.block_on(Stage::build(options, folder.path()))?;
    let settings = stage.settings(options, folder.path())?;
    let client = settings.client.clone();
    let running = start(settings).map_err(|fault| Fault::Gateway(fault.into()))?;
    let mut show = Show::new(&stage, options, &running, client);
    let result = runtime.block_on(show.run(out, &mut signals));
    (running.stop)();
    drop(stage);
    runtime.shutdown_timeout(Duration::from_secs(1));
    folder.close().map_err(Fault::machine("removing the temporary folder"))?;
    result
}

/// The regions and what runs between them.
struct Stage {
    regions: Arc<[Region]>,
    replication: AbortHandle,
}

impl Drop for Stage {
    fn drop(&mut self) {
        self.replication.abort();
    }
}

impl Stage {
    /// Starts the regions, and puts the first objects into the nearest, from where they spread.
    async fn build(options: &Options, folder: &Path) -> Result<Self, Fault> {
        let (journal, changes) = Journal::new();
        let mut regions = Vec::new();
        for (place, plan) in PLANS.iter().enumerate() {
            let pair = key_pair(&format!("AKID{}", plan.id.to_ascii_uppercase()))?;
            regions.push(Region::start(plan, place, pair, folder, journal.clone()).await?);
        }
        let regions: Arc<[Region]> = regions.into();
        let (lag, lagging) = watch::channel(Duration::ZERO);
        let replicator = Replicator::new(Arc::clone(&regions), changes, lagging);
        let stage = Self { regions, replication: tokio::spawn(replicator.run()).abort_handle() };
        // what is missing after that will be there later
        tokio::time::timeout(SEEDING_MAX, stage.seed()).await.unwrap_or_default();
        lag.send_replace(options.lag);
        Ok(stage)
    }

    async fn seed(&self) {
        let Some(nearest) = self.regions.first() else { return };
        let samples = (0..traffic::SAMPLES).map(traffic::sample);
        let objects: Vec<(String, String)> =
            samples.chain([(HELLO.0.to_owned(), HELLO.1.to_owned())]).collect();
        for (key, body) in &objects {
            nearest.put(key, body.clone().into_bytes()).await.unwrap_or_default();
        }
        for region in self.regions.iter() {
            for (key, _) in &objects {
                while region.mark(key) == 0 {
                    tokio::time::sleep(Duration::from_millis(5)).await;
                }
            }
        }
    }

    fn settings(&self, options: &Options, folder: &Path) -> Result<DemoSettings, Fault> {
        let regions: Vec<_> = self.regions.iter().map(Region::facts).collect();
        let home = regions.first().map(|region| region.id.clone());
        let home = home.ok_or_else(|| Fault::Store("there is no region".to_owned()))?;
        let state_dir = folder.join("gateway");
        std::fs::create_dir(&state_dir).map_err(Fault::machine("making the gateway's folder"))?;
        Ok(DemoSettings {
            listen: options.listen,
            logical_region: LOGICAL_REGION.to_owned(),
            access_point: AccessPointName::new(ACCESS_POINT),
            regions,
            home,
            client: key_pair("NPDEMO")?,
            state_dir,
        })
    }
}

/// A key pair of this run only.
fn key_pair(access_key_id: &str) -> Result<Credential, Fault> {
    let mut bytes = [0; 20];
    aws_lc_rs::rand::fill(&mut bytes).map_err(|_| Fault::NoRandomness)?;
    let secret = Secret::from(hex::encode(bytes));
    Ok(Credential { access_key_id: AccessKeyId::new(access_key_id), secret, session_token: None })
}

/// One performance.
struct Show<'a> {
    stage: &'a Stage,
    options: &'a Options,
    running: &'a Running,
    client: Client,
    clock: Clock,
    /// Requests served by each region at the last frame.
    served: Vec<u64>,
    /// Which region answered last.
    serving: Option<usize>,
}

/// Why a turn of the loop came.
enum Cue {
    Frame,
    Key(u8),
    Quit,
}

impl<'a> Show<'a> {
    fn new(stage: &'a Stage, options: &'a Options, running: &'a Running, credential: Credential) -> Self {
        let client = Client {
            address: running.address,
            region: LOGICAL_REGION.to_owned(),
            access_point: AccessPointName::new(ACCESS_POINT),
            credential,
        };
        let served = vec![0; stage.regions.len()];
        Self { stage, options, running, client, clock: Clock::system(), served, serving: None }
    }

    async fn run(&mut self, out: &mut (dyn Write + Send), signals: &mut Signals) -> Result<Tally, Fault> {
        let options = self.options;
        let keys = options.terminal && options.script.is_none();
        let mut keyboard = if keys { Keyboard::take().ok() } else { None };
        let mut screen = Screen::new(out, options.terminal, options.colour);
        let telling = Fault::machine("writing to standard output");
        let welcome = welcome(&self.client, &self.running.admin, keyboard.is_some());
        screen.say(&welcome).map_err(telling)?;
        let mut frames = tokio::time::interval(FRAME);
        let mut orchestra = Orchestra::new(self.client.clone());
        let started = self.clock.mono();
        let mut before = Duration::ZERO;
        loop {
            let cue = tokio::select! {
                _ = frames.tick() => Cue::Frame,
                Some(key) = pressed(keyboard.as_mut()) => Cue::Key(key),
                () = signals.any() => Cue::Quit,
                () = orchestra.play() => continue,
            };
            let now = self.clock.mono().saturating_duration_since(started);
            match cue {
                Cue::Quit | Cue::Key(b'q' | b'Q') => break,
                Cue::Key(key) => self.toggle(key, &mut screen).await?,
                Cue::Frame => {
                    if let Some(script) = &options.script {
                        self.act(script, before, now, &mut screen).await?;
                    }
                }
            }
            before = now;
            screen.show(&self.rows(), now).map_err(Fault::machine("writing to standard output"))?;
            if options.script.as_ref().is_some_and(|script| now >= script.length()) {
                break;
            }
        }
        let tally = orchestra.finish().await;
        screen.say(&tally.to_string()).map_err(Fault::machine("writing to standard output"))?;
        Ok(tally)
    }

    /// Keys 1, 2, 3: kills a region that lives, revives one that does not.
    async fn toggle(&self, key: u8, screen: &mut Screen<'_>) -> Result<(), Fault> {
        let place = usize::from(key.wrapping_sub(b'1'));
        let Some(region) = self.stage.regions.get(place) else { return Ok(()) };
        let act = if region.is_alive() { Act::Kill } else { Act::Revive };
        self.change(act, region, screen).await
    }

    async fn act(
        &self,
        script: &Script,
        from: Duration,
        to: Duration,
        screen: &mut Screen<'_>,
    ) -> Result<(), Fault> {
        for (act, id) in script.between(from, to) {
            if let Some(region) = self.stage.regions.iter().find(|region| region.id() == id) {
                self.change(act, region, screen).await?;
            }
        }
        Ok(())
    }

    async fn change(&self, act: Act, region: &Region, screen: &mut Screen<'_>) -> Result<(), Fault> {
        let did = match act {
            Act::Kill => {
                region.kill().await;
                "killed: its port refuses, its connections are reset"
            }
            Act::Revive => {
                region.revive().await;
                if region.is_alive() { "revived" } else { "stays dead: its port was taken meanwhile" }
            }
        };
        screen.say(&format!("{} {did}", region.id())).map_err(Fault::machine("writing to standard output"))
    }

    fn rows(&mut self) -> Vec<Row> {
        let standings = (self.running.standings)();
        let mut most = 0;
        for (place, (region, before)) in self.stage.regions.iter().zip(&mut self.served).enumerate() {
            let served = region.served();
            let more = served.saturating_sub(*before);
            *before = served;
            if more > most {
                most = more;
                self.serving = Some(place);
            }
        }
        let row = |(place, region): (usize, &Region)| {
            let standing = standings.iter().find(|standing| standing.region == *region.id());
            let text = |text: Option<&String>| text.cloned().unwrap_or_else(|| "unknown".to_owned());
            Row {
                id: region.id().clone(),
                alive: region.is_alive(),
                serving: self.serving == Some(place),
                reads: text(standing.map(|standing| &standing.reads)),
                writes: text(standing.map(|standing| &standing.writes)),
                latency: standing.and_then(|standing| standing.latency),
                served: region.served(),
            }
        };
        self.stage.regions.iter().enumerate().map(row).collect()
    }
}

/// The next key; never without a keyboard.
async fn pressed(keyboard: Option<&mut Keyboard>) -> Option<u8> {
    match keyboard {
        Some(keyboard) => keyboard.key().await,
        None => std::future::pending().await,
    }
}

/// Ctrl-C, SIGTERM, and a terminal that goes away.
struct Signals {
    interrupt: tokio::signal::unix::Signal,
    terminate: tokio::signal::unix::Signal,
    hangup: tokio::signal::unix::Signal,
}

impl Signals {
    fn new() -> Result<Self, Fault> {
        use tokio::signal::unix::{SignalKind, signal};
        let listening = || Fault::machine("listening for signals");
        Ok(Self {
            interrupt: signal(SignalKind::interrupt()).map_err(listening())?,
            terminate: signal(SignalKind::terminate()).map_err(listening())?,
            hangup: signal(SignalKind::hangup()).map_err(listening())?,
        })
    }

    async fn any(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
            _ = self.hangup.recv() => {}
        }
    }
}

/// The demo's traffic: a request at every beat, whether or not earlier ones are answered.
struct Orchestra {
    client: Client,
    beats: tokio::time::Interval,
    number: u64,
    playing: JoinSet<traffic::Sample>,
    tally: Tally,
}

impl Orchestra {
    fn new(client: Client) -> Self {
        let beats = tokio::time::interval(BEAT);
        Self { client, beats, number: 0, playing: JoinSet::new(), tally: Tally::default() }
    }

    /// Sends the next request or takes the next answer.
    async fn play(&mut self) {
        tokio::select! {
            _ = self.beats.tick() => {
                let (client, number) = (self.client.clone(), self.number);
                self.number += 1;
                self.playing.spawn(async move { client.ask(number).await });
            }
            Some(Ok(sample)) = self.playing.join_next() => self.tally.add(sample),
        }
    }

    /// Waits for the last answers.
    async fn finish(mut self) -> Tally {
        while let Some(ended) = self.playing.join_next().await {
            if let Ok(sample) = ended {
                self.tally.add(sample);
            }
        }
        self.tally
    }
}

/// What is printed first: endpoint, keys, commands to paste.
fn welcome(client: &Client, admin: &str, keys: bool) -> String {
    let (id, secret) = (&client.credential.access_key_id, client.credential.secret.expose_secret());
    let (endpoint, bucket, region) = (format!("http://{}", client.address), ACCESS_POINT, LOGICAL_REGION);
    let hello = HELLO.0;
    let hint = if keys { "Keys: 1 2 3 kill or revive a region, q quits." } else { "Ctrl-C quits." };
    format!(
        "nearpoint demo: one S3 endpoint over three regions, replicated both ways.

  endpoint    {endpoint}
  bucket      {bucket}
  access key  {id}
  secret      {secret}
  admin       http://{admin} (/metrics, /api/v1/status)

A little traffic runs already; the lines below say who serves it. In another shell:

  export AWS_ACCESS_KEY_ID={id} AWS_SECRET_ACCESS_KEY={secret} AWS_DEFAULT_REGION={region}

  # AWS CLI
  aws --endpoint-url {endpoint} s3 ls s3://{bucket}/
  aws --endpoint-url {endpoint} s3 cp s3://{bucket}/{hello} -

  # boto3
  python3 -c 'import boto3; s3 = boto3.client(\"s3\", endpoint_url=\"{endpoint}\"); \
print(s3.get_object(Bucket=\"{bucket}\", Key=\"{hello}\")[\"Body\"].read().decode())'

  # curl
  curl --aws-sigv4 aws:amz:{region}:s3 --user \"$AWS_ACCESS_KEY_ID:$AWS_SECRET_ACCESS_KEY\" \
-H 'x-amz-content-sha256: UNSIGNED-PAYLOAD' {endpoint}/{bucket}/{hello}

{hint}
"
    )
}

#[cfg(test)]
#[path = "play_tests.rs"]
mod tests;
