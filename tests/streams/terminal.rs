//! A terminal that is stopped, as Ctrl-S does it.

use std::fs::File;
use std::io::Write;
use std::process::Stdio;

use rustix::pty::{OpenptFlags, ioctl_tiocgptpeer, openpt, unlockpt};

use crate::child::{Lines, Program, eventually, greet, read_port};
use crate::support::Wire;
use crate::support::raw::{Arrival, RawPeer};

/// What Ctrl-S and Ctrl-Q type (IXON in termios(3)).
const STOP: &[u8] = b"\x13";
const GO_ON: &[u8] = b"\x11";

/// Connections whose log, at `debug`, is more than a terminal holds.
const MANY: usize = 300;

/// Returns a terminal, as its user has it and as programs do.
fn terminal() -> (File, File) {
    let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY;
    let user = openpt(flags).unwrap();
    unlockpt(&user).unwrap();
    let program = ioctl_tiocgptpeer(&user, flags).unwrap();
    (user.into(), program.into())
}

#[test]
fn f43_a_terminal_that_is_stopped_stops_neither_heartbeats_nor_the_end() {
    let (mut user, terminal) = terminal();
    let mut screen = user.try_clone().unwrap();
    let mut args = vec!["serve", "--json", "--tcp", "127.0.0.1:0"];
    args.extend(["--log-level", "debug", "--interval", "300ms"]);
    args.extend(["--timeout", "1min"]);
    let output = terminal.try_clone().unwrap();
    let streams = [Stdio::null(), output.into(), Stdio::null()];
    let mut program = Program::start(&args, streams);
    let port = read_port(&mut screen);
    let lines = Lines::follow(screen);

    user.write_all(STOP).unwrap();
    let mut peer = RawPeer::connect(Wire::Line, port);
    for _ in 0..MANY {
        drop(greet(port));
    }
    for _ in 0..3 {
        let Arrival::Ping(token) = peer.next() else {
            panic!("no ping");
        };
        peer.send_pong(&token);
    }
    let shown = lines.so_far();
    assert!(shown.len() < MANY, "it is not stopped: {}", shown.len());

    // What waited is shown, and what comes.
    user.write_all(GO_ON).unwrap();
    lines.wait_for("closed");
    let port_of = greet(port).local_addr().unwrap();
    while lines.wait_for("closed")["peer"] != port_of.to_string() {}

    user.write_all(STOP).unwrap();
    for _ in 0..MANY {
        drop(greet(port));
    }
    program.terminate();
    assert_eq!(peer.next_answering(), Arrival::Eof);
    drop(peer);
    eventually("it ends", || !program.is_running());
    assert_eq!(program.wait_exit().code(), Some(0));
    drop(terminal);
}
