//! Where the program listens: on paths, and on sockets that whoever started it has opened.
#![cfg(feature = "cli")]
#![allow(clippy::unwrap_used, reason = "a test")]

mod support;

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use rustix::process::Signal;
use serde_json::Value;
use support::PATIENCE;
use support::place::Place;
use support::process::Process;
use support::program::{heartwheel, start};

fn socket_in(folder: &Place) -> PathBuf {
    folder.path().join("app.sock")
}

/// Returns the same as a place to listen on.
fn place_in(folder: &Place) -> String {
    format!("unix:{}", socket_in(folder).display())
}

/// Sends a line, and expects it back.
#[track_caller]
fn assert_echo(mut peer: impl Read + Write) {
    peer.write_all(b"hello\n").unwrap();
    let mut echo = [0; 6];
    peer.read_exact(&mut echo).unwrap();
    assert_eq!(&echo, b"hello\n");
}

fn dial(folder: &Place) -> UnixStream {
    let peer = UnixStream::connect(socket_in(folder)).unwrap();
    peer.set_read_timeout(Some(PATIENCE)).unwrap();
    peer
}

fn wait_event(process: &Process, name: &str) -> Value {
    process.wait_for(name, |line| line.event(name).cloned())
}

#[test]
fn it_listens_on_a_path_with_one_loop_or_several() {
    for shards in ["1", "3"] {
        let folder = Place::new();
        let args = ["serve", "--json", "--shards", shards, "--tcp"];
        let mut process = start(&[&args[..], &[&place_in(&folder)]].concat());
        let listening = wait_event(&process, "listening");
        assert_eq!(listening["addr"], place_in(&folder));
        for _ in 0..8 {
            assert_echo(dial(&folder));
        }
        let open = wait_event(&process, "open");
        assert_eq!(open["peer"], "unix:");
        process.signal(Signal::INT);
        let status = process.wait_exit();
        assert!(status.success(), "{status}");
        assert!(
            !socket_in(&folder).exists(),
            "the file goes with the program"
        );
    }
}

#[test]
fn connect_dials_a_path() {
    let folder = Place::new();
    let server = start(&["serve", "--json", "--ws", &place_in(&folder)]);
    wait_event(&server, "listening");
    let url = format!("ws+{}:/chat", place_in(&folder));
    let client = start(&["connect", "--json", &url]);
    let open = wait_event(&client, "open");
    assert_eq!(open["peer"], place_in(&folder));
    client.input().say("hello");
    client.wait_for("the echo", |line| line.text.contains("hello").then_some(()));
}

#[test]
fn a_path_that_will_not_do_is_an_error_that_says_what_to_do() {
    let folder = Place::new();
    fs::write(socket_in(&folder), "mine").unwrap();
    let absent = format!("unix:{}/absent/app.sock", folder.path().display());
    for (place, code, words) in [
        (place_in(&folder), 1, "choose another path"),
        (absent, 1, "make its directory first"),
        ("unix:".to_owned(), 2, "has no path"),
        ("fd:3".to_owned(), 2, "no such socket was handed in"),
        ("fd:1".to_owned(), 2, "a number from 3 on"),
    ] {
        let output = heartwheel(&["serve", "--tcp", &place])
            .env_remove("LISTEN_FDS")
            .output()
            .unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(code), "{place}: {said}");
        assert!(said.contains(words), "{place}: {said}");
    }
    assert_eq!(fs::read(socket_in(&folder)).unwrap(), b"mine");
}

/// The program, started as systemd starts it, with a listening socket as descriptor 3.
struct Activated(Child);

impl Activated {
    fn start(socket: OwnedFd, args: &str) -> Self {
        let line = format!(
            "exec 3<&0 </dev/null; LISTEN_PID=$$ LISTEN_FDS=1 exec \"$0\" serve --json {args}"
        );
        let child = Command::new("sh")
            .args(["-c", &line, env!("CARGO_BIN_EXE_heartwheel")])
            .stdin(socket)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        Self(child)
    }

    /// Waits until it listens, and returns that line.
    fn await_listening(&mut self) -> String {
        let output = self.0.stdout.take().unwrap();
        let mut lines = BufReader::new(output).lines();
        let listening = lines.find(|line| line.as_ref().unwrap().contains("\"listening\""));
        // Its further output goes nowhere.
        listening.unwrap().unwrap()
    }
}

impl Drop for Activated {
    fn drop(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

#[test]
fn it_serves_on_sockets_that_were_handed_in() {
    let tcp = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = tcp.local_addr().unwrap();
    // Who dials before it starts waits in the kernel.
    let early = TcpStream::connect(addr).unwrap();
    early.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut served = Activated::start(tcp.into(), "--tcp fd:3 --shards 2");
    let listening = served.await_listening();
    assert!(listening.contains(&addr.to_string()), "{listening}");
    assert_echo(early);
    drop(served);

    let folder = Place::new();
    let unix = UnixListener::bind(socket_in(&folder)).unwrap();
    let mut served = Activated::start(unix.into(), "--tcp fd:3");
    let listening = served.await_listening();
    assert!(listening.contains(&place_in(&folder)), "{listening}");
    assert_echo(dial(&folder));
}
