//! 100 000 real connections: several server processes on one port, and as many of peers, each from an
//! address of its own.

use std::io;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::thread::sleep;
use std::time::Instant;

use serde_json::{Value, json};

use super::control::{Look, Process};
use super::measure::{Load, load_average};
use super::peers::{self, GAPS};
use super::plan::Plan;
use super::report::{figures, quantiles};
use super::subject::{ANSWERED, ENDED, HELD, Kind, LATENESS, Order, Subject};
use super::trace;

pub(crate) fn hold(plan: &Plan) -> io::Result<Value> {
    let load = &plan.many;
    // The kernel deals them out by chance: a tenth is left for the luck of the draw.
    let most = if plan.is_test { 200 } else { MOST };
    let processes = load.connections.div_ceil(most.min(plan.most * 9 / 10));
    println!("\n{load}: {processes} servers on one port");
    let mut servers = start_servers(load, processes)?;
    let resident = resident(&servers)?;
    let start = Instant::now();
    let mut peers = start_peers(load, &servers)?;
    for process in &mut peers {
        // It answers once it has all its connections.
        process.answer()?;
    }
    let took = start.elapsed();
    eprintln!("  all are open");
    sleep(2 * load.interval);
    let grown = self::resident(&servers)? - resident;

    let servers_before = look(&mut servers.processes)?;
    let peers_before = look(&mut peers)?;
    sleep(load.window.max(load.interval));
    let (served, heard) = (look(&mut servers.processes)?, look(&mut peers)?);
    check(load, &served, &heard)?;

    let (round, seen) = (served.since(&servers_before), heard.since(&peers_before));
    let each = round.cpu().as_secs_f64() * 1e6 / round.number(ANSWERED) as f64;
    let bytes = grown / load.connections as f64;
    let (lateness, gaps) = (round.times(LATENESS), seen.times(GAPS));
    println!(
        "  {} held by {processes} servers, opened in {took:.1?}; {bytes:.0} bytes a connection, {each:.2} us \
         CPU a round trip ({} of them); pings late by {} ms at p50, p99, p99.9 and most, gaps wrong by {}",
        served.number(HELD),
        round.number(ANSWERED),
        quantiles(&lateness),
        quantiles(&gaps),
    );
    let calls = trace::count_calls(&mut servers.processes[0], load.window)?;
    println!(
        "  one of them under strace, a round trip: {}",
        trace::show(&calls)
    );
    Ok(json!({
        "connections": served.number(HELD),
        "processes": processes,
        "interval_s": load.interval.as_secs_f64(),
        "opened_in_s": took.as_secs_f64(),
        "bytes_per_connection": bytes,
        "cpu_us_per_round_trip": each,
        "round_trips": round.number(ANSWERED),
        "ping_lateness_us": figures(&lateness),
        "gap_error_us": figures(&gaps),
        "calls_per_round_trip": calls,
        "load_average": load_average()?,
    }))
}

struct Servers {
    addr: SocketAddrV4,
    processes: Vec<Process>,
}

fn start_servers(load: &Load, count: usize) -> io::Result<Servers> {
    let subject = Subject::plain(Kind::Heartwheel, None);
    let mut servers = Servers {
        addr: SocketAddrV4::new(Ipv4Addr::LOCALHOST, 0),
        processes: Vec::new(),
    };
    for _ in 0..count {
        let order = Order {
            port: servers.addr.port(),
            ..load.order(subject)
        };
        let mut server = order.start()?;
        servers.addr = server.hear()?.parse().map_err(io::Error::other)?;
        servers.processes.push(server);
    }
    Ok(servers)
}

fn start_peers(load: &Load, servers: &Servers) -> io::Result<Vec<Process>> {
    let count = servers.processes.len();
    let share = |index: usize| load.connections * index / count;
    let start = |index| {
        let capacity = share(index + 1) - share(index);
        let order = peers::Order {
            server: servers.addr,
            source: Ipv4Addr::new(127, 0, 1 + index as u8, 1),
            interval: load.interval,
            capacity,
            is_secure: false,
        };
        let mut peers = Process::start(&order.to_words())?;
        peers.tell(&format!("open {capacity}"))?;
        Ok(peers)
    };
    (0..count).map(start).collect()
}

fn look(processes: &mut [Process]) -> io::Result<Look> {
    let mut sum = Look::default();
    for process in processes {
        sum.add(&process.look()?);
    }
    Ok(sum)
}

fn resident(servers: &Servers) -> io::Result<f64> {
    let each = servers.processes.iter().map(Process::resident);
    Ok(each.sum::<io::Result<u64>>()? as f64)
}

fn check(load: &Load, served: &Look, heard: &Look) -> io::Result<()> {
    let held = [served, heard].map(|look| look.number(HELD));
    let ended = [served, heard].map(|look| look.number(ENDED));
    if held.iter().any(|held| *held < load.connections as u64) || ended != [0; 2] {
        let lost = format!("of {} servers and peers hold {held:?}", load.connections);
        return Err(io::Error::other(format!("{lost}, and {ended:?} ended")));
    }
    Ok(())
}

/// Connections that a process is to hold: an address has 28 000 ports.
const MOST: usize = 17_000;
