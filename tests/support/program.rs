//! The program under test.

use std::net::{Ipv4Addr, SocketAddr};
use std::process::Command;

use rustix::process::Signal;
use serde_json::Value;

use super::Wire;
#[cfg(target_os = "linux")]
use super::netns::Host;
use super::process::{Line, Process};
use super::record::Record;

const PROGRAM: &str = env!("CARGO_BIN_EXE_heartwheel");

/// What to say should it be missing.
const BUILT: &str = "`cargo test` builds it";

/// Returns a command that runs the program.
pub(crate) fn heartwheel(args: &[&str]) -> Command {
    let mut command = Command::new(PROGRAM);
    command
        .args(args)
        .env_remove("RUST_LOG")
        .env_remove("RUST_BACKTRACE");
    command
}

/// Runs the program with its output and input in the test's hands.
pub(crate) fn start(args: &[&str]) -> Process {
    Process::spawn(&mut heartwheel(args), BUILT)
}

/// Runs the program on another host.
#[cfg(target_os = "linux")]
pub(crate) fn start_on(host: &Host, args: &[&str]) -> Process {
    Process::spawn(heartwheel_on(host).args(args), "")
}

#[cfg(target_os = "linux")]
fn heartwheel_on(host: &Host) -> Command {
    let mut command = host.command(PROGRAM);
    command.env_remove("RUST_LOG").env_remove("RUST_BACKTRACE");
    command
}

/// A `heartwheel serve` on free ports that reports in JSON.
pub(crate) struct Server {
    process: Process,
    host: Ipv4Addr,
}

impl Server {
    /// Starts it with a listener for each of the wires.
    pub(crate) fn start(wires: &[Wire], args: &[&str]) -> Self {
        Self::spawn(heartwheel(&[]), BUILT, Ipv4Addr::LOCALHOST, wires, args)
    }

    /// Starts it as the command of another program, which must run it in its own place.
    pub(crate) fn start_under(mut other: Command, wires: &[Wire], args: &[&str]) -> Self {
        let install = format!(
            "install the package {}",
            other.get_program().to_string_lossy()
        );
        other.arg(PROGRAM);
        Self::spawn(other, &install, Ipv4Addr::LOCALHOST, wires, args)
    }

    /// Starts it on another host.
    #[cfg(target_os = "linux")]
    pub(crate) fn start_on(host: &Host, wires: &[Wire], args: &[&str]) -> Self {
        Self::spawn(heartwheel_on(host), "", host.addr(), wires, args)
    }

    fn spawn(
        mut command: Command,
        missing: &str,
        host: Ipv4Addr,
        wires: &[Wire],
        args: &[&str],
    ) -> Self {
        command.args(["serve", "--json"]);
        for wire in wires {
            command.args([wire.listener(), &format!("{host}:0")]);
        }
        command.args(args);
        Self {
            process: Process::spawn(&mut command, missing),
            host,
        }
    }

    pub(crate) fn process(&self) -> &Process {
        &self.process
    }

    pub(crate) fn process_mut(&mut self) -> &mut Process {
        &mut self.process
    }

    /// Returns the port it listens on for a wire.
    pub(crate) fn port(&self, wire: Wire) -> u16 {
        self.process
            .wait_for(&format!("listening {}", wire.label()), |line| {
                let event = line
                    .event("listening")
                    .filter(|event| event["wire"] == wire.label())?;
                let address = event["addr"].as_str()?;
                address.rsplit_once(':')?.1.parse().ok()
            })
    }

    /// Returns the URL of a wire's listener, as clients take it.
    pub(crate) fn url(&self, wire: Wire) -> String {
        format!("{}://{}", wire.label(), self.addr(wire))
    }

    /// Returns where it listens for a wire.
    pub(crate) fn addr(&self, wire: Wire) -> SocketAddr {
        (self.host, self.port(wire)).into()
    }

    /// Waits until a connection from this local port is open.
    pub(crate) fn wait_open(&self, peer_port: u16) {
        self.process
            .wait_for(&format!("open from port {peer_port}"), |line| {
                line.event("open")
                    .filter(|event| is_from(event, peer_port))
                    .map(drop)
            });
    }

    /// Waits for the first connection of all, and returns its name.
    pub(crate) fn wait_first_open(&self) -> String {
        self.process.wait_for("open", |line| {
            line.event("open")?["id"].as_str().map(str::to_owned)
        })
    }

    /// Waits for the end of the only connection.
    pub(crate) fn wait_closed(&self) -> (Line, Record) {
        self.process.wait_for("closed", |line| {
            line.event("closed")
                .map(|event| (line.clone(), Record(event.clone())))
        })
    }

    /// Waits for the end of the connection of this name.
    pub(crate) fn wait_closed_as(&self, id: &str) -> Record {
        self.process.wait_for(&format!("closed {id}"), |line| {
            line.event("closed")
                .filter(|event| event["id"] == id)
                .map(|event| Record(event.clone()))
        })
    }

    /// Waits for the end of the connection from this local port.
    pub(crate) fn wait_closed_from(&self, peer_port: u16) -> Record {
        self.process
            .wait_for(&format!("closed from port {peer_port}"), |line| {
                closed_from(line, peer_port)
            })
    }

    /// Returns the end of the connection from this local port, if it has come.
    pub(crate) fn closed_from(&self, peer_port: u16) -> Option<Record> {
        self.process.find(|line| closed_from(line, peer_port))
    }

    /// Ends the program and returns its summary.
    pub(crate) fn finish(mut self) -> Value {
        self.process.signal(Signal::TERM);
        let status = self.process.wait_exit();
        assert!(status.success(), "{status}\n{}", self.process.transcript());
        self.process
            .wait_for("summary", |line| line.event("summary").cloned())
    }
}

fn closed_from(line: &Line, port: u16) -> Option<Record> {
    line.event("closed")
        .filter(|event| is_from(event, port))
        .map(|event| Record(event.clone()))
}

fn is_from(event: &Value, port: u16) -> bool {
    event["peer"]
        .as_str()
        .is_some_and(|peer| peer.ends_with(&format!(":{port}")))
}
