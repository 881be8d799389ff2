//! DEFLATE as messages use it (RFC 7692, section 7.2): one message in, one message out.
//!
//! The law of this module: a loop has one compressor and one decompressor, and each is used for one
//! message at a time. What a message may refer to in earlier ones is not in their state, but in a
//! [`Window`] that the connection keeps, if it was agreed to keep one. So a connection between two
//! messages costs nothing more than its window.
//!
//! This module knows no frames: the caller takes them apart and puts them together.

mod compressors;
mod effort;
mod inflation;
mod tail;
mod window;

pub(crate) use compressors::{Compressors, Strength};
pub(crate) use inflation::{Fault, Inflated, Inflaters, Inflation};
pub(crate) use window::{LARGEST_WINDOW, Window};

#[cfg(test)]
mod tests;
