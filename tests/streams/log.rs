//! The log on standard error.

use std::io::{PipeReader, Read, Write};
use std::process::Stdio;

use crate::child::{Lines, Program, eventually, greet, read_port};
use crate::support::Wire;
use crate::support::raw::{Arrival, RawPeer};

/// Connections whose log, at `debug`, is more than a pipe holds.
const MANY: usize = 600;

const OTHERS: usize = 40;
const MESSAGES: usize = 1_000;

/// Starts a server of lines that logs at `debug`; returns its port, its events, and its standard error,
/// which nobody reads.
fn serve(more: &[&str]) -> (Program, u16, Lines, PipeReader) {
    let (errors, writer) = std::io::pipe().unwrap();
    let (mut reader, output) = std::io::pipe().unwrap();
    let args = ["serve", "--json", "--tcp", "127.0.0.1:0", "--log-level"];
    let args = [&args[..], &["debug"], more].concat();
    let program = Program::start(&args, [Stdio::null(), output.into(), writer.into()]);
    let port = read_port(&mut reader);
    (program, port, Lines::follow(reader), errors)
}

#[test]
fn f43_a_log_that_nobody_reads_stops_neither_heartbeats_nor_the_end() {
    for shards in ["1", "2"] {
        let heartbeat = ["--interval", "300ms", "--timeout", "1min"];
        let (mut program, port, lines, errors) =
            serve(&[&["--shards", shards], &heartbeat[..]].concat());
        let mut peer = RawPeer::connect(Wire::Line, port);
        for _ in 0..MANY {
            drop(greet(port));
        }
        // Far more than the pipe holds was said, and pings are still written and pongs read.
        for _ in 0..3 {
            let Arrival::Ping(token) = peer.next() else {
                panic!("no ping");
            };
            peer.send_pong(&token);
        }
        peer.send_text("hello");
        assert_eq!(peer.next_answering(), Arrival::Message(b"hello".to_vec()));

        program.terminate();
        assert_eq!(peer.next_answering(), Arrival::Eof);
        drop(peer);
        let summary = lines.wait_for("summary");
        assert_eq!(summary["connections"], MANY + 1, "{summary}");
        assert_eq!(program.wait_exit().code(), Some(0));
        drop(errors);
    }
}

#[test]
fn f43_lines_of_the_log_that_were_dropped_are_counted_and_told_of() {
    let mode = ["--mode", "broadcast", "--messages-per-second", "off"];
    // With more connections, `serve` may say first that the system has too few descriptors.
    let sizes = ["--send-queue", "4KiB", "--max-connections", "100"];
    let args = [&mode[..], &sizes].concat();
    let (mut program, port, _events, errors) =
        serve(&[&args[..], &["--interval", "off", "--timeout", "off"]].concat());
    // Too long for the queue of any of the others: a line of the log for each of them.
    let _others: Vec<_> = (0..OTHERS).map(|_| greet(port)).collect();
    let mut peer = greet(port);
    let message = "x".repeat(8_000) + "\n";
    for _ in 0..MESSAGES {
        peer.write_all(message.as_bytes()).unwrap();
    }
    peer.write_all(b"PING\n").unwrap();
    let mut answer = [0; 5];
    peer.read_exact(&mut answer).unwrap();

    let log = Lines::follow(errors);
    // The broadcasts go on while the log is read, and it may be too slow for them more than once.
    let (mut said, mut dropped) = (0, 0);
    while said + dropped < OTHERS * MESSAGES || dropped == 0 {
        let line = log.next().expect("it is told");
        let year = line.get(..4).and_then(|year| year.parse::<u16>().ok());
        assert!(year.is_some(), "not a whole line: {line}");
        match line.split_once(" lines of the log were dropped") {
            Some((head, _)) => {
                dropped += head.rsplit_once(' ').unwrap().1.parse::<usize>().unwrap();
            }
            None => said += 1,
        }
    }
    assert!(said > 0);
    // And on it goes.
    drop(greet(port));
    while !log.next().expect("more").contains("ended") {}
    program.terminate();
    eventually("it ends", || !program.is_running());
}
