//! A small HTTP/1.1 server on loopback for tests: answers by a function, and remembers what it saw.

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};

/// A request as it came.
#[derive(Clone, Debug, Default)]
pub(crate) struct Request {
    pub(crate) method: String,
    pub(crate) target: String,
    /// Lower-case names.
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: String,
    /// Counts the connections of the server, from 0.
    pub(crate) connection: usize,
}

impl Request {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }
}

/// What to answer.
#[derive(Clone, Debug)]
pub(crate) struct Reply {
    status: u16,
    headers: Vec<(String, String)>,
    body: String,
    /// Nothing is answered, and the connection stays open.
    silent: bool,
    /// The connection is closed after the answer, or instead of one where that is silent.
    closes: bool,
}

impl Reply {
    pub(crate) fn status(status: u16) -> Self {
        Self { status, headers: Vec::new(), body: String::new(), silent: false, closes: false }
    }

    pub(crate) fn text(body: impl Into<String>) -> Self {
        Self { body: body.into(), ..Self::status(200) }
    }

    pub(crate) fn xml(body: impl Into<String>) -> Self {
        Self::text(body).with("content-type", "application/xml")
    }

    #[cfg(feature = "aws-chain")]
    pub(crate) fn json(body: impl Into<String>) -> Self {
        Self::text(body).with("content-type", "application/json")
    }

    pub(crate) fn silence() -> Self {
        Self { silent: true, ..Self::status(200) }
    }

    pub(crate) fn with(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    pub(crate) fn and_status(mut self, status: u16) -> Self {
        self.status = status;
        self
    }

    pub(crate) fn and_close(mut self) -> Self {
        self.closes = true;
        self
    }
}

/// A running server; ends with the test's runtime.
pub(crate) struct Server {
    address: SocketAddr,
    seen: Arc<Mutex<Vec<Request>>>,
}

impl Server {
    pub(crate) async fn start(answer: impl Fn(&Request) -> Reply + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let seen = Arc::new(Mutex::new(Vec::new()));
        let (answer, log) = (Arc::new(answer), Arc::clone(&seen));
        tokio::spawn(async move {
            let mut connection = 0;
            while let Ok((socket, _)) = listener.accept().await {
                tokio::spawn(serve(socket, connection, Arc::clone(&answer), Arc::clone(&log)));
                connection += 1;
            }
        });
        Self { address, seen }
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    #[cfg(feature = "aws-chain")]
    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    pub(crate) fn seen(&self) -> Vec<Request> {
        self.seen.lock().unwrap().clone()
    }
}

async fn serve<F: Fn(&Request) -> Reply>(
    socket: TcpStream,
    connection: usize,
    answer: Arc<F>,
    log: Arc<Mutex<Vec<Request>>>,
) {
    let mut socket = BufReader::new(socket);
    while let Some(mut request) = read(&mut socket).await {
        request.connection = connection;
        let reply = answer(&request);
        let is_head = request.method == "HEAD";
        log.lock().unwrap().push(request);
        if reply.silent && !reply.closes {
            std::future::pending::<()>().await;
        }
        if !reply.silent && socket.get_mut().write_all(written(&reply, is_head).as_bytes()).await.is_err() {
            return;
        }
        if reply.closes {
            return;
        }
    }
}

async fn read(socket: &mut BufReader<TcpStream>) -> Option<Request> {
    let mut request = Request::default();
    let mut line = String::new();
    socket.read_line(&mut line).await.ok()?;
    let mut words = line.split_whitespace();
    request.method = words.next()?.to_owned();
    request.target = words.next()?.to_owned();
    loop {
        line.clear();
        socket.read_line(&mut line).await.ok()?;
        let Some((name, value)) = line.trim_end().split_once(':') else { break };
        request.headers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
    }
    let length = request.header("content-length").map_or(0, |length| length.parse().unwrap());
    let mut body = vec![0; length];
    socket.read_exact(&mut body).await.ok()?;
    request.body = String::from_utf8_lossy(&body).into_owned();
    Some(request)
}

fn written(reply: &Reply, is_head: bool) -> String {
    let mut text = format!("HTTP/1.1 {} Status\r\ncontent-length: {}\r\n", reply.status, reply.body.len());
    for (name, value) in &reply.headers {
        write!(text, "{name}: {value}\r\n").unwrap();
    }
    text.push_str("\r\n");
    if !is_head {
        text.push_str(&reply.body);
    }
    text
}
