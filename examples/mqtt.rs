//! A small MQTT 3.1.1 broker: a codec of its own, topics, and a timeout for each client.
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
    CloseCode, ConnId, Context, HeartbeatConfig, ListenerConfig, LoopHandle, Message, MessageKind,
    Reactor, ReactorConfig, SharedMessage, WireFactory,
};

type Cx<'a> = Context<'a, bool>;

/// Finds packets; the broker reads what is in them. A ping of the client is answered by the library.
#[derive(Debug)]
struct Packets;

impl Codec for Packets {
    fn decode(&mut self, input: &[u8], _: &mut Vec<u8>) -> Result<Decoded, ProtocolError> {
        let found = remaining_length(input)?.map(|(len, header)| len + header);
        let Some(consumed) = found.filter(|&len| len <= input.len()) else {
            return Ok(Decoded::NeedMore);
        };
        let (kind, payload) = (MessageKind::Binary, 0..consumed);
        Ok(match input[0] & 0xF0 {
            0xC0 => Decoded::Ping { consumed, payload },
            0xE0 => Decoded::Close { consumed },
            _ => Decoded::Message {
                consumed,
                kind,
                payload,
            },
        })
    }

    fn encode(
        &mut self,
        _: MessageKind,
        packet: &[u8],
        out: &mut Vec<u8>,
    ) -> Result<(), EncodeError> {
        out.extend_from_slice(packet);
        Ok(())
    }

    fn encode_pong(&mut self, _: &[u8], out: &mut Vec<u8>) {
        out.extend_from_slice(&[0xD0, 0]);
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

/// The data of a connection says whether it has sent its CONNECT.
struct Broker;

impl heartwheel::Handler for Broker {
    type Data = bool;

    fn on_message(&mut self, cx: &mut Cx<'_>, id: ConnId, message: Message<'_>) {
        let packet = message.data();
        let Ok(Some((_, header))) = remaining_length(packet) else {
            return;
        };
        let mut body = Body(&packet[header..]);
        let is_connected = cx.data(id).copied().unwrap_or_default();
        let done = match (packet[0] & 0xF0, is_connected) {
            (0x10, false) => connect(cx, id, &mut body),
            // One that is to be delivered at least once would need an answer.
            (0x30, true) if packet[0] & 6 == 0 => publish(cx, packet, &mut body),
            (0x80, true) => subscribe(cx, id, &mut body),
            (0xA0, true) => unsubscribe(cx, id, &mut body),
            _ => None,
        };
        if done.is_none() {
            cx.close(id, CloseCode::PROTOCOL_ERROR, "");
        }
    }
}

fn connect(cx: &mut Cx<'_>, id: ConnId, body: &mut Body<'_>) -> Option<()> {
    let is_ours = body.field()? == b"MQTT" && body.take(2)?[0] == 4;
    let keep_alive = Duration::from_secs(body.number()?.into());
    // 3.1.4: one and a half times the keep alive without a packet, and the client is gone.
    let heartbeat = HeartbeatConfig {
        interval: None,
        timeout: (!keep_alive.is_zero()).then(|| keep_alive * 3 / 2),
        ..HeartbeatConfig::tcp()
    };
    cx.set_heartbeat(id, &heartbeat).ok()?;
    *cx.data_mut(id)? = is_ours;
    tell(cx, id, &[0x20, 2, 0, u8::from(!is_ours)]);
    is_ours.then_some(())
}

/// Passes a message on as it came, but for its flags.
fn publish(cx: &mut Cx<'_>, packet: &[u8], body: &mut Body<'_>) -> Option<()> {
    let topic = str::from_utf8(body.field()?).ok()?;
    let packet = [&[0x30], &packet[1..]].concat();
    if let Err(error) = cx.publish(topic, &SharedMessage::new(Message::binary(&packet))) {
        eprintln!("not published in {topic}: {error}");
    }
    Some(())
}

fn subscribe(cx: &mut Cx<'_>, id: ConnId, body: &mut Body<'_>) -> Option<()> {
    let mut answer = vec![0x90, 0];
    answer.extend(body.take(2)?);
    while !body.0.is_empty() {
        let topic = str::from_utf8(body.field()?).ok()?;
        let _wish = body.take(1)?;
        let is_granted = !topic.contains(['+', '#']) && cx.subscribe(id, topic).is_ok();
        answer.push(if is_granted { 0 } else { 0x80 });
    }
    answer[1] = u8::try_from(answer.len() - 2)
        .ok()
        .filter(|len| *len < 0x80)?;
    tell(cx, id, &answer);
    Some(())
}

fn unsubscribe(cx: &mut Cx<'_>, id: ConnId, body: &mut Body<'_>) -> Option<()> {
    let number = body.take(2)?;
    while !body.0.is_empty() {
        cx.unsubscribe(id, str::from_utf8(body.field()?).ok()?);
    }
    tell(cx, id, &[0xB0, 2, number[0], number[1]]);
    Some(())
}

fn tell(cx: &mut Cx<'_>, id: ConnId, packet: &[u8]) {
    let _ = cx.send(id, Message::binary(packet));
}

/// What is left of a packet.
struct Body<'a>(&'a [u8]);

impl<'a> Body<'a> {
    fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(taken)
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
    ready: impl FnOnce(SocketAddr, LoopHandle<bool>),
) -> Result<(), heartwheel::Error> {
    let mut reactor = Reactor::new(ReactorConfig::default())?;
    let mut config = ListenerConfig::new(addr, WireFactory::own(|_| Packets));
    // Until the CONNECT says how often the client speaks.
    config.heartbeat = HeartbeatConfig {
        interval: None,
        timeout: Some(Duration::from_secs(10)),
        ..HeartbeatConfig::tcp()
    };
    let id = reactor.listen(config)?;
    ready(
        reactor.local_addr(id).expect("it listens"),
        reactor.handle(),
    );
    reactor.run(&mut Broker)
}

fn main() -> Result<(), Box<dyn Error>> {
    let given = env::args().nth(1);
    let addr = given.as_deref().unwrap_or("127.0.0.1:1883").parse()?;
    serve(addr, |addr, _| println!("listening mqtt {addr}"))?;
    Ok(())
}
