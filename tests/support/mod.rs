//! What the tests that run the program share: processes, the program itself, clients written by
//! others, and peers that write their own bytes.
#![allow(dead_code, reason = "each test file uses its own part")]

#[cfg(target_os = "linux")]
pub(crate) mod crowd;
#[cfg(target_os = "linux")]
pub(crate) mod netns;
pub(crate) mod peers;
pub(crate) mod place;
pub(crate) mod process;
pub(crate) mod program;
pub(crate) mod raw;
pub(crate) mod record;
pub(crate) mod tools;

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
