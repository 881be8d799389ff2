//! Echo over loopback, beside tokio-tungstenite and fastwebsockets.
//!
//! `cargo bench --bench echo`, or with options and a part of a point's name:
//! `cargo bench --bench echo -- --rounds 9 --seconds 0.5 "16 KiB"`
//!
//! Each server is a process of its own with one thread. One peer, which uses none of the three, drives
//! them in turns, round by round, so that whatever else the machine does meets all of them alike. What
//! is printed is the median of the rounds with the least and the most: messages a second, and processor
//! time of the server for each; then how far heartwheel is ahead in both. Above 1 it is.
//!
//! On a busy machine let one core have it all, ahead of everything else: `taskset -c 1 chrt -f 1 cargo
//! bench ...`. Then a message's time is that of the server and of the peer together.

#![allow(clippy::unwrap_used, missing_docs, reason = "a bench")]

#[path = "echo/load.rs"]
mod load;
#[path = "echo/servers.rs"]
mod servers;

use std::env;
use std::io;
use std::time::Duration;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use load::{Crowd, Kind as Messages, Load};
use servers::{Kind, Server};

/// The points of the table.
const LOADS: [Load; 6] = [
    load(64, Messages::Binary, 1, 1),
    load(64, Messages::Binary, 1_000, 1),
    load(16 * 1024, Messages::Binary, 1, 1),
    load(16 * 1024, Messages::Binary, 1_000, 1),
    load(16 * 1024, Messages::Text, 1_000, 1),
    load(64, Messages::Binary, 1, 32),
];

const fn load(size: usize, kind: Messages, connections: usize, window: usize) -> Load {
    Load {
        connections,
        size,
        kind,
        window,
    }
}

fn main() -> io::Result<()> {
    let arguments: Vec<_> = env::args().skip(1).collect();
    if let Some(served) = servers::serve_if_asked(&arguments) {
        return served;
    }
    let plan = Plan::parse(arguments);
    raise_descriptor_limit()?;
    for mut load in LOADS {
        if plan.is_test {
            load.connections = load.connections.min(10);
        }
        let name = load.to_string();
        if plan.only.as_ref().is_none_or(|part| name.contains(part)) {
            println!("{name:44}messages/s             server us a message   ahead by");
            measure(load, &plan)?;
        }
    }
    Ok(())
}

/// What the command line asks for.
struct Plan {
    rounds: usize,
    span: Duration,
    is_test: bool,
    /// A part of the names of the points to measure.
    only: Option<String>,
}

impl Plan {
    fn parse(arguments: Vec<String>) -> Self {
        let mut plan = Self {
            rounds: 7,
            span: Duration::from_secs(1),
            is_test: false,
            only: None,
        };
        let mut arguments = arguments.into_iter();
        while let Some(argument) = arguments.next() {
            let mut value = || arguments.next().expect("a value behind the option");
            match argument.as_str() {
                "--rounds" => plan.rounds = value().parse().unwrap(),
                "--seconds" => plan.span = Duration::from_secs_f64(value().parse().unwrap()),
                "--test" => plan.is_test = true,
                // Cargo says so.
                "--bench" => {}
                _ => plan.only = Some(argument),
            }
        }
        if plan.is_test {
            plan.rounds = 1;
            plan.span = Duration::from_millis(10);
        }
        assert!(plan.rounds > 0, "a median of nothing");
        plan
    }
}

/// One server with the peer's connections to it, and what the rounds have shown.
struct Subject {
    kind: Kind,
    server: Server,
    crowd: Crowd,
    /// Messages a second.
    rates: Vec<f64>,
    /// Microseconds of processor time that the server took for a message.
    costs: Vec<f64>,
}

impl Subject {
    fn start(kind: Kind, load: Load) -> io::Result<Self> {
        let server = Server::start(kind, load.size)?;
        let crowd = Crowd::connect(server.addr, load)?;
        Ok(Self {
            kind,
            server,
            crowd,
            rates: Vec::new(),
            costs: Vec::new(),
        })
    }

    fn run(&mut self, span: Duration) -> io::Result<()> {
        let before = self.server.processor_time()?;
        let echoed = self.crowd.echo(span)?;
        let spent = self.server.processor_time()? - before;
        let messages = echoed.messages as f64;
        self.rates.push(messages / echoed.time.as_secs_f64());
        self.costs.push(spent.as_secs_f64() * 1e6 / messages);
        Ok(())
    }
}

fn measure(load: Load, plan: &Plan) -> io::Result<()> {
    let start = |kind| Subject::start(kind, load);
    let mut subjects = Kind::ALL
        .map(start)
        .into_iter()
        .collect::<Result<Vec<_>, _>>()?;
    for subject in &mut subjects {
        subject.crowd.echo(plan.span / 2)?;
    }
    for _ in 0..plan.rounds {
        for subject in &mut subjects {
            subject.run(plan.span)?;
        }
    }
    let ours = &subjects[0];
    let (our_rate, our_cost) = (Spread::of(&ours.rates), Spread::of(&ours.costs));
    for subject in &subjects {
        let (rate, cost) = (Spread::of(&subject.rates), Spread::of(&subject.costs));
        let name = subject.kind.name();
        print!("  {name:20} {} {}", rate.show(0), cost.show(2));
        if subject.kind == Kind::Heartwheel {
            println!();
        } else {
            let (rate, cost) = (our_rate.median / rate.median, cost.median / our_cost.median);
            println!(" {rate:6.2} {cost:6.2}");
        }
    }
    Ok(())
}

struct Spread {
    least: f64,
    median: f64,
    most: f64,
}

impl Spread {
    fn of(values: &[f64]) -> Self {
        let mut values = values.to_vec();
        values.sort_by(f64::total_cmp);
        Self {
            least: values[0],
            median: values[values.len() / 2],
            most: values[values.len() - 1],
        }
    }

    fn show(&self, decimals: usize) -> String {
        let range = format!("({:.decimals$}..{:.decimals$})", self.least, self.most);
        format!("{:9.decimals$} {range:20}", self.median)
    }
}

/// A thousand connections to each of three servers at once: more than some systems start with.
fn raise_descriptor_limit() -> io::Result<()> {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: limit.maximum,
        maximum: limit.maximum,
    };
    Ok(setrlimit(Resource::Nofile, raised)?)
}
