//! Rules of a heartbeat, drawn from all that make sense.

use std::time::Duration;

use heartwheel::config::{HeartbeatConfig, LimitsConfig, Overflow, PingWhen, Proof};

use crate::dice::Dice;
use crate::model::Speech;
use crate::process::Terms;

impl Dice {
    /// Draws rules for what is spoken.
    pub(super) fn terms_of(&mut self, speech: Speech) -> Terms {
        let limits = LimitsConfig {
            max_message: 1 << 20,
            send_queue: self.pick(&[None, None, Some(20_000), Some(2_000)]),
            overflow: self.pick(&[Overflow::Drop, Overflow::Close]),
            max_fragment: self.pick(&[100, 1_000, 64 * 1_024]),
            slow_floor: self.pick(&[0, 100, 1_024]),
            slow_grace: self.secs(1, 10),
            message_timeout: self
                .pick(&[None, Some(20), Some(60)])
                .map(Duration::from_secs),
            ..LimitsConfig::default()
        };
        Terms {
            speech,
            heartbeat: self.heartbeat_of(speech),
            limits,
        }
    }

    /// Draws a heartbeat for what is spoken.
    pub(super) fn heartbeat_of(&mut self, speech: Speech) -> HeartbeatConfig {
        let is_silent = speech == Speech::Raw || self.one_in(6);
        let interval = (!is_silent).then(|| {
            let secs = self.pick(&[1, 1, 2, 3, 5, 10, 30]);
            Duration::from_millis(secs * 1_000 + self.below(100))
        });
        let timeout = match interval {
            Some(interval) if !self.one_in(12) => {
                let factor = self.pick(&[110, 150, 200, 250, 350]);
                let longer = interval.as_millis() as u64 * factor / 100;
                Some(Duration::from_millis(longer + self.below(100)))
            }
            None if !self.one_in(8) => Some(self.secs(4, 60)),
            Some(_) | None => None,
        };
        let proof = match (speech, interval) {
            (Speech::Raw, _) => Proof::Bytes,
            (_, Some(_)) => self.pick(&[Proof::Bytes, Proof::Bytes, Proof::Message, Proof::Pong]),
            (_, None) => self.pick(&[Proof::Bytes, Proof::Message]),
        };
        let widest = interval.map_or(0, |interval| interval.as_millis() as u64 / 4 - 1);
        let slack = match self.index(4) {
            0 => None,
            1 => Some(Duration::from_millis(self.below(widest))),
            _ => Some(Duration::ZERO),
        };
        HeartbeatConfig {
            interval,
            timeout,
            proof,
            ping_when: self.pick(&[PingWhen::Always, PingWhen::Always, PingWhen::Idle]),
            ping_slack: slack,
            write_timeout: (!self.one_in(8)).then(|| self.secs(1, 15)),
            connect_timeout: self.secs(1, 6),
            handshake_timeout: self.secs(1, 6),
            close_timeout: self.secs(1, 5),
            close_total: self.secs(2, 30),
            app_idle: self.one_in(12).then(|| self.secs(10, 60)),
            max_lifetime: self.one_in(15).then(|| self.secs(30, 200)),
        }
    }

    fn secs(&mut self, low: u64, high: u64) -> Duration {
        Duration::from_millis(low * 1_000 + self.below((high - low) * 1_000))
    }
}
