//! What a deadline comes to, step by step: look before judging.

use super::{Backlog, Due, Env, Session};
use crate::close::{Cause, KernelFigures, Phase};
use crate::proto::time::{Micros, Moment};

/// How far a session is with what is due.
///
/// A new one begins for each deadline that the wheel reports. The shell asks
/// [`Session::handle_expiry`], does the one step that it is told, and asks again with what it found, all in the
/// same turn, until it is told to wait.
#[derive(Debug, Default)]
pub struct Expiry {
    stage: Stage,
    acts: u8,
}

/// The next step for the shell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Nothing before this time: [`Micros::MAX`] is never, and a time that has come is the next tick. This ends
    /// the expiry.
    Wait(Micros),
    /// See what has come of the dial, or of a header in front of the stream, and tell the session.
    Connect,
    /// Read until the socket has nothing, whatever was known of it, or a budget is used up.
    ReadOnce,
    /// See whether bytes wait in the socket, without taking them.
    Peek,
    /// Offer the output to the socket, whatever was known of it, unless it has refused some since the last
    /// wait.
    WriteOnce,
    /// Ask the kernel what it knows of the socket's output.
    Figures,
    /// Output was queued or the phase changed: flush, then look at the socket action.
    Flush,
    /// Nothing is to be done: what was just decided, for who listens.
    Note(Note),
}

impl Step {
    /// Says whether the shell must ask the system about the socket. Such steps take longest. A
    /// shell may drop the expiry at the first of them and begin it again later, after those of
    /// other sessions.
    pub fn looks(&self) -> bool {
        match self {
            Self::Connect | Self::ReadOnce | Self::Peek | Self::WriteOnce | Self::Figures => true,
            Self::Wait(_) | Self::Flush | Self::Note(_) => false,
        }
    }
}

/// What was decided about a peer that has not been heard in time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Note {
    /// Bytes wait unread, and count as if they were read.
    Waiting,
    /// It seems silent, after one more read.
    Silent {
        /// The verdict waits for bytes that a budget left unread.
        is_put_off: bool,
    },
    /// Its silence is about to be judged.
    Judging,
    /// The judgement: it is slow, and has more time.
    Spared,
}

/// What the shell knows of a connection, after the last step.
#[derive(Clone, Copy, Debug, Default)]
pub struct Found {
    /// A budget was used up before the input: it will be read on.
    pub is_unread: bool,
    /// Bytes wait in the socket, where the last step was [`Step::Peek`].
    pub is_waiting: bool,
    /// A write has failed, and what the peer said before is still to be read, which ends the connection.
    pub is_lost: bool,
    /// What the kernel said, where the last step was [`Step::Figures`].
    pub kernel: Option<KernelFigures>,
}

/// What the shell was asked for last.
#[derive(Clone, Copy, Debug, Default)]
enum Stage {
    #[default]
    Nothing,
    /// To see what has come of the dial, or of what comes before the stream.
    Connecting,
    /// To read.
    Reading(Doubt),
    /// To see what waits.
    Peek(Doubt),
    /// To hear that it counts.
    Counted(Doubt),
    /// To offer output that has stalled.
    Retry,
    /// To hear whether a verdict of silence is put off.
    Silence { is_put_off: bool },
    /// To offer the output of a peer that seems silent.
    Offer,
    /// To hear that silence is about to be judged.
    Judge,
    /// For the kernel's figures.
    Figures,
    /// To see to whatever was due.
    Act,
}

/// What a peer may have refuted in bytes that nobody has read.
#[derive(Clone, Copy, Debug)]
enum Doubt {
    /// A phase, a message or the next one takes too long.
    Overdue,
    /// Nothing is heard.
    Silent,
}

impl Session {
    /// Goes on with what is due at `now`, and returns the next step. No verdict about the peer is spoken before
    /// the socket was read, or output offered to it, in this very turn.
    pub fn handle_expiry(
        &mut self,
        env: &mut Env,
        now: Moment,
        expiry: &mut Expiry,
        found: &Found,
    ) -> Step {
        match expiry.stage {
            // What we are late with ourselves needs no look.
            Stage::Nothing if !self.is_overdue(env, now) || self.awaited().is_some() => {
                self.act(env, now, expiry, found)
            }
            Stage::Nothing if self.phase == Phase::Connecting => {
                expiry.ask(Stage::Connecting, Step::Connect)
            }
            // What it says may lie behind what was taken to get here, such as the header of a proxy.
            Stage::Connecting
                if self.phase == Phase::Handshaking
                    && self.is_overdue(env, now)
                    && self.awaited().is_none() =>
            {
                self.look(expiry, Doubt::Overdue)
            }
            Stage::Nothing => self.look(expiry, Doubt::Overdue),
            Stage::Reading(doubt) if found.is_unread => expiry.ask(Stage::Peek(doubt), Step::Peek),
            Stage::Peek(doubt) if found.is_waiting || self.is_paused() && self.has_input() => {
                // It is not silent: we are behind, or do not want to read.
                self.handle_waiting_bytes(env, now);
                expiry.ask(Stage::Counted(doubt), Step::Note(Note::Waiting))
            }
            Stage::Reading(doubt) | Stage::Peek(doubt) | Stage::Counted(doubt) => {
                self.conclude(env, now, expiry, found, doubt)
            }
            Stage::Retry | Stage::Offer if found.is_lost => Step::Wait(now.at),
            Stage::Retry => {
                if self.is_stalled(env, now) {
                    self.stall(env, now);
                } else if self.phase == Phase::Open && self.drains_slowly(env, now) {
                    self.close(env, now, Cause::SlowPeer, None, "reads too slowly");
                }
                expiry.ask(Stage::Act, Step::Flush)
            }
            Stage::Silence { is_put_off: true } => Step::Wait(now.at),
            // Where output waits, a ping among it perhaps, the verdict is about that too.
            Stage::Silence { .. } if self.has_output() && self.is_silent(env, now) => {
                expiry.ask(Stage::Offer, Step::WriteOnce)
            }
            Stage::Silence { .. } | Stage::Offer if self.is_silent(env, now) => {
                expiry.ask(Stage::Judge, Step::Note(Note::Judging))
            }
            Stage::Judge => expiry.ask(Stage::Figures, Step::Figures),
            Stage::Figures if self.spare_slow(env, now, found.kernel.as_ref()) => {
                expiry.ask(Stage::Act, Step::Note(Note::Spared))
            }
            Stage::Figures => {
                self.judge(env, now, found.kernel);
                expiry.ask(Stage::Act, Step::Flush)
            }
            Stage::Connecting | Stage::Silence { .. } | Stage::Offer | Stage::Act => {
                self.act(env, now, expiry, found)
            }
        }
    }

    /// Does what is due, one thing after another.
    fn act(&mut self, env: &mut Env, now: Moment, expiry: &mut Expiry, found: &Found) -> Step {
        if expiry.acts == MOST_ACTS {
            return Step::Wait(now.at);
        }
        expiry.acts += 1;
        let backlog = match found.is_unread {
            true => Backlog::Unread,
            false => Backlog::None,
        };
        match self.handle_timeout(env, now, backlog) {
            Due::Wait(deadline) => Step::Wait(deadline),
            Due::Changed => expiry.ask(Stage::Act, Step::Flush),
            Due::Stalled => expiry.ask(Stage::Retry, Step::WriteOnce),
            Due::Silent => self.look(expiry, Doubt::Silent),
        }
    }

    /// Looks for what the peer has to say. While reading is paused that is left where it is.
    fn look(&self, expiry: &mut Expiry, doubt: Doubt) -> Step {
        match self.is_paused() {
            true => expiry.ask(Stage::Peek(doubt), Step::Peek),
            false => expiry.ask(Stage::Reading(doubt), Step::ReadOnce),
        }
    }

    /// Decides after the look.
    fn conclude(
        &mut self,
        env: &mut Env,
        now: Moment,
        expiry: &mut Expiry,
        found: &Found,
        doubt: Doubt,
    ) -> Step {
        match doubt {
            // A head has a limit, so that the rest of it is soon read.
            Doubt::Overdue if self.phase == Phase::Handshaking && found.is_unread => {
                Step::Wait(now.at)
            }
            Doubt::Overdue => self.act(env, now, expiry, found),
            Doubt::Silent => {
                // What it sent may lie behind the bytes that a budget left unread.
                let is_put_off = found.is_unread && !self.is_silent_behind_backlog(env, now);
                let note = Note::Silent { is_put_off };
                expiry.ask(Stage::Silence { is_put_off }, Step::Note(note))
            }
        }
    }
}

impl Expiry {
    fn ask(&mut self, stage: Stage, step: Step) -> Step {
        self.stage = stage;
        step
    }
}

/// Things one connection may have due at once: a ping, a silence, an end, and what comes next.
const MOST_ACTS: u8 = 4;
