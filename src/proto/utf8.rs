//! UTF-8 checked piece by piece, as bytes arrive (RFC 6455, sections 5.6 and 8.1).
//!
//! With the feature `websocket`, most bytes are checked with the processor's vector instructions.
//! Between pieces only a code point that was cut is kept, at most three bytes, until its rest
//! arrives.

/// Checks a text that arrives in pieces. Fails at the first byte that cannot be part of UTF-8.
///
/// After an error the validator's results mean nothing. Start a new one.
#[derive(Clone, Debug, Default)]
pub(crate) struct Validator {
    /// The start of a code point that was cut at the end of the last piece.
    cut: [u8; 4],
    /// Number of bytes in `cut`. Invariant: at most 3, and they may become a valid code point.
    cut_len: u8,
}

impl Validator {
    /// Checks the next piece of the text.
    ///
    /// # Errors
    ///
    /// [`InvalidUtf8`] as soon as the bytes so far cannot be the start of a valid text.
    pub(crate) fn push(&mut self, piece: &[u8]) -> Result<(), InvalidUtf8> {
        let rest = self.complete_cut(piece)?;
        let (whole, cut) = rest.split_at(rest.len() - cut_len(rest));
        if !is_text(whole) {
            return Err(InvalidUtf8);
        }
        for &byte in cut {
            self.keep(byte);
            self.check_cut()?;
        }
        Ok(())
    }

    /// Returns whether the text may end here: no code point is unfinished.
    pub(crate) fn is_complete(&self) -> bool {
        self.cut_len == 0
    }

    /// Completes a code point that was cut, and returns the rest of the piece.
    fn complete_cut<'a>(&mut self, piece: &'a [u8]) -> Result<&'a [u8], InvalidUtf8> {
        let mut rest = piece;
        while self.cut_len > 0 {
            let [byte, after @ ..] = rest else {
                break;
            };
            rest = after;
            self.keep(*byte);
            self.check_cut()?;
        }
        Ok(rest)
    }

    /// Discards the code point if it is complete. Fails if it cannot become valid.
    fn check_cut(&mut self) -> Result<(), InvalidUtf8> {
        match std::str::from_utf8(&self.cut[..usize::from(self.cut_len)]) {
            Ok(_) => self.cut_len = 0,
            Err(error) if error.error_len().is_some() => return Err(InvalidUtf8),
            Err(_) => {}
        }
        Ok(())
    }

    fn keep(&mut self, byte: u8) {
        self.cut[usize::from(self.cut_len)] = byte;
        self.cut_len += 1;
    }
}

/// Returns whether the bytes are complete code points.
#[cfg(feature = "websocket")]
pub(super) fn is_text(bytes: &[u8]) -> bool {
    if bytes.len() >= BLOCK {
        return simdutf8::basic::from_utf8(bytes).is_ok();
    }
    if bytes.is_ascii() {
        return true;
    }
    // The vector check needs a whole block, and would check the rest byte by byte. So short input
    // is padded to a block.
    let mut block = [0; BLOCK];
    block[..bytes.len()].copy_from_slice(bytes);
    simdutf8::basic::from_utf8(&block).is_ok()
}

/// Bytes that the vector check handles at a time.
#[cfg(feature = "websocket")]
const BLOCK: usize = 64;

/// Returns whether the bytes are complete code points.
#[cfg(not(feature = "websocket"))]
pub(super) fn is_text(bytes: &[u8]) -> bool {
    std::str::from_utf8(bytes).is_ok()
}

/// Returns how many bytes at the end are the start of an unfinished code point, according to the
/// length that its first byte announces.
fn cut_len(bytes: &[u8]) -> usize {
    let announced = |first: u8| first.leading_ones() as usize;
    let tail = &bytes[bytes.len().saturating_sub(3)..];
    let from_start = tail.iter().rev().position(|&byte| announced(byte) != 1);
    match from_start.map(|distance| (distance + 1, announced(tail[tail.len() - 1 - distance]))) {
        Some((len, announced)) if announced > len => len,
        Some(_) | None => 0,
    }
}

/// The bytes are not UTF-8.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct InvalidUtf8;

#[cfg(test)]
mod tests {
    use super::*;

    /// Feeds byte by byte; returns the index of the byte that was refused.
    fn refused_at(bytes: &[u8]) -> Option<usize> {
        let mut validator = Validator::default();
        bytes
            .iter()
            .position(|&byte| validator.push(&[byte]).is_err())
    }

    fn are_text(pieces: &[&[u8]]) -> bool {
        let mut validator = Validator::default();
        pieces.iter().all(|piece| validator.push(piece).is_ok()) && validator.is_complete()
    }

    #[test]
    fn text_cut_at_every_byte_is_text() {
        let text = "a\u{7f}\u{80}\u{7ff}\u{800}\u{d7ff}\u{e000}\u{ffff}\u{10000}\u{10ffff}z";
        for first in 0..=text.len() {
            for second in first..=text.len() {
                let bytes = text.as_bytes();
                assert!(are_text(&[
                    &bytes[..first],
                    &bytes[first..second],
                    &bytes[second..]
                ]));
            }
        }
    }

    #[test]
    fn an_error_shows_at_its_earliest_byte() {
        assert_eq!(refused_at(b"ok\xff"), Some(2), "never in utf-8");
        assert_eq!(refused_at(b"\x80"), Some(0), "continuation without a start");
        assert_eq!(refused_at(b"\xc0"), Some(0), "overlong of two bytes");
        assert_eq!(refused_at(b"\xc3("), Some(1), "continuation missing");
        assert_eq!(refused_at(b"\xe0\x80"), Some(1), "overlong of three bytes");
        assert_eq!(refused_at(b"\xed\xa0"), Some(1), "surrogate");
        assert_eq!(refused_at(b"\xf0\x80"), Some(1), "overlong of four bytes");
        assert_eq!(
            refused_at(b"\xf4\x90"),
            Some(1),
            "beyond the last code point"
        );
        assert_eq!(
            refused_at(b"\xf4\x8f\xbf\xc0"),
            Some(3),
            "last continuation"
        );
        assert_eq!(
            refused_at(b"\xf5"),
            Some(0),
            "start beyond the last code point"
        );
    }

    #[test]
    fn an_unfinished_code_point_is_no_error_but_not_complete() {
        for cut in 1..4 {
            let mut validator = Validator::default();
            assert_eq!(validator.push(&"\u{10ffff}".as_bytes()[..cut]), Ok(()));
            assert!(!validator.is_complete());
            assert_eq!(validator.push(&[]), Ok(()));
            assert!(!validator.is_complete());
        }
    }

    #[test]
    fn every_pair_of_bytes_is_judged_like_the_standard_library() {
        for pair in 0..=u16::MAX {
            let [first, second] = pair.to_be_bytes();
            let whole = std::str::from_utf8(&[first, second]).is_ok();
            assert_eq!(
                are_text(&[&[first], &[second]]),
                whole,
                "{first:02x} {second:02x}"
            );
            assert_eq!(
                are_text(&[&[first, second]]),
                whole,
                "{first:02x} {second:02x}"
            );
        }
    }

    /// The bytes of `text` one by one, as the standard library judges every beginning of it.
    fn refused_by_the_standard_library(bytes: &[u8]) -> Option<usize> {
        let error = std::str::from_utf8(bytes).err()?;
        let faulty = (error.valid_up_to()..bytes.len()).find(|&end| {
            let beginning = std::str::from_utf8(&bytes[..=end]);
            beginning.is_err_and(|error| error.error_len().is_some())
        });
        faulty.filter(|_| error.error_len().is_some())
    }

    #[test]
    fn a_long_text_may_be_cut_anywhere() {
        let text = "any text, ünd €uros, and 😀; ".repeat(12);
        for at in 0..=text.len() {
            let (first, second) = text.as_bytes().split_at(at);
            assert!(are_text(&[first, second]), "{at}");
        }
    }

    #[test]
    fn a_fault_in_a_long_text_shows_in_the_piece_that_has_it() {
        let text = "any text, ünd €uros, and 😀; ".repeat(6);
        for at in 0..text.len() {
            for fault in [0x00, 0x80, 0xc3, 0xe2, 0xed, 0xf0, 0xff] {
                let mut bytes = text.clone().into_bytes();
                bytes[at] = fault;
                let expected = refused_by_the_standard_library(&bytes);
                assert_eq!(refused_at(&bytes), expected, "{fault:02x} at {at}");
                for len in [63, 64, 65, 100, bytes.len()] {
                    let mut validator = Validator::default();
                    let refused = bytes
                        .chunks(len)
                        .position(|piece| validator.push(piece).is_err());
                    assert_eq!(refused, expected.map(|at| at / len), "{fault:02x} at {at}");
                }
            }
        }
    }
}
