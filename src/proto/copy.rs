//! Copying payloads, in pieces that every C library copies well.
//!
//! A long copy becomes one instruction, `rep movsb`, in glibc before 2.39. Where the target lies a few
//! bytes behind the source, counted modulo a page, AMD's Zen 3 and 4 then move about 3 bytes a
//! nanosecond where they could move 80 (glibc bug 30994); and a payload that is copied to behind its
//! own header lies just so. Pieces this short are moved by vector instructions, which do not mind.

/// Copies `from` to the beginning of `to`, which has room for it.
pub(super) fn fill(to: &mut [u8], from: &[u8]) {
    if from.len() <= PIECE {
        return to[..from.len()].copy_from_slice(from);
    }
    for (to, from) in to.chunks_mut(PIECE).zip(from.chunks(PIECE)) {
        to[..from.len()].copy_from_slice(from);
    }
}

/// Appends `bytes` to `out`, reserving once.
pub(super) fn append(out: &mut Vec<u8>, bytes: &[u8]) {
    out.reserve(bytes.len());
    for piece in bytes.chunks(PIECE) {
        out.extend_from_slice(piece);
    }
}

/// Below the least length, 2112 bytes, from which glibc takes to that instruction on those machines.
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
