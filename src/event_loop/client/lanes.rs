//! Opening handshakes in turn: "There MUST be no more than one connection in a CONNECTING state" towards one
//! host and port (RFC 6455, section 4.1, item 2). A client may ask for a wider lane.

use std::collections::{HashMap, VecDeque};

use crate::event_loop::token::ClientId;
use crate::peer::PeerAddr;

/// Towards whom clients take turns.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(in crate::event_loop) enum Lane {
    /// An address that is dialed.
    At(PeerAddr),
    /// A host and port behind a proxy. Without its address, "the client MUST assume for the purposes of
    /// this step that each host name refers to a distinct remote host" (RFC 6455, section 4.1, item 2).
    Behind(String, u16),
}

/// A lane for each address that a client is shaking hands with, and who waits for it to be free.
#[derive(Debug, Default)]
pub(in crate::event_loop) struct Lanes {
    /// The lanes that are in use.
    taken: HashMap<Lane, Traffic>,
    /// Who has been given a lane and is still to dial.
    ready: VecDeque<(Lane, ClientId)>,
}

/// Invariant: `under_way` is not zero, or else the lane is not taken.
#[derive(Debug, Default)]
struct Traffic {
    under_way: u32,
    /// Who waits, and how many at once are few enough for it; the first to come in front.
    waiting: VecDeque<(ClientId, u32)>,
}

impl Lanes {
    /// Gives a client this lane if fewer than `width` are under way there, or else adds it to
    /// those that wait. Returns how many are before it then: under way or waiting.
    pub(in crate::event_loop) fn join(
        &mut self,
        lane: Lane,
        id: ClientId,
        width: u32,
    ) -> Option<usize> {
        let traffic = self.taken.entry(lane.clone()).or_default();
        let under_way = usize::try_from(traffic.under_way).unwrap_or(usize::MAX);
        let ahead = traffic.waiting.len().saturating_add(under_way);
        let is_in = traffic.waiting.is_empty() && traffic.under_way < width;
        traffic.waiting.push_back((id, width));
        self.let_in(&lane);
        (!is_in).then_some(ahead)
    }

    /// Notes that a client has left this lane, which the next one may use.
    pub(in crate::event_loop) fn leave(&mut self, lane: &Lane) {
        let Some(traffic) = self.taken.get_mut(lane) else {
            return;
        };
        traffic.under_way = traffic.under_way.saturating_sub(1);
        self.let_in(lane);
        if self.taken[lane].under_way == 0 {
            self.taken.remove(lane);
        }
    }

    /// Gives the lane to those in front of the queue for whom it is wide enough.
    fn let_in(&mut self, lane: &Lane) {
        let Some(traffic) = self.taken.get_mut(lane) else {
            return;
        };
        while let Some(&(next, width)) = traffic.waiting.front()
            && traffic.under_way < width
        {
            traffic.under_way += 1;
            traffic.waiting.pop_front();
            self.ready.push_back((lane.clone(), next));
        }
    }

    /// Returns the first client that may dial, and its lane. It stays the first until
    /// [`done`](Self::done), so that a panic in between loses no lane.
    pub(in crate::event_loop) fn first_ready(&self) -> Option<(Lane, ClientId)> {
        self.ready.front().cloned()
    }

    /// Says whether somebody may dial.
    pub(in crate::event_loop) fn has_ready(&self) -> bool {
        !self.ready.is_empty()
    }

    /// Moves on to the next client that may dial.
    pub(in crate::event_loop) fn done(&mut self) {
        self.ready.pop_front();
    }
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use super::*;

    fn at(port: u16) -> Lane {
        Lane::At(SocketAddr::from(([127, 0, 0, 1], port)).into())
    }

    fn next(lanes: &mut Lanes) -> Option<(Lane, ClientId)> {
        let first = lanes.first_ready();
        lanes.done();
        first
    }

    #[test]
    fn a_lane_is_given_on_in_the_order_of_coming() {
        let mut lanes = Lanes::default();
        let (here, there) = (at(1), at(2));
        for (lane, id, ahead) in [
            (&here, 1, None),
            (&here, 2, Some(1)),
            (&there, 3, None),
            (&here, 4, Some(2)),
        ] {
            assert_eq!(lanes.join(lane.clone(), ClientId(id), 1), ahead);
        }
        assert_eq!(next(&mut lanes), Some((here.clone(), ClientId(1))));
        assert_eq!(next(&mut lanes), Some((there.clone(), ClientId(3))));
        assert_eq!(next(&mut lanes), None);
        lanes.leave(&here);
        assert_eq!(next(&mut lanes), Some((here.clone(), ClientId(2))));
        lanes.leave(&there);
        lanes.leave(&here);
        assert_eq!(next(&mut lanes), Some((here.clone(), ClientId(4))));
        lanes.leave(&here);
        assert_eq!(next(&mut lanes), None);
        assert!(lanes.taken.is_empty());
    }

    #[test]
    fn who_joins_again_before_its_place_is_free_waits_behind_the_others() {
        let mut lanes = Lanes::default();
        let here = at(1);
        assert_eq!(lanes.join(here.clone(), ClientId(1), 1), None);
        assert_eq!(lanes.join(here.clone(), ClientId(2), 1), Some(1));
        assert_eq!(lanes.join(here.clone(), ClientId(1), 1), Some(2));
    }

    #[test]
    fn a_lane_is_as_wide_as_each_client_asks() {
        let mut lanes = Lanes::default();
        let here = at(1);
        for (id, width, ahead) in [
            (1, 2, None),
            (2, 2, None),
            (3, 2, Some(2)),
            // It waits for all before it, and nobody overtakes it.
            (4, 1, Some(3)),
            (5, 9, Some(4)),
        ] {
            assert_eq!(lanes.join(here.clone(), ClientId(id), width), ahead, "{id}");
        }
        let mut order = Vec::new();
        for _ in 0..5 {
            while let Some((_, id)) = next(&mut lanes) {
                order.push(id.0);
            }
            order.push(0);
            lanes.leave(&here);
        }
        assert_eq!(order, [1, 2, 0, 3, 0, 0, 4, 5, 0, 0]);
        assert!(lanes.taken.is_empty());
    }
}
