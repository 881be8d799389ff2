//! What an endpoint of ours does with what its peer sends, on virtual time.

use std::io::IoSlice;
use std::time::Duration;

use heartwheel::close::{Cause, CloseCode, Evidence};
use heartwheel::config::{HeartbeatConfig, LimitsConfig, WireKind};
use heartwheel::event_loop::WireFactory;
use heartwheel::proto::heartbeat::PingPhase;
use heartwheel::proto::message::Message;
use heartwheel::proto::policy::Policy;
use heartwheel::proto::session::{Env, Session, Wire};
use heartwheel::proto::time::Moment;
use heartwheel::proto::wire::{MessageKind, Role};

use crate::support::dice::Dice;
use crate::support::end::End;
use crate::support::memory::pipe::Fate;
use crate::wire::{self, CLOSE, FIN, Frame, PING, TEXT, frame};

pub(crate) const BOTH: [Role; 2] = [Role::Server, Role::Client];

/// An endpoint of ours, from the place of its peer.
pub(crate) struct Peer {
    pub(crate) end: End,
    pub(crate) role: Role,
}

impl Peer {
    /// Opens one that pings nobody by itself.
    pub(crate) fn new(role: Role) -> Self {
        Self::with(role, &LimitsConfig::default())
    }

    pub(crate) fn with(role: Role, limits: &LimitsConfig) -> Self {
        Self {
            end: Self::begin(role, limits).end.open(),
            role,
        }
    }

    /// Begins one before its handshake.
    pub(crate) fn begin(role: Role, limits: &LimitsConfig) -> Self {
        let heartbeat = HeartbeatConfig {
            interval: None,
            timeout: None,
            ..HeartbeatConfig::websocket()
        };
        let end = End::begin(WireFactory::WebSocket, role, 7, &heartbeat, limits);
        Self { end, role }
    }

    /// Lets it read these bytes.
    pub(crate) fn feed(&mut self, bytes: &[u8]) {
        self.end.feed(bytes);
    }

    /// Lets it read one frame.
    pub(crate) fn frame(&mut self, first: u8, payload: &[u8]) {
        self.feed(&frame(self.role, first, payload));
    }

    /// Returns everything it writes.
    pub(crate) fn output(&mut self) -> Vec<u8> {
        self.end.write(usize::MAX)
    }

    /// Returns the frames it writes; of whatever kind, they are masked as section 5.1 demands and have
    /// no reserved bit.
    #[track_caller]
    pub(crate) fn frames(&mut self) -> Vec<Frame> {
        let frames = wire::frames(&self.output());
        for frame in &frames {
            let is_client = self.role == Role::Client;
            assert_eq!(frame.mask.is_some(), is_client, "{frame:?}");
            assert_eq!(frame.first & 0x70, 0, "{frame:?}");
        }
        frames
    }

    pub(crate) fn send(&mut self, message: Message<'_>) -> bool {
        self.end.send(message).is_ok()
    }

    pub(crate) fn ping(&mut self) {
        self.end.ping();
    }

    pub(crate) fn close(&mut self, code: u16, reason: &str) {
        self.end.close(code, reason);
    }

    /// Says how it has ended its side of the connection.
    pub(crate) fn fate(&mut self) -> Fate {
        self.end.process.settle();
        self.end.fate()
    }

    pub(crate) fn evidence(&self) -> Evidence {
        self.end.evidence().0
    }

    pub(crate) fn reason(&self) -> &str {
        self.end.evidence().1
    }

    pub(crate) fn code(&self) -> Option<u16> {
        self.evidence().close_code.map(CloseCode::as_u16)
    }

    /// Takes the messages that came.
    pub(crate) fn heard(&mut self) -> Vec<(MessageKind, Vec<u8>)> {
        std::mem::take(&mut self.end.process.handler.heard)
    }

    #[track_caller]
    pub(crate) fn assert_open(&mut self) {
        assert_eq!(self.fate(), Fate::Held);
        let session = self.end.session().expect("it is there");
        assert_eq!(session.cause(), None);
    }

    /// Claims that it has failed the connection (section 7.1.7): a Close with this code was its last
    /// word, its direction ends, and what still comes is not looked at, an answer to the Close included.
    #[track_caller]
    pub(crate) fn assert_failed(&mut self, code: u16) {
        let frames = self.frames();
        let last = frames.last().expect("a Close frame");
        assert_eq!(last.code(), Some(code), "{frames:?}");
        assert!(std::str::from_utf8(&last.payload[2..]).is_ok());
        let before = self.heard();
        assert_eq!(self.fate(), Fate::Shut);
        for first in [FIN | TEXT, FIN | PING, FIN | CLOSE] {
            self.frame(first, b"");
        }
        self.feed(&[0xFF; 300]);
        assert_eq!((self.heard(), self.output()), (Vec::new(), Vec::new()));
        self.end.process.handler.heard = before;
        assert_eq!(self.fate(), Fate::Shut, "until the peer ends too");
        self.end.end();
        assert_eq!(self.fate(), Fate::Closed);
        assert_eq!(self.code(), Some(code));
        assert!(!self.evidence().clean, "{:?}", self.evidence());
    }
}

/// Returns what a session says that is closed for whatever cause, which no application could ask for.
pub(crate) fn goodbye(role: Role, cause: Cause) -> Vec<u8> {
    let (heartbeat, limits) = (HeartbeatConfig::websocket(), LimitsConfig::default());
    let tick = Duration::from_millis(10);
    let policy = Policy::new(&heartbeat, &limits, WireKind::WebSocket, tick).unwrap();
    let mut env = Env::new(Box::new(Dice::new(7)));
    let policy = env.intern(policy).unwrap();
    let (now, phase) = (Moment::default(), PingPhase::ZERO);
    let mut session = match role {
        Role::Server => Session::accepted(&mut env, policy, Wire::WebSocket, phase, now),
        Role::Client => Session::dialed(&mut env, policy, Wire::WebSocket, phase, now),
    };
    if role == Role::Client {
        session.handle_connected(&mut env, now, b"");
    }
    session.handle_handshake(&mut env, now, b"");
    session.close(&mut env, now, cause, None, "by cause");
    let mut slices = [IoSlice::new(&[]); 4];
    let count = session.slices(&mut slices);
    slices[..count]
        .iter()
        .flat_map(|slice| slice.to_vec())
        .collect()
}

/// Feeds both roles these frames, each first byte with its payload, and claims that it fails the
/// connection with this code and not before the last of them.
#[track_caller]
pub(crate) fn assert_frames_fail(frames: &[(u8, &[u8])], code: u16) {
    for role in BOTH {
        let mut peer = Peer::new(role);
        let (last, before) = frames.split_last().expect("a frame");
        for (first, payload) in before {
            peer.frame(*first, payload);
            peer.assert_open();
        }
        peer.frame(last.0, last.1);
        peer.assert_failed(code);
    }
}

pub(crate) fn text(text: &str) -> (MessageKind, Vec<u8>) {
    (MessageKind::Text, text.as_bytes().to_vec())
}

pub(crate) fn binary(bytes: &[u8]) -> (MessageKind, Vec<u8>) {
    (MessageKind::Binary, bytes.to_vec())
}
