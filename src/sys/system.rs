//! The traits of the system that a loop runs on.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use super::listening::ListenAddr;
use super::options::SocketOptions;
use super::stream::{Layer, Seal, Socket};
use crate::close::Cause;
use crate::peer::PeerAddr;
#[cfg(feature = "websocket")]
use crate::proto::http::HttpDate;
use crate::proto::session::Note;
use crate::proto::time::Micros;
use crate::proto::wire::Role;

/// The system that a loop runs on: its sockets, its clock and its names.
///
/// All calls return at once. A call that would have to wait fails with
/// [`io::ErrorKind::WouldBlock`]. When something becomes ready later, the loop gets an [`Event`],
/// once for each change (edge-triggered).
pub trait System {
    /// The socket of a connection. Dropping it closes it.
    type Socket: Socket;
    /// What lies between socket and session where the bytes of the socket are not those of the session.
    /// [`NoLayer`](super::NoLayer) if there is no such thing.
    type Layer: Layer<Self::Socket>;
    /// A listening socket. Dropping it closes it.
    type Listener: fmt::Debug;

    /// Reads the clock for deadlines: the time since any fixed moment. It never goes back.
    fn now(&self) -> Micros;

    /// Returns how long the machine has slept in total, while the clock of [`now`](Self::now) stood
    /// still. Default: zero.
    fn slept(&self) -> Micros {
        Micros::ZERO
    }

    /// Returns the date for HTTP heads. It is formatted again only if the second differs from that
    /// of `known`. Default: `None`, as for a server without a clock (RFC 9110, section 6.6.1).
    #[cfg(feature = "websocket")]
    fn date(&self, known: Option<HttpDate>) -> Option<HttpDate> {
        let _ = known;
        None
    }

    /// Returns how many descriptors may be open at once, sockets included. `None` if there is no
    /// known limit. Default: `None`.
    fn descriptors(&self) -> Option<usize> {
        None
    }

    /// Opens a listening socket and returns its real address.
    ///
    /// # Errors
    ///
    /// The system's error.
    fn listen(
        &mut self,
        addr: ListenAddr,
        options: &SocketOptions,
    ) -> io::Result<(Self::Listener, PeerAddr)>;

    /// Registers a listening socket: its events have this token.
    ///
    /// # Errors
    ///
    /// The selector's error.
    fn register_listener(&mut self, listener: &mut Self::Listener, token: Token) -> io::Result<()>;

    /// Accepts the next connection, and returns it with the peer's address.
    ///
    /// # Errors
    ///
    /// [`io::ErrorKind::WouldBlock`] if no connection waits; otherwise the system's error.
    fn accept(&self, listener: &Self::Listener) -> io::Result<(Self::Socket, PeerAddr)>;

    /// Takes over a connected socket that somebody else has opened, and sets those options on it that an
    /// accepted one inherits. Returns it with the peer's address.
    /// Default: an error of the kind `Unsupported`.
    ///
    /// # Errors
    ///
    /// The system's error: for example, it is no stream socket, or it is not connected.
    fn take_over(
        &mut self,
        socket: OwnedFd,
        options: &SocketOptions,
    ) -> io::Result<(Self::Socket, PeerAddr)> {
        let _ = (socket, options);
        Err(io::ErrorKind::Unsupported.into())
    }

    /// Makes what lies between socket and session of a new connection. `None` if nothing does.
    /// Default: `None`, and for anything that is asked for an error of the kind `Unsupported`.
    ///
    /// # Errors
    ///
    /// There is no such layer, or its configuration does not suffice.
    fn layer(&self, role: Role, seal: &Seal) -> io::Result<Option<Self::Layer>> {
        let _ = role;
        match seal {
            Seal::None => Ok(None),
            #[cfg(feature = "tls")]
            Seal::Server(_) | Seal::Client(..) => Err(io::ErrorKind::Unsupported.into()),
        }
    }

    /// Starts to connect to an address. Of the options only those count that are for connections.
    ///
    /// # Errors
    ///
    /// The system's error, if there is one at once.
    fn dial(&mut self, addr: &PeerAddr, options: &SocketOptions) -> io::Result<Self::Socket>;

    /// Registers a socket for both directions: its events have this token.
    ///
    /// # Errors
    ///
    /// The selector's error.
    fn register(&mut self, socket: &mut Self::Socket, token: Token) -> io::Result<()>;

    /// Asks for the addresses of a name. Returns them if they are known. Otherwise
    /// [`next_found`](Self::next_found) returns them later. Default: an error of the kind
    /// `Unsupported`.
    ///
    /// # Errors
    ///
    /// Names cannot be looked up.
    fn look_up(
        &mut self,
        name: &str,
        asker: Asker,
        now: Micros,
    ) -> io::Result<Option<Arc<Resolved>>> {
        let _ = (name, asker, now);
        Err(io::ErrorKind::Unsupported.into())
    }

    /// Returns the next answer about a name, and who asked for it.
    fn next_found(&mut self, now: Micros) -> Option<(Asker, Arc<Resolved>)> {
        let _ = now;
        None
    }

    /// Withdraws a question: the asker no longer exists.
    fn forget_name(&self, name: &str, asker: Asker) {
        let _ = (name, asker);
    }

    /// Notes that the asker no longer waits. It may ask again.
    fn give_up_name(&self, name: &str, asker: Asker) {
        let _ = (name, asker);
    }

    /// Makes a wait end as soon as the machine wakes up from sleep.
    ///
    /// # Errors
    ///
    /// The system's error. Default: does nothing.
    fn watch_for_sleep(&mut self) -> io::Result<()> {
        Ok(())
    }

    /// Says whether a wait that starts at `now` will end at `wake` even without a timeout. Default:
    /// false.
    fn ends_wait(&mut self, now: Micros, wake: Micros) -> bool {
        let _ = (now, wake);
        false
    }

    /// Says whether the loop may take the short way for the heartbeats of connections at rest.
    /// Default: true. A simulation tries both ways: they must come to the same.
    fn takes_short_way(&self) -> bool {
        true
    }

    /// Handles an event of the system itself: one with a token at or above [`Token::SYSTEM`].
    fn handle_event(&mut self, token: Token) {
        let _ = token;
    }

    /// Is told what the loop has just done about a connection. A simulator checks that against its
    /// own knowledge. Default: does nothing, at no cost.
    #[inline(always)]
    fn probe(&mut self, socket: &Self::Socket, probe: Probe) {
        let _ = (socket, probe);
    }

    /// Is told when the loop starts to look for due timers, at `at` on its clock, and afterwards
    /// whether it handled all of them (`is_whole`). Default: does nothing.
    #[inline(always)]
    fn probe_expiries(&mut self, at: Micros, is_whole: Option<bool>) {
        let _ = (at, is_whole);
    }
}

/// Wakes a loop from another thread.
pub trait Wake: Send + Sync {
    /// Ends the present wait, or the next one.
    ///
    /// # Errors
    ///
    /// The system's error.
    fn wake(&self) -> io::Result<()>;
}

/// Says what an event is about. The loop chooses it and gets it back with the event.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Token(pub usize);

impl Token {
    /// Number of bits of a slot in a token. The bits above it hold the kind.
    pub const SLOT_BITS: u32 = 26;
    /// The first token that a loop never uses; it and those above it are for the system.
    pub const SYSTEM: Self = Self(4 << Self::SLOT_BITS);
    /// The token that tells a loop that another thread has woken it.
    pub const WAKE: Self = Self(3 << Self::SLOT_BITS);
}

/// Who asks for a name: a number chosen by the loop.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Asker(pub u32);

/// The result of looking up a name.
#[derive(Debug)]
pub struct Resolved {
    /// The name.
    pub name: String,
    /// Its addresses, with port 0. Empty if there are none.
    pub addrs: Vec<SocketAddr>,
}

/// What a wait reports about one socket.
#[derive(Clone, Copy, Debug)]
pub struct Event {
    /// The token with which the socket was registered.
    pub token: Token,
    /// What the socket may be ready for.
    pub ready: Ready,
}

/// What a socket may be ready for. It is only a hint: the read or write decides.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Ready {
    /// A read may return bytes, the end, or an error.
    pub readable: bool,
    /// A write may be accepted.
    pub writable: bool,
    /// A read may find the end of input, an error or urgent data. A short read then does not mean
    /// that all bytes were read.
    pub doubtful: bool,
    /// An error is pending.
    pub failed: bool,
    /// Output is closed: a write would return an error.
    pub write_closed: bool,
}

/// What a loop did about a connection, for a simulator.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Probe {
    /// The cause of its end is known.
    Cause(Cause),
    /// Input was handled as far as possible for now; frames may be left.
    Decoded {
        /// Input is left, because the budget was used up or reading is paused.
        is_left: bool,
    },
    /// What a session decided about a due deadline.
    Expiry(Note),
    /// Reading stops, because memory is short; or that is over.
    HeldBack(bool),
    /// It, or its goodbye, ends because there is too little memory and it holds most.
    Relieved,
}
