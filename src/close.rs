//! Why a connection ended: the closed list of causes, and the evidence handed out with every end.

use std::fmt;
use std::time::Duration;

/// A WebSocket close code (RFC 6455, section 7.4).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CloseCode(u16);

impl CloseCode {
    /// 1000: the purpose of the connection has been fulfilled.
    pub const NORMAL: Self = Self(1000);
    /// 1001: an endpoint is going away, such as a server that drains.
    pub const GOING_AWAY: Self = Self(1001);
    /// 1002: the peer broke a rule of the protocol.
    pub const PROTOCOL_ERROR: Self = Self(1002);
    /// 1003: a kind of data this endpoint cannot accept.
    pub const UNSUPPORTED: Self = Self(1003);
    /// 1007: text that is not UTF-8.
    pub const INVALID_PAYLOAD: Self = Self(1007);
    /// 1008: the peer broke a policy of ours.
    pub const POLICY: Self = Self(1008);
    /// 1009: a message larger than this endpoint accepts.
    pub const TOO_BIG: Self = Self(1009);
    /// 1011: an unexpected condition in the server.
    pub const INTERNAL_ERROR: Self = Self(1011);

    /// Wraps a number without judging it; see [`is_sendable`](Self::is_sendable).
    pub const fn new(code: u16) -> Self {
        Self(code)
    }

    /// Returns the number.
    pub const fn as_u16(self) -> u16 {
        self.0
    }

    /// Says whether the code may stand in a Close frame (RFC 6455, sections 7.4.1 and 7.4.2, with the
    /// codes 1012 to 1014 that IANA has registered since).
    pub const fn is_sendable(self) -> bool {
        matches!(self.0, 1000..=1003 | 1007..=1014 | 3000..=4999)
    }
}

impl fmt::Display for CloseCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Debug for CloseCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "CloseCode({})", self.0)
    }
}

/// Declares the causes with their labels and sides in one table.
macro_rules! causes {
    ($($(#[$doc:meta])* $name:ident = $label:literal, $side:ident;)*) => {
        /// The one reason a connection ended; the first one wins.
        ///
        /// The list is closed and the labels are stable: they stand in logs, counters and JSON.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Cause {
            $($(#[$doc])* $name,)*
        }

        impl Cause {
            /// Every cause, in the order of the counters.
            pub const ALL: &'static [Self] = &[$(Self::$name,)*];

            /// Returns the stable name, in `snake_case`.
            pub const fn label(self) -> &'static str {
                match self {
                    $(Self::$name => $label,)*
                }
            }

            /// Returns whose doing it was.
            pub const fn side(self) -> Side {
                match self {
                    $(Self::$name => Side::$side,)*
                }
            }
        }
    };
}

causes! {
    /// No proof of life for the timeout where we send no pings.
    Silent = "silent", Peer;
    /// No proof of life for the timeout though pings were written.
    PongTimeout = "pong_timeout", Peer;
    /// Our bytes stay unacknowledged and are being retransmitted.
    PathDead = "path_dead", Path;
    /// All our bytes are acknowledged, yet the process is silent.
    PeerUnresponsive = "peer_unresponsive", Peer;
    /// No progress of output for the write timeout.
    WriteStalled = "write_stalled", Peer;
    /// An unfinished message came too slowly, or took too long in all.
    SlowPeer = "slow_peer", Peer;
    /// No application message for the configured time.
    AppIdle = "app_idle", Local;
    /// The opening handshake was not complete in time.
    HandshakeTimeout = "handshake_timeout", Peer;
    /// The TCP connection was not established in time.
    ConnectTimeout = "connect_timeout", Path;
    /// Our or the peer's Close was not completed in time.
    CloseTimeout = "close_timeout", Peer;
    /// The peer sent a Close frame.
    PeerClosed = "peer_closed", Peer;
    /// The peer ended its output without a Close frame.
    PeerEof = "peer_eof", Peer;
    /// The peer reset the connection.
    PeerReset = "peer_reset", Peer;
    /// The peer broke a rule of the protocol.
    ProtocolError = "protocol_error", Peer;
    /// The peer sent text that is not UTF-8.
    InvalidUtf8 = "invalid_utf8", Peer;
    /// The peer sent, or announced, a message above the limit.
    MessageTooBig = "message_too_big", Peer;
    /// The peer pinged more often than etiquette allows.
    PingFlood = "ping_flood", Peer;
    /// The peer sent more unasked pongs than etiquette allows.
    PongFlood = "pong_flood", Peer;
    /// The send queue was full under the `close` policy.
    SendQueueFull = "send_queue_full", Peer;
    /// Refused by a limit of ours, by the handler, or by the server we dialed.
    Refused = "refused", Local;
    /// We closed it.
    LocalClose = "local_close", Local;
    /// It reached its maximum lifetime.
    MaxLifetime = "max_lifetime", Local;
    /// We are shutting down.
    Drain = "drain", Local;
    /// A newer connection of the same identity took its place.
    Replaced = "replaced", Local;
    /// Anything else from the kernel; the evidence holds its error number.
    IoError = "io_error", Path;
}

impl Cause {
    /// Says whether the end is told by a reset, because the peer is judged dead.
    pub const fn is_reset(self) -> bool {
        matches!(
            self,
            Self::Silent
                | Self::PongTimeout
                | Self::PathDead
                | Self::PeerUnresponsive
                | Self::WriteStalled
                | Self::CloseTimeout
        )
    }

    /// Returns the close code that tells the peer, for the causes that have a fixed one.
    pub const fn close_code(self) -> Option<CloseCode> {
        Some(match self {
            Self::SlowPeer | Self::PingFlood | Self::PongFlood | Self::SendQueueFull => {
                CloseCode::POLICY
            }
            Self::Replaced => CloseCode::POLICY,
            Self::AppIdle | Self::MaxLifetime => CloseCode::NORMAL,
            Self::Drain => CloseCode::GOING_AWAY,
            Self::ProtocolError => CloseCode::PROTOCOL_ERROR,
            Self::InvalidUtf8 => CloseCode::INVALID_PAYLOAD,
            Self::MessageTooBig => CloseCode::TOO_BIG,
            Self::Silent
            | Self::PongTimeout
            | Self::PathDead
            | Self::PeerUnresponsive
            | Self::WriteStalled
            | Self::HandshakeTimeout
            | Self::ConnectTimeout
            | Self::CloseTimeout
            | Self::PeerClosed
            | Self::PeerEof
            | Self::PeerReset
            | Self::Refused
            | Self::LocalClose
            | Self::IoError => return None,
        })
    }

    /// Returns the place in [`Cause::ALL`].
    pub(crate) const fn index(self) -> usize {
        self as usize
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.label())
    }
}

/// Whose doing an end was.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Side {
    /// We decided it, by configuration or by call.
    Local,
    /// The peer ended it, broke a rule or fell silent.
    Peer,
    /// The network or the kernel.
    Path,
}

impl Side {
    /// Returns the stable name.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Local => "local",
            Self::Peer => "peer",
            Self::Path => "path",
        }
    }
}

/// How far a connection has come.
///
/// ```text
/// Connecting -> Handshaking -> Open -> Closing -> Closed
///      (dialed)  (WebSocket)              every phase may go straight to Closed
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Phase {
    /// Dialed, TCP not established yet.
    Connecting,
    /// TCP established, the opening handshake runs.
    Handshaking,
    /// Messages flow.
    Open,
    /// One side has said goodbye; what is left is flushed or discarded.
    Closing,
    /// Over; the slot is about to be freed.
    Closed,
}

impl Phase {
    /// Returns the stable name.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Connecting => "connecting",
            Self::Handshaking => "handshaking",
            Self::Open => "open",
            Self::Closing => "closing",
            Self::Closed => "closed",
        }
    }
}

/// Round-trip times of pings, to the microsecond.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Rtt {
    /// The latest sample.
    pub last: Duration,
    /// The least sample of the connection.
    pub min: Duration,
    /// Smoothed by 1/8 a sample (RFC 6298, section 2).
    pub smoothed: Duration,
}

/// What the kernel said of the socket at the verdict.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct KernelFigures {
    /// Segments sent and not acknowledged.
    pub unacked: u32,
    /// Retransmissions of the oldest segment without an answer; while nothing is under way, probes of a
    /// closed window, or vain attempts to send at all.
    pub retransmits: u32,
    /// The peer's receive window, bytes; zero: it is not reading.
    pub window: u32,
    /// Largest segment that the path takes, bytes.
    pub mss: u32,
    /// Bytes accepted from us and not sent yet.
    pub unsent: u32,
    /// Bytes accepted from us and not acknowledged, sent or not.
    pub queued: u32,
    /// Time since the peer's kernel last acknowledged anything, to the millisecond.
    pub last_ack: Duration,
    /// The kernel's smoothed round-trip time, to the microsecond.
    pub rtt: Duration,
}

impl KernelFigures {
    /// Says whether bytes wait because the peer's window has no room for them; `output` are such that
    /// the kernel has not taken.
    ///
    /// With nothing under way a sender sends a full segment, or all that is left (RFC 9293, section
    /// 3.8.6.2.1), so that a window with less room than that is as good as closed.
    pub(crate) fn is_shut(&self, output: bool) -> bool {
        let is_waiting = output || self.unacked > 0 || self.unsent > 0;
        let is_small = self.unacked == 0 && self.window < self.unsent.min(self.mss);
        is_waiting && (self.window == 0 || is_small)
    }

    /// Says whether our bytes get no answer from the peer's kernel though it has room for them, or do
    /// not even leave ours: no route, no link, a firewall.
    pub(crate) fn is_path_dead(&self) -> bool {
        let is_waiting = self.unacked > 0 || self.unsent > 0;
        is_waiting && self.retransmits > 0 && !self.is_shut(true)
    }
}

/// The record handed out with every end: what was known when its cause arose.
///
/// Of the time after it only few things are told: the close code that the peer answered with, whether the
/// end was clean, what was dropped, and the kernel's figures where a goodbye ended in a reset.
///
/// Of fixed size, and copied out of the connection before its slot is freed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Evidence {
    /// Why it ended.
    pub cause: Cause,
    /// How far it had come when the cause arose.
    pub phase: Phase,
    /// The kernel's error number, where the cause came with one.
    pub errno: Option<i32>,
    /// The close code received, or else the one sent.
    pub close_code: Option<CloseCode>,
    /// Whether both sides said goodbye as the wire asks, and no message was [cut](Self::is_cut).
    pub clean: bool,
    /// Time from when the connection was accepted or dialed to when the cause arose; so are all ages.
    pub age: Duration,
    /// Time since the last byte was read.
    pub last_in: Option<Duration>,
    /// Time since the kernel last accepted a byte.
    pub last_out: Option<Duration>,
    /// Time since the last proof of life.
    pub last_proof: Option<Duration>,
    /// Pings the grid called for.
    pub pings_due: u32,
    /// Pings the kernel accepted whole.
    pub pings_written: u32,
    /// Pings answered, by their own pong or a later one.
    pub pings_answered: u32,
    /// Round-trip times, once there was a sample.
    pub rtt: Option<Rtt>,
    /// Bytes queued in user space when the cause arose. In an orderly end they leave all the same.
    pub bytes_queued: u64,
    /// Bytes of messages, headers included, that were queued and never left.
    pub bytes_dropped: u64,
    /// Bytes read of a message of the peer's that was not whole when the cause arose; `None` where there
    /// was no such message.
    pub bytes_unfinished: Option<u32>,
    /// By how much our own lateness had put off the deadline that ended the connection; zero where no
    /// deadline did that blames the peer. For silence it counts from the timeout after the last proof: what
    /// a ping of ours was late is in it.
    pub forgiveness: Duration,
    /// How late the loop itself was in its turn when the cause arose.
    pub loop_delay: Duration,
    /// The kernel's figures, where the system has them, for an end that we judged; where the kernel gave
    /// up by itself it has forgotten them, and `errno` says what for.
    pub kernel: Option<KernelFigures>,
}

impl Evidence {
    /// The version of the fields that [`fields`](Self::fields) names. It rises when one of them goes or
    /// changes its meaning, not when another joins them.
    ///
    /// Version 2: all is told as of the moment when the cause arose, `queued` and the pings as well.
    pub const VERSION: u32 = 2;

    /// Returns whose doing the end was.
    pub const fn side(&self) -> Side {
        self.cause.side()
    }

    /// Says whether a message was cut, in either direction: the peer's was not whole when the cause arose,
    /// or one of ours has not left.
    pub const fn is_cut(&self) -> bool {
        self.bytes_dropped > 0 || self.bytes_unfinished.is_some()
    }

    /// Tells every field that is known, with its stable name and in a fixed order: what log lines and
    /// JSON records are made of.
    ///
    /// ```
    /// # fn show(evidence: &heartwheel::close::Evidence) -> Vec<&'static str> {
    /// let mut names = Vec::new();
    /// evidence.fields(|name, _| names.push(name));
    /// # names }
    /// ```
    pub fn fields(&self, mut tell: impl FnMut(&'static str, EvidenceField)) {
        use EvidenceField::{Flag, Number, Signed, Time, Word};

        tell("cause", Word(self.cause.label()));
        tell("side", Word(self.side().label()));
        tell("age", Time(self.age));
        tell("clean", Flag(self.clean));
        tell("phase", Word(self.phase.label()));
        if let Some(errno) = self.errno {
            tell("errno", Signed(errno));
        }
        if let Some(code) = self.close_code {
            tell("code", Number(code.as_u16().into()));
        }
        let ages = [
            ("last_in", self.last_in),
            ("last_out", self.last_out),
            ("last_proof", self.last_proof),
        ];
        for (name, age) in ages {
            if let Some(age) = age {
                tell(name, Time(age));
            }
        }
        tell("pings_due", Number(self.pings_due.into()));
        tell("pings_written", Number(self.pings_written.into()));
        tell("pings_answered", Number(self.pings_answered.into()));
        if let Some(rtt) = self.rtt {
            tell("rtt", Time(rtt.smoothed));
            tell("rtt_min", Time(rtt.min));
            tell("rtt_last", Time(rtt.last));
        }
        tell("queued", Number(self.bytes_queued));
        tell("dropped", Number(self.bytes_dropped));
        if let Some(bytes) = self.bytes_unfinished {
            tell("unfinished", Number(bytes.into()));
        }
        tell("forgiveness", Time(self.forgiveness));
        tell("loop_delay", Time(self.loop_delay));
        if let Some(kernel) = self.kernel {
            tell("unacked", Number(kernel.unacked.into()));
            tell("retransmits", Number(kernel.retransmits.into()));
            tell("window", Number(kernel.window.into()));
            tell("mss", Number(kernel.mss.into()));
            tell("unsent", Number(kernel.unsent.into()));
            tell("kernel_queued", Number(kernel.queued.into()));
            tell("last_ack", Time(kernel.last_ack));
            tell("kernel_rtt", Time(kernel.rtt));
        }
    }
}

/// One line: `cause=pong_timeout side=peer age=7.5s clean=false ...`.
impl fmt::Display for Evidence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut result = Ok(());
        let mut space = "";
        self.fields(|name, field| {
            if result.is_ok() {
                result = write!(f, "{space}{name}={field}");
                space = " ";
            }
        });
        result
    }
}

/// The value of one field of an [`Evidence`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EvidenceField {
    /// A label of ours, without spaces.
    Word(&'static str),
    /// A count, or a number of bytes.
    Number(u64),
    /// The kernel's error number.
    Signed(i32),
    /// A claim.
    Flag(bool),
    /// An age or another span.
    Time(Duration),
}

impl fmt::Display for EvidenceField {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Word(word) => f.write_str(word),
            Self::Number(number) => number.fmt(f),
            Self::Signed(number) => number.fmt(f),
            Self::Flag(flag) => flag.fmt(f),
            Self::Time(time) => write!(f, "{time:?}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_unique_and_in_snake_case() {
        let mut labels: Vec<_> = Cause::ALL.iter().map(|cause| cause.label()).collect();
        labels.sort_unstable();
        labels.dedup();
        assert_eq!(labels.len(), Cause::ALL.len());
        assert!(labels.iter().all(|label| {
            label
                .bytes()
                .all(|byte| byte.is_ascii_lowercase() || b"_8".contains(&byte))
        }));
    }

    #[test]
    fn a_cause_knows_its_place_among_the_counters() {
        for (place, cause) in Cause::ALL.iter().enumerate() {
            assert_eq!(cause.index(), place);
        }
    }

    #[test]
    fn only_registered_and_private_close_codes_are_sendable() {
        for code in [1000, 1003, 1007, 1011, 1014, 3000, 4999] {
            assert!(CloseCode::new(code).is_sendable(), "{code}");
        }
        for code in [0, 999, 1004, 1005, 1006, 1015, 1016, 2999, 5000, 65_535] {
            assert!(!CloseCode::new(code).is_sendable(), "{code}");
        }
    }

    #[test]
    fn a_record_is_one_line_of_what_is_known() {
        let evidence = Evidence {
            cause: Cause::PathDead,
            phase: Phase::Open,
            errno: None,
            close_code: None,
            clean: false,
            age: Duration::from_millis(7_500),
            last_in: Some(Duration::from_millis(2_500)),
            last_out: None,
            last_proof: Some(Duration::from_millis(2_500)),
            pings_due: 7,
            pings_written: 6,
            pings_answered: 5,
            rtt: None,
            bytes_queued: 3,
            bytes_dropped: 2,
            bytes_unfinished: Some(7),
            forgiveness: Duration::ZERO,
            loop_delay: Duration::from_micros(310),
            kernel: Some(KernelFigures {
                unacked: 1,
                retransmits: 4,
                window: 65_535,
                mss: 1_448,
                unsent: 0,
                queued: 6,
                last_ack: Duration::from_millis(2_600),
                rtt: Duration::from_micros(180),
            }),
        };
        assert_eq!(
            evidence.to_string(),
            "cause=path_dead side=path age=7.5s clean=false phase=open last_in=2.5s last_proof=2.5s \
             pings_due=7 pings_written=6 pings_answered=5 queued=3 dropped=2 unfinished=7 forgiveness=0ns loop_delay=310µs \
             unacked=1 retransmits=4 window=65535 mss=1448 unsent=0 kernel_queued=6 last_ack=2.6s \
             kernel_rtt=180µs"
        );
    }

    #[test]
    fn the_record_of_an_end_stays_small() {
        assert!(size_of::<Evidence>() <= 256, "{}", size_of::<Evidence>());
    }
}
