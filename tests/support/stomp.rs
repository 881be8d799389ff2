//! A server of STOMP 1.2, with a codec of its own: heart-beats as they are negotiated, topics, receipts. There
//! are no acknowledgements and transactions, and one subscription for each destination of a connection. Values of
//! headers are passed on as they are, escapes included.

use std::collections::HashMap;
use std::str;
use std::time::Duration;

use heartwheel::close::Cause;
use heartwheel::config::HeartbeatConfig;
use heartwheel::error::ProtocolError;
use heartwheel::proto::codec::{Codec, Decoded};
use heartwheel::proto::wire::EncodeError;
use heartwheel::{
    CloseCode, Closed, ConnId, Context, Handler, Message, MessageKind, SharedMessage,
};

/// What we promise to send, and would like to get: something every second.
const BEAT: u64 = 1000;

/// Finds frames, and leads the handshake. A message is a frame without the zero at its end.
#[derive(Debug, Default)]
pub(crate) struct Frames {
    is_open: bool,
    /// What the client promises to send, and would like to get, in milliseconds.
    beats: (u64, u64),
    /// How far the frame at the front of the input is known.
    seen: Seen,
    /// The ids of subscriptions, by their destination.
    subscriptions: HashMap<String, String>,
    sent: u64,
}

#[derive(Debug, Default)]
struct Seen {
    /// Bytes without an end of the head, and then without an end of the body.
    len: usize,
    has_head: bool,
    /// Where the frame ends, if its head tells.
    end: Option<usize>,
}

impl Codec for Frames {
    fn decode(&mut self, input: &[u8], out: &mut Vec<u8>) -> Result<Decoded, ProtocolError> {
        let consumed = input
            .iter()
            .take_while(|byte| b"\r\n".contains(byte))
            .count();
        if consumed > 0 {
            // Heart-beats, or the end of a line that may follow a frame.
            return Ok(Decoded::Skip { consumed });
        }
        let found = self.seen.find_end(input).and_then(|end| {
            let frame = end.map(|end| Frame::parse(&input[..end]).ok_or("not a frame"));
            frame.transpose()
        });
        let decoded = found.and_then(|frame| match frame {
            Some(frame) => self.take(&frame, out),
            None => Ok(Decoded::NeedMore),
        });
        decoded.map_err(|reason| {
            out.extend_from_slice(format!("ERROR\nmessage:{reason}\n\n\0").as_bytes());
            ProtocolError::Custom(reason)
        })
    }

    /// A message of a destination gets the id of the subscription here.
    fn encode(
        &mut self,
        _: MessageKind,
        frame: &[u8],
        out: &mut Vec<u8>,
    ) -> Result<(), EncodeError> {
        let (command, rest) =
            frame.split_at(frame.iter().position(|&byte| byte == b'\n').unwrap_or(0));
        out.extend_from_slice(command);
        let parsed = Frame::parse(frame).filter(|frame| frame.command == "MESSAGE");
        let id = parsed.and_then(|frame| self.subscriptions.get(frame.header("destination")?));
        if let Some(id) = id {
            self.sent += 1;
            let more = format!("\nsubscription:{id}\nmessage-id:{}", self.sent);
            out.extend_from_slice(more.as_bytes());
        }
        out.extend_from_slice(rest);
        out.push(0);
        Ok(())
    }

    fn has_handshake(&self) -> bool {
        true
    }

    fn encode_open(&mut self, out: &mut Vec<u8>) {
        let connected = format!("CONNECTED\nversion:1.2\nheart-beat:{BEAT},{BEAT}\n\n\0");
        out.extend_from_slice(connected.as_bytes());
    }

    fn has_pings(&self) -> bool {
        true
    }

    fn encode_ping(&mut self, _: u32, out: &mut Vec<u8>) {
        out.push(b'\n');
    }
}

impl Frames {
    fn take(&mut self, frame: &Frame<'_>, out: &mut Vec<u8>) -> Result<Decoded, &'static str> {
        self.seen = Seen::default();
        let (len, consumed) = (frame.len, frame.len + 1);
        let decoded = match (frame.command, self.is_open) {
            ("CONNECT" | "STOMP", false) => {
                let versions = frame.header("accept-version").unwrap_or_default();
                if !versions.split(',').any(|version| version == "1.2") {
                    return Err("version 1.2 is spoken here");
                }
                let beats = frame.header("heart-beat").unwrap_or("0,0").split_once(',');
                let beats =
                    beats.and_then(|(sent, asked)| Some((sent.parse().ok()?, asked.parse().ok()?)));
                self.beats = beats.ok_or("heart-beat is two numbers")?;
                self.is_open = true;
                return Ok(Decoded::Open { consumed });
            }
            ("DISCONNECT", true) => Decoded::Close { consumed },
            ("SEND" | "SUBSCRIBE" | "UNSUBSCRIBE", true) => Decoded::binary(consumed, 0..len),
            _ => return Err("no such command, or not now"),
        };
        if let Some(id) = frame.header("receipt") {
            out.extend_from_slice(format!("RECEIPT\nreceipt-id:{id}\n\n\0").as_bytes());
        }
        Ok(decoded)
    }
}

impl Seen {
    /// Returns where the frame ends, before its zero.
    fn find_end(&mut self, input: &[u8]) -> Result<Option<usize>, &'static str> {
        if !self.has_head {
            let from = self.len.saturating_sub(3);
            let lines = (from..input.len()).filter(|&place| input[place] == b'\n');
            let is_empty =
                |place: &usize| matches!(&input[place + 1..], [b'\n', ..] | [b'\r', b'\n', ..]);
            let Some(head) = lines.clone().find(is_empty) else {
                self.len = input.len();
                return Ok(None);
            };
            let body = head + if input[head + 1] == b'\r' { 3 } else { 2 };
            let frame = Frame::parse(&input[..body]).ok_or("not a frame")?;
            let len = frame.header("content-length").map(str::parse::<usize>);
            self.end = len
                .transpose()
                .map_err(|_| "content-length is a number")?
                .map(|len| body.saturating_add(len));
            (self.has_head, self.len) = (true, body);
        }
        if let Some(end) = self.end {
            return match input.get(end) {
                Some(0) => Ok(Some(end)),
                Some(_) => Err("the body is longer than content-length"),
                None => Ok(None),
            };
        }
        let end = input[self.len..].iter().position(|&byte| byte == 0);
        let from = std::mem::replace(&mut self.len, input.len());
        Ok(end.map(|end| from + end))
    }
}

/// A frame in its parts.
struct Frame<'a> {
    command: &'a str,
    head: &'a str,
    body: &'a [u8],
    len: usize,
}

impl<'a> Frame<'a> {
    fn parse(bytes: &'a [u8]) -> Option<Self> {
        let mut rest = bytes;
        loop {
            let line = rest.iter().position(|&byte| byte == b'\n')?;
            let is_last = rest[..line].trim_ascii_end().is_empty();
            rest = &rest[line + 1..];
            if is_last {
                break;
            }
        }
        let head = str::from_utf8(&bytes[..bytes.len() - rest.len()]).ok()?;
        let (command, head) = head.split_once('\n')?;
        let command = command.trim_end_matches('\r');
        Some(Self {
            command,
            head,
            body: rest,
            len: bytes.len(),
        })
    }

    /// Returns the value of a header; of several, the first counts.
    fn header(&self, name: &str) -> Option<&'a str> {
        let mut headers = self.head.lines().filter_map(|line| line.split_once(':'));
        headers.find_map(|(key, value)| (key == name).then_some(value))
    }
}

/// Passes messages on to those who subscribe to their destination.
#[derive(Default)]
pub(crate) struct Server {
    pub(crate) ends: Vec<Cause>,
}

impl Handler for Server {
    type Data = ();

    fn on_open(&mut self, cx: &mut Context<'_, ()>, id: ConnId) {
        let (sent, asked) = cx.codec::<Frames>(id).unwrap().beats;
        let times = |times: u64, millis: u64| Duration::from_millis(times * millis.max(BEAT));
        let interval = (asked > 0).then(|| times(1, asked));
        let timeout = (sent > 0).then(|| times(2, sent) + interval.unwrap_or_default());
        let heartbeat = HeartbeatConfig {
            interval,
            timeout,
            ..HeartbeatConfig::tcp()
        };
        cx.set_heartbeat(id, &heartbeat).unwrap();
    }

    fn on_message(&mut self, cx: &mut Context<'_, ()>, id: ConnId, message: Message<'_>) {
        let frame = Frame::parse(message.data()).unwrap();
        if obey(cx, id, &frame).is_none() {
            let error = format!("ERROR\nmessage:{} lacks a header\n\n", frame.command);
            cx.send(id, Message::text(&error)).unwrap();
            cx.close(id, CloseCode::PROTOCOL_ERROR, "");
        }
    }

    fn on_close(&mut self, _: &mut Context<'_, ()>, closed: Closed<'_, ()>) {
        self.ends.push(closed.evidence.cause);
    }
}

fn obey(cx: &mut Context<'_, ()>, id: ConnId, frame: &Frame<'_>) -> Option<()> {
    let name = frame.header("destination");
    match frame.command {
        "SEND" => {
            let (name, len) = (name?, frame.body.len());
            let head = format!("MESSAGE\ndestination:{name}\ncontent-length:{len}\n\n");
            let message = [head.as_bytes(), frame.body].concat();
            cx.publish(name, &SharedMessage::new(Message::binary(&message)))
                .ok()?;
        }
        "SUBSCRIBE" => {
            let (name, subscription) = (name?, frame.header("id")?);
            let codec = cx.codec_mut::<Frames>(id)?;
            codec
                .subscriptions
                .insert(name.to_owned(), subscription.to_owned());
            cx.subscribe(id, name).ok()?;
        }
        _ => {
            let subscription = frame.header("id")?;
            let codec = cx.codec_mut::<Frames>(id)?;
            let found = codec
                .subscriptions
                .iter()
                .find(|(_, id)| *id == subscription);
            let name = found?.0.clone();
            codec.subscriptions.remove(&name);
            cx.unsubscribe(id, &name);
        }
    }
    Some(())
}
