//! Configuration: plain structs of public fields with defaults, checked once.
//!
//! Every struct ends with `..Default::default()` in a caller's hands. Nothing here is clamped: a value
//! that makes no sense is a [`ConfigError`] that names the field and the reason.

use std::time::Duration;

use crate::error::ConfigError;

/// What counts as proof that the peer is alive.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub enum Proof {
    /// Any byte received, also of an unfinished frame.
    #[default]
    Bytes,
    /// A complete valid data frame or ping, or a pong that matches a ping of ours.
    Message,
    /// Only a pong that matches a ping of ours.
    Pong,
}

/// When a ping that the grid calls for is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub enum PingWhen {
    /// Always.
    #[default]
    Always,
    /// Not when proof of life arrived within the last interval.
    Idle,
}

/// The built-in wires, and what their heartbeats default to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum WireKind {
    /// RFC 6455.
    #[cfg(feature = "websocket")]
    WebSocket,
    /// Text lines; `PING` is answered by `PONG`.
    Line,
    /// One-byte pings and pongs, length-prefixed data.
    Binary,
    /// No framing: a read-deadline guard for any protocol.
    Raw,
    /// An embedder's own [`Codec`](crate::proto::codec::Codec).
    Own,
}

impl WireKind {
    /// Returns the stable name.
    pub const fn label(self) -> &'static str {
        match self {
            #[cfg(feature = "websocket")]
            Self::WebSocket => "ws",
            Self::Line => "tcp",
            Self::Binary => "tcp+binary",
            Self::Raw => "tcp+raw",
            Self::Own => "own",
        }
    }

    /// Says whether a wire of this kind has pings of ours to send; of an own one its codec knows.
    pub(crate) const fn has_pings(self) -> bool {
        match self {
            #[cfg(feature = "websocket")]
            Self::WebSocket => true,
            Self::Line | Self::Binary => true,
            Self::Raw | Self::Own => false,
        }
    }

    /// Says whether this is RFC 6455.
    pub(crate) const fn is_websocket(self) -> bool {
        match self {
            #[cfg(feature = "websocket")]
            Self::WebSocket => true,
            Self::Line | Self::Binary | Self::Raw | Self::Own => false,
        }
    }
}

/// Heartbeats and deadlines of the connections of one listener or client.
///
/// `None` switches a deadline off. All times are at most [`HeartbeatConfig::LONGEST`] and are rounded
/// up to whole milliseconds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HeartbeatConfig {
    /// Time between pings. `None`: we only answer the peer's. TCP 10 s, WebSocket 30 s.
    pub interval: Option<Duration>,
    /// Silence after which the peer is dead; more than the interval, usually 2 to 3 times it. TCP
    /// 25 s, WebSocket 60 s.
    pub timeout: Option<Duration>,
    /// What counts as proof of life. Default: any byte.
    pub proof: Proof,
    /// Whether proof of life spares a ping. Default: no.
    pub ping_when: PingWhen,
    /// How far a ping may be moved either way to share a wake-up; less than a quarter of the
    /// interval. `None`: 1 % of the interval, at most 50 ms. Zero switches it off.
    pub ping_slack: Option<Duration>,
    /// How long queued output may make no progress. Default 10 s.
    pub write_timeout: Option<Duration>,
    /// Total time for TCP to connect, for a connection we dial. Default 5 s.
    pub connect_timeout: Duration,
    /// Total time for the opening handshake; arriving bytes do not extend it. A plain HTTP request before it
    /// takes its own: the time begins anew when its answer has left. Default 5 s.
    pub handshake_timeout: Duration,
    /// How long the peer may take to answer our goodbye, from when the kernel accepted its last byte;
    /// arriving bytes do not extend it. Where the peer broke a rule it is the total from then on, output
    /// included. Default 3 s.
    pub close_timeout: Duration,
    /// Total time for an orderly end, ours or the peer's, from its cause on. What is queued leaves first,
    /// as long as it makes progress; this bounds it, and the answer to it. Default 5 min.
    pub close_total: Duration,
    /// Time without progress of a message of the application, either way, after which we close. Bytes of
    /// an unfinished message that are read are progress, and bytes of messages that the kernel accepts;
    /// heartbeats are not. On a raw wire every byte is the application's, and on an own one every byte
    /// of an unfinished frame. While reading is paused nobody is idle, and the time starts over when it
    /// goes on. Default off.
    pub app_idle: Option<Duration>,
    /// Age at which we close, spread by ±10 % over connections. What is queued leaves first, as for
    /// `close_total`. Default off.
    pub max_lifetime: Option<Duration>,
}

impl HeartbeatConfig {
    /// The longest time any field accepts: 12 days, half of what a stamp of 32 bits can compare, so
    /// that two of them may be added.
    pub const LONGEST: Duration = Duration::from_secs(12 * 24 * 60 * 60);

    /// The defaults for a plain TCP wire: interval 10 s, timeout 25 s.
    pub const fn tcp() -> Self {
        Self::with_times(Duration::from_secs(10), Duration::from_secs(25))
    }

    /// The defaults for WebSocket: interval 30 s, timeout 60 s.
    pub const fn websocket() -> Self {
        Self::with_times(Duration::from_secs(30), Duration::from_secs(60))
    }

    /// The defaults for a wire. [`WireKind::Raw`] sends no pings.
    pub const fn for_wire(wire: WireKind) -> Self {
        match wire {
            #[cfg(feature = "websocket")]
            WireKind::WebSocket => Self::websocket(),
            WireKind::Line | WireKind::Binary | WireKind::Own => Self::tcp(),
            WireKind::Raw => Self {
                interval: None,
                ..Self::tcp()
            },
        }
    }

    const fn with_times(interval: Duration, timeout: Duration) -> Self {
        Self {
            interval: Some(interval),
            timeout: Some(timeout),
            proof: Proof::Bytes,
            ping_when: PingWhen::Always,
            ping_slack: None,
            write_timeout: Some(Duration::from_secs(10)),
            connect_timeout: Duration::from_secs(5),
            handshake_timeout: Duration::from_secs(5),
            close_timeout: Duration::from_secs(3),
            close_total: Duration::from_secs(5 * 60),
            app_idle: None,
            max_lifetime: None,
        }
    }

    /// Returns what is legal but unwise, in words for an operator.
    pub fn warnings(&self, tick: Duration) -> Vec<String> {
        let mut warnings = Vec::new();
        if let (Some(interval), Some(timeout)) = (self.interval, self.timeout)
            && timeout < interval * 2
        {
            warnings.push(format!(
                "timeout {timeout:?} is less than twice the interval {interval:?}: one lost answer \
                 ends a connection"
            ));
        }
        if let Some(interval) = self.interval
            && tick > interval / 10
        {
            warnings.push(format!(
                "tick {tick:?} is coarser than a tenth of the interval {interval:?}: pings bunch up"
            ));
        }
        warnings
    }
}

/// The defaults for a plain TCP wire.
impl Default for HeartbeatConfig {
    fn default() -> Self {
        Self::tcp()
    }
}

/// What happens to a message that the send queue has no room for, after the kernel was offered what waits
/// in it, was allowed to fill the socket's buffer, and took no more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub enum Overflow {
    /// The message is dropped and `send` says so.
    #[default]
    Drop,
    /// The connection is closed with `send_queue_full`.
    Close,
}

/// Limits for each connection of a listener or client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LimitsConfig {
    /// Largest message accepted, bytes. Default 16 MiB. Memory grows with bytes received, never with
    /// a length the peer declares.
    pub max_message: usize,
    /// Most bytes queued for output. What counts is what is left of each message, and the bookkeeping of
    /// each frame that waits: 9 bytes where it was copied (up to 16 KiB), 95 where it has storage of its
    /// own or shares it, as broadcasts do, whose bytes count in every queue. A message that fits with its
    /// own bytes is taken. A queue takes at most a quarter more memory than it counts, and 64 KiB; twice as
    /// much at most if it has been fuller. `None`: the larger of 1 MiB and twice `max_message`.
    pub send_queue: Option<usize>,
    /// What happens beyond `send_queue`. Default: the message is dropped.
    pub overflow: Overflow,
    /// Longer messages are sent in fragments of this many bytes, so that a ping or pong can go
    /// between them. Default 64 KiB.
    pub max_fragment: usize,
    /// Largest head of an HTTP request or response, bytes. Default 8 KiB.
    pub max_head: usize,
    /// Most header fields in a head. Default 64.
    pub max_headers: usize,
    /// Largest body of a plain HTTP request, bytes. Default 8 KiB; 0: none is read. A longer one is answered
    /// with 413.
    pub max_body: usize,
    /// Most plain HTTP requests answered on one connection, which closes behind the last. Default 100; 1:
    /// each needs a connection of its own.
    pub max_requests: u32,
    /// Pings a second from the peer that are tolerated, 1 to 1000; three seconds' worth at once.
    /// `None` switches the limit off. Default 100.
    pub pings_per_second: Option<u32>,
    /// Pongs a second that nobody asked for, likewise. Default 100.
    pub pongs_per_second: Option<u32>,
    /// Slowest rate for an unfinished message that is longer than 4 KiB, as it has come or was announced,
    /// bytes a second, judged after `slow_grace`. Zero switches it off. Default 1 KiB/s. A shorter one,
    /// such as a line that is typed letter by letter, has until `message_timeout`.
    pub slow_floor: u32,
    /// How long such a message may stay unfinished before its rate is judged, from when it is known to be
    /// longer than 4 KiB. Default 10 s.
    pub slow_grace: Duration,
    /// Total time for one message to arrive. Default 5 min.
    pub message_timeout: Option<Duration>,
}

impl Default for LimitsConfig {
    fn default() -> Self {
        Self {
            max_message: 16 * 1024 * 1024,
            send_queue: None,
            overflow: Overflow::Drop,
            max_fragment: 64 * 1024,
            max_head: 8 * 1024,
            max_headers: 64,
            max_body: 8 * 1024,
            max_requests: 100,
            pings_per_second: Some(100),
            pongs_per_second: Some(100),
            slow_floor: 1024,
            slow_grace: Duration::from_secs(10),
            message_timeout: Some(Duration::from_secs(5 * 60)),
        }
    }
}

/// Whom a listener lets in: most connections and handshakes, in all and for each address.
///
/// An address is an IPv4 address or the /64 prefix of an IPv6 one. Who is turned away ends as
/// [`refused`](crate::close::Cause::Refused); a WebSocket client is answered 429 where the limit is
/// its address's, 503 where it is the listener's, both with `Retry-After`. Other wires have no words for
/// it, and get a reset.
///
/// ```
/// use heartwheel::config::AdmissionConfig;
///
/// let admission = AdmissionConfig {
///     handshakes_per_second: Some(2_000),
///     ..AdmissionConfig::default()
/// };
/// assert_eq!(admission.open_per_address, Some(10_000));
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AdmissionConfig {
    /// Connections of one address that may be in their opening handshake at once, at most 65 535. The
    /// oldest of them makes way for one more, so that who only waits does not keep out who goes on; one
    /// whose answer is leaving makes none. `None` switches the limit off. Default 256.
    pub half_open_per_address: Option<u32>,
    /// Percent of the room that one address may hold while it is alone, 1 to 99, loopback included. It
    /// may hold at most so many times what is left for everyone, `p / (100 - p)`: with 94 % one address is
    /// left with 94 %, two with 48 % each, and there is always room for another. The room is
    /// [`ReactorConfig::max_connections`], or what descriptors allow (feature `sockets`); one for fewer
    /// than 128 is not shared out. `None` switches the limit off. Default 94.
    pub share_per_address: Option<u32>,
    /// Connections that one address may hold at once. `None` switches the limit off. Default 10 000,
    /// loopback aside.
    pub open_per_address: Option<u32>,
    /// New connections a second from one address, a second's worth at once; 1 to 1 000 000. `None`
    /// switches the limit off. Default 10 000, loopback aside.
    pub handshakes_per_address: Option<u32>,
    /// New connections a second on the listener from all addresses together, a second's worth at once;
    /// 1 to 1 000 000. `None` switches the limit off. Default off.
    pub handshakes_per_second: Option<u32>,
    /// Whether `open_per_address` and `handshakes_per_address` hold for loopback too, where proxies,
    /// tests and load generators come from. Default no.
    pub limit_loopback: bool,
}

impl Default for AdmissionConfig {
    fn default() -> Self {
        Self {
            half_open_per_address: Some(256),
            share_per_address: Some(94),
            open_per_address: Some(10_000),
            handshakes_per_address: Some(10_000),
            handshakes_per_second: None,
            limit_loopback: false,
        }
    }
}

/// Which web pages may open a WebSocket to a listener, and by which names of its own it answers.
///
/// Every page can make the browsers of its visitors connect to any address that they reach, one of
/// their own machine or network included: the browser does not prevent it, but says in `Origin` which
/// page it is (RFC 6455, section 10.2). A page whose own name leads to our address ("DNS rebinding")
/// has the right origin, but names itself in `Host`. Programs that are no browsers send no `Origin`,
/// and are not concerned.
///
/// An origin that may not come in is answered 403, a host 421; the connection ends as
/// [`refused`](crate::close::Cause::Refused) before the handler is asked. Hosts are looked at for plain
/// HTTP requests too.
///
/// ```
/// use heartwheel::config::WebConfig;
///
/// let web = WebConfig {
///     origins: vec!["https://app.example.com".into()],
///     hosts: vec!["example.com".into()],
///     ..WebConfig::default()
/// };
/// assert!(!web.any_origin);
/// ```
#[cfg(feature = "websocket")]
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct WebConfig {
    /// Whether pages of every origin may come in; for a public service that knows its users by other
    /// means than cookies or their address. Default no: only those whose host and port are the ones that
    /// the request itself names, and [`origins`](Self::origins).
    pub any_origin: bool,
    /// Other origins that may come in: `https://example.com`, `http://localhost:8080`, or `null` for
    /// pages without one, such as files and sandboxed frames. Default none.
    pub origins: Vec<String>,
    /// Whether the names of this machine for itself are allowed hosts, with any port: `localhost`, names
    /// below it, `127.0.0.0/8` and `[::1]`. For listeners on loopback. Default no.
    pub loopback_hosts: bool,
    /// Hosts that a request may name: `example.com` with any port, `example.com:8080`, `192.0.2.1`,
    /// `[2001:db8::1]`. Default none. Where this is empty and `loopback_hosts` is not set, any will do.
    pub hosts: Vec<String>,
}

/// The loop itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReactorConfig {
    /// Resolution of the timer wheel, whole milliseconds, 1 ms to 1 s. Default 10 ms. A finer tick
    /// costs wake-ups, a coarser one lateness.
    pub tick: Duration,
    /// Most connections held at once, half-open and dialed ones included, by all loops of a
    /// [`Group`](crate::reactor::Group) together; at most 67 108 864. Default 1 000 000. Room is
    /// reserved at start as untouched pages, which cost no memory. Fewer are accepted where the process
    /// may not open as many descriptors (feature `sockets`).
    pub max_connections: usize,
    /// Most events taken from one wait. Default 1024.
    pub events: usize,
    /// Most bytes read from one connection in one turn before others have theirs. Default 256 KiB.
    pub read_budget: usize,
    /// Most connections accepted from one listener in one turn. Default 256.
    pub accept_budget: usize,
    /// Most timers expired in one turn. Default 4096.
    pub expiry_budget: usize,
    /// Ends that are kept for [`Reactor::history`](crate::reactor::Reactor::history), about 250 bytes
    /// each once there are so many. Zero keeps none. Default 1000.
    pub history: usize,
    /// Fixes phases, masks and jitter, for tests. Default: from the system's randomness.
    pub seed: Option<u64>,
}

impl Default for ReactorConfig {
    fn default() -> Self {
        Self {
            tick: Duration::from_millis(10),
            max_connections: 1_000_000,
            events: 1024,
            read_budget: 256 * 1024,
            accept_budget: 256,
            expiry_budget: 4096,
            history: 1000,
            seed: None,
        }
    }
}

impl ReactorConfig {
    /// Checks every field.
    ///
    /// # Errors
    ///
    /// The first field that makes no sense, with the reason.
    pub fn check(&self) -> Result<(), ConfigError> {
        let millis = self.tick.as_millis();
        if self.tick != Duration::from_millis(u64::try_from(millis).unwrap_or(0))
            || !(1..=1_000).contains(&millis)
        {
            return Err(ConfigError::new(
                "tick",
                "must be whole milliseconds from 1ms to 1s",
            ));
        }
        for (field, value) in [
            ("max_connections", self.max_connections),
            ("events", self.events),
            ("read_budget", self.read_budget),
            ("accept_budget", self.accept_budget),
            ("expiry_budget", self.expiry_budget),
        ] {
            if value == 0 {
                return Err(ConfigError::new(field, "must not be zero"));
            }
        }
        if self.max_connections > 1 << 26 {
            return Err(ConfigError::new(
                "max_connections",
                "must be at most 67108864",
            ));
        }
        if self.events > MOST_EVENTS {
            return Err(ConfigError::new(
                "events",
                format!("must be at most {MOST_EVENTS}"),
            ));
        }
        Ok(())
    }
}

/// More events from one wait than this would only cost memory.
const MOST_EVENTS: usize = 1024 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_pass_their_own_check() {
        assert_eq!(ReactorConfig::default().check(), Ok(()));
    }

    #[test]
    fn a_tick_that_is_zero_or_fractional_is_refused_by_name() {
        for tick in [0, 1, 999, 1_500, 1_001_000] {
            let config = ReactorConfig {
                tick: Duration::from_micros(tick),
                ..ReactorConfig::default()
            };
            assert_eq!(config.check().map_err(|error| error.field()), Err("tick"));
        }
    }

    #[test]
    fn a_short_timeout_and_a_coarse_tick_are_warned_of() {
        let config = HeartbeatConfig {
            interval: Some(Duration::from_millis(50)),
            timeout: Some(Duration::from_millis(80)),
            ..HeartbeatConfig::default()
        };
        assert_eq!(config.warnings(Duration::from_millis(10)).len(), 2);
        assert_eq!(
            HeartbeatConfig::tcp()
                .warnings(Duration::from_millis(10))
                .len(),
            0
        );
    }
}
