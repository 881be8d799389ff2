//! What a handler answers: now, or later.

/// An answer of the handler: now, or later.
///
/// ```
/// use heartwheel::{Decision, Welcome};
///
/// let decision: Decision<Welcome<u32>> = Welcome::with(7).into();
/// assert!(matches!(decision, Decision::Now(welcome) if welcome.data == 7));
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decision<T> {
    /// This is it.
    Now(T),
    /// It is given later: with [`Context::accept`](super::Context::accept) or [`Context::reject`](super::Context::reject) for a connection, and with
    /// [`Context::answer`](super::Context::answer) for a plain HTTP request, once the callback has returned.
    Later,
}

impl<T> From<T> for Decision<T> {
    fn from(answer: T) -> Self {
        Self::Now(answer)
    }
}

/// The answer that accepts an [`Offer`](super::Offer).
#[derive(Clone, Debug, Default)]
pub struct Welcome<D> {
    /// The embedder's data for the connection.
    pub data: D,
    /// The chosen subprotocol. It must be one of those offered. Default: none.
    pub subprotocol: Option<String>,
    /// Header fields to add to the response. Default: none.
    pub headers: Vec<(String, String)>,
}

impl<D> Welcome<D> {
    /// Accepts with this data and without a subprotocol.
    pub fn with(data: D) -> Self {
        Self {
            data,
            subprotocol: None,
            headers: Vec::new(),
        }
    }
}

/// The answer that rejects an [`Offer`](super::Offer).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rejection {
    /// HTTP status, 400 to 599. On a WebSocket client it is ignored.
    pub status: u16,
    /// Header fields to add, such as `Retry-After`.
    pub headers: Vec<(String, String)>,
    /// Body of the answer, plain text.
    pub body: String,
}

impl Rejection {
    /// Rejects with a status and a short explanation.
    pub fn new(status: u16, body: impl Into<String>) -> Self {
        Self {
            status,
            headers: Vec::new(),
            body: body.into(),
        }
    }
}

/// The answer to a plain HTTP request.
///
/// The crate writes `Content-Length` and `Connection` itself. After the answer the connection stays
/// open for another request or an upgrade, if the client may send one (RFC 9112, section 9.3). One
/// connection may carry up to [`max_requests`](crate::config::LimitsConfig::max_requests) requests.
/// Each must arrive within the handshake timeout.
#[cfg(feature = "websocket")]
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HttpAnswer {
    /// HTTP status, 200 to 599.
    pub status: u16,
    /// Header fields to add, such as `Content-Type`.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body: Vec<u8>,
}

#[cfg(feature = "websocket")]
impl HttpAnswer {
    /// Answers with a status and plain text.
    pub fn text(status: u16, body: impl Into<String>) -> Self {
        Self {
            status,
            headers: vec![("Content-Type".into(), "text/plain; charset=utf-8".into())],
            body: body.into().into_bytes(),
        }
    }

    /// Answers 426: this server speaks only WebSocket (RFC 9110, section 15.5.22).
    pub fn upgrade_required() -> Self {
        let mut answer = Self::text(426, "this is a websocket endpoint\n");
        answer.headers.push(("Upgrade".into(), "websocket".into()));
        answer
            .headers
            .push(("Sec-WebSocket-Version".into(), "13".into()));
        answer
    }
}
