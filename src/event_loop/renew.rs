//! Connections take over what their listener was changed to, a limited number in each turn.

use super::core::EventLoop;
use super::endpoint::Endpoint;
use super::token::ListenerId;
use crate::sys::System;

impl<D, S: System> EventLoop<D, S> {
    /// See [`Context::renew_connections`](super::Context::renew_connections).
    pub fn renew_connections(&mut self, id: ListenerId) -> bool {
        self.progress.spoil_plan();
        let is_there = self.listeners.get(id).is_some();
        if is_there {
            self.renewals.begin(id);
        }
        is_there
    }

    /// Goes on with the connections that come next.
    pub(super) fn step_renewals(&mut self) {
        self.refresh_now();
        let mut left = RENEWED;
        for _ in 0..SLOTS {
            let Some(key) = self.renewals.take_next(self.broadcasts.reach()) else {
                return;
            };
            left -= usize::from(self.renew(key));
            if left == 0 {
                return;
            }
        }
    }

    /// Gives a connection what its listener has now, if that is other than what it has. Returns whether it is.
    fn renew(&mut self, key: usize) -> bool {
        let Some(conn) = self.conns.get(key) else {
            return false;
        };
        let Endpoint::Listener(id) = conn.endpoint() else {
            return false;
        };
        if !self.renewals.concern(id) {
            return false;
        }
        let Some(listener) = self.listeners.get(id) else {
            return false;
        };
        let (policy, session) = (listener.policy(), &conn.session);
        let pings = self.env.policy(policy).timing.interval.is_some();
        let fits = session.wire() == listener.wire().kind() && (session.has_pings() || !pings);
        if !fits || session.policy() == policy {
            return false;
        }
        let session = &mut self.conns[key].session;
        session.take_policy(&mut self.env, self.now, policy);
        self.mark_dirty(key);
        true
    }
}

/// Connections that are changed in one turn, and slots that are looked at. Each change costs about a
/// microsecond, and again as much when its timer is moved.
const RENEWED: usize = 1024;
const SLOTS: usize = 16 * 1024;
