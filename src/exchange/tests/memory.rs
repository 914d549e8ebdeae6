//! A network in memory, for whoever tests with paused time: a dial to one of its hosts gets a pipe, and
//! everything on it happens on this thread and at once, so that time stands still while anybody works.

use std::cell::RefCell;
use std::collections::{BTreeMap, VecDeque};
use std::future::Future;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::mpsc;

use crate::exchange::dial::Stream;

/// Bytes on their way in one direction: as much as a socket's buffers hold.
const CAPACITY: usize = 256 << 10;

thread_local! {
    static HOSTS: RefCell<BTreeMap<IpAddr, Arc<Host>>> = const { RefCell::new(BTreeMap::new()) };
}

/// How a host takes connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Door {
    Open,
    /// Nobody listens.
    Refuses,
    /// Nothing comes back.
    Silent,
}

/// One host of the network.
#[derive(Debug)]
pub(crate) struct Host {
    door: Mutex<Door>,
    callers: mpsc::UnboundedSender<Pipe>,
}

impl Host {
    /// A new host at this address, in this thread's network; its callers' ends come out of the
    /// receiver.
    pub(crate) fn at(address: IpAddr) -> (Arc<Self>, mpsc::UnboundedReceiver<Pipe>) {
        let (callers, inbox) = mpsc::unbounded_channel();
        let host = Arc::new(Self { door: Mutex::new(Door::Open), callers });
        HOSTS.with_borrow_mut(|hosts| hosts.insert(address, Arc::clone(&host)));
        (host, inbox)
    }

    pub(crate) fn set(&self, door: Door) {
        *self.door.lock().unwrap() = door;
    }
}

/// A connection under way.
pub(crate) type Connecting = Pin<Box<dyn Future<Output = io::Result<Stream>> + Send>>;

/// Connects to a host of the network; `None` where the address is none of its.
pub(crate) fn connect(address: SocketAddr) -> Option<Connecting> {
    let host = HOSTS.with_borrow(|hosts| hosts.get(&address.ip()).cloned())?;
    Some(Box::pin(async move {
        let door = *host.door.lock().unwrap();
        match door {
            Door::Refuses => return Err(io::ErrorKind::ConnectionRefused.into()),
            Door::Silent => std::future::pending().await,
            Door::Open => {}
        }
        let (near, far) = Pipe::pair();
        host.callers.send(far).map_err(|_| io::ErrorKind::ConnectionRefused)?;
        Ok(Stream::Memory(near))
    }))
}

/// One direction.
#[derive(Debug, Default)]
struct Half {
    bytes: VecDeque<u8>,
    ended: bool,
    reader: Option<Waker>,
    writer: Option<Waker>,
}

impl Half {
    fn end(&mut self) {
        self.ended = true;
        self.wake();
    }

    fn wake(&mut self) {
        self.reader.take().into_iter().chain(self.writer.take()).for_each(Waker::wake);
    }
}

/// One end of a connection; dropping it ends both directions.
#[derive(Debug)]
pub struct Pipe {
    incoming: Arc<Mutex<Half>>,
    outgoing: Arc<Mutex<Half>>,
}

impl Pipe {
    fn pair() -> (Self, Self) {
        let (there, back) = (Arc::<Mutex<Half>>::default(), Arc::default());
        let far = Self { incoming: Arc::clone(&there), outgoing: Arc::clone(&back) };
        (Self { incoming: back, outgoing: there }, far)
    }

    /// Whether neither bytes nor the end wait to be read.
    pub(crate) fn is_quiet(&self) -> bool {
        let half = self.incoming.lock().unwrap();
        half.bytes.is_empty() && !half.ended
    }
}

impl Drop for Pipe {
    fn drop(&mut self) {
        self.incoming.lock().unwrap().end();
        self.outgoing.lock().unwrap().end();
    }
}

impl AsyncRead for Pipe {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let mut half = self.incoming.lock().unwrap();
        if half.bytes.is_empty() {
            if half.ended {
                return Poll::Ready(Ok(()));
            }
            half.reader = Some(cx.waker().clone());
            return Poll::Pending;
        }
        while into.remaining() > 0 && !half.bytes.is_empty() {
            let (front, _) = half.bytes.as_slices();
            let taken = front.len().min(into.remaining());
            into.put_slice(&front[..taken]);
            half.bytes.drain(..taken);
        }
        half.wake();
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Pipe {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let mut half = self.outgoing.lock().unwrap();
        if half.ended {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        }
        let room = CAPACITY.saturating_sub(half.bytes.len());
        if room == 0 {
            half.writer = Some(cx.waker().clone());
            return Poll::Pending;
        }
        let taken = room.min(bytes.len());
        half.bytes.extend(&bytes[..taken]);
        half.wake();
        Poll::Ready(Ok(taken))
    }

    fn poll_flush(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.outgoing.lock().unwrap().end();
        Poll::Ready(Ok(()))
    }
}
