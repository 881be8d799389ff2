//! Events on standard output.

use std::fs::{self, File};
use std::process::Stdio;

use crate::child::{Lines, Program, eventually, greet, impatient_pipe, port, read_port};
use crate::support::place::Place;

const SERVE: [&str; 4] = ["serve", "--json", "--tcp", "127.0.0.1:0"];

/// Connections whose events are more than a pipe holds.
const MANY: usize = 300;

#[test]
fn a_pipe_that_refuses_for_a_while_gets_every_event_later() {
    let (mut reader, writer) = impatient_pipe();
    let streams = [Stdio::null(), writer.into(), Stdio::null()];
    let mut program = Program::start(&SERVE, streams);
    let port = read_port(&mut reader);
    for _ in 0..MANY {
        drop(greet(port));
    }

    let lines = Lines::follow(reader);
    for _ in 0..MANY {
        lines.wait_for("closed");
    }
    let _peer = greet(port);
    lines.wait_for("open");
    program.terminate();
    assert_eq!(lines.wait_for("summary")["connections"], MANY + 1);
    assert_eq!(lines.next(), None);
    assert_eq!(program.wait_exit().code(), Some(0));
}

#[test]
fn nobody_who_reads_does_not_keep_the_program_from_its_end() {
    for (mut reader, writer) in [impatient_pipe(), std::io::pipe().unwrap()] {
        let streams = [Stdio::null(), writer.into(), Stdio::null()];
        let mut program = Program::start(&SERVE, streams);
        let port = read_port(&mut reader);
        for _ in 0..MANY {
            drop(greet(port));
        }
        program.terminate();
        assert_eq!(program.wait_exit().code(), Some(0));
    }
}

#[test]
fn a_reader_who_has_left_is_not_missed() {
    let (mut reader, writer) = std::io::pipe().unwrap();
    let streams = [Stdio::null(), writer.into(), Stdio::null()];
    let mut program = Program::start(&SERVE, streams);
    let port = read_port(&mut reader);
    drop(reader);
    for _ in 0..10 {
        drop(greet(port));
    }
    program.terminate();
    assert_eq!(program.wait_exit().code(), Some(0));
}

/// A file that may not grow beyond a limit stands for a disk that is full: no permission is needed for it.
#[cfg(target_os = "linux")]
#[test]
fn a_full_disk_gets_every_event_once_there_is_room() {
    use rustix::process::{Resource, Rlimit, prlimit};

    let place = Place::new();
    let path = place.path().join("events");
    let streams = [
        Stdio::null(),
        File::create(&path).unwrap().into(),
        Stdio::piped(),
    ];
    let mut program = Program::start(&SERVE, streams);
    let written = || fs::read_to_string(&path).unwrap();
    let mut found = None;
    eventually("a port is told", || {
        let text = written();
        let whole = text.rsplit_once('\n').map_or("", |(whole, _)| whole);
        found = whole.lines().find_map(port);
        found.is_some()
    });
    let port = found.unwrap();

    // In the middle of some line.
    let limit = written().len() as u64 + 1_111;
    let allow = |most| {
        let limit = Rlimit {
            current: most,
            maximum: None,
        };
        prlimit(Some(program.pid()), Resource::Fsize, limit).unwrap();
    };
    allow(Some(limit));
    for _ in 0..MANY {
        drop(greet(port));
    }
    eventually("it is full", || written().len() as u64 == limit);
    assert!(!written().ends_with('\n'));
    drop(greet(port));
    allow(None);
    let closed = || written().matches("\"event\":\"closed\"").count();
    eventually("the rest is written", || closed() == MANY + 1);

    program.terminate();
    assert_eq!(program.wait_exit().code(), Some(0));
    let text = written();
    let events: Vec<serde_json::Value> = text
        .lines()
        .map(|line| serde_json::from_str(line).expect("a whole line"))
        .collect();
    assert_eq!(events.last().unwrap()["event"], "summary");
    assert!(events.iter().all(|event| event["event"] != "dropped"));
}

/// Every write fails, and the program goes on.
#[cfg(target_os = "linux")]
#[test]
fn a_device_that_is_always_full_is_told_of_once() {
    let full = File::options().write(true).open("/dev/full").unwrap();
    let (errors, writer) = std::io::pipe().unwrap();
    // Its port is in the log's place alone.
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = free.local_addr().unwrap();
    drop(free);
    let args = ["serve", "--tcp", &addr.to_string()];
    let mut program = Program::start(&args, [Stdio::null(), full.into(), writer.into()]);
    let log = Lines::follow(errors);
    let told = |line: &str| line.contains("standard output cannot be written now");
    while !told(&log.next().expect("it is told")) {}
    for _ in 0..10 {
        drop(greet(addr.port()));
    }
    program.terminate();
    assert_eq!(program.wait_exit().code(), Some(0));
    while let Some(line) = log.next() {
        assert!(!told(&line), "again: {line}");
    }
}
