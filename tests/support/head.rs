//! Heads of HTTP as text, read without the help of what is tested.

use tungstenite::handshake::derive_accept_key;

/// Returns the value of the only header of that name.
#[track_caller]
pub(crate) fn header<'a>(head: &'a str, name: &str) -> &'a str {
    let values = headers(head, name);
    let [value] = values[..] else {
        panic!("{name} is there {} times in {head}", values.len());
    };
    value
}

/// Returns the values of all headers of that name.
pub(crate) fn headers<'a>(head: &'a str, name: &str) -> Vec<&'a str> {
    let lines = head.lines().skip(1).take_while(|line| !line.is_empty());
    let pairs = lines.filter_map(|line| line.split_once(':'));
    pairs
        .filter(|(other, _)| other.eq_ignore_ascii_case(name))
        .map(|(_, value)| value.trim())
        .collect()
}

/// Returns the value that accepts the key of this request, as an independent implementation has it.
pub(crate) fn accept_value(request: &str) -> String {
    derive_accept_key(header(request, "Sec-WebSocket-Key").as_bytes())
}

/// Returns a response that accepts this request, with more header lines.
pub(crate) fn response(request: &str, more: &str) -> Vec<u8> {
    let accept = accept_value(request);
    format!(
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Accept: {accept}\r\n{more}\r\n"
    )
    .into_bytes()
}
