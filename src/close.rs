//! Why a connection ended: the fixed list of causes, and the evidence that comes with each end.

use std::fmt;
use std::time::Duration;

/// A WebSocket close code (RFC 6455, section 7.4).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CloseCode(u16);

impl CloseCode {
    /// 1000: the connection has done its work.
    pub const NORMAL: Self = Self(1000);
    /// 1001: an endpoint is going away, such as a server that drains.
    pub const GOING_AWAY: Self = Self(1001);
    /// 1002: the peer broke a rule of the protocol.
    pub const PROTOCOL_ERROR: Self = Self(1002);
    /// 1003: this endpoint cannot accept this kind of data.
    pub const UNSUPPORTED: Self = Self(1003);
    /// 1007: text was not UTF-8.
    pub const INVALID_PAYLOAD: Self = Self(1007);
    /// 1008: the peer broke a policy of ours.
    pub const POLICY: Self = Self(1008);
    /// 1009: a message was larger than this endpoint accepts.
    pub const TOO_BIG: Self = Self(1009);
    /// 1011: the server met an unexpected condition.
    pub const INTERNAL_ERROR: Self = Self(1011);

    /// 1013: the server is overloaded; the client may try again later. Registered with IANA; RFC 6455
    /// does not define it.
    pub const TRY_AGAIN_LATER: Self = Self(1013);

    /// Wraps any number; [`is_sendable`](Self::is_sendable) says whether it may be sent.
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
        /// Why a connection ended. A connection has exactly one cause: the first one.
        ///
        /// Later versions may add causes. The labels are stable: logs, counters and JSON use them.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[non_exhaustive]
        pub enum Cause {
            $($(#[$doc])* $name,)*
        }

        impl Cause {
            /// All causes, in the order of the counters.
            pub const ALL: &'static [Self] = &[$(Self::$name,)*];

            /// Returns the stable name, in `snake_case`.
            pub const fn label(self) -> &'static str {
                match self {
                    $(Self::$name => $label,)*
                }
            }

            /// Returns which side caused the end.
            pub const fn side(self) -> Side {
                match self {
                    $(Self::$name => Side::$side,)*
                }
            }
        }
    };
}

causes! {
    /// No proof of life within the timeout, on a connection where we send no pings.
    Silent = "silent", Peer;
    /// No proof of life within the timeout, although pings were written.
    PongTimeout = "pong_timeout", Peer;
    /// The peer's kernel does not acknowledge our bytes, although ours retransmits them.
    PathDead = "path_dead", Path;
    /// The peer's kernel acknowledged all our bytes, but its process is silent.
    PeerUnresponsive = "peer_unresponsive", Peer;
    /// Output made no progress within the write timeout.
    WriteStalled = "write_stalled", Peer;
    /// An unfinished message came too slowly, a message took too long in total, or the peer read a
    /// full send queue too slowly.
    SlowPeer = "slow_peer", Peer;
    /// No application message made progress within the configured time.
    AppIdle = "app_idle", Local;
    /// The opening handshake was not complete in time.
    HandshakeTimeout = "handshake_timeout", Peer;
    /// The TCP connection was not established in time.
    ConnectTimeout = "connect_timeout", Path;
    /// The closing handshake, ours or the peer's, was not complete in time.
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
    /// The peer sent more pings than `pings_per_second` allows.
    PingFlood = "ping_flood", Peer;
    /// The peer sent more unsolicited pongs than `pongs_per_second` allows.
    PongFlood = "pong_flood", Peer;
    /// The peer sent more than `messages_per_second` or `bytes_per_second` allows, with
    /// [`Excess::Close`](crate::config::Excess::Close).
    RateLimited = "rate_limited", Peer;
    /// The send queue was full, with [`Overflow::Close`](crate::config::Overflow::Close).
    SendQueueFull = "send_queue_full", Peer;
    /// All connections together held more memory than `memory_limit`, and this one held most.
    MemoryLimit = "memory_limit", Local;
    /// The handshake of TLS failed: one side refused the other, or what came was no TLS. The reason names the
    /// alert, or what was wrong.
    TlsHandshake = "tls_handshake", Peer;
    /// TLS failed on an open connection: a record was no record of the peer's, or the peer ended the
    /// connection without its `close_notify`, so that bytes may be missing. The reason says which.
    TlsError = "tls_error", Peer;
    /// One of our limits, the handler, or the server that we dialed refused the connection.
    Refused = "refused", Local;
    /// We closed it.
    LocalClose = "local_close", Local;
    /// It reached its maximum lifetime.
    MaxLifetime = "max_lifetime", Local;
    /// We are shutting down.
    Drain = "drain", Local;
    /// A newer connection of the same user took its place.
    Replaced = "replaced", Local;
    /// Any other error from the kernel; the evidence has its number.
    IoError = "io_error", Path;
}

impl Cause {
    /// Says whether the connection is reset for this cause, because the peer counts as dead.
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

    /// Returns the close code sent to the peer, for causes with a fixed code.
    pub const fn close_code(self) -> Option<CloseCode> {
        Some(match self {
            Self::SlowPeer
            | Self::PingFlood
            | Self::PongFlood
            | Self::RateLimited
            | Self::SendQueueFull => CloseCode::POLICY,
            Self::Replaced => CloseCode::POLICY,
            Self::AppIdle | Self::MaxLifetime => CloseCode::NORMAL,
            Self::Drain => CloseCode::GOING_AWAY,
            Self::ProtocolError => CloseCode::PROTOCOL_ERROR,
            Self::InvalidUtf8 => CloseCode::INVALID_PAYLOAD,
            Self::MessageTooBig => CloseCode::TOO_BIG,
            Self::MemoryLimit => CloseCode::TRY_AGAIN_LATER,
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
            | Self::TlsHandshake
            | Self::TlsError
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

/// Which side caused an end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Side {
    /// We did, by configuration or by a call.
    Local,
    /// The peer did: it ended the connection, broke a rule or fell silent.
    Peer,
    /// The network or the kernel did.
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

/// The phase of a connection.
///
/// ```text
/// Connecting -> Handshaking -> Open -> Closing -> Closed
///      (dialed)  (WebSocket)              every phase may go straight to Closed
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Phase {
    /// The byte stream is not established yet: we dial, or the stream has a handshake of its own to finish.
    Connecting,
    /// TCP is established; the opening handshake runs.
    Handshaking,
    /// Messages flow.
    Open,
    /// One side has said goodbye. The rest of the output leaves or is discarded.
    Closing,
    /// The connection has ended; its slot is about to be freed.
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

/// Whether a peer answers in time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub enum Liveness {
    /// It has given proof of life lately, or has not been asked for one.
    #[default]
    Healthy,
    /// Proof of life is overdue, and half of the time to answer is over. This is no verdict.
    ///
    /// With pings: a ping was sent since the last proof, and less than half of `timeout - interval` is left
    /// until the verdict. Without a timeout: the ping was sent at least one interval ago. Without pings: less
    /// than a quarter of the timeout is left. Verdicts are put off for our own delays, and so is this. With
    /// neither pings nor a timeout nobody is late.
    Late,
    /// The verdict has fallen: the connection ends because its peer was silent or did not read. It is seen
    /// in [`on_closing`](crate::reactor::Handler::on_closing), since the connection is then about to go.
    Dead,
}

impl Liveness {
    /// Returns the stable name.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Healthy => "healthy",
            Self::Late => "late",
            Self::Dead => "dead",
        }
    }
}

/// Round-trip times of pings, with a resolution of one microsecond.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Rtt {
    /// The latest round-trip time.
    pub last: Duration,
    /// The shortest one of the connection.
    pub min: Duration,
    /// The smoothed one; each new time counts 1/8 (RFC 6298, section 2).
    pub smoothed: Duration,
}

/// What the kernel reported about the socket at the verdict.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct KernelFigures {
    /// Segments sent and not acknowledged.
    pub unacked: u32,
    /// How often the oldest segment was retransmitted without an answer. If nothing is in flight:
    /// the number of probes of a closed window, or of failed attempts to send.
    pub retransmits: u32,
    /// The peer's receive window, bytes. Zero: the peer does not read.
    pub window: u32,
    /// Largest segment that the path carries, bytes.
    pub mss: u32,
    /// Bytes that the kernel accepted from us and has not sent yet.
    pub unsent: u32,
    /// Bytes that the kernel accepted from us and the peer has not acknowledged, sent or not.
    pub queued: u32,
    /// Time since the peer's kernel last acknowledged anything, in whole milliseconds.
    pub last_ack: Duration,
    /// The kernel's smoothed round-trip time, in whole microseconds.
    pub rtt: Duration,
}

impl KernelFigures {
    /// Says whether bytes wait because the peer's window has no room for them. `output` says
    /// whether bytes wait that the kernel has not accepted.
    ///
    /// With nothing in flight, a sender sends a full segment or all that is left (RFC 9293, section
    /// 3.8.6.2.1). So a window with less room than that counts as closed.
    pub(crate) fn is_shut(&self, output: bool) -> bool {
        let is_waiting = output || self.unacked > 0 || self.unsent > 0;
        let is_small = self.unacked == 0 && self.window < self.unsent.min(self.mss);
        is_waiting && (self.window == 0 || is_small)
    }

    /// Says whether the peer's kernel does not answer our bytes although it has room for them, or
    /// whether the bytes cannot leave this machine: no route, no link, a firewall.
    pub(crate) fn is_path_dead(&self) -> bool {
        let is_waiting = self.unacked > 0 || self.unsent > 0;
        is_waiting && self.retransmits > 0 && !self.is_shut(true)
    }
}

/// The record that comes with each end: what was known when its cause arose.
///
/// Only these fields tell what happened later: `close_code`, if the peer answered with one;
/// `clean`; `bytes_dropped`; and `kernel`, if an orderly end ended in a reset.
///
/// The record has a fixed size. It is copied out of the connection before its slot is freed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Evidence {
    /// Why it ended.
    pub cause: Cause,
    /// The phase when the cause arose.
    pub phase: Phase,
    /// The kernel's error number, if the cause came with one.
    pub errno: Option<i32>,
    /// The close code that we received; if there was none, the one that we sent.
    pub close_code: Option<CloseCode>,
    /// Whether both sides said goodbye as the wire demands, and no message was [cut](Self::is_cut).
    pub clean: bool,
    /// Time from when the connection was accepted or dialed until the cause arose. All ages end at
    /// that moment.
    pub age: Duration,
    /// Time since the last byte was read.
    pub last_in: Option<Duration>,
    /// Time since the kernel last accepted a byte.
    pub last_out: Option<Duration>,
    /// Time since the last proof of life.
    pub last_proof: Option<Duration>,
    /// Pings scheduled.
    pub pings_due: u32,
    /// Pings that the kernel accepted completely.
    pub pings_written: u32,
    /// Pings answered, by their own pong or a later one.
    pub pings_answered: u32,
    /// Round-trip times. `None` if none was measured.
    pub rtt: Option<Rtt>,
    /// Bytes queued in user space when the cause arose. In an orderly end they still leave.
    pub bytes_queued: u64,
    /// Bytes of messages, headers included, that were queued and never left.
    pub bytes_dropped: u64,
    /// Bytes read of a message from the peer that was incomplete when the cause arose. `None` if
    /// there was no such message.
    pub bytes_unfinished: Option<u32>,
    /// How much later the deadline was, because the loop itself was late. Zero if the connection
    /// did not end by a deadline that blames the peer. For silence it counts from `last proof +
    /// timeout`, so it includes the delay of a ping that we sent late, or skipped after a stop. It is
    /// no more than the loop was late in all.
    pub forgiveness: Duration,
    /// How late the loop was in its turn when the cause arose.
    pub loop_delay: Duration,
    /// The kernel's figures, if the system has them and we ended the connection. If the kernel
    /// itself gave up, it has no figures any more, and `errno` has its reason.
    pub kernel: Option<KernelFigures>,
}

impl Evidence {
    /// Makes a record of an end in which nothing else is known, to be filled in.
    ///
    /// The loop makes the records of its connections. This one is for tests of a handler:
    ///
    /// ```
    /// use heartwheel::close::{Cause, Evidence, Phase};
    /// use std::time::Duration;
    ///
    /// let mut evidence = Evidence::new(Cause::PongTimeout, Phase::Open);
    /// evidence.age = Duration::from_secs(75);
    /// assert!(evidence.to_string().starts_with("cause=pong_timeout side=peer age=75s"));
    /// ```
    pub const fn new(cause: Cause, phase: Phase) -> Self {
        Self {
            cause,
            phase,
            errno: None,
            close_code: None,
            clean: false,
            age: Duration::ZERO,
            last_in: None,
            last_out: None,
            last_proof: None,
            pings_due: 0,
            pings_written: 0,
            pings_answered: 0,
            rtt: None,
            bytes_queued: 0,
            bytes_dropped: 0,
            bytes_unfinished: None,
            forgiveness: Duration::ZERO,
            loop_delay: Duration::ZERO,
            kernel: None,
        }
    }

    /// The version of the fields of [`fields`](Self::fields). It rises when a field goes or changes
    /// its meaning. It does not rise when a field is added.
    ///
    /// Version 2: all fields, `queued` and the pings included, describe the moment when the cause
    /// arose.
    pub const VERSION: u32 = 2;

    /// Returns which side caused the end.
    pub const fn side(&self) -> Side {
        self.cause.side()
    }

    /// Says whether a message was cut: the peer's was incomplete when the cause arose, or one of
    /// ours never left.
    pub const fn is_cut(&self) -> bool {
        self.bytes_dropped > 0 || self.bytes_unfinished.is_some()
    }

    /// Calls `tell` with each known field: its stable name and its value, in a fixed order. Log
    /// lines and JSON records are made from it.
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
    /// A label without spaces.
    Word(&'static str),
    /// A count or a number of bytes.
    Number(u64),
    /// The kernel's error number.
    Signed(i32),
    /// True or false.
    Flag(bool),
    /// An age or another length of time.
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
