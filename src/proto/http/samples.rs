//! Sample heads for tests, and a function to change them.

/// The lines of the request in RFC 6455, section 1.2, as a browser sends it.
pub(crate) const REQUEST: [&str; 8] = [
    "GET /chat HTTP/1.1",
    "Host: server.example.com",
    "Upgrade: websocket",
    "Connection: Upgrade",
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
    "Origin: http://example.com",
    "Sec-WebSocket-Protocol: chat, superchat",
    "Sec-WebSocket-Version: 13",
];

/// The lines of the response in the same section.
pub(crate) const RESPONSE: [&str; 5] = [
    "HTTP/1.1 101 Switching Protocols",
    "Upgrade: websocket",
    "Connection: Upgrade",
    "Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=",
    "Sec-WebSocket-Protocol: chat",
];

pub(crate) fn head(lines: &[&str]) -> Vec<u8> {
    format!("{}\r\n\r\n", lines.join("\r\n")).into_bytes()
}

/// The sample with the line that starts with `old` replaced by `new`; an empty `new` removes the
/// line.
pub(crate) fn replaced(sample: &[&str], old: &str, new: &str) -> Vec<u8> {
    let mut lines = sample.to_vec();
    let at = lines.iter().position(|line| line.starts_with(old)).unwrap();
    match new.is_empty() {
        true => drop(lines.remove(at)),
        false => lines[at] = new,
    }
    head(&lines)
}
