//! The way to one region, as one worker sees it: settings, TLS, idle connections.

use std::cell::Cell;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use metrics::Gauge;

use super::dial::{self, DialFault, DialTimeouts, Dialled, Target};
use super::meters::Meter;
use super::pool::{Connection, Lease, Pool, Waited, Wanted};
use super::socket::Socket;
use super::tls::{MachineRoots, TlsClient, TlsFault};
use crate::clock::Clock;
use crate::dns::Resolver;
use crate::http1::Conversation;
use crate::names::RegionId;
use crate::telemetry::metric::{self, Metric};
use crate::view::{RegionSettings, Timeouts};

/// The least time between two lines about a shortage: requests meet it by the thousand.
const TELL_EVERY: Duration = Duration::from_secs(1);

/// The way to one region.
pub struct Lane {
    /// Which region.
    pub region: RegionId,
    /// What the operator says about it.
    pub settings: Arc<RegionSettings>,
    /// Idle connections.
    pub pool: Pool,
    /// What all workers see of it.
    pub meter: Arc<Meter>,
    /// TLS towards it; `None` in plain text.
    pub tls: Option<TlsClient>,
    resolver: Resolver,
    clock: Clock,
    connections: Gauge,
    /// When a shortage was last told.
    told: Cell<Option<Instant>>,
}

impl Lane {
    /// A way without any connection yet.
    #[must_use]
    pub fn new(
        settings: Arc<RegionSettings>,
        tls: Option<TlsClient>,
        meter: Arc<Meter>,
        resolver: Resolver,
        clock: Clock,
    ) -> Self {
        let region = settings.id.clone();
        let connections = metric::gauge(Metric::UpstreamConnections, &[region.as_str()]);
        let (addresses, port) = (Arc::clone(&meter.addresses), settings.endpoint.port);
        let pool = Pool::new(addresses, resolver.clone(), clock, port);
        let told = Cell::default();
        Self { region, settings, pool, meter, tls, resolver, clock, connections, told }
    }

    /// Sets up TLS towards a region, where it speaks TLS.
    ///
    /// # Errors
    /// Which file is at fault.
    pub fn tls(settings: &RegionSettings, roots: &MachineRoots) -> Result<Option<TlsClient>, TlsFault> {
        if !settings.endpoint.tls {
            return Ok(None);
        }
        TlsClient::new(&settings.tls, roots).map(Some)
    }

    /// By which settings a bucket is asked for, where the store has said that its own region is another
    /// than that of the configuration.
    #[must_use]
    pub fn moved(&self, bucket: Option<&str>) -> Option<Arc<RegionSettings>> {
        let place = self.meter.moved.of(bucket?, &self.settings)?;
        Some(Arc::new(place.settings(&self.settings)))
    }

    /// The host that is dialled for an authority of this region.
    #[must_use]
    pub fn host<'a>(&self, authority: &'a str) -> &'a str {
        match authority.rsplit_once(':') {
            Some((host, port)) if port.parse() == Ok(self.settings.endpoint.port) => host,
            _ => authority,
        }
    }

    /// A connection that another request gives back, where waiting for it is sooner than making one.
    pub async fn wait(&self, wanted: &Wanted<'_>) -> Option<Connection> {
        let (outcome, given) = match self.pool.wait(wanted).await {
            Waited::Not => return None,
            Waited::Given(given) => ("given", Some(given)),
            Waited::InVain => ("vain", None),
        };
        metric::counter(Metric::UpstreamWaits, &[self.region.as_str(), outcome]).increment(1);
        given
    }

    /// Connects to an authority of this region; addresses in `avoid` are tried last.
    ///
    /// # Errors
    /// How far it came.
    pub async fn dial(
        &self,
        authority: &str,
        avoid: &[SocketAddr],
        timeouts: &Timeouts,
    ) -> Result<Dialled, DialFault> {
        let host = self.host(authority);
        let (port, addresses) = (self.settings.endpoint.port, &self.meter.addresses);
        let target = Target { host, port, tls: self.tls.as_ref(), addresses, avoid };
        let limits = DialTimeouts { connect: timeouts.connect, tls: timeouts.tls };
        let dialled = dial::dial(target, &self.resolver, limits, self.clock).await;
        self.meter.dialled(dialled.as_ref().err().map(|fault| fault.stage), self.clock.mono());
        let outcome = match &dialled {
            Ok(_) => "connected",
            Err(fault) => fault.stage.name(),
        };
        metric::counter(Metric::UpstreamConnects, &[self.region.as_str(), outcome]).increment(1);
        if let Err(fault) = &dialled {
            self.tell_shortage(fault);
        }
        dialled
    }

    /// A shortage is this machine's, not the region's, and the operator's to end.
    fn tell_shortage(&self, fault: &DialFault) {
        let now = self.clock.mono();
        let told = self.told.get().is_some_and(|told| now.saturating_duration_since(told) < TELL_EVERY);
        if fault.stage != dial::Stage::Shortage || told {
            return;
        }
        self.told.set(Some(now));
        tracing::error!(
            region = %self.region,
            %fault,
            "no files, ports or memory left for connections to regions: raise ulimit -n or lower limits.connections"
        );
    }

    /// Speaks HTTP/1.1 over a fresh connection, in use under `lease`.
    #[must_use]
    pub fn open(&self, dialled: Dialled, authority: &str, lease: Lease) -> Connection {
        let pulse = self.meter.addresses.pulse(dialled.address);
        let socket = Socket::new(dialled.stream);
        let conversation = Conversation::new(socket.clone());
        Connection::new(conversation, socket, Rc::from(authority), pulse, self.connections.clone(), lease)
    }
}

impl std::fmt::Debug for Lane {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Lane").field("region", &self.region).finish_non_exhaustive()
    }
}
