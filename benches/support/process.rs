//! A server in a process of its own, until it is dropped.

use std::io::{self, BufReader};
use std::net::SocketAddr;
use std::process::{Child, ChildStdout, Command, Stdio};

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
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
