//! The loop's state: a turn works on it, and a context marks it.

use std::hint::black_box;
use std::net::SocketAddr;
use std::sync::Arc;

use slab::Slab;

use super::client::Clients;
use super::conn::{Conn, Mark, Ready};
use super::drain::Drain;
use super::endpoint::Endpoint;
use super::expiries::Expiries;
use super::group::Group;
use super::handle::{Inbox, LoopHandle};
use super::history::History;
use super::in_hand::InHand;
use super::listen::{Listener, Listeners, Waiting};
use super::peers::Peers;
use super::progress::Progress;
use super::sleep::Sleep;
use super::timers::Timers;
use super::token::{ConnId, ListenerId, Names, SourceId, Sources, Target};
use super::work::WorkList;
use crate::config::ReactorConfig;
use crate::error::ConfigError;
use crate::peer::PeerAddr;
use crate::proto::flags::Flags;
use crate::proto::heartbeat::PingPhase;
use crate::proto::session::{Entropy, Env, Session};
use crate::proto::time::{Micros, Moment};
use crate::proto::wheel::Wheel;
use crate::sys::{Native, Stream, System, Token, Wake};

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
    pub(super) wheel: Wheel,
    pub(super) conns: Slab<Conn<D, S>>,
    pub(super) peers: Peers,
    pub(super) listeners: Listeners<S::Listener>,
    pub(super) clients: Clients,
    /// How far the turn has come.
    pub(super) progress: Progress,
    pub(super) sources: Sources,
    pub(super) timers: Timers,
    /// What the loops of the group share.
    pub(super) group: Group,
    /// Half-open connections, by their address.
    pub(super) waiting: Waiting,
    /// Connections with output to flush, or a phase that changed.
    pub(super) dirty: WorkList<Mark, usize>,
    /// Connections with a write that was refused since the last wait.
    pub(super) refused: WorkList<Ready, usize>,
    /// Connections whose socket must be closed, the oldest end first.
    pub(super) doomed: WorkList<Mark, usize>,
    /// Connections with input left, for which no further edge will come.
    pub(super) carried: WorkList<Mark, ConnId>,
    /// What callbacks work on now; a panic would lose it.
    pub(super) in_hand: InHand,
    /// Connections whose queue was full and has room again.
    pub(super) roomy: Vec<ConnId>,
    pub(super) expiries: Expiries,
    pub(super) drain: Option<Drain>,
    pub(super) history: History,
    pub(super) inbox: Inbox,
    pub(super) stopping: bool,
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
        let mut wheel = Wheel::new(tick, now.at);
        wheel.reserve(config.max_connections);
        let [a, b, c, d, ..] = env.random().to_ne_bytes();
        let start = PingPhase::new(u32::from_ne_bytes([a, b, c, d]));
        Ok(Self {
            system,
            sleep,
            now,
            is_behind: false,
            wheel,
            conns: Slab::with_capacity(config.max_connections),
            peers: Peers::with_capacity(config.max_connections),
            listeners: Listeners::default(),
            clients: Clients::default(),
            progress: Progress::new(),
            sources: Sources::default(),
            timers: Timers::default(),
            group,
            waiting: Waiting::default(),
            names: Names { shard, start },
            dirty: WorkList::new(Mark::Dirty),
            refused: WorkList::new(Ready::Refused),
            doomed: WorkList::new(Mark::Doomed),
            carried: WorkList::with_capacity(Mark::Carried, config.events),
            in_hand: InHand::default(),
            roomy: Vec::new(),
            expiries: Expiries::with_capacity(config.expiry_budget.min(config.max_connections)),
            drain: None,
            history: History::new(config.history),
            inbox: Inbox::new(waker),
            stopping: false,
            phase: start,
            env,
            config,
        })
    }

    /// Puts a connection, which has a place, into a slot, and registers its socket for both
    /// directions. If that fails, gives the place back.
    pub(super) fn insert(
        &mut self,
        mut stream: S::Stream,
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
            .register(stream.socket_mut(), Target::Conn(id).token())
            .inspect_err(|_| {
                session.discard(&mut self.env);
                self.group.leave();
            })?;
        let peer = self.peers.keep(peer);
        entry.insert(Conn::new(stream, session, peer, endpoint, marks));
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

    /// Returns a handle for other threads.
    pub fn handle(&self) -> LoopHandle {
        self.inbox.handle().clone()
    }

    /// Returns the address that a listener is bound to, with its real port.
    pub fn local_addr(&self, id: ListenerId) -> Option<SocketAddr> {
        self.listeners.get(id).map(Listener::addr)
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
        let keys: Vec<_> = self.conns.iter().map(|(key, _)| key).collect();
        for key in keys {
            self.leave_address(key);
            self.group.leave();
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
    use crate::config::HeartbeatConfig;
    use crate::reactor::{ClientConfig, Context, Handler, ListenerConfig, Reactor, WireFactory};

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

    /// Counts the ends, and remembers what they were.
    #[derive(Default)]
    struct Ends(Vec<(ConnId, crate::close::Cause, Micros)>);

    impl Handler for Ends {
        type Data = ();

        fn on_close(&mut self, cx: &mut Context<'_, ()>, closed: crate::reactor::Closed<'_, ()>) {
            self.0
                .push((closed.id, closed.evidence.cause, cx.now().into()));
        }
    }

    /// Listens, and has so many peers come.
    fn with_peers(
        config: ReactorConfig,
        count: usize,
        change: impl FnOnce(&mut ListenerConfig),
    ) -> (Reactor, Vec<std::net::TcpStream>) {
        let mut reactor = Reactor::new(config).expect("a selector");
        let addr = ([127, 0, 0, 1], 0).into();
        let mut listener = ListenerConfig::new(addr, WireFactory::Line);
        change(&mut listener);
        let id = reactor.listen(listener).expect("a port");
        let addr = reactor.local_addr(id).expect("it is bound");
        let mut peers = Vec::new();
        // No more at once than the backlog of the system holds: without `sockets` that is 128.
        while peers.len() < count {
            let more = (count - peers.len()).min(100);
            let dial = |_| std::net::TcpStream::connect(addr).expect("it listens");
            peers.extend((0..more).map(dial));
            turn_until(&mut reactor, &mut Ends::default(), |reactor, _| {
                reactor.stats().opened == peers.len() as u64
            });
        }
        (reactor, peers)
    }

    /// A heartbeat that differs from others by its number.
    fn numbered(number: u64) -> HeartbeatConfig {
        HeartbeatConfig {
            app_idle: Some(Duration::from_secs(1_000 + number)),
            ..HeartbeatConfig::tcp()
        }
    }

    #[test]
    fn clients_and_connections_that_are_gone_give_their_policies_back() {
        let (mut reactor, peers) = with_peers(ReactorConfig::default(), 3, |_| {});
        assert_eq!(reactor.core.env.policy_count(), 1, "the listener's");
        let ids: Vec<_> = reactor.context().connections().collect();
        for (number, id) in (1..).zip(ids) {
            let changed = reactor.context().set_heartbeat(id, &numbered(number));
            changed.expect("there is room");
        }
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let port = listener.local_addr().expect("it is bound").port();
        let config = ClientConfig {
            heartbeat: numbered(4),
            reconnect: None,
            ..ClientConfig::new("127.0.0.1", port, WireFactory::Line)
        };
        reactor.connect(config).expect("a sound configuration");
        assert_eq!(reactor.core.env.policy_count(), 5);
        let mut ends = Ends::default();
        turn_until(&mut reactor, &mut ends, |reactor, _| {
            reactor.stats().opened == 4
        });
        drop((peers, listener.accept().expect("it was dialed")));
        turn_until(&mut reactor, &mut ends, |_, ends| ends.0.len() == 4);
        assert_eq!(reactor.core.env.policy_count(), 1, "the listener's");
        assert!(reactor.core.clients.ids().is_empty());
    }

    #[test]
    fn what_could_not_be_added_gives_its_policy_back() {
        let mut reactor: Reactor<()> = Reactor::new(ReactorConfig::default()).expect("a selector");
        let taken = TcpListener::bind("127.0.0.1:0").expect("a port");
        let addr = taken.local_addr().expect("it is bound");
        let listening = reactor.listen(ListenerConfig::new(addr, WireFactory::Line));
        listening.expect_err("somebody listens there");
        let mut config = ClientConfig::new("127.0.0.1", addr.port(), WireFactory::Line);
        let reconnect = config.reconnect.get_or_insert_default();
        reconnect.min = Duration::ZERO;
        reactor.connect(config).expect_err("it is zero");
        assert_eq!(reactor.core.env.policy_count(), 0);
    }

    fn end_each(core: &mut EventLoop<()>, ids: &[ConnId]) {
        for id in ids {
            let conn = &mut core.conns[id.index()];
            conn.session
                .end(core.now, crate::close::Cause::WriteStalled, None);
            core.mark_dirty(id.index());
        }
    }

    fn turn_until(reactor: &mut Reactor, ends: &mut Ends, done: impl Fn(&Reactor, &Ends) -> bool) {
        let deadline = std::time::Instant::now() + Duration::from_secs(60);
        while !done(reactor, ends) {
            assert!(
                std::time::Instant::now() < deadline,
                "{:?}",
                reactor.stats()
            );
            let limit = Some(Duration::from_millis(10));
            reactor.turn(ends, limit).expect("the selector works");
        }
    }

    #[test]
    fn a_turn_reaps_no_more_than_its_budget_and_each_is_reported_once() {
        const COUNT: usize = 600;
        let (mut reactor, peers) = with_peers(ReactorConfig::default(), COUNT, |_| {});
        let ids: Vec<_> = reactor.context().connections().collect();
        end_each(&mut reactor.core, &ids);
        let mut ends = Ends::default();
        let mut turns = 0;
        while ends.0.len() < COUNT {
            assert_eq!(reactor.next_timeout(), Some(Duration::ZERO), "{turns}");
            // What is due to those that wait to be reaped must not change how they ended.
            for &key in reactor.core.doomed.iter() {
                reactor.core.wheel.schedule(key, Micros::ZERO);
            }
            let before = ends.0.len();
            let zero = Some(Duration::ZERO);
            let turn = reactor.turn(&mut ends, zero).expect("the selector works");
            assert_eq!(turn.ended, ends.0.len() - before);
            assert!((1..=256).contains(&turn.ended), "{turn:?}");
            turns += 1;
        }
        let reported: Vec<_> = ends.0.iter().map(|&(id, ..)| id).collect();
        assert_eq!(
            reported, ids,
            "the first to end is the first to be reported"
        );
        let is_stalled =
            |end: &(_, crate::close::Cause, _)| end.1 == crate::close::Cause::WriteStalled;
        assert!(ends.0.iter().all(is_stalled), "{:?}", ends.0);
        reactor
            .turn(&mut ends, Some(Duration::ZERO))
            .expect("the selector works");
        assert_eq!(ends.0.len(), COUNT);
        drop(peers);
    }

    #[test]
    fn what_many_ends_leave_behind_is_freed_bit_by_bit() {
        const COUNT: usize = 20;
        const LEN: usize = 12 * 1024 * 1024;
        let (mut reactor, peers) = with_peers(ReactorConfig::default(), COUNT, |listener| {
            listener.heartbeat.interval = None;
            listener.heartbeat.timeout = None;
        });
        let ids: Vec<_> = reactor.context().connections().collect();
        let long = vec![b'a'; LEN];
        for &id in &ids {
            let text = crate::proto::message::Message::binary(&long);
            reactor.context().send(id, text).expect("there is room");
        }
        end_each(&mut reactor.core, &ids);
        let mut ends = Ends::default();
        let mut turns = 0;
        while ends.0.len() < COUNT || reactor.core.env.pool.has_waste() {
            assert_eq!(reactor.next_timeout(), Some(Duration::ZERO), "{turns}");
            let zero = Some(Duration::ZERO);
            reactor.turn(&mut ends, zero).expect("the selector works");
            turns += 1;
        }
        assert_eq!(ends.0.len(), COUNT);
        // 32 MiB a turn.
        assert!(turns >= COUNT * LEN / (32 * 1024 * 1024), "{turns}");
        assert_eq!(reactor.next_timeout(), None);
        drop(peers);
    }

    #[test]
    fn after_a_stop_of_weeks_the_dead_are_found_and_the_living_are_not_blamed() {
        use std::io::{Read, Write};
        use std::sync::{Arc, Mutex};

        use crate::close::Cause;

        const DAY: Micros = Micros::from_secs(24 * 60 * 60);

        let seeded = ReactorConfig {
            seed: Some(5),
            ..ReactorConfig::default()
        };
        for days in [1, 13, 20, 26, 37, 48, 60, 100] {
            let (mut reactor, mut peers) = with_peers(seeded.clone(), 2, |listener| {
                listener.heartbeat.interval = Some(Duration::from_secs(10));
                listener.heartbeat.timeout = Some(Duration::from_secs(25));
            });
            let start = (reactor.core.now.at, Micros::ZERO);
            let hands = Arc::new(Mutex::new(start));
            let scripted = crate::sys::Hands::Scripted(Arc::clone(&hands));
            *reactor.core.system.hands_mut() = scripted;
            reactor.core.sleep = Sleep::new(Micros::ZERO);
            let mut living = peers.pop().expect("two came");
            living.set_nonblocking(true).expect("it can be");
            let dead = {
                let local = living.local_addr().expect("it has one");
                let context = reactor.context();
                let is_dead =
                    |&id: &ConnId| context.info(id).is_some_and(|info| info.peer != local);
                context.connections().find(is_dead).expect("two came")
            };
            let mut ends = Ends::default();
            let mut turn = |reactor: &mut Reactor, ends: &mut Ends, span: Micros| {
                let now = {
                    let mut hands = hands.lock().expect("nobody panics with it");
                    hands.0 = hands.0 + span;
                    hands.0
                };
                let zero = Some(Duration::ZERO);
                reactor.turn(ends, zero).expect("the selector works");
                let mut line = [0; 64];
                while let Ok(1..) = living.read(&mut line) {
                    living.write_all(b"PONG\n").expect("it is open");
                }
                now
            };
            for _ in 0..5 {
                turn(&mut reactor, &mut ends, Micros::from_millis(10));
            }
            // Nothing asks yet: the next ping of the grid must.
            assert_eq!(reactor.stats().pings_written, 0);
            let back = turn(&mut reactor, &mut ends, DAY.saturating_mul(days));
            while ends.0.is_empty() {
                let now = turn(&mut reactor, &mut ends, Micros::from_millis(100));
                assert!(
                    now - back < Micros::from_secs(60),
                    "{days} days: nobody is found dead"
                );
            }
            let [(id, cause, at)] = ends.0[..] else {
                panic!("{days} days: {:?}", ends.0);
            };
            assert_eq!(id, dead, "{days} days");
            assert!(
                [Cause::PeerUnresponsive, Cause::PongTimeout].contains(&cause),
                "{cause}"
            );
            // The peer has the rest of its timeout, and never less than the time to answer a ping.
            assert!(
                at - back >= Micros::from_secs(15),
                "{days} days: {:?}",
                at - back
            );
            for _ in 0..600 {
                turn(&mut reactor, &mut ends, Micros::from_millis(100));
            }
            assert_eq!(
                (ends.0.len(), reactor.len()),
                (1, 1),
                "{days} days: the living stays"
            );
        }
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
