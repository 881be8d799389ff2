//! The loop's state: a turn works on it, and a context marks it.

use std::collections::VecDeque;
use std::hint::black_box;
use std::net::SocketAddr;
use std::sync::Arc;

use slab::Slab;

use super::broadcasts::Broadcasts;
use super::carried::Carried;
use super::client::Clients;
use super::conn::{Conn, Mark, Ready};
use super::deferrals::Deferrals;
use super::drain::Drain;
use super::endpoint::Endpoint;
use super::expiries::Expiries;
use super::group::Group;
use super::handle::{Inbox, LoopHandle};
use super::held_back::HeldBack;
use super::history::History;
use super::holders::Holders;
use super::in_hand::InHand;
use super::listen::{Adopted, Guests, Listeners, Proxied, Waiting};
use super::peers::Peers;
use super::progress::Progress;
use super::renewals::Renewals;
use super::share::Share;
use super::siblings::Siblings;
use super::sleep::Sleep;
use super::timers::Timers;
use super::token::{ConnId, ListenerId, Names, SourceId, Sources, Target};
use super::topics::Topics;
use super::work::WorkList;
use crate::config::ReactorConfig;
use crate::error::ConfigError;
use crate::peer::PeerAddr;
use crate::proto::flags::Flags;
use crate::proto::heartbeat::PingPhase;
use crate::proto::ring::Ring;
use crate::proto::session::{Entropy, Env, Session};
use crate::proto::time::{Micros, Moment};
use crate::proto::wheel::Wheel;
use crate::sys::{Native, System, Token, Wake};

/// The loop, over any system. It does everything except the wait.
///
/// `D` is the embedder's data for each connection. A driver waits for as long as
/// [`prepare_wait`](Self::prepare_wait) says, and passes the events to [`turn`](Self::turn).
#[derive(Debug)]
pub struct EventLoop<D, S: System = Native> {
    pub(super) config: ReactorConfig,
    pub(crate) system: S,
    pub(super) env: Env,
    pub(super) sleep: Sleep,
    /// The present time of the loop.
    pub(super) now: Moment,
    /// A callback has run since the clock was read.
    pub(super) is_behind: bool,
    /// What connections at rest are read into. Empty between two reads, and with storage of its own from the
    /// first one on.
    pub(super) ring: Ring,
    pub(super) wheel: Wheel,
    pub(super) conns: Slab<Conn<D, S>>,
    pub(super) peers: Peers,
    pub(super) listeners: Listeners<S::Listener>,
    /// Connections that take over what their listener was changed to.
    pub(super) renewals: Renewals,
    /// Connections that somebody else has accepted, and that have no slot yet.
    pub(super) adopted: Adopted<D, S::Socket>,
    pub(super) clients: Clients,
    /// How far the turn has come.
    pub(super) progress: Progress,
    pub(super) sources: Sources,
    pub(super) timers: Timers,
    /// What the loops of the group share.
    pub(super) group: Group,
    /// Half-open connections, by their address.
    pub(super) waiting: Waiting,
    /// Connections that wait for the handler's answer.
    pub(super) deferrals: Deferrals<D>,
    /// Connections without a place.
    pub(super) guests: Guests,
    /// What is to be remembered of connections that proxies pass on.
    pub(super) proxied: Proxied,
    /// Connections with output to flush, or a phase that changed.
    pub(super) dirty: WorkList<Mark, usize>,
    /// Connections with a write that was refused since the last wait.
    pub(super) refused: WorkList<Ready, usize>,
    /// Connections whose socket must be closed, the oldest end first.
    pub(super) doomed: WorkList<Mark, usize>,
    /// Connections with input left, for which no further edge will come.
    pub(super) carried: Carried,
    /// Connections whose layer has something to do in its handshake.
    pub(super) shaking: WorkList<Mark, ConnId>,
    /// What the input in hand has cost.
    pub(super) share: Share,
    /// What callbacks work on now; a panic would lose it.
    pub(super) in_hand: InHand,
    /// Connections whose queue was full and has room again.
    pub(super) roomy: Vec<ConnId>,
    /// Connections that have begun to close, whose handler has not heard of it.
    pub(super) closing: VecDeque<ConnId>,
    /// Connections that hold memory.
    pub(super) holders: Holders,
    pub(super) held_back: HeldBack,
    pub(super) broadcasts: Broadcasts,
    pub(super) topics: Topics,
    pub(super) siblings: Siblings,
    pub(super) expiries: Expiries,
    pub(super) drain: Option<Drain>,
    pub(super) history: History,
    pub(super) inbox: Inbox,
    pub(super) stopping: bool,
    /// A turn found that the loop [is over](Self::is_over), handed over what was queued, and told the clients.
    /// What comes later does not put the end off.
    pub(super) has_ended: bool,
    pub(super) names: Names,
    /// Phase of the next connection.
    phase: PingPhase,
}

impl<D, S: System> EventLoop<D, S> {
    /// Makes a loop without sockets, as one more loop of a group. `waker` ends its waits from other
    /// threads, with the event [`Token::WAKE`](crate::sys::Token::WAKE).
    ///
    /// # Errors
    ///
    /// The field that makes no sense, or `group` if it already has [`Group::MOST`] loops.
    pub fn new(
        config: ReactorConfig,
        system: S,
        waker: Arc<dyn Wake>,
        entropy: Box<dyn Entropy>,
        group: &Group,
    ) -> Result<Self, ConfigError> {
        config.check()?;
        check_room::<D, S>(config.max_connections)?;
        let shard = group.join()?;
        let group = group.clone();
        let mut env = Env::new(entropy);
        let tick = Micros::from(config.tick);
        env.pool.put_off_frees();
        env.set_tick(tick);
        let sleep = Sleep::new(system.slept());
        let now = env.lateness.moment(system.now());
        let slots = config.max_connections + Guests::MOST;
        let mut wheel = Wheel::new(tick, now.at);
        wheel.reserve(slots);
        let [a, b, c, d, ..] = env.random().to_ne_bytes();
        let start = PingPhase::new(u32::from_ne_bytes([a, b, c, d]));
        let siblings = Siblings::new(Arc::clone(&waker));
        group.enroll(siblings.lane());
        Ok(Self {
            system,
            sleep,
            now,
            is_behind: false,
            ring: Ring::default(),
            wheel,
            conns: Slab::with_capacity(slots),
            peers: Peers::with_capacity(slots),
            listeners: Listeners::default(),
            renewals: Renewals::default(),
            adopted: Adopted::default(),
            clients: Clients::default(),
            progress: Progress::new(),
            sources: Sources::default(),
            timers: Timers::default(),
            group,
            waiting: Waiting::default(),
            deferrals: Deferrals::new(config.max_deferred),
            guests: Guests::default(),
            proxied: Proxied::default(),
            names: Names { shard, start },
            dirty: WorkList::new(Mark::Dirty),
            refused: WorkList::new(Ready::Refused),
            doomed: WorkList::new(Mark::Doomed),
            carried: Carried::with_capacity(config.events),
            shaking: WorkList::new(Mark::Carried),
            share: Share::default(),
            in_hand: InHand::default(),
            roomy: Vec::new(),
            closing: VecDeque::new(),
            holders: Holders::new(),
            held_back: HeldBack::default(),
            broadcasts: Broadcasts::default(),
            topics: Topics::default(),
            siblings,
            expiries: Expiries::with_capacity(config.expiry_budget.min(config.max_connections)),
            drain: None,
            history: History::new(config.history),
            inbox: Inbox::new(waker),
            stopping: false,
            has_ended: false,
            phase: start,
            env,
            config,
        })
    }

    /// Puts a connection, which has a place, into a slot, and registers its socket for both
    /// directions. If that fails, gives the place back.
    pub(super) fn insert(
        &mut self,
        mut socket: S::Socket,
        mut session: Session,
        peer: PeerAddr,
        endpoint: Endpoint,
        marks: Flags<Mark>,
    ) -> std::io::Result<ConnId>
    where
        D: Default,
    {
        let entry = self.conns.vacant_entry();
        let key = entry.key();
        let id = self.names.of(key, session.heartbeat().phase());
        self.system
            .register(&mut socket, Target::Conn(id).token())
            .inspect_err(|_| {
                session.discard(&mut self.env);
                self.group.leave();
            })?;
        let peer = self.peers.keep(peer);
        entry.insert(Conn::new(socket, session, peer, endpoint, marks));
        self.broadcasts.note_slot(key);
        self.rearm(key);
        Ok(id)
    }

    /// Returns the next phase of the golden-ratio sequence.
    pub(super) fn next_phase(&mut self) -> PingPhase {
        let phase = self.phase;
        self.phase = phase.next();
        phase
    }

    /// Finds a connection by its id. A stale id finds nothing.
    pub(super) fn conn(&self, id: ConnId) -> Option<&Conn<D, S>> {
        let key = id.index();
        let conn = self.conns.get(key)?;
        (conn.id(key, self.names) == id).then_some(conn)
    }

    /// Finds a connection by its id, to change it.
    pub(super) fn conn_mut(&mut self, id: ConnId) -> Option<&mut Conn<D, S>> {
        let key = id.index();
        let conn = self.conns.get_mut(key)?;
        (conn.id(key, self.names) == id).then_some(conn)
    }

    /// Tells the wheel the nearest deadline, if it is earlier than before. An overdue deadline
    /// stays unchanged, because a new one would count from the next tick.
    pub(super) fn rearm(&mut self, key: usize) {
        if let Some(conn) = self.conns.get_mut(key)
            && conn.session.take_rearm()
        {
            let deadline = conn.session.poll_deadline(&self.env, self.now);
            let armed = self.wheel.deadline(key).unwrap_or(Micros::MAX);
            if deadline < armed && armed > self.now.at {
                self.wheel.schedule(key, deadline);
            }
        }
    }
}

/// Methods for a driver.
impl<D, S: System> EventLoop<D, S> {
    /// Says whether a panic cut the last turn short, so that events of it are left.
    pub fn is_unwound(&self) -> bool {
        self.progress.is_unwound()
    }

    /// Returns how many events of the last wait were handled.
    pub fn taken(&self) -> usize {
        self.progress.taken()
    }

    /// Returns a handle for other threads, which carries commands of type `C`. It must be the type that the
    /// loop's [`Handler`](super::Handler) takes: a command of any other type is dropped with a warning.
    pub fn handle<C>(&self) -> LoopHandle<D, C> {
        self.inbox.handle()
    }

    /// Returns the address that a listener is bound to, with its real port. `None` for a Unix socket.
    pub fn local_addr(&self, id: ListenerId) -> Option<SocketAddr> {
        self.listeners.get(id)?.addr()?.socket_addr()
    }

    /// Returns the socket of a listener.
    pub(crate) fn listener_socket(&self, id: ListenerId) -> Option<&S::Listener> {
        self.listeners.get(id)?.socket()
    }

    /// Returns the number of this loop in its group, from 0 on.
    pub fn shard(&self) -> usize {
        self.names.shard.into()
    }

    /// Returns the number of connections, in any phase.
    pub fn len(&self) -> usize {
        self.conns.len()
    }

    /// Says whether there are no connections.
    pub fn is_empty(&self) -> bool {
        self.conns.is_empty()
    }

    /// Makes room for a foreign source, and returns the token for its events.
    pub(crate) fn add_source(&mut self) -> (SourceId, Token) {
        let id = self.sources.insert();
        (id, Target::Source(id).token())
    }

    /// Says whether a foreign source with this id is registered.
    pub(crate) fn has_source(&self, id: SourceId) -> bool {
        self.sources.contains(id)
    }

    /// Removes a foreign source.
    pub(crate) fn remove_source(&mut self, id: SourceId) {
        self.sources.remove(id);
    }
}

/// The other loops of the group go on without what this one held.
impl<D, S: System> Drop for EventLoop<D, S> {
    fn drop(&mut self) {
        self.group.dismiss(self.siblings.lane());
        let keys: Vec<_> = self.conns.iter().map(|(key, _)| key).collect();
        for key in keys {
            self.leave_address(key);
            if !self.guests.leave(key) {
                self.group.leave();
            }
        }
        for id in self.listeners.ids() {
            self.group.arrivals().rates.leave(id);
        }
    }
}

/// Returns an error if the system cannot reserve room for this many connections. Later, slab and
/// wheel would abort.
fn check_room<D, S: System>(connections: usize) -> Result<(), ConfigError> {
    let each = size_of::<Conn<D, S>>() + BESIDE;
    let mut room = Vec::<u8>::new();
    let reserved = room.try_reserve_exact(connections.saturating_mul(each));
    // Without this the compiler may leave the reservation out and call it a success.
    black_box(&room);
    reserved.map_err(|_| {
        ConfigError::new(
            "max_connections",
            format!("of {connections} needs more address space than the system gives"),
        )
    })
}

/// Most bytes of a connection beside its own struct: the slab's tag, the wheel's node and an IPv6
/// address.
const BESIDE: usize = 8 + Wheel::KEY_BYTES + Peers::BYTES;

#[cfg(test)]
mod tests {
    use std::net::TcpListener;
    use std::time::Duration;

    use super::*;
    use crate::event_loop::tests::{Ends, turn_until, with_peers};
    use crate::reactor::{ClientConfig, Context, Handler, Reactor, WireFactory};

    /// Remembers the key of the connection opened last.
    #[derive(Default)]
    struct Opened(Option<usize>);

    impl Handler for Opened {
        type Data = ();

        fn on_open(&mut self, _: &mut Context<'_, ()>, id: ConnId) {
            self.0 = Some(id.index());
        }
    }

    #[test]
    fn what_is_overdue_is_not_put_off() {
        let mut reactor = Reactor::new(ReactorConfig::default()).expect("a selector");
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let port = listener.local_addr().expect("it is bound").port();
        let config = ClientConfig::new("127.0.0.1", port, WireFactory::Line);
        reactor.connect(config).expect("a sound configuration");
        let mut opened = Opened::default();
        let key = loop {
            if let Some(key) = opened.0 {
                break key;
            }
            let limit = Some(Duration::from_secs(10));
            reactor
                .turn(&mut opened, limit)
                .expect("the selector works");
        };
        // A tick passes without a look at the wheel, as in a turn that puts expiries off.
        let core = &mut reactor.core;
        core.wheel.schedule(key, core.now.at);
        let due = core.wheel.deadline(key).expect("it is armed");
        while core.now.at <= due {
            core.refresh_now();
        }
        core.conns[key].session.ping(&mut core.env, core.now);
        core.rearm(key);
        assert_eq!(core.wheel.deadline(key), Some(due));
    }

    #[test]
    fn a_name_of_a_quarter_of_all_generations_ago_finds_nothing() {
        let (mut reactor, peers) = with_peers(ReactorConfig::default(), 1, |_| {});
        let id = reactor.context().connections().next().expect("one came");
        for generations in [1, 1 << 30, 1 << 31, u32::MAX] {
            let (mut other, later) = with_peers(ReactorConfig::default(), 0, |_| {});
            other.core.names = reactor.core.names;
            let first = reactor.core.conns[id.index()].session.heartbeat().phase();
            other.core.phase = first.after(generations);
            let listener = other.core.listeners.ids().next().expect("it listens");
            let addr = other.local_addr(listener).expect("it is bound");
            let peer = std::net::TcpStream::connect(addr).expect("it listens");
            turn_until(&mut other, &mut Ends::default(), |reactor, _| {
                !reactor.is_empty()
            });
            let new = other.core.conns.iter().next().map(|(key, _)| key);
            assert_eq!(new, Some(id.index()), "the same slot");
            assert!(other.core.conn(id).is_none(), "{generations}");
            drop((peer, later));
        }
        drop(peers);
    }

    #[test]
    fn room_for_more_than_the_address_space_is_refused_by_name() {
        assert_eq!(check_room::<(), Native>(1_000), Ok(()));
        let error = check_room::<(), Native>(usize::MAX).expect_err("there is no such machine");
        assert_eq!(error.field(), "max_connections");
    }
}
