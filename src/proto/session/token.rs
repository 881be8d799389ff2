//! What a ping carries so that its pong can be told from any other.
//!
//! A token is the ping's number in disguise: under a key that the peer does not know, and different for
//! each connection. It is undone, not looked for, so that the tokens of outstanding pings need no
//! storage, and one that nobody sent costs no more than any other.

/// Turns a ping's number into its token.
pub(super) fn encode(key: u64, connection: u32, number: u32) -> u32 {
    let (before, after) = keys(key, connection);
    let mut word = number ^ before;
    word = (word ^ (word >> 16)).wrapping_mul(FACTORS[0]);
    word = (word ^ (word >> 16)).wrapping_mul(FACTORS[1]);
    word ^ (word >> 16) ^ after
}

/// Turns a token back into the number that it is, or would be.
pub(super) fn decode(key: u64, connection: u32, token: u32) -> u32 {
    let (before, after) = keys(key, connection);
    let mut word = token ^ after;
    word = (word ^ (word >> 16)).wrapping_mul(INVERSES[1]);
    word = (word ^ (word >> 16)).wrapping_mul(INVERSES[0]);
    word ^ (word >> 16) ^ before
}

/// Returns what is mixed in for one connection, before and after its numbers are scattered: the finaliser
/// of SplitMix64, of the key and the connection.
fn keys(key: u64, connection: u32) -> (u32, u32) {
    let mut hash = key ^ u64::from(connection);
    hash = (hash ^ (hash >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    hash = (hash ^ (hash >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    let [a, b, c, d, e, f, g, h] = (hash ^ (hash >> 31)).to_le_bytes();
    (
        u32::from_le_bytes([a, b, c, d]),
        u32::from_le_bytes([e, f, g, h]),
    )
}

/// Odd, so that each has an inverse modulo 2^32: those of a finaliser for 32 bits with little bias (C.
/// Wellons, "Prospecting for Hash Functions", 2018). A shift by half the bits undoes itself.
const FACTORS: [u32; 2] = [0x7FEB_352D, 0x846C_A68B];
const INVERSES: [u32; 2] = [0x1D69_E2A5, 0x4302_1123];

const _: () = assert!(FACTORS[0].wrapping_mul(INVERSES[0]) == 1);
const _: () = assert!(FACTORS[1].wrapping_mul(INVERSES[1]) == 1);

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn a_token_turns_back_into_its_number() {
        for number in [0, 1, 2, 0xFFFF, 0x1_0000, 0x8000_0000, u32::MAX] {
            for key in [0, 1, 0x1234_5678_9ABC_DEF0, u64::MAX] {
                assert_eq!(decode(key, 77, encode(key, 77, number)), number);
            }
        }
    }

    #[test]
    fn a_token_differs_by_number_by_connection_and_by_key() {
        let mut seen = HashSet::new();
        for number in 1..=1_000 {
            for (key, connection) in [(7, 1), (7, 2), (8, 1)] {
                seen.insert(encode(key, connection, number));
            }
        }
        // Of 3 000 numbers of 32 bits chosen blindly, two are the same once in a thousand times.
        assert!(seen.len() >= 2_998, "{}", seen.len());
    }
}
