//! What a client does, and why an attempt to connect failed.

use std::error::Error as StdError;
use std::fmt;
use std::io;
use std::time::Duration;

use super::queue::Lost;
use crate::close::{Cause, Evidence};
use crate::error::ConfigError;
use crate::peer::PeerAddr;
#[cfg(feature = "websocket")]
use crate::proto::http::{HttpDate, RetryAfter};
#[cfg(feature = "websocket")]
use crate::proto::time::Micros;
use crate::proto::tunnel::TunnelError;
#[cfg(feature = "websocket")]
use crate::proto::websocket::handshake::{Address, RedirectError, ResponseError};
use crate::sys::{MORE_DESCRIPTORS, lacks_descriptors};

/// A change in the state of a client.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ClientEvent {
    /// The client dials this address.
    Dialing {
        /// Number of this attempt, counted since the connection was last stable.
        attempt: u32,
        /// The address.
        addr: PeerAddr,
    },
    /// The server sent a redirect, and the client follows it at once; see
    /// [`ClientConfig::follow`](super::ClientConfig::follow).
    #[cfg(feature = "websocket")]
    Redirected {
        /// The HTTP status.
        code: u16,
        /// The new address.
        to: Address,
    },
    /// An attempt failed.
    Failed {
        /// The reason.
        error: DialError,
    },
    /// The client will dial again.
    Waiting {
        /// After this delay.
        delay: Duration,
    },
    /// The client waits until others have ended their opening handshakes with this address; see
    /// [`ClientConfig::takes_turns`](super::ClientConfig::takes_turns). Told once for each wait.
    AwaitsTurn {
        /// The address.
        addr: PeerAddr,
        /// How many clients are before it: in their handshakes, or waiting too.
        ahead: usize,
    },
    /// Messages of [`Context::send_client`](crate::Context::send_client) that were kept for the client
    /// were lost, since the last such event.
    Unsent {
        /// How many, and why.
        lost: Lost,
    },
    /// The client will not dial again, and its id means nothing from now on.
    Stopped {
        /// Why not.
        why: StopReason,
    },
}

/// Why a client will not dial again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum StopReason {
    /// The embedder disconnected it, or closed its connection.
    Asked,
    /// The loop drains.
    Drain,
    /// It was to dial only once: it has no [`ReconnectConfig`](super::ReconnectConfig).
    Once,
    /// It failed with an error that another attempt would meet again; see
    /// [`DialError::is_retryable`].
    Final,
    /// It failed [`max_attempts`](super::ReconnectConfig::max_attempts) times in a row.
    Attempts,
    /// It had no open connection for [`give_up_after`](super::ReconnectConfig::give_up_after).
    Time,
}

impl StopReason {
    /// Returns a stable label in `snake_case`, for logs and JSON.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Asked => "asked",
            Self::Drain => "drain",
            Self::Once => "once",
            Self::Final => "final",
            Self::Attempts => "max_attempts",
            Self::Time => "give_up_after",
        }
    }
}

/// The label.
impl fmt::Display for StopReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.label())
    }
}

/// Why an attempt failed.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum DialError {
    /// The name has no address.
    NameNotFound(String),
    /// The reactor already holds `max_connections` connections.
    Full,
    /// The kernel reported an error, such as refused or unreachable.
    Io {
        /// Kind of the error.
        kind: io::ErrorKind,
        /// The kernel's error number.
        errno: Option<i32>,
    },
    /// TCP or the opening handshake took too long; the cause says which.
    Timeout(Cause),
    /// The server's answer does not complete the opening handshake.
    #[cfg(feature = "websocket")]
    Handshake(ResponseError),
    /// The server sent a redirect, and the client does not follow it.
    #[cfg(feature = "websocket")]
    Redirect {
        /// The HTTP status.
        code: u16,
        /// The new address, as the server sent it or as a full address. Escape it before you print
        /// it.
        to: String,
        /// Why the client does not follow it.
        reason: RedirectError,
    },
    /// TLS failed before the connection was open: the name of the alert, or of what was wrong with the
    /// server, as [`heartwheel::tls`](crate::tls) gives them.
    #[cfg(feature = "tls")]
    Tls(String),
    /// The connection ended during the opening handshake.
    Ended(Cause),
    /// There is no way through the proxy.
    Proxy(TunnelError),
    /// What [`Handler::on_dial`](crate::Handler::on_dial) returned cannot be sent: the field and why.
    /// Nothing was dialed.
    Request(ConfigError),
}

impl DialError {
    /// Says whether another attempt may succeed. A status of 3xx is final. So is one of 4xx, except
    /// 408, 425 and 429, and a request that cannot be sent.
    pub fn is_retryable(&self) -> bool {
        match self {
            #[cfg(feature = "websocket")]
            Self::Handshake(ResponseError::Status { code, .. }) => {
                !(300..500).contains(code) || matches!(code, 408 | 425 | 429)
            }
            #[cfg(feature = "websocket")]
            Self::Redirect { .. } => false,
            Self::Request(_) => false,
            Self::Proxy(error) => error.is_retryable(),
            #[cfg(feature = "tls")]
            Self::Tls(_) => true,
            #[cfg(feature = "websocket")]
            Self::Handshake(_) => true,
            Self::NameNotFound(_)
            | Self::Full
            | Self::Io { .. }
            | Self::Timeout(_)
            | Self::Ended(_) => true,
        }
    }

    /// Says whether another address of the same name may do better, if TCP did not come through.
    pub(in crate::event_loop) fn is_of_address(&self) -> bool {
        match self {
            Self::Proxy(_) => false,
            #[cfg(feature = "tls")]
            Self::Tls(_) => false,
            _ => true,
        }
    }

    /// Says whether the server, or a proxy, wants to know who we are or does not let us in: 401, 403
    /// or 407. With [`retry_refused`](super::ReconnectConfig::retry_refused) the client dials again
    /// all the same.
    pub fn is_refusal(&self) -> bool {
        matches!(self.status(), Some(401 | 403 | 407))
    }

    /// Returns a stable label in `snake_case`, for counters, logs and JSON.
    ///
    /// If a connection ended, it is the label of its [`Cause`]. The others are `name_not_found`,
    /// `connection_refused`, `unreachable`, `io_error`, `full`, `http_status`, `redirect`,
    /// `not_websocket`, `proxy_refused`, `proxy_error` and `invalid_request`.
    pub fn label(&self) -> &'static str {
        match self {
            Self::NameNotFound(_) => "name_not_found",
            Self::Full => "full",
            Self::Io { kind, .. } => match kind {
                io::ErrorKind::ConnectionRefused => "connection_refused",
                io::ErrorKind::HostUnreachable | io::ErrorKind::NetworkUnreachable => "unreachable",
                io::ErrorKind::ConnectionReset => Cause::PeerReset.label(),
                io::ErrorKind::TimedOut => Cause::ConnectTimeout.label(),
                _ => Cause::IoError.label(),
            },
            #[cfg(feature = "websocket")]
            Self::Handshake(ResponseError::Status { .. }) => "http_status",
            #[cfg(feature = "websocket")]
            Self::Handshake(_) => "not_websocket",
            #[cfg(feature = "websocket")]
            Self::Redirect { .. } => "redirect",
            Self::Timeout(cause) | Self::Ended(cause) => cause.label(),
            #[cfg(feature = "tls")]
            Self::Tls(_) => Cause::TlsHandshake.label(),
            Self::Proxy(error) if error.is_answer() => "proxy_refused",
            Self::Proxy(_) => "proxy_error",
            Self::Request(_) => "invalid_request",
        }
    }

    /// Returns the HTTP status of the server's or the proxy's answer, if the attempt failed because of
    /// it.
    pub fn status(&self) -> Option<u16> {
        match self {
            Self::Proxy(TunnelError::Status(code)) => Some(*code),
            Self::Proxy(_) => None,
            #[cfg(feature = "tls")]
            Self::Tls(_) => None,
            #[cfg(feature = "websocket")]
            Self::Handshake(ResponseError::Status { code, .. }) | Self::Redirect { code, .. } => {
                Some(*code)
            }
            #[cfg(feature = "websocket")]
            Self::Handshake(_) => None,
            Self::NameNotFound(_)
            | Self::Full
            | Self::Io { .. }
            | Self::Timeout(_)
            | Self::Ended(_)
            | Self::Request(_) => None,
        }
    }

    /// Returns when the server asks the client to come again.
    #[cfg(feature = "websocket")]
    fn retry_after(&self) -> Option<RetryAfter> {
        match self {
            Self::Handshake(ResponseError::Status { retry_after, .. }) => *retry_after,
            Self::Handshake(_)
            | Self::Redirect { .. }
            | Self::NameNotFound(_)
            | Self::Full
            | Self::Io { .. }
            | Self::Timeout(_)
            | Self::Ended(_)
            | Self::Proxy(_)
            | Self::Request(_) => None,
            #[cfg(feature = "tls")]
            Self::Tls(_) => None,
        }
    }

    /// Returns how long the server asks the client to wait, at most [`MOST_ASKED`]. If the server
    /// gave a date, `today`, the date of the wall clock, is needed.
    #[cfg(feature = "websocket")]
    pub(in crate::event_loop) fn asked_delay(&self, today: Option<HttpDate>) -> Option<Micros> {
        let seconds = match self.retry_after()? {
            RetryAfter::Seconds(seconds) => seconds,
            date @ RetryAfter::Date(_) => date.seconds(today)?,
        };
        Some(Micros::from_secs(seconds).min(MOST_ASKED))
    }

    pub(in crate::event_loop) fn of_end(evidence: &Evidence) -> Self {
        match evidence.cause {
            Cause::ConnectTimeout | Cause::HandshakeTimeout => Self::Timeout(evidence.cause),
            Cause::IoError | Cause::PeerReset if evidence.errno.is_some() => {
                let errno = evidence.errno.unwrap_or(0);
                Self::Io {
                    kind: io::Error::from_raw_os_error(errno).kind(),
                    errno: evidence.errno,
                }
            }
            cause => Self::Ended(cause),
        }
    }
}

impl From<&io::Error> for DialError {
    fn from(error: &io::Error) -> Self {
        Self::Io {
            kind: error.kind(),
            errno: error.raw_os_error(),
        }
    }
}

impl fmt::Display for DialError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NameNotFound(name) => write!(f, "no address for {name}"),
            Self::Full => f.write_str("connection limit reached (max_connections)"),
            Self::Io {
                errno: Some(errno), ..
            } if lacks_descriptors(*errno) => {
                let error = io::Error::from_raw_os_error(*errno);
                write!(f, "{error}; {}", MORE_DESCRIPTORS)
            }
            Self::Io { kind, .. } => write!(f, "{kind}"),
            Self::Timeout(cause) => write!(f, "{cause}"),
            #[cfg(feature = "websocket")]
            Self::Handshake(error) => write!(f, "{error}"),
            #[cfg(feature = "websocket")]
            Self::Redirect { code, to, reason } => {
                let to = to.escape_debug();
                write!(f, "server answered {code}, moved to {to}: {reason}")
            }
            #[cfg(feature = "tls")]
            Self::Tls(reason) => write!(f, "TLS handshake: {reason}"),
            Self::Ended(cause) => write!(f, "ended in the opening handshake: {cause}"),
            Self::Proxy(error) => write!(f, "{error}"),
            Self::Request(error) => write!(f, "nothing was dialed: {error}"),
        }
    }
}

impl StdError for DialError {}

/// The longest wait that a server may ask for. A very large number must not keep a client away for
/// ever.
#[cfg(feature = "websocket")]
const MOST_ASKED: Micros = Micros::from_secs(24 * 60 * 60);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dial_without_a_descriptor_says_so_and_what_to_do() {
        const EMFILE: i32 = 24;
        let error = DialError::from(&io::Error::from_raw_os_error(EMFILE)).to_string();
        assert!(error.contains("os error 24"), "{error}");
        assert!(error.ends_with(MORE_DESCRIPTORS), "{error}");
    }

    #[cfg(feature = "websocket")]
    #[test]
    fn a_client_error_is_final_and_a_server_error_is_not() {
        let status = |code| {
            DialError::Handshake(ResponseError::Status {
                code,
                retry_after: None,
                location: None,
            })
        };
        for code in [300, 301, 304, 305, 308, 399] {
            assert!(!status(code).is_retryable(), "{code}");
        }
        assert!(!status(401).is_retryable());
        assert!(!status(404).is_retryable());
        assert!(status(429).is_retryable());
        assert!(status(503).is_retryable());
    }

    #[cfg(feature = "websocket")]
    #[test]
    fn a_server_may_ask_for_a_day_and_no_more() {
        let now = HttpDate::from_unix(784_111_777);
        let asked = |retry_after| {
            let error = DialError::Handshake(ResponseError::Status {
                code: 503,
                retry_after: Some(retry_after),
                location: None,
            });
            error.asked_delay(now)
        };
        let day = 24 * 60 * 60;
        for (seconds, delay) in [(day - 1, day - 1), (day + 1, day), (u64::MAX, day)] {
            let delay = Some(Micros::from_secs(delay));
            assert_eq!(asked(RetryAfter::Seconds(seconds)), delay);
        }
        for (date, delay) in [
            ("Sun, 06 Nov 1994 08:51:07 GMT", 90),
            ("Sunday, 06-Nov-94 08:51:07 GMT", 90),
            ("Sun Nov  6 08:51:07 1994", 90),
            ("Sun, 06 Nov 1994 08:48:07 GMT", 0),
            ("Fri, 06 Nov 2026 08:51:07 GMT", day),
        ] {
            let date = RetryAfter::Date(HttpDate::parse(date.as_bytes()).expect("a date"));
            assert_eq!(asked(date), Some(Micros::from_secs(delay)), "{date}");
        }
    }
}
