//! The output queue against a plain list of frames, under random operations and partial writes.
//!
//! Toy frames: a tag, a big-endian u16 length, and that many bytes. Bodies of data frames begin with
//! their sequence number.
#![allow(clippy::unwrap_used, reason = "a test")]

use std::io::IoSlice;
use std::sync::Arc;

use heartwheel::proto::outbox::{Outbox, Parting, PingQueued};
use heartwheel::proto::pool::Pool;
use proptest::collection::vec;
use proptest::prelude::*;

#[derive(Clone, Debug)]
enum Op {
    Frame(usize),
    Block(usize),
    Shared(usize),
    Ping(usize),
    Pong(usize),
    Close(Leaves),
    Blocked(bool),
    /// Writes that share of what is queued, of 256.
    Write(usize),
    WriteOne,
    /// A layer takes that share of what is queued over, of 256, if it has nothing yet.
    Carry(usize),
    Clear,
}

/// What a close leaves of the data before it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Leaves {
    #[default]
    Everything,
    Message,
    Frame,
}

impl Leaves {
    fn parting(self) -> Parting {
        match self {
            Self::Everything => Parting::Everything,
            Self::Message => Parting::Message(|tag| tag == MORE),
            Self::Frame => Parting::Frame,
        }
    }
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        6 => (0..40usize).prop_map(Op::Frame),
        1 => (0..9_000usize).prop_map(Op::Frame),
        2 => (0..300usize).prop_map(Op::Block),
        2 => (0..300usize).prop_map(Op::Shared),
        3 => (0..20usize).prop_map(Op::Ping),
        3 => (0..20usize).prop_map(Op::Pong),
        1 => (500..1_000usize).prop_map(Op::Pong),
        2 => any::<bool>().prop_map(Op::Blocked),
        6 => (0..=256usize).prop_map(Op::Write),
        4 => Just(Op::WriteOne),
        4 => (0..=256usize).prop_map(Op::Carry),
    ]
}

/// Random operations with now and then a close, and behind it more of them.
fn ops() -> impl Strategy<Value = Vec<Op>> {
    let close = |leaves| Just(Op::Close(leaves));
    let end = prop_oneof![
        close(Leaves::Everything),
        close(Leaves::Message),
        close(Leaves::Frame),
        Just(Op::Clear)
    ];
    let life = (vec(op(), 0..60), end, vec(op(), 0..10));
    vec(life, 1..4).prop_map(|lives| {
        let mut all = Vec::new();
        for (before, end, after) in lives {
            all.extend(before);
            all.push(end);
            all.extend(after);
            all.push(Op::Clear);
        }
        all
    })
}

/// A data frame that begins a message, and one that goes on with it.
const DATA: u8 = b'd';
const MORE: u8 = b'm';
const PING: u8 = b'i';
const PONG: u8 = b'o';
const CLOSE: u8 = b'c';

fn encode(tag: u8, sequence: u32, padding: usize) -> Vec<u8> {
    let mut body = sequence.to_be_bytes().to_vec();
    body.resize(4 + padding, tag);
    let mut frame = vec![tag];
    frame.extend(u16::try_from(body.len()).unwrap().to_be_bytes());
    frame.extend(body);
    frame
}

/// Frames in the order in which they leave; only the first may have begun.
#[derive(Default)]
struct Model {
    frames: Vec<Vec<u8>>,
    begun: usize,
    blocked: bool,
    closed: bool,
    leaves: Leaves,
    dropped: usize,
}

impl Model {
    fn not_begun(&self) -> usize {
        usize::from(self.begun > 0)
    }

    fn remove(&mut self, tags: &[u8]) -> Vec<Vec<u8>> {
        let kept = self.not_begun();
        let behind = self.frames.split_off(kept);
        let (gone, left) = behind
            .into_iter()
            .partition(|frame| tags.contains(&frame[0]));
        self.frames.extend::<Vec<_>>(left);
        gone
    }

    fn insert_before(&mut self, tags: &[u8], frame: Vec<u8>) {
        let from = self.not_begun();
        let place = self.frames[from..]
            .iter()
            .position(|frame| tags.contains(&frame[0]));
        self.frames
            .insert(from + place.unwrap_or(self.frames.len() - from), frame);
    }

    fn ping(&mut self, frame: Vec<u8>) -> PingQueued {
        if self.closed {
            return PingQueued::Refused;
        }
        let replaced = !self.remove(&[PING]).is_empty();
        self.insert_before(&[DATA, MORE], frame);
        if replaced {
            PingQueued::Replaced
        } else {
            PingQueued::Queued
        }
    }

    fn pong(&mut self, frame: Vec<u8>) -> usize {
        if self.closed {
            return 0;
        }
        let owed = self.frames[self.not_begun()..]
            .iter()
            .filter(|frame| frame[0] == PONG);
        let bytes: usize = owed.map(Vec::len).sum();
        let mut folded = 0;
        if self.blocked || bytes + frame.len() > Outbox::PONG_LIMIT {
            folded = self.remove(&[PONG]).len();
        }
        self.insert_before(&[PING, DATA, MORE], frame);
        folded
    }

    fn close(&mut self, frame: Vec<u8>, leaves: Leaves) {
        if self.closed {
            return;
        }
        self.closed = true;
        self.leaves = leaves;
        self.remove(&[PING]);
        self.frames.push(frame);
        self.drop_obsolete();
    }

    fn set_blocked(&mut self, blocked: bool) {
        self.blocked = blocked;
        self.drop_obsolete();
    }

    fn drop_obsolete(&mut self) {
        if !self.blocked || !self.closed || self.leaves == Leaves::Everything {
            return;
        }
        let data = |frame: &Vec<u8>| [DATA, MORE].contains(&frame[0]);
        let mut is_kept = self.leaves == Leaves::Message;
        let mut place = 0;
        let mut dropped = 0;
        let begun = self.begun > 0;
        self.frames.retain(|frame| {
            let is_begun = place == 0 && begun;
            place += 1;
            if !data(frame) || is_begun {
                return true;
            }
            is_kept &= frame[0] == MORE;
            dropped += if is_kept { 0 } else { frame.len() };
            is_kept
        });
        self.dropped += dropped;
    }

    /// Returns the tags of the frames completed.
    fn commit(&mut self, written: usize) -> Vec<u8> {
        self.begun += written;
        let mut done = Vec::new();
        while let Some(front) = self.frames.first()
            && self.begun >= front.len()
        {
            self.begun -= front.len();
            done.push(front[0]);
            self.frames.remove(0);
        }
        done
    }

    fn bytes(&self) -> Vec<u8> {
        self.frames.concat()[self.begun..].to_vec()
    }

    fn len_of(&self, tags: &[u8]) -> usize {
        let lens = self
            .frames
            .iter()
            .enumerate()
            .filter(|(_, frame)| tags.contains(&frame[0]));
        lens.map(|(at, frame)| frame.len() - if at == 0 { self.begun } else { 0 })
            .sum()
    }
}

/// Splits what was written into whole frames and the beginning of one more.
fn parse(mut bytes: &[u8]) -> Vec<(u8, u32)> {
    let mut frames = Vec::new();
    while let [tag, high, low, rest @ ..] = bytes {
        let len = usize::from(u16::from_be_bytes([*high, *low]));
        let Some((body, behind)) = rest.split_at_checked(len) else {
            break;
        };
        assert!(
            [DATA, MORE, PING, PONG, CLOSE].contains(tag),
            "not at a frame boundary"
        );
        assert!(
            body[4..].iter().all(|byte| byte == tag),
            "a frame inside another"
        );
        frames.push((*tag, u32::from_be_bytes(body[..4].try_into().unwrap())));
        bytes = behind;
    }
    frames
}

fn check_life(written: &[u8], dropped_data: bool) {
    let frames = parse(written);
    let sequence = |wanted: &'static [u8]| {
        let of_kind = frames.iter().filter(move |(tag, _)| wanted.contains(tag));
        of_kind.map(|(_, sequence)| *sequence).collect::<Vec<_>>()
    };
    let data = sequence(&[DATA, MORE]);
    assert!(data.is_sorted_by(|a, b| a < b));
    assert!(dropped_data || data.windows(2).all(|pair| pair[1] == pair[0] + 1));
    assert!(sequence(&[PING]).is_sorted_by(|a, b| a < b));
    assert!(sequence(&[PONG]).is_sorted_by(|a, b| a < b));
    let close = frames.iter().position(|(tag, _)| *tag == CLOSE);
    assert!(
        close.is_none_or(|at| at + 1 == frames.len()),
        "something follows the close"
    );
}

/// What a layer has taken over.
#[derive(Default)]
struct Carried {
    len: usize,
    data: usize,
    /// The tags of the frames that end in there.
    done: Vec<u8>,
}

impl Carried {
    /// Counts bytes as written. Returns how many are left for what is behind, and which frames are done.
    fn commit(&mut self, count: usize) -> (usize, Vec<u8>) {
        let of_these = count.min(self.len);
        self.len -= of_these;
        self.data = self.data.min(self.len);
        let done = match self.len {
            0 => std::mem::take(&mut self.done),
            _ => Vec::new(),
        };
        (count - of_these, done)
    }
}

/// Shows at most `count` slices, joined.
fn shown(outbox: &Outbox, count: usize) -> Vec<u8> {
    let mut slices = vec![IoSlice::new(&[]); count];
    let used = outbox.slices(&mut slices);
    assert!(slices[..used].iter().all(|slice| !slice.is_empty()));
    slices[..used]
        .iter()
        .flat_map(|slice| slice.iter().copied())
        .collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn the_outbox_is_a_list_of_frames(ops in ops()) {
        let (mut pool, mut outbox) = (Pool::default(), Outbox::default());
        let mut model = Model::default();
        let (mut written, mut dropped) = (Vec::new(), false);
        let (mut data, mut control) = (0, 0);
        let mut carried = Carried::default();
        for op in ops {
            match op {
                Op::Frame(padding) | Op::Block(padding) | Op::Shared(padding) => {
                    let tag = if data % 3 == 0 { DATA } else { MORE };
                    let frame = encode(tag, data, padding);
                    match op {
                        Op::Frame(_) => outbox.push_frame(&frame[..3], &frame[3..], &mut pool),
                        Op::Block(_) => outbox.push_block(frame.clone().into_boxed_slice()),
                        _ => {
                            let bytes = [b"xx".as_slice(), &frame, b"y"].concat();
                            outbox.push_shared(Arc::from(bytes), 2..2 + frame.len(), &mut pool);
                        }
                    }
                    if !model.closed {
                        model.frames.push(frame);
                        data += 1;
                    }
                }
                Op::Ping(padding) => {
                    control += 1;
                    let frame = encode(PING, control, padding);
                    prop_assert_eq!(outbox.set_ping(&frame), model.ping(frame));
                }
                Op::Pong(padding) => {
                    control += 1;
                    let frame = encode(PONG, control, padding);
                    prop_assert_eq!(outbox.push_pong(&frame), model.pong(frame));
                    let owed = model.frames[model.not_begun()..].iter();
                    let owed = owed.filter(|frame| frame[0] == PONG).count();
                    prop_assert!(!model.blocked || model.closed || owed <= 1);
                }
                Op::Close(leaves) => {
                    let frame = encode(CLOSE, 0, 0);
                    outbox.set_close(&frame, leaves.parting(), &mut pool);
                    model.close(frame, leaves);
                }
                Op::Blocked(blocked) => {
                    outbox.set_blocked(blocked);
                    model.set_blocked(blocked);
                }
                Op::Write(_) | Op::WriteOne => {
                    let n = match op {
                        Op::Write(share) => outbox.len() * share / 256,
                        _ => outbox.len().min(1),
                    };
                    let (behind, mut done) = carried.commit(n);
                    written.extend(&shown(&outbox, 256)[..behind]);
                    let report = outbox.commit(n, &mut pool);
                    done.extend(model.commit(behind));
                    prop_assert_eq!(report.ping, done.contains(&PING));
                    prop_assert_eq!(report.close, done.contains(&CLOSE));
                }
                Op::Carry(_) if carried.len > 0 => {}
                Op::Carry(share) => {
                    let n = outbox.len() * share / 256;
                    written.extend(&shown(&outbox, 256)[..n]);
                    outbox.carry(n, &mut pool);
                    let before = model.len_of(&[DATA, MORE]);
                    let done = model.commit(n);
                    if n > 0 {
                        let data = before - model.len_of(&[DATA, MORE]);
                        carried = Carried { len: n, data, done };
                    }
                }
                Op::Clear => {
                    carried = Carried::default();
                    check_life(&written, dropped);
                    outbox.clear(&mut pool);
                    model = Model::default();
                    (written, dropped) = (Vec::new(), false);
                }
            }
            prop_assert_eq!(outbox.dropped(), model.dropped);
            dropped |= model.dropped > 0;
            let bytes = model.bytes();
            prop_assert_eq!(&shown(&outbox, 256), &bytes);
            prop_assert!(bytes.starts_with(&shown(&outbox, 1)));
            prop_assert!(bytes.starts_with(&shown(&outbox, 3)));
            prop_assert_eq!(outbox.len(), bytes.len() + carried.len);
            prop_assert_eq!(outbox.data_len(), model.len_of(&[DATA, MORE]) + carried.data);
            prop_assert_eq!(outbox.is_empty(), bytes.is_empty() && carried.len == 0);
            let waits = |tag| model.len_of(&[tag]) > 0 || carried.done.contains(&tag);
            prop_assert_eq!(outbox.ping_waiting(), waits(PING));
            prop_assert_eq!(outbox.close_waiting(), waits(CLOSE));
            prop_assert_eq!(outbox.is_closed(), model.closed);
            prop_assert_eq!(outbox.is_blocked(), model.blocked);
        }
    }

    #[test]
    fn drained_outboxes_return_their_storage(sizes in vec(0..3_000usize, 1..12), step in 1..500usize) {
        let mut pool = Pool::default();
        let stock = [4096, 16_384, 65_536].map(|class| pool.take(class));
        stock.into_iter().for_each(|buffer| pool.give(buffer));
        let all = pool.free_bytes();
        let mut outbox = Outbox::default();
        for size in &sizes {
            outbox.push_frame(&[1], &vec![2; *size], &mut pool);
        }
        prop_assert!(pool.free_bytes() < all);
        while !outbox.is_empty() {
            outbox.commit(step.min(outbox.len()), &mut pool);
        }
        prop_assert_eq!(pool.free_bytes(), all);
    }
}
