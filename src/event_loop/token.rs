//! What a poll token stands for: a connection of one generation, a listener, a source, or the
//! waker.

use std::fmt;
use std::str::FromStr;

use slab::Slab;

use crate::proto::heartbeat::PingPhase;
use crate::sys::Token;

/// The id of one connection of a reactor: slot and generation.
///
/// Slots are reused at once. Each new connection of the loop, accepted or dialed, gets the next
/// generation, so an old id finds nothing. The generation has 32 bits. An old id can find another
/// connection only after exactly 2^32 later connections (or a multiple of that) in this loop, and
/// only if the last of them has the same slot. At ten thousand new connections a second, that takes
/// five days. If you keep ids for longer, forget them in [`on_close`](super::Handler::on_close).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConnId {
    /// The shard in the upper bits, then the slot.
    place: u32,
    generation: u32,
}

impl ConnId {
    pub(super) fn new(shard: u8, index: usize, generation: u32) -> Self {
        let index = u32::try_from(index).expect("slots are fewer than max_connections");
        debug_assert!(index <= SLOTS, "slots are fewer than max_connections");
        Self {
            place: u32::from(shard) << SLOT_BITS | index,
            generation,
        }
    }

    pub(super) const fn index(self) -> usize {
        (self.place & SLOTS) as usize
    }

    /// Returns the number of the loop that holds the connection, in its [`Group`](super::Group),
    /// from 0 on.
    pub const fn shard(self) -> usize {
        (self.place >> SLOT_BITS) as usize
    }

    /// Returns the id as one number, for a log or another thread.
    pub const fn as_u64(self) -> u64 {
        (self.generation as u64) << 32 | self.place as u64
    }

    /// Returns the id for a number from [`as_u64`](Self::as_u64). Any other number finds no
    /// connection.
    pub const fn from_u64(number: u64) -> Self {
        let [a, b, c, d, e, f, g, h] = number.to_le_bytes();
        Self {
            place: u32::from_le_bytes([a, b, c, d]),
            generation: u32::from_le_bytes([e, f, g, h]),
        }
    }
}

/// Slot and generation, such as `5.17`; in loops other than the first the shard comes before them:
/// `2:5.17`.
impl fmt::Display for ConnId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.shard() > 0 {
            write!(f, "{}:", self.shard())?;
        }
        write!(f, "{}.{}", self.index(), self.generation)
    }
}

/// Reads an id as it is written: `12.0`, or `1:12.0` in the second loop of a group.
impl FromStr for ConnId {
    type Err = ConnIdError;

    fn from_str(text: &str) -> Result<Self, ConnIdError> {
        let (shard, rest) = text.split_once(':').unwrap_or(("0", text));
        let (index, generation) = rest.split_once('.').ok_or(ConnIdError)?;
        let shard: u32 = shard.parse().map_err(|_| ConnIdError)?;
        let index: u32 = index.parse().map_err(|_| ConnIdError)?;
        let generation = generation.parse().map_err(|_| ConnIdError)?;
        if index > SLOTS || shard >= 1 << (u32::BITS - SLOT_BITS) {
            return Err(ConnIdError);
        }
        let place = shard << SLOT_BITS | index;
        Ok(Self { place, generation })
    }
}

/// A text is not the id of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConnIdError;

impl fmt::Display for ConnIdError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("is not the id of a connection, such as 12.0 or 1:12.0")
    }
}

impl std::error::Error for ConnIdError {}

impl fmt::Debug for ConnId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ConnId({self})")
    }
}

/// The id of one plain HTTP request: the connection that it came on, and its number.
///
/// A connection may carry many requests, and answers them in order. So who answers
/// [later](super::Decision::Later) says which one is meant. The id of a request that has its answer finds
/// nothing, whatever the connection is asked next.
///
/// The loop counts the requests that it hands to [`on_http`](super::Handler::on_http), with 64 bits, so no
/// id comes twice.
#[cfg(feature = "websocket")]
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RequestId {
    pub(super) conn: ConnId,
    pub(super) number: u64,
}

#[cfg(feature = "websocket")]
impl RequestId {
    /// Returns the connection that the request came on.
    pub const fn conn(self) -> ConnId {
        self.conn
    }
}

/// Derives the ids of one loop's connections. Each connection has the next phase of a sequence without
/// repetition, and the place in the sequence is the generation; so no generation is stored.
#[derive(Clone, Copy, Debug)]
pub(super) struct Names {
    /// The loop's number among those of its group.
    pub(super) shard: u8,
    /// The phase of the first connection of all.
    pub(super) start: PingPhase,
}

impl Names {
    pub(super) fn of(self, key: usize, phase: PingPhase) -> ConnId {
        ConnId::new(self.shard, key, phase.steps_from(self.start))
    }
}

/// The id of one listener of a reactor. An id of a closed listener finds nothing, until 2^31 more
/// listeners have been opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ListenerId(pub(super) u32);

/// The id of one client of a reactor: a target that is dialed, and dialed again. An id of a stopped
/// client finds nothing, until 2^31 more clients have been added.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ClientId(pub(super) u32);

/// The id of one foreign source of a reactor: slot and generation. An old id finds nothing, until
/// exactly 2^32 later sources (or a multiple of that) have been registered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SourceId {
    slot: u32,
    generation: u32,
}

/// Numbers given out one after the other. Once all have been they begin anew, without those in use.
#[derive(Debug, Default)]
pub(super) struct Numbers {
    last: u32,
}

impl Numbers {
    /// The largest: an [`Endpoint`](super::Endpoint) has a bit beside it.
    const MOST: u32 = (1 << 31) - 1;

    /// Returns the next one, which is not given out yet.
    pub(super) fn next(&self, is_taken: impl Fn(u32) -> bool) -> u32 {
        let mut next = self.last;
        loop {
            next = next % Self::MOST + 1;
            if !is_taken(next) {
                return next;
            }
        }
    }

    /// Gives the next one out.
    pub(super) fn give(&mut self, number: u32) {
        self.last = number;
    }
}

/// The foreign sources that are registered, each with a generation of its own.
#[derive(Debug, Default)]
pub(super) struct Sources {
    generations: Slab<u32>,
    last: u32,
}

impl Sources {
    pub(super) fn insert(&mut self) -> SourceId {
        self.last = self.last.wrapping_add(1);
        let slot = self.generations.insert(self.last);
        assert!(slot <= SLOTS as usize, "sources are few");
        SourceId {
            slot: slot as u32,
            generation: self.last,
        }
    }

    pub(super) fn contains(&self, id: SourceId) -> bool {
        self.generations.get(id.slot as usize) == Some(&id.generation)
    }

    /// Removes a source, if it is still registered.
    pub(super) fn remove(&mut self, id: SourceId) {
        if self.contains(id) {
            self.generations.remove(id.slot as usize);
        }
    }
}

/// What a token stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Target {
    Conn(ConnId),
    Listener(ListenerId),
    Source(SourceId),
    Waker,
    /// A token of the system itself.
    System(Token),
}

impl Target {
    /// Returns the token. A selector belongs to one loop, so the token needs no shard: these bits
    /// hold the kind. Above them is the generation or number, below them the slot.
    pub(super) const fn token(self) -> Token {
        let (number, kind, slot) = match self {
            Self::Conn(id) => (id.generation, 0, id.index()),
            Self::Listener(ListenerId(id)) => (id, 1, 0),
            Self::Source(id) => (id.generation, 2, id.slot as usize),
            Self::Waker => return Token::WAKE,
            Self::System(token) => return token,
        };
        Token((number as usize) << 32 | kind << SLOT_BITS | slot)
    }

    /// Returns what a token stands for in the loop with this number.
    pub(super) fn of(token: Token, shard: u8) -> Self {
        let number = (token.0 >> 32) as u32;
        match (token.0 as u32) >> SLOT_BITS {
            0 => Self::Conn(ConnId::new(shard, token.0 & SLOTS as usize, number)),
            1 => Self::Listener(ListenerId(number)),
            2 => Self::Source(SourceId {
                slot: token.0 as u32 & SLOTS,
                generation: number,
            }),
            3 => Self::Waker,
            _ => Self::System(token),
        }
    }
}

/// Bits of a slot's number, and the largest.
pub(super) const SLOT_BITS: u32 = Token::SLOT_BITS;
const SLOTS: u32 = (1 << SLOT_BITS) - 1;

const _: () = assert!(usize::BITS == 64, "a token holds a slot and its generation");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_target_survives_its_token() {
        for target in [
            Target::Conn(ConnId::new(0, 0, 0)),
            Target::Conn(ConnId::new(63, SLOTS as usize, u32::MAX)),
            Target::Listener(ListenerId(u32::MAX)),
            Target::Source(SourceId {
                slot: SLOTS,
                generation: u32::MAX,
            }),
            Target::Waker,
            Target::System(Token::SYSTEM),
            Target::System(Token(Token::SYSTEM.0 + 1)),
        ] {
            let shard = match target {
                Target::Conn(id) => u8::try_from(id.shard()).expect("a shard"),
                _ => 7,
            };
            assert_eq!(Target::of(target.token(), shard), target);
        }
    }

    #[test]
    fn a_generation_comes_back_after_all_others_of_32_bits() {
        let start = PingPhase::new(0x1234_5678);
        let names = Names { shard: 3, start };
        for generation in (0..32).map(|bit| 1 << bit).chain([0, u32::MAX]) {
            let id = names.of(17, start.after(generation));
            assert_eq!(id, ConnId::new(3, 17, generation));
            assert_eq!(ConnId::from_u64(id.as_u64()), id);
            let token = Target::Conn(id).token();
            assert_eq!(Target::of(token, 3), Target::Conn(id));
        }
        assert_eq!(
            names.of(17, start.after(u32::MAX).next()),
            names.of(17, start)
        );
    }

    #[test]
    fn numbers_come_back_after_all_others_and_not_while_they_are_in_use() {
        let mut numbers = Numbers::default();
        assert_eq!(numbers.next(|_| false), 1);
        assert_eq!(numbers.next(|_| false), 1, "not given out yet");
        numbers.give(1);
        assert_eq!(numbers.next(|_| false), 2);
        numbers.give(Numbers::MOST - 1);
        assert_eq!(numbers.next(|_| false), Numbers::MOST);
        numbers.give(Numbers::MOST);
        assert_eq!(numbers.next(|number| number < 3), 3);
    }

    #[test]
    fn the_name_of_a_source_that_is_gone_finds_nothing() {
        let mut sources = Sources {
            last: u32::MAX - 1,
            ..Sources::default()
        };
        let first = sources.insert();
        sources.remove(first);
        let second = sources.insert();
        assert_eq!((first.slot, second.slot), (0, 0), "slots are used again");
        assert!(sources.contains(second) && !sources.contains(first));
        sources.remove(first);
        assert!(sources.contains(second), "not taken out by another's name");
        sources.remove(second);
        assert!(!sources.contains(second) && sources.generations.is_empty());
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
