//! What tests on real sockets share: a loop of ours in the test's own thread (`turning`, `recorder`,
//! `sides`), the program as a process (`program`, `record`), clients and servers written by others
//! (`peers`, `tools`), and peers that write their own bytes (`raw`, `bytes`, `crowd`).
//!
//! `dice`, `memory`, `end` and `table` need none of this and are taken alone where nothing else is wanted.
#![allow(dead_code, reason = "each test file uses its own part")]

pub(crate) mod bytes;
#[cfg(feature = "tls")]
pub(crate) mod certs;
#[cfg(target_os = "linux")]
pub(crate) mod crowd;
pub(crate) mod dice;
#[cfg(feature = "websocket")]
pub(crate) mod end;
pub(crate) mod head;
#[cfg(feature = "websocket")]
pub(crate) mod memory;
#[cfg(all(target_os = "linux", feature = "cli"))]
pub(crate) mod netns;
#[cfg(unix)]
pub(crate) mod peers;
pub(crate) mod place;
#[cfg(unix)]
pub(crate) mod process;
#[cfg(feature = "cli")]
pub(crate) mod program;
pub(crate) mod raw;
pub(crate) mod record;
pub(crate) mod recorder;
#[cfg(feature = "tls")]
pub(crate) mod sealer;
#[cfg(all(feature = "cli", feature = "tls"))]
pub(crate) mod secure;
pub(crate) mod sides;
pub(crate) mod silence;
pub(crate) mod stomp;
#[cfg(all(feature = "tls", feature = "websocket"))]
pub(crate) mod swarm;
pub(crate) mod table;
pub(crate) mod tools;
pub(crate) mod turning;

use std::time::Duration;

/// How long anything may take that should happen at once: a loaded machine needs its time, and no
/// passing test ever waits it out.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// The wires that a test drives, by the names the program gives them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wire {
    WebSocket,
    Line,
    Binary,
}

impl Wire {
    /// Returns the name in events.
    pub(crate) fn label(self) -> &'static str {
        match self {
            Self::WebSocket => "ws",
            Self::Line => "tcp",
            Self::Binary => "tcp+binary",
        }
    }

    /// Returns the flag of `serve` that listens for it.
    pub(crate) fn listener(self) -> &'static str {
        match self {
            Self::WebSocket => "--ws",
            Self::Line => "--tcp",
            Self::Binary => "--tcp-binary",
        }
    }
}
