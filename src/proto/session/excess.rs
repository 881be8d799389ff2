//! More messages or bytes a second than the limits allow: reading pauses, or the session closes.

use super::rates::{Rates, Taken};
use super::{Env, Fact, Owed, Session};
use crate::close::{Cause, Phase};
use crate::config::Excess;
use crate::proto::time::{Micros, Moment};

impl Session {
    /// Charges the peer for what it sent, if that is limited.
    #[inline]
    pub(super) fn charge(&mut self, env: &mut Env, now: Moment, taken: Taken) {
        let limits = &env.policy(self.policy).limits;
        let is_limited = match taken {
            Taken::Message => limits.messages.is_some(),
            Taken::Bytes(count) => limits.bytes.is_some() && count > 0,
        };
        if is_limited && self.phase == Phase::Open {
            self.take(env, now, taken);
        }
    }

    #[cold]
    fn take(&mut self, env: &mut Env, now: Moment, taken: Taken) {
        let limits = &env.policy(self.policy).limits;
        let excess = limits.excess;
        let Some(refills) = self.rates_mut(now).take(limits, taken, now.at) else {
            return;
        };
        match excess {
            Excess::Pause => self.pause_until(env, now, refills),
            Excess::Close => {
                let reason = match taken {
                    Taken::Message => "too many messages",
                    Taken::Bytes(_) => "too many bytes",
                };
                self.close(env, now, Cause::RateLimited, None, reason);
            }
        }
    }

    fn pause_until(&mut self, env: &mut Env, now: Moment, until: Micros) {
        let is_paused = self.heartbeat.is_paused();
        if self.rates_mut(now).pause(until, is_paused) {
            env.stats.rate_pauses += 1;
            self.pause(now);
        }
        self.owed.insert(Owed::Rearm);
    }

    /// Returns when a limit no longer keeps us from reading.
    pub(super) fn limit_ends(&self) -> Option<Micros> {
        self.rare.as_ref()?.rates.as_ref()?.resumes()
    }

    /// Reads again if a limit has kept us from that until now. Returns whether it has.
    pub(super) fn end_limit(&mut self, now: Moment) -> bool {
        if self.limit_ends().is_none_or(|end| end > now.at) {
            return false;
        }
        if self.rates_mut(now).resume() {
            self.resume(now);
        }
        true
    }

    /// Notes whether the shell wants to read or not, if a limit keeps it from that. Returns whether one
    /// does.
    pub(super) fn hold_limited(&mut self, is_held: bool) -> bool {
        self.rates().is_some_and(|rates| rates.hold(is_held))
    }

    /// Says whether reading is paused for another reason than a limit.
    pub(super) fn wants_pause(&self) -> bool {
        if let Some(is_twice) = self.choked_twice() {
            return is_twice;
        }
        let rates = self.rare.as_ref().and_then(|rare| rare.rates.as_ref());
        let limited = rates.filter(|rates| rates.resumes().is_some());
        limited.map_or_else(|| self.heartbeat.is_paused(), |rates| rates.is_held())
    }

    /// Counts what the peer sent while nobody read as if it had come evenly since then.
    pub(super) fn credit_rates(&mut self, since: Micros, now: Moment) {
        if let Some(rates) = self.rates() {
            rates.credit(since, now.at);
        }
    }

    /// Gives up the buckets if nothing is owed.
    pub(super) fn drop_rates(&mut self, env: &Env, now: Moment) {
        if self.rates().is_none_or(|rates| !rates.is_paid(now.at)) {
            return;
        }
        let is_timed = env.policy(self.policy).timing.app_idle.is_some();
        if let Some(rare) = &mut self.rare {
            rare.rates = None;
            if rare.codec.is_none() && rare.aside.is_none() && !is_timed {
                self.rare = None;
            }
        }
    }

    fn rates(&mut self) -> Option<&mut Rates> {
        self.rare.as_mut()?.rates.as_deref_mut()
    }

    /// Returns the buckets, which are full at first.
    fn rates_mut(&mut self, now: Moment) -> &mut Rates {
        // What lay unread was sent since then, though nothing had come before.
        let unread = self.facts.has(Fact::Credit);
        let since = self.ping_debt.earlier(self.pong_debt).time(now.at);
        let rates = &mut self.rare_mut(now).rates;
        rates.get_or_insert_with(|| {
            Box::new(match unread {
                true => Rates::unread(since, now.at),
                false => Rates::new(now.at),
            })
        })
    }
}
