//! Messages on their way from one connection to all others, in this loop and in the others.

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use heartwheel::proto::message::{Message, SharedMessage};
use heartwheel::reactor::{BroadcastDone, BroadcastId, ConnId, Context};

use crate::shards::Siblings;

/// What one loop passes on. While much of what a connection sent is under way, nothing is read from
/// it: so no sender takes the room of the others.
#[derive(Debug)]
pub(crate) struct FanOut {
    siblings: Siblings,
    /// Broadcasts under way in this loop, with their senders, the oldest first.
    under_way: VecDeque<(BroadcastId, ConnId)>,
    /// The number of each sender's messages in `under_way`.
    shares: HashMap<ConnId, usize>,
    /// Messages that some loop had no room for. Nothing is read from their senders.
    unsent: Vec<Unsent>,
}

/// A message that some loops have still to take.
#[derive(Debug)]
struct Unsent {
    from: ConnId,
    message: SharedMessage,
    /// This loop is one of them.
    is_ours: bool,
    siblings: Siblings,
}

impl FanOut {
    pub(crate) fn new(siblings: Siblings) -> Self {
        Self {
            siblings,
            under_way: VecDeque::new(),
            shares: HashMap::new(),
            unsent: Vec::new(),
        }
    }

    pub(crate) fn siblings(&self) -> &Siblings {
        &self.siblings
    }

    /// Sends a message to everyone but its sender.
    pub(crate) fn pass_on(&mut self, cx: &mut Context<'_, ()>, from: ConnId, message: Message<'_>) {
        let message = SharedMessage::new(message);
        let is_ours = !self.begin(cx, from, &message);
        let siblings = self.siblings.broadcast(&message);
        if is_ours || !siblings.is_empty() {
            if self.unsent.is_empty() {
                cx.set_timer(RETRY, 0);
            }
            cx.set_held(from, message.message().data().len());
            self.unsent.push(Unsent {
                from,
                message,
                is_ours,
                siblings,
            });
        }
        if self.holds(from) {
            cx.pause(from);
        }
    }

    /// Offers what loops had no room for once more, the oldest first.
    pub(crate) fn retry(&mut self, cx: &mut Context<'_, ()>) {
        for mut one in std::mem::take(&mut self.unsent) {
            one.is_ours = one.is_ours && !self.begin(cx, one.from, &one.message);
            one.siblings = one.siblings.broadcast(&one.message);
            if one.is_ours || !one.siblings.is_empty() {
                self.unsent.push(one);
            } else {
                cx.set_held(one.from, 0);
                if !self.holds(one.from) {
                    cx.resume(one.from);
                }
            }
        }
        if !self.unsent.is_empty() {
            cx.set_timer(RETRY, 0);
        }
    }

    /// Reads on from the sender of a broadcast that is over, if little of it is under way. A
    /// broadcast that another loop asked for has no sender here.
    pub(crate) fn handle_done(&mut self, cx: &mut Context<'_, ()>, done: BroadcastDone) {
        let place = self.under_way.iter().position(|&(id, _)| id == done.id);
        let Some((_, from)) = place.and_then(|place| self.under_way.remove(place)) else {
            return;
        };
        let was_held = self.holds(from);
        if let Some(share) = self.shares.get_mut(&from) {
            *share -= 1;
            if *share == 0 {
                self.shares.remove(&from);
            }
        }
        if was_held && !self.holds(from) {
            cx.resume(from);
        }
    }

    /// Begins a broadcast in this loop; returns whether there was room.
    fn begin(&mut self, cx: &mut Context<'_, ()>, from: ConnId, message: &SharedMessage) -> bool {
        let begun = cx.broadcast_except(from, message);
        if let Ok(id) = begun {
            self.under_way.push_back((id, from));
            *self.shares.entry(from).or_default() += 1;
        }
        begun.is_ok()
    }

    /// Says whether nothing is read from a connection.
    fn holds(&self, from: ConnId) -> bool {
        self.shares.get(&from).is_some_and(|&share| share >= SHARE)
            || self.unsent.iter().any(|one| one.from == from)
    }
}

/// Messages of one sender that may be under way.
const SHARE: usize = 64;

/// Time after which a loop may have room again.
const RETRY: Duration = Duration::from_millis(2);
