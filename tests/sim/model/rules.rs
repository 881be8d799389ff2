//! What a heartbeat's configuration promises, and the grid that its pings are due on.

use heartwheel::config::{HeartbeatConfig, LimitsConfig, PingWhen, Proof};
use heartwheel::proto::time::Micros;

/// The promises of one policy, in core time.
#[derive(Clone, Debug)]
pub(crate) struct Rules {
    pub(crate) interval: Option<Micros>,
    pub(crate) timeout: Option<Micros>,
    pub(crate) proof: Proof,
    pub(crate) ping_when: PingWhen,
    pub(crate) slack: Micros,
    pub(crate) write: Option<Micros>,
    pub(crate) connect: Micros,
    pub(crate) handshake: Micros,
    pub(crate) close: Micros,
    pub(crate) close_total: Micros,
    pub(crate) app_idle: Option<Micros>,
    pub(crate) lifetime: Option<Micros>,
    pub(crate) slow_floor: u64,
    pub(crate) slow_grace: Micros,
    pub(crate) message: Option<Micros>,
    pub(crate) tick: Micros,
}

impl Rules {
    pub(crate) fn new(heartbeat: &HeartbeatConfig, limits: &LimitsConfig, tick: Micros) -> Self {
        let interval = heartbeat.interval.map(Micros::from);
        let default = interval.map_or(Micros::ZERO, |interval| {
            Micros::new(interval.as_micros() / 100).min(Micros::from_millis(50))
        });
        Self {
            interval,
            timeout: heartbeat.timeout.map(Micros::from),
            proof: heartbeat.proof,
            ping_when: heartbeat.ping_when,
            slack: heartbeat.ping_slack.map_or(default, Micros::from),
            write: heartbeat.write_timeout.map(Micros::from),
            connect: heartbeat.connect_timeout.into(),
            handshake: heartbeat.handshake_timeout.into(),
            close: heartbeat.close_timeout.into(),
            close_total: heartbeat.close_total.into(),
            app_idle: heartbeat.app_idle.map(Micros::from),
            lifetime: heartbeat.max_lifetime.map(Micros::from),
            slow_floor: limits.slow_floor.into(),
            slow_grace: limits.slow_grace.into(),
            message: limits.message_timeout.map(Micros::from),
            tick,
        }
    }

    /// How long a ping must have been out before silence counts: T - I, or T without pings.
    pub(crate) fn answer(&self) -> Micros {
        let timeout = self.timeout.unwrap_or(Micros::ZERO);
        timeout - self.interval.unwrap_or(Micros::ZERO)
    }

    /// How much longer a slow peer is given: W, at most T.
    pub(crate) fn more(&self) -> Micros {
        let timeout = self.timeout.unwrap_or(Micros::ZERO);
        self.write.unwrap_or(timeout).min(timeout)
    }

    /// How late rounding and slack alone may make a ping that counts from when it was due; never at the
    /// cost of more than half the time to answer.
    pub(crate) fn on_time(&self) -> Micros {
        let half = Micros::new(self.answer().as_micros() / 2);
        self.widest().min(half)
    }

    /// By how much rounding and slack may move two pings apart.
    pub(crate) fn widest(&self) -> Micros {
        self.tick + self.slack.saturating_mul(2)
    }

    /// Returns the latest grid point up to `now`, of a connection whose phase is that fraction of the
    /// interval, in 2^-32.
    pub(crate) fn grid_point(&self, fraction: u32, now: Micros) -> Option<Micros> {
        let interval = self.interval?.as_micros();
        let phase = u64::try_from((u128::from(interval) * u128::from(fraction)) >> 32).ok()?;
        let beats = now.as_micros().saturating_sub(phase) / interval;
        // Rounding may move the next beat to before now, or this one to after it.
        (0..=beats + 1)
            .rev()
            .take(3)
            .map(|beat| self.rounded(phase + beat * interval))
            .find(|&point| point <= now)
    }

    /// Rounds to what pings share a wake-up on, and to whole milliseconds.
    fn rounded(&self, point: u64) -> Micros {
        let shared = match self.slack.as_micros() * 2 {
            0 => point,
            pitch => (point + pitch / 2) / pitch * pitch,
        };
        Micros::from_millis(shared.div_ceil(1_000))
    }
}
