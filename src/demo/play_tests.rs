use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Mutex;

use http::{Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;

use super::*;
use crate::demo::{DemoRegion, RegionStanding};
use crate::head::Head;
use crate::sigv4::{Destination, KeyCache, PathForm, PayloadMark, sign};

/// A stand-in for the gateway: forwards to the first region that accepts, signed anew.
async fn forward(
    regions: Arc<Vec<DemoRegion>>,
    request: Request<Incoming>,
) -> Result<Response<Full<bytes::Bytes>>, hyper::Error> {
    let method = request.method().clone();
    let target = request.uri().path_and_query().unwrap().as_str().to_owned();
    let body = request.into_body().collect().await?.to_bytes();
    for region in regions.iter() {
        let Ok(stream) = tokio::net::TcpStream::connect(region.address).await else { continue };
        let mut head =
            Head::new(method.clone(), &target.replacen("/photos", &format!("/{}", region.bucket), 1));
        head.push("host", region.address.to_string().as_bytes());
        head.push("content-length", body.len().to_string().as_bytes());
        let now = Clock::system().now().wall;
        let (pair, mark) = (&region.credential, PayloadMark::Unsigned);
        sign(
            &mut head,
            pair,
            &Destination { region: &region.signing_region, path: PathForm::Raw },
            now,
            &mark,
            &mut KeyCache::new(),
        );
        let request = super::super::regions::wire_request(&head, Full::new(body.clone())).unwrap();
        let (mut sender, connection) =
            hyper::client::conn::http1::handshake::<_, Full<bytes::Bytes>>(TokioIo::new(stream)).await?;
        tokio::spawn(connection);
        let Ok(reply) = sender.send_request(request).await else { continue };
        let (parts, body) = reply.into_parts();
        let Ok(body) = body.collect().await else { continue };
        return Ok(Response::from_parts(parts, Full::new(body.to_bytes())));
    }
    Ok(Response::builder().status(503).body(Full::default()).unwrap())
}

/// Starts the stand-in on a thread of its own.
fn stand_in(settings: DemoSettings) -> Running {
    let regions = Arc::new(settings.regions);
    let listener = std::net::TcpListener::bind(settings.listen).unwrap();
    let address = listener.local_addr().unwrap();
    listener.set_nonblocking(true).unwrap();
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let facts = Arc::clone(&regions);
    let thread = std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async move {
            let listener = TcpListener::from_std(listener).unwrap();
            let accepting = async {
                loop {
                    let stream = listener.accept().await.unwrap().0;
                    let regions = Arc::clone(&regions);
                    let service = service_fn(move |request| forward(Arc::clone(&regions), request));
                    let builder = hyper::server::conn::http1::Builder::new();
                    tokio::spawn(builder.serve_connection(TokioIo::new(stream), service));
                }
            };
            tokio::select! {
                () = accepting => {}
                _ = stopped => {}
            }
        });
    });
    let standing = |region: &DemoRegion| RegionStanding {
        region: region.id.clone(),
        reads: "healthy".to_owned(),
        writes: "healthy".to_owned(),
        latency: Some(region.latency),
    };
    Running {
        address,
        admin: "127.0.0.1:9".to_owned(),
        standings: Box::new(move || facts.iter().map(standing).collect()),
        stop: Box::new(move || {
            stop.send(()).unwrap();
            thread.join().unwrap();
        }),
    }
}

/// What the demo left in the stand-in's hands.
#[derive(Default)]
struct Traces {
    folder: PathBuf,
    ports: Vec<SocketAddr>,
}

#[test]
fn a_script_shows_a_failover_and_leaves_nothing_behind() {
    let ids = PLANS.map(|plan| crate::names::RegionId::new(plan.id)).to_vec();
    let (kill, revive) = (["frankfurt@500ms".to_owned()], ["frankfurt@1500ms".to_owned()]);
    let options = Options {
        listen: "127.0.0.1:0".parse().unwrap(),
        lag: Duration::ZERO,
        script: Some(Script::parse("2s", &kill, &revive, &ids).unwrap()),
        terminal: false,
        colour: false,
    };
    let mut out = Vec::new();
    let traces = Mutex::new(Traces::default());
    let tally = play(&options, &mut out, |settings| {
        let mut seen = traces.lock().unwrap();
        seen.folder = settings.state_dir.parent().unwrap().to_owned();
        seen.ports = settings.regions.iter().map(|region| region.address).collect();
        assert!(settings.state_dir.is_dir());
        Ok::<_, std::io::Error>(stand_in(settings))
    })
    .unwrap();
    let text = String::from_utf8(out).unwrap();
    assert!(tally.is_clean() && tally.reads >= 20 && tally.writes >= 5, "{tally:?}\n{text}");
    let at = |what: &str| text.find(what).unwrap_or_else(|| panic!("no {what:?} in\n{text}"));
    assert!(at("frankfurt  serving") < at("frankfurt killed"));
    assert!(at("frankfurt killed") < at("virginia   serving"));
    assert!(at("virginia   serving") < at("frankfurt revived"));
    assert!(text.contains("http://127.0.0.1:9 (/metrics"), "{text}");
    assert!(at("aws --endpoint-url http://127.0.0.1:") < at("frankfurt  serving"));
    let traces = traces.into_inner().unwrap();
    assert!(!traces.folder.exists(), "{} is still there", traces.folder.display());
    for port in traces.ports {
        assert!(std::net::TcpStream::connect(port).is_err(), "{port} still listens");
    }
}

#[test]
fn a_gateway_that_does_not_start_leaves_nothing_behind_either() {
    let options = Options {
        listen: "127.0.0.1:0".parse().unwrap(),
        lag: Duration::ZERO,
        script: None,
        terminal: false,
        colour: false,
    };
    let mut folder = PathBuf::new();
    let fault = play(&options, &mut Vec::new(), |settings| {
        settings.state_dir.parent().unwrap().clone_into(&mut folder);
        Err(std::io::Error::other("no port for you"))
    });
    assert_eq!(fault.unwrap_err().to_string(), "the gateway did not start: no port for you");
    assert!(!folder.exists());
}
