//! What a case does: the settings of a session, and what happens to it.

use std::time::Duration;

use arbitrary::Arbitrary;
use heartwheel::close::KernelFigures;
use heartwheel::config::{
    Excess, HeartbeatConfig, LimitsConfig, Overflow, PingWhen, Proof, WireKind,
};
use heartwheel::event_loop::WireFactory;

use super::codec::Tagged;

#[derive(Arbitrary, Debug)]
pub(super) struct Plan<'a> {
    pub(super) wire: WireChoice,
    pub(super) is_dialed: bool,
    pub(super) heartbeat: Times,
    /// What the heartbeat may be changed to.
    pub(super) other: Times,
    pub(super) limits: Sizes,
    pub(super) phase: u32,
    /// What one turn may read is little.
    pub(super) is_narrow: bool,
    pub(super) ending: Ending,
    /// What the kernel says of the socket, if it says anything.
    pub(super) kernel: Option<Figures>,
    pub(super) steps: Vec<Step<'a>>,
}

#[derive(Arbitrary, Clone, Copy, Debug)]
pub(super) enum WireChoice {
    WebSocket,
    Line,
    Binary,
    Raw,
    Own,
}

impl WireChoice {
    pub(super) fn factory(self) -> WireFactory {
        match self {
            Self::WebSocket => WireFactory::WebSocket,
            Self::Line => WireFactory::Line,
            Self::Binary => WireFactory::Binary,
            Self::Raw => WireFactory::Raw,
            Self::Own => WireFactory::own(|_| Tagged),
        }
    }
}

#[derive(Arbitrary, Clone, Copy, Debug)]
pub(super) struct Figures {
    unacked: u8,
    retransmits: u8,
    window: u8,
    unsent: u8,
    queued: u8,
    last_ack: u8,
}

impl Figures {
    pub(super) fn kernel(self) -> KernelFigures {
        KernelFigures {
            unacked: self.unacked.into(),
            retransmits: self.retransmits.into(),
            window: self.window.into(),
            mss: 100,
            unsent: self.unsent.into(),
            queued: self.queued.into(),
            last_ack: Duration::from_millis(u64::from(self.last_ack) * 20),
            rtt: Duration::ZERO,
        }
    }
}

/// How the case is brought to its end.
#[derive(Arbitrary, Clone, Copy, Debug)]
pub(super) enum Ending {
    /// We close, the peer says nothing.
    Close,
    /// The peer ends its output.
    Eof,
    /// The peer falls silent.
    Silence,
}

#[derive(Arbitrary, Debug)]
pub(super) enum Step<'a> {
    /// Bytes arrive.
    Noise(&'a [u8]),
    /// A message, or a part of one, arrives.
    Message {
        is_text: bool,
        is_continuation: bool,
        is_unfinished: bool,
        payload: &'a [u8],
        times: u8,
    },
    /// Pings arrive.
    Pings(&'a [u8], u8),
    /// A pong arrives that answers our newest ping, an older one, or none.
    Pong {
        back: u8,
        is_forged: bool,
    },
    /// A Close frame arrives.
    Farewell {
        code: Option<u16>,
        reason: &'a str,
    },
    /// The newest bytes on their way get lost: what came is unfinished.
    Cut(u8),
    /// Reads get at most so many bytes, or as many as there are.
    Chunk(u8),
    /// What arrives next is not noticed until the socket is read for another reason.
    Unnoticed,
    /// Time passes, milliseconds.
    Pass(u16),
    /// Time passes, seconds.
    PassLong(u16),
    /// Time passes until something is due.
    PassToDeadline,
    /// Time passes until shortly before something is due.
    PassAlmost(u8),
    /// The timer fires though nothing may be due.
    Fire,
    /// Our loop is held up, milliseconds.
    Stall(u16),
    /// We send.
    Send {
        is_text: bool,
        is_shared: bool,
        byte: u8,
        len: u16,
    },
    /// We send exactly this.
    SendExact(&'a [u8]),
    /// We ping outside the grid.
    Probe,
    /// We close.
    Close {
        which: u8,
        code: u16,
        reason: &'a str,
    },
    Pause,
    Resume,
    /// The socket takes so many bytes more.
    Room(u16),
    /// The socket takes all.
    Flow,
    /// The socket takes nothing.
    Block,
    Connected,
    Handshake {
        is_refused: bool,
    },
    Policy,
    Eof,
    Reset,
    /// The socket fails, perhaps since the kernel has given the path up.
    Fail {
        is_path: bool,
    },
}

#[derive(Arbitrary, Clone, Copy, Debug)]
pub(super) struct Times {
    interval: u8,
    timeout: u8,
    proof: u8,
    is_when_idle: bool,
    slack: u8,
    write: u8,
    phases: u8,
    app_idle: u8,
    lifetime: u8,
}

impl Times {
    pub(super) fn config(self, wire: WireKind) -> HeartbeatConfig {
        let is_raw = wire == WireKind::Raw;
        let millis = Duration::from_millis;
        let interval = match self.interval % 6 {
            0 => None,
            _ if is_raw => None,
            1 => Some(millis(10)),
            2 => Some(millis(100)),
            3 => Some(millis(1_000)),
            4 => Some(millis(10_000)),
            _ => Some(millis(30_000)),
        };
        let base = interval.unwrap_or(Duration::from_secs(2));
        let timeout = match self.timeout % 5 {
            0 => None,
            1 => Some(base + millis(1)),
            2 => Some(base * 2),
            3 => Some(base * 5 / 2),
            _ => Some(base * 7),
        };
        let proof = match self.proof % 3 {
            0 => Proof::Bytes,
            _ if is_raw => Proof::Bytes,
            1 => Proof::Message,
            _ if interval.is_none() => Proof::Message,
            _ => Proof::Pong,
        };
        let spans = [millis(5_000), millis(50), millis(3_000)];
        let span = |shift: u8| spans[usize::from(self.phases >> shift) % spans.len()];
        HeartbeatConfig {
            interval,
            timeout,
            proof,
            ping_when: if self.is_when_idle {
                PingWhen::Idle
            } else {
                PingWhen::Always
            },
            ping_slack: [None, Some(Duration::ZERO), Some(base / 5), Some(millis(1))]
                [usize::from(self.slack % 4)],
            write_timeout: [
                Some(millis(10_000)),
                Some(millis(50)),
                None,
                Some(millis(1_000)),
            ][usize::from(self.write % 4)],
            connect_timeout: span(0),
            handshake_timeout: span(2),
            close_timeout: span(4),
            close_total: [millis(300_000), millis(2_000), millis(20)]
                [usize::from(self.phases >> 6) % 3],
            app_idle: [None, None, Some(millis(2_000)), Some(millis(100_000))]
                [usize::from(self.app_idle % 4)],
            max_lifetime: [
                None,
                None,
                Some(millis(5_000)),
                Some(HeartbeatConfig::LONGEST),
            ][usize::from(self.lifetime % 4)],
        }
    }
}

#[derive(Arbitrary, Clone, Copy, Debug)]
pub(super) struct Sizes {
    message: u8,
    queue: u8,
    is_closing_when_full: bool,
    fragment: u8,
    rates: u8,
    slow: u8,
}

impl Sizes {
    pub(super) fn config(self) -> LimitsConfig {
        let rate = |shift: u8| {
            [Some(100), None, Some(1), Some(1_000)][usize::from(self.rates >> shift) % 4]
        };
        let slow = |shift: u8| usize::from(self.slow >> shift) % 3;
        LimitsConfig {
            max_message: [70_000, 10, 125, 1_000, 1][usize::from(self.message % 5)],
            send_queue: [None, Some(1), Some(200), Some(5_000), Some(100_000)]
                [usize::from(self.queue % 5)],
            overflow: if self.is_closing_when_full {
                Overflow::Close
            } else {
                Overflow::Drop
            },
            max_fragment: [64 * 1024, 1, 100, 5_000][usize::from(self.fragment % 4)],
            max_head: 512,
            max_headers: 64,
            max_body: 512,
            max_requests: 3,
            pings_per_second: rate(0),
            pongs_per_second: rate(2),
            messages_per_second: [None, None, Some(1), Some(1_000)]
                [usize::from(self.rates >> 4) % 4],
            bytes_per_second: [None, None, Some(1_024), Some(1_000_000)]
                [usize::from(self.rates >> 6) % 4],
            // A pause in the midst of what was read is not for this reader.
            excess: Excess::Close,
            slow_floor: [1024, 0, 1][slow(0)],
            slow_grace: [10_000, 100, 1_000].map(Duration::from_millis)[slow(2)],
            message_timeout: [Some(300_000), None, Some(1_000)]
                .map(|span| span.map(Duration::from_millis))[slow(4)],
            ..LimitsConfig::default()
        }
    }
}
