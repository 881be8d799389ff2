//! The operating system, through mio.

use std::fmt;
use std::io::{self, IoSlice, Read, Write};
use std::net::Shutdown;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use mio::net::TcpStream;
use mio::{Registry, Waker};

use super::alarm::{ALARM, Alarm};
#[cfg(feature = "websocket")]
use super::calendar;
use super::clock::{Hands, Start};
use super::descriptors::descriptors;
use super::listening::{ListenAddr, Listening, peer_of_socket};
use super::options::SocketOptions;
use super::resolver::Resolver;
#[cfg(not(feature = "tls"))]
use super::stream::NoLayer;
#[cfg(feature = "tls")]
use super::stream::Seal;
use super::stream::Socket;
use super::system::{Asker, Event, Ready, Resolved, System, Token, Wake};
#[cfg(feature = "tls")]
use super::tls::Tls;
use super::wake_timer::{WAKE_TIMER, WakeTimer};
use super::{kernel, socket};
use crate::close::KernelFigures;
use crate::peer::PeerAddr;
#[cfg(feature = "websocket")]
use crate::proto::http::HttpDate;
use crate::proto::time::Micros;
#[cfg(feature = "tls")]
use crate::proto::wire::Role;

/// The operating system: TCP and Unix sockets, the monotonic clock, and the system's name resolver.
///
/// Only a [`Reactor`](crate::reactor::Reactor) can create one.
pub struct Native {
    registry: Registry,
    hands: Hands,
    waker: Arc<Waker>,
    resolver: Resolver,
    /// Ends a wait after the machine has slept, if that was requested.
    alarm: Option<Alarm>,
    /// Ends waits that have no timeout.
    wake_timer: WakeTimer,
}

impl Native {
    pub(crate) fn new(registry: Registry, start: Start) -> io::Result<Self> {
        let waker = Arc::new(Waker::new(&registry, Token::WAKE.into())?);
        Ok(Self {
            registry,
            hands: Hands::System(start),
            resolver: Resolver::new(Arc::clone(&waker) as Arc<dyn Wake>),
            waker,
            alarm: None,
            wake_timer: WakeTimer::new(),
        })
    }

    /// Returns the handle with which other threads wake the loop.
    pub(crate) fn waker(&self) -> Arc<dyn Wake> {
        Arc::clone(&self.waker) as Arc<dyn Wake>
    }

    /// Returns mio's registry, for sources that the application registers.
    pub(crate) fn registry(&self) -> &Registry {
        &self.registry
    }

    #[cfg(test)]
    pub(crate) fn hands_mut(&mut self) -> &mut Hands {
        &mut self.hands
    }

    #[cfg(test)]
    pub(crate) fn resolver_mut(&mut self) -> &mut Resolver {
        &mut self.resolver
    }
}

impl fmt::Debug for Native {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Native").finish_non_exhaustive()
    }
}

impl System for Native {
    type Socket = TcpStream;
    #[cfg(feature = "tls")]
    type Layer = Tls;
    #[cfg(not(feature = "tls"))]
    type Layer = NoLayer;
    type Listener = Listening;

    fn now(&self) -> Micros {
        self.hands.at()
    }

    fn slept(&self) -> Micros {
        self.hands.slept()
    }

    #[cfg(feature = "websocket")]
    fn date(&self, known: Option<HttpDate>) -> Option<HttpDate> {
        calendar::today(known)
    }

    fn descriptors(&self) -> Option<usize> {
        descriptors()
    }

    fn listen(
        &mut self,
        addr: ListenAddr,
        options: &SocketOptions,
    ) -> io::Result<(Listening, PeerAddr)> {
        Listening::open(addr, options)
    }

    fn register_listener(&mut self, listener: &mut Listening, token: Token) -> io::Result<()> {
        listener.register(&self.registry, token.into())
    }

    fn accept(&self, listener: &Listening) -> io::Result<(TcpStream, PeerAddr)> {
        listener.accept()
    }

    fn take_over(
        &mut self,
        socket: OwnedFd,
        options: &SocketOptions,
    ) -> io::Result<(TcpStream, PeerAddr)> {
        socket::demand_stream(&socket)?;
        let (socket, peer) = peer_of_socket(socket)?;
        let stream = std::net::TcpStream::from(socket);
        stream.set_nonblocking(true)?;
        let stream = TcpStream::from_std(stream);
        if !peer.is_unix() {
            socket::set_inherited(&stream, options)?;
        }
        Ok((stream, peer))
    }

    #[cfg(feature = "tls")]
    fn layer(&self, _role: Role, seal: &Seal) -> io::Result<Option<Tls>> {
        Ok(match seal {
            Seal::None => None,
            Seal::Server(config) => Some(Tls::server(config)?),
            Seal::Client(config, name) => Some(Tls::client(config, name)?),
        })
    }

    fn dial(&mut self, addr: &PeerAddr, options: &SocketOptions) -> io::Result<TcpStream> {
        match (addr.socket_addr(), addr.unix_path()) {
            (Some(addr), _) => socket::dial(addr, options),
            (None, Some(path)) => socket::dial_unix(path),
            (None, None) => Err(io::ErrorKind::Unsupported.into()),
        }
    }

    fn register(&mut self, socket: &mut TcpStream, token: Token) -> io::Result<()> {
        self.registry
            .register(socket, token.into(), socket::INTEREST)
    }

    fn look_up(
        &mut self,
        name: &str,
        asker: Asker,
        now: Micros,
    ) -> io::Result<Option<Arc<Resolved>>> {
        self.resolver.ask(name, asker, now)
    }

    fn next_found(&mut self, now: Micros) -> Option<(Asker, Arc<Resolved>)> {
        self.resolver.next(now)
    }

    fn forget_name(&self, name: &str, asker: Asker) {
        self.resolver.forget(name, asker);
    }

    fn give_up_name(&self, name: &str, asker: Asker) {
        self.resolver.give_up(name, asker);
    }

    fn watch_for_sleep(&mut self) -> io::Result<()> {
        if self.alarm.is_none() {
            self.alarm = Some(Alarm::register(&self.registry)?);
        }
        Ok(())
    }

    fn ends_wait(&mut self, now: Micros, wake: Micros) -> bool {
        self.wake_timer.covers(&self.registry, now, wake)
    }

    fn handle_event(&mut self, token: Token) {
        match token.into() {
            ALARM => {
                if let Some(alarm) = &self.alarm {
                    alarm.acknowledge();
                }
            }
            WAKE_TIMER => self.wake_timer.acknowledge(),
            _ => {}
        }
    }
}

impl Socket for TcpStream {
    const SHORT_READ_DRAINS: bool = cfg!(any(
        target_os = "linux",
        target_os = "android",
        target_os = "macos",
        target_os = "ios",
        target_os = "freebsd",
        target_os = "openbsd",
        target_os = "netbsd",
        target_os = "dragonfly"
    ));

    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        Read::read(self, buffer)
    }

    #[cfg(feature = "sockets")]
    fn read_onto(&mut self, bytes: &mut Vec<u8>, most: usize) -> io::Result<usize> {
        kernel::read_onto(self, bytes, most)
    }

    fn peek(&self, buffer: &mut [u8]) -> io::Result<usize> {
        Self::peek(self, buffer)
    }

    fn write(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        match slices {
            [slice] => Write::write(self, slice),
            slices => self.write_vectored(slices),
        }
    }

    fn has_waiting_bytes(&self) -> bool {
        matches!(Self::peek(self, &mut [0]), Ok(1))
    }

    /// Connected means: writable, no pending error, and the peer has an address, of whatever kind.
    fn is_connected(&self) -> io::Result<bool> {
        if let Some(error) = self.take_error()? {
            return Err(error);
        }
        match self.peer_addr() {
            Ok(_) => Ok(true),
            Err(error) if error.kind() == io::ErrorKind::NotConnected => Ok(false),
            // It has the address of a Unix socket.
            Err(error) if error.kind() == io::ErrorKind::InvalidInput => Ok(true),
            Err(error) => Err(error),
        }
    }

    fn shutdown(&self) -> io::Result<()> {
        Self::shutdown(self, Shutdown::Write)
    }

    fn reset_on_close(&mut self) {
        socket::reset_on_close(self);
    }

    fn figures(&self) -> Option<KernelFigures> {
        kernel::figures(self)
    }

    fn deepen(&mut self, is_deep: bool) {
        socket::deepen(self, is_deep);
    }
}

impl Wake for Waker {
    fn wake(&self) -> io::Result<()> {
        Self::wake(self)
    }
}

impl From<Token> for mio::Token {
    fn from(Token(token): Token) -> Self {
        Self(token)
    }
}

impl From<&mio::event::Event> for Event {
    fn from(event: &mio::event::Event) -> Self {
        let (is_over, failed) = (event.is_read_closed(), event.is_error());
        Self {
            token: Token(event.token().0),
            ready: Ready {
                readable: event.is_readable() || is_over || failed,
                writable: event.is_writable(),
                doubtful: is_over || failed || event.is_priority(),
                failed,
                write_closed: event.is_write_closed(),
            },
        }
    }
}

const _: () = assert!(ALARM.0 != WAKE_TIMER.0, "each has a token of its own");
