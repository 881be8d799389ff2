//! A system in memory: the library's own loop without a kernel, for whoever holds the other end of its
//! sockets.
//!
//! The contract: nothing happens by itself. The clock stands where it was put, bytes arrive and room comes
//! when they are given, and each such change is told to the loop once, with its next turn, as epoll tells it.
#![allow(dead_code, reason = "each of its users has its own part")]

pub(crate) mod opening;
pub(crate) mod pipe;

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::fmt;
use std::io;
use std::marker::PhantomData;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use heartwheel::PeerAddr;
use heartwheel::config::ReactorConfig;
use heartwheel::event_loop::{EventLoop, Group, Handler, Turn};
use heartwheel::proto::session::Entropy;
use heartwheel::proto::time::Micros;
use heartwheel::proto::wire::Role;
use heartwheel::sys::{
    Event, Layer, ListenAddr, NoLayer, Probe, Ready, Seal, Socket, SocketOptions, System, Token,
    Wake,
};

/// A socket of this system.
pub(crate) trait Plug: Socket {
    /// Has its edges told under this token from now on, first of all what it is ready for.
    fn register(&mut self, token: Token, edges: &Edges);

    /// Hears what the loop has done about it.
    fn probe(&self, probe: Probe) {
        let _ = probe;
    }
}

/// What each side is to be told of the other.
#[derive(Clone, Debug, Default)]
pub(crate) struct Edges(Rc<Told>);

#[derive(Debug, Default)]
struct Told {
    events: RefCell<VecDeque<Event>>,
    spoken: RefCell<Vec<usize>>,
}

impl Edges {
    /// Has the next turn told this.
    pub(crate) fn note(&self, token: Token, ready: Ready) {
        self.0.events.borrow_mut().push_back(Event { token, ready });
    }

    /// Notes that the socket of this number has output that the test has not seen.
    pub(crate) fn note_spoken(&self, number: usize) {
        self.0.spoken.borrow_mut().push(number);
    }
}

/// What lies between the sockets and the sessions of such a system.
pub(crate) trait Between<S: Socket>: Layer<S> + Sized {
    fn between(role: Role, seal: &Seal) -> io::Result<Option<Self>>;
}

impl<S: Socket> Between<S> for NoLayer {
    fn between(_role: Role, _seal: &Seal) -> io::Result<Option<Self>> {
        Ok(None)
    }
}

/// The system, as the loop and its test hold it.
pub(crate) struct Memory<S, T = NoLayer>(Rc<Parts<S>>, PhantomData<T>);

struct Parts<S> {
    clock: Cell<Micros>,
    /// Time that passes at each look at the clock.
    pace: Cell<Micros>,
    edges: Edges,
    /// Listeners' tokens, by port.
    ports: RefCell<Vec<(u16, Token)>>,
    /// Who waits to be accepted, with its port and address.
    backlog: RefCell<VecDeque<(u16, SocketAddr, S)>>,
    /// Sockets for dials to come.
    dials: RefCell<VecDeque<S>>,
}

impl<S, T> Clone for Memory<S, T> {
    fn clone(&self) -> Self {
        Self(Rc::clone(&self.0), PhantomData)
    }
}

impl<S, T> fmt::Debug for Memory<S, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "memory at {:?}", self.0.clock.get())
    }
}

impl<S, T> Memory<S, T> {
    pub(crate) fn new(start: Micros) -> Self {
        let parts = Parts {
            clock: Cell::new(start),
            pace: Cell::new(Micros::ZERO),
            edges: Edges::default(),
            ports: RefCell::default(),
            backlog: RefCell::default(),
            dials: RefCell::default(),
        };
        Self(Rc::new(parts), PhantomData)
    }

    pub(crate) fn clock(&self) -> Micros {
        self.0.clock.get()
    }

    /// Moves the clock, which never goes back.
    pub(crate) fn set_clock(&self, now: Micros) {
        self.0.clock.set(self.0.clock.get().max(now));
    }

    /// Lets so much time pass whenever the loop looks at the clock, as it does after what takes time.
    pub(crate) fn set_pace(&self, pace: Micros) {
        self.0.pace.set(pace);
    }

    /// Lets somebody come to a port.
    pub(crate) fn come(&self, port: u16, from: SocketAddr, socket: S) {
        self.0.backlog.borrow_mut().push_back((port, from, socket));
        for &(other, token) in self.0.ports.borrow().iter() {
            if other == port {
                self.0.edges.note(token, Ready::default());
            }
        }
    }

    /// Returns the numbers of sockets with new output, in their order.
    pub(crate) fn take_spoken(&self) -> Vec<usize> {
        std::mem::take(&mut self.0.edges.0.spoken.borrow_mut())
    }

    /// Has the next dial, which would fail, begin with this socket.
    pub(crate) fn expect_dial(&self, socket: S) {
        self.0.dials.borrow_mut().push_back(socket);
    }
}

impl<S: Plug, T: Between<S>> System for Memory<S, T> {
    type Socket = S;
    type Layer = T;
    type Listener = u16;

    fn now(&self) -> Micros {
        self.set_clock(self.clock() + self.0.pace.get());
        self.clock()
    }

    fn listen(
        &mut self,
        addr: ListenAddr,
        _options: &SocketOptions,
    ) -> io::Result<(u16, PeerAddr)> {
        match addr {
            ListenAddr::Tcp(addr) => Ok((addr.port(), addr.into())),
            _ => Err(io::ErrorKind::Unsupported.into()),
        }
    }

    fn register_listener(&mut self, port: &mut u16, token: Token) -> io::Result<()> {
        self.0.ports.borrow_mut().push((*port, token));
        Ok(())
    }

    fn accept(&self, port: &u16) -> io::Result<(S, PeerAddr)> {
        let mut backlog = self.0.backlog.borrow_mut();
        let place = backlog.iter().position(|(other, ..)| other == port);
        let (_, from, socket) = place
            .and_then(|place| backlog.remove(place))
            .ok_or(io::ErrorKind::WouldBlock)?;
        Ok((socket, from.into()))
    }

    fn layer(&self, role: Role, seal: &Seal) -> io::Result<Option<T>> {
        T::between(role, seal)
    }

    fn dial(&mut self, _addr: &PeerAddr, _options: &SocketOptions) -> io::Result<S> {
        let socket = self.0.dials.borrow_mut().pop_front();
        socket.ok_or_else(|| io::ErrorKind::ConnectionRefused.into())
    }

    fn register(&mut self, socket: &mut S, token: Token) -> io::Result<()> {
        socket.register(token, &self.0.edges);
        Ok(())
    }

    fn probe(&mut self, socket: &S, probe: Probe) {
        socket.probe(probe);
    }
}

/// A loop on such a system, and whoever handles what it tells.
#[derive(Debug)]
pub(crate) struct MemoryLoop<H, S, T = NoLayer>
where
    H: Handler<(), Memory<S, T>>,
    S: Plug,
    T: Between<S>,
{
    pub(crate) inner: EventLoop<H::Data, Memory<S, T>>,
    pub(crate) handler: H,
    pub(crate) memory: Memory<S, T>,
    /// Most events of one turn.
    most: usize,
    events: Vec<Event>,
    bell: Arc<Bell>,
}

impl<H: Handler<(), Memory<S, T>>, S: Plug, T: Between<S>> MemoryLoop<H, S, T> {
    pub(crate) fn new(
        config: ReactorConfig,
        start: Micros,
        entropy: Box<dyn Entropy>,
        handler: H,
    ) -> Self {
        Self::in_group(config, start, entropy, handler, &Group::new())
    }

    pub(crate) fn in_group(
        config: ReactorConfig,
        start: Micros,
        entropy: Box<dyn Entropy>,
        handler: H,
        group: &Group,
    ) -> Self {
        let memory = Memory::new(start);
        let (most, bell) = (config.events, Arc::<Bell>::default());
        let waker = Arc::clone(&bell) as Arc<dyn Wake>;
        let inner = EventLoop::new(config, memory.clone(), waker, entropy, group);
        let mut this = Self {
            inner: inner.expect("a test's configuration makes sense"),
            handler,
            memory,
            most,
            events: Vec::new(),
            bell,
        };
        this.due();
        this
    }

    /// Says whether something has come that ends a wait.
    pub(crate) fn is_told(&self) -> bool {
        let events = self.memory.0.edges.0.events.borrow();
        !events.is_empty() || self.bell.0.load(Ordering::Relaxed)
    }

    /// Begins a wait; returns when it ends, if nothing comes before.
    pub(crate) fn due(&mut self) -> Micros {
        self.inner.look_ahead();
        let longest = self.inner.prepare_wait(None);
        let now = self.memory.clock();
        match longest {
            _ if self.is_told() => now,
            Some(longest) => now + longest.into(),
            None => Micros::MAX,
        }
    }

    /// Ends the wait, and does what there is to do.
    pub(crate) fn turn(&mut self) -> Turn {
        let mut edges = self.memory.0.edges.0.events.borrow_mut();
        let count = self.most.min(edges.len());
        self.events.clear();
        if self.bell.0.swap(false, Ordering::Relaxed) {
            let ready = Ready::default();
            let token = Token::WAKE;
            self.events.push(Event { token, ready });
        }
        self.events.extend(edges.drain(..count));
        drop(edges);
        let events = self.events.iter().copied();
        self.inner.turn(&mut self.handler, events, self.most)
    }

    /// Lets time pass up to `end`, with a turn whenever there is something to do.
    pub(crate) fn run_to(&mut self, end: Micros) {
        loop {
            let due = self.due();
            if due > end {
                break;
            }
            self.memory.set_clock(due);
            self.turn();
        }
        self.memory.set_clock(end);
    }

    /// Does all that is to be done now.
    pub(crate) fn settle(&mut self) {
        self.run_to(self.memory.clock());
    }

    /// Holds the loop up in its wait: its next turn, which follows, is late.
    pub(crate) fn hold_up(&mut self, span: Micros) {
        self.due();
        self.memory.set_clock(self.memory.clock() + span);
        self.turn();
    }
}

/// Ends the wait of a loop that somebody holds a handle of.
#[derive(Debug, Default)]
struct Bell(AtomicBool);

impl Wake for Bell {
    fn wake(&self) -> io::Result<()> {
        self.0.store(true, Ordering::Relaxed);
        Ok(())
    }
}
