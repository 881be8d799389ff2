//! How long turns are, and how late pings, while much is asked of the loop at once.
//!
//! `cargo bench --bench turns` holds many WebSocket connections on loopback, whose peers live in other
//! processes. Each case has a fresh loop; its figures are those from when the trouble began. `cpu` is what one
//! turn takes of this thread, the kernel's part too. `delay` is what `Turn::delay` says: how late the wait
//! ended, and the turn's length on the wall, where the peers and whatever else the machine does count too.
//! `pings` is how late pings of all connections were written.
//!
//! Options, with their defaults: `--connections 18000`, `--seconds 10`, and `--cases` with some of those
//! that `Case::ALL` lists, separated by commas. Both sides of all connections need descriptors: the limit of
//! each process must be higher than the number of connections. `--test` runs all of it small.

#![allow(clippy::unwrap_used, missing_docs, reason = "a bench")]

#[path = "turns/peers.rs"]
mod peers;
#[path = "turns/server.rs"]
mod server;

use std::env;
use std::io;
use std::time::Duration;

use peers::{Manner, Peers};
use server::{Figures, Server, TIMEOUT};

fn main() -> io::Result<()> {
    let args: Vec<_> = env::args().skip(1).collect();
    if let Some(manner) = Manner::of_child(&args) {
        return peers::run(&args[1..], manner);
    }
    let plan = Plan::parse(&args);
    let Plan { connections, .. } = plan;
    println!("{connections} connections, {:?} for each case", plan.span);
    for case in &plan.cases {
        let figures = plan.run(*case)?;
        println!("  {:<10}{figures}", case.name());
    }
    Ok(())
}

/// What is asked of the loop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Case {
    /// Nothing but heartbeats.
    Idle,
    /// A message for everybody, twice a second.
    Broadcast,
    /// A message for everybody a hundred times a second, from a handler that sends one by one.
    OneByOne,
    /// A thousand peers that send without pause.
    Senders,
    /// Peers that all come at once.
    Arrival,
    /// Peers that all end at once, because their process is killed.
    Death,
    /// Peers that all fall silent at once, because their process is stopped.
    Silence,
    /// A drain whose window is short.
    Drain,
}

impl Case {
    const ALL: [Self; 8] = [
        Self::Idle,
        Self::Broadcast,
        Self::OneByOne,
        Self::Senders,
        Self::Arrival,
        Self::Death,
        Self::Silence,
        Self::Drain,
    ];

    const fn name(self) -> &'static str {
        match self {
            Self::Idle => "idle",
            Self::Broadcast => "broadcast",
            Self::OneByOne => "one by one",
            Self::Senders => "senders",
            Self::Arrival => "arrival",
            Self::Death => "death",
            Self::Silence => "silence",
            Self::Drain => "drain",
        }
    }
}

struct Plan {
    connections: usize,
    span: Duration,
    cases: Vec<Case>,
}

impl Plan {
    fn parse(args: &[String]) -> Self {
        let is_test = args.iter().any(|arg| arg == "--test");
        let mut plan = Self {
            connections: if is_test { 100 } else { 18_000 },
            span: Duration::from_secs(if is_test { 1 } else { 10 }),
            cases: Case::ALL.to_vec(),
        };
        for pair in args.windows(2) {
            match pair[0].as_str() {
                "--connections" => plan.connections = pair[1].parse().unwrap(),
                "--seconds" => plan.span = Duration::from_secs(pair[1].parse().unwrap()),
                "--cases" => plan.cases = pair[1].split(',').map(case_named).collect(),
                _ => {}
            }
        }
        plan
    }

    /// Runs one case. A tenth of the peers stays as it is whatever befalls the others.
    fn run(&self, case: Case) -> io::Result<Figures> {
        let calm = self.connections / 10;
        let others = self.connections - calm;
        let mut server = Server::start()?;
        let manner = match case {
            Case::Senders => Manner::Talks,
            Case::Arrival => Manner::Comes,
            _ => Manner::Quiet,
        };
        let _steady = Peers::start(server.addr(), calm, Manner::Quiet)?;
        let mut peers = Peers::start(server.addr(), others, manner)?;
        let there = if case == Case::Arrival {
            calm
        } else {
            self.connections
        };
        server.hold(there);
        server.run(Duration::from_secs(1));
        let before = server.begin();
        match case {
            Case::Idle => {}
            Case::Broadcast => server.broadcast_every(Duration::from_millis(500)),
            Case::OneByOne => server.send_every(Duration::from_millis(500)),
            Case::Senders | Case::Arrival => peers.go()?,
            Case::Death => peers.kill(),
            Case::Silence => peers.stop(),
            Case::Drain => server.drain(Duration::from_millis(500)),
        }
        if case == Case::Silence {
            // Nobody is found silent earlier: those turns tell nothing.
            server.run(TIMEOUT.saturating_sub(self.span));
        }
        server.run(self.span);
        Ok(server.figures(&before))
    }
}

fn case_named(name: &str) -> Case {
    let found = Case::ALL.into_iter().find(|case| case.name() == name);
    found.unwrap_or_else(|| panic!("no case {name}"))
}
