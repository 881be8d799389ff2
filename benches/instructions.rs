//! User-space instructions of a heartbeat round trip, which depend far less on the machine than time does.
//!
//! `cargo bench --bench instructions` needs the package valgrind. A server runs under its tool callgrind,
//! with a ping a second on each of many connections, once for a few beats and once for more: what the
//! longer run has more, shared out over the round trips that it has more, is what one takes. Connecting,
//! and whatever else both do once, falls out; timers and wake-ups are in. The kernel's work is not counted.
//! More connections share a wake-up, so that each costs less, and a busy machine shifts the figure by some
//! per cent: compare servers of one run.
//!
//! Options, with their defaults: `--connections 400`, `--beats 4,16` and `--servers "heartwheel serve"`.
//! `--servers "heartwheel serve,uwebsockets"` adds the server of `benches/idle/foreign/uwebsockets.cpp`,
//! whose pings come from one timer of 10 ms; it is compiled first and needs a compiler for C++. Each run
//! takes as many seconds as it has beats, and some for the start. `--test` runs all of it small, or
//! nothing where there is no valgrind.

#![allow(clippy::unwrap_used, missing_docs, reason = "a bench")]

#[path = "support/dial.rs"]
mod dial;
#[path = "instructions/peers.rs"]
mod peers;
#[expect(
    dead_code,
    reason = "instructions are counted, and valgrind ends with its program"
)]
#[path = "support/process.rs"]
mod process;
#[path = "instructions/servers.rs"]
mod servers;
#[path = "support/uwebsockets.rs"]
mod uwebsockets;

use std::env;
use std::io;
use std::process::{Command, ExitCode};
use std::thread::sleep;
use std::time::Duration;

use peers::Peers;
use servers::{Kind, Server};

fn main() -> io::Result<ExitCode> {
    let plan = Plan::parse(env::args().skip(1))?;
    if let Err(error) = Command::new("valgrind").arg("--version").output() {
        eprintln!("install the package valgrind, which counts instructions: {error}");
        return Ok(if plan.is_test {
            ExitCode::SUCCESS
        } else {
            ExitCode::from(2)
        });
    }
    if plan.servers.contains(&Kind::Uwebsockets) {
        servers::build_uwebsockets()?;
    }
    let (connections, [few, many]) = (plan.connections, plan.beats);
    println!("{connections} connections, the difference of {many} beats and {few}");
    for kind in &plan.servers {
        let [short, long] = plan.beats.map(|beats| plan.count(*kind, beats));
        let (short, long) = (short?, long?);
        let trips = long.trips - short.trips;
        let each = (long.instructions as f64 - short.instructions as f64) / trips as f64;
        let name = kind.name();
        println!("  {name:20}{each:8.0} instructions a round trip ({trips} round trips)");
    }
    Ok(ExitCode::SUCCESS)
}

/// What the command line asks for.
#[derive(Debug)]
struct Plan {
    connections: usize,
    /// Round trips of each connection, in the short run and in the long one.
    beats: [u64; 2],
    interval: Duration,
    servers: Vec<Kind>,
    is_test: bool,
}

/// What one run came to.
#[derive(Clone, Copy, Debug)]
struct Counted {
    instructions: u64,
    trips: u64,
}

impl Plan {
    fn parse(mut arguments: impl Iterator<Item = String>) -> io::Result<Self> {
        let mut plan = Self {
            connections: 400,
            beats: [4, 16],
            interval: Duration::from_secs(1),
            servers: vec![Kind::HeartwheelServe],
            is_test: false,
        };
        while let Some(argument) = arguments.next() {
            match argument.as_str() {
                // Cargo says so.
                "--bench" => {}
                "--test" => {
                    plan.is_test = true;
                    plan.connections = 20;
                    plan.beats = [1, 3];
                    plan.interval = Duration::from_millis(250);
                }
                option => {
                    let value = arguments.next();
                    plan.set(option, value.as_deref())
                        .ok_or_else(|| io::Error::other(format!("what is {option} {value:?}?")))?;
                }
            }
        }
        Ok(plan)
    }

    fn set(&mut self, option: &str, value: Option<&str>) -> Option<()> {
        let value = value?;
        match option {
            "--connections" => {
                self.connections = value.parse().ok().filter(|count| *count > 0)?;
            }
            "--beats" => {
                let (few, many) = value.split_once(',')?;
                let beats = [few.parse().ok()?, many.parse().ok()?];
                self.beats = Some(beats).filter(|[few, many]| few < many)?;
            }
            "--servers" => {
                self.servers = value.split(',').map(Kind::named).collect::<Option<_>>()?;
            }
            _ => return None,
        }
        Some(())
    }

    /// Runs a server until its peers have answered so many beats.
    fn count(&self, kind: Kind, beats: u64) -> io::Result<Counted> {
        eprintln!("  {}: {beats} beats under callgrind", kind.name());
        let mut server = Server::start(kind, self.interval)?;
        let mut peers = Peers::connect(server.addr(), self.connections)?;
        let trips = peers.answer(beats * self.connections as u64)?;
        // The last answers are on their way.
        sleep(Duration::from_millis(300));
        drop(peers);
        Ok(Counted {
            instructions: server.end()?,
            trips,
        })
    }
}
