//! What a client is about to dial with.

use super::event::DialError;
use crate::close::{Cause, CloseCode, Evidence};

/// What a client is about to dial with: [`Handler::on_dial`](crate::Handler::on_dial) may change it.
///
/// Each attempt begins with the words of the client's configuration; what was changed for an earlier
/// attempt is forgotten. Path, headers and subprotocols are for a WebSocket request: on other wires
/// they have no effect.
///
/// The words are checked as those of the configuration are. If they cannot be sent, the attempt fails
/// with [`DialError::Request`], which is final: the client stops.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct DialRequest {
    /// Number of this attempt, as in [`ClientEvent::Dialing`](super::ClientEvent::Dialing).
    pub attempt: u32,
    /// How the last attempt or connection ended. `None` before the first attempt.
    pub last: Option<LastEnd>,
    /// Path and query.
    pub path: String,
    /// Header fields to add. After a redirect to another scheme, host or port, those that are
    /// credentials are left out; see [`ClientConfig::follow`](super::ClientConfig::follow).
    pub headers: Vec<(String, String)>,
    /// Subprotocols to offer, the preferred one first.
    pub subprotocols: Vec<String>,
}

impl DialRequest {
    /// Sets a header field, in place of all that have this name in any case.
    pub fn set_header(&mut self, name: &str, value: impl Into<String>) {
        self.headers
            .retain(|(other, _)| !other.eq_ignore_ascii_case(name));
        self.headers.push((name.to_owned(), value.into()));
    }
}

/// How the last attempt or connection of a client ended.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum LastEnd {
    /// The attempt failed.
    Failed(DialError),
    /// The open connection ended.
    Closed {
        /// Why.
        cause: Cause,
        /// The code of the peer's Close frame, if there was one.
        close_code: Option<CloseCode>,
    },
}

impl LastEnd {
    pub(super) fn of_close(evidence: &Evidence) -> Self {
        Self::Closed {
            cause: evidence.cause,
            close_code: evidence.close_code,
        }
    }

    /// Returns the HTTP status that the attempt failed with, if it was one.
    pub fn status(&self) -> Option<u16> {
        match self {
            Self::Failed(error) => error.status(),
            Self::Closed { .. } => None,
        }
    }
}
