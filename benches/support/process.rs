//! A server in a process of its own, until it is dropped.

use std::fs;
use std::io::{self, BufReader, Read};
use std::net::SocketAddr;
use std::process::{Child, ChildStdout, Command, Stdio, exit};
use std::time::Duration;

use super::dial::read_addr;

#[derive(Debug)]
pub(crate) struct Process {
    pub(crate) child: Child,
    /// Kept open: what the program says of its connections is not of interest, but no error.
    _output: BufReader<ChildStdout>,
    pub(crate) addr: SocketAddr,
}

impl Process {
    /// Starts it, and waits until it tells where it listens.
    pub(crate) fn start(command: &mut Command) -> io::Result<Self> {
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let output = child.stdout.take().expect("its output is piped");
        let mut output = BufReader::new(output);
        let addr = read_addr(&mut output);
        if addr.is_err() {
            let _ = child.kill();
        }
        Ok(Self {
            child,
            _output: output,
            addr: addr?,
        })
    }

    /// Returns the processor time that all threads of the program have used so far.
    pub(crate) fn processor_time(&self) -> io::Result<Duration> {
        let mut time = Duration::ZERO;
        for task in fs::read_dir(format!("/proc/{}/task", self.child.id()))? {
            // Nanoseconds that it ran, nanoseconds that it waited for a core, and how often it ran.
            let figures = fs::read_to_string(task?.path().join("schedstat"))?;
            let ran = figures.split(' ').next().and_then(|ran| ran.parse().ok());
            time += ran
                .map(Duration::from_nanos)
                .ok_or_else(|| io::Error::other(format!("schedstat says {figures:?}")))?;
        }
        Ok(time)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Ends this process when the one that started it is gone.
pub(crate) fn end_with_input() {
    let _ = io::stdin().lock().read(&mut [0]);
    exit(0);
}
