//! Flags that several commands share, and what they mean for a wire.

use std::time::Duration;

use clap::{Args, ValueEnum};
use heartwheel::config::{
    AdmissionConfig, DeflateConfig, Excess, HeartbeatConfig, LimitsConfig, Network, Overflow,
    PingWhen, Proof, ProxyConfig, WebConfig, WireKind,
};
use heartwheel::proto::policy::Policy;
use heartwheel::reactor::{Keepalive, SocketOptions};

use crate::values::{
    ANY, Switch, byte_rate, byte_rate_or_off, count, count_or_off, host, keepalive_or_off, network,
    origin, show_time, size, time, time_or_off,
};
use crate::{Failure, complain};

/// Heartbeats and deadlines.
#[derive(Clone, Debug, Default, Args)]
#[command(next_help_heading = "Heartbeat (times: 250ms 30s 5m, or off)")]
pub(crate) struct HeartbeatFlags {
    /// Time between pings. Without --timeout, the timeout is 2.5 times this [default: serve 30s on
    /// ws and 10s on tcp, connect 5s]
    #[arg(long, value_name = "TIME", value_parser = time_or_off)]
    interval: Option<Switch<Duration>>,

    /// Silence after which a peer is dead. Without --interval, the interval is 0.4 times this
    /// [default: serve 60s on ws and 25s on tcp, connect 12.5s]
    #[arg(long, value_name = "TIME", value_parser = time_or_off)]
    timeout: Option<Switch<Duration>>,

    /// What counts as proof that a peer is alive [default: bytes]
    #[arg(long, value_name = "WHAT")]
    proof: Option<ProofFlag>,

    /// When a scheduled ping is sent [default: always]
    #[arg(long, value_name = "WHEN")]
    ping_when: Option<PingWhenFlag>,

    /// How far a ping may move, so that pings share a wake-up [default: 1 % of the interval, at
    /// most 50ms]
    #[arg(long, value_name = "TIME", value_parser = time_or_off)]
    ping_slack: Option<Switch<Duration>>,

    /// Longest time that output may make no progress [default: 10s]
    #[arg(long, value_name = "TIME", value_parser = time_or_off)]
    write_timeout: Option<Switch<Duration>>,

    /// Total time for the opening handshake [default: 5s]
    #[arg(long, value_name = "TIME", value_parser = time)]
    handshake_timeout: Option<Duration>,

    /// Time for the peer to answer our goodbye, counted from when it has left [default: 3s]
    #[arg(long, value_name = "TIME", value_parser = time)]
    close_timeout: Option<Duration>,

    /// Total time for an orderly end, including queued output [default: 5m]
    #[arg(long, value_name = "TIME", value_parser = time)]
    close_total: Option<Duration>,

    /// Close a connection after this time without progress of a message in either direction
    /// [default: off]
    #[arg(long, value_name = "TIME", value_parser = time_or_off)]
    app_idle: Option<Switch<Duration>>,

    /// Close a connection at this age, plus or minus 10 % [default: off]
    #[arg(long, value_name = "TIME", value_parser = time_or_off)]
    max_lifetime: Option<Switch<Duration>>,
}

/// Limits on sizes and rates.
#[derive(Clone, Debug, Default, Args)]
#[command(next_help_heading = "Limits (sizes: 65536 64KiB 16MiB)")]
pub(crate) struct LimitFlags {
    /// Largest message accepted [default: 1MiB for serve, 16MiB for connect]
    #[arg(long, value_name = "SIZE", value_parser = size)]
    max_message: Option<usize>,

    /// Most bytes queued for one peer [default: 2 times --max-message, at least 1MiB]
    #[arg(long, value_name = "SIZE", value_parser = size)]
    send_queue: Option<usize>,

    /// When the send queue is full: drop the message, or close the connection. An echo waits
    /// instead of dropping [default: drop]
    #[arg(long, value_name = "WHAT")]
    overflow: Option<OverflowFlag>,

    /// Most pings a second from a peer, or off. Three seconds' worth may come at once [default:
    /// 100]
    #[arg(long, value_name = "RATE", value_parser = count_or_off)]
    pings_per_second: Option<Switch<u32>>,

    /// Most unsolicited pongs a second from a peer, or off. Three seconds' worth may come at once
    /// [default: 100]
    #[arg(long, value_name = "RATE", value_parser = count_or_off)]
    pongs_per_second: Option<Switch<u32>>,

    /// Most messages a second from a peer, or off. One second's worth may come at once [default: off,
    /// serve --mode broadcast 10]
    #[arg(long, value_name = "RATE", value_parser = count_or_off)]
    messages_per_second: Option<Switch<u32>>,

    /// Most bytes a second from a peer, at least 1KiB, or off. One second's worth may come at once
    /// [default: off]
    #[arg(long, value_name = "SIZE", value_parser = byte_rate_or_off)]
    bytes_per_second: Option<Switch<u32>>,

    /// When a peer sends more than that: pause reading, or close the connection [default: pause]
    #[arg(long, value_name = "WHAT")]
    excess: Option<ExcessFlag>,

    /// Slowest rate, in bytes a second, of an unfinished message above 4KiB, and of a peer that reads a
    /// full send queue, or off [default: 1KiB]
    #[arg(long, value_name = "SIZE", value_parser = byte_rate)]
    slow_floor: Option<u32>,

    /// How long such a message may be unfinished, or the queue be full, before the rate is judged
    /// [default: 10s]
    #[arg(long, value_name = "TIME", value_parser = time)]
    slow_grace: Option<Duration>,

    /// Total time for one message to arrive, or off [default: 5m]
    #[arg(long, value_name = "TIME", value_parser = time_or_off)]
    message_timeout: Option<Switch<Duration>>,

    /// Send longer messages in fragments of this size, so that pings can go between them [default:
    /// 64KiB]
    #[arg(long, value_name = "SIZE", value_parser = size)]
    max_fragment: Option<usize>,

    /// Largest head of an opening handshake [default: 8KiB]
    #[arg(long, value_name = "SIZE", value_parser = size)]
    max_head: Option<usize>,

    /// Most header lines in an opening handshake [default: 64]
    #[arg(long, value_name = "N", value_parser = count)]
    max_headers: Option<usize>,

    /// Largest body of a plain HTTP request [default: 8KiB]
    #[arg(long, value_name = "SIZE", value_parser = size)]
    max_body: Option<usize>,

    /// Most plain HTTP requests on one connection [default: 100]
    #[arg(long, value_name = "N")]
    max_requests: Option<u32>,

    /// Compress WebSocket messages for peers that agree (permessage-deflate), and accept compressed ones.
    /// --max-message is for the message as it was before
    #[arg(long)]
    deflate: bool,

    /// Do not compress shorter messages [default: 256]
    #[arg(long, value_name = "SIZE", value_parser = size)]
    deflate_threshold: Option<usize>,

    /// Compress faster (1) or smaller (9) [default: 2]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u8).range(1..=9))]
    deflate_level: Option<u8>,

    /// Let messages refer to earlier ones, if the peer agrees: small ones that are alike become much smaller,
    /// and a connection takes up to 36KiB more memory
    #[arg(long)]
    deflate_takeover: bool,
}

/// Timeouts of the kernel.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Kernel (both end a connection as path_dead)")]
pub(crate) struct SocketFlags {
    /// Time after which the kernel gives up if sent bytes stay unacknowledged. With off, the kernel
    /// gives up after about 15 minutes
    #[arg(long, value_name = "TIME", value_parser = time_or_off, default_value = "off")]
    tcp_user_timeout: Switch<Duration>,

    /// Let the kernel probe an idle connection: 30s, or 30s,5s,3 for 3 probes at intervals of 5s, or
    /// off. Whole seconds only
    #[arg(
        long,
        value_name = "IDLE[,INTERVAL[,PROBES]]",
        value_parser = keepalive_or_off,
        default_value = "off"
    )]
    tcp_keepalive: Switch<Keepalive>,
}

/// Load balancers in front of the listeners.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Behind a proxy")]
pub(crate) struct ProxyFlags {
    /// Each connection begins with a header of the PROXY protocol, version 1 or 2. Without
    /// --trust-proxy, whoever connects is believed: only proxies must reach the listeners
    #[arg(long)]
    proxy_protocol: bool,

    /// Believe a proxy at this address, or in this network, about the addresses of its clients: in that
    /// header, and in the fields Forwarded and X-Forwarded-For of requests to WebSocket listeners (may be
    /// repeated)
    #[arg(long, value_name = "CIDR", value_parser = network)]
    trust_proxy: Vec<Network>,
}

/// Limits on who may connect.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Admission (an IPv6 address stands for its /64 prefix)")]
pub(crate) struct AdmissionFlags {
    /// Most opening handshakes at once from one address, or off. One more closes the oldest
    #[arg(long, value_name = "N", value_parser = count_or_off, default_value = "256")]
    half_open_per_address: Switch<u32>,

    /// Percent of all connections that one address may hold while no other address is connected, or
    /// off
    #[arg(long, value_name = "PERCENT", value_parser = count_or_off, default_value = "94")]
    share_per_address: Switch<u32>,

    /// Most connections at once from one address, or off. Loopback is exempt
    #[arg(long, value_name = "N", value_parser = count_or_off, default_value = "10000")]
    open_per_address: Switch<u32>,

    /// Most new connections a second from one address, or off. Loopback is exempt
    #[arg(long, value_name = "RATE", value_parser = count_or_off, default_value = "10000")]
    handshakes_per_address: Switch<u32>,

    /// Most new connections a second on each listener, from all addresses, or off
    #[arg(long, value_name = "RATE", value_parser = count_or_off, default_value = "off")]
    handshakes_per_second: Switch<u32>,

    /// Apply the limits of an address to loopback too
    #[arg(long)]
    limit_loopback: bool,
}

/// Which web pages may connect, and which host names a request may use.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Web pages that connect (WebSocket)")]
pub(crate) struct WebFlags {
    /// Accept pages of this origin, in addition to pages of the request's own host: such as
    /// https://example.com, null for files, or any (may be repeated)
    #[arg(long, value_name = "ORIGIN", value_parser = origin)]
    origin: Vec<String>,

    /// Accept only requests for this host, such as example.com, or any (may be repeated). Without
    /// this flag and without an address to listen on, only names of loopback are accepted
    #[arg(long, value_name = "NAME", value_parser = host)]
    allow_host: Vec<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum ProofFlag {
    /// Any byte
    Bytes,
    /// A complete message, a ping, or an answer to our ping
    Message,
    /// Only an answer to our ping
    Pong,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum PingWhenFlag {
    /// At every interval
    Always,
    /// Only if no proof of life arrived within the interval
    Idle,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum OverflowFlag {
    /// Drop the message
    Drop,
    /// Close the connection
    Close,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum ExcessFlag {
    /// Read nothing until the limit allows more
    Pause,
    /// Close the connection
    Close,
}

impl HeartbeatFlags {
    /// Returns the heartbeat for a wire: the flags that were given, over `base`.
    ///
    /// A raw wire has no pings. Its interval is off, whatever the flags say.
    pub(crate) fn heartbeat(
        &self,
        wire: WireKind,
        base: HeartbeatConfig,
    ) -> Result<HeartbeatConfig, Failure> {
        let (interval, timeout) = self.times(&base)?;
        let mut config = base;
        config.interval = interval.filter(|_| wire != WireKind::Raw);
        config.timeout = timeout;
        if let Some(proof) = self.proof {
            if wire == WireKind::Raw && proof != ProofFlag::Bytes {
                return Err(Failure::usage(
                    "--proof must be bytes on a raw wire, which has neither messages nor pongs; \
                     leave out --proof or the raw wire",
                ));
            }
            config.proof = proof.into();
        }
        if config.proof == Proof::Pong && config.interval.is_none() {
            return Err(Failure::usage(
                "--proof pong needs pings, and --interval is off; give an interval, or \
                 --proof message",
            ));
        }
        if let Some(when) = self.ping_when {
            config.ping_when = when.into();
        }
        // Off means none of it here: the library's `None` is its default.
        if let Some(Switch(slack)) = self.ping_slack {
            config.ping_slack = Some(slack.unwrap_or_default());
        }
        if let Some(Switch(time)) = self.write_timeout {
            config.write_timeout = time;
        }
        if let Some(time) = self.handshake_timeout {
            config.handshake_timeout = time;
        }
        if let Some(time) = self.close_timeout {
            config.close_timeout = time;
        }
        if let Some(time) = self.close_total {
            config.close_total = time;
        }
        if let Some(Switch(time)) = self.app_idle {
            config.app_idle = time;
        }
        if let Some(Switch(time)) = self.max_lifetime {
            config.max_lifetime = time;
        }
        Ok(config)
    }

    /// Returns interval and timeout. If only one of the two flags was given, the other time follows
    /// from it.
    fn times(
        &self,
        base: &HeartbeatConfig,
    ) -> Result<(Option<Duration>, Option<Duration>), Failure> {
        for (flag, typed) in [("--interval", self.interval), ("--timeout", self.timeout)] {
            if let Some(Switch(Some(time))) = typed {
                check_range(flag, time)?;
            }
        }
        match (self.interval, self.timeout) {
            (None, None) => Ok((base.interval, base.timeout)),
            (Some(Switch(Some(interval))), None) => {
                let timeout = interval * 5 / 2;
                if timeout > HeartbeatConfig::LONGEST {
                    return Err(Failure::usage(format!(
                        "--interval {} is too long for the timeout that follows, {}, which may be at \
                         most 12 days; give --timeout, too",
                        show_time(interval),
                        show_time(timeout),
                    )));
                }
                Ok((Some(interval), Some(timeout)))
            }
            (Some(Switch(None)), None) => Ok((None, base.timeout)),
            (None, Some(Switch(Some(timeout)))) => {
                // Both are rounded up to whole milliseconds.
                if timeout <= Duration::from_millis(1) {
                    return Err(Failure::usage(format!(
                        "--timeout {} leaves no room for an interval, which is at least 1ms; give a \
                         longer one, or --interval off",
                        show_time(timeout),
                    )));
                }
                Ok((Some(timeout * 2 / 5), Some(timeout)))
            }
            (None, Some(Switch(None))) => Ok((base.interval, None)),
            (Some(Switch(Some(interval))), Some(Switch(Some(timeout)))) if timeout <= interval => {
                Err(Failure::usage(format!(
                    "--timeout {} must be longer than --interval {}; 2 to 3 times it is usual, such \
                     as --timeout {}",
                    show_time(timeout),
                    show_time(interval),
                    show_time(interval * 5 / 2),
                )))
            }
            (Some(Switch(interval)), Some(Switch(timeout))) => Ok((interval, timeout)),
        }
    }
}

impl LimitFlags {
    /// Returns how messages are compressed, where that is asked for.
    fn compression(&self) -> DeflateConfig {
        let defaults = DeflateConfig::default();
        DeflateConfig {
            level: self.deflate_level.unwrap_or(defaults.level),
            threshold: self.deflate_threshold.unwrap_or(defaults.threshold),
            takeover: self.deflate_takeover,
            peer_takeover: self.deflate_takeover,
            ..defaults
        }
    }

    /// Returns the limits: the flags that were given, over the defaults.
    pub(crate) fn limits(&self, defaults: LimitsConfig) -> Result<LimitsConfig, Failure> {
        for (flag, is_given) in [
            ("--deflate-threshold", self.deflate_threshold.is_some()),
            ("--deflate-level", self.deflate_level.is_some()),
            ("--deflate-takeover", self.deflate_takeover),
        ] {
            if is_given && !self.deflate {
                return Err(Failure::usage(format!("{flag} needs --deflate")));
            }
        }
        let mut config = defaults;
        if let Some(size) = self.max_message {
            config.max_message = size;
        }
        if self.deflate {
            config.deflate = Some(self.compression());
        }
        config.send_queue = self.send_queue;
        if let Some(overflow) = self.overflow {
            config.overflow = overflow.into();
        }
        if let Some(Switch(rate)) = self.pings_per_second {
            config.pings_per_second = rate;
        }
        if let Some(Switch(rate)) = self.pongs_per_second {
            config.pongs_per_second = rate;
        }
        if let Some(Switch(rate)) = self.messages_per_second {
            config.messages_per_second = rate;
        }
        if let Some(Switch(rate)) = self.bytes_per_second {
            config.bytes_per_second = rate;
        }
        if let Some(excess) = self.excess {
            config.excess = excess.into();
        }
        if let Some(rate) = self.slow_floor {
            config.slow_floor = rate;
        }
        if let Some(time) = self.slow_grace {
            config.slow_grace = time;
        }
        if let Some(Switch(time)) = self.message_timeout {
            config.message_timeout = time;
        }
        if let Some(size) = self.max_fragment {
            config.max_fragment = size;
        }
        if let Some(size) = self.max_head {
            config.max_head = size;
        }
        if let Some(count) = self.max_headers {
            config.max_headers = count;
        }
        if let Some(size) = self.max_body {
            config.max_body = size;
        }
        if let Some(count) = self.max_requests {
            config.max_requests = count;
        }
        Ok(config)
    }
}

impl SocketFlags {
    /// Returns the options of the sockets.
    pub(crate) fn options(&self) -> Result<SocketOptions, Failure> {
        let options = SocketOptions {
            user_timeout: self.tcp_user_timeout.0,
            keepalive: self.tcp_keepalive.0,
            ..SocketOptions::default()
        };
        options.check().map_err(|error| {
            let field = error.field().replace('_', "-");
            Failure::usage(format!("--tcp-{field} {}", error.reason()))
        })?;
        Ok(options)
    }
}

impl ProxyFlags {
    /// Returns the proxies to believe on a wire.
    pub(crate) fn proxy(&self, wire: WireKind) -> ProxyConfig {
        // Without a header, only requests name clients.
        let is_any_use = self.proxy_protocol || wire == WireKind::WebSocket;
        ProxyConfig {
            protocol: self.proxy_protocol,
            trusted: match is_any_use {
                true => self.trust_proxy.clone(),
                false => Vec::new(),
            },
        }
    }
}

impl AdmissionFlags {
    /// Returns the limits on who may connect.
    pub(crate) fn admission(&self) -> AdmissionConfig {
        AdmissionConfig {
            half_open_per_address: self.half_open_per_address.0,
            share_per_address: self.share_per_address.0,
            open_per_address: self.open_per_address.0,
            handshakes_per_address: self.handshakes_per_address.0,
            handshakes_per_second: self.handshakes_per_second.0,
            limit_loopback: self.limit_loopback,
        }
    }
}

impl WebFlags {
    /// Returns which pages and hosts to accept. On the default addresses of `serve`, a request must
    /// use a name of loopback, because a page elsewhere could make its own name lead to loopback.
    pub(crate) fn web(&self, is_default_address: bool) -> WebConfig {
        let named = |list: &[String]| -> Vec<String> {
            list.iter().filter(|name| *name != ANY).cloned().collect()
        };
        let has_any = |list: &[String]| list.iter().any(|name| name == ANY);
        if has_any(&self.allow_host) {
            return WebConfig {
                any_origin: has_any(&self.origin),
                origins: named(&self.origin),
                ..WebConfig::default()
            };
        }
        WebConfig {
            any_origin: has_any(&self.origin),
            origins: named(&self.origin),
            loopback_hosts: is_default_address,
            hosts: named(&self.allow_host),
        }
    }
}

/// Lets the library check the configuration before anything is opened.
pub(crate) fn check(
    heartbeat: &HeartbeatConfig,
    limits: &LimitsConfig,
    wire: WireKind,
    tick: Duration,
) -> Result<(), Failure> {
    Policy::new(heartbeat, limits, wire, tick)?;
    Ok(())
}

/// Prints each warning once.
pub(crate) fn warn<'a>(heartbeats: impl IntoIterator<Item = &'a HeartbeatConfig>, tick: Duration) {
    let mut said: Vec<String> = Vec::new();
    for warning in heartbeats
        .into_iter()
        .flat_map(|heartbeat| heartbeat.warnings(tick))
    {
        if !said.contains(&warning) {
            complain(format_args!("warning: {warning}"));
            said.push(warning);
        }
    }
}

/// Describes a heartbeat in words.
pub(crate) fn in_words(heartbeat: &HeartbeatConfig) -> String {
    let pings = match heartbeat.interval {
        Some(interval) => format!("pings every {}", show_time(interval)),
        None => "no pings".into(),
    };
    let silence = match heartbeat.timeout {
        Some(timeout) => format!("a silent peer is closed after {}", show_time(timeout)),
        None => "a silent peer is kept".into(),
    };
    let proof = match heartbeat.proof {
        Proof::Bytes => "",
        Proof::Message => " (only messages, pings and answers to pings count)",
        Proof::Pong => " (only answers to pings count)",
    };
    format!("{pings}, {silence}{proof}")
}

fn check_range(flag: &str, time: Duration) -> Result<(), Failure> {
    if time.is_zero() {
        return Err(Failure::usage(format!(
            "{flag} must not be zero; off switches it off"
        )));
    }
    if time > HeartbeatConfig::LONGEST {
        return Err(Failure::usage(format!(
            "{flag} must be at most 12 days; off switches it off"
        )));
    }
    Ok(())
}

impl From<ProofFlag> for Proof {
    fn from(flag: ProofFlag) -> Self {
        match flag {
            ProofFlag::Bytes => Self::Bytes,
            ProofFlag::Message => Self::Message,
            ProofFlag::Pong => Self::Pong,
        }
    }
}

impl From<ExcessFlag> for Excess {
    fn from(flag: ExcessFlag) -> Self {
        match flag {
            ExcessFlag::Pause => Self::Pause,
            ExcessFlag::Close => Self::Close,
        }
    }
}

impl From<PingWhenFlag> for PingWhen {
    fn from(flag: PingWhenFlag) -> Self {
        match flag {
            PingWhenFlag::Always => Self::Always,
            PingWhenFlag::Idle => Self::Idle,
        }
    }
}

impl From<OverflowFlag> for Overflow {
    fn from(flag: OverflowFlag) -> Self {
        match flag {
            OverflowFlag::Drop => Self::Drop,
            OverflowFlag::Close => Self::Close,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn secs(secs: u64) -> Duration {
        Duration::from_secs(secs)
    }

    fn flags(
        interval: Option<Option<Duration>>,
        timeout: Option<Option<Duration>>,
    ) -> HeartbeatFlags {
        HeartbeatFlags {
            interval: interval.map(Switch),
            timeout: timeout.map(Switch),
            ..HeartbeatFlags::default()
        }
    }

    fn times(
        interval: Option<Option<Duration>>,
        timeout: Option<Option<Duration>>,
        wire: WireKind,
    ) -> (Option<Duration>, Option<Duration>) {
        let config = flags(interval, timeout)
            .heartbeat(wire, HeartbeatConfig::for_wire(wire))
            .expect("it makes sense");
        (config.interval, config.timeout)
    }

    #[test]
    fn one_of_interval_and_timeout_follows_the_other() {
        let ws = WireKind::WebSocket;
        assert_eq!(times(None, None, ws), (Some(secs(30)), Some(secs(60))));
        assert_eq!(
            times(Some(Some(secs(2))), None, ws),
            (Some(secs(2)), Some(secs(5)))
        );
        assert_eq!(
            times(None, Some(Some(secs(5))), ws),
            (Some(secs(2)), Some(secs(5)))
        );
        assert_eq!(times(Some(None), None, ws), (None, Some(secs(60))));
        assert_eq!(times(None, Some(None), ws), (Some(secs(30)), None));
        assert_eq!(
            times(Some(None), Some(Some(secs(1))), ws),
            (None, Some(secs(1)))
        );
    }

    #[test]
    fn a_raw_wire_never_pings() {
        let raw = WireKind::Raw;
        assert_eq!(times(None, None, raw), (None, Some(secs(25))));
        assert_eq!(times(Some(Some(secs(2))), None, raw), (None, Some(secs(5))));
    }

    #[test]
    fn a_bad_pair_is_refused_with_both_flags_and_a_way_out() {
        let base = HeartbeatConfig::websocket();
        let error = flags(Some(Some(secs(10))), Some(Some(secs(5))))
            .heartbeat(WireKind::WebSocket, base)
            .expect_err("nonsense");
        assert_eq!(error.code, 2);
        assert!(
            error
                .message
                .starts_with("--timeout 5s must be longer than --interval 10s"),
            "{error}"
        );
    }

    #[test]
    fn times_beyond_the_range_are_refused_by_flag() {
        for (given, flag) in [
            (flags(Some(Some(Duration::ZERO)), None), "--interval"),
            (flags(None, Some(Some(Duration::MAX))), "--timeout"),
            (
                flags(None, Some(Some(Duration::from_nanos(1)))),
                "--timeout",
            ),
        ] {
            let error = given
                .heartbeat(WireKind::Line, HeartbeatConfig::tcp())
                .expect_err("nonsense");
            assert!(error.message.starts_with(flag), "{error}");
        }
    }

    #[test]
    fn a_heartbeat_is_put_in_words() {
        assert_eq!(
            in_words(&HeartbeatConfig::websocket()),
            "pings every 30s, a silent peer is closed after 60s"
        );
        assert_eq!(
            in_words(&HeartbeatConfig::for_wire(WireKind::Raw)),
            "no pings, a silent peer is closed after 25s"
        );
    }
}
