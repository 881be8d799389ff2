#[expect(dead_code, reason = "figures are not written as JSON")]
#[path = "../echo/cores.rs"]
mod cores;
mod crowd;
#[path = "../support/descriptors.rs"]
mod descriptors;
#[path = "../support/dial.rs"]
mod dial;
#[path = "../support/process.rs"]
mod process;
mod servers;
#[expect(dead_code, reason = "figures are neither written nor read back")]
#[path = "../support/spread.rs"]
mod spread;
#[path = "../support/uwebsockets.rs"]
mod uwebsockets;

use std::env;
use std::io;
use std::time::Duration;

use cores::Cores;
use crowd::{Crowd, Load};
use descriptors::raise_descriptor_limit;
use servers::{Kind, Server};
use spread::Spread;

/// The points of the table.
const LOADS: [Load; 8] = [
    load(64, 1_000, 1, 1),
    load(64, 1_000, 1, 16),
    load(1_024, 1_000, 1, 16),
    load(64, 10_000, 1, 1),
    load(64, 10_000, 1, 4),
    load(1_024, 10_000, 1, 4),
    load(64, 10_000, 10_000, 256),
    load(1_024, 10_000, 10_000, 256),
];

const fn load(size: usize, connections: usize, topics: usize, burst: usize) -> Load {
    Load {
        size,
        connections,
        topics,
        burst,
    }
}

pub(crate) fn main() -> io::Result<()> {
    let arguments: Vec<_> = env::args().skip(1).collect();
    if let Some(served) = servers::serve_if_asked(&arguments) {
        return served;
    }
    let plan = Plan::parse(&arguments);
    raise_descriptor_limit()?;
    if plan.servers.contains(&Kind::Uwebsockets) {
        servers::build_uwebsockets()?;
    }
    let cores = Cores::choose()?;
    println!("{cores}");
    for mut load in LOADS {
        if plan.is_test {
            load.connections /= 100;
            load.topics = load.topics.min(load.connections);
        }
        if plan
            .only
            .as_ref()
            .is_none_or(|part| load.to_string().contains(part))
        {
            measure(load, &plan, &cores)?;
        }
    }
    Ok(())
}

/// What one round has shown of one server.
#[derive(Clone, Copy, Debug)]
struct Run {
    /// Messages that arrived in a second.
    rate: f64,
    /// Microseconds of processor time that the server took for each of them.
    cost: f64,
}

/// Lets the servers publish in turns, and says how they compare.
fn measure(load: Load, plan: &Plan, cores: &Cores) -> io::Result<()> {
    println!("\n{load}");
    let mut runs: Vec<Vec<Run>> = plan.servers.iter().map(|_| Vec::new()).collect();
    for _ in 0..plan.rounds {
        for (kind, runs) in plan.servers.iter().zip(&mut runs) {
            let run = run(*kind, load, plan.span, cores);
            let name = kind.name();
            runs.push(run.map_err(|error| io::Error::other(format!("{name}: {error}")))?);
        }
    }
    println!(
        "  {:14}{:>36}{:>26}   ahead by",
        "", "arrived/s", "server us for each"
    );
    let spreads = runs.iter().map(|runs| {
        let rate = Spread::of(runs.iter().map(|run| run.rate));
        (rate, Spread::of(runs.iter().map(|run| run.cost)))
    });
    let spreads: Vec<_> = spreads.collect();
    for (kind, (rate, cost)) in plan.servers.iter().zip(&spreads) {
        print!(
            "  {:14}{:>36}{:>26}",
            kind.name(),
            rate.show(0),
            cost.show(3)
        );
        if *kind == Kind::Uwebsockets {
            let (ours, our_cost) = &spreads[0];
            let ahead = (ours.median / rate.median, cost.median / our_cost.median);
            print!(" {:6.2} {:6.2}", ahead.0, ahead.1);
        }
        println!();
    }
    Ok(())
}

/// Starts a server, warms it up, and measures it.
fn run(kind: Kind, load: Load, span: Duration, cores: &Cores) -> io::Result<Run> {
    let server = cores.place_server(|| Server::start(kind))?;
    let mut crowd = Crowd::connect(server.addr(), load)?;
    crowd.publish(span / 2)?;
    let before = server.processor_time()?;
    let (arrived, time) = crowd.publish(span)?;
    let spent = server.processor_time()? - before;
    Ok(Run {
        rate: arrived as f64 / time.as_secs_f64(),
        cost: spent.as_secs_f64() * 1e6 / arrived as f64,
    })
}

/// What the command line asks for.
struct Plan {
    rounds: usize,
    span: Duration,
    /// Ours is the first.
    servers: Vec<Kind>,
    is_test: bool,
    /// A part of the names of the points to measure.
    only: Option<String>,
}

impl Plan {
    fn parse(arguments: &[String]) -> Self {
        let mut plan = Self {
            rounds: 5,
            span: Duration::from_secs(1),
            servers: vec![Kind::Heartwheel],
            is_test: false,
            only: None,
        };
        let mut arguments = arguments.iter();
        while let Some(argument) = arguments.next() {
            let mut value = || arguments.next().expect("an option has a value");
            match argument.as_str() {
                // Cargo says so.
                "--bench" => {}
                "--test" => plan.is_test = true,
                "--rounds" => plan.rounds = value().parse().unwrap(),
                "--seconds" => plan.span = Duration::from_secs_f64(value().parse().unwrap()),
                "--servers" => plan.servers = value().split(',').map(Kind::named).collect(),
                part => plan.only = Some(part.to_owned()),
            }
        }
        if plan.is_test {
            plan.rounds = 1;
            plan.span = Duration::from_millis(10);
        }
        plan
    }
}
