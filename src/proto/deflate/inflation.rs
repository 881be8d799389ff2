//! Inflates messages, one at a time, for all connections of a loop.
//!
//! A short message can become a thousand times as long. So the limit is obeyed while the message
//! grows, and a long one is inflated in several steps, between which others have their turn.

use std::fmt;

use flate2::{Decompress, FlushDecompress, Status};

use super::effort::Effort;
use super::tail::TAIL;
use super::window::{LARGEST_WINDOW, Window};
use crate::proto::pool::Pool;
use crate::proto::utf8::Validator;
use crate::proto::wire::MessageKind;

/// The decompressors of a loop: one, unless messages of several connections are being inflated.
#[derive(Default)]
pub(crate) struct Inflaters {
    spare: Option<Decompress>,
    effort: Effort,
}

impl Inflaters {
    fn take(&mut self) -> Decompress {
        match self.spare.take() {
            Some(mut stream) => {
                stream.reset(false);
                stream
            }
            None => Decompress::new(false),
        }
    }

    /// Takes the work done since the last call.
    pub(crate) fn take_effort(&mut self) -> usize {
        self.effort.take()
    }
}

impl fmt::Debug for Inflaters {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Inflaters")
            .field("has_spare", &self.spare.is_some())
            .finish_non_exhaustive()
    }
}

/// A message that is being inflated.
pub(crate) struct Inflation {
    stream: Decompress,
    kind: MessageKind,
    text: Validator,
    /// What was received, and [`END`].
    input: Vec<u8>,
    /// Bytes of the input that are inflated.
    taken: usize,
    /// Invariant: all of it is initialised, and the first `len` bytes are the message so far.
    output: Vec<u8>,
    len: usize,
    /// The longest message allowed, bytes.
    limit: usize,
}

/// What one step has come to.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Inflated {
    /// There is more to do.
    Unfinished,
    /// The message is complete.
    Whole,
}

/// Why a message cannot be inflated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// It is no DEFLATE data, or ends too early.
    Malformed,
    /// It is longer than the limit.
    TooBig,
    /// It is text, and not UTF-8.
    NotUtf8,
}

impl Inflation {
    /// Begins with a message that was received, and may refer to `window`. The storage of the message
    /// goes back to the pool in the end.
    pub(crate) fn begin(
        inflaters: &mut Inflaters,
        pool: &mut Pool,
        kind: MessageKind,
        mut input: Vec<u8>,
        window: &[u8],
        limit: usize,
    ) -> Self {
        let mut stream = inflaters.take();
        if !window.is_empty() {
            // It cannot fail: a stream without a header takes a dictionary at any time.
            let _ = stream.set_dictionary(window);
        }
        inflaters.effort.add(Effort::of(FIXED, window.len(), BYTES));
        let likely = input.len().saturating_mul(LIKELY_RATIO);
        let output = Vec::from(pool.take(likely.clamp(1, Pool::LARGEST)));
        input.extend_from_slice(&END);
        Self {
            stream,
            kind,
            text: Validator::default(),
            input,
            taken: 0,
            output,
            len: 0,
            limit,
        }
    }

    /// Inflates more of the message: about [`STEP`] bytes at most.
    ///
    /// # Errors
    ///
    /// What is wrong with the message. Nothing else may be called then but [`end`](Self::end).
    pub(crate) fn step(
        &mut self,
        inflaters: &mut Inflaters,
        window: &[u8],
    ) -> Result<Inflated, Fault> {
        let mut work = 0;
        while work < STEP {
            let (taken, len) = (self.taken, self.len);
            self.make_room();
            let status = self.advance();
            let done = self.taken - taken + self.len - len;
            inflaters.effort.add(Effort::of(0, done, BYTES));
            work += done;
            if self.len > self.limit {
                return Err(Fault::TooBig);
            }
            self.check_text(len)?;
            match status? {
                Status::StreamEnd if self.is_at_end() => return self.complete(),
                Status::StreamEnd => {
                    self.restart(window);
                    inflaters
                        .effort
                        .add(Effort::of(FIXED, Window::size(LARGEST_WINDOW), BYTES));
                    work += RESTART;
                }
                // What is left of a block would need more input than there is.
                Status::Ok | Status::BufError if done == 0 => return Err(Fault::Malformed),
                Status::Ok | Status::BufError => {}
            }
        }
        Ok(Inflated::Unfinished)
    }

    /// Gives everything back but the message, and returns that.
    pub(crate) fn end(self, inflaters: &mut Inflaters, pool: &mut Pool) -> (MessageKind, Vec<u8>) {
        let Self {
            stream,
            kind,
            input,
            mut output,
            len,
            ..
        } = self;
        inflaters.spare = Some(stream);
        pool.give_vec(input);
        output.truncate(len);
        (kind, output)
    }

    /// Gives everything back.
    pub(crate) fn discard(self, inflaters: &mut Inflaters, pool: &mut Pool) {
        let (_, output) = self.end(inflaters, pool);
        pool.give_vec(output);
    }

    /// Returns the message so far.
    pub(crate) fn message(&self) -> &[u8] {
        &self.output[..self.len]
    }

    /// Returns the length of the message as it was received.
    pub(crate) fn compressed_len(&self) -> usize {
        self.input.len() - END.len()
    }

    /// Returns how much memory it takes, bytes.
    pub(crate) fn memory(&self) -> usize {
        size_of::<Self>() + STREAM + self.input.capacity() + self.output.capacity()
    }

    /// Makes room for more of the message, up to one byte beyond the limit.
    fn make_room(&mut self) {
        if self.len == self.output.len() {
            let most = self.limit.saturating_add(1);
            let more = self.len.max(LEAST_ROOM).min(most - self.len.min(most));
            self.output.resize(self.len + more, 0);
        }
    }

    /// Inflates as much as there is room for, and no more than a step.
    fn advance(&mut self) -> Result<Status, Fault> {
        let (before_in, before_out) = (self.stream.total_in(), self.stream.total_out());
        let input = &self.input[self.taken..];
        let input = &input[..input.len().min(STEP)];
        let room = self.output.len().min(self.len.saturating_add(STEP));
        let output = &mut self.output[self.len..room];
        let status = self
            .stream
            .decompress(input, output, FlushDecompress::None)
            .map_err(|_| Fault::Malformed);
        let moved = |before: u64, now: u64| usize::try_from(now - before).unwrap_or(0);
        self.taken += moved(before_in, self.stream.total_in());
        self.len += moved(before_out, self.stream.total_out());
        status
    }

    fn check_text(&mut self, from: usize) -> Result<(), Fault> {
        match self.kind {
            MessageKind::Binary => Ok(()),
            MessageKind::Text => {
                let piece = &self.output[from..self.len];
                self.text.push(piece).map_err(|_| Fault::NotUtf8)
            }
        }
    }

    /// Says whether a stream that ends here ends with the message: after all of it, or with what we have
    /// added.
    fn is_at_end(&self) -> bool {
        let left = self.input.len() - self.taken;
        left == 0 || left == END.len()
    }

    fn complete(&self) -> Result<Inflated, Fault> {
        match self.text.is_complete() {
            true => Ok(Inflated::Whole),
            false => Err(Fault::NotUtf8),
        }
    }

    /// Goes on behind a block that was marked as the last one (RFC 7692, section 7.2.3.4). It may refer
    /// to what came before.
    fn restart(&mut self, window: &[u8]) {
        let mut before = Window::default();
        let message = self.message();
        if message.len() < Window::size(LARGEST_WINDOW) {
            before.push(window, LARGEST_WINDOW);
        }
        before.push(message, LARGEST_WINDOW);
        self.stream.reset(false);
        if !before.bytes().is_empty() {
            let _ = self.stream.set_dictionary(before.bytes());
        }
    }
}

impl fmt::Debug for Inflation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Inflation")
            .field("kind", &self.kind)
            .field("taken", &self.taken)
            .field("len", &self.len)
            .finish_non_exhaustive()
    }
}

/// What is appended to a message: its [tail](TAIL), and an empty block that is marked as the last one.
/// Only if the message is whole does the stream end with it.
const END: [u8; 9] = {
    let [a, b, c, d] = TAIL;
    [a, b, c, d, 0x01, a, b, c, d]
};

/// Bytes, received and inflated together, of one step: a third of a millisecond.
pub(crate) const STEP: usize = 256 * 1024;

/// Bytes that a block costs which was marked as the last one, but is not.
const RESTART: usize = 8 * 1024;

/// Steps that each message costs, however short it is, and bytes that cost one step more.
const FIXED: usize = 4;
const BYTES: usize = 64;

/// How many times its length a message has when it is inflated, most likely at most.
const LIKELY_RATIO: usize = 4;

/// Bytes by which the storage of a message grows at least.
const LEAST_ROOM: usize = 4 * 1024;

/// Bytes that a decompressor takes.
const STREAM: usize = 48 * 1024;
