//! The servers, each in a process of its own and on one thread. A message that begins with `+` has its sender
//! subscribe to the topic that follows, and is sent back. Any other one is a topic, a line feed, and what is to be
//! published there.

use std::env;
use std::io::{self, Write};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::Duration;

use heartwheel::config::{HeartbeatConfig, ReactorConfig};
use heartwheel::proto::message::{Message, SharedMessage};
use heartwheel::reactor::{ConnId, Context, Handler, ListenerConfig, Reactor, WireFactory};

use super::process::{Process, end_with_input};
use super::uwebsockets;

/// What serves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Heartwheel,
    Uwebsockets,
}

impl Kind {
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Heartwheel => "heartwheel",
            Self::Uwebsockets => "uwebsockets",
        }
    }

    pub(crate) fn named(name: &str) -> Self {
        let mut all = [Self::Heartwheel, Self::Uwebsockets].into_iter();
        let found = all.find(|kind| kind.name() == name);
        found.unwrap_or_else(|| panic!("no server {name}"))
    }
}

/// A running server.
pub(crate) struct Server(Process);

impl Server {
    pub(crate) fn start(kind: Kind) -> io::Result<Self> {
        let mut command = match kind {
            // This very program again.
            Kind::Heartwheel => Command::new(env::current_exe()?),
            Kind::Uwebsockets => Command::new(uwebsockets_program()),
        };
        if kind == Kind::Heartwheel {
            command.arg(ROLE);
        }
        Process::start(&mut command).map(Self)
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
    (arguments.first()? == ROLE).then(|| {
        thread::spawn(end_with_input);
        serve()
    })
}

/// The first argument of a process that is to be a server.
const ROLE: &str = "--serve";

struct Board;

impl Handler for Board {
    type Data = ();

    fn on_message(&mut self, cx: &mut Context<'_, ()>, id: ConnId, message: Message<'_>) {
        let text = message.as_text().expect("all messages are text");
        if let Some(topic) = text.strip_prefix('+') {
            cx.subscribe(id, topic).expect("there is room");
            cx.send(id, message).expect("there is room");
        } else if let Some((topic, payload)) = text.split_once('\n') {
            let message = SharedMessage::new(Message::text(payload));
            cx.publish(topic, &message).expect("the burst is small");
        }
    }
}

fn serve() -> io::Result<()> {
    let config = ReactorConfig {
        max_connections: 20_000,
        ..ReactorConfig::default()
    };
    let mut reactor = Reactor::new(config).map_err(io::Error::other)?;
    let mut config = ListenerConfig::new(([127, 0, 0, 1], 0).into(), WireFactory::WebSocket);
    config.heartbeat = HeartbeatConfig {
        interval: None,
        timeout: None,
        ..HeartbeatConfig::websocket()
    };
    config.admission.half_open_per_address = None;
    config.admission.share_per_address = None;
    let listener = reactor.listen(config).map_err(io::Error::other)?;
    let mut output = io::stdout();
    writeln!(
        output,
        "{}",
        reactor.local_addr(listener).expect("it listens")
    )?;
    output.flush()?;
    reactor.run(&mut Board).map_err(io::Error::other)
}

/// Compiles the server in C++.
pub(crate) fn build_uwebsockets() -> io::Result<()> {
    let source = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/benches/topics/uwebsockets.cpp"
    );
    uwebsockets::build_or_say(Path::new(source), &uwebsockets_program(), &[])
}

fn uwebsockets_program() -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).join("foreign/uwebsockets-topics")
}
