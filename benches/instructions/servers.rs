//! The servers under test, each in a process of its own that callgrind watches.

use std::fs;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

use super::process::Process;
use super::uwebsockets;

/// What serves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    HeartwheelServe,
    Uwebsockets,
}

impl Kind {
    const ALL: [Self; 2] = [Self::HeartwheelServe, Self::Uwebsockets];

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::HeartwheelServe => "heartwheel serve",
            Self::Uwebsockets => "uwebsockets",
        }
    }

    pub(crate) fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.name() == name)
    }

    /// Adds the program and its arguments to a command.
    fn add_to(self, command: &mut Command, interval: Duration) {
        let [interval, timeout] = [interval, TIMEOUT].map(|time| time.as_millis());
        match self {
            Self::HeartwheelServe => command
                .arg(env!("CARGO_BIN_EXE_heartwheel"))
                .args(["serve", "--ws", "127.0.0.1:0", "--json"])
                .args(["--log-level", "error"])
                .args([
                    "--ping-slack",
                    "off",
                    "--interval",
                    &format!("{interval}ms"),
                ])
                .args(["--timeout", &format!("{timeout}ms")]),
            Self::Uwebsockets => command
                .arg(uwebsockets_program())
                .args([interval.to_string(), timeout.to_string()]),
        };
    }
}

/// Long, for a machine may stand still.
const TIMEOUT: Duration = Duration::from_secs(60);

/// A running server.
pub(crate) struct Server {
    kind: Kind,
    process: Process,
    /// Where callgrind writes what it has counted.
    counted: PathBuf,
}

impl Server {
    pub(crate) fn start(kind: Kind, interval: Duration) -> io::Result<Self> {
        let counted = Path::new(env!("CARGO_TARGET_TMPDIR"))
            .join(format!("callgrind.{}.out", std::process::id()));
        let mut command = Command::new("valgrind");
        command
            .args(["-q", "--tool=callgrind"])
            .arg(format!("--callgrind-out-file={}", counted.display()));
        kind.add_to(&mut command, interval);
        Ok(Self {
            kind,
            process: Process::start(&mut command)?,
            counted,
        })
    }

    pub(crate) fn addr(&self) -> SocketAddr {
        self.process.addr
    }

    /// Ends it, and returns how many instructions it has run.
    pub(crate) fn end(&mut self) -> io::Result<u64> {
        let child = &mut self.process.child;
        match self.kind {
            Kind::HeartwheelServe => kill_process(Pid::from_child(child), Signal::TERM)?,
            // The end of its input ends it.
            Kind::Uwebsockets => drop(child.stdin.take()),
        }
        let status = child.wait()?;
        if !status.success() {
            return Err(io::Error::other(format!("the server ended with {status}")));
        }
        let text = fs::read_to_string(&self.counted)?;
        let total = text.lines().find_map(|line| line.strip_prefix("totals: "));
        total
            .and_then(|total| total.trim().parse().ok())
            .ok_or_else(|| io::Error::other("callgrind tells no total"))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.counted);
    }
}

/// Compiles the server in C++.
pub(crate) fn build_uwebsockets() -> io::Result<()> {
    let source = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/benches/idle/foreign/uwebsockets.cpp"
    );
    uwebsockets::build_or_say(Path::new(source), &uwebsockets_program(), &[])
}

fn uwebsockets_program() -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).join("foreign/uwebsockets")
}
