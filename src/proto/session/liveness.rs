//! How well a peer answers: what is known of it between two verdicts.

use super::{Env, Session};
use crate::close::{Cause, Liveness, Phase};
use crate::proto::time::Moment;

impl Session {
    /// Returns how many pings the peer has sent: at most 16 777 215, where the count stays.
    pub fn pings_received(&self) -> u32 {
        self.pings_received.count()
    }

    /// Returns whether the peer answers in time. Asks the system nothing.
    pub fn liveness(&self, env: &Env, now: Moment) -> Liveness {
        let timing = &env.policy(self.policy).timing;
        match self.cause() {
            Some(cause) if is_death(cause) => Liveness::Dead,
            None if self.phase == Phase::Open
                && self.heartbeat.is_late(timing, now, &env.lateness) =>
            {
                Liveness::Late
            }
            _ => Liveness::Healthy,
        }
    }
}

/// Says whether a peer that ends for this cause was found dead.
fn is_death(cause: Cause) -> bool {
    matches!(
        cause,
        Cause::Silent
            | Cause::PongTimeout
            | Cause::PathDead
            | Cause::PeerUnresponsive
            | Cause::WriteStalled
    )
}
