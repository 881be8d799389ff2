//! What a poll token names: a connection of one generation, a listener, a source, the waker.

use std::fmt;

use mio::Token;

use crate::proto::heartbeat::Phase;

/// Names one connection of a reactor, for as long as it lives and never another one after it.
///
/// Slots are reused at once, so the name holds a generation too: a name kept too long finds nothing.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConnId {
    /// The shard in the upper bits, then the slot.
    place: u32,
    /// Invariant: below 2^30.
    generation: u32,
}

impl ConnId {
    pub(super) fn new(shard: u8, index: usize, generation: u32) -> Self {
        let index = u32::try_from(index).expect("slots are fewer than max_connections");
        debug_assert!(index <= SLOTS, "slots are fewer than max_connections");
        Self {
            place: u32::from(shard) << SLOT_BITS | index,
            generation: generation & GENERATIONS,
        }
    }

    pub(super) const fn index(self) -> usize {
        (self.place & SLOTS) as usize
    }

    /// Returns which loop of a [`Group`](super::Group) holds the connection; zero where there is one.
    pub const fn shard(self) -> usize {
        (self.place >> SLOT_BITS) as usize
    }

    /// Returns the name as one number, for a log or another thread.
    pub const fn as_u64(self) -> u64 {
        (self.generation as u64) << 32 | self.place as u64
    }

    /// Returns the name that [`as_u64`](Self::as_u64) gave as a number. A number it never gave finds no
    /// connection.
    pub const fn from_u64(number: u64) -> Self {
        let [a, b, c, d, e, f, g, h] = number.to_le_bytes();
        Self {
            place: u32::from_le_bytes([a, b, c, d]),
            generation: u32::from_le_bytes([e, f, g, h]) & GENERATIONS,
        }
    }
}

/// Short enough to read aloud: slot, then generation; before them the shard, unless it is the first.
impl fmt::Display for ConnId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.shard() > 0 {
            write!(f, "{}:", self.shard())?;
        }
        write!(f, "{}.{}", self.index(), self.generation)
    }
}

impl fmt::Debug for ConnId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ConnId({self})")
    }
}

/// Names the connections of one loop by what is known of them anyhow. Each has the next phase of a sequence
/// without repetition, and its place there is the generation.
#[derive(Clone, Copy, Debug)]
pub(super) struct Names {
    /// The loop's number among those of its group.
    pub(super) shard: u8,
    /// The phase of the first connection of all.
    pub(super) start: Phase,
}

impl Names {
    pub(super) fn of(self, key: usize, phase: Phase) -> ConnId {
        ConnId::new(self.shard, key, phase.steps_from(self.start))
    }
}

/// Names one listener of a reactor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ListenerId(pub(super) u32);

/// Names one client of a reactor: a target that is dialed, and dialed again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ClientId(pub(super) u32);

/// Names one foreign source of a reactor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SourceId(pub(super) u32);

/// What a token stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Target {
    Conn(ConnId),
    Listener(ListenerId),
    Source(SourceId),
    Waker,
    Alarm,
    WakeTimer,
}

impl Target {
    pub(super) const fn token(self) -> Token {
        match self {
            Self::Conn(id) => Token(id.as_u64() as usize),
            Self::Listener(ListenerId(id)) => Token(1 << KIND | id as usize),
            Self::Source(SourceId(id)) => Token(2 << KIND | id as usize),
            Self::Waker => Token(3 << KIND),
            Self::Alarm => Token(3 << KIND | 1),
            Self::WakeTimer => Token(3 << KIND | 2),
        }
    }

    pub(super) const fn of(token: Token) -> Self {
        let number = (token.0 & 0xFFFF_FFFF) as u32;
        match token.0 >> KIND {
            0 => Self::Conn(ConnId::from_u64(token.0 as u64)),
            1 => Self::Listener(ListenerId(number)),
            2 => Self::Source(SourceId(number)),
            _ if number == 0 => Self::Waker,
            _ if number == 1 => Self::Alarm,
            _ => Self::WakeTimer,
        }
    }
}

/// The two topmost bits say what a token is.
const KIND: u32 = 62;

/// Bits of a slot's number, and the largest.
pub(super) const SLOT_BITS: u32 = 26;
const SLOTS: u32 = (1 << SLOT_BITS) - 1;

const _: () = assert!(
    super::Group::MOST << SLOT_BITS <= 1 << 32,
    "a shard fits beside it"
);

const GENERATIONS: u32 = (1 << 30) - 1;

const _: () = assert!(usize::BITS == 64, "a token holds a slot and its generation");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_target_survives_its_token() {
        for target in [
            Target::Conn(ConnId::new(0, 0, 0)),
            Target::Conn(ConnId::new(63, SLOTS as usize, u32::MAX)),
            Target::Listener(ListenerId(7)),
            Target::Source(SourceId(u32::MAX)),
            Target::Waker,
            Target::Alarm,
            Target::WakeTimer,
        ] {
            assert_eq!(Target::of(target.token()), target);
        }
    }

    #[test]
    fn a_name_survives_its_number() {
        for (shard, words) in [(0, "17.4"), (3, "3:17.4")] {
            let id = ConnId::new(shard, 17, 4);
            assert_eq!(ConnId::from_u64(id.as_u64()), id);
            assert_eq!((id.shard(), id.index()), (shard.into(), 17));
            assert_eq!(id.to_string(), words);
        }
    }
}
