//! Half-open connections, so that the oldest can be closed when there are too many.

use std::collections::{HashMap, VecDeque};
use std::net::IpAddr;

use super::addresses::Source;
use crate::event_loop::token::ConnId;

/// Half-open connections of this loop by address, the oldest of each first. Only while they are half-open:
/// who is open takes no room here.
#[derive(Debug, Default)]
pub(in crate::event_loop) struct Waiting {
    queues: HashMap<Source, Queue>,
}

/// Those who left are still in it until they are come across, or are too many.
#[derive(Debug, Default)]
struct Queue {
    ids: VecDeque<ConnId>,
    /// How many have not left.
    count: usize,
}

impl Waiting {
    /// Takes a connection in, behind the others of its address.
    pub(in crate::event_loop) fn enter(&mut self, ip: IpAddr, id: ConnId) {
        let queue = self.queues.entry(ip.into()).or_default();
        queue.ids.push_back(id);
        queue.count += 1;
    }

    /// Lets one of an address go; `waits` says of each whether it is still half-open.
    pub(in crate::event_loop) fn leave(&mut self, ip: IpAddr, waits: impl Fn(ConnId) -> bool) {
        let source = Source::from(ip);
        let Some(queue) = self.queues.get_mut(&source) else {
            return;
        };
        queue.count -= 1;
        if queue.count == 0 {
            self.queues.remove(&source);
        } else if queue.ids.len() > 2 * queue.count + FEW_LEFT {
            queue.ids.retain(|&id| waits(id));
            queue.ids.shrink_to(4 * queue.count);
        }
    }

    /// Returns the oldest of an address that is still half-open.
    pub(in crate::event_loop) fn oldest(
        &mut self,
        ip: IpAddr,
        waits: impl Fn(ConnId) -> bool,
    ) -> Option<ConnId> {
        let queue = self.queues.get_mut(&ip.into())?;
        while let Some(&id) = queue.ids.front() {
            if waits(id) {
                return Some(id);
            }
            queue.ids.pop_front();
        }
        None
    }
}

/// So many that have left are not worth looking for.
const FEW_LEFT: usize = 16;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event_loop::token::Names;
    use crate::proto::heartbeat::PingPhase;

    const PEER: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 1));
    const LOOPBACK: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);

    #[test]
    fn the_oldest_of_an_address_is_found_and_who_left_is_forgotten() {
        let names = Names {
            shard: 0,
            start: PingPhase::ZERO,
        };
        let ids: Vec<_> = (0..1_000)
            .map(|slot| names.of(slot, PingPhase::ZERO))
            .collect();
        let mut waiting = Waiting::default();
        waiting.enter(LOOPBACK, ids[0]);
        assert_eq!(waiting.oldest(PEER, |_| true), None);
        for &id in &ids {
            waiting.enter(PEER, id);
        }
        assert_eq!(waiting.oldest(PEER, |_| true), Some(ids[0]));
        // All but the first and the last leave, in any order.
        let waits = |id| id == ids[0] || id == ids[999];
        for _ in 1..999 {
            waiting.leave(PEER, waits);
        }
        assert!(waiting.queues[&PEER.into()].ids.len() <= 2 * 2 + FEW_LEFT);
        assert_eq!(waiting.oldest(PEER, |id| id == ids[999]), Some(ids[999]));
        waiting.leave(PEER, |id| id == ids[999]);
        waiting.leave(PEER, |_| false);
        waiting.leave(LOOPBACK, |_| false);
        assert!(waiting.queues.is_empty());
    }
}
