//! Copying payloads, in pieces that every C library copies well.
//!
//! In glibc before 2.39 a long copy uses one instruction, `rep movsb`. If the target is a few bytes
//! after the source, counted modulo the page size, that instruction copies only 3 bytes per
//! nanosecond on AMD's Zen 3 and 4, instead of 80 (glibc bug 30994). That is often the case for a
//! payload that is copied to a place after its header. Pieces of this length are copied with vector
//! instructions, which do not have this problem.

/// Copies `from` to the start of `to`, which must be large enough.
pub(super) fn fill(to: &mut [u8], from: &[u8]) {
    if from.len() <= PIECE {
        return to[..from.len()].copy_from_slice(from);
    }
    for (to, from) in to.chunks_mut(PIECE).zip(from.chunks(PIECE)) {
        to[..from.len()].copy_from_slice(from);
    }
}

/// Appends `bytes` to `out`, and allocates at most once.
pub(super) fn append(out: &mut Vec<u8>, bytes: &[u8]) {
    out.reserve(bytes.len());
    for piece in bytes.chunks(PIECE) {
        out.extend_from_slice(piece);
    }
}

/// Less than 2112 bytes, the smallest length for which glibc uses that instruction on those
/// machines.
const PIECE: usize = 2048;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_length_around_the_pieces_arrives_whole() {
        for len in [0, 1, PIECE - 1, PIECE, PIECE + 1, 3 * PIECE, 3 * PIECE + 7] {
            let bytes: Vec<u8> = (0..=250).cycle().take(len).collect();
            let mut target = vec![255; len + 1];
            fill(&mut target, &bytes);
            assert_eq!((&target[..len], target[len]), (&bytes[..], 255), "{len}");
            let mut out = vec![255];
            append(&mut out, &bytes);
            assert_eq!((out[0], &out[1..]), (255, &bytes[..]), "{len}");
        }
    }
}
