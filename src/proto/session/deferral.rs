//! Waiting for the application, which may take its time to let a connection in or to answer a request.
//!
//! A session that waits is [`Handshaking`](Phase::Handshaking). Its request stays in front of its input,
//! where it is looked at again once the application has decided. Nothing is decoded meanwhile, and no ping is
//! sent. The handshake timeout goes on. If it ends the session, the peer is not to blame, and it is told so.

use super::{Env, Fact, Owed, Session};
use crate::close::{Cause, Phase};
use crate::proto::time::{Moment, Stamp};
use crate::proto::wire::Role;

/// What the application has yet to say of a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Awaited {
    /// Whether the connection is let in.
    Verdict,
    /// The answer to a plain HTTP request.
    Answer,
}

impl Session {
    /// Waits for the application. A session that has just opened, on a wire without an opening handshake,
    /// has not opened then. Of any other one that is not [`Handshaking`](Phase::Handshaking) nothing is
    /// awaited.
    ///
    /// The input must keep the request that is decided about. Once the application has decided, call
    /// [`end_deferral`](Self::end_deferral), and look at the request again; or
    /// [`admit`](Self::admit) or [`reject_own`](Self::reject_own) on a wire without requests.
    pub fn defer(&mut self, env: &Env, now: Moment, awaited: Awaited) {
        match self.phase {
            Phase::Handshaking => {}
            Phase::Open if !self.wire.is_websocket() => self.take_opening_back(env, now),
            Phase::Open | Phase::Connecting | Phase::Closing | Phase::Closed => return,
        }
        self.owed.insert(match awaited {
            Awaited::Verdict => Owed::Verdict,
            Awaited::Answer => Owed::Answer,
        });
    }

    /// Returns what the application has yet to say.
    pub fn awaited(&self) -> Option<Awaited> {
        if self.phase != Phase::Handshaking {
            None
        } else if self.owed.has(Owed::Verdict) {
            Some(Awaited::Verdict)
        } else if self.owed.has(Owed::Answer) {
            Some(Awaited::Answer)
        } else {
            None
        }
    }

    /// Says whether a session waits on although its peer has ended its output. Who has asked plainly may still
    /// read the answer; and on a wire other than WebSocket all that was sent before the end is delivered, and
    /// may be answered.
    pub(super) fn waits_beyond_eof(&self) -> bool {
        match self.awaited() {
            Some(Awaited::Answer) => true,
            Some(Awaited::Verdict) => !self.wire.is_websocket(),
            None => false,
        }
    }

    /// Notes that the application has decided.
    pub fn end_deferral(&mut self) {
        self.owed.remove(Owed::Verdict);
        self.owed.remove(Owed::Answer);
    }

    /// Opens a session that waited, on a wire other than WebSocket.
    pub fn admit(&mut self, env: &mut Env, now: Moment) {
        assert!(
            self.awaited() == Some(Awaited::Verdict) && !self.wire.is_websocket(),
            "it waits to be let in"
        );
        self.end_deferral();
        self.accept_own(env, now);
    }

    /// Ends a session that waits, or another opening handshake, because we go away: as a WebSocket server
    /// with 503, as a codec that has a handshake says it, and without a word on other wires.
    pub fn leave(&mut self, env: &mut Env, now: Moment, cause: Cause) {
        self.turn_back(env, now, cause, "going away");
    }

    /// Ends a session whose application has not decided in time. That does not blame the peer.
    pub(super) fn end_unanswered(&mut self, env: &mut Env, now: Moment, cause: Cause) {
        self.turn_back(env, now, cause, UNANSWERED);
        let held = self.held(env);
        held.reason.clear();
        held.reason.push_str(UNANSWERED);
    }

    fn turn_back(&mut self, env: &mut Env, now: Moment, cause: Cause, why: &str) {
        match self.part.role() {
            Role::Client => self.end(now, cause, None),
            #[cfg(feature = "websocket")]
            Role::Server if self.wire.is_websocket() => {
                let headers = [("Retry-After", "1")];
                self.refuse_plainly(env, now, cause, 503, &headers, why);
                let mut request = self.take_input(env);
                request.clear();
                self.put_input(env, request);
            }
            Role::Server => self.reject_own(env, now, cause, (503, why)),
        }
    }

    /// Makes a session that has just opened one that is in its opening handshake: nobody was told. The time
    /// for that began with the connection, or, of a dialed one, when it was established.
    fn take_opening_back(&mut self, env: &Env, now: Moment) {
        let handshake = env.policy(self.policy).timing.handshake;
        let began = match self.part.role() {
            Role::Server => now.at - self.age(now),
            Role::Client => now.at,
        };
        self.phase = Phase::Handshaking;
        self.phase_ends = Stamp::new(began).plus(handshake);
        self.facts.remove(Fact::WasOpen);
        self.owed.remove(Owed::Closing);
        self.owed.insert(Owed::Rearm);
    }
}

/// Why a session ends that waited for too long.
const UNANSWERED: &str = "the application did not answer in time";
