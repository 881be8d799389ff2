//! One end of a connection without a kernel: the library's own loop that holds this connection only, in
//! memory and on virtual time.
#![allow(dead_code, reason = "each of its users has its own part")]

use std::time::Duration;

use heartwheel::close::{Cause, Evidence, Phase};
use heartwheel::config::{HeartbeatConfig, LimitsConfig, ReactorConfig, WireKind};
use heartwheel::error::SendError;
use heartwheel::event_loop::{
    ClientConfig, Closed, ConnId, Context, Handler, ListenerConfig, Rejected, WireFactory,
};
use heartwheel::proto::message::{Message, SharedMessage};
use heartwheel::proto::session::Session;
use heartwheel::proto::time::{Micros, Moment};
use heartwheel::proto::wire::{MessageKind, Role};

use super::dice::Dice;
use super::memory::pipe::{Far, Fate, Pipe};
use super::memory::{Memory, MemoryLoop, opening};

/// What came to the application.
#[derive(Debug, Default)]
pub(crate) struct Ear {
    /// Messages that came, and pongs to pings of ours that did.
    pub(crate) heard: Vec<(MessageKind, Vec<u8>)>,
    pub(crate) pongs: usize,
    /// Why it ended, and with which reason, once the socket is gone.
    end: Option<(Evidence, String)>,
}

type Cx<'a> = Context<'a, (), Memory<Pipe>>;

impl Handler<(), Memory<Pipe>> for Ear {
    type Data = ();

    fn on_message(&mut self, _: &mut Cx<'_>, _: ConnId, message: Message<'_>) {
        self.heard.push((message.kind(), message.data().to_vec()));
    }

    fn on_pong(&mut self, _: &mut Cx<'_>, _: ConnId, _: Option<Duration>) {
        self.pongs += 1;
    }

    fn on_close(&mut self, _: &mut Cx<'_>, closed: Closed<'_, ()>) {
        assert!(self.end.is_none(), "it ends once");
        self.end = Some((*closed.evidence, closed.reason.to_owned()));
    }

    fn on_rejected(&mut self, _: &mut Cx<'_>, rejected: Rejected<'_>) {
        assert!(self.end.is_none(), "it ends once");
        self.end = Some((*rejected.evidence, rejected.reason.to_owned()));
    }
}

/// The loop, its one connection, and what its peer holds of it.
pub(crate) struct End {
    pub(crate) process: MemoryLoop<Ear, Pipe>,
    pub(crate) far: Far,
    id: ConnId,
    role: Role,
    wire: WireKind,
}

impl End {
    /// Begins before the opening handshake, where the wire has one, and open where it has none. Who dials is
    /// still under way.
    pub(crate) fn begin(
        wire: WireFactory,
        role: Role,
        seed: u64,
        heartbeat: &HeartbeatConfig,
        limits: &LimitsConfig,
    ) -> Self {
        let config = ReactorConfig {
            max_connections: 1,
            ..ReactorConfig::default()
        };
        let (heartbeat, limits, kind) = (heartbeat.clone(), limits.clone(), wire.kind());
        let ear = Ear::default();
        let mut process = MemoryLoop::new(config, Micros::ZERO, Box::new(Dice::new(seed)), ear);
        let (pipe, far) = Pipe::new(0, role == Role::Server);
        let addr = ([127, 0, 0, 1], 1).into();
        match role {
            Role::Server => {
                let listener = ListenerConfig {
                    heartbeat,
                    limits,
                    ..ListenerConfig::new(addr, wire)
                };
                process.inner.listen(listener).unwrap();
                process.memory.come(addr.port(), addr, pipe);
            }
            Role::Client => {
                process.memory.expect_dial(pipe);
                let client = ClientConfig {
                    heartbeat,
                    limits,
                    reconnect: None,
                    ..ClientConfig::new("127.0.0.1", addr.port(), wire)
                };
                process.inner.connect(client).unwrap();
            }
        }
        process.settle();
        let id = process.inner.inspect().next().expect("it has begun").id;
        Self {
            process,
            far,
            id,
            role,
            wire: kind,
        }
    }

    /// Opens at time zero.
    pub(crate) fn open(mut self) -> Self {
        if self.role == Role::Client {
            self.connect();
        }
        if self.wire == WireKind::WebSocket {
            self.shake_hands();
        }
        assert_eq!(self.session().map(Session::phase), Some(Phase::Open));
        self
    }

    /// Lets the dial come through.
    pub(crate) fn connect(&mut self) {
        self.far.connect();
        self.process.settle();
    }

    /// Does the peer's part of the opening handshake, and leaves nothing of it to be seen.
    pub(crate) fn shake_hands(&mut self) {
        match self.role {
            Role::Server => self.feed(&opening::ask()),
            Role::Client => {
                let answer = opening::answer(&self.far.take());
                self.feed(&answer.expect("the whole of its request"));
            }
        }
        self.far.take();
    }

    pub(crate) fn now(&self) -> Micros {
        self.process.memory.clock()
    }

    /// Lets so much time pass.
    pub(crate) fn pass(&mut self, span: Micros) {
        let end = self.now() + span;
        self.process.run_to(end);
    }

    /// Returns the session, until it is over.
    pub(crate) fn session(&self) -> Option<&Session> {
        self.process.inner.inspect().next().map(|held| held.session)
    }

    /// Returns what is known of its end, or would be if it ended now; and the reason that goes with it.
    pub(crate) fn evidence(&self) -> (Evidence, &str) {
        match (&self.process.handler.end, self.session()) {
            (Some((evidence, reason)), None) => (*evidence, reason),
            (None, Some(session)) => {
                let now = Moment::on_time(self.now());
                (session.evidence(now), session.reason())
            }
            (end, session) => panic!("{end:?} of {session:?}"),
        }
    }

    /// Returns why it ended, once the socket is gone.
    pub(crate) fn cause(&self) -> Option<Cause> {
        let end = self.process.handler.end.as_ref();
        end.map(|(evidence, _)| evidence.cause)
    }
}

/// What an application asks for: seen to in the next turn.
impl End {
    pub(crate) fn send(&mut self, message: Message<'_>) -> Result<(), SendError> {
        self.process.inner.context().send(self.id, message)
    }

    pub(crate) fn send_shared(&mut self, message: &SharedMessage) -> Result<(), SendError> {
        self.process.inner.context().send_shared(self.id, message)
    }

    pub(crate) fn ping(&mut self) {
        self.process.inner.context().ping(self.id);
    }

    pub(crate) fn close(&mut self, code: u16, reason: &str) {
        let code = heartwheel::close::CloseCode::new(code);
        self.process.inner.context().close(self.id, code, reason);
    }

    pub(crate) fn pause(&mut self) {
        self.process.inner.context().pause(self.id);
    }

    pub(crate) fn resume(&mut self) {
        self.process.inner.context().resume(self.id);
    }
}

/// What its peer does, and sees of it.
impl End {
    /// Lets bytes arrive, and what follows happen.
    pub(crate) fn feed(&mut self, bytes: &[u8]) {
        self.far.send(bytes);
        self.process.settle();
    }

    /// Lets the peer end its direction.
    pub(crate) fn end(&mut self) {
        self.far.end();
        self.process.settle();
    }

    /// Lets the connection fail as by a reset.
    pub(crate) fn reset(&mut self) {
        const RESET: i32 = 104;
        self.far.fail(RESET);
        self.process.settle();
    }

    /// Takes at most so many bytes of output from now on, and returns them.
    pub(crate) fn write(&mut self, most: usize) -> Vec<u8> {
        self.far.set_room(most);
        self.process.settle();
        self.far.take()
    }

    pub(crate) fn fate(&self) -> Fate {
        self.far.fate()
    }
}
