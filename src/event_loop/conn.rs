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
use crate::proto::time::{Micros, Moment};
use crate::sys::{Layer, LayerFault, Received, Sent, Socket, System, Transport, cause_of};

/// A slot of the slab: 128 bytes where the embedder keeps nothing. Readiness is remembered, because an
/// edge comes only once.
///
/// What can be computed is not stored: the id is derived from slot and phase.
#[derive(Debug)]
pub(super) struct Conn<D, S: System> {
    pub(super) socket: S::Socket,
    pub(super) session: Session,
    /// The embedder's data. The default value until the connection is [`Mark::Welcome`].
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
        /// A write was refused, completely or in part, since the last wait. The events of that wait
        /// are out of date, and no write is tried before the next one.
        Refused,
        /// The kernel may hold as many unsent bytes as the socket's buffer takes, since the queue
        /// was full.
        Deep,
        /// An event reported the end of reading or of the socket, or urgent data, at which a read
        /// stops. A short read then does not mean that all bytes were read.
        Doubtful,
        /// Reading has reached its end: after a failed write, nothing is left to read.
        Eof,
        /// A write failed: queued output will never leave.
        Broken,
        /// A write failed with a reset. A read may no longer show that error.
        Reset,
    }
}

flags! {
    /// Where the loop has noted a connection.
    Mark {
        /// The handler has accepted it.
        Welcome,
        /// On the list of connections to flush.
        Dirty,
        /// On the list of connections to reap.
        Doomed,
        /// On the list of connections with input left for the next turn.
        Carried,
        /// A send found the queue full, so `on_writable` must follow.
        WantsRoom,
        /// It counts as half-open for its address. If it was dialed: it is the one that may be
        /// half-open.
        HalfOpen,
        /// It counts as a connection of its address.
        Counted,
        /// It used up its share when it was read last, so that others are read before it.
        Heavy,
    }
}

/// What a read found.
#[derive(Debug)]
pub(super) enum ReadOutcome {
    /// Bytes.
    Bytes {
        /// So many left the socket.
        count: usize,
        /// So many were added to the message that the session assembles. If zero, the bytes for the
        /// session are in the ring.
        assembled: usize,
        /// So many records a layer has taken apart.
        records: usize,
    },
    /// Nothing for now.
    Blocked,
    /// The peer ended its output.
    Eof,
    /// The socket ended, but not the layer between it and the session: bytes may be missing.
    Cut,
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
        socket: S::Socket,
        session: Session,
        peer: Peer,
        endpoint: Endpoint,
        marks: Flags<Mark>,
    ) -> Self
    where
        D: Default,
    {
        Self {
            socket,
            session,
            data: D::default(),
            peer,
            endpoint: endpoint.into(),
            ready: Flags::NONE,
            marks,
        }
    }

    /// Returns its id, given its slot.
    pub(super) fn id(&self, key: usize, names: Names) -> ConnId {
        names.of(key, self.session.heartbeat().phase())
    }

    pub(super) fn endpoint(&self) -> Endpoint {
        self.endpoint.into()
    }

    /// Returns what lies between socket and session, if anything does.
    pub(super) fn layer(&self) -> Option<&S::Layer> {
        self.session.aside()
    }

    /// Returns the way between socket and session.
    pub(super) fn transport(&mut self) -> Transport<'_, S::Socket, S::Layer> {
        Transport {
            socket: &mut self.socket,
            layer: self.session.aside_mut(),
        }
    }

    /// Says whether the handshake of a layer is complete, if there is one.
    pub(super) fn is_unsealed(&self) -> bool {
        self.layer().is_none_or(Layer::is_open)
    }

    /// Continues a dial, and then the handshake of a layer. Returns whether both are complete.
    pub(super) fn open(&mut self, env: &mut Env, now: Moment) -> io::Result<bool> {
        if self.session.is_dialing() {
            if !self.socket.is_connected()? {
                return Ok(false);
            }
            if self.layer().is_some() {
                self.session.handle_dialed(env, now);
            }
        }
        self.transport().open(&mut env.pool)
    }

    /// Says whether a layer has bytes of its own to write.
    pub(super) fn layer_wants_write(&self) -> bool {
        self.layer().is_some_and(Layer::wants_write)
    }

    /// Says whether a layer holds bytes for the session.
    pub(super) fn layer_holds_bytes(&self) -> bool {
        self.layer().is_some_and(Layer::holds_bytes)
    }

    /// Returns the bytes of memory that a layer holds for what is in transit.
    pub(super) fn layer_memory(&self) -> usize {
        self.layer().map_or(0, Layer::memory)
    }

    /// Says whether bytes wait to be read, in a layer or in the socket. Does not read them.
    pub(super) fn has_waiting_bytes(&self) -> bool {
        self.layer_holds_bytes() || self.socket.has_waiting_bytes()
    }

    /// Makes room in the ring for a read. Returns whether there is room.
    ///
    /// Frames are read into the largest class: only one connection reads at a time, and remaining
    /// bytes move to a smaller buffer. A head gets no more room than its limit.
    pub(super) fn make_room(&self, ring: &mut Ring, env: &mut Env) -> bool {
        if self.session.phase() != Phase::Handshaking {
            ring.widen(Pool::LARGEST, &mut env.pool);
        }
        !ring.is_full() || ring.grow(self.session.input_limit(env), &mut env.pool)
    }

    /// Reads at most `budget` bytes once: the rest of a long message right to its place, anything else
    /// into the free space of the ring, which must not be empty.
    pub(super) fn read(&mut self, ring: &mut Ring, env: &mut Env, budget: usize) -> ReadOutcome {
        if ring.is_empty()
            && let Some((mut assembly, missing)) = self.session.take_assembly(env)
        {
            let most = missing.min(budget);
            let outcome = self
                .read_with(|mut transport| transport.read_onto(&mut env.pool, &mut assembly, most));
            self.session.put_assembly(assembly);
            return outcome;
        }
        let spare = ring.spare_mut(&mut env.pool);
        let room = spare.len().min(budget);
        let spare = &mut spare[..room];
        match self.read_with(|mut transport| transport.read(&mut env.pool, spare)) {
            ReadOutcome::Bytes {
                count,
                assembled,
                records,
            } => {
                ring.commit(assembled);
                ReadOutcome::Bytes {
                    count,
                    assembled: 0,
                    records,
                }
            }
            other => other,
        }
    }

    /// Reads once, with any number of tries. The bytes for the session count as assembled.
    fn read_with(
        &mut self,
        mut read: impl FnMut(Transport<'_, S::Socket, S::Layer>) -> io::Result<Received>,
    ) -> ReadOutcome {
        loop {
            match read(self.transport()) {
                Ok(end @ (Received::End | Received::Cut)) => {
                    self.ready.remove(Ready::Readable);
                    self.ready.insert(Ready::Eof);
                    // Who has said goodbye in the words of its wire has nothing to add.
                    let is_cut = end == Received::Cut && self.session.phase() != Phase::Closing;
                    return if is_cut {
                        ReadOutcome::Cut
                    } else {
                        ReadOutcome::Eof
                    };
                }
                Ok(Received::Bytes {
                    kernel,
                    session,
                    records,
                    is_drained,
                }) => {
                    if is_drained && !self.ready.has(Ready::Doubtful) {
                        self.ready.remove(Ready::Readable);
                    }
                    return ReadOutcome::Bytes {
                        count: kernel,
                        assembled: session,
                        records,
                    };
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

    /// Ends the session because its established socket failed.
    pub(super) fn fail(&mut self, env: &mut Env, now: Moment, error: &io::Error) {
        if let Some(fault) = LayerFault::of(error) {
            self.session
                .handle_fault(env, now, fault.cause, &fault.reason);
            return;
        }
        let errno = error.raw_os_error();
        match cause_of(error) {
            Cause::PathDead => self.session.handle_path_error(now, errno),
            cause => {
                let is_reset = cause == Cause::PeerReset;
                self.session.handle_io_error(now, errno, is_reset);
            }
        }
    }

    /// Ends the session because its socket or layer was never established.
    pub(super) fn fail_to_open(&mut self, env: &mut Env, now: Moment, error: &io::Error) {
        match LayerFault::of(error) {
            Some(fault) => self
                .session
                .handle_fault(env, now, fault.cause, &fault.reason),
            None => {
                // A layer begins on a socket that is established.
                let is_reset = self.layer().is_some() && cause_of(error) == Cause::PeerReset;
                self.session
                    .handle_io_error(now, error.raw_os_error(), is_reset);
            }
        }
    }

    /// Says whether a write may be tried: no write was refused since the last wait, and none
    /// failed.
    pub(super) fn may_take_more(&self) -> bool {
        !self.ready.has(Ready::Refused) && !self.ready.has(Ready::Broken)
    }

    /// Lets the kernel hold as many unsent bytes as the socket's buffer takes, or only few again. A
    /// ping cannot overtake bytes in the kernel.
    pub(super) fn deepen(&mut self, is_deep: bool) {
        if self.ready.has(Ready::Deep) != is_deep {
            self.ready.set(Ready::Deep, is_deep);
            self.socket.deepen(is_deep);
        }
    }

    /// Says whether a write failed and earlier input of the peer is still to be read. The
    /// connection ends after it.
    pub(super) fn is_lost(&self) -> bool {
        self.ready.has(Ready::Broken) && self.marks.has(Mark::Carried)
    }

    /// Says whether the peer of a connection that waits for the handler may have ended its output. What it
    /// sent before is read then, as far as there is room: the end lies behind it.
    pub(super) fn may_have_left(&self) -> bool {
        self.session.awaited().is_some() && self.ready.has(Ready::Doubtful)
    }

    /// Says whether the session or a layer has output.
    pub(super) fn has_output(&self) -> bool {
        self.session.has_output() || self.layer_wants_write()
    }

    /// Writes queued output until none is left or the socket accepts no more.
    pub(super) fn flush(&mut self, env: &mut Env, now: Moment) -> FlushOutcome {
        if self.ready.has(Ready::Writable) {
            // Not before: what was refused still waits, and some closes must overtake it.
            self.session.handle_writable();
        }
        while self.ready.has(Ready::Writable) && self.has_output() {
            let written = if self.session.pieces() > FEW {
                self.write::<MANY>(env)
            } else {
                self.write::<FEW>(env)
            };
            if let Some(outcome) = self.settle_write(env, now, written) {
                return outcome;
            }
        }
        FlushOutcome::Done
    }

    /// Says whether nothing but a heartbeat can concern it: no output waits, and no end is near.
    pub(super) fn is_calm(&self) -> bool {
        let is_marked = self.marks.has(Mark::Doomed) || self.marks.has(Mark::Carried);
        !is_marked
            && !self.ready.has(Ready::Broken)
            && self.session.is_at_rest()
            && !self.layer_wants_write()
    }

    /// Writes the ping of a beat straight from where it was encoded. Returns the next deadline if it left
    /// whole. Otherwise it is queued, and the outcome is that of a flush.
    pub(super) fn write_beat(
        &mut self,
        env: &mut Env,
        now: Moment,
        due: Micros,
    ) -> Result<Micros, FlushOutcome> {
        if !self.ready.has(Ready::Writable) {
            self.session.keep_beat(env, now, due);
            return Err(FlushOutcome::Done);
        }
        let (frame, pool) = env.frame_and_pool();
        let written = self.transport().write(pool, &[IoSlice::new(frame)]);
        match &written {
            Ok(sent) if sent.session == env.frame().len() && !sent.is_refused => {
                env.stats.bytes_out += sent.kernel as u64;
                return Ok(self.session.end_beat(env, now, due));
            }
            Ok(_) | Err(_) => self.session.keep_beat(env, now, due),
        }
        Err(self
            .settle_write(env, now, written)
            .unwrap_or_else(|| self.flush(env, now)))
    }

    /// Notes what became of a write. `None` if another one may be tried.
    fn settle_write(
        &mut self,
        env: &mut Env,
        now: Moment,
        written: io::Result<Sent>,
    ) -> Option<FlushOutcome> {
        match written {
            Ok(sent) => {
                env.stats.bytes_out += sent.kernel as u64;
                self.session.handle_carried(env, sent.carried);
                match sent.session {
                    0 => self.session.handle_progress(now, sent.kernel),
                    written => self.session.handle_written(env, now, written),
                }
                sent.is_refused.then(|| self.handle_refusal(env))
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                Some(self.handle_refusal(env))
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => None,
            Err(error) => {
                self.ready.remove(Ready::Writable);
                Some(FlushOutcome::Failed(error))
            }
        }
    }

    fn write<const SLICES: usize>(&mut self, env: &mut Env) -> io::Result<Sent> {
        // Out of the session, whose output is borrowed meanwhile.
        let mut layer = self.session.take_aside();
        let mut slices = [IoSlice::new(&[]); SLICES];
        let count = self.session.slices(&mut slices);
        let mut transport = Transport {
            socket: &mut self.socket,
            layer: layer
                .as_mut()
                .and_then(|layer| layer.downcast_mut::<S::Layer>()),
        };
        let written = transport.write(&mut env.pool, &slices[..count]);
        if layer.is_some() {
            self.session.give_aside(layer);
        }
        written
    }

    fn handle_refusal(&mut self, env: &mut Env) -> FlushOutcome {
        self.ready.remove(Ready::Writable);
        self.session.handle_blocked();
        self.session.tighten(env);
        env.stats.writes_refused += 1;
        FlushOutcome::Refused
    }
}

/// Slices offered to one vectored write: more where the messages may take more. The fragments of a MiB
/// have two each, and fit; so do sixteen short messages that are shared.
const FEW: usize = 8;
const MANY: usize = 36;

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
    use crate::sizes::sizes;
    use crate::sys::{Native, entropy};

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
            TcpStream::from_std(socket),
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
            socket,
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
                "socket" => size_of::<RawFd>(),
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
