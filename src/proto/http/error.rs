//! Errors in a received head, and the HTTP status for each.

use std::error::Error as StdError;
use std::fmt;

use crate::error::Foreign;

/// The rule that a received head broke. For a request, each rule has a status for the response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum HeadError {
    /// Not valid HTTP/1. Names the part that is wrong.
    Malformed(&'static str),
    /// Not HTTP/1 at all, but probably another protocol.
    Foreign(Foreign),
    /// The head is larger than the limit.
    HeadTooLarge {
        /// The limit in force, bytes.
        limit: usize,
    },
    /// The target alone is longer than the limit for a head (RFC 9112, section 3).
    TargetTooLong {
        /// The limit in force, bytes.
        limit: usize,
    },
    /// The head has more header lines than the limit.
    TooManyHeaders {
        /// The limit in force, lines.
        limit: usize,
    },
    /// The Host header is missing, repeated or not an authority (RFC 9112, section 3.2).
    Host,
}

impl HeadError {
    /// Returns the HTTP status of the response to such a request: 400, 414 or 431.
    pub const fn status(&self) -> u16 {
        match self {
            Self::Malformed(_) | Self::Foreign(_) | Self::Host => 400,
            Self::TargetTooLong { .. } => 414,
            Self::HeadTooLarge { .. } | Self::TooManyHeaders { .. } => 431,
        }
    }

    /// Converts an error of httparse. `foreign` is the other protocol that the bytes belong to, if
    /// it is known. `first_line` is the name for the first line.
    pub(super) fn of(
        error: httparse::Error,
        first_line: &'static str,
        foreign: Option<Foreign>,
        max_headers: usize,
    ) -> Self {
        let or_foreign = |part| foreign.map_or(Self::Malformed(part), Self::Foreign);
        match error {
            httparse::Error::TooManyHeaders => Self::TooManyHeaders { limit: max_headers },
            httparse::Error::HeaderName => Self::Malformed("header name"),
            httparse::Error::HeaderValue => Self::Malformed("header value"),
            httparse::Error::NewLine => Self::Malformed("end of line"),
            httparse::Error::Version => or_foreign("http version"),
            httparse::Error::Status | httparse::Error::Token => or_foreign(first_line),
        }
    }

    /// Replaces a limit that was reduced by the bytes already removed: the error must name the full
    /// limit.
    pub(super) fn with_limit(self, limit: usize) -> Self {
        match self {
            Self::HeadTooLarge { .. } => Self::HeadTooLarge { limit },
            Self::TargetTooLong { .. } => Self::TargetTooLong { limit },
            Self::Malformed(_) | Self::Foreign(_) | Self::TooManyHeaders { .. } | Self::Host => {
                self
            }
        }
    }
}

impl fmt::Display for HeadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Malformed(part) => write!(f, "malformed {part}"),
            Self::Foreign(protocol) => write!(f, "not http/1: {protocol}"),
            Self::HeadTooLarge { limit } => write!(f, "head exceeds {limit} bytes"),
            Self::TargetTooLong { limit } => write!(f, "target exceeds {limit} bytes"),
            Self::TooManyHeaders { limit } => write!(f, "more than {limit} header lines"),
            Self::Host => f.write_str("host must be given exactly once and be an authority"),
        }
    }
}

impl StdError for HeadError {}
