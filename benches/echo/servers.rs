//! The servers under test, each in a process of its own and on one thread.

use std::env;
use std::fmt::Display;
use std::future::ready;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::SocketAddr;
use std::process::{Child, ChildStdout, Command, Stdio, exit};
use std::str::FromStr;
use std::thread;
use std::time::Duration;

use fastwebsockets::{FragmentCollector, OpCode, WebSocketError, upgrade};
use futures_util::{StreamExt, TryStreamExt};
use http_body_util::Empty;
use hyper::body::{Bytes, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use rustix::time::{ClockId, clock_gettime};
use tokio::net::{TcpListener, TcpStream};
use tokio_tungstenite::accept_async_with_config;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;

use heartwheel::config::ReactorConfig;
use heartwheel::proto::message::Message;
use heartwheel::reactor::{ConnId, Context, Handler, ListenerConfig, Reactor, WireFactory};

/// What serves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Heartwheel,
    TokioTungstenite,
    Fastwebsockets,
}

impl Kind {
    pub(crate) const ALL: [Self; 3] = [
        Self::Heartwheel,
        Self::TokioTungstenite,
        Self::Fastwebsockets,
    ];

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Heartwheel => "heartwheel",
            Self::TokioTungstenite => "tokio-tungstenite",
            Self::Fastwebsockets => "fastwebsockets",
        }
    }

    fn serve(self, size: usize) -> io::Result<()> {
        match self {
            Self::Heartwheel => serve_heartwheel(),
            Self::TokioTungstenite => serve_tokio(size, echo_with_tungstenite),
            Self::Fastwebsockets => serve_tokio(size, echo_with_fastwebsockets),
        }
    }
}

/// A running server.
pub(crate) struct Server {
    child: Child,
    output: BufReader<ChildStdout>,
    pub(crate) addr: SocketAddr,
}

impl Server {
    /// Starts this very program again, to serve messages of `size` bytes.
    pub(crate) fn start(kind: Kind, size: usize) -> io::Result<Self> {
        let mut child = Command::new(env::current_exe()?)
            .args([ROLE, kind.name(), &size.to_string()])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let output = child.stdout.take().expect("its output is piped");
        let mut output = BufReader::new(output);
        let addr = read_word(&mut output)?;
        Ok(Self {
            child,
            output,
            addr,
        })
    }

    /// Asks for the processor time that the server has used so far.
    pub(crate) fn processor_time(&mut self) -> io::Result<Duration> {
        let input = self.child.stdin.as_mut().expect("its input is piped");
        input.write_all(b"\n")?;
        read_word(&mut self.output).map(Duration::from_nanos)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // The end of its input ends it.
        drop(self.child.stdin.take());
        let _ = self.child.wait();
    }
}

/// Serves until the input ends, if that is what this process was started for.
pub(crate) fn serve_if_asked(arguments: &[String]) -> Option<io::Result<()>> {
    let [role, name, size] = arguments else {
        return None;
    };
    let kind = Kind::ALL.into_iter().find(|kind| kind.name() == name)?;
    let size = size.parse().ok()?;
    (role == ROLE).then(|| {
        thread::spawn(tell_processor_time);
        kind.serve(size)
    })
}

/// The first argument of a process that is to be a server.
const ROLE: &str = "--serve";

fn read_word<T: FromStr>(output: &mut impl BufRead) -> io::Result<T> {
    let mut line = String::new();
    output.read_line(&mut line)?;
    let line = line.trim_end();
    line.parse()
        .map_err(|_| io::Error::other(format!("the server said {line:?}")))
}

fn say(word: impl Display) -> io::Result<()> {
    let mut output = io::stdout().lock();
    writeln!(output, "{word}")?;
    output.flush()
}

/// Answers every byte of input with the processor time used, and ends the process with its input.
fn tell_processor_time() {
    let mut input = io::stdin().lock();
    while let Ok(1) = input.read(&mut [0]) {
        let time = clock_gettime(ClockId::ProcessCPUTime);
        if say(time.tv_sec * 1_000_000_000 + time.tv_nsec).is_err() {
            break;
        }
    }
    exit(0);
}

fn serve_heartwheel() -> io::Result<()> {
    struct Echo;

    impl Handler for Echo {
        type Data = ();

        fn on_message(&mut self, cx: &mut Context<'_, ()>, id: ConnId, message: Message<'_>) {
            cx.send(id, message).expect("the window is small");
        }
    }

    let mut reactor = Reactor::new(ReactorConfig::default()).map_err(io::Error::other)?;
    let config = ListenerConfig::new(([127, 0, 0, 1], 0).into(), WireFactory::WebSocket);
    let listener = reactor.listen(config).map_err(io::Error::other)?;
    say(reactor.local_addr(listener).expect("it listens"))?;
    reactor.run(&mut Echo).map_err(io::Error::other)
}

/// Accepts on the runtime that both projects recommend for a single thread.
fn serve_tokio<F>(size: usize, echo: fn(TcpStream, usize) -> F) -> io::Result<()>
where
    F: Future<Output = ()> + Send + 'static,
{
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_io()
        .build()?;
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
