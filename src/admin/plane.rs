//! The admin listener's routes and its server. A door.

use std::fmt;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::{Query, Request, State};
use axum::http::{StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Json, Response};
use axum::routing::get;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::guard::Guard;
use super::{AdminSettings, Readiness};
use crate::clock::Clock;
use crate::listen::{Address, BindFault, BoundSocket, bind_alone};

/// Something that can be asked for a text or a value whenever somebody looks.
pub type Source<T> = Arc<dyn Fn() -> T + Send + Sync>;

/// What the listener shows.
#[derive(Clone)]
pub struct Plane {
    /// For `/readyz`.
    pub ready: Arc<Readiness>,
    /// For `/metrics`: the Prometheus text.
    pub metrics: Source<String>,
    /// For `/api/v1/status`: regions and their standings. Names no secret.
    pub status: Source<serde_json::Value>,
    /// Time.
    pub clock: Clock,
}

impl fmt::Debug for Plane {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Plane").field("ready", &self.ready).finish_non_exhaustive()
    }
}

/// A bound admin listener.
#[derive(Debug)]
pub struct AdminSocket {
    socket: BoundSocket,
    address: Address,
    guard: Guard,
}

impl AdminSocket {
    /// Where it really listens: port 0 resolved.
    #[must_use]
    pub fn address(&self) -> &Address {
        &self.address
    }
}

/// Connections held open at once; scrapers and probes need few.
const CONNECTIONS_MAX: usize = 64;
/// A head must be complete by then; idle connections end by then too.
const HEAD_TIMEOUT: Duration = Duration::from_secs(10);
/// Connections at the end get this long for the answer under way.
const DRAIN: Duration = Duration::from_secs(1);
/// Out of file descriptors: trying at once would spin.
const ACCEPT_BACKOFF: Duration = Duration::from_millis(50);

/// Binds the admin listener.
///
/// # Errors
/// [`BindFault`].
pub fn bind(settings: &AdminSettings) -> Result<AdminSocket, BindFault> {
    let (socket, address) = bind_alone(&settings.address)?;
    let guard = Guard::new(&address, settings.token.clone());
    Ok(AdminSocket { socket, address, guard })
}

/// Serves the admin listener until `shutdown`. Better not on a worker's runtime: rendering
/// metrics takes milliseconds.
///
/// # Errors
/// Where the socket cannot be given to this runtime.
pub async fn serve(socket: AdminSocket, plane: Plane, shutdown: CancellationToken) -> io::Result<()> {
    let router = router(plane, socket.guard);
    let server = Server {
        router,
        shutdown,
        tasks: TaskTracker::new(),
        room: Arc::new(Semaphore::new(CONNECTIONS_MAX)),
    };
    let listener = Listener::new(socket.socket)?;
    tokio::select! {
        () = server.shutdown.cancelled() => {}
        () = server.accept(&listener) => {}
    }
    server.tasks.close();
    // whoever takes longer is dropped with the runtime
    let _late = tokio::time::timeout(DRAIN, server.tasks.wait()).await;
    Ok(())
}

struct Server {
    router: Router,
    shutdown: CancellationToken,
    tasks: TaskTracker,
    room: Arc<Semaphore>,
}

enum Listener {
    Tcp(TcpListener),
    Unix(UnixListener),
}

impl Listener {
    fn new(socket: BoundSocket) -> io::Result<Self> {
        Ok(match socket {
            BoundSocket::Tcp(socket) => Self::Tcp(TcpListener::from_std(socket)?),
            BoundSocket::Unix(socket) => Self::Unix(UnixListener::from_std(socket)?),
        })
    }
}

impl Server {
    async fn accept(&self, listener: &Listener) {
        while let Ok(place) = Arc::clone(&self.room).acquire_owned().await {
            let accepted = match listener {
                Listener::Tcp(listener) => {
                    listener.accept().await.map(|(stream, _)| self.serve(stream, place))
                }
                Listener::Unix(listener) => {
                    listener.accept().await.map(|(stream, _)| self.serve(stream, place))
                }
            };
            if let Err(fault) = accepted {
                tracing::warn!(%fault, "cannot accept admin connections");
                tokio::time::sleep(ACCEPT_BACKOFF).await;
            }
        }
    }

    fn serve<S>(&self, stream: S, place: OwnedSemaphorePermit)
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let serve = connection(stream, self.router.clone(), self.shutdown.clone());
        self.tasks.spawn(async move {
            serve.await;
            drop(place);
        });
    }
}

async fn connection<S>(stream: S, router: Router, shutdown: CancellationToken)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let connection = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(router));
    tokio::pin!(connection);
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = shutdown.cancelled() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(fault) = ended {
        tracing::debug!(%fault, "an admin connection broke");
    }
}

fn router(plane: Plane, guard: Guard) -> Router {
    Router::new()
        .route(LIVE, get(async || ALIVE))
        .route(READY, get(ready))
        .route("/metrics", get(metrics))
        .route("/api/v1/status", get(status))
        .with_state(plane)
        .fallback(async || StatusCode::NOT_FOUND)
        .layer(middleware::from_fn_with_state(guard, admit))
}

pub(super) const LIVE: &str = "/livez";
/// All that it says.
pub(super) const ALIVE: &str = "ok\n";
const READY: &str = "/readyz";

async fn admit(State(guard): State<Guard>, request: Request, next: Next) -> Response {
    let open = matches!(request.uri().path(), LIVE | READY);
    match guard.judge(request.headers(), open) {
        Ok(()) => next.run(request).await,
        Err(StatusCode::UNAUTHORIZED) => {
            (StatusCode::UNAUTHORIZED, [(header::WWW_AUTHENTICATE, "Bearer")]).into_response()
        }
        Err(status) => status.into_response(),
    }
}

#[derive(serde::Deserialize)]
struct Verbose {
    verbose: Option<String>,
}

async fn ready(State(plane): State<Plane>, Query(asked): Query<Verbose>) -> Response {
    let verdict = plane.ready.verdict(plane.clock.mono());
    let status = if verdict.ready() { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    let text = match asked.verbose {
        Some(_) => verdict.report(),
        None => format!("{}\n", verdict.summary()),
    };
    (status, text).into_response()
}

async fn metrics(State(plane): State<Plane>) -> Response {
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], (plane.metrics)()).into_response()
}

async fn status(State(plane): State<Plane>) -> Json<serde_json::Value> {
    Json((plane.status)())
}

#[cfg(test)]
mod tests {
    use reqwest::{Client, Method};

    use super::*;
    use crate::admin::{Health, Unwell, healthcheck};
    use crate::names::Secret;

    struct House {
        address: Address,
        ready: Arc<Readiness>,
        shutdown: CancellationToken,
        running: tokio::task::JoinHandle<io::Result<()>>,
        client: Client,
    }

    impl House {
        fn open(address: &str, token: Option<&str>) -> Self {
            // the first test of the process installs it
            let _twice = rustls::crypto::aws_lc_rs::default_provider().install_default();
            let settings =
                AdminSettings { address: address.parse().unwrap(), token: token.map(Secret::from) };
            let socket = bind(&settings).unwrap();
            let address = socket.address().clone();
            let ready = Arc::new(Readiness::new(Clock::system().mono()));
            let plane = Plane {
                ready: Arc::clone(&ready),
                metrics: Arc::new(|| "nearpoint_build 1\n".to_owned()),
                status: Arc::new(|| serde_json::json!({"regions": {"fra": "healthy"}})),
                clock: Clock::system(),
            };
            let shutdown = CancellationToken::new();
            let running = tokio::spawn(serve(socket, plane, shutdown.clone()));
            let client = Client::builder().no_proxy().build().unwrap();
            Self { address, ready, shutdown, running, client }
        }

        async fn ask(&self, method: Method, path: &str, headers: &[(&str, &str)]) -> (u16, String) {
            let mut request = self.client.request(method, format!("http://{}{path}", self.address));
            for (name, value) in headers {
                request = request.header(*name, *value);
            }
            let reply = request.send().await.unwrap();
            (reply.status().as_u16(), reply.text().await.unwrap())
        }
    }

    #[tokio::test]
    async fn the_routes_answer() {
        let house = House::open("127.0.0.1:0", None);
        let ask = async |path: &str| house.ask(Method::GET, path, &[]).await;
        assert_eq!(ask("/livez").await, (200, "ok\n".to_owned()));
        assert_eq!(ask("/readyz").await, (503, "not ready\n".to_owned()));
        house.ready.configured();
        house.ready.bound();
        house.ready.probed();
        assert_eq!(ask("/readyz").await, (200, "ready\n".to_owned()));
        let (status, report) = ask("/readyz?verbose").await;
        assert!(status == 200 && report.contains("[+] listeners"), "{report}");
        assert_eq!(ask("/metrics").await, (200, "nearpoint_build 1\n".to_owned()));
        assert_eq!(ask("/api/v1/status").await, (200, "{\"regions\":{\"fra\":\"healthy\"}}".to_owned()));
        assert_eq!(ask("/debug/pprof").await.0, 404);
        assert_eq!(house.ask(Method::POST, "/metrics", &[]).await.0, 405);
    }

    #[tokio::test]
    async fn strangers_get_health_alone() {
        let house = House::open("127.0.0.1:0", Some("letmein"));
        assert_eq!(house.ask(Method::GET, "/livez", &[]).await.0, 200);
        for path in ["/metrics", "/api/v1/status", "/nowhere"] {
            assert_eq!(house.ask(Method::GET, path, &[]).await.0, 401, "{path}");
            let with = |value| [("authorization", value)];
            assert_eq!(house.ask(Method::GET, path, &with("Bearer wrong")).await.0, 401, "{path}");
            assert_ne!(house.ask(Method::GET, path, &with("Bearer letmein")).await.0, 401, "{path}");
        }
        assert_eq!(house.ask(Method::GET, "/livez", &[("host", "evil.example")]).await.0, 403);
        assert_eq!(house.ask(Method::GET, "/livez", &[("origin", "http://localhost")]).await.0, 403);
    }

    #[tokio::test]
    async fn the_health_check_reads_what_is_said() {
        let house = House::open("127.0.0.1:0", Some("letmein"));
        let limit = Duration::from_secs(10);
        let health = healthcheck(&house.address, limit).await.unwrap();
        assert!(!health.ready && health.report.contains("[-] listeners"), "{health:?}");
        house.ready.configured();
        house.ready.bound();
        house.ready.probed();
        assert!(matches!(healthcheck(&house.address, limit).await, Ok(Health { ready: true, .. })));
        house.shutdown.cancel();
        house.running.await.unwrap().unwrap();
        assert!(healthcheck(&house.address, limit).await.is_err(), "nobody answers");
    }

    #[tokio::test]
    async fn who_answers_everything_is_not_healthy() {
        let other = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = Address::Tcp(other.local_addr().unwrap());
        tokio::spawn(async move {
            let app = Router::new().fallback(async || "welcome\n");
            serve_one(other, app).await;
        });
        let fault = healthcheck(&address, Duration::from_secs(10)).await.unwrap_err();
        assert!(matches!(fault, Unwell::Stranger { status: 200, .. }), "{fault}");
    }

    /// Serves a router as this room does, without a guard.
    async fn serve_one(listener: TcpListener, app: Router) {
        let (stream, _) = listener.accept().await.unwrap();
        let service = TowerToHyperService::new(app);
        let connection =
            hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service);
        connection.await.unwrap_or_default();
    }

    #[tokio::test]
    async fn unix_sockets_are_served_and_checked() {
        let folder = tempfile::tempdir().unwrap();
        let house = House::open(&format!("unix:{}", folder.path().join("admin.sock").display()), None);
        house.ready.configured();
        house.ready.bound();
        house.ready.probed();
        assert!(healthcheck(&house.address, Duration::from_secs(10)).await.unwrap().ready);
    }

    #[tokio::test]
    async fn a_second_listener_is_refused() {
        let house = House::open("127.0.0.1:0", None);
        let again = AdminSettings { address: house.address.clone(), token: None };
        assert!(matches!(bind(&again), Err(BindFault::InUse { .. })));
    }
}
