//! Broadcasts under way, and which slots each of them has still to visit.

use std::collections::{HashMap, VecDeque};

use super::token::ConnId;
use crate::error::SendError;
use crate::proto::message::SharedMessage;

/// The id of one broadcast of a loop. The id of a later one is greater.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BroadcastId(u64);

impl BroadcastId {
    /// Returns the id as one number, for a log or another thread.
    pub const fn as_u64(self) -> u64 {
        self.0
    }
}

/// A broadcast that is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct BroadcastDone {
    /// What [`Context::broadcast`](super::Context::broadcast) returned.
    pub id: BroadcastId,
    /// Connections whose queue took the message.
    pub sent: usize,
    /// Connections whose queue had no room for it, or whose wire cannot carry it.
    pub dropped: usize,
}

/// Broadcasts under way, the oldest first.
///
/// One cursor goes round over the slots of the loop's connections. At each slot it hands out all
/// broadcasts that are under way, and so a connection gets several with one write. Each broadcast is
/// over when the cursor has come back to the slot where it began. Its recipients are the
/// connections that were open when it began: for each slot whose connection opened later, or was
/// served early, the number of the first broadcast that it still gets is kept.
#[derive(Debug, Default)]
pub(super) struct Broadcasts {
    under_way: VecDeque<Broadcast>,
    /// Number of the next one.
    next: u64,
    /// Where the cursor is.
    place: Place,
    /// The number of slots that were ever in use: the cursor turns back there.
    reach: usize,
    /// What `under_way` counts against [`MOST_BYTES`].
    bytes: usize,
    /// By slot: the first broadcast that its connection gets. Slots that are not listed get all that
    /// are under way.
    since: HashMap<usize, u64>,
}

/// Where the cursor was or is: the round, then the slot.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
struct Place {
    round: u64,
    slot: usize,
}

/// One of them.
#[derive(Debug)]
struct Broadcast {
    message: SharedMessage,
    except: Option<ConnId>,
    began: Place,
    done: BroadcastDone,
}

impl Broadcast {
    /// Says whether the cursor, which is at `place`, has visited a slot since this began.
    fn has_visited(&self, slot: usize, place: Place) -> bool {
        if place.round == self.began.round {
            (self.began.slot..place.slot).contains(&slot)
        } else {
            slot >= self.began.slot || slot < place.slot
        }
    }

    /// Returns when it is over.
    fn ends(&self) -> Place {
        Place {
            round: self.began.round + 1,
            slot: self.began.slot,
        }
    }
}

impl Broadcasts {
    /// Begins one, for the connections that are open now.
    pub(super) fn begin(&mut self, message: SharedMessage, except: Option<ConnId>) -> BroadcastId {
        let id = BroadcastId(self.next);
        self.next += 1;
        self.bytes += cost(&message);
        self.under_way.push_back(Broadcast {
            message,
            except,
            began: self.place,
            done: BroadcastDone {
                id,
                sent: 0,
                dropped: 0,
            },
        });
        id
    }

    /// Returns an error if there is no room for another one. The first may be of any size.
    pub(super) fn check_room(&self, message: &SharedMessage) -> Result<(), SendError> {
        let after = self.bytes.saturating_add(cost(message));
        if self.is_empty() || (!self.is_full() && after <= MOST_BYTES) {
            return Ok(());
        }
        Err(SendError::Full {
            queued: self.bytes,
            limit: MOST_BYTES,
        })
    }

    /// Says whether there is no room for another one, however small it is.
    pub(super) fn is_full(&self) -> bool {
        self.under_way.len() >= MOST || self.bytes >= MOST_BYTES
    }

    pub(super) fn is_empty(&self) -> bool {
        self.under_way.is_empty()
    }

    pub(super) fn len(&self) -> usize {
        self.under_way.len()
    }

    /// Notes that a slot is in use.
    pub(super) fn note_slot(&mut self, slot: usize) {
        self.reach = self.reach.max(slot + 1);
    }

    /// Returns the number of slots that were ever in use.
    pub(super) fn reach(&self) -> usize {
        self.reach
    }

    /// Notes that the connection in a slot has just opened, and gets none of those under way.
    pub(super) fn note_open(&mut self, slot: usize) {
        if !self.is_empty() {
            self.since.insert(slot, self.next);
        }
    }

    /// Returns the slots that the cursor visits next, in order, up to where it turns back.
    pub(super) fn coming(&self) -> std::ops::Range<usize> {
        self.place.slot..self.reach
    }

    /// Moves the cursor to the next slot, unless nothing is under way. Returns the slot that it was
    /// at, and the first broadcast that the slot's connection gets.
    pub(super) fn advance(&mut self) -> Option<(usize, BroadcastId)> {
        if self.is_over() || self.is_empty() {
            return None;
        }
        let slot = self.place.slot;
        self.place.slot += 1;
        if self.place.slot >= self.reach {
            self.place = Place {
                round: self.place.round + 1,
                slot: 0,
            };
        }
        let first = match self.since.is_empty() {
            true => 0,
            false => self.since.remove(&slot).unwrap_or(0),
        };
        Some((slot, BroadcastId(first)))
    }

    /// Says whether the oldest one is over.
    pub(super) fn is_over(&self) -> bool {
        let oldest = self.under_way.front();
        oldest.is_some_and(|oldest| self.reach == 0 || self.place >= oldest.ends())
    }

    /// Takes the oldest one, if it is over.
    pub(super) fn take_done(&mut self) -> Option<BroadcastDone> {
        if !self.is_over() {
            return None;
        }
        let oldest = self.under_way.pop_front()?;
        self.bytes -= cost(&oldest.message);
        if self.is_empty() {
            self.since = HashMap::new();
        }
        Some(oldest.done)
    }

    /// Returns the first broadcast that the connection in a slot still gets, and notes that it gets
    /// none of those under way later. `None` if it gets none.
    pub(super) fn take_owed(&mut self, slot: usize) -> Option<BroadcastId> {
        let place = self.place;
        let first = self.since.get(&slot).copied().unwrap_or(0);
        let owed = |one: &&Broadcast| one.done.id.0 >= first && !one.has_visited(slot, place);
        let first = self.under_way.iter().find(owed)?.done.id;
        self.since.insert(slot, self.next);
        Some(first)
    }

    /// Returns the message of the one at this index, unless it is older than `first` or leaves this
    /// connection out.
    pub(super) fn message(
        &self,
        index: usize,
        first: BroadcastId,
        to: ConnId,
    ) -> Option<&SharedMessage> {
        let one = self.under_way.get(index)?;
        let is_for = one.done.id >= first && one.except != Some(to);
        is_for.then_some(&one.message)
    }

    /// Notes what became of the message of the one at this index.
    pub(super) fn count(&mut self, index: usize, sent: &Result<(), SendError>) {
        let Some(one) = self.under_way.get_mut(index) else {
            return;
        };
        match sent {
            Ok(()) => one.done.sent += 1,
            Err(SendError::Closed) => {}
            Err(SendError::Full { .. } | SendError::Encode(_)) => one.done.dropped += 1,
        }
    }
}

/// Returns what a broadcast counts against the limit: its payload, and what is kept beside it.
fn cost(message: &SharedMessage) -> usize {
    MESSAGE_COST + message.message().data().len()
}

/// Most broadcasts under way, and most bytes of their messages.
const MOST: usize = 1024;
const MOST_BYTES: usize = 16 * 1024 * 1024;

/// Upper bound for the memory of one beside its payload, bytes.
const MESSAGE_COST: usize = 512;
