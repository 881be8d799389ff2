//! The other side of an opening handshake.

use heartwheel::proto::http::{HeadLimits, Request};
use heartwheel::proto::websocket::handshake::{Upgrade, accept_response, request};

/// What a client asks.
pub(crate) fn ask() -> Vec<u8> {
    request("127.0.0.1", "/", [7; 16], &NO_NAMES, &NO_FIELDS).expect("it keeps the rules")
}

/// What a server answers, once the whole of the request has come.
pub(crate) fn answer(asked: &[u8]) -> Option<Vec<u8>> {
    let (request, _) = Request::parse(asked, &HeadLimits::default()).expect("a request")?;
    let upgrade = Upgrade::of(&request).expect("it asks for a websocket");
    Some(accept_response(&upgrade, None, None, &NO_FIELDS).expect("an answer"))
}

/// Returns how long a head is, once it has come whole.
pub(crate) fn head_len(bytes: &[u8]) -> Option<usize> {
    let end = bytes.windows(4).position(|four| four == b"\r\n\r\n")?;
    Some(end + 4)
}

const NO_NAMES: [&str; 0] = [];
const NO_FIELDS: [(&str, &str); 0] = [];
