//! One connection: a socket and its session.

use std::io::{self, IoSlice, Read, Write};
use std::net::SocketAddr;
use std::os::fd::{AsRawFd, RawFd};

use mio::net::TcpStream;

use super::handler::Origin;
use super::socket;
use super::token::ConnId;
use crate::close::{Cause, Phase};
use crate::proto::pool::Pool;
use crate::proto::ring::Ring;
use crate::proto::session::{Env, Session};
use crate::proto::time::Moment;

/// A slot of the slab. Readiness is remembered, because an edge comes only once.
#[derive(Debug)]
pub(super) struct Conn<D> {
    pub(super) socket: TcpStream,
    pub(super) session: Session,
    /// What the embedder keeps; there from the moment the connection is welcome.
    pub(super) data: Option<D>,
    pub(super) id: ConnId,
    pub(super) peer: SocketAddr,
    pub(super) origin: Origin,
    pub(super) flags: ConnFlags,
}

#[derive(Clone, Copy, Debug, Default)]
pub(super) struct ConnFlags {
    /// A read may find something.
    pub(super) readable: bool,
    /// A write may be accepted.
    pub(super) writable: bool,
    /// An event said that reading or the whole socket is over: a short read proves nothing.
    pub(super) ending: bool,
    /// On the list of connections to flush.
    pub(super) dirty: bool,
    /// On the list of connections to reap.
    pub(super) doomed: bool,
    /// On the list of connections with input left for the next turn.
    pub(super) carried: bool,
    /// A send found the queue full, and `on_writable` is owed.
    pub(super) wants_room: bool,
    /// Counted among the half-open connections of its address, or, dialed, the one that may be half-open.
    pub(super) half_open: bool,
    /// Counted among the connections of its address.
    pub(super) counted: bool,
    /// Reading has come to its end: there is nothing behind a write that fails.
    pub(super) eof: bool,
    /// A write failed: what is still queued will never leave.
    pub(super) broken: bool,
    /// A write failed with a reset, which may have used up the error that a read would show.
    pub(super) reset: bool,
}

/// What a read found.
#[derive(Debug)]
pub(super) enum ReadOutcome {
    /// This many bytes; more may wait.
    Bytes(usize),
    /// This many bytes, and certainly no more for now.
    Last(usize),
    /// Nothing for now.
    Blocked,
    /// The peer ended its output.
    Eof,
    /// The socket failed.
    Failed(io::Error),
}

/// What flushing came to.
#[derive(Debug)]
pub(super) enum FlushOutcome {
    /// Everything is written, or the socket takes no more for now.
    Done,
    /// The socket failed.
    Failed(io::Error),
}

impl<D> Conn<D> {
    /// Touches what a heartbeat will need, wherever in here it lies.
    pub(super) fn glance(&self) -> (RawFd, bool, Phase, u32) {
        let Self { socket, flags, .. } = self;
        let pings = self.session.heartbeat().next_number();
        (
            socket.as_raw_fd(),
            flags.readable,
            self.session.phase(),
            pings,
        )
    }

    /// Sees to it that the ring has room to read into; says whether it has.
    ///
    /// Frames are read into the largest class: only one connection reads at a time, and what it leaves
    /// behind moves to a smaller one. A head has no more room than it may take.
    pub(super) fn make_room(&self, ring: &mut Ring, env: &mut Env) -> bool {
        if self.session.phase() != Phase::Handshaking {
            ring.widen(Pool::LARGEST, &mut env.pool);
        }
        !ring.is_full() || ring.grow(self.session.input_limit(env), &mut env.pool)
    }

    /// Reads once into the ring's spare room, which must not be empty, at most `budget` bytes.
    pub(super) fn read(&mut self, ring: &mut Ring, env: &mut Env, budget: usize) -> ReadOutcome {
        let spare = ring.spare_mut(&mut env.pool);
        let room = spare.len().min(budget);
        let spare = &mut spare[..room];
        loop {
            match self.socket.read(spare) {
                Ok(0) => {
                    self.flags.readable = false;
                    self.flags.eof = true;
                    return ReadOutcome::Eof;
                }
                Ok(count) => {
                    ring.commit(count);
                    if count < room && SHORT_READ_DRAINS && !self.flags.ending {
                        self.flags.readable = false;
                        return ReadOutcome::Last(count);
                    }
                    return ReadOutcome::Bytes(count);
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    self.flags.readable = false;
                    return ReadOutcome::Blocked;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => {
                    self.flags.readable = false;
                    return ReadOutcome::Failed(error);
                }
            }
        }
    }

    /// Ends the session, whose established socket failed.
    pub(super) fn fail(&mut self, now: Moment, error: &io::Error) {
        let errno = error.raw_os_error();
        match socket::cause_of(error) {
            Cause::PathDead => self.session.handle_path_error(now, errno),
            cause => {
                let is_reset = cause == Cause::PeerReset;
                self.session.handle_io_error(now, errno, is_reset);
            }
        }
    }

    /// Looks whether bytes wait in the socket, without taking them.
    pub(super) fn has_waiting_bytes(&self) -> bool {
        matches!(self.socket.peek(&mut [0]), Ok(1))
    }

    /// Writes what is queued until it is gone or the socket takes no more.
    pub(super) fn flush(&mut self, env: &mut Env, now: Moment) -> FlushOutcome {
        if self.flags.writable {
            // Not before: what was refused still waits, and a close must overtake it.
            self.session.handle_writable();
        }
        while self.flags.writable && self.session.has_output() {
            let mut slices = [IoSlice::new(&[]); SLICES];
            let count = self.session.slices(&mut slices);
            let offered: usize = slices[..count].iter().map(|slice| slice.len()).sum();
            let result = match &slices[..count] {
                [slice] => self.socket.write(slice),
                slices => self.socket.write_vectored(slices),
            };
            match result {
                Ok(written) => {
                    self.session.handle_written(env, now, written);
                    if written < offered {
                        self.flags.writable = false;
                        self.session.handle_blocked();
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    self.flags.writable = false;
                    self.session.handle_blocked();
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => {
                    self.flags.writable = false;
                    return FlushOutcome::Failed(error);
                }
            }
        }
        FlushOutcome::Done
    }
}

/// Slices offered to one vectored write.
const SLICES: usize = 16;

/// Whether the poller gives another edge for bytes that arrive after a short read.
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_connection_stays_small() {
        // In debug builds mio's socket carries a mark that others do not have.
        let rest = size_of::<Conn<()>>() - size_of::<TcpStream>();
        assert!(rest <= 192, "{rest}");
        assert_eq!(size_of::<Conn<()>>(), size_of::<Option<Conn<()>>>());
    }
}
