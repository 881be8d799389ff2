//! The traits of one connection: its socket, and the layer between socket and session.

use std::any::Any;
use std::borrow::Cow;
use std::fmt;
use std::io::{self, IoSlice};
#[cfg(feature = "tls")]
use std::sync::Arc;

use crate::close::{Cause, KernelFigures};
use crate::proto::pool::Pool;

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
        let len = bytes.len();
        bytes.resize(len + most, 0);
        let found = self.read(&mut bytes[len..]);
        bytes.truncate(len + *found.as_ref().unwrap_or(&0));
        found
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

/// What lies between the socket of a connection and its session: a protocol that changes the bytes, such
/// as TLS. A plain connection has no layer.
///
/// A layer never waits: a call that would have to wait fails with [`io::ErrorKind::WouldBlock`].
/// Until the layer is [open](Self::is_open), the loop calls only [`open`](Self::open), whenever
/// the socket is ready for anything. That time counts against the handshake timeout.
///
/// A layer holds no buffer while nothing is under way: the pool lends it one.
pub trait Layer<K: Socket>: fmt::Debug + Send + 'static {
    /// Says whether the layer's own handshake is complete.
    fn is_open(&self) -> bool;

    /// Takes bytes that somebody else has read from the socket, before anything else is done.
    fn put_back(&mut self, bytes: &[u8]);

    /// Continues the layer's own handshake over a socket that is connected. Returns whether the layer is
    /// now open.
    ///
    /// # Errors
    ///
    /// Why the layer will never be open. A [`LayerFault`] is the peer's or ours, anything else the socket's.
    fn open(&mut self, socket: &mut K, pool: &mut Pool) -> io::Result<bool>;

    /// Reads at most `most` bytes for the session, which are not zero, and hands them over in pieces, in
    /// their order.
    ///
    /// # Errors
    ///
    /// The same as [`Socket::read`], or a [`LayerFault`].
    fn read(
        &mut self,
        socket: &mut K,
        pool: &mut Pool,
        most: usize,
        take: &mut dyn FnMut(&[u8]),
    ) -> io::Result<Received>;

    /// Writes slices. They may be empty if the layer [wants to write](Self::wants_write) bytes of
    /// its own. Bytes that were neither [sent](Sent::session) nor [taken over](Sent::carried) may come again
    /// in the next call, or others instead of them.
    ///
    /// # Errors
    ///
    /// The same as [`read`](Self::read).
    fn write(
        &mut self,
        socket: &mut K,
        pool: &mut Pool,
        slices: &[IoSlice<'_>],
    ) -> io::Result<Sent>;

    /// Says whether the layer has bytes of its own to write, even after a read: an answer of its
    /// protocol, or the rest of encrypted bytes.
    fn wants_write(&self) -> bool;

    /// Says whether the layer holds bytes for the session that it has already read from the socket.
    fn holds_bytes(&self) -> bool;

    /// Returns how many bytes of memory the layer holds for bytes in transit. They count against
    /// [`memory_limit`](crate::config::ReactorConfig::memory_limit).
    fn memory(&self) -> usize;

    /// Returns the layer as what it is, for an application that asks about it. Default: it is not told.
    fn as_any(&self) -> Option<&dyn Any> {
        None
    }

    /// Ends the output after what was written, and tells the peer so in the words of the layer. Called at
    /// most once. What comes behind that is read, so that its end is known, and need not be handed over.
    ///
    /// # Errors
    ///
    /// The socket's error.
    fn shutdown(&mut self, socket: &mut K, pool: &mut Pool) -> io::Result<()>;
}

/// The layer of a system that has none.
#[derive(Clone, Copy, Debug)]
pub enum NoLayer {}

impl<K: Socket> Layer<K> for NoLayer {
    fn is_open(&self) -> bool {
        match *self {}
    }

    fn put_back(&mut self, _bytes: &[u8]) {
        match *self {}
    }

    fn open(&mut self, _socket: &mut K, _pool: &mut Pool) -> io::Result<bool> {
        match *self {}
    }

    fn read(
        &mut self,
        _socket: &mut K,
        _pool: &mut Pool,
        _most: usize,
        _take: &mut dyn FnMut(&[u8]),
    ) -> io::Result<Received> {
        match *self {}
    }

    fn write(
        &mut self,
        _socket: &mut K,
        _pool: &mut Pool,
        _slices: &[IoSlice<'_>],
    ) -> io::Result<Sent> {
        match *self {}
    }

    fn wants_write(&self) -> bool {
        match *self {}
    }

    fn holds_bytes(&self) -> bool {
        match *self {}
    }

    fn memory(&self) -> usize {
        match *self {}
    }

    fn shutdown(&mut self, _socket: &mut K, _pool: &mut Pool) -> io::Result<()> {
        match *self {}
    }
}

/// What a layer found wrong. It travels in an [`io::Error`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LayerFault {
    /// [`TlsHandshake`](Cause::TlsHandshake) until the layer is open, then [`TlsError`](Cause::TlsError).
    pub cause: Cause,
    /// A short stable name, such as that of an alert.
    pub reason: Cow<'static, str>,
}

impl LayerFault {
    /// The reason where the socket has ended without the layer's goodbye.
    pub const TRUNCATED: &'static str = "truncated";

    /// Names what was found wrong.
    pub fn new(cause: Cause, reason: impl Into<Cow<'static, str>>) -> Self {
        let reason = reason.into();
        Self { cause, reason }
    }

    /// The socket has ended without the layer's goodbye: bytes may be missing.
    pub fn truncated() -> Self {
        Self::new(Cause::TlsError, Self::TRUNCATED)
    }

    /// Returns the fault that an error carries, if it does.
    pub fn of(error: &io::Error) -> Option<&Self> {
        error.get_ref()?.downcast_ref()
    }
}

impl fmt::Display for LayerFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.cause, self.reason)
    }
}

impl std::error::Error for LayerFault {}

impl From<LayerFault> for io::Error {
    fn from(fault: LayerFault) -> Self {
        Self::other(fault)
    }
}

/// What is to lie between the socket and the session of a new connection.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub enum Seal {
    /// Nothing: the session has the bytes of the socket.
    #[default]
    None,
    /// TLS as a server.
    #[cfg(feature = "tls")]
    Server(Arc<rustls::ServerConfig>),
    /// TLS as a client, and the name that the server's certificate must have.
    #[cfg(feature = "tls")]
    Client(
        Arc<rustls::ClientConfig>,
        rustls::pki_types::ServerName<'static>,
    ),
}

/// The result of a read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Received {
    /// Bytes.
    Bytes {
        /// Bytes read from the socket. They prove that the peer is alive, and the budget counts
        /// them. Zero if a layer already held the bytes.
        kernel: usize,
        /// Bytes for the session. Zero if a layer needs more bytes from the socket first.
        session: usize,
        /// Pieces that a layer has taken apart, such as records of TLS. Each counts as work, however short it
        /// is. Zero without a layer.
        records: usize,
        /// As far as can be told, there are no more bytes now, neither in a layer nor in the
        /// socket.
        is_drained: bool,
    },
    /// The peer has ended its output.
    End,
    /// The socket has ended, and the peer has not said in the words of a layer that this is the end: bytes
    /// may be missing.
    Cut,
}

impl Received {
    /// What a read of at most `most` bytes straight from a socket found.
    fn of<K: Socket>(count: usize, most: usize) -> Self {
        match count {
            0 => Self::End,
            count => Self::Bytes {
                kernel: count,
                session: count,
                records: 0,
                is_drained: count < most && K::SHORT_READ_DRAINS,
            },
        }
    }
}

/// The result of a write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sent {
    /// Bytes that the kernel accepted. They count as progress.
    pub kernel: usize,
    /// Bytes of the session that the kernel has accepted completely, in whatever form: first those that the
    /// layer had taken over, then the first ones of the slices.
    pub session: usize,
    /// So many of the first bytes of the slices are in the layer now, in a form that the kernel has not
    /// accepted completely. They do not come again; a later write counts them as `session`. Zero while the
    /// layer has some already, and without a layer.
    pub carried: usize,
    /// The socket takes no more bytes for now.
    pub is_refused: bool,
}

/// The way between a socket and its session: straight, or through a layer.
#[derive(Debug)]
pub(crate) struct Transport<'a, K, L> {
    pub(crate) socket: &'a mut K,
    pub(crate) layer: Option<&'a mut L>,
}

impl<K: Socket, L: Layer<K>> Transport<'_, K, L> {
    /// Says whether the layer's own handshake is complete, if it has one.
    #[cfg(feature = "websocket")]
    pub(crate) fn is_open(&self) -> bool {
        self.layer.as_ref().is_none_or(|layer| layer.is_open())
    }

    /// Continues the layer's own handshake over a socket that is connected. Returns whether it is complete.
    pub(crate) fn open(&mut self, pool: &mut Pool) -> io::Result<bool> {
        match &mut self.layer {
            None => Ok(true),
            Some(layer) => layer.open(self.socket, pool),
        }
    }

    /// Reads into a buffer, which is not empty.
    pub(crate) fn read(&mut self, pool: &mut Pool, buffer: &mut [u8]) -> io::Result<Received> {
        let Some(layer) = &mut self.layer else {
            let count = self.socket.read(buffer)?;
            return Ok(Received::of::<K>(count, buffer.len()));
        };
        let mut at = 0;
        layer.read(self.socket, pool, buffer.len(), &mut |piece| {
            buffer[at..at + piece.len()].copy_from_slice(piece);
            at += piece.len();
        })
    }

    /// Reads at most `most` bytes, which are not zero, and appends them.
    pub(crate) fn read_onto(
        &mut self,
        pool: &mut Pool,
        bytes: &mut Vec<u8>,
        most: usize,
    ) -> io::Result<Received> {
        match &mut self.layer {
            None => {
                let count = self.socket.read_onto(bytes, most)?;
                Ok(Received::of::<K>(count, most))
            }
            Some(layer) => layer.read(self.socket, pool, most, &mut |piece| {
                bytes.extend_from_slice(piece);
            }),
        }
    }

    /// Writes slices, as [`Layer::write`] does.
    pub(crate) fn write(&mut self, pool: &mut Pool, slices: &[IoSlice<'_>]) -> io::Result<Sent> {
        if let Some(layer) = &mut self.layer {
            return layer.write(self.socket, pool, slices);
        }
        let offered: usize = slices.iter().map(|slice| slice.len()).sum();
        let written = self.socket.write(slices)?;
        Ok(Sent {
            kernel: written,
            session: written,
            carried: 0,
            is_refused: written < offered,
        })
    }

    /// Ends the output, after what was written.
    pub(crate) fn shutdown(&mut self, pool: &mut Pool) -> io::Result<()> {
        match &mut self.layer {
            None => self.socket.shutdown(),
            Some(layer) => layer.shutdown(self.socket, pool),
        }
    }
}
