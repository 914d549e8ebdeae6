//! Write probes: a small object is put into a region, and looked for in the regions that its stores
//! replicate to. A door, over [`super::written`], which is pure.
//!
//! Opt-in (`probe.write`): it leaves an object next to the probe's key, one for each region, and
//! needs the permission to put it.

use std::time::{Duration, Instant};

use bytes::Bytes;
use http::Method;

use super::check::{CheckFault, Exchanged, Site, exchange, sign};
use super::written::{Mark, Outstanding, Rhythm, look_pause};
use super::{Outlook, ProbeTarget, Tools};
use crate::chance::Coin;
use crate::fleet::ProbeFault;
use crate::names::{BucketName, CredentialId, RegionId};
use crate::route::Meaning;
use crate::s3::xml::read_error;
use crate::sigv4::PayloadMark;

/// How long a write probe may take: S3's own tail is below it.
const WRITE_TIMEOUT: Duration = Duration::from_secs(5);
/// How long a look may take.
const LOOK_TIMEOUT: Duration = Duration::from_secs(2);
/// Pauses are shortened by up to this share, so that gateways do not write in step.
const JITTER: f64 = 0.2;

/// How a region is written to.
#[derive(Clone, Debug)]
pub struct WriteTarget {
    /// Between two write probes while all is well.
    pub interval: Duration,
    /// The key, as it is named (not encoded).
    pub key: String,
    /// Where it should turn up.
    pub followers: Vec<Follower>,
}

/// A region that the stores replicate to.
#[derive(Clone, Debug)]
pub struct Follower {
    /// Its name.
    pub region: RegionId,
    /// Where it is, and how to sign for it.
    pub site: Site,
    /// Its bucket.
    pub bucket: BucketName,
}

/// What a write probe came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Wrote {
    /// The region took it.
    Taken,
    /// The region failed.
    Failed(ProbeFault),
    /// The region refused it, with this code or status: a permission is missing, or a bucket.
    Refused(String),
    /// It asked for less, which says nothing.
    Throttled,
    /// It was not sent, for want of something of ours.
    Unsent,
}

/// Writes and looks for as long as the future lives.
pub(super) async fn watch(target: ProbeTarget, tools: Tools, outlook: impl Outlook, mut coin: Coin) {
    let (Some(write), Some(bucket)) = (target.write.clone(), target.bucket.clone()) else { return };
    let writer = coin.bits();
    let (mut rhythm, mut count, mut refused) = (Rhythm::new(write.interval), 0, false);
    let mut outstanding = vec![Outstanding::default(); write.followers.len()];
    loop {
        let began = tools.clock.now();
        count += 1;
        let mark = Mark { writer, count, at: began.wall };
        let wrote = put(&target, &bucket, &write.key, &mark, &tools).await;
        if let Wrote::Refused(code) = &wrote
            && !refused
        {
            tracing::warn!(
                region = %target.region,
                code,
                bucket = %bucket,
                key = write.key,
                "a write probe is refused: allow s3:PutObject on this key, or set probe.write to off"
            );
        }
        refused = matches!(wrote, Wrote::Refused(_));
        rhythm.ended(!matches!(wrote, Wrote::Failed(_)));
        outlook.wrote(&target.region, &wrote);
        let now = tools.clock.mono();
        if wrote == Wrote::Taken {
            for one in &mut outstanding {
                one.wrote(mark.clone(), now);
            }
        }
        let next = now + rhythm.pause().mul_f64(1.0 - JITTER * coin.share());
        look(&target.region, &write, &mut outstanding, next, (&tools, &outlook)).await;
        tokio::time::sleep_until(next.into()).await;
    }
}

/// Looks for what was written until it is everywhere or it is time for the next write.
async fn look(
    from: &RegionId,
    write: &WriteTarget,
    outstanding: &mut [Outstanding],
    until: Instant,
    (tools, outlook): (&Tools, &impl Outlook),
) {
    for looks in 0.. {
        for (follower, outstanding) in write.followers.iter().zip(outstanding.iter_mut()) {
            if outstanding.is_empty() {
                continue;
            }
            // a region that cannot be asked says nothing of its lag
            let Ok(visible) = get(follower, &write.key, tools).await else { continue };
            if let Some(lag) = outstanding.look(visible.as_ref(), tools.clock.mono()) {
                outlook.lagged(from, &follower.region, lag);
            }
        }
        let pause = look_pause(looks);
        let over = outstanding.iter().all(Outstanding::is_empty);
        if over || tools.clock.mono() + pause >= until {
            return;
        }
        tokio::time::sleep(pause).await;
    }
}

/// Puts a mark.
async fn put(target: &ProbeTarget, bucket: &BucketName, key: &str, mark: &Mark, tools: &Tools) -> Wrote {
    let body = Bytes::from(mark.text());
    let mut head = target.site.head(Method::PUT, Some(bucket), key);
    head.push("content-length", body.len().to_string().as_bytes());
    head.push("content-type", b"text/plain");
    let payload = PayloadMark::Sha256(sha256(&body));
    let credential = tools.credentials.current(&target.region, &CredentialId::Region);
    sign(&mut head, credential.as_deref(), &target.site, &payload, (&target.region, tools));
    let deadline = tools.clock.mono() + WRITE_TIMEOUT;
    match exchange(&target.site, bucket, (&head, body), tools, deadline).await {
        Ok(Exchanged { status: 200..=299, .. }) => Wrote::Taken,
        Ok(Exchanged { status, document, .. }) => {
            let code = read_error(&document).map(|error| error.code);
            match Meaning::read(status, code.as_deref()) {
                Meaning::ServerFault => Wrote::Failed(ProbeFault::ServerError(status)),
                Meaning::Throttled => Wrote::Throttled,
                _ => Wrote::Refused(code.unwrap_or_else(|| status.to_string())),
            }
        }
        Err(fault) => match fault.never() {
            Some(never) => Wrote::Failed(ProbeFault::Never(never)),
            None => Wrote::Unsent,
        },
    }
}

/// What a follower has; `None` where it has nothing yet.
async fn get(follower: &Follower, key: &str, tools: &Tools) -> Result<Option<Mark>, CheckFault> {
    let mut head = follower.site.head(Method::GET, Some(&follower.bucket), key);
    let credential = tools.credentials.current(&follower.region, &CredentialId::Region);
    let (payload, whose) = (PayloadMark::Empty, (&follower.region, tools));
    sign(&mut head, credential.as_deref(), &follower.site, &payload, whose);
    let deadline = tools.clock.mono() + LOOK_TIMEOUT;
    let got = exchange(&follower.site, &follower.bucket, (&head, Bytes::new()), tools, deadline).await?;
    match got.status {
        200 => Ok(std::str::from_utf8(&got.document).ok().and_then(Mark::read)),
        404 => Ok(None),
        status => Err(CheckFault::Broken(format!("status {status}"))),
    }
}

/// Its SHA-256.
pub(super) fn sha256(bytes: &[u8]) -> [u8; 32] {
    let mut digest = [0; 32];
    digest.copy_from_slice(aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, bytes).as_ref());
    digest
}
