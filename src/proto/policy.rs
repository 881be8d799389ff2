//! Parsed configuration. The core accepts nothing else.

use std::num::NonZeroU32;
use std::ops::RangeInclusive;
use std::time::Duration;

#[cfg(feature = "deflate")]
use crate::config::DeflateConfig;
use crate::config::{Excess, HeartbeatConfig, LimitsConfig, Overflow, PingWhen, Proof, WireKind};
use crate::error::ConfigError;
use crate::proto::bucket::Rate;
use crate::proto::time::{Micros, Stamp};

/// The part of the configuration of a listener or client that a session needs.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Policy {
    /// Heartbeat and deadlines.
    pub(crate) timing: Timing,
    /// Sizes and rates.
    pub(crate) limits: Limits,
}

impl Policy {
    /// Parses the configuration for a wire and the tick of the loop.
    ///
    /// # Errors
    ///
    /// The first invalid field, with the reason: a time of zero or above
    /// [`HeartbeatConfig::LONGEST`], a timeout not longer than the interval, proof by pong without
    /// pings, a raw wire with pings or with a proof other than bytes, a size or rate of zero.
    pub fn new(
        heartbeat: &HeartbeatConfig,
        limits: &LimitsConfig,
        wire: WireKind,
        tick: Duration,
    ) -> Result<Self, ConfigError> {
        if wire == WireKind::Raw {
            if heartbeat.interval.is_some() {
                return Err(ConfigError::new("interval", "must be off on a raw wire"));
            }
            if heartbeat.proof != Proof::Bytes {
                return Err(ConfigError::new("proof", "must be bytes on a raw wire"));
            }
        }
        Ok(Self {
            timing: Timing::new(heartbeat, tick)?,
            limits: Limits::try_from(limits)?,
        })
    }
}

/// The heartbeat of a policy. Times are whole milliseconds, rounded up.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Timing {
    /// The time between two pings, in whole milliseconds.
    pub(crate) interval: Option<Micros>,
    pub(crate) timeout: Option<u32>,
    /// The shortest time that a peer has to answer a ping: T - I, or T if we send no pings.
    pub(crate) answer: u32,
    /// Pings are sent at multiples of this time, so that several share a wake-up. Zero: each at its
    /// own time.
    pub(crate) quantum: Micros,
    /// How late a ping can be because of the wheel's rounding and the slack alone.
    pub(crate) on_time: u32,
    pub(crate) proof: Proof,
    pub(crate) ping_when: PingWhen,
    pub(crate) write: Option<u32>,
    pub(crate) connect: u32,
    pub(crate) handshake: u32,
    pub(crate) close: u32,
    pub(crate) close_total: u32,
    pub(crate) app_idle: Option<u32>,
    pub(crate) max_lifetime: Option<Micros>,
}

impl Timing {
    /// Parses the heartbeat for the tick of a loop.
    ///
    /// # Errors
    ///
    /// See [`Policy::new`].
    pub fn new(config: &HeartbeatConfig, tick: Duration) -> Result<Self, ConfigError> {
        let interval = optional_millis("interval", config.interval)?;
        let timeout = optional_millis("timeout", config.timeout)?;
        let answer = match (interval, timeout) {
            (Some(interval), Some(timeout)) if timeout <= interval => {
                return Err(ConfigError::new(
                    "timeout",
                    format!(
                        "must be longer than the interval: {}ms against {}ms",
                        timeout, interval
                    ),
                ));
            }
            (Some(interval), Some(timeout)) => timeout - interval,
            (None, timeout) => timeout.unwrap_or(0),
            (Some(_), None) => 0,
        };
        if config.proof == Proof::Pong && interval.is_none() && timeout.is_some() {
            return Err(ConfigError::new(
                "proof",
                "must not be pong while the interval is off",
            ));
        }
        let interval = interval.map(|millis| Micros::from_millis(millis.into()));
        let slack = slack(config, interval)?;
        let tick_millis = span_millis("tick", tick)?;
        let quantum = slack.saturating_mul(2);
        let quantum_millis = u32::try_from(quantum.as_micros().div_ceil(1_000)).unwrap_or(u32::MAX);
        Ok(Self {
            interval,
            timeout,
            answer,
            quantum,
            on_time: tick_millis.saturating_add(quantum_millis),
            proof: config.proof,
            ping_when: config.ping_when,
            write: optional_millis("write_timeout", config.write_timeout)?,
            connect: span_millis("connect_timeout", config.connect_timeout)?,
            handshake: span_millis("handshake_timeout", config.handshake_timeout)?,
            close: span_millis("close_timeout", config.close_timeout)?,
            close_total: span_millis("close_total", config.close_total)?,
            app_idle: optional_millis("app_idle", config.app_idle)?,
            max_lifetime: optional_millis("max_lifetime", config.max_lifetime)?
                .map(|millis| Micros::from_millis(millis.into())),
        })
    }
}

/// The sizes and rates of a policy.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Limits {
    pub(crate) max_message: usize,
    pub(crate) send_queue: usize,
    pub(crate) overflow: Overflow,
    pub(crate) max_fragment: usize,
    pub(crate) max_head: usize,
    pub(crate) max_headers: usize,
    pub(crate) max_body: usize,
    pub(crate) max_requests: u32,
    /// Milliseconds that one ping of the peer adds to its rate limit.
    pub(crate) ping_cost: Option<u32>,
    /// Milliseconds that one unsolicited pong adds to its rate limit.
    pub(crate) pong_cost: Option<u32>,
    pub(crate) messages: Option<Rate>,
    pub(crate) bytes: Option<Rate>,
    pub(crate) excess: Excess,
    pub(crate) slow_floor: u32,
    pub(crate) slow_grace: u32,
    pub(crate) message_timeout: Option<u32>,
    #[cfg(feature = "deflate")]
    pub(crate) deflate: Option<DeflateConfig>,
}

impl TryFrom<&LimitsConfig> for Limits {
    type Error = ConfigError;

    fn try_from(config: &LimitsConfig) -> Result<Self, ConfigError> {
        for (field, value) in [
            ("max_message", config.max_message),
            ("send_queue", config.send_queue.unwrap_or(1)),
            ("max_fragment", config.max_fragment),
            ("max_head", config.max_head),
            ("max_headers", config.max_headers),
            (
                "max_requests",
                usize::try_from(config.max_requests).unwrap_or(1),
            ),
        ] {
            if value == 0 {
                return Err(ConfigError::new(field, "must not be zero"));
            }
        }
        if u32::try_from(config.max_message).is_err() {
            return Err(ConfigError::new("max_message", "must be less than 4GiB"));
        }
        #[cfg(feature = "deflate")]
        config
            .deflate
            .as_ref()
            .map_or(Ok(()), DeflateConfig::check)?;
        Ok(Self {
            max_message: config.max_message,
            send_queue: config.queue(),
            overflow: config.overflow,
            max_fragment: config.max_fragment,
            max_head: config.max_head,
            max_headers: config.max_headers,
            max_body: config.max_body,
            max_requests: config.max_requests,
            ping_cost: rate_cost("pings_per_second", config.pings_per_second)?,
            pong_cost: rate_cost("pongs_per_second", config.pongs_per_second)?,
            messages: rate(
                "messages_per_second",
                config.messages_per_second,
                1..=1_000_000,
            )?,
            bytes: rate(
                "bytes_per_second",
                config.bytes_per_second,
                1_024..=u32::MAX,
            )?,
            excess: config.excess,
            slow_floor: config.slow_floor,
            slow_grace: span_millis("slow_grace", config.slow_grace)?,
            message_timeout: optional_millis("message_timeout", config.message_timeout)?,
            #[cfg(feature = "deflate")]
            deflate: config.deflate,
        })
    }
}

/// Returns the slack, which must leave each ping near its place.
fn slack(config: &HeartbeatConfig, interval: Option<Micros>) -> Result<Micros, ConfigError> {
    let slack = Micros::from(config.slack().unwrap_or_default());
    match interval {
        Some(interval) if slack > Micros::ZERO && slack.saturating_mul(4) >= interval => Err(
            ConfigError::new("ping_slack", "must be less than a quarter of the interval"),
        ),
        _ => Ok(slack),
    }
}

fn rate_cost(field: &'static str, rate: Option<u32>) -> Result<Option<u32>, ConfigError> {
    match rate {
        None => Ok(None),
        Some(rate @ 1..=1_000) => Ok(Some(1_000 / rate)),
        Some(_) => Err(ConfigError::new(field, "must be from 1 to 1000")),
    }
}

fn rate(
    field: &'static str,
    rate: Option<u32>,
    allowed: RangeInclusive<u32>,
) -> Result<Option<Rate>, ConfigError> {
    let Some(rate) = rate else { return Ok(None) };
    let sound = NonZeroU32::new(rate).filter(|_| allowed.contains(&rate));
    let (least, most) = (allowed.start(), allowed.end());
    let reason = || format!("must be from {least} to {most}");
    let rate = sound.ok_or_else(|| ConfigError::new(field, reason()))?;
    Ok(Some(Rate(rate)))
}

fn optional_millis(
    field: &'static str,
    span: Option<Duration>,
) -> Result<Option<u32>, ConfigError> {
    span.map(|span| span_millis(field, span)).transpose()
}

/// Rounds up to whole milliseconds.
fn span_millis(field: &'static str, span: Duration) -> Result<u32, ConfigError> {
    if span.is_zero() {
        return Err(ConfigError::new(
            field,
            "must not be zero; off switches it off where it may be",
        ));
    }
    if span > HeartbeatConfig::LONGEST {
        return Err(ConfigError::new(field, "must be at most 12 days"));
    }
    let millis = u32::try_from(span.as_nanos().div_ceil(1_000_000)).unwrap_or(Stamp::REACH);
    Ok(millis)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TICK: Duration = Duration::from_millis(10);

    fn field_of(heartbeat: &HeartbeatConfig, wire: WireKind) -> Option<&'static str> {
        Policy::new(heartbeat, &LimitsConfig::default(), wire, TICK)
            .err()
            .map(|error| error.field())
    }

    #[test]
    fn the_defaults_of_every_wire_are_accepted() {
        for wire in [
            WireKind::Line,
            WireKind::Binary,
            WireKind::Raw,
            WireKind::Own,
        ] {
            assert_eq!(
                field_of(&HeartbeatConfig::for_wire(wire), wire),
                None,
                "{wire:?}"
            );
        }
    }

    #[test]
    fn a_timeout_not_longer_than_the_interval_is_refused() {
        let with = |interval, timeout| HeartbeatConfig {
            interval: Some(Duration::from_millis(interval)),
            timeout: Some(Duration::from_millis(timeout)),
            ..HeartbeatConfig::default()
        };
        assert_eq!(field_of(&with(1_000, 999), WireKind::Line), Some("timeout"));
        assert_eq!(
            field_of(&with(1_000, 1_000), WireKind::Line),
            Some("timeout")
        );
        assert_eq!(field_of(&with(1_000, 1_001), WireKind::Line), None);
    }

    #[test]
    fn zero_and_overflow_are_refused_by_the_name_of_the_field() {
        let zero = Some(Duration::ZERO);
        let huge = Some(HeartbeatConfig::LONGEST + Duration::from_nanos(1));
        for bad in [zero, huge] {
            let base = HeartbeatConfig {
                timeout: None,
                ..HeartbeatConfig::default()
            };
            assert_eq!(
                field_of(
                    &HeartbeatConfig {
                        interval: bad,
                        ..base.clone()
                    },
                    WireKind::Line
                ),
                Some("interval")
            );
            assert_eq!(
                field_of(
                    &HeartbeatConfig {
                        timeout: bad,
                        ..base.clone()
                    },
                    WireKind::Line
                ),
                Some("timeout")
            );
            assert_eq!(
                field_of(
                    &HeartbeatConfig {
                        write_timeout: bad,
                        ..base.clone()
                    },
                    WireKind::Line
                ),
                Some("write_timeout")
            );
            assert_eq!(
                field_of(
                    &HeartbeatConfig {
                        max_lifetime: bad,
                        ..base
                    },
                    WireKind::Line
                ),
                Some("max_lifetime")
            );
        }
    }

    #[test]
    fn proof_by_pong_needs_pings() {
        let config = HeartbeatConfig {
            interval: None,
            proof: Proof::Pong,
            ..HeartbeatConfig::default()
        };
        assert_eq!(field_of(&config, WireKind::Line), Some("proof"));
    }

    #[test]
    fn a_raw_wire_takes_no_pings_and_only_bytes_as_proof() {
        assert_eq!(
            field_of(&HeartbeatConfig::tcp(), WireKind::Raw),
            Some("interval")
        );
        let config = HeartbeatConfig {
            proof: Proof::Message,
            ..HeartbeatConfig::for_wire(WireKind::Raw)
        };
        assert_eq!(field_of(&config, WireKind::Raw), Some("proof"));
    }

    #[test]
    fn slack_defaults_to_a_hundredth_of_the_interval_up_to_50_ms() {
        let quantum = |interval_ms| {
            let config = HeartbeatConfig {
                interval: Some(Duration::from_millis(interval_ms)),
                timeout: None,
                ..HeartbeatConfig::default()
            };
            Timing::new(&config, TICK).map(|timing| timing.quantum)
        };
        assert_eq!(quantum(1_000), Ok(Micros::from_millis(20)));
        assert_eq!(quantum(30_000), Ok(Micros::from_millis(100)));
    }
}
