//! The program under test.

use std::process::Command;

use super::Wire;
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

/// A `heartwheel serve` on free ports that reports in JSON.
pub(crate) struct Server {
    process: Process,
}

impl Server {
    /// Starts it with a listener for each of the wires.
    pub(crate) fn start(wires: &[Wire], args: &[&str]) -> Self {
        Self::spawn(heartwheel(&[]), BUILT, wires, args)
    }

    /// Starts it as the command of another program, which must run it in its own place.
    pub(crate) fn start_under(mut other: Command, wires: &[Wire], args: &[&str]) -> Self {
        let install = format!(
            "install the package {}",
            other.get_program().to_string_lossy()
        );
        other.arg(PROGRAM);
        Self::spawn(other, &install, wires, args)
    }

    fn spawn(mut command: Command, missing: &str, wires: &[Wire], args: &[&str]) -> Self {
        command.args(["serve", "--json"]);
        for wire in wires {
            command.args([wire.listener(), "127.0.0.1:0"]);
        }
        command.args(args);
        Self {
            process: Process::spawn(&mut command, missing),
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
        let port = self.port(wire);
        format!("{}://127.0.0.1:{port}", wire.label())
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
                line.event("closed")
                    .filter(|event| is_from(event, peer_port))
                    .map(|event| Record(event.clone()))
            })
    }
}

fn is_from(event: &serde_json::Value, port: u16) -> bool {
    event["peer"]
        .as_str()
        .is_some_and(|peer| peer.ends_with(&format!(":{port}")))
}
