//! Bad input, one row per number of the threat model's list: the S3 error that is named, nothing
//! committed, the regions' standing unchanged.
//!
//! The rows are built by [`rows`] for any endpoint. They run against the gateway; those that an S3
//! of its own judges alike also run against a scripted region, so that a row which does not do
//! what its name says is found out.

mod rows;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use self::rows::{Row, Shot, Want};
use crate::house::client::{Client, Connection, Ended, Reply, Request};
use crate::house::gateway::{Setup, Tenant};
use crate::house::region::{PATIENCE, Region};
use crate::house::replicator::{Replicator, Ways};
use crate::house::text;

/// The rows 1 to 70 of the list, none missing.
const NUMBERS: std::ops::RangeInclusive<u32> = 1..=70;

/// Fewer cases than this means that some were lost.
const CASES_FLOOR: usize = 244;

/// Fewer rows than this judged by the scripted region too means that the check was hollowed out.
const CASES_AT_STORE_FLOOR: usize = 93;

/// Bytes of a refused upload that may be read: 64 KiB after the answer, and what came with the head in one read.
const DRAINED_MAX: usize = (64 << 10) + (16 << 10);

/// How often each row is sent: twice what makes a region suspect, and a bit.
const SHOTS: usize = 5;

/// CPU time of the gateway for all shots of one document, in hundredths of a second: 50 ms each, a
/// build without optimisation being ten times slower. What is quadratic takes minutes.
const DOCUMENT_TICKS: u64 = 50 * SHOTS as u64;
/// The rows of documents that are built to be dear.
const DEAR: u32 = 48;

/// An endpoint to send rows to, and what they need to know about it.
pub struct Bench {
    /// May use `photos`.
    pub client: Client,
    /// May use `invoices`, and has a session token where it is the gateway.
    pub stranger: Client,
    /// An upload under way of `photos/upload`, as clients know it.
    pub upload_id: String,
    /// A continuation token of a listing of `photos`.
    pub continuation: String,
}

impl Bench {
    async fn at(client: Client, stranger: Client) -> Self {
        let created = client.send(&Request::post("/photos/upload?uploads", "")).await.expect(200);
        let upload_id = text::element(&created.text(), "UploadId").expect("an upload id");
        let page = client.send(&Request::get("/photos?list-type=2&max-keys=1")).await.expect(200);
        let continuation = text::element(&page.text(), "NextContinuationToken").expect("a token");
        Self { client, stranger, upload_id, continuation }
    }
}

/// Objects that rows read.
fn seed(region: &Region, bucket: &str) {
    for number in 0..100 {
        region.seed(bucket, &format!("n/{number}"), number.to_string());
    }
    region.seed(bucket, "k", "value");
}

/// What must not change.
#[derive(Debug, PartialEq, Eq)]
struct Kept {
    objects: Vec<Vec<(String, String)>>,
    uploads: Vec<Vec<(String, usize)>>,
}

struct House {
    regions: Vec<Arc<Region>>,
    gateway: crate::house::gateway::Gateway,
    bench: Bench,
}

const BUCKETS: [[&str; 2]; 2] = [["photos-near", "invoices-near"], ["photos-far", "invoices-far"]];

impl House {
    async fn build() -> Self {
        let near = Arc::new(Region::start("near", &BUCKETS[0]));
        let far = Arc::new(Region::start("far", &BUCKETS[1]));
        seed(&near, BUCKETS[0][0]);
        near.seed(BUCKETS[0][1], "secret", "of another");
        Replicator::by_hand(&[&near, &far], Ways::One).settle();
        let regions: [&Region; 2] = [&near, &far];
        let mut setup = Setup::over(&regions).access_point("invoices", &regions, 1, "allow", "refuse");
        let mut stranger = Tenant::of("stranger", &["invoices"]);
        stranger.session_token = Some("stranger-token".to_owned());
        setup.tenants.push(stranger);
        // what changes a standing is then a row's doing
        setup.probe_rarely();
        let gateway = setup.start();
        gateway.wait_for_reads(&[("near", "healthy"), ("far", "healthy")]).await;
        let bench = Bench::at(gateway.client(), gateway.client_of(1)).await;
        Self { regions: vec![near, far], gateway, bench }
    }

    fn kept(&self) -> Kept {
        let of = |region: &Arc<Region>, names: &[&str; 2]| {
            let objects: Vec<_> = names.iter().map(|name| region.contents(name)).collect();
            let uploads: Vec<_> = names.iter().map(|name| region.uploads(name)).collect();
            (objects, uploads)
        };
        let all: Vec<_> =
            self.regions.iter().zip(&BUCKETS).map(|(region, names)| of(region, names)).collect();
        Kept {
            objects: all.iter().flat_map(|(objects, _)| objects.clone()).collect(),
            uploads: all.into_iter().flat_map(|(_, uploads)| uploads).collect(),
        }
    }

    /// CPU time that the gateway has taken so far, in hundredths of a second.
    fn ticks(&self) -> u64 {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.gateway.process())).unwrap();
        // behind the name, which is in brackets, user and system time are the 12th and 13th
        let fields = stat.rsplit(')').next().unwrap().split_whitespace();
        fields.skip(11).take(2).map(|ticks| ticks.parse::<u64>().unwrap()).sum()
    }

    /// What is wrong with the gateway's handling of a row; empty where nothing is.
    async fn faults(&self, row: &Row) -> Vec<String> {
        let standing = self.gateway.standing().await;
        let kept = self.kept();
        for region in &self.regions {
            region.forget();
        }
        let mut faults = Vec::new();
        let ticks = self.ticks();
        for _ in 0..SHOTS {
            if let Err(fault) = fire(row, &self.bench).await {
                faults.push(fault);
                break;
            }
        }
        let ticks = self.ticks() - ticks;
        if row.number == DEAR && ticks > DOCUMENT_TICKS {
            faults.push(format!("took {ticks} hundredths of a second of CPU"));
        }
        let seen: Vec<_> = self.regions.iter().flat_map(|region| region.seen()).collect();
        let targets: Vec<String> =
            seen.iter().map(|seen| format!("{} {}", seen.method, seen.target)).collect();
        match &row.want {
            Want::Refused(..) | Want::Closed(_) if !seen.is_empty() => {
                faults.push(format!("a region saw {targets:?}"));
            }
            Want::Passed(suffix) => {
                let wanted = [format!("/photos-near{suffix}"), format!("/photos-far{suffix}")];
                if !seen.iter().any(|seen| wanted.contains(&seen.target)) {
                    faults.push(format!("no region saw {wanted:?}, but {targets:?}"));
                }
                let refused = seen.iter().find(|seen| seen.code == Some("SignatureDoesNotMatch"));
                faults
                    .extend(refused.map(|seen| format!("a region refused the signature of {}", seen.target)));
            }
            _ => {}
        }
        if !row.writes && self.kept() != kept {
            faults.push("something was stored or deleted".to_owned());
        }
        let after = self.gateway.standing().await;
        if after != standing {
            faults.push(format!("standing {standing:?} became {after:?}"));
        }
        faults
    }
}

/// Sends a row and compares the answer.
async fn fire(row: &Row, bench: &Bench) -> Result<(), String> {
    let (bytes, method) = match &row.shot {
        Shot::Signed(signed) => (signed.bytes(), signed.method.as_str()),
        Shot::Bytes(bytes) => (bytes.clone(), "GET"),
        Shot::Pipelined => return pipelined(bench).await,
        Shot::BodyOnGet => return body_on_get(bench).await,
        Shot::Gigabyte(head) => return gigabyte(bench, head).await,
    };
    let mut connection = bench.client.connect().await;
    let reply = connection.exchange(&bytes, method).await;
    let answered = judge(&row.want, reply.as_ref(), method);
    if row.closes && reply.is_some() && !connection.is_closed().await {
        return Err("the connection stayed open".to_owned());
    }
    answered
}

fn judge(want: &Want, reply: Option<&Reply>, method: &str) -> Result<(), String> {
    let Some(reply) = reply else {
        return Err("the connection ended without an answer".to_owned());
    };
    let code = reply.code();
    let seen = format!("{} {}", reply.status, code.as_deref().unwrap_or("(no code)"));
    if reply.ended != Ended::Whole {
        return Err(format!("{seen}, and the reply ended {:?}", reply.ended));
    }
    let refused = |status: u16, wanted: &str| {
        reply.status == status && (method == "HEAD" || code.as_deref() == Some(wanted))
    };
    let (right, wanted) = match want {
        Want::Refused(status, wanted) | Want::RefusedLate(status, wanted) => {
            (refused(*status, wanted), format!("{status} {wanted}"))
        }
        Want::Closed(statuses) | Want::Status(statuses) => {
            (statuses.contains(&reply.status), format!("{statuses:?}"))
        }
        Want::Passed(_) => ([200, 204, 206, 404].contains(&reply.status), "an answer of a region".to_owned()),
    };
    if !right {
        return Err(format!("{seen}, not {wanted}"));
    }
    if reply.status == 416 && code.as_deref() != Some("InvalidRange") {
        return Err(format!("{seen}, not InvalidRange"));
    }
    if reply.status >= 400 && reply.header("x-amz-request-id").is_none() && !matches!(want, Want::Closed(_)) {
        return Err(format!("{seen} has no x-amz-request-id"));
    }
    Ok(())
}

/// A hundred requests at once on one connection are answered in order.
async fn pipelined(bench: &Bench) -> Result<(), String> {
    let mut bytes = Vec::new();
    for number in 0..100 {
        let get = Request::get(&format!("/photos/n/{number}"));
        bytes.extend(bench.client.sign(&get).bytes());
    }
    let mut connection = bench.client.connect().await;
    let mut reply = connection.exchange(&bytes, "GET").await;
    for number in 0..100 {
        let body = reply.map(|reply| reply.text());
        if body.as_deref() != Some(number.to_string().as_str()) {
            return Err(format!("answer {number} was {body:?}"));
        }
        reply = if number < 99 { connection.reply("GET").await } else { None };
    }
    Ok(())
}

/// A GET's body never becomes the next request.
async fn body_on_get(bench: &Bench) -> Result<(), String> {
    let smuggled = bench.client.sign(&Request::delete("/photos/k")).bytes();
    let get = Request { body: smuggled, ..Request::get("/photos/k") };
    let mut bytes = bench.client.sign(&get).bytes();
    bytes.extend(bench.client.sign(&Request::get("/photos/n/7")).bytes());
    let mut connection = bench.client.connect().await;
    let first = connection.exchange(&bytes, "GET").await.ok_or("no answer to the GET with a body")?;
    if first.status >= 500 {
        return Err(format!("the GET with a body was answered {}", first.status));
    }
    // closed, or the next request intact
    match connection.reply("GET").await {
        None => Ok(()),
        Some(next) if next.body == b"7" => Ok(()),
        Some(next) => Err(format!("the next answer was {} {}", next.status, next.text())),
    }
}

/// A refused upload is answered, little of it is read, the connection closes.
async fn gigabyte(bench: &Bench, head: &[u8]) -> Result<(), String> {
    let socket = tokio::net::TcpSocket::new_v4().unwrap();
    // else this side's kernel takes megabytes that nobody reads
    socket.set_send_buffer_size(32 << 10).unwrap();
    let stream = socket.connect(bench.client.address).await.unwrap();
    let ports = [stream.local_addr().unwrap().port(), bench.client.address.port()];
    let mut connection = Connection::over(stream);
    let reply = connection.exchange(head, "PUT").await;
    judge(&Want::Refused(403, "SignatureDoesNotMatch"), reply.as_ref(), "PUT")?;
    let piece = vec![0_u8; 16 << 10];
    let (mut sent, mut read) = (0, 0);
    let closed = tokio::time::timeout(PATIENCE, async {
        while sent < 1 << 30 {
            match connection.stream.try_write(&piece) {
                Ok(count) => sent += count,
                // what the kernels hold is full: time to see what was read
                Err(full) if full.kind() == std::io::ErrorKind::WouldBlock => {
                    if let Some(unread) = unread(ports) {
                        read = read.max(sent.saturating_sub(unread));
                    }
                    let moment = Duration::from_millis(5);
                    drop(tokio::time::timeout(moment, connection.stream.writable()).await);
                }
                Err(_reset) => return,
            }
        }
    });
    if closed.await.is_err() {
        return Err("the connection stayed open".to_owned());
    }
    if read > DRAINED_MAX { Err(format!("{read} bytes were read, {sent} sent")) } else { Ok(()) }
}

/// Bytes on their way from one port of this machine to another that the other side's process has not
/// read; `None` where the connection is gone. Bytes received and not yet acknowledged count twice, so
/// what was read is never overstated.
fn unread(ports: [u16; 2]) -> Option<usize> {
    let table = std::fs::read_to_string("/proc/net/tcp").unwrap();
    let port = |address: &str| u16::from_str_radix(address.split(':').nth(1)?, 16).ok();
    let queues = |from: u16, to: u16| {
        table.lines().skip(1).find_map(|line| {
            let fields: Vec<&str> = line.split_whitespace().collect();
            let is_it = port(fields[1]) == Some(from) && port(fields[2]) == Some(to);
            let (sending, received) = fields[4].split_once(':')?;
            let bytes = |text| usize::from_str_radix(text, 16).ok();
            is_it.then_some((bytes(sending)?, bytes(received)?))
        })
    };
    let [here, there] = ports;
    Some(queues(here, there)?.0 + queues(there, here)?.1)
}

fn report(faults: &[String], of: usize) {
    assert!(faults.is_empty(), "{} of {of} cases fail:\n{}", faults.len(), faults.join("\n"));
}

#[tokio::test]
async fn bad_input_is_refused_as_s3_does_and_changes_nothing() {
    let house = House::build().await;
    let rows = rows::all(&house.bench);
    let mut faults = Vec::new();
    for row in &rows {
        let found = house.faults(row).await;
        faults.extend(found.into_iter().map(|fault| format!("row {} ({}): {fault}", row.number, row.what)));
        house.gateway.assert_alive();
    }
    report(&faults, rows.len());
}

/// Rows that S3 itself judges: a row which is not what it says would pass here or fail otherwise.
#[tokio::test]
async fn the_rows_do_what_they_say() {
    let region = Region::start("near", &["photos", "invoices"]);
    seed(&region, "photos");
    let client = Client::of(&region);
    let stranger = client.clone().with_token("stranger-token");
    let bench = Bench::at(client, stranger).await;
    let rows = rows::all(&bench);
    let judged: Vec<&Row> = rows.iter().filter(|row| row.at_store).collect();
    assert!(judged.len() >= CASES_AT_STORE_FLOOR, "only {} rows run here", judged.len());
    let mut faults = Vec::new();
    for row in &judged {
        let contents = region.contents("photos");
        let reply = match &row.shot {
            Shot::Signed(signed) => bench.client.send_bytes(&signed.bytes()).await,
            Shot::Bytes(bytes) => bench.client.send_bytes(bytes).await,
            Shot::Pipelined | Shot::BodyOnGet | Shot::Gigabyte(_) => {
                panic!("{} is no single request", row.what)
            }
        };
        let want = match &row.want {
            // a region gives no request id
            Want::Refused(status, code) | Want::RefusedLate(status, code) => {
                (*status, Some((*code).to_owned()))
            }
            other => panic!("{}: {other:?} is nothing that a region judges", row.what),
        };
        let seen = reply.map(|reply| (reply.status, reply.code()));
        if seen != Some(want.clone()) {
            faults.push(format!("row {} ({}): {seen:?}, not {want:?}", row.number, row.what));
        }
        if region.contents("photos") != contents {
            faults.push(format!("row {} ({}): something was stored", row.number, row.what));
        }
    }
    report(&faults, judged.len());
}

#[tokio::test]
async fn no_row_is_missing() {
    let region = Region::start("near", &["photos", "invoices"]);
    seed(&region, "photos");
    let bench = Bench::at(Client::of(&region), Client::of(&region)).await;
    let rows = rows::all(&bench);
    let numbers: BTreeSet<u32> = rows.iter().map(|row| row.number).collect();
    assert_eq!(numbers, NUMBERS.collect::<BTreeSet<u32>>());
    assert!(rows.len() >= CASES_FLOOR, "only {} cases", rows.len());
    let names: BTreeSet<&str> = rows.iter().map(|row| row.what.as_str()).collect();
    assert_eq!(names.len(), rows.len(), "two cases share a name");
}
