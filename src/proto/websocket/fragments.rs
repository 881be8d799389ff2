//! How a long message is split, so that control frames can go between the parts (RFC 6455, 5.4).

use std::ops::Range;

use super::Opcode;
use crate::proto::wire::MessageKind;

/// Returns the frames of a message of `len` bytes, with at most `limit` bytes each: the fin bit,
/// the opcode and the range of the payload. An empty message is one empty frame.
///
/// ```
/// use heartwheel::proto::websocket::{Opcode, fragments};
/// use heartwheel::proto::wire::MessageKind;
///
/// let frames: Vec<_> = fragments(MessageKind::Text, 5, 2).collect();
/// assert_eq!(
///     frames,
///     [
///         (false, Opcode::Text, 0..2),
///         (false, Opcode::Continuation, 2..4),
///         (true, Opcode::Continuation, 4..5),
///     ]
/// );
/// ```
///
/// # Panics
///
/// If `limit` is zero.
pub fn fragments(
    kind: MessageKind,
    len: usize,
    limit: usize,
) -> impl Iterator<Item = (bool, Opcode, Range<usize>)> {
    assert!(limit > 0, "a fragment holds bytes");
    let first = Opcode::of(kind);
    // The most common case needs no division.
    let count = if len <= limit { 1 } else { len.div_ceil(limit) };
    (0..count).map(move |piece| {
        let start = piece * limit;
        let end = len.min(start.saturating_add(limit));
        let opcode = if piece == 0 {
            first
        } else {
            Opcode::Continuation
        };
        (end == len, opcode, start..end)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_message_is_one_final_frame() {
        let frames: Vec<_> = fragments(MessageKind::Binary, 0, 10).collect();
        assert_eq!(frames, [(true, Opcode::Binary, 0..0)]);
    }

    #[test]
    fn a_message_of_exactly_the_limit_is_one_frame() {
        let frames: Vec<_> = fragments(MessageKind::Binary, 10, 10).collect();
        assert_eq!(frames, [(true, Opcode::Binary, 0..10)]);
    }
}
