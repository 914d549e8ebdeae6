//! The control port: one JSON document a line, one line in answer, objects' bytes behind either.
//!
//! | do | with | answers |
//! | --- | --- | --- |
//! | `fault` | `when` (operation, key, method, skip, times, share, probes), `act` and its values | |
//! | `heal` | | |
//! | `throttle` | `per_second`, null ends it | |
//! | `skew` | `seconds`: how wrong its clock is | |
//! | `counts` | | `requests`, `throttled`, `connections` |
//! | `seed` | `prefix`, `count`: that many small objects in the first bucket | |
//! | `journal` | `cursor`; what is before it is forgotten | `changes`, `cursor`, then the changes' bytes |
//! | `replicate` | a change, then its bytes | `taken` |

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::house::moment;
use crate::house::region::{Act, Change, End, Region, When};

/// Changes in one answer: more are there at the next question.
const CHANGES_MAX: usize = 32;

/// A change's bytes: as large as an upload of the rig's.
const BODY_MAX: usize = 256 << 20;

#[derive(Deserialize)]
#[serde(tag = "do", rename_all = "snake_case")]
enum Order {
    Fault { when: Which, act: What },
    Heal,
    Throttle { per_second: Option<usize> },
    Skew { seconds: i64 },
    Counts,
    Seed { prefix: String, count: usize },
    Journal { cursor: usize },
    Replicate { change: Value },
}

/// [`When`], as written.
#[derive(Deserialize, Default)]
#[serde(default, deny_unknown_fields)]
struct Which {
    operation: Option<String>,
    key: Option<String>,
    method: Option<String>,
    skip: usize,
    times: Option<usize>,
    share: Option<f64>,
    probes: bool,
}

/// [`Act`], as written.
#[derive(Deserialize)]
#[serde(rename_all = "snake_case")]
enum What {
    Silent,
    SilentAfterCommit,
    DropBeforeCommit,
    DropAfterCommit,
    Answer { status: u16, code: String },
    ErrorInsideOk { code: String },
    Delay { ms: u64 },
    Say { name: String, value: String },
}

/// Serves every controller on a thread of its own, for good.
pub fn serve(listener: &TcpListener, region: &Arc<Region>) {
    for stream in listener.incoming() {
        let region = Arc::clone(region);
        let stream = stream.unwrap();
        std::thread::spawn(move || {
            // a controller that went away is no fault of the region
            talk(stream, &region).unwrap_or_default();
        });
    }
}

fn talk(stream: TcpStream, region: &Region) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    let mut writer = stream.try_clone()?;
    let mut reader = BufReader::new(stream);
    let mut line = String::new();
    while reader.read_line(&mut line)? > 0 {
        let (answer, bodies) = match serde_json::from_str(&line) {
            Ok(Order::Replicate { change }) => {
                let size = usize::try_from(change["object"]["size"].as_u64().unwrap_or(0)).unwrap();
                assert!(size <= BODY_MAX, "a change of {size} bytes");
                let mut body = vec![0; size];
                reader.read_exact(&mut body)?;
                let change = Change::of_wire(&change, Bytes::from(body)).expect("a change");
                (json!({"taken": region.replicate(&change)}), Vec::new())
            }
            Ok(order) => obey(order, region),
            Err(fault) => (json!({"error": fault.to_string()}), Vec::new()),
        };
        let mut bytes = format!("{answer}\n").into_bytes();
        for body in bodies {
            bytes.extend_from_slice(&body);
        }
        writer.write_all(&bytes)?;
        line.clear();
    }
    Ok(())
}

fn obey(order: Order, region: &Region) -> (Value, Vec<Bytes>) {
    match order {
        Order::Fault { when, act } => region.fault(when.told(), act.told()),
        Order::Heal => region.heal(),
        Order::Throttle { per_second } => region.throttle(per_second),
        Order::Seed { prefix, count } => {
            let bucket = region.settings().buckets.swap_remove(0);
            for number in 0..count {
                region.seed(&bucket, &format!("{prefix}{number:06}"), number.to_string());
            }
        }
        Order::Skew { seconds } => moment::be_wrong_by(seconds),
        Order::Counts => {
            let counts = region.counts();
            let answer = json!({
                "requests": counts.requests, "throttled": counts.throttled, "connections": counts.connections,
            });
            return (answer, Vec::new());
        }
        Order::Journal { cursor } => return journal(region, cursor),
        Order::Replicate { .. } => unreachable!("it has bytes behind it and is taken before"),
    }
    (json!({}), Vec::new())
}

fn journal(region: &Region, cursor: usize) -> (Value, Vec<Bytes>) {
    region.forget_journal(cursor);
    let (mut changes, _) = region.journal(cursor);
    changes.truncate(CHANGES_MAX);
    let (heads, bodies): (Vec<Value>, Vec<Bytes>) = changes.iter().map(Change::to_wire).unzip();
    (json!({"cursor": cursor + heads.len(), "changes": heads}), bodies)
}

impl Which {
    fn told(self) -> When {
        When {
            operation: self.operation.map(lasting),
            key: self.key,
            method: self.method.map(lasting),
            skip: self.skip,
            times: self.times,
            share: self.share,
            probes: self.probes,
        }
    }
}

impl What {
    fn told(self) -> Act {
        match self {
            Self::Silent => Act::Silent,
            Self::SilentAfterCommit => Act::SilentAfterCommit,
            Self::DropBeforeCommit => Act::DropBeforeCommit(End::Reset),
            Self::DropAfterCommit => Act::DropAfterCommit(End::Reset),
            Self::Answer { status, code } => Act::Answer { status, code: lasting(code) },
            Self::ErrorInsideOk { code } => Act::ErrorInsideOk { code: lasting(code) },
            Self::Delay { ms } => Act::Delay(Duration::from_millis(ms)),
            Self::Say { name, value } => Act::Say(lasting(name), value),
        }
    }
}

/// Kept until the process ends: a handful of words of a test.
fn lasting(text: String) -> &'static str {
    Box::leak(text.into_boxed_str())
}
