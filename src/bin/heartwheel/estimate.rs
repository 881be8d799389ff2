//! What a configuration costs and promises, reckoned without running it.

use std::net::IpAddr;
use std::time::Duration;

use heartwheel::config::{HeartbeatConfig, PingWhen, WireKind};
use rlimit::Resource;

use crate::args::WholeFlags;
use crate::listening::Place;
use crate::machine;
use crate::plan::Plan;

/// What this machine can bear.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Machine {
    /// Descriptors that a process may have.
    pub(crate) open_files: Option<u64>,
    /// Bytes.
    pub(crate) memory: Option<u64>,
}

impl Machine {
    pub(crate) fn find() -> Self {
        let limits = rlimit::getrlimit(Resource::NOFILE).ok();
        Self {
            open_files: limits.map(|(_, hard)| hard),
            memory: machine::memory(),
        }
    }
}

/// What connections without messages cost.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Load {
    /// Pings a second.
    pub(crate) pings: f64,
    /// Bytes a second of pings and their answers, both ways, with the headers of IP and TCP.
    pub(crate) bytes: f64,
    /// Bytes of user memory.
    pub(crate) memory: u64,
}

/// Returns the longest time from the last sign of life of an idle peer until it is closed, but for the loop's own
/// lateness.
pub(crate) fn detection(heartbeat: &HeartbeatConfig, tick: Duration) -> Option<Duration> {
    let timeout = heartbeat.timeout?;
    let slack = heartbeat.slack().unwrap_or_default();
    // Then a ping may be as much as another interval away.
    let skipped = match (heartbeat.ping_when, heartbeat.interval) {
        (PingWhen::Idle, Some(interval)) => interval,
        (PingWhen::Idle, None) | (PingWhen::Always, _) => Duration::ZERO,
    };
    Some(timeout + skipped + slack + tick)
}

/// Returns what so many connections cost that have nothing to say but heartbeats.
pub(crate) fn load(plan: &Plan, connections: usize) -> Load {
    let is_secure = plan.certs.is_some();
    let each_second = match plan.heartbeat.interval {
        Some(interval) => connections as f64 / interval.as_secs_f64(),
        None => 0.0,
    };
    // A ping and its answer.
    let said = match plan.wire {
        WireKind::WebSocket => 6 + 10,
        WireKind::Line => 5 + 5,
        WireKind::Binary => 1 + 1,
        WireKind::Raw | WireKind::Own => 0,
    };
    let sealed = if is_secure { 2 * RECORD } else { 0 };
    let takeover = plan.limits.deflate.is_some_and(|deflate| deflate.takeover);
    let each = PLAIN + if is_secure { SECURE } else { 0 } + if takeover { TAKEOVER } else { 0 };
    Load {
        pings: each_second,
        bytes: each_second * f64::from(said + sealed + 3 * SEGMENT),
        memory: each * connections as u64,
    }
}

/// Says whether others than this machine can reach a listener.
pub(crate) fn is_public(plan: &Plan) -> bool {
    match &plan.place {
        Place::Tcp(addr) => !addr.ip().is_loopback(),
        Place::Unix(_) | Place::Descriptor(_) => false,
    }
}

/// Says whether anybody in the world may reach it: it listens on an address that is not private, or on all of them.
pub(crate) fn is_open(plan: &Plan) -> bool {
    match &plan.place {
        Place::Tcp(addr) => match addr.ip() {
            IpAddr::V4(ip) => !ip.is_loopback() && !ip.is_private() && !ip.is_link_local(),
            IpAddr::V6(ip) => {
                !ip.is_loopback() && !ip.is_unique_local() && !ip.is_unicast_link_local()
            }
        },
        Place::Unix(_) | Place::Descriptor(_) => false,
    }
}

/// Returns descriptors that the program needs beside connections.
pub(crate) fn spare_files(whole: &WholeFlags, listeners: usize) -> u64 {
    100 + (whole.shards * (40 + listeners)) as u64
}

/// Writes a number with a space between each three digits.
pub(crate) fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push(' ');
        }
        text.push(digit);
    }
    text
}

/// Writes bytes in a unit that suits them.
pub(crate) fn in_units(bytes: f64) -> String {
    let units = ["B", "KiB", "MiB", "GiB", "TiB"];
    let mut rest = bytes;
    let mut unit = 0;
    while rest >= 1024.0 && unit + 1 < units.len() {
        rest /= 1024.0;
        unit += 1;
    }
    match rest < 10.0 && unit > 0 {
        true => format!("{rest:.1} {}", units[unit]),
        false => format!("{rest:.0} {}", units[unit]),
    }
}

/// User memory of an idle connection, bytes; see the README for how it was measured.
const PLAIN: u64 = 145;

/// What TLS 1.3 adds, bytes.
const SECURE: u64 = 2_554;

/// What compression with a context of its own adds at most, bytes.
const TAKEOVER: u64 = 36 * 1024;

/// What TLS 1.3 adds to each record: a header, a type and a tag (RFC 8446, section 5.2).
const RECORD: u32 = 5 + 1 + 16;

/// Headers of IPv4 and of TCP with timestamps. A ping and its answer take three: the answer carries the
/// acknowledgement of the ping, and is acknowledged itself.
const SEGMENT: u32 = 20 + 32;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::tests::setup;

    #[test]
    fn detection_takes_the_timeout_and_what_may_come_on_top() {
        let tick = Duration::from_millis(10);
        let config = HeartbeatConfig::websocket();
        let millis = |config: &HeartbeatConfig| detection(config, tick).map(|it| it.as_millis());
        assert_eq!(millis(&config), Some(60_060));
        let idle = HeartbeatConfig {
            ping_when: PingWhen::Idle,
            ..config.clone()
        };
        assert_eq!(millis(&idle), Some(90_060));
        let off = HeartbeatConfig {
            timeout: None,
            ..config
        };
        assert_eq!(millis(&off), None);
    }

    #[test]
    fn a_load_is_that_of_pings_and_answers() {
        let setup = setup("[[listener]]\nws = \":1\"\ninterval = \"10s\"", &[]);
        let load = load(&setup.expect("it makes sense").plans[0], 1_000);
        assert!((load.pings - 100.0).abs() < 1e-9);
        assert!((load.bytes - 100.0 * (16.0 + 156.0)).abs() < 1e-6);
        assert_eq!(load.memory, 145_000);
    }

    #[test]
    fn numbers_are_easy_to_read() {
        assert_eq!(grouped(1_234_567), "1 234 567");
        assert_eq!(grouped(100), "100");
        assert_eq!(in_units(512.0), "512 B");
        assert_eq!(in_units(14_500_000.0), "14 MiB");
        assert_eq!(in_units(1536.0), "1.5 KiB");
    }
}
