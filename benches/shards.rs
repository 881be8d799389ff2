//! What more loops are worth on more cores, where the loop is what costs.
//!
//! `cargo bench --bench shards`, or with options: `cargo bench --bench shards -- --rounds 9 --seconds 2`
//!
//! `heartwheel serve --mode sink` takes messages of two bytes, in writes of thousands, so that nearly
//! all time is the server's own: a peer only hands over what it has made ready. Rounds with one loop and
//! with two alternate. What is counted is what the server says it has read.

#![allow(clippy::unwrap_used, missing_docs, reason = "a bench")]

use std::env;
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

/// Connections: enough that the kernel deals each loop about as many.
const CONNECTIONS: usize = 64;

/// A text message of two bytes, masked with zeros.
const MESSAGE: [u8; 8] = [0x81, 0x82, 0, 0, 0, 0, b'h', b'i'];

fn main() {
    let arguments: Vec<_> = env::args().skip(1).collect();
    let option = |name: &str| {
        let place = arguments.iter().position(|argument| argument == name)?;
        arguments.get(place + 1)?.parse::<f64>().ok()
    };
    let is_test = arguments.iter().any(|argument| argument == "--test");
    let rounds = option("--rounds").map_or(if is_test { 1 } else { 7 }, |rounds| rounds as usize);
    let seconds = option("--seconds").unwrap_or(if is_test { 0.2 } else { 2.0 });
    let span = Duration::from_secs_f64(seconds);

    let cores = thread::available_parallelism().unwrap();
    println!("{CONNECTIONS} connections, messages of 2 bytes, {cores} cores");
    println!("round   one loop        two loops       ratio");
    let mut ratios = Vec::new();
    for round in 1..=rounds {
        let [one, two] = [1, 2].map(|shards| measure(shards, span));
        ratios.push(two.rate / one.rate);
        println!(
            "{round:5} {:6.2} M/s {:4.2} c {:6.2} M/s {:4.2} c  {:5.2}",
            one.rate / 1e6,
            one.cores,
            two.rate / 1e6,
            two.cores,
            two.rate / one.rate,
        );
    }
    ratios.sort_by(f64::total_cmp);
    println!(
        "two loops against one: {:.2} ({:.2}..{:.2}); c: cores that the server kept busy",
        ratios[ratios.len() / 2],
        ratios[0],
        ratios[ratios.len() - 1]
    );
}

/// What a server got done.
struct Done {
    /// Messages a second.
    rate: f64,
    /// Cores that it kept busy.
    cores: f64,
}

fn measure(shards: usize, span: Duration) -> Done {
    let mut server = Server::start(shards);
    let is_over = AtomicBool::new(false);
    let began = Instant::now();
    thread::scope(|scope| {
        // One thread writes to all: a second would take a core from the server.
        scope.spawn(|| fill(&server.url, &is_over));
        thread::sleep(span);
        is_over.store(true, Ordering::Release);
    });
    let (took, used) = (began.elapsed().as_secs_f64(), server.processor_time());
    let done = Done {
        rate: server.finish() / took,
        cores: used / took,
    };
    assert!(done.rate > 0.0, "the server takes messages");
    done
}

/// Keeps the queues of connections full until it is over.
fn fill(url: &str, is_over: &AtomicBool) {
    let mut streams: Vec<_> = (0..CONNECTIONS).map(|_| connect(url)).collect();
    let load = MESSAGE.repeat(8 * 1024);
    let mut places = vec![0; CONNECTIONS];
    while !is_over.load(Ordering::Acquire) {
        let mut moved = 0;
        for (stream, place) in streams.iter_mut().zip(&mut places) {
            if let Ok(count) = stream.write(&load[*place..]) {
                *place = (*place + count) % load.len();
                moved += count;
            }
        }
        if moved == 0 {
            thread::sleep(Duration::from_micros(200));
        }
    }
}

fn connect(url: &str) -> TcpStream {
    let mut stream = TcpStream::connect(url).unwrap();
    let request = format!(
        "GET / HTTP/1.1\r\nHost: {url}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
    );
    stream.write_all(request.as_bytes()).unwrap();
    stream.set_nonblocking(true).unwrap();
    stream
}

/// `heartwheel serve` in a process of its own.
struct Server {
    child: Child,
    output: BufReader<ChildStdout>,
    url: String,
}

impl Server {
    fn start(shards: usize) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_heartwheel"))
            .args(["serve", "--ws", "127.0.0.1:0", "--mode", "sink"])
            .args(["--shards", &shards.to_string(), "--json"])
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut output = BufReader::new(child.stdout.take().unwrap());
        let url = output.by_ref().lines().find_map(|line| {
            let event: serde_json::Value = serde_json::from_str(&line.unwrap()).unwrap();
            Some(event["addr"].as_str()?.to_owned())
        });
        let url = url.expect("it listens");
        Self { child, output, url }
    }

    /// Returns the seconds of processor time that it has used.
    fn processor_time(&self) -> f64 {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.child.id())).unwrap();
        let (_, fields) = stat.rsplit_once(')').unwrap();
        let ticks = |place: usize| fields.split_whitespace().nth(place).unwrap();
        let ticks: f64 = [11, 12]
            .map(|place| ticks(place).parse::<f64>().unwrap())
            .iter()
            .sum();
        ticks / rustix::param::clock_ticks_per_second() as f64
    }

    /// Ends it, and returns how many messages it read.
    fn finish(&mut self) -> f64 {
        let pid = Pid::from_child(&self.child);
        // The first signal asks, the second does not wait.
        while self.child.try_wait().unwrap().is_none() {
            kill_process(pid, Signal::TERM).ok();
            thread::sleep(Duration::from_millis(10));
        }
        let mut told = String::new();
        self.output.read_to_string(&mut told).unwrap();
        let mut lines = told.lines().rev();
        let summary = lines.find(|line| line.contains("summary")).unwrap();
        let summary: serde_json::Value = serde_json::from_str(summary).unwrap();
        summary["messages_in"].as_f64().unwrap()
    }
}
