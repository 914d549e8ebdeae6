//! One try at a region: what ends it before anything of the request is sent.

pub(crate) mod memory;

use std::cell::{Cell, RefCell};
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use http::Method;
use smallvec::SmallVec;
use tokio::io::AsyncReadExt;
use tokio::net::TcpListener;

use super::attempt::{Answer, Desk, Failed, Prepared, Try, attempt};
use super::bell::Bell;
use super::lane::Lane;
use super::meters::Meters;
use super::tls::{MachineRoots, TlsClient};
use crate::body::Source;
use crate::body::upload::Framing;
use crate::chance::Coin;
use crate::clock::Clock;
use crate::dns::Resolver;
use crate::head::Head;
use crate::names::{BucketName, RegionId};
use crate::route::{Outcome, Sent, Unsent};
use crate::s3::profile::Profile;
use crate::sigv4::{KeyCache, PayloadMark};
use crate::view::{CredentialSource, Endpoint, ProbeSettings, RegionSettings, Timeouts, UpstreamTls};

/// So long that only what is tested can end a try.
const FOREVER: Duration = Duration::from_mins(10);
/// How long a test waits for that.
const PATIENCE: Duration = Duration::from_secs(30);

/// A region that takes connections and says nothing, not even in a handshake.
struct Rig {
    region: TcpListener,
    lane: Rc<Lane>,
    clock: Clock,
    timeouts: Timeouts,
    bell: Bell,
    keys: RefCell<KeyCache>,
    fit: Cell<bool>,
}

impl Rig {
    async fn new(tls: bool) -> Self {
        let region = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (clock, port) = (Clock::system(), region.local_addr().unwrap().port());
        let id = RegionId::new("eu");
        let settings = RegionSettings {
            id: id.clone(),
            endpoint: Endpoint { tls, host: "127.0.0.1".to_owned(), port, base_path: String::new() },
            signing_region: "eu".to_owned(),
            kms_keys: crate::s3::kms::KmsKeys::NONE,
            profile: Profile::named("custom").unwrap(),
            credentials: CredentialSource::Chain,
            tls: UpstreamTls::default(),
            probe: ProbeSettings {
                interval: ProbeSettings::INTERVAL,
                bucket: Some(BucketName::new("photos")),
                key: ProbeSettings::KEY.to_owned(),
                write: None,
            },
        };
        let client = tls.then(|| TlsClient::new(&UpstreamTls::default(), &MachineRoots::load()).unwrap());
        let meter = Meters::new(clock.mono(), Coin::seeded(1)).of(&id);
        let lane = Lane::new(Arc::new(settings), client, meter, Resolver::system(clock), clock);
        Self {
            region,
            lane: Rc::new(lane),
            clock,
            timeouts: Timeouts { connect: FOREVER, tls: FOREVER, ..Timeouts::default() },
            bell: Bell::default(),
            keys: RefCell::new(KeyCache::new()),
            fit: Cell::new(true),
        }
    }

    /// A DELETE, to be sent by then.
    async fn delete(&self, send_by: Option<Instant>) -> Result<Answer, Failed> {
        let source = Source::empty();
        let mut head = Head::new(Method::DELETE, "/photos/k");
        head.push("host", self.lane.settings.endpoint.authority().as_bytes());
        let still_worth_waiting = |_: &RegionId| self.fit.get();
        let desk = Desk {
            clock: self.clock,
            timeouts: &self.timeouts,
            bell: &self.bell,
            keys: &self.keys,
            still_worth_waiting: &still_worth_waiting,
        };
        let this = Try {
            lane: &self.lane,
            settings: &self.lane.settings,
            source: &source,
            credential: None,
            expect: false,
            patience: FOREVER,
            repeatable: false,
            fresh: false,
            avoid: SmallVec::new(),
            send_by,
            deadline: self.clock.mono() + FOREVER,
        };
        let prepared = Prepared { head, framing: Framing::Plain, payload: PayloadMark::Empty };
        let tried = attempt(&desk, &this, prepared);
        tokio::time::timeout(PATIENCE, tried).await.expect("something ends it")
    }

    fn soon(&self) -> Instant {
        self.clock.mono() + Duration::from_millis(50)
    }
}

#[track_caller]
fn unsent(tried: Result<Answer, Failed>) -> Unsent {
    match tried {
        Err(Failed::Region { outcome: Outcome::NotSent(unsent), kept: false, .. }) => unsent,
        Err(failed) => panic!("{failed:?}"),
        Ok(_) => panic!("nobody answers here"),
    }
}

#[tokio::test]
async fn a_region_that_goes_out_is_not_dialled_to_the_end() {
    let rig = Rig::new(true).await;
    let news = async {
        let (_socket, _) = rig.region.accept().await.unwrap();
        rig.bell.ring();
        tokio::task::yield_now().await;
        rig.fit.set(false);
        rig.bell.ring();
        std::future::pending::<()>().await;
    };
    let tried = tokio::select! { tried = rig.delete(None) => tried, () = news => unreachable!() };
    assert_eq!(unsent(tried), Unsent::StandingChanged);
}

#[tokio::test]
async fn news_that_leave_a_region_fit_end_no_dial() {
    let rig = Rig::new(true).await;
    let (tried, ()) = tokio::join!(rig.delete(Some(rig.soon())), async {
        rig.bell.ring();
    });
    assert_eq!(unsent(tried), Unsent::TooLate, "only its time did");
}

#[tokio::test]
async fn what_must_be_sent_by_then_is_not_written_later() {
    let rig = Rig::new(false).await;
    let now = rig.clock.mono();
    // the connection is there at once, and comes too late all the same
    let tried = tokio::task::LocalSet::new().run_until(rig.delete(Some(now))).await;
    assert_eq!(unsent(tried), Unsent::TooLate);
    let (mut socket, _) = rig.region.accept().await.unwrap();
    let mut written = Vec::new();
    socket.read_to_end(&mut written).await.unwrap();
    assert!(written.is_empty(), "{}", String::from_utf8_lossy(&written));
}

/// What a DELETE ends in whose connection to 127.0.0.1 is closed before it takes anything, where the
/// region is at these addresses.
async fn closed_before_it_was_sent(addresses: &[u8]) -> (Outcome, Option<SocketAddr>) {
    let rig = Rig::new(false).await;
    let port = rig.lane.settings.endpoint.port;
    let at = |last: &u8| SocketAddr::from(([127, 0, 0, *last], port));
    let listed: Vec<SocketAddr> = addresses.iter().map(at).collect();
    let now = rig.clock.mono();
    rig.lane.meter.addresses.listed("store.test", &listed, now);
    let sent = async {
        let deleting = rig.delete(None);
        let closing = async {
            let (socket, _) = rig.region.accept().await.unwrap();
            // a reset, and nothing of the request read
            socket2::SockRef::from(&socket).set_linger(Some(Duration::ZERO)).unwrap();
            drop(socket);
            std::future::pending::<()>().await;
        };
        tokio::select! { tried = deleting => tried, () = closing => unreachable!() }
    };
    match tokio::task::LocalSet::new().run_until(sent).await {
        Err(Failed::Region { outcome, address, .. }) => (outcome, address),
        _ => panic!("nobody answers here"),
    }
}

#[tokio::test]
async fn what_an_address_took_nothing_of_is_never_called_unsent_once_it_may_be_out() {
    for addresses in [&[1][..], &[1, 2]] {
        let (outcome, address) = closed_before_it_was_sent(addresses).await;
        // the reset may come before there is a connection to blame
        assert!(address.is_none_or(|address| address.ip() == std::net::Ipv4Addr::LOCALHOST), "{address:?}");
        // hyper gives the request back whole: another address takes it, where there is one; or it
        // had begun to write, and then it may be out
        assert!(addresses.len() > 1 || !outcome.is_stale(), "nobody else takes it: {outcome:?}");
        let unsent = matches!(outcome, Outcome::NotSent(_) | Outcome::Stale { sent: Sent::Nothing });
        assert!(unsent || outcome == Outcome::Broken { sent: Sent::Head }, "{outcome:?}");
    }
}
