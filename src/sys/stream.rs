//! The traits of one connection: its socket, and the byte stream between socket and session.

use std::fmt;
use std::io::{self, IoSlice};

use crate::close::KernelFigures;
use crate::proto::wire::Role;

/// The socket of one connection.
pub trait Socket: fmt::Debug {
    /// Whether bytes that arrive after a read that filled only a part of its buffer give another event.
    const SHORT_READ_DRAINS: bool;

    /// Reads into a buffer, which is not empty. Zero bytes mean that the peer has ended its output.
    ///
    /// # Errors
    ///
    /// [`io::ErrorKind::WouldBlock`] if there are no bytes. After [`io::ErrorKind::Interrupted`]
    /// the loop tries again. After any other error the socket has failed.
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize>;

    /// Reads at most `most` bytes, which are not zero, and appends them. Default: makes `most` zeros
    /// first.
    ///
    /// # Errors
    ///
    /// The same as [`read`](Self::read).
    fn read_onto(&mut self, bytes: &mut Vec<u8>, most: usize) -> io::Result<usize> {
        append(bytes, most, |buffer| {
            self.read(buffer).map(|count| (count, count))
        })
    }

    /// Reads into a buffer, which is not empty, and leaves the bytes where they are. Only listeners that
    /// expect a header of the PROXY protocol need it. Default: an error of the kind `Unsupported`.
    ///
    /// # Errors
    ///
    /// The same as [`read`](Self::read).
    fn peek(&self, buffer: &mut [u8]) -> io::Result<usize> {
        let _ = buffer;
        Err(io::ErrorKind::Unsupported.into())
    }

    /// Writes slices, of which at least one is not empty. If it accepts fewer bytes than it was
    /// given, there is no more room.
    ///
    /// # Errors
    ///
    /// The same as [`read`](Self::read).
    fn write(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize>;

    /// Says whether bytes wait to be read. Does not read them.
    fn has_waiting_bytes(&self) -> bool;

    /// Returns the state of a dial: `true` if it is connected, `false` if it is still in progress.
    ///
    /// # Errors
    ///
    /// Why the dial failed.
    fn is_connected(&self) -> io::Result<bool>;

    /// Ends the output after the bytes that were written.
    ///
    /// # Errors
    ///
    /// The system's error.
    fn shutdown(&self) -> io::Result<()>;

    /// Makes the next close a reset: unsent bytes are discarded, and the peer is told.
    fn reset_on_close(&mut self);

    /// Returns the kernel's figures about the socket's output, if it has them.
    fn figures(&self) -> Option<KernelFigures>;

    /// Lets the kernel hold as many unsent bytes as its buffer takes, or only few again. Default:
    /// does nothing.
    fn deepen(&mut self, is_deep: bool) {
        let _ = is_deep;
    }
}

/// The bytes of one connection as its session sees them, over a socket. With [`Plain`] they are the
/// bytes of the socket. Another stream may encrypt them.
///
/// A stream never waits: a call that would have to wait fails with [`io::ErrorKind::WouldBlock`].
/// Until the stream is [open](Self::is_open), the loop calls only [`open`](Self::open), whenever
/// the socket is ready for anything. That time counts against a client's connect timeout or a
/// server's handshake timeout.
pub trait Stream: fmt::Debug + Sized {
    /// What carries the bytes.
    type Socket: Socket;

    /// Starts a stream over a socket that was accepted or is being dialed.
    fn over(socket: Self::Socket, role: Role) -> Self;

    /// Returns the socket.
    fn socket(&self) -> &Self::Socket;

    /// Returns the socket, to change it.
    fn socket_mut(&mut self) -> &mut Self::Socket;

    /// Says whether the stream's own handshake is complete, if it has one. The dial does not count.
    fn is_open(&self) -> bool;

    /// Continues the dial and the stream's own handshake. Returns whether the stream is now open.
    ///
    /// # Errors
    ///
    /// Why the stream will never be open.
    fn open(&mut self) -> io::Result<bool>;

    /// Reads into a buffer, which is not empty.
    ///
    /// # Errors
    ///
    /// The same as [`Socket::read`].
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<Received>;

    /// Reads at most `most` bytes for the session, which are not zero, and appends them. Default: makes
    /// `most` zeros first.
    ///
    /// # Errors
    ///
    /// The same as [`Socket::read`].
    fn read_onto(&mut self, bytes: &mut Vec<u8>, most: usize) -> io::Result<Received> {
        append(bytes, most, |buffer| {
            self.read(buffer).map(|received| match received {
                Received::Bytes { session, .. } => (received, session),
                Received::End => (received, 0),
            })
        })
    }

    /// Writes slices. They may be empty if the stream [wants to write](Self::wants_write) bytes of
    /// its own. Bytes that were not [sent](Sent::session) come again, at the start of the next
    /// call.
    ///
    /// # Errors
    ///
    /// The same as [`Socket::write`].
    fn write(&mut self, slices: &[IoSlice<'_>]) -> io::Result<Sent>;

    /// Says whether the stream has bytes of its own to write, even after a read: an answer of its
    /// protocol, or the rest of encrypted bytes.
    fn wants_write(&self) -> bool;

    /// Says whether the stream holds bytes for the session that it has already read from the
    /// socket.
    fn holds_bytes(&self) -> bool;

    /// Returns how many bytes of memory the stream holds for bytes in transit. They count against
    /// [`memory_limit`](crate::config::ReactorConfig::memory_limit). Default: 0.
    fn memory(&self) -> usize {
        0
    }

    /// Says whether bytes wait to be read, in the stream or in the socket. Does not read them.
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

/// Appends what a read puts into a buffer of `most` zeros. The read says how many bytes that was.
fn append<T>(
    bytes: &mut Vec<u8>,
    most: usize,
    read: impl FnOnce(&mut [u8]) -> io::Result<(T, usize)>,
) -> io::Result<T> {
    let len = bytes.len();
    bytes.resize(len + most, 0);
    let found = read(&mut bytes[len..]);
    let count = found.as_ref().map_or(0, |(_, count)| *count);
    bytes.truncate(len + count);
    found.map(|(found, _)| found)
}

/// The result of a read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Received {
    /// Bytes.
    Bytes {
        /// Bytes read from the socket. They prove that the peer is alive, and the budget counts
        /// them. Zero if the stream already held the bytes.
        kernel: usize,
        /// Bytes for the session, in the buffer. Zero if the stream needs more bytes from the
        /// socket first.
        session: usize,
        /// As far as the stream can tell, there are no more bytes now, neither in it nor in the
        /// socket.
        is_drained: bool,
    },
    /// The peer has ended its output.
    End,
}

/// The result of a write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sent {
    /// Bytes that the kernel accepted. They count as progress.
    pub kernel: usize,
    /// Bytes of the session that the kernel has accepted completely, in whatever form.
    pub session: usize,
    /// The socket takes no more bytes for now.
    pub is_refused: bool,
}

/// A stream that passes the bytes of the socket on unchanged.
#[derive(Debug)]
pub struct Plain<S>(S);

impl<S: Socket> Plain<S> {
    fn received(count: usize, most: usize) -> Received {
        match count {
            0 => Received::End,
            count => Received::Bytes {
                kernel: count,
                session: count,
                is_drained: count < most && S::SHORT_READ_DRAINS,
            },
        }
    }
}

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
        let count = self.0.read(buffer)?;
        Ok(Self::received(count, buffer.len()))
    }

    fn read_onto(&mut self, bytes: &mut Vec<u8>, most: usize) -> io::Result<Received> {
        let count = self.0.read_onto(bytes, most)?;
        Ok(Self::received(count, most))
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
