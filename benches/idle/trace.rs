//! System calls of a round trip, counted by strace, which slows a server down too much to measure
//! anything else meanwhile.

use std::collections::BTreeMap;
use std::io::{self, BufRead, BufReader, Read};
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Map, Value, json};

use super::control::Process;
use super::measure::{Load, Pair};
use super::plan::Plan;
use super::subject::{ANSWERED, Kind, Subject};

/// Counts the calls of every server in this program in turn.
pub(crate) fn count(plan: &Plan) -> io::Result<Value> {
    let load = Load {
        interval: plan.dense.interval,
        ..plan.sparse.clone()
    };
    println!(
        "\nsyscalls: a round trip of {} connections pinged every {:?}, under strace",
        load.connections, load.interval
    );
    let mut counted = Map::new();
    for kind in Kind::OWN {
        let slack = Some(Duration::ZERO);
        let calls = count_one(Subject::plain(kind, slack), &load, plan.is_test)?;
        println!("  {:28}{}", kind.name(), show(&calls));
        if matches!(kind, Kind::Floor | Kind::Heartwheel) {
            check(&calls)?;
        }
        counted.insert(kind.name().to_owned(), json!(calls));
    }
    Ok(counted.into())
}

fn count_one(subject: Subject, load: &Load, is_test: bool) -> io::Result<Calls> {
    let mut pair = Pair::start(subject, load)?;
    pair.peers.tell(&format!("open {}", load.connections))?;
    pair.peers.answer()?;
    sleep(2 * load.interval);
    let window = if is_test { load.window } else { WINDOW };
    let calls = count_calls(&mut pair.server, window)?;
    pair.check_held(load.connections)?;
    Ok(calls)
}

/// How often each system call was made for a ping answered, by name.
pub(crate) type Calls = BTreeMap<String, f64>;

/// Counts the calls of a server for a time.
pub(crate) fn count_calls(server: &mut Process, window: Duration) -> io::Result<Calls> {
    let trace = Trace::attach(server.id())?;
    let before = server.look()?;
    sleep(window);
    let looked = server.look()?.since(&before);
    let calls = trace.end()?;
    let round_trips = looked.number(ANSWERED) as f64;
    let each = calls
        .into_iter()
        .map(|(name, count)| (name, count as f64 / round_trips));
    // What the looks themselves took is left out.
    Ok(each.filter(|(_, each)| *each >= 0.001).collect())
}

pub(crate) fn show(calls: &Calls) -> String {
    let shown = calls
        .iter()
        .map(|(name, count)| format!("{name} {count:.3}"));
    shown.collect::<Vec<_>>().join(", ")
}

/// One write and one read a round trip, give or take what lies across the ends of the window.
fn check(calls: &Calls) -> io::Result<()> {
    let of = |kind: &str| -> f64 {
        let named = calls.iter().filter(|(name, _)| name.contains(kind));
        named.map(|(_, each)| each).sum()
    };
    let own = of("read") + of("recv") + of("write") + of("send");
    let waits = of("epoll_pwait") + of("epoll_wait");
    let others = calls.values().sum::<f64>() - own - waits;
    if !(1.7..=2.3).contains(&own) || waits > 2.1 || others > 0.3 {
        return Err(io::Error::other(format!(
            "{own} reads and writes, {waits} waits: {calls:?}"
        )));
    }
    Ok(())
}

/// A running strace.
struct Trace {
    strace: Child,
    output: BufReader<std::process::ChildStderr>,
}

impl Trace {
    fn attach(id: u32) -> io::Result<Self> {
        let strace = Command::new("strace")
            .args(["-c", "-f", "-p", &id.to_string()])
            .stderr(Stdio::piped())
            .spawn();
        let mut strace = strace.map_err(|error| {
            io::Error::other(format!(
                "install strace, which counts system calls: {error}"
            ))
        })?;
        let output = BufReader::new(strace.stderr.take().expect("it is piped"));
        let mut trace = Self { strace, output };
        let mut line = String::new();
        trace.output.read_line(&mut line)?;
        if !line.contains("attached") {
            return Err(io::Error::other(format!("strace did not attach: {line}")));
        }
        Ok(trace)
    }

    /// Ends it and returns how often it saw each call.
    fn end(mut self) -> io::Result<BTreeMap<String, u64>> {
        let id = Pid::from_child(&self.strace);
        kill_process(id, Signal::INT)?;
        let mut calls = BTreeMap::new();
        for line in self.output.by_ref().lines() {
            // Percent, seconds, microseconds a call, calls, perhaps errors, and the name.
            let line = line?;
            let words: Vec<_> = line.split_whitespace().collect();
            if let [share, _, _, count, .., name] = words[..]
                && share.parse::<f64>().is_ok()
                && let Ok(count) = count.parse()
                && name != "total"
            {
                calls.insert(name.to_owned(), count);
            }
        }
        self.strace.wait()?;
        Ok(calls)
    }
}

const WINDOW: Duration = Duration::from_secs(4);
