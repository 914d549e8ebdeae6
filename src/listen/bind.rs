//! The sockets of the data listeners: one per worker and listener, on a shared port.

use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::FileTypeExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::sync::Arc;

use socket2::{Domain, Protocol, Socket, Type};

use super::door::{Door, Terms};
use super::settings::{Address, ListenerSettings};
use super::tls::TlsFault;

/// One worker's socket of one listener.
#[derive(Debug)]
pub struct Bound {
    pub(super) door: Arc<Door>,
    pub(super) socket: BoundSocket,
}

impl Bound {
    /// The listener that it is of.
    #[must_use]
    pub fn door(&self) -> &Arc<Door> {
        &self.door
    }
}

/// A listening socket that does not block, for a runtime to take.
#[derive(Debug)]
pub enum BoundSocket {
    /// TCP.
    Tcp(std::net::TcpListener),
    /// A unix socket.
    Unix(UnixListener),
}

/// Every listener's sockets.
#[derive(Debug)]
pub struct Binding {
    /// The listeners, in the order of their settings.
    pub doors: Vec<Arc<Door>>,
    /// A set of sockets for each worker.
    pub workers: Vec<Vec<Bound>>,
}

/// Why a listener cannot listen.
#[derive(Debug, thiserror::Error)]
pub enum BindFault {
    /// Another process listens there.
    #[error("{address}: address in use")]
    InUse {
        /// Where.
        address: Address,
    },
    /// A file that is no socket stands where the socket should be.
    #[error("{address}: a file that is no socket is in the way")]
    InTheWay {
        /// Where.
        address: Address,
    },
    /// The system refused.
    #[error("{address}: {cause}")]
    System {
        /// Where.
        address: Address,
        /// Its words.
        cause: io::Error,
    },
    /// Certificate or key cannot be used.
    #[error("{address}: {cause}")]
    Tls {
        /// Where.
        address: Address,
        /// What is wrong with them.
        cause: TlsFault,
    },
}

/// Connections that wait to be accepted, per socket. Linux caps it at `net.core.somaxconn`.
const BACKLOG: i32 = 1024;

/// Binds every listener for `workers` workers (at least one).
///
/// A TCP listener has a socket per worker, so that the kernel shares connections out among them
/// (`SO_REUSEPORT`); the first is bound and listens without that option, so that a second
/// process is refused although ports are shared. A unix listener has one socket, duplicated.
///
/// # Errors
/// [`BindFault`]; sockets bound before it are closed again.
pub fn bind(settings: &[ListenerSettings], workers: usize) -> Result<Binding, BindFault> {
    Ok(Rebinding::prepare(&[], settings, workers)?.put_in_force(0))
}

/// Other listeners than those in force, ready to be put in force whole: certificates are read,
/// sockets are bound. Dropped, nothing has changed.
#[derive(Debug)]
pub struct Rebinding {
    /// With the terms to come.
    kept: Vec<(Arc<Door>, Terms)>,
    gone: Vec<Arc<Door>>,
    binding: Binding,
}

impl Rebinding {
    /// Prepares listeners in place of those in force. A listener is the same where its address is
    /// asked for in the same words; of several with port 0 the first is the first.
    ///
    /// # Errors
    /// [`BindFault`]; sockets bound before it are closed again.
    pub fn prepare(
        in_force: &[Arc<Door>],
        settings: &[ListenerSettings],
        workers: usize,
    ) -> Result<Self, BindFault> {
        let workers = workers.max(1);
        let mut gone: Vec<_> = in_force.to_vec();
        let mut planned = Vec::with_capacity(settings.len());
        for listener in settings {
            let at = gone.iter().position(|door| door.terms().settings.address == listener.address);
            let door = at.map(|at| gone.remove(at));
            let before = door.as_ref().map(|door| door.terms());
            let terms = Terms::new(listener, before.as_deref())
                .map_err(|cause| BindFault::Tls { address: listener.address.clone(), cause })?;
            planned.push((door, terms));
        }
        let mut binding = Binding { doors: Vec::new(), workers: (0..workers).map(|_| Vec::new()).collect() };
        let mut kept = Vec::new();
        for (door, terms) in planned {
            if let Some(door) = door {
                binding.doors.push(Arc::clone(&door));
                kept.push((door, terms));
                continue;
            }
            let (sockets, address) = listen_on(&terms.settings.address, workers)?;
            let door = Arc::new(Door::new(terms, address));
            for (worker, socket) in binding.workers.iter_mut().zip(sockets) {
                worker.push(Bound { door: Arc::clone(&door), socket });
            }
            binding.doors.push(door);
        }
        Ok(Self { kept, gone, binding })
    }

    /// The listeners that go.
    #[must_use]
    pub fn gone(&self) -> &[Arc<Door>] {
        &self.gone
    }

    /// Puts the listeners in force as part of this configuration; their sockets that are new are
    /// the workers' to serve.
    #[must_use]
    pub fn put_in_force(self, configuration: u64) -> Binding {
        for door in &self.gone {
            door.close();
        }
        for (door, terms) in self.kept {
            door.put(Terms { configuration, ..terms });
        }
        for bound in self.binding.workers.first().into_iter().flatten() {
            let terms = bound.door.terms();
            if terms.configuration != configuration {
                bound.door.put(Terms { configuration, ..Terms::clone(&terms) });
            }
        }
        self.binding
    }
}

/// Binds one socket for one user: the admin listener. Also says where, with port 0 resolved.
///
/// # Errors
/// [`BindFault`].
pub fn bind_alone(address: &Address) -> Result<(BoundSocket, Address), BindFault> {
    let (mut sockets, bound) = listen_on(address, 1)?;
    let socket = sockets.pop().ok_or_else(|| fault(address, io::ErrorKind::NotFound.into()))?;
    Ok((socket, bound))
}

fn listen_on(address: &Address, workers: usize) -> Result<(Vec<BoundSocket>, Address), BindFault> {
    match address {
        Address::Tcp(address) => tcp(*address, workers),
        Address::Unix(path) => unix(path, workers),
    }
    .map_err(|cause| fault(address, cause))
}

fn fault(address: &Address, cause: io::Error) -> BindFault {
    let address = address.clone();
    match cause.kind() {
        io::ErrorKind::AddrInUse => BindFault::InUse { address },
        io::ErrorKind::AlreadyExists => BindFault::InTheWay { address },
        _ => BindFault::System { address, cause },
    }
}

fn tcp(address: SocketAddr, workers: usize) -> io::Result<(Vec<BoundSocket>, Address)> {
    let first = tcp_socket(address)?;
    first.bind(&address.into())?;
    // Listening before the port is opened to sharing settles a race of two processes: the
    // kernel lets one exclusive listener through.
    first.listen(BACKLOG)?;
    first.set_reuse_port(true)?;
    let bound = first.local_addr()?.as_socket().unwrap_or(address);
    let mut sockets = vec![BoundSocket::Tcp(first.into())];
    for _ in 1..workers {
        let socket = tcp_socket(bound)?;
        socket.set_reuse_port(true)?;
        socket.bind(&bound.into())?;
        socket.listen(BACKLOG)?;
        sockets.push(BoundSocket::Tcp(socket.into()));
    }
    Ok((sockets, Address::Tcp(bound)))
}

/// Accepted sockets inherit `TCP_NODELAY`.
fn tcp_socket(address: SocketAddr) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    socket.set_tcp_nodelay(true)?;
    socket.set_nonblocking(true)?;
    Ok(socket)
}

fn unix(path: &Path, workers: usize) -> io::Result<(Vec<BoundSocket>, Address)> {
    clear_stale(path)?;
    let listener = UnixListener::bind(path)?;
    listener.set_nonblocking(true)?;
    let mut sockets = Vec::with_capacity(workers);
    for _ in 1..workers {
        sockets.push(BoundSocket::Unix(listener.try_clone()?));
    }
    sockets.push(BoundSocket::Unix(listener));
    Ok((sockets, Address::Unix(path.to_owned())))
}

/// Removes the socket file that a dead process left behind: nobody answers there.
fn clear_stale(path: &Path) -> io::Result<()> {
    match std::fs::symlink_metadata(path) {
        Err(cause) if cause.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(cause) => return Err(cause),
        Ok(file) if !file.file_type().is_socket() => return Err(io::ErrorKind::AlreadyExists.into()),
        Ok(_) => {}
    }
    match UnixStream::connect(path) {
        Err(cause) if cause.kind() == io::ErrorKind::ConnectionRefused => std::fs::remove_file(path),
        Err(cause) if cause.kind() == io::ErrorKind::NotFound => Ok(()),
        Ok(_) | Err(_) => Err(io::ErrorKind::AddrInUse.into()),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::net::TcpStream;

    use super::*;

    fn settings(address: &str) -> Vec<ListenerSettings> {
        vec![ListenerSettings::new(address.parse().unwrap())]
    }

    fn port(binding: &Binding) -> SocketAddr {
        match binding.doors[0].address() {
            Address::Tcp(address) => *address,
            Address::Unix(_) => panic!("bound to TCP"),
        }
    }

    #[test]
    fn workers_share_one_port_and_all_get_connections() {
        let binding = bind(&settings("127.0.0.1:0"), 3).unwrap();
        let address = port(&binding);
        assert_ne!(address.port(), 0);
        assert_eq!(binding.workers.len(), 3);
        let held: Vec<TcpStream> = (0..200).map(|_| TcpStream::connect(address).unwrap()).collect();
        let mut reached = BTreeSet::new();
        let mut accepted = 0;
        for (index, worker) in binding.workers.iter().enumerate() {
            let BoundSocket::Tcp(listener) = &worker[0].socket else { panic!("a TCP socket") };
            assert_eq!(listener.local_addr().unwrap(), address);
            while listener.accept().is_ok() {
                reached.insert(index);
                accepted += 1;
            }
        }
        assert_eq!(accepted, held.len(), "no connection is lost");
        assert_eq!(reached.len(), 3, "200 connections miss a worker once in 10^35");
    }

    #[test]
    fn a_second_binding_is_refused_while_the_first_lives() {
        let first = bind(&settings("127.0.0.1:0"), 2).unwrap();
        let again = settings(&port(&first).to_string());
        assert!(matches!(bind(&again, 2), Err(BindFault::InUse { .. })));
        let _held = TcpStream::connect(port(&first)).unwrap();
        drop(first);
        bind(&again, 2).unwrap();
    }

    #[test]
    fn a_stale_socket_file_gives_way_and_a_live_one_does_not() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("s3.sock");
        let address = settings(&format!("unix:{}", path.display()));
        drop(bind(&address, 2).unwrap());
        assert!(path.exists(), "the file outlives its listener");
        let alive = bind(&address, 2).unwrap();
        assert!(matches!(bind(&address, 1), Err(BindFault::InUse { .. })));
        UnixStream::connect(&path).unwrap();
        drop(alive);
    }

    #[test]
    fn what_cannot_be_bound_changes_nothing() {
        let first = bind(&settings("127.0.0.1:0"), 2).unwrap();
        let taken = TcpStream::connect(port(&first)).unwrap().peer_addr().unwrap();
        let mut wanted = settings("127.0.0.1:0");
        wanted[0].verify = false;
        wanted.extend(settings("127.0.0.2:0"));
        wanted.extend(settings(&taken.to_string()));
        let refused = Rebinding::prepare(&first.doors, &wanted, 2);
        assert!(matches!(refused, Err(BindFault::InUse { .. })), "{refused:?}");
        assert!(first.doors[0].terms().settings.verify);
        wanted.pop();
        let second = Rebinding::prepare(&first.doors, &wanted, 2).unwrap().put_in_force(7);
        assert!(Arc::ptr_eq(&first.doors[0], &second.doors[0]), "it stays bound");
        assert!(second.doors.iter().all(|door| door.terms().configuration == 7));
        assert!(!first.doors[0].terms().settings.verify);
        assert!(second.workers.iter().all(|sockets| sockets.len() == 1), "the new one is theirs to serve");
        let third = Rebinding::prepare(&second.doors, &wanted[1..], 2).unwrap().put_in_force(8);
        assert!(second.doors[0].terms().closed && !third.doors[0].terms().closed);
    }

    #[test]
    fn another_file_is_never_removed() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("s3.sock");
        std::fs::write(&path, "precious").unwrap();
        let address = settings(&format!("unix:{}", path.display()));
        assert!(matches!(bind(&address, 1), Err(BindFault::InTheWay { .. })));
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "precious");
    }
}
