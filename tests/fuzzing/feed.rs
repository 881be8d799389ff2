//! One stream fed to a decoder in different pieces, which must make no difference.

use std::fmt::Debug;

use heartwheel::error::ProtocolError;
use heartwheel::proto::pool::Pool;

use super::dice::Dice;

/// A decoder of some wire, seen from the outside.
pub(super) trait Decode: Default {
    /// What it finds, with its bytes: nothing that points into the input.
    type Found: Clone + Debug + PartialEq;

    /// Decodes one step and checks what it says of its input. `None`: more bytes are needed.
    fn step(
        &mut self,
        input: &mut [u8],
        limit: u64,
        pool: &mut Pool,
    ) -> Result<(usize, Option<Self::Found>), ProtocolError>;

    /// Says whether nothing follows what was just found.
    fn is_last(_found: &Self::Found) -> bool {
        false
    }

    /// Gives all storage back, that of an unfinished message too.
    fn release(self, pool: &mut Pool);

    /// The most bytes that may stay in the input for want of more.
    const MOST_LEFT: usize;
}

/// How a stream is cut.
#[derive(Clone, Copy, Debug)]
pub(super) enum Cuts {
    /// Not at all.
    Whole,
    /// After each byte.
    Bytes,
    /// Anywhere, as a seed decides.
    Seeded(u64),
}

/// What became of a stream.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Outcome<F> {
    pub(super) found: Vec<F>,
    pub(super) end: End,
    /// Bytes used up. At an error: where the step began that failed.
    pub(super) at: usize,
}

/// How decoding ended.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum End {
    More,
    Over,
    Error(ProtocolError),
}

/// Decodes the stream in pieces.
pub(super) fn feed<D: Decode>(
    decoder: &mut D,
    stream: &[u8],
    cuts: Cuts,
    limit: u64,
    pool: &mut Pool,
) -> Outcome<D::Found> {
    let mut input = stream.to_vec();
    let mut dice = Dice::new(match cuts {
        Cuts::Seeded(seed) => seed,
        Cuts::Whole | Cuts::Bytes => 0,
    });
    let (mut at, mut fed) = (0, 0);
    let mut found = Vec::new();
    while fed < stream.len() {
        let rest = stream.len() - fed;
        fed += match cuts {
            Cuts::Whole => rest,
            Cuts::Bytes => 1,
            Cuts::Seeded(_) => {
                let most = [1, 3, 16, rest][dice.index(4)];
                1 + dice.index(most.min(rest))
            }
        };
        loop {
            let step = decoder.step(&mut input[at..fed], limit, pool);
            let (consumed, item) = match step {
                Ok(step) => step,
                Err(error) => {
                    let end = End::Error(error);
                    return Outcome { found, end, at };
                }
            };
            assert!(consumed <= fed - at, "consumed more than there is");
            at += consumed;
            let Some(item) = item else { break };
            assert!(consumed > 0, "{item:?} out of nothing");
            let is_last = D::is_last(&item);
            found.push(item);
            if is_last {
                let end = End::Over;
                return Outcome { found, end, at };
            }
        }
        assert!(fed - at <= D::MOST_LEFT, "{} bytes stay", fed - at);
        assert_eq!(input[at..fed], stream[at..fed], "the rest was changed");
    }
    let end = End::More;
    Outcome { found, end, at }
}

/// Decodes the stream whole, byte by byte and cut as the seed says; checks that all agree, that memory
/// stays within what was received, and returns what became of it.
pub(super) fn cut_everywhere<D: Decode>(
    stream: &[u8],
    seed: u64,
    limit: u64,
    is_same: impl Fn(&End, &End) -> bool,
) -> Outcome<D::Found> {
    let whole = decode_with_care::<D>(stream, Cuts::Whole, limit);
    let smallest = if stream.len() <= LONGEST_IN_BYTES {
        Cuts::Bytes
    } else {
        Cuts::Seeded(seed + 1)
    };
    for cuts in [smallest, Cuts::Seeded(seed), Cuts::Seeded(!seed)] {
        let other = decode_with_care::<D>(stream, cuts, limit);
        assert_eq!(other.found, whole.found, "{cuts:?}");
        let (one, two) = (other.end, whole.end);
        assert!(is_same(&one, &two), "{cuts:?}: {one:?}, whole: {two:?}");
    }
    whole
}

/// Decodes with the memory counted.
fn decode_with_care<D: Decode>(stream: &[u8], cuts: Cuts, limit: u64) -> Outcome<D::Found> {
    let (mut pool, mut decoder) = (Pool::default(), D::default());
    let mut outcome = None;
    let counted = allocation_counter::measure(|| {
        outcome = Some(feed(&mut decoder, stream, cuts, limit, &mut pool));
    });
    let received = stream.len() as u64;
    assert!(
        counted.bytes_max <= 64 * 1024 + 64 * received,
        "{counted:?} for {received} bytes"
    );
    decoder.release(&mut pool);
    // Nothing came from the pool that has not gone back: this is all the storage there ever was.
    let storage = pool.free_bytes() as u64;
    assert!(
        storage <= 4096 + 8 * received,
        "{storage} bytes of storage for {received}"
    );
    outcome.expect("the stream was fed")
}

/// Longer streams take too long byte by byte.
const LONGEST_IN_BYTES: usize = 8 * 1024;
