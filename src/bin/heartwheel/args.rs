//! What `serve` can be told: by flags, by environment variables and by the keys of a file, which have the
//! same names.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, ValueEnum};
use heartwheel::config::{LimitsConfig, WireKind};
use log::LevelFilter;

use crate::admin::access::AdminFlags;
use crate::certs::CertFlags;
use crate::flags::{AdmissionFlags, HeartbeatFlags, LimitFlags, ProxyFlags, SocketFlags, WebFlags};
use crate::listening::Place;
use crate::machine;
use crate::values::{Switch, count, log_level, path, shards, size_or_off, subprotocol, time};

/// Holds connections, pings them, closes dead ones and reports why each one ended
///
/// Without an address it listens on ws 127.0.0.1:9001 and tcp 127.0.0.1:9002, and for operators on
/// 127.0.0.1:9003. Ctrl-C closes every
/// connection in an orderly way; a second Ctrl-C exits at once. A slow reader of events or of the
/// log does not block the program: lines that are not read in time are dropped and counted. With a
/// configuration or certificates, SIGHUP reads them again. Each flag is also an environment variable, such
/// as HEARTWHEEL_MAX_MESSAGE, and a key of the file, such as max_message; `heartwheel config --example`
/// shows such a file.
#[derive(Clone, Debug, Args)]
pub(crate) struct ServeArgs {
    /// Read this file, in TOML. Environment variables count more than the file, and flags more than both
    #[arg(long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,

    #[command(flatten)]
    pub(crate) places: PlaceFlags,

    #[command(flatten)]
    pub(crate) listener: ListenerFlags,

    #[command(flatten)]
    pub(crate) whole: WholeFlags,
}

/// Where to listen.
#[derive(Clone, Debug, Args)]
pub(crate) struct PlaceFlags {
    /// Speak WebSocket on this address: IP:PORT, unix:PATH, or fd:3 for a socket that systemd has
    /// opened (may be repeated)
    #[arg(long, value_name = "ADDR", value_parser = Place::parse)]
    ws: Vec<Place>,

    /// Speak text lines on this address; PING is answered by PONG (may be repeated)
    #[arg(long, value_name = "ADDR", value_parser = Place::parse)]
    tcp: Vec<Place>,

    /// Speak binary frames with a length on this address (may be repeated)
    #[arg(long, value_name = "ADDR", value_parser = Place::parse)]
    tcp_binary: Vec<Place>,

    /// Read any bytes on this address and send no pings (may be repeated)
    #[arg(long, value_name = "ADDR", value_parser = Place::parse)]
    tcp_raw: Vec<Place>,

    /// Speak WebSocket over TLS on this address; needs --cert and --key (may be repeated)
    #[arg(long, value_name = "ADDR", value_parser = Place::parse)]
    wss: Vec<Place>,

    /// The same as --tcp over TLS (may be repeated)
    #[arg(long, value_name = "ADDR", value_parser = Place::parse)]
    tls_tcp: Vec<Place>,

    /// The same as --tcp-binary over TLS (may be repeated)
    #[arg(long, value_name = "ADDR", value_parser = Place::parse)]
    tls_tcp_binary: Vec<Place>,

    /// The same as --tcp-raw over TLS (may be repeated)
    #[arg(long, value_name = "ADDR", value_parser = Place::parse)]
    tls_tcp_raw: Vec<Place>,
}

/// What a listener does for those who come.
#[derive(Clone, Debug, Args)]
pub(crate) struct ListenerFlags {
    /// What to do with a message
    #[arg(long, value_name = "MODE", value_enum, default_value_t)]
    pub(crate) mode: Mode,

    /// Accept this subprotocol if a WebSocket client offers it (may be repeated). If the client
    /// offers several of them, the first in its list is chosen
    #[arg(long, value_name = "NAME", value_parser = subprotocol)]
    pub(crate) subprotocol: Vec<String>,

    /// Accept WebSocket clients that ask for this path, such as /live, and answer others 404 (may be
    /// repeated) [default: any path]
    #[arg(long, value_name = "PATH", value_parser = path)]
    pub(crate) path: Vec<String>,

    #[command(flatten)]
    pub(crate) certs: CertFlags,

    #[command(flatten)]
    pub(crate) heartbeat: HeartbeatFlags,

    #[command(flatten)]
    pub(crate) limits: LimitFlags,

    #[command(flatten)]
    pub(crate) admission: AdmissionFlags,

    #[command(flatten)]
    pub(crate) proxy: ProxyFlags,

    /// Do not answer /healthz and /readyz on WebSocket listeners
    #[arg(long, help_heading = "Behind a proxy")]
    pub(crate) no_health: bool,

    #[command(flatten)]
    pub(crate) web: WebFlags,

    #[command(flatten)]
    pub(crate) socket: SocketFlags,
}

/// What is for the whole program.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "The whole program")]
pub(crate) struct WholeFlags {
    /// Time within which connections are closed after the first Ctrl-C
    #[arg(long, value_name = "TIME", value_parser = time, default_value = "8s")]
    pub(crate) drain: Duration,

    /// Log records on standard error, from this level up: off, error, warn, info, debug, trace
    #[arg(long, value_name = "LEVEL", value_parser = log_level, default_value = "info")]
    pub(crate) log_level: LevelFilter,

    /// Print no events
    #[arg(long)]
    pub(crate) quiet: bool,

    /// Print each event as JSON, one object a line
    #[arg(long)]
    pub(crate) json: bool,

    /// Number of loops, each on its own thread. They share ports and limits. Use one for each core
    #[arg(long, value_name = "N", value_parser = shards, default_value = "1")]
    pub(crate) shards: usize,

    /// Resolution of the timers, 1ms to 1s
    #[arg(long, value_name = "TIME", value_parser = time, default_value = "10ms")]
    pub(crate) tick: Duration,

    /// Most connections at once
    #[arg(long, value_name = "N", value_parser = count, default_value = "1000000")]
    pub(crate) max_connections: usize,

    /// Most memory for messages in transit, over all connections: unfinished messages and send queues.
    /// Near it, reading from those that hold most stops for a while; at it, the one that holds most is
    /// closed [default: half of the memory of the machine or the control group; off: no limit]
    #[arg(long, value_name = "SIZE", value_parser = size_or_off)]
    memory_limit: Option<Switch<usize>>,

    #[command(flatten)]
    pub(crate) admin: AdminFlags,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum Mode {
    /// Send it back to its sender
    #[default]
    Echo,
    /// Read it and do nothing
    Sink,
    /// Send it to all other connections, at most 10 a second from each (see --messages-per-second)
    Broadcast,
}

impl Mode {
    /// Returns the limits of a connection, where nothing else is said.
    pub(crate) fn limits(self) -> LimitsConfig {
        LimitsConfig {
            messages_per_second: match self {
                Self::Echo | Self::Sink => None,
                // Its sender pays for one message, and we for one to everybody.
                Self::Broadcast => Some(10),
            },
            max_message: MAX_MESSAGE,
            ..LimitsConfig::default()
        }
    }

    /// Returns how it is typed.
    pub(crate) const fn label(self) -> &'static str {
        match self {
            Self::Echo => "echo",
            Self::Sink => "sink",
            Self::Broadcast => "broadcast",
        }
    }
}

/// Places of one flag.
pub(crate) struct Places<'a> {
    pub(crate) flag: &'static str,
    pub(crate) wire: WireKind,
    pub(crate) is_secure: bool,
    pub(crate) places: &'a [Place],
}

impl PlaceFlags {
    /// Lists what was asked for, by flag.
    pub(crate) fn groups(&self) -> [Places<'_>; 8] {
        use WireKind::{Binary, Line, Raw, WebSocket};
        let group = |flag, wire, is_secure, places| Places {
            flag,
            wire,
            is_secure,
            places,
        };
        [
            group("--ws", WebSocket, false, &self.ws),
            group("--tcp", Line, false, &self.tcp),
            group("--tcp-binary", Binary, false, &self.tcp_binary),
            group("--tcp-raw", Raw, false, &self.tcp_raw),
            group("--wss", WebSocket, true, &self.wss),
            group("--tls-tcp", Line, true, &self.tls_tcp),
            group("--tls-tcp-binary", Binary, true, &self.tls_tcp_binary),
            group("--tls-tcp-raw", Raw, true, &self.tls_tcp_raw),
        ]
    }
}

impl WholeFlags {
    /// Returns the most memory for messages: half of what there is, unless it is given.
    pub(crate) fn memory_limit(&self) -> Option<usize> {
        match self.memory_limit {
            Some(Switch(limit)) => limit,
            None => {
                let half = machine::memory()? / 2;
                Some(usize::try_from(half).unwrap_or(usize::MAX))
            }
        }
    }
}

/// Largest message that the program accepts by default. Few need more, and who does may say so.
const MAX_MESSAGE: usize = 1024 * 1024;
