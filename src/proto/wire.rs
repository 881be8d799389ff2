//! What the wires have in common: how a decoder reports a frame.

use std::ops::Range;

/// Whether a message is text or bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum MessageKind {
    /// UTF-8 text, checked.
    Text,
    /// Arbitrary bytes.
    Binary,
}

/// Which end of the connection we are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Role {
    /// We accepted the connection.
    Server,
    /// We dialed it.
    Client,
}

/// Where the payload of a complete message lies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Payload {
    /// In the decoder's input, at this range, ready to be read (already unmasked).
    Input(Range<usize>),
    /// In the decoder's assembly buffer, complete, until it is taken.
    Assembled,
}
