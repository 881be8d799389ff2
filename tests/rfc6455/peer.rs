//! What a session of ours does with what its peer sends, on virtual time.

use heartwheel::close::{Cause, CloseCode, Evidence};
use heartwheel::config::{HeartbeatConfig, LimitsConfig};
use heartwheel::proto::message::Message;
use heartwheel::proto::session::{SocketAction, Wire};
use heartwheel::proto::time::Moment;
use heartwheel::proto::wire::{MessageKind, Role};

use crate::support::end::End;
use crate::wire::{self, CLOSE, FIN, Frame, PING, TEXT, frame};

pub(crate) const BOTH: [Role; 2] = [Role::Server, Role::Client];

/// An endpoint of ours, from the place of its peer.
pub(crate) struct Peer {
    pub(crate) end: End,
    pub(crate) role: Role,
    pub(crate) now: Moment,
}

impl Peer {
    /// Opens one that pings nobody by itself.
    pub(crate) fn new(role: Role) -> Self {
        Self::with(role, &LimitsConfig::default())
    }

    pub(crate) fn with(role: Role, limits: &LimitsConfig) -> Self {
        Self {
            end: Self::begin(role, limits).open(),
            role,
            now: Moment::default(),
        }
    }

    /// Begins one before its handshake.
    pub(crate) fn begin(role: Role, limits: &LimitsConfig) -> End {
        let heartbeat = HeartbeatConfig {
            interval: None,
            timeout: None,
            ..HeartbeatConfig::websocket()
        };
        End::begin(Wire::WebSocket, role, 7, &heartbeat, limits)
    }

    /// Lets it read these bytes.
    pub(crate) fn feed(&mut self, bytes: &[u8]) {
        self.end.pipe.extend(bytes);
        self.end.read(self.now, usize::MAX);
    }

    /// Lets it read one frame.
    pub(crate) fn frame(&mut self, first: u8, payload: &[u8]) {
        self.feed(&frame(self.role, first, payload));
    }

    /// Returns everything it writes.
    pub(crate) fn output(&mut self) -> Vec<u8> {
        let mut output = Vec::new();
        loop {
            let bytes = self.end.write(self.now, usize::MAX);
            if bytes.is_empty() {
                return output;
            }
            output.extend(bytes);
        }
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
        self.end.send(self.now, message)
    }

    pub(crate) fn ping(&mut self) {
        let End { session, env, .. } = &mut self.end;
        session.ping(env, self.now);
    }

    pub(crate) fn close(&mut self, code: u16, reason: &str) {
        let End { session, env, .. } = &mut self.end;
        let code = Some(CloseCode::new(code));
        session.close(env, self.now, Cause::LocalClose, code, reason);
    }

    pub(crate) fn action(&mut self) -> SocketAction {
        self.end.session.socket_action()
    }

    pub(crate) fn evidence(&self) -> Evidence {
        self.end.session.evidence(self.now)
    }

    pub(crate) fn code(&self) -> Option<u16> {
        self.evidence().close_code.map(CloseCode::as_u16)
    }

    /// Takes the messages that came.
    pub(crate) fn heard(&mut self) -> Vec<(MessageKind, Vec<u8>)> {
        std::mem::take(&mut self.end.heard)
    }

    #[track_caller]
    pub(crate) fn assert_open(&mut self) {
        assert_eq!(self.end.session.cause(), None);
        assert_eq!(self.action(), SocketAction::Keep);
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
        assert_eq!(self.action(), SocketAction::ShutdownWrite);
        for first in [FIN | TEXT, FIN | PING, FIN | CLOSE] {
            self.frame(first, b"");
        }
        self.feed(&[0xFF; 300]);
        assert_eq!((self.heard(), self.output()), (Vec::new(), Vec::new()));
        self.end.heard = before;
        assert_eq!(self.action(), SocketAction::Keep, "until the peer ends too");
        self.end.fin = true;
        self.feed(b"");
        assert_eq!(self.action(), SocketAction::Close);
        assert_eq!(self.code(), Some(code));
        assert!(!self.evidence().clean, "{:?}", self.evidence());
    }
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
