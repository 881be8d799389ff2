//! Our side: the library's own loop, with its layer of TLS over sockets of the simulated network.

use std::cell::Cell;
use std::io::{self, IoSlice};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use heartwheel::PeerAddr;
use heartwheel::close::{Evidence, KernelFigures, Phase};
use heartwheel::config::ReactorConfig;
use heartwheel::event_loop::{Context, EventLoop, Handler};
use heartwheel::proto::message::Message;
use heartwheel::proto::time::Micros;
use heartwheel::proto::wire::Role;
use heartwheel::reactor::{
    ClientConfig, Closed, ConnId, Group, ListenerConfig, LoopHandle, Rejected, WireFactory,
};
use heartwheel::rustls;
use heartwheel::sys::{ListenAddr, Seal, Socket, SocketOptions, System, Tls, Token, Wake};

use super::book::{Book, End};
use super::script::Script;
use super::{TICK, seeded};
use crate::world::tcp::{Failure, SockId};
use crate::world::{Command, Os};

/// The process.
pub(super) struct Ours<'y> {
    os: Os<'y>,
    script: Script,
    event_loop: EventLoop<(), Sealed<'y>>,
    app: App<'y>,
}

impl<'y> Ours<'y> {
    pub(super) fn new(os: &Os<'y>, script: &Script, book: &Book) -> Self {
        let system = Sealed {
            os: os.clone(),
            book: book.clone(),
            cost: script.cost,
        };
        let config = ReactorConfig {
            tick: TICK.into(),
            history: 0,
            ..ReactorConfig::default()
        };
        let (entropy, group) = (Box::new(os.fork_dice()), Group::new());
        let event_loop = EventLoop::new(config, system, Arc::new(Asleep), entropy, &group);
        Self {
            os: os.clone(),
            script: script.clone(),
            event_loop: event_loop.expect("the configuration makes sense"),
            app: App {
                os: os.clone(),
                book: book.clone(),
                is_draining: false,
            },
        }
    }

    /// Runs as long as the world does.
    pub(super) fn run(mut self) {
        match self.script.is_server {
            true => self.listen(),
            false => self.dial(),
        }
        self.event_loop.look_ahead();
        loop {
            let longest = self.event_loop.prepare_wait(None);
            let now = self.os.known();
            let until = longest.map_or(Micros::MAX, |longest| now + longest.into());
            let events = self.os.wait(until, EVENTS);
            if events.iter().any(|event| event.token == Token::WAKE) {
                let handle: LoopHandle<_> = self.event_loop.handle();
                handle.command(()).expect("there is room for one");
            }
            let events = events.iter().copied();
            self.event_loop.turn(&mut self.app, events, EVENTS);
            self.check();
        }
    }

    fn listen(&mut self) {
        let addr = ([10, 0, 0, 0], 1).into();
        let mut config = ListenerConfig::new(addr, WireFactory::Line);
        config.heartbeat = self.script.heartbeat.clone();
        let tls = seeded::server(rustls::ALL_VERSIONS, &seeded::KNOWN);
        config.tls = Some(Arc::new(tls));
        self.event_loop.context().listen(config).unwrap();
    }

    fn dial(&mut self) {
        for (number, plan) in self.script.hosts.iter().flatten().enumerate() {
            let port = u16::try_from(1 + number).expect("ports are few");
            let versions = seeded::version(plan.habits.is_old);
            let tls = seeded::client(versions, &seeded::KNOWN);
            let config = ClientConfig {
                heartbeat: self.script.heartbeat.clone(),
                reconnect: None,
                secure: true,
                tls: Some(Arc::new(tls)),
                server_name: Some(seeded::NAME.to_owned()),
                ..ClientConfig::new("10.0.0.255", port, WireFactory::Line)
            };
            self.event_loop.context().connect(config).unwrap();
        }
    }

    /// Demands, between two turns, what must hold then.
    fn check(&self) {
        let now = self.os.known();
        for conn in self.event_loop.inspect() {
            let (session, link) = (conn.session, conn.socket.sock.link);
            if session.phase() != Phase::Open || conn.is_carried {
                continue;
            }
            self.app.book.with(link, |record| {
                if record.opened.is_some() {
                    self.script.check_overdue(record, now);
                }
            });
        }
        if self.app.is_draining && self.event_loop.is_empty() {
            assert!(self.event_loop.wheel().is_empty(), "a timer is left over");
            assert_eq!(self.event_loop.stats().memory, 0);
        }
    }
}

/// The system: the world's clock and sockets.
#[derive(Debug)]
pub(super) struct Sealed<'y> {
    os: Os<'y>,
    book: Book,
    cost: Micros,
}

impl<'y> Sealed<'y> {
    fn endpoint(&self, sock: SockId) -> Endpoint<'y> {
        let now = self.os.clocks().0;
        self.book.with(sock.link, |record| record.began = now);
        Endpoint {
            os: self.os.clone(),
            book: self.book.clone(),
            sock,
            cost: Cell::new(self.cost),
            resets: false,
        }
    }
}

impl<'y> System for Sealed<'y> {
    type Socket = Endpoint<'y>;
    type Layer = Tls;
    type Listener = usize;

    fn now(&self) -> Micros {
        self.os.look_at_the_clock()
    }

    fn listen(
        &mut self,
        addr: ListenAddr,
        _options: &SocketOptions,
    ) -> io::Result<(usize, PeerAddr)> {
        match addr {
            ListenAddr::Tcp(addr) => Ok((usize::from(addr.port()) - 1, addr.into())),
            _ => Err(io::ErrorKind::Unsupported.into()),
        }
    }

    fn register_listener(&mut self, port: &mut usize, token: Token) -> io::Result<()> {
        self.os.listen(*port, token);
        Ok(())
    }

    fn accept(&self, port: &usize) -> io::Result<(Endpoint<'y>, PeerAddr)> {
        let sock = self.os.accept(*port).ok_or(io::ErrorKind::WouldBlock)?;
        let endpoint = self.endpoint(sock);
        endpoint.note_connected();
        let [high, low] = u16::try_from(sock.link).unwrap_or(u16::MAX).to_be_bytes();
        let peer = SocketAddr::from(([10, 1, high, low], 9));
        Ok((endpoint, peer.into()))
    }

    fn layer(&self, _role: Role, seal: &Seal) -> io::Result<Option<Tls>> {
        match seal {
            Seal::Server(config) => Tls::server(config).map(Some),
            Seal::Client(config, name) => Tls::client(config, name).map(Some),
            _ => Ok(None),
        }
    }

    fn dial(&mut self, addr: &PeerAddr, _options: &SocketOptions) -> io::Result<Endpoint<'y>> {
        let addr = addr.socket_addr().ok_or(io::ErrorKind::Unsupported)?;
        let number = usize::from(addr.port()) - 1;
        let sock = self.os.dial(1 + number, 0, number);
        Ok(self.endpoint(sock))
    }

    fn register(&mut self, endpoint: &mut Endpoint<'y>, token: Token) -> io::Result<()> {
        self.os.register(endpoint.sock, token);
        Ok(())
    }
}

/// One end of a connection, as the loop holds it.
#[derive(Debug)]
pub(super) struct Endpoint<'y> {
    os: Os<'y>,
    book: Book,
    sock: SockId,
    /// What its first bytes cost.
    cost: Cell<Micros>,
    resets: bool,
}

impl Endpoint<'_> {
    fn note_connected(&self) {
        let now = self.os.clocks().0;
        self.book.with(self.sock.link, |record| {
            record.connected.get_or_insert(now);
        });
    }
}

impl Socket for Endpoint<'_> {
    const SHORT_READ_DRAINS: bool = true;

    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let sock = self.sock;
        let read = self.os.world(|world| {
            let read = world.read(sock, buffer);
            world.trace(|| format!("{sock:?} reads {read:?}"));
            read
        });
        let count = read.map_err(error)?;
        if count > 0 {
            let now = self.os.clocks().0;
            self.book.with(sock.link, |record| record.read = now);
            let cost = self.cost.take();
            if cost > Micros::ZERO {
                self.os.work(cost);
            }
        }
        Ok(count)
    }

    fn write(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        let sock = self.sock;
        let written = self.os.world(|world| {
            let written = world.write(sock, slices);
            world.trace(|| format!("{sock:?} writes {written:?}"));
            written
        });
        let offered = slices.iter().map(|slice| slice.len()).sum();
        let now = self.os.clocks().0;
        self.book.with(sock.link, |record| {
            record.is_cut_short = written != Ok(offered);
            if record.is_cut_short {
                record.shortened = now;
            }
        });
        written.map_err(error)
    }

    fn has_waiting_bytes(&self) -> bool {
        self.os.world(|world| world.peek(self.sock))
    }

    fn is_connected(&self) -> io::Result<bool> {
        let is_connected = self.os.world(|world| world.connected(self.sock));
        let is_connected = is_connected.map_err(error)?;
        if is_connected {
            self.note_connected();
        }
        Ok(is_connected)
    }

    fn shutdown(&self) -> io::Result<()> {
        self.os.shutdown(self.sock);
        Ok(())
    }

    fn reset_on_close(&mut self) {
        self.resets = true;
    }

    fn figures(&self) -> Option<KernelFigures> {
        self.os.figures(self.sock)
    }
}

impl Drop for Endpoint<'_> {
    fn drop(&mut self) {
        // What has failed already needs no other failure.
        if !std::thread::panicking() {
            self.os.close(self.sock, self.resets);
        }
    }
}

fn error(failure: Failure) -> io::Error {
    match failure {
        Failure::WouldBlock => io::ErrorKind::WouldBlock.into(),
        failure => io::Error::from_raw_os_error(failure.errno()),
    }
}

/// Wakes nobody: what is asked for comes with the events of a wait.
#[derive(Debug)]
struct Asleep;

impl Wake for Asleep {
    fn wake(&self) -> io::Result<()> {
        Ok(())
    }
}

/// The application.
struct App<'y> {
    os: Os<'y>,
    book: Book,
    is_draining: bool,
}

type Cx<'a, 'y> = Context<'a, (), Sealed<'y>>;

impl<'y> App<'y> {
    fn link(&self, id: ConnId) -> usize {
        let token = Token(usize::try_from(id.as_u64()).expect("a name is a token"));
        self.os.sock(token).expect("the loop holds it").link
    }

    fn ended(&self, evidence: &Evidence, reason: &str) {
        // The loop has just closed it.
        let (sock, with_reset) = self.os.take_closed();
        let end = End {
            evidence: *evidence,
            reason: reason.to_owned(),
            with_reset,
        };
        self.os
            .world(|world| world.trace(|| format!("{sock:?} ends: {evidence} {reason}")));
        self.book.with(sock.link, |record| {
            assert!(record.end.is_none(), "{sock:?} ends twice");
            record.end = Some(end);
        });
    }

    /// Sends messages to the connection of a host.
    fn send(&self, cx: &mut Cx<'_, 'y>, host: u64, size: usize, count: usize) {
        let is_of_host = |&id: &ConnId| {
            let link = self.link(id);
            self.os.world(|world| world.links[link].path) as u64 + 1 == host
        };
        let Some(id) = cx.connections().find(is_of_host) else {
            return;
        };
        for _ in 0..count {
            let number = self.book.with(self.link(id), |record| record.sent);
            let text = format!("note {number} {}", "x".repeat(size));
            if cx.send(id, Message::text(&text)).is_ok() {
                self.book.with(self.link(id), |record| record.sent += 1);
            }
        }
    }
}

impl<'y> Handler<(), Sealed<'y>> for App<'y> {
    type Data = ();

    fn on_open(&mut self, cx: &mut Cx<'_, 'y>, id: ConnId) {
        let now = Micros::from(cx.now());
        self.book.with(self.link(id), |record| {
            assert_eq!(record.opened.replace(now), None, "it opens once");
        });
    }

    fn on_message(&mut self, _: &mut Cx<'_, 'y>, id: ConnId, message: Message<'_>) {
        self.book.with(self.link(id), |record| {
            let told = format!("said {} ", record.heard);
            let data = message.data();
            assert!(data.starts_with(told.as_bytes()), "no {told}: {data:?}");
            record.heard += 1;
        });
    }

    fn on_pong(&mut self, _: &mut Cx<'_, 'y>, id: ConnId, _: Option<Duration>) {
        self.book
            .with(self.link(id), |record| record.answered = record.read);
    }

    fn on_close(&mut self, _: &mut Cx<'_, 'y>, closed: Closed<'_, ()>) {
        self.ended(closed.evidence, closed.reason);
    }

    fn on_rejected(&mut self, _: &mut Cx<'_, 'y>, rejected: Rejected<'_>) {
        self.ended(rejected.evidence, rejected.reason);
    }

    fn on_command(&mut self, cx: &mut Cx<'_, 'y>, (): ()) {
        while let Some(command) = self.os.take_command() {
            match command {
                Command::Send { which, size } => self.send(cx, which, size, 1),
                Command::Burst { which, size, count } => self.send(cx, which, size, count),
                Command::Drain => {
                    self.is_draining = true;
                    cx.drain(Duration::ZERO);
                }
                other => unreachable!("nobody asks for {other:?} here"),
            }
        }
    }
}

/// Events of one wait, at most.
const EVENTS: usize = 1_024;
