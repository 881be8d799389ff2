//! One connection: a socket and its session.

use std::io::{self, IoSlice};

use super::endpoint::{Endpoint, PackedEndpoint};
use super::peers::Peer;
use super::token::{ConnId, Names};
use crate::close::{Cause, Phase};
use crate::proto::flags::{Flags, flags};
use crate::proto::pool::Pool;
use crate::proto::ring::Ring;
use crate::proto::session::{Env, Session};
use crate::proto::time::Moment;
use crate::sys::{Received, Socket, Stream, System, cause_of};

/// A slot of the slab: 128 bytes where the embedder keeps nothing. Readiness is remembered, because an
/// edge comes only once.
///
/// What can be told from elsewhere is not kept: its name from its slot and phase.
#[derive(Debug)]
pub(super) struct Conn<D, S: System> {
    pub(super) stream: S::Stream,
    pub(super) session: Session,
    /// What the embedder keeps; its default until the connection is [`Mark::Welcome`].
    pub(super) data: D,
    pub(super) peer: Peer,
    endpoint: PackedEndpoint,
    pub(super) ready: Flags<Ready>,
    pub(super) marks: Flags<Mark>,
}

flags! {
    /// What is known of a socket.
    Ready {
        /// A read may find something.
        Readable,
        /// A write may be accepted.
        Writable,
        /// A write was refused, in whole or in part, since the last wait: what that wait said of room is
        /// out of date, and nothing is tried again before the next one.
        Refused,
        /// The kernel may hold as much unsent as the socket's buffer takes, since the queue was full.
        Deep,
        /// An event said that reading or the whole socket is over, or told of urgent data, at which a read
        /// stops: a short one proves nothing.
        Doubtful,
        /// Reading has come to its end: there is nothing behind a write that fails.
        Eof,
        /// A write failed: what is still queued will never leave.
        Broken,
        /// A write failed with a reset, which may have used up the error that a read would show.
        Reset,
    }
}

flags! {
    /// Where the loop has noted a connection.
    Mark {
        /// The embedder has welcomed it.
        Welcome,
        /// On the list of connections to flush.
        Dirty,
        /// On the list of connections to reap.
        Doomed,
        /// On the list of connections with input left for the next turn.
        Carried,
        /// A send found the queue full, and `on_writable` is owed.
        WantsRoom,
        /// Counted among the half-open connections of its address, or, dialed, the one that may be
        /// half-open.
        HalfOpen,
        /// Counted among the connections of its address.
        Counted,
    }
}

/// What a read found.
#[derive(Debug)]
pub(super) enum ReadOutcome {
    /// This many bytes left the socket; what they come to is in the ring.
    Bytes(usize),
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
    /// Everything is written, or nothing was offered: the socket is known to have no room.
    Done,
    /// The socket takes no more for now.
    Refused,
    /// The socket failed.
    Failed(io::Error),
}

impl<D, S: System> Conn<D, S> {
    pub(super) fn new(
        stream: S::Stream,
        session: Session,
        peer: Peer,
        endpoint: Endpoint,
        marks: Flags<Mark>,
    ) -> Self
    where
        D: Default,
    {
        Self {
            stream,
            session,
            data: D::default(),
            peer,
            endpoint: endpoint.into(),
            ready: Flags::NONE,
            marks,
        }
    }

    /// Returns its name, given the slot it is in.
    pub(super) fn id(&self, key: usize, names: Names) -> ConnId {
        names.of(key, self.session.heartbeat().phase())
    }

    pub(super) fn endpoint(&self) -> Endpoint {
        self.endpoint.into()
    }

    /// Touches what a heartbeat will need, wherever in here it lies.
    pub(super) fn glance(&self) -> (Peer, bool, Phase, u32) {
        let Self { peer, ready, .. } = self;
        let pings = self.session.heartbeat().next_number();
        (
            *peer,
            ready.has(Ready::Readable),
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
            match self.stream.read(spare) {
                Ok(Received::End) => {
                    self.ready.remove(Ready::Readable);
                    self.ready.insert(Ready::Eof);
                    return ReadOutcome::Eof;
                }
                Ok(Received::Bytes {
                    kernel,
                    session,
                    is_drained,
                }) => {
                    ring.commit(session);
                    if is_drained && !self.ready.has(Ready::Doubtful) {
                        self.ready.remove(Ready::Readable);
                    }
                    return ReadOutcome::Bytes(kernel);
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    self.ready.remove(Ready::Readable);
                    return ReadOutcome::Blocked;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => {
                    self.ready.remove(Ready::Readable);
                    return ReadOutcome::Failed(error);
                }
            }
        }
    }

    /// Ends the session, whose established socket failed.
    pub(super) fn fail(&mut self, now: Moment, error: &io::Error) {
        let errno = error.raw_os_error();
        match cause_of(error) {
            Cause::PathDead => self.session.handle_path_error(now, errno),
            cause => {
                let is_reset = cause == Cause::PeerReset;
                self.session.handle_io_error(now, errno, is_reset);
            }
        }
    }

    /// Says whether a write may be tried: none was refused since the last wait, and none has failed.
    pub(super) fn may_take_more(&self) -> bool {
        !self.ready.has(Ready::Refused) && !self.ready.has(Ready::Broken)
    }

    /// Lets the kernel hold as much unsent as the socket's buffer takes, or again only little: what it holds
    /// no ping can overtake.
    pub(super) fn deepen(&mut self, is_deep: bool) {
        if self.ready.has(Ready::Deep) != is_deep {
            self.ready.set(Ready::Deep, is_deep);
            self.stream.socket_mut().deepen(is_deep);
        }
    }

    /// Says whether a write has failed, and what the peer said before is still to be read, which ends it.
    pub(super) fn is_lost(&self) -> bool {
        self.ready.has(Ready::Broken) && self.marks.has(Mark::Carried)
    }

    /// Says whether there is something to write: of the session's, or of the stream's own.
    pub(super) fn has_output(&self) -> bool {
        self.session.has_output() || self.stream.wants_write()
    }

    /// Writes what is queued until it is gone or the socket takes no more.
    pub(super) fn flush(&mut self, env: &mut Env, now: Moment) -> FlushOutcome {
        if self.ready.has(Ready::Writable) {
            // Not before: what was refused still waits, and some closes must overtake it.
            self.session.handle_writable();
        }
        while self.ready.has(Ready::Writable) && self.has_output() {
            let mut slices = [IoSlice::new(&[]); SLICES];
            let count = self.session.slices(&mut slices);
            match self.stream.write(&slices[..count]) {
                Ok(sent) => {
                    env.stats.bytes_out += sent.kernel as u64;
                    match sent.session {
                        0 => self.session.handle_progress(now, sent.kernel),
                        written => self.session.handle_written(env, now, written),
                    }
                    if sent.is_refused {
                        return self.handle_refusal(env);
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    return self.handle_refusal(env);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => {
                    self.ready.remove(Ready::Writable);
                    return FlushOutcome::Failed(error);
                }
            }
        }
        FlushOutcome::Done
    }

    fn handle_refusal(&mut self, env: &mut Env) -> FlushOutcome {
        self.ready.remove(Ready::Writable);
        self.session.handle_blocked();
        env.stats.writes_refused += 1;
        FlushOutcome::Refused
    }
}

/// Slices offered to one vectored write.
const SLICES: usize = 16;

#[cfg(test)]
mod tests {
    use std::net::TcpListener;
    use std::os::fd::RawFd;
    use std::time::Duration;

    use mio::net::TcpStream;

    use super::*;
    use crate::config::{HeartbeatConfig, LimitsConfig, WireKind};
    use crate::event_loop::peers::Peers;
    use crate::event_loop::token::ListenerId;
    use crate::proto::heartbeat::PingPhase;
    use crate::proto::policy::Policy;
    use crate::proto::session::Wire;
    use crate::proto::time::Micros;
    use crate::proto::wheel::Wheel;
    use crate::proto::wire::Role;
    use crate::sizes::sizes;
    use crate::sys::{Native, Plain, entropy};

    /// Everything that one idle connection may take in user space.
    const BUDGET: usize = 160;

    /// A slot as the slab keeps it.
    #[expect(dead_code, reason = "only its size is asked for")]
    enum Slot<D> {
        Vacant(usize),
        Occupied(Conn<D, Native>),
    }

    fn conn() -> Conn<(), Native> {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let addr = listener.local_addr().expect("it is bound");
        let socket = std::net::TcpStream::connect(addr).expect("it listens");
        let mut env = Env::new(entropy(Some(1)));
        let (heartbeat, limits) = (HeartbeatConfig::tcp(), LimitsConfig::default());
        let tick = Duration::from_millis(10);
        let policy = Policy::new(&heartbeat, &limits, WireKind::Line, tick).expect("the defaults");
        let policy = env.intern(policy).expect("it is the first");
        let now = Moment::on_time(Micros::ZERO);
        let session = Session::accepted(&mut env, policy, Wire::Line, PingPhase::ZERO, now);
        Conn::new(
            Plain::over(TcpStream::from_std(socket), Role::Server),
            session,
            Peers::with_capacity(0).keep(addr.into()),
            Endpoint::Listener(ListenerId(0)),
            Flags::NONE,
        )
    }

    #[test]
    fn an_idle_connection_takes_144_bytes_and_with_ipv6_the_160_it_may() {
        let conn = conn();
        let fields = sizes!(&conn => Conn {
            stream,
            session,
            data,
            peer,
            endpoint,
            ready,
            marks,
        });
        let sum: usize = fields
            .iter()
            .map(|&(field, size)| match field {
                // In debug builds mio's socket carries a mark that others do not have.
                "stream" => size_of::<RawFd>(),
                _ => size,
            })
            .sum();
        assert_eq!(sum, 128, "{fields:?}");
        assert_eq!(
            size_of::<Slot<()>>(),
            size_of::<Conn<(), Native>>(),
            "the slab's tag"
        );
        if size_of::<TcpStream>() == size_of::<RawFd>() {
            assert_eq!(size_of::<Conn<(), Native>>(), sum, "nothing is padding");
        }
        let all = sum + Wheel::KEY_BYTES;
        assert_eq!((all, all + Peers::BYTES), (144, BUDGET));
    }

    #[test]
    fn what_the_embedder_keeps_comes_on_top() {
        assert_eq!(
            size_of::<Conn<Box<u64>, Native>>(),
            size_of::<Conn<(), Native>>() + 8
        );
    }
}
