//! A deadline that blames the peer, other than silence.

use super::Env;
use crate::proto::time::{Micros, Moment, Stamp};

/// When something must have happened, counted from when it was armed.
#[derive(Clone, Copy, Debug)]
pub(super) struct Deadline {
    armed: Stamp,
    span: u32,
}

impl Deadline {
    /// A deadline so many milliseconds after it was armed.
    pub(super) fn after(span: u32, armed: Stamp) -> Self {
        Self { armed, span }
    }

    /// A deadline that was armed so many milliseconds before its time.
    pub(super) fn at(end: Stamp, span: u32) -> Self {
        Self::after(span, end.less(span))
    }

    /// Returns from when on the peer may be blamed: put off for our lateness since it was armed, by its own
    /// length at most.
    pub(super) fn judged(self, env: &Env, now: Moment) -> Micros {
        let most = Micros::from_millis(self.span.into());
        let armed = self.armed.earliest(now.at);
        env.lateness.judged(self.time(now), armed, most, now.at)
    }

    /// Returns by how much that is later than it would be of a loop that is never late.
    pub(super) fn forgiven(self, env: &Env, now: Moment) -> Micros {
        self.judged(env, now) - self.time(now)
    }

    fn time(self, now: Moment) -> Micros {
        self.armed.plus(self.span).time(now.at)
    }
}

/// Whether a budget has left input unread, in which what is awaited may lie.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Backlog {
    None,
    Unread,
}

impl Backlog {
    /// Returns how much more time that gives, once, where it is so many milliseconds.
    pub(super) fn gives(self, millis: u32) -> Micros {
        match self {
            Self::None => Micros::ZERO,
            Self::Unread => Micros::from_millis(millis.into()),
        }
    }
}
