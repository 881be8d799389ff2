//! What Redis does for publishers and subscribers, in its protocol (RESP2): a codec with pipelining, inline
//! commands and a password.
//!
//! `cargo run --example redis` listens on 127.0.0.1:6379, or on the address that follows `--`, for clients
//! such as `redis-cli`. A password may follow the address.

use std::error::Error;
use std::net::SocketAddr;
use std::{env, mem, str};

use heartwheel::error::ProtocolError;
use heartwheel::proto::codec::{Codec, Decoded};
use heartwheel::proto::wire::EncodeError;
use heartwheel::{
    ConnId, Context, Handler, ListenerConfig, LoopHandle, Message, MessageKind, Overflow, Reactor,
    ReactorConfig, SharedMessage, WireFactory,
};

type Done<E> = Result<(), E>;

/// Finds commands, and answers those that need no handler. All answers leave in the order of the commands.
#[derive(Debug, Default)]
pub(crate) struct Commands {
    pub(crate) password: Option<String>,
    is_open: bool,
    /// The words of the command that was decoded last.
    words: Vec<String>,
}

impl Codec for Commands {
    fn decode(&mut self, input: &[u8], out: &mut Vec<u8>) -> Result<Decoded, ProtocolError> {
        let mut words = Vec::new();
        let Some(consumed) = read(input, &mut words)? else {
            return Ok(Decoded::NeedMore);
        };
        let name = words
            .first()
            .map_or(String::new(), |name| name.to_uppercase());
        let is_let_in = self.is_open || self.password.is_none();
        match (&*name, words.len()) {
            ("", _) => {}
            ("QUIT", _) => {
                out.extend_from_slice(b"+OK\r\n");
                return Ok(Decoded::Close { consumed });
            }
            ("AUTH", 2 | 3) if self.password.as_ref() != words.last() => {
                out.extend_from_slice(b"-WRONGPASS invalid password\r\n");
            }
            ("AUTH", 2 | 3) if !is_let_in => {
                self.is_open = true;
                return Ok(Decoded::Open { consumed });
            }
            ("AUTH", 2 | 3) => out.extend_from_slice(b"+OK\r\n"),
            _ if !is_let_in => out.extend_from_slice(b"-NOAUTH Authentication required.\r\n"),
            ("PING", 1) => out.extend_from_slice(b"+PONG\r\n"),
            ("PING" | "ECHO", 2) => bulk(&words[1], out),
            ("PUBLISH", 3) | ("SUBSCRIBE", 2..) | ("UNSUBSCRIBE", _) => {
                words[0] = name;
                self.words = words;
                return Ok(Decoded::binary(consumed, 0..consumed));
            }
            _ => out.extend_from_slice(b"-ERR unknown command, or its arguments\r\n"),
        }
        Ok(Decoded::Skip { consumed })
    }

    fn encode(&mut self, _: MessageKind, reply: &[u8], out: &mut Vec<u8>) -> Done<EncodeError> {
        out.extend_from_slice(reply);
        Ok(())
    }

    fn has_handshake(&self) -> bool {
        self.password.is_some()
    }

    fn encode_open(&mut self, out: &mut Vec<u8>) {
        out.extend_from_slice(b"+OK\r\n");
    }
}

/// Reads one command: an array of bulk strings, or a line of words. Returns how many bytes it takes.
fn read(input: &[u8], words: &mut Vec<String>) -> Result<Option<usize>, ProtocolError> {
    let Some((line, mut at)) = line(input, 0)? else {
        return Ok(None);
    };
    let Some(count) = line.strip_prefix('*') else {
        words.extend(line.split_ascii_whitespace().map(str::to_owned));
        return Ok(Some(at));
    };
    for _ in 0..number(count, 1_024)? {
        let Some((size, from)) = self::line(input, at)? else {
            return Ok(None);
        };
        let size = size.strip_prefix('$');
        let size = size.ok_or(ProtocolError::Custom("not a bulk string"))?;
        let end = from + number(size, 1 << 20)?;
        if input.len() < end + 2 {
            return Ok(None);
        }
        words.push(text(&input[from..end])?.to_owned());
        at = end + 2;
    }
    Ok(Some(at))
}

/// Returns the line that begins there, and where the next one does.
fn line(input: &[u8], from: usize) -> Result<Option<(&str, usize)>, ProtocolError> {
    let rest = &input[from..];
    let end = rest.iter().position(|&byte| byte == b'\n');
    let found = end.map(|end| Ok((text(&rest[..end])?.trim_end(), from + end + 1)));
    found.transpose()
}

fn text(bytes: &[u8]) -> Result<&str, ProtocolError> {
    str::from_utf8(bytes).map_err(|_| ProtocolError::InvalidUtf8)
}

fn number(digits: &str, most: usize) -> Result<usize, ProtocolError> {
    let number = digits.parse().ok().filter(|&number| number <= most);
    number.ok_or(ProtocolError::Custom("no length, or too large"))
}

fn bulk(word: &str, out: &mut Vec<u8>) {
    out.extend_from_slice(format!("${}\r\n{word}\r\n", word.len()).as_bytes());
}

/// Appends what a subscriber gets first: `what`, and the topic. One thing follows.
fn push(what: &str, topic: &str, out: &mut Vec<u8>) {
    out.extend_from_slice(b"*3\r\n");
    bulk(what, out);
    bulk(topic, out);
}

fn integer(number: usize, out: &mut Vec<u8>) {
    out.extend_from_slice(format!(":{number}\r\n").as_bytes());
}

pub(crate) struct Server;

impl Handler for Server {
    type Data = ();

    fn on_message(&mut self, cx: &mut Context<'_, ()>, id: ConnId, _: Message<'_>) {
        let codec = cx.codec_mut::<Commands>(id);
        let Some(mut words) = codec.map(|codec| mem::take(&mut codec.words)) else {
            return;
        };
        let (name, mut out) = (words.remove(0), Vec::new());
        if name == "PUBLISH" {
            let mut news = Vec::new();
            push("message", &words[0], &mut news);
            bulk(&words[1], &mut news);
            let _ = cx.publish(&words[0], &SharedMessage::new(Message::binary(&news)));
            integer(cx.subscribers(&words[0]), &mut out);
            words.clear();
        } else if words.is_empty() {
            words = cx.topics(id).map(str::to_owned).collect();
        }
        for topic in words {
            let _ = match &*name {
                "SUBSCRIBE" => cx.subscribe(id, &topic),
                _ => Ok(cx.unsubscribe(id, &topic)),
            };
            push(&name.to_lowercase(), &topic, &mut out);
            integer(cx.topics(id).count(), &mut out);
        }
        let _ = cx.send(id, Message::binary(&out));
    }
}

/// Serves on an address, with a password or without. `ready` is told the real address, and gets a handle
/// that can stop the server.
pub fn serve(
    addr: SocketAddr,
    password: Option<String>,
    ready: impl FnOnce(SocketAddr, LoopHandle),
) -> Done<heartwheel::Error> {
    let mut reactor = Reactor::new(ReactorConfig::default())?;
    let wire = WireFactory::own(move |_| Commands {
        password: password.clone(),
        ..Commands::default()
    });
    let mut config = ListenerConfig::new(addr, wire);
    (config.heartbeat.interval, config.heartbeat.timeout) = (None, None);
    config.limits.overflow = Overflow::Close;
    let id = reactor.listen(config)?;
    let addr = reactor.local_addr(id).expect("it listens");
    ready(addr, reactor.handle());
    reactor.run(&mut Server)
}

fn main() -> Result<(), Box<dyn Error>> {
    let mut given = env::args().skip(1);
    let addr = given
        .next()
        .unwrap_or_else(|| String::from("127.0.0.1:6379"));
    let tell = |addr, _| println!("listening redis {addr}");
    Ok(serve(addr.parse()?, given.next(), tell)?)
}
