//! A small MQTT 3.1.1 broker: a codec of its own with a handshake, topics, and a timeout for each client.
//!
//! `cargo run --example mqtt` listens on 127.0.0.1:1883, or on the address that follows `--`, for clients
//! such as `mosquitto_sub -t news`. Messages are delivered at most once; there are no wildcards, wills,
//! sessions or retained messages. The first half byte of a packet is its type (section 2.2.1).

use std::error::Error;
use std::net::SocketAddr;
use std::time::Duration;
use std::{env, str};

use heartwheel::error::ProtocolError;
use heartwheel::proto::codec::{Codec, Decoded};
use heartwheel::proto::wire::EncodeError;
use heartwheel::{
    CloseCode, ConnId, Context, Handler, HeartbeatConfig, ListenerConfig, LoopHandle, Message,
    MessageKind, Reactor, ReactorConfig, SharedMessage, WireFactory,
};

type Cx<'a> = Context<'a, ()>;
type Done<E> = Result<(), E>;

/// Finds packets, and leads the handshake. A message is the body of a packet; to send one, put the first
/// byte of the packet in front.
#[derive(Debug, Default)]
pub(crate) struct Packets {
    is_open: bool,
    keep_alive: u16,
    /// The first byte of the packet that was decoded last.
    first: u8,
}

impl Codec for Packets {
    fn decode(&mut self, input: &[u8], out: &mut Vec<u8>) -> Result<Decoded, ProtocolError> {
        let found = remaining_length(input)?.map(|(len, header)| header..header + len);
        let Some(payload) = found.filter(|range| range.end <= input.len()) else {
            return Ok(Decoded::NeedMore);
        };
        let (consumed, mut body) = (payload.end, Body(&input[payload.clone()]));
        let broken = ProtocolError::Custom("not a packet of a client, or not now");
        self.first = input[0];
        match (self.first & 0xF6, self.is_open) {
            (0x10, false) => return self.connect(consumed, body, out).ok_or(broken),
            (0xC0, true) => return Ok(Decoded::Ping { consumed, payload }),
            (0xE0, true) => return Ok(Decoded::Close { consumed }),
            (0x30 | 0x82 | 0xA2, true) => {}
            (0x32, true) => {
                // Somebody has it now (3.4).
                let number = body.field().and_then(|_| body.take(2)).ok_or(broken)?;
                out.extend([0x40, 2, number[0], number[1]]);
            }
            _ => return Err(broken),
        }
        Ok(Decoded::binary(consumed, payload))
    }

    fn encode(&mut self, _: MessageKind, packet: &[u8], out: &mut Vec<u8>) -> Done<EncodeError> {
        let (first, body) = packet.split_at(1);
        out.extend_from_slice(first);
        let mut len = body.len();
        while len > 0x7F {
            out.push(0x80 | (len & 0x7F) as u8);
            len >>= 7;
        }
        out.push(len as u8);
        out.extend_from_slice(body);
        Ok(())
    }

    fn encode_pong(&mut self, _: &[u8], out: &mut Vec<u8>) {
        out.extend_from_slice(&[0xD0, 0]);
    }

    fn has_handshake(&self) -> bool {
        true
    }

    fn encode_open(&mut self, out: &mut Vec<u8>) {
        out.extend_from_slice(&[0x20, 2, 0, 0]);
    }
}

impl Packets {
    fn connect(&mut self, end: usize, mut body: Body<'_>, out: &mut Vec<u8>) -> Option<Decoded> {
        if body.field()? != b"MQTT" || body.take(2)?[0] != 4 {
            out.extend_from_slice(&[0x20, 2, 0, 1]);
            return Some(Decoded::Refuse { reason: "version" });
        }
        (self.keep_alive, self.is_open) = (body.number()?, true);
        Some(Decoded::Open { consumed: end })
    }
}

/// Returns how long the packet is behind its header, and how long that is (section 2.2.3).
fn remaining_length(input: &[u8]) -> Result<Option<(usize, usize)>, ProtocolError> {
    let mut len = 0;
    for (place, &byte) in input.iter().enumerate().skip(1).take(4) {
        len |= usize::from(byte & 0x7F) << (7 * (place - 1));
        if byte & 0x80 == 0 {
            return Ok(Some((len, place + 1)));
        }
    }
    let more = (input.len() < 5).then_some(None);
    more.ok_or(ProtocolError::Custom("a length has four bytes at most"))
}

pub(crate) struct Broker;

impl Handler for Broker {
    type Data = ();

    fn on_open(&mut self, cx: &mut Cx<'_>, id: ConnId) {
        let keep_alive = cx.codec::<Packets>(id).map_or(0, |codec| codec.keep_alive);
        // 3.1.4: one and a half times the keep alive without a packet, and the client is gone.
        let timeout = Duration::from_secs(keep_alive.into()) * 3 / 2;
        let heartbeat = HeartbeatConfig {
            interval: None,
            timeout: (keep_alive > 0).then_some(timeout),
            ..HeartbeatConfig::tcp()
        };
        let _ = cx.set_heartbeat(id, &heartbeat);
    }

    fn on_message(&mut self, cx: &mut Cx<'_>, id: ConnId, message: Message<'_>) {
        let first = cx.codec::<Packets>(id).map_or(0, |codec| codec.first);
        let body = Body(message.data());
        let done = match first & 0xF0 {
            0x30 => publish(cx, first, body),
            kind => subscribe(cx, id, kind == 0x80, body),
        };
        if done.is_none() {
            cx.close(id, CloseCode::PROTOCOL_ERROR, "");
        }
    }
}

/// Passes a message on, to be delivered at most once: without the number that it may have.
fn publish(cx: &mut Cx<'_>, first: u8, mut body: Body<'_>) -> Option<()> {
    let len = body.0.get(..2)?;
    let topic = body.field()?;
    body.take(usize::from(first & 2))?;
    let packet = [&[0x30], len, topic, body.0].concat();
    let shared = SharedMessage::new(Message::binary(&packet));
    let _ = cx.publish(str::from_utf8(topic).ok()?, &shared);
    Some(())
}

fn subscribe(cx: &mut Cx<'_>, id: ConnId, is_new: bool, mut body: Body<'_>) -> Option<()> {
    let mut answer = [&[if is_new { 0x90 } else { 0xB0 }], body.take(2)?].concat();
    while !body.0.is_empty() {
        let topic = str::from_utf8(body.field()?).ok()?;
        if is_new {
            let _wish = body.take(1)?;
            let is_granted = !topic.contains(['+', '#']) && cx.subscribe(id, topic).is_ok();
            answer.push(if is_granted { 0 } else { 0x80 });
        } else {
            cx.unsubscribe(id, topic);
        }
    }
    cx.send(id, Message::binary(&answer)).ok()
}

/// What is left of a packet.
struct Body<'a>(&'a [u8]);

impl<'a> Body<'a> {
    fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        self.0.split_off(..count)
    }

    fn number(&mut self) -> Option<u16> {
        self.take(2).map(|two| u16::from_be_bytes([two[0], two[1]]))
    }

    /// Takes bytes behind their length.
    fn field(&mut self) -> Option<&'a [u8]> {
        self.number().and_then(|len| self.take(len.into()))
    }
}

/// Serves on an address. `ready` is told the real one, and gets a handle that can stop the broker.
pub fn serve(
    addr: SocketAddr,
    ready: impl FnOnce(SocketAddr, LoopHandle),
) -> Done<heartwheel::Error> {
    let mut reactor = Reactor::new(ReactorConfig::default())?;
    let mut config = ListenerConfig::new(addr, WireFactory::own(|_| Packets::default()));
    (config.heartbeat.interval, config.heartbeat.timeout) = (None, None);
    let id = reactor.listen(config)?;
    let addr = reactor.local_addr(id).expect("it listens");
    ready(addr, reactor.handle());
    reactor.run(&mut Broker)
}

fn main() -> Result<(), Box<dyn Error>> {
    let given = env::args().nth(1);
    let addr = given.as_deref().unwrap_or("127.0.0.1:1883").parse()?;
    Ok(serve(addr, |addr, _| println!("listening mqtt {addr}"))?)
}
