//! What made life hard in a world: counted, so that a run can show that it was there.

use std::collections::BTreeMap;

use super::World;

/// Something that a heartbeat has to stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Hardship {
    /// A packet was under way for a second or more.
    LongDelay,
    /// A path that was cut has swallowed a packet.
    PacketLost,
    /// A machine without power, or asleep, has.
    NobodyThere,
    /// A kernel sent bytes once more, or asked for a window.
    Retransmission,
    /// A read ended in the middle of a frame or a head.
    SplitRead,
    /// A kernel took a part of what it was offered.
    ShortWrite,
    /// A message had no room before the queue was offered to the kernel.
    FullQueue,
    Reset,
    EndOfInput,
    /// A turn began so late that the process must have been stopped.
    Stop,
    /// A turn lasted longer than what is not counted as late.
    LongTurn,
    /// So did one of a process that always has something to do.
    Saturation,
    /// A process noticed that its machine had slept.
    Sleep,
    /// A clock was moved ahead.
    ClockJump,
    Kill,
    PowerLoss,
    /// A connection was put where another had been.
    SlotReuse,
    /// An event was told of a connection that was gone by then.
    StaleEvent,
    /// Another one was in its slot already.
    StaleEventOfUsedSlot,
    /// A turn took fewer events than there were, or handled fewer timers than were due.
    BudgetSpent,
    /// Reading was paused for so long that bytes waiting in the socket were asked for.
    LongPause,
    OtherPolicy,
    /// Reading stopped because memory was short.
    MemoryShort,
    /// A pong came that nobody had asked for.
    StrayPong,
    /// A silent peer was given more time, because the kernel said that it was slow.
    Spared,
    /// A verdict of silence fell after the loop had been late.
    Forgiveness,
    /// A process closed a listener and ran on.
    ListenerClosed,
    /// Somebody waited to be accepted then.
    BacklogReset,
    /// An application decided later whether to let somebody in.
    Deferred,
    /// Too many waited for that.
    DeferralRefused,
}

impl Hardship {
    /// What a few hundred worlds meet for certain; the rest is for rows.
    pub(crate) const EXPECTED: [Self; 28] = [
        Self::MemoryShort,
        Self::LongDelay,
        Self::PacketLost,
        Self::NobodyThere,
        Self::Retransmission,
        Self::SplitRead,
        Self::ShortWrite,
        Self::FullQueue,
        Self::Reset,
        Self::EndOfInput,
        Self::Stop,
        Self::LongTurn,
        Self::Saturation,
        Self::Sleep,
        Self::ClockJump,
        Self::Kill,
        Self::PowerLoss,
        Self::SlotReuse,
        Self::StaleEvent,
        Self::BudgetSpent,
        Self::LongPause,
        Self::OtherPolicy,
        Self::StrayPong,
        Self::Spared,
        Self::Forgiveness,
        Self::ListenerClosed,
        Self::Deferred,
        Self::DeferralRefused,
    ];
}

/// How often each was met.
#[derive(Clone, Debug, Default)]
pub(crate) struct Hardships(BTreeMap<Hardship, u64>);

impl Hardships {
    pub(crate) fn count(&self, hardship: Hardship) -> u64 {
        self.0.get(&hardship).copied().unwrap_or(0)
    }

    pub(crate) fn add(&mut self, other: Self) {
        for (hardship, count) in other.0 {
            *self.0.entry(hardship).or_default() += count;
        }
    }
}

impl World {
    pub(crate) fn meet(&mut self, hardship: Hardship) {
        *self.hardships.0.entry(hardship).or_default() += 1;
    }

    pub(crate) fn meet_if(&mut self, is_met: bool, hardship: Hardship) {
        if is_met {
            self.meet(hardship);
        }
    }
}
