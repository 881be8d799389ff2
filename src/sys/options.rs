//! Options of sockets.

use std::time::Duration;

use crate::error::ConfigError;

/// Options that the kernel applies to a listener and its connections.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SocketOptions {
    /// Connections that the kernel completes before we accept them. Default 4096. With a shorter
    /// backlog, a burst of connections stops for a second each time. Another value needs the feature
    /// `sockets`; without it the kernel has mio's own.
    pub backlog: i32,
    /// Whether several processes may listen on the same port and share its connections. Default no.
    /// Needs the feature `sockets`.
    pub reuse_port: bool,
    /// How long sent data may stay unacknowledged before the kernel gives up (`TCP_USER_TIMEOUT`,
    /// Linux), 1 ms to 24 days. The connection then ends as `path_dead`. Default `None`: the
    /// kernel's own time, about 15 minutes. Needs the feature `sockets`.
    pub user_timeout: Option<Duration>,
    /// The kernel's own probes of an idle connection. Default none. A probe tests only the peer's
    /// kernel; a heartbeat tests its process. Needs the feature `sockets`.
    pub keepalive: Option<Keepalive>,
}

/// When the kernel probes an idle peer, and when it gives up (`SO_KEEPALIVE`).
///
/// The kernel gives up `idle + interval * probes` after the last sign of the peer. The connection
/// then ends as `path_dead`. If [`SocketOptions::user_timeout`] is set too, Linux uses that time
/// instead of `probes`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Keepalive {
    /// Time without anything from the peer before the first probe: whole seconds, 1 to 32767.
    pub idle: Duration,
    /// Time between unanswered probes: whole seconds, 1 to 32767.
    pub interval: Duration,
    /// Unanswered probes before the kernel gives up, 1 to 127.
    pub probes: u32,
}

impl Keepalive {
    /// Sends the first probe after this idle time, then nine in total, 75 s apart, as Linux does by
    /// default.
    pub const fn after(idle: Duration) -> Self {
        Self {
            idle,
            interval: Duration::from_secs(75),
            probes: 9,
        }
    }
}

impl SocketOptions {
    /// Checks for values that the kernel would misunderstand, or refuse without saying which, and for
    /// options that would have no effect in this build or on this system.
    ///
    /// # Errors
    ///
    /// The field and the reason.
    pub fn check(&self) -> Result<(), ConfigError> {
        if self.backlog <= 0 {
            return Err(ConfigError::new("backlog", "must be more than zero"));
        }
        self.check_effect()?;
        let is_timeout = |time: Duration| (1..=LONGEST_MILLIS).contains(&time.as_millis());
        if !self.user_timeout.is_none_or(is_timeout) {
            return Err(ConfigError::new(
                "user_timeout",
                "must be at least 1ms and at most 24 days",
            ));
        }
        let is_whole = |time: Duration| {
            time.subsec_nanos() == 0 && (1..=LONGEST_SECS).contains(&time.as_secs())
        };
        let Some(keepalive) = self.keepalive else {
            return Ok(());
        };
        if !is_whole(keepalive.idle) || !is_whole(keepalive.interval) {
            return Err(ConfigError::new(
                "keepalive",
                "must have times of whole seconds, from 1s to 32767s",
            ));
        }
        if !(1..=MOST_PROBES).contains(&keepalive.probes) {
            return Err(ConfigError::new("keepalive", "must have 1 to 127 probes"));
        }
        Ok(())
    }

    /// Refuses what could only be ignored.
    fn check_effect(&self) -> Result<(), ConfigError> {
        let default = Self::default();
        for (field, is_asked_for) in [
            ("backlog", self.backlog != default.backlog),
            ("reuse_port", self.reuse_port),
            ("user_timeout", self.user_timeout.is_some()),
            ("keepalive", self.keepalive.is_some()),
        ] {
            if is_asked_for && !cfg!(feature = "sockets") {
                return Err(ConfigError::new(field, "needs the feature `sockets`"));
            }
        }
        if self.user_timeout.is_some() && !cfg!(target_os = "linux") {
            return Err(ConfigError::new("user_timeout", "needs Linux"));
        }
        Ok(())
    }
}

/// The kernel stores milliseconds in a signed 32-bit number.
const LONGEST_MILLIS: u128 = 24 * 24 * 3_600_000;

/// Linux limits for the times of a keepalive, and for its probes.
const LONGEST_SECS: u64 = 32_767;
const MOST_PROBES: u32 = 127;

impl Default for SocketOptions {
    fn default() -> Self {
        Self {
            backlog: 4096,
            reuse_port: false,
            user_timeout: None,
            keepalive: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn secs(secs: u64) -> Duration {
        Duration::from_secs(secs)
    }

    #[cfg(not(feature = "sockets"))]
    #[test]
    fn options_that_would_have_no_effect_are_refused_by_field() {
        assert_eq!(SocketOptions::default().check(), Ok(()));
        let plain = SocketOptions::default;
        for (options, field) in [
            (
                SocketOptions {
                    backlog: 7,
                    ..plain()
                },
                "backlog",
            ),
            (
                SocketOptions {
                    reuse_port: true,
                    ..plain()
                },
                "reuse_port",
            ),
            (
                SocketOptions {
                    user_timeout: Some(secs(5)),
                    ..plain()
                },
                "user_timeout",
            ),
            (
                SocketOptions {
                    keepalive: Some(Keepalive::after(secs(30))),
                    ..plain()
                },
                "keepalive",
            ),
        ] {
            let error = options.check().expect_err("it would be ignored");
            assert_eq!(error.field(), field, "{options:?}");
            assert_eq!(error.reason(), "needs the feature `sockets`");
        }
    }

    #[cfg(all(feature = "sockets", target_os = "linux"))]
    #[test]
    fn socket_options_are_refused_by_field() {
        let fine = SocketOptions {
            user_timeout: Some(secs(5)),
            keepalive: Some(Keepalive::after(secs(30))),
            ..SocketOptions::default()
        };
        assert_eq!(fine.check(), Ok(()));
        let keepalive = |idle, interval, probes| SocketOptions {
            keepalive: Some(Keepalive {
                idle,
                interval,
                probes,
            }),
            ..SocketOptions::default()
        };
        let user_timeout = |time| SocketOptions {
            user_timeout: Some(time),
            ..SocketOptions::default()
        };
        for (options, field) in [
            (SocketOptions { backlog: 0, ..fine }, "backlog"),
            // The kernel takes zero for its own default.
            (user_timeout(Duration::ZERO), "user_timeout"),
            (user_timeout(Duration::from_micros(999)), "user_timeout"),
            (user_timeout(secs(25 * 86_400)), "user_timeout"),
            (keepalive(Duration::ZERO, secs(1), 1), "keepalive"),
            (
                keepalive(Duration::from_millis(1_500), secs(1), 1),
                "keepalive",
            ),
            (
                keepalive(secs(1), Duration::from_millis(500), 1),
                "keepalive",
            ),
            (keepalive(secs(32_768), secs(1), 1), "keepalive"),
            (keepalive(secs(1), secs(1), 0), "keepalive"),
            (keepalive(secs(1), secs(1), 128), "keepalive"),
        ] {
            let error = options.check().expect_err("nonsense");
            assert_eq!(error.field(), field, "{options:?}");
        }
    }
}
