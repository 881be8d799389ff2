//! The servers under test, each in a process of its own and on one thread.

use std::env;
use std::fmt::Display;
use std::future::ready;
use std::io::{self, Write};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::Duration;

use fastwebsockets::{FragmentCollector, OpCode, WebSocketError, upgrade};
use futures_util::{Sink, SinkExt, Stream, StreamExt, TryStreamExt};
use http_body_util::Empty;
use hyper::body::{Bytes, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use sockudo_ws::deflate::negotiate_server_deflate;
use sockudo_ws::handshake::{build_response, generate_accept_key, parse_request};
use sockudo_ws::{CompressedWebSocketStream, Compression, Config, WebSocketStream};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Builder;
use tokio_tungstenite::accept_async_with_config;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;

use heartwheel::config::{DeflateConfig, ReactorConfig};
use heartwheel::proto::message::Message;
use heartwheel::reactor::{ConnId, Context, Handler, ListenerConfig, Reactor, WireFactory};

use super::compressed::OFFER;
use super::load::{Kind as Messages, Load};
use super::process::{Process, end_with_input};
use super::uwebsockets::{self, Part};

/// What serves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// The library.
    Heartwheel,
    /// The program.
    HeartwheelServe,
    TokioTungstenite,
    Fastwebsockets,
    SockudoWs,
    Uwebsockets,
}

impl Kind {
    /// Those that need nothing but Rust.
    pub(crate) const OWN: [Self; 5] = [
        Self::Heartwheel,
        Self::HeartwheelServe,
        Self::TokioTungstenite,
        Self::Fastwebsockets,
        Self::SockudoWs,
    ];

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Heartwheel => "heartwheel",
            Self::HeartwheelServe => "heartwheel serve",
            Self::TokioTungstenite => "tokio-tungstenite",
            Self::Fastwebsockets => "fastwebsockets",
            Self::SockudoWs => "sockudo-ws",
            Self::Uwebsockets => "uwebsockets",
        }
    }

    pub(crate) fn named(name: &str) -> Option<Self> {
        let mut all = Self::OWN.into_iter().chain([Self::Uwebsockets]);
        all.find(|kind| kind.name() == name)
    }

    pub(crate) const fn is_ours(self) -> bool {
        matches!(self, Self::Heartwheel | Self::HeartwheelServe)
    }

    /// Says whether it can serve such messages.
    pub(crate) const fn serves(self, messages: Messages) -> bool {
        match self {
            Self::Heartwheel | Self::HeartwheelServe | Self::SockudoWs | Self::Uwebsockets => true,
            Self::TokioTungstenite | Self::Fastwebsockets => !messages.is_compressed(),
        }
    }

    /// Returns what starts it.
    fn command(self, load: Load) -> io::Result<Command> {
        let mut command = match self {
            Self::HeartwheelServe => Command::new(env!("CARGO_BIN_EXE_heartwheel")),
            Self::Uwebsockets => Command::new(uwebsockets_program(load.kind.is_compressed())),
            // This very program again.
            _ => Command::new(env::current_exe()?),
        };
        match self {
            Self::HeartwheelServe => {
                command
                    .args(["serve", "--ws", "127.0.0.1:0", "--mode", "echo"])
                    .args(["--max-message", "16MiB", "--json"])
                    .args(["--log-level", "error"]);
                if load.kind.is_compressed() {
                    command.arg("--deflate");
                }
            }
            Self::Uwebsockets => {}
            _ => {
                let is_compressed = load.kind.is_compressed().to_string();
                command.args([ROLE, self.name(), &load.size.to_string(), &is_compressed]);
            }
        }
        Ok(command)
    }

    fn serve(self, size: usize, is_compressed: bool) -> io::Result<()> {
        let mut runtime = Builder::new_current_thread();
        let runtime = runtime.enable_io();
        match self {
            Self::Heartwheel => serve_heartwheel(is_compressed),
            Self::TokioTungstenite => serve_tokio(runtime, size, echo_with_tungstenite),
            Self::Fastwebsockets => serve_tokio(runtime, size, echo_with_fastwebsockets),
            // It keeps heartbeats.
            Self::SockudoWs if is_compressed => {
                serve_tokio(runtime.enable_time(), size, echo_compressed_with_sockudo)
            }
            Self::SockudoWs => serve_tokio(runtime.enable_time(), size, echo_with_sockudo),
            Self::HeartwheelServe | Self::Uwebsockets => {
                Err(io::Error::other("that is another program"))
            }
        }
    }
}

/// A running server.
pub(crate) struct Server(Process);

impl Server {
    pub(crate) fn start(kind: Kind, load: Load) -> io::Result<Self> {
        Process::start(&mut kind.command(load)?).map(Self)
    }

    pub(crate) fn addr(&self) -> SocketAddr {
        self.0.addr
    }

    /// Returns the processor time that all threads of the server have used so far.
    pub(crate) fn processor_time(&self) -> io::Result<Duration> {
        self.0.processor_time()
    }
}

/// Serves until the input ends, if that is what this process was started for.
pub(crate) fn serve_if_asked(arguments: &[String]) -> Option<io::Result<()>> {
    let [role, name, size, is_compressed] = arguments else {
        return None;
    };
    let kind = Kind::named(name)?;
    let size = size.parse().ok()?;
    let is_compressed = is_compressed.parse().ok()?;
    (role == ROLE).then(|| {
        thread::spawn(end_with_input);
        kind.serve(size, is_compressed)
    })
}

/// The first argument of a process that is to be a server.
const ROLE: &str = "--serve";

fn say(word: impl Display) -> io::Result<()> {
    let mut output = io::stdout().lock();
    writeln!(output, "{word}")?;
    output.flush()
}

/// Compiles the server in C++.
pub(crate) fn build_uwebsockets() -> io::Result<()> {
    let source = concat!(env!("CARGO_MANIFEST_DIR"), "/benches/echo/uwebsockets.cpp");
    [false, true].into_iter().try_for_each(|is_compressed| {
        let parts = if is_compressed {
            &[Part::Deflate][..]
        } else {
            &[]
        };
        let program = uwebsockets_program(is_compressed);
        uwebsockets::build_or_say(Path::new(source), &program, parts)
    })
}

fn uwebsockets_program(is_compressed: bool) -> PathBuf {
    let name = match is_compressed {
        true => "uwebsockets-echo-deflate",
        false => "uwebsockets-echo",
    };
    Path::new(env!("CARGO_TARGET_TMPDIR"))
        .join("foreign")
        .join(name)
}

fn serve_heartwheel(is_compressed: bool) -> io::Result<()> {
    struct Echo;

    impl Handler for Echo {
        type Data = ();

        fn on_message(&mut self, cx: &mut Context<'_, ()>, id: ConnId, message: Message<'_>) {
            cx.send(id, message).expect("the window is small");
        }
    }

    let mut reactor = Reactor::new(ReactorConfig::default()).map_err(io::Error::other)?;
    let mut config = ListenerConfig::new(([127, 0, 0, 1], 0).into(), WireFactory::WebSocket);
    config.limits.deflate = is_compressed.then(DeflateConfig::default);
    let listener = reactor.listen(config).map_err(io::Error::other)?;
    say(reactor.local_addr(listener).expect("it listens"))?;
    reactor.run(&mut Echo).map_err(io::Error::other)
}

/// Accepts on the runtime that the projects recommend for a single thread.
fn serve_tokio<F>(
    runtime: &mut Builder,
    size: usize,
    echo: fn(TcpStream, usize) -> F,
) -> io::Result<()>
where
    F: Future<Output = ()> + Send + 'static,
{
    let runtime = runtime.build()?;
    runtime.block_on(async {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
        say(listener.local_addr()?)?;
        loop {
            let (stream, _) = listener.accept().await?;
            stream.set_nodelay(true)?;
            tokio::spawn(echo(stream, size));
        }
    })
}

/// The loop of the project's own example. The read buffer fits the message: the default of 128 KiB is
/// slower at every point of the table.
async fn echo_with_tungstenite(stream: TcpStream, size: usize) {
    let config = WebSocketConfig::default().read_buffer_size(size + 4096);
    if let Ok(socket) = accept_async_with_config(stream, Some(config)).await {
        let (write, read) = socket.split();
        let data = read.try_filter(|message| ready(message.is_text() || message.is_binary()));
        let _ = data.forward(write).await;
    }
}

/// The loop of the project's own example, and its way through hyper.
async fn echo_with_fastwebsockets(stream: TcpStream, _size: usize) {
    let _ = http1::Builder::new()
        .serve_connection(TokioIo::new(stream), service_fn(switch_protocols))
        .with_upgrades()
        .await;
}

async fn switch_protocols(
    mut request: Request<Incoming>,
) -> Result<Response<Empty<Bytes>>, WebSocketError> {
    let (response, upgraded) = upgrade::upgrade(&mut request)?;
    tokio::spawn(tokio::task::unconstrained(echo_frames(upgraded)));
    Ok(response)
}

async fn echo_frames(upgraded: upgrade::UpgradeFut) -> Result<(), WebSocketError> {
    let mut socket = FragmentCollector::new(upgraded.await?);
    loop {
        let frame = socket.read_frame().await?;
        match frame.opcode {
            OpCode::Close => return Ok(()),
            OpCode::Text | OpCode::Binary => socket.write_frame(frame).await?,
            OpCode::Continuation | OpCode::Ping | OpCode::Pong => {}
        }
    }
}

/// The loop of the project's own example, its handshake, and its defaults.
async fn echo_with_sockudo(mut stream: TcpStream, _size: usize) {
    if shake_hands(&mut stream, None).await.is_some() {
        echo_messages(WebSocketStream::server(stream, Config::default())).await;
    }
}

/// The same with one compressor for all connections, as it has it by this name.
async fn echo_compressed_with_sockudo(mut stream: TcpStream, _size: usize) {
    let config = Config::builder().compression(Compression::Shared).build();
    let deflate = Compression::Shared.to_deflate_config();
    let agreed = deflate.and_then(|deflate| negotiate_server_deflate(OFFER, &deflate));
    let agreed = agreed.expect("it agrees to what peers offer");
    let answer = agreed.to_response_header();
    if shake_hands(&mut stream, Some(&answer)).await.is_some() {
        echo_messages(CompressedWebSocketStream::server(
            stream,
            config,
            agreed.config,
        ))
        .await;
    }
}

async fn echo_messages<S>(mut socket: S)
where
    S: Stream<Item = sockudo_ws::Result<sockudo_ws::Message>> + Sink<sockudo_ws::Message> + Unpin,
{
    use sockudo_ws::Message;

    while let Some(Ok(message)) = socket.next().await {
        match message {
            Message::Text(_) | Message::Binary(_) => {
                if socket.send(message).await.is_err() {
                    return;
                }
            }
            Message::Close(_) => return,
            Message::Ping(_) | Message::Pong(_) => {}
        }
    }
}

async fn shake_hands(stream: &mut TcpStream, extensions: Option<&str>) -> Option<()> {
    let mut head = Vec::with_capacity(4096);
    loop {
        if stream.read_buf(&mut head).await.ok()? == 0 {
            return None;
        }
        if let Some((request, _)) = parse_request(&head).ok()? {
            let response = build_response(&generate_accept_key(request.key), None, extensions);
            return stream.write_all(&response).await.ok();
        }
    }
}
