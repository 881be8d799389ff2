//! One run: a server and its peers from the first connection to the last window.

use std::fmt;
use std::io;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::thread::sleep;
use std::time::{Duration, Instant};

use heartwheel::stats::Histogram;
use serde_json::{Value, json};

use super::control::{Look, Process};
use super::ours::{BEYOND, EARLY, OVERDUE, SILENT};
use super::peers::{self, DETECTION, FIRST_GAPS, GAPS, OPENING};
use super::plan::Plan;
use super::report::quantiles;
use super::subject::{ANSWERED, ENDED, HELD, Kind, LATENESS, Order, Subject};

/// How many connections there are and how they are pinged.
#[derive(Clone, Debug)]
pub(crate) struct Load {
    pub(crate) name: &'static str,
    pub(crate) connections: usize,
    pub(crate) interval: Duration,
    pub(crate) timeout: Duration,
    /// For how long the steady state is measured.
    pub(crate) window: Duration,
    /// First a ninth of them comes, then the rest at once, whose memory and arrival are measured.
    pub(crate) in_two_waves: bool,
}

impl Load {
    pub(crate) fn new(name: &'static str, connections: usize, interval: u64) -> Self {
        Self {
            name,
            connections,
            interval: Duration::from_secs(interval),
            // Long, for not every server forgives its peers when the whole machine stood still.
            timeout: Duration::from_secs(30),
            window: Duration::from_secs(8),
            in_two_waves: false,
        }
    }

    pub(crate) fn in_two_waves(self) -> Self {
        Self {
            in_two_waves: true,
            ..self
        }
    }

    pub(crate) fn order(&self, subject: Subject) -> Order {
        Order {
            subject,
            interval: self.interval,
            timeout: self.timeout,
            // One place more than are held, where a limit would count it.
            capacity: self.connections + 1,
            port: 0,
        }
    }
}

impl fmt::Display for Load {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            name,
            connections,
            interval,
            timeout,
            window,
            ..
        } = self;
        write!(
            f,
            "{name}: {connections} connections pinged every {interval:?}, dead after {timeout:?}; \
             {window:?} a run"
        )
    }
}

/// What a run has shown.
#[derive(Clone, Debug)]
pub(crate) struct Run {
    /// Pings answered in the window.
    pub(crate) round_trips: u64,
    /// Processor time of the server for each, and how much of that was spent in the kernel.
    pub(crate) cost: Duration,
    pub(crate) system_share: f64,
    /// The same for each second of the window.
    pub(crate) samples: Vec<Duration>,
    pub(crate) lateness: Histogram,
    pub(crate) gaps: Histogram,
    pub(crate) arrival: Arrival,
    pub(crate) load_average: f64,
}

/// How the last and largest wave of connections came in.
#[derive(Clone, Debug, Default)]
pub(crate) struct Arrival {
    pub(crate) connections: usize,
    pub(crate) took: Duration,
    /// Processor time of the server for each.
    pub(crate) cost: Duration,
    pub(crate) opening: Histogram,
    /// How late pings were meanwhile, and the gaps of the connections that were there before.
    pub(crate) lateness: Histogram,
    pub(crate) gaps: Histogram,
    /// Connections that the kernel, anywhere on the machine, dropped at a full backlog.
    pub(crate) dropped: u64,
    /// Bytes by which the server's resident set grew for each; none where a few came.
    pub(crate) bytes: Option<f64>,
}

/// A server with its peers.
pub(crate) struct Pair {
    // Peers end first, with resets, so that nothing lingers.
    pub(crate) peers: Process,
    pub(crate) server: Process,
}

impl Pair {
    pub(crate) fn start(subject: Subject, load: &Load) -> io::Result<Self> {
        let mut server = load.order(subject).start()?;
        let addr: SocketAddrV4 = server.hear()?.parse().map_err(io::Error::other)?;
        let order = peers::Order {
            server: addr,
            source: Ipv4Addr::LOCALHOST,
            interval: load.interval,
            capacity: load.connections,
            is_secure: subject.is_secure,
        };
        let peers = Process::start(&order.to_words())?;
        Ok(Self { peers, server })
    }

    fn open(&mut self, count: usize) -> io::Result<Look> {
        self.peers.tell(&format!("open {count}"))?;
        self.peers.answer()
    }

    fn looks(&mut self) -> io::Result<(Look, Look)> {
        Ok((self.server.look()?, self.peers.look()?))
    }

    /// Opens all but `held` connections, and tells how that went.
    fn receive(&mut self, held: usize, load: &Load) -> io::Result<Arrival> {
        let (server, peers) = self.looks()?;
        let (dropped, resident) = (dropped()?, self.server.resident()?);
        let start = Instant::now();
        let opened = self.open(load.connections)?.since(&peers);
        let took = start.elapsed();
        let served = self.server.look()?.since(&server);
        let connections = load.connections - held;
        let dropped = self::dropped()? - dropped;
        sleep(load.interval * if held > 0 { 2 } else { 1 });
        let grown = self.server.resident()? as f64 - resident as f64;
        Ok(Arrival {
            connections,
            took,
            cost: served.cpu() / u32::try_from(connections).map_err(io::Error::other)?,
            opening: opened.times(OPENING),
            lateness: served.times(LATENESS),
            gaps: opened.times(FIRST_GAPS),
            dropped,
            bytes: (held > 0).then_some(grown / connections as f64),
        })
    }

    /// Makes sure that everyone who came is still there.
    pub(crate) fn check_held(&mut self, count: usize) -> io::Result<()> {
        let (server, peers) = self.looks()?;
        let held = [&server, &peers].map(|look| (look.number(HELD), look.number(ENDED)));
        if held != [(count as u64, 0); 2] {
            let lost =
                format!("of {count} connections (held, ended) by server and peers: {held:?}");
            return Err(io::Error::other(lost));
        }
        Ok(())
    }
}

/// Runs one server through one load.
pub(crate) fn run(subject: Subject, load: &Load) -> io::Result<Run> {
    let mut pair = Pair::start(subject, load)?;
    let first = if load.in_two_waves {
        load.connections / 9
    } else {
        0
    };
    if first > 0 {
        pair.open(first)?;
        sleep(load.interval);
    }
    let arrival = pair.receive(first, load)?;
    let mut run = measure(&mut pair, load)?;
    run.arrival = arrival;
    pair.check_held(load.connections)?;
    Ok(run)
}

/// Measures the steady state, a second at a time.
fn measure(pair: &mut Pair, load: &Load) -> io::Result<Run> {
    let (server, peers) = pair.looks()?;
    let system = system_time(pair.server.id())?;
    let end = Instant::now() + load.window;
    let mut samples = Vec::new();
    let mut last = server.clone();
    while let left = end.saturating_duration_since(Instant::now())
        && !left.is_zero()
    {
        sleep(left.min(Duration::from_secs(1)));
        let look = pair.server.look()?;
        samples.extend(cost(&look.since(&last)));
        last = look;
    }
    let system = system_time(pair.server.id())? - system;
    let (served, peers) = (last.since(&server), pair.peers.look()?.since(&peers));
    let round_trips = served.number(ANSWERED);
    check_round_trips(load, round_trips)?;
    Ok(Run {
        round_trips,
        cost: cost(&served).unwrap_or_default(),
        system_share: system.as_secs_f64() / served.cpu().as_secs_f64(),
        samples,
        lateness: served.times(LATENESS),
        gaps: peers.times(GAPS),
        arrival: Arrival::default(),
        load_average: load_average()?,
    })
}

fn cost(look: &Look) -> Option<Duration> {
    let round_trips = u32::try_from(look.number(ANSWERED)).ok()?;
    look.cpu().checked_div(round_trips)
}

/// Makes sure that there were as many round trips as the interval asks for, or half of it where the machine stood still.
fn check_round_trips(load: &Load, count: u64) -> io::Result<()> {
    let beats = load.window.as_secs_f64() / load.interval.as_secs_f64();
    let expected = load.connections as f64 * beats;
    if (count as f64) < expected * 0.5 {
        return Err(io::Error::other(format!(
            "{count} round trips where {expected:.0} were due"
        )));
    }
    Ok(())
}

/// Lets many peers fall silent at once, and sees when the server finds out.
pub(crate) fn deaths(plan: &Plan) -> io::Result<Value> {
    let subject = Subject::plain(Kind::Heartwheel, Some(Duration::ZERO));
    let load = &Load {
        timeout: plan.silence,
        ..plan.dense.clone()
    };
    println!(
        "\ndeaths: {} of {} connections fall silent at once",
        plan.deaths, load.connections
    );
    let mut pair = Pair::start(subject, load)?;
    pair.open(load.connections)?;
    sleep(2 * load.interval);
    pair.check_held(load.connections)?;
    pair.peers.tell(&format!("mute {}", plan.deaths))?;
    pair.peers.answer()?;
    let deadline = Instant::now() + 3 * load.timeout + Duration::from_secs(5);
    while pair.server.look()?.number(SILENT) < plan.deaths as u64 && Instant::now() < deadline {
        sleep(load.interval / 20);
    }
    sleep(load.interval / 4);
    let (server, peers) = pair.looks()?;
    let beyond = server.times(BEYOND);
    let counts = [SILENT, EARLY, OVERDUE, ENDED].map(|name| server.number(name));
    let [silent, early, overdue, ended] = counts;
    println!(
        "  {silent} found dead, {early} early, {overdue} later than T + tick + loop delay; beyond T by \
         {} ms at p50, p99, p99.9 and most; seen by the peers after {} ms",
        quantiles(&beyond),
        quantiles(&peers.times(DETECTION)),
    );
    if counts != [plan.deaths as u64, 0, 0, plan.deaths as u64] {
        return Err(io::Error::other(format!(
            "{ended} ended, {silent} of them for silence, {early} early and {overdue} late"
        )));
    }
    Ok(json!({
        "silent": silent, "early": early, "overdue": overdue,
        "beyond_timeout_us": super::report::figures(&beyond),
        "seen_by_peers_us": super::report::figures(&peers.times(DETECTION)),
    }))
}

/// Returns how many connections the kernel dropped because a backlog was full.
fn dropped() -> io::Result<u64> {
    let text = std::fs::read_to_string("/proc/net/netstat")?;
    let lines: Vec<_> = text
        .lines()
        .filter(|line| line.starts_with("TcpExt:"))
        .collect();
    let [names, values] = lines[..] else {
        return Err(io::Error::other("the kernel tells no counters of TCP"));
    };
    let both = names.split(' ').zip(values.split(' '));
    let of = both.filter(|(name, _)| {
        [
            "ListenOverflows",
            "ListenDrops",
            "TCPReqQFullDrop",
            "TCPBacklogDrop",
        ]
        .contains(name)
    });
    Ok(of.filter_map(|(_, value)| value.parse::<u64>().ok()).sum())
}

/// Returns the time that a process has spent in the kernel, to a hundredth of a second.
fn system_time(id: u32) -> io::Result<Duration> {
    let text = std::fs::read_to_string(format!("/proc/{id}/stat"))?;
    let fields = text.rsplit_once(") ").map_or("", |(_, fields)| fields);
    let ticks = fields
        .split(' ')
        .nth(12)
        .and_then(|ticks| ticks.parse().ok());
    Ok(Duration::from_millis(ticks.unwrap_or(0) * 10))
}

/// Returns how many processes were ready to run, over the last minute.
pub(crate) fn load_average() -> io::Result<f64> {
    let text = std::fs::read_to_string("/proc/loadavg")?;
    Ok(text
        .split(' ')
        .next()
        .and_then(|word| word.parse().ok())
        .unwrap_or(0.0))
}
