//! TCP as far as a heartbeat can tell: bytes in order, windows, acknowledgements, retransmissions that
//! back off, probes of a closed window, ends and resets.
//!
//! One [`Link`] is both ends of a connection and what is between them. Bytes stay in the sender's queue
//! until they are acknowledged; a packet only names their place in the stream.

mod calls;
mod kernel;

use std::collections::VecDeque;
use std::fmt;

use heartwheel::proto::time::Micros;

use super::{HostId, Token};

/// One end of a connection: its link, and 0 for who dialed or 1 for who accepted.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct SockId {
    pub(crate) link: usize,
    pub(crate) side: usize,
}

impl fmt::Debug for SockId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let end = ["dialer", "acceptor"][self.side];
        write!(f, "link {} {end}", self.link)
    }
}

impl SockId {
    pub(crate) fn peer(self) -> Self {
        Self {
            link: self.link,
            side: 1 - self.side,
        }
    }
}

/// What a system call on a socket fails with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Failure {
    WouldBlock,
    Reset,
    Refused,
    TimedOut,
    BrokenPipe,
}

impl Failure {
    /// Returns the number that Linux has for it.
    pub(crate) fn errno(self) -> i32 {
        match self {
            Self::WouldBlock => 11,
            Self::BrokenPipe => 32,
            Self::Reset => 104,
            Self::TimedOut => 110,
            Self::Refused => 111,
        }
    }
}

/// What travels.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Packet {
    Syn,
    SynAck,
    /// Everything before `upto` has arrived; bytes before `edge` may be sent.
    Ack {
        upto: u64,
        edge: u64,
    },
    Data {
        from: u64,
        len: u64,
        fin: bool,
    },
    /// Asks for an acknowledgement, to learn of the window.
    Probe,
    Rst,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// The acceptor's end, before it has heard of the dialer.
    Listening,
    SynSent,
    SynReceived,
    Established,
    /// No packet changes anything any more.
    Dead,
    /// The host has started anew and knows nothing of it.
    Forgotten,
}

#[derive(Debug)]
pub(crate) struct End {
    pub(crate) host: HostId,
    stage: Stage,
    /// What the poll tells of it; none: not registered.
    token: Option<Token>,
    /// The process holds a descriptor.
    is_held: bool,
    /// Bytes accepted from the process and not acknowledged: from `acked` up to `end`.
    out: VecDeque<u8>,
    acked: u64,
    sent: u64,
    end: u64,
    /// Our direction ends after `end`; the end itself counts as one more.
    fin: bool,
    /// The peer's window ends here.
    edge: u64,
    capacity: u64,
    /// A write found no room: the poll is to say when there is.
    starved: bool,
    rto: Micros,
    tries: u32,
    timer: Option<Micros>,
    /// When the oldest byte on its way was sent, if only once.
    timed: Option<Micros>,
    last_ack: Micros,
    smoothed: Micros,
    inbox: VecDeque<u8>,
    /// Bytes arrived in all, and the peer's end.
    next: u64,
    eof: bool,
    room: u64,
    /// What the next call fails with.
    error: Option<Failure>,
    /// When the latest packet to the other side arrives, and the narrow way is free again.
    arrives: Micros,
    free: Micros,
}

impl End {
    fn new(host: HostId, stage: Stage, sizes: Sizes) -> Self {
        Self {
            host,
            stage,
            token: None,
            is_held: stage == Stage::SynSent,
            out: VecDeque::new(),
            acked: 0,
            sent: 0,
            end: 0,
            fin: false,
            edge: 0,
            capacity: sizes.send,
            starved: false,
            rto: SYN_RTO,
            tries: 0,
            timer: None,
            timed: None,
            last_ack: Micros::ZERO,
            smoothed: Micros::ZERO,
            inbox: VecDeque::new(),
            next: 0,
            eof: false,
            room: sizes.receive,
            error: None,
            arrives: Micros::ZERO,
            free: Micros::ZERO,
        }
    }

    /// Lets a kernel forget a dialer that has not answered yet.
    fn forget_dialer(&mut self) {
        self.stage = Stage::Listening;
        self.timer = None;
        self.tries = 0;
        self.rto = SYN_RTO;
    }

    /// Where the stream ends, its end included.
    fn total(&self) -> u64 {
        self.end + u64::from(self.fin)
    }

    fn window(&self) -> u64 {
        self.room.saturating_sub(self.inbox.len() as u64)
    }

    fn is_writable(&self) -> bool {
        self.stage == Stage::Established
            && self.end.saturating_sub(self.acked) * 3 <= self.capacity * 2
    }

    /// Says whether the process holds a descriptor.
    pub(crate) fn is_held(&self) -> bool {
        self.is_held
    }

    pub(crate) fn token(&self) -> Option<Token> {
        self.token
    }

    /// Says whether a read would return bytes, or an error.
    pub(crate) fn has_input(&self) -> bool {
        !self.inbox.is_empty() || self.error.is_some()
    }

    /// Says whether the peer has ended its direction.
    pub(crate) fn has_ended(&self) -> bool {
        self.eof
    }

    /// Says whether the poll will tell when there is room for output again.
    pub(crate) fn will_have_room(&self) -> bool {
        self.starved
    }

    /// Bytes that wait to be read.
    pub(crate) fn unread(&self) -> usize {
        self.inbox.len()
    }

    /// Says whether the peer's kernel has acknowledged the stream up to there.
    pub(crate) fn has_acked(&self, place: u64) -> bool {
        self.acked >= place
    }

    /// Says whether bytes of ours are still on their way, or wait for it.
    pub(crate) fn is_backed_up(&self) -> bool {
        self.acked < self.total()
    }
}

/// Sizes of the kernel's buffers, bytes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sizes {
    pub(crate) send: u64,
    pub(crate) receive: u64,
    pub(crate) segment: u64,
}

#[derive(Debug)]
pub(crate) struct Link {
    pub(crate) path: usize,
    pub(crate) port: usize,
    segment: u64,
    pub(crate) ends: [End; 2],
    /// A write sometimes takes less than it could.
    is_stingy: bool,
}

/// What the poll says of a socket; edges, gathered until the next wait ends.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Ready {
    pub(crate) readable: bool,
    pub(crate) writable: bool,
    pub(crate) read_closed: bool,
    pub(crate) error: bool,
}

impl Ready {
    pub(crate) fn merge(&mut self, other: Self) {
        self.readable |= other.readable;
        self.writable |= other.writable;
        self.read_closed |= other.read_closed;
        self.error |= other.error;
    }
}

const READABLE: Ready = Ready {
    readable: true,
    writable: false,
    read_closed: false,
    error: false,
};
const WRITABLE: Ready = Ready {
    readable: false,
    writable: true,
    read_closed: false,
    error: false,
};
const ENDED: Ready = Ready {
    readable: true,
    writable: false,
    read_closed: true,
    error: false,
};
const FAILED: Ready = Ready {
    readable: true,
    writable: true,
    read_closed: true,
    error: true,
};

const SYN_RTO: Micros = Micros::from_secs(1);
