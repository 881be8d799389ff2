//! The program with streams of the test's choice.

use std::io::{BufRead, BufReader, PipeReader, PipeWriter, Read, Write};
use std::net::TcpStream;
use std::process::{Child, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::support::PATIENCE;
use crate::support::program::heartwheel;

/// A running program; it never outlives its test.
pub(crate) struct Program(Child);

impl Program {
    pub(crate) fn start(args: &[&str], [stdin, stdout, stderr]: [Stdio; 3]) -> Self {
        let mut command = heartwheel(args);
        Self(
            command
                .stdin(stdin)
                .stdout(stdout)
                .stderr(stderr)
                .spawn()
                .unwrap(),
        )
    }

    pub(crate) fn pid(&self) -> Pid {
        Pid::from_child(&self.0)
    }

    pub(crate) fn terminate(&self) {
        kill_process(self.pid(), Signal::TERM).unwrap();
    }

    pub(crate) fn is_running(&mut self) -> bool {
        self.0.try_wait().unwrap().is_none()
    }

    pub(crate) fn wait_exit(&mut self) -> ExitStatus {
        eventually("the program ends", || !self.is_running());
        self.0.wait().unwrap()
    }

    /// Returns the most memory that it ever had in use.
    #[cfg(target_os = "linux")]
    pub(crate) fn peak_memory(&self) -> usize {
        let path = format!("/proc/{}/status", self.pid().as_raw_nonzero());
        let status = std::fs::read_to_string(path).unwrap();
        let line = status
            .lines()
            .find(|line| line.starts_with("VmHWM:"))
            .unwrap();
        let kib: usize = line.split_whitespace().nth(1).unwrap().parse().unwrap();
        kib * 1024
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _gone = self.0.kill();
        let _status = self.0.wait();
    }
}

/// Returns a pipe whose writer is refused where there is no room, as one that is shared with a program
/// that has asked for it.
pub(crate) fn impatient_pipe() -> (PipeReader, PipeWriter) {
    let (reader, writer) = std::io::pipe().unwrap();
    rustix::io::ioctl_fionbio(&writer, true).unwrap();
    (reader, writer)
}

/// Reads a line and nothing of the next one.
pub(crate) fn read_line(source: &mut impl Read) -> String {
    let mut line = Vec::new();
    loop {
        let mut byte = [0];
        source.read_exact(&mut byte).unwrap();
        if byte == *b"\n" {
            return String::from_utf8(line).unwrap();
        }
        line.push(byte[0]);
    }
}

/// Returns the port that `serve --json` names in its first lines.
pub(crate) fn read_port(source: &mut impl Read) -> u16 {
    loop {
        if let Some(port) = port(&read_line(source)) {
            return port;
        }
    }
}

/// Returns the port that an event tells of, if it is the right one.
pub(crate) fn port(line: &str) -> Option<u16> {
    let event: Value = serde_json::from_str(line).unwrap();
    let addr = event["addr"]
        .as_str()
        .filter(|_| event["event"] == "listening")?;
    addr.rsplit_once(':')?.1.parse().ok()
}

/// Lines that are read as they come.
pub(crate) struct Lines(Receiver<String>);

impl Lines {
    pub(crate) fn follow(source: impl Read + Send + 'static) -> Self {
        let (sender, lines) = channel();
        thread::spawn(move || {
            let mut source = BufReader::new(source);
            loop {
                let mut line = Vec::new();
                // A line without its end is told apart by whoever looks at it.
                if source.read_until(b'\n', &mut line).unwrap_or(0) == 0 {
                    return;
                }
                if sender.send(String::from_utf8(line).unwrap()).is_err() {
                    return;
                }
            }
        });
        Self(lines)
    }

    /// Waits for the next line, which must be whole; `None` at the end.
    pub(crate) fn next(&self) -> Option<String> {
        use std::sync::mpsc::RecvTimeoutError::{Disconnected, Timeout};
        match self.0.recv_timeout(PATIENCE) {
            Ok(line) => Some(line.strip_suffix('\n').expect("a whole line").to_owned()),
            Err(Disconnected) => None,
            Err(Timeout) => panic!("nothing comes any more"),
        }
    }

    /// Returns the lines that have come and were not asked for.
    pub(crate) fn so_far(&self) -> Vec<String> {
        self.0.try_iter().collect()
    }

    /// Waits for an event, which must be whole.
    pub(crate) fn next_event(&self) -> Option<Value> {
        let line = self.next()?;
        Some(serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: {line}")))
    }

    /// Waits for an event of this name.
    pub(crate) fn wait_for(&self, name: &str) -> Value {
        loop {
            let event = self.next_event();
            let event = event.unwrap_or_else(|| panic!("the output ends before {name}"));
            if event["event"] == name {
                return event;
            }
        }
    }
}

/// Says hello over a connection of lines, and waits for the answer.
pub(crate) fn greet(port: u16) -> TcpStream {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.set_write_timeout(Some(PATIENCE)).unwrap();
    stream.write_all(b"PING\n").unwrap();
    let mut answer = *b"PING\n";
    // A heartbeat of the server's may come first.
    while answer == *b"PING\n" {
        stream.read_exact(&mut answer).expect("an answer");
    }
    assert_eq!(&answer, b"PONG\n");
    stream
}

/// Waits until something is so.
pub(crate) fn eventually(what: &str, mut is_so: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !is_so() {
        assert!(Instant::now() < deadline, "never: {what}");
        thread::sleep(Duration::from_millis(10));
    }
}
