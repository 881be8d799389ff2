//! Compresses messages, one at a time, for all connections of a loop.

use std::fmt;

use flate2::{Compress, Compression, FlushCompress, Status};

use super::effort::Effort;
use super::tail::TAIL;

/// How a message is compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Strength {
    /// 1 for the fastest to 9 for the smallest.
    pub(crate) level: u8,
    /// How far back a message may refer, 9 to 15: two to the power of it, bytes.
    pub(crate) window_bits: u8,
}

/// The compressors of a loop: one for each strength in use, each made when it is first needed.
#[derive(Default)]
pub(crate) struct Compressors {
    /// The last one used comes last.
    made: Vec<Compressor>,
    effort: Effort,
}

struct Compressor {
    strength: Strength,
    stream: Compress,
}

impl Compressors {
    /// Most of them at once. Each takes 380 KB. Listeners with more strengths than that make one again
    /// and again, which costs some 30 µs each time.
    const MOST: usize = 4;

    /// Compresses a message that may refer to `window`, and returns what to send, without its tail.
    /// `None` if that is no shorter than the message: then it is sent as it is.
    pub(crate) fn compress<'a>(
        &mut self,
        strength: Strength,
        window: &[u8],
        message: &[u8],
        out: &'a mut Vec<u8>,
    ) -> Option<&'a [u8]> {
        // A window is read into tables, byte by byte.
        let work = message.len() + 2 * window.len();
        self.effort.add(Effort::of(FIXED, work, BYTES));
        let stream = self.stream(strength);
        stream.reset();
        if !window.is_empty() {
            stream.set_dictionary(window).ok()?;
        }
        out.clear();
        // With one byte more than is worth it, a stream that fits is known to be complete.
        let room = message.len() + TAIL.len();
        out.resize(room, 0);
        let status = stream.compress(message, out, FlushCompress::Sync);
        let (taken, len) = (stream.total_in(), stream.total_out());
        let len = usize::try_from(len).ok()?;
        let is_whole =
            matches!(status, Ok(Status::Ok)) && taken == message.len() as u64 && len < room;
        if !is_whole {
            return None;
        }
        out.truncate(len);
        out.strip_suffix(&TAIL)
    }

    /// Takes the work done since the last call.
    pub(crate) fn take_effort(&mut self) -> usize {
        self.effort.take()
    }

    fn stream(&mut self, strength: Strength) -> &mut Compress {
        let known = self.made.iter().position(|made| made.strength == strength);
        let compressor = match known {
            Some(at) => self.made.remove(at),
            None => Compressor::new(strength),
        };
        if self.made.len() == Self::MOST {
            self.made.remove(0);
        }
        self.made.push(compressor);
        let last = self.made.last_mut();
        &mut last.expect("it was just added").stream
    }
}

impl Compressor {
    fn new(strength: Strength) -> Self {
        let Strength { level, window_bits } = strength;
        let level = Compression::new(level.into());
        Self {
            strength,
            stream: Compress::new_with_window_bits(level, false, window_bits),
        }
    }
}

impl fmt::Debug for Compressors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let strengths = self.made.iter().map(|made| made.strength);
        f.debug_list().entries(strengths).finish()
    }
}

/// Steps that each message costs, however short it is, and bytes that cost one step more.
const FIXED: usize = 64;
const BYTES: usize = 24;
