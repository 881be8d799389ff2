//! The traits: what a loop asks of the system it runs on.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use super::options::SocketOptions;
use super::stream::{Socket, Stream};
use crate::close::Cause;
#[cfg(feature = "websocket")]
use crate::proto::http::HttpDate;
use crate::proto::session::Note;
use crate::proto::time::Micros;

/// The system that a loop runs on: its sockets, its clock and its names.
///
/// All calls return at once; what would have to wait fails with [`io::ErrorKind::WouldBlock`]. What becomes
/// ready later is told to the loop as an [`Event`], once for each change (edge-triggered).
pub trait System {
    /// A connection's socket. Dropping it closes it.
    type Socket: Socket;
    /// What its bytes are to a session: [`Plain`](super::Plain), unless something lies between.
    type Stream: Stream<Socket = Self::Socket>;
    /// A listening socket. Dropping it closes it.
    type Listener: fmt::Debug;

    /// Reads the clock that deadlines run on: time since any beginning, never less than before.
    fn now(&self) -> Micros;

    /// Returns how long the machine has slept so far, while the clock of [`now`](Self::now) stood still.
    /// Default: never.
    fn slept(&self) -> Micros {
        Micros::ZERO
    }

    /// Returns the date for heads of HTTP, written anew only where it is another second than `known`.
    /// Default: none, as for a server without a clock (RFC 9110, section 6.6.1).
    #[cfg(feature = "websocket")]
    fn date(&self, known: Option<HttpDate>) -> Option<HttpDate> {
        let _ = known;
        None
    }

    /// Returns how many descriptors there may be at once, sockets included, where that is limited and known.
    /// Default: no limit is known.
    fn descriptors(&self) -> Option<usize> {
        None
    }

    /// Opens a listening socket, and returns the address that it really has.
    ///
    /// # Errors
    ///
    /// What the system has against it.
    fn listen(
        &mut self,
        addr: SocketAddr,
        options: &SocketOptions,
    ) -> io::Result<(Self::Listener, SocketAddr)>;

    /// Has the events of a listening socket told under this token.
    ///
    /// # Errors
    ///
    /// What the selector said.
    fn register_listener(&mut self, listener: &mut Self::Listener, token: Token) -> io::Result<()>;

    /// Takes the next connection in, with the peer's address.
    ///
    /// # Errors
    ///
    /// [`io::ErrorKind::WouldBlock`] where nobody waits; else what the system said.
    fn accept(&self, listener: &Self::Listener) -> io::Result<(Self::Socket, SocketAddr)>;

    /// Begins to connect to an address.
    ///
    /// # Errors
    ///
    /// What the system said at once.
    fn dial(&mut self, addr: SocketAddr) -> io::Result<Self::Socket>;

    /// Has the events of a socket told under this token: both directions, from now on.
    ///
    /// # Errors
    ///
    /// What the selector said.
    fn register(&mut self, socket: &mut Self::Socket, token: Token) -> io::Result<()>;

    /// Asks for the addresses of a name. Returns them where they are known, else they come by way of
    /// [`next_found`](Self::next_found). Default: no name is known.
    ///
    /// # Errors
    ///
    /// Nobody can be asked.
    fn look_up(&mut self, name: &str, asker: Asker, now: Micros) -> io::Result<Option<Arc<Found>>> {
        let _ = (name, asker, now);
        Err(io::ErrorKind::Unsupported.into())
    }

    /// Returns the next answer about a name, and who asked.
    fn next_found(&mut self, now: Micros) -> Option<(Asker, Arc<Found>)> {
        let _ = now;
        None
    }

    /// Takes a question back: who asked is no more.
    fn forget_name(&self, name: &str, asker: Asker) {
        let _ = (name, asker);
    }

    /// Notes that who asked waits no longer, and may ask again.
    fn give_up_name(&self, name: &str, asker: Asker) {
        let _ = (name, asker);
    }

    /// Sees to it that a wait ends as soon as the machine wakes from a sleep.
    ///
    /// # Errors
    ///
    /// What the system said. Default: nothing is done, and nothing fails.
    fn watch_for_sleep(&mut self) -> io::Result<()> {
        Ok(())
    }

    /// Says whether a wait from `now` on will be ended by `wake` without a timeout. Default: it will not.
    fn ends_wait(&mut self, now: Micros, wake: Micros) -> bool {
        let _ = (now, wake);
        false
    }

    /// Takes up an event of the system's own: a token at or above [`Token::SYSTEM`].
    fn handle_event(&mut self, token: Token) {
        let _ = token;
    }

    /// Hears what the loop has just done about a connection. Default: nobody listens, and it costs nothing;
    /// a simulator compares it with what is true.
    #[inline(always)]
    fn probe(&mut self, socket: &Self::Socket, probe: Probe) {
        let _ = (socket, probe);
    }

    /// Hears that the loop begins to look for what is due, when its clock says `at`; and, after it has seen to
    /// that, whether it was all. Default: nobody listens.
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
    /// What the system said.
    fn wake(&self) -> io::Result<()>;
}

/// Names what an event is about. The loop gives it away and gets it back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Token(pub usize);

impl Token {
    /// Bits of a slot's number in a token. Above them stands what it is about.
    pub const SLOT_BITS: u32 = 26;
    /// The first of the tokens that a loop gives to nobody, so that its system may use them.
    pub const SYSTEM: Self = Self(4 << Self::SLOT_BITS);
    /// Tells a loop that another thread has woken it.
    pub const WAKE: Self = Self(3 << Self::SLOT_BITS);
}

/// Who asks for a name: a number of the loop's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Asker(pub u32);

/// What looking up a name came to.
#[derive(Debug)]
pub struct Found {
    /// The name.
    pub name: String,
    /// None where there are none. Their port is 0.
    pub addrs: Vec<SocketAddr>,
}

/// What a wait tells of one socket.
#[derive(Clone, Copy, Debug)]
pub struct Event {
    /// What was registered under this token.
    pub token: Token,
    /// What it may be ready for.
    pub ready: Ready,
}

/// What a socket may be ready for. A hint: the operation decides.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Ready {
    /// A read may find something: bytes, the end, or an error.
    pub readable: bool,
    /// A write may be accepted.
    pub writable: bool,
    /// The end of input, an error or urgent data is among what a read may find: a short one proves
    /// nothing.
    pub doubtful: bool,
    /// An error is pending.
    pub failed: bool,
    /// Output is over: a write would show an error.
    pub write_closed: bool,
}

/// What a loop has done about a connection, for who listens to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Probe {
    /// The reason for its end is known.
    Cause(Cause),
    /// Input was handed out as far as it goes for now; frames may be left.
    Decoded {
        /// The budget was over before the input, or reading is paused.
        is_left: bool,
    },
    /// What a session decided about a deadline that has come.
    Expiry(Note),
}
