//! Another implementation of RFC 6455, and a plain reading of a frame's header, to compare with.

use std::io::{self, Cursor, Read, Write};

use heartwheel::proto::wire::Role;
use tungstenite::Message;
use tungstenite::error::{Error, ProtocolError};
use tungstenite::protocol::{self, WebSocket, WebSocketConfig};

/// What the other implementation made of a stream.
pub(super) struct Peer {
    pub(super) heard: Vec<Heard>,
    pub(super) end: PeerEnd,
}

#[derive(Clone, Debug, PartialEq)]
pub(super) enum Heard {
    Text(Vec<u8>),
    Binary(Vec<u8>),
    Ping(Vec<u8>),
    Pong(Vec<u8>),
    Close(Option<(u16, Vec<u8>)>),
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum PeerEnd {
    /// It wants more bytes.
    More,
    /// A Close frame came.
    Closed,
    Refused(Refusal),
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Refusal {
    Protocol,
    TooBig,
    Utf8,
}

/// Lets the other implementation read a stream with the same limit, up to a Close frame.
pub(super) fn listen(role: Role, limit: u64, stream: &[u8]) -> Peer {
    let role = match role {
        Role::Server => protocol::Role::Server,
        Role::Client => protocol::Role::Client,
    };
    let limit = usize::try_from(limit).expect("the limit is small");
    let config = WebSocketConfig::default()
        .read_buffer_size(4096)
        .max_message_size(Some(limit))
        .max_frame_size(Some(largest_frame(limit)));
    let wire = Wire(Cursor::new(stream));
    let mut socket = WebSocket::from_raw_socket(wire, role, Some(config));
    let mut heard = Vec::new();
    let end = loop {
        heard.push(match socket.read() {
            Ok(Message::Text(text)) => Heard::Text(text.as_bytes().to_vec()),
            Ok(Message::Binary(bytes)) => Heard::Binary(bytes.to_vec()),
            Ok(Message::Ping(bytes)) => Heard::Ping(bytes.to_vec()),
            Ok(Message::Pong(bytes)) => Heard::Pong(bytes.to_vec()),
            Ok(Message::Frame(frame)) => unreachable!("{frame} is not read"),
            Ok(Message::Close(body)) => {
                let body = body.map(|body| (body.code.into(), body.reason.as_bytes().to_vec()));
                heard.push(Heard::Close(body));
                break PeerEnd::Closed;
            }
            Err(Error::Protocol(ProtocolError::ResetWithoutClosingHandshake)) => {
                break PeerEnd::More;
            }
            Err(Error::Protocol(_)) => break PeerEnd::Refused(Refusal::Protocol),
            Err(Error::Capacity(_)) => break PeerEnd::Refused(Refusal::TooBig),
            Err(Error::Utf8(_)) => break PeerEnd::Refused(Refusal::Utf8),
            Err(error) => unreachable!("{error}"),
        });
    };
    Peer { heard, end }
}

/// Its limit of frames is meant for control frames too, ours for messages only.
fn largest_frame(limit: usize) -> usize {
    limit.max(125)
}

/// Gives what was received and swallows the answers.
struct Wire<'a>(Cursor<&'a [u8]>);

impl Read for Wire<'_> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        self.0.read(out)
    }
}

impl Write for Wire<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A frame's header as the picture of RFC 6455, section 5.2, has it, without any judgement. Bytes that
/// have not come are taken for ones that make no difference.
#[derive(Clone, Copy, Debug)]
pub(super) struct FrameAt {
    pub(super) len: u64,
    pub(super) is_minimal: bool,
    pub(super) is_masked: bool,
    header: [u8; 14],
    header_len: usize,
}

/// Reads the header of the frame at the front, which has one byte at least.
pub(super) fn frame_at(bytes: &[u8]) -> FrameAt {
    let mut header = [0; 14];
    let there = bytes.len().min(14);
    header[..there].copy_from_slice(&bytes[..there]);
    let long = header[1] & 0x7f;
    // The shortest long form that is right: 126 in two bytes. In eight bytes: a very large number.
    match long {
        126 if there <= 2 => header[3] = 126,
        126 if there == 3 && header[2] == 0 => header[3] = 126,
        127 => header[there.clamp(2, 10)..10].fill(0xff),
        _ => {}
    }
    let (len, len_len) = match long {
        126 => (u64::from(u16::from_be_bytes([header[2], header[3]])), 2),
        127 => {
            let bytes = header[2..10].try_into().expect("eight bytes");
            (u64::from_be_bytes(bytes), 8)
        }
        short => (u64::from(short), 0),
    };
    let is_masked = header[1] & 0x80 != 0;
    let mask_len = if is_masked { 4 } else { 0 };
    FrameAt {
        len,
        is_minimal: match long {
            126 => len > 125,
            127 => len > 65_535,
            _ => true,
        },
        is_masked,
        header,
        header_len: 2 + len_len + mask_len,
    }
}

impl FrameAt {
    /// Returns the bytes of header and payload.
    pub(super) fn size(&self) -> usize {
        let len = usize::try_from(self.len).expect("a usize has 64 bits");
        self.header_len.saturating_add(len)
    }

    /// Returns the frame of which `bytes` is the beginning; no payload if that exceeds the limit.
    pub(super) fn completed(&self, bytes: &[u8], limit: u64) -> Vec<u8> {
        let mut frame = self.header[..self.header_len].to_vec();
        frame.extend_from_slice(bytes.get(self.header_len..).unwrap_or_default());
        let limit = usize::try_from(limit).expect("the limit is small");
        let len = usize::try_from(self.len).expect("a usize has 64 bits");
        if len <= largest_frame(limit) {
            frame.resize(frame.len().max(self.header_len + len), 0);
        }
        frame
    }
}
