//! A byte stream that is not plain: the loop runs it as it will run one day what seals its bytes.
//!
//! This one is a toy. Both sides first say `HI`, the client first. Then bytes go in records: a kind, a length,
//! and the bytes with all bits turned. Whoever gets a record that asks for new keys answers with one that has
//! them.
#![cfg(feature = "websocket")]
#![allow(clippy::unwrap_used, reason = "a test")]

#[path = "support/dice.rs"]
mod dice;
#[path = "support/memory/mod.rs"]
mod memory;

use std::io::{self, IoSlice};

use heartwheel::close::{Cause, Evidence};
use heartwheel::config::{HeartbeatConfig, LimitsConfig, ReactorConfig};
use heartwheel::event_loop::{
    ClientConfig, Closed, ConnId, Context, Handler, ListenerConfig, Rejected, WireFactory,
};
use heartwheel::proto::message::Message;
use heartwheel::proto::pool::Pool;
use heartwheel::proto::time::Micros;
use heartwheel::proto::wire::Role;
use heartwheel::sys::{Layer, Received, Seal, Sent, Socket};

use dice::Dice;
use memory::pipe::{Far, Fate, Pipe};
use memory::{Between, Memory, MemoryLoop};

const HELLO: &[u8] = b"HI";
const DATA: u8 = 0;
const RENEW: u8 = 1;
const RENEWED: u8 = 2;

/// Most bytes of a record.
const MOST: usize = 200;

#[derive(Debug)]
struct Sealed {
    role: Role,
    greeted: bool,
    is_open: bool,
    /// Bytes of the socket's that are no whole record.
    closed: Vec<u8>,
    /// Bytes for the session.
    opened: Vec<u8>,
    /// Bytes for the socket.
    out: Vec<u8>,
    /// Bytes of the session's in there.
    carried: usize,
}

fn record(kind: u8, bytes: &[u8]) -> Vec<u8> {
    let mut record = vec![kind, u8::try_from(bytes.len()).unwrap()];
    record.extend(bytes.iter().map(|byte| !byte));
    record
}

fn sealed(bytes: &[u8]) -> Vec<u8> {
    bytes
        .chunks(MOST)
        .flat_map(|piece| record(DATA, piece))
        .collect()
}

fn unsealed(mut bytes: &[u8]) -> Vec<u8> {
    let mut plain = Vec::new();
    while let [kind, len, rest @ ..] = bytes {
        let (body, rest) = rest.split_at((*len).into());
        if *kind == DATA {
            plain.extend(body.iter().map(|byte| !byte));
        }
        bytes = rest;
    }
    plain
}

impl Sealed {
    /// Takes from the socket what is there; returns how many bytes, `None` at its end.
    fn fill(&mut self, socket: &mut Pipe) -> io::Result<Option<usize>> {
        let mut buffer = [0; 64];
        let count = socket.read(&mut buffer)?;
        self.closed.extend_from_slice(&buffer[..count]);
        Ok((count > 0).then_some(count))
    }

    /// Opens the records that are whole.
    fn unseal(&mut self) {
        while let [kind, len, rest @ ..] = &self.closed[..] {
            let Some(body) = rest.get(..usize::from(*len)) else {
                return;
            };
            match *kind {
                DATA => self.opened.extend(body.iter().map(|byte| !byte)),
                RENEW => self.out.extend(record(RENEWED, b"")),
                _ => {}
            }
            let len = 2 + body.len();
            self.closed.drain(..len);
        }
    }

    /// Writes what is sealed; says how much the kernel took.
    fn drain(&mut self, socket: &mut Pipe) -> io::Result<usize> {
        if self.out.is_empty() {
            return Ok(0);
        }
        let count = socket.write(&[IoSlice::new(&self.out)])?;
        self.out.drain(..count);
        Ok(count)
    }
}

impl Between<Pipe> for Sealed {
    fn between(role: Role, _seal: &Seal) -> io::Result<Option<Self>> {
        Ok(Some(Self {
            role,
            greeted: false,
            is_open: false,
            closed: Vec::new(),
            opened: Vec::new(),
            out: Vec::new(),
            carried: 0,
        }))
    }
}

impl Layer<Pipe> for Sealed {
    fn is_open(&self) -> bool {
        self.is_open
    }

    fn put_back(&mut self, bytes: &[u8]) {
        self.closed.extend_from_slice(bytes);
    }

    fn open(&mut self, socket: &mut Pipe, _: &mut Pool) -> io::Result<bool> {
        if self.role == Role::Client && !self.greeted {
            self.greeted = true;
            self.out.extend(HELLO);
        }
        while !self.closed.starts_with(HELLO) {
            self.drain(socket)?;
            match self.fill(socket) {
                Ok(Some(_)) if HELLO.starts_with(&self.closed[..self.closed.len().min(2)]) => {}
                Ok(_) => return Err(io::ErrorKind::InvalidData.into()),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(false),
                Err(error) => return Err(error),
            }
        }
        if self.role == Role::Server && !self.greeted {
            self.greeted = true;
            self.out.extend(HELLO);
        }
        match self.drain(socket) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            drained => {
                drained?;
            }
        }
        self.is_open = self.out.is_empty();
        if self.is_open {
            self.closed.drain(..HELLO.len());
            self.unseal();
        }
        Ok(self.is_open)
    }

    fn read(
        &mut self,
        socket: &mut Pipe,
        _: &mut Pool,
        most: usize,
        take: &mut dyn FnMut(&[u8]),
    ) -> io::Result<Received> {
        let mut kernel = 0;
        if self.opened.is_empty() {
            match self.fill(socket)? {
                Some(count) => kernel = count,
                None => return Ok(Received::End),
            }
            self.unseal();
        }
        let session = self.opened.len().min(most);
        take(&self.opened[..session]);
        self.opened.drain(..session);
        Ok(Received::Bytes {
            kernel,
            session,
            records: 1,
            is_drained: self.opened.is_empty() && kernel < 64,
        })
    }

    fn write(
        &mut self,
        socket: &mut Pipe,
        _: &mut Pool,
        slices: &[IoSlice<'_>],
    ) -> io::Result<Sent> {
        let mut carried = 0;
        if self.carried == 0 {
            let bytes: Vec<u8> = slices.iter().flat_map(|slice| slice.to_vec()).collect();
            let piece = &bytes[..bytes.len().min(MOST)];
            if !piece.is_empty() {
                self.out.extend(record(DATA, piece));
                self.carried = piece.len();
                carried = piece.len();
            }
        }
        let kernel = match self.drain(socket) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => 0,
            drained => drained?,
        };
        let is_whole = self.out.is_empty();
        let (session, carried) = match is_whole {
            true => (std::mem::take(&mut self.carried), 0),
            false => (0, carried),
        };
        Ok(Sent {
            kernel,
            session,
            carried,
            is_refused: !is_whole,
        })
    }

    fn wants_write(&self) -> bool {
        !self.out.is_empty()
    }

    fn holds_bytes(&self) -> bool {
        !self.opened.is_empty()
    }

    fn memory(&self) -> usize {
        self.closed.capacity() + self.opened.capacity() + self.out.capacity()
    }

    fn shutdown(&mut self, socket: &mut Pipe, _: &mut Pool) -> io::Result<()> {
        socket.shutdown()
    }
}

type Cx<'a> = Context<'a, (), Memory<Pipe, Sealed>>;

#[derive(Debug, Default)]
struct Ear {
    opened: Option<ConnId>,
    heard: Vec<String>,
    pongs: usize,
    end: Option<Evidence>,
}

impl Handler<(), Memory<Pipe, Sealed>> for Ear {
    type Data = ();

    fn on_open(&mut self, _: &mut Cx<'_>, id: ConnId) {
        assert_eq!(self.opened.replace(id), None);
    }

    fn on_message(&mut self, _: &mut Cx<'_>, _: ConnId, message: Message<'_>) {
        let text = std::str::from_utf8(message.data()).unwrap();
        self.heard.push(text.to_owned());
    }

    fn on_pong(&mut self, _: &mut Cx<'_>, _: ConnId, _: Option<std::time::Duration>) {
        self.pongs += 1;
    }

    fn on_close(&mut self, _: &mut Cx<'_>, closed: Closed<'_, ()>) {
        self.end = Some(*closed.evidence);
    }

    fn on_rejected(&mut self, _: &mut Cx<'_>, rejected: Rejected<'_>) {
        self.end = Some(*rejected.evidence);
    }
}

type Process = MemoryLoop<Ear, Pipe, Sealed>;

fn secs(secs: u64) -> Micros {
    Micros::from_secs(secs)
}

/// Interval 10 s, timeout 25 s, handshake 5 s, write 10 s.
fn config() -> (HeartbeatConfig, LimitsConfig) {
    (HeartbeatConfig::tcp(), LimitsConfig::default())
}

fn process() -> Process {
    let config = ReactorConfig::default();
    MemoryLoop::new(config, Micros::ZERO, Box::new(Dice::new(1)), Ear::default())
}

/// A server to whom somebody has come.
fn server(change: impl FnOnce(&mut HeartbeatConfig)) -> (Process, Far) {
    let mut process = process();
    let (mut heartbeat, limits) = config();
    change(&mut heartbeat);
    let addr = ([127, 0, 0, 1], 1).into();
    let listener = ListenerConfig {
        heartbeat,
        limits,
        ..ListenerConfig::new(addr, WireFactory::Line)
    };
    process.inner.listen(listener).unwrap();
    let (pipe, far) = Pipe::new(0, true);
    process.memory.come(1, addr, pipe);
    process.settle();
    (process, far)
}

/// The same, open.
fn open_server(change: impl FnOnce(&mut HeartbeatConfig)) -> (Process, Far) {
    let (mut process, far) = server(change);
    far.send(HELLO);
    process.settle();
    assert!(process.handler.opened.is_some());
    assert_eq!(far.take(), HELLO);
    (process, far)
}

#[test]
fn a_server_opens_when_its_stream_has() {
    let (mut process, far) = server(|_| {});
    far.send(b"H");
    process.settle();
    assert_eq!((process.handler.opened, far.take().len()), (None, 0));
    far.send(b"I");
    process.settle();
    assert!(process.handler.opened.is_some());
    assert_eq!(far.take(), HELLO);
    far.send(&sealed(b"hello\n"));
    process.settle();
    assert_eq!(process.handler.heard, ["hello"]);
}

#[test]
fn what_comes_with_the_streams_handshake_is_read() {
    let (mut process, far) = server(|_| {});
    far.send(&[HELLO, &sealed(b"hello\n")].concat());
    process.settle();
    assert!(process.handler.opened.is_some());
    assert_eq!(process.handler.heard, ["hello"]);
}

#[test]
fn what_was_read_with_it_is_not_forgotten_until_it_opens() {
    let (mut process, far) = server(|_| {});
    far.set_room(1);
    far.send(&[HELLO, &sealed(b"hello\n")].concat());
    process.settle();
    assert_eq!(process.handler.opened, None);
    // No event tells of the bytes any more.
    far.set_room(usize::MAX);
    process.settle();
    assert!(process.handler.opened.is_some());
    assert_eq!(process.handler.heard, ["hello"]);
}

#[test]
fn a_stream_that_does_not_open_is_a_handshake_timeout() {
    let (mut process, far) = server(|_| {});
    process.run_to(secs(4));
    far.send(b"H");
    process.run_to(secs(4) + Micros::from_millis(900));
    assert_eq!(process.handler.end, None);
    process.run_to(secs(5) + Micros::from_millis(20));
    let end = process.handler.end.unwrap();
    assert_eq!(
        (end.cause, process.handler.opened),
        (Cause::HandshakeTimeout, None)
    );
    assert!(far.is_closed());
}

#[test]
fn a_stream_that_fails_to_open_never_was() {
    let (mut process, far) = server(|_| {});
    far.send(b"GET / HTTP/1.1\r\n");
    process.settle();
    assert_eq!(process.handler.end.unwrap().cause, Cause::IoError);
    assert_eq!(process.handler.opened, None);
    assert!(far.is_closed());
}

#[test]
fn a_client_opens_behind_the_dial_and_the_streams_handshake() {
    let mut process = process();
    let (pipe, far) = Pipe::new(0, false);
    process.memory.expect_dial(pipe);
    let (heartbeat, limits) = config();
    let client = ClientConfig {
        heartbeat,
        limits,
        reconnect: None,
        ..ClientConfig::new("127.0.0.1", 1, WireFactory::Line)
    };
    process.inner.connect(client).unwrap();
    process.settle();
    assert_eq!(far.take(), b"");
    far.connect();
    process.settle();
    assert_eq!((far.take(), process.handler.opened), (HELLO.to_vec(), None));
    far.send(HELLO);
    process.settle();
    let id = process.handler.opened.unwrap();
    let sent = process.inner.context().send(id, Message::text("hello"));
    assert_eq!(sent, Ok(()));
    process.settle();
    assert_eq!(far.take(), sealed(b"hello\n"));
}

#[test]
fn bytes_of_the_socket_and_of_the_session_are_told_apart() {
    let (mut process, far) = open_server(|_| {});
    let before = process.inner.stats().bytes_in;
    let record = sealed(b"hello\n");
    process.run_to(secs(3));
    far.send(&record[..4]);
    process.settle();
    let id = process.handler.opened.unwrap();
    let info = process.inner.context().info(id).unwrap();
    assert_eq!(
        info.last_proof,
        std::time::Duration::ZERO,
        "bytes are bytes"
    );
    assert!(process.handler.heard.is_empty());
    far.send(&record[4..]);
    process.settle();
    assert_eq!(process.handler.heard, ["hello"]);
    let read = process.inner.stats().bytes_in - before;
    assert_eq!(read, record.len() as u64);
}

#[test]
fn a_stream_answers_for_itself_though_it_was_only_read() {
    let (mut process, far) = open_server(|_| {});
    far.send(&record(RENEW, b""));
    process.settle();
    assert_eq!(far.take(), record(RENEWED, b""));
    // Also when there is room only later.
    far.set_room(0);
    far.send(&record(RENEW, b""));
    process.settle();
    assert_eq!(far.take(), b"");
    far.set_room(1);
    process.settle();
    far.set_room(usize::MAX);
    process.settle();
    assert_eq!(far.take(), record(RENEWED, b""));
}

#[test]
fn a_ping_is_written_when_all_that_carries_it_is() {
    let (mut process, far) = open_server(|_| {});
    far.set_room(3);
    let (id, ping) = (process.handler.opened.unwrap(), sealed(b"PING\n"));
    process.run_to(secs(10));
    assert_eq!(far.take(), ping[..3]);
    let pings = process.inner.context().info(id).unwrap().pings;
    assert_eq!(pings, (1, 0, 0), "due, written, answered");
    far.set_room(usize::MAX);
    process.settle();
    assert_eq!(far.take(), ping[3..]);
    let pings = process.inner.context().info(id).unwrap().pings;
    assert_eq!(pings, (1, 1, 0));
    far.send(&sealed(b"PONG\n"));
    process.settle();
    assert_eq!(process.handler.pongs, 1);
}

/// The pong counted as sent, and the end of the message was sent twice.
#[test]
fn what_is_said_behind_a_sealed_record_comes_behind_it() {
    let (mut process, far) = open_server(|_| {});
    let id = process.handler.opened.unwrap();
    far.set_room(3);
    let said = "0123456789".repeat(10);
    let sent = process.inner.context().send(id, Message::text(&said));
    assert_eq!(sent, Ok(()));
    process.settle();
    far.send(&sealed(b"PING\n"));
    process.settle();
    let mut heard = far.take();
    far.set_room(usize::MAX);
    process.settle();
    heard.extend(far.take());
    let heard = String::from_utf8(unsealed(&heard)).unwrap();
    assert_eq!(heard, format!("{said}\nPONG\n"));
    let sent = process.inner.context().send(id, Message::text("more"));
    assert_eq!(sent, Ok(()));
    process.settle();
    assert_eq!(unsealed(&far.take()), b"more\n");
}

/// The record counted for more than was queued any more, which ended the process.
#[test]
fn what_is_sealed_leaves_though_the_rest_is_dropped() {
    for queued in [1, 50] {
        let (mut process, far) = open_server(|_| {});
        let id = process.handler.opened.unwrap();
        far.set_room(3);
        for number in 0..queued {
            let text = format!("message {number}");
            let sent = process.inner.context().send(id, Message::text(&text));
            assert_eq!(sent, Ok(()));
        }
        process.settle();
        far.send(&sealed(b"\xFF\n"));
        process.settle();
        let mut heard = far.take();
        far.set_room(usize::MAX);
        process.settle();
        heard.extend(far.take());
        let heard = String::from_utf8(unsealed(&heard)).unwrap();
        assert!(heard.starts_with("message 0\n"), "{heard}");
        let whole = (0..queued).map(|number| format!("message {number}\n"));
        assert!(whole.collect::<String>().starts_with(&heard), "{heard}");
        assert!(heard.ends_with('\n'), "{heard}");
        far.end();
        process.settle();
        assert_eq!(process.handler.end.unwrap().cause, Cause::InvalidUtf8);
    }
}

#[test]
fn a_record_that_leaves_by_and_by_is_no_stall() {
    let stalls = |moves: bool| {
        let (mut process, far) = open_server(|heartbeat| {
            heartbeat.interval = None;
            heartbeat.timeout = None;
        });
        far.set_room(1);
        let id = process.handler.opened.unwrap();
        let sent = process
            .inner
            .context()
            .send(id, Message::text(&"x".repeat(100)));
        assert_eq!(sent, Ok(()));
        process.settle();
        for at in 1..4 {
            process.run_to(secs(at * 6));
            if moves {
                far.set_room(1);
                process.settle();
            }
        }
        process.handler.end.map(|end| end.cause)
    };
    assert_eq!(stalls(true), None);
    assert_eq!(stalls(false), Some(Cause::WriteStalled));
}

#[test]
fn an_orderly_end_leaves_sealed_and_whole() {
    let (mut process, far) = open_server(|_| {});
    let id = process.handler.opened.unwrap();
    let long = "x".repeat(500);
    let sent = process.inner.context().send(id, Message::text(&long));
    assert_eq!(sent, Ok(()));
    let code = heartwheel::close::CloseCode::NORMAL;
    process.inner.context().close(id, code, "");
    process.settle();
    assert_eq!(unsealed(&far.take()), format!("{long}\n").into_bytes());
    assert_eq!(far.fate(), Fate::Shut);
    far.end();
    process.settle();
    let end = process.handler.end.unwrap();
    assert_eq!((end.cause, end.clean), (Cause::LocalClose, true));
}
