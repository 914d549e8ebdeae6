//! Canaries shared: who meets a refusal while one runs waits for it, and its verdict serves all
//! for a second, so that a thousand refused requests cost a region one more. A door.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;

use super::Tools;
use super::check::{Site, canary};
use super::verdict::CanaryVerdict;
use crate::fleet::{Never, ProbeFault};
use crate::names::{BucketName, CredentialId, RegionId};
use crate::sigv4::Credential;

/// How long a verdict is used again (`rulings.md` §1).
pub const VERDICT_SERVES: Duration = Duration::from_secs(1);
/// How long one canary may take.
const CANARY_TIMEOUT: Duration = Duration::from_secs(3);
/// How long who asked waits: a canary that was under way already, and one more.
const JUDGE_TIMEOUT: Duration = Duration::from_secs(6);
/// Questions that may wait for their turn; more are unsettled at once.
const QUESTIONS_WAITING_MAX: usize = 1024;
/// Verdicts and passes remembered; beyond it the old are forgotten.
const REMEMBERED_MAX: usize = 1024;

/// What a canary is to settle.
#[derive(Clone, Debug)]
pub struct Question {
    /// The region.
    pub region: RegionId,
    /// Whose credential.
    pub credential_id: CredentialId,
    /// The credential, as the refused request was signed.
    pub credential: Arc<Credential>,
    /// The bucket, as the store knows it.
    pub bucket: BucketName,
    /// The key asked for; need not exist.
    pub key: String,
    /// Where and how.
    pub site: Arc<Site>,
}

/// A canary's verdict, and what follows for the request that met the refusal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Judged {
    /// What was settled.
    pub verdict: CanaryVerdict,
    /// We are refused: try the next region. Otherwise the refusal is the client's own: pass it on.
    pub refused: bool,
}

/// Asks for canaries. Cheap to clone, for any thread.
#[derive(Clone, Debug)]
pub struct Canaries {
    asks: mpsc::Sender<Ask>,
}

type Subject = (RegionId, CredentialId, BucketName);
type Ask = (Question, oneshot::Sender<Judged>);

impl Canaries {
    /// Starts the task that runs canaries on the current runtime; it ends with the last clone.
    #[must_use]
    pub fn start(tools: Tools) -> Self {
        let (asks, asked) = mpsc::channel(QUESTIONS_WAITING_MAX);
        tokio::spawn(serve(tools, asked));
        Self { asks }
    }

    /// The verdict on a refusal, at most a second old.
    pub async fn judge(&self, question: Question) -> Judged {
        let (tell, told) = oneshot::channel();
        match self.asks.try_send((question, tell)) {
            Ok(()) => match tokio::time::timeout(JUDGE_TIMEOUT, told).await {
                Ok(Ok(judged)) => judged,
                Ok(Err(_)) | Err(_) => nobody_answered(),
            },
            Err(_full_or_gone) => nobody_answered(),
        }
    }
}

/// Overload, or shutting down: nobody is blamed.
fn nobody_answered() -> Judged {
    let fault = ProbeFault::Never(Never::FirstByteTimeout);
    Judged { verdict: CanaryVerdict::Unreachable(fault), refused: false }
}

/// What is under way, and what was settled.
#[derive(Default)]
struct Docket {
    running: HashMap<Subject, Running>,
    settled: HashMap<Subject, (Instant, Judged)>,
    /// Whose canary passed before. Of one bucket: a credential may read all of it and hardly
    /// anything of the next.
    passed: HashSet<Subject>,
}

struct Running {
    since: Instant,
    waiting: Vec<oneshot::Sender<Judged>>,
}

async fn serve(tools: Tools, mut asked: mpsc::Receiver<Ask>) {
    let mut docket = Docket::default();
    let mut canaries = JoinSet::new();
    loop {
        tokio::select! {
            ask = asked.recv() => match ask {
                Some((question, tell)) => {
                    let now = tools.clock.mono();
                    if let Some(subject) = docket.needs_canary(&question, tell, now) {
                        canaries.spawn(run(question, subject, tools.clone()));
                    }
                }
                None => return,
            },
            Some(ended) = canaries.join_next() => {
                if let Ok((subject, verdict)) = ended {
                    docket.settle(subject, verdict, tools.clock.mono());
                }
            }
        }
    }
}

async fn run(question: Question, subject: Subject, tools: Tools) -> (Subject, CanaryVerdict) {
    let Question { region, site, bucket, key, credential, .. } = question;
    let deadline = tools.clock.mono() + CANARY_TIMEOUT;
    (subject, canary((&region, &site), &bucket, &key, &credential, &tools, deadline).await)
}

impl Docket {
    /// Answers at once where a verdict still serves, else files the question; says whether a
    /// canary has to be sent for it.
    fn needs_canary(
        &mut self,
        question: &Question,
        tell: oneshot::Sender<Judged>,
        now: Instant,
    ) -> Option<Subject> {
        let subject: Subject =
            (question.region.clone(), question.credential_id.clone(), question.bucket.clone());
        // one that should have ended long ago has died: another takes its place
        let alive = |running: &&mut Running| now.duration_since(running.since) < JUDGE_TIMEOUT;
        if let Some(running) = self.running.get_mut(&subject).filter(alive) {
            running.waiting.push(tell);
            return None;
        }
        let served = self.settled.get(&subject).filter(|(at, _)| now.duration_since(*at) < VERDICT_SERVES);
        if let Some((_, judged)) = served {
            // who asked may have gone away
            let _gone = tell.send(judged.clone());
            return None;
        }
        self.running.insert(subject.clone(), Running { since: now, waiting: vec![tell] });
        Some(subject)
    }

    fn settle(&mut self, subject: Subject, verdict: CanaryVerdict, now: Instant) {
        self.forget_surplus(now);
        let refused = match &verdict {
            CanaryVerdict::CredentialFault(_) | CanaryVerdict::ConfigurationFault(_) => true,
            CanaryVerdict::AccessDenied => self.passed.contains(&subject),
            CanaryVerdict::Clear => {
                self.passed.insert(subject.clone());
                false
            }
            CanaryVerdict::Unreachable(_) | CanaryVerdict::Unasked | CanaryVerdict::Unsettled { .. } => false,
        };
        let judged = Judged { verdict, refused };
        let waiting = self.running.remove(&subject).map(|running| running.waiting);
        for tell in waiting.unwrap_or_default() {
            // who asked may have gone away
            let _gone = tell.send(judged.clone());
        }
        self.settled.insert(subject, (now, judged));
    }

    fn forget_surplus(&mut self, now: Instant) {
        if self.settled.len() >= REMEMBERED_MAX {
            self.settled.retain(|_, (at, _)| now.duration_since(*at) < VERDICT_SERVES);
        }
        if self.passed.len() >= REMEMBERED_MAX {
            self.passed.clear();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Clock;
    use crate::credentials::Store;
    use crate::credentials::stand_in::{Reply, Request, Server};
    use crate::dns::Resolver;
    use crate::names::{AccessKeyId, Secret};
    use crate::s3::profile::Addressing;
    use crate::view::Endpoint;

    fn question(port: u16, bucket: &str) -> Question {
        let endpoint = Endpoint { tls: false, host: "127.0.0.1".to_owned(), port, base_path: String::new() };
        let site = Site {
            region: RegionId::new("eu"),
            endpoint,
            tls: None,
            signing_region: "eu".to_owned(),
            addressing: Addressing::Path,
        };
        let credential = Credential {
            access_key_id: AccessKeyId::new("AKIA"),
            secret: Secret::from("secret"),
            session_token: None,
        };
        Question {
            region: RegionId::new("eu"),
            credential_id: CredentialId::Region,
            credential: Arc::new(credential),
            bucket: BucketName::new(bucket),
            key: "k".to_owned(),
            site: Arc::new(site),
        }
    }

    fn canaries() -> Canaries {
        let clock = Clock::system();
        let credentials = Store::new(Vec::new(), clock);
        let coin = crate::chance::Coin::seeded(1);
        let meters = Arc::new(crate::exchange::meters::Meters::new(clock.mono(), coin));
        Canaries::start(Tools { resolver: Resolver::system(clock), credentials, meters, clock })
    }

    #[tokio::test]
    async fn a_crowd_costs_one_canary() {
        let server = Server::start(|_: &Request| Reply::status(403)).await;
        let (canaries, port) = (canaries(), server.address().port());
        let crowd: Vec<_> = (0..200)
            .map(|_| {
                let (canaries, question) = (canaries.clone(), question(port, "a"));
                tokio::spawn(async move { canaries.judge(question).await })
            })
            .collect();
        for one in crowd {
            assert_eq!(one.await.unwrap().verdict, CanaryVerdict::AccessDenied);
        }
        canaries.judge(question(port, "a")).await;
        assert_eq!(server.seen().len(), 1);
        canaries.judge(question(port, "b")).await;
        assert_eq!(server.seen().len(), 2, "another bucket is another question");
    }

    #[test]
    fn access_denied_counts_only_where_the_credential_passed_in_that_bucket_before() {
        use CanaryVerdict::{AccessDenied, Clear};
        let mut now = Clock::system().mono();
        let mut docket = Docket::default();
        for (bucket, verdict, refused) in [
            ("a", AccessDenied, false),
            ("a", Clear, false),
            ("b", AccessDenied, false),
            ("a", AccessDenied, true),
            ("b", AccessDenied, false),
            ("b", Clear, false),
            ("b", AccessDenied, true),
        ] {
            now += VERDICT_SERVES;
            let (tell, mut told) = oneshot::channel();
            let subject = docket.needs_canary(&question(1, bucket), tell, now).unwrap();
            docket.settle(subject, verdict.clone(), now);
            assert_eq!(told.try_recv().unwrap(), Judged { verdict, refused }, "{bucket}");
        }
    }

    #[test]
    fn a_verdict_serves_for_a_second() {
        let now = Clock::system().mono();
        let mut docket = Docket::default();
        let ask = |docket: &mut Docket, at: Instant| {
            let (tell, told) = oneshot::channel();
            (docket.needs_canary(&question(1, "a"), tell, at), told)
        };
        let (subject, mut first) = ask(&mut docket, now);
        let (none, mut second) = ask(&mut docket, now);
        assert!(none.is_none() && first.try_recv().is_err());
        docket.settle(subject.unwrap(), CanaryVerdict::CredentialFault("x".to_owned()), now);
        assert!(first.try_recv().unwrap().refused && second.try_recv().unwrap().refused);
        let just_before = now + VERDICT_SERVES.mul_f64(0.999);
        let (none, mut third) = ask(&mut docket, just_before);
        assert!(none.is_none() && third.try_recv().unwrap().refused);
        assert!(ask(&mut docket, now + VERDICT_SERVES).0.is_some());
        assert!(ask(&mut docket, now + VERDICT_SERVES).0.is_none(), "under way");
        assert!(ask(&mut docket, now + VERDICT_SERVES + JUDGE_TIMEOUT).0.is_some(), "that one died");
    }

    #[test]
    fn it_forgets_before_it_grows_without_end() {
        let mut now = Clock::system().mono();
        let mut docket = Docket::default();
        for bucket in 0..3 * REMEMBERED_MAX {
            now += Duration::from_millis(1);
            let (tell, _told) = oneshot::channel();
            let subject = docket.needs_canary(&question(1, &bucket.to_string()), tell, now).unwrap();
            docket.settle(subject, CanaryVerdict::AccessDenied, now);
            assert!(docket.settled.len() <= REMEMBERED_MAX && docket.running.is_empty());
        }
    }
}
