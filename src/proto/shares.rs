//! Bytes that the queues of several connections share, each block counted once.

use std::collections::HashMap;
use std::sync::Arc;

/// The blocks that any queue of a loop holds.
#[derive(Debug, Default)]
pub(super) struct Shares {
    /// Invariant: the length of all blocks in use.
    bytes: usize,
    blocks: Vec<Block>,
    /// Places in `blocks` that are not in use.
    free: Vec<Share>,
    /// Places of those in use. A block in use has its address to itself.
    by_address: HashMap<usize, Share>,
    /// The block that was entered last: a broadcast enters the same one again and again.
    latest: Option<Share>,
}

#[derive(Debug)]
struct Block {
    address: usize,
    len: usize,
    /// Entries of queues that hold it. Zero: the place is free.
    entries: usize,
}

/// The place of a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Share(u32);

impl Share {
    fn index(self) -> usize {
        self.0 as usize
    }
}

impl Shares {
    /// Smaller blocks are not counted here, but in each queue: an entry takes about 80 bytes, which
    /// would be much for them.
    pub(super) const LEAST: usize = 512;

    /// Counts one more entry of a queue that holds these bytes.
    pub(super) fn enter(&mut self, bytes: &Arc<[u8]>) -> Share {
        self.enter_at(bytes.as_ptr() as usize, bytes.len())
    }

    /// The same for storage of this size that has the address to itself.
    pub(super) fn enter_at(&mut self, address: usize, len: usize) -> Share {
        let latest = self.latest.filter(|&latest| {
            let block = &self.blocks[latest.index()];
            block.entries > 0 && block.address == address
        });
        let known = latest.or_else(|| self.by_address.get(&address).copied());
        let share = known.unwrap_or_else(|| self.add(address, len));
        self.blocks[share.index()].entries += 1;
        self.latest = Some(share);
        share
    }

    /// Counts one entry less.
    pub(super) fn leave(&mut self, share: Share) {
        let block = &mut self.blocks[share.index()];
        block.entries -= 1;
        if block.entries == 0 {
            self.bytes -= block.len;
            self.by_address.remove(&block.address);
            self.free.push(share);
        }
    }

    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    fn add(&mut self, address: usize, len: usize) -> Share {
        let block = Block {
            address,
            len,
            entries: 0,
        };
        self.bytes += len;
        let share = match self.free.pop() {
            Some(share) => {
                self.blocks[share.index()] = block;
                share
            }
            None => {
                let place = u32::try_from(self.blocks.len()).expect("each block takes memory");
                self.blocks.push(block);
                Share(place)
            }
        };
        self.by_address.insert(address, share);
        share
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_block_counts_once_however_many_queues_hold_it() {
        let mut shares = Shares::default();
        let (one, other): (Arc<[u8]>, Arc<[u8]>) = ([1; 100].into(), [2; 30].into());
        let entries = [&one, &one, &other, &one].map(|bytes| shares.enter(bytes));
        assert_eq!(shares.bytes(), 130);
        for (entry, left) in entries.into_iter().zip([130, 130, 100, 0]) {
            shares.leave(entry);
            assert_eq!(shares.bytes(), left);
        }
        assert_eq!(
            shares.enter(&other),
            entries[0],
            "the last place to be free"
        );
        assert_eq!((shares.bytes(), shares.blocks.len()), (30, 2));
    }
}
