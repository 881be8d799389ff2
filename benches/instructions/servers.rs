//! The servers under test, each in a process of its own that callgrind watches.

use std::fs;
use std::io::{self, BufReader};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

use super::dial::read_addr;
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
    child: Child,
    /// Kept open: what the program says of its connections is not of interest, but no error.
    _output: BufReader<ChildStdout>,
    pub(crate) addr: SocketAddr,
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
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let output = child.stdout.take().expect("its output is piped");
        let mut output = BufReader::new(output);
        let addr = read_addr(&mut output);
        if addr.is_err() {
            let _ = child.kill();
        }
        Ok(Self {
            kind,
            child,
            _output: output,
            addr: addr?,
            counted,
        })
    }

    /// Ends it, and returns how many instructions it has run.
    pub(crate) fn end(&mut self) -> io::Result<u64> {
        match self.kind {
            Kind::HeartwheelServe => {
                kill_process(Pid::from_child(&self.child), Signal::TERM)?;
            }
            // The end of its input ends it.
            Kind::Uwebsockets => drop(self.child.stdin.take()),
        }
        let status = self.child.wait()?;
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
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = fs::remove_file(&self.counted);
    }
}

/// Compiles the server in C++.
pub(crate) fn build_uwebsockets() -> io::Result<()> {
    let source = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/benches/idle/foreign/uwebsockets.cpp"
    );
    uwebsockets::build(Path::new(source), &uwebsockets_program()).map_err(|error| {
        let needs = uwebsockets::NEEDS;
        io::Error::other(format!("uwebsockets needs {needs}: {error}"))
    })
}

fn uwebsockets_program() -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).join("foreign/uwebsockets")
}
