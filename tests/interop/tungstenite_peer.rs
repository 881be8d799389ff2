//! A peer made with the crate `tungstenite`, in a process of its own: this very test program, started
//! once more. It takes the commands of the other peers and tells the same events.

use std::collections::VecDeque;
use std::io::ErrorKind;
use std::net::{TcpListener, TcpStream};
use std::process::Command;
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tungstenite::client::ClientRequestBuilder;
use tungstenite::handshake::server::{ErrorResponse, Request, Response};
use tungstenite::protocol::CloseFrame;
use tungstenite::protocol::frame::Frame;
use tungstenite::protocol::frame::coding::{Data, OpCode};
use tungstenite::{Error, HandshakeError, Message, WebSocket};

use crate::support::process::Process;
use crate::{MEBIBYTE, TEXT};

/// What the second process is to be: `client URL [SUBPROTOCOL]` or `server`.
const ROLE: &str = "HEARTWHEEL_TUNGSTENITE";

pub(crate) fn client(url: &str, subprotocol: Option<&str>) -> Process {
    start(&format!("client {url} {}", subprotocol.unwrap_or_default()))
}

pub(crate) fn server() -> Process {
    start("server")
}

fn start(role: &str) -> Process {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command
        .args([
            "--exact",
            "tungstenite_peer::is_a_process_of_its_own",
            "--nocapture",
        ])
        .env(ROLE, role);
    Process::spawn(&mut command, "it is this test itself")
}

/// Not a test unless another one started it as its peer.
#[test]
fn is_a_process_of_its_own() {
    let Ok(role) = std::env::var(ROLE) else {
        return;
    };
    let commands = commands();
    match *role.split_whitespace().collect::<Vec<_>>() {
        ["client", url, ref subprotocols @ ..] => dial(url, subprotocols, &commands),
        ["server"] => listen(&commands),
        _ => panic!("no such role: {role}"),
    }
}

fn commands() -> Receiver<String> {
    let (tell, commands) = channel();
    thread::spawn(move || {
        for line in std::io::stdin().lines().map_while(Result::ok) {
            let _gone = tell.send(line);
        }
    });
    commands
}

fn dial(url: &str, subprotocols: &[&str], commands: &Receiver<String>) {
    let stream = TcpStream::connect(url.strip_prefix("ws://").unwrap()).unwrap();
    let mut request = ClientRequestBuilder::new(url.parse().unwrap())
        .with_header("Origin", "http://heart.example");
    for &subprotocol in subprotocols {
        request = request.with_sub_protocol(subprotocol);
    }
    match tungstenite::client(request, stream) {
        Ok((socket, response)) => {
            let chosen = header(response.headers(), "Sec-WebSocket-Protocol");
            say(&json!({"event": "open", "subprotocol": chosen}));
            Peer::new(socket, commands, false).hold();
        }
        Err(error) => say(&json!({"event": "failed", "reason": error.to_string()})),
    }
}

fn listen(commands: &Receiver<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    say(&json!({"event": "listening", "port": port}));
    for stream in listener.incoming() {
        match tungstenite::accept_hdr(stream.unwrap(), welcome) {
            Ok(socket) => Peer::new(socket, commands, true).hold(),
            // Whoever dialed while we were stopped may be gone.
            Err(HandshakeError::Failure(_)) => {}
            Err(HandshakeError::Interrupted(_)) => unreachable!("the socket is a blocking one"),
        }
    }
}

/// Chooses the subprotocol `heart.v1` where it is offered.
#[expect(clippy::result_large_err, reason = "the signature is tungstenite's")]
fn welcome(request: &Request, mut response: Response) -> Result<Response, ErrorResponse> {
    let offered = header(request.headers(), "Sec-WebSocket-Protocol").unwrap_or_default();
    let chosen = offered
        .split(',')
        .map(str::trim)
        .find(|&subprotocol| subprotocol == "heart.v1");
    if let Some(chosen) = chosen {
        let chosen = chosen.parse().unwrap();
        response
            .headers_mut()
            .insert("Sec-WebSocket-Protocol", chosen);
    }
    say(&json!({
        "event": "open",
        "subprotocol": chosen,
        "path": request.uri().to_string(),
        "origin": header(request.headers(), "Origin"),
    }));
    Ok(response)
}

fn header<'a>(headers: &'a tungstenite::http::HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name).map(|value| value.to_str().unwrap())
}

fn say(event: &Value) {
    // On a line of its own: the harness leaves its own unfinished.
    println!("\n{event}");
}

/// One connection.
struct Peer<'a> {
    socket: WebSocket<TcpStream>,
    commands: &'a Receiver<String>,
    /// Echoes and pings.
    is_server: bool,
    pinged: Instant,
    /// Messages that nobody has looked at.
    arrived: VecDeque<Message>,
    /// The payload of the last pong.
    pong: Vec<u8>,
    goodbye: Option<CloseFrame>,
}

impl<'a> Peer<'a> {
    fn new(socket: WebSocket<TcpStream>, commands: &'a Receiver<String>, is_server: bool) -> Self {
        // So that commands are noticed between messages.
        socket
            .get_ref()
            .set_read_timeout(Some(Duration::from_millis(20)))
            .unwrap();
        Self {
            socket,
            commands,
            is_server,
            pinged: Instant::now(),
            arrived: VecDeque::new(),
            pong: Vec::new(),
            goodbye: None,
        }
    }

    /// Talks until the connection is closed.
    fn hold(mut self) {
        let error = loop {
            if let Err(error) = self.obey().and_then(|()| self.turn()) {
                break error;
            }
        };
        let is_lost = match error {
            Error::ConnectionClosed => false,
            Error::Io(error) => is_gone(&error),
            Error::Protocol(tungstenite::error::ProtocolError::ResetWithoutClosingHandshake) => {
                true
            }
            error => panic!("{error}"),
        };
        let (code, reason) = match self.goodbye {
            Some(frame) if !is_lost => (frame.code.into(), frame.reason.to_string()),
            _ => (1006_u16, String::new()),
        };
        say(&json!({"event": "closed", "code": code, "reason": reason}));
    }

    fn obey(&mut self) -> Result<(), Error> {
        let Ok(line) = self.commands.try_recv() else {
            return Ok(());
        };
        let (command, rest) = line.split_once(' ').unwrap_or((&line, ""));
        match command {
            "echo" => self.echo(),
            "fragments" => self.send_fragments(),
            "ping" => self.ping(b"by command"),
            "send" => self
                .socket
                .send(Message::binary(vec![0; rest.parse().unwrap()])),
            "close" => {
                let (code, reason) = rest.split_once(' ').unwrap_or((rest, ""));
                self.socket.close(Some(CloseFrame {
                    code: code.parse::<u16>().unwrap().into(),
                    reason: reason.into(),
                }))
            }
            _ => panic!("no such command: {line}"),
        }
    }

    /// Pings if that is due, and takes what arrives soon.
    fn turn(&mut self) -> Result<(), Error> {
        if self.is_server && self.pinged.elapsed() >= PING_EVERY && self.socket.can_write() {
            self.pinged = Instant::now();
            self.socket.send(Message::Ping(b"always".to_vec().into()))?;
        }
        match self.socket.read() {
            Ok(message) => self.take(message),
            Err(Error::Io(error)) if is_in_vain(&error) => Ok(()),
            Err(error) => Err(error),
        }
    }

    fn take(&mut self, message: Message) -> Result<(), Error> {
        match message {
            Message::Ping(_) => say(&json!({"event": "ping"})),
            Message::Pong(payload) => {
                say(&json!({"event": "pong"}));
                self.pong = payload.to_vec();
            }
            Message::Close(frame) => self.goodbye = frame,
            message => {
                say(&json!({"event": "message", "length": message.len()}));
                if self.is_server {
                    self.socket.send(message)?;
                } else {
                    self.arrived.push_back(message);
                }
            }
        }
        Ok(())
    }

    fn echo(&mut self) -> Result<(), Error> {
        let bytes = |len: usize| (0..=255).cycle().take(len).collect::<Vec<u8>>();
        for (what, message) in [
            ("text", Message::text(TEXT)),
            ("binary", Message::binary(bytes(256))),
            ("mebibyte", Message::binary(bytes(MEBIBYTE))),
        ] {
            self.socket.send(message.clone())?;
            self.expect_back(what, &message)?;
        }
        Ok(())
    }

    fn expect_back(&mut self, what: &str, message: &Message) -> Result<(), Error> {
        let back = loop {
            match self.arrived.pop_front() {
                Some(back) => break back,
                None => self.turn()?,
            }
        };
        say(&json!({"event": "echoed", "what": what, "same": back == *message}));
        Ok(())
    }

    fn ping(&mut self, payload: &'static [u8]) -> Result<(), Error> {
        self.socket.send(Message::Ping(payload.into()))?;
        while self.pong != payload {
            self.turn()?;
        }
        self.pong.clear();
        Ok(())
    }

    fn send_fragments(&mut self) -> Result<(), Error> {
        let (first, rest) = TEXT.as_bytes().split_at(2);
        // The cut goes through the last letter, as it may (RFC 6455, section 5.6).
        let (middle, last) = rest.split_at(rest.len() - 1);
        self.send_fragment(first, Data::Text, false)?;
        self.ping(b"between")?;
        self.send_fragment(middle, Data::Continue, false)?;
        self.send_fragment(last, Data::Continue, true)?;
        if self.is_server {
            return Ok(());
        }
        self.expect_back("fragments", &Message::text(TEXT))
    }

    fn send_fragment(
        &mut self,
        payload: &'static [u8],
        data: Data,
        fin: bool,
    ) -> Result<(), Error> {
        let frame = Frame::message(payload, OpCode::Data(data), fin);
        self.socket.send(Message::Frame(frame))
    }
}

/// Says whether the other side is gone without a goodbye, which a pong may learn before a read does.
fn is_gone(error: &std::io::Error) -> bool {
    matches!(
        error.kind(),
        ErrorKind::ConnectionReset | ErrorKind::BrokenPipe
    )
}

/// Says whether a read ended without anything: in time, or by a stop, which interrupts one that has a
/// timeout.
fn is_in_vain(error: &std::io::Error) -> bool {
    matches!(
        error.kind(),
        ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::Interrupted
    )
}

const PING_EVERY: Duration = Duration::from_millis(100);
