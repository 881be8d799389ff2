mod compressed;
mod cores;
#[path = "../support/descriptors.rs"]
mod descriptors;
#[path = "../support/dial.rs"]
mod dial;
mod load;
#[path = "../support/machine.rs"]
mod machine;
mod plan;
#[path = "../support/process.rs"]
mod process;
mod report;
mod servers;
#[expect(dead_code, reason = "figures are not read back")]
#[path = "../support/spread.rs"]
mod spread;
#[path = "../support/uwebsockets.rs"]
mod uwebsockets;

use std::env;
use std::fs;
use std::io;

use serde_json::{Value, json};

use cores::Cores;
use descriptors::raise_descriptor_limit;
use load::{Crowd, Kind as Messages, Load};
use plan::Plan;
use report::{Row, Run};
use servers::{Kind, Server};

/// The points of the table.
const LOADS: [Load; 9] = [
    load(64, Messages::Binary, 1, 1),
    load(64, Messages::Binary, 100, 1),
    load(64, Messages::Binary, 100, 32),
    load(512, Messages::Binary, 1_000, 1),
    load(16 * 1024, Messages::Binary, 100, 1),
    load(16 * 1024, Messages::Text, 100, 1),
    load(1024 * 1024, Messages::Binary, 16, 1),
    load(512, Messages::Compressed, 100, 1),
    load(16 * 1024, Messages::Compressed, 100, 1),
];

const fn load(size: usize, kind: Messages, connections: usize, window: usize) -> Load {
    Load {
        connections,
        size,
        kind,
        window,
    }
}

pub(crate) fn main() -> io::Result<()> {
    let arguments: Vec<_> = env::args().skip(1).collect();
    if let Some(served) = servers::serve_if_asked(&arguments) {
        return served;
    }
    let plan = Plan::parse(arguments)?;
    raise_descriptor_limit()?;
    if plan.servers.contains(&Kind::Uwebsockets) {
        servers::build_uwebsockets()?;
    }
    let machine = machine::machine();
    let cores = Cores::choose()?;
    println!("{cores}");
    let mut points: Vec<Value> = Vec::new();
    for mut load in LOADS {
        if plan.is_test {
            load.connections = load.connections.min(10);
        }
        if plan.asks_for(&load.to_string()) {
            points.push(measure(load, &plan, &cores)?);
            let report = json!({
                "machine": &machine, "cores": cores.to_json(), "plan": plan.to_json(),
                "points": &points,
            });
            if let Some(path) = &plan.json {
                fs::write(path, format!("{report:#}\n"))?;
            }
        }
    }
    Ok(())
}

/// Lets the servers echo in turns, and says how they compare.
fn measure(load: Load, plan: &Plan, cores: &Cores) -> io::Result<Value> {
    println!("\n{load}");
    let servers = plan.servers.iter().copied();
    let servers: Vec<_> = servers.filter(|kind| kind.serves(load.kind)).collect();
    let mut runs: Vec<Vec<Run>> = servers.iter().map(|_| Vec::new()).collect();
    for round in 1..=plan.rounds {
        eprintln!("  round {round} of {}", plan.rounds);
        for (kind, runs) in servers.iter().zip(&mut runs) {
            let run = run(*kind, load, plan, cores);
            runs.push(run.map_err(|error| {
                io::Error::other(format!("{} with {load}: {error}", kind.name()))
            })?);
        }
    }
    let rows = servers.iter().zip(&runs);
    let rows: Vec<_> = rows.map(|(kind, runs)| Row::new(*kind, runs)).collect();
    report::print(load, &rows);
    Ok(report::to_json(load, &rows))
}

/// Starts a server, warms it up, and measures it.
fn run(kind: Kind, load: Load, plan: &Plan, cores: &Cores) -> io::Result<Run> {
    let server = cores.place_server(|| Server::start(kind, load))?;
    let mut crowd = Crowd::connect(server.addr(), load)?;
    crowd.echo(plan.span / 2)?;
    let before = server.processor_time()?;
    let echoed = crowd.echo(plan.span)?;
    let spent = server.processor_time()? - before;
    let messages = echoed.messages as f64;
    Ok(Run {
        rate: messages / echoed.time.as_secs_f64(),
        cost: spent.as_secs_f64() * 1e6 / messages,
        answer: crowd.answer(),
    })
}
