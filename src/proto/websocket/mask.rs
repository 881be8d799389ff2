//! Masking and unmasking of payloads (RFC 6455, section 5.3).

/// Masks or unmasks `payload` in place. The two are the same operation.
///
/// `offset` is the number of payload bytes of the frame before this slice. So a payload may be
/// handled in pieces of any length.
pub(crate) fn apply(payload: &mut [u8], mask: [u8; 4], offset: usize) {
    let key = u64::from(u32::from_ne_bytes(rotate(mask, offset)));
    let wide = key << 32 | key;
    // Pieces of a fixed length, without an index from one round to the next: the compiler makes vector
    // code of the first loop, which needs no preparation for a short payload.
    let (pieces, rest) = payload.as_chunks_mut::<32>();
    for piece in pieces {
        for chunk in piece.as_chunks_mut::<8>().0 {
            *chunk = (u64::from_ne_bytes(*chunk) ^ wide).to_ne_bytes();
        }
    }
    let (chunks, rest) = rest.as_chunks_mut::<8>();
    for chunk in chunks {
        *chunk = (u64::from_ne_bytes(*chunk) ^ wide).to_ne_bytes();
    }
    for (byte, key) in rest.iter_mut().zip(wide.to_ne_bytes()) {
        *byte ^= key;
    }
}

/// Returns the mask for the byte after `count` bytes.
pub(super) fn rotate(mask: [u8; 4], count: usize) -> [u8; 4] {
    let bits = [0, 8, 16, 24][count % 4];
    u32::from_le_bytes(mask).rotate_right(bits).to_le_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The transformation as RFC 6455, section 5.3, writes it down.
    fn reference(payload: &[u8], mask: [u8; 4], offset: usize) -> Vec<u8> {
        payload
            .iter()
            .enumerate()
            .map(|(i, byte)| byte ^ mask[(offset + i) % 4])
            .collect()
    }

    #[test]
    fn every_length_and_offset_agrees_with_the_rfc() {
        let mask = [0x37, 0xfa, 0x21, 0x3d];
        let bytes: Vec<u8> = (0..=255).collect();
        for len in 0..bytes.len() {
            for offset in 0..9 {
                let mut payload = bytes[..len].to_vec();
                apply(&mut payload, mask, offset);
                assert_eq!(
                    payload,
                    reference(&bytes[..len], mask, offset),
                    "{len} at {offset}"
                );
            }
        }
    }

    #[test]
    fn every_alignment_agrees_with_the_rfc() {
        let bytes: Vec<u8> = (0..100).collect();
        for start in 0..16 {
            let mut payload = bytes.clone();
            apply(&mut payload[start..], [9, 8, 7, 6], start);
            assert_eq!(
                payload[start..],
                reference(&bytes[start..], [9, 8, 7, 6], start)
            );
            assert_eq!(payload[..start], bytes[..start], "bytes before stay");
        }
    }

    #[test]
    fn masking_twice_gives_the_payload_back() {
        let mut payload = *b"any payload at all";
        apply(&mut payload, [1, 2, 3, 4], 7);
        assert_ne!(&payload, b"any payload at all");
        apply(&mut payload, [1, 2, 3, 4], 7);
        assert_eq!(&payload, b"any payload at all");
    }
}
