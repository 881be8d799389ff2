//! Why a handshake head must not be sent.

use std::error::Error as StdError;
use std::fmt;

use crate::proto::http::InvalidHead;

/// Why a head of the opening handshake was not built.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum InvalidHandshake {
    /// It would not be a valid head.
    Head(InvalidHead),
    /// A subprotocol is not a token, is offered twice, or was not offered.
    Subprotocol(String),
}

impl From<InvalidHead> for InvalidHandshake {
    fn from(error: InvalidHead) -> Self {
        Self::Head(error)
    }
}

impl fmt::Display for InvalidHandshake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Head(error) => error.fmt(f),
            Self::Subprotocol(name) => {
                write!(
                    f,
                    "subprotocol {name:?} is not a token, repeated or not offered"
                )
            }
        }
    }
}

impl StdError for InvalidHandshake {}
