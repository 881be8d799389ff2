//! The traits of one connection: its socket, and the byte stream between that and a session.

use std::fmt;
use std::io::{self, IoSlice};

use crate::close::KernelFigures;
use crate::proto::wire::Role;

/// One connection's socket.
pub trait Socket: fmt::Debug {
    /// Whether bytes that arrive after a read that filled only a part of its buffer give another event.
    const SHORT_READ_DRAINS: bool;

    /// Reads into a buffer that is not empty. Zero: the peer has ended its output.
    ///
    /// # Errors
    ///
    /// [`io::ErrorKind::WouldBlock`] where nothing has come; [`io::ErrorKind::Interrupted`] is tried again; else
    /// the socket has failed.
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize>;

    /// Writes from slices of which at least one is not empty. A write that takes less than it is given found
    /// no more room.
    ///
    /// # Errors
    ///
    /// As [`read`](Self::read).
    fn write(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize>;

    /// Says whether bytes wait to be read, without taking them.
    fn has_waiting_bytes(&self) -> bool;

    /// Learns what has come of a dial: `true` once it is connected, `false` while it is under way.
    ///
    /// # Errors
    ///
    /// Why it failed.
    fn is_connected(&self) -> io::Result<bool>;

    /// Ends the output, after what was written.
    ///
    /// # Errors
    ///
    /// What the system said.
    fn shutdown(&self) -> io::Result<()>;

    /// Makes the coming close a reset: what is still under way is thrown away, and the peer is told.
    fn reset_on_close(&mut self);

    /// Returns what the kernel knows of the socket's output, where it tells.
    fn figures(&self) -> Option<KernelFigures>;

    /// Lets the kernel hold as much unsent as its buffer takes, or again only little. Default: it cannot be
    /// told.
    fn deepen(&mut self, is_deep: bool) {
        let _ = is_deep;
    }
}

/// The bytes of one connection as its session sees them, over the socket that carries them: the same bytes
/// where the stream is [`Plain`], others where it seals them.
///
/// A stream never waits: what it cannot do now fails with [`io::ErrorKind::WouldBlock`]. While it is not
/// [open](Self::is_open), the loop calls [`open`](Self::open) whenever the socket is ready for anything, and
/// nothing else; that time belongs to the connect timeout of a client, to the handshake timeout of a server.
pub trait Stream: fmt::Debug + Sized {
    /// What carries the bytes.
    type Socket: Socket;

    /// Begins over a socket that was accepted or is being dialed.
    fn over(socket: Self::Socket, role: Role) -> Self;

    /// Returns the socket.
    fn socket(&self) -> &Self::Socket;

    /// Returns the socket, to be changed.
    fn socket_mut(&mut self) -> &mut Self::Socket;

    /// Says whether no handshake of the stream's own is to come. The dial is no part of that.
    fn is_open(&self) -> bool;

    /// Goes on until the stream is open: with the dial, and with its own handshake. `false`: not yet.
    ///
    /// # Errors
    ///
    /// Why it will never be.
    fn open(&mut self) -> io::Result<bool>;

    /// Reads into a buffer that is not empty.
    ///
    /// # Errors
    ///
    /// As [`Socket::read`].
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<Received>;

    /// Writes from slices, which may be empty where the stream [wants to write](Self::wants_write) for itself.
    /// Bytes that were not [sent](Sent::session) come again, at the front of the next call.
    ///
    /// # Errors
    ///
    /// As [`Socket::write`].
    fn write(&mut self, slices: &[IoSlice<'_>]) -> io::Result<Sent>;

    /// Says whether the stream has bytes of its own to write, though it was only read: an answer of its own
    /// protocol, or the rest of what it has sealed.
    fn wants_write(&self) -> bool;

    /// Says whether the stream has bytes for the session that have left the socket.
    fn holds_bytes(&self) -> bool;

    /// Says whether bytes wait to be read, in the stream or in the socket, without taking them.
    fn has_waiting_bytes(&self) -> bool {
        self.holds_bytes() || self.socket().has_waiting_bytes()
    }

    /// Ends the output, after what was written.
    ///
    /// # Errors
    ///
    /// What the system said.
    fn shutdown(&mut self) -> io::Result<()>;
}

/// What a read gave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Received {
    /// Bytes.
    Bytes {
        /// Bytes that left the socket: what is a proof of life, and what a budget counts. None where the
        /// stream had some left.
        kernel: usize,
        /// Bytes for the session, in the buffer. None where more of the socket's are needed to open them.
        session: usize,
        /// Nothing more is there for now, as far as the stream can tell: neither in it nor in the socket.
        is_drained: bool,
    },
    /// The peer has ended its output.
    End,
}

/// What a write did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sent {
    /// Bytes that the kernel has accepted: progress.
    pub kernel: usize,
    /// Bytes of the session of which the kernel has accepted all that carries them.
    pub session: usize,
    /// The socket takes no more for now.
    pub is_refused: bool,
}

/// A stream that is the socket's bytes as they are.
#[derive(Debug)]
pub struct Plain<S>(S);

impl<S: Socket> Stream for Plain<S> {
    type Socket = S;

    fn over(socket: S, _role: Role) -> Self {
        Self(socket)
    }

    fn socket(&self) -> &S {
        &self.0
    }

    fn socket_mut(&mut self) -> &mut S {
        &mut self.0
    }

    fn is_open(&self) -> bool {
        true
    }

    fn open(&mut self) -> io::Result<bool> {
        self.0.is_connected()
    }

    fn read(&mut self, buffer: &mut [u8]) -> io::Result<Received> {
        Ok(match self.0.read(buffer)? {
            0 => Received::End,
            count => Received::Bytes {
                kernel: count,
                session: count,
                is_drained: count < buffer.len() && S::SHORT_READ_DRAINS,
            },
        })
    }

    fn write(&mut self, slices: &[IoSlice<'_>]) -> io::Result<Sent> {
        let offered: usize = slices.iter().map(|slice| slice.len()).sum();
        let written = self.0.write(slices)?;
        Ok(Sent {
            kernel: written,
            session: written,
            is_refused: written < offered,
        })
    }

    fn wants_write(&self) -> bool {
        false
    }

    fn holds_bytes(&self) -> bool {
        false
    }

    fn shutdown(&mut self) -> io::Result<()> {
        self.0.shutdown()
    }
}
