//! The ring against a plain queue of bytes, under random lists of operations.

use std::collections::VecDeque;

use heartwheel::proto::pool::Pool;
use heartwheel::proto::ring::Ring;
use proptest::collection::vec;
use proptest::prelude::*;

#[derive(Clone, Debug)]
enum Op {
    Fill(usize),
    Extend(usize),
    Consume(usize),
    Truncate(usize),
    Contiguous,
    Release,
    Grow,
}

fn op() -> impl Strategy<Value = Op> {
    let amount = || prop_oneof![4 => 0..64usize, 2 => 0..5_000usize, 1 => Just(usize::MAX)];
    prop_oneof![
        4 => amount().prop_map(Op::Fill),
        2 => (0..6_000usize).prop_map(Op::Extend),
        5 => amount().prop_map(Op::Consume),
        1 => (0..10_000usize).prop_map(Op::Truncate),
        2 => Just(Op::Contiguous),
        2 => Just(Op::Release),
        1 => Just(Op::Grow),
    ]
}

const LIMIT: usize = 16 * 1024;

proptest! {
    #[test]
    fn the_ring_is_a_queue_of_bytes(ops in vec(op(), 1..200)) {
        let (mut pool, mut ring) = (Pool::default(), Ring::default());
        let mut model = VecDeque::new();
        let mut next = 0u8;
        let mut byte = || {
            next = next.wrapping_add(1) % 251;
            next
        };
        for op in ops {
            match op {
                Op::Fill(most) => {
                    let spare = ring.spare_mut(&mut pool);
                    let n = most.min(spare.len());
                    prop_assert!(!spare.is_empty() || model.len() >= 4096);
                    spare[..n].fill_with(&mut byte);
                    model.extend(&spare[..n]);
                    ring.commit(n);
                    prop_assert_eq!(ring.spare_mut(&mut pool).is_empty(), ring.is_full());
                }
                Op::Extend(n) => {
                    let bytes: Vec<u8> = std::iter::repeat_with(&mut byte).take(n).collect();
                    ring.extend(&bytes, &mut pool);
                    model.extend(&bytes);
                }
                Op::Consume(most) => {
                    let n = most.min(ring.len());
                    ring.consume(n);
                    model.drain(..n);
                }
                Op::Truncate(len) => {
                    ring.truncate(len);
                    model.truncate(len);
                }
                Op::Contiguous => {
                    prop_assert_eq!(ring.contiguous_mut(), model.make_contiguous());
                    prop_assert_eq!(ring.filled().1, b"");
                }
                Op::Release => {
                    ring.release(&mut pool);
                    prop_assert_eq!(ring.capacity() == 0, model.is_empty());
                }
                Op::Grow => {
                    let (before, filled) = (ring.capacity(), ring.len());
                    prop_assert_eq!(ring.grow(LIMIT, &mut pool), before < LIMIT);
                    prop_assert!(ring.capacity() > before || before >= LIMIT);
                    prop_assert_eq!(ring.filled().0.len() == filled, before < LIMIT || ring.filled().1.is_empty());
                }
            }
            let (older, newer) = ring.filled();
            prop_assert!([older, newer].concat() == model.make_contiguous());
            prop_assert_eq!(ring.len(), model.len());
            prop_assert_eq!(ring.is_empty(), model.is_empty());
            prop_assert!(ring.len() <= ring.capacity());
        }
    }

    #[test]
    fn storage_is_in_the_ring_or_in_the_pool(ops in vec(op(), 1..60)) {
        // Below the largest class and the pool's limit no buffer may be made twice or lost.
        let mut pool = Pool::default();
        let stock = [4096, 16_384, 65_536].map(|class| pool.take(class));
        stock.into_iter().for_each(|buffer| pool.give(buffer));
        let all = pool.free_bytes();
        let mut ring = Ring::default();
        for op in ops {
            match op {
                Op::Fill(most) => {
                    let n = most.min(ring.spare_mut(&mut pool).len());
                    ring.commit(n);
                }
                Op::Extend(n) if ring.len() + n <= 65_536 => ring.extend(&vec![0; n], &mut pool),
                Op::Consume(n) => ring.consume(n.min(ring.len())),
                Op::Truncate(len) => ring.truncate(len),
                Op::Contiguous => drop(ring.contiguous_mut()),
                Op::Grow => drop(ring.grow(65_536, &mut pool)),
                Op::Release | Op::Extend(_) => ring.release(&mut pool),
            }
            prop_assert_eq!(pool.free_bytes() + ring.capacity(), all);
        }
        ring.consume(ring.len());
        ring.release(&mut pool);
        prop_assert_eq!((ring.capacity(), pool.free_bytes()), (0, all));
    }
}
