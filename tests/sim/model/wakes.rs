//! Nothing is forgotten between two turns: what waits in the kernel will be told of, or is kept in mind.

use heartwheel::close::{Cause, Phase};

use super::lateness::When;
use super::watch::Watch;

/// What the kernel has for a process between two turns.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Waiting {
    /// Bytes, or an error.
    pub(crate) input: bool,
    /// The peer has ended its direction.
    pub(crate) has_ended: bool,
    /// The next wait ends with an event of this socket.
    pub(crate) is_told: bool,
    /// There will be an event when output can go on.
    pub(crate) will_have_room: bool,
}

impl Watch {
    /// Demands, at the end of a turn, that an end that was read or asked for has had its consequences.
    /// `is_read`: input is read as it comes, and nothing is left over.
    pub(crate) fn check_ended(&self, now: When, is_read: bool) {
        let has_ended = self.is_eof || self.is_closed_by_peer || self.failure.is_some();
        let goes_on = self.phase == Phase::Open && has_ended && is_read && !self.is_undecoded;
        self.demand(now, !goes_on, || "goes on though the peer has ended".into());
        let is_wanted = self.wanted.iter().any(|cause| {
            matches!(
                cause,
                Cause::LocalClose | Cause::Replaced | Cause::Drain | Cause::Refused
            )
        });
        let is_ending = matches!(self.phase, Phase::Closing | Phase::Closed);
        self.demand(now, is_ending || !is_wanted, || {
            "goes on though it was to end".into()
        });
    }

    /// Demands, at the end of a turn, that somebody will come back to what is not done.
    pub(crate) fn check_wakes(
        &self,
        now: When,
        is_read: bool,
        holds_output: bool,
        waiting: &Waiting,
    ) {
        let is_connected = match self.phase {
            Phase::Handshaking | Phase::Open | Phase::Closing => self.failure.is_none(),
            Phase::Connecting | Phase::Closed => false,
        };
        if !is_connected || waiting.is_told {
            return;
        }
        let is_unread = waiting.input || (waiting.has_ended && !self.is_eof);
        self.demand(now, !(is_unread && is_read), || {
            "nobody will read what has come".into()
        });
        self.demand(now, !holds_output || waiting.will_have_room, || {
            "nobody will write what waits".into()
        });
    }
}
