//! Where listening sockets come from: an address, a path in the file system, or somebody else.

use std::fs;
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::os::unix::net as unix;
use std::path::{Path, PathBuf};

use mio::event::Source;
use mio::net::{TcpListener, TcpStream, UnixListener, UnixStream};
use mio::{Interest, Registry, Token};

use super::options::SocketOptions;
use super::socket;
use crate::error::ConfigError;
use crate::peer::PeerAddr;

/// Where a listener gets its connections from.
///
/// ```
/// use heartwheel::reactor::ListenAddr;
///
/// assert_eq!(ListenAddr::parse("127.0.0.1:9001")?.to_string(), "127.0.0.1:9001");
/// assert_eq!(ListenAddr::parse("unix:/run/app.sock")?.to_string(), "unix:/run/app.sock");
/// # Ok::<(), heartwheel::error::ConfigError>(())
/// ```
#[derive(Debug)]
pub enum ListenAddr {
    /// A TCP address. With port 0 the system chooses a port.
    Tcp(SocketAddr),
    /// A Unix socket, at a path of at most 107 bytes on Linux.
    ///
    /// The file is made with the permissions that the process' umask allows; whoever may write to it may
    /// connect. It is removed when the listener closes. A file that another process has left behind,
    /// and on which nobody listens, is replaced. Anything else at the path is an error.
    Unix(PathBuf),
    /// A listening socket that somebody else has opened, such as systemd or a supervisor: TCP or Unix.
    ///
    /// Its address, backlog and `SO_REUSEPORT` are what they are. The other [`SocketOptions`] are set on
    /// it. The file of a Unix socket is not removed.
    Socket(OwnedFd),
}

impl ListenAddr {
    /// Reads an IP address with a port, or `unix:` and a path.
    ///
    /// # Errors
    ///
    /// The text is neither; the field is `addr`.
    pub fn parse(text: &str) -> Result<Self, ConfigError> {
        if let Some(path) = text.strip_prefix("unix:") {
            if path.is_empty() {
                return Err(ConfigError::new(
                    "addr",
                    "has no path, such as unix:/run/app.sock",
                ));
            }
            return Ok(Self::Unix(path.into()));
        }
        text.parse().map(Self::Tcp).map_err(|_| {
            let reason = format!("{text:?} is neither an IP address with a port nor unix:PATH");
            ConfigError::new("addr", reason)
        })
    }

    /// Returns the address as far as it is known before listening: a port may be 0, and a socket that is
    /// none has the name of an unnamed Unix socket.
    pub fn name(&self) -> PeerAddr {
        match self {
            Self::Tcp(addr) => (*addr).into(),
            Self::Unix(path) => PeerAddr::of_path(path),
            Self::Socket(socket) => socket
                .try_clone()
                .ok()
                .and_then(|socket| name_of_socket(socket).ok())
                .map_or_else(PeerAddr::unnamed, |(_, name)| name),
        }
    }

    /// Refuses options that only a TCP socket has, or only a socket that we open ourselves.
    pub(crate) fn check(addr: Option<&Self>, options: &SocketOptions) -> Result<(), ConfigError> {
        options.check()?;
        let default = SocketOptions::default();
        let (is_tcp, is_opened) = match addr {
            Some(Self::Tcp(_)) => return Ok(()),
            Some(Self::Unix(_)) => (false, true),
            Some(addr @ Self::Socket(_)) => (!addr.name().is_unix(), false),
            None => (true, false),
        };
        for (field, is_asked_for, has_effect, reason) in [
            (
                "backlog",
                options.backlog != default.backlog,
                is_opened,
                "needs an address to listen on",
            ),
            (
                "reuse_port",
                options.reuse_port,
                false,
                "needs a TCP address to listen on",
            ),
            (
                "user_timeout",
                options.user_timeout.is_some(),
                is_tcp,
                "needs TCP: this is a Unix socket",
            ),
            (
                "keepalive",
                options.keepalive.is_some(),
                is_tcp,
                "needs TCP: this is a Unix socket",
            ),
        ] {
            if is_asked_for && !has_effect {
                return Err(ConfigError::new(field, reason));
            }
        }
        Ok(())
    }
}

impl From<SocketAddr> for ListenAddr {
    fn from(addr: SocketAddr) -> Self {
        Self::Tcp(addr)
    }
}

impl From<OwnedFd> for ListenAddr {
    fn from(socket: OwnedFd) -> Self {
        Self::Socket(socket)
    }
}

impl From<std::net::TcpListener> for ListenAddr {
    fn from(socket: std::net::TcpListener) -> Self {
        Self::Socket(socket.into())
    }
}

impl From<unix::UnixListener> for ListenAddr {
    fn from(socket: unix::UnixListener) -> Self {
        Self::Socket(socket.into())
    }
}

impl std::fmt::Display for ListenAddr {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.name().fmt(f)
    }
}

/// A listening socket of either family.
#[derive(Debug)]
pub enum Listening {
    /// TCP.
    Tcp(TcpListener),
    /// A Unix socket, and the file that it has made.
    Unix(UnixListener, Option<SocketFile>),
}

impl Listening {
    /// Opens a listening socket, or takes one over. Returns it with its real address.
    pub(super) fn open(addr: ListenAddr, options: &SocketOptions) -> io::Result<(Self, PeerAddr)> {
        match addr {
            ListenAddr::Tcp(addr) => {
                let listener = socket::listen(addr, options)?;
                let addr = listener.local_addr()?;
                Ok((Self::Tcp(listener), addr.into()))
            }
            ListenAddr::Unix(path) => {
                let (listener, file) = bind(&path, options)?;
                Ok((Self::Unix(listener, Some(file)), PeerAddr::of_path(&path)))
            }
            ListenAddr::Socket(socket) => Self::take_over(socket, options),
        }
    }

    fn take_over(socket: OwnedFd, options: &SocketOptions) -> io::Result<(Self, PeerAddr)> {
        let (socket, name) = name_of_socket(socket)?;
        if name.is_unix() {
            let listener = unix::UnixListener::from(socket);
            socket::demand_listening(&listener)?;
            listener.set_nonblocking(true)?;
            return Ok((Self::Unix(UnixListener::from_std(listener), None), name));
        }
        let listener = std::net::TcpListener::from(socket);
        socket::demand_listening(&listener)?;
        listener.set_nonblocking(true)?;
        let listener = TcpListener::from_std(listener);
        socket::set_inherited(&listener, options)?;
        Ok((Self::Tcp(listener), name))
    }

    /// Accepts the next connection. A Unix socket is held as a [`TcpStream`] too: what is done with it
    /// are the same system calls, and the kernel knows what it is.
    pub(super) fn accept(&self) -> io::Result<(TcpStream, PeerAddr)> {
        match self {
            Self::Tcp(listener) => {
                let (stream, mut peer) = listener.accept()?;
                // Who comes over IPv4 has an IPv4 address in all limits and records, even on a listener for
                // both families.
                peer.set_ip(peer.ip().to_canonical());
                Ok((stream, peer.into()))
            }
            Self::Unix(listener, _) => {
                let (stream, peer) = listener.accept()?;
                Ok((OwnedFd::from(stream).into(), peer.into()))
            }
        }
    }

    /// Returns the socket.
    pub(crate) fn fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::Tcp(listener) => listener.as_fd(),
            Self::Unix(listener, _) => listener.as_fd(),
        }
    }

    pub(super) fn register(&mut self, registry: &Registry, token: Token) -> io::Result<()> {
        match self {
            Self::Tcp(listener) => listener.register(registry, token, Interest::READABLE),
            Self::Unix(listener, _) => listener.register(registry, token, Interest::READABLE),
        }
    }
}

/// Binds a Unix socket. A file that nobody listens on is replaced.
fn bind(path: &Path, options: &SocketOptions) -> io::Result<(UnixListener, SocketFile)> {
    let listener = match socket::listen_unix(path, options) {
        Err(error) if error.kind() == io::ErrorKind::AddrInUse && is_left_behind(path) => {
            log::info!("replacing {}, on which nobody listens", path.display());
            fs::remove_file(path)?;
            socket::listen_unix(path, options)?
        }
        bound => bound?,
    };
    let file = SocketFile::at(path)?;
    Ok((listener, file))
}

/// Says whether a path is that of a Unix socket on which nobody listens.
fn is_left_behind(path: &Path) -> bool {
    let is_socket = fs::symlink_metadata(path).is_ok_and(|meta| meta.file_type().is_socket());
    // Does not wait, even where a backlog is full.
    let refused = UnixStream::connect(path).err().map(|error| error.kind());
    is_socket && refused == Some(io::ErrorKind::ConnectionRefused)
}

/// The file of a Unix socket, which goes with it.
#[derive(Debug)]
pub struct SocketFile {
    path: PathBuf,
    /// Device and number of the file, because another process may have put its own in its place.
    node: (u64, u64),
}

impl SocketFile {
    fn at(path: &Path) -> io::Result<Self> {
        let meta = fs::symlink_metadata(path)?;
        let path = std::path::absolute(path)?;
        let node = (meta.dev(), meta.ino());
        Ok(Self { path, node })
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        let is_ours = fs::symlink_metadata(&self.path)
            .is_ok_and(|meta| (meta.dev(), meta.ino()) == self.node);
        if is_ours && let Err(error) = fs::remove_file(&self.path) {
            log::warn!("could not remove {}: {error}", self.path.display());
        }
    }
}

/// Returns a socket with the address that it is bound to. An error if it is neither TCP nor Unix.
fn name_of_socket(socket: OwnedFd) -> io::Result<(OwnedFd, PeerAddr)> {
    let socket = std::net::TcpListener::from(socket);
    match socket.local_addr() {
        Ok(addr) => Ok((socket.into(), addr.into())),
        // An address of another family.
        Err(error) if error.kind() == io::ErrorKind::InvalidInput => {
            let socket = unix::UnixListener::from(OwnedFd::from(socket));
            let addr = socket.local_addr()?;
            Ok((socket.into(), addr.into()))
        }
        Err(error) => Err(error),
    }
}

/// Returns a connected socket with the address of its peer. An error if it is neither TCP nor Unix, or not
/// connected. It takes no further descriptor.
pub(super) fn peer_of_socket(socket: OwnedFd) -> io::Result<(OwnedFd, PeerAddr)> {
    let socket = std::net::TcpStream::from(socket);
    match socket.peer_addr() {
        Ok(mut addr) => {
            addr.set_ip(addr.ip().to_canonical());
            Ok((socket.into(), addr.into()))
        }
        Err(error) if error.kind() == io::ErrorKind::InvalidInput => {
            let socket = unix::UnixStream::from(OwnedFd::from(socket));
            let addr = socket.peer_addr()?;
            Ok((socket.into(), addr.into()))
        }
        Err(error) => Err(error),
    }
}
