//! Opening handshakes one after the other: "There MUST be no more than one connection in a CONNECTING
//! state" towards one host and port (RFC 6455, section 4.1, item 2).

use std::collections::{HashMap, VecDeque};
use std::net::SocketAddr;

use crate::event_loop::token::ClientId;

/// A lane for each address that a client is shaking hands with, and who waits for it to be free.
#[derive(Debug, Default)]
pub(in crate::event_loop) struct Lanes {
    /// The lanes that are taken, with those who wait, the first to come in front.
    taken: HashMap<SocketAddr, VecDeque<ClientId>>,
    /// Who has been given a lane and is still to dial.
    ready: VecDeque<(SocketAddr, ClientId)>,
}

impl Lanes {
    /// Gives a client the lane of this address, or adds it to those that wait.
    pub(in crate::event_loop) fn join(&mut self, addr: SocketAddr, id: ClientId) {
        match self.taken.get_mut(&addr) {
            Some(waiting) => waiting.push_back(id),
            None => {
                self.taken.insert(addr, VecDeque::new());
                self.ready.push_back((addr, id));
            }
        }
    }

    /// Gives the lane of this address to the next client that waits.
    pub(in crate::event_loop) fn leave(&mut self, addr: SocketAddr) {
        match self.taken.get_mut(&addr).and_then(VecDeque::pop_front) {
            Some(next) => self.ready.push_back((addr, next)),
            None => drop(self.taken.remove(&addr)),
        }
    }

    /// Returns the first client that may dial, and its address. It stays the first until
    /// [`done`](Self::done), so that a panic in between loses no lane.
    pub(in crate::event_loop) fn first_ready(&self) -> Option<(SocketAddr, ClientId)> {
        self.ready.front().copied()
    }

    /// Moves on to the next client that may dial.
    pub(in crate::event_loop) fn done(&mut self) {
        self.ready.pop_front();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lane_is_given_on_in_the_order_of_coming() {
        let mut lanes = Lanes::default();
        let (here, there) = (([127, 0, 0, 1], 1).into(), ([127, 0, 0, 1], 2).into());
        for (addr, id) in [(here, 1), (here, 2), (there, 3), (here, 4)] {
            lanes.join(addr, ClientId(id));
        }
        let next = |lanes: &mut Lanes| {
            let first = lanes.first_ready();
            lanes.done();
            first
        };
        assert_eq!(next(&mut lanes), Some((here, ClientId(1))));
        assert_eq!(next(&mut lanes), Some((there, ClientId(3))));
        assert_eq!(next(&mut lanes), None);
        lanes.leave(here);
        assert_eq!(next(&mut lanes), Some((here, ClientId(2))));
        lanes.leave(there);
        lanes.leave(here);
        assert_eq!(next(&mut lanes), Some((here, ClientId(4))));
        lanes.leave(here);
        assert_eq!(next(&mut lanes), None);
        assert!(lanes.taken.is_empty());
    }
}
