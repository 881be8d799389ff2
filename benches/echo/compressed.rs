//! Messages compressed beforehand (RFC 7692, section 7.2), each for itself.

use std::fmt::Write;
use std::io;

use flate2::{Compress, Compression, Decompress, FlushCompress, FlushDecompress, Status};

/// What the peer offers: no message refers to another one, either way.
pub(crate) const OFFER: &str =
    "permessage-deflate; server_no_context_takeover; client_no_context_takeover";

/// Makes text as applications send it: records with the same fields and other values.
pub(crate) fn json(size: usize) -> Vec<u8> {
    let mut text = String::from("[");
    let mut dice: u32 = 7;
    while text.len() < size {
        let mut throw = |sides: u32| {
            dice = dice.wrapping_mul(0x9E37_79B1).wrapping_add(0x7F4A_7C15);
            (dice >> 8) % sides
        };
        let (id, price, volume) = (throw(1_000_000), throw(100_000), throw(10_000));
        let symbol = ["ALPHA", "BRAVO", "DELTA", "GAMMA", "OMEGA"][throw(5) as usize];
        let side = ["buy", "sell"][throw(2) as usize];
        let _ = write!(
            text,
            r#"{{"id":{id},"symbol":"{symbol}","side":"{side}","price":{}.{:02},"volume":{volume},"time":"2026-03-01T12:{:02}:{:02}Z"}},"#,
            price / 100,
            price % 100,
            throw(60),
            throw(60)
        );
    }
    text.truncate(size);
    text.into_bytes()
}

pub(crate) fn deflate(payload: &[u8]) -> io::Result<Vec<u8>> {
    let mut compressed = Vec::with_capacity(payload.len() + 64);
    let mut deflate = Compress::new(Compression::default(), false);
    deflate
        .compress_vec(payload, &mut compressed, FlushCompress::Sync)
        .map_err(io::Error::other)?;
    let tail = compressed.len() - TAIL.len();
    match compressed.split_off(tail) == TAIL {
        true => Ok(compressed),
        false => Err(io::Error::other("it does not end as it should")),
    }
}

pub(crate) fn inflate(compressed: &[u8], most: usize) -> io::Result<Vec<u8>> {
    let input = [compressed, &TAIL].concat();
    // A byte more: it must not be needed.
    let mut payload = Vec::with_capacity(most + 1);
    let status = Decompress::new(false)
        .decompress_vec(&input, &mut payload, FlushDecompress::Sync)
        .map_err(io::Error::other)?;
    match status {
        Status::Ok | Status::StreamEnd => Ok(payload),
        Status::BufError => Err(io::Error::other("it inflates to more than was sent")),
    }
}

/// What every compressed message ends with, and is not sent.
const TAIL: [u8; 4] = [0, 0, 0xff, 0xff];
