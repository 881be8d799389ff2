//! Configuration: plain structs of public fields with defaults.
//!
//! Set the fields that you need and end with `..Default::default()`. A value is never clamped: a
//! value that makes no sense is a [`ConfigError`], which has the field's name and the reason.

use std::time::Duration;

use crate::error::ConfigError;
pub use crate::network::{Network, NetworkError};

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

/// When a scheduled ping is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub enum PingWhen {
    /// Always.
    #[default]
    Always,
    /// Only if no proof of life arrived within the last interval. A peer that falls silent right
    /// after that is found up to one interval later than with `Always`.
    Idle,
}

/// The built-in wires. Each has its own default heartbeat.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum WireKind {
    /// RFC 6455.
    #[cfg(feature = "websocket")]
    WebSocket,
    /// Text lines; `PING` is answered by `PONG`.
    Line,
    /// One-byte pings and pongs, length-prefixed data.
    Binary,
    /// No framing: for any protocol, of which only the read deadline is checked.
    Raw,
    /// The embedder's own [`Codec`](crate::proto::codec::Codec).
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

    /// Says whether we can send pings on this wire. For an own wire, ask its codec.
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
/// `None` switches a deadline off. A time is at most [`HeartbeatConfig::LONGEST`] and is rounded up
/// to whole milliseconds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HeartbeatConfig {
    /// Time between pings. `None`: we send no pings and only answer those of the peer. Default 10 s
    /// on TCP, 30 s on WebSocket.
    pub interval: Option<Duration>,
    /// Silence after which the peer is dead. Must be longer than the interval; 2 to 3 intervals are
    /// usual. Default 25 s on TCP, 60 s on WebSocket.
    pub timeout: Option<Duration>,
    /// What counts as proof of life. Default: any byte.
    pub proof: Proof,
    /// Whether to skip a ping when proof of life arrived within the last interval. Default: no.
    pub ping_when: PingWhen,
    /// How far a ping may move, earlier or later, so that several pings share a wake-up. Must be
    /// less than a quarter of the interval. `None`: 1 % of the interval, at most 50 ms. Zero
    /// switches it off.
    pub ping_slack: Option<Duration>,
    /// Longest time that queued output may make no progress. Default 10 s.
    pub write_timeout: Option<Duration>,
    /// Total time to establish TCP, for a connection that we dial. Default 5 s.
    pub connect_timeout: Duration,
    /// Total time for the opening handshake; arriving bytes do not extend it. Each plain HTTP
    /// request has the same time: it starts again when the answer to the previous request has left.
    /// Default 5 s.
    pub handshake_timeout: Duration,
    /// Longest time for the peer to answer our goodbye, counted from when the kernel accepted the
    /// last byte of it. Arriving bytes do not extend it. If the peer broke a rule, it is the total
    /// time from that moment, output included. Default 3 s.
    pub close_timeout: Duration,
    /// Total time for an orderly end, ours or the peer's, counted from its cause. Queued output
    /// leaves first, as long as it makes progress. This time limits both the output and the peer's
    /// answer. Default 5 min.
    pub close_total: Duration,
    /// Closes a connection after this time without progress of an application message in either
    /// direction. Default off.
    ///
    /// Progress is: bytes read of an unfinished message, and bytes of messages that the kernel
    /// accepts. Heartbeats are not progress. On a raw wire every byte is application data; on an
    /// own wire every byte of an unfinished frame is. While reading is paused, the time does not
    /// run. It starts again from zero when reading resumes.
    pub app_idle: Option<Duration>,
    /// Age at which we close a connection, spread by ±10 % over the connections. Queued output
    /// leaves first, within `close_total`. Default off.
    pub max_lifetime: Option<Duration>,
}

impl HeartbeatConfig {
    /// The longest time that any field accepts: 12 days. That is half of what a 32-bit stamp can
    /// compare, so that two such times can be added.
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

    /// Returns how far a ping may move, so that pings share a wake-up: [`ping_slack`](Self::ping_slack), or what
    /// follows from the interval. `None`, if nothing is pinged or no ping may move.
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// use heartwheel::config::HeartbeatConfig;
    ///
    /// assert_eq!(HeartbeatConfig::websocket().slack(), Some(Duration::from_millis(50)));
    /// ```
    pub fn slack(&self) -> Option<Duration> {
        let interval = self.interval?;
        let usual = (interval / 100).min(Duration::from_millis(50));
        Some(self.ping_slack.unwrap_or(usual)).filter(|slack| !slack.is_zero())
    }

    /// Returns a warning, for an operator, about each setting that is allowed but risky.
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

/// What happens to a message when the send queue is full.
///
/// Before that, the queue is offered to the kernel, which may fill the socket's buffer. The queue
/// is full only if there is still no room afterwards.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub enum Overflow {
    /// The message is dropped and `send` returns an error.
    #[default]
    Drop,
    /// The connection is closed with `send_queue_full`.
    Close,
}

/// What happens when a peer sends more than `messages_per_second` or `bytes_per_second` allows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub enum Excess {
    /// Nothing is read from the connection until the limit allows more. What the peer sends
    /// meanwhile waits in its own and in our kernel, and does not count against it: see
    /// [`Context::pause`](crate::reactor::Context::pause).
    #[default]
    Pause,
    /// The connection is closed with `rate_limited`. The message that was too much is dropped.
    Close,
}

/// Limits for each connection of a listener or client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LimitsConfig {
    /// Largest message accepted, bytes. Default 16 MiB. Memory grows with the bytes received, never
    /// with a length that the peer declares.
    pub max_message: usize,
    /// Size of the send queue, bytes. `None`: the larger of 1 MiB and twice `max_message`.
    ///
    /// The queue counts the unsent bytes of each message, plus bookkeeping for each waiting frame:
    /// 9 bytes for a frame that was copied (up to 16 KiB), 95 bytes for one with its own or shared
    /// storage. The bytes of a broadcast are shared, but count in every queue. A message is
    /// accepted if its own bytes fit. A queue uses at most a quarter more memory than it counts,
    /// plus 64 KiB. If it was fuller before, it uses at most twice as much.
    pub send_queue: Option<usize>,
    /// What happens when the send queue is full. Default: drop the message.
    pub overflow: Overflow,
    /// A longer message is sent in fragments of this many bytes, so that a ping or pong can go
    /// between them. Default 64 KiB.
    pub max_fragment: usize,
    /// Largest head of an HTTP request or response, or frame of a codec's handshake, bytes. Default 8
    /// KiB.
    pub max_head: usize,
    /// Most header fields in a head. Default 64.
    pub max_headers: usize,
    /// Largest body of a plain HTTP request, bytes. A longer one is answered with 413. Zero:
    /// requests with a body are answered with 413. Default 8 KiB.
    pub max_body: usize,
    /// Most plain HTTP requests answered on one connection. It closes after the last answer. With
    /// 1, each request needs its own connection. Default 100.
    pub max_requests: u32,
    /// Most pings a second that the peer may send, 1 to 1000. Three seconds' worth may come at
    /// once. `None` switches the limit off. Default 100.
    pub pings_per_second: Option<u32>,
    /// Most unsolicited pongs a second that the peer may send, 1 to 1000. Three seconds' worth may
    /// come at once. `None` switches the limit off. Default 100.
    pub pongs_per_second: Option<u32>,
    /// Most complete messages a second that the peer may send, 1 to 1 000 000. One second's worth
    /// may come at once. On a raw wire, each read is a message. `None` switches the limit off.
    /// Default off.
    ///
    /// A handler that sends a message on to many needs this limit: a peer pays for a few bytes,
    /// and the loop for each recipient. A message that never ends does not count; limit the bytes
    /// too. While something is owed, a limit takes 100 bytes of memory for the connection.
    pub messages_per_second: Option<u32>,
    /// Most bytes a second that the peer may send in frames of every kind, at least 1024. One
    /// second's worth may come at once, and up to 64 KiB that are read with it. Answers to our
    /// pings do not count. `None` switches the limit off. Default off.
    pub bytes_per_second: Option<u32>,
    /// What happens when the peer sends more. Default: reading pauses.
    pub excess: Excess,
    /// Slowest rate for an unfinished message longer than 4 KiB, bytes a second. A message is
    /// longer than 4 KiB if it announced that length or if so many bytes arrived. The rate is
    /// judged after `slow_grace`. Zero switches it off. Default 1 KiB/s.
    ///
    /// A shorter message, such as a line typed letter by letter, has until `message_timeout`.
    ///
    /// It is also the slowest rate at which a full send queue may drain. From when a message found no
    /// room until no message is queued, so many bytes a second must leave, on average over each
    /// `slow_grace`, or over each [`write_timeout`](HeartbeatConfig::write_timeout) if that is longer.
    /// Bytes that the peer sends change nothing about that.
    pub slow_floor: u32,
    /// How long such a message may stay unfinished before its rate is judged. The time starts when
    /// the message is known to be longer than 4 KiB. Default 10 s.
    pub slow_grace: Duration,
    /// Total time for one message to arrive. `None` switches the limit off. Default 5 min.
    pub message_timeout: Option<Duration>,
    /// Whether WebSocket messages may be compressed, and how. `None`: never, and a peer that offers it
    /// is declined. Default `None`: it costs processor time to save bandwidth.
    #[cfg(feature = "deflate")]
    pub deflate: Option<DeflateConfig>,
}

impl LimitsConfig {
    /// Returns the limit of the send queue, bytes: [`send_queue`](Self::send_queue), or what follows from the largest
    /// message.
    pub fn queue(&self) -> usize {
        let usual = self.max_message.saturating_mul(2).max(1024 * 1024);
        self.send_queue.unwrap_or(usual)
    }
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
            messages_per_second: None,
            bytes_per_second: None,
            excess: Excess::Pause,
            slow_floor: 1024,
            slow_grace: Duration::from_secs(10),
            message_timeout: Some(Duration::from_secs(5 * 60)),
            #[cfg(feature = "deflate")]
            deflate: None,
        }
    }
}

/// How WebSocket messages are compressed: permessage-deflate (RFC 7692).
///
/// Both sides must agree, in the opening handshake. A server accepts the first offer that it can
/// fulfil, and a client fails the connection if the answer does not fit its offer. Each message is
/// compressed for itself, unless *context takeover* was agreed: then a message may refer to those
/// before it, which makes small ones that are alike much smaller. For that, each connection keeps the
/// end of what it received, up to 32 KiB, and 4 KiB of what it sent. Without it, an idle connection
/// needs no memory for compression: each loop has one compressor (380 KB) and one decompressor (48
/// KB) for all of them.
///
/// The limit `max_message` is for the message as it was before compression. It is obeyed while the
/// message is inflated, so a message that would become too long ends the connection as
/// [`message_too_big`](crate::close::Cause::MessageTooBig), at no more cost than one that just fits.
///
/// ```
/// use heartwheel::config::{DeflateConfig, LimitsConfig};
///
/// let limits = LimitsConfig {
///     deflate: Some(DeflateConfig {
///         threshold: 1024,
///         ..DeflateConfig::default()
///     }),
///     ..LimitsConfig::default()
/// };
/// assert!(limits.deflate.is_some_and(|deflate| !deflate.takeover));
/// ```
#[cfg(feature = "deflate")]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct DeflateConfig {
    /// 1 for the fastest to 9 for the smallest. Default 2: on JSON it saves within three percent of
    /// what 6 saves, and takes a third of the time where messages are long.
    pub level: u8,
    /// Messages shorter than this are not compressed, bytes. Default 256: of a shorter message that
    /// stands alone less than half can be saved, and that takes some 10 µs. With `takeover` a lower one
    /// can be worth it. What does not become shorter is sent as it is anyhow.
    pub threshold: usize,
    /// Messages longer than this are not compressed, bytes: no other connection has its turn while one
    /// is compressed, for some 6 ms for each MiB. Default 1 MiB.
    pub longest: usize,
    /// Whether our messages may refer to earlier ones, if the peer agrees: to the last 4 KiB of them. Each
    /// then takes some 40 µs more to compress. Default no.
    pub takeover: bool,
    /// Whether the peer's messages may refer to earlier ones. Default no: the peer is then asked not to.
    pub peer_takeover: bool,
    /// How far back our messages refer at most, 9 to 15: two to the power of this, bytes. Default 15. The
    /// peer may ask for less.
    pub window_bits: u8,
    /// How far back the peer's messages may refer, 8 to 15, if it can be asked for less than 15. Default
    /// 15. It matters only with `peer_takeover`.
    pub peer_window_bits: u8,
}

#[cfg(feature = "deflate")]
impl Default for DeflateConfig {
    fn default() -> Self {
        Self {
            level: 2,
            threshold: 256,
            longest: 1024 * 1024,
            takeover: false,
            peer_takeover: false,
            window_bits: 15,
            peer_window_bits: 15,
        }
    }
}

#[cfg(feature = "deflate")]
impl DeflateConfig {
    /// Checks every field.
    ///
    /// # Errors
    ///
    /// The first field that makes no sense, with the reason.
    pub fn check(&self) -> Result<(), ConfigError> {
        for (field, value, least, most) in [
            ("level", self.level, 1, 9),
            ("window_bits", self.window_bits, 9, 15),
            ("peer_window_bits", self.peer_window_bits, 8, 15),
        ] {
            if !(least..=most).contains(&value) {
                let reason = format!("must be from {least} to {most}");
                return Err(ConfigError::new(field, reason));
            }
        }
        Ok(())
    }
}

/// Limits on who may connect to a listener: connections and handshakes, in total and for each
/// address.
///
/// An address is an IPv4 address or the /64 prefix of an IPv6 address. A connection beyond a limit
/// ends as [`refused`](crate::close::Cause::Refused). A WebSocket client is answered 429 if the
/// limit is one of its address, and 503 if it is one of the listener; both have `Retry-After`. On
/// other wires the connection is reset.
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
    /// Most opening handshakes of one address at once, at most 65 535. When one more comes, the
    /// oldest is closed, so that idle connections do not keep others out. A connection whose answer
    /// is leaving is not closed for this. `None` switches the limit off. Default 256.
    pub half_open_per_address: Option<u32>,
    /// Percent `p` of all places that one address may hold while no other address is connected, 1
    /// to 99, loopback included. `None` switches the limit off. Default 94.
    ///
    /// One address may hold at most `p / (100 - p)` times the places that are still free. So with
    /// 94 %, one address can hold 94 %, two can hold 48 % each, and there is always a free place.
    /// The number of places is [`ReactorConfig::max_connections`], or fewer if there are not enough
    /// descriptors (feature `sockets`). With fewer than 128 places this limit is off.
    pub share_per_address: Option<u32>,
    /// Most connections of one address at once. Loopback is exempt, see `limit_loopback`. `None`
    /// switches the limit off. Default 10 000.
    pub open_per_address: Option<u32>,
    /// Most new connections a second from one address, 1 to 1 000 000; one second's worth may come
    /// at once. Loopback is exempt, see `limit_loopback`. `None` switches the limit off. Default 10
    /// 000.
    pub handshakes_per_address: Option<u32>,
    /// Most new connections a second on the listener, from all addresses together, 1 to 1 000 000;
    /// one second's worth may come at once. `None` switches the limit off. Default off.
    pub handshakes_per_second: Option<u32>,
    /// Whether `open_per_address` and `handshakes_per_address` apply to loopback too. Proxies,
    /// tests and load generators often connect from loopback. Default no.
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

/// Proxies in front of a listener, and whether to believe what they say about the address of a client.
///
/// The client's address then stands in callbacks, records and limits, and
/// [`PeerAddr::proxy`](crate::PeerAddr::proxy) returns that of the proxy. Limits for each address do
/// not apply to the proxy's own: neither before the client is known, nor for connections that are the
/// proxy's own, such as health checks.
///
/// Whoever is believed can claim any address. So the proxies must be named, or be the only ones who
/// reach the listener.
///
/// ```
/// use heartwheel::config::ProxyConfig;
/// use heartwheel::reactor::{ListenerConfig, WireFactory};
///
/// let mut config = ListenerConfig::new("127.0.0.1:0".parse()?, WireFactory::Line);
/// config.proxy = ProxyConfig {
///     protocol: true,
///     trusted: vec!["10.0.0.0/8".parse()?],
/// };
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct ProxyConfig {
    /// Whether each connection from a trusted address begins with a header of the PROXY protocol,
    /// version 1 or 2. Default no.
    ///
    /// The header has the handshake timeout, together with the opening handshake behind it. A
    /// connection without a sound header ends with cause `protocol_error`, or `handshake_timeout`.
    /// The bytes behind the header belong to the wire. Where this is off, and for addresses that are
    /// not trusted, a header is nothing special: the wire refuses it.
    pub protocol: bool,
    /// The addresses of proxies. Default none.
    ///
    /// With [`protocol`](Self::protocol), none means that whoever connects is believed. A client
    /// that came through a Unix socket has no IP address and is in no network.
    ///
    /// On a WebSocket listener, the fields `Forwarded` (RFC 7239) and `X-Forwarded-For` of requests
    /// from these addresses, and from no others, are believed too; see
    /// `proto::http::client_of` for the rule. A request whose fields are malformed
    /// or contradict each other is answered 400 and ends with cause `protocol_error`: to go on with
    /// the proxy's address would let clients escape their limits. On a connection that the proxy keeps
    /// for several requests, each has its own client.
    pub trusted: Vec<Network>,
}

/// Which web pages may open a WebSocket to a listener, and which host names a request may use.
///
/// Any web page can make the browsers of its visitors connect to any address that they reach,
/// including their own machine and network. The browser does not prevent this. It only says in
/// `Origin` which page asks (RFC 6455, section 10.2), and [`origins`](Self::origins) checks that.
/// In an attack by "DNS rebinding", the name of the page leads to our address. Such a page has the
/// right origin, but the request's `Host` is its own name, and [`hosts`](Self::hosts) checks that.
/// Programs other than browsers send no `Origin`; the origin is not checked for them.
///
/// A page of another origin is answered 403, a request for another host 421. The connection ends as
/// [`refused`](crate::close::Cause::Refused) before the handler is asked. The host is checked for
/// plain HTTP requests too.
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
    /// Whether pages of every origin may connect. Use this for a public service that does not
    /// identify its users by cookies or by their address. Default no: a page may connect if its
    /// host and port are those of the request's `Host`, or if its origin is in
    /// [`origins`](Self::origins).
    pub any_origin: bool,
    /// Other origins that may connect: `https://example.com`, `http://localhost:8080`, or `null`
    /// for pages without an origin, such as files and sandboxed frames. Default none.
    pub origins: Vec<String>,
    /// Whether a request may use a name of loopback as its host, with any port: `localhost`, names
    /// below it, `127.0.0.0/8` and `[::1]`. For listeners on loopback. Default no.
    pub loopback_hosts: bool,
    /// Hosts that a request may name: `example.com` (any port), `example.com:8080`, `192.0.2.1`,
    /// `[2001:db8::1]`. Default none. If this is empty and `loopback_hosts` is false, any host is
    /// accepted.
    pub hosts: Vec<String>,
}

/// Settings of the loop itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReactorConfig {
    /// Resolution of the timer wheel, whole milliseconds, 1 ms to 1 s. Default 10 ms. A finer tick
    /// costs more wake-ups; with a coarser tick, timers fire later.
    pub tick: Duration,
    /// Most connections at once, at most 67 108 864. All loops of a
    /// [`Group`](crate::reactor::Group) count together; half-open and dialed connections count too.
    /// Default 1 000 000. Memory is reserved at start as untouched pages, which cost nothing. If
    /// the process may not open as many descriptors, fewer connections are accepted (feature
    /// `sockets`).
    pub max_connections: usize,
    /// Most events taken from one wait, at most 1 048 576. Default 1024.
    pub events: usize,
    /// Most bytes read from one connection in one turn, so that other connections get their turn.
    /// Default 256 KiB.
    pub read_budget: usize,
    /// Most connections accepted from one listener in one turn. Default 256.
    pub accept_budget: usize,
    /// Most timers expired in one turn. Default 4096.
    pub expiry_budget: usize,
    /// Most bytes of memory that connections may hold for messages in transit, at least 1 MiB: storage
    /// of received bytes, unfinished messages, send queues, what the embedder
    /// [holds](crate::reactor::Context::set_held) for them, and their
    /// [subscriptions](crate::reactor::Context::subscribe). `None`, the default, sets no limit: a
    /// library cannot know what else the process needs. Each loop of a
    /// [`Group`](crate::reactor::Group) has an equal share.
    ///
    /// From three quarters on, reading from connections that hold more than the average stops, for up
    /// to a second at a time. At the limit, the connection that holds most (to within a quarter) ends
    /// as [`memory_limit`](crate::close::Cause::MemoryLimit), and the next, until it fits.
    /// Connections that hold nothing are not concerned.
    ///
    /// The limit does not include the connections themselves, at most 160 bytes each, the 256 KiB
    /// of free buffers that each loop keeps, what the allocator adds, or the kernel's buffers. A
    /// [broadcast](crate::reactor::Context::broadcast) counts from when the first queue holds it; each
    /// loop has at most 16 MiB of others, or one that is longer.
    pub memory_limit: Option<usize>,
    /// Most connections that one turn hands [broadcasts](crate::reactor::Context::broadcast) to. It
    /// stops earlier after 2 ms. Default 1024.
    pub broadcast_budget: usize,
    /// Most connections that may wait at once for a handler that decides
    /// [later](crate::reactor::Decision::Later). One more is refused: answered 503 with `Retry-After`
    /// on a WebSocket listener. Each loop of a [`Group`](crate::reactor::Group) has its own. Each
    /// one holds its request, at most 16 KiB by default. A peer that has gone may hold its place until its
    /// handshake timeout; one address holds at most
    /// [`half_open_per_address`](AdmissionConfig::half_open_per_address) of them. Default 1000: enough for
    /// 10 000 a second if each waits for 100 ms.
    pub max_deferred: usize,
    /// How many ends [`Reactor::history`](crate::reactor::Reactor::history) keeps, about 250 bytes
    /// each. Zero keeps none. Default 1000.
    pub history: usize,
    /// Seed for phases, masks and jitter, for tests. Default: the system's random numbers.
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
            memory_limit: None,
            broadcast_budget: 1024,
            max_deferred: 1000,
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
            ("broadcast_budget", self.broadcast_budget),
            ("max_deferred", self.max_deferred),
        ] {
            if value == 0 {
                return Err(ConfigError::new(field, "must not be zero"));
            }
        }
        if self.memory_limit.is_some_and(|limit| limit < LEAST_MEMORY) {
            return Err(ConfigError::new("memory_limit", "must be at least 1MiB"));
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

/// The least memory for all connections: some large buffers.
const LEAST_MEMORY: usize = 1024 * 1024;

/// The most events from one wait; more would only cost memory.
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
    fn a_memory_limit_below_a_mebibyte_is_refused_by_name() {
        for (limit, field) in [(0, Some("memory_limit")), (1 << 20, None)] {
            let config = ReactorConfig {
                memory_limit: Some(limit),
                ..ReactorConfig::default()
            };
            assert_eq!(config.check().err().map(|error| error.field()), field);
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
